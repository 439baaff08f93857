//! What a node of the causal store keeps on its disk.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::update::{Update, Version};
use crate::clock::{Dot, Vector};
use crate::data::Map;
use crate::machine::{self, NodeId};

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How many updates of each node this one has delivered. Its own are delivered when they are made.
    pub clock: Vector,
    /// What each other member is known to have delivered.
    pub known: Map<NodeId, Vector>,
    /// What all members are known to have delivered.
    pub stable: Vector,
    /// The updates that were delivered here and are not stable, its own and others'.
    pub log: Map<Dot, Update>,
    /// The last version of each key.
    pub store: Map<String, Version>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The update was delivered. What it makes of the clock and of its key follows, and is not written
    /// twice.
    Delivered(Update),
    /// The member is known to have delivered so much.
    Known(NodeId, Vector),
    /// So much is stable, and in the log no longer.
    Stable(Vector),
    /// The clock, where it does not follow from the log.
    Clock(Vector),
    /// A version, where it does not follow from the log.
    Stored(Update),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let delivered = self.log.changed_since(&older.log);
        let mut changes: Vec<Change> = delivered
            .map(|(_, update)| Change::Delivered(update.clone()))
            .collect();
        let known = self.known.changed_since(&older.known);
        changes.extend(known.map(|(member, clock)| Change::Known(*member, clock.clone())));
        if self.stable != older.stable {
            changes.push(Change::Stable(self.stable.clone()));
        }
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
            Change::Delivered(update) => self.take(update),
            Change::Known(member, clock) => {
                self.known.insert(member, clock);
            }
            Change::Stable(stable) => self.forget(stable),
            Change::Clock(clock) => self.clock = clock,
            Change::Stored(Update { key, version }) => {
                self.store.insert(key, version);
            }
        }
    }
}

impl Durable {
    /// The update counts from now on, and its version stays unless the key has a later one.
    pub(super) fn take(&mut self, update: Update) {
        let Update { key, version } = &update;
        self.clock.merge(&version.stamp);
        let old = self.store.get(key.as_str());
        if old.is_none_or(|old| old.rank() < version.rank()) {
            self.store.insert(key.clone(), version.clone());
        }
        self.log.insert(version.dot(), update);
    }

    /// The member is known to have delivered so much. True if that is news.
    pub(super) fn learn(&mut self, member: NodeId, clock: &Vector) -> bool {
        let known = self.known.get(&member);
        let is_news = !known.is_some_and(|known| known.dominates(clock)) && !clock.is_empty();
        if is_news {
            let known = self.known.entry_or_insert_with(member, Vector::new);
            known.merge(clock);
        }
        is_news
    }

    /// So much is stable: the log forgets it.
    pub(super) fn forget(&mut self, stable: Vector) {
        for (node, count) in stable.iter() {
            let first = Dot { node, counter: 0 };
            let last = Dot {
                node,
                counter: count,
            };
            let ended: Vec<Dot> = self.log.range(first..=last).map(|(dot, _)| *dot).collect();
            for dot in ended {
                self.log.remove(&dot);
            }
        }
        self.stable = stable;
    }
}
