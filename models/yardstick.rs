//! A protocol whose states others have counted: two-phase commit as Gray and Lamport specify it.
//!
//! It is the yardstick of the world and of the engines (`tests/world.rs`, `benches/`), not one of the
//! protocols that quorate offers: it has no time-outs, no disk and no clients. The specification is
//! `TwoPhase` of "Consensus on Transaction Commit" (ACM TODS 31(1), 2006, appendix), in the message
//! set; TLC finds 288, 1,568, 8,832 and 50,816 states for three to six resource managers.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, State};
use serde::{Deserialize, Serialize};

use crate::ghost::NoGhost;
use crate::world::World;

pub mod causal_broadcast;
pub mod paxos_commit;

/// Gray and Lamport's `TwoPhase`, in their own abstraction: nobody fails, and whatever a node may do
/// of its own accord is an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TwoPhase {
    /// The transaction manager.
    Manager {
        /// Whom it waits for.
        resources: NodeSet,
    },
    /// A resource manager.
    Resource {
        /// Whom it answers.
        manager: NodeId,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Word {
    /// From a resource manager: it can commit.
    Prepared,
    /// From the manager: do.
    Commit,
    /// From the manager: don't.
    Abort,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// The manager, with those it knows to be prepared. It remembers them when it has decided.
    Deciding(NodeSet),
    /// The manager, once it has spoken: whom it knew to be prepared, and its word.
    Decided(NodeSet, Word),
    /// A resource manager, at work.
    Working,
    /// It has said that it can commit.
    Prepared,
    /// It has committed.
    Committed,
    /// It has aborted.
    Aborted,
}

/// What a node may do of its own accord.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Whim {
    /// A resource manager prepares.
    Prepare,
    /// The manager, whom everybody told *prepared*, commits.
    Commit,
    /// Whoever has not decided aborts.
    Abort,
}

impl Machine for TwoPhase {
    type Call = ();
    type Message = Word;
    type Timer = Whim;
    type Event = ();
    type Durable = ();
    type Volatile = Stage;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Stage {
        out.arm(Whim::Abort);
        match self {
            Self::Manager { .. } => Stage::Deciding(NodeSet::EMPTY),
            Self::Resource { .. } => {
                out.arm(Whim::Prepare);
                Stage::Working
            }
        }
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        word: Word,
        out: &mut Outbox<Self>,
    ) {
        match (self, &mut state.volatile, word) {
            (Self::Manager { resources }, Stage::Deciding(prepared), Word::Prepared) => {
                prepared.insert(from);
                if prepared == resources {
                    out.arm(Whim::Commit);
                }
            }
            (Self::Resource { .. }, stage, Word::Commit) => {
                *stage = Stage::Committed;
                rest(out);
            }
            (Self::Resource { .. }, stage, Word::Abort) => {
                *stage = Stage::Aborted;
                rest(out);
            }
            (Self::Manager { .. }, _, _) | (Self::Resource { .. }, _, Word::Prepared) => {}
        }
    }

    fn on_timer(&self, state: &mut State<Self>, whim: Whim, out: &mut Outbox<Self>) {
        rest(out);
        let (stage, word) = match whim {
            Whim::Prepare => (Stage::Prepared, Word::Prepared),
            Whim::Commit => (Stage::Committed, Word::Commit),
            Whim::Abort => (Stage::Aborted, Word::Abort),
        };
        match (self, &state.volatile) {
            (Self::Manager { resources }, Stage::Deciding(prepared)) => {
                out.broadcast(resources.iter(), &word);
                state.volatile = Stage::Decided(*prepared, word);
            }
            (Self::Resource { manager }, Stage::Working) => {
                if word == Word::Prepared {
                    out.send(*manager, word);
                }
                state.volatile = stage;
            }
            (Self::Manager { .. } | Self::Resource { .. }, _) => {}
        }
    }

    fn delay(&self, _: &Whim) -> Range<Duration> {
        Duration::from_secs(1)..Duration::from_secs(2)
    }
}

fn rest(out: &mut Outbox<TwoPhase>) {
    for whim in [Whim::Prepare, Whim::Commit, Whim::Abort] {
        out.disarm(whim);
    }
}

/// What the world of [`two_phase`] promises: nobody commits when another one aborts.
pub const CONSISTENT: &str = "consistent";

/// The world: this many resource managers, and the transaction manager as the last node.
#[must_use]
pub fn two_phase(resources: usize) -> World<TwoPhase, NoGhost> {
    let manager = NodeId(resources as u64);
    let mut machines = vec![TwoPhase::Resource { manager }; resources];
    machines.push(TwoPhase::Manager {
        resources: NodeSet::first(resources),
    });
    World::new("two-phase", machines, NoGhost).always_of_nodes(CONSISTENT, |nodes| {
        let (mut aborted, mut committed) = (false, false);
        for node in &nodes[..nodes.len() - 1] {
            let stage = node.up().map(|state| &state.volatile);
            aborted |= stage == Some(&Stage::Aborted);
            committed |= stage == Some(&Stage::Committed);
        }
        !(aborted && committed)
    })
}
