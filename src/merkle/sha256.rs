//! SHA-256, as RFC 6962 §2.1 uses it.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::Hasher;

/// SHA-256 with the prefixes of RFC 6962: 0x00 before an entry, 0x01 before the two digests of a node, so
/// that no node hashes like an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256;

/// What it gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sha256Digest(pub [u8; 32]);

/// In hexadecimal.
impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn digest(parts: &[&[u8]]) -> Sha256Digest {
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part);
    }
    Sha256Digest(hash.finalize().into())
}

impl Hasher for Sha256 {
    type Digest = Sha256Digest;

    fn empty(&self) -> Sha256Digest {
        digest(&[])
    }

    fn leaf(&self, bytes: &[u8]) -> Sha256Digest {
        digest(&[&[0x00], bytes])
    }

    fn node(&self, left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
        digest(&[&[0x01], &left.0, &right.0])
    }
}
