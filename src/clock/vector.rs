//! Vectors of counts, one per node: vector clocks, and version vectors.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::Exhausted;
use super::dotted::Dot;
use crate::data::Map;
use crate::machine::NodeId;

/// For each node, how many of its events are known; of a node that is not listed, none.
///
/// As a *vector clock* it is advanced at every event: [`tick`](Self::tick) when something happens or
/// is sent, [`receive`](Self::receive) when a message arrives. Two stamps then
/// [compare](Self::compare) as their events do. As a *version vector* it counts updates alone:
/// [`tick`](Self::tick) when a replica writes, [`merge`](Self::merge) when it takes over what another
/// has. The members need not be known beforehand.
///
/// The derived order is one for sorting and searching. Causes are told by [`compare`](Self::compare).
///
/// ```
/// use quorate::clock::{Relation, Vector};
/// use quorate::machine::NodeId;
///
/// let (mut here, mut there) = (Vector::default(), Vector::default());
/// here.tick(NodeId(0))?;
/// there.tick(NodeId(1))?;
/// assert_eq!(here.compare(&there), Relation::Concurrent);
/// there.receive(NodeId(1), &here)?;
/// assert_eq!(here.compare(&there), Relation::Before);
/// # Ok::<(), quorate::clock::Exhausted>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Map<NodeId, u64>", into = "Map<NodeId, u64>")]
pub struct Vector(Map<NodeId, u64>);

/// How two events, versions or stamps stand to each other. Exactly one is the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Relation {
    /// They are the same.
    Equal,
    /// The first is among the causes of the second.
    Before,
    /// The second is among the causes of the first.
    After,
    /// Neither could know of the other.
    Concurrent,
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Vector {
    /// The vector of no events.
    pub const fn new() -> Self {
        Self(Map::new())
    }

    /// How many events of `node` are known.
    pub fn get(&self, node: NodeId) -> u64 {
        self.0.get(&node).copied().unwrap_or(0)
    }

    /// The nodes of which events are known, increasing, and how many.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, u64)> {
        self.0.iter().map(|(node, count)| (*node, *count))
    }

    /// True if no event is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the event that the dot names is known.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.counter <= self.get(dot.node)
    }

    /// True if every event that `other` knows is known.
    pub fn dominates(&self, other: &Self) -> bool {
        other.iter().all(|(node, count)| count <= self.get(node))
    }

    /// How the two stand to each other.
    pub fn compare(&self, other: &Self) -> Relation {
        match (other.dominates(self), self.dominates(other)) {
            (true, true) => Relation::Equal,
            (true, false) => Relation::Before,
            (false, true) => Relation::After,
            (false, false) => Relation::Concurrent,
        }
    }

    /// Something happens at `me`: its new count.
    ///
    /// # Errors
    ///
    /// If there is no larger count. Nothing was changed.
    pub fn tick(&mut self, me: NodeId) -> Result<u64, Exhausted> {
        let count = self.get(me).checked_add(1).ok_or(Exhausted)?;
        self.0.insert(me, count);
        Ok(count)
    }

    /// What `other` knows is known here too. No event happens by that.
    pub fn merge(&mut self, other: &Self) {
        for (node, count) in other.iter() {
            self.raise(node, count);
        }
    }

    /// A message arrives at `me` that carries the vector of its sending: its new count. The receipt
    /// is an event.
    ///
    /// # Errors
    ///
    /// If there is no larger count. Nothing was changed.
    pub fn receive(&mut self, me: NodeId, sent: &Self) -> Result<u64, Exhausted> {
        let mut later = self.clone();
        later.merge(sent);
        let count = later.tick(me)?;
        *self = later;
        Ok(count)
    }

    /// The first `count` events of `node` are known, if they were not.
    pub(super) fn raise(&mut self, node: NodeId, count: u64) {
        if self.get(node) < count {
            self.0.insert(node, count);
        }
    }
}

/// Counts of the same node: the largest is taken.
impl FromIterator<(NodeId, u64)> for Vector {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(counts: I) -> Self {
        let mut vector = Self::new();
        for (node, count) in counts {
            vector.raise(node, count);
        }
        vector
    }
}

impl From<Vector> for Map<NodeId, u64> {
    fn from(vector: Vector) -> Self {
        vector.0
    }
}

/// A count of zero is not listed, so that equal vectors have one encoding.
impl TryFrom<Map<NodeId, u64>> for Vector {
    type Error = &'static str;

    fn try_from(counts: Map<NodeId, u64>) -> Result<Self, Self::Error> {
        if counts.values().any(|count| *count == 0) {
            return Err("a vector lists a node of which no event is known");
        }
        Ok(Self(counts))
    }
}
