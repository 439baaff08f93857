//! What real nodes heard and said, replayed and judged.
//!
//! A recording of [`quorate::udp::recording`] is one boot of one node. [`replay`] runs it through the
//! machine, which must say the same again. [`judge`] does so with the recordings of a cluster, and
//! puts together from them what its clients were told, which must be what one store could have told.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use quorate::machine::NodeId;
use quorate::udp::configuration::{Cluster, Protocol, Settings};
use quorate::udp::recording::{self, Entry, Recording};
use quorate::udp::served::{Answer, Command, ForServed, Served, with};

use crate::cluster::{Book, came, is_linearizable, operation};

/// Replays a recording, and says what it went through.
///
/// # Errors
///
/// The first output that differs, or why the recording cannot be used.
pub fn replay(path: &Path) -> Result<String, String> {
    let (recording, settings, cluster) = open(path)?;
    let deed = Replay {
        recording,
        settings,
        cluster: &cluster,
    };
    let replayed = with(cluster.protocol, deed).map_err(|why| told(path, &why))?;
    Ok(format!("{}: {replayed}", path.display()))
}

/// Replays all recordings of a cluster, and judges what its clients were told. The clocks of its
/// machines may differ by so many microseconds: what is nearer than that is taken to overlap.
///
/// # Errors
///
/// What differs, or cannot be, or why a recording cannot be used.
pub fn judge(paths: &[PathBuf], clock_error_us: u64) -> Result<String, String> {
    let mut said = Vec::new();
    let mut happened = Vec::new();
    let mut protocol: Option<Protocol> = None;
    for (number, path) in paths.iter().enumerate() {
        said.push(replay(path)?);
        let (recording, settings, cluster) = open(path)?;
        if protocol.is_some_and(|protocol| protocol != cluster.protocol) {
            return Err(told(path, "it is of another protocol than the first"));
        }
        protocol = Some(cluster.protocol);
        let node = usize::try_from(settings.id.unwrap_or(0)).unwrap_or(usize::MAX);
        let deed = Gather {
            recording,
            number,
            node,
            clock_error_us,
            happened: &mut happened,
        };
        with(cluster.protocol, deed).map_err(|why| told(path, &why))?;
    }
    let protocol = protocol.ok_or("name the recordings of a cluster")?;
    if !is_linearizable(protocol) {
        said.push(format!(
            "{} promises its clients no common order: nothing more to judge",
            protocol.name()
        ));
        return Ok(said.join("\n"));
    }
    let (operations, returned) = history(happened)?;
    said.push(format!(
        "{operations} operations of clients, of which {returned} were answered, are linearizable"
    ));
    Ok(said.join("\n"))
}

/// Judges what was asked and told, at these times.
fn history(mut happened: Vec<Happened>) -> Result<(usize, usize), String> {
    // What is asked at the moment of an answer overlaps it.
    happened.sort_by_key(|it| (it.at_us, matches!(it.what, What::Answers(_))));
    let mut book = Book::default();
    let mut asked = std::collections::BTreeMap::new();
    for Happened {
        boot,
        node,
        ticket,
        what,
        ..
    } in happened
    {
        match what {
            What::Asks(command) => {
                if let Some(operation) = operation(&command) {
                    let number = book.call(node, operation);
                    asked.insert((boot, ticket), (number, command));
                }
            }
            What::Answers(answer) => {
                if let Some((number, command)) = asked.remove(&(boot, ticket)) {
                    book.tell(number, came(&command, answer));
                }
            }
        }
    }
    book.linearizable()?;
    let returned = book.entries().iter().filter(|it| it.returned.is_some());
    Ok((book.entries().len(), returned.count()))
}

fn told(path: &Path, why: &str) -> String {
    format!("{}: {why}", path.display())
}

fn open(path: &Path) -> Result<(Recording, Settings, Cluster), String> {
    let fails = |why: String| told(path, &why);
    let file = File::open(path).map_err(|error| fails(error.to_string()))?;
    let recording =
        Recording::open(BufReader::new(file)).map_err(|error| fails(error.to_string()))?;
    let settings = recording
        .settings()
        .map_err(|error| fails(error.to_string()))?;
    let cluster = settings
        .cluster()
        .map_err(|error| fails(error.to_string()))?;
    Ok((recording, settings, cluster))
}

struct Replay<'a> {
    recording: Recording,
    settings: Settings,
    cluster: &'a Cluster,
}

impl ForServed for Replay<'_> {
    type Output = Result<String, String>;

    fn with<M: Served>(mut self) -> Result<String, String> {
        let node = NodeId(self.settings.id.unwrap_or(0));
        let machine = M::machine(self.cluster, node);
        let replayed =
            recording::replay(&machine, &mut self.recording).map_err(|error| error.to_string())?;
        Ok(format!(
            "{node} of {}: {} steps, {} outputs, all the same again; {} more it did not live to say",
            M::NAME,
            replayed.steps,
            replayed.outputs,
            replayed.unsaid
        ))
    }
}

/// Something between a client and a node.
struct Happened {
    at_us: u64,
    boot: usize,
    node: usize,
    ticket: u64,
    what: What,
}

enum What {
    Asks(Command),
    Answers(Answer),
}

struct Gather<'a> {
    recording: Recording,
    number: usize,
    node: usize,
    clock_error_us: u64,
    happened: &'a mut Vec<Happened>,
}

impl ForServed for Gather<'_> {
    type Output = Result<(), String>;

    fn with<M: Served>(mut self) -> Result<(), String> {
        let booted = self.recording.header.booted_at_us;
        while let Some(entry) = (self.recording.entry::<M>()).map_err(|error| error.to_string())? {
            let (at_us, ticket, what) = match entry {
                Entry::Asks {
                    at_us,
                    ticket,
                    command,
                } => (
                    (booted + at_us).saturating_sub(self.clock_error_us),
                    ticket,
                    What::Asks(command),
                ),
                Entry::Answers {
                    at_us,
                    ticket,
                    answer,
                } => (
                    booted + at_us + self.clock_error_us,
                    ticket,
                    What::Answers(answer),
                ),
                Entry::Boots(_) | Entry::Hears { .. } | Entry::Says { .. } => continue,
            };
            self.happened.push(Happened {
                at_us,
                boot: self.number,
                node: self.node,
                ticket,
                what,
            });
        }
        Ok(())
    }
}
