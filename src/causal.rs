//! # The causal store
//!
//! A store at every node, read and written there and then, in which no effect is seen before its cause.
//! A put is an *update*; its node applies it at once and broadcasts it with its vector clock, which counts
//! the updates of each node that it had delivered. A node that receives an update *delivers* it when it
//! has delivered all that the stamp counts, and holds it back until then. So everybody sees a question
//! before its answer. Updates that did not know of each other may come in either order; where they
//! write one key all nodes keep the same one, by a total order that respects causes.
//!
//! A delivered update stays in a log until every member is known to have it, and whoever has it sends it
//! again to those who may not. So no loss stops anything for ever, nor does the death of the node that
//! made the update. An acknowledgement is a vector too, and tells all that its sender has delivered; so
//! does the stamp of an update, of its origin.
//!
//! A client may go from node to node. It carries a *token*, the vector of what it has seen: each answer
//! gives it, the next call brings it along, and a node that has not delivered so much lets the call
//! wait.
//!
//! - **Source.** Birman, Schiper, Stephenson, *Lightweight Causal and Atomic Group Multicast*, ACM TOCS
//!   9(3), 1991, §5.1 (the delay) and §5.3 (stability); Lloyd, Freedman, Kaminsky, Andersen, *Don't
//!   Settle for Eventual: Scalable Causal Consistency for Wide-Area Storage with COPS*, SOSP 2011
//!   (causal+); Terry, Demers, Petersen, Spreitzer, Theimer, Welch, *Session Guarantees for Weakly
//!   Consistent Replicated Data*, PDIS 1994; Bouajjani, Enea, Guerraoui, Hamza, *On Verifying Causal
//!   Consistency*, POPL 2017.
//! - **Promises.** *no duplication*: no node delivers an update twice. *no creation*: what is delivered
//!   was sent, and no two updates share a name. *FIFO order*: of one node's updates each node delivers
//!   the next. *causal delivery*: it delivers none before its causes. *clock order iff happens-before*:
//!   two stamps are ordered if and only if their updates are. *bounded hold-back queue*: it has room for
//!   as many updates as is said, and for none that was delivered. *no needless delay*: no node holds back
//!   an update whose causes it has delivered. *what is forgotten is everywhere*: a log forgets what all
//!   members have delivered, and nothing else. *convergence*: nodes that have delivered the same updates
//!   store the same. *everything is delivered everywhere*: in the calm, and then no log keeps it.
//!   *survivors deliver alike*: so it is among those that stay up, of what one of them has delivered.
//!   *read your writes*, *monotonic reads*, *monotonic writes* and *writes follow reads*: of a client that
//!   carries its token. *causal convergence*: the histories of such clients are causally consistent, with
//!   one order of concurrent puts. *calls return*: in the calm, every call does.
//! - **Assumes.** A disk keeps what it acknowledged; members crash and restart, and do not lie; clients do
//!   not forge tokens. Of the network and of time, nothing.
//! - **Leaves out.** Changing the members: one that never comes back keeps every log from shrinking.
//!   Keeping both of two concurrent versions, which [`Siblings`](crate::clock::Siblings) do; deleting,
//!   but by an empty value; puts that take effect once though the client repeats them; transactions.
//! - **The textbook says.** `CausalConsistencyStore` (chapter 8, causal consistency) merges the clock of
//!   what arrives before it asks whether that is the next, so that it never is
//!   (`no_needless_delay_falls_when_the_clock_is_merged_first`); counts receipts in the clock that numbers
//!   its updates (`no_needless_delay_falls_when_a_receipt_ticks`); judges a batch by one clock
//!   (`no_duplication_falls_when_a_batch_is_judged_by_one_clock`) and holds back what it has delivered
//!   (`bounded_queue_falls_when_repeats_are_held`); calls equal clocks concurrent
//!   (`calls_return_falls_when_equal_is_concurrent`); drops the counts of members that it did not know
//!   (`clock_order_falls_when_strangers_are_dropped`); lets the last to arrive win
//!   (`convergence_falls_when_arrival_order_wins`); sends once (`delivery_falls_when_nothing_is_sent_again`);
//!   encodes no clock (`causal_delivery_falls_when_the_stamp_is_not_sent`); and reads and writes without
//!   a token (`read_your_writes_falls_without_the_token`, and three more).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Stamp, Vector};
use crate::data::{Map, NodeSet, Seq};
use crate::machine::{Machine, NodeId, Outbox, State};

mod disk;
mod stability;
mod update;

use stability::alarm;

pub use disk::{Change, Durable};
pub use update::{COUNT_MAX, KEY_BYTES_MAX, Update, VALUE_BYTES_MAX, Version};

/// How many calls wait at one node before it refuses more.
pub const WAITING_MAX: usize = 1024;
/// How many updates are sent again to one member at a time.
pub const PUSHED_MAX: usize = 32;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Causal {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub members: NodeSet,
    /// How many updates it holds back. What has no room is sent again.
    pub held_max: usize,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it. The token is
/// that of the session's last answer, and empty at first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let the key have this value.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// What the session has seen.
        token: Vector,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
        /// The value, at most [`VALUE_BYTES_MAX`] long.
        value: String,
    },
    /// Which value has the key?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// What the session has seen.
        token: Vector,
        /// The key.
        key: String,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// From one that has delivered it: an update.
    Update(Update),
    /// So many updates of the others are delivered here, and on the disk.
    Acknowledge(Vector),
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Some member may not have what is in the log.
    Push,
    /// The call of this ticket has waited long enough.
    GiveUp(u64),
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The node made an update, and thereby delivered it.
    Sent(Update),
    /// The node delivered an update of another one.
    Delivered(Update),
    /// To the caller: the put is on this node's disk.
    Done {
        /// The caller's name for the call.
        ticket: u64,
        /// What the session has seen now.
        token: Vector,
    },
    /// To the caller: the value, or nothing if the key has none.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// The value.
        value: Option<String>,
        /// What the session has seen now.
        token: Vector,
    },
    /// The call had no effect, and will have none.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
    },
}

/// Why a call had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The key or the value is too long.
    TooLong,
    /// The token counts updates of a node that is no member.
    Stranger,
    /// [`WAITING_MAX`] calls wait at this node.
    Busy,
    /// The node has not delivered in time what the session has seen. Another one may have.
    Behind,
    /// The node has made [`COUNT_MAX`] updates.
    Exhausted,
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// The hold-back queue: updates whose causes are missing, each behind those of its causes that are
    /// here.
    pub held: Map<Stamp, Update>,
    /// Calls of sessions that have seen what this node has not delivered.
    pub waiting: Seq<Call>,
}

impl Call {
    /// The caller's name for it.
    pub fn ticket(&self) -> u64 {
        let (Self::Put { ticket, .. } | Self::Get { ticket, .. }) = self;
        *ticket
    }

    /// What the session has seen.
    pub fn token(&self) -> &Vector {
        let (Self::Put { token, .. } | Self::Get { token, .. }) = self;
        token
    }

    fn fits(&self) -> bool {
        match self {
            Self::Put { key, value, .. } => {
                key.len() <= KEY_BYTES_MAX && value.len() <= VALUE_BYTES_MAX
            }
            Self::Get { key, .. } => key.len() <= KEY_BYTES_MAX,
        }
    }
}

impl Machine for Causal {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if !durable.log.is_empty() {
            out.arm(Timer::Push);
        }
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        if let Some(refusal) = self.refusal(state, &call) {
            let ticket = call.ticket();
            out.tell(Event::Refused { ticket, refusal });
            return;
        }
        if !state.durable.clock.dominates(call.token()) {
            out.arm(Timer::GiveUp(call.ticket()));
            state.volatile.waiting.push(call);
            return;
        }
        let was_idle = state.durable.log.is_empty();
        self.answer(state, call, out);
        alarm(was_idle, &state.durable, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if from == self.me || !self.members.contains(from) {
            return; // Only other members have anything.
        }
        let was_idle = state.durable.log.is_empty();
        match message {
            Message::Update(update) => self.on_update(state, from, update, out),
            Message::Acknowledge(clock) => self.on_acknowledge(state, from, &clock),
        }
        alarm(was_idle, &state.durable, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Push => {
                if !state.durable.log.is_empty() {
                    out.arm(Timer::Push);
                    self.push(&state.durable, out);
                }
            }
            Timer::GiveUp(ticket) => {
                let before = state.volatile.waiting.len();
                (state.volatile.waiting).retain(|call| call.ticket() != ticket);
                if state.volatile.waiting.len() < before {
                    let refusal = Refusal::Behind;
                    out.tell(Event::Refused { ticket, refusal });
                }
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let (from, to) = match timer {
            Timer::Push => (100, 200),
            Timer::GiveUp(_) => (2_000, 2_400),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable {
            clock,
            stable,
            log,
            store,
            ..
        } = &state.durable;
        let Volatile { held, waiting } = &state.volatile;
        held.len() <= self.held_max
            && waiting.len() <= WAITING_MAX
            // What can be delivered was, and what can be answered.
            && held.iter().all(|(rank, update)| {
                let version = &update.version;
                *rank == version.rank() && !clock.covers(version.dot()) && !version.is_next(clock)
            })
            && waiting.iter().all(|call| !clock.dominates(call.token()))
            && *stable == self.stable(&state.durable)
            && log.iter().all(|(dot, update)| {
                let version = &update.version;
                *dot == version.dot()
                    && clock.dominates(&version.stamp)
                    && !stable.covers(*dot)
                    // The key has this version, or a later one.
                    && (store.get(update.key.as_str()))
                        .is_some_and(|last| version.rank() <= last.rank())
            })
    }
}

impl Causal {
    /// A member sends an update: its own, or another's that it has delivered.
    fn on_update(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        update: Update,
        out: &mut Outbox<Self>,
    ) {
        if !update.is_sound(self.members) {
            return; // No node of ours makes this.
        }
        let Durable { clock, .. } = &state.durable;
        if clock.covers(update.version.dot()) {
            // The last acknowledgement may be lost. Whoever sends the update has it, too.
            out.send(from, self.acknowledgement(clock));
            self.learn(&mut state.durable, from, &update.version.stamp);
            return;
        }
        if clock.get(self.me) < update.version.stamp.get(self.me) {
            return; // Nobody has more of this node's updates than its disk.
        }
        if !update.version.is_next(clock) {
            // §5.1: delayed. It is not acknowledged: a crash takes it.
            let held = &mut state.volatile.held;
            if held.len() < self.held_max {
                held.insert(update.version.rank(), update);
            }
            return;
        }
        self.learn(&mut state.durable, from, &update.version.stamp);
        self.deliver(state, update, out);
        self.deliver_held(state, out);
        // To all, not to the sender alone: so all learn that they need not send it here. It leaves the
        // node when the disk has the updates, and no sooner: see `Sealed`.
        let acknowledgement = self.acknowledgement(&state.durable.clock);
        out.broadcast(self.others(), &acknowledgement);
        self.answer_waiting(state, out);
    }

    /// An update of another node takes effect here.
    fn deliver(&self, state: &mut State<Self>, update: Update, out: &mut Outbox<Self>) {
        state.volatile.held.remove(&update.version.rank());
        out.tell(Event::Delivered(update.clone()));
        let Version { origin, stamp, .. } = update.version.clone();
        let durable = &mut state.durable;
        durable.take(update);
        durable.learn(origin, &stamp); // It had delivered what it counts.
        self.settle(durable);
    }

    /// What was held back for what has been delivered meanwhile. Causes stand before their effects and are
    /// judged first, so that one pass finds all there is; but for forged stamps, whose order may lie.
    fn deliver_held(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let mut delivered = true;
        while delivered {
            delivered = false;
            let held = state.volatile.held.clone();
            for (rank, update) in &held {
                // Each is judged by the clock that those before it have made.
                if state.durable.clock.covers(update.version.dot()) {
                    state.volatile.held.remove(rank);
                } else if update.version.is_next(&state.durable.clock) {
                    self.deliver(state, update.clone(), out);
                    delivered = true;
                }
            }
        }
    }

    /// The calls that need not wait any longer, in the order in which they came.
    fn answer_waiting(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let clock = state.durable.clock.clone();
        let is_ready = |call: &&Call| clock.dominates(call.token());
        let ready: Vec<Call> = (state.volatile.waiting.iter())
            .filter(is_ready)
            .cloned()
            .collect();
        (state.volatile.waiting).retain(|call| !is_ready(&call));
        for call in ready {
            out.disarm(Timer::GiveUp(call.ticket()));
            self.answer(state, call, out);
        }
    }

    /// A call of a session that has seen nothing but what was delivered here.
    fn answer(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let durable = &mut state.durable;
        match call {
            Call::Get {
                ticket,
                mut token,
                key,
            } => {
                let version = durable.store.get(key.as_str());
                if let Some(version) = version {
                    token.merge(&version.stamp);
                }
                let value = version.map(|version| version.value.clone());
                out.tell(Event::Got {
                    ticket,
                    value,
                    token,
                });
            }
            Call::Put {
                ticket, key, value, ..
            } => {
                let mut stamp = durable.clock.clone();
                // §5.1: counted before it is sent, so that the stamp counts the update itself.
                if !matches!(stamp.tick(self.me), Ok(count) if count <= COUNT_MAX) {
                    let refusal = Refusal::Exhausted;
                    out.tell(Event::Refused { ticket, refusal });
                    return;
                }
                let version = Version {
                    origin: self.me,
                    stamp: stamp.clone(),
                    value,
                };
                let update = Update { key, version };
                out.tell(Event::Sent(update.clone()));
                out.broadcast(self.others(), &Message::Update(update.clone()));
                durable.take(update);
                self.settle(durable);
                let token = stamp;
                out.tell(Event::Done { ticket, token });
            }
        }
    }

    fn others(&self) -> NodeSet {
        let mut others = self.members;
        others.remove(self.me);
        others
    }

    fn refusal(&self, state: &State<Self>, call: &Call) -> Option<Refusal> {
        if !call.fits() {
            return Some(Refusal::TooLong);
        }
        if !(call.token().iter()).all(|(node, _)| self.members.contains(node)) {
            return Some(Refusal::Stranger);
        }
        if call.token().get(self.me) > state.durable.clock.get(self.me) {
            return Some(Refusal::Behind); // The disk has lost what the session has seen.
        }
        (state.volatile.waiting.len() >= WAITING_MAX).then_some(Refusal::Busy)
    }
}
