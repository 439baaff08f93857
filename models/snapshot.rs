//! The state of a whole world: nodes, disks, alarms, the network, the clients, the ghost, and what
//! the adversary may still do.

use std::fmt;
use std::hash::Hash;

use quorate::machine::{Machine, NodeId, State};

use crate::ghost::Ghost;
use crate::promise::{Still, Told};
use crate::shared::Shared;

/// One node, as the world keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node<M: Machine> {
    /// It runs.
    Up {
        /// Its state.
        state: State<M>,
        /// The alarms that are armed, in order.
        armed: Vec<M::Timer>,
        /// Under a lying disk: what the disk held before each write since the last boot, oldest
        /// first. Any of them may be what a restart finds. Under an honest disk: nothing.
        unflushed: Vec<M::Durable>,
    },
    /// It crashed. Its volatile state and its alarms are gone, for promises too.
    Down {
        /// What its disk says it holds.
        durable: M::Durable,
        /// As above.
        unflushed: Vec<M::Durable>,
    },
    /// It is the adversary's. It has no state but what it was told, which the network holds.
    Traitor,
}

impl<M: Machine> Node<M> {
    /// The state, if the node runs.
    pub fn up(&self) -> Option<&State<M>> {
        match self {
            Self::Up { state, .. } => Some(state),
            Self::Down { .. } | Self::Traitor => None,
        }
    }

    /// What the disk holds, running or not.
    pub fn durable(&self) -> Option<&M::Durable> {
        match self {
            Self::Up { state, .. } => Some(&state.durable),
            Self::Down { durable, .. } => Some(durable),
            Self::Traitor => None,
        }
    }

    /// The same node once it has crashed, if it runs: its disk is left.
    pub(crate) fn crashed(&self) -> Option<Self> {
        let Self::Up {
            state, unflushed, ..
        } = self
        else {
            return None;
        };
        Some(Self::Down {
            durable: state.durable.clone(),
            unflushed: unflushed.clone(),
        })
    }

    /// The armed alarms, in order.
    pub fn armed(&self) -> &[M::Timer] {
        match self {
            Self::Up { armed, .. } => armed,
            Self::Down { .. } | Self::Traitor => &[],
        }
    }
}

/// A message on its way, or one that arrived, or one that never will: the network forgets nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Letter<T> {
    /// To whom.
    pub to: NodeId,
    /// From whom, in truth: nobody sends in another's name.
    pub from: NodeId,
    /// What it says.
    pub message: T,
}

/// Every message that was ever sent, in order of content.
///
/// Delivery removes nothing. So one set is loss (a message that is never delivered), repetition
/// (one that is delivered again) and reordering (there is no order) at once. It is also TLA+'s
/// usual network: see *`TwoPhase`* in Gray and Lamport, *Consensus on Transaction Commit*, TODS 31(1),
/// 2006.
pub type Letters<M> = Vec<Shared<Letter<<M as Machine>::Message>>>;

/// A client that works through its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// The place in its script of the next call, or of the one that is under way.
    pub next: u32,
    /// Where the call under way was made, if one is.
    pub waiting: Option<NodeId>,
}

/// True if no call is under way: the goal of most promises that calls return.
pub fn nobody_waits(clients: &[Client]) -> bool {
    clients.iter().all(|client| client.waiting.is_none())
}

/// What the adversary may still do, and what it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Adversary {
    /// How many crashes are left, over all nodes.
    pub crashes: u32,
    /// How many cuts are left.
    pub cuts: u32,
    /// The cut that is in force, by its place in the world's list.
    pub cut: Option<usize>,
}

impl Adversary {
    /// It does nothing any more.
    pub(crate) fn retire(&mut self) {
        (self.crashes, self.cuts, self.cut) = (0, 0, None);
    }
}

/// A mistake of ours inside a machine. Nothing happens after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broken {
    /// Where.
    pub node: NodeId,
    /// What.
    pub fault: Fault,
}

/// What a machine must never do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A handler panicked, with these words.
    Panic(String),
    /// [`Machine::holds`] is false of the state it reached.
    Invariant,
}

/// The state of a world. Parts are shared between states: a step changes one node.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Snapshot<M: Machine, G: Ghost<M>> {
    /// The nodes; node *i* is `NodeId(i)`.
    pub nodes: Box<[Shared<Node<M>>]>,
    /// What was sent.
    pub network: Shared<Letters<M>>,
    /// The clients, in the order of their scripts.
    pub clients: Box<[Client]>,
    /// What is known of the past.
    pub ghost: Shared<G>,
    /// The adversary.
    pub adversary: Adversary,
    /// A mistake of ours, if one was met.
    pub broken: Option<Shared<Broken>>,
}

impl<M: Machine, G: Ghost<M>> Snapshot<M, G> {
    /// All but the nodes and the messages.
    pub fn told(&self) -> Told<'_, G> {
        Told {
            ghost: &self.ghost,
            clients: &self.clients,
            adversary: self.adversary,
            broken: self.broken.as_deref(),
        }
    }

    /// All but the messages.
    pub fn still(&self) -> Still<'_, M, G> {
        Still {
            nodes: self.nodes.iter().map(|node| &**node).collect(),
            told: self.told(),
        }
    }

    /// The node of this name, if there is one.
    pub fn node(&self, id: NodeId) -> Option<&Shared<Node<M>>> {
        usize::try_from(id.0).ok().and_then(|i| self.nodes.get(i))
    }

    /// The states of the nodes that run.
    pub fn running(&self) -> impl Iterator<Item = (NodeId, &State<M>)> {
        (0..)
            .map(NodeId)
            .zip(&self.nodes)
            .filter_map(|(id, node)| Some((id, node.up()?)))
    }

    /// What is on the disks, of the nodes that run and of those that don't.
    pub fn disks(&self) -> impl Iterator<Item = (NodeId, &M::Durable)> {
        (0..)
            .map(NodeId)
            .zip(&self.nodes)
            .filter_map(|(id, node)| Some((id, node.durable()?)))
    }
}

/// Compact, and complete: the Explorer takes two states for equal if they print alike.
impl<M: Machine, G: Ghost<M>> fmt::Debug for Snapshot<M, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in (0..).map(NodeId).zip(&self.nodes) {
            match &**node {
                Node::Up {
                    state,
                    armed,
                    unflushed,
                } => {
                    writeln!(f, "{id} disk    {:?}", state.durable)?;
                    writeln!(f, "   memory  {:?}", state.volatile)?;
                    writeln!(f, "   armed   {armed:?}")?;
                    write_unflushed(f, unflushed)?;
                }
                Node::Down { durable, unflushed } => {
                    writeln!(f, "{id} disk    {durable:?}")?;
                    writeln!(f, "   down")?;
                    write_unflushed(f, unflushed)?;
                }
                Node::Traitor => writeln!(f, "{id} is a traitor")?,
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            match client.waiting {
                Some(node) => {
                    writeln!(f, "client {index} waits at {node} for call {}", client.next)?;
                }
                None => writeln!(f, "client {index} is at call {}", client.next)?,
            }
        }
        let Adversary { crashes, cuts, cut } = self.adversary;
        write!(f, "adversary: {crashes} crashes and {cuts} cuts left")?;
        match cut {
            Some(cut) => writeln!(f, "; cut {cut} in force")?,
            None => writeln!(f)?,
        }
        if let Some(broken) = &self.broken {
            writeln!(f, "broken: {} {:?}", broken.node, broken.fault)?;
        }
        writeln!(f, "ghost: {:?}", self.ghost)?;
        writeln!(f, "sent:")?;
        for letter in self.network.iter() {
            writeln!(f, "  {} > {}  {:?}", letter.from, letter.to, letter.message)?;
        }
        Ok(())
    }
}

fn write_unflushed<D: fmt::Debug>(f: &mut fmt::Formatter<'_>, unflushed: &[D]) -> fmt::Result {
    if unflushed.is_empty() {
        return Ok(());
    }
    writeln!(f, "   a crash may bring back {unflushed:?}")
}
