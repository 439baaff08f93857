//! The CAP store: consistent or available, each promise holds, and each falls when something is taken
//! away.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::cap::{
    Call, Cap, Durable, Effect, Epoch, Event, KEY_BYTES_MAX, Level, Message, Operation,
    PENDING_MAX, Refusal, Setting, Tag, Timer, VALUE_BYTES_MAX, Version,
};
use quorate::clock::Stamp;
use quorate::data::{Map, NodeSet};
use quorate::machine::{Durable as _, Input, NodeId, Output, State, Step, boot, step};
use quorate_models::cap::{
    ALONE, AVAILABLE, BOTH, CALLS_RETURN, CONVERGENCE, Calls, EFFECTS_LATER, EPOCH_ONCE,
    LINEARIZABLE, MAJORITY_SERVES, MINORITY, NOT_BACK, ONE_VALUE, READS_NOT_BACK, REFUSED,
    RETURN_ONCE, RYW, STAYS, is_sequential, obligations, wrong_obligations,
};
use quorate_models::history::{OperationId, RegisterCall, RegisterReply};
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn cp_keeps_its_promises() {
    holds("cap", "cp", 25_717);
}

#[test]
fn cp_keeps_its_promises_to_a_client_that_gets_twice() {
    holds("cap", "cp-two-gets", 234_707);
}

#[test]
fn cp_keeps_its_promises_with_one_crash_and_one_cut() {
    holds("cap", "cp-crash-and-cut", 963_956);
}

#[test]
fn cp_keeps_its_promises_with_two_writers() {
    holds("cap", "cp-two-writers", 559_431);
}

#[test]
fn cp_keeps_its_promises_to_a_client_that_deletes() {
    holds("cap", "cp-in-a-row", 474_298);
}

#[test]
fn a_majority_serves_with_one_crash_and_one_cut() {
    holds("cap", "cp-majority", 293_216);
}

#[test]
fn majorities_keep_their_promises_without_a_leader() {
    holds("cap", "majorities", 47_282);
}

#[test]
fn ap_keeps_its_promises() {
    holds("cap", "ap", 1_351);
}

#[test]
fn ap_keeps_its_promises_with_one_crash_and_one_cut() {
    holds("cap", "ap-crash-and-cut", 1_051_148);
}

#[test]
fn ap_keeps_its_promises_to_clients_that_delete() {
    holds("cap", "ap-two-nodes", 237_546);
}

#[test]
fn a_minority_acknowledges_when_only_the_reachable_count() {
    refutes("cap", "majority-of-the-reachable", MINORITY);
}

#[test]
fn linearizable_falls_when_a_get_counts_nothing() {
    refutes("cap", "get-counts-nothing", LINEARIZABLE);
}

#[test]
fn linearizable_falls_without_write_back() {
    refutes("cap", "no-write-back", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_a_leader_does_not_ask() {
    refutes("cap", "leads-without-asking", LINEARIZABLE);
}

#[test]
fn a_minority_acknowledges_when_what_is_discarded_counts() {
    refutes("cap", "discarded-is-acknowledged", MINORITY);
}

#[test]
fn refused_writes_take_effect_when_effects_are_denied() {
    refutes("cap", "effect-denied", REFUSED);
}

#[test]
fn a_majority_serves_falls_when_the_leader_is_fixed() {
    refutes("cap", "fixed-leader", MAJORITY_SERVES);
}

#[test]
fn a_majority_serves_falls_when_absence_is_no_answer() {
    refutes("cap", "absence-is-no-answer", MAJORITY_SERVES);
}

#[test]
fn an_epoch_begins_twice_when_a_restart_forgets_it() {
    refutes("cap", "epoch-forgotten", EPOCH_ONCE);
}

#[test]
fn a_minority_acknowledges_when_nothing_is_kept() {
    refutes("cap", "nothing-kept", MINORITY);
}

#[test]
fn linearizable_falls_when_names_repeat_after_a_restart() {
    refutes("cap", "incarnation-forgotten", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_a_put_is_sent_again_under_a_later_epoch() {
    refutes("cap", "sent-again-later", LINEARIZABLE);
}

#[test]
fn calls_return_twice_when_late_acknowledgements_are_answered() {
    refutes("cap", "answered-twice", RETURN_ONCE);
}

#[test]
fn calls_return_falls_without_alarms() {
    refutes("cap", "no-alarms", CALLS_RETURN);
}

#[test]
fn effects_are_later_falls_with_local_counters() {
    refutes("cap", "local-counter", EFFECTS_LATER);
}

#[test]
fn acknowledged_writes_stay_falls_when_puts_do_not_compare() {
    refutes("cap", "puts-do-not-compare", STAYS);
}

#[test]
fn effects_are_later_falls_with_wall_clocks() {
    refutes("cap", "wall-clock", EFFECTS_LATER);
}

#[test]
fn convergence_falls_without_a_tie_break() {
    refutes("cap", "no-tie-break", CONVERGENCE);
}

#[test]
fn convergence_falls_when_others_are_told_once() {
    refutes("cap", "told-once", CONVERGENCE);
}

#[test]
fn convergence_falls_when_healing_empties_the_group() {
    refutes("cap", "shared-group", CONVERGENCE);
}

#[test]
fn answers_go_back_without_tombstones() {
    refutes("cap", "no-tombstones", NOT_BACK);
}

#[test]
fn acknowledged_writes_go_when_nothing_is_kept() {
    refutes("cap", "nothing-kept-in-ap", STAYS);
}

#[test]
fn available_falls_for_cp_in_a_minority() {
    refutes("cap", "cp-in-a-minority", AVAILABLE);
}

#[test]
fn cp_is_not_both_during_a_cut() {
    refutes("cap", "cp-is-not-both", BOTH);
}

#[test]
fn ap_is_not_both_during_a_cut() {
    refutes("cap", "ap-is-not-both", BOTH);
}

#[test]
fn linearizable_falls_for_ap() {
    refutes("cap", "ap-is-not-linearizable", LINEARIZABLE);
}

#[test]
fn read_your_writes_falls_for_ap_when_the_client_moves() {
    refutes("cap", "ap-moving-writer", RYW);
}

#[test]
fn reads_of_a_client_go_back_for_ap_when_it_moves() {
    refutes("cap", "ap-moving-reader", READS_NOT_BACK);
}

#[test]
fn answers_alone_falls_when_a_majority_must_answer() {
    refutes("cap", "asks-a-majority", ALONE);
}

#[test]
fn read_your_writes_falls_when_all_means_all_that_are_reachable() {
    refutes("cap", "all-of-the-reachable", RYW);
}

#[test]
fn linearizable_falls_when_the_disk_lies() {
    refutes("cap", "lying-disk", LINEARIZABLE);
}

#[test]
fn a_tag_names_two_values_when_the_disk_lies() {
    refutes("cap", "lying-disk-in-ap", ONE_VALUE);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_rise_when_epochs_are_forgotten() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["cp", "ap"] {
        audits("cap", world);
    }
}

fn node_of(me: u64, setting: Setting) -> Cap {
    Cap {
        me: NodeId(me),
        members: NodeSet::first(3),
        setting,
    }
}

fn put(ticket: u64, key: &str, value: &str) -> Input<Cap> {
    let (key, value) = (key.to_owned(), value.to_owned());
    Input::Call(Call::Put { ticket, key, value })
}

fn get(ticket: u64, key: &str) -> Input<Cap> {
    let key = key.to_owned();
    Input::Call(Call::Get { ticket, key })
}

fn booted(machine: &Cap) -> State<Cap> {
    boot(machine, Durable::default()).state
}

/// What a node does when it is given this.
fn given(machine: &Cap, state: &mut State<Cap>, input: Input<Cap>) -> Vec<Output<Cap>> {
    let Step {
        state: next,
        sealed,
    } = step(machine, state.clone(), input);
    *state = next;
    sealed.persist(|_| Ok::<(), ()>(())).expect("a disk")
}

fn told(outputs: &[Output<Cap>]) -> Vec<&Event> {
    let events = outputs.iter().filter_map(|output| match output {
        Output::Event(event) => Some(event),
        Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    });
    events.collect()
}

#[test]
fn ap_answers_in_the_step_in_which_it_is_asked_and_sends_nothing() {
    let machine = node_of(0, Setting::AP);
    let mut state = booted(&machine);
    let sends = |outputs: &[Output<Cap>]| {
        (outputs.iter()).any(|output| matches!(output, Output::Send { .. }))
    };
    let outputs = given(&machine, &mut state, put(0, "x", "A"));
    assert!(matches!(
        told(&outputs)[..],
        [Event::Done { ticket: 0, .. }]
    ));
    assert!(!sends(&outputs));
    let outputs = given(&machine, &mut state, get(1, "x"));
    let found = Some("A".to_owned());
    assert!(matches!(told(&outputs)[..], [Event::Got { ticket: 1, value, .. }] if *value == found));
    assert!(!sends(&outputs));
    let (ticket, key) = (2, "x".to_owned());
    given(
        &machine,
        &mut state,
        Input::Call(Call::Delete { ticket, key }),
    );
    let outputs = given(&machine, &mut state, get(3, "x"));
    assert!(matches!(
        told(&outputs)[..],
        [Event::Got {
            ticket: 3,
            value: None,
            ..
        }]
    ));
}

/// A put that nobody was asked to store will never happen; one that somebody was asked to store may.
#[test]
fn a_refusal_says_whether_the_put_may_happen_all_the_same() {
    let machine = node_of(0, Setting::CP);
    let mut state = booted(&machine);
    let effect = |outputs: &[Output<Cap>]| match told(outputs)[..] {
        [
            Event::Refused {
                refusal: Refusal::Unavailable,
                effect,
                ..
            },
        ] => Some(*effect),
        _ => None,
    };
    given(&machine, &mut state, put(0, "x", "A"));
    let outputs = given(&machine, &mut state, Input::Timer(Timer::GiveUp(0)));
    assert_eq!(effect(&outputs), Some(Effect::None));
    given(&machine, &mut state, put(1, "x", "B"));
    let answer = Message::Answer {
        operation: Operation {
            incarnation: 1,
            number: 1,
        },
        version: Version::default(),
    };
    let from = NodeId(2);
    let outputs = given(
        &machine,
        &mut state,
        Input::Message {
            from,
            message: answer,
        },
    );
    assert!(matches!(told(&outputs)[..], [Event::Elected { .. }]));
    let outputs = given(&machine, &mut state, Input::Timer(Timer::GiveUp(1)));
    assert_eq!(effect(&outputs), Some(Effect::Unknown));
}

#[test]
fn a_cluster_of_one_leads_itself() {
    let machine = Cap {
        members: NodeSet::first(1),
        ..node_of(0, Setting::CP)
    };
    let mut state = booted(&machine);
    let outputs = given(&machine, &mut state, put(0, "x", "A"));
    assert!(matches!(
        told(&outputs)[..],
        [Event::Elected { .. }, Event::Done { ticket: 0, .. }]
    ));
    let outputs = given(&machine, &mut state, get(1, "x"));
    assert!(matches!(
        told(&outputs)[..],
        [Event::Got {
            ticket: 1,
            value: Some(_),
            ..
        }]
    ));
}

#[test]
fn what_cannot_be_done_is_refused_at_once() {
    let machine = node_of(0, Setting::CP);
    let mut state = booted(&machine);
    let refusal = |outputs: &[Output<Cap>]| match told(outputs)[..] {
        [
            Event::Refused {
                refusal,
                effect: Effect::None,
                ..
            },
        ] => Some(*refusal),
        _ => None,
    };
    let (key, value) = ("k".repeat(KEY_BYTES_MAX), "v".repeat(VALUE_BYTES_MAX));
    let outputs = given(&machine, &mut state, put(0, &format!("{key}k"), "A"));
    assert_eq!(refusal(&outputs), Some(Refusal::TooLong));
    let outputs = given(&machine, &mut state, put(1, "x", &format!("{value}v")));
    assert_eq!(refusal(&outputs), Some(Refusal::TooLong));
    for ticket in 0..PENDING_MAX as u64 {
        assert_eq!(
            refusal(&given(&machine, &mut state, put(ticket, &key, &value))),
            None
        );
    }
    let outputs = given(&machine, &mut state, get(9, "x"));
    assert_eq!(refusal(&outputs), Some(Refusal::Busy));
}

/// Part by part, and round and round, another node is told everything.
#[test]
fn anti_entropy_tells_everything_in_parts_that_fit() {
    let (one, other) = (node_of(0, Setting::AP), node_of(1, Setting::AP));
    let (mut here, mut there) = (booted(&one), booted(&other));
    let keys: Vec<String> = (10..40).map(|key| key.to_string()).collect();
    for (ticket, key) in (0..).zip(&keys) {
        given(&one, &mut here, put(ticket, key, &"v".repeat(200)));
    }
    let mut parts = 0;
    while here.durable.versions != there.durable.versions {
        parts += 1;
        for output in given(&one, &mut here, Input::Timer(Timer::Spread(NodeId(1)))) {
            if let Output::Send { message, .. } = output {
                let bytes = postcard::to_stdvec(&message).expect("it can be encoded");
                assert!(bytes.len() <= 1_100, "{} bytes", bytes.len());
                let from = NodeId(0);
                given(&other, &mut there, Input::Message { from, message });
            }
        }
    }
    assert_eq!(parts, 10, "three to a part");
    assert_eq!(
        here.durable.time, there.durable.time,
        "and what it writes next is later"
    );
}

/// A datagram has 1,200 bytes, of which a frame takes less than a tenth.
#[test]
fn the_longest_messages_fit_a_datagram() {
    let epoch = Epoch {
        number: u64::MAX,
        leader: Some(NodeId(63)),
    };
    let version = Version {
        tag: Tag {
            epoch,
            stamp: Some(Stamp {
                time: u64::MAX,
                node: NodeId(63),
            }),
        },
        value: Some("v".repeat(VALUE_BYTES_MAX)),
    };
    let key = "k".repeat(KEY_BYTES_MAX);
    let operation = Operation {
        incarnation: u64::MAX,
        number: u64::MAX,
    };
    let versions = vec![(key.clone(), version.clone())];
    let store = Message::Store {
        operation,
        key,
        version,
    };
    for message in [store, Message::Spread { versions }] {
        let bytes = postcard::to_stdvec(&message).expect("it can be encoded");
        assert!(bytes.len() <= 1_100, "{} bytes", bytes.len());
    }
}

#[test]
fn every_part_of_the_disk_is_a_change_of_it() {
    let older = Durable::default();
    let mut newer = Durable {
        incarnation: 1,
        epoch: Epoch {
            number: 2,
            leader: Some(NodeId(1)),
        },
        time: 3,
        ..Durable::default()
    };
    newer.versions.insert("x".to_owned(), Version::default());
    let mut journal = older.clone();
    for change in newer.changes_since(&older) {
        journal.apply(change);
    }
    assert_eq!(journal, newer);
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..4_u64, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    let epoch = (time(), proptest::option::of(node()));
    let epoch = epoch.prop_map(|(number, leader)| Epoch { number, leader });
    prop_oneof![1 => Just(Epoch::default()), 3 => epoch]
}

fn version() -> impl Strategy<Value = Version> {
    let value = prop_oneof![8 => "[AB]", 1 => "v{769}"];
    let stamp = (time(), node()).prop_map(|(time, node)| Stamp { time, node });
    let parts = (
        epoch(),
        proptest::option::of(stamp),
        proptest::option::of(value),
    );
    parts.prop_map(|(epoch, stamp, value)| Version {
        tag: Tag { epoch, stamp },
        value,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    (0..3_u64, 0..6_u64).prop_map(|(incarnation, number)| Operation {
        incarnation,
        number,
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[xy]", 1 => "k{129}"]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => (operation(), epoch(), key()).prop_map(|(operation, epoch, key)| Message::Ask {
            operation,
            epoch,
            key
        }),
        4 => (operation(), version())
            .prop_map(|(operation, version)| Message::Answer { operation, version }),
        2 => (operation(), key(), version()).prop_map(|(operation, key, version)| Message::Store {
            operation,
            key,
            version
        }),
        3 => operation().prop_map(|operation| Message::Stored { operation }),
        1 => (operation(), epoch())
            .prop_map(|(operation, epoch)| Message::Behind { operation, epoch }),
        1 => vec((key(), version()), 0..3).prop_map(|versions| Message::Spread { versions }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    (any::<u64>(), key(), 0..3_u8).prop_map(|(ticket, key, kind)| match kind {
        0 => Call::Get { ticket, key },
        1 => Call::Delete { ticket, key },
        _ => Call::Put {
            ticket,
            key,
            value: "A".to_owned(),
        },
    })
}

fn timer() -> impl Strategy<Value = Timer> {
    prop_oneof![
        (0..6_u64).prop_map(Timer::Retry),
        (0..6_u64).prop_map(Timer::GiveUp),
        node().prop_map(Timer::Spread),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Cap>> {
    prop_oneof![
        4 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        2 => timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    let level = || prop_oneof![Just(Level::Local), Just(Level::Quorum), Just(Level::All)];
    prop_oneof![
        (0..3_u32).prop_map(|claims_max| Setting::Leader { claims_max }),
        (level(), level()).prop_map(|(reads, writes)| Setting::Leaderless { reads, writes }),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 1..4_usize,
        setting in setting(),
        moves in vec(one_move(), 0..60),
    ) {
        let members = NodeSet::first(members);
        laws::check(&Cap { me: NodeId(me), members, setting }, moves);
    }
}

fn putting(value: &str) -> RegisterCall<Option<String>> {
    RegisterCall::Put(Some(value.to_owned()))
}

fn found(value: &str) -> RegisterReply<Option<String>> {
    RegisterReply::Value(Some(value.to_owned()))
}

/// Who, what, and the reply.
type Turn = (
    u64,
    RegisterCall<Option<String>>,
    Option<RegisterReply<Option<String>>>,
);

/// One after the other.
fn in_a_row(steps: &[Turn]) -> bool {
    let mut calls = Calls::default();
    let mut client_of = Map::new();
    for (ticket, (client, call, reply)) in (0..).zip(steps) {
        client_of.insert(ticket, *client);
        calls.called(OperationId(ticket), call.clone()).unwrap();
        if let Some(reply) = reply {
            calls.returned(OperationId(ticket), reply.clone()).unwrap();
        }
    }
    is_sequential(&calls, &client_of)
}

#[test]
fn a_stale_read_of_another_client_is_sequential() {
    let done = Some(RegisterReply::Done);
    assert!(in_a_row(&[
        (0, putting("A"), done),
        (1, RegisterCall::Get, Some(RegisterReply::Value(None))),
    ]));
}

#[test]
fn a_stale_read_of_the_writer_is_not() {
    let done = Some(RegisterReply::Done);
    assert!(!in_a_row(&[
        (0, putting("A"), done),
        (0, RegisterCall::Get, Some(RegisterReply::Value(None))),
    ]));
}

#[test]
fn two_clients_that_see_two_puts_in_two_orders_are_not() {
    let done = || Some(RegisterReply::Done);
    let get = |client, value| (client, RegisterCall::Get, Some(found(value)));
    let puts = [(0, putting("A"), done()), (1, putting("B"), done())];
    let [one, other] = puts;
    let agree = [
        one.clone(),
        other.clone(),
        get(2, "B"),
        get(2, "A"),
        get(3, "B"),
        get(3, "A"),
    ];
    assert!(in_a_row(&agree));
    let disagree = [
        one,
        other,
        get(2, "B"),
        get(2, "A"),
        get(3, "A"),
        get(3, "B"),
    ];
    assert!(!in_a_row(&disagree));
}

#[test]
fn a_put_of_unknown_outcome_may_happen_late_or_never() {
    let lost = (0, putting("A"), None);
    assert!(in_a_row(&[
        lost.clone(),
        (0, RegisterCall::Get, Some(RegisterReply::Value(None)))
    ]));
    assert!(in_a_row(&[
        lost,
        (0, RegisterCall::Get, Some(RegisterReply::Value(None))),
        (0, RegisterCall::Get, Some(found("A"))),
    ]));
}
