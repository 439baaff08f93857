//! What a world is without our engine, and without the reductions.

use std::time::Instant;

use quorate::machine::Machine;
use serde::Serialize;
use stateright::{Checker as _, Model as _};

use crate::action::Action;
use crate::engine::{Options, search, unwatched};
use crate::erased::Erased;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::world::World;

/// What stateright's own search found.
pub(super) struct Found<M: Machine> {
    pub(super) unique: usize,
    pub(super) generated: usize,
    pub(super) depth: usize,
    pub(super) seconds: f64,
    /// The promise that fell or never came true, and how it got there.
    pub(super) refuted: Option<(&'static str, Kind, Vec<Action<M>>)>,
}

/// Searches by stateright's breadth-first search, on one thread, every mirror image for itself.
pub(super) fn by_stateright<M: Machine, G: Ghost<M>>(world: World<M, G>) -> Found<M> {
    let started = Instant::now();
    let promises: Vec<(&'static str, Kind)> = (world.promises().iter())
        .map(|promise| (promise.name, promise.kind))
        .collect();
    let checker = Erased::new(world.asymmetric()).checker().spawn_bfs().join();
    let mut discovered = checker.discoveries();
    let refuted = promises.into_iter().find_map(|(name, kind)| {
        let met = discovered.remove(name);
        match kind {
            Kind::Always | Kind::Recovers { .. } => {
                let offers = met?.into_actions();
                Some((name, kind, offers.iter().map(Erased::action).collect()))
            }
            Kind::Sometimes => met.is_none().then(|| (name, kind, Vec::new())),
            Kind::Eventually => None,
        }
    });
    Found {
        unique: checker.unique_state_count(),
        generated: checker.state_count(),
        depth: checker.max_depth(),
        seconds: started.elapsed().as_secs_f64(),
        refuted,
    }
}

/// How many states a world has with its reductions and without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Factors {
    /// The world.
    pub world: String,
    /// With what the world declares.
    pub reduced: Count,
    /// With every mirror image; none if no nodes are declared alike.
    pub asymmetric: Option<Count>,
    /// With every message kept; none if none is forgotten.
    pub unpurged: Option<Count>,
    /// With neither reduction; none if there are not both.
    pub plain: Option<Count>,
}

/// How many states there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// So many.
    Exactly(usize),
    /// More than so many: the budget was used up.
    MoreThan(usize),
}

impl Count {
    fn of<M: Machine, G: Ghost<M>>(world: &World<M, G>, states_max: usize) -> Self {
        let options = Options {
            states_max: Some(states_max),
            ..Options::default()
        };
        let outcome = search(world, options, &mut unwatched);
        if outcome.waiting == 0 {
            Self::Exactly(outcome.unique)
        } else {
            Self::MoreThan(outcome.unique)
        }
    }
}

/// Counts a world's states with and without each of its reductions, up to a budget for each count.
pub(super) fn factors<M: Machine, G: Ghost<M>>(
    make: impl Fn() -> World<M, G>,
    states_max: usize,
) -> Factors {
    // Promises cost time and change no count.
    let world = || make().only(&[]);
    let (symmetric, purged) = (world().is_symmetric(), world().is_purged());
    let count = |world: World<M, G>| Count::of(&world, states_max);
    Factors {
        world: world().name().into(),
        reduced: count(world()),
        asymmetric: symmetric.then(|| count(world().asymmetric())),
        unpurged: purged.then(|| count(world().unpurged())),
        plain: (symmetric && purged).then(|| count(world().asymmetric().unpurged())),
    }
}
