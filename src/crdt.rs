//! # Values that converge
//!
//! State-based CRDTs: values that replicas change each for itself, and merge in any order, as often as
//! they like, and are then equal. Of each type the states form a *join-semilattice*: there is an order
//! in which every update goes up, and a merge is the least state above both. So a merge loses nothing,
//! and it does not matter what came first, twice or by which way.
//!
//! | | what it is |
//! |---|---|
//! | [`GCounter`] | a count that grows |
//! | [`PnCounter`] | a count that grows and shrinks |
//! | [`OrSet`] | a set, from which a remove takes the adds that it has seen, and no others |
//! | [`LwwRegister`] | a value, of which the last write stays |
//! | [`MvRegister`] | a value, of which all writes stay that nobody has overwritten |
//!
//! - **Source.** Shapiro, Preguiça, Baquero, Zawirski, *A Comprehensive Study of Convergent and
//!   Commutative Replicated Data Types*, INRIA RR-7506, 2011: specifications 6, 7, 9, 10, 15; Bieniusa et
//!   al., *An Optimized Conflict-Free Replicated Set*, INRIA RR-8083, 2012, for the set.
//! - **Assumes.** A replica never forgets its own updates, and no two share a name. What is merged is a
//!   whole state, never a part.
//! - **Leaves out.** Deltas; forgetting the entries of replicas that left.

use core::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::clock::{Exhausted, Siblings, Stamp, Vector};
use crate::machine::NodeId;

mod set;

pub use set::OrSet;

/// A value with a join: commutative, associative and idempotent.
pub trait Join {
    /// The least value that is above both.
    fn join(&mut self, other: &Self);
}

impl Join for Vector {
    fn join(&mut self, other: &Self) {
        self.merge(other);
    }
}

/// A count that grows: of each replica, how often it added one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GCounter(Vector);

impl GCounter {
    /// `me` adds one.
    ///
    /// # Errors
    ///
    /// If its count is at its end. Nothing was changed.
    pub fn add(&mut self, me: NodeId) -> Result<(), Exhausted> {
        self.add_many(me, 1)
    }

    /// `me` adds one so many times.
    ///
    /// # Errors
    ///
    /// If its count would be past its end. Nothing was changed.
    pub fn add_many(&mut self, me: NodeId, times: u64) -> Result<(), Exhausted> {
        let count = self.0.get(me).checked_add(times).ok_or(Exhausted)?;
        self.0.merge(&Vector::from_iter([(me, count)]));
        Ok(())
    }

    /// The count.
    pub fn value(&self) -> u128 {
        self.0.iter().map(|(_, count)| u128::from(count)).sum()
    }
}

impl Join for GCounter {
    fn join(&mut self, other: &Self) {
        // The larger of the two counts of each replica. Their sum would count what both know twice.
        self.0.merge(&other.0);
    }
}

/// A count that grows and shrinks: two that grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PnCounter {
    /// What was added.
    pub added: GCounter,
    /// What was taken away.
    pub taken: GCounter,
}

impl PnCounter {
    /// The count. Sums of fewer than 2^63 replicas do not overflow it.
    pub fn value(&self) -> i128 {
        let signed = |count: u128| i128::try_from(count).unwrap_or(i128::MAX);
        signed(self.added.value()) - signed(self.taken.value())
    }
}

impl Join for PnCounter {
    fn join(&mut self, other: &Self) {
        self.added.join(&other.added);
        self.taken.join(&other.taken);
    }
}

/// A value, of which the last write stays: by Lamport's total order, so that no effect loses to its
/// cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LwwRegister<T> {
    /// When and where it was written, and what.
    pub latest: Option<(Stamp, T)>,
}

impl<T> Default for LwwRegister<T> {
    fn default() -> Self {
        Self { latest: None }
    }
}

impl<T> LwwRegister<T> {
    /// `me` writes, later than all that it knows of.
    ///
    /// # Errors
    ///
    /// If there is no later time. Nothing was changed.
    pub fn write(&mut self, me: NodeId, value: T) -> Result<(), Exhausted> {
        let before = self.latest.as_ref().map_or(0, |(stamp, _)| stamp.time);
        let time = before.checked_add(1).ok_or(Exhausted)?;
        self.latest = Some((Stamp { time, node: me }, value));
        Ok(())
    }

    /// The value, if one was written.
    pub fn value(&self) -> Option<&T> {
        self.latest.as_ref().map(|(_, value)| value)
    }
}

impl<T: Clone> Join for LwwRegister<T> {
    fn join(&mut self, other: &Self) {
        let stamp = |register: &Self| register.latest.as_ref().map(|(stamp, _)| *stamp);
        if stamp(self) < stamp(other) {
            self.latest.clone_from(&other.latest);
        }
    }
}

/// A value, of which all writes stay that nobody has overwritten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct MvRegister<T>(Siblings<T>);

impl<T> Default for MvRegister<T> {
    fn default() -> Self {
        Self(Siblings::default())
    }
}

impl<T> MvRegister<T> {
    /// `me` overwrites all that it knows of.
    ///
    /// # Errors
    ///
    /// If its count is at its end. Nothing was changed.
    pub fn write(&mut self, me: NodeId, value: T) -> Result<(), Exhausted> {
        let context = self.0.context();
        self.0.write(me, &context, value).map(|_| ())
    }

    /// The values that nobody has overwritten.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.values()
    }
}

impl<T: Clone> Join for MvRegister<T> {
    fn join(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }
}
