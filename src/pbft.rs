//! # Practical Byzantine fault tolerance
//!
//! A replicated store that goes on, correctly, while some of its replicas lie. A primary orders
//! requests; the replicas agree on its order in two phases, and execute. A primary that is silent or
//! caught lying is replaced by a view change, which carries over whatever may have been executed.
//!
//! - **Source.** Castro and Liskov, *Practical Byzantine Fault Tolerance*, OSDI 1999, cited as §;
//!   Castro, *Practical Byzantine Fault Tolerance*, MIT-LCS-TR-817, 2001, cited as thesis §.
//! - **Promises.** *Agreement*: no two honest replicas execute different batches at one place, in
//!   whatever views. *prepared certificates are unique* per view and place. *exactly once, in order*:
//!   an honest replica executes place after place, and no request twice. *validity*: what is executed
//!   was signed by a client. *one state*: honest replicas that executed equally much have equal
//!   stores. *a stable checkpoint is true*: enough honest replicas have executed up to it. *the log is
//!   bounded*: no order is kept beyond the watermarks, whatever a primary orders.
//!   *linearizable*: so do clients that wait for f + 1 equal answers see the store. *requests are
//!   executed*: once the network is calm, a primary that is silent or lies is replaced, and what waits
//!   is executed.
//! - **Assumes.** At most f of n replicas lie, and n > 3f; clients may lie, too. Signatures cannot be
//!   forged, and digests do not collide ([`Keys`]). Honest replicas crash, and restart from a disk that
//!   keeps what it acknowledged.
//! - **Leaves out.** MACs in place of signatures, and with them the set Q and the acknowledgements of
//!   the thesis's view change (thesis §4), which exist for want of signatures. Tentative execution
//!   (§5.1). Proactive recovery. A state is transferred whole, page by page, and not only what differs
//!   (thesis §5.3.2).
//! - **Reads** may be ordered like everything else, or be optimistic ([`Reads`], §5.1): then all replicas
//!   are asked at once, a quorum has to answer alike, and a replica answers only once it has executed
//!   whatever it has prepared. That stands in for tentative execution: whoever answered a write, a quorum
//!   had prepared it. Without it a read may be older than a write that f + 1 replicas answered
//!   (`linearizable_falls_when_reads_do_not_wait_for_what_is_prepared`). A read that no quorum answers is
//!   ordered after all, so that it is as live as a write (Berger, Reiser, Bessani, *Making Reads in BFT
//!   State Machine Replication Fast, Linearizable, and Live*, SRDS 2021, on what goes wrong otherwise).
//! - **The textbook says.** `PBFTNode` (chapter 8, Byzantine fault tolerance): anyone can compute its
//!   signatures (`prepared_certificates_are_unique_falls_when_signatures_are_not_checked`); a backup
//!   checks that it is the primary itself (`requests_are_executed_falls_when_the_receiver_must_be_primary`);
//!   a second pre-prepare replaces the first (`prepared_certificates_are_unique_falls_when_a_second_order_replaces_the_first`);
//!   votes carry no digest (`prepared_certificates_are_unique_falls_when_votes_are_not_bound_to_a_digest`)
//!   and are counted twice (`prepared_certificates_are_unique_falls_when_votes_count_twice`); it
//!   executes out of order (`exactly_once_in_order_falls_when_order_is_not_kept`), has no watermarks
//!   (`the_log_is_bounded_falls_without_watermarks`) and never changes its view (`requests_are_executed_falls_without_view_changes`).

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{Machine, NodeId, Outbox, State};

mod asking;
mod checkpoints;
mod keys;
mod log;
mod ordering;
mod repair;
mod statements;
mod view_change;

pub use crate::kv::{Operation, Reply, Session};
pub use keys::{Digest, Keys, Kind, Proof, Signature, Signed, Statement};
pub use log::{
    Change, Client, Durable, Entry, Page, Service, Slot, Snapshot, Stage, Start, client,
};
pub use statements::{
    Answer, Assignment, Batch, Certificate, Checkpoint, Commit, Message, NewView, PrePrepare,
    Prepare, Reading, Request, Sequence, Stable, Stance, View, ViewChange,
};

/// How many calls one node has under way before it refuses more.
pub const WAITING_MAX: usize = 1024;
/// How many requests a replica remembers that wait to be executed.
pub const PENDING_MAX: usize = 1024;
/// How many bytes a key and a value of one operation may have together.
pub const OPERATION_BYTES_MAX: usize = 4096;
/// How many bytes the keys and values of a batch may have together.
pub const BATCH_BYTES_MAX: usize = 32 << 10;
/// How many bytes a page of a state has at most, but for what frames its entries.
pub const PAGE_BYTES_MAX: usize = 32 << 10;

// One operation fits a batch, and one value a page.
const _: () =
    assert!(OPERATION_BYTES_MAX <= BATCH_BYTES_MAX && OPERATION_BYTES_MAX < PAGE_BYTES_MAX);

/// One node: a replica if it is a member, and in any case somewhere to ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pbft<K> {
    /// This node.
    pub me: NodeId,
    /// How many of whom are enough.
    pub sizes: Sizes,
    /// Its key, and everyone's public ones.
    pub keys: K,
    /// How far apart checkpoints are, and how far ahead of the last stable one orders may be.
    pub watermarks: Watermarks,
    /// How many requests a primary orders together at most; not 0. An order of more is refused.
    pub batch_requests_max: u32,
    /// How many places a primary orders before the first of them is executed; not 0. What arrives
    /// meanwhile is ordered together (§5.1: "batching").
    pub orders_max: u64,
    /// How this node reads.
    pub reads: Reads,
}

/// How a call that only reads is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reads {
    /// Like any other: it is ordered.
    Ordered,
    /// Of all replicas at once, and ordered only if no quorum answers alike (§5.1).
    Optimistic,
}

/// Who the replicas are, and how many of them are enough for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sizes {
    /// The replicas: nodes 0 to n - 1.
    pub replicas: NodeSet,
    /// With the primary's order, how many prepares of backups make a batch prepared.
    pub prepares: usize,
    /// How many commits make it committed.
    pub commits: usize,
    /// How many checkpoints make one stable.
    pub checkpoints: usize,
    /// How many view changes begin a view.
    pub view_changes: usize,
    /// How many nodes certainly have an honest one among them: so many equal answers are believed, and
    /// so many that left a view are followed.
    pub honest: usize,
    /// How many equal answers are believed of a read that was not ordered.
    pub readings: usize,
}

impl Sizes {
    /// Those of `count` replicas, of which as many may lie as any protocol can bear: f, the largest
    /// with n > 3f.
    ///
    /// Two quorums have to share f + 1 replicas, so that one of them is honest: a quorum is
    /// ⌈(n + f + 1) / 2⌉. That is 2f + 1 only if n = 3f + 1.
    pub fn of(count: usize) -> Self {
        Self::against(count, count.saturating_sub(1) / 3)
    }

    /// Those of `count` replicas, of which `faults` may lie, whether or not that can be borne.
    pub fn against(count: usize, faults: usize) -> Self {
        Self::with_quorum(count, faults, (count + faults + 1).div_ceil(2))
    }

    /// Quorums as given: for worlds that take the assumption away, and for nothing else.
    pub fn with_quorum(count: usize, faults: usize, quorum: usize) -> Self {
        Self {
            replicas: NodeSet::first(count),
            prepares: quorum.saturating_sub(1),
            commits: quorum,
            checkpoints: quorum,
            view_changes: quorum,
            honest: faults + 1,
            readings: quorum,
        }
    }

    /// The primary of a view: p = v mod n (§4.1).
    pub fn primary(&self, view: View) -> NodeId {
        NodeId(view.0 % self.replicas.len().max(1) as u64)
    }
}

/// How far apart checkpoints are, and how far ahead of the last stable one orders may be (§4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watermarks {
    /// A state is a checkpoint if its place is divisible by this; not 0.
    pub interval: u64,
    /// The window between the watermarks. A multiple of the interval, and at least twice it, or
    /// replicas would wait at every checkpoint.
    pub window: u64,
}

/// What the application asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The caller's name for this call; the answering event repeats it.
    pub ticket: u64,
    /// The client's name for the command: the same whenever it is sent again.
    pub session: Session,
    /// What.
    pub operation: Operation,
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Something waited too long: the primary is suspected (§4.4). Each view in a row in which nothing
    /// was executed waits twice as long as the one before (§4.5.2).
    Suspect {
        /// How many there were.
        in_vain: u32,
    },
    /// What waits may wait for something that was lost.
    Resend,
    /// A request of this node was not answered: everyone is to hear it (§4.1).
    Retry,
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A quorum agreed to an order: this node has a certificate of it.
    Prepared {
        /// Which.
        assignment: Assignment,
    },
    /// This node executed a batch.
    Executed {
        /// Where.
        sequence: Sequence,
        /// The batch.
        batch: Batch,
        /// Which of its requests had an effect: the others were executed before.
        effective: Vec<(Client, u64)>,
    },
    /// A quorum vouches for a state.
    Stabilised {
        /// Which.
        checkpoint: Checkpoint,
    },
    /// This node took over a state instead of executing what led to it.
    Transferred {
        /// Which.
        checkpoint: Checkpoint,
    },
    /// This node is in a new view.
    Entered {
        /// Which.
        view: View,
    },
    /// The call returned.
    Replied {
        /// The caller's name for it.
        ticket: u64,
        /// What came of it.
        reply: Reply,
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
    /// [`WAITING_MAX`] calls are under way, or one of the same client.
    Busy,
    /// Key and value have more than [`OPERATION_BYTES_MAX`] bytes.
    TooLarge,
}

/// What a crash takes. Others send it again when they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// Of each client, the request that waits to be executed.
    pub pending: Map<Client, Signed<Request>>,
    /// What others said of places in this view that are not committed yet.
    pub votes: Map<Sequence, Votes>,
    /// Checkpoints above the last stable one, by place and by who vouches.
    pub checkpoints: Map<Sequence, Map<NodeId, Signed<Checkpoint>>>,
    /// Of each replica, the latest view change. Above this node's view, or for it while it changes.
    pub view_changes: Map<NodeId, Signed<ViewChange>>,
    /// How many views in a row began since something was executed.
    pub in_vain: u32,
    /// The view that the primary is asked in that this node's requests go to first.
    pub believed: View,
    /// The calls under way at this node, by client.
    pub waiting: Map<u64, Waiting>,
    /// Of each client, the read that waits until what is prepared here is executed.
    pub reads: Map<Client, Signed<Request>>,
    /// The state that this replica is being sent.
    pub fetching: Option<Fetching>,
}

/// A state that arrives page by page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fetching {
    /// Which, and why it is believed.
    pub stable: Stable,
    /// What is there of it.
    pub service: Service,
    /// How many pages that are.
    pub pages: u64,
    /// The digest of the next.
    pub next: Digest,
}

/// What other replicas said of the batch at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Votes {
    /// Backups that agreed, and their signatures. None are kept once it is prepared.
    pub prepares: Map<NodeId, Signature>,
    /// Replicas that committed.
    pub commits: NodeSet,
}

/// A call under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Waiting {
    /// The caller's name for it.
    pub ticket: u64,
    /// What was asked.
    pub request: Signed<Request>,
    /// What replicas answered.
    pub answers: Map<NodeId, Reply>,
    /// What replicas read for it, unordered.
    pub readings: Map<NodeId, Reply>,
}

impl<K: Keys> Machine for Pbft<K> {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut volatile = Volatile::default();
        if durable.stance == Stance::Changing {
            // What it said to leave its view is made again: a signature is a function of what it signs.
            let change = self.view_change(durable);
            volatile.view_changes.insert(self.me, change);
        }
        let state = State {
            durable: durable.clone(),
            volatile,
        };
        self.watch(&Progress::default(), &state, out);
        state.volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let before = self.progress(state);
        self.ask(state, call, out);
        self.watch(&before, state, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Answer(answer) => self.on_answer(state, answer, out),
            Message::Reading(reading) => self.on_reading(state, reading, out),
            Message::Request(_)
            | Message::Read(_)
            | Message::PrePrepare { .. }
            | Message::Prepare(_)
            | Message::Commit(_)
            | Message::Checkpoint(_)
            | Message::ViewChange(_)
            | Message::NewView(_)
            | Message::Status { .. }
            | Message::State { .. }
            | Message::Fetch { .. }
            | Message::Page { .. } => self.on_replica_message(state, from, message, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Suspect { .. } if !self.is_replica(self.me) => {}
            Timer::Suspect { .. } => {
                let before = self.progress(state);
                let next = state.durable.view.next();
                self.leave_for(state, next, out);
                self.watch(&before, state, out);
            }
            Timer::Resend => {
                self.resend(state, out);
                if self.progress(state).lacks {
                    out.arm(Timer::Resend);
                }
            }
            Timer::Retry => self.retry(state, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match timer {
            Timer::Suspect { in_vain } => {
                let wait = Duration::from_secs(1) * (1 << (*in_vain).min(10));
                wait..wait + wait / 10
            }
            Timer::Resend => Duration::from_millis(100)..Duration::from_millis(120),
            Timer::Retry => Duration::from_millis(400)..Duration::from_millis(500),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let durable = &state.durable;
        let low = durable.low();
        let places = durable.slots.keys().chain(durable.certificates.keys());
        let within = places.copied().all(|place| self.is_within(low, place));
        let active = durable.stance == Stance::Active;
        let known = durable.slots.iter().all(|(place, slot)| {
            // What is prepared is certified, and its batch is known.
            let certificate = durable.certificates.get(place);
            slot.stage == Stage::PrePrepared
                || certificate.is_some_and(|certificate| {
                    certificate.assignment.digest == slot.digest
                        && certificate.assignment.view == durable.view
                }) && self.batch(durable, &slot.digest).is_some()
        });
        within && known && (active || durable.slots.is_empty())
    }
}

/// What a replica waits for, before and after something happened.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// For the primary.
    waits: bool,
    /// For anything.
    lacks: bool,
    in_vain: u32,
    view: View,
    executed: Sequence,
}

impl<K: Keys> Pbft<K> {
    /// What concerns replicas alone. Whoever only asks has nothing to say to it.
    fn on_replica_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_replica(self.me) {
            return;
        }
        let before = self.progress(state);
        match message {
            Message::Request(request) => self.on_request(state, from, request, out),
            Message::Read(request) => self.on_read(state, request, out),
            Message::PrePrepare { order, batch } => self.on_pre_prepare(state, order, batch, out),
            Message::Prepare(prepare) => self.on_prepare(state, prepare, out),
            Message::Commit(commit) => self.on_commit(state, commit, out),
            Message::Answer(_) | Message::Reading(_) => {}
            Message::Checkpoint(checkpoint) => self.on_checkpoint(state, checkpoint, out),
            Message::ViewChange(change) => self.on_view_change(state, change, out),
            Message::NewView(new_view) => self.on_new_view(state, new_view, out),
            Message::Status {
                view,
                stance,
                executed,
            } => self.on_status(state, from, (view, stance), executed, out),
            Message::State { stable, page } => self.on_state(state, from, stable, page, out),
            Message::Fetch { checkpoint, index } => {
                self.on_fetch(state, from, checkpoint, index, out);
            }
            Message::Page {
                checkpoint,
                index,
                page,
            } => self.on_page(state, from, checkpoint, index, page, out),
        }
        self.watch(&before, state, out);
    }

    /// True if the node is a replica.
    fn is_replica(&self, node: NodeId) -> bool {
        self.sizes.replicas.contains(node)
    }

    /// The other replicas.
    fn others(&self) -> impl Iterator<Item = NodeId> + use<K> {
        let me = self.me;
        let replicas = self.sizes.replicas.iter();
        replicas.filter(move |node| *node != me)
    }

    /// True if a place is between the watermarks: h < n ≤ H (§4.3).
    fn is_within(&self, low: Sequence, place: Sequence) -> bool {
        let high = low.0.saturating_add(self.watermarks.window);
        low < place && place.0 <= high
    }

    /// True if this node is the primary of the view it is in.
    fn is_primary(&self, durable: &Durable) -> bool {
        self.is_replica(self.me) && self.sizes.primary(durable.view) == self.me
    }

    /// The batch of a digest, if it is known. The null request is known to all.
    fn batch(&self, durable: &Durable, digest: &Digest) -> Option<Batch> {
        match durable.batches.get(digest) {
            Some((_, batch)) => Some(batch.clone()),
            None => (*digest == self.null()).then(Batch::default),
        }
    }

    /// The digest of the null request.
    fn null(&self) -> Digest {
        self.keys.digest(&Batch::default())
    }

    fn progress(&self, state: &State<Self>) -> Progress {
        let durable = &state.durable;
        let open = durable.slots.iter().any(|(place, slot)| {
            slot.stage != Stage::Committed || durable.service.executed < *place
        });
        let waits =
            durable.stance == Stance::Changing || open || !state.volatile.pending.is_empty();
        // An honest replica is past a checkpoint that this one has not reached.
        let executed = durable.service.executed;
        let mut ahead = state.volatile.checkpoints.range(executed.next()..);
        let behind =
            executed < durable.low() || ahead.any(|(_, votes)| self.sizes.honest <= votes.len());
        let is_replica = self.is_replica(self.me);
        Progress {
            waits: is_replica && waits,
            lacks: is_replica && (waits || behind || state.volatile.fetching.is_some()),
            in_vain: state.volatile.in_vain,
            view: durable.view,
            executed: durable.service.executed,
        }
    }

    /// §4.5: a replica that waits for something watches the primary, and begins anew whenever
    /// something was executed, or the view is another.
    fn watch(&self, before: &Progress, state: &State<Self>, out: &mut Outbox<Self>) {
        let after = self.progress(state);
        let moved = before.executed < after.executed || before.view < after.view;
        let in_vain = after.in_vain;
        if before.waits && (!after.waits || before.in_vain != in_vain) {
            out.disarm(Timer::Suspect {
                in_vain: before.in_vain,
            });
        }
        if after.waits && (!before.waits || moved) {
            out.arm(Timer::Suspect { in_vain });
        }
        match (before.lacks, after.lacks) {
            (false, true) => out.arm(Timer::Resend),
            (true, false) => out.disarm(Timer::Resend),
            // What moves needs no repair yet.
            (true, true) if moved => out.arm(Timer::Resend),
            (true, true) | (false, false) => {}
        }
    }
}
