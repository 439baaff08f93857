//! # The quorum register
//!
//! A read and write register per key, replicated so that it survives the crash of a minority. Any
//! node may be asked; it coordinates the operation in two phases. It first *queries* a read quorum
//! for the newest tagged value. It then *stores* at a write quorum: a put its own value under a
//! larger tag; a get the value that it is about to return, so that no later get returns an older one.
//!
//! - **Source.** Attiya, Bar-Noy, Dolev, *Sharing Memory Robustly in Message-Passing Systems*, JACM
//!   42(1), 1995; several writers as in Lynch and Shvartsman, *Robust Emulation of Shared Memory
//!   Using Dynamic Quorum-Acknowledged Broadcasts*, FTCS 1997, §3.
//! - **Promises.** *linearizable*: under [`Reads::Atomic`], puts and gets of a key take effect each
//!   at one moment between call and return. *regular*: under [`Reads::Regular`], a get returns the
//!   newest put that finished before it began, or one that overlaps it. *a tag names one value*.
//!   *calls return at most once*. *calls return*: once a quorum is up and the network calm, every
//!   call at a live node returns.
//! - **Assumes.** Read and write quorums intersect; a disk keeps what it acknowledged; members crash
//!   and restart, and do not lie. Of the network and of time, nothing.
//! - **Leaves out.** Changing the members; compare-and-swap, which no read and write register can
//!   offer to two processes that may crash (Herlihy, *Wait-Free Synchronization*, TOPLAS 13(1), 1991).
//! - **The textbook says.** `QuorumSystem` (chapter 8, quorum-based systems): stores whatever
//!   arrives last (`linearizable_falls_when_stores_are_unconditional`), takes versions from the
//!   client's clock (`linearizable_falls_without_the_query_phase`), never writes back
//!   (`linearizable_falls_without_write_back`), takes an absent key for a dead replica
//!   (`calls_return_falls_when_absence_is_no_answer`), and its store counts a majority of whoever is
//!   reachable (`linearizable_falls_with_a_majority_of_the_reachable`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};
use crate::quorum::Quorums;

/// The longest key, in bytes: with the longest value it fits one datagram.
pub const KEY_BYTES_MAX: usize = 128;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 768;
/// How many operations one node coordinates at once before it refuses more.
pub const PENDING_MAX: usize = 1024;

/// One node of the register: a replica if it is a member of the quorums, and in any case one that
/// can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// This node.
    pub me: NodeId,
    /// The replicas, and how many of them are enough.
    pub quorums: Quorums,
    /// What a get promises.
    pub reads: Reads,
}

/// What a get promises (Lamport, *On Interprocess Communication*, Distributed Computing 1, 1986).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reads {
    /// A get writes back what it returns.
    Atomic,
    /// A get returns at once. Of two gets in a row the second may return the older value.
    Regular,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let the key have this value.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
        /// The value, at most [`VALUE_BYTES_MAX`] long.
        value: String,
    },
    /// Which value has the key?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To a replica: what do you have?
    Query {
        /// The sender's name for the operation.
        operation: Operation,
        /// The key.
        key: String,
    },
    /// From a replica: this.
    Answer {
        /// The operation that asked.
        operation: Operation,
        /// What it has.
        version: Version,
    },
    /// To a replica: have this, unless you have something newer.
    Store {
        /// The sender's name for the operation.
        operation: Operation,
        /// The key.
        key: String,
        /// The version to have.
        version: Version,
    },
    /// From a replica: my disk has it, or something newer.
    Stored {
        /// The operation that asked.
        operation: Operation,
    },
}

/// A coordinator's name for one operation, never used twice: answers to another operation, from
/// before a restart too, are told apart by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Operation {
    /// How often the coordinator had booted.
    pub incarnation: u64,
    /// A count within the incarnation.
    pub number: u64,
}

/// The version of a value. Tags order the writes: by number, and between two of one number by
/// writer, so that no two writes have one tag.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// One more than the largest that the writer saw.
    pub number: u64,
    /// Who wrote; nobody, of the version that every key begins with.
    pub writer: Option<NodeId>,
}

/// A value under its tag. The default is what every replica has of a key that nobody wrote.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Its place in the order of writes.
    pub tag: Tag,
    /// The value, or nothing if nobody wrote.
    pub value: Option<String>,
}

// States and stories are read by people: these three print as one word each.

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.incarnation, self.number)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.writer
            .iter()
            .try_for_each(|writer| write!(f, "@{writer}"))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value:?}:{:?}", self.tag),
            None => write!(f, "nothing:{:?}", self.tag),
        }
    }
}

/// A coordinator's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The operation of this number has not returned: its question, or the answers, may be lost.
    Retry(u64),
}

/// What an observer learns: the replies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The put took effect.
    Done {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// The get returned.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// The value, or nothing if nobody wrote.
        value: Option<String>,
    },
    /// The call was not begun, and will have no effect.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
    },
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// [`PENDING_MAX`] operations are under way at this node.
    Busy,
    /// The key or the value is longer than a datagram can carry.
    TooLong,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often this node booted, so that no operation's name is used twice.
    pub incarnation: u64,
    /// The newest version of each key that this node was told or minted. For a member it is the
    /// replica. For any coordinator it is what keeps two of its tags apart.
    pub versions: Map<String, Version>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The node booted for this time.
    Booted(u64),
    /// The key has this version.
    Version(String, Version),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        let versions = self.versions.changed_since(&older.versions);
        changes
            .extend(versions.map(|(key, version)| Change::Version(key.clone(), version.clone())));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Version(key, version) => {
                self.versions.insert(key, version);
            }
        }
    }
}

impl Durable {
    /// The version this node has of `key`.
    pub fn version(&self, key: &str) -> Version {
        self.versions.get(key).cloned().unwrap_or_default()
    }

    /// Takes `version` unless it has one at least as new.
    fn keep(&mut self, key: &str, version: &Version) {
        if self.version(key).tag < version.tag {
            self.versions.insert(key.into(), version.clone());
        }
    }
}

/// What a crash takes: the operations under way. Their callers will not hear of them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// The number of the next operation.
    pub next: u64,
    /// The operations under way, by number.
    pub pending: Map<u64, Pending>,
}

/// One operation under way at its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// The caller's name for it.
    pub ticket: u64,
    /// The key.
    pub key: String,
    /// What was asked.
    pub goal: Goal,
    /// How far it is.
    pub phase: Phase,
    /// Of the query: the newest answer so far. Of the store: what is being stored.
    pub version: Version,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Goal {
    /// To write this value.
    Put(String),
    /// To read.
    Get,
}

/// The two phases of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for a read quorum.
    Query {
        /// The members that answered.
        answered: NodeSet,
        /// Those of them whose answer was the newest version.
        holders: NodeSet,
    },
    /// Waiting for a write quorum.
    Store {
        /// The members known to have the version, or a newer one, on disk.
        stored: NodeSet,
    },
}

impl Machine for Register {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, _: &mut Outbox<Self>) -> Volatile {
        durable.incarnation = durable.incarnation.saturating_add(1);
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (ticket, key, goal) = match call {
            Call::Put { ticket, key, value } => (ticket, key, Goal::Put(value)),
            Call::Get { ticket, key } => (ticket, key, Goal::Get),
        };
        if let Some(refusal) = refusal(&state.volatile, &key, &goal) {
            out.tell(Event::Refused { ticket, refusal });
            return;
        }
        let number = state.volatile.next;
        state.volatile.next += 1;
        let pending = Pending {
            ticket,
            key,
            goal,
            phase: Phase::Query {
                answered: NodeSet::EMPTY,
                holders: NodeSet::EMPTY,
            },
            version: Version::default(),
        };
        let own = state.durable.version(&pending.key);
        state.volatile.pending.insert(number, pending);
        out.arm(Timer::Retry(number));
        // A member's own copy is the first answer; no message is needed for it.
        self.on_answer(state, self.me, number, own, out);
        if let Some(Pending {
            phase: Phase::Query { .. },
            ..
        }) = state.volatile.pending.get(&number)
        {
            self.ask(state, number, out);
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Query { operation, key } => self.on_query(state, from, operation, &key, out),
            Message::Store {
                operation,
                key,
                version,
            } => self.on_store(state, from, operation, &key, &version, out),
            Message::Answer { operation, version } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_answer(state, from, operation.number, version, out);
                }
            }
            Message::Stored { operation } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_stored(state, from, operation.number, out);
                }
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let Timer::Retry(number) = timer;
        if state.volatile.pending.contains_key(&number) {
            out.arm(Timer::Retry(number));
            self.ask(state, number, out);
        }
    }

    fn delay(&self, _: &Timer) -> Range<Duration> {
        Duration::from_millis(100)..Duration::from_millis(200)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile { next, pending } = &state.volatile;
        pending.len() <= PENDING_MAX
            && pending.iter().all(|(number, pending)| {
                number < next
                    && match pending.phase {
                        // A phase that has its quorum is over.
                        Phase::Query { answered, holders } => {
                            holders.is_subset(answered) && !self.quorums.can_read(answered)
                        }
                        Phase::Store { stored } => {
                            !self.quorums.can_write(stored)
                                // What is being stored was first kept here.
                                && pending.version.tag <= state.durable.version(&pending.key).tag
                        }
                    }
            })
    }
}

impl Register {
    /// A replica answers with the newest version it has.
    fn on_query(
        &self,
        state: &State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        out: &mut Outbox<Self>,
    ) {
        if !self.quorums.contains(self.me) {
            return; // Not a replica: what it has may be older than what a quorum was told.
        }
        let version = state.durable.version(key);
        out.send(from, Message::Answer { operation, version });
    }

    /// A replica takes a newer version, and says that it has it or a newer one.
    fn on_store(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        version: &Version,
        out: &mut Outbox<Self>,
    ) {
        if !self.quorums.contains(self.me) {
            return; // Not a replica: its acknowledgement would count for nothing.
        }
        if too_long(key, version.value.as_deref().unwrap_or_default()) {
            return; // No coordinator of ours says this, and no answer could carry it.
        }
        // Only a newer one: an old message may arrive late, or twice.
        state.durable.keep(key, version);
        // This leaves the node when the disk has the version, and no sooner: see `Sealed`.
        out.send(from, Message::Stored { operation });
    }

    /// A coordinator hears from a replica what it has.
    fn on_answer(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        version: Version,
        out: &mut Outbox<Self>,
    ) {
        if !self.quorums.contains(from) {
            return; // Only members count.
        }
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation returned long ago.
        };
        let Phase::Query { answered, holders } = &mut pending.phase else {
            return; // The query had its quorum; this answer is late.
        };
        if !answered.insert(from) {
            return; // Counted already: a repeated message.
        }
        if pending.version.tag < version.tag {
            *holders = NodeSet::EMPTY;
            pending.version = version;
        } else if version.tag < pending.version.tag {
            return self.end_query(state, number, out);
        }
        holders.insert(from);
        self.end_query(state, number, out);
    }

    /// With a read quorum of answers, the second phase begins.
    fn end_query(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return;
        };
        let Phase::Query { answered, holders } = pending.phase else {
            return;
        };
        if !self.quorums.can_read(answered) {
            return;
        }
        let mut stored = match &pending.goal {
            // A new version: nobody has it yet.
            Goal::Put(value) => {
                let own = state.durable.version(&pending.key).tag;
                pending.version = Version {
                    tag: self.mint(pending.version.tag.max(own)),
                    value: Some(value.clone()),
                };
                NodeSet::EMPTY
            }
            Goal::Get => match self.reads {
                // What nobody wrote, everybody has.
                Reads::Atomic if pending.version.tag == Tag::default() => self.quorums.members(),
                // Those who answered with it have it on disk.
                Reads::Atomic => holders,
                // Nothing is to be written back.
                Reads::Regular => self.quorums.members(),
            },
        };
        if !self.quorums.can_write(stored) {
            // Kept here before it is told to anyone. For a member this is its acknowledgement; for
            // any coordinator it makes its next tag another one, after a restart too.
            state.durable.keep(&pending.key, &pending.version);
            stored.insert(self.me);
        }
        pending.phase = Phase::Store { stored };
        if !self.end_store(state, number, out) {
            self.ask(state, number, out);
        }
    }

    /// The tag of a new write: larger than any that a finished write can have.
    fn mint(&self, newest: Tag) -> Tag {
        Tag {
            // A forged tag at the very top would end the register, as any forged tag would: members
            // do not lie. It must not panic all the same.
            number: newest.number.saturating_add(1),
            writer: Some(self.me),
        }
    }

    /// A coordinator hears from a replica that its disk has the version.
    fn on_stored(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        out: &mut Outbox<Self>,
    ) {
        if !self.quorums.contains(from) {
            return; // Only members count.
        }
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation returned long ago.
        };
        let Phase::Store { stored } = &mut pending.phase else {
            return; // Nothing was asked to be stored yet: no honest replica says this.
        };
        stored.insert(from);
        self.end_store(state, number, out);
    }

    /// With a write quorum, the operation returns. True if it did.
    fn end_store(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) -> bool {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return false;
        };
        let Phase::Store { stored } = pending.phase else {
            return false;
        };
        // Members alone count, so that a coordinator that is none may stand in the set.
        if !self.quorums.can_write(stored) {
            return false;
        }
        let ticket = pending.ticket;
        out.disarm(Timer::Retry(number));
        out.tell(match &pending.goal {
            Goal::Put(_) => Event::Done { ticket },
            Goal::Get => Event::Got {
                ticket,
                value: pending.version.value.clone(),
            },
        });
        state.volatile.pending.remove(&number);
        true
    }

    /// Puts the question of the present phase to everyone who has not answered it, the first time
    /// and again.
    fn ask(&self, state: &State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let key = pending.key.clone();
        let (done, question) = match pending.phase {
            Phase::Query { answered, .. } => (answered, Message::Query { operation, key }),
            Phase::Store { stored } => {
                let version = pending.version.clone();
                (
                    stored,
                    Message::Store {
                        operation,
                        key,
                        version,
                    },
                )
            }
        };
        let others = self.quorums.members().difference(done);
        out.broadcast(others.iter().filter(|node| *node != self.me), &question);
    }
}

fn refusal(volatile: &Volatile, key: &str, goal: &Goal) -> Option<Refusal> {
    let value = match goal {
        Goal::Put(value) => value,
        Goal::Get => "",
    };
    if too_long(key, value) {
        return Some(Refusal::TooLong);
    }
    (volatile.pending.len() >= PENDING_MAX).then_some(Refusal::Busy)
}

fn too_long(key: &str, value: &str) -> bool {
    key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX
}
