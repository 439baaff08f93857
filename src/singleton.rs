//! # A singleton service
//!
//! A service that runs on one node, whichever that is, and writes to one resource. Each node is told by
//! a detector whom it sees; when that has settled it decides alone whether it is to run
//! ([`split_brain`](crate::split_brain)); who is to run gets a [`lease`] and keeps it;
//! and what it writes carries the lease's token, by which the resource refuses whoever comes too late.
//!
//! Each part makes the next one's work rarer, and only the last is needed for what is promised of the
//! resource: a detector may believe what it likes.
//!
//! - **Source.** Akka's cluster singleton with its lease (*Cluster Singleton*, *Split Brain Resolver*,
//!   Akka documentation), of which this is the composition; the parts have sources of their own.
//! - **Promises.** *one writer per epoch*: the resource accepts writes of one token from one node alone.
//!   *accepted tokens never fall*. *aside is aside*: a node that has decided not to run takes no
//!   write from then on. *the service runs again*: whatever the detectors believed and whoever crashed, once
//!   they see everybody the lowest node runs.
//! - **Assumes.** Disks keep what they acknowledged; nodes crash and restart, and do not lie. Nothing of
//!   time, and nothing of detectors. In *the service runs again* both are right at last.
//! - **Leaves out.** The detector. It says [`Call::Sees`] whenever it sees something else, and is any: that
//!   of [`split_brain`](crate::split_brain) or SWIM. Giving the lease back: who is aside lets it run out.
//! - **The textbook says.** Chapter 8 has neither a token nor a lease: whom `SplitBrainPrevention` leaves
//!   active writes, and so may two (`one_writer_falls_when_a_view_is_enough`).

use alloc::string::String;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::lease::{self, Durable, Ending, Holder, Lease, Part, Request};
use crate::machine::{Machine, NodeId, Outbox, Output, State};
use crate::split_brain::{Roster, Strategy, Turn, Verdict, View, resolve};

/// One node: one that may run the service, the authority, or the resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Singleton {
    /// Its part in leases. Those that may hold are those that may run.
    pub lease: Lease,
    /// How it is decided who is to run.
    pub strategy: Strategy,
    /// What a detector says is settled when it has said nothing else for so long, in milliseconds.
    pub settle_ms: u64,
    /// Who may ask for the lease second waits for so long, in milliseconds.
    pub turn_ms: u64,
    /// How often a node asks for a lease, or for more of it, before its detector is to say something;
    /// or [`ASKS_UNBOUNDED`].
    pub asks: u32,
}

/// What the detector tells, and what the application asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// From this node's detector: the members, and those that it sees, each with whom that one sees.
    Sees {
        /// The members.
        roster: Roster,
        /// Those that are seen, this node included.
        reports: Map<NodeId, NodeSet>,
    },
    /// The service writes.
    Write {
        /// The caller's name for this call.
        ticket: u64,
        /// What, at most [`lease::VALUE_BYTES_MAX`] long.
        value: String,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Of leases.
    Lease(lease::Message),
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// What the detector said is settled.
    Settle,
    /// It is the turn of the second.
    Turn,
    /// The lease is to be got, or kept.
    Tend,
    /// Of leases.
    Lease(lease::Timer),
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// What a node is to do from now on.
    Decided(Role),
    /// Of leases; and what became of a write, for that is one by a lease.
    Lease(lease::Event),
}

/// What a node is to do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Role {
    /// Not to run. So it boots.
    #[default]
    Aside,
    /// To run, if nobody has by its turn.
    Second,
    /// To run, while it has the lease.
    Runs,
}

/// What a node knows: nothing of it survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// What the detector said last.
    pub view: Option<(Roster, Map<NodeId, NodeSet>)>,
    /// What it is to do.
    pub role: Role,
    /// How often it may still ask.
    pub asks: u32,
    /// What it knows of leases.
    pub lease: Holder,
}

/// For as long as it is to run.
pub const ASKS_UNBOUNDED: u32 = u32::MAX;

/// The ticket of what a node asks for itself.
pub const OWN: u64 = u64::MAX;

impl Machine for Singleton {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut said = Outbox::default();
        let lease = self.lease.boot(durable, &mut said);
        pass_on(&mut said, out);
        Volatile {
            lease,
            ..Volatile::default()
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Sees { roster, reports } => {
                if self.lease.part() == Part::Holder {
                    // Whatever it was about to do, it was by another view.
                    state.volatile.view = Some((roster, reports));
                    out.disarm(Timer::Turn);
                    out.arm(Timer::Settle);
                }
            }
            Call::Write { ticket, .. } if state.volatile.role != Role::Runs => {
                let ending = Ending::NotHolding;
                out.tell(Event::Lease(lease::Event::Done { ticket, ending }));
            }
            Call::Write { ticket, value } => {
                let write = lease::Call::Write { ticket, value };
                self.act(state, out, |lease, state, out| {
                    lease.on_call(state, write, out);
                });
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
        let Message::Lease(message) = message;
        self.act(state, out, |lease, state, out| {
            lease.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Settle => self.on_settle(state, out),
            Timer::Turn => {
                if state.volatile.role == Role::Second {
                    self.become_role(state, Role::Runs, out);
                }
            }
            Timer::Tend => self.on_tend(state, out),
            Timer::Lease(timer) => self.act(state, out, |lease, state, out| {
                lease.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let term_ms = self.lease.term_ms.max(4);
        let (from, to) = match timer {
            Timer::Settle => (self.settle_ms, self.settle_ms.saturating_add(1)),
            Timer::Turn => (self.turn_ms, self.turn_ms.saturating_add(1)),
            // A lease is renewed well before it is over.
            Timer::Tend => (term_ms / 4, term_ms / 2),
            Timer::Lease(timer) => return self.lease.delay(timer),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile {
            view, role, lease, ..
        } = &state.volatile;
        let inner = State {
            durable: state.durable.clone(),
            volatile: lease.clone(),
        };
        self.lease.holds(&inner) && (*role == Role::Aside || view.is_some())
    }
}

impl Singleton {
    /// What the detector said is settled: the node decides, alone.
    fn on_settle(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Some((roster, reports)) = state.volatile.view.clone() else {
            return;
        };
        let me = self.lease.me;
        let view = View {
            me,
            roster,
            reports,
        };
        // Of a side the lowest is to run, and of all if nobody is missing.
        let is_lowest = view
            .side()
            .is_some_and(|side| side.iter().next() == Some(me));
        let role = match resolve(&self.strategy, &view) {
            Verdict::Stay | Verdict::Contend(Turn::First) if is_lowest => Role::Runs,
            Verdict::Contend(Turn::Second) if is_lowest => Role::Second,
            Verdict::Stay | Verdict::Leave | Verdict::Contend(_) => Role::Aside,
        };
        state.volatile.asks = self.asks;
        self.become_role(state, role, out);
    }

    fn become_role(&self, state: &mut State<Self>, role: Role, out: &mut Outbox<Self>) {
        if state.volatile.role != role {
            state.volatile.role = role;
            out.tell(Event::Decided(role));
        }
        match role {
            Role::Aside => give_up(state, out),
            Role::Second => {
                give_up(state, out);
                out.arm(Timer::Turn);
            }
            Role::Runs => self.on_tend(state, out),
        }
    }

    /// Who is to run gets the lease, or more of it, as often as it may.
    fn on_tend(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        if state.volatile.role != Role::Runs {
            return;
        }
        let asks = match state.volatile.asks {
            0 => return,
            ASKS_UNBOUNDED => ASKS_UNBOUNDED,
            asks => asks - 1,
        };
        out.arm(Timer::Tend);
        let ticket = OWN;
        let call = match (
            &state.volatile.lease.holding,
            &state.volatile.lease.acquiring,
        ) {
            (Some(holding), _) if holding.renewing.is_none() => lease::Call::Renew { ticket },
            (None, None) => lease::Call::Acquire { ticket },
            (Some(_), _) | (None, Some(_)) => return, // It has asked.
        };
        state.volatile.asks = asks;
        self.act(state, out, |lease, state, out| {
            lease.on_call(state, call, out);
        });
    }

    /// Lets the lease's machine act.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Lease, &mut State<Lease>, &mut Outbox<Lease>),
    ) {
        let mut inner = State {
            durable: core::mem::take(&mut state.durable),
            volatile: core::mem::take(&mut state.volatile.lease),
        };
        let mut said = Outbox::default();
        act(&self.lease, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile.lease = inner.volatile;
        pass_on(&mut said, out);
    }
}

/// A node that is not to run asks for no lease: it would keep it from the one that is.
fn give_up(state: &mut State<Singleton>, out: &mut Outbox<Singleton>) {
    out.disarm(Timer::Tend);
    if let Some(acquiring) = state.volatile.lease.acquiring.take() {
        out.disarm(Timer::Lease(lease::Timer::Again));
        out.disarm(Timer::Lease(lease::Timer::Retry));
        if let Some(number) = acquiring.number {
            out.disarm(Timer::Lease(lease::Timer::Stop(number)));
            let incarnation = state.durable.incarnation;
            let request = Request {
                incarnation,
                number,
            };
            out.tell(Event::Lease(lease::Event::Stopped { request }));
        }
    }
}

/// What the lease's machine says, wrapped. What it answers to the node itself is nobody else's business.
fn pass_on(said: &mut Outbox<Lease>, out: &mut Outbox<Singleton>) {
    for output in said.drain() {
        match output {
            Output::Send { to, message } => out.send(to, Message::Lease(message)),
            Output::Arm(timer) => out.arm(Timer::Lease(timer)),
            Output::Disarm(timer) => out.disarm(Timer::Lease(timer)),
            Output::Event(lease::Event::Done { ticket: OWN, .. }) => {}
            Output::Event(event) => out.tell(Event::Lease(event)),
        }
    }
}
