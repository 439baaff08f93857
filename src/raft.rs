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
//!   is up and the network calm, a leader is elected and commits what is in its log.
//! - **Assumes.** A disk keeps what it acknowledged; members crash and restart, and do not lie. Of
//!   the network and of time, nothing, but for *a leader commits*.
//! - **Leaves out.** So far: log compaction, changes of membership, leadership transfer, leases,
//!   learners. A refusal of a vote is not sent, as nobody acts on it; a higher term is told by
//!   [`Message::Stale`].
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
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod election;
mod log;
mod reading;
mod replication;
mod store;

pub use crate::kv::{Operation, Reply, Session};
pub use log::{Command, Entry, Index, Log, Position, Term};
pub use store::Store;

/// How many calls a leader has under way before it refuses more.
pub const PENDING_MAX: usize = 1024;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    /// This node.
    pub me: NodeId,
    /// All members, this one too.
    pub members: NodeSet,
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
}

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
    /// Which value has the key? Asked of a machine with [`Reads::ReadIndex`]; refused by others.
    Read {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: alloc::string::String,
    },
}

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
        /// Which round of the leader's this is, that reads may rest on; 0 if none do.
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
}

/// What survives a crash (Figure 2, persistent state).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The latest term this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// The log.
    pub log: Log,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Term and vote, together: a vote is for a term.
    Ballot(Term, Option<NodeId>),
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
        let shared = self.log.shared_with(&older.log);
        if shared < older.log.last().index {
            changes.push(Change::Truncated(shared));
        }
        let added = self.log.after(shared, u32::MAX);
        changes.extend(added.into_iter().map(Change::Appended));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Ballot(term, vote) => (self.term, self.vote) = (term, vote),
            Change::Truncated(index) => self.log.truncate(index),
            Change::Appended(entry) => self.log.push(entry),
        }
    }
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
}

/// How far a follower is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// What it is known to have.
    pub matching: Index,
    /// What to send it next.
    pub next: Index,
}

/// A read under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Read {
    /// The caller's name for it.
    pub ticket: u64,
    /// The key.
    pub key: alloc::string::String,
    /// What has to be applied before it is answered.
    pub index: Index,
    /// True once a round that began after it was answered by a majority.
    pub confirmed: bool,
}

impl Machine for Raft {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, _: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        out.arm(Timer::Election);
        Volatile {
            role: Role::Follower { leader: None },
            commit: Index::default(),
            store: Store::default(),
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
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if !self.members.contains(from) || from == self.me {
            return; // Only the other members have a say.
        }
        match message {
            Message::RequestPreVote { term, last } => {
                self.on_request_pre_vote(state, from, term, last, out);
            }
            Message::PreVote { term } => self.on_pre_vote(state, from, term, out),
            Message::RequestVote { term, last } => {
                self.on_request_vote(state, from, term, last, out);
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
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Election => self.on_election_timeout(state, out),
            Timer::Heartbeat => self.on_heartbeat(state, out),
            Timer::Quorum => self.on_quorum_check(state, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        // §5.6: broadcast time ≪ election timeout; §9.3 recommends 150 to 300 ms.
        match timer {
            Timer::Election => Duration::from_millis(150)..Duration::from_millis(300),
            Timer::Heartbeat => Duration::from_millis(30)..Duration::from_millis(40),
            Timer::Quorum => Duration::from_millis(300)..Duration::from_millis(310),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable { term, vote, log } = &state.durable;
        let last = log.last();
        let sound = match &state.volatile.role {
            Role::Follower { .. } | Role::PreCandidate { .. } => true,
            // §5.2: a candidate votes for itself, and with enough votes it is none any more.
            Role::Candidate { votes } => {
                *vote == Some(self.me) && votes.contains(self.me) && !self.is_majority(*votes)
            }
            Role::Leader(leader) => leader.progress.values().all(|progress| {
                progress.matching < progress.next && progress.matching <= last.index
            }),
        };
        sound && last.term <= *term && state.volatile.commit <= last.index
    }
}

impl Raft {
    /// True if these are more than half of the members.
    pub fn is_majority(&self, nodes: NodeSet) -> bool {
        self.members.majority() <= nodes.intersection(self.members).len()
    }

    /// The other members.
    fn others(&self) -> impl Iterator<Item = NodeId> {
        let me = self.me;
        self.members.iter().filter(move |node| *node != me)
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
    /// such news, and a leader that checks its quorum should not wait for it: so there its sender is
    /// told, or a member of a later term could neither follow nor be followed.
    fn is_stale(
        &self,
        state: &State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) -> bool {
        let stale = term < state.durable.term;
        let told = match (self.elections, self.leadership) {
            (Elections::Direct, Leadership::UntilDeposed) => false,
            (Elections::PreVote, _) | (_, Leadership::CheckQuorum) => true,
        };
        if stale && told {
            let term = state.durable.term;
            out.send(from, Message::Stale { term });
        }
        stale
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
            Role::Leader(led) => {
                for ticket in led.waiting.values() {
                    out.tell(Event::Abandoned { ticket: *ticket });
                }
                for read in &led.reads {
                    out.tell(Event::Abandoned {
                        ticket: read.ticket,
                    });
                }
                out.disarm(Timer::Heartbeat);
                out.disarm(Timer::Quorum);
                out.arm(Timer::Election);
            }
        }
    }
}
