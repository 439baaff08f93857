//! Reads by a lease, and clocks (thesis §6.4.1).
//!
//! Of a node two alarms are [timed](crate::clocked): that of the election, which rings after [`TIMEOUT`]
//! ticks or at any time later, and that of a lease, which rings after fewer by the allowed [`DRIFT`]. All
//! else rings when it likes, and each clock ticks as it likes. The [`Ledger`] watches by how much they
//! differ: nothing is promised once a follower has counted a timeout and the leader less than a lease.
//!
//! Each world begins once node 0 leads the first term and knows its first entry to be committed, with one
//! other member. Then it may begin rounds, and the others stand for the second term, which is the last.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::raft::{
    Call, Durable, ELECTION_MIN_MS, Elections, Message, Operation, Raft, Reads, Role, Session,
    Term, Timer, Volatile,
};

use super::past::ticket;
use super::{
    Bounded, Cluster, ELECTION_SAFETY, LINEARIZABLE, LastTerm, NO_OPS, NOBODY_AGAINST, Stands,
};
use crate::bounded::{self, Bound};
use crate::catalogue::{Claimed, Exhibit};
use crate::clocked::{Clocked, Count, Timing};
use crate::flaw::Twin;
use crate::world::World;

mod flaws;
mod ledger;

use flaws::{Flaw, Flawed};
use ledger::Ledger;

/// How many ticks an election timeout has at least.
const TIMEOUT: u64 = 3;
/// How many fewer a leader's clock may tick in that time.
const DRIFT: u64 = 1;
/// How many milliseconds the machine takes a tick for.
const TICK_MS: u32 = ELECTION_MIN_MS / 3;
/// Who leads at first.
const LEADER: NodeId = NodeId(0);

/// A world of members with clocks.
type Model<M> = World<Clocked<Member<M>, Timeouts>, Ledger>;

/// A member within bounds.
type Member<M> = bounded::Bounded<Bounded<M>, LastRound>;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Timeouts {
    /// Whether it matters when this node's election alarm rings.
    stands: bool,
}

impl<M: Twin<Raft>> Timing<M> for Timeouts {
    fn count(&self, machine: &M, timer: &Timer) -> Option<Count> {
        let ticks = |delay: Duration| {
            u64::try_from(delay.as_millis() / u128::from(TICK_MS)).expect("a few")
        };
        let Range { start, end } = machine.delay(timer);
        match timer {
            Timer::Election => self.stands.then(|| Count {
                least: ticks(start),
                most: None,
            }),
            // The last tick before it is over.
            Timer::Lease(_) => {
                let before = ticks(end.saturating_sub(Duration::from_millis(1)));
                Some(Count {
                    least: before,
                    most: Some(before),
                })
            }
            Timer::Heartbeat | Timer::Quorum | Timer::Transfer => None,
        }
    }

    fn is_told(&self, _: &Timer) -> bool {
        true
    }
}

/// How many rounds a leader begins by its heartbeats, in which term they end, and who does not hear them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LastRound {
    round: u64,
    term: Term,
    rival: Rival,
    /// The leader and node 2, which hear nothing of each other, but its first entry if need be.
    apart: bool,
}

impl<M: Twin<Raft>> Bound<M> for LastRound {
    fn is_beyond(&self, durable: &Durable, volatile: &Volatile, timer: &Timer) -> bool {
        let over = match &volatile.role {
            Role::Leader(leader) => self.round <= leader.round || self.term <= durable.term,
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => false,
        };
        *timer == Timer::Heartbeat && over
    }

    fn is_lost(&self, from: NodeId, message: &Message) -> bool {
        let is_first = matches!(message, Message::AppendEntries { round: 0, .. });
        let apart = match self.rival {
            Rival::Follower => true,
            Rival::Another => !is_first,
        };
        self.apart && from != NodeId(1) && apart
    }
}

/// Who stands against the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Rival {
    /// Node 1, which has promised not to vote. Node 2 votes at any time, unless it hears the leader.
    Follower,
    /// Node 2, and node 1 may vote for it.
    Another,
}

/// What a world has, and how far it goes.
#[derive(Clone, Copy)]
struct Bounds {
    rival: Rival,
    /// How many rounds are begun by heartbeats.
    rounds: u64,
    /// How often node 1 crashes.
    crashes: u32,
    /// Whether a client puts, by way of node 1, and another gets, by way of the leader.
    clients: bool,
    /// To whom the leader is asked to hand over.
    heir: Option<NodeId>,
    /// How many ticks the leader's clock loses in a timeout at most.
    drift: u64,
}

const ONE_ROUND: Bounds = Bounds {
    rival: Rival::Follower,
    rounds: 1,
    crashes: 0,
    clients: false,
    heir: None,
    drift: DRIFT,
};

const TWO_ROUNDS: Bounds = Bounds {
    rounds: 2,
    ..ONE_ROUND
};

const RIVAL: Bounds = Bounds {
    rival: Rival::Another,
    ..ONE_ROUND
};

const CRASH: Bounds = Bounds {
    crashes: 1,
    ..RIVAL
};

const HANDED_OVER: Bounds = Bounds {
    heir: Some(NodeId(1)),
    ..ONE_ROUND
};

const CLIENTS: Bounds = Bounds {
    clients: true,
    ..ONE_ROUND
};

const LEASED: Cluster = Cluster {
    elections: Elections::PreVote,
    reads: Reads::Lease { drift_ms: TICK_MS },
    ..NO_OPS
};

/// How node 0 comes to lead, and to know its entry to be committed. Node 1 has heard it, and node 2 has
/// promised nothing since it booted, long ago.
const BEGINNING: [&str; 14] = [
    "n0's alarm rings: Tick",
    "n0's alarm rings: Tick",
    "n0's alarm rings: Tick",
    "n1's alarm rings: Tick",
    "n1's alarm rings: Tick",
    "n1's alarm rings: Tick",
    "n0's alarm rings: Election",
    "n1's alarm rings: Election",
    "n1 hears from n0: RequestPreVote",
    "n0 hears from n1: PreVote",
    "n1 hears from n0: RequestVote",
    "n0 hears from n1: Vote",
    "n1 hears from n0: AppendEntries",
    "n0 hears from n1: Appended",
];

/// And how node 2 comes to have the entry, without which it could not be elected; long ago, too.
const AND_ANOTHER: [&str; 4] = [
    "n2 hears from n0: AppendEntries",
    "n2's alarm rings: Tick",
    "n2's alarm rings: Tick",
    "n2's alarm rings: Tick",
];

/// And how the leader comes to have a lease.
const AND_A_LEASE: [&str; 3] = [
    "n0's alarm rings: Heartbeat",
    "n1 hears from n0: AppendEntries { term: t1, previous: 1@t1, entries: [], commit: 1, round: 1",
    "n0 hears from n1: Appended { term: t1, matching: 1, round: 1",
];

fn leased<M: Twin<Raft>>(name: &str, bounds: Bounds, make: impl Fn(Raft) -> M) -> Model<M> {
    let last = Term(LEASED.terms);
    let member = |me: NodeId| {
        let stands = match (me.0, bounds.rival) {
            (1, _) | (2, Rival::Another) => Stands::Always,
            _ => Stands::For(Term(1)),
        };
        let machine = bounded::Bounded {
            inner: Bounded {
                inner: make(LEASED.raft(me)),
                bound: LastTerm { term: last, stands },
            },
            bound: LastRound {
                round: bounds.rounds,
                term: last,
                rival: bounds.rival,
                apart: me != NodeId(1),
            },
        };
        let stands = me == LEADER || stands == Stands::Always;
        Clocked {
            machine,
            timing: Timeouts { stands },
        }
    };
    let members = NodeSet::first(LEASED.members);
    let more: &[&str] = match bounds.rival {
        Rival::Follower if bounds.clients => &AND_A_LEASE,
        Rival::Follower => &[],
        Rival::Another => &AND_ANOTHER,
    };
    let beginning = [&BEGINNING[..], more].concat();
    let world = World::new(
        name,
        members.iter().map(member).collect(),
        Ledger::new(bounds.drift),
    );
    let mut world = world
        .crashes(NodeSet::from_iter([NodeId(1)]), bounds.crashes)
        .begins_after(&beginning)
        .assuming(
            "the leader's clock ticks as often as is allowed, or more, while a follower's counts a timeout",
            |ghost| !ghost.drifted,
        )
        .always_told(NOBODY_AGAINST, |told| !told.ghost.against)
        .always_told(ELECTION_SAFETY, |told| !told.ghost.clients.past.split)
        .sometimes_told("another leads after a lease", |told| told.ghost.followed);
    if bounds.clients {
        let (key, session) = (
            "x".to_owned(),
            Session {
                client: 0,
                serial: 1,
            },
        );
        let put = Call::Command {
            ticket: ticket(session, 0),
            session,
            operation: Operation::Put {
                key: key.clone(),
                value: "A".into(),
            },
        };
        let get = Call::Read {
            ticket: ticket(
                Session {
                    client: 1,
                    serial: 1,
                },
                0,
            ),
            key,
        };
        world = world
            .client_at(NodeSet::from_iter([NodeId(1)]), [put])
            .client_at(NodeSet::from_iter([LEADER]), [get])
            .always_told(LINEARIZABLE, |told| told.ghost.clients.linearizable)
            .sometimes_told("a read is answered by a lease", |told| told.ghost.read);
    }
    if let Some(to) = bounds.heir {
        let transfer = Call::Transfer { ticket: 1000, to };
        world = world.client_at(NodeSet::from_iter([LEADER]), [transfer]);
    }
    world
}

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(1_196_568, 9_745_133, || {
            leased("leases", TWO_ROUNDS, |right| right).says(
                "three members with clocks; a leader renews its lease by one of them, which stands against it",
            )
        }),
        Claimed::holds(2_333_576, 22_050_925, || {
            leased("leases-rival", RIVAL, |right| right)
                .says("the same with one round; both followers stand, and may vote for each other")
        }),
        Claimed::holds(11_302_672, 109_995_281, || {
            leased("leases-crash", CRASH, |right| right)
                .says("the same, and the one that promised crashes")
        }),
        Claimed::holds(6_789_756, 55_823_353, || {
            leased("leases-handed-over", HANDED_OVER, |right| right)
                .says("three members with clocks; a leader has a lease, and hands over")
        }),
        Claimed::holds(18_243_652, 176_124_745, || {
            leased("leases-read", CLIENTS, |right| right).says(
                "three members with clocks; a leader has a lease and is asked for what another may put",
            )
            // It has begun its round.
            .never("ring Heartbeat")
        }),
    ]
}

fn flawed(flaw: Flaw, name: &str, bounds: Bounds) -> Model<Flawed> {
    leased(name, bounds, move |right| Flawed { right, flaw })
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(NOBODY_AGAINST, 8, || {
            flawed(Flaw::VotesAllTheSame, "lease-without-promises", RIVAL).says(
                "those who hear a leader vote for another all the same, and it reads by a lease",
            )
        }),
        Claimed::falls(NOBODY_AGAINST, 14, || {
            flawed(Flaw::CountsFromAnswer, "lease-from-answer", ONE_ROUND)
                .says("a leader counts the time of its lease from when it was answered")
        }),
        Claimed::falls(NOBODY_AGAINST, 11, || {
            flawed(Flaw::AnyAnswer, "lease-by-any-answer", TWO_ROUNDS)
                .says("a leader takes an answer to one round for one to the next")
        }),
        Claimed::falls(NOBODY_AGAINST, 10, || {
            flawed(Flaw::PromiseForgotten, "promise-forgotten", CRASH)
                .says("a member that was restarted votes at once, whatever it promised before")
        }),
        Claimed::falls(NOBODY_AGAINST, 7, || {
            flawed(
                Flaw::KeepsLease,
                "lease-kept-by-who-hands-over",
                HANDED_OVER,
            )
            .says("a leader that told its heir to stand has its lease still")
        }),
        Claimed::falls(NOBODY_AGAINST, 8, || {
            flawed(Flaw::LeasesAgain, "lease-after-transfer", HANDED_OVER)
                .says("a leader whose heir did not stand in time has leases again, and the heir hears of it late")
        }),
        Claimed::falls(LINEARIZABLE, 17, || {
            let bounds = Bounds {
                drift: DRIFT + 1,
                ..CLIENTS
            };
            leased("lease-drift-past-the-bound", bounds, |right| right).says(
                "the leader's clock loses more than is allowed, and all is promised all the same",
            )
        }),
    ]
}
