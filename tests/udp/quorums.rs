//! Members who order writes without agreement: whatever happens to them, no quorum reads anything older
//! than a quorum wrote or read before. Judged from what each of them recorded.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quorate::udp::remote::Remote;
use quorate::udp::resp::Value;
use quorate_models::recordings::judge;
use tempfile::TempDir;

use crate::Random;
use crate::front::Members;
use crate::processes::{Stopper, eventually};

const CLIENTS: usize = 8;
const KEYS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(3);

/// Members that are killed and cut off, and the files of what they recorded.
struct Storm {
    members: Members,
    directory: TempDir,
    files: Vec<PathBuf>,
    more: &'static [&'static str],
    random: Random,
}

impl Storm {
    fn new(protocol: &'static str, count: usize, more: &'static [&'static str]) -> Self {
        let members = Members::start(protocol, count, &[&["--chaos"], more].concat());
        let mut storm = Self {
            members,
            directory: TempDir::new().unwrap(),
            files: Vec::new(),
            more,
            random: Random(count as u64),
        };
        for id in 0..count {
            storm.restart(id);
        }
        storm
    }

    /// Kills a member and starts it again, with a recording of its own.
    fn restart(&mut self, id: usize) {
        self.members.kill(id);
        self.start(id);
    }

    fn start(&mut self, id: usize) {
        let file = self
            .directory
            .path()
            .join(format!("{}.rec", self.files.len()));
        let record = ["--chaos", "--record", file.to_str().unwrap()];
        self.members.serve(id, &[&record, self.more].concat());
        self.files.push(file);
    }

    /// One thing goes wrong with one of these members, and is over after a while.
    fn strike(&mut self, members: usize) {
        let id = self.random.below(members);
        let while_it_lasts = || thread::sleep(Duration::from_millis(150));
        match self.random.below(3) {
            0 => self.restart(id),
            1 => {
                self.members.kill(id);
                while_it_lasts();
                self.start(id);
            }
            _ => {
                let all = self.members.addresses.len();
                let others: Vec<String> = (0..all)
                    .filter(|other| *other != id)
                    .map(|other| other.to_string())
                    .collect();
                let others = others.iter().map(String::as_str);
                let words: Vec<&str> = ["CHAOS", "CUT"].into_iter().chain(others).collect();
                assert_eq!(self.members.ask(id, &words), "OK");
                while_it_lasts();
                assert_eq!(self.members.ask(id, &["CHAOS", "HEAL"]), "OK");
            }
        }
    }

    /// Has clients write and read so often, by way of these members, while things go wrong.
    fn rages(&mut self, doors: usize, operations: usize, mut strike: impl FnMut(&mut Self)) {
        let addresses: Vec<SocketAddr> = (self.members.addresses.iter().take(doors))
            .map(|it| it.1)
            .collect();
        let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let (addresses, done, stop) = (&addresses, &done, &stop);
            for number in 0..CLIENTS {
                scope.spawn(move || ask(addresses, number, done, stop));
            }
            // The clients stop even if what follows fails.
            let _stopper = Stopper(stop);
            let started = Instant::now();
            while done.load(Ordering::Relaxed) < operations {
                strike(self);
                let so_far = done.load(Ordering::Relaxed);
                eventually("progress", || so_far < done.load(Ordering::Relaxed));
                assert!(
                    started.elapsed() < Duration::from_secs(120),
                    "{so_far} done"
                );
            }
        });
    }

    fn judged(self) -> String {
        drop(self.members);
        judge(&self.files, 0).unwrap()
    }
}

/// One client: writes and reads by turns, at a member until that fails it, and then at the next.
fn ask(members: &[SocketAddr], number: usize, done: &AtomicUsize, stop: &AtomicBool) {
    let mut random = Random(number as u64);
    let turns = members.iter().cycle().skip(number);
    for (turn, member) in turns.enumerate() {
        let Ok(mut remote) = Remote::connect(*member, PATIENCE) else {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        for count in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("k{}", random.below(KEYS));
            let value = format!("{number}-{turn}-{count}");
            let asked = if random.below(2) == 0 {
                remote.ask(&["SET", &key, &value])
            } else {
                remote.ask(&["GET", &key])
            };
            match asked {
                Ok(Value::Error(_)) | Err(_) => break,
                Ok(_) => done.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}

fn number_before(text: &str, what: &str) -> usize {
    let (before, _) = text.split_once(what).unwrap_or_else(|| panic!("{text}"));
    before.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn five_members_lose_no_write_of_a_quorum_in_ten_thousand_operations() {
    const OPERATIONS: usize = 10_000;
    let mut storm = Storm::new("database", 5, &[]);
    storm.rages(5, OPERATIONS, |storm| storm.strike(5));
    let boots = storm.files.len();
    let verdict = storm.judged();
    let writes = number_before(&verdict, " writes by a quorum were acknowledged");
    let reads = number_before(&verdict, " reads by a quorum none returned");
    assert!(OPERATIONS <= writes + reads, "{verdict}");
    assert!(OPERATIONS / 4 < writes.min(reads), "{verdict}");
    assert!(8 < boots, "members were killed: {boots} boots");
}

#[test]
fn a_ring_that_changes_loses_no_write_of_a_quorum() {
    // Five members, and one that joins. The first orders the steps, and is killed like the others.
    let mut storm = Storm::new("database", 6, &["--spare=5"]);
    let settled = |storm: &Storm, epoch: usize| {
        let info = storm.members.ask(0, &["INFO"]);
        info.contains(&format!("ring:e{epoch} settled"))
    };
    storm.rages(5, 500, |storm| storm.strike(5));
    let mut changes = [["ADD", "5"], ["REMOVE", "1"], ["ADD", "1"], ["REMOVE", "5"]].iter();
    for (epoch, [what, id]) in (2..).zip(changes.by_ref()) {
        // A change may be asked for in vain, and again.
        storm.rages(5, 500, |storm| {
            storm.members.ask(0, &["MEMBERS", what, id]);
            storm.strike(5);
        });
        eventually("the ring settles", || {
            storm.members.ask(0, &["MEMBERS", what, id]);
            settled(&storm, epoch)
        });
    }
    let verdict = storm.judged();
    let writes = number_before(&verdict, " writes by a quorum were acknowledged");
    let reads = number_before(&verdict, " reads by a quorum none returned");
    assert!(500 < writes.min(reads), "{verdict}");
}

/// Two clusters are not one: what the first was told, the second does not know.
#[test]
fn what_goes_back_is_judged_to() {
    let [one, other] = [0, 1].map(|_| Storm::new("database", 3, &[]));
    assert_eq!(one.members.ask(0, &["SET", "k", "v"]), "OK");
    assert_eq!(other.members.ask(0, &["GET", "k"]), "(nothing)");
    drop((one.members, other.members));
    let why = judge(&[one.files, other.files].concat(), 0).unwrap_err();
    assert!(
        why.starts_with("n0 read k as None, of None, when "),
        "{why}"
    );
}
