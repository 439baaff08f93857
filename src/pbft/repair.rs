//! Repair: whoever waits says how far it is, and is sent what it lacks (thesis §5.2).
//!
//! Each time that is little, whatever it lacks: repair must not drown what it repairs. Who lacks more
//! asks again, from where it then is.

use super::Pbft;
use alloc::vec::Vec;

use super::keys::Keys;
use super::log::{Durable, Stage};
use super::statements::{Commit, Message, Prepare, Sequence, Stance, View};
use crate::machine::{NodeId, Outbox, State};

/// Of how many places a replica sends what it said, each time.
const PLACES_MAX: usize = 8;
/// How many requests it passes on again, each time.
const REQUESTS_MAX: usize = 32;

impl<K: Keys> Pbft<K> {
    /// What this replica waits for may have been lost.
    pub(super) fn resend(&self, state: &State<Self>, out: &mut Outbox<Self>) {
        let durable = &state.durable;
        out.broadcast(self.others(), &Self::status(state));
        if let Some(fetching) = &state.volatile.fetching {
            let (checkpoint, index) = (fetching.stable.checkpoint, fetching.pages);
            out.broadcast(self.others(), &Message::Fetch { checkpoint, index });
        }
        if durable.stance == Stance::Changing {
            let change = self.view_change(durable);
            out.broadcast(self.others(), &Message::ViewChange(change));
        } else if !self.is_primary(durable) {
            // The primary may not have heard of what waits.
            let primary = self.sizes.primary(durable.view);
            for request in state.volatile.pending.values().take(REQUESTS_MAX) {
                out.send(primary, Message::Request(request.clone()));
            }
        }
        // Who lacks a place that was executed here asks for itself.
        for message in self.said(durable, durable.service.executed) {
            out.broadcast(self.others(), &message);
        }
    }

    /// How far this replica is.
    fn status(state: &State<Self>) -> Message {
        Message::Status {
            view: state.durable.view,
            stance: state.durable.stance,
            executed: Self::reached(state),
        }
    }

    /// What this replica said of the next places after `executed` in its view. It has said nothing of a
    /// batch that it has not seen.
    fn said(&self, durable: &Durable, executed: Sequence) -> Vec<Message> {
        let mut said = Vec::new();
        for (place, slot) in durable.slots.range(executed.next()..).take(PLACES_MAX) {
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
            out.send(from, Self::status(state));
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
        if executed < durable.low() {
            Self::show_state(durable, from, out);
        }
        for (place, snapshot) in durable.snapshots.range(durable.low().next()..) {
            // It may be one short of a stable checkpoint.
            let checkpoint = snapshot.checkpoint();
            debug_assert!(*place == checkpoint.sequence, "a snapshot is of its place");
            let checkpoint = self.keys.signed(self.me, checkpoint);
            out.send(from, Message::Checkpoint(checkpoint));
        }
        if durable.stance == Stance::Active {
            for message in self.said(durable, executed) {
                out.send(from, message);
            }
        }
    }
}
