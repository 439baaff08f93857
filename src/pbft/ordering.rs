//! Normal operation (§4.2): the primary orders, a quorum agrees, a quorum knows that it did.

use alloc::vec::Vec;

use super::keys::{Keys, Signature, Signed};
use super::log::{Durable, Slot, Stage, client};
use super::statements::{
    Answer, Assignment, Batch, Certificate, Commit, Message, PrePrepare, Prepare, Request,
    Sequence, Stance,
};
use super::{BATCH_BYTES_MAX, Event, OPERATION_BYTES_MAX, PENDING_MAX, Pbft, Votes};
use crate::data::{Map, NodeSet};
use crate::machine::{NodeId, Outbox, State};

impl<K: Keys> Pbft<K> {
    /// A client asks, or another replica passes on what one asked.
    pub(super) fn on_request(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        request: Signed<Request>,
        out: &mut Outbox<Self>,
    ) {
        if OPERATION_BYTES_MAX < request.value.operation.bytes() {
            return; // It would fit no batch.
        }
        let client = client(&request);
        // What waits already was verified when it came.
        let is_known = state.volatile.pending.get(&client) == Some(&request);
        if !is_known && !self.keys.is_genuine(&request) {
            return;
        }
        let service = &state.durable.service;
        if service.is_done(&request) {
            // §4.1: "if the request has been processed, the replicas simply re-send the reply".
            return self.answer(state, &request, out);
        }
        let pending = &mut state.volatile.pending;
        let serial = request.value.session.serial;
        match pending.get(&client) {
            // The first of a client that lies wins: it asked two things by one name.
            Some(known) if serial <= known.value.session.serial => {}
            None if PENDING_MAX <= pending.len() => return, // The client will ask again.
            Some(_) | None => {
                pending.insert(client, request.clone());
            }
        }
        if self.is_primary(&state.durable) {
            self.order(state, out);
        } else if !self.is_replica(from) {
            let primary = self.sizes.primary(state.durable.view);
            out.send(primary, Message::Request(request));
        }
    }

    /// Tells a client what came of its request.
    fn answer(&self, state: &mut State<Self>, request: &Signed<Request>, out: &mut Outbox<Self>) {
        let Some(reply) = state.durable.service.reply(request).cloned() else {
            return; // The client has gone on since.
        };
        let answer = Answer {
            view: state.durable.view,
            client: request.by,
            session: request.value.session,
            reply,
        };
        let answer = self.keys.signed(self.me, answer);
        if request.by == self.me {
            self.on_answer(state, answer, out);
        } else {
            out.send(request.by, Message::Answer(answer));
        }
    }

    /// The primary orders what waits, as far as the watermarks let it.
    pub(super) fn order(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        while state.durable.stance == Stance::Active && self.is_primary(&state.durable) {
            let durable = &state.durable;
            let ordered = durable.slots.values();
            let ordered: Vec<Batch> = ordered
                .filter_map(|slot| self.batch(durable, &slot.digest))
                .collect();
            let is_ordered =
                |request: &&Signed<Request>| ordered.iter().any(|batch| batch.0.contains(request));
            let waiting = state.volatile.pending.values();
            let mut bytes = 0;
            let requests: Vec<_> = waiting
                .filter(|request| !is_ordered(request) && !durable.service.is_done(request))
                .take(self.batch_requests_max as usize)
                .take_while(|request| {
                    bytes += request.value.operation.bytes();
                    bytes <= BATCH_BYTES_MAX
                })
                .cloned()
                .collect();
            let last = durable.slots.last().map(|(place, _)| *place);
            let sequence = last.unwrap_or_default().max(durable.low()).next();
            if requests.is_empty() || !self.is_within(durable.low(), sequence) {
                return;
            }
            let executed = durable.service.executed.0;
            if executed.saturating_add(self.orders_max) < sequence.0 {
                return; // What waits is ordered together once the others are done.
            }
            let batch = Batch(requests);
            let order = PrePrepare(Assignment {
                view: durable.view,
                sequence,
                digest: self.keys.digest(&batch),
            });
            let order = self.keys.signed(self.me, order);
            let message = Message::PrePrepare {
                order: order.clone(),
                batch: batch.clone(),
            };
            out.broadcast(self.others(), &message);
            self.accept(state, order.value.0, order.signature, Some(batch), out);
        }
    }

    /// True if every request was signed by who is said to ask, none is there twice, and all together are
    /// no more than a primary may order at once.
    fn is_well_formed(&self, batch: &Batch) -> bool {
        let bytes = batch.0.iter().map(|one| one.value.operation.bytes());
        if (self.batch_requests_max as usize) < batch.0.len() || BATCH_BYTES_MAX < bytes.sum() {
            return false;
        }
        let mut clients: Vec<_> = batch.0.iter().map(client).collect();
        clients.sort_unstable();
        clients.dedup();
        clients.len() == batch.0.len()
            && batch.0.iter().all(|request| self.keys.is_genuine(request))
    }

    /// §4.2: "a backup accepts a pre-prepare message provided …".
    pub(super) fn on_pre_prepare(
        &self,
        state: &mut State<Self>,
        order: Signed<PrePrepare>,
        batch: Batch,
        out: &mut Outbox<Self>,
    ) {
        let assignment = order.value.0;
        let durable = &state.durable;
        if durable.stance == Stance::Changing || assignment.view != durable.view {
            return; // It is in another view.
        }
        if order.by != self.sizes.primary(assignment.view) {
            return; // Only the primary orders.
        }
        if !self.is_within(durable.low(), assignment.sequence) {
            return; // A traitor could use up all places.
        }
        if let Some(slot) = durable.slots.get(&assignment.sequence) {
            // It has accepted an order for this place in this view, which may lack its batch.
            let lacks = self.batch(durable, &slot.digest).is_none();
            if slot.digest != assignment.digest || !lacks {
                return;
            }
        }
        let is_whole = self.keys.digest(&batch) == assignment.digest && self.is_well_formed(&batch);
        if !is_whole || !self.keys.is_genuine(&order) {
            return;
        }
        self.accept(state, assignment, order.signature, Some(batch), out);
    }

    /// The order stands in this replica's log; with its batch, a backup agrees to it.
    pub(super) fn accept(
        &self,
        state: &mut State<Self>,
        assignment: Assignment,
        pre_prepare: Signature,
        batch: Option<Batch>,
        out: &mut Outbox<Self>,
    ) {
        let Assignment {
            sequence, digest, ..
        } = assignment;
        debug_assert!(assignment.view == state.durable.view, "of this view");
        if let Some(batch) = batch.filter(|batch| !batch.0.is_empty()) {
            let batches = &mut state.durable.batches;
            batches.entry_or_insert_with(digest, || (sequence, batch));
        }
        if let Some((place, _)) = state.durable.batches.get_mut(&digest) {
            *place = sequence.max(*place);
        }
        let slot = Slot {
            digest,
            pre_prepare,
            stage: Stage::PrePrepared,
        };
        state.durable.slots.insert(sequence, slot);
        if self.batch(&state.durable, &digest).is_some() && !self.is_primary(&state.durable) {
            let prepare = self.keys.signed(self.me, Prepare(assignment));
            out.broadcast(self.others(), &Message::Prepare(prepare));
        }
        self.advance(state, sequence, out);
    }

    /// The slot that a vote is for, if it still matters.
    fn slot_of<'a>(durable: &'a Durable, vote: &Assignment) -> Option<&'a Slot> {
        if durable.stance == Stance::Changing || vote.view != durable.view {
            return None;
        }
        let slot = durable.slots.get(&vote.sequence)?;
        (slot.digest == vote.digest && slot.stage != Stage::Committed).then_some(slot)
    }

    /// §4.2: another backup agrees.
    ///
    /// A vote for an order that this replica has not accepted is dropped: it is sent again to whoever
    /// asks. The paper logs it, and so lets a traitor fill the log with what nobody ordered.
    pub(super) fn on_prepare(
        &self,
        state: &mut State<Self>,
        prepare: Signed<Prepare>,
        out: &mut Outbox<Self>,
    ) {
        let vote = prepare.value.0;
        let is_backup = self.is_replica(prepare.by) && prepare.by != self.sizes.primary(vote.view);
        let Some(slot) = Self::slot_of(&state.durable, &vote) else {
            return;
        };
        if slot.stage != Stage::PrePrepared || !is_backup || prepare.by == self.me {
            return;
        }
        let votes = state.volatile.votes.get(&vote.sequence);
        if votes.is_some_and(|votes| votes.prepares.contains_key(&prepare.by)) {
            return; // It was counted.
        }
        if !self.keys.is_genuine(&prepare) {
            return;
        }
        let votes = (state.volatile.votes).entry_or_insert_with(vote.sequence, Votes::default);
        votes.prepares.insert(prepare.by, prepare.signature);
        self.advance(state, vote.sequence, out);
    }

    /// §4.2: another replica knows that a quorum agreed.
    pub(super) fn on_commit(
        &self,
        state: &mut State<Self>,
        commit: Signed<Commit>,
        out: &mut Outbox<Self>,
    ) {
        let vote = commit.value.0;
        let votes = state.volatile.votes.get(&vote.sequence);
        if votes.is_some_and(|votes| votes.commits.contains(commit.by)) {
            return; // It was counted.
        }
        if Self::slot_of(&state.durable, &vote).is_none()
            || !self.is_replica(commit.by)
            || commit.by == self.me
            || !self.keys.is_genuine(&commit)
        {
            return;
        }
        let votes = (state.volatile.votes).entry_or_insert_with(vote.sequence, Votes::default);
        votes.commits.insert(commit.by);
        self.advance(state, vote.sequence, out);
    }

    /// Looks how far a place has come.
    pub(super) fn advance(
        &self,
        state: &mut State<Self>,
        sequence: Sequence,
        out: &mut Outbox<Self>,
    ) {
        let Some(slot) = state.durable.slots.get(&sequence).cloned() else {
            return;
        };
        if self.batch(&state.durable, &slot.digest).is_none() {
            return; // It agrees to nothing that it has not seen.
        }
        let assignment = Assignment {
            view: state.durable.view,
            sequence,
            digest: slot.digest,
        };
        let mut stage = slot.stage;
        if stage == Stage::PrePrepared {
            let Some(certificate) = self.certificate(state, assignment, slot.pre_prepare) else {
                return;
            };
            stage = Stage::Prepared;
            state.durable.certificates.insert(sequence, certificate);
            let commit = self.keys.signed(self.me, Commit(assignment));
            out.broadcast(self.others(), &Message::Commit(commit));
            out.tell(Event::Prepared { assignment });
        }
        // committed-local: prepared, and 2f + 1 commits, this replica's among them.
        let votes = state.volatile.votes.get(&sequence);
        let mut committed = votes.map_or(NodeSet::EMPTY, |votes| votes.commits);
        committed.insert(self.me);
        if stage == Stage::Prepared && self.sizes.commits <= committed.len() {
            stage = Stage::Committed;
        }
        if let Some(slot) = state.durable.slots.get_mut(&sequence) {
            slot.stage = stage;
        }
        match stage {
            Stage::PrePrepared => {}
            Stage::Prepared => {
                if let Some(votes) = state.volatile.votes.get_mut(&sequence) {
                    votes.prepares = Map::default();
                }
            }
            Stage::Committed => {
                state.volatile.votes.remove(&sequence);
                self.execute(state, out);
            }
        }
    }

    /// The predicate *prepared* (§4.2), with what proves it to others.
    fn certificate(
        &self,
        state: &State<Self>,
        assignment: Assignment,
        pre_prepare: Signature,
    ) -> Option<Certificate> {
        let votes = state.volatile.votes.get(&assignment.sequence);
        let votes = votes.into_iter().flat_map(|votes| votes.prepares.iter());
        let mut prepares: Vec<_> = votes.map(|(by, by_its)| (*by, by_its.clone())).collect();
        if !self.is_primary(&state.durable) {
            prepares.push((self.me, self.keys.sign(&Prepare(assignment))));
        }
        (self.sizes.prepares <= prepares.len()).then(|| {
            prepares.truncate(self.sizes.prepares);
            Certificate {
                assignment,
                pre_prepare,
                prepares: self.keys.join(prepares),
            }
        })
    }

    /// §4.2: "each replica executes the operation … after all requests with lower sequence numbers".
    pub(super) fn execute(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let before = state.durable.service.executed;
        while let Some((sequence, batch)) = self.ready(&state.durable) {
            let mut effective = Vec::new();
            state.durable.service.executed = sequence;
            state.volatile.in_vain = 0;
            for request in &batch.0 {
                if state.durable.service.execute(request).is_some() {
                    effective.push((client(request), request.value.session.serial));
                }
                self.answer(state, request, out);
            }
            let service = &state.durable.service;
            (state.volatile.pending).retain(|_, request| !service.is_done(request));
            out.tell(Event::Executed {
                sequence,
                batch,
                effective,
            });
            self.take_checkpoint(state, out);
        }
        self.answer_reads(state, out);
        if before < state.durable.service.executed {
            self.order(state, out);
        }
    }

    /// The next batch to execute, if it is committed.
    fn ready(&self, durable: &Durable) -> Option<(Sequence, Batch)> {
        let next = durable.service.executed.next();
        let slot = durable.slots.get(&next)?;
        if slot.stage != Stage::Committed {
            return None;
        }
        Some((next, self.batch(durable, &slot.digest)?))
    }

    /// Forgets the votes of a view that is over.
    pub(super) fn forget_view(state: &mut State<Self>) {
        state.durable.slots = Map::default();
        state.volatile.votes = Map::default();
    }

    /// An order of this replica's view, made again from its log.
    pub(super) fn order_at(
        &self,
        durable: &Durable,
        sequence: Sequence,
    ) -> Option<(Assignment, Signed<PrePrepare>, Option<Batch>)> {
        let Slot {
            digest,
            pre_prepare,
            ..
        } = durable.slots.get(&sequence)?;
        let assignment = Assignment {
            view: durable.view,
            sequence,
            digest: *digest,
        };
        let order = Signed {
            by: self.sizes.primary(durable.view),
            value: PrePrepare(assignment),
            signature: pre_prepare.clone(),
        };
        Some((assignment, order, self.batch(durable, digest)))
    }
}
