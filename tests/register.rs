//! The quorum register: its promises hold, and each falls when something is taken away.

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId};
use quorate::quorum::{QuorumError, Quorums};
use quorate::register::{Call, Message, Operation, Reads, Register, Tag, Timer, Version};
use quorate_models::laws::{self, Move};
use quorate_models::register::{
    CALLS_RETURN, LINEARIZABLE, ONE_VALUE, REGULAR, RETURN_ONCE, mirrored, mirrored_wrongly,
    obligations, with_cuts, wrong_obligations,
};
use quorate_models::shared::fingerprint;
use quorate_models::snapshot::Snapshot;
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn promises_hold_with_two_gets_in_a_row() {
    holds("register", "two-gets", 20_554);
}

#[test]
fn promises_hold_with_two_writers() {
    holds("register", "two-writers", 866_690);
}

#[test]
fn promises_hold_with_two_writers_and_two_readers() {
    holds("register", "two-writers-two-readers", 1_932_981);
}

#[test]
fn promises_hold_when_two_replicas_are_both_needed() {
    holds("register", "two-replicas", 6_637);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("register", "crash", 168_340);
}

#[test]
fn promises_hold_with_two_crashes() {
    holds("register", "two-crashes", 57_079);
}

#[test]
fn promises_hold_with_two_writers_and_a_crash() {
    holds("register", "two-writers-crash", 708_824);
}

#[test]
fn promises_hold_with_one_cut_of_any_shape() {
    holds("register", "cut", 32_144);
}

#[test]
fn promises_hold_when_clients_are_no_replicas() {
    // Without symmetry: 122,202.
    holds("register", "clients-apart", 24_870);
}

#[test]
fn promises_hold_with_five_replicas() {
    holds("register", "five", 420_982);
}

#[test]
fn replicas_at_which_nobody_writes_are_alike() {
    let done = mirrored().expect("each swap of two replicas commutes with everything");
    for discharged in done {
        assert!(discharged.reduced < discharged.states && 0 < discharged.mirrored);
    }
}

#[test]
fn writers_are_not_alike() {
    let complaint = mirrored_wrongly().expect_err("a tie is broken by the writer");
    assert!(complaint.contains("mirror image"), "{complaint}");
}

#[test]
fn promises_hold_when_one_answers_and_all_store() {
    holds("register", "read-one", 6_517);
}

#[test]
fn promises_hold_when_all_answer_and_one_stores() {
    holds("register", "write-one", 8_239);
}

#[test]
fn regular_holds_without_write_back() {
    holds("register", "regular", 17_227);
}

#[test]
fn linearizable_falls_without_write_back() {
    refutes("register", "no-write-back", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_repair_follows_the_answer() {
    refutes("register", "repair-after-the-answer", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_stores_are_unconditional() {
    refutes("register", "unconditional-store", LINEARIZABLE);
}

#[test]
fn linearizable_falls_without_the_query_phase() {
    refutes("register", "no-query-phase", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_the_version_is_not_incremented() {
    refutes("register", "version-not-incremented", LINEARIZABLE);
}

#[test]
fn linearizable_falls_without_a_tie_break() {
    refutes("register", "no-tie-break", LINEARIZABLE);
}

#[test]
fn a_tag_names_one_value_falls_when_the_minted_version_is_forgotten() {
    refutes("register", "mint-and-forget", ONE_VALUE);
}

#[test]
fn linearizable_falls_when_a_late_reply_counts() {
    refutes("register", "late-reply", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_names_repeat_after_a_restart() {
    refutes("register", "incarnation-forgotten", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_a_reply_counts_twice() {
    refutes("register", "reply-counted-twice", LINEARIZABLE);
}

#[test]
fn linearizable_falls_with_a_majority_of_the_reachable() {
    refutes("register", "majority-of-the-reachable", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_the_disk_lies() {
    refutes("register", "lying-disk", LINEARIZABLE);
}

#[test]
fn regular_falls_when_quorums_are_disjoint() {
    refutes("register", "disjoint-quorums", REGULAR);
}

#[test]
fn calls_return_at_most_once_falls_when_late_replies_answer_again() {
    refutes("register", "answered-twice", RETURN_ONCE);
}

#[test]
fn calls_return_falls_when_absence_is_no_answer() {
    refutes("register", "absence-is-no-answer", CALLS_RETURN);
}

#[test]
fn calls_return_falls_without_retries() {
    refutes("register", "no-retries", CALLS_RETURN);
}

/// The states of the nodes and of the clients, whatever the network.
fn node_states(cuts: u32) -> HashSet<u64> {
    let world = with_cuts(cuts);
    let mut seen = HashSet::from([world.initial()]);
    let mut waiting = vec![world.initial()];
    while let Some(last) = waiting.pop() {
        world.each_action(&last, |action| {
            if let Some(next) = world.apply(&last, &action)
                && seen.insert(next.clone())
            {
                waiting.push(next);
            }
        });
    }
    let content = |state: &Snapshot<_, _>| fingerprint(&(&state.nodes, &state.ghost));
    seen.iter().map(content).collect()
}

/// A cut only delays, and the network delays at will: so for safety it adds nothing.
#[test]
fn cuts_add_no_node_state_that_loss_alone_does_not_reach() {
    assert_eq!(node_states(0), node_states(2));
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_rise_when_stores_are_unconditional() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in [
        "two-gets",
        "two-replicas",
        "cut",
        "read-one",
        "write-one",
        "regular",
    ] {
        audits("register", world);
    }
}

#[test]
fn quorums_that_need_not_meet_are_refused() {
    let members = NodeSet::first(3);
    let refused = Quorums::new(members, 1, 2);
    let why = QuorumError::Disjoint {
        read: 1,
        write: 2,
        members: 3,
    };
    assert_eq!(refused, Err(why));
    assert_eq!(Quorums::new(members, 0, 3), Err(QuorumError::Empty));
    let too_large = QuorumError::TooLarge {
        size: 4,
        members: 3,
    };
    assert_eq!(Quorums::new(members, 1, 4), Err(too_large));
    assert_eq!(
        Quorums::majority(NodeSet::EMPTY),
        Err(QuorumError::NoMembers)
    );
    assert!(Quorums::majority(members).is_ok());
}

fn operation() -> impl Strategy<Value = Operation> {
    (0..3_u64, 0..3_u64).prop_map(|(incarnation, number)| Operation {
        incarnation,
        number,
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[xy]", 1 => "z{129}"]
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn version() -> impl Strategy<Value = Version> {
    let number = prop_oneof![8 => 0..4_u64, 1 => Just(u64::MAX)];
    let tag = (number, proptest::option::of(node()));
    (tag, proptest::option::of("[AB]")).prop_map(|((number, writer), value)| Version {
        tag: Tag { number, writer },
        value,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (operation(), key()).prop_map(|(operation, key)| Message::Query { operation, key }),
        (operation(), version())
            .prop_map(|(operation, version)| Message::Answer { operation, version }),
        (operation(), key(), version()).prop_map(|(operation, key, version)| Message::Store {
            operation,
            key,
            version
        }),
        operation().prop_map(|operation| Message::Stored { operation }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (any::<u64>(), key()).prop_map(|(ticket, key)| Call::Get { ticket, key }),
        (any::<u64>(), key(), prop_oneof![8 => "[AB]", 1 => "v{769}"])
            .prop_map(|(ticket, key, value)| Call::Put { ticket, key, value }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Register>> {
    prop_oneof![
        3 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        2 => (0..4_u64).prop_map(|number| Move::Input(Input::Timer(Timer::Retry(number)))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 1..4_usize,
        reads in prop_oneof![Just(Reads::Atomic), Just(Reads::Regular)],
        moves in vec(one_move(), 0..60),
    ) {
        let quorums = Quorums::majority(NodeSet::first(members)).expect("there are members");
        let machine = Register { me: NodeId(me), quorums, reads };
        laws::check(&machine, moves);
    }
}
