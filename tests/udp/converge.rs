//! Gossip, the causal store and membership as real members; and what clients of the causal store saw,
//! judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use quorate::udp::remote::{Remote, shown};
use quorate::udp::resp::Value;
use quorate_models::causality::{Operation, Pattern, Place, causal, convergent};

use crate::Random;
use crate::front::Members;
use crate::processes::eventually;

const TIMEOUT: Duration = Duration::from_secs(5);

fn told(members: &Members, id: usize, what: &str) -> String {
    let told = members.ask(id, &["INFO"]);
    let mut lines = told.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| *name == what);
    found.map_or_else(String::new, |(_, value)| value.trim_end().to_owned())
}

#[test]
fn gossip_answers_on_both_sides_of_a_cut_and_keeps_what_was_written_on_both() {
    let mut members = Members::start("gossip", 3, &["--chaos"]);
    let refused = members.ask(0, &["INCR", "colour"]);
    assert!(refused.starts_with("REFUSED gossip has no increment: "));
    let long = "v".repeat(4000);
    let refused = members.ask(0, &["SET", "key", &long]);
    assert!(refused.starts_with("REFUSED a key has at most 64 bytes and a value 384"));
    for (id, others) in [(0, ["1", "2"]), (1, ["0", "0"]), (2, ["0", "0"])] {
        let words = ["CHAOS", "CUT", others[0], others[1]];
        assert_eq!(members.ask(id, &words), "OK");
    }
    assert_eq!(members.ask(0, &["SET", "colour", "red"]), "OK");
    assert_eq!(members.ask(0, &["SET", "shape", "round"]), "OK");
    assert_eq!(members.ask(0, &["DEL", "shape"]), "1");
    assert_eq!(members.ask(1, &["SET", "colour", "blue"]), "OK");
    assert_eq!(members.ask(0, &["GET", "colour"]), "red");
    assert_eq!(members.ask(1, &["GET", "colour"]), "blue");
    for id in 0..3 {
        assert_eq!(members.ask(id, &["CHAOS", "HEAL"]), "OK");
    }
    for id in 0..3 {
        patiently("both colours", || {
            let told = members.ask(id, &["GET", "colour"]);
            let mut colours: Vec<&str> = told.lines().collect();
            colours.sort_unstable();
            colours == ["blue", "red"]
        });
        assert_eq!(members.ask(id, &["GET", "shape"]), "(nothing)");
    }
    assert_eq!(members.ask(2, &["SET", "colour", "violet"]), "OK");
    members.kill(1);
    members.serve(1, &[]);
    patiently("one colour, and no tombstone", || {
        let is_settled = |id| {
            members.ask(id, &["GET", "colour"]) == "violet"
                && told(&members, id, "tombstones") == "0"
        };
        (0..3).all(is_settled)
    });
    assert_eq!(told(&members, 1, "keys"), "1");
}

/// Longer than others wait: members compare notes every two seconds at the latest.
fn patiently(what: &str, mut happens: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if happens() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

#[test]
fn a_session_of_the_causal_store_reads_its_writes_elsewhere_or_is_not_answered() {
    let members = Members::start("causal", 2, &["--chaos"]);
    assert_eq!(members.ask(0, &["CHAOS", "CUT", "1"]), "OK");
    let mut client = members.connect(0);
    assert_eq!(
        shown(&client.ask(&["SET", "colour", "green"]).unwrap()),
        "OK"
    );
    assert_eq!(shown(&client.ask(&["GET", "colour"]).unwrap()), "green");
    let session = shown(&client.ask(&["SESSION"]).unwrap());
    assert_eq!(members.ask(1, &["GET", "colour"]), "(nothing)");
    let mut moved = members.connect(1);
    assert_eq!(shown(&moved.ask(&["SESSION", &session]).unwrap()), "OK");
    let unanswered = shown(&moved.ask(&["GET", "colour"]).unwrap());
    assert!(unanswered.starts_with("UNANSWERED "), "{unanswered}");
    assert_eq!(members.ask(0, &["CHAOS", "HEAL"]), "OK");
    assert_eq!(shown(&moved.ask(&["GET", "colour"]).unwrap()), "green");
    assert_eq!(shown(&moved.ask(&["DEL", "colour"]).unwrap()), "1");
    assert_eq!(shown(&moved.ask(&["GET", "colour"]).unwrap()), "(nothing)");
    let refused = shown(&moved.ask(&["INCR", "n"]).unwrap());
    assert!(
        refused.starts_with("REFUSED causal has no increment: "),
        "{refused}"
    );
}

type Session = Vec<Operation<String, String>>;

/// One client, who goes from member to member with its session, until it loses it.
struct Client<'a> {
    members: &'a [std::net::SocketAddr],
    name: usize,
    random: Random,
    count: usize,
    over: &'a AtomicBool,
}

impl Client<'_> {
    /// All sessions that it had.
    fn sessions(mut self) -> Vec<Session> {
        let mut sessions = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let mut session = Session::new();
            self.session(&mut session);
            sessions.push(session);
        }
        sessions
    }

    /// Asks, until a connection is lost, and what the session had seen with it.
    fn session(&mut self, session: &mut Session) {
        let mut token: Option<String> = None;
        while !self.over.load(Ordering::Relaxed) {
            let address = self.members[self.random.below(self.members.len())];
            let Ok(mut remote) = Remote::connect(address, TIMEOUT) else {
                // Nothing was asked: somebody else may be up.
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            if let Some(token) = &token {
                match remote.ask(&["SESSION", token]) {
                    Ok(Value::Simple(_)) => {}
                    Ok(_) | Err(_) => continue,
                }
            }
            for _ in 0..=self.random.below(4) {
                if !self.asks(&mut remote, session) {
                    return;
                }
            }
            match remote.ask(&["SESSION"]) {
                Ok(Value::Bulk(text)) => token = Some(text),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// One operation. False if the connection is lost.
    fn asks(&mut self, remote: &mut Remote, session: &mut Session) -> bool {
        let key = format!("key-{}", self.random.below(3));
        if self.random.below(2) == 0 {
            self.count += 1;
            let value = format!("{}-{}", self.name, self.count);
            let (told, returned) = match remote.ask(&["SET", &key, &value]) {
                Ok(Value::Simple(_)) => (true, Some(true)),
                Ok(Value::Error(error)) if error.starts_with("UNKNOWN") => (true, Some(false)),
                Ok(_) => (true, None),
                Err(_) => (false, Some(false)),
            };
            let put = |returned| Operation::Put {
                key,
                value,
                returned,
            };
            session.extend(returned.map(put));
            return told;
        }
        match remote.ask(&["GET", &key]) {
            Ok(Value::Bulk(value)) => {
                let value = Some(value);
                session.push(Operation::Get { key, value });
            }
            Ok(Value::Nil) => session.push(Operation::Get { key, value: None }),
            Ok(_) => {}
            Err(_) => return false,
        }
        true
    }
}

#[test]
fn what_clients_of_the_causal_store_saw_is_causally_convergent_though_members_are_cut_and_killed() {
    let mut members = Members::start("causal", 3, &["--chaos"]);
    let over = AtomicBool::new(false);
    let addresses: Vec<_> = members.addresses.iter().map(|(_, tcp)| *tcp).collect();
    let sessions: Vec<Session> = thread::scope(|scope| {
        let start = |name: usize| {
            let random = Random(name as u64);
            let (members, over) = (addresses.as_slice(), &over);
            let client = Client {
                members,
                name,
                random,
                count: 0,
                over,
            };
            scope.spawn(move || client.sessions())
        };
        let clients: Vec<_> = (0..6).map(start).collect();
        for round in 0..3 {
            let far = ((round + 1) % 3).to_string();
            assert_eq!(members.ask(round, &["CHAOS", "CUT", &far]), "OK");
            thread::sleep(Duration::from_millis(300));
            members.kill((round + 2) % 3);
            thread::sleep(Duration::from_millis(200));
            members.serve((round + 2) % 3, &["--chaos"]);
            assert_eq!(members.ask(round, &["CHAOS", "HEAL"]), "OK");
            thread::sleep(Duration::from_millis(200));
        }
        over.store(true, Ordering::Relaxed);
        let sessions = clients.into_iter().map(|client| client.join().unwrap());
        sessions.flatten().collect()
    });
    let count: usize = sessions.iter().map(Vec::len).sum();
    assert!(count > 200, "{count} operations");
    let is_read = |it: &&Operation<_, String>| matches!(it, Operation::Get { value: Some(_), .. });
    let reads = sessions.iter().flatten().filter(is_read).count();
    assert!(reads > 50, "{reads} of {count} saw something");
    convergent(&sessions).unwrap_or_else(|why| panic!("{why}: {sessions:?}"));
}

/// The judge can say no: this is why a client carries its session.
#[test]
fn what_a_client_sees_that_moves_without_its_session_is_not_causal() {
    let members = Members::start("causal", 2, &["--chaos"]);
    assert_eq!(members.ask(0, &["CHAOS", "CUT", "1"]), "OK");
    assert_eq!(members.ask(0, &["SET", "key", "value"]), "OK");
    assert_eq!(members.ask(1, &["GET", "key"]), "(nothing)");
    let put = Operation::Put {
        key: "key",
        value: "value",
        returned: true,
    };
    let get = Operation::Get {
        key: "key",
        value: None,
    };
    let place = |operation| Place {
        session: 0,
        operation,
    };
    let refuted = Pattern::PutBeforeNothing {
        put: place(0),
        get: place(1),
    };
    assert_eq!(causal(&[vec![put, get]]), Err(refuted));
}

#[test]
fn the_lowest_member_runs_the_service_and_another_when_it_is_gone() {
    let mut members = Members::start("membership", 4, &["--chaos"]);
    patiently("a service", || told(&members, 0, "token") != "none");
    assert_eq!(members.ask(0, &["SET", "colour", "green"]), "OK");
    assert_eq!(told(&members, 3, "written"), "colour=green");
    let elsewhere = members.ask(1, &["SET", "colour", "red"]);
    let address = members.addresses[0].1;
    assert_eq!(elsewhere, format!("NOTLEADER n0 {address}"));
    let refused = members.ask(0, &["GET", "colour"]);
    assert!(
        refused.starts_with("REFUSED membership has no get: "),
        "{refused}"
    );
    let refused = members.ask(2, &["SET", "colour", "red"]);
    assert!(
        refused.starts_with("NOTLEADER") || refused.starts_with("REFUSED"),
        "{refused}"
    );
    assert_eq!(told(&members, 1, "view"), "n0 alive 0; n1 alive 0");
    members.kill(1);
    patiently("a death", || {
        told(&members, 0, "view").contains("n1 dead 0")
    });
    members.serve(1, &[]);
    patiently("a new incarnation", || {
        told(&members, 0, "view").contains("n1 alive ")
    });
    eventually("the service again", || {
        members.ask(0, &["SET", "colour", "blue"]) == "OK"
    });
    assert_eq!(told(&members, 3, "written"), "colour=blue");
}
