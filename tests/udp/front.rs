//! Clients on TCP: real members of each protocol, and connections that say what they like.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use quorate::machine::NodeId;
use quorate::raft::Raft;
use quorate::register::{Reads, Register};
use quorate::udp::configuration::{Cluster, Member, Settings};
use quorate::udp::desk::{ANSWER_MAX, Desk, Told, WAITING_MAX};
use quorate::udp::front::CONNECTIONS_MAX;
use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use quorate::udp::served::{Answer, Command, Served as _};
use tempfile::TempDir;

use crate::processes::{bind_any, eventually, free_addresses, quorate};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Members with fronts. They end with this value, however the test ends.
pub(crate) struct Members {
    directory: TempDir,
    protocol: &'static str,
    pub(crate) addresses: Vec<(SocketAddr, SocketAddr)>,
    children: Vec<Option<Child>>,
}

impl Members {
    pub(crate) fn start(protocol: &'static str, count: usize, more: &[&str]) -> Self {
        let listeners: Vec<_> = (0..count).map(|_| bind_any(TcpListener::bind)).collect();
        let clients = listeners.iter().map(|it| it.local_addr().unwrap());
        let mut members = Self {
            directory: TempDir::new().unwrap(),
            protocol,
            addresses: free_addresses(count).into_iter().zip(clients).collect(),
            children: Vec::new(),
        };
        drop(listeners);
        members.children.resize_with(count, || None);
        for id in 0..count {
            members.serve(id, &[more, &["--bootstrap"]].concat());
        }
        members
    }

    pub(crate) fn serve(&mut self, id: usize, more: &[&str]) {
        let mut command = quorate();
        command.args(["serve", "--until-input-ends", "--cluster=7"]);
        command.args(["--protocol", self.protocol, "--id", &id.to_string()]);
        let data = self.directory.path().join(id.to_string());
        command.arg("--data").arg(data).args(more);
        for (id, (udp, tcp)) in self.addresses.iter().enumerate() {
            command.arg(format!("--member={id}={udp},{tcp}"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        // The first byte of the line that says it is ready.
        let ready = child.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
        assert_eq!(ready, 1, "n{id} is ready");
        self.children[id] = Some(child);
    }

    pub(crate) fn kill(&mut self, id: usize) {
        let mut child = self.children[id].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn connect(&self, id: usize) -> Remote {
        Remote::connect(self.addresses[id].1, TIMEOUT).unwrap()
    }

    pub(crate) fn ask(&self, id: usize, words: &[&str]) -> String {
        shown(&self.connect(id).ask(words).unwrap())
    }

    /// One that leads, and can.
    pub(crate) fn leader(&self) -> usize {
        let mut leader = None;
        eventually("an election", || {
            let up = (0..self.children.len()).filter(|id| self.children[*id].is_some());
            leader = up.into_iter().find(|id| {
                let reply = self.connect(*id).ask(&["GET", "nothing"]);
                matches!(reply, Ok(Value::Nil))
            });
            leader.is_some()
        });
        leader.unwrap()
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for mut child in self.children.iter_mut().filter_map(Option::take) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_register_answers_and_says_what_it_has_not() {
    let members = Members::start("register", 3, &[]);
    for (words, reply) in [
        (["SET", "colour", "green"].as_slice(), "OK"),
        (&["GET", "colour"], "green"),
        (&["MGET", "colour", "shape"], "green\n(nothing)"),
        (&["get"], "ERR wrong number of arguments for 'GET'"),
        (&["INCR", "colour"], "REFUSED register has no increment: "),
        (
            &["SET", "colour", "red", "NX"],
            "REFUSED register has no compare-and-swap: ",
        ),
        (&["LPUSH", "x", "y"], "ERR unknown command 'LPUSH'"),
        (&["SESSION", "zz"], "ERR that is no session of register"),
        (&["CHAOS", "CUT", "1"], "ERR not allowed here: "),
        (&["ECHO", "x"], "x"),
        (&["CLIENT", "SETNAME", "x"], "OK"),
        (&["SELECT", "1"], "ERR there is one database, number 0"),
        (&["HELLO", "4"], "NOPROTO"),
    ] {
        let told = members.ask(1, words);
        assert!(told.starts_with(reply), "{words:?}: {told}");
    }
    let long = "v".repeat(4000);
    let told = members.ask(0, &["SET", "key", &long]);
    assert!(
        told.starts_with("REFUSED a key has at most 128 bytes"),
        "{told}"
    );
}

#[test]
fn without_a_quorum_a_get_is_unanswered_and_a_set_has_an_unknown_outcome() {
    let mut members = Members::start("register", 3, &[]);
    members.kill(1);
    members.kill(2);
    let mut one = members.connect(0);
    let address = members.addresses[0].1;
    let patient = Duration::from_secs(10);
    let set = thread::spawn(move || {
        let mut other = Remote::connect(address, patient).unwrap();
        shown(&other.ask(&["SET", "key", "value"]).unwrap())
    });
    // Nobody waits for another: a command that needs no quorum is answered meanwhile.
    assert_eq!(shown(&one.ask(&["PING"]).unwrap()), "PONG");
    let mut patient = Remote::connect(address, patient).unwrap();
    let get = shown(&patient.ask(&["GET", "key"]).unwrap());
    assert!(get.starts_with("UNANSWERED "), "{get}");
    let set = set.join().unwrap();
    assert!(set.starts_with("UNKNOWN outcome: "), "{set}");
}

#[test]
fn raft_counts_each_acknowledged_increment_once_though_leaders_are_killed() {
    let mut members = Members::start("raft", 3, &[]);
    let mut acknowledged = 0;
    let mut unknown = 0;
    for round in 0..3 {
        let leader = members.leader();
        let follower = (leader + 1) % 3;
        let told = members.ask(follower, &["GET", "n"]);
        assert!(told.starts_with("NOTLEADER n"), "{told}");
        let over = AtomicBool::new(false);
        let address = members.addresses[leader].1;
        let counted: Vec<(i64, i64)> = thread::scope(|scope| {
            let count = || {
                let (mut done, mut lost) = (0, 0);
                let mut remote = Remote::connect(address, TIMEOUT).unwrap();
                while !over.load(Ordering::Relaxed) {
                    match remote.ask(&["INCR", "n"]) {
                        Ok(Value::Number(_)) => done += 1,
                        Ok(Value::Error(error)) if !error.starts_with("UNKNOWN") => {}
                        Ok(_) | Err(_) => {
                            lost += 1;
                            break;
                        }
                    }
                }
                (done, lost)
            };
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            thread::sleep(Duration::from_millis(200));
            members.kill(leader);
            over.store(true, Ordering::Relaxed);
            clients.into_iter().map(|it| it.join().unwrap()).collect()
        });
        acknowledged += counted.iter().map(|(done, _)| done).sum::<i64>();
        unknown += counted.iter().map(|(_, lost)| lost).sum::<i64>();
        assert!(round > 0 || acknowledged > 0, "something was acknowledged");
        members.serve(leader, &[]);
    }
    let leader = members.leader();
    let total: i64 = members.ask(leader, &["GET", "n"]).parse().unwrap();
    let possible = acknowledged..=acknowledged + unknown;
    assert!(possible.contains(&total), "{total} is not in {possible:?}");
}

#[test]
fn a_session_that_is_carried_on_does_a_command_once() {
    let members = Members::start("raft", 1, &[]);
    let leader = members.leader();
    let mut one = members.connect(leader);
    let before = shown(&one.ask(&["SESSION"]).unwrap());
    assert_eq!(one.ask(&["INCR", "n"]).unwrap(), Value::Number(1));
    // As after a reply that was lost: another connection sends the same command of the same client.
    let mut two = members.connect(leader);
    assert_eq!(shown(&two.ask(&["SESSION", &before]).unwrap()), "OK");
    assert_eq!(two.ask(&["INCR", "n"]).unwrap(), Value::Number(1));
    assert_eq!(two.ask(&["INCR", "n"]).unwrap(), Value::Number(2));
}

#[test]
fn links_are_cut_and_mended_where_that_is_allowed() {
    let members = Members::start("raft", 3, &["--chaos"]);
    let leader = members.leader();
    let mut others = (0..3).filter(|id| *id != leader).map(|id| id.to_string());
    let (one, two) = (others.next().unwrap(), others.next().unwrap());
    assert_eq!(members.ask(leader, &["CHAOS", "CUT", &one, &two]), "OK");
    let mut told = String::new();
    eventually("the end of its leadership", || {
        told = members.ask(leader, &["GET", "n"]);
        told.starts_with("NOTLEADER nobody leads")
    });
    assert_eq!(members.ask(leader, &["CHAOS", "HEAL"]), "OK");
    members.leader();
    let wrong = members.ask(leader, &["CHAOS", "CUT", "9"]);
    assert!(
        wrong.starts_with("ERR give the numbers of members"),
        "{wrong}"
    );
}

#[test]
fn what_is_no_request_ends_its_connection_and_no_other() {
    let members = Members::start("register", 1, &[]);
    let address = members.addresses[0].1;
    let mut good = members.connect(0);
    for bytes in [
        b"*1\r\n".repeat(5000).as_slice(),
        b"*1000000000\r\n",
        b"*1\r\n$1000000000\r\n",
        vec![0xff; 70_000].as_slice(),
        b"*1\r\n$3\r\nGETxx",
    ] {
        let mut bad = TcpStream::connect(address).unwrap();
        bad.set_read_timeout(Some(TIMEOUT)).unwrap();
        // It may be closed while we still write.
        let _ = bad.write_all(bytes);
        let mut told = Vec::new();
        let _ = bad.read_to_end(&mut told);
        let told = String::from_utf8_lossy(&told);
        assert!(
            told.is_empty() || told.starts_with("-ERR Protocol error"),
            "{told}"
        );
    }
    assert_eq!(shown(&good.ask(&["SET", "a", "b"]).unwrap()), "OK");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let members = Members::start("register", 1, &[]);
    let mut stream = TcpStream::connect(members.addresses[0].1).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut all = Vec::new();
    let mut replies = Vec::new();
    for number in 0..50 {
        write!(all, "SET key {number}\r\nGET key\r\nECHO {number}\r\n").unwrap();
        let length = number.to_string().len();
        let bulk = format!("${length}\r\n{number}\r\n");
        write!(replies, "+OK\r\n{bulk}{bulk}").unwrap();
    }
    stream.write_all(&all).unwrap();
    let mut told = vec![0; replies.len()];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&told),
        String::from_utf8_lossy(&replies)
    );
}

#[test]
fn one_connection_too_many_is_told_so() {
    let members = Members::start("register", 1, &[]);
    let address = members.addresses[0].1;
    let held: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    let mut refused = String::new();
    eventually("a refusal", || {
        let mut more = TcpStream::connect(address).unwrap();
        more.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        refused.clear();
        let _ = more.read_to_string(&mut refused);
        !refused.is_empty()
    });
    assert_eq!(refused, "-ERR max number of clients reached\r\n");
    drop(held);
    eventually("room again", || {
        let reply = Remote::connect(address, TIMEOUT).unwrap().ask(&["PING"]);
        matches!(reply, Ok(Value::Simple(_)))
    });
}

#[test]
fn the_status_of_each_member_is_told() {
    let mut members = Members::start("raft", 3, &[]);
    let leader = members.leader();
    let killed = (leader + 1) % 3;
    members.kill(killed);
    let mut command = quorate();
    command.args(["status", "--cluster=7", "--protocol=raft"]);
    for (id, (udp, tcp)) in members.addresses.iter().enumerate() {
        command.arg(format!("--member={id}={udp},{tcp}"));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(output.status.code(), Some(3), "one is down");
    let begins = |id: usize, words: &str| lines[id].starts_with(&format!("n{id}: {words}"));
    assert!(begins(leader, "role leader, "), "{text}");
    assert!(lines[leader].contains("commit 1"), "{text}");
    assert!(begins((leader + 2) % 3, "role follower, "), "{text}");
    assert!(begins(killed, "cannot reach 127.0.0.1:"), "{text}");
}

fn cluster() -> Cluster {
    let settings = Settings {
        cluster: Some(7),
        members: Some(vec![Member {
            id: 0,
            address: "127.0.0.1:7000".into(),
            clients: None,
        }]),
        ..Settings::default()
    };
    settings.cluster().unwrap()
}

#[test]
fn a_desk_holds_so_many_calls_and_forgets_them_in_time() {
    let cluster = cluster();
    assert_eq!(cluster.reads, Reads::Atomic);
    let machine = Register::machine(&cluster, NodeId(0));
    let mut desk: Desk<Register> = Desk::new(1);
    let get = |desk: &mut Desk<Register>, now| {
        let (sender, receiver) = sync_channel(1);
        let key = "key".to_owned();
        let call = desk.ask(&machine, now, 1, Command::Get { key }, sender);
        (call.is_some(), receiver.try_recv())
    };
    for _ in 0..WAITING_MAX {
        assert!(get(&mut desk, Duration::ZERO).0);
    }
    let (begun, told) = get(&mut desk, Duration::ZERO);
    assert_eq!((begun, told), (false, Ok(Told::Answer(Answer::Busy))));
    assert!(
        get(&mut desk, ANSWER_MAX).0,
        "by now nobody waits for the others"
    );
}

#[test]
fn who_left_is_forgotten_and_another_is_another_client() {
    let machine = Raft::machine(&cluster(), NodeId(0));
    let mut desk: Desk<Raft> = Desk::new(1);
    let (one, two) = (desk.token(1), desk.token(2));
    assert_ne!(one, two);
    let command = Command::Delete { key: "key".into() };
    let call = desk.ask(&machine, Duration::ZERO, 1, command, sync_channel(1).0);
    assert!(call.is_some());
    assert_ne!(desk.token(1), one, "it has sent a command");
    desk.left(1);
    assert_eq!(desk.token(1), one);
    assert!(desk.resume(1, &two).is_ok());
    for wrong in ["", "0", "zz", &format!("{two}00"), "+1"] {
        assert!(desk.resume(1, wrong).is_err(), "{wrong}");
    }
    assert_eq!(desk.token(1), two);
}

/// Asks from the command line until it is done, for a leader may have to be elected first, and a learner
/// to be sent what it lacks.
fn asked(members: &Members, words: &[&str]) {
    eventually("what the command line asks", || {
        let mut command = quorate();
        command.arg("client").args(words);
        command.args(["--cluster=7", "--protocol=raft", "--spare=3", "--timeout=1"]);
        for (id, (udp, tcp)) in members.addresses.iter().enumerate() {
            command.arg(format!("--member={id}={udp},{tcp}"));
        }
        command.output().unwrap().status.success()
    });
}

#[test]
fn the_members_of_raft_change_while_they_serve() {
    let mut members = Members::start("raft", 4, &["--spare=3"]);
    let first = members.leader();
    assert_eq!(members.ask(first, &["SET", "colour", "green"]), "OK");
    let told = members.ask(first, &["MEMBERS", "PROMOTE", "3"]);
    assert!(
        told.starts_with("REFUSED that change makes no sense now"),
        "{told}"
    );
    asked(&members, &["members", "add", "3"]);
    asked(&members, &["members", "promote", "3"]);
    assert!(
        members
            .ask(first, &["INFO"])
            .contains("voters:{n0, n1, n2, n3}")
    );
    // It goes, and another leads. Without it there are three, of whom one may be down.
    asked(&members, &["members", "remove", &first.to_string()]);
    members.kill(first);
    let second = members.leader();
    assert_eq!(members.ask(second, &["GET", "colour"]), "green");
    let down = (0..3).find(|id| *id != first && *id != second).unwrap();
    members.kill(down);
    let third = members.leader();
    assert_eq!(members.ask(third, &["SET", "colour", "blue"]), "OK");
    // From its journal it knows who the members are.
    members.serve(down, &["--spare=3"]);
    asked(&members, &["transfer", &down.to_string()]);
    eventually("its leadership", || members.leader() == down);
    assert_eq!(members.ask(down, &["GET", "colour"]), "blue");
}

#[test]
fn who_was_away_too_long_is_sent_a_snapshot_and_starts_again_from_it() {
    let more = ["--snapshot-entries=8"];
    let mut members = Members::start("raft", 3, &more);
    let leader = members.leader();
    let away = (leader + 1) % 3;
    members.kill(away);
    for number in 1..=40 {
        let told = members.ask(leader, &["INCR", &format!("key{}", number % 7)]);
        assert!(told.parse::<u64>().is_ok(), "{told}");
    }
    members.serve(away, &more);
    let installed = |members: &Members| {
        let told = members.ask(away, &["INFO"]);
        let snapshot = told.lines().find_map(|line| line.strip_prefix("snapshot:"));
        snapshot.is_some_and(|index| index.parse::<u64>().is_ok_and(|index| 30 <= index))
    };
    eventually("a snapshot", || installed(&members));
    members.kill(away);
    members.serve(away, &more);
    assert!(installed(&members), "it is on its disk");
    eventually("its leadership", || {
        members.leader() == away || {
            let leader = members.leader();
            members.ask(leader, &["TRANSFER", &away.to_string()]);
            false
        }
    });
    assert_eq!(members.ask(away, &["GET", "key1"]), "6");
}
