//! Members of both kinds in one cluster agree on what is committed.

use quorate::machine::NodeId;
use quorate_differential::border::{Said, comes_back, name};
use quorate_differential::{Counts, Plan, Promise, Sabotage, run};
use raft::eraftpb::{self, MessageType};

const SEEDS: u64 = 8_000;

#[test]
fn members_of_both_kinds_agree_on_what_is_committed() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let plan = Plan::of(seed, None);
        match run(&plan) {
            Ok(one) => counts.add(&one),
            Err(fall) => panic!("{fall}, by {plan:?}"),
        }
    }
    // Nothing of this is rare, whosever member it is, and whosever leader: once in four runs at least.
    let often = |counts: &[u64]| counts.iter().all(|count| SEEDS / 4 < *count);
    let [elections, restarts] = [counts.elections, counts.restarts];
    let [committed, indirect] = [counts.committed, counts.indirect];
    assert!(
        [elections, restarts, committed, indirect]
            .iter()
            .all(|counts| often(counts)),
        "{counts:?}"
    );
    let [replicated, truncated] = [counts.replicated, counts.truncated];
    let [heard, conflicts] = [counts.heard, counts.conflicts];
    let each = [replicated, truncated, heard, conflicts];
    assert!(
        each.iter().flatten().all(|counts| often(counts)),
        "{counts:?}"
    );
    // Heartbeats of theirs, and answers to them: ours have none among themselves.
    let [[none, theirs], answers] = counts.heartbeats;
    assert!(
        none == 0 && often(&[theirs]) && often(&answers),
        "{counts:?}"
    );
    // Three of one kind are one in eight, and half of the clusters are of three.
    assert!(
        counts.alone.iter().all(|count| SEEDS / 20 < *count),
        "{counts:?}"
    );
}

/// One member of ours is wrong, and it is found in one of 500 seeds at the latest, by this promise.
#[track_caller]
fn falls(promise: Promise, wrong: Sabotage) {
    let falls =
        |seed: &u64| run(&Plan::of(*seed, Some(wrong))).is_err_and(|fall| fall.promise == promise);
    assert!((0..500).any(|seed| falls(&seed)), "{wrong:?}");
}

#[test]
fn election_safety_falls_when_one_votes_twice() {
    falls(Promise::ElectionSafety, Sabotage::VotesTwice);
}

#[test]
fn election_safety_falls_when_one_counts_late_votes() {
    falls(Promise::ElectionSafety, Sabotage::CountsLateVotes);
}

#[test]
fn log_matching_falls_when_one_appends_blindly() {
    falls(Promise::LogMatching, Sabotage::AppendsBlindly);
}

#[test]
fn leader_completeness_falls_when_one_votes_for_any_log() {
    falls(Promise::LeaderCompleteness, Sabotage::VotesForAnyLog);
}

#[test]
fn state_machine_safety_falls_when_one_commits_its_tail() {
    falls(Promise::StateMachineSafety, Sabotage::CommitsItsTail);
}

#[test]
fn committed_entries_survive_falls_when_one_acknowledges_unread() {
    falls(
        Promise::CommittedEntriesSurvive,
        Sabotage::AcknowledgesUnread,
    );
}

#[test]
fn committed_entries_survive_falls_when_one_believes_more() {
    falls(Promise::CommittedEntriesSurvive, Sabotage::BelievesMore);
}

#[test]
fn committed_entries_survive_falls_when_one_forgets() {
    falls(Promise::CommittedEntriesSurvive, Sabotage::Forgets);
}

#[test]
fn a_leader_commits_falls_when_one_answers_no_leader() {
    falls(Promise::ALeaderCommits, Sabotage::AnswersNoLeader);
}

#[test]
fn nobody_panics_falls_when_one_does() {
    falls(Promise::NobodyPanics, Sabotage::Panics);
}

#[test]
fn what_the_border_would_drop_is_noticed() {
    let [from, to] = [0, 1].map(NodeId);
    let mut message = eraftpb::Message::default();
    message.set_msg_type(MessageType::MsgAppend);
    message.set_from(name(from));
    message.set_to(name(to));
    let comes =
        |message: &eraftpb::Message| comes_back(from, to, &Said::Theirs(Box::new(message.clone())));
    assert!(comes(&message));
    message.set_request_snapshot(1);
    assert!(!comes(&message));
}
