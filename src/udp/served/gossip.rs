//! Gossip, served: every member answers at once, from what it has.
//!
//! A write overwrites what its member has of the key. So several values stand beside each other where
//! members wrote that had not heard of each other, and the next write at a member that has heard of them
//! all is in the place of all.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks};
use crate::data::NodeSet;
use crate::gossip::{
    Call, Cell, Conflicts, Event, Exchange, Gossip, KEY_BYTES_MAX, Over, Refusal, VALUE_BYTES_MAX,
};
use crate::machine::{NodeId, State};
use crate::udp::configuration::Cluster;

impl Served for Gossip {
    const NAME: &'static str = "gossip";
    const VERSION: &'static str = "gossip/1";
    type Terms = NodeSet;
    type Session = ();

    fn terms(cluster: &Cluster) -> NodeSet {
        cluster.quorums.members()
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        Self {
            me: node,
            members: cluster.quorums.members(),
            conflicts: Conflicts::Siblings,
            exchange: Some(Exchange::PushPull),
            batch_max: 64,
            interest: 2,
        }
    }

    fn session(_: u64) {}

    fn call(&self, ticket: u64, (): &mut (), command: Command) -> Result<Call, Answer> {
        let over = Over::Here;
        match command {
            Command::Get { key } => Ok(Call::Get { ticket, key }),
            Command::Set { key, value } => Ok(Call::Put {
                ticket,
                key,
                value,
                over,
            }),
            Command::Delete { key } => Ok(Call::Delete { ticket, key, over }),
            Command::CompareAndSwap { .. } | Command::Add { .. } => Err(lacks::<Self>(
                &command,
                "each member answers alone, and none knows what the others do; raft has",
            )),
            Command::Members(_) | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        let (Event::Done { ticket, .. }
        | Event::Got { ticket, .. }
        | Event::Refused { ticket, .. }) = event;
        Some(*ticket)
    }

    fn answer(event: Event, (): &mut (), _: &State<Self>) -> Answer {
        match event {
            Event::Done { .. } => Answer::Done,
            Event::Got { values, .. } => Answer::Siblings(values),
            Event::Refused { refusal, .. } => Answer::Refused(match refusal {
                Refusal::TooLong => alloc::format!(
                    "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
                ),
                Refusal::Crowded => "the key has too many values that nobody has read".into(),
                Refusal::Stranger => "what it overwrites was read in another cluster".into(),
                Refusal::Exhausted => "there is no later time".into(),
            }),
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let cells = &state.durable.cells;
        let keys = cells.values().filter(|cell| {
            let mut versions = cell.versions().iter();
            versions.any(|version| version.value.is_some())
        });
        let versions = cells.values().flat_map(Cell::versions);
        let tombstones = versions.filter(|version| version.value.is_none()).count();
        alloc::vec![
            ("keys", keys.count().to_string()),
            ("tombstones", tombstones.to_string()),
            ("digest", super::counts(&state.durable.seen)),
        ]
    }
}
