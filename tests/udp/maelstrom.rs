//! `quorate maelstrom`, where a small Maelstrom starts the nodes, names them, carries their messages or loses
//! them, and asks as clients do: what those were told is judged here.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use quorate::udp::maelstrom::LINE_BYTES_MAX;
use quorate_models::history::{
    CasCall, CasReply, Event, History, KeyValue, KeyValueCall, OperationId, linearizable,
};
use serde_json::{Value, json};

use crate::Random;
use network::{LONG, Network, Node, Operation, Outcome, Weather, drive, name, text};

mod network;

type Store = KeyValue<i64, i64>;
type Told = History<KeyValueCall<i64, i64>, CasReply<Option<i64>>>;

/// What the clients of the store saw: nothing of what did not happen. That a key has no value to compare is
/// a get that found none.
fn history(operations: &[Operation]) -> Told {
    let mut events = Vec::new();
    for (id, operation) in operations.iter().enumerate() {
        let number = |value: &Value| value.as_i64().unwrap();
        let request = &operation.request;
        let call = match request["type"].as_str().unwrap() {
            "write" => CasCall::Put(Some(number(&request["value"]))),
            "cas" => CasCall::CompareAndSwap {
                expected: Some(number(&request["from"])),
                new: Some(number(&request["to"])),
            },
            _ => CasCall::Get,
        };
        let (call, reply) = match (&operation.outcome, call) {
            (Outcome::Unknown, CasCall::Get) => continue,
            (Outcome::Unknown, call) => (call, None),
            (Outcome::Not(20), _) => (CasCall::Get, Some(CasReply::Value(None))),
            (Outcome::Not(22), call) => (call, Some(CasReply::Mismatched)),
            (Outcome::Not(code), _) => {
                assert_eq!(*code, 11, "{operation:?}");
                continue;
            }
            (Outcome::Done(body), CasCall::Get) => {
                let value = number(&body["value"]);
                (CasCall::Get, Some(CasReply::Value(Some(value))))
            }
            (Outcome::Done(_), call @ CasCall::Put(_)) => (call, Some(CasReply::Done)),
            (Outcome::Done(_), call @ CasCall::CompareAndSwap { .. }) => {
                (call, Some(CasReply::Swapped))
            }
        };
        let key = number(&request["key"]);
        let id = OperationId(u32::try_from(id).unwrap());
        let called = Event::Called(id, KeyValueCall { key, call });
        events.push((operation.called, called));
        if let Some(reply) = reply {
            events.push((operation.returned, Event::Returned(id, reply)));
        }
    }
    events.sort_by_key(|(moment, _)| *moment);
    let mut history = Told::default();
    for (_, event) in events {
        history.record(event).unwrap();
    }
    history
}

#[test]
fn lin_kv_is_linearizable_though_messages_are_lost_and_leaders_are_deaf_and_cut_off() {
    let weather = Weather {
        lost: 3,
        lost_of_clients: 3,
        delay_ms: 6,
    };
    const ROUND_MS: u128 = 1500;
    let mut network = Network::start("lin-kv", 3, 1, weather);
    let request = |random: &mut Random, at: Duration| {
        // Other keys in every round, so that little of what is unknown is about each.
        let key = at.as_millis() / ROUND_MS * 3 + u128::from(random.next() % 3);
        let key = u64::try_from(key).unwrap();
        let mut value = || random.next() % 4;
        let (one, other) = (value(), value());
        match value() {
            0 | 1 => json!({ "type": "read", "key": key }),
            2 => json!({ "type": "write", "key": key, "value": one }),
            _ => json!({ "type": "cas", "key": key, "from": one, "to": other }),
        }
    };
    // Whoever leads is first deaf, so that others have what it gives up; then whoever leads is cut off.
    let chaos = |network: &mut Network, at: Duration| match at.as_millis() % ROUND_MS {
        0..400 => network.apart.clear(),
        400..800 if network.deaf.is_none() => network.deaf = network.leader.clone(),
        400..800 => {}
        _ => {
            network.deaf = None;
            if network.apart.is_empty() {
                network.apart = network.leader.clone().into_iter().collect();
            }
        }
    };
    let operations = drive(&mut network, Duration::from_millis(5500), request, chaos);
    assert!(network.lost > 100, "{} messages were lost", network.lost);
    network.end();

    let count = |kind: &str, is: &dyn Fn(&Outcome) -> bool| {
        let of_kind = operations.iter().filter(|it| it.request["type"] == kind);
        of_kind.filter(|it| is(&it.outcome)).count()
    };
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Done(_));
    for kind in ["read", "write", "cas"] {
        assert!(count(kind, &done) > 10, "few of {kind} were done");
    }
    assert!(count("cas", &|it| matches!(it, Outcome::Not(22))) > 10);
    assert!(count("read", &|it| matches!(it, Outcome::Not(20))) > 0);
    assert!(count("write", &|it| matches!(it, Outcome::Not(11))) > 0);

    let mut told = history(&operations);
    assert_eq!(linearizable(&Store::default(), &told).err(), None);
    // One more read, of what nobody wrote: the judge is awake.
    let id = OperationId(u32::MAX);
    let call = CasCall::Get;
    told.called(id, KeyValueCall { key: 0, call }).unwrap();
    told.returned(id, CasReply::Value(Some(99))).unwrap();
    assert!(linearizable(&Store::default(), &told).is_err());
}

/// A network that is cut in two for a while.
const ROUGH: Weather = Weather {
    lost: 10,
    lost_of_clients: 10,
    delay_ms: 10,
};

fn cut_in_two(network: &mut Network, at: Duration) {
    let cut = (500..2000).contains(&at.as_millis());
    let apart = if cut { &["n1", "n4"][..] } else { &[] };
    network.apart = apart.iter().map(|name| (*name).into()).collect();
}

/// Asks all nodes to read until they say what is wanted.
fn all_read(network: &mut Network, field: &str, is_right: impl Fn(&Value) -> bool) {
    let until = Instant::now() + LONG;
    for place in 0..network.nodes.len() {
        loop {
            let read = network.ask(place, json!({ "type": "read" }));
            assert_eq!(read["type"], "read_ok");
            if is_right(&read[field]) {
                break;
            }
            let name = name(place);
            assert!(Instant::now() < until, "{name} reads {}", read[field]);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn elements(value: &Value) -> BTreeSet<String> {
    let elements = value.as_array().unwrap();
    let set: BTreeSet<String> = elements.iter().map(Value::to_string).collect();
    assert_eq!(set.len(), elements.len(), "one is there twice");
    set
}

/// Clients add elements to a set and read it, while the network is cut in two. After that all nodes come to
/// have what was acknowledged, and none has what nobody added.
fn grows(workload: &str, add: &str, element: &str, all: &str) {
    let mut network = Network::start(workload, 5, 2, ROUGH);
    if workload == "broadcast" {
        for place in 0..5 {
            let body = json!({ "type": "topology", "topology": { "n1": ["n2"] } });
            assert_eq!(network.ask(place, body)["type"], "topology_ok");
        }
    }
    let mut next = 0;
    let request = |random: &mut Random, _: Duration| {
        if random.below(4) == 0 {
            return json!({ "type": "read" });
        }
        next += 1;
        let what = match next % 3 {
            0 => json!(next),
            1 => json!(format!("text {next}")),
            _ => json!({ "b": [next, null], "a": 1.5 }),
        };
        json!({ "type": add, element: what })
    };
    let time = Duration::from_millis(2500);
    let operations = drive(&mut network, time, request, cut_in_two);
    network.apart.clear();
    let of = |operation: &&Operation| operation.request["type"] == add;
    let added = operations.iter().filter(of);
    let asked: BTreeSet<String> = (added.clone())
        .map(|it| it.request[element].to_string())
        .collect();
    let done = added.filter(|it| matches!(it.outcome, Outcome::Done(_)));
    let done: Vec<&Operation> = done.collect();
    let acknowledged: BTreeSet<String> = (done.iter())
        .map(|it| it.request[element].to_string())
        .collect();
    assert!(acknowledged.len() > 50, "{} adds", acknowledged.len());
    assert!(acknowledged.len() < asked.len(), "of each it was known");
    // What a client was told to be added is there when the same node is asked after that.
    let mut reads = 0;
    for read in &operations {
        let Outcome::Done(body) = &read.outcome else {
            continue;
        };
        if read.request["type"] != "read" {
            continue;
        }
        reads += 1;
        let there = elements(&body[all]);
        assert!(there.is_subset(&asked));
        let before = done.iter().filter(|it| it.node == read.node);
        for add in before.filter(|it| it.returned < read.called) {
            assert!(there.contains(&add.request[element].to_string()));
        }
    }
    assert!(reads > 20, "{reads} reads");
    all_read(&mut network, all, |value| {
        let there = elements(value);
        assert!(there.is_subset(&asked));
        acknowledged.is_subset(&there)
    });
    network.end();
}

#[test]
fn what_was_broadcast_is_everywhere_after_a_cut() {
    grows("broadcast", "broadcast", "message", "messages");
}

#[test]
fn a_set_that_grows_has_all_that_was_acknowledged_after_a_cut() {
    grows("g-set", "add", "element", "value");
}

#[test]
fn a_counter_is_everywhere_the_sum_of_what_was_added_after_a_cut() {
    let mut network = Network::start("pn-counter", 5, 3, ROUGH);
    let request = |random: &mut Random, _: Duration| match random.below(4) {
        0 => json!({ "type": "read" }),
        _ => json!({ "type": "add", "delta": i64::try_from(random.below(21)).unwrap() - 8 }),
    };
    let time = Duration::from_millis(2500);
    let operations = drive(&mut network, time, request, cut_in_two);
    network.apart.clear();
    let (mut least, mut most, mut unknown) = (0, 0, 0);
    for operation in operations.iter().filter(|it| it.request["type"] == "add") {
        let delta = operation.request["delta"].as_i64().unwrap();
        match operation.outcome {
            Outcome::Done(_) => {
                least += delta;
                most += delta;
            }
            Outcome::Not(code) => panic!("{code}: an add is always done"),
            Outcome::Unknown => {
                unknown += 1;
                least += delta.min(0);
                most += delta.max(0);
            }
        }
    }
    assert!(unknown > 0 && operations.len() > 100);
    // They become equal, and stay so.
    let until = Instant::now() + LONG;
    let equal = loop {
        let sums = (0..5).map(|place| network.ask(place, json!({ "type": "read" })));
        let sums: BTreeSet<i64> = sums.map(|it| it["value"].as_i64().unwrap()).collect();
        assert!(Instant::now() < until, "they read {sums:?}");
        match sums.first() {
            Some(sum) if sums.len() == 1 && (least..=most).contains(sum) => break *sum,
            Some(_) | None => thread::sleep(Duration::from_millis(20)),
        }
    };
    all_read(&mut network, "value", |value| *value == equal);
    network.end();
}

#[test]
fn no_two_ids_are_the_same() {
    let mut network = Network::start("unique-ids", 3, 4, ROUGH);
    let generate = |_: &mut Random, _: Duration| json!({ "type": "generate" });
    let operations = drive(&mut network, Duration::from_secs(1), generate, |_, _| {});
    let ids = operations.iter().filter_map(|it| match &it.outcome {
        Outcome::Done(body) => Some(body["id"].to_string()),
        Outcome::Not(_) | Outcome::Unknown => None,
    });
    let ids: Vec<String> = ids.collect();
    let nodes: BTreeSet<&str> = ids
        .iter()
        .filter_map(|id| id.split('@').next_back())
        .collect();
    assert_eq!(nodes.len(), 3);
    assert!(ids.len() > 100, "{} ids", ids.len());
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    network.end();
}

#[test]
fn an_echo_says_the_same() {
    let mut network = Network::start("echo", 1, 5, ROUGH);
    for what in [
        json!("Please echo 35"),
        json!(null),
        json!({ "z": [1, -2.5, "\n\u{0}"], "a": {} }),
        json!(u64::MAX),
    ] {
        let said = network.ask(0, json!({ "type": "echo", "echo": what }));
        assert_eq!(said["type"], "echo_ok");
        assert_eq!(said["echo"], what);
    }
    network.end();
}

/// What a node on its own says to these lines, and nothing more.
fn says(workload: &str, lines: &[&[u8]]) -> Vec<Value> {
    let (sender, said) = channel();
    let mut node = Node::start(workload, 0, sender);
    for line in lines {
        node.hears(line);
        node.hears(b"\n");
    }
    node.end();
    let lines = said.iter().map(|(_, line)| line);
    lines
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

fn init(me: &str, names: &Value) -> Vec<u8> {
    let body = json!({ "type": "init", "msg_id": 1, "node_id": me, "node_ids": names });
    let message = json!({ "src": "c0", "dest": me, "body": body });
    message.to_string().into_bytes()
}

fn ask(body: Value) -> Vec<u8> {
    let message = json!({ "src": "c1", "dest": "n1", "body": body });
    message.to_string().into_bytes()
}

#[test]
fn what_is_no_message_is_dropped_and_what_is_wrong_is_refused() {
    let deep = [b"[".repeat(5000), b"]".repeat(5000)].concat();
    let long = ask(json!({ "type": "echo", "msg_id": 9, "echo": "x".repeat(LINE_BYTES_MAX) }));
    let echo = |id: Value, more: Value| {
        let mut body = json!({ "type": "echo", "msg_id": id });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        ask(body)
    };
    let init = init("n1", &json!(["n1"]));
    let lines = [
        // No messages.
        b"".to_vec(),
        b"{".to_vec(),
        b"7".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        deep,
        long,
        br#"{"src": "c1", "dest": "n1"}"#.to_vec(),
        br#"{"src": "c1", "dest": "n1", "body": {}}"#.to_vec(),
        br#"{"src": 1, "dest": "n1", "body": {"type": "echo", "msg_id": 1}}"#.to_vec(),
        // Nobody to answer, or nothing.
        ask(json!({ "type": "echo", "echo": 1 })),
        echo(json!("1"), json!({ "echo": 1 })),
        echo(json!(1.5), json!({ "echo": 1 })),
        echo(json!(1), json!({ "echo": 1, "in_reply_to": 3 })),
        ask(json!({ "type": "quorate", "datagram": "00" })),
        // Before it has a name.
        echo(json!(10), json!({ "echo": 1 })),
        init.clone(),
        init,
        br#"{"src": "c1", "dest": "n2", "body": {"type": "echo", "msg_id": 11, "echo": 1}}"#
            .to_vec(),
        echo(json!(12), json!({})),
        ask(json!({ "type": "generate", "msg_id": 13 })),
        echo(json!(14), json!({ "echo": 1 })),
    ];
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let told = says("echo", &lines);
    let told: Vec<(i64, &str, Option<i64>)> = (told.iter())
        .map(|message| {
            let body = &message["body"];
            let to = body["in_reply_to"].as_i64().unwrap();
            assert_eq!(message["src"], "n1");
            (to, text(body, "type"), body["code"].as_i64())
        })
        .collect();
    assert_eq!(
        told,
        [
            (10, "error", Some(11)),
            (1, "init_ok", None),
            (1, "error", Some(22)),
            (12, "error", Some(12)),
            (13, "error", Some(10)),
            (14, "echo_ok", None),
        ]
    );
}

/// The code of each error that a node of this workload gives, alone in its cluster; none of what is done.
fn codes(workload: &str, bodies: &[Value]) -> Vec<Option<i64>> {
    let mut network = Network::start(workload, 1, 6, ROUGH);
    let codes = bodies.iter().map(|body| {
        // Until it leads.
        loop {
            let told = network.ask(0, body.clone());
            if told["code"] != 11 {
                return told["code"].as_i64();
            }
        }
    });
    let codes = codes.collect();
    network.end();
    codes
}

#[test]
fn errors_say_what_is_known() {
    let long = "x".repeat(2000);
    let lin_kv = [
        (json!({ "type": "read", "key": "a" }), Some(20)),
        (
            json!({ "type": "cas", "key": "a", "from": 1, "to": 2 }),
            Some(20),
        ),
        (
            json!({ "type": "write", "key": "a", "value": [1, { "b": null }] }),
            None,
        ),
        (
            json!({ "type": "cas", "key": "a", "from": 1, "to": 2 }),
            Some(22),
        ),
        (
            json!({ "type": "cas", "key": "a", "from": [1, { "b": null }], "to": 2 }),
            None,
        ),
        (json!({ "type": "read", "key": "a" }), None),
        // A key is its JSON.
        (json!({ "type": "read", "key": ["a"] }), Some(20)),
        (json!({ "type": "write", "key": "a" }), Some(12)),
        (
            json!({ "type": "write", "key": "a", "value": long }),
            Some(10),
        ),
        (json!({ "type": "txn", "txn": [] }), Some(10)),
    ];
    let g_set = [
        (json!({ "type": "add", "element": 1 }), None),
        (json!({ "type": "add" }), Some(12)),
        (json!({ "type": "add", "element": long }), Some(10)),
        (json!({ "type": "broadcast", "message": 1 }), Some(10)),
    ];
    let pn_counter = [
        (json!({ "type": "add", "delta": i64::MIN }), None),
        (json!({ "type": "read" }), None),
        (json!({ "type": "add", "delta": -1 }), None),
        // The sum has more than 64 bits.
        (json!({ "type": "read" }), Some(10)),
        (json!({ "type": "add", "delta": i64::MAX }), None),
        (json!({ "type": "read" }), None),
        (json!({ "type": "add", "delta": 1.5 }), Some(12)),
        (json!({ "type": "add", "delta": u64::MAX }), Some(12)),
        // The count is at its end.
        (json!({ "type": "add", "delta": i64::MIN }), Some(10)),
    ];
    for (workload, cases) in [
        ("lin-kv", &lin_kv[..]),
        ("g-set", &g_set),
        ("pn-counter", &pn_counter),
    ] {
        let (bodies, wanted): (Vec<_>, Vec<_>) = cases.iter().cloned().unzip();
        assert_eq!(codes(workload, &bodies), wanted, "{workload}");
    }
}

#[test]
fn names_that_make_no_cluster_are_refused_and_datagrams_of_nobody_dropped() {
    let many: Vec<String> = (0..65).map(name).collect();
    let seventeen: Vec<String> = (0..17).map(name).collect();
    let wrong = [
        init("n1", &json!([])),
        init("n1", &json!(["n2"])),
        init("n1", &json!(["n1", "n2", "n1"])),
        init("n1", &json!(["n1", 2])),
        init("n1", &json!("n1")),
        init("n1", &json!(many)),
        init("n1", &json!(seventeen)),
        init("n1", &json!(["n1", "n2"])),
    ];
    let datagrams = ["", "0", "xx", "7172746d", &"00".repeat(3000)];
    let datagrams = datagrams.iter().flat_map(|digits| {
        ["n1", "n2", "n3", "c1"].map(|src| {
            let body = json!({ "type": "quorate", "datagram": digits });
            let message = json!({ "src": src, "dest": "n1", "body": body });
            message.to_string().into_bytes()
        })
    });
    let last = ask(json!({ "type": "add", "msg_id": 2, "element": 1 }));
    let lines: Vec<Vec<u8>> = wrong.into_iter().chain(datagrams).chain([last]).collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let told = says("g-set", &lines);
    let answers = told.iter().filter(|it| it["body"]["type"] != "quorate");
    let codes: Vec<Option<i64>> = answers.map(|it| it["body"]["code"].as_i64()).collect();
    let refused = [12, 12, 12, 12, 12, 10, 10].map(Some);
    assert_eq!(codes, [&refused[..], &[None, None]].concat());
}
