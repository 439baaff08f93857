//! # Data sync
//!
//! Replicas of a map that find out where they differ without sending what they have. Each keeps a
//! [keyed tree](crate::merkle::keyed) over its entries. Now and then it sends a peer the digest of its root;
//! where digests differ the two go down the tree, a level a message, and at the bottom send each other the
//! entries that are newer.
//!
//! - **Source.** The walk is that of Dynamo (`DeCandia` et al., SOSP 2007, §4.7) and of Riak's hash trees, by
//!   messages that carry all that is needed to answer them. The tree is a prefix tree over hashed keys, and
//!   so independent of history, as Merkle search trees are (Auvolat and Taïani, SRDS 2019).
//! - **Promises.** *converged*: in the calm all replicas become equal, from every state, however the walks
//!   under way end. *nothing goes back*: no replica's entry of a key is ever replaced by an older one. *one
//!   value per version*. *no resurrection*: what a replica knows to be deleted it does not have again, unless
//!   it is written anew. *acknowledged writes stay*: a write that was acknowledged is at its replica, or one that supersedes it.
//!   *one digest, one map*: replicas whose roots have one digest are equal. *the tree is that of the map*,
//!   whatever happened before.
//! - **Assumes.** Disks keep what they acknowledged. The hash function tells different things apart, and
//!   spreads keys evenly: more than [`BUCKET_MAX`] keys at one of 2^64 positions are not reconciled.
//! - **Leaves out.** Forgetting tombstones: that takes proof that everyone has them, which is gossip's.
//!   Changes of membership: whoever is a peer is one for good.
//! - **The textbook says.** `DistributedDataSync` (chapter 8, Merkle trees) compares trees by the places of
//!   entries in a list, so that trees of different shapes are taken for equal below
//!   (`converged_falls_when_other_shapes_are_skipped`); joins the fields of an entry by colons
//!   (`one_map_falls_when_fields_are_joined`); keeps both of two entries of one version
//!   (`converged_falls_without_a_tie_break`); and after all that copies everything.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};
use crate::merkle::keyed::{Keyed, Place, Places, Shape};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 768;
/// The most keys that a place may have without branching, so that an offer of them fits a datagram.
pub const BUCKET_MAX: u32 = 6;

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sync<H> {
    /// This node.
    pub me: NodeId,
    /// Whom it asks. Who is asked answers, and both learn, so that it is enough if of any two neighbours
    /// one asks; and if neighbours connect all.
    pub peers: NodeSet,
    /// How trees branch: the same everywhere.
    pub shape: Shape,
    /// What trees are hashed with: the same everywhere.
    pub hasher: H,
}

/// What the local application asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Which value has the key, here?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: String,
    },
    /// Let the key have a value, or none.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
        /// The value, at most [`VALUE_BYTES_MAX`] long.
        value: Option<String>,
    },
}

/// What a replica has of a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written, and where. Who writes has seen a smaller time of everything that it knows, so
    /// that the order of stamps respects causality.
    pub version: Stamp,
    /// The value; none if the key was deleted.
    pub value: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value:?} of {:?}", self.version),
            None => write!(f, "deleted at {:?}", self.version),
        }
    }
}

/// What travels. Each message can be answered from it alone, so that any may be lost, or come late.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Message<D: machine::Value> {
    /// This is what I have at the place. Have you the same?
    Compare {
        /// Where.
        place: Place,
        /// The digest of it.
        digest: D,
    },
    /// I have not, and this is what I have below.
    Children {
        /// Where.
        place: Place,
        /// The digests of the places below, in order.
        digests: Vec<D>,
    },
    /// I have not, and these are all the keys that I have there.
    Offer {
        /// Where.
        place: Place,
        /// The keys and their versions.
        versions: Vec<(String, Stamp)>,
    },
    /// Send me these.
    Pull {
        /// The keys.
        keys: Vec<String>,
    },
    /// This is what I have of a key.
    Push {
        /// The key.
        key: String,
        /// What.
        entry: Entry,
    },
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// It is time to compare with this peer.
    Compare(NodeId),
}

/// What observers learn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The replica has an entry that it had not.
    Stored {
        /// The key.
        key: String,
        /// What.
        entry: Entry,
    },
    /// The write is on this replica's disk.
    Done {
        /// The caller's name for it.
        ticket: u64,
        /// Its version.
        version: Stamp,
    },
    /// This is the value of the key, here.
    Got {
        /// The caller's name for it.
        ticket: u64,
        /// The value.
        value: Option<String>,
    },
    /// It was not written: key or value are too long, or there is no later time.
    Refused {
        /// The caller's name for it.
        ticket: u64,
    },
}

/// What survives a crash: all that is known of each key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The entries. A deleted key has one too.
    pub entries: Map<String, Entry>,
    /// The latest time in them.
    pub time: u64,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it now has.
    pub entry: Entry,
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let changed = self.entries.changed_since(&older.entries);
        let change = |(key, entry): (&String, &Entry)| Change {
            key: key.clone(),
            entry: entry.clone(),
        };
        changed.map(change).collect()
    }

    fn apply(&mut self, Change { key, entry }: Change) {
        self.time = self.time.max(entry.version.time);
        self.entries.insert(key, entry);
    }
}

/// What a crash takes, and a boot makes anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Volatile<D: machine::Value> {
    /// The tree over the entries.
    pub tree: Keyed<D>,
}

impl<H: Places> Machine for Sync<H> {
    type Call = Call;
    type Message = Message<H::Digest>;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile<H::Digest>;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Self::Volatile {
        for peer in self.peers {
            out.arm(Timer::Compare(peer));
        }
        Volatile {
            tree: self.tree_of(&durable.entries),
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Get { ticket, key } => {
                let entry = state.durable.entries.get(&key);
                let value = entry.and_then(|entry| entry.value.clone());
                out.tell(Event::Got { ticket, value });
            }
            Call::Put { ticket, key, value } => {
                let time = state.durable.time.checked_add(1);
                let Some(time) = time.filter(|_| fits(&key, value.as_ref())) else {
                    return out.tell(Event::Refused { ticket });
                };
                let version = Stamp {
                    time,
                    node: self.me,
                };
                self.store(state, key, Entry { version, value }, out);
                out.tell(Event::Done { ticket, version });
            }
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Self::Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Compare { place, digest } => {
                if place.is_in(self.shape) && self.digest(state, place) != digest {
                    self.answer(state, from, place, out);
                }
            }
            Message::Children { place, digests } => {
                if place.is_in(self.shape) {
                    self.on_children(state, from, place, &digests, out);
                }
            }
            Message::Offer { place, versions } => {
                if place.is_in(self.shape) {
                    self.on_offer(state, from, place, versions, out);
                }
            }
            Message::Pull { keys } => {
                let few = usize::try_from(BUCKET_MAX).unwrap_or(usize::MAX);
                for key in keys.into_iter().take(few) {
                    if let Some(entry) = state.durable.entries.get(&key).cloned() {
                        out.send(from, Message::Push { key, entry });
                    }
                }
            }
            Message::Push { key, entry } => {
                let known = state.durable.entries.get(&key).map(|known| known.version);
                if known < Some(entry.version) && fits(&key, entry.value.as_ref()) {
                    self.store(state, key, entry, out);
                }
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let Timer::Compare(peer) = timer;
        let place = Place::ROOT;
        let digest = self.digest(state, place);
        out.send(peer, Message::Compare { place, digest });
        out.arm(timer);
    }

    fn delay(&self, _: &Timer) -> Range<Duration> {
        Duration::from_millis(200)..Duration::from_millis(400)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state.volatile.tree.len() == state.durable.entries.len()
    }
}

impl<H: Places> Sync<H> {
    /// The tree over these entries.
    pub fn tree_of(&self, entries: &Map<String, Entry>) -> Keyed<H::Digest> {
        let leaves = entries
            .iter()
            .map(|(key, entry)| (key.clone(), self.leaf(key, entry)));
        Keyed::of(&self.hasher, self.shape, leaves)
    }

    fn leaf(&self, key: &str, entry: &Entry) -> H::Digest {
        self.hasher.leaf(&encoded(key, entry))
    }

    fn digest(&self, state: &State<Self>, place: Place) -> H::Digest {
        state.volatile.tree.digest(&self.hasher, self.shape, place)
    }

    fn store(&self, state: &mut State<Self>, key: String, entry: Entry, out: &mut Outbox<Self>) {
        let leaf = self.leaf(&key, &entry);
        let tree = &mut state.volatile.tree;
        tree.insert(&self.hasher, self.shape, &key, leaf);
        let durable = &mut state.durable;
        durable.time = durable.time.max(entry.version.time);
        durable.entries.insert(key.clone(), entry.clone());
        out.tell(Event::Stored { key, entry });
    }

    /// Says more of a place where the two differ.
    fn answer(&self, state: &State<Self>, to: NodeId, place: Place, out: &mut Outbox<Self>) {
        let tree = &state.volatile.tree;
        let message = if tree.branches(self.shape, place) {
            let digests = tree.children(&self.hasher, self.shape, place);
            Message::Children { place, digests }
        } else {
            let versions = self.versions(state, place);
            Message::Offer { place, versions }
        };
        out.send(to, message);
    }

    fn versions(&self, state: &State<Self>, place: Place) -> Vec<(String, Stamp)> {
        let few = usize::try_from(BUCKET_MAX).unwrap_or(usize::MAX);
        let keys = state.volatile.tree.keys(self.shape, place).take(few);
        let version = |key: &String| Some((key.clone(), state.durable.entries.get(key)?.version));
        keys.filter_map(version).collect()
    }

    fn on_children(
        &self,
        state: &State<Self>,
        from: NodeId,
        place: Place,
        digests: &[H::Digest],
        out: &mut Outbox<Self>,
    ) {
        let tree = &state.volatile.tree;
        if !tree.branches(self.shape, place) {
            // They have much there and we little: they are told what.
            return self.answer(state, from, place, out);
        }
        let ours = tree.children(&self.hasher, self.shape, place);
        if digests.len() != ours.len() {
            return;
        }
        let children = place.children(self.shape).zip(ours.iter().zip(digests));
        for (child, (ours, theirs)) in children {
            if ours != theirs {
                self.answer(state, from, child, out);
            }
        }
    }

    fn on_offer(
        &self,
        state: &State<Self>,
        from: NodeId,
        place: Place,
        versions: Vec<(String, Stamp)>,
        out: &mut Outbox<Self>,
    ) {
        let offered: Map<String, Stamp> = versions.into_iter().collect();
        let known = |key: &String| state.durable.entries.get(key).map(|entry| entry.version);
        let newer = offered
            .iter()
            .filter(|(key, version)| known(key) < Some(**version));
        let keys: Vec<String> = newer.map(|(key, _)| key.clone()).collect();
        if !keys.is_empty() {
            out.send(from, Message::Pull { keys });
        }
        let tree = &state.volatile.tree;
        if tree.branches(self.shape, place) {
            // We have more there than a few messages carry: they are asked about each part of it.
            for place in place.children(self.shape) {
                if tree.keys(self.shape, place).next().is_some() {
                    let digest = self.digest(state, place);
                    out.send(from, Message::Compare { place, digest });
                }
            }
            return;
        }
        for key in tree.keys(self.shape, place) {
            let entry = state.durable.entries.get(key);
            let newer = entry.filter(|entry| offered.get(key) < Some(&entry.version));
            if let Some(entry) = newer.cloned() {
                let key = key.clone();
                out.send(from, Message::Push { key, entry });
            }
        }
    }
}

fn fits(key: &str, value: Option<&String>) -> bool {
    key.len() <= KEY_BYTES_MAX && value.is_none_or(|value| value.len() <= VALUE_BYTES_MAX)
}

/// An entry as the bytes of its leaf: each part with its length before it, so that no two entries have
/// the same.
fn encoded(key: &str, entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut part = |part: &[u8]| {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        bytes.extend(part);
    };
    part(key.as_bytes());
    part(&entry.version.time.to_le_bytes());
    part(&entry.version.node.0.to_le_bytes());
    // A deletion is not the empty value: it has no part.
    if let Some(value) = &entry.value {
        part(value.as_bytes());
    }
    bytes
}
