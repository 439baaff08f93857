//! What is claimed of [`quorate::backoff`]: its worlds, its promises, and the flaws that refute them.

use std::collections::BTreeSet;
use std::fmt;

use quorate::backoff::{Backoff, Call, Event, Timer};
use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::{Breaches, Ghost};
use crate::snapshot::nobody_waits;
use crate::world::{Disk, World};

mod flaws;

use flaws::{Flaw, Flawed};

/// What is done was the only thing in its slot.
pub const ALONE: &str = "done alone";
/// Nothing is done twice.
pub const DONE_ONCE: &str = "done once";
/// No client waits longer than the largest back-off.
pub const BOUNDED: &str = "waits are bounded";
/// In the calm every client is served.
pub const SERVED: &str = "everyone is served";
/// On every fair run every client is served: true of one alone.
pub const UNLUCKY: &str = "everyone is served, however unlucky";

const SERVER: NodeId = NodeId(0);
const DOUBLINGS_MAX: u32 = 3;

/// What was done, and how.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Slots {
    done: BTreeSet<(NodeId, u64)>,
    overlapped: bool,
    served_after: bool,
    broken: Breaches,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.done.is_empty() {
            write!(f, "nothing is done")?;
        }
        for (number, (node, ticket)) in self.done.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}call {ticket} of {node} is done")?;
        }
        write!(f, "{}", self.broken)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Slots {
    fn ticket(call: &Call) -> Option<u64> {
        Some(call.ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Returned { ticket } | Event::Refused { ticket } => Some(*ticket),
            Event::Tried { .. } | Event::Waits { .. } => None,
        }
    }

    fn on_event(&mut self, _: NodeId, event: &Event) {
        match event {
            Event::Tried {
                from,
                ticket,
                together,
                done,
            } => {
                self.overlapped |= *together > 1;
                self.broken.note(*done && *together > 1, ALONE);
                if *done {
                    let again = !self.done.insert((*from, *ticket));
                    self.broken.note(again, DONE_ONCE);
                }
            }
            Event::Waits { doublings, .. } => {
                self.broken.note(*doublings > DOUBLINGS_MAX, BOUNDED);
            }
            Event::Returned { .. } => self.served_after |= self.overlapped,
            Event::Refused { .. } => {}
        }
    }
}

type Model<M> = World<M, Slots>;

/// A world in which everything is promised, and each client makes one call at a node of its own.
fn world<M: Twin<Backoff>>(name: &str, clients: usize, make: impl Fn(Backoff) -> M) -> Model<M> {
    let nodes = NodeSet::first(1 + clients);
    let machines = nodes.iter().map(|me| {
        make(Backoff {
            me,
            server: SERVER,
            slot_ms: 10,
            doublings_max: DOUBLINGS_MAX,
        })
    });
    let doors = nodes.iter().filter(|node| *node != SERVER);
    let mut world = World::new(name, machines.collect(), Slots::default()).doors(doors.collect());
    for ticket in (0..).take(clients) {
        world = world.client([Call { ticket }]);
    }
    for promise in [ALONE, DONE_ONCE, BOUNDED] {
        world = world.always_told(promise, move |told| !told.ghost.broken.of(promise));
    }
    world.recovers_for_clients(SERVED, ROUNDS, nobody_waits)
}

/// How many alarms may ring in a calm: in each slot those of all clients, and the slot's own.
const ROUNDS: u32 = 60;

fn right(name: &str, clients: usize) -> Model<Backoff> {
    world(name, clients, |right| right)
        .sometimes_told("one is served after two overlapped", |told| {
            told.ghost.served_after
        })
        .sometimes_told("everything is done", move |told| {
            told.ghost.done.len() == clients
        })
}

/// A world of a flawed one.
fn flawed(flaw: Flaw, name: &str, clients: usize) -> Model<Flawed> {
    world(name, clients, move |right| Flawed { right, flaw })
}

/// Back-off, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "backoff",
        summary: "back-off: clients who overlap try again apart, by chance",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(1, 1, || {
            world("one-client", 1, |right| right)
                .eventually_for_clients(UNLUCKY, nobody_waits)
                .sometimes_told("everything is done", |told| told.ghost.done.len() == 1)
                .says("a client that has the server to itself")
        }),
        Claimed::holds(2_799, 11_325, || {
            right("two-clients", 2).says("a server of one thing at a time; two clients")
        }),
        Claimed::holds(220_633, 1_047_394, || {
            right("three-clients", 3)
                .rings_late(|timer| matches!(timer, Timer::Lost(_)))
                .says("the same with three; what may be lost is tried again in the calm alone")
        }),
        Claimed::holds(8_997, 43_171, || {
            right("crash", 2)
                .says("two clients, and one crash of any")
                .crashes(NodeSet::first(3), 1)
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(SERVED, 0, || {
            flawed(Flaw::Lockstep, "lockstep", 2).says(
                "waits double, and are not drawn: two who tried together try together for ever",
            )
        }),
        Claimed::falls(SERVED, 0, || {
            flawed(Flaw::NeverDoubles, "never-doubles", 3)
                .says("waits are drawn, and do not double: three are too many for two slots")
        }),
        Claimed::falls(SERVED, 0, || {
            flawed(Flaw::AtOnce, "at-once", 2).says("who came to nothing tries again at once")
        }),
        Claimed::falls(SERVED, 1, || {
            flawed(Flaw::NothingIsLost, "nothing-is-lost", 2)
                .says("an answer is waited for without end")
        }),
        Claimed::falls(BOUNDED, 10, || {
            flawed(Flaw::DoublesForEver, "doubles-for-ever", 2).says("waits double without bound")
        }),
        Claimed::falls(ALONE, 5, || {
            flawed(Flaw::DoesAll, "does-all", 2).says("the server does whatever comes in a slot")
        }),
        Claimed::falls(DONE_ONCE, 5, || {
            flawed(Flaw::NoRecord, "no-record", 2).says("the server does what arrives once more")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(UNLUCKY, 9, || {
            world("no-chance", 2, |right| right)
                .eventually_for_clients(UNLUCKY, nobody_waits)
                .says("whoever lets alarms ring is fair, and does not draw: what was drawn to be apart comes together")
        }),
        Claimed::falls(DONE_ONCE, 7, || {
            world("lying-disk", 2, |right| right)
                .says("a disk forgets what it acknowledged, so that an answer precedes the write")
                .crashes(NodeSet::first(1), 1)
                .disk(Disk::Lying)
        }),
    ]
}
