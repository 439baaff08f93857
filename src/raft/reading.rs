//! Reads without log entries (thesis §6.4): `ReadIndex`, and leases (thesis §6.4.1).
//!
//! Both rest on *rounds* of heartbeats. A round that a majority answered shows that the leader still was
//! one when it began: whatever was read meanwhile is what the last write left. And where there are
//! leases, each of that majority has promised by its answer to vote for nobody until its election alarm
//! rings. So the leader knows, of the time since it *began* the round, for how long none but it can lead.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::{Event, Index, Leader, PENDING_MAX, Raft, Reads, Refusal, Reply, Role, Timer};
use crate::data::NodeSet;
use crate::machine::{Outbox, State};

/// A read under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Read {
    /// The caller's name for it.
    pub ticket: u64,
    /// The key.
    pub key: String,
    /// What has to be applied before it is answered.
    pub index: Index,
    /// The round that it waits for: the one under way, or if that began before it, the next.
    pub round: u64,
    /// True once a majority answered that.
    pub confirmed: bool,
}

/// By what a leader reads without asking anyone (thesis §6.4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The round that may yet bring one: it is under way, and its alarm has not rung.
    pub hoped: Option<u64>,
    /// The round that brought the one it has.
    pub held: Option<u64>,
    /// True once it told an heir to stand, who needs no promise to be over. It may yet lead on, and the
    /// heir may yet hear of it: so in this term it has no lease any more.
    pub forgone: bool,
}

impl Lease {
    /// True if it is one that a leader in this round can have.
    pub(super) fn holds(&self, round: u64) -> bool {
        let none = self.hoped.is_none() && self.held.is_none();
        let known = self.hoped.max(self.held) <= Some(round);
        none || (known && !self.forgone && self.hoped != self.held)
    }

    /// It has none from now on, and hopes for none.
    pub(super) fn end(&mut self, out: &mut Outbox<Raft>) {
        for round in self.hoped.iter().chain(&self.held) {
            out.disarm(Timer::Lease(*round));
        }
        self.hoped = None;
        if let Some(round) = self.held.take() {
            out.tell(Event::LeaseEnded { round });
        }
    }

    /// A majority answered this round.
    fn begin(&mut self, round: u64, out: &mut Outbox<Raft>) {
        if self.hoped.take_if(|hoped| *hoped == round).is_none() {
            return;
        }
        if let Some(before) = self.held.replace(round) {
            out.disarm(Timer::Lease(before));
        }
        out.tell(Event::Leased { round });
    }
}

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
        let index = commit.max(own);
        // Thesis §6.4.1: nobody else can have committed anything since.
        let leased = leader.lease.held.is_some();
        // Steps 2 and 3: a round of heartbeats that begins after the read. One that is under way for
        // another read goes on first, or with enough reads none would ever end.
        let under_way = (leader.reads.iter()).any(|read| !read.confirmed);
        leader.reads.push(Read {
            ticket,
            key,
            index,
            round: leader.round.saturating_add(1),
            confirmed: leased,
        });
        if leased || under_way {
            return self.answer_reads(state, out);
        }
        self.begin_round(state, out);
        self.answer_reads(state, out);
        self.heartbeat(state, out);
    }

    /// Begins a round. The leader counts the time of a lease from here, before anyone hears of it.
    fn begin_round(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        leader.round = leader.round.saturating_add(1);
        leader.confirmed = NodeSet::from_iter([self.me]);
        if !self.reads.by_lease() || leader.lease.forgone {
            return;
        }
        if let Some(before) = leader.lease.hoped.replace(leader.round) {
            out.disarm(Timer::Lease(before));
        }
        out.arm(Timer::Lease(leader.round));
    }

    /// Where there are leases, a heartbeat begins a round, unless one is under way that may bring one, or
    /// for which a read waits.
    pub(super) fn renew_lease(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &state.volatile.role else {
            return;
        };
        let free = !leader.lease.forgone && !is_awaited(leader);
        if self.reads.by_lease() && free {
            self.begin_round(state, out);
        }
        self.answer_reads(state, out);
    }

    /// The alarm of a round rings: what it brought is over.
    pub(super) fn on_lease_over(state: &mut State<Self>, round: u64, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let lease = &mut leader.lease;
        lease.hoped.take_if(|hoped| *hoped == round);
        if lease.held.take_if(|held| *held == round).is_some() {
            out.tell(Event::LeaseEnded { round });
        }
    }

    /// Takes note of who answered a round, if it still matters.
    pub(super) fn confirm(&self, leader: &mut Leader, from: crate::machine::NodeId, round: u64) {
        match self.reads {
            Reads::Log => {}
            Reads::ReadIndex | Reads::Lease { .. } => {
                if round == leader.round && is_awaited(leader) {
                    leader.confirmed.insert(from);
                }
            }
        }
    }

    /// Thesis §6.4, steps 4 and 5: answers the reads that are confirmed and whose index is applied.
    pub(super) fn answer_reads(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let commit = state.volatile.commit;
        let store = &state.volatile.store;
        let members = &state.volatile.members.membership;
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        if !is_awaited(leader) && leader.reads.is_empty() {
            return;
        }
        let round = leader.round;
        if members.is_quorum(leader.confirmed) {
            leader.lease.begin(round, out);
            for read in &mut leader.reads {
                read.confirmed |= read.round <= round;
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
        // Those that came while the last round was under way wait for the next, all together.
        let mut waiting = leader.reads.iter().filter(|read| !read.confirmed);
        if waiting.clone().next().is_some() && waiting.all(|read| round < read.round) {
            self.begin_round(state, out);
            self.heartbeat(state, out);
            self.answer_reads(state, out);
        }
    }
}

/// True if an answer to the last round matters: a read waits for it, or the hope of a lease.
fn is_awaited(leader: &Leader) -> bool {
    let waits = |read: &Read| read.round == leader.round && !read.confirmed;
    leader.lease.hoped == Some(leader.round) || leader.reads.iter().any(waits)
}
