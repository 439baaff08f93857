//! The leader, and what it knows of its ballot.

use serde::{Deserialize, Serialize};

use super::acceptor::{Ballot, Values};
use super::{Message, PaxosCommit, Timer};
use crate::commit::{Event, Outcome, Transaction};
use crate::data::{Map, NodeSet};
use crate::machine::{NodeId, Outbox, State};
use crate::quorum::Quorums;

/// A ballot that a node leads, for all instances of one transaction. A crash takes it: the next one
/// of the same node is another ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leading {
    /// Whose instances they are.
    pub participants: NodeSet,
    /// Which ballot. In ballot 0 the coordinator only listens: each participant leads its own.
    pub ballot: Ballot,
    /// How far it is.
    pub phase: Phase,
}

/// How far a leader is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// It asks the acceptors for promises.
    One {
        /// Who has promised.
        answered: NodeSet,
        /// The highest ballot in which one of them has accepted anything.
        accepted: Ballot,
        /// What was accepted in it.
        values: Values,
    },
    /// It asks them to accept; in ballot 0 the participants do.
    Two {
        /// What it proposed; in ballot 0, nothing.
        values: Values,
        /// What each acceptor has accepted.
        accepted: Map<NodeId, Values>,
    },
    /// An acceptor has promised more. The ballot is given up, and the next one is to be higher.
    Overtaken {
        /// The round that was promised.
        round: u64,
    },
}

impl Leading {
    /// Listens to ballot 0.
    pub fn ballot_0(participants: NodeSet) -> Self {
        Self {
            participants,
            ballot: Ballot::Zero,
            phase: Phase::Two {
                values: Values::default(),
                accepted: Map::default(),
            },
        }
    }

    /// Begins a higher ballot.
    pub fn phase_1(participants: NodeSet, ballot: Ballot) -> Self {
        Self {
            participants,
            ballot,
            phase: Phase::One {
                answered: NodeSet::EMPTY,
                accepted: Ballot::Zero,
                values: Values::default(),
            },
        }
    }

    /// Hears a promise. What it is to propose, once a quorum has promised: in each instance the value
    /// that was accepted in the highest ballot, for that one may have been chosen; and where none
    /// was, that the participant aborted, for none was chosen.
    pub fn promised(
        &mut self,
        quorums: &Quorums,
        from: NodeId,
        ballot: Ballot,
        found: Values,
    ) -> Option<Values> {
        let Phase::One {
            answered,
            accepted,
            values,
        } = &mut self.phase
        else {
            return None; // It has what it needs.
        };
        answered.insert(from);
        if *accepted < ballot {
            (*accepted, *values) = (ballot, found);
        } else if *accepted == ballot {
            *values = values.or(found);
        }
        let proposed = values.or_aborted(self.participants);
        quorums.can_read(*answered).then_some(proposed)
    }

    /// Begins phase 2.
    pub fn phase_2(&mut self, values: Values) {
        let accepted = Map::default();
        self.phase = Phase::Two { values, accepted };
    }

    /// Hears what an acceptor has accepted.
    pub fn accepted(&mut self, from: NodeId, found: Values) {
        match &mut self.phase {
            Phase::Two { accepted, .. } => {
                // In ballot 0 an answer may be older than the one before: it takes nothing back.
                let known = accepted.entry_or_insert_with(from, Values::default);
                *known = known.or(found);
            }
            Phase::One { .. } | Phase::Overtaken { .. } => {}
        }
    }

    /// How the transaction ends, once that is chosen: a value is, if a quorum has accepted it in one
    /// ballot. It commits if every participant is prepared, and aborts if one has aborted.
    pub fn outcome(&self, quorums: &Quorums) -> Option<Outcome> {
        let Phase::Two { accepted, .. } = &self.phase else {
            return None;
        };
        let is_chosen = |has: &dyn Fn(&Values) -> bool| {
            let who = accepted.iter().filter(|(_, values)| has(values));
            quorums.can_write(who.map(|(acceptor, _)| *acceptor).collect())
        };
        let mut all = self.participants.iter();
        if all.any(|one| is_chosen(&|values: &Values| values.aborted.contains(one))) {
            return Some(Outcome::Abort);
        }
        let mut all = self.participants.iter();
        all.all(|one| is_chosen(&|values: &Values| values.prepared.contains(one)))
            .then_some(Outcome::Commit)
    }

    /// The acceptors whose answer is missing, in a higher ballot.
    pub fn missing(&self, quorums: &Quorums) -> NodeSet {
        match &self.phase {
            Phase::One { answered, .. } => quorums.members().difference(*answered),
            Phase::Two { accepted, .. } => {
                let answered = accepted.keys().copied().collect();
                quorums.members().difference(answered)
            }
            Phase::Overtaken { .. } => NodeSet::EMPTY,
        }
    }
}

impl PaxosCommit {
    /// It takes too long. Somebody who waits for the outcome leads, or tries again.
    pub(super) fn lead(
        &self,
        state: &mut State<Self>,
        transaction: Transaction,
        out: &mut Outbox<Self>,
    ) {
        let Some(leading) = state.volatile.leading.get(&transaction) else {
            if let Some(participants) = state.durable.branches.prepared(transaction) {
                self.begin(state, transaction, participants, 1, out);
            }
            return;
        };
        let participants = leading.participants;
        match (leading.ballot, &leading.phase) {
            (Ballot::Zero, _) => self.begin(state, transaction, participants, 1, out),
            (Ballot::Led { .. }, Phase::Overtaken { round }) => {
                // There is no higher one than the last. Nobody who is honest comes near it.
                if let Some(round) = round.checked_add(1) {
                    self.begin(state, transaction, participants, round, out);
                }
            }
            (Ballot::Led { .. }, Phase::One { .. } | Phase::Two { .. }) => {
                // Nobody is known to be ahead, so something was lost. A higher ballot would not find
                // it, and might overtake somebody.
                out.arm(Timer::Lead(transaction));
                self.propose(state, transaction, out);
            }
        }
    }

    /// Phase 1, at the leader: it begins a ballot.
    fn begin(
        &self,
        state: &mut State<Self>,
        transaction: Transaction,
        participants: NodeSet,
        round: u64,
        out: &mut Outbox<Self>,
    ) {
        let ballot = Ballot::Led {
            round,
            leader: self.me,
            incarnation: state.durable.incarnation,
        };
        let leading = Leading::phase_1(participants, ballot);
        state.volatile.leading.insert(transaction, leading);
        out.tell(Event::TimedOut { transaction });
        out.disarm(Timer::Retry(transaction));
        out.arm(Timer::Lead(transaction));
        self.propose(state, transaction, out);
    }

    /// Asks every acceptor that has not answered, in either phase, the first time and again.
    fn propose(&self, state: &mut State<Self>, transaction: Transaction, out: &mut Outbox<Self>) {
        let Some(leading) = state.volatile.leading.get(&transaction) else {
            return;
        };
        let ballot = leading.ballot;
        let question = match leading.phase {
            Phase::One { .. } => Message::Phase1a {
                transaction,
                ballot,
            },
            Phase::Two { values, .. } => Message::Phase2a {
                transaction,
                participants: leading.participants,
                ballot,
                values,
            },
            Phase::Overtaken { .. } => return,
        };
        let missing = leading.missing(&self.acceptors);
        self.broadcast(state, missing, &question, out);
    }

    /// Phase 1, at the leader: it hears a promise, and with the last one that it needs it proposes.
    pub(super) fn on_phase_1b(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        ballot: Ballot,
        (accepted, values): (Ballot, Values),
        out: &mut Outbox<Self>,
    ) {
        if !self.acceptors.contains(from) {
            return; // Its promise is worth nothing.
        }
        let leading = state.volatile.leading.get_mut(&transaction);
        let Some(leading) = leading.filter(|leading| leading.ballot == ballot) else {
            return; // Of a ballot that is over.
        };
        if let Some(values) = leading.promised(&self.acceptors, from, accepted, values) {
            leading.phase_2(values);
            self.propose(state, transaction, out);
        }
    }

    /// Phase 2, at the leader, and in ballot 0 at the coordinator: it hears what was accepted.
    pub(super) fn on_phase_2b(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        ballot: Ballot,
        values: Values,
        out: &mut Outbox<Self>,
    ) {
        if !self.acceptors.contains(from) {
            return; // It has nothing to choose.
        }
        let leading = state.volatile.leading.get_mut(&transaction);
        let Some(leading) = leading.filter(|leading| leading.ballot == ballot) else {
            return; // Of a ballot that is over.
        };
        leading.accepted(from, values);
        let Some(outcome) = leading.outcome(&self.acceptors) else {
            return;
        };
        let participants = leading.participants;
        self.learn(state, transaction, participants, outcome, out);
        let mut others = participants;
        others.insert(transaction.coordinator);
        others.remove(self.me);
        let decision = Message::Decision {
            transaction,
            participants,
            outcome,
        };
        out.broadcast(others, &decision);
    }

    /// The leader hears that another ballot is ahead of its own, and gives it up.
    pub(super) fn on_overtaken(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        ballot: Ballot,
        round: u64,
    ) {
        if !self.acceptors.contains(from) {
            return; // It promises nothing.
        }
        let leading = state.volatile.leading.get_mut(&transaction);
        let Some(leading) = leading.filter(|leading| leading.ballot == ballot) else {
            return; // Of a ballot that is over.
        };
        if ballot == Ballot::Zero || matches!(leading.phase, Phase::Overtaken { .. }) {
            return; // It leads nothing, or knows.
        }
        // It does not begin a higher one at once, or two would overtake each other for ever: it waits
        // for its alarm.
        let round = round.max(ballot.round());
        leading.phase = Phase::Overtaken { round };
    }
}
