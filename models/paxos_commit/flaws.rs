//! Paxos Commit with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::commit::{Branch, Call, Event, Outcome, Transaction, Vote};
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::paxos_commit::{
    Ballot, Durable, Leading, Message, PaxosCommit, Phase, Timer, Values, Volatile,
};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: PaxosCommit,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with Paxos Commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    // Acceptors.
    /// A restart forgets what was promised and accepted.
    AcceptorForgets,
    /// A promise is given and not kept in mind.
    PromiseNotKept,
    /// An acceptor accepts in a ballot below its promise.
    AcceptsBelowPromise,
    /// An acceptor answers nothing to a leader that was overtaken.
    RefusesSilently,

    // Leaders.
    /// A leader proposes that all aborted, without asking first.
    NoPhaseOne,
    /// A leader asks first, and proposes that all aborted, whatever it hears.
    AbortsWhatWasChosen,
    /// Where nothing was accepted, a leader proposes that the participant is prepared.
    FreeChoice,
    /// A leader proposes what was accepted in the lowest ballot.
    LowestBallot,
    /// A leader counts each answer in phase 2 as if it were two acceptors'.
    CountedTwice,
    /// A leader counts what was accepted in other ballots, too.
    BallotsTogether,
    /// A leader commits when one instance has chosen that its participant is prepared.
    OneInstance,
    /// A leader that restarts begins the ballots again that it began before.
    BallotsAgain,
    /// Two leaders of one round have the same ballot.
    BallotsShared,
    /// A leader that was overtaken tries the same ballot again.
    NeverOutbids,
    /// The coordinator alone may lead.
    OneLeader,
    /// A leader asks once.
    NoRetries,

    // Participants.
    /// A participant that has waited long enough takes its vote back.
    TakesBack,
    /// A participant that has waited long enough aborts by itself.
    AbortsInDoubt,
    /// A restart forgets the votes.
    VoteForgotten,
    /// A restart does not wait for the outcome of what was in doubt.
    RestsAfterRestart,
    /// After a restart the names of transactions begin anew.
    IncarnationForgotten,
    /// Who has aborted and is asked to vote again, votes again.
    PreparesAgain,
    /// An abort ends every transaction in doubt that holds its keys. So does the textbook's. In these
    /// worlds all transactions write one key.
    AbortByKey,
    /// A participant says yes whoever holds the keys. So does the textbook's.
    LocksNothing,
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
            Flaw::AcceptorForgets => durable.acceptances = Map::default(),
            Flaw::VoteForgotten => {
                let known = &mut durable.branches.known;
                known.retain(|_, branch| !matches!(branch, Branch::Prepared { .. }));
            }
            _ => {}
        }
        let volatile = boot(&self.right, durable, out);
        match self.flaw {
            Flaw::BallotsAgain | Flaw::IncarnationForgotten => durable.incarnation = 1,
            Flaw::OneLeader | Flaw::RestsAfterRestart => {
                out.drain().for_each(drop);
            }
            _ => {}
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
        let Some(message) = self.spoiled(state, from, message, out) else {
            return;
        };
        let before = state.clone();
        match (self.flaw, &message) {
            (Flaw::LocksNothing, Message::Prepare { transaction, .. }) => {
                let transaction = *transaction;
                let known = &mut state.durable.branches.known;
                known.retain(|name, branch| {
                    *name == transaction || !matches!(branch, Branch::Prepared { .. })
                });
                self.hears(state, from, message, out);
                let all = &before.durable.branches.known;
                state.durable.branches.known.merge_left(all);
            }
            (Flaw::PromiseNotKept, Message::Phase1a { transaction, .. }) => {
                let transaction = *transaction;
                let known = before.durable.acceptances.get(&transaction).copied();
                self.hears(state, from, message, out);
                let known = known.unwrap_or_default();
                state.durable.acceptances.insert(transaction, known);
            }
            (Flaw::NeverOutbids, Message::Overtaken { transaction, .. }) => {
                // As if it had just begun.
                if let Some(leading) = state.volatile.leading.get_mut(transaction) {
                    let (participants, ballot) = (leading.participants, leading.ballot);
                    *leading = Leading::phase_1(participants, ballot);
                }
            }
            _ => self.hears(state, from, message, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match (self.flaw, &timer) {
            (Flaw::TakesBack | Flaw::AbortsInDoubt, Timer::Lead(transaction))
                if state.durable.branches.prepared(*transaction).is_some() =>
            {
                self.give_up(state, *transaction, out);
            }
            (Flaw::OneLeader, Timer::Lead(transaction))
                if !state.volatile.asked.contains_key(transaction) => {}
            (Flaw::NoRetries, Timer::Retry(_)) => {}
            (Flaw::NoRetries, Timer::Lead(transaction))
                if (state.volatile.leading.get(transaction))
                    .is_some_and(|leading| leading.ballot != Ballot::Zero) => {}
            (Flaw::NoPhaseOne, Timer::Lead(transaction)) => {
                let transaction = *transaction;
                self.act(state, out, |right, state, out| {
                    right.on_timer(state, timer, &mut Outbox::default());
                    propose(state, transaction, right, out);
                });
            }
            _ => self.act(state, out, |right, state, out| {
                right.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

/// Proposes that all aborted, without a promise.
fn propose(
    state: &mut State<PaxosCommit>,
    transaction: Transaction,
    right: &PaxosCommit,
    out: &mut Outbox<PaxosCommit>,
) {
    if let Some(leading) = state.volatile.leading.get_mut(&transaction) {
        let values = Values::default().or_aborted(leading.participants);
        leading.phase_2(values);
        out.tell(Event::TimedOut { transaction });
        out.disarm(Timer::Retry(transaction));
        let phase_2a = Message::Phase2a {
            transaction,
            participants: leading.participants,
            ballot: leading.ballot,
            values,
        };
        out.broadcast(right.acceptors.members(), &phase_2a);
    }
}

impl Flawed {
    /// Lets the right machine act, and spoils what it says.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&PaxosCommit, &mut State<PaxosCommit>, &mut Outbox<PaxosCommit>),
    ) {
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            if self.says(&output) {
                out.push(output);
            }
        }
    }

    fn hears(
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

    /// False of what the flaw keeps back.
    fn says(&self, output: &Output<Self>) -> bool {
        match (self.flaw, output) {
            (
                Flaw::RefusesSilently,
                Output::Send {
                    message: Message::Overtaken { .. },
                    ..
                },
            ) => false,
            _ => true,
        }
    }

    /// What the right machine is to hear instead, if anything.
    fn spoiled(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) -> Option<Message> {
        let volatile = &mut state.volatile;
        match (self.flaw, &mut message) {
            (
                Flaw::AcceptsBelowPromise,
                Message::Phase2a {
                    transaction,
                    ballot,
                    ..
                },
            ) => {
                if let Some(known) = state.durable.acceptances.get_mut(transaction) {
                    known.promised = known.promised.min(*ballot);
                }
            }
            (Flaw::AbortsWhatWasChosen, Message::Phase1b { values, .. }) => {
                *values = Values::default();
            }
            (
                Flaw::FreeChoice,
                Message::Phase1b {
                    transaction,
                    values,
                    ..
                },
            ) => {
                if let Some(leading) = volatile.leading.get(transaction) {
                    let free = Values::default().or_aborted(leading.participants).aborted;
                    let (prepared, aborted) = (free, NodeSet::EMPTY);
                    *values = values.or(Values { prepared, aborted });
                }
            }
            (
                Flaw::LowestBallot,
                Message::Phase1b {
                    transaction,
                    accepted,
                    values,
                    ..
                },
            ) => {
                if let Some(leading) = volatile.leading.get_mut(transaction)
                    && let Phase::One {
                        accepted: highest,
                        values: found,
                        ..
                    } = &mut leading.phase
                    && *accepted < *highest
                    && !values.instances().is_empty()
                {
                    (*highest, *found) = (*accepted, *values);
                } else if let Some(leading) = volatile.leading.get(transaction)
                    && let Phase::One {
                        accepted: highest,
                        values: found,
                        ..
                    } = &leading.phase
                    && *highest < *accepted
                    && !found.instances().is_empty()
                {
                    (*accepted, *values) = (*highest, *found);
                }
            }
            (
                Flaw::CountedTwice,
                Message::Phase2b {
                    transaction,
                    ballot,
                    values,
                },
            ) => {
                if let Some(leading) = volatile.leading.get_mut(transaction)
                    && leading.ballot == *ballot
                {
                    let acceptors = self.right.acceptors.members();
                    let other = acceptors.iter().find(|acceptor| *acceptor != from);
                    other.map(|other| leading.accepted(other, *values));
                }
            }
            (
                Flaw::BallotsTogether,
                Message::Phase2b {
                    transaction,
                    ballot,
                    ..
                },
            ) => {
                if let Some(leading) = volatile.leading.get(transaction) {
                    *ballot = leading.ballot;
                }
            }
            (
                Flaw::OneInstance,
                Message::Phase2b {
                    transaction,
                    values,
                    ..
                },
            ) => {
                if let Some(leading) = volatile.leading.get(transaction)
                    && !values.prepared.is_empty()
                {
                    values.prepared = leading.participants;
                    values.aborted = NodeSet::EMPTY;
                }
            }
            (Flaw::PreparesAgain, Message::Prepare { transaction, .. }) => {
                if state.durable.branches.outcome(*transaction) == Some(Outcome::Abort) {
                    state.durable.branches.known.remove(transaction);
                }
            }
            (
                Flaw::AbortByKey,
                Message::Decision {
                    outcome: Outcome::Abort,
                    ..
                },
            ) => {
                let in_doubt: Vec<_> = state.durable.branches.in_doubt().collect();
                for transaction in in_doubt {
                    Self::abort(state, transaction, out);
                }
            }
            _ => {}
        }
        Some(message)
    }

    /// A participant aborts by itself, and perhaps says so to the acceptors.
    fn give_up(&self, state: &mut State<Self>, transaction: Transaction, out: &mut Outbox<Self>) {
        let Some(participants) = state.durable.branches.prepared(transaction) else {
            return;
        };
        Self::abort(state, transaction, out);
        if self.flaw == Flaw::TakesBack {
            let proposal = Message::Phase2a {
                transaction,
                participants,
                ballot: Ballot::Zero,
                values: Values::vote(self.right.me, Vote::No),
            };
            out.broadcast(self.right.acceptors.members(), &proposal);
        }
    }

    /// Aborts here, whoever else does what.
    fn abort(state: &mut State<Self>, transaction: Transaction, out: &mut Outbox<Self>) {
        let outcome = Outcome::Abort;
        if state.durable.branches.decide(transaction, outcome) {
            state.volatile.leading.remove(&transaction);
            out.disarm(Timer::Lead(transaction));
            out.tell(Event::Decided {
                transaction,
                outcome,
            });
        }
    }
}
