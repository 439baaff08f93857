//! What refutes each promise: flaws, and worlds that take away what it needs.

use quorate::data::NodeSet;
use quorate::database::{Conflicts, Level, Timer};

use super::dead::{receiver_is_done, receiver_is_done_but_with_ballots, sender_is_done};
use super::flaws::{Flaw, Flawed};
use super::{
    BESIDE, BESIDE_STAY, CALLS_RETURN, COLLECTING_HERE, COLLECTING_TWO, CONVERGE, DELETED_STAYS,
    HASTY, HEALED, HINTED, HINTING, KEEPING, LINEARIZABLE, MONOTONIC, MONOTONIC_READS,
    MONOTONIC_WRITES, NEWER_WINS, ONE_DOOR, ONE_VERSION, PLACEMENT, QUORUM, READ_REPAIR_ALONE,
    READ_YOUR_WRITES, REGULAR, SERIAL, SLOPPY, SWEPT_STAYS, Setting, UNHEALED, UNREPAIRED, VISIBLE,
    WHOLE, WRITES_FOLLOW_READS, batches, beside, collecting, flawed, healing, hinted, serial,
    sessions, world,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::world::Disk;

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_VERSION, 2, || {
            flawed(
                Flaw::EveryReplicaMints,
                "every-replica-mints",
                QUORUM,
                &["A"],
            )
            .says("each replica gives a write a stamp of its own, as in the textbook")
        }),
        Claimed::falls(REGULAR, 17, || {
            flawed(
                Flaw::EveryReplicaMints,
                "every-replica-mints-and-loses",
                ONE_DOOR,
                &["ABr"],
            )
            .says("the same: and so a write at QUORUM is lost to one that it superseded")
        }),
        Claimed::falls(PLACEMENT, 3, || {
            let two = Setting {
                replicas: 2,
                apart: 1,
                ..QUORUM
            };
            flawed(Flaw::SpreadToEveryone, "spread-to-everyone", two, &["A"])
                .says("each replica passes a write on to all nodes, as in the textbook")
        }),
        Claimed::falls(CALLS_RETURN, 0, || {
            flawed(Flaw::AbsenceIsNoAnswer, "absence-is-no-answer", ONE_DOOR, &["r"])
                .says("a replica that has nothing is taken for one that did not answer, as in the textbook")
        }),
        Claimed::falls(REGULAR, 9, || {
            flawed(
                Flaw::QuorumOfThePresent,
                "quorum-of-the-present",
                QUORUM,
                &["2Ar"],
            )
            .says("a quorum is one of the nodes that are not suspected, as in the textbook")
        }),
        Claimed::falls(MONOTONIC, 12, || {
            flawed(
                Flaw::RepairAfterTheAnswer,
                "repair-after-the-answer",
                QUORUM,
                &["A", "rr"],
            )
            .says("a read answers first, and repairs afterwards")
            .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(REGULAR, 8, || {
            flawed(
                Flaw::ReplyCountedTwice,
                "reply-counted-twice",
                ONE_DOOR,
                &["Ar"],
            )
            .says("a repeated answer counts again")
        }),
        Claimed::falls(REGULAR, 16, || {
            flawed(
                Flaw::StoreUnconditionally,
                "unconditional-store",
                ONE_DOOR,
                &["ABr"],
            )
            .says("a replica takes whatever arrives last")
        }),
        Claimed::falls(REGULAR, 13, || {
            flawed(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                ONE_DOOR,
                &["ABr"],
            )
            .says("after a restart the names of operations begin anew")
            .crashes(NodeSet::first(4), 1)
        }),
        Claimed::falls(CALLS_RETURN, 1, || {
            flawed(Flaw::NoRetries, "no-retries", ONE_DOOR, &["A"])
                .says("what was lost is not sent again")
        }),
        Claimed::falls(CONVERGE, 2, || {
            let make = |right| Flawed {
                right,
                flaw: Flaw::NoTieBreak,
            };
            healing("no-tie-break", HEALED, &["A", "B"], make)
                .says("of two writes of one time the one that is there stays")
                .rings_late(|_| true)
        }),
        Claimed::falls(HINTED, 2, || {
            let make = |right| Flawed {
                right,
                flaw: Flaw::HintsOnlyOnTimeout,
            };
            hinted("hints-only-on-timeout", HINTING, &["A"], make)
                .says("a write is kept as a hint only once it has taken a while")
                .crashes(HINTING.nodes(), 1)
        }),
        Claimed::falls(HINTED, 3, || {
            let make = |right| Flawed {
                right,
                flaw: Flaw::HintForgottenTooEarly,
            };
            hinted("hint-forgotten-too-early", HINTING, &["A"], make)
                .says("a hint is forgotten when the first replica has it")
        }),
        Claimed::falls(WHOLE, 3, || {
            let make = |right| Flawed {
                right,
                flaw: Flaw::HintsOnlyOnTimeout,
            };
            batches("batch-not-kept", make).says("a batch is kept only once it has taken a while")
        }),
        Claimed::falls(DELETED_STAYS, 15, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::NoTombstones,
            };
            collecting("no-tombstones", KEEPING, &["A-r"], flawed)
                .says("to delete is to remove the key")
        }),
        Claimed::falls(DELETED_STAYS, 12, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::CollectedByTime,
            };
            let levels = Setting {
                write: Level::One,
                read: Level::All,
                ..COLLECTING_TWO
            };
            collecting("collected-by-time", levels, &["A-r"], flawed).says(
                "tombstones go after a while, whoever has seen them; writes at ONE, reads at ALL",
            )
        }),
        Claimed::falls(DELETED_STAYS, 15, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::CollectedWithoutFence,
            };
            let setting = Setting {
                anti_entropy: false,
                ..COLLECTING_HERE
            };
            collecting("collected-without-fence", setting, &["A-r"], flawed)
                .says("tombstones go when all replicas have the same, but an older write is still under way")
                .doors(NodeSet::first(1))
        }),
        Claimed::falls(SWEPT_STAYS, 10, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::FenceIgnored,
            };
            let setting = Setting {
                anti_entropy: false,
                ..COLLECTING_HERE
            };
            collecting("fence-ignored", setting, &["A-"], flawed)
                .says("a replica takes what is older than its fence: a hint, or a write that was long under way")
                .doors(NodeSet::first(1))
        }),
        Claimed::falls(LINEARIZABLE, 11, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::SerialReadDoesNotFinish,
            };
            serial("serial-read-does-not-finish", SERIAL, &["A", "ss"], flawed)
                .says("a serial read does not finish what it finds begun")
                .doors(NodeSet::first(2))
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(LINEARIZABLE, 14, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::BegunIsIgnored,
            };
            serial("begun-is-ignored", HASTY, &["A", "B"], flawed)
                .says("a coordinator proposes its own, whatever it finds begun")
                .doors(NodeSet::first(2))
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(LINEARIZABLE, 14, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::OutbidIsAccepted,
            };
            serial("outbid-is-accepted", HASTY, &["A", "B"], flawed)
                .says("a replica accepts a ballot that is older than what it has promised")
                .doors(NodeSet::first(2))
                .purging(sender_is_done, receiver_is_done_but_with_ballots)
        }),
        Claimed::falls(LINEARIZABLE, 10, || {
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::AnsweredWhenProposed,
            };
            serial("answered-when-proposed", SERIAL, &["As"], flawed)
                .says("a change is said to be applied once the first replica has accepted it")
        }),
    ]
}

/// The right machine where something that it assumes, or has, is taken away.
pub(super) fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(MONOTONIC, 12, || {
            world("unrepaired", UNREPAIRED, &["A", "rr"], |right| right)
                .says("reads repair nothing")
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(REGULAR, 8, || {
            let levels = Setting {
                read: Level::One,
                apart: 1,
                ..QUORUM
            };
            world("quorum-and-one", levels, &["Ar"], |right| right)
                .says("writes at QUORUM, but reads at ONE: they need not meet")
        }),
        Claimed::falls(VISIBLE, 4, || {
            let sloppy = Setting { apart: 1, ..SLOPPY };
            world("sloppy", sloppy, &["A"], |right| right)
                .says("a sloppy quorum: a hint counts as an acknowledgement")
        }),
        Claimed::falls(REGULAR, 9, || {
            world("sloppy-and-read", SLOPPY, &["A", "r"], |right| right)
                .says("the same: and so a read at QUORUM misses a write at QUORUM")
        }),
        Claimed::falls(REGULAR, 6, || {
            let local = Setting {
                replicas: 2,
                far: 1,
                read: Level::LocalQuorum,
                write: Level::LocalQuorum,
                ..QUORUM
            };
            world("two-data-centres", local, &["Ar"], |right| right)
                .says("one replica in each of two data centres; all at LOCAL_QUORUM, now in one, now in the other")
        }),
        Claimed::falls(BESIDE_STAY, 0, || {
            let last = Setting {
                conflicts: Conflicts::LastWriterWins,
                ..BESIDE
            };
            beside("last-writer-wins", last, |right| right).says(
                "the last writer wins: of two writes that did not know each other one is lost",
            )
        }),
        Claimed::falls(VISIBLE, 7, || {
            world("lying-disk", ONE_DOOR, &["A"], |right| right)
                .says("a disk forgets what it acknowledged")
                .crashes(ONE_DOOR.nodes(), 1)
                .disk(Disk::Lying)
        }),
        Claimed::falls(NEWER_WINS, 10, || {
            world("slow-clock", QUORUM, &["A", "<B"], |right| right)
                .says("the clock of a second writer is slow, and it has read nothing: the last to write loses")
                .always_told(NEWER_WINS, |told| !told.ghost.breaches.of(NEWER_WINS))
        }),
        Claimed::falls(CONVERGE, 3, || {
            healing("textbooks-healing", UNHEALED, &["A"], |right| right)
                .says("neither hints nor repair, as in the textbook: the call has returned, and nobody asks again")
                .rings_late(|_| true)
        }),
        Claimed::falls(CONVERGE, 3, || {
            healing("read-repair-alone", READ_REPAIR_ALONE, &["A"], |right| {
                right
            })
            .says("only reads repair, and nobody reads")
            .rings_late(|_| true)
        }),
        Claimed::falls(CONVERGE, 4, || {
            healing("hints-alone", HINTING, &["A"], |right| right)
                .says("only hints heal, and their time is over")
                .rings_late(|timer| *timer != Timer::Expire)
        }),
        Claimed::falls(LINEARIZABLE, 9, || {
            serial("mixed", SERIAL, &["A", "Pr"], |right| right)
                .says("one client sets the key by a transaction, another writes it plainly: the two do not know each other")
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(READ_YOUR_WRITES, 6, || {
            sessions("no-token-for-writes", &["Ar"])
                .says("a client without a token writes at ONE, and reads at ONE")
        }),
        Claimed::falls(MONOTONIC_READS, 8, || {
            sessions("no-token-for-reads", &["A", "rr"])
                .says("a client without a token reads twice at ONE")
        }),
        Claimed::falls(MONOTONIC_WRITES, 6, || {
            sessions("no-token-between-writes", &["A<B"])
                .says("a client without a token writes twice, the second time at a node whose clock is slow")
        }),
        Claimed::falls(WRITES_FOLLOW_READS, 8, || {
            sessions("no-token-after-reads", &["A", "r<B"])
                .says("a client without a token reads, and writes at a node whose clock is slow")
        }),
    ]
}
