//! Members of a cluster as processes, and how long their clients wait.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use quorate::udp::keys::SecretKey;
use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use tempfile::TempDir;

/// How long anything may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// Members as processes. They end with this value.
pub(crate) struct Members {
    pub(crate) clients: Vec<SocketAddr>,
    children: Vec<Child>,
    _directory: TempDir,
}

impl Members {
    /// So many members of this protocol, with a disk each.
    pub(crate) fn start(protocol: &str, count: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let sockets = || {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            (udp, TcpListener::bind("127.0.0.1:0").expect("a port"))
        };
        let sockets: Vec<_> = (0..count).map(|_| sockets()).collect();
        let addresses = sockets.iter().map(|(udp, tcp)| {
            let [udp, tcp] = [udp.local_addr(), tcp.local_addr()];
            (udp.expect("an address"), tcp.expect("an address"))
        });
        let addresses: Vec<(SocketAddr, SocketAddr)> = addresses.collect();
        drop(sockets);
        let mut shared = vec![format!("--protocol={protocol}"), "--cluster=7".into()];
        for (id, (udp, tcp)) in addresses.iter().enumerate() {
            shared.push(format!("--member={id}={udp},{tcp}"));
            if protocol == "pbft" {
                let secret = SecretKey::generate().expect("randomness");
                secret.write(&key(directory.path(), id)).expect("a file");
                shared.push(format!("--public-key={id}={}", secret.public()));
            }
        }
        let children = (0..count).map(|id| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
            command
                .args(["serve", "--until-input-ends", "--bootstrap"])
                .args(&shared);
            command
                .arg(format!("--id={id}"))
                .arg("--data")
                .arg(directory.path().join(id.to_string()));
            if protocol == "pbft" {
                command.arg("--key").arg(key(directory.path(), id));
            }
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            let mut child = command.spawn().expect("a process");
            let output = child.stdout.take().expect("its output");
            let mut ready = String::new();
            BufReader::new(output)
                .read_line(&mut ready)
                .expect("a line");
            assert!(ready.contains(" serves "), "n{id} is ready: {ready}");
            child
        });
        Self {
            children: children.collect(),
            clients: addresses.into_iter().map(|(_, tcp)| tcp).collect(),
            _directory: directory,
        }
    }

    /// Those that take commands: of a protocol with a leader, that one.
    pub(crate) fn doors(&self) -> Vec<SocketAddr> {
        let started = Instant::now();
        loop {
            let takes = |at: &&SocketAddr| !matches!(ask(**at, &["GET", "x"]), Value::Error(_));
            let doors: Vec<SocketAddr> = self.clients.iter().filter(takes).copied().collect();
            if !doors.is_empty() {
                return doors;
            }
            assert!(started.elapsed() < TIMEOUT, "someone takes commands");
        }
    }

    /// The sum of a number that each has in its INFO.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let of = |at: &SocketAddr| {
            let info = shown(&ask(*at, &["INFO"]));
            let mut lines = info.lines();
            let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found.map_or(0, |number| number.trim().parse().expect("a number"))
        };
        self.clients.iter().map(of).sum()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn key(directory: &Path, id: usize) -> PathBuf {
    directory.join(format!("{id}.key"))
}

fn ask(at: SocketAddr, words: &[&str]) -> Value {
    let asked = Remote::connect(at, TIMEOUT).and_then(|mut remote| remote.ask(words));
    asked.expect("a reply")
}

/// How long each of many requests took, and how long all.
pub(crate) struct Taken {
    sorted: Vec<Duration>,
    elapsed: Duration,
}

impl Taken {
    /// So many clients ask, each again and again for so long, by a request that is made for each.
    pub(crate) fn by<F>(clients: usize, time: Duration, client: impl Fn(usize) -> F) -> Self
    where
        F: FnMut() + Send + 'static,
    {
        let started = Instant::now();
        let asking = (0..clients).map(|number| {
            let mut ask = client(number);
            thread::spawn(move || {
                let mut taken = Vec::new();
                while started.elapsed() < time {
                    let asked = Instant::now();
                    ask();
                    taken.push(asked.elapsed());
                }
                taken
            })
        });
        let asking: Vec<_> = asking.collect();
        let taken = asking.into_iter();
        let mut sorted: Vec<Duration> = taken
            .flat_map(|client| client.join().expect("a client ends well"))
            .collect();
        let elapsed = started.elapsed();
        sorted.sort_unstable();
        Self { sorted, elapsed }
    }

    /// How many.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.sorted.len()).expect("fewer than 2^32 requests")
    }

    /// In how much time.
    pub(crate) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How many a second.
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.count()) / self.elapsed.as_secs_f64()
    }

    /// Of a hundred, so many were faster.
    pub(crate) fn percentile(&self, of_hundred: usize) -> Duration {
        self.sorted[self.sorted.len() * of_hundred / 100]
    }
}

/// The one in the middle.
pub(crate) fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
