//! Ring changes that get something wrong.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::database::{self, Leftovers, Operation, Pending, Phase, Task};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::rebalance::{
    Call, Durable, Event, Message, Rebalance, Stage, Step, Stream, Timer, View, Volatile,
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
    /// It gets what there is of each key, and nothing of what was promised and accepted.
    PromisesNotStreamed,
    /// A replica takes part in ballots of who knows less of the ring.
    UnfencedBallots,
    /// A transaction asks for a majority of those who are read alone.
    MajorityOfTheRead,
    /// A hint is for those who were replicas when it was made.
    HintsNotRedirected,
    /// Nobody gives away what it is no replica of.
    NotHandedOver,
    /// What a node is no replica of any more it throws away.
    ThrownAway,
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
        if self.flaw == Flaw::ViewForgotten && self.me() != self.right.log {
            durable.view = None;
        }
        let has_booted = durable.database.incarnation > 0;
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
            Timer::Database(database::Timer::Retry(_)) => self.flaw == Flaw::NoRetries,
            Timer::Database(
                database::Timer::Deliver
                | database::Timer::Expire
                | database::Timer::Compare(_)
                | database::Timer::Collect,
            ) => false,
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

/// What a node sends, named by the stage of who asked for it.
fn answered(output: Output<Flawed>, theirs: Stage) -> Output<Flawed> {
    match output {
        Output::Send {
            to,
            message: Message::Database { message, .. },
        } => Output::Send {
            to,
            message: Message::Database {
                stage: theirs,
                message,
            },
        },
        output @ (Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) | Output::Event(_)) => {
            output
        }
    }
}

impl Flawed {
    fn me(&self) -> NodeId {
        self.right.database.me
    }

    fn view(&self, state: &State<Self>) -> View {
        self.right.view(&state.durable)
    }

    fn is_without(&self, safeguard: Safeguard) -> bool {
        matches!(self.flaw, Flaw::Without(some) if some.contains(safeguard))
    }

    /// The message as this machine takes it, and the stage of who sent it, if that is an older one.
    fn admitted(&self, mine: Stage, message: Message) -> (Message, Option<Stage>) {
        match message {
            Message::Database { stage, message } if stage < mine && self.hears_older(&message) => {
                let taken = Message::Database {
                    stage: mine,
                    message,
                };
                (taken, Some(stage))
            }
            Message::Chunk {
                stage,
                after,
                mut items,
                next,
            } if self.flaw == Flaw::PromisesNotStreamed => {
                for item in &mut items {
                    item.promise = None;
                }
                let taken = Message::Chunk {
                    stage,
                    after,
                    items,
                    next,
                };
                (taken, None)
            }
            message @ (Message::Propose { .. }
            | Message::Learn { .. }
            | Message::Ask { .. }
            | Message::Ready { .. }
            | Message::Database { .. }
            | Message::Pull { .. }
            | Message::Chunk { .. }) => (message, None),
        }
    }

    /// True of what it hears though who says it knows less.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are answers, and none of the flaws is about those"
    )]
    fn hears_older(&self, message: &database::Message) -> bool {
        match message {
            database::Message::Write { .. } => self.is_without(Safeguard::FencedWrites),
            database::Message::Read { .. } => self.is_without(Safeguard::FencedReads),
            database::Message::Prepare { .. }
            | database::Message::Propose { .. }
            | database::Message::Commit { .. } => self.flaw == Flaw::UnfencedBallots,
            _ => false,
        }
    }

    /// Lets the right machine act, and then believe what it should have waited for.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Rebalance, &mut State<Rebalance>, &mut Outbox<Rebalance>),
    ) {
        let before = state.durable.clone();
        let outputs = delegate(state, |state, out| act(&self.right, state, out));
        self.keep_wrongly(state, before);
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

    /// With a step, some of what a node has is kept, or forgotten, that should not have been.
    fn keep_wrongly(&self, state: &mut State<Self>, before: Durable) {
        if state.durable.view == before.view {
            return;
        }
        if self.flaw == Flaw::HintsNotRedirected {
            state.durable.database.hints = before.database.hints;
        } else if self.flaw == Flaw::NotHandedOver {
            state.volatile.leftovers = Leftovers::Nothing;
        } else if self.flaw == Flaw::ThrownAway {
            let (me, view) = (self.me(), self.view(state));
            let cells = &mut state.durable.database.table.cells;
            cells.retain(|key, _| view.writers(key).all().contains(me));
        }
    }

    /// What the right machine sends and this one does not: a repair, to who is not read yet.
    fn is_kept_back(&self, state: &State<Self>, output: &Output<Self>) -> bool {
        let Output::Send {
            to,
            message:
                Message::Database {
                    message: database::Message::Write { operation, .. },
                    ..
                },
        } = output
        else {
            return false;
        };
        let pending = state.volatile.database.pending.get(&operation.number);
        let Some(Task::Repair { key, .. }) = pending.map(|pending| &pending.task) else {
            return false;
        };
        self.is_without(Safeguard::RepairedPending) && !self.view(state).readers(key).contains(*to)
    }

    /// Something that nobody said, and this machine goes on as if it had been: none, if it waits
    /// rightly.
    fn imagined(&self, state: &State<Self>) -> Option<(NodeId, Message)> {
        let view = self.view(state);
        let stage = view.stage();
        if let Some(imagined) = self.imagined_readiness(state, &view) {
            return Some(imagined);
        }
        if let Stream::Pulling { complete, .. } = &state.volatile.stream {
            let is_enough = self.flaw == Flaw::NothingStreamed
                || (self.is_without(Safeguard::StreamedFromQuorum) && !complete.is_empty());
            let sources = view.sources(self.me());
            let other = sources.difference(*complete).iter().next();
            if let (true, Some(other)) = (is_enough, other) {
                let chunk = Message::Chunk {
                    stage,
                    after: None,
                    items: Vec::new(),
                    next: None,
                };
                return Some((other, chunk));
            }
        }
        let pending = &state.volatile.database.pending;
        pending.iter().find_map(|(number, pending)| {
            let operation = Operation {
                incarnation: state.durable.database.incarnation,
                number: *number,
            };
            let (from, message) = self.imagined_answer(&view, operation, pending)?;
            Some((from, Message::Database { stage, message }))
        })
    }

    /// The same, of a replica: it is believed to have done what is asked, once enough of those have that are
    /// read.
    fn imagined_answer(
        &self,
        view: &View,
        operation: Operation,
        pending: &Pending,
    ) -> Option<(NodeId, database::Message)> {
        let written = database::Message::Written { operation };
        let (key, done, answer, is_believed) = match &pending.task {
            Task::Write { writes, stored } => {
                let is_believed = self.is_without(Safeguard::CountedPending);
                (&writes.first()?.0, *stored, written, is_believed)
            }
            Task::Repair { key, holders, .. } => {
                let is_believed = self.is_without(Safeguard::RepairedPending);
                (key, *holders, written, is_believed)
            }
            Task::Transact(transaction) => {
                let ballot = transaction.ballot;
                let (done, answer) = match &transaction.phase {
                    Phase::Prepare { promised, .. } => {
                        let answer = database::Message::Promised {
                            operation,
                            ballot,
                            accepted: None,
                            version: None,
                        };
                        (*promised, answer)
                    }
                    Phase::Propose { accepted, .. } => {
                        (*accepted, database::Message::Accepted { operation, ballot })
                    }
                    Phase::Commit { stored, .. } => {
                        (*stored, database::Message::Committed { operation, ballot })
                    }
                };
                let is_believed = self.flaw == Flaw::MajorityOfTheRead;
                (&transaction.key, done, answer, is_believed)
            }
            Task::Read { .. } => return None,
        };
        let is_enough = (pending.level).is_met(done, view.readers(key), NodeSet::EMPTY);
        let other = view.writers(key).all().difference(done).iter().next()?;
        (is_believed && is_enough).then_some((other, answer))
    }

    /// The same at the log.
    fn imagined_readiness(&self, state: &State<Self>, view: &View) -> Option<(NodeId, Message)> {
        let stage = view.stage();
        let is_log = self.me() == self.right.log;
        let goes_on = is_log && stage.step == Step::Switched && self.is_without(Safeguard::Barrier);
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
