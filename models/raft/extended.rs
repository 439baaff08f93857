//! The worlds of what Raft has beyond its core, and the flaws of that: entries sent ahead, snapshots,
//! leadership handed over, and changes of the members.

use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::raft::{
    Call, Changes, FirstEntry, Flow, MemberChange, Membership, Raft, Role, Snapshots, Term,
};

use super::past::{Chronicle, Clients, Past};
use super::{
    A_LEADER_COMMITS, Bounded, Candidates, Cluster, ELECTION_SAFETY, INDIRECTLY, LINEARIZABLE,
    MATCH_INDEX, NO_OPS, OVERWRITTEN, ROUNDS, SECOND_MAJORITY, STORES, SURVIVES, THREE,
    TRANSFER_ENDS, TWO_LEADERS, UNBOUNDED, forgetting, recovering, right, world,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::purge::{self, Discharged};
use crate::snapshot::{Node, Snapshot};
use crate::symmetry;
use crate::world::World;

mod flawed;

use flawed::{Extended, Flaw};

const INSTALLED: &str = "a snapshot is installed";
const HANDED_OVER: &str = "a leadership is handed over";
pub(super) const CHANGED: &str = "the members change";
const LEFT: &str = "a change by joint consensus is over";

/// Two messages at a time, of one entry each.
const AHEAD: Cluster = Cluster {
    batch: 1,
    flow: Flow::Pipelined { messages_max: 2 },
    ..THREE
};

/// A snapshot after each entry, sent in pieces.
const COMPACTED: Cluster = Cluster {
    snapshots: Snapshots::Every {
        entries: 1,
        kept: 0,
        pieces_max: 1,
    },
    ..THREE
};

/// Two members, a spare, and a no-op at the start of a term.
const SPARE: Cluster = Cluster {
    members: 2,
    spares: 1,
    changes: Changes::OneByOne,
    ..NO_OPS
};

const JOINT: Cluster = Cluster {
    changes: Changes::Joint,
    ..SPARE
};

/// A call for a change.
fn change(ticket: u64, change: MemberChange) -> Call {
    Call::Members { ticket, change }
}

/// A world with snapshots: what is applied is what the log makes, whether entry by entry or at once.
fn compacted<M: Twin<Raft>, G: Ghost<Bounded<M>> + Chronicle + Default>(
    world: World<Bounded<M>, G>,
) -> World<Bounded<M>, G> {
    world
        .always(STORES, stores)
        .sometimes_told(INSTALLED, |told| told.ghost.past().installed)
}

fn stores<M: Twin<Raft>, G: Ghost<M> + Chronicle>(snapshot: &Snapshot<M, G>) -> bool {
    let past = snapshot.ghost.past();
    snapshot.running().all(|(_, state)| {
        let made = past.made(state.volatile.commit);
        made.is_some_and(|made| made == state.volatile.store)
    })
}

/// A world in which members change.
pub(super) fn changing<M: Twin<Raft>>(
    name: &str,
    cluster: Cluster,
    clients: &[&[MemberChange]],
    make: impl Fn(Raft) -> M,
) -> World<Bounded<M>, Past> {
    let mut world: World<_, Past> = world(name, cluster, &[], make);
    for (client, changes) in (1..).zip(clients) {
        let tickets = 100 * client..;
        let calls = tickets.zip(*changes);
        world = world.client(calls.map(|(ticket, one)| change(ticket, *one)));
    }
    world
        .always_of_nodes(SECOND_MAJORITY, no_second_majority)
        .sometimes_told(CHANGED, |told| told.ghost.memberships().next().is_some())
}

/// Whoever could be elected now, with the logs that there are: any two such have majorities that meet.
///
/// That is stronger than that no two leaders decide apart, and it falls sooner: a node whose members
/// have gone on without it, so that no majority of those it knows would vote for it, does no harm.
fn no_second_majority<M: Twin<Raft>>(nodes: &[&Node<M>]) -> bool {
    let ends: Vec<_> = (nodes.iter())
        .map(|node| {
            node.durable()
                .map(|disk| disk.log.last())
                .unwrap_or_default()
        })
        .collect();
    let candidates: Vec<(Membership, NodeSet)> = (0..)
        .map(NodeId)
        .zip(nodes)
        .filter_map(|(id, node)| {
            let state = node.up()?;
            let members = state.volatile.members.membership;
            let own = state.durable.log.last();
            let voters = (0..).map(NodeId).zip(&ends);
            let voters = voters.filter(|(_, end)| **end <= own).map(|(id, _)| id);
            let voters: NodeSet = voters.collect();
            (members.has_voter(id) && members.is_quorum(voters)).then_some((members, voters))
        })
        .collect();
    candidates.iter().enumerate().all(|(place, one)| {
        candidates[..place]
            .iter()
            .all(|other| one.0 == other.0 || must_meet(one, other))
    })
}

/// True if no majority of the one's voters leaves a majority of the other's.
fn must_meet(one: &(Membership, NodeSet), other: &(Membership, NodeSet)) -> bool {
    let voters: Vec<NodeId> = one.1.intersection(one.0.everyone()).iter().collect();
    (0..1_u32 << voters.len()).all(|chosen| {
        let chosen = (voters.iter().enumerate())
            .filter(|(place, _)| chosen & (1 << place) != 0)
            .map(|(_, voter)| *voter);
        let chosen: NodeSet = chosen.collect();
        !one.0.is_quorum(chosen) || !other.0.is_quorum(other.1.difference(chosen))
    })
}

/// A world in which a leadership is handed over, to node 2.
fn transferring<M: Twin<Raft>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Raft) -> M,
) -> World<Bounded<M>, Past> {
    let world: World<_, Past> = world(name, cluster, clients, make);
    let to = NodeId(2);
    let last = Term(cluster.terms);
    let transfer = Call::Transfer { ticket: 100, to };
    world
        .client([transfer])
        .recovers(TRANSFER_ENDS, ROUNDS, move |snapshot| {
            is_not_handing_over(snapshot, last)
        })
        .sometimes_told(HANDED_OVER, |told| told.ghost.handed_over)
}

/// Nobody is handing over; or the last term has begun, and the bound forbids to go on.
fn is_not_handing_over<M: Twin<Raft>, G: Ghost<M>>(snapshot: &Snapshot<M, G>, last: Term) -> bool {
    let excused = snapshot.disks().any(|(_, disk)| last < disk.term);
    excused
        || snapshot
            .running()
            .all(|(_, state)| match &state.volatile.role {
                Role::Leader(leader) => leader.transfer.is_none(),
                Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => true,
            })
}

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    let mut all = worlds_ahead();
    all.extend(worlds_compacted());
    all.extend(worlds_handing_over());
    all.extend(worlds_changing());
    all
}

fn worlds_ahead() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(68_842, 318_039, || {
            right("pipelined", AHEAD, &["AB"]).says(
                "three members, two terms; two commands, two messages ahead of one entry each",
            )
        }),
        Claimed::holds(19_955, 80_288, || {
            let cluster = Cluster {
                first_entry: FirstEntry::NoOp,
                ..AHEAD
            };
            recovering(right("pipelined-no-ops", cluster, &[]), cluster)
                .says("three members, two terms begun with no-ops; entries are sent ahead")
        }),
    ]
}

fn worlds_compacted() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(77_814, 377_174, || {
            compacted(right("snapshots", COMPACTED, &["AB"])).says(
                "three members, two terms; two commands, a snapshot after each, sent in pieces",
            )
        }),
        Claimed::holds(1_526, 3_372, || {
            let cluster = Cluster {
                members: 2,
                crashes: 1,
                ..COMPACTED
            };
            compacted(right("snapshots-crash", cluster, &["AB"]))
                .says("two members, two terms, one crash; two commands, a snapshot after each")
                .except(INSTALLED)
                .except(TWO_LEADERS)
                .except(OVERWRITTEN)
        }),
        Claimed::holds(49_878, 262_027, || {
            let cluster = Cluster {
                terms: 1,
                snapshots: Snapshots::Every {
                    entries: 1,
                    kept: 1,
                    pieces_max: 2,
                },
                ..COMPACTED
            };
            compacted(right("snapshots-kept", cluster, &["ABC"]))
                .says("three members, one term; three commands, a snapshot after each, and one entry kept")
                .except(TWO_LEADERS)
                .except(OVERWRITTEN)
                .except(INDIRECTLY)
        }),
        Claimed::holds(27_014, 105_491, || {
            let world: World<_, Clients> =
                world("snapshots-sessions", COMPACTED, &["+*"], |right| right);
            let world = forgetting(world, COMPACTED).symmetric(NodeSet::first(3));
            compacted(world)
                .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
                .says("three members, two terms; an increment sent twice, a snapshot after each entry")
        }),
    ]
}

fn worlds_handing_over() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::holds(20_144, 91_555, || {
        let world = transferring("transfer", THREE, &["A"], |right| right);
        forgetting(world, THREE)
            .symmetric(NodeSet::first(2))
            .says(
                "three members, two terms and one more; a command, and the leadership handed over",
            )
            .except(OVERWRITTEN)
            .except(INDIRECTLY)
    })]
}

fn worlds_changing() -> Vec<Box<dyn Exhibit>> {
    let two = NodeId(2);
    vec![
        Claimed::holds(153_063, 720_312, move || {
            let changes = [
                MemberChange::AddLearner(two),
                MemberChange::Promote(two),
                MemberChange::Remove(NodeId(0)),
            ];
            let world = changing("one-by-one-members", SPARE, &[&changes], |right| right);
            forgetting(world, SPARE)
                .says("two members and a spare, two terms; a learner is added and promoted, a voter removed")
        }),
        Claimed::holds(2_517, 7_065, move || {
            let replace = MemberChange::Replace(NodeSet::from_iter([NodeId(1), two]));
            let world = changing("joint-members", JOINT, &[&[replace]], |right| right);
            forgetting(world, JOINT)
                .sometimes_told(LEFT, |told| {
                    told.ghost.memberships().filter(|it| !it.is_joint()).count() > 0
                })
                .says("two members and a spare, two terms; a voter is replaced by joint consensus")
                .except(OVERWRITTEN)
        }),
        Claimed::holds(12_042, 44_667, || {
            let world = changing("removed-and-restarted", SHRINKING, &[&SHRINK], |right| {
                right
            });
            forgetting(world, SHRINKING)
                .says("three members, one term, one crash; two are removed, one after the other")
                .except(TWO_LEADERS)
                .except(OVERWRITTEN)
                .except(INDIRECTLY)
        }),
        Claimed::holds(2_120_062, 14_058_739, || {
            let world = changing("two-leaders-change", APART, &CHANGES_APART, |right| right);
            forgetting(world, APART)
                .says("four members, two terms begun with no-ops, in each of which one stands; two removals")
                .except(OVERWRITTEN)
        }),
    ]
}

/// Three members of whom two go.
const SHRINKING: Cluster = Cluster {
    members: 3,
    spares: 0,
    terms: 1,
    crashes: 1,
    candidates: Candidates::InTurn,
    ..SPARE
};

const SHRINK: [MemberChange; 2] = [
    MemberChange::Remove(NodeId(2)),
    MemberChange::Remove(NodeId(1)),
];

/// What the bug of 2015 takes: an even number of members, and two leaders who each would change them.
const APART: Cluster = Cluster {
    members: 4,
    spares: 0,
    candidates: Candidates::InTurn,
    ..SPARE
};

const CHANGES_APART: [&[MemberChange]; 2] = [
    &[MemberChange::Remove(NodeId(3))],
    &[MemberChange::Remove(NodeId(0))],
];

/// A world of a machine with a flaw. As elsewhere nothing is forgotten in it.
fn flawed<G: Ghost<Bounded<Extended>> + Chronicle + Default>(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&str],
) -> World<Bounded<Extended>, G> {
    world(name, cluster, clients, move |right| Extended {
        right,
        flaw,
    })
}

fn flawed_changes(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&[MemberChange]],
) -> World<Bounded<Extended>, Past> {
    changing(name, cluster, clients, move |right| Extended {
        right,
        flaw,
    })
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    let mut all = flaws_ahead();
    all.extend(flaws_compacted());
    all.extend(flaws_handing_over());
    all.extend(flaws_changing());
    all
}

fn flaws_ahead() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(MATCH_INDEX, 4, || {
            let cluster = Cluster {
                terms: 1,
                members: 2,
                ..AHEAD
            };
            let world: World<_, Past> =
                flawed(Flaw::SupposesArrival, "supposes-arrival", cluster, &["A"]);
            world.says("what was sent ahead is taken for what has arrived")
        }),
        Claimed::falls(A_LEADER_COMMITS, 3, || {
            let cluster = Cluster {
                first_entry: FirstEntry::NoOp,
                terms: UNBOUNDED,
                members: 2,
                ..AHEAD
            };
            let world: World<_, Past> =
                flawed(Flaw::WindowStaysShut, "window-stays-shut", cluster, &[]);
            recovering(world, cluster)
                .says("what is lost counts as under way for ever, and nothing more is sent")
        }),
    ]
}

fn flaws_compacted() -> Vec<Box<dyn Exhibit>> {
    let one_term = Cluster {
        terms: 1,
        ..COMPACTED
    };
    vec![
        Claimed::falls(LINEARIZABLE, 14, move || {
            let world: World<_, Clients> = flawed(
                Flaw::SnapshotForgetsSessions,
                "snapshot-forgets-sessions",
                Cluster {
                    members: 2,
                    crashes: 1,
                    ..COMPACTED
                },
                &["+*"],
            );
            world
                .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
                .says("a snapshot has the values and not the sessions")
        }),
        Claimed::falls(STORES, 13, move || {
            let world: World<_, Past> =
                flawed(Flaw::MixesSnapshots, "mixes-snapshots", one_term, &["AB"]);
            compacted(world).says("a part of one snapshot is added to a part of another")
        }),
        Claimed::falls(SURVIVES, 16, move || {
            let world: World<_, Past> =
                flawed(Flaw::InstallsOlder, "installs-older", one_term, &["AB"]);
            compacted(world).says("a snapshot is installed that is older than what is committed")
        }),
        Claimed::falls(SURVIVES, 10, || {
            let world: World<_, Past> =
                flawed(Flaw::KeepsTheLog, "keeps-the-log", COMPACTED, &["AB"]);
            forgetting(world, COMPACTED).says("the log stays as it is when a snapshot is installed")
        }),
        Claimed::falls(STORES, 8, || {
            let cluster = Cluster {
                members: 2,
                terms: 1,
                crashes: 1,
                ..COMPACTED
            };
            let world: World<_, Past> =
                flawed(Flaw::RestartsEmpty, "restarts-empty", cluster, &["A"]);
            compacted(world).says("a node that restarts has the log and not the snapshot")
        }),
    ]
}

fn flaws_handing_over() -> Vec<Box<dyn Exhibit>> {
    let one_term = Cluster { terms: 1, ..THREE };
    vec![
        Claimed::falls(ELECTION_SAFETY, 8, move || {
            let make = |right| Extended {
                right,
                flaw: Flaw::HeirIsCrowned,
            };
            transferring("heir-is-crowned", THREE, &[], make)
                .says("the heir leads as soon as it is told, without an election")
        }),
        Claimed::falls(TRANSFER_ENDS, 4, move || {
            let make = |right| Extended {
                right,
                flaw: Flaw::WaitsForTheHeir,
            };
            transferring("waits-for-the-heir", one_term, &[], make)
                .says("a leader tells its heir once, and waits for it without end")
        }),
    ]
}

fn flaws_changing() -> Vec<Box<dyn Exhibit>> {
    let one_term = Cluster { terms: 1, ..SPARE };
    vec![
        Claimed::falls(SECOND_MAJORITY, 12, || {
            let cluster = Cluster {
                first_entry: FirstEntry::Client,
                ..APART
            };
            let flaw = Flaw::ChangesTooEarly;
            let world = flawed_changes(flaw, "changes-too-early", cluster, &CHANGES_APART);
            forgetting(world, cluster)
                .says("a leader changes the members before it has committed anything in its term: the bug of 2015")
        }),
        Claimed::falls(SECOND_MAJORITY, 15, || {
            flawed_changes(
                Flaw::CountsFromCommit,
                "counts-from-commit",
                SHRINKING,
                &[&SHRINK],
            )
            .says(
                "a change counts from when it is known to be committed: who restarts knows of none",
            )
        }),
        Claimed::falls(SECOND_MAJORITY, 7, || {
            let cluster = Cluster {
                crashes: 0,
                ..SHRINKING
            };
            flawed_changes(Flaw::ChangesAtOnce, "changes-at-once", cluster, &[&SHRINK])
                .says("a change is begun before the one before is committed")
        }),
        Claimed::falls(SURVIVES, 6, move || {
            let remove: &[MemberChange] = &[MemberChange::Remove(NodeId(0))];
            flawed_changes(
                Flaw::RemovedLeaderCounts,
                "removed-leader-counts",
                one_term,
                &[remove],
            )
            .says("a leader that is a member no more counts itself all the same")
        }),
        Claimed::falls(SURVIVES, 10, move || {
            let add: &[MemberChange] = &[MemberChange::AddLearner(NodeId(2))];
            flawed_changes(Flaw::LearnerCounts, "learner-counts", one_term, &[add])
                .says("a learner's copy counts")
        }),
        Claimed::falls(SECOND_MAJORITY, 6, || {
            let cluster = Cluster {
                crashes: 0,
                changes: Changes::Joint,
                ..SHRINKING
            };
            let one = NodeSet::from_iter([NodeId(0)]);
            let replace: &[MemberChange] = &[MemberChange::Replace(one)];
            flawed_changes(
                Flaw::NewMajorityAlone,
                "new-majority-alone",
                cluster,
                &[replace],
            )
            .says(
                "while a change is half done, a majority of the new members is taken to be enough",
            )
        }),
    ]
}

/// What [`World::purging`] owes in worlds with these extensions.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub(super) fn obligations() -> Result<Vec<Discharged>, String> {
    let ahead = Cluster {
        members: 2,
        ..AHEAD
    };
    let compacts = Cluster {
        terms: 1,
        ..COMPACTED
    };
    let compacts_and_crashes = Cluster {
        crashes: 1,
        members: 2,
        terms: 1,
        ..COMPACTED
    };
    let spare = Cluster { terms: 1, ..SPARE };
    let joint = Cluster { terms: 1, ..JOINT };
    let add: &[MemberChange] = &[MemberChange::AddLearner(NodeId(2))];
    let replace: &[MemberChange] = &[MemberChange::Replace(NodeSet::from_iter([
        NodeId(1),
        NodeId(2),
    ]))];
    Ok(vec![
        purge::obligations(|| right("purged", ahead, &["AB"]))?,
        purge::obligations(|| right("purged", compacts, &["A"]))?,
        purge::obligations(|| right("purged", compacts_and_crashes, &["A"]))?,
        purge::obligations(|| {
            let world = changing("purged", spare, &[add], |right| right);
            forgetting(world, spare)
        })?,
        purge::obligations(|| {
            let world = changing("purged", joint, &[replace], |right| right);
            forgetting(world, joint)
        })?,
    ])
}

/// What it owes that members are alike, with these extensions.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub(super) fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let ahead = Cluster {
        members: 2,
        ..AHEAD
    };
    let compacts = Cluster {
        terms: 1,
        ..COMPACTED
    };
    Ok(vec![
        symmetry::obligations(|| right("mirrored", ahead, &["AB"]))?,
        symmetry::obligations(|| right("mirrored", compacts, &["A"]))?,
        symmetry::obligations(|| {
            let world = transferring("mirrored", Cluster { terms: 1, ..THREE }, &[], |right| {
                right
            });
            forgetting(world, Cluster { terms: 1, ..THREE }).symmetric(NodeSet::first(2))
        })?,
    ])
}
