//! What a tree is hashed with: a parameter, so that a checker can put a free term algebra in its place.

use core::fmt::Debug;
use core::hash::Hash;

use crate::machine::Value;

/// A hash function for trees, with the three things that trees hash told apart.
///
/// The law, on which every promise of a tree rests: the digests of different things are different. Of
/// a cryptographic hash function that is an assumption, that nobody can find two that are not; of a
/// free term algebra it is true.
///
/// It belongs to a machine's configuration: a tree is made with one, and does not hold it.
pub trait Hasher: Clone + Debug + Eq + Ord + Hash + Send + Sync + 'static {
    /// What it gives.
    type Digest: Value;

    /// The digest of a tree without entries.
    fn empty(&self) -> Self::Digest;

    /// The digest of an entry. Never that of a node, whatever the bytes are.
    fn leaf(&self, bytes: &[u8]) -> Self::Digest;

    /// The digest of a node above two others, of which the left one is first.
    fn node(&self, left: &Self::Digest, right: &Self::Digest) -> Self::Digest;
}
