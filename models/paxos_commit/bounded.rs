//! The bounds of the worlds: so many rounds. And crashes for good.

use std::ops::Range;
use std::time::Duration;

use quorate::commit::{Call, Event, Transaction};
use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate::paxos_commit::{Durable, Message, PaxosCommit, Phase, Timer, Volatile};

use crate::bounded::{self, Bound};
use crate::flaw::{Twin, boot, delegate};
use crate::snapshot::Node;

/// A machine that begins no ballot of a round above the last.
pub type Bounded<M> = bounded::Bounded<M, LastRound>;

/// The last round. Ballots begin with an alarm and with nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastRound(pub(super) u64);

impl<M: Twin<PaxosCommit>> Bound<M> for LastRound {
    fn is_beyond(&self, _: &Durable, volatile: &Volatile, timer: &Timer) -> bool {
        matches!(timer, Timer::Lead(transaction) if self.0 < next_round(volatile, *transaction))
    }
}

/// The round of the ballot that the alarm would begin.
fn next_round(volatile: &Volatile, transaction: Transaction) -> u64 {
    match volatile.leading.get(&transaction) {
        Some(leading) => match leading.phase {
            Phase::Overtaken { round } => round.saturating_add(1),
            Phase::One { .. } | Phase::Two { .. } => leading.ballot.round().max(1),
        },
        None => 1,
    }
}

/// A machine where what crashes stays dead: it restarts as a node that does nothing. It is how Babaoğlu
/// and Toueg's processes fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CrashStop<M> {
    pub(super) inner: M,
}

/// The incarnation of a node that has not crashed.
pub(super) const ALIVE: u64 = 1;
/// The incarnation of a node that crashed.
const DEAD: u64 = 2;

/// True if the node runs and has never crashed.
pub(super) fn is_alive<M: Twin<PaxosCommit>>(node: &Node<M>) -> bool {
    (node.up()).is_some_and(|state| state.durable.incarnation == ALIVE)
}

impl<M: Twin<PaxosCommit>> Machine for CrashStop<M> {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if durable.incarnation > 0 {
            durable.incarnation = DEAD;
            return Volatile::default();
        }
        boot(&self.inner, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        Self::pass(state, out, |state, out| {
            self.inner.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        Self::pass(state, out, |state, out| {
            self.inner.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        Self::pass(state, out, |state, out| {
            self.inner.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.inner.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state.durable.incarnation == DEAD
            || self.inner.holds(&State {
                durable: state.durable.clone(),
                volatile: state.volatile.clone(),
            })
    }
}

impl<M: Twin<PaxosCommit>> CrashStop<M> {
    fn pass(
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&mut State<M>, &mut Outbox<M>),
    ) {
        if state.durable.incarnation == DEAD {
            return;
        }
        for output in delegate::<M, Self>(state, act) {
            out.push(output);
        }
    }
}
