//! Dotted version vectors: which writes of a key stand beside each other, however many clients wrote
//! through however few replicas.
//!
//! A version vector with one entry per *replica* cannot tell two clients of one replica apart: the
//! second to arrive has the larger count and seems to have overwritten the first. So a version is
//! named by a [`Dot`], the one write it is, apart from its past, the writes its client had read.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Exhausted, Vector};
use crate::machine::NodeId;

/// The name of one write: the `counter`-th that `node` accepted, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// The replica that accepted it.
    pub node: NodeId,
    /// Which of its writes it is.
    pub counter: u64,
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.node, self.counter)
    }
}

/// A value that was written, and what its writer had read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version<T> {
    /// Which write it is.
    pub dot: Dot,
    /// The writes it overwrites.
    pub past: Vector,
    /// What was written.
    pub value: T,
}

impl<T: fmt::Debug> fmt::Debug for Version<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?} over {:?}", self.value, self.dot, self.past)
    }
}

impl<T> Version<T> {
    /// True if whoever wrote this had read `other`, or something that overwrote it. It is one
    /// comparison, however many replicas there are.
    pub fn overwrites(&self, other: &Self) -> bool {
        self.past.covers(other.dot)
    }
}

/// The versions of one key that a replica has, none of which overwrites another; none if nobody
/// wrote. Replicas exchange all of it, never a part: that is what lets a context say with one count
/// that all writes up to it are known.
///
/// ```
/// use quorate::clock::{Siblings, Vector};
/// use quorate::machine::NodeId;
///
/// let replica = NodeId(0);
/// let mut cart = Siblings::default();
/// // Two clients that have read nothing write through the same replica: both writes stand.
/// cart.write(replica, &Vector::new(), "milk")?;
/// cart.write(replica, &Vector::new(), "eggs")?;
/// assert_eq!(cart.values().collect::<Vec<_>>(), [&"milk", &"eggs"]);
/// // A third has read both, and overwrites both.
/// let read = cart.context();
/// cart.write(replica, &read, "milk and eggs")?;
/// assert_eq!(cart.values().collect::<Vec<_>>(), [&"milk and eggs"]);
/// # Ok::<(), quorate::clock::Exhausted>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Version<T>>")]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Siblings<T>(Vec<Version<T>>);

impl<T> Default for Siblings<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for Siblings<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<T> Siblings<T> {
    /// The versions, in the order of their dots.
    pub fn versions(&self) -> &[Version<T>] {
        &self.0
    }

    /// The values, in the order of their dots.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter().map(|version| &version.value)
    }

    /// What a client that reads this has read. It returns it with its next write.
    pub fn context(&self) -> Vector {
        let mut context = Vector::new();
        for version in &self.0 {
            context.merge(&version.past);
            context.raise(version.dot.node, version.dot.counter);
        }
        context
    }

    /// The replica `me` accepts a write of a client that had read `context`: everything it had read
    /// is overwritten, and nothing else.
    ///
    /// # Errors
    ///
    /// If there is no larger count. Nothing was changed.
    pub fn write(&mut self, me: NodeId, context: &Vector, value: T) -> Result<Dot, Exhausted> {
        // The count is of this replica's writes, read by this client or not.
        let count = self.context().get(me).max(context.get(me));
        let counter = count.checked_add(1).ok_or(Exhausted)?;
        let dot = Dot { node: me, counter };
        self.0.retain(|version| !context.covers(version.dot));
        self.insert(Version {
            dot,
            past: context.clone(),
            value,
        });
        Ok(dot)
    }

    /// Puts a version in its place. Of two under one dot, the one that is there stays.
    fn insert(&mut self, version: Version<T>) {
        let place = self.0.binary_search_by_key(&version.dot, |other| other.dot);
        if let Err(place) = place {
            self.0.insert(place, version);
        }
    }
}

impl<T: Clone> Siblings<T> {
    /// Takes over what another replica has: of the versions of both, those stay which none of the
    /// others overwrites.
    pub fn merge(&mut self, other: &Self) {
        let overwritten =
            |version: &Version<T>, by: &Self| by.0.iter().any(|new| new.overwrites(version));
        let newer = other.0.iter().filter(|new| !overwritten(new, self));
        let newer: Vec<Version<T>> = newer.cloned().collect();
        self.0.retain(|old| !overwritten(old, other));
        for version in newer {
            self.insert(version);
        }
    }
}

/// From the versions in the order of their dots, none of which overwrites another or itself.
impl<T> TryFrom<Vec<Version<T>>> for Siblings<T> {
    type Error = &'static str;

    fn try_from(versions: Vec<Version<T>>) -> Result<Self, Self::Error> {
        if !versions.is_sorted_by(|one, next| one.dot < next.dot) {
            return Err("siblings are not in the order of their dots");
        }
        if versions.iter().any(|version| version.dot.counter == 0) {
            return Err("writes are counted from 1");
        }
        let overwritten =
            |version: &Version<T>| versions.iter().any(|other| other.overwrites(version));
        if versions.iter().any(overwritten) {
            return Err("a sibling overwrites another");
        }
        Ok(Self(versions))
    }
}
