//! Leadership handed over on purpose (thesis §3.10): the leader takes no more commands, brings its
//! heir up to date, and tells it to stand for election at once. The heir is elected like anyone.

use serde::{Deserialize, Serialize};

use super::election::Standing;
use super::{Event, Message, Raft, Refusal, Role, Term, Timer};
use crate::machine::{NodeId, Outbox, State};

/// A leadership that is being handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transfer {
    /// The caller's name for the call.
    pub ticket: u64,
    /// To whom.
    pub to: NodeId,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The node leads no more: most likely for the heir.
    Yielded,
    /// The heir did not stand in time. The node leads on.
    TimedOut,
}

impl Raft {
    /// Someone asks this node to let another lead.
    pub(super) fn on_transfer(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        to: NodeId,
        out: &mut Outbox<Self>,
    ) {
        let refuse = |refusal| Event::Refused { ticket, refusal };
        let fit = to != self.me && state.volatile.members.membership.voters.contains(to);
        let Role::Leader(leader) = &mut state.volatile.role else {
            return out.tell(refuse(Refusal::NotLeader));
        };
        if leader.transfer.is_some() {
            return out.tell(refuse(Refusal::HandingOver));
        }
        if !fit {
            return out.tell(refuse(Refusal::Unfit));
        }
        leader.transfer = Some(Transfer { ticket, to });
        out.arm(Timer::Transfer);
        self.send_entries(state, to, out);
        self.hand_over(state, out);
    }

    /// Thesis §3.10: once the heir has all that the leader has, it is told. Told again with every
    /// heartbeat, for it may not hear.
    ///
    /// Who votes for the heir waits for no alarm, so the leader has no lease from here on: not even if the
    /// heir does not stand in time, for it may do so later.
    pub(super) fn hand_over(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let Some(Transfer { to, .. }) = leader.transfer else {
            return;
        };
        let last = state.durable.log.last().index;
        let progress = leader.progress.get(&to);
        if progress.is_some_and(|progress| progress.matching == last) {
            if self.reads.by_lease() {
                leader.lease.end(out);
                leader.lease.forgone = true;
            }
            let term = state.durable.term;
            out.send(to, Message::TimeoutNow { term });
        }
    }

    /// Thesis §3.10: if it takes an election timeout, the leader goes on.
    pub(super) fn on_transfer_timeout(state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        if let Some(Transfer { ticket, .. }) = leader.transfer.take() {
            out.tell(Event::Transferred {
                ticket,
                outcome: Outcome::TimedOut,
            });
        }
    }

    /// Thesis §3.10: the heir stands, as if its alarm had rung, and asks nobody before: who hears the
    /// leader still would say no.
    pub(super) fn on_timeout_now(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        out: &mut Outbox<Self>,
    ) {
        if self.is_stale(state, from, term, out) {
            return;
        }
        self.observe(state, term, out);
        let leads = matches!(state.volatile.role, Role::Leader(_));
        if leads || !state.volatile.members.membership.has_voter(self.me) {
            return;
        }
        out.arm(Timer::Election);
        self.become_candidate(state, Standing::AsHeir, out);
    }
}
