//! Ed25519 keys: who said what, whoever brings it.
//!
//! A node's secret is a file that nobody else may read. Everyone's public keys are settings, and terms
//! of the cluster: who has others in mind is not listened to. [`KeyRing`] is what the machine of
//! [`crate::pbft`] signs and verifies with.
//!
//! # What is signed
//!
//! | bytes | what |
//! |---|---|
//! | 15 | `quorate/pbft/1` and a line feed, so that nothing else that the key signs is taken for it |
//! | 8 | the cluster, little-endian, so that what is said in one is not said in another |
//! | 1 | the kind of statement, so that a prepare is no commit |
//! | any | the statement, in postcard |
//!
//! A datagram whose bytes are not those that its message encodes to is dropped before anyone looks at
//! signatures, so what is verified are the bytes that arrived. Signatures are verified strictly
//! (RFC 8032, and no key or nonce of small order), so that there is one for each statement and key.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::std;
use crate::machine::NodeId;
use crate::pbft::{Digest, Keys, Kind, Signature, Statement};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

const CONTEXT: &[u8; 15] = b"quorate/pbft/1\n";

/// What only its owner has. It is overwritten when it is dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// The file of a secret key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    secret: Zeroizing<String>,
}

/// What everyone knows of a node's secret: enough to tell what it signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

/// Why a key is of no use.
#[derive(Debug)]
pub enum KeyError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file cannot be written. Nothing was changed.
    Unwritable(PathBuf, io::Error),
    /// There is something already. It was left as it is.
    Exists(PathBuf),
    /// Others than its owner may read or change it: with these permissions.
    Exposed(PathBuf, u32),
    /// The file is none that keygen wrote.
    Malformed(PathBuf),
    /// The operating system gives no randomness.
    Random(io::Error),
    /// What should be a public key is none.
    NotPublic(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(
                f,
                "cannot read the key {}: {error} (`quorate keygen` makes one)",
                path.display()
            ),
            Self::Unwritable(path, error) => {
                write!(f, "cannot write the key {}: {error}", path.display())
            }
            Self::Exists(path) => write!(
                f,
                "{} exists, and a key that is in use must not be replaced: name another file",
                path.display()
            ),
            Self::Exposed(path, mode) => write!(
                f,
                "others can read the key {} (its permissions are {mode:o}): chmod 600 it, and if \
                 someone may have read it, make another",
                path.display()
            ),
            Self::Malformed(path) => write!(
                f,
                "{} is no key: give a file that `quorate keygen` wrote",
                path.display()
            ),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
            Self::NotPublic(text) => write!(
                f,
                "`{text}` is no public key: give the 64 hexadecimal digits that `quorate keygen` \
                 printed"
            ),
        }
    }
}

impl core::error::Error for KeyError {}

/// Nothing of it.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret of {}", self.public())
    }
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    ///
    /// If the operating system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|error| KeyError::Random(io::Error::other(format!("{error}"))))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// What others know of it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Writes it to a new file that nobody else may read, and flushes that.
    ///
    /// # Errors
    ///
    /// If there is a file already, which is left as it is, or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let unwritable = |error: io::Error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                KeyError::Exists(path.into())
            } else {
                KeyError::Unwritable(path.into(), error)
            }
        };
        let mut file = options.open(path).map_err(unwritable)?;
        let digits = Zeroizing::new(hex::encode(self.0.as_bytes()));
        let text = Zeroizing::new(format!("secret = \"{}\"\n", *digits));
        file.write_all(text.as_bytes()).map_err(unwritable)?;
        file.sync_all().map_err(unwritable)
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is no key, or may be read by others than its owner.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |error| KeyError::Unreadable(path.into(), error);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed(path.into(), mode));
            }
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
        let malformed = || KeyError::Malformed(path.into());
        let file: KeyFile = toml::from_str(&text).map_err(|_| malformed())?;
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(file.secret.as_str(), seed.as_mut_slice()).map_err(|_| malformed())?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_bytes().serialize(serializer)
    }
}

impl core::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        let key = match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => VerifyingKey::from_bytes(&bytes).ok(),
            Err(_) => None,
        };
        // Of a weak key there are signatures that fit almost anything.
        let key = key.filter(|key| !key.is_weak());
        key.map(Self)
            .ok_or_else(|| KeyError::NotPublic(text.chars().take(80).collect()))
    }
}

/// What was done with keys so far.
#[derive(Debug, Default)]
struct Tally {
    made: AtomicU64,
    verified: AtomicU64,
    refused: AtomicU64,
    nanos: AtomicU64,
}

/// The same, read at one moment or nearly so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Signatures made.
    pub made: u64,
    /// Signatures verified, and found genuine.
    pub verified: u64,
    /// Signatures that were not: each was the end of what it came with.
    pub refused: u64,
    /// The time that this and digests took.
    pub time: Duration,
}

/// Whose keys they are: what makes one ring another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whose {
    cluster: u64,
    node: NodeId,
    public: BTreeMap<NodeId, PublicKey>,
}

/// A node's secret and everyone's public keys, in one cluster. Clones share their counts.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    whose: Whose,
    /// Without one, what it signs convinces nobody.
    secret: Option<SecretKey>,
    tally: Tally,
}

impl KeyRing {
    /// The ring of `node`, which has this secret.
    pub fn new(
        cluster: u64,
        node: NodeId,
        secret: SecretKey,
        public: BTreeMap<NodeId, PublicKey>,
    ) -> Self {
        Self::make(cluster, node, Some(secret), public)
    }

    /// A ring that can verify and not sign.
    pub fn without_secret(cluster: u64, node: NodeId, public: BTreeMap<NodeId, PublicKey>) -> Self {
        Self::make(cluster, node, None, public)
    }

    fn make(
        cluster: u64,
        node: NodeId,
        secret: Option<SecretKey>,
        public: BTreeMap<NodeId, PublicKey>,
    ) -> Self {
        let whose = Whose {
            cluster,
            node,
            public,
        };
        Self(Arc::new(Ring {
            whose,
            secret,
            tally: Tally::default(),
        }))
    }

    /// What was done with it so far.
    pub fn tallied(&self) -> Tallied {
        let tally = &self.0.tally;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tallied {
            made: read(&tally.made),
            verified: read(&tally.verified),
            refused: read(&tally.refused),
            time: Duration::from_nanos(read(&tally.nanos)),
        }
    }

    fn signed_bytes<T: Statement>(&self, statement: &T) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(CONTEXT);
        bytes.extend(self.0.whose.cluster.to_le_bytes());
        bytes.push(tag(T::KIND));
        postcard::to_extend(statement, bytes).expect("plain data in memory always has an encoding")
    }

    /// Counts how long something took.
    fn timed<T>(&self, act: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = act();
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.tally.nanos.fetch_add(nanos, Ordering::Relaxed);
        done
    }
}

/// The kinds, as they are signed. A number is never given to another kind.
fn tag(kind: Kind) -> u8 {
    match kind {
        Kind::Request => 1,
        Kind::Answer => 2,
        Kind::PrePrepare => 3,
        Kind::Prepare => 4,
        Kind::Commit => 5,
        Kind::Checkpoint => 6,
        Kind::ViewChange => 7,
        Kind::NewView => 8,
        Kind::Reading => 9,
    }
}

impl Keys for KeyRing {
    fn digest<T: Serialize>(&self, value: &T) -> Digest {
        self.timed(|| {
            let bytes = postcard::to_stdvec(value);
            let bytes = bytes.expect("plain data in memory always has an encoding");
            Digest(Sha256::digest(bytes).into())
        })
    }

    fn sign<T: Statement>(&self, statement: &T) -> Signature {
        let Some(secret) = &self.0.secret else {
            return Signature::default();
        };
        self.0.tally.made.fetch_add(1, Ordering::Relaxed);
        self.timed(|| {
            let signature = secret.0.sign(&self.signed_bytes(statement));
            Signature(signature.to_bytes().to_vec())
        })
    }

    fn verify<T: Statement>(&self, by: NodeId, statement: &T, signature: &Signature) -> bool {
        let genuine = self.timed(|| {
            let key = self.0.whose.public.get(&by);
            let signature = ed25519_dalek::Signature::from_slice(&signature.0).ok();
            key.zip(signature).is_some_and(|(key, signature)| {
                let bytes = self.signed_bytes(statement);
                key.0.verify_strict(&bytes, &signature).is_ok()
            })
        });
        let tally = &self.0.tally;
        let count = if genuine {
            &tally.verified
        } else {
            &tally.refused
        };
        count.fetch_add(1, Ordering::Relaxed);
        genuine
    }
}

/// Two rings are one if they are of one node in one cluster with the same keys: the secret follows from
/// the public key, and counts are no part of it.
impl PartialEq for KeyRing {
    fn eq(&self, other: &Self) -> bool {
        self.0.whose == other.0.whose && self.0.secret.is_some() == other.0.secret.is_some()
    }
}

impl Eq for KeyRing {}

impl Hash for KeyRing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.whose.hash(state);
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Whose { cluster, node, .. } = &self.0.whose;
        write!(f, "the keys of {node} in cluster {cluster}")
    }
}
