//! What tolerating lies costs: requests to four members of PBFT, signed and on disk, beside the same to
//! three members of Raft, by turns on one machine. On loopback, with clients that wait for each answer.
//!
//! ```sh
//! cargo bench -p quorate --bench served      # say how busy the machine was beside it
//! ```

use std::time::Duration;

use quorate::udp::remote::Remote;
use quorate::udp::resp::Value;

mod members;

use members::{Members, TIMEOUT, Taken, median};

const MEASURED: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;

/// What a round found.
struct Measured {
    taken: Taken,
    /// Of PBFT: the part of a member's time that keys and digests took, and that for one request.
    keys: Option<(f64, Duration)>,
}

/// So many clients ask, each at its own door, for a while.
fn measure(members: &Members, clients: usize, reads: bool) -> Measured {
    let doors = members.doors();
    let before = members.sum("crypto_micros");
    let taken = Taken::by(clients, MEASURED, |number| {
        let door = doors[number % doors.len()];
        let mut remote = Remote::connect(door, TIMEOUT).expect("a connection");
        let key = format!("key {number}");
        move || {
            let reply = if reads {
                remote.ask(&["GET", &key])
            } else {
                remote.ask(&["SET", &key, "0123456789abcdef"])
            };
            let reply = reply.expect("a reply");
            assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
        }
    });
    let spent = Duration::from_micros(members.sum("crypto_micros") - before);
    let count = u32::try_from(members.clients.len()).expect("few members");
    let keys = (!spent.is_zero()).then(|| {
        let share = spent.as_secs_f64() / (taken.elapsed() * count).as_secs_f64();
        (share, spent / taken.count())
    });
    Measured { taken, keys }
}

fn main() {
    let clusters = [
        ("raft", Members::start("raft", 3)),
        ("pbft", Members::start("pbft", 4)),
    ];
    println!(
        "{:24} {:>9} {:>9} {:>9}   in keys and digests",
        "", "per s", "p50", "p99"
    );
    for (clients, reads) in [(1, false), (16, false), (64, false), (16, true)] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for ((name, members), rates) in clusters.iter().zip(&mut rates) {
                let measured = measure(members, clients, reads);
                let taken = measured.taken;
                rates.push(taken.per_second());
                let what = if reads { "GET" } else { "SET" };
                let label = format!("{name}, {clients} clients, {what}");
                let keys = measured.keys.map_or_else(String::new, |(share, each)| {
                    format!(
                        "{:.0} % of a member's time, {each:.0?} a request",
                        share * 100.0
                    )
                });
                println!(
                    "{label:24} {:>9.0} {:>9.1?} {:>9.1?}   {keys}",
                    taken.per_second(),
                    taken.percentile(50),
                    taken.percentile(99)
                );
            }
        }
        let [raft, pbft] = rates.map(median);
        println!("{:24} {:.2} of raft's\n", "pbft's median rate", pbft / raft);
    }
}
