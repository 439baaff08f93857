//! The bound of the worlds: so many views, and of what replicas do, what safety can depend on.

use std::ops::Range;
use std::time::Duration;

use quorate::data::Map;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::pbft::{Call, Durable, Event, Message, Pbft, Sizes, Stance, Timer, View, Volatile};

use super::symbolic::Symbolic;
use crate::flaw::{Twin, boot, delegate};

/// How much of a replica there is in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of it, but that nobody suspects the primary of the last view.
    Whole,
    /// What safety can depend on. The alarm that suspects the primary is always armed, so that the
    /// adversary moves a replica on whenever it likes. So all that a replica has for being moved on
    /// *in time* is left out, and takes no behaviour away: it follows nobody into a view (it may go
    /// there by itself), asks for nothing to be sent again (all that was sent may arrive again),
    /// remembers no request before it is the primary (the request may arrive then), and no view change
    /// that it will not use (it may arrive when it will).
    Safety,
}

/// A machine in a world with a last view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bounded<M> {
    pub(super) inner: M,
    pub(super) me: NodeId,
    pub(super) sizes: Sizes,
    pub(super) last: View,
    pub(super) scope: Scope,
}

impl<M: Twin<Pbft<Symbolic>>> Machine for Bounded<M> {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut inner = Outbox::default();
        let mut volatile = boot::<M, Self>(&self.inner, durable, &mut inner);
        self.pass(inner.drain(), out);
        if self.scope == Scope::Safety {
            Self::forget(durable, &mut volatile);
            if durable.view < self.last {
                out.arm(Timer::Suspect { in_vain: 0 });
            }
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |state, out| {
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
        if self.scope == Scope::Whole || self.is_used(&state.durable, &message) {
            self.act(state, out, |state, out| {
                self.inner.on_message(state, from, message, out);
            });
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let is_last = self.last <= state.durable.view;
        if matches!(timer, Timer::Suspect { .. }) && is_last {
            return out.arm(timer);
        }
        self.act(state, out, |state, out| {
            self.inner.on_timer(state, timer, out);
        });
        if self.scope == Scope::Safety && state.durable.view < self.last {
            out.arm(Timer::Suspect { in_vain: 0 });
        }
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

impl<M: Twin<Pbft<Symbolic>>> Bounded<M> {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&mut State<M>, &mut Outbox<M>),
    ) {
        let before = state.durable.view;
        let outputs = delegate::<M, Self>(state, act);
        self.pass(outputs, out);
        if self.scope == Scope::Safety {
            Self::forget(&mut state.durable, &mut state.volatile);
            if before < self.last && self.last <= state.durable.view {
                out.disarm(Timer::Suspect { in_vain: 0 });
            }
        }
    }

    /// Passes on what the machine says, but for alarms that are not its own to arm.
    fn pass(&self, outputs: impl IntoIterator<Item = Output<Self>>, out: &mut Outbox<Self>) {
        for output in outputs {
            let is_left_out = match &output {
                Output::Arm(timer) | Output::Disarm(timer) => match timer {
                    Timer::Suspect { .. } | Timer::Resend => self.scope == Scope::Safety,
                    Timer::Retry => false,
                },
                Output::Send { .. } | Output::Event(_) => false,
            };
            if !is_left_out {
                out.push(output);
            }
        }
    }

    /// True if the replica does anything about the message that safety can depend on.
    fn is_used(&self, durable: &Durable, message: &Message) -> bool {
        match message {
            Message::Request(_) => {
                durable.stance == Stance::Active && self.sizes.primary(durable.view) == self.me
            }
            Message::ViewChange(change) => {
                durable.stance == Stance::Changing
                    && change.value.view == durable.view
                    && self.sizes.primary(durable.view) == self.me
            }
            // Safety's clients do not read: they order.
            Message::Status { .. }
            | Message::Read(_)
            | Message::Reading(_)
            | Message::Fetch { .. } => false,
            Message::PrePrepare { .. }
            | Message::Prepare(_)
            | Message::Commit(_)
            | Message::Answer(_)
            | Message::Checkpoint(_)
            | Message::NewView(_)
            | Message::State { .. }
            | Message::Page { .. } => true,
        }
    }

    /// Forgets what only repair and patience look at.
    fn forget(durable: &mut Durable, volatile: &mut Volatile) {
        durable.new_view = None;
        volatile.in_vain = 0;
        volatile.pending = Map::default();
    }
}
