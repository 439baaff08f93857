//! The ghost of ring change: what the database's own ghost makes of the calls, and what each node has learned.

use std::fmt;

use quorate::database::{self, Database, Outcome};
use quorate::machine::{Machine, NodeId};
use quorate::rebalance::{Call, Event, Stage, Step};

use super::{FIRST, IN_ORDER};
use crate::ghost::{Breaches, Ghost};

/// What was told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Told<G> {
    /// Of the calls.
    pub(super) calls: G,
    /// What each node knows of the ring.
    stages: Vec<Stage>,
    /// A node that reads by the next ring has returned a write.
    pub(super) is_crossed: bool,
    /// What was broken of the promises of ring change.
    pub(super) breaches: Breaches,
}

impl<G> Told<G> {
    /// Nothing was told yet.
    pub(super) fn new(nodes: usize, calls: G) -> Self {
        Self {
            calls,
            stages: vec![FIRST; nodes],
            is_crossed: false,
            breaches: Breaches::default(),
        }
    }

    fn learned(&mut self, node: NodeId, stage: Stage) {
        let place = usize::try_from(node.0).unwrap_or(usize::MAX);
        if let Some(known) = self.stages.get_mut(place) {
            self.breaches.note(known.next() != Some(stage), IN_ORDER);
            *known = stage;
        }
    }

    fn reads_by_next(&self, node: NodeId) -> bool {
        let place = usize::try_from(node.0).unwrap_or(usize::MAX);
        (self.stages.get(place))
            .is_some_and(|stage| stage.epoch > FIRST.epoch || stage.step == Step::Switched)
    }
}

/// True if the call returned something of a write.
fn finds(event: &database::Event) -> bool {
    match event {
        database::Event::Read { values, .. } => !values.is_empty(),
        database::Event::Transacted { outcome, .. } => match outcome {
            Outcome::Applied => true,
            Outcome::Unexpected(value) | Outcome::Found(value) => value.is_some(),
        },
        database::Event::Wrote { .. }
        | database::Event::Refused { .. }
        | database::Event::Failed { .. } => false,
    }
}

impl<G: fmt::Debug> fmt::Debug for Told<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.calls, self.breaches)
    }
}

impl<M, G> Ghost<M> for Told<G>
where
    M: Machine<Call = Call, Event = Event>,
    G: Ghost<Database>,
{
    fn ticket(call: &Call) -> Option<u64> {
        match call {
            Call::Database(call) => G::ticket(call),
            Call::Change { ticket, .. } => Some(*ticket),
        }
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Database(event) => G::finished(event),
            Event::Proposed { ticket } | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Learned { .. } | Event::Streamed { .. } => None,
        }
    }

    fn on_call(&mut self, client: usize, node: NodeId, call: &Call) {
        if let Call::Database(call) = call {
            self.calls.on_call(client, node, call);
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Database(event) => {
                self.is_crossed |= self.reads_by_next(node) && finds(event);
                self.calls.on_event(node, event);
            }
            Event::Learned { stage } => self.learned(node, *stage),
            Event::Proposed { .. } | Event::Refused { .. } | Event::Streamed { .. } => {}
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        self.calls.on_crash(node);
    }
}
