//! Hints: a coordinator keeps what a replica has not acknowledged.
//!
//! What this is worth: a write that was begun reaches every replica even if its call has failed, as long as
//! its coordinator comes back and the hint's time is not over. What it is not worth: a coordinator that never
//! comes back takes its hints along, and so does the end of their time; hints alone make nobody whole.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Cell, Database, Durable, Hints, Key, Operation, Timer};
use crate::data::{Map, NodeSet};
use crate::machine::{NodeId, Outbox, State};

/// How many hints a replica is sent at a time: if it was away for long there are many, and all at once
/// would keep it from everything else.
const DELIVERED_MAX: usize = 256;

/// A write, and who is not known to have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hint {
    /// By key.
    pub writes: Vec<(Key, Cell)>,
    /// The replicas that have not acknowledged it.
    pub missing: NodeSet,
}

impl Hint {
    /// True of a batch: it is whole in the end, so that its hint has no end but that.
    pub fn is_batch(&self) -> bool {
        self.writes.len() > 1
    }
}

impl Database {
    /// True if there is room for the hint, or it may be done without.
    pub(super) fn may_remember(&self, state: &State<Self>, replicas: NodeSet, keys: usize) -> bool {
        let is_needed = keys > 1 && !self.others(replicas).is_empty();
        !is_needed || state.durable.hints.len() < super::PENDING_MAX
    }

    /// Keeps the write for those replicas that have not got it: before it is sent, so that nothing that was
    /// begun is forgotten.
    pub(super) fn remember(
        &self,
        state: &mut State<Self>,
        operation: Operation,
        writes: &[(Key, Cell)],
        replicas: NodeSet,
        out: &mut Outbox<Self>,
    ) {
        let hint = Hint {
            writes: writes.to_vec(),
            missing: self.others(replicas),
        };
        if hint.missing.is_empty() {
            return;
        }
        if !hint.is_batch() {
            let is_room = match self.hints {
                Hints::Off => false,
                Hints::Kept { max } => state.durable.hints.len() < max as usize,
            };
            if !is_room {
                return;
            }
            out.arm(Timer::Expire);
        }
        // Armed again with every write, it would never ring while there are writes.
        if state.durable.hints.is_empty() {
            out.arm(Timer::Deliver);
        }
        state.durable.hints.insert(operation, hint);
    }

    fn others(&self, replicas: NodeSet) -> NodeSet {
        replicas.iter().filter(|node| *node != self.me).collect()
    }

    /// This replica has the write, or will not take it: either way it needs no hint.
    pub(super) fn forget_for(
        state: &mut State<Self>,
        operation: Operation,
        replica: NodeId,
        out: &mut Outbox<Self>,
    ) {
        let Some(hint) = state.durable.hints.get_mut(&operation) else {
            return;
        };
        hint.missing.remove(replica);
        if hint.missing.is_empty() {
            state.durable.hints.remove(&operation);
            Self::rest(state, out);
        }
    }

    /// Without hints there is nothing to deliver, and nothing whose time could end.
    fn rest(state: &State<Self>, out: &mut Outbox<Self>) {
        let hints = &state.durable.hints;
        if hints.is_empty() {
            out.disarm(Timer::Deliver);
        }
        if hints.values().all(Hint::is_batch) {
            out.disarm(Timer::Expire);
        }
    }

    /// Sends hints to those who lack them, the oldest first, and to each as many as it can take at a time.
    pub(super) fn deliver_hints(&self, state: &State<Self>, out: &mut Outbox<Self>) {
        let mut sent: Map<NodeId, usize> = Map::new();
        for (operation, hint) in &state.durable.hints {
            let due: NodeSet = hint
                .missing
                .iter()
                .filter(|node| sent.get(node).is_none_or(|count| *count < DELIVERED_MAX))
                .collect();
            if due.is_empty() {
                continue;
            }
            for node in due {
                let count = sent.get(&node).copied().unwrap_or_default();
                sent.insert(node, count + 1);
            }
            let replicas = self.all_replicas(hint.writes.iter().map(|(key, _)| key));
            self.send_writes(*operation, &hint.writes, replicas.difference(due), out);
        }
        if !state.durable.hints.is_empty() {
            out.arm(Timer::Deliver);
        }
    }

    /// The time of all hints is over.
    pub(super) fn expire_hints(state: &mut State<Self>, out: &mut Outbox<Self>) {
        state.durable.hints.retain(|_, hint| hint.is_batch());
        Self::rest(state, out);
    }

    /// After a boot: alarms for what is to be done whether or not anybody calls.
    pub(super) fn wake(&self, durable: &Durable, out: &mut Outbox<Self>) {
        if !durable.hints.is_empty() {
            out.arm(Timer::Deliver);
        }
        if durable.hints.values().any(|hint| !hint.is_batch()) {
            out.arm(Timer::Expire);
        }
        self.wake_replica(out);
    }
}
