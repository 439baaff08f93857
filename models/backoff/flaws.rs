//! Back-off with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::backoff::{Backoff, Call, Durable, Event, Message, Timer, Volatile};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Backoff,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Waits are not drawn: all who waited as often wait as long.
    Lockstep,
    /// Waits do not double.
    NeverDoubles,
    /// Who came to nothing tries again at once.
    AtOnce,
    /// An answer is waited for without end.
    NothingIsLost,
    /// Waits double without bound.
    DoublesForEver,
    /// The server does whatever comes in a slot.
    DoesAll,
    /// The server does what arrives once more.
    NoRecord,
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
        match (self.flaw, message) {
            (Flaw::NoRecord, Message::Try { .. }) => state.durable = Durable::default(),
            (Flaw::AtOnce, Message::Overlapped { ticket }) if matches!(state.volatile.call, Some((call, _)) if call == ticket) =>
            {
                return out.send(from, Message::Try { ticket });
            }
            _ => {}
        }
        let said = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        self.say(said, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let mut right = self.right.clone();
        match (self.flaw, timer) {
            (Flaw::NeverDoubles, Timer::Again(..)) => right.doublings_max = 0,
            (Flaw::DoublesForEver, Timer::Again(..)) => right.doublings_max = 5,
            _ => {}
        }
        let said = delegate(state, |state, out| right.on_timer(state, timer, out));
        if (self.flaw, timer) == (Flaw::DoesAll, Timer::Slot) {
            return Self::do_all(state, said, out);
        }
        self.say(said, out);
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let range = self.right.delay(timer);
        match (self.flaw, timer) {
            (Flaw::Lockstep, Timer::Again(..)) => range.end..range.end + Duration::from_nanos(1),
            _ => range,
        }
    }
}

impl Flawed {
    /// Passes on what the right machine says, but for what is wrong with it.
    fn say(&self, said: Vec<Output<Self>>, out: &mut Outbox<Self>) {
        for output in said {
            match (self.flaw, &output) {
                (Flaw::NothingIsLost, Output::Arm(Timer::Lost(_))) => {}
                _ => out.push(output),
            }
        }
    }

    fn do_all(state: &mut State<Self>, said: Vec<Output<Self>>, out: &mut Outbox<Self>) {
        for mut output in said {
            match &mut output {
                Output::Event(Event::Tried {
                    from, ticket, done, ..
                }) => {
                    *done = true;
                    state.durable.done.insert((*from, *ticket));
                }
                Output::Send { message, .. } => {
                    if let Message::Overlapped { ticket } = *message {
                        *message = Message::Done { ticket };
                    }
                }
                _ => {}
            }
            out.push(output);
        }
    }
}
