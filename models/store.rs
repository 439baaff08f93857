//! What is claimed of [`quorate::store`]: its worlds, its promises, and the flaws that refute them.
//!
//! # The bound
//!
//! Terms go on for ever, so a world has a last one: no election alarm is heard in it (see `bounded.rs`).
//! Every state within the bound is reached, and the search is EXHAUSTED of it. The bound is the
//! adversary's: of each state it is asked whether the store *will* serve where terms do not end.

use quorate::data::NodeSet;
use quorate::store::{Call, Store, Term};

use crate::action::Cut;
use crate::flaw::Twin;
use crate::purge::{self, Discharged};
use crate::symmetry;
use crate::world::World;

mod bounded;
mod conditions;
mod dead;
mod exhibits;
mod flaws;
mod past;
mod probe;
mod spoil;

pub use bounded::{Bounded, CrashStop, LastTerm};
use conditions::{
    aborted, finishes, leaders, one_leader_per_term, only_the_decided_is_committed, serves,
    survives,
};
use dead::Rules;
pub use exhibits::protocol;
use flaws::{Flaw, Flawed};
pub use past::Past;

/// Gets, puts and swaps take effect each at one moment between call and return; those that were refused
/// never.
pub const LINEARIZABLE: &str = "linearizable";
/// At most one member is elected in a term, and leads it.
pub const ONE_LEADER: &str = "one leader per term";
/// A leader that is asked when a majority has promised a later term never answers.
pub const FENCED: &str = "no acknowledgement under a fenced term";
/// What was decided is on the disks of a majority, or a record that builds on it is.
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
            bound: LastTerm(Term(self.terms)),
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
/// acknowledged by three members, of which one may stay dead: the heartbeats of a leader that was deposed
/// and does not know it, until another member misses a leader and stands; perhaps a second election, if
/// the first candidate's term was promised already.
const ROUNDS: u32 = 7;

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
    world(name, cluster, clients, make)
        .recovers(SERVES, ROUNDS, move |snapshot| serves(snapshot, &machines))
}

/// A world of the right machine, of which all that is safety is promised.
fn safe(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Store> {
    reduced(name, cluster, clients, |right| right)
}

/// A world of the right machine, of which everything is promised.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Store> {
    serving(name, cluster, clients, |right| right)
}

/// A world in which what is dead is forgotten, and members are alike.
fn reduced<M: Twin<Store>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Store) -> M,
) -> Model<M> {
    // What is asked again is in the network already: it matters in the calm alone.
    forgetting(world(name, cluster, clients, make), cluster)
        .never("ring Heartbeat")
        .symmetric(cluster.everyone())
}

/// The same, in which *serves again* is promised too. The bound is the adversary's alone: each state's
/// calm goes on where terms do not end.
fn serving<M: Twin<Store>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Store) -> M + Copy,
) -> Model<M> {
    let calm = endless(name, cluster, clients, make).only(&[SERVES]);
    reduced(name, cluster, clients, make).always(SERVES, move |snapshot| {
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

/// What [`World::purging`] owes, in small worlds: with several terms, with a third member, with gets, with
/// two keys, with crashes and with cuts, as the rules differ among these.
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
        purge::obligations(|| safe("purged", one_term, &["A"]))?,
        purge::obligations(|| safe("purged", crash, &["A"]))?,
        purge::obligations(|| safe("purged", cut, &["A"]))?,
        purge::obligations(|| reduced("purged", crash, &["A"], CrashStop::new))?,
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
        let world = world("purged", mortal, &["A"], |right| right);
        forgetting(world, immortal)
    })
}

/// What it owes that members are alike, in small worlds: with calls of all kinds, a third member, crashes
/// and cuts, and where members are unfenced, as of a world of that flaw it is said too.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let one_term = Cluster { terms: 1, ..THREE };
    let crash = Cluster { crashes: 1, ..TWO };
    let cut = Cluster {
        cuts: 1,
        ..one_term
    };
    Ok(vec![
        symmetry::obligations(|| safe("mirrored", one_term, &["A"]))?,
        symmetry::obligations(|| safe("mirrored", THREE, &[]))?,
        symmetry::obligations(|| safe("mirrored", TWO, &["ar"]))?,
        symmetry::obligations(|| safe("mirrored", crash, &["A"]))?,
        symmetry::obligations(|| safe("mirrored", cut, &[]))?,
        symmetry::obligations(|| reduced("mirrored", crash, &["A"], CrashStop::new))?,
        symmetry::obligations(|| {
            flawed(Flaw::NoFencing, "mirrored", TWO, &["A"]).symmetric(TWO.everyone())
        })?,
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
