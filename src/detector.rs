//! # Failure detectors
//!
//! Each node tells all others now and then that it is there, and each judges for itself who has been
//! silent for too long. How long is too long nobody knows beforehand: so a node that finds that it was
//! wrong, because the one that it suspected is heard from after all, waits longer from then on. If there
//! is any bound on how late heartbeats come, it is wrong a bounded number of times.
//!
//! [`phi`] answers the same question by degrees, from how regular the heartbeats were: it is for whoever
//! would rather know how likely a mistake is than be told to make one.
//!
//! - **Source.** Chandra, Toueg, *Unreliable Failure Detectors for Reliable Distributed Systems*, JACM 43(2), 1996: §3
//!   completeness and accuracy, figure 10 the timeout that grows with each mistake; Hayashibara, Défago, Yared,
//!   Katayama, *The φ Accrual Failure Detector*, SRDS 2004. The tail of the normal distribution as in Akka's
//!   `PhiAccrualFailureDetector`.
//! - **Promises.** *strong completeness*: a node that crashed is suspected by every other one, as soon as
//!   its last heartbeat has arrived and the timeout has passed, and for ever. *mistakes are bounded*: no
//!   node suspects another that is alive more often than it takes to make the timeout longer than the time between two
//!   heartbeats; eventual strong accuracy, as a bound. *mistakes are revoked*: in the calm, everyone who is
//!   alive is trusted by everyone.
//! - **Assumes.** A bound on the delay of messages, which nobody knows, and that none is lost; without it
//!   mistakes are revoked but not bounded. Clocks that run alike. Nodes crash, restart in another
//!   incarnation, and do not lie. Copies of a message come to an end.
//! - **Leaves out.** Telling others whom one suspects, and asking others first: see [`crate::swim`]. Clocks
//!   that run at different rates: of them only the ratio of timeout to heartbeat matters.
//! - **The textbook says.** `HeartbeatMonitor` (chapter 8, failure detection): it stamps everybody itself, so that
//!   nobody's silence is noticed (`strong_completeness_falls_when_the_monitor_stamps_everybody`); its
//!   timeout is fixed (`mistakes_are_bounded_falls_with_a_fixed_timeout`); who was never heard of has been silent since 1970
//!   (`mistakes_are_bounded_falls_when_nobody_was_heard_of_yet`); a late heartbeat kills for good
//!   (`mistakes_are_revoked_falls_when_death_is_final`); who is suspected is removed from the peers and gets no
//!   more heartbeats (`mistakes_are_revoked_falls_when_heartbeats_go_to_the_trusted_alone`); a heartbeat from
//!   before a restart counts (`a_heartbeat_of_an_earlier_run_does_not_count`). Its monitor sees
//!   everyone and writes into the state of those it judges; here each judges for itself.

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};

pub mod phi;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Detector {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub members: NodeSet,
    /// How long after one heartbeat the next one leaves, in milliseconds.
    pub heartbeat_ms: u32,
    /// How long a silence is borne at first, in milliseconds.
    pub timeout_ms: u32,
    /// How much longer after each mistake, in milliseconds.
    pub step_ms: u32,
    /// After how many mistakes the timeout grows no more. 0: it is fixed.
    pub steps_max: u32,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Who is suspected?
    Suspects {
        /// The caller's name for this call.
        ticket: u64,
    },
}

/// What travels: I am there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Heartbeat {
    /// How often the sender had started before.
    pub incarnation: u64,
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Tell everyone.
    Heartbeat,
    /// This one has been silent for too long.
    Silence {
        /// Who.
        peer: NodeId,
        /// After how many mistakes.
        mistakes: u32,
    },
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The node suspects this one.
    Suspected {
        /// Whom.
        peer: NodeId,
    },
    /// The node suspects it no more.
    Trusted {
        /// Whom.
        peer: NodeId,
    },
    /// The answer of [`Call::Suspects`].
    Suspects {
        /// The caller's name for the call.
        ticket: u64,
        /// Whom the node suspects.
        suspects: NodeSet,
    },
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often the node has started.
    pub starts: u64,
}

impl machine::Durable for Durable {
    type Change = u64;

    fn changes_since(&self, older: &Self) -> Vec<u64> {
        let changed = self.starts != older.starts;
        changed.then_some(self.starts).into_iter().collect()
    }

    fn apply(&mut self, starts: u64) {
        self.starts = starts;
    }
}

/// What a node thinks of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Opinion {
    /// That it is there.
    Trusted,
    /// That it may have crashed.
    Suspected,
}

/// What a node knows of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// What is thought of it.
    pub opinion: Opinion,
    /// The last of its runs that was heard from, if any was.
    pub incarnation: Option<u64>,
    /// How often it was suspected by mistake, as far as that made the timeout longer.
    pub mistakes: u32,
}

/// What a crash takes. A node that starts is as patient as at first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// What is known of each other one.
    pub peers: Map<NodeId, Peer>,
    /// How often the node had started before.
    pub incarnation: u64,
}

impl Volatile {
    /// Whom the node suspects.
    pub fn suspects(&self) -> NodeSet {
        let peers = self.peers.iter();
        let suspects = peers.filter(|(_, peer)| peer.opinion == Opinion::Suspected);
        suspects.map(|(node, _)| *node).collect()
    }
}

impl Machine for Detector {
    type Call = Call;
    type Message = Heartbeat;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let incarnation = durable.starts;
        durable.starts = incarnation.saturating_add(1);
        out.arm(Timer::Heartbeat);
        // Whoever was not heard from yet has as long as anyone to be.
        let peer = Peer {
            opinion: Opinion::Trusted,
            incarnation: None,
            mistakes: 0,
        };
        for node in self.peers() {
            Self::arm_silence(node, peer, out);
        }
        out.broadcast(self.peers(), &Heartbeat { incarnation });
        Volatile {
            peers: self.peers().iter().map(|node| (node, peer)).collect(),
            incarnation,
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Suspects { ticket } => {
                let suspects = state.volatile.suspects();
                out.tell(Event::Suspects { ticket, suspects });
            }
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        Heartbeat { incarnation }: Heartbeat,
        out: &mut Outbox<Self>,
    ) {
        let Some(peer) = state.volatile.peers.get_mut(&from) else {
            return; // A stranger.
        };
        if Some(incarnation) < peer.incarnation {
            return; // Of a run that is over, for a later one was heard from.
        }
        let mistakes = peer.mistakes;
        out.disarm(Timer::Silence {
            peer: from,
            mistakes,
        });
        if peer.opinion == Opinion::Suspected {
            // Figure 10, task 3: it was wrong, and waits longer from now on. Of one that has started anew
            // meanwhile it may have been right.
            let same_run = peer.incarnation.is_none_or(|known| known == incarnation);
            if same_run && mistakes < self.steps_max {
                peer.mistakes = mistakes + 1;
            }
            peer.opinion = Opinion::Trusted;
            out.tell(Event::Trusted { peer: from });
        }
        peer.incarnation = Some(incarnation);
        Self::arm_silence(from, *peer, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Heartbeat => {
                out.arm(Timer::Heartbeat);
                let incarnation = state.volatile.incarnation;
                out.broadcast(self.peers(), &Heartbeat { incarnation });
            }
            Timer::Silence { peer: node, .. } => {
                if let Some(peer) = state.volatile.peers.get_mut(&node)
                    && peer.opinion == Opinion::Trusted
                {
                    peer.opinion = Opinion::Suspected;
                    out.tell(Event::Suspected { peer: node });
                }
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let start = match timer {
            Timer::Heartbeat => u64::from(self.heartbeat_ms.max(1)),
            Timer::Silence { mistakes, .. } => {
                u64::from(self.timeout_ms) + u64::from(self.step_ms) * u64::from(*mistakes)
            }
        };
        Duration::from_millis(start)..Duration::from_millis(start + 1)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let peers = &state.volatile.peers;
        let known: NodeSet = peers.keys().copied().collect();
        known == self.peers() && peers.values().all(|peer| peer.mistakes <= self.steps_max)
    }
}

impl Detector {
    /// All others.
    pub fn peers(&self) -> NodeSet {
        let mut peers = self.members;
        peers.remove(self.me);
        peers
    }

    fn arm_silence(node: NodeId, Peer { mistakes, .. }: Peer, out: &mut Outbox<Self>) {
        out.arm(Timer::Silence {
            peer: node,
            mistakes,
        });
    }
}
