//! The service and its callers with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::service::{
    Budget, Call, Durable, Event, Message, Outcome, Pending, Permit, Refusal, Request, Seen,
    Service, Sessions, Stage, Tenant, Timer, Volatile,
};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Service,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a service and its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// The server does what arrives. So do the textbook's stores.
    NoRecords,
    /// A restart forgets the records, and not the effects.
    RecordsNotKept,
    /// Requests are told by their serial alone.
    BySerialAlone,
    /// A request is taken for another of its name.
    AnyPayload,
    /// A request whose record is gone is done again.
    CollectedIsFresh,
    /// Who asks again is told the sum of now.
    LatestResult,
    /// Each attempt has a name of its own.
    FreshNames,
    /// A half open breaker admits everyone.
    AllProbe,
    /// A probe that is lost keeps its place.
    LostProbe,
    /// An answer to an attempt of an earlier generation closes the breaker.
    OldResults,
    /// A retry does not ask the breaker.
    RetriesPass,
    /// A call that is given up keeps its place.
    PlaceLeaks,
    /// An answer that comes when its call is over gives a place back.
    GivenBackTwice,
    /// Tenants share their places.
    OnePool,
    /// Retries cost nothing.
    NoBudget,
    /// An attempt is waited for without end.
    NoTimeout,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.flaw == Flaw::RecordsNotKept {
            durable.sessions = Sessions::default();
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let volatile = &mut state.volatile;
        match self.flaw {
            Flaw::AllProbe => {
                if let Stage::HalfOpen { probes } = &mut volatile.breaker.stage {
                    *probes = 0;
                }
            }
            Flaw::OnePool if volatile.bulkhead.total() >= self.right.share => {
                return out.tell(Event::Refused {
                    ticket: call.ticket,
                    refusal: Refusal::Shed,
                });
            }
            _ => {}
        }
        let said = delegate(state, |state, out| self.right.on_call(state, call, out));
        self.say(said, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Try {
                ticket,
                attempt,
                request,
            } => {
                let asked = (ticket, attempt);
                self.on_try(state, from, asked, request, out);
            }
            Message::Tried { ticket, .. } => {
                self.before_tried(&mut state.volatile, ticket, out);
                let said = delegate(state, |state, out| {
                    self.right.on_message(state, from, message, out);
                });
                self.say(said, out);
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let Timer::Attempt(ticket, _) = timer else {
            let said = delegate(state, |state, out| self.right.on_timer(state, timer, out));
            return self.say(said, out);
        };
        let Some(pending) = state.volatile.pending.get(&ticket).copied() else {
            return;
        };
        if self.flaw == Flaw::NoBudget {
            state.volatile.budget = Budget::new(self.right.retry);
        }
        let breaker = state.volatile.breaker;
        let said = delegate(state, |state, out| self.right.on_timer(state, timer, out));
        let given_up = said.contains(&Output::Event(Event::Unknown { ticket }));
        let volatile = &mut state.volatile;
        match self.flaw {
            Flaw::LostProbe
                if matches!(breaker.stage, Stage::HalfOpen { .. })
                    && pending.permit.generation == breaker.generation =>
            {
                volatile.breaker = breaker;
                out.tell(Event::Unknown { ticket });
            }
            Flaw::PlaceLeaks if given_up => {
                volatile.bulkhead.admit(pending.tenant, u32::MAX);
                self.say(said, out);
            }
            Flaw::RetriesPass if given_up && pending.attempt < self.right.retry.attempts_max => {
                let opened = said.into_iter();
                let opened = opened.filter(|output| !is_unknown(output));
                self.say(opened.collect(), out);
                self.try_again(volatile, ticket, pending, out);
            }
            _ => self.say(said, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

fn is_unknown(output: &Output<Flawed>) -> bool {
    matches!(output, Output::Event(Event::Unknown { .. }))
}

impl Flawed {
    /// Passes on what the right machine says, but for what is wrong with it.
    fn say(&self, said: Vec<Output<Self>>, out: &mut Outbox<Self>) {
        for mut output in said {
            match (self.flaw, &mut output) {
                (Flaw::NoTimeout, Output::Arm(Timer::Attempt(..))) => continue,
                (
                    Flaw::FreshNames,
                    Output::Send {
                        message:
                            Message::Try {
                                attempt, request, ..
                            },
                        ..
                    },
                ) => request.session.serial += 10 * u64::from(*attempt - 1),
                _ => {}
            }
            out.push(output);
        }
    }

    fn on_try(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        (ticket, attempt): (u64, u32),
        request: Request,
        out: &mut Outbox<Self>,
    ) {
        let durable = &mut state.durable;
        let mut taken = request;
        match self.flaw {
            Flaw::NoRecords => durable.sessions = Sessions::default(),
            Flaw::BySerialAlone => taken.session.client = 0,
            Flaw::AnyPayload => {
                if let Some((operation, _)) = durable.sessions.recorded(request.session) {
                    taken.operation = *operation;
                }
            }
            Flaw::CollectedIsFresh => {
                let seen = durable.sessions.look(request.session, &request.operation);
                if seen == Seen::Collected {
                    durable.sessions = Sessions::default();
                }
            }
            _ => {}
        }
        let message = Message::Try {
            ticket,
            attempt,
            request: taken,
        };
        let said = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        for mut output in said {
            match (self.flaw, &mut output) {
                (Flaw::BySerialAlone, Output::Event(Event::Executed { session, .. })) => {
                    *session = request.session;
                }
                (
                    Flaw::LatestResult,
                    Output::Send {
                        message:
                            Message::Tried {
                                result: Outcome::Done(sum),
                                ..
                            },
                        ..
                    },
                ) => *sum = state.durable.state,
                _ => {}
            }
            out.push(output);
        }
    }

    fn before_tried(&self, volatile: &mut Volatile, ticket: u64, out: &mut Outbox<Self>) {
        let pending = volatile.pending.get(&ticket).copied();
        match (self.flaw, pending) {
            (Flaw::GivenBackTwice, None) => volatile.bulkhead.release(Tenant(0)),
            (Flaw::OldResults, Some(pending)) => {
                let breaker = &mut volatile.breaker;
                let closed = matches!(breaker.stage, Stage::Closed { .. });
                if pending.permit.generation != breaker.generation && !closed {
                    breaker.stage = Stage::Closed { failures: 0 };
                    breaker.generation += 1;
                    out.tell(Event::Closed {
                        by: pending.permit.generation,
                        generation: breaker.generation,
                    });
                }
            }
            _ => {}
        }
    }

    fn try_again(
        &self,
        volatile: &mut Volatile,
        ticket: u64,
        pending: Pending,
        out: &mut Outbox<Self>,
    ) {
        let generation = volatile.breaker.generation;
        let pending = Pending {
            attempt: pending.attempt + 1,
            permit: Permit { generation },
            ..pending
        };
        volatile.pending.insert(ticket, pending);
        volatile.bulkhead.admit(pending.tenant, u32::MAX);
        out.tell(Event::Attempted {
            ticket,
            attempt: pending.attempt,
            generation,
        });
        let message = Message::Try {
            ticket,
            attempt: pending.attempt,
            request: pending.request,
        };
        out.send(self.right.server, message);
        out.arm(Timer::Attempt(ticket, pending.attempt));
    }
}
