//! What a node of the causal store keeps on its disk.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::update::{Update, Version};
use crate::clock::{Stamp, Vector};
use crate::data::{Map, NodeSet};
use crate::machine;

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How many updates of each node this one has delivered. Its own are delivered when they are made.
    pub clock: Vector,
    /// The delivered updates, its own and others', that some member is not known to have; in their
    /// total order, so that each stands behind its causes.
    pub log: Map<Stamp, Entry>,
    /// The last version of each key.
    pub store: Map<String, Version>,
}

/// An update that is not known to be everywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub update: Update,
    /// The members that are known to have delivered it.
    pub holders: NodeSet,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.update, self.holders)
    }
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The update was delivered, or more is known of who has it. What it makes of the clock and of its
    /// key follows, and is not written twice.
    Logged(Entry),
    /// All members have the update.
    Everywhere(Stamp),
    /// The clock, where it does not follow from the log.
    Clock(Vector),
    /// A version, where it does not follow from the log.
    Stored(Update),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let logged = self.log.changed_since(&older.log);
        let mut changes: Vec<Change> = logged
            .map(|(_, entry)| Change::Logged(entry.clone()))
            .collect();
        let ended = (older.log.keys()).filter(|rank| !self.log.contains_key(*rank));
        changes.extend(ended.map(|rank| Change::Everywhere(*rank)));
        let mut journal = older.clone();
        for change in &changes {
            journal.apply(change.clone());
        }
        if journal.clock != self.clock {
            changes.push(Change::Clock(self.clock.clone()));
        }
        let stored = self.store.changed_since(&journal.store);
        changes.extend(stored.map(|(key, version)| {
            Change::Stored(Update {
                key: key.clone(),
                version: version.clone(),
            })
        }));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Logged(entry) => {
                self.take(&entry.update);
                self.log.insert(entry.update.version.rank(), entry);
            }
            Change::Everywhere(rank) => {
                self.log.remove(&rank);
            }
            Change::Clock(clock) => self.clock = clock,
            Change::Stored(Update { key, version }) => {
                self.store.insert(key, version);
            }
        }
    }
}

impl Durable {
    /// The update counts from now on, and its version stays unless the key has a later one.
    pub(super) fn take(&mut self, update: &Update) {
        let Update { key, version } = update;
        self.clock.merge(&version.stamp);
        let old = self.store.get(key.as_str());
        if old.is_none_or(|old| old.rank() < version.rank()) {
            self.store.insert(key.clone(), version.clone());
        }
    }

    /// The member is known to have the update. True if all have it now that had not before.
    pub(super) fn learn(&mut self, rank: Stamp, member: machine::NodeId, members: NodeSet) -> bool {
        let Some(entry) = self.log.get_mut(&rank) else {
            return false;
        };
        entry.holders.insert(member);
        let everywhere = members.is_subset(entry.holders);
        if everywhere {
            self.log.remove(&rank);
        }
        everywhere
    }
}
