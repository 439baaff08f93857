//! What it costs two replicas to find out where they differ: messages and bytes, against sending
//! everything.
//!
//! ```sh
//! cargo bench --bench sync            # a million keys
//! cargo bench --bench sync -- 100000  # as many as you like
//! ```
//!
//! Nothing here takes time into account, so a busy machine gives the same numbers as an idle one: the two
//! machines are handed each other's messages, and each message is counted as it is encoded on the wire,
//! without the frame of a datagram.

use std::collections::VecDeque;
use std::env;

use quorate::clock::Stamp;
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::merkle::Sha256;
use quorate::merkle::keyed::{Place, Shape};
use quorate::sync::{BUCKET_MAX, Durable, Entry, Message, Sync, Timer};

const KEYS: usize = 1_000_000;
const DIFFERING: [usize; 3] = [1, 10, 1_000];
/// The widest there is: a level of it fits a datagram.
const SHAPE: Shape = Shape {
    fan_bits: 4,
    bucket_max: BUCKET_MAX,
};
const ONE: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);

type Replica = State<Sync<Sha256>>;

/// What went over the wire.
#[derive(Clone, Copy, Default)]
struct Cost {
    messages: usize,
    bytes: usize,
    /// After how many messages, one answering the other, the last one went.
    depth: usize,
}

fn main() {
    let asked = env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let keys: usize = asked.unwrap_or(KEYS);
    let equal: Map<String, Entry> = (0..keys).map(|key| (name(key), entry(key, 1))).collect();
    let machines = [ONE, OTHER].map(|me| Sync {
        me,
        peers: [ONE, OTHER]
            .into_iter()
            .filter(|peer| *peer != me)
            .collect::<NodeSet>(),
        shape: SHAPE,
        hasher: Sha256,
    });
    let everything = everything(&equal);
    let booted = replica(&machines[0], equal);
    println!("two replicas of {keys} keys, of which some are newer at one and some at the other\n");
    println!(
        "{:>9} {:>9} {:>12} {:>13} {:>6}",
        "differing", "messages", "bytes", "per key", "depth"
    );
    let mut costs = vec![(
        "none".to_owned(),
        reconcile(&machines, [booted.clone(), booted.clone()]),
    )];
    for differing in DIFFERING.into_iter().filter(|differing| *differing <= keys) {
        let mut replicas = [booted.clone(), booted.clone()];
        // Spread over all keys; every other one is newer at the other replica.
        for place in 0..differing {
            let key = place * (keys / differing);
            push(&machines[place % 2], &mut replicas[place % 2], key);
        }
        costs.push((differing.to_string(), reconcile(&machines, replicas)));
    }
    for (differing, cost) in &costs {
        let per_key = differing
            .parse::<usize>()
            .map_or(0, |count| cost.bytes / count);
        println!(
            "{differing:>9} {:>9} {:>12} {per_key:>13} {:>6}",
            cost.messages, cost.bytes, cost.depth
        );
    }
    println!(
        "{:>9} {:>9} {:>12}",
        "all", everything.messages, everything.bytes
    );
    println!("\nbytes, each column ten times the one before\n");
    for (differing, cost) in &costs {
        bar(differing, cost.bytes);
    }
    bar("all", everything.bytes);
}

fn name(key: usize) -> String {
    format!("key-{key:07}")
}

fn entry(key: usize, time: u64) -> Entry {
    let version = Stamp { time, node: ONE };
    let value = Some(format!("{key:064}"));
    Entry { version, value }
}

fn replica(machine: &Sync<Sha256>, entries: Map<String, Entry>) -> Replica {
    let mut durable = Durable { entries, time: 1 };
    let volatile = machine.boot(&mut durable, &mut Outbox::default());
    State { durable, volatile }
}

/// The replica learns of a newer value.
fn push(machine: &Sync<Sha256>, replica: &mut Replica, key: usize) {
    let entry = entry(key, 2);
    let key = name(key);
    let message = Message::Push { key, entry };
    machine.on_message(replica, OTHER, message, &mut Outbox::default());
}

/// What it costs to send each entry.
fn everything(entries: &Map<String, Entry>) -> Cost {
    let mut cost = Cost::default();
    for (key, entry) in entries {
        let (key, entry) = (key.clone(), entry.clone());
        count(&Message::Push { key, entry }, &mut cost);
    }
    cost
}

fn count(message: &Message<<Sha256 as quorate::merkle::Hasher>::Digest>, cost: &mut Cost) {
    let bytes = postcard::to_stdvec(message).expect("a message has an encoding");
    cost.messages += 1;
    cost.bytes += bytes.len();
}

/// One compares with the other, until there is nothing to say. They are equal then, or it is a mistake.
fn reconcile(machines: &[Sync<Sha256>; 2], mut replicas: [Replica; 2]) -> Cost {
    let mut cost = Cost::default();
    let mut out = Outbox::default();
    machines[0].on_timer(&mut replicas[0], Timer::Compare(OTHER), &mut out);
    let mut waiting: VecDeque<_> = sent(&mut out, 1).collect();
    while let Some((to, message, depth)) = waiting.pop_front() {
        count(&message, &mut cost);
        cost.depth = cost.depth.max(depth);
        let (at, from) = if to == ONE { (0, OTHER) } else { (1, ONE) };
        machines[at].on_message(&mut replicas[at], from, message, &mut out);
        waiting.extend(sent(&mut out, depth + 1));
    }
    let root = |at: usize| {
        let tree = &replicas[at].volatile.tree;
        tree.digest(&Sha256, SHAPE, Place::ROOT)
    };
    assert_eq!(root(0), root(1), "they agree");
    cost
}

type Sent = (
    NodeId,
    Message<<Sha256 as quorate::merkle::Hasher>::Digest>,
    usize,
);

fn sent(out: &mut Outbox<Sync<Sha256>>, depth: usize) -> impl Iterator<Item = Sent> + use<> {
    let outputs: Vec<_> = out.drain().collect();
    outputs.into_iter().filter_map(move |output| match output {
        Output::Send { to, message } => Some((to, message, depth)),
        Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => None,
    })
}

/// A bar whose length is a logarithm: eight marks for each factor of ten.
fn bar(what: &str, bytes: usize) {
    let tenfold = bytes.max(1).ilog10() as usize;
    let rest = bytes.max(1) / 10_usize.pow(bytes.max(1).ilog10());
    // Eight marks: 1, 1.3, 1.8, 2.4, 3.2, 4.2, 5.6, 7.5, of which whole numbers tell these.
    let within = [0, 0, 2, 4, 5, 6, 6, 7, 7, 8]
        .get(rest)
        .copied()
        .unwrap_or(0);
    println!("{what:>9} {} {bytes}", "█".repeat(8 * tenfold + within));
}
