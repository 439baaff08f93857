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

/// What can be wrong with Paxos Commit. What a node says to itself is never spoiled, so that flaws of
/// what is heard are shown where acceptors do not lead, or where it does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    // Acceptors.
    /// A restart forgets what was promised and accepted.
    AcceptorForgets,
    /// A promise is given and not kept in mind.
    PromiseNotKept,
    /// An acceptor tells ballots apart by their rounds alone, so that two leaders share one.
    BallotsShared,
    /// An acceptor says nothing to a leader that was overtaken.
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
    /// A leader counts what was accepted in ballots that it gave up, too.
    BallotsTogether,
    /// A leader commits when one participant is prepared.
    OneInstance,
    /// A leader that restarts begins the ballots again that it began before.
    BallotsAgain,
    /// A leader that was overtaken tries the same ballot again.
    NeverOutbids,
    /// The coordinator alone may lead.
    OneLeader,
    /// Everything is asked once.
    NoRetries,

    // Participants.
    /// A participant that has waited long enough takes its vote back, and aborts.
    TakesBack,
    /// A participant that has waited long enough proposes in its own ballot that it has aborted.
    ProposesTwice,
    /// A restart forgets the votes.
    VoteForgotten,
    /// A restart does not wait for the outcome of what was in doubt.
    RestsAfterRestart,
    /// A question to vote that comes again puts off the alarm.
    PutsOff,
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
            Flaw::IncarnationForgotten => durable.incarnation = 1,
            Flaw::RestsAfterRestart => out.drain().for_each(drop),
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
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        self.spoil_acceptor(state, &message);
        self.spoil_promise(state, &mut message);
        self.spoil_count(state, from, &mut message);
        self.spoil_participant(state, &message, out);
        let before = state.clone();
        if self.flaw == Flaw::LocksNothing && matches!(message, Message::Prepare { .. }) {
            let known = &mut state.durable.branches.known;
            known.retain(|_, branch| !matches!(branch, Branch::Prepared { .. }));
        }
        let heard = message.clone();
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, heard, out);
        });
        match (self.flaw, message) {
            (Flaw::LocksNothing, Message::Prepare { .. }) => {
                let all = &before.durable.branches.known;
                state.durable.branches.known.merge_left(all);
            }
            (Flaw::PromiseNotKept, Message::Phase1a { transaction, .. }) => {
                let known = before.durable.acceptances.get(&transaction).copied();
                let acceptances = &mut state.durable.acceptances;
                acceptances.insert(transaction, known.unwrap_or_default());
            }
            (Flaw::PutsOff, Message::Prepare { transaction, .. })
                if before.durable.branches.prepared(transaction).is_some() =>
            {
                out.arm(Timer::Lead(transaction));
            }
            _ => {}
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let (Timer::Retry(transaction) | Timer::Lead(transaction)) = timer;
        let in_doubt = state.durable.branches.prepared(transaction);
        let phase = (state.volatile.leading.get(&transaction))
            .filter(|leading| leading.ballot != Ballot::Zero)
            .map(|leading| leading.phase.clone());
        let incarnation = state.durable.incarnation;
        match (self.flaw, &timer, phase) {
            (Flaw::TakesBack, Timer::Lead(_), _) if in_doubt.is_some() => {
                return Self::abort(state, transaction, out);
            }
            (Flaw::OneLeader, Timer::Lead(_), _) if transaction.coordinator != self.right.me => {
                return;
            }
            (Flaw::NoRetries, Timer::Retry(_), _)
            | (Flaw::NoRetries, Timer::Lead(_), Some(Phase::One { .. } | Phase::Two { .. })) => {
                return;
            }
            (Flaw::ProposesTwice, Timer::Lead(_), None) => {
                self.propose_abort(transaction, in_doubt.unwrap_or_default(), out);
            }
            (Flaw::BallotsAgain, ..) => state.durable.incarnation = 1,
            _ => {}
        }
        self.ring(state, timer.clone(), out);
        match (self.flaw, &timer) {
            (Flaw::BallotsAgain, _) => state.durable.incarnation = incarnation,
            (Flaw::PutsOff, Timer::Retry(_)) if in_doubt.is_some() => {
                out.arm(Timer::Lead(transaction));
            }
            (Flaw::NoPhaseOne, Timer::Lead(_)) => {
                if let Some(leading) = state.volatile.leading.get_mut(&transaction)
                    && matches!(leading.phase, Phase::One { .. })
                {
                    leading.phase_2(Values::default().or_aborted(leading.participants));
                    // It says what it has to say in this phase.
                    self.ring(state, timer, out);
                }
            }
            _ => {}
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act, and keeps back what the flaw does not say.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&PaxosCommit, &mut State<PaxosCommit>, &mut Outbox<PaxosCommit>),
    ) {
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            let message = match &output {
                Output::Send { message, .. } => Some(message),
                _ => None,
            };
            match (self.flaw, message) {
                (Flaw::RefusesSilently, Some(Message::Overtaken { .. }))
                | (Flaw::NoPhaseOne, Some(Message::Phase1a { .. })) => {}
                _ => out.push(output),
            }
        }
    }

    fn ring(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    /// What is wrong with an acceptor before it hears a leader.
    fn spoil_acceptor(&self, state: &mut State<Self>, message: &Message) {
        let (Message::Phase1a {
            transaction,
            ballot,
        }
        | Message::Phase2a {
            transaction,
            ballot,
            ..
        }) = message
        else {
            return;
        };
        let known = state.durable.acceptances.get_mut(transaction);
        if let (Flaw::BallotsShared, Some(known)) = (self.flaw, known) {
            for other in [&mut known.promised, &mut known.accepted] {
                if other.round() == ballot.round() {
                    *other = *ballot;
                }
            }
        }
    }

    /// What is wrong with a leader that hears a promise, or that it is overtaken.
    fn spoil_promise(&self, state: &mut State<Self>, message: &mut Message) {
        let leading = &mut state.volatile.leading;
        match message {
            Message::Phase1b {
                transaction,
                accepted,
                values,
                ..
            } => {
                let Some(leading) = leading.get_mut(transaction) else {
                    return;
                };
                match self.flaw {
                    Flaw::AbortsWhatWasChosen => *values = Values::default(),
                    Flaw::FreeChoice => {
                        let prepared = leading.participants;
                        let aborted = NodeSet::EMPTY;
                        *values = values.or(Values { prepared, aborted });
                    }
                    Flaw::LowestBallot => lowest(leading, accepted, values),
                    _ => {}
                }
            }
            Message::Overtaken {
                transaction,
                ballot,
                ..
            } => {
                if let (Flaw::NeverOutbids, Some(leading)) =
                    (self.flaw, leading.get_mut(transaction))
                    && leading.ballot == *ballot
                {
                    // As if it had just begun. To the right machine the message is of another ballot.
                    *leading = Leading::phase_1(leading.participants, *ballot);
                    *ballot = Ballot::Zero;
                }
            }
            _ => {}
        }
    }

    /// What is wrong with a leader that counts.
    fn spoil_count(&self, state: &mut State<Self>, from: NodeId, message: &mut Message) {
        let Message::Phase2b {
            transaction,
            ballot,
            values,
        } = message
        else {
            return;
        };
        let Some(leading) = state.volatile.leading.get_mut(transaction) else {
            return;
        };
        match self.flaw {
            Flaw::CountedTwice if leading.ballot == *ballot => {
                let mut others = self.right.acceptors.members();
                others.remove(from);
                if let Some(other) = others.iter().next() {
                    leading.accepted(other, *values);
                }
            }
            Flaw::BallotsTogether => *ballot = leading.ballot,
            Flaw::OneInstance if !values.prepared.is_empty() => {
                values.prepared = leading.participants;
                values.aborted = NodeSet::EMPTY;
            }
            _ => {}
        }
    }

    /// What is wrong with a participant before it hears its coordinator or a decision.
    fn spoil_participant(
        &self,
        state: &mut State<Self>,
        message: &Message,
        out: &mut Outbox<Self>,
    ) {
        let branches = &mut state.durable.branches;
        match (self.flaw, message) {
            (Flaw::PreparesAgain, Message::Prepare { transaction, .. })
                if branches.outcome(*transaction) == Some(Outcome::Abort) =>
            {
                branches.known.remove(transaction);
            }
            (
                Flaw::AbortByKey,
                Message::Decision {
                    outcome: Outcome::Abort,
                    ..
                },
            ) => {
                for transaction in branches.in_doubt().collect::<Vec<_>>() {
                    Self::abort(state, transaction, out);
                }
            }
            _ => {}
        }
    }

    /// Proposes, in the ballot in which this participant proposed that it is prepared, that it aborted.
    fn propose_abort(
        &self,
        transaction: Transaction,
        participants: NodeSet,
        out: &mut Outbox<Self>,
    ) {
        if participants.contains(self.right.me) {
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

/// Of what was found before and what is found now, the right machine is to take what was accepted in
/// the lower ballot.
fn lowest(leading: &mut Leading, accepted: &mut Ballot, values: &mut Values) {
    let Phase::One {
        accepted: highest,
        values: found,
        ..
    } = &mut leading.phase
    else {
        return;
    };
    if *accepted < *highest && !values.instances().is_empty() {
        (*highest, *found) = (*accepted, *values);
    } else if *highest < *accepted && !found.instances().is_empty() {
        (*accepted, *values) = (*highest, *found);
    }
}
