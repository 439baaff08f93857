//! What is claimed of [`quorate::causal`]: its worlds, its promises, and the flaws that refute them.
//!
//! There are two kinds of worlds. In one, clients put and nothing more is asked: what the nodes promise
//! each other is checked, without tokens. In the other, clients carry their tokens from node to node
//! (`models/causal/roaming.rs`): what is promised to them is checked.

use quorate::causal::{Call, Causal};
use quorate::clock::{Dot, Vector};
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use crate::catalogue::Protocol;
use crate::causality::Operation;
use crate::flaw::Twin;
use crate::snapshot::{Node, Snapshot};
use crate::world::World;

mod exhibits;
mod flaws;
mod reductions;
mod roaming;
mod witness;

pub use reductions::{mirrored, mirrored_wrongly, obligations, wrong_obligations};

use exhibits::{flaws, weakened, worlds};
use flaws::{Flaw, Flawed};
use reductions::{purged, purged_but_tokens};
use roaming::{Mortal, Roaming, Store};
use witness::Witness;

/// No node delivers an update twice.
pub const NO_DUPLICATION: &str = "no duplication";
/// What is delivered was sent, and no two updates share a name.
pub const NO_CREATION: &str = "no creation";
/// Of one node's updates each node delivers the next.
pub const FIFO: &str = "FIFO order";
/// No node delivers an update before its causes.
pub const CAUSAL_DELIVERY: &str = "causal delivery";
/// Two stamps are ordered if and only if their updates are.
pub const CLOCK_ORDER: &str = "clock order iff happens-before";
/// The hold-back queue has room for as many updates as is said, and for none that was delivered.
pub const BOUNDED: &str = "bounded hold-back queue";
/// No node holds back an update whose causes it has delivered.
pub const NO_NEEDLESS_DELAY: &str = "no needless delay";
/// A log forgets what all members have delivered, and nothing else.
pub const FORGOTTEN: &str = "what is forgotten is everywhere";
/// Nodes that have delivered the same updates store the same.
pub const CONVERGENCE: &str = "convergence";
/// In the calm, everybody delivers everything, and then no log keeps it.
pub const DELIVERY: &str = "everything is delivered everywhere";
/// In the calm, what one node that stays up has delivered, all such nodes have.
pub const SURVIVORS: &str = "survivors deliver alike";
/// In the calm, no call waits.
pub const CALLS_RETURN: &str = "calls return";
/// A get is made where all is that its session has put.
pub const READ_YOUR_WRITES: &str = "read your writes";
/// A get is made where all is that its session has got.
pub const MONOTONIC_READS: &str = "monotonic reads";
/// Wherever a put is, there is what its session has put before, and before it.
pub const MONOTONIC_WRITES: &str = "monotonic writes";
/// Wherever a put is, there is what its session has got before, and before it.
pub const WRITES_FOLLOW_READS: &str = "writes follow reads";
/// The histories of the clients are causally consistent, with one order of concurrent puts.
pub const CONVERGENT: &str = "causal convergence";

/// How many alarms may ring in a calm. One of each node sends all that somebody may lack.
const ROUNDS: u32 = 6;

/// Promises and worlds are stated for the right machine, for its flawed twins, and for either with
/// roaming clients.
type Model<M> = World<M, Witness>;

/// How many nodes there are, and how many updates each holds back.
#[derive(Clone, Copy)]
struct Cluster {
    nodes: usize,
    held_max: usize,
}

const TWO: Cluster = Cluster {
    nodes: 2,
    held_max: 4,
};
const THREE: Cluster = Cluster { nodes: 3, ..TWO };

impl Cluster {
    fn all(self) -> NodeSet {
        NodeSet::first(self.nodes)
    }

    fn machines<M>(self, make: impl Fn(Causal) -> M) -> Vec<M> {
        let members = self.all();
        let held_max = self.held_max;
        let node = |me| Causal {
            me,
            members,
            held_max,
        };
        members.iter().map(|me| make(node(me))).collect()
    }
}

/// Scripts, one per client: `xA` puts A to x, `x?` gets x. Tickets count the calls. The tokens are empty:
/// a client that carries one gets it on its way.
fn scripts(clients: &[&str]) -> Vec<Vec<Call>> {
    let mut tickets = 0..;
    let mut call = |word: &str| {
        let (key, value) = word.split_at(1);
        let (key, token) = (key.to_owned(), Vector::new());
        let ticket = tickets.next().expect("tickets do not end");
        match value {
            "?" => Call::Get { ticket, token, key },
            value => Call::Put {
                ticket,
                token,
                key,
                value: value.to_owned(),
            },
        }
    };
    let script = |words: &&str| words.split(' ').map(&mut call).collect();
    clients.iter().map(script).collect()
}

fn with_clients<M: Store>(mut world: Model<M>, clients: &[&str]) -> Model<M> {
    for script in scripts(clients) {
        world = world.client(script);
    }
    world
}

/// A world in which everything is promised that nodes promise each other.
fn broadcasts<M: Store>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Causal) -> M,
) -> Model<M> {
    let held_max = cluster.held_max;
    let world = World::new(name, cluster.machines(make), Witness::default());
    let mut world = with_clients(world, clients);
    for promise in [
        NO_DUPLICATION,
        NO_CREATION,
        FIFO,
        CAUSAL_DELIVERY,
        CLOCK_ORDER,
    ] {
        world = world.always_told(promise, move |told| told.ghost.keeps(promise));
    }
    world
        .always_of_nodes(BOUNDED, move |nodes| queues_are_bounded(nodes, held_max))
        .always(NO_NEEDLESS_DELAY, what_is_held_lacks_a_cause)
        .always_of_nodes(FORGOTTEN, what_is_forgotten_is_everywhere)
        .always_of_nodes(CONVERGENCE, same_updates_same_store)
        .recovers(DELIVERY, ROUNDS, everything_is_everywhere)
        .sometimes("an update is held back", |snapshot| {
            let mut memories = snapshot
                .running()
                .filter_map(|(_, state)| M::memory(&state.volatile));
            memories.any(|memory| !memory.held.is_empty())
        })
        .sometimes("a log forgets an update", |snapshot| {
            let mut disks = snapshot.nodes.iter().filter_map(|node| node.durable());
            disks.any(|disk| !disk.stable.is_empty())
        })
}

/// The updates do not all know of each other, and some are held back for another node's.
fn with_answers<M: Store>(world: Model<M>) -> Model<M> {
    world.sometimes_told("an answer is delivered where neither was made", |told| {
        told.ghost.some_answer_is_delivered()
    })
}

/// One key is written by those who do not know of each other.
fn with_conflicts<M: Store>(world: Model<M>) -> Model<M> {
    world.sometimes_told(
        "somebody has two puts that did not know of each other",
        |told| told.ghost.some_are_concurrent(),
    )
}

/// One node makes several updates.
fn with_series<M: Store>(world: Model<M>) -> Model<M> {
    world.sometimes_told("two updates of one node are delivered elsewhere", |told| {
        told.ghost.some_origin_is_followed()
    })
}

/// What is promised to clients, of machines whose clients do or do not carry their tokens.
fn sessions<M: Store>(name: &str, machines: Vec<M>, clients: &[&str]) -> Model<M> {
    let world = World::new(name, machines, Witness::default());
    let mut world = with_clients(world, clients);
    for promise in [
        READ_YOUR_WRITES,
        MONOTONIC_READS,
        MONOTONIC_WRITES,
        WRITES_FOLLOW_READS,
        CONVERGENT,
    ] {
        world = world.always_told(promise, move |told| told.ghost.keeps(promise));
    }
    let world = world
        .always_of_nodes(CONVERGENCE, same_updates_same_store)
        .recovers(CALLS_RETURN, ROUNDS, no_call_waits);
    world.sometimes("a call waits for what its session has seen", |snapshot| {
        let mut memories = snapshot
            .running()
            .filter_map(|(_, state)| M::memory(&state.volatile));
        memories.any(|memory| !memory.waiting.is_empty())
    })
}

/// A world of clients that carry their tokens, of any machine.
fn roaming<M: Twin<Causal>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Causal) -> M,
) -> Model<Roaming<M>> {
    let tickets = |script: &Vec<Call>| script.iter().map(Call::ticket).collect();
    let tickets: Vec<Vec<u64>> = scripts(clients).iter().map(tickets).collect();
    let machines = cluster.machines(|right| Roaming {
        store: make(right),
        nodes: cluster.all(),
        sessions: tickets.clone(),
    });
    sessions(name, machines, clients)
}

fn is_get(operation: &Operation<String, String>) -> bool {
    matches!(operation, Operation::Get { .. })
}

fn got_something(operation: &Operation<String, String>) -> bool {
    matches!(operation, Operation::Get { value: Some(_), .. })
}

/// Says of which of the four guarantees the premise is met by one of these scripts.
fn with_premises<M: Store>(mut world: Model<M>, premises: &[&'static str]) -> Model<M> {
    for premise in premises {
        world = match *premise {
            READ_YOUR_WRITES => world.sometimes_told("a session puts and then gets", |told| {
                told.ghost.some_session(|done| {
                    let put = done.iter().position(|one| !is_get(one));
                    put.is_some_and(|put| done[put..].iter().any(is_get))
                })
            }),
            MONOTONIC_READS => {
                world.sometimes_told("a session gets something and gets again", |told| {
                    told.ghost.some_session(|done| {
                        let got = done.iter().position(got_something);
                        got.is_some_and(|got| done[got + 1..].iter().any(is_get))
                    })
                })
            }
            MONOTONIC_WRITES => world.sometimes_told("a session puts twice", |told| {
                told.ghost
                    .some_session(|done| done.iter().filter(|one| !is_get(one)).count() > 1)
            }),
            _ => world.sometimes_told("a session gets something and puts", |told| {
                told.ghost.some_session(|done| {
                    let got = done.iter().position(got_something);
                    got.is_some_and(|got| !done[got..].iter().all(is_get))
                })
            }),
        };
    }
    world
}

fn queues_are_bounded<M: Store>(nodes: &[&Node<M>], held_max: usize) -> bool {
    let mut states = nodes.iter().filter_map(|node| node.up());
    states.all(|state| {
        M::memory(&state.volatile).is_none_or(|memory| {
            let clock = &state.durable.clock;
            memory.held.len() <= held_max
                && (memory.held.values()).all(|update| !clock.covers(update.version.dot()))
        })
    })
}

fn what_is_held_lacks_a_cause<M: Store>(snapshot: &Snapshot<M, Witness>) -> bool {
    snapshot.running().all(|(id, state)| {
        let held = M::memory(&state.volatile).map(|memory| memory.held.values());
        let mut held = held.into_iter().flatten();
        held.all(|update| !snapshot.ghost.lacks_nothing_but(id, update.version.dot()))
    })
}

fn what_is_forgotten_is_everywhere<M: Store>(nodes: &[&Node<M>]) -> bool {
    let disks: Vec<_> = nodes.iter().filter_map(|node| node.durable()).collect();
    disks.iter().all(|disk| {
        disk.clock.iter().all(|(node, count)| {
            let mut dots = (1..=count).map(|counter| Dot { node, counter });
            dots.all(|dot| {
                disk.log.contains_key(&dot) || disks.iter().all(|other| other.clock.covers(dot))
            })
        })
    })
}

fn same_updates_same_store<M: Store>(nodes: &[&Node<M>]) -> bool {
    let disks: Vec<_> = nodes.iter().filter_map(|node| node.durable()).collect();
    disks
        .iter()
        .all(|one| (disks.iter()).all(|other| one.clock != other.clock || one.store == other.store))
}

/// Goal of *everything is delivered everywhere*: all have the same, nobody holds anything back, and nobody
/// has anything left to send.
fn everything_is_everywhere<M: Store>(snapshot: &Snapshot<M, Witness>) -> bool {
    (0..).map(NodeId).zip(&snapshot.nodes).all(|(id, node)| {
        node.up().is_some_and(|state| {
            state.durable.log.is_empty()
                && M::memory(&state.volatile).is_some_and(|memory| memory.held.is_empty())
                && snapshot.ghost.is_all_at(id)
        })
    })
}

/// Goal of *survivors deliver alike*.
fn survivors_are_alike<M: Store>(snapshot: &Snapshot<M, Witness>) -> bool {
    let alive = snapshot
        .running()
        .filter(|(_, state)| M::memory(&state.volatile).is_some());
    let clocks: Vec<&Vector> = alive.map(|(_, state)| &state.durable.clock).collect();
    clocks.windows(2).all(|pair| pair[0] == pair[1])
}

/// Goal of *calls return*: no call that has come with its token waits.
fn no_call_waits<M: Store>(snapshot: &Snapshot<M, Witness>) -> bool {
    let mut memories = snapshot
        .running()
        .filter_map(|(_, state)| M::memory(&state.volatile));
    memories.all(|memory| memory.waiting.is_empty())
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Causal> {
    purged(broadcasts(name, cluster, clients, |right| right))
}

/// The same, with clients that carry their tokens.
fn carrying(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Roaming<Causal>> {
    purged_but_tokens(roaming(name, cluster, clients, |right| right))
}

/// A world of a flawed machine. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    broadcasts(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// The same, with clients that carry their tokens.
fn flawed_carrying(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&str],
) -> Model<Roaming<Flawed>> {
    roaming(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// A world in which what crashes stays dead, and whoever has delivered something lives on or has told it
/// to someone who may not.
fn mortals<M: Twin<Causal>>(
    name: &str,
    clients: &[&str],
    make: impl Fn(Causal) -> M,
) -> Model<Mortal<M>> {
    let make = |right| Mortal { store: make(right) };
    (broadcasts(name, THREE, clients, make).except(DELIVERY))
        .crashes(THREE.all(), 1)
        .recovers(SURVIVORS, ROUNDS, survivors_are_alike)
}

/// The causal store, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "causal",
        summary: "the causal store: no effect is seen before its cause, and no node is waited for",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}
