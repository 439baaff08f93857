//! How fast the engines explore the same states: `cargo bench -p quorate-models`.
//!
//! Every engine has one thread here, and what is measured is processor time, so that a busy machine
//! disturbs less. The runs are interleaved, for a machine has its moods, and the median of each
//! counts. What an engine finds is asserted: a fast one that loses states is not fast.
//!
//! - `-- --quick`: small spaces, once. It shows that everything works, and measures nothing.
//! - `-- --large`: two-phase commit with nine resource managers as well.

mod abd;
mod spin;
mod two_phase;

use std::fmt::Debug;
use std::hash::Hash;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use cpu_time::ProcessTime;
use quorate::machine::Machine;
use quorate_models::engine::{Options, Verdict, search, unwatched};
use quorate_models::ghost::Ghost;
use quorate_models::world::World;
use quorate_models::yardstick;
use stateright::{Checker, Model};

use abd::Size;
use spin::{Pan, Run};
use two_phase::TwoPhase;

const SMALL: Size = Size {
    servers: 2,
    puts: &[1, 1],
    states: 7_451,
};

const MEDIUM: Size = Size {
    servers: 2,
    puts: &[3, 1],
    states: 574_175,
};

/// An engine on one space. A run may be impossible, and then says so itself.
struct Engine {
    name: &'static str,
    run: Box<dyn Fn() -> Option<Run>>,
}

/// The same states, explored by several engines. The first is what the others are compared with.
struct Space {
    name: String,
    unique: usize,
    engines: Vec<Engine>,
}

/// What the command line asks for.
#[derive(Default)]
struct Arguments {
    quick: bool,
    large: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let (resources, size, repeats) = if arguments.quick {
        (6, SMALL, 1)
    } else {
        (8, MEDIUM, 3)
    };
    compare(&two_phase_commit(resources), repeats);
    compare(&register(size), repeats);
    if arguments.large {
        compare(&two_phase_commit(9), repeats);
    }
    ExitCode::SUCCESS
}

impl Arguments {
    fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        for word in words {
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--large" => arguments.large = true,
                "--bench" => {} // Cargo says so to every benchmark.
                _ => return Err(format!("{word:?} is neither --quick nor --large")),
            }
        }
        if arguments.quick && arguments.large {
            return Err("--quick and --large exclude each other".to_owned());
        }
        Ok(arguments)
    }
}

/// The engines on two-phase commit. To add one is to add a line.
fn two_phase_commit(resources: usize) -> Space {
    let by_hand = move || TwoPhase { resources };
    let world = move || yardstick::two_phase(resources);
    let mut engines = vec![
        Engine::new("stateright BFS, by hand", move || bfs(by_hand())),
        Engine::new("stateright DFS, by hand", move || dfs(by_hand())),
        Engine::new("stateright BFS, World", move || bfs(world())),
        Engine::new("stateright DFS, World", move || dfs(world())),
        Engine::new("our engine, World", move || ours(&world(), false)),
        Engine::new("our engine, exact", move || ours(&world(), true)),
    ];
    engines.extend(Pan::new(resources).map(Engine::spin));
    Space {
        name: format!("two-phase commit, {resources} resource managers"),
        unique: two_phase::states(resources),
        engines,
    }
}

/// The engines on the register. To add one is to add a line.
fn register(size: Size) -> Space {
    let Size { servers, puts, .. } = size;
    Space {
        name: format!("the register, {servers} servers, clients that put {puts:?} times"),
        unique: size.states,
        engines: vec![
            Engine::new("stateright BFS, actors", move || bfs(abd::baseline(size))),
            Engine::new("stateright DFS, actors", move || dfs(abd::baseline(size))),
            Engine::new("stateright BFS, World", move || bfs(abd::world(size))),
            Engine::new("stateright DFS, World", move || dfs(abd::world(size))),
            Engine::new("our engine, World", move || ours(&abd::world(size), false)),
            Engine::new("our engine, exact", move || ours(&abd::world(size), true)),
        ],
    }
}

/// Promises are checked at every state, or engines would differ in what they do.
fn bfs<M>(model: M) -> usize
where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync> + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(1).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

fn dfs<M>(model: M) -> usize
where
    M: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync> + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().threads(1).spawn_dfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// With fingerprints, as stateright has them, or with whole states.
fn ours<M: Machine, G: Ghost<M>>(world: &World<M, G>, exact: bool) -> usize {
    let options = Options {
        exact,
        ..Options::default()
    };
    let outcome = search(world, options, &mut unwatched);
    assert_eq!(outcome.verdict, Verdict::Exhausted, "{}", world.name());
    outcome.unique
}

impl Engine {
    /// An engine that runs in this process, and says how many states it found.
    fn new(name: &'static str, explore: impl Fn() -> usize + 'static) -> Self {
        let run = move || {
            let start = ProcessTime::now();
            let unique = explore();
            let processor = start.elapsed();
            Some(Run { unique, processor })
        };
        let run = Box::new(run);
        Self { name, run }
    }

    fn spin(pan: Pan) -> Self {
        Self {
            name: "Spin DFS, Promela",
            run: Box::new(move || pan.run()),
        }
    }
}

/// Runs each engine so many times, in turns, and prints what they took.
fn compare(space: &Space, repeats: usize) {
    let mut taken = vec![Vec::new(); space.engines.len()];
    for repeat in 1..=repeats {
        for (engine, taken) in space.engines.iter().zip(&mut taken) {
            watch(&format!("{repeat} of {repeats}: {}", engine.name));
            let Some(run) = (engine.run)() else { continue };
            assert_eq!(run.unique, space.unique, "{}, {}", space.name, engine.name);
            taken.push(run.processor);
        }
    }
    watch("");
    println!("{}", space.name);
    println!(
        "  {:24} {:>10} {:>9} {:>10} {:>7}",
        "", "unique", "CPU s", "unique/s", "speed"
    );
    let medians: Vec<_> = taken.into_iter().map(median).collect();
    let baseline = medians.first().copied().flatten();
    for (engine, processor) in space.engines.iter().zip(medians) {
        let (Some(processor), Some(baseline)) = (processor, baseline) else {
            continue; // It has said why.
        };
        println!(
            "  {:24} {:>10} {:>9.3} {:>10} {:>6.1}x",
            engine.name,
            space.unique,
            processor.as_secs_f64(),
            rate(space.unique, processor),
            baseline.as_secs_f64() / processor.as_secs_f64(),
        );
    }
    println!();
}

/// Shows what is going on, to whoever looks on.
fn watch(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{what:60}\r");
    }
}

/// So many per second.
fn rate(count: usize, time: Duration) -> u128 {
    count as u128 * 1_000_000_000 / time.as_nanos().max(1)
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}
