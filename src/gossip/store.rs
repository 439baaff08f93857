//! What a node keeps: the versions of each key, and how far it has seen everyone's writes.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Conflicts, Key, Over, Value};
use crate::clock::{Dot, Exhausted, Siblings, Stamp, Vector, Version};
use crate::data::{Map, NodeSet};
use crate::machine::{self, NodeId};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// The longest value, in bytes. With the longest key, the longest past and two vectors of
/// [`MEMBERS_MAX`] it fits one datagram.
pub const VALUE_BYTES_MAX: usize = 384;
/// How many members there may be, for a vector has an entry for each.
pub const MEMBERS_MAX: usize = 16;
/// How many versions of a key may stand beside each other where one more is written.
pub const SIBLINGS_MAX: usize = 16;

/// The versions of one key. Where the last writer wins there is one.
pub type Cell = Siblings<Value>;

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How far this node has seen everyone's writes: every write of a node up to that time is in the
    /// cells, or one that supersedes it, or it was deleted and everyone knew. Of this node itself it
    /// is the clock: whatever it writes next is later.
    pub seen: Vector,
    /// What is known of each key, tombstones included.
    pub cells: Map<Key, Cell>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The key has these versions.
    Cell(Key, Cell),
    /// Of the key nothing is kept.
    Forgotten(Key),
    /// So far has the node seen. After the cells, for it speaks of them.
    Seen(Vector),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let cells = self.cells.changed_since(&older.cells);
        let mut changes: Vec<Change> = cells
            .map(|(key, cell)| Change::Cell(key.clone(), cell.clone()))
            .collect();
        if self.cells.len() < older.cells.len() + changes.len() {
            let gone = (older.cells.keys()).filter(|key| !self.cells.contains_key(*key));
            changes.extend(gone.map(|key| Change::Forgotten(key.clone())));
        }
        if self.seen != older.seen {
            changes.push(Change::Seen(self.seen.clone()));
        }
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Cell(key, cell) => {
                self.cells.insert(key, cell);
            }
            Change::Forgotten(key) => {
                self.cells.remove(&key);
            }
            Change::Seen(seen) => self.seen = seen,
        }
    }
}

/// The place of a write in the order of all: by time, and of one time by node. A write is later than
/// all that its node had heard of, so an effect has a larger place than its cause.
pub fn stamp(dot: Dot) -> Stamp {
    Stamp {
        time: dot.counter,
        node: dot.node,
    }
}

/// The latest time in a vector.
pub(super) fn latest(vector: &Vector) -> u64 {
    vector.iter().map(|(_, time)| time).max().unwrap_or(0)
}

/// True if it names members alone.
pub(super) fn is_of(vector: &Vector, members: NodeSet) -> bool {
    vector.iter().all(|(node, _)| members.contains(node))
}

/// True if a version could be one of ours: what it names are members, it is not longer than a
/// datagram can carry, and it is later than what it overwrites.
pub(super) fn is_sound(members: NodeSet, key: &str, version: &Version<Value>) -> bool {
    let Version { dot, past, value } = version;
    members.contains(dot.node)
        && is_of(past, members)
        && latest(past) < dot.counter
        && !too_long(key, value.as_deref().unwrap_or_default())
}

pub(super) fn too_long(key: &str, value: &str) -> bool {
    key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX
}

impl Durable {
    /// The versions of a key; none if it was never written, or was deleted long ago.
    pub fn cell(&self, key: &str) -> Cell {
        self.cells.get(key).cloned().unwrap_or_default()
    }

    /// The values of a key, in the order of their dots: what a get returns.
    pub fn values(&self, key: &str) -> Vec<String> {
        let cell = self.cells.get(key).into_iter();
        cell.flat_map(Siblings::values).flatten().cloned().collect()
    }

    /// The clock of `me` shows `time` at least.
    pub(super) fn raise(&mut self, me: NodeId, time: u64) {
        self.seen.merge(&Vector::from_iter([(me, time)]));
    }

    /// `me` writes, or deletes, later than all it has heard of and all that its client has read.
    pub(super) fn write(
        &mut self,
        me: NodeId,
        conflicts: Conflicts,
        key: Key,
        value: Value,
        over: Over,
    ) -> Result<(Dot, Vector), Exhausted> {
        let cell = self.cell(&key);
        let read = match over {
            Over::Here => cell.context(),
            Over::Read(context) => context,
        };
        let clock = latest(&self.seen).max(latest(&read));
        let counter = clock.checked_add(1).ok_or(Exhausted)?;
        let dot = Dot { node: me, counter };
        let (mut versions, past) = match conflicts {
            // It has the largest stamp of all that are here.
            Conflicts::LastWriterWins => (Vec::new(), Vector::new()),
            Conflicts::Siblings => (cell.versions().to_vec(), read),
        };
        versions.retain(|version| !past.covers(version.dot));
        versions.push(Version {
            dot,
            past: past.clone(),
            value,
        });
        self.put(key, versions);
        self.raise(me, counter);
        Ok((dot, past))
    }

    /// Takes a version over from another node. True if it was news.
    pub(super) fn take(
        &mut self,
        me: NodeId,
        conflicts: Conflicts,
        key: &Key,
        version: Version<Value>,
    ) -> bool {
        let mut versions = self.cell(key).versions().to_vec();
        if versions.iter().any(|known| known.dot == version.dot) {
            return false;
        }
        // Seen, and not here: it was superseded or deleted, however late this copy of it comes. This
        // is what lets a tombstone go.
        if self.seen.covers(version.dot) {
            return false;
        }
        let dot = version.dot;
        if (versions.iter()).any(|known| conflicts.is_superseded(&version, known)) {
            return false;
        }
        versions.retain(|known| !conflicts.is_superseded(known, &version));
        versions.push(version);
        self.put(key.clone(), versions);
        // What is written here from now on is later.
        self.raise(me, dot.counter);
        true
    }

    fn put(&mut self, key: Key, mut versions: Vec<Version<Value>>) {
        versions.sort_unstable_by_key(|version| version.dot);
        // None of them overwrites another: those that do not were asked one by one.
        if let Ok(cell) = Cell::try_from(versions) {
            self.cells.insert(key, cell);
        }
    }

    /// Forgets the tombstones that everyone has, those of writes up to the time `stable`.
    pub(super) fn collect(&mut self, stable: u64) {
        let is_dead =
            |version: &Version<Value>| version.value.is_none() && version.dot.counter <= stable;
        let stale = (self.cells.iter()).filter(|(_, cell)| cell.versions().iter().any(is_dead));
        let stale: Vec<(Key, Cell)> = stale
            .map(|(key, cell)| (key.clone(), cell.clone()))
            .collect();
        for (key, cell) in stale {
            let mut versions = cell.versions().to_vec();
            versions.retain(|version| !is_dead(version));
            if versions.is_empty() {
                self.cells.remove(&key);
            } else {
                self.put(key, versions);
            }
        }
    }
}
