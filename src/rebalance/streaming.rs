//! Learning a step, and what it asks of a node: a pending replica gets what it is to have.

use super::{
    Cell, Deserialize, Event, Key, Map, Message, NodeId, NodeSet, Outbox, Proposal, Rebalance,
    Serialize, Stage, State, Vec, View,
};

/// What a pending replica gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// It is to have nothing.
    #[default]
    Nothing,
    /// It is getting it.
    Pulling {
        /// Up to which key, from whom.
        cursors: Map<NodeId, Key>,
        /// Who has given all.
        complete: NodeSet,
    },
    /// It has it, of each key all that a quorum of its old replicas had.
    Done,
}

impl Rebalance {
    /// The log took a step. It is of use if it is the next one: if some are missing, the log will be asked.
    pub(super) fn on_learn(
        &self,
        state: &mut State<Self>,
        stage: Stage,
        proposal: Option<Proposal>,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        if view.stage().next() != Some(stage) {
            return; // Known already, or too early.
        }
        let Some(view) = view.advanced(proposal) else {
            return; // The log does not say this.
        };
        state.volatile.stream = self.opened(view.clone());
        state.durable.view = Some(view.clone());
        out.tell(Event::Learned { stage });
        self.begin_anew(state, out);
        self.pull(view, &state.volatile.stream, out);
        if self.is_ready(state) {
            out.send(self.log, Message::Ready { stage });
        }
    }

    /// Asks the log for the next step, and again for what this node waits for.
    pub(super) fn poll(&self, state: &State<Self>, out: &mut Outbox<Self>) {
        let view = self.view(&state.durable);
        let stage = view.stage();
        if self.is_ready(state) {
            out.send(self.log, Message::Ready { stage });
        }
        out.send(self.log, Message::Ask { stage });
        self.pull(view, &state.volatile.stream, out);
    }

    /// True if this node has done what the stage asks of it, and the log waits for it.
    fn is_ready(&self, state: &State<Self>) -> bool {
        match self.view(&state.durable) {
            View::Settled(_) => false,
            View::Announced { .. } => state.volatile.stream == Stream::Done,
            View::Switched { old, .. } => old.members().contains(self.me),
        }
    }

    /// What this node gets when it knows this.
    pub(super) fn opened(&self, view: View) -> Stream {
        if self.sources(&view).is_empty() {
            Stream::Nothing
        } else {
            Stream::Pulling {
                cursors: Map::new(),
                complete: NodeSet::EMPTY,
            }
        }
    }

    /// Who has what this node is to have, and has not.
    pub fn sources(&self, view: &View) -> NodeSet {
        if !matches!(view, View::Announced { .. }) {
            return NodeSet::EMPTY;
        }
        let moves = view.moves().into_iter();
        let mine = moves.filter(|one| one.gains().contains(self.me));
        mine.fold(NodeSet::EMPTY, |all, one| all.union(one.old))
    }

    /// Asks all who have not given all.
    pub(super) fn pull(&self, view: View, stream: &Stream, out: &mut Outbox<Self>) {
        let Stream::Pulling { cursors, complete } = stream else {
            return;
        };
        let stage = view.stage();
        for source in self.sources(&view).difference(*complete) {
            let after = cursors.get(&source).cloned();
            out.send(source, Message::Pull { stage, after });
        }
    }

    /// An old replica gave some of what this node is to have.
    pub(super) fn on_chunk(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        after: Option<&Key>,
        cells: &[(Key, Cell)],
        next: Option<Key>,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        let Stream::Pulling { cursors, complete } = &mut state.volatile.stream else {
            return; // It has it all.
        };
        let is_next = cursors.get(&from) == after && !complete.contains(from);
        if !self.sources(&view).contains(from) || !is_next {
            return; // Not asked, or had already.
        }
        let stage = view.stage();
        match next {
            Some(next) if Some(&next) <= after => return, // No replica of ours goes back.
            Some(next) => {
                cursors.insert(from, next.clone());
                let after = Some(next);
                out.send(from, Message::Pull { stage, after });
            }
            None => {
                complete.insert(from);
            }
        }
        let complete = *complete;
        for (key, cell) in cells {
            Self::keep(state, key, cell);
        }
        let mine: Vec<NodeSet> = (view.moves().into_iter())
            .filter(|one| one.gains().contains(self.me))
            .map(|one| one.old)
            .collect();
        // An acknowledged write of before the change is on a quorum: any other quorum has met it.
        if (mine.iter()).all(|old| complete.intersection(*old).len() >= old.majority()) {
            state.volatile.stream = Stream::Done;
            out.tell(Event::Streamed { stage });
            out.send(self.log, Message::Ready { stage });
        }
    }
}
