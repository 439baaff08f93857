//! What a leader knows: what it is asked, and how far that is.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::record::too_long;
use super::{REQUESTS_MAX, Record, Standing, Store, Term};
use crate::data::{Map, NodeSet, Seq};

/// What a leader knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leader {
    /// The number of the next question.
    pub next: u64,
    /// The keys that something is asked of.
    pub work: Map<String, Work>,
}

/// What is under way with one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Work {
    /// What is asked, one after the other. The first is under way.
    pub requests: Seq<Request>,
    /// The number of the question that members are to answer.
    pub number: u64,
    /// How far the first request is.
    pub phase: Phase,
}

/// A call without its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The caller's name for it.
    pub ticket: u64,
    /// What is asked.
    pub action: Action,
}

/// What can be asked of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// To read.
    Get,
    /// To write this value.
    Put(String),
    /// To write if the value is as expected.
    CompareAndSwap {
        /// The value that must be there.
        expected: Option<String>,
        /// The value to write then.
        new: String,
    },
}

/// How far a request is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for a majority to report.
    Inquiring {
        /// The members that did.
        answered: NodeSet,
        /// The newest record among those reported.
        newest: Option<Record>,
    },
    /// Waiting for a majority to have on disk what the leader has on its own.
    Preparing {
        /// The members that do.
        prepared: NodeSet,
        /// Whose write it is.
        purpose: Purpose,
    },
}

/// Whose write is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// One that a leader of an older term left prepared. The request comes after it.
    Finish,
    /// The request's own.
    Request,
}

impl Action {
    /// The value to write, if the key has `current`; nothing if nothing is to be written.
    pub fn writes(&self, current: Option<&str>) -> Option<&str> {
        match self {
            Self::Get => None,
            Self::Put(value) => Some(value),
            Self::CompareAndSwap { expected, new } => {
                (expected.as_deref() == current).then_some(new)
            }
        }
    }

    /// True if no datagram could carry it, or what it compares with.
    pub(super) fn is_too_long(&self, key: &str) -> bool {
        match self {
            Self::Get => too_long(key, ""),
            Self::Put(value) => too_long(key, value),
            Self::CompareAndSwap { expected, new } => {
                too_long(key, new) || expected.as_deref().is_some_and(|old| too_long(key, old))
            }
        }
    }
}

impl Store {
    /// True of what is under way with a key of which the leader's disk has `own`.
    pub(super) fn work_holds(
        &self,
        next: u64,
        work: &Work,
        term: Term,
        own: Option<&Record>,
    ) -> bool {
        let requests = work.requests.len();
        (1..=REQUESTS_MAX).contains(&requests)
            && work.number < next
            // A phase that has its majority is over.
            && match &work.phase {
                Phase::Inquiring { answered, .. } => !self.is_majority(*answered),
                Phase::Preparing { prepared, .. } => {
                    // What the others are asked to have was first kept here.
                    let kept = own.is_some_and(|record| {
                        (record.term, record.standing) == (term, Standing::Prepared)
                    });
                    kept && !self.is_majority(*prepared)
                }
            }
    }
}
