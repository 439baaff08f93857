//! The worlds in which everything holds that ring change promises.

use quorate::data::NodeSet;
use quorate::database::Level;
use quorate::machine::{Machine, NodeId};
use quorate::rebalance::{Counting, Rebalance};

use super::{
    Bounds, CONVERGE, HINTED, Model, Order, Serial, Shape, agreed, bounds, healed, patient,
    reduced, world,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::ghost::Ghost;
use crate::world::World;

/// What the clients of many worlds call.
pub(super) const WRITE: &[&str] = &["w"];
pub(super) const WRITE_AND_READ: &[&str] = &["wr"];
pub(super) const WRITE_AND_READ_TWICE: &[&str] = &["wrr"];

/// What is handed over is in the network already.
const DELIVER: &str = "ring Database Deliver";

/// A world of reads and writes of the right machine.
pub(super) fn ordered(name: &str, bounds: Bounds) -> Model<Rebalance, Order> {
    reduced(world(name, bounds, |right| right), bounds).never(DELIVER)
}

/// A world of transactions of the right machine.
pub(super) fn decided(name: &str, bounds: Bounds) -> Model<Rebalance, Serial> {
    reduced(agreed(name, bounds, |right| right), bounds).never(DELIVER)
}

/// Two replicas of three nodes: a small world, in which there is little to see.
pub(super) fn two_replicas(clients: &'static [&'static str]) -> Bounds {
    Bounds {
        factor: 2,
        ..bounds(Shape::Join, clients)
    }
}

pub(super) fn node(id: u64) -> NodeSet {
    [NodeId(id)].into_iter().collect()
}

/// The same, with all calls at one node.
pub(super) fn door(id: u64, bounds: Bounds) -> Bounds {
    let doors = node(id);
    Bounds { doors, ..bounds }
}

/// A join, in which one of these crashes once.
pub(super) fn crashing(nodes: NodeSet, clients: &'static [&'static str]) -> Bounds {
    Bounds {
        crashes: 1,
        mortal: nodes,
        ..bounds(Shape::Join, clients)
    }
}

/// A write at ONE, at this node, while another joins.
pub(super) fn careless(id: u64) -> Bounds {
    Bounds {
        level: Level::One,
        ..door(id, patient(Shape::Join, WRITE))
    }
}

/// Transactions of two clients, each at one node, and how far the change has come when the rest is up to the
/// network: node 3 joins, node 1 loses the key, and node 2 has the log.
#[derive(Clone, Copy)]
pub(super) struct Contention {
    /// What the clients call.
    clients: &'static [&'static str],
    /// Where.
    doors: [u64; 2],
    /// What has happened.
    before: &'static [&'static [&'static str]],
}

impl Contention {
    pub(super) fn bounds(self) -> Bounds {
        let [first, second] = self.doors;
        Bounds {
            log: Some(NodeId(2)),
            first_door: Some(NodeId(first)),
            ..door(second, bounds(Shape::Join, self.clients))
        }
    }

    pub(super) fn begins<M: Machine, G: Ghost<M>>(self, world: World<M, G>) -> World<M, G> {
        world.begins_after(&self.before.concat())
    }

    fn decided(self, name: &str) -> Model<Rebalance, Serial> {
        // It was made before.
        self.begins(decided(name, self.bounds()))
            .never("call Change")
    }
}

/// Node 1 proposes the change, and then a transaction, for which it has a majority.
const PREPARED: &[&str] = &[
    "client 0 makes its next call, at n1",
    "client 0 makes its next call, at n1",
    "n2 hears from n1: Database { stage: e1 settled, message: Prepare",
    "n1 hears from n2: Database { stage: e1 settled, message: Promised",
];
/// A replica accepts it, as node 1 has: so it is chosen.
const CHOSEN: &[&str] = &["n2 hears from n1: Database { stage: e1 settled, message: Propose"];
/// Node 0 proposes the change.
const PROPOSED: &[&str] = &[
    "client 0 makes its next call, at n0",
    "n2 hears from n0: Propose",
];
/// The change is announced, and who joins gets its keys.
const STREAMED: &[&str] = &[
    "n0 hears from n2: Learn { stage: e1 announced",
    "n3 hears from n2: Learn { stage: e1 announced",
    "n0 hears from n3: Pull",
    "n2 hears from n3: Pull",
    "n3 hears from n0: Chunk",
    "n3 hears from n2: Chunk",
];
/// What was chosen by the old replicas, and nobody was told of, meets the transactions of the new ones.
pub(super) const CHOSEN_BEFORE: Contention = Contention {
    clients: &["A", "Bs"],
    doors: [1, 3],
    before: &[PREPARED, CHOSEN, &["n2 hears from n1: Propose"], STREAMED],
};

/// Who knows of no change goes on with its transaction, when the new replicas are asked for another.
pub(super) const GOES_ON: Contention = Contention {
    clients: &["A", "B"],
    doors: [1, 2],
    before: &[PREPARED, &["n2 hears from n1: Propose"], STREAMED],
};

/// A transaction while who joins has its keys, and is not read yet.
pub(super) const MEANWHILE: Contention = Contention {
    clients: &["A", "s"],
    doors: [0, 2],
    before: &[PROPOSED, STREAMED, &["n2 hears from n3: Ready"]],
};

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    [joins(), crashes(), transactions(), healing()]
        .into_iter()
        .flatten()
        .collect()
}

fn joins() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(1_788_528, 11_434_734, || {
            ordered("join", bounds(Shape::Join, WRITE_AND_READ_TWICE))
                .says("three replicas, four nodes, one of which joins; a client writes, and reads twice, at any of two nodes")
        }),
        Claimed::holds(1_184_279, 8_014_412, || {
            let bounds = Bounds {
                log: Some(NodeId(2)),
                ..bounds(Shape::Join, WRITE_AND_READ_TWICE)
            };
            ordered("member-log", bounds).says("the same, and a member has the log")
        }),
        Claimed::holds(1_713_182, 10_863_841, || {
            let counting = Counting::PendingToo;
            let bounds = Bounds {
                counting,
                ..bounds(Shape::Join, WRITE_AND_READ_TWICE)
            };
            ordered("pending-too", bounds)
                .says("a node joins; a write counts a quorum of all, and one more for the pending replica")
        }),
        Claimed::holds(113_385, 652_440, || {
            let leave = Bounds {
                shape: Shape::Leave,
                ..two_replicas(WRITE_AND_READ)
            };
            ordered("leave", leave)
                .says("two replicas, three nodes, one of which leaves; a client writes and reads")
        }),
        Claimed::holds(41_940, 204_348, || {
            ordered("begun-anew", door(1, patient(Shape::Join, WRITE_AND_READ)))
                .says("a node joins; a client writes and reads at one node, and what is under way begins anew with each step")
                // Whatever it wrote has returned when it reads.
                .except("a read finds a write that has not returned")
        }),
        Claimed::holds(13_494, 53_690, || {
            ordered("two-replicas", two_replicas(WRITE_AND_READ))
                .says("two replicas, three nodes, one of which joins; a client writes and reads")
        }),
        Claimed::holds(157_022, 850_883, || {
            let bounds = Bounds {
                shape: Shape::JoinAndLeave,
                ..two_replicas(WRITE_AND_READ)
            };
            ordered("join-and-leave", bounds)
                .says("two replicas; a node joins, and leaves again; a client writes and reads")
        }),
    ]
}

fn crashes() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds_deep(2_671_153, 17_186_254, || {
            ordered("crash", door(1, crashing(node(3), WRITE_AND_READ)))
                .says("a node joins, and crashes once; a client writes and reads at one node")
        }),
        Claimed::holds(88_924, 382_555, || {
            let bounds = Bounds {
                crashes: 1,
                mortal: node(3),
                ..two_replicas(WRITE_AND_READ)
            };
            ordered("log-crash", bounds)
                .says("two replicas; a node joins; the log crashes once; a client writes and reads")
        }),
        Claimed::holds(298_429, 1_244_013, || {
            let bounds = Bounds {
                crashes: 1,
                mortal: NodeSet::first(3),
                ..two_replicas(WRITE_AND_READ)
            };
            ordered("any-crash", bounds)
                .says("two replicas; a node joins; one crash of any; a client writes and reads")
        }),
    ]
}

fn transactions() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(273_331, 1_270_252, || {
            CHOSEN_BEFORE.decided("chosen-before")
                .says("a client sets a key if it has nothing, which two of three replicas accept, but nobody says so; a node joins; another client sets the key if it has nothing, and reads it by a transaction")
        }),
        Claimed::holds(19_223, 71_202, || {
            GOES_ON.decided("goes-on")
                .says("a node joins, and a replica that it replaces does not learn of it, and goes on with a transaction; the new replicas are asked for another")
        }),
        Claimed::holds(4_224_793, 44_264_608, || {
            MEANWHILE.decided("meanwhile")
                .says("a node joins, and has its keys; one client sets a key if it has nothing, another reads it by a transaction, while reads switch")
        }),
    ]
}

fn healing() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(20_144, 87_004, || {
            let bounds = Bounds {
                hints: true,
                ..careless(0)
            };
            reduced(healed("hinted", HINTED, bounds, |right| right), bounds)
                .says("a node joins; a client writes at ONE, and what its coordinator keeps goes to who joined, too")
        }),
        Claimed::holds(7_245, 30_488, || {
            let bounds = Bounds {
                anti_entropy: true,
                ..careless(1)
            };
            reduced(healed("compared", CONVERGE, bounds, |right| right), bounds)
                .rings_late(|_| true)
                .says("a node joins; a client writes at ONE, and replicas compare what they share")
        }),
    ]
}
