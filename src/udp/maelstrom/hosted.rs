//! A machine as a node: a member, whose clients are Maelstrom's.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use super::link::{Link, Names};
use super::message::{Asker, Code, Failure, Message, Reply};
use super::work::{Begun, Work};
use super::{Node, Said};
use crate::machine::{Machine, NodeId};
use crate::udp::cycle::{Ground, Stop};
use crate::udp::desk::{ANSWER_MAX, Ask, Request, Told};
use crate::udp::flush::Inline;
use crate::udp::journal::NoDisk;
use crate::udp::member::{Luck, Member};
use crate::udp::port::Port;
use crate::udp::served::{Answer, Command, Served};
use crate::udp::{random, std};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// How many requests wait for their answers at most. One more is not begun.
const WAITING_MAX: usize = 1024;

/// A member on a network that is Maelstrom's, and without a disk.
type On<M> = Member<M, Inline<M, NoDisk>, Link>;

/// A member, and whom it owes answers.
pub(super) struct Hosted<W: Work> {
    work: W,
    member: On<W::Machine>,
    /// By the connection that asked. Each has one request under way, as those on TCP.
    waiting: BTreeMap<u64, Waiting<W::Asked>>,
    /// Connections that have none.
    idle: Vec<u64>,
    /// How many connections there were.
    connections: u64,
    said: Vec<Said>,
}

struct Waiting<A> {
    asker: Asker,
    asked: A,
    until: Duration,
    told: Receiver<Told>,
}

impl<W: Work> Hosted<W> {
    /// The member that `names` says, at time zero, from an empty disk.
    ///
    /// # Errors
    ///
    /// If it cannot start.
    pub(super) fn boot(work: W, names: &Names) -> Result<Self, Failure> {
        let cluster = names.cluster(W::Machine::NAME)?;
        let me = names.me();
        let identity = W::Machine::identity(&cluster, me);
        let ground = Ground {
            port: Port::on(Link::of(&cluster), &identity, cluster.members.clone(), 0),
            flush: Inline::new(NoDisk),
            recorder: None,
        };
        let failed = |why: &dyn ToString| Failure::new(Code::Crash, &why.to_string());
        let number = || random().map_err(|error| failed(&error));
        let luck = Luck {
            seed: number()?,
            unique: number()?,
        };
        let durable = <W::Machine as Machine>::Durable::default();
        let member = Member::boot(&cluster, me, durable, ground, luck);
        Ok(Self {
            work,
            member: member.map_err(|stop| failed(&stop))?,
            waiting: BTreeMap::new(),
            idle: Vec::new(),
            connections: 0,
            said: Vec::new(),
        })
    }

    fn command(
        &mut self,
        now: Duration,
        asker: Asker,
        (command, asked): (Command, W::Asked),
    ) -> Result<(), Stop> {
        let connection = self.idle.pop().unwrap_or_else(|| {
            self.connections += 1;
            self.connections
        });
        let (answer, told) = sync_channel(1);
        let waiting = Waiting {
            asker,
            asked,
            until: now.saturating_add(ANSWER_MAX),
            told,
        };
        self.waiting.insert(connection, waiting);
        let request = Request {
            connection,
            ask: Ask::Command(command),
            answer,
        };
        // At once, so that the next request finds what this one changed.
        self.member.turn(now, core::iter::once(request))?;
        self.settle(now)
    }

    /// Answers those whose answers are there, or late.
    fn settle(&mut self, now: Duration) -> Result<(), Stop> {
        let mut late = Vec::new();
        let mut over = Vec::new();
        for (connection, waiting) in &self.waiting {
            let outcome = match waiting.told.try_recv() {
                Ok(Told::Answer(answer)) => {
                    self.idle.push(*connection);
                    self.work.ended(&waiting.asked, answer, self.member.state())
                }
                Ok(Told::Value(_)) => {
                    late.push(*connection);
                    Err(unexpected())
                }
                Err(TryRecvError::Empty) if now < waiting.until => continue,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    late.push(*connection);
                    Err(Failure::new(Code::Timeout, "no answer in time"))
                }
            };
            over.push((*connection, outcome));
        }
        for (connection, outcome) in over {
            if let Some(waiting) = self.waiting.remove(&connection) {
                self.said.push(Said::Reply(waiting.asker, outcome));
            }
        }
        for connection in late {
            self.leave(now, connection)?;
        }
        Ok(())
    }

    /// The answer may come yet, and would be taken for that of a later request: no other goes there.
    fn leave(&mut self, now: Duration, connection: u64) -> Result<(), Stop> {
        let (answer, _) = sync_channel(1);
        let request = Request {
            connection,
            ask: Ask::Left,
            answer,
        };
        self.member.turn(now, core::iter::once(request)).map(drop)
    }
}

impl<W: Work> Node for Hosted<W> {
    fn hears(&mut self, from: NodeId, datagram: Vec<u8>) {
        let port = &mut self.member.cycle_mut().ground_mut().port;
        port.socket_mut().hears(from, datagram);
    }

    fn asks(&mut self, now: Duration, asker: Asker, request: Message) -> Result<(), Stop> {
        let begun = if self.waiting.len() < WAITING_MAX {
            self.work.begun(&request, self.member.state())
        } else {
            Err(failure(Answer::Busy))
        };
        let outcome = match begun {
            Ok(Begun::Command(command, asked)) => {
                return self.command(now, asker, (command, asked));
            }
            Ok(Begun::Done(reply)) => Ok(reply),
            Err(failure) => Err(failure),
        };
        self.said.push(Said::Reply(asker, outcome));
        Ok(())
    }

    fn turn(&mut self, now: Duration) -> Result<(), Stop> {
        self.member.turn(now, core::iter::empty())?;
        self.settle(now)?;
        let drops = self.member.cycle_mut().ground_mut().port.first_drops();
        for (refusal, _) in drops {
            let what = format!("dropped a datagram: {refusal}; more like it are only counted");
            self.said.push(Said::Log(what));
        }
        Ok(())
    }

    fn wakes_at(&self) -> Option<Duration> {
        let late = self.waiting.values().map(|waiting| waiting.until).min();
        let due = self.member.cycle().wakes_at();
        due.into_iter().chain(late).min()
    }

    fn says(&mut self) -> Vec<Said> {
        let port = &mut self.member.cycle_mut().ground_mut().port;
        let datagrams = port.socket_mut().says().into_iter();
        let datagrams = datagrams.map(|(to, datagram)| Said::Datagram(to, datagram));
        let mut said = core::mem::take(&mut self.said);
        said.extend(datagrams);
        said
    }
}

/// What is said of an answer that is not the one that was hoped for.
pub(super) fn failure(answer: Answer) -> Failure {
    let (code, text) = match answer {
        Answer::NotLeader(Some(_)) => (Code::TemporarilyUnavailable, "another node leads"),
        Answer::NotLeader(None) => (
            Code::TemporarilyUnavailable,
            "nobody leads, as far as is known here",
        ),
        Answer::Busy => (Code::TemporarilyUnavailable, "too much is under way here"),
        Answer::Unanswered => (Code::TemporarilyUnavailable, "no quorum answered"),
        Answer::Refused(why) => return Failure::new(Code::NotSupported, &why),
        Answer::Unknown => (
            Code::Crash,
            "it may or may not have happened, or happen later",
        ),
        Answer::Done
        | Answer::Value(_)
        | Answer::Siblings(_)
        | Answer::Number(_)
        | Answer::Swapped(_) => return unexpected(),
    };
    Failure::new(code, text)
}

/// An answer to something else: a mistake of ours. What became of the request, nobody says.
pub(super) fn unexpected() -> Failure {
    Failure::new(Code::Crash, "the machine answered something else")
}

/// What comes of a request that was done.
pub(super) fn done(answer: Answer, kind: &'static str) -> Result<Reply, Failure> {
    match answer {
        Answer::Done => Ok(Reply::of(kind)),
        Answer::Value(_)
        | Answer::Siblings(_)
        | Answer::Number(_)
        | Answer::Swapped(_)
        | Answer::NotLeader(_)
        | Answer::Busy
        | Answer::Refused(_)
        | Answer::Unanswered
        | Answer::Unknown => Err(failure(answer)),
    }
}
