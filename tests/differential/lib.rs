//! Our Raft and another's: the crate `raft`, which `TiKV` stands on and which follows etcd's.
//!
//! Both are the protocol of one paper, so members of both kinds can make one cluster. The [`border`] says
//! each message of the one in the words of the other; the [`cluster`] is as bad a network as a seed makes
//! it; the [`history`] asks of all that ever happened what the paper promises (Figure 3). Where the two
//! disagreed about a rule, they would disagree about what is committed. And one member of each kind, in
//! the same state, is told the same, and both come to the same: see `side_by_side.rs`.
//!
//! # The translation
//!
//! Only what crosses from one kind to the other is translated, where it arrives. One message becomes one.
//!
//! | theirs | ours | what is lost |
//! |---|---|---|
//! | `MsgRequestVote` | `RequestVote` | what its sender knows to be committed, which theirs may learn from it |
//! | `MsgRequestVoteResponse` | `Vote` | |
//! | the same, a refusal | `Stale` | that it is one: ours count none, and take the term alone |
//! | `MsgAppend` | `AppendEntries` | |
//! | `MsgAppendResponse` | `Appended` | what its sender knows to be committed, which theirs only display |
//! | the same, a rejection | `Conflict` | that, too |
//! | `MsgHeartbeat` | `AppendEntries` without entries, after the last that it says is committed | |
//! | `MsgHeartbeatResponse` | the `Appended` that answers it, in a round of its own | |
//!
//! Ours have no other heartbeat than an `AppendEntries` without entries, which is a `MsgAppend` without
//! entries, as theirs send one to tell what is committed. A heartbeat of theirs says less: up to where
//! its receiver has all, and that this is committed. It does not name the term there, which ours ask
//! for, so it is noted beside it, from the log of its sender, when it leaves. That is the one thing
//! the border adds; theirs do not read it. A round of ours is 0 where reads go through the log. The answer
//! to a heartbeat of theirs must not be taken for one to an append, so a round, which ours repeat, tells.
//!
//! So the border drops nothing but what the table says, which is checked of all that crosses it
//! ([`border::comes_back`]). Ours do not send `Stale` in these settings, and a refusal never tells one of
//! ours a higher term, as theirs do not answer requests of a term that is over.
//!
//! # Not compared
//!
//! What rests on clocks, on pre-votes or on checked quorums, whose rules differ on purpose (theirs count
//! ticks, ours ring alarms): here the seed says who stands, and when. Snapshots, reads and changes of the
//! members, which have no message in common. Disks that are slower than the network: both kinds write,
//! then speak, though a leader of theirs could speak first. Which entries a message carries, and how often
//! one is sent, is each kind's own.
//!
//! Theirs keep on disk what they know to be committed; ours learn it anew. Theirs panic over some of what
//! no honest member says, ours take no notice; the border panics where there is no word for it.

pub mod border;
pub mod cluster;
pub mod history;
pub mod member;
mod ours;
mod theirs;

pub use cluster::{Counts, Plan, run};
pub use history::{Fall, Promise};
pub use member::{Did, Kind, Member, Seen, Settings};
pub use ours::{Ours, Sabotage};
pub use theirs::Theirs;
