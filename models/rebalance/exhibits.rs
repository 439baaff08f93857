//! What refutes each promise: flaws, and worlds that take away what it needs.

use super::dead::Kept;
use super::flaws::{Flaw, Flawed, Safeguard, Safeguards};
use super::worlds::{
    CHOSEN_BEFORE, Contention, GOES_ON, MEANWHILE, WRITE, WRITE_AND_READ, WRITE_AND_READ_TWICE,
    careless, crashing, door, node, two_replicas,
};
use super::{
    Bounds, CALLS_RETURN, CONVERGE, ENDS, HINTED, IN_ORDER, LINEARIZABLE, MONOTONIC, Model, Order,
    REGULAR, Serial, Shape, agreed, bounds, forgetful, healed, patient, world,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::world::Disk;

/// Of a client that calls nothing but the change.
const NOTHING: &[&str] = &[""];

impl Flaw {
    /// What may be forgotten where this is wrong.
    fn kept(self, bounds: Bounds) -> Kept {
        match self {
            Self::OlderStep | Self::ViewForgotten => Kept::Steps,
            Self::Without(_)
            | Self::NothingStreamed
            | Self::PromisesNotStreamed
            | Self::UnfencedBallots
            | Self::MajorityOfTheRead
            | Self::HintsNotRedirected
            | Self::NotHandedOver
            | Self::ThrownAway
            | Self::StreamNotRestarted
            | Self::NoPolls
            | Self::NoRetries => Kept::with(bounds.crashes),
        }
    }
}

/// A world of reads and writes of a flawed machine.
pub(super) fn flawed(flaw: Flaw, name: &str, bounds: Bounds) -> Model<Flawed, Order> {
    let world = world(name, bounds, move |right| Flawed { right, flaw });
    forgetful(world, flaw.kept(bounds), false)
}

/// A world of transactions of a flawed machine.
fn undecided(flaw: Flaw, name: &str, contention: Contention) -> Model<Flawed, Serial> {
    let bounds = contention.bounds();
    let world = agreed(name, bounds, move |right| Flawed { right, flaw });
    contention.begins(forgetful(world, flaw.kept(bounds), false))
}

/// A join in which one safeguard is left out.
fn without(
    safeguard: Safeguard,
    name: &str,
    clients: &'static [&'static str],
) -> Model<Flawed, Order> {
    let flaw = Flaw::Without(Safeguards::only(safeguard));
    flawed(flaw, name, bounds(Shape::Join, clients))
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    [safeguards(), steps(), transactions(), calm()]
        .into_iter()
        .flatten()
        .collect()
}

/// Each safeguard left out.
fn safeguards() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(REGULAR, 18, || {
            without(Safeguard::FencedWrites, "unfenced-writes", WRITE_AND_READ)
                .says("a replica takes a write that began before the change was announced, though it knows of the change")
        }),
        Claimed::falls(REGULAR, 23, || {
            without(Safeguard::FencedReads, "unfenced-reads", WRITE_AND_READ)
                .says("a replica answers who reads by the old ring, though it knows that reads have switched")
        }),
        Claimed::falls(REGULAR, 19, || {
            without(
                Safeguard::CountedPending,
                "pending-not-counted",
                WRITE_AND_READ,
            )
            .says(
                "writes go to the pending replica, and a quorum of the old ones acknowledges them",
            )
        }),
        Claimed::falls(REGULAR, 15, || {
            without(
                Safeguard::StreamedFromQuorum,
                "streamed-from-one",
                WRITE_AND_READ,
            )
            .says("the pending replica gets its keys from one of the old ones")
        }),
        Claimed::falls(MONOTONIC, 20, || {
            without(
                Safeguard::RepairedPending,
                "pending-not-repaired",
                WRITE_AND_READ_TWICE,
            )
            .says("read repair reaches a quorum of the old replicas, and not the pending one")
        }),
        Claimed::falls(REGULAR, 21, || {
            without(Safeguard::Barrier, "no-barrier", WRITE_AND_READ).says(
                "the old ring is given up as soon as reads have switched, whoever knows of it",
            )
        }),
        Claimed::falls(REGULAR, 13, || {
            flawed(Flaw::NothingStreamed, "nothing-streamed", bounds(Shape::Join, WRITE_AND_READ))
                .says("the ring has one node more and nothing is streamed, as if the textbook's were computed anew")
        }),
    ]
}

/// What is known of the ring, and what is on disk.
fn steps() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(IN_ORDER, 12, || {
            flawed(Flaw::OlderStep, "older-step", bounds(Shape::Join, NOTHING))
                .says("a node believes an older step that arrives again")
        }),
        Claimed::falls(REGULAR, 24, || {
            flawed(
                Flaw::ViewForgotten,
                "view-forgotten",
                door(1, crashing(node(0), WRITE_AND_READ)),
            )
            .says("a node that restarts knows no change, and takes writes of those who know none")
        }),
        Claimed::falls(REGULAR, 9, || {
            world(
                "lying-disk",
                door(0, crashing(node(0), WRITE_AND_READ)),
                |right| right,
            )
            .disk(Disk::Lying)
            .says("a disk forgets what it acknowledged")
        }),
    ]
}

/// What transactions need besides.
fn transactions() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(LINEARIZABLE, 16, || {
            undecided(Flaw::PromisesNotStreamed, "promises-not-streamed", CHOSEN_BEFORE)
                .says("a pending replica gets what there is of each key, and nothing of what was promised and accepted")
        }),
        Claimed::falls(LINEARIZABLE, 16, || {
            undecided(Flaw::UnfencedBallots, "unfenced-ballots", GOES_ON)
                .says("a replica takes part in a ballot that began before the change was announced, though it knows of the change")
        }),
        Claimed::falls(LINEARIZABLE, 12, || {
            undecided(Flaw::MajorityOfTheRead, "majority-of-the-read", MEANWHILE)
                .says("a transaction asks for a majority of the old replicas, and not of the new ones, until reads have switched")
        }),
    ]
}

/// What becomes of a change, of calls and of hints in the calm.
fn calm() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(HINTED, 6, || {
            let flaw = Flaw::HintsNotRedirected;
            let bounds = Bounds {
                hints: true,
                ..careless(0)
            };
            let world = healed("hints-not-redirected", HINTED, bounds, move |right| {
                Flawed { right, flaw }
            });
            forgetful(world, flaw.kept(bounds), false)
                .says("a hint is for those who were replicas when it was made: from here the write does not come to who joined")
        }),
        Claimed::falls(ENDS, 2, || {
            flawed(Flaw::NotHandedOver, "not-handed-over", two_replicas(WRITE))
                .says("a node keeps what it is no replica of any more")
        }),
        Claimed::falls(CONVERGE, 6, || {
            let flaw = Flaw::ThrownAway;
            let bounds = Bounds {
                anti_entropy: true,
                ..careless(1)
            };
            let world = healed("thrown-away", CONVERGE, bounds, move |right| Flawed {
                right,
                flaw,
            });
            forgetful(world, flaw.kept(bounds), false)
                .rings_late(|_| true)
                .says("a node throws away what it is no replica of any more: from here a write at ONE, which nobody else has, is lost")
        }),
        Claimed::falls(ENDS, 4, || {
            flawed(
                Flaw::StreamNotRestarted,
                "stream-not-restarted",
                crashing(node(3), NOTHING),
            )
            .says("a pending replica that crashed does not ask for the rest: from here the change does not end")
        }),
        Claimed::falls(ENDS, 2, || {
            flawed(Flaw::NoPolls, "no-polls", bounds(Shape::Join, NOTHING))
                .says("a step that was lost is not asked for: from here the change does not end")
        }),
        Claimed::falls(CALLS_RETURN, 2, || {
            flawed(Flaw::NoRetries, "no-retries", patient(Shape::Join, WRITE))
                .says("what was lost is not sent again: from here the write does not return")
        }),
    ]
}
