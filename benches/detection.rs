//! How soon SWIM finds out that a member is gone, and how often it is wrong, when messages are lost.
//!
//! ```sh
//! cargo bench --bench detection        # three minutes; on a machine that has nothing else to do
//! cargo bench --bench detection -- 20  # with so many trials for each rate of loss
//! ```
//!
//! Five members run the machine that `quorate serve --protocol membership` runs, by the adapter's own loop
//! and sockets, on loopback. Between each two of them is a relay that loses some of their datagrams. In
//! each trial nothing happens for a while, and whoever is suspected or held dead is so by mistake; then one
//! of them stops, and the others find out.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use quorate::machine::NodeId;
use quorate::membership::Membership;
use quorate::swim::{Durable, Event, Status, Swim};
use quorate::udp::Identity;
use quorate::udp::configuration::{Member, Settings};
use quorate::udp::journal::NoDisk;
use quorate::udp::node::Node;
use quorate::udp::port::Port;
use quorate::udp::served::Served as _;

const MEMBERS: u64 = 5;
const LOSSES_PERCENT: [u64; 3] = [1, 5, 20];
const TRIALS: u64 = 6;
/// How long nothing happens in a trial.
const QUIET: Duration = Duration::from_secs(6);
/// How often a thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// What a member told, and when.
type Told = (Instant, NodeId, Event);

/// What was found out at one rate of loss.
#[derive(Default)]
struct Found {
    /// In milliseconds, of each survivor of each trial: until it held dead who was gone.
    detected: Vec<u128>,
    /// The same, until the first of a trial suspected it.
    suspected: Vec<u128>,
    /// How many probes the members began while all were there.
    probes: u64,
    /// How often one found no answer, though the other was there.
    accusations: usize,
    /// How often one held dead another that was there.
    deaths: usize,
}

fn main() -> io::Result<()> {
    let asked = env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let trials: u64 = asked.unwrap_or(TRIALS);
    let machine = machine(NodeId(0));
    let bound = machine.detection_ms_max(MEMBERS - 1);
    println!(
        "{MEMBERS} members, a period of {} ms, a suspicion of {} periods, {} helpers; {trials} trials each;",
        machine.period_ms, machine.suspicion_periods, machine.helpers
    );
    println!(
        "without loss a member that is gone is held dead by each within {bound} ms at the latest\n"
    );
    let mut all = Vec::new();
    for loss in LOSSES_PERCENT {
        let mut found = Found::default();
        for trial in 0..trials {
            try_once(loss, trial, &mut found)?;
        }
        found.detected.sort_unstable();
        found.suspected.sort_unstable();
        all.push((loss, found));
    }
    println!(
        "until it is held dead, by each of the others: from the first to the last, half of all within ▓"
    );
    let longest = all
        .iter()
        .filter_map(|(_, found)| found.detected.last().copied());
    let longest = longest.max().unwrap_or(1).max(u128::from(bound));
    for (loss, found) in &all {
        println!("{loss:>4} %  {}", spread(&found.detected, longest));
    }
    println!(
        "  bound  {}│ {bound} ms\n",
        " ".repeat(WIDTH.saturating_sub(1))
    );
    println!("per 1,000 probes of members that were there:");
    println!(
        "{:>7} {:>8} {:>12} {:>7}  first suspicion, median ms",
        "loss", "probes", "accused", "dead"
    );
    for (loss, found) in &all {
        let per_thousand = |count: usize| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            let tenths = count.saturating_mul(10_000) / found.probes.max(1);
            format!("{}.{}", tenths / 10, tenths % 10)
        };
        let median = found.suspected.get(found.suspected.len() / 2);
        println!(
            "{loss:>5} % {:>8} {:>12} {:>7}  {}",
            found.probes,
            per_thousand(found.accusations),
            per_thousand(found.deaths),
            median.map_or_else(|| "never".to_owned(), u128::to_string)
        );
    }
    println!();
    for (loss, found) in &all {
        let count = u64::try_from(found.accusations).unwrap_or(u64::MAX);
        let marks = usize::try_from(count.saturating_mul(1_000) / found.probes.max(1));
        println!(
            "{loss:>5} % {} accused",
            "█".repeat(marks.unwrap_or(WIDTH).min(WIDTH))
        );
    }
    Ok(())
}

/// The machine that is deployed, twice as fast.
fn machine(me: NodeId) -> Swim {
    let member = |id| Member {
        id,
        address: format!("127.0.0.1:{}", 7_000 + id),
        clients: None,
    };
    let settings = Settings {
        cluster: Some(1),
        protocol: Some(Membership::NAME.into()),
        // And the authority and the resource.
        members: Some((0..MEMBERS + 2).map(member).collect()),
        ..Settings::default()
    };
    let cluster = settings.cluster().expect("a cluster");
    Swim {
        period_ms: 100,
        ..Membership::machine(&cluster, me).swim
    }
}

/// One trial: all are there for a while, and then one is not.
fn try_once(loss: u64, trial: u64, found: &mut Found) -> io::Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let sockets: Vec<UdpSocket> = (0..MEMBERS).map(|_| bind()).collect::<io::Result<_>>()?;
    let homes: Vec<SocketAddr> = sockets
        .iter()
        .map(UdpSocket::local_addr)
        .collect::<io::Result<_>>()?;
    let (addresses, relays) = relays(&homes, loss, trial, &over)?;
    let (sender, told) = channel();
    let mut members = Vec::new();
    for (me, socket) in (0..).map(NodeId).zip(sockets) {
        let stop = Arc::new(AtomicBool::new(false));
        let node = run(me, socket, &addresses[&me], trial, sender.clone(), &stop);
        members.push((stop, node));
    }
    thread::sleep(QUIET);
    let victim = usize::try_from(trial % MEMBERS).unwrap_or(0);
    let gone = Instant::now();
    let (stop, node) = members.remove(victim);
    stop.store(true, Ordering::Relaxed);
    let mut probes = join(node)?;
    let bound = machine(NodeId(0)).detection_ms_max(MEMBERS - 1);
    thread::sleep(Duration::from_millis(bound));
    let expected = NodeId(trial % MEMBERS);
    for (stop, _) in &members {
        stop.store(true, Ordering::Relaxed);
    }
    for (_, node) in members {
        probes += join(node)?;
    }
    over.store(true, Ordering::Relaxed);
    for relay in relays {
        // It ends by itself.
        let _ = relay.join();
    }
    drop(sender);
    let told: Vec<Told> = told.into_iter().collect();
    // The survivors go on to probe after the one is gone: of all their probes, those before count.
    let quiet = QUIET.as_millis();
    let whole = quiet + u128::from(bound);
    let share = u128::from(probes) * quiet / whole;
    found.probes += u64::try_from(share).unwrap_or(u64::MAX);
    judge(&told, gone, expected, found);
    Ok(())
}

fn judge(told: &[Told], gone: Instant, victim: NodeId, found: &mut Found) {
    let mut dead: BTreeMap<NodeId, Instant> = BTreeMap::new();
    let mut first = None;
    for (when, who, event) in told {
        match event {
            Event::Accused { node, .. } if *when < gone => {
                found.accusations += 1;
                let _ = node;
            }
            Event::Accused { node, .. } if *node == victim => {
                first.get_or_insert(*when);
            }
            Event::Changed { node, standing } if standing.status == Status::Dead => {
                if *when < gone {
                    found.deaths += 1;
                } else if *node == victim {
                    dead.entry(*who).or_insert(*when);
                }
            }
            Event::Accused { .. }
            | Event::Changed { .. }
            | Event::Began { .. }
            | Event::Refuted { .. }
            | Event::Members { .. }
            | Event::Left { .. } => {}
        }
    }
    let since = |when: &Instant| when.duration_since(gone).as_millis();
    found.detected.extend(dead.values().map(since));
    found.suspected.extend(first.iter().map(since));
}

fn bind() -> io::Result<UdpSocket> {
    UdpSocket::bind("127.0.0.1:0")
}

fn join(node: JoinHandle<io::Result<u64>>) -> io::Result<u64> {
    node.join().expect("a member does not panic")
}

/// Where each member finds each other: at a relay, which passes on what it does not lose.
type Addresses = BTreeMap<NodeId, BTreeMap<NodeId, SocketAddr>>;

fn relays(
    homes: &[SocketAddr],
    loss: u64,
    trial: u64,
    over: &Arc<AtomicBool>,
) -> io::Result<(Addresses, Vec<JoinHandle<()>>)> {
    let ids = || (0..MEMBERS).map(NodeId);
    let mut sockets = BTreeMap::new();
    let mut addresses = Addresses::new();
    for (me, home) in ids().zip(homes) {
        let known = addresses.entry(me).or_default();
        known.insert(me, *home);
        for other in ids().filter(|other| *other != me) {
            let socket = bind()?;
            socket.set_read_timeout(Some(LOOK))?;
            known.insert(other, socket.local_addr()?);
            sockets.insert((me, other), socket);
        }
    }
    let mut threads = Vec::new();
    for ((from, to), socket) in &sockets {
        let (socket, back) = (socket.try_clone()?, sockets[&(*to, *from)].try_clone()?);
        let home = homes[usize::try_from(to.0).unwrap_or(0)];
        let over = Arc::clone(over);
        let mut random = Random(trial << 32 | loss << 16 | from.0 << 8 | to.0);
        threads.push(thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while !over.load(Ordering::Relaxed) {
                // What cannot be passed on is lost, as a datagram may be.
                if let Ok((length, _)) = socket.recv_from(&mut buffer)
                    && loss <= random.next() % 100
                {
                    let _ = back.send_to(&buffer[..length], home);
                }
            }
        }));
    }
    Ok((addresses, threads))
}

/// Runs a member until it is to stop; gives how many probes it began.
fn run(
    me: NodeId,
    socket: UdpSocket,
    addresses: &BTreeMap<NodeId, SocketAddr>,
    seed: u64,
    told: Sender<Told>,
    stop: &Arc<AtomicBool>,
) -> JoinHandle<io::Result<u64>> {
    let (addresses, stop) = (addresses.clone(), Arc::clone(stop));
    thread::spawn(move || {
        let identity = Identity::new(1, "swim/1", &MEMBERS, me);
        let port = Port::new(socket, &identity, addresses, 0)?;
        let (machine, durable) = (machine(me), Durable::default());
        let booted = Node::boot(machine, me, durable, NoDisk, port, seed << 8 | me.0);
        let (mut node, _) = booted.map_err(io::Error::other)?;
        while !stop.load(Ordering::Relaxed) {
            for event in node.turn([], LOOK).map_err(io::Error::other)? {
                // The last ones are told to nobody.
                let _ = told.send((Instant::now(), me, event));
            }
        }
        Ok(node.state().volatile.number)
    })
}

/// Splitmix64: which datagrams are lost is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How wide a plot is.
const WIDTH: usize = 60;

/// From the smallest to the largest, the middle half darker, and the median in words.
fn spread(sorted: &[u128], longest: u128) -> String {
    let Some((first, last)) = sorted.first().zip(sorted.last()) else {
        return "nobody found out".to_owned();
    };
    let at = |millis: u128| usize::try_from(millis * WIDTH as u128 / longest).unwrap_or(WIDTH);
    let quartile = |quarters: usize| sorted[(sorted.len() - 1) * quarters / 4];
    let line: String = (0..=WIDTH)
        .map(|column| match column {
            column if (at(quartile(1))..=at(quartile(3))).contains(&column) => '▓',
            column if (at(*first)..=at(*last)).contains(&column) => '─',
            _ => ' ',
        })
        .collect();
    format!(
        "{line} {first} to {last} ms, median {} of {}",
        quartile(2),
        sorted.len()
    )
}
