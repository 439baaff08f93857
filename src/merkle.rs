//! Merkle trees.

mod hasher;

pub use hasher::Hasher;
