//! Data sync, and the keyed tree that it rests on: what is promised, and what breaks it.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use quorate::clock::Stamp;
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId, Output, State, Step, boot, step};
use quorate::merkle::keyed::{Keyed, Place, Places, Shape};
use quorate::merkle::{Hasher, Sha256};
use quorate::sync::{BUCKET_MAX, Call, Entry, Event, Message, Sync, Timer};
use quorate_models::laws::{self, Move};
use quorate_models::sync::{self, Spelled, Spelling};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn every_promise_holds_when_two_write_one_key() {
    holds("sync", "one-key", 352);
}

#[test]
fn every_promise_holds_when_keys_are_deleted() {
    holds("sync", "deletes", 5_134);
}

#[test]
fn every_promise_holds_when_trees_branch_differently() {
    holds("sync", "shapes", 1_714);
    holds("sync", "more-shapes", 2_407_413);
    holds("sync", "wide", 179_063);
}

#[test]
fn every_promise_holds_with_one_crash() {
    holds("sync", "crash", 1_408);
    holds("sync", "shapes-crash", 6_856);
    holds("sync", "three-crash", 73_910);
}

#[test]
fn every_promise_holds_with_three_replicas() {
    holds("sync", "three", 14_782);
    holds("sync", "three-keys", 1_002_858);
}

#[test]
fn every_promise_holds_with_one_cut_of_any_shape() {
    holds("sync", "three-cut", 206_948);
}

#[test]
fn the_counts_are_those_of_stateright_and_of_full_equality() {
    for world in ["one-key", "shapes", "crash"] {
        audits("sync", world);
    }
}

#[test]
fn what_is_forgotten_never_mattered() {
    discharges(sync::obligations());
    let failure = sync::wrong_obligations().expect_err("a wrong rule is found out");
    assert!(failure.contains("dead"), "{failure}");
}

#[test]
fn converged_falls_when_other_shapes_are_skipped() {
    refutes("sync", "other-shapes", sync::CONVERGED);
}

#[test]
fn one_map_falls_when_fields_are_joined() {
    refutes("sync", "fields-joined", sync::ONE_MAP);
}

#[test]
fn one_map_falls_when_digests_do_not_say_who_wrote() {
    refutes("sync", "no-writer", sync::ONE_MAP);
}

#[test]
fn converged_falls_when_a_range_is_answered_by_one_fingerprint() {
    refutes("sync", "one-fingerprint", sync::CONVERGED);
}

#[test]
fn converged_falls_without_a_tie_break() {
    refutes("sync", "no-tie-break", sync::CONVERGED);
}

#[test]
fn converged_falls_when_nobody_pulls() {
    refutes("sync", "never-pulls", sync::CONVERGED);
}

#[test]
fn converged_falls_when_trees_are_compared_once() {
    refutes("sync", "once", sync::CONVERGED);
}

#[test]
fn nothing_goes_back_falls_when_arrival_wins() {
    refutes("sync", "arrival-wins", sync::NOTHING_BACK);
}

#[test]
fn nothing_goes_back_falls_when_clocks_are_not_merged() {
    refutes("sync", "clock-not-merged", sync::NOTHING_BACK);
}

#[test]
fn no_resurrection_falls_without_tombstones() {
    refutes("sync", "no-tombstones", sync::NO_RESURRECTION);
}

#[test]
fn one_value_per_version_falls_when_the_clock_is_not_kept() {
    refutes("sync", "clock-not-kept", sync::ONE_VALUE);
}

#[test]
fn the_tree_is_that_of_the_map_falls_when_it_is_not_changed() {
    refutes("sync", "stale-tree", sync::TREE);
}

#[test]
fn acknowledged_writes_stay_falls_with_a_lying_disk() {
    refutes("sync", "lying-disk", sync::STAYS);
}

/// Positions of four bits of the first letter, so that many keys share one, and trees are deep.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Crowded;

impl Hasher for Crowded {
    type Digest = String;

    fn empty(&self) -> String {
        "-".into()
    }

    fn leaf(&self, bytes: &[u8]) -> String {
        format!("[{}]", bytes.escape_ascii())
    }

    fn node(&self, left: &String, right: &String) -> String {
        format!("({left} {right})")
    }
}

impl Places for Crowded {
    fn position(&self, key: &str) -> u64 {
        key.bytes().next().map_or(0, |letter| {
            u64::from(letter & 15) << 60 | u64::from(letter >> 7)
        })
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    (1_u8..=4, 1_u32..4).prop_map(|(fan_bits, bucket_max)| Shape {
        fan_bits,
        bucket_max,
    })
}

fn maps() -> impl Strategy<Value = BTreeMap<String, u8>> {
    btree_map("[a-p]{1,2}", 0_u8..3, 0..24)
}

fn leaf(key: &str, value: u8) -> String {
    Crowded.leaf(format!("{key}={value}").as_bytes())
}

fn tree(shape: Shape, map: &BTreeMap<String, u8>) -> Keyed<String> {
    let leaves = map
        .iter()
        .map(|(key, value)| (key.clone(), leaf(key, *value)));
    Keyed::of(&Crowded, shape, leaves)
}

proptest! {
    /// History-independent: whatever was put in and taken out before, and in whatever order.
    #[test]
    fn equal_maps_have_equal_trees(
        shape in shapes(), changes in vec(("[a-p]{1,2}", proptest::option::of(0_u8..3)), 0..60),
    ) {
        let mut grown: Keyed<String> = Keyed::default();
        let mut map = BTreeMap::new();
        for (key, value) in changes {
            if let Some(value) = value {
                grown.insert(&Crowded, shape, &key, leaf(&key, value));
                map.insert(key, value);
            } else {
                grown.remove(&Crowded, shape, &key);
                map.remove(&key);
            }
            prop_assert_eq!(&grown, &tree(shape, &map));
            prop_assert_eq!(grown.len(), map.len());
        }
    }

    /// Binding: of a free hash function, different maps have different roots.
    #[test]
    fn different_maps_have_different_roots(shape in shapes(), one in maps(), other in maps()) {
        let root = |map| tree(shape, map).digest(&Crowded, shape, Place::ROOT);
        prop_assert_eq!(root(&one) == root(&other), one == other);
    }

    /// Complete and precise: the keys that differ, all of them and no other.
    #[test]
    fn a_difference_is_exactly_the_keys_that_differ(shape in shapes(), one in maps(), other in maps()) {
        let found = tree(shape, &one).difference(&Crowded, shape, &tree(shape, &other));
        let mut keys = found.keys;
        keys.sort();
        let mut differ: Vec<String> = one.keys().chain(other.keys()).cloned().collect();
        differ.retain(|key| one.get(key) != other.get(key));
        differ.sort();
        differ.dedup();
        prop_assert_eq!(keys, differ);
    }
}

/// All maps over so many keys, and values.
fn all_maps(keys: &[&str]) -> Vec<BTreeMap<String, u8>> {
    let mut maps = vec![BTreeMap::new()];
    for key in keys {
        let with = |value: u8| {
            move |map: &BTreeMap<String, u8>| {
                let mut map = map.clone();
                map.insert((*key).to_owned(), value);
                map
            }
        };
        let more: Vec<_> = maps
            .iter()
            .map(with(0))
            .chain(maps.iter().map(with(1)))
            .collect();
        maps.extend(more);
    }
    maps
}

#[test]
fn every_pair_of_small_maps_is_told_apart_and_where() {
    let maps = all_maps(&["a", "b", "e", "i", "j"]);
    assert_eq!(maps.len(), 243);
    for fan_bits in [1, 2, 4] {
        for bucket_max in [1, 2] {
            let shape = Shape {
                fan_bits,
                bucket_max,
            };
            let trees: Vec<Keyed<String>> = maps.iter().map(|map| tree(shape, map)).collect();
            for (one, tree) in maps.iter().zip(&trees) {
                for (other, another) in maps.iter().zip(&trees) {
                    let found = tree.difference(&Crowded, shape, another).keys;
                    let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
                    keys.retain(|key| one.get(*key) != other.get(*key));
                    keys.sort();
                    keys.dedup();
                    assert_eq!(found.iter().collect::<Vec<_>>(), keys, "{one:?} {other:?}");
                }
            }
        }
    }
}

const SHAPE: Shape = Shape {
    fan_bits: 4,
    bucket_max: BUCKET_MAX,
};

#[test]
fn what_is_compared_is_in_proportion_to_what_differs() {
    let entry = |number: u32| (format!("key-{number}"), Sha256.leaf(&number.to_le_bytes()));
    let one = Keyed::of(&Sha256, SHAPE, (0..20_000).map(entry));
    let mut compared = Vec::new();
    for differing in [0_u32, 1, 10, 100] {
        let mut other = one.clone();
        for number in 0..differing {
            other.insert(
                &Sha256,
                SHAPE,
                &format!("key-{number}"),
                Sha256.leaf(b"other"),
            );
        }
        let found = one.difference(&Sha256, SHAPE, &other);
        assert_eq!(found.keys.len(), usize::try_from(differing).unwrap());
        compared.push(found.compared);
    }
    // Some log16 20,000 levels of 16 places each for a key; never all of them.
    assert_eq!(compared[0], 1);
    assert!(compared[1] <= 16 * 5 + 1, "{compared:?}");
    assert!(compared[2] <= 10 * compared[1], "{compared:?}");
    assert!(compared[3] < 10 * compared[2], "{compared:?}");
}

#[test]
fn equal_trees_hash_alike_with_sha_256_whatever_came_before() {
    let mut one: Keyed<_> = Keyed::default();
    let mut other: Keyed<_> = Keyed::default();
    for number in 0_u32..200 {
        one.insert(
            &Sha256,
            SHAPE,
            &number.to_string(),
            Sha256.leaf(&number.to_le_bytes()),
        );
        let back = 199 - number;
        other.insert(
            &Sha256,
            SHAPE,
            &back.to_string(),
            Sha256.leaf(&back.to_le_bytes()),
        );
    }
    assert_eq!(one, other);
    let root = one.digest(&Sha256, SHAPE, Place::ROOT);
    other.remove(&Sha256, SHAPE, "7");
    assert_ne!(other.digest(&Sha256, SHAPE, Place::ROOT), root);
}

fn replica(me: u64) -> Sync<Sha256> {
    Sync {
        me: NodeId(me),
        peers: NodeSet::first(2).difference([NodeId(me)].into_iter().collect()),
        shape: SHAPE,
        hasher: Sha256,
    }
}

/// Two replicas in memory, and all that they say to each other until they are silent.
fn talk(states: &mut [State<Sync<Sha256>>; 2]) -> usize {
    let machines = [replica(0), replica(1)];
    let mut mail = vec![(0, Input::Timer(Timer::Compare(NodeId(1))))];
    let mut messages = 0;
    while let Some((place, input)) = mail.pop() {
        let Step { state, sealed } = step(&machines[place], states[place].clone(), input);
        states[place] = state;
        let outputs = sealed.persist(|_| Ok::<(), ()>(())).unwrap();
        for output in outputs {
            if let Output::Send { to, message } = output {
                messages += 1;
                let bytes = postcard::to_stdvec(&message).unwrap();
                assert!(bytes.len() <= 1_162, "{} bytes in a datagram", bytes.len());
                let from = NodeId(u64::try_from(place).unwrap());
                let to = usize::try_from(to.0).unwrap();
                mail.push((to, Input::Message { from, message }));
            }
        }
    }
    messages
}

fn put(state: &mut State<Sync<Sha256>>, me: u64, key: &str, value: &str) {
    let call = Call::Put {
        ticket: 1,
        key: key.into(),
        value: Some(value.into()),
    };
    let Step {
        state: next,
        sealed,
    } = step(&replica(me), state.clone(), Input::Call(call));
    *state = next;
    assert!(sealed.persist(|_| Ok::<(), ()>(())).is_ok());
}

#[test]
fn one_walk_makes_two_large_replicas_equal_and_every_message_fits_a_datagram() {
    let first = |me| boot(&replica(me), quorate::sync::Durable::default()).state;
    let mut states = [first(0), first(1)];
    let long = "k".repeat(100);
    for number in 0_u64..3_000 {
        // What both have, what one has, and what both have written anew.
        for me in [0, 1] {
            if number % 10 != 3 + me {
                let place = usize::try_from(me).unwrap();
                let value = (number + me * u64::from(number.is_multiple_of(7))).to_string();
                put(&mut states[place], me, &format!("{long}{number}"), &value);
            }
        }
    }
    assert_ne!(states[0].durable.entries, states[1].durable.entries);
    talk(&mut states);
    assert_eq!(states[0].durable.entries, states[1].durable.entries);
    assert_eq!(states[0].volatile.tree, states[1].volatile.tree);
    assert_eq!(states[0].durable.entries.len(), 3_000);
    // Nothing is left to say but one comparison.
    assert_eq!(talk(&mut states), 1);
}

#[test]
fn what_is_too_long_or_too_late_is_refused_and_changes_nothing() {
    let machine = replica(0);
    let mut state = boot(&machine, quorate::sync::Durable::default()).state;
    let refused = |state: &State<Sync<Sha256>>, key: &str, value: &str| {
        let call = Call::Put {
            ticket: 7,
            key: key.into(),
            value: Some(value.into()),
        };
        let Step {
            state: next,
            sealed,
        } = step(&machine, state.clone(), Input::Call(call));
        assert_eq!(next, *state);
        let outputs = sealed.persist(|_| Ok::<(), ()>(())).unwrap();
        assert_eq!(outputs, [Output::Event(Event::Refused { ticket: 7 })]);
    };
    refused(&state, &"k".repeat(129), "value");
    refused(&state, "key", &"v".repeat(769));
    let late = Message::Push {
        key: "key".into(),
        entry: Entry {
            version: Stamp {
                time: u64::MAX,
                node: NodeId(9),
            },
            value: None,
        },
    };
    let input = Input::Message {
        from: NodeId(1),
        message: late,
    };
    state = step(&machine, state, input).state;
    refused(&state, "key", "value");
}

fn entry() -> impl Strategy<Value = Entry> {
    let time = prop_oneof![8 => 0_u64..4, 1 => any::<u64>()];
    let value = proptest::option::of(prop_oneof![8 => "[xy]", 1 => "v{769}"]);
    (time, 0_u64..3, value).prop_map(|(time, node, value)| Entry {
        version: Stamp {
            time,
            node: NodeId(node),
        },
        value,
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-d]{1,2}", 1 => "k{129}"]
}

fn message() -> impl Strategy<Value = Message<String>> {
    let place = || {
        let wild = (any::<u8>(), any::<u64>());
        let place = prop_oneof![8 => (0_u8..4, 0_u64..8), 1 => wild];
        place.prop_map(|(depth, prefix)| Place { depth, prefix })
    };
    prop_oneof![
        (place(), "[a-c]{0,2}").prop_map(|(place, digest)| Message::Compare { place, digest }),
        (place(), vec("[a-c]{0,2}", 0..4))
            .prop_map(|(place, digests)| Message::Children { place, digests }),
        (place(), vec((key(), entry()), 0..4)).prop_map(|(place, offered)| Message::Offer {
            place,
            versions: offered
                .into_iter()
                .map(|(key, entry)| (key, entry.version))
                .collect(),
        }),
        vec(key(), 0..4).prop_map(|keys| Message::Pull { keys }),
        (key(), entry()).prop_map(|(key, entry)| Message::Push { key, entry }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Sync<Spelled>>> {
    let call = prop_oneof![
        key().prop_map(|key| Call::Get { ticket: 1, key }),
        (key(), entry()).prop_map(|(key, entry)| Call::Put {
            ticket: 2,
            key,
            value: entry.value,
        }),
    ];
    prop_oneof![
        4 => call.prop_map(|call| Move::Input(Input::Call(call))),
        8 => (0_u64..3, message()).prop_map(|(from, message)| {
            Move::Input(Input::Message { from: NodeId(from), message })
        }),
        1 => (0_u64..3).prop_map(|peer| Move::Input(Input::Timer(Timer::Compare(NodeId(peer))))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(shape in shapes(), moves in vec(one_move(), 0..60)) {
        let machine = Sync {
            me: NodeId(0),
            peers: NodeSet::first(3),
            shape,
            hasher: Spelled(Spelling::Parts),
        };
        laws::check(&machine, moves);
    }
}
