//! The strong store: its promises hold, and each falls when something is taken away.

use std::cmp::Ordering;
use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId, Output, State, Step, boot, step};
use quorate::store::{
    Call, Durable, Event, KEY_BYTES_MAX, KEYS_MAX, Message, REQUESTS_MAX, Record, Refusal, Role,
    Standing, Store, Term, Timer, VALUE_BYTES_MAX,
};
use quorate_models::laws::{self, Move};
use quorate_models::store::{
    FENCED, LINEARIZABLE, ONE_LEADER, ONE_VALUE, ONLY_DECIDED, SERVES, SURVIVES, mirrored,
    obligations, wrong_obligations,
};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn promises_hold_when_one_puts_and_another_gets() {
    holds("store", "put-and-get", 23_975);
}

#[test]
fn promises_hold_when_two_put() {
    holds("store", "two-puts", 25_390);
}

#[test]
fn what_is_safety_holds_when_one_gets_twice() {
    holds("store", "two-gets", 124_040);
}

#[test]
fn what_is_safety_holds_of_swaps() {
    holds("store", "swaps", 216_632);
}

#[test]
fn promises_hold_with_two_members() {
    holds("store", "two-members", 540);
}

#[test]
fn promises_hold_with_two_members_and_a_crash() {
    holds("store", "two-members-crash", 465);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("store", "crash", 118_760);
}

#[test]
fn promises_hold_when_what_crashes_stays_dead() {
    holds("store", "crash-stop", 121_220);
}

#[test]
fn promises_hold_with_one_cut_of_any_shape() {
    holds("store", "cut", 334_206);
}

#[test]
fn promises_hold_with_one_crash_and_one_cut() {
    holds("store", "crash-and-cut", 132_090);
}

#[test]
fn promises_hold_in_three_terms() {
    holds("store", "three-terms", 135_366);
}

#[test]
fn what_is_safety_holds_of_two_puts_and_a_get() {
    holds("store", "puts-and-get", 273_165);
}

#[test]
fn what_is_safety_holds_of_two_puts_and_a_crash() {
    holds("store", "crash-between-puts", 153_667);
}

#[test]
fn what_is_safety_holds_of_two_puts_and_a_cut() {
    holds("store", "cut-between-puts", 354_004);
}

#[test]
fn what_is_safety_holds_with_two_crashes() {
    holds("store", "two-crashes", 296_367);
}

#[test]
fn what_is_safety_holds_of_two_puts_in_three_terms() {
    holds("store", "puts-in-three-terms", 204_737);
}

#[test]
fn what_is_safety_holds_of_two_keys() {
    holds("store", "two-keys", 708_410);
}

#[test]
fn what_is_safety_holds_with_four_members() {
    holds("store", "four-members", 397_448);
}

#[test]
fn what_is_safety_holds_with_five_members() {
    holds("store", "five-members", 315_574);
}

#[test]
fn what_is_safety_holds_of_three_clients() {
    holds("store", "three-clients", 868_225);
}

#[test]
fn what_is_safety_holds_in_three_terms_with_one_crash() {
    holds("store", "three-terms-and-a-crash", 791_705);
}

#[test]
fn what_is_safety_holds_of_a_get_with_one_crash_and_one_cut() {
    holds("store", "crash-and-cut-and-get", 1_656_096);
}

#[test]
fn one_leader_per_term_falls_when_members_appoint_themselves() {
    refutes("store", "appoints-itself", ONE_LEADER);
}

#[test]
fn one_leader_per_term_falls_when_the_vote_is_forgotten() {
    refutes("store", "vote-forgotten", ONE_LEADER);
}

#[test]
fn one_leader_per_term_falls_when_the_term_is_forgotten() {
    refutes("store", "term-forgotten", ONE_LEADER);
}

#[test]
fn one_leader_per_term_falls_when_a_member_votes_twice() {
    refutes("store", "votes-twice", ONE_LEADER);
}

#[test]
fn one_leader_per_term_falls_when_the_deposed_lead_on() {
    refutes("store", "leads-on", ONE_LEADER);
}

#[test]
fn serves_again_falls_when_the_leader_is_fixed() {
    refutes("store", "fixed-leader", SERVES);
}

#[test]
fn serves_again_falls_without_retries() {
    refutes("store", "no-retries", SERVES);
}

#[test]
fn no_acknowledgement_under_a_fenced_term_falls_when_the_dead_lead_on() {
    refutes("store", "dead-lead-on", FENCED);
}

#[test]
fn no_acknowledgement_under_a_fenced_term_falls_when_a_late_reply_counts() {
    refutes("store", "late-reply", FENCED);
}

#[test]
fn no_acknowledgement_under_a_fenced_term_falls_without_fencing_of_gets() {
    refutes("store", "no-fencing-of-gets", FENCED);
}

#[test]
fn linearizable_falls_when_gets_are_not_confirmed() {
    refutes("store", "gets-unconfirmed", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_a_get_sees_what_is_not_decided() {
    refutes("store", "dirty-reads", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_an_abort_undoes_nothing() {
    refutes("store", "abort-undoes-nothing", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_the_deposed_say_that_a_write_failed() {
    refutes("store", "deposed-refuses", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_what_is_prepared_is_not_finished() {
    refutes("store", "ignores-prepared", LINEARIZABLE);
}

#[test]
fn one_value_per_version_falls_without_fencing() {
    refutes("store", "no-fencing", ONE_VALUE);
}

#[test]
fn one_value_per_version_falls_when_a_clock_counts() {
    refutes("store", "clock-counts", ONE_VALUE);
}

#[test]
fn one_value_per_version_falls_when_a_new_leader_asks_nobody() {
    refutes("store", "own-disk-will-do", ONE_VALUE);
}

#[test]
fn only_what_was_decided_is_committed_falls_when_commit_is_presumed() {
    refutes("store", "presumes-commit", ONLY_DECIDED);
}

#[test]
fn only_what_was_decided_is_committed_falls_when_prepare_commits() {
    refutes("store", "commits-on-prepare", ONLY_DECIDED);
}

#[test]
fn what_is_acknowledged_survives_falls_when_replies_are_ignored() {
    refutes("store", "ignores-replies", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_only_the_healthy_are_asked() {
    refutes("store", "only-the-healthy", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_half_decide() {
    refutes("store", "half-decides", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_a_reply_counts_twice() {
    refutes("store", "reply-counted-twice", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_prepare_keeps_nothing() {
    refutes("store", "prepare-keeps-nothing", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_what_arrives_last_wins() {
    refutes("store", "arrival-wins", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_an_abort_names_a_key() {
    refutes("store", "abort-by-key", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_without_a_decision_log() {
    refutes("store", "no-decision-log", SURVIVES);
}

#[test]
fn what_is_acknowledged_survives_falls_when_the_disk_lies() {
    refutes("store", "lying-disk", SURVIVES);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_rise_when_a_crash_forgets_who_leads() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn members_are_alike() {
    let discharged = mirrored().unwrap_or_else(|failure| panic!("{failure}"));
    for one in discharged {
        assert!(one.reduced < one.states && 0 < one.promised, "{one:?}");
    }
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["two-members", "two-members-crash"] {
        audits("store", world);
    }
}

fn machine(me: u64, members: usize) -> Store {
    Store {
        me: NodeId(me),
        members: NodeSet::first(members),
    }
}

fn get(ticket: u64, key: &str) -> Call {
    let key = key.into();
    Call::Get { ticket, key }
}

fn put(ticket: u64, key: &str, value: &str) -> Call {
    let (key, value) = (key.into(), value.into());
    Call::Put { ticket, key, value }
}

fn swap(ticket: u64, key: &str, expected: Option<&str>, new: &str) -> Call {
    Call::CompareAndSwap {
        ticket,
        key: key.into(),
        expected: expected.map(Into::into),
        new: new.into(),
    }
}

fn got(ticket: u64, value: Option<&str>) -> Event {
    let value = value.map(Into::into);
    Event::Got { ticket, value }
}

fn refused(ticket: u64, refusal: Refusal) -> Event {
    Event::Refused { ticket, refusal }
}

/// Members among which every message arrives, in the order of sending, unless `down` has an end of it.
struct Members {
    machines: Vec<Store>,
    states: Vec<State<Store>>,
    mail: VecDeque<(NodeId, NodeId, Message)>,
    told: Vec<(NodeId, Event)>,
    down: NodeSet,
}

impl Members {
    fn new(count: usize) -> Self {
        let members = NodeSet::first(count).iter();
        let machines: Vec<Store> = members.map(|me| machine(me.0, count)).collect();
        let booted = (machines.iter()).map(|machine| boot(machine, Durable::default()).state);
        Self {
            states: booted.collect(),
            machines,
            mail: VecDeque::new(),
            told: Vec::new(),
            down: NodeSet::EMPTY,
        }
    }

    /// Members of which the first leads.
    fn led(count: usize) -> Self {
        let mut members = Self::new(count);
        members.give(0, Input::Timer(Timer::Election));
        members.settle();
        members.told.clear();
        members
    }

    fn give(&mut self, node: usize, input: Input<Store>) {
        let state = self.states[node].clone();
        let Step { state, sealed } = step(&self.machines[node], state, input);
        self.states[node] = state;
        let from = NodeId(node as u64);
        for output in sealed.persist(|_| Ok::<(), ()>(())).expect("a disk") {
            match output {
                Output::Send { to, message } => self.mail.push_back((from, to, message)),
                Output::Event(event) => self.told.push((from, event)),
                Output::Arm(_) | Output::Disarm(_) => {}
            }
        }
    }

    fn call(&mut self, node: usize, call: Call) {
        self.give(node, Input::Call(call));
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.mail.pop_front() {
            if !self.down.contains(from) && !self.down.contains(to) {
                let to = usize::try_from(to.0).expect("a member");
                self.give(to, Input::Message { from, message });
            }
        }
    }

    /// What a member told, but for elections and decisions.
    fn replies(&self, node: usize) -> Vec<Event> {
        let own = |(from, event): &(NodeId, Event)| match event {
            Event::Promised { .. } | Event::Elected { .. } | Event::Decided { .. } => None,
            Event::Done { .. }
            | Event::Got { .. }
            | Event::Mismatched { .. }
            | Event::Refused { .. }
            | Event::Unknown { .. } => (from.0 == node as u64).then(|| event.clone()),
        };
        self.told.iter().filter_map(own).collect()
    }
}

#[test]
fn a_store_of_one_serves_by_itself() {
    let mut members = Members::led(1);
    for call in [
        get(0, "x"),
        put(1, "x", "A"),
        swap(2, "x", Some("A"), "B"),
        swap(3, "x", None, "C"),
        get(4, "x"),
        get(5, "y"),
    ] {
        members.call(0, call);
    }
    assert!(members.mail.is_empty());
    let expected = [
        got(0, None),
        Event::Done { ticket: 1 },
        Event::Done { ticket: 2 },
        Event::Mismatched { ticket: 3 },
        got(4, Some("B")),
        got(5, None),
    ];
    assert_eq!(members.replies(0), expected);
}

#[test]
fn requests_of_a_key_are_served_one_after_the_other_and_keys_side_by_side() {
    let mut members = Members::led(3);
    for call in [
        put(0, "x", "A"),
        put(1, "y", "B"),
        get(2, "x"),
        swap(3, "x", Some("A"), "C"),
        get(4, "x"),
        get(5, "y"),
    ] {
        members.call(0, call);
    }
    assert_eq!(members.replies(0), [], "nobody was heard of yet");
    members.settle();
    let mut replies = members.replies(0);
    replies.sort();
    let expected = [
        Event::Done { ticket: 0 },
        Event::Done { ticket: 1 },
        Event::Done { ticket: 3 },
        got(2, Some("A")),
        got(4, Some("C")),
        got(5, Some("B")),
    ];
    assert_eq!(replies, expected);
    // All have heard the second phase.
    for state in &members.states {
        let mut records = state.durable.records.values();
        assert_eq!(state.durable.records.len(), 2);
        assert!(records.all(|record| record.standing == Standing::Committed));
    }
}

#[test]
fn who_does_not_lead_refuses_and_says_who_does() {
    let mut members = Members::led(3);
    let leader = Some(NodeId(0));
    members.call(1, get(7, "x"));
    let refusal = Refusal::NotLeader { leader };
    assert_eq!(members.replies(1), [refused(7, refusal)]);
    // A candidate knows of nobody.
    members.give(2, Input::Timer(Timer::Election));
    members.call(2, get(8, "x"));
    let refusal = Refusal::NotLeader { leader: None };
    assert_eq!(members.replies(2), [refused(8, refusal)]);
}

#[test]
fn a_minority_answers_nothing() {
    let mut members = Members::led(3);
    members.down = [NodeId(1), NodeId(2)].into_iter().collect();
    members.call(0, put(0, "x", "A"));
    members.call(0, get(1, "y"));
    members.settle();
    for _ in 0..3 {
        members.give(0, Input::Timer(Timer::Heartbeat));
        members.settle();
    }
    assert_eq!(members.replies(0), []);
    // The first who is back makes a majority.
    members.down.remove(NodeId(2));
    members.give(0, Input::Timer(Timer::Heartbeat));
    members.settle();
    assert_eq!(
        members.replies(0),
        [got(1, None), Event::Done { ticket: 0 }]
    );
}

#[test]
fn a_deposed_leader_says_what_became_of_each_call() {
    let mut members = Members::led(3);
    members.call(0, put(0, "x", "A"));
    members.settle();
    members.told.clear();
    // Of this key nothing has to be inquired any more: the second put is being written.
    members.call(0, put(1, "x", "B"));
    members.call(0, get(2, "x"));
    // Of this one the leader inquires still.
    members.call(0, put(3, "y", "C"));
    members.mail.clear();
    members.give(1, Input::Timer(Timer::Election));
    members.settle();
    let refusal = Refusal::NotLeader { leader: None };
    assert_eq!(
        members.replies(0),
        [
            Event::Unknown { ticket: 1 },
            refused(2, refusal),
            refused(3, refusal)
        ]
    );
    // Its successor finds the write, and finishes it.
    members.call(1, get(4, "x"));
    members.call(1, get(5, "y"));
    members.settle();
    assert_eq!(members.replies(1), [got(5, None), got(4, Some("B"))]);
}

#[test]
fn what_only_a_minority_prepared_gives_way() {
    let mut members = Members::led(3);
    members.call(0, put(0, "x", "A"));
    members.settle();
    members.call(0, put(1, "x", "B"));
    members.mail.clear();
    members.down.insert(NodeId(0));
    members.give(1, Input::Timer(Timer::Election));
    members.settle();
    members.call(1, get(2, "x"));
    members.settle();
    members.call(1, put(3, "x", "C"));
    members.settle();
    assert_eq!(
        members.replies(1),
        [got(2, Some("A")), Event::Done { ticket: 3 }]
    );
    // Who was away has what was never decided, until it hears of a newer record.
    let value = |members: &Members| members.states[0].durable.records.get("x").cloned();
    assert_eq!(value(&members).map(|record| record.value), Some("B".into()));
    members.down.remove(NodeId(0));
    members.give(1, Input::Timer(Timer::Heartbeat));
    members.call(1, put(4, "x", "D"));
    members.settle();
    assert_eq!(value(&members).map(|record| record.value), Some("D".into()));
    let refusal = Refusal::NotLeader { leader: None };
    assert!(!members.replies(0).contains(&refused(1, refusal)));
    assert!(members.replies(0).contains(&Event::Unknown { ticket: 1 }));
}

#[test]
fn a_member_hears_nothing_of_a_term_that_is_over() {
    let mut members = Members::led(3);
    members.give(1, Input::Timer(Timer::Election));
    members.settle();
    let before = members.states[2].clone();
    assert_eq!(before.durable.term, Term(2));
    let (term, key) = (Term(1), "x".to_owned());
    let (number, version, value) = (9, 1, "A".to_owned());
    let over = [
        Message::RequestVote { term },
        Message::Lead { term },
        Message::Inquire {
            term,
            number,
            key: key.clone(),
        },
        Message::Prepare {
            term,
            number,
            key: key.clone(),
            version,
            value: value.clone(),
        },
        Message::Commit {
            term,
            key,
            version,
            value,
        },
    ];
    for message in over {
        let from = NodeId(0);
        members.give(2, Input::Message { from, message });
    }
    assert_eq!(members.states[2], before);
    assert!(members.mail.is_empty(), "nothing is answered");
}

#[test]
fn a_restart_is_a_follower_of_the_term_that_it_promised() {
    let mut members = Members::led(3);
    members.call(0, put(0, "x", "A"));
    members.settle();
    let disk = members.states[0].durable.clone();
    let restarted = boot(&members.machines[0], disk.clone()).state;
    assert_eq!(restarted.durable, disk);
    assert_eq!(disk.term, Term(1));
    assert_eq!(restarted.volatile.role, Role::Follower { leader: None });
}

#[test]
fn what_fits_no_datagram_is_refused() {
    let mut members = Members::led(3);
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    let value = "v".repeat(VALUE_BYTES_MAX + 1);
    for call in [
        get(0, &key),
        put(1, &key, "A"),
        put(2, "x", &value),
        swap(3, "x", None, &value),
        swap(4, "x", Some(&value), "A"),
    ] {
        members.call(0, call);
    }
    let expected: Vec<Event> = (0..5)
        .map(|ticket| refused(ticket, Refusal::TooLong))
        .collect();
    assert_eq!(members.replies(0), expected);
    members.call(0, get(5, &key[1..]));
    members.call(0, put(6, &key[1..], &value[1..]));
    assert_eq!(members.replies(0).len(), 5);
}

/// A datagram has 1,200 bytes, of which a frame takes less than a tenth.
#[test]
fn the_longest_messages_fit_a_datagram() {
    let term = Term(u64::MAX);
    let (number, version) = (u64::MAX, u64::MAX);
    let (key, value) = ("k".repeat(KEY_BYTES_MAX), "v".repeat(VALUE_BYTES_MAX));
    let record = Some(Record::prepared(term, version, value.clone()).committed());
    let report = Message::Report {
        term,
        number,
        key: key.clone(),
        record,
    };
    let prepare = Message::Prepare {
        term,
        number,
        key: key.clone(),
        version,
        value: value.clone(),
    };
    let commit = Message::Commit {
        term,
        key,
        version,
        value,
    };
    for message in [report, prepare, commit] {
        let bytes = postcard::to_stdvec(&message).expect("it can be encoded");
        assert!(bytes.len() <= 1_100, "{} bytes", bytes.len());
    }
}

#[test]
fn a_leader_that_is_busy_refuses_more() {
    let mut members = Members::led(3);
    let count = REQUESTS_MAX as u64;
    for ticket in 0..=count {
        members.call(0, get(ticket, "x"));
    }
    assert_eq!(members.replies(0), [refused(count, Refusal::Busy)]);
    for ticket in 1..KEYS_MAX as u64 {
        members.call(0, get(count + ticket, &ticket.to_string()));
    }
    assert_eq!(members.replies(0).len(), 1);
    members.call(0, get(u64::MAX, "y"));
    assert_eq!(
        members.replies(0).last(),
        Some(&refused(u64::MAX, Refusal::Busy))
    );
}

/// Who is no member is asked nothing, and what it says counts for nothing.
#[test]
fn strangers_count_for_nothing() {
    let stranger = machine(7, 3);
    let Step { state, sealed } = boot(&stranger, Durable::default());
    let outputs = sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
    assert_eq!(outputs, [], "it never stands");
    let (from, term) = (NodeId(0), Term(1));
    let message = Message::RequestVote { term };
    let asked = step(&stranger, state.clone(), Input::Message { from, message });
    assert_eq!(asked.state, state);

    let mut members = Members::new(3);
    members.give(0, Input::Timer(Timer::Election));
    let before = members.states[0].clone();
    let (from, message) = (NodeId(7), Message::Vote { term });
    members.give(0, Input::Message { from, message });
    assert_eq!(members.states[0], before);
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..4_u64, 1 => Just(u64::MAX - 1), 1 => Just(u64::MAX)]
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term)
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[xy]", 1 => "k{129}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[AB]", 1 => "v{769}"]
}

fn record() -> impl Strategy<Value = Record> {
    let standings = prop_oneof![Just(Standing::Prepared), Just(Standing::Committed)];
    (term(), number(), standings, value()).prop_map(|(term, version, standing, value)| Record {
        term,
        version,
        standing,
        value,
    })
}

fn election() -> impl Strategy<Value = Message> {
    prop_oneof![
        1 => term().prop_map(|term| Message::RequestVote { term }),
        3 => term().prop_map(|term| Message::Vote { term }),
        1 => term().prop_map(|term| Message::Lead { term }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        2 => election(),
        1 => (term(), number(), key()).prop_map(|(term, number, key)| Message::Inquire { term, number, key }),
        2 => (term(), number(), key(), option::of(record())).prop_map(|(term, number, key, record)| {
            Message::Report {
                term,
                number,
                key,
                record,
            }
        }),
        1 => (term(), number(), key(), number(), value()).prop_map(
            |(term, number, key, version, value)| Message::Prepare {
                term,
                number,
                key,
                version,
                value,
            }
        ),
        2 => (term(), number(), key()).prop_map(|(term, number, key)| Message::Prepared { term, number, key }),
        1 => (term(), key(), number(), value()).prop_map(|(term, key, version, value)| Message::Commit {
            term,
            key,
            version,
            value,
        }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (any::<u64>(), key()).prop_map(|(ticket, key)| Call::Get { ticket, key }),
        (any::<u64>(), key(), value()).prop_map(|(ticket, key, value)| Call::Put {
            ticket,
            key,
            value
        }),
        (any::<u64>(), key(), option::of(value()), value()).prop_map(
            |(ticket, key, expected, new)| Call::CompareAndSwap {
                ticket,
                key,
                expected,
                new,
            }
        ),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Store>> {
    let timers = prop_oneof![Just(Timer::Election), Just(Timer::Heartbeat)];
    prop_oneof![
        4 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        2 => timers.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 1..4_usize,
        moves in vec(one_move(), 0..80),
    ) {
        laws::check(&machine(me, members), moves);
    }

    /// A later term is newer whatever the version; then a later version; then what is decided.
    #[test]
    fn records_are_ordered_by_term_then_by_version_then_by_standing(
        one in record(),
        other in record(),
    ) {
        let names = |record: &Record| (record.term, record.version, record.standing);
        let order = names(&one).cmp(&names(&other));
        if order != Ordering::Equal {
            prop_assert_eq!(one.cmp(&other), order);
        }
        prop_assert!(one <= one.clone().committed());
    }

    /// Whatever a lone member of three is told in whatever order, it keeps the newest record.
    #[test]
    fn a_member_keeps_the_newest_record(versions in vec(1..9_u64, 1..12)) {
        let mut members = Members::new(3);
        for version in &versions {
            let message = Message::Prepare {
                term: Term(1),
                number: *version,
                key: "x".into(),
                version: *version,
                value: version.to_string(),
            };
            members.give(1, Input::Message { from: NodeId(0), message });
        }
        let kept = members.states[1].durable.records.get("x").map(|record| record.version);
        prop_assert_eq!(kept, versions.iter().copied().max());
        prop_assert_eq!(members.mail.len(), versions.len(), "and answers each");
    }
}
