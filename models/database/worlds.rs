//! The worlds in which everything holds that the database promises.

use quorate::data::NodeSet;
use quorate::database::{Database, Level, Timer};

use super::dead::{receiver_is_done, sender_is_done};
use super::serial::Serial;
use super::{
    BESIDE, CALLS_RETURN, COLLECTING_HERE, HEALED, HINTING, MONOTONIC, ONE_DOOR, QUORUM, ROUNDS,
    SERIAL, SLOPPY, Setting, UNHEALED, UNREPAIRED, batches, beside, carrying, collecting, healing,
    hinted, right, serial, world,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::world::World;

/// Worlds of reads and writes.
pub(super) fn ordered() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(17_200, 85_689, || {
            right("quorum", QUORUM, &["A", "rr"])
                .says("three replicas, two nodes apart; one client writes, another reads twice, all at QUORUM")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(907_113, 7_175_901, || {
            right("two-writers", QUORUM, &["A", "B", "r"])
                .says("two clients write, a third reads, all at QUORUM")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(1_945, 6_499, || {
            let here = Setting { apart: 0, ..QUORUM };
            right("replicas-coordinate", here, &["A", "r"])
                .says("three replicas that are themselves called; one client writes, another reads")
        }),
        Claimed::holds(186_836, 1_031_745, || {
            right("crash", QUORUM, &["A", "rr"])
                .says("the same as quorum, and any one node crashes and restarts")
                .symmetric(QUORUM.replicas())
                .crashes(QUORUM.nodes(), 1)
        }),
        Claimed::holds(7_302, 41_273, || {
            let levels = Setting {
                read: Level::One,
                write: Level::All,
                ..QUORUM
            };
            right("one-and-all", levels, &["A", "rr"])
                .says("writes at ALL, reads at ONE, which need not ask the same replica twice")
                .except(MONOTONIC)
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(9_602, 42_903, || {
            let levels = Setting {
                read: Level::All,
                write: Level::One,
                ..QUORUM
            };
            right("all-and-one", levels, &["A", "rr"])
                .says("writes at ONE, reads at ALL")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(70_591, 446_103, || {
            let levels = Setting {
                read: Level::Two,
                write: Level::Two,
                ..QUORUM
            };
            right("two-and-two", levels, &["AB", "r"])
                .says("writes and reads at TWO; one client writes twice")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(13_730, 69_359, || {
            right("no-read-repair", UNREPAIRED, &["A", "rr"])
                .says("reads repair nothing: regular all the same")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(14_301, 81_016, || {
            right("suspicions", ONE_DOOR, &["A", "r", "13"])
                .says("a failure detector suspects one replica, then all three, and none of it is true")
                .sometimes_told("a call is refused", |told| told.ghost.is_refused)
        }),
        Claimed::holds(12_386, 83_546, || {
            let local = Setting {
                replicas: 4,
                apart: 1,
                far: 1,
                read: Level::LocalQuorum,
                write: Level::LocalQuorum,
                ..QUORUM
            };
            right("local-quorum", local, &["A", "r"])
                .says("four replicas, one of them in another data centre; all at LOCAL_QUORUM in the first one")
                .symmetric(NodeSet::first(3))
        }),
        Claimed::holds(3_909, 26_436, || {
            let impatient = Setting {
                patience: Some(1),
                apart: 1,
                ..QUORUM
            };
            world("impatience", impatient, &["A", "r"], |right| right)
                .purging(sender_is_done, receiver_is_done)
                .says("a call that was repeated once is given up")
                .symmetric(QUORUM.replicas())
                .sometimes_told("a call is given up", |told| told.ghost.is_failed)
        }),
    ]
}

/// Worlds of transactions, and of sessions.
pub(super) fn agreed() -> Vec<Box<dyn Exhibit>> {
    let all_come = |world: World<Database, Serial>| {
        world
            .purging(sender_is_done, receiver_is_done)
            .doors(NodeSet::first(2))
            .sometimes_told("what never returned is seen", |told| {
                told.ghost.finished_for_another()
            })
    };
    vec![
        Claimed::holds(130_815, 901_694, move || {
            let patient = Setting {
                patience: Some(0),
                ..SERIAL
            };
            all_come(serial("transactions", patient, &["A", "B"], |right| right))
                .says("two clients set a key if it has nothing, at two of the replicas; what is outbid is given up")
        }),
        Claimed::holds(2_779_132, 21_797_934, move || {
            let patient = Setting {
                patience: Some(0),
                ..SERIAL
            };
            all_come(serial("serial-reads", patient, &["A", "ss"], |right| right))
                .says("one client sets a key, another reads it twice by transactions; what is outbid is given up")
        }),
        Claimed::holds(1_823_679, 13_295_524, move || {
            let patient = Setting {
                patience: Some(1),
                ..SERIAL
            };
            all_come(serial("serial-read-again", patient, &["A", "s"], |right| right))
                .says("one client sets a key, another reads it by a transaction; what is outbid bids once more")
        }),
        Claimed::holds(323_895, 2_385_801, || {
            carrying("sessions-read", UNHEALED, &["Ar", "rr"])
                .says("two clients with tokens go from node to node, all at ONE; one writes and reads, one reads twice")
                .symmetric(UNHEALED.replicas())
        }),
        Claimed::holds(31_219, 203_164, || {
            carrying("sessions-write", UNHEALED, &["A<B", "r<C"])
                .says("the same; one writes twice, by a clock that is set back, one reads and then writes")
                .symmetric(UNHEALED.replicas())
                // Of calls whose token has come.
                .recovers(CALLS_RETURN, ROUNDS, |snapshot| {
                    snapshot.running().all(|(_, state)| state.volatile.database.pending.is_empty())
                })
        }),
    ]
}

/// Worlds of what heals.
pub(super) fn healed() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(16_143, 77_689, || {
            healing("anti-entropy", HEALED, &["A", "B"], |right| right)
                .says("two writes at ONE, one crash of any node, and nothing but anti-entropy")
                .purging(sender_is_done, receiver_is_done)
                .rings_late(|_| true)
                .crashes(HEALED.nodes(), 1)
                // Until the calm nobody compares.
                .never("deliver Compare")
                .never("deliver Entries")
        }),
        Claimed::holds(95_371, 413_675, || {
            hinted("hints", HINTING, &["A", "B"], |right| right)
                .says("two writes at ONE, one crash of any node, and nothing but hints, whose time is not over")
                .purging(sender_is_done, receiver_is_done)
                .crashes(HINTING.nodes(), 1)
                // What is sent again is in the network already.
                .never("ring Retry")
                .never("ring Deliver")
        }),
        Claimed::holds(18_421, 92_661, || {
            let healed = Setting {
                anti_entropy: true,
                ..SLOPPY
            };
            healing("sloppy-healed", healed, &["A", "B"], |right| right)
                .says(
                    "a sloppy quorum; in the calm hints and anti-entropy restore what it promised",
                )
                .purging(sender_is_done, receiver_is_done)
                .rings_late(|timer| !matches!(timer, Timer::Retry(_)))
        }),
        Claimed::holds(663_148, 3_300_679, || {
            let setting = COLLECTING_HERE;
            collecting("tombstones", setting, &["A-r"], |right| right)
                .says("two replicas, one of them called: it writes, deletes and reads, while they repair and collect")
                .doors(NodeSet::first(1))
                .purging(sender_is_done, receiver_is_done)
                // What is sent again is in the network already.
                .never("ring Retry")
        }),
        Claimed::holds(253, 708, || {
            let setting = Setting {
                anti_entropy: false,
                ..COLLECTING_HERE
            };
            collecting("tombstones-unrepaired", setting, &["A-r"], |right| right)
                .says("the same without anti-entropy")
                .doors(NodeSet::first(1))
                .purging(sender_is_done, receiver_is_done)
                // What is sent again is in the network already.
                .never("ring Retry")
        }),
        Claimed::holds(5_290, 24_977, || {
            let setting = Setting {
                replicas: 3,
                anti_entropy: false,
                ..COLLECTING_HERE
            };
            collecting("tombstones-of-three", setting, &["A-"], |right| right)
                .says(
                    "three replicas, one of them called: it writes and deletes, while they collect",
                )
                .doors(NodeSet::first(1))
                .purging(sender_is_done, receiver_is_done)
                // What is sent again is in the network already.
                .never("ring Retry")
        }),
        Claimed::holds(116_491, 823_102, || {
            let setting = Setting {
                replicas: 3,
                anti_entropy: false,
                ..COLLECTING_HERE
            };
            collecting("tombstones-of-three-read", setting, &["A-r"], |right| right)
                .says("the same, and it reads")
                .doors(NodeSet::first(1))
                .purging(sender_is_done, receiver_is_done)
                // What is sent again is in the network already.
                .never("ring Retry")
        }),
        Claimed::holds(80, 151, || {
            batches("batches", |right| right)
                .says("a batch of two keys, each of one replica; one crash of any node")
        }),
        Claimed::holds(313, 631, || {
            beside("siblings", BESIDE, |right| right)
                .says("two clients write beside each other, through replicas")
                // Until the calm nobody compares.
                .never("deliver Compare")
                .never("deliver Entries")
                // One has it, which is enough, and there are no hints.
                .never("deliver Written")
        }),
    ]
}
