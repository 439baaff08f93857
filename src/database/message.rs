//! What a node is asked, what travels, what rings, and what is told.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Cell, Key, Level, Outcome, Stamp, Token, Value, Version};
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::merkle::keyed::Place;

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let the keys have these values, or none.
    Write {
        /// The caller's name for this call.
        ticket: u64,
        /// What this node's clock shows, in any unit, the same at all nodes.
        now: u64,
        /// The keys and what they get: one, or several as a batch, each key once.
        writes: Vec<(Key, Value)>,
        /// How many replicas of each key must have it.
        level: Level,
        /// The session.
        token: Token,
    },
    /// Which value has the key?
    Read {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: Key,
        /// How many replicas must answer.
        level: Level,
        /// The session.
        token: Token,
    },
    /// Change the key by agreement, or read it so.
    Transact {
        /// The caller's name for this call.
        ticket: u64,
        /// What this node's clock shows.
        now: u64,
        /// The key.
        key: Key,
        /// What it must have, and what it then gets; none to read.
        change: Option<Change>,
    },
    /// The failure detector suspects these nodes, and no others.
    Suspect {
        /// Which.
        nodes: NodeSet,
    },
}

/// Compare, and set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// What the key must have; none: it must have no value.
    pub expected: Value,
    /// What it then gets.
    pub new: Value,
}

/// A coordinator's name for one operation, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Operation {
    /// How often the coordinator had booted.
    pub incarnation: u64,
    /// A count within the incarnation.
    pub number: u64,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.incarnation, self.number)
    }
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To a replica: have these, unless you have something newer.
    Write {
        /// The sender's name for this.
        operation: Operation,
        /// By key: all of the write that the receiver is a replica of.
        writes: Vec<(Key, Cell)>,
    },
    /// From a replica: my disk has it, or something newer.
    Written {
        /// What was asked.
        operation: Operation,
    },
    /// From a replica: I do not take it, for it is older than my fence.
    TooOld {
        /// What was asked.
        operation: Operation,
        /// The fence.
        fence: Stamp,
    },
    /// To a replica: what do you have?
    Read {
        /// The sender's name for this.
        operation: Operation,
        /// The key.
        key: Key,
    },
    /// From a replica: this.
    Data {
        /// What was asked.
        operation: Operation,
        /// What it has.
        cell: Cell,
        /// Up to here its tombstones are gone.
        swept: Option<Stamp>,
    },
    /// To a replica, a transaction: promise not to take part in an older one.
    Prepare {
        /// The sender's name for this.
        operation: Operation,
        /// The key.
        key: Key,
        /// The ballot.
        ballot: Stamp,
    },
    /// From a replica: promised.
    Promised {
        /// What was asked.
        operation: Operation,
        /// The ballot.
        ballot: Stamp,
        /// What was proposed to it last, and by which ballot.
        accepted: Option<(Stamp, Version)>,
        /// What it has of the key.
        version: Option<Version>,
    },
    /// To a replica: accept this.
    Propose {
        /// The sender's name for this.
        operation: Operation,
        /// The key.
        key: Key,
        /// The ballot.
        ballot: Stamp,
        /// What is proposed.
        version: Version,
    },
    /// From a replica: accepted.
    Accepted {
        /// What was asked.
        operation: Operation,
        /// The ballot.
        ballot: Stamp,
    },
    /// From a replica: it has promised otherwise.
    Outbid {
        /// What was asked.
        operation: Operation,
        /// The ballot that it does not take.
        ballot: Stamp,
        /// What it has promised.
        promised: Stamp,
    },
    /// To a replica: this was chosen.
    Commit {
        /// The sender's name for this.
        operation: Operation,
        /// The key.
        key: Key,
        /// The ballot.
        ballot: Stamp,
        /// What.
        version: Version,
    },
    /// From a replica: my disk has it, or something newer.
    Committed {
        /// What was asked.
        operation: Operation,
        /// The ballot.
        ballot: Stamp,
    },
    /// Between replicas: of what we share this is the digest of all that I have there.
    Compare {
        /// Where.
        place: Place,
        /// The digest.
        digest: u64,
    },
    /// Mine differs, and these are the digests of what is below.
    Children {
        /// Where.
        place: Place,
        /// The digests of the places below, in order.
        digests: Vec<u64>,
    },
    /// Mine differs, and this is some of what I have there.
    Entries {
        /// Where.
        place: Place,
        /// By key.
        cells: Vec<(Key, Cell)>,
        /// What is wanted for it.
        reply: Reply,
    },
    /// Between replicas of the same keys: take nothing more up to here but from each other.
    Fence {
        /// All replicas of those keys.
        group: NodeSet,
        /// Up to where.
        upto: Stamp,
    },
    /// I do not, and this is what I have up to there.
    Fenced {
        /// All replicas of those keys.
        group: NodeSet,
        /// Up to where.
        upto: Stamp,
        /// The digest of it.
        digest: u64,
    },
    /// All were fenced and had the same: tombstones up to here can go.
    Swept {
        /// All replicas of those keys.
        group: NodeSet,
        /// Up to where.
        upto: Stamp,
    },
}

/// What is wanted for some entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// What the receiver has at the place.
    Wanted,
    /// Nothing.
    Unwanted,
}

/// Alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// At a coordinator: the operation of this number has not returned.
    Retry(u64),
    /// At a coordinator: hints are to be sent again.
    Deliver,
    /// At a coordinator: the time of all hints is over, but of batches.
    Expire,
    /// At a replica: it is time to compare with this one.
    Compare(NodeId),
    /// At a replica: it is time to collect tombstones.
    Collect,
}

/// What an observer learns: the replies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// As many replicas have the write as was asked.
    Wrote {
        /// The caller's name for the call.
        ticket: u64,
        /// What the session has seen by this.
        token: Token,
    },
    /// The read returned.
    Read {
        /// The caller's name for the call.
        ticket: u64,
        /// The values, none if there is none.
        values: Vec<String>,
        /// What the session has seen by this.
        token: Token,
    },
    /// The transaction is decided.
    Transacted {
        /// The caller's name for the call.
        ticket: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// The call was not begun, and will have no effect.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The call was given up. A write may have taken effect, or do so later, or never.
    Failed {
        /// The caller's name for the call.
        ticket: u64,
        /// Why.
        failure: Failure,
    },
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// Key, value or batch are longer than the maximum, or the batch names a key twice or none.
    Malformed,
    /// Too much is under way at this node.
    Busy,
    /// The key has fewer replicas than the level asks, or too many of them are suspected.
    Unavailable,
    /// Where siblings stand: the call is for a replica of its one key, and no transaction.
    NotHere,
    /// There is no later time.
    Exhausted,
}

/// Why a call was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// Too few replicas answered, for too long.
    TimedOut,
    /// A replica's fence was later than the stamp: this node's clock is far behind, or the write took long.
    TooOld,
}
