//! The client's part (§4.1): ask, and believe what f + 1 replicas say.

use super::keys::{Keys, Signed};
use super::statements::{Answer, Message, Request};
use super::{Call, Event, OPERATION_BYTES_MAX, Pbft, Refusal, Timer, WAITING_MAX, Waiting};
use crate::data::Map;
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
        };
        state.volatile.waiting.insert(session.client, asked);
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
        let Answer {
            client, session, ..
        } = answer.value;
        let Some(asked) = state.volatile.waiting.get_mut(&session.client) else {
            return; // Answered long ago.
        };
        let is_ours = client == self.me && asked.request.value.session == session;
        if !is_ours || !self.is_replica(answer.by) || !self.keys.is_genuine(&answer) {
            return;
        }
        let Answer { view, reply, .. } = answer.value;
        asked.answers.insert(answer.by, reply.clone());
        let equal = asked.answers.values().filter(|other| **other == reply);
        if equal.count() < self.sizes.honest {
            return;
        }
        let ticket = asked.ticket;
        state.volatile.waiting.remove(&session.client);
        state.volatile.believed = view;
        if state.volatile.waiting.is_empty() {
            out.disarm(Timer::Retry);
        }
        out.tell(Event::Replied { ticket, reply });
    }
}
