//! What operators see of a node, and what is left of it to be judged.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use quorate::udp::metrics::{Histogram, Page, Types};
use quorate_models::recordings::{judge, replay};
use tempfile::TempDir;

use crate::front::Members;
use crate::processes::{free_addresses, quorate};

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
