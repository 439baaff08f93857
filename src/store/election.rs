//! Elections, and the fence: how a member promises a term, and what follows from it.

use super::{Event, Leader, Message, Phase, Purpose, Refusal, Role, Store, Term, Timer};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

impl Store {
    /// No leader was heard of in time: this member stands.
    pub(super) fn on_election_timeout(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        if let Role::Leader(_) = state.volatile.role {
            return; // A leader has no such alarm.
        }
        out.arm(Timer::Election);
        let Some(next) = state.durable.term.0.checked_add(1) else {
            return; // Nobody counts so far; a forged term might.
        };
        Self::promise(state, Term(next), out);
        state.durable.vote = Some(self.me);
        let votes = NodeSet::from_iter([self.me]);
        state.volatile.role = Role::Candidate { votes };
        if self.is_majority(votes) {
            return self.become_leader(state, out);
        }
        out.broadcast(self.others(), &Message::RequestVote { term: Term(next) });
    }

    /// The fence. False if the message is of a term that is over, and must not be heard.
    pub(super) fn admits(state: &mut State<Self>, term: Term, out: &mut Outbox<Self>) -> bool {
        if state.durable.term < term {
            Self::promise(state, term, out);
        }
        state.durable.term == term
    }

    /// Promises a later term, on disk: what leads in an older one is not heard here any more, and does
    /// not lead any more if it was this member.
    fn promise(state: &mut State<Self>, term: Term, out: &mut Outbox<Self>) {
        debug_assert!(state.durable.term < term, "a promise is never taken back");
        state.durable.term = term;
        state.durable.vote = None;
        out.tell(Event::Promised { term });
        let follower = Role::Follower { leader: None };
        match core::mem::replace(&mut state.volatile.role, follower) {
            Role::Follower { .. } | Role::Candidate { .. } => {}
            Role::Leader(leader) => {
                out.disarm(Timer::Heartbeat);
                out.arm(Timer::Election);
                resign(&leader, out);
            }
        }
    }

    /// A member votes once in a term: Raft, §5.2. Any candidate will do, whatever it has, for it will
    /// inquire before it serves; so there is no comparison as in §5.4.1.
    pub(super) fn on_request_vote(
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) {
        if !Self::admits(state, term, out) {
            return;
        }
        if state.durable.vote.is_some_and(|vote| vote != from) {
            return; // It has voted for another.
        }
        if state.durable.vote.is_none() {
            state.durable.vote = Some(from);
            // It gives the candidate time to win.
            out.arm(Timer::Election);
        }
        out.send(from, Message::Vote { term });
    }

    /// With the votes of a majority, a candidate leads.
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
            return; // This one is over.
        };
        votes.insert(from);
        if self.is_majority(*votes) {
            self.become_leader(state, out);
        }
    }

    fn become_leader(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let term = state.durable.term;
        debug_assert_eq!(state.durable.vote, Some(self.me), "it voted for itself");
        state.volatile.role = Role::Leader(Leader::default());
        out.disarm(Timer::Election);
        out.arm(Timer::Heartbeat);
        out.tell(Event::Elected { term });
        out.broadcast(self.others(), &Message::Lead { term });
    }

    /// Someone leads this term: that is where calls are to go, and no reason to stand.
    pub(super) fn on_lead(
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) {
        if !Self::admits(state, term, out) {
            return;
        }
        match &mut state.volatile.role {
            Role::Leader(_) => return, // Nobody else can: a term has one leader.
            role @ (Role::Follower { .. } | Role::Candidate { .. }) => {
                *role = Role::Follower { leader: Some(from) };
            }
        }
        out.arm(Timer::Election);
    }
}

/// A leader that is deposed says what became of what was asked of it.
fn resign(leader: &Leader, out: &mut Outbox<Store>) {
    for work in leader.work.values() {
        for (place, request) in work.requests.iter().enumerate() {
            let ticket = request.ticket;
            let under_way = match work.phase {
                // Nothing was written yet, or what another leader left.
                Phase::Inquiring { .. }
                | Phase::Preparing {
                    purpose: Purpose::Finish,
                    ..
                } => false,
                Phase::Preparing {
                    purpose: Purpose::Request,
                    ..
                } => place == 0,
            };
            out.tell(if under_way {
                // Its record is on some disks: the next leader may find it, or not.
                Event::Unknown { ticket }
            } else {
                let refusal = Refusal::NotLeader { leader: None };
                Event::Refused { ticket, refusal }
            });
        }
    }
}
