//! The set from which a remove takes what it has seen.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Join;
use crate::clock::{Dot, Exhausted, Vector};
use crate::data::Map;
use crate::machine::NodeId;

/// A set in which each add has a name, a dot. A remove takes out the adds that its replica knows of;
/// one that is concurrent stays. A removed add leaves no tombstone, for a replica that has seen an add
/// and does not have it has seen it removed.
///
/// ```
/// use quorate::crdt::{Join, OrSet};
/// use quorate::machine::NodeId;
///
/// let mut here = OrSet::default();
/// here.add(NodeId(0), "milk")?;
/// let mut there = here.clone();
/// there.remove(&"milk");
/// here.add(NodeId(0), "milk")?;
/// there.join(&here);
/// assert!(there.contains(&"milk"), "nobody removed the second milk");
/// # Ok::<(), quorate::clock::Exhausted>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: Ord + Serialize",
    deserialize = "T: Ord + Clone + Deserialize<'de>"
))]
pub struct OrSet<T: Ord> {
    /// Which adds are known.
    seen: Vector,
    /// Those that were not removed, by increasing dot; no element without any.
    adds: Map<T, Vec<Dot>>,
}

impl<T: Ord> Default for OrSet<T> {
    fn default() -> Self {
        Self {
            seen: Vector::new(),
            adds: Map::new(),
        }
    }
}

impl<T: Ord + Clone> OrSet<T> {
    /// `me` adds an element. The adds of it that are known are one with this.
    ///
    /// # Errors
    ///
    /// If there is no name left. Nothing was changed.
    pub fn add(&mut self, me: NodeId, element: T) -> Result<(), Exhausted> {
        let counter = self.seen.tick(me)?;
        let dot = Dot { node: me, counter };
        self.adds.insert(element, Vec::from([dot]));
        Ok(())
    }

    /// Removes the adds of an element that are known.
    pub fn remove(&mut self, element: &T) {
        self.adds.remove(element);
    }

    /// True if the element is there.
    pub fn contains(&self, element: &T) -> bool {
        self.adds.contains_key(element)
    }

    /// The elements, increasing.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.adds.keys()
    }
}

impl<T: Ord + Clone> Join for OrSet<T> {
    fn join(&mut self, other: &Self) {
        let none = Vec::new();
        let elements = self.adds.keys().chain(other.adds.keys());
        let mut elements: Vec<T> = elements.cloned().collect();
        elements.sort_unstable();
        elements.dedup();
        let mut joined = Map::new();
        for element in elements {
            let ours = self.adds.get(&element).unwrap_or(&none);
            let theirs = other.adds.get(&element).unwrap_or(&none);
            // An add stays if both have it, or if one has it and it is news to the other.
            let stays =
                |dot: &&Dot, has: &[Dot], seen: &Vector| has.contains(dot) || !seen.covers(**dot);
            let kept = ours.iter().filter(|dot| stays(dot, theirs, &other.seen));
            let new = theirs.iter().filter(|dot| stays(dot, ours, &self.seen));
            let mut dots: Vec<Dot> = kept.chain(new).copied().collect();
            dots.sort_unstable();
            dots.dedup();
            if !dots.is_empty() {
                joined.insert(element, dots);
            }
        }
        self.adds = joined;
        self.seen.merge(&other.seen);
    }
}
