//! What replicas told, folded.

use std::fmt;

use quorate::data::Map;
use quorate::machine::{Machine, NodeId};
use quorate::pbft::{
    Assignment, Batch, Call, Client, Digest, Event, Operation, Reply, Sequence, View,
};

use super::{AGREEMENT, IN_ORDER, UNIQUE, VALIDITY};
use crate::ghost::{Breaches, Ghost};
use crate::history::{self, History, OperationId};
use crate::kv::OneStore;
use crate::symmetry::Renaming;

/// What honest replicas executed and prepared.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Record {
    /// What was executed at each place, first by anyone.
    executed: Map<Sequence, Batch>,
    /// Where each request had its effect.
    effects: Map<(Client, u64), Sequence>,
    /// The last place that each replica executed.
    last: Map<NodeId, Sequence>,
    /// What was prepared at each place in each view, first by anyone.
    prepared: Map<(View, Sequence), Digest>,
    broken: Breaches,
    /// Who broke a promise first, and by what. Nobody, in a world whose promises hold.
    because: Option<(NodeId, String)>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prepared.is_empty() {
            write!(f, "nothing is prepared")?;
        }
        for (count, ((view, sequence), digest)) in self.prepared.iter().enumerate() {
            let separator = if count == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}{digest:?} was prepared at {sequence:?} in {view:?}"
            )?;
        }
        for (sequence, batch) in &self.executed {
            write!(f, "; {batch:?} was executed at {sequence:?}")?;
        }
        if let Some((node, what)) = &self.because {
            write!(f, "; but {node} {what}")?;
        }
        write!(f, "{}", self.broken)
    }
}

impl Record {
    /// True if a promise was broken.
    pub(super) fn breaks(&self, promise: &'static str) -> bool {
        self.broken.of(promise)
    }

    /// True if something was executed.
    pub(super) fn has_executed(&self) -> bool {
        !self.executed.is_empty()
    }

    /// True if one batch was prepared at a place in two views.
    pub(super) fn is_carried_over(&self) -> bool {
        let mut prepared = self.prepared.iter();
        prepared.any(|((view, sequence), digest)| {
            self.prepared
                .iter()
                .any(|((later, there), same)| view < later && sequence == there && digest == same)
        })
    }

    /// True if different batches were prepared at a place in two views.
    pub(super) fn is_replaced(&self) -> bool {
        let mut prepared = self.prepared.iter();
        prepared.any(|((view, sequence), digest)| {
            self.prepared
                .iter()
                .any(|((later, there), other)| view < later && sequence == there && digest != other)
        })
    }

    /// Remembers a breach, whose it is, and what. No name of a replica is in the words.
    fn note(
        &mut self,
        broken: bool,
        promise: &'static str,
        node: NodeId,
        what: impl FnOnce() -> String,
    ) {
        if broken && !self.broken.of(promise) {
            self.because.get_or_insert_with(|| (node, what()));
            self.broken.note(true, promise);
        }
    }

    fn on_prepared(&mut self, node: NodeId, assignment: Assignment) {
        let Assignment {
            view,
            sequence,
            digest,
        } = assignment;
        let place = (view, sequence);
        let first = *self.prepared.entry_or_insert_with(place, || digest);
        self.note(first != digest, UNIQUE, node, || {
            format!("prepared {digest:?} at {sequence:?} in {view:?}")
        });
    }

    fn on_executed(
        &mut self,
        node: NodeId,
        sequence: Sequence,
        batch: &Batch,
        effective: &[(Client, u64)],
    ) {
        let first = (self.executed).entry_or_insert_with(sequence, || batch.clone());
        let other = first != batch;
        self.note(other, AGREEMENT, node, || {
            format!("executed {batch:?} at {sequence:?}")
        });
        let last = self.last.insert(node, sequence).unwrap_or_default();
        self.note(last.next() != sequence, IN_ORDER, node, || {
            format!("executed nothing at {:?}", last.next())
        });
        for request in effective {
            let place = *self.effects.entry_or_insert_with(*request, || sequence);
            self.note(place != sequence, IN_ORDER, node, || {
                format!("did it at {sequence:?}, and it was done at {place:?}")
            });
        }
        let signed = |batch: &Batch| batch.0.iter().all(|one| one.signature.0.is_empty());
        self.note(!signed(batch), VALIDITY, node, || {
            format!("executed {batch:?}, which its client did not sign")
        });
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Record {
    fn ticket(call: &Call) -> Option<u64> {
        Some(call.ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        finished(event)
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Prepared { assignment } => self.on_prepared(node, *assignment),
            Event::Executed {
                sequence,
                batch,
                effective,
            } => self.on_executed(node, *sequence, batch, effective),
            Event::Transferred { checkpoint } => {
                self.last.insert(node, checkpoint.sequence);
            }
            Event::Stabilised { .. }
            | Event::Entered { .. }
            | Event::Replied { .. }
            | Event::Refused { .. } => {}
        }
    }

    fn renamed(&self, names: &Renaming) -> Self {
        let last = self.last.iter().map(|(node, at)| (names.node(*node), *at));
        let because = self.because.clone();
        Self {
            last: last.collect(),
            because: because.map(|(node, what)| (names.node(node), what)),
            ..self.clone()
        }
    }
}

fn finished(event: &Event) -> Option<u64> {
    match event {
        Event::Replied { ticket, .. } | Event::Refused { ticket, .. } => Some(*ticket),
        Event::Prepared { .. }
        | Event::Executed { .. }
        | Event::Stabilised { .. }
        | Event::Transferred { .. }
        | Event::Entered { .. } => None,
    }
}

/// What honest clients know, and nothing else: the history of their calls.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Clients {
    history: History<Operation, Reply>,
    /// Whether one store, with each command done once, could have answered so.
    pub(super) linearizable: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            history: History::default(),
            linearizable: true,
        }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.history.is_empty() {
            return write!(f, "no client was answered or asked");
        }
        let word = if self.linearizable { "" } else { "not " };
        write!(f, "clients saw {:?} ({word}linearizable)", self.history)
    }
}

impl Clients {
    /// True if a read returned.
    pub(super) fn has_read(&self) -> bool {
        let operations = self.history.operations();
        let mut reads = operations
            .iter()
            .filter(|one| matches!(one.call, Operation::Get { .. }));
        reads.any(|one| one.reply.is_some())
    }
}

fn operation_id(ticket: u64) -> OperationId {
    OperationId(u32::try_from(ticket).unwrap_or(u32::MAX))
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Clients {
    fn ticket(call: &Call) -> Option<u64> {
        Some(call.ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        finished(event)
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        let id = operation_id(call.ticket);
        let called = self.history.called(id, call.operation.clone());
        debug_assert!(called.is_ok(), "tickets are used once");
    }

    fn on_event(&mut self, _: NodeId, event: &Event) {
        if let Event::Replied { ticket, reply } = event {
            let returned = self.history.returned(operation_id(*ticket), reply.clone());
            self.linearizable &= returned.is_ok();
            self.linearizable &= history::linearizable(&OneStore, &self.history).is_ok();
        }
    }
}
