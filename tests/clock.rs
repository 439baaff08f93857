//! Logical clocks: their promises hold, each falls when something is taken away, and as values they do
//! what plain models of them do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::clock::{
    Dot, Exhausted, Hybrid, HybridTime, Lamport, Refusal, Relation, Siblings, Stamp, Vector,
    Version,
};
use quorate::machine::NodeId;
use quorate_models::clock::{
    BOUNDED, CLOCK_CONDITION, COUNTED, NOTHING_KEPT, NOTHING_LOST, STRONG_CLOCK_CONDITION, UNIQUE,
    WITHIN_DRIFT,
};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn lamports_promises_hold_with_three_nodes() {
    holds("clock", "lamport", 65_461);
}

#[test]
fn lamports_promises_hold_with_two_crashes() {
    holds("clock", "lamport-crash", 11_652);
}

#[test]
fn the_promises_of_vectors_hold_with_three_nodes() {
    holds("clock", "vector", 65_461);
}

#[test]
fn the_promises_of_vectors_hold_with_four_nodes() {
    holds("clock", "vector-four", 37_768);
}

#[test]
fn the_promises_of_vectors_hold_with_two_crashes() {
    holds("clock", "vector-crash", 11_652);
}

#[test]
fn hybrid_promises_hold_with_three_nodes() {
    holds("clock", "hybrid", 37_997);
}

#[test]
fn hybrid_promises_hold_with_more_time() {
    holds("clock", "hybrid-long", 149_261);
}

#[test]
fn hybrid_promises_hold_with_two_crashes() {
    holds("clock", "hybrid-crash", 16_856);
}

#[test]
fn hybrid_promises_hold_when_physical_clocks_are_set_back() {
    holds("clock", "hybrid-set-back", 11_972);
}

#[test]
fn hybrid_promises_hold_beside_a_clock_that_shows_whatever_it_likes() {
    holds("clock", "hybrid-bad-clock", 33_162);
}

/// Under TLC the paper's specification has these states too, once its receive rule is the paper's.
#[test]
fn the_papers_abstraction_has_the_states_that_others_count() {
    holds("clock", "hybrid-paper-2-4-2", 367);
    holds("clock", "hybrid-paper-2-5-3", 1_053);
    holds("clock", "hybrid-paper-3-4-2", 26_955);
}

#[test]
fn the_promises_of_siblings_hold_with_one_replica() {
    holds("clock", "siblings-one", 154);
}

#[test]
fn the_promises_of_siblings_hold_with_two_replicas() {
    holds("clock", "siblings-two", 3_185);
}

#[test]
fn the_promises_of_siblings_hold_with_three_replicas() {
    holds("clock", "siblings-three", 3_759);
}

#[test]
fn the_promises_of_siblings_hold_with_one_crash() {
    holds("clock", "siblings-crash", 12_740);
}

#[test]
fn clock_condition_falls_without_the_receive_rule() {
    refutes("clock", "no-receive-rule", CLOCK_CONDITION);
}

#[test]
fn clock_condition_falls_when_a_receipt_has_the_time_of_the_sending() {
    refutes("clock", "receipt-not-later", CLOCK_CONDITION);
}

#[test]
fn clock_condition_falls_when_lamports_clock_is_not_kept() {
    refutes("clock", "lamport-not-kept", CLOCK_CONDITION);
}

#[test]
fn uniqueness_falls_when_stamps_do_not_say_where() {
    refutes("clock", "no-tie-break", UNIQUE);
}

#[test]
fn strong_clock_condition_falls_with_lamports_stamps() {
    refutes("clock", "lamport-for-vector", STRONG_CLOCK_CONDITION);
}

#[test]
fn strong_clock_condition_falls_when_equal_is_concurrent() {
    refutes("clock", "equal-is-concurrent", STRONG_CLOCK_CONDITION);
}

#[test]
fn strong_clock_condition_falls_when_strangers_are_dropped() {
    refutes("clock", "strangers-dropped", STRONG_CLOCK_CONDITION);
}

#[test]
fn strong_clock_condition_falls_when_a_receipt_is_no_event() {
    refutes("clock", "receipt-is-no-event", STRONG_CLOCK_CONDITION);
}

#[test]
fn strong_clock_condition_falls_when_counts_are_taken_over() {
    refutes("clock", "taken-over", STRONG_CLOCK_CONDITION);
}

#[test]
fn strong_clock_condition_falls_when_a_vector_is_not_kept() {
    refutes("clock", "vector-not-kept", STRONG_CLOCK_CONDITION);
}

#[test]
fn clock_condition_falls_with_greater_for_at_least() {
    refutes("clock", "greater-for-at-least", CLOCK_CONDITION);
}

#[test]
fn the_bound_falls_when_each_event_adds_one_to_physical_time() {
    refutes("clock", "naive", BOUNDED);
}

#[test]
fn clock_condition_falls_with_the_clock_on_the_wall() {
    refutes("clock", "wall-clock", CLOCK_CONDITION);
}

#[test]
fn the_count_falls_when_the_counter_is_not_reset() {
    refutes("clock", "counter-not-reset", COUNTED);
}

#[test]
fn clock_condition_falls_when_a_hybrid_clock_is_not_kept() {
    refutes("clock", "hybrid-not-kept", CLOCK_CONDITION);
}

#[test]
fn the_drift_falls_when_every_clock_is_believed() {
    refutes("clock", "no-drift-bound", WITHIN_DRIFT);
}

#[test]
fn a_concurrent_write_is_lost_without_dots() {
    refutes("clock", "no-dots", NOTHING_LOST);
}

#[test]
fn a_concurrent_write_is_lost_when_writes_are_numbered_by_context() {
    refutes("clock", "numbered-by-context", NOTHING_LOST);
}

#[test]
fn an_overwritten_value_is_kept_when_a_context_has_no_dots() {
    refutes("clock", "context-without-dots", NOTHING_KEPT);
}

#[test]
fn an_overwritten_value_is_kept_when_nothing_is_dropped() {
    refutes("clock", "nothing-dropped", NOTHING_KEPT);
}

#[test]
fn a_write_is_lost_when_what_arrives_wins() {
    refutes("clock", "arrival-wins", NOTHING_LOST);
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["hybrid-paper-2-4-2", "siblings-two"] {
        audits("clock", world);
    }
}

#[test]
fn a_clock_at_its_end_refuses_and_stays_as_it_was() {
    let me = NodeId(0);
    let end = Stamp {
        time: u64::MAX,
        node: NodeId(1),
    };
    let mut lamport = Lamport::default();
    assert_eq!(lamport.receive(me, end), Err(Exhausted));
    assert_eq!(lamport, Lamport::default());

    let full = Vector::from_iter([(me, u64::MAX)]);
    let mut vector = full.clone();
    let news = Vector::from_iter([(NodeId(1), 1)]);
    assert_eq!(vector.tick(me), Err(Exhausted));
    assert_eq!(vector.receive(me, &news), Err(Exhausted));
    assert_eq!(vector, full);

    let mut siblings = Siblings::default();
    assert_eq!(siblings.write(me, &full, 'A'), Err(Exhausted));
    assert_eq!(siblings, Siblings::default());
}

#[test]
fn a_hybrid_counter_at_its_end_waits_for_physical_time() {
    let end = HybridTime {
        physical: 5,
        counter: u32::MAX,
    };
    let mut own = Hybrid::from(end);
    assert_eq!(own.tick(5), Err(Exhausted));
    assert_eq!(own.latest(), end);
    let mut other = Hybrid::default();
    assert_eq!(other.receive(5, end, 0), Err(Refusal::Exhausted));
    assert_eq!(other, Hybrid::default());
    let next = HybridTime {
        physical: 6,
        counter: 0,
    };
    assert_eq!(own.tick(6), Ok(next));
    assert_eq!(other.receive(6, end, 0), Ok(next));
}

#[test]
fn a_sender_as_far_ahead_as_is_allowed_is_believed_and_no_other() {
    let sent = HybridTime {
        physical: 10,
        counter: 0,
    };
    let mut clock = Hybrid::default();
    let refusal = Refusal::Drift { ahead: 4 };
    assert_eq!(clock.receive(6, sent, 3), Err(refusal));
    assert_eq!(clock, Hybrid::default());
    let received = HybridTime { counter: 1, ..sent };
    assert_eq!(clock.receive(7, sent, 3), Ok(received));
}

fn version(node: u64, counter: u64, past: &[(u64, u64)]) -> Version<u8> {
    let node = NodeId(node);
    Version {
        dot: Dot { node, counter },
        past: (past.iter())
            .map(|(node, count)| (NodeId(*node), *count))
            .collect(),
        value: 7,
    }
}

fn decodes(versions: &[Version<u8>]) -> bool {
    let bytes = postcard::to_stdvec(versions).expect("versions can be written");
    postcard::from_bytes::<Siblings<u8>>(&bytes).is_ok_and(|it| it.versions() == versions)
}

#[test]
fn what_is_no_siblings_is_not_decoded() {
    assert!(decodes(&[]));
    assert!(decodes(&[version(0, 1, &[]), version(1, 1, &[])]));
    assert!(decodes(&[version(0, 2, &[(0, 1)]), version(0, 3, &[])]));
    // Out of order, twice, and counted from nothing.
    assert!(!decodes(&[version(1, 1, &[]), version(0, 1, &[])]));
    assert!(!decodes(&[version(0, 1, &[]), version(0, 1, &[])]));
    assert!(!decodes(&[version(0, 0, &[])]));
    // One over the other, and one over itself.
    assert!(!decodes(&[version(0, 1, &[]), version(1, 1, &[(0, 1)])]));
    assert!(!decodes(&[version(0, 1, &[(0, 1)])]));
}

#[test]
fn a_vector_that_lists_nothing_is_not_decoded() {
    let decode = |counts: &[(u64, u64)]| {
        let counts: BTreeMap<u64, u64> = counts.iter().copied().collect();
        let bytes = postcard::to_stdvec(&counts).expect("counts can be written");
        postcard::from_bytes::<Vector>(&bytes).ok()
    };
    let expected = Vector::from_iter([(NodeId(0), 1), (NodeId(3), 2)]);
    assert_eq!(decode(&[(0, 1), (3, 2)]), Some(expected));
    assert_eq!(decode(&[]), Some(Vector::new()));
    assert_eq!(decode(&[(0, 1), (3, 0)]), None);
}

/// Nothing is kept of failures: what they teach becomes a test of its own.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(count)
    }
}

/// A vector, and the plain model of it: a count for each of three nodes.
fn counts() -> impl Strategy<Value = [u64; 3]> {
    [0..4_u64, 0..4_u64, 0..4_u64]
}

fn of(counts: [u64; 3]) -> Vector {
    (0..).map(NodeId).zip(counts).collect()
}

fn joined(one: [u64; 3], other: [u64; 3]) -> [u64; 3] {
    [0, 1, 2].map(|node| one[node].max(other[node]))
}

fn merged(one: &Vector, other: &Vector) -> Vector {
    let mut merged = one.clone();
    merged.merge(other);
    merged
}

/// Fig. 5 of the paper as it stands there: the receipt of `sent` after `last`, at physical time `now`.
fn figure_five(last: (u64, u32), now: u64, sent: (u64, u32)) -> (u64, u32) {
    let l = last.0.max(sent.0).max(now);
    let c = if l == last.0 && l == sent.0 {
        last.1.max(sent.1) + 1
    } else if l == last.0 {
        last.1 + 1
    } else if l == sent.0 {
        sent.1 + 1
    } else {
        0
    };
    (l, c)
}

fn hybrid_time((physical, counter): (u64, u32)) -> HybridTime {
    HybridTime { physical, counter }
}

/// What may happen to some replicas of a key.
#[derive(Clone, Debug)]
enum Happens {
    /// A client reads at a replica.
    Read(usize),
    /// The client that made some earlier read, or one that read nothing, writes at a replica.
    Write(usize, usize),
    /// What the second replica has arrives at the first.
    Merge(usize, usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (0..3_usize).prop_map(Happens::Read),
        (0..3_usize, 0..8_usize).prop_map(|(at, read)| Happens::Write(at, read)),
        (0..3_usize, 0..3_usize).prop_map(|(to, from)| Happens::Merge(to, from)),
    ]
}

/// The plain model of a replica: the writes it knows of, where of each write is known which it
/// overwrites.
#[derive(Clone, Default)]
struct Known {
    siblings: Siblings<usize>,
    writes: BTreeSet<usize>,
}

impl Known {
    /// The writes that no other of them had read.
    fn current(&self, pasts: &[BTreeSet<usize>]) -> BTreeSet<usize> {
        let overwritten = |write: &usize| self.writes.iter().any(|by| pasts[*by].contains(write));
        let current = self.writes.iter().filter(|write| !overwritten(write));
        current.copied().collect()
    }
}

/// Runs the replicas beside their models, and compares the two at every step.
fn run(moves: Vec<Happens>) -> [Known; 3] {
    let mut replicas = <[Known; 3]>::default();
    let mut pasts: Vec<BTreeSet<usize>> = Vec::new();
    let mut reads = vec![(Vector::new(), BTreeSet::new())];
    for one in moves {
        let at = match one {
            Happens::Read(at) => {
                let Known { siblings, writes } = &replicas[at];
                reads.push((siblings.context(), writes.clone()));
                at
            }
            Happens::Write(at, read) => {
                let (context, read) = &reads[read % reads.len()];
                let write = pasts.len();
                pasts.push(read.clone());
                let known = &mut replicas[at];
                let me = NodeId(at as u64);
                let dot = known.siblings.write(me, context, write);
                assert_eq!(dot.expect("a count that small has a next").node, me);
                known.writes.extend(read);
                known.writes.insert(write);
                at
            }
            Happens::Merge(to, from) => {
                let other = replicas[from].clone();
                replicas[to].siblings.merge(&other.siblings);
                replicas[to].writes.extend(other.writes);
                to
            }
        };
        let known = &replicas[at];
        let kept: BTreeSet<usize> = known.siblings.values().copied().collect();
        assert_eq!(kept.len(), known.siblings.versions().len());
        assert_eq!(kept, known.current(&pasts));
    }
    replicas
}

fn both(one: &Siblings<usize>, other: &Siblings<usize>) -> Siblings<usize> {
    let mut both = one.clone();
    both.merge(other);
    both
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn lamports_clock_is_one_more_than_the_larger(
        moves in vec(prop_oneof![Just(None), (0..9_u64).prop_map(Some)], 0..20),
    ) {
        let (mut clock, mut expected) = (Lamport::default(), 0);
        for sent in moves {
            expected = 1 + expected.max(sent.unwrap_or(0));
            let stamp = match sent {
                None => clock.tick(NodeId(1)),
                Some(time) => clock.receive(NodeId(1), Stamp { time, node: NodeId(0) }),
            };
            prop_assert_eq!(stamp, Ok(Stamp { time: expected, node: NodeId(1) }));
            prop_assert_eq!(clock.time(), expected);
        }
    }

    #[test]
    fn stamps_are_ordered_by_time_and_then_by_node(
        one in (0..3_u64, 0..3_u64),
        other in (0..3_u64, 0..3_u64),
    ) {
        let stamp = |(time, node)| Stamp { time, node: NodeId(node) };
        prop_assert_eq!(stamp(one).cmp(&stamp(other)), one.cmp(&other));
    }

    #[test]
    fn vectors_are_joined_and_compared_count_by_count(
        one in counts(),
        other in counts(),
        third in counts(),
    ) {
        let (a, b, c) = (of(one), of(other), of(third));
        prop_assert_eq!(merged(&a, &b), of(joined(one, other)));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&a, &merged(&b, &c)), merged(&merged(&a, &b), &c));
        prop_assert_eq!(merged(&a, &a), a.clone());
        let at_most = |one: [u64; 3], other: [u64; 3]| (0..3).all(|node| one[node] <= other[node]);
        let expected = match (at_most(one, other), at_most(other, one)) {
            (true, true) => Relation::Equal,
            (true, false) => Relation::Before,
            (false, true) => Relation::After,
            (false, false) => Relation::Concurrent,
        };
        prop_assert_eq!(a.compare(&b), expected);
        prop_assert_eq!(a.compare(&b) == Relation::Equal, a == b);
        prop_assert_eq!(a.is_empty(), one == [0; 3]);
        for (node, count) in (0..).map(NodeId).zip(one) {
            prop_assert_eq!(a.get(node), count);
            for counter in 1..9 {
                let dot = Dot { node, counter };
                prop_assert_eq!(a.covers(dot), counter <= count);
            }
        }
    }

    #[test]
    fn a_receipt_is_a_merge_and_one_more(own in counts(), sent in counts(), me in 0..3_usize) {
        let mut vector = of(own);
        let mut expected = joined(own, sent);
        expected[me] += 1;
        prop_assert_eq!(vector.receive(NodeId(me as u64), &of(sent)), Ok(expected[me]));
        prop_assert_eq!(vector.clone(), of(expected));
        expected[me] += 1;
        prop_assert_eq!(vector.tick(NodeId(me as u64)), Ok(expected[me]));
        prop_assert_eq!(vector, of(expected));
    }

    #[test]
    fn a_vector_comes_back_from_its_bytes(own in counts()) {
        let bytes = postcard::to_stdvec(&of(own)).expect("a vector can be written");
        prop_assert_eq!(postcard::from_bytes::<Vector>(&bytes), Ok(of(own)));
    }

    #[test]
    fn the_hybrid_clock_is_that_of_figure_five(
        last in (0..4_u64, 0..4_u32),
        now in 0..5_u64,
        sent in (0..6_u64, 0..4_u32),
        drift_max in 0..4_u64,
    ) {
        let start = Hybrid::from(hybrid_time(last));
        let mut clock = start;
        let received = clock.receive(now, hybrid_time(sent), drift_max);
        if now + drift_max < sent.0 {
            let ahead = sent.0 - now;
            prop_assert_eq!(received, Err(Refusal::Drift { ahead }));
            prop_assert_eq!(clock, start);
        } else {
            let expected = hybrid_time(figure_five(last, now, sent));
            prop_assert_eq!(received, Ok(expected));
            prop_assert_eq!(clock.latest(), expected);
            prop_assert!(start.latest() < expected && hybrid_time(sent) < expected);
        }
        // Fig. 5, send or local event.
        let expected = if now <= last.0 { (last.0, last.1 + 1) } else { (now, 0) };
        let mut clock = start;
        prop_assert_eq!(clock.tick(now), Ok(hybrid_time(expected)));
    }

    #[test]
    fn siblings_are_the_writes_that_no_other_had_read(moves in vec(happens(), 0..40)) {
        let [one, other, third] = run(moves).map(|known| known.siblings);
        prop_assert_eq!(both(&one, &other), both(&other, &one));
        prop_assert_eq!(both(&one, &one), one.clone());
        prop_assert_eq!(
            both(&one, &both(&other, &third)),
            both(&both(&one, &other), &third)
        );
        let bytes = postcard::to_stdvec(&one).expect("siblings can be written");
        prop_assert_eq!(postcard::from_bytes(&bytes), Ok(one));
    }
}
