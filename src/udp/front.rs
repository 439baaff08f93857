//! The front: clients on TCP, who speak RESP, and so may be redis-cli or any of Redis's libraries.
//!
//! | command | |
//! |---|---|
//! | `GET key` | a string, or nothing; several strings where writes met that did not know of each other |
//! | `MGET key ...` | the same of each, one after the other, not at one moment |
//! | `SET key value [NX]` | `NX`: only if it has none, and nothing is the answer if it has |
//! | `CAS key old new` | 1 if it had the old value and has the new one, 0 if it had another |
//! | `DEL key` | 1, whether or not it had a value |
//! | `INCR key`, `INCRBY key n`, `DECR key`, `DECRBY key n` | the new number |
//! | `MEMBERS ADD id`, `MEMBERS PROMOTE id`, `MEMBERS REMOVE id` | change who the members are: a new one is sent everything, and has a vote once promoted |
//! | `TRANSFER id` | let that member lead |
//! | `SESSION [text]` | what a client carries from node to node; with a text, go on from there |
//! | `INFO` | what this node is and does |
//! | `CHAOS CUT id ...`, `CHAOS HEAL` | lose whatever passes between this node and those; only with `--chaos` |
//! | `PING ECHO HELLO CLIENT COMMAND CONFIG SELECT QUIT` | as far as libraries need them |
//!
//! What a protocol does not have is refused. Errors say what is known of the outcome: `-UNKNOWN` and
//! nothing else means that it may or may not have happened. `-NOTLEADER`, `-BUSY`, `-REFUSED` and
//! `-UNANSWERED` mean that it did not.
//!
//! A connection is one client: it has a thread, and one command at a time. Their number, the length of
//! what they say and how long they are waited for are bounded.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use super::desk::{ANSWER_MAX, Ask, Request, Told};
use super::port::MEMBERS_MAX;
use super::resp::{REQUEST_BYTES_MAX, Value, Version, request};
use super::served::{Answer, Command};
use super::std;
use crate::data::NodeSet;
use crate::machine::NodeId;
use crate::raft::MemberChange;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;

/// How many connections there are at most. One more is told so, and closed.
pub const CONNECTIONS_MAX: usize = 512;
/// How many requests wait for the node at most. One more is answered `-BUSY`.
pub const REQUESTS_MAX: usize = 1024;
/// How long a client may take to read its answer.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// What connections know of their node.
#[derive(Clone, Debug)]
pub struct About {
    /// Its protocol.
    pub protocol: &'static str,
    /// Who the members are.
    pub members: NodeSet,
    /// Where the clients of each member go.
    pub clients: BTreeMap<NodeId, SocketAddr>,
    /// Whether links may be cut.
    pub chaos: bool,
}

/// Wakes the node, so that it looks at what is asked.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Listens, on threads of their own, and hands on what is asked.
///
/// # Errors
///
/// If it cannot listen.
pub fn listen(
    listener: TcpListener,
    about: About,
    requests: &SyncSender<Request>,
    wake: &Wake,
) -> io::Result<()> {
    let requests = requests.clone();
    let wake = Arc::clone(wake);
    let open = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        let mut connection = 0;
        // An error here is of one connection, or passes.
        for stream in listener.incoming().flatten() {
            connection += 1;
            admit(stream, connection, &about, &requests, &wake, &open);
        }
    };
    thread::Builder::new().name("front".into()).spawn(accept)?;
    Ok(())
}

fn admit(
    mut stream: TcpStream,
    connection: u64,
    about: &About,
    requests: &SyncSender<Request>,
    wake: &Wake,
    open: &Arc<AtomicUsize>,
) {
    if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
        return;
    }
    open.fetch_add(1, Ordering::Relaxed);
    let client = Client {
        connection,
        version: Version::Two,
        about: about.clone(),
        requests: requests.clone(),
        wake: Arc::clone(wake),
    };
    let counted = Arc::clone(open);
    let name = format!("client {connection}");
    let spawned = thread::Builder::new().name(name).spawn(move || {
        // However it ends, it is over.
        let _ = client.serve(&mut stream);
        counted.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection.
struct Client {
    connection: u64,
    version: Version,
    about: About,
    requests: SyncSender<Request>,
    wake: Wake,
}

/// Whether there is more to come.
enum Then {
    GoOn(Value),
    Close(Value),
}

impl Client {
    fn serve(mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_MAX))?;
        let served = self.talk(stream);
        let (answer, _) = sync_channel(1);
        let left = Request {
            connection: self.connection,
            ask: Ask::Left,
            answer,
        };
        // Waits if need be: nothing else takes the session away.
        let _ = self.requests.send(left);
        (self.wake)();
        served
    }

    fn talk(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let mut said = Vec::new();
            let mut taken = 0;
            let mut close = false;
            while !close && said.len() < REQUEST_BYTES_MAX {
                match request(&heard[taken..]) {
                    Ok(None) => break,
                    Ok(Some((words, length))) => {
                        taken += length;
                        let value = match self.obey(&words) {
                            Some(Then::GoOn(value)) => value,
                            Some(Then::Close(value)) => {
                                close = true;
                                value
                            }
                            None => continue,
                        };
                        value.write(self.version, &mut said);
                    }
                    Err(malformed) => {
                        close = true;
                        let error = Value::Error(format!("ERR Protocol error: {malformed}"));
                        error.write(self.version, &mut said);
                    }
                }
            }
            heard.drain(..taken);
            stream.write_all(&said)?;
            if close {
                return Ok(());
            }
            if taken > 0 && said.len() >= REQUEST_BYTES_MAX {
                continue;
            }
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => heard.extend(&buffer[..count]),
            }
        }
    }

    /// What comes of a request; of an empty one, nothing.
    fn obey(&mut self, words: &[String]) -> Option<Then> {
        let (name, rest) = words.split_first()?;
        let name = name.to_ascii_uppercase();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let value = match (name.as_str(), rest.as_slice()) {
            ("PING", []) => Value::Simple("PONG".into()),
            ("PING" | "ECHO", [text]) => Value::Bulk((*text).into()),
            ("HELLO", version) => self.hello(version),
            ("CLIENT", [what, ..]) => client(what, self.connection),
            ("COMMAND" | "CONFIG", _) => Value::Array(Vec::new()),
            ("SELECT", ["0"]) => done(),
            ("SELECT", [_]) => error("ERR there is one database, number 0"),
            ("QUIT", _) => return Some(Then::Close(done())),
            ("INFO", _) => self.ask(Ask::Status),
            ("SESSION", []) => self.ask(Ask::Session),
            ("SESSION", [text]) => self.ask(Ask::Resume((*text).into())),
            ("CHAOS", what) => self.chaos(what),
            ("MGET", [_, ..]) => {
                let get = |key: &&str| self.command(Command::Get { key: (*key).into() });
                Value::Array(rest.iter().map(get).collect())
            }
            (name, rest) => match command(name, rest) {
                Ok(command) => as_redis(name, self.command(command)),
                Err(wrong) => error(&wrong),
            },
        };
        Some(Then::GoOn(value))
    }

    fn hello(&mut self, rest: &[&str]) -> Value {
        match rest.first() {
            None => {}
            Some(&"2") => self.version = Version::Two,
            Some(&"3") => self.version = Version::Three,
            Some(_) => return error("NOPROTO unsupported protocol version"),
        }
        let entry = |key: &str, value: Value| (Value::Bulk(key.into()), value);
        let proto = match self.version {
            Version::Two => 2,
            Version::Three => 3,
        };
        Value::Map(alloc::vec![
            entry("server", Value::Bulk("quorate".into())),
            entry("version", Value::Bulk(env!("CARGO_PKG_VERSION").into())),
            entry("proto", Value::Number(proto)),
            entry(
                "id",
                Value::Number(i64::try_from(self.connection).unwrap_or(i64::MAX))
            ),
            entry("mode", Value::Bulk(self.about.protocol.into())),
            entry("role", Value::Bulk("member".into())),
            entry("modules", Value::Array(Vec::new())),
        ])
    }

    fn chaos(&self, rest: &[&str]) -> Value {
        if !self.about.chaos {
            return error("ERR not allowed here: the node was not started with --chaos");
        }
        let members = self.about.members;
        match rest {
            [what] if what.eq_ignore_ascii_case("HEAL") => self.ask(Ask::Cut(NodeSet::default())),
            [what, names @ ..] if what.eq_ignore_ascii_case("CUT") && !names.is_empty() => {
                let others: Option<Vec<NodeId>> = (names.iter())
                    .map(|name| {
                        name.parse()
                            .ok()
                            .map(NodeId)
                            .filter(|id| members.contains(*id))
                    })
                    .collect();
                match others {
                    Some(others) => self.ask(Ask::Cut(others.into_iter().collect())),
                    None => error("ERR give the numbers of members, such as CHAOS CUT 1 2"),
                }
            }
            _ => error("ERR say CHAOS CUT with the numbers of members, or CHAOS HEAL"),
        }
    }

    fn command(&self, command: Command) -> Value {
        self.ask(Ask::Command(command))
    }

    fn ask(&self, ask: Ask) -> Value {
        let nothing_known = match &ask {
            Ask::Command(command) if command.is_read() => Answer::Unanswered,
            Ask::Command(_) => Answer::Unknown,
            Ask::Session
            | Ask::Resume(_)
            | Ask::Status
            | Ask::Metrics
            | Ask::Ready
            | Ask::Cut(_)
            | Ask::Left => Answer::Busy,
        };
        let (answer, told) = sync_channel(1);
        let request = Request {
            connection: self.connection,
            ask,
            answer,
        };
        match self.requests.try_send(request) {
            Ok(()) => (self.wake)(),
            Err(TrySendError::Full(_)) => return self.value(Answer::Busy),
            Err(TrySendError::Disconnected(_)) => return error("ERR the node has stopped"),
        }
        match told.recv_timeout(ANSWER_MAX) {
            Ok(Told::Answer(answer)) => self.value(answer),
            Ok(Told::Value(value)) => value,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                self.value(nothing_known)
            }
        }
    }

    fn value(&self, answer: Answer) -> Value {
        match answer {
            Answer::Done => done(),
            Answer::Value(None) => Value::Nil,
            Answer::Value(Some(text)) => Value::Bulk(text),
            Answer::Siblings(mut texts) if texts.len() < 2 => {
                texts.pop().map_or(Value::Nil, Value::Bulk)
            }
            Answer::Siblings(texts) => Value::Array(texts.into_iter().map(Value::Bulk).collect()),
            Answer::Number(number) => Value::Number(number),
            Answer::Swapped(swapped) => Value::Number(i64::from(swapped)),
            Answer::NotLeader(leader) => {
                let place = leader.and_then(|leader| self.about.clients.get(&leader));
                error(&match (leader, place) {
                    (Some(leader), Some(place)) => format!("NOTLEADER {leader} {place}"),
                    (Some(leader), None) => format!("NOTLEADER {leader}"),
                    (None, _) => {
                        "NOTLEADER nobody leads, as far as is known here; try again".into()
                    }
                })
            }
            Answer::Busy => error("BUSY too much is under way; it was not done"),
            Answer::Refused(why) => error(&format!("REFUSED {why}")),
            Answer::Unanswered => error("UNANSWERED no answer in time; nothing was changed"),
            Answer::Unknown => error(
                "UNKNOWN outcome: no acknowledgement in time; it may or may not take effect, now or \
                 later",
            ),
        }
    }
}

fn done() -> Value {
    Value::Simple("OK".into())
}

fn error(what: &str) -> Value {
    Value::Error(what.into())
}

fn client(what: &str, connection: u64) -> Value {
    match what.to_ascii_uppercase().as_str() {
        "ID" => Value::Number(i64::try_from(connection).unwrap_or(i64::MAX)),
        "SETNAME" | "SETINFO" | "NO-EVICT" | "NO-TOUCH" => done(),
        "GETNAME" => Value::Nil,
        _ => error("ERR of CLIENT there is ID, SETNAME, GETNAME and SETINFO"),
    }
}

fn command(name: &str, rest: &[&str]) -> Result<Command, String> {
    let number = |text: &str| {
        let number: Option<i64> = text.parse().ok();
        number.ok_or_else(|| "ERR value is not an integer or out of range".to_string())
    };
    let add = |key: &str, by: i64| Command::Add {
        key: key.into(),
        by,
    };
    Ok(match (name, rest) {
        ("GET", [key]) => Command::Get { key: (*key).into() },
        ("SET", [key, value]) => Command::Set {
            key: (*key).into(),
            value: (*value).into(),
        },
        ("SET", [key, value, option]) if option.eq_ignore_ascii_case("NX") => {
            swap(key, None, value)
        }
        ("SETNX", [key, value]) => swap(key, None, value),
        ("CAS", [key, old, new]) => swap(key, Some(old), new),
        ("DEL", [key]) => Command::Delete { key: (*key).into() },
        ("INCR", [key]) => add(key, 1),
        ("DECR", [key]) => add(key, -1),
        ("INCRBY", [key, by]) => add(key, number(by)?),
        ("DECRBY", [key, by]) => {
            let by = number(by)?.checked_neg();
            add(
                key,
                by.ok_or("ERR value is not an integer or out of range")?,
            )
        }
        ("MEMBERS", [what, id]) => Command::Members(change(what, node(id)?)?),
        ("TRANSFER", [id]) => Command::HandOver(node(id)?),
        (
            "GET" | "SET" | "SETNX" | "CAS" | "DEL" | "INCR" | "DECR" | "INCRBY" | "DECRBY"
            | "MEMBERS" | "TRANSFER",
            _,
        ) => {
            return Err(format!(
                "ERR wrong number of arguments for '{name}', or options that are not had here"
            ));
        }
        _ => {
            return Err(format!(
                "ERR unknown command '{}': there are GET, SET, DEL, CAS, INCR, INCRBY, MGET, MEMBERS, TRANSFER, SESSION, INFO",
                name.chars().take(40).collect::<String>()
            ));
        }
    })
}

fn node(id: &str) -> Result<NodeId, String> {
    let number = id.parse().ok().filter(|id| *id < MEMBERS_MAX);
    number
        .map(NodeId)
        .ok_or_else(|| "ERR give the number of a member, such as 3".into())
}

fn change(what: &str, node: NodeId) -> Result<MemberChange, String> {
    match what.to_ascii_uppercase().as_str() {
        "ADD" => Ok(MemberChange::AddLearner(node)),
        "PROMOTE" => Ok(MemberChange::Promote(node)),
        "REMOVE" => Ok(MemberChange::Remove(node)),
        _ => Err("ERR say MEMBERS ADD, MEMBERS PROMOTE or MEMBERS REMOVE".into()),
    }
}

/// Where Redis has another word for the same.
fn as_redis(name: &str, value: Value) -> Value {
    match (name, value) {
        ("SET", Value::Number(0)) => Value::Nil,
        ("SET", Value::Number(_)) => done(),
        // How many were there to be deleted is not known everywhere.
        ("DEL", Value::Simple(_)) => Value::Number(1),
        (_, value) => value,
    }
}

fn swap(key: &str, expected: Option<&str>, new: &str) -> Command {
    Command::CompareAndSwap {
        key: key.into(),
        expected: expected.map(Into::into),
        new: new.into(),
    }
}
