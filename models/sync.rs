//! What is claimed of [`quorate::sync`]: its worlds, its promises, and the flaws that refute them.

use std::fmt;

use quorate::clock::Stamp;
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId, State};
use quorate::merkle::keyed::{Place, Shape};
use quorate::sync::{Call, Entry, Event, Message, Sync};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::{Breaches, Ghost};
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node, Snapshot};
use crate::world::{Disk, World};

mod flaws;
mod spelled;

use flaws::{Flaw, Flawed};
pub use spelled::{Spelled, Spelling};

/// In the calm all replicas become equal.
pub const CONVERGED: &str = "converged";
/// No entry is ever replaced by an older one.
pub const NOTHING_BACK: &str = "nothing goes back";
/// Whoever has a version of a key has the value that was written with it.
pub const ONE_VALUE: &str = "one value per version";
/// What is known to be deleted is not there again, unless it is written anew.
pub const NO_RESURRECTION: &str = "no resurrection";
/// What a replica has stored, its own writes among it, is on its disk, or something newer.
pub const STAYS: &str = "acknowledged writes stay";
/// Replicas with one digest have one map.
pub const ONE_MAP: &str = "one digest, one map";
/// The tree is the one that the entries make.
pub const TREE: &str = "the tree is that of the map";

/// What replicas said that they stored.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Book {
    values: Map<(String, Stamp), Option<String>>,
    has: Map<(NodeId, String), Stamp>,
    deleted: Map<(NodeId, String), Stamp>,
    broken: Breaches,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has.is_empty() {
            write!(f, "nothing was stored")?;
        }
        for (place, ((node, key), version)) in self.has.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            let value = self.values.get(&(key.clone(), *version)).cloned().flatten();
            let value = value.unwrap_or_else(|| "nothing".into());
            write!(f, "{separator}{node} has {key} = {value} of {version:?}")?;
        }
        write!(f, "{}", self.broken)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Book {
    fn ticket(call: &Call) -> Option<u64> {
        match call {
            Call::Get { ticket, .. } | Call::Put { ticket, .. } => Some(*ticket),
        }
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket, .. } | Event::Got { ticket, .. } | Event::Refused { ticket } => {
                Some(*ticket)
            }
            Event::Stored { .. } => None,
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Stored { key, entry } => self.stored(node, key, entry),
            Event::Done { .. } | Event::Got { .. } | Event::Refused { .. } => {}
        }
    }
}

impl Book {
    fn stored(&mut self, node: NodeId, key: &str, Entry { version, value }: &Entry) {
        let here = (node, key.to_owned());
        let before = self.has.insert(here.clone(), *version);
        self.broken.note(before > Some(*version), NOTHING_BACK);
        let of_version = (key.to_owned(), *version);
        let written = self
            .values
            .entry_or_insert_with(of_version, || value.clone());
        let other = written != value;
        self.broken.note(other, ONE_VALUE);
        let deleted = self.deleted.get(&here).copied();
        self.broken
            .note(value.is_some() && deleted > Some(*version), NO_RESURRECTION);
        if value.is_none() {
            self.deleted.insert(here, *version);
        }
    }

    /// True if two versions of a key were written without knowledge of each other.
    fn has_concurrent_writes(&self) -> bool {
        let mut all = self.values.keys();
        all.any(|(key, version)| {
            let mut others = self.values.keys();
            others.any(|(other, of)| {
                other == key && of.time == version.time && of.node != version.node
            })
        })
    }
}

/// A tree that branches in two whenever there are two keys at a place.
const TWO_WAYS: Shape = Shape {
    fan_bits: 1,
    bucket_max: 1,
};
/// A tree that holds two keys before it branches.
const WIDE: Shape = Shape {
    fan_bits: 1,
    bucket_max: 2,
};

type Model<M> = World<M, Book>;

/// The writes of one client: `a=x` lets *a* have *x*, and `a-` deletes it. Parts are divided by spaces.
fn script(writes: &str, tickets: &mut u64) -> Vec<Call> {
    let write = |write: &str| {
        let ticket = *tickets;
        *tickets += 1;
        let (key, value) = match write.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (write.trim_end_matches('-'), None),
        };
        Call::Put {
            ticket,
            key: key.to_owned(),
            value,
        }
    };
    writes.split(' ').map(write).collect()
}

/// Replicas in a line, each of which asks the next one.
#[derive(Clone, Copy)]
struct Line {
    count: usize,
    shape: Shape,
    spelling: Spelling,
}

const TWO: Line = Line {
    count: 2,
    shape: TWO_WAYS,
    spelling: Spelling::Parts,
};
const THREE: Line = Line { count: 3, ..TWO };

impl Line {
    fn machines(self) -> impl Iterator<Item = Sync<Spelled>> {
        let nodes: Vec<NodeId> = NodeSet::first(self.count).iter().collect();
        (0..self.count).map(move |place| Sync {
            me: nodes[place],
            peers: nodes.get(place + 1).copied().into_iter().collect(),
            shape: self.shape,
            hasher: Spelled(self.spelling),
        })
    }
}

/// A world in which everything is promised.
fn world<M: Twin<Sync<Spelled>>>(
    name: &str,
    line: Line,
    clients: &[&str],
    make: impl Fn(Sync<Spelled>) -> M,
) -> Model<M> {
    let machines: Vec<Sync<Spelled>> = line.machines().collect();
    let one = machines[0].clone();
    let (hasher, shape) = (one.hasher, one.shape);
    let machines = machines.into_iter().map(make);
    let mut world = World::new(name, machines.collect(), Book::default());
    let mut tickets = 0;
    for writes in clients {
        world = world.client(script(writes, &mut tickets));
    }
    for promise in [NOTHING_BACK, ONE_VALUE, NO_RESURRECTION] {
        world = world.always_told(promise, move |told| !told.ghost.broken.of(promise));
    }
    world
        .always(STAYS, stays)
        .always_of_nodes(ONE_MAP, move |nodes| {
            let states = || nodes.iter().filter_map(|node| node.up());
            let digest = |state: &State<M>| {
                let tree = &state.volatile.tree;
                tree.digest(&hasher, shape, Place::ROOT)
            };
            states().all(|state| {
                let mut others = states().filter(|other| digest(other) == digest(state));
                others.all(|other| other.durable.entries == state.durable.entries)
            })
        })
        .always_of_nodes(TREE, move |nodes| {
            let mut states = nodes.iter().filter_map(|node| node.up());
            states.all(|state| state.volatile.tree == one.tree_of(&state.durable.entries))
        })
        .recovers(CONVERGED, ROUNDS, all_are_equal)
        .sometimes("everyone has all that was written", |snapshot| {
            snapshot.ghost.values.len() > 1 && all_are_equal(snapshot)
        })
}

/// How many alarms may ring in a calm: a line of three takes two rounds of two, and a walk that was lost
/// begins again.
const ROUNDS: u32 = 8;

fn all_are_equal<M: Twin<Sync<Spelled>>>(snapshot: &Snapshot<M, Book>) -> bool {
    let mut states = snapshot.nodes.iter().map(|node| node.up());
    let Some(first) = states.next().flatten() else {
        return false;
    };
    states.all(|state| state.is_some_and(|state| state.durable.entries == first.durable.entries))
}

fn stays<M: Twin<Sync<Spelled>>>(snapshot: &Snapshot<M, Book>) -> bool {
    snapshot.ghost.has.iter().all(|((node, key), version)| {
        let disk = snapshot.node(*node).and_then(|node| node.durable());
        let entry = disk.and_then(|disk| disk.entries.get(key));
        entry.is_some_and(|entry| entry.version >= *version)
    })
}

/// True if the receiver has what is pushed, or something newer.
fn receiver_is_done<M: Twin<Sync<Spelled>>>(
    letter: &Letter<Message<String>>,
    to: &Node<M>,
) -> bool {
    match &letter.message {
        Message::Push { key, entry } => {
            let known = to.durable().and_then(|disk| disk.entries.get(key));
            known.is_some_and(|known| known.version >= entry.version)
        }
        Message::Compare { .. }
        | Message::Children { .. }
        | Message::Offer { .. }
        | Message::Pull { .. } => false,
    }
}

fn right(name: &str, line: Line, clients: &[&str]) -> Model<Sync<Spelled>> {
    world(name, line, clients, |right| right).purging(|_, _| true, receiver_is_done)
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, line: Line, clients: &[&str]) -> Model<Flawed> {
    world(name, line, clients, move |right| Flawed { right, flaw })
}

/// Data sync, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "sync",
        summary: "data sync: replicas that find out where they differ by a tree of digests",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(352, 556, || {
            right("one-key", TWO, &["a=x", "a=y"])
                .says("two replicas; two clients write one key, at any")
                .sometimes_told("two writes do not know of each other", |told| {
                    told.ghost.has_concurrent_writes()
                })
        }),
        Claimed::holds(5_134, 10_674, || {
            right("deletes", TWO, &["a=x a-", "a=y"])
                .says("two replicas; one client writes and deletes, another writes")
        }),
        Claimed::holds(1_714, 3_232, || {
            right("shapes", TWO, &["a=x b=x"]).says(
                "two replicas, whose trees branch differently; one client writes two keys, at any",
            )
        }),
        Claimed::holds_deep(2_407_413, 10_219_228, || {
            right("more-shapes", TWO, &["a=x b=x", "c=y"]).says("the same, and another a third")
        }),
        Claimed::holds(179_063, 382_727, || {
            right("wide", Line { shape: WIDE, ..TWO }, &["a=x b=x", "c=y"])
                .says("two replicas, and places hold two keys before they branch; three keys")
        }),
        Claimed::holds(1_408, 3_074, || {
            right("crash", TWO, &["a=x", "a=y"])
                .says("two replicas; two clients write one key, one crash of any")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::holds(6_856, 16_550, || {
            right("shapes-crash", TWO, &["a=x b=x"])
                .says("two replicas; one client writes two keys, one crash of any")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::holds(14_782, 40_641, || {
            right("three", THREE, &["a=x", "a=y"])
                .says("three replicas in a line; two clients write one key, at any")
        }),
        Claimed::holds(206_948, 777_189, || {
            right("three-cut", THREE, &["a=x", "a=y"])
                .says("the same, and one cut of any shape")
                .cuts(Cut::all(3), 1)
        }),
        Claimed::holds(73_910, 251_253, || {
            right("three-crash", THREE, &["a=x", "a=y"])
                .says("the same, and one crash of any instead")
                .crashes(NodeSet::first(3), 1)
        }),
        Claimed::holds_deep(1_002_858, 3_541_950, || {
            right("three-keys", THREE, &["a=x b=y"])
                .says("three replicas in a line; one client writes two keys, at any")
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(CONVERGED, 1, || {
            flawed(Flaw::OtherShapes, "other-shapes", TWO, &["a=x", "b=y"])
                .says("where one tree branches and the other does not, nothing is done, as in the textbook")
        }),
        Claimed::falls(ONE_MAP, 2, || {
            let joined = Line {
                spelling: Spelling::Joined,
                ..TWO
            };
            world("fields-joined", joined, &["a=b:c", "a:b=c"], |right| right)
                .says("the fields of an entry are joined by colons, as in the textbook")
        }),
        Claimed::falls(ONE_MAP, 2, || {
            let without = Line {
                spelling: Spelling::NoWriter,
                ..TWO
            };
            world("no-writer", without, &["a=x", "a=x"], |right| right)
                .says("digests do not say who wrote")
        }),
        Claimed::falls(CONVERGED, 0, || {
            flawed(
                Flaw::OneFingerprint,
                "one-fingerprint",
                TWO,
                &["a=x", "b=y"],
            )
            .says("who has another digest answers with its own")
        }),
        Claimed::falls(CONVERGED, 0, || {
            flawed(Flaw::NoTieBreak, "no-tie-break", TWO, &["a=x", "a=y"])
                .says("of two values of one time each keeps its own, as in the textbook")
        }),
        Claimed::falls(CONVERGED, 0, || {
            flawed(Flaw::NeverPulls, "never-pulls", TWO, &["a=x", "a=y"])
                .says("who is offered something newer does not ask for it")
        }),
        Claimed::falls(CONVERGED, 1, || {
            flawed(Flaw::Once, "once", TWO, &["a=x", "b=y"]).says("trees are compared once")
        }),
        Claimed::falls(NOTHING_BACK, 6, || {
            flawed(Flaw::ArrivalWins, "arrival-wins", TWO, &["a=x a=y"])
                .says("what arrives replaces what is there")
        }),
        Claimed::falls(NOTHING_BACK, 7, || {
            flawed(
                Flaw::ClockNotMerged,
                "clock-not-merged",
                TWO,
                &["a=x a=y", "a=z"],
            )
            .says("what arrives does not advance the clock")
        }),
        Claimed::falls(NO_RESURRECTION, 6, || {
            flawed(Flaw::NoTombstones, "no-tombstones", TWO, &["a=x a-"])
                .says("a deletion takes the entry away, as in the textbook")
        }),
        Claimed::falls(ONE_VALUE, 4, || {
            flawed(Flaw::ClockNotKept, "clock-not-kept", TWO, &["a=x a=y"])
                .says("after a restart the clock begins anew")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::falls(TREE, 2, || {
            flawed(Flaw::StaleTree, "stale-tree", TWO, &["a=x a=y"])
                .says("the tree is not changed when a key is written again")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::falls(STAYS, 3, || {
        world("lying-disk", TWO, &["a=x"], |right| right)
            .says("a disk forgets what it acknowledged")
            .crashes(NodeSet::first(2), 1)
            .disk(Disk::Lying)
    })]
}

/// What [`World::purging`] owes in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    Ok(vec![
        purge::obligations(|| right("purged", TWO, &["a=x", "a=y"]))?,
        purge::obligations(|| right("purged", TWO, &["a=x", "b=y"]).crashes(NodeSet::first(2), 1))?,
    ])
}

/// The same, of a machine for which the rule is wrong: to one that takes what arrives, nothing that is
/// pushed is dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| {
        flawed(Flaw::ArrivalWins, "purged", TWO, &["a=x", "a=y"])
            .purging(|_, _| true, receiver_is_done)
    })
}
