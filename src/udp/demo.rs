//! `quorate demo`: three members as real processes on this machine, one killed and brought back,
//! another killed, and nothing lost.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::client::{Client, ClientError};
use super::configuration::{Cluster, ConfigurationError, Member, Settings};
use super::serve::{say, stop_on_signals};
use super::{random, std};
use crate::machine::NodeId;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Instant;
use std::{env, fs, process, thread};

const TIMEOUT: Duration = Duration::from_secs(5);
const WRITES: u32 = 100;

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
    /// A value was not the one that was written.
    Wrong {
        /// The key.
        key: String,
        /// What was written.
        written: String,
        /// What was read.
        read: Option<String>,
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
            Self::Wrong { key, written, read } => write!(
                f,
                "the demo failed: {key} was written as {written:?} and read as {read:?}"
            ),
            Self::Interrupted => write!(f, "the demo was interrupted, and cleaned up"),
        }
    }
}

impl core::error::Error for DemoError {}

/// Shows it, with `executable` as the members' program.
///
/// # Errors
///
/// At the first thing that is not as it says.
pub fn demo(executable: &Path) -> Result<(), DemoError> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(&stop).map_err(|error| DemoError::System("handle signals".into(), error))?;
    let directory = Directory::make()
        .map_err(|error| DemoError::System("make a temporary directory".into(), error))?;
    let addresses = free_addresses()
        .map_err(|error| DemoError::System("find free ports on 127.0.0.1".into(), error))?;
    let cluster = settings(&addresses)?
        .cluster()
        .map_err(DemoError::Configuration)?;
    let mut show = Show {
        executable,
        cluster: cluster.clone(),
        directory: &directory.0,
        members: BTreeMap::new(),
        client: Client::connect(&cluster)
            .map_err(|error| DemoError::Call("open a client".into(), error))?,
        stop,
    };
    let outcome = show.run();
    // Someone who interrupts at the terminal interrupts the members too: that is what then failed.
    if outcome.is_err() && show.stop.load(Ordering::Relaxed) {
        return Err(DemoError::Interrupted);
    }
    outcome
}

struct Show<'a> {
    executable: &'a Path,
    cluster: Cluster,
    directory: &'a Path,
    members: BTreeMap<NodeId, Process>,
    client: Client,
    stop: Arc<AtomicBool>,
}

impl Show<'_> {
    fn run(&mut self) -> Result<(), DemoError> {
        let (n0, n1, n2) = (NodeId(0), NodeId(1), NodeId(2));
        say(&format!(
            "Three processes, each with a journal of its own in {}. Any two of them are a quorum.",
            self.directory.display()
        ));
        for node in [n0, n1, n2] {
            self.start(node, Some("--bootstrap"))?;
        }

        say("\nA client writes and reads over UDP. Each write is flushed to two disks at least.");
        self.put("colour", "green")?;
        self.get("colour", "green")?;
        self.write_many()?;

        say("\nOne is killed (SIGKILL: no goodbye). The other two are still a quorum.");
        self.kill(n2)?;
        self.put("colour", "blue")?;
        self.get("colour", "blue")?;

        say("\nIt comes back, boots for the second time, and has from its journal what it had.");
        self.start(n2, None)?;

        say(
            "\nAnother one is killed. Now the one that came back is needed, and it missed the last \
             write: the newest of two answers is what counts.",
        );
        self.kill(n0)?;
        self.get("colour", "blue")?;
        self.get(&format!("key-{WRITES}"), &format!("value-{WRITES}"))?;

        say(
            "\nA second one is killed. One of three is no quorum: a get must not return, nor does it.",
        );
        self.kill(n1)?;
        self.get_nothing("colour")?;

        say("\nBoth come back, and all is there.");
        self.start(n0, None)?;
        self.start(n1, None)?;
        self.get("colour", "blue")?;

        say("\nAll three are asked to stop (SIGTERM).");
        for node in [n0, n1, n2] {
            self.terminate(node)?;
        }
        say("\nThat is what it was to show. `quorate serve --help` is how to run your own.");
        Ok(())
    }

    fn start(&mut self, node: NodeId, bootstrap: Option<&str>) -> Result<(), DemoError> {
        self.check()?;
        let started = Instant::now();
        let mut command = Command::new(self.executable);
        command.arg("serve").arg("--until-input-ends");
        command.args(["--cluster", &self.cluster.id.to_string()]);
        command.args(["--id", &node.0.to_string()]);
        command
            .arg("--data")
            .arg(self.directory.join(node.to_string()));
        for (id, address) in &self.cluster.members {
            command.args(["--member", &format!("{}={address}", id.0)]);
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

    fn terminate(&mut self, node: NodeId) -> Result<(), DemoError> {
        let started = Instant::now();
        let Some(process) = self.members.remove(&node) else {
            return Err(DemoError::Process(node, "is not running".into()));
        };
        let status = process.terminate(TIMEOUT)?;
        if !status.success() {
            return Err(DemoError::Process(node, format!("stopped with {status}")));
        }
        said(started, &format!("{node} stopped, with {status}"));
        Ok(())
    }

    fn put(&mut self, key: &str, value: &str) -> Result<(), DemoError> {
        self.check()?;
        let started = Instant::now();
        self.client
            .put(key, value, TIMEOUT)
            .map_err(|error| DemoError::Call(format!("write {key}"), error))?;
        said(started, &format!("put {key} {value}"));
        Ok(())
    }

    fn get(&mut self, key: &str, written: &str) -> Result<(), DemoError> {
        self.check()?;
        let started = Instant::now();
        let read = self
            .client
            .get(key, TIMEOUT)
            .map_err(|error| DemoError::Call(format!("read {key}"), error))?;
        if read.as_deref() != Some(written) {
            return Err(DemoError::Wrong {
                key: key.into(),
                written: written.into(),
                read,
            });
        }
        said(started, &format!("get {key} -> {written}"));
        Ok(())
    }

    fn get_nothing(&mut self, key: &str) -> Result<(), DemoError> {
        self.check()?;
        let started = Instant::now();
        match self.client.get(key, Duration::from_secs(1)) {
            Err(ClientError::Unanswered) => {
                said(started, &format!("get {key} -> no answer, after a second"));
                Ok(())
            }
            Ok(read) => Err(DemoError::Wrong {
                key: key.into(),
                written: "nothing that one of three may tell".into(),
                read,
            }),
            Err(error) => Err(DemoError::Call(format!("read {key}"), error)),
        }
    }

    fn write_many(&mut self) -> Result<(), DemoError> {
        let started = Instant::now();
        for number in 1..=WRITES {
            self.check()?;
            let (key, value) = (format!("key-{number}"), format!("value-{number}"));
            self.client
                .put(&key, &value, TIMEOUT)
                .map_err(|error| DemoError::Call(format!("write {key}"), error))?;
        }
        let each = started.elapsed() / WRITES;
        let what = format!(
            "{WRITES} more puts, one after the other: {} each",
            time(each)
        );
        said(started, &what);
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

    /// Asks it to stop, and awaits that.
    fn terminate(mut self, timeout: Duration) -> Result<ExitStatus, DemoError> {
        let failed = |error| DemoError::System("send SIGTERM".into(), error);
        // The standard library cannot send it, and every shell can.
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()]);
        shell.status().map_err(failed)?;
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

/// Three addresses that were free a moment ago. All are held before any is let go, so that they
/// differ.
fn free_addresses() -> io::Result<Vec<SocketAddr>> {
    let sockets: Vec<UdpSocket> = (0..3)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    sockets.iter().map(UdpSocket::local_addr).collect()
}

fn settings(addresses: &[SocketAddr]) -> Result<Settings, DemoError> {
    let cluster = random().map_err(|error| DemoError::System("draw a number".into(), error))?;
    let members = (0..).zip(addresses).map(|(id, address)| Member {
        id,
        address: address.to_string(),
    });
    Ok(Settings {
        cluster: Some(cluster),
        members: Some(members.collect()),
        ..Settings::default()
    })
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
