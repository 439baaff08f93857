//! What replicated stores do: operations on values by key, and the names that clients give to their
//! commands.

use alloc::string::{String, ToString};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::Map;

/// A client's name for one of its commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Session {
    /// The client.
    pub client: u64,
    /// A count of its commands. A client has one command under way at a time.
    pub serial: u64,
}

/// What can be done to the store. Deterministic: equal stores become equal stores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Which value has the key?
    Get {
        /// The key.
        key: String,
    },
    /// Let the key have this value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Let the key have no value.
    Delete {
        /// The key.
        key: String,
    },
    /// Let the key have a new value, if it has the expected one.
    CompareAndSwap {
        /// The key.
        key: String,
        /// What it must have: nothing, if it must be absent.
        expected: Option<String>,
        /// The new value.
        new: String,
    },
    /// Add to the number that the key has; one without a value has 0.
    Increment {
        /// The key.
        key: String,
        /// How much.
        by: i64,
    },
}

/// What the store replies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// The value, or nothing if the key is absent. Of an increment, the new one.
    Value(Option<String>),
    /// Another value than expected was there, and still is.
    Mismatched,
    /// The value is no number, or the sum is none of 64 bits. Nothing was changed.
    NotANumber,
    /// The client has gone on to a later command since; what came of this one is not kept.
    Forgotten,
}

impl Operation {
    /// The key that it is about.
    pub fn key(&self) -> &String {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::CompareAndSwap { key, .. }
            | Self::Increment { key, .. } => key,
        }
    }

    /// What it makes of the value of its key, and what it replies.
    pub fn apply(&self, value: Option<&String>) -> (Option<String>, Reply) {
        match self {
            Self::Get { .. } => (value.cloned(), Reply::Value(value.cloned())),
            Self::Put { value, .. } => (Some(value.clone()), Reply::Done),
            Self::Delete { .. } => (None, Reply::Done),
            Self::CompareAndSwap { expected, new, .. } => {
                if value == expected.as_ref() {
                    (Some(new.clone()), Reply::Done)
                } else {
                    (value.cloned(), Reply::Mismatched)
                }
            }
            Self::Increment { by, .. } => {
                let number = value.map_or(Some(0_i64), |value| value.parse().ok());
                match number.and_then(|number| number.checked_add(*by)) {
                    Some(sum) => (Some(sum.to_string()), Reply::Value(Some(sum.to_string()))),
                    None => (value.cloned(), Reply::NotANumber),
                }
            }
        }
    }

    /// How long what a client chose of it is, in bytes: key and values together.
    pub fn bytes(&self) -> usize {
        let values = match self {
            Self::Get { .. } | Self::Delete { .. } | Self::Increment { .. } => 0,
            Self::Put { value, .. } => value.len(),
            Self::CompareAndSwap { expected, new, .. } => {
                new.len() + expected.as_ref().map_or(0, String::len)
            }
        };
        self.key().len() + values
    }

    /// Does it to the values.
    pub fn execute(&self, values: &mut Map<String, String>) -> Reply {
        let key = self.key();
        let (value, reply) = self.apply(values.get(key));
        match value {
            Some(value) => {
                values.insert(key.clone(), value);
            }
            None => {
                values.remove(key);
            }
        }
        reply
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}#{}", self.client, self.serial)
    }
}
