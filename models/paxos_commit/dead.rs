//! Which messages of Paxos Commit can never matter again.
//!
//! Each rule rests on what only grows: what an acceptor has promised and, in one ballot, accepted; what
//! a leader has heard in its ballot, to which it never returns; that a participant has voted, and has
//! decided.

use quorate::commit::{Branch, Transaction};
use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::paxos_commit::{Acceptance, Ballot, Message, PaxosCommit, Phase, Values};

use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// How far the node is in this ballot, if it leads it or listens to it and was not overtaken.
fn phase<M: Twin<PaxosCommit>>(
    node: &Node<M>,
    transaction: Transaction,
    ballot: Ballot,
) -> Option<&Phase> {
    let leading = node.up()?.volatile.leading.get(&transaction)?;
    let current = leading.ballot == ballot && !matches!(leading.phase, Phase::Overtaken { .. });
    current.then_some(&leading.phase)
}

/// True if the leader would make something of the acceptor's promise.
fn awaits_promise(phase: Option<&Phase>, acceptor: NodeId) -> bool {
    match phase {
        Some(Phase::One { answered, .. }) => !answered.contains(acceptor),
        Some(Phase::Two { .. } | Phase::Overtaken { .. }) | None => false,
    }
}

/// True if the leader would learn something of what the acceptor has accepted.
fn awaits_values(phase: Option<&Phase>, acceptor: NodeId, values: Values) -> bool {
    match phase {
        Some(Phase::Two { accepted, .. }) => {
            let known = accepted.get(&acceptor).copied().unwrap_or_default();
            known.or(values) != known
        }
        Some(Phase::One { .. } | Phase::Overtaken { .. }) | None => false,
    }
}

fn acceptance<M: Twin<PaxosCommit>>(node: &Node<M>, transaction: Transaction) -> Acceptance {
    let known = node
        .durable()
        .and_then(|disk| disk.acceptances.get(&transaction));
    known.copied().unwrap_or_default()
}

fn branch<M: Twin<PaxosCommit>>(node: &Node<M>, transaction: Transaction) -> Option<&Branch> {
    node.durable()?.branches.known.get(&transaction)
}

/// True if the node coordinates the transaction and does not know its outcome.
fn asks<M: Twin<PaxosCommit>>(node: &Node<M>, transaction: Transaction) -> bool {
    (node.up()).is_some_and(|state| state.volatile.asked.contains_key(&transaction))
}

/// True if a decision is no news to the node, and never will be.
fn knows_the_outcome<M: Twin<PaxosCommit>>(
    node: &Node<M>,
    id: NodeId,
    transaction: Transaction,
    participants: NodeSet,
) -> bool {
    let decided = match branch(node, transaction) {
        Some(Branch::Committed | Branch::Aborted) => true,
        Some(Branch::Prepared { .. }) => false,
        None => !participants.contains(id),
    };
    decided && !asks(node, transaction)
}

/// True if it does not matter to the sender whether the message arrives: nobody waits for what it
/// would bring about.
pub(super) fn sender_is_done<M: Twin<PaxosCommit>>(
    letter: &Letter<Message>,
    from: &Node<M>,
) -> bool {
    match &letter.message {
        // Who is asked may know the outcome, and say so.
        Message::Prepare {
            transaction,
            participants,
            ..
        } => knows_the_outcome(from, letter.from, *transaction, *participants),
        // What overtakes it, it must hear.
        Message::Phase1a {
            transaction,
            ballot,
        } => phase(from, *transaction, *ballot).is_none(),
        Message::Phase2a {
            transaction,
            ballot,
            ..
        } => *ballot == Ballot::Zero || phase(from, *transaction, *ballot).is_none(),
        Message::Phase1b { .. }
        | Message::Phase2b { .. }
        | Message::Overtaken { .. }
        | Message::Decision { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
pub(super) fn receiver_is_done<M: Twin<PaxosCommit>>(
    letter: &Letter<Message>,
    to: &Node<M>,
) -> bool {
    match &letter.message {
        Message::Prepare { transaction, .. } => branch(to, *transaction).is_some(),
        Message::Phase1a {
            transaction,
            ballot,
        } => *ballot <= acceptance(to, *transaction).promised,
        Message::Phase2a {
            transaction,
            ballot,
            values,
            ..
        } => {
            let known = acceptance(to, *transaction);
            let has = known.accepted == *ballot && known.values.or(*values) == known.values;
            *ballot < known.promised || has
        }
        Message::Phase1b {
            transaction,
            ballot,
            ..
        } => !awaits_promise(phase(to, *transaction, *ballot), letter.from),
        Message::Phase2b {
            transaction,
            ballot,
            values,
        } => !awaits_values(phase(to, *transaction, *ballot), letter.from, *values),
        Message::Overtaken {
            transaction,
            ballot,
            ..
        } => phase(to, *transaction, *ballot).is_none(),
        Message::Decision {
            transaction,
            participants,
            ..
        } => knows_the_outcome(to, letter.to, *transaction, *participants),
    }
}
