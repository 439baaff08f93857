//! What a replica keeps: for each key one cell, and an order that says which of two is newer.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Key;
use crate::clock::{HybridTime, Siblings, Vector};
use crate::data::Map;
use crate::machine::NodeId;

/// The place of a write in the declared order: by time, and of two of one time by writer. Each write has
/// one, given once, by the node that coordinates it. No two writes share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The coordinator's hybrid time.
    pub time: HybridTime,
    /// The coordinator.
    pub writer: NodeId,
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.time, self.writer)
    }
}

/// What is written: a value, or a tombstone.
pub type Value = Option<String>;

/// A write, where the last one wins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Its place in the order.
    pub stamp: Stamp,
    /// What was written.
    pub value: Value,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value:?} of {:?}", self.stamp),
            None => write!(f, "deleted at {:?}", self.stamp),
        }
    }
}

/// What a replica has of a key.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cell {
    /// Nothing.
    #[default]
    Nothing,
    /// The last write.
    Last(Version),
    /// All writes that no other has overwritten.
    Beside(Siblings<Value>),
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Last(version) => fmt::Debug::fmt(version, f),
            Self::Beside(siblings) => fmt::Debug::fmt(siblings, f),
        }
    }
}

impl Cell {
    /// Takes over what another replica has: of two cells the newer one, of siblings those that stand.
    /// Cells of two kinds come from nodes that were set up differently; then nothing is taken over.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Nothing, _) => *self = other.clone(),
            (Self::Last(mine), Self::Last(theirs)) if mine.stamp < theirs.stamp => {
                *mine = theirs.clone();
            }
            (Self::Beside(mine), Self::Beside(theirs)) => mine.merge(theirs),
            (Self::Last(_) | Self::Beside(_), _) => {}
        }
    }

    /// True if whoever has this has all that is in `other`, or something newer.
    pub fn covers(&self, other: &Self) -> bool {
        let mut merged = self.clone();
        merged.merge(other);
        merged == *self
    }

    /// The place of the last write in the order, where the last one wins.
    pub fn stamp(&self) -> Option<Stamp> {
        match self {
            Self::Last(version) => Some(version.stamp),
            Self::Nothing | Self::Beside(_) => None,
        }
    }

    /// The last write, where the last one wins.
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Last(version) => Some(version),
            Self::Nothing | Self::Beside(_) => None,
        }
    }

    /// The values: several, if they were written beside each other.
    pub fn values(&self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Last(version) => version.value.iter().cloned().collect(),
            Self::Beside(siblings) => siblings.values().flatten().cloned().collect(),
        }
    }

    /// What a client that reads this has read, where siblings stand.
    pub fn context(&self) -> Vector {
        match self {
            Self::Beside(siblings) => siblings.context(),
            Self::Nothing | Self::Last(_) => Vector::new(),
        }
    }

    /// True of a tombstone, where the last one wins.
    pub fn is_tombstone(&self) -> bool {
        self.version()
            .is_some_and(|version| version.value.is_none())
    }

    /// How many bytes of values there are.
    pub fn bytes(&self) -> usize {
        self.values().iter().map(String::len).sum()
    }
}

/// The cells of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Table {
    /// By key. What is not there is nothing.
    pub cells: Map<Key, Cell>,
}

impl Table {
    /// What there is of `key`.
    pub fn cell(&self, key: &str) -> Cell {
        self.cells.get(key).cloned().unwrap_or_default()
    }

    /// Takes over `cell`. True if it was news.
    pub fn keep(&mut self, key: &str, cell: &Cell) -> bool {
        let mut merged = self.cell(key);
        merged.merge(cell);
        if self.cells.get(key) == Some(&merged) || merged == Cell::Nothing {
            return false;
        }
        self.cells.insert(key.into(), merged);
        true
    }
}
