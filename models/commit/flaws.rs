//! Two-phase commit with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::commit::{
    Branch, Branches, Call, Commit, Durable, Event, Message, Outcome, Timer, Transaction, Volatile,
    Vote,
};
use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Commit,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with two-phase commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// The coordinator commits on the first yes.
    FirstVoteDecides,
    /// When the coordinator has waited long enough it goes on without those who have not voted. So
    /// does the textbook's, which does not ask who seems unhealthy.
    OnlyTheHealthy,
    /// A participant says yes and writes nothing down. So does the textbook's.
    NoVoteKept,
    /// A restart forgets the votes.
    VoteForgotten,
    /// A participant in doubt that has waited long enough aborts.
    AbortInDoubt,
    /// A participant in doubt that has waited long enough commits.
    CommitInDoubt,
    /// A coordinator that is asked while it still counts votes has no commit record, and presumes.
    PresumesTooSoon,
    /// A participant in doubt that is asked by another one agrees with it to abort.
    DoubtersDecide,
    /// Who is asked for an outcome before it is asked to vote says abort, and does not keep that.
    RefusalNotKept,
    /// The commit record is lost in a crash. The textbook has none.
    RecordNotForced,
    /// The first acknowledgement ends the commit record.
    EndAtFirstAcknowledgement,
    /// After a restart the names of transactions begin anew.
    IncarnationForgotten,
    /// An abort ends every transaction in doubt that holds its keys. So does the textbook's. In these
    /// worlds all transactions write one key.
    AbortByKey,
    /// Who has aborted and is asked to vote again, votes again.
    PreparesAgain,
    /// A participant says yes whoever holds the keys. So does the textbook's.
    LocksNothing,
    /// The decision is said once, and nobody asks for it.
    SaidOnce,
    /// A participant in doubt does not ask.
    NoInquiry,
    /// The question to vote is asked once, and its answers are waited for without end.
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
        match self.flaw {
            Flaw::VoteForgotten => {
                let known = &mut durable.branches.known;
                known.retain(|_, branch| !matches!(branch, Branch::Prepared { .. }));
            }
            Flaw::RecordNotForced => durable.commits = Durable::default().commits,
            _ => {}
        }
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
        if self.is_mistaken(state, from, &message, out) {
            return;
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match (self.flaw, &timer) {
            (Flaw::OnlyTheHealthy, Timer::TimeOut(transaction)) => {
                self.take_for_yes(state, *transaction, out);
            }
            (Flaw::AbortInDoubt, Timer::Inquire(transaction)) => {
                Self::end(state, *transaction, Outcome::Abort, out);
            }
            (Flaw::CommitInDoubt, Timer::Inquire(transaction)) => {
                Self::end(state, *transaction, Outcome::Commit, out);
            }
            (Flaw::SaidOnce, Timer::Retry(transaction))
                if state.volatile.unacknowledged.contains_key(transaction) => {}
            (Flaw::SaidOnce | Flaw::NoInquiry, Timer::Inquire(_))
            | (Flaw::NoRetries, Timer::Retry(_) | Timer::TimeOut(_)) => {}
            _ => self.act(state, out, |right, state, out| {
                right.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Commit, &mut State<Commit>, &mut Outbox<Commit>),
    ) {
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            out.push(output);
        }
    }

    /// Handles a message wrongly. False if the right machine is to handle it, after all.
    fn is_mistaken(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: &Message,
        out: &mut Outbox<Self>,
    ) -> bool {
        let me = self.right.me;
        match (self.flaw, message) {
            (
                Flaw::FirstVoteDecides,
                Message::Vote {
                    transaction,
                    vote: Vote::Yes,
                },
            ) => {
                self.take_for_yes(state, *transaction, out);
                true
            }
            (Flaw::NoVoteKept, Message::Prepare { transaction, .. }) => {
                let (transaction, vote) = (*transaction, Vote::Yes);
                out.tell(Event::Voted { transaction, vote });
                out.send(from, Message::Vote { transaction, vote });
                true
            }
            (Flaw::PreparesAgain, Message::Prepare { transaction, .. }) => {
                if state.durable.branches.outcome(*transaction) == Some(Outcome::Abort) {
                    state.durable.branches.known.remove(transaction);
                }
                false
            }
            (Flaw::LocksNothing, Message::Prepare { .. }) => {
                let all = state.durable.branches.known.clone();
                let known = &mut state.durable.branches.known;
                known.retain(|_, branch| !matches!(branch, Branch::Prepared { .. }));
                let message = message.clone();
                self.act(state, out, |right, state, out| {
                    right.on_message(state, from, message, out);
                });
                state.durable.branches.known.merge_left(&all);
                true
            }
            (Flaw::DoubtersDecide, Message::Inquire { transaction }) => {
                let in_doubt = state.durable.branches.prepared(*transaction).is_some();
                if in_doubt && transaction.coordinator != me {
                    Self::end(state, *transaction, Outcome::Abort, out);
                }
                false
            }
            (Flaw::RefusalNotKept | Flaw::PresumesTooSoon, Message::Inquire { transaction })
                if self.presumes(state, *transaction) =>
            {
                let (transaction, outcome) = (*transaction, Outcome::Abort);
                out.send(
                    from,
                    Message::Decision {
                        transaction,
                        outcome,
                    },
                );
                true
            }
            (Flaw::EndAtFirstAcknowledgement, Message::Acknowledge { transaction }) => {
                let missing = state.volatile.unacknowledged.get(transaction).copied();
                for other in missing.unwrap_or_default() {
                    let message = message.clone();
                    self.act(state, out, |right, state, out| {
                        right.on_message(state, other, message, out);
                    });
                }
                true
            }
            (
                Flaw::AbortByKey,
                Message::Decision {
                    outcome: Outcome::Abort,
                    ..
                },
            ) => {
                for transaction in in_doubt(&state.durable.branches) {
                    Self::end(state, transaction, Outcome::Abort, out);
                }
                false
            }
            _ => false,
        }
    }

    /// True if it says abort, and that is all it does.
    fn presumes(&self, state: &State<Self>, transaction: Transaction) -> bool {
        let is_coordinator = transaction.coordinator == self.right.me;
        match self.flaw {
            Flaw::PresumesTooSoon => {
                is_coordinator && state.volatile.voting.contains_key(&transaction)
            }
            _ => !is_coordinator && !state.durable.branches.known.contains_key(&transaction),
        }
    }

    /// Takes everyone who has not voted for one that said yes.
    fn take_for_yes(
        &self,
        state: &mut State<Self>,
        transaction: Transaction,
        out: &mut Outbox<Self>,
    ) {
        let voting = state.volatile.voting.get(&transaction);
        let missing = voting.map(|voting| voting.participants().difference(voting.yes));
        for other in missing.unwrap_or(NodeSet::EMPTY) {
            let vote = Vote::Yes;
            self.act(state, out, |right, state, out| {
                right.on_message(state, other, Message::Vote { transaction, vote }, out);
            });
        }
    }

    /// Ends it here, whoever else does what.
    fn end(
        state: &mut State<Self>,
        transaction: Transaction,
        outcome: Outcome,
        out: &mut Outbox<Self>,
    ) {
        if state.durable.branches.decide(transaction, outcome) {
            out.disarm(Timer::Inquire(transaction));
            out.tell(Event::Decided {
                transaction,
                outcome,
            });
        }
    }
}

fn in_doubt(branches: &Branches) -> Vec<Transaction> {
    branches.in_doubt().collect()
}

/// The right machine where what crashes stays dead: it restarts as a node that does nothing. It is how
/// Babaoğlu and Toueg's processes fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CrashStop {
    /// The right machine, until it crashes.
    pub(super) right: Commit,
}

/// The incarnation of a node that crashed.
const DEAD: u64 = 2;

impl Machine for CrashStop {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if durable.incarnation > 0 {
            durable.incarnation = DEAD;
            return Volatile::default();
        }
        boot(&self.right, durable, out)
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
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl CrashStop {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Commit, &mut State<Commit>, &mut Outbox<Commit>),
    ) {
        if state.durable.incarnation == DEAD {
            return;
        }
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            out.push(output);
        }
    }
}
