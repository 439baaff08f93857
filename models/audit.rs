//! The audit: the states of a small world, counted without any of what makes counting fast.

use std::collections::HashSet;

use quorate::machine::Machine;
use stateright::Model as _;

use crate::action::Action;
use crate::engine::Outcome;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::snapshot::Snapshot;
use crate::symmetry::{images, swaps};
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
    audit
}

/// Visits every state of a world once, with what happens in it and changes something. States are
/// told apart by full equality. Returns them all.
///
/// # Errors
///
/// The first that `each` returns.
pub fn visit<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    mut each: impl FnMut(&Snapshot<M, G>, &[Successor<M, G>]) -> Result<(), String>,
) -> Result<HashSet<Snapshot<M, G>>, String> {
    let mut seen = HashSet::from([world.initial()]);
    let mut waiting = vec![world.initial()];
    let mut successors = Vec::new();
    while let Some(last) = waiting.pop() {
        successors.clear();
        world.each_action(&last, |action| {
            if let Some(next) = world.apply(&last, &action) {
                successors.push((action, next));
            }
        });
        each(&last, &successors)?;
        for (_, next) in &successors {
            if world.within_boundary(next) && seen.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    Ok(seen)
}

/// Something that happens, and what comes of it.
type Successor<M, G> = (Action<M>, Snapshot<M, G>);

impl<M: Machine> From<&Outcome<M>> for Audit {
    /// The same of what the engine found.
    fn from(outcome: &Outcome<M>) -> Self {
        let findings = outcome.findings.iter();
        Self {
            unique: outcome.unique,
            generated: outcome.generated,
            cut_off: outcome.cut_off,
            settled: findings.map(|finding| finding.steps).collect(),
        }
    }
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
        if seen.contains(&state) {
            return;
        }
        self.unique += 1;
        // Of mirror images one is enough.
        let swaps = swaps(world.len(), &world.alike);
        seen.extend(images(world, &swaps, &state));
        for (promise, settled) in world.promises().iter().zip(&mut self.settled) {
            let settles = promise.kind == Kind::Sometimes;
            if settled.is_none() && world.is_met(promise, &state) == settles {
                *settled = Some(steps);
            }
        }
        level.push(state);
    }
}
