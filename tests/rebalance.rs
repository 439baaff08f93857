//! Ring change: nothing that was acknowledged is lost and nothing goes back, at exactly one of all
//! corners of what a change could leave out.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::clock::HybridTime;
use quorate::data::NodeSet;
use quorate::database::{Cell, KEY_BYTES_MAX, Operation, Stamp, VALUE_BYTES_MAX, Version};
use quorate::machine::{Input, NodeId, Output, Step as Taken, boot, step};
use quorate::rebalance::{
    CHUNK_BYTES_MAX, Call, Counting, Durable, Event, Message, Proposal, Rebalance, Refusal, Stage,
    Step, Timer, VIRTUAL_NODES_MAX, Writers,
};
use quorate::ring::{Epoch, Member, Rack, Ring, Token};
use quorate_models::laws::{self, Move};
use quorate_models::rebalance::corners::{Corner, Safeguard, Safeguards, corner, corners};
use quorate_models::rebalance::{CALLS_RETURN, ENDS, FORWARD, IN_ORDER, READ, purging_is_owed};
use quorate_models::testing::{audits, discharges, holds, refutes};

#[test]
fn promises_hold_while_a_node_joins() {
    holds("rebalance", "join", 803_158);
}

#[test]
fn promises_hold_when_a_write_counts_one_more_for_each_pending_replica() {
    holds("rebalance", "pending-too", 756_805);
}

#[test]
fn promises_hold_when_who_joins_crashes_and_streaming_is_restarted() {
    holds("rebalance", "crash", 1_889_799);
}

#[test]
fn promises_hold_when_who_joined_leaves_again() {
    holds("rebalance", "join-and-leave", 90_636);
}

#[test]
fn promises_hold_with_a_crash_of_any_node() {
    holds("rebalance", "any-crash", 176_521);
}

#[test]
fn promises_hold_with_a_crash_of_the_log() {
    holds("rebalance", "log-crash", 54_124);
}

#[test]
fn promises_hold_when_an_operation_begins_anew() {
    holds("rebalance", "begun-anew", 77_368);
}

#[test]
fn promises_hold_with_two_replicas_too() {
    holds("rebalance", "two-replicas", 6_531);
}

#[test]
fn acknowledged_writes_falls_without_the_fence_of_writes() {
    refutes("rebalance", "unfenced-writes", READ);
}

#[test]
fn acknowledged_writes_falls_without_the_fence_of_reads() {
    refutes("rebalance", "unfenced-reads", READ);
}

#[test]
fn acknowledged_writes_falls_when_the_pending_replica_is_not_counted() {
    refutes("rebalance", "pending-not-counted", READ);
}

#[test]
fn acknowledged_writes_falls_when_streaming_asks_one() {
    refutes("rebalance", "streamed-from-one", READ);
}

#[test]
fn reads_do_not_go_back_falls_when_repair_does_not_reach_the_pending_replica() {
    refutes("rebalance", "pending-not-repaired", FORWARD);
}

#[test]
fn acknowledged_writes_falls_without_the_barrier() {
    refutes("rebalance", "no-barrier", READ);
}

#[test]
fn acknowledged_writes_falls_when_nothing_is_streamed() {
    refutes("rebalance", "nothing-streamed", READ);
}

#[test]
fn steps_are_learned_in_order_falls_when_an_older_step_is_believed() {
    refutes("rebalance", "older-step", IN_ORDER);
}

#[test]
fn acknowledged_writes_falls_when_a_restart_forgets_the_change() {
    refutes("rebalance", "view-forgotten", READ);
}

#[test]
fn acknowledged_writes_falls_when_a_disk_lies() {
    refutes("rebalance", "lying-disk", READ);
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
        (Safeguard::FencedWrites, READ, 18),
        (Safeguard::FencedReads, READ, 23),
        (Safeguard::CountedPending, READ, 19),
        (Safeguard::StreamedFromQuorum, READ, 15),
        (Safeguard::RepairedPending, FORWARD, 20),
        (Safeguard::Barrier, READ, 21),
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

/// One of five nodes, of which three are members at first, or the log.
fn node(me: u64) -> Rebalance {
    let member = |id| (NodeId(id), Member::new(NodeId(id), Rack(0), 4));
    Rebalance {
        me: NodeId(me),
        log: LOG,
        nodes: NodeSet::first(5),
        first: Ring::new(3, (0..3).map(member)).expect("a ring"),
        counting: Counting::Both,
        restarts_max: 2,
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
            Event::Wrote { .. }
            | Event::Got { .. }
            | Event::Proposed { .. }
            | Event::GaveUp { .. }
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
fn a_call_that_cannot_be_begun_is_refused_with_the_reason() {
    let refused = |me: u64, inputs: Vec<Input<Rebalance>>| {
        let told = events(said(&node(me), inputs)).into_iter();
        let refusals = told.filter_map(|event| match event {
            Event::Refused { refusal, .. } => Some(refusal),
            Event::Wrote { .. }
            | Event::Got { .. }
            | Event::Proposed { .. }
            | Event::GaveUp { .. }
            | Event::Learned { .. }
            | Event::Streamed { .. } => None,
        });
        refusals.collect::<Vec<Refusal>>()
    };
    let read = |bytes| {
        let key = "k".repeat(bytes);
        Input::Call(Call::Read { ticket: 0, key })
    };
    let write = |bytes| {
        Input::Call(Call::Write {
            ticket: 0,
            now: 0,
            key: "k".into(),
            value: Some("v".repeat(bytes)),
        })
    };
    let change = |proposal| {
        Input::Call(Call::Change {
            ticket: 0,
            proposal,
        })
    };
    assert_eq!(refused(0, vec![read(KEY_BYTES_MAX)]), []);
    assert_eq!(
        refused(0, vec![read(KEY_BYTES_MAX + 1)]),
        [Refusal::TooLong]
    );
    assert_eq!(refused(0, vec![write(VALUE_BYTES_MAX)]), []);
    assert_eq!(
        refused(0, vec![write(VALUE_BYTES_MAX + 1)]),
        [Refusal::TooLong]
    );
    assert_eq!(refused(5, vec![read(1)]), [Refusal::NotHere]);
    assert_eq!(refused(0, vec![change(join(3))]), []);
    assert_eq!(refused(0, vec![change(join(1))]), [Refusal::NoSuchRing]);
    assert_eq!(refused(0, vec![change(join(6))]), [Refusal::NoSuchRing]);
    let announced = learn(stage(1, Step::Announced), Some(join(3)));
    assert_eq!(
        refused(0, vec![announced, change(join(4))]),
        [Refusal::Busy]
    );
}

#[test]
fn nobody_answers_who_knows_more_or_less_of_the_ring() {
    let operation = Operation {
        incarnation: 1,
        number: 0,
    };
    let read = |stage| {
        let key = String::from("k");
        message(
            NodeId(1),
            Message::Read {
                operation,
                stage,
                key,
            },
        )
    };
    let answers = |inputs: Vec<Input<Rebalance>>| {
        let sent = sent(said(&node(0), inputs)).into_iter();
        sent.filter(|(_, message)| matches!(message, Message::Data { .. }))
            .count()
    };
    let (settled, announced) = (stage(1, Step::Settled), stage(1, Step::Announced));
    assert_eq!(answers(vec![read(settled)]), 1);
    assert_eq!(answers(vec![read(announced)]), 0, "not yet");
    let learned = learn(announced, Some(join(3)));
    assert_eq!(answers(vec![learned.clone(), read(announced)]), 1);
    assert_eq!(answers(vec![learned, read(settled)]), 0, "no longer");
}

fn cell(value: &str) -> Cell {
    let time = HybridTime {
        physical: 1,
        counter: 0,
    };
    let writer = NodeId(0);
    Cell::Last(Version {
        stamp: Stamp { time, writer },
        value: Some(value.into()),
    })
}

/// However much there is, it comes in pieces that a message carries, each key once.
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
    for key in &keys {
        durable.table.keep(key, &cell(&"v".repeat(300)));
    }
    let Taken { mut state, .. } = boot(&source, durable);
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
        let Some((_, Message::Chunk { cells, next, .. })) = sent(outputs).pop() else {
            panic!("a chunk")
        };
        let bytes: usize = cells
            .iter()
            .map(|(key, cell)| key.len() + cell.bytes())
            .sum();
        assert!(bytes <= CHUNK_BYTES_MAX, "{bytes}");
        got.extend(cells.into_iter().map(|(key, _)| key));
        chunks += 1;
        after = match next {
            Some(next) => Some(next),
            None => break,
        };
    }
    let expected: Vec<String> = keys.into_iter().filter(|key| gained(key)).collect();
    assert!(expected.len() > 10, "many keys move: {}", expected.len());
    assert_eq!(got, expected);
    assert!(chunks > 5, "{chunks}");
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
    for (old, new) in threes
        .iter()
        .flat_map(|old| threes.iter().map(move |new| (*old, *new)))
    {
        let writers = Writers { old, new };
        for stored in (0..64).map(all) {
            let both = writers.is_enough(Counting::Both, stored);
            let quorums = [old, new].map(|set| set.intersection(stored).len() >= 2);
            assert_eq!(both, quorums == [true, true]);
            assert!(both || !writers.is_enough(Counting::PendingToo, stored));
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

fn some_cell() -> impl Strategy<Value = Cell> {
    let time = prop_oneof![8 => 0..3_u64, 1 => any::<u64>()];
    let last = (time, any::<u32>(), 0..5_u64, proptest::option::of("[ab]"));
    let last = last.prop_map(|(physical, counter, writer, value)| {
        let time = HybridTime { physical, counter };
        let writer = NodeId(writer);
        Cell::Last(Version {
            stamp: Stamp { time, writer },
            value,
        })
    });
    prop_oneof![1 => Just(Cell::Nothing), 6 => last]
}

fn some_operation() -> impl Strategy<Value = Operation> {
    (0..3_u64, 0..4_u64).prop_map(|(incarnation, number)| Operation {
        incarnation,
        number,
    })
}

fn some_message() -> impl Strategy<Value = Message> {
    let key = || "[abcd]";
    let epoch = (0..4_u64).prop_map(Epoch);
    let chunk = (
        some_stage(),
        proptest::option::of(key()),
        vec((key(), some_cell()), 0..3),
        proptest::option::of(key()),
    );
    prop_oneof![
        (epoch, some_proposal()).prop_map(|(at, proposal)| Message::Propose { at, proposal }),
        (some_stage(), proptest::option::of(some_proposal()))
            .prop_map(|(stage, proposal)| Message::Learn { stage, proposal }),
        some_stage().prop_map(|stage| Message::Ask { stage }),
        some_stage().prop_map(|stage| Message::Ready { stage }),
        (some_operation(), some_stage(), key(), some_cell()).prop_map(
            |(operation, stage, key, cell)| Message::Write {
                operation,
                stage,
                key,
                cell
            }
        ),
        (some_operation(), some_stage())
            .prop_map(|(operation, stage)| Message::Written { operation, stage }),
        (some_operation(), some_stage(), key()).prop_map(|(operation, stage, key)| {
            Message::Read {
                operation,
                stage,
                key,
            }
        }),
        (some_operation(), some_stage(), some_cell()).prop_map(|(operation, stage, cell)| {
            Message::Data {
                operation,
                stage,
                cell,
            }
        }),
        (some_stage(), proptest::option::of(key()))
            .prop_map(|(stage, after)| Message::Pull { stage, after }),
        chunk.prop_map(|(stage, after, cells, next)| Message::Chunk {
            stage,
            after,
            cells,
            next
        }),
    ]
}

fn one_move() -> impl Strategy<Value = Move<Rebalance>> {
    let calls = prop_oneof![
        (
            any::<u64>(),
            0..3_u64,
            "[abcd]",
            proptest::option::of("[ab]")
        )
            .prop_map(|(ticket, now, key, value)| Call::Write {
                ticket,
                now,
                key,
                value
            }),
        (any::<u64>(), "[abcd]").prop_map(|(ticket, key)| Call::Read { ticket, key }),
        (any::<u64>(), some_proposal())
            .prop_map(|(ticket, proposal)| Call::Change { ticket, proposal }),
    ];
    let timers = prop_oneof![(0..4_u64).prop_map(Timer::Retry), Just(Timer::Poll)];
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
