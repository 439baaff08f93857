//! The log: terms, indices, positions, entries, and what lies beneath them.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::membership::{Current, Membership};
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
    /// These are the members from here on, committed or not (§6; thesis §4.1).
    Members(Membership),
}

impl Entry {
    /// How many bytes it has in a message.
    pub(super) fn bytes(&self) -> usize {
        let command = match &self.command {
            Command::NoOp => 0,
            // A number of each variant, the lengths of three texts, of two bytes each, and a number.
            Command::Apply { session, operation } => {
                varint(session.client) + varint(session.serial) + operation.bytes() + 17
            }
            Command::Members(_) => 30,
        };
        varint(self.term.0) + 1 + command
    }
}

/// How many bytes a number has, seven bits in each.
fn varint(number: u64) -> usize {
    let bits = 64 - number.leading_zeros() as usize;
    bits.div_ceil(7).max(1)
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

    /// The last position that is compacted; what comes after it is here.
    pub fn base(&self) -> Position {
        self.base
    }

    /// At most `limit` entries after `index`.
    pub fn after(&self, index: Index, limit: u32) -> Vec<Entry> {
        self.batch(index, limit, u32::MAX)
    }

    /// The same, and of at most so many bytes together; but one entry at least, if there is one and
    /// the limit allows any.
    pub(super) fn batch(&self, index: Index, limit: u32, bytes_max: u32) -> Vec<Entry> {
        let Some(place) = self.place(index.next()) else {
            return Vec::new(); // Compacted: a snapshot is needed.
        };
        let mut bytes = 0;
        let mut batch = Vec::new();
        for entry in self.entries.suffix(place).take(limit as usize) {
            bytes += entry.bytes();
            if bytes_max as usize <= bytes && !batch.is_empty() {
                break;
            }
            batch.push(entry.clone());
        }
        batch
    }

    /// The entries from the first to the last.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The index of the first entry of `term` that is here, if there is one. Terms never fall along a
    /// log, so half of what is left is passed over at a time.
    pub fn first_of(&self, term: Term) -> Option<Index> {
        let (mut from, mut to) = (0, self.entries.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if self.entries.get(middle)?.term < term {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        let found = self.entries.get(from)?.term == term;
        found.then(|| Index(self.base.index.0 + 1 + from as u64))
    }

    /// The last change of the membership among the entries up to `index`, and where it is.
    pub fn members_at(&self, index: Index) -> Option<Current> {
        let end = self.place(index.next()).unwrap_or_default();
        let last = end.min(self.entries.len());
        (0..last).rev().find_map(|place| {
            let index = Index(self.base.index.0 + 1 + place as u64);
            match &self.entries.get(place)?.command {
                Command::Members(membership) => Some(Current {
                    index,
                    membership: *membership,
                }),
                Command::NoOp | Command::Apply { .. } => None,
            }
        })
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

    /// Forgets all up to `position`: with what follows it, if the log has that entry; or else with all
    /// that it has, for it is then of another history (§7).
    pub fn compact(&mut self, position: Position) {
        if !self.contains(position) {
            self.entries = Seq::default();
            self.base = position;
        }
        while self.base.index < position.index {
            let Some(first) = self.entries.pop_front() else {
                return;
            };
            let index = self.base.index.next();
            self.base = Position {
                term: first.term,
                index,
            };
        }
    }

    /// Up to which index two logs of one base are the same.
    pub(super) fn shared_with(&self, other: &Self) -> Index {
        let shared = self.entries.shared_prefix(&other.entries);
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
            Self::Members(membership) => write!(f, "{membership:?}"),
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
        if self.base != Position::default() {
            write!(f, "..{:?} ", self.base)?;
        }
        self.entries.fmt(f)
    }
}
