//! # Raft
//!
//! A replicated log, and a key-value store that every member makes of it. Members elect a leader
//! for a term; the leader takes commands, appends them to its log, and has the others copy it. What
//! a majority has copied is committed, and is applied to the store, everywhere in one order.
//!
//! - **Source.** Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm
//!   (Extended Version)*, 2014, cited as §; Ongaro, *Consensus: Bridging Theory and Practice*, 2014,
//!   cited as thesis §.
//! - **Promises.** Figure 3 of the paper: *Election Safety*, over all of history: of each term, at
//!   most one leader, ever. *Leader Append-Only*. *Log Matching*. *Leader Completeness*. *State
//!   Machine Safety*. And beneath and beyond them: *committed entries survive* on a majority of
//!   disks; *match index is sound*: what a leader believes a follower to have, it has; *only entries
//!   of its own term are counted* by a leader that commits; *linearizable*: clients see one store,
//!   and each of their commands once, however often they sent it; *a leader commits*: once a majority
//!   is up and the network calm, a leader is elected and commits what is in its log. With snapshots
//!   (§7), *stores are what the log makes*: what a node has applied, entry by entry or at once, is what
//!   the committed entries make, sessions too. While members change (§6; thesis chapter 4), *no second
//!   majority*: no two nodes that could be elected have majorities that do not meet. Of a leadership
//!   that is handed over (thesis §3.10), *a transfer ends*: in the calm the leader has handed over, or
//!   leads on. With pre-votes (thesis §4.2.3, §9.6), *a healthy leader is not deposed*: where a leader and
//!   a majority hear each other in time, a member that was cut off, or crashed, or was removed and
//!   never heard of it, begins no term. Of reads by a lease (thesis §6.4.1), *nobody leads against a
//!   lease*: while a leader has one, no other is elected.
//! - **Assumes.** A disk keeps what it acknowledged; members crash and restart, and do not lie. Of
//!   the network and of time, nothing, but for *a leader commits* and *a transfer ends*; and but for
//!   leases ([`Reads::Lease`]), for which a leader's clock has to count as much as is allowed, or more,
//!   while a follower's counts the shortest election timeout, and an alarm to ring no later than it may.
//!   A process that is paused past its alarms has a clock that is worse than that.
//! - **Leaves out.** A refusal of a vote is not sent, as nobody acts on it; a higher term is told by
//!   [`Message::Stale`]. Where a member is, is for the adapter to know: a change names nodes. A snapshot is
//!   of the whole store. A learner has no way to ask for its promotion.
//! - **The textbook says.** `RaftNode` and `RaftCluster` (chapter 8, Raft consensus): keeps nothing
//!   on disk (`election_safety_falls_when_the_vote_is_forgotten`), counts a majority without itself
//!   (`election_safety_falls_with_half_of_the_members`), appends whatever arrives
//!   (`log_matching_falls_without_the_check_of_the_previous_entry`), never clears its vote for a new
//!   term (`a_leader_commits_falls_when_the_vote_outlives_its_term`).

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{Machine, NodeId, Outbox, State};

mod durable;
mod election;
mod log;
mod membership;
mod message;
mod reading;
mod replication;
mod settings;
mod snapshot;
mod store;
mod transfer;

pub use crate::kv::{Operation, Reply, Session};
pub use durable::{Change, Durable};
use election::Standing;
pub use log::{Command, Entry, Index, Log, Position, Term};
pub use membership::{Current, MemberChange, Membership};
pub use message::{Message, Rest};
pub use reading::{Lease, Read};
pub use settings::{
    Changes, ELECTION_MIN_MS, Elections, FirstEntry, Flow, Leadership, Reads, Snapshots,
};
pub use snapshot::{Part, Piece, Place, Receiving, Sending, Snapshot};
pub use store::Store;
pub use transfer::{Outcome, Transfer};

/// How many calls a leader has under way before it refuses more.
pub const PENDING_MAX: usize = 1024;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    /// This node.
    pub me: NodeId,
    /// The first members, all that vote. If they may change, this node need not be one of them.
    pub members: NodeSet,
    /// Who may become one, and is none at first.
    pub spares: NodeSet,
    /// How an election begins.
    pub elections: Elections,
    /// How a term begins.
    pub first_entry: FirstEntry,
    /// Whether a leader that hears from no majority stays one.
    pub leadership: Leadership,
    /// How reads are answered.
    pub reads: Reads,
    /// How many entries one message carries at most; not 0.
    pub batch_entries_max: u32,
    /// How many bytes they have at most, or the pieces of a snapshot; but one is always sent.
    pub batch_bytes_max: u32,
    /// How entries flow to a follower.
    pub flow: Flow,
    /// Whether the log is compacted.
    pub snapshots: Snapshots,
    /// How the members may change.
    pub changes: Changes,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Have this command done, once.
    Command {
        /// The caller's name for this call.
        ticket: u64,
        /// The client's name for the command: the same whenever it is sent again.
        session: Session,
        /// What.
        operation: Operation,
    },
    /// Which value has the key? Refused by a machine with [`Reads::Log`].
    Read {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: alloc::string::String,
    },
    /// Change the members.
    Members {
        /// The caller's name for this call.
        ticket: u64,
        /// How.
        change: MemberChange,
    },
    /// Let another lead.
    Transfer {
        /// The caller's name for this call.
        ticket: u64,
        /// Who.
        to: NodeId,
    },
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// No leader was heard for an election timeout. Which member's rings first is chance (§5.2): a
    /// race of these alarms.
    Election,
    /// The leader is to be heard.
    Heartbeat,
    /// The leader is to look whether a majority was heard.
    Quorum,
    /// The leader is to look whether its heir has taken over.
    Transfer,
    /// What the round of this number may have brought the leader is over: its lease, or the hope of one.
    Lease(u64),
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// This node leads.
    Elected {
        /// The term.
        term: Term,
        /// The end of its log.
        last: Position,
    },
    /// The leader appended an entry of its own.
    Proposed {
        /// Where.
        position: Position,
    },
    /// The leader found an entry to be on a majority.
    Decided {
        /// The leader's term.
        term: Term,
        /// Which.
        position: Position,
    },
    /// This node knows the entry to be committed, and applied it.
    Committed {
        /// The node's term.
        term: Term,
        /// Where it is.
        index: Index,
        /// What it is.
        entry: Entry,
    },
    /// This node installed a snapshot of another's: it applied what that stands for.
    Installed {
        /// The last entry that it stands for.
        position: Position,
    },
    /// A leader has a lease, or has it for longer.
    Leased {
        /// By which round.
        round: u64,
    },
    /// It has it no more.
    LeaseEnded {
        /// The last round that it had one by.
        round: u64,
    },
    /// The call to hand over returned.
    Transferred {
        /// The caller's name for it.
        ticket: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// The call returned.
    Replied {
        /// The caller's name for it.
        ticket: u64,
        /// The store's reply.
        reply: Reply,
    },
    /// This node ceased to lead while the call was under way. What becomes of it is unknown.
    Abandoned {
        /// The caller's name for it.
        ticket: u64,
    },
    /// The call was not begun, and will have no effect.
    Refused {
        /// The caller's name for it.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
    },
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// Another node leads, or none.
    NotLeader,
    /// [`PENDING_MAX`] calls are under way.
    Busy,
    /// Reads go through the log here.
    NoReads,
    /// The node hands its leadership over.
    HandingOver,
    /// The members may not change here.
    FixedMembers,
    /// The change before is not over.
    ChangeUnderWay,
    /// The leader has not committed an entry of its own term yet.
    TermTooYoung,
    /// The change makes no sense now: nobody knows the node, or it is a member, or none; a learner
    /// lacks what is committed; nobody would be left; or it is not how members change here.
    Unfit,
}

/// What a crash takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// What this node is.
    pub role: Role,
    /// The last entry known to be committed. All up to it is applied.
    pub commit: Index,
    /// What the applied entries made.
    pub store: Store,
    /// Who the members are: as the log says, or the snapshot, or the machine.
    pub members: Current,
    /// The snapshot of which this node has a part.
    pub receiving: Option<Receiving>,
    /// True if a leader may have a lease by this node, which votes for nobody until its alarm rings. After
    /// a restart that is so, for all it knows. Always false where there are no leases.
    pub promised: bool,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It follows whoever leads its term.
    Follower {
        /// Whom it heard since its alarm last rang. Kept where pre-votes are refused on its
        /// account, and nowhere else.
        leader: Option<NodeId>,
    },
    /// It asks whether it could win.
    PreCandidate {
        /// Who would vote for it.
        votes: NodeSet,
    },
    /// It stands for election.
    Candidate {
        /// Who voted for it.
        votes: NodeSet,
    },
    /// It leads.
    Leader(Leader),
}

/// What a leader knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leader {
    /// Of each other member, how far it is.
    pub progress: Map<NodeId, Progress>,
    /// Who was heard since the alarm last rang, where quorums are checked.
    pub heard: NodeSet,
    /// Calls that wait for their entry to be applied: their tickets, by its index.
    pub waiting: Map<Index, u64>,
    /// Reads that wait for their round, oldest first.
    pub reads: Vec<Read>,
    /// The last round that began.
    pub round: u64,
    /// Who answered it.
    pub confirmed: NodeSet,
    /// By what it reads without asking anyone.
    pub lease: Lease,
    /// To whom it hands over.
    pub transfer: Option<Transfer>,
}

/// How far a follower is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// What it is known to have.
    pub matching: Index,
    /// What to send it next.
    pub next: Index,
    /// How fast.
    pub pace: Pace,
    /// The last index of each message with entries that is under way, where several may be.
    pub in_flight: Vec<Index>,
    /// The snapshot that it needs first.
    pub sending: Option<Sending>,
}

/// How fast entries are sent, where they are sent ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pace {
    /// One message at a time: where the follower's log ends is not known.
    Probing,
    /// As many as may be under way.
    Streaming,
}

impl Machine for Raft {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        out.arm(Timer::Election);
        let (log, snapshot) = (&durable.log, &durable.snapshot);
        let changed = log.members_at(log.last().index).or(snapshot.members);
        Volatile {
            role: Role::Follower { leader: None },
            commit: snapshot.position.index,
            store: snapshot.store.clone(),
            members: changed.unwrap_or_else(|| self.first_members()),
            receiving: None,
            promised: self.reads.by_lease(),
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Command {
                ticket,
                session,
                operation,
            } => self.on_command(state, ticket, session, operation, out),
            Call::Read { ticket, key } => self.on_read(state, ticket, key, out),
            Call::Members { ticket, change } => self.on_change(state, ticket, change, out),
            Call::Transfer { ticket, to } => self.on_transfer(state, ticket, to, out),
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        // Only those who are members have a say, or may be: thesis §4.1, a server does not ask its own
        // configuration, which may be older than the sender's.
        if !self.members.union(self.spares).contains(from) || from == self.me {
            return;
        }
        match message {
            Message::RequestPreVote { term, last } => {
                self.on_request_pre_vote(state, from, term, last, out);
            }
            Message::PreVote { term } => self.on_pre_vote(state, from, term, out),
            Message::RequestVote { term, last } => {
                self.on_request_vote(state, from, (term, last), Standing::ByItself, out);
            }
            Message::RequestVoteAsHeir { term, last } => {
                self.on_request_vote(state, from, (term, last), Standing::AsHeir, out);
            }
            Message::Vote { term } => self.on_vote(state, from, term, out),
            Message::Stale { term } => self.observe(state, term, out),
            Message::AppendEntries {
                term,
                previous,
                entries,
                commit,
                round,
            } => {
                let sent = replication::Sent {
                    previous,
                    entries,
                    commit,
                    round,
                };
                self.on_append_entries(state, from, term, sent, out);
            }
            Message::Appended {
                term,
                matching,
                round,
            } => self.on_appended(state, from, term, matching, round, out),
            Message::Conflict {
                term,
                at,
                hint,
                round,
            } => self.on_conflict(state, from, term, (at, hint), round, out),
            Message::InstallSnapshot { term, part } => {
                self.on_install_snapshot(state, from, term, part, out);
            }
            Message::Received {
                term,
                position,
                offset,
                round,
            } => self.on_received(state, from, term, (position, offset), round, out),
            Message::TimeoutNow { term } => self.on_timeout_now(state, from, term, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Election => self.on_election_timeout(state, out),
            Timer::Heartbeat => self.on_heartbeat(state, out),
            Timer::Quorum => self.on_quorum_check(state, out),
            Timer::Transfer => Self::on_transfer_timeout(state, out),
            Timer::Lease(round) => Self::on_lease_over(state, round, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let milliseconds = |count: u32| Duration::from_millis(count.into());
        // §5.6: broadcast time ≪ election timeout; §9.3 recommends 150 to 300 ms.
        match timer {
            Timer::Election | Timer::Transfer => {
                milliseconds(ELECTION_MIN_MS)..milliseconds(2 * ELECTION_MIN_MS)
            }
            // Never later than that, or it reads by a lease that is over.
            Timer::Lease(_) => {
                let most = self.reads.lease_ms();
                milliseconds(most.saturating_sub(1))..milliseconds(most)
            }
            Timer::Heartbeat => Duration::from_millis(30)..Duration::from_millis(40),
            Timer::Quorum => Duration::from_millis(300)..Duration::from_millis(310),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable {
            term,
            vote,
            snapshot,
            log,
        } = &state.durable;
        let last = log.last();
        let members = &state.volatile.members.membership;
        let sound = match &state.volatile.role {
            Role::Follower { .. } | Role::PreCandidate { .. } => true,
            // §5.2: a candidate votes for itself, and with enough votes it is none any more.
            Role::Candidate { votes } => {
                *vote == Some(self.me) && votes.contains(self.me) && !members.is_quorum(*votes)
            }
            Role::Leader(leader) => {
                leader.lease.holds(leader.round)
                    && leader.progress.values().all(|progress| {
                        progress.matching < progress.next && progress.matching <= last.index
                    })
            }
        };
        let commit = state.volatile.commit;
        // What is compacted is in the snapshot, and what is in the snapshot is committed.
        let compacted = log.base().index <= snapshot.position.index
            && snapshot.position.index <= commit
            && log.contains(snapshot.position);
        sound && compacted && last.term <= *term && commit <= last.index
    }
}

impl Raft {
    /// The others that take part.
    fn others(&self, state: &State<Self>) -> NodeSet {
        let mut others = state.volatile.members.membership.everyone();
        others.remove(self.me);
        others
    }

    /// §5.1: whoever meets a higher term adopts it, and follows.
    fn observe(&self, state: &mut State<Self>, term: Term, out: &mut Outbox<Self>) {
        if state.durable.term < term {
            state.durable.term = term;
            state.durable.vote = None;
            self.become_follower(state, None, out);
        }
    }

    /// True if the message is of a term that is over.
    ///
    /// The paper answers it. Where elections alone decide who leads, nobody needs that: who has the
    /// later term will stand for election in a later one, and all hear of it. A pre-vote brings no
    /// such news, a leader that checks its quorum should not wait for it, and who has promised a leader
    /// not to vote does not listen to it: so there its sender is told, or a member of a later term could
    /// neither follow nor be followed.
    fn is_stale(
        &self,
        state: &State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) -> bool {
        let stale = term < state.durable.term;
        let told = match (self.elections, self.leadership) {
            (Elections::Direct, Leadership::UntilDeposed) => self.reads.by_lease(),
            (Elections::PreVote, _) | (_, Leadership::CheckQuorum) => true,
        };
        if stale && told {
            let term = state.durable.term;
            out.send(from, Message::Stale { term });
        }
        stale
    }

    /// It hears the leader of its term: it follows it until its alarm rings, and where there are leases
    /// it promises as much.
    fn follow(&self, state: &mut State<Self>, leader: NodeId, out: &mut Outbox<Self>) {
        self.become_follower(state, Some(leader), out);
        state.volatile.promised = self.reads.by_lease();
        out.arm(Timer::Election);
    }

    /// It follows, if it did not, and gives up what it did as something else.
    fn become_follower(
        &self,
        state: &mut State<Self>,
        leader: Option<NodeId>,
        out: &mut Outbox<Self>,
    ) {
        let leader = match self.elections {
            Elections::Direct => None,
            Elections::PreVote => leader,
        };
        let before = core::mem::replace(&mut state.volatile.role, Role::Follower { leader });
        match before {
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => {}
            Role::Leader(mut led) => {
                for ticket in led.waiting.values() {
                    out.tell(Event::Abandoned { ticket: *ticket });
                }
                for read in &led.reads {
                    out.tell(Event::Abandoned {
                        ticket: read.ticket,
                    });
                }
                led.lease.end(out);
                if let Some(Transfer { ticket, .. }) = led.transfer {
                    let outcome = Outcome::Yielded;
                    out.tell(Event::Transferred { ticket, outcome });
                    out.disarm(Timer::Transfer);
                }
                out.disarm(Timer::Heartbeat);
                out.disarm(Timer::Quorum);
                out.arm(Timer::Election);
            }
        }
    }
}
