//! Sessions: what a client has seen, carried by itself from node to node.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::Key;
use super::table::{Cell, Stamp};
use crate::clock::{HybridTime, Vector};
use crate::data::Map;

/// How many keys a token remembers.
pub const TOKEN_KEYS_MAX: usize = 16;

/// What a client has read and written. It gives each call what it has so far, and takes over what the
/// answer says. Calls with the empty token are of no session.
///
/// A token remembers at most [`TOKEN_KEYS_MAX`] keys, the last ones in the order; of older ones only the
/// time is left, by which later writes are later.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The latest time of all that was seen.
    pub time: HybridTime,
    /// What was seen of each key.
    pub seen: Map<Key, Seen>,
}

/// What was seen of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// Where the last write wins: the last one that was seen.
    pub stamp: Option<Stamp>,
    /// Where siblings stand: all that was seen.
    pub context: Vector,
}

impl Seen {
    /// What whoever reads or writes this cell has seen.
    pub fn of(cell: &Cell) -> Self {
        Self {
            stamp: cell.stamp(),
            context: cell.context(),
        }
    }

    /// True if the cell is no older than what was seen.
    pub fn is_in(&self, cell: &Cell) -> bool {
        self.stamp <= cell.stamp() && cell.context().dominates(&self.context)
    }
}

impl Token {
    /// What was seen of this key.
    pub fn of(&self, key: &str) -> Seen {
        self.seen.get(key).cloned().unwrap_or_default()
    }

    /// The token after this cell was read or written.
    pub fn saw(&mut self, key: &str, cell: &Cell) {
        let new = Seen::of(cell);
        let Some(stamp) = new.stamp else {
            self.note(key, new);
            return;
        };
        self.time = self.time.max(stamp.time);
        self.note(key, new);
    }

    /// Takes over the token of an answer.
    pub fn merge(&mut self, answer: &Self) {
        self.time = self.time.max(answer.time);
        for (key, seen) in &answer.seen {
            self.note(key, seen.clone());
        }
    }

    fn note(&mut self, key: &str, new: Seen) {
        if new == Seen::default() {
            return;
        }
        let seen = self
            .seen
            .entry_or_insert_with(String::from(key), Seen::default);
        seen.stamp = seen.stamp.max(new.stamp);
        seen.context.merge(&new.context);
        if self.seen.len() > TOKEN_KEYS_MAX {
            let oldest = self.seen.iter().min_by_key(|(_, seen)| seen.stamp);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.seen.remove(&key);
            }
        }
    }
}
