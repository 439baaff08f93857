//! What a participant keeps of the transactions it is asked to take part in: its votes and the
//! decisions, the locks that follow from them, and the values. Two-phase commit and Paxos Commit
//! differ in how they decide; what is decided upon is the same.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::NodeId;

/// The most bytes that the keys and values of one branch may have together, so that a message that
/// carries them fits one datagram.
pub const BRANCH_BYTES_MAX: usize = 896;
/// The most keys that one branch may write, for the same reason.
pub const BRANCH_KEYS_MAX: usize = 16;

/// What a transaction does at one participant: the keys it writes, with their new values.
pub type Writes = Map<String, String>;

/// A transaction's name, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transaction {
    /// Where it began.
    pub coordinator: NodeId,
    /// How often the coordinator had booted.
    pub incarnation: u64,
    /// A count within the incarnation.
    pub number: u64,
}

/// As one word, for states and stories are read by people.
impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            coordinator,
            incarnation,
            number,
        } = self;
        write!(f, "{coordinator}:{incarnation}#{number}")
    }
}

/// What a participant says when it is asked whether it can commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Vote {
    /// It can, whatever happens to it from now on, and will not abort of its own accord.
    Yes,
    /// It cannot. By this it has decided to abort.
    No,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// All of it happens.
    Commit,
    /// None of it does.
    Abort,
}

/// What a participant knows of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Branch {
    /// It voted yes and does not know the outcome. Until it does, the keys it would write are locked.
    Prepared {
        /// Who takes part, so that they can be asked.
        participants: NodeSet,
        /// What it is to write.
        writes: Writes,
    },
    /// It committed.
    Committed,
    /// It aborted, perhaps before it was asked to vote.
    Aborted,
}

/// All that a participant knows, on its disk.
///
/// There is no table of locks: a key is locked by the prepared branch that writes it, so that a lock
/// is as durable as the vote that it protects, and cannot outlive it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Branches {
    /// The transactions.
    pub known: Map<Transaction, Branch>,
    /// What committed transactions wrote.
    pub values: Map<String, String>,
}

/// One change of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BranchChange {
    /// This is known of a transaction.
    Known(Transaction, Branch),
    /// The key has this value.
    Value(String, String),
}

impl Branches {
    /// How the transaction ended, if this participant knows.
    pub fn outcome(&self, transaction: Transaction) -> Option<Outcome> {
        match self.known.get(&transaction)? {
            Branch::Prepared { .. } => None,
            Branch::Committed => Some(Outcome::Commit),
            Branch::Aborted => Some(Outcome::Abort),
        }
    }

    /// Who takes part in a transaction that this participant has voted yes in and not seen the end of.
    pub fn prepared(&self, transaction: Transaction) -> Option<NodeSet> {
        match self.known.get(&transaction)? {
            Branch::Prepared { participants, .. } => Some(*participants),
            Branch::Committed | Branch::Aborted => None,
        }
    }

    /// The transactions in which it has voted yes without having seen their end.
    pub fn in_doubt(&self) -> impl Iterator<Item = Transaction> {
        let prepared = |branch: &Branch| matches!(branch, Branch::Prepared { .. });
        (self.known.iter()).filter_map(move |(name, branch)| prepared(branch).then_some(*name))
    }

    /// Votes, and says whether it had not done so before. It votes no, and so aborts, if another
    /// transaction holds a key: nobody waits for a lock, so nobody waits in a circle. The vote is on
    /// the disk before it is said, so that it is the same when it is asked for again.
    pub fn vote(
        &mut self,
        transaction: Transaction,
        participants: NodeSet,
        writes: &Writes,
    ) -> (Vote, bool) {
        match self.known.get(&transaction) {
            Some(Branch::Prepared { .. } | Branch::Committed) => (Vote::Yes, false),
            Some(Branch::Aborted) => (Vote::No, false),
            None if writes.keys().any(|key| self.is_locked(key)) => {
                self.known.insert(transaction, Branch::Aborted);
                (Vote::No, true)
            }
            None => {
                let writes = writes.clone();
                let prepared = Branch::Prepared {
                    participants,
                    writes,
                };
                self.known.insert(transaction, prepared);
                (Vote::Yes, true)
            }
        }
    }

    /// Learns the outcome. True if that was news. A commit takes effect in the same step; what has
    /// been decided is not decided again.
    pub fn decide(&mut self, transaction: Transaction, outcome: Outcome) -> bool {
        let writes = match (self.known.get(&transaction), outcome) {
            // Of the second no honest node says it: nobody commits what this one has not voted for.
            (Some(Branch::Committed | Branch::Aborted), _) | (None, Outcome::Commit) => {
                return false;
            }
            (None | Some(Branch::Prepared { .. }), Outcome::Abort) => {
                self.known.insert(transaction, Branch::Aborted);
                return true;
            }
            (Some(Branch::Prepared { writes, .. }), Outcome::Commit) => writes.clone(),
        };
        self.known.insert(transaction, Branch::Committed);
        for (key, value) in &writes {
            self.values.insert(key.clone(), value.clone());
        }
        true
    }

    /// True if a transaction in doubt holds the key.
    pub fn is_locked(&self, key: &str) -> bool {
        self.locks().any(|lock| lock == key)
    }

    /// True if no two transactions in doubt hold one key.
    pub fn locks_are_exclusive(&self) -> bool {
        let mut locks: Vec<&str> = self.locks().collect();
        locks.sort_unstable();
        locks.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Every locked key, once for each transaction that holds it.
    fn locks(&self) -> impl Iterator<Item = &str> {
        let held = self.known.values().filter_map(|branch| match branch {
            Branch::Prepared { writes, .. } => Some(writes.keys()),
            Branch::Committed | Branch::Aborted => None,
        });
        held.flatten().map(String::as_str)
    }

    /// What was changed since `older`.
    pub fn changes_since<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = BranchChange> + use<'a> {
        let known = self.known.changed_since(&older.known);
        let known = known.map(|(name, branch)| BranchChange::Known(*name, branch.clone()));
        let values = self.values.changed_since(&older.values);
        known.chain(values.map(|(key, value)| BranchChange::Value(key.clone(), value.clone())))
    }

    /// Makes one change.
    pub fn apply(&mut self, change: BranchChange) {
        match change {
            BranchChange::Known(transaction, branch) => {
                self.known.insert(transaction, branch);
            }
            BranchChange::Value(key, value) => {
                self.values.insert(key, value);
            }
        }
    }
}

/// True if a message can carry the branch.
pub(crate) fn fits(writes: &Writes) -> bool {
    let bytes = |(key, value): (&String, &String)| key.len().saturating_add(value.len());
    writes.len() <= BRANCH_KEYS_MAX && writes.iter().map(bytes).sum::<usize>() <= BRANCH_BYTES_MAX
}
