//! Paxos Commit as Gray and Lamport specify it: `PaxosCommit` of "Consensus on Transaction Commit" (ACM
//! TODS 31(1), 2006, appendix).
//!
//! TLC finds 1,321,761 states for two resource managers, three acceptors and the ballots 0 and 1. To be
//! equal to it state by state, three things of the specification need care:
//!
//! - **Its leader has no state.** It may say whatever the messages that were ever sent entitle it to.
//!   In a [`World`] that is what a [`Traitor`] is, here one that keeps to the rules: a function of all
//!   that was sent to it. A leader that received messages one by one would remember which, and there
//!   would be more states.
//! - **What the leader says was said to everyone.** A traitor's word arrives where it is said and is not
//!   kept. So it is said to a board, which has no state either and sends it to all whom it concerns.
//! - **Ballots belong to instances.** An acceptor keeps for each resource manager its own promise and
//!   its own acceptance, and answers for each by itself.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, State};
use serde::{Deserialize, Serialize};

use super::CONSISTENT;
use crate::ghost::NoGhost;
use crate::snapshot::Letter;
use crate::world::{Traitor, World};

/// Gray and Lamport's `PaxosCommit`. Nobody fails, and whatever a node may do of its own accord is an
/// alarm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PaxosCommit {
    me: NodeId,
    part: Part,
    cluster: Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Resource,
    Acceptor,
    /// The board; the leader has this part too, and as a traitor never plays it.
    Board,
}

/// Who is who: resource managers first, then acceptors, the board, and the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cluster {
    resources: NodeSet,
    acceptors: NodeSet,
    board: NodeId,
    leader: NodeId,
    /// The highest ballot.
    ballots: u64,
}

/// What a resource manager proposed, or a leader in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// It can commit.
    Prepared,
    /// It cannot.
    Aborted,
}

/// What travels. An instance is named by its resource manager.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Word {
    /// From a leader: promise to accept nothing below this ballot.
    Phase1a(NodeId, u64),
    /// From an acceptor: promised; and what it accepted last, and when.
    Phase1b(NodeId, u64, Option<(u64, Value)>),
    /// From a leader, or at ballot 0 from the resource manager: accept this.
    Phase2a(NodeId, u64, Value),
    /// From an acceptor: accepted.
    Phase2b(NodeId, u64, Value),
    /// From a leader: do.
    Commit,
    /// From a leader: don't.
    Abort,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// A resource manager, at work.
    Working,
    /// It has proposed that it can commit.
    Prepared,
    /// It has committed.
    Committed,
    /// It has aborted.
    Aborted,
    /// An acceptor: of each instance, what it promised, and what it accepted last and when.
    Accepting(Vec<(u64, Option<(u64, Value)>)>),
    /// The board.
    Blank,
}

/// What a resource manager may do of its own accord.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Whim {
    /// It prepares.
    Prepare,
    /// It aborts.
    Abort,
}

impl Machine for PaxosCommit {
    type Call = ();
    type Message = Word;
    type Timer = Whim;
    type Event = ();
    type Durable = ();
    type Volatile = Stage;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Stage {
        match self.part {
            Part::Resource => {
                out.arm(Whim::Prepare);
                out.arm(Whim::Abort);
                Stage::Working
            }
            Part::Acceptor => Stage::Accepting(vec![(0, None); self.cluster.resources.len()]),
            Part::Board => Stage::Blank,
        }
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(&self, state: &mut State<Self>, _: NodeId, word: Word, out: &mut Outbox<Self>) {
        match (self.part, &mut state.volatile) {
            (Part::Resource, stage) => match word {
                Word::Commit => decide(stage, Stage::Committed, out),
                Word::Abort => decide(stage, Stage::Aborted, out),
                Word::Phase1a(..) | Word::Phase1b(..) | Word::Phase2a(..) | Word::Phase2b(..) => {}
            },
            (Part::Acceptor, Stage::Accepting(instances)) => {
                self.on_phase(instances, word, out);
            }
            (Part::Acceptor | Part::Board, _) => self.post(word, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, whim: Whim, out: &mut Outbox<Self>) {
        let (stage, value) = match whim {
            Whim::Prepare => (Stage::Prepared, Value::Prepared),
            Whim::Abort => (Stage::Aborted, Value::Aborted),
        };
        decide(&mut state.volatile, stage, out);
        // It is the leader of ballot 0 of its own instance.
        let proposal = Word::Phase2a(self.me, 0, value);
        out.broadcast(self.cluster.acceptors, &proposal);
    }

    fn delay(&self, _: &Whim) -> Range<Duration> {
        Duration::from_secs(1)..Duration::from_secs(2)
    }
}

fn decide(stage: &mut Stage, decided: Stage, out: &mut Outbox<PaxosCommit>) {
    *stage = decided;
    out.disarm(Whim::Prepare);
    out.disarm(Whim::Abort);
}

impl PaxosCommit {
    /// An acceptor of each instance.
    fn on_phase(
        &self,
        instances: &mut [(u64, Option<(u64, Value)>)],
        word: Word,
        out: &mut Outbox<Self>,
    ) {
        let (Word::Phase1a(instance, ballot) | Word::Phase2a(instance, ballot, _)) = word else {
            return;
        };
        let place = usize::try_from(instance.0).unwrap_or(usize::MAX);
        let Some((promised, accepted)) = instances.get_mut(place) else {
            return;
        };
        let leader = self.cluster.leader;
        match word {
            Word::Phase1a(..) if *promised < ballot => {
                *promised = ballot;
                out.send(leader, Word::Phase1b(instance, ballot, *accepted));
            }
            Word::Phase2a(_, _, value) if *promised <= ballot => {
                *promised = ballot;
                *accepted = Some((ballot, value));
                out.send(leader, Word::Phase2b(instance, ballot, value));
            }
            // It promised more, or it is none of its business.
            Word::Phase1a(..)
            | Word::Phase1b(..)
            | Word::Phase2a(..)
            | Word::Phase2b(..)
            | Word::Commit
            | Word::Abort => {}
        }
    }

    /// The board passes the leader's word on. The leader sees its own proposals there, since it makes
    /// no two in one ballot.
    fn post(&self, word: Word, out: &mut Outbox<Self>) {
        let Cluster {
            resources,
            acceptors,
            leader,
            ..
        } = self.cluster;
        match word {
            Word::Phase1a(..) => out.broadcast(acceptors, &word),
            Word::Phase2a(..) => {
                out.broadcast(acceptors, &word);
                out.send(leader, word);
            }
            Word::Commit | Word::Abort => out.broadcast(resources, &word),
            Word::Phase1b(..) | Word::Phase2b(..) => {}
        }
    }
}

/// Any process that takes itself for the leader.
struct Leader(Cluster);

impl Traitor<PaxosCommit> for Leader {
    fn lies(
        &self,
        _: NodeId,
        seen: &mut dyn Iterator<Item = &Letter<Word>>,
    ) -> Vec<(NodeId, Word)> {
        let seen: Vec<(NodeId, &Word)> =
            seen.map(|letter| (letter.from, &letter.message)).collect();
        let mut words = self.proposals(&seen);
        let resources = self.0.resources;
        if (resources.iter()).all(|instance| self.is_chosen(&seen, instance, Value::Prepared)) {
            words.push(Word::Commit);
        }
        if (resources.iter()).any(|instance| self.is_chosen(&seen, instance, Value::Aborted)) {
            words.push(Word::Abort);
        }
        words.into_iter().map(|word| (self.0.board, word)).collect()
    }
}

impl Leader {
    /// `Phase1a` and `Phase2a`.
    fn proposals(&self, seen: &[(NodeId, &Word)]) -> Vec<Word> {
        let mut words = Vec::new();
        for ballot in 1..=self.0.ballots {
            for instance in self.0.resources {
                words.push(Word::Phase1a(instance, ballot));
                let is_mine = |word: &Word| matches!(word, Word::Phase2a(of, at, _) if (*of, *at) == (instance, ballot));
                if seen.iter().any(|(_, word)| is_mine(word)) {
                    continue; // One proposal in a ballot.
                }
                let promises: Vec<Option<(u64, Value)>> = (seen.iter())
                    .filter_map(|(_, word)| match word {
                        Word::Phase1b(of, at, accepted) if (*of, *at) == (instance, ballot) => {
                            Some(*accepted)
                        }
                        Word::Phase1a(..)
                        | Word::Phase1b(..)
                        | Word::Phase2a(..)
                        | Word::Phase2b(..)
                        | Word::Commit
                        | Word::Abort => None,
                    })
                    .collect();
                for value in free_values(&promises, self.0.acceptors.majority()) {
                    words.push(Word::Phase2a(instance, ballot, value));
                }
            }
        }
        words
    }

    /// True if some majority accepted the value in one ballot.
    fn is_chosen(&self, seen: &[(NodeId, &Word)], instance: NodeId, value: Value) -> bool {
        (0..=self.0.ballots).any(|ballot| {
            let wanted = Word::Phase2b(instance, ballot, value);
            let accepted = seen.iter().filter(|(_, word)| **word == wanted);
            accepted.count() >= self.0.acceptors.majority()
        })
    }
}

/// What a leader may propose that goes by some majority of these promises, whichever: what was
/// accepted last among that majority, or else that the resource manager aborted.
fn free_values(promises: &[Option<(u64, Value)>], majority: usize) -> Vec<Value> {
    let mut values = Vec::new();
    for chosen in 0_u32..1 << promises.len() {
        if chosen.count_ones() as usize >= majority {
            let among = (promises.iter().enumerate()).filter(|(place, _)| chosen >> place & 1 == 1);
            let last = among.filter_map(|(_, accepted)| *accepted).max();
            values.push(last.map_or(Value::Aborted, |(_, value)| value));
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// The world: so many resource managers and acceptors, and ballots from 0 to this one.
#[must_use]
pub fn paxos_commit(
    resources: usize,
    acceptors: usize,
    ballots: u64,
) -> World<PaxosCommit, NoGhost> {
    let both = NodeSet::first(resources + acceptors);
    let board = NodeId((resources + acceptors) as u64);
    let leader = NodeId(board.0 + 1);
    let cluster = Cluster {
        resources: NodeSet::first(resources),
        acceptors: both.difference(NodeSet::first(resources)),
        board,
        leader,
        ballots,
    };
    let machines = NodeSet::first(resources + acceptors + 2).iter().map(|me| {
        let part = if cluster.resources.contains(me) {
            Part::Resource
        } else if cluster.acceptors.contains(me) {
            Part::Acceptor
        } else {
            Part::Board
        };
        PaxosCommit { me, part, cluster }
    });
    World::new("paxos-commit", machines.collect(), NoGhost)
        .traitors(NodeSet::from_iter([leader]), Leader(cluster))
        .always_of_nodes(CONSISTENT, move |nodes| {
            let is_at = |wanted: &Stage| {
                let stages = nodes.iter().filter_map(|node| node.up());
                let mut stages = stages.map(|state| &state.volatile);
                stages.any(|stage| stage == wanted)
            };
            !(is_at(&Stage::Committed) && is_at(&Stage::Aborted))
        })
}
