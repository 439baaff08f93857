//! Ring change: nothing that was acknowledged is lost and nothing goes back, at exactly one of all
//! corners of what a change could leave out.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::clock::HybridTime;
use quorate::data::NodeSet;
use quorate::database::{
    self, Cell, Conflicts, Database, Hints, Leftovers, Level, Operation, Placement, Promise,
    ReadRepair, Stamp, Tombstones, Version,
};
use quorate::machine::{Input, NodeId, Output, Step as Taken, boot, step};
use quorate::merkle::keyed::Shape;
use quorate::rebalance::{
    CHUNK_BYTES_MAX, Call, Counting, Durable, Event, Item, Message, Proposal, Rebalance, Refusal,
    Stage, Step, Timer, VIRTUAL_NODES_MAX, Writers,
};
use quorate::ring::{Epoch, Member, Rack, Ring, Token};
use quorate_models::database::{CONVERGE, HINTED, LINEARIZABLE, MONOTONIC, REGULAR};
use quorate_models::laws::{self, Move};
use quorate_models::rebalance::corners::{Corner, Safeguard, Safeguards, corner, corners};
use quorate_models::rebalance::{CALLS_RETURN, ENDS, IN_ORDER, purging_is_owed};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[path = "database/some.rs"]
mod some;

#[test]
fn promises_hold_while_a_node_joins() {
    holds("rebalance", "join", 1_788_528);
}

#[test]
fn promises_hold_when_a_member_has_the_log() {
    holds("rebalance", "member-log", 1_184_279);
}

#[test]
fn promises_hold_when_a_write_counts_one_more_for_each_pending_replica() {
    holds("rebalance", "pending-too", 1_713_182);
}

#[test]
fn promises_hold_when_a_member_leaves() {
    holds("rebalance", "leave", 113_385);
}

#[test]
fn promises_hold_when_an_operation_begins_anew() {
    holds("rebalance", "begun-anew", 41_940);
}

#[test]
fn promises_hold_with_two_replicas_too() {
    holds("rebalance", "two-replicas", 13_494);
}

#[test]
fn promises_hold_when_who_joined_leaves_again() {
    holds("rebalance", "join-and-leave", 157_022);
}

#[test]
fn promises_hold_when_who_joins_crashes_and_streaming_is_restarted() {
    holds("rebalance", "crash", 2_671_153);
}

#[test]
fn promises_hold_with_a_crash_of_the_log() {
    holds("rebalance", "log-crash", 88_924);
}

#[test]
fn promises_hold_with_a_crash_of_any_node() {
    holds("rebalance", "any-crash", 298_429);
}

#[test]
fn what_the_old_replicas_chose_the_new_ones_know() {
    holds("rebalance", "chosen-before", 273_331);
}

#[test]
fn who_knows_of_no_change_decides_nothing() {
    holds("rebalance", "goes-on", 19_223);
}

#[test]
fn transactions_are_linearizable_while_reads_switch() {
    holds("rebalance", "meanwhile", 4_224_793);
}

#[test]
fn hints_come_to_who_joined() {
    holds("rebalance", "hinted", 20_144);
}

#[test]
fn what_one_replica_has_alone_outlives_its_leaving() {
    holds("rebalance", "compared", 7_245);
}

#[test]
fn regular_falls_without_the_fence_of_writes() {
    refutes("rebalance", "unfenced-writes", REGULAR);
}

#[test]
fn regular_falls_without_the_fence_of_reads() {
    refutes("rebalance", "unfenced-reads", REGULAR);
}

#[test]
fn regular_falls_when_the_pending_replica_is_not_counted() {
    refutes("rebalance", "pending-not-counted", REGULAR);
}

#[test]
fn regular_falls_when_streaming_asks_one() {
    refutes("rebalance", "streamed-from-one", REGULAR);
}

#[test]
fn reads_do_not_go_back_falls_when_repair_does_not_reach_the_pending_replica() {
    refutes("rebalance", "pending-not-repaired", MONOTONIC);
}

#[test]
fn regular_falls_without_the_barrier() {
    refutes("rebalance", "no-barrier", REGULAR);
}

#[test]
fn regular_falls_when_nothing_is_streamed() {
    refutes("rebalance", "nothing-streamed", REGULAR);
}

#[test]
fn steps_are_learned_in_order_falls_when_an_older_step_is_believed() {
    refutes("rebalance", "older-step", IN_ORDER);
}

#[test]
fn regular_falls_when_a_restart_forgets_the_change() {
    refutes("rebalance", "view-forgotten", REGULAR);
}

#[test]
fn regular_falls_when_a_disk_lies() {
    refutes("rebalance", "lying-disk", REGULAR);
}

#[test]
fn linearizable_falls_when_promises_are_not_streamed() {
    refutes("rebalance", "promises-not-streamed", LINEARIZABLE);
}

#[test]
fn linearizable_falls_without_the_fence_of_ballots() {
    refutes("rebalance", "unfenced-ballots", LINEARIZABLE);
}

#[test]
fn linearizable_falls_when_a_majority_of_the_read_is_enough() {
    refutes("rebalance", "majority-of-the-read", LINEARIZABLE);
}

#[test]
fn begun_writes_arrive_falls_when_hints_are_not_redirected() {
    refutes("rebalance", "hints-not-redirected", HINTED);
}

#[test]
fn a_change_ends_falls_when_leftovers_are_kept() {
    refutes("rebalance", "not-handed-over", ENDS);
}

#[test]
fn replicas_converge_falls_when_leftovers_are_thrown_away() {
    refutes("rebalance", "thrown-away", CONVERGE);
}

#[test]
fn a_change_ends_falls_when_streaming_is_not_restarted() {
    refutes("rebalance", "stream-not-restarted", ENDS);
}

#[test]
fn a_change_ends_falls_when_nobody_polls() {
    refutes("rebalance", "no-polls", ENDS);
}

#[test]
fn calls_return_falls_without_retries() {
    refutes("rebalance", "no-retries", CALLS_RETURN);
}

/// Of all sets of safeguards that a change could leave out, it is safe to leave out none. Each of them
/// by itself is missed.
#[test]
fn exactly_one_corner_is_safe() {
    let corners: Vec<Corner> = corners(3).collect();
    assert_eq!(corners.len(), 64);
    let safe: Vec<Safeguards> = (corners.iter())
        .filter(|corner| corner.fell.is_none())
        .map(|corner| corner.without)
        .collect();
    assert_eq!(safe, [Safeguards::default()]);
    let mut single = Vec::new();
    for safeguard in Safeguard::ALL {
        let without = Safeguards::only(safeguard);
        let corner = corners.iter().find(|corner| corner.without == without);
        let (promise, steps) = corner.and_then(|corner| corner.fell).expect("it fell");
        single.push((safeguard, promise, steps));
    }
    let expected = [
        (Safeguard::FencedWrites, REGULAR, 18),
        (Safeguard::FencedReads, MONOTONIC, 22),
        (Safeguard::CountedPending, REGULAR, 19),
        (Safeguard::StreamedFromQuorum, REGULAR, 15),
        (Safeguard::RepairedPending, MONOTONIC, 20),
        (Safeguard::Barrier, REGULAR, 21),
    ];
    assert_eq!(single, expected);
}

/// With two replicas a quorum is all of them, and none of it shows: whoever tries a ring change with two
/// replicas has tried nothing.
#[test]
fn two_replicas_hide_every_corner() {
    let fallen: Vec<Corner> = corners(2).filter(|corner| corner.fell.is_some()).collect();
    assert_eq!(fallen, []);
    let all = Safeguards::of(Safeguards::SETS - 1);
    assert!(corner(2, all).states > 1_000, "there was something to see");
}

#[test]
fn what_is_forgotten_was_dead() {
    discharges(purging_is_owed());
}

#[test]
fn small_worlds_have_the_same_states_under_full_equality_and_under_stateright() {
    audits("rebalance", "two-replicas");
}

const LOG: NodeId = NodeId(5);

/// One of six nodes, of which three are members at first; the last has the log.
fn node(me: u64) -> Rebalance {
    let member = |id| (NodeId(id), Member::new(NodeId(id), Rack(0), 4));
    let first = Ring::new(3, (0..3).map(member)).expect("a ring");
    Rebalance {
        log: LOG,
        nodes: NodeSet::first(6),
        counting: Counting::Both,
        database: Database {
            me: NodeId(me),
            placement: Placement::from(first.clone()),
            nearby: NodeSet::first(6),
            conflicts: Conflicts::LastWriterWins,
            read_repair: ReadRepair::Blocking,
            hints: Hints::Kept { max: 3 },
            counting: database::Counting::Strict,
            anti_entropy: Some(Shape {
                fan_bits: 1,
                bucket_max: 1,
            }),
            tombstones: Tombstones::Kept,
            patience: Some(2),
        },
        first,
    }
}

fn join(node: u64) -> Proposal {
    Proposal::Join {
        node: NodeId(node),
        rack: Rack(0),
        virtual_nodes: 4,
    }
}

fn stage(epoch: u64, step: Step) -> Stage {
    let epoch = Epoch(epoch);
    Stage { epoch, step }
}

fn message(from: NodeId, message: Message) -> Input<Rebalance> {
    Input::Message { from, message }
}

fn learn(stage: Stage, proposal: Option<Proposal>) -> Input<Rebalance> {
    message(LOG, Message::Learn { stage, proposal })
}

/// What a node says when it is given these inputs, one after the other.
fn said(
    machine: &Rebalance,
    inputs: impl IntoIterator<Item = Input<Rebalance>>,
) -> Vec<Output<Rebalance>> {
    let Taken { mut state, sealed } = boot(machine, Durable::default());
    let disk = |_: &[_]| Ok::<(), ()>(());
    let mut said = sealed.persist(disk).expect("a disk");
    for input in inputs {
        let after = step(machine, state, input);
        state = after.state;
        said.extend(after.sealed.persist(disk).expect("a disk"));
    }
    said
}

fn sent(outputs: Vec<Output<Rebalance>>) -> Vec<(NodeId, Message)> {
    let sent = |output| match output {
        Output::Send { to, message } => Some((to, message)),
        Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => None,
    };
    outputs.into_iter().filter_map(sent).collect()
}

fn events(outputs: Vec<Output<Rebalance>>) -> Vec<Event> {
    let told = |output| match output {
        Output::Event(event) => Some(event),
        Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    };
    outputs.into_iter().filter_map(told).collect()
}

#[test]
fn stages_follow_each_other() {
    let mut stages = vec![stage(1, Step::Settled)];
    for _ in 0..4 {
        stages.extend(stages.last().and_then(|stage| stage.next()));
    }
    assert!(stages.is_sorted());
    assert_eq!(stages[3], stage(2, Step::Settled));
    assert_eq!(stage(u64::MAX, Step::Switched).next(), None);
}

#[test]
fn the_log_takes_one_change_at_a_time_and_each_once() {
    let propose = |at, proposal| {
        let at = Epoch(at);
        message(NodeId(0), Message::Propose { at, proposal })
    };
    let steps = |inputs: Vec<Input<Rebalance>>| {
        let told = events(said(&node(5), inputs)).into_iter();
        let learned = told.filter(|event| matches!(event, Event::Learned { .. }));
        learned.count()
    };
    assert_eq!(steps(vec![propose(1, join(3))]), 1);
    assert_eq!(steps(vec![propose(1, join(3)), propose(1, join(4))]), 1);
    assert_eq!(steps(vec![propose(2, join(3))]), 0, "of no ring there is");
    assert_eq!(steps(vec![propose(1, join(0))]), 0, "a member");
    assert_eq!(steps(vec![propose(1, join(9))]), 0, "nobody would tell it");
    let leave = Proposal::Leave { node: NodeId(0) };
    assert_eq!(steps(vec![propose(1, leave)]), 0, "three are needed");
}

#[test]
fn the_log_tells_who_asks_the_next_step() {
    let propose = Message::Propose {
        at: Epoch(1),
        proposal: join(3),
    };
    let ask = |stage| message(NodeId(1), Message::Ask { stage });
    let inputs = [
        message(NodeId(0), propose),
        ask(stage(1, Step::Settled)),
        ask(stage(1, Step::Announced)),
    ];
    let told = sent(said(&node(5), inputs));
    let announced = Message::Learn {
        stage: stage(1, Step::Announced),
        proposal: Some(join(3)),
    };
    assert_eq!(told.len(), 5 + 1, "everyone, and who asks");
    assert_eq!(told.last(), Some(&(NodeId(1), announced)));
}

#[test]
fn a_step_is_of_use_if_it_is_the_next_one() {
    let learned = |inputs: Vec<Input<Rebalance>>| {
        let told = events(said(&node(0), inputs)).into_iter();
        let stages = told.filter_map(|event| match event {
            Event::Learned { stage } => Some(stage),
            Event::Database(_)
            | Event::Proposed { .. }
            | Event::Refused { .. }
            | Event::Streamed { .. } => None,
        });
        stages.collect::<Vec<Stage>>()
    };
    let (announced, switched) = (stage(1, Step::Announced), stage(1, Step::Switched));
    assert_eq!(learned(vec![learn(switched, None)]), []);
    let in_order = vec![learn(announced, Some(join(3))), learn(switched, None)];
    assert_eq!(learned(in_order), [announced, switched]);
    let again = vec![learn(announced, Some(join(3))); 2];
    assert_eq!(learned(again), [announced]);
    let by_another = Message::Learn {
        stage: announced,
        proposal: Some(join(3)),
    };
    assert_eq!(learned(vec![message(NodeId(1), by_another)]), []);
    let empty = vec![learn(announced, None)];
    assert_eq!(learned(empty), [], "it announces nothing");
}

#[test]
fn a_change_that_cannot_be_proposed_is_refused_with_the_reason() {
    let refused = |inputs: Vec<Input<Rebalance>>| {
        let told = events(said(&node(0), inputs)).into_iter();
        let refusals = told.filter_map(|event| match event {
            Event::Refused { refusal, .. } => Some(refusal),
            Event::Database(_)
            | Event::Proposed { .. }
            | Event::Learned { .. }
            | Event::Streamed { .. } => None,
        });
        refusals.collect::<Vec<Refusal>>()
    };
    let change = |proposal| {
        Input::Call(Call::Change {
            ticket: 0,
            proposal,
        })
    };
    assert_eq!(refused(vec![change(join(3))]), []);
    assert_eq!(refused(vec![change(join(1))]), [Refusal::NoSuchRing]);
    assert_eq!(refused(vec![change(join(6))]), [Refusal::NoSuchRing]);
    let announced = learn(stage(1, Step::Announced), Some(join(3)));
    assert_eq!(refused(vec![announced, change(join(4))]), [Refusal::Busy]);
}

fn said_by_database(from: u64, stage: Stage, message: database::Message) -> Input<Rebalance> {
    let from = NodeId(from);
    let message = Message::Database { stage, message };
    Input::Message { from, message }
}

const OPERATION: Operation = Operation {
    incarnation: 1,
    number: 0,
};

#[test]
fn nobody_hears_who_knows_more_or_less_of_the_ring() {
    let read = |stage| {
        let (operation, key) = (OPERATION, String::from("k"));
        said_by_database(1, stage, database::Message::Read { operation, key })
    };
    let answers = |inputs: Vec<Input<Rebalance>>| {
        let sent = sent(said(&node(0), inputs)).into_iter();
        let is_answer = |(_, message): &(NodeId, Message)| {
            matches!(
                message,
                Message::Database {
                    message: database::Message::Data { .. },
                    ..
                }
            )
        };
        sent.filter(is_answer).count()
    };
    let (settled, announced) = (stage(1, Step::Settled), stage(1, Step::Announced));
    assert_eq!(answers(vec![read(settled)]), 1);
    assert_eq!(answers(vec![read(announced)]), 0, "not yet");
    let learned = learn(announced, Some(join(3)));
    assert_eq!(answers(vec![learned.clone(), read(announced)]), 1);
    assert_eq!(answers(vec![learned, read(settled)]), 0, "no longer");
}

fn stamp(physical: u64) -> Stamp {
    let time = HybridTime {
        physical,
        counter: 0,
    };
    let writer = NodeId(0);
    Stamp { time, writer }
}

fn version(value: &str) -> Version {
    let (stamp, value) = (stamp(1), Some(value.into()));
    Version { stamp, value }
}

/// However much there is, it comes in pieces that a message carries, each key once, whether it has a cell or
/// was only promised something.
#[test]
fn a_stream_comes_in_chunks_and_leaves_nothing_out() {
    let source = node(0);
    let announced = stage(1, Step::Announced);
    let view = source.view(&Durable::default());
    let view = view.advanced(Some(join(3))).expect("the next");
    let gained = |key: &str| {
        let token = Token::of(key.as_bytes());
        let mut moves = view.moves().into_iter();
        moves.any(|one| one.gains().contains(NodeId(3)) && one.range.contains(token))
    };
    let mut durable = Durable::default();
    let keys: Vec<String> = (0..40).map(|number| format!("key {number:02}")).collect();
    for (place, key) in keys.iter().enumerate() {
        if place % 3 != 0 {
            let cell = Cell::Last(version(&"v".repeat(300)));
            durable.database.table.keep(key, &cell);
        }
        if place % 3 != 1 {
            let promise = Promise {
                promised: stamp(2),
                accepted: Some((stamp(2), version("v"))),
            };
            durable.database.promises.insert(key.clone(), promise);
        }
    }
    let Taken { mut state, .. } = boot(&source, durable.clone());
    state = step(&source, state, learn(announced, Some(join(3)))).state;
    let (mut after, mut got, mut chunks) = (None, Vec::new(), 0);
    loop {
        let pull = Message::Pull {
            stage: announced,
            after,
        };
        let taken = step(&source, state, message(NodeId(3), pull));
        state = taken.state;
        let outputs = taken.sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        let Some((_, Message::Chunk { items, next, .. })) = sent(outputs).pop() else {
            panic!("a chunk")
        };
        let bytes: usize = items
            .iter()
            .map(|item| item.key.len() + item.cell.bytes())
            .sum();
        assert!(bytes <= CHUNK_BYTES_MAX, "{bytes}");
        got.extend(items);
        chunks += 1;
        after = match next {
            Some(next) => Some(next),
            None => break,
        };
    }
    let item = |key: String| Item {
        cell: durable.database.table.cell(&key),
        promise: durable.database.promises.get(&key).cloned(),
        key,
    };
    let given = keys.into_iter().filter(|key| gained(key));
    let expected: Vec<Item> = given.map(item).collect();
    assert!(expected.len() > 10, "many keys move: {}", expected.len());
    assert_eq!(got, expected);
    assert!(chunks > 5, "{chunks}");
}

/// What a node is no replica of any more goes to those who are, some at a time, and is gone from here once
/// all of them have it.
#[test]
fn leftovers_are_handed_over_and_then_gone() {
    let machine = node(0);
    let mut durable = Durable::default();
    for number in 0..1_000 {
        let key = format!("key {number:03}");
        durable.database.table.keep(&key, &Cell::Last(version("v")));
    }
    let mut state = boot(&machine, durable).state;
    let leave = Proposal::Leave { node: NodeId(0) };
    for (stage, proposal) in [
        (stage(1, Step::Announced), Some(join(3))),
        (stage(1, Step::Switched), None),
        (stage(2, Step::Settled), None),
        (stage(2, Step::Announced), Some(leave)),
        (stage(2, Step::Switched), None),
        (stage(3, Step::Settled), None),
    ] {
        state = step(&machine, state, learn(stage, proposal)).state;
    }
    let (mut handed, mut rounds) = (0, 0);
    while state.volatile.leftovers != Leftovers::Nothing || !state.durable.database.hints.is_empty()
    {
        rounds += 1;
        assert!(rounds < 100, "{handed} so far");
        let taken = step(&machine, state, Input::Timer(Timer::Poll));
        state = taken.state;
        let outputs = taken.sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        for (to, message) in sent(outputs) {
            let Message::Database {
                stage,
                message: database::Message::Write { operation, .. },
            } = message
            else {
                continue;
            };
            handed += 1;
            let written = database::Message::Written { operation };
            state = step(&machine, state, said_by_database(to.0, stage, written)).state;
        }
    }
    assert_eq!(handed, 3_000, "to three replicas each");
    assert_eq!(state.durable.database.table.cells.len(), 0);
    assert!(rounds > 3, "not all at once: {rounds}");
}

/// Whatever the sets are, if it is enough to be acknowledged it meets each quorum that could read, before
/// the change and after it.
#[test]
fn enough_is_a_quorum_of_both_by_either_count() {
    let all = |bits: u64| {
        let nodes = (0..6_u64).filter(move |node| bits & (1 << node) != 0);
        nodes.map(NodeId).collect::<NodeSet>()
    };
    let threes: Vec<NodeSet> = (0..64).map(all).filter(|set| set.len() == 3).collect();
    let everyone = NodeSet::first(6);
    for (old, new) in threes
        .iter()
        .flat_map(|old| threes.iter().map(move |new| (*old, *new)))
    {
        let writers = Writers { old, new };
        for stored in (0..64).map(all) {
            let is_enough = |counting| writers.is_enough(counting, Level::Quorum, stored, everyone);
            let both = is_enough(Counting::Both);
            let quorums = [old, new].map(|set| set.intersection(stored).len() >= 2);
            assert_eq!(both, quorums == [true, true]);
            assert!(both || !is_enough(Counting::PendingToo));
        }
    }
}

fn some_stage() -> impl Strategy<Value = Stage> {
    let step = prop_oneof![
        Just(Step::Settled),
        Just(Step::Announced),
        Just(Step::Switched)
    ];
    (prop_oneof![8 => 1..3_u64, 1 => any::<u64>()], step)
        .prop_map(|(epoch, step)| stage(epoch, step))
}

fn some_proposal() -> impl Strategy<Value = Proposal> {
    let virtual_nodes =
        prop_oneof![8 => 0..5_u32, 1 => Just(VIRTUAL_NODES_MAX + 1), 1 => any::<u32>()];
    prop_oneof![
        (0..7_u64, 0..2_u64, virtual_nodes).prop_map(|(node, rack, virtual_nodes)| {
            Proposal::Join {
                node: NodeId(node),
                rack: Rack(rack),
                virtual_nodes,
            }
        }),
        (0..7_u64).prop_map(|node| Proposal::Leave { node: NodeId(node) }),
    ]
}

fn some_item() -> impl Strategy<Value = Item> {
    let accepted = proptest::option::of((some::stamp(), some::version()));
    let promise =
        (some::stamp(), accepted).prop_map(|(promised, accepted)| Promise { promised, accepted });
    let promise = proptest::option::of(promise);
    (some::key(), some::cell(), promise).prop_map(|(key, cell, promise)| Item {
        key,
        cell,
        promise,
    })
}

fn some_message() -> impl Strategy<Value = Message> {
    let epoch = (0..4_u64).prop_map(Epoch);
    let chunk = (
        some_stage(),
        proptest::option::of(some::key()),
        vec(some_item(), 0..3),
        proptest::option::of(some::key()),
    );
    let database = prop_oneof![some::replica_message(), some::ballot_message()];
    prop_oneof![
        1 => (epoch, some_proposal()).prop_map(|(at, proposal)| Message::Propose { at, proposal }),
        1 => (some_stage(), proptest::option::of(some_proposal()))
            .prop_map(|(stage, proposal)| Message::Learn { stage, proposal }),
        1 => some_stage().prop_map(|stage| Message::Ask { stage }),
        1 => some_stage().prop_map(|stage| Message::Ready { stage }),
        4 => (some_stage(), database)
            .prop_map(|(stage, message)| Message::Database { stage, message }),
        1 => (some_stage(), proptest::option::of(some::key()))
            .prop_map(|(stage, after)| Message::Pull { stage, after }),
        1 => chunk.prop_map(|(stage, after, items, next)| Message::Chunk {
            stage,
            after,
            items,
            next
        }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Rebalance>> {
    let calls = prop_oneof![
        3 => some::call().prop_map(Call::Database),
        1 => (any::<u64>(), some_proposal())
            .prop_map(|(ticket, proposal)| Call::Change { ticket, proposal }),
    ];
    let timers = prop_oneof![some::timer().prop_map(Timer::Database), Just(Timer::Poll)];
    // The steps of one change come often, or nothing would follow.
    let steps = prop_oneof![
        Just((stage(1, Step::Announced), Some(join(3)))),
        Just((stage(1, Step::Switched), None)),
        Just((stage(2, Step::Settled), None)),
    ];
    prop_oneof![
        3 => calls.prop_map(|call| Move::Input(Input::Call(call))),
        9 => (0..7_u64, some_message()).prop_map(|(from, message)| {
            Move::Input(Input::Message { from: NodeId(from), message })
        }),
        3 => steps.prop_map(|(stage, proposal)| Move::Input(learn(stage, proposal))),
        2 => timers.prop_map(|timer| Move::Input(Input::Timer(timer))),
        1 => Just(Move::Restart),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_every_machine_hold(me in 0..6_u64, moves in vec(one_move(), 0..80)) {
        laws::check(&node(me), moves);
    }
}
