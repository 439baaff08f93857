//! The CAP store with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::cap::{
    Call, Cap, Durable, Effect, Epoch, Event, Goal, Message, Operation, Phase, Tag, Timer, Version,
    Volatile,
};
use quorate::clock::Stamp;
use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Cap,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with the CAP store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// When the alarm rings, those who have not answered are taken for dead, and a majority of the
    /// rest is enough, or all of the rest. So does the textbook's.
    OnlyTheReachable,
    /// A get is answered from what is here. The textbook's asks others, and counts none of them.
    GetCountsNothing,
    /// A get is answered once a majority was asked, and nothing is stored. So is the textbook's.
    NoWriteBack,
    /// A leader takes its own copy for what its predecessor left.
    LeadsWithoutAsking,
    /// A member that has joined a later epoch discards what it is to store, and acknowledges it. So
    /// does the textbook's.
    DiscardedIsAcknowledged,
    /// Every refusal says that the call has no effect. The textbook's returns false.
    EffectDenied,
    /// Who would lead asks node 0, and nobody else. The textbook's leader is node 0, for ever.
    FixedLeader,
    /// A node without a value is taken for one that did not answer. So does the textbook's.
    AbsenceIsNoAnswer,
    /// A restart forgets the epoch.
    EpochForgotten,
    /// What was acknowledged is not on the disk.
    NothingKept,
    /// After a restart the names of operations begin anew.
    IncarnationForgotten,
    /// A put that was under way when another node took over is sent again under a later epoch.
    SentAgainLater,
    /// A call whose answer was given is answered again by every acknowledgement that comes late.
    AnsweredTwice,
    /// Nothing is sent again, and nobody gives up.
    NoAlarms,
    /// A node counts its own writes, and nobody else's. So does the textbook's.
    LocalCounter,
    /// The same, and a put is stored whatever is there. So does the textbook's.
    PutsDoNotCompare,
    /// Writes are stamped by the clock on the wall; that of node 1 is ahead. So are the textbook's.
    WallClock,
    /// Of two versions of one time the one that is there stays. So does the textbook's.
    NoTieBreak,
    /// Others are told once. So are the textbook's.
    ToldOnce,
    /// A node that hears from another takes the cut for healed, and empties the list of those that it
    /// can reach. So does the textbook's, for all that share the list.
    HealingEmptiesTheGroup,
    /// A delete takes the key out and leaves nothing. So does the textbook's.
    NoTombstones,
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
            Flaw::EpochForgotten => durable.epoch = Epoch::default(),
            Flaw::NothingKept => durable.versions = Durable::default().versions,
            _ => {}
        }
        let volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::IncarnationForgotten {
            durable.incarnation = 1;
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let own = |key: &String| state.durable.version(key);
        match (self.flaw, &call) {
            (Flaw::GetCountsNothing, Call::Get { ticket, key }) => {
                let Version { tag, value } = own(key);
                let ticket = *ticket;
                out.tell(Event::Got { ticket, tag, value });
                return;
            }
            (Flaw::NoTombstones, Call::Delete { ticket, key }) => {
                let (ticket, tag) = (*ticket, self.mint(state));
                state.durable.versions.remove(key);
                out.tell(Event::Done { ticket, tag });
                return;
            }
            (
                Flaw::LocalCounter | Flaw::PutsDoNotCompare | Flaw::WallClock,
                Call::Put { ticket, key, value },
            ) => {
                let (ticket, tag) = (*ticket, self.mint(state));
                let value = Some(value.clone());
                if self.flaw == Flaw::PutsDoNotCompare || own_is_earlier(state, key, tag) {
                    let version = Version { tag, value };
                    state.durable.versions.insert(key.clone(), version);
                }
                out.tell(Event::Done { ticket, tag });
                return;
            }
            _ => {}
        }
        let time = state.durable.time;
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
        if self.counts_alone() {
            state.durable.time = time;
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let time = state.durable.time;
        let Some(message) = self.mistake(state, from, message, out) else {
            return;
        };
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        if self.counts_alone() {
            state.durable.time = time;
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        if let (Flaw::OnlyTheReachable, Timer::Retry(number)) = (self.flaw, &timer) {
            return self.pretend(state, *number, out);
        }
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// True if no message advances the clock.
    fn counts_alone(&self) -> bool {
        matches!(
            self.flaw,
            Flaw::LocalCounter | Flaw::PutsDoNotCompare | Flaw::WallClock
        )
    }

    /// Handles a message wrongly. Gives it if the right machine is to handle it, after all.
    fn mistake(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) -> Option<Message> {
        match (self.flaw, &mut message) {
            (Flaw::AbsenceIsNoAnswer, Message::Answer { version, .. })
                if version.value.is_none() =>
            {
                return None;
            }
            (Flaw::LeadsWithoutAsking, Message::Answer { version, .. }) => {
                *version = Version::default();
            }
            (
                Flaw::DiscardedIsAcknowledged,
                Message::Store {
                    operation, version, ..
                },
            ) if version.tag.epoch < state.durable.epoch => {
                let operation = *operation;
                out.send(from, Message::Stored { operation });
                return None;
            }
            (Flaw::SentAgainLater, Message::Behind { operation, .. }) => {
                // As if nobody could have stored it.
                if let Some(pending) = state.volatile.pending.get_mut(&operation.number) {
                    pending.phase = Phase::Ask {
                        answered: NodeSet::EMPTY,
                        holders: NodeSet::EMPTY,
                    };
                }
            }
            (Flaw::AnsweredTwice, Message::Stored { .. }) if state.volatile.pending.is_empty() => {
                let (ticket, tag) = (0, Tag::default());
                out.tell(Event::Done { ticket, tag });
                return None;
            }
            (Flaw::NoTieBreak, Message::Spread { versions }) => {
                let time = |tag: Tag| tag.stamp.map_or(0, |stamp| stamp.time);
                versions.retain(|(key, version)| {
                    time(state.durable.version(key).tag) < time(version.tag)
                });
            }
            (Flaw::HealingEmptiesTheGroup, Message::Spread { .. }) => {
                for peer in self.right.peers() {
                    out.disarm(Timer::Spread(peer));
                }
            }
            _ => {}
        }
        Some(message)
    }

    /// Lets the right machine act, and spoils what comes of it.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Cap, &mut State<Cap>, &mut Outbox<Cap>),
    ) {
        let before = state.durable.clone();
        let mut outputs = delegate(state, |state, out| act(&self.right, state, out));
        let is_kept = |output: &Output<Self>| match (self.flaw, output) {
            (
                Flaw::FixedLeader,
                Output::Send {
                    to,
                    message: Message::Ask { .. },
                },
            ) => *to == NodeId(0) || self.right.me == NodeId(0),
            // At boot, which is not here, it is armed.
            (Flaw::NoAlarms, Output::Arm(_)) | (Flaw::ToldOnce, Output::Arm(Timer::Spread(_))) => {
                false
            }
            _ => true,
        };
        outputs.retain(is_kept);
        let said = match self.flaw {
            Flaw::EffectDenied => Some(Effect::None),
            // It does not know what it has sent.
            Flaw::SentAgainLater => Some(Effect::Unknown),
            _ => None,
        };
        for output in &mut outputs {
            if let (Output::Event(Event::Refused { effect, .. }), Some(said)) = (output, said) {
                *effect = said;
            }
        }
        if self.flaw == Flaw::NoWriteBack {
            Self::answer_gets(state, before, &mut outputs);
        }
        for output in outputs {
            out.push(output);
        }
    }

    /// Answers every get that begins to store, and does not store.
    fn answer_gets(state: &mut State<Self>, before: Durable, outputs: &mut Vec<Output<Self>>) {
        let storing =
            |goal: &Goal, phase: Phase| *goal == Goal::Get && matches!(phase, Phase::Store { .. });
        let pending = &state.volatile.pending;
        let gets: Vec<u64> = (pending.iter())
            .filter(|(_, pending)| storing(&pending.goal, pending.phase))
            .map(|(number, _)| *number)
            .collect();
        for number in gets {
            let Some(pending) = state.volatile.pending.remove(&number) else {
                continue;
            };
            outputs.retain(|output| {
                !matches!(output, Output::Send { message: Message::Store { operation, .. }, .. }
                    if operation.number == number)
                    && *output != Output::Arm(Timer::Retry(number))
                    && *output != Output::Arm(Timer::GiveUp(number))
            });
            outputs.push(Output::Disarm(Timer::Retry(number)));
            outputs.push(Output::Disarm(Timer::GiveUp(number)));
            outputs.push(Output::Event(Event::Got {
                ticket: pending.ticket,
                tag: pending.version.tag,
                value: pending.version.value,
            }));
            let epoch = state.durable.epoch;
            state.durable = Durable {
                epoch,
                ..before.clone()
            };
        }
    }

    /// A tag, by the flaw's clock.
    fn mint(&self, state: &mut State<Self>) -> Tag {
        let ahead = match (self.flaw, self.right.me) {
            (Flaw::WallClock, NodeId(1)) => 10,
            _ => 0,
        };
        state.durable.time = state.durable.time.max(ahead) + 1;
        Tag {
            epoch: state.durable.epoch,
            stamp: Some(Stamp {
                time: state.durable.time,
                node: self.right.me,
            }),
        }
    }

    /// Takes every member that has not answered for one that agreed.
    fn pretend(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let phase = |state: &State<Self>| {
            let pending = state.volatile.pending.get(&number);
            pending.map(|pending| matches!(pending.phase, Phase::Ask { .. }))
        };
        let Some(asks) = phase(state) else {
            return;
        };
        let agreement = if asks {
            let version = Version::default();
            Message::Answer { operation, version }
        } else {
            Message::Stored { operation }
        };
        out.arm(Timer::Retry(number));
        for other in self.right.peers() {
            if phase(state) == Some(asks) {
                let agreement = agreement.clone();
                self.act(state, out, |right, state, out| {
                    right.on_message(state, other, agreement, out);
                });
            }
        }
    }
}

fn own_is_earlier(state: &State<Flawed>, key: &str, tag: Tag) -> bool {
    state.durable.version(key).tag < tag
}
