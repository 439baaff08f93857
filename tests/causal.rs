//! The causal store: its promises hold, each falls when something is taken away, and its values behave.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::causal::{
    COUNT_MAX, Call, Causal, Durable, Event, KEY_BYTES_MAX, Message, Refusal, Timer, Update,
    VALUE_BYTES_MAX, Version, WAITING_MAX,
};
use quorate::clock::{Relation, Vector};
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId, Output, State, Step, boot, step};
use quorate_models::causal::{
    BOUNDED, CALLS_RETURN, CAUSAL_DELIVERY, CLOCK_ORDER, CONVERGENCE, CONVERGENT, DELIVERY, FIFO,
    FORGOTTEN, MONOTONIC_READS, MONOTONIC_WRITES, NO_CREATION, NO_DUPLICATION, NO_NEEDLESS_DELAY,
    READ_YOUR_WRITES, SURVIVORS, WRITES_FOLLOW_READS, mirrored, mirrored_wrongly, obligations,
    wrong_obligations,
};
use quorate_models::engine::{Options, search, unwatched};
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};
use quorate_models::world::World;
use quorate_models::yardstick::causal_broadcast::{
    Broadcaster, causal_broadcast, repeated_broadcast,
};

#[test]
fn promises_hold_with_two_nodes() {
    holds("causal", "two-nodes", 785);
}

#[test]
fn promises_hold_with_an_answer_among_three_nodes() {
    holds("causal", "answer", 8_134);
}

#[test]
fn promises_hold_with_a_series_among_three_nodes() {
    holds("causal", "series", 6_434);
}

#[test]
fn promises_hold_with_answers_to_answers_among_three_nodes() {
    holds("causal", "answers", 2_049_329);
}

#[test]
fn promises_hold_with_series_and_answers_among_three_nodes() {
    holds("causal", "series-and-answers", 1_598_593);
}

#[test]
fn promises_hold_with_conflicts_among_three_nodes() {
    holds("causal", "conflicts", 48_565);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("causal", "crash", 40_424);
}

#[test]
fn promises_hold_with_one_cut_of_any_shape() {
    holds("causal", "cut", 113_556);
}

#[test]
fn promises_hold_when_one_update_is_held_at_most() {
    holds("causal", "one-held", 361);
}

#[test]
fn survivors_deliver_alike_when_what_crashes_stays_dead() {
    holds("causal", "survivors", 100_672);
}

#[test]
fn sessions_that_put_and_get_hold_with_the_token() {
    holds("causal", "put-and-get", 327_928);
}

#[test]
fn sessions_that_get_twice_hold_with_the_token() {
    holds("causal", "get-and-get", 1_276);
}

#[test]
fn sessions_that_put_twice_hold_with_the_token() {
    holds("causal", "put-and-put", 1_855);
}

#[test]
fn sessions_that_get_and_put_hold_with_the_token() {
    holds("causal", "get-and-put", 29_549);
}

#[test]
fn no_needless_delay_falls_when_the_clock_is_merged_first() {
    refutes("causal", "merged-first", NO_NEEDLESS_DELAY);
}

#[test]
fn no_needless_delay_falls_when_a_receipt_ticks() {
    refutes("causal", "receipt-ticks", NO_NEEDLESS_DELAY);
}

#[test]
fn no_duplication_falls_when_a_batch_is_judged_by_one_clock() {
    refutes("causal", "batch-by-one-clock", NO_DUPLICATION);
}

#[test]
fn bounded_queue_falls_when_repeats_are_held() {
    refutes("causal", "repeats-held", BOUNDED);
}

#[test]
fn bounded_queue_falls_when_there_is_always_room() {
    refutes("causal", "held-without-bound", BOUNDED);
}

#[test]
fn clock_order_falls_when_strangers_are_dropped() {
    refutes("causal", "strangers-dropped", CLOCK_ORDER);
}

#[test]
fn convergence_falls_when_arrival_order_wins() {
    refutes("causal", "arrival-wins", CONVERGENCE);
}

#[test]
fn delivery_falls_when_nothing_is_sent_again() {
    refutes("causal", "sent-once", DELIVERY);
}

#[test]
fn causal_delivery_falls_when_the_stamp_is_not_sent() {
    refutes("causal", "stamp-not-sent", CAUSAL_DELIVERY);
}

#[test]
fn causal_delivery_falls_when_fifo_is_taken_for_causal() {
    refutes("causal", "fifo-for-causal", CAUSAL_DELIVERY);
}

#[test]
fn fifo_order_falls_when_any_later_update_will_do() {
    refutes("causal", "own-at-least", FIFO);
}

#[test]
fn no_needless_delay_falls_when_others_must_have_gone_further() {
    refutes("causal", "strict-others", NO_NEEDLESS_DELAY);
}

#[test]
fn clock_order_falls_when_the_stamp_is_made_before_the_count() {
    refutes("causal", "sent-before-counted", CLOCK_ORDER);
}

#[test]
fn no_duplication_falls_when_a_node_delivers_to_itself() {
    refutes("causal", "self-delivery", NO_DUPLICATION);
}

#[test]
fn read_your_writes_falls_when_gaps_are_counted() {
    refutes("causal", "gaps-counted", READ_YOUR_WRITES);
}

#[test]
fn what_is_forgotten_is_everywhere_falls_when_what_is_held_is_acknowledged() {
    refutes("causal", "held-is-acknowledged", FORGOTTEN);
}

#[test]
fn what_is_forgotten_is_everywhere_falls_when_a_log_forgets_what_two_have() {
    refutes("causal", "forgotten-at-two", FORGOTTEN);
}

#[test]
fn no_creation_falls_when_a_restart_forgets_the_clock() {
    refutes("causal", "clock-forgotten", NO_CREATION);
}

#[test]
fn no_creation_falls_when_the_disk_lies() {
    refutes("causal", "lying-disk", NO_CREATION);
}

#[test]
fn survivors_deliver_alike_falls_when_each_sends_its_own_alone() {
    refutes("causal", "own-alone", SURVIVORS);
}

#[test]
fn calls_return_falls_when_equal_is_concurrent() {
    refutes("causal", "equal-is-concurrent", CALLS_RETURN);
}

#[test]
fn calls_return_falls_when_nobody_gives_up() {
    refutes("causal", "waits-for-ever", CALLS_RETURN);
}

#[test]
fn causal_convergence_falls_when_versions_are_ranked_by_their_own_count() {
    refutes("causal", "rank-by-own-count", CONVERGENT);
}

#[test]
fn read_your_writes_falls_without_the_token() {
    refutes("causal", "no-token-put-and-get", READ_YOUR_WRITES);
}

#[test]
fn read_your_writes_falls_when_the_token_is_ignored() {
    refutes("causal", "token-ignored", READ_YOUR_WRITES);
}

#[test]
fn monotonic_reads_falls_without_the_token() {
    refutes("causal", "no-token-get-and-get", MONOTONIC_READS);
}

#[test]
fn monotonic_reads_falls_when_a_get_gives_no_token() {
    refutes("causal", "get-not-in-token", MONOTONIC_READS);
}

#[test]
fn monotonic_writes_falls_without_the_token() {
    refutes("causal", "no-token-put-and-put", MONOTONIC_WRITES);
}

#[test]
fn monotonic_writes_falls_when_a_put_gives_no_token() {
    refutes("causal", "put-not-in-token", MONOTONIC_WRITES);
}

#[test]
fn writes_follow_reads_falls_without_the_token() {
    refutes("causal", "no-token-get-and-put", WRITES_FOLLOW_READS);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_rise_when_the_disk_lies() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn nodes_that_write_keys_of_their_own_are_alike() {
    for discharged in mirrored().unwrap_or_else(|failure| panic!("{failure}")) {
        assert!(0 < discharged.mirrored && 0 < discharged.promised);
        assert!(
            discharged.reduced < discharged.states,
            "something is gained: {discharged:?}"
        );
    }
}

#[test]
fn nodes_that_write_one_key_are_not_alike() {
    assert!(mirrored_wrongly().is_err());
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["two-nodes", "one-held", "get-and-get", "put-and-put"] {
        audits("causal", world);
    }
}

fn states<G: quorate_models::ghost::Ghost<Broadcaster>>(world: &World<Broadcaster, G>) -> usize {
    let outcome = search(world, Options::default(), &mut unwatched);
    assert_eq!(outcome.verdict.to_string(), "EXHAUSTED");
    outcome.unique
}

/// `yardstick/causal_broadcast.rs` says in which abstraction.
#[test]
fn causal_broadcast_has_the_states_that_others_count() {
    assert_eq!(states(&causal_broadcast(3, 3)), 5_131);
    assert_eq!(states(&causal_broadcast(4, 3)), 155_505);
    assert_eq!(states(&repeated_broadcast(3, 2)), 4_900);
}

#[test]
fn causal_broadcast_with_repetition_has_the_states_that_others_count() {
    assert_eq!(states(&repeated_broadcast(3, 3)), 732_262);
}

// One node alone.

fn machine(me: u64) -> Causal {
    Causal {
        me: NodeId(me),
        members: NodeSet::first(3),
        held_max: 4,
    }
}

fn vector(counts: impl IntoIterator<Item = (u64, u64)>) -> Vector {
    let counts = counts.into_iter();
    counts.map(|(node, count)| (NodeId(node), count)).collect()
}

fn update(origin: u64, counts: impl IntoIterator<Item = (u64, u64)>, value: &str) -> Update {
    Update {
        key: "x".to_owned(),
        version: Version {
            origin: NodeId(origin),
            stamp: vector(counts),
            value: value.to_owned(),
        },
    }
}

fn put(ticket: u64, token: Vector, value: &str) -> Input<Causal> {
    let (key, value) = ("x".to_owned(), value.to_owned());
    Input::Call(Call::Put {
        ticket,
        token,
        key,
        value,
    })
}

fn get(ticket: u64, token: Vector) -> Input<Causal> {
    let key = "x".to_owned();
    Input::Call(Call::Get { ticket, token, key })
}

fn from(node: u64, update: Update) -> Input<Causal> {
    let from = NodeId(node);
    let message = Message::Update(update);
    Input::Message { from, message }
}

/// What a node says when it is given these inputs.
fn said(inputs: impl IntoIterator<Item = Input<Causal>>) -> Vec<Output<Causal>> {
    let machine = machine(0);
    let Step { mut state, .. } = boot(&machine, Durable::default());
    let mut said = Vec::new();
    for input in inputs {
        let after = step(&machine, state, input);
        state = after.state;
        said.extend(after.sealed.persist(|_| Ok::<(), ()>(())).expect("a disk"));
    }
    said
}

fn told(inputs: impl IntoIterator<Item = Input<Causal>>) -> Vec<Event> {
    let events = said(inputs).into_iter().filter_map(|output| match output {
        Output::Event(event) => Some(event),
        Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    });
    events.collect()
}

fn refusals(inputs: impl IntoIterator<Item = Input<Causal>>) -> Vec<Refusal> {
    let events = told(inputs).into_iter().filter_map(|event| match event {
        Event::Refused { refusal, .. } => Some(refusal),
        Event::Sent(_) | Event::Delivered(_) | Event::Done { .. } | Event::Got { .. } => None,
    });
    events.collect()
}

#[test]
fn what_cannot_be_done_is_refused() {
    let none = Vector::new;
    let long = "v".repeat(VALUE_BYTES_MAX);
    assert_eq!(refusals([put(0, none(), &long)]), []);
    let longer = "v".repeat(VALUE_BYTES_MAX + 1);
    assert_eq!(refusals([put(0, none(), &longer)]), [Refusal::TooLong]);
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    let token = none();
    let call = Call::Get {
        ticket: 0,
        token,
        key,
    };
    assert_eq!(refusals([Input::Call(call)]), [Refusal::TooLong]);
    assert_eq!(refusals([get(0, vector([(3, 1)]))]), [Refusal::Stranger]);
    assert_eq!(refusals([get(0, vector([(64, 1)]))]), [Refusal::Stranger]);
}

#[test]
fn a_session_that_has_seen_what_the_disk_lost_is_sent_elsewhere() {
    assert_eq!(refusals([get(0, vector([(0, 1)]))]), [Refusal::Behind]);
}

#[test]
fn a_node_at_which_many_calls_wait_refuses_more() {
    let count = WAITING_MAX as u64;
    let calls = (0..=count).map(|ticket| get(ticket, vector([(1, 1)])));
    assert_eq!(refusals(calls), [Refusal::Busy]);
}

#[test]
fn a_call_waits_for_what_its_session_has_seen() {
    let early = get(7, vector([(1, 1)]));
    assert_eq!(told([early.clone()]), []);
    let late = from(1, update(1, [(1, 1)], "A"));
    let events = told([early.clone(), late]);
    let (ticket, value, token) = (7, Some("A".to_owned()), vector([(1, 1)]));
    let got = Event::Got {
        ticket,
        value,
        token,
    };
    assert_eq!(events.last(), Some(&got));
    let never = Input::Timer(Timer::GiveUp(7));
    let refusal = Refusal::Behind;
    assert_eq!(told([early, never]), [Event::Refused { ticket, refusal }]);
}

#[test]
fn a_put_answers_with_the_token_that_a_get_elsewhere_needs() {
    let events = told([
        from(1, update(1, [(1, 1)], "A")),
        put(3, vector([(1, 1)]), "B"),
    ]);
    let (ticket, token) = (3, vector([(0, 1), (1, 1)]));
    assert_eq!(events.last(), Some(&Event::Done { ticket, token }));
}

#[test]
fn a_node_that_has_made_all_updates_that_fit_refuses_more() {
    let machine = machine(0);
    let Step { mut state, .. } = boot(&machine, Durable::default());
    let all = vector([(0, COUNT_MAX)]);
    state.durable.clock = all.clone();
    state.durable.stable = all.clone();
    for other in [1, 2] {
        state.durable.known.insert(NodeId(other), all.clone());
    }
    let Step { state, sealed } = step(&machine, state, put(0, Vector::new(), "A"));
    assert_eq!(state.durable.clock, all);
    let (ticket, refusal) = (0, Refusal::Exhausted);
    let outputs = sealed.persist(|_| Ok::<(), ()>(()));
    let refused = Output::Event(Event::Refused { ticket, refusal });
    assert_eq!(outputs, Ok(vec![refused]));
}

/// Nobody knows more of a node's updates than its disk, unless the disk lies: what is told of more is
/// dropped, and no queue keeps it.
#[test]
fn what_a_node_did_not_make_is_not_held_back_for() {
    let unknown = from(1, update(1, [(0, 1), (1, 1)], "A"));
    let events = told([unknown, put(0, Vector::new(), "B")]);
    assert!(
        events
            .iter()
            .all(|event| !matches!(event, Event::Delivered(_)))
    );
}

/// A datagram has 1,200 bytes, of which a frame takes less than a tenth.
#[test]
fn the_longest_messages_fit_a_datagram() {
    let members = NodeSet::first(64);
    let longest: Vector = members.iter().map(|node| (node, COUNT_MAX)).collect();
    let update = Update {
        key: "k".repeat(KEY_BYTES_MAX),
        version: Version {
            origin: NodeId(63),
            stamp: longest.clone(),
            value: "v".repeat(VALUE_BYTES_MAX),
        },
    };
    assert!(update.is_sound(members));
    for message in [Message::Update(update), Message::Acknowledge(longest)] {
        let bytes = postcard::to_stdvec(&message).expect("it can be encoded");
        assert!(bytes.len() <= 1_100, "{} bytes", bytes.len());
    }
}

// Three nodes, and a network that loses and repeats: longer runs than the worlds have.

struct Cluster {
    machines: Vec<Causal>,
    states: Vec<State<Causal>>,
    mail: VecDeque<(NodeId, NodeId, Message)>,
    events: Vec<Vec<Event>>,
}

impl Cluster {
    fn new(held_max: usize) -> Self {
        let machines: Vec<Causal> = (0..3)
            .map(|me| Causal {
                held_max,
                ..machine(me)
            })
            .collect();
        let booted = machines.iter().map(|it| boot(it, Durable::default()).state);
        Self {
            states: booted.collect(),
            machines,
            mail: VecDeque::new(),
            events: vec![Vec::new(); 3],
        }
    }

    fn act(&mut self, node: usize, input: Input<Causal>) {
        let machine = &self.machines[node];
        let Step { state, sealed } = step(machine, self.states[node].clone(), input);
        assert!(quorate::machine::Machine::holds(machine, &state));
        self.states[node] = state;
        for output in sealed.persist(|_| Ok::<(), ()>(())).expect("a disk") {
            match output {
                Output::Send { to, message } => self.mail.push_back((machine.me, to, message)),
                Output::Event(event) => self.events[node].push(event),
                Output::Arm(_) | Output::Disarm(_) => {}
            }
        }
    }

    fn receive(&mut self, (from, to, message): (NodeId, NodeId, Message)) {
        let to = usize::try_from(to.0).expect("one of three");
        self.act(to, Input::Message { from, message });
    }

    /// Everything that is on its way arrives, and alarms ring, until nobody has anything to send.
    fn calm(&mut self) {
        for _ in 0..1_000 {
            while let Some(letter) = self.mail.pop_front() {
                self.receive(letter);
            }
            if self.states.iter().all(|it| it.durable.log.is_empty()) {
                return;
            }
            (0..3).for_each(|node| self.act(node, Input::Timer(Timer::Push)));
        }
        panic!("there is no end to it");
    }
}

/// What happens next in a cluster.
#[derive(Clone, Debug)]
enum Happening {
    Put(usize),
    Push(usize),
    /// One of the letters under way is received, and stays under way.
    Receive(prop::sample::Index),
    Lose(prop::sample::Index),
    Crash(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Happening::Put),
        1 => (0..3_usize).prop_map(Happening::Push),
        6 => any::<prop::sample::Index>().prop_map(Happening::Receive),
        3 => any::<prop::sample::Index>().prop_map(Happening::Lose),
        1 => (0..3_usize).prop_map(Happening::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn long_runs_deliver_in_order_of_causes_and_converge(
        held_max in 0..4_usize,
        happenings in vec(happening(), 0..120),
    ) {
        let mut cluster = Cluster::new(held_max);
        for (number, happening) in (0..).zip(happenings) {
            match happening {
                Happening::Put(node) => {
                    cluster.act(node, put(number, Vector::new(), &number.to_string()));
                }
                Happening::Push(node) => cluster.act(node, Input::Timer(Timer::Push)),
                Happening::Receive(_) | Happening::Lose(_) if cluster.mail.is_empty() => {}
                Happening::Receive(which) => {
                    let letter = cluster.mail[which.index(cluster.mail.len())].clone();
                    cluster.receive(letter);
                }
                Happening::Lose(which) => {
                    let which = which.index(cluster.mail.len());
                    cluster.mail.remove(which);
                }
                Happening::Crash(node) => {
                    let durable = cluster.states[node].durable.clone();
                    cluster.states[node] = boot(&cluster.machines[node], durable).state;
                }
            }
        }
        cluster.calm();
        let first = &cluster.states[0].durable;
        for state in &cluster.states {
            prop_assert_eq!(&state.durable.clock, &first.clock);
            prop_assert_eq!(&state.durable.store, &first.store);
        }
        for events in &cluster.events {
            let mut clock = Vector::new();
            let mut count = 0;
            for event in events {
                if let Event::Sent(update) | Event::Delivered(update) = event {
                    prop_assert!(update.version.is_next(&clock));
                    clock.merge(&update.version.stamp);
                    count += 1;
                }
            }
            prop_assert_eq!(count, first.clock.iter().map(|(_, count)| count).sum::<u64>());
        }
    }
}

// Any input at all.

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![12 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn some_vector() -> impl Strategy<Value = Vector> {
    let count = prop_oneof![16 => 1..4_u64, 1 => Just(COUNT_MAX), 1 => Just(u64::MAX)];
    vec((node(), count), 0..4).prop_map(Vector::from_iter)
}

fn some_version() -> impl Strategy<Value = Version> {
    let value = prop_oneof![8 => "[AB]", 1 => "v{513}"];
    (node(), some_vector(), value).prop_map(|(origin, stamp, value)| Version {
        origin,
        stamp,
        value,
    })
}

fn some_update() -> impl Strategy<Value = Update> {
    ("[xy]", some_version()).prop_map(|(key, version)| Update { key, version })
}

/// Stamps as they are made, and any.
fn message() -> impl Strategy<Value = Message> {
    let early = (0..4_u64, 1..4_u64, 0..2_u64, "[AB]").prop_map(|(origin, count, cause, value)| {
        let mut counts = vec![(origin, count)];
        if cause > 0 {
            counts.push(((origin + 1) % 3, cause));
        }
        update(origin, counts, &value)
    });
    prop_oneof![
        8 => early.prop_map(Message::Update),
        4 => some_update().prop_map(Message::Update),
        3 => some_vector().prop_map(Message::Acknowledge),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let value = prop_oneof![8 => "[AB]", 1 => "v{513}"];
    let word = (any::<bool>(), 0..8_u64, some_vector(), "[xy]", value);
    word.prop_map(|(puts, ticket, token, key, value)| {
        if puts {
            Call::Put {
                ticket,
                token,
                key,
                value,
            }
        } else {
            Call::Get { ticket, token, key }
        }
    })
}

fn one_move() -> impl Strategy<Value = Move<Causal>> {
    let timer = prop_oneof![Just(Timer::Push), (0..8_u64).prop_map(Timer::GiveUp)];
    prop_oneof![
        4 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        2 => timer.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 1..4_usize,
        held_max in 0..4_usize,
        moves in vec(one_move(), 0..80),
    ) {
        let members = NodeSet::first(members);
        let machine = Causal { me: NodeId(me), members, held_max };
        laws::check(&machine, moves);
    }

    #[test]
    fn an_effect_is_ranked_behind_its_causes(one in some_version(), other in some_version()) {
        let counts: u128 = other.stamp.iter().map(|(_, count)| u128::from(count)).sum();
        prop_assume!(counts < u128::from(u64::MAX));
        if one.stamp.compare(&other.stamp) == Relation::Before {
            prop_assert!(one.rank() < other.rank());
        }
    }

    #[test]
    fn what_is_next_is_next_once(version in some_version(), clock in some_vector()) {
        let mut later = clock.clone();
        later.merge(&version.stamp);
        if version.is_next(&clock) {
            prop_assert!(!version.is_next(&later));
            prop_assert!(!clock.covers(version.dot()) && later.covers(version.dot()));
        }
    }
}
