//! What is kept of a key.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// A term: at most one member leads it. Terms only grow.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

/// Term by term, as it is read: the debug form of a message stays short.
impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// One write of a key, as a disk has it.
///
/// Records of a key are ordered by term, then by version: a leader builds on everything that was decided
/// in older terms, so its records are newer than all of those, even if one of them has a larger version
/// that was never decided. Of two records of one term and version, which have one value, the committed
/// one is newer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The term in which it was prepared.
    pub term: Term,
    /// A count of the writes of this key. It is the same when a later leader prepares the record again.
    pub version: u64,
    /// Whether it is known to be decided.
    pub standing: Standing,
    /// The value.
    pub value: String,
}

/// What is known of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It may have been decided, or not.
    Prepared,
    /// It was decided.
    Committed,
}

impl Record {
    /// A record that a leader asks its members to have.
    pub const fn prepared(term: Term, version: u64, value: String) -> Self {
        Self {
            term,
            version,
            standing: Standing::Prepared,
            value,
        }
    }

    /// The same, known to be decided.
    #[must_use]
    pub fn committed(self) -> Self {
        Self {
            standing: Standing::Committed,
            ..self
        }
    }
}

/// As in a sentence: `"A" v1@t2, prepared`.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            term,
            version,
            standing,
            value,
        } = self;
        let standing = match standing {
            Standing::Prepared => "prepared",
            Standing::Committed => "committed",
        };
        write!(f, "{value:?} v{version}@{term:?}, {standing}")
    }
}

/// True if no message can carry the two.
pub(super) fn too_long(key: &str, value: &str) -> bool {
    key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX
}
