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

use quorate::commit::Branch;
use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::paxos_commit::{Ballot, Durable, Message, PaxosCommit, Phase};

use crate::action::Cut;
use crate::audit::visit;
use crate::calm::{self, Calms};
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::commit::Ledger;
use crate::commit::specification::Stage;
use crate::flaw::Twin;
use crate::promise::Condition;
use crate::purge::{self, Discharged};
use crate::snapshot::{Client, Node, Snapshot, nobody_waits};
use crate::symmetry;
use crate::world::{Disk, World};

mod bounded;
mod cluster;
mod dead;
mod flaws;

use bounded::{ALIVE, is_alive};
pub use bounded::{Bounded, CrashStop, LastRound};
use cluster::{ALL, Acceptors, Cluster, DUO, FIVE, FLEXIBLE, LONE, PAIR, THREE, TRIO};
use flaws::{Flaw, Flawed};

pub use crate::commit::{AC1, AC2, AC3, AC4, AC5, CALLS_RETURN, ONE_LOCK, ONE_ORDER, RECOVERY};

const LATER_COMMIT: &str = "a later ballot finds every participant prepared";
const TWO_LEADERS: &str = "two nodes lead at once";
const OVERTAKEN: &str = "a leader is overtaken";

/// What is sent again is in the network already: it matters to promises of the calm alone.
const RETRY: &str = "ring Retry";

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Bounded<M>, Ledger>;

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
        bound: LastRound(last),
    });
    let mut world = World::new(name, machines.collect(), Ledger::default())
        .doors(cluster.doors())
        .crashes(cluster.all(), cluster.crashes);
    let mut tickets = 0;
    for letters in clients {
        world = world.client(cluster.script(letters, &mut tickets));
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
    let world = bare(name, cluster, clients, cluster.rounds, make)
        .always_told(AC1, |told| told.ghost.agrees())
        .always_told(AC2, |told| told.ghost.is_unanimous())
        // A crash is no excuse here: it aborts nothing, unless somebody else waits too long.
        .always_told(AC3, |told| told.ghost.aborts_have_causes_inside())
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

/// How many alarms may ring in a calm. A coordinator asks again up to twenty times before it leads, for
/// each of two transactions; each node in doubt leads, and may be overtaken.
const ROUNDS: u32 = 80;

/// A world in which the dead come back.
fn restarting<M: Twin<PaxosCommit>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(PaxosCommit) -> M,
) -> Model<M> {
    let calm = || bare("calm", cluster, clients, u64::MAX, &make);
    let settled = Arc::new(Calms::new(calm(), ROUNDS, everything_is_settled));
    let also_settled = Arc::clone(&settled);
    let returned = Calms::new(calm(), ROUNDS, |_, clients| nobody_waits(clients));
    world(name, cluster, clients, make)
        .always(RECOVERY, move |snapshot| {
            every_vote_is_kept(snapshot) && settled.reach(snapshot)
        })
        // Where everything is settled nobody waits, and that was looked at already.
        .always(CALLS_RETURN, move |snapshot| {
            also_settled.reach(snapshot) || returned.reach(snapshot)
        })
}

/// Babaoğlu and Toueg's own world, in which what crashes stays dead. There *recovery* is not promised, for
/// in its calm everyone is up; what is promised is *AC5*, of what was begun before. The mail under way may
/// be lost or arrive; from then on what survives is heard by all who survive.
fn stopping<M: Twin<PaxosCommit>>(
    name: &str,
    cluster: Cluster,
    tolerated: usize,
    make: impl Fn(PaxosCommit) -> M,
) -> Model<CrashStop<M>> {
    let make = |right| CrashStop { inner: make(right) };
    let calm = bare("survivors", cluster, &["A"], u64::MAX, make).doors(NodeSet::EMPTY);
    let settled = Calms::new(calm, ROUNDS, no_survivor_waits);
    let acceptors = cluster.acceptors();
    let dead = move |snapshot: &Snapshot<_, _>| {
        let is_dead = |id: &NodeId| !snapshot.node(*id).is_some_and(|node| is_alive(node));
        acceptors.iter().filter(is_dead).count()
    };
    world(name, cluster, &["A"], make)
        .always(AC5, move |snapshot| {
            tolerated < dead(snapshot) || settled.reach(snapshot)
        })
        .sometimes("as many acceptors are dead as may be", move |snapshot| {
            dead(snapshot) == tolerated
        })
        .sometimes(
            "the coordinator is dead, and a participant in doubt",
            move |snapshot| {
                let mut doors = cluster.doors().iter();
                doors.all(|id| !snapshot.node(id).is_some_and(|node| is_alive(node)))
                    && snapshot.running().any(|(_, state)| {
                        state.durable.incarnation == ALIVE
                            && state.durable.branches.in_doubt().next().is_some()
                    })
            },
        )
}

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

/// What a participant has voted for and forgotten, it will never decide.
fn every_vote_is_kept<M: Twin<PaxosCommit>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    snapshot.ghost.yes_votes().all(|(transaction, node)| {
        let disk = snapshot.node(node).and_then(|node| node.durable());
        disk.is_some_and(|disk| disk.branches.known.contains_key(&transaction))
    })
}

fn waits<M: Twin<PaxosCommit>>(node: &Node<M>) -> bool {
    node.up().is_none_or(|state| {
        let in_doubt = state.durable.branches.in_doubt().next().is_some();
        in_doubt || !state.volatile.asked.is_empty() || !state.volatile.leading.is_empty()
    })
}

/// Goal of *recovery*: nobody waits for an outcome or is in doubt, client or node.
fn everything_is_settled<M: Twin<PaxosCommit>>(nodes: &[&Node<M>], clients: &[Client]) -> bool {
    nobody_waits(clients) && !nodes.iter().any(|node| waits(node))
}

/// Goal of *AC5*: none of those who have never crashed waits for an outcome or is in doubt.
fn no_survivor_waits<M: Twin<PaxosCommit>>(nodes: &[&Node<M>], _: &[Client]) -> bool {
    !nodes.iter().any(|node| is_alive(node) && waits(node))
}

/// What every world of the right machine leaves out: messages that can never matter again, and which of
/// the acceptors is which, if they are nothing else.
fn reduced<M: Twin<PaxosCommit>>(world: Model<M>, cluster: Cluster) -> Model<M> {
    let world = world.purging(dead::sender_is_done, dead::receiver_is_done);
    match cluster.acceptors {
        Acceptors::Apart(_) => world.symmetric(cluster.acceptors()),
        Acceptors::First(_) => world,
    }
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<PaxosCommit> {
    let world = reduced(restarting(name, cluster, clients, |right| right), cluster);
    if clients.concat().len() < 2 {
        world.never(RETRY)
    } else {
        // A coordinator whose own key is locked asks itself again, and hears its no.
        world
    }
}

/// A world of the right machine in which what crashes stays dead. Nobody reaches the dead.
fn stopped(name: &str, cluster: Cluster, tolerated: usize) -> Model<CrashStop<PaxosCommit>> {
    let world = stopping(name, cluster, tolerated, |right| right);
    let world = reduced(world, cluster).never(RETRY);
    world.purging(dead::sender_is_done, |letter, to| {
        !is_alive(to) || dead::receiver_is_done(letter, to)
    })
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    restarting(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// The same, less what the worlds of the right machine leave out, for stories too long to be found
/// otherwise. What is forgotten might as well be lost, so each is a story of the flaw.
fn flawed_and_reduced(flaw: Flaw, name: &str, cluster: Cluster) -> Model<Flawed> {
    let world = reduced(flawed(flaw, name, cluster, &["A"]), cluster);
    world.purging(dead::sender_is_done, |letter, to| {
        // A leader may count what comes too late.
        !matches!(letter.message, Message::Phase2b { .. }) && dead::receiver_is_done(letter, to)
    })
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
        Claimed::holds(7_533, 37_884, || {
            right("calm", PAIR, &["A"]).says(
                "two participants, one of which coordinates, and a third node; the three are the acceptors; one transaction",
            )
        }),
        Claimed::holds(105_921, 590_043, || {
            right("crash", PAIR.with_crashes(1), &["A"]).says("the same, and one crash of any")
        }),
        Claimed::holds(105_462, 524_665, || {
            right("cut", PAIR, &["A"])
                .says("the same, and one cut of any shape")
                .cuts(Cut::all(3), 1)
        }),
        Claimed::holds(1_482_894, 8_112_708, || {
            right("crash-and-cut", PAIR.with_crashes(1), &["A"])
                .says("the same, and both")
                .cuts(Cut::all(3), 1)
        }),
        Claimed::holds(28_442, 152_205, || {
            right("two-rounds", PAIR.with_rounds(2), &["A"])
                .says("the same without faults, and ballots of two rounds")
        }),
        Claimed::holds_deep(351_684, 2_011_248, || {
            right(
                "two-rounds-crash",
                PAIR.with_rounds(2).with_crashes(1),
                &["A"],
            )
            .says("the same, and one crash of any")
        }),
        Claimed::holds(121_287, 847_706, || {
            right("acceptors-apart", FIVE, &["A"]).says(
                "two participants, one of which coordinates, and three acceptors that do nothing else",
            )
        }),
        Claimed::holds(251_336, 1_846_280, || {
            right("all-apart", LONE.with_crashes(1), &["A"]).says(
                "a participant, a coordinator and three acceptors, each a node of its own; one crash of any",
            )
        }),
        Claimed::holds_deep(329_319, 2_624_641, || {
            right("coordinator-apart", THREE, &["A"])
                .says("two participants and a coordinator; the three are the acceptors")
        }),
        Claimed::holds_deep(1_617_784, 13_178_977, || {
            right("three-participants", ALL, &["A"])
                .says("three participants, one of which coordinates; the three are the acceptors")
        }),
        Claimed::holds(449_475, 1_795_791, || {
            right("two-transactions", DUO.open(), &["A", "B"]).says(
                "two participants and one acceptor; two clients begin transactions that meet at both, at any participant",
            )
        }),
        Claimed::holds(255_401, 943_073, || {
            right("two-in-a-row", DUO.with_crashes(1), &["AB"]).says(
                "two participants, one of which coordinates, and one acceptor; one client begins two transactions, one crash of any",
            )
        }),
        Claimed::holds(40_580, 197_309, || {
            stopped("crash-stop", PAIR.with_crashes(1), 1).says(
                "two participants, one of which coordinates, and a third node; the three are the acceptors; one crash of any, for good",
            )
        }),
        Claimed::holds(606_831, 4_288_898, || {
            stopped("crash-stop-two", LONE.with_crashes(2), 1).says(
                "a participant, a coordinator and three acceptors, each a node of its own; two crashes for good, of which AC5 suffers one acceptor's",
            )
        }),
    ]
}

fn acceptors() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(AC1, 12, || {
            flawed(
                Flaw::AcceptorForgets,
                "acceptor-forgets",
                PAIR.with_crashes(1),
                &["A"],
            )
            .says("an acceptor that restarts has forgotten what it promised and accepted")
        }),
        Claimed::falls(AC1, 11, || {
            flawed(Flaw::PromiseNotKept, "promise-not-kept", PAIR, &["A"])
                .says("an acceptor promises, and accepts in lower ballots all the same")
        }),
        Claimed::falls(AC1, 12, || {
            flawed(Flaw::BallotsShared, "ballots-shared", PAIR, &["A"])
                .says("two leaders have the same ballot")
        }),
        Claimed::falls(RECOVERY, 8, || {
            flawed(Flaw::RefusesSilently, "refuses-silently", PAIR, &["A"])
                .says("nobody tells a leader that it was overtaken, and it waits for ever")
        }),
    ]
}

fn leaders() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(AC1, 7, || {
            flawed(Flaw::NoPhaseOne, "no-phase-one", TRIO, &["A"])
                .says("a leader proposes without asking what was accepted before")
        }),
        Claimed::falls(AC1, 9, || {
            flawed(
                Flaw::AbortsWhatWasChosen,
                "aborts-what-was-chosen",
                TRIO,
                &["A"],
            )
            .says("a leader proposes that all aborted, whatever was accepted before")
        }),
        Claimed::falls(AC2, 6, || {
            flawed(Flaw::FreeChoice, "free-choice", TRIO, &["A"]).says(
                "where nothing was accepted, a leader proposes that the participant is prepared",
            )
        }),
        Claimed::falls(AC1, 12, || {
            flawed(Flaw::LowestBallot, "lowest-ballot", PAIR, &["A"])
                .says("a leader proposes what was accepted in the lowest ballot")
        }),
        Claimed::falls(AC1, 11, || {
            flawed(Flaw::CountedTwice, "counted-twice", LONE, &["A"])
                .says("a leader counts each answer as if it were two acceptors'")
        }),
        Claimed::falls(AC1, 27, || {
            flawed_and_reduced(
                Flaw::BallotsTogether,
                "ballots-together",
                LONE.with_rounds(2),
            )
            .says("a leader counts what was accepted in ballots that it gave up, too")
        }),
        Claimed::falls(AC2, 7, || {
            flawed(Flaw::OneInstance, "one-instance", DUO, &["A"])
                .says("a leader commits when one participant is prepared")
        }),
        Claimed::falls(AC1, 23, || {
            flawed_and_reduced(
                Flaw::BallotsAgain,
                "ballots-again",
                FLEXIBLE.with_crashes(1),
            )
            .says("a leader that restarts begins the ballots again that it began before")
        }),
        Claimed::falls(RECOVERY, 8, || {
            flawed(Flaw::NeverOutbids, "never-outbids", PAIR, &["A"])
                .says("a leader that was overtaken tries the same ballot again")
        }),
        Claimed::falls(RECOVERY, 2, || {
            flawed(
                Flaw::OneLeader,
                "one-leader-restarts",
                THREE.with_crashes(1),
                &["A"],
            )
            .says("the coordinator alone may lead, and a crash takes from it what it led")
        }),
        Claimed::falls(CALLS_RETURN, 2, || {
            flawed(Flaw::NoRetries, "no-retries", PAIR, &["A"])
                .says("everything is asked once, and waited for without end")
        }),
    ]
}

fn participants() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(AC1, 6, || {
            flawed(Flaw::TakesBack, "takes-back", PAIR, &["A"])
                .says("a participant that waited long enough takes its vote back, and aborts")
        }),
        Claimed::falls(AC1, 16, || {
            flawed(Flaw::ProposesTwice, "proposes-twice", LONE, &["A"])
                .says("a participant that waited long enough proposes in its own ballot that it aborted, after it proposed that it is prepared")
        }),
        Claimed::falls(AC1, 10, || {
            flawed(
                Flaw::VoteForgotten,
                "vote-forgotten",
                DUO.with_crashes(1),
                &["A", "B"],
            )
            .says("a restart forgets the votes")
        }),
        Claimed::falls(RECOVERY, 2, || {
            flawed(
                Flaw::RestsAfterRestart,
                "rests-after-restart",
                PAIR.with_crashes(1),
                &["A"],
            )
            .says("a participant that restarts in doubt waits for nothing")
        }),
        Claimed::falls(RECOVERY, 4, || {
            flawed(Flaw::PutsOff, "puts-off", PAIR, &["A"])
                .says("a question to vote that comes again puts off the alarm of all who wait")
        }),
        Claimed::falls(AC2, 8, || {
            flawed(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                DUO.with_crashes(1),
                &["AB"],
            )
            .says("after a restart the names of transactions begin anew")
        }),
        Claimed::falls(AC4, 8, || {
            flawed(Flaw::PreparesAgain, "prepares-again", DUO, &["A"])
                .says("a question to vote that comes again, after the abort, locks again")
        }),
        Claimed::falls(AC3, 6, || {
            flawed(Flaw::AbortByKey, "abort-by-key", DUO.open(), &["A", "B"])
                .says("an abort ends whichever transaction holds its keys, as the textbook's does")
        }),
        Claimed::falls(ONE_LOCK, 3, || {
            flawed(
                Flaw::LocksNothing,
                "locks-nothing",
                PAIR.open(),
                &["A", "B"],
            )
            .says("a participant says yes whoever holds the keys")
        }),
        Claimed::falls(ONE_ORDER, 12, || {
            flawed(
                Flaw::LocksNothing,
                "last-writer-wins",
                PAIR.open().with_rounds(0),
                &["A", "B"],
            )
            .says("prepare locks nothing, and commits overwrite as they arrive, as in the textbook")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    let right = |right| right;
    vec![
        Claimed::falls(AC1, 9, move || {
            restarting("few-promise", PAIR.with_quorums(1, 2), &["A"], right)
                .says("F acceptors are asked for a promise, and F + 1 choose")
        }),
        Claimed::falls(AC1, 6, move || {
            restarting("few-choose", PAIR.with_quorums(2, 1), &["A"], right)
                .says("F + 1 acceptors are asked for a promise, and F choose")
        }),
        Claimed::falls(AC1, 12, move || {
            restarting("lying-disk", PAIR.with_crashes(1), &["A"], right)
                .says("a disk forgets what it acknowledged")
                .disk(Disk::Lying)
        }),
        Claimed::falls(AC5, 3, move || {
            stopping("many-stay-dead", PAIR.with_crashes(2), 2, right)
                .says("F + 1 acceptors crash for good")
        }),
        Claimed::falls(AC5, 2, move || {
            stopping("one-acceptor-stays-dead", DUO.with_crashes(1), 1, right)
                .says("with F = 0 there is one acceptor, and it crashes for good: two-phase commit")
        }),
        Claimed::falls(AC5, 2, move || {
            let flaw = Flaw::OneLeader;
            stopping(
                "one-leader-stays-dead",
                PAIR.with_crashes(1),
                1,
                move |right| Flawed { right, flaw },
            )
            .says("the coordinator alone may lead, and crashes for good")
        }),
    ]
}

/// Two participants, a coordinator and an acceptor, each a node of its own.
const QUARTET: Cluster = Cluster {
    participants: 2,
    ..TRIO
};

/// One transaction without faults: what refines
/// [`crate::commit::specification::TransactionCommit`].
pub fn refining() -> World<Bounded<PaxosCommit>, Ledger> {
    let world = bare("refining", QUARTET, &["A"], QUARTET.rounds, |right| right);
    reduced(world, QUARTET)
}

/// How far each participant is in the one transaction of [`refining`].
pub fn stages(snapshot: &Snapshot<Bounded<PaxosCommit>, Ledger>) -> Vec<Stage> {
    let stage = |node: &Node<_>| {
        let known = node
            .durable()
            .map(|disk: &Durable| disk.branches.known.values());
        match known.into_iter().flatten().next() {
            None => Stage::Working,
            Some(Branch::Prepared { .. }) => Stage::Prepared,
            Some(Branch::Committed) => Stage::Committed,
            Some(Branch::Aborted) => Stage::Aborted,
        }
    };
    let participants = snapshot.nodes.iter().take(QUARTET.participants);
    participants.map(|node| stage(node)).collect()
}

/// What [`World::purging`] owes in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let two_acceptors = Cluster {
        acceptors: Acceptors::Apart(2),
        ..LONE
    };
    Ok(vec![
        purge::obligations(|| right("purged", TRIO.with_crashes(1), &["A"]))?,
        purge::obligations(|| right("purged", TRIO.with_rounds(2), &["A"]))?,
        purge::obligations(|| right("purged", DUO, &["A"]))?,
        purge::obligations(|| right("purged", two_acceptors, &["A"]))?,
        purge::obligations(|| right("purged", PAIR.with_rounds(0), &["AB"]))?,
        purge::obligations(|| stopped("purged", TRIO.with_crashes(1), 1))?,
    ])
}

/// The same, of a machine for which the rule is wrong: to a leader that counts what comes too late, no
/// answer is ever dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    let flaw = Flaw::BallotsTogether;
    purge::obligations(|| reduced(flawed(flaw, "purged", TRIO, &["A"]), TRIO))
}

/// What [`World::symmetric`] owes of acceptors that are nothing else, in a small world.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn symmetries() -> Result<symmetry::Discharged, String> {
    let two_acceptors = Cluster {
        acceptors: Acceptors::Apart(2),
        ..LONE
    };
    symmetry::obligations(|| right("alike", two_acceptors, &["A"]))
}

/// Asks the oracle and what is remembered of calms the same, in every state of a world. How many states
/// the calm leads to the goal from, and how many it does not.
fn compare<M: Twin<PaxosCommit>>(
    cluster: Cluster,
    make: impl Fn(PaxosCommit) -> M,
) -> Result<[usize; 2], String> {
    let calm = || bare("calm", cluster, &["A"], u64::MAX, &make);
    let remembered = Calms::new(calm(), ROUNDS, everything_is_settled);
    let oracle = calm();
    let goal = Condition::Whole(Arc::new(|snapshot: &Snapshot<Bounded<M>, Ledger>| {
        let nodes: Vec<&Node<_>> = snapshot.nodes.iter().map(|node| &**node).collect();
        everything_is_settled(&nodes, &snapshot.clients)
    }));
    let mut found = [0, 0];
    visit(
        &bare("compared", cluster, &["A"], cluster.rounds, &make),
        |state, _| {
            let expected = calm::rounds(&oracle, state, ROUNDS, &goal).is_some();
            found[usize::from(!expected)] += 1;
            if remembered.reach(state) == expected {
                Ok(())
            } else {
                Err(format!(
                    "where the calm leads from {state:?} is remembered wrongly"
                ))
            }
        },
    )?;
    Ok(found)
}

/// The comparison of remembered calms with their oracle, of the right machine and of one that recovers
/// from some states and not from others.
///
/// # Errors
///
/// Says where the two differ.
pub fn compared_calms() -> Result<[[usize; 2]; 2], String> {
    let flaw = Flaw::OneLeader;
    Ok([
        compare(TRIO.with_crashes(1), |right| right)?,
        compare(TRIO.with_crashes(1), |right| Flawed { right, flaw })?,
    ])
}
