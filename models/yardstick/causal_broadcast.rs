//! Causal broadcast in an abstraction whose states others have counted: 5,131 for three nodes and three
//! broadcasts, 155,505 for four and three; and where copies are repeated 4,900 for three nodes and two
//! broadcasts, 732,262 for three and three.
//!
//! There is no loss, no crash and no store. A broadcast has a number of its own, in the order in which all
//! broadcasts were made, wherever; each node keeps its clock, its hold-back queue and the list of what it
//! has delivered, its own included, in order; a receipt delivers all that has become ready. What is in
//! flight are the copies that were not received.
//!
//! Where copies are repeated, each may be received once and stay in flight all the same. A copy of what
//! was delivered is ignored; one of what is held back is held back beside the first, and nobody takes it
//! out again. That is no good store, but what was counted.
//!
//! The network of a world forgets nothing, so here a node remembers which copies it took, and ignores them
//! from then on: what is in flight can be told from the nodes, and the states are the same ones.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use quorate::causal::Version;
use quorate::clock::Vector;
use quorate::data::NodeSet;
use quorate::machine::{Machine, Never, NodeId, Outbox, State};
use serde::{Deserialize, Serialize};

use crate::ghost::NoGhost;
use crate::world::World;

/// What becomes of a copy that is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fate {
    /// It stays in flight, the first time.
    Stays,
    /// It is gone.
    Goes,
}

/// A copy of a broadcast.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Copy {
    /// Of which. The value is the number.
    pub broadcast: Version,
    /// What becomes of it.
    pub fate: Fate,
}

/// A node that broadcasts when it is told to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broadcaster {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub nodes: NodeSet,
    /// What may become of a copy.
    pub fates: BTreeSet<Fate>,
}

/// What a node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Knowledge {
    /// How many broadcasts of each node it has delivered.
    pub clock: Vector,
    /// Those it holds back, sorted; one that was repeated is there twice.
    pub held: Vec<Version>,
    /// Those it has delivered, in order.
    pub delivered: Vec<Version>,
    /// The numbers of the copies that it received, and what became of them.
    pub received: BTreeSet<(String, Fate)>,
}

impl Machine for Broadcaster {
    /// The number of the broadcast.
    type Call = String;
    type Message = Copy;
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
        let broadcast = Version {
            origin: self.me,
            stamp: knowledge.clock.clone(),
            value: number,
        };
        for fate in self.fates.iter().copied() {
            let broadcast = broadcast.clone();
            let others = self.nodes.iter().filter(|node| *node != self.me);
            out.broadcast(others, &Copy { broadcast, fate });
        }
        knowledge.delivered.push(broadcast);
    }

    fn on_message(&self, state: &mut State<Self>, _: NodeId, copy: Copy, _: &mut Outbox<Self>) {
        let Copy { broadcast, fate } = copy;
        let knowledge = &mut state.volatile;
        let number = &broadcast.value;
        let is_gone = knowledge.received.contains(&(number.clone(), Fate::Goes));
        if is_gone || !knowledge.received.insert((number.clone(), fate)) {
            return; // It is not in flight, or was repeated before.
        }
        if knowledge.clock.covers(broadcast.dot()) {
            return; // It was delivered.
        }
        knowledge.held.push(broadcast);
        knowledge.held.sort();
        while let Some(place) = knowledge.next() {
            let next = knowledge.held.remove(place);
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
    fn next(&self) -> Option<usize> {
        let mut held = self.held.iter();
        held.position(|version| version.is_next(&self.clock))
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
    world(nodes, broadcasts, &[Fate::Goes])
}

/// The same where each copy may be repeated once.
#[must_use]
pub fn repeated_broadcast(nodes: usize, broadcasts: usize) -> World<Broadcaster, NoGhost> {
    world(nodes, broadcasts, &[Fate::Stays, Fate::Goes])
}

fn world(nodes: usize, broadcasts: usize, fates: &[Fate]) -> World<Broadcaster, NoGhost> {
    let nodes = NodeSet::first(nodes);
    let machines = nodes.iter().map(|me| Broadcaster {
        me,
        nodes,
        fates: fates.iter().copied().collect(),
    });
    World::new("causal-broadcast", machines.collect(), NoGhost)
        .client((0..broadcasts).map(|number| number.to_string()))
        .always_of_nodes(CAUSAL, |nodes| {
            let mut running = nodes.iter().filter_map(|node| node.up());
            running.all(|state| state.volatile.is_causal())
        })
}
