//! Raft: its promises hold, and each falls when something is taken away.

use quorate::raft::{Command, Operation, Reply, Session, Store};
use quorate_models::raft::{
    A_LEADER_COMMITS, ELECTION_SAFETY, LEADER_APPEND_ONLY, LEADER_COMPLETENESS, LINEARIZABLE,
    LOG_MATCHING, MATCH_INDEX, NOBODY_AGAINST, NOT_DEPOSED, OWN_TERM, SECOND_MAJORITY,
    STATE_MACHINE_SAFETY, STORES, SURVIVES, TRANSFER_ENDS, extended_mirrored, extended_obligations,
    mirrored, obligations, wrong_obligations,
};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[path = "raft/laws.rs"]
mod laws;
#[path = "raft/reading.rs"]
mod reading;

#[test]
fn promises_hold_with_two_commands_for_each_of_two_leaders() {
    holds("raft", "two-entries", 5_276_776);
}

#[test]
fn promises_hold_with_one_entry_per_message() {
    holds("raft", "one-by-one", 81_442);
}

#[test]
fn promises_hold_in_three_terms() {
    holds("raft", "three-terms", 4_011_908);
}

#[test]
fn promises_hold_with_two_crashes() {
    holds("raft", "two-crashes", 893_403);
}

#[test]
fn promises_hold_where_figure_8_begins() {
    holds("raft", "figure-8", 212_122);
}

#[test]
fn promises_hold_with_four_members() {
    holds("raft", "four-members", 550_106);
}

#[test]
fn promises_hold_with_five_members() {
    holds("raft", "five-members", 263_154);
}

#[test]
fn promises_hold_in_three_terms_with_a_crash() {
    holds("raft", "three-terms-crash", 97_498_000);
}

#[test]
fn promises_hold_in_three_terms_with_four_commands() {
    holds("raft", "three-terms-four-commands", 44_743_341);
}

#[test]
fn promises_hold_with_pre_votes_of_three() {
    holds("raft", "pre-vote-three", 6_844_733);
}

#[test]
fn a_healthy_leader_is_not_deposed_by_who_does_not_hear_it() {
    holds("raft", "healthy-leader", 12_088);
}

#[test]
fn a_healthy_leader_is_not_deposed_by_who_was_removed() {
    holds("raft", "removed-member", 78_158);
}

#[test]
fn a_healthy_leader_is_not_deposed_falls_without_pre_votes() {
    refutes("raft", "no-pre-vote", NOT_DEPOSED);
}

#[test]
fn a_healthy_leader_is_not_deposed_falls_when_anyone_has_a_pre_vote() {
    refutes("raft", "pre-votes-for-anyone", NOT_DEPOSED);
}

#[test]
fn promises_hold_with_no_ops_in_three_terms() {
    holds("raft", "no-ops", 121_806);
}

#[test]
fn promises_hold_with_no_ops_and_a_crash() {
    holds("raft", "no-ops-crash", 43_224);
}

#[test]
fn promises_hold_with_pre_votes() {
    holds("raft", "pre-vote", 878);
}

#[test]
fn promises_hold_with_checked_quorums() {
    holds("raft", "check-quorum", 865);
}

#[test]
fn linearizable_holds_when_a_command_is_sent_twice() {
    holds("raft", "sessions", 14_516);
}

#[test]
fn linearizable_holds_of_reads_by_read_index() {
    holds("raft", "reads", 17_009);
}

#[test]
fn linearizable_holds_of_reads_in_terms_begun_with_no_ops() {
    holds("raft", "reads-after-no-ops", 5_765_737);
}

#[test]
fn linearizable_holds_of_reads_with_two_members() {
    holds("raft", "two-members-read", 1_367);
}

#[test]
fn election_safety_falls_with_half_of_the_members() {
    refutes("raft", "half-elects", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_the_vote_is_forgotten() {
    refutes("raft", "vote-forgotten", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_the_term_is_forgotten() {
    refutes("raft", "term-forgotten", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_a_member_votes_twice() {
    refutes("raft", "votes-twice", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_a_vote_counts_twice() {
    refutes("raft", "vote-counted-twice", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_a_late_vote_counts() {
    refutes("raft", "late-vote", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_a_voter_does_not_adopt_the_term() {
    refutes("raft", "votes-without-the-term", ELECTION_SAFETY);
}

#[test]
fn election_safety_falls_when_a_leader_resigns_and_votes() {
    refutes("raft", "resigns-and-votes", ELECTION_SAFETY);
}

#[test]
fn leader_completeness_falls_when_any_log_will_do() {
    refutes("raft", "any-log-will-do", LEADER_COMPLETENESS);
}

#[test]
fn leader_completeness_falls_when_logs_are_compared_by_term_alone() {
    refutes("raft", "last-term-alone", LEADER_COMPLETENESS);
}

#[test]
fn a_leader_commits_falls_when_the_vote_outlives_its_term() {
    refutes("raft", "vote-outlives-its-term", A_LEADER_COMMITS);
}

#[test]
fn committed_entries_survive_falls_when_half_commit() {
    refutes("raft", "half-commits", SURVIVES);
}

#[test]
fn match_index_is_sound_falls_when_the_log_is_forgotten() {
    refutes("raft", "log-forgotten", MATCH_INDEX);
}

#[test]
fn only_entries_of_its_own_term_are_counted_falls_when_any_are() {
    refutes("raft", "counts-older-terms", OWN_TERM);
}

#[test]
fn leader_completeness_falls_as_in_figure_8() {
    refutes("raft", "figure-8-counted", LEADER_COMPLETENESS);
}

#[test]
fn leader_append_only_falls_when_a_leader_rewrites() {
    refutes("raft", "rewrites", LEADER_APPEND_ONLY);
}

#[test]
fn log_matching_falls_when_a_deposed_leader_leads_on() {
    refutes("raft", "leads-on", LOG_MATCHING);
}

#[test]
fn match_index_is_sound_falls_when_a_conflict_acknowledges() {
    refutes("raft", "conflict-acknowledges", MATCH_INDEX);
}

#[test]
fn a_leader_commits_falls_without_the_back_off() {
    refutes("raft", "never-backs-off", A_LEADER_COMMITS);
}

#[test]
fn a_leader_commits_falls_when_it_goes_past_the_end() {
    refutes("raft", "goes-past-the-end", A_LEADER_COMMITS);
}

#[test]
fn log_matching_falls_without_the_check_of_the_previous_entry() {
    refutes("raft", "appends-blindly", LOG_MATCHING);
}

#[test]
fn committed_entries_survive_falls_when_a_follower_always_truncates() {
    refutes("raft", "truncates-always", SURVIVES);
}

#[test]
fn state_machine_safety_falls_when_a_follower_never_truncates() {
    refutes("raft", "truncates-never", STATE_MACHINE_SAFETY);
}

#[test]
fn state_machine_safety_falls_when_a_follower_commits_its_own_tail() {
    refutes("raft", "commits-its-own-tail", STATE_MACHINE_SAFETY);
}

#[test]
fn match_index_is_sound_falls_when_a_follower_acknowledges_its_own_tail() {
    refutes("raft", "acknowledges-its-own-tail", MATCH_INDEX);
}

#[test]
fn match_index_is_sound_falls_when_a_follower_hears_the_deposed() {
    refutes("raft", "hears-the-deposed", MATCH_INDEX);
}

#[test]
fn state_machine_safety_falls_when_a_conflict_commits() {
    refutes("raft", "commits-on-conflict", STATE_MACHINE_SAFETY);
}

#[test]
fn linearizable_falls_without_sessions() {
    refutes("raft", "forgets-sessions", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_anyone_answers_reads() {
    refutes("raft", "reads-anywhere", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_reads_are_not_confirmed() {
    refutes("raft", "reads-unconfirmed", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_reads_come_before_the_first_commit() {
    refutes("raft", "reads-too-early", LINEARIZABLE);
}

#[test]
fn a_lease_is_led_against_by_nobody() {
    holds("raft", "leases", 1_196_568);
}

#[test]
fn a_lease_is_led_against_by_no_rival() {
    holds("raft", "leases-rival", 2_333_576);
}

#[test]
fn a_lease_survives_the_crash_of_who_promised_it() {
    holds("raft", "leases-crash", 11_302_672);
}

#[test]
fn a_lease_is_given_up_by_who_hands_over() {
    holds("raft", "leases-handed-over", 6_789_756);
}

#[test]
fn linearizable_holds_of_reads_by_a_lease() {
    holds("raft", "leases-read", 18_243_652);
}

#[test]
fn nobody_leads_against_a_lease_falls_when_those_who_hear_a_leader_vote_all_the_same() {
    refutes("raft", "lease-without-promises", NOBODY_AGAINST);
}

#[test]
fn nobody_leads_against_a_lease_falls_when_it_counts_from_the_answer() {
    refutes("raft", "lease-from-answer", NOBODY_AGAINST);
}

#[test]
fn nobody_leads_against_a_lease_falls_when_any_answer_brings_one() {
    refutes("raft", "lease-by-any-answer", NOBODY_AGAINST);
}

#[test]
fn nobody_leads_against_a_lease_falls_when_a_restart_forgets_the_promise() {
    refutes("raft", "promise-forgotten", NOBODY_AGAINST);
}

#[test]
fn nobody_leads_against_a_lease_falls_when_who_hands_over_keeps_it() {
    refutes("raft", "lease-kept-by-who-hands-over", NOBODY_AGAINST);
}

#[test]
fn nobody_leads_against_a_lease_falls_when_there_is_one_after_a_transfer() {
    refutes("raft", "lease-after-transfer", NOBODY_AGAINST);
}

#[test]
fn linearizable_falls_when_a_clock_loses_more_than_is_allowed() {
    refutes("raft", "lease-drift-past-the-bound", LINEARIZABLE);
}

#[test]
fn promises_hold_with_entries_sent_ahead() {
    holds("raft", "pipelined", 68_842);
}

#[test]
fn promises_hold_with_no_ops_sent_ahead() {
    holds("raft", "pipelined-no-ops", 19_955);
}

#[test]
fn promises_hold_with_snapshots() {
    holds("raft", "snapshots", 77_814);
}

#[test]
fn promises_hold_with_snapshots_and_a_crash() {
    holds("raft", "snapshots-crash", 1_526);
}

#[test]
fn promises_hold_with_snapshots_that_keep_an_entry() {
    holds("raft", "snapshots-kept", 49_878);
}

#[test]
fn linearizable_holds_of_sessions_in_snapshots() {
    holds("raft", "snapshots-sessions", 27_014);
}

#[test]
fn promises_hold_when_leadership_is_handed_over() {
    holds("raft", "transfer", 20_144);
}

#[test]
fn promises_hold_when_members_change_one_by_one() {
    holds("raft", "one-by-one-members", 153_063);
}

#[test]
fn promises_hold_when_members_change_by_joint_consensus() {
    holds("raft", "joint-members", 2_517);
}

#[test]
fn promises_hold_when_the_removed_restart() {
    holds("raft", "removed-and-restarted", 12_042);
}

#[test]
fn promises_hold_when_two_leaders_change_the_members() {
    holds("raft", "two-leaders-change", 2_120_062);
}

#[test]
fn promises_hold_when_refusals_do_not_wait_for_the_disk() {
    holds("raft", "refusals-do-not-wait", 2_106_393);
}

#[test]
fn election_safety_falls_when_votes_do_not_wait_for_the_disk() {
    refutes("raft", "votes-do-not-wait", ELECTION_SAFETY);
}

#[test]
fn committed_entries_survive_falls_when_acknowledgements_do_not_wait_for_the_disk() {
    refutes("raft", "acknowledgements-do-not-wait", SURVIVES);
}

#[test]
fn match_index_is_sound_falls_when_a_leader_supposes_arrival() {
    refutes("raft", "supposes-arrival", MATCH_INDEX);
}

#[test]
fn a_leader_commits_falls_when_the_window_stays_shut() {
    refutes("raft", "window-stays-shut", A_LEADER_COMMITS);
}

#[test]
fn linearizable_falls_when_a_snapshot_forgets_sessions() {
    refutes("raft", "snapshot-forgets-sessions", LINEARIZABLE);
}

#[test]
fn stores_are_what_the_log_makes_falls_when_snapshots_are_mixed() {
    refutes("raft", "mixes-snapshots", STORES);
}

#[test]
fn committed_entries_survive_falls_when_an_older_snapshot_is_installed() {
    refutes("raft", "installs-older", SURVIVES);
}

#[test]
fn committed_entries_survive_falls_when_a_snapshot_keeps_the_log() {
    refutes("raft", "keeps-the-log", SURVIVES);
}

#[test]
fn stores_are_what_the_log_makes_falls_when_a_node_restarts_empty() {
    refutes("raft", "restarts-empty", STORES);
}

#[test]
fn election_safety_falls_when_an_heir_is_crowned() {
    refutes("raft", "heir-is-crowned", ELECTION_SAFETY);
}

#[test]
fn a_transfer_ends_falls_when_a_leader_waits_for_its_heir() {
    refutes("raft", "waits-for-the-heir", TRANSFER_ENDS);
}

#[test]
fn no_second_majority_falls_when_members_change_too_early() {
    refutes("raft", "changes-too-early", SECOND_MAJORITY);
}

#[test]
fn no_second_majority_falls_when_changes_count_from_commit() {
    refutes("raft", "counts-from-commit", SECOND_MAJORITY);
}

#[test]
fn no_second_majority_falls_when_changes_are_made_at_once() {
    refutes("raft", "changes-at-once", SECOND_MAJORITY);
}

#[test]
fn committed_entries_survive_falls_when_a_removed_leader_counts() {
    refutes("raft", "removed-leader-counts", SURVIVES);
}

#[test]
fn committed_entries_survive_falls_when_a_learner_counts() {
    refutes("raft", "learner-counts", SURVIVES);
}

#[test]
fn no_second_majority_falls_when_the_new_majority_is_enough() {
    refutes("raft", "new-majority-alone", SECOND_MAJORITY);
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
}

#[test]
fn dead_messages_are_dead_beyond_the_core() {
    discharges(extended_obligations());
}

#[test]
fn members_are_alike_beyond_the_core() {
    let discharged = extended_mirrored().unwrap_or_else(|failure| panic!("{failure}"));
    for one in discharged {
        assert!(one.reduced < one.states && 0 < one.promised, "{one:?}");
    }
}

#[test]
fn members_are_alike() {
    let discharged = mirrored().unwrap_or_else(|failure| panic!("{failure}"));
    for one in discharged {
        assert!(one.reduced < one.states && 0 < one.promised, "{one:?}");
    }
}

#[test]
fn dead_messages_rise_when_a_crash_forgets_what_is_committed() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in [
        "two-members-read",
        "pre-vote",
        "check-quorum",
        "healthy-leader",
    ] {
        audits("raft", world);
    }
}

#[test]
fn a_command_is_done_once_and_answered_as_often_as_it_is_sent() {
    let mut store = Store::default();
    let increment = |serial| Command::Apply {
        session: Session { client: 7, serial },
        operation: Operation::Increment {
            key: "x".into(),
            by: 2,
        },
    };
    let is = |number: &str| Some(Reply::Value(Some(number.into())));
    assert_eq!(store.apply(&increment(1)), is("2"));
    assert_eq!(store.apply(&increment(1)), is("2"));
    assert_eq!(store.apply(&increment(2)), is("4"));
    assert_eq!(store.apply(&increment(1)), Some(Reply::Forgotten));
    assert_eq!(store.apply(&Command::NoOp), None);
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let mut store = Store::default();
    let key = || "x".to_owned();
    let swap = |expected: Option<&str>, new: &str| Operation::CompareAndSwap {
        key: "x".into(),
        expected: expected.map(Into::into),
        new: new.into(),
    };
    assert_eq!(
        swap(Some("a"), "b").execute(&mut store.values),
        Reply::Mismatched
    );
    assert_eq!(swap(None, "b").execute(&mut store.values), Reply::Done);
    let increment = Operation::Increment { key: key(), by: 1 };
    assert_eq!(increment.execute(&mut store.values), Reply::NotANumber);
    let get = Operation::Get { key: key() };
    assert_eq!(
        get.execute(&mut store.values),
        Reply::Value(Some("b".into()))
    );
    assert_eq!(
        (Operation::Delete { key: key() }).execute(&mut store.values),
        Reply::Done
    );
    assert_eq!(get.execute(&mut store.values), Reply::Value(None));
    assert_eq!(store, Store::default());
}
