//! The service and its callers: what is promised, what breaks it, and the values that they are made of.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::machine::{Input, NodeId};
use quorate::service::{
    Add, Breaker, BreakerLimits, Budget, Bulkhead, Call, Counting, Message, Outcome, Permit,
    RECORDS_MAX, Request, RetryLimits, Seen, Service, Session, Sessions, Stage, Tenant, Timer,
};
use quorate_models::laws::{self, Move};
use quorate_models::service;
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn every_promise_holds_when_a_client_asks_again_through_another_caller() {
    holds("service", "sessions", 15_509);
}

#[test]
fn every_promise_holds_when_two_requests_have_one_name() {
    holds("service", "one-name", 4_688);
}

#[test]
fn every_promise_holds_when_results_are_no_longer_kept() {
    holds("service", "collected", 1_233);
}

#[test]
fn every_promise_holds_when_breakers_open_and_probe() {
    holds("service", "breaker", 3_496);
    holds("service", "two-probes", 5_630);
}

#[test]
fn every_promise_holds_when_tenants_share_a_caller() {
    holds("service", "tenants", 2_468);
}

#[test]
fn every_promise_holds_when_retries_are_paid_for() {
    holds("service", "budget", 10214);
}

#[test]
fn every_promise_holds_of_all_of_it_together() {
    holds("service", "composed", 70_904);
}

#[test]
fn the_counts_are_those_of_stateright_and_of_full_equality() {
    for world in ["collected", "breaker", "tenants", "budget"] {
        audits("service", world);
    }
}

#[test]
fn what_is_forgotten_never_mattered() {
    discharges(service::obligations());
    let failure = service::wrong_obligations().expect_err("a wrong rule is found out");
    assert!(failure.contains("dead"), "{failure}");
}

#[test]
fn done_once_falls_without_records() {
    refutes("service", "no-records", service::DONE_ONCE);
}

#[test]
fn done_once_falls_when_records_are_not_on_disk() {
    refutes("service", "records-not-kept", service::DONE_ONCE);
}

#[test]
fn one_result_falls_when_requests_are_told_by_serial_alone() {
    refutes("service", "by-serial-alone", service::ONE_RESULT);
}

#[test]
fn a_name_is_for_one_request_falls_when_nobody_looks_at_what_is_asked() {
    refutes("service", "any-payload", service::A_NAME);
}

#[test]
fn done_once_falls_when_what_was_collected_is_taken_for_new() {
    refutes("service", "collected-is-fresh", service::DONE_ONCE);
}

#[test]
fn one_result_falls_when_the_sum_of_now_is_told() {
    refutes("service", "latest-result", service::ONE_RESULT);
}

#[test]
fn done_once_falls_when_each_attempt_has_a_name() {
    refutes("service", "fresh-names", service::DONE_ONCE);
}

#[test]
fn a_few_probes_falls_when_everyone_probes() {
    refutes("service", "all-probe", service::FEW_PROBES);
}

#[test]
fn nothing_is_left_behind_falls_when_a_lost_probe_keeps_its_place() {
    refutes("service", "lost-probe", service::NOTHING_LEFT);
}

#[test]
fn closed_by_its_own_generation_falls_when_old_results_count() {
    refutes("service", "old-results", service::CLOSED_BY);
}

#[test]
fn open_means_no_attempt_falls_when_retries_pass() {
    refutes("service", "retries-pass", service::OPEN);
}

#[test]
fn nothing_is_left_behind_falls_when_places_leak() {
    refutes("service", "place-leaks", service::NOTHING_LEFT);
}

#[test]
fn shares_are_kept_falls_when_places_are_given_back_twice() {
    refutes("service", "given-back-twice", service::SHARES);
}

#[test]
fn nobody_is_shed_for_another_falls_with_one_pool() {
    refutes("service", "one-pool", service::NOBODY_SHED);
}

#[test]
fn retries_are_paid_for_falls_without_a_budget() {
    refutes("service", "no-budget", service::PAID);
}

#[test]
fn calls_return_falls_without_timeouts() {
    refutes("service", "no-timeout", service::CALLS_RETURN);
}

#[test]
fn done_once_falls_with_a_lying_disk() {
    refutes("service", "lying-disk", service::DONE_ONCE);
}

const LIMITS: BreakerLimits = BreakerLimits {
    failures_max: 2,
    probes_max: 1,
    cool_ms: 500,
};

#[test]
fn a_breaker_opens_cools_probes_and_closes() {
    let mut breaker = Breaker::default();
    let first = breaker.admit(LIMITS).unwrap();
    let second = breaker.admit(LIMITS).unwrap();
    let late = breaker.admit(LIMITS).unwrap();
    assert!(!breaker.failed(first, LIMITS));
    assert!(breaker.failed(second, LIMITS), "two in a row");
    assert_eq!(breaker.admit(LIMITS), None);
    assert!(!breaker.succeeded(late), "it tells of the time before");
    assert!(breaker.cooled());
    let probe = breaker.admit(LIMITS).unwrap();
    assert_eq!(breaker.admit(LIMITS), None, "one probe at a time");
    breaker.abandoned(late);
    assert_eq!(breaker.admit(LIMITS), None, "that was no probe");
    breaker.abandoned(probe);
    let probe = breaker.admit(LIMITS).unwrap();
    assert!(breaker.succeeded(probe));
    assert_eq!(breaker.stage, Stage::Closed { failures: 0 });
    assert!(!breaker.cooled());
}

/// What can happen to a breaker: an attempt, or the end of the attempt at this place.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Admit,
    Succeeds(usize),
    Fails(usize),
    Lost(usize),
    Cools,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Admit),
        (0_usize..8).prop_map(Happens::Succeeds),
        (0_usize..8).prop_map(Happens::Fails),
        (0_usize..8).prop_map(Happens::Lost),
        Just(Happens::Cools),
    ]
}

proptest! {
    /// Whatever happens, a breaker that is half open knows its probes; so it is never wedged.
    #[test]
    fn a_breaker_always_knows_its_probes(
        all in vec(happens(), 0..60), failures_max in 1_u32..4, probes_max in 1_u32..4,
    ) {
        let limits = BreakerLimits { failures_max, probes_max, cool_ms: 500 };
        let mut breaker = Breaker::default();
        let mut permits: Vec<Permit> = Vec::new();
        let take = |permits: &mut Vec<Permit>, place: usize| {
            (place < permits.len()).then(|| permits.swap_remove(place))
        };
        for one in all {
            let before = breaker.generation;
            let changed = match one {
                Happens::Admit => {
                    permits.extend(breaker.admit(limits));
                    false
                }
                Happens::Succeeds(place) => {
                    take(&mut permits, place).is_some_and(|permit| breaker.succeeded(permit))
                }
                Happens::Fails(place) => {
                    take(&mut permits, place).is_some_and(|permit| breaker.failed(permit, limits))
                }
                Happens::Lost(place) => {
                    if let Some(permit) = take(&mut permits, place) {
                        breaker.abandoned(permit);
                    }
                    false
                }
                Happens::Cools => breaker.cooled(),
            };
            prop_assert_eq!(breaker.generation, before + u64::from(changed));
            let present = permits.iter().filter(|permit| permit.generation == breaker.generation);
            let present = u32::try_from(present.count()).unwrap();
            match breaker.stage {
                Stage::Closed { failures } => prop_assert!(failures < failures_max),
                Stage::Open => prop_assert_eq!(present, 0),
                Stage::HalfOpen { probes } => {
                    prop_assert_eq!(probes, present);
                    prop_assert!(probes <= probes_max);
                }
            }
        }
    }

    /// The last one that is admitted is within the share, and places that are given back are there again.
    #[test]
    fn a_bulkhead_keeps_each_share(
        all in vec((any::<bool>(), 0_u32..3), 0..60), share in 0_u32..4,
    ) {
        let mut bulkhead = Bulkhead::default();
        let mut held = [0_u32; 3];
        for (admits, tenant) in all {
            let place = usize::try_from(tenant).unwrap();
            if admits {
                let admitted = bulkhead.admit(Tenant(tenant), share);
                prop_assert_eq!(admitted, held[place] < share);
                held[place] += u32::from(admitted);
            } else {
                bulkhead.release(Tenant(tenant));
                held[place] = held[place].saturating_sub(1);
            }
            prop_assert_eq!(bulkhead.held(Tenant(tenant)), held[place]);
            prop_assert_eq!(bulkhead.total(), held.iter().sum::<u32>());
        }
    }

    /// However calls and retries alternate.
    #[test]
    fn retries_never_exceed_what_was_paid(
        all in vec(any::<bool>(), 0..200), earned_percent in 0_u32..150, saved_percent_max in 0_u32..500,
    ) {
        let limits = RetryLimits {
            attempts_max: 3, earned_percent, saved_percent_max, wait_ms: 50, wait_ms_max: 200,
        };
        let mut budget = Budget::new(limits);
        let (mut calls, mut retries) = (0, 0);
        for call in all {
            if call {
                budget.earn(limits);
                calls += 1;
            } else {
                retries += u32::from(budget.spend());
            }
            prop_assert!(retries * 100 <= saved_percent_max + calls * earned_percent);
        }
    }
}

/// How often the server is asked at the bottom of so many layers, each of which tries three times, if
/// every attempt fails and so many calls are made at the top.
fn load(layers: usize, calls: u32, limits: RetryLimits) -> u32 {
    fn call(budgets: &mut [Budget], limits: RetryLimits) -> u32 {
        let Some((budget, below)) = budgets.split_first_mut() else {
            return 1;
        };
        budget.earn(limits);
        let mut load = call(below, limits);
        for _ in 1..limits.attempts_max {
            if budget.spend() {
                load += call(below, limits);
            }
        }
        load
    }
    let mut budgets = vec![Budget::new(limits); layers];
    (0..calls).map(|_| call(&mut budgets, limits)).sum()
}

/// Retries multiply through layers, and shares hardly do.
#[test]
fn three_layers_of_three_attempts_are_27_and_three_budgets_of_a_tenth_are_a_third_more() {
    let limits = |earned_percent, saved_percent_max| RetryLimits {
        attempts_max: 3,
        earned_percent,
        saved_percent_max,
        wait_ms: 50,
        wait_ms_max: 200,
    };
    let calls = 1_000;
    let without = limits(200, 200);
    assert_eq!(load(1, calls, without), 3 * calls);
    assert_eq!(load(2, calls, without), 9 * calls);
    assert_eq!(load(3, calls, without), 27 * calls);
    let tenth = load(3, calls, limits(10, 100));
    assert!((1_300..=1_340).contains(&tenth), "{tenth}: a third more");
}

fn session(client: u64, serial: u64) -> Session {
    Session { client, serial }
}

#[test]
fn a_record_answers_for_its_own_request_alone() {
    let mut sessions: Sessions<&str, u32> = Sessions::default();
    assert_eq!(sessions.look(session(1, 1), &"add"), Seen::Fresh);
    sessions.record(session(1, 1), "add", 7);
    assert_eq!(sessions.look(session(1, 1), &"add"), Seen::Done(7));
    assert_eq!(sessions.look(session(1, 1), &"take"), Seen::Conflict);
    assert_eq!(sessions.look(session(1, 2), &"add"), Seen::Fresh);
    assert_eq!(sessions.look(session(2, 1), &"add"), Seen::Fresh);
    assert!(sessions.collect(1, 2));
    assert!(!sessions.collect(1, 1), "it never goes back");
    assert_eq!(sessions.look(session(1, 1), &"add"), Seen::Collected);
    assert_eq!(sessions.recorded(session(1, 1)), None);
    assert!(sessions.knows(session(1, 1)) && !sessions.knows(session(1, 2)));
}

#[test]
fn one_client_does_not_fill_the_disk() {
    let mut sessions: Sessions<(), u64> = Sessions::default();
    for serial in (0..).take(RECORDS_MAX) {
        assert_eq!(sessions.look(session(1, serial), &()), Seen::Fresh);
        sessions.record(session(1, serial), (), serial);
    }
    let next = u64::try_from(RECORDS_MAX).unwrap();
    assert_eq!(sessions.look(session(1, next), &()), Seen::Full);
    assert_eq!(sessions.look(session(2, next), &()), Seen::Fresh);
    assert_eq!(sessions.look(session(1, 0), &()), Seen::Done(0));
    assert!(sessions.collect(1, 1));
    assert_eq!(sessions.look(session(1, next), &()), Seen::Fresh);
}

fn request() -> impl Strategy<Value = Request> {
    let by = prop_oneof![0_i64..3, Just(i64::MAX), Just(i64::MIN)];
    (0_u64..3, 0_u64..3, 0_u64..4, by).prop_map(|(client, serial, acknowledged, by)| Request {
        session: session(client, serial),
        acknowledged,
        operation: Add { by },
    })
}

fn message() -> impl Strategy<Value = Message> {
    let result = prop_oneof![
        any::<i64>().prop_map(Outcome::Done),
        Just(Outcome::Conflict),
        Just(Outcome::Collected),
        Just(Outcome::Declined),
    ];
    let tried = (0_u64..4, 0_u32..4, result).prop_map(|(ticket, attempt, result)| Message::Tried {
        ticket,
        attempt,
        result,
    });
    let tries =
        (0_u64..4, 0_u32..4, request()).prop_map(|(ticket, attempt, request)| Message::Try {
            ticket,
            attempt,
            request,
        });
    prop_oneof![tries, tried]
}

fn one_move() -> impl Strategy<Value = Move<Service>> {
    let call = (0_u64..4, 0_u32..2, request()).prop_map(|(ticket, tenant, request)| Call {
        ticket,
        tenant: Tenant(tenant),
        request,
    });
    let timer = prop_oneof![
        (0_u64..4, 1_u32..4).prop_map(|(ticket, attempt)| Timer::Attempt(ticket, attempt)),
        Just(Timer::Cool)
    ];
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
        let machine = Service {
            work: Counting,
            me: NodeId(me),
            server: NodeId(0),
            retry: RetryLimits {
                attempts_max: 3,
                earned_percent: 50,
                saved_percent_max: 300,
                wait_ms: 50,
                wait_ms_max: 200,
            },
            breaker: LIMITS,
            share: 2,
        };
        laws::check(&machine, moves);
    }
}
