//! Checkpoints (§4.3): what a quorum vouches for need not be remembered.

use alloc::vec::Vec;

use super::keys::{Keys, Signed};
use super::log::{Durable, Page, Service, Snapshot};
use super::statements::{Checkpoint, Message, Sequence, Stable};
use super::{Event, Fetching, Pbft};
use crate::data::Map;
use crate::machine::{NodeId, Outbox, State};

impl<K: Keys> Pbft<K> {
    /// True if the state at this place is a checkpoint.
    fn is_checkpoint(&self, sequence: Sequence) -> bool {
        sequence.0.checked_rem(self.watermarks.interval) == Some(0)
    }

    /// A batch was executed: every so often the replica vouches for what that made.
    pub(super) fn take_checkpoint(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let service = &state.durable.service;
        if !self.is_checkpoint(service.executed) {
            return;
        }
        let snapshot = Snapshot::of(&self.keys, service.clone());
        let checkpoint = self.keys.signed(self.me, snapshot.checkpoint());
        (state.durable.snapshots).insert(service.executed, snapshot);
        out.broadcast(self.others(), &Message::Checkpoint(checkpoint.clone()));
        self.collect(state, checkpoint, out);
    }

    /// Another replica vouches for a state.
    pub(super) fn on_checkpoint(
        &self,
        state: &mut State<Self>,
        checkpoint: Signed<Checkpoint>,
        out: &mut Outbox<Self>,
    ) {
        let sequence = checkpoint.value.sequence;
        let low = state.durable.low();
        let is_theirs = self.is_replica(checkpoint.by) && checkpoint.by != self.me;
        if !is_theirs || !self.is_checkpoint(sequence) || sequence <= low {
            return;
        }
        if !self.keys.is_genuine(&checkpoint) {
            return;
        }
        if !self.is_within(low, sequence) {
            // It shows that this replica was left behind. One such of each other is enough.
            let votes = &mut state.volatile.checkpoints;
            let beyond: Vec<Sequence> = votes.keys().copied().collect();
            for place in beyond {
                if !self.is_within(low, place)
                    && let Some(votes) = votes.get_mut(&place)
                {
                    votes.remove(&checkpoint.by);
                }
            }
            votes.retain(|_, votes| !votes.is_empty());
        }
        self.collect(state, checkpoint, out);
    }

    /// §4.3: a quorum that vouches for one state makes it stable.
    ///
    /// Only once this replica has that state itself: until then it may have to execute what leads
    /// there. If it cannot, it asks, and is sent the state and the proof.
    fn collect(
        &self,
        state: &mut State<Self>,
        checkpoint: Signed<Checkpoint>,
        out: &mut Outbox<Self>,
    ) {
        let Checkpoint { sequence, digest } = checkpoint.value;
        let votes = (state.volatile.checkpoints).entry_or_insert_with(sequence, Map::default);
        votes.insert(checkpoint.by, checkpoint);
        let same = votes.iter().filter(|(_, vote)| vote.value.digest == digest);
        let mut same: Vec<_> = same
            .map(|(by, vote)| (*by, vote.signature.clone()))
            .collect();
        let mine = state.durable.snapshots.get(&sequence);
        let is_mine = mine.is_some_and(|snapshot| snapshot.checkpoint().digest == digest);
        if !is_mine || same.len() < self.sizes.checkpoints {
            return;
        }
        same.truncate(self.sizes.checkpoints);
        let stable = Stable {
            checkpoint: Checkpoint { sequence, digest },
            proof: self.keys.join(same),
        };
        self.stabilise(state, stable, out);
    }

    /// §4.3: "discards all pre-prepare, prepare, and commit messages with sequence number less than or
    /// equal to n from its log … all earlier checkpoints".
    pub(super) fn stabilise(
        &self,
        state: &mut State<Self>,
        stable: Stable,
        out: &mut Outbox<Self>,
    ) {
        let checkpoint = stable.checkpoint;
        let low = checkpoint.sequence;
        let Durable {
            slots,
            certificates,
            batches,
            snapshots,
            ..
        } = &mut state.durable;
        slots.retain(|place, _| low < *place);
        certificates.retain(|place, _| low < *place);
        batches.retain(|_, (place, _)| low < *place);
        snapshots.retain(|place, _| low <= *place);
        state.durable.stable = Some(stable);
        state.volatile.votes.retain(|place, _| low < *place);
        state.volatile.checkpoints.retain(|place, _| low < *place);
        out.tell(Event::Stabilised { checkpoint });
        // The window has moved on.
        self.order(state, out);
    }

    /// True if a quorum vouched for this checkpoint.
    pub(super) fn is_stable(&self, stable: &Stable) -> bool {
        let Stable { checkpoint, proof } = stable;
        let (nodes, enough) = (self.sizes.replicas, self.sizes.checkpoints);
        self.is_checkpoint(checkpoint.sequence)
            && self.keys.proves(proof, checkpoint, nodes, enough)
    }

    /// §4.6.2: a replica that was left behind takes over a state that a quorum vouched for.
    pub(super) fn on_state(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        stable: Stable,
        page: Page,
        out: &mut Outbox<Self>,
    ) {
        let checkpoint = stable.checkpoint;
        if checkpoint.sequence <= Self::reached(state) {
            return; // It is further, or is being sent as much.
        }
        if checkpoint.sequence < state.durable.low() {
            return; // The watermark never falls: what was below it is forgotten.
        }
        let is_first = page.executed == checkpoint.sequence;
        if !is_first || self.keys.digest(&page) != checkpoint.digest || !self.is_stable(&stable) {
            return; // Nobody vouched for that.
        }
        state.volatile.fetching = Some(Fetching {
            stable,
            service: Service::default(),
            pages: 0,
            next: checkpoint.digest,
        });
        self.take_page(state, from, page, out);
    }

    /// Another page of the state that it is being sent.
    pub(super) fn on_page(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        checkpoint: Checkpoint,
        index: u64,
        page: Page,
        out: &mut Outbox<Self>,
    ) {
        let Some(fetching) = &state.volatile.fetching else {
            return;
        };
        let is_next = fetching.stable.checkpoint == checkpoint && fetching.pages == index;
        if is_next && self.keys.digest(&page) == fetching.next {
            self.take_page(state, from, page, out);
        }
    }

    /// A page is the one that was vouched for: with the last, the state is whole.
    fn take_page(&self, state: &mut State<Self>, from: NodeId, page: Page, out: &mut Outbox<Self>) {
        let Some(fetching) = &mut state.volatile.fetching else {
            return;
        };
        let rest = page.rest;
        fetching.service.add(page);
        fetching.pages += 1;
        if let Some(next) = rest {
            fetching.next = next;
            let (checkpoint, index) = (fetching.stable.checkpoint, fetching.pages);
            return out.send(from, Message::Fetch { checkpoint, index });
        }
        let Some(Fetching {
            stable, service, ..
        }) = state.volatile.fetching.take()
        else {
            return;
        };
        let checkpoint = stable.checkpoint;
        let low = state.durable.low();
        if checkpoint.sequence <= state.durable.service.executed || checkpoint.sequence < low {
            return; // It has got there by itself, or must go further.
        }
        let snapshot = Snapshot::of(&self.keys, service.clone());
        state.durable.service = service;
        (state.durable.snapshots).insert(checkpoint.sequence, snapshot);
        state.volatile.in_vain = 0;
        let service = &state.durable.service;
        (state.volatile.pending).retain(|_, request| !service.is_done(request));
        out.tell(Event::Transferred { checkpoint });
        self.stabilise(state, stable, out);
        self.execute(state, out);
    }

    /// The last place that it executed, or whose state it is being sent.
    pub(super) fn reached(state: &State<Self>) -> Sequence {
        let fetching = state.volatile.fetching.as_ref();
        let fetching = fetching.map(|fetching| fetching.stable.checkpoint.sequence);
        let executed = state.durable.service.executed;
        fetching.map_or(executed, |place| place.max(executed))
    }

    /// Sends the state at the last stable checkpoint, if it is here: its first page.
    pub(super) fn show_state(durable: &Durable, to: NodeId, out: &mut Outbox<Self>) {
        if let Some(stable) = &durable.stable
            && let Some(snapshot) = durable.snapshots.get(&stable.checkpoint.sequence)
            && let Some(page) = snapshot.page(0)
        {
            let stable = stable.clone();
            out.send(to, Message::State { stable, page });
        }
    }

    /// Another replica asks for a page.
    pub(super) fn on_fetch(
        &self,
        state: &State<Self>,
        from: NodeId,
        checkpoint: Checkpoint,
        index: u64,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_replica(from) || from == self.me {
            return;
        }
        let durable = &state.durable;
        let snapshot = durable.snapshots.get(&checkpoint.sequence);
        let page = snapshot
            .filter(|snapshot| snapshot.checkpoint() == checkpoint)
            .and_then(|snapshot| snapshot.page(index));
        if let Some(page) = page {
            let message = Message::Page {
                checkpoint,
                index,
                page,
            };
            out.send(from, message);
        } else if checkpoint.sequence < durable.low() {
            // That state is gone; there is a later one.
            Self::show_state(durable, from, out);
        }
    }
}
