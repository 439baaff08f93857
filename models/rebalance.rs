//! What is claimed of [`quorate::rebalance`]: its worlds, its promises, and the flaws that refute them.
//!
//! There is one key, which the change moves: node 0 has it and loses it, the last member gains it, the
//! others keep it. Calls are made at node 0 and at one that keeps the key. [`corners`] tries every
//! combination of what a change has to take care of.

use quorate::data::NodeSet;
use quorate::database::Operation;
use quorate::machine::NodeId;
use quorate::rebalance::{
    Call, Counting, Durable, Message, Phase, Proposal, Rebalance, Stage, Step, Stream, Timer, View,
};
use quorate::ring::{Epoch, Member, Rack, Ring, Token};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::purge::{Discharged, obligations};
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::world::{Disk, World};

pub mod corners;
mod flaws;
pub mod past;

use flaws::{Flaw, Flawed, Safeguard, Safeguards};
use past::Past;

/// A read that begins after a write was acknowledged returns it, or a later one.
pub const READ: &str = "acknowledged writes are read";
/// A read returns nothing older than what was returned by a read that had ended.
pub const FORWARD: &str = "reads do not go back";
/// Every node learns the steps in their order, crash or not.
pub const IN_ORDER: &str = "steps are learned in order";
/// In the calm, all nodes learn that the ring is settled.
pub const ENDS: &str = "a change ends";
/// In the calm, every call at a live node returns.
pub const CALLS_RETURN: &str = "calls return";

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<M, Past>;

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
    /// Node 0 leaves.
    #[expect(dead_code, reason = "its world is not counted yet")]
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
    /// What each client calls, one after the other: *w*rite, *r*ead.
    clients: &'static [&'static str],
    /// How many steps an operation lives through.
    restarts: u32,
    /// Where calls are made.
    doors: NodeSet,
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
        restarts: 0,
        doors: NodeSet::first(2),
        crashes: 0,
        mortal: NodeSet::EMPTY,
        counting: Counting::Both,
    }
}

impl Bounds {
    /// All that are or become members: one more than a key has replicas.
    fn nodes(self) -> NodeSet {
        NodeSet::first(self.factor as usize + 1)
    }

    fn joiner(self) -> NodeId {
        NodeId(u64::from(self.factor))
    }

    fn log(self) -> NodeId {
        NodeId(u64::from(self.factor) + 1)
    }

    /// The ring with which all begin. Each node has one place.
    fn first(self) -> Ring {
        let joins = match self.shape {
            Shape::Join | Shape::JoinAndLeave => true,
            Shape::Leave => false,
        };
        let members = self.nodes().iter();
        let members = members.filter(|node| !joins || *node != self.joiner());
        let member = |node| (node, Member::new(node, Rack(0), 1));
        Ring::new(self.factor, members.map(member)).expect("a ring")
    }

    fn proposals(self) -> Vec<Proposal> {
        let join = Proposal::Join {
            node: self.joiner(),
            rack: Rack(0),
            virtual_nodes: 1,
        };
        match self.shape {
            Shape::Join => vec![join],
            Shape::Leave => vec![Proposal::Leave { node: NodeId(0) }],
            Shape::JoinAndLeave => vec![
                join,
                Proposal::Leave {
                    node: self.joiner(),
                },
            ],
        }
    }

    /// A key that node 0 loses and the last member gains.
    fn key(self) -> String {
        let old = self.first();
        let new = self.proposals()[0].after(&old).expect("a ring");
        let moves = |key: &String| {
            let token = Token::of(key.as_bytes());
            let (old, new) = (old.holders(token), new.holders(token));
            old.difference(new).iter().eq([NodeId(0)])
                && new.difference(old).iter().eq([self.joiner()])
        };
        let mut keys = ('a'..='z').map(String::from);
        keys.find(moves).expect("one of the letters is such a key")
    }

    /// The stage in which the last change is over.
    fn last(self) -> Stage {
        let changes = self.proposals().len() as u64;
        Stage {
            epoch: Epoch(self.first().epoch().0 + changes),
            step: Step::Settled,
        }
    }
}

/// The calls of one client. A value says whose it is, and which.
fn script(client: usize, letters: &str, key: &str) -> Vec<Call> {
    let call = |(place, letter): (usize, char)| {
        let ticket = u64::try_from(10 * client + place).expect("a few");
        let key = key.to_owned();
        match letter {
            'w' => Call::Write {
                ticket,
                now: 0,
                key,
                value: Some(ticket.to_string()),
            },
            _ => Call::Read { ticket, key },
        }
    };
    letters.chars().enumerate().map(call).collect()
}

/// A world in which everything is promised.
fn world<M: Twin<Rebalance>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Rebalance) -> M,
) -> Model<M> {
    let (nodes, log, key) = (bounds.nodes(), bounds.log(), bounds.key());
    let machine = |me| {
        make(Rebalance {
            me,
            log,
            nodes,
            first: bounds.first(),
            counting: bounds.counting,
            restarts_max: bounds.restarts,
        })
    };
    let machines = nodes.iter().chain([log]).map(machine).collect();
    let mut world = World::new(name, machines, Past::new(nodes.len() + 1))
        .doors(bounds.doors)
        .crashes(bounds.mortal, bounds.crashes)
        // A node polls for what may be lost, and what may be lost may arrive.
        .rings_late(|timer| matches!(timer, Timer::Poll));
    // The first client begins with the first change: when it is made is up to the network. A later change
    // has a client of its own, for it is refused until it can be made.
    let changes = bounds.proposals().into_iter().zip(1000..);
    let mut changes = changes.map(|(proposal, ticket)| Call::Change { ticket, proposal });
    let mut scripts: Vec<Vec<Call>> = (bounds.clients.iter().enumerate())
        .map(|(client, letters)| script(client, letters, &key))
        .collect();
    if let (Some(first), Some(change)) = (scripts.first_mut(), changes.next()) {
        first.insert(0, change);
    }
    for script in scripts
        .into_iter()
        .chain(changes.map(|change| vec![change]))
    {
        world = world.client(script);
    }
    promised(world, bounds)
}

/// What is promised of what was told, each beside an example of what it is about.
fn promised<M: Twin<Rebalance>>(world: Model<M>, bounds: Bounds) -> Model<M> {
    let last = bounds.last();
    world
        .always_told(READ, |told| !told.ghost.breaches.of(READ))
        .always_told(FORWARD, |told| !told.ghost.breaches.of(FORWARD))
        .always_told(IN_ORDER, |told| !told.ghost.breaches.of(IN_ORDER))
        .recovers(ENDS, ROUNDS, move |snapshot| {
            let mut stages = stages(snapshot);
            // What was proposed may have been lost, and then there is nothing to end.
            stages.all(|stage| stage == last) || nothing_changes(snapshot)
        })
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .sometimes_told("the ring has changed, and a read returns a write", |told| {
            told.ghost.crossed
        })
        .sometimes_told("a read returns what was not acknowledged", |told| {
            told.ghost.returned > told.ghost.acknowledged
        })
        .sometimes("all know that the last change is over", move |snapshot| {
            stages(snapshot).all(|stage| stage == last)
        })
}

/// What a node with this disk knows.
fn known(disk: &Durable) -> Stage {
    disk.view.as_ref().map_or(FIRST, View::stage)
}

/// What the nodes know, each of the ring, as its disk has it.
fn stages<M: Twin<Rebalance>>(snapshot: &Snapshot<M, Past>) -> impl Iterator<Item = Stage> {
    snapshot.disks().map(|(_, disk)| known(disk))
}

/// True if all nodes know the same settled ring, and nobody proposes another.
fn nothing_changes<M: Twin<Rebalance>>(snapshot: &Snapshot<M, Past>) -> bool {
    let stages: Vec<Stage> = stages(snapshot).collect();
    let first = stages[0];
    stages.iter().all(|stage| *stage == first) && first.step == Step::Settled
}

/// What a node knows.
fn stage_of<M: Twin<Rebalance>>(node: &Node<M>) -> Option<Stage> {
    node.durable().map(known)
}

/// True if the coordinator waits in this stage for what this replica is to answer.
fn awaits<M: Twin<Rebalance>>(
    node: &Node<M>,
    operation: Operation,
    stage: Stage,
    replica: NodeId,
    is_write: bool,
) -> bool {
    let Some(state) = node.up() else {
        return false;
    };
    let pending = state.volatile.pending.get(&operation.number);
    let Some(pending) = pending.filter(|_| state.durable.incarnation == operation.incarnation)
    else {
        return false;
    };
    stage_of(node) == Some(stage)
        && match pending.phase {
            Phase::Query { answered, .. } => !is_write && !answered.contains(replica),
            Phase::Store { stored } => is_write && !stored.contains(replica),
        }
}

/// True if a pending replica wants nothing more in this stage. One that crashes wants all again.
fn is_past_pulling<M: Twin<Rebalance>>(node: &Node<M>, stage: Stage) -> bool {
    stage_of(node) > Some(stage)
        || (node.up()).is_some_and(|state| state.volatile.stream == Stream::Done)
}

/// True if it does not matter to the sender whether the message arrives.
fn sender_is_done<M: Twin<Rebalance>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Write {
            operation, stage, ..
        } => !awaits(from, *operation, *stage, letter.to, true),
        Message::Read {
            operation, stage, ..
        } => !awaits(from, *operation, *stage, letter.to, false),
        Message::Pull { stage, .. } => is_past_pulling(from, *stage),
        Message::Propose { .. }
        | Message::Learn { .. }
        | Message::Ask { .. }
        | Message::Ready { .. }
        | Message::Written { .. }
        | Message::Data { .. }
        | Message::Chunk { .. } => true,
    }
}

/// True if the receiver ignores the message for ever, or only answers it.
fn receiver_is_done<M: Twin<Rebalance>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    let knows = stage_of(to);
    match &letter.message {
        Message::Read { .. } | Message::Pull { .. } | Message::Ask { .. } => true,
        Message::Learn { stage, .. } => knows >= Some(*stage),
        Message::Ready { stage } => knows > Some(*stage),
        Message::Chunk { stage, .. } => is_past_pulling(to, *stage),
        Message::Propose { at, .. } => {
            let announced = Stage {
                epoch: *at,
                step: Step::Announced,
            };
            knows >= Some(announced)
        }
        // Not because it knows more: some flaws take a write all the same.
        Message::Write { key, cell, .. } => {
            let has = |disk: &Durable| disk.table.cell(key).covers(cell);
            to.durable().is_none_or(has)
        }
        Message::Written { operation, stage } => !awaits(to, *operation, *stage, letter.from, true),
        Message::Data {
            operation, stage, ..
        } => !awaits(to, *operation, *stage, letter.from, false),
    }
}

/// The same, and messages that matter no more are forgotten: all, or those of reads and writes alone.
fn forgetful<M: Twin<Rebalance>>(world: Model<M>, kept: Kept) -> Model<M> {
    let may_go = move |message: &Message| match message {
        Message::Write { .. }
        | Message::Written { .. }
        | Message::Read { .. }
        | Message::Data { .. } => true,
        Message::Learn { .. } | Message::Propose { .. } => kept != Kept::Steps,
        Message::Pull { .. }
        | Message::Chunk { .. }
        | Message::Ready { .. }
        | Message::Ask { .. } => kept == Kept::Nothing,
    };
    world.purging(
        move |letter, from| may_go(&letter.message) && sender_is_done(letter, from),
        move |letter, to| may_go(&letter.message) && receiver_is_done(letter, to),
    )
}

/// Which messages are not forgotten, for they may matter again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// All may be forgotten.
    Nothing,
    /// Those of the stream, and that a node is ready: a crash takes what they brought about.
    Stream,
    /// Those, and the steps: they may be forgotten by the nodes, too.
    Steps,
}

impl Bounds {
    fn kept(self) -> Kept {
        match self.crashes {
            0 => Kept::Nothing,
            _ => Kept::Stream,
        }
    }
}

/// A world of the right machine.
fn right(name: &str, bounds: Bounds) -> Model<Rebalance> {
    forgetful(world(name, bounds, |right| right), bounds.kept())
        // What is sent again is in the network already: it matters to promises of the calm alone.
        .never("ring Retry")
        .never("deliver Ask")
}

/// Checks what forgetting messages owes, in a small world.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn purging_is_owed() -> Result<Vec<Discharged>, String> {
    let join = || right("purging", two_replicas());
    Ok(vec![obligations(join)?])
}

/// Two replicas of three nodes: a small world, in which there is little to see.
fn two_replicas() -> Bounds {
    Bounds {
        factor: 2,
        ..bounds(Shape::Join, WRITE_AND_READ)
    }
}

/// Ring change, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "rebalance",
        summary: "ring change: a node joins or leaves, and no acknowledged write is lost",
        worlds: worlds(),
        flaws: flaws(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let [joins, crashes] = [joins(), crashes()];
    joins.into_iter().chain(crashes).collect()
}

fn joins() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(803_158, 3_741_790, || {
            right("join", bounds(Shape::Join, WRITE_AND_READ_TWICE))
                .says("three replicas, four nodes, one of which joins; a client writes, and reads twice, at any of two nodes")
        }),
        Claimed::holds(756_805, 3_484_338, || {
            let counting = Counting::PendingToo;
            let bounds = Bounds {
                counting,
                ..bounds(Shape::Join, WRITE_AND_READ_TWICE)
            };
            right("pending-too", bounds)
                .says("a node joins; a write counts a quorum of all, and one more for the pending replica")
        }),
        Claimed::holds(77_368, 343_060, || {
            let bounds = Bounds {
                restarts: 1,
                ..bounds(Shape::Join, WRITE_AND_READ)
            };
            right("begun-anew", door(0, bounds))
                .says("a node joins; a client writes and reads at one node, and what is under way begins anew, once")
        }),
        Claimed::holds(6_531, 18_006, || {
            right("two-replicas", two_replicas())
                .says("two replicas, three nodes, one of which joins; a client writes and reads")
        }),
        Claimed::holds(90_636, 340_677, || {
            let bounds = Bounds {
                shape: Shape::JoinAndLeave,
                ..two_replicas()
            };
            right("join-and-leave", bounds)
                .says("two replicas; a node joins, and leaves again; a client writes and reads")
        }),
    ]
}

fn crashes() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds_deep(1_889_799, 9_947_145, || {
            right("crash", door(0, crashing(node(3), WRITE_AND_READ)))
                .says("a node joins, and crashes once; a client writes and reads at one node")
        }),
        Claimed::holds(54_124, 176_620, || {
            let bounds = Bounds {
                crashes: 1,
                mortal: node(3),
                ..two_replicas()
            };
            right("log-crash", bounds)
                .says("two replicas; a node joins; the log crashes once; a client writes and reads")
        }),
        Claimed::holds(176_521, 584_216, || {
            let bounds = Bounds {
                crashes: 1,
                mortal: NodeSet::first(3),
                ..two_replicas()
            };
            right("any-crash", bounds)
                .says("two replicas; a node joins; one crash of any; a client writes and reads")
        }),
    ]
}

fn flawed(flaw: Flaw, name: &str, bounds: Bounds) -> Model<Flawed> {
    let world = world(name, bounds, move |right| Flawed { right, flaw });
    match flaw {
        Flaw::OlderStep | Flaw::ViewForgotten => forgetful(world, Kept::Steps),
        Flaw::Without(_)
        | Flaw::NothingStreamed
        | Flaw::StreamNotRestarted
        | Flaw::NoPolls
        | Flaw::NoRetries => forgetful(world, bounds.kept()),
    }
}

/// Clients of the worlds in which flaws are told.
const NOTHING: &[&str] = &[""];
const WRITE: &[&str] = &["w"];
const WRITE_AND_READ: &[&str] = &["wr"];
const WRITE_AND_READ_TWICE: &[&str] = &["wrr"];

/// A join in which one safeguard is left out.
fn without(safeguard: Safeguard, name: &str, clients: &'static [&'static str]) -> Model<Flawed> {
    let flaw = Flaw::Without(Safeguards::only(safeguard));
    flawed(flaw, name, bounds(Shape::Join, clients))
}

fn crashing(nodes: NodeSet, clients: &'static [&'static str]) -> Bounds {
    Bounds {
        crashes: 1,
        mortal: nodes,
        ..bounds(Shape::Join, clients)
    }
}

/// The same, with all calls at one node.
fn door(id: u64, bounds: Bounds) -> Bounds {
    let doors = node(id);
    Bounds { doors, ..bounds }
}

fn node(id: u64) -> NodeSet {
    [NodeId(id)].into_iter().collect()
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(READ, 18, || {
            without(Safeguard::FencedWrites, "unfenced-writes", WRITE_AND_READ)
                .says("a replica takes a write that began before the change was announced, though it knows of the change")
        }),
        Claimed::falls(READ, 23, || {
            without(Safeguard::FencedReads, "unfenced-reads", WRITE_AND_READ)
                .says("a replica answers who reads by the old ring, though it knows that reads have switched")
        }),
        Claimed::falls(READ, 19, || {
            without(
                Safeguard::CountedPending,
                "pending-not-counted",
                WRITE_AND_READ,
            )
            .says(
                "writes go to the pending replica, and a quorum of the old ones acknowledges them",
            )
        }),
        Claimed::falls(READ, 15, || {
            without(
                Safeguard::StreamedFromQuorum,
                "streamed-from-one",
                WRITE_AND_READ,
            )
            .says("the pending replica gets its keys from one of the old ones")
        }),
        Claimed::falls(FORWARD, 20, || {
            without(
                Safeguard::RepairedPending,
                "pending-not-repaired",
                WRITE_AND_READ_TWICE,
            )
            .says("read repair reaches a quorum of the old replicas, and not the pending one")
        }),
        Claimed::falls(READ, 21, || {
            without(Safeguard::Barrier, "no-barrier", WRITE_AND_READ).says(
                "the old ring is given up as soon as reads have switched, whoever knows of it",
            )
        }),
        Claimed::falls(READ, 13, || {
            flawed(Flaw::NothingStreamed, "nothing-streamed", bounds(Shape::Join, WRITE_AND_READ))
                .says("the ring has one node more and nothing is streamed, as if the textbook's were computed anew")
        }),
        Claimed::falls(IN_ORDER, 12, || {
            flawed(Flaw::OlderStep, "older-step", bounds(Shape::Join, NOTHING))
                .says("a node believes an older step that arrives again")
        }),
        Claimed::falls(READ, 24, || {
            flawed(
                Flaw::ViewForgotten,
                "view-forgotten",
                door(0, crashing(node(1), WRITE_AND_READ)),
            )
            .says("a node that restarts knows no change, and takes writes of those who know none")
        }),
        Claimed::falls(READ, 9, || {
            world(
                "lying-disk",
                door(1, crashing(node(1), WRITE_AND_READ)),
                |right| right,
            )
            .disk(Disk::Lying)
            .says("a disk forgets what it acknowledged")
        }),
        Claimed::falls(ENDS, 4, || {
            flawed(
                Flaw::StreamNotRestarted,
                "stream-not-restarted",
                crashing(node(3), NOTHING),
            )
            .says("a pending replica that crashed does not ask for the rest: from here the change does not end")
        }),
        Claimed::falls(ENDS, 2, || {
            flawed(Flaw::NoPolls, "no-polls", bounds(Shape::Join, NOTHING))
                .says("a step that was lost is not asked for: from here the change does not end")
        }),
        Claimed::falls(CALLS_RETURN, 2, || {
            flawed(Flaw::NoRetries, "no-retries", bounds(Shape::Join, WRITE))
                .says("what was lost is not sent again: from here the write does not return")
        }),
    ]
}
