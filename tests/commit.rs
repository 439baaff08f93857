//! Two-phase commit: its promises hold, each falls when something is taken away, and the one that it
//! does not make falls by itself.

use std::collections::{BTreeSet, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::commit::{
    BRANCH_BYTES_MAX, BRANCH_KEYS_MAX, Call, Commit, Event, Message, Outcome, Refusal, Timer,
    Transaction, VOTING_MAX, Vote, Writes,
};
use quorate::data::{Map, NodeSet};
use quorate::machine::{Durable, Input, NodeId, Output, Step, boot, step};
use quorate_models::commit::specification::{Stage, TransactionCommit, leads};
use quorate_models::commit::{
    AC1, AC2, AC3, AC4, AC5, CALLS_RETURN, ONE_LOCK, ONE_ORDER, RECOVERY, TERMINATION, obligations,
    refining, stages, wrong_obligations,
};
use quorate_models::engine::{Options, search, unwatched};
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};
use quorate_models::yardstick::paxos_commit::paxos_commit;
use quorate_models::yardstick::{self, two_phase};
use stateright::{Checker, Model};

#[test]
fn promises_hold_without_faults() {
    holds("commit", "calm", 1_573);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("commit", "crash", 14_123);
}

#[test]
fn promises_hold_with_one_cut_of_any_shape() {
    holds("commit", "cut", 55_055);
}

#[test]
fn promises_hold_with_one_crash_and_one_cut() {
    holds("commit", "crash-and-cut", 494_305);
}

#[test]
fn promises_hold_when_the_coordinator_takes_part() {
    holds("commit", "coordinator-takes-part", 34_034);
}

#[test]
fn all_but_ac5_hold_when_what_crashes_stays_dead() {
    holds("commit", "crash-stop", 82_231);
}

#[test]
fn promises_hold_with_two_transactions_that_meet() {
    holds("commit", "two-transactions", 999);
}

#[test]
fn promises_hold_with_two_transactions_and_a_crash() {
    holds("commit", "two-transactions-crash", 7_299);
}

#[test]
fn promises_hold_with_two_transactions_of_three_participants_and_a_crash() {
    holds("commit", "two-of-three-crash", 886_243);
}

#[test]
fn promises_hold_with_two_transactions_of_three_participants() {
    holds("commit", "two-of-three", 103_405);
}

#[test]
fn promises_hold_with_two_transactions_in_a_row_and_a_crash() {
    holds("commit", "two-in-a-row", 53_976);
}

#[test]
fn ac5_falls_when_the_coordinator_stays_dead() {
    refutes("commit", "coordinator-stays-dead", AC5);
}

#[test]
fn ac2_falls_when_the_first_vote_decides() {
    refutes("commit", "first-vote-decides", AC2);
}

#[test]
fn ac2_falls_when_only_the_healthy_are_asked() {
    refutes("commit", "only-the-healthy", AC2);
}

#[test]
fn ac4_falls_when_prepare_keeps_no_vote() {
    refutes("commit", "no-vote-kept", AC4);
}

#[test]
fn ac1_falls_when_a_restart_forgets_the_vote() {
    refutes("commit", "vote-forgotten", AC1);
}

#[test]
fn ac1_falls_when_a_participant_in_doubt_aborts() {
    refutes("commit", "abort-in-doubt", AC1);
}

#[test]
fn ac2_falls_when_a_participant_in_doubt_commits() {
    refutes("commit", "commit-in-doubt", AC2);
}

#[test]
fn ac1_falls_when_recovery_races_the_votes() {
    refutes("commit", "presumes-too-soon", AC1);
}

#[test]
fn ac1_falls_when_those_in_doubt_decide() {
    refutes("commit", "doubters-decide", AC1);
}

#[test]
fn ac1_falls_when_recovery_races_the_question_to_vote() {
    refutes("commit", "refusal-not-kept", AC1);
}

#[test]
fn ac1_falls_when_the_commit_record_is_not_forced() {
    refutes("commit", "record-not-forced", AC1);
}

#[test]
fn ac1_falls_when_the_commit_record_ends_too_early() {
    refutes("commit", "end-too-early", AC1);
}

#[test]
fn ac1_falls_when_the_disk_lies() {
    refutes("commit", "lying-disk", AC1);
}

#[test]
fn ac2_falls_when_names_repeat_after_a_restart() {
    refutes("commit", "incarnation-forgotten", AC2);
}

#[test]
fn ac3_falls_when_an_abort_names_a_key() {
    refutes("commit", "abort-by-key", AC3);
}

#[test]
fn ac4_falls_when_a_question_that_comes_again_locks_again() {
    refutes("commit", "prepares-again", AC4);
}

#[test]
fn one_lock_falls_when_prepare_locks_nothing() {
    refutes("commit", "locks-nothing", ONE_LOCK);
}

#[test]
fn one_order_falls_when_prepare_locks_nothing() {
    refutes("commit", "last-writer-wins", ONE_ORDER);
}

#[test]
fn recovery_falls_when_the_decision_is_said_once() {
    refutes("commit", "said-once", RECOVERY);
}

#[test]
fn recovery_falls_when_nobody_in_doubt_asks() {
    refutes("commit", "no-inquiry", RECOVERY);
}

#[test]
fn termination_falls_when_nobody_in_doubt_asks() {
    refutes("commit", "in-doubt-for-ever", TERMINATION);
}

#[test]
fn termination_falls_when_the_coordinator_stays_dead() {
    refutes("commit", "blocked-for-ever", TERMINATION);
}

#[test]
fn calls_return_falls_without_retries() {
    refutes("commit", "no-retries", CALLS_RETURN);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_rise_when_a_participant_prepares_again() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in [
        "calm",
        "crash",
        "two-transactions",
        "two-transactions-crash",
    ] {
        audits("commit", world);
    }
}

/// 34 states for three participants under TLC.
#[test]
fn transaction_commit_has_the_states_that_others_count() {
    let found = |participants| {
        let checker = TransactionCommit(participants).checker().spawn_bfs().join();
        checker.assert_properties();
        checker.unique_state_count()
    };
    assert_eq!(found(3), 34);
    // With nobody committed each is at one of three stages; else each is prepared or committed.
    for participants in 1..=6 {
        let exponent = u32::try_from(participants).expect("a few");
        assert_eq!(
            found(participants),
            3_usize.pow(exponent) + 2_usize.pow(exponent) - 1
        );
    }
}

#[test]
fn gray_and_lamports_two_phase_commit_has_the_states_that_others_count() {
    for (resources, states) in [(3, 288), (5, 8_832)] {
        let outcome = search(&two_phase(resources), Options::default(), &mut unwatched);
        assert_eq!(outcome.verdict.to_string(), "EXHAUSTED");
        assert_eq!(outcome.unique, states);
    }
}

/// 1,321,761 states under TLC, for two resource managers, three acceptors and the ballots 0 and 1.
/// `yardstick/paxos_commit.rs` says what it took to be equal.
#[test]
fn gray_and_lamports_paxos_commit_has_the_states_that_others_count() {
    let outcome = search(&paxos_commit(2, 3, 1), Options::default(), &mut unwatched);
    assert_eq!(outcome.verdict.to_string(), "EXHAUSTED");
    assert_eq!(outcome.unique, 1_321_761);
}

/// It solves the problem: whatever it does, step by step, is something that the problem allows. And it
/// reaches all that the problem allows.
#[test]
fn two_phase_commit_refines_transaction_commit() {
    let world = refining();
    let mut seen = HashSet::from([world.initial()]);
    let mut waiting = vec![world.initial()];
    let mut reached = BTreeSet::new();
    while let Some(last) = waiting.pop() {
        let from = stages(&last);
        reached.insert(from.clone());
        world.each_action(&last, |action| {
            if let Some(next) = world.apply(&last, &action) {
                let to = stages(&next);
                assert!(leads(&from, &to), "{from:?} to {to:?} by {action:?}");
                if seen.insert(next.clone()) {
                    waiting.push(next);
                }
            }
        });
    }
    assert_eq!(reached.len(), 34, "of the 34 states of the problem");
}

#[test]
fn gray_and_lamports_two_phase_commit_refines_transaction_commit() {
    let world = two_phase(3);
    let stages = |state: &quorate_models::snapshot::Snapshot<yardstick::TwoPhase, _>| {
        let stage = |stage: &yardstick::Stage| match stage {
            yardstick::Stage::Working => Some(Stage::Working),
            yardstick::Stage::Prepared => Some(Stage::Prepared),
            yardstick::Stage::Committed => Some(Stage::Committed),
            yardstick::Stage::Aborted => Some(Stage::Aborted),
            yardstick::Stage::Deciding(_) | yardstick::Stage::Decided(..) => None,
        };
        (state.running())
            .filter_map(|(_, node)| stage(&node.volatile))
            .collect::<Vec<_>>()
    };
    let mut seen = HashSet::from([world.initial()]);
    let mut waiting = vec![world.initial()];
    while let Some(last) = waiting.pop() {
        world.each_action(&last, |action| {
            if let Some(next) = world.apply(&last, &action) {
                assert!(leads(&stages(&last), &stages(&next)), "{action:?}");
                if seen.insert(next.clone()) {
                    waiting.push(next);
                }
            }
        });
    }
    assert_eq!(seen.len(), 288);
}

fn writes(key: &str, value: &str) -> Writes {
    Writes::from_iter([(key.to_owned(), value.to_owned())])
}

fn begin(ticket: u64, branches: impl IntoIterator<Item = (u64, Writes)>) -> Input<Commit> {
    let branches = branches
        .into_iter()
        .map(|(node, writes)| (NodeId(node), writes));
    let branches = branches.collect();
    Input::Call(Call::Begin { ticket, branches })
}

/// What a lone node of three tells when it is given these inputs.
fn told(inputs: impl IntoIterator<Item = Input<Commit>>) -> Vec<Event> {
    let members = NodeSet::first(3);
    let machine = Commit {
        me: NodeId(0),
        members,
    };
    let Step { mut state, .. } = boot(&machine, quorate::commit::Durable::default());
    let mut told = Vec::new();
    for input in inputs {
        let after = step(&machine, state, input);
        state = after.state;
        let outputs = after.sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        told.extend(outputs.into_iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        }));
    }
    told
}

#[test]
fn a_call_that_cannot_become_a_transaction_is_refused() {
    let refused = |input| match told([input]).as_slice() {
        [Event::Refused { ticket: 7, refusal }] => Some(*refusal),
        _ => None,
    };
    assert_eq!(refused(begin(7, [])), Some(Refusal::Empty));
    assert_eq!(
        refused(begin(7, [(3, writes("x", "A"))])),
        Some(Refusal::Stranger)
    );
    assert_eq!(
        refused(begin(7, [(64, writes("x", "A"))])),
        Some(Refusal::Stranger)
    );
    let value = "v".repeat(BRANCH_BYTES_MAX);
    assert_eq!(
        refused(begin(7, [(1, writes("x", &value))])),
        Some(Refusal::TooLong)
    );
    assert_eq!(refused(begin(7, [(1, writes("", &value))])), None);
    let keys = |count: usize| {
        (0..count)
            .map(|key| (key.to_string(), String::new()))
            .collect()
    };
    assert_eq!(
        refused(begin(7, [(1, keys(BRANCH_KEYS_MAX + 1))])),
        Some(Refusal::TooLong)
    );
    assert_eq!(refused(begin(7, [(1, keys(BRANCH_KEYS_MAX))])), None);
}

#[test]
fn a_node_that_is_busy_refuses_more() {
    let count = VOTING_MAX as u64;
    let calls = (0..=count).map(|ticket| begin(ticket, [(1, writes("x", "A"))]));
    let refusal = Refusal::Busy;
    let last = Event::Refused {
        ticket: count,
        refusal,
    };
    assert_eq!(told(calls).last(), Some(&last));
}

/// Transactions that share no key are decided side by side; one that meets another is not.
#[test]
fn locks_are_per_key() {
    let outcomes: Vec<_> = told([
        begin(0, [(0, writes("x", "A")), (1, writes("x", "A"))]),
        begin(1, [(0, writes("y", "B"))]),
        begin(2, [(0, writes("x", "C"))]),
    ])
    .into_iter()
    .filter_map(|event| match event {
        Event::Done {
            ticket, outcome, ..
        } => Some((ticket, outcome)),
        Event::Begun { .. }
        | Event::Voted { .. }
        | Event::Decided { .. }
        | Event::TimedOut { .. }
        | Event::Refused { .. } => None,
    })
    .collect();
    assert_eq!(outcomes, [(1, Outcome::Commit), (2, Outcome::Abort)]);
}

#[test]
fn the_end_of_a_commit_record_is_a_change_of_the_disk() {
    let transaction = Transaction {
        coordinator: NodeId(0),
        incarnation: 1,
        number: 0,
    };
    let older = quorate::commit::Durable {
        commits: [(transaction, NodeSet::first(2))].into_iter().collect(),
        ..Default::default()
    };
    let newer = quorate::commit::Durable::default();
    let mut journal = older.clone();
    for change in newer.changes_since(&older) {
        journal.apply(change);
    }
    assert_eq!(journal, newer);
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn transaction() -> impl Strategy<Value = Transaction> {
    (node(), 0..3_u64, 0..3_u64).prop_map(|(coordinator, incarnation, number)| Transaction {
        coordinator,
        incarnation,
        number,
    })
}

fn some_writes() -> impl Strategy<Value = Writes> {
    let value = prop_oneof![8 => "[AB]", 1 => "v{897}"];
    vec(("[xy]", value), 0..3).prop_map(Writes::from_iter)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Commit), Just(Outcome::Abort)]
}

fn message() -> impl Strategy<Value = Message> {
    let votes = prop_oneof![Just(Vote::Yes), Just(Vote::No)];
    let participants = vec(node(), 0..4).prop_map(NodeSet::from_iter);
    prop_oneof![
        (transaction(), participants, some_writes()).prop_map(
            |(transaction, participants, writes)| Message::Prepare {
                transaction,
                participants,
                writes
            }
        ),
        (transaction(), votes).prop_map(|(transaction, vote)| Message::Vote { transaction, vote }),
        (transaction(), outcome()).prop_map(|(transaction, outcome)| Message::Decision {
            transaction,
            outcome
        }),
        transaction().prop_map(|transaction| Message::Acknowledge { transaction }),
        transaction().prop_map(|transaction| Message::Inquire { transaction }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let branches = vec((node(), some_writes()), 0..4).prop_map(Map::from_iter);
    (any::<u64>(), branches).prop_map(|(ticket, branches)| Call::Begin { ticket, branches })
}

fn timer() -> impl Strategy<Value = Timer> {
    transaction().prop_flat_map(|transaction| {
        prop_oneof![
            Just(Timer::Retry(transaction)),
            Just(Timer::TimeOut(transaction)),
            Just(Timer::Inquire(transaction)),
        ]
    })
}

fn one_move() -> impl Strategy<Value = Move<Commit>> {
    prop_oneof![
        3 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        2 => timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
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
        let machine = Commit { me: NodeId(me), members: NodeSet::first(members) };
        laws::check(&machine, moves);
    }
}
