//! Paths through a world: a list of actions, the states along it, its place in the Explorer.

use std::fmt::Write as _;

use quorate::machine::Machine;

use crate::action::Action;
use crate::ghost::Ghost;
use crate::snapshot::Snapshot;
use crate::world::World;

/// Each state of a path with the action that leaves it.
type Path<M, G> = Vec<(Snapshot<M, G>, Option<Action<M>>)>;

/// The states along `path`, with the action that leaves each: the form stateright's paths have.
pub fn replay<M: Machine, G: Ghost<M>>(world: &World<M, G>, path: &[Action<M>]) -> Path<M, G> {
    let mut state = world.initial();
    let mut steps = Vec::with_capacity(path.len() + 1);
    for action in path {
        let next = world.apply(&state, action);
        steps.push((state.clone(), Some(action.clone())));
        state = next.unwrap_or(state);
    }
    steps.push((state, None));
    steps
}

/// The path as stateright's Explorer names it: the place of each action among those offered.
pub fn link<M: Machine, G: Ghost<M>>(world: &World<M, G>, path: &[Action<M>]) -> String {
    let mut link = "0".to_owned();
    for (state, action) in replay(world, path) {
        let mut place = 0;
        let mut found = None;
        world.each_action(&state, |offered| {
            if Some(&offered) == action.as_ref() {
                found = found.or(Some(place));
            }
            place += 1;
        });
        if let Some(place) = found {
            let _ = write!(link, "/{place}");
        }
    }
    link
}
