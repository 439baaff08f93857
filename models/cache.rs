//! What is claimed of [`quorate::cache`]: its worlds, its promises, and the flaws that refute them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use quorate::cache::{
    Age, Cache, Call, Event, Fallback, Message, Need, Reach, Request, Version, Waiting,
};
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

/// A value that is said to be so many ticks old was the store's less than a tick more ago.
pub const AGE: &str = "its age is true";
/// Nobody is told anything older than was allowed.
pub const BOUND: &str = "its bound is kept";
/// What is said to be the store's own answer is as new as what it had when the call was made.
pub const CURRENT: &str = "current means current";
/// Once a put is said to be everywhere, no later get returns anything older.
pub const EVERYWHERE: &str = "everywhere is everywhere";
/// No get at a cache returns an older value than a get before it.
pub const NEVER_BACK: &str = "a cache never goes back";
/// A value is what was put under its version.
pub const WHAT_WAS_PUT: &str = "what was put";
/// No put is done twice.
pub const DONE_ONCE: &str = "puts are done once";
/// In the calm every call at a live cache returns.
pub const CALLS_RETURN: &str = "calls return";

const STORE: NodeId = NodeId(0);
const KEY: &str = "k";
const LIFETIME_TICKS: u32 = 0;
const KEPT_TICKS: u32 = 1;

/// What was put, what caches said, and when.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Past {
    /// What the store had under each version.
    stored: Map<Version, String>,
    done: BTreeSet<(NodeId, Request)>,
    /// What the store had when each cache last ticked, the last tick first.
    ticks: Map<NodeId, VecDeque<Version>>,
    /// Gets under way: what was allowed, what the store had, and what was everywhere.
    gets: Map<u64, Get>,
    /// The newest version that is said to be everywhere.
    everywhere: Version,
    /// By which version each put is known, that its caller may be told of it.
    puts: Map<u64, Version>,
    /// The newest that each cache returned.
    returned: Map<NodeId, Version>,
    broken: Breaches,
    seen: BTreeSet<Sight>,
}

/// A get, as it was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Get {
    need: Need,
    fallback: Fallback,
    current: Version,
    everywhere: Version,
}

/// What shows that the world is not hollow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sight {
    /// A get was answered, within its bound, with less than the newest.
    Behind,
    FellBack,
    Unanswered,
    Everywhere,
    NotEverywhere,
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stored.last() {
            None => write!(f, "nothing was put")?,
            Some((version, value)) => write!(f, "the store has {value:?} as {version:?}")?,
        }
        if self.everywhere > Version::default() {
            write!(f, "; {:?} is said to be everywhere", self.everywhere)?;
        }
        for (node, version) in &self.returned {
            write!(f, "; {node} returned {version:?}")?;
        }
        for (node, ticks) in &self.ticks {
            let ticks: Vec<String> = ticks.iter().map(|at| format!("{at:?}")).collect();
            write!(
                f,
                "; when {node} ticked, the last time first, the store had {}",
                ticks.join(", ")
            )?;
        }
        write!(f, "{}", self.broken)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Past {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Get { ticket, .. } | Call::Put { ticket, .. }) = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Got { ticket, .. }
            | Event::Unanswered { ticket }
            | Event::Put { ticket, .. }
            | Event::Unknown { ticket }
            | Event::Refused { ticket } => Some(*ticket),
            Event::Ticked | Event::Stored { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        if let Call::Get {
            ticket,
            need,
            fallback,
            ..
        } = call
        {
            let get = Get {
                need: *need,
                fallback: *fallback,
                current: self.current(),
                everywhere: self.everywhere,
            };
            self.gets.insert(*ticket, get);
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Ticked => {
                let current = self.current();
                let ticks = self.ticks.entry_or_insert_with(node, VecDeque::new);
                ticks.push_front(current);
                ticks.truncate(KEPT_TICKS as usize + 1);
            }
            Event::Stored {
                from,
                request,
                version,
                value,
                ..
            } => {
                let again = !self.done.insert((*from, *request));
                self.broken.note(again, DONE_ONCE);
                let before = self.stored.insert(*version, value.clone());
                let differs = before.is_some_and(|before| before != *value);
                self.broken.note(differs, WHAT_WAS_PUT);
            }
            Event::Got {
                ticket,
                version,
                value,
                age,
            } => self.got(node, *ticket, (*version, value.as_ref()), *age),
            Event::Put { ticket, reach } => self.is_put(*ticket, *reach),
            Event::Unanswered { ticket } => {
                self.seen.insert(Sight::Unanswered);
                self.gets.remove(ticket);
            }
            Event::Unknown { .. } | Event::Refused { .. } => {}
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        // What it has next it asks for from now on.
        self.ticks.remove(&node);
    }
}

impl Past {
    fn current(&self) -> Version {
        (self.stored.last()).map_or_else(Version::default, |(version, _)| *version)
    }

    fn got(&mut self, node: NodeId, ticket: u64, got: (Version, Option<&String>), age: Age) {
        let (version, value) = got;
        let Some(get) = self.gets.remove(&ticket) else {
            return;
        };
        self.broken
            .note(self.stored.get(&version) != value, WHAT_WAS_PUT);
        self.broken.note(version < get.everywhere, EVERYWHERE);
        let last = self.returned.insert(node, version);
        self.broken
            .note(last.is_some_and(|last| version < last), NEVER_BACK);
        match age {
            Age::Current => self.broken.note(version < get.current, CURRENT),
            Age::Ticks(ticks) => {
                let allowed = match get.fallback {
                    Fallback::Never => false,
                    Fallback::Within(at_most) => ticks <= at_most,
                };
                let is_fresh = get.need == Need::Cached && (0..=LIFETIME_TICKS).contains(&ticks);
                self.broken.note(!is_fresh && !allowed, BOUND);
                let then = self.ticks.get(&node);
                let then = then.and_then(|then| then.get(ticks as usize));
                self.broken
                    .note(then.is_some_and(|then| version < *then), AGE);
                if !is_fresh {
                    self.seen.insert(Sight::FellBack);
                }
                if is_fresh && version < self.current() {
                    self.seen.insert(Sight::Behind);
                }
            }
        }
    }

    /// Clients put one value each, so that it names the call.
    fn is_put(&mut self, ticket: u64, reach: Reach) {
        let value = value_of(ticket);
        let version = self.stored.iter().find(|(_, stored)| **stored == value);
        let version = version.map_or_else(Version::default, |(version, _)| *version);
        match reach {
            Reach::Everywhere => {
                self.everywhere = self.everywhere.max(version);
                self.seen.insert(Sight::Everywhere);
            }
            Reach::Store => {
                self.seen.insert(Sight::NotEverywhere);
            }
        }
        self.puts.insert(ticket, version);
    }
}

fn value_of(ticket: u64) -> String {
    format!("put{ticket}")
}

/// A call of a script.
#[derive(Clone, Copy)]
enum Ask {
    Put,
    Get(Need, Fallback),
}

const CACHED: Ask = Ask::Get(Need::Cached, Fallback::Never);
const CURRENTLY: Ask = Ask::Get(Need::Current, Fallback::Never);
/// The store's own answer, or else what is at most a tick old.
const OR_OLD: Ask = Ask::Get(Need::Current, Fallback::Within(1));
/// The same, at most none.
const OR_FRESH: Ask = Ask::Get(Need::Current, Fallback::Within(0));

/// What clients ask, one after the other.
type Scripts = &'static [&'static [Ask]];

type Model<M> = World<M, Past>;

/// A world in which everything is promised.
fn world<M: Twin<Cache>>(
    name: &str,
    caches: usize,
    scripts: Scripts,
    make: impl Fn(Cache) -> M,
) -> Model<M> {
    let nodes = NodeSet::first(1 + caches);
    let caches: NodeSet = nodes.iter().filter(|node| *node != STORE).collect();
    let machines = nodes.iter().map(|me| {
        make(Cache {
            me,
            store: STORE,
            caches,
            lifetime_ticks: LIFETIME_TICKS,
            kept_ticks: KEPT_TICKS,
            tick_ms: 50,
        })
    });
    let mut world = World::new(name, machines.collect(), Past::default()).doors(caches);
    let mut tickets = 0..;
    for script in scripts {
        let calls = script.iter().zip(&mut tickets);
        world = world.client(calls.map(|(ask, ticket)| {
            let key = KEY.to_owned();
            match ask {
                Ask::Put => Call::Put {
                    ticket,
                    key,
                    value: value_of(ticket),
                },
                Ask::Get(need, fallback) => Call::Get {
                    ticket,
                    key,
                    need: *need,
                    fallback: *fallback,
                },
            }
        }));
    }
    let promises = [
        AGE,
        BOUND,
        CURRENT,
        EVERYWHERE,
        NEVER_BACK,
        WHAT_WAS_PUT,
        DONE_ONCE,
    ];
    for promise in promises {
        world = world.always_told(promise, move |told| !told.ghost.broken.of(promise));
    }
    world.recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
}

/// How many alarms may ring in a calm: ticks while something is waited for, and the patience of each call.
const ROUNDS: u32 = 40;

fn shows<M: Twin<Cache>>(world: Model<M>, name: &'static str, sight: Sight) -> Model<M> {
    world.sometimes_told(name, move |told| told.ghost.seen.contains(&sight))
}

/// True if a cache that runs waits for the answer to this request.
fn waits_for<M: Twin<Cache>>(cache: &Node<M>, request: Request) -> bool {
    cache.up().is_some_and(|state| {
        let volatile = &state.volatile;
        let number = request.number;
        let is_asked = volatile.asked.values().any(|asked| asked.number == number);
        let put = Waiting::Put { number };
        request.incarnation == state.durable.incarnation
            && (is_asked || volatile.waiting.values().any(|one| *one == put))
    })
}

/// True if a cache no longer listens for what the store would say to it.
fn sender_is_done<M: Twin<Cache>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Fetch { request, .. } => !waits_for(from, *request),
        Message::Fetched { .. }
        | Message::Write { .. }
        | Message::Written { .. }
        | Message::Void { .. }
        | Message::Voided { .. } => true,
    }
}

/// True if a cache no longer listens for it, or the store has done it.
fn receiver_is_done<M: Twin<Cache>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    match &letter.message {
        Message::Fetch { .. } => true,
        Message::Fetched { request, .. } | Message::Written { request, .. } => {
            !waits_for(to, *request)
        }
        Message::Write { request, .. } => to.durable().is_some_and(|disk| {
            (disk.latest.get(&letter.from)).is_some_and(|latest| request <= latest)
        }),
        Message::Voided { key, version } => to.up().is_none_or(|state| {
            let name = (key.clone(), *version);
            !state.volatile.rounds.contains_key(&name)
        }),
        Message::Void { .. } => false,
    }
}

fn right(name: &str, caches: usize, scripts: Scripts) -> Model<Cache> {
    world(name, caches, scripts, |right| right).purging(sender_is_done, receiver_is_done)
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, caches: usize, scripts: Scripts) -> Model<Flawed> {
    world(name, caches, scripts, move |right| Flawed { right, flaw })
}

/// The cache, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "cache",
        summary: "a read-through cache that says how old its answers are, and falls back when it may",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

const PUT_AND_GETS: Scripts = &[&[Ask::Put], &[CACHED, CACHED]];
const PUT_AND_CURRENT: Scripts = &[&[Ask::Put], &[CURRENTLY], &[CACHED]];
const PUT_AND_OLD: Scripts = &[&[Ask::Put], &[CACHED, OR_OLD]];
const GET_AND_FRESH: Scripts = &[&[CACHED, OR_FRESH]];
const GETS: Scripts = &[&[CACHED, CURRENTLY]];
const PUT_AND_GET: Scripts = &[&[Ask::Put], &[CURRENTLY]];
const PUT_THEN_GET: Scripts = &[&[Ask::Put, CACHED], &[CACHED]];
const TWO_PUTS: Scripts = &[&[Ask::Put], &[Ask::Put]];
const PUT_ALONE: Scripts = &[&[Ask::Put]];
const TWO_CURRENT: Scripts = &[&[Ask::Put], &[CURRENTLY, CURRENTLY]];

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(9_555, 35_943, || {
            let world = right("one-cache", 1, PUT_AND_GETS);
            let world = world.says("a cache; one client puts, another gets twice");
            let world = shows(world, "a put is everywhere", Sight::Everywhere);
            let world = shows(world, "a put is not everywhere", Sight::NotEverywhere);
            shows(
                world,
                "a get is behind, and within its bound",
                Sight::Behind,
            )
        }),
        Claimed::holds(401_305, 2_269_333, || {
            let world = right("two-caches", 2, PUT_THEN_GET);
            let world = world.says("two caches; one client puts and then gets, another gets");
            shows(world, "a put is everywhere", Sight::Everywhere)
        }),
        Claimed::holds(21_659, 95_585, || {
            let world = right("current", 1, PUT_AND_CURRENT);
            let world = world.says(
                "a cache; one client puts, one gets what it has, and one asks for the store's own answer",
            );
            shows(world, "a get is not answered", Sight::Unanswered)
        }),
        Claimed::holds(10_686, 40_228, || {
            let world = right("falls-back", 1, PUT_AND_OLD);
            let world = world.says(
                "a cache; one client puts, another gets, and then takes an older value if need be",
            );
            shows(world, "a get falls back", Sight::FellBack)
        }),
        Claimed::holds(50_790, 209_649, || {
            right("crash", 1, PUT_AND_OLD)
                .says("the same, and one crash of any")
                .crashes(NodeSet::first(2), 1)
        }),
        Claimed::holds(25_785, 131_951, || {
            right("two-puts", 2, TWO_PUTS)
                .says("two caches, two clients that put; one crash of any")
                .crashes(NodeSet::first(3), 1)
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(EVERYWHERE, 9, || {
            flawed(Flaw::StaleSet, "stale-set", 1, PUT_AND_GETS).says(
                "what was asked for before the cache let go is kept when it comes: a stale set",
            )
        }),
        Claimed::falls(EVERYWHERE, 7, || {
            flawed(Flaw::AtOnce, "said-at-once", 1, PUT_AND_GETS)
                .says("a put is said to be everywhere before caches have let go")
        }),
        Claimed::falls(EVERYWHERE, 8, || {
            flawed(Flaw::SilentIsGone, "silent-is-gone", 1, PUT_AND_GETS)
                .says("a cache that does not answer in time is taken for empty")
        }),
        Claimed::falls(AGE, 7, || {
            flawed(Flaw::AgeFromAnswer, "age-from-answer", 1, PUT_AND_GETS)
                .says("the age is counted from the answer, not from the asking")
        }),
        Claimed::falls(AGE, 7, || {
            flawed(Flaw::NeverAges, "never-ages", 1, PUT_AND_GETS)
                .says("what the cache has stays as young as it was")
        }),
        Claimed::falls(BOUND, 5, || {
            flawed(Flaw::Unasked, "falls-back-unasked", 1, GETS)
                .says("when the store is silent, whoever asks gets what there is")
        }),
        Claimed::falls(BOUND, 6, || {
            flawed(Flaw::TooOld, "falls-back-too-far", 1, GET_AND_FRESH)
                .says("who allows something older gets whatever there is")
        }),
        Claimed::falls(CURRENT, 7, || {
            flawed(Flaw::SaysCurrent, "says-current", 1, PUT_AND_OLD)
                .says("what is there when the store is silent is passed off as its answer")
        }),
        Claimed::falls(CURRENT, 6, || {
            flawed(Flaw::JoinsAny, "joins-any", 1, PUT_AND_CURRENT).says(
                "who wants the store's own answer gets one that was asked for before the call",
            )
        }),
        Claimed::falls(CURRENT, 8, || {
            flawed(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                1,
                TWO_CURRENT,
            )
            .says("after a restart the names of requests begin anew")
            .crashes(NodeSet::first(2), 1)
        }),
        Claimed::falls(NEVER_BACK, 8, || {
            flawed(Flaw::AnyAnswer, "any-answer", 1, TWO_CURRENT)
                .says("an answer to an earlier request will do")
        }),
        Claimed::falls(DONE_ONCE, 3, || {
            flawed(Flaw::PutsAgain, "puts-again", 1, PUT_ALONE)
                .says("the store puts what arrives, as often as it arrives")
        }),
        Claimed::falls(CALLS_RETURN, 1, || {
            flawed(Flaw::NoPatience, "no-patience", 1, PUT_AND_GET)
                .says("the store is waited for without end")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::falls(WHAT_WAS_PUT, 6, || {
        world("lying-disk", 1, TWO_PUTS, |right| right)
            .says("a disk forgets what it acknowledged, and the store gives its version to another value")
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
        purge::obligations(|| right("purged", 1, PUT_AND_GET))?,
        purge::obligations(|| right("purged", 1, PUT_ALONE).crashes(NodeSet::first(2), 1))?,
    ])
}
