//! The engine as one of stateright's checkers.

use std::collections::HashMap;
use std::thread::JoinHandle;

use quorate::machine::Machine;
use stateright::{Checker, Path};

use super::cycles;
use super::space::Space;
use super::{Options, Outcome, actions, search, story, unwatched};
use crate::action::Action;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::snapshot::Snapshot;
use crate::world::World;

/// A world that the engine has searched, for whatever takes a [`stateright::Checker`].
///
/// Its discoveries are shortest ones. Unlike stateright's own checkers it is not done if it was
/// stopped before it ran out of states.
pub struct Checked<M: Machine, G: Ghost<M>> {
    world: World<M, G>,
    outcome: Outcome<M>,
    discoveries: HashMap<&'static str, Vec<Action<M>>>,
}

impl<M: Machine, G: Ghost<M>> Checked<M, G> {
    /// Searches the world, and then as far as each discovery for the path to it.
    pub fn new(world: World<M, G>, options: Options) -> Self {
        let outcome = search(&world, options, &mut unwatched);
        let discoveries = discoveries(&world, &outcome);
        Self {
            world,
            outcome,
            discoveries,
        }
    }

    /// What the search found out, in the engine's own words.
    pub fn outcome(&self) -> &Outcome<M> {
        &self.outcome
    }
}

/// The path to everything that was found.
fn discoveries<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    outcome: &Outcome<M>,
) -> HashMap<&'static str, Vec<Action<M>>> {
    let mut space = Space::new(world);
    let settled = outcome.findings.iter().enumerate();
    let settled = settled.filter_map(|(place, finding)| Some((place, finding, finding.steps?)));
    settled
        .map(|(place, finding, steps)| {
            let path = match finding.kind {
                Kind::Eventually => cycles::lasso(&mut space, place).expect("found once"),
                Kind::Always | Kind::Sometimes | Kind::Recovers { .. } => {
                    story(&mut space, place, steps)
                }
            };
            (finding.promise, actions(world, &path))
        })
        .collect()
}

impl<M: Machine, G: Ghost<M>> Checker<World<M, G>> for Checked<M, G> {
    fn model(&self) -> &World<M, G> {
        &self.world
    }

    fn state_count(&self) -> usize {
        self.outcome.generated
    }

    fn unique_state_count(&self) -> usize {
        self.outcome.unique
    }

    fn max_depth(&self) -> usize {
        self.outcome.depth
    }

    fn discoveries(&self) -> HashMap<&'static str, Path<Snapshot<M, G>, Action<M>>> {
        let paths = self.discoveries.iter().filter_map(|(promise, actions)| {
            let path = Path::from_actions(&self.world, self.world.initial(), actions)?;
            Some((*promise, path))
        });
        paths.collect()
    }

    fn handles(&mut self) -> Vec<JoinHandle<()>> {
        Vec::new()
    }

    fn is_done(&self) -> bool {
        self.outcome.waiting == 0
    }
}
