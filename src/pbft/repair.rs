//! Repair: whoever waits says how far it is, and is sent what it lacks (thesis §5.2).

use super::Pbft;
use alloc::vec::Vec;

use super::keys::Keys;
use super::log::{Durable, Stage};
use super::statements::{Commit, Message, Prepare, Sequence, Stance, View};
use crate::machine::{NodeId, Outbox, State};

impl<K: Keys> Pbft<K> {
    /// What this replica waits for may have been lost.
    pub(super) fn resend(&self, state: &State<Self>, out: &mut Outbox<Self>) {
        let durable = &state.durable;
        out.broadcast(self.others(), &Self::status(durable));
        if durable.stance == Stance::Changing {
            let change = self.view_change(durable);
            out.broadcast(self.others(), &Message::ViewChange(change));
        } else if !self.is_primary(durable) {
            // The primary may not have heard of what waits.
            let primary = self.sizes.primary(durable.view);
            for request in state.volatile.pending.values() {
                out.send(primary, Message::Request(request.clone()));
            }
        }
        for message in self.said(durable) {
            out.broadcast(self.others(), &message);
        }
    }

    /// How far this replica is.
    fn status(durable: &Durable) -> Message {
        Message::Status {
            view: durable.view,
            stance: durable.stance,
            executed: durable.service.executed,
        }
    }

    /// What this replica said of the places in its view. It has said nothing of a batch that it has not
    /// seen.
    fn said(&self, durable: &Durable) -> Vec<Message> {
        let mut said = Vec::new();
        for (place, slot) in &durable.slots {
            let Some((assignment, order, Some(batch))) = self.order_at(durable, *place) else {
                continue;
            };
            said.push(Message::PrePrepare { order, batch });
            if !self.is_primary(durable) {
                let prepare = self.keys.signed(self.me, Prepare(assignment));
                said.push(Message::Prepare(prepare));
            }
            if slot.stage != Stage::PrePrepared {
                let commit = self.keys.signed(self.me, Commit(assignment));
                said.push(Message::Commit(commit));
            }
        }
        said
    }

    /// Another replica waits: it is sent what it lacks, as far as it is here.
    pub(super) fn on_status(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        (view, stance): (View, Stance),
        executed: Sequence,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_replica(from) || from == self.me {
            return;
        }
        let durable = &state.durable;
        if durable.view < view && durable.stance == Stance::Active {
            // It waits for nothing, and is needed there: it asks how that view began.
            out.send(from, Self::status(durable));
        }
        if durable.stance == Stance::Changing && view <= durable.view {
            let change = self.view_change(durable);
            out.send(from, Message::ViewChange(change));
        }
        let is_outside = view < durable.view || view == durable.view && stance == Stance::Changing;
        if let Some(new_view) = &durable.new_view
            && is_outside
        {
            out.send(from, Message::NewView(new_view.clone()));
        }
        if let Some(stable) = &durable.stable
            && executed < stable.checkpoint.sequence
            && let Some(service) = durable.snapshots.get(&stable.checkpoint.sequence)
        {
            let (stable, service) = (stable.clone(), service.clone());
            out.send(from, Message::State { stable, service });
        }
        for (place, service) in durable.snapshots.range(durable.low().next()..) {
            // It may be one short of a stable checkpoint.
            debug_assert!(*place == service.executed, "a snapshot is of its place");
            let checkpoint = self.checkpoint(service);
            let checkpoint = self.keys.signed(self.me, checkpoint);
            out.send(from, Message::Checkpoint(checkpoint));
        }
        if durable.stance == Stance::Active {
            for message in self.said(durable) {
                out.send(from, message);
            }
        }
    }
}
