//! What is claimed of [`quorate::batch`]: its worlds, its promises, and the flaws that refute them.

use std::collections::BTreeSet;
use std::fmt;

use quorate::batch::{Batch, Call, Event, Message, Outcome};
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::{Breaches, Ghost};
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node, nobody_waits};
use crate::world::{Disk, World};

mod flaws;

use flaws::{Flaw, Flawed};

/// No item is appended twice.
pub const DONE_ONCE: &str = "done once";
/// The items of one batcher are appended in the order in which they were asked.
pub const ORDER: &str = "order is kept";
/// No call returns twice.
pub const ANSWERED_ONCE: &str = "answered once";
/// Who is told a place finds its own item there, and only what is too long is said to be.
pub const ITS_OWN: &str = "its own outcome";
/// No batch has more items or bytes than it may.
pub const BOUNDS: &str = "bounds are kept";
/// In the calm every call at a live batcher returns.
pub const CALLS_RETURN: &str = "calls return";

const SERVER: NodeId = NodeId(0);
/// How long an item may be.
const ITEM_BYTES_MAX: u32 = 1;
const ITEMS_MAX: u32 = 2;
const BYTES_MAX: u32 = 3;

/// What was asked, what was appended, and what callers were told.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Record {
    asked: Map<u64, String>,
    /// At each batcher, what it has, in order.
    queued: Map<NodeId, Vec<u64>>,
    /// What the log has, in order.
    log: Vec<String>,
    returned: BTreeSet<u64>,
    broken: Breaches,
    seen: BTreeSet<Sight>,
}

/// What shows that the world is not hollow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sight {
    Full,
    Partial,
    TooLong,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the log has {:?}; calls {:?} returned{}",
            self.log, self.returned, self.broken
        )
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Record {
    fn ticket(call: &Call) -> Option<u64> {
        Some(call.ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Returned { ticket, .. } | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Queued { .. } | Event::Sent { .. } | Event::Appended { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        self.asked.insert(call.ticket, call.value.clone());
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Queued { ticket } => {
                let queued = self.queued.entry_or_insert_with(node, Vec::new);
                queued.push(*ticket);
            }
            Event::Sent { items, bytes, .. } => {
                let beyond = *items > ITEMS_MAX || *bytes > BYTES_MAX;
                self.broken.note(beyond, BOUNDS);
                self.sees(*items == ITEMS_MAX, Sight::Full);
            }
            Event::Appended { from, value, .. } => self.appended(*from, value),
            Event::Returned { ticket, outcome } => self.returned(*ticket, *outcome),
            Event::Refused { .. } => {}
        }
    }
}

impl Record {
    fn sees(&mut self, seen: bool, sight: Sight) {
        if seen {
            self.seen.insert(sight);
        }
    }

    /// The place in its batcher's queue of the call that asked this.
    fn rank(&self, from: NodeId, value: &str) -> Option<usize> {
        let queued = self.queued.get(&from)?;
        queued
            .iter()
            .position(|ticket| self.asked.get(ticket).is_some_and(|asked| asked == value))
    }

    fn appended(&mut self, from: NodeId, value: &str) {
        let again = self.log.iter().any(|other| other == value);
        self.broken.note(again, DONE_ONCE);
        let rank = self.rank(from, value);
        let late = self.log.iter().any(|other| {
            let other = self.rank(from, other);
            other.is_some() && other > rank
        });
        self.broken.note(!again && late, ORDER);
        self.log.push(value.to_owned());
    }

    fn returned(&mut self, ticket: u64, outcome: Outcome) {
        self.broken
            .note(!self.returned.insert(ticket), ANSWERED_ONCE);
        let Some(value) = self.asked.get(&ticket) else {
            return;
        };
        let is_long = value.len() > ITEM_BYTES_MAX as usize;
        let is_own = match outcome {
            Outcome::Appended(place) => {
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                self.log.get(place) == Some(value)
            }
            Outcome::TooLong => is_long,
        };
        self.broken.note(!is_own, ITS_OWN);
        // Its neighbours in the batch are not answered with it.
        let waits = self.asked.len() > self.returned.len();
        self.sees(is_long, Sight::TooLong);
        self.sees(waits, Sight::Partial);
    }
}

type Model<M> = World<M, Record>;

/// What each client asks, one after the other.
type Scripts = &'static [&'static [&'static str]];

/// A world in which everything is promised.
fn world<M: Twin<Batch>>(
    name: &str,
    batchers: usize,
    room: u32,
    scripts: Scripts,
    make: impl Fn(Batch) -> M,
) -> Model<M> {
    let nodes = NodeSet::first(1 + batchers);
    let machines = nodes.iter().map(|me| {
        make(Batch {
            me,
            server: SERVER,
            items_max: ITEMS_MAX,
            bytes_max: BYTES_MAX,
            item_bytes_max: ITEM_BYTES_MAX,
            room,
            linger_ms: 5,
        })
    });
    let doors = nodes.iter().filter(|node| *node != SERVER);
    let mut world = World::new(name, machines.collect(), Record::default()).doors(doors.collect());
    let mut tickets = 0..;
    for values in scripts {
        let calls = values.iter().zip(&mut tickets);
        world = world.client(calls.map(|(value, ticket)| Call {
            ticket,
            value: (*value).to_owned(),
        }));
    }
    for promise in [DONE_ONCE, ORDER, ANSWERED_ONCE, ITS_OWN, BOUNDS] {
        world = world.always_told(promise, move |told| !told.ghost.broken.of(promise));
    }
    world
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .sometimes_told("all calls return", |told| {
            let asked: usize = scripts.iter().map(|script| script.len()).sum();
            told.ghost.returned.len() == asked
        })
}

/// How many alarms may ring in a calm: for each item one that lingers or sends again, and one that drains.
const ROUNDS: u32 = 12;

/// True: what the receiver is done with does nothing, whoever sent it.
fn nobody_asks<M: Twin<Batch>>(_: &Letter<Message>, _: &Node<M>) -> bool {
    true
}

/// True if it tells of a batch that was answered, or of a batcher that has booted since.
fn is_past<M: Twin<Batch>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    let Some(disk) = to.durable() else {
        return false;
    };
    match &letter.message {
        Message::Items {
            incarnation, first, ..
        } => disk.batchers.get(&letter.from).is_some_and(|batcher| {
            *incarnation < batcher.incarnation
                || (*incarnation == batcher.incarnation && *first < batcher.first)
        }),
        Message::Taken {
            incarnation, first, ..
        } => match to.up() {
            None => true,
            Some(state) => *incarnation < disk.incarnation || *first < state.volatile.first,
        },
    }
}

fn right(name: &str, batchers: usize, room: u32, scripts: Scripts) -> Model<Batch> {
    world(name, batchers, room, scripts, |right| right).purging(nobody_asks, is_past)
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, room: u32, scripts: Scripts) -> Model<Flawed> {
    world(name, 1, room, scripts, move |right| Flawed { right, flaw })
}

/// Batching, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "batch",
        summary: "batching: many items in one message, each done once, in order, and answered once",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

const THREE: Scripts = &[&["a"], &["b"], &["c"]];
const FOUR: Scripts = &[&["a"], &["b"], &["c"], &["d"]];
const TWO_EACH: Scripts = &[&["a", "b"], &["c", "d"]];
/// One of them is too long.
const ONE_LONG: Scripts = &[&["a"], &["bb"], &["c"]];
const TWO: Scripts = &[&["a"], &["b"]];
const ONE: Scripts = &[&["a", "b"]];

fn full<M: Twin<Batch>>(world: Model<M>) -> Model<M> {
    world
        .sometimes_told("a batch is full", |told| {
            told.ghost.seen.contains(&Sight::Full)
        })
        .sometimes_told("a call returns while another waits", |told| {
            told.ghost.seen.contains(&Sight::Partial)
        })
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(821, 1_965, || {
            full(right("roomy", 1, 9, TWO_EACH))
                .says("a batcher of two at a time; two clients append two items each")
        }),
        Claimed::holds(1_015, 2_593, || {
            full(right("partial", 1, 1, THREE))
                .says("the same, and a server with room for one; three clients append an item each")
        }),
        Claimed::holds(655, 1_577, || {
            full(right("too-long", 1, 1, ONE_LONG))
                .says("the same, and one of the items is refused for good")
                .sometimes_told("an item is refused", |told| {
                    told.ghost.seen.contains(&Sight::TooLong)
                })
        }),
        Claimed::holds(8_413, 27_613, || {
            full(right("two-batchers", 2, 1, THREE))
                .says("two batchers, and a server with room for one; three clients")
        }),
        Claimed::holds(2_043, 4_749, || {
            right("crash", 1, 1, TWO)
                .says("a batcher, and a server with room for one; two clients, two crashes of any")
                .crashes(NodeSet::first(2), 2)
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(DONE_ONCE, 6, || {
            flawed(Flaw::NamedAnew, "named-anew", 1, TWO)
                .says("a batch that was done in part is sent again whole, under new names")
        }),
        Claimed::falls(DONE_ONCE, 4, || {
            flawed(Flaw::NoSerials, "no-serials", 9, ONE)
                .says("the server appends what arrives, as often as it arrives")
        }),
        Claimed::falls(DONE_ONCE, 6, || {
            flawed(Flaw::SerialsNotKept, "serials-not-kept", 9, ONE)
                .says("what was taken is known in memory, and the log is on disk")
                .crashes(NodeSet::first(1), 1)
        }),
        Claimed::falls(ORDER, 10, || {
            flawed(Flaw::SkipsWhatFails, "skips-what-fails", 1, THREE).says(
                "what finds no room goes to the end of the queue, and what follows goes first",
            )
        }),
        Claimed::falls(ORDER, 3, || {
            flawed(Flaw::NewestFirst, "newest-first", 9, TWO)
                .says("a batch takes what came last first")
        }),
        Claimed::falls(ITS_OWN, 4, || {
            flawed(Flaw::AllOrNothing, "all-or-nothing", 1, TWO)
                .says("a batch that was taken in part is said to be done whole")
        }),
        Claimed::falls(ITS_OWN, 7, || {
            flawed(Flaw::AnyAnswer, "any-answer", 9, ONE)
                .says("an answer to an earlier batch is taken for that of the present one")
        }),
        Claimed::falls(ITS_OWN, 4, || {
            flawed(Flaw::OneFailsAll, "one-fails-all", 9, ONE_LONG)
                .says("a batch with one item that is too long is refused whole")
        }),
        Claimed::falls(ITS_OWN, 8, || {
            flawed(Flaw::IncarnationForgotten, "incarnation-forgotten", 9, ONE)
                .says("after a restart the names of items begin anew")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::falls(ANSWERED_ONCE, 5, || {
            flawed(Flaw::AnsweredAgain, "answered-again", 9, ONE)
                .says("every answer that arrives is passed on")
        }),
        Claimed::falls(BOUNDS, 7, || {
            flawed(Flaw::WholeQueue, "whole-queue", 9, FOUR)
                .says("what gathered meanwhile goes in one batch, however much it is")
        }),
        Claimed::falls(CALLS_RETURN, 0, || {
            flawed(Flaw::NeverLingers, "waits-until-full", 9, ONE)
                .says("a batch that is not full waits until it is")
        }),
        Claimed::falls(CALLS_RETURN, 2, || {
            flawed(Flaw::NoRetry, "no-retry", 9, ONE).says("what was lost is not sent again")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::falls(CALLS_RETURN, 6, || {
        world("lying-disk", 1, 9, ONE, |right| right)
            .says("a disk forgets what it acknowledged, and the server waits for what it was told long ago")
            .crashes(NodeSet::first(1), 1)
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
        purge::obligations(|| right("purged", 1, 1, TWO))?,
        purge::obligations(|| right("purged", 1, 9, ONE).crashes(NodeSet::first(2), 1))?,
    ])
}
