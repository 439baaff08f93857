//! The clients and the trees with one thing wrong.

use quorate::merkle::{Consistency, Hasher, Head};

use super::follower::{self, Comparison};
use super::reader::{self, Shown};
use super::specification::{included_root, roots};
use super::term::{Free, Term, joined};

/// What can be wrong with a client that follows a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlawedFollower {
    /// The proof says from how many entries on it is, and from none on it need prove nothing.
    SizeFromTheProof,
    /// A proof that the new head is the older one will do.
    EitherWay,
    /// The proof need not begin with the older root.
    OlderRootUnchecked,
    /// The proof need not lead to the newer root.
    NewerRootUnchecked,
    /// Heads that are equal need a proof too.
    EqualNeedsAProof,
    /// After a restart the client has no head.
    HeadForgotten,
    /// Of two heads the larger is the newer.
    LargerIsNewer,
    /// Heads of one size are the same.
    SizesAlone,
    /// Heads with different roots are a fork.
    NewerIsAFork,
}

impl follower::Rule for FlawedFollower {
    fn extends(
        &self,
        older: &Head<Term>,
        newer: &Head<Term>,
        claimed: u64,
        proof: &Consistency<Term>,
    ) -> bool {
        let right = |older, newer| follower::RightRule.extends(older, newer, claimed, proof);
        let led_to = roots(&Free, older, newer.size, &proof.0).filter(|_| claimed == older.size);
        match self {
            Self::SizeFromTheProof => claimed == 0 || right(older, newer),
            Self::EitherWay => right(older, newer) || right(newer, older),
            Self::OlderRootUnchecked => led_to.is_some_and(|(_, new)| new == newer.root),
            Self::NewerRootUnchecked => led_to.is_some_and(|(old, _)| old == older.root),
            Self::EqualNeedsAProof
            | Self::HeadForgotten
            | Self::LargerIsNewer
            | Self::SizesAlone
            | Self::NewerIsAFork => right(older, newer),
        }
    }

    fn compare(&self, mine: &Head<Term>, theirs: &Head<Term>) -> Comparison {
        match (self, follower::RightRule.compare(mine, theirs)) {
            (Self::LargerIsNewer, Comparison::Unknown) | (Self::SizesAlone, Comparison::Forked) => {
                Comparison::Agree
            }
            (Self::NewerIsAFork, Comparison::Unknown) => Comparison::Forked,
            (Self::EqualNeedsAProof, Comparison::Agree) => Comparison::Unknown,
            (_, right) => right,
        }
    }

    fn restart(&self, head: &mut Head<Term>) {
        if *self == Self::HeadForgotten {
            *head = follower::nothing();
        }
    }
}

/// What can be wrong with a tree, and with a client that reads from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlawedReader {
    /// The path says on which side each digest goes. It is bound neither to an index nor to a size.
    SidesFromThePath,
    /// The path says of which size it is.
    SizeFromThePath,
    /// What the path has beyond what is needed is not looked at.
    RestOfThePath,
    /// A last node without a neighbour is paired with itself.
    LastTwice,
    /// Nodes hash like entries.
    NodesLikeEntries,
    /// The fields of an entry are joined by colons.
    JoinedFields,
    /// The textbook's tree: all of the first, the fourth and the fifth.
    Textbook,
}

/// What flawed trees are hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Hashing {
    /// As it is meant.
    Free,
    /// A node is the entry of which the bytes are the two digests.
    NodesLikeEntries,
}

impl Hasher for Hashing {
    type Digest = Term;

    fn empty(&self) -> Term {
        Free.empty()
    }

    fn leaf(&self, bytes: &[u8]) -> Term {
        Free.leaf(bytes)
    }

    fn node(&self, left: &Term, right: &Term) -> Term {
        match self {
            Self::Free => Free.node(left, right),
            Self::NodesLikeEntries => Free.leaf(joined(left, right).as_bytes()),
        }
    }
}

/// The levels of the textbook's tree, from the entries up: of an odd one the last is paired with itself.
fn levels(hasher: Hashing, entries: &[Vec<u8>]) -> Vec<Vec<Term>> {
    let mut level: Vec<Term> = entries.iter().map(|entry| hasher.leaf(entry)).collect();
    let mut levels = vec![level.clone()];
    while level.len() > 1 {
        let pairs = level.chunks(2);
        let above = pairs.map(|pair| hasher.node(&pair[0], pair.last().unwrap_or(&pair[0])));
        level = above.collect();
        levels.push(level.clone());
    }
    levels
}

impl FlawedReader {
    fn pairs_the_last_with_itself(self) -> bool {
        matches!(self, Self::LastTwice | Self::Textbook)
    }
}

impl reader::Rule for FlawedReader {
    type Hasher = Hashing;

    fn hasher(&self) -> Hashing {
        match self {
            Self::NodesLikeEntries | Self::Textbook => Hashing::NodesLikeEntries,
            Self::SidesFromThePath
            | Self::SizeFromThePath
            | Self::RestOfThePath
            | Self::LastTwice
            | Self::JoinedFields => Hashing::Free,
        }
    }

    fn encode(&self, entry: &str) -> Vec<u8> {
        if *self == Self::JoinedFields {
            entry.replace('|', ":").into()
        } else {
            entry.into()
        }
    }

    fn root(&self, entries: &[String]) -> Term {
        let encoded = self.encoded(entries);
        if self.pairs_the_last_with_itself() {
            let levels = levels(self.hasher(), &encoded);
            return levels.concat().pop().unwrap_or_default();
        }
        super::specification::root(&self.hasher(), &encoded)
    }

    fn path(&self, index: usize, entries: &[String]) -> Vec<Term> {
        let encoded = self.encoded(entries);
        if !self.pairs_the_last_with_itself() {
            return super::specification::path(&self.hasher(), index, &encoded);
        }
        let levels = levels(self.hasher(), &encoded);
        let below = levels.iter().take(levels.len() - 1).enumerate();
        let beside = below.map(|(height, level)| {
            let own = index >> height;
            level.get(own ^ 1).unwrap_or(&level[own]).clone()
        });
        beside.collect()
    }

    fn includes(&self, index: u64, shown: &Shown) -> bool {
        let hasher = self.hasher();
        let entry = self.encode(&shown.entry);
        let Shown { head, path, .. } = shown;
        match self {
            // With the last paired with itself every path is as long as the tree is high, and the
            // index says the sides.
            Self::LastTwice => sided(hasher, &entry, index, &path.0) == head.root,
            Self::SidesFromThePath | Self::Textbook => {
                sided(hasher, &entry, shown.index, &path.0) == head.root
            }
            Self::SizeFromThePath => {
                let size = shown.size;
                included_root(&hasher, &entry, index, size, &path.0).as_ref() == Some(&head.root)
            }
            Self::RestOfThePath => (0..=path.0.len()).any(|needed| {
                let root = included_root(&hasher, &entry, index, head.size, &path.0[..needed]);
                root.as_ref() == Some(&head.root)
            }),
            Self::NodesLikeEntries | Self::JoinedFields => {
                path.verify(&hasher, &entry, index, head).is_ok()
            }
        }
    }
}

/// The root to which a path leads if the bits of `sides` say on which side of each digest it goes on.
fn sided(hasher: Hashing, entry: &[u8], sides: u64, path: &[Term]) -> Term {
    let levels = path.iter().enumerate();
    levels.fold(hasher.leaf(entry), |root, (level, digest)| {
        if sides >> level & 1 == 1 {
            hasher.node(digest, &root)
        } else {
            hasher.node(&root, digest)
        }
    })
}
