//! Four members on loopback, with keys and journals.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate::kv::{Operation, Reply, Session};
use quorate::machine::NodeId;
use quorate::pbft::{Batch, Call, Durable, Event, Pbft, Sequence, Service, Sizes, View};
use quorate::udp::configuration::{Cluster, Member, Protocol, PublicKeyOf, Settings};
use quorate::udp::demo::traitor::Traitor;
use quorate::udp::journal::Journal;
use quorate::udp::keys::{KeyRing, SecretKey};
use quorate::udp::node::Node;
use quorate::udp::port::{CLIENTS_MAX, Port};
use quorate::udp::served::Served as _;
use quorate::udp::served::pbft::watermarks;
use tempfile::TempDir;

use super::{CLUSTER, Machine, secrets};
use crate::processes::free_addresses;

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
    /// What it executed, in order: place, and what had an effect there.
    executed: Vec<(Sequence, Batch)>,
    effects: Vec<(NodeId, u64, u64)>,
    views: Vec<View>,
    service: Service,
    refused: u64,
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
        keys: keys.clone(),
        ..Machine::machine(cluster, node)
    };
    let journal = Journal::create::<Durable>(&directory.join(node.to_string()), &identity).unwrap();
    let (mut node, _) =
        Node::boot(machine, node, Durable::default(), journal, port, node.0).unwrap();
    let mut waiting: BTreeMap<u64, Sender<Reply>> = BTreeMap::new();
    let mut told = Told {
        executed: Vec::new(),
        effects: Vec::new(),
        views: Vec::new(),
        service: Service::default(),
        refused: 0,
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
                Event::Executed {
                    sequence,
                    batch,
                    effective,
                } => {
                    let effects = effective
                        .iter()
                        .map(|((by, client), serial)| (*by, *client, *serial));
                    told.effects.extend(effects);
                    told.executed.push((sequence, batch));
                }
                Event::Replied { ticket, reply } => {
                    let _ = waiting.remove(&ticket).unwrap().send(reply);
                }
                Event::Entered { view } => told.views.push(view),
                Event::Refused { refusal, .. } => panic!("{refusal:?}"),
                Event::Prepared { .. } | Event::Stabilised { .. } | Event::Transferred { .. } => {}
            }
        }
    }
    told.service = node.state().durable.service.clone();
    told.refused = keys.tallied().refused;
    told.unsendable = node.counters().messages_unsendable;
    told
}

/// A client: asks at one member after the other, and gives what it was answered.
fn client(number: u64, requests: u64, members: &[Sender<(Call, Sender<Reply>)>]) -> Vec<Reply> {
    let (sender, replies) = channel();
    let asked = (1..=requests).zip(members.iter().cycle());
    asked
        .map(|(serial, member)| {
            let call = Call {
                ticket: number * 1_000_000 + serial,
                session: Session {
                    client: number,
                    serial,
                },
                operation: Operation::Increment {
                    key: "n".into(),
                    by: 1,
                },
            };
            member.send((call, sender.clone())).unwrap();
            replies
                .recv_timeout(Duration::from_secs(60))
                .expect("every request is executed")
        })
        .collect()
}

const CLIENTS: u64 = 4;
const REQUESTS: u64 = 500;

#[test]
fn two_thousand_requests_are_executed_in_one_order_though_the_first_primary_is_a_traitor() {
    let (cluster, secrets) = four();
    let directory = TempDir::new().unwrap();
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let traitor = Traitor::start(&cluster, NodeId(0), secrets[0].clone()).unwrap();
    let (told, replies) = thread::scope(|scope| {
        let mut members = Vec::new();
        let mut doors = Vec::new();
        for (id, secret) in (1..).zip(&secrets[1..]) {
            let (sender, calls) = channel();
            doors.push(sender);
            let (cluster, directory, stop) = (&cluster, directory.path(), &stop);
            members.push(scope.spawn(move || {
                member(cluster, NodeId(id), secret.clone(), directory, &calls, stop)
            }));
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (doors, done) = (doors.clone(), &done);
                scope.spawn(move || {
                    let replies = client(number, REQUESTS, &doors);
                    done.fetch_add(1, Ordering::Relaxed);
                    replies
                })
            })
            .collect();
        // Members stop once all clients are done, however that ends.
        let replies: Vec<_> = clients
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        // Those that are behind are sent what they lack.
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let told: Vec<Told> = members
            .into_iter()
            .map(|member| member.join().unwrap())
            .collect();
        (
            told,
            replies.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        )
    });
    let lies = traitor.lies().told();
    judge(&told, &replies, &lies);
    assert!(0 < traitor.lies().orders.load(Ordering::Relaxed), "{lies}");
}

/// Nothing was lost, nothing done twice, and all in one order.
fn judge(told: &[Told], replies: &[Vec<Reply>], lies: &str) {
    // Each increment has a number of its own, and they are all there: one order, each once.
    let numbers: BTreeSet<u64> = (replies.iter().flatten())
        .map(|reply| match reply {
            Reply::Value(Some(number)) => number.parse().unwrap(),
            Reply::Value(None)
            | Reply::Done
            | Reply::Mismatched
            | Reply::NotANumber
            | Reply::Forgotten => panic!("{reply:?}"),
        })
        .collect();
    let total = CLIENTS * REQUESTS;
    assert_eq!(numbers, (1..=total).collect::<BTreeSet<_>>());
    // A client's numbers grow: what it asks later is done later.
    let mut order: BTreeMap<Sequence, &Batch> = BTreeMap::new();
    for one in told {
        assert!(
            one.executed.is_sorted_by(|one, next| one.0 < next.0),
            "in order"
        );
        for (place, batch) in &one.executed {
            let first = order.entry(*place).or_insert(batch);
            assert_eq!(*first, batch, "one batch at {place:?}");
        }
        let distinct: BTreeSet<_> = one.effects.iter().collect();
        assert_eq!(distinct.len(), one.effects.len(), "each once");
        assert!(
            one.views.iter().any(|view| View(0) < *view),
            "the traitor was replaced"
        );
        assert!(0 < one.refused, "what it forged was refused: {lies}");
        assert_eq!(one.unsendable, 0, "every message fits");
    }
    let last = told.iter().map(|one| one.service.executed).max().unwrap();
    let ahead: Vec<_> = told
        .iter()
        .filter(|one| one.service.executed == last)
        .collect();
    assert!(2 <= ahead.len(), "what was answered, two have");
    assert!(
        ahead.iter().all(|one| one.service == ahead[0].service),
        "one state"
    );
    assert_eq!(ahead[0].service.values.get("n"), Some(&total.to_string()));
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
            .is_none_or(|(place, _)| Sequence(1) < *place);
        assert!(skipped, "it did not execute what led there");
    });
}
