//! # Merkle trees
//!
//! One short digest, the *root*, that commits to a whole list of entries, and short proofs under it.
//! An [`Inclusion`] proves that an entry is in the list, at its place. A [`Consistency`] proves that a
//! list was only ever appended to. Whoever keeps nothing but a [`Head`], the size and the root, can so
//! hold whoever keeps the [`Log`] to what it said. That is what Certificate Transparency is made of.
//!
//! Hashes come from a [`Hasher`]: SHA-256 at run time, a free term algebra in the checker.
//!
//! - **Source.** Merkle, *A Digital Signature Based on a Conventional Encryption Function*, CRYPTO 1987;
//!   the tree, the proofs and the names of RFC 6962, *Certificate Transparency*, 2013, §2.1, which are
//!   those of RFC 9162, 2021, §2.1. Verification computes how long a proof has to be before it looks at
//!   any of it, as `transparency-dev/merkle` does; what is accepted is what RFC 9162 §2.1.3.2 and
//!   §2.1.4.2 accept.
//! - **Promises.** *a root has one list of entries*: no two lists share one. *an entry is where it is said to
//!   be*: under a head, an index has one entry. *a proof has one form*: an inclusion proof that is accepted is the one that
//!   the log would give. *what was accepted is a prefix of what is accepted later*: by a client that keeps its
//!   head and asks for consistency proofs. *those who agree share a history*: two clients that compared their
//!   heads, and were given a proof where the sizes differ, were shown prefixes of one list. *a fork is found*: two that were not,
//!   and compare, hold two heads of one size and different roots, which is proof against the log; or wait for a
//!   proof that cannot be given. *an honest log is never accused*. *clients catch up*: with an honest log that is reachable.
//! - **Assumes.** Nobody finds two things that hash alike. A head is signed, or comes over a channel that
//!   tells who sent it, and clients pass on what the log signed: a client that can make heads up makes
//!   others accuse an honest log. Entries are encoded so that different ones are different bytes. Of the log nothing.
//! - **Leaves out.** The clients themselves, which are a machine in the checker alone. Signatures, times
//!   and the maximum merge delay of Certificate Transparency. Proofs for several entries at once. Proving that
//!   something is *not* in a log, which takes a tree sorted by key.
//! - **The textbook says.** `MerkleTree` (chapter 8, Merkle trees) pairs a last node without a neighbour
//!   with itself, so that the list of three and the one with its last entry twice have one root, as Bitcoin's had
//!   (CVE-2012-2459; `one_list_falls_when_the_last_is_paired_with_itself`). It hashes entries and nodes alike
//!   (`one_list_falls_when_nodes_hash_like_entries`). Its proofs say on which side each hash goes, and are bound to neither
//!   an index nor a size (`place_falls_when_the_path_says_the_sides`), so that with all three an inner node is taken for an entry
//!   (`place_falls_with_the_textbooks_tree`). Of an entry that is not there it gives the proof of
//!   the only entry of a tree of one. `DistributedDataSync` joins the fields of an entry by colons
//!   (`place_falls_when_fields_are_joined`).

mod hasher;
pub mod keyed;
mod log;
mod proof;
#[cfg(feature = "udp")]
mod sha256;

pub use hasher::Hasher;
pub use log::Log;
pub use proof::{Consistency, Head, Inclusion, Refusal};
#[cfg(feature = "udp")]
pub use sha256::{Sha256, Sha256Digest};

/// The `k` of RFC 9162 §2.1.1: the largest power of two smaller than `size`, which is at least 2. So
/// many entries are left of the root.
fn split(size: u64) -> u64 {
    debug_assert!(size > 1, "a tree of one entry has no two sides");
    1 << (size - 1).ilog2()
}
