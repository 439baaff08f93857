//! What is said: statements, certificates, and the messages that carry them.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::keys::{Digest, Kind, Proof, Signature, Signed, Statement};
use super::log::Page;
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            view,
            client,
            session,
            reply,
        } = self;
        write!(f, "{reply:?} to {client}'s {session:?}, in {view:?}")
    }
}

/// What a replica answers to a request that only reads, before it is ordered (§5.1.3). It is another
/// statement than [`Answer`]: fewer equal answers are believed of what was ordered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reading(pub Answer);

/// ⟨CHECKPOINT, n, d, i⟩ (§4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// n: the last place that the state reflects.
    pub sequence: Sequence,
    /// d: the digest of the state, which is that of its first [`Page`].
    pub digest: Digest,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {:?} at {:?}", self.digest, self.sequence)
    }
}

/// A checkpoint that a quorum vouches for (§4.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stable {
    /// Which.
    pub checkpoint: Checkpoint,
    /// That a quorum signed it.
    pub proof: Proof,
}

impl fmt::Debug for Stable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, vouched for by {:?}", self.checkpoint, self.proof)
    }
}

/// That a batch was prepared: the set P of §4.4 is made of these.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Certificate {
    /// What was prepared.
    pub assignment: Assignment,
    /// The signature of the view's primary under its pre-prepare.
    pub pre_prepare: Signature,
    /// That enough backups signed a matching prepare.
    pub prepares: Proof,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            assignment,
            pre_prepare,
            prepares,
        } = self;
        write!(f, "{assignment:?}, ordered{pre_prepare:?}")?;
        write!(f, " and prepared by {prepares:?}")
    }
}

/// ⟨VIEW-CHANGE, v, n, C, P, i⟩ (§4.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewChange {
    /// v: the view it would move to.
    pub view: View,
    /// n and C: its last stable checkpoint, and why it is one. None is the initial state.
    pub stable: Option<Stable>,
    /// P: what it prepared after that, by place, each in the latest view in which it did.
    pub prepared: Vec<Certificate>,
}

impl fmt::Debug for ViewChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {:?} with {:?}", self.view, Known(self))
    }
}

/// What a view change says of the past.
struct Known<'a>(&'a ViewChange);

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stable) = &self.0.stable {
            write!(f, "{stable:?}, and ")?;
        }
        match self.0.prepared.as_slice() {
            [] => write!(f, "nothing prepared"),
            prepared => write!(f, "{prepared:?}"),
        }
    }
}

/// ⟨NEW-VIEW, v, V, O⟩ (§4.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NewView {
    /// v: the view that begins.
    pub view: View,
    /// V: a quorum that left for it.
    pub changes: Map<NodeId, Signed<ViewChange>>,
    /// O: what V obliges the primary to order, by place: a signature under each pre-prepare.
    pub pre_prepares: Vec<(Assignment, Signature)>,
}

impl fmt::Debug for NewView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.view)?;
        let separators = core::iter::once(" because").chain(core::iter::repeat(","));
        for (change, separator) in self.changes.values().zip(separators) {
            write!(
                f,
                "{separator} {} left with {:?}",
                change.by,
                Known(&change.value)
            )?;
        }
        match self.pre_prepares.as_slice() {
            [] => write!(f, "; so nothing is ordered"),
            orders => {
                let orders: Vec<_> = orders.iter().map(|(order, _)| order).collect();
                write!(f, "; so {orders:?} is ordered")
            }
        }
    }
}

impl Statement for Request {
    const KIND: Kind = Kind::Request;
}
impl Statement for Answer {
    const KIND: Kind = Kind::Answer;
}
impl Statement for Reading {
    const KIND: Kind = Kind::Reading;
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
///
/// Each is bounded: a request by [`super::OPERATION_BYTES_MAX`], an order by
/// [`super::BATCH_BYTES_MAX`], what speaks of places by the window between the watermarks, and a state
/// travels in pages of at most [`super::PAGE_BYTES_MAX`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// A client's request, from it or passed on.
    Request(Signed<Request>),
    /// A client's request that only reads: it need not be ordered (§5.1.3).
    Read(Signed<Request>),
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
    /// A replica tells a client what it reads.
    Reading(Signed<Reading>),
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
        /// The last place that it executed, or whose state it is being sent.
        executed: Sequence,
    },
    /// A state that a quorum vouched for, for a replica that was left behind (§4.6.2): its first page.
    State {
        /// Which, and why it is believed.
        stable: Stable,
        /// The page whose digest is that of the state.
        page: Page,
    },
    /// That replica asks for another page of it.
    Fetch {
        /// Of which state.
        checkpoint: Checkpoint,
        /// Which page; the first is 0.
        index: u64,
    },
    /// Another page.
    Page {
        /// Of which state.
        checkpoint: Checkpoint,
        /// Which page.
        index: u64,
        /// It, of which the page before has the digest.
        page: Page,
    },
}

/// As in a sentence.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => write!(f, "Request {request:?}"),
            Self::Read(request) => write!(f, "Read {request:?}"),
            Self::PrePrepare { order, batch } => {
                let signed = signed(order, order.value.0);
                write!(f, "PrePrepare {signed:?}: it is {batch:?}")
            }
            Self::Prepare(prepare) => write!(f, "Prepare {:?}", signed(prepare, prepare.value.0)),
            Self::Commit(commit) => write!(f, "Commit {:?}", signed(commit, commit.value.0)),
            Self::Answer(answer) => write!(f, "Answer {answer:?}"),
            Self::Reading(reading) => write!(f, "Reading {:?}", signed(reading, &reading.value.0)),
            Self::Checkpoint(checkpoint) => write!(f, "Checkpoint {checkpoint:?}"),
            Self::ViewChange(change) => write!(f, "ViewChange {change:?}"),
            Self::NewView(new_view) => write!(f, "NewView {new_view:?}"),
            Self::Status {
                view,
                stance,
                executed,
            } => write!(f, "Status {stance:?} in {view:?}, executed {executed:?}"),
            Self::State { stable, page } => write!(f, "State {stable:?}: {page:?}"),
            Self::Fetch { checkpoint, index } => write!(f, "Fetch page {index} of {checkpoint:?}"),
            Self::Page {
                checkpoint,
                index,
                page,
            } => write!(f, "Page {index} of {checkpoint:?}: {page:?}"),
        }
    }
}

/// Another statement by the same, to be shown without the name of its kind.
fn signed<T, U>(one: &Signed<T>, value: U) -> Signed<U> {
    Signed {
        by: one.by,
        value,
        signature: one.signature.clone(),
    }
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
