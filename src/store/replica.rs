//! What every member does for the leader of its term, and for no other.

use alloc::string::String;

use super::record::too_long;
use super::{Durable, Message, Record, Role, Store, Term};
use crate::machine::{NodeId, Outbox, State};

impl Durable {
    /// Takes `record` unless it has one at least as new: an old message may arrive late, or twice.
    pub(super) fn keep(&mut self, key: String, record: Record) {
        if self.records.get(&key) < Some(&record) {
            self.records.insert(key, record);
        }
    }
}

impl Store {
    /// A member says what it has of a key. The majority that elected the leader hears no older term, so
    /// what no report has cannot be decided any more; and that a member still answers for this term
    /// confirms that it has promised no later one.
    pub(super) fn on_inquire(
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        number: u64,
        key: String,
        out: &mut Outbox<Self>,
    ) {
        if !Self::admits(state, term, out) || leads(state) {
            return;
        }
        if too_long(&key, "") {
            return; // No leader of ours says this, and no answer could carry it.
        }
        let record = state.durable.records.get(&key).cloned();
        let report = Message::Report {
            term,
            number,
            key,
            record,
        };
        out.send(from, report);
    }

    /// The first phase: a member puts the record on its disk, and says so.
    pub(super) fn on_prepare(
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        key: String,
        record: Record,
        out: &mut Outbox<Self>,
    ) {
        let term = record.term;
        if !Self::admits(state, term, out) || leads(state) {
            return;
        }
        if too_long(&key, &record.value) {
            return; // No leader of ours says this, and no report could carry it.
        }
        state.durable.keep(key.clone(), record);
        // This leaves the node when the disk has the record, and no sooner: see `Sealed`.
        out.send(from, Message::Prepared { term, number, key });
    }

    /// The second phase: the record was decided. A member that missed the first phase takes it now.
    pub(super) fn on_commit(
        state: &mut State<Self>,
        key: String,
        record: Record,
        out: &mut Outbox<Self>,
    ) {
        if !Self::admits(state, record.term, out) || leads(state) {
            return;
        }
        if too_long(&key, &record.value) {
            return; // No leader of ours says this, and no report could carry it.
        }
        state.durable.keep(key, record);
    }
}

/// True of the leader of the term: nobody else can be, so what another says as one is forged.
fn leads(state: &State<Store>) -> bool {
    match state.volatile.role {
        Role::Leader(_) => true,
        Role::Follower { .. } | Role::Candidate { .. } => false,
    }
}
