//! `quorate serve`: one member of a cluster, as a process.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::configuration::{Cluster, ConfigurationError, Place, Settings};
use super::journal::{Journal, JournalError, Recovered};
use super::node::{Node, Stop};
use super::port::{CLIENTS_MAX, Port};
use super::{random, std};
use crate::machine::{Machine, NodeId};
use crate::register::Register;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, UdpSocket};
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
pub fn serve(settings: &Settings, start: Start, stop: &Arc<AtomicBool>) -> Result<(), ServeError> {
    let cluster = settings.cluster().map_err(ServeError::Configuration)?;
    let place = settings
        .place(&cluster)
        .map_err(ServeError::Configuration)?;
    let mut node = boot(&cluster, &place, start)?;
    stop_on_signals(stop).map_err(ServeError::System)?;
    say(&ready_line(&cluster, &place, &node));
    let name = place.node;
    let stopped = |reason| ServeError::Stopped(name, reason);
    // Between two turns everything that was begun is finished: that is when to stop.
    while !stop.load(Ordering::Relaxed) {
        // Members are asked by messages alone, so nobody awaits these events.
        let _replies: Vec<_> = node.turn([], WAIT_MAX).map_err(stopped)?;
        for (refusal, address) in node.first_drops() {
            log(&format!(
                "{name} dropped a datagram from {address}: {refusal}; more like it are only counted"
            ));
        }
    }
    log(&format!("{name} stopped as asked: {}", node.counters()));
    Ok(())
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

fn boot(
    cluster: &Cluster,
    place: &Place,
    start: Start,
) -> Result<Node<Register, Journal>, ServeError> {
    let node = place.node;
    // The port before the journal: a node started twice by mistake makes no journal.
    let socket =
        UdpSocket::bind(place.listen).map_err(|error| ServeError::Listen(place.listen, error))?;
    let identity = cluster.identity(node);
    let port = Port::new(socket, &identity, cluster.members.clone(), CLIENTS_MAX)
        .map_err(ServeError::System)?;
    let seed = random().map_err(ServeError::System)?;
    type Durable = <Register as Machine>::Durable;
    let (journal, durable) = match start {
        Start::Bootstrap => {
            let journal =
                Journal::create::<Durable>(&place.data, &identity).map_err(ServeError::Journal)?;
            (journal, Durable::default())
        }
        Start::Recover => {
            let Recovered {
                journal,
                durable,
                torn_bytes,
            } = Journal::open::<Durable>(&place.data, &identity).map_err(ServeError::Journal)?;
            if torn_bytes > 0 {
                log(&format!(
                    "{node} cut {torn_bytes} bytes of an unfinished write off its journal; nothing \
                     of it was ever acknowledged"
                ));
            }
            (journal, durable)
        }
    };
    let machine = cluster.register(node);
    let (node, _) = Node::boot(machine, node, durable, journal, port, seed)
        .map_err(|stop| ServeError::Stopped(node, stop))?;
    Ok(node)
}

fn ready_line(cluster: &Cluster, place: &Place, node: &Node<Register, Journal>) -> String {
    let durable = &node.state().durable;
    format!(
        "{} serves register at {}, members {}, journal {} (boot {}, commits {}, keys {})",
        place.node,
        place.listen,
        cluster.quorums.members(),
        node.disk().path().display(),
        durable.incarnation,
        node.disk().commits(),
        durable.versions.len(),
    )
}
