//! Which messages of the store can never matter again.
//!
//! Each rule rests on what only grows: a member's term; its vote in a term, once given; the record that
//! it has of a key; and, within a term, who has answered which question. All but the last survive a
//! crash, and after one nobody waits for an answer any more. Which leader a member has heard of does not
//! survive; so where members crash, a message that says so is dead only when its term is over.

use quorate::machine::NodeId;
use quorate::store::{Message, Phase, Record, Role, Store, Term};

use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// What a rule may rest on.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// No member crashes.
    pub(super) immortal: bool,
}

fn term_of<M: Twin<Store>>(node: &Node<M>) -> Term {
    node.durable().map(|disk| disk.term).unwrap_or_default()
}

/// True if the candidate of `term` still lacks the vote.
fn awaits_vote<M: Twin<Store>>(node: &Node<M>, term: Term, voter: NodeId) -> bool {
    node.up().is_some_and(|state| match &state.volatile.role {
        Role::Candidate { votes } => state.durable.term == term && !votes.contains(voter),
        Role::Follower { .. } | Role::Leader(_) => false,
    })
}

/// True if the leader of `term` waits for this member's answer to this question.
fn awaits_answer<M: Twin<Store>>(
    node: &Node<M>,
    (term, number): (Term, u64),
    key: &String,
    member: NodeId,
) -> bool {
    node.up().is_some_and(|state| match &state.volatile.role {
        Role::Leader(leader) if state.durable.term == term => {
            leader.work.get(key).is_some_and(|work| {
                let answered = match &work.phase {
                    Phase::Inquiring { answered, .. } => *answered,
                    Phase::Preparing { prepared, .. } => *prepared,
                };
                work.number == number && !answered.contains(member)
            })
        }
        Role::Leader(_) | Role::Follower { .. } | Role::Candidate { .. } => false,
    })
}

/// True if the member refuses the record, or has it or a newer one.
fn has<M: Twin<Store>>(node: &Node<M>, key: &String, record: &Record) -> bool {
    record.term < term_of(node)
        || (node.durable()).is_some_and(|disk| disk.records.get(key) >= Some(record))
}

/// True if it does not matter to the sender whether the message arrives: nobody waits for what it
/// would bring about.
pub(super) fn sender_is_done<M: Twin<Store>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::RequestVote { term } => !awaits_vote(from, *term, letter.to),
        Message::Inquire { term, number, key }
        | Message::Prepare {
            term, number, key, ..
        } => !awaits_answer(from, (*term, *number), key, letter.to),
        Message::Lead { .. }
        | Message::Vote { .. }
        | Message::Report { .. }
        | Message::Prepared { .. }
        | Message::Commit { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
pub(super) fn receiver_is_done<M: Twin<Store>>(
    rules: Rules,
    letter: &Letter<Message>,
    to: &Node<M>,
) -> bool {
    let now = term_of(to);
    match &letter.message {
        Message::RequestVote { term } => {
            let vote = to.durable().and_then(|disk| disk.vote);
            *term < now || (*term == now && vote.is_some())
        }
        Message::Vote { term } => *term <= now && !awaits_vote(to, *term, letter.from),
        Message::Lead { term } => {
            let known = to.up().is_some_and(|state| {
                state.volatile.role
                    == Role::Follower {
                        leader: Some(letter.from),
                    }
            });
            *term < now || (*term == now && known && rules.immortal)
        }
        Message::Inquire { term, .. } => *term <= now,
        Message::Report {
            term, number, key, ..
        }
        | Message::Prepared { term, number, key } => {
            *term <= now && !awaits_answer(to, (*term, *number), key, letter.from)
        }
        Message::Prepare {
            term,
            key,
            version,
            value,
            ..
        } => has(to, key, &Record::prepared(*term, *version, value.clone())),
        Message::Commit {
            term,
            key,
            version,
            value,
        } => {
            let record = Record::prepared(*term, *version, value.clone());
            has(to, key, &record.committed())
        }
    }
}
