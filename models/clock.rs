//! What is claimed of [`quorate::clock`]: its worlds, its promises, and the flaws that refute them.
//!
//! The clocks are values, so three small machines put them to use: [`scribe`]s stamp their events and
//! send the stamps, [`replica`]s keep siblings, and [`paper`] is the abstraction in which others have
//! counted the states of hybrid clocks.

use quorate::clock::{Hybrid, HybridTime, Stamp};
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::ghost::NoGhost;
use crate::snapshot::{Letter, Node};
use crate::world::{Traitor, World};

mod flaws;
pub mod paper;
pub mod replica;
pub mod scribe;

use flaws::{Flaw, Flawed, FlawedKeep, Published};
use paper::{Abstraction, Monotone, Process, RightSteps, Steps};
use replica::{Keep, Replica, RightKeep, nothing_is_kept, nothing_is_lost};
use scribe::{
    Causality, EventId, HybridRule, LamportRule, Rule, Scribe, Setting, VectorRule, Word,
};

/// What happens before has the smaller stamp.
pub const CLOCK_CONDITION: &str = "clock condition";
/// Stamps are ordered if and only if their events are, and equal if and only if those are.
pub const STRONG_CLOCK_CONDITION: &str = "strong clock condition";
/// No two events share a stamp, so that stamps are a total order.
pub const UNIQUE: &str = "no two events share a stamp";
/// Every write that a replica knows of, and that no other it knows of had read, is among its siblings.
pub const NOTHING_LOST: &str = "nothing concurrent is lost";
/// No other write is.
pub const NOTHING_KEPT: &str = "nothing overwritten is kept";
/// No hybrid clock is ahead of the fastest physical one.
pub const BOUNDED: &str = "bounded by the physical clocks";
/// A hybrid counter is at most the number of causes that share its physical time; at 0 the beginning
/// of all clocks is one of them.
pub const COUNTED: &str = "counted by causes";
/// No hybrid clock is further ahead of its physical one than is allowed.
pub const WITHIN_DRIFT: &str = "within the drift";

/// A world of scribes.
type Scribes<R> = World<Scribe<R>, Causality<R>>;

/// How many scribes there are, in how many events each takes part, and how far its physical clock
/// goes.
#[derive(Clone, Copy)]
struct Bounds {
    nodes: usize,
    events_max: u64,
    now_max: u64,
    setting: Setting,
}

/// The bounds of clocks that look at no physical one.
const fn timeless(nodes: usize, events_max: u64) -> Bounds {
    timed(nodes, events_max, 0)
}

const fn timed(nodes: usize, events_max: u64, now_max: u64) -> Bounds {
    Bounds {
        nodes,
        events_max,
        now_max,
        setting: Setting::Forward,
    }
}

/// What every clock promises.
fn scribes<R: Rule>(name: &str, bounds: Bounds, rule: R) -> Scribes<R> {
    let nodes = NodeSet::first(bounds.nodes);
    let scribe = |me| Scribe {
        me,
        nodes,
        events_max: bounds.events_max,
        now_max: bounds.now_max,
        setting: bounds.setting,
        rule: rule.clone(),
    };
    let machines = nodes.iter().map(scribe).collect();
    let world = World::new(name, machines, Causality::new(rule.clone()))
        .always_told(CLOCK_CONDITION, |told| told.ghost.clock_condition)
        .sometimes_told("an event has a cause elsewhere", |told| {
            told.ghost.some_cause_is_elsewhere()
        });
    if bounds.nodes < 3 {
        return world;
    }
    world.sometimes_told("an event has causes at three nodes", |told| {
        told.ghost.some_are_far_apart()
    })
}

fn lamport<R: Rule<Stamp = Stamp>>(name: &str, bounds: Bounds, rule: R) -> Scribes<R> {
    scribes(name, bounds, rule)
        .always_told(UNIQUE, |told| told.ghost.unique)
        .sometimes_told("two events have one time", |told| {
            let times = |told: &Causality<R>| told.stamps().map(|stamp| stamp.time).collect();
            let mut times: Vec<u64> = times(told.ghost);
            times.sort_unstable();
            !times.is_sorted_by(|one, next| one < next)
        })
}

fn vector<R: Rule>(name: &str, bounds: Bounds, rule: R) -> Scribes<R> {
    scribes(name, bounds, rule)
        .always_told(STRONG_CLOCK_CONDITION, |told| {
            told.ghost.strong_clock_condition
        })
        .sometimes_told("two events are concurrent", |told| {
            told.ghost.some_are_concurrent()
        })
}

fn hybrid<R: Rule<Clock = Hybrid>>(name: &str, bounds: Bounds, rule: R) -> Scribes<R> {
    scribes(name, bounds, rule)
        .always_of_nodes(BOUNDED, |nodes| {
            let fastest = nodes.iter().filter_map(|node| node.durable());
            let fastest = fastest.map(|book| book.latest).max().unwrap_or(0);
            all_clocks(nodes, |physical, _| physical <= fastest)
        })
        .always_told(COUNTED, |told| told.ghost.earned)
        .sometimes("a clock is ahead of its physical one", |snapshot| {
            let mut books = snapshot.disks().map(|(_, book)| book);
            books.any(|book| book.clock.latest().physical > book.now)
        })
}

/// True if it is true of the physical part of every clock, and of what its own physical clock showed
/// at the latest.
fn all_clocks<R: Rule<Clock = Hybrid>>(
    nodes: &[&Node<Scribe<R>>],
    condition: impl Fn(u64, u64) -> bool,
) -> bool {
    let mut books = nodes.iter().filter_map(|node| node.durable());
    books.all(|book| condition(book.clock.latest().physical, book.latest))
}

/// How far ahead a sender's clock may be, in worlds where that matters.
const DRIFT_MAX: u64 = 1;

/// The rule of worlds in which no clock drifts too far.
const UNREFUSED: HybridRule = HybridRule {
    drift_max: u64::MAX,
};

/// A node whose clock shows whatever it likes.
struct BadClock {
    /// The latest.
    physical_max: u64,
}

impl<R: Rule<Stamp = HybridTime>> Traitor<Scribe<R>> for BadClock {
    fn lies(
        &self,
        me: NodeId,
        _: &mut dyn Iterator<Item = &Letter<Word<HybridTime>>>,
    ) -> Vec<(NodeId, Word<HybridTime>)> {
        let sent = EventId {
            node: me,
            number: 1,
        };
        let times = (0..=self.physical_max)
            .flat_map(|physical| [0, u32::MAX].map(|counter| HybridTime { physical, counter }));
        let honest = NodeSet::first(2).iter();
        honest
            .flat_map(|to| times.clone().map(move |stamp| (to, Word { sent, stamp })))
            .collect()
    }
}

/// Two nodes, and a third whose clock shows whatever it likes.
fn bad_clock(name: &str, rule: HybridRule) -> Scribes<HybridRule> {
    let bounds = timed(3, 2, 2);
    let lies = BadClock {
        physical_max: bounds.now_max + DRIFT_MAX + 1,
    };
    scribes(name, bounds, rule)
        .traitors([NodeId(2)].into_iter().collect(), lies)
        .always_of_nodes(WITHIN_DRIFT, |nodes| {
            all_clocks(nodes, |physical, latest| physical <= latest + DRIFT_MAX)
        })
        .sometimes_told("a message is refused", |told| told.ghost.refused)
        .sometimes("a clock is as far ahead as is allowed", |snapshot| {
            let mut books = snapshot.disks().map(|(_, book)| book);
            books.any(|book| book.clock.latest().physical == book.now + DRIFT_MAX)
        })
}

/// Processes with hybrid clocks as others have counted them.
fn abstraction<S: Steps>(
    name: &str,
    (processes, stop, skew): (u64, u64, u64),
    steps: S,
) -> World<Abstraction<S>, Monotone> {
    let machine = Abstraction {
        processes,
        stop,
        skew,
        steps,
    };
    let all = |nodes: &[&Node<Abstraction<S>>], condition: &dyn Fn(&Process) -> bool| {
        let mut states = nodes.iter().filter_map(|node| node.up());
        states.all(|state| state.volatile.iter().all(condition))
    };
    World::new(name, vec![machine], Monotone(true))
        .always_told(CLOCK_CONDITION, |told| told.ghost.0)
        // Its TypeOK and its Boundedl.
        .always_of_nodes(BOUNDED, move |nodes| {
            all(nodes, &|process| {
                let Process { now, time, .. } = *process;
                now <= time.physical && time.physical < now + skew
            })
        })
        // Its Boundedc: so many events at most share a physical time, one the cause of the next.
        .always_of_nodes(COUNTED, move |nodes| {
            all(nodes, &|process| {
                u64::from(process.time.counter) < processes * (skew + 1)
            })
        })
        .sometimes("a clock is ahead of its physical one", |snapshot| {
            let mut processes = snapshot.running().flat_map(|(_, state)| &state.volatile);
            processes.any(|process| process.now < process.time.physical)
        })
}

/// Replicas of one key, and clients.
fn replicas<K: Keep>(
    name: &str,
    count: usize,
    writes_max: u64,
    keep: K,
) -> World<Replica<K>, NoGhost> {
    let nodes = NodeSet::first(count);
    let replica = |me| Replica {
        me,
        nodes,
        writes_max,
        keep: keep.clone(),
    };
    World::new(name, nodes.iter().map(replica).collect(), NoGhost)
        .always_of_nodes(NOTHING_LOST, |nodes| {
            let mut disks = nodes.iter().filter_map(|node| node.durable());
            disks.all(nothing_is_lost::<K>)
        })
        .always_of_nodes(NOTHING_KEPT, |nodes| {
            let mut disks = nodes.iter().filter_map(|node| node.durable());
            disks.all(nothing_is_kept::<K>)
        })
        .sometimes("siblings stand beside each other", |snapshot| {
            let mut disks = snapshot.disks();
            disks.any(|(_, kept)| K::values(&kept.siblings).len() > 1)
        })
        .sometimes("a write overwrites two at once", |snapshot| {
            snapshot
                .disks()
                .any(|(_, kept)| kept.truth.some_write_read_two())
        })
}

/// The clocks, their worlds and their flaws.
pub fn protocol() -> Protocol {
    let worlds = [of_lamport(), of_vector(), of_hybrid(), of_siblings()];
    let flaws = [
        flaws_of_lamport(),
        flaws_of_vector(),
        flaws_of_hybrid(),
        flaws_of_siblings(),
    ];
    Protocol {
        name: "clock",
        summary: "logical clocks: Lamport's, vectors, hybrid ones, and dotted versions",
        worlds: worlds.into_iter().flatten().collect(),
        flaws: flaws.into_iter().flatten().collect(),
    }
}

fn of_lamport() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(65_461, 168_010, || {
            lamport("lamport", timeless(3, 3), LamportRule)
                .says("Lamport's: three nodes, three events at each, of which any may be receipts")
        }),
        Claimed::holds(11_652, 39_721, || {
            lamport("lamport-crash", timeless(3, 2), LamportRule)
                .says("the same with two events at each, and two crashes of any")
                .crashes(NodeSet::first(3), 2)
        }),
    ]
}

fn of_vector() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(65_461, 168_010, || {
            vector("vector", timeless(3, 3), VectorRule)
                .says("vectors: three nodes, three events at each, of which any may be receipts")
        }),
        Claimed::holds(37_768, 107_481, || {
            vector("vector-four", timeless(4, 2), VectorRule)
                .says("the same with four nodes and two events at each")
        }),
        Claimed::holds(11_652, 39_721, || {
            vector("vector-crash", timeless(3, 2), VectorRule)
                .says("the same with three nodes, two events at each, and two crashes of any")
                .crashes(NodeSet::first(3), 2)
        }),
    ]
}

fn of_hybrid() -> Vec<Box<dyn Exhibit>> {
    let set_back = Bounds {
        setting: Setting::Back,
        ..timed(2, 2, 2)
    };
    vec![
        Claimed::holds(37_997, 101_989, || {
            hybrid("hybrid", timed(3, 2, 1), UNREFUSED).says(
                "hybrid: three nodes, two events at each, physical clocks from 0 to 1 at any pace",
            )
        }),
        Claimed::holds(149_261, 304_771, || {
            hybrid("hybrid-long", timed(2, 3, 3), UNREFUSED)
                .says("the same with two nodes, three events at each, physical clocks from 0 to 3")
        }),
        Claimed::holds(16_856, 45_045, || {
            hybrid("hybrid-crash", timed(2, 2, 2), UNREFUSED)
                .says("the same with two nodes, two events at each, and two crashes of any")
                .crashes(NodeSet::first(2), 2)
        }),
        Claimed::holds(11_972, 37_929, move || {
            hybrid("hybrid-set-back", set_back, UNREFUSED)
                .says("the same with two nodes whose physical clocks are set back to 0 at will")
        }),
        Claimed::holds(33_162, 154_109, || {
            let rule = HybridRule {
                drift_max: DRIFT_MAX,
            };
            bad_clock("hybrid-bad-clock", rule)
                .says("two nodes that allow a drift of 1, and a third whose clock shows whatever it likes")
        }),
        Claimed::holds(367, 873, || {
            abstraction("hybrid-paper-2-4-2", (2, 4, 2), RightSteps)
                .says("hybrid, as specified for TLC: N = 2, STOP = 4, EPS = 2")
        }),
        Claimed::holds(1_053, 2_733, || {
            abstraction("hybrid-paper-2-5-3", (2, 5, 3), RightSteps)
                .says("hybrid, as specified for TLC: N = 2, STOP = 5, EPS = 3")
        }),
        Claimed::holds(26_955, 136_990, || {
            abstraction("hybrid-paper-3-4-2", (3, 4, 2), RightSteps)
                .says("hybrid, as specified for TLC: N = 3, STOP = 4, EPS = 2")
        }),
    ]
}

fn of_siblings() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(154, 154, || {
            replicas("siblings-one", 1, 5, RightKeep)
                .says("siblings: one replica, five writes by any clients")
        }),
        Claimed::holds(3_185, 5_715, || {
            replicas("siblings-two", 2, 2, RightKeep)
                .says("siblings: two replicas, two writes through each by any clients")
        }),
        Claimed::holds(3_759, 13_240, || {
            replicas("siblings-three", 3, 1, RightKeep)
                .says("siblings: three replicas, a write through each by any clients")
        }),
        Claimed::holds(12_740, 29_883, || {
            replicas("siblings-crash", 2, 2, RightKeep)
                .says("siblings: two replicas, two writes through each, one crash of any")
                .crashes(NodeSet::first(2), 1)
        }),
    ]
}

fn flaws_of_lamport() -> Vec<Box<dyn Exhibit>> {
    let flawed = |name: &str, flaw| {
        let right = LamportRule;
        lamport(name, timeless(2, 2), Flawed { right, flaw })
    };
    vec![
        Claimed::falls(CLOCK_CONDITION, 2, move || {
            flawed("no-receive-rule", Flaw::NoReceiveRule)
                .says("Lamport's: messages do not advance the clock; nor the textbook's versions")
        }),
        Claimed::falls(CLOCK_CONDITION, 2, move || {
            flawed("receipt-not-later", Flaw::ReceiptNotLater)
                .says("Lamport's: a receipt may have the time of the sending")
        }),
        Claimed::falls(CLOCK_CONDITION, 4, move || {
            flawed("lamport-not-kept", Flaw::NotKept)
                .says("Lamport's: after a restart the clock begins anew")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::falls(UNIQUE, 2, move || {
            flawed("no-tie-break", Flaw::NoTieBreak).says("Lamport's: stamps do not say where")
        }),
        Claimed::falls(STRONG_CLOCK_CONDITION, 2, || {
            vector("lamport-for-vector", timeless(2, 2), LamportRule)
                .says("Lamport's stamps are taken for proof of what was first")
        }),
    ]
}

fn flaws_of_vector() -> Vec<Box<dyn Exhibit>> {
    let flawed = |name: &str, flaw| {
        let right = VectorRule;
        vector(name, timeless(3, 2), Flawed { right, flaw })
    };
    vec![
        Claimed::falls(STRONG_CLOCK_CONDITION, 1, move || {
            flawed("equal-is-concurrent", Flaw::EqualIsConcurrent)
                .says("vectors: equal ones are concurrent, as the textbook's are")
        }),
        Claimed::falls(STRONG_CLOCK_CONDITION, 2, move || {
            flawed("strangers-dropped", Flaw::StrangersDropped).says(
                "vectors: the counts of n2, which joined later, are dropped, as by the textbook's",
            )
        }),
        Claimed::falls(STRONG_CLOCK_CONDITION, 2, move || {
            flawed("receipt-is-no-event", Flaw::ReceiptIsNoEvent)
                .says("vectors: a receipt merges and does not count")
        }),
        Claimed::falls(STRONG_CLOCK_CONDITION, 4, move || {
            flawed("taken-over", Flaw::TakenOver)
                .says("vectors: a receipt takes over what the message counts, smaller or not")
        }),
        Claimed::falls(STRONG_CLOCK_CONDITION, 4, move || {
            flawed("vector-not-kept", Flaw::NotKept)
                .says("vectors: after a restart the clock begins anew")
                .crashes(NodeSet::first(3), 1)
        }),
    ]
}

fn flaws_of_hybrid() -> Vec<Box<dyn Exhibit>> {
    let flawed = |name: &str, flaw| {
        let right = UNREFUSED;
        hybrid(name, timed(2, 2, 2), Flawed { right, flaw })
    };
    vec![
        Claimed::falls(CLOCK_CONDITION, 4, || {
            abstraction("greater-for-at-least", (2, 4, 2), Published).says(
                "hybrid: `>` where it needs `>=`, as in the specification that goes with the paper",
            )
        }),
        Claimed::falls(BOUNDED, 1, move || {
            flawed("naive", Flaw::Naive)
                .says("hybrid: each event adds one to the time, as in the paper's naive algorithm")
        }),
        Claimed::falls(CLOCK_CONDITION, 2, move || {
            flawed("wall-clock", Flaw::WallClock).says(
                "the stamp is what the physical clock shows, as the textbook's timestamps are",
            )
        }),
        Claimed::falls(COUNTED, 2, move || {
            flawed("counter-not-reset", Flaw::CounterNotReset)
                .says("hybrid: the counter goes on when physical time does")
        }),
        Claimed::falls(CLOCK_CONDITION, 4, move || {
            flawed("hybrid-not-kept", Flaw::NotKept)
                .says("hybrid: after a restart the clock begins anew")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::falls(WITHIN_DRIFT, 1, || {
            bad_clock("no-drift-bound", UNREFUSED)
                .says("hybrid: no clock is too far ahead to be believed")
        }),
    ]
}

fn flaws_of_siblings() -> Vec<Box<dyn Exhibit>> {
    let flawed = |name: &str, keep: FlawedKeep| replicas(name, 2, 2, keep);
    vec![
        Claimed::falls(NOTHING_LOST, 2, move || {
            flawed("no-dots", FlawedKeep::NoDots)
                .says("siblings: versions are told by their vectors alone")
        }),
        Claimed::falls(NOTHING_LOST, 3, move || {
            flawed("numbered-by-context", FlawedKeep::NumberedByContext)
                .says("siblings: a write is numbered after those that its client had read")
        }),
        Claimed::falls(NOTHING_KEPT, 2, move || {
            flawed("context-without-dots", FlawedKeep::ContextWithoutDots)
                .says("siblings: a client is told the pasts of what it reads, without the dots")
        }),
        Claimed::falls(NOTHING_KEPT, 3, move || {
            flawed("nothing-dropped", FlawedKeep::NothingDropped)
                .says("siblings: what arrives is kept beside what is there")
        }),
        Claimed::falls(NOTHING_LOST, 2, move || {
            flawed("arrival-wins", FlawedKeep::ArrivalWins)
                .says("siblings: what arrives replaces what is there, as in the textbook's stores")
        }),
    ]
}
