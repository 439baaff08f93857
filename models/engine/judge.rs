//! Which promises the states that are met settle.

use std::hash::BuildHasherDefault;

use hashbrown::HashSet;

use super::calm::{Calms, Goal, Target};
use super::contents::{On, Rules};
use super::ready::Ready;
use super::space::{Row, Space};
use crate::promise::Kind;
use crate::shared::fingerprint;

/// Looks at each state once, until every promise is settled.
pub(super) struct Judge {
    kinds: Vec<Kind>,
    /// The level at which each promise was settled: a counterexample, or for a `sometimes` an
    /// example.
    pub(super) settled: Vec<Option<usize>>,
    /// True if a promise was broken.
    pub(super) violated: bool,
    /// Those of what was told that are open: a bit for the place of each.
    told: u64,
    /// Those of all but the messages that are open, and what they were asked of.
    still: Vec<usize>,
    asked: HashSet<u64, BuildHasherDefault<Ready>>,
    /// The others that are open.
    open: Vec<(usize, How)>,
}

/// How it is found out what a promise says of a state: only as much of it is made as is looked at.
enum How {
    Calm(Calms),
    Clients(Goal),
    Nodes,
    Whole,
}

impl Judge {
    /// Looks at the promises of a world that `wanted` is true of.
    pub(super) fn new(rules: &Rules, wanted: impl Fn(usize) -> bool) -> Self {
        let (mut told, mut still, mut open) = (0, Vec::new(), Vec::new());
        let pledges = rules.pledges.iter().enumerate();
        for (place, pledge) in pledges.filter(|(at, _)| wanted(*at)) {
            match (&pledge.on, pledge.kind) {
                // Of runs, not of states.
                (_, Kind::Eventually) => {}
                (On::Told, Kind::Always | Kind::Sometimes) => told |= 1 << place,
                (On::Clients(goal), Kind::Recovers { rounds }) => {
                    let target = Target::Clients(goal.clone());
                    open.push((place, How::Calm(Calms::new(rounds, target))));
                }
                (On::Nodes, Kind::Recovers { rounds }) => {
                    open.push((place, How::Calm(Calms::new(rounds, Target::Nodes(place)))));
                }
                (On::Told | On::Still | On::Whole, Kind::Recovers { rounds }) => {
                    open.push((place, How::Calm(Calms::new(rounds, Target::Still(place)))));
                }
                (On::Still, Kind::Always | Kind::Sometimes) => still.push(place),
                (On::Clients(condition), Kind::Always | Kind::Sometimes) => {
                    open.push((place, How::Clients(condition.clone())));
                }
                (On::Nodes, Kind::Always | Kind::Sometimes) => open.push((place, How::Nodes)),
                (On::Whole, Kind::Always | Kind::Sometimes) => open.push((place, How::Whole)),
            }
        }
        Self {
            kinds: rules.pledges.iter().map(|pledge| pledge.kind).collect(),
            settled: vec![None; rules.pledges.len()],
            violated: false,
            told,
            still,
            asked: HashSet::default(),
            open,
        }
    }

    /// Looks at a new state. True if it settles something.
    pub(super) fn look(&mut self, space: &mut Space<'_>, row: &Row, level: usize) -> bool {
        let (nodes, outer, _) = space.parts(row);
        let mut found = space.settles(outer) & self.told;
        if !self.still.is_empty() && self.asked.insert(fingerprint(&(nodes, outer))) {
            for place in &self.still {
                let met = space.contents().is_met_still(*place, nodes, outer);
                let settles = met == (self.kinds[*place] == Kind::Sometimes);
                found |= u64::from(settles) << *place;
            }
        }
        for (place, how) in &mut self.open {
            let met = match how {
                How::Calm(calms) => calms.reach(space, row),
                How::Clients(condition) => condition(space.clients(space.clients_of(outer))),
                How::Nodes => space.contents().is_met_by_nodes(*place, nodes),
                How::Whole => space.is_met(*place, row),
            };
            let settles = met == (self.kinds[*place] == Kind::Sometimes);
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
        self.still.retain(|place| found >> place & 1 == 0);
        self.open.retain(|(place, _)| found >> place & 1 == 0);
        for (place, kind) in self.kinds.iter().enumerate() {
            if found >> place & 1 == 1 {
                self.settled[place] = Some(level);
                self.violated |= *kind != Kind::Sometimes;
            }
        }
    }
}
