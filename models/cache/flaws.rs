//! The cache with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::cache::{
    Age, Cache, Call, Durable, Event, Fallback, Message, Need, Reach, Timer, Volatile, Waiting,
};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Cache,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// What was asked for before the cache let go is kept when it comes.
    StaleSet,
    /// A put is said to be everywhere at once.
    AtOnce,
    /// A cache that does not answer in time is taken for empty.
    SilentIsGone,
    /// The age is counted from the answer.
    AgeFromAnswer,
    /// Nothing ages.
    NeverAges,
    /// Whoever asks gets what there is when the store is silent.
    Unasked,
    /// Who allows something older gets whatever there is.
    TooOld,
    /// What is there when the store is silent is passed off as its answer.
    SaysCurrent,
    /// Whoever asks waits for what is asked already.
    JoinsAny,
    /// After a restart the names of requests begin anew.
    IncarnationForgotten,
    /// An answer to an earlier request will do.
    AnyAnswer,
    /// The store puts what arrives, as often as it arrives.
    PutsAgain,
    /// The store is waited for without end.
    NoPatience,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.flaw == Flaw::IncarnationForgotten {
            durable.incarnation = 0;
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let joins = match &call {
            Call::Get {
                ticket,
                key,
                need: Need::Current,
                ..
            } if self.flaw == Flaw::JoinsAny => {
                let asked = state.volatile.asked.get(key);
                asked.map(|asked| (*ticket, asked.number))
            }
            _ => None,
        };
        let said = delegate(state, |state, out| self.right.on_call(state, call, out));
        if let Some((ticket, number)) = joins
            && let Some(Waiting::Get { since, .. }) = state.volatile.waiting.get_mut(&ticket)
        {
            *since = number;
        }
        self.say(said, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        let before = state.volatile.clone();
        let is_void = matches!(message, Message::Void { .. });
        match (self.flaw, &mut message) {
            (Flaw::AgeFromAnswer, Message::Fetched { key, .. }) => {
                if let Some(asked) = state.volatile.asked.get_mut(key) {
                    asked.ticks = 0;
                }
            }
            (Flaw::AnyAnswer, Message::Fetched { key, request, .. }) => {
                if let Some(asked) = state.volatile.asked.get(key) {
                    request.number = asked.number;
                }
            }
            (Flaw::PutsAgain, Message::Write { .. }) => {
                state.durable.latest = Durable::default().latest;
            }
            (Flaw::AtOnce, Message::Write { request, .. }) => {
                let reach = Reach::Everywhere;
                let request = *request;
                out.send(from, Message::Written { request, reach });
            }
            _ => {}
        }
        let mut said = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        if self.flaw == Flaw::StaleSet && is_void {
            // It lets go of what it has, and goes on waiting for what it asked for.
            state.volatile.asked = before.asked;
            state.volatile.waiting = before.waiting;
            state.volatile.requests = before.requests;
            let fetches = |output: &Output<Self>| {
                matches!(
                    output,
                    Output::Send {
                        message: Message::Fetch { .. },
                        ..
                    }
                )
            };
            said.retain(|output| !fetches(output));
        }
        self.say(said, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let before = state.volatile.clone();
        if let Timer::Patience(ticket) = &timer
            && let Some(Waiting::Get { fallback, .. }) = state.volatile.waiting.get_mut(ticket)
        {
            match (self.flaw, *fallback) {
                (Flaw::Unasked, _) | (Flaw::TooOld, Fallback::Within(_)) => {
                    *fallback = Fallback::Within(u32::MAX);
                }
                _ => {}
            }
        }
        let is_tick = timer == Timer::Tick;
        let mut said = delegate(state, |state, out| self.right.on_timer(state, timer, out));
        for output in &mut said {
            if let (Flaw::SaysCurrent, Output::Event(Event::Got { age, .. })) = (self.flaw, output)
            {
                *age = Age::Current;
            }
        }
        if self.flaw == Flaw::NeverAges && is_tick {
            state.volatile.entries = before.entries;
            state.volatile.asked = before.asked;
        }
        self.say(said, out);
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Passes on what the right machine says, but for what is wrong with it.
    fn say(&self, said: Vec<Output<Self>>, out: &mut Outbox<Self>) {
        for mut output in said {
            match (self.flaw, &mut output) {
                (Flaw::NoPatience, Output::Arm(Timer::Patience(_))) => continue,
                (
                    Flaw::SilentIsGone,
                    Output::Send {
                        message: Message::Written { reach, .. },
                        ..
                    },
                ) => *reach = Reach::Everywhere,
                _ => {}
            }
            out.push(output);
        }
    }
}
