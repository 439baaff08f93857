//! # Logical clocks
//!
//! What happened before what, told without a common clock. Event *e* *happens before* *f* if both are
//! at one node and *e* is first, or if *e* sent what *f* received, or by a chain of these: *e* could
//! have been a cause of *f*. Four clocks tell it, each a plain value that its owner keeps and sends:
//!
//! | | costs | tells |
//! |---|---|---|
//! | [`Lamport`] | a number | an order that no effect has before its cause |
//! | [`Hybrid`] | two numbers | the same, close to the time on the wall |
//! | [`Vector`] | a number per node | which of two was first, or that neither knew of the other |
//! | [`Siblings`] | the same, and a number per version | the same of writes that clients make through a few replicas |
//!
//! - **Source.** Lamport, *Time, Clocks, and the Ordering of Events in a Distributed System*, CACM
//!   21(7), 1978; Mattern, *Virtual Time and Global States of Distributed Systems*, 1988, and Fidge,
//!   *Timestamps in Message-Passing Systems That Preserve the Partial Ordering*, 1988, for vector
//!   clocks; Parker et al., *Detection of Mutual Inconsistency in Distributed Systems*, IEEE TSE 9(3),
//!   1983, for version vectors; Preguiça, Baquero, Almeida, Fonte, Gonçalves, *Dotted Version Vectors*,
//!   2010; Kulkarni, Demirbas, Madappa, Avva, Leone, *Logical Physical Clocks*, OPODIS 2014, for hybrid
//!   ones.
//! - **Promises.** *clock condition*: what happens before has the smaller stamp; of all but dotted ones, a
//!   restart between the two notwithstanding. *no two events share a stamp*: of Lamport's, with the node
//!   in it, so that the stamps are a total order. *strong clock condition*: vectors are ordered if and only if
//!   their events are. *nothing concurrent is lost* and *nothing overwritten is kept*: a replica's
//!   [`Siblings`] are exactly the writes it knows of that no other of them had read. *bounded by the
//!   physical clocks*: no hybrid clock is ahead of the fastest physical one, so none is further from its
//!   own than those are from each other. *counted by causes*: a hybrid counter is at most the number of
//!   causes that share its physical time, the beginning of all clocks among those at 0. *within the drift*: whatever arrives, no hybrid clock is further
//!   ahead of its physical one than is allowed.
//! - **Assumes.** A node keeps its clock on a disk that does not lie, with what it stamps. Nodes do not
//!   forge stamps; one that does breaks [`Lamport`] and [`Vector`], but drags a [`Hybrid`] no further than the
//!   drift allowed. Physical clocks may do anything. Replicas exchange all siblings of a key.
//! - **Leaves out.** Forgetting the entries of members that left, which takes proof that all have seen the
//!   last of them; interval tree clocks, for members without names; packing a hybrid time into 64 bits.
//! - **The textbook says.** `VectorClock` (chapter 8, causal consistency) calls equal clocks concurrent
//!   (`strong_clock_condition_falls_when_equal_is_concurrent`) and drops the counts of members that it did not
//!   know at first (`strong_clock_condition_falls_when_strangers_are_dropped`). Its CAP store versions what it writes
//!   by a count of its own that no message advances (`clock_condition_falls_without_the_receive_rule`).
//!   Logical clocks are recommended against skew; `VectorClock` is the only one written.

mod dotted;
mod hybrid;
mod lamport;
mod vector;

use core::fmt;

pub use dotted::{Dot, Siblings, Version};
pub use hybrid::{Hybrid, HybridTime, Refusal};
pub use lamport::{Lamport, Stamp};
pub use vector::{Relation, Vector};

/// There is no later time. Nothing was changed.
///
/// A count of 64 bits gets there by forgery alone; the counter of 32 bits in a [`HybridTime`] also by
/// as many events while physical time stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the clock has no later time")
    }
}

impl core::error::Error for Exhausted {}
