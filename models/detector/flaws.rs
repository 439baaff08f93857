//! A failure detector with one thing wrong. All of it is in the textbook.

use std::ops::Range;
use std::time::Duration;

use quorate::detector::{Call, Detector, Durable, Event, Heartbeat, Opinion, Timer, Volatile};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Detector,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a failure detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// A node that beats takes everyone to have been heard from.
    StampsEverybody,
    /// Who was never heard from has been silent for ever.
    NeverHeardOf,
    /// Who is suspected is never heard again.
    DeathIsFinal,
    /// Who is suspected gets no heartbeats.
    TrustedAlone,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Heartbeat;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::NeverHeardOf {
            for node in self.right.peers() {
                if let Some(peer) = volatile.peers.get_mut(&node) {
                    peer.opinion = Opinion::Suspected;
                    out.tell(Event::Suspected { peer: node });
                }
            }
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        heartbeat: Heartbeat,
        out: &mut Outbox<Self>,
    ) {
        if self.flaw == Flaw::DeathIsFinal && state.volatile.suspects().contains(from) {
            return;
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, heartbeat, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        if self.flaw == Flaw::StampsEverybody && timer == Timer::Heartbeat {
            for peer in self.right.peers() {
                let known = state.volatile.peers.get(&peer);
                let incarnation = known.and_then(|known| known.incarnation).unwrap_or(0);
                self.act(state, out, |right, state, out| {
                    right.on_message(state, peer, Heartbeat { incarnation }, out);
                });
            }
        }
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act, but for what is not to leave.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Detector, &mut State<Detector>, &mut Outbox<Detector>),
    ) {
        let outputs = delegate(state, |state, out| act(&self.right, state, out));
        let suspects = state.volatile.suspects();
        let withheld = |output: &Output<Self>| {
            self.flaw == Flaw::TrustedAlone
                && matches!(output, Output::Send { to, .. } if suspects.contains(*to))
        };
        for output in outputs.into_iter().filter(|output| !withheld(output)) {
            out.push(output);
        }
    }
}
