//! What is claimed of [`quorate::pbft`]: its worlds, its promises, and the flaws that refute them.
//!
//! # The traitor
//!
//! Up to f replicas, and all clients where it is about safety, are the adversary's. What they can say
//! is in [`liar`]. They have no state, so they cost none.
//!
//! # The bound
//!
//! Views go on for ever, so a world has a last one, in which nobody suspects the primary; and it has so
//! many places, which are what lies between the watermarks. What else there is of a replica is in
//! [`Scope`].

use quorate::data::NodeSet;
use quorate::kv::{Operation, Reply, Session};
use quorate::machine::NodeId;
use quorate::pbft::{
    Batch, Pbft, Reads, Request, Sequence, Signature, Signed, Sizes, Stance, View, Watermarks,
};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::purge::{self, Discharged};
use crate::snapshot::{Node, Snapshot};
use crate::symmetry;
use crate::world::World;

mod bounded;
mod clients;
mod dead;
mod flaws;
pub mod liar;
mod record;
mod symbolic;

pub use bounded::{Bounded, Scope};
use clients::{Treason, clients, readers};
use dead::Rules;
pub use flaws::survivors;
use liar::{Forgery, Liar};
pub use record::{Clients, Record};
pub use symbolic::Symbolic;

/// No two honest replicas execute different batches at one place.
pub const AGREEMENT: &str = "Agreement";
/// In one view, no two honest replicas prepare different batches at one place.
pub const UNIQUE: &str = "prepared certificates are unique";
/// A replica executes place after place, and no request has its effect at two places.
pub const IN_ORDER: &str = "exactly once, in order";
/// What is executed was signed by clients.
pub const VALIDITY: &str = "validity";
/// Honest replicas that executed equally much have equal stores.
pub const ONE_STATE: &str = "one state";
/// A stable checkpoint is the state of enough honest replicas.
pub const STABLE: &str = "a stable checkpoint is true";
/// A replica keeps no order beyond the watermarks.
pub const BOUNDED: &str = "the log is bounded";
/// Clients see one store, and each command done once.
pub const LINEARIZABLE: &str = "linearizable";
/// In the calm, every call returns.
pub const EXECUTED: &str = "requests are executed";

const REPLACED: &str = "another batch is prepared in a later view";

/// A cluster, its traitors, and how far it goes.
#[derive(Clone)]
struct Setting {
    sizes: Sizes,
    traitors: NodeSet,
    last: u64,
    places: u64,
    window: u64,
    interval: u64,
    requests: Vec<Signed<Request>>,
    forgery: Forgery,
    keys: Symbolic,
    crashes: u32,
    reads: Reads,
    readings: Vec<Reply>,
    patience: Patience,
}

/// Whether what a client reads can come to be ordered, if it waits too long: with endless patience there is
/// no place for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Little,
    Endless,
}

/// A client's request to let x be a value.
fn put(client: u64, serial: u64, value: &str) -> Signed<Request> {
    let request = Request {
        session: Session { client: 0, serial },
        operation: Operation::Put {
            key: "x".into(),
            value: value.into(),
        },
    };
    Signed {
        by: NodeId(client),
        value: request,
        signature: Signature::default(),
    }
}

/// Add one to x.
fn add() -> Operation {
    Operation::Increment {
        key: "x".into(),
        by: 1,
    }
}

/// What is x?
fn get() -> Operation {
    Operation::Get { key: "x".into() }
}

fn add_reply(sum: i64) -> Reply {
    Reply::Value(Some(sum.to_string()))
}

fn only(node: u64) -> NodeSet {
    [NodeId(node)].into_iter().collect()
}

impl Setting {
    /// Four replicas, of which one lies; two clients that ask for different things; one place.
    fn four(traitor: u64, views: u64) -> Self {
        Self::new(Sizes::of(4), only(traitor), views)
    }

    fn new(sizes: Sizes, traitors: NodeSet, views: u64) -> Self {
        let clients = sizes.replicas.len() as u64;
        Self {
            sizes,
            traitors,
            last: views - 1,
            places: 1,
            window: 1,
            interval: 1_000,
            requests: vec![put(clients, 1, "A"), put(clients + 1, 1, "B")],
            forgery: Forgery::Nothing,
            keys: Symbolic::Checked,
            crashes: 0,
            reads: Reads::Ordered,
            readings: Vec::new(),
            patience: Patience::Little,
        }
    }

    fn machine(&self, me: NodeId) -> Pbft<Symbolic> {
        Pbft {
            me,
            sizes: self.sizes,
            keys: self.keys,
            watermarks: Watermarks {
                interval: self.interval,
                window: self.window,
            },
            batch_requests_max: 1,
            orders_max: u64::MAX,
            reads: self.reads,
        }
    }

    /// The clients, who lie, too.
    fn clients(&self) -> NodeSet {
        self.requests.iter().map(|request| request.by).collect()
    }

    fn liar(&self) -> Liar {
        let batches = self.requests.iter().map(|one| Batch(vec![one.clone()]));
        Liar {
            honest: self.machine(NodeId(0)),
            traitors: self.traitors,
            last: View(self.last),
            places: self.places,
            requests: self.requests.clone(),
            batches: batches.collect(),
            replies: Vec::new(),
            asked: Vec::new(),
            read: Vec::new(),
            readings: self.readings.clone(),
            forgery: self.forgery,
            leaves: true,
        }
    }

    fn rules(&self, scope: Scope) -> Rules {
        Rules {
            sizes: self.sizes,
            traitors: self.traitors,
            last: View(self.last),
            checkpoints: self.interval <= self.places,
            joining: scope == Scope::Whole,
            immortal: self.crashes == 0,
        }
    }

    /// True if a client's operation may come to be ordered.
    fn orders(&self, operation: &Operation) -> bool {
        self.patience == Patience::Little || !matches!(operation, Operation::Get { .. })
    }

    /// Replicas that are alike: honest, and never primary within the bound.
    fn alike(&self) -> NodeSet {
        let primaries = (0..=self.last).map(|view| self.sizes.primary(View(view)));
        let honest = self.sizes.replicas.difference(self.traitors);
        honest.difference(primaries.collect())
    }

    /// The nodes: replicas, then clients.
    fn machines<M>(&self, scope: Scope, make: impl Fn(Pbft<Symbolic>) -> M) -> Vec<Bounded<M>> {
        let nodes = self.sizes.replicas.union(self.clients());
        let bounded = |me| Bounded {
            inner: make(self.machine(me)),
            me,
            sizes: self.sizes,
            last: View(self.last),
            scope,
        };
        nodes.iter().map(bounded).collect()
    }
}

/// A world about safety: replicas and clients that lie, and one record of what the honest ones told.
fn safety<M: Twin<Pbft<Symbolic>>>(
    name: &str,
    setting: &Setting,
    make: impl Fn(Pbft<Symbolic>) -> M,
) -> World<Bounded<M>, Record> {
    let honest = setting.sizes.replicas.difference(setting.traitors);
    let machines = setting.machines(Scope::Safety, make);
    let mut world = World::new(name, machines, Record::default())
        .traitors(setting.traitors.union(setting.clients()), setting.liar());
    // Clients that lie wait for no answer, and nobody asks for repair.
    world = world.never("deliver Answer").never("deliver Status");
    let led_by_traitors = |views: std::ops::RangeInclusive<u64>| {
        let mut primaries = views.map(|view| setting.sizes.primary(View(view)));
        primaries.all(|primary| setting.traitors.contains(primary))
    };
    if led_by_traitors(0..=setting.last) {
        world = world.never("deliver Request"); // A traitor orders what it likes.
    }
    if 0 < setting.last && led_by_traitors(1..=setting.last) {
        world = world.never("deliver ViewChange"); // It hears them in its own way.
    }
    for promise in [AGREEMENT, UNIQUE, IN_ORDER, VALIDITY] {
        world = world.always_told(promise, move |told| !told.ghost.breaks(promise));
    }
    let window = setting.window;
    world = world
        .always_of_nodes(ONE_STATE, one_state)
        .always_of_nodes(BOUNDED, move |nodes| is_bounded(nodes, window))
        .sometimes_told("a batch is executed", |told| told.ghost.has_executed());
    if setting.traitors.contains(setting.sizes.primary(View(0))) && 1 < setting.requests.len() {
        world = world.sometimes(
            "a primary that lies orders two batches at one place",
            |now| is_equivocal(now),
        );
    }
    if 0 < setting.last {
        world = world.sometimes_told("a batch is prepared again in a later view", |told| {
            told.ghost.is_carried_over()
        });
    }
    if 0 < setting.last && 1 < setting.requests.len() {
        world = world.sometimes_told(REPLACED, |told| told.ghost.is_replaced());
    }
    if setting.interval <= setting.places {
        let enough = setting.sizes.honest;
        world = world
            .always_of_nodes(STABLE, move |nodes| is_true(nodes, enough))
            .sometimes("a checkpoint discards what led to it", |now| {
                now.running().any(|(_, state)| {
                    Sequence::default() < state.durable.low() && state.durable.slots.is_empty()
                })
            });
    }
    if 0 < setting.crashes {
        world = world.crashes(honest, setting.crashes);
    }
    world
}

/// The reductions of a world that holds.
fn reduced<M: Twin<Pbft<Symbolic>>>(
    world: World<Bounded<M>, Record>,
    setting: &Setting,
) -> World<Bounded<M>, Record> {
    let rules = setting.rules(Scope::Safety);
    let world = world.purging(|_, _| true, move |letter, to| rules.is_dead(letter, to));
    match setting.alike() {
        alike if 1 < alike.len() => world.symmetric(alike),
        _ => world,
    }
}

fn states<'a, M: Twin<Pbft<Symbolic>>>(
    nodes: &'a [&'a Node<Bounded<M>>],
) -> impl Iterator<Item = &'a quorate::pbft::Durable> + Clone {
    nodes.iter().filter_map(|node| node.durable())
}

fn one_state<M: Twin<Pbft<Symbolic>>>(nodes: &[&Node<Bounded<M>>]) -> bool {
    states(nodes).all(|one| {
        states(nodes).all(|other| {
            one.service.executed != other.service.executed || one.service == other.service
        })
    })
}

fn is_bounded<M: Twin<Pbft<Symbolic>>>(nodes: &[&Node<Bounded<M>>], window: u64) -> bool {
    states(nodes).all(|one| {
        let last = one.slots.last().map(|(place, _)| place.0);
        last.unwrap_or_default() <= one.low().0 + window
    })
}

fn is_true<M: Twin<Pbft<Symbolic>>>(nodes: &[&Node<Bounded<M>>], enough: usize) -> bool {
    states(nodes)
        .filter_map(|one| one.stable.as_ref())
        .all(|stable| {
            let holds = states(nodes).filter(|other| {
                let reached = other.service.executed;
                stable.checkpoint.sequence <= reached
            });
            enough <= holds.count()
        })
}

fn is_equivocal<M: Twin<Pbft<Symbolic>>>(now: &Snapshot<Bounded<M>, Record>) -> bool {
    let active = |state: &quorate::pbft::Durable| state.stance == Stance::Active;
    now.running().any(|(_, one)| {
        now.running().any(|(_, other)| {
            let (one, other) = (&one.durable, &other.durable);
            active(one)
                && active(other)
                && one.view == other.view
                && one.slots.iter().any(|(place, slot)| {
                    let there = other.slots.get(place);
                    there.is_some_and(|other| other.digest != slot.digest)
                })
        })
    })
}

/// A world of the right machine.
fn right(
    name: &'static str,
    says: &'static str,
    setting: Setting,
) -> impl Fn() -> World<Bounded<Pbft<Symbolic>>, Record> + Send + Sync + 'static {
    move || reduced(safety(name, &setting, |right| right), &setting).says(says)
}

fn of_safety(
    unique: usize,
    generated: usize,
    name: &'static str,
    says: &'static str,
    setting: Setting,
) -> Box<dyn Exhibit> {
    Claimed::holds(unique, generated, right(name, says, setting))
}

/// The same, of a world too large for every test run.
fn of_safety_deep(
    unique: usize,
    generated: usize,
    name: &'static str,
    says: &'static str,
    setting: Setting,
) -> Box<dyn Exhibit> {
    Claimed::holds_deep(unique, generated, right(name, says, setting))
}

/// Two places with a checkpoint after each, and one request.
fn checkpoints(traitor: u64, views: u64) -> Setting {
    let mut setting = Setting::four(traitor, views);
    (setting.places, setting.interval) = (2, 1);
    setting.requests.truncate(1);
    setting
}

/// What is claimed of PBFT.
pub fn protocol() -> Protocol {
    Protocol {
        name: "pbft",
        summary: "Practical Byzantine fault tolerance: a replicated store among replicas that lie",
        worlds: worlds().into_iter().chain(large_worlds()).collect(),
        flaws: flaws::exhibits(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        of_safety(
            387,
            1_891,
            "primary-lies-one-view",
            "4 replicas, of which the primary lies; 2 requests that compete for one place; 1 view",
            Setting::four(0, 1),
        ),
        of_safety(
            1_405,
            8_065,
            "backup-lies-one-view",
            "the same, but a backup lies",
            Setting::four(1, 1),
        ),
        of_safety(
            229_076,
            1_256_360,
            "first-primary-lies",
            "4 replicas, of which the first primary lies; 2 requests that compete for one place; 2 views",
            Setting::four(0, 2),
        ),
        of_safety(
            203_285,
            1_108_231,
            "second-primary-lies",
            "the same, but the second primary lies",
            Setting::four(1, 2),
        ),
        of_safety(
            261_944,
            1_577_423,
            "backup-lies",
            "the same, but a replica lies that is primary in neither",
            Setting::four(2, 2),
        ),
        of_safety(
            603_567,
            3_911_704,
            "nobody-lies",
            "4 honest replicas; clients that lie; 2 requests that compete for one place; 2 views",
            Setting::new(Sizes::of(4), NodeSet::EMPTY, 2),
        ),
        of_safety(
            616_793,
            5_964_493,
            "one-name-two-requests",
            "a client asks two things by one name; the primary lies; 2 places, 1 view",
            {
                let mut setting = Setting::four(0, 1);
                setting.requests = vec![put(4, 1, "A"), put(4, 1, "B")];
                (setting.places, setting.window) = (2, 2);
                setting
            },
        ),
        of_safety(
            107_159,
            1_157_147,
            "checkpoint-primary-lies",
            "2 places with a checkpoint after each; the primary lies; 1 view",
            checkpoints(0, 1),
        ),
        of_safety(
            28_743,
            255_751,
            "five-replicas-need-four",
            "5 replicas with quorums of 4; the primary lies; 1 view",
            Setting::new(Sizes::of(5), only(0), 1),
        ),
        Claimed::holds(2_235, 5_936, || {
            let setting = Setting::new(Sizes::with_quorum(3, 1, 3), only(0), 2);
            reduced(safety("three-replicas-need-three", &setting, |right| right), &setting)
                .says("3 replicas with quorums of 3, of which the primary lies; 2 views: safe, though not live")
                // Every view change is needed, and says what was prepared.
                .except(REPLACED)
        }),
        of_safety(
            4_952,
            32_482,
            "crash",
            "a backup lies, and another crashes and restarts; 1 view",
            {
                let mut setting = Setting::four(3, 1);
                setting.crashes = 1;
                setting
            },
        ),
        Claimed::holds(55_822, 328_613, || {
            let setting = Setting::four(3, 1);
            let lies = Treason::Answering(&[add_reply(5)]);
            clients("one-client", &setting, &[&[add(), get()]], lies, |right| {
                right
            })
            .says("an honest client asks twice; a backup gives false answers; 1 view")
        }),
        Claimed::holds(24_733, 162_056, || {
            let setting = Setting::four(3, 1);
            let lies = Treason::Answering(&[add_reply(1)]);
            readers("reads", &setting, &[add(), get()], lies, |right| right)
                .says("the same, but the second request reads, and is not ordered")
        }),
        Claimed::holds(184_938, 1_405_854, || {
            let mut setting = Setting::four(3, 1);
            setting.reads = Reads::Optimistic;
            setting.readings = vec![add_reply(1)];
            let lies = Treason::Answering(&[add_reply(1)]);
            clients("reads-alone", &setting, &[&[get()]], lies, |right| right).says(
                "a client reads; a backup reads falsely; what no quorum reads alike is ordered",
            )
        }),
        Claimed::holds(1_331, 5_711, || {
            let setting = Setting::four(0, 2);
            clients(
                "silent-primary",
                &setting,
                &[&[add()]],
                Treason::Silent,
                |right| right,
            )
            .says("an honest client; the first primary says nothing; 2 views")
        }),
        Claimed::holds(1_049_331, 7_917_173, || {
            let setting = Setting::four(0, 2);
            clients(
                "voting-primary",
                &setting,
                &[&[add()]],
                Treason::Voting,
                |right| right,
            )
            .says("the same, but it orders and votes as it likes")
        }),
    ]
}

/// Worlds of millions of states, most of them deep.
fn large_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        of_safety(
            2_837_302,
            17_062_218,
            "three-views",
            "4 replicas, of which the third primary lies; 1 request; 3 views",
            {
                let mut setting = Setting::four(2, 3);
                setting.requests.truncate(1);
                setting
            },
        ),
        of_safety_deep(
            21_495_658,
            133_652_289,
            "three-views-first-primary-lies",
            "4 replicas, of which the first primary lies; 2 requests that compete for one place; 3 views",
            Setting::four(0, 3),
        ),
        of_safety_deep(
            49_629_166,
            281_781_300,
            "three-views-second-primary-lies",
            "the same, but the second primary lies",
            Setting::four(1, 3),
        ),
        of_safety_deep(
            10_280_954,
            58_817_049,
            "three-views-third-primary-lies",
            "the same, but the third primary lies",
            Setting::four(2, 3),
        ),
        of_safety_deep(
            10_232_768,
            66_049_895,
            "three-views-backup-lies",
            "the same, but a replica lies that is primary in none of them",
            Setting::four(3, 3),
        ),
        of_safety_deep(
            14_043_016,
            160_590_257,
            "checkpoint-backup-lies",
            "2 places with a checkpoint after each; a replica lies that is primary in neither of 2 views",
            checkpoints(2, 2),
        ),
        of_safety_deep(
            68_806_284,
            868_695_521,
            "checkpoint-first-primary-lies",
            "the same, but the first primary lies",
            checkpoints(0, 2),
        ),
        of_safety_deep(
            65_415_036,
            724_058_605,
            "checkpoint-second-primary-lies",
            "the same, but the second primary lies",
            checkpoints(1, 2),
        ),
        Claimed::holds_deep(18_975_863, 158_421_381, || {
            let setting = Setting::four(0, 2);
            let lies = Treason::Lying(&[]);
            clients("lying-primary", &setting, &[&[add()]], lies, |right| right)
                .says("an honest client; the first primary says whatever it can; 2 views")
        }),
    ]
}

/// A small cluster with all that the rules of [`World::purging`] speak of: three replicas that need
/// three, two views, checkpoints.
fn small(views: u64, interval: u64) -> Setting {
    let mut setting = Setting::new(Sizes::with_quorum(3, 1, 3), only(0), views);
    setting.interval = interval;
    setting
}

/// What it owes that dead messages are forgotten, in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let of = |setting: Setting| {
        purge::obligations(|| reduced(safety("purged", &setting, |right| right), &setting))
    };
    let mortal = Setting {
        crashes: 1,
        ..Setting::four(3, 1)
    };
    let second = Setting {
        traitors: only(1),
        ..small(2, 1_000)
    };
    Ok(vec![
        of(Setting::four(0, 1))?,
        of(Setting::four(3, 1))?,
        of(small(2, 1_000))?,
        of(second)?,
        of(small(1, 1))?,
        of(mortal)?,
        purge::obligations(|| {
            let setting = Setting::four(0, 2);
            clients("purged", &setting, &[&[add()]], Treason::Silent, |right| {
                right
            })
        })?,
    ])
}

/// The same with a rule that is wrong: where replicas crash, what they counted is forgotten, and a vote
/// that was counted is not dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    let setting = Setting {
        crashes: 1,
        ..Setting::four(3, 1)
    };
    let rules = Rules {
        immortal: true,
        ..setting.rules(Scope::Safety)
    };
    purge::obligations(|| {
        safety("purged", &setting, |right| right)
            .purging(|_, _| true, move |letter, to| rules.is_dead(letter, to))
    })
}

/// What it owes that honest replicas which are never primary are alike.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let of = |setting: Setting| {
        symmetry::obligations(|| reduced(safety("mirrored", &setting, |right| right), &setting))
    };
    let mut checkpoints = Setting::four(3, 1);
    (checkpoints.interval, checkpoints.requests) = (1, vec![put(4, 1, "A")]);
    Ok(vec![
        of(Setting::four(0, 1))?,
        of(Setting::four(3, 1))?,
        of(checkpoints)?,
        symmetry::obligations(|| {
            let setting = Setting::four(0, 2);
            clients(
                "mirrored",
                &setting,
                &[&[add()]],
                Treason::Silent,
                |right| right,
            )
        })?,
    ])
}
