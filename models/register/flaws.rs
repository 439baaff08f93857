//! The register with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::register::{
    Call, Durable, Event, Goal, Message, Operation, Phase, Register, Tag, Timer, Version, Volatile,
};

use crate::flaw::{boot, delegate};

/// A register, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Register,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// A get answers first and repairs afterwards, as an optimisation.
    RepairAfterTheAnswer,
    /// A replica stores whatever arrives last. So does the textbook's.
    StoreUnconditionally,
    /// A put asks nobody for the newest tag, and counts for itself. So does the textbook's, by the
    /// client's clock.
    NoQueryPhase,
    /// A put takes the newest tag it saw, not a larger one.
    VersionNotIncremented,
    /// Tags of one number are one tag, whoever wrote.
    NoTieBreak,
    /// A coordinator does not keep the version it mints, so that its next one may have the same tag.
    MintAndForget,
    /// An answer to an earlier operation counts for the present one.
    LateReplyCounted,
    /// After a restart the names of operations begin anew.
    IncarnationForgotten,
    /// A replica that has no value is taken for one that did not answer. So does the textbook's.
    AbsenceIsNoAnswer,
    /// A repeated answer counts again.
    ReplyCountedTwice,
    /// When the alarm rings, those who have not answered are taken for dead, and a majority of the
    /// rest is enough. So does the textbook's store.
    MajorityOfTheReachable,
    /// A call whose answer was given is answered again by every reply that comes late.
    AnswerTwice,
    /// What was lost is not sent again.
    NoRetries,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::IncarnationForgotten {
            durable.incarnation = 1;
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let number = state.volatile.next;
        self.spoil(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return;
        };
        match (&mut pending.phase, self.flaw) {
            (Phase::Query { answered, .. }, Flaw::AbsenceIsNoAnswer)
                if pending.version.tag == Tag::default() =>
            {
                answered.remove(self.right.me);
            }
            (Phase::Query { .. }, Flaw::NoQueryPhase) if pending.goal != Goal::Get => {
                // The questions are left unasked.
                let arm = out
                    .drain()
                    .filter(|output| matches!(output, Output::Arm(_)));
                let arm: Vec<_> = arm.collect();
                for output in arm {
                    out.push(output);
                }
                self.pretend(state, number, out);
            }
            (Phase::Query { .. } | Phase::Store { .. }, _) => {}
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let Some((from, message)) = self.mistake(state, from, message, out) else {
            return;
        };
        self.spoil(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let Timer::Retry(number) = timer;
        match self.flaw {
            Flaw::NoRetries => {}
            Flaw::MajorityOfTheReachable => self.pretend(state, number, out),
            _ => self.spoil(state, out, |right, state, out| {
                right.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Takes a message for what it is not, or handles it wrongly and gives nothing.
    fn mistake(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) -> Option<(NodeId, Message)> {
        let mut taken = (from, message);
        match (self.flaw, &mut taken.1) {
            (
                Flaw::StoreUnconditionally,
                Message::Store {
                    operation,
                    key,
                    version,
                },
            ) => {
                state.durable.versions.insert(key.clone(), version.clone());
                out.send(
                    from,
                    Message::Stored {
                        operation: *operation,
                    },
                );
                return None;
            }
            (Flaw::AbsenceIsNoAnswer, Message::Answer { version, .. })
                if version.value.is_none() =>
            {
                return None;
            }
            (
                Flaw::LateReplyCounted,
                Message::Answer { operation, .. } | Message::Stored { operation },
            ) => {
                if let Some((number, _)) = state.volatile.pending.first() {
                    *operation = Operation {
                        incarnation: state.durable.incarnation,
                        number: *number,
                    };
                }
            }
            (Flaw::AnswerTwice, Message::Answer { version, .. })
                if state.volatile.pending.is_empty() =>
            {
                out.tell(Event::Got {
                    ticket: 0,
                    value: version.value.clone(),
                });
                return None;
            }
            (
                Flaw::ReplyCountedTwice,
                Message::Answer { operation, .. } | Message::Stored { operation },
            ) => {
                let pending = state.volatile.pending.get(&operation.number);
                let counted = match pending.map(|pending| pending.phase) {
                    Some(Phase::Query { answered, .. }) => answered,
                    Some(Phase::Store { stored }) => stored,
                    None => return Some(taken),
                };
                let members = self.right.quorums.members();
                if counted.contains(from)
                    && let Some(other) = members.difference(counted).iter().next()
                {
                    taken.0 = other;
                }
            }
            _ => {}
        }
        Some(taken)
    }

    /// Lets the right machine act, and spoils what comes of it.
    fn spoil(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Register, &mut State<Register>, &mut Outbox<Register>),
    ) {
        let before = state.clone();
        let mut outputs = delegate(state, |state, out| act(&self.right, state, out));
        let begun: Vec<u64> = (state.volatile.pending.iter())
            .filter(|(number, pending)| {
                matches!(pending.phase, Phase::Store { .. }) && !is_storing(&before, **number)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in begun {
            self.spoil_store(&before, state, number, &mut outputs);
        }
        if self.flaw == Flaw::RepairAfterTheAnswer {
            // What was answered already is not answered again.
            let repaired: Vec<u64> = (before.volatile.pending.iter())
                .filter(|(_, pending)| {
                    pending.goal == Goal::Get && matches!(pending.phase, Phase::Store { .. })
                })
                .map(|(_, pending)| pending.ticket)
                .collect();
            outputs.retain(|output| {
                !matches!(output, Output::Event(Event::Got { ticket, .. }) if repaired.contains(ticket))
            });
        }
        for output in outputs {
            out.push(output);
        }
    }

    /// An operation begins to store.
    fn spoil_store(
        &self,
        before: &State<Self>,
        state: &mut State<Self>,
        number: u64,
        outputs: &mut Vec<Output<Self>>,
    ) {
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return;
        };
        let put = pending.goal != Goal::Get;
        match self.flaw {
            Flaw::RepairAfterTheAnswer if !put => outputs.push(Output::Event(Event::Got {
                ticket: pending.ticket,
                value: pending.version.value.clone(),
            })),
            Flaw::VersionNotIncremented if put => {
                let tag = Tag {
                    number: pending.version.tag.number.saturating_sub(1),
                    ..pending.version.tag
                };
                retag(before, state, number, tag, outputs);
            }
            Flaw::NoTieBreak if put => {
                let tag = Tag {
                    writer: Some(NodeId(0)),
                    ..pending.version.tag
                };
                retag(before, state, number, tag, outputs);
            }
            Flaw::MintAndForget if put => {
                if let Phase::Store { stored } = &mut pending.phase {
                    stored.remove(self.right.me);
                }
                state.durable = before.durable.clone();
            }
            _ => {}
        }
    }

    /// Takes every member that has not answered for one that agreed.
    fn pretend(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let agreement = match pending.phase {
            Phase::Query { .. } => Message::Answer {
                operation,
                version: Version::default(),
            },
            Phase::Store { .. } => Message::Stored { operation },
        };
        let storing = is_storing(state, number);
        for other in self.right.quorums.members() {
            if is_storing(state, number) == storing && state.volatile.pending.contains_key(&number)
            {
                let agreement = agreement.clone();
                self.spoil(state, out, |right, state, out| {
                    right.on_message(state, other, agreement, out);
                });
            }
        }
    }
}

fn is_storing(state: &State<Flawed>, number: u64) -> bool {
    let pending = state.volatile.pending.get(&number);
    pending.is_some_and(|pending| matches!(pending.phase, Phase::Store { .. }))
}

/// Gives the version that an operation begins to store another tag, everywhere.
fn retag(
    before: &State<Flawed>,
    state: &mut State<Flawed>,
    number: u64,
    tag: Tag,
    outputs: &mut [Output<Flawed>],
) {
    let Some(pending) = state.volatile.pending.get_mut(&number) else {
        return;
    };
    pending.version.tag = tag;
    state.durable = before.durable.clone();
    if state.durable.version(&pending.key).tag < tag {
        let version = pending.version.clone();
        state.durable.versions.insert(pending.key.clone(), version);
    }
    for output in outputs {
        if let Output::Send {
            message: Message::Store { version, .. },
            ..
        } = output
        {
            version.tag = tag;
        }
    }
}
