//! What is claimed of [`quorate::rebalance`]: its worlds, its promises, and the flaws that refute them.
//!
//! There is one key, which the change moves: one of the first three nodes loses it, the one that joins gains
//! it, the others keep it. Calls are made at one of these and at the one that loses it. [`corners`] tries every
//! combination of what a change has to take care of.

use quorate::data::NodeSet;
use quorate::database::{
    self, Conflicts, Database, Hints, Level, Placement, ReadRepair, Tombstones,
};
use quorate::machine::NodeId;
use quorate::merkle::keyed;
use quorate::rebalance::{Call, Counting, Durable, Proposal, Rebalance, Stage, Step, Timer, View};
use quorate::ring::{Epoch, Member, Rack, Ring, Token};

use crate::catalogue::Protocol;
use crate::database::{CONVERGE, HINTED, KEY, LINEARIZABLE, MONOTONIC, REGULAR, serial_script};
use crate::database::{Order, Serial};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::purge::{Discharged, obligations};
use crate::snapshot::{Snapshot, nobody_waits};
use crate::world::World;

pub mod corners;
mod dead;
mod exhibits;
mod flaws;
mod told;
mod worlds;

use told::Told;

/// Every node learns the steps in their order, crash or not.
pub const IN_ORDER: &str = "steps are learned in order";
/// In the calm, all nodes learn that the ring is settled, and nobody keeps what it is no replica of.
pub const ENDS: &str = "a change ends";
/// In the calm, every call at a live node returns.
pub const CALLS_RETURN: &str = "calls return";

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M, G> = World<M, Told<G>>;

/// What all know at first.
const FIRST: Stage = Stage {
    epoch: Epoch(1),
    step: Step::Settled,
};

/// How many alarms may ring in the calm: each node polls for each step, and for what it waits for.
const ROUNDS: u32 = 60;

/// How the ring changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One more node joins.
    Join,
    /// One of those leaves that have the key.
    Leave,
    /// One more node joins, and leaves again.
    JoinAndLeave,
}

/// The bounds of a world.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// How many replicas a key has.
    factor: u32,
    shape: Shape,
    /// What each client calls, one after the other. The first begins with the first change.
    clients: &'static [&'static str],
    /// How often an operation begins anew, if that is counted.
    restarts: Option<u32>,
    /// How many replicas reads and writes ask.
    level: Level,
    hints: bool,
    anti_entropy: bool,
    /// Who has the log, if it is not a node that is never a member.
    log: Option<NodeId>,
    /// Where calls are made.
    doors: NodeSet,
    /// Where those of the first client are made, if that is elsewhere.
    first_door: Option<NodeId>,
    /// How often one of these may crash.
    crashes: u32,
    mortal: NodeSet,
    counting: Counting,
}

const fn bounds(shape: Shape, clients: &'static [&'static str]) -> Bounds {
    Bounds {
        factor: 3,
        shape,
        clients,
        restarts: Some(0),
        level: Level::Quorum,
        hints: false,
        anti_entropy: false,
        log: None,
        doors: NodeSet::first(2),
        first_door: None,
        crashes: 0,
        mortal: NodeSet::EMPTY,
        counting: Counting::Both,
    }
}

/// The same, in which each operation begins anew as often as need be.
const fn patient(shape: Shape, clients: &'static [&'static str]) -> Bounds {
    Bounds {
        restarts: None,
        ..bounds(shape, clients)
    }
}

/// Two children, and a bucket of one.
const TREE: keyed::Shape = keyed::Shape {
    fan_bits: 1,
    bucket_max: 1,
};

impl Bounds {
    /// All that are or become members: one more than a key has replicas.
    fn members(self) -> NodeSet {
        NodeSet::first(self.factor as usize + 1)
    }

    fn joiner(self) -> NodeId {
        NodeId(u64::from(self.factor))
    }

    fn log(self) -> NodeId {
        self.log.unwrap_or(NodeId(u64::from(self.factor) + 1))
    }

    /// All of them, and who has the log.
    fn nodes(self) -> NodeSet {
        let mut nodes = self.members();
        nodes.insert(self.log());
        nodes
    }

    /// The ring with which all begin. Each node has one place.
    fn first(self) -> Ring {
        let joins = match self.shape {
            Shape::Join | Shape::JoinAndLeave => true,
            Shape::Leave => false,
        };
        let members = self.members().iter();
        let members = members.filter(|node| !joins || *node != self.joiner());
        let member = |node| (node, Member::new(node, Rack(0), 1));
        Ring::new(self.factor, members.map(member)).expect("a ring")
    }

    fn proposals(self) -> Vec<Proposal> {
        let node = self.joiner();
        let join = Proposal::Join {
            node,
            rack: Rack(0),
            virtual_nodes: 1,
        };
        match self.shape {
            Shape::Join => vec![join],
            Shape::Leave => vec![Proposal::Leave { node: NodeId(0) }],
            Shape::JoinAndLeave => vec![join, Proposal::Leave { node }],
        }
    }

    /// The rings that there are, one after the other.
    fn rings(self) -> Vec<Ring> {
        let mut rings = vec![self.first()];
        for proposal in self.proposals() {
            let next = proposal.after(&rings[rings.len() - 1]).expect("a ring");
            rings.push(next);
        }
        rings
    }

    /// The stage in which the last change is over.
    fn last(self) -> Stage {
        let rings = self.rings();
        Stage {
            epoch: rings[rings.len() - 1].epoch(),
            step: Step::Settled,
        }
    }

    /// The replicas by a ring of the key there is.
    fn replicas(self, stage: Stage) -> NodeSet {
        let rings = self.rings();
        let ring = rings.iter().find(|ring| ring.epoch() == stage.epoch);
        ring.map_or(NodeSet::EMPTY, |ring| {
            ring.holders(Token::of(KEY.as_bytes()))
        })
    }

    fn database(self, me: NodeId) -> Database {
        Database {
            me,
            placement: Placement::from(self.first()),
            nearby: self.nodes(),
            conflicts: Conflicts::LastWriterWins,
            read_repair: ReadRepair::Blocking,
            hints: if self.hints {
                Hints::Kept { max: 2 }
            } else {
                Hints::Off
            },
            counting: database::Counting::Strict,
            anti_entropy: self.anti_entropy.then_some(TREE),
            tombstones: Tombstones::Kept,
            patience: self.restarts,
        }
    }

    fn machines<M>(self, make: impl Fn(Rebalance) -> M) -> Vec<M> {
        let machine = |me| {
            make(Rebalance {
                log: self.log(),
                nodes: self.nodes(),
                first: self.first(),
                counting: self.counting,
                database: self.database(me),
            })
        };
        self.nodes().iter().map(machine).collect()
    }
}

/// The reads and writes of one client. A value says whose it is, and which.
fn script(client: usize, letters: &str, level: Level) -> Vec<database::Call> {
    let call = |(place, letter): (usize, char)| {
        let ticket = u64::try_from(10 * client + place).expect("a few");
        let token = database::Token::default();
        match letter {
            'w' => database::Call::Write {
                ticket,
                now: 0,
                writes: vec![(KEY.into(), Some(ticket.to_string()))],
                level,
                token,
            },
            _ => database::Call::Read {
                ticket,
                key: KEY.into(),
                level,
                token,
            },
        }
    };
    letters.chars().enumerate().map(call).collect()
}

/// A world in which the ring changes and these calls are made. The first client begins with the first change:
/// when it is made is up to the network. A later change has a client of its own, for it is refused until it
/// can be made.
fn changing<M: Twin<Rebalance>, G: Ghost<Database>>(
    name: &str,
    bounds: Bounds,
    scripts: Vec<Vec<database::Call>>,
    ghost: G,
    make: impl Fn(Rebalance) -> M,
) -> Model<M, G> {
    let nodes = bounds.nodes().len();
    let mut world = World::new(name, bounds.machines(make), Told::new(nodes, ghost))
        .doors(bounds.doors)
        .crashes(bounds.mortal, bounds.crashes)
        // A node polls for what may be lost, and what may be lost may arrive.
        .rings_late(|timer| *timer == Timer::Poll);
    let changes = bounds.proposals().into_iter().zip(1000..);
    let mut changes = changes.map(|(proposal, ticket)| Call::Change { ticket, proposal });
    let mut scripts: Vec<Vec<Call>> = (scripts.into_iter())
        .map(|calls| calls.into_iter().map(Call::Database).collect())
        .collect();
    if let (Some(first), Some(change)) = (scripts.first_mut(), changes.next()) {
        first.insert(0, change);
    }
    let scripts = scripts.into_iter().chain(changes.map(|it| vec![it]));
    for (client, script) in scripts.enumerate() {
        world = match bounds.first_door.filter(|_| client == 0) {
            Some(door) => world.client_at([door].into_iter().collect(), script),
            None => world.client(script),
        };
    }
    let last = bounds.last();
    world
        .always_told(IN_ORDER, |told| !told.ghost.breaches.of(IN_ORDER))
        .recovers(ENDS, ROUNDS, move |snapshot| {
            // What was proposed may have been lost, and then there is nothing to end.
            nothing_changes(snapshot) && only_replicas_have_it(snapshot, bounds)
        })
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .sometimes("all know that the last change is over", move |snapshot| {
            stages(snapshot).all(|stage| stage == last)
        })
}

/// A world of reads and writes, of which the database's promises are made.
fn world<M: Twin<Rebalance>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Rebalance) -> M,
) -> Model<M, Order> {
    let letters = bounds.clients.iter().enumerate();
    let scripts = letters.map(|(client, letters)| script(client, letters, bounds.level));
    changing(name, bounds, scripts.collect(), Order::default(), make)
        .always_told(REGULAR, |told| !told.ghost.calls.breaches.of(REGULAR))
        .always_told(MONOTONIC, |told| !told.ghost.calls.breaches.of(MONOTONIC))
        .sometimes_told("the ring has changed, and a read returns a write", |told| {
            told.ghost.is_crossed
        })
        .sometimes_told("a read finds a write that has not returned", |told| {
            told.ghost.calls.is_found_early
        })
}

/// A world of transactions.
fn agreed<M: Twin<Rebalance>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Rebalance) -> M,
) -> Model<M, Serial> {
    let mut tickets = 0;
    let scripts = (bounds.clients.iter())
        .map(|letters| serial_script(letters, &mut tickets))
        .collect();
    changing(name, bounds, scripts, Serial::default(), make)
        .always_told(LINEARIZABLE, |told| told.ghost.calls.is_linearizable)
        .sometimes_told(
            "the ring has changed, and a transaction is decided",
            |told| told.ghost.is_crossed,
        )
}

/// A world about what becomes of writes at ONE in the calm, by hints alone or by anti-entropy alone.
fn healed<M: Twin<Rebalance>>(
    name: &str,
    promise: &'static str,
    bounds: Bounds,
    make: impl Fn(Rebalance) -> M,
) -> Model<M, Order> {
    let last = bounds.last();
    let letters = bounds.clients.iter().enumerate();
    let scripts = letters.map(|(client, letters)| script(client, letters, bounds.level));
    changing(name, bounds, scripts.collect(), Order::default(), make)
        .recovers(promise, ROUNDS, move |snapshot| {
            let is_over = stages(snapshot).all(|stage| stage == last);
            !is_over || have_arrived(snapshot, bounds)
        })
        // A hint's time is not over.
        .rings_late(|timer| {
            matches!(
                timer,
                Timer::Poll | Timer::Database(database::Timer::Expire)
            )
        })
        .sometimes("the write is at one replica alone", move |snapshot| {
            let has_it = |(_, disk): &(NodeId, &Durable)| !disk.database.table.cells.is_empty();
            snapshot.disks().filter(has_it).count() == 1
        })
}

/// What a node with this disk knows.
fn known(disk: &Durable) -> Stage {
    disk.view.as_ref().map_or(FIRST, View::stage)
}

/// What the nodes know, each of the ring, as its disk has it.
fn stages<M: Twin<Rebalance>, G: Ghost<Database>>(
    snapshot: &Snapshot<M, Told<G>>,
) -> impl Iterator<Item = Stage> {
    snapshot.disks().map(|(_, disk)| known(disk))
}

/// True if all nodes know the same settled ring, and nobody proposes another.
fn nothing_changes<M: Twin<Rebalance>, G: Ghost<Database>>(
    snapshot: &Snapshot<M, Told<G>>,
) -> bool {
    let stages: Vec<Stage> = stages(snapshot).collect();
    let first = stages[0];
    stages.iter().all(|stage| *stage == first) && first.step == Step::Settled
}

/// True if no other node keeps the key, by what each knows.
fn only_replicas_have_it<M: Twin<Rebalance>, G: Ghost<Database>>(
    snapshot: &Snapshot<M, Told<G>>,
    bounds: Bounds,
) -> bool {
    snapshot.disks().all(|(node, disk)| {
        bounds.replicas(known(disk)).contains(node) || disk.database.table.cells.is_empty()
    })
}

/// True if all replicas by the last ring have the newest write that was ever given a stamp.
fn have_arrived<M: Twin<Rebalance>>(snapshot: &Snapshot<M, Told<Order>>, bounds: Bounds) -> bool {
    let minted = snapshot.disks().map(|(_, disk)| disk.database.time).max();
    let replicas = bounds.replicas(bounds.last());
    (snapshot.disks())
        .filter(|(node, _)| replicas.contains(*node))
        .all(|(_, disk)| {
            let stamp = disk.database.table.cell(KEY).stamp();
            Some(stamp.map(|stamp| stamp.time).unwrap_or_default()) == minted
        })
}

/// The same world, and messages that matter no more are forgotten.
fn forgetful<M: Twin<Rebalance>, G: Ghost<Database>>(
    world: Model<M, G>,
    kept: dead::Kept,
    is_fenced: bool,
) -> Model<M, G> {
    world.purging(
        move |letter, from| kept.may_go(&letter.message) && dead::sender_is_done(letter, from),
        move |letter, to| {
            kept.may_go(&letter.message) && dead::receiver_is_done(letter, to, is_fenced)
        },
    )
}

/// The same world of the right machine, and what is sent again is in the network already: it matters to
/// promises of the calm alone.
fn reduced<G: Ghost<Database>>(world: Model<Rebalance, G>, bounds: Bounds) -> Model<Rebalance, G> {
    let world = forgetful(world, dead::Kept::with(bounds.crashes), true).never("deliver Ask");
    match bounds.restarts {
        None => world.never("ring Database Retry"),
        // What is given up is not sent again.
        Some(_) => world,
    }
}

/// Checks what forgetting messages owes, in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn purging_is_owed() -> Result<Vec<Discharged>, String> {
    let transacting = Bounds {
        log: Some(NodeId(0)),
        ..worlds::door(0, worlds::two_replicas(&["A"]))
    };
    Ok(vec![
        obligations(|| worlds::ordered("purging", worlds::two_replicas(&["wr"])))?,
        obligations(|| worlds::decided("purging", transacting))?,
    ])
}

/// Ring change, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "rebalance",
        summary: "ring change: the database while a node joins or leaves, and nothing is lost",
        worlds: worlds::worlds(),
        flaws: exhibits::flaws(),
    }
}
