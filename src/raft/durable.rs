//! What a node keeps on disk, and how its journal is told of changes.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Entry, Index, Log, Position, Snapshot, Term};
use crate::machine::{self, NodeId};

/// What survives a crash (Figure 2, persistent state).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// What the entries up to its position made: those that the log has no more, and perhaps some that
    /// it has (§7).
    pub snapshot: Snapshot,
    /// The log.
    pub log: Log,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Term and vote, together: a vote is for a term.
    Ballot(Term, Option<NodeId>),
    /// The snapshot is this one.
    Snapshot(Snapshot),
    /// The log has nothing up to here any more; and nothing at all, if it had another entry here.
    Compacted(Position),
    /// The log ends after this index.
    Truncated(Index),
    /// The log has one more entry.
    Appended(Entry),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if (self.term, self.vote) != (older.term, older.vote) {
            changes.push(Change::Ballot(self.term, self.vote));
        }
        if self.snapshot != older.snapshot {
            changes.push(Change::Snapshot(self.snapshot.clone()));
        }
        let mut before = older.log.clone();
        if self.log.base() != before.base() {
            changes.push(Change::Compacted(self.log.base()));
            before.compact(self.log.base());
        }
        let shared = self.log.shared_with(&before);
        if shared < before.last().index {
            changes.push(Change::Truncated(shared));
        }
        let added = self.log.after(shared, u32::MAX);
        changes.extend(added.into_iter().map(Change::Appended));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Ballot(term, vote) => (self.term, self.vote) = (term, vote),
            Change::Snapshot(snapshot) => self.snapshot = snapshot,
            Change::Compacted(position) => self.log.compact(position),
            Change::Truncated(index) => self.log.truncate(index),
            Change::Appended(entry) => self.log.push(entry),
        }
    }
}
