//! The singleton service: one writer per epoch whatever its detectors believe, and it runs again.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::{Map, NodeSet};
use quorate::lease::{self, Ending, Epoch, Lease, Request};
use quorate::machine::{Input, Machine, NodeId, Output, boot, step};
use quorate::singleton::{Call, Event, Message, Role, Singleton, Timer};
use quorate::split_brain::{Roster, Strategy as Rules};
use quorate_models::laws::{self, Move};
use quorate_models::singleton::{ASIDE, NEVER_FALL, ONE_WRITER, RUNS_AGAIN};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn promises_hold_when_both_nodes_believe_that_they_are_alone() {
    holds("singleton", "split", 19_050);
}

#[test]
fn promises_hold_with_a_crash() {
    holds("singleton", "crash", 130_316);
}

#[test]
fn the_service_runs_again_after_healing() {
    holds("singleton", "healing", 113_698);
}

#[test]
fn one_writer_falls_when_a_view_is_enough() {
    refutes("singleton", "no-lease", ONE_WRITER);
}

#[test]
fn one_writer_falls_when_the_token_is_not_kept() {
    refutes("singleton", "token-forgotten", ONE_WRITER);
}

#[test]
fn one_writer_falls_when_the_disk_lies() {
    refutes("singleton", "lying-disk", ONE_WRITER);
}

#[test]
fn accepted_tokens_fall_without_the_fence() {
    refutes("singleton", "no-fence", NEVER_FALL);
}

#[test]
fn accepted_tokens_fall_when_the_resource_forgets_its_fence() {
    refutes("singleton", "fence-forgotten", NEVER_FALL);
}

#[test]
fn aside_is_aside_falls_when_the_lease_is_enough() {
    refutes("singleton", "aside-writes", ASIDE);
}

#[test]
fn the_service_runs_again_falls_when_nobody_asks_again() {
    refutes("singleton", "asks-once", RUNS_AGAIN);
}

#[test]
fn a_small_world_has_the_same_states_under_full_equality_and_under_stateright() {
    audits("singleton", "split");
}

const AUTHORITY: NodeId = NodeId(2);
const RESOURCE: NodeId = NodeId(3);

fn node(me: u64, strategy: Rules) -> Singleton {
    Singleton {
        lease: Lease {
            me: NodeId(me),
            authority: AUTHORITY,
            resource: RESOURCE,
            holders: NodeSet::first(2),
            term_ms: 10_000,
            drift_ms: 500,
            attempts: 2,
        },
        strategy,
        settle_ms: 5_000,
        turn_ms: 10_000,
        asks: 3,
    }
}

fn sees(nodes: &[u64]) -> Call {
    let seen: NodeSet = nodes.iter().map(|node| NodeId(*node)).collect();
    let reports: Map<NodeId, NodeSet> = seen.iter().map(|node| (node, seen)).collect();
    let roster = Roster {
        up: NodeSet::first(2),
        ..Roster::default()
    };
    Call::Sees { roster, reports }
}

/// What a node tells when it is given these inputs, one after the other.
fn told(machine: &Singleton, inputs: impl IntoIterator<Item = Input<Singleton>>) -> Vec<Event> {
    let mut state = boot(machine, lease::Durable::default()).state;
    let mut told = Vec::new();
    for input in inputs {
        let after = step(machine, state, input);
        state = after.state;
        let disk = |_: &[_]| Ok::<(), ()>(());
        let outputs = after.sealed.persist(disk).expect("a disk");
        told.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        }));
    }
    told
}

/// What a node is to do once what it sees has settled.
fn role(me: u64, seen: &[u64], strategy: Rules) -> Option<Role> {
    let inputs = [Input::Call(sees(seen)), Input::Timer(Timer::Settle)];
    let mut told = told(&node(me, strategy), inputs).into_iter();
    told.find_map(|event| match event {
        Event::Decided(role) => Some(role),
        Event::Lease(_) => None,
    })
}

#[test]
fn the_lowest_of_a_side_is_to_run_and_the_smaller_side_waits_for_its_turn() {
    let by_lease = |me, seen: &[u64]| role(me, seen, Rules::LeaseMajority);
    assert_eq!(by_lease(0, &[0, 1]), Some(Role::Runs));
    assert_eq!(by_lease(1, &[0, 1]), None, "it is aside as it booted");
    assert_eq!(by_lease(0, &[0]), Some(Role::Runs), "it has the tie-break");
    assert_eq!(by_lease(1, &[1]), Some(Role::Second));
    assert_eq!(by_lease(1, &[0]), None, "it does not see itself");
}

#[test]
fn by_a_majority_the_smaller_side_does_not_run_at_all() {
    assert_eq!(role(0, &[0], Rules::KeepMajority), Some(Role::Runs));
    assert_eq!(role(1, &[1], Rules::KeepMajority), None);
    assert_eq!(role(0, &[0], Rules::DownAll), None);
}

#[test]
fn what_a_node_asks_for_itself_is_not_answered_to_its_callers() {
    let granted = lease::Message::Granted {
        request: Request {
            incarnation: 1,
            number: 1,
        },
        epoch: Epoch(1),
    };
    let inputs = [
        Input::Call(sees(&[0, 1])),
        Input::Timer(Timer::Settle),
        Input::Message {
            from: AUTHORITY,
            message: Message::Lease(granted),
        },
    ];
    let told = told(&node(0, Rules::LeaseMajority), inputs);
    assert_eq!(told.len(), 3, "it decided, asked and holds: {told:?}");
}

#[test]
fn a_node_that_is_aside_refuses_to_write() {
    let ticket = 7;
    let value = String::new();
    let told = told(
        &node(1, Rules::LeaseMajority),
        [Input::Call(Call::Write { ticket, value })],
    );
    let ending = Ending::NotHolding;
    assert_eq!(told, [Event::Lease(lease::Event::Done { ticket, ending })]);
}

#[test]
fn a_lease_is_renewed_before_it_is_over() {
    let machine = node(0, Rules::LeaseMajority);
    let stop = machine.delay(&Timer::Lease(lease::Timer::Stop(1)));
    assert!(machine.delay(&Timer::Tend).end < stop.start);
}

fn some_message() -> impl Strategy<Value = lease::Message> {
    let request = (0..3_u64, 0..4_u64).prop_map(|(incarnation, number)| Request {
        incarnation,
        number,
    });
    let epoch = || (0..4_u64).prop_map(Epoch);
    prop_oneof![
        (request.clone(), proptest::option::of(epoch()))
            .prop_map(|(request, renews)| lease::Message::Ask { request, renews }),
        (request.clone(), epoch())
            .prop_map(|(request, epoch)| lease::Message::Granted { request, epoch }),
        request.prop_map(|request| lease::Message::Denied { request }),
        (epoch(), 0..3_u64).prop_map(|(epoch, number)| lease::Message::Write {
            epoch,
            number,
            value: String::new(),
        }),
        (epoch(), 0..3_u64).prop_map(|(epoch, number)| lease::Message::Written { epoch, number }),
        epoch().prop_map(|epoch| lease::Message::Fenced { epoch }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Singleton>> {
    let sights = prop::sample::select(vec![vec![0], vec![1], vec![0, 1], vec![]]);
    let calls = prop_oneof![
        2 => sights.prop_map(|seen: Vec<u64>| sees(&seen)),
        1 => any::<u64>().prop_map(|ticket| Call::Write { ticket, value: String::new() }),
    ];
    let timers = prop_oneof![
        3 => Just(Timer::Settle),
        1 => Just(Timer::Turn),
        2 => Just(Timer::Tend),
        1 => Just(Timer::Lease(lease::Timer::Expire)),
        1 => (0..4_u64).prop_map(|number| Timer::Lease(lease::Timer::Stop(number))),
        1 => Just(Timer::Lease(lease::Timer::Retry)),
        1 => Just(Timer::Lease(lease::Timer::Again)),
    ];
    prop_oneof![
        3 => calls.prop_map(|call| Move::Input(Input::Call(call))),
        8 => (0..5_u64, some_message()).prop_map(|(from, message)| {
            let message = Message::Lease(message);
            Move::Input(Input::Message { from: NodeId(from), message })
        }),
        5 => timers.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(me in 0..5_u64, moves in vec(one_move(), 0..80)) {
        laws::check(&node(me, Rules::LeaseMajority), moves);
    }
}
