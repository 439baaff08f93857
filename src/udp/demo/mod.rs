//! `quorate demo`: members as real processes on this machine, killed, cut off and brought back, and what
//! their protocol promises shown to be so.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::client::ClientError;
use super::configuration::{Cluster, ConfigurationError, Member, Protocol, Settings};
use super::keys::{KeyError, SecretKey};
use super::remote::{Remote, RemoteError, shown};
use super::resp::Value;
use super::serve::{say, stop_on_signals};
use super::{random, std};
use crate::data::NodeSet;
use crate::machine::NodeId;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Instant;
use std::{env, fs, process, thread};

mod cap;
mod causal;
mod chaos;
mod database;
mod gossip;
mod membership;
mod pbft;
mod raft;
mod rebalance;
mod register;
mod store;
pub mod traitor;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the demonstration did not show what it says. Its processes are stopped and its files gone.
#[derive(Debug)]
pub enum DemoError {
    /// The operating system refused something.
    System(String, io::Error),
    /// The settings it made for itself were refused.
    Configuration(ConfigurationError),
    /// A process did not become ready, or not stop, as it should.
    Process(NodeId, String),
    /// A call failed that should not have.
    Call(String, ClientError),
    /// A member did not reply to what it was asked.
    Asked(String, RemoteError),
    /// A reply was not the one that was promised.
    Replied {
        /// What was asked, and of whom.
        asked: String,
        /// What should have been the reply.
        promised: String,
        /// What it was.
        reply: String,
    },
    /// A value was not the one that was written.
    Wrong {
        /// The key.
        key: String,
        /// What was written.
        written: String,
        /// What was read.
        read: Option<String>,
    },
    /// What was counted is not what was promised.
    Counted {
        /// What was counted.
        what: String,
        /// How many there should have been.
        promised: usize,
        /// How many there were.
        counted: usize,
    },
    /// Someone asked to stop.
    Interrupted,
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(what, error) => write!(f, "the demo cannot {what}: {error}"),
            Self::Configuration(error) => error.fmt(f),
            Self::Process(node, what) => write!(f, "the demo failed: {node} {what}"),
            Self::Call(what, error) => write!(f, "the demo failed to {what}: {error}"),
            Self::Asked(what, error) => write!(f, "the demo failed to {what}: {error}"),
            Self::Replied {
                asked,
                promised,
                reply,
            } => write!(
                f,
                "the demo failed: {asked} should have been answered {promised}, and was answered \
                 {reply}"
            ),
            Self::Wrong { key, written, read } => write!(
                f,
                "the demo failed: {key} was written as {written:?} and read as {read:?}"
            ),
            Self::Counted {
                what,
                promised,
                counted,
            } => write!(
                f,
                "the demo failed: {what} should have been {promised}, and were {counted}"
            ),
            Self::Interrupted => write!(f, "the demo was interrupted, and cleaned up"),
        }
    }
}

impl core::error::Error for DemoError {}

/// What a demonstration shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// What the protocol promises.
    Protocol(Protocol),
    /// So many increments of many clients, while members are killed and datagrams are lost.
    Chaos {
        /// How many.
        increments: u64,
    },
}

/// Shows it, with `executable` as the members' program.
///
/// # Errors
///
/// At the first thing that is not as it says.
pub fn demo(show: Show, executable: &Path) -> Result<(), DemoError> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop).map_err(|error| DemoError::System("handle signals".into(), error))?;
    let directory = Directory::make()
        .map_err(|error| DemoError::System("make a temporary directory".into(), error))?;
    let stage = |protocol: Protocol, place: PathBuf| {
        fs::create_dir_all(&place)
            .map_err(|error| DemoError::System("make a directory".into(), error))?;
        Ok(Stage {
            executable,
            cluster: cluster(protocol, members_of(protocol))?,
            directory: place,
            listen: BTreeMap::new(),
            members: BTreeMap::new(),
            stop: Arc::clone(&stop),
        })
    };
    let root = directory.0.clone();
    let outcome = match show {
        Show::Chaos { increments } => chaos::show(&mut stage(Protocol::Raft, root)?, increments),
        Show::Protocol(protocol) => match protocol {
            Protocol::Register => register::show(&mut stage(protocol, root)?),
            Protocol::Raft => raft::show(&mut stage(protocol, root)?),
            Protocol::Store => store::show(&mut stage(protocol, root)?),
            Protocol::Pbft => four_with_keys(&root).and_then(|(cluster, secret)| {
                let mut four = Stage {
                    cluster,
                    ..stage(protocol, root)?
                };
                pbft::show(&mut four, secret)
            }),
            Protocol::CapCp | Protocol::CapAp => cap::show(
                &mut stage(Protocol::CapCp, root.join("cp"))?,
                &mut stage(Protocol::CapAp, root.join("ap"))?,
            ),
            Protocol::Gossip => gossip::show(&mut stage(protocol, root)?),
            Protocol::Causal => causal::show(&mut stage(protocol, root)?),
            Protocol::Membership => membership::show(&mut stage(protocol, root)?),
            Protocol::Database => {
                let mut stage = stage(protocol, root)?;
                database::show(&mut stage)?;
                rebalance::show(&mut stage)
            }
        },
    };
    // Someone who interrupts at the terminal interrupts the members too: that is what then failed.
    if outcome.is_err() && stop.load(Ordering::Relaxed) {
        return Err(DemoError::Interrupted);
    }
    outcome?;
    say("\nThat is what it was to show. `quorate serve --help` is how to run your own.");
    Ok(())
}

/// How many members a demonstration has.
fn members_of(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Register
        | Protocol::Raft
        | Protocol::Store
        | Protocol::CapCp
        | Protocol::CapAp
        | Protocol::Gossip
        | Protocol::Causal => 3,
        // As many as bear one that lies.
        Protocol::Pbft => 4,
        // Five that may run the service, the authority and the resource.
        Protocol::Membership => 7,
        // More than a key has replicas, and one that joins.
        Protocol::Database => 6,
    }
}

/// A cluster of processes.
struct Stage<'a> {
    executable: &'a Path,
    cluster: Cluster,
    directory: PathBuf,
    /// Where a member listens, if not where the others know it.
    listen: BTreeMap<NodeId, SocketAddr>,
    members: BTreeMap<NodeId, Process>,
    stop: Arc<AtomicBool>,
}

impl Stage<'_> {
    fn nodes(&self) -> Vec<NodeId> {
        self.cluster.members.keys().copied().collect()
    }

    fn start_all(&mut self) -> Result<(), DemoError> {
        let nodes = self.nodes();
        nodes
            .into_iter()
            .try_for_each(|node| self.start(node, Some("--bootstrap")))
    }

    fn start(&mut self, node: NodeId, bootstrap: Option<&str>) -> Result<(), DemoError> {
        self.check()?;
        let started = Instant::now();
        let mut command = Command::new(self.executable);
        command.args(["serve", "--until-input-ends", "--chaos"]);
        command.args(["--protocol", self.cluster.protocol.name()]);
        command.args(["--cluster", &self.cluster.id.to_string()]);
        command.args(["--id", &node.0.to_string()]);
        command
            .arg("--data")
            .arg(self.directory.join(node.to_string()));
        for (id, address) in &self.cluster.members {
            let clients = self.cluster.clients.get(id);
            let clients = clients.map_or_else(String::new, |clients| format!(",{clients}"));
            command.args(["--member", &format!("{}={address}{clients}", id.0)]);
        }
        for (id, key) in &self.cluster.public_keys {
            command.args(["--public-key", &format!("{}={key}", id.0)]);
        }
        let key = self.directory.join(format!("{node}.key"));
        if key.exists() {
            command.arg("--key").arg(key);
        }
        for spare in self.cluster.spares {
            command.args(["--spare", &spare.0.to_string()]);
        }
        if let Some(listen) = self.listen.get(&node) {
            command.args(["--listen", &listen.to_string()]);
        }
        command.args(bootstrap);
        let (process, ready) = Process::spawn(node, &mut command)?;
        self.members.insert(node, process);
        let directory = format!("{}/", self.directory.display());
        said(started, &ready.replace(&directory, ""));
        Ok(())
    }

    fn kill(&mut self, node: NodeId) -> Result<(), DemoError> {
        self.check()?;
        let started = Instant::now();
        // Dropping it kills it.
        self.members.remove(&node);
        said(started, &format!("{node} is killed"));
        Ok(())
    }

    fn terminate_all(&mut self) -> Result<(), DemoError> {
        say("\nAll are asked to stop (SIGTERM).");
        for (node, process) in core::mem::take(&mut self.members) {
            let started = Instant::now();
            let status = process.terminate(TIMEOUT)?;
            if !status.success() {
                return Err(DemoError::Process(node, format!("stopped with {status}")));
            }
            said(started, &format!("{node} stopped, with {status}"));
        }
        Ok(())
    }

    /// Asks a member, as redis-cli would.
    fn ask(&self, node: NodeId, words: &[&str]) -> Result<Value, DemoError> {
        self.check()?;
        let clients = self.cluster.clients.get(&node).copied();
        let address = clients.ok_or_else(|| DemoError::Process(node, "has no front".into()))?;
        Remote::connect(address, TIMEOUT)
            .and_then(|mut remote| remote.ask(words))
            .map_err(|error| DemoError::Asked(format!("ask {node} {}", words.join(" ")), error))
    }

    /// The same, and says what was answered; which must be what is promised.
    fn expect(&self, node: NodeId, words: &[&str], promised: &str) -> Result<(), DemoError> {
        let started = Instant::now();
        let value = self.ask(node, words)?;
        let reply = shown(&value);
        let asked = format!("{node}: {}", words.join(" "));
        if !(reply == promised || matches!(value, Value::Error(_)) && reply.starts_with(promised)) {
            return Err(DemoError::Replied {
                asked,
                promised: promised.into(),
                reply,
            });
        }
        said(started, &format!("{asked} -> {reply}"));
        Ok(())
    }

    /// Asks again and again until the answer is this error, but not for ever.
    fn await_error(&self, node: NodeId, words: &[&str], error: &str) -> Result<(), DemoError> {
        let started = Instant::now();
        let asked = format!("{node}: {}", words.join(" "));
        let reply = eventually(&asked, error, || {
            let value = self.ask(node, words)?;
            let reply = shown(&value);
            let is_it = matches!(value, Value::Error(_)) && reply.starts_with(error);
            Ok(if is_it { Ok(reply) } else { Err(reply) })
        })?;
        said(started, &format!("{asked} -> {reply}"));
        Ok(())
    }

    /// Cuts all links between `side` and the others.
    fn cut(&self, side: NodeSet) -> Result<(), DemoError> {
        let started = Instant::now();
        for node in self.nodes() {
            let far = (self.nodes().into_iter())
                .filter(|other| side.contains(*other) != side.contains(node));
            let far: Vec<String> = far.map(|other| other.0.to_string()).collect();
            let mut words = alloc::vec!["CHAOS", "CUT"];
            words.extend(far.iter().map(String::as_str));
            self.ask(node, &words)?;
        }
        said(started, &format!("{side} is cut off from the others"));
        Ok(())
    }

    /// Cuts the links between these two sets of nodes, and no others.
    fn part(&self, one: NodeSet, other: NodeSet) -> Result<(), DemoError> {
        let started = Instant::now();
        for (side, far) in [(one, other), (other, one)] {
            let far: Vec<String> = far.iter().map(|node| node.0.to_string()).collect();
            let mut words = alloc::vec!["CHAOS", "CUT"];
            words.extend(far.iter().map(String::as_str));
            for node in side {
                self.ask(node, &words)?;
            }
        }
        said(
            started,
            &format!("nothing passes between {one} and {other}"),
        );
        Ok(())
    }

    /// What a member says of itself: a setting and its value a line.
    fn status(&self, node: NodeId) -> Result<BTreeMap<String, String>, DemoError> {
        let told = shown(&self.ask(node, &["INFO"])?);
        let lines = told.lines().filter_map(|line| line.split_once(':'));
        Ok(lines
            .map(|(what, value)| (what.into(), value.trim_end().into()))
            .collect())
    }

    /// One setting of what a member says of itself.
    fn told(&self, node: NodeId, what: &str) -> Result<String, DemoError> {
        Ok(self.status(node)?.remove(what).unwrap_or_default())
    }

    /// Sends a member's process a signal.
    fn signal(&self, node: NodeId, name: &str) -> Result<(), DemoError> {
        let process = self.members.get(&node);
        process.map_or(Ok(()), |process| process.signal(name))
    }

    /// Mends all links.
    fn heal(&self) -> Result<(), DemoError> {
        let started = Instant::now();
        for node in self.nodes() {
            self.ask(node, &["CHAOS", "HEAL"])?;
        }
        said(started, "all links are whole");
        Ok(())
    }

    fn check(&self) -> Result<(), DemoError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(DemoError::Interrupted);
        }
        Ok(())
    }
}

/// A member's process. It does not outlive this value; and as its standard input ends with us, it
/// does not outlive us either, should we be killed.
struct Process {
    node: NodeId,
    child: Child,
}

impl Process {
    /// Starts it, and awaits the line that says it is ready.
    fn spawn(node: NodeId, command: &mut Command) -> Result<(Self, String), DemoError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Its log would interrupt the story. What matters of it is in the exit status.
        let child = command.stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| DemoError::System(format!("start {node}"), error))?;
        let mut process = Self { node, child };
        let output = process.child.stdout.take();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = output.map(|output| BufReader::new(output).read_line(&mut line));
            // Nobody listens any more if it took too long.
            let _ = sender.send(matches!(read, Some(Ok(1..))).then_some(line));
        });
        match receiver.recv_timeout(TIMEOUT) {
            Ok(Some(line)) => Ok((process, line.trim_end().into())),
            Ok(None) | Err(_) => Err(DemoError::Process(node, "did not become ready".into())),
        }
    }

    /// Sends it a signal.
    fn signal(&self, name: &str) -> Result<(), DemoError> {
        // The standard library cannot, and every shell can.
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -$0 $1", name, &self.child.id().to_string()]);
        let sent = shell.status();
        sent.map_err(|error| DemoError::System(format!("send SIG{name}"), error))?;
        Ok(())
    }

    /// Asks it to stop, and awaits that.
    fn terminate(mut self, timeout: Duration) -> Result<ExitStatus, DemoError> {
        let failed = |error| DemoError::System("await a process".into(), error);
        self.signal("TERM")?;
        let started = Instant::now();
        while started.elapsed() < timeout {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        let what = "did not stop when it was asked to".into();
        Err(DemoError::Process(self.node, what))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of our own, gone when this is.
struct Directory(PathBuf);

impl Directory {
    fn make() -> io::Result<Self> {
        let name = format!("quorate-demo-{}-{:x}", process::id(), random()?);
        let path = env::temp_dir().join(name);
        // Not `create_dir_all`: that would take one that is there.
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// So many addresses that were free a moment ago, and as many for clients. All are held before any is
/// let go, so that they differ.
fn free_addresses(count: u64) -> io::Result<Vec<(SocketAddr, SocketAddr)>> {
    let bind = |_| Ok((bind_any(UdpSocket::bind)?, bind_any(TcpListener::bind)?));
    let sockets: Vec<(UdpSocket, TcpListener)> = (0..count).map(bind).collect::<io::Result<_>>()?;
    let addresses = sockets.iter();
    addresses
        .map(|(udp, tcp)| Ok((udp.local_addr()?, tcp.local_addr()?)))
        .collect()
}

/// Binds a port of those that systems do not give to who asks for any: else another's client might be
/// given it before its member is there.
fn bind_any<T>(bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    const PORTS: core::ops::Range<u16> = 10_000..32_000;
    const ATTEMPTS: u32 = 100;
    let mut refused = io::ErrorKind::AddrInUse.into();
    for _ in 0..ATTEMPTS {
        let drawn = random()? % u64::try_from(PORTS.len()).unwrap_or(1);
        let port = PORTS.start + u16::try_from(drawn).unwrap_or(0);
        match bind((Ipv4Addr::LOCALHOST, port).into()) {
            Ok(bound) => return Ok(bound),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn settings(protocol: Protocol, count: u64) -> Result<Settings, DemoError> {
    let cluster = random().map_err(|error| DemoError::System("draw a number".into(), error))?;
    let addresses = free_addresses(count)
        .map_err(|error| DemoError::System("find free ports on 127.0.0.1".into(), error))?;
    let members = (0..).zip(addresses).map(|(id, (address, clients))| Member {
        id,
        address: address.to_string(),
        clients: Some(clients.to_string()),
    });
    // The last is to join the ring.
    let spares = (protocol == Protocol::Database).then(|| alloc::vec![count - 1]);
    Ok(Settings {
        cluster: Some(cluster),
        protocol: Some(protocol.name().into()),
        members: Some(members.collect()),
        spares,
        ..Settings::default()
    })
}

fn cluster(protocol: Protocol, count: u64) -> Result<Cluster, DemoError> {
    let settings = settings(protocol, count)?;
    settings.cluster().map_err(DemoError::Configuration)
}

/// Four members with keys: the files of all but the first, whose secret is given.
fn four_with_keys(directory: &Path) -> Result<(Cluster, SecretKey), DemoError> {
    let failed = |error: KeyError| {
        DemoError::System("make keys".into(), io::Error::other(error.to_string()))
    };
    let mut cluster = cluster(Protocol::Pbft, members_of(Protocol::Pbft))?;
    let first = SecretKey::generate().map_err(failed)?;
    for node in cluster.members.keys() {
        let secret = if node.0 == 0 {
            first.clone()
        } else {
            let secret = SecretKey::generate().map_err(failed)?;
            secret
                .write(&directory.join(format!("{node}.key")))
                .map_err(failed)?;
            secret
        };
        cluster.public_keys.insert(*node, secret.public());
    }
    Ok((cluster, first))
}

/// Attempts it again and again, but not for ever. An attempt gives what it was to give, or else the reply
/// that it got.
fn eventually<T>(
    asked: &str,
    promised: &str,
    attempt: impl FnMut() -> Result<Result<T, String>, DemoError>,
) -> Result<T, DemoError> {
    within(TIMEOUT, asked, promised, attempt)
}

/// The same, for so long.
fn within<T>(
    limit: Duration,
    asked: &str,
    promised: &str,
    mut attempt: impl FnMut() -> Result<Result<T, String>, DemoError>,
) -> Result<T, DemoError> {
    let started = Instant::now();
    loop {
        match attempt()? {
            Ok(given) => return Ok(given),
            Err(reply) if started.elapsed() > limit => {
                return Err(DemoError::Replied {
                    asked: asked.into(),
                    promised: promised.into(),
                    reply,
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn said(started: Instant, what: &str) {
    say(&format!("  {:>8}  {what}", time(started.elapsed())));
}

fn time(duration: Duration) -> String {
    let micros = duration.as_micros();
    if micros < 1000 {
        format!("{micros} µs")
    } else {
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    }
}
