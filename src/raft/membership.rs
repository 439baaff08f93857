//! Changes of the members: by one voter at a time (thesis §4.2), by joint consensus (§6), and with
//! learners (thesis §4.2.1).
//!
//! A change is an entry, and counts from when it is in a node's log, committed or not (§6). So that
//! no two majorities are ever disjoint, there is one change at a time, and a leader makes none before
//! it has committed an entry of its own term: without that, a change of one leader and another of the
//! next, both begun from the same members, may have majorities that do not meet (Ongaro, *bug in
//! single-server membership changes*, raft-dev, 2015).

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Changes, Command, Event, Index, PENDING_MAX, Pace, Progress, Raft, Refusal, Role};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// Who takes part, and how.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Membership {
    /// Those whose votes and copies count.
    pub voters: NodeSet,
    /// Those of whom a majority is needed as well, while a change by joint consensus is half done;
    /// nobody at any other time.
    pub outgoing: NodeSet,
    /// Those who are sent everything and counted for nothing.
    pub learners: NodeSet,
}

/// The membership that a node uses, and the index of the entry that made it so; 0 for the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Current {
    /// Where in the log.
    pub index: Index,
    /// Who.
    pub membership: Membership,
}

/// What may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MemberChange {
    /// Let this node be sent everything.
    AddLearner(NodeId),
    /// Let this learner have a vote; with [`Changes::OneByOne`].
    Promote(NodeId),
    /// Let this node be no member any more. A voter, with [`Changes::OneByOne`].
    Remove(NodeId),
    /// Let these be the voters, in place of those that are; with [`Changes::Joint`].
    Replace(NodeSet),
}

impl Membership {
    /// These voters, and nobody else.
    pub fn of(voters: NodeSet) -> Self {
        Self {
            voters,
            ..Self::default()
        }
    }

    /// True if these are enough: a majority, or two while a change is half done.
    pub fn is_quorum(&self, nodes: NodeSet) -> bool {
        let majority = |of: NodeSet| of.majority() <= nodes.intersection(of).len();
        majority(self.voters) && (!self.is_joint() || majority(self.outgoing))
    }

    /// True while a change by joint consensus is half done.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True if this node's vote counts.
    pub fn has_voter(&self, node: NodeId) -> bool {
        self.voters.contains(node) || self.outgoing.contains(node)
    }

    /// Voters and learners.
    pub fn everyone(&self) -> NodeSet {
        self.voters.union(self.outgoing).union(self.learners)
    }
}

/// As in a sentence, for states and stories are read by people.
impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "members {}", self.voters)?;
        if self.is_joint() {
            write!(f, " and still {}", self.outgoing)?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners {}", self.learners)?;
        }
        Ok(())
    }
}

impl Raft {
    /// The members that the node begins with.
    pub(super) fn first_members(&self) -> Current {
        Current {
            index: Index::default(),
            membership: Membership::of(self.members),
        }
    }

    /// Looks up the membership in what is on disk.
    pub fn recall_members(&self, state: &mut State<Self>) {
        let log = &state.durable.log;
        let changed = log.members_at(log.last().index);
        let members = changed.or(state.durable.snapshot.members);
        state.volatile.members = members.unwrap_or_else(|| self.first_members());
    }

    /// §6: uses a membership from when its entry is in the log. A leader sends to whoever is new from
    /// now on, and to who is gone no longer.
    pub(super) fn adopt(&self, state: &mut State<Self>, index: Index, membership: Membership) {
        state.volatile.members = Current { index, membership };
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let mut others = membership.everyone();
        others.remove(self.me);
        leader.progress.retain(|node, _| others.contains(*node));
        for node in others {
            leader.progress.entry_or_insert_with(node, || Progress {
                matching: Index::default(),
                next: index,
                pace: Pace::Probing,
                in_flight: alloc::vec::Vec::new(),
                sending: None,
            });
        }
    }

    /// Someone asks for a change.
    pub(super) fn on_change(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        change: MemberChange,
        out: &mut Outbox<Self>,
    ) {
        let membership = match self.changed(state, change) {
            Ok(membership) => membership,
            Err(refusal) => return out.tell(Event::Refused { ticket, refusal }),
        };
        let index = state.durable.log.last().index.next();
        if let Role::Leader(leader) = &mut state.volatile.role {
            leader.waiting.insert(index, ticket);
        }
        self.propose(state, Command::Members(membership), out);
    }

    /// The membership after the change, if it may be made now.
    fn changed(&self, state: &State<Self>, change: MemberChange) -> Result<Membership, Refusal> {
        let Role::Leader(leader) = &state.volatile.role else {
            return Err(Refusal::NotLeader);
        };
        if self.changes == Changes::Never {
            return Err(Refusal::FixedMembers);
        }
        if leader.transfer.is_some() {
            return Err(Refusal::HandingOver);
        }
        if PENDING_MAX <= leader.waiting.len() {
            return Err(Refusal::Busy);
        }
        let Current { index, membership } = state.volatile.members;
        let commit = state.volatile.commit;
        // Thesis §4.1: one change at a time.
        if commit < index || membership.is_joint() {
            return Err(Refusal::ChangeUnderWay);
        }
        // And, since 2015: not before an entry of this term is committed.
        let committed = state.durable.log.position(commit);
        if committed.is_none_or(|position| position.term != state.durable.term) {
            return Err(Refusal::TermTooYoung);
        }
        // Thesis §4.2.1: a learner has what is committed before it is counted, or it would be waited for.
        let caught_up = |node: &NodeId| {
            let progress = leader.progress.get(node);
            progress.is_some_and(|progress| commit <= progress.matching)
        };
        self.after(membership, change, caught_up)
            .ok_or(Refusal::Unfit)
    }

    /// The membership after the change, if it makes sense.
    fn after(
        &self,
        before: Membership,
        change: MemberChange,
        caught_up: impl Fn(&NodeId) -> bool,
    ) -> Option<Membership> {
        let mut after = before;
        let single = self.changes == Changes::OneByOne;
        match change {
            MemberChange::AddLearner(node) => {
                let known = self.members.union(self.spares).contains(node);
                (known && !before.everyone().contains(node))
                    .then(|| after.learners.insert(node))?;
            }
            MemberChange::Promote(node) => {
                let ready = single && before.learners.contains(node) && caught_up(&node);
                ready.then(|| after.learners.remove(node))?;
                after.voters.insert(node);
            }
            MemberChange::Remove(node) if before.learners.contains(node) => {
                after.learners.remove(node);
            }
            MemberChange::Remove(node) => {
                let others = before.voters.len() > 1;
                (single && others && before.voters.contains(node))
                    .then(|| after.voters.remove(node))?;
            }
            MemberChange::Replace(voters) => {
                let joint = self.changes == Changes::Joint;
                let known = voters.is_subset(self.members.union(self.spares));
                let some = !voters.is_empty() && voters != before.voters;
                (joint && known && some).then_some(())?;
                after.voters = voters;
                after.outgoing = before.voters;
                after.learners = before.learners.difference(voters);
            }
        }
        Some(after)
    }

    /// What a leader does when a change is committed. §6: half of one is followed by the rest; and who
    /// is no member any more ceases to lead.
    pub(super) fn complete_change(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Current { index, membership } = state.volatile.members;
        let log = &state.durable.log;
        let (commit, last) = (state.volatile.commit, log.last().index);
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let committed = log.position(commit);
        let own = committed.is_some_and(|position| position.term == state.durable.term);
        if commit < index || !own {
            return;
        }
        if membership.is_joint() {
            if let Some(ticket) = leader.waiting.remove(&index) {
                leader.waiting.insert(last.next(), ticket);
            }
            let after = Membership {
                outgoing: NodeSet::EMPTY,
                ..membership
            };
            self.propose(state, Command::Members(after), out);
        } else if !membership.voters.contains(self.me) {
            self.become_follower(state, None, out);
        }
    }
}
