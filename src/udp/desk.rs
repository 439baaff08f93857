//! Between those who ask and the machine: which call is whose, and what a client carries on.
//!
//! Without I/O of its own, as [`super::turn`]: requests come in, calls go out; events come in,
//! answers go out.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::time::Duration;

use super::resp::Value;
use super::served::{Answer, Command, Served};
use super::std;
use crate::data::NodeSet;
use crate::machine::State;
use std::sync::mpsc::SyncSender;

/// How many calls wait for their answers at most. One more is refused, and was not begun.
pub const WAITING_MAX: usize = 4096;
/// How long a call is waited for. After that its outcome is unknown to who asked.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a connection asks of the node.
#[derive(Debug)]
pub struct Request {
    /// Which connection asks.
    pub connection: u64,
    /// What.
    pub ask: Ask,
    /// Where the answer goes, if anyone wants one.
    pub answer: SyncSender<Told>,
}

/// What can be asked of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A command of a client.
    Command(Command),
    /// What does the client carry on?
    Session,
    /// Let it carry this on.
    Resume(String),
    /// What an operator wants to see.
    Status,
    /// What is counted, as Prometheus reads it?
    Metrics,
    /// Are calls taken?
    Ready,
    /// Let nothing pass between this node and these.
    Cut(NodeSet),
    /// The connection is gone.
    Left,
}

/// What is told to who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// What came of the command.
    Answer(Answer),
    /// Anything else.
    Value(Value),
}

/// The book of what is asked and not yet answered.
#[derive(Debug)]
pub struct Desk<M: Served> {
    unique: u64,
    next: u64,
    sessions: BTreeMap<u64, M::Session>,
    waiting: BTreeMap<u64, Waiting>,
}

/// An answer, and whom it is due to.
#[derive(Debug)]
pub struct Due {
    /// The ticket of the call.
    pub ticket: u64,
    /// The answer.
    pub answer: Answer,
    whom: SyncSender<Told>,
}

impl Due {
    /// Tells it. That nobody listens any more is no harm.
    pub fn tell(self) {
        tell(&self.whom, self.answer);
    }
}

#[derive(Debug)]
struct Waiting {
    connection: u64,
    until: Duration,
    answer: SyncSender<Told>,
}

impl<M: Served> Desk<M> {
    /// An empty one. `unique` is a number that no other process has: clients are numbered from there.
    pub fn new(unique: u64) -> Self {
        Self {
            unique,
            next: 0,
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// A client's command as a call; none if it is answered already.
    pub fn ask(
        &mut self,
        machine: &M,
        now: Duration,
        connection: u64,
        command: Command,
        answer: SyncSender<Told>,
    ) -> Option<M::Call> {
        self.forget(now);
        if self.waiting.len() >= WAITING_MAX {
            tell(&answer, Answer::Busy);
            return None;
        }
        self.next += 1;
        let ticket = self.next;
        let call = machine.call(ticket, self.session(connection), command);
        match call {
            Ok(call) => {
                let waiting = Waiting {
                    connection,
                    until: now.saturating_add(ANSWER_MAX),
                    answer,
                };
                self.waiting.insert(ticket, waiting);
                Some(call)
            }
            Err(refusal) => {
                tell(&answer, refusal);
                None
            }
        }
    }

    /// What is due to whom after an event of the machine, which is now in this state. None if nobody
    /// asked, or does not wait any longer, or has been answered.
    pub fn event(&mut self, event: M::Event, state: &State<M>) -> Option<Due> {
        let ticket = M::ticket(&event)?;
        let waiting = self.waiting.remove(&ticket)?;
        // Who left has no session, and does not listen.
        let session = self.sessions.get_mut(&waiting.connection)?;
        Some(Due {
            ticket,
            answer: M::answer(event, session, state),
            whom: waiting.answer,
        })
    }

    /// How many calls are not answered yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The ticket of the call that was made last.
    pub fn last_ticket(&self) -> u64 {
        self.next
    }

    /// What the client carries on, as text.
    pub fn token(&mut self, connection: u64) -> String {
        let bytes = postcard::to_stdvec(self.session(connection));
        let bytes = bytes.expect("plain data in memory always has an encoding");
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Lets a client carry on what this text says.
    ///
    /// # Errors
    ///
    /// If it is not the text of a session. Nothing was changed.
    pub fn resume(&mut self, connection: u64, text: &str) -> Result<(), String> {
        let session = bytes(text).and_then(|bytes| {
            let (session, rest) = postcard::take_from_bytes::<M::Session>(&bytes).ok()?;
            rest.is_empty().then_some(session)
        });
        let session = session.ok_or_else(|| {
            format!(
                "that is no session of {}: give what SESSION printed",
                M::NAME
            )
        })?;
        self.sessions.insert(connection, session);
        Ok(())
    }

    /// Forgets a client.
    pub fn left(&mut self, connection: u64) {
        self.sessions.remove(&connection);
    }

    fn session(&mut self, connection: u64) -> &mut M::Session {
        let unique = self.unique;
        let session = self.sessions.entry(connection);
        session.or_insert_with(|| M::session(unique.wrapping_add(connection)))
    }

    /// Drops those who were told long ago that nobody knows.
    fn forget(&mut self, now: Duration) {
        while let Some(oldest) = self.waiting.first_entry() {
            if oldest.get().until > now {
                break;
            }
            oldest.remove();
        }
    }
}

/// Tells it; that nobody listens any more is no harm.
fn tell(whom: &SyncSender<Told>, answer: Answer) {
    let _ = whom.try_send(Told::Answer(answer));
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = core::str::from_utf8(pair).ok()?;
            let plain = pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        })
        .collect()
}
