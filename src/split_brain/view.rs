//! What one node sees, and what it decides from that alone.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::NodeId;

/// How many members may be coming or going at once, as one node sees it. Of more it decides nothing.
pub const CHANGES_MAX: usize = 8;

/// The members as one node knows them. The sets are disjoint.
///
/// A member goes one way: unknown, joining, up, leaving, removed; and it takes a step only when every
/// member knows of the one before. So two nodes that cannot hear each other differ by at most one step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Roster {
    /// Those that count.
    pub up: NodeSet,
    /// Those that may be up already, as the others see them.
    pub joining: NodeSet,
    /// Those that may be removed already, as the others see them.
    pub leaving: NodeSet,
}

impl Roster {
    /// All of them.
    pub fn known(&self) -> NodeSet {
        self.up.union(self.joining).union(self.leaving)
    }

    /// Every set of members that count, as this node or one that differs by a step may see it; nothing,
    /// if there are too many to try.
    fn possible(&self) -> Option<impl Iterator<Item = NodeSet> + use<>> {
        let unsure: Vec<NodeId> = self.joining.union(self.leaving).iter().collect();
        let up = self.up;
        (unsure.len() <= CHANGES_MAX).then(|| {
            (0..1_u32 << unsure.len()).map(move |chosen| {
                let chosen = (unsure.iter().enumerate()).filter(|(bit, _)| chosen >> bit & 1 == 1);
                up.union(chosen.map(|(_, node)| *node).collect())
            })
        })
    }
}

/// What one node sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View {
    /// The node.
    pub me: NodeId,
    /// The members.
    pub roster: Roster,
    /// Those that it hears, itself included, each with whom that one hears by its last word.
    pub reports: Map<NodeId, NodeSet>,
}

impl View {
    /// Those that are on this node's side: they hear one another, both ways, and it is one of them.
    /// Nothing, if this node itself is connected to some only through others.
    ///
    /// Who hears some of those that are heard, and not others, is on no side. Of two sides that have a
    /// member in common each is the other: that member would have said so.
    pub fn side(&self) -> Option<NodeSet> {
        let heard: NodeSet = self.reports.keys().copied().collect();
        let (mut all, mut by_all, mut hear_all) = (NodeSet::EMPTY, heard, NodeSet::EMPTY);
        for (node, hears) in &self.reports {
            all = all.union(*hears);
            by_all = by_all.intersection(*hears);
            if heard.is_subset(*hears) {
                hear_all.insert(*node);
            }
        }
        // Somebody that is heard hears another that is not.
        let is_between = !all.is_subset(heard);
        let side = by_all.intersection(hear_all);
        (!is_between && side.contains(self.me)).then_some(side)
    }

    /// True if every member is heard, and says that it hears all.
    pub fn is_whole(&self) -> bool {
        let known = self.roster.known();
        known
            .iter()
            .all(|node| (self.reports.get(&node)).is_some_and(|hears| known.is_subset(*hears)))
    }
}

/// How it is decided which side goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// A side of at least so many, `q`. None goes on if none is so large, nor if there are more than
    /// `2q - 1` members: two sides could be so large.
    StaticQuorum(u32),
    /// A side of more than half of the members, or of half with the lowest of all. None goes on if none
    /// is so large, as when there are three sides.
    KeepMajority,
    /// The side of the oldest member. The list is by age, the oldest first. If the oldest
    /// [leaves when it is alone](Alone::Leaves) and the others are not together, none goes on.
    KeepOldest(Vec<NodeId>, Alone),
    /// None, if anybody is missing.
    DownAll,
    /// The side that gets a lease from an authority elsewhere: a majority may ask first. None goes on
    /// if none gets it.
    LeaseMajority,
}

/// What becomes of the oldest member if it is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alone {
    /// It goes on alone.
    Stays,
    /// It stops, and the others go on, if they are all together.
    Leaves,
}

/// What a node decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Its side goes on.
    Stay,
    /// It stops.
    Leave,
    /// Its side goes on if it gets the lease.
    Contend(Turn),
}

/// When a side asks for the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// At once.
    First,
    /// When a larger side, if there is one, has had its time.
    Second,
}

/// What a node decides from its view alone, once that is settled. Whoever is on no side leaves,
/// whatever the strategy; so none goes on when every node is connected to some only through others.
///
/// It goes on only if it would whatever those who cannot be heard think of members that come and go:
/// for two sides that differ by one step there is a roster that both hold possible, and by one roster
/// no strategy keeps both.
pub fn resolve(strategy: &Strategy, view: &View) -> Verdict {
    let Some(side) = view.side() else {
        return Verdict::Leave;
    };
    let by = |keeps: &dyn Fn(NodeSet) -> bool| {
        let possible = view.roster.possible();
        possible.is_some_and(|mut possible| possible.all(keeps))
    };
    match strategy {
        Strategy::LeaseMajority if by(&|members| has_majority(members, side)) => {
            Verdict::Contend(Turn::First)
        }
        Strategy::LeaseMajority => Verdict::Contend(Turn::Second),
        Strategy::StaticQuorum(_)
        | Strategy::KeepMajority
        | Strategy::KeepOldest(..)
        | Strategy::DownAll => {
            if by(&|members| keeps(strategy, members, side)) {
                Verdict::Stay
            } else {
                Verdict::Leave
            }
        }
    }
}

/// True if of these members this side goes on.
fn keeps(strategy: &Strategy, members: NodeSet, side: NodeSet) -> bool {
    let (ours, theirs) = (members.intersection(side), members.difference(side));
    match strategy {
        Strategy::StaticQuorum(size) => {
            let size = usize::try_from(*size).unwrap_or(usize::MAX);
            0 < size && members.len() < size.saturating_mul(2) && size <= ours.len()
        }
        Strategy::KeepMajority => has_majority(members, side),
        Strategy::KeepOldest(seniority, alone) => {
            let Some(oldest) = seniority.iter().find(|node| members.contains(**node)) else {
                return false;
            };
            let is_ours = ours.contains(*oldest);
            let (with_oldest, others) = if is_ours {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            let is_alone = with_oldest.len() == 1 && !others.is_empty();
            match alone {
                Alone::Leaves if is_alone => !is_ours,
                Alone::Stays | Alone::Leaves => is_ours,
            }
        }
        Strategy::DownAll => !members.is_empty() && theirs.is_empty(),
        Strategy::LeaseMajority => false, // Its verdict is another's.
    }
}

/// True if this side has more than half of the members, or half and the lowest of all.
fn has_majority(members: NodeSet, side: NodeSet) -> bool {
    let (ours, theirs) = (members.intersection(side), members.difference(side));
    let lowest = members.iter().next();
    ours.len() > theirs.len()
        || ours.len() == theirs.len() && lowest.is_some_and(|lowest| ours.contains(lowest))
}
