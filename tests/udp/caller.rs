//! The caller, in front of members that do as they are told: what it sends again, and what it does not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use quorate::service::{BreakerLimits, RetryLimits, Tenant};
use quorate::udp::caller::counters::{Breaker, Counters, Log};
use quorate::udp::caller::{CallError, Caller, Memory, Policy};
use quorate::udp::configuration::{Cluster, Member, Settings};
use quorate::udp::resp::{Value, Version, request};

/// What a member does with a command: it replies, or it hangs up.
type Obeys = dyn FnMut(&[String]) -> Option<Value> + Send;

/// A member that does as it is told, and what it was asked.
struct Puppet {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Puppet {
    fn new(obeys: impl FnMut(&[String]) -> Option<Value> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let obeys: Arc<Mutex<Obeys>> = Arc::new(Mutex::new(obeys));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (obeys, heard) = (Arc::clone(&obeys), Arc::clone(&heard));
                thread::spawn(move || talk(stream, &obeys, &heard));
            }
        });
        Self { address, asked }
    }

    /// The commands that it was given, but for what is about sessions.
    fn commands(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let commands = asked.iter().filter(|line| !line.starts_with("SESSION"));
        commands.cloned().collect()
    }
}

fn talk(mut stream: TcpStream, obeys: &Mutex<Obeys>, heard: &Mutex<Vec<String>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        bytes.extend(&buffer[..count]);
        while let Ok(Some((words, taken))) = request(&bytes) {
            bytes.drain(..taken);
            heard.lock().unwrap().push(words.join(" "));
            if words.last().is_some_and(|word| word == "slow") {
                thread::sleep(Duration::from_millis(500));
            }
            let reply = (obeys.lock().unwrap())(&words);
            let Some(reply) = reply else {
                return;
            };
            let mut encoded = Vec::new();
            reply.write(Version::Two, &mut encoded);
            if stream.write_all(&encoded).is_err() {
                return;
            }
        }
    }
}

fn cluster(puppets: &[&Puppet]) -> Cluster {
    let members = (0..).zip(puppets).map(|(id, puppet)| Member {
        id,
        address: format!("127.0.0.1:{}", 1 + id),
        clients: Some(puppet.address.to_string()),
    });
    let settings = Settings {
        cluster: Some(7),
        protocol: Some("raft".into()),
        members: Some(members.collect()),
        ..Settings::default()
    };
    settings.cluster().unwrap()
}

fn policy(memory: Memory) -> Policy {
    Policy {
        retry: RetryLimits {
            attempts_max: if memory == Memory::Sessions { 3 } else { 1 },
            earned_percent: 0,
            saved_percent_max: 200,
            wait_ms: 60,
            wait_ms_max: 60,
        },
        breaker: BreakerLimits {
            failures_max: 3,
            probes_max: 1,
            cool_ms: 1_000,
        },
        share: 1,
        memory,
    }
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.into())
}

const LONG: Duration = Duration::from_secs(5);

/// A member that keeps sessions hangs up on the first increment, done or not. It comes again, by its name.
#[test]
fn what_may_have_been_done_comes_again_under_its_name() {
    let mut increments = 0;
    let puppet = Puppet::new(move |words| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["SESSION"] if increments == 0 => Some(bulk("a0")),
            ["SESSION"] => Some(bulk("a1")),
            ["SESSION", _] => Some(Value::Simple("OK".into())),
            ["INCR", _] => {
                increments += 1;
                (increments > 1).then_some(Value::Number(1))
            }
            _ => Some(Value::Error("ERR".into())),
        }
    });
    let cluster = cluster(&[&puppet]);
    let caller = Caller::start(&cluster, policy(Memory::Sessions), Log::Off).unwrap();
    let mut client = caller.client(Tenant(0)).unwrap();
    assert_eq!(client.call(&["INCR", "n"], LONG), Ok(Value::Number(1)));
    assert_eq!(client.call(&["INCR", "n"], LONG), Ok(Value::Number(1)));
    let asked = puppet.asked.lock().unwrap().clone();
    let carried: Vec<&str> = (asked.iter())
        .filter_map(|line| line.strip_prefix("SESSION "))
        .collect();
    assert_eq!(carried, ["a0", "a0", "a1"], "{asked:?}");
    assert_eq!(caller.counters().retries, 1);
}

/// One that keeps none would do it again: so it is told once, and the outcome is unknown.
#[test]
fn what_may_have_been_done_does_not_come_again_where_it_has_no_name() {
    let puppet = Puppet::new(|_| None);
    let cluster = cluster(&[&puppet]);
    let caller = Caller::start(&cluster, policy(Memory::None), Log::Off).unwrap();
    let mut client = caller.client(Tenant(0)).unwrap();
    let set = client.call(&["SET", "colour", "green"], Duration::from_secs(1));
    assert_eq!(set, Err(CallError::Unknown));
    assert_eq!(puppet.commands(), ["SET colour green"]);
}

/// That one member did not do it is known: another is asked.
#[test]
fn what_was_not_done_is_taken_to_who_does_it() {
    let leads = Puppet::new(|_| Some(Value::Simple("OK".into())));
    let follows = Puppet::new(|_| Some(Value::Error("NOTLEADER n1 127.0.0.1:1".into())));
    let cluster = cluster(&[&follows, &leads]);
    let caller = Caller::start(&cluster, policy(Memory::None), Log::Off).unwrap();
    let mut client = caller.client(Tenant(0)).unwrap();
    let set = ["SET", "colour", "green"];
    for _ in 0..2 {
        assert_eq!(client.call(&set, LONG), Ok(Value::Simple("OK".into())));
    }
    assert_eq!(follows.commands().len(), 1, "then it knows who leads");
    assert_eq!(leads.commands().len(), 2);
}

#[test]
fn what_nobody_did_is_said_not_to_be_done() {
    let puppet = Puppet::new(|_| Some(Value::Error("NOTLEADER nobody leads".into())));
    let cluster = cluster(&[&puppet]);
    let caller = Caller::start(&cluster, policy(Memory::None), Log::Off).unwrap();
    let mut client = caller.client(Tenant(0)).unwrap();
    let set = client.call(&["SET", "colour", "green"], Duration::ZERO);
    let said = CallError::NotDone("NOTLEADER nobody leads".into());
    assert_eq!(set, Err(said.clone()));
    assert_eq!(
        said.to_string(),
        "nobody did it in time; the last said: NOTLEADER nobody leads"
    );
}

/// It opens after three failures, lets one through to see, and closes when that succeeds.
#[test]
fn the_breaker_opens_and_closes_and_its_numbers_say_so() {
    let works = Arc::new(Mutex::new(false));
    let told = Arc::clone(&works);
    let puppet = Puppet::new(move |_| told.lock().unwrap().then(|| bulk("green")));
    let cluster = cluster(&[&puppet]);
    let caller = Caller::start(&cluster, policy(Memory::None), Log::Off).unwrap();
    let mut client = caller.client(Tenant(0)).unwrap();
    let started = Instant::now();
    while caller.counters().opened == 0 {
        assert!(started.elapsed() < LONG, "three failures in a row");
        let _ = client.call(&["GET", "colour"], Duration::ZERO);
    }
    let opened = puppet.commands().len();
    assert_eq!(opened, 3);
    assert_eq!(
        client.call(&["GET", "colour"], Duration::ZERO),
        Err(CallError::Open)
    );
    assert_eq!(puppet.commands().len(), opened, "open means no attempt");
    *works.lock().unwrap() = true;
    assert_eq!(client.call(&["GET", "colour"], LONG), Ok(bulk("green")));
    let counters = caller.counters();
    assert_eq!((counters.opened, counters.closed), (1, 1));
    assert_eq!(counters.stage, Breaker::Closed);
    let metrics = counters.metrics();
    for line in [
        "quorate_client_breaker_transitions_total{to=\"open\"} 1\n",
        "quorate_client_breaker_transitions_total{to=\"half_open\"} 1\n",
        "quorate_client_breaker_transitions_total{to=\"closed\"} 1\n",
        "quorate_client_breaker{stage=\"closed\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

/// Of one tenant one call is under way, and a second is shed; another tenant is not its concern.
#[test]
fn who_has_its_share_is_shed_and_others_are_not() {
    let puppet = Puppet::new(|_| Some(bulk("green")));
    let slow = Policy {
        retry: RetryLimits {
            wait_ms: 2_000,
            wait_ms_max: 2_000,
            ..policy(Memory::None).retry
        },
        ..policy(Memory::None)
    };
    let caller = Caller::start(&cluster(&[&puppet]), slow, Log::Off).unwrap();
    let tries = |tenant, key| {
        let mut client = caller.client(Tenant(tenant)).unwrap();
        client.call(&["GET", key], Duration::ZERO)
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| tries(0, "slow"));
        let started = Instant::now();
        while puppet.commands().is_empty() {
            assert!(started.elapsed() < LONG, "the first is under way");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(tries(0, "quick"), Err(CallError::Shed));
        assert_eq!(caller.counters().shed, 1);
        assert_eq!(tries(1, "quick"), Ok(bulk("green")));
        assert_eq!(first.join().unwrap(), Ok(bulk("green")));
    });
}

#[test]
fn counters_say_in_a_sentence_what_happened() {
    let counters = Counters {
        attempts: 7,
        retries: 2,
        returned: 5,
        opened: 1,
        ..Counters::default()
    };
    assert!(
        counters
            .to_string()
            .starts_with("7 attempts, 2 of them again; 5 calls answered")
    );
}
