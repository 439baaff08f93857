//! What is promised of a world, and how it reaches stateright's checkers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate::machine::Machine;
use stateright::{Expectation, Property};

use crate::ghost::Ghost;
use crate::snapshot::{Adversary, Broken, Client, Node, Snapshot};
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

/// What was told, and how far clients and the adversary are: all of a state but its nodes and its
/// messages.
#[derive(Debug)]
pub struct Told<'a, G> {
    /// What is known of the past.
    pub ghost: &'a G,
    /// The clients, in the order of their scripts.
    pub clients: &'a [Client],
    /// What the adversary may still do.
    pub adversary: Adversary,
    /// A mistake of ours, if one was met.
    pub broken: Option<&'a Broken>,
}

/// Any function of so much of a state.
type On<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

type OnTold<G> = Arc<dyn Fn(&Told<'_, G>) -> bool + Send + Sync>;
type OnNodes<M> = Arc<dyn Fn(&[&Node<M>]) -> bool + Send + Sync>;

/// A condition on one state, and on the past as the ghost has it.
///
/// The less of the state a condition may look at, the less often it is asked: the engine asks it
/// once for each distinct value of what it looks at, not once for each state.
pub enum Condition<M: Machine, G: Ghost<M>> {
    /// On anything.
    Whole(On<Snapshot<M, G>>),
    /// On what was told alone.
    Told(OnTold<G>),
    /// On the nodes alone; node *i* is `NodeId(i)`.
    Nodes(OnNodes<M>),
    /// On the clients alone.
    Clients(On<[Client]>),
}

impl<M: Machine, G: Ghost<M>> Condition<M, G> {
    /// True if it is true of this state.
    pub fn of(&self, snapshot: &Snapshot<M, G>) -> bool {
        match self {
            Self::Whole(condition) => condition(snapshot),
            Self::Told(condition) => condition(&snapshot.told()),
            Self::Nodes(condition) => {
                let nodes: Vec<&Node<M>> = snapshot.nodes.iter().map(|node| &**node).collect();
                condition(&nodes)
            }
            Self::Clients(condition) => condition(&snapshot.clients),
        }
    }
}

impl<M: Machine, G: Ghost<M>> Clone for Condition<M, G> {
    fn clone(&self) -> Self {
        match self {
            Self::Whole(condition) => Self::Whole(Arc::clone(condition)),
            Self::Told(condition) => Self::Told(Arc::clone(condition)),
            Self::Nodes(condition) => Self::Nodes(Arc::clone(condition)),
            Self::Clients(condition) => Self::Clients(Arc::clone(condition)),
        }
    }
}

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
            condition: self.condition.clone(),
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
