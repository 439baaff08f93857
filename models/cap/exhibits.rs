//! The worlds of the CAP store, and what breaks it.

use quorate::cap::{Cap, Level, Setting, Tag};
use quorate::data::NodeSet;

use super::dead::{receiver_is_done, sender_is_done};
use super::flaws::{Flaw, Flawed};
use super::ledger::Watch;
use super::weather::Whom;
use super::{
    ALONE, AVAILABLE, BOTH, BOTH_FAULTS, CALLS_RETURN, CONVERGENCE, CP, CP_ONCE, CRASH,
    EFFECTS_LATER, EPOCH_ONCE, LINEARIZABLE, MAJORITY_SERVES, MINORITY, NONE, NOT_BACK, ONE_VALUE,
    READS_NOT_BACK, REFUSED, RETURN_ONCE, RYW, STAYS, ap, available, bare, consistent, cp,
    during_a_cut, faulty, flawed_ap, flawed_cp, majorities, sent_again_later, served,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::snapshot::nobody_waits;
use crate::world::Disk;

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(25_717, 129_772, || {
            cp("cp", CP, &["A", "?"], NONE).says("CP: three nodes; one client puts, another gets")
        }),
        Claimed::holds(234_707, 1_284_989, || {
            cp("cp-two-gets", CP_ONCE, &["A", "??"], NONE)
                .says("CP: three nodes; one client puts, another gets twice")
        }),
        Claimed::holds(963_956, 5_061_367, || {
            cp("cp-crash-and-cut", CP_ONCE, &["A", "?"], BOTH_FAULTS)
                .says("CP: the same with one get, one crash of any, and one cut of any shape")
        }),
        Claimed::holds(559_431, 3_185_895, || {
            cp("cp-two-writers", CP_ONCE, &["A", "B?"], NONE)
                .says("CP: three nodes; two clients put, one of them gets")
        }),
        Claimed::holds(474_298, 1_645_019, || {
            cp("cp-in-a-row", CP_ONCE, &["A-?"], CRASH)
                .says("CP: three nodes, one crash of any; one client puts, deletes and gets")
        }),
        Claimed::holds(293_216, 1_194_367, || {
            served(MAJORITY_SERVES, Whom::Majorities, || {
                let world = bare("cp-majority", 3, CP, &["A?"], Watch::History, |right| right);
                faulty(world, BOTH_FAULTS)
            })
            .purging(sender_is_done, receiver_is_done)
            .sometimes_told("a put has returned and a cut stands", |told| {
                told.adversary.cut.is_some() && told.ghost.latest() != Tag::default()
            })
            .says(
                "CP: three nodes, one crash of any, one cut of any shape; one client puts and gets",
            )
        }),
        Claimed::holds(47_282, 219_925, || {
            majorities("majorities", &["A", "??"]).says(
                "nobody leads, and each call hears a majority; one client puts, another gets twice",
            )
        }),
        Claimed::holds(1_351, 4_009, || {
            ap("ap", 3, &["A", "B"], NONE).says("AP: three nodes; two clients put")
        }),
        Claimed::holds(1_051_148, 5_006_623, || {
            ap("ap-crash-and-cut", 3, &["A", "B?"], BOTH_FAULTS).says(
                "AP: three nodes, one crash of any and one cut of any shape; two clients put, one gets",
            )
        }),
        Claimed::holds(237_546, 790_759, || {
            ap("ap-two-nodes", 2, &["A-?", "B?"], BOTH_FAULTS).says(
                "AP: two nodes, one crash of any and one cut of any shape; two clients put and get, \
                 one deletes",
            )
        }),
    ]
}

pub(super) fn flaws_of_cp() -> Vec<Box<dyn Exhibit>> {
    let falls = |steps,
                 promise,
                 flaw,
                 name: &'static str,
                 clients: &'static [&'static str],
                 faults,
                 says| {
        Claimed::falls(promise, steps, move || {
            flawed_cp(flaw, name, clients, faults).says(says)
        })
    };
    let unserved = |steps, flaw, name: &'static str, faults, says| {
        Claimed::falls(MAJORITY_SERVES, steps, move || {
            let make = move |right| Flawed { right, flaw };
            served(MAJORITY_SERVES, Whom::Majorities, || {
                faulty(bare(name, 3, CP, &["?"], Watch::History, make), faults)
            })
            .says(says)
        })
    };
    vec![
        falls(
            3,
            MINORITY,
            Flaw::OnlyTheReachable,
            "majority-of-the-reachable",
            &["A"],
            NONE,
            "who does not answer in time is taken for dead, as in the textbook",
        ),
        falls(
            6,
            LINEARIZABLE,
            Flaw::GetCountsNothing,
            "get-counts-nothing",
            &["A?"],
            NONE,
            "a get is answered from what is here; the textbook's asks, and counts nobody",
        ),
        falls(
            7,
            LINEARIZABLE,
            Flaw::NoWriteBack,
            "no-write-back",
            &["A", "??"],
            NONE,
            "a get is answered before what it shows is stored again, as in the textbook",
        ),
        falls(
            8,
            LINEARIZABLE,
            Flaw::LeadsWithoutAsking,
            "leads-without-asking",
            &["A?"],
            NONE,
            "a leader takes its own copy for what its predecessor left",
        ),
        falls(
            6,
            MINORITY,
            Flaw::DiscardedIsAcknowledged,
            "discarded-is-acknowledged",
            &["A", "B"],
            NONE,
            "a member discards what a deposed leader wrote and acknowledges it, as in the textbook",
        ),
        falls(
            7,
            REFUSED,
            Flaw::EffectDenied,
            "effect-denied",
            &["A", "?"],
            NONE,
            "a put that was sent is refused as if it had no effect, as in the textbook",
        ),
        unserved(
            2,
            Flaw::FixedLeader,
            "fixed-leader",
            CRASH,
            "without n0 nobody leads, as in the textbook, which elects no other",
        ),
        unserved(
            1,
            Flaw::AbsenceIsNoAnswer,
            "absence-is-no-answer",
            NONE,
            "a node without a value is taken for one that did not answer, as in the textbook",
        ),
        falls(
            8,
            EPOCH_ONCE,
            Flaw::EpochForgotten,
            "epoch-forgotten",
            &["AB"],
            CRASH,
            "a restart forgets which epoch the node has joined",
        ),
        falls(
            7,
            MINORITY,
            Flaw::NothingKept,
            "nothing-kept",
            &["A"],
            CRASH,
            "what was acknowledged is not on the disk",
        ),
        Claimed::falls(LINEARIZABLE, 11, || {
            flawed_cp(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                &["?", "A?"],
                NONE,
            )
            .doors(NodeSet::first(2))
            .crashes(NodeSet::first(1), 1)
            .says("after a restart of n0 the names of its operations begin anew")
        }),
        Claimed::falls(LINEARIZABLE, 18, || {
            sent_again_later("sent-again-later", &["A", "?B?"])
                .says("two nodes: a put that was under way is sent again under a later epoch")
        }),
        falls(
            6,
            RETURN_ONCE,
            Flaw::AnsweredTwice,
            "answered-twice",
            &["A"],
            NONE,
            "a call is answered again by every late acknowledgement",
        ),
        falls(
            1,
            CALLS_RETURN,
            Flaw::NoAlarms,
            "no-alarms",
            &["A"],
            NONE,
            "what was lost is not sent again, and nobody gives up",
        ),
    ]
}

pub(super) fn flaws_of_ap() -> Vec<Box<dyn Exhibit>> {
    let falls = |steps,
                 promise,
                 flaw,
                 name: &'static str,
                 clients: &'static [&'static str],
                 faults,
                 says| {
        Claimed::falls(promise, steps, move || {
            flawed_ap(flaw, name, clients, faults).says(says)
        })
    };
    vec![
        falls(
            5,
            EFFECTS_LATER,
            Flaw::LocalCounter,
            "local-counter",
            &["AB", "?C"],
            NONE,
            "a node counts its own writes and nobody else's, as in the textbook",
        ),
        falls(
            5,
            STAYS,
            Flaw::PutsDoNotCompare,
            "puts-do-not-compare",
            &["AB", "?C"],
            NONE,
            "the same, and a put is stored whatever is there, as in the textbook",
        ),
        falls(
            5,
            EFFECTS_LATER,
            Flaw::WallClock,
            "wall-clock",
            &["A", "?B"],
            NONE,
            "writes are stamped by clocks on the wall, as in the textbook, and that of n1 is ahead",
        ),
        falls(
            2,
            CONVERGENCE,
            Flaw::NoTieBreak,
            "no-tie-break",
            &["A", "B"],
            NONE,
            "of two writes of one time the one that is there stays, as in the textbook",
        ),
        falls(
            2,
            CONVERGENCE,
            Flaw::ToldOnce,
            "told-once",
            &["A"],
            NONE,
            "others are told once, as in the textbook",
        ),
        falls(
            2,
            CONVERGENCE,
            Flaw::HealingEmptiesTheGroup,
            "shared-group",
            &["AB"],
            NONE,
            "who hears from another node empties its list of those it can reach, as in the textbook: \
             whoever is told first tells nobody",
        ),
        falls(
            5,
            NOT_BACK,
            Flaw::NoTombstones,
            "no-tombstones",
            &["A-?"],
            NONE,
            "a delete takes the key out and leaves nothing, as in the textbook",
        ),
        falls(
            3,
            STAYS,
            Flaw::NothingKept,
            "nothing-kept-in-ap",
            &["A"],
            CRASH,
            "nothing is on the disk",
        ),
    ]
}

/// The right machine where something that it assumes is taken away, or asked for what it does not
/// promise.
pub(super) fn weakened() -> Vec<Box<dyn Exhibit>> {
    let same = |right: Cap| right;
    vec![
        Claimed::falls(AVAILABLE, 2, move || {
            during_a_cut("cp-in-a-minority", AVAILABLE, CP, &["A"])
                .says("CP: a node that a cut leaves alone does not answer")
        }),
        Claimed::falls(BOTH, 2, move || {
            during_a_cut("cp-is-not-both", BOTH, CP, &["A", "?"])
                .says("CP is linearizable during a cut, and not available")
        }),
        Claimed::falls(BOTH, 3, move || {
            during_a_cut("ap-is-not-both", BOTH, Setting::AP, &["A", "?"])
                .says("AP is available during a cut, and not linearizable")
        }),
        Claimed::falls(LINEARIZABLE, 2, move || {
            bare(
                "ap-is-not-linearizable",
                2,
                Setting::AP,
                &["A", "?"],
                Watch::History,
                same,
            )
            .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
            .says("AP: a put has returned, and another node does not know of it yet")
        }),
        Claimed::falls(RYW, 2, move || {
            bare(
                "ap-moving-writer",
                2,
                Setting::AP,
                &["A?"],
                Watch::Order,
                same,
            )
            .always_told(RYW, |told| !told.ghost.breaks(RYW))
            .says("AP: a client that moves reads at whichever node answers, as in the textbook")
        }),
        Claimed::falls(READS_NOT_BACK, 3, move || {
            bare(
                "ap-moving-reader",
                2,
                Setting::AP,
                &["A", "??"],
                Watch::Order,
                same,
            )
            .always_told(READS_NOT_BACK, |told| !told.ghost.breaks(READS_NOT_BACK))
            .says("AP: the same client reads something older than before")
        }),
        Claimed::falls(ALONE, 1, || {
            majorities("asks-a-majority", &["A"])
                .unpurged()
                .always_told(ALONE, |told| nobody_waits(told.clients))
                .says("nobody leads, and a majority must answer")
        }),
        Claimed::falls(RYW, 4, || {
            let all = Setting::Leaderless {
                reads: Level::Local,
                writes: Level::All,
            };
            let flaw = Flaw::OnlyTheReachable;
            let make = move |right| Flawed { right, flaw };
            bare("all-of-the-reachable", 3, all, &["A?"], Watch::Order, make)
                .always_told(RYW, |told| !told.ghost.breaks(RYW))
                .says("a put hears all who answer in time, as in the textbook, and a get its own node")
        }),
        Claimed::falls(LINEARIZABLE, 9, move || {
            let world = consistent("lying-disk", 3, CP_ONCE, &["A", "?"], same);
            faulty(world, CRASH)
                .disk(Disk::Lying)
                .says("CP: a disk forgets what it acknowledged")
        }),
        Claimed::falls(ONE_VALUE, 5, move || {
            let world = available("lying-disk-in-ap", 2, &["AB"], same);
            faulty(world, CRASH)
                .disk(Disk::Lying)
                .says("AP: a disk forgets what it acknowledged, so that a tag is made twice")
        }),
    ]
}
