//! What is claimed of [`quorate::store`]: its worlds, its promises, and the flaws that refute them.
//!
//! # The bound
//!
//! Terms go on for ever, so a world has a last one: no election alarm is heard in it (see `bounded.rs`).
//! Every state within the bound is reached, and the search is EXHAUSTED of it. It has one price: that
//! the store *will* serve cannot be asked in the last term, where nobody may be elected any more; there
//! it is excused, and said so.

use quorate::data::NodeSet;
use quorate::machine::{NodeId, State};
use quorate::store::{Call, Phase, Purpose, Role, Standing, Store, Term};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::purge::{self, Discharged};
use crate::snapshot::Snapshot;
use crate::symmetry;
use crate::world::{Disk, World};

mod bounded;
mod dead;
mod flaws;
mod past;
mod probe;

pub use bounded::Bounded;
use dead::Rules;
use flaws::{Flaw, Flawed};
pub use past::Past;

/// Gets, puts and swaps take effect each at one moment between call and return; those that were refused
/// never.
pub const LINEARIZABLE: &str = "linearizable";
/// At most one member is elected in a term, and leads it.
pub const ONE_LEADER: &str = "one leader per term";
/// A leader that is asked when a majority has promised a later term never answers.
pub const FENCED: &str = "no acknowledgement under a fenced term";
/// What was decided is on the disks of a majority, or something newer is.
pub const SURVIVES: &str = "what is acknowledged survives";
/// No two values are decided as one version of a key.
pub const ONE_VALUE: &str = "one value per version";
/// No disk has a record for committed that no majority had.
pub const ONLY_DECIDED: &str = "only what was decided is committed";
/// In the calm, every call returns, and a fresh write is acknowledged.
pub const SERVES: &str = "serves again";

const TWO_LEADERS: &str = "two leaders of different terms at once";
const FENCED_ASKED: &str = "a fenced leader is asked";
const DECIDED: &str = "a write is decided";
const FINISHED: &str = "a leader finishes what another prepared";
const ABORTED: &str = "what one leader prepared gives way to what another decided";
const SEEN: &str = "a get sees a write";

/// A cluster, and how far it goes.
#[derive(Clone, Copy)]
struct Cluster {
    members: usize,
    terms: u64,
    crashes: u32,
    cuts: u32,
}

const THREE: Cluster = Cluster {
    members: 3,
    terms: 2,
    crashes: 0,
    cuts: 0,
};

const TWO: Cluster = Cluster {
    members: 2,
    ..THREE
};

const FOUR: Cluster = Cluster {
    members: 4,
    ..THREE
};

impl Cluster {
    const fn everyone(self) -> NodeSet {
        NodeSet::first(self.members)
    }

    fn machines<M>(self, make: impl Fn(Store) -> M) -> Vec<Bounded<M>> {
        let members = self.everyone();
        let bounded = |me| Bounded {
            inner: make(Store { me, members }),
            last: Term(self.terms),
        };
        members.iter().map(bounded).collect()
    }
}

type Model<M> = World<Bounded<M>, Past>;

/// Scripts, one per client. `r` gets; a capital letter puts itself; a small one swaps itself, as a
/// capital, for the letter before it, and `a` for nothing. What follows a `/` is about a second key.
fn scripts<M: Twin<Store>>(mut world: Model<M>, scripts: &[&str]) -> Model<M> {
    let mut tickets = 0..;
    for script in scripts {
        let mut key = "x".to_owned();
        let mut calls = Vec::new();
        for letter in script.chars() {
            if letter == '/' {
                "y".clone_into(&mut key);
                continue;
            }
            let (ticket, key) = (tickets.next().unwrap_or_default(), key.clone());
            calls.push(match letter {
                'r' => Call::Get { ticket, key },
                small if small.is_ascii_lowercase() => {
                    let before = char::from(small.to_ascii_uppercase() as u8 - 1);
                    Call::CompareAndSwap {
                        ticket,
                        key,
                        expected: before.is_ascii_uppercase().then(|| before.to_string()),
                        new: small.to_ascii_uppercase().to_string(),
                    }
                }
                value => Call::Put {
                    ticket,
                    key,
                    value: value.to_string(),
                },
            });
        }
        world = world.client(calls);
    }
    world
}

/// How many alarms it takes in the calm until a fresh write is acknowledged: an election, a second one
/// if the first candidate's term was promised already, and the heartbeats meanwhile.
const ROUNDS: u32 = 24;

/// A world in which everything is promised, and nothing may go wrong but in the network and by the
/// crashes and the cuts of the cluster.
fn world<M: Twin<Store>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Store) -> M,
) -> Model<M> {
    let members = cluster.everyone();
    let machines = cluster.machines(&make);
    let world = World::new(name, cluster.machines(make), Past::new(cluster.members));
    let last = Term(cluster.terms);
    scripts(world, clients)
        .crashes(members, cluster.crashes)
        .cuts(Cut::all(cluster.members as u64), cluster.cuts)
        .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
        .always_told(FENCED, |told| !told.ghost.defied)
        .always_told(ONE_VALUE, |told| !told.ghost.forked)
        .always(ONE_LEADER, one_leader_per_term)
        .always(SURVIVES, move |snapshot| survives(snapshot, members))
        .always(ONLY_DECIDED, only_the_decided_is_committed)
        .recovers(SERVES, ROUNDS, move |snapshot| {
            serves(snapshot, &machines, last)
        })
        .sometimes(TWO_LEADERS, |snapshot| leaders(snapshot).count() > 1)
        .sometimes(FINISHED, finishes)
        .sometimes(ABORTED, aborted)
        .sometimes_told(FENCED_ASKED, |told| told.ghost.fenced_leader_is_asked())
        .sometimes_told(DECIDED, |told| !told.ghost.decided.is_empty())
        .sometimes_told(SEEN, |told| told.ghost.saw_a_write())
}

fn leaders<M: Twin<Store>>(
    snapshot: &Snapshot<M, Past>,
) -> impl Iterator<Item = (NodeId, &State<M>)> {
    let leads = |state: &State<M>| match state.volatile.role {
        Role::Leader(_) => true,
        Role::Follower { .. } | Role::Candidate { .. } => false,
    };
    snapshot.running().filter(move |(_, state)| leads(state))
}

fn one_leader_per_term<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    let led = |(_, state): (NodeId, &State<M>)| state.durable.term;
    let mut terms: Vec<Term> = leaders(snapshot).map(led).collect();
    let count = terms.len();
    terms.sort_unstable();
    terms.dedup();
    !snapshot.ghost.split && terms.len() == count
}

fn survives<M: Twin<Store>>(snapshot: &Snapshot<M, Past>, members: NodeSet) -> bool {
    let decided = snapshot.ghost.decided.iter();
    decided.into_iter().all(|((key, version), (term, _))| {
        let has = |durable: &M::Durable| {
            let record = durable.records.get(key);
            record.is_some_and(|record| (*term, *version) <= (record.term, record.version))
        };
        let holders = snapshot.disks().filter(|(_, disk)| has(disk)).count();
        members.majority() <= holders
    })
}

fn only_the_decided_is_committed<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    snapshot.disks().all(|(_, disk)| {
        disk.records.iter().all(|(key, record)| {
            let decided = &snapshot.ghost.decided;
            let known = decided.get(&(key.clone(), record.version));
            match record.standing {
                Standing::Prepared => true,
                Standing::Committed => known.is_some_and(|(_, value)| *value == record.value),
            }
        })
    })
}

/// Goal of *serves again*: nobody waits, and a fresh write is acknowledged; or the last term has begun,
/// and the bound forbids to go on.
fn serves<M: Twin<Store>>(snapshot: &Snapshot<M, Past>, machines: &[M], last: Term) -> bool {
    let excused = snapshot.disks().any(|(_, disk)| last <= disk.term);
    let idle = snapshot
        .clients
        .iter()
        .all(|client| client.waiting.is_none());
    excused || (idle && probe::acknowledges(machines, snapshot))
}

fn finishes<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    snapshot
        .running()
        .any(|(_, state)| match &state.volatile.role {
            Role::Leader(leader) => leader.work.values().any(|work| match work.phase {
                Phase::Preparing { purpose, .. } => purpose == Purpose::Finish,
                Phase::Inquiring { .. } => false,
            }),
            Role::Follower { .. } | Role::Candidate { .. } => false,
        })
}

fn aborted<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    snapshot.disks().any(|(_, disk)| {
        disk.records.iter().any(|(key, record)| {
            let decided = &snapshot.ghost.decided;
            let known = decided.get(&(key.clone(), record.version));
            known.is_some_and(|(_, value)| *value != record.value)
        })
    })
}

fn forgetting<M: Twin<Store>>(world: Model<M>, cluster: Cluster) -> Model<M> {
    let rules = Rules {
        immortal: cluster.crashes == 0,
    };
    world.purging(dead::sender_is_done, move |letter, to| {
        dead::receiver_is_done(rules, letter, to)
    })
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Store> {
    let world = world(name, cluster, clients, |right| right);
    // What is asked again is in the network already: it matters to *serves again* alone.
    let world = forgetting(world, cluster).never("ring Heartbeat");
    world.symmetric(cluster.everyone())
}

/// A world of a flawed one. Nothing is forgotten in it unless that is said: a reduction made for the
/// right machine could hide the flaw.
fn flawed(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    world(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// The store, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "store",
        summary: "the strong store: two phases, a majority, and a leader that a later term fences off",
        worlds: worlds(),
        flaws: [
            flaws_of_elections(),
            flaws_of_leaders(),
            flaws_of_successors(),
            flaws_of_counting(),
            flaws_of_replicas(),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || {
            right("put-get", THREE, &["A", "r"])
                .says("three members, two terms; one client puts, another gets")
        }),
        Claimed::holds(0, 0, || {
            right("put-then-get", THREE, &["Ar"])
                .says("three members, two terms; a client puts, and then gets")
        }),
        Claimed::holds(0, 0, || {
            right("swaps", THREE, &["ab"]).says("three members, two terms; a client swaps twice")
        }),
        Claimed::holds(0, 0, || {
            let cluster = Cluster {
                crashes: 1,
                ..THREE
            };
            right("crash", cluster, &["A"])
                .says("three members, two terms, one crash of any; a client puts")
        }),
        Claimed::holds(0, 0, || {
            let cluster = Cluster { cuts: 1, ..THREE };
            right("cut", cluster, &["A"])
                .says("three members, two terms, one cut of any shape; a client puts")
        }),
        Claimed::holds(0, 0, || {
            let cluster = Cluster { terms: 3, ..THREE };
            right("three-terms", cluster, &["A"]).says("three members, three terms; a client puts")
        }),
    ]
}

fn flaws_of_elections() -> Vec<Box<dyn Exhibit>> {
    let mortal = Cluster {
        crashes: 1,
        ..THREE
    };
    vec![
        Claimed::falls(ONE_LEADER, 2, || {
            flawed(Flaw::AppointsItself, "appoints-itself", TWO, &[])
                .says("who misses a leader appoints itself and asks nobody, as in the textbook")
        }),
        Claimed::falls(SERVES, 1, || {
            flawed(Flaw::FixedLeader, "fixed-leader", THREE, &["A"])
                .says("the leader is chosen once, as in the textbook, and nobody stands after it")
        }),
        Claimed::falls(ONE_LEADER, 0, move || {
            flawed(Flaw::VoteForgotten, "vote-forgotten", mortal, &[]).says("the disk has no vote")
        }),
        Claimed::falls(ONE_LEADER, 0, move || {
            flawed(Flaw::TermForgotten, "term-forgotten", mortal, &[])
                .says("the disk has neither vote nor term; the textbook's has nothing")
        }),
        Claimed::falls(ONE_LEADER, 0, || {
            flawed(Flaw::VotesTwice, "votes-twice", THREE, &[])
                .says("a member votes for everyone who asks")
        }),
        Claimed::falls(ONE_LEADER, 0, || {
            flawed(Flaw::LeadsOn, "leads-on", TWO, &[])
                .says("a leader that meets a later term leads on in that")
        }),
    ]
}

fn flaws_of_leaders() -> Vec<Box<dyn Exhibit>> {
    let mortal = Cluster {
        crashes: 1,
        ..THREE
    };
    vec![
        Claimed::falls(FENCED, 0, move || {
            flawed(Flaw::DeadLeadOn, "dead-lead-on", mortal, &["A", "r"])
                .says("a leader that was dead leads on when it is back, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 0, || {
            flawed(Flaw::GetsUnconfirmed, "gets-unconfirmed", THREE, &["Ar"])
                .says("a leader answers a get from its own disk, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 0, || {
            flawed(Flaw::DirtyReads, "dirty-reads", THREE, &["A", "rr"])
                .says("a get sees what is prepared and not decided")
        }),
        Claimed::falls(FENCED, 0, || {
            flawed(Flaw::LateReplyCounts, "late-reply", THREE, &["rr"])
                .says("an answer to an older question counts for the present one")
        }),
        Claimed::falls(LINEARIZABLE, 0, || {
            flawed(
                Flaw::AbortUndoesNothing,
                "abort-undoes-nothing",
                THREE,
                &["Ar"],
            )
            .says("a leader that waited long enough says that the write failed, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::AbortNamesAKey, "abort-by-key", THREE, &["AB"])
                .says("an abort hits whatever is prepared of a key, as in the textbook")
        }),
        Claimed::falls(ONE_VALUE, 0, || {
            flawed(Flaw::ClockCounts, "clock-counts", THREE, &["AB"])
                .says("versions are milliseconds, as in the textbook, and two writes share one")
        }),
        Claimed::falls(SERVES, 0, || {
            flawed(Flaw::NoRetries, "no-retries", THREE, &["A"])
                .says("what was lost is not sent again")
        }),
    ]
}

fn flaws_of_successors() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_VALUE, 0, || {
            flawed(Flaw::OwnDiskWillDo, "own-disk-will-do", THREE, &["AB"])
                .says("a new leader asks nobody what they have, and aborts what was committed")
        }),
        Claimed::falls(LINEARIZABLE, 0, || {
            flawed(Flaw::IgnoresPrepared, "ignores-prepared", THREE, &["Ar"]).says(
                "a new leader takes what is only prepared for aborted, and does not finish it",
            )
        }),
        Claimed::falls(ONLY_DECIDED, 0, || {
            flawed(Flaw::PresumesCommit, "presumes-commit", THREE, &["Ar"])
                .says("a new leader takes what is only prepared for committed")
        }),
    ]
}

fn flaws_of_counting() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::IgnoresReplies, "ignores-replies", THREE, &["A"])
                .says("a leader decides without waiting for anyone, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::OnlyTheHealthy, "only-the-healthy", THREE, &["A"])
                .says("who has not answered in time is taken for dead and not counted, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::HalfDecides, "half-decides", FOUR, &["A"])
                .says("half of the members are taken for a majority")
        }),
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::ReplyCountedTwice, "reply-counted-twice", FOUR, &["A"])
                .says("a reply that arrives again counts again")
        }),
    ]
}

fn flaws_of_replicas() -> Vec<Box<dyn Exhibit>> {
    let mortal = Cluster {
        crashes: 1,
        ..THREE
    };
    vec![
        Claimed::falls(ONE_VALUE, 0, || {
            flawed(Flaw::NoFencing, "no-fencing", THREE, &["A", "B"])
                .says("members hear leaders of terms that are over, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 0, || {
            flawed(
                Flaw::PrepareKeepsNothing,
                "prepare-keeps-nothing",
                THREE,
                &["A"],
            )
            .says("a prepare keeps nothing, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::ArrivalWins, "arrival-wins", THREE, &["AB"])
                .says("a member keeps what arrives last, as in the textbook")
        }),
        Claimed::falls(ONLY_DECIDED, 0, || {
            flawed(Flaw::CommitsOnPrepare, "commits-on-prepare", THREE, &["A"])
                .says("a member takes what is prepared for committed")
        }),
        Claimed::falls(SURVIVES, 0, move || {
            flawed(Flaw::NoDecisionLog, "no-decision-log", mortal, &["A"]).says(
                "what a leader decides is not on its own disk when it crashes, as in the textbook",
            )
        }),
        Claimed::falls(SURVIVES, 0, move || {
            world("lying-disk", mortal, &["A"], |right| right)
                .says("a disk forgets what it acknowledged")
                .disk(Disk::Lying)
        }),
    ]
}
