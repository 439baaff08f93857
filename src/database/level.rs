//! Consistency levels: how many replicas have to answer.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::NodeSet;

/// How many of a key's replicas have to answer before a call returns. It is counted from the
/// replication factor, never from who is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Any one.
    One,
    /// Any two.
    Two,
    /// More than half.
    Quorum,
    /// All.
    All,
    /// More than half of those in the coordinator's data centre.
    LocalQuorum,
}

/// All levels, with what they are called.
const NAMES: [(&str, Level); 5] = [
    ("ONE", Level::One),
    ("TWO", Level::Two),
    ("QUORUM", Level::Quorum),
    ("ALL", Level::All),
    ("LOCAL_QUORUM", Level::LocalQuorum),
];

/// No level is called so. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLevel(pub String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no consistency level {:?}: name one of", self.0)?;
        (NAMES.iter()).try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

impl core::error::Error for UnknownLevel {}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let known = NAMES.iter().find(|(name, _)| *name == text);
        known
            .map(|(_, level)| *level)
            .ok_or_else(|| UnknownLevel(text.into()))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().find(|(_, level)| level == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl Level {
    /// The replicas whose answers count, of all that a key has, at a node whose data centre is `nearby`.
    #[must_use]
    pub fn counted(self, replicas: NodeSet, nearby: NodeSet) -> NodeSet {
        match self {
            Self::One | Self::Two | Self::Quorum | Self::All => replicas,
            Self::LocalQuorum => replicas.intersection(nearby),
        }
    }

    /// How many answers it takes where `factor` replicas are counted. It may be more than there are.
    pub fn needed(self, factor: usize) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Quorum | Self::LocalQuorum => factor / 2 + 1,
            Self::All => factor,
        }
    }

    /// True once these answers are enough.
    pub fn is_met(self, answered: NodeSet, replicas: NodeSet, nearby: NodeSet) -> bool {
        let counted = self.counted(replicas, nearby);
        answered.intersection(counted).len() >= self.needed(counted.len())
    }
}
