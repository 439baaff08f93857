//! What is claimed of [`quorate::raft`]: its worlds, its promises, and the flaws that refute them.
//!
//! # The bound
//!
//! Terms go on for ever, so a world has a last one: no election alarm is heard in it (see
//! `bounded.rs`). That bounds logs too, as entries come of calls, which are counted, and of no-ops,
//! one per term. A boundary would do the same and leave the world BOUNDED: with this, every state
//! that is within the bound is reached, and the search is EXHAUSTED of it. It has one price. A
//! promise that something *will* come, as *a leader commits* is, cannot be asked in the last term,
//! where nobody may be elected any more: there it is excused, and said so.

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};
use quorate::raft::{
    Call, Changes, Durable, Elections, FirstEntry, Flow, Index, Leadership, Log, Membership,
    Operation, Position, Raft, Reads, Role, Session, Snapshots, Term,
};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::purge::{self, Discharged};
use crate::snapshot::{Node, Snapshot};
use crate::symmetry;
use crate::world::World;

mod bounded;
mod dead;
mod extended;
mod flaws;
mod hasty;
mod healthy;
mod leased;
mod past;

pub use bounded::{Bounded, LastTerm, Stands};
use dead::Rules;
use flaws::{Flaw, Flawed};
pub use past::{Chronicle, Clients, Past, Reign};

/// At most one leader is elected in a term, ever.
pub const ELECTION_SAFETY: &str = "Election Safety";
/// A leader never overwrites or deletes entries in its log; it only appends.
pub const LEADER_APPEND_ONLY: &str = "Leader Append-Only";
/// Two logs that have an entry of one index and term are the same up to it.
pub const LOG_MATCHING: &str = "Log Matching";
/// What is committed in a term is in the logs of the leaders of all later terms.
pub const LEADER_COMPLETENESS: &str = "Leader Completeness";
/// No two nodes apply different entries at one index.
pub const STATE_MACHINE_SAFETY: &str = "State Machine Safety";
/// What a running node knows to be committed is on a majority of disks.
pub const SURVIVES: &str = "committed entries survive";
/// What a leader believes a follower of its term to have, it has.
pub const MATCH_INDEX: &str = "match index is sound";
/// A leader that commits counts for an entry of its own term.
pub const OWN_TERM: &str = "only entries of its own term are counted";
/// Clients see one store, and each command done once.
pub const LINEARIZABLE: &str = "linearizable";
/// In the calm, a leader is elected and commits what is in its log.
pub const A_LEADER_COMMITS: &str = "a leader commits";
/// What a running node has applied is what the committed entries make, sessions too.
pub const STORES: &str = "stores are what the log makes";
/// No two nodes that could be elected have majorities that do not meet.
pub const SECOND_MAJORITY: &str = "no second majority";
/// In the calm, a leader that hands over has done so, or leads on.
pub const TRANSFER_ENDS: &str = "a transfer ends";

/// Nobody who hears no leader can depose one that a majority hears.
pub const NOT_DEPOSED: &str = "a healthy leader is not deposed";
/// While a leader has a lease, nobody else is elected.
pub const NOBODY_AGAINST: &str = "nobody leads against a lease";

const TWO_LEADERS: &str = "two leaders of different terms at once";
const COMMITTED: &str = "an entry is committed";
const OVERWRITTEN: &str = "a leader's entry is overwritten";
const INDIRECTLY: &str = "an entry is committed in a later term than its own";

/// A cluster, and how far it goes.
#[derive(Clone, Copy)]
struct Cluster {
    members: usize,
    terms: u64,
    elections: Elections,
    first_entry: FirstEntry,
    leadership: Leadership,
    reads: Reads,
    batch: u32,
    crashes: u32,
    /// How many nodes there are beside, who may become members.
    spares: usize,
    flow: Flow,
    snapshots: Snapshots,
    changes: Changes,
    /// Who stands for election.
    candidates: Candidates,
}

/// Who stands for election in a world.
#[derive(Clone, Copy)]
enum Candidates {
    /// Anyone at any time.
    Anyone,
    /// In each term one: node 0 in the first, node 1 in the second, and so on.
    InTurn,
    /// Node 0 in the first term, and the last node at any time.
    FirstAndLast,
}

const THREE: Cluster = Cluster {
    members: 3,
    terms: 2,
    elections: Elections::Direct,
    first_entry: FirstEntry::Client,
    leadership: Leadership::UntilDeposed,
    reads: Reads::Log,
    batch: 2,
    crashes: 0,
    spares: 0,
    flow: Flow::StopAndWait,
    snapshots: Snapshots::Never,
    changes: Changes::Never,
    candidates: Candidates::Anyone,
};

const TWO: Cluster = Cluster {
    members: 2,
    ..THREE
};

impl Cluster {
    fn raft(self, me: NodeId) -> Raft {
        Raft {
            me,
            members: NodeSet::first(self.members),
            elections: self.elections,
            first_entry: self.first_entry,
            leadership: self.leadership,
            reads: self.reads,
            batch_entries_max: self.batch,
            batch_bytes_max: u32::MAX,
            spares: self.nodes().difference(NodeSet::first(self.members)),
            flow: self.flow,
            snapshots: self.snapshots,
            changes: self.changes,
        }
    }

    /// When a node stands.
    fn stands(self, me: NodeId) -> Stands {
        match self.candidates {
            Candidates::Anyone => Stands::Always,
            Candidates::InTurn if me.0 < self.terms => Stands::For(Term(me.0 + 1)),
            Candidates::FirstAndLast if me.0 == 0 => Stands::For(Term(1)),
            Candidates::FirstAndLast if self.nodes().iter().last() == Some(me) => Stands::Always,
            Candidates::InTurn | Candidates::FirstAndLast => Stands::Never,
        }
    }

    /// Members and spares.
    fn nodes(self) -> NodeSet {
        NodeSet::first(self.members + self.spares)
    }

    fn machines<M>(self, make: impl Fn(Raft) -> M) -> Vec<Bounded<M>> {
        let bounded = |me| Bounded {
            inner: make(self.raft(me)),
            bound: LastTerm {
                term: Term(self.terms),
                stands: self.stands(me),
            },
        };
        self.nodes().iter().map(bounded).collect()
    }

    fn rules(self) -> Rules {
        Rules::of(&self.raft(NodeId(0)), self.crashes)
    }
}

/// Scripts, one per client: a capital letter puts itself, `+` adds one, `g` gets through the log, `r`
/// reads, and `*` sends the command before it again.
fn scripts<M: Machine<Call = Call>, G: Ghost<M>>(
    mut world: World<M, G>,
    scripts: &[&str],
) -> World<M, G> {
    for (client, script) in (0..).zip(scripts) {
        let mut calls: Vec<Call> = Vec::new();
        let (mut serial, mut attempt, mut last) = (0, 0, None);
        for letter in script.chars() {
            let key = "x".to_owned();
            if letter == '*' {
                attempt += 1;
            } else {
                (serial, attempt) = (serial + 1, 0);
            }
            let session = Session { client, serial };
            let ticket = past::ticket(session, attempt);
            let operation = match letter {
                'r' => {
                    calls.push(Call::Read { ticket, key });
                    continue;
                }
                '+' => Some(Operation::Increment { key, by: 1 }),
                'g' => Some(Operation::Get { key }),
                '*' => last.clone(),
                value => Some(Operation::Put {
                    key,
                    value: value.to_string(),
                }),
            };
            last.clone_from(&operation);
            calls.extend(operation.map(|operation| Call::Command {
                ticket,
                session,
                operation,
            }));
        }
        world = world.client(calls);
    }
    world
}

/// A world in which everything of Figure 3 is promised, and nothing may go wrong but in the network
/// and by the crashes of the cluster.
fn world<M: Twin<Raft>, G: Ghost<Bounded<M>> + Chronicle + Default>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Raft) -> M,
) -> World<Bounded<M>, G> {
    let first = NodeSet::first(cluster.members);
    let world = World::new(name, cluster.machines(make), G::default());
    scripts(world, clients)
        .crashes(cluster.nodes(), cluster.crashes)
        .always_told(ELECTION_SAFETY, |told| !told.ghost.past().split)
        .always_told(STATE_MACHINE_SAFETY, |told| !told.ghost.past().forked)
        .always_told(OWN_TERM, |told| !told.ghost.past().miscounted)
        .always_of_nodes(LOG_MATCHING, log_matching)
        .always_of_nodes(MATCH_INDEX, match_index_is_sound)
        .always_of_nodes(SURVIVES, move |nodes| survives(nodes, first))
        .always(LEADER_APPEND_ONLY, leader_append_only)
        .always(LEADER_COMPLETENESS, leader_completeness)
        .sometimes(TWO_LEADERS, |snapshot| leaders(snapshot).count() > 1)
        .sometimes_told(COMMITTED, |told| !told.ghost.past().committed.is_empty())
        .sometimes_told(OVERWRITTEN, |told| told.ghost.past().overwritten())
        .sometimes_told(INDIRECTLY, |told| told.ghost.past().committed_indirectly())
}

fn leaders<M: Twin<Raft>, G: Ghost<M>>(
    snapshot: &Snapshot<M, G>,
) -> impl Iterator<Item = (NodeId, Term, &Log)> {
    snapshot
        .running()
        .filter_map(|(id, state)| match state.volatile.role {
            Role::Leader(_) => Some((id, state.durable.term, &state.durable.log)),
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => None,
        })
}

/// True if the two are the same up to each entry that they have in common by name.
fn match_each_other(one: &Log, other: &Log) -> bool {
    let last = one.last().index.min(other.last().index);
    let base = one.base().index.max(other.base().index);
    let mut shared = one.position(base) == other.position(base);
    // From the front: once they differ, no later entry may have one name in both.
    (base.0 + 1..=last.0).map(Index).all(|index| {
        let same_name = one.position(index) == other.position(index);
        let matches = !same_name || (shared && one.get(index) == other.get(index));
        shared &= same_name;
        matches
    })
}

fn log_matching<M: Twin<Raft>>(nodes: &[&Node<M>]) -> bool {
    let logs: Vec<&Log> = (nodes.iter())
        .filter_map(|node| Some(&node.durable()?.log))
        .collect();
    (logs.iter().enumerate()).all(|(place, one)| {
        logs[..place]
            .iter()
            .all(|other| match_each_other(one, other))
    })
}

fn match_index_is_sound<M: Twin<Raft>>(nodes: &[&Node<M>]) -> bool {
    nodes.iter().filter_map(|node| node.up()).all(|state| {
        let Role::Leader(leader) = &state.volatile.role else {
            return true;
        };
        leader.progress.iter().all(|(follower, progress)| {
            let disk = usize::try_from(follower.0)
                .ok()
                .and_then(|place| nodes.get(place));
            let Some(disk) = disk.and_then(|node| node.durable()) else {
                return true;
            };
            // In a later term it may follow another leader, who knows better.
            let position = state.durable.log.position(progress.matching);
            disk.term != state.durable.term
                || progress.matching < state.durable.log.base().index
                || position.is_some_and(|position| has(disk, position))
        })
    })
}

/// True if the disk has the entry, or a snapshot of it: what is compacted is committed, and that it is
/// the same everywhere is another promise.
fn has(disk: &Durable, position: Position) -> bool {
    position.index < disk.log.base().index || disk.log.contains(position)
}

fn survives<M: Twin<Raft>>(nodes: &[&Node<M>], first: NodeSet) -> bool {
    nodes.iter().filter_map(|node| node.up()).all(|state| {
        let commit = state.volatile.commit;
        let Some(position) = state.durable.log.position(commit) else {
            return false;
        };
        let on_disk = |node: &Node<M>| node.durable().is_some_and(|disk| has(disk, position));
        let holders = (0..).map(NodeId).zip(nodes);
        let holders = holders.filter(|(_, node)| on_disk(node)).map(|(id, _)| id);
        members_at(&state.durable, commit, first).is_quorum(holders.collect())
    })
}

/// The membership as of an entry.
fn members_at(disk: &Durable, index: Index, first: NodeSet) -> Membership {
    let changed = disk.log.members_at(index).or(disk.snapshot.members);
    changed.map_or(Membership::of(first), |current| current.membership)
}

fn leader_append_only<M: Twin<Raft>, G: Ghost<M> + Chronicle>(snapshot: &Snapshot<M, G>) -> bool {
    leaders(snapshot).all(|(id, term, log)| {
        let reigns = &snapshot.ghost.past().reigns;
        let own = |reign: &&Reign| (reign.leader, reign.term) == (id, term);
        (reigns.iter().find(own)).is_some_and(|reign| {
            let kept = reign.last.index < log.base().index || log.contains(reign.last);
            log.last().index == reign.length && kept
        })
    })
}

fn leader_completeness<M: Twin<Raft>, G: Ghost<M> + Chronicle>(snapshot: &Snapshot<M, G>) -> bool {
    leaders(snapshot).all(|(_, term, log)| {
        let committed = &snapshot.ghost.past().committed;
        (1..)
            .map(Index)
            .zip(committed)
            .all(|(index, (entry, since))| {
                let name = Position {
                    term: entry.term,
                    index,
                };
                term < *since || index < log.base().index || log.contains(name)
            })
    })
}

/// A leader has committed all that is in its log, of its own term at the end; or the last term has
/// begun, and the bound forbids to go on.
fn a_leader_committed<M: Twin<Raft>, G: Ghost<M>>(snapshot: &Snapshot<M, G>, last: Term) -> bool {
    let excused = snapshot.disks().any(|(_, disk)| last <= disk.term);
    excused
        || snapshot.running().any(|(_, state)| {
            let end = state.durable.log.last();
            matches!(state.volatile.role, Role::Leader(_))
                && end.term == state.durable.term
                && end.index == state.volatile.commit
        })
}

/// How many alarms it takes in the calm: an election, perhaps a second one for a log that is more up
/// to date, and the heartbeats meanwhile.
const ROUNDS: u32 = 24;

fn forgetting<M: Twin<Raft>, G: Ghost<Bounded<M>>>(
    world: World<Bounded<M>, G>,
    cluster: Cluster,
) -> World<Bounded<M>, G> {
    let rules = cluster.rules();
    world.purging(
        move |letter, from| dead::sender_is_done(rules, letter, from),
        move |letter, to| dead::receiver_is_done(rules, letter, to),
    )
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> World<Bounded<Raft>, Past> {
    let world = world(name, cluster, clients, |right| right);
    forgetting(world, cluster).symmetric(NodeSet::first(cluster.members))
}

/// A world of the right machine whose clients wait for their replies.
fn served(name: &str, cluster: Cluster, clients: &[&str]) -> World<Bounded<Raft>, Clients> {
    let world: World<_, Clients> = world(name, cluster, clients, |right| right);
    forgetting(world, cluster)
        .symmetric(NodeSet::first(cluster.members))
        .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
}

/// Raft, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "raft",
        summary: "Raft: a replicated log, and the store that it makes",
        worlds: worlds(),
        flaws: flaws(),
    }
}

/// Begins each term with a no-op.
const NO_OPS: Cluster = Cluster {
    first_entry: FirstEntry::NoOp,
    ..THREE
};

const READS: Cluster = Cluster {
    reads: Reads::ReadIndex,
    ..NO_OPS
};

/// So many terms that a calm of [`ROUNDS`] never comes to the last.
const UNBOUNDED: u64 = 64;

/// A world in which *a leader commits* is promised too.
fn recovering<M: Twin<Raft>, G: Ghost<M>>(world: World<M, G>, cluster: Cluster) -> World<M, G> {
    let last = Term(cluster.terms);
    world.recovers(A_LEADER_COMMITS, ROUNDS, move |snapshot| {
        a_leader_committed(snapshot, last)
    })
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let mut all = core_worlds();
    all.extend(featured_worlds());
    all.extend(extended::worlds());
    all.extend(hasty::worlds());
    all.extend(healthy::worlds());
    all.extend(leased::worlds());
    all.extend(deep_worlds());
    all
}

/// Elections and replication alone, in the sizes at which published models of Raft are compared.
fn core_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(5_276_776, 35_882_460, || {
            right("two-entries", THREE, &["ABCD"])
                .says("three members, two terms; four commands, two for each leader")
        }),
        Claimed::holds(81_442, 375_624, || {
            right("one-by-one", Cluster { batch: 1, ..THREE }, &["ABC"])
                .says("three members, two terms; three commands, one entry per message")
        }),
        Claimed::holds(4_011_908, 24_481_050, || {
            right("three-terms", Cluster { terms: 3, ..THREE }, &["ABC"])
                .says("three members, three terms; three commands, one for each leader")
        }),
        Claimed::holds(893_403, 4_692_502, || {
            right(
                "two-crashes",
                Cluster {
                    crashes: 2,
                    ..THREE
                },
                &["AB"],
            )
            .says("three members, two terms, two crashes of any; two commands")
        }),
        Claimed::holds(212_122, 998_349, || {
            let world: World<_, Past> = world("figure-8", FOUR_TERMS, &["ABC"], |right| right);
            forgetting(world, FOUR_TERMS).begins_after(&FIGURE_8).says(
                "three members, four terms, from where Figure 8 of the paper begins; three commands",
            )
        }),
        Claimed::holds(550_106, 3_828_398, || {
            let four = Cluster {
                members: 4,
                ..THREE
            };
            right("four-members", four, &["AB"]).says("four members, two terms; two commands")
        }),
        Claimed::holds(263_154, 2_041_269, || {
            let five = Cluster {
                members: 5,
                ..THREE
            };
            right("five-members", five, &["A"])
                .says("five members, two terms; one command")
                .except(OVERWRITTEN)
                .except(INDIRECTLY)
        }),
    ]
}

/// How Figure 8 of the paper begins, at three members: node 0 leads and has an entry that nobody else
/// has; node 1 leads after it, and has another; node 0 hears of that.
const FIGURE_8: [&str; 9] = [
    "n0's alarm rings: Election",
    "n1 hears from n0: RequestVote",
    "n0 hears from n1: Vote",
    "client 0 makes its next call, at n0",
    "n1's alarm rings: Election",
    "n2 hears from n1: RequestVote",
    "n1 hears from n2: Vote",
    "client 0 makes its next call, at n1",
    "n0 hears from n1: RequestVote",
];

const FOUR_TERMS: Cluster = Cluster { terms: 4, ..THREE };

/// What takes minutes.
fn deep_worlds() -> Vec<Box<dyn Exhibit>> {
    let three_terms = |crashes| Cluster {
        terms: 3,
        crashes,
        ..THREE
    };
    vec![
        Claimed::holds_deep(97_498_000, 563_035_306, move || {
            right("three-terms-crash", three_terms(1), &["ABC"]).says(
                "three members, three terms, one crash of any; three commands, one for each leader",
            )
        }),
        Claimed::holds_deep(44_743_341, 309_149_944, move || {
            right("three-terms-four-commands", three_terms(0), &["ABCD"])
                .says("three members, three terms; four commands")
        }),
        Claimed::holds_deep(6_844_733, 42_210_845, || {
            let cluster = Cluster {
                elections: Elections::PreVote,
                ..NO_OPS
            };
            right("pre-vote-three", cluster, &[])
                .says("three members, two terms begun with no-ops, elections with pre-votes")
        }),
    ]
}

/// One feature more in each.
fn featured_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(121_806, 602_486, || {
            let cluster = Cluster { terms: 3, ..NO_OPS };
            recovering(right("no-ops", cluster, &[]), cluster)
                .says("three members, three terms, each begun with a no-op")
        }),
        Claimed::holds(43_224, 176_382, || {
            let cluster = Cluster {
                crashes: 1,
                ..NO_OPS
            };
            recovering(right("no-ops-crash", cluster, &[]), cluster)
                .says("three members, two terms, each begun with a no-op; one crash of any")
        }),
        Claimed::holds(878, 1_749, || {
            let cluster = Cluster {
                members: 2,
                elections: Elections::PreVote,
                ..NO_OPS
            };
            recovering(right("pre-vote", cluster, &[]), cluster)
                .says("two members, two terms, elections with pre-votes")
                .except(TWO_LEADERS)
                .except(OVERWRITTEN)
        }),
        Claimed::holds(865, 2_292, || {
            let cluster = Cluster {
                members: 2,
                leadership: Leadership::CheckQuorum,
                ..NO_OPS
            };
            recovering(right("check-quorum", cluster, &[]), cluster)
                .says("two members, two terms; leaders check their quorum")
                .except(TWO_LEADERS)
                .except(OVERWRITTEN)
        }),
        Claimed::holds(14_516, 63_126, || {
            served("sessions", THREE, &["+*"])
                .says("three members, two terms; a client sends an increment twice")
        }),
        Claimed::holds(17_009, 79_496, || {
            let cluster = Cluster {
                first_entry: FirstEntry::Client,
                ..READS
            };
            served("reads", cluster, &["Ar"])
                .says("three members, two terms; a client puts, and reads by ReadIndex")
                .except(OVERWRITTEN)
                .except(INDIRECTLY)
        }),
        Claimed::holds(5_765_737, 42_504_884, || {
            served("reads-after-no-ops", READS, &["Ar"]).says(
                "three members, two terms begun with no-ops; a client puts, and reads by ReadIndex",
            )
        }),
        Claimed::holds(1_367, 3_797, || {
            served(
                "two-members-read",
                Cluster {
                    members: 2,
                    ..READS
                },
                &["Ar"],
            )
            .says("two members, two terms begun with no-ops; a client puts, and reads by ReadIndex")
            .except(TWO_LEADERS)
            .except(OVERWRITTEN)
        }),
    ]
}

/// What [`World::purging`] owes, in small worlds: with crashes, with several terms, with a third
/// member, with reads, with pre-votes and with checked quorums, as the rules differ among these.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let one_term = Cluster { terms: 1, ..THREE };
    let crash = Cluster { crashes: 1, ..TWO };
    let pre_vote = Cluster {
        terms: 1,
        elections: Elections::PreVote,
        ..TWO
    };
    let check = Cluster {
        terms: 1,
        leadership: Leadership::CheckQuorum,
        ..TWO
    };
    let reads = Cluster {
        members: 2,
        terms: 1,
        ..READS
    };
    Ok(vec![
        purge::obligations(|| right("purged", TWO, &["A"]))?,
        purge::obligations(|| right("purged", one_term, &[]))?,
        purge::obligations(|| right("purged", crash, &[]))?,
        purge::obligations(|| right("purged", pre_vote, &["A"]))?,
        purge::obligations(|| right("purged", check, &["A"]))?,
        purge::obligations(|| served("purged", reads, &["r"]))?,
        purge::obligations(|| {
            let flawed = flawed(Flaw::CommitsOnConflict, "purged", TWO, &["A"]);
            forgetting(flawed, TWO)
        })?,
    ])
}

/// The same, of what Raft has beyond its core.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn extended_obligations() -> Result<Vec<Discharged>, String> {
    extended::obligations()
}

/// What it owes that members are alike, in small worlds: with crashes, terms, reads, pre-votes and
/// checked quorums.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let one_term = Cluster { terms: 1, ..THREE };
    let crash = Cluster { crashes: 1, ..TWO };
    let pre_vote = Cluster {
        elections: Elections::PreVote,
        leadership: Leadership::CheckQuorum,
        ..TWO
    };
    let reads = Cluster {
        members: 2,
        ..READS
    };
    Ok(vec![
        symmetry::obligations(|| right("mirrored", one_term, &["A"]))?,
        symmetry::obligations(|| right("mirrored", THREE, &[]))?,
        symmetry::obligations(|| right("mirrored", crash, &["A"]))?,
        symmetry::obligations(|| right("mirrored", pre_vote, &["A"]))?,
        symmetry::obligations(|| served("mirrored", reads, &["Ar"]))?,
    ])
}

/// The same, of what Raft has beyond its core.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn extended_mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    extended::mirrored()
}

/// The same with a rule that is wrong: where nodes crash, what is known to be committed is forgotten,
/// and a message that says so is not dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    let mortal = Cluster {
        crashes: 1,
        terms: 1,
        ..TWO
    };
    let immortal = Cluster {
        crashes: 0,
        ..mortal
    };
    purge::obligations(|| {
        let world: World<_, Past> = world("purged", mortal, &["A"], |right| right);
        forgetting(world, immortal)
    })
}

/// A world of a flawed machine. Nothing is forgotten in it unless that is said: a reduction made for
/// the right machine could hide the flaw.
fn flawed(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&str],
) -> World<Bounded<Flawed>, Past> {
    world(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// The same, with clients that wait for their replies.
fn flawed_service(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&str],
) -> World<Bounded<Flawed>, Clients> {
    let world: World<_, Clients> =
        world(name, cluster, clients, move |right| Flawed { right, flaw });
    world.always_told(LINEARIZABLE, |told| told.ghost.linearizable)
}

/// The same, where terms do not end.
fn flawed_calm(flaw: Flaw, name: &str, cluster: Cluster) -> World<Bounded<Flawed>, Past> {
    let cluster = Cluster {
        terms: UNBOUNDED,
        ..cluster
    };
    recovering(flawed(flaw, name, cluster, &[]), cluster)
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    let mut all = flaws_of_elections();
    all.extend(flaws_of_logs());
    all.extend(flaws_of_followers());
    all.extend(flaws_of_service());
    all.extend(extended::flaws());
    all.extend(hasty::flaws());
    all.extend(healthy::flaws());
    all.extend(leased::flaws());
    all
}

fn flaws_of_elections() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ELECTION_SAFETY, 2, || {
            flawed(
                Flaw::HalfElects,
                "half-elects",
                Cluster { terms: 1, ..TWO },
                &[],
            )
            .says("half of the members elect, as in the textbook, which does not count itself")
        }),
        Claimed::falls(ELECTION_SAFETY, 8, || {
            flawed(
                Flaw::VoteForgotten,
                "vote-forgotten",
                Cluster {
                    terms: 1,
                    crashes: 1,
                    ..THREE
                },
                &[],
            )
            .says("the vote is not on disk; in the textbook nothing is")
        }),
        Claimed::falls(ELECTION_SAFETY, 7, || {
            flawed(
                Flaw::TermForgotten,
                "term-forgotten",
                Cluster {
                    terms: 1,
                    crashes: 1,
                    ..THREE
                },
                &[],
            )
            .says("neither term nor vote is on disk")
        }),
        Claimed::falls(ELECTION_SAFETY, 6, || {
            flawed(
                Flaw::VotesTwice,
                "votes-twice",
                Cluster { terms: 1, ..THREE },
                &[],
            )
            .says("a member votes for everyone who asks")
        }),
        Claimed::falls(ELECTION_SAFETY, 8, || {
            flawed(
                Flaw::VoteCountedTwice,
                "vote-counted-twice",
                Cluster {
                    members: 4,
                    terms: 1,
                    ..THREE
                },
                &[],
            )
            .says("a vote that arrives twice counts twice")
        }),
        Claimed::falls(ELECTION_SAFETY, 7, || {
            flawed(Flaw::LateVoteCounted, "late-vote", THREE, &[])
.says("a vote of an earlier election counts, as in the textbook, which looks at no term once it has waited")
        }),
        Claimed::falls(ELECTION_SAFETY, 6, || {
            flawed(
                Flaw::VotesWithoutTheTerm,
                "votes-without-the-term",
                Cluster { terms: 1, ..THREE },
                &[],
            )
            .says("a member votes, and does not adopt the term")
        }),
        Claimed::falls(ELECTION_SAFETY, 7, || {
            flawed(
                Flaw::ResignsAndVotes,
                "resigns-and-votes",
                Cluster {
                    terms: 1,
                    leadership: Leadership::CheckQuorum,
                    ..THREE
                },
                &[],
            )
            .says("a leader that resigns clears its vote")
        }),
        Claimed::falls(LEADER_COMPLETENESS, 9, || {
            flawed(Flaw::AnyLogWillDo, "any-log-will-do", THREE, &["A"])
                .says("a member votes for a log that lacks what its own has")
        }),
        Claimed::falls(LEADER_COMPLETENESS, 11, || {
            flawed(Flaw::LastTermAlone, "last-term-alone", THREE, &["AB"])
                .says("logs are compared by the term of their last entry alone")
        }),
        Claimed::falls(A_LEADER_COMMITS, 2, || {
            flawed_calm(Flaw::VoteOutlivesItsTerm, "vote-outlives-its-term", NO_OPS)
                .says("a vote is not cleared for the next term, as in the textbook")
        }),
    ]
}

fn flaws_of_logs() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(SURVIVES, 4, || {
            flawed(
                Flaw::HalfCommits,
                "half-commits",
                Cluster { terms: 1, ..TWO },
                &["A"],
            )
            .says("half of the members commit, as in the textbook")
        }),
        Claimed::falls(MATCH_INDEX, 8, || {
            flawed(
                Flaw::LogForgotten,
                "log-forgotten",
                Cluster {
                    terms: 1,
                    crashes: 1,
                    ..TWO
                },
                &["A"],
            )
            .says("the log is not on disk")
        }),
        Claimed::falls(OWN_TERM, 10, || {
            flawed(Flaw::CountsOlderTerms, "counts-older-terms", THREE, &["A"])
                .says("a leader commits whatever a majority has")
        }),
        Claimed::falls(LEADER_COMPLETENESS, 11, || {
            flawed(Flaw::CountsOlderTerms, "figure-8-counted", FOUR_TERMS, &["AB"])
                .begins_after(&FIGURE_8)
                .says("Figure 8 of the paper: an entry that a majority has, counted as committed by the leader of a later term, is overwritten")
        }),
        Claimed::falls(LEADER_APPEND_ONLY, 5, || {
            flawed(
                Flaw::Rewrites,
                "rewrites",
                Cluster { terms: 1, ..TWO },
                &["AB"],
            )
            .says("a leader overwrites what nobody has acknowledged yet")
        }),
        Claimed::falls(LOG_MATCHING, 8, || {
            flawed(Flaw::LeadsOn, "leads-on", THREE, &["AB"])
                .says("a leader that meets a later term leads on in it, as in the textbook")
        }),
        Claimed::falls(MATCH_INDEX, 10, || {
            flawed(
                Flaw::ConflictAcknowledges,
                "conflict-acknowledges",
                THREE,
                &["AB"],
            )
            .says("a leader takes a conflict for an acknowledgement")
        }),
        Claimed::falls(A_LEADER_COMMITS, 4, || {
            flawed_calm(
                Flaw::NeverBacksOff,
                "never-backs-off",
                Cluster {
                    first_entry: FirstEntry::NoOp,
                    ..TWO
                },
            )
            .says("a leader does not go back where logs conflict; nor does the textbook's")
        }),
        Claimed::falls(A_LEADER_COMMITS, 4, || {
            flawed_calm(
                Flaw::GoesPastTheEnd,
                "goes-past-the-end",
                Cluster {
                    first_entry: FirstEntry::NoOp,
                    ..TWO
                },
            )
            .says("after a conflict a leader would send what comes after the end of its log")
        }),
    ]
}

fn flaws_of_followers() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(LOG_MATCHING, 7, || {
            flawed(
                Flaw::AppendsBlindly,
                "appends-blindly",
                Cluster { terms: 1, ..TWO },
                &["AB"],
            )
            .says("entries are appended wherever the log ends, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 7, || {
            flawed(
                Flaw::TruncatesAlways,
                "truncates-always",
                Cluster { terms: 1, ..TWO },
                &["AB"],
            )
            .says("a follower cuts its log to what the message says, even if nothing conflicts")
        }),
        Claimed::falls(STATE_MACHINE_SAFETY, 12, || {
            flawed(Flaw::TruncatesNever, "truncates-never", THREE, &["AB"])
                .says("a follower keeps entries that conflict")
        }),
        Claimed::falls(STATE_MACHINE_SAFETY, 12, || {
            flawed(
                Flaw::CommitsItsOwnTail,
                "commits-its-own-tail",
                THREE,
                &["ABC"],
            )
            .says("a follower commits beyond the last new entry")
        }),
        Claimed::falls(MATCH_INDEX, 10, || {
            flawed(
                Flaw::AcknowledgesItsOwnTail,
                "acknowledges-its-own-tail",
                THREE,
                &["AB"],
            )
            .says("a follower acknowledges all of its log")
        }),
        Claimed::falls(MATCH_INDEX, 11, || {
            flawed(Flaw::HearsTheDeposed, "hears-the-deposed", THREE, &["AB"])
                .says("a follower takes entries from the leader of a term that is over")
        }),
        Claimed::falls(STATE_MACHINE_SAFETY, 16, || {
            let cluster = Cluster { terms: 3, ..THREE };
            let flaw = Flaw::CommitsOnConflict;
            forgetting(
                flawed(flaw, "commits-on-conflict", cluster, &["AB"]),
                cluster,
            )
            .says("a follower that lacks the previous entry commits all the same")
        }),
    ]
}

fn flaws_of_service() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(LINEARIZABLE, 9, || {
            flawed_service(
                Flaw::ForgetsSessions,
                "forgets-sessions",
                Cluster { terms: 1, ..TWO },
                &["+*"],
            )
            .says("a command is done as often as it is sent, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 7, || {
            flawed_service(
                Flaw::ReadsAnywhere,
                "reads-anywhere",
                Cluster {
                    terms: 1,
                    members: 2,
                    ..READS
                },
                &["Ar"],
            )
            .says("a read is answered by whoever is asked, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 13, || {
            flawed_service(Flaw::ReadsUnconfirmed, "reads-unconfirmed", READS, &["Ar"])
                .says("a leader reads without asking whether it still leads")
        }),
        Claimed::falls(LINEARIZABLE, 12, || {
            flawed_service(Flaw::ReadsTooEarly, "reads-too-early", READS, &["Ar"])
                .says("a leader reads before it has committed anything in its term")
        }),
    ]
}
