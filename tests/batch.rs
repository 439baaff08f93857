//! Batching: what is promised, what breaks it, and when a batch goes.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::batch::{Batch, Call, Durable, Event, Message, Outcome, Refusal, Timer};
use quorate::machine::{Input, Machine as _, NodeId, Output, Step, boot, step};
use quorate_models::batch;
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn every_promise_holds_when_there_is_room() {
    holds("batch", "roomy", 821);
}

#[test]
fn every_promise_holds_when_a_batch_is_done_in_part() {
    holds("batch", "partial", 1_015);
}

#[test]
fn every_promise_holds_when_an_item_is_refused_for_good() {
    holds("batch", "too-long", 655);
}

#[test]
fn every_promise_holds_with_two_batchers() {
    holds("batch", "two-batchers", 8_413);
}

#[test]
fn every_promise_holds_with_two_crashes() {
    holds("batch", "crash", 2_043);
}

#[test]
fn the_counts_are_those_of_stateright_and_of_full_equality() {
    audits("batch", "partial");
    audits("batch", "crash");
}

#[test]
fn what_is_forgotten_never_mattered() {
    discharges(batch::obligations());
}

#[test]
fn done_once_falls_when_a_batch_is_named_anew() {
    refutes("batch", "named-anew", batch::DONE_ONCE);
}

#[test]
fn done_once_falls_without_serials() {
    refutes("batch", "no-serials", batch::DONE_ONCE);
}

#[test]
fn done_once_falls_when_serials_are_not_on_disk() {
    refutes("batch", "serials-not-kept", batch::DONE_ONCE);
}

#[test]
fn order_falls_when_what_fails_is_skipped() {
    refutes("batch", "skips-what-fails", batch::ORDER);
}

#[test]
fn order_falls_when_the_newest_goes_first() {
    refutes("batch", "newest-first", batch::ORDER);
}

#[test]
fn its_own_outcome_falls_when_a_batch_is_all_or_nothing() {
    refutes("batch", "all-or-nothing", batch::ITS_OWN);
}

#[test]
fn its_own_outcome_falls_when_any_answer_will_do() {
    refutes("batch", "any-answer", batch::ITS_OWN);
}

#[test]
fn its_own_outcome_falls_when_one_item_fails_all() {
    refutes("batch", "one-fails-all", batch::ITS_OWN);
}

#[test]
fn its_own_outcome_falls_when_names_begin_anew() {
    refutes("batch", "incarnation-forgotten", batch::ITS_OWN);
}

#[test]
fn answered_once_falls_when_every_answer_is_passed_on() {
    refutes("batch", "answered-again", batch::ANSWERED_ONCE);
}

#[test]
fn bounds_fall_when_the_whole_queue_goes() {
    refutes("batch", "whole-queue", batch::BOUNDS);
}

#[test]
fn calls_return_falls_when_a_batch_waits_until_it_is_full() {
    refutes("batch", "waits-until-full", batch::CALLS_RETURN);
}

#[test]
fn calls_return_falls_without_retries() {
    refutes("batch", "no-retry", batch::CALLS_RETURN);
}

#[test]
fn calls_return_falls_when_the_disk_lies() {
    refutes("batch", "lying-disk", batch::CALLS_RETURN);
}

/// A batcher of three items and ten bytes at a time, that lingers for seven milliseconds.
fn node(me: u64) -> Batch {
    Batch {
        me: NodeId(me),
        server: NodeId(0),
        items_max: 3,
        bytes_max: 10,
        item_bytes_max: 8,
        room: 2,
        linger_ms: 7,
    }
}

/// What a batcher says when it is given these inputs, one after the other.
fn said(inputs: impl IntoIterator<Item = Input<Batch>>) -> Vec<Output<Batch>> {
    let machine = node(1);
    let Step { mut state, .. } = boot(&machine, Durable::default());
    let mut said = Vec::new();
    for input in inputs {
        let after = step(&machine, state, input);
        state = after.state;
        said.extend(after.sealed.persist(|_| Ok::<(), ()>(())).expect("a disk"));
    }
    said
}

fn call(ticket: u64, value: &str) -> Input<Batch> {
    Input::Call(Call {
        ticket,
        value: value.into(),
    })
}

fn taken(first: u64, count: u64) -> Input<Batch> {
    let outcomes = (0..count).map(Outcome::Appended).collect();
    Input::Message {
        from: NodeId(0),
        message: Message::Taken {
            incarnation: 1,
            first,
            outcomes,
        },
    }
}

/// The serial of the first item and the number of items of each batch.
fn batches(outputs: &[Output<Batch>]) -> Vec<(u64, u32)> {
    let sent = |output: &Output<Batch>| match output {
        Output::Event(Event::Sent { first, items, .. }) => Some((*first, *items)),
        Output::Event(_) | Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    };
    outputs.iter().filter_map(sent).collect()
}

fn lingers(outputs: &[Output<Batch>]) -> usize {
    let armed = |output: &&Output<Batch>| matches!(output, Output::Arm(Timer::Linger));
    outputs.iter().filter(armed).count()
}

#[test]
fn a_batch_goes_when_it_has_enough_items() {
    let outputs = said([call(0, "a"), call(1, "b"), call(2, "c")]);
    assert_eq!(batches(&outputs), [(1, 3)]);
}

#[test]
fn a_batch_goes_when_it_has_enough_bytes() {
    let outputs = said([call(0, "aaaaa"), call(1, "bbbbb")]);
    assert_eq!(batches(&outputs), [(1, 2)]);
    let outputs = said([call(0, "aaaaaa"), call(1, "bbbbb")]);
    assert_eq!(batches(&outputs), [(1, 1)], "the second does not fit");
}

/// An item waits for seven milliseconds, however many come after it.
#[test]
fn a_batch_goes_when_it_has_lingered_and_no_call_makes_it_linger_longer() {
    let outputs = said([call(0, "a"), call(1, "b")]);
    assert_eq!((batches(&outputs).len(), lingers(&outputs)), (0, 1));
    assert_eq!(node(1).delay(&Timer::Linger).start.as_millis(), 7);
    let outputs = said([call(0, "a"), call(1, "b"), Input::Timer(Timer::Linger)]);
    assert_eq!(batches(&outputs), [(1, 2)]);
}

#[test]
fn what_gathers_while_a_batch_is_under_way_goes_with_its_answer() {
    let gathers = [
        call(0, "a"),
        Input::Timer(Timer::Linger),
        call(1, "b"),
        call(2, "c"),
        taken(1, 1),
    ];
    assert_eq!(batches(&said(gathers)), [(1, 1), (2, 2)]);
}

#[test]
fn what_was_not_taken_lingers_and_goes_again() {
    let partly = [
        call(0, "a"),
        call(1, "b"),
        call(2, "c"),
        taken(1, 1),
        Input::Timer(Timer::Linger),
    ];
    assert_eq!(batches(&said(partly)), [(1, 3), (2, 2)]);
}

#[test]
fn what_fits_no_batch_is_refused() {
    let refused = |outputs: Vec<Output<Batch>>| {
        let refusal = |output: Output<Batch>| match output {
            Output::Event(Event::Refused { refusal, .. }) => Some(refusal),
            Output::Event(_) | Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        };
        outputs.into_iter().find_map(refusal)
    };
    assert_eq!(refused(said([call(0, "aaaaaaaaaa")])), None);
    assert_eq!(
        refused(said([call(0, "aaaaaaaaaaa")])),
        Some(Refusal::TooLong)
    );
}

fn message() -> impl Strategy<Value = Message> {
    let first = prop_oneof![8 => 0_u64..6, 1 => any::<u64>()];
    let outcome = prop_oneof![
        (0_u64..4).prop_map(Outcome::Appended),
        Just(Outcome::TooLong)
    ];
    prop_oneof![
        (0_u64..3, first.clone(), vec("[ab]{0,9}", 0..5)).prop_map(
            |(incarnation, first, values)| Message::Items {
                incarnation,
                first,
                values
            }
        ),
        (0_u64..3, first, vec(outcome, 0..5)).prop_map(|(incarnation, first, outcomes)| {
            Message::Taken {
                incarnation,
                first,
                outcomes,
            }
        }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Batch>> {
    let call = (0_u64..9, "[ab]{0,11}").prop_map(|(ticket, value)| Call { ticket, value });
    let timer = prop_oneof![Just(Timer::Linger), Just(Timer::Retry), Just(Timer::Drain)];
    prop_oneof![
        4 => call.prop_map(|call| Move::Input(Input::Call(call))),
        4 => (0_u64..3, message()).prop_map(|(from, message)| {
            Move::Input(Input::Message { from: NodeId(from), message })
        }),
        4 => timer.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(me in 0_u64..2, moves in vec(one_move(), 0..80)) {
        laws::check(&node(me), moves);
    }
}
