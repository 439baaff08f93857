//! What a second worker is worth: the same worlds with one thread and with two, in wall-clock time.
//!
//! ```sh
//! cargo bench -p quorate-models --bench workers     # on a machine that has nothing else to do
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_models::catalogue::{How, protocol};
use quorate_models::engine::{Crew, Options, search_with, unwatched};
use quorate_models::yardstick::two_phase;

/// A world, and what explores it with so many workers and says how many states it has.
type Space = (String, Box<dyn Fn(usize) -> usize>);

const REPEATS: usize = 3;

fn main() {
    let mut spaces: Vec<Space> = vec![(
        "two-phase commit, 9 resource managers".to_owned(),
        Box::new(|workers| {
            let world = Arc::new(two_phase(9));
            let outcome = search_with(&world, Options::default(), &crew(workers), &mut unwatched);
            outcome.expect("threads can be had").unique
        }),
    )];
    for (name, world) in [
        ("register", "two-writers-two-readers"),
        ("commit", "crash-and-cut"),
    ] {
        let explore = move |workers| {
            let protocol = protocol(name).expect("a protocol");
            let how = How {
                crew: crew(workers),
                ..How::default()
            };
            let exhibit = protocol.exhibit(world).expect("a world of it");
            let report = exhibit.check(&how, &mut unwatched);
            report.expect("threads can be had").unique
        };
        spaces.push((format!("{name}, {world}"), Box::new(explore)));
    }
    println!(
        "{:40} {:>10} {:>9} {:>9} {:>7}",
        "", "unique", "1, s", "2, s", "speed"
    );
    for (name, explore) in &spaces {
        let mut taken = [Vec::new(), Vec::new()];
        let mut unique = Vec::new();
        for _ in 0..REPEATS {
            for (workers, taken) in (1..).zip(&mut taken) {
                let start = Instant::now();
                unique.push(explore(workers));
                taken.push(start.elapsed());
            }
        }
        unique.dedup();
        assert_eq!(unique.len(), 1, "{name}: {unique:?}");
        let [one, two] = taken.map(median);
        println!(
            "{name:40} {:>10} {:>9.3} {:>9.3} {:>6.2}x",
            unique[0],
            one.as_secs_f64(),
            two.as_secs_f64(),
            one.as_secs_f64() / two.as_secs_f64()
        );
    }
}

fn crew(workers: usize) -> Crew {
    Crew {
        workers,
        ..Crew::default()
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
