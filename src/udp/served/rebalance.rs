//! The store whose ring changes while it is read and written, served.
//!
//! Of the members the last orders the steps of a change, and keeps nothing; the others are the ring, but for
//! the spares, which may join it. Reads and writes ask a quorum.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks, now};
use crate::data::NodeSet;
use crate::database::{KEY_BYTES_MAX, Stamp, VALUE_BYTES_MAX};
use crate::machine::{NodeId, State};
use crate::raft::MemberChange;
use crate::rebalance::{Call, Counting, Event, Proposal, Rebalance, Refusal, Stream};
use crate::ring::{Member, Rack, Ring};
use crate::udp::configuration::Cluster;

/// How many replicas a key has.
pub(crate) const FACTOR: u32 = 3;
/// How many places each member has on the ring.
const PLACES: u32 = 16;
/// How many steps of a change an operation lives through: those of one change, and one more.
const RESTARTS_MAX: u32 = 4;

impl Served for Rebalance {
    const NAME: &'static str = "rebalance";
    const VERSION: &'static str = "rebalance/1";
    /// Who is a member or has the log, who may join, and how the ring is made.
    type Terms = (NodeSet, NodeSet, u32, u32);
    type Session = ();

    fn terms(cluster: &Cluster) -> Self::Terms {
        let members = cluster.quorums.members();
        (members, cluster.spares, FACTOR, PLACES)
    }

    fn machine(cluster: &Cluster, me: NodeId) -> Self {
        let mut members = cluster.quorums.members();
        // A cluster of this protocol has more members than a key has replicas.
        let log = members.iter().last().unwrap_or(me);
        members.remove(log);
        let member = |node| (node, Member::new(node, Rack(0), PLACES));
        let first = Ring::new(FACTOR, members.iter().map(member));
        Self {
            me,
            log,
            nodes: members.union(cluster.spares),
            first: first.expect("the settings were checked: there are enough members for a ring"),
            counting: Counting::Both,
            restarts_max: RESTARTS_MAX,
        }
    }

    fn session(_: u64) {}

    fn call(&self, ticket: u64, (): &mut (), command: Command) -> Result<Call, Answer> {
        let write = |key, value| {
            let now = now();
            Ok(Call::Write {
                ticket,
                now,
                key,
                value,
            })
        };
        let propose = |proposal| Ok(Call::Change { ticket, proposal });
        match command {
            Command::Get { key } => Ok(Call::Read { ticket, key }),
            Command::Set { key, value } => write(key, Some(value)),
            Command::Delete { key } => write(key, None),
            Command::Members(MemberChange::AddLearner(node)) => propose(Proposal::Join {
                node,
                rack: Rack(0),
                virtual_nodes: PLACES,
            }),
            Command::Members(MemberChange::Remove(node)) => propose(Proposal::Leave { node }),
            Command::Members(MemberChange::Promote(_) | MemberChange::Replace(_)) => {
                Err(Answer::Refused(
                    "who is added is a member as soon as it has what it is to have: INFO says when"
                        .into(),
                ))
            }
            Command::CompareAndSwap { .. } | Command::Add { .. } => Err(lacks::<Self>(
                &command,
                "raft has, and database has compare-and-swap, where the ring does not change",
            )),
            Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Wrote { ticket, .. }
            | Event::Got { ticket, .. }
            | Event::Proposed { ticket }
            | Event::GaveUp { ticket }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Learned { .. } | Event::Streamed { .. } => None,
        }
    }

    fn answer(event: Event, (): &mut (), _: &State<Self>) -> Answer {
        match event {
            // Of a change: that it was asked for.
            Event::Wrote { .. } | Event::Proposed { .. } => Answer::Done,
            Event::Got { cell, .. } => Answer::Value(cell.values().into_iter().next()),
            Event::Refused { refusal, .. } => match refusal {
                Refusal::Busy => Answer::Busy,
                Refusal::TooLong => Answer::Refused(alloc::format!(
                    "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
                )),
                Refusal::NoSuchRing => Answer::Refused(
                    "that change makes no sense now: INFO says who the members are".into(),
                ),
                Refusal::NotHere => Answer::Refused(
                    "this member orders the changes of the ring and keeps nothing: ask another"
                        .into(),
                ),
                Refusal::Exhausted => {
                    Answer::Refused("this member's clock has no later time: set it right".into())
                }
            },
            Event::GaveUp { .. } | Event::Learned { .. } | Event::Streamed { .. } => {
                Answer::Unknown
            }
        }
    }

    const ORDERED: bool = true;

    fn version(event: &Event, _: &str) -> Option<Stamp> {
        match event {
            Event::Wrote { stamp, .. } => Some(*stamp),
            Event::Got { cell, .. } => cell.stamp(),
            Event::Proposed { .. }
            | Event::GaveUp { .. }
            | Event::Refused { .. }
            | Event::Learned { .. }
            | Event::Streamed { .. } => None,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let durable = &state.durable;
        let mut status = alloc::vec![
            ("keys", durable.table.cells.len().to_string()),
            ("changes", durable.changes.len().to_string()),
            ("under-way", state.volatile.pending.len().to_string()),
            ("streams", streams(&state.volatile.stream).into()),
        ];
        if let Some(view) = &durable.view {
            status.push(("ring", alloc::format!("{:?}", view.stage())));
            status.push(("members", view.members().to_string()));
        }
        status
    }
}

fn streams(stream: &Stream) -> &'static str {
    match stream {
        Stream::Nothing => "nothing",
        Stream::Pulling { .. } => "under way",
        Stream::Done => "done",
    }
}
