//! The database, served.
//!
//! A key may end in `@` and a level, such as `colour@ONE`: the command then asks so many replicas; else it
//! asks a quorum. A word in capitals that is no level is an error.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks, now};
use crate::data::NodeSet;
use crate::database::{
    Call, Change, Conflicts, Counting, Database, Event, Hints, KEY_BYTES_MAX, Level, Outcome,
    Placement, ReadRepair, Refusal, Stamp, Token, Tombstones, VALUE_BYTES_MAX,
};
use crate::machine::{NodeId, State};
use crate::merkle::keyed::Shape;
use crate::ring::{Member, Rack, Ring};
use crate::udp::configuration::Cluster;

/// How many replicas a key has, if there are as many members.
const FACTOR: u32 = 3;
/// How many places each member has on the ring.
const PLACES: u32 = 16;
/// How many hints a member keeps.
const HINTS_MAX: u32 = 100_000;
/// After how many repetitions a call is given up: two to four seconds.
const PATIENCE: u32 = 20;

/// The ring of all members. Of fewer than [`FACTOR`], each has everything.
fn placement(members: NodeSet) -> Placement {
    let member = |node| (node, Member::new(node, Rack(0), PLACES));
    Ring::new(FACTOR, members.iter().map(member)).map_or(Placement::Whole(members), Placement::Ring)
}

/// The key without its level, and the level.
fn split(key: String) -> Result<(String, Level), Answer> {
    let Some((name, word)) = key.rsplit_once('@') else {
        return Ok((key, Level::Quorum));
    };
    let is_word = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    if word.is_empty() || !word.chars().all(is_word) {
        return Ok((key, Level::Quorum));
    }
    match word.parse() {
        Ok(level) => Ok((name.into(), level)),
        Err(unknown) => Err(Answer::Refused(unknown.to_string())),
    }
}

impl Served for Database {
    const NAME: &'static str = "database";
    const VERSION: &'static str = "database/1";
    type Terms = (NodeSet, u32, u32);
    type Session = Token;

    fn terms(cluster: &Cluster) -> (NodeSet, u32, u32) {
        (cluster.quorums.members(), FACTOR, PLACES)
    }

    fn machine(cluster: &Cluster, node: NodeId) -> Self {
        let members = cluster.quorums.members();
        Self {
            me: node,
            placement: placement(members),
            nearby: members,
            conflicts: Conflicts::LastWriterWins,
            read_repair: ReadRepair::Blocking,
            hints: Hints::Kept { max: HINTS_MAX },
            counting: Counting::Strict,
            anti_entropy: Some(Shape {
                fan_bits: 4,
                bucket_max: 8,
            }),
            tombstones: Tombstones::Collected,
            patience: Some(PATIENCE),
        }
    }

    fn session(_: u64) -> Token {
        Token::default()
    }

    fn call(&self, ticket: u64, session: &mut Token, command: Command) -> Result<Call, Answer> {
        let (now, token) = (now(), session.clone());
        let write = |key, value| {
            let (key, level) = split(key)?;
            Ok(Call::Write {
                ticket,
                now,
                writes: alloc::vec![(key, value)],
                level,
                token: token.clone(),
            })
        };
        match command {
            Command::Get { key } => {
                let (key, level) = split(key)?;
                Ok(Call::Read {
                    ticket,
                    key,
                    level,
                    token,
                })
            }
            Command::Set { key, value } => write(key, Some(value)),
            Command::Delete { key } => write(key, None),
            Command::CompareAndSwap { key, expected, new } => {
                let new = Some(new);
                Ok(Call::Transact {
                    ticket,
                    now,
                    key,
                    change: Some(Change { expected, new }),
                })
            }
            Command::Add { .. } => Err(lacks::<Self>(
                &command,
                "raft has, and compare-and-swap is here",
            )),
            Command::Members(_) | Command::HandOver(_) => Err(lacks::<Self>(&command, "raft has")),
        }
    }

    fn ticket(event: &Event) -> Option<u64> {
        let (Event::Wrote { ticket, .. }
        | Event::Read { ticket, .. }
        | Event::Transacted { ticket, .. }
        | Event::Refused { ticket, .. }
        | Event::Failed { ticket, .. }) = event;
        Some(*ticket)
    }

    fn answer(event: Event, session: &mut Token, _: &State<Self>) -> Answer {
        match event {
            Event::Wrote { token, .. } => {
                session.merge(&token);
                Answer::Done
            }
            Event::Read { values, token, .. } => {
                session.merge(&token);
                Answer::Value(values.into_iter().next())
            }
            Event::Transacted { outcome, .. } => match outcome {
                Outcome::Applied => Answer::Swapped(true),
                Outcome::Unexpected(_) => Answer::Swapped(false),
                Outcome::Found(value) => Answer::Value(value),
            },
            Event::Refused { refusal, .. } => match refusal {
                Refusal::Busy => Answer::Busy,
                Refusal::Unavailable => Answer::Refused(
                    "a key has fewer replicas than the level asks: ask a lower one".into(),
                ),
                Refusal::Malformed => Answer::Refused(alloc::format!(
                    "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
                )),
                Refusal::NotHere | Refusal::Exhausted => {
                    Answer::Refused("this member's clock has no later time: set it right".into())
                }
            },
            // A read has no effect, whatever became of it.
            Event::Failed { .. } => Answer::Unknown,
        }
    }

    const ORDERED: bool = true;

    fn version(event: &Event, key: &str) -> Option<Stamp> {
        match event {
            Event::Wrote { token, .. } | Event::Read { token, .. } => token.of(key).stamp,
            Event::Transacted { .. } | Event::Refused { .. } | Event::Failed { .. } => None,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let durable = &state.durable;
        alloc::vec![
            ("keys", durable.table.cells.len().to_string()),
            ("hints", durable.hints.len().to_string()),
            ("under-way", state.volatile.pending.len().to_string()),
        ]
    }
}
