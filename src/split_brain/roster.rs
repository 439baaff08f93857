//! Who the members are: how they come and go, one step at a time.
//!
//! A member goes one way: joining, up, leaving, removed. It takes its next step at a node that hears
//! everybody, is heard by everybody, and has heard from everybody that they know exactly what it knows. So
//! whoever takes a step takes it from what all have in common, and nobody takes a second one before all know
//! of the first: two nodes differ by at most one step of each member, whatever is cut between them. That is
//! what [`resolve`](super::resolve) takes into account.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Answer, Roster, SplitBrain, Standing, Timer, stand};
use crate::data::{Map, NodeSet};
use crate::machine::{self, NodeId, Outbox, State};

/// The numbers of members are smaller than this.
pub const MEMBERS_MAX: u64 = 64;

/// How far a member has come. It goes one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It is to be a member. It does not count yet.
    Joining,
    /// It counts.
    Up,
    /// It is to be one no longer. It counts still.
    Leaving,
    /// It was one. Its number is not used again.
    Removed,
}

/// How far each has come.
pub type Stages = Map<NodeId, Stage>;

/// What survives a crash: a node that forgot who the members are would count by what it was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How far each has come, as far as this node knows. Empty, if it was never a member and is to join.
    pub stages: Stages,
}

/// One change of the disk: somebody took a step, or several of which this node had not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// Who.
    pub node: NodeId,
    /// How far it has come.
    pub stage: Stage,
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let changed = self.stages.changed_since(&older.stages);
        let change = |(node, stage): (&NodeId, &Stage)| Change {
            node: *node,
            stage: *stage,
        };
        changed.map(change).collect()
    }

    fn apply(&mut self, Change { node, stage }: Change) {
        self.stages.insert(node, stage);
    }
}

impl Durable {
    /// The members as this node knows them.
    pub fn roster(&self) -> Roster {
        let at = |stage: Stage| {
            let stages = self.stages.iter().filter(|(_, at)| **at == stage);
            stages.map(|(node, _)| *node).collect::<NodeSet>()
        };
        Roster {
            up: at(Stage::Up),
            joining: at(Stage::Joining),
            leaving: at(Stage::Leaving),
        }
    }

    /// True if this node counts, as far as it knows.
    pub(super) fn counts(&self, node: NodeId) -> bool {
        match self.stages.get(&node) {
            Some(Stage::Up | Stage::Leaving) => true,
            Some(Stage::Joining | Stage::Removed) | None => false,
        }
    }
}

impl SplitBrain {
    /// A client wants this one to come or to go. It is the node's own first step that this takes, so it
    /// has to know that everybody knows what it knows; if not, it says so, and nothing is done.
    pub(super) fn on_change_of_members(
        &self,
        state: &mut State<Self>,
        node: NodeId,
        stage: Stage,
        out: &mut Outbox<Self>,
    ) -> Answer {
        let before = state.durable.stages.get(&node).copied();
        let is_next = match stage {
            Stage::Joining => before.is_none() && node.0 < MEMBERS_MAX,
            Stage::Leaving => before == Some(Stage::Up),
            Stage::Up | Stage::Removed => false,
        };
        if !is_next || !self.is_settled(state) {
            return Answer::NotNow;
        }
        self.take_step(state, node, stage, out);
        Answer::Begun
    }

    /// Somebody says how far each has come.
    pub(super) fn hear_stages(
        &self,
        state: &mut State<Self>,
        stages: &Stages,
        out: &mut Outbox<Self>,
    ) {
        for (node, stage) in stages {
            let known = state.durable.stages.get(node).copied();
            if known < Some(*stage) && node.0 < MEMBERS_MAX {
                self.take_step(state, *node, *stage, out);
            }
        }
    }

    /// Takes the next step of everybody who is coming or going, if all know of the last one.
    pub(super) fn advance(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Roster {
            joining, leaving, ..
        } = state.durable.roster();
        if joining.union(leaving).is_empty() || !self.is_settled(state) {
            return;
        }
        for node in joining {
            self.take_step(state, node, Stage::Up, out);
        }
        for node in leaving {
            self.take_step(state, node, Stage::Removed, out);
        }
    }

    /// True if all that are known hear all, and know exactly what this node knows: by their last words.
    fn is_settled(&self, state: &State<Self>) -> bool {
        let mut agreeing = state.volatile.agreeing;
        agreeing.insert(self.me);
        let known = state.durable.roster().known();
        known.contains(self.me) && known.is_subset(agreeing) && self.view(state).is_whole()
    }

    fn take_step(
        &self,
        state: &mut State<Self>,
        node: NodeId,
        stage: Stage,
        out: &mut Outbox<Self>,
    ) {
        state.durable.stages.insert(node, stage);
        // What the others said, they said of another roster.
        state.volatile.agreeing = NodeSet::EMPTY;
        if stage == Stage::Removed {
            state.volatile.reports.remove(&node);
            out.disarm(Timer::Missing(node));
        }
        Self::on_change(state, out);
        if node == self.me && stage == Stage::Removed {
            stand(state, Standing::Aside, out);
        }
    }
}
