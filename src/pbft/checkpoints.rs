//! Checkpoints (§4.3): what a quorum vouches for need not be remembered.

use alloc::vec::Vec;

use super::keys::{Keys, Signed};
use super::log::{Durable, Service};
use super::statements::{Checkpoint, Message, Sequence, Stable};
use super::{Event, Pbft};
use crate::data::Map;
use crate::machine::{Outbox, State};

impl<K: Keys> Pbft<K> {
    /// True if the state at this place is a checkpoint.
    fn is_checkpoint(&self, sequence: Sequence) -> bool {
        sequence.0.checked_rem(self.watermarks.interval) == Some(0)
    }

    pub(super) fn checkpoint(&self, service: &Service) -> Checkpoint {
        Checkpoint {
            sequence: service.executed,
            digest: self.keys.digest(service),
        }
    }

    /// A batch was executed: every so often the replica vouches for what that made.
    pub(super) fn take_checkpoint(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let service = &state.durable.service;
        if !self.is_checkpoint(service.executed) {
            return;
        }
        let checkpoint = self.keys.signed(self.me, self.checkpoint(service));
        (state.durable.snapshots).insert(service.executed, service.clone());
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
        let is_mine = mine.is_some_and(|service| self.checkpoint(service).digest == digest);
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
        stable: Stable,
        service: Service,
        out: &mut Outbox<Self>,
    ) {
        let checkpoint = stable.checkpoint;
        if checkpoint.sequence <= state.durable.service.executed {
            return; // It is further.
        }
        if self.checkpoint(&service) != checkpoint || !self.is_stable(&stable) {
            return; // Nobody vouched for that.
        }
        state.durable.service = service.clone();
        state.durable.snapshots.insert(checkpoint.sequence, service);
        state.volatile.in_vain = 0;
        let service = &state.durable.service;
        (state.volatile.pending).retain(|_, request| !service.is_done(request));
        out.tell(Event::Transferred { checkpoint });
        self.stabilise(state, stable, out);
        self.execute(state, out);
    }
}
