//! Raft with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::raft::{
    Call, Durable, Entry, Event, Index, Message, Position, Raft, Reply, Role, Term, Timer, Volatile,
};

use crate::flaw::{boot, delegate};

/// A member, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Raft,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Half of the members are taken for a majority: the textbook counts the others without itself.
    HalfElects,
    /// The same of commitment.
    HalfCommits,
    /// The disk has no vote. The textbook's has nothing.
    VoteForgotten,
    /// The disk has neither vote nor term.
    TermForgotten,
    /// The disk has no log.
    LogForgotten,
    /// A member votes for everyone.
    VotesTwice,
    /// A vote that arrives again counts again.
    VoteCountedTwice,
    /// A vote of an earlier election counts in the present one: the textbook looks at neither role
    /// nor term once it has waited.
    LateVoteCounted,
    /// A member votes without adopting the term that it votes in.
    VotesWithoutTheTerm,
    /// A leader that resigns clears its vote.
    ResignsAndVotes,
    /// A member votes for logs that lack what its own has.
    AnyLogWillDo,
    /// Logs are compared by the term of their last entry alone.
    LastTermAlone,
    /// The vote of one term is not cleared for the next. So in the textbook.
    VoteOutlivesItsTerm,
    /// Entries are appended wherever the log ends. So in the textbook.
    AppendsBlindly,
    /// A follower cuts its log to what a message says, even if nothing conflicts.
    TruncatesAlways,
    /// A follower keeps entries that conflict.
    TruncatesNever,
    /// A follower commits beyond the last new entry, for all of its log.
    CommitsItsOwnTail,
    /// A follower acknowledges all of its log.
    AcknowledgesItsOwnTail,
    /// A follower takes entries from the leader of a term that is over.
    HearsTheDeposed,
    /// A follower that lacks the previous entry commits all the same.
    CommitsOnConflict,
    /// A leader takes a conflict for an acknowledgement.
    ConflictAcknowledges,
    /// A leader does not go back where logs conflict: nor does the textbook's.
    NeverBacksOff,
    /// After a conflict a leader goes past the end of its log.
    GoesPastTheEnd,
    /// A leader commits whatever a majority has: Figure 8.
    CountsOlderTerms,
    /// A leader that meets a later term leads on in that. So in the textbook.
    LeadsOn,
    /// A leader overwrites what it proposed but has not committed.
    Rewrites,
    /// A command is done as often as it is sent. So in the textbook.
    ForgetsSessions,
    /// A read is answered by whoever is asked. So in the textbook.
    ReadsAnywhere,
    /// A leader reads without asking whether it still leads.
    ReadsUnconfirmed,
    /// A leader reads before it committed anything in its term.
    ReadsTooEarly,
    /// A member that hears a leader would vote for another all the same.
    PreVotesForAnyone,
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
            Flaw::LogForgotten => durable.log.truncate(Index(0)),
            _ => {}
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, mut call: Call, out: &mut Outbox<Self>) {
        match (self.flaw, &mut call) {
            (
                Flaw::ForgetsSessions,
                Call::Command {
                    ticket, session, ..
                },
            ) => {
                session.serial = *ticket;
            }
            (Flaw::Rewrites, Call::Command { .. }) => {
                if let Role::Leader(leader) = &mut state.volatile.role {
                    let kept = leader.progress.values().map(|progress| progress.matching);
                    let kept = kept.max().unwrap_or_default().max(state.volatile.commit);
                    state.durable.log.truncate(kept);
                }
            }
            (Flaw::ReadsAnywhere, Call::Read { ticket, key }) => {
                let (ticket, key) = (*ticket, key.clone());
                let value = state.volatile.store.values.get(&key).cloned();
                let reply = Reply::Value(value);
                return out.tell(Event::Replied { ticket, reply });
            }
            _ => {}
        }
        let reads = matches!(call, Call::Read { .. });
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
        if reads {
            self.spoil_read(state, out);
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        let before = state.clone();
        let said = message.clone();
        let Some(from) = self.mistake(state, from, &mut message, out) else {
            return;
        };
        let start = out.drain().collect::<Vec<_>>();
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        let mut outputs = start;
        outputs.extend(out.drain());
        self.spoil(&before, state, &said, &mut outputs);
        for output in outputs {
            out.push(output);
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        let follows = matches!(state.volatile.role, Role::Follower { .. });
        if self.flaw == Flaw::ResignsAndVotes && timer == Timer::Quorum && follows {
            state.durable.vote = None;
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
        act: impl FnOnce(&Raft, &mut State<Raft>, &mut Outbox<Raft>),
    ) {
        let outputs = delegate(state, |state, out| {
            act(&self.right, state, out);
            self.pretend(state, out);
        });
        for output in outputs {
            out.push(output);
        }
    }

    /// Half of the members agreed: the others are taken to have agreed as well.
    fn pretend(&self, state: &mut State<Raft>, out: &mut Outbox<Raft>) {
        let half = |count: usize| self.right.members.len() <= 2 * count;
        let term = state.durable.term;
        for other in self.right.members {
            match (&state.volatile.role, self.flaw) {
                (Role::Candidate { votes }, Flaw::HalfElects) if half(votes.len()) => {
                    self.right
                        .on_message(state, other, Message::Vote { term }, out);
                }
                (Role::Leader(leader), Flaw::HalfCommits) => {
                    let index = state.durable.log.last().index;
                    let has = leader.progress.values().filter(|p| index <= p.matching);
                    if half(has.count() + 1) && state.volatile.commit < index {
                        self.right.commit(state, index, out);
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes a message for what it is not, or handles it wrongly and gives nothing.
    fn mistake(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: &mut Message,
        out: &mut Outbox<Self>,
    ) -> Option<NodeId> {
        match message {
            Message::RequestVote { term, last } => {
                return self.mistake_request(state, from, *term, last, out);
            }
            Message::Vote { term } => match (self.flaw, &state.volatile.role) {
                (Flaw::LateVoteCounted, _) => *term = state.durable.term,
                (Flaw::VoteCountedTwice, Role::Candidate { votes }) if votes.contains(from) => {
                    let others = self.right.members.difference(*votes);
                    return others.iter().next().or(Some(from));
                }
                _ => {}
            },
            Message::AppendEntries {
                term,
                previous,
                entries,
                ..
            } => self.mistake_entries(state, term, previous, entries),
            Message::RequestPreVote { .. } if self.flaw == Flaw::PreVotesForAnyone => {
                if let Role::Follower { leader } = &mut state.volatile.role {
                    *leader = None;
                }
            }
            Message::Conflict {
                term, at, round, ..
            } => match self.flaw {
                Flaw::NeverBacksOff => return None,
                Flaw::ConflictAcknowledges => {
                    *message = Message::Appended {
                        term: *term,
                        matching: *at,
                        round: *round,
                    };
                }
                _ => {}
            },
            _ => {}
        }
        Some(from)
    }

    /// The same of entries.
    fn mistake_entries(
        &self,
        state: &mut State<Self>,
        term: &mut Term,
        previous: &mut Position,
        entries: &mut Vec<Entry>,
    ) {
        let own = state.durable.log.last();
        match self.flaw {
            Flaw::HearsTheDeposed => *term = state.durable.term.max(*term),
            Flaw::AppendsBlindly if !entries.is_empty() => *previous = own,
            Flaw::TruncatesAlways
                if state.durable.term <= *term && state.durable.log.contains(*previous) =>
            {
                state.durable.log.truncate(previous.index);
                state.volatile.commit = state.volatile.commit.min(previous.index);
            }
            Flaw::TruncatesNever => {
                let log = &state.durable.log;
                let places = (previous.index.0 + 1..).map(Index);
                for (entry, index) in entries.iter_mut().zip(places) {
                    if let Some(present) = log.get(index) {
                        *entry = present.clone();
                    }
                }
            }
            Flaw::CommitsItsOwnTail => {
                let matching = Index(previous.index.0 + entries.len() as u64);
                let conflicts = (previous.index.0 + 1..).map(Index).zip(entries.iter());
                let mut conflicts = conflicts.filter(|(index, entry)| {
                    let present = state.durable.log.get(*index);
                    present.is_some_and(|present| present.term != entry.term)
                });
                if conflicts.next().is_none() {
                    entries.extend(state.durable.log.after(matching, u32::MAX));
                }
            }
            _ => {}
        }
    }

    /// The same of a request for a vote.
    fn mistake_request(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        last: &mut Position,
        out: &mut Outbox<Self>,
    ) -> Option<NodeId> {
        let own = state.durable.log.last();
        let good = |good: bool| if good { own } else { Position::default() };
        match self.flaw {
            Flaw::AnyLogWillDo => *last = own.max(*last),
            Flaw::LastTermAlone => *last = good(own.term <= last.term),
            Flaw::VotesTwice if matches!(state.volatile.role, Role::Follower { .. }) => {
                state.durable.vote = None;
            }
            Flaw::VoteOutlivesItsTerm if state.durable.term < term => {
                let vote = state.durable.vote;
                let mut seen = state.clone();
                let stale = Message::Stale { term };
                self.act(&mut seen, out, |right, state, out| {
                    right.on_message(state, from, stale, out);
                });
                *state = seen;
                state.durable.vote = vote;
            }
            Flaw::VotesWithoutTheTerm if state.durable.term < term && own <= *last => {
                out.send(from, Message::Vote { term });
                return None;
            }
            _ => {}
        }
        Some(from)
    }

    /// Spoils what came of a message.
    fn spoil(
        &self,
        before: &State<Self>,
        state: &mut State<Self>,
        said: &Message,
        outputs: &mut Vec<Output<Self>>,
    ) {
        match (self.flaw, said) {
            (
                Flaw::AcknowledgesItsOwnTail | Flaw::CommitsItsOwnTail,
                Message::AppendEntries {
                    previous, entries, ..
                },
            ) => {
                for output in outputs {
                    let Output::Send {
                        message: Message::Appended { matching, .. },
                        ..
                    } = output
                    else {
                        continue;
                    };
                    *matching = if self.flaw == Flaw::AcknowledgesItsOwnTail {
                        state.durable.log.last().index
                    } else {
                        Index(previous.index.0 + entries.len() as u64)
                    };
                }
            }
            (
                Flaw::CommitsOnConflict,
                Message::AppendEntries {
                    term,
                    previous,
                    commit,
                    ..
                },
            ) => {
                let conflicts = !state.durable.log.contains(*previous);
                if *term == state.durable.term && conflicts {
                    let until = (*commit).min(state.durable.log.last().index);
                    outputs.extend(delegate(state, |state, out| {
                        self.right.commit(state, until, out);
                    }));
                }
            }
            (Flaw::GoesPastTheEnd, Message::Conflict { .. }) => {
                let past = state.durable.log.last().index.next().next();
                let Role::Leader(leader) = &mut state.volatile.role else {
                    return;
                };
                for other in self.right.members {
                    if let Some(progress) = leader.progress.get_mut(&other) {
                        progress.next = past;
                    }
                }
                outputs.retain(|output| !matches!(output, Output::Send { .. }));
            }
            (Flaw::CountsOlderTerms, Message::Appended { .. }) => {
                outputs.extend(self.count(state));
            }
            (Flaw::LeadsOn, _) => {
                let led = matches!(before.volatile.role, Role::Leader(_));
                if led && before.durable.term < state.durable.term {
                    state.volatile.role = before.volatile.role.clone();
                    outputs.push(Output::Arm(Timer::Heartbeat));
                    outputs.push(Output::Disarm(Timer::Election));
                }
            }
            _ => {}
        }
    }

    /// Commits whatever a majority has.
    fn count(&self, state: &mut State<Self>) -> Vec<Output<Self>> {
        let Role::Leader(leader) = &state.volatile.role else {
            return Vec::new();
        };
        let mut index = state.durable.log.last().index;
        while state.volatile.commit < index {
            let have = leader.progress.iter().filter(|(_, p)| index <= p.matching);
            let mut have: NodeSet = have.map(|(node, _)| *node).collect();
            have.insert(self.right.me);
            if state.volatile.members.membership.is_quorum(have) {
                break;
            }
            index = Index(index.0 - 1);
        }
        let Some(position) = state.durable.log.position(index) else {
            return Vec::new();
        };
        if index <= state.volatile.commit {
            return Vec::new();
        }
        let term = state.durable.term;
        let mut outputs = vec![Output::Event(Event::Decided { term, position })];
        outputs.extend(delegate(state, |state, out| {
            self.right.commit(state, index, out);
        }));
        outputs
    }

    /// Spoils a read that a leader has begun.
    fn spoil_read(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let commit = state.volatile.commit;
        let term = state.durable.term;
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let round = leader.round;
        match self.flaw {
            Flaw::ReadsTooEarly => {
                for read in &mut leader.reads {
                    read.index = commit;
                }
            }
            Flaw::ReadsUnconfirmed => {
                for other in self.right.members {
                    let matching = Index(0);
                    let answer = Message::Appended {
                        term,
                        matching,
                        round,
                    };
                    self.act(state, out, |right, state, out| {
                        right.on_message(state, other, answer, out);
                    });
                }
            }
            _ => {}
        }
    }
}
