//! The register of Attiya, Bar-Noy and Dolev as stateright's own example has it, on both sides of a
//! comparison: as stateright's actors ([`baseline`]) and as machines in our world ([`world`]).
//!
//! The protocol is that of `linearizable-register.rs`, the clients are stateright's `RegisterActor`
//! and do the same in our world, the history is kept by the same tester, and the promises are the
//! same two. Both sides have the network of our world: a set that only grows, of which anything may
//! arrive at any time. So they have the same states, and the benchmark asserts that.
//!
//! One rule is added to the example on both sides: a server takes up each request once. The
//! example's takes up a put again when it arrives again, under a newer version. On a network that
//! repeats it thus has infinitely many states, and is not linearizable.
//!
//! The two sides do not make the same number of transitions. A delivery that only sends again what
//! was sent before (a server answers a repeated query) leads stateright from a state to itself, and
//! is counted; in our world it is none. Those self-loops are the whole difference. Two servers and
//! two clients that put once have 7,451 states: stateright generates 57,367, of which 37,722 are
//! self-loops, and our search generates the other 19,645.

mod baseline;
mod world;

pub(crate) use baseline::baseline;
pub(crate) use world::world;

/// The promise that is kept: what clients see is what one register would have shown them.
const LINEARIZABLE: &str = "linearizable";
/// The promise that this is not hollow: somebody gets what somebody put.
const VALUE_CHOSEN: &str = "value chosen";

/// How large the system is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// How many replicas. A client makes its *k*th call at server (its name + *k*) mod `servers`,
    /// counted from 0.
    pub(crate) servers: usize,
    /// For each client, how often it puts before it gets.
    pub(crate) puts: &'static [usize],
    /// How many states there are.
    pub(crate) states: usize,
}
