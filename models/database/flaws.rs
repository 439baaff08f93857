//! The database with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::data::{Map, NodeSet};
use quorate::database::{
    Call, Cell, Database, Durable, Event, Hint, Message, Operation, Outcome, Placement, Stamp,
    Task, Timer, Token, Volatile,
};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A database, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Database,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Each replica gives a write a stamp of its own. So does the textbook's.
    EveryReplicaMints,
    /// Each replica passes a write on to all nodes, and they keep it. So do the textbook's.
    SpreadToEveryone,
    /// A replica that has nothing is taken for one that did not answer. So is the textbook's.
    AbsenceIsNoAnswer,
    /// A quorum is one of those that are not suspected. So is the textbook's.
    QuorumOfThePresent,
    /// A read answers first and repairs afterwards.
    RepairAfterTheAnswer,
    /// A repeated answer counts again.
    ReplyCountedTwice,
    /// A replica takes whatever arrives last.
    StoreUnconditionally,
    /// What was lost is not sent again.
    NoRetries,
    /// After a restart the names of operations begin anew.
    IncarnationForgotten,
    /// Of two writes of one time, the one that was there stays.
    NoTieBreak,
    /// A write is kept as a hint only once it has taken a while.
    HintsOnlyOnTimeout,
    /// A hint is forgotten when the first replica has it.
    HintForgottenTooEarly,
    /// To delete is to remove the key.
    NoTombstones,
    /// Tombstones go after a while, whoever has seen them.
    CollectedByTime,
    /// Tombstones go when all replicas are equal, fenced or not.
    CollectedWithoutFence,
    /// A replica takes from coordinators what is older than its fence.
    FenceIgnored,
    /// A read by a transaction does not finish what it finds begun.
    SerialReadDoesNotFinish,
    /// A coordinator proposes its own change, whatever it finds begun.
    BegunIsIgnored,
    /// A replica accepts a ballot that is older than what it has promised.
    OutbidIsAccepted,
    /// A change is said to be applied once the first replica has accepted it.
    AnsweredWhenProposed,
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
        if let Some((from, message)) = self.mistake(state, from, message, out) {
            self.act(state, out, |right, state, out| {
                right.on_message(state, from, message, out);
            });
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match (self.flaw, &timer) {
            (Flaw::NoRetries, Timer::Retry(_)) => return,
            (Flaw::HintsOnlyOnTimeout, Timer::Retry(number)) => {
                self.hint_late(state, *number, out);
            }
            (Flaw::CollectedByTime, Timer::Collect) => {
                state
                    .durable
                    .table
                    .cells
                    .retain(|_, cell| !cell.is_tombstone());
                return;
            }
            _ => {}
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
    /// Lets the right machine act, and spoils what comes of it.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Database, &mut State<Database>, &mut Outbox<Database>),
    ) {
        let before = state.clone();
        let mut right = self.right.clone();
        if self.flaw == Flaw::QuorumOfThePresent {
            let present = right
                .placement
                .members()
                .difference(state.volatile.suspects);
            right.placement = Placement::Whole(present);
        }
        let mut outputs = delegate(state, |state, out| act(&right, state, out));
        match self.flaw {
            Flaw::RepairAfterTheAnswer => repair_afterwards(&before, state, &mut outputs),
            Flaw::HintsOnlyOnTimeout if before.durable.hints.len() < state.durable.hints.len() => {
                state.durable.hints = before.durable.hints;
            }
            Flaw::CollectedWithoutFence => state.durable.fences = Map::new(),
            _ => {}
        }
        for output in outputs {
            out.push(output);
        }
    }

    /// Takes a message for what it is not, or handles it wrongly and gives nothing.
    fn mistake(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) -> Option<(NodeId, Message)> {
        let mut taken = (from, message);
        let table = &mut state.durable.table;
        match (self.flaw, &mut taken.1) {
            (Flaw::EveryReplicaMints, Message::Write { writes, .. }) => {
                for (key, cell) in writes {
                    let is_here = table.cell(key).values() == cell.values();
                    if let (false, Cell::Last(version)) = (is_here, cell) {
                        state.durable.time.counter += 1;
                        let (time, writer) = (state.durable.time, self.right.me);
                        version.stamp = Stamp { time, writer };
                    }
                }
            }
            (Flaw::SpreadToEveryone, Message::Write { writes, .. }) => {
                for (key, cell) in writes.iter() {
                    if table.keep(key, cell) {
                        let everyone = NodeSet::first(3)
                            .iter()
                            .filter(|node| *node != self.right.me);
                        out.broadcast(everyone, &taken.1);
                        break;
                    }
                }
            }
            (
                Flaw::AbsenceIsNoAnswer,
                Message::Data {
                    cell: Cell::Nothing,
                    ..
                },
            ) => return None,
            (
                Flaw::ReplyCountedTwice,
                Message::Data { operation, .. } | Message::Written { operation },
            ) => taken.0 = self.another(state, *operation, from),
            (Flaw::StoreUnconditionally, Message::Write { operation, writes }) => {
                let operation = *operation;
                table.cells.extend(writes.drain(..));
                out.send(from, Message::Written { operation });
                return None;
            }
            (Flaw::FenceIgnored, Message::Write { operation, writes }) => {
                for (key, cell) in writes.iter() {
                    table.keep(key, cell);
                }
                let operation = *operation;
                out.send(from, Message::Written { operation });
                return None;
            }
            (Flaw::NoTombstones, Message::Write { operation, writes })
                if writes.iter().all(|(_, cell)| cell.is_tombstone()) =>
            {
                let operation = *operation;
                for (key, cell) in writes {
                    if table.cell(key).stamp() <= cell.stamp() {
                        table.cells.remove(key);
                    }
                }
                out.send(from, Message::Written { operation });
                return None;
            }
            (
                Flaw::NoTieBreak,
                Message::Write { writes: cells, .. } | Message::Entries { cells, .. },
            ) => {
                for (key, cell) in cells {
                    let time = |cell: &Cell| cell.stamp().map(|stamp| stamp.time);
                    if time(&table.cell(key)) == time(cell) {
                        *cell = table.cell(key);
                    }
                }
            }
            (
                Flaw::SerialReadDoesNotFinish,
                Message::Promised {
                    operation,
                    accepted,
                    ..
                },
            ) => {
                let pending = state.volatile.pending.get(&operation.number);
                let reads = |task: &Task| matches!(task, Task::Transact(it) if it.change.is_none());
                if pending.is_some_and(|pending| reads(&pending.task)) {
                    *accepted = None;
                }
            }
            (Flaw::BegunIsIgnored, Message::Promised { accepted, .. }) => *accepted = None,
            (Flaw::OutbidIsAccepted, Message::Propose { key, ballot, .. }) => {
                if let Some(promise) = state.durable.promises.get_mut(key) {
                    promise.promised = promise.promised.min(*ballot);
                }
            }
            (Flaw::AnsweredWhenProposed, Message::Accepted { operation, ballot }) => {
                let pending = state.volatile.pending.get(&operation.number);
                let ours = |task: &Task| matches!(task, Task::Transact(it) if it.ballot == *ballot);
                if let Some(pending) = pending.filter(|pending| ours(&pending.task)) {
                    out.tell(Event::Transacted {
                        ticket: pending.ticket,
                        outcome: Outcome::Applied,
                    });
                    out.disarm(Timer::Retry(operation.number));
                    state.volatile.pending.remove(&operation.number);
                }
                return None;
            }
            (Flaw::HintForgottenTooEarly, Message::Written { operation }) => {
                state.durable.hints.remove(operation);
            }
            _ => {}
        }
        Some(taken)
    }

    /// A replica that has not answered yet, if there is one, in place of one that has.
    fn another(&self, state: &State<Self>, operation: Operation, from: NodeId) -> NodeId {
        let pending = state.volatile.pending.get(&operation.number);
        let counted = match pending.map(|pending| &pending.task) {
            Some(Task::Read { answered, .. }) => *answered,
            Some(Task::Write { stored, .. }) => *stored,
            Some(Task::Repair { holders, .. }) => *holders,
            Some(Task::Transact(_)) | None => return from,
        };
        let others = self.right.placement.members().difference(counted);
        match others.iter().next() {
            Some(other) if counted.contains(from) => other,
            Some(_) | None => from,
        }
    }

    /// What should have been kept from the beginning.
    fn hint_late(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let pending = state.volatile.pending.get(&number);
        let Some(Task::Write { writes, stored }) = pending.map(|pending| &pending.task) else {
            return;
        };
        let hint = Hint {
            lasts: false,
            writes: writes.clone(),
            missing: self.right.placement.members().difference(*stored),
        };
        out.arm(Timer::Deliver);
        state.durable.hints.insert(operation, hint);
    }
}

/// Answers reads that begin to repair, and not again when they have.
fn repair_afterwards(
    before: &State<Flawed>,
    state: &State<Flawed>,
    outputs: &mut Vec<Output<Flawed>>,
) {
    let repairing = |state: &State<Flawed>, number: &u64| {
        let pending = state.volatile.pending.get(number);
        matches!(
            pending.map(|pending| &pending.task),
            Some(Task::Repair { .. })
        )
    };
    let tickets: Vec<u64> = (before.volatile.pending.iter())
        .filter(|(number, _)| repairing(before, number))
        .map(|(_, pending)| pending.ticket)
        .collect();
    outputs.retain(|output| {
        !matches!(output, Output::Event(Event::Read { ticket, .. }) if tickets.contains(ticket))
    });
    for (number, pending) in &state.volatile.pending {
        let Task::Repair { key, cell, .. } = &pending.task else {
            continue;
        };
        if !repairing(before, number) {
            let mut token = Token::default();
            token.saw(key, cell);
            outputs.push(Output::Event(Event::Read {
                ticket: pending.ticket,
                values: cell.values(),
                token,
            }));
        }
    }
}
