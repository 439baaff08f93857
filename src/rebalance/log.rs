//! The log: it orders the steps of all changes, and takes each when it is safe.

use super::{
    Epoch, Event, Message, NodeId, NodeSet, Outbox, Proposal, Rebalance, Stage, State, View,
};

impl Rebalance {
    pub(super) fn on_message_to_log(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if !self.nodes.contains(from) {
            return; // A stranger.
        }
        match message {
            Message::Propose { at, proposal } => self.on_propose(state, at, proposal, out),
            Message::Ask { stage } => self.on_ask(state, from, stage, out),
            Message::Ready { stage } => self.on_ready(state, from, stage, out),
            // The log keeps no keys, and coordinates nothing.
            Message::Learn { .. }
            | Message::Write { .. }
            | Message::Written { .. }
            | Message::Read { .. }
            | Message::Data { .. }
            | Message::Pull { .. }
            | Message::Chunk { .. } => {}
        }
    }

    /// The ring is to change. One change at a time, and each by someone who knew the ring before it.
    fn on_propose(
        &self,
        state: &mut State<Self>,
        at: Epoch,
        proposal: Proposal,
        out: &mut Outbox<Self>,
    ) {
        let View::Settled(ring) = self.view(&state.durable) else {
            return; // It is changing.
        };
        if ring.epoch() != at || !self.nodes.contains(proposal.node()) {
            return; // Proposed long ago, or nobody would tell the node of it.
        }
        if proposal.after(&ring).is_ok() {
            state.durable.changes.push(proposal);
            self.advance(state, out);
        }
    }

    /// A node wants to know the next step.
    fn on_ask(&self, state: &State<Self>, from: NodeId, stage: Stage, out: &mut Outbox<Self>) {
        let known = self.view(&state.durable).stage();
        if let Some(next) = stage.next().filter(|next| *next <= known) {
            out.send(from, self.entry(state, next));
        }
    }

    /// A node is done with the stage.
    fn on_ready(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        stage: Stage,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        if stage != view.stage() {
            return; // It went on without this node.
        }
        state.volatile.ready.insert(from);
        let ready = state.volatile.ready;
        let moves = view.moves();
        let may_go_on = match view {
            View::Settled(_) => false,
            View::Announced { .. } => moves.iter().all(|one| one.gains().is_subset(ready)),
            // Reads by the old ring find no quorum any more. So writes need not reach it.
            View::Switched { .. } => {
                (moves.iter()).all(|one| ready.intersection(one.old).len() >= one.old.majority())
            }
        };
        if may_go_on {
            self.advance(state, out);
        }
    }

    /// Takes the next step, and tells everyone.
    fn advance(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let view = self.view(&state.durable);
        let Some(stage) = view.stage().next() else {
            return; // Out of epochs.
        };
        let Some(view) = view.advanced(self.announced(state, stage)) else {
            return; // There is no change to make.
        };
        state.durable.view = Some(view);
        state.volatile.ready = NodeSet::EMPTY;
        out.tell(Event::Learned { stage });
        out.broadcast(self.nodes, &self.entry(state, stage));
    }

    /// What everyone is to know of the step that leads here.
    fn entry(&self, state: &State<Self>, stage: Stage) -> Message {
        let proposal = self.announced(state, stage);
        Message::Learn { stage, proposal }
    }

    /// Which change is announced by the step that leads here, if one is.
    fn announced(&self, state: &State<Self>, stage: Stage) -> Option<Proposal> {
        let place = stage.epoch.0.checked_sub(self.first.epoch().0)?;
        let proposal = state.durable.changes.get(usize::try_from(place).ok()?);
        let is_announced = matches!(stage.step, super::Step::Announced);
        proposal.filter(|_| is_announced).copied()
    }
}
