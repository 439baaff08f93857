//! The audit: the states of a small world, counted without any of what makes counting fast.

use std::collections::HashSet;

use quorate::machine::Machine;
use stateright::Model as _;

use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::snapshot::Snapshot;
use crate::world::World;

/// What an audit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Distinct states.
    pub unique: usize,
    /// Transitions that lead to states within the boundary, and the initial state.
    pub generated: usize,
    /// Transitions that lead outside the boundary.
    pub cut_off: usize,
    /// For each promise, in the world's order, how many steps it takes at least to a state that
    /// settles it: a counterexample, or for a `sometimes` an example.
    pub settled: Vec<Option<usize>>,
}

/// Explores a world as its definition has it, level by level. States are told apart by full equality,
/// so that no fingerprint decides, and nothing is remembered by content hash. The engine must count
/// the same, or it lost states in silence; so must stateright.
pub fn audit<M: Machine, G: Ghost<M>>(world: World<M, G>) -> Audit {
    let world = world.without_memory();
    let mut audit = Audit {
        unique: 0,
        generated: 0,
        cut_off: 0,
        settled: vec![None; world.promises().len()],
    };
    let mut seen = HashSet::new();
    let mut level = Vec::new();
    audit.reach(&world, world.initial(), 0, &mut seen, &mut level);
    let mut steps = 0;
    while !level.is_empty() {
        steps += 1;
        let mut next_level = Vec::new();
        for last in level {
            world.each_action(&last, |action| {
                if let Some(next) = world.apply(&last, &action) {
                    audit.reach(&world, next, steps, &mut seen, &mut next_level);
                }
            });
        }
        level = next_level;
    }
    audit.unique = seen.len();
    audit
}

impl Audit {
    fn reach<M: Machine, G: Ghost<M>>(
        &mut self,
        world: &World<M, G>,
        state: Snapshot<M, G>,
        steps: usize,
        seen: &mut HashSet<Snapshot<M, G>>,
        level: &mut Vec<Snapshot<M, G>>,
    ) {
        if !world.within_boundary(&state) {
            self.cut_off += 1;
            return;
        }
        self.generated += 1;
        if !seen.insert(state.clone()) {
            return;
        }
        for (promise, settled) in world.promises().iter().zip(&mut self.settled) {
            let settles = promise.kind == Kind::Sometimes;
            if settled.is_none() && world.is_met(promise, &state) == settles {
                *settled = Some(steps);
            }
        }
        level.push(state);
    }
}
