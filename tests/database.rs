//! The database: its promises hold, and each falls when something is taken away.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::database::{
    Conflicts, Counting, Database, Hints, Level, Placement, ReadRepair, Tombstones,
};
use quorate::machine::{Input, NodeId};
use quorate::merkle::keyed::Shape;
use quorate_models::database::{
    BESIDE_STAY, CALLS_RETURN, CONVERGE, DELETED_STAYS, HINTED, LINEARIZABLE, MONOTONIC,
    MONOTONIC_READS, MONOTONIC_WRITES, NEWER_WINS, ONE_VERSION, PLACEMENT, READ_YOUR_WRITES,
    REGULAR, SWEPT_STAYS, VISIBLE, WHOLE, WRITES_FOLLOW_READS, mirrored, mirrored_wrongly,
    obligations, obligations_of_collection, obligations_of_transactions, wrong_obligations,
};
use quorate_models::laws::{self, Move};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[path = "database/some.rs"]
mod some;

#[test]
fn promises_hold_in_quorum() {
    holds("database", "quorum", 17_200);
}

#[test]
fn promises_hold_in_two_writers() {
    holds("database", "two-writers", 907_113);
}

#[test]
fn promises_hold_in_replicas_coordinate() {
    holds("database", "replicas-coordinate", 1_945);
}

#[test]
fn promises_hold_in_crash() {
    holds("database", "crash", 186_836);
}

#[test]
fn promises_hold_in_one_and_all() {
    holds("database", "one-and-all", 7_302);
}

#[test]
fn promises_hold_in_all_and_one() {
    holds("database", "all-and-one", 9_602);
}

#[test]
fn promises_hold_in_two_and_two() {
    holds("database", "two-and-two", 70_591);
}

#[test]
fn promises_hold_in_no_read_repair() {
    holds("database", "no-read-repair", 13_730);
}

#[test]
fn promises_hold_in_suspicions() {
    holds("database", "suspicions", 14_301);
}

#[test]
fn promises_hold_in_local_quorum() {
    holds("database", "local-quorum", 12_386);
}

#[test]
fn promises_hold_in_impatience() {
    holds("database", "impatience", 3_909);
}

#[test]
fn promises_hold_in_transactions() {
    holds("database", "transactions", 130_815);
}

#[test]
fn promises_hold_in_serial_reads() {
    holds("database", "serial-reads", 2_779_132);
}

#[test]
fn promises_hold_in_serial_read_again() {
    holds("database", "serial-read-again", 1_823_679);
}

#[test]
fn promises_hold_in_sessions_read() {
    holds("database", "sessions-read", 323_895);
}

#[test]
fn promises_hold_in_sessions_write() {
    holds("database", "sessions-write", 31_219);
}

#[test]
fn promises_hold_in_anti_entropy() {
    holds("database", "anti-entropy", 16_143);
}

#[test]
fn promises_hold_in_hints() {
    holds("database", "hints", 95_371);
}

#[test]
fn promises_hold_in_sloppy_healed() {
    holds("database", "sloppy-healed", 18_421);
}

#[test]
fn promises_hold_in_tombstones() {
    holds("database", "tombstones", 663_148);
}

#[test]
fn promises_hold_in_tombstones_unrepaired() {
    holds("database", "tombstones-unrepaired", 253);
}

#[test]
fn promises_hold_in_tombstones_of_three() {
    holds("database", "tombstones-of-three", 5_290);
}

#[test]
fn promises_hold_in_tombstones_of_three_read() {
    holds("database", "tombstones-of-three-read", 116_491);
}

#[test]
fn promises_hold_in_batches() {
    holds("database", "batches", 80);
}

#[test]
fn promises_hold_in_siblings() {
    holds("database", "siblings", 313);
}

#[test]
fn a_write_is_one_version_falls_when_every_replica_mints() {
    refutes("database", "every-replica-mints", ONE_VERSION);
}

#[test]
fn regular_falls_when_every_replica_mints() {
    refutes("database", "every-replica-mints-and-loses", REGULAR);
}

#[test]
fn only_replicas_have_a_key_falls_when_replicas_spread_it() {
    refutes("database", "spread-to-everyone", PLACEMENT);
}

#[test]
fn calls_return_falls_when_absence_is_no_answer() {
    refutes("database", "absence-is-no-answer", CALLS_RETURN);
}

#[test]
fn regular_falls_with_a_quorum_of_the_present() {
    refutes("database", "quorum-of-the-present", REGULAR);
}

#[test]
fn reads_do_not_go_back_falls_when_repair_follows_the_answer() {
    refutes("database", "repair-after-the-answer", MONOTONIC);
}

#[test]
fn regular_falls_when_a_reply_counts_twice() {
    refutes("database", "reply-counted-twice", REGULAR);
}

#[test]
fn regular_falls_when_stores_are_unconditional() {
    refutes("database", "unconditional-store", REGULAR);
}

#[test]
fn regular_falls_when_names_repeat_after_a_restart() {
    refutes("database", "incarnation-forgotten", REGULAR);
}

#[test]
fn calls_return_falls_without_retries() {
    refutes("database", "no-retries", CALLS_RETURN);
}

#[test]
fn replicas_converge_falls_without_a_tie_break() {
    refutes("database", "no-tie-break", CONVERGE);
}

#[test]
fn begun_writes_arrive_falls_when_hints_wait_for_a_timeout() {
    refutes("database", "hints-only-on-timeout", HINTED);
}

#[test]
fn begun_writes_arrive_falls_when_a_hint_is_forgotten_too_early() {
    refutes("database", "hint-forgotten-too-early", HINTED);
}

#[test]
fn batches_are_whole_in_the_end_falls_when_a_batch_is_not_kept() {
    refutes("database", "batch-not-kept", WHOLE);
}

#[test]
fn the_deleted_stays_deleted_falls_without_tombstones() {
    refutes("database", "no-tombstones", DELETED_STAYS);
}

#[test]
fn the_deleted_stays_deleted_falls_when_tombstones_go_by_time() {
    refutes("database", "collected-by-time", DELETED_STAYS);
}

#[test]
fn the_deleted_stays_deleted_falls_when_tombstones_go_without_a_fence() {
    refutes("database", "collected-without-fence", DELETED_STAYS);
}

#[test]
fn nothing_comes_back_to_a_replica_falls_when_a_fence_is_ignored() {
    refutes("database", "fence-ignored", SWEPT_STAYS);
}

#[test]
fn linearizable_falls_when_a_serial_read_does_not_finish() {
    refutes("database", "serial-read-does-not-finish", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_what_is_begun_is_ignored() {
    refutes("database", "begun-is-ignored", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_an_old_ballot_is_accepted() {
    refutes("database", "outbid-is-accepted", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_one_acceptance_is_enough() {
    refutes("database", "answered-when-proposed", LINEARIZABLE);
}

#[test]
fn reads_do_not_go_back_falls_without_read_repair() {
    refutes("database", "unrepaired", MONOTONIC);
}

#[test]
fn regular_falls_when_quorums_need_not_meet() {
    refutes("database", "quorum-and-one", REGULAR);
}

#[test]
fn acknowledged_writes_are_visible_falls_with_a_sloppy_quorum() {
    refutes("database", "sloppy", VISIBLE);
}

#[test]
fn regular_falls_with_a_sloppy_quorum() {
    refutes("database", "sloppy-and-read", REGULAR);
}

#[test]
fn regular_falls_between_two_data_centres() {
    refutes("database", "two-data-centres", REGULAR);
}

#[test]
fn writes_beside_each_other_stay_falls_when_the_last_writer_wins() {
    refutes("database", "last-writer-wins", BESIDE_STAY);
}

#[test]
fn acknowledged_writes_are_visible_falls_when_the_disk_lies() {
    refutes("database", "lying-disk", VISIBLE);
}

#[test]
fn later_writes_win_falls_when_a_clock_is_slow() {
    refutes("database", "slow-clock", NEWER_WINS);
}

#[test]
fn replicas_converge_falls_with_the_textbooks_healing() {
    refutes("database", "textbooks-healing", CONVERGE);
}

#[test]
fn replicas_converge_falls_with_read_repair_alone() {
    refutes("database", "read-repair-alone", CONVERGE);
}

#[test]
fn replicas_converge_falls_with_hints_alone() {
    refutes("database", "hints-alone", CONVERGE);
}

#[test]
fn linearizable_falls_when_plain_writes_are_mixed_in() {
    refutes("database", "mixed", LINEARIZABLE);
}

#[test]
fn sessions_read_their_writes_falls_without_a_token() {
    refutes("database", "no-token-for-writes", READ_YOUR_WRITES);
}

#[test]
fn reads_of_a_session_do_not_go_back_falls_without_a_token() {
    refutes("database", "no-token-for-reads", MONOTONIC_READS);
}

#[test]
fn writes_of_a_session_are_in_order_falls_without_a_token() {
    refutes("database", "no-token-between-writes", MONOTONIC_WRITES);
}

#[test]
fn writes_of_a_session_follow_its_reads_falls_without_a_token() {
    refutes("database", "no-token-after-reads", WRITES_FOLLOW_READS);
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in ["replicas-coordinate", "impatience", "batches", "siblings"] {
        audits("database", world);
    }
}

#[test]
fn dead_messages_are_dead() {
    discharges(obligations());
    discharges(obligations_of_transactions().map(|one| vec![one]));
    discharges(obligations_of_collection());
}

#[test]
fn dead_messages_rise_when_stores_are_unconditional() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn replicas_that_nobody_calls_are_alike() {
    let done = mirrored().expect("each swap of two replicas commutes with everything");
    for discharged in done {
        assert!(discharged.reduced < discharged.states && 0 < discharged.mirrored);
    }
}

#[test]
fn replicas_that_are_called_are_not_alike() {
    let complaint = mirrored_wrongly().expect_err("a tie is broken by the writer");
    assert!(complaint.contains("mirror image"), "{complaint}");
}

#[test]
fn an_unknown_level_is_an_error() {
    let refused = "QOURUM"
        .parse::<Level>()
        .expect_err("a typing error is no level");
    let words = refused.to_string();
    assert!(
        words.contains("QOURUM") && words.contains("LOCAL_QUORUM"),
        "{words}"
    );
    for level in [
        Level::One,
        Level::Two,
        Level::Quorum,
        Level::All,
        Level::LocalQuorum,
    ] {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
}

#[test]
fn levels_count_from_the_replication_factor() {
    let needed = |factor| {
        [Level::One, Level::Two, Level::Quorum, Level::All].map(|level: Level| level.needed(factor))
    };
    assert_eq!(needed(1), [1, 2, 1, 1]);
    assert_eq!(needed(3), [1, 2, 2, 3]);
    assert_eq!(needed(5), [1, 2, 3, 5]);
    // Two data centres, of three replicas each.
    let (all, here) = (NodeSet::first(6), NodeSet::first(3));
    let two_here = NodeSet::first(2);
    assert!(Level::LocalQuorum.is_met(two_here, all, here));
    assert!(!Level::Quorum.is_met(here, all, here));
    let there = all.difference(here);
    assert!(!Level::LocalQuorum.is_met(there, all, here));
}

fn one_move() -> impl Strategy<Value = Move<Database>> {
    prop_oneof![
        3 => some::call().prop_map(|call| Move::Input(Input::Call(call))),
        6 => (some::node(), some::replica_message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        6 => (some::node(), some::ballot_message())
            .prop_map(|(from, message)| Move::Input(Input::Message { from, message })),
        3 => some::timer().prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(
        me in 0..4_u64,
        replicas in 1..4_usize,
        conflicts in prop_oneof![2 => Just(Conflicts::LastWriterWins), 1 => Just(Conflicts::Siblings)],
        counting in prop_oneof![Just(Counting::Strict), Just(Counting::Sloppy)],
        read_repair in prop_oneof![Just(ReadRepair::Blocking), Just(ReadRepair::Off)],
        hints in 0..3_u32,
        patience in proptest::option::of(0..2_u32),
        moves in vec(one_move(), 0..60),
    ) {
        let machine = Database {
            me: NodeId(me),
            placement: Placement::Whole(NodeSet::first(replicas)),
            nearby: NodeSet::first(2),
            conflicts,
            read_repair,
            hints: if hints == 0 { Hints::Off } else { Hints::Kept { max: hints } },
            counting,
            anti_entropy: Some(Shape { fan_bits: 1, bucket_max: 1 }),
            tombstones: Tombstones::Collected,
            patience,
        };
        laws::check(&machine, moves);
    }
}
