//! What a node keeps: versions under their tags, and the epoch that it has joined.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{Cap, KEY_BYTES_MAX, Message, SPREAD_BYTES_MAX, Timer, VALUE_BYTES_MAX};
use crate::clock::Stamp;
use crate::data::Map;
use crate::machine::{self, NodeId, Outbox, State};

/// A time of one leader. Epochs are ordered by number and then by leader, so that no two nodes lead
/// in one. The default is everyone's at first; where nobody leads it is the only one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// One more than that of any epoch its leader had heard of.
    pub number: u64,
    /// Who leads; in the default, nobody.
    pub leader: Option<NodeId>,
}

/// The place of a version in the declared order: by epoch, and within an epoch by Lamport stamp.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// The epoch it was written in.
    pub epoch: Epoch,
    /// When and where; of the version that every key begins with, nothing.
    pub stamp: Option<Stamp>,
}

/// What a key has: a value under its tag, or a tombstone. The default is what every node has of a key
/// that nobody wrote.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Its place in the declared order.
    pub tag: Tag,
    /// The value, or nothing if nobody wrote or the last one deleted.
    pub value: Option<String>,
}

// States and stories are read by people: these print as one word each.

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(leader) => write!(f, "{} of {leader}", self.number),
            None => write!(f, "nobody's"),
        }
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stamp {
            Some(stamp) => write!(f, "{stamp:?}")?,
            None => write!(f, "0")?,
        }
        match self.epoch.leader {
            Some(_) => write!(f, " in epoch {:?}", self.epoch),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value:?} at {:?}", self.tag),
            None => write!(f, "nothing at {:?}", self.tag),
        }
    }
}

impl Tag {
    fn time(self) -> u64 {
        self.stamp.map_or(0, |stamp| stamp.time)
    }
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often this node booted, so that no operation's name is used twice.
    pub incarnation: u64,
    /// The latest epoch that this node has joined. It helps the leader of no earlier one.
    pub epoch: Epoch,
    /// This node's Lamport clock: no tag that it has met has a later time.
    pub time: u64,
    /// The latest version of each key that this node was told or made.
    pub versions: Map<String, Version>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The node booted for this time.
    Booted(u64),
    /// It joined this epoch.
    Joined(Epoch),
    /// Its clock shows this.
    Time(u64),
    /// The key has this version.
    Version(String, Version),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        if self.epoch != older.epoch {
            changes.push(Change::Joined(self.epoch));
        }
        if self.time != older.time {
            changes.push(Change::Time(self.time));
        }
        let versions = self.versions.changed_since(&older.versions);
        changes
            .extend(versions.map(|(key, version)| Change::Version(key.clone(), version.clone())));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Joined(epoch) => self.epoch = epoch,
            Change::Time(time) => self.time = time,
            Change::Version(key, version) => {
                self.versions.insert(key, version);
            }
        }
    }
}

impl Durable {
    /// The version this node has of `key`.
    pub fn version(&self, key: &str) -> Version {
        self.versions.get(key).cloned().unwrap_or_default()
    }

    /// The clock of who meets a tag shows no earlier time. A message that brings one is no event of
    /// its own, for nobody stamps its receipt.
    pub(super) fn meet(&mut self, tag: Tag) {
        self.time = self.time.max(tag.time());
    }

    /// Takes `version` unless it has one at least as late.
    pub(super) fn keep(&mut self, key: &str, version: &Version) {
        self.meet(version.tag);
        if self.version(key).tag < version.tag {
            self.versions.insert(key.into(), version.clone());
        }
    }

    /// A version later than all that this node has met.
    pub(super) fn mint(&mut self, me: NodeId, value: Option<String>) -> Version {
        // A forged time at the very top would end the store, as members do not lie. It must not
        // panic all the same.
        self.time = self.time.saturating_add(1);
        let stamp = Stamp {
            time: self.time,
            node: me,
        };
        Version {
            tag: Tag {
                epoch: self.epoch,
                stamp: Some(stamp),
            },
            value,
        }
    }

    /// True if every version is one that this node can have met.
    pub(super) fn is_sound(&self) -> bool {
        let mut versions = self.versions.values();
        versions.all(|version| {
            let tag = version.tag;
            tag.epoch <= self.epoch && tag.time() <= self.time
        })
    }
}

impl Cap {
    /// Anti-entropy: a node tells another one what it has, part by part, and begins again at the end.
    pub(super) fn spread(state: &mut State<Self>, peer: NodeId, out: &mut Outbox<Self>) {
        let after = match state.volatile.spread.get(&peer) {
            Some(key) => Bound::Excluded(key.clone()),
            None => Bound::Unbounded,
        };
        let mut versions: Vec<(String, Version)> = Vec::new();
        let mut bytes = 0;
        let mut all_are_told = true;
        for (key, version) in state.durable.versions.range((after, Bound::Unbounded)) {
            bytes += key.len() + version.value.as_deref().map_or(0, str::len) + 48;
            if bytes > SPREAD_BYTES_MAX && !versions.is_empty() {
                all_are_told = false;
                break;
            }
            versions.push((key.clone(), version.clone()));
        }
        match versions.last() {
            Some((last, _)) if !all_are_told => {
                state.volatile.spread.insert(peer, last.clone());
            }
            Some(_) | None => {
                state.volatile.spread.remove(&peer);
            }
        }
        if !versions.is_empty() {
            out.send(peer, Message::Spread { versions });
        }
        out.arm(Timer::Spread(peer));
    }

    /// Another node tells what it has.
    pub(super) fn on_spread(&self, state: &mut State<Self>, versions: &[(String, Version)]) {
        if !self.spreads() {
            return; // Here versions come from who writes them alone.
        }
        for (key, version) in versions {
            let is_ours = version.tag.epoch == Epoch::default();
            if is_ours && !too_long(key, version.value.as_deref().unwrap_or_default()) {
                state.durable.keep(key, version);
            }
        }
    }
}

pub(super) fn too_long(key: &str, value: &str) -> bool {
    key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX
}
