//! Reads without log entries (thesis §6.4): `ReadIndex`.

use alloc::string::String;

use super::{Event, PENDING_MAX, Raft, Read, Reads, Refusal, Reply, Role};
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
            Reads::ReadIndex => {}
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
            confirmed: false,
        });
        // Steps 2 and 3: a round of heartbeats that begins after the read.
        leader.round = leader.round.saturating_add(1);
        leader.confirmed = NodeSet::from_iter([self.me]);
        Self::answer_reads(state, out);
        self.heartbeat(state, out);
    }

    /// Thesis §6.4, steps 4 and 5: answers the reads that are confirmed and whose index is applied.
    pub(super) fn answer_reads(state: &mut State<Self>, out: &mut Outbox<Self>) {
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
