//! Which messages are dead in a world of the CAP store: see [`World::purging`].
//!
//! [`World::purging`]: crate::world::World::purging

use quorate::cap::{Cap, Durable, Goal, Message, Operation, Pending, Phase, Version};
use quorate::machine::NodeId;

use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// The operation, if it is under way at this node.
pub(super) fn under_way<M: Twin<Cap>>(
    node: &Node<M>,
    operation: Operation,
) -> Option<(&Durable, &Pending)> {
    let state = node.up()?;
    let pending = state.volatile.pending.get(&operation.number)?;
    (state.durable.incarnation == operation.incarnation).then_some((&state.durable, pending))
}

/// True if an answer of this member counts: it was not counted, and nobody else leads by now.
fn awaits_answer<M: Twin<Cap>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    under_way(node, operation).is_some_and(|(disk, pending)| {
        disk.epoch == pending.epoch
            && matches!(pending.phase, Phase::Ask { answered, .. } if !answered.contains(member))
    })
}

/// True if it does not matter to the sender whether the message arrives. An answer of the member that
/// was asked may still teach it a later epoch, until the operation is over.
pub(super) fn sender_is_done<M: Twin<Cap>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Ask { operation, .. } | Message::Store { operation, .. } => {
            under_way(from, *operation).is_none()
        }
        Message::Answer { .. }
        | Message::Stored { .. }
        | Message::Behind { .. }
        | Message::Spread { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
pub(super) fn receiver_is_done<M: Twin<Cap>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    let Some(disk) = to.durable() else {
        return false;
    };
    match &letter.message {
        Message::Ask { epoch, .. } => *epoch <= disk.epoch,
        Message::Store { key, version, .. } => {
            version.tag.epoch < disk.epoch
                || (version.tag.epoch == disk.epoch && version.tag <= disk.version(key).tag)
        }
        Message::Spread { versions } => {
            let has = |(key, version): &(String, Version)| version.tag <= disk.version(key).tag;
            versions.iter().all(has)
        }
        Message::Answer { operation, .. } => !awaits_answer(to, *operation, letter.from),
        Message::Stored { operation } => !under_way(to, *operation).is_some_and(|(_, pending)| {
            matches!(pending.phase, Phase::Store { stored } if !stored.contains(letter.from))
        }),
        Message::Behind { operation, epoch } => {
            under_way(to, *operation).is_none_or(|(disk, pending)| {
                let is_put_under_way =
                    pending.goal != Goal::Get && matches!(pending.phase, Phase::Store { .. });
                *epoch <= disk.epoch && (is_put_under_way || pending.epoch == disk.epoch)
            })
        }
    }
}
