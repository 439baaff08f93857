//! What travels.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Entry, Index, Part, Position, Term};

/// What travels. Each message names its sender's term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me in this term, which I have not begun?
    RequestPreVote {
        /// The term after the sender's.
        term: Term,
        /// The end of its log.
        last: Position,
    },
    /// I would.
    PreVote {
        /// The term that was asked for.
        term: Term,
    },
    /// Vote for me.
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// The end of its log.
        last: Position,
    },
    /// Vote for me, as the leader of the term before wants it: it reads by no lease any more. Where there
    /// are leases, and nowhere else.
    RequestVoteAsHeir {
        /// The candidate's term.
        term: Term,
        /// The end of its log.
        last: Position,
    },
    /// You have my vote.
    Vote {
        /// The term it is for.
        term: Term,
    },
    /// Your term is over: mine is this.
    Stale {
        /// The sender's term.
        term: Term,
    },
    /// Append these entries after the previous one. Without entries it is a heartbeat.
    AppendEntries {
        /// The leader's term.
        term: Term,
        /// What comes before the entries in the leader's log.
        previous: Position,
        /// The entries.
        entries: Vec<Entry>,
        /// What the leader knows to be committed.
        commit: Index,
        /// Which round of the leader's this is, that reads and leases may rest on; 0 if none do.
        round: u64,
    },
    /// My log matches yours up to here.
    Appended {
        /// The term of the leader whose entries they were.
        term: Term,
        /// The last index that the message spoke of.
        matching: Index,
        /// The round that was answered.
        round: u64,
    },
    /// My log has not the previous entry.
    Conflict {
        /// The term of the leader.
        term: Term,
        /// The index that is not as the leader has it.
        at: Index,
        /// Where the follower's log might still match: it skips a whole term at a time (§5.3).
        hint: Position,
        /// The round that was answered.
        round: u64,
    },
    /// A part of a snapshot, for one whose next entry is compacted (§7).
    InstallSnapshot {
        /// The leader's term.
        term: Term,
        /// It.
        part: Part,
    },
    /// I have so much of the snapshot, and not all.
    Received {
        /// The term of the leader.
        term: Term,
        /// Of which snapshot.
        position: Position,
        /// How many pieces.
        offset: u64,
        /// The round that was answered.
        round: u64,
    },
    /// Stand for election now: I lead no longer than until you do (thesis §3.10).
    TimeoutNow {
        /// The term of the leader.
        term: Term,
    },
}

/// Whether a part of a snapshot is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rest {
    /// More parts follow.
    More,
    /// It is the last.
    Nothing,
}
