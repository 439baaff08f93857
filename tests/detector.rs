//! Failure detectors: their promises hold, each falls when something is taken away, and phi is the
//! published one.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::detector::phi::{Arrivals, SAMPLES_MAX, phi};
use quorate::detector::{Call, Detector, Durable, Event, Heartbeat, Opinion, Timer};
use quorate::machine::{Input, Machine, NodeId, Output, State, Step, boot, step};
use quorate_models::detector::{BOUNDED, COMPLETENESS, REVOKED};
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn promises_hold_with_three_nodes_of_which_one_crashes() {
    holds("detector", "three", 570_876);
}

#[test]
fn promises_hold_with_the_numbers_of_the_published_model() {
    holds("detector", "published", 0);
}

#[test]
fn promises_hold_with_two_nodes_and_slow_messages() {
    holds("detector", "two", 11_990);
}

#[test]
fn promises_hold_when_the_first_timeout_is_long_enough() {
    holds("detector", "patient", 15_709);
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    audits("detector", "two");
}

#[test]
fn strong_completeness_falls_when_the_monitor_stamps_everybody() {
    refutes("detector", "stamps-everybody", COMPLETENESS);
}

#[test]
fn mistakes_are_bounded_falls_with_a_fixed_timeout() {
    refutes("detector", "fixed-timeout", BOUNDED);
}

#[test]
fn mistakes_are_bounded_falls_when_nobody_was_heard_of_yet() {
    refutes("detector", "never-heard-of", BOUNDED);
}

#[test]
fn mistakes_are_revoked_falls_when_death_is_final() {
    refutes("detector", "death-is-final", REVOKED);
}

#[test]
fn mistakes_are_revoked_falls_when_heartbeats_go_to_the_trusted_alone() {
    refutes("detector", "trusted-alone", REVOKED);
}

fn node() -> Detector {
    Detector {
        me: NodeId(0),
        members: NodeSet::first(2),
        heartbeat_ms: 100,
        timeout_ms: 300,
        step_ms: 50,
        steps_max: 2,
    }
}

/// What the node tells and arms when this happens to it.
fn does(state: &mut State<Detector>, input: Input<Detector>) -> Vec<Output<Detector>> {
    let Step {
        state: after,
        sealed,
    } = step(&node(), state.clone(), input);
    *state = after;
    sealed.persist(|_| Ok::<(), ()>(())).expect("a disk")
}

fn heard(state: &mut State<Detector>, incarnation: u64) -> Vec<Output<Detector>> {
    let (from, message) = (NodeId(1), Heartbeat { incarnation });
    does(state, Input::Message { from, message })
}

fn silent(state: &mut State<Detector>) -> Vec<Output<Detector>> {
    let peer = NodeId(1);
    let mistakes = state
        .volatile
        .peers
        .get(&peer)
        .map_or(0, |peer| peer.mistakes);
    does(state, Input::Timer(Timer::Silence { peer, mistakes }))
}

fn booted() -> State<Detector> {
    boot(&node(), Durable::default()).state
}

#[test]
fn a_mistake_makes_the_timeout_longer_up_to_a_limit() {
    let mut state = booted();
    let peer = NodeId(1);
    for (mistakes, millis) in [(1, 350), (2, 400), (2, 400)] {
        let suspected = Output::Event(Event::Suspected { peer });
        assert_eq!(silent(&mut state), [suspected]);
        let outputs = heard(&mut state, 0);
        assert!(outputs.contains(&Output::Event(Event::Trusted { peer })));
        let timer = Timer::Silence { peer, mistakes };
        assert_eq!(node().delay(&timer).start.as_millis(), millis);
        assert!(outputs.contains(&Output::Arm(timer)));
    }
}

#[test]
fn a_suspicion_of_one_that_restarted_was_no_mistake() {
    let mut state = booted();
    heard(&mut state, 0);
    silent(&mut state);
    heard(&mut state, 1);
    let peer = state.volatile.peers.get(&NodeId(1)).expect("it is known");
    assert_eq!((peer.opinion, peer.mistakes), (Opinion::Trusted, 0));
}

#[test]
fn a_heartbeat_of_an_earlier_run_does_not_count() {
    let mut state = booted();
    heard(&mut state, 1);
    silent(&mut state);
    assert_eq!(heard(&mut state, 0), []);
    assert_eq!(state.volatile.suspects(), [NodeId(1)].into_iter().collect());
    let answer = does(&mut state, Input::Call(Call::Suspects { ticket: 3 }));
    let suspects = [NodeId(1)].into_iter().collect();
    assert_eq!(
        answer,
        [Output::Event(Event::Suspects {
            ticket: 3,
            suspects
        })]
    );
}

/// Mean 1,000, deviation 100; each within 0.1, as published.
#[test]
fn phi_agrees_with_the_published_table() {
    for (silence, expected) in [
        (0, 0),
        (500, 100),
        (1_000, 300),
        (1_200, 1_600),
        (1_400, 4_700),
        (1_600, 10_800),
    ] {
        let found = phi(silence, 1_000, 100);
        assert!(found.abs_diff(expected) <= 100, "{silence}: {found}");
    }
}

#[test]
fn phi_of_regular_heartbeats_rises_fast_and_of_irregular_ones_slowly() {
    let mut regular = Arrivals::guess(1_000);
    let mut irregular = Arrivals::guess(1_000);
    for turn in 0..SAMPLES_MAX {
        regular.record(1_000);
        irregular.record(if turn % 2 == 0 { 600 } else { 1_400 });
    }
    assert_eq!((regular.mean_ms(), regular.deviation_ms()), (1_000, 0));
    assert_eq!(
        (irregular.mean_ms(), irregular.deviation_ms()),
        (1_000, 400)
    );
    assert!(regular.phi(1_500, 50) > 10_000);
    assert!(irregular.phi(1_500, 50) < 1_000);
}

/// Nobody was heard from yet: the guess is judged by.
#[test]
fn the_first_silence_is_judged_by_a_guess() {
    let guess = Arrivals::guess(1_000);
    assert_eq!((guess.mean_ms(), guess.deviation_ms()), (1_000, 250));
    assert!(guess.phi(1_000, 0) < 1_000);
    assert!(guess.phi(5_000, 0) > 8_000);
    assert_eq!(Arrivals::default().phi(0, 0), 300);
}

/// Phi by floating-point arithmetic.
#[expect(clippy::cast_precision_loss, reason = "a few thousand milliseconds")]
fn phi_by_floats(silence: u64, mean: u64, deviation: u64) -> f64 {
    let y = (silence as f64 - mean as f64) / deviation as f64;
    let x = y * (1.597_6 + 0.070_566 * y * y);
    // log10(1 + e^x), without an e^x that is infinite.
    (x.max(0.0) + (-x.abs()).exp().ln_1p()) / core::f64::consts::LN_10
}

fn message() -> impl Strategy<Value = (NodeId, Heartbeat)> {
    let from = prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId);
    let incarnation = prop_oneof![8 => 0..3_u64, 1 => any::<u64>()];
    (from, incarnation).prop_map(|(from, incarnation)| (from, Heartbeat { incarnation }))
}

fn timer() -> impl Strategy<Value = Timer> {
    (0..4_u64, 0..4_u32, any::<bool>()).prop_map(|(peer, mistakes, beats)| {
        let peer = NodeId(peer);
        if beats {
            Timer::Heartbeat
        } else {
            Timer::Silence { peer, mistakes }
        }
    })
}

fn one_move() -> impl Strategy<Value = Move<Detector>> {
    prop_oneof![
        1 => any::<u64>().prop_map(|ticket| Move::Input(Input::Call(Call::Suspects { ticket }))),
        12 => message()
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        12 => timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 0..4_usize,
        moves in vec(one_move(), 0..80),
    ) {
        let machine = Detector { me: NodeId(me), members: NodeSet::first(members), ..node() };
        laws::check(&machine, moves);
    }

    #[test]
    fn phi_is_what_floating_point_arithmetic_gives(
        silence in 0..20_000_u64,
        mean in 1..10_000_u64,
        deviation in 50..2_000_u64,
    ) {
        let expected = phi_by_floats(silence, mean, deviation);
        #[expect(clippy::cast_precision_loss, reason = "it is compared within a hundredth")]
        let found = phi(silence, mean, deviation) as f64 / 1_000.0;
        let allowed = 0.01 + expected * 0.001;
        prop_assert!((found - expected).abs() <= allowed, "{found} for {expected}");
    }

    #[test]
    fn phi_never_falls_as_the_silence_grows(
        silence in any::<u64>(),
        more in any::<u64>(),
        mean in any::<u64>(),
        deviation in any::<u64>(),
    ) {
        let later = silence.saturating_add(more);
        prop_assert!(phi(silence, mean, deviation) <= phi(later, mean, deviation));
    }

    #[test]
    fn arrivals_are_bounded_and_never_panic(intervals in vec(any::<u32>(), 0..200), guess in any::<u32>()) {
        let mut arrivals = Arrivals::guess(guess);
        for interval in intervals {
            arrivals.record(interval);
        }
        let _ = arrivals.phi(u64::MAX, 0);
        prop_assert!(u32::try_from(arrivals.deviation_ms()).is_ok());
    }
}
