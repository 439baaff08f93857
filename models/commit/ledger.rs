//! What promises of atomic commit know of the past, whichever protocol decides.

use std::fmt;

use quorate::commit::{Call, Event, Outcome, Transaction, Vote, Writes};
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId};

use crate::ghost::Ghost;
use crate::promise::Told;

/// What is known of one transaction.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Known {
    branches: Map<NodeId, Writes>,
    yes: NodeSet,
    no: NodeSet,
    committed: NodeSet,
    aborted: NodeSet,
    timed_out: bool,
}

impl Known {
    fn new(branches: Map<NodeId, Writes>) -> Self {
        Self {
            branches,
            yes: NodeSet::EMPTY,
            no: NodeSet::EMPTY,
            committed: NodeSet::EMPTY,
            aborted: NodeSet::EMPTY,
            timed_out: false,
        }
    }

    fn participants(&self) -> NodeSet {
        self.branches.keys().copied().collect()
    }

    /// True if both write a key at this node.
    fn meets(&self, other: &Self, node: NodeId) -> bool {
        let (ours, theirs) = (self.branches.get(&node), other.branches.get(&node));
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return false;
        };
        ours.keys().any(|key| theirs.contains_key(key))
    }
}

/// What was told: who voted how and decided what, in which order where it matters.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    /// What was asked for and has no name yet.
    asked: Map<u64, Map<NodeId, Writes>>,
    known: Map<Transaction, Known>,
    /// The pairs of transactions that met, in the order in which they took effect somewhere.
    before: Map<(Transaction, Transaction), NodeSet>,
    /// Somebody decided twice and differently, or voted after it had decided.
    unstable: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.known.is_empty() {
            write!(f, "nothing was begun")?;
        }
        for (place, (transaction, known)) in self.known.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{transaction:?} of {}", known.participants())?;
            let sets = [
                ("yes", known.yes),
                ("no", known.no),
                ("committed", known.committed),
                ("aborted", known.aborted),
            ];
            for (word, nodes) in sets.iter().filter(|(_, nodes)| !nodes.is_empty()) {
                write!(f, ", {word} {nodes}")?;
            }
            if known.timed_out {
                write!(f, ", timed out")?;
            }
        }
        for ((first, second), nodes) in &self.before {
            write!(f, "; {first:?} before {second:?} at {nodes}")?;
        }
        if self.unstable {
            write!(f, "; somebody changed its mind")?;
        }
        Ok(())
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Ledger {
    fn ticket(call: &Call) -> Option<u64> {
        let Call::Begin { ticket, .. } = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket, .. } | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Begun { .. }
            | Event::Voted { .. }
            | Event::Decided { .. }
            | Event::TimedOut { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        let Call::Begin { ticket, branches } = call;
        self.asked.insert(*ticket, branches.clone());
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Begun {
                ticket,
                transaction,
            } => {
                let branches = self.asked.remove(ticket).unwrap_or_default();
                self.known.insert(*transaction, Known::new(branches));
            }
            Event::Refused { ticket, .. } => {
                self.asked.remove(ticket);
            }
            Event::Voted { transaction, vote } => {
                let Some(known) = self.known.get_mut(transaction) else {
                    return;
                };
                let decided = known.committed.union(known.aborted);
                self.unstable |= decided.contains(node);
                match vote {
                    Vote::Yes => known.yes.insert(node),
                    Vote::No => known.no.insert(node),
                };
            }
            Event::TimedOut { transaction } => {
                if let Some(known) = self.known.get_mut(transaction) {
                    known.timed_out = true;
                }
            }
            Event::Decided {
                transaction,
                outcome,
            } => {
                if *outcome == Outcome::Commit {
                    self.takes_effect(node, *transaction);
                }
                self.decides(node, *transaction, *outcome);
            }
            Event::Done {
                transaction,
                outcome,
                ..
            } => self.decides(node, *transaction, *outcome),
        }
    }
}

impl Ledger {
    fn decides(&mut self, node: NodeId, transaction: Transaction, outcome: Outcome) {
        let Some(known) = self.known.get_mut(&transaction) else {
            return;
        };
        let (same, other) = match outcome {
            Outcome::Commit => (&mut known.committed, known.aborted),
            Outcome::Abort => (&mut known.aborted, known.committed),
        };
        same.insert(node);
        self.unstable |= other.contains(node);
    }

    /// A commit takes effect: after every other one that did so here and wrote one of its keys.
    fn takes_effect(&mut self, node: NodeId, transaction: Transaction) {
        let Some(known) = self.known.get(&transaction) else {
            return;
        };
        let earlier: Vec<Transaction> = (self.known.iter())
            .filter(|(name, other)| {
                **name != transaction && other.committed.contains(node) && known.meets(other, node)
            })
            .map(|(name, _)| *name)
            .collect();
        for name in earlier {
            let pair = (name, transaction);
            (self.before.entry_or_insert_with(pair, NodeSet::default)).insert(node);
        }
    }

    pub(crate) fn agrees(&self) -> bool {
        let mut all = self.known.values();
        all.all(|known| known.committed.is_empty() || known.aborted.is_empty())
    }

    pub(crate) fn is_unanimous(&self) -> bool {
        let mut all = self.known.values();
        all.all(|known| known.committed.is_empty() || known.participants().is_subset(known.yes))
    }

    /// True if each abort has its cause in the transaction itself.
    pub(crate) fn aborts_have_causes_inside(&self) -> bool {
        let mut all = self.known.values();
        all.all(|known| known.aborted.is_empty() || known.timed_out || !known.no.is_empty())
    }

    pub(crate) fn has_one_order(&self) -> bool {
        let mut pairs = self.before.keys();
        pairs.all(|(first, second)| !self.before.contains_key(&(*second, *first)))
    }

    pub(crate) fn is_stable(&self) -> bool {
        !self.unstable
    }

    /// True if everybody has committed some transaction.
    pub(crate) fn everybody_commits(&self) -> bool {
        self.some(|known| known.participants().is_subset(known.committed))
    }

    /// True if some transaction aborts, though everybody voted yes.
    pub(crate) fn aborts_in_vain(&self) -> bool {
        self.some(|known| known.participants() == known.yes && !known.aborted.is_empty())
    }

    /// True if somebody voted no.
    pub(crate) fn somebody_refuses(&self) -> bool {
        self.some(|known| !known.no.is_empty())
    }

    /// True if two transactions that meet have taken effect.
    pub(crate) fn two_take_effect(&self) -> bool {
        !self.before.is_empty()
    }

    /// Who voted yes, and in which transaction.
    pub(crate) fn yes_votes(&self) -> impl Iterator<Item = (Transaction, NodeId)> {
        let each = |(name, known): (&Transaction, &Known)| {
            let name = *name;
            known.yes.iter().map(move |node| (name, node))
        };
        self.known.iter().flat_map(each)
    }

    /// True of some transaction.
    fn some(&self, is: impl Fn(&Known) -> bool) -> bool {
        self.known.values().any(is)
    }
}

/// True if each abort has its cause: in the transaction, or in one of the `crashes` that could happen.
pub(super) fn aborts_have_causes(told: &Told<'_, Ledger>, crashes: u32) -> bool {
    told.adversary.crashes < crashes || told.ghost.aborts_have_causes_inside()
}
