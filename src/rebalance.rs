//! # Ring change
//!
//! A node joins the ring, or leaves it, while clients read and write; and no write that was acknowledged
//! is lost, and no read goes back. From one ring to the next it takes three steps, and a *log* orders
//! them:
//!
//! 1. **Announced.** Writes go to the replicas of both rings, and are acknowledged by a quorum of each.
//!    Reads ask those of the old one. Who is to have keys that it has not, a *pending* replica, gets them
//!    from a quorum of the old replicas.
//! 2. **Switched**, once all pending replicas have theirs. Reads ask the replicas of the new ring. Writes
//!    still go to both.
//! 3. **Settled**, once a quorum of the old replicas of each key that moves has learned that reads have
//!    switched. The new ring is the ring.
//!
//! Every node learns the steps in this order, some late. So a *stage*, the epoch of the ring and the step,
//! says how much a node knows. Every message of an operation carries its coordinator's stage, and a node
//! of another stage does not answer it. When a coordinator learns a step, it begins its operations anew,
//! a write with the stamp that it has, or gives them up.
//!
//! - **Source.** Apache Cassandra, CEP-21 *Transactional Cluster Metadata*, 2022, and the reports of what
//!   happened without it, ScyllaDB's issues 2308, 4208, 5252, 6126, 6305 and 20458; DeCandia et al.,
//!   *Dynamo: Amazon's Highly Available Key-value Store*, SOSP 2007, §4.9. That quorums of two steps in a
//!   row meet is the rule of Lynch and Shvartsman, *RAMBO*, DISC 2002. Replicas keep what they keep in the
//!   [`Table`] of [`crate::database`].
//! - **Promises.** *acknowledged writes are read*: a read that begins after a write was acknowledged
//!   returns it, or a later one in the order of stamps. *reads do not go back*: nor older than what was
//!   returned by a read that had ended. *steps are learned in order*, by every node, crash or not. *a change
//!   ends*: in the calm, all nodes learn that the ring is settled. *calls return*: in the calm, every call at
//!   a live node.
//! - **Assumes.** Nodes crash and restart with their disks, and do not lie. One node has the log, and is no
//!   member. Of the network and of clocks nothing.
//! - **Leaves out.** A log of several nodes: it is a replicated log (see [`crate::raft`]), of which this
//!   one's [`Message::Propose`] and [`Message::Ready`] are the commands. Giving a change up whose pending
//!   replica is gone for good. Throwing away what a node keeps no longer. Levels other than QUORUM, hints and
//!   tombstone collection, which [`crate::database`] has at a fixed ring.
//! - **The textbook says.** `DistributedDatabase` (chapter 8) computes its ring once, from the nodes that it
//!   is given; given one more, a key that moves to it is gone
//!   (`acknowledged_writes_falls_when_nothing_is_streamed`).

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Hybrid, HybridTime};
use crate::data::{Map, NodeSet, Seq};
use crate::database::{
    Cell, KEY_BYTES_MAX, Key, Operation, Stamp, Table, VALUE_BYTES_MAX, Value, Version,
};
use crate::machine::{self, Machine, NodeId, Outbox, State};
use crate::ring::{Epoch, Member, Move, Rack, Ring, RingError, Token, moves};

mod coordinator;
mod log;
mod replica;
mod streaming;
mod view;

pub use streaming::Stream;
pub use view::{Counting, Proposal, Stage, Step, View, Writers};

/// How many operations one node coordinates at once before it refuses more.
pub const PENDING_MAX: usize = 1024;
/// The most places that a node may have on the ring.
pub const VIRTUAL_NODES_MAX: u32 = 256;
/// The most bytes of keys and values in one chunk of a stream, if it has more than one key.
pub const CHUNK_BYTES_MAX: usize = 896;
/// The most keys that a replica looks at for one chunk.
pub const CHUNK_KEYS_MAX: usize = 1024;

/// One node: that with the log, or any other. Those coordinate calls and, as members, keep keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rebalance {
    /// This node.
    pub me: NodeId,
    /// Who orders the steps.
    pub log: NodeId,
    /// All others: those who are members, and who may become members.
    pub nodes: NodeSet,
    /// The ring with which all begin. The log is no member.
    pub first: Ring,
    /// When a write is acknowledged during a change.
    pub counting: Counting,
    /// How many steps an operation lives through, before it is given up.
    pub restarts_max: u32,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let the key have this value, or none.
    Write {
        /// The caller's name for this call.
        ticket: u64,
        /// What this node's clock shows, in any unit, the same at all nodes.
        now: u64,
        /// The key.
        key: Key,
        /// What it gets.
        value: Value,
    },
    /// Which value has the key?
    Read {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: Key,
    },
    /// Change the ring.
    Change {
        /// The caller's name for this call.
        ticket: u64,
        /// How.
        proposal: Proposal,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To the log: let the ring change so, if it is settled and of this epoch.
    Propose {
        /// The epoch.
        at: Epoch,
        /// How.
        proposal: Proposal,
    },
    /// From the log: this step was taken.
    Learn {
        /// Where it leads.
        stage: Stage,
        /// If it announces a change, which.
        proposal: Option<Proposal>,
    },
    /// To the log: which step is next?
    Ask {
        /// What the sender knows.
        stage: Stage,
    },
    /// To the log: done. A pending replica has what was announced; an old one has learned that reads
    /// have switched.
    Ready {
        /// What the sender knows.
        stage: Stage,
    },
    /// To a replica: have this, unless you have something newer.
    Write {
        /// The sender's name for the operation.
        operation: Operation,
        /// What the sender knows.
        stage: Stage,
        /// The key.
        key: Key,
        /// What to have.
        cell: Cell,
    },
    /// From a replica: my disk has it, or something newer.
    Written {
        /// What was asked.
        operation: Operation,
        /// What both know.
        stage: Stage,
    },
    /// To a replica: what do you have?
    Read {
        /// The sender's name for the operation.
        operation: Operation,
        /// What the sender knows.
        stage: Stage,
        /// The key.
        key: Key,
    },
    /// From a replica: this.
    Data {
        /// What was asked.
        operation: Operation,
        /// What both know.
        stage: Stage,
        /// What it has.
        cell: Cell,
    },
    /// From a pending replica to an old one: what do you have that I am to have?
    Pull {
        /// What the sender knows.
        stage: Stage,
        /// It has what there is up to this key.
        after: Option<Key>,
    },
    /// From an old replica: some of it.
    Chunk {
        /// What both know.
        stage: Stage,
        /// It is all there is after this key.
        after: Option<Key>,
        /// By key.
        cells: Vec<(Key, Cell)>,
        /// And up to this one; none: it is all there is.
        next: Option<Key>,
    },
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The operation of this number has not returned: a message may be lost.
    Retry(u64),
    /// Is there another step? And whatever the node waits for in this one may be lost.
    Poll,
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The write is acknowledged.
    Wrote {
        /// The caller's name for the call.
        ticket: u64,
        /// The write's place in the order.
        stamp: Stamp,
    },
    /// The read returned.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// What the key has.
        cell: Cell,
    },
    /// The change was proposed. It may come to nothing: another one may come first, or the message may
    /// be lost.
    Proposed {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// The ring changed too often while the call was under way. A write may or may not have been made.
    GaveUp {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// The call was not begun, and will have no effect.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
    },
    /// The node learned a step, or took one.
    Learned {
        /// What it knows now.
        stage: Stage,
    },
    /// A pending replica has all that it is to have.
    Streamed {
        /// In which stage.
        stage: Stage,
    },
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// [`PENDING_MAX`] operations are under way at this node, or the ring is changing.
    Busy,
    /// The key or the value is too long.
    TooLong,
    /// There would be no such ring.
    NoSuchRing,
    /// This node has the log: ask another.
    NotHere,
    /// There is no later time.
    Exhausted,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often this node booted, so that no operation's name is used twice.
    pub incarnation: u64,
    /// The latest time that it gave to a write or saw in one.
    pub time: HybridTime,
    /// What it knows of the ring; nothing, if that is what all began with.
    pub view: Option<View>,
    /// What it keeps.
    pub table: Table,
    /// At the log: all changes there were, in order. Those of the first ring come first.
    pub changes: Seq<Proposal>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The node booted for this time.
    Booted(u64),
    /// A time was given or seen.
    Time(HybridTime),
    /// A step was learned.
    View(View),
    /// The key has this.
    Cell(Key, Cell),
    /// The log has one more.
    Proposal(Proposal),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        if self.time != older.time {
            changes.push(Change::Time(self.time));
        }
        if self.view != older.view {
            changes.extend(self.view.clone().map(Change::View));
        }
        let cells = self.table.cells.changed_since(&older.table.cells);
        changes.extend(cells.map(|(key, cell)| Change::Cell(key.clone(), cell.clone())));
        let proposals = self.changes.suffix(older.changes.len());
        changes.extend(proposals.map(|proposal| Change::Proposal(*proposal)));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Time(time) => self.time = time,
            Change::View(view) => self.view = Some(view),
            Change::Cell(key, cell) => {
                self.table.cells.insert(key, cell);
            }
            Change::Proposal(proposal) => self.changes.push(proposal),
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// The number of the next operation.
    pub next: u64,
    /// The operations under way, by number. All are of the stage that the node knows.
    pub pending: Map<u64, Pending>,
    /// What it gets as a pending replica.
    pub stream: Stream,
    /// At the log: who is done with the stage.
    pub ready: NodeSet,
}

/// One operation under way at its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// The caller's name for it.
    pub ticket: u64,
    /// The key.
    pub key: Key,
    /// What was asked.
    pub goal: Goal,
    /// Of a write, what is written. Of a read, the newest answer so far.
    pub cell: Cell,
    /// How far it is.
    pub phase: Phase,
    /// How often it began anew.
    pub restarts: u32,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Goal {
    /// To write. This is the write's stamp, whatever becomes of the ring.
    Write(Stamp),
    /// To read.
    Read,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// A read: waiting for a quorum of those who are read.
    Query {
        /// Who answered.
        answered: NodeSet,
        /// Those of them whose answer was the newest.
        holders: NodeSet,
    },
    /// A write, or the repair before a read returns: waiting until enough have it.
    Store {
        /// Who has it, or something newer, on disk.
        stored: NodeSet,
    },
}

impl Machine for Rebalance {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.is_log() {
            return Volatile::default();
        }
        durable.incarnation = durable.incarnation.saturating_add(1);
        out.arm(Timer::Poll);
        let stream = self.opened(self.view(durable));
        self.pull(self.view(durable), &stream, out);
        Volatile {
            stream,
            ..Volatile::default()
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (Call::Write { ticket, .. } | Call::Read { ticket, .. } | Call::Change { ticket, .. }) =
            call;
        if self.is_log() {
            let refusal = Refusal::NotHere;
            out.tell(Event::Refused { ticket, refusal });
            return;
        }
        let begun = match call {
            Call::Write {
                now, key, value, ..
            } => self.write(state, ticket, now, key, value, out),
            Call::Read { key, .. } => self.read(state, ticket, key, out),
            Call::Change { proposal, .. } => self.propose(state, ticket, proposal, out),
        };
        if let Err(refusal) = begun {
            out.tell(Event::Refused { ticket, refusal });
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if self.is_log() {
            self.on_message_to_log(state, from, message, out);
            return;
        }
        let stage = self.view(&state.durable).stage();
        match message {
            Message::Learn { stage, proposal } if from == self.log => {
                self.on_learn(state, stage, proposal, out);
            }
            // Who knows more, or less, than this node does not count as it does.
            Message::Write { stage: theirs, .. }
            | Message::Written { stage: theirs, .. }
            | Message::Read { stage: theirs, .. }
            | Message::Data { stage: theirs, .. }
            | Message::Pull { stage: theirs, .. }
            | Message::Chunk { stage: theirs, .. }
                if theirs != stage => {}
            Message::Write {
                operation,
                key,
                cell,
                ..
            } => self.on_write(state, from, operation, &key, &cell, out),
            Message::Written { operation, .. } => self.on_written(state, from, operation, out),
            Message::Read { operation, key, .. } => self.on_read(state, from, operation, &key, out),
            Message::Data {
                operation, cell, ..
            } => self.on_data(state, from, operation, &cell, out),
            Message::Pull { after, .. } => self.on_pull(state, from, after, out),
            Message::Chunk {
                after, cells, next, ..
            } => self.on_chunk(state, from, after.as_ref(), &cells, next, out),
            // Not from the log, or for it.
            Message::Learn { .. }
            | Message::Propose { .. }
            | Message::Ask { .. }
            | Message::Ready { .. } => {}
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Retry(number) => {
                if state.volatile.pending.contains_key(&number) {
                    out.arm(timer);
                    self.ask(state, number, out);
                }
            }
            Timer::Poll => {
                out.arm(timer);
                self.poll(state, out);
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let (from, to) = match timer {
            Timer::Retry(_) => (100, 200),
            Timer::Poll => (300, 600),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile { next, pending, .. } = &state.volatile;
        let view = self.view(&state.durable);
        pending.len() <= PENDING_MAX
            && pending.iter().all(|(number, pending)| {
                let is_open = match pending.phase {
                    // A phase that has its quorum is over.
                    Phase::Query { answered, holders } => {
                        holders.is_subset(answered) && !view.can_read(&pending.key, answered)
                    }
                    Phase::Store { stored } => {
                        !(view.writers(&pending.key)).is_enough(self.counting, stored)
                    }
                };
                number < next && is_open
            })
    }
}

impl Rebalance {
    fn is_log(&self) -> bool {
        self.me == self.log
    }

    /// What a node with this disk knows of the ring.
    pub fn view(&self, durable: &Durable) -> View {
        let first = || View::Settled(self.first.clone());
        durable.view.clone().unwrap_or_else(first)
    }
}
