//! What a node knows of the ring, and who is read and written by it.

use core::fmt;

use super::{
    Deserialize, Epoch, Level, Member, Move, NodeId, NodeSet, Rack, Ring, RingError, Serialize,
    Stream, Token, VIRTUAL_NODES_MAX, Vec, moves,
};

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// There is none.
    Settled,
    /// Writes go to both rings, reads to the old one.
    Announced,
    /// Writes go to both rings, reads to the new one.
    Switched,
}

/// How much of the log a node knows. Later ones are larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stage {
    /// The ring that was settled last.
    pub epoch: Epoch,
    /// How far the change to the next one is.
    pub step: Step,
}

impl Stage {
    /// The next step leads here. After the last epoch there is none.
    pub fn next(self) -> Option<Self> {
        let Self { epoch, step } = self;
        Some(match step {
            Step::Settled => Self {
                epoch,
                step: Step::Announced,
            },
            Step::Announced => Self {
                epoch,
                step: Step::Switched,
            },
            Step::Switched => Self {
                epoch: Epoch(epoch.0.checked_add(1)?),
                step: Step::Settled,
            },
        })
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Settled => "settled",
            Step::Announced => "announced",
            Step::Switched => "switched",
        };
        write!(f, "{:?} {step}", self.epoch)
    }
}

/// How the ring is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Proposal {
    /// A node becomes a member.
    Join {
        /// Which.
        node: NodeId,
        /// Where it stands.
        rack: Rack,
        /// How many places it has, at most [`VIRTUAL_NODES_MAX`]. Where they are follows from its name.
        virtual_nodes: u32,
    },
    /// A member becomes none.
    Leave {
        /// Which.
        node: NodeId,
    },
}

impl Proposal {
    /// Who joins or leaves.
    pub fn node(&self) -> NodeId {
        let (Self::Join { node, .. } | Self::Leave { node }) = self;
        *node
    }

    /// The ring that follows.
    ///
    /// # Errors
    ///
    /// If there is no such ring.
    pub fn after(&self, ring: &Ring) -> Result<Ring, RingError> {
        match *self {
            Self::Join {
                node,
                rack,
                virtual_nodes,
            } => {
                let virtual_nodes = virtual_nodes.min(VIRTUAL_NODES_MAX);
                ring.joined(node, &Member::new(node, rack, virtual_nodes))
            }
            Self::Leave { node } => ring.left(node),
        }
    }
}

/// What a node knows of the ring.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum View {
    /// This is the ring.
    Settled(Ring),
    /// It is to be followed by another.
    Announced {
        /// Who is read.
        old: Ring,
        /// Who is to be.
        new: Ring,
    },
    /// Reads go by the other already.
    Switched {
        /// Who was read.
        old: Ring,
        /// Who is read.
        new: Ring,
    },
}

/// By its stage: the rings are those of the log.
impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.stage(), f)
    }
}

impl View {
    /// How much of the log it takes to know this.
    pub fn stage(&self) -> Stage {
        let (ring, step) = match self {
            Self::Settled(ring) => (ring, Step::Settled),
            Self::Announced { old, .. } => (old, Step::Announced),
            Self::Switched { old, .. } => (old, Step::Switched),
        };
        let epoch = ring.epoch();
        Stage { epoch, step }
    }

    /// The ring by which keys are read.
    fn read_by(&self) -> &Ring {
        match self {
            Self::Settled(ring) => ring,
            Self::Announced { old, .. } => old,
            Self::Switched { new, .. } => new,
        }
    }

    /// Who has keys, for those who read.
    pub fn members(&self) -> NodeSet {
        self.read_by().members()
    }

    /// The ring that was settled last.
    pub fn old(&self) -> &Ring {
        match self {
            Self::Settled(ring) => ring,
            Self::Announced { old, .. } | Self::Switched { old, .. } => old,
        }
    }

    /// The ring that is settled next, or is already.
    pub fn next(&self) -> &Ring {
        match self {
            Self::Settled(ring) => ring,
            Self::Announced { new, .. } | Self::Switched { new, .. } => new,
        }
    }

    /// Who is asked by reads of the key.
    pub fn readers(&self, key: &str) -> NodeSet {
        self.read_by().holders(Token::of(key.as_bytes()))
    }

    /// Who gets writes of the key.
    pub fn writers(&self, key: &str) -> Writers {
        let token = Token::of(key.as_bytes());
        match self {
            Self::Settled(ring) => {
                let replicas = ring.holders(token);
                Writers {
                    old: replicas,
                    new: replicas,
                }
            }
            Self::Announced { old, new } | Self::Switched { old, new } => Writers {
                old: old.holders(token),
                new: new.holders(token),
            },
        }
    }

    /// Which keys change hands.
    pub fn moves(&self) -> Vec<Move> {
        match self {
            Self::Settled(_) => Vec::new(),
            Self::Announced { old, new } | Self::Switched { old, new } => moves(old, new),
        }
    }

    /// Who has what a node is to have, and has not.
    pub fn sources(&self, node: NodeId) -> NodeSet {
        if !matches!(self, Self::Announced { .. }) {
            return NodeSet::EMPTY;
        }
        let moves = self.moves().into_iter();
        let its = moves.filter(|one| one.gains().contains(node));
        its.fold(NodeSet::EMPTY, |all, one| all.union(one.old))
    }

    /// What a replica gives to a pending one.
    pub(super) fn given(&self, from: NodeId, to: NodeId) -> Vec<Move> {
        if !matches!(self, Self::Announced { .. }) {
            return Vec::new(); // Nobody is to be given anything now.
        }
        let mut given = self.moves();
        given.retain(|one| one.gains().contains(to) && one.old.contains(from));
        given
    }

    /// True if a node has done what the stage asks of it, and the log waits for it.
    pub(super) fn is_ready(&self, node: NodeId, stream: &Stream) -> bool {
        match self {
            Self::Settled(_) => false,
            Self::Announced { .. } => *stream == Stream::Done,
            Self::Switched { old, .. } => old.members().contains(node),
        }
    }

    /// What is known after one more step; if that announces a change, after this one. None, if it cannot
    /// be the next.
    pub fn advanced(&self, proposal: Option<Proposal>) -> Option<Self> {
        match (self, proposal) {
            (Self::Settled(ring), Some(proposal)) => Some(Self::Announced {
                old: ring.clone(),
                new: proposal.after(ring).ok()?,
            }),
            (Self::Announced { old, new }, None) => Some(Self::Switched {
                old: old.clone(),
                new: new.clone(),
            }),
            (Self::Switched { new, .. }, None) => Some(Self::Settled(new.clone())),
            (Self::Settled(_), None)
            | (Self::Announced { .. } | Self::Switched { .. }, Some(_)) => None,
        }
    }
}

/// When a write is acknowledged during a change. Either is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Counting {
    /// When as many of the old replicas have it as the level asks, and as many of the new ones.
    Both,
    /// When as many of all of them have it as the level asks, and one more for each that is pending, as in
    /// Cassandra.
    PendingToo,
}

/// Who gets writes of a key: the same nodes twice, if it does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Writers {
    /// Its replicas by the old ring.
    pub old: NodeSet,
    /// Its replicas by the new one.
    pub new: NodeSet,
}

impl Writers {
    /// All of them.
    pub fn all(self) -> NodeSet {
        self.old.union(self.new)
    }

    /// True once these are enough for a write at a level, at a node whose data centre is `nearby`.
    pub fn is_enough(
        self,
        counting: Counting,
        level: Level,
        stored: NodeSet,
        nearby: NodeSet,
    ) -> bool {
        let Self { old, new } = self;
        match counting {
            Counting::Both => {
                level.is_met(stored, old, nearby) && level.is_met(stored, new, nearby)
            }
            Counting::PendingToo => {
                let pending = level.counted(new.difference(old), nearby);
                let needed = level.needed(level.counted(old, nearby).len()) + pending.len();
                stored.intersection(level.counted(self.all(), nearby)).len() >= needed
            }
        }
    }
}
