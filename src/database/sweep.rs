//! Collecting tombstones, without a clock and without guessing how long a message may be under way.
//!
//! A tombstone may go once no older value can come back: from a replica that slept, from a hint, from a
//! message that comes late. So the replicas of some keys, the *group*, are first *fenced*: up to the newest
//! tombstone they take nothing any more from coordinators, only from each other. When all of them, fenced,
//! have the same up to there, there is nothing older anywhere in the group, and what is older still and
//! comes late is refused by the fence. Then the tombstones go, and the fence stays: one stamp for the group
//! in place of a tombstone for each deleted key.

use serde::{Deserialize, Serialize};

use super::repair::digest_of;
use super::{Cell, Database, Key, Message, Stamp, Timer};
use crate::data::{Map, NodeSet};
use crate::machine::{NodeId, Outbox, State};

/// How a replica is fenced, for the keys of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Up to here it takes nothing from coordinators.
    pub upto: Stamp,
    /// Up to here all replicas had the same, and tombstones are gone: it takes nothing from anyone.
    pub swept: Option<Stamp>,
}

/// What a replica has asked the others, before it collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sweep {
    /// Up to where.
    pub upto: Stamp,
    /// The digest of what it has up to there.
    pub digest: u64,
    /// Who was fenced and has the same.
    pub alike: NodeSet,
}

impl Database {
    /// It is time to collect: each group is to be fenced up to what was its newest tombstone the last time.
    pub(super) fn collect(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        out.arm(Timer::Collect);
        let mut newest: Map<NodeSet, Stamp> = Map::new();
        for (key, cell) in &state.durable.table.cells {
            if let Some(stamp) = cell.stamp().filter(|_| cell.is_tombstone()) {
                let upto = newest.entry_or_insert_with(self.placement.replicas(key), || stamp);
                *upto = stamp.max(*upto);
            }
        }
        let aged = core::mem::replace(&mut state.volatile.aged, newest);
        for (group, upto) in &aged {
            if state.volatile.aged.contains_key(group) {
                self.sweep(state, *group, *upto, out);
            }
        }
    }

    /// Fences this replica, and asks the others of the group to be fenced.
    fn sweep(&self, state: &mut State<Self>, group: NodeSet, upto: Stamp, out: &mut Outbox<Self>) {
        if !group.contains(self.me) || !self.raise_fence(state, group, upto) {
            return;
        }
        let digest = self.digest_upto(state, group, upto);
        let alike = [self.me].into_iter().collect();
        let begun = Sweep {
            upto,
            digest,
            alike,
        };
        let same = |sweep: &Sweep| (sweep.upto, sweep.digest) == (upto, digest);
        if !state.volatile.sweeps.get(&group).is_some_and(same) {
            state.volatile.sweeps.insert(group, begun);
        }
        let others = group.iter().filter(|node| *node != self.me);
        out.broadcast(others, &Message::Fence { group, upto });
        self.end_sweep(state, group, out);
    }

    /// Takes nothing more up to there but from other replicas. False if something up to there is still
    /// undecided: a transaction that this replica accepted.
    fn raise_fence(&self, state: &mut State<Self>, group: NodeSet, upto: Stamp) -> bool {
        let is_undecided = state.durable.promises.iter().any(|(key, promise)| {
            self.placement.replicas(key) == group
                && (promise.accepted.iter()).any(|(_, version)| version.stamp <= upto)
        });
        if is_undecided {
            return false;
        }
        let fence = Fence { upto, swept: None };
        let fence = state.durable.fences.entry_or_insert_with(group, || fence);
        fence.upto = fence.upto.max(upto);
        // What this node writes itself comes after it.
        state.durable.time = state.durable.time.max(upto.time);
        true
    }

    /// Another replica wants to collect.
    pub(super) fn on_fence(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        group: NodeSet,
        upto: Stamp,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_group(group, from) {
            return; // Not the replicas of anything that both have.
        }
        let swept = state
            .durable
            .fences
            .get(&group)
            .and_then(|fence| fence.swept);
        if let Some(swept) = swept.filter(|swept| upto <= *swept) {
            out.send(from, Message::Swept { group, upto: swept });
            return;
        }
        if self.raise_fence(state, group, upto) {
            let digest = self.digest_upto(state, group, upto);
            out.send(
                from,
                Message::Fenced {
                    group,
                    upto,
                    digest,
                },
            );
        }
    }

    /// Another replica is fenced, and says what it has.
    pub(super) fn on_fenced(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        group: NodeSet,
        upto: Stamp,
        theirs: u64,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_group(group, from) {
            return;
        }
        let digest = self.digest_upto(state, group, upto);
        let Some(sweep) = state.volatile.sweeps.get_mut(&group) else {
            return; // It is done, or was forgotten in a crash.
        };
        if sweep.upto != upto {
            return; // An answer to an earlier question.
        }
        if sweep.digest != digest {
            // This replica has changed since it asked: what the others said was of something else.
            sweep.digest = digest;
            sweep.alike = [self.me].into_iter().collect();
        }
        if theirs == digest {
            sweep.alike.insert(from);
            self.end_sweep(state, group, out);
        }
    }

    /// When all were fenced and had the same, tombstones go.
    fn end_sweep(&self, state: &mut State<Self>, group: NodeSet, out: &mut Outbox<Self>) {
        let Some(sweep) = state.volatile.sweeps.get(&group).copied() else {
            return;
        };
        if sweep.alike != group {
            return;
        }
        let upto = sweep.upto;
        self.drop_tombstones(state, group, upto);
        let others = group.iter().filter(|node| *node != self.me);
        out.broadcast(others, &Message::Swept { group, upto });
    }

    /// Another replica has found that all were fenced and had the same.
    pub(super) fn on_swept(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        group: NodeSet,
        upto: Stamp,
    ) {
        if self.is_group(group, from) {
            self.drop_tombstones(state, group, upto);
        }
    }

    fn drop_tombstones(&self, state: &mut State<Self>, group: NodeSet, upto: Stamp) {
        let is_done = |sweep: &Sweep| sweep.upto <= upto;
        if state.volatile.sweeps.get(&group).is_some_and(is_done) {
            state.volatile.sweeps.remove(&group);
        }
        let swept = Some(upto);
        let fence = Fence { upto, swept };
        let fence = state.durable.fences.entry_or_insert_with(group, || fence);
        fence.upto = fence.upto.max(upto);
        fence.swept = fence.swept.max(swept);
        state.durable.time = state.durable.time.max(upto.time);
        let cells = &mut state.durable.table.cells;
        cells.retain(|key, cell| {
            let goes = cell.is_tombstone() && cell.stamp() <= swept;
            !goes || self.placement.replicas(key) != group
        });
    }

    /// True of a cell that is older than what went here: it is not taken from anyone.
    pub(super) fn is_swept(&self, state: &State<Self>, key: &str, cell: &Cell) -> bool {
        let fence = state.durable.fences.get(&self.placement.replicas(key));
        let swept = fence.and_then(|fence| fence.swept);
        cell.stamp().is_some() && cell.stamp() <= swept
    }

    /// True if these are all replicas of something, this node and that one among them.
    fn is_group(&self, group: NodeSet, other: NodeId) -> bool {
        [self.me, other].iter().all(|node| group.contains(*node)) && self.placement.is_group(group)
    }

    /// The digest of what this replica has up to there, of the keys of the group.
    fn digest_upto(&self, state: &State<Self>, group: NodeSet, upto: Stamp) -> u64 {
        let is_there = |(key, cell): &(&Key, &Cell)| {
            cell.stamp().is_some_and(|stamp| stamp <= upto) && self.placement.replicas(key) == group
        };
        digest_of(state.durable.table.cells.iter().filter(is_there))
    }
}
