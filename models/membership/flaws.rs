//! Membership with one thing wrong.

use std::ops::Range;
use std::time::Duration;

use quorate::lease::{self, Epoch, Holding};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::membership::{Call, Durable, Event, Membership, Message, Timer, Volatile};
use quorate::singleton::{self, Role};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Membership,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// What SWIM finds out is told to nobody. So it is in the textbook.
    NobodyIsTold,
    /// Who died is told, and not who came back.
    DeathsAlone,
    /// Whoever is to run has the first epoch, without asking.
    NoLease,
    /// The resource takes what arrives.
    NoFence,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        boot(&self.right, durable, out)
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
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let is_write = matches!(
            message,
            Message::Singleton(singleton::Message::Lease(lease::Message::Write { .. }))
        );
        if self.flaw == Flaw::NoFence && is_write {
            state.durable.lease.resource.epoch = Epoch(0);
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        let service = &mut state.volatile.singleton;
        let holder = &mut service.lease;
        if self.flaw == Flaw::NoLease && service.role == Role::Runs && holder.holding.is_none() {
            holder.acquiring = None;
            holder.holding = Some(Holding {
                epoch: Epoch(1),
                number: holder.requests,
                renewing: None,
                writes: 0,
                writing: None,
            });
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act, and takes back what the service should not have been told.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Membership, &mut State<Membership>, &mut Outbox<Membership>),
    ) {
        let before = state.volatile.singleton.clone();
        let outputs = delegate(state, |state, out| act(&self.right, state, out));
        let seen = |volatile: &singleton::Volatile| {
            volatile.view.as_ref().map_or(0, |(_, seen)| seen.len())
        };
        let is_news = before.view != state.volatile.singleton.view;
        let is_untold = match self.flaw {
            Flaw::NobodyIsTold => is_news,
            Flaw::DeathsAlone => is_news && seen(&before) < seen(&state.volatile.singleton),
            Flaw::NoLease | Flaw::NoFence => false,
        };
        if is_untold {
            state.volatile.singleton = before;
        }
        for output in outputs {
            let is_of_service = match &output {
                Output::Arm(timer) | Output::Disarm(timer) => {
                    matches!(timer, Timer::Singleton(_))
                }
                Output::Send { .. } | Output::Event(_) => false,
            };
            if !(is_untold && is_of_service) {
                out.push(output);
            }
        }
    }
}
