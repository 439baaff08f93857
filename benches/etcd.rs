//! Puts to three members of Raft, beside the same to three of etcd, by turns on one machine: processes on
//! loopback, each with a disk of its own that it flushes before it answers, and clients that wait for each
//! answer and ask whoever leads.
//!
//! ```sh
//! cargo bench -p quorate --bench etcd        # with `etcd` on the path: Debian's etcd-server
//! ```
//!
//! etcd is asked through its JSON gateway, as that is what one can ask without a library. It turns each
//! request into one by gRPC within the process, which costs etcd something: put by gRPC to the same
//! members in the same rounds, by a client that is not kept here, etcd 3.4.23 did 1.2 times as many a
//! second with one client, and 1.4 times as many with 64, in 0.7 times the p50 and the p99. That is what
//! its clients get: divide the ratio by it, and say so where you quote it. Ours speak Redis's protocol.
//!
//! Nothing is encrypted on either side. The clients run on the same machine, and take of its time. Say how
//! busy it was, and let temporary files be on a disk: in memory there is nothing to flush.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use quorate::udp::remote::Remote;
use quorate::udp::resp::Value;
use tempfile::TempDir;

#[expect(dead_code, reason = "of what is measured, another benchmark asks more")]
mod members;

use members::{Members, TIMEOUT, Taken, median};

const MEASURED: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// The same sixteen bytes, as both want them.
const VALUE: &str = "0123456789abcdef";
const VALUE_BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// Three members of etcd as processes. They end with this value.
struct Etcd {
    clients: Vec<SocketAddr>,
    children: Vec<Child>,
    _directory: TempDir,
}

impl Etcd {
    /// Starts them, if there is an etcd on the path.
    fn start() -> Option<Self> {
        let directory = TempDir::new().expect("a temporary directory");
        let sockets: Vec<_> = (0..6)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let address = |socket: &TcpListener| socket.local_addr().expect("an address");
        let addresses: Vec<SocketAddr> = sockets.iter().map(address).collect();
        drop(sockets);
        let (clients, peers) = addresses.split_at(3);
        let named = peers.iter().enumerate();
        let cluster: Vec<String> = named
            .map(|(id, peer)| format!("n{id}=http://{peer}"))
            .collect();
        let cluster = cluster.join(",");
        let place = directory.path().to_owned();
        // Whatever goes wrong, those that were started end with it.
        let mut etcd = Self {
            clients: clients.to_vec(),
            children: Vec::new(),
            _directory: directory,
        };
        for (id, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let data = place.join(id.to_string());
            match member(id, *client, *peer, &cluster, &data).spawn() {
                Ok(child) => etcd.children.push(child),
                Err(error) if error.kind() == ErrorKind::NotFound => return None,
                Err(error) => panic!("etcd does not start: {error}"),
            }
        }
        Some(etcd)
    }

    /// Who leads.
    fn leader(&self) -> SocketAddr {
        let started = Instant::now();
        loop {
            for client in &self.clients {
                let status = Http::connect(*client).and_then(|mut http| {
                    http.post("/v3/maintenance/status", "{}")
                        .map_err(io::Error::other)
                });
                if let Ok(status) = status
                    && let (Some(me), Some(leader)) =
                        (field(&status, "member_id"), field(&status, "leader"))
                    && me == leader
                {
                    return *client;
                }
            }
            assert!(started.elapsed() < TIMEOUT, "a member of etcd leads");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn member(id: usize, client: SocketAddr, peer: SocketAddr, cluster: &str, data: &Path) -> Command {
    let mut command = Command::new("etcd");
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    command
        .arg("--name")
        .arg(format!("n{id}"))
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client])
        .args(["--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer])
        .args(["--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", cluster])
        .args(["--initial-cluster-state", "new", "--log-level", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The string that a field of a flat piece of JSON has.
fn field<'json>(json: &'json str, name: &str) -> Option<&'json str> {
    let (_, after) = json.split_once(&format!("\"{name}\":\""))?;
    after.split_once('"').map(|(value, _)| value)
}

/// A connection that stays open.
struct Http {
    reader: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Http {
    fn connect(host: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&host, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let reader = BufReader::new(stream);
        Ok(Self { reader, host })
    }

    /// Posts, and gives the body of the answer, which must be that it was done.
    fn post(&mut self, path: &str, body: &str) -> Result<String, String> {
        let (host, length) = (self.host, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let stream = self.reader.get_mut();
        stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        self.answer().map_err(|error| error.to_string())?
    }

    fn answer(&mut self) -> io::Result<Result<String, String>> {
        let status = self.line()?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let length: usize = length.ok_or_else(|| io::Error::other("an answer has a length"))?;
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.contains(" 200 ") {
            Ok(Ok(body))
        } else {
            Ok(Err(format!("{status}: {body}")))
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::other("the connection was closed"));
        }
        Ok(line.trim_end().to_owned())
    }
}

fn ours(members: &Members, clients: usize) -> Taken {
    let leader = members.doors()[0];
    Taken::by(clients, MEASURED, |number| {
        let mut remote = Remote::connect(leader, TIMEOUT).expect("a connection");
        let key = format!("key{number:03}");
        move || {
            let reply = remote.ask(&["SET", &key, VALUE]).expect("a reply");
            assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
        }
    })
}

fn theirs(etcd: &Etcd, clients: usize) -> Taken {
    let leader = etcd.leader();
    let taken = Taken::by(clients, MEASURED, |number| {
        let mut http = Http::connect(leader).expect("a connection");
        // Six bytes are eight in base 64, without an end to pad.
        let key = base64(format!("key{number:03}").as_bytes());
        let body = format!("{{\"key\":\"{key}\",\"value\":\"{VALUE_BASE64}\"}}");
        move || {
            http.post("/v3/kv/put", &body).expect("an answer");
        }
    });
    // A follower would have passed them on, and been slower. Ours would have refused.
    assert_eq!(leader, etcd.leader(), "one member leads all the time");
    taken
}

/// Base 64, of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let all = chunk
            .iter()
            .fold(0, |all, byte| all << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[all >> shift & 63]))
    });
    digits.collect()
}

/// What rounds found, of each: how many a second, and how many seconds the median and all but a
/// hundredth took.
#[derive(Default)]
struct Found {
    rates: Vec<f64>,
    halves: Vec<f64>,
    tails: Vec<f64>,
}

impl Found {
    fn add(&mut self, label: &str, taken: &Taken) {
        let (half, tail) = (taken.percentile(50), taken.percentile(99));
        let rate = taken.per_second();
        println!("{label:24} {rate:>9.0} {half:>9.1?} {tail:>9.1?}");
        self.rates.push(rate);
        self.halves.push(half.as_secs_f64());
        self.tails.push(tail.as_secs_f64());
    }

    /// The median of each.
    fn medians(self) -> [f64; 3] {
        [self.rates, self.halves, self.tails].map(median)
    }
}

/// The medians of rounds, and of two kinds their ratios.
fn compare(ours: Found, theirs: Option<Found>) {
    let show = |label: &str, [rate, half, tail]: [f64; 3]| {
        let [half, tail] = [half, tail].map(Duration::from_secs_f64);
        println!("{label:24} {rate:>9.0} {half:>9.1?} {tail:>9.1?}");
    };
    let ours = ours.medians();
    show("our medians", ours);
    if let Some(theirs) = theirs.map(Found::medians) {
        show("etcd's medians", theirs);
        let [rate, half, tail] = [0, 1, 2].map(|of| ours[of] / theirs[of]);
        println!(
            "{:24} {rate:>9.2} {half:>9.2} {tail:>9.2}",
            "ours by etcd's"
        );
    }
    println!();
}

fn main() {
    let members = Members::start("raft", 3);
    let etcd = Etcd::start();
    if etcd.is_none() {
        println!("etcd is not on the path (apt-get install etcd-server): ours alone is measured");
    }
    println!("{:24} {:>9} {:>9} {:>9}", "", "per s", "p50", "p99");
    for clients in [1, 64] {
        let (mut found, mut beside) = (Found::default(), Found::default());
        for _ in 0..ROUNDS {
            found.add(
                &format!("ours, clients: {clients}"),
                &ours(&members, clients),
            );
            if let Some(etcd) = &etcd {
                beside.add(&format!("etcd, clients: {clients}"), &theirs(etcd, clients));
            }
        }
        compare(found, etcd.is_some().then_some(beside));
    }
}
