//! Which messages of Raft can never matter again.
//!
//! Each rule rests on what only grows: a node's term; within a term, the votes that a candidate has,
//! what a leader knows to match, and what a follower's log shares with its leader's. All but a
//! leader's and a candidate's counts survive a crash, and after one these count nothing any more in
//! that term. What a follower knows to be committed does not survive; so where nodes crash, a message
//! that says so is never dead.

use quorate::machine::NodeId;
use quorate::raft::{
    Elections, Flow, Index, Leader, Leadership, Message, Position, Progress, Raft, Reads, Role,
    Term,
};

use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// What a rule may rest on.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(super) struct Rules {
    /// Nothing rests on an answer but counts, and what is stale is not answered.
    pub(super) silent: bool,
    /// Nobody does anything for having heard a leader again.
    pub(super) direct: bool,
    /// No node crashes.
    pub(super) immortal: bool,
    /// Entries are sent ahead of their answers.
    pub(super) ahead: bool,
}

impl Rules {
    pub(super) fn of(raft: &Raft, crashes: u32) -> Self {
        let by_lease = matches!(raft.reads, Reads::Lease { .. });
        Self {
            silent: raft.leadership == Leadership::UntilDeposed
                && raft.elections == Elections::Direct
                && !by_lease,
            direct: raft.elections == Elections::Direct && !by_lease,
            immortal: crashes == 0,
            ahead: raft.flow != Flow::StopAndWait,
        }
    }
}

fn term_of<M: Twin<Raft>>(node: &Node<M>) -> Term {
    node.durable().map(|disk| disk.term).unwrap_or_default()
}

/// The leader that the node is in `term`.
fn leader_of<M: Twin<Raft>>(node: &Node<M>, term: Term) -> Option<&Leader> {
    let state = node.up()?;
    match &state.volatile.role {
        Role::Leader(leader) if state.durable.term == term => Some(leader),
        Role::Leader(_)
        | Role::Follower { .. }
        | Role::PreCandidate { .. }
        | Role::Candidate { .. } => None,
    }
}

/// True if the candidate of `term` still lacks the vote.
fn awaits_vote<M: Twin<Raft>>(node: &Node<M>, term: Term, voter: NodeId) -> bool {
    node.up().is_some_and(|state| match &state.volatile.role {
        Role::Candidate { votes } => state.durable.term == term && !votes.contains(voter),
        Role::Follower { .. } | Role::PreCandidate { .. } | Role::Leader(_) => false,
    })
}

/// True if the leader of `term` does not know yet that the follower has so much.
fn awaits_match<M: Twin<Raft>>(
    node: &Node<M>,
    term: Term,
    follower: NodeId,
    matching: Index,
) -> bool {
    leader_of(node, term)
        .and_then(|leader| leader.progress.get(&follower))
        .is_some_and(|progress| progress.matching < matching)
}

/// True if a read of the leader of `term` waits for the follower's answer to this round.
fn awaits_round<M: Twin<Raft>>(node: &Node<M>, term: Term, follower: NodeId, round: u64) -> bool {
    leader_of(node, term).is_some_and(|leader| {
        let hopes = leader.lease.hoped == Some(round);
        (hopes || !leader.reads.is_empty())
            && leader.round == round
            && !leader.confirmed.contains(follower)
    })
}

/// True if it does not matter to the sender whether the message arrives: nobody waits for what it
/// would bring about.
pub(super) fn sender_is_done<M: Twin<Raft>>(
    rules: Rules,
    letter: &Letter<Message>,
    from: &Node<M>,
) -> bool {
    match &letter.message {
        Message::RequestVote { term, .. } | Message::RequestVoteAsHeir { term, .. } => {
            !awaits_vote(from, *term, letter.to)
        }
        Message::AppendEntries {
            term,
            previous,
            entries,
            round,
            ..
        } => {
            let matching = Index(previous.index.0 + entries.len() as u64);
            if rules.silent {
                !awaits_match(from, *term, letter.to, matching)
                    && !awaits_round(from, *term, letter.to, *round)
            } else {
                leader_of(from, *term).is_none()
            }
        }
        Message::InstallSnapshot { term, part } => {
            if rules.silent {
                !awaits_match(from, *term, letter.to, part.position.index)
                    && !awaits_round(from, *term, letter.to, part.round)
            } else {
                leader_of(from, *term).is_none()
            }
        }
        Message::RequestPreVote { .. }
        | Message::PreVote { .. }
        | Message::Vote { .. }
        | Message::Stale { .. }
        | Message::Appended { .. }
        | Message::Conflict { .. }
        | Message::Received { .. }
        | Message::TimeoutNow { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
pub(super) fn receiver_is_done<M: Twin<Raft>>(
    rules: Rules,
    letter: &Letter<Message>,
    to: &Node<M>,
) -> bool {
    let now = term_of(to);
    match &letter.message {
        Message::RequestPreVote { .. } | Message::RequestVoteAsHeir { .. } => false,
        Message::PreVote { term } | Message::Stale { term } => *term <= now,
        Message::RequestVote { term, .. } => {
            let vote = to.durable().and_then(|disk| disk.vote);
            rules.silent && (*term < now || (*term == now && vote.is_some()))
        }
        Message::Vote { term } => *term <= now && !awaits_vote(to, *term, letter.from),
        Message::AppendEntries {
            term,
            previous,
            entries,
            commit,
            ..
        } => {
            let names: Vec<Term> = entries.iter().map(|entry| entry.term).collect();
            (*term < now && rules.silent)
                || (*term == now && rules.direct && has(rules, to, *previous, &names, *commit))
        }
        Message::Appended {
            term,
            matching,
            round,
        } => {
            *term < now
                || leader_of(to, *term).is_none()
                || (rules.silent
                    && !awaits_match(to, *term, letter.from, *matching)
                    && !awaits_round(to, *term, letter.from, *round))
        }
        Message::Conflict {
            term, at, round, ..
        } => {
            let Some(leader) = leader_of(to, *term) else {
                return *term <= now;
            };
            let progress = leader.progress.get(&letter.from);
            // Where entries are sent ahead, what is not under way now may be again.
            let past = |progress: &Progress| !rules.ahead && progress.next <= *at;
            rules.silent
                && !awaits_round(to, *term, letter.from, *round)
                && progress.is_none_or(|progress| past(progress) || *at <= progress.matching)
        }
        Message::InstallSnapshot { term, part } => {
            let idle = rules.direct && follows(to);
            (*term < now && rules.silent)
                || (*term == now && idle && part.position.index <= known(rules, to))
        }
        Message::Received {
            term,
            position,
            round,
            ..
        } => {
            let Some(leader) = leader_of(to, *term) else {
                return *term <= now;
            };
            let progress = leader.progress.get(&letter.from);
            rules.silent
                && !awaits_round(to, *term, letter.from, *round)
                && progress.is_none_or(|progress| position.index <= progress.matching)
        }
        Message::TimeoutNow { term } => *term < now && rules.silent,
    }
}

/// True if the follower has the entries, and knows what is said to be committed.
fn has<M: Twin<Raft>>(
    rules: Rules,
    node: &Node<M>,
    previous: Position,
    entries: &[Term],
    commit: Index,
) -> bool {
    let Some(disk) = node.durable() else {
        return false;
    };
    let matching = Index(previous.index.0 + entries.len() as u64);
    // What is compacted is committed, and the same everywhere.
    let base = disk.log.base().index;
    let is_there = |position: Position| position.index < base || disk.log.contains(position);
    let named = (previous.index.0 + 1..).zip(entries);
    follows(node)
        && is_there(previous)
        && named
            .map(|(index, term)| (Index(index), *term))
            .all(|(index, term)| is_there(Position { term, index }))
        && commit.min(matching) <= known(rules, node)
}

/// True if the node follows, or is down and will.
fn follows<M: Twin<Raft>>(node: &Node<M>) -> bool {
    let state = node.up();
    state.is_none_or(|state| matches!(state.volatile.role, Role::Follower { .. }))
}

/// What the node knows to be committed and cannot forget.
fn known<M: Twin<Raft>>(rules: Rules, node: &Node<M>) -> Index {
    match node.up() {
        Some(state) if rules.immortal => state.volatile.commit,
        Some(_) | None => {
            let disk = node.durable();
            disk.map(|disk| disk.snapshot.position.index)
                .unwrap_or_default()
        }
    }
}
