//! # The strong store
//!
//! A store in which every key behaves as if there were one copy of it, though every member has one. A
//! *leader* is elected for a *term* by a majority of the membership. It serialises what is asked of a
//! key, and writes in two phases: it *prepares* a record at the members, and when a majority of the
//! membership has it on disk, the write is decided; it logs that, and tells the members to *commit*.
//!
//! Every member is a fence. It promises a term by writing it to its disk, and from then on refuses
//! whatever a leader of an older term asks. A leader of a new term trusts nobody's memory, nor its own:
//! before it serves a key, it *inquires* at a majority what they have of it. Of what they report the
//! newest record holds. If it is committed, it stands. If it is only prepared, nobody can know whether
//! it was decided; so the leader finishes it, by preparing it again in its own term. A record that no
//! member of that majority has was not decided and never will be: a newer one takes its place, and that
//! is how a write aborts.
//!
//! A get inquires in the same way. The answers also say that a majority still knows of no later term, so
//! that the leader was not deposed before it was asked.
//!
//! It differs from Raft ([`crate::raft`]) in that there is no log: of each key there is one record, and
//! keys have no order among each other. So any member can lead, whatever it has; a new leader brings
//! keys up to date one by one, when they are asked for. It differs from two-phase commit
//! ([`crate::commit`]), where all must vote and a dead coordinator blocks, in that a majority is enough
//! and any leader can finish what another began; but a write is of one key.
//!
//! - **Source.** Gray, *Notes on Data Base Operating Systems*, 1978, for the two phases; Lamport, *The
//!   Part-Time Parliament*, TOCS 16(2), 1998, for what makes them safe: a term is a ballot, an inquiry
//!   its first phase, a prepare its second. Rystsov, *`CASPaxos`: Replicated State Machines without Logs*,
//!   2018, keeps one record per key; here one election is the first phase of all keys, but for what they
//!   hold. Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm*, 2014, §5.2, for
//!   the election, and Ongaro's thesis, §6.4, for reads that confirm the term.
//! - **Promises.** *linearizable*: gets, puts and compare-and-swaps of a key take effect each at one
//!   moment between call and return, those that were refused never, those of unknown outcome once at
//!   most. *one leader per term*. *no acknowledgement under a fenced term*: a leader that is asked when a
//!   majority has promised a later term never answers. *what is acknowledged survives*: what was decided
//!   is on the disks of a majority, or a record that builds on it is. *one value per version*: no two values are
//!   decided as one version of a key. *only what was decided is committed*: on any disk. *serves again*:
//!   once a majority is up and nothing is lost any more, every call at a live member returns, and a
//!   fresh write is acknowledged; of three members, before more than seven alarms have rung.
//! - **Assumes.** A disk keeps what it acknowledged; members crash and restart, and do not lie. Of the
//!   network and of time, nothing: no clock is read, and no lease is held.
//! - **Leaves out.** Leases, which spare a get its round of messages and rest on clocks; writes of several
//!   keys, which are [`crate::commit`]'s; deleting a key; changing the members; one round of messages
//!   for several gets; pre-votes, so a member that was cut off deposes the leader when it is back;
//!   bringing a member up to date that missed both phases of a write, which the next write of the key
//!   or the next term does.
//! - **The textbook says.** `StrongConsistencyStore` (chapter 8, strong consistency): every node appoints
//!   the first that it takes for healthy, without asking (`one_leader_per_term_falls_when_members_appoint_themselves`),
//!   once (`serves_again_falls_when_the_leader_is_fixed`); its `term` is never used
//!   (`one_value_per_version_falls_without_fencing`), and a leader that is dead or deposed serves on
//!   (`no_acknowledgement_under_a_fenced_term_falls_when_the_dead_lead_on`,
//!   `linearizable_falls_when_gets_are_not_confirmed`). A prepare keeps nothing
//!   (`what_is_acknowledged_survives_falls_when_prepare_keeps_nothing`); only those who seem healthy are
//!   asked (`what_is_acknowledged_survives_falls_when_only_the_healthy_are_asked`); what they reply to a
//!   commit is ignored (`what_is_acknowledged_survives_falls_when_replies_are_ignored`). No decision is
//!   logged (`what_is_acknowledged_survives_falls_without_a_decision_log`). An abort names a key and not
//!   a write (`what_is_acknowledged_survives_falls_when_an_abort_names_a_key`), and undoes nothing
//!   (`linearizable_falls_when_an_abort_undoes_nothing`). Versions are milliseconds, of which two writes
//!   may share one (`one_value_per_version_falls_when_a_clock_counts`).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod election;
mod record;
mod replica;
mod serving;
mod work;

pub use record::{Record, Standing, Term};
pub use work::{Action, Leader, Phase, Purpose, Request, Work};

/// The longest key, in bytes: with the longest value it fits one datagram.
pub const KEY_BYTES_MAX: usize = 128;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 768;
/// How many keys a leader works on at once before it refuses more.
pub const KEYS_MAX: usize = 256;
/// How many requests for one key a leader holds at once before it refuses more.
pub const REQUESTS_MAX: usize = 64;

/// One member of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// This node.
    pub me: NodeId,
    /// All members. A majority is always one of these, whoever can be reached.
    pub members: NodeSet,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Which value has the key?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
    },
    /// Let the key have this value.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
        /// The value, at most [`VALUE_BYTES_MAX`] long.
        value: String,
    },
    /// Let the key have this value if it has that one.
    CompareAndSwap {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
        /// The value it must have, or nothing if it must not have been written.
        expected: Option<String>,
        /// The value it then gets, at most [`VALUE_BYTES_MAX`] long.
        new: String,
    },
}

/// What travels. Each message names the term of the leader, or of the candidate, that it is from or for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// From a candidate: promise me this term.
    RequestVote {
        /// Which.
        term: Term,
    },
    /// From a member: promised.
    Vote {
        /// Which.
        term: Term,
    },
    /// From the leader: I lead this term.
    Lead {
        /// Which.
        term: Term,
    },
    /// From the leader: what do you have of this key?
    Inquire {
        /// Its term.
        term: Term,
        /// Its name for the inquiry, never used twice in the term.
        number: u64,
        /// The key.
        key: String,
    },
    /// From a member: this, and I have promised no later term.
    Report {
        /// The term of the inquiry.
        term: Term,
        /// Its name.
        number: u64,
        /// The key.
        key: String,
        /// What the disk has of it.
        record: Option<Record>,
    },
    /// From the leader, the first phase: have this on your disk.
    Prepare {
        /// Its term.
        term: Term,
        /// Its name for the write, never used twice in the term.
        number: u64,
        /// The key.
        key: String,
        /// Which version of the key this is.
        version: u64,
        /// The value.
        value: String,
    },
    /// From a member: my disk has it, or something newer.
    Prepared {
        /// The term of the prepare.
        term: Term,
        /// Its name.
        number: u64,
        /// The key.
        key: String,
    },
    /// From the leader, the second phase: this was decided. Nobody answers, as nothing rests on it but
    /// how much work the next leader has: a majority has the record on disk.
    Commit {
        /// Its term.
        term: Term,
        /// The key.
        key: String,
        /// Which version of the key this is.
        version: u64,
        /// The value.
        value: String,
    },
}

/// A member's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// No leader was heard of for long.
    Election,
    /// A leader says so again, and asks again what was not answered.
    Heartbeat,
}

/// What an observer learns: replies, elections, decisions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// This member's disk has promised a term: leaders of older ones are fenced off here.
    Promised {
        /// Which.
        term: Term,
    },
    /// This member leads.
    Elected {
        /// The term.
        term: Term,
    },
    /// A majority has this record on disk, and the leader has logged that.
    Decided {
        /// The leader's term.
        term: Term,
        /// The key.
        key: String,
        /// Which version of the key this is.
        version: u64,
        /// The value.
        value: String,
    },
    /// The put or the swap took effect.
    Done {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// The get returned.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// The value, or nothing if the key was never written.
        value: Option<String>,
    },
    /// The key had another value than expected. The swap had no effect, and will have none.
    Mismatched {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// The call had no effect, and will have none.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The leader was deposed while the write was under way. Its successor finishes it or does not:
    /// it took effect, or will, or never will.
    Unknown {
        /// The caller's name for the call.
        ticket: u64,
    },
}

/// Why a call had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// This member does not lead, or does no longer.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<NodeId>,
    },
    /// The leader works on [`KEYS_MAX`] keys, or has [`REQUESTS_MAX`] requests for this one.
    Busy,
    /// The key or the value is longer than a datagram can carry.
    TooLong,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The fence: nothing of an older term is heard.
    pub term: Term,
    /// Whom this member voted for in its term.
    pub vote: Option<NodeId>,
    /// The newest record of each key that this member was told.
    pub records: Map<String, Record>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Term and vote, together: a vote is for a term.
    Ballot(Term, Option<NodeId>),
    /// The key has this record.
    Record(String, Record),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if (self.term, self.vote) != (older.term, older.vote) {
            changes.push(Change::Ballot(self.term, self.vote));
        }
        let records = self.records.changed_since(&older.records);
        changes.extend(records.map(|(key, record)| Change::Record(key.clone(), record.clone())));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Ballot(term, vote) => (self.term, self.vote) = (term, vote),
            Change::Record(key, record) => {
                self.records.insert(key, record);
            }
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// What this member is.
    pub role: Role,
}

/// What a member is. A restart makes it a follower, whatever it was: it has forgotten which replies it
/// waits for, and so it never leads a term twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It does what it is told.
    Follower {
        /// The leader of its term, once it has heard of it.
        leader: Option<NodeId>,
    },
    /// It stands for election in its term.
    Candidate {
        /// Who voted for it.
        votes: NodeSet,
    },
    /// It leads its term.
    Leader(Leader),
}

impl Machine for Store {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, _: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.members.contains(self.me) {
            out.arm(Timer::Election);
        }
        let role = Role::Follower { leader: None };
        Volatile { role }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (ticket, key, action) = match call {
            Call::Get { ticket, key } => (ticket, key, Action::Get),
            Call::Put { ticket, key, value } => (ticket, key, Action::Put(value)),
            Call::CompareAndSwap {
                ticket,
                key,
                expected,
                new,
            } => (ticket, key, Action::CompareAndSwap { expected, new }),
        };
        self.on_request(state, key, Request { ticket, action }, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if !self.others().contains(from) || !self.members.contains(self.me) {
            return; // Members alone are asked, and members alone count.
        }
        match message {
            Message::RequestVote { term } => Self::on_request_vote(state, from, term, out),
            Message::Vote { term } => self.on_vote(state, from, term, out),
            Message::Lead { term } => Self::on_lead(state, from, term, out),
            Message::Inquire { term, number, key } => {
                Self::on_inquire(state, from, term, number, key, out);
            }
            Message::Report {
                term,
                number,
                key,
                record,
            } => self.on_report(state, from, (term, number), &key, record, out),
            Message::Prepare {
                term,
                number,
                key,
                version,
                value,
            } => {
                let record = Record::prepared(term, version, value);
                Self::on_prepare(state, from, number, key, record, out);
            }
            Message::Prepared { term, number, key } => {
                self.on_prepared(state, from, (term, number), &key, out);
            }
            Message::Commit {
                term,
                key,
                version,
                value,
            } => {
                let record = Record::prepared(term, version, value).committed();
                Self::on_commit(state, key, record, out);
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Election => self.on_election_timeout(state, out),
            Timer::Heartbeat => self.on_heartbeat(state, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match timer {
            Timer::Election => Duration::from_millis(150)..Duration::from_millis(300),
            Timer::Heartbeat => Duration::from_millis(40)..Duration::from_millis(50),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable {
            term,
            vote,
            records,
        } = &state.durable;
        // The fence: a disk has nothing of a term that it has not promised.
        records.values().all(|record| record.term <= *term)
            && match &state.volatile.role {
                Role::Follower { .. } => true,
                Role::Candidate { votes } => {
                    *vote == Some(self.me) && votes.contains(self.me) && !self.is_majority(*votes)
                }
                Role::Leader(leader) => {
                    *vote == Some(self.me)
                        && leader.work.len() <= KEYS_MAX
                        && (leader.work.iter()).all(|(key, work)| {
                            self.work_holds(leader.next, work, *term, records.get(key))
                        })
                }
            }
    }
}

impl Store {
    /// All members but this one.
    pub(crate) fn others(&self) -> NodeSet {
        let me = NodeSet::from_iter([self.me]);
        self.members.difference(me)
    }

    /// More than half of the membership, and not of those who can be reached.
    pub(crate) fn is_majority(&self, nodes: NodeSet) -> bool {
        self.members.majority() <= nodes.intersection(self.members).len()
    }
}
