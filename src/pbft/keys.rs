//! Signatures and digests: a parameter, so that a checker can treat them symbolically.
//!
//! §2 of the paper: replicas and clients sign what they say, everyone knows everyone's public key,
//! and the adversary can neither forge a signature nor find two values of one digest. Here those are
//! the laws of [`Keys`]. Ed25519 and SHA-256 are believed to obey them; the checker's own keys do by
//! construction, for there a traitor's world simply has no message with a forged signature.
//!
//! Everything stays a pure function: an Ed25519 signature is one of the key and of what is signed.

use alloc::vec::Vec;
use core::fmt::{self, Debug, Write as _};
use core::hash::Hash;

use serde::{Deserialize, Serialize};

use crate::data::NodeSet;
use crate::machine::NodeId;

/// What stands for a value: no two values have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

/// The first bytes, for people.
impl Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folded = self.0.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        write!(f, "#{folded:08x}")
    }
}

/// What only the owner of a key can make, for one statement.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signature(pub Vec<u8>);

/// The first bytes as hexadecimal digits, after a stroke; nothing, if it is empty.
impl Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            f.write_char('/')?;
        }
        let first = self.0.iter().take(4);
        first.copied().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Signatures of several nodes under one statement, each node once: transferable, whoever shows it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Proof(pub Vec<(NodeId, Signature)>);

/// Who signed. A checker's proof names nobody: it convinces, or it does not.
impl Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => write!(f, "nobody"),
            [(NodeId(u64::MAX), _)] => write!(f, "enough"),
            signers => {
                let names = signers.iter().map(|(by, _)| by);
                f.debug_list().entries(names).finish()
            }
        }
    }
}

/// Something that is signed. Kinds keep apart statements of one shape.
pub trait Statement: Serialize {
    /// What kind of statement it is.
    const KIND: Kind;
}

/// The kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A client asks.
    Request,
    /// A replica answers.
    Answer,
    /// A replica answers what it reads, unordered.
    Reading,
    /// A primary orders.
    PrePrepare,
    /// A backup agrees.
    Prepare,
    /// A replica commits.
    Commit,
    /// A replica vouches for its state.
    Checkpoint,
    /// A replica leaves a view.
    ViewChange,
    /// A primary begins a view.
    NewView,
}

/// A statement, who made it, and the signature that shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signed<T> {
    /// Who.
    pub by: NodeId,
    /// What.
    pub value: T,
    /// The proof.
    pub signature: Signature,
}

/// As in a sentence. A signature that is not empty is shown.
impl<T: Debug> Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {}{:?}", self.value, self.by, self.signature)
    }
}

/// What a node can do with its own key and with everyone's public ones.
///
/// The laws: two values of one digest are equal; a signature that verifies was made by the owner of
/// the key, of just that statement; a proof that convinces was joined from signatures that verify.
pub trait Keys: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// The digest of a value.
    fn digest<T: Serialize>(&self, value: &T) -> Digest;

    /// This node's signature of a statement.
    fn sign<T: Statement>(&self, statement: &T) -> Signature;

    /// True if `by` signed the statement.
    fn verify<T: Statement>(&self, by: NodeId, statement: &T, signature: &Signature) -> bool;

    /// Joins verified signatures of one statement, of different nodes.
    fn join(&self, mut signatures: Vec<(NodeId, Signature)>) -> Proof {
        signatures.sort_unstable();
        Proof(signatures)
    }

    /// True if `proof` shows that at least so many of `nodes` signed the statement.
    fn proves<T: Statement>(
        &self,
        proof: &Proof,
        statement: &T,
        nodes: NodeSet,
        at_least: usize,
    ) -> bool {
        let mut signers = NodeSet::EMPTY;
        // Once each, and not one more than are asked for: nobody is made to verify for nothing.
        proof.0.len() == at_least
            && proof.0.iter().all(|(by, signature)| {
                nodes.contains(*by) && signers.insert(*by) && self.verify(*by, statement, signature)
            })
    }

    /// The statement, signed by this node, which is `me`.
    fn signed<T: Statement>(&self, me: NodeId, value: T) -> Signed<T> {
        let signature = self.sign(&value);
        Signed {
            by: me,
            value,
            signature,
        }
    }

    /// True if the signature is that of who is said to have made it.
    fn is_genuine<T: Statement>(&self, signed: &Signed<T>) -> bool {
        self.verify(signed.by, &signed.value, &signed.signature)
    }
}
