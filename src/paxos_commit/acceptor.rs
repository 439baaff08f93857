//! The acceptor, and what it keeps of one transaction: of each participant's instance of Paxos, what it
//! has promised and what it has accepted.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Message, PaxosCommit};
use crate::commit::{Transaction, Vote};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// A ballot of every instance of one transaction. Each has one owner, who proposes at most one value
/// in it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ballot {
    /// Ballot 0. In each instance it is the participant's, who proposes its own vote; so nobody need
    /// ask whether something was accepted before.
    #[default]
    Zero,
    /// A higher one.
    Led {
        /// Leaders outbid each other by this: 1 or more.
        round: u64,
        /// Whose it is.
        leader: NodeId,
        /// How often the leader had booted: what it proposed before its last crash, it has forgotten.
        incarnation: u64,
    },
}

impl Ballot {
    /// 0 for ballot 0.
    pub fn round(self) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Led { round, .. } => round,
        }
    }

    /// True if it is a higher ballot of this node.
    pub fn is_led_by(self, node: NodeId) -> bool {
        match self {
            Self::Zero => false,
            Self::Led { leader, .. } => leader == node,
        }
    }
}

/// As one word, for states and stories are read by people.
impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => write!(f, "0"),
            Self::Led {
                round,
                leader,
                incarnation,
            } => write!(f, "{round}@{leader}:{incarnation}"),
        }
    }
}

/// The values of the instances of one transaction. An instance is named by its participant.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Values {
    /// Who is prepared.
    pub prepared: NodeSet,
    /// Who has aborted.
    pub aborted: NodeSet,
}

impl Values {
    /// One participant's vote.
    pub fn vote(participant: NodeId, vote: Vote) -> Self {
        let own = NodeSet::from_iter([participant]);
        match vote {
            Vote::Yes => Self {
                prepared: own,
                aborted: NodeSet::EMPTY,
            },
            Vote::No => Self {
                prepared: NodeSet::EMPTY,
                aborted: own,
            },
        }
    }

    /// The instances that have a value.
    pub fn instances(self) -> NodeSet {
        self.prepared.union(self.aborted)
    }

    /// True if no instance has two values. Of what a node of ours sends it is always true.
    pub fn is_sound(self) -> bool {
        self.prepared.is_disjoint(self.aborted)
    }

    /// Adds those of instances that have none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let known = self.instances();
        Self {
            prepared: self.prepared.union(other.prepared.difference(known)),
            aborted: self.aborted.union(other.aborted.difference(known)),
        }
    }

    /// The same for these participants and no others, where whoever has no value has aborted.
    #[must_use]
    pub fn or_aborted(self, participants: NodeSet) -> Self {
        let prepared = self.prepared.intersection(participants);
        Self {
            prepared,
            aborted: participants.difference(prepared),
        }
    }
}

/// All that an acceptor knows of a transaction, on its disk.
///
/// A leader asks and proposes for all instances at once, so they have one promise. And as a proposal
/// of a higher ballot has a value for every instance, all that was accepted last was accepted in one
/// ballot: in ballot 0 a vote here and there, above it everything.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Acceptance {
    /// Nothing is accepted any more in a lower ballot than this.
    pub promised: Ballot,
    /// The ballot in which `values` were accepted.
    pub accepted: Ballot,
    /// What was accepted last.
    pub values: Values,
}

impl Acceptance {
    /// Phase 1: promises to accept nothing below `ballot`. False if it has promised more.
    pub fn promise(&mut self, ballot: Ballot) -> bool {
        if ballot < self.promised {
            return false;
        }
        self.promised = ballot;
        true
    }

    /// Phase 2: accepts what is proposed. False if it has promised more.
    pub fn accept(&mut self, ballot: Ballot, values: Values) -> bool {
        if !self.promise(ballot) {
            return false;
        }
        // In ballot 0 each participant proposes for itself, and a vote is not taken back.
        self.values = match ballot {
            Ballot::Zero => self.values.or(values),
            Ballot::Led { .. } => values,
        };
        self.accepted = ballot;
        true
    }
}

impl PaxosCommit {
    /// Phase 1, at an acceptor.
    pub(super) fn on_phase_1a(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        ballot: Ballot,
        out: &mut Outbox<Self>,
    ) {
        if !self.acceptors.contains(self.me) || !self.members.contains(from) {
            return; // It is no acceptor, or is asked by nobody who may.
        }
        if !ballot.is_led_by(from) {
            return; // A leader asks for its own ballot.
        }
        let acceptances = &mut state.durable.acceptances;
        let acceptance = acceptances.entry_or_insert_with(transaction, Acceptance::default);
        let answer = if acceptance.promise(ballot) {
            Message::Phase1b {
                transaction,
                ballot,
                accepted: acceptance.accepted,
                values: acceptance.values,
            }
        } else {
            Message::Overtaken {
                transaction,
                ballot,
                round: acceptance.promised.round(),
            }
        };
        self.send(state, from, answer, out);
    }

    /// Phase 2, at an acceptor.
    pub(super) fn on_phase_2a(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        participants: NodeSet,
        (ballot, values): (Ballot, Values),
        out: &mut Outbox<Self>,
    ) {
        if !self.acceptors.contains(self.me) || !self.members.contains(from) {
            return; // It is no acceptor, or is asked by nobody who may.
        }
        let (leader, is_owner) = match ballot {
            // A participant proposes in its own instance, and the coordinator listens.
            Ballot::Zero => {
                let own = values.instances() == NodeSet::from_iter([from]);
                (transaction.coordinator, own && participants.contains(from))
            }
            Ballot::Led { leader, .. } => {
                (leader, leader == from && values.instances() == participants)
            }
        };
        if !is_owner || !values.is_sound() {
            return; // Nobody of ours proposes this.
        }
        let acceptances = &mut state.durable.acceptances;
        let acceptance = acceptances.entry_or_insert_with(transaction, Acceptance::default);
        let is_accepted = acceptance.accept(ballot, values);
        let Acceptance {
            promised, values, ..
        } = *acceptance;
        if is_accepted {
            // §4.2: one message for all instances. In ballot 0 it waits for all votes, or for a no.
            let waits = values.instances() != participants && values.aborted.is_empty();
            if ballot != Ballot::Zero || !waits {
                let accepted = Message::Phase2b {
                    transaction,
                    ballot,
                    values,
                };
                self.send(state, leader, accepted, out);
            }
        } else if ballot != Ballot::Zero {
            let overtaken = Message::Overtaken {
                transaction,
                ballot,
                round: promised.round(),
            };
            self.send(state, leader, overtaken, out);
        }
    }
}
