//! A world of any machine, behind one type: for stateright's checkers and its Explorer.
//!
//! They are generic, and large, and would be compiled for each machine and each ghost. [`Erased`] has
//! one type for the states of all worlds, so that they are compiled once. It forgets types and nothing
//! else: states are equal, are hashed and are written as those of the [`World`] are.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate::machine::Machine;
use stateright::{Model, Path, Property};

use crate::action::Action;
use crate::ghost::Ghost;
use crate::promise::{Kind, Promising, properties};
use crate::snapshot::Snapshot;
use crate::world::{World, kinds};
use crate::{diagram, story};

/// A value of a type that is known to its world alone.
trait Value: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn Any) -> bool;
    fn hash_into(&self, hasher: &mut dyn Hasher);
}

impl<M: Machine, G: Ghost<M>> Value for Snapshot<M, G> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }

    fn hash_into(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

impl<M: Machine> Value for Action<M> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }

    fn hash_into(&self, _: &mut dyn Hasher) {
        unreachable!("actions are not hashed")
    }
}

/// A state.
#[derive(Clone)]
pub struct State(Arc<dyn Value>);

/// Something that may happen.
#[derive(Clone)]
pub struct Offer(Arc<dyn Value>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(other.0.as_any())
    }
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(other.0.as_any())
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash_into(hasher);
    }
}

/// What [`Erased`] asks of a world.
trait Whole: Send + Sync {
    fn initial(&self) -> State;
    fn offers(&self, state: &State) -> Vec<Offer>;
    fn apply(&self, state: &State, offer: &Offer) -> Option<State>;
    fn sentence(&self, offer: &Offer) -> String;
    fn difference(&self, before: &State, after: &State) -> String;
    fn svg(&self, path: &[(State, Option<Offer>)]) -> String;
    fn promises(&self) -> Vec<(&'static str, Kind)>;
    fn is_met(&self, promise: usize, state: &State) -> bool;
    fn is_within_boundary(&self, state: &State) -> bool;
}

fn snapshot<M: Machine, G: Ghost<M>>(state: &State) -> &Snapshot<M, G> {
    let state = state.0.as_any().downcast_ref();
    state.expect("a state of this world")
}

fn action<M: Machine>(offer: &Offer) -> &Action<M> {
    let action = offer.0.as_any().downcast_ref();
    action.expect("an action of this world")
}

impl<M: Machine, G: Ghost<M>> Whole for World<M, G> {
    fn initial(&self) -> State {
        State(Arc::new(World::initial(self)))
    }

    fn offers(&self, state: &State) -> Vec<Offer> {
        let mut offers = Vec::new();
        self.each_action(snapshot::<M, G>(state), |action| {
            offers.push(Offer(Arc::new(action)));
        });
        offers
    }

    fn apply(&self, state: &State, offer: &Offer) -> Option<State> {
        let next = World::apply(self, snapshot(state), action(offer))?;
        Some(State(Arc::new(next)))
    }

    fn sentence(&self, offer: &Offer) -> String {
        story::sentence(self, action(offer))
    }

    fn difference(&self, before: &State, after: &State) -> String {
        story::difference(self, snapshot(before), snapshot(after))
    }

    fn svg(&self, path: &[(State, Option<Offer>)]) -> String {
        let steps = path.iter().map(|(state, offer)| {
            let action = offer.as_ref().map(|offer| action(offer).clone());
            (snapshot::<M, G>(state).clone(), action)
        });
        diagram::svg(self, &steps.collect::<Vec<_>>())
    }

    fn promises(&self) -> Vec<(&'static str, Kind)> {
        kinds(&self.promises)
    }

    fn is_met(&self, promise: usize, state: &State) -> bool {
        self.keeps(promise, snapshot(state))
    }

    fn is_within_boundary(&self, state: &State) -> bool {
        Model::within_boundary(self, snapshot(state))
    }
}

/// A world, for stateright.
pub struct Erased {
    world: Arc<dyn Whole>,
    promises: Vec<(&'static str, Kind)>,
    /// Which promises have fallen: stateright 0.31 overwrites what it found with every later one.
    fallen: Vec<AtomicBool>,
}

impl Erased {
    /// Every mirror image is a state of its own here.
    pub fn new<M: Machine, G: Ghost<M>>(world: World<M, G>) -> Self {
        let world: Arc<dyn Whole> = Arc::new(world);
        let promises = world.promises();
        Self {
            fallen: promises.iter().map(|_| AtomicBool::new(false)).collect(),
            promises,
            world,
        }
    }

    /// The action of the world that this is.
    pub(crate) fn action<M: Machine>(offer: &Offer) -> Action<M> {
        action(offer).clone()
    }
}

impl Promising for Erased {
    fn keeps(&self, promise: usize, state: &State) -> bool {
        let failure = self.promises[promise].1 != Kind::Sometimes;
        if self.fallen[promise].load(Ordering::Relaxed) {
            return failure;
        }
        let met = self.world.is_met(promise, state);
        if met != failure {
            self.fallen[promise].store(true, Ordering::Relaxed);
        }
        met
    }
}

impl Model for Erased {
    type State = State;
    type Action = Offer;

    fn init_states(&self) -> Vec<State> {
        vec![self.world.initial()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Offer>) {
        actions.append(&mut self.world.offers(state));
    }

    fn next_state(&self, last: &State, offer: Offer) -> Option<State> {
        self.world.apply(last, &offer)
    }

    fn format_action(&self, offer: &Offer) -> String {
        self.world.sentence(offer)
    }

    fn format_step(&self, last: &State, offer: Offer) -> Option<String> {
        let next = self.world.apply(last, &offer)?;
        Some(self.world.difference(last, &next))
    }

    fn as_svg(&self, path: Path<State, Offer>) -> Option<String> {
        Some(self.world.svg(&path.into_vec()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(&self.promises)
    }

    fn within_boundary(&self, state: &State) -> bool {
        self.world.is_within_boundary(state)
    }
}
