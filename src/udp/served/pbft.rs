//! PBFT, served.
//!
//! A client speaks RESP to a member, and that member is its proxy: it signs the request in its own name,
//! asks the replicas, and believes what f + 1 of them sign alike (of a read that was not ordered, a
//! quorum). So whom a client has to trust is the one member that it talks to, and no other; whom it
//! talks to is its choice. A client that trusts nobody runs the machine itself.
//!
//! A session is of the member that it was begun at: elsewhere it is another client's.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Answer, Command, Served, lacks};
use crate::machine::{NodeId, State};
use crate::pbft::{
    Call, Event, OPERATION_BYTES_MAX, Operation, Pbft, Reads, Refusal, Reply, Session, Sizes,
    Stance, Watermarks,
};
use crate::udp::configuration::{Cluster, ConfigurationError, Place};
use crate::udp::keys::{KeyRing, PublicKey, SecretKey};
use crate::udp::parts::MESSAGE_BYTES_MAX;

/// The fewest members of which one may lie.
pub const MEMBERS_MIN: usize = 4;
/// The most members of which a new view can be told in one message, with the least window there is.
pub const MEMBERS_MAX: usize = 25;
/// How many requests are ordered together at most.
const BATCH_REQUESTS_MAX: u32 = 32;
/// How many places are ordered before the first of them is executed: one is agreed on while the next is
/// collected.
const ORDERS_MAX: u64 = 2;
/// How many places there are between checkpoints at most.
const INTERVAL_MAX: u64 = 32;

/// A client of the replicated store, and the command that it has under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    name: u64,
    serial: u64,
    asked: Asked,
}

/// How to read a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Asked {
    Value,
    Number,
    Swap,
}

/// What all members have to agree on.
#[derive(Clone, Debug, Serialize)]
pub struct Terms {
    members: Vec<NodeId>,
    public: BTreeMap<NodeId, PublicKey>,
    interval: u64,
    window: u64,
    batch_requests_max: u32,
}

/// How many bytes a new view takes at most, where so many places lie between the watermarks: a quorum of
/// view changes, each with a stable checkpoint and a certificate for each place, and the orders that
/// follow.
pub fn new_view_bytes_max(sizes: &Sizes, window: u64) -> usize {
    const NUMBER: usize = 10;
    const NODE: usize = 2;
    const DIGEST: usize = 32;
    const SIGNATURE: usize = 65;
    let signer = NODE + SIGNATURE;
    let window = usize::try_from(window).unwrap_or(usize::MAX);
    let assignment = 2 * NUMBER + DIGEST;
    let certificate = assignment + SIGNATURE + NUMBER + sizes.prepares * signer;
    let stable = 1 + NUMBER + DIGEST + NUMBER + sizes.checkpoints * signer;
    let change = NUMBER + stable + NUMBER + window.saturating_mul(certificate) + signer;
    let orders = NUMBER + window.saturating_mul(assignment + SIGNATURE);
    let changes = NUMBER + (sizes.view_changes).saturating_mul(NODE + change);
    1 + NUMBER + changes + orders + signer
}

/// As far apart as they may be, so that a new view fits a message.
pub fn watermarks(sizes: &Sizes) -> Watermarks {
    let fits = |interval: &u64| new_view_bytes_max(sizes, 2 * interval) <= MESSAGE_BYTES_MAX;
    let interval = (1..=INTERVAL_MAX).rev().find(fits).unwrap_or(1);
    Watermarks {
        interval,
        window: 2 * interval,
    }
}

fn machine(cluster: &Cluster, node: NodeId, keys: KeyRing) -> Pbft<KeyRing> {
    let sizes = Sizes::of(cluster.members.len());
    Pbft {
        me: node,
        sizes,
        keys,
        watermarks: watermarks(&sizes),
        batch_requests_max: BATCH_REQUESTS_MAX,
        orders_max: ORDERS_MAX,
        reads: Reads::Optimistic,
    }
}

impl Served for Pbft<KeyRing> {
    const NAME: &'static str = "pbft";
    const VERSION: &'static str = "pbft/1";
    type Terms = Terms;
    type Session = Client;

    fn terms(cluster: &Cluster) -> Terms {
        let Watermarks { interval, window } = watermarks(&Sizes::of(cluster.members.len()));
        Terms {
            members: cluster.members.keys().copied().collect(),
            public: cluster.public_keys.clone(),
            interval,
            window,
            batch_requests_max: BATCH_REQUESTS_MAX,
        }
    }

    /// The machine without a secret: what it signs convinces nobody.
    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        let keys = KeyRing::without_secret(cluster.id, node, cluster.public_keys.clone());
        machine(cluster, node, keys)
    }

    fn equipped(cluster: &Cluster, place: &Place) -> Result<Self, ConfigurationError> {
        let numbers = (0..).map(NodeId).zip(cluster.members.keys());
        if let Some((expected, _)) = numbers.into_iter().find(|(expected, id)| expected != *id) {
            return Err(ConfigurationError::NotConsecutive(expected));
        }
        let lacks = |node: &&NodeId| !cluster.public_keys.contains_key(*node);
        if let Some(node) = cluster.members.keys().find(lacks) {
            return Err(ConfigurationError::MissingPublicKey(*node));
        }
        let path = place.key.as_ref().ok_or(ConfigurationError::Missing {
            setting: "key",
            give: "the file of this node's secret, which `quorate keygen` makes",
        })?;
        let secret = SecretKey::read(path).map_err(ConfigurationError::Key)?;
        let public = secret.public();
        if cluster.public_keys.get(&place.node) != Some(&public) {
            return Err(ConfigurationError::WrongKey {
                node: place.node,
                path: path.clone(),
                public: Box::new(public),
            });
        }
        let public = cluster.public_keys.clone();
        let keys = KeyRing::new(cluster.id, place.node, secret, public);
        Ok(machine(cluster, place.node, keys))
    }

    fn session(unique: u64) -> Client {
        Client {
            name: unique,
            serial: 0,
            asked: Asked::Value,
        }
    }

    fn call(&self, ticket: u64, client: &mut Client, command: Command) -> Result<Call, Answer> {
        let operation = match command {
            Command::Get { key } => Operation::Get { key },
            Command::Set { key, value } => Operation::Put { key, value },
            Command::Delete { key } => Operation::Delete { key },
            Command::CompareAndSwap { key, expected, new } => {
                Operation::CompareAndSwap { key, expected, new }
            }
            Command::Add { key, by } => Operation::Increment { key, by },
            Command::Members(_) | Command::HandOver(_) => {
                let why = "its members never change, and its primary is whom the view says";
                return Err(lacks::<Self>(&command, why));
            }
        };
        client.asked = match operation {
            Operation::Increment { .. } => Asked::Number,
            Operation::CompareAndSwap { .. } => Asked::Swap,
            Operation::Get { .. } | Operation::Put { .. } | Operation::Delete { .. } => {
                Asked::Value
            }
        };
        client.serial += 1;
        let session = Session {
            client: client.name,
            serial: client.serial,
        };
        Ok(Call {
            ticket,
            session,
            operation,
        })
    }

    fn executed(event: &Event) -> Option<(u64, String)> {
        match event {
            Event::Executed {
                sequence,
                batch,
                effective,
            } => Some((
                sequence.0,
                alloc::format!("{batch:?}, of which {effective:?}"),
            )),
            Event::Replied { .. }
            | Event::Refused { .. }
            | Event::Prepared { .. }
            | Event::Stabilised { .. }
            | Event::Transferred { .. }
            | Event::Entered { .. } => None,
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Replied { ticket, .. } | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Prepared { .. }
            | Event::Executed { .. }
            | Event::Stabilised { .. }
            | Event::Transferred { .. }
            | Event::Entered { .. } => None,
        }
    }

    fn answer(event: Event, client: &mut Client, _: &State<Self>) -> Answer {
        let reply = match event {
            Event::Replied { reply, .. } => reply,
            Event::Refused { refusal, .. } => {
                return match refusal {
                    Refusal::Busy => Answer::Busy,
                    Refusal::TooLarge => Answer::Refused(alloc::format!(
                        "key and values have at most {OPERATION_BYTES_MAX} bytes together"
                    )),
                };
            }
            Event::Prepared { .. }
            | Event::Executed { .. }
            | Event::Stabilised { .. }
            | Event::Transferred { .. }
            | Event::Entered { .. } => return Answer::Unknown,
        };
        match (reply, client.asked) {
            (Reply::Done, Asked::Swap) => Answer::Swapped(true),
            (Reply::Mismatched, _) => Answer::Swapped(false),
            (Reply::Done, Asked::Value | Asked::Number) => Answer::Done,
            (Reply::Value(value), Asked::Number) => {
                let number = value.and_then(|value| value.parse().ok());
                number.map_or(Answer::Unknown, Answer::Number)
            }
            (Reply::Value(value), Asked::Value | Asked::Swap) => Answer::Value(value),
            (Reply::NotANumber, _) => Answer::Refused(
                "the value is no number, or the sum is none of 64 bits; nothing was changed".into(),
            ),
            (Reply::Forgotten, _) => Answer::Unknown,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let (durable, volatile) = (&state.durable, &state.volatile);
        let stance = match durable.stance {
            Stance::Active => "active",
            Stance::Changing => "changing",
        };
        let stable = durable.snapshots.get(&durable.low());
        let digest = stable.map(|snapshot| snapshot.checkpoint().digest.0);
        let digest = digest.map_or_else(|| "none".into(), hex::encode);
        alloc::vec![
            ("view", durable.view.0.to_string()),
            ("stance", stance.into()),
            ("executed", durable.service.executed.0.to_string()),
            ("stable", durable.low().0.to_string()),
            ("stable_digest", digest),
            ("pending", volatile.pending.len().to_string()),
            ("keys", durable.service.values.len().to_string()),
        ]
    }

    fn observed(&self) -> Vec<(&'static str, String)> {
        let tallied = self.keys.tallied();
        alloc::vec![
            ("signatures_made", tallied.made.to_string()),
            ("signatures_verified", tallied.verified.to_string()),
            ("signatures_refused", tallied.refused.to_string()),
            ("crypto_micros", tallied.time.as_micros().to_string()),
        ]
    }
}
