//! Forgetting dead messages, and what that owes.
//!
//! The network of a world forgets nothing, so an answer to a question that was settled long ago stays
//! in the state for ever, and every state is multiplied by which such answers exist. A message is
//! *dead* if delivering it changes nothing now and ever after. A world may forget dead messages
//! ([`World::purging`]); that is sound if what it calls dead is dead, which is checked exhaustively,
//! in the same world with nothing forgotten.

use std::collections::HashSet;

use quorate::machine::Machine;

use crate::action::Action;
use crate::audit::visit;
use crate::ghost::Ghost;
use crate::snapshot::Snapshot;
use crate::world::World;

/// How often each obligation was discharged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discharged {
    /// States of the world with nothing forgotten.
    pub states: usize,
    /// A dead message was delivered, and nothing changed but that other dead ones were sent.
    pub inert: usize,
    /// A message was dead before a transition, and dead after it.
    pub stays_dead: usize,
    /// States of the world that forgets: they differ from those in nothing but dead messages.
    pub reduced: usize,
}

/// Checks what [`World::purging`] owes, in every state that the world has when nothing is forgotten.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations<M: Machine, G: Ghost<M>>(
    make: impl Fn() -> World<M, G>,
) -> Result<Discharged, String> {
    let judge = make();
    let mut world = make();
    world.dead = None;
    let mut done = Discharged::default();
    let seen = visit(&world, |last, successors| {
        let dead: Vec<_> = (last.network.iter())
            .filter(|letter| judge.is_dead(last, letter))
            .cloned()
            .collect();
        for letter in &dead {
            done.inert += 1;
            let Some(next) = world.apply(last, &Action::Deliver(letter.clone())) else {
                continue;
            };
            let inert = observable(&judge, &next) == observable(&judge, last);
            if last.node(letter.to).is_some_and(|node| node.up().is_some()) && !inert {
                return Err(format!("{letter:?} was called dead, and changed {last:?}"));
            }
        }
        for (action, next) in successors {
            if let Some(risen) = dead.iter().find(|letter| !judge.is_dead(next, letter)) {
                return Err(format!(
                    "{risen:?} was dead, and rose by {action:?} in {last:?}"
                ));
            }
            done.stays_dead += dead.len();
        }
        Ok(())
    })?;
    done.states = seen.len();
    let expected: HashSet<_> = seen.iter().map(|state| observable(&judge, state)).collect();
    let found = visit(&judge, |_, _| Ok(()))?;
    done.reduced = found.len();
    if expected == found {
        Ok(done)
    } else {
        Err(format!(
            "{} states differ in more than dead messages, but the reduced world has {}",
            expected.len(),
            found.len()
        ))
    }
}

/// The state without its dead messages.
fn observable<M: Machine, G: Ghost<M>>(
    judge: &World<M, G>,
    state: &Snapshot<M, G>,
) -> Snapshot<M, G> {
    let alive = (state.network.iter()).filter(|letter| !judge.is_dead(state, letter));
    let network = crate::shared::Shared::new(alive.cloned().collect());
    Snapshot {
        network,
        ..state.clone()
    }
}
