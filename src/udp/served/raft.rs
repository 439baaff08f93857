//! Raft, served.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Answer, Command, Served};
use crate::data::NodeSet;
use crate::machine::{NodeId, State};
use crate::raft::{
    Call, Changes, Elections, Event, FirstEntry, Flow, Leadership, Operation, Outcome, Raft, Reads,
    Refusal, Reply, Role, Session, Snapshots,
};
use crate::register::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::udp::configuration::Cluster;

/// What is left of a datagram for entries: it has 1,200 bytes, of which the frame and all else that is
/// in the message take less than 120.
const BATCH_BYTES_MAX: u32 = 1080;

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

impl Served for Raft {
    const NAME: &'static str = "raft";
    const VERSION: &'static str = "raft/3";
    /// Who the members are at first, who may become one, and whether a leader may count on the others not
    /// to vote: all have to know.
    type Terms = (NodeSet, NodeSet, Option<u32>);
    type Session = Client;

    fn terms(cluster: &Cluster) -> Self::Terms {
        let members = cluster.quorums.members();
        (members, cluster.spares, cluster.lease_drift_ms)
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        let (members, spares, lease) = Self::terms(cluster);
        Self {
            me: node,
            members,
            spares,
            elections: Elections::PreVote,
            first_entry: FirstEntry::NoOp,
            leadership: Leadership::CheckQuorum,
            reads: lease.map_or(Reads::ReadIndex, |drift_ms| Reads::Lease { drift_ms }),
            batch_entries_max: 256,
            batch_bytes_max: BATCH_BYTES_MAX,
            flow: Flow::Pipelined { messages_max: 8 },
            // As many are kept again, for those that lag behind by less than that.
            snapshots: Snapshots::Every {
                entries: cluster.snapshot_entries,
                kept: cluster.snapshot_entries,
                pieces_max: 256,
            },
            changes: Changes::OneByOne,
        }
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
            Command::Get { key } => {
                client.asked = Asked::Value;
                return Ok(Call::Read { ticket, key });
            }
            Command::Set { key, value } => Operation::Put { key, value },
            Command::Delete { key } => Operation::Delete { key },
            Command::CompareAndSwap { key, expected, new } => {
                Operation::CompareAndSwap { key, expected, new }
            }
            Command::Add { key, by } => Operation::Increment { key, by },
            Command::Members(change) => {
                client.asked = Asked::Value;
                return Ok(Call::Members { ticket, change });
            }
            Command::HandOver(to) => {
                client.asked = Asked::Value;
                return Ok(Call::Transfer { ticket, to });
            }
        };
        let too_long = operation.bytes() > KEY_BYTES_MAX + VALUE_BYTES_MAX;
        if too_long {
            return Err(Answer::Refused(alloc::format!(
                "key and values have at most {} bytes together",
                KEY_BYTES_MAX + VALUE_BYTES_MAX
            )));
        }
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
        Ok(Call::Command {
            ticket,
            session,
            operation,
        })
    }

    fn executed(event: &Event) -> Option<(u64, String)> {
        match event {
            Event::Committed { index, entry, .. } => Some((index.0, alloc::format!("{entry:?}"))),
            Event::Elected { .. }
            | Event::Proposed { .. }
            | Event::Decided { .. }
            | Event::Installed { .. }
            | Event::Leased { .. }
            | Event::LeaseEnded { .. }
            | Event::Transferred { .. }
            | Event::Replied { .. }
            | Event::Abandoned { .. }
            | Event::Refused { .. } => None,
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Replied { ticket, .. }
            | Event::Abandoned { ticket }
            | Event::Transferred { ticket, .. }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Elected { .. }
            | Event::Proposed { .. }
            | Event::Decided { .. }
            | Event::Installed { .. }
            | Event::Leased { .. }
            | Event::LeaseEnded { .. }
            | Event::Committed { .. } => None,
        }
    }

    fn answer(event: Event, client: &mut Client, state: &State<Self>) -> Answer {
        let reply = match event {
            Event::Replied { reply, .. } => reply,
            Event::Refused { refusal, .. } => {
                return match refusal {
                    Refusal::NotLeader => Answer::NotLeader(leader(state)),
                    Refusal::NoReads => Answer::Refused("reads go through the log here".into()),
                    Refusal::Busy | Refusal::HandingOver | Refusal::TermTooYoung => Answer::Busy,
                    Refusal::FixedMembers => Answer::Refused("the members are fixed here".into()),
                    Refusal::ChangeUnderWay => Answer::Refused(
                        "a change of the members is under way: ask again when it is over".into(),
                    ),
                    Refusal::Unfit => Answer::Refused(
                        "that change makes no sense now: INFO says who the members are".into(),
                    ),
                };
            }
            Event::Transferred { outcome, .. } => {
                return match outcome {
                    Outcome::Yielded => Answer::Done,
                    Outcome::TimedOut => Answer::Refused(
                        "the other did not take over in time; this node leads on".into(),
                    ),
                };
            }
            Event::Abandoned { .. }
            | Event::Elected { .. }
            | Event::Proposed { .. }
            | Event::Decided { .. }
            | Event::Installed { .. }
            | Event::Leased { .. }
            | Event::LeaseEnded { .. }
            | Event::Committed { .. } => return Answer::Unknown,
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
        let role = match &volatile.role {
            Role::Follower { .. } => "follower",
            Role::PreCandidate { .. } => "pre-candidate",
            Role::Candidate { .. } => "candidate",
            Role::Leader(..) => "leader",
        };
        alloc::vec![
            ("role", role.into()),
            ("term", durable.term.0.to_string()),
            ("last", durable.log.last().index.0.to_string()),
            ("commit", volatile.commit.0.to_string()),
            ("snapshot", durable.snapshot.position.index.0.to_string()),
            ("keys", volatile.store.values.len().to_string()),
            ("voters", volatile.members.membership.voters.to_string()),
            ("learners", volatile.members.membership.learners.to_string()),
            ("lease", lease(&volatile.role).into()),
        ]
    }
}

/// Whether the node reads without asking anyone.
fn lease(role: &Role) -> &'static str {
    match role {
        Role::Leader(leader) if leader.lease.held.is_some() => "held",
        Role::Leader(_)
        | Role::Follower { .. }
        | Role::PreCandidate { .. }
        | Role::Candidate { .. } => "none",
    }
}

/// Whom this node follows, as far as it knows.
fn leader(state: &State<Raft>) -> Option<NodeId> {
    match state.volatile.role {
        Role::Follower { leader } => leader,
        Role::PreCandidate { .. } | Role::Candidate { .. } | Role::Leader(..) => None,
    }
}
