//! What goes from old replicas to a pending one: of each key what they have, and what they promised.

use alloc::collections::BTreeSet;
use core::ops::Bound;

use super::{
    CHUNK_BYTES_MAX, CHUNK_KEYS_MAX, Cell, Database, Deserialize, Event, Item, Key, Map, Message,
    Move, NodeId, NodeSet, Outbox, Promise, Rebalance, Serialize, State, Token, Vec, View,
};

/// What a pending replica gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// It is to have nothing.
    #[default]
    Nothing,
    /// It is getting it.
    Pulling {
        /// Up to which key, from whom.
        cursors: Map<NodeId, Key>,
        /// Who has given all.
        complete: NodeSet,
    },
    /// It has it, of each key all that a quorum of its old replicas had.
    Done,
}

/// What became of a piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// It was not asked for, or is here already.
    Ignored,
    /// It is some of what its sender has: up to this key.
    Some(Key),
    /// It is all that its sender has.
    All,
    /// And by now this node has all that it is to have.
    Last,
}

impl Stream {
    /// What this node gets when it knows this.
    pub(super) fn opened(view: &View, me: NodeId) -> Self {
        if view.sources(me).is_empty() {
            Self::Nothing
        } else {
            Self::Pulling {
                cursors: Map::new(),
                complete: NodeSet::EMPTY,
            }
        }
    }

    /// Who is to be asked for more, and after which key.
    pub(super) fn questions(&self, view: &View, me: NodeId) -> Vec<(NodeId, Option<Key>)> {
        let Self::Pulling { cursors, complete } = self else {
            return Vec::new();
        };
        let sources = view.sources(me).difference(*complete);
        let question = |source| (source, cursors.get(&source).cloned());
        sources.iter().map(question).collect()
    }

    /// An old replica gave what it has after one key, up to another: if there is none, that is all.
    pub(super) fn take(
        &mut self,
        view: &View,
        me: NodeId,
        from: NodeId,
        after: Option<&Key>,
        next: Option<&Key>,
    ) -> Piece {
        let Self::Pulling { cursors, complete } = self else {
            return Piece::Ignored; // It has it all.
        };
        let is_next = cursors.get(&from) == after && !complete.contains(from);
        if !view.sources(me).contains(from) || !is_next {
            return Piece::Ignored; // Not asked, or had already.
        }
        if let Some(next) = next {
            if Some(next) <= after {
                return Piece::Ignored; // No replica of ours goes back.
            }
            cursors.insert(from, next.clone());
            return Piece::Some(next.clone());
        }
        complete.insert(from);
        let moves = view.moves().into_iter();
        let mut mine = moves.filter(|one| one.gains().contains(me));
        // An acknowledged write of before the change is on a quorum: any other quorum has met it.
        if mine.all(|one| complete.intersection(one.old).len() >= one.old.majority()) {
            *self = Self::Done;
            return Piece::Last;
        }
        Piece::All
    }
}

/// As much of this as a message carries, of the keys that are given, in their order; and up to which key it
/// is all, none if there is no more. Of each key there is said how many bytes it takes.
pub(super) fn chunk<'a, T>(
    rest: impl Iterator<Item = (&'a Key, usize, T)>,
    given: &[Move],
) -> (Vec<(Key, T)>, Option<Key>) {
    let mut some: Vec<(Key, T)> = Vec::new();
    let (mut bytes, mut last) = (0, None);
    for (seen, (key, size, it)) in rest.enumerate() {
        let token = Token::of(key.as_bytes());
        let is_given = given.iter().any(|one| one.range.contains(token));
        let size = if is_given { size } else { 0 };
        let is_full = bytes + size > CHUNK_BYTES_MAX && !some.is_empty();
        if is_full || seen == CHUNK_KEYS_MAX {
            return (some, last);
        }
        if is_given {
            bytes += size;
            some.push((key.clone(), it));
        }
        last = Some(key.clone());
    }
    (some, None)
}

impl Rebalance {
    /// An old replica says what a pending one is to have. It knows of the change by now: it takes no more
    /// writes, and no more ballots, of those who do not.
    pub(super) fn on_pull(
        &self,
        state: &State<Self>,
        from: NodeId,
        after: Option<Key>,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        let given = view.given(self.database.me, from);
        if given.is_empty() {
            return; // It is to have nothing of this node, or not now.
        }
        let database = &state.durable.database;
        let (cells, promises) = (&database.table.cells, &database.promises);
        let start = || after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = || (start().cloned(), Bound::Unbounded);
        // One more than are looked at, so that it shows whether there are more.
        let with_cells = cells.range(range()).take(CHUNK_KEYS_MAX + 1);
        let with_promises = promises.range(range()).take(CHUNK_KEYS_MAX + 1);
        let keys: BTreeSet<&Key> = (with_cells.map(|(key, _)| key))
            .chain(with_promises.map(|(key, _)| key))
            .collect();
        let sized = keys.into_iter().map(|key| {
            let (cell, promise) = (cells.get(key), promises.get(key));
            (key, size(key, cell, promise), (cell, promise))
        });
        let (some, next) = chunk(sized, &given);
        let item = |(key, (cell, promise)): (Key, (Option<&Cell>, Option<&Promise>))| Item {
            key,
            cell: cell.cloned().unwrap_or_default(),
            promise: promise.cloned(),
        };
        let items: Vec<Item> = some.into_iter().map(item).collect();
        let message = Message::Chunk {
            stage: view.stage(),
            after: after.clone(),
            items,
            next,
        };
        out.send(from, message);
    }

    /// An old replica gave some of what this node is to have.
    pub(super) fn on_chunk(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        after: Option<&Key>,
        items: &[Item],
        next: Option<&Key>,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        let stage = view.stage();
        let me = self.database.me;
        let piece = state.volatile.stream.take(&view, me, from, after, next);
        if piece == Piece::Ignored {
            return;
        }
        self.act(state, out, |_, state, _| {
            for Item { key, cell, promise } in items {
                Database::receive(state, key, cell, promise.as_ref());
            }
        });
        match piece {
            Piece::Some(next) => {
                let after = Some(next);
                out.send(from, Message::Pull { stage, after });
            }
            Piece::Last => {
                out.tell(Event::Streamed { stage });
                self.report(state, out);
            }
            Piece::All | Piece::Ignored => {}
        }
    }
}

/// How many bytes of keys and values there are.
fn size(key: &Key, cell: Option<&Cell>, promise: Option<&Promise>) -> usize {
    let accepted = promise.and_then(|promise| promise.accepted.as_ref());
    let accepted = accepted.and_then(|(_, version)| version.value.as_ref());
    key.len() + cell.map_or(0, Cell::bytes) + accepted.map_or(0, alloc::string::String::len)
}
