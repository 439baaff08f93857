//! The collections of `quorate::data` do what those of `std` do, and hash, order, encode and decode
//! in the one way that the checker and the network may rely on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::ops::{Bound, RangeBounds};

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::{Map, NodeSet, Seq};
use quorate::machine::{NodeId, Value};
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, MapDeserializer, SeqDeserializer};
use serde::{Deserialize, Serialize};

/// Two to the 44th as postcard writes a length. Reserving that many elements aborts the process.
const BOMB: [u8; 7] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x04];

/// Keeps every byte that it is fed, so that tests see what a hash is made of and not its digest.
#[derive(Default)]
struct Recorder(Vec<u8>);

impl Hasher for Recorder {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    fn write_usize(&mut self, _: usize) {
        panic!("a usize differs between platforms");
    }

    fn finish(&self) -> u64 {
        unreachable!("nobody asks for the digest")
    }
}

/// Nothing is kept of failures: what they teach becomes a test of its own.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

fn fed(value: &impl Hash) -> Vec<u8> {
    let mut recorder = Recorder::default();
    value.hash(&mut recorder);
    recorder.0
}

/// What must agree between two values, whether they are equal or not.
fn assert_coherent<T: Value>(left: &T, right: &T) {
    let (left_fed, right_fed) = (fed(left), fed(right));
    let bytes = |value| postcard::to_stdvec(value).unwrap();
    assert_eq!(left == right, left.cmp(right).is_eq());
    assert_eq!(left.partial_cmp(right), Some(left.cmp(right)));
    assert_eq!(left == right, left_fed == right_fed);
    assert_eq!(left == right, bytes(left) == bytes(right));
    if left != right {
        assert!(!left_fed.starts_with(&right_fed), "{left:?} {right:?}");
        assert!(!right_fed.starts_with(&left_fed), "{left:?} {right:?}");
    }
}

/// The value comes back from both encodings, and both are those of its model.
fn assert_encoded_as<T: Value, M: Serialize>(value: &T, model: &M) {
    let bytes = postcard::to_stdvec(value).unwrap();
    assert_eq!(bytes, postcard::to_stdvec(model).unwrap());
    assert_eq!(postcard::from_bytes::<T>(&bytes).as_ref(), Ok(value));
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(text, serde_json::to_string(model).unwrap());
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), value);
}

/// Decoding must give back or refuse, and never panic; what it gives back has these very bytes,
/// unless postcard itself was lax (about overlong numbers), in which case it has fewer.
fn decode<T: Value>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).ok()?;
    let read = &bytes[..bytes.len() - rest.len()];
    let canonical = postcard::to_stdvec(&value).unwrap();
    assert!(canonical == read || canonical.len() < read.len());
    Some(value)
}

/// What is done to a collection, or to which one of several that began as one.
#[derive(Clone, Debug)]
enum Move<Op> {
    Change(Op),
    Fork,
    Switch(usize),
}

fn moves<Op: Clone + Debug>(op: impl Strategy<Value = Op>) -> impl Strategy<Value = Vec<Move<Op>>> {
    let one = prop_oneof![
        5 => op.prop_map(Move::Change),
        1 => Just(Move::Fork),
        1 => any::<usize>().prop_map(Move::Switch),
    ];
    vec(one, 0..40)
}

/// Makes the moves on collections and on their models. What is done to one version must not be felt
/// by another, though they share what they have in common.
fn versions<C: Clone + Default, M: Clone + Default, Op>(
    moves: &[Move<Op>],
    change: impl Fn(&Op, &mut C, &mut M),
) -> Vec<(C, M)> {
    let mut versions = vec![(C::default(), M::default())];
    let mut current = 0;
    for one in moves {
        match one {
            Move::Fork => versions.push(versions[current].clone()),
            Move::Switch(to) => current = to % versions.len(),
            Move::Change(op) => {
                let (collection, model) = &mut versions[current];
                change(op, collection, model);
            }
        }
    }
    versions
}

// ------------------------------------------------------------------------------------------- Seq

#[derive(Clone, Debug)]
enum SeqOp {
    Push(u16),
    PopFront(usize),
    PopBack(usize),
    Truncate(usize),
    Set(usize, u16),
    Retain(u16),
    Extend(Vec<u16>),
}

/// Operations on sequences of up to about `size` elements.
fn seq_ops(size: usize) -> impl Strategy<Value = Vec<Move<SeqOp>>> {
    let op = prop_oneof![
        6 => any::<u16>().prop_map(SeqOp::Push),
        2 => (0..=size / 4).prop_map(SeqOp::PopFront),
        1 => (0..=size / 4).prop_map(SeqOp::PopBack),
        1 => (0..=size).prop_map(SeqOp::Truncate),
        2 => (0..=size, any::<u16>()).prop_map(|(index, value)| SeqOp::Set(index, value)),
        1 => (1_u16..9).prop_map(SeqOp::Retain),
        4 => vec(any::<u16>(), 0..=size).prop_map(SeqOp::Extend),
    ];
    moves(op)
}

/// Refuses every `count`-th element.
fn all_but_one_in<T>(count: u16) -> impl FnMut(&T) -> bool {
    let mut index = 0;
    move |_| {
        index = (index + 1) % count;
        index != 0
    }
}

fn apply_to_seq<T: Value>(op: &SeqOp, make: fn(u16) -> T, seq: &mut Seq<T>, model: &mut Vec<T>) {
    match op {
        SeqOp::Push(value) => {
            seq.push(make(*value));
            model.push(make(*value));
        }
        SeqOp::PopFront(count) => {
            for _ in 0..*count {
                let popped = (!model.is_empty()).then(|| model.remove(0));
                assert_eq!(seq.pop_front(), popped);
            }
        }
        SeqOp::PopBack(count) => {
            for _ in 0..*count {
                assert_eq!(seq.pop_back(), model.pop());
            }
        }
        SeqOp::Truncate(len) => {
            seq.truncate(*len);
            model.truncate(*len);
        }
        SeqOp::Set(index, value) => {
            let slot = model.get_mut(*index);
            assert_eq!(seq.set(*index, make(*value)), slot.is_some());
            if let Some(slot) = slot {
                *slot = make(*value);
            }
        }
        SeqOp::Retain(one_in) => {
            seq.retain(all_but_one_in(*one_in));
            model.retain(all_but_one_in(*one_in));
        }
        SeqOp::Extend(values) => {
            seq.extend(values.iter().map(|value| make(*value)));
            model.extend(values.iter().map(|value| make(*value)));
        }
    }
}

fn assert_seq_is<T: Value>(seq: &Seq<T>, model: &Vec<T>) {
    assert_eq!(seq.len(), model.len());
    assert_eq!(seq.iter().len(), model.len());
    assert_eq!(seq.is_empty(), model.is_empty());
    assert!(seq.iter().eq(model));
    assert!(seq.iter().rev().eq(model.iter().rev()));
    assert_eq!((seq.first(), seq.last()), (model.first(), model.last()));
    for index in 0..model.len() + 2 {
        assert_eq!(seq.get(index), model.get(index));
    }
    for from in [0, 1, 63, 64, 65, model.len() / 2, model.len(), usize::MAX] {
        let suffix = model.get(from..).unwrap_or_default();
        assert_eq!(seq.suffix(from).len(), suffix.len());
        assert!(seq.suffix(from).eq(suffix));
        assert!(seq.suffix(from).rev().eq(suffix.iter().rev()));
    }
    let (mut ours, mut theirs) = (seq.iter(), model.iter());
    while let Some(front) = ours.next() {
        assert_eq!(
            (Some(front), ours.next_back()),
            (theirs.next(), theirs.next_back())
        );
    }
    assert_eq!(format!("{seq:?}"), format!("{model:?}"));
    assert_encoded_as(seq, model);
    let rebuilt: Seq<T> = model.iter().cloned().collect();
    assert_eq!(&rebuilt, seq);
    assert_coherent(&rebuilt, seq);
}

fn run_seq<T: Value>(moves: &[Move<SeqOp>], make: fn(u16) -> T) {
    let versions = versions(moves, |op, seq, model| apply_to_seq(op, make, seq, model));
    for (seq, model) in &versions {
        assert_seq_is(seq, model);
    }
    for pair in versions.windows(2) {
        assert_eq!(pair[0].0.cmp(&pair[1].0), pair[0].1.cmp(&pair[1].1));
        assert_coherent(&pair[0].0, &pair[1].0);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_seq_is_a_vec_of_small_elements(ops in seq_ops(20)) {
        run_seq(&ops, u64::from);
    }

    #[test]
    fn a_seq_is_a_vec_of_elements_on_the_heap(ops in seq_ops(20)) {
        run_seq(&ops, |value| value.to_string());
    }

    #[test]
    fn a_seq_is_a_vec_of_elements_too_large_to_be_inline(ops in seq_ops(20)) {
        run_seq(&ops, |value| (value.to_string(), u64::from(value), value.to_string()));
    }

    #[test]
    fn a_seq_is_a_vec_of_elements_of_wide_alignment(ops in seq_ops(20)) {
        run_seq(&ops, u128::from);
    }

    #[test]
    fn a_seq_is_a_vec_about_the_size_of_a_chunk(ops in seq_ops(140)) {
        run_seq(&ops, |value| value);
    }

    #[test]
    fn seqs_that_differ_hash_prefix_free(
        left in vec(vec(0_u8..2, 0..3), 0..4),
        right in vec(vec(0_u8..2, 0..3), 0..4),
    ) {
        let nested = |lists: &[Vec<u8>]| -> Seq<Seq<u8>> {
            lists.iter().map(|list| list.iter().copied().collect()).collect()
        };
        prop_assert_eq!(nested(&left).cmp(&nested(&right)), left.cmp(&right));
        assert_coherent(&nested(&left), &nested(&right));
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_seq_is_a_vec_when_its_tree_has_several_levels(ops in seq_ops(9_000)) {
        run_seq(&ops, u32::from);
    }
}

// ------------------------------------------------------------------------------------------- Map

#[derive(Clone, Debug)]
enum MapOp {
    Insert(u16, u8),
    Remove(u16),
    Update(u16, u8),
    Enter(u16, u8),
    Retain(u16),
    Extend(Vec<(u16, u8)>),
    MergeLeft(Vec<(u16, u8)>),
    MergeWith(Vec<(u16, u8)>),
}

/// Operations on maps of up to `keys` keys.
fn map_ops(keys: u16) -> impl Strategy<Value = Vec<Move<MapOp>>> {
    let entries = || vec((0..keys, any::<u8>()), 0..=usize::from(keys / 2));
    let entry = || (0..keys, any::<u8>());
    let op = prop_oneof![
        6 => entry().prop_map(|(key, value)| MapOp::Insert(key, value)),
        6 => (0..keys).prop_map(MapOp::Remove),
        2 => entry().prop_map(|(key, value)| MapOp::Update(key, value)),
        2 => entry().prop_map(|(key, value)| MapOp::Enter(key, value)),
        1 => (1_u16..9).prop_map(MapOp::Retain),
        1 => entries().prop_map(MapOp::Extend),
        1 => entries().prop_map(MapOp::MergeLeft),
        1 => entries().prop_map(MapOp::MergeWith),
    ];
    moves(op)
}

type Model = BTreeMap<u16, u8>;

fn apply_to_map(op: &MapOp, map: &mut Map<u16, u8>, model: &mut Model) {
    let collect = |entries: &[(u16, u8)]| -> (Map<u16, u8>, Model) {
        (
            entries.iter().copied().collect(),
            entries.iter().copied().collect(),
        )
    };
    match op {
        MapOp::Insert(key, value) => {
            assert_eq!(map.insert(*key, *value), model.insert(*key, *value));
        }
        MapOp::Remove(key) => assert_eq!(map.remove(key), model.remove(key)),
        MapOp::Update(key, value) => {
            assert_eq!(map.get_mut(key).copied(), model.get_mut(key).copied());
            if let Some(slot) = map.get_mut(key) {
                *slot = *value;
            }
            if let Some(slot) = model.get_mut(key) {
                *slot = *value;
            }
        }
        MapOp::Enter(key, value) => {
            let ours = map.entry_or_insert_with(*key, || *value);
            let theirs = model.entry(*key).or_insert_with(|| *value);
            assert_eq!(ours, theirs);
            *ours = ours.wrapping_add(1);
            *theirs = theirs.wrapping_add(1);
        }
        MapOp::Retain(one_in) => {
            map.retain(|key, value| (key + u16::from(*value)) % one_in != 0);
            model.retain(|key, value| (*key + u16::from(*value)) % one_in != 0);
        }
        MapOp::Extend(entries) => {
            map.extend(entries.iter().copied());
            model.extend(entries.iter().copied());
        }
        MapOp::MergeLeft(entries) => {
            let (theirs, others) = collect(entries);
            map.merge_left(&theirs);
            for (key, value) in others {
                model.entry(key).or_insert(value);
            }
        }
        MapOp::MergeWith(entries) => {
            let (theirs, others) = collect(entries);
            map.merge_with(&theirs, |ours, theirs| *ours.max(theirs));
            for (key, value) in others {
                let slot = model.entry(key).or_insert(value);
                *slot = value.max(*slot);
            }
        }
    }
}

fn assert_map_is(map: &Map<u16, u8>, model: &Model, keys: u16) {
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    assert!(map.iter().eq(model));
    assert!(map.iter().rev().eq(model.iter().rev()));
    assert!(map.keys().eq(model.keys()) && map.keys().rev().eq(model.keys().rev()));
    assert!(map.values().eq(model.values()) && map.values().rev().eq(model.values().rev()));
    assert_eq!(map.first(), model.first_key_value());
    assert_eq!(map.last(), model.last_key_value());
    for key in 0..=keys {
        assert_eq!(map.get(&key), model.get(&key));
        assert_eq!(map.contains_key(&key), model.contains_key(&key));
    }
    let (mut ours, mut theirs) = (map.iter(), model.iter());
    while let Some(front) = ours.next() {
        assert_eq!(
            (Some(front), ours.next_back()),
            (theirs.next(), theirs.next_back())
        );
    }
    assert_eq!(format!("{map:?}"), format!("{model:?}"));
    assert_encoded_as(map, model);
    assert_reached_by_any_history(map, model, keys);
}

/// Builds the same content in other orders and by detours, and expects to see no difference.
fn assert_reached_by_any_history(map: &Map<u16, u8>, model: &Model, keys: u16) {
    let entries = || model.iter().map(|(key, value)| (*key, *value));
    let forwards: Map<u16, u8> = entries().collect();
    let backwards: Map<u16, u8> = entries().rev().collect();
    let mut detour: Map<u16, u8> = (0..keys + 20).map(|key| (key, 0)).collect();
    detour.extend(entries());
    for key in (0..keys + 20).filter(|key| !model.contains_key(key)) {
        detour.remove(&key);
    }
    for other in [forwards, backwards, detour] {
        assert_eq!(&other, map);
        assert_coherent(&other, map);
    }
}

/// What has to be written to make the newer of two maps from the older, if it deletes nothing.
fn assert_changes_are_those_of(newer: &(Map<u16, u8>, Model), older: &(Map<u16, u8>, Model)) {
    let changed = newer
        .1
        .iter()
        .filter(|(key, value)| older.1.get(key) != Some(value));
    assert!(newer.0.changed_since(&older.0).eq(changed));
}

fn run_map(moves: &[Move<MapOp>], keys: u16) {
    let versions = versions(moves, apply_to_map);
    for (map, model) in &versions {
        assert_map_is(map, model, keys);
    }
    for pair in versions.windows(2) {
        assert_eq!(pair[0].0.cmp(&pair[1].0), pair[0].1.cmp(&pair[1].1));
        assert_coherent(&pair[0].0, &pair[1].0);
        assert_changes_are_those_of(&pair[0], &pair[1]);
        assert_changes_are_those_of(&pair[1], &pair[0]);
    }
}

fn bound(keys: u16) -> impl Strategy<Value = Bound<u16>> {
    prop_oneof![
        (0..keys).prop_map(Bound::Included),
        (0..keys).prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_map_is_a_btree_map_while_it_is_a_vector(ops in map_ops(12)) {
        run_map(&ops, 12);
    }

    #[test]
    fn a_map_is_a_btree_map_across_the_limit_of_its_vector(ops in map_ops(28)) {
        run_map(&ops, 28);
    }

    #[test]
    fn a_map_is_a_btree_map_about_the_size_of_a_node(ops in map_ops(140)) {
        run_map(&ops, 140);
    }

    #[test]
    fn a_range_holds_what_is_within_its_bounds_from_both_ends(
        (size, start, end) in prop_oneof![0_u16..40, 60_u16..400, 2_000_u16..9_000]
            .prop_flat_map(|size| (Just(size), bound(2 * size + 2), bound(2 * size + 2))),
        turns in vec(any::<bool>(), 1..9),
    ) {
        let map: Map<u16, ()> = (0..size).map(|key| (2 * key + 1, ())).collect();
        let mut expected: VecDeque<u16> = map.keys().copied().collect();
        expected.retain(|key| (start, end).contains(key));
        let mut range = map.range((start, end)).map(|(key, ())| *key);
        for turn in turns.iter().cycle() {
            let next = if *turn { range.next() } else { range.next_back() };
            let due = if *turn { expected.pop_front() } else { expected.pop_back() };
            prop_assert_eq!(next, due);
            if next.is_none() {
                break;
            }
        }
        prop_assert_eq!((range.next(), range.next_back(), range.next()), (None, None, None));
    }

    #[test]
    fn maps_that_differ_hash_prefix_free(
        left in vec((0_u8..3, vec((0_u8..2, 0_u8..2), 0..3)), 0..3),
        right in vec((0_u8..3, vec((0_u8..2, 0_u8..2), 0..3)), 0..3),
    ) {
        type Lists = [(u8, Vec<(u8, u8)>)];
        let ours = |lists: &Lists| -> Map<u8, Map<u8, u8>> {
            lists.iter().map(|(key, list)| (*key, list.iter().copied().collect())).collect()
        };
        let theirs = |lists: &Lists| -> BTreeMap<u8, BTreeMap<u8, u8>> {
            lists.iter().map(|(key, list)| (*key, list.iter().copied().collect())).collect()
        };
        prop_assert_eq!(ours(&left).cmp(&ours(&right)), theirs(&left).cmp(&theirs(&right)));
        assert_coherent(&ours(&left), &ours(&right));
    }

    #[test]
    fn a_map_is_decoded_only_from_strictly_increasing_keys(
        entries in vec((0_u8..30, any::<u8>()), 0..25),
        sorted in any::<bool>(),
    ) {
        let mut entries = entries;
        if sorted {
            entries.sort_unstable();
        }
        let increasing = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
        // postcard writes a map as it writes a sequence of its entries.
        let bytes = postcard::to_stdvec(&entries).unwrap();
        prop_assert_eq!(decode::<Map<u8, u8>>(&bytes).is_some(), increasing);
        let fields: Vec<String> = entries.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
        let text = format!("{{{}}}", fields.join(","));
        prop_assert_eq!(serde_json::from_str::<Map<u8, u8>>(&text).is_ok(), increasing);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_map_is_a_btree_map_when_its_tree_has_several_levels(ops in map_ops(9_000)) {
        run_map(&ops, 9_000);
    }
}

#[test]
fn a_map_hashes_by_content_alone() {
    let direct: Map<u64, u64> = (0..16).map(|key| (key, key)).collect();
    let mut shrunk: Map<u64, u64> = (0..99).rev().map(|key| (key, key)).collect();
    shrunk.retain(|key, _| *key < 16);
    let mut hovering = direct.clone();
    for _ in 0..3 {
        hovering.insert(16, 0);
        hovering.remove(&16);
    }
    for other in [shrunk, hovering] {
        assert_eq!(fed(&other), fed(&direct));
        assert_coherent(&other, &direct);
    }
}

#[test]
fn where_one_collection_ends_and_the_next_begins_is_hashed() {
    let seq = |values: &[u64]| values.iter().copied().collect::<Seq<u64>>();
    assert_ne!(fed(&(seq(&[7]), seq(&[]))), fed(&(seq(&[]), seq(&[7]))));
    let map = |keys: &[u64]| {
        keys.iter()
            .map(|key| (*key, *key))
            .collect::<Map<u64, u64>>()
    };
    assert_ne!(fed(&(map(&[7]), map(&[]))), fed(&(map(&[]), map(&[7]))));
    let nested = |left: &[u64], right: &[u64]| [seq(left), seq(right)].into_iter().collect();
    let (left, right): (Seq<_>, Seq<_>) = (nested(&[7], &[]), nested(&[], &[7]));
    assert_ne!(fed(&left), fed(&right));
    let nested =
        |left: &[u64], right: &[u64]| [(1, map(left)), (2, map(right))].into_iter().collect();
    let (left, right): (Map<_, _>, Map<_, _>) = (nested(&[7], &[]), nested(&[], &[7]));
    assert_ne!(fed(&left), fed(&right));
}

#[test]
fn a_hash_begins_with_the_length_as_a_u64() {
    for len in [0_u64, 1, 16, 17, 65] {
        let seq: Seq<u64> = (0..len).collect();
        assert_eq!(fed(&seq)[..8], len.to_ne_bytes());
        let map: Map<u64, u8> = (0..len).map(|key| (key, 0)).collect();
        assert_eq!(fed(&map)[..8], len.to_ne_bytes());
    }
}

#[test]
fn a_map_of_thousands_is_complete_when_read_backwards() {
    // Backwards, the iterator of `im::OrdMap` leaves out 33 of these.
    let map: Map<u32, ()> = (0..2_177).map(|key| (key, ())).collect();
    assert!(map.keys().rev().copied().eq((0..2_177).rev()));
    assert!(
        map.range(..2_000)
            .map(|(key, ())| *key)
            .rev()
            .eq((0..2_000).rev())
    );
}

#[test]
fn no_change_of_a_single_value_is_missed() {
    // `diff` of imbl, the fork of `im`, missed one in eight of these until 7.0.2.
    for size in [16_u16, 17, 64, 65, 500, 5_000] {
        let older: Map<u16, u8> = (0..size).map(|key| (key, 0)).collect();
        for key in 0..size {
            let mut newer = older.clone();
            newer.insert(key, 1);
            assert!(newer.changed_since(&older).eq([(&key, &1)]));
        }
    }
}

#[test]
fn of_two_values_merge_left_keeps_its_own_whichever_map_is_larger() {
    // `im::OrdMap::union` gives "theirs" here.
    let mut small: Map<u8, &str> = [(2, "ours")].into_iter().collect();
    let large: Map<u8, &str> = (0..40).map(|key| (key, "theirs")).collect();
    small.merge_left(&large);
    assert_eq!((small.len(), small.get(&2)), (40, Some(&"ours")));
    let mut large = large;
    large.merge_left(&small);
    assert_eq!(large.get(&2), Some(&"theirs"));
}

// --------------------------------------------------------------------------------------- Sharing

thread_local! {
    static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A value that counts how often it is compared.
#[derive(Clone, Debug)]
struct Counting(u64);

impl PartialEq for Counting {
    fn eq(&self, other: &Self) -> bool {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0 == other.0
    }
}

impl Eq for Counting {}

/// True if the two are equal and that was known without a look at what is in them.
fn shares<T: PartialEq + Debug>(left: &T, right: &T) -> bool {
    COMPARISONS.set(0);
    assert_eq!(left, right);
    COMPARISONS.get() == 0
}

#[test]
fn what_changes_nothing_leaves_a_large_collection_shared() {
    let map: Map<u8, Counting> = (0..100).map(|key| (key, Counting(0))).collect();
    let mut same = map.clone();
    assert_eq!(same.remove(&200), None);
    assert_eq!(same.get_mut(&200), None);
    same.retain(|_, _| true);
    same.merge_left(&map);
    same.merge_with(&map, |_, theirs| theirs.clone());
    assert!(shares(&map, &same));
    same.insert(0, Counting(0));
    assert!(!shares(&map, &same));

    let map: Map<u16, Counting> = (0..9_000).map(|key| (key, Counting(0))).collect();
    let mut newer = map.clone();
    newer.insert(4_000, Counting(1));
    COMPARISONS.set(0);
    assert!(newer.changed_since(&map).map(|(key, _)| *key).eq([4_000]));
    assert!(
        COMPARISONS.get() < 300,
        "only the nodes on the way to it are compared"
    );

    for len in [60, 300] {
        let seq: Seq<Counting> = (0..len).map(|_| Counting(0)).collect();
        let mut same = seq.clone();
        assert!(!same.set(len, Counting(0)));
        same.truncate(len);
        same.retain(|_| true);
        assert!(shares(&seq, &same));
        assert!(same.set(0, Counting(0)));
        assert!(!shares(&seq, &same));
    }
}

// -------------------------------------------------------------------------------------- Decoding

#[test]
fn a_claimed_length_reserves_nothing() {
    fn refuses<T: DeserializeOwned>(before: &[u8]) {
        for after in [&[] as &[u8], &[1, 2, 3], &[0; 999]] {
            let bytes = [before, &BOMB, after].concat();
            assert!(postcard::from_bytes::<T>(&bytes).is_err());
        }
    }
    refuses::<Seq<u64>>(&[]);
    refuses::<Map<u64, u64>>(&[]);
    refuses::<Seq<Seq<u64>>>(&[1]);
    refuses::<Seq<Map<u64, u64>>>(&[1]);
    refuses::<Map<u64, Seq<u64>>>(&[1, 7]);
    refuses::<Map<u64, Map<u64, u64>>>(&[1, 7]);
}

/// Claims to have no end, and has three elements.
struct Boaster(std::ops::Range<u8>);

impl Iterator for Boaster {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, Some(usize::MAX))
    }
}

#[test]
fn a_size_hint_reserves_nothing() {
    let seq: Seq<u8> = (0..3).collect();
    assert_eq!(Boaster(0..3).collect::<Seq<_>>(), seq);
    let source = SeqDeserializer::<_, ValueError>::new(Boaster(0..3));
    assert_eq!(Seq::deserialize(source).unwrap(), seq);
    let map: Map<u8, u8> = (0..3).map(|key| (key, key)).collect();
    let boast = || Boaster(0..3).map(|key| (key, key));
    assert_eq!(boast().collect::<Map<_, _>>(), map);
    let source = MapDeserializer::<_, ValueError>::new(boast());
    assert_eq!(Map::deserialize(source).unwrap(), map);
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Message {
    Log(Seq<u16>),
    Logs(Map<NodeId, Seq<String>>),
    Votes {
        votes: NodeSet,
        table: Map<u8, Map<u8, bool>>,
    },
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(mut bytes in vec(0_u8..6, 0..40), noise: [u8; 4]) {
        decode::<Message>(&bytes);
        for (index, byte) in noise.into_iter().enumerate() {
            let at = bytes.len() * index / noise.len();
            bytes.insert(at, byte);
        }
        decode::<Message>(&bytes);
        decode::<Seq<Map<u8, u8>>>(&bytes);
        decode::<Map<u16, NodeSet>>(&bytes);
        let _ = serde_json::from_slice::<Message>(&bytes);
    }
}

#[test]
fn all_three_may_be_parts_of_states_and_messages() {
    fn is_a_value<T: Value>() {}
    is_a_value::<Message>();
    is_a_value::<Seq<Map<NodeId, Seq<NodeSet>>>>();
}

// --------------------------------------------------------------------------------------- NodeSet

/// Ids on both sides of 63, and far beyond.
fn node() -> impl Strategy<Value = NodeId> {
    let id = prop_oneof![4 => 0_u64..64, 1 => 60_u64..70, 1 => any::<u64>(), 1 => Just(u64::MAX)];
    id.prop_map(NodeId)
}

/// What a set of nodes is to hold of `nodes`: not the strangers.
fn members(nodes: &[NodeId]) -> BTreeSet<NodeId> {
    nodes.iter().copied().filter(|node| node.0 < 64).collect()
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_node_set_is_a_set_of_members(ops in vec((any::<bool>(), node()), 0..60)) {
        let (mut set, mut model) = (NodeSet::EMPTY, BTreeSet::new());
        for (insert, node) in ops {
            if insert {
                prop_assert_eq!(set.insert(node), node.0 < 64 && model.insert(node));
            } else {
                prop_assert_eq!(set.remove(node), model.remove(&node));
            }
            prop_assert_eq!(set.contains(node), model.contains(&node));
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.iter().len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert!(set.into_iter().eq(model.iter().copied()));
        }
        prop_assert_eq!(set, model.into_iter().collect());
    }

    #[test]
    fn node_sets_combine_as_sets_do(left in vec(node(), 0..40), right in vec(node(), 0..40)) {
        let set = |nodes: &[NodeId]| nodes.iter().copied().collect::<NodeSet>();
        let (ours, theirs) = (set(&left), set(&right));
        let (left, right) = (members(&left), members(&right));
        prop_assert!(ours.iter().eq(left.iter().copied()));
        prop_assert!(ours.union(theirs).iter().eq(left.union(&right).copied()));
        prop_assert!(ours.intersection(theirs).iter().eq(left.intersection(&right).copied()));
        prop_assert!(ours.difference(theirs).iter().eq(left.difference(&right).copied()));
        prop_assert_eq!(ours.is_subset(theirs), left.is_subset(&right));
        prop_assert!(ours.intersection(theirs).is_subset(theirs));
        prop_assert_eq!(ours.is_disjoint(theirs), left.is_disjoint(&right));
        prop_assert_eq!(ours == theirs, left == right);
        let word = left.iter().fold(0, |word, node| word | 1_u64 << node.0);
        assert_encoded_as(&ours, &word);
        assert_coherent(&ours, &theirs);
        let text: Vec<String> = left.iter().map(NodeId::to_string).collect();
        prop_assert_eq!(format!("{ours:?} {ours}"), format!("{{{0}}} {{{0}}}", text.join(", ")));
    }
}

#[test]
fn a_stranger_is_never_in_a_node_set() {
    let mut set = NodeSet::first(64);
    for stranger in [64, 65, 127, 128, 1 << 32, u64::MAX].map(NodeId) {
        assert!(!set.contains(stranger) && !set.insert(stranger) && !set.remove(stranger));
    }
    assert_eq!(set, NodeSet::first(usize::MAX));
    assert_eq!((set.len(), set.iter().last()), (64, Some(NodeId(63))));
}

#[test]
fn any_two_majorities_of_the_first_nodes_meet() {
    for count in 0..70 {
        let set = NodeSet::first(count);
        assert!(set.iter().eq((0..count.min(64) as u64).map(NodeId)));
        assert!(2 * set.majority() > set.len() && 2 * (set.majority() - 1) <= set.len());
    }
    assert_eq!(NodeSet::EMPTY.majority(), 1);
    assert_eq!(
        format!("{:#?} {}", NodeSet::first(3), NodeSet::EMPTY),
        "{n0, n1, n2} {}"
    );
}
