//! Messages that nobody needs any more: see [`World::purging`](crate::world::World::purging).

use quorate::database::{
    Cell, Database, Durable, Fence, Message, Operation, Phase, Reply, Stamp, Task,
};
use quorate::machine::NodeId;

use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// True if the replica has this or something newer, or had it when its tombstones went.
fn is_settled(disk: &Durable, key: &str, cell: &Cell) -> bool {
    let is_swept = |fence: &Fence| cell.stamp().is_some() && cell.stamp() <= fence.swept;
    disk.table.cell(key).covers(cell) || disk.fences.values().any(is_swept)
}

/// True if the coordinator still waits for this node to say what it has.
fn awaits_data<M: Twin<Database>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    match task(node, operation) {
        Some(Task::Read {
            answered,
            seen,
            cell,
            ..
        }) => !answered.contains(member) || !seen.is_in(cell),
        Some(Task::Write { .. } | Task::Repair { .. } | Task::Transact(_)) | None => false,
    }
}

/// True if the coordinator still waits for this node to have a write, or keeps it for that.
fn awaits_written<M: Twin<Database>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    let hint = node.durable().and_then(|disk| disk.hints.get(&operation));
    let is_asked = match task(node, operation) {
        Some(Task::Write { stored, .. }) => !stored.contains(member),
        Some(Task::Repair { holders, .. }) => !holders.contains(member),
        // It will be asked, by the same name.
        Some(Task::Read { .. }) => true,
        Some(Task::Transact(_)) | None => false,
    };
    is_asked || hint.is_some_and(|hint| hint.missing.contains(member))
}

fn task<M: Twin<Database>>(node: &Node<M>, operation: Operation) -> Option<&Task> {
    let state = node.up()?;
    let pending = state.volatile.pending.get(&operation.number)?;
    (state.durable.incarnation == operation.incarnation).then_some(&pending.task)
}

/// True if it does not matter to the sender whether the message arrives: nobody waits for what it would bring
/// about.
pub(crate) fn sender_is_done<M: Twin<Database>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Write { operation, .. } => !awaits_written(from, *operation, letter.to),
        Message::Read { operation, .. } => !awaits_data(from, *operation, letter.to),
        Message::Prepare {
            operation, ballot, ..
        }
        | Message::Propose {
            operation, ballot, ..
        }
        | Message::Commit {
            operation, ballot, ..
        } => !awaits_in_ballot(from, *operation, *ballot, letter),
        Message::Written { .. }
        | Message::Data { .. }
        | Message::Promised { .. }
        | Message::Accepted { .. }
        | Message::Committed { .. }
        | Message::Outbid { .. }
        | Message::TooOld { .. }
        | Message::Compare { .. }
        | Message::Children { .. }
        | Message::Entries { .. }
        | Message::Fence { .. }
        | Message::Fenced { .. }
        | Message::Swept { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
pub(crate) fn receiver_is_done<M: Twin<Database>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    match &letter.message {
        Message::Read { .. } => true,
        Message::Data { operation, .. } => !awaits_data(to, *operation, letter.from),
        Message::Written { operation } => !awaits_written(to, *operation, letter.from),
        Message::Write { writes, .. } => (to.durable())
            .is_none_or(|disk| writes.iter().all(|(key, cell)| is_settled(disk, key, cell))),
        Message::Prepare { key, ballot, .. } => (to.durable()).is_none_or(|disk| {
            let promise = disk.promises.get(key);
            promise.is_some_and(|promise| *ballot <= promise.promised)
        }),
        Message::Propose {
            key,
            ballot,
            version,
            ..
        } => (to.durable()).is_none_or(|disk| {
            let promise = disk.promises.get(key);
            promise.is_some_and(|promise| {
                let is_taken = promise.accepted.iter().any(|(by, _)| by == ballot);
                let is_settled = disk.table.cell(key).stamp() >= Some(version.stamp);
                *ballot < promise.promised
                    || (*ballot == promise.promised && (is_taken || is_settled))
            })
        }),
        Message::Commit { key, version, .. } => {
            (to.durable()).is_none_or(|disk| disk.table.cell(key).stamp() >= Some(version.stamp))
        }
        Message::Promised {
            operation, ballot, ..
        }
        | Message::Accepted { operation, ballot }
        | Message::Committed { operation, ballot } => {
            !awaits_in_ballot(to, *operation, *ballot, letter)
        }
        Message::Outbid {
            operation, ballot, ..
        } => !may_be_outbid(to, *operation, *ballot),
        Message::TooOld { operation, fence } => {
            let is_known = to.durable().is_none_or(|disk| fence.time <= disk.time);
            is_known && !awaits_written(to, *operation, letter.from)
        }
        Message::Entries {
            cells,
            reply: Reply::Unwanted,
            ..
        } => (to.durable())
            .is_none_or(|disk| cells.iter().all(|(key, cell)| is_settled(disk, key, cell))),
        // What they are answered with depends on what the receiver has.
        Message::Entries {
            reply: Reply::Wanted,
            ..
        }
        | Message::Compare { .. }
        | Message::Children { .. } => false,
        Message::Fence { group, upto }
        | Message::Fenced { group, upto, .. }
        | Message::Swept { group, upto } => (to.durable()).is_none_or(|disk| {
            let swept = disk.fences.get(group).and_then(|fence| fence.swept);
            Some(*upto) <= swept
        }),
    }
}

/// The same of a replica that keeps no promise: with a ballot it is never done.
pub(super) fn receiver_is_done_but_with_ballots<M: Twin<Database>>(
    letter: &Letter<Message>,
    to: &Node<M>,
) -> bool {
    let is_ballot = matches!(
        letter.message,
        Message::Prepare { .. } | Message::Propose { .. }
    );
    !is_ballot && receiver_is_done(letter, to)
}

/// True if the coordinator, in this ballot, still waits for what the letter asks or answers: for the other end
/// of it.
fn awaits_in_ballot<M: Twin<Database>>(
    node: &Node<M>,
    operation: Operation,
    ballot: Stamp,
    letter: &Letter<Message>,
) -> bool {
    let Some(Task::Transact(transaction)) = task(node, operation) else {
        return false;
    };
    if ballot < transaction.ballot {
        return false;
    }
    match (&transaction.phase, &letter.message) {
        (Phase::Prepare { promised, .. }, Message::Promised { .. }) => {
            !promised.contains(letter.from)
        }
        (Phase::Propose { accepted, .. }, Message::Accepted { .. }) => {
            !accepted.contains(letter.from)
        }
        (Phase::Commit { stored, .. }, Message::Commit { .. }) => !stored.contains(letter.to),
        (Phase::Commit { stored, .. }, Message::Committed { .. }) => !stored.contains(letter.from),
        // It is done with what belongs to an earlier phase.
        (Phase::Propose { .. } | Phase::Commit { .. }, Message::Promised { .. })
        | (
            Phase::Commit { .. },
            Message::Prepare { .. } | Message::Propose { .. } | Message::Accepted { .. },
        ) => false,
        // And who has answered what it still asks may by now have promised a later ballot, and say so.
        _ => true,
    }
}

/// True if to be outbid in this ballot makes a difference.
fn may_be_outbid<M: Twin<Database>>(node: &Node<M>, operation: Operation, ballot: Stamp) -> bool {
    match task(node, operation) {
        Some(Task::Transact(transaction)) => {
            ballot == transaction.ballot && !matches!(transaction.phase, Phase::Commit { .. })
        }
        Some(Task::Write { .. } | Task::Read { .. } | Task::Repair { .. }) | None => false,
    }
}
