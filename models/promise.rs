//! What is promised of a world, and how it reaches stateright's checkers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate::machine::Machine;
use stateright::{Expectation, Property};

use crate::ghost::Ghost;
use crate::snapshot::Snapshot;
use crate::world::World;

/// What kind of promise it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Safety: true of every reachable state.
    Always,
    /// Not hollow: true of some reachable state.
    Sometimes,
    /// Liveness that can be checked state by state: from every reachable state, once the adversary
    /// retires, the goal is reached before more than this many alarms have rung.
    Recovers {
        /// How many.
        rounds: u32,
    },
}

/// A condition on one state, and on the past as the ghost has it.
pub type Condition<M, G> = Arc<dyn Fn(&Snapshot<M, G>) -> bool + Send + Sync>;

/// One promise.
pub struct Promise<M: Machine, G: Ghost<M>> {
    /// Its name, which the protocol's page uses too.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The condition, or for [`Kind::Recovers`] the goal.
    pub condition: Condition<M, G>,
}

impl<M: Machine, G: Ghost<M>> Clone for Promise<M, G> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            kind: self.kind,
            condition: Arc::clone(&self.condition),
        }
    }
}

/// Which promises have fallen already, for checkers that would overwrite what they found.
#[derive(Default)]
pub(crate) struct Latches(Option<Vec<AtomicBool>>);

impl Latches {
    pub(crate) fn enabled(count: usize) -> Self {
        Self(Some((0..count).map(|_| AtomicBool::new(false)).collect()))
    }
}

/// stateright takes plain function pointers, which capture nothing. So there is one function per
/// place in the list of promises, and it finds its promise in the world.
const PLACES: usize = 16;

fn nth<M: Machine, G: Ghost<M>, const N: usize>(
    world: &World<M, G>,
    snapshot: &Snapshot<M, G>,
) -> bool {
    let promise = &world.promises[N];
    let failure = promise.kind != Kind::Sometimes;
    let Some(latches) = &world.latches.0 else {
        return world.is_met(promise, snapshot);
    };
    if latches[N].load(Ordering::Relaxed) {
        return failure;
    }
    let met = world.is_met(promise, snapshot);
    if met != failure {
        latches[N].store(true, Ordering::Relaxed);
    }
    met
}

/// The promises as stateright's properties.
pub(crate) fn latched<M: Machine, G: Ghost<M>>(
    promises: &[Promise<M, G>],
) -> Vec<Property<World<M, G>>> {
    type Place<M, G> = fn(&World<M, G>, &Snapshot<M, G>) -> bool;
    let places: [Place<M, G>; PLACES] = [
        nth::<M, G, 0>,
        nth::<M, G, 1>,
        nth::<M, G, 2>,
        nth::<M, G, 3>,
        nth::<M, G, 4>,
        nth::<M, G, 5>,
        nth::<M, G, 6>,
        nth::<M, G, 7>,
        nth::<M, G, 8>,
        nth::<M, G, 9>,
        nth::<M, G, 10>,
        nth::<M, G, 11>,
        nth::<M, G, 12>,
        nth::<M, G, 13>,
        nth::<M, G, 14>,
        nth::<M, G, 15>,
    ];
    assert!(
        promises.len() <= PLACES,
        "a world has at most {PLACES} promises, two of them built in"
    );
    promises
        .iter()
        .zip(places)
        .map(|(promise, condition)| Property {
            expectation: match promise.kind {
                Kind::Always | Kind::Recovers { .. } => Expectation::Always,
                Kind::Sometimes => Expectation::Sometimes,
            },
            name: promise.name,
            condition,
        })
        .collect()
}
