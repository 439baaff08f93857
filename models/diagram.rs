//! Sequence diagrams.
use quorate::machine::Machine;
use crate::action::Action;
use crate::ghost::Ghost;
use crate::snapshot::Snapshot;
use crate::world::World;

/// SVG
pub fn svg<M: Machine, G: Ghost<M>>(
    _world: &World<M, G>,
    _path: &[(Snapshot<M, G>, Option<Action<M>>)],
) -> String {
    String::new()
}
