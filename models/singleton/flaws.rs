//! The singleton service with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::lease::{self, Durable, Epoch, Holding};
use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate::singleton::{Call, Event, Message, Role, Singleton, Timer, Volatile};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Singleton,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a singleton service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Whoever is to run has the first epoch, without asking.
    NoLease,
    /// A restart of the authority forgets the last token.
    TokenForgotten,
    /// The resource takes what arrives.
    NoFence,
    /// A restart of the resource forgets the token that it has accepted.
    FenceForgotten,
    /// A node that is aside writes while it has the lease.
    AsideWrites,
    /// Who does not get the lease at once does not ask again.
    AsksOnce,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        match self.flaw {
            Flaw::TokenForgotten => durable.authority.epoch = Epoch(0),
            Flaw::FenceForgotten => durable.resource.epoch = Epoch(0),
            _ => {}
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let role = state.volatile.role;
        let is_write = matches!(call, Call::Write { .. });
        if self.flaw == Flaw::AsideWrites && is_write {
            state.volatile.role = Role::Runs;
        }
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
        if is_write {
            state.volatile.role = role;
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if self.flaw == Flaw::NoFence
            && matches!(message, Message::Lease(lease::Message::Write { .. }))
        {
            state.durable.resource.epoch = Epoch(0);
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        if self.flaw == Flaw::AsksOnce && timer == Timer::Tend {
            return;
        }
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        if self.flaw == Flaw::NoLease && state.volatile.role == Role::Runs {
            let holder = &mut state.volatile.lease;
            if holder.holding.is_none() {
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
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Singleton, &mut State<Singleton>, &mut Outbox<Singleton>),
    ) {
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            out.push(output);
        }
    }
}
