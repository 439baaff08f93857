//! The database: what a consistency level costs, how fast a key is placed, and what it costs two replicas
//! to repair where they differ.
//!
//! ```sh
//! cargo bench -p quorate --bench database     # say how busy the machine was beside it
//! ```
//!
//! The first part is wall time, of processes on loopback that flush their disks and clients that wait for
//! each answer. The last is not: two machines are handed each other's messages, and each is counted as it
//! is encoded, without the frame of a datagram.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use quorate::clock::HybridTime;
use quorate::data::NodeSet;
use quorate::database::{
    Cell, Conflicts, Counting, Database, Durable, Hints, Placement, ReadRepair, Stamp, Table,
    Timer, Tombstones, Version,
};
use quorate::machine::{self, Input, NodeId, Output, State};
use quorate::merkle::keyed::Shape;
use quorate::ring::{Member, Rack, Ring, Token};
use quorate::udp::remote::Remote;
use quorate::udp::resp::Value;

#[expect(dead_code, reason = "of what is measured, another benchmark asks more")]
mod members;

use members::{Members, TIMEOUT, Taken};

const MEASURED: Duration = Duration::from_secs(3);
const CLIENTS: usize = 16;
const KEYS: usize = 10_000;
const DIFFERING: [usize; 4] = [0, 1, 10, 1_000];

fn main() {
    levels();
    placement();
    repair();
}

fn levels() {
    println!("{CLIENTS} clients, each at its own door\n");
    println!("{:24} {:>9} {:>9} {:>9}", "", "per s", "p50", "p99");
    for count in [3, 5] {
        let members = Members::start("database", count);
        let doors = members.doors();
        for level in ["ONE", "QUORUM", "ALL"] {
            for what in ["SET", "GET"] {
                let taken = Taken::by(CLIENTS, MEASURED, |number| {
                    let door = doors[number % doors.len()];
                    let mut remote = Remote::connect(door, TIMEOUT).expect("a connection");
                    let key = format!("key {number}@{level}");
                    move || {
                        let words = [what, &key, "0123456789abcdef"];
                        let words = if what == "SET" {
                            &words[..]
                        } else {
                            &words[..2]
                        };
                        let reply = remote.ask(words).expect("a reply");
                        assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
                    }
                });
                println!(
                    "{:24} {:>9.0} {:>9.1?} {:>9.1?}",
                    format!("{count} members, {what} {level}"),
                    taken.per_second(),
                    taken.percentile(50),
                    taken.percentile(99)
                );
            }
        }
    }
}

fn placement() {
    const LOOKUPS: u32 = 1_000_000;
    println!("\nhow fast a key is placed, its hash included\n");
    for (members, places) in [(5, 16), (64, 16), (64, 256)] {
        let member = |node| (NodeId(node), Member::new(NodeId(node), Rack(0), places));
        let ring = Ring::new(3, (0..members).map(member)).expect("a ring");
        let keys: Vec<String> = (0..LOOKUPS).map(|key| format!("key {key}")).collect();
        let started = Instant::now();
        for key in &keys {
            black_box(ring.holders(Token::of(key.as_bytes())));
        }
        let each = started.elapsed() / LOOKUPS;
        let per_second = 1.0 / each.as_secs_f64();
        println!("{members:>3} members with {places:>3} places each: {per_second:>10.0} a second");
    }
}

fn repair() {
    println!("\ntwo replicas of {KEYS} keys, of which some are newer at one of them\n");
    println!(
        "{:>9} {:>9} {:>9} {:>12}",
        "differing", "compares", "messages", "bytes"
    );
    let machines = [0, 1].map(|me| database(NodeId(me)));
    let behind = table((0..KEYS).map(|key| (key, 1)));
    for differing in DIFFERING {
        let spread = KEYS / differing.max(1);
        let newer =
            |key: usize| differing > 0 && key.is_multiple_of(spread) && key / spread < differing;
        let ahead = table((0..KEYS).map(|key| (key, if newer(key) { 2 } else { 1 })));
        let cost = reconcile(&machines, [ahead, behind.clone()]);
        let [compares, messages, bytes] = cost;
        println!("{differing:>9} {compares:>9} {messages:>9} {bytes:>12}");
    }
    let all: usize = (behind.cells.iter())
        .map(|cell| {
            postcard::to_stdvec(&cell)
                .expect("a cell has an encoding")
                .len()
        })
        .sum();
    println!("{:>9} {:>9} {:>9} {all:>12}", "all", "", "");
}

fn database(me: NodeId) -> Database {
    Database {
        me,
        placement: Placement::Whole(NodeSet::first(2)),
        nearby: NodeSet::first(2),
        conflicts: Conflicts::LastWriterWins,
        read_repair: ReadRepair::Blocking,
        hints: Hints::Off,
        counting: Counting::Strict,
        anti_entropy: Some(Shape {
            fan_bits: 4,
            bucket_max: 8,
        }),
        tombstones: Tombstones::Kept,
        patience: None,
    }
}

/// A table of keys, each written at its time.
fn table(writes: impl Iterator<Item = (usize, u64)>) -> Table {
    let cell = |(key, physical): (usize, u64)| {
        let time = HybridTime {
            physical,
            counter: 0,
        };
        let writer = NodeId(0);
        let version = Version {
            stamp: Stamp { time, writer },
            value: Some(format!("{key:064}")),
        };
        (format!("key-{key:07}"), Cell::Last(version))
    };
    Table {
        cells: writes.map(cell).collect(),
    }
}

/// The second compares with the first until both have the same: how often, and with how many messages
/// and bytes.
fn reconcile(machines: &[Database; 2], tables: [Table; 2]) -> [usize; 3] {
    let mut tables = tables.into_iter();
    let mut replicas = [0, 1].map(|at: usize| {
        let durable = Durable {
            table: tables.next().unwrap_or_default(),
            ..Durable::default()
        };
        machine::boot(&machines[at], durable).state
    });
    let (mut compares, mut messages, mut bytes) = (0, 0, 0);
    loop {
        compares += 1;
        let compare = Input::Timer(Timer::Compare(NodeId(0)));
        let mut waiting: VecDeque<_> = step(machines, &mut replicas, 1, compare).into();
        while let Some((from, to, message)) = waiting.pop_front() {
            messages += 1;
            let encoded = postcard::to_stdvec(&message).expect("a message has an encoding");
            bytes += encoded.len();
            let input = Input::Message { from, message };
            let at = usize::from(to == NodeId(1));
            waiting.extend(step(machines, &mut replicas, at, input));
        }
        if replicas[0].durable.table == replicas[1].durable.table {
            return [compares, messages, bytes];
        }
        assert!(compares < 1_000, "they come to agree");
    }
}

type Sent = (NodeId, NodeId, quorate::database::Message);

/// One of them takes a step; what it sends.
fn step(
    machines: &[Database; 2],
    replicas: &mut [State<Database>; 2],
    at: usize,
    input: Input<Database>,
) -> Vec<Sent> {
    let step = machine::step(&machines[at], replicas[at].clone(), input);
    replicas[at] = step.state;
    let Ok(outputs) = step
        .sealed
        .persist(|_| Ok::<(), std::convert::Infallible>(()));
    let sent = outputs.into_iter().filter_map(|output| match output {
        Output::Send { to, message } => Some((machines[at].me, to, message)),
        Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => None,
    });
    sent.collect()
}
