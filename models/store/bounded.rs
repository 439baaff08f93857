//! What the store is in a world: a member of so many terms, and one that may stay dead.

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate::store::{Call, Durable, Event, Message, Role, Store, Term, Timer, Volatile};

use crate::bounded::{self, Bound};
use crate::flaw::{Twin, boot, delegate};

/// A machine whose election alarm is not heard any more once its node is in the last term.
pub type Bounded<M> = bounded::Bounded<M, LastTerm>;

/// The last term. Terms begin with the election alarm and with nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastTerm(pub(super) Term);

impl<M: Twin<Store>> Bound<M> for LastTerm {
    fn is_beyond(&self, durable: &Durable, _: &Volatile, timer: &Timer) -> bool {
        *timer == Timer::Election && self.0 <= durable.term
    }
}

/// A member that stays dead once it has crashed: it hears nothing, and whoever calls it is refused, as by
/// a machine on which nothing runs. If its disk is empty when it restarts, it might as well have started
/// late, and lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CrashStop(Store);

impl CrashStop {
    pub(super) fn new(right: Store) -> Self {
        Self(right)
    }

    /// How the memory of a dead one says so: it follows itself, as no living one does.
    fn dead(&self) -> Role {
        let leader = Some(self.0.me);
        Role::Follower { leader }
    }
}

impl Machine for CrashStop {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if *durable == Durable::default() {
            return boot(&self.0, durable, out);
        }
        Volatile { role: self.dead() }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        // The dead one does not lead, and so the right machine refuses.
        for output in delegate(state, |state, out| self.0.on_call(state, call, out)) {
            out.push(output);
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if state.volatile.role == self.dead() {
            return;
        }
        for output in delegate(state, |state, out| {
            self.0.on_message(state, from, message, out);
        }) {
            out.push(output);
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        for output in delegate(state, |state, out| self.0.on_timer(state, timer, out)) {
            out.push(output);
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.0.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.0.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.clone(),
        })
    }
}
