//! The ghost of ring change: what a read must not be older than, and what each node has learned.

use std::collections::BTreeMap;
use std::fmt;

use quorate::database::Stamp;
use quorate::machine::{Machine, NodeId};
use quorate::rebalance::{Call, Event, Stage, Step};

use super::{FIRST, FORWARD, IN_ORDER, READ};
use crate::ghost::{Breaches, Ghost};

/// What a read must not be older than.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Floor {
    /// Where it is made.
    node: NodeId,
    /// The last write in the order that had been acknowledged before it began.
    acknowledged: Option<Stamp>,
    /// What had been returned before it began.
    returned: Option<Stamp>,
}

/// What was told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Past {
    /// What each node knows of the ring.
    stages: Vec<Stage>,
    /// The last write in the order that was acknowledged.
    pub acknowledged: Option<Stamp>,
    /// The last that was returned.
    pub returned: Option<Stamp>,
    /// The reads under way.
    reads: BTreeMap<u64, Floor>,
    /// A node that reads by the next ring returned a write.
    pub crossed: bool,
    /// What was broken.
    pub breaches: Breaches,
}

impl Past {
    /// Nothing was told yet.
    pub fn new(nodes: usize) -> Self {
        Self {
            stages: vec![FIRST; nodes],
            acknowledged: None,
            returned: None,
            reads: BTreeMap::new(),
            crossed: false,
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

    fn got(&mut self, node: NodeId, ticket: u64, stamp: Option<Stamp>) {
        let Some(floor) = self.reads.remove(&ticket) else {
            return;
        };
        self.breaches.note(stamp < floor.acknowledged, READ);
        self.breaches.note(stamp < floor.returned, FORWARD);
        self.returned = self.returned.max(stamp);
        let place = usize::try_from(node.0).unwrap_or(usize::MAX);
        let reads_by_next = self
            .stages
            .get(place)
            .is_some_and(|stage| stage.epoch > FIRST.epoch || stage.step == Step::Switched);
        self.crossed |= reads_by_next && stamp.is_some();
    }
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |stamp: &Option<Stamp>| match stamp {
            Some(stamp) => format!("the write of {stamp:?}"),
            None => "nothing".into(),
        };
        write!(f, "acknowledged: {}", told(&self.acknowledged))?;
        write!(f, "; returned: {}", told(&self.returned))?;
        for (ticket, floor) in &self.reads {
            let (one, other) = (told(&floor.acknowledged), told(&floor.returned));
            write!(
                f,
                "; read {ticket} began when {one} was acknowledged and {other} was returned"
            )?;
        }
        write!(f, "{}", self.breaches)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Past {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Write { ticket, .. } | Call::Read { ticket, .. } | Call::Change { ticket, .. }) =
            call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Wrote { ticket, .. }
            | Event::Got { ticket, .. }
            | Event::Proposed { ticket }
            | Event::GaveUp { ticket }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Learned { .. } | Event::Streamed { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, node: NodeId, call: &Call) {
        if let Call::Read { ticket, .. } = call {
            let floor = Floor {
                node,
                acknowledged: self.acknowledged,
                returned: self.returned,
            };
            self.reads.insert(*ticket, floor);
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Wrote { stamp, .. } => {
                self.acknowledged = self.acknowledged.max(Some(*stamp));
            }
            Event::Got { ticket, cell } => self.got(node, *ticket, cell.stamp()),
            Event::Learned { stage } => self.learned(node, *stage),
            Event::GaveUp { ticket } | Event::Refused { ticket, .. } => {
                self.reads.remove(ticket);
            }
            Event::Proposed { .. } | Event::Streamed { .. } => {}
        }
    }

    /// What was under way at it returns no more.
    fn on_crash(&mut self, node: NodeId) {
        self.reads.retain(|_, floor| floor.node != node);
    }
}
