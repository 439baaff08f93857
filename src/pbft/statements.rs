//! What is said: statements, certificates, and the messages that carry them.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::keys::{Digest, Kind, Proof, Signature, Signed, Statement};
use super::log::Service;
use crate::data::Map;
use crate::kv::{Operation, Reply, Session};
use crate::machine::NodeId;

/// A view: the reign of one primary (§4.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View(pub u64);

/// A place in the order of execution. The first is 1.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

impl View {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// The next one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "view {}", self.0)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq {}", self.0)
    }
}

/// ⟨REQUEST, o, t, c⟩: client c asks for operation o. The timestamp t is the session's serial number:
/// totally ordered for each client, so that each request is executed once (§4.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The client's name for it.
    pub session: Session,
    /// What is to be done.
    pub operation: Operation,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?})", self.operation, self.session)
    }
}

/// Requests that are ordered together. None of them is the null request of §4.4, which does nothing.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Batch(pub Vec<Signed<Request>>);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// A batch's place in the order, as one view would have it: v, n, d.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Assignment {
    /// v: the view.
    pub view: View,
    /// n: the place.
    pub sequence: Sequence,
    /// d: the digest of the batch.
    pub digest: Digest,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at {:?} in {:?}",
            self.digest, self.sequence, self.view
        )
    }
}

/// ⟨PRE-PREPARE, v, n, d⟩ (§4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrePrepare(pub Assignment);

/// ⟨PREPARE, v, n, d, i⟩ (§4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Prepare(pub Assignment);

/// ⟨COMMIT, v, n, d, i⟩ (§4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Commit(pub Assignment);

/// ⟨REPLY, v, t, c, i, r⟩ (§4.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// v: the replica's view, from which the client learns who the primary is.
    pub view: View,
    /// c: whose request it was.
    pub client: NodeId,
    /// t: which of theirs.
    pub session: Session,
    /// r: what came of it.
    pub reply: Reply,
}

/// ⟨CHECKPOINT, n, d, i⟩ (§4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// n: the last place that the state reflects.
    pub sequence: Sequence,
    /// d: the digest of the state.
    pub digest: Digest,
}

/// A checkpoint that a quorum vouches for (§4.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stable {
    /// Which.
    pub checkpoint: Checkpoint,
    /// That a quorum signed it.
    pub proof: Proof,
}

/// That a batch was prepared: the set P of §4.4 is made of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Certificate {
    /// What was prepared.
    pub assignment: Assignment,
    /// The signature of the view's primary under its pre-prepare.
    pub pre_prepare: Signature,
    /// That enough backups signed a matching prepare.
    pub prepares: Proof,
}

/// ⟨VIEW-CHANGE, v, n, C, P, i⟩ (§4.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewChange {
    /// v: the view it would move to.
    pub view: View,
    /// n and C: its last stable checkpoint, and why it is one. None is the initial state.
    pub stable: Option<Stable>,
    /// P: what it prepared after that, by place, each in the latest view in which it did.
    pub prepared: Vec<Certificate>,
}

/// ⟨NEW-VIEW, v, V, O⟩ (§4.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NewView {
    /// v: the view that begins.
    pub view: View,
    /// V: a quorum that left for it.
    pub changes: Map<NodeId, Signed<ViewChange>>,
    /// O: what V obliges the primary to order, by place: a signature under each pre-prepare.
    pub pre_prepares: Vec<(Assignment, Signature)>,
}

impl Statement for Request {
    const KIND: Kind = Kind::Request;
}
impl Statement for Answer {
    const KIND: Kind = Kind::Answer;
}
impl Statement for PrePrepare {
    const KIND: Kind = Kind::PrePrepare;
}
impl Statement for Prepare {
    const KIND: Kind = Kind::Prepare;
}
impl Statement for Commit {
    const KIND: Kind = Kind::Commit;
}
impl Statement for Checkpoint {
    const KIND: Kind = Kind::Checkpoint;
}
impl Statement for ViewChange {
    const KIND: Kind = Kind::ViewChange;
}
impl Statement for NewView {
    const KIND: Kind = Kind::NewView;
}

/// What travels. Whoever sends it, it counts as said by who signed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// A client's request, from it or passed on.
    Request(Signed<Request>),
    /// The primary orders a batch.
    PrePrepare {
        /// The order.
        order: Signed<PrePrepare>,
        /// What it orders: the digest is of this.
        batch: Batch,
    },
    /// A backup agrees to it.
    Prepare(Signed<Prepare>),
    /// A replica knows that a quorum agreed.
    Commit(Signed<Commit>),
    /// A replica tells a client what came of its request.
    Answer(Signed<Answer>),
    /// A replica vouches for its state.
    Checkpoint(Signed<Checkpoint>),
    /// A replica leaves its view.
    ViewChange(Signed<ViewChange>),
    /// A primary begins its view.
    NewView(Signed<NewView>),
    /// A replica that waits for something says how far it is, so that others send what it lacks.
    Status {
        /// The view it is in, or would move to.
        view: View,
        /// Whether it is in it.
        stance: Stance,
        /// The last place that it executed.
        executed: Sequence,
    },
    /// A state that a quorum vouched for, for a replica that was left behind (§4.6.2).
    State {
        /// Which, and why it is believed.
        stable: Stable,
        /// The state.
        service: Service,
    },
}

/// Whether a replica takes part in its view.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Stance {
    /// It does.
    #[default]
    Active,
    /// It has left the one before, and waits for this one to begin: it accepts no orders (§4.4).
    Changing,
}
