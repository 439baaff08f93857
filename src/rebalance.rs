//! # Ring change
//!
//! The [`database`] on a ring that changes: nodes join it, or leave it, while clients read and
//! write; and nothing is lost that any call of the database promises. From one ring to the next it takes three
//! steps, and a *log* orders them:
//!
//! 1. **Announced.** Writes go to the replicas of both rings, and are acknowledged by enough of each.
//!    Reads ask those of the old one. Who is to have keys that it has not, a *pending* replica, gets them
//!    from a quorum of the old replicas.
//! 2. **Switched**, once all pending replicas have theirs. Reads ask the replicas of the new ring. Writes
//!    still go to both.
//! 3. **Settled**, once a quorum of the old replicas of each key that moves has learned that reads have
//!    switched. The new ring is the ring. What a node has and is no replica of any more it gives to those who
//!    are, and throws away once they have it: for nobody else may, if it was written at ONE.
//!
//! Every node learns the steps in this order, some late. So a *stage*, the epoch of the ring and the step,
//! says how much a node knows. All that one database says to another bears its node's stage, and a node of
//! another stage does not hear it. When a node learns a step, what it has under way begins anew, a write with
//! the stamp that it has, a transaction with a new ballot; and what it keeps as a hint goes to the replicas
//! that there are now.
//!
//! Transactions take one thing more. A pending replica gets not only what the old ones have of each key but
//! *what they have promised and accepted of it*: or what was chosen could be undone by those who come after
//! (`linearizable_falls_when_promises_are_not_streamed`). And while the ring changes their majorities, too,
//! are counted twice.
//!
//! - **Source.** Apache Cassandra, CEP-21 *Transactional Cluster Metadata*, 2022, and the reports of what
//!   happened without it, ScyllaDB's issues 2308, 4208, 5252, 6126, 6305 and 20458; DeCandia et al.,
//!   *Dynamo: Amazon's Highly Available Key-value Store*, SOSP 2007, §4.9. That quorums of two steps in a
//!   row meet is the rule of Lynch and Shvartsman, *RAMBO*, DISC 2002. That acceptors hand over what they
//!   accepted is from Lamport, Malkhi and Zhou, *Vertical Paxos and Primary-Backup Replication*, PODC 2009.
//! - **Promises.** Those of the database, whether the ring changes or not: *regular* and *reads do not go
//!   back*, at QUORUM; *linearizable*, of transactions; *begun writes arrive*: in the calm, a write whose hint's
//!   time is not over comes to all replicas, those of the new ring; *replicas converge*, by anti-entropy alone.
//!   *steps are learned in order*, by every node, crash or not. *a change ends*: in the calm, all nodes learn
//!   that the ring is settled, and nobody keeps what it is no replica of. *calls return*: in the calm, every
//!   call at a live node.
//! - **Assumes.** Nodes crash and restart with their disks, and do not lie. The log is one node, a member or
//!   not: while it is away the ring stays in the stage in which it is, and calls are served. Of the network and
//!   of clocks nothing.
//! - **Leaves out.** A log of several nodes: it is a replicated log (see [`crate::raft`]), of which this
//!   one's [`Message::Propose`] and [`Message::Ready`] are the commands. Giving a change up whose pending
//!   replica is gone for good. Collecting tombstones: a fence is raised by all replicas of some keys, and those
//!   change. Siblings: a node that left and joins again could give a dot twice. Counting a hint as an
//!   acknowledgement.
//! - **The textbook says.** `DistributedDatabase` (chapter 8) computes its ring once, from the nodes that it
//!   is given; given one more, a key that moves to it is gone
//!   (`regular_falls_when_nothing_is_streamed`).

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet, Seq};
use crate::database::{
    self, Cell, Database, DiskChange, Key, Leftovers, Level, Placement, Promise,
};
use crate::machine::{self, Machine, NodeId, Outbox, Output, State};
use crate::ring::{Epoch, Member, Move, Rack, Ring, RingError, Token, moves};

mod log;
mod steps;
mod streaming;
mod view;

use log::{Entry, Log};
pub use streaming::Stream;
pub use view::{Counting, Proposal, Stage, Step, View, Writers};

/// The most places that a node may have on the ring.
pub const VIRTUAL_NODES_MAX: u32 = 256;
/// The most bytes of keys and values in one chunk of a stream, if it has more than one key.
pub const CHUNK_BYTES_MAX: usize = 896;
/// The most keys that a replica looks at for one chunk.
pub const CHUNK_KEYS_MAX: usize = 1024;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rebalance {
    /// Who orders the steps: any of the nodes, a member of the ring or not.
    pub log: NodeId,
    /// All who are members, or may become members.
    pub nodes: NodeSet,
    /// The ring with which all begin.
    pub first: Ring,
    /// When a write is acknowledged during a change.
    pub counting: Counting,
    /// The database; where it places keys, the ring says.
    pub database: Database,
}

/// What the application asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Something of the database.
    Database(database::Call),
    /// To change the ring.
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
    /// Between the databases of two nodes.
    Database {
        /// What the sender knows.
        stage: Stage,
        /// What it says.
        message: database::Message,
    },
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
        items: Vec<Item>,
        /// And up to this one; none: it is all there is.
        next: Option<Key>,
    },
}

/// What a replica has of one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Item {
    /// The key.
    pub key: Key,
    /// What it has.
    pub cell: Cell,
    /// What it promised and accepted in transactions.
    pub promise: Option<Promise>,
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// One of the database.
    Database(database::Timer),
    /// Is there another step? And whatever the node waits for in this one may be lost.
    Poll,
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// What the database tells.
    Database(database::Event),
    /// The change was proposed. It may come to nothing: another one may come first, or the message may
    /// be lost.
    Proposed {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// The change was not proposed.
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

/// Why a change was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The ring is changing.
    Busy,
    /// There would be no such ring.
    NoSuchRing,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// What it knows of the ring; nothing, if that is what all began with.
    pub view: Option<View>,
    /// At the log: all changes there were, in order. Those of the first ring come first.
    pub changes: Seq<Proposal>,
    /// The database's.
    pub database: database::Durable,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A step was learned.
    View(View),
    /// The log has one more.
    Proposal(Proposal),
    /// One of the database's.
    Database(DiskChange),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.view != older.view {
            changes.extend(self.view.clone().map(Change::View));
        }
        let proposals = self.changes.suffix(older.changes.len());
        changes.extend(proposals.map(|proposal| Change::Proposal(*proposal)));
        let database = self.database.changes_since(&older.database);
        changes.extend(database.into_iter().map(Change::Database));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::View(view) => self.view = Some(view),
            Change::Proposal(proposal) => self.changes.push(proposal),
            Change::Database(change) => self.database.apply(change),
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// What it gets as a pending replica.
    pub stream: Stream,
    /// At the log: who is done with the stage.
    pub ready: NodeSet,
    /// How far it has looked for what it is no replica of any more.
    pub leftovers: Leftovers,
    /// The database's. All that is under way is of the stage that the node knows.
    pub database: database::Volatile,
}

impl Machine for Rebalance {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let view = self.view(durable);
        let mut said = Outbox::default();
        let database = self.at(&view).boot(&mut durable.database, &mut said);
        pass_on(view.stage(), &mut said, out);
        out.arm(Timer::Poll);
        let stream = Stream::opened(&view, self.database.me);
        self.pull(&view, &stream, out);
        Volatile {
            stream,
            ready: NodeSet::EMPTY,
            leftovers: leftovers(&view),
            database,
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Database(call) => self.act(state, out, |database, state, out| {
                database.on_call(state, call, out);
            }),
            Call::Change { ticket, proposal } => {
                if let Err(refusal) = self.propose(state, ticket, proposal, out) {
                    out.tell(Event::Refused { ticket, refusal });
                }
            }
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let stage = self.view(&state.durable).stage();
        match message {
            // Who knows more, or less, than this node does not count as it does.
            Message::Database { stage: theirs, .. }
            | Message::Pull { stage: theirs, .. }
            | Message::Chunk { stage: theirs, .. }
                if theirs != stage => {}
            Message::Database { message, .. } => self.act(state, out, |database, state, out| {
                database.on_message(state, from, message, out);
            }),
            Message::Pull { after, .. } => self.on_pull(state, from, after, out),
            Message::Chunk {
                after, items, next, ..
            } => self.on_chunk(state, from, after.as_ref(), &items, next.as_ref(), out),
            Message::Learn { stage, proposal } => {
                if from == self.log {
                    self.on_learn(state, stage, proposal, out);
                }
            }
            Message::Propose { .. } | Message::Ask { .. } | Message::Ready { .. } => {
                if self.is_log() && self.nodes.contains(from) {
                    self.on_message_to_log(state, from, &message, out);
                }
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Database(timer) => self.act(state, out, |database, state, out| {
                database.on_timer(state, timer, out);
            }),
            Timer::Poll => {
                out.arm(timer);
                self.poll(state, out);
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match timer {
            Timer::Database(timer) => self.database.delay(timer),
            Timer::Poll => Duration::from_millis(300)..Duration::from_millis(600),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state.volatile.database.is_sound()
    }
}

impl Rebalance {
    fn is_log(&self) -> bool {
        self.database.me == self.log
    }

    /// What a node with this disk knows of the ring.
    pub fn view(&self, durable: &Durable) -> View {
        let first = || View::Settled(self.first.clone());
        durable.view.clone().unwrap_or_else(first)
    }

    /// Where a node that knows this of the ring places keys.
    fn placement(&self, view: &View) -> Placement {
        Placement::Ring(view.clone(), self.counting)
    }

    /// The database of a node that knows this of the ring.
    pub fn at(&self, view: &View) -> Database {
        Database {
            placement: self.placement(view),
            ..self.database.clone()
        }
    }

    /// Lets the database act, at what this node knows of the ring.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Database, &mut State<Database>, &mut Outbox<Database>),
    ) {
        let view = self.view(&state.durable);
        let mut inner = State {
            durable: core::mem::take(&mut state.durable.database),
            volatile: core::mem::take(&mut state.volatile.database),
        };
        let mut said = Outbox::default();
        act(&self.at(&view), &mut inner, &mut said);
        state.durable.database = inner.durable;
        state.volatile.database = inner.volatile;
        pass_on(view.stage(), &mut said, out);
    }
}

/// Where a node that knows this may have what it is no replica of.
fn leftovers(view: &View) -> Leftovers {
    match view {
        View::Settled(_) => Leftovers::After(None),
        View::Announced { .. } | View::Switched { .. } => Leftovers::Nothing,
    }
}

/// What the database says, as that of a node of this stage.
fn pass_on(stage: Stage, said: &mut Outbox<Database>, out: &mut Outbox<Rebalance>) {
    for output in said.drain() {
        out.push(match output {
            Output::Send { to, message } => Output::Send {
                to,
                message: Message::Database { stage, message },
            },
            Output::Arm(timer) => Output::Arm(Timer::Database(timer)),
            Output::Disarm(timer) => Output::Disarm(Timer::Database(timer)),
            Output::Event(event) => Output::Event(Event::Database(event)),
        });
    }
}
