//! Anti-entropy: two nodes compare how far they have seen, and who lacks something is given it.

use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::store::{is_of, is_sound, latest};
use super::{Gossip, Key, Message, Value};
use crate::clock::{Dot, Vector, Version};
use crate::machine::{NodeId, Outbox, State};

/// How many bytes of versions one message carries at most, unless the first has more.
pub const BATCH_BYTES_MAX: usize = 640;

/// Who is given what it lacks when two compare notes (Demers et al., §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Exchange {
    /// The one who is asked. It asks back for what it sees that it lacks.
    Push,
    /// The one who asks.
    Pull,
    /// Both.
    PushPull,
}

impl Exchange {
    fn pushes(self) -> bool {
        self != Self::Pull
    }

    fn pulls(self) -> bool {
        self != Self::Push
    }
}

/// How far a node has got in what another is giving it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// What it will have seen at the end.
    pub upto: Vector,
    /// The last version that it has taken, by key and dot.
    pub after: (Key, Dot),
}

impl Gossip {
    /// Compares notes with `peer`.
    pub(super) fn ask(
        state: &State<Self>,
        peer: NodeId,
        exchange: Exchange,
        out: &mut Outbox<Self>,
    ) {
        let digest = Message::Digest {
            exchange,
            seen: state.durable.seen.clone(),
            resume: state.volatile.resume.get(&peer).cloned(),
        };
        out.send(peer, digest);
    }

    /// Somebody says how far it has seen.
    pub(super) fn on_digest(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        exchange: Exchange,
        seen: &Vector,
        resume: Option<Cursor>,
        out: &mut Outbox<Self>,
    ) {
        if !is_of(seen, self.members) {
            return; // No member of ours says this.
        }
        self.hear(state, from, seen);
        self.collect(state);
        let ours = &state.durable.seen;
        if exchange.pulls() && !seen.dominates(ours) {
            // A cursor that this node cannot have given is none.
            let resume = resume.filter(|cursor| ours.dominates(&cursor.upto));
            self.answer(state, from, seen, resume, out);
        }
        if exchange.pushes() && !ours.dominates(seen) {
            Self::ask(state, from, Exchange::Pull, out);
        }
    }

    /// Gives somebody what it lacks, or as much of it as a message carries, from where it was before.
    fn answer(
        &self,
        state: &State<Self>,
        to: NodeId,
        question: &Vector,
        resume: Option<Cursor>,
        out: &mut Outbox<Self>,
    ) {
        let durable = &state.durable;
        let (upto, after) = match resume {
            Some(Cursor { upto, after }) => (upto, Some(after)),
            None => (durable.seen.clone(), None),
        };
        let start = after
            .as_ref()
            .map_or(Bound::Unbounded, |(key, _)| Bound::Included(key.clone()));
        let is_left = |key: &Key, dot: Dot| {
            after
                .as_ref()
                .is_none_or(|(last, taken)| (last, taken) < (key, &dot))
        };
        let mut versions: Vec<(Key, Version<Value>)> = Vec::new();
        let (mut more, mut bytes) = (None, 0);
        'cells: for (key, cell) in durable.cells.range((start, Bound::Unbounded)) {
            for version in cell.versions() {
                if question.covers(version.dot) || !is_left(key, version.dot) {
                    continue;
                }
                bytes += weight(key, version);
                let is_full =
                    versions.len() >= self.batch_max.max(1) as usize || bytes > BATCH_BYTES_MAX;
                if is_full && let Some((key, last)) = versions.last() {
                    more = Some((key.clone(), last.dot));
                    break 'cells;
                }
                versions.push((key.clone(), version.clone()));
            }
        }
        let delta = Message::Delta {
            question: question.clone(),
            upto,
            versions,
            more,
        };
        out.send(to, delta);
    }

    /// Somebody gives what this node lacked.
    #[expect(clippy::too_many_arguments, reason = "they are the message's fields")]
    pub(super) fn on_delta(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        question: &Vector,
        upto: Vector,
        versions: Vec<(Key, Version<Value>)>,
        more: Option<(Key, Dot)>,
        out: &mut Outbox<Self>,
    ) {
        if !is_of(&upto, self.members) {
            return; // No member of ours says this.
        }
        if !self.is_open(question, &state.durable.seen) {
            // The answer to a question that was answered meanwhile. It would do no harm, and as a rule
            // no good; without it, no more is on its way to a node than what it wants to know now.
            return;
        }
        for (key, version) in versions {
            if is_sound(self.members, &key, &version) {
                (state.durable).take(self.me, self.conflicts, &key, version);
            }
        }
        if let Some(after) = more {
            (state.volatile.resume).insert(from, Cursor { upto, after });
            Self::ask(state, from, Exchange::Pull, out);
            return;
        }
        // This was the last part, and each part was given to who had taken the one before. So with it
        // everything is here that the sender had seen when it gave the first.
        state.volatile.resume.remove(&from);
        state.durable.seen.merge(&upto);
        let clock = latest(&state.durable.seen);
        state.durable.raise(self.me, clock);
        self.hear(state, from, &upto);
        self.collect(state);
    }

    /// True if the node has seen no more of others since it asked. Its own writes meanwhile do not
    /// matter, for nobody gives it those.
    fn is_open(&self, question: &Vector, seen: &Vector) -> bool {
        let mut others = self.peers().iter();
        others.all(|peer| question.get(peer) == seen.get(peer))
    }
}

/// How many bytes a version takes in a message, at most.
pub(super) fn weight(key: &str, version: &Version<Value>) -> usize {
    let value = version.value.as_deref().unwrap_or_default().len();
    key.len() + value + 11 * version.past.iter().count() + 24
}
