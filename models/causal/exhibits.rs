//! The worlds of the causal store, and what refutes it.

use super::flaws::{Flaw, Flawed};
use super::{
    BOUNDED, CALLS_RETURN, CAUSAL_DELIVERY, CLOCK_ORDER, CONVERGENCE, CONVERGENT, Cluster,
    DELIVERY, FIFO, FORGOTTEN, MONOTONIC_READS, MONOTONIC_WRITES, NO_CREATION, NO_DUPLICATION,
    NO_NEEDLESS_DELAY, READ_YOUR_WRITES, SURVIVORS, THREE, TWO, WRITES_FOLLOW_READS, broadcasts,
    carrying, flawed, flawed_carrying, mortals, right, sessions, with_answers, with_conflicts,
    with_premises, with_series,
};
use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit};
use crate::world::Disk;

/// Of two nodes each sends what it made, and neither another's. What it sends again is the same message,
/// and a network that forgets nothing has it.
const SENT_AGAIN: &str = "ring Push";

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(785, 1_545, || {
            with_conflicts(right("two-nodes", TWO, &["xA xB", "xC"]))
                .says("two nodes; one client puts twice to the key that another puts to")
                .never(SENT_AGAIN)
        }),
        Claimed::holds(8_134, 50_486, || {
            with_answers(right("answer", THREE, &["xA", "yB"]))
                .says("three nodes; two clients put, each to a key of its own")
                .symmetric(THREE.all())
        }),
        Claimed::holds(6_434, 40_744, || {
            with_series(right("series", THREE, &["xA xB"]))
                .says("three nodes; one client puts twice")
                .symmetric(THREE.all())
        }),
        Claimed::holds_deep(2_049_329, 18_025_348, || {
            with_answers(right("answers", THREE, &["xA", "yB", "zC"]))
                .says("three nodes; three clients put, each to a key of its own")
                .symmetric(THREE.all())
        }),
        Claimed::holds_deep(1_598_593, 14_235_018, || {
            with_series(with_answers(right(
                "series-and-answers",
                THREE,
                &["xA yB", "zC"],
            )))
            .says("three nodes; one client puts twice, another once")
            .symmetric(THREE.all())
        }),
        Claimed::holds(48_565, 301_423, || {
            with_conflicts(right("conflicts", THREE, &["xA", "xB"]))
                .says("three nodes; two clients put to one key")
        }),
        Claimed::holds(40_424, 249_915, || {
            right("crash", THREE, &["xA", "yB"])
                .says("three nodes, one crash of any; two clients put")
                .crashes(THREE.all(), 1)
                .symmetric(THREE.all())
        }),
        Claimed::holds(113_556, 686_877, || {
            right("cut", THREE, &["xA", "yB"])
                .says("three nodes, one cut of any shape; two clients put")
                .cuts(Cut::all(3), 1)
                .symmetric(THREE.all())
        }),
        Claimed::holds(361, 703, || {
            let cluster = Cluster { held_max: 1, ..TWO };
            with_series(right("one-held", cluster, &["xA xB xC"]))
                .says("two nodes that hold back one update at most; one client puts three times")
                .never(SENT_AGAIN)
        }),
        Claimed::holds(100_672, 480_515, || {
            mortals("survivors", &["xA", "yB"], |right| right)
                .says("three nodes, of which one may crash and stay dead; two clients put")
                .symmetric(THREE.all())
        }),
        Claimed::holds(327_928, 2_333_269, || {
            let premises = [READ_YOUR_WRITES];
            with_premises(carrying("put-and-get", THREE, &["xA x?", "xB"]), &premises)
                .says("three nodes; a client puts and gets, another puts to the same key")
        }),
        Claimed::holds(1_276, 5_628, || {
            let premises = [MONOTONIC_READS];
            with_premises(carrying("get-and-get", THREE, &["xA", "x? x?"]), &premises)
                .says("three nodes; a client puts, another gets twice")
                .symmetric(THREE.all())
        }),
        Claimed::holds(1_855, 10_369, || {
            let premises = [MONOTONIC_WRITES];
            with_premises(carrying("put-and-put", THREE, &["xA yB"]), &premises)
                .says("three nodes; a client puts twice")
                .symmetric(THREE.all())
        }),
        Claimed::holds(29_549, 180_233, || {
            let premises = [WRITES_FOLLOW_READS];
            with_premises(carrying("get-and-put", THREE, &["xA", "x? yB"]), &premises)
                .says("three nodes; a client puts, another gets that and puts")
                .symmetric(THREE.all())
        }),
    ]
}

/// A world of a flaw between nodes.
fn fault(
    promise: &'static str,
    steps: usize,
    flaw: Flaw,
    name: &'static str,
    (cluster, clients): (Cluster, &'static [&'static str]),
    says: &'static str,
) -> Box<dyn Exhibit> {
    Claimed::falls(promise, steps, move || {
        flawed(flaw, name, cluster, clients).says(says)
    })
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    [between_nodes(), with_faults(), towards_clients()]
        .into_iter()
        .flatten()
        .collect()
}

fn between_nodes() -> Vec<Box<dyn Exhibit>> {
    const ONE_PUT: (Cluster, &[&str]) = (TWO, &["xA"]);
    const TWO_PUTS: (Cluster, &[&str]) = (TWO, &["xA", "xB"]);
    const SERIES: (Cluster, &[&str]) = (TWO, &["xA xB"]);
    const ANSWER: (Cluster, &[&str]) = (THREE, &["xA", "yB"]);
    vec![
        fault(
            NO_NEEDLESS_DELAY,
            2,
            Flaw::MergedFirst,
            "merged-first",
            ONE_PUT,
            "what arrives is merged into the clock, and then asked to be the next, as in the textbook: A waits for itself",
        ),
        fault(
            NO_NEEDLESS_DELAY,
            4,
            Flaw::ReceiptTicks,
            "receipt-ticks",
            TWO_PUTS,
            "a receipt counts in the clock that numbers a node's updates, as in the textbook: n0 waits for a first update of n1, and there is none",
        ),
        fault(
            NO_DUPLICATION,
            5,
            Flaw::BatchByOneClock,
            "batch-by-one-clock",
            SERIES,
            "all that is held back is judged by one clock, and then delivered, as in the textbook",
        ),
        fault(
            BOUNDED,
            3,
            Flaw::RepeatsHeld,
            "repeats-held",
            ONE_PUT,
            "what was delivered and comes again is held back for ever, as in the textbook",
        ),
        fault(
            BOUNDED,
            5,
            Flaw::HeldWithoutBound,
            "held-without-bound",
            (Cluster { held_max: 1, ..TWO }, &["xA xB xC"]),
            "there is always room to hold one more back",
        ),
        fault(
            CLOCK_ORDER,
            3,
            Flaw::StrangersDropped,
            "strangers-dropped",
            ANSWER,
            "the counts of n2, which joined later, are left out of stamps, as in the textbook",
        ),
        fault(
            CONVERGENCE,
            4,
            Flaw::ArrivalWins,
            "arrival-wins",
            TWO_PUTS,
            "the last to arrive is what a key holds, as in the textbook: n0 holds B, and n1 holds A",
        ),
        fault(
            DELIVERY,
            1,
            Flaw::SentOnce,
            "sent-once",
            ONE_PUT,
            "updates are sent once, as in the textbook",
        ),
        fault(
            CAUSAL_DELIVERY,
            4,
            Flaw::StampNotSent,
            "stamp-not-sent",
            ANSWER,
            "a message tells its number and no causes: the textbook's encoding leaves out the clock",
        ),
        fault(
            CAUSAL_DELIVERY,
            4,
            Flaw::FifoForCausal,
            "fifo-for-causal",
            ANSWER,
            "the next update of its node is delivered, whatever its causes",
        ),
        fault(
            FIFO,
            3,
            Flaw::OwnAtLeast,
            "own-at-least",
            SERIES,
            "any later update of its node is delivered, not the next alone",
        ),
        fault(
            NO_NEEDLESS_DELAY,
            4,
            Flaw::StrictOthers,
            "strict-others",
            TWO_PUTS,
            "more must have been delivered of every node than the stamp counts",
        ),
        fault(
            CLOCK_ORDER,
            2,
            Flaw::SentBeforeCounted,
            "sent-before-counted",
            TWO_PUTS,
            "the stamp is made before the update is counted",
        ),
        fault(
            NO_DUPLICATION,
            2,
            Flaw::SelfDelivery,
            "self-delivery",
            ONE_PUT,
            "a node delivers what it sends to all when it comes back to itself",
        ),
        fault(
            FORGOTTEN,
            4,
            Flaw::HeldIsAcknowledged,
            "held-is-acknowledged",
            SERIES,
            "what is held back is acknowledged, and with it what is missing before it: n1 forgets A, which n0 has not",
        ),
        fault(
            FORGOTTEN,
            2,
            Flaw::ForgottenAtTwo,
            "forgotten-at-two",
            (THREE, &["xA"]),
            "a log forgets what two have: n1 has nothing left to send to n0, which has it not",
        ),
    ]
}

fn with_faults() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(NO_CREATION, 4, || {
            flawed(Flaw::ClockForgotten, "clock-forgotten", TWO, &["xA xB"])
                .says("after a restart the clock begins anew, and so do the names of updates")
                .crashes(TWO.all(), 1)
        }),
        Claimed::falls(SURVIVORS, 3, || {
            let flaw = Flaw::OwnAlone;
            mortals("own-alone", &["xA"], move |right| Flawed { right, flaw })
                .says("nobody sends again but what he made himself, and the dead do not")
        }),
        Claimed::falls(CALLS_RETURN, 5, || {
            flawed_carrying(Flaw::WaitsForEver, "waits-for-ever", TWO, &["xA x?"])
                .says("a disk lies, so that nobody has what a client has seen, and its call waits without end")
                .crashes(TWO.all(), 1)
                .disk(Disk::Lying)
        }),
    ]
}

fn towards_clients() -> Vec<Box<dyn Exhibit>> {
    let flaw = |promise,
                steps,
                flaw,
                name,
                cluster,
                clients: &'static [&'static str],
                says: &'static str| {
        Claimed::falls(promise, steps, move || {
            flawed_carrying(flaw, name, cluster, clients).says(says)
        })
    };
    vec![
        flaw(
            CALLS_RETURN,
            2,
            Flaw::EqualIsConcurrent,
            "equal-is-concurrent",
            TWO,
            &["xA x?"],
            "a clock that equals the token is not after it, as in the textbook, so the call waits",
        ),
        flaw(
            READ_YOUR_WRITES,
            3,
            Flaw::TokenIgnored,
            "token-ignored",
            TWO,
            &["xA x?"],
            "nobody looks at the token",
        ),
        flaw(
            READ_YOUR_WRITES,
            6,
            Flaw::GapsCounted,
            "gaps-counted",
            TWO,
            &["xA xB x?"],
            "what is held back is counted, and what is missing before it with it",
        ),
        flaw(
            MONOTONIC_READS,
            4,
            Flaw::GetNotInToken,
            "get-not-in-token",
            TWO,
            &["xA", "x? x?"],
            "a get gives the token back as it came",
        ),
        flaw(
            MONOTONIC_WRITES,
            3,
            Flaw::PutNotInToken,
            "put-not-in-token",
            TWO,
            &["xA yB"],
            "a put gives the token back as it came",
        ),
        flaw(
            CONVERGENT,
            6,
            Flaw::RankByOwnCount,
            "rank-by-own-count",
            TWO,
            &["xA xB x?"],
            "of two versions the later write of its own node stays, as the textbook numbers them",
        ),
    ]
}

/// The right machine where something that it assumes is taken away.
pub(super) fn weakened() -> Vec<Box<dyn Exhibit>> {
    let without = |promise, steps, name, clients: &'static [&'static str], says: &'static str| {
        Claimed::falls(promise, steps, move || {
            sessions(name, TWO.machines(|right| right), clients).says(says)
        })
    };
    vec![
        without(
            READ_YOUR_WRITES,
            2,
            "no-token-put-and-get",
            &["xA x?"],
            "a client puts, and gets elsewhere without its token, as the textbook's does",
        ),
        without(
            MONOTONIC_READS,
            3,
            "no-token-get-and-get",
            &["xA", "x? x?"],
            "a client gets, and gets elsewhere without its token, as the textbook's does",
        ),
        without(
            MONOTONIC_WRITES,
            2,
            "no-token-put-and-put",
            &["xA yB"],
            "a client puts, and puts elsewhere without its token, as the textbook's does",
        ),
        without(
            WRITES_FOLLOW_READS,
            3,
            "no-token-get-and-put",
            &["xA", "x? yB"],
            "a client gets, and puts elsewhere without its token, as the textbook's does",
        ),
        Claimed::falls(NO_CREATION, 4, || {
            broadcasts("lying-disk", TWO, &["xA xB"], |right| right)
                .says("a disk forgets an update that was sent, and its name is given again")
                .crashes(TWO.all(), 1)
                .disk(Disk::Lying)
        }),
    ]
}
