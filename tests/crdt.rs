//! Values that converge: the laws of their joins, and every short run of two replicas against what each
//! type means. Each law and each meaning falls for a type with one thing wrong.

use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::crdt::{GCounter, Join, LwwRegister, MvRegister, OrSet, PnCounter};
use quorate::machine::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a replica may do by itself: an update of one of two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Adds one, adds the element, or writes.
    Up,
    /// Takes one away, or removes the element.
    Down,
}

/// An update, as the truth knows it.
#[derive(Clone, Debug)]
struct Update {
    node: u64,
    kind: Kind,
    /// The updates that its replica knew of.
    past: BTreeSet<usize>,
}

/// One thing that happens to the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// A replica updates.
    Update(u64, Kind),
    /// The first is told the state of the second.
    Merge(u64, u64),
}

/// A type, and what it means.
trait Type: Clone + Debug + Default + PartialEq {
    /// The kinds of updates that it has.
    const KINDS: &'static [Kind];
    /// The `id` is a number that no other update has.
    fn update(&mut self, node: NodeId, kind: Kind, id: usize);
    fn merge(&mut self, other: &Self);
    fn shows(&self) -> Vec<i128>;
    /// What a replica ought to show that knows these of all updates.
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128>;
}

fn count(all: &[Update], known: &BTreeSet<usize>, kind: Kind) -> i128 {
    known.iter().filter(|id| all[**id].kind == kind).count() as i128
}

impl Type for GCounter {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, node: NodeId, _: Kind, _: usize) {
        self.add(node).expect("a small count");
    }
    fn merge(&mut self, other: &Self) {
        self.join(other);
    }
    fn shows(&self) -> Vec<i128> {
        vec![i128::try_from(self.value()).expect("a small count")]
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        vec![count(all, known, Kind::Up)]
    }
}

impl Type for PnCounter {
    const KINDS: &'static [Kind] = &[Kind::Up, Kind::Down];
    fn update(&mut self, node: NodeId, kind: Kind, _: usize) {
        let counter = match kind {
            Kind::Up => &mut self.added,
            Kind::Down => &mut self.taken,
        };
        counter.add(node).expect("a small count");
    }
    fn merge(&mut self, other: &Self) {
        self.join(other);
    }
    fn shows(&self) -> Vec<i128> {
        vec![self.value()]
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        vec![count(all, known, Kind::Up) - count(all, known, Kind::Down)]
    }
}

/// The element is there if some add of it is known that no known remove had seen.
fn is_member(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
    let removed = |add: &usize| {
        let mut removes = known.iter().filter(|id| all[**id].kind == Kind::Down);
        removes.any(|id| all[*id].past.contains(add))
    };
    let mut adds = known.iter().filter(|id| all[**id].kind == Kind::Up);
    if adds.any(|add| !removed(add)) {
        vec![7]
    } else {
        vec![]
    }
}

impl Type for OrSet<i128> {
    const KINDS: &'static [Kind] = &[Kind::Up, Kind::Down];
    fn update(&mut self, node: NodeId, kind: Kind, _: usize) {
        match kind {
            Kind::Up => self.add(node, 7).expect("few adds"),
            Kind::Down => self.remove(&7),
        }
    }
    fn merge(&mut self, other: &Self) {
        self.join(other);
    }
    fn shows(&self) -> Vec<i128> {
        self.iter().copied().collect()
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        is_member(all, known)
    }
}

/// The Lamport time of a write: one more than that of the latest known.
fn time(all: &[Update], id: usize) -> u64 {
    1 + (all[id].past.iter())
        .map(|past| time(all, *past))
        .max()
        .unwrap_or(0)
}

fn last_write(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
    let last = known
        .iter()
        .max_by_key(|id| (time(all, **id), all[**id].node));
    last.map(|id| *id as i128).into_iter().collect()
}

impl Type for LwwRegister<i128> {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, node: NodeId, _: Kind, id: usize) {
        self.write(node, id as i128).expect("a small time");
    }
    fn merge(&mut self, other: &Self) {
        self.join(other);
    }
    fn shows(&self) -> Vec<i128> {
        self.value().copied().into_iter().collect()
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        last_write(all, known)
    }
}

impl Type for MvRegister<i128> {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, node: NodeId, _: Kind, id: usize) {
        self.write(node, id as i128).expect("a small count");
    }
    fn merge(&mut self, other: &Self) {
        self.join(other);
    }
    fn shows(&self) -> Vec<i128> {
        let mut values: Vec<i128> = self.values().copied().collect();
        values.sort_unstable();
        values
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        let is_last = |id: &&usize| !known.iter().any(|other| all[*other].past.contains(*id));
        known.iter().filter(is_last).map(|id| *id as i128).collect()
    }
}

// Types with one thing wrong.

/// A counter whose merge adds what both know.
#[derive(Clone, Debug, Default, PartialEq)]
struct Summed(i128);

impl Type for Summed {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, _: NodeId, _: Kind, _: usize) {
        self.0 += 1;
    }
    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }
    fn shows(&self) -> Vec<i128> {
        vec![self.0]
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        vec![count(all, known, Kind::Up)]
    }
}

/// A counter whose merge takes the larger of two sums.
#[derive(Clone, Debug, Default, PartialEq)]
struct LargerSum(i128);

impl Type for LargerSum {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, _: NodeId, _: Kind, _: usize) {
        self.0 += 1;
    }
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.max(other.0);
    }
    fn shows(&self) -> Vec<i128> {
        vec![self.0]
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        vec![count(all, known, Kind::Up)]
    }
}

/// A set whose removes name the element, and not the adds that they have seen.
#[derive(Clone, Debug, Default, PartialEq)]
struct NoDots {
    added: bool,
    removed: bool,
}

impl Type for NoDots {
    const KINDS: &'static [Kind] = &[Kind::Up, Kind::Down];
    fn update(&mut self, _: NodeId, kind: Kind, _: usize) {
        match kind {
            Kind::Up => self.added = true,
            Kind::Down => self.removed |= self.added,
        }
    }
    fn merge(&mut self, other: &Self) {
        self.added |= other.added;
        self.removed |= other.removed;
    }
    fn shows(&self) -> Vec<i128> {
        if self.added && !self.removed {
            vec![7]
        } else {
            vec![]
        }
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        is_member(all, known)
    }
}

/// A register in which what comes last is taken for what was written last.
#[derive(Clone, Debug, Default, PartialEq)]
struct ReceiveTime(Option<i128>);

impl Type for ReceiveTime {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, _: NodeId, _: Kind, id: usize) {
        self.0 = Some(id as i128);
    }
    fn merge(&mut self, other: &Self) {
        if other.0.is_some() {
            self.0 = other.0;
        }
    }
    fn shows(&self) -> Vec<i128> {
        self.0.into_iter().collect()
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        last_write(all, known)
    }
}

/// A register whose merge keeps every value that anybody has.
#[derive(Clone, Debug, Default, PartialEq)]
struct NothingOverwritten(BTreeSet<i128>);

impl Type for NothingOverwritten {
    const KINDS: &'static [Kind] = &[Kind::Up];
    fn update(&mut self, _: NodeId, _: Kind, id: usize) {
        self.0 = [id as i128].into();
    }
    fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
    fn shows(&self) -> Vec<i128> {
        self.0.iter().copied().collect()
    }
    fn means(all: &[Update], known: &BTreeSet<usize>) -> Vec<i128> {
        <MvRegister<i128> as Type>::means(all, known)
    }
}

/// A run of some replicas, with the truth beside it.
#[derive(Clone)]
struct Run<T> {
    replicas: Vec<(T, BTreeSet<usize>)>,
    all: Vec<Update>,
}

impl<T: Type> Run<T> {
    fn new(replicas: usize) -> Self {
        Self {
            replicas: vec![(T::default(), BTreeSet::new()); replicas],
            all: Vec::new(),
        }
    }

    /// What happens, and whether the replica then shows what it ought to.
    fn happen(&mut self, what: Move) -> bool {
        let place = |node: u64| usize::try_from(node).expect("a few replicas");
        let changed = match what {
            Move::Update(node, kind) => {
                let id = self.all.len();
                let (state, known) = &mut self.replicas[place(node)];
                self.all.push(Update {
                    node,
                    kind,
                    past: known.clone(),
                });
                known.insert(id);
                state.update(NodeId(node), kind, id);
                node
            }
            Move::Merge(to, from) => {
                let (theirs, news) = self.replicas[place(from)].clone();
                let (state, known) = &mut self.replicas[place(to)];
                state.merge(&theirs);
                known.extend(news);
                to
            }
        };
        let (state, known) = &self.replicas[place(changed)];
        state.shows() == T::means(&self.all, known)
    }
}

/// Every move of two replicas.
fn moves<T: Type>() -> Vec<Move> {
    let updates = |node| T::KINDS.iter().map(move |kind| Move::Update(node, *kind));
    let mut moves: Vec<Move> = updates(0).chain(updates(1)).collect();
    moves.extend([Move::Merge(0, 1), Move::Merge(1, 0)]);
    moves
}

/// The shortest run of two replicas, of at most `steps` moves, after which one does not show what it
/// ought to; and how many runs were tried.
fn shortest<T: Type>(steps: usize) -> (Option<Vec<Move>>, usize) {
    let mut runs = vec![(Run::<T>::new(2), Vec::new())];
    let mut tried = 0;
    for _ in 0..steps {
        let mut longer = Vec::new();
        for (run, path) in &runs {
            for what in moves::<T>() {
                let (mut next, mut path) = (run.clone(), path.clone());
                path.push(what);
                tried += 1;
                if !next.happen(what) {
                    return (Some(path), tried);
                }
                longer.push((next, path));
            }
        }
        runs = longer;
    }
    (None, tried)
}

#[test]
fn every_run_of_seven_moves_of_two_replicas_shows_what_the_type_means() {
    let four = (1..=7).map(|steps| 4_usize.pow(steps)).sum();
    assert_eq!(shortest::<GCounter>(7), (None, four));
    assert_eq!(shortest::<LwwRegister<i128>>(7), (None, four));
    assert_eq!(shortest::<MvRegister<i128>>(7), (None, four));
}

#[test]
fn every_run_of_six_moves_of_two_replicas_with_two_kinds_shows_what_the_type_means() {
    let six = (1..=6).map(|steps| 6_usize.pow(steps)).sum();
    assert_eq!(shortest::<PnCounter>(6), (None, six));
    assert_eq!(shortest::<OrSet<i128>>(6), (None, six));
}

const UP: fn(u64) -> Move = |node| Move::Update(node, Kind::Up);

fn falls<T: Type>() -> Vec<Move> {
    shortest::<T>(5).0.expect("it falls in five moves")
}

/// What is told twice is counted twice.
#[test]
fn a_counter_falls_when_counts_are_summed() {
    assert_eq!(
        falls::<Summed>(),
        [UP(0), Move::Merge(1, 0), Move::Merge(0, 1)]
    );
}

#[test]
fn a_counter_falls_when_it_is_one_number() {
    assert_eq!(falls::<LargerSum>(), [UP(0), UP(1), Move::Merge(0, 1)]);
}

#[test]
fn a_set_falls_when_removes_name_no_adds() {
    let path = [UP(0), Move::Update(0, Kind::Down), UP(0)];
    assert_eq!(falls::<NoDots>(), path);
}

#[test]
fn a_register_falls_when_the_time_of_receipt_decides() {
    assert_eq!(falls::<ReceiveTime>(), [UP(0), UP(1), Move::Merge(1, 0)]);
}

#[test]
fn a_register_falls_when_nothing_is_overwritten() {
    let path = [UP(0), Move::Merge(1, 0), UP(0), Move::Merge(0, 1)];
    assert_eq!(falls::<NothingOverwritten>(), path);
}

/// The join of both, whichever is told the other.
fn joined<T: Type>(one: &T, other: &T) -> T {
    let mut joined = one.clone();
    joined.merge(other);
    joined
}

/// Which law of join-semilattices the states of a run break.
fn broken<T: Type>(moves: &[Move]) -> Option<&'static str> {
    let mut run = Run::<T>::new(3);
    let mut states = vec![T::default()];
    for what in moves {
        let before = run.replicas.clone();
        run.happen(*what);
        for ((old, _), (new, _)) in before.iter().zip(&run.replicas) {
            if joined(old, new) != *new {
                return Some("inflation");
            }
        }
        states.extend(run.replicas.iter().map(|(state, _)| state.clone()));
        states.dedup();
    }
    for a in &states {
        if joined(a, a) != *a {
            return Some("idempotence");
        }
        for b in &states {
            if joined(a, b) != joined(b, a) {
                return Some("commutativity");
            }
            for c in states.iter().step_by(3) {
                if joined(&joined(a, b), c) != joined(a, &joined(b, c)) {
                    return Some("associativity");
                }
            }
        }
    }
    None
}

fn encoded<T: Serialize + DeserializeOwned + PartialEq + Debug + Type>(moves: &[Move]) {
    let mut run = Run::<T>::new(3);
    for what in moves {
        assert!(run.happen(*what), "a replica shows what it ought to");
    }
    for (state, _) in &run.replicas {
        let bytes = postcard::to_stdvec(state).expect("plain data can be encoded");
        assert_eq!(postcard::from_bytes::<T>(&bytes).as_ref(), Ok(state));
    }
}

fn some_moves(kinds: &'static [Kind]) -> impl Strategy<Value = Vec<Move>> {
    let kind = proptest::sample::select(kinds);
    let one = prop_oneof![
        (0..3_u64, kind).prop_map(|(node, kind)| Move::Update(node, kind)),
        (0..3_u64, 1..3_u64).prop_map(|(to, by)| Move::Merge(to, (to + by) % 3)),
    ];
    vec(one, 0..10)
}

proptest! {
    #[test]
    fn joins_are_those_of_semilattices_and_values_survive_their_encoding(
        moves in some_moves(&[Kind::Up]),
        both in some_moves(&[Kind::Up, Kind::Down]),
    ) {
        prop_assert_eq!(broken::<GCounter>(&moves), None);
        prop_assert_eq!(broken::<LwwRegister<i128>>(&moves), None);
        prop_assert_eq!(broken::<MvRegister<i128>>(&moves), None);
        prop_assert_eq!(broken::<PnCounter>(&both), None);
        prop_assert_eq!(broken::<OrSet<i128>>(&both), None);
        encoded::<GCounter>(&moves);
        encoded::<LwwRegister<i128>>(&moves);
        encoded::<MvRegister<i128>>(&moves);
        encoded::<PnCounter>(&both);
        encoded::<OrSet<i128>>(&both);
    }
}

#[test]
fn many_at_once_are_as_many_one_by_one_and_none_if_they_are_too_many() {
    let (me, mut many, mut one_by_one) = (NodeId(1), GCounter::default(), GCounter::default());
    for times in [0, 3, 1] {
        many.add_many(me, times).expect("a small count");
        for _ in 0..times {
            one_by_one.add(me).expect("a small count");
        }
        assert_eq!(many, one_by_one);
    }
    let before = many.clone();
    assert!(many.add_many(me, u64::MAX - 3).is_err());
    assert_eq!(many, before);
    many.add_many(me, u64::MAX - 4).expect("the largest count");
    assert!(many.add(me).is_err());
}

#[test]
fn laws_fall() {
    let concurrent = [UP(0), UP(1)];
    assert_eq!(broken::<Summed>(&concurrent), Some("inflation"));
    assert_eq!(broken::<ReceiveTime>(&concurrent), Some("commutativity"));
    let overwritten = [UP(0), UP(0)];
    assert_eq!(
        broken::<NothingOverwritten>(&overwritten),
        Some("inflation")
    );
}
