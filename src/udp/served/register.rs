//! The register, served.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks};
use crate::machine::{NodeId, State};
use crate::quorum::Quorums;
use crate::register::{Call, Event, KEY_BYTES_MAX, Refusal, Register, VALUE_BYTES_MAX};
use crate::udp::configuration::Cluster;

impl Served for Register {
    const NAME: &'static str = "register";
    const VERSION: &'static str = "register/1";
    // Where two sides disagree on these, the quorums of one need not meet those of the other.
    type Terms = Quorums;
    type Session = ();

    fn terms(cluster: &Cluster) -> Quorums {
        cluster.quorums
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        Self {
            me: node,
            quorums: cluster.quorums,
            reads: cluster.reads,
        }
    }

    fn session(_: u64) {}

    fn call(&self, ticket: u64, (): &mut (), command: Command) -> Result<Call, Answer> {
        match command {
            Command::Get { key } => Ok(Call::Get { ticket, key }),
            Command::Set { key, value } => Ok(Call::Put { ticket, key, value }),
            Command::CompareAndSwap { .. } | Command::Delete { .. } | Command::Add { .. } => {
                let why =
                    "a read and write register cannot (Herlihy 1991: its consensus number is 1)";
                Err(lacks::<Self>(&command, why))
            }
            Command::Members(_) | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket } | Event::Got { ticket, .. } | Event::Refused { ticket, .. } => {
                Some(*ticket)
            }
        }
    }

    fn answer(event: Event, (): &mut (), _: &State<Self>) -> Answer {
        match event {
            Event::Done { .. } => Answer::Done,
            Event::Got { value, .. } => Answer::Value(value),
            Event::Refused { refusal, .. } => match refusal {
                Refusal::Busy => Answer::Busy,
                Refusal::TooLong => Answer::Refused(alloc::format!(
                    "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
                )),
            },
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let durable = &state.durable;
        alloc::vec![
            ("boot", durable.incarnation.to_string()),
            ("keys", durable.versions.len().to_string()),
        ]
    }
}
