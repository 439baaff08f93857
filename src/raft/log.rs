//! The log: terms, indices, positions, entries, and what lies beneath them.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::Seq;
use crate::kv::{Operation, Session};

/// A term: the reign of at most one leader (§5.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Term(pub u64);

/// A place in the log. The first entry has index 1; index 0 is before all entries.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Index(pub u64);

/// An entry's term and index, which name it and all before it (§5.3, Log Matching).
///
/// The order is that of §5.4.1: of two logs, the one whose last position is larger is the more up
/// to date.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The term of the entry.
    pub term: Term,
    /// Its index.
    pub index: Index,
}

/// One entry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// What is to be done when it is committed.
    pub command: Command,
}

/// What an entry commands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Nothing: a leader begins its term with it (§8).
    NoOp,
    /// An operation on the store.
    Apply {
        /// Whose, and which of theirs, so that it is done once (§8).
        session: Session,
        /// What.
        operation: Operation,
    },
}

impl Index {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The log of one node: the entries after `base`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Log {
    /// The last position that a snapshot stands for: nothing, as long as nothing is compacted.
    base: Position,
    entries: Seq<Entry>,
}

impl Log {
    /// The position of the last entry.
    pub fn last(&self) -> Position {
        let term = self.entries.last().map_or(self.base.term, |last| last.term);
        let index = Index(self.base.index.0.saturating_add(self.entries.len() as u64));
        Position { term, index }
    }

    /// Where an index is among the entries.
    fn place(&self, index: Index) -> Option<usize> {
        let before = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(before).ok()
    }

    /// The entry at `index`, if it is there and not compacted.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.place(index)?)
    }

    /// The position at `index`, if the log reaches so far.
    pub fn position(&self, index: Index) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        let term = self.get(index)?.term;
        Some(Position { term, index })
    }

    /// True if the entry of this name is here, and with it all that came before it.
    pub fn contains(&self, position: Position) -> bool {
        self.position(position.index) == Some(position)
    }

    /// At most `limit` entries after `index`.
    pub fn after(&self, index: Index, limit: u32) -> Vec<Entry> {
        let Some(place) = self.place(index.next()) else {
            return Vec::new(); // Compacted: a snapshot is needed.
        };
        let suffix = self.entries.suffix(place);
        suffix.take(limit as usize).cloned().collect()
    }

    /// The entries from the first to the last.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The index of the first entry of `term`, if there is one.
    pub fn first_of(&self, term: Term) -> Option<Index> {
        let place = self.entries.iter().position(|entry| entry.term == term)?;
        Some(Index(self.base.index.0 + 1 + place as u64))
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Drops everything after `index`.
    pub fn truncate(&mut self, index: Index) {
        let kept = index.0.saturating_sub(self.base.index.0);
        self.entries
            .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    /// Up to which index two logs of one base are the same.
    pub(super) fn shared_with(&self, other: &Self) -> Index {
        if self.entries == other.entries {
            return self.last().index; // Found by their shared representation, at once.
        }
        let both = self.entries.iter().zip(other.entries.iter());
        let shared = both.take_while(|(ours, theirs)| ours == theirs).count();
        Index(self.base.index.0 + shared as u64)
    }
}

// States and stories are read by people: a position is `3.1`, the entry at index 3 of term 1.

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.index, self.term)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOp => f.write_str("no-op"),
            Self::Apply { session, operation } => write!(f, "{session:?} {operation:?}"),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.command, self.term)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}
