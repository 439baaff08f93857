//! What a protocol tells the adapter beside its machine: its settings, and what a client's command is
//! to it. One small file for each protocol.

use alloc::string::String;
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Identity;
use super::configuration::{Cluster, ConfigurationError, Place, Protocol};
use super::keys::KeyRing;
use super::std::time::{SystemTime, UNIX_EPOCH};
use crate::cap::Cap;
use crate::causal::Causal;
use crate::clock::Vector;
use crate::database::Stamp;
use crate::gossip::Gossip;
use crate::machine::{Machine, NodeId, State};
use crate::membership::Membership;
use crate::pbft::Pbft;
use crate::raft::{MemberChange, Raft};
use crate::rebalance::Rebalance;
use crate::register::Register;
use crate::store::Store;

mod cap;
mod causal;
mod database;
mod gossip;
mod membership;
pub mod pbft;
mod raft;
mod register;
mod store;

/// A machine that members run for clients who are none.
pub trait Served: Machine {
    /// The protocol's name, as in `quorate serve --protocol`.
    const NAME: &'static str;
    /// What labels its datagrams and journals: to be raised when their encoding changes.
    const VERSION: &'static str;
    /// What all members have to agree on beside the protocol.
    type Terms: Serialize;
    /// What one client's connection carries from command to command, wherever it goes.
    type Session: Clone + Serialize + DeserializeOwned;

    /// What all members of this cluster have to agree on.
    fn terms(cluster: &Cluster) -> Self::Terms;
    /// The machine that `node` runs in it.
    fn machine(cluster: &Cluster, node: NodeId) -> Self;
    /// The machine with what only this member has, such as a key.
    ///
    /// # Errors
    ///
    /// If something is missing or wrong. Nothing was started.
    fn equipped(cluster: &Cluster, place: &Place) -> Result<Self, ConfigurationError> {
        Ok(Self::machine(cluster, place.node))
    }
    /// A new client, given a number that nobody else has.
    fn session(unique: u64) -> Self::Session;
    /// The command as a call of this ticket.
    ///
    /// # Errors
    ///
    /// The answer, if it takes no call to give it: mostly that this protocol cannot do that.
    fn call(
        &self,
        ticket: u64,
        session: &mut Self::Session,
        command: Command,
    ) -> Result<Self::Call, Answer>;
    /// The ticket of the call that the event answers, if it answers one.
    fn ticket(event: &Self::Event) -> Option<u64>;
    /// What it answers, in the state that the node is now in, and what the client carries on.
    fn answer(event: Self::Event, session: &mut Self::Session, state: &State<Self>) -> Answer;
    /// What the event says that the node did at a place of the order that all members keep, if there is
    /// such an order. Within a boot places only grow.
    fn executed(_: &Self::Event) -> Option<(u64, String)> {
        None
    }
    /// Whether all writes of a key are in an order, in which what a quorum read never goes back.
    const ORDERED: bool = false;

    /// Where in that order what the event tells of the key is: what was written, or read; nothing, if there
    /// is nothing.
    fn version(_: &Self::Event, _key: &str) -> Option<Stamp> {
        None
    }

    /// What an operator wants to see of a node.
    fn status(state: &State<Self>) -> Vec<(&'static str, String)>;

    /// What the machine counted of itself, for operators: nothing, mostly.
    fn observed(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Who `node` is in the cluster.
    fn identity(cluster: &Cluster, node: NodeId) -> Identity {
        Identity::new(cluster.id, Self::VERSION, &Self::terms(cluster), node)
    }
}

/// What a client asks for, in any key-value protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Which value has the key?
    Get {
        /// The key.
        key: String,
    },
    /// Let the key have the value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Let the key have the value if it has the other one; none: if it has none.
    CompareAndSwap {
        /// The key.
        key: String,
        /// What it must have.
        expected: Option<String>,
        /// What it then gets.
        new: String,
    },
    /// Let the key have no value.
    Delete {
        /// The key.
        key: String,
    },
    /// Add to the number that the key has.
    Add {
        /// The key.
        key: String,
        /// How much.
        by: i64,
    },
    /// Let the members be others. For operators.
    Members(MemberChange),
    /// Let another member lead. For operators.
    HandOver(NodeId),
}

impl Command {
    /// True if it is of no consequence whether it was done.
    pub fn is_read(&self) -> bool {
        match self {
            Self::Get { .. } => true,
            Self::Set { .. }
            | Self::CompareAndSwap { .. }
            | Self::Delete { .. }
            | Self::Add { .. }
            | Self::Members(_)
            | Self::HandOver(_) => false,
        }
    }

    /// What a command is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Set { .. } => "set",
            Self::CompareAndSwap { .. } => "compare-and-swap",
            Self::Delete { .. } => "delete",
            Self::Add { .. } => "increment",
            Self::Members(_) => "change of members",
            Self::HandOver(_) => "transfer of leadership",
        }
    }
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The value of the key, or that it has none.
    Value(Option<String>),
    /// The values that it has: several, if they were written without knowledge of each other.
    Siblings(Vec<String>),
    /// The number that the key now has.
    Number(i64),
    /// Whether what was expected was there, and is replaced.
    Swapped(bool),
    /// This node cannot do it, and did not; another can.
    NotLeader(Option<NodeId>),
    /// Too much is under way here; it was not begun.
    Busy,
    /// It was not done, and why.
    Refused(String),
    /// No quorum answered. It has no effect that anyone could see.
    Unanswered,
    /// It may have taken effect, or do so later, or never.
    Unknown,
}

/// Something that can be done with any machine that is served.
pub trait ForServed {
    /// What comes of it.
    type Output;

    /// Does it with this one.
    fn with<M: Served>(self) -> Self::Output;
}

/// Does it with the machine of this protocol.
pub fn with<D: ForServed>(protocol: Protocol, deed: D) -> D::Output {
    match protocol {
        Protocol::Register => deed.with::<Register>(),
        Protocol::Raft => deed.with::<Raft>(),
        Protocol::Pbft => deed.with::<Pbft<KeyRing>>(),
        Protocol::Store => deed.with::<Store>(),
        Protocol::CapCp | Protocol::CapAp => deed.with::<Cap>(),
        Protocol::Gossip => deed.with::<Gossip>(),
        Protocol::Causal => deed.with::<Causal>(),
        Protocol::Membership => deed.with::<Membership>(),
        Protocol::Database => deed.with::<Rebalance>(),
    }
}

/// A vector as an operator reads it.
fn counts(vector: &Vector) -> String {
    let counts = vector
        .iter()
        .map(|(node, count)| alloc::format!("{node} {count}"));
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() {
        return "nothing".into();
    }
    counts.join("; ")
}

/// What a protocol says to a command that it does not have.
fn lacks<M: Served>(command: &Command, why: &str) -> Answer {
    let (name, what) = (M::NAME, command.name());
    Answer::Refused(alloc::format!("{name} has no {what}: {why}"))
}

/// What this node's clock shows, in milliseconds since 1970; nothing, if it is set to before that.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
