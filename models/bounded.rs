//! Bounds that are kept by machines: an alarm that would lead out of a world's bounds is not heard.
//!
//! A boundary of a world would do the same and leave the verdict BOUNDED. With this, every state within
//! the bounds is reached, and the search is EXHAUSTED of them.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, State};

use crate::flaw::{boot, delegate};

/// Which alarms lead out of the bounds.
pub trait Bound<M: Machine>: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// True if the alarm, ringing in this state, does.
    fn is_beyond(&self, durable: &M::Durable, volatile: &M::Volatile, timer: &M::Timer) -> bool;

    /// True if this message never arrives, as any may be lost.
    fn is_lost(&self, from: NodeId, message: &M::Message) -> bool {
        let _ = (from, message);
        false
    }
}

/// A machine within bounds: the machine itself, under every schedule in which no alarm rings that leads out
/// of them. All states of the real machine that are within the bounds, and the transitions between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bounded<M, B> {
    /// The machine.
    pub inner: M,
    /// Its bounds.
    pub bound: B,
}

impl<M: Machine, B: Bound<M>> Machine for Bounded<M, B> {
    type Call = M::Call;
    type Message = M::Message;
    type Timer = M::Timer;
    type Event = M::Event;
    type Durable = M::Durable;
    type Volatile = M::Volatile;

    fn boot(&self, durable: &mut M::Durable, out: &mut Outbox<Self>) -> M::Volatile {
        boot(&self.inner, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: M::Call, out: &mut Outbox<Self>) {
        Self::pass(state, out, |state, out| {
            self.inner.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: M::Message,
        out: &mut Outbox<Self>,
    ) {
        if self.bound.is_lost(from, &message) {
            return;
        }
        Self::pass(state, out, |state, out| {
            self.inner.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: M::Timer, out: &mut Outbox<Self>) {
        let State { durable, volatile } = &*state;
        if self.bound.is_beyond(durable, volatile, &timer) {
            return out.arm(timer);
        }
        Self::pass(state, out, |state, out| {
            self.inner.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &M::Timer) -> Range<Duration> {
        self.inner.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.inner.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.clone(),
        })
    }
}

impl<M: Machine, B: Bound<M>> Bounded<M, B> {
    fn pass(
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&mut State<M>, &mut Outbox<M>),
    ) {
        for output in delegate::<M, Self>(state, act) {
            out.push(output);
        }
    }
}
