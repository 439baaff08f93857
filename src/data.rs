//! The collections that states and messages are made of: [`Seq`], [`Map`] and [`NodeSet`].
//!
//! A state is cloned at every step, and the checker keeps millions of them, so versions that differ
//! in little should share the rest. `im` does that; its vector is the fastest we measured. But it
//! must not be used bare, which is why **this is the only file that imports `im`**, and why no name
//! of it appears in what this file makes public. Version 15.1.0 is the last: the repository was
//! archived in May 2026, with RUSTSEC-2026-0248 (unmaintained) and RUSTSEC-2023-0126 (an aliasing
//! violation) open. And it is wrong in ways that matter here:
//!
//! - **Its hashes leave out the length**, so `([7], [])` and `([], [7])` hash alike. A checker that
//!   keeps fingerprints takes them for one state and silently drops the other, with all that only
//!   the other leads to. Here every hash is prefix-free: the length first, as a `u64`, so that it
//!   is the same on every platform.
//! - **Its `serde` feature reserves whatever length a message claims**: seven bytes from anyone
//!   abort the process. The feature stays off. Here nothing is reserved on anyone's word, so that a
//!   decoder holds memory in proportion to the bytes it was given. That takes elements which take
//!   up bytes: those of no size, such as `()`, have no place in what is decoded from strangers.
//! - **Its `union` lets the wrong side win** when `self` is the smaller map: [`Map::merge_left`] is
//!   ours.
//! - **Its ordered map loses entries when it is read backwards**, whole nodes of them, once it has
//!   some two thousand. Its `get_next` and `get_prev` find nothing at the border of a node, and it
//!   tells a wrong length for ranges. [`MapIter`] asks it for nothing that it gets wrong.
//! - Its `sort` is undefined behaviour even under the laxer of Miri's models. Its hash maps and
//!   sets iterate at random, so that equal ones differ in hash, order and encoding. We use neither.
//!
//! # Why these representations
//!
//! An `im::OrdMap` copies 1.6 kB for each new version, however small the map, and doubled the
//! memory of a whole search; a sorted vector of three entries copies 48 bytes. A [`Map`] is thus a
//! sorted vector while it has at most 16 entries, which in a model is always, and an `im::OrdMap`
//! above, which in a deployed store makes each snapshot free. A [`Seq`] is an `im::Vector`: it
//! keeps a few elements inline, and long logs share all but a chunk. A [`NodeSet`] is one word.
//!
//! # What holds for all three
//!
//! Equality, order, hash and encoding depend on content alone: not on the history that led to it,
//! not on the representation. Encodings are those of `Vec`, `BTreeMap` and `u64`; for each content
//! there is one, and a map whose keys do not strictly increase is refused. Nothing here panics,
//! whatever it is given, as long as the `Ord` of keys is an order. Values that share their
//! representation are found equal without a look at their content, so that asking whether a step
//! changed a large store costs nothing if it did not.

use alloc::vec::Vec;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt::{self, Debug, Display};
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::mem;
use core::ops::{Bound, RangeBounds};
use core::slice;

use im::ordmap::DiffItem;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::machine::NodeId;

/// A sequence, for logs, histories and buffers: cheap to clone, to grow and to cut at its end, and
/// to shrink at its front.
///
/// There is no indexing, because it would invite panics: [`get`](Seq::get) answers for every index.
///
/// ```
/// use quorate::data::Seq;
///
/// let mut log: Seq<&str> = ["one", "two"].into_iter().collect();
/// let before = log.clone();
/// log.truncate(1);
/// log.push("three");
/// assert_eq!(log.suffix(1).collect::<Vec<_>>(), [&"three"]);
/// assert_eq!(before.last(), Some(&"two"));
/// ```
#[derive(Clone)]
pub struct Seq<T>(im::Vector<T>);

impl<T: Clone> Seq<T> {
    /// The empty sequence. It allocates nothing.
    pub fn new() -> Self {
        Self(im::Vector::new())
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The element at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)
    }

    /// The element at the front.
    pub fn first(&self) -> Option<&T> {
        self.0.front()
    }

    /// The element at the back.
    pub fn last(&self) -> Option<&T> {
        self.0.back()
    }

    /// The elements from front to back.
    pub fn iter(&self) -> SeqIter<'_, T> {
        SeqIter(self.0.iter())
    }

    /// The elements from index `from` on; none if there are no more than `from`.
    pub fn suffix(&self, from: usize) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        (from.min(self.len())..self.len()).map(|index| &self.0[index])
    }

    /// Adds an element at the back.
    pub fn push(&mut self, value: T) {
        self.0.push_back(value);
    }

    /// Takes the element at the front.
    pub fn pop_front(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    /// Takes the element at the back.
    pub fn pop_back(&mut self) -> Option<T> {
        self.0.pop_back()
    }

    /// Drops all but the first `len` elements. Does nothing if there are no more than that.
    pub fn truncate(&mut self, len: usize) {
        if len == 0 {
            *self = Self::new(); // `im` would keep an empty tree, and its memory.
        } else if len < self.len() {
            self.0.truncate(len);
        }
    }

    /// Replaces the element at `index`. False, and nothing is changed, if there is none.
    pub fn set(&mut self, index: usize, value: T) -> bool {
        // Asked first, because `im` gives up sharing to look for an index that is not there.
        if index >= self.len() {
            return false;
        }
        self.0.set(index, value);
        true
    }

    /// Drops the elements that `keep` refuses. If it refuses none, nothing is copied.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let kept: Self = self.iter().filter(|value| keep(value)).cloned().collect();
        if kept.len() < self.len() {
            *self = kept;
        }
    }
}

impl<T: Clone> Default for Seq<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Debug> Debug for Seq<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<T: Clone + Eq> Seq<T> {
    /// How many elements both have in common from the front on. Of two versions of one sequence, what
    /// they share is passed over a chunk at a time, without a look at its content.
    pub fn shared_prefix(&self, other: &Self) -> usize {
        let (mut ours, mut theirs) = (self.0.focus(), other.0.focus());
        let both = self.len().min(other.len());
        let mut shared = 0;
        while shared < both {
            let (left, right) = (ours.chunk_at(shared), theirs.chunk_at(shared));
            let left = left.1.get(shared - left.0.start..).unwrap_or_default();
            let right = right.1.get(shared - right.0.start..).unwrap_or_default();
            let chunk = left.len().min(right.len()).min(both - shared);
            debug_assert!(chunk > 0, "a chunk that is there has elements");
            if left.as_ptr() != right.as_ptr() {
                let same = left.iter().zip(right).take(chunk);
                let same = same.take_while(|(one, other)| one == other).count();
                if same < chunk {
                    return shared + same;
                }
            }
            shared += chunk;
        }
        shared
    }
}

impl<T: Clone + Eq> PartialEq for Seq<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0) || (self.len() == other.len() && self.iter().eq(other))
    }
}

impl<T: Clone + Eq> Eq for Seq<T> {}

impl<T: Clone + Ord> PartialOrd for Seq<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Clone + Ord> Ord for Seq<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other)
    }
}

impl<T: Clone + Hash> Hash for Seq<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.len() as u64);
        for value in self {
            value.hash(state);
        }
    }
}

impl<T: Clone> Extend<T> for Seq<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push(value);
        }
    }
}

impl<T: Clone> FromIterator<T> for Seq<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut seq = Self::new();
        seq.extend(values);
        seq
    }
}

impl<T: Clone + Serialize> Serialize for Seq<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Clone + Deserialize<'de>> Deserialize<'de> for Seq<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SeqVisitor(PhantomData))
    }
}

struct SeqVisitor<T>(PhantomData<T>);

impl<'de, T: Clone + Deserialize<'de>> Visitor<'de> for SeqVisitor<T> {
    type Value = Seq<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Seq<T>, A::Error> {
        let mut seq = Seq::new();
        while let Some(value) = access.next_element()? {
            seq.push(value);
        }
        Ok(seq)
    }
}

impl<'a, T: Clone> IntoIterator for &'a Seq<T> {
    type Item = &'a T;
    type IntoIter = SeqIter<'a, T>;

    fn into_iter(self) -> SeqIter<'a, T> {
        self.iter()
    }
}

/// Iterates over a [`Seq`] from front to back.
pub struct SeqIter<'a, T>(im::vector::Iter<'a, T>);

impl<'a, T: Clone> Iterator for SeqIter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T: Clone> DoubleEndedIterator for SeqIter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl<T: Clone> ExactSizeIterator for SeqIter<'_, T> {}

/// A map in the order of its keys, for stores and tables.
///
/// ```
/// use quorate::data::Map;
///
/// let mut acked: Map<u64, &str> = [(2, "b"), (1, "a")].into_iter().collect();
/// assert_eq!(acked.insert(2, "c"), Some("b"));
/// assert_eq!(acked.range(2..).next(), Some((&2, &"c")));
/// assert_eq!(format!("{acked:?}"), r#"{1: "a", 2: "c"}"#);
/// ```
#[derive(Clone)]
pub struct Map<K, V>(Entries<K, V>);

/// Which one it is follows from the length alone. So a store that was emptied is cheap again, and
/// equal maps are represented alike. A map whose length hovers about the limit pays for it by
/// copying 17 entries at a time, which is less than the node of 64 that an `im::OrdMap` copies
/// whenever it changes.
#[derive(Clone)]
enum Entries<K, V> {
    /// At most [`FEW`], by increasing key.
    Few(Vec<(K, V)>),
    /// More than that.
    Many(im::OrdMap<K, V>),
}

const FEW: usize = 16;

impl<K, V> Map<K, V> {
    /// The empty map. It allocates nothing.
    pub const fn new() -> Self {
        Self(Entries::Few(Vec::new()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Few(entries) => entries.len(),
            Entries::Many(entries) => entries.len(),
        }
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Ord, V> Map<K, V> {
    /// The value at `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match &self.0 {
            Entries::Few(entries) => search(entries, key).ok().map(|found| &entries[found].1),
            Entries::Many(entries) => entries.get(key),
        }
    }

    /// True if there is a value at `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entry with the least key.
    pub fn first(&self) -> Option<(&K, &V)> {
        let entry = match &self.0 {
            Entries::Few(entries) => entries.first(),
            Entries::Many(entries) => entries.get_min(),
        };
        entry.map(|(key, value)| (key, value))
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        let entry = match &self.0 {
            Entries::Few(entries) => entries.last(),
            Entries::Many(entries) => entries.get_max(),
        };
        entry.map(|(key, value)| (key, value))
    }

    /// The entries by increasing key.
    pub fn iter(&self) -> MapIter<'_, K, V> {
        MapIter(match &self.0 {
            Entries::Few(entries) => Cursor::Few(entries.iter()),
            Entries::Many(entries) => Cursor::many(entries, Bound::Unbounded, Bound::Unbounded),
        })
    }

    /// The keys, increasing.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values by increasing key.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries that an earlier version of this map had not, or had with another value, by
    /// increasing key. What the two share in memory is not looked at. Keys that only the earlier
    /// version has are not among them: a store that deletes keeps tombstones.
    pub fn changed_since<'a>(&'a self, older: &'a Self) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        V: PartialEq,
    {
        let (shared, plain) = match (&self.0, &older.0) {
            (Entries::Many(new), Entries::Many(old)) => (Some(old.diff(new)), None),
            (Entries::Few(_), _) | (_, Entries::Few(_)) => (None, Some(self.iter())),
        };
        let shared = shared.into_iter().flatten().filter_map(|item| match item {
            DiffItem::Add(key, value)
            | DiffItem::Update {
                new: (key, value), ..
            } => Some((key, value)),
            DiffItem::Remove(..) => None,
        });
        let plain = plain.into_iter().flatten();
        shared.chain(plain.filter(|(key, value)| older.get(*key) != Some(*value)))
    }

    /// The entries whose keys are in `range`, by increasing key. A range that ends before it starts
    /// has none.
    pub fn range(&self, range: impl RangeBounds<K>) -> MapIter<'_, K, V> {
        let (start, end) = (range.start_bound(), range.end_bound());
        let entries = match &self.0 {
            Entries::Few(entries) => entries,
            Entries::Many(entries) => return MapIter(Cursor::many(entries, start, end)),
        };
        let below = |bound| entries.partition_point(|(key, _)| key < bound);
        let up_to = |bound| entries.partition_point(|(key, _)| key <= bound);
        let start = match start {
            Bound::Included(bound) => below(bound),
            Bound::Excluded(bound) => up_to(bound),
            Bound::Unbounded => 0,
        };
        let end = match end {
            Bound::Included(bound) => up_to(bound),
            Bound::Excluded(bound) => below(bound),
            Bound::Unbounded => entries.len(),
        };
        let within = entries.get(start..end).unwrap_or_default();
        MapIter(Cursor::Few(within.iter()))
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    /// The value at `key`, to be changed in place.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.0 {
            Entries::Few(entries) => search(entries, key).ok().map(|found| &mut entries[found].1),
            // Asked first, because `im` gives up sharing to look for a key that is not there.
            Entries::Many(entries) if !entries.contains_key(key) => None,
            Entries::Many(entries) => entries.get_mut(key),
        }
    }

    /// The value at `key`, to be changed in place. If there is none, `default` makes it first.
    pub fn entry_or_insert_with(&mut self, key: K, default: impl FnOnce() -> V) -> &mut V {
        if !self.contains_key(&key) {
            self.insert(key.clone(), default());
        }
        self.get_mut(&key)
            .expect("a key that was absent has been inserted")
    }

    /// Puts `value` at `key`. Gives the value that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let entries = match &mut self.0 {
            Entries::Few(entries) => entries,
            Entries::Many(entries) => return entries.insert(key, value),
        };
        match search(entries, &key) {
            Ok(found) => Some(mem::replace(&mut entries[found].1, value)),
            Err(vacant) => {
                entries.insert(vacant, (key, value));
                if entries.len() > FEW {
                    self.0 = Entries::Many(mem::take(entries).into_iter().collect());
                }
                None
            }
        }
    }

    /// Takes the entry at `key` out and gives its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entries = match &mut self.0 {
            Entries::Few(entries) => {
                return search(entries, key)
                    .ok()
                    .map(|found| entries.remove(found).1);
            }
            // Asked first, because `im` gives up sharing to look for a key that is not there.
            Entries::Many(entries) if !entries.contains_key(key) => return None,
            Entries::Many(entries) => entries,
        };
        let value = entries.remove(key);
        if entries.len() <= FEW {
            let few = entries
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()));
            self.0 = Entries::Few(few.collect());
        }
        value
    }

    /// Drops the entries that `keep` refuses. If it refuses none, nothing is copied.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let refused = self.iter().filter(|(key, value)| !keep(key, value));
        let refused: Vec<K> = refused.map(|(key, _)| key.clone()).collect();
        for key in &refused {
            self.remove(key);
        }
    }

    /// Adds the entries of `other`. Where both have a key, the value of `self` stays.
    pub fn merge_left(&mut self, other: &Self) {
        for (key, value) in other {
            if !self.contains_key(key) {
                self.insert(key.clone(), value.clone());
            }
        }
    }

    /// Adds the entries of `other`. Where both have a key, the value becomes
    /// `combine(ours, theirs)`; if that is ours, the entry stays as it is, and shared.
    pub fn merge_with(&mut self, other: &Self, mut combine: impl FnMut(&V, &V) -> V)
    where
        V: PartialEq,
    {
        for (key, theirs) in other {
            let merged = match self.get(key) {
                None => theirs.clone(),
                Some(ours) => {
                    let merged = combine(ours, theirs);
                    if merged == *ours {
                        continue;
                    }
                    merged
                }
            };
            self.insert(key.clone(), merged);
        }
    }
}

/// Where `key` is, or else where it would go.
fn search<K: Borrow<Q>, V, Q: Ord + ?Sized>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(present, _)| present.borrow().cmp(key))
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Debug, V: Debug> Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V: Eq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let shared = match (&self.0, &other.0) {
            (Entries::Many(ours), Entries::Many(theirs)) => ours.ptr_eq(theirs),
            (Entries::Few(_), _) | (_, Entries::Few(_)) => false,
        };
        shared || (self.len() == other.len() && self.iter().eq(other))
    }
}

impl<K: Ord, V: Eq> Eq for Map<K, V> {}

impl<K: Ord, V: Ord> PartialOrd for Map<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V: Ord> Ord for Map<K, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other)
    }
}

impl<K: Ord + Hash, V: Hash> Hash for Map<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.len() as u64);
        for entry in self {
            entry.hash(state);
        }
    }
}

/// As with repeated [`insert`](Map::insert): of several values for one key the last stays.
impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

/// As with repeated [`insert`](Map::insert): of several values for one key the last stays.
impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            entries.serialize_entry(key, value)?;
        }
        entries.end()
    }
}

/// Refuses keys that do not strictly increase, so that no two encodings mean the same map.
impl<'de, K, V> Deserialize<'de> for Map<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

struct MapVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K, V> Visitor<'de> for MapVisitor<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    type Value = Map<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map whose keys strictly increase")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Map<K, V>, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key()? {
            if map.last().is_some_and(|(last, _)| *last >= key) {
                return Err(A::Error::custom(
                    "the keys of a map do not strictly increase",
                ));
            }
            map.insert(key, access.next_value()?);
        }
        Ok(map)
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = MapIter<'a, K, V>;

    fn into_iter(self) -> MapIter<'a, K, V> {
        self.iter()
    }
}

/// Iterates over a [`Map`] by increasing key. It does not tell how much is left, because `im` does
/// not know that of a range.
pub struct MapIter<'a, K, V>(Cursor<'a, K, V>);

enum Cursor<'a, K, V> {
    Few(slice::Iter<'a, (K, V)>),
    Many {
        entries: &'a im::OrdMap<K, V>,
        /// Good for reading forwards only.
        forwards: im::ordmap::Iter<'a, K, V>,
        /// Between these is what is left.
        start: Bound<&'a K>,
        end: Bound<&'a K>,
    },
}

impl<'a, K: Ord, V> Cursor<'a, K, V> {
    fn many(entries: &'a im::OrdMap<K, V>, start: Bound<&K>, end: Bound<&K>) -> Self {
        let range = || entries.range::<_, K>((start, end));
        match (range().next(), range().next_back()) {
            (Some((least, _)), Some((greatest, _))) => Self::Many {
                entries,
                forwards: range(),
                start: Bound::Included(least),
                end: Bound::Included(greatest),
            },
            (None, _) | (_, None) => Self::Few([].iter()),
        }
    }
}

impl<'a, K: Ord, V> Iterator for MapIter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Cursor::Few(entries) => entries.next().map(|(key, value)| (key, value)),
            Cursor::Many {
                forwards,
                start,
                end,
                ..
            } => {
                let (key, value) = forwards.next()?;
                *start = Bound::Excluded(key);
                (Bound::Unbounded, *end)
                    .contains(key)
                    .then_some((key, value))
            }
        }
    }
}

impl<K: Ord, V> DoubleEndedIterator for MapIter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Cursor::Few(entries) => entries.next_back().map(|(key, value)| (key, value)),
            Cursor::Many {
                entries,
                start,
                end,
                ..
            } => {
                // A new iterator for each step, because `im` gets the first one right, and is lost
                // once it steps back over a tree of three levels.
                let (key, value) = entries.range::<_, K>((*start, *end)).next_back()?;
                *end = Bound::Excluded(key);
                Some((key, value))
            }
        }
    }
}

/// A set of members of a cluster, one bit for each of the nodes 0 to 63: votes, acknowledgements,
/// quorums, neighbours.
///
/// Larger ids are strangers. They come from the network, so nothing here fails on one: a stranger
/// is never in a set, and inserting one changes nothing.
///
/// ```
/// use quorate::data::NodeSet;
/// use quorate::machine::NodeId;
///
/// let members = NodeSet::first(5);
/// let mut votes = NodeSet::EMPTY;
/// assert!(votes.insert(NodeId(2)));
/// assert!(!votes.insert(NodeId(2)), "one node, one vote");
/// assert!(!votes.insert(NodeId(64)), "a stranger has none");
/// assert!(votes.is_subset(members) && votes.len() < members.majority());
/// assert_eq!(votes.to_string(), "{n2}");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeSet(u64);

impl NodeSet {
    /// The set of no nodes.
    pub const EMPTY: Self = Self(0);

    /// The nodes 0 to `count - 1`: the members of a cluster of that size. There are at most 64.
    pub const fn first(count: usize) -> Self {
        if count < 64 {
            Self((1 << count) - 1)
        } else {
            Self(u64::MAX)
        }
    }

    /// The bit of a node; none for a stranger.
    const fn bit(node: NodeId) -> u64 {
        if node.0 < 64 { 1 << node.0 } else { 0 }
    }

    /// Adds a node. True if that changed the set: false if it was there, and for a stranger.
    pub const fn insert(&mut self, node: NodeId) -> bool {
        let before = self.0;
        self.0 |= Self::bit(node);
        self.0 != before
    }

    /// Takes a node out. True if it was there.
    pub const fn remove(&mut self, node: NodeId) -> bool {
        let before = self.0;
        self.0 &= !Self::bit(node);
        self.0 != before
    }

    /// True if the node is there; false for a stranger.
    pub const fn contains(self, node: NodeId) -> bool {
        self.0 & Self::bit(node) != 0
    }

    /// How many nodes there are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True if there are no nodes.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes by increasing id.
    pub const fn iter(self) -> NodeSetIter {
        NodeSetIter(self)
    }

    /// The nodes in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The nodes in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The nodes in `self` that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if every node is in `other`, too.
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// True if no node is in `other`.
    pub const fn is_disjoint(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    /// How many nodes are more than half of the set, so that any two such groups have one in
    /// common. The empty set has no majority, and this is more than its length.
    pub const fn majority(self) -> usize {
        self.len() / 2 + 1
    }
}

impl Display for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, node) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{node}")?;
        }
        f.write_str("}")
    }
}

/// As [`Display`], and on one line always, because it is read in the middle of states.
impl Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Extend<NodeId> for NodeSet {
    fn extend<I: IntoIterator<Item = NodeId>>(&mut self, nodes: I) {
        for node in nodes {
            self.insert(node);
        }
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(nodes);
        set
    }
}

impl IntoIterator for NodeSet {
    type Item = NodeId;
    type IntoIter = NodeSetIter;

    fn into_iter(self) -> NodeSetIter {
        self.iter()
    }
}

/// Iterates over a [`NodeSet`] by increasing id. It has a copy, so the set may change meanwhile.
#[derive(Clone, Debug)]
pub struct NodeSetIter(NodeSet);

impl Iterator for NodeSetIter {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        let least = NodeId(u64::from(self.0.0.trailing_zeros()));
        self.0.remove(least).then_some(least)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for NodeSetIter {}
