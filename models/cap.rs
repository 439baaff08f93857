//! What is claimed of [`quorate::cap`]: its worlds, its promises, and the flaws that refute them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::cap::{Call, Cap, Level, Message, Setting};
use quorate::clock::Stamp;
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use crate::action::Cut;
use crate::calm;
use crate::catalogue::Protocol;
use crate::flaw::Twin;
use crate::promise::Condition;
use crate::purge::{self, Discharged};
use crate::snapshot::{Client, Snapshot, nobody_waits};
use crate::world::World;

mod dead;
mod exhibits;
mod flaws;
mod ledger;
mod sessions;
mod weather;

use dead::{receiver_is_done, sender_is_done, under_way};
use exhibits::{flaws_of_ap, flaws_of_cp, weakened, worlds};
use flaws::{Flaw, Flawed};
use ledger::Watch;
pub use ledger::{Calls, Ledger};
pub use sessions::is_sequential;
use weather::{Whom, answers};

/// Each operation takes effect at one moment between call and return.
pub const LINEARIZABLE: &str = "linearizable";
/// What was answered is on the disks of a majority, or something later is.
pub const MINORITY: &str = "a minority never acknowledges";
/// No get shows the value of a put that was refused with the word that it has no effect.
pub const REFUSED: &str = "what is refused for good has no effect";
/// No two elections are of one epoch.
pub const EPOCH_ONCE: &str = "an epoch begins once";
/// Who hears a live majority and is heard by it answers, though a cut or a crash stands.
pub const MAJORITY_SERVES: &str = "a majority serves";
/// In the calm, every call is answered or refused.
pub const CALLS_RETURN: &str = "calls return";
/// A call that returns, returns once.
pub const RETURN_ONCE: &str = "calls return at most once";
/// What is under a tag is one value, on every disk and in every message.
pub const ONE_VALUE: &str = "a tag names one value";
/// Every call is answered in the step in which it is asked.
pub const ALONE: &str = "answers alone";
/// What was answered at a node is on its disk, or something later is.
pub const STAYS: &str = "acknowledged writes stay";
/// What a node shows is never earlier than what it answered before.
pub const NOT_BACK: &str = "answers do not go back";
/// A write is later than whatever its node had answered.
pub const EFFECTS_LATER: &str = "effects are later";
/// In the calm all nodes come to have the same.
pub const CONVERGENCE: &str = "convergence";
/// Every live node answers, though a cut or a crash stands. AP promises more; CP does not promise it.
pub const AVAILABLE: &str = "available";
/// Both, which no setting promises.
pub const BOTH: &str = "linearizable and available";
/// A client reads what it wrote, or something later. AP does not promise it to a client that moves.
pub const RYW: &str = "read your writes";
/// What a client reads is never earlier than what it read or wrote before. Nor this.
pub const READS_NOT_BACK: &str = "reads of a client do not go back";

/// The one key of these worlds.
const KEY: &str = "x";
/// CP, in worlds where a call may claim an epoch twice.
const CP: Setting = Setting::Leader { claims_max: 2 };
/// CP, in worlds where a call may claim an epoch once.
const CP_ONCE: Setting = Setting::Leader { claims_max: 1 };

/// How many alarms may ring in a calm: what gets nowhere sends again some ten times before it gives up.
const ROUNDS: u32 = 24;

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<M, Ledger>;

/// The clients of a world, each by its calls.
pub(crate) type Script = &'static [&'static str];

/// The calls of one client: a capital puts itself, `-` deletes, `?` gets.
fn script(letters: &str, tickets: &mut u64) -> Vec<Call> {
    let call = |letter: char| {
        let ticket = *tickets;
        *tickets += 1;
        let key = KEY.to_owned();
        match letter {
            '?' => Call::Get { ticket, key },
            '-' => Call::Delete { ticket, key },
            value => Call::Put {
                ticket,
                key,
                value: value.to_string(),
            },
        }
    };
    letters.chars().map(call).collect()
}

/// A world with nodes and clients, and nothing promised.
fn bare<M: Twin<Cap>>(
    name: &str,
    nodes: usize,
    setting: Setting,
    clients: &[&str],
    watch: Watch,
    make: impl Fn(Cap) -> M,
) -> Model<M> {
    let members = NodeSet::first(nodes);
    let machine = |me| {
        make(Cap {
            me,
            members,
            setting,
        })
    };
    let machines = members.iter().map(machine).collect();
    let mut world = World::new(name, machines, Ledger::new(watch));
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(letters, &mut tickets));
    }
    world.always(ONE_VALUE, a_tag_names_one_value)
}

/// What may go wrong besides the network: so many crashes of any node, so many cuts of any shape.
#[derive(Clone, Copy, Default)]
struct Faults {
    crashes: u32,
    cuts: u32,
}

const NONE: Faults = Faults {
    crashes: 0,
    cuts: 0,
};
const CRASH: Faults = Faults { crashes: 1, ..NONE };
const BOTH_FAULTS: Faults = Faults {
    crashes: 1,
    cuts: 1,
};

fn faulty<M: Twin<Cap>>(world: Model<M>, faults: Faults) -> Model<M> {
    let nodes = world.len();
    world
        .crashes(NodeSet::first(nodes), faults.crashes)
        .cuts(Cut::all(nodes as u64), faults.cuts)
}

/// A world in which everything is promised that CP promises, but *a majority serves*.
fn consistent<M: Twin<Cap>>(
    name: &str,
    nodes: usize,
    setting: Setting,
    clients: &[&str],
    make: impl Fn(Cap) -> M,
) -> Model<M> {
    bare(name, nodes, setting, clients, Watch::History, make)
        .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
        .always(MINORITY, answers_are_a_majoritys)
        .always_told(REFUSED, |told| !told.ghost.breaks(REFUSED))
        .always_told(EPOCH_ONCE, |told| !told.ghost.breaks(EPOCH_ONCE))
        .always_told(RETURN_ONCE, |told| !told.ghost.breaks(RETURN_ONCE))
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .sometimes_told("a get sees a put", |told| told.ghost.saw_a_put())
        .sometimes_told("two epochs begin", |told| told.ghost.epochs.len() > 1)
        .sometimes_told("a put is refused for good", |told| {
            told.ghost.denied_a_put()
        })
        .sometimes_told("a node refuses that could not reach enough", |told| {
            !told.ghost.unavailable.is_empty()
        })
}

/// A world in which everything is promised that AP promises.
fn available<M: Twin<Cap>>(
    name: &str,
    nodes: usize,
    clients: &[&str],
    make: impl Fn(Cap) -> M,
) -> Model<M> {
    bare(name, nodes, Setting::AP, clients, Watch::Order, make)
        .always_told(ALONE, |told| nobody_waits(told.clients))
        .always(STAYS, acknowledged_writes_stay)
        .always_told(NOT_BACK, |told| !told.ghost.breaks(NOT_BACK))
        .always_told(EFFECTS_LATER, |told| !told.ghost.breaks(EFFECTS_LATER))
        .recovers(CONVERGENCE, ROUNDS, all_have_the_same)
        .sometimes("two writes have one time", |snapshot| {
            let stamps: Vec<Stamp> = (snapshot.disks())
                .filter_map(|(_, disk)| disk.version(KEY).tag.stamp)
                .collect();
            let meets = |one: &Stamp| {
                let mut others = stamps.iter();
                others.any(|other| one.time == other.time && one.node != other.node)
            };
            stamps.iter().any(meets)
        })
        .sometimes("a write reaches another node", |snapshot| {
            snapshot.disks().any(|(id, disk)| {
                let stamp = disk.version(KEY).tag.stamp;
                stamp.is_some_and(|stamp| stamp.node != id)
            })
        })
}

pub(crate) fn all_have_the_same<M: Twin<Cap>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    let mut versions = snapshot.disks().map(|(_, disk)| &disk.versions);
    let first = versions.next();
    versions.all(|other| Some(other) == first)
}

fn a_tag_names_one_value<M: Twin<Cap>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    let on_disks = snapshot
        .disks()
        .flat_map(|(_, disk)| disk.versions.values());
    let in_messages = snapshot.network.iter().flat_map(|letter| {
        let (one, many) = match &letter.message {
            Message::Answer { version, .. } | Message::Store { version, .. } => {
                (Some(version), &[][..])
            }
            Message::Spread { versions } => (None, &versions[..]),
            Message::Ask { .. } | Message::Stored { .. } | Message::Behind { .. } => {
                (None, &[][..])
            }
        };
        one.into_iter()
            .chain(many.iter().map(|(_, version)| version))
    });
    let mut known = BTreeMap::new();
    on_disks
        .chain(in_messages)
        .all(|version| *known.entry(version.tag).or_insert(&version.value) == &version.value)
}

fn answers_are_a_majoritys<M: Twin<Cap>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    let latest = snapshot.ghost.latest();
    let holders = snapshot
        .disks()
        .filter(|(_, disk)| latest <= disk.version(KEY).tag);
    latest.stamp.is_none() || NodeSet::first(snapshot.nodes.len()).majority() <= holders.count()
}

fn acknowledged_writes_stay<M: Twin<Cap>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    let mut told = snapshot.ghost.told.iter();
    told.all(|(node, tag)| {
        let disk = snapshot.node(*node).and_then(|node| node.durable());
        disk.is_some_and(|disk| *tag <= disk.version(KEY).tag)
    })
}

/// A world of the right machine in CP.
fn cp(name: &str, setting: Setting, clients: &[&str], faults: Faults) -> Model<Cap> {
    let world = consistent(name, 3, setting, clients, |right| right);
    let world = faulty(world, faults).purging(sender_is_done, receiver_is_done);
    if faults.cuts == 0 {
        return world;
    }
    let alone: Vec<Option<NodeId>> = (world.faults.cuts.iter())
        .map(|cut| match cut {
            Cut::Isolate(node) => Some(*node),
            Cut::Split(_) | Cut::Mute(_) | Cut::Bridge { .. } => None,
        })
        .collect();
    world.sometimes_told("a minority refuses", move |told| {
        let alone = told.adversary.cut.and_then(|cut| alone[cut]);
        alone.is_some_and(|node| told.ghost.unavailable.contains(node))
    })
}

/// A world of the right machine in AP.
fn ap(name: &str, nodes: usize, clients: &[&str], faults: Faults) -> Model<Cap> {
    let world = available(name, nodes, clients, |right| right);
    faulty(world, faults).purging(sender_is_done, receiver_is_done)
}

/// A world without a leader, in which each call must hear a majority.
fn majorities(name: &str, clients: &[&str]) -> Model<Cap> {
    let quorums = Setting::Leaderless {
        reads: Level::Quorum,
        writes: Level::Quorum,
    };
    bare(name, 3, quorums, clients, Watch::History, |right| right)
        .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
        .always_told(RETURN_ONCE, |told| !told.ghost.breaks(RETURN_ONCE))
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .purging(sender_is_done, receiver_is_done)
        // What is sent again is in the network already: it matters to promises of the calm alone.
        .never("ring Retry")
}

/// A world in which calls come one at a time, and *a majority serves* or what else is promised of
/// whom while faults stand.
fn served<M: Twin<Cap>>(
    promise: &'static str,
    whom: Whom,
    make: impl Fn() -> Model<M>,
) -> Model<M> {
    let weather = make();
    make().always(promise, move |snapshot| {
        (promise != BOTH || snapshot.ghost.linearizable) && answers(&weather, snapshot, whom)
    })
}

/// A world of the CAP matrix: three nodes, and nothing promised.
pub(crate) fn of_sessions<M: Twin<Cap>>(
    name: &str,
    setting: Setting,
    clients: Script,
    make: impl Fn(Cap) -> M,
) -> Model<M> {
    bare(name, 3, setting, clients, Watch::Sessions, make).purging(sender_is_done, receiver_is_done)
}

/// True if every call under way at a node that is up is answered, though the fault stands.
pub(crate) fn all_answer<M: Twin<Cap>>(weather: &Model<M>, snapshot: &Snapshot<M, Ledger>) -> bool {
    answers(weather, snapshot, Whom::Everyone)
}

/// A world in which a node is cut off, and calls are made while it is.
fn during_a_cut(
    name: &str,
    promise: &'static str,
    setting: Setting,
    clients: Script,
) -> Model<Cap> {
    served(promise, Whom::Everyone, || {
        let nodes = NodeSet::first(3);
        bare(name, 3, setting, clients, Watch::History, |right| right)
            .cuts(nodes.iter().map(Cut::Isolate).collect(), 1)
            .within(|snapshot| {
                let is_idle = |client: &Client| client.next == 0 && client.waiting.is_none();
                snapshot.adversary.cut.is_some() || snapshot.clients.iter().all(is_idle)
            })
    })
}

/// A flawed CP. Nothing is forgotten in its world.
fn flawed_cp(flaw: Flaw, name: &str, clients: &[&str], faults: Faults) -> Model<Flawed> {
    let world = consistent(name, 3, CP_ONCE, clients, move |right| Flawed {
        right,
        flaw,
    });
    faulty(world, faults)
}

/// A CP that sends puts again under later epochs: to it, who is told of one is not done.
fn sent_again_later(name: &str, clients: &[&str]) -> Model<Flawed> {
    let flaw = Flaw::SentAgainLater;
    consistent(name, 2, CP, clients, move |right| Flawed { right, flaw }).purging(
        sender_is_done,
        |letter, to| match &letter.message {
            Message::Behind { operation, .. } => under_way(to, *operation).is_none(),
            Message::Ask { .. }
            | Message::Answer { .. }
            | Message::Store { .. }
            | Message::Stored { .. }
            | Message::Spread { .. } => receiver_is_done(letter, to),
        },
    )
}

/// A flawed AP of two nodes. Nothing is forgotten in its world.
fn flawed_ap(flaw: Flaw, name: &str, clients: &[&str], faults: Faults) -> Model<Flawed> {
    let world = || available(name, 2, clients, move |right| Flawed { right, flaw });
    let weather = world();
    let goal = Condition::Whole(Arc::new(all_have_the_same));
    // The same, asked once every call was made: so the story shows them.
    let world = (world().except(CONVERGENCE)).always(CONVERGENCE, move |snapshot| {
        !weather.is_finished(snapshot) || calm::rounds(&weather, snapshot, ROUNDS, &goal).is_some()
    });
    faulty(world, faults)
}

/// The CAP store, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "cap",
        summary: "the CAP store: consistent or available, and never both during a cut",
        worlds: worlds(),
        flaws: [flaws_of_cp(), flaws_of_ap(), weakened()]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// What [`World::purging`] owes in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    Ok(vec![
        purge::obligations(|| cp("purged", CP, &["A"], CRASH))?,
        purge::obligations(|| cp("purged", CP_ONCE, &["A", "?"], NONE))?,
        purge::obligations(|| ap("purged", 2, &["A-?", "B"], CRASH))?,
        purge::obligations(|| sent_again_later("purged", &["A"]).crashes(NodeSet::first(1), 1))?,
    ])
}

/// The same, of a machine for which the rule is wrong: to one that forgets the epoch that it has joined,
/// a question that it has answered is not dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| {
        flawed_cp(Flaw::EpochForgotten, "purged", &["A"], CRASH)
            .purging(sender_is_done, receiver_is_done)
    })
}
