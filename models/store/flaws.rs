//! The store with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::store::{
    Call, Durable, Event, Leader, Message, Phase, Refusal, Role, Store, Term, Timer, Volatile,
};

use super::spoil::{
    abort, answer, count_by_clock, each_newest, forget_prepared, hear_the_deposed, is_abort,
    is_inquiring, is_preparing, is_preparing_its_own, presume_committed, timed,
};
use crate::flaw::{boot, delegate};

/// A member, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Store,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Who misses a leader appoints itself, and asks nobody. So in the textbook.
    AppointsItself,
    /// The leader is chosen once: the first member stands, once, and nobody after it. So in the textbook.
    FixedLeader,
    /// The disk has no vote.
    VoteForgotten,
    /// The disk has neither vote nor term. The textbook's has nothing.
    TermForgotten,
    /// A member votes for everyone who asks.
    VotesTwice,
    /// A leader that meets a later term leads on in that.
    LeadsOn,
    /// A leader that was dead leads on when it is back: all that it goes by is that it voted for itself.
    /// So in the textbook, which goes by nothing.
    DeadLeadOn,
    /// A leader answers a get from its own disk, and asks nobody. So in the textbook.
    GetsUnconfirmed,
    /// A get sees what is prepared and not decided.
    DirtyReads,
    /// Members hear leaders of terms that are over. So in the textbook, whose term is never used.
    NoFencing,
    /// A prepare keeps nothing. So in the textbook.
    PrepareKeepsNothing,
    /// A member keeps what arrives last. So in the textbook.
    ArrivalWins,
    /// A member takes what is prepared for committed.
    CommitsOnPrepare,
    /// A leader decides without waiting for anyone. So in the textbook, of commits.
    IgnoresReplies,
    /// When its alarm rings, a leader takes those who have not answered for dead, and a majority of the
    /// rest is enough. So in the textbook.
    OnlyTheHealthy,
    /// Half of the members are taken for a majority.
    HalfDecides,
    /// A reply that arrives again counts again.
    ReplyCountedTwice,
    /// An answer to an older question of the term counts for the present one.
    LateReplyCounts,
    /// What a leader decides upon is not on its own disk when it crashes. So in the textbook.
    NoDecisionLog,
    /// A new leader goes by its own disk, and asks nobody what was prepared or committed.
    OwnDiskWillDo,
    /// A new leader takes what is only prepared for aborted.
    IgnoresPrepared,
    /// A new leader takes what is only prepared for committed.
    PresumesCommit,
    /// Versions come from a clock, on which two writes may share a millisecond. So in the textbook.
    ClockCounts,
    /// A leader that waited long enough says that the write failed, and undoes nothing. So in the
    /// textbook.
    AbortUndoesNothing,
    /// A leader that waited long enough aborts the first write of a key, and names the key alone:
    /// whatever is prepared of it goes. So in the textbook.
    AbortNamesAKey,
    /// A leader that is deposed says of a write under way that it had no effect.
    DeposedRefuses,
    /// What was lost is not sent again.
    NoRetries,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        match self.flaw {
            Flaw::VoteForgotten => durable.vote = None,
            Flaw::TermForgotten => (durable.term, durable.vote) = (Term(0), None),
            Flaw::NoDecisionLog if durable.vote == Some(self.right.me) => {
                let term = durable.term;
                durable.records.retain(|_, record| record.term != term);
            }
            _ => {}
        }
        let mut volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::DeadLeadOn && durable.vote == Some(self.right.me) {
            out.disarm(Timer::Election);
            out.arm(Timer::Heartbeat);
            volatile.role = Role::Leader(Leader::default());
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        if let (Call::Get { ticket, key }, Role::Leader(leader)) = (&call, &state.volatile.role) {
            let ticket = *ticket;
            let record = state.durable.records.get(key);
            let value = record.map(|record| record.value.clone());
            let got = Event::Got { ticket, value };
            match self.flaw {
                Flaw::GetsUnconfirmed => return out.tell(got),
                Flaw::DirtyReads if leader.work.contains_key(key) => return out.tell(got),
                _ => {}
            }
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
        let (mut from, mut message) = (from, message);
        self.mistake(state, &mut from, &mut message);
        if self.flaw == Flaw::AbortNamesAKey && is_abort(&message) {
            return abort(state, &message);
        }
        let said = message.clone();
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        self.spoil(&before, state, (from, &said), out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let first = self.right.me == NodeId(0) && state.durable.term == Term(0);
        if self.flaw == Flaw::FixedLeader && timer == Timer::Election && !first {
            return out.arm(timer);
        }
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer.clone(), out);
        });
        match (self.flaw, timer) {
            (Flaw::AppointsItself, Timer::Election) | (Flaw::OnlyTheHealthy, Timer::Heartbeat) => {
                self.pretend(state, out);
            }
            (Flaw::AbortUndoesNothing | Flaw::AbortNamesAKey, Timer::Heartbeat) => {
                self.give_up(state, out);
            }
            (Flaw::NoRetries, Timer::Heartbeat) => {
                let outputs = out.drain().collect::<Vec<_>>();
                let again = |output: &Output<Self>| match output {
                    Output::Send { message, .. } => !matches!(message, Message::Lead { .. }),
                    _ => false,
                };
                for output in outputs.into_iter().filter(|output| !again(output)) {
                    out.push(output);
                }
            }
            _ => {}
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act, with a majority that is none if that is the flaw.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Store, &mut State<Store>, &mut Outbox<Store>),
    ) {
        let outputs = delegate(state, |state, out| {
            act(&self.right, state, out);
            match self.flaw {
                Flaw::IgnoresReplies => self.pretend_answers(state, out, is_preparing),
                Flaw::OwnDiskWillDo => self.pretend_answers(state, out, is_inquiring),
                Flaw::HalfDecides => self.pretend_answers(state, out, |right, phase| {
                    let (Phase::Inquiring { answered, .. }
                    | Phase::Preparing {
                        prepared: answered, ..
                    }) = phase;
                    right.members.len() <= 2 * answered.len()
                }),
                _ => {}
            }
            if self.flaw == Flaw::ClockCounts {
                count_by_clock(state);
            }
        });
        for output in outputs {
            out.push(match (self.flaw, output) {
                (Flaw::ClockCounts, Output::Send { to, message }) => Output::Send {
                    to,
                    message: timed(message),
                },
                (Flaw::DeposedRefuses, Output::Event(Event::Unknown { ticket })) => {
                    let refusal = Refusal::NotLeader { leader: None };
                    Output::Event(Event::Refused { ticket, refusal })
                }
                (_, output) => output,
            });
        }
    }

    /// Everyone is taken to have answered what the leader asks, or the candidate.
    fn pretend(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let term = state.durable.term;
        let outputs = delegate(state, |state, out| {
            if self.flaw == Flaw::AppointsItself {
                for other in self.others() {
                    self.right
                        .on_message(state, other, Message::Vote { term }, out);
                }
            } else {
                // One phase for each alarm.
                let Role::Leader(leader) = &state.volatile.role else {
                    return;
                };
                let asked: Vec<_> = (leader.work.iter())
                    .map(|(key, work)| answer(term, key, work.number, &work.phase))
                    .collect();
                for message in asked {
                    for other in self.others() {
                        self.right.on_message(state, other, message.clone(), out);
                    }
                }
            }
        });
        for output in outputs {
            out.push(output);
        }
    }

    /// Everyone is taken to have answered each question that is `wrongly` taken to be settled.
    fn pretend_answers(
        &self,
        state: &mut State<Store>,
        out: &mut Outbox<Store>,
        wrongly: impl Fn(&Store, &Phase) -> bool,
    ) {
        let term = state.durable.term;
        loop {
            let Role::Leader(leader) = &state.volatile.role else {
                return;
            };
            let mut open = leader.work.iter();
            let Some((key, work)) = open.find(|(_, work)| wrongly(&self.right, &work.phase)) else {
                return;
            };
            let message = answer(term, key, work.number, &work.phase);
            for other in self.others() {
                self.right.on_message(state, other, message.clone(), out);
            }
        }
    }

    fn others(&self) -> NodeSet {
        self.right
            .members
            .difference(NodeSet::from_iter([self.right.me]))
    }

    /// Takes a message for what it is not.
    fn mistake(&self, state: &mut State<Self>, from: &mut NodeId, message: &mut Message) {
        let term = state.durable.term;
        match (self.flaw, message) {
            (Flaw::VotesTwice, Message::RequestVote { term: asked }) if *asked == term => {
                state.durable.vote = None;
            }
            (
                Flaw::ArrivalWins,
                Message::Prepare {
                    term: said, key, ..
                }
                | Message::Commit {
                    term: said, key, ..
                },
            ) if *said == term => {
                state.durable.records.remove(key);
            }
            (
                Flaw::LateReplyCounts,
                Message::Report { number, key, .. } | Message::Prepared { number, key, .. },
            ) => {
                if let Role::Leader(leader) = &state.volatile.role {
                    let work = leader.work.get(key);
                    *number = work.map_or(*number, |work| work.number);
                }
            }
            (
                Flaw::ReplyCountedTwice,
                Message::Vote { .. } | Message::Report { .. } | Message::Prepared { .. },
            ) => {
                let counted = match &state.volatile.role {
                    Role::Candidate { votes } => *votes,
                    Role::Leader(leader) => match leader.work.first() {
                        Some((_, work)) => match work.phase {
                            Phase::Inquiring { answered, .. } => answered,
                            Phase::Preparing { prepared, .. } => prepared,
                        },
                        None => NodeSet::EMPTY,
                    },
                    Role::Follower { .. } => NodeSet::EMPTY,
                };
                if counted.contains(*from) {
                    let others = self.right.members.difference(counted);
                    *from = others.iter().next().unwrap_or(*from);
                }
            }
            (Flaw::IgnoresPrepared, Message::Report { record, .. }) => {
                forget_prepared(record);
                each_newest(&mut state.volatile, forget_prepared);
            }
            (Flaw::PresumesCommit, Message::Report { record, .. }) => {
                presume_committed(record);
                each_newest(&mut state.volatile, presume_committed);
            }
            _ => {}
        }
    }

    /// Spoils what the right machine did.
    fn spoil(
        &self,
        before: &State<Self>,
        state: &mut State<Self>,
        (from, said): (NodeId, &Message),
        out: &mut Outbox<Self>,
    ) {
        match (self.flaw, said) {
            (Flaw::LeadsOn, _) => {
                if let (Role::Leader(leader), Role::Follower { .. }) =
                    (&before.volatile.role, &state.volatile.role)
                {
                    state.volatile.role = Role::Leader(Leader {
                        next: leader.next,
                        ..Leader::default()
                    });
                    out.disarm(Timer::Election);
                    out.arm(Timer::Heartbeat);
                }
            }
            (Flaw::PrepareKeepsNothing, Message::Prepare { .. }) => {
                state.durable.records = before.durable.records.clone();
            }
            (Flaw::CommitsOnPrepare, Message::Prepare { term, key, .. }) => {
                if *term == state.durable.term
                    && let Some(record) = state.durable.records.remove(key)
                {
                    state
                        .durable
                        .records
                        .insert(key.clone(), record.committed());
                }
            }
            (Flaw::NoFencing, said) => {
                hear_the_deposed(before.durable.term, state, from, said, out);
            }
            _ => {}
        }
    }

    /// A leader has waited long enough for a write to be prepared: it tells the client that it failed.
    fn give_up(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let term = state.durable.term;
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let mut given_up = Vec::new();
        let records = &state.durable.records;
        leader.work.retain(|key, work| {
            // Of a first write there is nothing to go back to.
            let first = records.get(key).is_some_and(|record| record.version == 1);
            let waits =
                is_preparing_its_own(&work.phase) && (self.flaw != Flaw::AbortNamesAKey || first);
            if waits {
                given_up.push((key.clone(), work.clone()));
            }
            !waits
        });
        for (key, work) in given_up {
            for request in &work.requests {
                let refusal = Refusal::NotLeader { leader: None };
                let ticket = request.ticket;
                out.tell(Event::Refused { ticket, refusal });
            }
            if self.flaw == Flaw::AbortNamesAKey {
                let abort_it = Message::Prepare {
                    term,
                    number: 0,
                    key,
                    version: 0,
                    value: String::new(),
                };
                abort(state, &abort_it);
                out.broadcast(self.others(), &abort_it);
            }
        }
    }
}
