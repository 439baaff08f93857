//! `cargo model`: checks what is claimed, and shows what breaks it.

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use quorate::udp::configuration::Protocol as Served;
use quorate_models::catalogue::{Claim, Count, Depth, Exhibit, How, Protocol, Report, protocols};
use quorate_models::cluster::{self, Plan, Sabotage};
use quorate_models::engine::{Crew, Hosts, Options, Progress, unwatched};
use quorate_models::simulate::Walks;
use quorate_models::{matrix, recordings};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

/// Checks quorate's protocols in every state of their worlds, and shows what breaks them.
#[derive(Parser)]
#[command(name = "cargo model", bin_name = "cargo model", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists protocols, worlds and flaws.
    List,
    /// Explores worlds, and compares what is found with what is claimed.
    Check {
        /// Which protocols; all if none is named.
        protocols: Vec<String>,
        /// Only this world or flaw.
        #[arg(long, alias = "flaw")]
        world: Option<String>,
        /// The deep worlds too.
        #[arg(long)]
        deep: bool,
        /// Keep whole states, so that no two are ever taken for one.
        #[arg(long)]
        exact: bool,
        /// How many threads search together.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
        workers: u16,
        /// A file that lists the processes that search together, one host:port a line. Start all of
        /// them with the same arguments but --process. There is no authentication: for a network
        /// that is trusted.
        #[arg(long, requires = "process")]
        hosts: Option<PathBuf>,
        /// Which of the listed processes this is; the first is 0.
        #[arg(long, requires = "hosts")]
        process: Option<usize>,
        /// Stop at about this many states. A world that is stopped is BOUNDED.
        #[arg(long)]
        states: Option<usize>,
        /// Beyond so many megabytes, states that wait to be expanded wait on disk, in the folder
        /// for temporary files. What was met stays in memory.
        #[arg(long, conflicts_with_all = ["workers", "hosts"])]
        memory: Option<usize>,
        /// Who searches.
        #[arg(long, value_enum, default_value_t = Engine::Quorate)]
        engine: Engine,
        /// Say what fired in each world, and how often.
        #[arg(long)]
        coverage: bool,
        /// What to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Counts each world's states with its reductions and without, and says what they gain.
    Factors {
        /// Which protocols; all if none is named.
        protocols: Vec<String>,
        /// Give a count up at so many states.
        #[arg(long, default_value_t = 2_000_000)]
        states: usize,
        /// What to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Computes the CAP matrix: what a store of three nodes keeps, by how many of them gets and puts
    /// hear, and by what goes wrong.
    Matrix {
        /// What to print.
        #[arg(long, value_enum, default_value_t = Picture::Text)]
        format: Picture,
    },
    /// Tells the shortest story of a flaw. Those of the CAP matrix's refuted cells are of `matrix`.
    Story {
        /// Which protocol.
        protocol: String,
        /// Which flaw.
        flaw: String,
        /// As a sequence diagram, in SVG.
        #[arg(long)]
        svg: bool,
    },
    /// Walks at random through a world that is too large to exhaust. This finds flaws, and proves
    /// nothing.
    Simulate {
        /// Which protocol.
        protocol: String,
        /// Which world; the first if neither is named.
        #[arg(long, conflicts_with = "flaw")]
        world: Option<String>,
        /// Which flaw.
        #[arg(long)]
        flaw: Option<String>,
        /// Two runs with one seed are the same.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many walks.
        #[arg(long, default_value_t = 10_000)]
        walks: usize,
        /// How many steps each takes at most.
        #[arg(long, default_value_t = 200)]
        steps: usize,
    },
    /// Runs clusters of the deployed adapter in a simulator: a storm, then a calm, then a verdict.
    /// With --sabotages, instead: how many seeds catch each adapter that gets one thing wrong.
    Cluster {
        /// Which protocols, as in `quorate serve --protocol`; all if none is named.
        protocols: Vec<String>,
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Tell what happens, with a single seed.
        #[arg(long)]
        log: bool,
        /// What is wrong with the adapter.
        #[arg(long, conflicts_with = "sabotages")]
        sabotage: Option<String>,
        /// Try them all.
        #[arg(long)]
        sabotages: bool,
    },
    /// Runs what nodes recorded through their machines, which must say the same again.
    Replay {
        /// Files that `quorate serve --record` wrote.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Replays the recordings of all nodes of a cluster, and judges what its clients were told.
    Judge {
        /// Files that `quorate serve --record` wrote, of every boot of every node.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How much the clocks of the nodes' machines may differ, in microseconds; 0 on one machine.
        #[arg(long, default_value_t = 0)]
        clock_error: u64,
    },
    /// Opens stateright's Explorer, at the counterexample if there is one.
    Explore {
        /// Which protocol.
        protocol: String,
        /// Which world; the first if neither is named.
        #[arg(long, conflicts_with = "flaw")]
        world: Option<String>,
        /// Which flaw.
        #[arg(long)]
        flaw: Option<String>,
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:3000")]
        address: SocketAddr,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Our own.
    Quorate,
    /// stateright's breadth-first search, on one thread: the reference. It is slower, keeps no
    /// coverage, and looks at every mirror image where nodes are alike.
    Stateright,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table.
    Text,
    /// One JSON array of reports.
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Picture {
    /// A table in letters.
    Text,
    /// The same with every story, in JSON.
    Json,
    /// A picture, in SVG.
    Svg,
}

fn main() -> ExitCode {
    #[cfg(unix)]
    end_with_the_reader();
    let done = match Arguments::parse().command {
        Command::List => Ok(list()),
        Command::Check {
            protocols,
            world,
            deep,
            exact,
            workers,
            hosts,
            process,
            states,
            memory,
            engine,
            coverage,
            format,
        } => hosts_of(hosts.as_deref(), process).and_then(|hosts| {
            let how = How {
                options: Options {
                    exact,
                    states_max: states,
                    memory: memory.map(|megabytes| megabytes.saturating_mul(1_000_000)),
                    ..Options::default()
                },
                crew: Crew {
                    workers: workers.into(),
                    hosts,
                },
            };
            let ours_alone = exact || workers > 1 || states.is_some() || memory.is_some();
            if engine == Engine::Stateright && (ours_alone || how.crew.hosts.is_some()) {
                return Err(
                    "stateright's engine takes none of --exact, --workers, --hosts, \
                            --states and --memory"
                        .into(),
                );
            }
            let shown = Shown {
                deep,
                engine,
                coverage,
                format,
            };
            check(&protocols, world.as_deref(), &how, shown)
        }),
        Command::Factors {
            protocols,
            states,
            format,
        } => factors(&protocols, states, format),
        Command::Matrix { format } => picture(format),
        Command::Story {
            protocol,
            flaw,
            svg,
        } => tell(&protocol, &flaw, svg),
        Command::Simulate {
            protocol,
            world,
            flaw,
            seed,
            walks,
            steps,
        } => {
            let walks = Walks { seed, walks, steps };
            walk(&protocol, world.or(flaw).as_deref(), walks)
        }
        Command::Cluster {
            protocols,
            seeds,
            from,
            log,
            sabotage,
            sabotages,
        } => {
            let seeds = from..from.saturating_add(seeds);
            if sabotages {
                println!("{}", cluster::sabotages(&seeds));
                Ok(ExitCode::SUCCESS)
            } else {
                weather(&protocols, seeds, log, sabotage.as_deref())
            }
        }
        Command::Replay { files } => (files.iter())
            .try_for_each(|file| recordings::replay(file).map(|told| println!("{told}")))
            .map(|()| ExitCode::SUCCESS),
        Command::Judge { files, clock_error } => {
            recordings::judge(&files, clock_error).map(|told| {
                println!("{told}");
                ExitCode::SUCCESS
            })
        }
        Command::Explore {
            protocol,
            world,
            flaw,
            address,
        } => explore(&protocol, world.or(flaw).as_deref(), address),
    };
    done.unwrap_or_else(|problem| {
        eprintln!("cargo model: {problem}");
        ExitCode::from(2)
    })
}

fn list() -> ExitCode {
    for protocol in protocols() {
        println!("{}: {}", protocol.name, protocol.summary);
        for (title, exhibits) in [("worlds", &protocol.worlds), ("flaws", &protocol.flaws)] {
            println!("  {title}");
            for exhibit in exhibits {
                println!("    {:28} {}", exhibit.name(), exhibit.summary());
            }
        }
    }
    ExitCode::SUCCESS
}

fn find<'a>(known: &'a [Protocol], name: &str) -> Result<&'a Protocol, String> {
    let names = known.iter().map(|protocol| protocol.name.to_owned());
    (known.iter().find(|protocol| protocol.name == name))
        .ok_or_else(|| format!("no protocol is called {name:?}; {}", nearest(name, names)))
}

/// The protocols of these names; all, if there are none.
fn chosen<'a>(known: &'a [Protocol], names: &[String]) -> Result<Vec<&'a Protocol>, String> {
    match names {
        [] => Ok(known.iter().collect()),
        names => names.iter().map(|name| find(known, name)).collect(),
    }
}

fn find_exhibit<'a>(protocol: &'a Protocol, name: &str) -> Result<&'a dyn Exhibit, String> {
    let all = protocol.worlds.iter().chain(&protocol.flaws);
    protocol.exhibit(name).ok_or_else(|| {
        format!(
            "{} has no world or flaw called {name:?}; {}",
            protocol.name,
            nearest(name, all.map(|exhibit| exhibit.name()))
        )
    })
}

fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    let mut known: Vec<String> = known.collect();
    known.sort_by_key(|other| strsim::damerau_levenshtein(name, other));
    known.truncate(3);
    format!("the nearest are {}", known.join(", "))
}

/// The processes that search together, if a file lists them.
fn hosts_of(list: Option<&Path>, process: Option<usize>) -> Result<Option<Hosts>, String> {
    let (Some(path), Some(process)) = (list, process) else {
        return Ok(None);
    };
    let list = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Hosts::new(&list, process)
        .map(Some)
        .map_err(|problem| format!("{}: {problem}", path.display()))
}

/// What to check, and what to print of it.
#[derive(Clone, Copy)]
struct Shown {
    deep: bool,
    engine: Engine,
    coverage: bool,
    format: Format,
}

fn check(
    names: &[String],
    world: Option<&str>,
    how: &How,
    shown: Shown,
) -> Result<ExitCode, String> {
    let Shown { deep, format, .. } = shown;
    let stopped = stop_on_interrupt()?;
    let known = protocols();
    let chosen = chosen(&known, names)?;
    let mut reports = Vec::new();
    for protocol in chosen {
        let exhibits: Vec<&dyn Exhibit> = match world {
            Some(name) => vec![find_exhibit(protocol, name)?],
            None => protocol
                .worlds
                .iter()
                .chain(&protocol.flaws)
                .map(|e| &**e)
                .collect(),
        };
        if format == Format::Text {
            header(protocol);
        }
        for exhibit in exhibits {
            if exhibit.depth() == Depth::Deep && !deep && world.is_none() {
                continue;
            }
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let mut watch = |progress: &Progress| {
                show(&exhibit.name(), exhibit.claim(), progress);
                unless(&stopped)
            };
            let report = match shown.engine {
                Engine::Quorate => exhibit.check(how, &mut watch)?,
                Engine::Stateright => exhibit.check_by_stateright(),
            };
            if format == Format::Text {
                row(&report);
                if shown.coverage {
                    let fired = report.coverage.iter().map(ToString::to_string);
                    println!("    {}", fired.collect::<Vec<_>>().join(", "));
                }
            }
            reports.push(report);
        }
    }
    if format == Format::Json {
        let json = serde_json::to_string_pretty(&reports).map_err(|error| error.to_string())?;
        println!("{json}");
    }
    let surprises = reports
        .iter()
        .filter(|report| report.surprise.is_some())
        .count();
    if format == Format::Text {
        let worst = reports.iter().map(|report| report.collision);
        match worst.fold(0.0, f64::max) {
            0.0 => println!("\nstates were told apart by full equality"),
            worst => println!(
                "\nstates were told apart by 64-bit fingerprints: in no world is it likelier than {worst:.0e} \
                 that two were taken for one"
            ),
        }
        if stopped.load(Ordering::Relaxed) {
            println!("stopped: what was not explored is not vouched for");
        }
        match surprises {
            0 => println!("{} of {} as claimed", reports.len(), reports.len()),
            some => println!("{some} of {} NOT as claimed", reports.len()),
        }
    }
    Ok(ExitCode::from(u8::from(0 < surprises)))
}

/// Goes on unless the user has pressed Ctrl-C.
fn unless(stopped: &AtomicBool) -> ControlFlow<()> {
    if stopped.load(Ordering::Relaxed) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Ends quietly when nobody reads on: `cargo model list | head` is no mistake. Rust would panic.
#[cfg(unix)]
fn end_with_the_reader() {
    let always = Arc::new(AtomicBool::new(true));
    let _ = flag::register_conditional_default(signal_hook::consts::SIGPIPE, always);
}

/// Becomes true when the user presses Ctrl-C: the search then ends with what it has. At the second
/// time the process ends.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>, String> {
    let stopped = Arc::new(AtomicBool::new(false));
    let listens = flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&stopped))
        .and_then(|_| flag::register(SIGINT, Arc::clone(&stopped)));
    listens.map_err(|error| format!("cannot listen for Ctrl-C: {error}"))?;
    Ok(stopped)
}

fn header(protocol: &Protocol) {
    println!("\n{}: {}\n", protocol.name, protocol.summary);
    println!(
        "{:28} {:>10} {:>11} {:>5} {:>8} {:>9} {:>8}  verdict",
        "world", "states", "transitions", "depth", "seconds", "states/s", "promises"
    );
}

fn row(report: &Report) {
    clear();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = report.unique as f64 / report.seconds.max(1e-9);
    let told = match (&report.claim, &report.surprise) {
        (_, Some(surprise)) => format!("SURPRISE: {surprise}"),
        (Claim::Holds { .. }, None) => String::new(),
        (Claim::Falls { promise, steps }, None) => format!("\"{promise}\" in {steps} steps"),
    };
    println!(
        "{:28} {:>10} {:>11} {:>5} {:>8.2} {:>9.0} {:>8}  {} {told}",
        report.world,
        report.unique,
        report.generated,
        report.depth,
        report.seconds,
        rate,
        report.promises,
        report.verdict,
    );
}

/// A line that is written over, on a terminal alone.
fn show(world: &str, claim: Claim, progress: &Progress) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (rate, share) = (
        progress.unique as f64 / progress.elapsed.as_secs_f64().max(1e-9),
        match claim {
            Claim::Holds { unique, .. } => {
                let done = progress.unique as f64 / unique.max(1) as f64;
                let left = progress.elapsed.as_secs_f64() * (1.0 / done - 1.0);
                let left = Duration::try_from_secs_f64(left.round()).unwrap_or_default();
                format!(", {:.0}%, {left:?} left", 100.0 * done)
            }
            Claim::Falls { .. } => String::new(),
        },
    );
    let _ = write!(
        out,
        "\r\x1b[K{world}: {} states{share} ({rate:.0}/s), depth {}, queue {}, memory {} MB",
        progress.unique,
        progress.depth,
        progress.queue,
        resident_megabytes()
    );
}

/// The memory of this process, in megabytes, where the system says.
fn resident_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

fn clear() {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[K");
    }
}

fn factors(names: &[String], states_max: usize, format: Format) -> Result<ExitCode, String> {
    let known = protocols();
    let mut all = Vec::new();
    for protocol in chosen(&known, names)? {
        if format == Format::Text {
            println!(
                "\n{}\n\n{:28} {:>10}  {:>20} {:>20} {:>20}",
                protocol.name,
                "world",
                "states",
                "without symmetry",
                "without purge",
                "with neither"
            );
        }
        for exhibit in &protocol.worlds {
            if exhibit.depth() == Depth::Deep {
                continue;
            }
            let factors = exhibit.factors(states_max);
            if format == Format::Text {
                let reduced = match factors.reduced {
                    Count::Exactly(count) | Count::MoreThan(count) => count,
                };
                let cell = |count| gain(count, reduced);
                println!(
                    "{:28} {:>10}  {:>20} {:>20} {:>20}",
                    factors.world,
                    reduced,
                    cell(factors.asymmetric),
                    cell(factors.unpurged),
                    cell(factors.plain),
                );
            }
            all.push(factors);
        }
    }
    if format == Format::Json {
        let json = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
        println!("{json}");
    }
    Ok(ExitCode::SUCCESS)
}

/// A count, and how many times another it is.
fn gain(count: Option<Count>, reduced: usize) -> String {
    let (sign, count) = match count {
        None => return String::new(),
        Some(Count::Exactly(count)) => ("", count),
        Some(Count::MoreThan(count)) => (">", count),
    };
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let times = count as f64 / reduced.max(1) as f64;
    format!("{sign}{count} ({sign}{times:.1}x)")
}

/// All protocols, and the cells of the CAP matrix.
fn tellable() -> Vec<Protocol> {
    let mut known = protocols();
    known.push(matrix::protocol());
    known
}

fn picture(format: Picture) -> Result<ExitCode, String> {
    let matrix = matrix::matrix();
    match format {
        Picture::Text => {
            print!("{}", matrix.text());
            println!(
                "\ncargo model story matrix NAME tells of a dot, and cargo model explore matrix --flaw NAME \
                 opens it;\nNAME is gets-puts-fault-property: {}",
                matrix::FALLS.first().map_or("", |(name, ..)| name)
            );
        }
        Picture::Json => {
            let json = serde_json::to_string_pretty(&matrix).map_err(|error| error.to_string())?;
            println!("{json}");
        }
        Picture::Svg => print!("{}", matrix.svg()),
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(protocol: &str, flaw: &str, svg: bool) -> Result<ExitCode, String> {
    let known = tellable();
    let exhibit = find_exhibit(find(&known, protocol)?, flaw)?;
    let told = if svg {
        exhibit.diagram()
    } else {
        exhibit.check(&How::default(), &mut unwatched)?.story
    };
    match told {
        Some(told) => {
            println!("{told}");
            Ok(ExitCode::SUCCESS)
        }
        None => Err(format!(
            "every promise holds in {flaw}: there is no story to tell"
        )),
    }
}

fn walk(protocol: &str, name: Option<&str>, walks: Walks) -> Result<ExitCode, String> {
    let known = protocols();
    let exhibit = choose(find(&known, protocol)?, name)?;
    let stopped = stop_on_interrupt()?;
    let mut watch = |walk: usize| {
        if walk.is_multiple_of(100) && std::io::stderr().is_terminal() {
            eprint!(
                "\r\x1b[K{}: {walk} of {} walks",
                exhibit.name(),
                walks.walks
            );
        }
        unless(&stopped)
    };
    let found = exhibit.simulate(walks, &mut watch);
    clear();
    println!(
        "{}: {} walks with seed {}, {} steps in all",
        exhibit.name(),
        found.walks,
        walks.seed,
        found.steps
    );
    for (promise, shown) in found.shown {
        let word = if shown { "met" } else { "not met" };
        println!("  {word}: {promise}");
    }
    if let Some((_, story)) = found.broken {
        println!("\n{story}");
        return Ok(ExitCode::from(1));
    }
    println!("no promise was broken, which proves nothing");
    Ok(ExitCode::SUCCESS)
}

/// Runs each protocol's cluster once for each seed.
fn weather(
    names: &[String],
    seeds: Range<u64>,
    log: bool,
    sabotage: Option<&str>,
) -> Result<ExitCode, String> {
    let sabotage = match sabotage {
        None => None,
        Some(name) => Some(
            *(Sabotage::ALL.iter())
                .find(|sabotage| sabotage.name() == name)
                .ok_or_else(|| {
                    let all = Sabotage::ALL.map(Sabotage::name).join(", ");
                    format!("there is no sabotage {name}: choose one of {all}")
                })?,
        ),
    };
    let mut protocols = Vec::new();
    for name in names {
        let found = cluster::SIMULATED.iter().find(|it| it.name() == name);
        protocols.push(*found.ok_or_else(|| {
            let all = cluster::SIMULATED.map(Served::name).join(", ");
            format!("{name} is not simulated: choose of {all}")
        })?);
    }
    if protocols.is_empty() {
        protocols.extend(cluster::SIMULATED);
    }
    let mut status = ExitCode::SUCCESS;
    for protocol in protocols {
        let report = cluster::storms(protocol, seeds.clone(), sabotage);
        println!(
            "{}: {} runs, {} broke something",
            protocol.name(),
            report.runs,
            report.broken.len()
        );
        let counts = report
            .tally
            .counts()
            .map(|(what, count)| format!("{count} {what}"));
        println!("  {}", counts.collect::<Vec<_>>().join(", "));
        if let Some((seed, violation)) = report.broken.first() {
            println!("  seed {seed}: {violation}");
            status = ExitCode::from(1);
        }
        if log && report.runs == 1 {
            let outcome = cluster::run(Plan {
                protocol,
                seed: seeds.start,
                sabotage,
                log,
            });
            println!("{}", outcome.log.join("\n"));
        }
    }
    Ok(status)
}

/// The world or flaw of this name, or the first world.
fn choose<'a>(protocol: &'a Protocol, name: Option<&str>) -> Result<&'a dyn Exhibit, String> {
    if let Some(name) = name {
        return find_exhibit(protocol, name);
    }
    let first = protocol.worlds.first();
    (first.map(|exhibit| &**exhibit)).ok_or_else(|| "this protocol has no worlds".to_owned())
}

fn explore(protocol: &str, name: Option<&str>, address: SocketAddr) -> Result<ExitCode, String> {
    let known = tellable();
    let exhibit = choose(find(&known, protocol)?, name)?;
    // The Explorer would panic: so the address is tried first.
    drop(TcpListener::bind(address).map_err(|error| {
        format!("cannot listen at {address}: {error}; choose another with --address")
    })?);
    println!("{}: {}", exhibit.name(), exhibit.summary());
    match exhibit.link() {
        Some(link) => {
            println!("the counterexample: http://{address}/#/steps/{link}");
            println!("the beginning:      http://{address}/");
        }
        None => println!("http://{address}/"),
    }
    println!("(Ctrl-C to stop)");
    exhibit.explore(address);
    Ok(ExitCode::SUCCESS)
}
