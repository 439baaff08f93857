//! Hints: a coordinator keeps what a replica has not acknowledged.
//!
//! What this is worth: a write that was begun reaches every replica even if its call has failed, as long as
//! its coordinator comes back and the hint's time is not over. What it is not worth: a coordinator that never
//! comes back takes its hints along, and so does the end of their time; hints alone make nobody whole.

use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{Cell, Database, Durable, Hints, Key, Operation, Placement, Timer};
use crate::data::{Map, NodeSet};
use crate::machine::{NodeId, Outbox, State};

/// How many hints a replica is sent at a time: if it was away for long there are many, and all at once
/// would keep it from everything else.
const DELIVERED_MAX: usize = 256;

/// How many keys a node looks at, at a time, for what it is no replica of.
const LOOKED_AT_MAX: usize = 256;

/// A write, and who is not known to have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hint {
    /// By key.
    pub writes: Vec<(Key, Cell)>,
    /// The replicas that have not acknowledged it.
    pub missing: NodeSet,
    /// It has no end but that all of them have: it is a batch, which is whole in the end, or nobody else may
    /// have it.
    pub lasts: bool,
}

/// How far a node has looked for what it is no replica of any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Leftovers {
    /// There are none.
    #[default]
    Nothing,
    /// There may be some after this key, or after the beginning.
    After(Option<Key>),
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
            lasts: writes.len() > 1,
        };
        if hint.missing.is_empty() {
            return;
        }
        if !hint.lasts {
            let is_room = match self.hints {
                Hints::Off => false,
                Hints::Kept { max } => state.durable.hints.len() < max as usize,
            };
            if !is_room {
                return;
            }
            out.arm(Timer::Expire);
        }
        Self::put(state, operation, hint, out);
    }

    fn put(state: &mut State<Self>, operation: Operation, hint: Hint, out: &mut Outbox<Self>) {
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
        if hints.values().all(|hint| hint.lasts) {
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

    /// The placement was this one before: whoever is a replica by now lacks what is kept, and whoever is none
    /// any more needs it no more.
    pub(super) fn redirect_hints(
        &self,
        before: &Placement,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
    ) {
        let kept: Vec<(Operation, Hint)> = (state.durable.hints.iter())
            .map(|(operation, hint)| (*operation, hint.clone()))
            .collect();
        for (operation, mut hint) in kept {
            let mut replicas = NodeSet::EMPTY;
            for (key, _) in &hint.writes {
                let now = self.placement.replicas(key);
                let gained = now.difference(before.replicas(key));
                hint.missing = hint.missing.union(self.others(gained));
                replicas = replicas.union(now);
            }
            hint.missing = hint.missing.intersection(replicas);
            self.keep_own(state, &hint.writes);
            if hint.missing.is_empty() {
                state.durable.hints.remove(&operation);
            } else {
                state.durable.hints.insert(operation, hint);
            }
        }
        Self::rest(state, out);
    }

    /// Looks at some of what this node has, in the order of keys, for what it is no replica of any more. That
    /// goes to those who are, and stays here as a hint until they have it: nobody else may.
    pub(crate) fn hand_over(
        &self,
        state: &mut State<Self>,
        after: Option<&Key>,
        out: &mut Outbox<Self>,
    ) -> Leftovers {
        if state.durable.hints.len() >= super::PENDING_MAX / 2 {
            return Leftovers::After(after.cloned()); // There is enough to be delivered.
        }
        let start = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = state.durable.table.cells.range((start, Bound::Unbounded));
        let some: Vec<(Key, Cell)> = (rest.take(LOOKED_AT_MAX))
            .map(|(key, cell)| (key.clone(), cell.clone()))
            .collect();
        let is_all = some.len() < LOOKED_AT_MAX;
        let last = some.last().map(|(key, _)| key.clone());
        for (key, cell) in some {
            if self.is_replica(&key) {
                continue;
            }
            let operation = Operation {
                incarnation: state.durable.incarnation,
                number: state.volatile.next,
            };
            state.volatile.next += 1;
            state.durable.table.cells.remove(&key);
            let missing = self.placement.replicas(&key);
            let hint = Hint {
                writes: alloc::vec![(key, cell)],
                missing,
                lasts: true,
            };
            self.send_writes(operation, &hint.writes, NodeSet::EMPTY, out);
            Self::put(state, operation, hint, out);
        }
        if is_all {
            Leftovers::Nothing
        } else {
            Leftovers::After(last)
        }
    }

    /// The time of all hints is over.
    pub(super) fn expire_hints(state: &mut State<Self>, out: &mut Outbox<Self>) {
        state.durable.hints.retain(|_, hint| hint.lasts);
        Self::rest(state, out);
    }

    /// After a boot: alarms for what is to be done whether or not anybody calls.
    pub(super) fn wake(&self, durable: &Durable, out: &mut Outbox<Self>) {
        if !durable.hints.is_empty() {
            out.arm(Timer::Deliver);
        }
        if durable.hints.values().any(|hint| !hint.lasts) {
            out.arm(Timer::Expire);
        }
        self.wake_replica(out);
    }
}
