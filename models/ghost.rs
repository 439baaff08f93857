//! The ghost: what promises know of the past.
//!
//! Promises are stated over what nodes *told*, never over the memory of a node that may be dead. But
//! a history is state, and every distinct history multiplies the states of a world. So each
//! protocol folds its events into the smallest value that its promises need, and that is its ghost.

use std::fmt::{self, Debug};
use std::hash::Hash;

use crate::symmetry::Renaming;
use quorate::machine::{Machine, NodeId};

/// A fold over what happened. It is part of the state and of its hash.
///
/// It must be a pure function of what it was told, in order: the world computes it once for each
/// distinct ghost and occurrence, and remembers.
pub trait Ghost<M: Machine>: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// Which call this is: the number that its reply will name. No two calls of a world share one.
    fn ticket(call: &M::Call) -> Option<u64>;

    /// Which call this event finishes, if it finishes one.
    fn finished(event: &M::Event) -> Option<u64>;

    /// A client makes a call at a node.
    fn on_call(&mut self, client: usize, node: NodeId, call: &M::Call) {
        let _ = (client, node, call);
    }

    /// A node tells.
    fn on_event(&mut self, node: NodeId, event: &M::Event) {
        let _ = (node, event);
    }

    /// The same past, if the nodes had other names: what [`World::symmetric`] needs of a ghost that
    /// remembers who did something.
    ///
    /// [`World::symmetric`]: crate::world::World::symmetric
    #[must_use]
    fn renamed(&self, names: &Renaming) -> Self {
        let _ = names;
        self.clone()
    }

    /// A node crashes. The calls under way at it have an unknown outcome from now on.
    fn on_crash(&mut self, node: NodeId) {
        let _ = node;
    }
}

/// The ghost of a world whose promises need no past. Calls and replies are not matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoGhost;

impl<M: Machine> Ghost<M> for NoGhost {
    fn ticket(_: &M::Call) -> Option<u64> {
        None
    }

    fn finished(_: &M::Event) -> Option<u64> {
        None
    }
}

/// The promises that were broken, for ghosts that judge as they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Breaches(Vec<&'static str>);

impl Breaches {
    /// Remembers it, if the promise is broken.
    pub fn note(&mut self, broken: bool, promise: &'static str) {
        if broken && !self.of(promise) {
            self.0.push(promise);
            self.0.sort_unstable();
        }
    }

    /// True if the promise was broken.
    pub fn of(&self, promise: &'static str) -> bool {
        self.0.contains(&promise)
    }
}

/// The end of a ghost's sentence: nothing, if none was broken.
impl fmt::Display for Breaches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, "; broken: {}", self.0.join(", "))
    }
}
