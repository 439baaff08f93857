//! Whether refusals, too, have to wait for the disk.
//!
//! A step says nothing before the disk has what it rests on. For votes and acknowledgements that is
//! needed. For a refusal it may not be, and implementations are of two minds: etcd's holds refusals
//! back as well, and its comment says that whether it must is not known. So here is a node whose disk
//! may lag behind its memory until it says something that waits for it. A crash takes what the disk
//! has not.
//!
//! The answer, for entries that are refused: they need not wait. What a refusal says, that the log has
//! not what comes before, is true of the disk if it is true of the memory; and the term that came with
//! what was refused binds the node to nothing until it votes or acknowledges in it, which waits. A
//! refusal of a vote is not sent at all here.

use std::fmt;
use std::fmt::Debug;
use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::raft::{Call, Durable, Event, Index, Message, Raft, Timer, Volatile};
use serde::{Deserialize, Serialize};

use super::past::{Chronicle, Past};
use super::{
    Bounded, COMMITTED, Candidates, Cluster, ELECTION_SAFETY, NO_OPS, OWN_TERM,
    STATE_MACHINE_SAFETY, SURVIVES, THREE, has, members_at, scripts,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::snapshot::Node;
use crate::world::World;

/// What does not wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Haste {
    /// Nothing.
    None,
    /// Refusals: that a log has not what comes before, and that a term is over.
    Refusals,
    /// Votes, too.
    Votes,
    /// Refusals and acknowledgements of entries.
    Acknowledgements,
}

impl Haste {
    fn waits(self, message: &Message) -> bool {
        match message {
            Message::Conflict { .. } | Message::Stale { .. } => self == Self::None,
            Message::Vote { .. } => self != Self::Votes,
            Message::Appended { .. } => self != Self::Acknowledgements,
            Message::RequestPreVote { .. }
            | Message::PreVote { .. }
            | Message::RequestVote { .. }
            | Message::AppendEntries { .. }
            | Message::InstallSnapshot { .. }
            | Message::Received { .. }
            | Message::RequestVoteAsHeir { .. }
            | Message::TimeoutNow { .. } => true,
        }
    }
}

/// A member whose disk may lag behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hasty {
    inner: Bounded<Raft>,
    haste: Haste,
}

/// An alarm of the member, or the disk catches up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Alarm {
    CatchUp,
    Inner(Timer),
}

/// As the machine's own alarms are, for stories are read by people.
impl Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CatchUp => write!(f, "CatchUp"),
            Self::Inner(timer) => timer.fmt(f),
        }
    }
}

/// The memory of the member, and what it takes its disk to have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Ahead {
    volatile: Volatile,
    durable: Durable,
}

impl Hasty {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Bounded<Raft>, &mut State<Bounded<Raft>>, &mut Outbox<Bounded<Raft>>),
    ) {
        let mut inner = State {
            durable: state.volatile.durable.clone(),
            volatile: state.volatile.volatile.clone(),
        };
        let mut said = Outbox::default();
        act(&self.inner, &mut inner, &mut said);
        let waits = self.pass_on(&mut said, out);
        state.volatile.volatile = inner.volatile;
        state.volatile.durable = inner.durable;
        if waits || self.haste == Haste::None {
            state.durable = state.volatile.durable.clone();
        }
        if state.durable == state.volatile.durable {
            out.disarm(Alarm::CatchUp);
        } else {
            out.arm(Alarm::CatchUp);
        }
    }

    /// Passes on what was said. True if any of it has to wait for the disk.
    fn pass_on(&self, said: &mut Outbox<Bounded<Raft>>, out: &mut Outbox<Self>) -> bool {
        let mut waits = false;
        for output in said.drain() {
            match output {
                Output::Send { to, message } => {
                    waits |= self.haste.waits(&message);
                    out.send(to, message);
                }
                Output::Event(event) => {
                    waits = true;
                    out.tell(event);
                }
                Output::Arm(timer) => out.arm(Alarm::Inner(timer)),
                Output::Disarm(timer) => out.disarm(Alarm::Inner(timer)),
            }
        }
        waits
    }
}

impl Machine for Hasty {
    type Call = Call;
    type Message = Message;
    type Timer = Alarm;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Ahead;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Ahead {
        let mut said = Outbox::default();
        let volatile = self.inner.boot(durable, &mut said);
        self.pass_on(&mut said, out);
        Ahead {
            volatile,
            durable: durable.clone(),
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |inner, state, out| {
            inner.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        self.act(state, out, |inner, state, out| {
            inner.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, alarm: Alarm, out: &mut Outbox<Self>) {
        match alarm {
            Alarm::CatchUp => state.durable = state.volatile.durable.clone(),
            Alarm::Inner(timer) => self.act(state, out, |inner, state, out| {
                inner.on_timer(state, timer, out);
            }),
        }
    }

    fn delay(&self, alarm: &Alarm) -> Range<Duration> {
        match alarm {
            Alarm::CatchUp => Duration::from_millis(1)..Duration::from_millis(2),
            Alarm::Inner(timer) => self.inner.delay(timer),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.inner.holds(&State {
            durable: state.volatile.durable.clone(),
            volatile: state.volatile.volatile.clone(),
        })
    }
}

/// What is committed is on a majority of disks: not of memories.
fn survives(nodes: &[&Node<Hasty>], first: NodeSet) -> bool {
    nodes.iter().filter_map(|node| node.up()).all(|state| {
        let memory = &state.volatile.durable;
        let commit: Index = state.volatile.volatile.commit;
        let Some(position) = memory.log.position(commit) else {
            return false;
        };
        let on_disk = |node: &Node<Hasty>| node.durable().is_some_and(|disk| has(disk, position));
        let holders = (0..).map(NodeId).zip(nodes);
        let holders = holders.filter(|(_, node)| on_disk(node)).map(|(id, _)| id);
        members_at(memory, commit, first).is_quorum(holders.collect())
    })
}

/// The last member is hasty, and it alone may crash: that another's disk lags behind would show in nothing.
fn hasty(haste: Haste, name: &str, cluster: Cluster, clients: &[&str]) -> World<Hasty, Past> {
    let first = NodeSet::first(cluster.members);
    let hasty = NodeId(cluster.members as u64 - 1);
    let machines = cluster.machines(|right| right);
    let machines = machines.into_iter().map(|inner| {
        let is_hasty = inner.inner.me == hasty;
        let haste = if is_hasty { haste } else { Haste::None };
        Hasty { inner, haste }
    });
    scripts(
        World::new(name, machines.collect(), Past::default()),
        clients,
    )
    .crashes(NodeSet::from_iter([hasty]), cluster.crashes)
    .always_told(ELECTION_SAFETY, |told| !told.ghost.past().split)
    .always_told(STATE_MACHINE_SAFETY, |told| !told.ghost.past().forked)
    .always_told(OWN_TERM, |told| !told.ghost.past().miscounted)
    .always_of_nodes(SURVIVES, move |nodes| survives(nodes, first))
    .sometimes_told(COMMITTED, |told| !told.ghost.past().committed.is_empty())
    .sometimes(
        "a disk lags behind, and an entry is committed",
        |snapshot| {
            let mut running = snapshot.running();
            let lags = running.any(|(_, state)| state.durable != state.volatile.durable);
            lags && !snapshot.ghost.past().committed.is_empty()
        },
    )
}

/// The question, and what shows that it can be answered.
const LAGGING: Cluster = Cluster {
    crashes: 1,
    candidates: Candidates::InTurn,
    ..NO_OPS
};

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::holds(2_106_393, 8_086_361, || {
        hasty(Haste::Refusals, "refusals-do-not-wait", LAGGING, &[])
            .says("three members, two terms begun with no-ops, in each of which one stands; one, which may crash, does not wait for its disk to refuse")
    })]
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ELECTION_SAFETY, 8, || {
            let cluster = Cluster {
                terms: 1,
                crashes: 1,
                ..THREE
            };
            hasty(Haste::Votes, "votes-do-not-wait", cluster, &[])
                .says("a vote is said before the disk has it")
        }),
        Claimed::falls(SURVIVES, 6, || {
            let cluster = Cluster {
                terms: 1,
                members: 2,
                ..THREE
            };
            hasty(
                Haste::Acknowledgements,
                "acknowledgements-do-not-wait",
                cluster,
                &["A"],
            )
            .says("entries are acknowledged before the disk has them")
        }),
    ]
}
