//! The cache: what is promised, what breaks it, and what it answers from memory.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::cache::{
    Age, Cache, Call, Durable, Event, Fallback, Message, Need, Reach, Request, Timer, Version,
};
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId, Output, Step, boot, step};
use quorate_models::cache;
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn every_promise_holds_of_one_cache() {
    holds("cache", "one-cache", 9_555);
}

#[test]
fn every_promise_holds_of_two_caches() {
    holds("cache", "two-caches", 401_305);
}

#[test]
fn every_promise_holds_when_the_store_itself_is_asked() {
    holds("cache", "current", 21_659);
}

#[test]
fn every_promise_holds_when_a_get_falls_back() {
    holds("cache", "falls-back", 10_686);
}

#[test]
fn every_promise_holds_with_a_crash() {
    holds("cache", "crash", 50_790);
}

#[test]
fn every_promise_holds_when_two_put() {
    holds("cache", "two-puts", 25_785);
}

#[test]
fn the_counts_are_those_of_stateright_and_of_full_equality() {
    audits("cache", "falls-back");
}

#[test]
fn what_is_forgotten_never_mattered() {
    discharges(cache::obligations());
}

#[test]
fn everywhere_falls_when_a_stale_value_is_set() {
    refutes("cache", "stale-set", cache::EVERYWHERE);
}

#[test]
fn everywhere_falls_when_it_is_said_at_once() {
    refutes("cache", "said-at-once", cache::EVERYWHERE);
}

#[test]
fn everywhere_falls_when_a_silent_cache_is_taken_for_empty() {
    refutes("cache", "silent-is-gone", cache::EVERYWHERE);
}

#[test]
fn its_age_falls_when_it_is_counted_from_the_answer() {
    refutes("cache", "age-from-answer", cache::AGE);
}

#[test]
fn its_age_falls_when_nothing_ages() {
    refutes("cache", "never-ages", cache::AGE);
}

#[test]
fn its_bound_falls_when_nobody_asked_for_it() {
    refutes("cache", "falls-back-unasked", cache::BOUND);
}

#[test]
fn its_bound_falls_when_it_falls_back_too_far() {
    refutes("cache", "falls-back-too-far", cache::BOUND);
}

#[test]
fn current_falls_when_a_fallback_is_passed_off_as_such() {
    refutes("cache", "says-current", cache::CURRENT);
}

#[test]
fn current_falls_when_it_joins_any_request() {
    refutes("cache", "joins-any", cache::CURRENT);
}

#[test]
fn current_falls_when_names_begin_anew() {
    refutes("cache", "incarnation-forgotten", cache::CURRENT);
}

#[test]
fn never_back_falls_when_any_answer_will_do() {
    refutes("cache", "any-answer", cache::NEVER_BACK);
}

#[test]
fn puts_are_done_once_falls_when_they_are_done_again() {
    refutes("cache", "puts-again", cache::DONE_ONCE);
}

#[test]
fn calls_return_falls_without_patience() {
    refutes("cache", "no-patience", cache::CALLS_RETURN);
}

#[test]
fn what_was_put_falls_when_the_disk_lies() {
    refutes("cache", "lying-disk", cache::WHAT_WAS_PUT);
}

/// The store, or one of two caches, with a lifetime of one tick.
fn node(me: u64) -> Cache {
    Cache {
        me: NodeId(me),
        store: NodeId(0),
        caches: [NodeId(1), NodeId(2)].into_iter().collect::<NodeSet>(),
        lifetime_ticks: 1,
        kept_ticks: 3,
        tick_ms: 100,
    }
}

/// What a cache says when it is given these inputs, one after the other.
fn said(inputs: impl IntoIterator<Item = Input<Cache>>) -> Vec<Output<Cache>> {
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

fn get(ticket: u64, need: Need, fallback: Fallback) -> Input<Cache> {
    Input::Call(Call::Get {
        ticket,
        key: "k".into(),
        need,
        fallback,
    })
}

fn fetched(number: u64, version: u64) -> Input<Cache> {
    Input::Message {
        from: NodeId(0),
        message: Message::Fetched {
            request: request(number),
            key: "k".into(),
            version: Version(version),
            value: Some("green".into()),
        },
    }
}

fn request(number: u64) -> Request {
    Request {
        incarnation: 1,
        number,
    }
}

fn ages(outputs: &[Output<Cache>]) -> Vec<Age> {
    let age = |output: &Output<Cache>| match output {
        Output::Event(Event::Got { age, .. }) => Some(*age),
        Output::Event(_) | Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    };
    outputs.iter().filter_map(age).collect()
}

fn fetches(outputs: &[Output<Cache>]) -> usize {
    let asks = |output: &&Output<Cache>| {
        matches!(
            output,
            Output::Send {
                message: Message::Fetch { .. },
                ..
            }
        )
    };
    outputs.iter().filter(asks).count()
}

const TICK: Input<Cache> = Input::Timer(Timer::Tick);

#[test]
fn one_request_serves_all_who_ask_for_the_same() {
    let cached = |ticket| get(ticket, Need::Cached, Fallback::Never);
    let outputs = said([cached(0), cached(1), cached(2), fetched(1, 1), cached(3)]);
    assert_eq!(fetches(&outputs), 1);
    let joined = Age::Ticks(0);
    assert_eq!(ages(&outputs), [Age::Current, joined, joined, joined]);
}

#[test]
fn a_value_is_served_for_its_lifetime_and_then_asked_for_again() {
    let cached = |ticket| get(ticket, Need::Cached, Fallback::Never);
    let inputs = [cached(0), fetched(1, 1), TICK, cached(1), TICK, cached(2)];
    let outputs = said(inputs);
    assert_eq!(ages(&outputs), [Age::Current, Age::Ticks(1)]);
    assert_eq!(fetches(&outputs), 2);
}

#[test]
fn a_silent_store_is_stood_in_for_only_where_that_is_allowed() {
    let old = |fallback| {
        let outputs = said([
            get(0, Need::Cached, Fallback::Never),
            fetched(1, 1),
            TICK,
            TICK,
            get(1, Need::Current, fallback),
            Input::Timer(Timer::Patience(1)),
        ]);
        ages(&outputs).last().copied()
    };
    assert_eq!(old(Fallback::Never), Some(Age::Current), "the first alone");
    assert_eq!(old(Fallback::Within(1)), Some(Age::Current), "it is older");
    assert_eq!(old(Fallback::Within(2)), Some(Age::Ticks(2)));
}

#[test]
fn what_is_older_than_anyone_may_be_told_is_forgotten() {
    let ticks = (0..4).map(|_| TICK);
    let before = [get(0, Need::Cached, Fallback::Never), fetched(1, 1)];
    let after = [
        get(1, Need::Current, Fallback::Within(u32::MAX)),
        Input::Timer(Timer::Patience(1)),
    ];
    let outputs = said(before.into_iter().chain(ticks).chain(after));
    assert_eq!(
        outputs.last(),
        Some(&Output::Event(Event::Unanswered { ticket: 1 }))
    );
}

fn some_key() -> impl Strategy<Value = String> {
    "[kl]"
}

fn some_request() -> impl Strategy<Value = Request> {
    (0..3_u64, 0..5_u64).prop_map(|(incarnation, number)| Request {
        incarnation,
        number,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let version = || prop_oneof![8 => 0..4_u64, 1 => any::<u64>()].prop_map(Version);
    let reach = prop_oneof![Just(Reach::Everywhere), Just(Reach::Store)];
    prop_oneof![
        (some_request(), some_key()).prop_map(|(request, key)| Message::Fetch { request, key }),
        (
            some_request(),
            some_key(),
            version(),
            proptest::option::of("[ab]")
        )
            .prop_map(|(request, key, version, value)| Message::Fetched {
                request,
                key,
                version,
                value
            }),
        (some_request(), some_key(), "[ab]").prop_map(|(request, key, value)| Message::Write {
            request,
            key,
            value
        }),
        (some_request(), reach).prop_map(|(request, reach)| Message::Written { request, reach }),
        (some_key(), version()).prop_map(|(key, version)| Message::Void { key, version }),
        (some_key(), version()).prop_map(|(key, version)| Message::Voided { key, version }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Cache>> {
    let need = prop_oneof![Just(Need::Current), Just(Need::Cached)];
    let fallback = prop_oneof![Just(Fallback::Never), (0_u32..5).prop_map(Fallback::Within)];
    let calls = prop_oneof![
        (0_u64..5, some_key(), need, fallback).prop_map(|(ticket, key, need, fallback)| {
            Call::Get {
                ticket,
                key,
                need,
                fallback,
            }
        }),
        (0_u64..5, some_key(), "[ab]").prop_map(|(ticket, key, value)| Call::Put {
            ticket,
            key,
            value
        }),
    ];
    let timer = prop_oneof![
        Just(Timer::Tick),
        (0_u64..5).prop_map(Timer::Patience),
        (some_key(), 0_u64..4).prop_map(|(key, version)| Timer::Settle(key, Version(version))),
    ];
    prop_oneof![
        4 => calls.prop_map(|call| Move::Input(Input::Call(call))),
        6 => (0_u64..3, message()).prop_map(|(from, message)| {
            Move::Input(Input::Message { from: NodeId(from), message })
        }),
        4 => timer.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(me in 0_u64..4, moves in vec(one_move(), 0..80)) {
        laws::check(&node(me), moves);
    }
}
