//! What is claimed of [`quorate::store`]: its worlds, its promises, and the flaws that refute them.
//!
//! # The bound
//!
//! Terms go on for ever, so a world has a last one: no election alarm is heard in it (see `bounded.rs`).
//! Every state within the bound is reached, and the search is EXHAUSTED of it. It has one price: that
//! the store *will* serve cannot be asked in the last term, where nobody may be elected any more; there
//! it is excused, and said so.

use quorate::data::NodeSet;
use quorate::store::{Call, Store, Term};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::purge::{self, Discharged};
use crate::symmetry;
use crate::world::{Disk, World};

mod bounded;
mod conditions;
mod dead;
mod flaws;
mod past;
mod probe;

pub use bounded::Bounded;
use conditions::{
    aborted, finishes, leaders, one_leader_per_term, only_the_decided_is_committed, serves,
    survives,
};
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
const MISMATCHED: &str = "a swap finds what it did not expect";

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

/// How many alarms ring in the calm, at most, until every call has returned and a fresh write is
/// acknowledged by one of three members: an election, a second one if the first candidate's term was
/// promised already, and the heartbeats meanwhile.
const ROUNDS: u32 = 6;

/// A world in which all that is safety is promised, and nothing may go wrong but in the network and by
/// the crashes and the cuts of the cluster.
fn world<M: Twin<Store>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Store) -> M,
) -> Model<M> {
    let members = cluster.everyone();
    let world = World::new(name, cluster.machines(make), Past::new(cluster.members));
    scripts(world, clients)
        .crashes(members, cluster.crashes)
        .cuts(Cut::all(cluster.members as u64), cluster.cuts)
        .always_told(LINEARIZABLE, |told| told.ghost.keeps(LINEARIZABLE))
        .always_told(FENCED, |told| told.ghost.keeps(FENCED))
        .always_told(ONE_VALUE, |told| told.ghost.keeps(ONE_VALUE))
        .always(ONE_LEADER, one_leader_per_term)
        .always(SURVIVES, move |snapshot| survives(snapshot, members))
        .always(ONLY_DECIDED, only_the_decided_is_committed)
        .sometimes(TWO_LEADERS, |snapshot| leaders(snapshot).count() > 1)
        .sometimes(FINISHED, finishes)
        .sometimes(ABORTED, aborted)
        .sometimes_told(FENCED_ASKED, |told| told.ghost.fenced_leader_is_asked())
        .sometimes_told(DECIDED, |told| !told.ghost.decided.is_empty())
        .sometimes_told(SEEN, |told| told.ghost.saw_a_write())
}

/// A world in which terms do not end, for calms.
fn endless<M: Twin<Store>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Store) -> M,
) -> Model<M> {
    let cluster = Cluster {
        terms: u64::MAX,
        ..cluster
    };
    let machines = cluster.machines(&make);
    world(name, cluster, clients, make).recovers(
        SERVES,
        ROUNDS,
        move |snapshot| serves(snapshot, &machines),
    )
}

/// A world of the right machine, of which all that is safety is promised.
fn safe(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Store> {
    let world = world(name, cluster, clients, |right| right);
    // What is asked again is in the network already: it matters in the calm alone.
    forgetting(world, cluster)
        .never("ring Heartbeat")
        .symmetric(cluster.everyone())
}

/// A world of the right machine, of which everything is promised.
///
/// The bound is the adversary's alone: each state's calm goes on where terms do not end.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Store> {
    let calm = endless(name, cluster, clients, |right| right).only(&[SERVES]);
    safe(name, cluster, clients).always(SERVES, move |snapshot| {
        let mut promises = calm.promises().iter();
        promises.all(|promise| calm.is_met(promise, snapshot))
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

/// What [`World::purging`] owes, in small worlds: with several terms, with a third member, with reads,
/// with crashes and with cuts, as the rules differ among these; and where messages are answered wrongly.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let one_term = Cluster { terms: 1, ..THREE };
    let crash = Cluster { crashes: 1, ..TWO };
    let cut = Cluster { cuts: 1, ..TWO };
    Ok(vec![
        purge::obligations(|| safe("purged", TWO, &["Ar"]))?,
        purge::obligations(|| safe("purged", TWO, &["A/B"]))?,
        purge::obligations(|| safe("purged", one_term, &[]))?,
        purge::obligations(|| safe("purged", crash, &["A"]))?,
        purge::obligations(|| safe("purged", cut, &["A"]))?,
    ])
}

/// The same with a rule that is wrong: where members crash, who leads is forgotten, and a message that
/// says so is not dead. It must fail, or the obligations prove nothing.
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
        let world = world("purged", CRASH, &["A"], |right| right);
        forgetting(world, immortal)
    })
}

/// What it owes that members are alike, in small worlds: with calls of all kinds, a third member, crashes
/// and cuts.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let one_term = Cluster { terms: 1, ..THREE };
    let crash = Cluster { crashes: 1, ..TWO };
    let cut = Cluster { cuts: 1, ..TWO };
    Ok(vec![
        symmetry::obligations(|| safe("mirrored", one_term, &["A"]))?,
        symmetry::obligations(|| safe("mirrored", THREE, &[]))?,
        symmetry::obligations(|| safe("mirrored", TWO, &["ar"]))?,
        symmetry::obligations(|| safe("mirrored", crash, &["A"]))?,
        symmetry::obligations(|| safe("mirrored", cut, &["A"]))?,
    ])
}

/// A world of a flawed one. Nothing is forgotten in it unless that is said: a reduction made for the
/// right machine could hide the flaw.
fn flawed(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    world(name, cluster, clients, move |right| Flawed { right, flaw })
}

/// The same, where terms do not end.
fn restless(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    endless(name, cluster, clients, move |right| Flawed { right, flaw })
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

/// One member may crash, once.
const CRASH: Cluster = Cluster {
    crashes: 1,
    ..THREE
};

/// The network may be cut, once and in any way.
const CUT: Cluster = Cluster { cuts: 1, ..THREE };

/// A third leader finds what two before it left.
const THREE_TERMS: Cluster = Cluster { terms: 3, ..THREE };

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let mut all = whole_worlds();
    all.extend(safe_worlds());
    all.extend(deep_worlds());
    all
}

/// Everything is promised, *serves again* too.
fn whole_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || {
            right("put-and-get", THREE, &["A", "r"])
                .says("three members, two terms; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(0, 0, || {
            right("two-puts", THREE, &["A", "B"])
                .says("three members, two terms; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(0, 0, || {
            right("two-gets", THREE, &["A", "rr"])
                .says("three members, two terms; one client puts, another gets twice")
                .except(ABORTED)
        }),
        Claimed::holds(0, 0, || {
            right("swaps", THREE, &["a", "br"])
                .says("three members, two terms; one client swaps, another swaps what that made, and gets")
                .sometimes_told(MISMATCHED, |told| told.ghost.mismatched())
        }),
        Claimed::holds(0, 0, || {
            right("crash", CRASH, &["A", "r"])
                .says("three members, two terms, one crash of any; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(0, 0, || {
            right("cut", CUT, &["A", "r"])
                .says(
                    "three members, two terms, one cut of any shape; one client puts, another gets",
                )
                .except(ABORTED)
        }),
        Claimed::holds(0, 0, || {
            let cluster = Cluster {
                crashes: 1,
                cuts: 1,
                ..THREE
            };
            right("crash-and-cut", cluster, &["A"])
                .says("three members, two terms, one crash and one cut of any; a client puts")
                .except(FINISHED)
                .except(ABORTED)
                .except(SEEN)
        }),
        Claimed::holds(0, 0, || {
            right("three-terms", THREE_TERMS, &["A", "r"])
                .says("three members, three terms; one client puts, another gets")
                .except(ABORTED)
        }),
    ]
}

/// All that is safety is promised.
fn safe_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || {
            safe("puts-and-get", THREE, &["AB", "r"])
                .says("three members, two terms; one client puts twice, another gets")
        }),
        Claimed::holds(0, 0, || {
            safe("crash-between-puts", CRASH, &["A", "B"])
                .says("three members, two terms, one crash of any; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(0, 0, || {
            safe("cut-between-puts", CUT, &["A", "B"])
                .says("three members, two terms, one cut of any shape; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(0, 0, || {
            let cluster = Cluster {
                crashes: 2,
                ..THREE
            };
            safe("two-crashes", cluster, &["A", "r"])
                .says("three members, two terms, two crashes of any; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(0, 0, || {
            safe("puts-in-three-terms", THREE_TERMS, &["A", "B"])
                .says("three members, three terms; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(0, 0, || {
            safe("two-keys", THREE, &["A", "/B"])
                .says("three members, two terms; two clients put, each its own key")
                .except(ABORTED)
                .except(SEEN)
        }),
        Claimed::holds(0, 0, || {
            safe("four-members", FOUR, &["A", "r"])
                .says("four members, two terms; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(0, 0, || {
            let five = Cluster {
                members: 5,
                ..THREE
            };
            safe("five-members", five, &["A"])
                .says("five members, two terms; a client puts")
                .except(FINISHED)
                .except(ABORTED)
                .except(SEEN)
        }),
    ]
}

/// Larger ones, for long runs.
fn deep_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds_deep(0, 0, || {
            safe("three-clients", THREE, &["A", "B", "r"])
                .says("three members, two terms; two clients put, another gets")
        }),
        Claimed::holds_deep(0, 0, || {
            let cluster = Cluster {
                crashes: 1,
                cuts: 1,
                ..THREE
            };
            safe("crash-and-cut-and-get", cluster, &["A", "r"])
                .says("three members, two terms, one crash and one cut of any; one client puts, another gets")
                .except(ABORTED)
        }),
    ]
}

fn flaws_of_elections() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_LEADER, 2, || {
            flawed(Flaw::AppointsItself, "appoints-itself", TWO, &[])
                .says("who misses a leader appoints itself and asks nobody, as in the textbook")
        }),
        Claimed::falls(SERVES, 1, || {
            restless(Flaw::FixedLeader, "fixed-leader", THREE, &["A"])
                .says("the leader is chosen once, as in the textbook, and nobody stands after it")
        }),
        Claimed::falls(ONE_LEADER, 0, || {
            flawed(
                Flaw::VoteForgotten,
                "vote-forgotten",
                Cluster { terms: 1, ..CRASH },
                &[],
            )
            .says("the disk has no vote")
        }),
        Claimed::falls(ONE_LEADER, 0, || {
            flawed(
                Flaw::TermForgotten,
                "term-forgotten",
                Cluster { terms: 1, ..CRASH },
                &[],
            )
            .says("the disk has neither vote nor term; the textbook's has nothing")
        }),
        Claimed::falls(ONE_LEADER, 0, || {
            flawed(
                Flaw::VotesTwice,
                "votes-twice",
                Cluster { terms: 1, ..THREE },
                &[],
            )
            .says("a member votes for everyone who asks")
        }),
        Claimed::falls(ONE_LEADER, 0, || {
            flawed(Flaw::LeadsOn, "leads-on", TWO, &[])
                .says("a leader that meets a later term leads on in that")
        }),
    ]
}

fn flaws_of_leaders() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(FENCED, 0, || {
            flawed(Flaw::DeadLeadOn, "dead-lead-on", CRASH, &["rr"])
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
            restless(Flaw::NoRetries, "no-retries", THREE, &["A"])
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
    vec![
        Claimed::falls(FENCED, 0, || {
            flawed(Flaw::NoFencing, "no-fencing", THREE, &["r"])
                .says("members hear leaders of terms that are over, as in the textbook")
        }),
        Claimed::falls(ONE_VALUE, 0, || {
            flawed(Flaw::NoFencing, "two-write-at-once", THREE, &["A", "B"]).says(
                "members hear leaders of terms that are over, as in the textbook, and two write",
            )
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
        Claimed::falls(SURVIVES, 0, || {
            flawed(Flaw::NoDecisionLog, "no-decision-log", CRASH, &["A"]).says(
                "what a leader decides is not on its own disk when it crashes, as in the textbook",
            )
        }),
        Claimed::falls(SURVIVES, 0, || {
            world("lying-disk", CRASH, &["A"], |right| right)
                .says("a disk forgets what it acknowledged")
                .disk(Disk::Lying)
        }),
    ]
}
