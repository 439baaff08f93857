//! Data sync with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::merkle::keyed::Place;
use quorate::sync::{Call, Durable, Event, Message, Sync, Timer, Volatile};

use super::spelled::Spelled;
use crate::flaw::{boot, delegate};

/// A replica, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Sync<Spelled>,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with data sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Where one tree branches and the other does not, nothing is done. So does the textbook's.
    OtherShapes,
    /// Who has another digest answers with its own.
    OneFingerprint,
    /// Of two values of one time each keeps its own. So does the textbook's.
    NoTieBreak,
    /// Who is offered something newer does not ask for it.
    NeverPulls,
    /// Trees are compared once.
    Once,
    /// What arrives replaces what is there.
    ArrivalWins,
    /// What arrives does not advance the clock.
    ClockNotMerged,
    /// A deletion takes the entry away. So does the textbook's.
    NoTombstones,
    /// After a restart the clock begins anew.
    ClockNotKept,
    /// The tree is not changed when a key is written again.
    StaleTree,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message<String>;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile<String>;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile<String> {
        if self.flaw == Flaw::ClockNotKept {
            durable.time = 0;
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (key, deletes) = match &call {
            Call::Get { key, .. } => (key.clone(), false),
            Call::Put { key, value, .. } => (key.clone(), value.is_none()),
        };
        let before = state.clone();
        let said = delegate(state, |state, out| self.right.on_call(state, call, out));
        match self.flaw {
            Flaw::NoTombstones if deletes => {
                state.durable.entries.remove(&key);
                let Sync { shape, hasher, .. } = &self.right;
                state.volatile.tree.remove(hasher, *shape, &key);
            }
            Flaw::StaleTree if before.durable.entries.contains_key(&key) => {
                state.volatile = before.volatile;
            }
            _ => {}
        }
        self.say(said, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message<String>,
        out: &mut Outbox<Self>,
    ) {
        let branches = |place: &Place| state.volatile.tree.branches(self.right.shape, *place);
        match (self.flaw, &message) {
            (Flaw::OtherShapes, Message::Offer { place, .. }) if branches(place) => return,
            (Flaw::OtherShapes, Message::Children { place, .. }) if !branches(place) => return,
            (Flaw::OneFingerprint, Message::Compare { place, digest }) => {
                let Sync { shape, hasher, .. } = &self.right;
                let ours = state.volatile.tree.digest(hasher, *shape, *place);
                if ours != *digest {
                    let (place, digest) = (*place, ours);
                    out.send(from, Message::Compare { place, digest });
                }
                return;
            }
            (Flaw::NoTieBreak, Message::Push { key, entry }) => {
                let known = state.durable.entries.get(key);
                if known.is_some_and(|known| known.version.time >= entry.version.time) {
                    return;
                }
            }
            (Flaw::ArrivalWins, Message::Push { key, .. }) => {
                state.durable.entries.remove(key);
            }
            _ => {}
        }
        let time = state.durable.time;
        let said = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        if self.flaw == Flaw::ClockNotMerged {
            state.durable.time = time;
        }
        self.say(said, out);
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
                (Flaw::Once, Output::Arm(_))
                | (
                    Flaw::NeverPulls,
                    Output::Send {
                        message: Message::Pull { .. },
                        ..
                    },
                ) => {}
                _ => out.push(output),
            }
        }
    }
}
