//! Keys of the checker: nothing is computed, and nothing can be forged that is not made to be.

use quorate::machine::NodeId;
use quorate::pbft::{Digest, Keys, Proof, Signature, Statement};
use serde::Serialize;

/// Symbolic cryptography, after Dolev and Yao: a genuine signature is an empty one, and a digest is the
/// value itself, in its encoding.
///
/// Who makes messages in a world decides what can be signed: an honest machine signs for itself, and
/// what a [`Traitor`](crate::world::Traitor) can say is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbolic {
    /// A signature is looked at.
    Checked,
    /// It is not: anyone signs for anyone.
    Ignored,
}

/// A signature that its alleged maker did not make.
pub(super) fn forged() -> Signature {
    Signature(vec![0x0B, 0xAD])
}

/// That enough nodes signed. Which ones is not kept: a proof convinces everyone or nobody.
pub(super) fn enough() -> Proof {
    Proof(vec![(NodeId(u64::MAX), Signature::default())])
}

impl Keys for Symbolic {
    fn digest<T: Serialize>(&self, value: &T) -> Digest {
        let encoding = postcard::to_stdvec(value).expect("what is signed has an encoding");
        let mut digest = [0; 32];
        // The last byte tells apart values whose encodings differ by zeros alone.
        assert!(
            encoding.len() < digest.len(),
            "a digest is the value itself"
        );
        digest[..encoding.len()].copy_from_slice(&encoding);
        digest[31] = u8::try_from(encoding.len()).expect("it is less than 32");
        Digest(digest)
    }

    fn sign<T: Statement>(&self, _: &T) -> Signature {
        Signature::default()
    }

    fn verify<T: Statement>(&self, _: NodeId, _: &T, signature: &Signature) -> bool {
        match self {
            Self::Checked => signature.0.is_empty(),
            Self::Ignored => true,
        }
    }

    fn join(&self, _: Vec<(NodeId, Signature)>) -> Proof {
        enough()
    }

    fn proves<T: Statement>(
        &self,
        proof: &Proof,
        _: &T,
        _: quorate::data::NodeSet,
        _: usize,
    ) -> bool {
        match self {
            Self::Checked => *proof == enough(),
            Self::Ignored => true,
        }
    }
}
