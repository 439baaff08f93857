//! Paxos Commit: it keeps the promises of two-phase commit, and the one that two-phase commit does not
//! make; each falls when something is taken away.

use std::collections::{BTreeSet, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::commit::{
    BRANCH_BYTES_MAX, Call, Event, Outcome, Refusal, Transaction, VOTING_MAX, Vote, Writes,
};
use quorate::data::{Map, NodeSet};
use quorate::machine::{Input, NodeId, Output, Step, boot, step};
use quorate::paxos_commit::{
    Acceptance, Ballot, Durable, Leading, Message, PaxosCommit, Timer, Values,
};
use quorate::quorum::Quorums;
use quorate_models::commit::specification::leads;
use quorate_models::laws::{self, Move};
use quorate_models::paxos_commit::{
    AC1, AC2, AC3, AC4, AC5, CALLS_RETURN, ONE_LOCK, ONE_ORDER, RECOVERY, compared_calms,
    obligations, refining, stages, symmetries, wrong_obligations,
};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn promises_hold_without_faults() {
    holds("paxos_commit", "calm", 7_533);
}

#[test]
fn promises_hold_with_one_crash() {
    holds("paxos_commit", "crash", 105_921);
}

#[test]
fn promises_hold_with_one_cut_of_any_shape() {
    holds("paxos_commit", "cut", 105_462);
}

#[test]
fn promises_hold_with_one_crash_and_one_cut() {
    holds("paxos_commit", "crash-and-cut", 1_482_894);
}

#[test]
fn promises_hold_with_ballots_of_two_rounds() {
    holds("paxos_commit", "two-rounds", 28_442);
}

#[test]
fn promises_hold_with_ballots_of_two_rounds_and_a_crash() {
    holds("paxos_commit", "two-rounds-crash", 351_684);
}

#[test]
fn promises_hold_when_acceptors_do_nothing_else() {
    holds("paxos_commit", "acceptors-apart", 121_287);
}

#[test]
fn promises_hold_with_a_crash_when_everyone_does_one_thing() {
    holds("paxos_commit", "all-apart", 251_336);
}

#[test]
fn promises_hold_when_the_coordinator_takes_no_part() {
    holds("paxos_commit", "coordinator-apart", 329_319);
}

#[test]
fn promises_hold_with_three_participants() {
    holds("paxos_commit", "three-participants", 1_617_784);
}

#[test]
fn promises_hold_with_two_transactions_that_meet() {
    holds("paxos_commit", "two-transactions", 449_475);
}

#[test]
fn promises_hold_with_two_transactions_in_a_row_and_a_crash() {
    holds("paxos_commit", "two-in-a-row", 255_401);
}

#[test]
fn ac5_holds_when_any_node_stays_dead() {
    holds("paxos_commit", "crash-stop", 40_580);
}

#[test]
fn ac5_holds_when_an_acceptor_and_any_other_node_stay_dead() {
    holds("paxos_commit", "crash-stop-two", 606_831);
}

#[test]
fn ac1_falls_when_an_acceptor_forgets() {
    refutes("paxos_commit", "acceptor-forgets", AC1);
}

#[test]
fn ac1_falls_when_a_promise_is_not_kept() {
    refutes("paxos_commit", "promise-not-kept", AC1);
}

#[test]
fn ac1_falls_when_two_leaders_share_a_ballot() {
    refutes("paxos_commit", "ballots-shared", AC1);
}

#[test]
fn ac1_falls_when_a_leader_begins_a_ballot_twice() {
    refutes("paxos_commit", "ballots-again", AC1);
}

#[test]
fn ac1_falls_when_a_leader_does_not_ask_first() {
    refutes("paxos_commit", "no-phase-one", AC1);
}

#[test]
fn ac1_falls_when_a_leader_aborts_what_was_chosen() {
    refutes("paxos_commit", "aborts-what-was-chosen", AC1);
}

#[test]
fn ac1_falls_when_the_lowest_ballot_counts() {
    refutes("paxos_commit", "lowest-ballot", AC1);
}

#[test]
fn ac1_falls_when_an_answer_counts_twice() {
    refutes("paxos_commit", "counted-twice", AC1);
}

#[test]
fn ac1_falls_when_ballots_are_counted_together() {
    refutes("paxos_commit", "ballots-together", AC1);
}

#[test]
fn ac1_falls_when_f_acceptors_promise() {
    refutes("paxos_commit", "few-promise", AC1);
}

#[test]
fn ac1_falls_when_f_acceptors_choose() {
    refutes("paxos_commit", "few-choose", AC1);
}

#[test]
fn ac1_falls_when_a_vote_is_taken_back() {
    refutes("paxos_commit", "takes-back", AC1);
}

#[test]
fn ac1_falls_when_a_participant_proposes_twice() {
    refutes("paxos_commit", "proposes-twice", AC1);
}

#[test]
fn ac1_falls_when_a_restart_forgets_the_vote() {
    refutes("paxos_commit", "vote-forgotten", AC1);
}

#[test]
fn ac1_falls_when_the_disk_lies() {
    refutes("paxos_commit", "lying-disk", AC1);
}

#[test]
fn ac2_falls_when_a_leader_chooses_commit_freely() {
    refutes("paxos_commit", "free-choice", AC2);
}

#[test]
fn ac2_falls_when_one_instance_decides() {
    refutes("paxos_commit", "one-instance", AC2);
}

#[test]
fn ac2_falls_when_names_repeat_after_a_restart() {
    refutes("paxos_commit", "incarnation-forgotten", AC2);
}

#[test]
fn ac3_falls_when_an_abort_names_a_key() {
    refutes("paxos_commit", "abort-by-key", AC3);
}

#[test]
fn ac4_falls_when_a_question_that_comes_again_locks_again() {
    refutes("paxos_commit", "prepares-again", AC4);
}

#[test]
fn ac5_falls_when_one_node_alone_may_lead() {
    refutes("paxos_commit", "one-leader-stays-dead", AC5);
}

#[test]
fn ac5_falls_when_f_and_one_more_acceptors_stay_dead() {
    refutes("paxos_commit", "many-stay-dead", AC5);
}

#[test]
fn ac5_falls_when_the_only_acceptor_stays_dead() {
    refutes("paxos_commit", "one-acceptor-stays-dead", AC5);
}

#[test]
fn one_lock_falls_when_prepare_locks_nothing() {
    refutes("paxos_commit", "locks-nothing", ONE_LOCK);
}

#[test]
fn one_order_falls_when_prepare_locks_nothing() {
    refutes("paxos_commit", "last-writer-wins", ONE_ORDER);
}

#[test]
fn recovery_falls_when_one_node_alone_may_lead() {
    refutes("paxos_commit", "one-leader-restarts", RECOVERY);
}

#[test]
fn recovery_falls_when_nobody_tells_a_leader_that_it_is_overtaken() {
    refutes("paxos_commit", "refuses-silently", RECOVERY);
}

#[test]
fn recovery_falls_when_a_leader_does_not_outbid() {
    refutes("paxos_commit", "never-outbids", RECOVERY);
}

#[test]
fn recovery_falls_when_a_restart_waits_for_nothing() {
    refutes("paxos_commit", "rests-after-restart", RECOVERY);
}

#[test]
fn recovery_falls_when_a_question_puts_off_the_alarm() {
    refutes("paxos_commit", "puts-off", RECOVERY);
}

#[test]
fn calls_return_falls_without_retries() {
    refutes("paxos_commit", "no-retries", CALLS_RETURN);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_rise_when_a_leader_counts_what_comes_too_late() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn acceptors_that_are_nothing_else_are_alike() {
    let discharged = symmetries().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(0 < discharged.mirrored && discharged.reduced < discharged.states);
}

#[test]
fn calms_are_remembered_as_they_are() {
    let [right, flawed] = compared_calms().unwrap_or_else(|failure| panic!("{failure}"));
    assert!(0 < right[0] && right[1] == 0, "it recovers: {right:?}");
    assert!(0 < flawed[0] && 0 < flawed[1], "not always: {flawed:?}");
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    audits("paxos_commit", "calm");
}

/// It solves the problem: whatever it does, step by step, is something that the problem allows. And it
/// reaches all that the problem allows.
#[test]
fn paxos_commit_refines_transaction_commit() {
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
    // With nobody committed each is at one of three stages; else each is prepared or committed.
    assert_eq!(reached.len(), 9 + 3, "of the 12 states of the problem");
}

fn writes(key: &str, value: &str) -> Writes {
    Writes::from_iter([(key.to_owned(), value.to_owned())])
}

fn begin(ticket: u64, branches: impl IntoIterator<Item = (u64, Writes)>) -> Input<PaxosCommit> {
    let branches = branches
        .into_iter()
        .map(|(node, writes)| (NodeId(node), writes));
    let branches = branches.collect();
    Input::Call(Call::Begin { ticket, branches })
}

/// What a lone node of three tells when it is given these inputs. It is the only acceptor.
fn told(inputs: impl IntoIterator<Item = Input<PaxosCommit>>) -> Vec<Event> {
    let machine = PaxosCommit {
        me: NodeId(0),
        members: NodeSet::first(3),
        acceptors: Quorums::majority(NodeSet::first(1)).expect("one is a majority of one"),
    };
    let Step { mut state, .. } = boot(&machine, Durable::default());
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
    let stranger = begin(7, [(3, writes("x", "A"))]);
    assert_eq!(refused(stranger), Some(Refusal::Stranger));
    let value = "v".repeat(BRANCH_BYTES_MAX);
    let long = begin(7, [(1, writes("x", &value))]);
    assert_eq!(refused(long), Some(Refusal::TooLong));
    assert_eq!(refused(begin(7, [(1, writes("", &value))])), None);
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

fn led(round: u64, leader: u64, incarnation: u64) -> Ballot {
    Ballot::Led {
        round,
        leader: NodeId(leader),
        incarnation,
    }
}

/// Nobody proposes twice in one ballot: not two leaders of a round, and not one that has restarted.
#[test]
fn ballots_go_by_round_and_each_has_one_owner() {
    let ballots = [
        Ballot::Zero,
        led(1, 0, 2),
        led(1, 1, 1),
        led(1, 1, 2),
        led(2, 0, 1),
    ];
    assert!(ballots.is_sorted());
    assert!(ballots.iter().collect::<HashSet<_>>().len() == ballots.len());
}

#[test]
fn a_leader_proposes_what_was_accepted_last_and_aborts_where_nothing_was() {
    let quorums = Quorums::majority(NodeSet::first(3)).expect("there are members");
    let mut leading = Leading::phase_1(NodeSet::first(3), led(3, 0, 1));
    let prepared = Values::vote(NodeId(0), Vote::Yes);
    let aborted = Values::vote(NodeId(1), Vote::No);
    assert_eq!(
        leading.promised(&quorums, NodeId(2), Ballot::Zero, aborted),
        None,
        "one of three is no majority"
    );
    assert_eq!(
        leading.promised(&quorums, NodeId(2), Ballot::Zero, aborted),
        None,
        "nor is it when it says it again"
    );
    let proposed = leading.promised(&quorums, NodeId(1), led(1, 1, 1), prepared);
    let proposed = proposed.expect("two of three are a majority");
    assert_eq!(proposed.prepared, NodeSet::first(1));
    assert_eq!(proposed.instances(), NodeSet::first(3));
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

fn nodes() -> impl Strategy<Value = NodeSet> {
    vec(node(), 0..4).prop_map(NodeSet::from_iter)
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

fn ballot() -> impl Strategy<Value = Ballot> {
    let round = prop_oneof![8 => 1..4_u64, 1 => Just(u64::MAX)];
    let led = (round, node(), 0..3_u64).prop_map(|(round, leader, incarnation)| Ballot::Led {
        round,
        leader,
        incarnation,
    });
    prop_oneof![2 => Just(Ballot::Zero), 5 => led]
}

fn values() -> impl Strategy<Value = Values> {
    (nodes(), nodes()).prop_map(|(prepared, aborted)| Values { prepared, aborted })
}

fn message() -> impl Strategy<Value = Message> {
    let outcomes = prop_oneof![Just(Outcome::Commit), Just(Outcome::Abort)];
    prop_oneof![
        (transaction(), nodes(), some_writes()).prop_map(|(transaction, participants, writes)| {
            Message::Prepare {
                transaction,
                participants,
                writes,
            }
        }),
        (transaction(), ballot()).prop_map(|(transaction, ballot)| Message::Phase1a {
            transaction,
            ballot
        }),
        (transaction(), ballot(), ballot(), values()).prop_map(
            |(transaction, ballot, accepted, values)| Message::Phase1b {
                transaction,
                ballot,
                accepted,
                values
            }
        ),
        (transaction(), nodes(), ballot(), values()).prop_map(
            |(transaction, participants, ballot, values)| Message::Phase2a {
                transaction,
                participants,
                ballot,
                values
            }
        ),
        (transaction(), ballot(), values()).prop_map(|(transaction, ballot, values)| {
            Message::Phase2b {
                transaction,
                ballot,
                values,
            }
        }),
        (transaction(), ballot(), any::<u64>()).prop_map(|(transaction, ballot, round)| {
            Message::Overtaken {
                transaction,
                ballot,
                round,
            }
        }),
        (transaction(), nodes(), outcomes).prop_map(|(transaction, participants, outcome)| {
            Message::Decision {
                transaction,
                participants,
                outcome,
            }
        }),
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
            Just(Timer::Lead(transaction))
        ]
    })
}

fn one_move() -> impl Strategy<Value = Move<PaxosCommit>> {
    prop_oneof![
        3 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        3 => timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        members in 1..4_usize,
        acceptors in 1..4_usize,
        moves in vec(one_move(), 0..80),
    ) {
        let acceptors = NodeSet::first(acceptors);
        let machine = PaxosCommit {
            me: NodeId(me),
            members: NodeSet::first(members),
            acceptors: Quorums::majority(acceptors).expect("there are acceptors"),
        };
        laws::check(&machine, moves);
    }

    /// What an acceptor has promised only rises, and in one ballot it takes nothing back.
    #[test]
    fn acceptors_take_nothing_back(steps in vec((any::<bool>(), ballot(), values()), 0..20)) {
        let mut one = Acceptance::default();
        for (asks, ballot, values) in steps {
            let before = one;
            let agreed = if asks { one.promise(ballot) } else { one.accept(ballot, values) };
            prop_assert_eq!(agreed, before.promised <= ballot);
            prop_assert!(before.promised <= one.promised && before.accepted <= one.accepted);
            prop_assert!(one.accepted <= one.promised);
            if one.accepted == Ballot::Zero {
                prop_assert!(before.values.prepared.is_subset(one.values.prepared));
                prop_assert!(before.values.aborted.is_subset(one.values.aborted));
            }
            prop_assert!(agreed || one == before);
        }
    }

    /// Which of several votes is heard first does not matter, as each participant has one.
    #[test]
    fn votes_add_up_in_any_order(votes in vec((0..6_u64, any::<bool>()), 0..8)) {
        let votes: Map<NodeId, bool> = votes.into_iter().map(|(id, yes)| (NodeId(id), yes)).collect();
        let vote = |(id, yes): (&NodeId, &bool)| {
            Values::vote(*id, if *yes { Vote::Yes } else { Vote::No })
        };
        let votes: Vec<Values> = votes.iter().map(vote).collect();
        let forwards = votes.iter().fold(Values::default(), |sum, one| sum.or(*one));
        let backwards = votes.iter().rev().fold(Values::default(), |sum, one| sum.or(*one));
        prop_assert_eq!(forwards, backwards);
        prop_assert!(forwards.is_sound());
        prop_assert_eq!(forwards.instances().len(), votes.len());
    }
}
