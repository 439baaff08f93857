//! The bound of the worlds: so many probes, and so many times that a lease is asked for.

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate::membership::{Call, Durable, Event, Membership, Message, Timer, Volatile};
use quorate::{singleton, swim};

use crate::flaw::{Twin, boot, delegate};

/// A machine that begins no more than so many probes from one start to the next, and asks for the lease
/// no more than so often by its alarm.
///
/// Both begin with an alarm. So this is the machine itself, under every schedule in which no more of these
/// alarms ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded<M> {
    pub(super) inner: M,
    /// How many probes.
    pub(super) probes: u64,
    /// After how many requests for a lease none are made by the alarm.
    pub(super) asks: u64,
}

/// The number of a probe counts from here in the run that began this incarnation.
const NUMBERS: u64 = 1 << 32;

impl<M: Twin<Membership>> Machine for Bounded<M> {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        boot(&self.inner, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.pass(state, out, |inner, state, out| {
            inner.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        self.pass(state, out, |inner, state, out| {
            inner.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let is_spent = match &timer {
            Timer::Swim(swim::Timer::Probe { .. }) => {
                self.probes <= state.volatile.swim.number % NUMBERS
            }
            Timer::Singleton(singleton::Timer::Tend) => {
                self.asks <= state.volatile.singleton.lease.requests
            }
            Timer::Swim(_) | Timer::Singleton(_) => false,
        };
        if is_spent {
            return out.arm(timer);
        }
        self.pass(state, out, |inner, state, out| {
            inner.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.inner.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.inner.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.clone(),
        })
    }
}

impl<M: Twin<Membership>> Bounded<M> {
    fn pass(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&M, &mut State<M>, &mut Outbox<M>),
    ) {
        for output in delegate::<M, Self>(state, |state, out| act(&self.inner, state, out)) {
            out.push(output);
        }
    }
}
