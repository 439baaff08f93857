//! What a replica keeps on disk, and how that changes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::PAGE_BYTES_MAX;
use super::keys::{Digest, Keys, Signature, Signed};
use super::statements::{
    Batch, Certificate, Checkpoint, NewView, Request, Sequence, Stable, Stance, View,
};
use crate::data::Map;
use crate::kv::Reply;
use crate::machine::{self, NodeId};

/// A client: a node, and the name that the node gave it.
pub type Client = (NodeId, u64);

/// The replicated state: a deterministic store, and what makes each request count once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Service {
    /// The last place whose batch it reflects; all before it are reflected, too.
    pub executed: Sequence,
    /// The values.
    pub values: Map<String, String>,
    /// Of each client, the last request that was executed, and what came of it.
    pub sessions: Map<Client, (u64, Reply)>,
}

/// The client that made a request.
pub fn client(request: &Signed<Request>) -> Client {
    (request.by, request.value.session.client)
}

impl Service {
    /// True if the request was executed, or one that its client made after it: it will not be again.
    pub fn is_done(&self, request: &Signed<Request>) -> bool {
        let last = self.sessions.get(&client(request));
        last.is_some_and(|(serial, _)| request.value.session.serial <= *serial)
    }

    /// What came of the request, if it is its client's last.
    pub fn reply(&self, request: &Signed<Request>) -> Option<&Reply> {
        let (serial, reply) = self.sessions.get(&client(request))?;
        (*serial == request.value.session.serial).then_some(reply)
    }

    /// Executes a request, unless it was. §4.1: timestamps make that exactly once.
    pub fn execute(&mut self, request: &Signed<Request>) -> Option<Reply> {
        if self.is_done(request) {
            return None;
        }
        let reply = request.value.operation.execute(&mut self.values);
        let done = (request.value.session.serial, reply.clone());
        self.sessions.insert(client(request), done);
        Some(reply)
    }
}

/// One thing that a state has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// A value of the store.
    Value(String, String),
    /// A client's last request, and what came of it.
    Session(Client, u64, Reply),
}

impl Entry {
    /// How much of a page it takes, in bytes, at most.
    fn bytes(&self) -> usize {
        /// What is not a client's choice: numbers and lengths, in any encoding that is no waste.
        const NUMBERS: usize = 48;
        let chosen = match self {
            Self::Value(key, value) => key.len() + value.len(),
            Self::Session(_, _, reply) => match reply {
                Reply::Value(value) => value.as_ref().map_or(0, String::len),
                Reply::Done | Reply::Mismatched | Reply::NotANumber | Reply::Forgotten => 0,
            },
        };
        NUMBERS + chosen
    }
}

/// Where a page begins: values are in the order of their keys, and before sessions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Start {
    /// At this key, or the next.
    Value(String),
    /// At this client, or the next.
    Session(Client),
}

/// A part of a state that fits a message. A state is a chain of pages: each has the digest of the next,
/// so that who believes the digest of the first can believe them one after the other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Page {
    /// The place whose state it is part of.
    pub executed: Sequence,
    /// What is on it.
    pub entries: Vec<Entry>,
    /// The digest of the next; the last has none.
    pub rest: Option<Digest>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.entries)?;
        match &self.rest {
            None => Ok(()),
            Some(rest) => write!(f, ", then {rest:?}"),
        }
    }
}

/// A state at a checkpoint, and its pages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The state.
    pub service: Service,
    /// Where each page begins, and its digest.
    pub pages: Vec<(Start, Digest)>,
}

impl Service {
    /// What there is from `start` on, as far as it fits a page of [`PAGE_BYTES_MAX`], but at least one
    /// entry; and where the next page begins.
    pub fn entries(&self, start: &Start) -> (Vec<Entry>, Option<Start>) {
        let (values, sessions) = match start {
            Start::Value(key) => (Some(self.values.range(key.clone()..)), self.sessions.iter()),
            Start::Session(client) => (None, self.sessions.range(*client..)),
        };
        let values = values.into_iter().flatten();
        let values = values.map(|(key, value)| Entry::Value(key.clone(), value.clone()));
        let sessions = sessions
            .map(|(client, (serial, reply))| Entry::Session(*client, *serial, reply.clone()));
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in values.chain(sessions) {
            bytes += entry.bytes();
            if PAGE_BYTES_MAX < bytes && !entries.is_empty() {
                let next = match entry {
                    Entry::Value(key, _) => Start::Value(key),
                    Entry::Session(client, ..) => Start::Session(client),
                };
                return (entries, Some(next));
            }
            entries.push(entry);
        }
        (entries, None)
    }

    /// Adds what is on a page.
    pub(super) fn add(&mut self, page: Page) {
        self.executed = page.executed;
        for entry in page.entries {
            match entry {
                Entry::Value(key, value) => {
                    self.values.insert(key, value);
                }
                Entry::Session(client, serial, reply) => {
                    self.sessions.insert(client, (serial, reply));
                }
            }
        }
    }
}

impl Snapshot {
    /// The state, cut into pages. The last has no rest, so digests are computed from there.
    pub fn of(keys: &impl Keys, service: Service) -> Self {
        let mut cut = Vec::new();
        let mut next = Some(Start::Value(String::new()));
        while let Some(start) = next {
            let (entries, after) = service.entries(&start);
            cut.push((start, entries));
            next = after;
        }
        let mut rest = None;
        let mut pages = Vec::with_capacity(cut.len());
        for (start, entries) in cut.into_iter().rev() {
            let page = Page {
                executed: service.executed,
                entries,
                rest,
            };
            let digest = keys.digest(&page);
            pages.push((start, digest));
            rest = Some(digest);
        }
        pages.reverse();
        Self { service, pages }
    }

    /// What a replica that has this state vouches for.
    pub fn checkpoint(&self) -> Checkpoint {
        let first = self.pages.first();
        Checkpoint {
            sequence: self.service.executed,
            digest: first.map_or(Digest([0; 32]), |(_, digest)| *digest),
        }
    }

    /// One of its pages, if it has so many.
    pub fn page(&self, index: u64) -> Option<Page> {
        let index = usize::try_from(index).ok()?;
        let (start, _) = self.pages.get(index)?;
        let (entries, _) = self.service.entries(start);
        Some(Page {
            executed: self.service.executed,
            entries,
            rest: self.pages.get(index + 1).map(|(_, digest)| *digest),
        })
    }
}

/// How far a replica is with a place in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It accepted the primary's order.
    PrePrepared,
    /// So did a quorum: the predicate *prepared* of §4.2.
    Prepared,
    /// A quorum knows that: the predicate *committed-local* of §4.2.
    Committed,
}

/// One place in the view that a replica is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// Which batch the primary ordered there.
    pub digest: Digest,
    /// The primary's signature under that.
    pub pre_prepare: Signature,
    /// How far it is.
    pub stage: Stage,
}

/// What survives a crash. All of it was promised to someone: a replica that forgot what it prepared
/// would be a traitor without knowing it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The view it is in, or would move to.
    pub view: View,
    /// Which of the two.
    pub stance: Stance,
    /// What began the view, unless that is the first.
    pub new_view: Option<Signed<NewView>>,
    /// The places in this view.
    pub slots: Map<Sequence, Slot>,
    /// What was prepared at each place, in the latest view in which something was.
    pub certificates: Map<Sequence, Certificate>,
    /// The batches it was shown, and the last place that each was ordered at.
    pub batches: Map<Digest, (Sequence, Batch)>,
    /// The last stable checkpoint: the low watermark, h.
    pub stable: Option<Stable>,
    /// The states at the last stable checkpoint, if it is here yet, and at those after it that it reached.
    pub snapshots: Map<Sequence, Snapshot>,
    /// The state.
    pub service: Service,
}

/// One change of the disk. Of maps, nothing stands for a removal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// View and stance, together: to move to a view is to leave the one before.
    View(View, Stance),
    /// What began the view.
    NewView(Option<Signed<NewView>>),
    /// A place.
    Slot(Sequence, Option<Slot>),
    /// What was prepared there.
    Certificate(Sequence, Option<Certificate>),
    /// A batch.
    Batch(Digest, Option<(Sequence, Batch)>),
    /// The last stable checkpoint.
    Stable(Option<Stable>),
    /// A state to keep.
    Snapshot(Sequence, Option<Snapshot>),
    /// The state as it now is is kept, cut into these pages: what is in it need not be written again.
    Taken(Vec<(Start, Digest)>),
    /// The last place executed.
    Executed(Sequence),
    /// A value of the store.
    Value(String, Option<String>),
    /// A client's last request.
    Session(Client, Option<(u64, Reply)>),
}

/// What differs between two versions of a map: what was set, then what was removed.
fn differences<K: Ord + Clone, V: Clone + PartialEq>(
    new: &Map<K, V>,
    old: &Map<K, V>,
    change: impl Fn(K, Option<V>) -> Change,
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut added = 0;
    for (key, value) in new.changed_since(old) {
        added += usize::from(!old.contains_key(key));
        changes.push(change(key.clone(), Some(value.clone())));
    }
    // Removals are rare, and looking for them takes a walk over all.
    if old.len() + added != new.len() {
        let removed = old.keys().filter(|key| !new.contains_key(key));
        changes.extend(removed.map(|key| change(key.clone(), None)));
    }
    changes
}

fn set<K: Ord + Clone, V: Clone>(map: &mut Map<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if (self.view, self.stance) != (older.view, older.stance) {
            changes.push(Change::View(self.view, self.stance));
        }
        if self.new_view != older.new_view {
            changes.push(Change::NewView(self.new_view.clone()));
        }
        changes.extend(differences(&self.slots, &older.slots, Change::Slot));
        changes.extend(differences(
            &self.certificates,
            &older.certificates,
            Change::Certificate,
        ));
        changes.extend(differences(&self.batches, &older.batches, Change::Batch));
        if self.stable != older.stable {
            changes.push(Change::Stable(self.stable.clone()));
        }
        let (new, old) = (&self.service, &older.service);
        if new.executed != old.executed {
            changes.push(Change::Executed(new.executed));
        }
        changes.extend(differences(&new.values, &old.values, Change::Value));
        changes.extend(differences(&new.sessions, &old.sessions, Change::Session));
        let kept = |place, snapshot: Option<Snapshot>| match snapshot {
            // All states of one place are equal.
            Some(snapshot) if place == new.executed => Change::Taken(snapshot.pages),
            Some(_) | None => Change::Snapshot(place, snapshot),
        };
        changes.extend(differences(&self.snapshots, &older.snapshots, kept));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::View(view, stance) => (self.view, self.stance) = (view, stance),
            Change::NewView(new_view) => self.new_view = new_view,
            Change::Slot(sequence, slot) => set(&mut self.slots, sequence, slot),
            Change::Certificate(sequence, certificate) => {
                set(&mut self.certificates, sequence, certificate);
            }
            Change::Batch(digest, batch) => set(&mut self.batches, digest, batch),
            Change::Stable(stable) => self.stable = stable,
            Change::Snapshot(sequence, service) => set(&mut self.snapshots, sequence, service),
            Change::Taken(pages) => {
                let service = self.service.clone();
                let snapshot = Snapshot { service, pages };
                self.snapshots.insert(self.service.executed, snapshot);
            }
            Change::Executed(sequence) => self.service.executed = sequence,
            Change::Value(key, value) => set(&mut self.service.values, key, value),
            Change::Session(client, done) => set(&mut self.service.sessions, client, done),
        }
    }
}

impl Durable {
    /// h, the low watermark: everything up to it is in the past.
    pub fn low(&self) -> Sequence {
        let stable = self.stable.as_ref();
        stable.map_or(Sequence::default(), |stable| stable.checkpoint.sequence)
    }
}
