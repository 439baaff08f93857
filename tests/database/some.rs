//! Some of anything that a database may be asked, hear or ring, right or wrong.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::clock::HybridTime;
use quorate::data::NodeSet;
use quorate::database::{
    Call, Cell, Change, Level, Message, Operation, Reply, Stamp, Timer, Token, Version,
};
use quorate::machine::NodeId;
use quorate::merkle::keyed::Place;

fn operation() -> impl Strategy<Value = Operation> {
    (0..3_u64, 0..4_u64).prop_map(|(incarnation, number)| Operation {
        incarnation,
        number,
    })
}

pub(crate) fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[xyz]", 1 => "k{129}"]
}

pub(crate) fn value() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof![8 => "[AB]", 1 => "v{769}"])
}

pub(crate) fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..4_u64, 1 => Just(64_u64), 1 => any::<u64>()].prop_map(NodeId)
}

pub(crate) fn stamp() -> impl Strategy<Value = Stamp> {
    let physical = prop_oneof![8 => 0..40_u64, 1 => Just(u64::MAX)];
    let counter = prop_oneof![8 => 0..4_u32, 1 => Just(u32::MAX)];
    (physical, counter, node()).prop_map(|(physical, counter, writer)| Stamp {
        time: HybridTime { physical, counter },
        writer,
    })
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    (stamp(), value()).prop_map(|(stamp, value)| Version { stamp, value })
}

pub(crate) fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![1 => Just(Cell::Nothing), 4 => version().prop_map(Cell::Last)]
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![
        Just(Level::One),
        Just(Level::Two),
        Just(Level::Quorum),
        Just(Level::All),
        Just(Level::LocalQuorum)
    ]
}

fn token() -> impl Strategy<Value = Token> {
    vec((key(), cell()), 0..3).prop_map(|cells| {
        let mut token = Token::default();
        for (key, cell) in &cells {
            token.saw(key, cell);
        }
        token
    })
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        4 => Just(Place::ROOT),
        1 => (0..70_u8, any::<u64>()).prop_map(|(depth, prefix)| Place { depth, prefix }),
        2 => (0..2_u64).prop_map(|prefix| Place { depth: 1, prefix }),
    ]
}

fn group() -> impl Strategy<Value = NodeSet> {
    (0..4_usize).prop_map(NodeSet::first)
}

pub(crate) fn replica_message() -> impl Strategy<Value = Message> {
    let cells = || vec((key(), cell()), 0..4);
    prop_oneof![
        (operation(), cells()).prop_map(|(operation, writes)| Message::Write { operation, writes }),
        operation().prop_map(|operation| Message::Written { operation }),
        (operation(), stamp()).prop_map(|(operation, fence)| Message::TooOld { operation, fence }),
        (operation(), key()).prop_map(|(operation, key)| Message::Read { operation, key }),
        (operation(), cell(), proptest::option::of(stamp())).prop_map(
            |(operation, cell, swept)| Message::Data {
                operation,
                cell,
                swept
            }
        ),
        (place(), any::<u64>()).prop_map(|(place, digest)| Message::Compare { place, digest }),
        (place(), vec(any::<u64>(), 0..3))
            .prop_map(|(place, digests)| Message::Children { place, digests }),
        (
            place(),
            cells(),
            prop_oneof![Just(Reply::Wanted), Just(Reply::Unwanted)]
        )
            .prop_map(|(place, cells, reply)| Message::Entries {
                place,
                cells,
                reply
            }),
        (group(), stamp()).prop_map(|(group, upto)| Message::Fence { group, upto }),
        (group(), stamp(), any::<u64>()).prop_map(|(group, upto, digest)| Message::Fenced {
            group,
            upto,
            digest
        }),
        (group(), stamp()).prop_map(|(group, upto)| Message::Swept { group, upto }),
    ]
}

pub(crate) fn ballot_message() -> impl Strategy<Value = Message> {
    let accepted = proptest::option::of((stamp(), version()));
    prop_oneof![
        (operation(), key(), stamp()).prop_map(|(operation, key, ballot)| Message::Prepare {
            operation,
            key,
            ballot
        }),
        (
            operation(),
            stamp(),
            accepted,
            proptest::option::of(version())
        )
            .prop_map(|(operation, ballot, accepted, version)| Message::Promised {
                operation,
                ballot,
                accepted,
                version
            }),
        (operation(), key(), stamp(), version()).prop_map(|(operation, key, ballot, version)| {
            Message::Propose {
                operation,
                key,
                ballot,
                version,
            }
        }),
        (operation(), stamp())
            .prop_map(|(operation, ballot)| Message::Accepted { operation, ballot }),
        (operation(), stamp(), stamp()).prop_map(|(operation, ballot, promised)| {
            Message::Outbid {
                operation,
                ballot,
                promised,
            }
        }),
        (operation(), key(), stamp(), version()).prop_map(|(operation, key, ballot, version)| {
            Message::Commit {
                operation,
                key,
                ballot,
                version,
            }
        }),
        (operation(), stamp())
            .prop_map(|(operation, ballot)| Message::Committed { operation, ballot }),
    ]
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    let now = || prop_oneof![8 => 0..40_u64, 1 => Just(u64::MAX)];
    let writes = vec((key(), value()), 0..4);
    let change = (value(), value()).prop_map(|(expected, new)| Change { expected, new });
    prop_oneof![
        4 => (any::<u64>(), now(), writes, level(), token()).prop_map(
            |(ticket, now, writes, level, token)| Call::Write { ticket, now, writes, level, token }
        ),
        2 => (any::<u64>(), key(), level(), token())
            .prop_map(|(ticket, key, level, token)| Call::Read { ticket, key, level, token }),
        2 => (any::<u64>(), now(), key(), proptest::option::of(change)).prop_map(
            |(ticket, now, key, change)| Call::Transact { ticket, now, key, change }
        ),
        1 => group().prop_map(|nodes| Call::Suspect { nodes }),
    ]
}

pub(crate) fn timer() -> impl Strategy<Value = Timer> {
    prop_oneof![
        4 => (0..4_u64).prop_map(Timer::Retry),
        1 => Just(Timer::Deliver),
        1 => Just(Timer::Expire),
        1 => node().prop_map(Timer::Compare),
        1 => Just(Timer::Collect),
    ]
}
