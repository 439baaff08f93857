//! Quorums: how many answers are enough, counted by member and never twice.
//!
//! Sizes are counted against the *membership*, which is fixed, and never against who happens to be
//! reachable: a majority of the reachable is how a minority of one comes to acknowledge writes.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::NodeSet;
use crate::machine::NodeId;

/// Who the members are, and how many of them a read and a write need.
///
/// Gifford, *Weighted Voting for Replicated Data* (SOSP 1979) also asks that two write quorums
/// intersect, 2W > N. A writer that learns its version from a *read* quorum, as every writer here
/// does, needs only R + W > N.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Quorums {
    members: NodeSet,
    read: u32,
    write: u32,
}

/// Why sizes make no quorum system. Nothing was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumError {
    /// There are no members.
    NoMembers,
    /// A quorum of nobody would be satisfied before anyone was asked.
    Empty,
    /// More answers are asked for than there are members.
    TooLarge {
        /// The size asked for.
        size: usize,
        /// How many members there are.
        members: usize,
    },
    /// A read quorum and a write quorum need not share a member: R + W must exceed N.
    Disjoint {
        /// R.
        read: usize,
        /// W.
        write: usize,
        /// N.
        members: usize,
    },
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMembers => write!(f, "there are no members: list at least one"),
            Self::Empty => write!(f, "a quorum of 0 asks nobody: make it at least 1"),
            Self::TooLarge { size, members } => write!(
                f,
                "a quorum of {size} can never answer among {members} members: make it at most {members}"
            ),
            Self::Disjoint {
                read,
                write,
                members,
            } => write!(
                f,
                "a read quorum of {read} and a write quorum of {write} need not meet among {members} \
                 members: their sum must be at least {}",
                members + 1
            ),
        }
    }
}

impl core::error::Error for QuorumError {}

impl Quorums {
    /// Quorums of `read` and `write` members.
    ///
    /// # Errors
    ///
    /// If the sizes cannot be reached, or do not force a read and a write to share a member.
    pub fn new(members: NodeSet, read: usize, write: usize) -> Result<Self, QuorumError> {
        let count = members.len();
        if count == 0 {
            return Err(QuorumError::NoMembers);
        }
        let (smaller, larger) = (read.min(write), read.max(write));
        if smaller == 0 {
            return Err(QuorumError::Empty);
        }
        if count < larger {
            return Err(QuorumError::TooLarge {
                size: larger,
                members: count,
            });
        }
        if read + write <= count {
            return Err(QuorumError::Disjoint {
                read,
                write,
                members: count,
            });
        }
        Ok(Self::unchecked(members, read, write))
    }

    /// A majority of the members for both.
    ///
    /// # Errors
    ///
    /// If there are no members.
    pub fn majority(members: NodeSet) -> Result<Self, QuorumError> {
        Self::new(members, members.majority(), members.majority())
    }

    /// Takes the sizes as given, whether they intersect or not: for worlds that take the assumption
    /// away, and for nothing else.
    pub fn unchecked(members: NodeSet, read: usize, write: usize) -> Self {
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        Self {
            members,
            read: size(read),
            write: size(write),
        }
    }

    /// The members, N of them.
    pub fn members(&self) -> NodeSet {
        self.members
    }

    /// True if `node` is a member, so that its answer counts.
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.contains(node)
    }

    /// True once the members in `answered` make a read quorum.
    pub fn can_read(&self, answered: NodeSet) -> bool {
        self.counted(answered) >= self.read as usize
    }

    /// True once the members in `answered` make a write quorum.
    pub fn can_write(&self, answered: NodeSet) -> bool {
        self.counted(answered) >= self.write as usize
    }

    fn counted(&self, answered: NodeSet) -> usize {
        answered.intersection(self.members).len()
    }
}

impl<'de> Deserialize<'de> for Quorums {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Sizes {
            members: NodeSet,
            read: u32,
            write: u32,
        }
        let sizes = Sizes::deserialize(deserializer)?;
        Self::new(sizes.members, sizes.read as usize, sizes.write as usize)
            .map_err(serde::de::Error::custom)
    }
}
