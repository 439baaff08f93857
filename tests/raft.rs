//! Raft: its promises hold, and each falls when something is taken away.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId};
use quorate::raft::{
    Call, Changes, Command, Current, Elections, Entry, FirstEntry, Flow, Index, Leadership,
    MemberChange, Membership, Message, Operation, Part, Piece, Position, Raft, Reads, Reply, Rest,
    Session, Snapshots, Store, Term, Timer,
};
use quorate_models::laws::{self, Move};
use quorate_models::raft::{
    A_LEADER_COMMITS, ELECTION_SAFETY, LEADER_APPEND_ONLY, LEADER_COMPLETENESS, LINEARIZABLE,
    LOG_MATCHING, MATCH_INDEX, NOT_DEPOSED, OWN_TERM, SECOND_MAJORITY, STATE_MACHINE_SAFETY,
    STORES, SURVIVES, TRANSFER_ENDS, extended_mirrored, extended_obligations, mirrored,
    obligations, wrong_obligations,
};
use quorate_models::testing::{audits, discharges, holds, refutes};

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
    holds("raft", "reads", 17_150);
}

#[test]
fn linearizable_holds_of_reads_in_terms_begun_with_no_ops() {
    holds("raft", "reads-after-no-ops", 5_825_367);
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

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..4_u64, 1 => Just(u64::MAX)]
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => any::<u64>()].prop_map(NodeId)
}

fn position() -> impl Strategy<Value = Position> {
    (number(), number()).prop_map(|(term, index)| Position {
        term: Term(term),
        index: Index(index),
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = || "x".to_owned();
    prop_oneof![
        Just(Operation::Get { key: key() }),
        "[AB]".prop_map(move |value| Operation::Put { key: key(), value }),
        Just(Operation::Delete { key: key() }),
        any::<i64>().prop_map(move |by| Operation::Increment { key: key(), by }),
    ]
}

fn session() -> impl Strategy<Value = Session> {
    (0..3_u64, number()).prop_map(|(client, serial)| Session { client, serial })
}

fn entry() -> impl Strategy<Value = Entry> {
    let command = prop_oneof![
        Just(Command::NoOp),
        membership().prop_map(Command::Members),
        (session(), operation())
            .prop_map(|(session, operation)| Command::Apply { session, operation }),
    ];
    (number(), command).prop_map(|(term, command)| Entry {
        term: Term(term),
        command,
    })
}

fn nodes() -> impl Strategy<Value = NodeSet> {
    vec(0..4_u64, 0..4).prop_map(|nodes| nodes.into_iter().map(NodeId).collect())
}

fn membership() -> impl Strategy<Value = Membership> {
    (nodes(), nodes(), nodes()).prop_map(|(voters, outgoing, learners)| Membership {
        voters,
        outgoing,
        learners,
    })
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        ("[xy]", "[AB]").prop_map(|(key, value)| Piece::Value(key, value)),
        (0..3_u64, number()).prop_map(|(client, serial)| Piece::Session(
            client,
            serial,
            Reply::Done
        )),
    ]
}

fn install() -> impl Strategy<Value = Message> {
    let current = (number(), membership()).prop_map(|(index, membership)| Current {
        index: Index(index),
        membership,
    });
    let rest = prop_oneof![Just(Rest::More), Just(Rest::Nothing)];
    (
        (number(), position(), proptest::option::of(current)),
        (0..3_u64, vec(piece(), 0..3), rest, number()),
    )
        .prop_map(
            |((term, position, members), (offset, pieces, rest, round))| Message::InstallSnapshot {
                term: Term(term),
                part: Part {
                    position,
                    members,
                    offset,
                    pieces,
                    rest,
                    round,
                },
            },
        )
}

fn answer() -> impl Strategy<Value = Message> {
    prop_oneof![
        number().prop_map(|term| Message::PreVote { term: Term(term) }),
        number().prop_map(|term| Message::Vote { term: Term(term) }),
        number().prop_map(|term| Message::Stale { term: Term(term) }),
        number().prop_map(|term| Message::TimeoutNow { term: Term(term) }),
        (number(), position(), number(), number()).prop_map(|(term, position, offset, round)| {
            Message::Received {
                term: Term(term),
                position,
                offset,
                round,
            }
        }),
        (number(), number(), number()).prop_map(|(term, matching, round)| Message::Appended {
            term: Term(term),
            matching: Index(matching),
            round,
        }),
        (number(), number(), position(), number()).prop_map(|(term, at, hint, round)| {
            Message::Conflict {
                term: Term(term),
                at: Index(at),
                hint,
                round,
            }
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        1 => (number(), position()).prop_map(|(term, last)| Message::RequestPreVote {
            term: Term(term),
            last,
        }),
        1 => (number(), position()).prop_map(|(term, last)| Message::RequestVote {
            term: Term(term),
            last,
        }),
        2 => (number(), position(), vec(entry(), 0..3), number(), number()).prop_map(
            |(term, previous, entries, commit, round)| Message::AppendEntries {
                term: Term(term),
                previous,
                entries,
                commit: Index(commit),
                round,
            }
        ),
        2 => install(),
        3 => answer(),
    ]
}

fn change() -> impl Strategy<Value = MemberChange> {
    prop_oneof![
        node().prop_map(MemberChange::AddLearner),
        node().prop_map(MemberChange::Promote),
        node().prop_map(MemberChange::Remove),
        nodes().prop_map(MemberChange::Replace),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (any::<u64>(), session(), operation()).prop_map(|(ticket, session, operation)| {
            Call::Command {
                ticket,
                session,
                operation,
            }
        }),
        any::<u64>().prop_map(|ticket| Call::Read {
            ticket,
            key: "x".into(),
        }),
        (any::<u64>(), change()).prop_map(|(ticket, change)| Call::Members { ticket, change }),
        (any::<u64>(), node()).prop_map(|(ticket, to)| Call::Transfer { ticket, to }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Raft>> {
    let timer = prop_oneof![
        Just(Timer::Election),
        Just(Timer::Heartbeat),
        Just(Timer::Quorum),
        Just(Timer::Transfer),
    ];
    prop_oneof![
        3 => call().prop_map(|call| Move::Input(Input::Call(call))),
        12 => (node(), message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        4 => timer.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        members in 1..4_usize,
        elections in prop_oneof![Just(Elections::Direct), Just(Elections::PreVote)],
        first_entry in prop_oneof![Just(FirstEntry::NoOp), Just(FirstEntry::Client)],
        leadership in prop_oneof![
            Just(Leadership::UntilDeposed),
            Just(Leadership::CheckQuorum),
        ],
        reads in prop_oneof![Just(Reads::Log), Just(Reads::ReadIndex)],
        flow in prop_oneof![
            Just(Flow::StopAndWait),
            Just(Flow::Pipelined { messages_max: 2 }),
        ],
        snapshots in prop_oneof![
            Just(Snapshots::Never),
            (1..3_u32, 0..2_u32).prop_map(|(entries, kept)| Snapshots::Every {
                entries,
                kept,
                pieces_max: 1,
            }),
        ],
        changes in prop_oneof![
            Just(Changes::Never),
            Just(Changes::OneByOne),
            Just(Changes::Joint),
        ],
        moves in vec(one_move(), 0..60),
    ) {
        let machine = Raft {
            me: NodeId(0),
            members: NodeSet::first(members),
            elections,
            first_entry,
            leadership,
            reads,
            batch_entries_max: 2,
            batch_bytes_max: 100,
            flow,
            snapshots,
            changes,
            spares: NodeSet::from_iter([NodeId(4)]),
        };
        laws::check(&machine, moves);
    }
}
