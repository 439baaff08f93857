//! Ring changes that get something wrong.

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::rebalance::{
    Call, Durable, Event, Goal, Message, Phase, Rebalance, Stage, Step, Stream, Timer, View,
    Volatile,
};

use crate::flaw::{boot, delegate};

/// What a ring change has to take care of. Each is one safeguard, that can be left out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Safeguard {
    /// A replica takes no write of a coordinator that knows less of the ring.
    FencedWrites,
    /// A replica answers no read of a coordinator that knows less of the ring.
    FencedReads,
    /// A write is counted at the new replicas, too.
    CountedPending,
    /// A pending replica gets its keys from a quorum.
    StreamedFromQuorum,
    /// A read is repaired at the new replicas, too.
    RepairedPending,
    /// The old ring is given up once a quorum of its replicas knows that reads have switched.
    Barrier,
}

impl Safeguard {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FencedWrites,
        Self::FencedReads,
        Self::CountedPending,
        Self::StreamedFromQuorum,
        Self::RepairedPending,
        Self::Barrier,
    ];
}

/// Some safeguards: one bit for each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Safeguards(u8);

impl Safeguards {
    /// How many sets of safeguards there are.
    pub const SETS: u8 = 1 << Safeguard::ALL.len();

    /// The set of this number.
    pub fn of(number: u8) -> Self {
        Self(number)
    }

    /// This one alone.
    pub fn only(safeguard: Safeguard) -> Self {
        Self(1 << safeguard as u8)
    }

    /// True if it is among them.
    pub fn contains(self, safeguard: Safeguard) -> bool {
        self.0 & (1 << safeguard as u8) != 0
    }

    /// How many there are.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Debug for Safeguards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = Safeguard::ALL.into_iter();
        f.debug_set()
            .entries(all.filter(|one| self.contains(*one)))
            .finish()
    }
}

/// A machine that gets one thing wrong, or leaves some safeguards out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine.
    pub right: Rebalance,
    /// What it gets wrong.
    pub flaw: Flaw,
}

/// What it gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// These safeguards are left out.
    Without(Safeguards),
    /// A pending replica gets nothing, and says that it is ready.
    NothingStreamed,
    /// A step that a node hears of again is believed again.
    OlderStep,
    /// A restarted node knows the ring with which all began.
    ViewForgotten,
    /// A pending replica that crashed does not ask again.
    StreamNotRestarted,
    /// What may be lost is not asked for.
    NoPolls,
    /// An operation is sent once.
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
        if self.flaw == Flaw::ViewForgotten && self.right.me != self.right.log {
            durable.view = None;
        }
        let has_booted = durable.incarnation > 0;
        let mut volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::StreamNotRestarted && has_booted {
            volatile.stream = Stream::Nothing;
            let kept: Vec<_> = out.drain().collect();
            let asks = |output: &Output<Self>| {
                matches!(
                    output,
                    Output::Send {
                        message: Message::Pull { .. },
                        ..
                    }
                )
            };
            kept.into_iter()
                .filter(|output| !asks(output))
                .for_each(|output| out.push(output));
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
        let mine = self.view(state).stage();
        if let (Flaw::OlderStep, Message::Learn { stage, .. }) = (self.flaw, &message)
            && *stage < mine
        {
            self.go_back(state, *stage, out);
            return;
        }
        let (message, theirs) = self.admitted(mine, message);
        let mut inner = Outbox::default();
        self.act(state, &mut inner, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        for output in inner.drain() {
            out.push(match theirs {
                Some(theirs) => answered(output, theirs),
                None => output,
            });
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let is_ignored = match timer {
            Timer::Poll => self.flaw == Flaw::NoPolls,
            Timer::Retry(_) => self.flaw == Flaw::NoRetries,
        };
        if !is_ignored {
            self.act(state, out, |right, state, out| {
                right.on_timer(state, timer, out);
            });
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

/// An answer that names the stage of who asked.
fn answered(output: Output<Flawed>, theirs: Stage) -> Output<Flawed> {
    match output {
        Output::Send {
            to,
            message: Message::Written { operation, .. },
        } => Output::Send {
            to,
            message: Message::Written {
                operation,
                stage: theirs,
            },
        },
        Output::Send {
            to,
            message: Message::Data {
                operation, cell, ..
            },
        } => Output::Send {
            to,
            message: Message::Data {
                operation,
                cell,
                stage: theirs,
            },
        },
        output @ (Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) | Output::Event(_)) => {
            output
        }
    }
}

impl Flawed {
    fn view(&self, state: &State<Self>) -> View {
        self.right.view(&state.durable)
    }

    fn is_without(&self, safeguard: Safeguard) -> bool {
        matches!(self.flaw, Flaw::Without(some) if some.contains(safeguard))
    }

    /// The message as a replica takes it that looks at no stage, and the stage of who sent it.
    fn admitted(&self, mine: Stage, message: Message) -> (Message, Option<Stage>) {
        match message {
            Message::Write {
                operation,
                stage,
                key,
                cell,
            } if stage < mine && self.is_without(Safeguard::FencedWrites) => {
                let taken = Message::Write {
                    operation,
                    stage: mine,
                    key,
                    cell,
                };
                (taken, Some(stage))
            }
            Message::Read {
                operation,
                stage,
                key,
            } if stage < mine && self.is_without(Safeguard::FencedReads) => {
                let taken = Message::Read {
                    operation,
                    stage: mine,
                    key,
                };
                (taken, Some(stage))
            }
            message @ (Message::Propose { .. }
            | Message::Learn { .. }
            | Message::Ask { .. }
            | Message::Ready { .. }
            | Message::Write { .. }
            | Message::Written { .. }
            | Message::Read { .. }
            | Message::Data { .. }
            | Message::Pull { .. }
            | Message::Chunk { .. }) => (message, None),
        }
    }

    /// Lets the right machine act, and then believe what it should have waited for.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Rebalance, &mut State<Rebalance>, &mut Outbox<Rebalance>),
    ) {
        let outputs = delegate(state, |state, out| act(&self.right, state, out));
        let mut said = Vec::new();
        for output in outputs {
            if !self.is_kept_back(state, &output) {
                said.push(output);
            }
        }
        while let Some((from, message)) = self.imagined(state) {
            let outputs = delegate(state, |state, out| {
                self.right.on_message(state, from, message, out);
            });
            said.extend(outputs);
        }
        for output in said {
            out.push(output);
        }
    }

    /// What the right machine sends and this one does not: a repair, to who is not read yet.
    fn is_kept_back(&self, state: &State<Self>, output: &Output<Self>) -> bool {
        let Output::Send {
            to,
            message: Message::Write { operation, key, .. },
        } = output
        else {
            return false;
        };
        let pending = state.volatile.pending.get(&operation.number);
        let is_repair = pending.is_some_and(|pending| pending.goal == Goal::Read);
        is_repair
            && self.is_without(Safeguard::RepairedPending)
            && !self.view(state).readers(key).contains(*to)
    }

    /// Something that nobody said, and this machine goes on as if it had been: none, if it waits
    /// rightly.
    fn imagined(&self, state: &State<Self>) -> Option<(NodeId, Message)> {
        let view = self.view(state);
        let stage = view.stage();
        if self.right.me == self.right.log {
            return self.imagined_readiness(state, &view);
        }
        if let Stream::Pulling { complete, .. } = &state.volatile.stream {
            let sources = self.right.sources(&view);
            let is_enough = match self.flaw {
                Flaw::NothingStreamed => true,
                Flaw::Without(_)
                | Flaw::OlderStep
                | Flaw::ViewForgotten
                | Flaw::StreamNotRestarted
                | Flaw::NoPolls
                | Flaw::NoRetries => {
                    self.is_without(Safeguard::StreamedFromQuorum) && !complete.is_empty()
                }
            };
            let other = sources.difference(*complete).iter().next();
            if let (true, Some(other)) = (is_enough, other) {
                let chunk = Message::Chunk {
                    stage,
                    after: None,
                    cells: Vec::new(),
                    next: None,
                };
                return Some((other, chunk));
            }
        }
        state.volatile.pending.iter().find_map(|(number, pending)| {
            let Phase::Store { stored } = pending.phase else {
                return None;
            };
            let counts = match pending.goal {
                Goal::Write(_) => Safeguard::CountedPending,
                Goal::Read => Safeguard::RepairedPending,
            };
            if !self.is_without(counts) || !view.can_read(&pending.key, stored) {
                return None;
            }
            let all = view.writers(&pending.key).all();
            let other = all.difference(stored).iter().next()?;
            let operation = quorate::database::Operation {
                incarnation: state.durable.incarnation,
                number: *number,
            };
            Some((other, Message::Written { operation, stage }))
        })
    }

    /// The same at the log.
    fn imagined_readiness(&self, state: &State<Self>, view: &View) -> Option<(NodeId, Message)> {
        let stage = view.stage();
        let goes_on = stage.step == Step::Switched && self.is_without(Safeguard::Barrier);
        let waits = view.old().members().difference(state.volatile.ready);
        let other = waits.iter().next().filter(|_| goes_on)?;
        Some((other, Message::Ready { stage }))
    }

    /// It believes what it knew before.
    fn go_back(&self, state: &mut State<Self>, stage: Stage, out: &mut Outbox<Self>) {
        let view = self.view(state);
        let (old, new) = match view {
            View::Settled(ring) => (self.right.first.clone(), ring),
            View::Announced { old, new } | View::Switched { old, new } => (old, new),
        };
        state.durable.view = Some(match stage.step {
            Step::Settled => View::Settled(old),
            Step::Announced => View::Announced { old, new },
            Step::Switched => View::Switched { old, new },
        });
        out.tell(Event::Learned { stage });
    }
}
