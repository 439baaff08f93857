//! The client's part (§4.1): ask, and believe what f + 1 replicas say; and reads that are not ordered
//! (§5.1), of which it takes a quorum.

use super::keys::{Keys, Signed};
use super::log::{Durable, client};
use super::statements::{Answer, Message, Reading, Request};
use super::{
    Call, Event, OPERATION_BYTES_MAX, PENDING_MAX, Pbft, Reads, Refusal, Timer, WAITING_MAX,
    Waiting,
};
use crate::data::Map;
use crate::kv::Operation;
use crate::machine::{NodeId, Outbox, State};

impl<K: Keys> Pbft<K> {
    /// §4.1: a client asks the primary.
    pub(super) fn ask(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let Call {
            ticket,
            session,
            operation,
        } = call;
        let waiting = &state.volatile.waiting;
        let refusal = if OPERATION_BYTES_MAX < operation.bytes() {
            Some(Refusal::TooLarge)
        } else if WAITING_MAX <= waiting.len() || waiting.contains_key(&session.client) {
            // One at a time, or the later one would make the earlier one old.
            Some(Refusal::Busy)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return out.tell(Event::Refused { ticket, refusal });
        }
        let request = Request { session, operation };
        let request = self.keys.signed(self.me, request);
        if waiting.is_empty() {
            out.arm(Timer::Retry);
        }
        let asked = Waiting {
            ticket,
            request: request.clone(),
            answers: Map::default(),
            readings: Map::default(),
        };
        state.volatile.waiting.insert(session.client, asked);
        if self.reads == Reads::Optimistic && is_read(&request) {
            out.broadcast(self.others(), &Message::Read(request.clone()));
            if self.is_replica(self.me) {
                self.on_read(state, request, out);
            }
            return;
        }
        let primary = self.sizes.primary(state.volatile.believed);
        self.pass_on(state, primary, request, out);
    }

    /// Sends a request, if it is not for this very node.
    fn pass_on(
        &self,
        state: &mut State<Self>,
        to: NodeId,
        request: Signed<Request>,
        out: &mut Outbox<Self>,
    ) {
        if to == self.me {
            self.on_request(state, self.me, request, out);
        } else {
            out.send(to, Message::Request(request));
        }
    }

    /// §4.1: without an answer in time, all replicas hear of it, so that they watch the primary.
    pub(super) fn retry(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let before = self.progress(state);
        let waiting = state.volatile.waiting.clone();
        for asked in waiting.values() {
            for replica in self.sizes.replicas {
                self.pass_on(state, replica, asked.request.clone(), out);
            }
        }
        self.watch(&before, state, out);
        if !state.volatile.waiting.is_empty() {
            out.arm(Timer::Retry);
        }
    }

    /// §4.1: f + 1 equal answers of different replicas have one of an honest replica among them.
    pub(super) fn on_answer(
        &self,
        state: &mut State<Self>,
        answer: Signed<Answer>,
        out: &mut Outbox<Self>,
    ) {
        if !self.awaits(state, answer.by, &answer.value) || !self.keys.is_genuine(&answer) {
            return;
        }
        let Signed { by, value, .. } = answer;
        if let Some(asked) = state.volatile.waiting.get_mut(&value.session.client) {
            asked.answers.insert(by, value.reply.clone());
            let equal = asked
                .answers
                .values()
                .filter(|other| **other == value.reply);
            if self.sizes.honest <= equal.count() {
                Self::return_to_caller(state, value, out);
            }
        }
    }

    /// §5.1: a quorum that reads alike has among it an honest replica with every request that was
    /// answered before.
    pub(super) fn on_reading(
        &self,
        state: &mut State<Self>,
        reading: Signed<Reading>,
        out: &mut Outbox<Self>,
    ) {
        if !self.awaits(state, reading.by, &reading.value.0) || !self.keys.is_genuine(&reading) {
            return;
        }
        let (by, value) = (reading.by, reading.value.0);
        if let Some(asked) = state.volatile.waiting.get_mut(&value.session.client) {
            if !is_read(&asked.request) {
                return; // It was to be done, not read.
            }
            asked.readings.insert(by, value.reply.clone());
            let equal = asked
                .readings
                .values()
                .filter(|other| **other == value.reply);
            if self.sizes.readings <= equal.count() {
                Self::return_to_caller(state, value, out);
            }
        }
    }

    /// True if a replica answers what this node asked and has no answer to yet.
    fn awaits(&self, state: &State<Self>, by: NodeId, answer: &Answer) -> bool {
        let asked = state.volatile.waiting.get(&answer.session.client);
        let is_ours = asked.is_some_and(|asked| {
            answer.client == self.me && asked.request.value.session == answer.session
        });
        is_ours && self.is_replica(by)
    }

    /// Enough replicas gave this answer: the call returns.
    fn return_to_caller(state: &mut State<Self>, answer: Answer, out: &mut Outbox<Self>) {
        let Some(asked) = state.volatile.waiting.remove(&answer.session.client) else {
            return;
        };
        state.volatile.believed = answer.view;
        if state.volatile.waiting.is_empty() {
            out.disarm(Timer::Retry);
        }
        let (ticket, reply) = (asked.ticket, answer.reply);
        out.tell(Event::Replied { ticket, reply });
    }

    /// §5.1: a client asks what need not be ordered.
    pub(super) fn on_read(
        &self,
        state: &mut State<Self>,
        request: Signed<Request>,
        out: &mut Outbox<Self>,
    ) {
        if !is_read(&request) || OPERATION_BYTES_MAX < request.value.operation.bytes() {
            return;
        }
        if !self.keys.is_genuine(&request) {
            return;
        }
        if Self::is_settled(&state.durable) {
            return self.read(state, request, out);
        }
        // §5.1: "after all requests reflected in its tentative state have committed".
        let reads = &mut state.volatile.reads;
        if reads.len() < PENDING_MAX || reads.contains_key(&client(&request)) {
            reads.insert(client(&request), request);
        }
    }

    /// True if the replica has executed whatever it has prepared, or knows others to have executed.
    fn is_settled(durable: &Durable) -> bool {
        let prepared = durable.certificates.last().map(|(place, _)| *place);
        prepared.unwrap_or_default().max(durable.low()) <= durable.service.executed
    }

    /// Something was executed: reads that waited for it are answered.
    pub(super) fn answer_reads(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        if state.volatile.reads.is_empty() || !Self::is_settled(&state.durable) {
            return;
        }
        let reads = core::mem::take(&mut state.volatile.reads);
        for request in reads.values() {
            self.read(state, request.clone(), out);
        }
    }

    /// Answers a read from the state as it is.
    fn read(&self, state: &mut State<Self>, request: Signed<Request>, out: &mut Outbox<Self>) {
        let operation = &request.value.operation;
        let values = &state.durable.service.values;
        let (_, reply) = operation.apply(values.get(operation.key()));
        let reading = Reading(Answer {
            view: state.durable.view,
            client: request.by,
            session: request.value.session,
            reply,
        });
        let reading = self.keys.signed(self.me, reading);
        if request.by == self.me {
            self.on_reading(state, reading, out);
        } else {
            out.send(request.by, Message::Reading(reading));
        }
    }
}

/// True if a request changes nothing, whatever the state.
fn is_read(request: &Signed<Request>) -> bool {
    match request.value.operation {
        Operation::Get { .. } => true,
        Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::CompareAndSwap { .. }
        | Operation::Increment { .. } => false,
    }
}
