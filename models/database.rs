//! What is claimed of [`quorate::database`]: its worlds, its promises, and the flaws that refute them.

use quorate::data::NodeSet;
use quorate::database::{
    Call, Cell, Conflicts, Counting, Database, Durable, Event, Hints, Level, Message, Operation,
    Placement, ReadRepair, Stamp, Task, Token, Tombstones,
};
use quorate::machine::{Machine, NodeId};
use quorate::merkle::keyed::Shape;

use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::symmetry;
use crate::world::{Disk, World};

mod flaws;
mod order;

use flaws::{Flaw, Flawed};
use order::Order;

/// A read returns nothing older than any write that had returned before it began.
pub const REGULAR: &str = "regular";
/// A read returns nothing older than an earlier read had.
pub const MONOTONIC: &str = "reads do not go back";
/// Any so many replicas as a read asks have one that has the write, or a newer one.
pub const VISIBLE: &str = "acknowledged writes are visible";
/// A write has one stamp, wherever it is.
pub const ONE_VERSION: &str = "a write is one version";
/// No other node has a key.
pub const PLACEMENT: &str = "only replicas have a key";
/// A call that returns, returns once.
pub const RETURN_ONCE: &str = "calls return at most once";
/// In the calm, every call returns.
pub const CALLS_RETURN: &str = "calls return";
/// In the calm all replicas come to have the same.
pub const CONVERGE: &str = "replicas converge";
/// In the calm a write that was begun comes to all its replicas.
pub const HINTED: &str = "begun writes arrive";
/// What was deleted is not read again.
pub const DELETED_STAYS: &str = "the deleted stays deleted";
/// A write supersedes what had returned before it began. It is not promised.
pub const NEWER_WINS: &str = "later writes win";

/// The key of most worlds.
const KEY: &str = "x";

/// How a world is set up.
#[derive(Clone, Copy)]
struct Setting {
    /// The replicas, of all keys.
    replicas: usize,
    /// Nodes that are none. If there are any, the calls are made at them.
    apart: usize,
    read: Level,
    write: Level,
    read_repair: ReadRepair,
    hints: Hints,
    counting: Counting,
    anti_entropy: bool,
    tombstones: Tombstones,
    conflicts: Conflicts,
    patience: Option<u32>,
}

const QUORUM: Setting = Setting {
    replicas: 3,
    apart: 2,
    read: Level::Quorum,
    write: Level::Quorum,
    read_repair: ReadRepair::Blocking,
    hints: Hints::Off,
    counting: Counting::Strict,
    anti_entropy: false,
    tombstones: Tombstones::Kept,
    conflicts: Conflicts::LastWriterWins,
    patience: None,
};

/// Reads that repair nothing.
const UNREPAIRED: Setting = Setting {
    read_repair: ReadRepair::Off,
    ..QUORUM
};

/// One client's node apart.
const ONE_DOOR: Setting = Setting { apart: 1, ..QUORUM };

/// Nothing heals what a write at level ONE leaves behind.
const UNHEALED: Setting = Setting {
    read: Level::One,
    write: Level::One,
    read_repair: ReadRepair::Off,
    ..QUORUM
};

/// Anti-entropy does.
const HEALED: Setting = Setting {
    anti_entropy: true,
    ..UNHEALED
};

/// Hints do, for a while.
const HINTING: Setting = Setting {
    hints: Hints::Kept { max: 2 },
    ..UNHEALED
};

/// A hint will do for an acknowledgement.
const SLOPPY: Setting = Setting {
    hints: Hints::Kept { max: 2 },
    counting: Counting::Sloppy,
    ..UNREPAIRED
};

const COLLECTING: Setting = Setting {
    apart: 1,
    anti_entropy: true,
    tombstones: Tombstones::Collected,
    ..UNREPAIRED
};

impl Setting {
    fn replicas(self) -> NodeSet {
        NodeSet::first(self.replicas)
    }

    fn nodes(self) -> NodeSet {
        NodeSet::first(self.replicas + self.apart)
    }

    fn doors(self) -> NodeSet {
        match self.apart {
            0 => self.replicas(),
            _ => self.nodes().difference(self.replicas()),
        }
    }

    fn machines<M>(self, make: impl Fn(Database) -> M) -> Vec<M> {
        let machine = |me| {
            make(Database {
                me,
                placement: Placement::Whole(self.replicas()),
                nearby: self.nodes(),
                conflicts: self.conflicts,
                read_repair: self.read_repair,
                hints: self.hints,
                counting: self.counting,
                anti_entropy: self.anti_entropy.then_some(SHAPE),
                tombstones: self.tombstones,
                patience: self.patience,
            })
        };
        self.nodes().iter().map(machine).collect()
    }
}

/// Two children, and a bucket of one.
const SHAPE: Shape = Shape {
    fan_bits: 1,
    bucket_max: 1,
};

/// The calls of one client. A capital letter puts itself, `-` deletes, `r` reads. A small letter from `a` to `e`
/// puts itself under the key `y`, too, as a batch. A number says that all replicas of smaller number are
/// suspected. The client's clock shows 10 at its first call, 20 at its second, and so on; after `<` it is set
/// back to 1.
fn script(letters: &str, setting: Setting, tickets: &mut u64) -> Vec<Call> {
    let mut now = 10;
    let mut calls = Vec::new();
    for letter in letters.chars() {
        if letter == '<' {
            now = 1;
            continue;
        }
        if let Some(count) = letter.to_digit(10) {
            let nodes = NodeSet::first(count as usize);
            calls.push(Call::Suspect { nodes });
            continue;
        }
        let (ticket, key, value) = (*tickets, KEY.to_owned(), Some(letter.to_string()));
        let writes = match letter {
            'r' => Vec::new(),
            '-' => vec![(key.clone(), None)],
            'a'..='e' => vec![(key.clone(), value.clone()), ("y".to_owned(), value)],
            _ => vec![(key.clone(), value)],
        };
        let token = Token::default();
        calls.push(match letter {
            'r' => Call::Read {
                ticket,
                key,
                level: setting.read,
                token,
            },
            _ => Call::Write {
                ticket,
                now,
                writes,
                level: setting.write,
                token,
            },
        });
        *tickets += 1;
        now += 10;
    }
    calls
}

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<M, Order>;

/// How many alarms may ring in a calm: a few for each pair of nodes.
const ROUNDS: u32 = 30;

/// A world in which all is promised that the order of stamps promises, and nothing may go wrong but in the
/// network.
fn world<M: Twin<Database>>(
    name: &str,
    setting: Setting,
    clients: &[&str],
    make: impl Fn(Database) -> M,
) -> Model<M> {
    let mut world = World::new(name, setting.machines(make), Order::default());
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(letters, setting, &mut tickets));
    }
    world
        .doors(setting.doors())
        .always_told(REGULAR, |told| !told.ghost.breaches.of(REGULAR))
        .always_told(MONOTONIC, |told| !told.ghost.breaches.of(MONOTONIC))
        .always_told(RETURN_ONCE, |told| !told.ghost.breaches.of(RETURN_ONCE))
        .always(VISIBLE, move |snapshot| is_visible(snapshot, setting))
        .always(ONE_VERSION, a_write_is_one_version)
        .always_of_nodes(PLACEMENT, move |nodes| {
            only_replicas_have_it(nodes, setting)
        })
        // Each call under way needs its own alarm, once.
        .recovers_for_clients(
            CALLS_RETURN,
            clients.len().try_into().unwrap_or(u32::MAX),
            nobody_waits,
        )
        .sometimes_told("a read finds a write", |told| told.ghost.is_found)
        .sometimes_told("a read finds a write that has not returned", |told| {
            told.ghost.is_found_early
        })
}

/// True if however few replicas a read asks, one of them has the newest write that returned.
fn is_visible<M: Twin<Database>>(snapshot: &Snapshot<M, Order>, setting: Setting) -> bool {
    let Some(acknowledged) = snapshot.ghost.acknowledged else {
        return true;
    };
    let has_it = |disk: &Durable| {
        let swept = disk
            .fences
            .get(&setting.replicas())
            .and_then(|fence| fence.swept);
        disk.table.cell(KEY).stamp().max(swept) >= Some(acknowledged)
    };
    let holders = (snapshot.disks())
        .filter(|(node, disk)| setting.replicas().contains(*node) && has_it(disk))
        .count();
    setting.replicas - holders < setting.read.needed(setting.replicas)
}

/// True if each value, which is written once, has one stamp on all disks and in all messages.
fn a_write_is_one_version<M: Twin<Database>>(snapshot: &Snapshot<M, Order>) -> bool {
    let on_disks = (snapshot.disks()).flat_map(|(_, disk)| disk.table.cells.values());
    let in_messages = (snapshot.network.iter()).flat_map(|letter| match &letter.message {
        Message::Write { writes, .. } => writes.iter().map(|(_, cell)| cell).collect(),
        Message::Data { cell, .. } => vec![cell],
        _ => Vec::new(),
    });
    let mut known: Vec<(&str, Stamp)> = Vec::new();
    on_disks
        .chain(in_messages)
        .filter_map(Cell::version)
        .all(|version| {
            let Some(value) = &version.value else {
                return true;
            };
            let other = known.iter().find(|(other, _)| other == value);
            let is_same = other.is_none_or(|(_, stamp)| *stamp == version.stamp);
            if other.is_none() {
                known.push((value, version.stamp));
            }
            is_same
        })
}

fn only_replicas_have_it<M: Twin<Database>>(nodes: &[&Node<M>], setting: Setting) -> bool {
    let disks = (0..)
        .map(NodeId)
        .zip(nodes)
        .filter_map(|(id, node)| Some((id, node.durable()?)));
    (disks.into_iter())
        .all(|(id, disk)| setting.replicas().contains(id) || disk.table.cells.is_empty())
}

/// True if all replicas have the same.
fn have_converged<M: Twin<Database>>(snapshot: &Snapshot<M, Order>, setting: Setting) -> bool {
    let mut tables = (snapshot.disks())
        .filter(|(node, _)| setting.replicas().contains(*node))
        .map(|(_, disk)| &disk.table);
    let first = tables.next();
    tables.all(|table| Some(table) == first)
}

/// True if all replicas have at least the newest write that is anywhere: on a disk, in a hint or in a call.
fn have_arrived<M: Twin<Database>>(snapshot: &Snapshot<M, Order>, setting: Setting) -> bool {
    let minted = (snapshot.disks()).map(|(_, disk)| disk.time).max();
    let replicas = snapshot
        .disks()
        .filter(|(node, _)| setting.replicas().contains(*node));
    let newest = |disk: &Durable| disk.table.cell(KEY).stamp().map(|stamp| stamp.time);
    let mut disks = replicas.map(|(_, disk)| newest(disk).unwrap_or_default());
    disks.all(|time| Some(time) == minted)
}

/// True if the coordinator still waits for this node to say what it has.
fn awaits_data<M: Twin<Database>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    match task(node, operation) {
        Some(Task::Read {
            answered,
            seen,
            cell,
            ..
        }) => !answered.contains(member) || !seen.is_in(cell),
        Some(Task::Write { .. } | Task::Repair { .. } | Task::Transact(_)) | None => false,
    }
}

/// True if the coordinator still waits for this node to have a write, or keeps it for that.
fn awaits_written<M: Twin<Database>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    let hint = node.durable().and_then(|disk| disk.hints.get(&operation));
    let is_asked = match task(node, operation) {
        Some(Task::Write { stored, .. }) => !stored.contains(member),
        Some(Task::Repair { holders, .. }) => !holders.contains(member),
        // It will be asked, by the same name.
        Some(Task::Read { .. }) => true,
        Some(Task::Transact(_)) | None => false,
    };
    is_asked || hint.is_some_and(|hint| hint.missing.contains(member))
}

fn task<M: Twin<Database>>(node: &Node<M>, operation: Operation) -> Option<&Task> {
    let state = node.up()?;
    let pending = state.volatile.pending.get(&operation.number)?;
    (state.durable.incarnation == operation.incarnation).then_some(&pending.task)
}

/// True if it does not matter to the sender whether the message arrives: nobody waits for what it would bring
/// about.
fn sender_is_done<M: Twin<Database>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Write { operation, .. } => !awaits_written(from, *operation, letter.to),
        Message::Read { operation, .. } => !awaits_data(from, *operation, letter.to),
        Message::Written { .. } | Message::Data { .. } => true,
        _ => false,
    }
}

/// True if the receiver ignores the message, or only answers it. It rests on replicas that forget nothing, and
/// so on tombstones that stay.
fn receiver_is_done<M: Twin<Database>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    match &letter.message {
        Message::Read { .. } => true,
        Message::Data { operation, .. } => !awaits_data(to, *operation, letter.from),
        Message::Written { operation } => !awaits_written(to, *operation, letter.from),
        Message::Write { writes, .. } => (to.durable()).is_none_or(|disk| {
            writes
                .iter()
                .all(|(key, cell)| disk.table.cell(key).covers(cell))
        }),
        _ => false,
    }
}

/// A world of the right machine.
fn right(name: &str, setting: Setting, clients: &[&str]) -> Model<Database> {
    let world = world(name, setting, clients, |right| right)
        .purging(sender_is_done, receiver_is_done)
        // What is sent again is in the network already: it matters to *calls return* alone.
        .never("ring Retry");
    match setting.read_repair {
        ReadRepair::Blocking => world,
        ReadRepair::Off => world.except(MONOTONIC),
    }
}

/// A world of a flawed one. Nothing is forgotten in it unless that is said: a reduction made for the right
/// machine could hide the flaw.
fn flawed(flaw: Flaw, name: &str, setting: Setting, clients: &[&str]) -> Model<Flawed> {
    world(name, setting, clients, move |right| Flawed { right, flaw })
}

/// A world about what becomes of writes in the calm, and of nothing else.
fn healing<M: Twin<Database>>(
    name: &str,
    setting: Setting,
    clients: &[&str],
    make: impl Fn(Database) -> M,
) -> Model<M> {
    let mut world = World::new(name, setting.machines(make), Order::default());
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(letters, setting, &mut tickets));
    }
    world
        .doors(setting.doors())
        .always(ONE_VERSION, a_write_is_one_version)
        .recovers(CONVERGE, ROUNDS, move |snapshot| {
            nobody_waits(&snapshot.clients) && have_converged(snapshot, setting)
        })
        .sometimes("replicas differ", move |snapshot| {
            !have_converged(snapshot, setting)
        })
        .sometimes(
            "a write is at one replica alone, and returned",
            move |snapshot| {
                let has_it = |(_, disk): &(NodeId, &Durable)| !disk.table.cells.is_empty();
                snapshot.ghost.acknowledged.is_some()
                    && snapshot.disks().filter(has_it).count() == 1
            },
        )
}

/// The database, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "database",
        summary: "Dynamo and Cassandra: quorums, repair, hints, tombstones, transactions, sessions",
        worlds: [ordered(), healed()].into_iter().flatten().collect(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

/// Worlds of reads and writes.
fn ordered() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || {
            right("quorum", QUORUM, &["A", "rr"])
                .says("three replicas, two nodes apart; one client writes, another reads twice, all at QUORUM")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(0, 0, || {
            right("two-writers", QUORUM, &["A", "B", "r"])
                .says("two clients write, a third reads, all at QUORUM")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(0, 0, || {
            let here = Setting { apart: 0, ..QUORUM };
            right("replicas-coordinate", here, &["A", "r"])
                .says("three replicas that are themselves called; one client writes, another reads")
        }),
        Claimed::holds(0, 0, || {
            right("crash", QUORUM, &["A", "rr"])
                .says("the same as quorum, and any one node crashes and restarts")
                .symmetric(QUORUM.replicas())
                .crashes(QUORUM.nodes(), 1)
        }),
        Claimed::holds(0, 0, || {
            let levels = Setting {
                read: Level::One,
                write: Level::All,
                ..QUORUM
            };
            right("one-and-all", levels, &["A", "rr"])
                .says("writes at ALL, reads at ONE")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(0, 0, || {
            let levels = Setting {
                read: Level::All,
                write: Level::One,
                ..QUORUM
            };
            right("all-and-one", levels, &["A", "rr"])
                .says("writes at ONE, reads at ALL")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(0, 0, || {
            let levels = Setting {
                read: Level::Two,
                write: Level::Two,
                ..QUORUM
            };
            right("two-and-two", levels, &["AB", "r"])
                .says("writes and reads at TWO; one client writes twice")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(0, 0, || {
            right("no-read-repair", UNREPAIRED, &["A", "rr"])
                .says("reads repair nothing: regular all the same")
                .symmetric(QUORUM.replicas())
        }),
        Claimed::holds(0, 0, || {
            right("suspicions", ONE_DOOR, &["A", "r", "13"])
                .says("a failure detector suspects one replica, then all three, and none of it is true")
                .sometimes_told("a call is refused", |told| told.ghost.is_refused)
        }),
        Claimed::holds(0, 0, || {
            let impatient = Setting {
                patience: Some(1),
                apart: 1,
                ..QUORUM
            };
            right("impatience", impatient, &["A", "r"])
                .says("a call that was repeated once is given up")
                .symmetric(QUORUM.replicas())
                .sometimes_told("a call is given up", |told| told.ghost.is_failed)
        }),
    ]
}

/// Worlds of what heals.
fn healed() -> Vec<Box<dyn Exhibit>> {
    vec![Claimed::holds(0, 0, || {
        healing("anti-entropy", HEALED, &["A", "B"], |right| right)
            .says("two writes at ONE, one crash of any node, and nothing but anti-entropy")
            .purging(sender_is_done, receiver_is_done)
            .rings_late(|_| true)
            .crashes(HEALED.nodes(), 1)
    })]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    Vec::new()
}

fn weakened() -> Vec<Box<dyn Exhibit>> {
    Vec::new()
}
