//! Changing the ring: proposing it, taking a step, and learning one.

use super::{
    Entry, Event, Leftovers, Log, Message, NodeId, Outbox, Proposal, Rebalance, Refusal, Stage,
    State, Stream, View, leftovers,
};

impl Rebalance {
    /// A change is proposed to the log, if as far as this node knows it can be made.
    pub(super) fn propose(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        proposal: Proposal,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        let View::Settled(ring) = self.view(&state.durable) else {
            return Err(Refusal::Busy);
        };
        if !self.nodes.contains(proposal.node()) || proposal.after(&ring).is_err() {
            return Err(Refusal::NoSuchRing);
        }
        let at = ring.epoch();
        out.tell(Event::Proposed { ticket });
        self.tell_log(state, Message::Propose { at, proposal }, out);
        Ok(())
    }

    /// Says something to the log, which may be this node.
    pub(super) fn tell_log(
        &self,
        state: &mut State<Self>,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if self.is_log() {
            self.on_message_to_log(state, self.log, &message, out);
        } else {
            out.send(self.log, message);
        }
    }

    pub(super) fn on_message_to_log(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: &Message,
        out: &mut Outbox<Self>,
    ) {
        let mut log = Log {
            nodes: self.nodes,
            first: self.first.epoch(),
            view: self.view(&state.durable),
            changes: &mut state.durable.changes,
            ready: &mut state.volatile.ready,
        };
        let taken = match message {
            Message::Propose { at, proposal } => log.propose(*at, *proposal),
            Message::Ready { stage } => log.is_done(from, *stage),
            Message::Ask { stage } => {
                if let Some(Entry { stage, proposal }) = log.after(*stage) {
                    out.send(from, Message::Learn { stage, proposal });
                }
                None
            }
            // Not for the log.
            Message::Database { .. }
            | Message::Learn { .. }
            | Message::Pull { .. }
            | Message::Chunk { .. } => None,
        };
        if let Some((view, Entry { stage, proposal })) = taken {
            let others = self.nodes.iter().filter(|node| *node != self.log);
            out.broadcast(others, &Message::Learn { stage, proposal });
            self.learn(state, view, out);
        }
    }

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
        // What leads nowhere the log does not say.
        if let Some(view) = view.advanced(proposal) {
            self.learn(state, view, out);
        }
    }

    /// From now on this node knows this of the ring.
    fn learn(&self, state: &mut State<Self>, view: View, out: &mut Outbox<Self>) {
        let before = self.placement(&self.view(&state.durable));
        let stage = view.stage();
        state.volatile.stream = Stream::opened(&view, self.database.me);
        state.volatile.leftovers = leftovers(&view);
        state.durable.view = Some(view.clone());
        out.tell(Event::Learned { stage });
        self.act(state, out, |database, state, out| {
            database.moved(&before, state, out);
        });
        self.pull(&view, &state.volatile.stream, out);
        self.report(state, out);
    }

    /// Says to the log that this node has done what the stage asks of it, if it has.
    pub(super) fn report(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let view = self.view(&state.durable);
        if view.is_ready(self.database.me, &state.volatile.stream) {
            let stage = view.stage();
            self.tell_log(state, Message::Ready { stage }, out);
        }
    }

    /// Asks the log for the next step, and again for what this node waits for.
    pub(super) fn poll(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        self.report(state, out);
        let view = self.view(&state.durable);
        if !self.is_log() {
            let stage = view.stage();
            out.send(self.log, Message::Ask { stage });
        }
        self.pull(&view, &state.volatile.stream, out);
        if let Leftovers::After(after) = state.volatile.leftovers.clone() {
            let mut rest = Leftovers::Nothing;
            self.act(state, out, |database, state, out| {
                rest = database.hand_over(state, after.as_ref(), out);
            });
            state.volatile.leftovers = rest;
        }
    }

    /// Asks all who have not given all.
    pub(super) fn pull(&self, view: &View, stream: &Stream, out: &mut Outbox<Self>) {
        let stage = view.stage();
        for (source, after) in stream.questions(view, self.database.me) {
            out.send(source, Message::Pull { stage, after });
        }
    }
}
