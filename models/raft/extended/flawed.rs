//! Raft with one thing wrong in what it has beyond its core.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::raft::{
    Call, Command, Current, Durable, Entry, Event, Index, MemberChange, Membership, Message, Raft,
    Role, Store, Timer, Volatile,
};

use crate::flaw::{boot, delegate};

/// A member, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extended {
    /// The right machine, which does all the rest.
    pub(super) right: Raft,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// What is sent ahead is taken for what has arrived.
    SupposesArrival,
    /// What is lost counts as under way for ever.
    WindowStaysShut,
    /// A snapshot has no sessions.
    SnapshotForgetsSessions,
    /// A part of one snapshot is added to a part of another: by a leader that goes on with its latest,
    /// and followers that do not look.
    MixesSnapshots,
    /// A snapshot is installed that is older than what is committed.
    InstallsOlder,
    /// What follows in the log stays, though it is of another history than the snapshot.
    KeepsTheTail,
    /// A node that restarts does not read its snapshot.
    RestartsEmpty,
    /// The heir of a leadership leads without an election.
    HeirIsCrowned,
    /// A leader tells its heir once, and waits without end.
    WaitsForTheHeir,
    /// A leader changes the members before it has committed anything in its term.
    ChangesTooEarly,
    /// A change counts once it is known to be committed. Its entry is sent with the next heartbeat.
    CountsFromCommit,
    /// A change is begun before the one before is committed.
    ChangesAtOnce,
    /// A leader that is no member any more counts itself.
    RemovedLeaderCounts,
    /// A learner's copy counts.
    LearnerCounts,
    /// A majority of the new members is enough while a change is half done.
    NewMajorityAlone,
}

impl Machine for Extended {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::RestartsEmpty {
            volatile.store = Store::default();
        }
        if self.flaw == Flaw::CountsFromCommit {
            volatile.members = self.committed(durable, volatile.commit);
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        if let Call::Members { change, .. } = &call
            && matches!(state.volatile.role, Role::Leader(_))
            && self.allows(state)
        {
            let members = self.last_members(&state.durable).membership;
            return self.change(state, changed(members, *change), out);
        }
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let before = state.clone();
        let counted = self.count_in(state, &message);
        if self.mistake(state, from, &message, out) {
            return;
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        if Some(state.volatile.members) == counted {
            state.volatile.members = before.volatile.members;
        }
        let (kept, base) = (&before.durable.log, state.durable.log.base());
        if self.flaw == Flaw::KeepsTheTail && kept.base() < base && !kept.contains(base) {
            for entry in kept.after(base.index, u32::MAX) {
                state.durable.log.push(entry);
            }
        }
        // A part alone changes nothing yet.
        let installed = state.durable.snapshot != before.durable.snapshot;
        if self.flaw == Flaw::InstallsOlder && state.volatile.commit < before.volatile.commit {
            if !installed {
                state.durable = before.durable;
                state.volatile.commit = before.volatile.commit;
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        if self.flaw == Flaw::WaitsForTheHeir && timer == Timer::Transfer {
            return;
        }
        let hands_over = match &state.volatile.role {
            Role::Leader(leader) => leader.transfer,
            _ => None,
        };
        let mut said = Outbox::default();
        self.act(state, &mut said, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        for output in said.drain() {
            let told = Output::Send {
                to: hands_over.map_or(NodeId(u64::MAX), |transfer| transfer.to),
                message: Message::TimeoutNow {
                    term: state.durable.term,
                },
            };
            if self.flaw != Flaw::WaitsForTheHeir || output != told {
                out.push(output);
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

/// The membership after the change, whether that may be made or not.
fn changed(before: Membership, change: MemberChange) -> Membership {
    let mut after = before;
    match change {
        MemberChange::AddLearner(node) => {
            after.learners.insert(node);
        }
        MemberChange::Promote(node) => {
            after.learners.remove(node);
            after.voters.insert(node);
        }
        MemberChange::Remove(node) => {
            after.voters.remove(node);
        }
        MemberChange::Replace(voters) => after.voters = voters,
    }
    after
}

impl Extended {
    /// Lets the right machine act, and spoils what came of it.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Raft, &mut State<Raft>, &mut Outbox<Raft>),
    ) {
        let outputs = delegate(state, |state, out| {
            act(&self.right, state, out);
            self.pretend(state, out);
        });
        for output in outputs {
            out.push(output);
        }
        match self.flaw {
            Flaw::SnapshotForgetsSessions => {
                state.durable.snapshot.store.sessions.retain(|_, _| false);
            }
            Flaw::MixesSnapshots => {
                if let Role::Leader(leader) = &mut state.volatile.role {
                    let followers: Vec<NodeId> = leader.progress.keys().copied().collect();
                    for follower in followers {
                        if let Some(progress) = leader.progress.get_mut(&follower)
                            && let Some(sending) = &mut progress.sending
                        {
                            sending.snapshot = state.durable.snapshot.clone();
                        }
                    }
                }
            }
            Flaw::CountsFromCommit => {
                state.volatile.members = self.committed(&state.durable, state.volatile.commit);
            }
            Flaw::NewMajorityAlone => {
                state.volatile.members.membership.outgoing = NodeSet::EMPTY;
            }
            Flaw::SupposesArrival => {
                if let Role::Leader(leader) = &mut state.volatile.role {
                    let followers: Vec<NodeId> = leader.progress.keys().copied().collect();
                    for follower in followers {
                        if let Some(progress) = leader.progress.get_mut(&follower)
                            && let Some(sent) = progress.in_flight.last()
                        {
                            progress.matching = progress.matching.max(*sent);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// A leader that is no member any more, and takes itself for one: the others that it needs are one
    /// fewer.
    fn pretend(&self, state: &mut State<Raft>, out: &mut Outbox<Raft>) {
        let Role::Leader(leader) = &state.volatile.role else {
            return;
        };
        let voters = state.volatile.members.membership.voters;
        if self.flaw != Flaw::RemovedLeaderCounts || voters.contains(self.right.me) {
            return;
        }
        let last = state.durable.log.last().index;
        let have = leader.progress.values();
        let have = have.filter(|progress| last <= progress.matching).count() + 1;
        if voters.majority() <= have && state.volatile.commit < last {
            self.right.commit(state, last, out);
        }
    }

    /// The members by the last change up to an index, such as that which is known to be committed.
    fn committed(&self, durable: &Durable, commit: Index) -> Current {
        let changed = durable.log.members_at(commit).or(durable.snapshot.members);
        changed.unwrap_or(Current {
            index: Index(0),
            membership: Membership::of(self.right.members),
        })
    }

    /// True if a change is begun though it should not be, or counts later than it should.
    fn allows(&self, state: &State<Self>) -> bool {
        let commit = state.volatile.commit;
        let position = state.durable.log.position(commit);
        let young = position.is_none_or(|position| position.term != state.durable.term);
        let pending = commit < self.last_members(&state.durable).index;
        match self.flaw {
            Flaw::ChangesTooEarly => !pending,
            Flaw::ChangesAtOnce => !young,
            Flaw::CountsFromCommit => !young && !pending,
            _ => false,
        }
    }

    /// Begins a change: of which the leader itself takes note later, if that is the flaw.
    fn change(&self, state: &mut State<Self>, after: Membership, out: &mut Outbox<Self>) {
        let command = Command::Members(after);
        if self.flaw == Flaw::CountsFromCommit {
            let term = state.durable.term;
            state.durable.log.push(Entry { term, command });
            let position = state.durable.log.last();
            return out.tell(Event::Proposed { position });
        }
        self.act(state, out, |right, state, out| {
            right.propose(state, command, out);
        });
    }

    /// The members by the last change in the log.
    fn last_members(&self, durable: &Durable) -> Current {
        self.committed(durable, durable.log.last().index)
    }

    /// Counts learners as voters while an answer is counted. Gives the members that are pretended.
    fn count_in(&self, state: &mut State<Self>, message: &Message) -> Option<Current> {
        if self.flaw != Flaw::LearnerCounts || !matches!(message, Message::Appended { .. }) {
            return None;
        }
        let members = &mut state.volatile.members.membership;
        members.voters = members.voters.union(members.learners);
        Some(state.volatile.members)
    }

    /// Handles a message wrongly. True if that is all that is done about it.
    fn mistake(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: &Message,
        out: &mut Outbox<Self>,
    ) -> bool {
        match (self.flaw, message) {
            (Flaw::WindowStaysShut, Message::Conflict { hint, .. }) => {
                if let Role::Leader(leader) = &mut state.volatile.role
                    && let Some(progress) = leader.progress.get_mut(&from)
                {
                    progress.next = hint.index.max(progress.matching).next();
                }
                true
            }
            (
                Flaw::MixesSnapshots,
                Message::InstallSnapshot {
                    position, offset, ..
                },
            ) => {
                if let Some(receiving) = &mut state.volatile.receiving
                    && receiving.offset == *offset
                {
                    receiving.snapshot.position = *position;
                }
                false
            }
            (Flaw::InstallsOlder, Message::InstallSnapshot { position, .. }) => {
                let follows = matches!(state.volatile.role, Role::Follower { .. });
                if follows && *position < state.durable.snapshot.position {
                    state.durable.log.truncate(Index(0));
                    state.volatile.commit = Index(0);
                }
                false
            }
            (Flaw::HeirIsCrowned, Message::TimeoutNow { term }) => {
                let term = *term;
                self.act(state, out, |right, state, out| {
                    right.on_message(state, from, Message::TimeoutNow { term }, out);
                    for other in right.members {
                        let term = state.durable.term;
                        right.on_message(state, other, Message::Vote { term }, out);
                    }
                });
                true
            }
            _ => false,
        }
    }
}
