//! A keyed tree: one digest for a whole map, and quick ways to where two maps differ.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Hasher;
use crate::data::Map;
use crate::machine::Value;

/// A hash function that also says where a key belongs.
pub trait Places: Hasher {
    /// Where in the tree: keys are spread evenly over all of 64 bits, and nobody chooses them so that many
    /// come to one place.
    fn position(&self, key: &str) -> u64;
}

#[cfg(feature = "udp")]
impl Places for super::Sha256 {
    fn position(&self, key: &str) -> u64 {
        let digest = self.leaf(key.as_bytes());
        digest
            .0
            .iter()
            .take(8)
            .fold(0, |position, byte| position << 8 | u64::from(*byte))
    }
}

/// How a tree branches. Everyone who compares trees has to agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// A node that branches has 2 to this power children; from 1 to 4.
    pub fan_bits: u8,
    /// A place with no more keys than this does not branch; not 0.
    pub bucket_max: u32,
}

/// A place in a tree: all positions that begin with these bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// How many branchings lead to it.
    pub depth: u8,
    /// The bits, as a number.
    pub prefix: u64,
}

/// Its bits, or `root`.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.depth {
            0 => f.write_str("root"),
            depth => write!(f, "{:x} at depth {depth}", self.prefix),
        }
    }
}

impl Place {
    /// All positions.
    pub const ROOT: Self = Self {
        depth: 0,
        prefix: 0,
    };

    /// True if there is such a place in a tree of this shape.
    pub fn is_in(self, shape: Shape) -> bool {
        let bits = u32::from(self.depth) * u32::from(shape.fan_bits);
        self.depth <= shape.depth_max() && (bits == 64 || self.prefix >> bits == 0)
    }

    /// The places below, in order.
    pub fn children(self, shape: Shape) -> impl Iterator<Item = Self> {
        let depth = self.depth + 1;
        let first = self.prefix << shape.fan_bits;
        (0..shape.fan()).map(move |child| Self {
            depth,
            prefix: first | child,
        })
    }

    /// The first and the last of its positions.
    fn positions(self, shape: Shape) -> (u64, u64) {
        let bits = u32::from(self.depth) * u32::from(shape.fan_bits);
        let rest = u64::MAX.checked_shr(bits).unwrap_or(0);
        let first = self.prefix.checked_shl(64 - bits).unwrap_or(0);
        (first, first | rest)
    }

    /// The place below that has this position.
    fn towards(self, position: u64, shape: Shape) -> Self {
        let depth = self.depth + 1;
        let bits = u32::from(depth) * u32::from(shape.fan_bits);
        Self {
            depth,
            prefix: position >> (64 - bits),
        }
    }
}

impl Shape {
    fn fan(self) -> u64 {
        1 << self.fan_bits
    }

    /// Where all bits of a position are used up. Places there never branch.
    fn depth_max(self) -> u8 {
        64 / self.fan_bits
    }
}

/// A tree over the keys of a map, each with a digest of what the map has there.
///
/// Its shape follows from the keys alone: a place branches if and only if it has more keys than fit a
/// bucket. So equal maps have equal trees, whatever happened to them before, and two trees of one root have
/// the same keys with the same digests: below a place that branches are the digests of its children, in
/// order, and below one that does not those of its keys, which have the keys in them.
///
/// It is two sorted maps and no pointers, so that versions of it share structure, and a walk is a loop of
/// look-ups. After a change one digest is made anew for each branching on the way, some `log(n)` of
/// them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Keyed<D: Value> {
    nodes: Map<Place, Node<D>>,
    /// By position, and by key where positions are the same.
    leaves: Map<(u64, String), D>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
struct Node<D: Value> {
    count: u64,
    digest: D,
}

impl<D: Value> Default for Keyed<D> {
    fn default() -> Self {
        Self {
            nodes: Map::default(),
            leaves: Map::default(),
        }
    }
}

/// Where two trees differ, and what it took to find out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The keys that one has and the other has not, or has with another digest, by position.
    pub keys: Vec<String>,
    /// How many pairs of digests were compared.
    pub compared: usize,
}

impl<D: Value> Keyed<D> {
    /// The tree of all these keys with their digests, made at once.
    pub fn of<H: Places<Digest = D>>(
        hasher: &H,
        shape: Shape,
        entries: impl IntoIterator<Item = (String, D)>,
    ) -> Self {
        let leaves = entries.into_iter();
        let leaves = leaves.map(|(key, digest)| ((hasher.position(&key), key), digest));
        let mut tree = Self {
            nodes: Map::default(),
            leaves: leaves.collect(),
        };
        tree.build(hasher, shape, Place::ROOT);
        tree
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Gives the key this digest.
    pub fn insert<H: Places<Digest = D>>(
        &mut self,
        hasher: &H,
        shape: Shape,
        key: &str,
        digest: D,
    ) {
        let position = hasher.position(key);
        self.leaves.insert((position, key.into()), digest);
        self.refresh(hasher, shape, position);
    }

    /// Takes the key out.
    pub fn remove<H: Places<Digest = D>>(&mut self, hasher: &H, shape: Shape, key: &str) {
        let position = hasher.position(key);
        if self.leaves.remove(&(position, key.into())).is_some() {
            self.refresh(hasher, shape, position);
        }
    }

    /// The digest of all that is at the place.
    pub fn digest<H: Places<Digest = D>>(&self, hasher: &H, shape: Shape, place: Place) -> D {
        if let Some(node) = self.nodes.get(&place) {
            return node.digest.clone();
        }
        // Below a bucket nothing is kept, and what is there is little.
        self.of_bucket(hasher, shape, place)
    }

    /// The digests of the places below, in order.
    pub fn children<H: Places<Digest = D>>(
        &self,
        hasher: &H,
        shape: Shape,
        place: Place,
    ) -> Vec<D> {
        let children = place.children(shape);
        children
            .map(|child| self.digest(hasher, shape, child))
            .collect()
    }

    /// True if there are more keys at the place than fit a bucket.
    pub fn branches(&self, shape: Shape, place: Place) -> bool {
        let node = self.nodes.get(&place);
        place.depth < shape.depth_max()
            && node.is_some_and(|node| node.count > u64::from(shape.bucket_max))
    }

    /// The keys at the place, by position.
    pub fn keys(&self, shape: Shape, place: Place) -> impl Iterator<Item = &String> {
        self.at(shape, place).map(|(key, _)| key)
    }

    /// Where it differs from another tree of the same shape. Complete, and in proportion to what differs:
    /// what has one digest is not looked into.
    pub fn difference<H: Places<Digest = D>>(
        &self,
        hasher: &H,
        shape: Shape,
        other: &Self,
    ) -> Difference {
        let mut difference = Difference::default();
        let mut places = alloc::vec![Place::ROOT];
        while let Some(place) = places.pop() {
            difference.compared += 1;
            if self.digest(hasher, shape, place) == other.digest(hasher, shape, place) {
                continue;
            }
            // As long as one of them branches: the other has few keys there, or none.
            if self.branches(shape, place) || other.branches(shape, place) {
                let children: Vec<Place> = place.children(shape).collect();
                places.extend(children.into_iter().rev());
                continue;
            }
            difference.keys.extend(self.differing(shape, other, place));
        }
        difference
    }

    fn differing(&self, shape: Shape, other: &Self, place: Place) -> Vec<String> {
        let ours: Map<&String, &D> = self.at(shape, place).collect();
        let theirs: Map<&String, &D> = other.at(shape, place).collect();
        let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).copied().collect();
        keys.retain(|key| ours.get(key) != theirs.get(key));
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().cloned().collect()
    }

    fn at(&self, shape: Shape, place: Place) -> impl Iterator<Item = (&String, &D)> {
        let (first, last) = place.positions(shape);
        let from = (first, String::new());
        let leaves = self.leaves.range(from..);
        let leaves = leaves.take_while(move |((position, _), _)| *position <= last);
        leaves.map(|((_, key), digest)| (key, digest))
    }

    fn of_bucket<H: Places<Digest = D>>(&self, hasher: &H, shape: Shape, place: Place) -> D {
        let digests = self.at(shape, place).map(|(_, digest)| digest.clone());
        joined(hasher, digests)
    }

    /// Makes anew what a change at this position changed.
    fn refresh<H: Places<Digest = D>>(&mut self, hasher: &H, shape: Shape, position: u64) {
        let mut path = Vec::new();
        let mut place = Place::ROOT;
        while self.branches(shape, place) {
            path.push(place);
            place = place.towards(position, shape);
        }
        self.build(hasher, shape, place);
        for place in path.into_iter().rev() {
            self.join(hasher, shape, place);
        }
    }

    /// Makes anew all that is kept of the place and below.
    fn build<H: Places<Digest = D>>(&mut self, hasher: &H, shape: Shape, place: Place) {
        let few = usize::try_from(shape.bucket_max).unwrap_or(usize::MAX);
        let keys = self.at(shape, place).take(few.saturating_add(1));
        let count = keys.count();
        if count > few && place.depth < shape.depth_max() {
            for child in place.children(shape) {
                self.build(hasher, shape, child);
            }
            return self.join(hasher, shape, place);
        }
        if count == 0 {
            self.nodes.remove(&place);
            return;
        }
        let count = self.at(shape, place).count();
        let digest = self.of_bucket(hasher, shape, place);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.nodes.insert(place, Node { count, digest });
    }

    /// Makes a node of those below; or a bucket again, if they have become few.
    fn join<H: Places<Digest = D>>(&mut self, hasher: &H, shape: Shape, place: Place) {
        let below = place
            .children(shape)
            .filter_map(|child| self.nodes.get(&child));
        let count = below.map(|node| node.count).sum();
        if count <= u64::from(shape.bucket_max) {
            for child in place.children(shape) {
                self.nodes.remove(&child);
            }
            return self.build(hasher, shape, place);
        }
        let digest = joined(hasher, self.children(hasher, shape, place));
        self.nodes.insert(place, Node { count, digest });
    }
}

/// One digest for a list of them: that of nothing, of the only one, or of a node above the first ones
/// and the last.
fn joined<H: Hasher>(hasher: &H, digests: impl IntoIterator<Item = H::Digest>) -> H::Digest {
    let digests = digests.into_iter();
    let joined = digests.reduce(|first, last| hasher.node(&first, &last));
    joined.unwrap_or_else(|| hasher.empty())
}
