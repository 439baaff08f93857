//! The database, served, on a ring that changes while it is read and written.
//!
//! A key may end in `@` and a level, such as `colour@ONE`: the command then asks so many replicas; else it
//! asks a quorum. A word in capitals that is no level is an error.
//!
//! All members are in the ring but for the spares, which may join it; the first orders the steps of a change.
//! Where there are no spares the ring is the same for ever, and tombstones are collected.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Answer, Command, Served, lacks, now};
use crate::data::NodeSet;
use crate::database::{
    self, Change, Conflicts, Database, Failure, Hints, KEY_BYTES_MAX, Level, Outcome, Placement,
    ReadRepair, Stamp, Token, Tombstones, VALUE_BYTES_MAX,
};
use crate::machine::{NodeId, State};
use crate::merkle::keyed::Shape;
use crate::raft::MemberChange;
use crate::rebalance::{Call, Counting, Event, Proposal, Rebalance, Refusal, Stream};
use crate::ring::{Member, Rack, Ring};
use crate::udp::configuration::Cluster;

/// How many replicas a key has, if the ring has as many members at first.
const FACTOR: u32 = 3;
/// How many places each member has on the ring.
const PLACES: u32 = 16;
/// How many hints a member keeps.
const HINTS_MAX: u32 = 100_000;
/// After how many repetitions a call is given up: two to four seconds.
const PATIENCE: u32 = 20;

/// The ring of these members. Of fewer than [`FACTOR`], each has everything.
fn ring(members: NodeSet) -> Ring {
    let member = |node| (node, Member::new(node, Rack(0), PLACES));
    let count = u32::try_from(members.len()).unwrap_or(FACTOR);
    let ring = Ring::new(FACTOR.min(count), members.iter().map(member));
    ring.expect("the settings were checked: there is a member, and none is listed twice")
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

impl Served for Rebalance {
    const NAME: &'static str = "database";
    const VERSION: &'static str = "database/2";
    /// Who is a member, who may join, and how the ring is made.
    type Terms = (NodeSet, NodeSet, u32, u32);
    type Session = Token;

    fn terms(cluster: &Cluster) -> Self::Terms {
        (cluster.quorums.members(), cluster.spares, FACTOR, PLACES)
    }

    fn machine(cluster: &Cluster, me: NodeId) -> Self {
        let members = cluster.quorums.members();
        let all = members.union(cluster.spares);
        let first = ring(members);
        let may_change = !cluster.spares.is_empty();
        Self {
            log: all.iter().next().unwrap_or(me),
            nodes: if may_change { all } else { NodeSet::EMPTY },
            counting: Counting::Both,
            database: Database {
                me,
                placement: Placement::from(first.clone()),
                nearby: all,
                conflicts: Conflicts::LastWriterWins,
                read_repair: ReadRepair::Blocking,
                hints: Hints::Kept { max: HINTS_MAX },
                counting: database::Counting::Strict,
                anti_entropy: Some(Shape {
                    fan_bits: 4,
                    bucket_max: 8,
                }),
                tombstones: if may_change {
                    Tombstones::Kept
                } else {
                    Tombstones::Collected
                },
                patience: Some(PATIENCE),
            },
            first,
        }
    }

    fn session(_: u64) -> Token {
        Token::default()
    }

    fn call(&self, ticket: u64, session: &mut Token, command: Command) -> Result<Call, Answer> {
        let (now, token) = (now(), session.clone());
        let write = |key, value| {
            let (key, level) = split(key)?;
            Ok(database::Call::Write {
                ticket,
                now,
                writes: alloc::vec![(key, value)],
                level,
                token: token.clone(),
            })
        };
        let propose = |proposal| Ok(Call::Change { ticket, proposal });
        let call = match command {
            Command::Get { key } => {
                let (key, level) = split(key)?;
                database::Call::Read {
                    ticket,
                    key,
                    level,
                    token,
                }
            }
            Command::Set { key, value } => write(key, Some(value))?,
            Command::Delete { key } => write(key, None)?,
            Command::CompareAndSwap { key, expected, new } => {
                let new = Some(new);
                database::Call::Transact {
                    ticket,
                    now,
                    key,
                    change: Some(Change { expected, new }),
                }
            }
            Command::Members(MemberChange::AddLearner(node)) => {
                return propose(Proposal::Join {
                    node,
                    rack: Rack(0),
                    virtual_nodes: PLACES,
                });
            }
            Command::Members(MemberChange::Remove(node)) => {
                return propose(Proposal::Leave { node });
            }
            Command::Members(MemberChange::Promote(_) | MemberChange::Replace(_)) => {
                return Err(Answer::Refused(
                    "who is added is a member as soon as it has what it is to have: INFO says when"
                        .into(),
                ));
            }
            Command::Add { .. } => {
                return Err(lacks::<Self>(
                    &command,
                    "raft has, and compare-and-swap is here",
                ));
            }
            Command::HandOver(_) => return Err(lacks::<Self>(&command, "raft has")),
        };
        Ok(Call::Database(call))
    }

    fn ticket(event: &Event) -> Option<u64> {
        match event {
            Event::Database(
                database::Event::Wrote { ticket, .. }
                | database::Event::Read { ticket, .. }
                | database::Event::Transacted { ticket, .. }
                | database::Event::Refused { ticket, .. }
                | database::Event::Failed { ticket, .. },
            )
            | Event::Proposed { ticket }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Learned { .. } | Event::Streamed { .. } => None,
        }
    }

    fn answer(event: Event, session: &mut Token, _: &State<Self>) -> Answer {
        match event {
            Event::Database(event) => answer(event, session),
            // That it was asked for.
            Event::Proposed { .. } => Answer::Done,
            Event::Refused { refusal, .. } => match refusal {
                Refusal::Busy => Answer::Busy,
                Refusal::NoSuchRing => Answer::Refused(
                    "that change makes no sense now: INFO says who the members are, and where the \
                     settings name no spares the ring never changes"
                        .into(),
                ),
            },
            // It answers nothing.
            Event::Learned { .. } | Event::Streamed { .. } => Answer::Unknown,
        }
    }

    const ORDERED: bool = true;

    fn version(event: &Event, key: &str) -> Option<Stamp> {
        match event {
            Event::Database(
                database::Event::Wrote { token, .. } | database::Event::Read { token, .. },
            ) => token.of(key).stamp,
            Event::Database(
                database::Event::Transacted { .. }
                | database::Event::Refused { .. }
                | database::Event::Failed { .. },
            )
            | Event::Proposed { .. }
            | Event::Refused { .. }
            | Event::Learned { .. }
            | Event::Streamed { .. } => None,
        }
    }

    fn status(state: &State<Self>) -> Vec<(&'static str, String)> {
        let durable = &state.durable;
        let database = &durable.database;
        let mut status = alloc::vec![
            ("keys", database.table.cells.len().to_string()),
            ("hints", database.hints.len().to_string()),
            ("changes", durable.changes.len().to_string()),
            (
                "under-way",
                state.volatile.database.pending.len().to_string()
            ),
            ("streams", streams(&state.volatile.stream).into()),
        ];
        if let Some(view) = &durable.view {
            status.push(("ring", alloc::format!("{:?}", view.stage())));
            status.push(("members", view.members().to_string()));
        }
        status
    }
}

/// What a client is told.
fn answer(event: database::Event, session: &mut Token) -> Answer {
    match event {
        database::Event::Wrote { token, .. } => {
            session.merge(&token);
            Answer::Done
        }
        database::Event::Read { values, token, .. } => {
            session.merge(&token);
            Answer::Value(values.into_iter().next())
        }
        database::Event::Transacted { outcome, .. } => match outcome {
            Outcome::Applied => Answer::Swapped(true),
            Outcome::Unexpected(_) => Answer::Swapped(false),
            Outcome::Found(value) => Answer::Value(value),
        },
        database::Event::Refused { refusal, .. } => match refusal {
            database::Refusal::Busy => Answer::Busy,
            database::Refusal::Unavailable => Answer::Refused(
                "a key has fewer replicas than the level asks: ask a lower one".into(),
            ),
            database::Refusal::Malformed => Answer::Refused(alloc::format!(
                "a key has at most {KEY_BYTES_MAX} bytes and a value {VALUE_BYTES_MAX}"
            )),
            database::Refusal::NotHere | database::Refusal::Exhausted => {
                Answer::Refused("this member's clock has no later time: set it right".into())
            }
        },
        // A read has no effect, whatever became of it.
        database::Event::Failed {
            failure: Failure::TimedOut | Failure::TooOld,
            ..
        } => Answer::Unknown,
    }
}

fn streams(stream: &Stream) -> &'static str {
    match stream {
        Stream::Nothing => "nothing",
        Stream::Pulling { .. } => "under way",
        Stream::Done => "done",
    }
}
