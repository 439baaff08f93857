//! What the worlds of the causal store leave out, and what they owe for it: messages that are dead, and
//! mirror images.

use quorate::causal::{Message, Update};
use quorate::clock::Vector;
use quorate::machine::NodeId;

use super::roaming::{Luggage, Store};
use super::{Model, THREE, TWO, carrying, right};
use crate::action::Cut;
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node};
use crate::symmetry;
use crate::world::Disk;

/// True if the sender knows that the receiver has all that the update counts. Disks do not lie, so it
/// stays so.
fn sender_is_done<M: Store>(message: &Message, from: &Node<M>, to: NodeId) -> bool {
    match message {
        Message::Update(update) => knows(from, to, &update.version.stamp),
        Message::Acknowledge(_) => true,
    }
}

/// True if the receiver has the update, and knows that the sender has what it tells.
fn receiver_is_done<M: Store>(message: &Message, to: &Node<M>, from: NodeId) -> bool {
    match message {
        Message::Update(Update { version, .. }) => {
            (to.durable()).is_some_and(|disk| disk.clock.covers(version.dot()))
                && knows(to, from, &version.stamp)
        }
        Message::Acknowledge(clock) => knows(to, from, clock),
    }
}

fn knows<M: Store>(node: &Node<M>, member: NodeId, clock: &Vector) -> bool {
    let known = node.durable().and_then(|disk| disk.known.get(&member));
    known.is_some_and(|known| known.dominates(clock))
}

pub(super) fn purged<M: Store<Message = Message>>(world: Model<M>) -> Model<M> {
    world.purging(
        |letter: &Letter<Message>, from| sender_is_done(&letter.message, from, letter.to),
        |letter, to| receiver_is_done(&letter.message, to, letter.from),
    )
}

/// The same where tokens travel too. One that was lost may be there any time later.
pub(super) fn purged_but_tokens<M: Store<Message = Luggage>>(world: Model<M>) -> Model<M> {
    world.purging(
        |letter: &Letter<Luggage>, from| match &letter.message {
            Luggage::Store(message) => sender_is_done(message, from, letter.to),
            Luggage::Token(..) => false,
        },
        |letter, to| match &letter.message {
            Luggage::Store(message) => receiver_is_done(message, to, letter.from),
            Luggage::Token(..) => false,
        },
    )
}

/// What [`World::purging`](crate::world::World::purging) owes in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    Ok(vec![
        purge::obligations(|| right("purged", THREE, &["xA"]))?,
        purge::obligations(|| right("purged", TWO, &["xA xB", "xC"]))?,
        purge::obligations(|| right("purged", TWO, &["xA", "yB"]).crashes(TWO.all(), 1))?,
        purge::obligations(|| right("purged", TWO, &["xA", "yB"]).cuts(Cut::all(2), 1))?,
        purge::obligations(|| carrying("purged", TWO, &["xA", "x? yB"]))?,
    ])
}

/// The same where a disk lies: what was dead rises. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| (right("purged", TWO, &["xA"]).crashes(TWO.all(), 1)).disk(Disk::Lying))
}

/// What the worlds whose nodes are alike owe for that, in smaller ones.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    Ok(vec![
        symmetry::obligations(|| right("mirrored", THREE, &["xA"]).symmetric(THREE.all()))?,
        symmetry::obligations(|| {
            let world = right("mirrored", TWO, &["xA", "yB"]).symmetric(TWO.all());
            world.crashes(TWO.all(), 1)
        })?,
        symmetry::obligations(|| carrying("mirrored", TWO, &["xA", "x? yB"]).symmetric(TWO.all()))?,
    ])
}

/// The same of nodes that write one key: between concurrent puts the node decides, so they are not alike.
/// It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn mirrored_wrongly() -> Result<symmetry::Discharged, String> {
    symmetry::obligations(|| right("mirrored", TWO, &["xA", "xB"]).symmetric(TWO.all()))
}
