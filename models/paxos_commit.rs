//! What is claimed of [`quorate::paxos_commit`]: its worlds, its promises, and the flaws that refute them.
//!
//! The promises are those of two-phase commit by the same names, over the same [`Ledger`], and the one
//! that it does not make.
//!
//! # The bound
//!
//! Leaders may overtake each other for ever, so a world has a last round, and the alarm that would begin a
//! higher one is not heard in it (see `bounded.rs`). Every state within the bound is reached. The calm
//! has no bound: from each of these states it is the real machine that goes on, so what is promised of
//! the calm is not excused where the bound is reached.

use std::sync::Arc;

use quorate::commit::{Call, Writes};
use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::paxos_commit::{Ballot, PaxosCommit, Phase};
use quorate::quorum::Quorums;

use crate::action::Cut;
use crate::calm;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::commit::{Ledger, aborts_have_causes};
use crate::flaw::Twin;
use crate::promise::Condition;
use crate::purge::{self, Discharged};
use crate::snapshot::{Node, Snapshot, nobody_waits};
use crate::symmetry;
use crate::world::{Disk, World};

mod bounded;
mod dead;
mod flaws;

use bounded::ALIVE;
pub use bounded::{Bounded, CrashStop};
use flaws::{Flaw, Flawed};

pub use crate::commit::{AC1, AC2, AC3, AC4, AC5, CALLS_RETURN, ONE_LOCK, ONE_ORDER, RECOVERY};

const LATER_COMMIT: &str = "a later ballot finds every participant prepared";
const TWO_LEADERS: &str = "two nodes lead at once";
const OVERTAKEN: &str = "a leader is overtaken";

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Bounded<M>, Ledger>;

/// Who is who, and how far it goes. Participants are the first nodes, then the coordinator comes if it is
/// apart, then the acceptors if they are.
#[derive(Clone, Copy)]
struct Cluster {
    participants: usize,
    coordinator: Coordinator,
    acceptors: Acceptors,
    /// The last round.
    rounds: u64,
    crashes: u32,
    /// How many acceptors are asked for a promise, and how many choose, if not a majority.
    quorums: Option<(usize, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coordinator {
    /// A node that does nothing else.
    Apart,
    /// Any of the first so many participants.
    Among(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acceptors {
    /// So many nodes that do nothing else.
    Apart(usize),
    /// The first so many nodes, which are participants or coordinate as well.
    First(usize),
}

/// Two participants, a coordinator, and three acceptors, each a node of its own.
const APART: Cluster = Cluster {
    participants: 2,
    coordinator: Coordinator::Apart,
    acceptors: Acceptors::Apart(3),
    rounds: 1,
    crashes: 0,
    quorums: None,
};

/// Two participants, one of which coordinates, and three acceptors.
const COORDINATED: Cluster = Cluster {
    coordinator: Coordinator::Among(1),
    ..APART
};

/// Three nodes, each of which does everything.
const TOGETHER: Cluster = Cluster {
    participants: 3,
    coordinator: Coordinator::Among(1),
    acceptors: Acceptors::First(3),
    ..APART
};

/// Two participants and a coordinator, each of which is an acceptor.
const THREE: Cluster = Cluster {
    participants: 2,
    coordinator: Coordinator::Apart,
    ..TOGETHER
};

impl Cluster {
    fn leaders(self) -> usize {
        match self.coordinator {
            Coordinator::Apart => self.participants + 1,
            Coordinator::Among(_) => self.participants,
        }
    }

    fn all(self) -> NodeSet {
        match self.acceptors {
            Acceptors::Apart(count) => NodeSet::first(self.leaders() + count),
            Acceptors::First(count) => NodeSet::first(self.leaders().max(count)),
        }
    }

    fn acceptors(self) -> NodeSet {
        match self.acceptors {
            Acceptors::Apart(_) => self.all().difference(NodeSet::first(self.leaders())),
            Acceptors::First(count) => NodeSet::first(count),
        }
    }

    fn doors(self) -> NodeSet {
        match self.coordinator {
            Coordinator::Apart => {
                NodeSet::first(self.leaders()).difference(NodeSet::first(self.participants))
            }
            Coordinator::Among(count) => NodeSet::first(count),
        }
    }

    fn machine(self, me: NodeId) -> PaxosCommit {
        let acceptors = self.acceptors();
        let majority = acceptors.majority();
        let (promise, choose) = self.quorums.unwrap_or((majority, majority));
        PaxosCommit {
            me,
            members: self.all(),
            // Unchecked, for the worlds that ask too few.
            acceptors: Quorums::unchecked(acceptors, promise, choose),
        }
    }
}

/// The transactions that one client begins, one after the other. A letter writes itself under the key
/// *x* at every participant, so that any two transactions meet everywhere.
fn script(cluster: Cluster, letters: &str, tickets: &mut u64) -> Vec<Call> {
    let begin = |letter: char| {
        let writes = Writes::from_iter([("x".to_owned(), letter.to_string())]);
        let participants = NodeSet::first(cluster.participants);
        let ticket = *tickets;
        *tickets += 1;
        Call::Begin {
            ticket,
            branches: participants
                .iter()
                .map(|node| (node, writes.clone()))
                .collect(),
        }
    };
    letters.chars().map(begin).collect()
}

/// Nodes, clients and crashes; nothing is promised yet.
fn bare<M: Twin<PaxosCommit>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    last: u64,
    make: impl Fn(PaxosCommit) -> M,
) -> Model<M> {
    let machines = cluster.all().iter().map(|me| Bounded {
        inner: make(cluster.machine(me)),
        last,
    });
    let mut world = World::new(name, machines.collect(), Ledger::default())
        .doors(cluster.doors())
        .crashes(cluster.all(), cluster.crashes);
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(cluster, letters, &mut tickets));
    }
    world
}

/// A world in which everything is promised but what depends on whether the dead come back.
fn world<M: Twin<PaxosCommit>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(PaxosCommit) -> M,
) -> Model<M> {
    let crashes = cluster.crashes;
    let world = bare(name, cluster, clients, cluster.rounds, make)
        .always_told(AC1, |told| told.ghost.agrees())
        .always_told(AC2, |told| told.ghost.is_unanimous())
        .always_told(AC3, move |told| aborts_have_causes(told, crashes))
        .always_told(AC4, |told| told.ghost.is_stable())
        .always_of_nodes(ONE_LOCK, one_lock_per_key)
        .always_told(ONE_ORDER, |told| told.ghost.has_one_order())
        .sometimes_told("everybody commits", |told| told.ghost.everybody_commits())
        .sometimes_told("everybody votes yes, and yet it aborts", |told| {
            told.ghost.aborts_in_vain()
        })
        .sometimes(LATER_COMMIT, |snapshot| {
            led(snapshot).any(|(participants, phase)| {
                matches!(phase, Phase::Two { values, .. } if values.prepared == participants)
            })
        })
        .sometimes(TWO_LEADERS, |snapshot| led(snapshot).count() > 1)
        .sometimes(OVERTAKEN, |snapshot| {
            led(snapshot).any(|(_, phase)| matches!(phase, Phase::Overtaken { .. }))
        });
    if clients.concat().len() < 2 {
        return world.except(ONE_ORDER);
    }
    world
        .sometimes_told("two transactions that meet take effect", |told| {
            told.ghost.two_take_effect()
        })
        .sometimes_told("a participant whose key is locked votes no", |told| {
            told.ghost.somebody_refuses()
        })
}

/// A world in which the dead come back.
fn restarting<M: Twin<PaxosCommit>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(PaxosCommit) -> M,
) -> Model<M> {
    let calm = Arc::new(bare("calm", cluster, clients, u64::MAX, &make));
    let other = Arc::clone(&calm);
    let settled = Condition::Whole(Arc::new(everything_is_settled));
    let returned = Condition::Clients(Arc::new(nobody_waits));
    world(name, cluster, clients, make)
        .always(RECOVERY, move |snapshot| {
            calm::rounds(&calm, snapshot, ROUNDS, &settled).is_some()
        })
        .always(CALLS_RETURN, move |snapshot| {
            calm::rounds(&other, snapshot, ROUNDS, &returned).is_some()
        })
}

/// Babaoğlu and Toueg's own world, in which what crashes stays dead. There *recovery* is not promised, for
/// in its calm everyone is up; what is promised is *AC5*. In both fates of the mail under way, all that
/// was said is lost or all arrives once more; what survives is heard by all who survive.
fn stopping<M: Twin<PaxosCommit>>(
    name: &str,
    cluster: Cluster,
    tolerated: usize,
    make: impl Fn(PaxosCommit) -> M,
) -> Model<CrashStop<M>> {
    let make = |right| CrashStop { inner: make(right) };
    let calm = bare("survivors", cluster, &["A"], u64::MAX, make);
    let settled = Condition::Whole(Arc::new(no_survivor_waits));
    let acceptors = cluster.acceptors();
    let many_are_dead = move |snapshot: &Snapshot<_, _>| {
        let dead = |id: &NodeId| !survives(snapshot, *id);
        acceptors.iter().filter(dead).count() > tolerated
    };
    world(name, cluster, &["A"], make)
        .always(AC5, move |snapshot| {
            many_are_dead(snapshot) || calm::rounds(&calm, snapshot, ROUNDS, &settled).is_some()
        })
        .sometimes("as many acceptors are dead as may be", move |snapshot| {
            let dead = acceptors.iter().filter(|id| !survives(snapshot, *id));
            dead.count() == tolerated
        })
        .sometimes(
            "the coordinator is dead, and a participant in doubt",
            move |snapshot| {
                let mut doors = cluster.doors().iter();
                doors.all(|id| !survives(snapshot, id))
                    && snapshot.running().any(|(_, state)| {
                        state.durable.incarnation == ALIVE
                            && state.durable.branches.in_doubt().next().is_some()
                    })
            },
        )
}

fn survives<M: Twin<PaxosCommit>>(snapshot: &Snapshot<M, Ledger>, id: NodeId) -> bool {
    let state = snapshot.node(id).and_then(|node| node.up());
    state.is_some_and(|state| state.durable.incarnation == ALIVE)
}

/// How many alarms may ring in a calm. A coordinator asks again up to twenty times before it leads, for
/// each of two transactions; each node in doubt leads, and may be overtaken.
const ROUNDS: u32 = 80;

/// The higher ballots that are led by nodes that run: whose instances, and how far.
fn led<M: Twin<PaxosCommit>>(
    snapshot: &Snapshot<M, Ledger>,
) -> impl Iterator<Item = (NodeSet, &Phase)> {
    let leading = snapshot
        .running()
        .flat_map(|(_, state)| state.volatile.leading.values());
    let higher = leading.filter(|leading| leading.ballot != Ballot::Zero);
    higher.map(|leading| (leading.participants, &leading.phase))
}

fn one_lock_per_key<M: Twin<PaxosCommit>>(nodes: &[&Node<M>]) -> bool {
    let mut disks = nodes.iter().filter_map(|node| node.durable());
    disks.all(|disk| disk.branches.locks_are_exclusive())
}

/// Goal of *recovery*: nobody waits or is in doubt, and who voted yes has decided.
fn everything_is_settled<M: Twin<PaxosCommit>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    snapshot.ghost.voters_decided()
        && snapshot.nodes.iter().all(|node| {
            node.up().is_some_and(|state| {
                state.volatile.asked.is_empty()
                    && state.volatile.leading.is_empty()
                    && state.durable.branches.in_doubt().next().is_none()
            })
        })
}

/// Goal of *AC5*: none of those who have never crashed waits or is in doubt.
fn no_survivor_waits<M: Twin<PaxosCommit>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    snapshot.running().all(|(_, state)| {
        state.durable.incarnation != ALIVE
            || (state.volatile.asked.is_empty()
                && state.volatile.leading.is_empty()
                && state.durable.branches.in_doubt().next().is_none())
    })
}

/// What every world of the right machine leaves out: messages that can never matter again, and which of
/// the acceptors is which, if they are nothing else.
fn reduced<M: Twin<PaxosCommit>>(world: Model<M>, cluster: Cluster) -> Model<M> {
    let world = world
        .purging(dead::sender_is_done, dead::receiver_is_done)
        // What is sent again is in the network already: it matters to promises of the calm alone.
        .never("ring Retry");
    match cluster.acceptors {
        Acceptors::Apart(_) => world.symmetric(cluster.acceptors()),
        Acceptors::First(_) => world,
    }
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<PaxosCommit> {
    let world = restarting(name, cluster, clients, |right| right);
    reduced(world, cluster)
}

/// A world of the right machine in which what crashes stays dead.
fn stopped(name: &str, cluster: Cluster, tolerated: usize) -> Model<CrashStop<PaxosCommit>> {
    let world = stopping(name, cluster, tolerated, |right| right);
    reduced(world, cluster)
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    restarting(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// Paxos Commit, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "paxos_commit",
        summary: "Paxos Commit: all of it or nothing, and nobody's death blocks it",
        worlds: worlds(),
        flaws: [acceptors(), leaders(), participants(), weakened()]
            .into_iter()
            .flatten()
            .collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || {
            right("calm", APART, &["A"])
                .says("two participants, a coordinator and three acceptors; one transaction")
        }),
        Claimed::holds(0, 0, || {
            right("coordinated", COORDINATED, &["A"])
                .says("two participants, one of which coordinates, and three acceptors")
        }),
        Claimed::holds(0, 0, || {
            right("three", THREE, &["A"])
                .says("two participants and a coordinator, who are the acceptors")
        }),
        Claimed::holds(0, 0, || {
            right("together", TOGETHER, &["A"])
                .says("three nodes, each a participant and an acceptor; one coordinates")
        }),
    ]
}

fn acceptors() -> Vec<Box<dyn Exhibit>> {
    vec![]
}

fn leaders() -> Vec<Box<dyn Exhibit>> {
    vec![]
}

fn participants() -> Vec<Box<dyn Exhibit>> {
    vec![]
}

fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![]
}
