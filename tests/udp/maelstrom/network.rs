//! A small Maelstrom: nodes as processes, what is under way between them and their clients, and clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Random;
use crate::processes::quorate;

/// How long a client waits.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long what has to come may take.
pub(super) const LONG: Duration = Duration::from_secs(12);

/// A node's process, which says line by line what it has to say.
pub(super) struct Node {
    child: Child,
    input: Option<ChildStdin>,
}

impl Node {
    /// The node number `place`, which says what it says to `said`.
    pub(super) fn start(workload: &str, place: usize, said: Sender<(usize, String)>) -> Self {
        let mut child = quorate()
            .args(["maelstrom", "--workload", workload])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if said.send((place, line)).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input }
    }

    pub(super) fn hears(&mut self, line: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(line).and_then(|()| input.flush()).unwrap();
    }

    /// Ends its input, which is all that it waits for: it did not panic.
    pub(super) fn end(&mut self) {
        self.input = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What becomes of messages.
#[derive(Clone, Copy)]
pub(super) struct Weather {
    /// Of a hundred between nodes, how many are lost.
    pub(super) lost: usize,
    /// Of a thousand between clients and nodes.
    pub(super) lost_of_clients: usize,
    /// How long they take at most, in milliseconds.
    pub(super) delay_ms: usize,
}

/// Nodes, and what is under way between them and their clients.
pub(super) struct Network {
    pub(super) nodes: Vec<Node>,
    said: Receiver<(usize, String)>,
    random: Random,
    weather: Weather,
    /// By when it arrives, and a number.
    under_way: BTreeMap<(Instant, u64), Value>,
    number: u64,
    /// Who is apart from all others.
    pub(super) apart: BTreeSet<String>,
    /// Who hears none of the others, but is heard.
    pub(super) deaf: Option<String>,
    /// Who was the last to do what only a leader does.
    pub(super) leader: Option<String>,
    pub(super) lost: usize,
}

pub(super) fn name(place: usize) -> String {
    format!("n{}", place + 1)
}

pub(super) fn text<'a>(message: &'a Value, field: &str) -> &'a str {
    message[field].as_str().unwrap()
}

impl Network {
    /// So many nodes, which know their names.
    pub(super) fn start(workload: &str, count: usize, seed: u64, weather: Weather) -> Self {
        let (sender, said) = channel();
        let start = |place| Node::start(workload, place, sender.clone());
        let mut network = Self {
            nodes: (0..count).map(start).collect(),
            said,
            random: Random(seed),
            weather,
            under_way: BTreeMap::new(),
            number: 0,
            apart: BTreeSet::new(),
            deaf: None,
            leader: None,
            lost: 0,
        };
        let names: Vec<String> = (0..count).map(name).collect();
        for place in 0..count {
            let body = json!({ "type": "init", "node_id": name(place), "node_ids": names });
            assert_eq!(network.ask(place, body)["type"], "init_ok");
        }
        network
    }

    /// Asks, without any loss, and awaits the answer.
    pub(super) fn ask(&mut self, place: usize, mut body: Value) -> Value {
        self.number += 1;
        let number = self.number;
        body["msg_id"] = number.into();
        let message = json!({ "src": "c0", "dest": name(place), "body": body });
        self.under_way.insert((Instant::now(), number), message);
        let until = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < until, "no answer to {body}");
            for message in self.turn() {
                if message["dest"] == "c0" && message["body"]["in_reply_to"] == number {
                    return message["body"].clone();
                }
            }
        }
    }

    /// Sends a message, or loses it.
    fn post(&mut self, message: Value) {
        let (src, dest) = (text(&message, "src"), text(&message, "dest"));
        let of_nodes = src.starts_with('n') && dest.starts_with('n');
        let is_lost = if of_nodes {
            let cut = self.apart.contains(src) != self.apart.contains(dest);
            cut || self.deaf.as_deref() == Some(dest) || self.random.below(100) < self.weather.lost
        } else {
            !(src == "c0" || dest == "c0") && self.random.below(1000) < self.weather.lost_of_clients
        };
        if is_lost {
            self.lost += 1;
            return;
        }
        let delay = self.random.below(self.weather.delay_ms * 1000 + 1);
        let delay = Duration::from_micros(u64::try_from(delay).unwrap());
        self.number += 1;
        self.under_way
            .insert((Instant::now() + delay, self.number), message);
    }

    /// Carries what is due, waits a moment for more, and gives what clients are told.
    fn turn(&mut self) -> Vec<Value> {
        let mut told = Vec::new();
        while let Some(first) = self.under_way.first_entry() {
            if Instant::now() < first.key().0 {
                break;
            }
            let message = first.remove();
            match text(&message, "dest").strip_prefix('n') {
                None => told.push(message),
                Some(place) => {
                    let place: usize = place.parse().unwrap();
                    let line = format!("{message}\n");
                    self.nodes[place - 1].hears(line.as_bytes());
                }
            }
        }
        let mut wait = Duration::from_micros(500);
        while let Ok((place, line)) = self.said.recv_timeout(wait) {
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(text(&message, "src"), name(place), "{line}");
            if ["write_ok", "cas_ok"].contains(&text(&message["body"], "type")) {
                self.leader = Some(name(place));
            }
            self.post(message);
            wait = Duration::ZERO;
        }
        told
    }

    /// All nodes end as they should.
    pub(super) fn end(mut self) {
        for node in &mut self.nodes {
            node.end();
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Done(Value),
    /// It did not happen, and why.
    Not(i64),
    /// Nobody knows.
    Unknown,
}

/// An operation, and its moments in the order of all that was called or returned.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) request: Value,
    pub(super) node: usize,
    pub(super) called: usize,
    pub(super) returned: usize,
    pub(super) outcome: Outcome,
}

/// A client, which does one thing at a time.
struct Client {
    name: String,
    node: usize,
    under_way: Option<(u64, usize, Instant)>,
}

impl Client {
    /// What came of what it asked, if that is known, or will not be.
    fn hears(&self, told: &[Value]) -> Option<Outcome> {
        let (id, _, until) = self.under_way?;
        let of_it = |message: &&Value| {
            message["dest"] == self.name.as_str() && message["body"]["in_reply_to"] == id
        };
        let Some(answer) = told.iter().find(of_it) else {
            return (until <= Instant::now()).then_some(Outcome::Unknown);
        };
        let body = &answer["body"];
        if body["type"] != "error" {
            return Some(Outcome::Done(body.clone()));
        }
        Some(match body["code"].as_i64().unwrap() {
            0 | 13 => Outcome::Unknown,
            code => Outcome::Not(code),
        })
    }
}

/// Four clients ask for so long, while `chaos` does what it likes. Gives what came of it.
pub(super) fn drive(
    network: &mut Network,
    time: Duration,
    mut request: impl FnMut(&mut Random, Duration) -> Value,
    chaos: impl Fn(&mut Network, Duration),
) -> Vec<Operation> {
    let started = Instant::now();
    let mut clients: Vec<Client> = (0..4)
        .map(|number| Client {
            name: format!("c{}", number + 1),
            node: number % network.nodes.len(),
            under_way: None,
        })
        .collect();
    let mut names = clients.len();
    let (mut operations, mut moment): (Vec<Operation>, usize) = (Vec::new(), 0);
    loop {
        let is_over = time < started.elapsed();
        if is_over && clients.iter().all(|client| client.under_way.is_none()) {
            return operations;
        }
        chaos(network, started.elapsed());
        let told = network.turn();
        for client in &mut clients {
            if let Some((_, place, _)) = client.under_way {
                let Some(outcome) = client.hears(&told) else {
                    continue;
                };
                moment += 1;
                client.under_way = None;
                let is_elsewhere = match outcome {
                    Outcome::Done(_) | Outcome::Not(20 | 22) => false,
                    Outcome::Not(_) | Outcome::Unknown => true,
                };
                if is_elsewhere {
                    client.node = (client.node + 1) % network.nodes.len();
                }
                if let Outcome::Unknown = outcome {
                    // What it hears of late is then nobody's.
                    names += 1;
                    client.name = format!("c{names}");
                }
                operations[place].returned = moment;
                operations[place].outcome = outcome;
            }
            if is_over {
                continue;
            }
            if network.random.below(4) == 0 {
                client.node = network.random.below(network.nodes.len());
            }
            moment += 1;
            network.number += 1;
            let id = network.number;
            let mut body = request(&mut network.random, started.elapsed());
            client.under_way = Some((id, operations.len(), Instant::now() + PATIENCE));
            operations.push(Operation {
                request: body.clone(),
                node: client.node,
                called: moment,
                returned: usize::MAX,
                outcome: Outcome::Unknown,
            });
            body["msg_id"] = id.into();
            network.post(json!({ "src": client.name, "dest": name(client.node), "body": body }));
        }
    }
}
