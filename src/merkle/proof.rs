//! Proofs, as those see them who have nothing but a head.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Hasher;
use crate::machine::Value;

/// What a log commits to: how many entries it has, and their root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "D: Value")]
pub struct Head<D> {
    /// How many entries.
    pub size: u64,
    /// Their root.
    pub root: D,
}

impl<D: fmt::Debug> fmt::Debug for Head<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under {:?}", self.size, self.root)
    }
}

/// The proof that an entry is in a log, at an index: the digests beside the way from the entry up to the
/// root. It says neither which entry nor which index nor which log: those are the verifier's to know.
///
/// Of a log of 2^32 entries it has 32 digests at most, which fit a datagram.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "D: Value")]
pub struct Inclusion<D>(pub Vec<D>);

/// The proof that a log is an older one with more appended: the digests of which the two roots are made. It
/// does not say which two: those are the verifier's to know.
///
/// Of a log of 2^32 entries it has 33 digests at most, which fit a datagram.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "D: Value")]
pub struct Consistency<D>(pub Vec<D>);

impl<D: fmt::Debug> fmt::Debug for Inclusion<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<D: fmt::Debug> fmt::Debug for Consistency<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a proof proves nothing. What was to be proven may be true all the same, but for
/// [`Refusal::NoSuchEntry`], [`Refusal::Shrunk`] and [`Refusal::Forked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A log of this size has no entry of this index.
    NoSuchEntry {
        /// The index.
        index: u64,
        /// The size.
        size: u64,
    },
    /// The older log is empty. Every log begins so: there is nothing to prove, and nothing proves it.
    NothingOlder,
    /// The log that is said to be the older has more entries.
    Shrunk {
        /// How many it has.
        older: u64,
        /// How many the newer one has.
        newer: u64,
    },
    /// Two logs of one size have different roots: neither is the older.
    Forked,
    /// The proof has fewer digests than any of this index or these sizes.
    TooShort {
        /// How many it would have.
        expected: u64,
        /// How many it has.
        found: u64,
    },
    /// The proof has more digests than any of this index or these sizes.
    TooLong {
        /// How many it would have.
        expected: u64,
        /// How many it has.
        found: u64,
    },
    /// It leads to another root than the head's. The entry, the index, the head or a digest is another
    /// than it was proven of.
    WrongRoot,
    /// It begins with another root than the older head's.
    WrongOlderRoot,
    /// It leads to another root than the newer head's.
    WrongNewerRoot,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchEntry { index, size } => {
                write!(f, "a log of {size} entries has none of index {index}")
            }
            Self::NothingOlder => write!(f, "of an empty log there is nothing to prove"),
            Self::Shrunk { older, newer } => {
                write!(
                    f,
                    "a log of {older} entries cannot come before one of {newer}"
                )
            }
            Self::Forked => write!(f, "two logs of one size have different roots"),
            Self::TooShort { expected, found } => {
                write!(f, "the proof has {found} digests, {expected} are needed")
            }
            Self::TooLong { expected, found } => {
                write!(f, "the proof has {found} digests, only {expected} are used")
            }
            Self::WrongRoot => write!(f, "the proof leads to another root"),
            Self::WrongOlderRoot => write!(f, "the proof begins with another root than the older"),
            Self::WrongNewerRoot => write!(f, "the proof leads to another root than the newer"),
        }
    }
}

impl core::error::Error for Refusal {}

/// The way up from an entry to the root: how many digests it passes.
struct Way {
    /// While there is something to the right of it. Bit *k* of the index then says on which side the
    /// *k*-th digest is: the left if it is 1.
    inner: usize,
    /// Along the right border, where every digest is on the left.
    border: usize,
}

impl Way {
    /// The way from the entry of this index to the root over `size` entries. `index` must be less.
    fn up(index: u64, size: u64) -> Self {
        debug_assert!(index < size, "the way begins at an entry");
        // Above the highest bit in which it differs from the last entry, both are on the border. There
        // a bit that is 0 is a level at which the border has no left neighbour, and nothing is hashed.
        let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
        let border = index.checked_shr(inner).unwrap_or(0).count_ones();
        Self {
            inner: inner as usize,
            border: border as usize,
        }
    }
}

/// A proof of the wrong length is refused before any of it is hashed.
fn measure<D>(path: &[D], expected: usize) -> Result<(), Refusal> {
    let [expected, found] = [expected as u64, path.len() as u64];
    if found < expected {
        return Err(Refusal::TooShort { expected, found });
    }
    if found > expected {
        return Err(Refusal::TooLong { expected, found });
    }
    Ok(())
}

impl<D: Value> Inclusion<D> {
    /// Verifies that `entry` is at `index` of the log with this head: RFC 9162 §2.1.3.2.
    ///
    /// `entry` is what was appended, not its digest, or a node could be passed off as one.
    ///
    /// # Errors
    ///
    /// If this does not prove it.
    pub fn verify<H: Hasher<Digest = D>>(
        &self,
        hasher: &H,
        entry: &[u8],
        index: u64,
        head: &Head<D>,
    ) -> Result<(), Refusal> {
        let size = head.size;
        if index >= size {
            return Err(Refusal::NoSuchEntry { index, size });
        }
        let way = Way::up(index, size);
        measure(&self.0, way.inner + way.border)?;
        let (inner, border) = self.0.split_at(way.inner);

        let mut root = hasher.leaf(entry);
        for (level, digest) in inner.iter().enumerate() {
            root = if index >> level & 1 == 1 {
                hasher.node(digest, &root)
            } else {
                hasher.node(&root, digest)
            };
        }
        for digest in border {
            root = hasher.node(digest, &root);
        }
        if root == head.root {
            Ok(())
        } else {
            Err(Refusal::WrongRoot)
        }
    }
}

impl<D: Value> Consistency<D> {
    /// Verifies that the log with the newer head is the one with the older, with more appended: RFC
    /// 9162 §2.1.4.2. Two equal heads need no proof, and an empty one proves it.
    ///
    /// # Errors
    ///
    /// If this does not prove it.
    pub fn verify<H: Hasher<Digest = D>>(
        &self,
        hasher: &H,
        older: &Head<D>,
        newer: &Head<D>,
    ) -> Result<(), Refusal> {
        if older.size > newer.size {
            return Err(Refusal::Shrunk {
                older: older.size,
                newer: newer.size,
            });
        }
        if older.size == 0 {
            return Err(Refusal::NothingOlder);
        }
        if older.size == newer.size {
            if older.root != newer.root {
                return Err(Refusal::Forked);
            }
            return measure(&self.0, 0);
        }
        // The largest complete subtree in which the older log ends. Both roots are made of it; all the
        // way up the newer one is also made of what is to the right of it, which the older did not have.
        let level = older.size.trailing_zeros();
        let last = older.size - 1;
        let way = Way::up(last, newer.size);
        let inner = way.inner - level as usize;
        let (shared, path) = if older.size.is_power_of_two() {
            // §2.1.4.2, step 2: it is all of the older log.
            measure(&self.0, inner + way.border)?;
            (&older.root, self.0.as_slice())
        } else {
            measure(&self.0, 1 + inner + way.border)?;
            match self.0.split_first() {
                Some(first) => first,
                None => return measure(&self.0, 1), // Never: it was measured.
            }
        };
        let (inner, border) = path.split_at(inner);

        let (mut old, mut new) = (shared.clone(), shared.clone());
        for (above, digest) in inner.iter().enumerate() {
            if last >> level >> above & 1 == 1 {
                old = hasher.node(digest, &old);
                new = hasher.node(digest, &new);
            } else {
                new = hasher.node(&new, digest);
            }
        }
        for digest in border {
            old = hasher.node(digest, &old);
            new = hasher.node(digest, &new);
        }
        if old != older.root {
            return Err(Refusal::WrongOlderRoot);
        }
        if new != newer.root {
            return Err(Refusal::WrongNewerRoot);
        }
        Ok(())
    }
}
