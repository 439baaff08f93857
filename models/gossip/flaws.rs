//! Gossip with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::clock::{Dot, Version};
use quorate::gossip::{Call, Cell, Durable, Event, Gossip, Message, Timer, Value, Volatile};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Gossip,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Between two writes of one time, the one that is there stays. So it is in the textbook.
    NoTieBreak,
    /// Between two writes of one time, the one that comes wins.
    RemoteWinsTies,
    /// What comes last wins, whatever its time.
    ArrivalWins,
    /// A write is counted by its node alone, whatever the node has heard. So are the textbook's.
    BusyWritersWin,
    /// A delete takes the key out and leaves nothing. So does the textbook's.
    NoTombstones,
    /// A tombstone goes at once when its own node has seen it.
    CollectsAlone,
    /// A tombstone goes when one other node turns out to have it.
    CollectsWithOne,
    /// A late copy of what was deleted is not told by its time.
    TakesLateCopies,
    /// Nothing is kept on disk. The textbook keeps nothing.
    NothingKept,
    /// The disk has the values and not the tombstones.
    TombstonesNotKept,
    /// The first part of an answer is taken for all of it.
    PartForAll,
    /// A call is answered once more than half of the members have been heard from.
    AnswersWithAMajority,
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
            Flaw::NothingKept => *durable = Durable::default(),
            Flaw::TombstonesNotKept => {
                let is_alive = |cell: &Cell| cell.versions().iter().any(|v| v.value.is_some());
                durable.cells.retain(|_, cell| is_alive(cell));
            }
            _ => {}
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let before = state.durable.clone();
        let outputs = delegate(state, |state, out| {
            self.right.on_call(state, call, out);
        });
        let majority = self.right.members.majority();
        for output in outputs {
            match output {
                Output::Event(_)
                    if self.flaw == Flaw::AnswersWithAMajority
                        && state.volatile.heard.len() + 1 < majority => {}
                Output::Event(Event::Done { ticket, dot, past })
                    if self.flaw == Flaw::BusyWritersWin =>
                {
                    let dot = self.count_alone(state, &before, dot);
                    out.push(Output::Event(Event::Done { ticket, dot, past }));
                }
                output => out.push(output),
            }
        }
        self.spoil(state);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let before = state.durable.clone();
        let own = before.seen.get(self.right.me);
        let arrived = match &message {
            Message::Delta { versions, .. } => versions.clone(),
            _ => Vec::new(),
        };
        let message = self.mishear(state, message);
        if let (Flaw::CollectsWithOne, Message::Digest { seen, .. }) = (self.flaw, &message) {
            let is_dead = |v: &Version<Value>| v.value.is_none() && seen.covers(v.dot);
            (state.durable.cells).retain(|_, cell| !cell.versions().iter().all(is_dead));
        }
        for output in delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        }) {
            out.push(output);
        }
        self.replace(state, &before, arrived);
        if self.flaw == Flaw::BusyWritersWin {
            let me = self.right.me;
            let others = state.durable.seen.iter().filter(|(node, _)| *node != me);
            state.durable.seen = others.chain([(me, own)]).collect();
        }
        self.spoil(state);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        for output in delegate(state, |state, out| self.right.on_timer(state, timer, out)) {
            out.push(output);
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// The write that was made last has the count of its own node's writes for a time.
    fn count_alone(&self, state: &mut State<Self>, before: &Durable, dot: Dot) -> Dot {
        let me = self.right.me;
        let own = Dot {
            node: me,
            counter: before.seen.get(me) + 1,
        };
        let renamed = |cell: &Cell| {
            let versions = cell.versions().iter().map(|version| Version {
                dot: if version.dot == dot { own } else { version.dot },
                ..version.clone()
            });
            Cell::try_from(versions.collect::<Vec<_>>()).unwrap_or_default()
        };
        let cells = &state.durable.cells;
        state.durable.cells = cells
            .iter()
            .map(|(key, cell)| (key.clone(), renamed(cell)))
            .collect();
        let seen = before.seen.iter().filter(|(node, _)| *node != me);
        state.durable.seen = seen.chain([(me, own.counter)]).collect();
        own
    }

    /// Makes something else of a message before it is handled.
    fn mishear(&self, state: &mut State<Self>, message: Message) -> Message {
        let Message::Delta {
            question,
            upto,
            versions,
            more,
        } = message
        else {
            return message;
        };
        let before = state.durable.clone();
        let mine = |key: &str| before.cell(key).versions().first().map(|v| v.dot);
        let mut taken = versions.clone();
        match self.flaw {
            Flaw::NoTieBreak => taken
                .retain(|(key, new)| mine(key).is_none_or(|old| old.counter != new.dot.counter)),
            Flaw::TakesLateCopies => {
                let me = self.right.me;
                state.durable.seen = [(me, before.seen.get(me))].into_iter().collect();
                let question = state.durable.seen.clone();
                return Message::Delta {
                    question,
                    upto,
                    versions,
                    more,
                };
            }
            _ => {}
        }
        let more = match self.flaw {
            Flaw::PartForAll => None,
            _ => more,
        };
        Message::Delta {
            question,
            upto,
            versions: taken,
            more,
        }
    }

    /// Lets what arrived replace what was there, later or not.
    fn replace(
        &self,
        state: &mut State<Self>,
        before: &Durable,
        arrived: Vec<(String, Version<Value>)>,
    ) {
        for (key, new) in arrived {
            let cell = before.cell(&key);
            let wins = cell.versions().iter().any(|old| match self.flaw {
                Flaw::ArrivalWins => true,
                Flaw::RemoteWinsTies => old.dot.counter == new.dot.counter,
                _ => false,
            });
            if wins && let Ok(cell) = Cell::try_from(vec![new]) {
                state.durable.cells.insert(key, cell);
            }
        }
    }

    /// Forgets tombstones too early.
    fn spoil(&self, state: &mut State<Self>) {
        let stable = match self.flaw {
            Flaw::NoTombstones => u64::MAX,
            Flaw::CollectsAlone => self.right.horizon(&state.durable.seen),
            _ => return,
        };
        let is_dead =
            |version: &Version<Value>| version.value.is_none() && version.dot.counter <= stable;
        (state.durable.cells).retain(|_, cell| !cell.versions().iter().all(is_dead));
    }
}
