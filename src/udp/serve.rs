//! `quorate serve`: one member of a cluster, as a process.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::configuration::{Cluster, ConfigurationError, Place, Protocol, Settings};
use super::desk::{Ask, Desk, Request, Told};
use super::front::{self, About, REQUESTS_MAX, Wake};
use super::journal::{Journal, JournalError, Recovered};
use super::node::{Node, Stop};
use super::port::{CLIENTS_MAX, Port};
use super::resp::Value;
use super::served::Served;
use super::{random, std};
use crate::cap::Cap;
use crate::database::Database;
use crate::machine::NodeId;
use crate::raft::Raft;
use crate::register::Register;
use crate::store::Store;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// How long the loop waits at most before it looks whether it is to stop. A signal wakes it anyway,
/// but for one that arrives in the instant before the wait.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// How a node comes by its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the one it has.
    Recover,
    /// It never ran, and begins one.
    Bootstrap,
}

/// Whether clients may have a node's links cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// They may not.
    Refused,
    /// They may: for demonstrations and tests.
    Allowed,
}

/// Why a node does not serve.
#[derive(Debug)]
pub enum ServeError {
    /// The settings are wrong. Nothing was started or changed.
    Configuration(ConfigurationError),
    /// It cannot listen. Nothing was started or changed.
    Listen(SocketAddr, io::Error),
    /// The journal cannot be used. It was left as it was.
    Journal(JournalError),
    /// The operating system refuses what every process needs. Nothing was started.
    System(io::Error),
    /// It was started, and had to stop.
    Stopped(NodeId, Stop),
}

impl Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(error) => error.fmt(f),
            Self::Listen(address, error) if error.kind() == ErrorKind::AddrInUse => write!(
                f,
                "{address} is in use: stop the process that listens there, or choose another \
                 address"
            ),
            Self::Listen(address, error) => write!(
                f,
                "cannot listen on {address} ({error}): set `listen` to an address of this machine"
            ),
            Self::Journal(error) => error.fmt(f),
            Self::System(error) => write!(f, "cannot start: {error}"),
            Self::Stopped(node, stop) => write!(f, "{node} stopped: {stop}"),
        }
    }
}

impl core::error::Error for ServeError {}

/// Runs a member until `stop` is set, or a signal asks to stop.
///
/// # Errors
///
/// If it cannot start, or has to stop by itself.
pub fn serve(
    settings: &Settings,
    start: Start,
    chaos: Chaos,
    stop: &Arc<AtomicBool>,
) -> Result<(), ServeError> {
    let cluster = settings.cluster().map_err(ServeError::Configuration)?;
    let place = settings
        .place(&cluster)
        .map_err(ServeError::Configuration)?;
    match cluster.protocol {
        Protocol::Register => run::<Register>(&cluster, &place, start, chaos, stop),
        Protocol::Raft => run::<Raft>(&cluster, &place, start, chaos, stop),
        Protocol::Store => run::<Store>(&cluster, &place, start, chaos, stop),
        Protocol::Database => run::<Database>(&cluster, &place, start, chaos, stop),
        Protocol::CapCp | Protocol::CapAp => run::<Cap>(&cluster, &place, start, chaos, stop),
    }
}

fn run<M: Served>(
    cluster: &Cluster,
    place: &Place,
    start: Start,
    chaos: Chaos,
    stop: &Arc<AtomicBool>,
) -> Result<(), ServeError> {
    // All that can fail for want of an address before the journal: a node started twice by mistake
    // makes none.
    let socket =
        UdpSocket::bind(place.listen).map_err(|error| ServeError::Listen(place.listen, error))?;
    let listener = match cluster.clients.get(&place.node) {
        None => None,
        Some(at) => Some(TcpListener::bind(at).map_err(|error| ServeError::Listen(*at, error))?),
    };
    let unique = random().map_err(ServeError::System)?;
    let mut node: Node<M, Journal> = boot(cluster, place, start, socket)?;
    stop_on_signals(stop).map_err(ServeError::System)?;
    let (sender, requests) = sync_channel(REQUESTS_MAX);
    if let Some(listener) = listener {
        let about = About {
            protocol: cluster.protocol.name(),
            members: cluster.quorums.members(),
            clients: cluster.clients.clone(),
            chaos: chaos == Chaos::Allowed,
        };
        let waker = node.waker();
        // That it cannot be woken is no worse than that it wakes late.
        let wake: Wake = Arc::new(move || drop(waker.wake()));
        front::listen(listener, about, &sender, &wake).map_err(ServeError::System)?;
    }
    say(&ready_line(cluster, place, &node));
    let name = place.node;
    let stopped = |reason| ServeError::Stopped(name, reason);
    let mut desk = Desk::new(unique);
    // Between two turns everything that was begun is finished: that is when to stop.
    while !stop.load(Ordering::Relaxed) {
        let calls = heed(&requests, &mut desk, &mut node);
        for event in node.turn(calls, WAIT_MAX).map_err(stopped)? {
            desk.event(event, node.state());
        }
        for (refusal, address) in node.first_drops() {
            log(&format!(
                "{name} dropped a datagram from {address}: {refusal}; more like it are only counted"
            ));
        }
    }
    log(&format!("{name} stopped as asked: {}", node.counters()));
    Ok(())
}

/// What was asked since the last turn: calls, and what is answered at once.
fn heed<M: Served>(
    requests: &Receiver<Request>,
    desk: &mut Desk<M>,
    node: &mut Node<M, Journal>,
) -> Vec<M::Call> {
    let mut calls = Vec::new();
    for Request {
        connection,
        ask,
        answer,
    } in requests.try_iter().take(REQUESTS_MAX)
    {
        let value = match ask {
            Ask::Command(command) => {
                let now = node.elapsed();
                calls.extend(desk.ask(node.machine(), now, connection, command, answer));
                continue;
            }
            Ask::Left => {
                desk.left(connection);
                continue;
            }
            Ask::Session => Value::Bulk(desk.token(connection)),
            Ask::Resume(token) => match desk.resume(connection, &token) {
                Ok(()) => Value::Simple("OK".into()),
                Err(why) => Value::Error(format!("ERR {why}")),
            },
            Ask::Status => Value::Bulk(status(node)),
            Ask::Cut(others) => {
                log(&format!("a client asked to cut {others}"));
                node.cut(others);
                Value::Simple("OK".into())
            }
        };
        // That nobody listens any more is no harm.
        let _ = answer.try_send(Told::Value(value));
    }
    calls
}

/// As Redis's `INFO` has it: a setting a line.
fn status<M: Served>(node: &Node<M, Journal>) -> String {
    let counters = node.counters();
    let counts = [
        ("journal_commits", node.disk().commits()),
        ("messages_in", counters.messages_in),
        ("messages_out", counters.messages_out),
        ("messages_cut", counters.messages_cut),
        ("turns", counters.turns),
    ];
    let counts = counts.map(|(what, count)| (what, count.to_string()));
    let settings = M::status(node.state()).into_iter().chain(counts);
    let lines = settings.map(|(what, value)| format!("{what}:{value}\r\n"));
    format!("# {}\r\n", M::NAME) + &lines.collect::<String>()
}

/// Sets `stop` when a signal asks the process to stop.
///
/// # Errors
///
/// If the handlers cannot be set.
pub fn stop_on_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// Sets `stop` when standard input ends, as it does when whoever started the process is gone.
pub fn stop_on_end_of_input(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        // An error is an end too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        stop.store(true, Ordering::Relaxed);
    });
}

/// Writes a line to the log, in one write, so that the lines of several processes do not mix.
fn log(line: &str) {
    let _ = io::stderr().write_all(format!("quorate: {line}\n").as_bytes());
}

/// Prints a line. If nobody reads it, that is no reason to stop.
pub(super) fn say(line: &str) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn boot<M: Served>(
    cluster: &Cluster,
    place: &Place,
    start: Start,
    socket: UdpSocket,
) -> Result<Node<M, Journal>, ServeError> {
    let node = place.node;
    let identity = M::identity(cluster, node);
    let port = Port::new(socket, &identity, cluster.members.clone(), CLIENTS_MAX)
        .map_err(ServeError::System)?;
    let seed = random().map_err(ServeError::System)?;
    let (journal, durable) = match start {
        Start::Bootstrap => {
            let journal = Journal::create::<M::Durable>(&place.data, &identity)
                .map_err(ServeError::Journal)?;
            (journal, M::Durable::default())
        }
        Start::Recover => {
            let Recovered {
                journal,
                durable,
                torn_bytes,
            } = Journal::open::<M::Durable>(&place.data, &identity).map_err(ServeError::Journal)?;
            if torn_bytes > 0 {
                log(&format!(
                    "{node} cut {torn_bytes} bytes of an unfinished write off its journal; nothing \
                     of it was ever acknowledged"
                ));
            }
            (journal, durable)
        }
    };
    let machine = M::machine(cluster, node);
    let (node, _) = Node::boot(machine, node, durable, journal, port, seed)
        .map_err(|stop| ServeError::Stopped(node, stop))?;
    Ok(node)
}

fn ready_line<M: Served>(cluster: &Cluster, place: &Place, node: &Node<M, Journal>) -> String {
    let clients = cluster.clients.get(&place.node);
    let clients = clients.map_or_else(String::new, |at| format!(", clients at {at}"));
    let status = M::status(node.state()).into_iter();
    let mut status: Vec<String> = status
        .map(|(what, value)| format!("{what} {value}"))
        .collect();
    status.insert(
        status.len().min(1),
        format!("commits {}", node.disk().commits()),
    );
    format!(
        "{} serves {} at {}{clients}, members {}, journal {} ({})",
        place.node,
        cluster.protocol.name(),
        place.listen,
        cluster.quorums.members(),
        node.disk().path().display(),
        status.join(", "),
    )
}
