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
use quorate::machine::NodeId;
use quorate::raft::{
    Call, Elections, FirstEntry, Index, Leadership, Log, Operation, Position, Raft, Reads, Role,
    Session, Term,
};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::purge::{self, Discharged};
use crate::snapshot::{Node, Snapshot};
use crate::world::World;

mod bounded;
mod dead;
mod flaws;
mod past;

use bounded::Bounded;
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
        }
    }

    fn machines<M>(self, make: impl Fn(Raft) -> M) -> Vec<Bounded<M>> {
        let members = NodeSet::first(self.members);
        let bounded = |me| Bounded {
            inner: make(self.raft(me)),
            last: Term(self.terms),
        };
        members.iter().map(bounded).collect()
    }

    fn rules(self) -> Rules {
        Rules::of(&self.raft(NodeId(0)), self.crashes)
    }
}

/// Scripts, one per client: a capital letter puts itself, `+` adds one, `g` gets through the log, `r`
/// reads, and `*` sends the command before it again.
fn scripts<M: Twin<Raft>, G: Ghost<M>>(mut world: World<M, G>, scripts: &[&str]) -> World<M, G> {
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
    let members = NodeSet::first(cluster.members);
    let majority = members.majority();
    let world = World::new(name, cluster.machines(make), G::default());
    scripts(world, clients)
        .crashes(members, cluster.crashes)
        .always_told(ELECTION_SAFETY, |told| !told.ghost.past().split)
        .always_told(STATE_MACHINE_SAFETY, |told| !told.ghost.past().forked)
        .always_told(OWN_TERM, |told| !told.ghost.past().miscounted)
        .always_of_nodes(LOG_MATCHING, log_matching)
        .always_of_nodes(MATCH_INDEX, match_index_is_sound)
        .always_of_nodes(SURVIVES, move |nodes| survives(nodes, majority))
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
    let mut shared = true;
    // From the front: once they differ, no later entry may have one name in both.
    (1..=last.0).map(Index).all(|index| {
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
    (logs.iter().enumerate())
        .all(|(place, one)| logs[..place].iter().all(|other| match_each_other(one, other)))
}

fn match_index_is_sound<M: Twin<Raft>>(nodes: &[&Node<M>]) -> bool {
    nodes.iter().filter_map(|node| node.up()).all(|state| {
        let Role::Leader(leader) = &state.volatile.role else {
            return true;
        };
        leader.progress.iter().all(|(follower, progress)| {
            let disk = usize::try_from(follower.0).ok().and_then(|place| nodes.get(place));
            let Some(disk) = disk.and_then(|node| node.durable()) else {
                return true;
            };
            // In a later term it may follow another leader, who knows better.
            let position = state.durable.log.position(progress.matching);
            disk.term != state.durable.term
                || position.is_some_and(|position| disk.log.contains(position))
        })
    })
}

fn survives<M: Twin<Raft>>(nodes: &[&Node<M>], majority: usize) -> bool {
    nodes.iter().filter_map(|node| node.up()).all(|state| {
        let Some(position) = state.durable.log.position(state.volatile.commit) else {
            return false;
        };
        let has = |node: &&&Node<M>| {
            node.durable()
                .is_some_and(|disk| disk.log.contains(position))
        };
        majority <= nodes.iter().filter(has).count()
    })
}

fn leader_append_only<M: Twin<Raft>, G: Ghost<M> + Chronicle>(snapshot: &Snapshot<M, G>) -> bool {
    leaders(snapshot).all(|(id, term, log)| {
        let reigns = &snapshot.ghost.past().reigns;
        let own = |reign: &&Reign| (reign.leader, reign.term) == (id, term);
        (reigns.iter().find(own))
            .is_some_and(|reign| log.last().index == reign.length && log.contains(reign.last))
    })
}

fn leader_completeness<M: Twin<Raft>, G: Ghost<M> + Chronicle>(snapshot: &Snapshot<M, G>) -> bool {
    leaders(snapshot).all(|(_, term, log)| {
        let committed = &snapshot.ghost.past().committed;
        (1..).map(Index).zip(committed).all(|(index, (entry, since))| {
            let name = Position {
                term: entry.term,
                index,
            };
            term < *since || log.contains(name)
        })
    })
}

/// A leader has committed all that is in its log, of its own term at the end; or the last term has
/// begun, and the bound forbids to go on.
fn a_leader_committed<M: Twin<Raft>, G: Ghost<M>>(
    snapshot: &Snapshot<M, G>,
    last: Term,
) -> bool {
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
    forgetting(world(name, cluster, clients, |right| right), cluster)
}

/// A world of the right machine whose clients wait for their replies.
fn served(name: &str, cluster: Cluster, clients: &[&str]) -> World<Bounded<Raft>, Clients> {
    let world: World<_, Clients> = world(name, cluster, clients, |right| right);
    forgetting(world, cluster)
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

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || {
            right("one-entry", THREE, &["A"])
                .says("three members, two terms, one entry")
        }),
        Claimed::holds(0, 0, || {
            right("two-entries", THREE, &["A", "B"])
                .says("three members, two terms, two entries")
        }),
        Claimed::holds(0, 0, || {
            right("three-terms", Cluster { terms: 3, ..THREE }, &["A"])
                .says("three members, three terms, one entry")
        }),
        Claimed::holds(0, 0, || {
            right("two-crashes", Cluster { crashes: 2, ..THREE }, &["A"])
                .says("three members, two terms, one entry, two crashes of any")
        }),
        Claimed::holds(0, 0, || {
            right("four-members", Cluster { members: 4, ..THREE }, &["A"])
                .says("four members, two terms, one entry")
        }),
        Claimed::holds(0, 0, || {
            right("five-members", Cluster { members: 5, terms: 1, ..THREE }, &["A"])
                .says("five members, one term, one entry")
        }),
    ]
}

/// A world of a flawed machine. Nothing is forgotten in it.
fn flawed(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&str],
) -> World<Bounded<Flawed>, Past> {
    world(name, cluster, clients, move |right| Flawed { right, flaw })
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    Vec::new()
}
