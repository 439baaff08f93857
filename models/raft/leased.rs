//! Reads by a lease, which rest on clocks.
//!
//! A lease is sound if one alarm rings before another: that by which a leader ends the lease that a
//! round of heartbeats brought it, and that by which a follower who heard of the round forgets its
//! leader. Clocks of which one gains little on another see to that, however they run. So there are no
//! clocks here: alarms ring in any order, as in every world, and the ghost looks whether the order was
//! one that such clocks allow. A run in which it was not is not left out, for all else is promised in
//! it; and there a stale read can be seen.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::raft::{
    Call, Durable, Event, Heard, Leases, Message, Raft, Reads, Role, Term, Timer, Volatile,
};
use serde::{Deserialize, Serialize};

use super::past::Clients;
use super::{
    Cluster, ELECTION_SAFETY, LINEARIZABLE, NO_OPS, OWN_TERM, STATE_MACHINE_SAFETY, dead, scripts,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::ghost::Ghost;
use crate::purge::{self, Discharged};
use crate::world::World;

/// What is wrong, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flaw {
    /// Nothing.
    Right,
    /// Who hears a leader votes for another all the same.
    VotesThoughLed,
    /// Who restarts takes it that it has heard nobody.
    RestartsUnled,
    /// The lease begins when a round is answered, and not when it began.
    BeginsWithTheAnswer,
    /// A leader that was to hand over has leases again when it is not to any more.
    LeasesAfterHandover,
}

/// A member within the bounds of a world: node 0 stands in the first term and node 1 in the second, and
/// a leader begins so many rounds of its own accord.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leased {
    right: Raft,
    flaw: Flaw,
    rounds: u64,
}

/// What the member told, and what its alarms did.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Told {
    /// The member told this.
    Event(Event),
    /// The alarm that ends the lease of this round was armed.
    Began(u64),
    /// It rang.
    Over(u64),
    /// The alarm by which a follower forgets its leader was armed.
    Waits,
    /// It rang.
    Forgets,
}

/// As what the machine itself tells, for stories are read by people.
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => event.fmt(f),
            Self::Began(round) => write!(f, "the time of the lease of round {round} begins"),
            Self::Over(round) => write!(f, "the time of the lease of round {round} is over"),
            Self::Waits => write!(f, "an election timeout begins"),
            Self::Forgets => write!(f, "an election timeout is over"),
        }
    }
}

impl Leased {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Raft, &mut State<Raft>, &mut Outbox<Raft>),
    ) {
        let mut inner = State {
            durable: state.durable.clone(),
            volatile: state.volatile.clone(),
        };
        let mut said = Outbox::default();
        act(&self.right, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile = inner.volatile;
        Self::pass_on(&mut said, out);
    }

    fn pass_on(said: &mut Outbox<Raft>, out: &mut Outbox<Self>) {
        for output in said.drain() {
            match output {
                Output::Send { to, message } => out.send(to, message),
                Output::Event(event) => out.tell(Told::Event(event)),
                Output::Arm(timer) => {
                    if let Timer::Lease(round) = timer {
                        out.tell(Told::Began(round));
                    }
                    out.arm(timer);
                }
                Output::Disarm(timer) => {
                    if let Timer::Lease(round) = timer {
                        out.tell(Told::Over(round));
                    }
                    out.disarm(timer);
                }
            }
        }
    }

    /// True if this alarm leads out of the bounds.
    fn is_beyond(&self, state: &State<Self>, timer: Timer) -> bool {
        match (timer, &state.volatile.role) {
            (Timer::Election, _) => {
                state.durable.term != Term(self.right.me.0) || self.right.me.0 > 1
            }
            (Timer::Heartbeat, Role::Leader(leader)) => self.rounds <= leader.round,
            (Timer::Heartbeat | Timer::Quorum | Timer::Transfer | Timer::Lease(_), _) => false,
        }
    }
}

impl Machine for Leased {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Told;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut said = Outbox::default();
        let mut volatile = self.right.boot(durable, &mut said);
        Self::pass_on(&mut said, out);
        out.tell(Told::Waits);
        if self.flaw == Flaw::RestartsUnled {
            volatile.role = Role::Follower {
                heard: Heard::Nobody,
            };
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let leases = |state: &State<Self>| match &state.volatile.role {
            Role::Leader(leader) => leader.lease,
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => 0,
        };
        let before = leases(state);
        let heard = match (&message, self.flaw) {
            (Message::AppendEntries { term, .. }, _) => state.durable.term <= *term,
            _ => false,
        };
        let message = match (message, self.flaw) {
            (Message::RequestVote { term, last }, Flaw::VotesThoughLed) => {
                Message::RequestVoteAsHeir { term, last }
            }
            (message, _) => message,
        };
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        if heard && matches!(state.volatile.role, Role::Follower { .. }) {
            out.tell(Told::Waits);
        }
        let after = leases(state);
        if self.flaw == Flaw::BeginsWithTheAnswer && before < after {
            out.arm(Timer::Lease(after));
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            // It rings, and the leader is forgotten, whether or not the node may stand.
            Timer::Election => out.tell(Told::Forgets),
            Timer::Lease(round) => out.tell(Told::Over(round)),
            Timer::Heartbeat | Timer::Quorum | Timer::Transfer => {}
        }
        if self.is_beyond(state, timer) {
            if let Role::Follower { heard } = &mut state.volatile.role
                && timer == Timer::Election
            {
                *heard = Heard::Nobody;
            }
            return out.arm(timer);
        }
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        if let Role::Leader(leader) = &mut state.volatile.role
            && self.flaw == Flaw::LeasesAfterHandover
            && timer == Timer::Transfer
        {
            leader.leases = Leases::Kept;
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.right.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.clone(),
        })
    }
}

/// What clients know, and whether alarms rang as they do by clocks that differ by little.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Timekeeper {
    clients: Clients,
    /// The times of leases that began and are not over: whose, which, and whose election timeout began
    /// since and is not over.
    times: Vec<(NodeId, u64, NodeSet)>,
    /// An election timeout was over before the time of a lease that had begun before it.
    drifted: bool,
    /// A read was stale, and no clock had drifted.
    stale: bool,
    /// A read was stale, and one had.
    stale_by_drift: bool,
}

impl fmt::Debug for Timekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.clients)?;
        for (leader, round, waiting) in &self.times {
            write!(f, "; the lease of round {round} is counted by {leader}")?;
            if !waiting.is_empty() {
                write!(f, ", and {waiting} wait since")?;
            }
        }
        for (is, words) in [
            (self.drifted, "a clock was worse than the bound"),
            (self.stale, "a read was stale"),
            (self.stale_by_drift, "a read was stale, by a bad clock"),
        ] {
            if is {
                write!(f, "; {words}")?;
            }
        }
        Ok(())
    }
}

impl Ghost<Leased> for Timekeeper {
    fn ticket(call: &Call) -> Option<u64> {
        <Clients as Ghost<Raft>>::ticket(call)
    }

    fn finished(event: &Told) -> Option<u64> {
        match event {
            Told::Event(event) => <Clients as Ghost<Raft>>::finished(event),
            Told::Began(_) | Told::Over(_) | Told::Waits | Told::Forgets => None,
        }
    }

    fn on_call(&mut self, client: usize, node: NodeId, call: &Call) {
        Ghost::<Raft>::on_call(&mut self.clients, client, node, call);
    }

    fn on_event(&mut self, node: NodeId, event: &Told) {
        match event {
            Told::Event(event) => {
                let before = self.clients.linearizable;
                Ghost::<Raft>::on_event(&mut self.clients, node, event);
                if before && !self.clients.linearizable {
                    self.stale |= !self.drifted;
                    self.stale_by_drift |= self.drifted;
                }
            }
            Told::Began(round) => {
                self.times.push((node, *round, NodeSet::EMPTY));
                self.times.sort_unstable();
            }
            Told::Over(round) => {
                self.times
                    .retain(|(leader, number, _)| (leader, number) != (&node, round));
            }
            Told::Waits => {
                for (_, _, waiting) in &mut self.times {
                    waiting.insert(node);
                }
            }
            Told::Forgets => {
                for (_, _, waiting) in &mut self.times {
                    self.drifted |= waiting.contains(node);
                }
            }
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        Ghost::<Raft>::on_crash(&mut self.clients, node);
        // Nobody reads by the lease of one who crashed.
        self.times.retain(|(leader, _, _)| *leader != node);
    }
}

const LEASES: Cluster = Cluster {
    reads: Reads::Lease { drift_ms: 10 },
    ..NO_OPS
};

fn leased(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    rounds: u64,
    clients: &[&str],
) -> World<Leased, Timekeeper> {
    let members = NodeSet::first(cluster.members);
    let machine = |me| Leased {
        right: cluster.raft(me),
        flaw,
        rounds,
    };
    let machines = members.iter().map(machine).collect();
    let rules = cluster.rules();
    scripts(World::new(name, machines, Timekeeper::default()), clients)
        .crashes(members, cluster.crashes)
        .purging(
            move |letter, from| dead::sender_is_done(rules, letter, from),
            move |letter, to| dead::receiver_is_done(rules, letter, to),
        )
        .always_told(ELECTION_SAFETY, |told| !told.ghost.clients.past.split)
        .always_told(STATE_MACHINE_SAFETY, |told| !told.ghost.clients.past.forked)
        .always_told(OWN_TERM, |told| !told.ghost.clients.past.miscounted)
        .always_told(LINEARIZABLE, |told| !told.ghost.stale)
}

/// The same, in which node 0 is to hand over to node 1.
fn handing_over(world: World<Leased, Timekeeper>) -> World<Leased, Timekeeper> {
    let to = NodeId(1);
    world.client([Call::Transfer { ticket: 1, to }])
}

const HELD: &str = "a leader holds a lease while another leads";
const STALE: &str = "a read is stale, for a clock was too fast";

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(1, 1, || {
            leased(Flaw::Right, "leases", LEASES, 1, &["A", "r"])
                .sometimes_told(STALE, |told| told.ghost.stale_by_drift)
                .sometimes(HELD, |snapshot| {
                    let leads = |role: &Role| matches!(role, Role::Leader(_));
                    let holds =
                        |role: &Role| matches!(role, Role::Leader(leader) if leader.lease > 0);
                    let mut holding = snapshot.running();
                    let one = holding.find(|(_, state)| holds(&state.volatile.role));
                    one.is_some_and(|(one, _)| {
                        let mut others = snapshot.running();
                        others.any(|(node, state)| node != one && leads(&state.volatile.role))
                    })
                })
                .says("three members, two terms begun with no-ops, a lease in each; a client puts, another reads")
        }),
        Claimed::holds(1, 1, || {
            let world = leased(Flaw::Right, "leases-and-a-transfer", LEASES, 1, &["A", "r"]);
            handing_over(world)
                .says("the same, and the first leader is asked to hand over to the second")
        }),
    ]
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    let falls = |flaw, name: &'static str, cluster, clients: &'static [&'static str]| {
        move || leased(flaw, name, cluster, 1, clients)
    };
    vec![
        Claimed::falls(LINEARIZABLE, 1, move || {
            falls(
                Flaw::VotesThoughLed,
                "votes-though-led",
                LEASES,
                &["A", "r"],
            )()
            .says("a member that hears a leader votes for another all the same")
        }),
        Claimed::falls(LINEARIZABLE, 1, move || {
            let cluster = Cluster {
                crashes: 1,
                ..LEASES
            };
            falls(Flaw::RestartsUnled, "restarts-unled", cluster, &["A", "r"])()
                .says("a member that restarts takes it that it has heard no leader")
        }),
        Claimed::falls(LINEARIZABLE, 1, move || {
            falls(
                Flaw::BeginsWithTheAnswer,
                "begins-with-the-answer",
                LEASES,
                &["A", "r"],
            )()
            .says("a lease is counted from when a round is answered, and not from when it began")
        }),
        Claimed::falls(LINEARIZABLE, 1, move || {
            let flaw = Flaw::LeasesAfterHandover;
            handing_over(falls(flaw, "leases-after-handover", LEASES, &["A", "r"])()).says(
                "a leader whose heir was too slow has leases again, and then the heir is elected",
            )
        }),
        Claimed::falls(LINEARIZABLE, 1, || {
            leased(Flaw::Right, "drifts-past-the-bound", LEASES, 1, &["A", "r"])
                .except(LINEARIZABLE)
                .always_told(LINEARIZABLE, |told| told.ghost.clients.linearizable)
                .says("a follower's clock gains more on the leader's than is allowed, and all is promised all the same")
        }),
    ]
}

/// What [`World::purging`] owes where reads rest on leases.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub(super) fn obligations() -> Result<Vec<Discharged>, String> {
    let two = Cluster {
        members: 2,
        terms: 1,
        ..LEASES
    };
    Ok(vec![purge::obligations(|| {
        leased(Flaw::Right, "purged", two, 1, &["r"])
    })?])
}
