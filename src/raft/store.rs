//! The state machine that is replicated: a store of values by key, and the sessions of its clients.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::log::Command;
use crate::data::Map;
use crate::kv::{Operation, Reply, Session};

/// The store as the applied entries made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Store {
    /// The values.
    pub values: Map<String, String>,
    /// Of each client, the last command that was done, and what came of it (§8).
    pub sessions: Map<u64, (u64, Reply)>,
}

impl Store {
    /// Applies a committed command; nothing comes of one that is not about the store.
    pub fn apply(&mut self, command: &Command) -> Option<Reply> {
        match command {
            Command::NoOp | Command::Members(_) => None,
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
        let reply = operation.execute(&mut self.values);
        let done = (session.serial, reply.clone());
        self.sessions.insert(session.client, done);
        reply
    }
}
