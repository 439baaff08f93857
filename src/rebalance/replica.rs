//! The replica: it answers whoever knows as much of the ring as it does, and nobody else.

use core::ops::Bound;

use super::{
    CHUNK_BYTES_MAX, CHUNK_KEYS_MAX, Cell, KEY_BYTES_MAX, Key, Message, Move, NodeId, Operation,
    Outbox, Rebalance, State, Token, VALUE_BYTES_MAX, Vec, View,
};

impl Rebalance {
    /// A replica takes what is newer than what it has, and says that it has it.
    pub(super) fn on_write(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        cell: &Cell,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        if !view.writers(key).all().contains(self.me) {
            return; // Not a replica: its acknowledgement would count for nothing.
        }
        if key.len() > KEY_BYTES_MAX || cell.bytes() > VALUE_BYTES_MAX {
            return; // No coordinator of ours sends this.
        }
        Self::keep(state, key, cell);
        // This leaves the node when the disk has the cell, and no sooner: see `Sealed`.
        let stage = view.stage();
        out.send(from, Message::Written { operation, stage });
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
        let view = self.view(&state.durable);
        if !view.readers(key).contains(self.me) {
            return; // Not a replica, or not yet, or no longer.
        }
        let message = Message::Data {
            operation,
            stage: view.stage(),
            cell: state.durable.table.cell(key),
        };
        out.send(from, message);
    }

    /// An old replica says what a pending one is to have. It knows of the change by now: it takes no more
    /// writes of those who do not.
    pub(super) fn on_pull(
        &self,
        state: &State<Self>,
        from: NodeId,
        after: Option<Key>,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        if !matches!(view, View::Announced { .. }) {
            return; // Nobody is to be given anything now.
        }
        let mut given = view.moves();
        given.retain(|one| one.gains().contains(from) && one.old.contains(self.me));
        if given.is_empty() {
            return; // It is to have nothing of this node.
        }
        let (cells, next) = chunk(state, &given, after.as_ref());
        let stage = view.stage();
        let message = Message::Chunk {
            stage,
            after,
            cells,
            next,
        };
        out.send(from, message);
    }

    /// Takes over a cell, if it is newer than what is here.
    pub(super) fn keep(state: &mut State<Self>, key: &str, cell: &Cell) {
        state.durable.table.keep(key, cell);
        if let Some(stamp) = cell.stamp() {
            state.durable.time = state.durable.time.max(stamp.time);
        }
    }
}

/// Some of what there is in these ranges after a key, as much as a message carries, and up to which key it
/// is all; none, if there is no more.
fn chunk(
    state: &State<Rebalance>,
    given: &[Move],
    after: Option<&Key>,
) -> (Vec<(Key, Cell)>, Option<Key>) {
    let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
    let mut cells: Vec<(Key, Cell)> = Vec::new();
    let (mut bytes, mut last) = (0, None);
    let rest = state.durable.table.cells.range((start, Bound::Unbounded));
    for (seen, (key, cell)) in rest.enumerate() {
        let token = Token::of(key.as_bytes());
        let is_given = given.iter().any(|one| one.range.contains(token));
        let size = if is_given {
            key.len() + cell.bytes()
        } else {
            0
        };
        let is_full = bytes + size > CHUNK_BYTES_MAX && !cells.is_empty();
        if is_full || seen == CHUNK_KEYS_MAX {
            return (cells, last);
        }
        if is_given {
            bytes += size;
            cells.push((key.clone(), cell.clone()));
        }
        last = Some(key.clone());
    }
    (cells, None)
}
