//! Elections (§5.2, §5.4.1), with pre-votes (thesis §9.6) and checked quorums (thesis §6.2).

use alloc::vec::Vec;

use super::{
    Command, Elections, Event, FirstEntry, Leader, Leadership, Message, Pace, Position, Progress,
    Raft, Role, Term, Timer,
};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// Why a node stands for election.
#[derive(Clone, Copy)]
pub(super) enum Standing {
    /// It hears no leader.
    ByItself,
    /// The leader wants it to.
    AsHeir,
}

impl Raft {
    /// No leader was heard in time.
    pub(super) fn on_election_timeout(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        if let Role::Leader(_) = state.volatile.role {
            return; // A leader has no such alarm.
        }
        out.arm(Timer::Election);
        state.volatile.promised = false;
        if !state.volatile.members.membership.has_voter(self.me) {
            // Thesis §4.2.2: who has no vote stands for nothing.
            return self.become_follower(state, None, out);
        }
        match self.elections {
            Elections::Direct => self.become_candidate(state, Standing::ByItself, out),
            Elections::PreVote => self.become_pre_candidate(state, out),
        }
    }

    /// Thesis §9.6: asks first, in a term that has not begun, and keeps its own.
    fn become_pre_candidate(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let votes = NodeSet::from_iter([self.me]);
        if state.volatile.members.membership.is_quorum(votes) {
            return self.become_candidate(state, Standing::ByItself, out);
        }
        state.volatile.role = Role::PreCandidate { votes };
        let term = next(state.durable.term);
        let last = state.durable.log.last();
        out.broadcast(self.others(state), &Message::RequestPreVote { term, last });
    }

    /// Thesis §9.6: a member would vote for whoever it could vote for, unless it hears a leader. It
    /// promises nothing by that, and so remembers nothing.
    pub(super) fn on_request_pre_vote(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        last: Position,
        out: &mut Outbox<Self>,
    ) {
        // Who asks is of the term before. If this node is of a later one, that is to be told: else the
        // one with the longer log never asks for a term that the one with the later term could grant,
        // and neither ever leads.
        if self.is_stale(state, from, before(term), out) {
            return;
        }
        let led = match &state.volatile.role {
            Role::Follower { leader } => leader.is_some(),
            Role::PreCandidate { .. } | Role::Candidate { .. } => false,
            Role::Leader(_) => true,
        };
        if !led
            && !state.volatile.promised
            && state.durable.term < term
            && state.durable.log.last() <= last
        {
            out.send(from, Message::PreVote { term });
        }
    }

    /// With a majority that would vote for it, it stands.
    pub(super) fn on_pre_vote(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) {
        if term != next(state.durable.term) {
            return; // Of another attempt.
        }
        let Role::PreCandidate { votes } = &mut state.volatile.role else {
            return;
        };
        votes.insert(from);
        if state.volatile.members.membership.is_quorum(*votes) {
            self.become_candidate(state, Standing::ByItself, out);
        }
    }

    /// §5.2: a new term, a vote for itself, and a request to all others.
    pub(super) fn become_candidate(
        &self,
        state: &mut State<Self>,
        standing: Standing,
        out: &mut Outbox<Self>,
    ) {
        let term = next(state.durable.term);
        if term == state.durable.term {
            return; // The very last term, which only a forger brings about.
        }
        state.durable.term = term;
        state.durable.vote = Some(self.me);
        state.volatile.promised = false;
        let votes = NodeSet::from_iter([self.me]);
        state.volatile.role = Role::Candidate { votes };
        if state.volatile.members.membership.is_quorum(votes) {
            return self.become_leader(state, out);
        }
        let last = state.durable.log.last();
        let request = match standing {
            Standing::AsHeir if self.reads.by_lease() => Message::RequestVoteAsHeir { term, last },
            Standing::AsHeir | Standing::ByItself => Message::RequestVote { term, last },
        };
        out.broadcast(self.others(state), &request);
    }

    /// §5.2: at most one vote per term, first come, first served; §5.4.1: and only for a candidate
    /// whose log is at least as up to date.
    pub(super) fn on_request_vote(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        (term, last): (Term, Position),
        standing: Standing,
        out: &mut Outbox<Self>,
    ) {
        // Thesis §6.4.1: a leader may read by that it is not voted out. No promise to it is broken by a vote
        // for whom it told to stand, and there is no lease by a promise to one before.
        let promised = match standing {
            Standing::ByItself => state.volatile.promised,
            Standing::AsHeir => false,
        };
        if self.is_stale(state, from, term, out) || promised {
            return;
        }
        self.observe(state, term, out);
        let free = state.durable.vote.is_none_or(|vote| vote == from);
        if !free || last < state.durable.log.last() {
            return;
        }
        state.durable.vote = Some(from);
        out.arm(Timer::Election);
        // This leaves the node when the disk has the vote, and no sooner: see `Sealed`.
        out.send(from, Message::Vote { term });
    }

    /// §5.2: with the votes of a majority it leads.
    pub(super) fn on_vote(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) {
        if term != state.durable.term {
            return; // Of another election.
        }
        let Role::Candidate { votes } = &mut state.volatile.role else {
            return;
        };
        votes.insert(from);
        if state.volatile.members.membership.is_quorum(*votes) {
            self.become_leader(state, out);
        }
    }

    /// §5.3: it knows nothing of the others, and supposes that they have what it has.
    fn become_leader(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let term = state.durable.term;
        let last = state.durable.log.last();
        let progress = Progress {
            matching: super::Index::default(),
            next: last.index.next(),
            pace: Pace::Probing,
            in_flight: Vec::new(),
            sending: None,
        };
        let others = self.others(state).iter();
        state.volatile.role = Role::Leader(Leader {
            progress: others.map(|node| (node, progress.clone())).collect(),
            ..Leader::default()
        });
        out.tell(Event::Elected { term, last });
        out.disarm(Timer::Election);
        out.arm(Timer::Heartbeat);
        match self.leadership {
            Leadership::UntilDeposed => {}
            Leadership::CheckQuorum => out.arm(Timer::Quorum),
        }
        match self.first_entry {
            FirstEntry::NoOp => {
                self.propose(state, Command::NoOp, out);
            }
            // §5.2: it tells the others at once that there is a leader.
            FirstEntry::Client => self.heartbeat(state, out),
        }
    }

    /// Thesis §6.2: a leader steps down if a majority was not heard for an election timeout.
    pub(super) fn on_quorum_check(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let mut heard = leader.heard;
        heard.insert(self.me);
        leader.heard = NodeSet::EMPTY;
        if state.volatile.members.membership.is_quorum(heard) {
            out.arm(Timer::Quorum);
        } else {
            // It keeps term and vote: it may not vote again in the term that it led.
            self.become_follower(state, None, out);
        }
    }
}

fn before(term: Term) -> Term {
    Term(term.0.saturating_sub(1))
}

fn next(term: Term) -> Term {
    Term(term.0.saturating_add(1))
}
