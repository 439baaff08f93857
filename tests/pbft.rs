//! PBFT: its promises hold against every lie within the bounds, and each falls when something is taken
//! away.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::kv::{Operation, Reply, Session};
use quorate::machine::{Input, NodeId, Output, State, Step, boot, step};
use quorate::pbft::{
    Assignment, BATCH_BYTES_MAX, Batch, Call, Certificate, Checkpoint, Commit, Digest, Durable,
    Event, Keys, Kind, Message, NewView, OPERATION_BYTES_MAX, Page, Pbft, PrePrepare, Prepare,
    Proof, Reads, Refusal, Request, Sequence, Service, Signature, Signed, Sizes, Stable, Stance,
    Statement, Timer, View, ViewChange, Watermarks,
};
use quorate_models::laws::{self, Move};
use quorate_models::pbft::{
    AGREEMENT, BOUNDED, EXECUTED, IN_ORDER, LINEARIZABLE, ONE_STATE, STABLE, Symbolic, UNIQUE,
    VALIDITY, mirrored, obligations, survivors, wrong_obligations,
};
use quorate_models::testing::{audits, holds, is_as_claimed, refutes};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

#[test]
fn promises_hold_in_one_view_when_the_primary_lies() {
    holds("pbft", "primary-lies-one-view", 387);
}

#[test]
fn promises_hold_in_one_view_when_a_backup_lies() {
    holds("pbft", "backup-lies-one-view", 1_405);
}

#[test]
fn promises_hold_over_a_view_change_when_the_first_primary_lies() {
    holds("pbft", "first-primary-lies", 229_076);
}

#[test]
fn promises_hold_over_a_view_change_when_the_second_primary_lies() {
    holds("pbft", "second-primary-lies", 203_285);
}

#[test]
fn promises_hold_over_a_view_change_when_a_backup_lies() {
    holds("pbft", "backup-lies", 261_944);
}

#[test]
fn promises_hold_over_a_view_change_when_only_clients_lie() {
    holds("pbft", "nobody-lies", 603_567);
}

#[test]
fn promises_hold_over_three_views() {
    holds("pbft", "three-views", 2_837_302);
}

#[test]
fn promises_hold_over_three_views_when_the_first_primary_lies() {
    holds("pbft", "three-views-first-primary-lies", 21_495_658);
}

#[test]
fn promises_hold_over_three_views_when_the_second_primary_lies() {
    holds("pbft", "three-views-second-primary-lies", 49_629_166);
}

#[test]
fn promises_hold_over_three_views_when_the_third_primary_lies() {
    holds("pbft", "three-views-third-primary-lies", 10_280_954);
}

#[test]
fn promises_hold_over_three_views_when_a_backup_lies() {
    holds("pbft", "three-views-backup-lies", 10_232_768);
}

#[test]
fn promises_hold_with_checkpoints_over_a_view_change_when_a_backup_lies() {
    holds("pbft", "checkpoint-backup-lies", 14_043_016);
}

#[test]
fn promises_hold_with_checkpoints_over_a_view_change_when_the_first_primary_lies() {
    holds("pbft", "checkpoint-first-primary-lies", 68_806_284);
}

#[test]
fn promises_hold_with_checkpoints_over_a_view_change_when_the_second_primary_lies() {
    holds("pbft", "checkpoint-second-primary-lies", 65_415_036);
}

#[test]
fn agreement_falls_when_only_the_view_before_is_carried_over() {
    refutes("pbft", "one-view-carried", AGREEMENT);
}

#[test]
fn agreement_falls_when_the_oldest_certificate_obliges() {
    refutes("pbft", "oldest-obliges", AGREEMENT);
}

#[test]
fn two_views_do_not_refute_what_three_do() {
    for exhibit in survivors() {
        is_as_claimed(&*exhibit);
    }
}

#[test]
fn promises_hold_when_a_client_asks_two_things_by_one_name() {
    holds("pbft", "one-name-two-requests", 616_793);
}

#[test]
fn promises_hold_with_checkpoints() {
    holds("pbft", "checkpoint-primary-lies", 107_159);
}

#[test]
fn promises_hold_with_five_replicas_and_quorums_of_four() {
    holds("pbft", "five-replicas-need-four", 28_743);
}

#[test]
fn three_replicas_with_quorums_of_three_are_safe() {
    holds("pbft", "three-replicas-need-three", 2_235);
}

#[test]
fn promises_hold_with_a_crash_beside_a_traitor() {
    holds("pbft", "crash", 4_952);
}

#[test]
fn clients_are_answered_rightly_when_a_backup_lies_to_them() {
    holds("pbft", "one-client", 55_822);
}

#[test]
fn requests_are_executed_when_the_first_primary_is_silent() {
    holds("pbft", "silent-primary", 1_331);
}

#[test]
fn requests_are_executed_when_the_first_primary_orders_and_votes_as_it_likes() {
    holds("pbft", "voting-primary", 1_049_331);
}

#[test]
fn requests_are_executed_when_the_first_primary_says_whatever_it_can() {
    holds("pbft", "lying-primary", 18_975_863);
}

#[test]
fn the_log_is_bounded_falls_without_watermarks() {
    refutes("pbft", "no-watermarks", BOUNDED);
}

#[test]
fn reads_that_are_not_ordered_are_linearizable() {
    holds("pbft", "reads", 24_733);
}

#[test]
fn reads_that_no_quorum_answers_alike_are_ordered() {
    holds("pbft", "reads-alone", 184_938);
}

#[test]
fn linearizable_falls_with_one_reading_too_few() {
    refutes("pbft", "few-readings", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_reads_do_not_wait_for_what_is_prepared() {
    refutes("pbft", "reads-at-once", LINEARIZABLE);
}

#[test]
fn agreement_falls_with_two_traitors_of_four() {
    refutes("pbft", "two-traitors", AGREEMENT);
}

#[test]
fn agreement_falls_with_two_lying_backups_of_four() {
    refutes("pbft", "two-lying-backups", AGREEMENT);
}

#[test]
fn agreement_falls_with_three_replicas() {
    refutes("pbft", "three-replicas", AGREEMENT);
}

#[test]
fn agreement_falls_with_three_replicas_that_count_no_faults() {
    refutes("pbft", "three-replicas-no-faults", AGREEMENT);
}

#[test]
fn agreement_falls_with_five_replicas_and_quorums_of_three() {
    refutes("pbft", "five-replicas", AGREEMENT);
}

#[test]
fn agreement_falls_with_six_replicas_and_quorums_of_three() {
    refutes("pbft", "six-replicas", AGREEMENT);
}

#[test]
fn prepared_certificates_are_unique_falls_with_one_prepare_too_few() {
    refutes("pbft", "few-prepares", UNIQUE);
}

#[test]
fn agreement_falls_with_one_commit_too_few() {
    refutes("pbft", "few-commits", AGREEMENT);
}

#[test]
fn agreement_falls_with_one_view_change_too_few() {
    refutes("pbft", "few-view-changes", AGREEMENT);
}

#[test]
fn a_stable_checkpoint_is_true_falls_with_one_checkpoint_too_few() {
    refutes("pbft", "few-checkpoints", STABLE);
}

#[test]
fn linearizable_falls_when_a_client_believes_the_first_answer() {
    refutes("pbft", "one-answer", LINEARIZABLE);
}

#[test]
fn prepared_certificates_are_unique_falls_when_signatures_are_not_checked() {
    refutes("pbft", "signatures-ignored", UNIQUE);
}

#[test]
fn validity_falls_when_signatures_of_clients_are_not_checked() {
    refutes("pbft", "clients-impersonated", VALIDITY);
}

#[test]
fn prepared_certificates_are_unique_falls_when_the_primary_prepares_too() {
    refutes("pbft", "primary-prepares", UNIQUE);
}

#[test]
fn prepared_certificates_are_unique_falls_when_votes_count_twice() {
    refutes("pbft", "votes-count-twice", UNIQUE);
}

#[test]
fn prepared_certificates_are_unique_falls_when_votes_are_not_bound_to_a_digest() {
    refutes("pbft", "votes-unbound", UNIQUE);
}

#[test]
fn prepared_certificates_are_unique_falls_when_a_second_order_replaces_the_first() {
    refutes("pbft", "second-order-replaces", UNIQUE);
}

#[test]
fn prepared_certificates_are_unique_falls_when_orders_of_earlier_views_are_accepted() {
    refutes("pbft", "stale-orders", UNIQUE);
}

#[test]
fn prepared_certificates_are_unique_falls_when_a_restart_forgets_orders() {
    refutes("pbft", "orders-forgotten", UNIQUE);
}

#[test]
fn agreement_falls_when_view_changes_carry_nothing_over() {
    refutes("pbft", "nothing-carried", AGREEMENT);
}

#[test]
fn agreement_falls_when_only_what_is_committed_is_carried_over() {
    refutes("pbft", "only-committed-carried", AGREEMENT);
}

#[test]
fn agreement_falls_when_what_was_executed_is_not_carried_over() {
    refutes("pbft", "executed-not-carried", AGREEMENT);
}

#[test]
fn agreement_falls_when_a_replica_goes_on_in_a_view_that_it_left() {
    refutes("pbft", "stays-after-leaving", AGREEMENT);
}

#[test]
fn agreement_falls_when_certificates_are_not_checked() {
    refutes("pbft", "certificates-unchecked", AGREEMENT);
}

#[test]
fn agreement_falls_when_a_new_primary_is_trusted() {
    refutes("pbft", "orders-trusted", AGREEMENT);
}

#[test]
fn exactly_once_in_order_falls_when_order_is_not_kept() {
    refutes("pbft", "any-order", IN_ORDER);
}

#[test]
fn exactly_once_in_order_falls_when_requests_are_not_remembered() {
    refutes("pbft", "requests-forgotten", IN_ORDER);
}

#[test]
fn one_state_falls_when_a_state_is_not_compared_with_what_was_vouched_for() {
    refutes("pbft", "state-unchecked", ONE_STATE);
}

#[test]
fn requests_are_executed_falls_when_the_receiver_must_be_primary() {
    refutes("pbft", "receiver-is-primary", EXECUTED);
}

#[test]
fn requests_are_executed_falls_without_view_changes() {
    refutes("pbft", "no-view-change", EXECUTED);
}

#[test]
fn requests_are_executed_falls_when_nothing_is_sent_again() {
    refutes("pbft", "no-repair", EXECUTED);
}

#[test]
fn requests_are_executed_falls_when_who_waits_for_nothing_ignores_later_views() {
    refutes("pbft", "content", EXECUTED);
}

#[test]
fn requests_are_executed_falls_with_three_replicas_and_quorums_of_three() {
    refutes("pbft", "three-need-three", EXECUTED);
}

#[test]
fn dead_messages_are_dead() {
    let discharged = obligations().unwrap_or_else(|failure| panic!("{failure}"));
    for one in &discharged {
        assert!(
            0 < one.inert && 0 < one.stays_dead,
            "something is dead: {one:?}"
        );
    }
    // In one view the messages follow from the replicas' states, so that nothing is gained there.
    let gained = discharged.iter().filter(|one| one.reduced < one.states);
    assert!(3 <= gained.count(), "{discharged:?}");
}

#[test]
fn counted_votes_rise_when_a_crash_forgets_them() {
    assert!(wrong_obligations().is_err());
}

#[test]
fn honest_replicas_that_never_lead_are_alike() {
    let discharged = mirrored().unwrap_or_else(|failure| panic!("{failure}"));
    for one in discharged {
        assert!(one.reduced < one.states && 0 < one.promised, "{one:?}");
    }
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    for world in [
        "primary-lies-one-view",
        "backup-lies-one-view",
        "three-replicas-need-three",
    ] {
        audits("pbft", world);
    }
}

#[test]
fn two_quorums_share_an_honest_replica_and_one_is_there_without_the_traitors() {
    for count in 1..=64 {
        let sizes = Sizes::of(count);
        let (faults, quorum) = (sizes.honest - 1, sizes.commits);
        assert!(3 * faults < count, "n > 3f at {count}");
        assert!(
            faults + count < 2 * quorum,
            "quorums meet in f + 1 at {count}"
        );
        assert!(quorum + faults <= count, "a quorum is up at {count}");
        assert!(
            count < 2 * quorum + 1 - faults,
            "no smaller one would do at {count}"
        );
        assert_eq!(
            sizes.prepares,
            quorum - 1,
            "the order is the primary's vote"
        );
    }
    assert_eq!(Sizes::of(4).commits, 3);
    assert_eq!(
        Sizes::of(5).commits,
        4,
        "2f + 1 is not enough where n > 3f + 1"
    );
    assert_eq!(Sizes::of(6).commits, 4);
    assert_eq!(Sizes::of(7).commits, 5);
}

/// Keys whose signatures are the owner's name and the kind of statement: enough to tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Named(NodeId);

/// A real one: what is told apart by it may be long.
fn digest<T: Serialize>(value: &T) -> Digest {
    let bytes = postcard::to_stdvec(value).expect("plain data has an encoding");
    Digest(Sha256::digest(bytes).into())
}

impl Keys for Named {
    fn digest<T: Serialize>(&self, value: &T) -> Digest {
        digest(value)
    }

    fn sign<T: Statement>(&self, _: &T) -> Signature {
        Signature(name(self.0, T::KIND))
    }

    fn verify<T: Statement>(&self, by: NodeId, _: &T, signature: &Signature) -> bool {
        signature.0 == name(by, T::KIND)
    }
}

fn name(node: NodeId, kind: Kind) -> Vec<u8> {
    format!("{node} {kind:?}").into_bytes()
}

fn assignment(view: u64, sequence: u64, digest: Digest) -> Assignment {
    Assignment {
        view: View(view),
        sequence: Sequence(sequence),
        digest,
    }
}

fn prepare() -> Prepare {
    Prepare(assignment(0, 1, Digest([7; 32])))
}

fn signatures(nodes: &[u64], kind: Kind) -> Vec<(NodeId, Signature)> {
    let one = |node: &u64| (NodeId(*node), Signature(name(NodeId(*node), kind)));
    nodes.iter().map(one).collect()
}

#[test]
fn a_proof_counts_each_signer_once_and_strangers_never() {
    let keys = Named(NodeId(0));
    let backups: NodeSet = [1, 2, 3].map(NodeId).into_iter().collect();
    let proves = |nodes: &[u64], kind| {
        let proof = Proof(signatures(nodes, kind));
        keys.proves(&proof, &prepare(), backups, 2)
    };
    assert!(proves(&[1, 3], Kind::Prepare));
    assert!(!proves(&[1, 1], Kind::Prepare), "nobody counts twice");
    assert!(!proves(&[1, 0], Kind::Prepare), "the primary is no backup");
    assert!(!proves(&[1, 9], Kind::Prepare), "a stranger has no vote");
    assert!(!proves(&[1], Kind::Prepare), "one is not two");
    assert!(
        !proves(&[1, 2, 3], Kind::Prepare),
        "nobody verifies for nothing"
    );
    assert!(!proves(&[1, 2], Kind::Commit), "a commit is no prepare");
}

fn replica(me: u64) -> Pbft<Named> {
    Pbft {
        me: NodeId(me),
        sizes: Sizes::of(4),
        keys: Named(NodeId(me)),
        watermarks: Watermarks {
            interval: 2,
            window: 4,
        },
        batch_requests_max: 2,
        orders_max: u64::MAX,
        reads: Reads::Ordered,
    }
}

fn signed<T: Statement>(by: u64, value: T) -> Signed<T> {
    Named(NodeId(by)).signed(NodeId(by), value)
}

fn increment(client: u64, serial: u64) -> Signed<Request> {
    let session = Session { client: 0, serial };
    let operation = Operation::Increment {
        key: "x".into(),
        by: 1,
    };
    signed(client, Request { session, operation })
}

fn order(by: u64, sequence: u64, batch: &Batch) -> Message {
    let ordered = digest(batch);
    Message::PrePrepare {
        order: signed(by, PrePrepare(assignment(0, sequence, ordered))),
        batch: batch.clone(),
    }
}

fn hears(
    machine: &Pbft<Named>,
    state: State<Pbft<Named>>,
    from: u64,
    message: Message,
) -> (State<Pbft<Named>>, Vec<Output<Pbft<Named>>>) {
    let input = Input::Message {
        from: NodeId(from),
        message,
    };
    let Step { state, sealed } = step(machine, state, input);
    let outputs = sealed.persist(|_| Ok::<(), ()>(()));
    (state, outputs.expect("the disk is well"))
}

#[test]
fn what_is_not_signed_by_who_is_said_to_have_said_it_changes_nothing_and_says_nothing() {
    let machine = replica(1);
    let state = boot(&machine, Durable::default()).state;
    let batch = Batch(vec![increment(9, 1)]);
    let ordered = digest(&batch);
    let mut unsigned = increment(9, 1);
    unsigned.signature = Signature::default();
    let mut forged = signed(0, PrePrepare(assignment(0, 1, ordered)));
    forged.signature = Signature(name(NodeId(2), Kind::PrePrepare));
    let (with_order, _) = hears(&machine, state.clone(), 0, order(0, 1, &batch));
    let mut vote = signed(2, Prepare(assignment(0, 1, ordered)));
    vote.by = NodeId(3);
    for (before, message) in [
        (&state, Message::Request(unsigned.clone())),
        (
            &state,
            Message::PrePrepare {
                order: forged,
                batch: batch.clone(),
            },
        ),
        (&state, order(0, 1, &Batch(vec![unsigned]))),
        (&with_order, Message::Prepare(vote)),
    ] {
        let (after, outputs) = hears(&machine, before.clone(), 2, message);
        assert_eq!(&after, before, "no state changed");
        assert!(outputs.is_empty(), "nothing was said: {outputs:?}");
    }
}

#[test]
fn orders_are_accepted_from_the_primary_within_the_watermarks_once_a_place() {
    let machine = replica(1);
    let state = boot(&machine, Durable::default()).state;
    let one = Batch(vec![increment(9, 1)]);
    let other = Batch(vec![increment(8, 1)]);
    for refused in [order(2, 1, &one), order(0, 0, &one), order(0, 5, &one)] {
        let (after, _) = hears(&machine, state.clone(), 0, refused);
        assert_eq!(after, state);
    }
    let (state, outputs) = hears(&machine, state, 0, order(0, 4, &one));
    let prepares = outputs.iter().filter(|output| {
        matches!(
            output,
            Output::Send {
                message: Message::Prepare(_),
                ..
            }
        )
    });
    assert_eq!(prepares.count(), 3, "it says so to the three others");
    let (after, _) = hears(&machine, state.clone(), 0, order(0, 4, &other));
    assert_eq!(after, state, "a second order for a place is refused");
}

#[test]
fn a_primary_orders_what_waits_in_batches() {
    let machine = replica(0);
    let mut state = boot(&machine, Durable::default()).state;
    let mut ordered = Vec::new();
    for client in [6, 7, 8, 9, 10] {
        let (after, outputs) = hears(
            &machine,
            state,
            client,
            Message::Request(increment(client, 1)),
        );
        state = after;
        for output in outputs {
            if let Output::Send {
                to: NodeId(1),
                message: Message::PrePrepare { order, batch },
            } = output
            {
                ordered.push((order.value.0.sequence.0, batch.0.len()));
            }
        }
    }
    // The window of four is full: the fifth waits for a checkpoint.
    assert_eq!(ordered, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    assert_eq!(state.volatile.pending.len(), 5);
}

/// A view change by this replica, with these certificates: view and digest, all of the first place.
fn leaves(by: u64, view: u64, prepared: &[(u64, Digest)]) -> (NodeId, Signed<ViewChange>) {
    let certificate = |(then, digest): &(u64, Digest)| Certificate {
        assignment: assignment(*then, 1, *digest),
        pre_prepare: Signature::default(),
        prepares: Proof::default(),
    };
    let change = ViewChange {
        view: View(view),
        stable: None,
        prepared: prepared.iter().map(certificate).collect(),
    };
    (NodeId(by), signed(by, change))
}

// Two wrong certificates that only a third view tells from right ones: it is not exhausted, so here are
// its two moments.

#[test]
fn of_two_certificates_of_a_place_the_later_view_counts_whoever_shows_it() {
    let machine = replica(2);
    let (early, late) = (Digest([1; 32]), Digest([2; 32]));
    for shows in [[0, 1, 3], [3, 1, 0], [1, 0, 3]] {
        let [one, other, nobody] = shows;
        let changes = [
            leaves(one, 2, &[(0, early)]),
            leaves(other, 2, &[(1, late)]),
            leaves(nobody, 2, &[]),
        ];
        let (_, obliged) = machine.obligations(&changes.into_iter().collect());
        assert_eq!(obliged, [(Sequence(1), late)]);
    }
}

#[test]
fn what_was_prepared_is_carried_through_views_in_which_nothing_was() {
    let machine = replica(1);
    let state = boot(&machine, Durable::default()).state;
    let batch = Batch(vec![increment(9, 1)]);
    let ordered = digest(&batch);
    let vote = |by| Message::Prepare(signed(by, Prepare(assignment(0, 1, ordered))));
    let (state, _) = hears(&machine, state, 0, order(0, 1, &batch));
    let (mut state, _) = hears(&machine, state, 2, vote(2));
    for view in 1..=3 {
        let in_vain = state.volatile.in_vain;
        let Step {
            state: next,
            sealed,
        } = step(&machine, state, Input::Timer(Timer::Suspect { in_vain }));
        state = next;
        let outputs = sealed
            .persist(|_| Ok::<(), ()>(()))
            .expect("the disk is well");
        let told = outputs.iter().find_map(|output| match output {
            Output::Send {
                message: Message::ViewChange(change),
                ..
            } => Some(&change.value),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => None,
        });
        let told = told.expect("it leaves its view");
        assert_eq!(told.view, View(view));
        let [certificate] = told.prepared.as_slice() else {
            panic!("what was prepared in the first view: {told:?}");
        };
        assert_eq!(certificate.assignment, assignment(0, 1, ordered));
    }
}

#[test]
fn batches_are_bounded_whoever_orders_them() {
    let machine = replica(1);
    let state = boot(&machine, Durable::default()).state;
    let three = Batch(vec![increment(7, 1), increment(8, 1), increment(9, 1)]);
    let (after, said) = hears(&machine, state.clone(), 0, order(0, 1, &three));
    assert!(after == state && said.is_empty(), "two at most");
    let put = |client, bytes| {
        let session = Session {
            client: 0,
            serial: 1,
        };
        let operation = Operation::Put {
            key: "x".into(),
            value: "v".repeat(bytes),
        };
        signed(client, Request { session, operation })
    };
    let large = put(9, BATCH_BYTES_MAX);
    let large = order(0, 1, &Batch(vec![large]));
    let (after, said) = hears(&machine, state.clone(), 0, large);
    assert!(after == state && said.is_empty(), "so many bytes at most");
    let large = Message::Request(put(9, OPERATION_BYTES_MAX));
    let (after, said) = hears(&machine, state.clone(), 9, large);
    assert!(
        after == state && said.is_empty(),
        "it is passed on to nobody"
    );
    // A primary fills a batch as far as it may be filled.
    let primary = Pbft {
        batch_requests_max: 20,
        ..replica(0)
    };
    let mut state = boot(&primary, Durable::default()).state;
    let mut ordered = Vec::new();
    // The window of four is used up by the first four; the others wait for it to move.
    for client in 10..30 {
        let request = Message::Request(put(client, 4_000));
        let (after, _) = hears(&primary, state, client, request);
        state = after;
    }
    assert_eq!(state.volatile.pending.len(), 20);
    state.durable.slots = Durable::default().slots;
    state.durable.view = View(4);
    let (_, said) = hears(&primary, state, 30, Message::Request(put(30, 4_000)));
    for output in said {
        if let Output::Send {
            to: NodeId(1),
            message: Message::PrePrepare { batch, .. },
        } = output
        {
            ordered.push(batch.0.len());
        }
    }
    assert_eq!(ordered, [8, 8, 5], "of 4,001 bytes, eight fit 32 KiB");
}

#[test]
fn what_arrives_while_a_batch_is_agreed_on_is_ordered_together() {
    let machine = Pbft {
        batch_requests_max: 8,
        orders_max: 1,
        ..replica(0)
    };
    let mut state = boot(&machine, Durable::default()).state;
    let mut ordered = Vec::new();
    let mut tell = |state, from, message| {
        let (after, outputs) = hears(&machine, state, from, message);
        for output in outputs {
            if let Output::Send {
                to: NodeId(1),
                message: Message::PrePrepare { order, batch },
            } = output
            {
                ordered.push((order.value.0, batch.0.len()));
            }
        }
        after
    };
    for client in 10..15 {
        state = tell(state, client, Message::Request(increment(client, 1)));
    }
    let first = Batch(vec![increment(10, 1)]);
    let one = assignment(0, 1, digest(&first));
    for by in [1, 2] {
        state = tell(state, by, Message::Prepare(signed(by, Prepare(one))));
        state = tell(state, by, Message::Commit(signed(by, Commit(one))));
    }
    assert_eq!(state.durable.service.executed, Sequence(1));
    let sizes: Vec<_> = ordered
        .iter()
        .map(|(one, size)| (one.sequence.0, *size))
        .collect();
    assert_eq!(sizes, [(1, 1), (2, 4)]);
}

#[test]
fn calls_that_are_too_large_or_too_many_are_refused_and_say_so() {
    let machine = replica(0);
    let state = boot(&machine, Durable::default()).state;
    let call = |ticket, value: String| Call {
        ticket,
        session: Session {
            client: 1,
            serial: ticket,
        },
        operation: Operation::Put {
            key: "x".into(),
            value,
        },
    };
    let large = "a".repeat(OPERATION_BYTES_MAX);
    let told = |state: State<Pbft<Named>>, call| {
        let Step { state, sealed } = step(&machine, state, Input::Call(call));
        let outputs = sealed
            .persist(|_| Ok::<(), ()>(()))
            .expect("the disk is well");
        let refusal = outputs.iter().find_map(|output| match output {
            Output::Event(Event::Refused { refusal, .. }) => Some(*refusal),
            Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => None,
        });
        (state, refusal)
    };
    let (state, refusal) = told(state, call(1, large));
    assert_eq!(refusal, Some(Refusal::TooLarge));
    let (state, refusal) = told(state, call(2, "A".into()));
    assert_eq!(refusal, None);
    let (_, refusal) = told(state, call(3, "B".into()));
    assert_eq!(refusal, Some(Refusal::Busy), "one at a time of each client");
}

fn digests() -> impl Strategy<Value = Digest> {
    let batches = [
        Batch::default(),
        Batch(vec![request(5, 1)]),
        Batch(vec![request(6, 1)]),
    ];
    let digests = batches.map(|batch| Symbolic::Checked.digest(&batch));
    prop::sample::select(digests.to_vec())
}

/// As the checker's keys would sign it.
fn request(client: u64, serial: u64) -> Signed<Request> {
    Signed {
        signature: Signature::default(),
        ..increment(client, serial)
    }
}

fn symbolic<T>(by: u64, value: T) -> Signed<T> {
    Signed {
        by: NodeId(by),
        value,
        signature: Signature::default(),
    }
}

fn convincing() -> Proof {
    Symbolic::Checked.join(Vec::new())
}

fn assignments() -> impl Strategy<Value = Assignment> {
    (0_u64..4, 0_u64..5, digests())
        .prop_map(|(view, place, digest)| assignment(view, place, digest))
}

fn changes() -> impl Strategy<Value = Signed<ViewChange>> {
    (0_u64..5, 0_u64..4, vec(assignments(), 0..3)).prop_map(|(by, view, prepared)| {
        let certificate = |assignment| Certificate {
            assignment,
            pre_prepare: Signature::default(),
            prepares: convincing(),
        };
        let change = ViewChange {
            view: View(view),
            stable: None,
            prepared: prepared.into_iter().map(certificate).collect(),
        };
        symbolic(by, change)
    })
}

fn messages() -> impl Strategy<Value = Message> {
    let batches = prop::sample::select(vec![
        Batch::default(),
        Batch(vec![request(5, 1)]),
        Batch(vec![request(6, 1)]),
    ]);
    let pages = (0_u64..5).prop_map(|executed| Page {
        executed: Sequence(executed),
        entries: Vec::new(),
        rest: None,
    });
    let checkpoint = |page: &Page| Checkpoint {
        sequence: page.executed,
        digest: Symbolic::Checked.digest(page),
    };
    prop_oneof![
        (4_u64..7, 0_u64..3).prop_map(|(client, serial)| Message::Request(request(client, serial))),
        (0_u64..4, 0_u64..4, 0_u64..5, batches).prop_map(|(by, view, place, batch)| {
            let digest = Symbolic::Checked.digest(&batch);
            let order = symbolic(by, PrePrepare(assignment(view, place, digest)));
            Message::PrePrepare { order, batch }
        }),
        (0_u64..5, assignments())
            .prop_map(|(by, one)| Message::Prepare(symbolic(by, Prepare(one)))),
        (0_u64..5, assignments()).prop_map(|(by, one)| Message::Commit(symbolic(by, Commit(one)))),
        (0_u64..5, pages.clone())
            .prop_map(move |(by, page)| { Message::Checkpoint(symbolic(by, checkpoint(&page))) }),
        (4_u64..7, 0_u64..3).prop_map(|(client, serial)| {
            let mut read = request(client, serial);
            read.value.operation = Operation::Get { key: "x".into() };
            Message::Read(read)
        }),
        (0_u64..3, pages.clone()).prop_map(move |(index, page)| Message::Fetch {
            checkpoint: checkpoint(&page),
            index,
        }),
        (0_u64..3, pages.clone()).prop_map(move |(index, page)| Message::Page {
            checkpoint: checkpoint(&page),
            index,
            page,
        }),
        changes().prop_map(Message::ViewChange),
        (vec(changes(), 3), vec(assignments(), 0..2)).prop_map(|(changes, orders)| {
            let view = changes[0].value.view;
            let new_view = NewView {
                view,
                changes: changes
                    .into_iter()
                    .map(|change| (change.by, change))
                    .collect(),
                pre_prepares: orders
                    .into_iter()
                    .map(|one| (one, Signature::default()))
                    .collect(),
            };
            Message::NewView(symbolic(view.0 % 4, new_view))
        }),
        (0_u64..4, any::<bool>(), 0_u64..5).prop_map(|(view, active, executed)| Message::Status {
            view: View(view),
            stance: if active {
                Stance::Active
            } else {
                Stance::Changing
            },
            executed: Sequence(executed),
        }),
        pages.prop_map(move |page| Message::State {
            stable: Stable {
                checkpoint: checkpoint(&page),
                proof: convincing(),
            },
            page,
        }),
    ]
}

fn inputs() -> impl Strategy<Value = Move<Pbft<Symbolic>>> {
    prop_oneof![
        8 => (0_u64..7, messages()).prop_map(|(from, message)| Move::Input(Input::Message {
            from: NodeId(from),
            message,
        })),
        1 => (1_u64..100).prop_map(|ticket| Move::Input(Input::Call(Call {
            ticket,
            session: Session { client: ticket % 3, serial: ticket },
            operation: Operation::Get { key: "x".into() },
        }))),
        1 => (0_u32..3).prop_map(|in_vain| Move::Input(Input::Timer(Timer::Suspect { in_vain }))),
        1 => prop::sample::select(vec![Timer::Resend, Timer::Retry])
            .prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn a_replica_keeps_the_laws_whatever_it_hears(
        me in 0_u64..5,
        batch_requests_max in 1_u32..3,
        moves in vec(inputs(), 0..60),
    ) {
        let machine = Pbft {
            me: NodeId(me),
            sizes: Sizes::of(4),
            keys: Symbolic::Checked,
            watermarks: Watermarks { interval: 1, window: 2 },
            batch_requests_max,
            orders_max: u64::from(batch_requests_max),
            reads: if me % 2 == 0 { Reads::Ordered } else { Reads::Optimistic },
        };
        laws::check(&machine, moves);
    }

    #[test]
    fn a_service_does_each_request_once(serials in vec(0_u64..4, 0..12)) {
        let mut service = Service::default();
        let mut sum = 0;
        let mut last = None;
        for serial in serials {
            let reply = service.execute(&request(5, serial));
            let is_new = last.is_none_or(|last| last < serial);
            prop_assert_eq!(reply.is_some(), is_new);
            if is_new {
                sum += 1;
                last = Some(serial);
                prop_assert_eq!(reply, Some(Reply::Value(Some(sum.to_string()))));
            }
        }
    }
}
