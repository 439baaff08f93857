//! SWIM with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::swim::{
    Call, Durable, Event, Message, Standing, Standings, Status, Swim, Timer, Volatile,
};

use crate::flaw::{boot, delegate};

/// A member, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Swim,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with SWIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Whoever says that a member is alive is believed, if the incarnation is not older.
    EqualAccepted,
    /// Whoever says that a member that is held dead is alive is believed.
    DeadRises,
    /// Who is held dead is forgotten, so that whatever is said of it is news.
    DeadForgotten,
    /// Who had an answer from a suspect begins an incarnation in its stead.
    AnyoneRaises,
    /// A refutation is one more than the member's own incarnation, whatever was said.
    OwnPlusOne,
    /// The incarnation is not on the disk.
    NothingKept,
    /// A member is suspected when it does not answer at once.
    NobodyAsked,
    /// A suspicion never becomes a death.
    NeverConfirmed,
    /// Who is held dead is never heard of again. So it is in the textbook.
    DeadNotGreeted,
    /// Who is asked who is there leaves out the suspects.
    SuspectsHidden,
    /// A member that is suspected does not refute.
    NoRefutation,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.flaw == Flaw::NothingKept {
            *durable = Durable::default();
        }
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
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        let is_heard = Self::is_heard(state, from, &message);
        if is_heard {
            let standings = standings_of(&mut message).clone();
            self.mishear(state, &standings, out);
        }
        if self.flaw == Flaw::NoRefutation {
            standings_of(&mut message).remove(&self.right.me);
        }
        let raised = match &message {
            Message::Ack { target, .. } if self.flaw == Flaw::AnyoneRaises && is_heard => {
                Some(*target)
            }
            _ => None,
        };
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        if let Some(node) = raised
            && let Some(held) = state.volatile.view.get(&node).copied()
            && held.status == Status::Suspect
        {
            self.believe(state, node, Standing::alive(held.incarnation + 1), out);
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let timer = match (self.flaw, timer) {
            (Flaw::NobodyAsked, Timer::Direct { health }) => Timer::Indirect { health },
            (Flaw::NeverConfirmed, Timer::Suspicion { .. })
            | (Flaw::DeadNotGreeted, Timer::Greet { .. }) => return,
            (_, timer) => timer,
        };
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act, and spoils what comes of it.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Swim, &mut State<Swim>, &mut Outbox<Swim>),
    ) {
        let before = state.clone();
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            out.push(match output {
                Output::Event(Event::Refuted { accusation, .. })
                    if self.flaw == Flaw::OwnPlusOne =>
                {
                    let own = before.volatile.view.get(&self.right.me);
                    let incarnation = own.map_or(0, |own| own.incarnation) + 1;
                    (state.volatile.view).insert(self.right.me, Standing::alive(incarnation));
                    state.durable.next = incarnation + 1;
                    Output::Event(Event::Refuted {
                        accusation,
                        incarnation,
                    })
                }
                Output::Event(Event::Members {
                    ticket,
                    mut standings,
                }) if self.flaw == Flaw::SuspectsHidden => {
                    standings.retain(|_, standing| standing.status != Status::Suspect);
                    Output::Event(Event::Members { ticket, standings })
                }
                output => output,
            });
        }
        if self.flaw == Flaw::DeadForgotten {
            let view = &mut state.volatile.view;
            view.retain(|_, standing| standing.status != Status::Dead);
        }
    }

    /// True if the right machine reads the message, too: it does not read answers that come late.
    fn is_heard(state: &State<Self>, from: NodeId, message: &Message) -> bool {
        match message {
            Message::Ack { target, number, .. } => {
                let probe = state.volatile.probe.as_ref();
                probe.is_some_and(|probe| (probe.target, probe.number) == (*target, *number))
            }
            Message::View { held, .. } => state.volatile.view.get(&from) == held.as_ref(),
            _ => true,
        }
    }

    /// Believes what it should not.
    fn mishear(&self, state: &mut State<Self>, standings: &Standings, out: &mut Outbox<Self>) {
        for (node, said) in standings {
            let Some(held) = state.volatile.view.get(node).copied() else {
                continue;
            };
            let wrong = match self.flaw {
                Flaw::EqualAccepted => {
                    said.status == Status::Alive && held.incarnation == said.incarnation
                }
                Flaw::DeadRises => said.status == Status::Alive && held.status == Status::Dead,
                _ => false,
            };
            if wrong && *node != self.right.me && *said < held {
                self.believe(state, *node, *said, out);
            }
        }
    }

    /// Believes this, whatever was known before.
    fn believe(
        &self,
        state: &mut State<Self>,
        node: NodeId,
        standing: Standing,
        out: &mut Outbox<Self>,
    ) {
        state.volatile.view.remove(&node);
        let standings = [(node, standing)].into_iter().collect();
        self.act(state, out, |right, state, out| {
            right.on_message(state, NodeId(63), Message::Goodbye { standings }, out);
        });
    }
}

fn standings_of(message: &mut Message) -> &mut Standings {
    match message {
        Message::Ping { standings, .. }
        | Message::PingRequest { standings, .. }
        | Message::Ack { standings, .. }
        | Message::Greeting { standings, .. }
        | Message::View { standings, .. }
        | Message::Goodbye { standings } => standings,
    }
}
