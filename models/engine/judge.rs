//! Which promises the states that are met settle.

use quorate::machine::Machine;
use smallvec::SmallVec;

use super::calm::Calms;
use super::space::{Row, Space};
use crate::ghost::Ghost;
use crate::promise::{Condition, Kind, Promise};
use crate::snapshot::Node;
use crate::world::World;

/// Looks at each state once, until every promise is settled.
pub(crate) struct Judge<'w, M: Machine, G: Ghost<M>> {
    promises: &'w [Promise<M, G>],
    /// The level at which each promise was settled: a counterexample, or for a `sometimes` an
    /// example.
    pub(crate) settled: Vec<Option<usize>>,
    /// True if a promise was broken.
    pub(crate) violated: bool,
    /// Those of what was told that are open: a bit for the place of each.
    told: u64,
    /// The others that are open.
    open: Vec<(usize, Option<Calms>)>,
}

impl<'w, M: Machine, G: Ghost<M>> Judge<'w, M, G> {
    /// Looks at the promises of `world` that `wanted` is true of.
    pub(crate) fn new(world: &'w World<M, G>, wanted: impl Fn(usize) -> bool) -> Self {
        let promises = world.promises();
        let (mut told, mut open) = (0, Vec::new());
        for (place, promise) in promises.iter().enumerate().filter(|(at, _)| wanted(*at)) {
            match (&promise.condition, promise.kind) {
                (Condition::Told(_), Kind::Always | Kind::Sometimes) => told |= 1 << place,
                (Condition::Clients(goal), Kind::Recovers { rounds }) => {
                    open.push((place, Some(Calms::new(rounds, goal.clone()))));
                }
                (
                    Condition::Told(_)
                    | Condition::Clients(_)
                    | Condition::Nodes(_)
                    | Condition::Whole(_),
                    _,
                ) => open.push((place, None)),
            }
        }
        Self {
            promises,
            settled: vec![None; promises.len()],
            violated: false,
            told,
            open,
        }
    }

    /// Looks at a new state. True if it settles something.
    pub(crate) fn look(&mut self, space: &mut Space<'w, M, G>, row: &Row, level: usize) -> bool {
        let (_, outer, _) = space.parts(row);
        let mut found = space.settles(outer) & self.told;
        for (place, calms) in &mut self.open {
            let promise = &self.promises[*place];
            let met = match calms {
                Some(calms) => calms.reach(space, row),
                None => is_met(space, promise, row),
            };
            let settles = met == (promise.kind == Kind::Sometimes);
            found |= u64::from(settles) << *place;
        }
        if found == 0 {
            return false;
        }
        self.settle(found, level);
        true
    }

    fn settle(&mut self, found: u64, level: usize) {
        self.told &= !found;
        self.open.retain(|(place, _)| found >> place & 1 == 0);
        for (place, promise) in self.promises.iter().enumerate() {
            if found >> place & 1 == 1 {
                self.settled[place] = Some(level);
                self.violated |= promise.kind != Kind::Sometimes;
            }
        }
    }
}

/// What the promise says of a state, of which only as much is made as it looks at.
fn is_met<M: Machine, G: Ghost<M>>(
    space: &Space<'_, M, G>,
    promise: &Promise<M, G>,
    row: &Row,
) -> bool {
    match (&promise.condition, promise.kind) {
        (Condition::Nodes(condition), Kind::Always | Kind::Sometimes) => {
            let (nodes, _, _) = space.parts(row);
            let nodes: SmallVec<[&Node<M>; 16]> =
                nodes.iter().map(|node| space.content(*node)).collect();
            condition(&nodes)
        }
        (Condition::Clients(condition), Kind::Always | Kind::Sometimes) => {
            let (_, outer, _) = space.parts(row);
            condition(space.clients(space.clients_of(outer)))
        }
        (Condition::Told(_) | Condition::Whole(_), _) | (_, Kind::Recovers { .. }) => {
            space.world.is_met(promise, &space.snapshot(row))
        }
    }
}
