//! The replica: it takes what is newer, and says what it has.

use alloc::vec::Vec;

use super::{
    Cell, Database, KEY_BYTES_MAX, Key, Message, Operation, Stamp, WRITE_BYTES_MAX, WRITE_KEYS_MAX,
};
use crate::machine::{NodeId, Outbox, State};

/// What becomes of a cell at a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is taken, or is no news.
    Taken,
    /// It is a tombstone that was here and went.
    Gone,
    /// It is older than this fence.
    TooOld(Stamp),
}

impl Database {
    /// A replica takes what is newer than what it has, and says that it has it.
    pub(super) fn on_write(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        writes: &[(Key, Cell)],
        out: &mut Outbox<Self>,
    ) {
        if is_oversized(writes) {
            return; // No coordinator of ours says this, and no answer could carry it.
        }
        let mine: Vec<&(Key, Cell)> = (writes.iter())
            .filter(|(key, _)| self.is_replica(key))
            .collect();
        if mine.is_empty() {
            return; // Not a replica: its acknowledgement would count for nothing.
        }
        let fates: Vec<Fate> = (mine.iter())
            .map(|(key, cell)| self.fate(state, key, cell))
            .collect();
        for fate in &fates {
            if let Fate::TooOld(fence) = *fate {
                out.send(from, Message::TooOld { operation, fence });
                return;
            }
        }
        for ((key, cell), fate) in mine.into_iter().zip(fates) {
            if fate == Fate::Taken {
                Self::keep(state, key, cell);
            }
        }
        // This leaves the node when the disk has it, and no sooner: see `Sealed`.
        out.send(from, Message::Written { operation });
    }

    /// A replica says what it has.
    pub(super) fn on_read(
        &self,
        state: &State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        out: &mut Outbox<Self>,
    ) {
        if !self.placement.readers(key).contains(self.me) {
            return; // Not a replica: what it has may be older than what replicas acknowledged.
        }
        let (cell, swept) = self.own_answer(state, key);
        out.send(
            from,
            Message::Data {
                operation,
                cell,
                swept,
            },
        );
    }

    /// What this replica has of the key, and up to where its tombstones are gone.
    pub(super) fn own_answer(&self, state: &State<Self>, key: &str) -> (Cell, Option<Stamp>) {
        let fence = state.durable.fences.get(&self.placement.replicas(key));
        (
            state.durable.table.cell(key),
            fence.and_then(|fence| fence.swept),
        )
    }

    /// What this coordinator is itself a replica of. Its own stamps are later than its fences.
    pub(super) fn keep_own(&self, state: &mut State<Self>, writes: &[(Key, Cell)]) {
        for (key, cell) in writes.iter().filter(|(key, _)| self.is_replica(key)) {
            Self::keep(state, key, cell);
        }
    }

    /// Takes over a cell, if it is newer than what is here.
    pub(super) fn keep(state: &mut State<Self>, key: &str, cell: &Cell) {
        state.durable.table.keep(key, cell);
        if let Some(stamp) = cell.stamp() {
            state.durable.time = state.durable.time.max(stamp.time);
            Self::settle(state, key, stamp);
        }
    }

    /// What is to become of a cell that a coordinator sends.
    fn fate(&self, state: &State<Self>, key: &str, cell: &Cell) -> Fate {
        let fence = state.durable.fences.get(&self.placement.replicas(key));
        let (Some(fence), Some(stamp)) = (fence, cell.stamp()) else {
            return Fate::Taken;
        };
        let here = state.durable.table.cell(key);
        if here.covers(cell) || fence.upto < stamp {
            return Fate::Taken;
        }
        // Whoever is swept has nothing older left that this would delete, nor has anyone else.
        if cell.is_tombstone() && here == Cell::Nothing && Some(stamp) <= fence.swept {
            return Fate::Gone;
        }
        Fate::TooOld(fence.upto)
    }
}

fn is_oversized(writes: &[(Key, Cell)]) -> bool {
    let bytes: usize = (writes.iter())
        .map(|(key, cell)| key.len() + cell.bytes())
        .sum();
    writes.len() > WRITE_KEYS_MAX
        || bytes > WRITE_BYTES_MAX + KEY_BYTES_MAX
        || writes.iter().any(|(key, _)| key.len() > KEY_BYTES_MAX)
}
