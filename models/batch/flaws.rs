//! Batching with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::batch::{Batch, Batcher, Call, Durable, Event, Message, Outcome, Timer, Volatile};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Batch,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with batching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// A batch that was done in part is sent again whole, under new names.
    NamedAnew,
    /// The server appends what arrives, as often as it arrives.
    NoSerials,
    /// The server forgets in a crash what it has taken, and not what it has appended.
    SerialsNotKept,
    /// What finds no room goes to the end of the queue.
    SkipsWhatFails,
    /// What came last goes first.
    NewestFirst,
    /// A batch that was taken in part is said to be done whole.
    AllOrNothing,
    /// An answer to an earlier batch is taken for that of the present one.
    AnyAnswer,
    /// A batch with one item that is too long is refused whole.
    OneFailsAll,
    /// After a restart the names of items begin anew.
    IncarnationForgotten,
    /// Every answer that arrives is passed on.
    AnsweredAgain,
    /// What gathered meanwhile goes in one batch.
    WholeQueue,
    /// A batch that is not full waits until it is.
    NeverLingers,
    /// What was lost is not sent again.
    NoRetry,
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
            Flaw::SerialsNotKept => durable.batchers = Durable::default().batchers,
            Flaw::IncarnationForgotten => durable.incarnation = 0,
            _ => {}
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let said = delegate(state, |state, out| self.right.on_call(state, call, out));
        if self.flaw != Flaw::NewestFirst {
            return self.say(said, out);
        }
        let sends = |output: &Output<Self>| matches!(output, Output::Send { .. });
        let mut items: Vec<_> = state.volatile.queue.iter().cloned().collect();
        if said.iter().any(sends) {
            items.reverse();
        } else if state.volatile.under_way == 0 {
            items.rotate_right(1);
        }
        state.volatile.queue = items.into_iter().collect();
        Self::say_queue(state, said, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Items { .. } => self.on_items(state, from, message, out),
            Message::Taken {
                incarnation,
                first,
                outcomes,
            } => self.on_taken(state, from, (incarnation, first), outcomes, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let said = delegate(state, |state, out| self.right.on_timer(state, timer, out));
        self.say(said, out);
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Passes on what the right machine says, but for what is wrong with it.
    fn say(&self, said: Vec<Output<Self>>, out: &mut Outbox<Self>) {
        for output in said {
            match (self.flaw, &output) {
                (Flaw::NeverLingers, Output::Arm(Timer::Linger))
                | (Flaw::NoRetry, Output::Arm(Timer::Retry)) => {}
                _ => out.push(output),
            }
        }
    }

    fn on_items(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let Message::Items {
            incarnation,
            first,
            values,
        } = &message
        else {
            return;
        };
        match self.flaw {
            Flaw::NoSerials => {
                let batcher = Batcher {
                    incarnation: *incarnation,
                    first: *first,
                    next: *first,
                    ..Batcher::default()
                };
                state.durable.batchers.insert(from, batcher);
            }
            Flaw::OneFailsAll => {
                let longest = values.iter().map(String::len).max().unwrap_or(0);
                if longest > self.right.item_bytes_max as usize {
                    let outcomes = vec![Outcome::TooLong; values.len()];
                    let taken = Message::Taken {
                        incarnation: *incarnation,
                        first: *first,
                        outcomes,
                    };
                    return out.send(from, taken);
                }
            }
            _ => {}
        }
        let said = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        self.say(said, out);
    }

    fn on_taken(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        (incarnation, mut first): (u64, u64),
        mut outcomes: Vec<Outcome>,
        out: &mut Outbox<Self>,
    ) {
        let volatile = &mut state.volatile;
        let sent = volatile.under_way as usize;
        let is_present = (incarnation, first) == (state.durable.incarnation, volatile.first);
        let is_partial = is_present && (1..sent).contains(&outcomes.len());
        match self.flaw {
            // All of it is still there, and is named from where the server is.
            Flaw::NamedAnew if is_partial => {
                let taken = u64::try_from(outcomes.len()).unwrap_or(u64::MAX);
                volatile.first += taken;
                volatile.under_way = 0;
                let said = delegate(state, |state, out| {
                    self.right.on_timer(state, Timer::Retry, out);
                });
                return self.say(said, out);
            }
            Flaw::SkipsWhatFails if is_partial => {
                let mut items: Vec<_> = volatile.queue.iter().cloned().collect();
                let failed: Vec<_> = items.drain(outcomes.len()..sent).collect();
                items.extend(failed);
                volatile.queue = items.into_iter().collect();
            }
            Flaw::AllOrNothing if is_partial => {
                let last = outcomes.last().copied();
                outcomes.extend(std::iter::repeat_n(last, sent - outcomes.len()).flatten());
            }
            Flaw::AnyAnswer if incarnation == state.durable.incarnation => first = volatile.first,
            Flaw::AnsweredAgain if !is_present && first < volatile.first => {
                // It keeps no queue of what it waits for: a ticket is as good as its serial.
                for (ticket, outcome) in (first - 1..).zip(&outcomes) {
                    let outcome = *outcome;
                    out.tell(Event::Returned { ticket, outcome });
                }
            }
            _ => {}
        }
        let message = Message::Taken {
            incarnation,
            first,
            outcomes,
        };
        let said = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        if self.flaw == Flaw::WholeQueue {
            return Self::say_queue(state, said, out);
        }
        self.say(said, out);
    }

    /// What is sent is all that waits, as it waits.
    fn say_queue(state: &mut State<Self>, said: Vec<Output<Self>>, out: &mut Outbox<Self>) {
        let queue = &state.volatile.queue;
        let all: Vec<String> = queue.iter().map(|(_, value)| value.clone()).collect();
        for mut output in said {
            match &mut output {
                Output::Event(Event::Sent { items, bytes, .. }) => {
                    *items = u32::try_from(all.len()).unwrap_or(u32::MAX);
                    let total: usize = all.iter().map(String::len).sum();
                    *bytes = u32::try_from(total).unwrap_or(u32::MAX);
                }
                Output::Send {
                    message: Message::Items { values, .. },
                    ..
                } => {
                    values.clone_from(&all);
                    state.volatile.under_way = u32::try_from(all.len()).unwrap_or(u32::MAX);
                }
                _ => {}
            }
            out.push(output);
        }
    }
}
