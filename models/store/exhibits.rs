//! The worlds in which the store holds, and what breaks it.

use super::{
    ABORTED, Cluster, CrashStop, FENCED, FENCED_ASKED, FINISHED, FOUR, Flaw, LINEARIZABLE,
    MISMATCHED, ONE_LEADER, ONE_VALUE, ONLY_DECIDED, SEEN, SERVES, SURVIVES, THREE, TWO,
    TWO_LEADERS, flawed, restless, right, safe, serving, world,
};
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::world::Disk;

/// The store, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "store",
        summary: "the strong store: two phases, a majority, and a leader that a later term fences off",
        worlds: worlds(),
        flaws: flaws(),
    }
}

/// One member may crash, once.
const CRASH: Cluster = Cluster {
    crashes: 1,
    ..THREE
};

/// The network may be cut, once and in any way.
const CUT: Cluster = Cluster { cuts: 1, ..THREE };

/// A third leader finds what two before it left.
const THREE_TERMS: Cluster = Cluster { terms: 3, ..THREE };

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let mut all = whole_worlds();
    all.extend(safe_worlds());
    all.extend(deep_worlds());
    all
}

/// Everything is promised, *serves again* too.
fn whole_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(23_975, 133_721, || {
            right("put-and-get", THREE, &["A", "r"])
                .says("three members, two terms; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(25_390, 128_440, || {
            right("two-puts", THREE, &["A", "B"])
                .says("three members, two terms; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(540, 1_155, || {
            right("two-members", TWO, &["A", "r"])
                .says("two members, two terms; one client puts, another gets")
                .except(TWO_LEADERS)
                .except(FENCED_ASKED)
                .except(ABORTED)
        }),
        Claimed::holds(465, 1_042, || {
            let cluster = Cluster { crashes: 1, ..TWO };
            right("two-members-crash", cluster, &["A"])
                .says("two members, two terms, one crash of any; a client puts")
                .except(TWO_LEADERS)
                .except(FENCED_ASKED)
                .except(FINISHED)
                .except(ABORTED)
                .except(SEEN)
        }),
        Claimed::holds(118_760, 684_141, || {
            right("crash", CRASH, &["A", "r"])
                .says("three members, two terms, one crash of any; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(121_220, 661_816, || {
            serving("crash-stop", CRASH, &["A", "r"], CrashStop::new)
                .says("three members, two terms, one crash of any, after which it stays dead; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(334_206, 1_873_189, || {
            right("cut", CUT, &["A", "r"])
                .says(
                    "three members, two terms, one cut of any shape; one client puts, another gets",
                )
                .except(ABORTED)
        }),
        Claimed::holds(132_090, 707_177, || {
            let cluster = Cluster {
                crashes: 1,
                cuts: 1,
                ..THREE
            };
            right("crash-and-cut", cluster, &["A"])
                .says("three members, two terms, one crash and one cut of any; a client puts")
                .except(FINISHED)
                .except(ABORTED)
                .except(SEEN)
        }),
        Claimed::holds(135_366, 787_174, || {
            right("three-terms", THREE_TERMS, &["A", "r"])
                .says("three members, three terms; one client puts, another gets")
                .except(ABORTED)
        }),
    ]
}

/// All that is safety is promised.
fn safe_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(124_040, 711_414, || {
            safe("two-gets", THREE, &["A", "rr"])
                .says("three members, two terms; one client puts, another gets twice")
                .except(ABORTED)
        }),
        Claimed::holds(216_632, 1_363_091, || {
            safe("swaps", THREE, &["a", "br"])
                .says("three members, two terms; one client swaps, another swaps what that made, and gets")
                .except(ABORTED)
                .sometimes_told(MISMATCHED, |told| told.ghost.mismatched())
        }),
        Claimed::holds(273_165, 1_735_866, || {
            safe("puts-and-get", THREE, &["AB", "r"])
                .says("three members, two terms; one client puts twice, another gets")
        }),
        Claimed::holds(153_667, 821_575, || {
            safe("crash-between-puts", CRASH, &["A", "B"])
                .says("three members, two terms, one crash of any; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(354_004, 1_866_568, || {
            safe("cut-between-puts", CUT, &["A", "B"])
                .says("three members, two terms, one cut of any shape; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(296_367, 1_761_374, || {
            let cluster = Cluster {
                crashes: 2,
                ..THREE
            };
            safe("two-crashes", cluster, &["A", "r"])
                .says("three members, two terms, two crashes of any; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(204_737, 1_090_250, || {
            safe("puts-in-three-terms", THREE_TERMS, &["A", "B"])
                .says("three members, three terms; two clients put")
                .except(SEEN)
        }),
        Claimed::holds(708_410, 4_934_501, || {
            safe("two-keys", THREE, &["A/B", "r"])
                .says("three members, two terms; one client puts two keys, another gets the first")
                .except(ABORTED)
        }),
        Claimed::holds(868_225, 5_659_106, || {
            safe("three-clients", THREE, &["A", "B", "r"])
                .says("three members, two terms; two clients put, another gets")
        }),
        Claimed::holds(397_448, 3_135_070, || {
            safe("four-members", FOUR, &["A", "r"])
                .says("four members, two terms; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds(315_574, 2_943_870, || {
            let five = Cluster {
                members: 5,
                ..THREE
            };
            safe("five-members", five, &["A"])
                .says("five members, two terms; a client puts")
                .except(FINISHED)
                .except(ABORTED)
                .except(SEEN)
        }),
    ]
}

/// Larger ones, for long runs.
fn deep_worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds_deep(1_656_096, 9_997_985, || {
            let cluster = Cluster {
                crashes: 1,
                cuts: 1,
                ..THREE
            };
            safe("crash-and-cut-and-get", cluster, &["A", "r"])
                .says("three members, two terms, one crash and one cut of any; one client puts, another gets")
                .except(ABORTED)
        }),
        Claimed::holds_deep(791_705, 4_780_958, || {
            let cluster = Cluster {
                crashes: 1,
                ..THREE_TERMS
            };
            safe("three-terms-and-a-crash", cluster, &["A", "r"])
                .says("three members, three terms, one crash of any; one client puts, another gets")
                .except(ABORTED)
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    let mut all = flaws_of_elections();
    all.extend(flaws_of_leaders());
    all.extend(flaws_of_successors());
    all.extend(flaws_of_counting());
    all.extend(flaws_of_replicas());
    all
}

fn flaws_of_elections() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_LEADER, 2, || {
            flawed(Flaw::AppointsItself, "appoints-itself", TWO, &[])
                .says("who misses a leader appoints itself and asks nobody, as in the textbook")
        }),
        Claimed::falls(SERVES, 1, || {
            restless(Flaw::FixedLeader, "fixed-leader", THREE, &["A"])
                .says("the leader is chosen once, as in the textbook, and nobody stands after it")
        }),
        Claimed::falls(ONE_LEADER, 8, || {
            flawed(
                Flaw::VoteForgotten,
                "vote-forgotten",
                Cluster { terms: 1, ..CRASH },
                &[],
            )
            .says("the disk has no vote")
        }),
        Claimed::falls(ONE_LEADER, 7, || {
            flawed(
                Flaw::TermForgotten,
                "term-forgotten",
                Cluster { terms: 1, ..CRASH },
                &[],
            )
            .says("the disk has neither vote nor term; the textbook's has nothing")
        }),
        Claimed::falls(ONE_LEADER, 6, || {
            flawed(
                Flaw::VotesTwice,
                "votes-twice",
                Cluster { terms: 1, ..THREE },
                &[],
            )
            .says("a member votes for everyone who asks")
        }),
        Claimed::falls(ONE_LEADER, 6, || {
            flawed(Flaw::LeadsOn, "leads-on", TWO, &[])
                .says("a leader that meets a later term leads on in that")
        }),
    ]
}

fn flaws_of_leaders() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(FENCED, 11, || {
            flawed(Flaw::DeadLeadOn, "dead-lead-on", CRASH, &["rr"])
                .says("a leader that was dead leads on when it is back, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 12, || {
            flawed(Flaw::GetsUnconfirmed, "gets-unconfirmed", THREE, &["Ar"])
                .says("a leader answers a get from its own disk, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 13, || {
            flawed(Flaw::DirtyReads, "dirty-reads", THREE, &["A", "rr"])
                .says("a get sees what is prepared and not decided")
        }),
        Claimed::falls(FENCED, 10, || {
            flawed(Flaw::LateReplyCounts, "late-reply", THREE, &["rr"])
                .says("an answer to an older question counts for the present one")
        }),
        Claimed::falls(LINEARIZABLE, 12, || {
            flawed(
                Flaw::AbortUndoesNothing,
                "abort-undoes-nothing",
                THREE,
                &["Ar"],
            )
            .says("a leader that waited long enough says that the write failed, as in the textbook")
        }),
        Claimed::falls(LINEARIZABLE, 14, || {
            flawed(Flaw::DeposedRefuses, "deposed-refuses", THREE, &["Ar"]).says(
                "a leader that is deposed says that a write failed whose outcome nobody knows",
            )
        }),
        Claimed::falls(SURVIVES, 13, || {
            flawed(Flaw::AbortNamesAKey, "abort-by-key", THREE, &["AB"])
                .says("an abort, here a prepare of no version, hits whatever is prepared of a key, as in the textbook")
        }),
        Claimed::falls(ONE_VALUE, 11, || {
            flawed(Flaw::ClockCounts, "clock-counts", THREE, &["AB"])
                .says("versions are milliseconds, as in the textbook, and two writes share one")
        }),
        Claimed::falls(SERVES, 4, || {
            restless(Flaw::NoRetries, "no-retries", THREE, &["A"])
                .says("what was lost is not sent again")
        }),
    ]
}

fn flaws_of_successors() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(ONE_VALUE, 12, || {
            flawed(Flaw::OwnDiskWillDo, "own-disk-will-do", THREE, &["AB"])
                .says("a new leader asks nobody what they have, and aborts what was committed")
        }),
        Claimed::falls(LINEARIZABLE, 14, || {
            flawed(Flaw::IgnoresPrepared, "ignores-prepared", THREE, &["Ar"]).says(
                "a new leader takes what is only prepared for aborted, and does not finish it",
            )
        }),
        Claimed::falls(ONLY_DECIDED, 12, || {
            flawed(Flaw::PresumesCommit, "presumes-commit", THREE, &["Ar"])
                .says("a new leader takes what is only prepared for committed")
        }),
    ]
}

fn flaws_of_counting() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(SURVIVES, 6, || {
            flawed(Flaw::IgnoresReplies, "ignores-replies", THREE, &["A"])
                .says("a leader decides without waiting for anyone, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 6, || {
            flawed(Flaw::OnlyTheHealthy, "only-the-healthy", THREE, &["A"])
                .says("who has not answered in time is taken for dead and not counted, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 10, || {
            flawed(Flaw::HalfDecides, "half-decides", FOUR, &["A"])
                .says("half of the members are taken for a majority")
        }),
        Claimed::falls(SURVIVES, 11, || {
            flawed(Flaw::ReplyCountedTwice, "reply-counted-twice", FOUR, &["A"])
                .says("a reply that arrives again counts again")
        }),
    ]
}

fn flaws_of_replicas() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(FENCED, 8, || {
            flawed(Flaw::NoFencing, "no-fencing-of-gets", THREE, &["r"])
                .says("members hear leaders of terms that are over, as in the textbook")
        }),
        Claimed::falls(ONE_VALUE, 16, || {
            flawed(Flaw::NoFencing, "no-fencing", THREE, &["A", "B"]).says(
                "members hear leaders of terms that are over, as in the textbook, so that two write at once",
            )
                .symmetric(THREE.everyone())
        }),
        Claimed::falls(SURVIVES, 8, || {
            flawed(
                Flaw::PrepareKeepsNothing,
                "prepare-keeps-nothing",
                THREE,
                &["A"],
            )
            .says("a prepare keeps nothing, as in the textbook")
        }),
        Claimed::falls(SURVIVES, 12, || {
            flawed(Flaw::ArrivalWins, "arrival-wins", THREE, &["AB"])
                .says("a member keeps what arrives last, as in the textbook")
        }),
        Claimed::falls(ONLY_DECIDED, 7, || {
            flawed(Flaw::CommitsOnPrepare, "commits-on-prepare", THREE, &["A"])
                .says("a member takes what is prepared for committed")
        }),
        Claimed::falls(SURVIVES, 10, || {
            flawed(Flaw::NoDecisionLog, "no-decision-log", CRASH, &["A"]).says(
                "what a leader decides is not on its own disk when it crashes, as in the textbook",
            )
        }),
        Claimed::falls(SURVIVES, 10, || {
            world("lying-disk", CRASH, &["A"], |right| right)
                .says("a disk forgets what it acknowledged")
                .disk(Disk::Lying)
        }),
    ]
}
