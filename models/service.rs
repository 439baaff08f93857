//! What is claimed of [`quorate::service`]: its worlds, its promises, and the flaws that refute them.

use std::collections::BTreeSet;
use std::fmt;

use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId};
use quorate::service::{
    Add, BreakerLimits, Call, Counting, Event, Message, Outcome, Refusal, Request, RetryLimits,
    Service, Session, Stage, Tenant,
};

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::{Breaches, Ghost};
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::world::{Disk, World};

mod flaws;

use flaws::{Flaw, Flawed};

/// No request is executed twice, nor one that nobody made.
pub const DONE_ONCE: &str = "done once";
/// Whoever is answered is answered the result of the one execution.
pub const ONE_RESULT: &str = "one result";
/// Another request of the same name is refused, and not done.
pub const A_NAME: &str = "a name is for one request";
/// While the breaker is open nothing is sent.
pub const OPEN: &str = "open means no attempt";
/// While it is half open no more than so many attempts of the present generation are under way.
pub const FEW_PROBES: &str = "a few probes";
/// Only an attempt of the present generation closes it, and only when it is half open.
pub const CLOSED_BY: &str = "closed by its own generation";
/// No tenant has more under way than its share.
pub const SHARES: &str = "shares are kept";
/// Who is shed has its own share under way.
pub const NOBODY_SHED: &str = "nobody is shed for another";
/// Retries are no more than what calls paid for, and what was saved at first.
pub const PAID: &str = "retries are paid for";
/// In the calm every call at a live caller ends.
pub const CALLS_RETURN: &str = "calls return";
/// In the calm nothing is under way, every place is given back and the breaker lets something through.
pub const NOTHING_LEFT: &str = "nothing is left behind";

/// What observers know of one caller.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Caller {
    /// The stage of its breaker, if that is not closed.
    open: Option<HalfOrNot>,
    generation: u64,
    /// Calls under way, each with the generation of its last attempt.
    under_way: Map<u64, u64>,
    begun: u32,
    retries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HalfOrNot {
    Open,
    Half,
}

/// What was asked, what was done, and what callers said.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Book {
    asked: Map<u64, (Tenant, Request)>,
    done: Map<Session, (Add, i64)>,
    callers: Map<NodeId, Caller>,
    limits: Option<Limits>,
    broken: Breaches,
    seen: BTreeSet<Sight>,
}

/// What callers are held to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Limits {
    probes_max: usize,
    share: usize,
    retry: RetryLimits,
}

/// What shows that the world is not hollow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Sight {
    Repeated,
    Conflict,
    Collected,
    Reopened,
    Closed,
    Shed,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done: Vec<String> = (self.done.iter())
            .map(|(session, (add, sum))| {
                let Session { client, serial } = session;
                format!(
                    "request {serial} of client {client} added {} to make {sum}",
                    add.by
                )
            })
            .collect();
        let done = if done.is_empty() {
            "nothing was done".to_owned()
        } else {
            done.join(", ")
        };
        write!(f, "{done}")?;
        for (node, caller) in &self.callers {
            let stage = match caller.open {
                None => "closed",
                Some(HalfOrNot::Open) => "open",
                Some(HalfOrNot::Half) => "half open",
            };
            let count = caller.under_way.len();
            write!(
                f,
                "; {node}: {count} under way, {stage} in generation {}",
                caller.generation
            )?;
        }
        write!(f, "{}", self.broken)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Book {
    fn ticket(call: &Call) -> Option<u64> {
        Some(call.ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Returned { ticket, .. }
            | Event::Unknown { ticket }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Attempted { .. }
            | Event::Closed { .. }
            | Event::Opened { .. }
            | Event::Cooled { .. }
            | Event::Executed { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        self.asked.insert(call.ticket, (call.tenant, call.request));
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Executed {
                session,
                operation,
                result,
            } => self.executed(*session, *operation, *result),
            Event::Attempted {
                ticket,
                attempt,
                generation,
            } => self.attempted(node, *ticket, *attempt, *generation),
            Event::Opened { generation } => {
                let half = self.caller(node).open == Some(HalfOrNot::Half);
                self.sees(half, Sight::Reopened);
                self.turns(node, Some(HalfOrNot::Open), *generation);
            }
            Event::Cooled { generation } => self.turns(node, Some(HalfOrNot::Half), *generation),
            Event::Closed { by, generation } => {
                let caller = self.caller(node);
                let fair = caller.open == Some(HalfOrNot::Half) && *by == caller.generation;
                self.broken.note(!fair, CLOSED_BY);
                self.sees(true, Sight::Closed);
                self.turns(node, None, *generation);
            }
            Event::Returned { ticket, outcome } => {
                self.returned(*ticket, *outcome);
                self.caller(node).under_way.remove(ticket);
            }
            Event::Unknown { ticket } => {
                self.caller(node).under_way.remove(ticket);
            }
            Event::Refused { ticket, refusal } => {
                if *refusal == Refusal::Shed {
                    self.shed(node, *ticket);
                }
            }
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        self.callers.remove(&node);
    }
}

impl Book {
    fn caller(&mut self, node: NodeId) -> &mut Caller {
        self.callers.entry_or_insert_with(node, Caller::default)
    }

    fn sees(&mut self, seen: bool, sight: Sight) {
        if seen {
            self.seen.insert(sight);
        }
    }

    fn turns(&mut self, node: NodeId, open: Option<HalfOrNot>, generation: u64) {
        let caller = self.caller(node);
        caller.open = open;
        caller.generation = generation;
    }

    fn executed(&mut self, session: Session, operation: Add, sum: i64) {
        let asked = |(_, request): &(Tenant, Request)| {
            (request.session, request.operation) == (session, operation)
        };
        let made = self.asked.values().any(asked);
        let before = self.done.get(&session).copied();
        self.broken
            .note(before.is_some_and(|(done, _)| done != operation), A_NAME);
        self.broken.note(!made || before.is_some(), DONE_ONCE);
        if before.is_none() {
            self.done.insert(session, (operation, sum));
        }
    }

    fn attempted(&mut self, node: NodeId, ticket: u64, attempt: u32, generation: u64) {
        let Some(limits) = self.limits else {
            return;
        };
        let caller = self.caller(node);
        caller.under_way.insert(ticket, generation);
        caller.begun += u32::from(attempt == 1);
        caller.retries += u32::from(attempt > 1);
        let caller = caller.clone();
        let now = caller.generation;
        let probes = caller.under_way.values();
        let probes = probes.filter(|admitted| **admitted == now).count();
        let paid = limits.retry.saved_percent_max + caller.begun * limits.retry.earned_percent;
        let tenant = self.asked.get(&ticket).map(|(tenant, _)| *tenant);
        let crowd = tenant.map_or(0, |tenant| self.of_tenant(node, tenant));
        let half = caller.open == Some(HalfOrNot::Half);
        self.broken.note(caller.open == Some(HalfOrNot::Open), OPEN);
        self.broken
            .note(half && probes > limits.probes_max, FEW_PROBES);
        self.broken.note(caller.retries * 100 > paid, PAID);
        self.broken.note(crowd > limits.share, SHARES);
    }

    fn of_tenant(&self, node: NodeId, tenant: Tenant) -> usize {
        let under_way = self
            .callers
            .get(&node)
            .map(|caller| caller.under_way.keys());
        let theirs = |ticket: &&u64| self.asked.get(*ticket).is_some_and(|it| it.0 == tenant);
        under_way.into_iter().flatten().filter(theirs).count()
    }

    fn returned(&mut self, ticket: u64, outcome: Outcome) {
        let Some((_, request)) = self.asked.get(&ticket).copied() else {
            return;
        };
        let done = self.done.get(&request.session).copied();
        let ours = done.filter(|(operation, _)| *operation == request.operation);
        match outcome {
            Outcome::Done(sum) => {
                self.broken.note(done.is_some() && ours.is_none(), A_NAME);
                self.broken
                    .note(ours.is_none_or(|(_, result)| result != sum), ONE_RESULT);
                let others = self
                    .asked
                    .iter()
                    .filter(|(other, (_, of))| **other != ticket && of.session == request.session);
                let repeated = others.count() > 0;
                self.sees(repeated, Sight::Repeated);
            }
            Outcome::Conflict => self.sees(true, Sight::Conflict),
            Outcome::Collected => self.sees(true, Sight::Collected),
            Outcome::Declined => {}
        }
    }

    fn shed(&mut self, node: NodeId, ticket: u64) {
        let share = self.limits.map_or(0, |limits| limits.share);
        let tenant = self.asked.get(&ticket).map(|(tenant, _)| *tenant);
        let under_way = tenant.map_or(0, |tenant| self.of_tenant(node, tenant));
        self.broken.note(under_way < share, NOBODY_SHED);
        self.sees(true, Sight::Shed);
    }
}

/// A request of a client: its serial, how much it adds, and from which serial on results are needed.
#[derive(Clone, Copy)]
struct Ask {
    client: u64,
    serial: u64,
    by: i64,
    acknowledged: u64,
}

const fn ask(client: u64, serial: u64, by: i64) -> Ask {
    Ask {
        client,
        serial,
        by,
        acknowledged: 0,
    }
}

/// What is asked, by whom: a list for each client of the world, each of one tenant.
type Scripts = &'static [(u32, &'static [Ask])];

/// How callers are set up.
#[derive(Clone, Copy)]
struct Setting {
    callers: usize,
    attempts_max: u32,
    earned_percent: u32,
    saved_percent_max: u32,
    failures_max: u32,
    probes_max: u32,
    share: u32,
}

/// One caller that tries once, and no limits that matter.
const PLAIN: Setting = Setting {
    callers: 1,
    attempts_max: 1,
    earned_percent: 0,
    saved_percent_max: 0,
    failures_max: 9,
    probes_max: 1,
    share: 9,
};

const SERVER: NodeId = NodeId(0);

impl Setting {
    fn retry(self) -> RetryLimits {
        RetryLimits {
            attempts_max: self.attempts_max,
            earned_percent: self.earned_percent,
            saved_percent_max: self.saved_percent_max,
            wait_ms: 50,
            wait_ms_max: 200,
        }
    }

    fn machine(self, me: NodeId) -> Service {
        Service {
            work: Counting,
            me,
            server: SERVER,
            retry: self.retry(),
            breaker: BreakerLimits {
                failures_max: self.failures_max,
                probes_max: self.probes_max,
                cool_ms: 500,
            },
            share: self.share,
        }
    }

    fn book(self) -> Book {
        let limit = |limit: u32| usize::try_from(limit).expect("limits are small");
        Book {
            limits: Some(Limits {
                probes_max: limit(self.probes_max),
                share: limit(self.share),
                retry: self.retry(),
            }),
            ..Book::default()
        }
    }
}

type Model<M> = World<M, Book>;

/// A world in which everything is promised.
fn world<M: Twin<Service>>(
    name: &str,
    setting: Setting,
    scripts: Scripts,
    make: impl Fn(Service) -> M,
) -> Model<M> {
    let nodes = NodeSet::first(1 + setting.callers);
    let machines = nodes.iter().map(|me| make(setting.machine(me)));
    let callers = nodes.iter().filter(|node| *node != SERVER);
    let mut world = World::new(name, machines.collect(), setting.book()).doors(callers.collect());
    let mut tickets = 0..;
    for (tenant, asks) in scripts {
        world = world.client(asks.iter().zip(&mut tickets).map(|(ask, ticket)| Call {
            ticket,
            tenant: Tenant(*tenant),
            request: Request {
                session: Session {
                    client: ask.client,
                    serial: ask.serial,
                },
                acknowledged: ask.acknowledged,
                operation: Add { by: ask.by },
            },
        }));
    }
    let promises = [
        DONE_ONCE,
        ONE_RESULT,
        A_NAME,
        OPEN,
        FEW_PROBES,
        CLOSED_BY,
        SHARES,
        NOBODY_SHED,
        PAID,
    ];
    for promise in promises {
        world = world.always_told(promise, move |told| !told.ghost.broken.of(promise));
    }
    world
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .recovers(NOTHING_LEFT, ROUNDS, nothing_is_left)
        .sometimes_told("all that was asked is done", |told| {
            let mut asked = told.ghost.asked.values();
            !told.ghost.asked.is_empty()
                && asked.all(|(_, request)| told.ghost.done.contains_key(&request.session))
        })
}

/// How many alarms may ring in a calm: one for each attempt, and one for the breaker each time.
const ROUNDS: u32 = 12;

fn nothing_is_left<M: Twin<Service>>(snapshot: &Snapshot<M, Book>) -> bool {
    snapshot.nodes.iter().all(|node| {
        node.up().is_some_and(|state| {
            let volatile = &state.volatile;
            let lets_through = match volatile.breaker.stage {
                Stage::Closed { .. } => true,
                Stage::Open => false,
                Stage::HalfOpen { probes } => probes == 0,
            };
            lets_through && volatile.pending.is_empty() && volatile.bulkhead.total() == 0
        })
    })
}

fn is_pending<M: Twin<Service>>(node: &Node<M>, ticket: u64) -> bool {
    (node.up()).is_some_and(|state| state.volatile.pending.contains_key(&ticket))
}

/// True if the caller has its answer, or waits no longer.
fn sender_is_done<M: Twin<Service>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match letter.message {
        Message::Try { ticket, .. } => !is_pending(from, ticket),
        Message::Tried { .. } => true,
    }
}

/// True if the server would only answer, or the caller would not listen.
fn receiver_is_done<M: Twin<Service>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    match letter.message {
        Message::Try { request, .. } => (to.durable())
            .is_some_and(|disk| disk.sessions.knows(request.session) && request.acknowledged == 0),
        Message::Tried { ticket, .. } => !is_pending(to, ticket),
    }
}

fn right(name: &str, setting: Setting, scripts: Scripts) -> Model<Service> {
    world(name, setting, scripts, |right| right).purging(sender_is_done, receiver_is_done)
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, setting: Setting, scripts: Scripts) -> Model<Flawed> {
    world(name, setting, scripts, move |right| Flawed { right, flaw })
}

/// The service, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "service",
        summary: "a service and its callers: sessions, retries, breaker and bulkhead",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

/// Two callers, and a client that asks the same again of whichever it likes.
const AGAIN: Scripts = &[(0, &[ask(1, 1, 5), ask(1, 1, 5)]), (0, &[ask(2, 1, 5)])];
/// Two clients that use one name for two requests.
const ONE_NAME: Scripts = &[(0, &[ask(1, 1, 5)]), (0, &[ask(1, 1, 7), ask(1, 1, 5)])];
/// The second request says that the first is answered; and then the first is asked again.
const COLLECTED: Scripts = &[(
    0,
    &[
        ask(1, 1, 5),
        Ask {
            acknowledged: 2,
            ..ask(1, 2, 7)
        },
        ask(1, 1, 5),
    ],
)];
/// So many clients with a request each.
const THREE: Scripts = &[
    (0, &[ask(1, 1, 1)]),
    (0, &[ask(2, 1, 1)]),
    (0, &[ask(3, 1, 1)]),
];
const TWO_EACH: Scripts = &[
    (0, &[ask(1, 1, 1), ask(1, 2, 1)]),
    (0, &[ask(2, 1, 1), ask(2, 2, 1)]),
];
const TWO: Scripts = &[(0, &[ask(1, 1, 1)]), (0, &[ask(2, 1, 1)])];
/// Two clients of one tenant, and one of another.
const TENANTS: Scripts = &[
    (0, &[ask(1, 1, 1), ask(1, 2, 1)]),
    (0, &[ask(2, 1, 1)]),
    (1, &[ask(3, 1, 1)]),
];

const SESSIONS: Setting = Setting {
    callers: 2,
    attempts_max: 2,
    saved_percent_max: 100,
    ..PLAIN
};
const BREAKER: Setting = Setting {
    failures_max: 1,
    ..PLAIN
};
const TENANTED: Setting = Setting { share: 1, ..PLAIN };
const BUDGET: Setting = Setting {
    attempts_max: 3,
    earned_percent: 50,
    saved_percent_max: 100,
    ..PLAIN
};
const COMPOSED: Setting = Setting {
    callers: 2,
    attempts_max: 2,
    earned_percent: 50,
    saved_percent_max: 100,
    failures_max: 2,
    probes_max: 1,
    share: 1,
};

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(15_509, 68_209, || sessions("sessions")),
        Claimed::holds(4_688, 16_311, || {
            conflict(right("one-name", SESSIONS, ONE_NAME))
                .says("two callers that try twice; two clients use one name for two requests")
        }),
        Claimed::holds(1_233, 2_781, || {
            right("collected", SESSIONS, COLLECTED)
                .says("two callers that try twice; a request is asked again when its result is no longer kept")
                .sometimes_told("a result is no longer kept", |told| told.ghost.seen.contains(&Sight::Collected))
        }),
        Claimed::holds(3_496, 7_581, || {
            breaks(right("breaker", BREAKER, TWO_EACH))
                .says("one caller that stops trying after one failure, and probes with one; four requests of two clients")
        }),
        Claimed::holds(5_630, 14_432, || {
            breaks(right(
                "two-probes",
                Setting {
                    probes_max: 2,
                    ..BREAKER
                },
                TWO_EACH,
            ))
            .says("the same, and it probes with two")
        }),
        Claimed::holds(2_468, 6_478, || {
            sheds(right("tenants", TENANTED, TENANTS))
                .says("one caller with a place for each of two tenants; three clients")
        }),
        Claimed::holds(10_214, 48_043, || {
            right("budget", BUDGET, THREE)
                .says("one caller that tries three times, with savings for one retry; three clients, who pay for another")
                .sometimes_told("a retry is paid for by calls", |told| {
                    told.ghost
                        .callers
                        .values()
                        .any(|caller| caller.retries == 2)
                })
        }),
        Claimed::holds(70_904, 298_261, || composed("composed")),
    ]
}

fn sessions(name: &str) -> Model<Service> {
    again(right(name, SESSIONS, AGAIN))
        .says("two callers that try twice; a client asks the same again; one crash of any")
        .crashes(NodeSet::first(3), 1)
}

fn composed(name: &str) -> Model<Service> {
    sheds(right(name, COMPOSED, THREE))
        .says("two callers with all of it; three clients, one crash of any")
        .crashes(NodeSet::first(3), 1)
        .sometimes_told("a breaker opens", |told| {
            told.ghost
                .callers
                .values()
                .any(|caller| caller.open.is_some())
        })
}

fn again<M: Twin<Service>>(world: Model<M>) -> Model<M> {
    world.sometimes_told("a request that was done is answered again", |told| {
        told.ghost.seen.contains(&Sight::Repeated)
    })
}

fn conflict<M: Twin<Service>>(world: Model<M>) -> Model<M> {
    world.sometimes_told("a request is refused for its name", |told| {
        told.ghost.seen.contains(&Sight::Conflict)
    })
}

fn breaks<M: Twin<Service>>(world: Model<M>) -> Model<M> {
    world
        .sometimes_told("a probe closes the breaker", |told| {
            told.ghost.seen.contains(&Sight::Closed)
        })
        .sometimes_told("a probe fails", |told| {
            told.ghost.seen.contains(&Sight::Reopened)
        })
}

fn sheds<M: Twin<Service>>(world: Model<M>) -> Model<M> {
    world.sometimes_told("a call is shed", |told| {
        told.ghost.seen.contains(&Sight::Shed)
    })
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(DONE_ONCE, 3, || {
            flawed(Flaw::NoRecords, "no-records", SESSIONS, TWO)
                .says("the server does what arrives, as the textbook's stores do")
        }),
        Claimed::falls(DONE_ONCE, 5, || {
            flawed(Flaw::RecordsNotKept, "records-not-kept", SESSIONS, TWO)
                .says("the records are in memory, and the effects on disk")
                .crashes(NodeSet::first(1), 1)
        }),
        Claimed::falls(ONE_RESULT, 5, || {
            flawed(Flaw::BySerialAlone, "by-serial-alone", SESSIONS, TWO)
                .says("requests are told by their serial, whosever they are")
        }),
        Claimed::falls(A_NAME, 5, || {
            flawed(Flaw::AnyPayload, "any-payload", SESSIONS, ONE_NAME)
                .says("a request is taken for another of its name, whatever it asks")
        }),
        Claimed::falls(DONE_ONCE, 6, || {
            flawed(
                Flaw::CollectedIsFresh,
                "collected-is-fresh",
                SESSIONS,
                COLLECTED,
            )
            .says("a request whose record is gone is taken for a new one")
        }),
        Claimed::falls(ONE_RESULT, 6, || {
            flawed(Flaw::LatestResult, "latest-result", SESSIONS, TWO)
                .says("who asks again is told the sum of now")
        }),
        Claimed::falls(DONE_ONCE, 3, || {
            flawed(Flaw::FreshNames, "fresh-names", SESSIONS, TWO)
                .says("each attempt has a name of its own")
        }),
        Claimed::falls(FEW_PROBES, 5, || {
            flawed(Flaw::AllProbe, "all-probe", BREAKER, THREE)
                .says("a half open breaker admits everyone")
        }),
        Claimed::falls(NOTHING_LEFT, 4, || {
            flawed(Flaw::LostProbe, "lost-probe", BREAKER, TWO)
                .says("a probe that is lost keeps its place")
        }),
        Claimed::falls(CLOSED_BY, 5, || {
            flawed(Flaw::OldResults, "old-results", BREAKER, TWO)
                .says("the answer to an attempt that began before the breaker opened closes it")
        }),
        Claimed::falls(OPEN, 2, || {
            flawed(
                Flaw::RetriesPass,
                "retries-pass",
                Setting {
                    attempts_max: 2,
                    saved_percent_max: 100,
                    ..BREAKER
                },
                TWO,
            )
            .says("a retry does not ask the breaker")
        }),
        Claimed::falls(NOTHING_LEFT, 1, || {
            flawed(Flaw::PlaceLeaks, "place-leaks", TENANTED, TWO)
                .says("a call that is given up keeps its place")
        }),
        Claimed::falls(SHARES, 6, || {
            flawed(Flaw::GivenBackTwice, "given-back-twice", TENANTED, TENANTS)
                .says("a late answer gives a place back that is not its own")
        }),
        Claimed::falls(NOBODY_SHED, 2, || {
            flawed(Flaw::OnePool, "one-pool", TENANTED, TENANTS).says("tenants share their places")
        }),
        Claimed::falls(PAID, 3, || {
            flawed(Flaw::NoBudget, "no-budget", BUDGET, TWO)
                .says("every call is tried three times, whatever else fails")
        }),
        Claimed::falls(CALLS_RETURN, 1, || {
            flawed(Flaw::NoTimeout, "no-timeout", PLAIN, TWO)
                .says("an attempt is waited for without end")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::falls(DONE_ONCE, 5, || {
        world("lying-disk", SESSIONS, TWO, |right| right)
            .says("a disk forgets what it acknowledged, so that an answer precedes the write")
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
    let one = Setting {
        callers: 1,
        ..SESSIONS
    };
    Ok(vec![
        purge::obligations(move || right("purged", one, TWO).crashes(NodeSet::first(2), 1))?,
        purge::obligations(move || right("purged", one, COLLECTED))?,
        purge::obligations(move || right("purged", one, ONE_NAME))?,
        purge::obligations(move || {
            let breaks = Setting {
                failures_max: 2,
                ..one
            };
            right("purged", breaks, TWO)
        })?,
    ])
}

/// The same, of a machine for which the rule is wrong: to one that keeps no records, no request is
/// dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| {
        flawed(Flaw::NoRecords, "purged", SESSIONS, TWO).purging(sender_is_done, receiver_is_done)
    })
}
