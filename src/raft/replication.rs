//! Replication (§5.3) and commitment (§5.3, §5.4.2).

use alloc::vec::Vec;

use super::{
    Command, Entry, Event, Flow, Index, Leader, Leadership, Message, Operation, PENDING_MAX, Pace,
    Position, Raft, Receiving, Refusal, Reply, Role, Session, Term, Timer,
};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// What an `AppendEntries` says besides its term.
pub(super) struct Sent {
    pub(super) previous: Position,
    pub(super) entries: Vec<Entry>,
    pub(super) commit: Index,
    pub(super) round: u64,
}

impl Raft {
    /// A client asks: §5.3, a leader appends the command to its log.
    pub(super) fn on_command(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        session: Session,
        operation: Operation,
        out: &mut Outbox<Self>,
    ) {
        let refusal = match &state.volatile.role {
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => {
                Some(Refusal::NotLeader)
            }
            // Thesis §3.10: who hands over takes no more.
            Role::Leader(leader) if leader.transfer.is_some() => Some(Refusal::HandingOver),
            Role::Leader(leader) => (PENDING_MAX <= leader.waiting.len()).then_some(Refusal::Busy),
        };
        if let Some(refusal) = refusal {
            return out.tell(Event::Refused { ticket, refusal });
        }
        let index = state.durable.log.last().index.next();
        if let Role::Leader(leader) = &mut state.volatile.role {
            leader.waiting.insert(index, ticket);
        }
        self.propose(state, Command::Apply { session, operation }, out);
    }

    /// §5.3: the leader appends an entry to its own log, and sends it to all. Whether this node leads,
    /// and may do this, is for the caller to know.
    pub fn propose(&self, state: &mut State<Self>, command: Command, out: &mut Outbox<Self>) {
        let term = state.durable.term;
        let index = state.durable.log.last().index.next();
        let members = match &command {
            Command::NoOp | Command::Apply { .. } => None,
            Command::Members(membership) => Some(*membership),
        };
        state.durable.log.push(Entry { term, command });
        if let Some(membership) = members {
            self.adopt(state, index, membership);
        }
        out.tell(Event::Proposed {
            position: Position { term, index },
        });
        // Alone, it is a majority.
        self.advance_commit(state, out);
        for node in self.others(state) {
            self.send_entries(state, node, out);
        }
    }

    /// Sends a follower what it is next to have, as much as may be under way to it.
    pub(super) fn send_entries(&self, state: &mut State<Self>, to: NodeId, out: &mut Outbox<Self>) {
        match self.flow {
            Flow::StopAndWait => {
                let batch = self.batch_entries_max;
                self.send_append(state, to, batch, out);
            }
            Flow::Pipelined { messages_max } => {
                while may_send(state, to, messages_max) {
                    let Some(sent) = self.send_append(state, to, self.batch_entries_max, out)
                    else {
                        return;
                    };
                    if let Role::Leader(leader) = &mut state.volatile.role
                        && let Some(progress) = leader.progress.get_mut(&to)
                    {
                        progress.next = sent.next();
                        progress.in_flight.push(sent);
                    }
                }
            }
        }
    }

    /// §5.2: heartbeats carry no entries.
    pub(super) fn heartbeat(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        for node in self.others(state) {
            self.send_append(state, node, 0, out);
        }
    }

    /// Sends one message, of at most so many entries, and gives the index of the last; or nothing, if
    /// a part of a snapshot was sent in its place.
    fn send_append(
        &self,
        state: &mut State<Self>,
        to: NodeId,
        limit: u32,
        out: &mut Outbox<Self>,
    ) -> Option<Index> {
        let Role::Leader(leader) = &state.volatile.role else {
            return None;
        };
        let progress = leader.progress.get(&to)?;
        let log = &state.durable.log;
        let before = Index(progress.next.0.saturating_sub(1));
        let previous = match log.position(before) {
            Some(previous) if progress.sending.is_none() => previous,
            Some(_) | None => {
                self.send_snapshot(state, to, out);
                return None;
            }
        };
        let entries = log.batch(before, limit, self.batch_bytes_max);
        let last = Index(before.0 + entries.len() as u64);
        let message = Message::AppendEntries {
            term: state.durable.term,
            previous,
            entries,
            commit: state.volatile.commit,
            round: leader.round,
        };
        out.send(to, message);
        Some(last)
    }

    /// The leader is to be heard; and what may have been lost is sent again (§5.3: indefinitely).
    ///
    /// Where entries are sent ahead, the heartbeat comes after the last of them, and who lacks them
    /// says so.
    pub(super) fn on_heartbeat(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &state.volatile.role else {
            return;
        };
        let last = state.durable.log.last().index;
        let behind = leader.progress.iter();
        let behind: Vec<NodeId> = behind
            .filter(|(_, progress)| progress.next <= last && progress.sending.is_none())
            .map(|(node, _)| *node)
            .collect();
        out.arm(Timer::Heartbeat);
        self.renew_lease(state, out);
        self.heartbeat(state, out);
        for node in behind {
            self.send_entries(state, node, out);
        }
        self.hand_over(state, out);
    }

    /// A follower hears a leader (Figure 2, `AppendEntries`).
    pub(super) fn on_append_entries(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        sent: Sent,
        out: &mut Outbox<Self>,
    ) {
        if self.is_stale(state, from, term, out) {
            return;
        }
        if !is_well_formed(term, &sent) {
            return; // No leader sends this.
        }
        self.observe(state, term, out);
        if let Role::Leader(_) = state.volatile.role {
            return; // Two leaders of one term: Election Safety says that this is forged.
        }
        // §5.2: a candidate that hears the leader of its term follows it.
        self.follow(state, from, out);
        let (previous, round) = (sent.previous, sent.round);
        let matching = Index(previous.index.0.saturating_add(sent.entries.len() as u64));
        let (previous, sent) = beyond(state.durable.log.base(), sent);
        if !is_well_formed(term, &sent) {
            return; // No leader sends this, either.
        }
        if !state.durable.log.contains(previous) {
            let conflict = Message::Conflict {
                term,
                at: previous.index,
                hint: Self::hint(state, previous.index),
                round,
            };
            return out.send(from, conflict);
        }
        if !self.append(state, previous.index, &sent.entries) {
            return;
        }
        // The last new entry: of what lies beyond it in this log, the leader said nothing.
        self.commit(state, sent.commit.min(matching), out);
        // This leaves the node when the disk has the entries, and no sooner: see `Sealed`.
        let appended = Message::Appended {
            term,
            matching,
            round,
        };
        out.send(from, appended);
    }

    /// §5.3: an entry that conflicts goes, with all that follow it; one that is there already stays,
    /// and so does what follows it, for the message may be old. False, and nothing is changed, if
    /// that would undo what is committed, which no leader asks for.
    fn append(&self, state: &mut State<Self>, previous: Index, entries: &[Entry]) -> bool {
        let mut index = previous;
        let mut new = entries.iter();
        for entry in entries {
            let next = index.next();
            match state.durable.log.get(next) {
                Some(present) if present.term == entry.term => {
                    new.next();
                    index = next;
                }
                Some(_) if next <= state.volatile.commit => return false,
                Some(_) => {
                    state.durable.log.truncate(index);
                    if index < state.volatile.members.index {
                        self.recall_members(state);
                    }
                    break;
                }
                None => break,
            }
        }
        for entry in new {
            state.durable.log.push(entry.clone());
            index = index.next();
            // §6: a server uses the latest configuration in its log, whether it is committed or not.
            match entry.command {
                Command::NoOp | Command::Apply { .. } => {}
                Command::Members(membership) => self.adopt(state, index, membership),
            }
        }
        true
    }

    /// §5.3, the optimisation: where the follower's log might match. It skips all of the conflicting term
    /// at once. Some entries of that may be the leader's, too, and are then sent again.
    fn hint(state: &State<Self>, at: Index) -> Position {
        let log = &state.durable.log;
        let last = log.last();
        if last.index < at {
            return last;
        }
        let Some(conflicting) = log.position(at) else {
            return last;
        };
        let first = log.first_of(conflicting.term).unwrap_or(at);
        log.position(Index(first.0.saturating_sub(1)))
            .unwrap_or_default()
    }

    /// A follower has what it was sent.
    pub(super) fn on_appended(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        matching: Index,
        round: u64,
        out: &mut Outbox<Self>,
    ) {
        let last = state.durable.log.last().index;
        if term != state.durable.term || last < matching {
            return; // Of another term; or forged.
        }
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let Some(progress) = leader.progress.get(&from) else {
            return;
        };
        // An old answer may come late, and tells nothing then.
        let news = progress.matching < matching;
        if news {
            leader.has_snapshot(from, matching);
            self.advance(leader, from, matching);
        }
        self.hear(state, from, round);
        self.advance_commit(state, out);
        self.answer_reads(state, out);
        if news && matching < last {
            self.send_entries(state, from, out);
        }
        if news {
            self.hand_over(state, out);
        }
    }

    /// The follower has all up to here, and what is sent to it next comes after that.
    fn advance(&self, leader: &mut Leader, follower: NodeId, matching: Index) {
        let Some(progress) = leader.progress.get_mut(&follower) else {
            return;
        };
        progress.matching = matching;
        match self.flow {
            Flow::StopAndWait => progress.next = matching.next(),
            Flow::Pipelined { .. } => {
                progress.next = progress.next.max(matching.next());
                progress.pace = Pace::Streaming;
                progress.in_flight.retain(|last| matching < *last);
            }
        }
    }

    /// A follower lacks the previous entry: §5.3, the leader goes back.
    pub(super) fn on_conflict(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        (at, hint): (Index, Position),
        round: u64,
        out: &mut Outbox<Self>,
    ) {
        if term != state.durable.term {
            return;
        }
        let back = Self::back_off(state, hint);
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let Some(progress) = leader.progress.get_mut(&from) else {
            return;
        };
        let current = match self.flow {
            Flow::StopAndWait => progress.next == at.next() && progress.matching < at,
            // Any of those that are under way: all after it are lost, too.
            Flow::Pipelined { .. } => progress.matching < at && at < progress.next,
        };
        if current {
            // Never below what is known to match, and always back by one at least.
            let below = Index(at.0.saturating_sub(1));
            progress.next = back.min(below).max(progress.matching).next();
            progress.pace = Pace::Probing;
            progress.in_flight.clear();
        }
        self.hear(state, from, round);
        self.answer_reads(state, out);
        if current {
            self.send_entries(state, from, out);
        }
    }

    /// The last index at which the leader's log could match one that has `hint` there.
    fn back_off(state: &State<Self>, hint: Position) -> Index {
        let log = &state.durable.log;
        let mut index = hint.index.min(log.last().index);
        while (log.position(index)).is_some_and(|here| hint.term < here.term) {
            index = Index(index.0.saturating_sub(1));
        }
        index
    }

    /// The leader heard a member in its own term: it is its leader still.
    pub(super) fn hear(&self, state: &mut State<Self>, from: NodeId, round: u64) {
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        match self.leadership {
            Leadership::UntilDeposed => {}
            Leadership::CheckQuorum => {
                leader.heard.insert(from);
            }
        }
        self.confirm(leader, from, round);
    }

    /// §5.3: what a majority has is committed; §5.4.2: but a leader counts for entries of its own
    /// term only. Those before them are committed with them.
    pub(super) fn advance_commit(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Role::Leader(leader) = &state.volatile.role else {
            return;
        };
        let log = &state.durable.log;
        let members = &state.volatile.members.membership;
        let has = |index: Index| {
            let have = leader.progress.iter();
            let have = have.filter(|(_, progress)| index <= progress.matching);
            let mut have: NodeSet = have.map(|(node, _)| *node).collect();
            have.insert(self.me);
            members.is_quorum(have)
        };
        // The last index that a majority has is the last that one of its members has.
        let ends = leader.progress.values().map(|progress| progress.matching);
        let mut ends: Vec<Index> = ends.chain([log.last().index]).collect();
        ends.sort_unstable();
        let Some(index) = ends.into_iter().rev().find(|index| has(*index)) else {
            return;
        };
        let Some(position) = log.position(index) else {
            return;
        };
        if state.volatile.commit < index && position.term == state.durable.term {
            let term = state.durable.term;
            out.tell(Event::Decided { term, position });
            self.commit(state, index, out);
        }
    }

    /// §5.3: what is committed is applied, in the order of the log, and its client has its reply.
    /// Whether it is committed is for the caller to know.
    pub fn commit(&self, state: &mut State<Self>, until: Index, out: &mut Outbox<Self>) {
        while state.volatile.commit < until {
            let index = state.volatile.commit.next();
            let Some(entry) = state.durable.log.get(index).cloned() else {
                return; // Forged: the caller has checked that it is there.
            };
            state.volatile.commit = index;
            let reply = match &entry.command {
                Command::NoOp | Command::Apply { .. } => state.volatile.store.apply(&entry.command),
                // The call returns when the change is over, not when it is half done.
                Command::Members(membership) if membership.is_joint() => None,
                Command::Members(_) => Some(Reply::Done),
            };
            let term = state.durable.term;
            out.tell(Event::Committed { term, index, entry });
            if let Some(reply) = reply
                && let Role::Leader(leader) = &mut state.volatile.role
                && let Some(ticket) = leader.waiting.remove(&index)
            {
                out.tell(Event::Replied { ticket, reply });
            }
        }
        let old = |receiving: &Receiving| receiving.snapshot.position.index <= until;
        if state.volatile.receiving.as_ref().is_some_and(old) {
            state.volatile.receiving = None;
        }
        self.compact(state);
        self.complete_change(state, out);
    }
}

/// True if one more message with entries may be under way to this follower, and there are some.
fn may_send(state: &State<Raft>, to: NodeId, messages_max: u32) -> bool {
    let Role::Leader(leader) = &state.volatile.role else {
        return false;
    };
    leader.progress.get(&to).is_some_and(|progress| {
        let most = match progress.pace {
            Pace::Probing => 1,
            Pace::Streaming => messages_max as usize,
        };
        progress.sending.is_none()
            && progress.next <= state.durable.log.last().index
            && progress.in_flight.len() < most
    })
}

/// What a message says beyond what is compacted: that much is committed here, so that no leader has
/// anything else.
fn beyond(base: Position, mut sent: Sent) -> (Position, Sent) {
    let compacted = base.index.0.saturating_sub(sent.previous.index.0);
    if compacted > 0 {
        let compacted = usize::try_from(compacted).unwrap_or(usize::MAX);
        sent.entries.drain(..compacted.min(sent.entries.len()));
        sent.previous = base;
    }
    (sent.previous, sent)
}

/// True if an honest leader could have sent it: no term in it is later than its own, and terms never
/// fall along a log.
fn is_well_formed(term: Term, sent: &Sent) -> bool {
    let mut before = sent.previous.term;
    let rises = sent.entries.iter().all(|entry| {
        let rises = before <= entry.term;
        before = entry.term;
        rises
    });
    rises && before <= term
}
