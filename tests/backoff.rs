//! Back-off: what is promised, what breaks it, and two clients in lockstep.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::backoff::{Backoff, Call, Durable, Event, Message, Timer};
use quorate::machine::{Input, Machine as _, NodeId, Output, State, Step, boot, step};
use quorate_models::backoff;
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, holds, refutes};

#[test]
fn every_promise_holds_of_one_client() {
    holds("backoff", "one-client", 1);
}

#[test]
fn every_promise_holds_of_two_clients() {
    holds("backoff", "two-clients", 2_799);
}

#[test]
fn every_promise_holds_of_three_clients() {
    holds("backoff", "three-clients", 220_633);
}

#[test]
fn every_promise_holds_with_a_crash() {
    holds("backoff", "crash", 8_997);
}

#[test]
fn the_counts_are_those_of_stateright_and_of_full_equality() {
    audits("backoff", "two-clients");
}

#[test]
fn everyone_is_served_falls_in_lockstep() {
    refutes("backoff", "lockstep", backoff::SERVED);
}

/// Fairness is no substitute for chance.
#[test]
fn everyone_is_served_falls_on_a_fair_run_that_nobody_drew() {
    refutes("backoff", "no-chance", backoff::UNLUCKY);
}

#[test]
fn everyone_is_served_falls_when_waits_do_not_double() {
    refutes("backoff", "never-doubles", backoff::SERVED);
}

#[test]
fn everyone_is_served_falls_when_nobody_waits() {
    refutes("backoff", "at-once", backoff::SERVED);
}

#[test]
fn everyone_is_served_falls_when_nothing_is_thought_lost() {
    refutes("backoff", "nothing-is-lost", backoff::SERVED);
}

#[test]
fn waits_are_bounded_falls_when_they_double_for_ever() {
    refutes("backoff", "doubles-for-ever", backoff::BOUNDED);
}

#[test]
fn done_alone_falls_when_the_server_does_all() {
    refutes("backoff", "does-all", backoff::ALONE);
}

#[test]
fn done_once_falls_without_a_record() {
    refutes("backoff", "no-record", backoff::DONE_ONCE);
}

#[test]
fn done_once_falls_when_the_disk_lies() {
    refutes("backoff", "lying-disk", backoff::DONE_ONCE);
}

/// A server, or a client, with slots of ten milliseconds.
fn node(me: u64) -> Backoff {
    Backoff {
        me: NodeId(me),
        server: NodeId(0),
        slot_ms: 10,
        doublings_max: 6,
    }
}

/// Nodes in virtual time on a perfect network, with waits that `draw` draws.
struct Theatre<D> {
    states: Vec<State<Backoff>>,
    due: BTreeSet<(Duration, usize, Timer)>,
    draw: D,
    /// How many slots there were in which more than one was tried, and how many served one.
    slots: (u32, u32),
    returned: u32,
}

impl<D: FnMut(&Timer, Range<Duration>) -> Duration> Theatre<D> {
    fn new(nodes: u64, draw: D) -> Self {
        let boot = |me| boot(&node(me), Durable::default()).state;
        Self {
            states: (0..nodes).map(boot).collect(),
            due: BTreeSet::new(),
            draw,
            slots: (0, 0),
            returned: 0,
        }
    }

    fn happen(&mut self, now: Duration, at: usize, input: Input<Backoff>) {
        let machine = node(u64::try_from(at).expect("few nodes"));
        let Step { state, sealed } = step(&machine, self.states[at].clone(), input);
        self.states[at] = state;
        for output in sealed.persist(|_| Ok::<(), ()>(())).expect("a disk") {
            match output {
                Output::Send { to, message } => {
                    let from = machine.me;
                    let to = usize::try_from(to.0).expect("few nodes");
                    self.happen(now, to, Input::Message { from, message });
                }
                Output::Arm(timer) => {
                    self.due
                        .retain(|(_, node, other)| (*node, *other) != (at, timer));
                    let delay = (self.draw)(&timer, machine.delay(&timer));
                    self.due.insert((now + delay, at, timer));
                }
                Output::Disarm(timer) => {
                    self.due
                        .retain(|(_, node, other)| (*node, *other) != (at, timer));
                }
                Output::Event(Event::Tried { together: 1, .. }) => self.slots.1 += 1,
                Output::Event(Event::Tried { .. }) => self.slots.0 += 1,
                Output::Event(Event::Returned { .. }) => self.returned += 1,
                Output::Event(Event::Waits { .. } | Event::Refused { .. }) => {}
            }
        }
    }

    /// Rings so many alarms, or until all clients are served.
    fn run(&mut self, alarms: u32) -> Duration {
        let clients = self.states.len() - 1;
        for client in 1..=clients {
            self.happen(Duration::ZERO, client, Input::Call(Call { ticket: 0 }));
        }
        let mut now = Duration::ZERO;
        for _ in 0..alarms {
            if usize::try_from(self.returned) == Ok(clients) {
                break;
            }
            let (when, at, timer) = self.due.pop_first().expect("somebody waits");
            now = when;
            self.happen(now, at, Input::Timer(timer));
        }
        now
    }
}

/// Two clients who wait as long as they may: the bounds of their waits are 20, 40 … 1,280 ms. They overlap in
/// each slot of an hour, and neither is served. Nothing was lost and nobody crashed.
#[test]
fn two_clients_in_lockstep_are_never_served() {
    let mut theatre = Theatre::new(3, |timer: &Timer, range: Range<Duration>| match timer {
        Timer::Again(..) => range.end,
        Timer::Slot | Timer::Lost(_) => range.start,
    });
    let ended = theatre.run(8400);
    assert!(ended > Duration::from_secs(3600), "{ended:?}");
    assert_eq!(theatre.returned, 0);
    assert_eq!(theatre.slots.1, 0, "no slot served anyone");
    assert!(theatre.slots.0 >= 5_600, "each of 2,800 slots had both");
}

/// The same clients, whose waits are drawn: whatever the seed, both are served within seconds.
#[test]
fn two_clients_who_draw_their_waits_are_served() {
    for seed in 0..1_000 {
        let mut random = fastrand(seed);
        let mut theatre = Theatre::new(3, move |_: &Timer, range: Range<Duration>| {
            let width = range.end.saturating_sub(range.start);
            range.start + width.mul_f64(random())
        });
        let ended = theatre.run(8400);
        assert_eq!(theatre.returned, 2, "seed {seed}");
        assert!(ended < Duration::from_secs(10), "seed {seed}: {ended:?}");
    }
}

/// Numbers from 0 up to 1, the same for each seed (Splitmix64).
fn fastrand(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).expect("32 bits are left")) / 4_294_967_296.0
    }
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (0_u64..3).prop_map(|ticket| Message::Try { ticket }),
        (0_u64..3).prop_map(|ticket| Message::Done { ticket }),
        (0_u64..3).prop_map(|ticket| Message::Overlapped { ticket }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Backoff>> {
    let timer = prop_oneof![
        Just(Timer::Slot),
        (0_u64..3, 0_u32..7).prop_map(|(ticket, doublings)| Timer::Again(ticket, doublings)),
        (0_u64..3).prop_map(Timer::Lost),
    ];
    prop_oneof![
        3 => (0_u64..3).prop_map(|ticket| Move::Input(Input::Call(Call { ticket }))),
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
