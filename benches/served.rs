//! What tolerating lies costs: requests to four members of PBFT, signed and on disk, beside the same to
//! three members of Raft, by turns on one machine. On loopback, with clients that wait for each answer.
//!
//! ```sh
//! cargo bench -p quorate --bench served      # say how busy the machine was beside it
//! ```

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use quorate::udp::keys::SecretKey;
use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

/// Members as processes. They end with this value.
struct Members {
    clients: Vec<SocketAddr>,
    children: Vec<Child>,
    _directory: TempDir,
}

impl Members {
    fn start(protocol: &str, count: usize) -> Self {
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
    fn doors(&self) -> Vec<SocketAddr> {
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
    fn sum(&self, name: &str) -> u64 {
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

fn key(directory: &Path, id: usize) -> std::path::PathBuf {
    directory.join(format!("{id}.key"))
}

fn ask(at: SocketAddr, words: &[&str]) -> Value {
    let asked = Remote::connect(at, TIMEOUT).and_then(|mut remote| remote.ask(words));
    asked.expect("a reply")
}

/// What a round found.
struct Measured {
    per_second: f64,
    median: Duration,
    slowest_hundredth: Duration,
    /// Of PBFT: the part of a member's time that keys and digests took, and that for one request.
    keys: Option<(f64, Duration)>,
}

/// So many clients ask, each at its own door, for a while.
fn measure(members: &Members, clients: usize, reads: bool) -> Measured {
    let doors = members.doors();
    let before = members.sum("crypto_micros");
    let started = Instant::now();
    let asking: Vec<_> = (0..clients)
        .map(|number| {
            let door = doors[number % doors.len()];
            thread::spawn(move || {
                let mut remote = Remote::connect(door, TIMEOUT).expect("a connection");
                let key = format!("key {number}");
                let mut taken = Vec::new();
                while started.elapsed() < MEASURED {
                    let asked = Instant::now();
                    let reply = if reads {
                        remote.ask(&["GET", &key])
                    } else {
                        remote.ask(&["SET", &key, "0123456789abcdef"])
                    };
                    let reply = reply.expect("a reply");
                    assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
                    taken.push(asked.elapsed());
                }
                taken
            })
        })
        .collect();
    let taken = asking
        .into_iter()
        .flat_map(|client| client.join().expect("a client ends well"));
    let mut taken: Vec<Duration> = taken.collect();
    let elapsed = started.elapsed();
    taken.sort_unstable();
    let spent = Duration::from_micros(members.sum("crypto_micros") - before);
    let count = u32::try_from(taken.len()).expect("fewer than 2^32 requests");
    let members = u32::try_from(members.clients.len()).expect("few members");
    Measured {
        per_second: f64::from(count) / elapsed.as_secs_f64(),
        median: taken[taken.len() / 2],
        slowest_hundredth: taken[taken.len() * 99 / 100],
        keys: (!spent.is_zero()).then(|| {
            let share = spent.as_secs_f64() / (elapsed * members).as_secs_f64();
            (share, spent / count)
        }),
    }
}

fn main() {
    let clusters = [
        ("raft", Members::start("raft", 3)),
        ("pbft", Members::start("pbft", 4)),
    ];
    println!(
        "{:24} {:>9} {:>9} {:>9}   in keys and digests",
        "", "per s", "p50", "p99"
    );
    for (clients, reads) in [(1, false), (16, false), (64, false), (16, true)] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((name, members), rates) in clusters.iter().zip(&mut rates) {
                let measured = measure(members, clients, reads);
                rates.push(measured.per_second);
                let what = if reads { "GET" } else { "SET" };
                let label = format!("{name}, {clients} clients, {what}");
                let keys = measured.keys.map_or_else(String::new, |(share, each)| {
                    format!(
                        "{:.0} % of a member's time, {each:.0?} a request",
                        share * 100.0
                    )
                });
                println!(
                    "{label:24} {:>9.0} {:>9.1?} {:>9.1?}   {keys}",
                    measured.per_second, measured.median, measured.slowest_hundredth
                );
            }
        }
        let [raft, pbft] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        });
        println!("{:24} {:.2} of raft's\n", "pbft's median rate", pbft / raft);
    }
}
