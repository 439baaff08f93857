//! Gossip: its promises hold, each falls when something is taken away, and its values are bounded.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::clock::{Dot, Vector, Version};
use quorate::data::NodeSet;
use quorate::gossip::{
    Call, Cell, Conflicts, Cursor, Durable, Event, Exchange, Gossip, KEY_BYTES_MAX, MEMBERS_MAX,
    Message, Over, Refusal, SIBLINGS_MAX, Timer, VALUE_BYTES_MAX, Value,
};
use quorate::machine::{Input, NodeId, Output, Step, boot, step};
use quorate_models::gossip::{
    AT_ONCE, CLIENT_NOT_BACK, EFFECTS_WIN, NO_RESURRECTION, NOT_BACK, NOTHING_LOST, RECOVERY,
    SAME_STATE, obligations, wrong_obligations,
};
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn promises_hold_with_three_nodes() {
    holds("gossip", "three", 151_798);
}

#[test]
fn promises_hold_when_three_nodes_delete() {
    holds("gossip", "three-delete", 151_798);
}

#[test]
fn promises_hold_with_three_nodes_and_a_crash() {
    holds("gossip", "three-crash", 483_166);
}

#[test]
fn promises_hold_with_three_nodes_and_a_cut() {
    holds("gossip", "three-cut", 455_394);
}

#[test]
fn promises_hold_with_three_nodes_and_two_writers() {
    holds("gossip", "three-writers", 222_108);
}

#[test]
fn promises_hold_with_two_writers_around_one_node() {
    holds("gossip", "star", 130_158);
}

#[test]
fn promises_hold_with_a_writer_and_a_deleter_around_one_node() {
    holds("gossip", "star-delete", 130_158);
}

#[test]
fn promises_hold_with_two_writers_around_one_node_and_a_crash() {
    holds("gossip", "star-crash", 961_548);
}

#[test]
fn promises_hold_with_two_writers() {
    holds("gossip", "two", 277_722);
}

#[test]
fn promises_hold_with_readers() {
    holds("gossip", "reads", 1_332);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("gossip", "crash", 36_353);
}

#[test]
fn promises_hold_with_one_cut_of_any_shape() {
    holds("gossip", "cut", 14_184);
}

#[test]
fn promises_hold_when_nodes_push() {
    holds("gossip", "push", 254_702);
}

#[test]
fn promises_hold_when_nodes_push_and_pull() {
    holds("gossip", "push-pull", 7_688);
}

#[test]
fn promises_hold_with_rumours() {
    holds("gossip", "rumours", 6_664);
}

#[test]
fn promises_hold_with_siblings() {
    holds("gossip", "siblings", 278_166);
}

#[test]
fn promises_hold_when_an_answer_comes_in_parts() {
    holds("gossip", "small-batches", 11_285);
}

#[test]
fn same_state_falls_without_a_tie_break() {
    refutes("gossip", "no-tie-break", SAME_STATE);
}

#[test]
fn same_state_falls_when_the_remote_wins_ties() {
    refutes("gossip", "remote-wins-ties", SAME_STATE);
}

#[test]
fn nothing_is_lost_falls_when_arrival_wins() {
    refutes("gossip", "arrival-wins", NOTHING_LOST);
}

#[test]
fn nothing_is_lost_falls_when_siblings_replace_each_other() {
    refutes("gossip", "arrival-wins-siblings", NOTHING_LOST);
}

#[test]
fn effects_win_falls_when_busy_writers_win() {
    refutes("gossip", "busy-writers-win", EFFECTS_WIN);
}

#[test]
fn no_resurrection_falls_without_tombstones() {
    refutes("gossip", "no-tombstones", NO_RESURRECTION);
}

#[test]
fn no_resurrection_falls_when_a_node_collects_alone() {
    refutes("gossip", "collects-alone", NO_RESURRECTION);
}

#[test]
fn no_resurrection_falls_when_some_have_the_tombstone() {
    refutes("gossip", "collects-with-one", NO_RESURRECTION);
}

#[test]
fn no_resurrection_falls_when_late_copies_are_taken() {
    refutes("gossip", "takes-late-copies", NO_RESURRECTION);
}

#[test]
fn no_resurrection_falls_when_tombstones_are_not_kept() {
    refutes("gossip", "tombstones-not-kept", NO_RESURRECTION);
}

#[test]
fn answers_do_not_go_back_falls_when_nothing_is_kept() {
    refutes("gossip", "nothing-kept", NOT_BACK);
}

#[test]
fn answers_do_not_go_back_falls_when_the_disk_lies() {
    refutes("gossip", "lying-disk", NOT_BACK);
}

#[test]
fn nothing_is_lost_falls_when_a_part_passes_for_all() {
    refutes("gossip", "part-for-all", NOTHING_LOST);
}

#[test]
fn answers_at_once_falls_when_a_majority_is_heard_first() {
    refutes("gossip", "answers-with-a-majority", AT_ONCE);
}

#[test]
fn recovery_falls_when_rumours_are_all_there_is() {
    refutes("gossip", "rumours-alone", RECOVERY);
}

#[test]
fn reads_of_a_client_go_back_when_it_moves() {
    refutes("gossip", "moving-client", CLIENT_NOT_BACK);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
    let failure = wrong_obligations().expect_err("a wrong rule is found out");
    assert!(failure.contains("dead"), "{failure}");
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["reads", "small-batches"] {
        audits("gossip", world);
    }
}

fn machine(members: usize, conflicts: Conflicts) -> Gossip {
    Gossip {
        me: NodeId(0),
        members: NodeSet::first(members),
        conflicts,
        exchange: Some(Exchange::PushPull),
        batch_max: 2,
        interest: 1,
    }
}

/// What a lone node tells when it is given these calls.
fn told(machine: &Gossip, calls: impl IntoIterator<Item = Call>) -> Vec<Event> {
    let Step { mut state, .. } = boot(machine, Durable::default());
    let mut told = Vec::new();
    for call in calls {
        let after = step(machine, state, Input::Call(call));
        state = after.state;
        let outputs = after.sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        told.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        }));
    }
    told
}

fn put(ticket: u64, key: &str, value: &str, over: Over) -> Call {
    Call::Put {
        ticket,
        key: key.to_owned(),
        value: value.to_owned(),
        over,
    }
}

#[test]
fn a_call_that_no_message_could_carry_is_refused() {
    let machine = machine(3, Conflicts::Siblings);
    let refused = |call| match told(&machine, [call]).as_slice() {
        [Event::Refused { ticket: 7, refusal }] => Some(*refusal),
        _ => None,
    };
    let long = "v".repeat(VALUE_BYTES_MAX + 1);
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    let read = |node, time| Over::Read([(NodeId(node), time)].into_iter().collect());
    assert_eq!(
        refused(put(7, "x", &long, Over::Here)),
        Some(Refusal::TooLong)
    );
    assert_eq!(
        refused(put(7, &key, "A", Over::Here)),
        Some(Refusal::TooLong)
    );
    assert_eq!(
        refused(put(7, "x", "A", read(3, 1))),
        Some(Refusal::Stranger)
    );
    assert_eq!(
        refused(put(7, "x", "A", read(1, u64::MAX))),
        Some(Refusal::Exhausted)
    );
    assert_eq!(refused(put(7, "x", "A", read(1, 9))), None);
}

#[test]
fn a_key_that_is_crowded_takes_no_blind_write() {
    let machine = machine(3, Conflicts::Siblings);
    let blind = |ticket| put(ticket, "x", "A", Over::Read(Vector::new()));
    let last = SIBLINGS_MAX as u64;
    let refusal = Refusal::Crowded;
    let events = told(&machine, (0..=last).map(blind));
    assert_eq!(
        events.last(),
        Some(&Event::Refused {
            ticket: last,
            refusal
        })
    );
    let events = told(
        &machine,
        (0..last)
            .map(blind)
            .chain([put(last, "x", "B", Over::Here)]),
    );
    assert!(matches!(events.last(), Some(Event::Done { .. })));
}

/// Who reads elsewhere and writes here writes later than what it read.
#[test]
fn a_context_from_elsewhere_raises_the_clock() {
    let machine = machine(3, Conflicts::LastWriterWins);
    let read = Over::Read([(NodeId(2), 41)].into_iter().collect());
    let events = told(&machine, [put(0, "x", "A", read)]);
    let [Event::Done { dot, .. }] = events.as_slice() else {
        panic!("{events:?}");
    };
    let (node, counter) = (NodeId(0), 42);
    assert_eq!(*dot, Dot { node, counter });
}

/// A datagram has 1,200 bytes, of which a frame takes less than a tenth.
#[test]
fn the_longest_messages_fit_a_datagram() {
    let members = NodeSet::first(MEMBERS_MAX).iter();
    let longest: Vector = members.map(|node| (node, u64::MAX - 1)).collect();
    let key = "k".repeat(KEY_BYTES_MAX);
    let (node, counter) = (NodeId(15), u64::MAX);
    let dot = Dot { node, counter };
    let version = Version {
        dot,
        past: longest.clone(),
        value: Some("v".repeat(VALUE_BYTES_MAX)),
    };
    let cell = Cell::try_from(vec![version.clone()]).expect("one version is a cell");
    let after = (key.clone(), dot);
    let delta = Message::Delta {
        question: longest.clone(),
        upto: longest.clone(),
        versions: vec![(key.clone(), version)],
        more: Some(after.clone()),
    };
    let upto = longest.clone();
    let digest = Message::Digest {
        exchange: Exchange::PushPull,
        seen: longest,
        resume: Some(Cursor { upto, after }),
    };
    for message in [delta, digest, Message::Tell { key, cell }] {
        let bytes = postcard::to_stdvec(&message).expect("it can be encoded");
        assert!(bytes.len() <= 1_100, "{} bytes", bytes.len());
    }
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..6_u64, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn vector() -> impl Strategy<Value = Vector> {
    vec((node(), time()), 0..4).prop_map(|counts| {
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        counts.collect()
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[xy]", 1 => "k{65}"]
}

fn version() -> impl Strategy<Value = Version<Value>> {
    let value =
        prop_oneof![4 => Just(None), 8 => "[AB]".prop_map(Some), 1 => "v{385}".prop_map(Some)];
    (node(), time(), vector(), value).prop_map(|(node, counter, past, value)| Version {
        dot: Dot { node, counter },
        past,
        value,
    })
}

fn cell() -> impl Strategy<Value = Cell> {
    vec(version(), 0..3).prop_map(|mut versions| {
        versions.sort_by_key(|version| version.dot);
        Cell::try_from(versions).unwrap_or_default()
    })
}

fn exchange() -> impl Strategy<Value = Exchange> {
    prop_oneof![
        Just(Exchange::Push),
        Just(Exchange::Pull),
        Just(Exchange::PushPull)
    ]
}

fn after() -> impl Strategy<Value = (String, Dot)> {
    (key(), node(), time()).prop_map(|(key, node, counter)| (key, Dot { node, counter }))
}

fn message() -> impl Strategy<Value = Message> {
    let resume = proptest::option::of((vector(), after()));
    let versions = vec((key(), version()), 0..4);
    prop_oneof![
        3 => (exchange(), vector(), resume).prop_map(|(exchange, seen, resume)| Message::Digest {
            exchange,
            seen,
            resume: resume.map(|(upto, after)| Cursor { upto, after }),
        }),
        6 => (vector(), vector(), versions, proptest::option::of(after())).prop_map(
            |(question, upto, versions, more)| Message::Delta {
                question,
                upto,
                versions,
                more
            }
        ),
        1 => (key(), vector()).prop_map(|(key, context)| Message::Rumour { key, context }),
        1 => (key(), vector()).prop_map(|(key, context)| Message::Known { key, context }),
        1 => key().prop_map(|key| Message::Ask { key }),
        2 => (key(), cell()).prop_map(|(key, cell)| Message::Tell { key, cell }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let over = prop_oneof![Just(Over::Here), vector().prop_map(Over::Read)];
    (any::<u64>(), key(), over, 0..3_u8).prop_map(|(ticket, key, over, kind)| match kind {
        0 => Call::Get { ticket, key },
        1 => Call::Delete { ticket, key, over },
        _ => Call::Put {
            ticket,
            key,
            value: "A".to_owned(),
            over,
        },
    })
}

fn timer() -> impl Strategy<Value = Timer> {
    node().prop_flat_map(|peer| prop_oneof![Just(Timer::Gossip(peer)), Just(Timer::Rumour(peer))])
}

fn one_move() -> impl Strategy<Value = Move<Gossip>> {
    prop_oneof![
        4 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        2 => timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 1..4_usize,
        siblings in any::<bool>(),
        moves in vec(one_move(), 0..60),
    ) {
        let conflicts = if siblings { Conflicts::Siblings } else { Conflicts::LastWriterWins };
        let machine = Gossip { me: NodeId(me), ..machine(members, conflicts) };
        laws::check(&machine, moves);
    }
}
