//! Rumours: what is new goes from mouth to mouth, as long as it is news to somebody.

use alloc::vec::Vec;

use super::exchange::weight;
use super::store::is_sound;
use super::{BATCH_BYTES_MAX, Cell, Gossip, Key, Message, Timer};
use crate::clock::Vector;
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// Of how many keys one node spreads rumours at once. What is more is left to anti-entropy.
pub const HOT_MAX: usize = 16;

impl Gossip {
    /// Something about `key` is new here.
    pub(super) fn kindle(&self, state: &mut State<Self>, key: Key, out: &mut Outbox<Self>) {
        let hot = &mut state.volatile.hot;
        let is_full = hot.len() >= HOT_MAX && !hot.contains_key(&key);
        if self.interest == 0 || self.peers().is_empty() || is_full {
            return; // Nobody to tell, or too much to tell at once.
        }
        if state.durable.cells.contains_key(&key) {
            hot.insert(key, NodeSet::EMPTY);
            for peer in self.peers() {
                out.arm(Timer::Rumour(peer));
            }
        }
    }

    /// Asks `peer` whether it has heard.
    pub(super) fn spread(state: &State<Self>, peer: NodeId, out: &mut Outbox<Self>) {
        let hot = &state.volatile.hot;
        if hot.is_empty() {
            return;
        }
        out.arm(Timer::Rumour(peer));
        for (key, _) in hot.iter().filter(|(_, knew)| !knew.contains(peer)) {
            let context = state.durable.cell(key).context();
            let key = key.clone();
            out.send(peer, Message::Rumour { key, context });
        }
    }

    /// Has it heard? It has, if it has the version or has seen past it.
    pub(super) fn on_rumour(
        state: &State<Self>,
        from: NodeId,
        key: Key,
        context: Vector,
        out: &mut Outbox<Self>,
    ) {
        let has = state.durable.cell(&key).context().dominates(&context);
        let answer = if has || state.durable.seen.dominates(&context) {
            Message::Known { key, context }
        } else {
            Message::Ask { key }
        };
        out.send(from, answer);
    }

    /// It was no news. §1.4: a node loses interest when it meets enough of those who know.
    pub(super) fn on_known(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        key: &Key,
        context: &Vector,
        out: &mut Outbox<Self>,
    ) {
        if !context.dominates(&state.durable.cell(key).context()) {
            return; // It knew what the rumour was before.
        }
        let Some(knew) = state.volatile.hot.get_mut(key) else {
            return; // It is no rumour any more.
        };
        knew.insert(from);
        let enough = (self.interest as usize).min(self.peers().len());
        if enough <= knew.len() {
            state.volatile.hot.remove(key);
            if state.volatile.hot.is_empty() {
                for peer in self.peers() {
                    out.disarm(Timer::Rumour(peer));
                }
            }
        }
    }

    /// Somebody wants to hear. It is told all of the key or nothing: a part of the siblings would pass
    /// for all of them.
    pub(super) fn on_ask(state: &State<Self>, from: NodeId, key: Key, out: &mut Outbox<Self>) {
        let cell = state.durable.cell(&key);
        let weights = cell.versions().iter().map(|version| weight(&key, version));
        if !cell.versions().is_empty() && weights.sum::<usize>() <= BATCH_BYTES_MAX {
            out.send(from, Message::Tell { key, cell });
        }
    }

    /// It hears. If it is news, it has a rumour to spread; if not, it says so.
    pub(super) fn on_tell(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        key: Key,
        cell: &Cell,
        out: &mut Outbox<Self>,
    ) {
        let versions: Vec<_> = cell.versions().to_vec();
        if !(versions.iter()).all(|version| is_sound(self.members, &key, version)) {
            return; // No member of ours says this.
        }
        let mut news = false;
        for version in versions {
            news |= (state.durable).take(self.me, self.conflicts, &key, version);
        }
        if news {
            self.kindle(state, key, out);
        } else {
            let context = cell.context();
            out.send(from, Message::Known { key, context });
        }
    }
}
