//! Leases with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::lease::{
    Call, Durable, Epoch, Event, Grant, Lease, Message, Request, Timer, Volatile,
};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Lease,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// The holder stops after `T` by its own clock, not after `T(1 - ρ)`.
    StopsAtTerm,
    /// The holder does not stop by itself.
    NeverStops,
    /// The holder counts its term from the answer.
    CountsFromAnswer,
    /// An answer to an earlier attempt is taken for one to the last.
    AnyAnswer,
    /// The authority answers a renewal, and counts on as before.
    ExtendsNothing,
    /// A restart of the authority forgets that a lease is under way.
    GrantForgotten,
    /// A restarted holder names its requests as before.
    IncarnationForgotten,
    /// Who had the last lease, and all before, gets its token again.
    TokenReused,
    /// A restart of the authority forgets the last token.
    TokenForgotten,
    /// The resource takes what arrives.
    NoFence,
    /// A restart of the resource forgets the token that it has accepted.
    FenceForgotten,
    /// The resource accepts only a larger token.
    FenceTooStrict,
    /// The authority does not end a lease.
    NeverExpires,
    /// Who is denied does not ask again.
    DenialIsFinal,
    /// A request is sent once, and waited for without end.
    WaitsWithoutEnd,
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
            Flaw::GrantForgotten => durable.authority.grant = None,
            Flaw::TokenForgotten => durable.authority.epoch = Epoch(0),
            Flaw::FenceForgotten => durable.resource.epoch = Epoch(0),
            _ => {}
        }
        let volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::IncarnationForgotten {
            durable.incarnation = durable.incarnation.min(1);
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
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let message = match (self.flaw, message) {
            (Flaw::AnyAnswer, Message::Granted { request, epoch }) => {
                let asked = state.volatile.acquiring.as_ref().and_then(|one| one.number);
                let number = asked.unwrap_or(request.number);
                let request = Request { number, ..request };
                Message::Granted { request, epoch }
            }
            (Flaw::NoFence, message @ Message::Write { .. }) => {
                state.durable.resource.epoch = Epoch(0);
                message
            }
            (Flaw::FenceTooStrict, Message::Write { epoch, .. })
                if epoch == state.durable.resource.epoch =>
            {
                out.tell(Event::Refused { epoch });
                out.send(from, Message::Fenced { epoch });
                return;
            }
            (_, message) => message,
        };
        if self.flaw == Flaw::TokenReused && Self::reuses(state, from, &message) {
            state.durable.authority.epoch.0 -= 1;
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match (self.flaw, &timer) {
            (Flaw::NeverStops, Timer::Stop(number))
                if (state.volatile.holding.as_ref()).is_some_and(|one| one.number == *number) =>
            {
                out.arm(timer); // Its clock ticks on, whoever looks at it.
            }
            (Flaw::NeverExpires, Timer::Expire)
            | (Flaw::DenialIsFinal, Timer::Again)
            | (Flaw::WaitsWithoutEnd, Timer::Retry | Timer::Stop(_)) => {}
            _ => self.act(state, out, |right, state, out| {
                right.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let right = &self.right;
        match (self.flaw, timer) {
            (Flaw::StopsAtTerm, Timer::Stop(_)) => {
                let drift_ms = 0;
                let late = Lease {
                    drift_ms,
                    ..right.clone()
                };
                late.delay(timer)
            }
            _ => right.delay(timer),
        }
    }
}

impl Flawed {
    /// Lets the right machine act, and spoils what it says.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Lease, &mut State<Lease>, &mut Outbox<Lease>),
    ) {
        let outputs = delegate(state, |state, out| act(&self.right, state, out));
        let is_extended =
            (outputs.iter()).any(|output| matches!(output, Output::Event(Event::Extended { .. })));
        for output in outputs {
            match (self.flaw, &output) {
                (Flaw::ExtendsNothing, Output::Arm(Timer::Expire)) if is_extended => continue,
                (Flaw::CountsFromAnswer, Output::Event(Event::Held { request, .. })) => {
                    out.arm(Timer::Stop(request.number));
                }
                _ => {}
            }
            out.push(output);
        }
    }

    /// True if a lease is about to begin at a node that had the last one, for nobody else ever had any.
    fn reuses(state: &State<Self>, from: NodeId, message: &Message) -> bool {
        let authority = &state.durable.authority;
        let Message::Ask { request, .. } = message else {
            return false;
        };
        let had = authority.latest.get(&from);
        authority
            .grant
            .as_ref()
            .is_none_or(|grant: &Grant| grant.to != from)
            && authority.latest.len() == 1
            && had.is_some_and(|latest| latest < request)
    }
}
