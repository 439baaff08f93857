//! What is claimed of [`quorate::singleton`]: its worlds, its promises, and the flaws that refute them.
//!
//! The detectors are the adversary's: a client for each thing that one may say, said at any node, at any
//! time. So whatever SWIM or another might believe is here, and more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use quorate::data::{Map, NodeSet};
use quorate::lease::{self, Ending, Epoch, Lease};
use quorate::machine::NodeId;
use quorate::singleton::{Call, Event, Role, Singleton};
use quorate::split_brain::{Roster, Strategy};

use crate::calm;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::{Breaches, Ghost};
use crate::promise::Condition;
use crate::snapshot::{Client, Snapshot};
use crate::world::{Disk, World};

mod flaws;

use flaws::{Flaw, Flawed};

/// The resource accepts writes of one token from one node alone.
pub const ONE_WRITER: &str = "one writer per epoch";
/// The resource never accepts a smaller token than one it has accepted.
pub const NEVER_FALL: &str = "accepted tokens never fall";
/// A node that has decided not to run takes no write.
pub const ASIDE: &str = "aside is aside";
/// Once detectors see everybody, the lowest node runs.
pub const RUNS_AGAIN: &str = "the service runs again";

/// Who may run.
const WORKERS: usize = 2;
/// Who grants.
const AUTHORITY: NodeId = NodeId(2);
/// What is written to.
const RESOURCE: NodeId = NodeId(3);
/// The alarm that changes nothing but in the calm.
const RETRY: &str = "ring Lease Retry";
/// How many alarms ring until the service runs.
const ROUNDS: u32 = 120;

/// What was told.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Told {
    /// What each node is to do, by its last word.
    roles: BTreeMap<NodeId, Role>,
    /// Which node wrote with which token.
    writers: BTreeMap<Epoch, NodeId>,
    /// Calls to write that were made at a node that was not to run.
    aside: BTreeSet<u64>,
    fenced: bool,
    refused_aside: bool,
    second: bool,
    broken: Breaches,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.writers.is_empty() {
            write!(f, "nobody has written")?;
        }
        let mut comma = "";
        for (epoch, node) in &self.writers {
            write!(f, "{comma}{node} has written with token {}", epoch.0)?;
            comma = "; ";
        }
        for (node, role) in &self.roles {
            let words = match role {
                Role::Aside => "is aside",
                Role::Second => "waits for its turn",
                Role::Runs => "is to run",
            };
            write!(f, "; {node} {words}")?;
        }
        write!(f, "{}", self.broken)
    }
}

impl Told {
    fn role(&self, node: NodeId) -> Role {
        self.roles.get(&node).copied().unwrap_or_default()
    }

    /// True if this promise was broken.
    pub(crate) fn breaks(&self, promise: &'static str) -> bool {
        self.broken.of(promise)
    }

    /// True if the resource has refused a write.
    pub(crate) fn fenced(&self) -> bool {
        self.fenced
    }

    /// True if both nodes have written.
    pub(crate) fn both_wrote(&self) -> bool {
        let writers: BTreeSet<&NodeId> = self.writers.values().collect();
        writers.len() > 1
    }

    /// True if both nodes are to run.
    pub(crate) fn both_run(&self) -> bool {
        let roles = self.roles.values();
        roles.filter(|role| **role == Role::Runs).count() > 1
    }

    fn accepted(&mut self, from: NodeId, epoch: Epoch) {
        let largest = self.writers.keys().next_back().copied();
        self.broken
            .note(largest.is_some_and(|largest| epoch < largest), NEVER_FALL);
        let before = self.writers.insert(epoch, from);
        self.broken
            .note(before.is_some_and(|before| before != from), ONE_WRITER);
    }
}

impl<M: Twin<Singleton>> Ghost<M> for Told {
    fn ticket(call: &Call) -> Option<u64> {
        match call {
            Call::Sees { .. } => None,
            Call::Write { ticket, .. } => Some(*ticket),
        }
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Lease(lease::Event::Done { ticket, .. }) => Some(*ticket),
            Event::Decided(_) | Event::Lease(_) => None,
        }
    }

    fn on_call(&mut self, _: usize, node: NodeId, call: &Call) {
        match call {
            Call::Write { ticket, .. } if self.role(node) != Role::Runs => {
                self.aside.insert(*ticket);
            }
            Call::Sees { .. } | Call::Write { .. } => {}
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Decided(role) => {
                self.roles.insert(node, *role);
                self.second |= *role == Role::Second;
            }
            Event::Lease(lease::Event::Accepted { from, epoch }) => self.accepted(*from, *epoch),
            Event::Lease(lease::Event::Refused { .. }) => self.fenced = true,
            Event::Lease(lease::Event::Done { ticket, ending }) if self.aside.remove(ticket) => {
                let is_made = matches!(ending, Ending::Written | Ending::Fenced | Ending::Unknown);
                self.refused_aside |= *ending == Ending::NotHolding;
                self.broken.note(is_made, ASIDE);
            }
            Event::Lease(_) => {}
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        self.roles.remove(&node);
    }
}

/// The bounds of a world.
#[derive(Clone, Copy)]
struct Bounds {
    /// What detectors may say, each once: who is seen, all of whom see all of them.
    sights: &'static [&'static [u64]],
    /// How many writes each of these clients makes.
    writes: &'static [u64],
    /// How often one call for the lease asks. A node makes one each time it has decided.
    attempts: u32,
    crashes: u32,
}

/// What a detector says when it sees these nodes, and they see one another.
fn sees(nodes: &[u64]) -> Call {
    let seen: NodeSet = nodes.iter().map(|node| NodeId(*node)).collect();
    let reports: Map<NodeId, NodeSet> = seen.iter().map(|node| (node, seen)).collect();
    let up = NodeSet::first(WORKERS);
    let roster = Roster {
        up,
        ..Roster::default()
    };
    Call::Sees { roster, reports }
}

fn world<M: Twin<Singleton>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Singleton) -> M,
) -> World<M, Told> {
    let workers = NodeSet::first(WORKERS);
    let node = |me| {
        make(Singleton {
            lease: Lease {
                me,
                authority: AUTHORITY,
                resource: RESOURCE,
                holders: workers,
                term_ms: 100,
                drift_ms: 10,
                attempts: bounds.attempts,
            },
            strategy: Strategy::LeaseMajority,
            settle_ms: 20,
            turn_ms: 20,
            asks: 1,
        })
    };
    let nodes = NodeSet::first(WORKERS + 2);
    let machines = nodes.iter().map(node).collect();
    let mut world = World::new(name, machines, Told::default())
        .doors(workers)
        .crashes(nodes, bounds.crashes);
    for sight in bounds.sights {
        world = world.client([sees(sight)]);
    }
    for (client, count) in (0..).zip(bounds.writes) {
        let write = |place: u64| {
            let ticket = 10 * client + place;
            let value = ticket.to_string();
            Call::Write { ticket, value }
        };
        world = world.client((0..*count).map(write));
    }
    world
        .always_told(ONE_WRITER, |told| !told.ghost.broken.of(ONE_WRITER))
        .always_told(NEVER_FALL, |told| !told.ghost.broken.of(NEVER_FALL))
        .always_told(ASIDE, |told| !told.ghost.broken.of(ASIDE))
}

/// Examples of what is promised.
fn with_examples<M: Twin<Singleton>>(world: World<M, Told>) -> World<M, Told> {
    world
        .sometimes_told("two nodes write, each in its epoch", |told| {
            told.ghost.both_wrote()
        })
        .sometimes_told("a write is fenced", |told| told.ghost.fenced)
        .sometimes_told("one that is aside is asked, and refuses", |told| {
            told.ghost.refused_aside
        })
        .sometimes_told("both are to run", |told| told.ghost.both_run())
}

/// A world that may heal: in whatever state it is, if from then on the detectors see everybody, the
/// lowest node runs in the calm. The healing is a last client, who calls in the calm alone.
fn healing<M: Twin<Singleton>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Singleton) -> M + Copy + Send + Sync + 'static,
) -> World<M, Told> {
    // At each of the two nodes, for in the calm they are taken in turn.
    let healed = world("healed", bounds, make).client([sees(&[0, 1]), sees(&[0, 1])]);
    let goal: Condition<M, Told> = Condition::Whole(Arc::new(|snapshot: &Snapshot<M, Told>| {
        snapshot.nodes[0].up().is_some_and(|state| {
            state.volatile.role == Role::Runs && state.volatile.lease.holding.is_some()
        })
    }));
    world(name, bounds, make)
        .always(RUNS_AGAIN, move |snapshot| {
            // What was not said yet would be said in the calm, and need not be true.
            let is_promised = snapshot.clients.iter().all(|one| one.next > 0);
            let healer = Client {
                next: 0,
                waiting: None,
            };
            let mut start = snapshot.clone();
            start.clients = snapshot.clients.iter().copied().chain([healer]).collect();
            !is_promised || calm::rounds(&healed, &start, ROUNDS, &goal).is_some()
        })
        .sometimes_told("a node waits for its turn", |told| told.ghost.second)
        .sometimes_told("both are to run", |told| told.ghost.both_run())
}

/// The singleton service, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "singleton",
        summary: "a singleton service: one writer per epoch, whatever its detectors believe",
        worlds: worlds(),
        flaws: flaws(),
    }
}

/// Each node is alone, as its detector has it, and sees both.
const SPLIT: &[&[u64]] = &[&[0], &[1]];

fn right(name: &str, bounds: Bounds) -> World<Singleton, Told> {
    // What is sent again is in the network already: it matters to promises of the calm alone.
    with_examples(world(name, bounds, |right| right)).never(RETRY)
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(19_050, 86_595, || {
            let bounds = Bounds {
                sights: SPLIT,
                writes: &[1, 1],
                attempts: 1,
                crashes: 0,
            };
            right("split", bounds).says(
                "two nodes, each of which may be told that it is alone; two clients write, each at \
                 any of them",
            )
        }),
        Claimed::holds(130_316, 671_424, || {
            let bounds = Bounds {
                sights: SPLIT,
                writes: &[1, 1],
                attempts: 1,
                crashes: 1,
            };
            right("crash", bounds).says("the same, and one crash of any")
        }),
        Claimed::holds(113_698, 527_880, || {
            let bounds = Bounds {
                sights: SPLIT,
                writes: &[],
                attempts: 2,
                crashes: 1,
            };
            healing("healing", bounds, |right| right)
                .never(RETRY)
                .says("each may be told that it is alone, one may crash, and at last both see both")
        }),
    ]
}

fn flawed(flaw: Flaw, name: &str, crashes: u32) -> World<Flawed, Told> {
    let bounds = Bounds {
        sights: SPLIT,
        // The resource takes a first write of a token for one sending of one.
        writes: &[1, 2],
        attempts: 1,
        crashes,
    };
    world(name, bounds, move |right| Flawed { right, flaw })
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_WRITER, 12, || {
            flawed(Flaw::NoLease, "no-lease", 0).says(
                "whoever is to run runs, as the textbook's active nodes do: each side has an epoch \
                 of its own, and they are one number",
            )
        }),
        Claimed::falls(ONE_WRITER, 19, || {
            flawed(Flaw::TokenForgotten, "token-forgotten", 1)
                .says("the authority's tokens begin anew after a crash")
        }),
        Claimed::falls(NEVER_FALL, 14, || {
            flawed(Flaw::NoFence, "no-fence", 0).says("the resource takes what arrives")
        }),
        Claimed::falls(NEVER_FALL, 16, || {
            flawed(Flaw::FenceForgotten, "fence-forgotten", 1)
                .says("the resource forgets in a crash which token it has accepted")
        }),
        Claimed::falls(ASIDE, 8, || {
            flawed(Flaw::AsideWrites, "aside-writes", 0)
                .says("who is aside goes on while it has the lease")
        }),
        Claimed::falls(RUNS_AGAIN, 6, || {
            let bounds = Bounds {
                sights: SPLIT,
                writes: &[],
                attempts: 2,
                crashes: 1,
            };
            let flaw = Flaw::AsksOnce;
            healing("asks-once", bounds, move |right| Flawed { right, flaw })
                .says("who does not get the lease at once does not ask again: from here, though detectors see everybody, nobody runs")
        }),
        Claimed::falls(ONE_WRITER, 18, || {
            let bounds = Bounds {
                sights: SPLIT,
                writes: &[1, 2],
                attempts: 1,
                crashes: 1,
            };
            world("lying-disk", bounds, |right| right)
                .crashes(NodeSet::from_iter([AUTHORITY]), 1)
                .disk(Disk::Lying)
                .says("the authority's disk forgets what it acknowledged")
        }),
    ]
}
