//! # The ring: which nodes have which keys
//!
//! Keys and nodes are hashed to *tokens*, places on a circle. A key is kept by the first nodes that a
//! walk meets which goes up from its token, and from the largest token on to the smallest. A node has
//! several places, its *virtual nodes*, so that its share is close to the mean, and so that what it
//! leaves is divided among all. A walk counts a node once, and takes one node of each rack before it
//! takes a second of any.
//!
//! Who replicates a key is a pure function of the key and the ring, so no one needs to be asked; and a
//! ring has an epoch, so that two who disagree can tell who is behind. How one ring becomes the next
//! without losing a write is another matter.
//!
//! - **Source.** Karger et al., *Consistent Hashing and Random Trees*, STOC 1997; `DeCandia` et al.,
//!   *Dynamo: Amazon's Highly Available Key-value Store*, SOSP 2007, §4.2 and §4.3; Lakshman and Malik,
//!   *Cassandra: A Decentralized Structured Storage System*, 2010, §5.1 and §5.2. Tokens are those of
//!   Cassandra's `Murmur3Partitioner`, the walk is that of its `NetworkTopologyStrategy` in one data
//!   centre.
//! - **Promises.** *replicas are RF distinct nodes*, of every key. *as many racks as there can be*: the
//!   replicas of a key are of min(RF, number of racks) racks. *the order of joining does not matter*.
//!   *only the joiner's keys move*: when a node joins, no key comes to any other node, and a key that
//!   does not come to it stays where it is; when a node leaves, no key leaves any other. *moves are the
//!   difference*: [`moves`] names each key whose replicas change, and no other, with its old and its new
//!   replicas. *ranges are the replicas*: the [ranges](Ring::ranges) of a node hold the keys of which it is a
//!   replica.
//! - **Assumes.** Nothing but that two nodes have no token in common, which [`Ring::new`] makes sure of.
//! - **Leaves out.** Several data centres; nodes of different size, but by the number of their places.
//! - **The textbook says.** `DistributedDatabase` (chapter 8) keeps its ring in a dictionary, where of
//!   two nodes with one token the later overwrites the earlier
//!   (`replicas_are_distinct_nodes_falls_when_a_token_is_overwritten`), replicates beyond placement
//!   (`replicas_are_distinct_nodes_falls_when_everybody_gets_everything`), has no racks
//!   (`as_many_racks_falls_when_racks_are_ignored`), and neither joining nor leaving.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::NodeId;

mod moves;
mod murmur;

pub use moves::{Move, moves};
pub use murmur::murmur3;

/// A place on the ring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub i64);

impl Token {
    /// The place of a key: that of Cassandra's `Murmur3Partitioner`, byte for byte. The smallest token
    /// is that of the empty key alone.
    ///
    /// ```
    /// use quorate::ring::Token;
    ///
    /// assert_eq!(Token::of(b"test"), Token(-6_017_608_668_500_074_083));
    /// ```
    pub fn of(key: &[u8]) -> Self {
        if key.is_empty() {
            return Self(i64::MIN);
        }
        match murmur3(key).0.cast_signed() {
            i64::MIN => Self(i64::MAX),
            hash => Self(hash),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// Which ring it is. Each change makes a larger one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// What fails together: nodes of one rack share a switch, or a power supply.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rack(pub u64);

impl fmt::Debug for Rack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// What a ring has to know of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Where it stands.
    pub rack: Rack,
    /// Its places.
    pub tokens: Vec<Token>,
}

impl Member {
    /// A member with so many places, which follow from its name: its 8 bytes and the 4 of the number
    /// of the place, from 0, are hashed, the most significant byte first.
    pub fn new(node: NodeId, rack: Rack, virtual_nodes: u32) -> Self {
        let token = |place: u32| {
            let mut name = [0; 12];
            name[..8].copy_from_slice(&node.0.to_be_bytes());
            name[8..].copy_from_slice(&place.to_be_bytes());
            Token::of(&name)
        };
        Self {
            rack,
            tokens: (0..virtual_nodes).map(token).collect(),
        }
    }
}

/// Who the members are, where their places are, and how many of them keep a key. It cannot be made so
/// that some key has fewer replicas than that.
///
/// ```
/// use quorate::machine::NodeId;
/// use quorate::ring::{Member, Rack, Ring, Token};
///
/// let member = |node| (NodeId(node), Member::new(NodeId(node), Rack(0), 16));
/// let ring = Ring::new(3, (0..5).map(member))?;
/// let replicas = ring.replicas(Token::of(b"a key"));
/// assert_eq!(replicas.len(), 3);
///
/// let (node, sixth) = member(5);
/// let next = ring.joined(node, &sixth)?;
/// assert!(ring.epoch() < next.epoch());
/// # Ok::<(), quorate::ring::RingError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Listed", into = "Listed")]
pub struct Ring {
    epoch: Epoch,
    factor: u32,
    /// Whose each place is.
    places: Map<Token, NodeId>,
    /// Where each member stands.
    racks: Map<NodeId, Rack>,
    /// How many racks there are.
    distinct_racks: u32,
}

/// A ring as it travels.
#[derive(Serialize, Deserialize)]
struct Listed {
    epoch: Epoch,
    factor: u32,
    members: Map<NodeId, Member>,
}

/// Why there is no such ring. Nothing was built or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// Nobody would keep anything.
    NoReplicas,
    /// A key could not have as many replicas as it is to have.
    TooFew {
        /// How many members there are.
        members: usize,
        /// How many replicas a key is to have.
        factor: u32,
    },
    /// Members are numbered from 0 to 63.
    Stranger(NodeId),
    /// A member without a place would keep nothing.
    NoTokens(NodeId),
    /// Two places are one, of two nodes or of one.
    Clash {
        /// Where.
        token: Token,
        /// Whose it is.
        holder: NodeId,
        /// Who wants it, too.
        claimant: NodeId,
    },
    /// It is a member already, or was listed twice.
    Twice(NodeId),
    /// It is no member, so it cannot leave.
    NoMember(NodeId),
    /// There is no larger epoch.
    LastEpoch,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplicas => write!(f, "0 replicas keep nothing: make it at least 1"),
            Self::TooFew { members, factor } => write!(
                f,
                "{members} members cannot keep {factor} replicas of a key: have at least {factor} members"
            ),
            Self::Stranger(node) => {
                write!(f, "{node} cannot be a member: number them from 0 to 63")
            }
            Self::NoTokens(node) => {
                write!(
                    f,
                    "{node} has no place on the ring: give it at least one token"
                )
            }
            Self::Clash {
                token,
                holder,
                claimant,
            } => write!(
                f,
                "{claimant} cannot have the token {}, which is a place of {holder}: give it another",
                token.0
            ),
            Self::Twice(node) => write!(f, "{node} is a member already: list and join it once"),
            Self::NoMember(node) => write!(f, "{node} is no member: only members can leave"),
            Self::LastEpoch => write!(f, "there is no epoch after this one: begin a new ring"),
        }
    }
}

impl core::error::Error for RingError {}

impl Ring {
    /// The ring of epoch 1, in which each key has `factor` replicas.
    ///
    /// # Errors
    ///
    /// If some key would not have them, or two places are one.
    pub fn new(
        factor: u32,
        members: impl IntoIterator<Item = (NodeId, Member)>,
    ) -> Result<Self, RingError> {
        let mut ring = Self {
            epoch: Epoch(1),
            factor,
            places: Map::new(),
            racks: Map::new(),
            distinct_racks: 0,
        };
        for (node, member) in members {
            ring.admit(node, &member)?;
        }
        ring.checked()
    }

    /// Which ring this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many replicas each key has: RF.
    pub fn factor(&self) -> usize {
        self.factor as usize
    }

    /// How many of them are more than half, whoever is present.
    pub fn quorum(&self) -> usize {
        self.factor() / 2 + 1
    }

    /// Who is in it.
    pub fn members(&self) -> NodeSet {
        self.racks.keys().copied().collect()
    }

    /// Where a member stands.
    pub fn rack(&self, node: NodeId) -> Option<Rack> {
        self.racks.get(&node).copied()
    }

    /// Every place, by increasing token, and whose it is.
    pub fn places(&self) -> impl DoubleEndedIterator<Item = (Token, NodeId)> {
        self.places.iter().map(|(token, node)| (*token, *node))
    }

    /// Who keeps the keys of this token, [`factor`](Self::factor) distinct nodes, in the order in which
    /// the walk takes them. The first has the place at or after the token.
    pub fn replicas(&self, token: Token) -> Vec<NodeId> {
        let mut taken = Vec::with_capacity(self.factor());
        let mut racks = Vec::with_capacity(self.factor());
        // Where there are fewer racks than replicas, the first met make up for it.
        let mut repeats = self.factor.saturating_sub(self.distinct_racks);
        let ahead = self.places.range(token..);
        for (_, node) in ahead.chain(&self.places) {
            if taken.len() == self.factor() {
                break;
            }
            if taken.contains(node) {
                continue; // Another of its places.
            }
            let rack = self.racks.get(node);
            if racks.contains(&rack) {
                if repeats == 0 {
                    continue; // There is a rack yet to come that has no replica.
                }
                repeats -= 1;
            }
            racks.push(rack);
            taken.push(*node);
        }
        taken
    }

    /// The same nodes as a set.
    pub fn holders(&self, token: Token) -> NodeSet {
        self.replicas(token).into_iter().collect()
    }

    /// What a node keeps: ranges that do not touch each other, in the order of the ring. If one passes
    /// the largest token it is the first.
    pub fn ranges(&self, node: NodeId) -> Vec<TokenRange> {
        let places: Vec<Token> = self.places.keys().copied().collect();
        let kept = between(&places).filter(|range| self.holders(range.up_to).contains(node));
        let kept = moves::merged(kept.map(|range| (range, ())));
        kept.into_iter().map(|(range, ())| range).collect()
    }

    /// The next ring, with one more member.
    ///
    /// # Errors
    ///
    /// If the node is a member, or cannot be one with these tokens.
    pub fn joined(&self, node: NodeId, member: &Member) -> Result<Self, RingError> {
        let mut next = self.clone();
        next.admit(node, member)?;
        next.epoch = self.next_epoch()?;
        next.checked()
    }

    /// The next ring, with one member less.
    ///
    /// # Errors
    ///
    /// If the node is no member, or too few would be left.
    pub fn left(&self, node: NodeId) -> Result<Self, RingError> {
        if !self.racks.contains_key(&node) {
            return Err(RingError::NoMember(node));
        }
        let mut next = self.clone();
        let staying = self.places().filter(|(_, holder)| *holder != node);
        next.places = staying.collect();
        next.racks.remove(&node);
        next.epoch = self.next_epoch()?;
        next.checked()
    }

    fn next_epoch(&self) -> Result<Epoch, RingError> {
        let next = self.epoch.0.checked_add(1);
        next.map(Epoch).ok_or(RingError::LastEpoch)
    }

    /// Gives a node its places.
    fn admit(&mut self, node: NodeId, member: &Member) -> Result<(), RingError> {
        if !NodeSet::first(64).contains(node) {
            return Err(RingError::Stranger(node));
        }
        if member.tokens.is_empty() {
            return Err(RingError::NoTokens(node));
        }
        if self.racks.insert(node, member.rack).is_some() {
            return Err(RingError::Twice(node));
        }
        for token in &member.tokens {
            if let Some(holder) = self.places.insert(*token, node) {
                return Err(RingError::Clash {
                    token: *token,
                    holder,
                    claimant: node,
                });
            }
        }
        Ok(())
    }

    /// The ring, if it can keep what it is to keep.
    fn checked(mut self) -> Result<Self, RingError> {
        let members = self.racks.len();
        if self.factor == 0 {
            return Err(RingError::NoReplicas);
        }
        if members < self.factor() {
            let factor = self.factor;
            return Err(RingError::TooFew { members, factor });
        }
        let racks: BTreeSet<Rack> = self.racks.values().copied().collect();
        // There are at most 64 members.
        self.distinct_racks = u32::try_from(racks.len()).unwrap_or(u32::MAX);
        Ok(self)
    }
}

/// As a list of members and their places.
impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} rf{} ", self.epoch, self.factor)?;
        f.debug_list().entries(self.places()).finish()
    }
}

impl TryFrom<Listed> for Ring {
    type Error = RingError;

    fn try_from(listed: Listed) -> Result<Self, RingError> {
        let members = listed.members.iter();
        let members = members.map(|(node, member)| (*node, member.clone()));
        let ring = Self::new(listed.factor, members)?;
        Ok(Self {
            epoch: listed.epoch,
            ..ring
        })
    }
}

impl From<Ring> for Listed {
    fn from(ring: Ring) -> Self {
        let mut members: Map<NodeId, Member> = Map::new();
        for (node, rack) in &ring.racks {
            let tokens = Vec::new();
            members.insert(
                *node,
                Member {
                    rack: *rack,
                    tokens,
                },
            );
        }
        for (token, node) in ring.places() {
            if let Some(member) = members.get_mut(&node) {
                member.tokens.push(token);
            }
        }
        Self {
            epoch: ring.epoch,
            factor: ring.factor,
            members,
        }
    }
}

/// The tokens after one and up to another, from the largest on to the smallest if need be. From a token
/// to itself it is the whole ring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenRange {
    /// Before the first.
    pub after: Token,
    /// The last.
    pub up_to: Token,
}

impl TokenRange {
    /// True if the token is in it.
    pub fn contains(self, token: Token) -> bool {
        if self.after < self.up_to {
            self.after < token && token <= self.up_to
        } else {
            self.after < token || token <= self.up_to
        }
    }

    /// How many tokens it has: at most 2^64, and never none.
    pub fn width(self) -> u128 {
        let width = self.up_to.0.wrapping_sub(self.after.0).cast_unsigned();
        match width {
            0 => 1 << 64,
            width => u128::from(width),
        }
    }
}

impl fmt::Debug for TokenRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:?}, {:?}]", self.after, self.up_to)
    }
}

/// The ranges between these places, which increase: the first is that which passes the largest token.
fn between(places: &[Token]) -> impl Iterator<Item = TokenRange> {
    let before = places.last().into_iter().chain(places);
    let pairs = before.zip(places);
    pairs.map(|(after, up_to)| TokenRange {
        after: *after,
        up_to: *up_to,
    })
}
