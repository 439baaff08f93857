//! Operations: a node that was asked asks others first, then lets them store.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::store::too_long;
use super::{
    Cap, Effect, Epoch, Event, Goal, Level, Message, Operation, Pending, Phase, Refusal, Setting,
    Timer, Version, Volatile,
};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// Whether a node leads in the epoch that it has joined.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Reign {
    /// The epoch is another's, or from before a crash.
    #[default]
    Follows,
    /// The epoch is its own, and it does not know of a majority that has joined.
    Claims,
    /// A majority has joined.
    Leads,
}

impl Cap {
    /// Begins an operation, for the first time or anew. Afterwards it waits, unless it is over.
    pub(super) fn begin(&self, state: &mut State<Self>, pending: Pending, out: &mut Outbox<Self>) {
        let own = state.durable.version(&pending.key);
        let leads = state.volatile.reign == Reign::Leads;
        if !leads {
            self.claim(state);
        }
        let epoch = state.durable.epoch;
        // Whatever was written before, a new tag is later. And what a leader wrote in its epoch nobody
        // has overwritten, if it still leads: that is what it asks by having the same stored again.
        let need_not_ask = pending.goal != Goal::Get || own.tag.epoch == epoch;
        let number = state.volatile.next;
        state.volatile.next += 1;
        (state.volatile.pending).insert(number, Pending { epoch, ..pending });
        if leads && need_not_ask {
            self.end_ask(state, number, out);
        } else {
            // A member's own copy is the first answer; no message is needed for it.
            self.on_answer(state, self.me, number, own, out);
            if is_asking(&state.volatile, number) {
                self.send(state, number, out);
            }
        }
        if state.volatile.pending.contains_key(&number) {
            out.arm(Timer::Retry(number));
            out.arm(Timer::GiveUp(number));
        }
    }

    /// Whoever is asked and does not lead claims an epoch of its own.
    fn claim(&self, state: &mut State<Self>) {
        if self.claims_max() == 0 || state.volatile.reign != Reign::Follows {
            return; // There are no leaders, or it claims already.
        }
        let Some(number) = state.durable.epoch.number.checked_add(1) else {
            return; // A forged epoch is the last one: nobody leads any more, as members do not lie.
        };
        // On the disk before anyone hears of it: after a crash it will claim a later one.
        state.durable.epoch = Epoch {
            number,
            leader: Some(self.me),
        };
        state.volatile.reign = Reign::Claims;
    }

    /// True if a message of this epoch from this node can be.
    fn admits(&self, from: NodeId, epoch: Epoch) -> bool {
        match self.setting {
            Setting::Leader { .. } => epoch.leader == Some(from),
            Setting::Leaderless { .. } => epoch == Epoch::default(),
        }
    }

    /// From now on this node helps no earlier leader. False if it has joined a later epoch.
    fn join(state: &mut State<Self>, epoch: Epoch) -> bool {
        if state.durable.epoch < epoch {
            state.durable.epoch = epoch;
            state.volatile.reign = Reign::Follows;
        }
        state.durable.epoch == epoch
    }

    /// A member is asked what it has, and to join.
    pub(super) fn on_ask(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        epoch: Epoch,
        key: &str,
        out: &mut Outbox<Self>,
    ) {
        if !self.admits(from, epoch) {
            return; // No member of ours says this.
        }
        let answer = if Self::join(state, epoch) {
            let version = state.durable.version(key);
            Message::Answer { operation, version }
        } else {
            let epoch = state.durable.epoch;
            Message::Behind { operation, epoch }
        };
        out.send(from, answer);
    }

    /// A member is told to store.
    pub(super) fn on_store(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        version: &Version,
        out: &mut Outbox<Self>,
    ) {
        if !self.admits(from, version.tag.epoch) {
            return; // No member of ours says this.
        }
        if too_long(key, version.value.as_deref().unwrap_or_default()) {
            return; // Nor this, and no answer could carry it.
        }
        let answer = if Self::join(state, version.tag.epoch) {
            // Only if it is later: an old message may arrive late, or twice.
            state.durable.keep(key, version);
            // This leaves the node when the disk has the version, and no sooner: see `Sealed`.
            Message::Stored { operation }
        } else {
            let epoch = state.durable.epoch;
            Message::Behind { operation, epoch }
        };
        out.send(from, answer);
    }

    /// A member, which has joined, says what it has.
    pub(super) fn on_answer(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        version: Version,
        out: &mut Outbox<Self>,
    ) {
        let State { durable, volatile } = state;
        let Some(pending) = volatile.pending.get_mut(&number) else {
            return; // The operation is over.
        };
        if pending.epoch != durable.epoch || durable.epoch < version.tag.epoch {
            return; // Another leads by now; and no honest member has anything of a later epoch.
        }
        let Phase::Ask { answered, holders } = &mut pending.phase else {
            return; // Enough had answered; this is late.
        };
        if !answered.insert(from) {
            return; // Counted already: a repeated message.
        }
        durable.meet(version.tag);
        if pending.version.tag < version.tag {
            *holders = NodeSet::EMPTY;
            pending.version = version;
            holders.insert(from);
        } else if pending.version.tag == version.tag {
            holders.insert(from);
        }
        let (answered, level) = (*answered, self.level(&pending.goal));
        if self.suffices(level, answered) {
            if volatile.reign == Reign::Claims {
                volatile.reign = Reign::Leads;
                let epoch = durable.epoch;
                out.tell(Event::Elected { epoch });
            }
            self.end_ask(state, number, out);
        }
    }

    /// Enough have answered: now they are to store.
    fn end_ask(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let State { durable, volatile } = state;
        let Some(pending) = volatile.pending.get_mut(&number) else {
            return;
        };
        let mut holders = match pending.phase {
            Phase::Ask { holders, .. } => holders,
            Phase::Store { .. } => return,
        };
        // It may have been told of a later one while it asked, or made one.
        let own = durable.version(&pending.key);
        if pending.version.tag < own.tag {
            pending.version = own;
            holders = NodeSet::from_iter([self.me]);
        }
        let tag = pending.version.tag;
        let mut stored = match (&pending.goal, self.setting) {
            // What nobody wrote, everybody has.
            (Goal::Get, _) if tag.stamp.is_none() => self.members,
            // Those who answered with it have it on disk.
            (Goal::Get, Setting::Leaderless { .. }) => holders,
            // Its own of this epoch: stored again, to learn whether it still leads.
            (Goal::Get, Setting::Leader { .. }) if tag.epoch == durable.epoch => NodeSet::EMPTY,
            // An earlier leader's, of which nobody knows whether all of it was done: it becomes this
            // leader's, so that nothing the other left under way is later.
            (Goal::Get, Setting::Leader { .. }) => {
                pending.version = durable.mint(self.me, pending.version.value.clone());
                NodeSet::EMPTY
            }
            (Goal::Put(value), _) => {
                pending.version = durable.mint(self.me, value.clone());
                NodeSet::EMPTY
            }
        };
        if !self.suffices(self.level(&pending.goal), stored) {
            // Kept here before it is told to anyone; this is the first acknowledgement.
            durable.keep(&pending.key, &pending.version);
            stored.insert(self.me);
        }
        pending.phase = Phase::Store { stored };
        if !self.end_store(state, number, out) {
            self.send(state, number, out);
        }
    }

    /// A member says that its disk has the version, or a later one.
    pub(super) fn on_stored(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        out: &mut Outbox<Self>,
    ) {
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation is over.
        };
        let Phase::Store { stored } = &mut pending.phase else {
            return; // Nothing was to be stored yet: no honest member says this.
        };
        // Even if another leads by now: this member had not heard of it when it stored.
        stored.insert(from);
        self.end_store(state, number, out);
    }

    /// Enough have stored: the call returns. True if it does.
    fn end_store(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) -> bool {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return false;
        };
        let Phase::Store { stored } = pending.phase else {
            return false;
        };
        if !self.suffices(self.level(&pending.goal), stored) {
            return false;
        }
        let (ticket, tag) = (pending.ticket, pending.version.tag);
        out.tell(match &pending.goal {
            Goal::Put(_) => Event::Done { ticket, tag },
            Goal::Get => Event::Got {
                ticket,
                tag,
                value: pending.version.value.clone(),
            },
        });
        Self::end(state, number, out);
        true
    }

    /// A member has joined a later epoch.
    pub(super) fn on_behind(
        &self,
        state: &mut State<Self>,
        number: u64,
        epoch: Epoch,
        out: &mut Outbox<Self>,
    ) {
        if self.claims_max() == 0 || !state.volatile.pending.contains_key(&number) {
            return; // There are no leaders; or the operation is over.
        }
        Self::join(state, epoch);
        self.retry(state, number, out);
    }

    /// Goes on with an operation that gets nowhere. True if it is the same operation still.
    pub(super) fn retry(
        &self,
        state: &mut State<Self>,
        number: u64,
        out: &mut Outbox<Self>,
    ) -> bool {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return false;
        };
        let has_effect = pending.effect() == Effect::Unknown;
        if has_effect || pending.epoch == state.durable.epoch {
            // What was sent to be stored may be stored yet, and then overwritten: it is not sent under
            // a later tag, lest it take effect twice.
            return true;
        }
        let pending = pending.clone();
        Self::end(state, number, out);
        match pending.claims_left.checked_sub(1) {
            None => {
                let (ticket, effect) = (pending.ticket, Effect::None);
                let refusal = Refusal::Deposed;
                out.tell(Event::Refused {
                    ticket,
                    refusal,
                    effect,
                });
            }
            // An operation of its own, so that answers to the earlier one do not count.
            Some(claims_left) => {
                let Pending {
                    ticket, key, goal, ..
                } = pending;
                self.begin(state, Pending::new(ticket, key, goal, claims_left), out);
            }
        }
        false
    }

    /// The node has waited long enough: it cannot reach as many as it must.
    pub(super) fn give_up(state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        out.tell(Event::Refused {
            ticket: pending.ticket,
            refusal: Refusal::Unavailable,
            effect: pending.effect(),
        });
        Self::end(state, number, out);
    }

    fn end(state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        state.volatile.pending.remove(&number);
        out.disarm(Timer::Retry(number));
        out.disarm(Timer::GiveUp(number));
    }

    /// Puts the question of the present phase to everyone who has not answered it, the first time
    /// and again.
    pub(super) fn send(&self, state: &State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let key = pending.key.clone();
        let (done, question) = match pending.phase {
            Phase::Ask { answered, .. } => {
                let epoch = pending.epoch;
                (
                    answered,
                    Message::Ask {
                        operation,
                        epoch,
                        key,
                    },
                )
            }
            Phase::Store { stored } => {
                let version = pending.version.clone();
                (
                    stored,
                    Message::Store {
                        operation,
                        key,
                        version,
                    },
                )
            }
        };
        out.broadcast(self.peers().difference(done), &question);
    }

    /// Of how many nodes each phase of such an operation must hear.
    fn level(&self, goal: &Goal) -> Level {
        match (self.setting, goal) {
            (Setting::Leader { .. }, _) => Level::Quorum,
            (Setting::Leaderless { reads, .. }, Goal::Get) => reads,
            (Setting::Leaderless { writes, .. }, Goal::Put(_)) => writes,
        }
    }

    /// True if these nodes are enough. They are counted against the membership, never against who
    /// happens to be reachable.
    pub fn suffices(&self, level: Level, nodes: NodeSet) -> bool {
        match level {
            Level::Local => nodes.contains(self.me),
            Level::Quorum => self.members.majority() <= nodes.intersection(self.members).len(),
            Level::All => self.members.is_subset(nodes),
        }
    }

    /// What is true of every operation under way.
    pub(super) fn is_sound(&self, pending: &Pending, epoch: Epoch) -> bool {
        let level = self.level(&pending.goal);
        pending.epoch <= epoch
            // A phase that has heard from enough is over.
            && match pending.phase {
                Phase::Ask { answered, holders } => {
                    holders.is_subset(answered) && !self.suffices(level, answered)
                }
                Phase::Store { stored } => !self.suffices(level, stored),
            }
    }
}

impl Pending {
    /// An operation that has heard of nobody yet.
    pub(super) fn new(ticket: u64, key: String, goal: Goal, claims_left: u32) -> Self {
        Self {
            ticket,
            key,
            goal,
            claims_left,
            epoch: Epoch::default(),
            phase: Phase::Ask {
                answered: NodeSet::EMPTY,
                holders: NodeSet::EMPTY,
            },
            version: Version::default(),
        }
    }

    /// What may come of it if it is given up now. A get has no effect: what it stores was written.
    pub fn effect(&self) -> Effect {
        match (&self.goal, self.phase) {
            (Goal::Put(_), Phase::Store { .. }) => Effect::Unknown,
            (Goal::Get, _) | (Goal::Put(_), Phase::Ask { .. }) => Effect::None,
        }
    }
}

fn is_asking(volatile: &Volatile, number: u64) -> bool {
    let pending = volatile.pending.get(&number);
    pending.is_some_and(|pending| matches!(pending.phase, Phase::Ask { .. }))
}
