//! The strong store, served.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Answer, Command, Served, lacks};
use crate::data::NodeSet;
use crate::machine::{NodeId, State};
use crate::store::{Call, Event, Refusal, Role, Store};
use crate::udp::configuration::Cluster;

/// How to read that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// To put.
    Put,
    /// To swap.
    Swap,
}

impl Served for Store {
    const NAME: &'static str = "store";
    const VERSION: &'static str = "store/1";
    type Terms = NodeSet;
    type Session = Asked;

    fn terms(cluster: &Cluster) -> NodeSet {
        cluster.quorums.members()
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        Self {
            me: node,
            members: cluster.quorums.members(),
        }
    }

    fn session(_: u64) -> Asked {
        Asked::Put
    }

    fn call(&self, ticket: u64, asked: &mut Asked, command: Command) -> Result<Call, Answer> {
        *asked = Asked::Put;
        match command {
            Command::Get { key } => Ok(Call::Get { ticket, key }),
            Command::Set { key, value } => Ok(Call::Put { ticket, key, value }),
            Command::CompareAndSwap { key, expected, new } => {
                *asked = Asked::Swap;
                Ok(Call::CompareAndSwap {
                    ticket,
                    key,
                    expected,
                    new,
                })
            }
            Command::Delete { .. }
            | Command::Add { .. }
            | Command::Members(_)
            | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket }
            | Event::Got { ticket, .. }
            | Event::Mismatched { ticket }
            | Event::Refused { ticket, .. }
            | Event::Unknown { ticket } => Some(*ticket),
            Event::Promised { .. } | Event::Elected { .. } | Event::Decided { .. } => None,
        }
    }

    fn answer(event: Event, asked: &mut Asked, _: &State<Self>) -> Answer {
        match event {
            Event::Done { .. } => match asked {
                Asked::Put => Answer::Done,
                Asked::Swap => Answer::Swapped(true),
            },
            Event::Got { value, .. } => Answer::Value(value),
            Event::Mismatched { .. } => Answer::Swapped(false),
            Event::Refused { refusal, .. } => match refusal {
                Refusal::NotLeader { leader } => Answer::NotLeader(leader),
                Refusal::Busy => Answer::Busy,
                Refusal::TooLong => Answer::Refused("key or value is too long".into()),
            },
            Event::Unknown { .. }
            | Event::Promised { .. }
            | Event::Elected { .. }
            | Event::Decided { .. } => Answer::Unknown,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let role = match &state.volatile.role {
            Role::Follower { .. } => "follower",
            Role::Candidate { .. } => "candidate",
            Role::Leader(..) => "leader",
        };
        alloc::vec![
            ("role", role.into()),
            ("term", state.durable.term.0.to_string()),
            ("keys", state.durable.records.len().to_string()),
        ]
    }
}
