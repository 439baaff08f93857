//! Real processes on loopback: killed, restarted, bothered, and judged by what clients saw.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quorate::machine::NodeId;
use quorate::register::{Reads, Register};
use quorate::udp::client::{Client, ClientError};
use quorate::udp::configuration::{Cluster, Member, Settings};
use quorate::udp::served::Served as _;
use quorate::udp::wire::{Refusal, Wire};
use quorate_models::history::{
    CasCall, CasReply, History, KeyValue, KeyValueCall, OperationId, linearizable,
};
use tempfile::TempDir;

use crate::{Random, store};

pub(crate) const CLUSTER: u64 = 7;
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn quorate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
}

/// So many addresses that were free a moment ago.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let sockets: Vec<UdpSocket> = (0..count).map(|_| bind_any(UdpSocket::bind)).collect();
    sockets.iter().map(|it| it.local_addr().unwrap()).collect()
}

/// Binds a port of those that systems do not give to who asks for any: else somebody else's client might
/// be given it before its member is there.
pub(crate) fn bind_any<T>(bind: impl Fn(SocketAddr) -> io::Result<T>) -> T {
    let bound = (0..100).find_map(|_| {
        let drawn = RandomState::new().build_hasher().finish() % 22_000;
        let port = 10_000 + u16::try_from(drawn).unwrap();
        bind((Ipv4Addr::LOCALHOST, port).into()).ok()
    });
    bound.expect("one of a hundred ports is free")
}

pub(crate) fn signal(child: &Child, name: &str) {
    let script = format!("kill -{name} {}", child.id());
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success());
}

/// Waits for what has to come, but not for ever.
pub(crate) fn eventually(what: &str, mut happens: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happens() {
        assert!(started.elapsed() < TIMEOUT, "{what} did not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A member's process. It ends with this value, however the test ends.
struct Process {
    child: Child,
    ready: String,
}

impl Process {
    fn terminate(mut self) -> ExitStatus {
        signal(&self.child, "TERM");
        let mut status = None;
        eventually("a clean stop", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three members.
struct Three {
    directory: TempDir,
    addresses: Vec<SocketAddr>,
    processes: BTreeMap<usize, Process>,
}

impl Three {
    fn start() -> Self {
        let mut three = Self {
            directory: TempDir::new().unwrap(),
            addresses: free_addresses(3),
            processes: BTreeMap::new(),
        };
        for id in 0..3 {
            three.serve(id, &["--bootstrap"]);
        }
        three
    }

    fn arguments(&self) -> Vec<String> {
        let members = self.addresses.iter().enumerate();
        let members = members.map(|(id, address)| format!("--member={id}={address}"));
        members.chain([format!("--cluster={CLUSTER}")]).collect()
    }

    fn log(&self, id: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("{id}.log"))).unwrap()
    }

    fn serve(&mut self, id: usize, more: &[&str]) -> &Process {
        let log = File::create(self.directory.path().join(format!("{id}.log"))).unwrap();
        let child = quorate()
            .args(["serve", "--until-input-ends", "--id", &id.to_string()])
            .args(self.arguments())
            .arg("--data")
            .arg(self.directory.path().join(id.to_string()))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut process = Process {
            child,
            ready: String::new(),
        };
        let output = process.child.stdout.take().unwrap();
        BufReader::new(output)
            .read_line(&mut process.ready)
            .unwrap();
        assert!(
            process.ready.contains(" serves register at "),
            "{}",
            self.log(id)
        );
        self.processes.insert(id, process);
        &self.processes[&id]
    }

    fn kill(&mut self, id: usize) {
        assert!(self.processes.remove(&id).is_some());
    }

    fn cluster(&self) -> Cluster {
        let members = (0..).zip(&self.addresses).map(|(id, address)| Member {
            id,
            address: address.to_string(),
            clients: None,
        });
        let settings = Settings {
            cluster: Some(CLUSTER),
            members: Some(members.collect()),
            ..Settings::default()
        };
        settings.cluster().unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(&self.cluster()).unwrap()
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = quorate();
        command.arg("client").args(self.arguments()).args(arguments);
        command.output().unwrap()
    }
}

type Recording = Mutex<History<KeyValueCall<String, String>, CasReply<Option<String>>>>;

/// One client: puts and gets on three keys until it is told to stop, all recorded between the call
/// and the return, in the order of real time.
fn work(
    number: u32,
    cluster: &Cluster,
    recording: &Recording,
    done: &AtomicU32,
    stop: &AtomicBool,
) -> u32 {
    let mut random = Random(u64::from(number));
    let mut client = Client::connect(cluster).unwrap();
    let mut unknown = 0;
    for operation in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = OperationId(number + 4 * operation);
        let key = ["red", "green", "blue"][random.below(3)].to_owned();
        let call = if random.below(2) == 0 {
            CasCall::Get
        } else {
            CasCall::Put(Some(format!("{number}.{operation}")))
        };
        let called = KeyValueCall {
            key: key.clone(),
            call: call.clone(),
        };
        recording.lock().unwrap().called(id, called).unwrap();
        let timeout = Duration::from_secs(2);
        let replied = match call {
            CasCall::Put(Some(value)) => client.put(&key, &value, timeout).map(|()| CasReply::Done),
            CasCall::Get | CasCall::Put(None) | CasCall::CompareAndSwap { .. } => {
                client.get(&key, timeout).map(CasReply::Value)
            }
        };
        match replied {
            Ok(reply) => recording.lock().unwrap().returned(id, reply).unwrap(),
            // It stays pending for ever: it may have happened, or happen yet.
            Err(ClientError::Unknown | ClientError::Unanswered) => unknown += 1,
            Err(error @ (ClientError::Refused(_) | ClientError::Stopped(_))) => panic!("{error}"),
        }
        done.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(500 * u64::from(random.byte() % 4)));
    }
    unknown
}

#[test]
fn what_clients_saw_is_linearizable_though_members_are_killed_and_come_back() {
    let mut three = Three::start();
    let cluster = three.cluster();
    let recording = Recording::default();
    let (done, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let unknown: u32 = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (cluster, recording, done, stop) = (&cluster, &recording, &done, &stop);
                scope.spawn(move || work(number, cluster, recording, done, stop))
            })
            .collect();
        // The clients stop even if what follows fails.
        let stopper = Stopper(&stop);
        let progress = |count| {
            let target = done.load(Ordering::Relaxed) + count;
            eventually("progress", || done.load(Ordering::Relaxed) >= target);
        };
        progress(60);
        three.kill(2);
        progress(60);
        three.serve(2, &[]);
        three.kill(0); // Now the one that came back is needed.
        progress(60);
        three.serve(0, &[]);
        three.kill(1);
        progress(60);
        drop(stopper);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    let history = recording.into_inner().unwrap();
    assert!(history.len() >= 240);
    // With a quorum always up, retries alone decide how long a call takes.
    assert_eq!(unknown, 0);
    linearizable(&KeyValue::default(), &history).unwrap();
}

/// The judge can say no, and this is why a node without its journal is refused: here one
/// is made to forget by taking it away.
#[test]
fn what_clients_saw_is_not_linearizable_when_members_forget() {
    let mut three = Three::start();
    let mut client = three.client();
    let mut history = History::<KeyValueCall<&str, &str>, CasReply<Option<&str>>>::default();
    let key = "key";
    three.kill(2);
    let call = CasCall::Put(Some("value"));
    history
        .called(OperationId(0), KeyValueCall { key, call })
        .unwrap();
    client.put(key, "value", TIMEOUT).unwrap();
    history.returned(OperationId(0), CasReply::Done).unwrap();
    three.kill(1);
    fs::remove_dir_all(three.directory.path().join("1")).unwrap();
    three.serve(1, &["--bootstrap"]);
    three.serve(2, &[]);
    three.kill(0);
    let call = CasCall::Get;
    history
        .called(OperationId(1), KeyValueCall { key, call })
        .unwrap();
    let value = client.get(key, TIMEOUT).unwrap();
    history
        .returned(OperationId(1), CasReply::Value(value.as_deref()))
        .unwrap();
    let refutation = linearizable(&KeyValue::default(), &history).unwrap_err();
    assert_eq!(refutation.unexplained, OperationId(1));
}

/// Tells the clients to stop.
pub(crate) struct Stopper<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_member_comes_back_with_what_it_acknowledged() {
    let mut three = Three::start();
    three.kill(2); // So that both others are needed for each write.
    let mut client = three.client();
    for number in 0..20 {
        client
            .put(&format!("key-{number}"), "value", TIMEOUT)
            .unwrap();
    }
    three.kill(1);
    let ready = &three.serve(1, &[]).ready;
    assert!(ready.contains("(boot 2, commits 22, keys 20)"), "{ready}");
}

#[test]
fn without_a_quorum_a_put_has_an_unknown_outcome_and_may_take_effect_later() {
    let mut three = Three::start();
    three.kill(0);
    three.kill(1);
    let short = Duration::from_millis(300);
    let mut client = three.client();
    assert!(matches!(
        client.put("key", "value", short),
        Err(ClientError::Unknown)
    ));
    assert!(matches!(
        client.get("key", short),
        Err(ClientError::Unanswered)
    ));
    three.serve(0, &[]);
    // The client let go of both calls, so this is neither's answer.
    client.put("other", "value", TIMEOUT).unwrap();
    assert_eq!(
        client.get("other", TIMEOUT).unwrap().as_deref(),
        Some("value")
    );
}

#[test]
fn strange_datagrams_are_counted_and_dropped_and_the_node_goes_on() {
    let mut three = Three::start();
    let cluster = three.cluster();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |bytes: &[u8]| socket.send_to(bytes, three.addresses[1]).unwrap();
    let identity = Register::identity(&cluster, NodeId(70_000));
    let to = NodeId(1);
    let right = Wire::new(&identity)
        .seal(to, &store(1, "key", "value"))
        .unwrap();
    send(b"hello?");
    send(&[0; 1300]);
    send(&[7; 300]);
    let mut other_version = right.clone();
    other_version[4] = 3;
    send(&other_version);
    let mut other_cluster = identity.clone();
    other_cluster.cluster += 1;
    send(
        &Wire::new(&other_cluster)
            .seal(to, &store(1, "key", "value"))
            .unwrap(),
    );
    let mut other_quorums = three.cluster();
    other_quorums.reads = Reads::Regular; // Which is no term: it harms nobody.
    assert_eq!(Register::identity(&other_quorums, NodeId(70_000)), identity);
    let impostor = Wire::new(&Register::identity(&cluster, NodeId(0)));
    send(&impostor.seal(to, &store(1, "key", "forged")).unwrap());
    send(&right[..right.len() - 1]);
    let mut client = three.client();
    assert_eq!(client.get("key", TIMEOUT).unwrap(), None);
    client.put("key", "value", TIMEOUT).unwrap();
    let status = three.processes.remove(&1).unwrap().terminate();
    assert_eq!(status.code(), Some(0));
    let log = three.log(1);
    let last = log.lines().last().unwrap();
    for expected in [
        "n1 stopped as asked",
        "7 datagrams dropped",
        "1 too short",
        "1 too long",
        "1 no frame of ours",
        "1 another version",
        "1 another cluster",
        "1 a member's number from another address",
        "1 damaged",
    ] {
        assert!(last.contains(expected), "{expected}: {log}");
    }
    let told = format!(
        "dropped a datagram from {}: {}",
        socket.local_addr().unwrap(),
        Refusal::Damaged
    );
    assert!(log.contains(&told), "{log}");
}

#[test]
fn those_who_have_other_quorums_in_mind_are_not_listened_to() {
    let three = Three::start();
    let output = three.ask(&[
        "--read-quorum=1",
        "--write-quorum=3",
        "--timeout=0.3",
        "get",
        "key",
    ]);
    assert_eq!(output.status.code(), Some(3));
    assert!(three.log(0).contains("other quorum sizes"));
}

#[test]
fn a_member_stops_cleanly_on_either_signal_and_when_its_input_ends() {
    for how in ["TERM", "INT", "input"] {
        let mut three = Three::start();
        let process = three.processes.get_mut(&0).unwrap();
        if how == "input" {
            process.child.stdin = None;
        } else {
            signal(&process.child, how);
        }
        let mut status = None;
        eventually("a clean stop", || {
            status = process.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0));
        assert!(three.log(0).contains("n0 stopped as asked: "));
    }
}

#[test]
fn a_client_command_puts_gets_and_says_what_it_does_not_know() {
    let mut three = Three::start();
    let said = |arguments: &[&str], three: &Three| {
        let output = three.ask(arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    assert_eq!(
        said(&["put", "key", "--", "-a value"], &three),
        (0, String::new(), String::new())
    );
    assert_eq!(
        said(&["get", "key"], &three),
        (0, "-a value\n".into(), String::new())
    );
    let absent = "quorate: nobody wrote the key \"nothing\"\n".to_owned();
    assert_eq!(
        said(&["get", "nothing"], &three),
        (1, String::new(), absent)
    );
    let (status, _, complaint) = said(&["put", "key", &"v".repeat(769)], &three);
    assert_eq!(status, 2);
    assert!(complaint.contains("too long"), "{complaint}");
    three.kill(0);
    assert_eq!(said(&["get", "key"], &three).1, "-a value\n");
    three.kill(1);
    let (status, _, complaint) = said(&["--timeout", "0.3", "put", "key", "other"], &three);
    assert_eq!(status, 3);
    assert!(
        complaint.starts_with("quorate: unknown outcome: "),
        "{complaint}"
    );
    assert!(
        complaint.contains("may or may not take effect, now or later"),
        "{complaint}"
    );
    let (status, output, complaint) = said(&["--timeout", "0.3", "get", "key"], &three);
    assert_eq!((status, output), (3, String::new()));
    assert!(complaint.starts_with("quorate: no answer: "), "{complaint}");
}

fn demo(directory: &Path, protocol: &str) -> Command {
    let mut command = quorate();
    command.args(["demo", protocol]).env("TMPDIR", directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn each_demo_shows_what_it_says_and_leaves_nothing_behind() {
    for (protocol, words) in [
        ("register", "get colour -> blue"),
        ("raft", "INCR n, 100 times -> 400"),
        ("pbft", "INCR n, 60 times -> 120"),
        ("store", "GET colour -> violet"),
        ("cap", "every node: GET colour -> "),
        ("gossip", "n1 has all 40 keys of both sides"),
        ("causal", "0 times the answer without the question"),
        ("membership", "n6: written colour=violet, by token "),
        (
            "database",
            "all know the ring of epoch 3: {n0, n2, n3, n4, n5}",
        ),
    ] {
        let directory = TempDir::new().unwrap();
        let output = demo(directory.path(), protocol).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}{complaint}");
        assert!(text.contains(words), "{text}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_demo_that_is_interrupted_or_killed_leaves_no_process_behind() {
    for how in ["INT", "TERM", "KILL"] {
        let directory = TempDir::new().unwrap();
        let mut child = demo(directory.path(), "register")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut members = Vec::new();
        for line in lines.by_ref().map(Result::unwrap) {
            if let Some((_, rest)) = line.split_once(" serves register at ") {
                let address = rest.split_once(',').unwrap().0;
                members.push(address.parse::<SocketAddr>().unwrap());
            }
            if line.contains("put colour green") {
                break;
            }
        }
        signal(&child, how);
        let rest: Vec<_> = lines.collect();
        let status = child.wait().unwrap();
        assert!(!status.success(), "{how}: {status}, {rest:?}");
        assert_eq!(members.len(), 3);
        eventually("the members' end", || {
            members
                .iter()
                .all(|address| UdpSocket::bind(address).is_ok())
        });
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, usize::from(how == "KILL"), "{how}");
    }
}
