//! What operators see of a node, and what is left of it to be judged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use quorate::udp::metrics::{Histogram, Page, Types};
use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use quorate_models::recordings::{judge, replay};
use tempfile::TempDir;

use crate::front::Members;
use crate::processes::{Stopper, eventually, free_addresses, quorate};

#[test]
fn a_page_of_metrics_is_what_prometheus_reads() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "what a message says is not looked at")]
    enum Message {
        Vote { term: u64 },
        Append(u64),
    }
    let mut types = Types::default();
    for message in [
        Message::Vote { term: 1 },
        Message::Append(2),
        Message::Append(3),
    ] {
        types.count(&message);
    }
    let mut times = Histogram::default();
    for micros in [10, 50, 51, 2_000_000] {
        times.time(Duration::from_micros(micros));
    }
    let mut page = Page::default();
    page.types("sent_total", &types);
    page.value("info", "gauge", &[("a", "x\"y\\z\n"), ("b", "")], 1);
    page.times("turn_seconds", &times);
    let page = page.finish();
    assert!(page.starts_with(
        "# TYPE sent_total counter\nsent_total{type=\"Append\"} 2\nsent_total{type=\"Vote\"} 1\n\
         # TYPE info gauge\ninfo{a=\"x\\\"y\\\\z\\n\",b=\"\"} 1\n\
         # TYPE turn_seconds histogram\nturn_seconds_bucket{le=\"0.000050\"} 2\n\
         turn_seconds_bucket{le=\"0.000100\"} 3\n"
    ));
    assert!(page.ends_with(
        "turn_seconds_bucket{le=\"1.000000\"} 3\nturn_seconds_bucket{le=\"+Inf\"} 4\n\
         turn_seconds_sum 2.000111\nturn_seconds_count 4\n"
    ));
}

fn http(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(stream, "{request} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_real_cluster_is_observed_recorded_replayed_and_judged() {
    let directory = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap();
    drop(listener);
    let mut members = Members::start("raft", 3, &[]);
    let mut files: Vec<PathBuf> = Vec::new();
    for id in 0..3 {
        members.kill(id);
        let file = directory.path().join(format!("n{id}.recording"));
        let record = ["--record", file.to_str().unwrap()];
        let at = admin.to_string();
        let more = if id == 0 {
            vec!["--admin", &at]
        } else {
            vec![]
        };
        members.serve(id, &[&record[..], &more].concat());
        files.push(file);
    }
    // Somebody leads, before it is counted.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while (0..3).all(|id| members.ask(id, &["SET", "colour", "first"]) != "OK") {
        assert!(std::time::Instant::now() < until, "nobody leads");
    }
    let mut done = 0;
    for number in 0..60 {
        for id in 0..3 {
            let value = number.to_string();
            done += usize::from(members.ask(id, &["SET", "colour", &value]) == "OK");
            members.ask(id, &["GET", "colour"]);
            members.ask(id, &["INCR", "count"]);
        }
        if number == 30 {
            // A boot more, and so a recording more.
            members.kill(2);
            let file = directory.path().join("n2-again.recording");
            members.serve(2, &["--record", file.to_str().unwrap()]);
            files.push(file);
        }
    }
    assert!(done > 10, "{done} sets were acknowledged");

    let page = http(admin, "GET /metrics");
    for line in [
        " 200 OK",
        "quorate_info{protocol=\"raft\",version=\"",
        "quorate_messages_received_total{type=\"",
        "quorate_datagrams_dropped_total{reason=\"damaged\"} 0",
        "quorate_events_total{type=\"",
        "quorate_flush_seconds_count",
        "quorate_turn_seconds_bucket{le=\"+Inf\"}",
        "quorate_alarm_lateness_seconds_count",
        "quorate_turns_in_flight",
        "quorate_journal_commits",
        "quorate_state{what=\"term\"}",
        "quorate_state_info{what=\"role\",value=\"",
    ] {
        assert!(page.contains(line), "no {line} in\n{page}");
    }
    assert!(http(admin, "GET /healthz").contains("200 OK"));
    assert!(http(admin, "GET /readyz").contains("200 OK"));
    assert!(http(admin, "GET /nothing").contains("404"));
    assert!(http(admin, "POST /metrics").contains("405"));

    // They are killed where they stand, and what they said is on record all the same.
    drop(members);
    for file in &files {
        let told = replay(file).unwrap();
        assert!(told.contains("all the same again"), "{told}");
    }
    let verdict = judge(&files, 0).unwrap();
    assert!(verdict.ends_with("are linearizable"), "{verdict}");
}

/// What a client was told while members were killed.
#[derive(Default)]
struct Counted {
    sums: Vec<i64>,
    unknown: i64,
}

/// Counts at one member after the other until it is told to stop, and looks each time how far another is.
fn count(
    members: &[SocketAddr],
    [key, other]: [&str; 2],
    done: &AtomicUsize,
    stop: &AtomicBool,
) -> Counted {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut counted = Counted::default();
    for member in members.iter().cycle() {
        let mut remote = Remote::connect(*member, PATIENCE).ok();
        while let Some(connected) = &mut remote {
            if stop.load(Ordering::Relaxed) {
                return counted;
            }
            thread::sleep(Duration::from_millis(2));
            match connected.ask(&["INCR", key]) {
                Ok(Value::Number(sum)) => {
                    counted.sums.push(sum);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(other) => {
                    let why = shown(&other);
                    counted.unknown += i64::from(why.starts_with("UNKNOWN"));
                    remote = None;
                    continue;
                }
                Err(_) => {
                    counted.unknown += 1;
                    remote = None;
                    continue;
                }
            }
            if !matches!(connected.ask(&["GET", other]), Ok(reply) if !matches!(reply, Value::Error(_)))
            {
                remote = None;
            }
        }
    }
    counted
}

#[test]
fn what_was_acknowledged_is_there_though_fifty_leaders_are_killed() {
    kill_leaders(50, &[]);
}

#[test]
fn what_was_acknowledged_is_read_by_leases_though_leaders_are_killed() {
    let info = kill_leaders(10, &["--lease-drift-ms=30"]);
    assert!(info.contains("lease:held"), "{info}");
}

/// Kills so many leaders while clients count, and has what each member heard and said judged.
/// Gives the last leader's INFO.
fn kill_leaders(kills: usize, more: &[&str]) -> String {
    const CLIENTS: usize = 4;
    let directory = TempDir::new().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut record = |members: &mut Members, id: usize| {
        members.kill(id);
        let file = directory.path().join(format!("{}.recording", files.len()));
        let record = ["--record", file.to_str().unwrap()];
        members.serve(id, &[&record, more].concat());
        files.push(file);
    };
    let mut members = Members::start("raft", 3, more);
    for id in 0..3 {
        record(&mut members, id);
    }
    let doors: Vec<SocketAddr> = members.addresses.iter().map(|it| it.1).collect();
    let keys: Vec<String> = (0..CLIENTS).map(|client| format!("n{client}")).collect();
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let counted: Vec<Counted> = thread::scope(|scope| {
        let (doors, done, stop) = (&doors, &done, &stop);
        let others = keys.iter().cycle().skip(1);
        let clients: Vec<_> = (keys.iter().zip(others))
            .map(|(key, other)| scope.spawn(move || count(doors, [key, other], done, stop)))
            .collect();
        // The clients stop even if what follows fails.
        let stopper = Stopper(stop);
        for _ in 0..kills {
            let target = done.load(Ordering::Relaxed) + 20;
            eventually("progress", || target <= done.load(Ordering::Relaxed));
            let leader = members.leader();
            record(&mut members, leader);
        }
        drop(stopper);
        clients.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let leader = members.leader();
    for (key, counted) in keys.iter().zip(&counted) {
        assert!(counted.sums.is_sorted_by(|one, next| one < next), "{key}");
        let acknowledged = i64::try_from(counted.sums.len()).unwrap();
        let sum: i64 = members.ask(leader, &["GET", key]).parse().unwrap();
        let may_be = acknowledged..=acknowledged + counted.unknown;
        assert!(may_be.contains(&sum), "{key}: {sum} of {may_be:?}");
    }
    let info = members.ask(leader, &["INFO"]);
    drop(members);
    let verdict = judge(&files, 0).unwrap();
    assert!(
        verdict.contains("was the same wherever it was"),
        "{verdict}"
    );
    assert!(verdict.ends_with("are linearizable"), "{verdict}");
    info
}

#[test]
fn a_recording_is_never_written_over() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("recording");
    std::fs::write(&file, "something else").unwrap();
    let data = directory.path().join("data");
    let output = quorate()
        .args(["serve", "--cluster=7", "--id=0", "--bootstrap"])
        .arg(format!("--member=0={}", free_addresses(1)[0]))
        .arg("--data")
        .arg(&data)
        .arg("--record")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("give --record the name of a new one"),
        "{told}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"something else");
    assert!(!data.exists(), "no journal was begun");
}
