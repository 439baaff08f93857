//! The hash function of the checker: a free term algebra. A digest is what it is the digest of, so that
//! two are equal if and only if they are of the same thing.

use std::fmt;

use quorate::merkle::Hasher;
use serde::{Deserialize, Serialize};

/// A digest.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Term {
    /// Of no entries.
    #[default]
    Empty,
    /// Of an entry.
    Leaf(Vec<u8>),
    /// Of the node above two others.
    Node(Box<(Term, Term)>),
}

/// An entry in brackets, two digests in parentheses. It is also what the digest is as bytes.
impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "nothing"),
            Self::Leaf(bytes) => write!(f, "[{}]", bytes.escape_ascii()),
            Self::Node(sides) => write!(f, "({:?} {:?})", sides.0, sides.1),
        }
    }
}

impl Term {
    /// The entries below, from left to right.
    pub fn entries(&self) -> Vec<&[u8]> {
        match self {
            Self::Empty => Vec::new(),
            Self::Leaf(bytes) => vec![bytes],
            Self::Node(sides) => {
                let mut entries = sides.0.entries();
                entries.extend(sides.1.entries());
                entries
            }
        }
    }
}

/// Two digests as bytes, one after the other: what a node is the hash of.
pub fn joined(left: &Term, right: &Term) -> String {
    format!("{left:?}{right:?}")
}

/// The hash function that nobody finds two things for: there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Free;

impl Hasher for Free {
    type Digest = Term;

    fn empty(&self) -> Term {
        Term::Empty
    }

    fn leaf(&self, bytes: &[u8]) -> Term {
        Term::Leaf(bytes.to_vec())
    }

    fn node(&self, left: &Term, right: &Term) -> Term {
        Term::Node(Box::new((left.clone(), right.clone())))
    }
}
