//! # The database
//!
//! A store in the manner of Dynamo and Cassandra. Each key has as many replicas as the *replication
//! factor* says. Any node takes a call and *coordinates* it: a write is given a stamp, once, and sent to
//! all replicas of its keys; a read asks all of them. Either returns when as many have answered as its
//! *level* says. That is counted from the replication factor, whoever is present.
//!
//! Around this are the ways by which replicas come to agree. A read first gives what it returns to
//! those who answered with something older (*read repair*). A coordinator keeps what a replica has not
//! acknowledged (*hints*). Replicas compare Merkle trees in the background (*anti-entropy*). And once all
//! replicas of some keys were fenced and found equal, tombstones go (*collection*).
//!
//! Stamps order all writes, and the last one wins; or writes that did not know each other stay beside each
//! other. Neither is agreement. For that there are *transactions*: compare-and-set on one key, by Paxos among
//! its replicas, with the ballot as the stamp.
//!
//! - **Source.** DeCandia et al., *Dynamo: Amazon's Highly Available Key-value Store*, SOSP 2007, §4;
//!   Lakshman and Malik, *Cassandra: A Decentralized Structured Storage System*, 2010; Apache Cassandra's
//!   documentation of read repair, hints, tombstones and lightweight transactions; Lamport, *Paxos Made
//!   Simple*, 2001; Terry et al., *Session Guarantees for Weakly Consistent Replicated Data*, PDIS 1994;
//!   Kulkarni et al., *Logical Physical Clocks*, OPODIS 2014, for the time in a stamp.
//! - **Promises.** *regular*: where reads and writes together ask more replicas than there are, a read
//!   returns nothing older, in the order of stamps, than any write that had returned before it began.
//!   *reads do not go back*: nor older than what an earlier read had returned, if read repair blocks.
//!   *acknowledged writes are visible*: any so many replicas as a read asks have one that has the write, or
//!   a newer one. *a write is one version*: it has one stamp, wherever it is. *only replicas have a key*.
//!   *calls return*, at most once. *replicas converge*: in the calm, by anti-entropy alone. *begun writes
//!   arrive*: in the calm, a write whose hint's time is not over comes to all its replicas. *batches are whole in
//!   the end*: in the calm all of a batch is at its replicas, or none. *writes beside each other stay*: where
//!   siblings do. *the deleted stays deleted*: *nothing comes back to a replica*. With a token, *sessions read their writes*; *reads of a session do not go back*; *writes of a session are in
//!   order*; *writes of a session follow its reads*. *linearizable*: transactions, if a key is written by nothing else.
//! - **Assumes.** Disks keep what they acknowledged; nodes crash and restart, and do not lie. Of the network
//!   and of the failure detector, nothing: a wrong suspicion refuses calls, and no more. Of clocks nothing,
//!   but by stamps a write of a slow clock may be older than one that had returned before it.
//! - **Leaves out.** Changing the ring (see [`crate::rebalance`]). Digests in place of values in reads, speculative
//!   retry. A bound on clock drift; and with it *later writes win*: a write of a slow clock may lose to one that
//!   had returned before it began, unless its client carries a token
//!   (`later_writes_win_falls_when_a_clock_is_slow`). Where siblings stand, only a replica
//!   coordinates writes, tombstones stay, and there are no transactions. A tree kept between comparisons: it
//!   is made anew, in proportion to the keys.
//! - **The textbook says.** `DistributedDatabase` (chapter 8) lets each replica give a write a version of
//!   its own (`a_write_is_one_version_falls_when_every_replica_mints`,
//!   `regular_falls_when_every_replica_mints`); has each replica spread it to everyone
//!   (`only_replicas_have_a_key_falls_when_replicas_spread_it`); takes a replica that has nothing for one
//!   that did not answer (`calls_return_falls_when_absence_is_no_answer`); takes a quorum of the nodes that
//!   are there (`regular_falls_with_a_quorum_of_the_present`); takes an unknown level for ONE
//!   (`an_unknown_level_is_an_error`); and has neither hints nor repair, so that who slept stays behind
//!   (`replicas_converge_falls_with_the_textbooks_healing`).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::HybridTime;
use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};
use crate::merkle::keyed::Shape;
use crate::rebalance::{self, View, Writers};
use crate::ring::Ring;

mod coordinator;
mod hints;
mod level;
mod message;
mod repair;
mod replica;
mod session;
mod sweep;
mod table;
mod transaction;

pub use hints::{Hint, Leftovers};
pub use level::{Level, UnknownLevel};
pub use message::{Call, Change, Event, Failure, Message, Operation, Refusal, Reply, Timer};
pub use session::{Seen, TOKEN_KEYS_MAX, Token};
pub use sweep::{Fence, Sweep};
pub use table::{Cell, Stamp, Table, Value, Version};
pub use transaction::{Outcome, Phase, Promise, Transaction};

/// What values are kept under.
pub type Key = String;

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 768;
/// The most bytes of keys and values in one write, and of the siblings of one key: a message fits one
/// datagram.
pub const WRITE_BYTES_MAX: usize = 896;
/// The most keys that one write changes.
pub const WRITE_KEYS_MAX: usize = 16;
/// How many operations one node coordinates at once before it refuses more.
pub const PENDING_MAX: usize = 1024;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Database {
    /// This node. It coordinates whatever it is asked; it need not be a replica of anything.
    pub me: NodeId,
    /// Which nodes have which keys.
    pub placement: Placement,
    /// The nodes of this node's data centre.
    pub nearby: NodeSet,
    /// What becomes of two writes of one key.
    pub conflicts: Conflicts,
    /// What a read does for those who are behind.
    pub read_repair: ReadRepair,
    /// What is kept for those who do not acknowledge.
    pub hints: Hints,
    /// What counts as an acknowledgement.
    pub counting: Counting,
    /// How the trees branch by which replicas compare; none: they do not compare.
    pub anti_entropy: Option<Shape>,
    /// What becomes of tombstones.
    pub tombstones: Tombstones,
    /// How often a call is repeated before it is given up; none: never given up.
    pub patience: Option<u32>,
}

/// Which nodes have which keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// These nodes have all keys.
    Whole(NodeSet),
    /// Those that the ring says; while it changes, those that the next one says, too, counted like this.
    Ring(View, rebalance::Counting),
}

impl From<Ring> for Placement {
    fn from(ring: Ring) -> Self {
        Self::Ring(View::Settled(ring), rebalance::Counting::Both)
    }
}

impl Placement {
    /// Who is to have a key: its replicas, as many as the replication factor says, and those that it is about
    /// to have.
    pub fn replicas(&self, key: &str) -> NodeSet {
        self.writers(key).all()
    }

    /// The replicas that a key has, and those that it is to have.
    fn writers(&self, key: &str) -> Writers {
        match self {
            Self::Whole(members) => Writers {
                old: *members,
                new: *members,
            },
            Self::Ring(view, _) => view.writers(key),
        }
    }

    /// Who is asked by reads of a key.
    pub fn readers(&self, key: &str) -> NodeSet {
        match self {
            Self::Whole(members) => *members,
            Self::Ring(view, _) => view.readers(key),
        }
    }

    /// True once these are enough at a level to have written a key, at a node whose data centre is `nearby`.
    pub fn is_written(&self, key: &str, level: Level, stored: NodeSet, nearby: NodeSet) -> bool {
        let counting = match self {
            Self::Whole(_) => rebalance::Counting::Both,
            Self::Ring(_, counting) => *counting,
        };
        (self.writers(key)).is_enough(counting, level, stored, nearby)
    }

    /// True once these are enough at a level to have read a key.
    pub fn is_read(&self, key: &str, level: Level, answered: NodeSet, nearby: NodeSet) -> bool {
        level.is_met(answered, self.readers(key), nearby)
    }

    /// True if these are a majority of a key's replicas, and of those that it is about to have.
    pub fn is_agreed(&self, key: &str, nodes: NodeSet) -> bool {
        let (both, level) = (rebalance::Counting::Both, Level::Quorum);
        (self.writers(key)).is_enough(both, level, nodes, NodeSet::EMPTY)
    }

    /// True if these are all the replicas of some keys, and no others are to be.
    pub fn is_group(&self, group: NodeSet) -> bool {
        match self {
            Self::Whole(members) => *members == group,
            Self::Ring(View::Settled(ring), _) => {
                ring.places().any(|(place, _)| ring.holders(place) == group)
            }
            Self::Ring(View::Announced { .. } | View::Switched { .. }, _) => false,
        }
    }

    /// All nodes that are a replica of something, or are to be.
    pub fn members(&self) -> NodeSet {
        match self {
            Self::Whole(members) => *members,
            Self::Ring(view, _) => view.old().members().union(view.next().members()),
        }
    }
}

/// What becomes of two writes of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Conflicts {
    /// The one with the larger stamp stays.
    LastWriterWins,
    /// Both stay, unless the client of one had read the other.
    Siblings,
}

/// What a read does for those who are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReadRepair {
    /// It returns when as many replicas as it asks have what it returns.
    Blocking,
    /// Nothing.
    Off,
}

/// What is kept for those who do not acknowledge a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hints {
    /// Nothing, but of batches.
    Off,
    /// The write, from the moment it is sent and until all replicas have acknowledged it or its time is
    /// over; so many of them at most. Batches are kept in any case, and for ever.
    Kept {
        /// How many.
        max: u32,
    },
}

/// What counts as an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Counting {
    /// That a replica has the write.
    Strict,
    /// That, or once that has taken a while, that a coordinator which is no replica keeps it as a hint.
    Sloppy,
}

/// What becomes of tombstones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tombstones {
    /// They stay.
    Kept,
    /// They go once all replicas were fenced, and found equal.
    Collected,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often the node has booted.
    pub incarnation: u64,
    /// The latest time that it gave or saw: its hybrid clock.
    pub time: HybridTime,
    /// What it has as a replica; where siblings stand.
    pub table: Table,
    /// What it keeps for others, by the operation that wrote it.
    pub hints: Map<Operation, Hint>,
    /// What it promised and accepted in transactions, by key.
    pub promises: Map<Key, Promise>,
    /// Up to where it is fenced, by all replicas of some keys.
    pub fences: Map<NodeSet, Fence>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DiskChange {
    /// The node boots for this time.
    Incarnation(u64),
    /// Its clock has come to this.
    Time(HybridTime),
    /// It has this of a key; nothing: no more.
    Cell(Key, Cell),
    /// It keeps this; nothing: no more.
    Hint(Operation, Option<Hint>),
    /// It promised this.
    Promise(Key, Promise),
    /// It is fenced like this.
    Fence(NodeSet, Fence),
}

impl machine::Durable for Durable {
    type Change = DiskChange;

    fn changes_since(&self, older: &Self) -> Vec<DiskChange> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(DiskChange::Incarnation(self.incarnation));
        }
        if self.time != older.time {
            changes.push(DiskChange::Time(self.time));
        }
        let cells = (&self.table.cells, &older.table.cells);
        for (key, cell) in cells.0.changed_since(cells.1) {
            changes.push(DiskChange::Cell(key.clone(), cell.clone()));
        }
        for key in cells.1.keys().filter(|key| !cells.0.contains_key(*key)) {
            changes.push(DiskChange::Cell(key.clone(), Cell::Nothing));
        }
        for (operation, hint) in self.hints.changed_since(&older.hints) {
            changes.push(DiskChange::Hint(*operation, Some(hint.clone())));
        }
        for operation in older
            .hints
            .keys()
            .filter(|one| !self.hints.contains_key(*one))
        {
            changes.push(DiskChange::Hint(*operation, None));
        }
        for (key, promise) in self.promises.changed_since(&older.promises) {
            changes.push(DiskChange::Promise(key.clone(), promise.clone()));
        }
        for (group, fence) in self.fences.changed_since(&older.fences) {
            changes.push(DiskChange::Fence(*group, *fence));
        }
        changes
    }

    fn apply(&mut self, change: DiskChange) {
        match change {
            DiskChange::Incarnation(incarnation) => self.incarnation = incarnation,
            DiskChange::Time(time) => self.time = time,
            DiskChange::Cell(key, Cell::Nothing) => {
                self.table.cells.remove(&key);
            }
            DiskChange::Cell(key, cell @ (Cell::Last(_) | Cell::Beside(_))) => {
                self.table.cells.insert(key, cell);
            }
            DiskChange::Hint(operation, None) => {
                self.hints.remove(&operation);
            }
            DiskChange::Hint(operation, Some(hint)) => {
                self.hints.insert(operation, hint);
            }
            DiskChange::Promise(key, promise) => {
                self.promises.insert(key, promise);
            }
            DiskChange::Fence(group, fence) => {
                self.fences.insert(group, fence);
            }
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// The number of the next operation.
    pub next: u64,
    /// The operations under way, by number.
    pub pending: Map<u64, Pending>,
    /// The nodes that the failure detector suspects.
    pub suspects: NodeSet,
    /// What this node has asked of the other replicas before it collects tombstones, by all of them.
    pub sweeps: Map<NodeSet, Sweep>,
    /// The newest tombstone when the alarm last rang, by all replicas of its key: it goes no sooner than
    /// at the next ring, so that no delete is kept out by the fence that it raises.
    pub aged: Map<NodeSet, Stamp>,
}

impl Volatile {
    /// True if no more is under way than may be, by numbers that were given.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { next, pending, .. } = self;
        pending.len() <= PENDING_MAX && pending.keys().all(|number| number < next)
    }
}

/// One operation under way at its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// The caller's name for it.
    pub ticket: u64,
    /// How many replicas it asks.
    pub level: Level,
    /// How often it was repeated, if that is counted.
    pub repeated: u32,
    /// What is under way.
    pub task: Task,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Task {
    /// Replicas are to have these.
    Write {
        /// By key.
        writes: Vec<(Key, Cell)>,
        /// Who has them; this node among them, no replica, if its hint counts.
        stored: NodeSet,
    },
    /// Replicas are to say what they have.
    Read {
        /// The key.
        key: Key,
        /// What it must not be older than.
        seen: Seen,
        /// Who has answered.
        answered: NodeSet,
        /// Those of them who have all that follows.
        holders: NodeSet,
        /// The newest of what they said.
        cell: Cell,
        /// Up to here somebody's tombstones are gone.
        swept: Option<Stamp>,
    },
    /// Replicas are to have what a read is to return.
    Repair {
        /// The key.
        key: Key,
        /// Who has it.
        holders: NodeSet,
        /// What.
        cell: Cell,
    },
    /// A transaction.
    Transact(Transaction),
}

impl Machine for Database {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        durable.incarnation = durable.incarnation.saturating_add(1);
        self.wake(durable, out);
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Write {
                ticket,
                now,
                writes,
                level,
                token,
            } => {
                let begun = self.begin_write(state, ticket, now, &writes, level, &token, out);
                refuse(ticket, begun, out);
            }
            Call::Read {
                ticket,
                key,
                level,
                token,
            } => {
                let begun = self.begin_read(state, ticket, key, level, &token, out);
                refuse(ticket, begun, out);
            }
            Call::Transact {
                ticket,
                now,
                key,
                change,
            } => {
                let begun = self.begin_transaction(state, ticket, now, key, change, out);
                refuse(ticket, begun, out);
            }
            Call::Suspect { nodes } => state.volatile.suspects = nodes,
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
            Message::Write { operation, writes } => {
                self.on_write(state, from, operation, &writes, out);
            }
            Message::Written { operation } => self.on_written(state, from, operation, out),
            Message::TooOld { operation, fence } => {
                Self::on_too_old(state, from, operation, fence, out);
            }
            Message::Read { operation, key } => self.on_read(state, from, operation, &key, out),
            Message::Data {
                operation,
                cell,
                swept,
            } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_data(state, from, operation.number, &cell, swept, out);
                }
            }
            Message::Prepare {
                operation,
                key,
                ballot,
            } => self.on_prepare(state, from, operation, &key, ballot, out),
            Message::Promised {
                operation,
                ballot,
                accepted,
                version,
            } => {
                if operation.incarnation == state.durable.incarnation {
                    let promised = (ballot, accepted, version);
                    self.on_promised(state, from, operation.number, promised, out);
                }
            }
            Message::Propose {
                operation,
                key,
                ballot,
                version,
            } => self.on_propose(state, from, operation, &key, ballot, version, out),
            Message::Accepted { operation, ballot } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_accepted(state, from, operation.number, ballot, out);
                }
            }
            Message::Outbid {
                operation,
                ballot,
                promised,
            } => {
                if operation.incarnation == state.durable.incarnation {
                    Self::on_outbid(state, operation.number, ballot, promised);
                }
            }
            Message::Commit {
                operation,
                key,
                ballot,
                version,
            } => self.on_commit(state, from, operation, &key, ballot, version, out),
            Message::Committed { operation, ballot } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_committed(state, from, operation.number, ballot, out);
                }
            }
            Message::Compare { place, digest } => {
                self.on_compare(state, from, place, digest, out);
            }
            Message::Children { place, digests } => {
                self.on_children(state, from, place, &digests, out);
            }
            Message::Entries {
                place,
                cells,
                reply,
            } => self.on_entries(state, from, place, &cells, reply, out),
            Message::Fence { group, upto } => self.on_fence(state, from, group, upto, out),
            Message::Fenced {
                group,
                upto,
                digest,
            } => self.on_fenced(state, from, group, upto, digest, out),
            Message::Swept { group, upto } => self.on_swept(state, from, group, upto),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Retry(number) => self.retry(state, number, out),
            Timer::Deliver => self.deliver_hints(state, out),
            Timer::Expire => Self::expire_hints(state, out),
            Timer::Compare(peer) => self.compare(state, peer, out),
            Timer::Collect => self.collect(state, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match timer {
            Timer::Retry(_) => Duration::from_millis(100)..Duration::from_millis(200),
            Timer::Deliver => Duration::from_millis(500)..Duration::from_secs(1),
            // Three hours, as Cassandra's max_hint_window.
            Timer::Expire => Duration::from_secs(10_800)..Duration::from_secs(10_860),
            Timer::Compare(_) => Duration::from_secs(1)..Duration::from_secs(2),
            Timer::Collect => Duration::from_secs(10)..Duration::from_secs(20),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state.volatile.is_sound()
    }
}

impl Database {
    /// The placement was this one before. What is kept for others goes to the replicas that there are now, and
    /// what is under way begins anew.
    pub(crate) fn moved(
        &self,
        before: &Placement,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
    ) {
        self.redirect_hints(before, state, out);
        self.begin_anew(state, out);
        self.wake_replica(out);
    }

    /// Takes over what a replica has that this node is to have.
    pub(crate) fn receive(
        state: &mut State<Self>,
        key: &str,
        cell: &Cell,
        promise: Option<&Promise>,
    ) {
        Self::keep(state, key, cell);
        if let Some(promise) = promise {
            Self::take_over(state, key, promise);
        }
    }
}

/// Tells the caller why its call was not begun, if it was not.
fn refuse(ticket: u64, begun: Result<(), Refusal>, out: &mut Outbox<Database>) {
    if let Err(refusal) = begun {
        out.tell(Event::Refused { ticket, refusal });
    }
}
