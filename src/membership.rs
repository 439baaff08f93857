//! # Membership
//!
//! What one would deploy: a service that runs on one of a few nodes, which find out by themselves who is
//! there. Each *worker* runs [SWIM](crate::swim), and the [singleton service](crate::singleton) on top
//! of it: whenever SWIM holds somebody to be there or gone that it did not, the service's detector says
//! so; a resolver decides which side goes on; the lowest of that side gets a lease; and what it writes
//! carries the lease's token. The authority that grants and the resource that is written to are two nodes
//! more, which know nothing of SWIM.
//!
//! There is nothing new here but the wrapping: two machines side by side, each with its own messages,
//! alarms and part of the disk, and one sentence from the first to the second.
//!
//! - **Source.** Its parts have theirs: [`swim`], [`split_brain`](crate::split_brain), [`lease`],
//!   [`singleton`]. The composition is that of Akka's cluster singleton.
//! - **Promises.** *one writer per epoch* and *accepted tokens never fall*: whatever SWIM believes.
//!   *the service sees what SWIM holds*: from the step on in which SWIM changes its mind. *the service runs
//!   again*: once the network is calm and everybody is up, whoever was held dead and whoever had crashed, the
//!   lowest worker runs, and holds the lease.
//! - **Assumes.** What the parts assume; for the first two of the above, that disks keep what they
//!   acknowledged, and nothing else.
//! - **Leaves out.** Workers that join later, and those that leave for good: who is dead still counts when
//!   a majority is. What each worker says that it sees: SWIM holds one view of all, so whoever is held to
//!   be there is taken to see the same. Where that is not so two sides may decide to run, and
//!   the lease lets one.
//! - **The textbook says.** `HeartbeatMonitor` and `SplitBrainPrevention` (chapter 8) are apart: nobody tells
//!   the second what the first finds out (`the_service_sees_falls_when_nobody_is_told`).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::lease::{self, Part};
use crate::machine::{self, Machine, NodeId, Outbox, Output, State};
use crate::singleton::{self, Singleton};
use crate::split_brain::Roster;
use crate::swim::{self, Swim};

/// One node: a worker, the authority, or the resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Its part in SWIM, whose members are the workers.
    pub swim: Swim,
    /// Its part in the service.
    pub singleton: Singleton,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Who is there?
    Members {
        /// The caller's name for this call.
        ticket: u64,
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
    /// Of SWIM.
    Swim(swim::Message),
    /// Of the service.
    Singleton(singleton::Message),
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Of SWIM.
    Swim(swim::Timer),
    /// Of the service.
    Singleton(singleton::Timer),
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// Of SWIM: who is there.
    Swim(swim::Event),
    /// Of the service: who runs, and what became of writes.
    Singleton(singleton::Event),
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// Of SWIM.
    pub swim: swim::Durable,
    /// Of the service: its leases.
    pub lease: lease::Durable,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Of SWIM's part.
    Swim(<swim::Durable as machine::Durable>::Change),
    /// Of the service's.
    Lease(lease::Change),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let swim = self.swim.changes_since(&older.swim).into_iter();
        let lease = self.lease.changes_since(&older.lease).into_iter();
        (swim.map(Change::Swim))
            .chain(lease.map(Change::Lease))
            .collect()
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Swim(change) => self.swim.apply(change),
            Change::Lease(change) => self.lease.apply(change),
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// Of SWIM.
    pub swim: swim::Volatile,
    /// Of the service.
    pub singleton: singleton::Volatile,
}

impl Machine for Membership {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut said = Outbox::default();
        let swim = if self.is_worker() {
            self.swim.boot(&mut durable.swim, &mut said)
        } else {
            swim::Volatile::default()
        };
        pass_on(&mut said, out, Message::Swim, Timer::Swim, Event::Swim);
        let mut said = Outbox::default();
        let singleton = self.singleton.boot(&mut durable.lease, &mut said);
        pass_on_service(&mut said, out);
        let mut state = State {
            durable: durable.clone(),
            volatile: Volatile { swim, singleton },
        };
        // So far nobody is known to be gone.
        self.tell(&mut state, out);
        *durable = state.durable;
        state.volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Members { ticket } => {
                let call = swim::Call::Members { ticket };
                self.act_swim(state, out, |swim, state, out| {
                    swim.on_call(state, call, out);
                });
            }
            Call::Write { ticket, value } => {
                let call = singleton::Call::Write { ticket, value };
                self.act_service(state, out, |service, state, out| {
                    service.on_call(state, call, out);
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
        match message {
            Message::Swim(message) => {
                if self.is_worker() && self.workers().contains(from) {
                    self.act_swim(state, out, |swim, state, out| {
                        swim.on_message(state, from, message, out);
                    });
                }
            }
            Message::Singleton(message) => self.act_service(state, out, |service, state, out| {
                service.on_message(state, from, message, out);
            }),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Swim(timer) => self.act_swim(state, out, |swim, state, out| {
                swim.on_timer(state, timer, out);
            }),
            Timer::Singleton(timer) => self.act_service(state, out, |service, state, out| {
                service.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match timer {
            Timer::Swim(timer) => self.swim.delay(timer),
            Timer::Singleton(timer) => self.singleton.delay(timer),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let (durable, volatile) = (state.durable.clone(), state.volatile.clone());
        let swim = State {
            durable: durable.swim,
            volatile: volatile.swim,
        };
        let service = State {
            durable: durable.lease,
            volatile: volatile.singleton,
        };
        (!self.is_worker() || self.swim.holds(&swim)) && self.singleton.holds(&service)
    }
}

impl Membership {
    /// Those who may run the service.
    pub fn workers(&self) -> NodeSet {
        self.singleton.lease.holders
    }

    /// Those that SWIM holds to be there, this node among them.
    pub fn seen(&self, volatile: &swim::Volatile) -> NodeSet {
        let mut seen = self.swim.live(volatile).intersection(self.workers());
        seen.insert(self.swim.me);
        seen
    }

    fn is_worker(&self) -> bool {
        self.singleton.lease.part() == Part::Holder
    }

    /// The service's detector says what SWIM holds, if it has not said so already.
    fn tell(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        if !self.is_worker() {
            return; // It has no detector.
        }
        let seen = self.seen(&state.volatile.swim);
        let reports: Map<NodeId, NodeSet> = seen.iter().map(|node| (node, seen)).collect();
        let said = state.volatile.singleton.view.as_ref();
        if said.is_some_and(|(_, said)| *said == reports) {
            return; // It is no news.
        }
        let roster = Roster {
            up: self.workers(),
            ..Roster::default()
        };
        let call = singleton::Call::Sees { roster, reports };
        self.act_service(state, out, |service, state, out| {
            service.on_call(state, call, out);
        });
    }

    /// Lets SWIM act, and tells the service what has come of it.
    fn act_swim(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Swim, &mut State<Swim>, &mut Outbox<Swim>),
    ) {
        let mut inner = State {
            durable: core::mem::take(&mut state.durable.swim),
            volatile: core::mem::take(&mut state.volatile.swim),
        };
        let mut said = Outbox::default();
        act(&self.swim, &mut inner, &mut said);
        state.durable.swim = inner.durable;
        state.volatile.swim = inner.volatile;
        pass_on(&mut said, out, Message::Swim, Timer::Swim, Event::Swim);
        self.tell(state, out);
    }

    /// Lets the service act.
    fn act_service(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Singleton, &mut State<Singleton>, &mut Outbox<Singleton>),
    ) {
        let mut inner = State {
            durable: core::mem::take(&mut state.durable.lease),
            volatile: core::mem::take(&mut state.volatile.singleton),
        };
        let mut said = Outbox::default();
        act(&self.singleton, &mut inner, &mut said);
        state.durable.lease = inner.durable;
        state.volatile.singleton = inner.volatile;
        pass_on_service(&mut said, out);
    }
}

fn pass_on_service(said: &mut Outbox<Singleton>, out: &mut Outbox<Membership>) {
    pass_on(
        said,
        out,
        Message::Singleton,
        Timer::Singleton,
        Event::Singleton,
    );
}

/// What a part says, wrapped.
fn pass_on<M: Machine>(
    said: &mut Outbox<M>,
    out: &mut Outbox<Membership>,
    message_of: fn(M::Message) -> Message,
    timer_of: fn(M::Timer) -> Timer,
    event_of: fn(M::Event) -> Event,
) {
    for output in said.drain() {
        out.push(match output {
            Output::Send { to, message } => Output::Send {
                to,
                message: message_of(message),
            },
            Output::Arm(timer) => Output::Arm(timer_of(timer)),
            Output::Disarm(timer) => Output::Disarm(timer_of(timer)),
            Output::Event(event) => Output::Event(event_of(event)),
        });
    }
}
