//! Spin, if it is installed: what a model checker written in C makes of two-phase commit.
//!
//! `spin` turns `two_phase.pml` into C, the compiler makes `pan` of that, and it searches.
//! Only the search is timed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

const MODEL: &str = include_str!("two_phase.pml");

/// Compiled for one number of resource managers.
pub(crate) struct Pan {
    folder: TempDir,
}

/// What one run found, and the processor time that it took.
pub(crate) struct Run {
    pub(crate) unique: usize,
    pub(crate) processor: Duration,
}

impl Pan {
    /// Compiles the model, or says why it cannot.
    pub(crate) fn new(resources: usize) -> Option<Self> {
        report(compile(resources))
    }

    /// Searches all of it, or says why it cannot.
    pub(crate) fn run(&self) -> Option<Run> {
        report(search(self.folder.path()))
    }
}

fn report<T>(result: Result<T, String>) -> Option<T> {
    result.map_err(|problem| println!("{problem}")).ok()
}

fn compile(resources: usize) -> Result<Pan, String> {
    let folder = TempDir::with_prefix("quorate-spin-")
        .map_err(|error| format!("spin is left out, for want of a folder: {error}"))?;
    let path = folder.path();
    fs::write(path.join("two_phase.pml"), MODEL)
        .map_err(|error| format!("spin is left out, for its model was not written: {error}"))?;
    let size = format!("-DN={resources}");
    execute(path, "spin", &["-a", &size, "two_phase.pml"])?;
    // No liveness, no partial order to reduce: the fastest pan that still sees every state.
    let options = [
        "-O3",
        "-w",
        "-DSAFETY",
        "-DNOREDUCE",
        "-DMEMLIM=8192",
        "-o",
        "pan",
        "pan.c",
    ];
    execute(path, "cc", &options)?;
    Ok(Pan { folder })
}

fn search(folder: &Path) -> Result<Run, String> {
    // The shell's `times` prints what its children took, on its second line. A table of 2^24 places
    // is what suits ten million states and fewer; states without a successor are no error.
    let script = "./pan -E -w24 && times";
    let output = execute(folder, "sh", &["-c", script])?;
    understand(&output).ok_or_else(|| {
        format!("spin is left out, for pan did not end with a full search:\n{output}")
    })
}

/// Reads pan's report, followed by that of `times`. Nothing, if it was not a full search.
fn understand(output: &str) -> Option<Run> {
    let is_full = output.contains("errors: 0")
        && !output.contains("Search not completed")
        && !output.contains("max search depth too small");
    let stored = output
        .lines()
        .find_map(|line| line.strip_suffix(" states, stored"))?;
    let children = output.lines().last()?;
    let processor = children.split_whitespace().map(duration).sum::<Option<_>>();
    is_full.then_some(Run {
        unique: stored.trim().parse().ok()?,
        processor: processor?,
    })
}

/// Minutes and seconds as `times` prints them: `0m1.25s`.
fn duration(text: &str) -> Option<Duration> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    let minutes = Duration::from_secs(60 * minutes.parse::<u64>().ok()?);
    let seconds = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    minutes.checked_add(seconds)
}

fn execute(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| match (error.kind(), program) {
            (ErrorKind::NotFound, "spin") => "spin is not installed: apt-get install spin".into(),
            _ => format!("spin is left out, for {program} did not start: {error}"),
        })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "spin is left out, for {program} failed:\n{said}{complaint}"
    ))
}
