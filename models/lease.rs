//! What is claimed of [`quorate::lease`]: its worlds, its promises, and the flaws that refute them.
//!
//! Terms are counted by [`clocked`](crate::clocked) alarms: a tick is a millisecond here, and a term has three. How far
//! clocks may differ is what the [`ledger`] knows; a run in which they differ by more is not left out,
//! for there all is promised but *one holder at a time*.

use std::ops::Range;
use std::sync::Arc;

use quorate::data::NodeSet;
use quorate::lease::{Call, Lease, Timer};
use quorate::machine::NodeId;

use crate::calm;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::clocked::{Clocked, Count, Timing};
use crate::flaw::Twin;
use crate::promise::Condition;
use crate::snapshot::{Client, Snapshot, nobody_waits};
use crate::world::{Disk, World};

mod flaws;
pub mod ledger;

use flaws::{Flaw, Flawed};
use ledger::{Clocks, Ledger};

/// No two nodes hold at once, while clocks are as good as is assumed.
pub const ONE_HOLDER: &str = "one holder at a time";
/// Each lease begins by a token larger than all before.
pub const LARGER: &str = "each lease has a larger token";
/// The resource never accepts a smaller token than one it has accepted.
pub const NEVER_FALL: &str = "accepted tokens never fall";
/// Once a later holder has written, an earlier one no longer does.
pub const NO_INTERLEAVING: &str = "holders do not interleave";
/// A write is refused only for a larger token.
pub const ONLY_DEPOSED: &str = "only the deposed are refused";
/// In the calm a node that alone asks gets the lease, whoever held it and crashed.
pub const PASSES_ON: &str = "a lease passes on";
/// In the calm every call at a live node returns.
pub const CALLS_RETURN: &str = "calls return";

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Clocked<M, Terms>, Ledger>;

/// Who may hold.
const HOLDERS: usize = 2;
/// Who grants.
const AUTHORITY: NodeId = NodeId(2);
/// What is fenced.
const RESOURCE: NodeId = NodeId(3);
/// Ticks of a term.
const TERM: u64 = 3;
/// How many fewer a holder's clock may tick in a term.
const DRIFT: u64 = 1;
/// The ticket of the call that is to acquire in the calm: that of the last client.
const HEIR: u64 = 1000;

/// How alarms may ring in the calm. Ticks are alarms, too.
const ROUNDS: u32 = 80;

/// The bounds of a world.
#[derive(Clone, Copy)]
struct Bounds {
    /// What each client calls, one after the other: *A*cquire, *R*enew, *W*rite.
    clients: &'static [&'static str],
    /// How often one call to acquire asks.
    attempts: u32,
    /// How many crashes there may be, of any node that takes part.
    crashes: u32,
    /// How many ticks a clock loses in a term without being bad.
    drift: u64,
}

const fn bounds(clients: &'static [&'static str], attempts: u32, crashes: u32) -> Bounds {
    Bounds {
        clients,
        attempts,
        crashes,
        drift: DRIFT,
    }
}

impl Bounds {
    fn calls(self, letter: char) -> usize {
        let calls = self.clients.iter().flat_map(|script| script.chars());
        calls.filter(|call| *call == letter).count()
    }
}

/// The calls of one client. A write's value says whose it is, and which.
fn script(client: usize, letters: &str) -> Vec<Call> {
    let call = |(place, letter): (usize, char)| {
        let ticket = u64::try_from(10 * client + place).expect("a few");
        match letter {
            'A' => Call::Acquire { ticket },
            'R' => Call::Renew { ticket },
            _ => Call::Write {
                ticket,
                value: ticket.to_string(),
            },
        }
    };
    letters.chars().enumerate().map(call).collect()
}

/// What *one holder at a time* rests on is when two alarms ring: after as many ticks as the machine says
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms;

impl<M: Twin<Lease>> Timing<M> for Terms {
    fn count(&self, machine: &M, timer: &Timer) -> Option<Count> {
        match timer {
            Timer::Expire | Timer::Stop(_) => {
                let Range { start, end } = machine.delay(timer);
                let ticks = |delay: u128| u64::try_from(delay).expect("some milliseconds");
                Some(Count {
                    least: ticks(start.as_millis()),
                    most: Some(ticks(end.as_millis() - 1)),
                })
            }
            Timer::Retry | Timer::Again => None,
        }
    }
}

/// A world in which everything is promised.
fn world<M: Twin<Lease>>(name: &str, bounds: Bounds, make: impl Fn(Lease) -> M) -> Model<M> {
    scripted(name, bounds, None, make)
}

fn scripted<M: Twin<Lease>>(
    name: &str,
    bounds: Bounds,
    heir: Option<u64>,
    make: impl Fn(Lease) -> M,
) -> Model<M> {
    let holders = NodeSet::first(HOLDERS);
    let node = |me| {
        let machine = make(Lease {
            me,
            authority: AUTHORITY,
            resource: RESOURCE,
            holders,
            term_ms: TERM,
            drift_ms: DRIFT,
            attempts: bounds.attempts,
        });
        Clocked {
            machine,
            timing: Terms,
        }
    };
    let writes = bounds.calls('W') > 0;
    let nodes = NodeSet::first(HOLDERS + 1 + usize::from(writes));
    let clocks = Clocks {
        authority: AUTHORITY,
        term: TERM,
        drift: bounds.drift,
    };
    let mut world = World::new(
        name,
        nodes.iter().map(node).collect(),
        Ledger::new(clocks, heir),
    )
    .doors(holders)
    .crashes(nodes, bounds.crashes);
    for (client, letters) in bounds.clients.iter().enumerate() {
        world = world.client(script(client, letters));
    }
    if let Some(ticket) = heir {
        world = world.client([Call::Acquire { ticket }]);
    }
    promised(world, bounds)
}

/// What is promised of what was told, each beside an example of what it is about.
fn promised<M: Twin<Lease>>(world: Model<M>, bounds: Bounds) -> Model<M> {
    let mut world = world
        .always_told(ONE_HOLDER, |told| !told.ghost.overlapped)
        .always_told(LARGER, |told| !told.ghost.reused)
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .sometimes_told("a second lease begins, while clocks are good", |told| {
            told.ghost.is_second() && !told.ghost.drifted
        })
        .sometimes_told("two hold at once, for a clock was too slow", |told| {
            told.ghost.overlapped_by_drift
        });
    if bounds.calls('R') > 0 {
        world = world.sometimes_told("a lease is extended, and passes on", |told| {
            told.ghost.extended && told.ghost.is_second()
        });
    }
    if bounds.calls('W') == 0 {
        return world;
    }
    world
        .always_told(NEVER_FALL, |told| !told.ghost.fell)
        .always_told(NO_INTERLEAVING, |told| !told.ghost.interleaved)
        .always_told(ONLY_DEPOSED, |told| !told.ghost.refused_wrongly)
        .sometimes_told("two leases write", |told| told.ghost.has_passed_on())
        .sometimes_told("a write is refused, though clocks are good", |told| {
            told.ghost.refused && !told.ghost.drifted
        })
}

/// A world with an heir: a client that has not called yet. When all others have, and wait for nothing,
/// then in whatever state they left everything, crashed or not, the heir calls in the calm and gets the
/// lease.
///
/// Where the heir has called already this cannot be promised, for the adversary may have lost all that
/// it asked; nor where others still ask, for it may be they who get it. And the node that the heir is
/// to ask, which in the calm is the second, must not hold itself.
fn succession<M: Twin<Lease>>(
    name: &str,
    bounds: Bounds,
    make: impl Fn(Lease) -> M + Copy + Send + Sync + 'static,
) -> Model<M> {
    let heirs = scripted("heirs", bounds, Some(HEIR), make);
    let goal: Condition<Clocked<M, Terms>, Ledger> = Condition::Whole(Arc::new(
        |snapshot: &Snapshot<Clocked<M, Terms>, Ledger>| snapshot.ghost.inherited,
    ));
    let heir = bounds.clients.len();
    scripted(name, bounds, Some(HEIR), make)
        .always(PASSES_ON, move |snapshot| {
            let (others, last) = snapshot.clients.split_at(heir);
            let others_are_done = (others.iter().zip(bounds.clients))
                .all(|(client, calls)| client.waiting.is_none() && made(*client) == calls.len());
            let asks_itself = (snapshot.nodes[1].up())
                .is_some_and(|state| state.volatile.volatile.holding.is_some());
            let is_promised = others_are_done && last == [IDLE] && !asks_itself;
            !is_promised || calm::rounds(&heirs, snapshot, ROUNDS, &goal).is_some()
        })
        .sometimes(
            "a node that held has crashed, and the heir has not called",
            move |snapshot| {
                let is_owned = snapshot.disks().any(|(_, disk)| {
                    let grant = disk.authority.grant.as_ref();
                    grant.is_some_and(|grant| {
                        let owner = snapshot.node(grant.to);
                        owner.is_some_and(|owner| owner.up().is_none())
                    })
                });
                is_owned && snapshot.clients.get(heir) == Some(&IDLE)
            },
        )
}

/// How many calls it has made, of which none is under way.
fn made(client: Client) -> usize {
    usize::try_from(client.next).unwrap_or(usize::MAX)
}

/// A client that has not called.
const IDLE: Client = Client {
    next: 0,
    waiting: None,
};

/// Leases, their worlds and their flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "lease",
        summary: "leases and fencing: one holder while clocks are good, one writer whatever they are",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

fn right(name: &str, bounds: Bounds) -> Model<Lease> {
    // What is sent again is in the network already: it matters to promises of the calm alone.
    world(name, bounds, |right| right).never("ring Retry")
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(29_697, 107_753, || {
            right("calm", bounds(&["AW", "AW"], 1, 0))
                .says("two clients acquire and write, each at any of two nodes")
        }),
        Claimed::holds(213_484, 896_853, || {
            right("crash", bounds(&["AW", "AW"], 1, 1)).says("the same, and one crash of any")
        }),
        Claimed::holds(9_673, 33_857, || {
            right("renewal", bounds(&["AR", "A"], 1, 0))
                .says("one acquires and renews, one acquires")
        }),
        Claimed::holds(873_828, 3_756_315, || {
            right("renewal-crash", bounds(&["ARW", "AW"], 1, 1))
                .says("one acquires, renews and writes, one acquires and writes; one crash of any")
        }),
        Claimed::holds(780_251, 2_938_097, || {
            right("attempts", bounds(&["AW", "AW"], 2, 0))
                .says("two acquire and write; who gets nothing asks again, once")
        }),
        Claimed::holds_deep(831_576, 3_808_237, || {
            right("two-crashes", bounds(&["AW", "AW"], 1, 2))
                .says("two acquire and write; two crashes of any")
        }),
        Claimed::holds(475_434, 1_842_323, || {
            succession("succession", bounds(&["A"], 2, 1), |right| right)
                .never("ring Retry")
                .says(
                    "one acquires, and may crash; an heir acquires, if need be at a second attempt",
                )
        }),
    ]
}

fn flawed(flaw: Flaw, name: &str, bounds: Bounds) -> Model<Flawed> {
    world(name, bounds, move |right| Flawed { right, flaw })
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_HOLDER, 12, || {
            flawed(
                Flaw::StopsAtTerm,
                "stops-at-term",
                bounds(&["A", "A"], 1, 0),
            )
            .says("the holder stops after T by its own clock, not after T(1 - ρ)")
        }),
        Claimed::falls(ONE_HOLDER, 13, || {
            flawed(Flaw::NeverStops, "never-stops", bounds(&["A", "A"], 1, 0))
                .says("the holder holds until it is told otherwise, as the textbook's does")
        }),
        Claimed::falls(ONE_HOLDER, 12, || {
            flawed(
                Flaw::CountsFromAnswer,
                "counts-from-answer",
                bounds(&["A", "A"], 1, 0),
            )
            .says("the holder counts its term from when it hears that it has it")
        }),
        Claimed::falls(ONE_HOLDER, 13, || {
            flawed(Flaw::AnyAnswer, "any-answer", bounds(&["A", "A"], 2, 0))
                .says("the holder takes an answer to its first attempt for one to its second")
        }),
        Claimed::falls(ONE_HOLDER, 12, || {
            flawed(
                Flaw::ExtendsNothing,
                "extends-nothing",
                bounds(&["AR", "A"], 1, 0),
            )
            .says("the authority answers a renewal, and counts on as before")
        }),
        Claimed::falls(ONE_HOLDER, 8, || {
            flawed(
                Flaw::GrantForgotten,
                "grant-forgotten",
                bounds(&["A", "A"], 1, 1),
            )
            .says("the authority forgets in a crash that it has granted, and grants at once")
        }),
        Claimed::falls(ONE_HOLDER, 13, || {
            flawed(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                bounds(&["AA", "A"], 1, 1),
            )
            .says("a restarted node names its requests as it did before")
        }),
        Claimed::falls(LARGER, 10, || {
            flawed(Flaw::TokenReused, "token-reused", bounds(&["AA"], 1, 0))
                .says("who had the last lease gets its token again, after it was over")
        }),
        Claimed::falls(LARGER, 8, || {
            flawed(
                Flaw::TokenForgotten,
                "token-forgotten",
                bounds(&["A", "A"], 1, 1),
            )
            .says("the authority's tokens begin anew after a crash")
        }),
        Claimed::falls(NO_INTERLEAVING, 15, || {
            flawed(Flaw::NoFence, "no-fence", bounds(&["AW", "AW"], 1, 0))
                .says("the resource takes what arrives, as the textbook's stores do")
        }),
        Claimed::falls(NEVER_FALL, 14, || {
            flawed(
                Flaw::FenceForgotten,
                "fence-forgotten",
                bounds(&["AW", "AW"], 1, 1),
            )
            .says("the resource forgets in a crash which token it has accepted")
        }),
        Claimed::falls(ONLY_DEPOSED, 6, || {
            flawed(
                Flaw::FenceTooStrict,
                "fence-too-strict",
                bounds(&["AWW"], 1, 0),
            )
            .says("the resource accepts only a larger token than the last")
        }),
        Claimed::falls(PASSES_ON, 2, || {
            let flaw = Flaw::NeverExpires;
            succession("never-expires", bounds(&["A"], 2, 1), move |right| Flawed {
                right,
                flaw,
            })
            .says("a lease is over when its holder says so, which one that crashed does not: from here an heir asks in vain")
        }),
        Claimed::falls(PASSES_ON, 2, || {
            let flaw = Flaw::DenialIsFinal;
            succession("denial-is-final", bounds(&["A"], 2, 1), move |right| {
                Flawed { right, flaw }
            })
            .says("who is denied once does not ask again: from here an heir that is denied gets no lease, though it is over soon")
        }),
        Claimed::falls(CALLS_RETURN, 1, || {
            flawed(
                Flaw::WaitsWithoutEnd,
                "waits-without-end",
                bounds(&["A"], 1, 0),
            )
            .says("a request is sent once, and waited for without end")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_HOLDER, 11, || {
            let clocks = Bounds {
                drift: DRIFT + 1,
                ..bounds(&["A", "A"], 1, 0)
            };
            right("drift-past-the-bound", clocks)
                .says("a holder's clock loses more in a term than is allowed, and it is promised all the same")
        }),
        Claimed::falls(LARGER, 5, || {
            right("lying-disk", bounds(&["A", "A"], 1, 1))
                .says("the authority's disk forgets what it acknowledged")
                .crashes(NodeSet::from_iter([AUTHORITY]), 1)
                .disk(Disk::Lying)
        }),
        Claimed::falls(NEVER_FALL, 14, || {
            right("lying-resource", bounds(&["AW", "AW"], 1, 1))
                .says("the resource's disk forgets what it acknowledged")
                .crashes(NodeSet::from_iter([RESOURCE]), 1)
                .disk(Disk::Lying)
        }),
    ]
}
