//! The causal store, served. What a client carries from member to member is the token of its session: the
//! `SESSION` command gives it, and takes it elsewhere.
//!
//! The store has no delete: what is deleted has an empty value, and an empty value is read as none.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks};
use crate::causal::{Call, Causal, Event, KEY_BYTES_MAX, Refusal, VALUE_BYTES_MAX};
use crate::clock::Vector;
use crate::data::NodeSet;
use crate::machine::{NodeId, State};
use crate::udp::configuration::Cluster;

/// How many updates a member holds back.
const HELD_MAX: usize = 1024;

impl Served for Causal {
    const NAME: &'static str = "causal";
    const VERSION: &'static str = "causal/1";
    type Terms = NodeSet;
    type Session = Vector;

    fn terms(cluster: &Cluster) -> NodeSet {
        cluster.quorums.members()
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        Self {
            me: node,
            members: cluster.quorums.members(),
            held_max: HELD_MAX,
        }
    }

    fn session(_: u64) -> Vector {
        Vector::new()
    }

    fn call(&self, ticket: u64, token: &mut Vector, command: Command) -> Result<Call, Answer> {
        let token = token.clone();
        match command {
            Command::Get { key } => Ok(Call::Get { ticket, token, key }),
            Command::Set { key, value } => Ok(Call::Put {
                ticket,
                token,
                key,
                value,
            }),
            Command::Delete { key } => Ok(Call::Put {
                ticket,
                token,
                key,
                value: String::new(),
            }),
            Command::CompareAndSwap { .. } | Command::Add { .. } => Err(lacks::<Self>(
                &command,
                "each member answers alone, and none knows what the others do; raft has",
            )),
            Command::Members(_) | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket, .. }
            | Event::Got { ticket, .. }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Sent(_) | Event::Delivered(_) => None,
        }
    }

    fn answer(event: Event, session: &mut Vector, _: &State<Self>) -> Answer {
        match event {
            Event::Done { token, .. } => {
                session.merge(&token);
                Answer::Done
            }
            Event::Got { value, token, .. } => {
                session.merge(&token);
                Answer::Value(value.filter(|value| !value.is_empty()))
            }
            Event::Refused { refusal, .. } => match refusal {
                Refusal::TooLong => Answer::Refused(alloc::format!(
                    "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
                )),
                Refusal::Stranger => {
                    Answer::Refused("that session is of a cluster with other members".into())
                }
                Refusal::Busy => Answer::Busy,
                // Another member may have seen what the client has seen.
                Refusal::Behind => Answer::Unanswered,
                Refusal::Exhausted => {
                    Answer::Refused("the member has made too many updates".into())
                }
            },
            Event::Sent(_) | Event::Delivered(_) => Answer::Unknown,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let (durable, volatile) = (&state.durable, &state.volatile);
        alloc::vec![
            ("keys", durable.store.len().to_string()),
            ("delivered", super::counts(&durable.clock)),
            ("held", volatile.held.len().to_string()),
            ("log", durable.log.len().to_string()),
            ("waiting", volatile.waiting.len().to_string()),
        ]
    }
}
