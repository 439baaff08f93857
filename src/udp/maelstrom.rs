//! `quorate maelstrom`: one node of a cluster whose network is Jepsen's Maelstrom.
//!
//! - **Source.** Maelstrom, <https://github.com/jepsen-io/maelstrom>: `doc/protocol.md` for messages and
//!   errors, `doc/workloads.md` for what clients ask.
//!
//! Messages are lines of JSON on standard input and output; what is logged goes to standard error. The
//! machines are those that [`super::serve`] runs, on the same loop, behind the same desk
//! ([`super::member`]): only the socket is another. A datagram travels as a message whose body is
//! `{"type": "quorate", "datagram": "..."}`, the frame of [`super::wire`] in hexadecimal digits. Nodes are
//! numbered by their places among the sorted names.
//!
//! | workload | machine | |
//! |---|---|---|
//! | `lin-kv` | raft | keys and values are kept as the JSON that they are |
//! | `broadcast`, `g-set` | gossip | an element is a key; what is read is all the keys here |
//! | `pn-counter` | gossip | each node has a [`PnCounter`] under its own number; what is read is the join of all |
//! | `unique-ids` | none | a time of a [`Hybrid`] clock, and the node |
//! | `echo` | none | |
//!
//! | error | definite | when |
//! |---|---|---|
//! | 0 timeout | no | no answer for [`ANSWER_MAX`] |
//! | 10 not-supported | yes | this workload has no such request, or the machine refuses it |
//! | 11 temporarily-unavailable | yes | before `init`; another node leads, or none; too much is under way |
//! | 12 malformed-request | yes | a field is missing, or is not what it should be |
//! | 13 crash | no | the machine does not know what became of it |
//! | 20 key-does-not-exist | yes | the key that is read or compared has no value |
//! | 22 precondition-failed | yes | the key has another value; or there was an `init` already |
//!
//! Of what is no message, or names nobody who could be answered, the log says that it was dropped.
//!
//! # What it leaves out
//!
//! - **Nothing is kept.** The disk is [`NoDisk`], which forgets what it acknowledges. That is sound as
//!   long as no process is started again, and Maelstrom kills none: its faults are those of the network.
//!   A node that is started again is one that forgot.
//! - A node that does not lead says so and hands nothing on; the client asks another.
//! - Keys and values are as long as the machine allows, elements at most 64 bytes of JSON, and gossip
//!   has at most 16 nodes. Numbers are those of 64 bits, and others are floating-point.
//! - `topology` is answered and not followed: gossip chooses whom it talks to.
//! - Alarms have the delays of the machines, which are for networks of a few milliseconds. With a
//!   `--latency` of 100 ms raft still elected a leader, in two seconds; with 150 ms it elected none, for an
//!   election timeout is 150 to 300 ms and a vote takes two ways.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use self::hosted::Hosted;
use self::link::Names;
use self::message::{Asker, Code, Failure, Message, Reply, error_line, line, reply_line};
use self::work::{Counter, Echo, Elements, Ids, LinKv};
use super::cycle::Stop;
use super::std;
use crate::machine::NodeId;
use std::io::{self, BufWriter, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Instant;

#[cfg(doc)]
use super::desk::ANSWER_MAX;
#[cfg(doc)]
use super::journal::NoDisk;
#[cfg(doc)]
use crate::clock::Hybrid;
#[cfg(doc)]
use crate::crdt::PnCounter;

mod hosted;
mod line;
mod link;
mod message;
mod work;

pub use line::LINE_BYTES_MAX;

/// How many lines one turn takes at most, so that alarms are not kept waiting.
const LINES_PER_TURN_MAX: usize = 64;
/// How many lines wait for a turn at most. Then nothing is read.
const LINES_MAX: usize = 256;
/// How long a node without alarms sleeps.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The type of the messages that carry datagrams.
const DATAGRAM: &str = "quorate";

/// What Maelstrom's clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A linearizable store of keys and values.
    LinKv,
    /// A set of messages that all nodes come to have.
    Broadcast,
    /// A set that grows.
    GSet,
    /// A count that grows and shrinks.
    PnCounter,
    /// Names that nobody else is given.
    UniqueIds,
    /// What they said.
    Echo,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::LinKv,
        Self::Broadcast,
        Self::GSet,
        Self::PnCounter,
        Self::UniqueIds,
        Self::Echo,
    ];

    /// The workload of this name.
    ///
    /// # Errors
    ///
    /// What to write instead, if there is none.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|workload| workload.name() == name);
        let names = || Self::ALL.map(Self::name).join(", ");
        found.ok_or_else(|| format!("there is no workload `{name}`: choose one of {}", names()))
    }

    /// Its name, which is Maelstrom's.
    pub fn name(self) -> &'static str {
        match self {
            Self::LinKv => "lin-kv",
            Self::Broadcast => "broadcast",
            Self::GSet => "g-set",
            Self::PnCounter => "pn-counter",
            Self::UniqueIds => "unique-ids",
            Self::Echo => "echo",
        }
    }

    /// The node that `names` says, at time zero.
    fn node(self, names: &Names) -> Result<Box<dyn Node>, Failure> {
        Ok(match self {
            Self::LinKv => Box::new(Hosted::boot(LinKv, names)?),
            Self::Broadcast => Box::new(Hosted::boot(Elements::BROADCAST, names)?),
            Self::GSet => Box::new(Hosted::boot(Elements::G_SET, names)?),
            Self::PnCounter => Box::new(Hosted::boot(Counter::of(names.me()), names)?),
            Self::UniqueIds => Box::new(Ids::of(names.me())),
            Self::Echo => Box::new(Echo::default()),
        })
    }
}

/// Why a node ended before its input did.
#[derive(Debug)]
pub enum MaelstromError {
    /// The operating system refuses what every process needs. Nothing was started.
    System(io::Error),
    /// Its output takes nothing more.
    Output(io::Error),
    /// It had to stop. What it said before is as good as ever.
    Stopped(Stop),
}

impl fmt::Display for MaelstromError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "cannot start: {error}"),
            Self::Output(error) => write!(f, "standard output takes nothing more: {error}"),
            Self::Stopped(stop) => write!(f, "the node stopped: {stop}"),
        }
    }
}

impl core::error::Error for MaelstromError {}

impl From<Stop> for MaelstromError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// What a node that was named does. No time is before one that it was told.
trait Node {
    /// A datagram arrives from another.
    fn hears(&mut self, from: NodeId, datagram: Vec<u8>);
    /// A client asks. What there is to say at once is said by the next [`Node::says`].
    fn asks(&mut self, now: Duration, asker: Asker, request: Message) -> Result<(), Stop>;
    /// What arrived is heard, and what is due is done.
    fn turn(&mut self, now: Duration) -> Result<(), Stop>;
    /// When there is something to do though nothing arrives, if ever.
    fn wakes_at(&self) -> Option<Duration>;
    /// What it says since this was last asked.
    fn says(&mut self) -> Vec<Said>;
}

/// What a node says.
#[derive(Debug)]
enum Said {
    /// To another node.
    Datagram(NodeId, Vec<u8>),
    /// To a client.
    Reply(Asker, Result<Reply, Failure>),
    /// To whoever reads its log.
    Log(String),
}

/// Runs a node until its input ends.
///
/// # Errors
///
/// If it cannot start, or has to stop by itself.
pub fn run(
    workload: Workload,
    input: impl Read + Send + 'static,
    output: impl Write,
) -> Result<(), MaelstromError> {
    let (sender, lines) = sync_channel(LINES_MAX);
    thread::Builder::new()
        .name("input".into())
        .spawn(move || line::read(input, &sender))
        .map_err(MaelstromError::System)?;
    let mut process = Process {
        workload,
        started: Instant::now(),
        named: None,
        output: BufWriter::new(output),
    };
    while process.turn(&lines)? {}
    Ok(())
}

/// A node, named or not, and its output, which is flushed after each turn.
struct Process<W> {
    workload: Workload,
    started: Instant,
    named: Option<(Names, Box<dyn Node>)>,
    output: W,
}

impl<W: Write> Process<W> {
    /// Waits for a line or an alarm, and does what is to be done. False once the input has ended.
    fn turn(&mut self, lines: &Receiver<line::Heard>) -> Result<bool, MaelstromError> {
        let now = self.started.elapsed();
        let due = self.named.as_ref().and_then(|(_, node)| node.wakes_at());
        let wait = due.map_or(WAIT_MAX, |due| due.saturating_sub(now).min(WAIT_MAX));
        let mut ended = false;
        match lines.recv_timeout(wait) {
            Ok(heard) => {
                let more = lines.try_iter().take(LINES_PER_TURN_MAX - 1);
                for heard in core::iter::once(heard).chain(more) {
                    self.heed(heard)?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => ended = true,
        }
        if let Some((_, node)) = &mut self.named {
            node.turn(self.started.elapsed())?;
        }
        self.say()?;
        Ok(!ended)
    }

    fn heed(&mut self, heard: line::Heard) -> Result<(), MaelstromError> {
        let bytes = match heard {
            line::Heard::Line(bytes) => bytes,
            line::Heard::TooLong => {
                self.log(&format!(
                    "dropped a line of more than {LINE_BYTES_MAX} bytes"
                ));
                return Ok(());
            }
            line::Heard::Failed(error) => {
                self.log(&format!("the input failed, which ends it: {error}"));
                return Ok(());
            }
        };
        match Message::read(&bytes) {
            Ok(message) => self.receive(message),
            Err(why) => {
                self.log(&format!("dropped a line that is no message: {why}"));
                Ok(())
            }
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), MaelstromError> {
        if message.kind() == DATAGRAM {
            self.hear(&message);
            return Ok(());
        }
        let asker = match message.asker() {
            Ok(asker) => asker,
            Err(why) => {
                self.log(&format!("dropped a message of {}: {why}", message.src));
                return Ok(());
            }
        };
        let now = self.started.elapsed();
        match &mut self.named {
            Some((names, _)) if names.name() != message.dest => {
                self.log("dropped a message to another node");
                Ok(())
            }
            Some(_) if message.kind() == "init" => {
                let failure = Failure::new(Code::PreconditionFailed, "this node has a name");
                self.answer(&asker, Err(failure))
            }
            Some((_, node)) => Ok(node.asks(now, asker, message)?),
            None if message.kind() == "init" => {
                let named = self.init(&message);
                self.answer(&asker, named)
            }
            None => {
                let failure = Failure::new(Code::TemporarilyUnavailable, "there was no init yet");
                self.answer(&asker, Err(failure))
            }
        }
    }

    /// The node learns who it is, and starts.
    fn init(&mut self, message: &Message) -> Result<Reply, Failure> {
        let names = Names::read(message)?;
        self.started = Instant::now();
        let node = self.workload.node(&names)?;
        self.named = Some((names, node));
        Ok(Reply::of("init_ok"))
    }

    /// A datagram. One that comes before the node has a name is lost, as any may be.
    fn hear(&mut self, message: &Message) {
        let Some((names, node)) = &mut self.named else {
            return;
        };
        let Some(from) = names.node(&message.src) else {
            return self.log("dropped a datagram of somebody who is no node");
        };
        let digits = message.text("datagram").ok();
        match digits.and_then(|digits| hex::decode(digits).ok()) {
            Some(datagram) => node.hears(from, datagram),
            None => self.log(&format!("dropped a datagram of {}: no digits", message.src)),
        }
    }

    /// Says all that the node has to say.
    fn say(&mut self) -> Result<(), MaelstromError> {
        let said = self.named.as_mut().map(|(_, node)| node.says());
        for said in said.unwrap_or_default() {
            match said {
                Said::Datagram(to, datagram) => self.pass(to, &datagram)?,
                Said::Reply(asker, reply) => self.answer(&asker, reply)?,
                Said::Log(what) => self.log(&what),
            }
        }
        self.output.flush().map_err(MaelstromError::Output)
    }

    fn pass(&mut self, to: NodeId, datagram: &[u8]) -> Result<(), MaelstromError> {
        let Some((names, _)) = &self.named else {
            return Ok(());
        };
        let Some(dest) = names.name_of(to) else {
            return Ok(());
        };
        let digits = hex::encode(datagram);
        let body = serde_json::json!({ "type": DATAGRAM, "datagram": digits });
        let line = line(names.name(), dest, &body);
        self.write(&line)
    }

    fn answer(
        &mut self,
        asker: &Asker,
        reply: Result<Reply, Failure>,
    ) -> Result<(), MaelstromError> {
        let me = (self.named.as_ref()).map_or(asker.asked.as_str(), |(names, _)| names.name());
        let line = match reply {
            Ok(reply) => reply_line(me, asker, reply),
            Err(failure) => error_line(me, asker, &failure),
        };
        self.write(&line)
    }

    fn write(&mut self, line: &str) -> Result<(), MaelstromError> {
        writeln!(self.output, "{line}").map_err(MaelstromError::Output)
    }

    /// Writes a line to the log, in one write, so that the lines of several processes do not mix.
    fn log(&self, what: &str) {
        let name = (self.named.as_ref()).map_or("a node without a name", |(names, _)| names.name());
        let _ = io::stderr().write_all(format!("quorate: {name} {what}\n").as_bytes());
    }
}
