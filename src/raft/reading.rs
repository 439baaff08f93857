//! Reads without log entries (thesis §6.4): `ReadIndex`, and leases.

use alloc::string::String;

use super::{Event, Leases, PENDING_MAX, Raft, Read, Reads, Refusal, Reply, Role, Timer};
use crate::data::NodeSet;
use crate::machine::{Outbox, State};

impl Raft {
    /// A client asks for a value.
    pub(super) fn on_read(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: String,
        out: &mut Outbox<Self>,
    ) {
        let refuse = |refusal| Event::Refused { ticket, refusal };
        match self.reads {
            Reads::Log => return out.tell(refuse(Refusal::NoReads)),
            Reads::ReadIndex | Reads::Lease { .. } => {}
        }
        let commit = state.volatile.commit;
        let term = state.durable.term;
        let log = &state.durable.log;
        let Role::Leader(leader) = &mut state.volatile.role else {
            return out.tell(refuse(Refusal::NotLeader));
        };
        if PENDING_MAX <= leader.reads.len() {
            return out.tell(refuse(Refusal::Busy));
        }
        // Thesis §6.4, step 1: a leader may not know yet what earlier terms committed. Once it has
        // committed an entry of its own it does, so that one has to be applied first.
        let own = if log.base().term == term {
            log.base().index
        } else {
            log.first_of(term)
                .unwrap_or_else(|| log.last().index.next())
        };
        leader.reads.push(Read {
            ticket,
            key,
            index: commit.max(own),
            // Thesis §6.4.1: while a lease lasts, no other can have been elected.
            confirmed: leader.lease > 0,
        });
        if leader.lease > 0 {
            return self.answer_reads(state, out);
        }
        // Steps 2 and 3: a round of heartbeats that begins after the read.
        self.begin_round(state, out);
        self.answer_reads(state, out);
        self.heartbeat(state, out);
    }

    /// A round of heartbeats begins now, and with it the lease that it may bring.
    pub(super) fn begin_round(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        leader.round = leader.round.saturating_add(1);
        leader.confirmed = NodeSet::from_iter([self.me]);
        match self.reads {
            Reads::Log | Reads::ReadIndex => {}
            Reads::Lease { .. } => {
                out.arm(Timer::Lease(leader.round));
                self.extend_lease(state);
            }
        }
    }

    /// Thesis §6.4.1: with the answers of a majority to a round, the leader has a lease from when it
    /// began.
    pub(super) fn extend_lease(&self, state: &mut State<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let members = &state.volatile.members.membership;
        if leader.leases == Leases::Kept && members.is_quorum(leader.confirmed) {
            leader.lease = leader.round;
        }
    }

    /// From now on, who answered the round may vote for another.
    pub(super) fn on_lease_end(&self, state: &mut State<Self>, round: u64) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        if leader.lease <= round {
            leader.lease = 0;
        }
        if leader.round == round {
            // Answers that come now are too late: see `hear`.
            leader.confirmed = NodeSet::EMPTY;
        }
    }

    /// Thesis §6.4, steps 4 and 5: answers the reads that are confirmed and whose index is applied.
    pub(super) fn answer_reads(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let commit = state.volatile.commit;
        let store = &state.volatile.store;
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        if leader.reads.is_empty() {
            return;
        }
        // The last round began after every read that waits.
        if state
            .volatile
            .members
            .membership
            .is_quorum(leader.confirmed)
        {
            for read in &mut leader.reads {
                read.confirmed = true;
            }
        }
        leader.reads.retain(|read| {
            let ready = read.confirmed && read.index <= commit;
            if ready {
                out.tell(Event::Replied {
                    ticket: read.ticket,
                    reply: Reply::Value(store.values.get(&read.key).cloned()),
                });
            }
            !ready
        });
    }
}
