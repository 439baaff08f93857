//! The bound of the worlds: so many probes.

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate::swim::{Call, Durable, Event, Message, Swim, Timer, Volatile};

use crate::flaw::{Twin, boot, delegate};

/// A machine that begins no more than so many probes from one start to the next.
///
/// A probe begins with its alarm and with nothing else, and nobody is suspected but by a probe. So this is
/// the machine itself, under every schedule in which no more of these alarms ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded<M> {
    pub(super) inner: M,
    /// How many.
    pub(super) probes: u64,
    /// What becomes of one that crashes.
    pub(super) crash: Crash,
    /// What becomes of a suspicion.
    pub(super) suspicion: Suspicion,
}

/// What becomes of a suspicion that nobody refutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Suspicion {
    /// It is taken for a death when its alarm rings.
    Ripens,
    /// It stands: this is the machine under every schedule in which that alarm does not ring.
    Stands,
}

/// What becomes of a member that crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Crash {
    /// It starts from its disk.
    Restart,
    /// It stays dead: it starts as a member that does nothing, and knows not even itself.
    Stop,
}

/// True of a member that crashed for good.
pub(super) fn is_gone(volatile: &Volatile) -> bool {
    volatile.view.is_empty()
}

/// The number of a probe counts from here in the run that began this incarnation.
const NUMBERS: u64 = 1 << 32;

/// True of a member that is not in its first run.
pub(super) fn has_restarted(volatile: &Volatile) -> bool {
    NUMBERS <= volatile.number
}

impl<M: Twin<Swim>> Machine for Bounded<M> {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.crash == Crash::Stop && *durable != Durable::default() {
            return Volatile::default();
        }
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
        let spent = state.volatile.number % NUMBERS;
        if matches!(timer, Timer::Probe { .. }) && self.probes <= spent {
            return out.arm(timer);
        }
        if self.suspicion == Suspicion::Stands && matches!(timer, Timer::Suspicion { .. }) {
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
        is_gone(&state.volatile)
            || self.inner.holds(&State {
                durable: state.durable.clone(),
                volatile: state.volatile.clone(),
            })
    }
}

impl<M: Twin<Swim>> Bounded<M> {
    fn pass(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&M, &mut State<M>, &mut Outbox<M>),
    ) {
        if is_gone(&state.volatile) {
            return;
        }
        for output in delegate::<M, Self>(state, |state, out| act(&self.inner, state, out)) {
            out.push(output);
        }
    }
}
