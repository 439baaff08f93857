//! `quorate serve`: one member of a cluster, as a process.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::admin;
use super::configuration::{Cluster, ConfigurationError, Place, Settings};
use super::cycle::{Ground, Stop};
use super::desk::Request;
use super::flush::Writer;
use super::front::{self, About, REQUESTS_MAX, Wake};
use super::journal::{Journal, JournalError, Recovered};
use super::member::{Luck, Member};
use super::port::{CLIENTS_MAX, Port, Udp};
use super::recording::Recorder;
use super::served::{ForServed, Served, with};
use super::{Identity, random, std};
use crate::machine::NodeId;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Instant;

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
    /// The recording cannot be begun. Nothing was started.
    Recording(PathBuf, io::Error),
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
                "cannot listen on {address} ({error}): give an address of this machine"
            ),
            Self::Journal(error) => error.fmt(f),
            Self::Recording(path, error) if error.kind() == ErrorKind::AlreadyExists => write!(
                f,
                "there is a file {} already: give --record the name of a new one, for each start \
                 its own",
                path.display()
            ),
            Self::Recording(path, error) => write!(
                f,
                "cannot record in {} ({error}): give --record a file that can be made",
                path.display()
            ),
            Self::System(error) => write!(f, "cannot start: {error}"),
            Self::Stopped(node, stop) => write!(f, "{node} stopped: {stop}"),
        }
    }
}

impl core::error::Error for ServeError {}

/// How a member is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How it comes by its journal.
    pub start: Start,
    /// Whether clients may have its links cut.
    pub chaos: Chaos,
    /// The new file to record in all that it hears and says, if any.
    pub record: Option<PathBuf>,
}

/// Runs a member until `stop` is set, or a signal asks to stop.
///
/// # Errors
///
/// If it cannot start, or has to stop by itself.
pub fn serve(
    settings: &Settings,
    manner: &Manner,
    stop: &Arc<AtomicBool>,
) -> Result<(), ServeError> {
    let cluster = settings.cluster().map_err(ServeError::Configuration)?;
    let place = settings
        .place(&cluster)
        .map_err(ServeError::Configuration)?;
    with(
        cluster.protocol,
        Serving {
            settings,
            cluster: &cluster,
            place: &place,
            manner,
            stop,
        },
    )
}

/// All that it takes to run a member, but for its machine.
struct Serving<'a> {
    settings: &'a Settings,
    cluster: &'a Cluster,
    place: &'a Place,
    manner: &'a Manner,
    stop: &'a Arc<AtomicBool>,
}

impl ForServed for Serving<'_> {
    type Output = Result<(), ServeError>;

    fn with<M: Served>(self) -> Result<(), ServeError> {
        let Self {
            cluster,
            place,
            manner,
            stop,
            ..
        } = self;
        // All that can fail for want of an address before the journal: a node started twice by mistake
        // makes none.
        let socket = UdpSocket::bind(place.listen)
            .map_err(|error| ServeError::Listen(place.listen, error))?;
        let listener = match cluster.clients.get(&place.node) {
            None => None,
            Some(at) => {
                Some(TcpListener::bind(at).map_err(|error| ServeError::Listen(*at, error))?)
            }
        };
        let name = place.node;
        let stopped = |reason| ServeError::Stopped(name, reason);
        let started = Instant::now();
        let mut member: Deployed<M> = self.boot(socket)?;
        settle(&mut member, started).map_err(stopped)?;
        stop_on_signals(stop).map_err(ServeError::System)?;
        let (sender, requests) = sync_channel(REQUESTS_MAX);
        let waker = member.cycle().ground().port.waker();
        // That it cannot be woken is no worse than that it wakes late.
        let wake: Wake = Arc::new(move || drop(waker.wake()));
        let lives = Arc::new(AtomicU64::new(0));
        if let Some(at) = place.admin {
            admin::listen(at, &sender, &wake, &lives)
                .map_err(|error| ServeError::Listen(at, error))?;
        }
        if let Some(listener) = listener {
            let about = About {
                protocol: cluster.protocol.name(),
                members: cluster.members.keys().copied().collect(),
                clients: cluster.clients.clone(),
                chaos: manner.chaos == Chaos::Allowed,
            };
            front::listen(listener, about, &sender, &wake).map_err(ServeError::System)?;
        }
        say(&ready_line(cluster, place, &member));
        let driver = Driver {
            name,
            started,
            requests: &requests,
            lives: &lives,
            stop,
        };
        driver.run(&mut member).map_err(stopped)?;
        let counters = &member.cycle().ground().port.counters;
        log(&format!("{name} stopped as asked: {counters}"));
        Ok(())
    }
}

/// A member on a real socket and a real disk.
type Deployed<M> = Member<M, Writer<M>, Udp>;

/// What drives a member.
struct Driver<'a> {
    name: NodeId,
    started: Instant,
    requests: &'a Receiver<Request>,
    /// Counts the turns, for whoever wants to know whether there are any.
    lives: &'a AtomicU64,
    stop: &'a AtomicBool,
}

impl Driver<'_> {
    /// Turn by turn, until it is to stop and all that was begun is durable and said.
    fn run<M: Served>(&self, member: &mut Deployed<M>) -> Result<(), Stop> {
        let name = self.name;
        while !self.stop.load(Ordering::Relaxed) {
            self.lives.fetch_add(1, Ordering::Relaxed);
            let turns = member.cycle().ground().port.counters.turns;
            let now = self.started.elapsed();
            if let Some(others) = member.turn(now, self.requests.try_iter())? {
                log(&format!("a client asked to cut {others}"));
            }
            if turns < member.cycle().ground().port.counters.turns {
                member.took(self.started.elapsed().saturating_sub(now));
            }
            let cycle = member.cycle_mut();
            for (refusal, address) in cycle.ground_mut().port.first_drops() {
                log(&format!(
                    "{name} dropped a datagram from {address}: {refusal}; more like it are only \
                     counted"
                ));
            }
            if !cycle.has_room() {
                cycle.ground_mut().port.wait_until_woken(WAIT_MAX)?;
                continue;
            }
            let due = cycle.wakes_at().unwrap_or(Duration::MAX);
            let wait = due.saturating_sub(self.started.elapsed()).min(WAIT_MAX);
            if !wait.is_zero() {
                cycle.ground_mut().port.wait(wait)?;
            }
        }
        settle(member, self.started)
    }
}

/// Waits until everything so far is durable, and said.
fn settle<M: Served>(member: &mut Deployed<M>, started: Instant) -> Result<(), Stop> {
    while !member.settle(started.elapsed())? {
        let port = &mut member.cycle_mut().ground_mut().port;
        port.wait_until_woken(WAIT_MAX)?;
    }
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

impl Serving<'_> {
    fn boot<M: Served>(&self, socket: UdpSocket) -> Result<Deployed<M>, ServeError> {
        let Self { cluster, place, .. } = self;
        let node = place.node;
        let identity = M::identity(cluster, node);
        let port = Port::new(socket, &identity, cluster.members.clone(), CLIENTS_MAX)
            .map_err(ServeError::System)?;
        let recorder = match &self.manner.record {
            None => None,
            Some(path) => Some(
                Recorder::create(path, self.settings)
                    .map_err(|error| ServeError::Recording(path.clone(), error))?,
            ),
        };
        let luck = Luck {
            seed: random().map_err(ServeError::System)?,
            unique: random().map_err(ServeError::System)?,
        };
        let (journal, durable) = open::<M>(place, &identity, self.manner.start)?;
        let waker = port.waker();
        let flush =
            Writer::start(journal, move || drop(waker.wake())).map_err(ServeError::System)?;
        let ground = Ground {
            port,
            flush,
            recorder,
        };
        Member::boot(cluster, node, durable, ground, luck)
            .map_err(|stop| ServeError::Stopped(node, stop))
    }
}

fn open<M: Served>(
    place: &Place,
    identity: &Identity,
    start: Start,
) -> Result<(Journal, M::Durable), ServeError> {
    match start {
        Start::Bootstrap => {
            let journal = Journal::create::<M::Durable>(&place.data, identity)
                .map_err(ServeError::Journal)?;
            Ok((journal, M::Durable::default()))
        }
        Start::Recover => {
            let Recovered {
                journal,
                durable,
                torn_bytes,
            } = Journal::open::<M::Durable>(&place.data, identity).map_err(ServeError::Journal)?;
            if torn_bytes > 0 {
                let node = place.node;
                log(&format!(
                    "{node} cut {torn_bytes} bytes of an unfinished write off its journal; nothing \
                     of it was ever acknowledged"
                ));
            }
            Ok((journal, durable))
        }
    }
}

fn ready_line<M: Served>(cluster: &Cluster, place: &Place, member: &Deployed<M>) -> String {
    let writer = &member.cycle().ground().flush;
    let clients = cluster.clients.get(&place.node);
    let clients = clients.map_or_else(String::new, |at| format!(", clients at {at}"));
    let status = M::status(member.state()).into_iter();
    let mut status: Vec<String> = status
        .map(|(what, value)| format!("{what} {value}"))
        .collect();
    status.insert(
        status.len().min(1),
        format!("commits {}", writer.written().commits()),
    );
    format!(
        "{} serves {} at {}{clients}, members {}, journal {} ({})",
        place.node,
        cluster.protocol.name(),
        place.listen,
        cluster.quorums.members(),
        writer.path().display(),
        status.join(", "),
    )
}
