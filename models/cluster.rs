//! A whole cluster in one thread and in a time of its own: the adapter's simulator.
//!
//! The members are those of `quorate serve`: the same loop, the same journal, the same frames, the
//! same desk. What is made up is what they stand on, all of it drawn from a seed: the clock; the
//! network, which loses, repeats, delays, reorders, corrupts and misroutes; the disk, which takes
//! time, fails, and at a power cut keeps any sectors it likes of what was not flushed; and the clients.
//! So a run is a function of its seed, and happens again byte for byte.
//!
//! A run has a storm and a calm. In the storm nodes lose power, are killed, stand still and are cut
//! off. In the calm all is mended, and the cluster must serve again: every client is to write and
//! read. Then the clients' history is judged.
//!
//! This is no proof, as [`crate::engine`] gives one of the machines. It is about what lies between a
//! machine and the world: that nothing is said too early, that what was said is found again after a
//! crash, that an answer goes to who asked. [`Sabotage`] lists adapters that get one such thing wrong,
//! and each is caught.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use quorate::machine::NodeId;
use quorate::udp::configuration::{Cluster, Member as Listed, Protocol, Settings};
use quorate::udp::desk::{Request, Told};
use quorate::udp::member::Member;
use quorate::udp::served::{Command, ForServed, Served, with};

mod book;
mod clients;
mod flush;
mod network;
mod nodes;
mod platter;
mod report;
mod sabotage;
mod weather;

pub use book::{Book, Came, Entry, came, operation};
pub use report::{Report, sabotages, storms};
pub use sabotage::Sabotage;

use crate::shared::fingerprint;
use flush::SlowDisk;
use network::Mailbox;
use platter::Platter;
use weather::{Fault, Weather, within};

const NODES: usize = 3;
const CLIENTS: usize = 4;
/// How long the storm is.
const STORM: Duration = Duration::from_millis(2_500);
/// How long after the storm the available store is left alone, so that its nodes tell each other.
const SPREAD: Duration = Duration::from_secs(10);
/// How long after the storm everything must have been served at the latest.
const CALM_MAX: Duration = Duration::from_secs(30);
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(800);
/// Keys that are written and read.
const KEYS: [&str; 3] = ["a", "b", "c"];
/// A key that is added to, where that can be done.
const NUMBER: &str = "n";

/// The protocols that are simulated: what the others promise, clients alone do not see.
pub const SIMULATED: [Protocol; 5] = [
    Protocol::Register,
    Protocol::Raft,
    Protocol::Store,
    Protocol::CapCp,
    Protocol::CapAp,
];

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the cluster serves: one of [`SIMULATED`].
    pub protocol: Protocol,
    /// What everything is drawn from.
    pub seed: u64,
    /// What is wrong with the adapter, if anything is.
    pub sabotage: Option<Sabotage>,
    /// Keep a log, and recordings of every node.
    pub log: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was broken, if anything was.
    pub violation: Option<Violation>,
    /// What happened, counted.
    pub tally: Tally,
    /// A digest of every datagram and its moment: equal runs have equal ones.
    pub digest: u64,
    /// What happened, in words, if that is kept.
    pub log: Vec<String>,
    /// What each node heard and said, boot by boot, if that is kept.
    pub recordings: Vec<Vec<u8>>,
}

/// What a run can break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// What clients were told cannot be.
    History(String),
    /// A node stopped that should not have, or did not start.
    Stopped(String),
    /// The calm did not bring the cluster back.
    Stuck(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::History(why) => write!(f, "what clients were told cannot be: {why}"),
            Self::Stopped(why) => write!(f, "a node stopped: {why}"),
            Self::Stuck(why) => write!(f, "it does not serve in the calm: {why}"),
        }
    }
}

/// What happened, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// How often it happened.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Each count and its name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, count)| (*what, *count))
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in other.counts() {
            self.count_many(what, count);
        }
    }

    fn count(&mut self, what: &'static str) {
        self.count_many(what, 1);
    }

    fn count_many(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrives {
        to: usize,
        whence: SocketAddr,
        datagram: Vec<u8>,
    },
    Wakes {
        node: usize,
        boot: u64,
    },
    Flushed {
        node: usize,
        boot: u64,
    },
    PowerFails {
        node: usize,
        boot: u64,
    },
    Starts {
        node: usize,
    },
    Resumes {
        node: usize,
    },
    Speaks {
        client: usize,
    },
    GivesUp {
        client: usize,
        asked: u64,
    },
    Fault,
}

struct Place<M: Served> {
    platter: Platter,
    running: Option<Running<M>>,
    boots: u64,
    paused: bool,
    rotten: bool,
    /// It refused a damaged journal, and stays away.
    is_out: bool,
}

struct Running<M: Served> {
    member: Member<M, SlowDisk<M>, Mailbox>,
    booted: Duration,
    requests: VecDeque<Request>,
    wakes: Option<Duration>,
    connections: u64,
}

struct Client {
    node: usize,
    connection: Option<Connection>,
    waiting: Option<Waiting>,
    asked: u64,
    /// What is still to be done in the calm.
    script: VecDeque<Command>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Connection {
    node: usize,
    boot: u64,
    number: u64,
}

struct Waiting {
    entry: usize,
    command: Command,
    /// It is of the script of the calm.
    is_scripted: bool,
    told: Receiver<Told>,
}

struct Simulation<M: Served> {
    plan: Plan,
    settings: Settings,
    cluster: Cluster,
    weather: Weather,
    rng: Rng,
    now: Duration,
    sequence: u64,
    happenings: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    places: Vec<Place<M>>,
    clients: Vec<Client>,
    cut: BTreeSet<(usize, usize)>,
    is_calm: bool,
    values: u64,
    book: Book,
    last: BTreeMap<(usize, String), Option<String>>,
    tally: Tally,
    digest: u64,
    violation: Option<Violation>,
    log: Vec<String>,
    recordings: Vec<Arc<Mutex<Vec<u8>>>>,
}

/// Runs a cluster through a storm and a calm.
pub fn run(plan: Plan) -> Outcome {
    with(plan.protocol, Run(plan))
}

struct Run(Plan);

impl ForServed for Run {
    type Output = Outcome;

    fn with<M: Served>(self) -> Outcome {
        Simulation::<M>::new(self.0).run()
    }
}

fn address(node: usize) -> SocketAddr {
    let last = u8::try_from(node + 1).unwrap_or(u8::MAX);
    (Ipv4Addr::new(10, 0, 0, last), 7000).into()
}

fn id(node: usize) -> NodeId {
    NodeId(node as u64)
}

fn settings(protocol: Protocol) -> Settings {
    let members = (0..NODES).map(|node| Listed {
        id: node as u64,
        address: address(node).to_string(),
        clients: None,
    });
    Settings {
        cluster: Some(7),
        protocol: Some(protocol.name().into()),
        members: Some(members.collect()),
        // So few that a run has many snapshots.
        snapshot_entries: Some(20),
        ..Settings::default()
    }
}

impl<M: Served> Simulation<M> {
    fn new(plan: Plan) -> Self {
        let settings = settings(plan.protocol);
        let cluster = settings.cluster().expect("these settings are sound");
        let mut rng = Rng::with_seed(fingerprint(&(plan.seed, plan.protocol)));
        let mut weather = Weather::draw(&mut rng);
        if !is_linearizable(plan.protocol) {
            // What one node alone has answered is nowhere else yet: its disk has to be sound.
            weather.kinds[Fault::Rot as usize] = 0;
        }
        let place = |_| Place {
            platter: Platter::new(plan.sabotage),
            running: None,
            boots: 0,
            paused: false,
            rotten: false,
            is_out: false,
        };
        let client = |number| Client {
            node: number % NODES,
            connection: None,
            waiting: None,
            asked: 0,
            script: VecDeque::new(),
        };
        Self {
            plan,
            settings,
            cluster,
            weather,
            rng,
            now: Duration::ZERO,
            sequence: 0,
            happenings: BinaryHeap::new(),
            places: (0..NODES).map(place).collect(),
            clients: (0..CLIENTS).map(client).collect(),
            cut: BTreeSet::new(),
            is_calm: false,
            values: 0,
            book: Book::default(),
            last: BTreeMap::new(),
            tally: Tally::default(),
            digest: 0,
            violation: None,
            log: Vec::new(),
            recordings: Vec::new(),
        }
    }

    fn run(mut self) -> Outcome {
        for node in 0..NODES {
            self.start(node);
        }
        for client in 0..CLIENTS {
            let after = within(&mut self.rng, Duration::from_millis(400));
            self.later(after, Happening::Speaks { client });
        }
        self.next_fault();
        while self.violation.is_none() {
            if !self.is_calm && self.now >= STORM {
                self.calm();
            }
            if self.is_calm && self.is_served() {
                break;
            }
            if self.now > STORM + CALM_MAX {
                let left = self.clients.iter().map(|client| client.script.len());
                let left = format!(
                    "operations left of each client: {:?}",
                    left.collect::<Vec<_>>()
                );
                self.say_how_they_are();
                self.violation = Some(Violation::Stuck(left));
                break;
            }
            let Some(Reverse((at, _, happening))) = self.happenings.pop() else {
                self.violation = Some(Violation::Stuck("nothing happens any more".into()));
                break;
            };
            self.now = at;
            self.happen(happening);
        }
        self.judge();
        for place in &self.places {
            self.tally
                .count_many("bytes torn off", place.platter.torn());
        }
        let taken =
            |bytes: &Arc<Mutex<Vec<u8>>>| bytes.lock().map_or_else(|_| Vec::new(), |it| it.clone());
        Outcome {
            violation: self.violation,
            tally: self.tally,
            digest: self.digest,
            log: self.log,
            recordings: self.recordings.iter().map(taken).collect(),
        }
    }

    fn judge(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let judged = if is_linearizable(self.plan.protocol) {
            self.book.linearizable()
        } else {
            self.book.converged(&self.last)
        };
        self.violation = judged.err().map(Violation::History);
    }

    fn say_how_they_are(&mut self) {
        for node in 0..NODES {
            let Some(running) = &self.places[node].running else {
                self.say(|| format!("n{node} does not run"));
                continue;
            };
            let state = M::status(running.member.state());
            let counters = running.member.cycle().ground().port.counters.clone();
            self.say(|| format!("n{node}: {state:?}, {counters}"));
        }
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        let at = self.now + after;
        self.happenings
            .push(Reverse((at, self.sequence, happening)));
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if self.plan.log {
            let ms = self.now.as_micros();
            self.log
                .push(format!("{:>6}.{:03} ms  {}", ms / 1000, ms % 1000, what()));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives {
                to,
                whence,
                datagram,
            } => self.arrives(to, whence, datagram),
            Happening::Wakes { node, boot } => {
                if let Some(running) = self.running(node, boot) {
                    running.wakes = None;
                    self.turn(node);
                }
            }
            Happening::Flushed { node, boot } => {
                if let Some(running) = self.running(node, boot) {
                    running.member.cycle_mut().ground_mut().flush.complete();
                    self.turn(node);
                }
            }
            Happening::PowerFails { node, boot } => {
                if !self.is_calm && self.running(node, boot).is_some() {
                    self.power_fails(node);
                }
            }
            Happening::Starts { node } => self.start(node),
            Happening::Resumes { node } => {
                self.places[node].paused = false;
                self.turn(node);
            }
            Happening::Speaks { client } => self.speak(client),
            Happening::GivesUp { client, asked } => {
                if self.clients[client].asked == asked && self.clients[client].waiting.is_some() {
                    self.leave(client);
                    self.told(client, Came::Unknown, None);
                }
            }
            Happening::Fault => {
                if !self.is_calm {
                    self.fault();
                    self.next_fault();
                }
            }
        }
    }

    fn running(&mut self, node: usize, boot: u64) -> Option<&mut Running<M>> {
        let place = &mut self.places[node];
        (place.boots == boot)
            .then_some(place.running.as_mut())
            .flatten()
    }
}

/// True if clients of this protocol are promised that the store is as one.
pub fn is_linearizable(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Register
        | Protocol::Raft
        | Protocol::Pbft
        | Protocol::Store
        | Protocol::CapCp => true,
        Protocol::CapAp
        | Protocol::Gossip
        | Protocol::Causal
        | Protocol::Membership
        | Protocol::Database => false,
    }
}
