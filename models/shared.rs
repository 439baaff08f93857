//! Content that many states share: computed once, hashed once, compared by pointer first.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use foldhash::quality::{FixedState, FoldHasher};

/// The content hash of a value: a pure function of it, equal in every run, thread and build.
///
/// It is as good as the `Hash` of the value is prefix-free. Every search can be audited by full
/// equality (see [`crate::audit::audit`]), which finds a `Hash` that is not.
pub fn fingerprint<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = hasher();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The hasher of [`fingerprint`], for content that comes in pieces.
pub(crate) fn hasher() -> FoldHasher<'static> {
    FixedState::with_seed(0x0071_756f_7261_7465).build_hasher()
}

/// A value that is never changed, behind a counted reference, with its content hash.
///
/// Hashing it costs one word. Equality looks at the pointer, then at the hash, and then at all of
/// the content: two shared values are equal if and only if their contents are.
pub struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    fingerprint: u64,
    value: T,
}

impl<T: Hash> Shared<T> {
    /// Shares a value.
    pub fn new(value: T) -> Self {
        let fingerprint = fingerprint(&value);
        Self(Arc::new(Inner { fingerprint, value }))
    }
}

impl<T> Shared<T> {
    /// The content hash, kept since the value was shared.
    pub fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.fingerprint == other.0.fingerprint && self.0.value == other.0.value)
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: Ord> PartialOrd for Shared<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> Ord for Shared<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return std::cmp::Ordering::Equal;
        }
        self.0.value.cmp(&other.0.value)
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.fingerprint);
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}
