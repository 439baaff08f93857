//! Every corner: each set of safeguards, left out.

use super::exhibits::flawed;
use super::flaws::Flaw;
use super::worlds::WRITE_AND_READ_TWICE;
use super::{Bounds, MONOTONIC, REGULAR, Shape, bounds};
use crate::engine::{Options, Stop, Verdict, search, unwatched};

pub use super::flaws::{Safeguard, Safeguards};

/// What became of a ring change without some safeguards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corner {
    /// Which.
    pub without: Safeguards,
    /// The promise that fell, and in how many steps; none: both hold in every state.
    pub fell: Option<(&'static str, usize)>,
    /// How many states were looked at: all, if nothing fell.
    pub states: usize,
}

/// One of `factor + 1` nodes joins, and a client writes and reads twice, at any of two nodes. All sets of
/// safeguards are left out, one after the other: [`Safeguards::SETS`] of them, beginning with none.
pub fn corners(factor: u32) -> impl Iterator<Item = Corner> {
    (0..Safeguards::SETS).map(move |number| corner(factor, Safeguards::of(number)))
}

/// The same for one of them.
pub fn corner(factor: u32, without: Safeguards) -> Corner {
    let bounds = Bounds {
        factor,
        ..bounds(Shape::Join, WRITE_AND_READ_TWICE)
    };
    let flaw = Flaw::Without(without);
    let world = flawed(flaw, "corner", bounds).only(&[REGULAR, MONOTONIC]);
    let options = Options {
        stop: Stop::AtViolation,
        ..Options::default()
    };
    let found = search(&world, options, &mut unwatched);
    let steps = found.story.as_ref().map_or(0, Vec::len);
    let fell = match found.verdict {
        Verdict::Refuted { promise } => Some((promise, steps)),
        Verdict::Exhausted => None,
        Verdict::Bounded { .. } => panic!("the search was to look at every state"),
    };
    Corner {
        without,
        fell,
        states: found.unique,
    }
}
