//! The log: it orders the steps of all changes, and takes each when it is safe.

use super::{Epoch, NodeId, NodeSet, Proposal, Seq, Stage, Step, View};

/// A step that was taken, as everyone is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it leads.
    pub stage: Stage,
    /// If it announces a change, which.
    pub proposal: Option<Proposal>,
}

/// What the log goes by, and what it keeps.
pub(super) struct Log<'a> {
    /// Who may become a member: others would not be told.
    pub nodes: NodeSet,
    /// The epoch of the ring with which all began.
    pub first: Epoch,
    /// What is known of the ring.
    pub view: View,
    /// All changes there were, in order.
    pub changes: &'a mut Seq<Proposal>,
    /// Who is done with the stage.
    pub ready: &'a mut NodeSet,
}

impl Log<'_> {
    /// The ring is to change. One change at a time, and each by someone who knew the ring before it.
    /// If it does, this step was taken, and this is known then.
    pub(super) fn propose(&mut self, at: Epoch, proposal: Proposal) -> Option<(View, Entry)> {
        let View::Settled(ring) = &self.view else {
            return None; // It is changing.
        };
        if ring.epoch() != at || !self.nodes.contains(proposal.node()) {
            return None; // Proposed long ago, or nobody would tell the node of it.
        }
        proposal.after(ring).ok()?;
        self.changes.push(proposal);
        self.advance()
    }

    /// The step after this stage, if it was taken.
    pub(super) fn after(&self, stage: Stage) -> Option<Entry> {
        let known = self.view.stage();
        let next = stage.next().filter(|next| *next <= known)?;
        Some(self.entry(next))
    }

    /// A node is done with the stage. With enough that are, this step was taken.
    pub(super) fn is_done(&mut self, node: NodeId, stage: Stage) -> Option<(View, Entry)> {
        if stage != self.view.stage() {
            return None; // It went on without this node.
        }
        self.ready.insert(node);
        let ready = *self.ready;
        let moves = self.view.moves();
        let may_go_on = match &self.view {
            View::Settled(_) => false,
            View::Announced { .. } => moves.iter().all(|one| one.gains().is_subset(ready)),
            // Reads by the old ring find no quorum any more. So writes need not reach it.
            View::Switched { .. } => {
                (moves.iter()).all(|one| ready.intersection(one.old).len() >= one.old.majority())
            }
        };
        if may_go_on { self.advance() } else { None }
    }

    /// Takes the next step.
    fn advance(&mut self) -> Option<(View, Entry)> {
        // After the last epoch there is none, nor where there is no change to make.
        let entry = self.entry(self.view.stage().next()?);
        let view = self.view.advanced(entry.proposal)?;
        *self.ready = NodeSet::EMPTY;
        Some((view, entry))
    }

    /// What everyone is to know of the step that leads here.
    fn entry(&self, stage: Stage) -> Entry {
        let place = stage.epoch.0.checked_sub(self.first.0);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let proposal = place.and_then(|place| self.changes.get(place));
        let is_announced = matches!(stage.step, Step::Announced);
        Entry {
            stage,
            proposal: proposal.filter(|_| is_announced).copied(),
        }
    }
}
