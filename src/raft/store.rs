//! The state machine that is replicated: a store of values by key, and the sessions of its clients.

use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};

use super::log::{Command, Session};
use crate::data::Map;

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

/// The store as the applied entries made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Store {
    /// The values.
    pub values: Map<String, String>,
    /// Of each client, the last command that was done, and what came of it (§8).
    pub sessions: Map<u64, (u64, Reply)>,
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
}

impl Store {
    /// Applies a committed command; nothing comes of a no-op.
    pub fn apply(&mut self, command: &Command) -> Option<Reply> {
        match command {
            Command::NoOp => None,
            Command::Apply { session, operation } => Some(self.once(*session, operation)),
        }
    }

    /// §8: a command whose serial number was done already is answered, and not done again.
    fn once(&mut self, session: Session, operation: &Operation) -> Reply {
        if let Some((serial, reply)) = self.sessions.get(&session.client) {
            if session.serial == *serial {
                return reply.clone();
            }
            if session.serial < *serial {
                return Reply::Forgotten;
            }
        }
        let reply = self.execute(operation);
        let done = (session.serial, reply.clone());
        self.sessions.insert(session.client, done);
        reply
    }

    /// Does it, whether or not it was done before.
    pub fn execute(&mut self, operation: &Operation) -> Reply {
        let key = operation.key();
        let (value, reply) = operation.apply(self.values.get(key));
        match value {
            Some(value) => {
                self.values.insert(key.clone(), value);
            }
            None => {
                self.values.remove(key);
            }
        }
        reply
    }
}
