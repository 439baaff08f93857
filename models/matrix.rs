//! The CAP matrix: how many nodes a get hears, how many a put hears, and what goes wrong, against what
//! is kept. Nothing of it was written by hand: the checker computes every verdict.
//!
//! Three nodes run [`quorate::cap`] without a leader, and clients move between them as they like. A cell
//! is two levels and a fault. A property *holds* in it if every state of every world in which the cell
//! makes it was looked at, and none breaks it; otherwise it is *refuted*, and has the shortest story.
//!
//! | property | it holds if |
//! |---|---|
//! | linearizable | each call could have taken effect at one moment between call and return |
//! | sequential | the same, but only the order of each client's own calls counts |
//! | read your writes | a client reads what it wrote, or something later in the declared order |
//! | available | every node that is up answers, though the fault stands and never ends |
//! | convergent | once every node is up and the network calm, all come to have the same |
//!
//! *Sequential* falls wherever *linearizable* does. To clients that stayed at one node it would not; these
//! move, and carry nothing along.
//!
//! No cell is both linearizable and available during a cut: Gilbert and Lynch's theorem, of which this
//! is no proof, but nine examples.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::time::Duration;

use quorate::cap::{Call, Cap, Durable, Event, Level, Message, Setting, Timer, Volatile};
use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use serde::{Serialize, Serializer};

use crate::action::Cut;
use crate::cap::{Ledger, Script};
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::engine::{Options, Stop, search, unwatched};
use crate::flaw::{boot, delegate};
use crate::promise::Kind;
use crate::world::World;
use crate::{path, story};

mod picture;
mod pinned;

pub use pinned::FALLS;

/// What goes wrong besides the network, which may lose and delay anything in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    None,
    /// Any one node crashes, and may restart.
    Crash,
    /// Any one node is cut off from the others, and the cut may be healed.
    Cut,
}

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// Each call takes effect at one moment between call and return.
    Linearizable,
    /// There is one order of all calls that keeps that of each client.
    Sequential,
    /// A client reads what it wrote, or something later.
    ReadYourWrites,
    /// Every node that is up answers, though the fault stands.
    Available,
    /// In the calm all come to have the same.
    Convergent,
}

/// The levels, in the order of the table.
pub const LEVELS: [Level; 3] = [Level::Local, Level::Quorum, Level::All];
/// The faults, in the order of the table.
pub const FAULTS: [Fault; 3] = [Fault::None, Fault::Crash, Fault::Cut];
/// The properties, in the order of the table.
pub const PROPERTIES: [Property; 5] = [
    Property::Linearizable,
    Property::Sequential,
    Property::ReadYourWrites,
    Property::Available,
    Property::Convergent,
];

impl Fault {
    /// Its name, as part of the name of a cell.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crash => "crash",
            Self::Cut => "cut",
        }
    }
}

impl Property {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Sequential => "sequential",
            Self::ReadYourWrites => "read your writes",
            Self::Available => "available",
            Self::Convergent => "convergent",
        }
    }

    /// The letter that stands for it in the table.
    pub fn letter(self) -> char {
        match self {
            Self::Linearizable => 'L',
            Self::Sequential => 'S',
            Self::ReadYourWrites => 'R',
            Self::Available => 'A',
            Self::Convergent => 'C',
        }
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Local => "local",
        Level::Quorum => "quorum",
        Level::All => "all",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn by_name<S: Serializer>(one: &Level, serializer: S) -> Result<S::Ok, S::Error> {
    level(*one).serialize(serializer)
}

/// Two levels and a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    reads: Level,
    writes: Level,
    fault: Fault,
}

impl Place {
    fn all() -> impl Iterator<Item = Self> {
        let pairs = LEVELS
            .into_iter()
            .flat_map(|writes| LEVELS.into_iter().map(move |reads| (reads, writes)));
        pairs.flat_map(|(reads, writes)| {
            FAULTS.into_iter().map(move |fault| Self {
                reads,
                writes,
                fault,
            })
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reads, writes) = (level(self.reads), level(self.writes));
        write!(f, "{reads}-{writes}-{}", self.fault.name())
    }
}

/// The right machine, with callers who wait for ever: what giving up would add is refusals, of which the
/// matrix asks nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Patient {
    /// It.
    pub right: Cap,
}

impl Machine for Patient {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let State { durable, volatile } = state.clone();
        self.right.holds(&State { durable, volatile })
    }
}

impl Patient {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Cap, &mut State<Cap>, &mut Outbox<Cap>),
    ) {
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            if !matches!(output, Output::Arm(Timer::GiveUp(_))) {
                out.push(output);
            }
        }
    }
}

type Model = World<Patient, Ledger>;

/// The worlds of a cell, and which properties are asked of each. A capital puts itself, `?` gets; each
/// string is one client.
const SCRIPTS: [(Script, &[Property]); 4] = [
    // One client writes, another reads twice.
    (
        &["A", "??"],
        &[
            Property::Linearizable,
            Property::Sequential,
            Property::ReadYourWrites,
        ],
    ),
    // One client writes twice and reads.
    (
        &["AB?"],
        &[
            Property::Linearizable,
            Property::Sequential,
            Property::ReadYourWrites,
        ],
    ),
    // A client writes and reads, while the fault stands.
    (&["A?"], &[Property::Available]),
    // Two clients write at once.
    (&["A", "B"], &[Property::Convergent]),
];

/// How many alarms may ring in a calm: each node tells each other one what it has a few times.
const ROUNDS: u32 = 40;

fn world(name: &str, place: Place, script: Script, properties: &[Property]) -> Model {
    let Place {
        reads,
        writes,
        fault,
    } = place;
    let make = move || {
        let setting = Setting::Leaderless { reads, writes };
        let world = crate::cap::of_sessions(name, setting, script, |right| Patient { right });
        match fault {
            Fault::None => world,
            Fault::Crash => world.crashes(NodeSet::first(3), 1),
            Fault::Cut => {
                let cuts = NodeSet::first(3).iter().map(Cut::Isolate);
                world.cuts(cuts.collect(), 1)
            }
        }
    };
    let mut world = make();
    for property in properties {
        let name = property.name();
        world = match property {
            Property::Linearizable => world.always_told(name, |told| told.ghost.is_linearizable()),
            Property::Sequential => world.always_told(name, |told| told.ghost.is_sequential()),
            Property::ReadYourWrites => {
                world.always_told(name, |told| told.ghost.reads_its_writes())
            }
            Property::Available => {
                let weather = make();
                world.always(name, move |state| crate::cap::all_answer(&weather, state))
            }
            Property::Convergent => world.recovers(name, ROUNDS, crate::cap::all_have_the_same),
        };
    }
    world
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// By puts, then by gets, then by fault.
    pub cells: Vec<Cell>,
}

/// What is kept at two levels and under one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Of how many nodes a get hears.
    #[serde(serialize_with = "by_name")]
    pub reads: Level,
    /// Of how many a put hears.
    #[serde(serialize_with = "by_name")]
    pub writes: Level,
    /// What goes wrong.
    pub fault: Fault,
    /// How many distinct states were looked at, over all worlds of the cell.
    pub states: usize,
    /// Of each property, whether it is kept.
    pub verdicts: Vec<Verdict>,
}

/// Whether a property is kept in a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Which.
    pub property: Property,
    /// Why not, if it is not.
    pub refuted: Option<Refuted>,
}

/// A property that is not kept in a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Refuted {
    /// The exhibit of [`protocol`] that shows it.
    pub exhibit: String,
    /// In which of the cell's worlds.
    #[serde(skip)]
    pub world: usize,
    /// In how many steps.
    pub steps: usize,
    /// The shortest story.
    pub story: String,
    /// Its place in stateright's Explorer, after `#/steps/`.
    pub link: String,
}

impl Cell {
    /// True if the property is kept here.
    pub fn keeps(&self, property: Property) -> bool {
        let mut verdicts = self.verdicts.iter();
        verdicts.any(|verdict| verdict.property == property && verdict.refuted.is_none())
    }
}

/// Computes the table: every state of every world of every cell.
///
/// # Panics
///
/// If a world could not be exhausted, or something else than these properties broke in it.
pub fn matrix() -> Matrix {
    let cells = Place::all().map(cell);
    Matrix {
        cells: cells.collect(),
    }
}

fn cell(place: Place) -> Cell {
    let mut states = 0;
    let mut found: Vec<(Property, Option<(usize, usize)>)> = PROPERTIES
        .iter()
        .map(|property| (*property, None))
        .collect();
    for (at, (script, properties)) in SCRIPTS.into_iter().enumerate() {
        let world = world("matrix", place, script, properties);
        let outcome = search(&world, Options::default(), &mut unwatched);
        assert_eq!(outcome.waiting, 0, "{place} was exhausted");
        states += outcome.unique;
        for finding in outcome.findings {
            let Some(steps) = finding.steps else {
                continue;
            };
            let mut known = found.iter_mut();
            let known = known.find(|(property, _)| property.name() == finding.promise);
            let Some((_, refuted)) = known else {
                panic!("{:?} broke in {place}", finding.promise);
            };
            if refuted.is_none_or(|(least, _)| steps < least) {
                *refuted = Some((steps, at));
            }
        }
    }
    let verdict = |(property, refuted): (Property, Option<(usize, usize)>)| Verdict {
        property,
        refuted: refuted.map(|(_, at)| refute(place, property, at)),
    };
    Cell {
        reads: place.reads,
        writes: place.writes,
        fault: place.fault,
        states,
        verdicts: found.into_iter().map(verdict).collect(),
    }
}

/// The world in which one property falls, and nothing else is asked.
fn exhibit(place: Place, property: Property, script: Script) -> Model {
    let name = exhibit_name(place, property);
    let says = says(place);
    world(&name, place, script, &[property])
        .only(&[property.name()])
        .says(&says)
}

fn exhibit_name(place: Place, property: Property) -> String {
    format!("{place}-{}", property.name().replace(' ', "-"))
}

fn says(place: Place) -> String {
    let hears = |one| match one {
        Level::Local => "its own node",
        Level::Quorum => "a majority",
        Level::All => "every node",
    };
    let fault = match place.fault {
        Fault::None => "nothing else goes wrong",
        Fault::Crash => "one node may crash",
        Fault::Cut => "one node may be cut off",
    };
    format!(
        "a get hears {}, a put hears {}; {fault}",
        hears(place.reads),
        hears(place.writes)
    )
}

fn refute(place: Place, property: Property, at: usize) -> Refuted {
    let world = exhibit(place, property, SCRIPTS[at].0);
    let options = Options {
        stop: Stop::AtViolation,
        ..Options::default()
    };
    let steps = search(&world, options, &mut unwatched).story;
    let steps = steps.expect("what fell in the same world falls");
    let kind = match property {
        Property::Convergent => Kind::Recovers { rounds: ROUNDS },
        Property::Linearizable
        | Property::Sequential
        | Property::ReadYourWrites
        | Property::Available => Kind::Always,
    };
    let page = story::page(&world, property.name(), kind, &steps, story::Source::Search);
    Refuted {
        exhibit: exhibit_name(place, property),
        world: at,
        steps: steps.len(),
        story: page,
        link: path::link(&world, &steps),
    }
}

/// The refuted cells, as exhibits that can be told and explored. It is not one of
/// [`crate::catalogue::protocols`], for it is not a protocol; the `cap` of that list is.
pub fn protocol() -> Protocol {
    let flaws = FALLS.iter().filter_map(|(name, script, steps)| {
        let script = SCRIPTS.get(*script)?.0;
        let (place, property) = find(name)?;
        let steps = *steps;
        let claimed: Box<dyn Exhibit> = Claimed::falls(property.name(), steps, move || {
            exhibit(place, property, script)
        });
        Some(claimed)
    });
    Protocol {
        name: "matrix",
        summary: "the CAP matrix: what is not kept, by how many nodes gets and puts hear",
        worlds: Vec::new(),
        flaws: flaws.collect(),
    }
}

fn find(name: &str) -> Option<(Place, Property)> {
    let mut all = Place::all().flat_map(|place| {
        PROPERTIES
            .into_iter()
            .map(move |property| (place, property))
    });
    all.find(|(place, property)| exhibit_name(*place, *property) == name)
}

impl Matrix {
    /// The cell at these levels under this fault.
    pub fn cell(&self, reads: Level, writes: Level, fault: Fault) -> Option<&Cell> {
        let is = |cell: &&Cell| (cell.reads, cell.writes, cell.fault) == (reads, writes, fault);
        self.cells.iter().find(is)
    }

    /// The table in letters: of each property its own if it is kept, and a dot if it is refuted.
    pub fn text(&self) -> String {
        let mut text = String::from("gets     puts    ");
        for fault in ["no fault", "one crash", "one cut"] {
            let _ = write!(text, "  {fault:<10}");
        }
        let line = text.trim_end().len();
        text.truncate(line);
        text.push('\n');
        for writes in LEVELS {
            for reads in LEVELS {
                let _ = write!(text, "{:<8} {:<8}", level(reads), level(writes));
                for fault in FAULTS {
                    let cell = self.cell(reads, writes, fault);
                    let keeps = |property| cell.is_some_and(|cell| cell.keeps(property));
                    let letters: Vec<String> = (PROPERTIES.iter())
                        .map(|property| match property.letter() {
                            letter if keeps(*property) => letter.to_string(),
                            _ => ".".to_owned(),
                        })
                        .collect();
                    let _ = write!(text, "  {:<10}", letters.join(" "));
                }
                let line = text.trim_end().len();
                text.truncate(line);
                text.push('\n');
            }
        }
        let names: Vec<String> = (PROPERTIES.iter())
            .map(|property| format!("{} {}", property.letter(), property.name()))
            .collect();
        let _ = writeln!(text, "\n{}; a dot is refuted", names.join(", "));
        text
    }
}
