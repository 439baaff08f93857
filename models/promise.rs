//! What is promised of a world, and how it reaches stateright's checkers.

use std::sync::Arc;

use quorate::machine::{Machine, NodeId, State};
use stateright::{Expectation, Model, Property};

use crate::ghost::Ghost;
use crate::snapshot::{Adversary, Broken, Client, Node, Snapshot};

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
    /// Liveness of runs: on every run that is weakly fair, the goal is reached, and reached again
    /// whenever it was left.
    ///
    /// Weakly fair: a message that could arrive and would change something, an armed alarm, a restart, a
    /// client's next call and the healing of a cut are not put off for ever while they are possible all
    /// the time. What the adversary does beyond that it may do or not.
    Eventually,
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

/// All of a state but its messages.
#[derive(Debug)]
pub struct Still<'a, M: Machine, G> {
    /// The nodes; node *i* is `NodeId(i)`.
    pub nodes: Vec<&'a Node<M>>,
    /// The rest.
    pub told: Told<'a, G>,
}

impl<'a, M: Machine, G> Still<'a, M, G> {
    /// What is known of the past.
    pub fn ghost(&self) -> &'a G {
        self.told.ghost
    }

    /// The states of the nodes that run.
    pub fn running(&self) -> impl Iterator<Item = (NodeId, &'a State<M>)> {
        let nodes = (0..).map(NodeId).zip(&self.nodes);
        nodes.filter_map(|(id, node)| Some((id, node.up()?)))
    }

    /// What is on the disks, of the nodes that run and of those that don't.
    pub fn disks(&self) -> impl Iterator<Item = (NodeId, &'a M::Durable)> {
        let nodes = (0..).map(NodeId).zip(&self.nodes);
        nodes.filter_map(|(id, node)| Some((id, node.durable()?)))
    }
}

/// Any function of so much of a state.
type On<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

type OnTold<G> = Arc<dyn Fn(&Told<'_, G>) -> bool + Send + Sync>;
type OnStill<M, G> = Arc<dyn Fn(&Still<'_, M, G>) -> bool + Send + Sync>;
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
    /// On all but the messages.
    Still(OnStill<M, G>),
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
            Self::Still(condition) => condition(&snapshot.still()),
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
            Self::Still(condition) => Self::Still(Arc::clone(condition)),
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

/// A model that keeps promises, by their places in a list.
pub(crate) trait Promising: Model {
    /// True if the promise at this place is met in this state.
    fn keeps(&self, place: usize, state: &Self::State) -> bool;
}

/// stateright takes plain function pointers, which capture nothing. So there is one function per
/// place in the list of promises, and it finds its promise in the model.
fn nth<W: Promising, const N: usize>(model: &W, state: &W::State) -> bool {
    model.keeps(N, state)
}

/// Promises as stateright's properties.
pub(crate) fn properties<W: Promising>(promises: &[(&'static str, Kind)]) -> Vec<Property<W>> {
    type Place<W> = fn(&W, &<W as Model>::State) -> bool;
    let places: [Place<W>; 16] = [
        nth::<W, 0>,
        nth::<W, 1>,
        nth::<W, 2>,
        nth::<W, 3>,
        nth::<W, 4>,
        nth::<W, 5>,
        nth::<W, 6>,
        nth::<W, 7>,
        nth::<W, 8>,
        nth::<W, 9>,
        nth::<W, 10>,
        nth::<W, 11>,
        nth::<W, 12>,
        nth::<W, 13>,
        nth::<W, 14>,
        nth::<W, 15>,
    ];
    assert!(
        promises.len() <= places.len(),
        "a world has at most {} promises, two of them built in",
        places.len()
    );
    let properties = promises.iter().zip(places);
    let properties = properties.filter_map(|((name, kind), condition)| {
        let expectation = match kind {
            Kind::Always | Kind::Recovers { .. } => Expectation::Always,
            Kind::Sometimes => Expectation::Sometimes,
            // stateright's own `eventually` misses cycles.
            Kind::Eventually => return None,
        };
        Some(Property {
            expectation,
            name,
            condition,
        })
    });
    properties.collect()
}
