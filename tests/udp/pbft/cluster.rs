//! Four members on loopback, with keys and journals.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate::kv::{Operation, Reply, Session};
use quorate::machine::NodeId;
use quorate::pbft::{Call, Durable, Event, Pbft, Sequence, Service, Sizes};
use quorate::udp::configuration::{Cluster, Member, Protocol, PublicKeyOf, Settings};
use quorate::udp::demo::traitor::Traitor;
use quorate::udp::journal::Journal;
use quorate::udp::keys::{KeyRing, SecretKey};
use quorate::udp::node::Node;
use quorate::udp::port::{CLIENTS_MAX, Port};
use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use quorate::udp::served::Served as _;
use quorate::udp::served::pbft::watermarks;
use quorate_models::recordings::{judge, replay};
use tempfile::TempDir;

use super::{CLUSTER, Machine, secrets};
use crate::processes::{bind_any, eventually, free_addresses, quorate, signal};

const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of four on this machine, and their secrets.
fn four() -> (Cluster, Vec<SecretKey>) {
    let (secrets, public) = secrets(4);
    let members = (0..).zip(free_addresses(4)).map(|(id, address)| Member {
        id,
        address: address.to_string(),
        clients: None,
    });
    let public_keys = public.iter().map(|(node, key)| PublicKeyOf {
        id: node.0,
        key: key.to_string(),
    });
    let settings = Settings {
        cluster: Some(CLUSTER),
        protocol: Some(Protocol::Pbft.name().into()),
        members: Some(members.collect()),
        public_keys: Some(public_keys.collect()),
        ..Settings::default()
    };
    (settings.cluster().unwrap(), secrets)
}

/// What an honest member did.
struct Told {
    /// The places it executed, in order.
    executed: Vec<Sequence>,
    service: Service,
    unsendable: u64,
}

/// Runs an honest member, with its journal, until it is told to stop: makes the calls that come, and
/// gives each answer to who asked.
fn member(
    cluster: &Cluster,
    node: NodeId,
    secret: SecretKey,
    directory: &Path,
    calls: &Receiver<(Call, Sender<Reply>)>,
    stop: &AtomicBool,
) -> Told {
    let socket = UdpSocket::bind(cluster.members[&node]).unwrap();
    let identity = Machine::identity(cluster, node);
    let port = Port::new(socket, &identity, cluster.members.clone(), CLIENTS_MAX).unwrap();
    let keys = KeyRing::new(cluster.id, node, secret, cluster.public_keys.clone());
    let machine = Pbft {
        keys,
        ..Machine::machine(cluster, node)
    };
    let journal = Journal::create::<Durable>(&directory.join(node.to_string()), &identity).unwrap();
    let (mut node, _) =
        Node::boot(machine, node, Durable::default(), journal, port, node.0).unwrap();
    let mut waiting: BTreeMap<u64, Sender<Reply>> = BTreeMap::new();
    let mut told = Told {
        executed: Vec::new(),
        service: Service::default(),
        unsendable: 0,
    };
    while !stop.load(Ordering::Relaxed) {
        let mut begun = Vec::new();
        for (call, answer) in calls.try_iter() {
            waiting.insert(call.ticket, answer);
            begun.push(call);
        }
        for event in node.turn(begun, Duration::from_millis(1)).unwrap() {
            match event {
                Event::Executed { sequence, .. } => told.executed.push(sequence),
                Event::Replied { ticket, reply } => {
                    let _ = waiting.remove(&ticket).unwrap().send(reply);
                }
                Event::Refused { refusal, .. } => panic!("{refusal:?}"),
                Event::Prepared { .. }
                | Event::Stabilised { .. }
                | Event::Transferred { .. }
                | Event::Entered { .. } => {}
            }
        }
    }
    told.service = node.state().durable.service.clone();
    told.unsendable = node.counters().messages_unsendable;
    told
}

const CLIENTS: usize = 4;
const REQUESTS: usize = 500;

/// Honest members as processes, beside a traitor.
struct Honest {
    directory: TempDir,
    doors: BTreeMap<u64, SocketAddr>,
    members: BTreeMap<u64, Child>,
}

impl Honest {
    /// All but the first of four. Each records what it does.
    fn start(cluster: &Cluster, secrets: &[SecretKey]) -> Self {
        let listeners: Vec<_> = (1..4).map(|_| bind_any(TcpListener::bind)).collect();
        let doors = (1..).zip(listeners.iter().map(|it| it.local_addr().unwrap()));
        let mut honest = Self {
            directory: TempDir::new().unwrap(),
            doors: doors.collect(),
            members: BTreeMap::new(),
        };
        drop(listeners);
        for (id, secret) in (0..).zip(secrets).skip(1) {
            secret.write(&honest.file(id, "key")).unwrap();
            let mut child = honest.command(cluster, id).spawn().unwrap();
            let ready = child.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
            honest.members.insert(id, child);
            assert_eq!(ready, 1, "n{id} is ready");
        }
        honest
    }

    fn command(&self, cluster: &Cluster, id: u64) -> Command {
        let mut command = quorate();
        command.args(["serve", "--until-input-ends", "--bootstrap"]);
        command.args(["--protocol", "pbft", "--id", &id.to_string()]);
        command.arg(format!("--cluster={CLUSTER}"));
        for (node, udp) in &cluster.members {
            let door = self.doors.get(&node.0);
            let door = door.map_or_else(String::new, |door| format!(",{door}"));
            command.arg(format!("--member={}={udp}{door}", node.0));
        }
        for (node, public) in &cluster.public_keys {
            command.arg(format!("--public-key={}={public}", node.0));
        }
        for what in ["key", "data", "record"] {
            let file = self.file(id, what);
            command.arg(format!("--{what}={}", file.display()));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(self.file(id, "log")).unwrap());
        command
    }

    fn file(&self, id: u64, what: &str) -> PathBuf {
        self.directory.path().join(format!("n{id}.{what}"))
    }

    /// A line of what a member says of itself.
    fn line(&self, id: u64, name: &str) -> String {
        let mut remote = Remote::connect(self.doors[&id], PATIENCE).unwrap();
        let info = shown(&remote.ask(&["INFO"]).unwrap());
        let mut lines = info.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {info}")).into()
    }

    /// The same as a number.
    fn number(&self, id: u64, name: &str) -> u64 {
        self.line(id, name).parse().unwrap()
    }

    /// A client: counts at one member after the other, and gives the numbers it was told.
    fn client(&self, number: usize) -> Vec<i64> {
        let mut remotes: Vec<Remote> = (self.doors.values())
            .map(|door| Remote::connect(*door, PATIENCE).unwrap())
            .collect();
        let count = remotes.len();
        let mut ask = |request: usize| {
            let remote = &mut remotes[(number + request) % count];
            let reply = remote.ask(&["INCR", "n"]).unwrap();
            let Value::Number(sum) = reply else {
                panic!("{}", shown(&reply));
            };
            sum
        };
        (0..REQUESTS).map(&mut ask).collect()
    }

    /// Stops them, and gives what each said at the end.
    fn stop(&mut self) -> Vec<String> {
        let mut last = Vec::new();
        for (id, mut member) in std::mem::take(&mut self.members) {
            signal(&member, "TERM");
            assert!(member.wait().unwrap().success());
            last.push(fs::read_to_string(self.file(id, "log")).unwrap());
        }
        last
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        for member in self.members.values_mut() {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

#[test]
fn two_thousand_requests_are_executed_in_one_order_though_the_first_primary_is_a_traitor() {
    let (cluster, secrets) = four();
    let traitor = Traitor::start(&cluster, NodeId(0), secrets[0].clone()).unwrap();
    let mut honest = Honest::start(&cluster, &secrets);
    let told: Vec<Vec<i64>> = thread::scope(|scope| {
        let honest = &honest;
        let client = |number| scope.spawn(move || honest.client(number));
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().map(|it| it.join().unwrap()).collect()
    });
    // Each was done once: it has a number of its own, and all are there. A client's numbers grow.
    assert!(told.iter().all(|one| one.is_sorted()));
    let numbers: BTreeSet<i64> = told.into_iter().flatten().collect();
    let total = i64::try_from(CLIENTS * REQUESTS).unwrap();
    assert!(numbers.into_iter().eq(1..=total), "each once");
    let lies = traitor.lies().told();
    assert!(0 < traitor.lies().orders.load(Ordering::Relaxed), "{lies}");
    for id in 1..4 {
        assert!(0 < honest.number(id, "view"), "the traitor was replaced");
        assert!(0 < honest.number(id, "signatures_refused"), "{lies}");
    }
    // Those that are behind are sent what they lack, and all come to one state.
    eventually("one state", || {
        let told = (1..4)
            .map(|id| ["executed", "stable", "stable_digest"].map(|name| honest.line(id, name)));
        let told: BTreeSet<[String; 3]> = told.collect();
        told.len() == 1
    });
    for door in honest.doors.values() {
        let mut remote = Remote::connect(*door, PATIENCE).unwrap();
        let sum = shown(&remote.ask(&["GET", "n"]).unwrap());
        assert_eq!(sum, total.to_string());
    }
    drop(traitor);
    for last in honest.stop() {
        assert!(last.contains(" stopped as asked: "), "{last}");
        assert!(!last.contains("too long to send"), "{last}");
    }
    // What is on record says so, too, and each machine says it again, given its key.
    let files: Vec<PathBuf> = (1..4).map(|id| honest.file(id, "record")).collect();
    let verdict = judge(&files, 0).unwrap();
    let order = "was the same wherever it was";
    let asked = total + 3; // Each was read from in the end.
    let operations = format!("{asked} operations of clients, of which {asked} were answered, are");
    assert!(verdict.contains(order), "{verdict}");
    assert!(verdict.contains(&operations), "{verdict}");
    let key = honest.file(1, "key");
    fs::remove_file(&key).unwrap();
    let complaint = replay(&files[0]).unwrap_err();
    assert!(complaint.contains("cannot read the key"), "{complaint}");
    fs::copy(honest.file(2, "key"), &key).unwrap();
    let complaint = replay(&files[0]).unwrap_err();
    assert!(complaint.contains("is not that of n1"), "{complaint}");
}

#[test]
fn a_state_of_many_pages_reaches_a_member_that_was_away() {
    let (cluster, secrets) = four();
    let directory = TempDir::new().unwrap();
    let started = Instant::now();
    let stops: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
    thread::scope(|scope| {
        let mut doors = Vec::new();
        let mut members = Vec::new();
        let (cluster, stops) = (&cluster, &stops);
        let start = |id: usize, calls| {
            let (secret, directory) = (secrets[id].clone(), directory.path());
            scope.spawn(move || {
                member(
                    cluster,
                    NodeId(id as u64),
                    secret,
                    directory,
                    &calls,
                    &stops[id],
                )
            })
        };
        for id in 0..3 {
            let (sender, calls) = channel();
            doors.push(sender);
            members.push(start(id, calls));
        }
        // Three are enough. Each value fills a datagram several times over.
        let (sender, replies) = channel();
        let value = "v".repeat(3_900);
        let interval = watermarks(&Sizes::of(4)).interval;
        let count = 2 * interval + 5;
        for serial in 1..=count {
            let call = Call {
                ticket: serial,
                session: Session { client: 1, serial },
                operation: Operation::Put {
                    key: format!("key {serial}"),
                    value: value.clone(),
                },
            };
            doors[1].send((call, sender.clone())).unwrap();
            let reply = replies.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(reply, Reply::Done);
        }
        let (_, calls) = channel();
        let late = start(3, calls);
        // It hears of the others when they vouch for the next checkpoint.
        for serial in count + 1..=count + interval + 1 {
            let call = Call {
                ticket: serial,
                session: Session { client: 1, serial },
                operation: Operation::Increment {
                    key: "n".into(),
                    by: 1,
                },
            };
            doors[1].send((call, sender.clone())).unwrap();
            replies.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        thread::sleep(Duration::from_secs(2));
        for stop in stops {
            stop.store(true, Ordering::Relaxed);
        }
        let late = late.join().unwrap();
        for one in members {
            assert_eq!(one.join().unwrap().unsendable, 0);
        }
        let values = late.service.values.len() as u64;
        assert!(
            count <= values,
            "{values} values after {:?}",
            started.elapsed()
        );
        let skipped = late
            .executed
            .first()
            .is_none_or(|place| Sequence(1) < *place);
        assert!(skipped, "it did not execute what led there");
    });
}
