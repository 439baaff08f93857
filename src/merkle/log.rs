//! The log: what is appended to, and gives roots and proofs.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::proof::{Consistency, Head, Inclusion};
use super::{Hasher, split};
use crate::data::Seq;
use crate::machine::Value;

/// The digests of a list of entries that only grows. The entries themselves are kept elsewhere.
///
/// It keeps the digest of every complete subtree: two for each entry. Appending costs two hashes on
/// average; a root or a proof of any size that the log ever had costs one for each level at most. Versions
/// share structure, so that a clone is cheap.
///
/// A log is to be used with the hasher that it was made with.
///
/// ```
/// # #[cfg(feature = "udp")] {
/// use quorate::merkle::{Log, Sha256};
///
/// let mut log = Log::new();
/// for entry in ["a", "b", "c"] {
///     log.append(&Sha256, entry.as_bytes());
/// }
/// let older = log.head(&Sha256, 2).unwrap();
/// let newer = log.head(&Sha256, 3).unwrap();
/// let proof = log.inclusion(&Sha256, 1, 3).unwrap();
/// assert_eq!(proof.verify(&Sha256, b"b", 1, &newer), Ok(()));
/// let proof = log.consistency(&Sha256, 2, 3).unwrap();
/// assert_eq!(proof.verify(&Sha256, &older, &newer), Ok(()));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "", try_from = "Vec<Seq<D>>", into = "Vec<Seq<D>>")]
pub struct Log<D: Value> {
    /// At place *i* of level *k* is the root of the entries from *i* 2^*k* up to (*i* + 1) 2^*k*. None
    /// is empty.
    levels: Vec<Seq<D>>,
}

impl<D: Value> Default for Log<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Value> Log<D> {
    /// The log without entries.
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// How many entries there are.
    pub fn len(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Appends an entry, and gives its index: the first has 0.
    pub fn append<H: Hasher<Digest = D>>(&mut self, hasher: &H, entry: &[u8]) -> u64 {
        let index = self.len();
        let mut root = hasher.leaf(entry);
        for level in &mut self.levels {
            level.push(root.clone());
            let count = level.len();
            if count % 2 == 1 {
                return index; // Its right neighbour is still to come.
            }
            let Some(left) = level.get(count - 2) else {
                return index; // Never: the level has at least two.
            };
            root = hasher.node(left, &root);
        }
        self.levels.push(Seq::from_iter([root]));
        index
    }

    /// The head of the log as it was when it had `size` entries, or nothing if it never had.
    pub fn head<H: Hasher<Digest = D>>(&self, hasher: &H, size: u64) -> Option<Head<D>> {
        let root = if size == 0 {
            hasher.empty()
        } else {
            self.root(hasher, 0, size)?
        };
        Some(Head { size, root })
    }

    /// The proof that the entry at `index` is the one that the head of `size` entries has there, or
    /// nothing if there is no such entry: `PATH` of RFC 9162 §2.1.3.1.
    pub fn inclusion<H: Hasher<Digest = D>>(
        &self,
        hasher: &H,
        index: u64,
        size: u64,
    ) -> Option<Inclusion<D>> {
        if index >= size || size > self.len() {
            return None;
        }
        let mut path = Vec::new();
        // The subtree that has the entry, from the root down.
        let (mut start, mut end) = (0, size);
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(self.root(hasher, middle, end)?);
                end = middle;
            } else {
                path.push(self.root(hasher, start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Some(Inclusion(path))
    }

    /// The proof that the first `older` of `newer` entries are what they were when there were no
    /// more: `PROOF` of RFC 9162 §2.1.4.1. Nothing if the log never had so many, if `older` is the larger, or if
    /// it is 0, for of no entries there is nothing to prove. Between two equal sizes it is empty.
    pub fn consistency<H: Hasher<Digest = D>>(
        &self,
        hasher: &H,
        older: u64,
        newer: u64,
    ) -> Option<Consistency<D>> {
        if older == 0 || older > newer || newer > self.len() {
            return None;
        }
        let mut path = Vec::new();
        // The subtree in which the older log ends, from the root down.
        let (mut start, mut end) = (0, newer);
        while end != older {
            let middle = start + split(end - start);
            if older <= middle {
                path.push(self.root(hasher, middle, end)?);
                end = middle;
            } else {
                path.push(self.root(hasher, start, middle)?);
                start = middle;
            }
        }
        if start > 0 {
            // It is not the older log's root, which the verifier has.
            path.push(self.root(hasher, start, end)?);
        }
        path.reverse();
        Some(Consistency(path))
    }

    /// `MTH(D[start:end])` of RFC 9162 §2.1.1, of a range that is not empty and begins at a multiple of
    /// the smallest power of two that is not smaller than its length: all left parts of such ranges are complete.
    fn root<H: Hasher<Digest = D>>(&self, hasher: &H, start: u64, end: u64) -> Option<D> {
        let size = end - start;
        if size.is_power_of_two() {
            let level = self.levels.get(size.ilog2() as usize)?;
            return level.get(usize::try_from(start / size).ok()?).cloned();
        }
        let middle = start + split(size);
        let left = self.root(hasher, start, middle)?;
        let right = self.root(hasher, middle, end)?;
        Some(hasher.node(&left, &right))
    }
}

/// Of the digests only the number can be checked.
impl<D: Value> TryFrom<Vec<Seq<D>>> for Log<D> {
    type Error = &'static str;

    fn try_from(levels: Vec<Seq<D>>) -> Result<Self, Self::Error> {
        let halves = levels.windows(2);
        let mut halves = halves.map(|pair| pair[1].len() == pair[0].len() / 2);
        let ends = levels.last().is_none_or(|top| top.len() == 1);
        if halves.all(|half| half) && ends {
            Ok(Self { levels })
        } else {
            Err("a level of a log is not half of the one below")
        }
    }
}

impl<D: Value> From<Log<D>> for Vec<Seq<D>> {
    fn from(log: Log<D>) -> Self {
        log.levels
    }
}
