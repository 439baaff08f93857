//! What is claimed of [`quorate::membership`]: its worlds, its promises, and the flaws that refute them.
//!
//! In the worlds of the singleton service detectors are the adversary's. Here they are SWIM: whom a worker
//! sees is what probes, answers and rumours have made of it.

use std::fmt;

use quorate::data::NodeSet;
use quorate::lease::Lease;
use quorate::machine::NodeId;
use quorate::membership::{Call, Event, Membership};
use quorate::singleton::{self, Role, Singleton};
use quorate::split_brain::Strategy;
use quorate::swim::{self, Status, Swim};

use crate::calm::Calms;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::singleton::Told as Service;
use crate::snapshot::Node;
use crate::world::World;

mod bounded;
mod flaws;

use bounded::Bounded;
use flaws::{Flaw, Flawed};

/// The resource accepts writes of one token from one node alone.
pub const ONE_WRITER: &str = crate::singleton::ONE_WRITER;
/// The resource never accepts a smaller token than one it has accepted.
pub const NEVER_FALL: &str = crate::singleton::NEVER_FALL;
/// What the service's detector said last is what SWIM holds.
pub const SEES: &str = "the service sees what SWIM holds";
/// In the calm the lowest worker runs, and holds the lease.
pub const RUNS_AGAIN: &str = crate::singleton::RUNS_AGAIN;

/// Who may run.
const WORKERS: usize = 2;
/// Who grants.
const AUTHORITY: NodeId = NodeId(2);
/// What is written to.
const RESOURCE: NodeId = NodeId(3);
/// The alarm that changes nothing but in the calm.
const RETRY: &str = "ring Singleton Lease Retry";
/// The alarm that asks for a lease anew: within these bounds nobody has any left to ask.
const TEND: &str = "ring Singleton Tend";
/// How many alarms ring until the service runs.
const ROUNDS: u32 = 400;

/// What was told: of the service, and whether a worker was ever held dead, and alive again.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Told {
    service: Service,
    is_held_dead: bool,
    is_risen: bool,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        match (self.is_held_dead, self.is_risen) {
            (false, _) => Ok(()),
            (true, false) => write!(f, "; one that runs was held dead"),
            (true, true) => write!(f, "; one was held dead, and alive again"),
        }
    }
}

impl<M: Twin<Membership>> Ghost<M> for Told {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Members { ticket } | Call::Write { ticket, .. }) = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Singleton(event) => <Service as Ghost<Singleton>>::finished(event),
            Event::Swim(swim::Event::Members { ticket, .. }) => Some(*ticket),
            Event::Swim(_) => None,
        }
    }

    fn on_call(&mut self, client: usize, node: NodeId, call: &Call) {
        if let Call::Write { ticket, value } = call.clone() {
            let write = singleton::Call::Write { ticket, value };
            Ghost::<Singleton>::on_call(&mut self.service, client, node, &write);
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Singleton(event) => {
                Ghost::<Singleton>::on_event(&mut self.service, node, event);
            }
            Event::Swim(swim::Event::Changed { standing, .. }) => {
                self.is_risen |= self.is_held_dead && standing.status == Status::Alive;
                self.is_held_dead |= standing.status == Status::Dead;
            }
            Event::Swim(_) => {}
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        Ghost::<Singleton>::on_crash(&mut self.service, node);
    }
}

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Bounded<M>, Told>;

/// The bounds of a world.
#[derive(Clone, Copy)]
struct Bounds {
    /// How many probes each worker begins.
    probes: [u64; WORKERS],
    /// How often each asks for the lease when nothing new has made it.
    asks: u64,
    /// How many writes each of these clients makes.
    writes: &'static [u64],
    mortal: NodeSet,
}

const UNBOUNDED: Bounds = Bounds {
    probes: [u64::MAX; WORKERS],
    asks: u64::MAX,
    writes: &[],
    mortal: NodeSet::EMPTY,
};

fn bare<M: Twin<Membership>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Membership) -> M,
) -> Model<M> {
    let workers = NodeSet::first(WORKERS);
    let machine = |me: NodeId| {
        let probes = bounds.probes.iter().zip(workers).find(|(_, id)| *id == me);
        Bounded {
            inner: make(membership(me, workers)),
            probes: probes.map_or(0, |(probes, _)| *probes),
            asks: bounds.asks,
        }
    };
    let nodes = NodeSet::first(WORKERS + 2);
    let machines = nodes.iter().map(machine).collect();
    let mut world = World::new(name, machines, Told::default())
        .doors(workers)
        .crashes(bounds.mortal, u32::from(!bounds.mortal.is_empty()));
    for (client, count) in (0..).zip(bounds.writes) {
        let write = |place: u64| {
            let ticket = 10 * client + place;
            let value = ticket.to_string();
            Call::Write { ticket, value }
        };
        world = world.client((0..*count).map(write));
    }
    world
}

fn membership(me: NodeId, workers: NodeSet) -> Membership {
    Membership {
        swim: Swim {
            me,
            members: workers,
            seeds: NodeSet::EMPTY,
            helpers: 1,
            news_max: 2,
            news_pings: 1,
            health_max: 0,
            period_ms: 10,
            suspicion_periods: 2,
            greeting_periods: 3,
        },
        singleton: Singleton {
            lease: Lease {
                me,
                authority: AUTHORITY,
                resource: RESOURCE,
                holders: workers,
                term_ms: 100,
                drift_ms: 10,
                attempts: 1,
            },
            // The one by which both may run.
            strategy: Strategy::LeaseMajority,
            settle_ms: 20,
            turn_ms: 20,
            asks: singleton::ASKS_UNBOUNDED,
        },
    }
}

/// A world in which all is promised that is always so.
fn world<M: Twin<Membership>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Membership) -> M,
) -> Model<M> {
    bare(name, bounds, make)
        .always_told(ONE_WRITER, |told| !told.ghost.service.breaks(ONE_WRITER))
        .always_told(NEVER_FALL, |told| !told.ghost.service.breaks(NEVER_FALL))
        .always_of_nodes(SEES, |nodes| {
            (nodes.iter().zip(NodeSet::first(WORKERS))).all(|(node, me)| sees(node, me))
        })
        .sometimes_told("a worker that runs is held dead", |told| {
            told.ghost.is_held_dead
        })
        .sometimes_told("both are to run", |told| told.ghost.service.both_run())
}

fn sees<M: Twin<Membership>>(node: &Node<Bounded<M>>, me: NodeId) -> bool {
    let Some(state) = node.up() else {
        return true;
    };
    let seen = membership(me, NodeSet::first(WORKERS)).seen(&state.volatile.swim);
    let said = state.volatile.singleton.view.as_ref();
    said.is_some_and(|(_, reports)| reports.keys().copied().collect::<NodeSet>() == seen)
}

/// The same, and two write.
fn writing<M: Twin<Membership>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Membership) -> M,
) -> Model<M> {
    world(name, bounds, make)
        .sometimes_told("two nodes write, each in its epoch", |told| {
            told.ghost.service.both_wrote()
        })
        .sometimes_told("a write is fenced", |told| told.ghost.service.fenced())
}

/// A world that calms down: from whatever state it is in, the lowest worker then runs.
fn calming<M: Twin<Membership>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Membership) -> M + Copy,
) -> Model<M> {
    let calms = Calms::new(bare("calm", UNBOUNDED, make), ROUNDS, |nodes, _| {
        let runs = |node: &&Node<Bounded<M>>| {
            node.up().is_some_and(|state| {
                let service = &state.volatile.singleton;
                service.role == Role::Runs && service.lease.holding.is_some()
            })
        };
        // The others are aside: they have seen who is there.
        let is_aside = |node: &&Node<Bounded<M>>| {
            (node.up()).is_some_and(|state| state.volatile.singleton.role == Role::Aside)
        };
        nodes.first().is_some_and(runs) && nodes.get(1).is_some_and(is_aside)
    });
    world(name, bounds, make)
        .always(RUNS_AGAIN, move |snapshot| calms.reach(snapshot))
        .sometimes_told("who was held dead is held alive again", |told| {
            told.ghost.is_risen
        })
}

/// SWIM and the service as one, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "membership",
        summary: "membership: SWIM finds out who is there, and one of them runs the service",
        worlds: worlds(),
        flaws: flaws(),
    }
}

/// The second worker begins a probe, and so may hold the first dead.
const DOUBTS: Bounds = Bounds {
    probes: [0, 1],
    asks: 1,
    writes: &[1, 1],
    mortal: NodeSet::EMPTY,
};

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(71_812, 346_747, || {
            writing("doubts", DOUBTS, |right| right).never(RETRY).never(TEND).says(
                "two workers, of which the second begins a probe and may take the first for dead; \
                 two clients write, each at any of them",
            )
        }),
        Claimed::holds_deep(15_395_690, 86_670_842, || {
            let mortal = NodeSet::first(WORKERS + 2);
            writing("crash", Bounds { mortal, ..DOUBTS }, |right| right)
                .never(RETRY)
                .says("the same, and one crash of any")
        }),
        Claimed::holds(2_420, 9_351, || {
            let bounds = Bounds {
                writes: &[],
                ..DOUBTS
            };
            calming("calming", bounds, |right| right)
                .never(RETRY)
                .never(TEND)
                .says("two workers, of which the second begins a probe, and nobody writes")
        }),
        Claimed::holds(369_447, 1_749_221, || {
            let bounds = Bounds {
                writes: &[],
                mortal: NodeSet::first(WORKERS + 2),
                ..DOUBTS
            };
            calming("calming-crash", bounds, |right| right)
                .never(RETRY)
                .never(TEND)
                .says("the same, and one crash of any")
        }),
    ]
}

fn flawed(flaw: Flaw, name: &str, bounds: Bounds) -> Model<Flawed> {
    world(name, bounds, move |right| Flawed { right, flaw })
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    // The resource takes a first write of a token for one sending of one.
    const TWICE: Bounds = Bounds {
        writes: &[1, 2],
        ..DOUBTS
    };
    vec![
        Claimed::falls(SEES, 3, || {
            flawed(Flaw::NobodyIsTold, "nobody-is-told", DOUBTS).says(
                "what SWIM finds out is told to nobody, as in the textbook, where the two are apart",
            )
        }),
        Claimed::falls(ONE_WRITER, 13, || {
            flawed(Flaw::NoLease, "no-lease", TWICE)
                .says("whoever SWIM leaves to run runs, and asks for no lease")
        }),
        Claimed::falls(NEVER_FALL, 15, || {
            flawed(Flaw::NoFence, "no-fence", TWICE).says(
                "the resource takes what arrives: a worker whose lease is over writes after the one \
                 that has the next",
            )
        }),
        Claimed::falls(RUNS_AGAIN, 4, || {
            let bounds = Bounds {
                writes: &[],
                ..DOUBTS
            };
            let flaw = Flaw::DeathsAlone;
            calming("deaths-alone", bounds, move |right| Flawed { right, flaw }).says(
                "the service is told who died and never who came back: from here, though everybody \
                 is there, the wrong worker goes on",
            )
        }),
    ]
}
