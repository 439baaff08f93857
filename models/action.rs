//! What can happen in a world, one thing at a time.

use std::fmt;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};

use crate::shared::Shared;
use crate::snapshot::Letter;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<M: Machine> {
    /// A client makes its next call at a node of the adversary's choice.
    Call {
        /// The client, by the place of its script.
        client: usize,
        /// Where.
        node: NodeId,
    },
    /// A message arrives, perhaps again.
    Deliver(Shared<Letter<M::Message>>),
    /// An armed alarm rings.
    Ring {
        /// Whose.
        node: NodeId,
        /// Which.
        timer: M::Timer,
    },
    /// A node stops. What it had not persisted is gone.
    Crash(NodeId),
    /// A node starts from its disk.
    Restart {
        /// Which.
        node: NodeId,
        /// How many of the last writes that its disk acknowledged are not on it: none, unless the
        /// disk lies.
        lost: usize,
    },
    /// The network is cut, by the place of the cut in the world's list.
    Cut(usize),
    /// The cut is healed.
    Heal,
    /// A traitor says something, and it arrives.
    Lie(Shared<Letter<M::Message>>),
}

/// Links that carry nothing while the cut is in force. What was sent on them is not gone: it may
/// arrive after healing, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Two sides, neither of which hears the other.
    Split(NodeSet),
    /// The others do not hear this side; this side hears them.
    Mute(NodeSet),
    /// This node hears nobody and nobody hears it.
    Isolate(NodeId),
    /// Two sides that both hear the bridge, and are heard by it, but not each other.
    Bridge {
        /// One side; the other is everyone else but the bridge.
        side: NodeSet,
        /// The node between them.
        bridge: NodeId,
    },
}

impl Cut {
    /// True if nothing gets from `from` to `to`.
    pub fn blocks(&self, from: NodeId, to: NodeId) -> bool {
        match self {
            Self::Split(side) => side.contains(from) != side.contains(to),
            Self::Mute(side) => side.contains(from) && !side.contains(to),
            Self::Isolate(node) => (from == *node) != (to == *node),
            Self::Bridge { side, bridge } => {
                from != *bridge && to != *bridge && side.contains(from) != side.contains(to)
            }
        }
    }

    /// Every cut of `count` nodes of the four kinds, each once: what a world lists when it leaves
    /// the choice to the adversary. A split and a bridge are the same seen from both sides; cutting
    /// one node off is a split of it.
    pub fn all(count: u64) -> Vec<Self> {
        let sides = |sizes: std::ops::RangeInclusive<usize>| {
            (1..(1_u64 << count) - 1)
                .map(move |bits| {
                    (0..count)
                        .map(NodeId)
                        .filter(|n| bits >> n.0 & 1 == 1)
                        .collect()
                })
                .filter(move |side: &NodeSet| sizes.contains(&side.len()))
        };
        let members = usize::try_from(count).unwrap_or(usize::MAX);
        let mut cuts: Vec<Self> = (0..count).map(|n| Self::Isolate(NodeId(n))).collect();
        let canonical = |side: &NodeSet| side.contains(NodeId(0));
        cuts.extend(
            sides(2..=members.saturating_sub(2))
                .filter(canonical)
                .map(Self::Split),
        );
        cuts.extend(sides(1..=members - 1).map(Self::Mute));
        for bridge in (0..count).map(NodeId) {
            let first = NodeId(u64::from(bridge.0 == 0));
            let halves = sides(1..=members.saturating_sub(2))
                .filter(|side| side.contains(first) && !side.contains(bridge));
            cuts.extend(halves.map(|side| Self::Bridge { side, bridge }));
        }
        cuts
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(side) => write!(f, "{side} and the others no longer hear each other"),
            Self::Mute(side) => write!(f, "the others no longer hear {side}"),
            Self::Isolate(node) => write!(f, "{node} is cut off"),
            Self::Bridge { side, bridge } => {
                write!(
                    f,
                    "{side} and the others reach each other through {bridge} alone"
                )
            }
        }
    }
}
