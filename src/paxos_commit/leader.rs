//! What a leader knows of its ballot.

use serde::{Deserialize, Serialize};

use super::acceptor::{Ballot, Values};
use crate::commit::Outcome;
use crate::data::{Map, NodeSet};
use crate::machine::NodeId;
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
