//! What a cluster may choose: all members alike.

use serde::{Deserialize, Serialize};

/// How an election begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Elections {
    /// With a new term (§5.2).
    Direct,
    /// By asking whether it could be won (thesis §9.6), so that who was cut off deposes nobody.
    PreVote,
}

/// How a term begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FirstEntry {
    /// With a no-op, so that what earlier terms left is committed without waiting for a client (§8).
    NoOp,
    /// With whatever a client asks first. Reads are then not to be answered by [`Reads::ReadIndex`]
    /// before it.
    Client,
}

/// Whether a leader that hears from no majority stays one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Leadership {
    /// Until it hears of a higher term.
    UntilDeposed,
    /// Until an election timeout passes in which no majority answered (thesis §6.2).
    CheckQuorum,
}

/// How reads are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reads {
    /// As any command, by an entry of the log.
    Log,
    /// Without one, once a round of heartbeats shows that the leader still is one (thesis §6.4).
    ReadIndex,
    /// As by [`Reads::ReadIndex`], and at once while the leader has a lease (thesis §6.4.1): for a while
    /// after a round that a majority answered, none of them votes for another. That rests on clocks.
    Lease {
        /// By how much less a leader's clock may count while a follower's counts the shortest election
        /// timeout ([`ELECTION_MIN_MS`]), in milliseconds; less than that.
        drift_ms: u32,
    },
}

/// The shortest election timeout, in milliseconds (§9.3 recommends 150 to 300): for so long after it
/// heard a leader a member votes for nobody, where a leader may count on that.
pub const ELECTION_MIN_MS: u32 = 150;

impl Reads {
    /// True if a leader may count on those who hear it not to vote for another.
    pub(super) fn by_lease(self) -> bool {
        match self {
            Self::Log | Self::ReadIndex => false,
            Self::Lease { .. } => true,
        }
    }

    /// For how long a leader that began a round may read by it, on its own clock, in milliseconds.
    pub(super) fn lease_ms(self) -> u32 {
        match self {
            Self::Log | Self::ReadIndex => 0,
            Self::Lease { drift_ms } => ELECTION_MIN_MS.saturating_sub(drift_ms),
        }
    }
}

/// How entries flow to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Flow {
    /// From the first that it is not known to have, until it says that it has it.
    StopAndWait,
    /// Ahead of its answers (thesis §10.2.2): the leader supposes that what it sent arrives, until a
    /// conflict shows that it did not.
    Pipelined {
        /// How many messages with entries are under way to one follower at most; not 0. What comes
        /// meanwhile goes together, in a batch, when one is answered.
        messages_max: u32,
    },
}

/// Whether the log is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Snapshots {
    /// It grows for ever.
    Never,
    /// Each node does it for itself (§7), when it has applied so many entries since the last time.
    Every {
        /// How many; not 0.
        entries: u32,
        /// How many entries before the snapshot stay in the log, for followers that are a little behind.
        kept: u32,
        /// How many values and sessions a message carries at most, of a snapshot; not 0.
        pieces_max: u32,
    },
}

/// How the members may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Changes {
    /// They may not.
    Never,
    /// By one voter at a time (thesis §4.2), so that a majority before and one after share a member.
    OneByOne,
    /// All at once, by a time in which majorities of both are needed (§6; thesis §4.3).
    Joint,
}
