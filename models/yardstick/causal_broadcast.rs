//! Causal broadcast in an abstraction whose states others have counted: 5,131 for three nodes and three
//! broadcasts, 155,505 for four and three.
//!
//! There is no loss, no repetition, no crash and no store. A broadcast has a number of its own, in the
//! order in which all broadcasts were made, wherever; each node keeps its clock, its hold-back queue and
//! the list of what it has delivered, its own included, in order; a receipt delivers all that has become
//! ready. What is in flight are the copies that were not received.
//!
//! The network of a world forgets nothing, so a copy can be received twice. Here that changes nothing, as
//! a node ignores what it has received: what is in flight can be told from the nodes, and the states are
//! the same ones. So our count with repetition is our count without. Counts of 4,900 (three nodes, two
//! broadcasts) and 732,262 (three and three) are known of an abstraction that keeps the copies that
//! repetition makes; how it keeps them we do not know.

use std::ops::Range;
use std::time::Duration;

use quorate::causal::Version;
use quorate::clock::Vector;
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, Never, NodeId, Outbox, State};
use serde::{Deserialize, Serialize};

use crate::ghost::NoGhost;
use crate::world::World;

/// A node that broadcasts when it is told to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broadcaster {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub nodes: NodeSet,
}

/// What a node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Knowledge {
    /// How many broadcasts of each node it has delivered.
    pub clock: Vector,
    /// Those it holds back, by number.
    pub held: Map<String, Version>,
    /// Those it has delivered, in order.
    pub delivered: Vec<Version>,
}

impl Machine for Broadcaster {
    /// The number of the broadcast.
    type Call = String;
    type Message = Version;
    type Timer = Never;
    type Event = ();
    type Durable = ();
    type Volatile = Knowledge;

    fn boot(&self, (): &mut (), _: &mut Outbox<Self>) -> Knowledge {
        Knowledge::default()
    }

    fn on_call(&self, state: &mut State<Self>, number: String, out: &mut Outbox<Self>) {
        let knowledge = &mut state.volatile;
        if knowledge.clock.tick(self.me).is_err() {
            return;
        }
        let message = Version {
            origin: self.me,
            stamp: knowledge.clock.clone(),
            value: number,
        };
        knowledge.delivered.push(message.clone());
        let others = self.nodes.iter().filter(|node| *node != self.me);
        out.broadcast(others, &message);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        _: NodeId,
        message: Version,
        _: &mut Outbox<Self>,
    ) {
        let knowledge = &mut state.volatile;
        if knowledge.clock.covers(message.dot()) {
            return; // It was received.
        }
        knowledge.held.insert(message.value.clone(), message);
        while let Some(next) = knowledge.next() {
            knowledge.held.remove(&next.value);
            knowledge.clock.merge(&next.stamp);
            knowledge.delivered.push(next);
        }
    }

    fn on_timer(&self, _: &mut State<Self>, timer: Never, _: &mut Outbox<Self>) {
        match timer {}
    }

    fn delay(&self, timer: &Never) -> Range<Duration> {
        match *timer {}
    }
}

impl Knowledge {
    fn next(&self) -> Option<Version> {
        let mut held = self.held.values();
        held.find(|version| version.is_next(&self.clock)).cloned()
    }

    /// True if nothing was delivered before a cause of it, or twice.
    fn is_causal(&self) -> bool {
        let mut clock = Vector::new();
        self.delivered.iter().all(|version| {
            let next = version.is_next(&clock);
            clock.merge(&version.stamp);
            next
        })
    }
}

/// What the world promises.
pub const CAUSAL: &str = "causal delivery";

/// The world: this many nodes, and so many broadcasts in all, each made anywhere.
#[must_use]
pub fn causal_broadcast(nodes: usize, broadcasts: usize) -> World<Broadcaster, NoGhost> {
    let nodes = NodeSet::first(nodes);
    let machines = nodes.iter().map(|me| Broadcaster { me, nodes });
    World::new("causal-broadcast", machines.collect(), NoGhost)
        .client((0..broadcasts).map(|number| number.to_string()))
        .always_of_nodes(CAUSAL, |nodes| {
            let mut running = nodes.iter().filter_map(|node| node.up());
            running.all(|state| state.volatile.is_causal())
        })
}
