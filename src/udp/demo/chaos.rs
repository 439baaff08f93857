//! Chaos: three members of Raft on a network that loses a fifth of what it is given, one of them killed
//! every few seconds, and eight clients who count. Each increment is tried until it is known to be done,
//! and each is done once.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::{DemoError, Stage, free_addresses, random, said};
use crate::machine::NodeId;
use crate::service::Tenant;
use crate::udp::caller::counters::Log;
use crate::udp::caller::{Caller, Policy};
use crate::udp::configuration::Protocol;
use crate::udp::resp::Value;
use crate::udp::serve::say;
use crate::udp::std::io;
use crate::udp::std::net::UdpSocket;
use crate::udp::std::thread;
use crate::udp::std::time::Instant;

/// How many clients count.
const CLIENTS: u64 = 8;
/// Of so many tenants.
const TENANTS: u64 = 4;
/// How much of what is sent is lost.
const LOSS_PERCENT: u64 = 20;
/// How long all members run between two kills, and how long one stays dead.
const CALM: Duration = Duration::from_millis(1_500);
const DEAD: Duration = Duration::from_millis(500);
/// How long no majority is there, once.
const OUTAGE: Duration = Duration::from_millis(2_500);
/// How long an increment is tried before the demonstration has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn show(stage: &mut Stage<'_>, increments: u64) -> Result<(), DemoError> {
    say(&format!(
        "Three processes of Raft, each with a journal of its own in {}. Between them {LOSS_PERCENT}% of all \
         datagrams are lost.",
        stage.directory.display()
    ));
    let network = Network::between(stage)
        .map_err(|error| DemoError::System("put a network between members".into(), error))?;
    stage.start_all()?;

    say(&format!(
        "\n{CLIENTS} clients of {TENANTS} tenants increment one number {increments} times. One member after \
         the other is killed, and comes back; once two at a time, so that nothing can be done for a while."
    ));
    let caller = Caller::start(
        &stage.cluster,
        Policy::of(Protocol::Raft, PATIENCE),
        Log::Off,
    );
    let caller =
        Arc::new(caller.map_err(|error| DemoError::System("start a caller".into(), error))?);
    let started = Instant::now();
    let left = Arc::new(AtomicU64::new(increments));
    let done = Arc::new(AtomicU64::new(0));
    let counting: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (caller, left, done) = (Arc::clone(&caller), Arc::clone(&left), Arc::clone(&done));
            thread::spawn(move || count(&caller, client, &left, &done))
        })
        .collect();
    let disturbed = disturb(stage, &done, increments, || {
        counting.iter().all(thread::JoinHandle::is_finished)
    });
    // Nobody begins another one, if it has failed.
    if disturbed.is_err() {
        left.store(0, Ordering::Relaxed);
    }
    let counted: Vec<_> = counting
        .into_iter()
        .map(|client| {
            client
                .join()
                .unwrap_or_else(|_| Err("a client panicked".into()))
        })
        .collect();
    let kills = disturbed?;
    let mut numbers = BTreeSet::new();
    for client in counted {
        numbers.extend(client.map_err(|why| wrong("each increment", "done", why))?);
    }
    said(
        started,
        &format!("{increments} increments are acknowledged, and members were killed {kills} times"),
    );
    judge(&caller, &numbers, increments)?;
    say(&format!(
        "\nWhat the clients' breaker and budget did:\n{}",
        caller.counters()
    ));
    say(&caller.counters().metrics());
    drop(network);
    stage.terminate_all()
}

/// Each acknowledged increment has a number of its own, and the last one is how many there were.
fn judge(caller: &Caller, numbers: &BTreeSet<i64>, increments: u64) -> Result<(), DemoError> {
    let started = Instant::now();
    let client = caller.client(Tenant(0));
    let mut client = client.map_err(|error| DemoError::System("draw a number".into(), error))?;
    let value = client.call(&["GET", "n"], PATIENCE);
    let value =
        value.map_err(|error| wrong("GET n", &increments.to_string(), error.to_string()))?;
    if value != Value::Bulk(increments.to_string()) {
        return Err(wrong(
            "GET n",
            &increments.to_string(),
            format!("{value:?}"),
        ));
    }
    let distinct = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
    let last = numbers.last().copied().unwrap_or(0);
    if distinct != increments || u64::try_from(last) != Ok(increments) {
        let were = format!("{distinct} numbers up to {last}");
        let promised = format!("{increments} numbers, each once");
        return Err(wrong("the increments", &promised, were));
    }
    said(
        started,
        &format!("GET n -> {increments}: every increment was done exactly once"),
    );
    Ok(())
}

fn wrong(asked: &str, promised: &str, reply: String) -> DemoError {
    DemoError::Replied {
        asked: asked.into(),
        promised: promised.into(),
        reply,
    }
}

/// Increments until no increment is left, and gives the numbers that it was told.
fn count(
    caller: &Caller,
    number: u64,
    left: &AtomicU64,
    done: &AtomicU64,
) -> Result<Vec<i64>, String> {
    let tenant = Tenant(u32::try_from(number % TENANTS).unwrap_or(0));
    let mut client = caller.client(tenant).map_err(|error| error.to_string())?;
    let mut numbers = Vec::new();
    let take = |left: u64| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        match client.call(&["INCR", "n"], PATIENCE) {
            Ok(Value::Number(number)) => numbers.push(number),
            Ok(other) => return Err(format!("{other:?}")),
            Err(error) => return Err(error.to_string()),
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(numbers)
}

/// Kills and restarts members until all is done. Gives how often it killed one.
fn disturb(
    stage: &mut Stage<'_>,
    done: &AtomicU64,
    increments: u64,
    is_over: impl Fn() -> bool,
) -> Result<u32, DemoError> {
    let nodes = stage.nodes();
    let mut kills = 0;
    let mut outage = false;
    let rest = |stage: &Stage<'_>, longest: Duration| -> Result<(), DemoError> {
        let began = Instant::now();
        while began.elapsed() < longest && !is_over() {
            stage.check()?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    for turn in (0..nodes.len()).cycle() {
        rest(stage, CALM)?;
        if is_over() {
            return Ok(kills);
        }
        let mut victims: Vec<NodeId> = nodes[turn..=turn].to_vec();
        let is_time = done.load(Ordering::Relaxed) * 4 >= increments;
        if is_time && !outage {
            victims.push(nodes[(turn + 1) % nodes.len()]);
            outage = true;
        }
        for node in &victims {
            stage.kill(*node)?;
            kills += 1;
        }
        // Of an outage every client hears: it is not cut short.
        if victims.len() > 1 {
            thread::sleep(OUTAGE);
        } else {
            rest(stage, DEAD)?;
        }
        for node in victims {
            stage.start(node, None)?;
        }
    }
    Ok(kills)
}

/// A network that loses. Each member listens where nobody knows, and is known to the others by a socket of
/// ours, which sends on what comes, or does not.
struct Network {
    stop: Arc<AtomicBool>,
    carriers: Vec<thread::JoinHandle<()>>,
}

impl Network {
    fn between(stage: &mut Stage<'_>) -> io::Result<Self> {
        let hidden = free_addresses(u64::try_from(stage.cluster.members.len()).unwrap_or(0))?;
        let mut known = Vec::new();
        for ((node, address), (listen, _)) in stage.cluster.members.iter().zip(hidden) {
            known.push((UdpSocket::bind(address)?, listen));
            stage.listen.insert(*node, listen);
        }
        let known = Arc::new(known);
        let stop = Arc::new(AtomicBool::new(false));
        let mut carriers = Vec::new();
        for number in 0..known.len() {
            let (known, stop) = (Arc::clone(&known), Arc::clone(&stop));
            let mut chance = Chance(random()?);
            known[number]
                .0
                .set_read_timeout(Some(Duration::from_millis(50)))?;
            carriers.push(thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    carry(&known, number, &mut chance);
                }
            }));
        }
        Ok(Self { stop, carriers })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            // One that panicked carries no more.
            let _ = carrier.join();
        }
    }
}

/// Takes one datagram to the member of this number, from where its sender is known, or loses it.
fn carry(known: &[(UdpSocket, SocketAddr)], to: usize, chance: &mut Chance) {
    let mut datagram = [0; 65_536];
    let Ok((length, source)) = known[to].0.recv_from(&mut datagram) else {
        return; // Nothing came, or a member is not there.
    };
    let Some((from, _)) = known.iter().find(|(_, listen)| *listen == source) else {
        return; // It is from no member.
    };
    if chance.percent() >= LOSS_PERCENT {
        // If the kernel does not take it, it is lost too.
        let _ = from.send_to(&datagram[..length], known[to].1);
    }
}

/// Splitmix64: for loss, where nothing depends on how random it is.
struct Chance(u64);

impl Chance {
    fn percent(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100
    }
}
