//! Anti-entropy: two replicas compare Merkle trees of what they share, and exchange what differs.
//!
//! Each message can be answered from itself alone, so any may be lost, or come late. Whoever compares sends
//! the digest of its root; where digests differ the two go down, in turn, until one of them has a bucket.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Cell, Database, Key, Message, Reply, Timer, WRITE_BYTES_MAX};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};
use crate::merkle::Hasher;
use crate::merkle::keyed::{Keyed, Place, Places, Shape};
use crate::ring::murmur3;

/// How many messages one message is answered with at most. What is left is found when the two compare again.
const ANSWERS_MAX: usize = 64;

/// Murmur3, as keys are placed by. Replicas do not lie, so it need not be hard to find two things that hash
/// alike; that two cells of one key do by chance has a probability of 2⁻⁶⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Murmur;

impl Hasher for Murmur {
    type Digest = u64;

    fn empty(&self) -> u64 {
        murmur3(&[]).0
    }

    fn leaf(&self, bytes: &[u8]) -> u64 {
        let mut leaf = alloc::vec![0];
        leaf.extend(bytes);
        murmur3(&leaf).0
    }

    fn node(&self, left: &u64, right: &u64) -> u64 {
        let mut node = alloc::vec![1];
        node.extend(left.to_be_bytes());
        node.extend(right.to_be_bytes());
        murmur3(&node).0
    }
}

impl Places for Murmur {
    fn position(&self, key: &str) -> u64 {
        murmur3(key.as_bytes()).0
    }
}

/// The digest of a key and its cell: of all that makes two of them different.
fn digest(key: &str, cell: &Cell) -> u64 {
    let mut bytes = Vec::from(key.as_bytes());
    let mut push = |number: u64| bytes.extend(number.to_be_bytes());
    push(key.len() as u64);
    match cell {
        Cell::Nothing => {}
        Cell::Last(version) => {
            push(version.stamp.time.physical);
            push(u64::from(version.stamp.time.counter));
            push(version.stamp.writer.0);
            push(u64::from(version.value.is_some()));
        }
        Cell::Beside(siblings) => {
            // A dot names one write, and the past of it.
            for version in siblings.versions() {
                push(version.dot.node.0);
                push(version.dot.counter);
            }
        }
    }
    Murmur.leaf(&bytes)
}

/// The digest of some cells, by key.
pub(super) fn digest_of<'a>(cells: impl Iterator<Item = (&'a Key, &'a Cell)>) -> u64 {
    cells.fold(Murmur.empty(), |all, (key, cell)| {
        Murmur.node(&all, &digest(key, cell))
    })
}

impl Database {
    /// A replica has an alarm for each with which it shares keys, and one for its tombstones.
    pub(super) fn wake_replica(&self, out: &mut Outbox<Self>) {
        let members = self.placement.members();
        if !members.contains(self.me) {
            return;
        }
        if self.anti_entropy.is_some() {
            for peer in members.iter().filter(|node| *node != self.me) {
                out.arm(Timer::Compare(peer));
            }
        }
        match self.tombstones {
            super::Tombstones::Kept => {}
            super::Tombstones::Collected => out.arm(Timer::Collect),
        }
    }

    /// The tree of all that this node and the other one are both replicas of.
    fn tree(&self, state: &State<Self>, peer: NodeId, shape: Shape) -> Keyed<u64> {
        let both = [self.me, peer].into_iter().collect::<NodeSet>();
        let shared = (state.durable.table.cells.iter())
            .filter(|(key, _)| both.is_subset(self.placement.replicas(key)))
            .map(|(key, cell)| (key.clone(), digest(key, cell)));
        Keyed::of(&Murmur, shape, shared)
    }

    /// It is time to compare with this one.
    pub(super) fn compare(&self, state: &State<Self>, peer: NodeId, out: &mut Outbox<Self>) {
        let Some(shape) = self.anti_entropy else {
            return;
        };
        if !self.placement.members().contains(peer) {
            return; // It has left.
        }
        out.arm(Timer::Compare(peer));
        let place = Place::ROOT;
        let digest = self.tree(state, peer, shape).digest(&Murmur, shape, place);
        out.send(peer, Message::Compare { place, digest });
    }

    /// The other one's digest of a place.
    pub(super) fn on_compare(
        &self,
        state: &State<Self>,
        from: NodeId,
        place: Place,
        digest: u64,
        out: &mut Outbox<Self>,
    ) {
        let Some(shape) = self.anti_entropy.filter(|shape| place.is_in(*shape)) else {
            return;
        };
        let tree = self.tree(state, from, shape);
        if tree.digest(&Murmur, shape, place) == digest {
            return; // The same here and there.
        }
        if tree.branches(shape, place) {
            let digests = tree.children(&Murmur, shape, place);
            out.send(from, Message::Children { place, digests });
        } else {
            Self::send_bucket(state, from, place, &tree, shape, out);
        }
    }

    /// The other one's digests of what is below a place.
    pub(super) fn on_children(
        &self,
        state: &State<Self>,
        from: NodeId,
        place: Place,
        digests: &[u64],
        out: &mut Outbox<Self>,
    ) {
        let Some(shape) = self.anti_entropy.filter(|shape| place.is_in(*shape)) else {
            return;
        };
        let tree = self.tree(state, from, shape);
        if !tree.branches(shape, place) {
            Self::send_bucket(state, from, place, &tree, shape, out);
            return;
        }
        let mine = tree.children(&Murmur, shape, place);
        let below = place.children(shape).zip(mine.into_iter().zip(digests));
        for (place, (digest, theirs)) in below {
            if digest != *theirs {
                out.send(from, Message::Compare { place, digest });
            }
        }
    }

    /// All that is in a bucket, for all that the other one has there.
    fn send_bucket(
        state: &State<Self>,
        to: NodeId,
        place: Place,
        tree: &Keyed<u64>,
        shape: Shape,
        out: &mut Outbox<Self>,
    ) {
        let keys = tree.keys(shape, place).cloned().collect();
        let mut batches = batches(state, keys);
        // The last one asks, so that there is one answer; an empty bucket asks too.
        let last = batches.pop().unwrap_or_default();
        for cells in batches {
            let reply = Reply::Unwanted;
            out.send(
                to,
                Message::Entries {
                    place,
                    cells,
                    reply,
                },
            );
        }
        let reply = Reply::Wanted;
        let cells = last;
        out.send(
            to,
            Message::Entries {
                place,
                cells,
                reply,
            },
        );
    }

    /// The other one's cells.
    pub(super) fn on_entries(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        place: Place,
        cells: &[(Key, Cell)],
        reply: Reply,
        out: &mut Outbox<Self>,
    ) {
        let Some(shape) = self.anti_entropy.filter(|shape| place.is_in(*shape)) else {
            return;
        };
        let both = [self.me, from].into_iter().collect::<NodeSet>();
        let shared = |key: &Key| {
            both.is_subset(self.placement.replicas(key)) && key.len() <= super::KEY_BYTES_MAX
        };
        for (key, cell) in cells.iter().filter(|(key, _)| shared(key)) {
            if !self.is_swept(state, key, cell) {
                Self::keep(state, key, cell);
            }
        }
        match reply {
            Reply::Unwanted => {}
            Reply::Wanted => {
                let tree = self.tree(state, from, shape);
                let theirs = |key: &String| cells.iter().find(|(other, _)| other == key);
                let newer = |key: &&String| {
                    theirs(key).is_none_or(|(_, cell)| *cell != state.durable.table.cell(key))
                };
                let keys = tree.keys(shape, place).filter(newer).cloned().collect();
                for cells in batches(state, keys).into_iter().take(ANSWERS_MAX) {
                    let reply = Reply::Unwanted;
                    out.send(
                        from,
                        Message::Entries {
                            place,
                            cells,
                            reply,
                        },
                    );
                }
            }
        }
    }
}

/// The cells of these keys, in batches that fit one datagram each.
fn batches(state: &State<Database>, keys: Vec<Key>) -> Vec<Vec<(Key, Cell)>> {
    let mut batches: Vec<Vec<(Key, Cell)>> = Vec::new();
    let mut room = 0;
    for key in keys {
        let cell = state.durable.table.cell(&key);
        let bytes = key.len() + cell.bytes();
        match batches.last_mut() {
            Some(batch) if bytes <= room && batch.len() < super::WRITE_KEYS_MAX => {
                room -= bytes;
                batch.push((key, cell));
            }
            Some(_) | None => {
                room = WRITE_BYTES_MAX.saturating_sub(bytes);
                batches.push(alloc::vec![(key, cell)]);
            }
        }
    }
    batches
}
