//! Three nodes in a line: the ends compare notes with the middle one alone.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::gossip::{Call, Durable, Event, Gossip, Message, Timer, Volatile};
use quorate::machine::{Machine, NodeId, Outbox, State};

use crate::flaw::{Twin, boot, delegate};

/// A node that never compares notes with the other end of the line.
///
/// So this is the machine itself, under every schedule in which what passes between the ends is lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line<M> {
    pub(super) inner: M,
    pub(super) me: NodeId,
    /// The ends.
    pub(super) ends: NodeSet,
}

impl<M: Twin<Gossip>> Machine for Line<M> {
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
        let (Timer::Gossip(peer) | Timer::Rumour(peer)) = timer;
        if self.ends.contains(self.me) && self.ends.contains(peer) {
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

impl<M: Twin<Gossip>> Line<M> {
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
