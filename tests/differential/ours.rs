//! A member of ours, and what may be wrong with it.

use std::collections::BTreeSet;
use std::convert::Infallible;

use quorate::data::NodeSet;
use quorate::machine::{
    self, Durable as _, Input, Machine as _, NodeId, Outbox, Output, Sealed, State, Step,
};
use quorate::raft::{
    Call, Changes, Command, Durable, Elections, Entry, Event, FirstEntry, Index, Leadership, Log,
    Message, Position, Raft, Reads, Role, Snapshots, Timer,
};

use crate::border::Said;
use crate::member::{Did, Seen, Settings};

/// What is wrong with a member, to show that it is found. Each is done to what it hears and says, or to
/// its disk: the machine is the one that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// It forgets its vote before each request for one.
    VotesTwice,
    /// It votes for whoever asks, whatever the log.
    VotesForAnyLog,
    /// It appends to the end of its log whatever it is sent, and says that it is where it was meant to be.
    AppendsBlindly,
    /// It says that it has the entries that it is sent, and drops them.
    AcknowledgesUnread,
    /// It takes as committed what is in its log, as far as its leader's is; the leader may mean other
    /// entries than are there.
    CommitsItsTail,
    /// It does not answer who leads.
    AnswersNoLeader,
    /// It has nothing after a restart.
    Forgets,
    /// It panics when it is asked for a vote.
    Panics,
    /// It counts votes of elections before.
    CountsLateVotes,
    /// It believes of who has entries that they have one more.
    BelievesMore,
    /// It goes back to the beginning, whatever the hint.
    GoesBackTooFar,
    /// It does not hear that its term is over.
    IsDeaf,
}

/// One of ours.
#[derive(Debug)]
pub struct Ours {
    machine: Raft,
    state: State<Raft>,
    /// What a crash leaves: all changes that it was given, one after the other.
    disk: Durable,
    armed: BTreeSet<Timer>,
    wrong: Option<Sabotage>,
}

/// Our machine, as it has to be for its messages to be theirs.
fn machine(me: NodeId, settings: Settings) -> Raft {
    Raft {
        me,
        members: NodeSet::first(settings.members),
        spares: NodeSet::EMPTY,
        elections: Elections::Direct,
        first_entry: FirstEntry::NoOp,
        leadership: Leadership::UntilDeposed,
        reads: Reads::Log,
        batch_entries_max: settings.batch,
        batch_bytes_max: 1000,
        flow: settings.flow,
        snapshots: Snapshots::Never,
        changes: Changes::Never,
    }
}

impl Ours {
    /// A follower in this state.
    pub fn at(me: NodeId, settings: Settings, wrong: Option<Sabotage>, seen: &Seen) -> Self {
        let machine = machine(me, settings);
        let mut log = Log::default();
        for entry in &seen.log {
            log.push(entry.clone());
        }
        let disk = Durable {
            term: seen.term,
            vote: seen.vote,
            log,
            ..Durable::default()
        };
        let Step { state, sealed } = machine::boot(&machine, disk.clone());
        let mut ours = Self {
            machine,
            state,
            disk,
            armed: BTreeSet::new(),
            wrong,
        };
        ours.take(sealed);
        ours.commit(seen.commit);
        ours
    }

    /// It hears this.
    pub(crate) fn hear(&mut self, from: NodeId, message: Message) -> Did {
        match self.wrong {
            None => self.step(Input::Message { from, message }),
            Some(wrong) => self.hear_wrongly(wrong, from, message),
        }
    }

    /// Its election alarm rings, if it is armed.
    pub(crate) fn stand(&mut self) -> Did {
        self.ring(Timer::Election)
    }

    /// If it leads, it is to be heard.
    pub(crate) fn beat(&mut self) -> Did {
        self.ring(Timer::Heartbeat)
    }

    fn ring(&mut self, timer: Timer) -> Did {
        if self.armed.remove(&timer) {
            self.step(Input::Timer(timer))
        } else {
            Did::default()
        }
    }

    /// A client asks it. It refuses if it does not lead.
    pub(crate) fn propose(&mut self, command: &Command) -> Did {
        let Command::Apply { session, operation } = command else {
            unreachable!("no client asks for {command:?}");
        };
        self.step(Input::Call(Call::Command {
            ticket: session.serial,
            session: *session,
            operation: operation.clone(),
        }))
    }

    /// It crashes, and starts again from its disk.
    pub(crate) fn restart(&mut self) -> Did {
        if self.wrong == Some(Sabotage::Forgets) {
            self.disk = Durable::default();
        }
        let Step { state, sealed } = machine::boot(&self.machine, self.disk.clone());
        self.state = state;
        self.armed.clear();
        self.take(sealed)
    }

    /// What is seen of it.
    pub(crate) fn seen(&self) -> Seen {
        let durable = &self.state.durable;
        Seen {
            term: durable.term,
            vote: durable.vote,
            log: durable.log.after(Index(0), u32::MAX),
            commit: self.state.volatile.commit.0,
            leads: matches!(self.state.volatile.role, Role::Leader(_)),
        }
    }

    fn step(&mut self, input: Input<Raft>) -> Did {
        let Step { state, sealed } = machine::step(&self.machine, self.state.clone(), input);
        let holds = self.wrong.is_some() || self.machine.holds(&state);
        assert!(holds, "{state:?}");
        self.state = state;
        self.take(sealed)
    }

    /// The disk has what is sealed; then what was said may leave.
    fn take(&mut self, sealed: Sealed<Raft>) -> Did {
        let disk = &mut self.disk;
        let written = sealed.persist(|changes| {
            for change in changes {
                disk.apply(change.clone());
            }
            Ok::<(), Infallible>(())
        });
        let Ok(outputs) = written;
        self.note(outputs)
    }

    fn note(&mut self, outputs: impl IntoIterator<Item = Output<Raft>>) -> Did {
        let mut did = Did::default();
        for output in outputs {
            match output {
                Output::Send { to, message } => did.sent.push((to, Said::Ours(message))),
                Output::Arm(timer) => {
                    self.armed.insert(timer);
                }
                Output::Disarm(timer) => {
                    self.armed.remove(&timer);
                }
                Output::Event(Event::Committed { index, entry, .. }) => {
                    did.committed.push((index.0, entry));
                }
                Output::Event(Event::Elected { term, .. }) => did.elected = Some(term),
                Output::Event(_) => {}
            }
        }
        did
    }

    /// It takes this much as committed, of what it has.
    fn commit(&mut self, until: u64) -> Did {
        let mut out = Outbox::default();
        let until = Index(until).min(self.last().index);
        self.machine.commit(&mut self.state, until, &mut out);
        self.note(out.drain())
    }

    fn last(&self) -> Position {
        self.state.durable.log.last()
    }

    fn hear_wrongly(&mut self, wrong: Sabotage, from: NodeId, mut message: Message) -> Did {
        match (wrong, &mut message) {
            (Sabotage::VotesTwice, Message::RequestVote { .. }) => self.state.durable.vote = None,
            (Sabotage::Panics, Message::RequestVote { .. }) => panic!("as it is meant to"),
            (Sabotage::VotesForAnyLog, Message::RequestVote { last, .. }) => {
                *last = self.last().max(*last);
            }
            (Sabotage::CountsLateVotes, Message::Vote { term }) => *term = self.state.durable.term,
            (Sabotage::BelievesMore, Message::Appended { matching, .. }) => {
                *matching = matching.next().min(self.last().index);
            }
            (Sabotage::GoesBackTooFar, Message::Conflict { hint, .. }) => {
                *hint = Position::default();
            }
            (Sabotage::IsDeaf, Message::Stale { .. }) => return Did::default(),
            (
                Sabotage::AppendsBlindly
                | Sabotage::AcknowledgesUnread
                | Sabotage::CommitsItsTail
                | Sabotage::AnswersNoLeader,
                Message::AppendEntries {
                    previous,
                    entries,
                    commit,
                    ..
                },
            ) => {
                let (meant, until) = (previous.index.0 + entries.len() as u64, *commit);
                if wrong == Sabotage::AppendsBlindly && !entries.is_empty() {
                    *previous = self.last();
                }
                if wrong == Sabotage::AcknowledgesUnread {
                    entries.clear();
                }
                let did = self.step(Input::Message { from, message });
                return self.wronged(wrong, did, meant, until);
            }
            _ => {}
        }
        self.step(Input::Message { from, message })
    }

    /// What it does wrongly after it heard a leader, who meant it to have so much and has committed so much.
    fn wronged(&mut self, wrong: Sabotage, mut did: Did, meant: u64, commit: Index) -> Did {
        match wrong {
            Sabotage::AppendsBlindly | Sabotage::AcknowledgesUnread => {
                for (_, said) in &mut did.sent {
                    if let Said::Ours(Message::Appended { matching, .. }) = said {
                        *matching = Index(meant);
                    }
                }
            }
            Sabotage::CommitsItsTail => {
                let more: Vec<(u64, Entry)> = self.commit(commit.0).committed;
                did.committed.extend(more);
            }
            Sabotage::AnswersNoLeader => did.sent.clear(),
            Sabotage::VotesTwice
            | Sabotage::VotesForAnyLog
            | Sabotage::Forgets
            | Sabotage::Panics
            | Sabotage::CountsLateVotes
            | Sabotage::BelievesMore
            | Sabotage::GoesBackTooFar
            | Sabotage::IsDeaf => {}
        }
        did
    }
}
