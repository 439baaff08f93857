//! What real nodes heard and said, replayed and judged.
//!
//! A recording of [`quorate::udp::recording`] is one boot of one node. [`replay`] runs it through the
//! machine, which must say the same again; one that signs needs its key for that. [`judge`] does so with
//! the recordings of a cluster, and puts together from them in which order its nodes did what, which must
//! be one order, and what its clients were told, which must be what one store could have told; or where
//! writes are in an order that is no agreement, that no quorum reads anything older than one had before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use quorate::database::Stamp;
use quorate::machine::{NodeId, Output};
use quorate::udp::configuration::{Cluster, Place, Protocol, Settings};
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
    let mut order = Order::default();
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
            order: &mut order,
        };
        with(cluster.protocol, deed).map_err(|why| told(path, &why))?;
    }
    let protocol = protocol.ok_or("name the recordings of a cluster")?;
    // What is asked at the moment of an answer overlaps it.
    happened.sort_by_key(|it| (it.at_us, matches!(it.what, What::Answers(..))));
    if let Some((last, _)) = order.0.last_key_value() {
        said.push(format!(
            "what was executed at {} places, up to {last}, was the same wherever it was",
            order.0.len()
        ));
    }
    if with(protocol, IsOrdered) {
        let Ordered {
            writes,
            reads,
            unknown,
        } = never_goes_back(happened)?;
        said.push(format!(
            "{writes} writes by a quorum were acknowledged, and {unknown} may have been made; of {reads} reads \
             by a quorum none returned anything older than what one had written or read before"
        ));
        return Ok(said.join("\n"));
    }
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
fn history(happened: Vec<Happened>) -> Result<(usize, usize), String> {
    let mut book = Book::default();
    let mut asked = BTreeMap::new();
    for it in happened {
        let call = (it.boot, it.ticket);
        match it.what {
            What::Asks(command) => {
                if let Some(operation) = operation(&command) {
                    let number = book.call(it.node, operation);
                    asked.insert(call, (number, command));
                }
            }
            What::Answers(answer, _) => {
                if let Some((number, command)) = asked.remove(&call) {
                    book.tell(number, came(&command, answer));
                }
            }
        }
    }
    book.linearizable()?;
    let returned = book.entries().iter().filter(|it| it.returned.is_some());
    Ok((book.entries().len(), returned.count()))
}

struct IsOrdered;

impl ForServed for IsOrdered {
    type Output = bool;

    fn with<M: Served>(self) -> bool {
        M::ORDERED
    }
}

/// What was asked of quorums, and what came of it.
#[derive(Default)]
struct Ordered {
    writes: usize,
    reads: usize,
    unknown: usize,
}

/// In the order of writes, what is read is never older than what was written or read by an operation that
/// had returned before the read began.
fn never_goes_back(happened: Vec<Happened>) -> Result<Ordered, String> {
    let mut counted = Ordered::default();
    let mut newest: BTreeMap<String, Option<Stamp>> = BTreeMap::new();
    let mut asked = BTreeMap::new();
    for it in happened {
        let call = (it.boot, it.ticket);
        match it.what {
            What::Asks(command) => {
                if let Some(key) = by_quorum(&command) {
                    let least = newest.get(key).copied().flatten();
                    asked.insert(call, (command, least));
                }
            }
            What::Answers(answer, version) => {
                let Some((command, least)) = asked.remove(&call) else {
                    continue;
                };
                let key = by_quorum(&command).unwrap_or_default().to_owned();
                match answer {
                    Answer::Value(value) => {
                        counted.reads += 1;
                        if version < least {
                            return Err(format!(
                                "n{} read {key} as {value:?}, of {version:?}, when {least:?} was there",
                                it.node
                            ));
                        }
                    }
                    Answer::Done => counted.writes += 1,
                    Answer::Unknown => {
                        counted.unknown += usize::from(!command.is_read());
                        continue;
                    }
                    Answer::Siblings(_)
                    | Answer::Number(_)
                    | Answer::Swapped(_)
                    | Answer::NotLeader(_)
                    | Answer::Busy
                    | Answer::Refused(_)
                    | Answer::Unanswered => continue,
                }
                let newest = newest.entry(key).or_default();
                *newest = (*newest).max(version);
            }
        }
    }
    Ok(counted)
}

/// The key of a read or a write that asks a quorum.
fn by_quorum(command: &Command) -> Option<&str> {
    match command {
        Command::Get { key } | Command::Set { key, .. } => (!key.contains('@')).then_some(key),
        // What is deleted may be forgotten, and with it when that was.
        Command::Delete { .. }
        | Command::CompareAndSwap { .. }
        | Command::Add { .. }
        | Command::Members(_)
        | Command::HandOver(_) => None,
    }
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

impl Replay<'_> {
    /// What the node had beside, as far as it matters to what it says: its key.
    fn place(&self, node: NodeId) -> Result<Place, String> {
        let listen = self.cluster.members.get(&node);
        Ok(Place {
            node,
            listen: *listen.ok_or_else(|| format!("{node} is no member of its cluster"))?,
            admin: None,
            data: PathBuf::new(),
            key: self.settings.key.clone(),
        })
    }
}

impl ForServed for Replay<'_> {
    type Output = Result<String, String>;

    fn with<M: Served>(mut self) -> Result<String, String> {
        let node = NodeId(self.settings.id.unwrap_or(0));
        let machine = M::equipped(self.cluster, &self.place(node)?);
        let machine = machine.map_err(|error| format!("it cannot be replayed: {error}"))?;
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

/// What was done at each place of the order that all keep, and who said so first.
#[derive(Default)]
struct Order(BTreeMap<u64, (NodeId, String)>);

impl Order {
    /// Within one boot, `last` is where it was.
    fn executes(
        &mut self,
        node: NodeId,
        last: &mut Option<u64>,
        place: u64,
        what: String,
    ) -> Result<(), String> {
        if let Some(last) = last.filter(|last| place <= *last) {
            return Err(format!("{node} executed place {place} after place {last}"));
        }
        *last = Some(place);
        let (first, known) = self.0.entry(place).or_insert_with(|| (node, what.clone()));
        if *known == what {
            Ok(())
        } else {
            Err(format!(
                "at place {place}, {node} executed\n  {what}\nand {first}\n  {known}"
            ))
        }
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
    /// Of a key whose writes are in an order, with the place in it.
    Answers(Answer, Option<Stamp>),
}

struct Gather<'a> {
    recording: Recording,
    number: usize,
    node: usize,
    clock_error_us: u64,
    happened: &'a mut Vec<Happened>,
    order: &'a mut Order,
}

impl ForServed for Gather<'_> {
    type Output = Result<(), String>;

    fn with<M: Served>(mut self) -> Result<(), String> {
        let booted = self.recording.header.booted_at_us;
        let mut last = None;
        let mut keys: BTreeMap<u64, String> = BTreeMap::new();
        let mut versions: BTreeMap<u64, Stamp> = BTreeMap::new();
        while let Some(entry) = (self.recording.entry::<M>()).map_err(|error| error.to_string())? {
            let (at_us, ticket, what) = match entry {
                Entry::Asks {
                    at_us,
                    ticket,
                    command,
                } => {
                    if let Some(key) = by_quorum(&command) {
                        keys.insert(ticket, key.to_owned());
                    }
                    let at_us = (booted + at_us).saturating_sub(self.clock_error_us);
                    (at_us, ticket, What::Asks(command))
                }
                Entry::Answers {
                    at_us,
                    ticket,
                    answer,
                } => (
                    booted + at_us + self.clock_error_us,
                    ticket,
                    What::Answers(answer, versions.remove(&ticket)),
                ),
                Entry::Says { outputs, .. } => {
                    for (place, what) in outputs.iter().filter_map(executed::<M>) {
                        let node = NodeId(self.node as u64);
                        self.order.executes(node, &mut last, place, what)?;
                    }
                    for event in outputs.iter().filter_map(event) {
                        let key = M::ticket(event).and_then(|ticket| keys.remove_entry(&ticket));
                        versions.extend(
                            key.and_then(|(ticket, key)| Some((ticket, M::version(event, &key)?))),
                        );
                    }
                    continue;
                }
                Entry::Boots(_) | Entry::Hears { .. } => continue,
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

fn executed<M: Served>(output: &Output<M>) -> Option<(u64, String)> {
    event(output).and_then(M::executed)
}

fn event<M: Served>(output: &Output<M>) -> Option<&M::Event> {
    match output {
        Output::Event(event) => Some(event),
        Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
    }
}
