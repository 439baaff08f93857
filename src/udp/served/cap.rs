//! The CAP store, served: consistent or available, as the name of the protocol says.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks};
use crate::cap::{
    Call, Cap, Effect, Event, KEY_BYTES_MAX, Refusal, Reign, Setting, VALUE_BYTES_MAX,
};
use crate::data::NodeSet;
use crate::machine::{NodeId, State};
use crate::udp::configuration::{Cluster, Protocol};

impl Served for Cap {
    const NAME: &'static str = "cap";
    const VERSION: &'static str = "cap/1";
    type Terms = (NodeSet, Setting);
    type Session = ();

    fn terms(cluster: &Cluster) -> (NodeSet, Setting) {
        let setting = match cluster.protocol {
            Protocol::CapAp => Setting::AP,
            // Whatever is not said to be available is consistent.
            Protocol::CapCp
            | Protocol::Register
            | Protocol::Raft
            | Protocol::Pbft
            | Protocol::Store
            | Protocol::Gossip
            | Protocol::Causal
            | Protocol::Membership
            | Protocol::Database => Setting::CP,
        };
        (cluster.quorums.members(), setting)
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        let (members, setting) = Self::terms(cluster);
        Self {
            me: node,
            members,
            setting,
        }
    }

    fn session(_: u64) {}

    fn call(&self, ticket: u64, (): &mut (), command: Command) -> Result<Call, Answer> {
        match command {
            Command::Get { key } => Ok(Call::Get { ticket, key }),
            Command::Set { key, value } => Ok(Call::Put { ticket, key, value }),
            Command::Delete { key } => Ok(Call::Delete { ticket, key }),
            Command::CompareAndSwap { .. } | Command::Add { .. } => Err(lacks::<Self>(
                &command,
                "raft has, and store has compare-and-swap",
            )),
            Command::Members(_) | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket, .. }
            | Event::Got { ticket, .. }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Elected { .. } => None,
        }
    }

    fn answer(event: Event, (): &mut (), _: &State<Self>) -> Answer {
        let (refusal, effect) = match event {
            Event::Done { .. } => return Answer::Done,
            Event::Got { value, .. } => return Answer::Value(value),
            Event::Elected { .. } => return Answer::Unknown,
            Event::Refused {
                refusal, effect, ..
            } => (refusal, effect),
        };
        match (refusal, effect) {
            (_, Effect::Unknown) => Answer::Unknown,
            (Refusal::Busy, Effect::None) => Answer::Busy,
            (Refusal::TooLong, Effect::None) => Answer::Refused(alloc::format!(
                "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
            )),
            (Refusal::Unavailable, Effect::None) => Answer::Unanswered,
            (Refusal::Deposed, Effect::None) => Answer::Refused(
                "others claim to lead, again and again: ask again, or ask one node alone".into(),
            ),
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let role = match state.volatile.reign {
            Reign::Leads => "leader",
            Reign::Claims => "claimant",
            Reign::Follows => "follower",
        };
        alloc::vec![
            ("role", role.into()),
            ("epoch", state.durable.epoch.number.to_string()),
            ("keys", state.durable.versions.len().to_string()),
        ]
    }
}
