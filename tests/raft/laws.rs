//! The laws of every machine, of Raft: whatever is said to it, honest or forged.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{Input, NodeId};
use quorate::raft::{
    Call, Changes, Command, Current, Elections, Entry, FirstEntry, Flow, Index, Leadership,
    MemberChange, Membership, Message, Operation, Part, Piece, Position, Raft, Reads, Reply, Rest,
    Session, Snapshots, Term, Timer,
};
use quorate_models::laws::{self, Move};

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
        1 => (number(), position()).prop_map(|(term, last)| Message::RequestVoteAsHeir {
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
        number().prop_map(Timer::Lease),
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
        reads in prop_oneof![
            Just(Reads::Log),
            Just(Reads::ReadIndex),
            Just(Reads::Lease { drift_ms: 30 }),
        ],
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
