//! What is claimed of [`quorate::database`]: its worlds, its promises, and the flaws that refute them.

use quorate::data::NodeSet;
use quorate::database::{
    Call, Cell, Change, Conflicts, Counting, Database, Durable, Event, Hints, Level, Message,
    Outcome, Placement, ReadRepair, Stamp, Timer, Token, Tombstones,
};
use quorate::machine::{Machine, NodeId, State};
use quorate::merkle::keyed::Shape;
use quorate::ring::{self, Member, Rack, Ring};

use crate::catalogue::Protocol;
use crate::flaw::Twin;
use crate::purge::{self, Discharged};
use crate::snapshot::{Node, Snapshot, nobody_waits};
use crate::symmetry;
use crate::world::World;

pub(crate) mod dead;
mod exhibits;
mod flaws;
mod order;
mod roaming;
mod serial;
mod sessions;
mod worlds;

use dead::{receiver_is_done, sender_is_done};
use flaws::{Flaw, Flawed};
pub(crate) use order::Order;
use roaming::Roaming;
pub(crate) use serial::Serial;
use sessions::Sessions;

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
/// In the calm all of a batch is at its replicas, or none.
pub const WHOLE: &str = "batches are whole in the end";
/// Writes whose clients had not read each other both stay.
pub const BESIDE_STAY: &str = "writes beside each other stay";
/// What was deleted is not read again.
pub const DELETED_STAYS: &str = "the deleted stays deleted";
/// Transactions take effect each at one moment between call and return.
pub const LINEARIZABLE: &str = "linearizable";
/// A read returns nothing older than the client's own writes.
pub const READ_YOUR_WRITES: &str = "sessions read their writes";
/// A read returns nothing older than the client's earlier reads.
pub const MONOTONIC_READS: &str = "reads of a session do not go back";
/// A write is later than the client's earlier writes.
pub const MONOTONIC_WRITES: &str = "writes of a session are in order";
/// A write is later than what the client has read.
pub const WRITES_FOLLOW_READS: &str = "writes of a session follow its reads";
/// The same of a replica: where a tombstone went, nothing older comes.
pub const SWEPT_STAYS: &str = "nothing comes back to a replica";
/// A write supersedes what had returned before it began. It is not promised.
pub const NEWER_WINS: &str = "later writes win";

/// The key of most worlds.
pub(crate) const KEY: &str = "x";

/// How a world is set up.
#[derive(Clone, Copy)]
struct Setting {
    /// The replicas, of all keys.
    replicas: usize,
    /// Nodes that are none. If there are any, the calls are made at them.
    apart: usize,
    /// How many of the replicas, the last ones, are in another data centre; with the last node apart, if
    /// there are two.
    far: usize,
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
    far: 0,
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

/// Only reads heal.
const READ_REPAIR_ALONE: Setting = Setting {
    read_repair: ReadRepair::Blocking,
    ..UNHEALED
};

/// Two ballots for each transaction.
const SERIAL: Setting = Setting {
    apart: 0,
    patience: Some(1),
    ..QUORUM
};

/// One ballot.
const HASTY: Setting = Setting {
    patience: Some(0),
    ..SERIAL
};

/// Tombstones stay.
const KEEPING: Setting = Setting {
    apart: 1,
    ..UNREPAIRED
};

/// Tombstones go.
const COLLECTING: Setting = Setting {
    anti_entropy: true,
    tombstones: Tombstones::Collected,
    ..KEEPING
};

/// The same of two replicas.
const COLLECTING_TWO: Setting = Setting {
    replicas: 2,
    ..COLLECTING
};

/// The same of two replicas that are themselves called.
const COLLECTING_HERE: Setting = Setting {
    apart: 0,
    ..COLLECTING_TWO
};

/// Writes that did not know each other stay beside each other.
const BESIDE: Setting = Setting {
    apart: 0,
    conflicts: Conflicts::Siblings,
    ..HEALED
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

    /// The nodes of the node's data centre.
    fn nearby(self, me: NodeId) -> NodeSet {
        let near = NodeSet::first(self.replicas - self.far);
        let mut there = self.replicas().difference(near);
        if self.far > 0 && self.apart == 2 {
            there.insert(NodeId((self.replicas + 1) as u64));
        }
        if there.contains(me) {
            there
        } else {
            self.nodes().difference(there)
        }
    }

    fn machines<M>(self, make: impl Fn(Database) -> M) -> Vec<M> {
        let machine = |me| {
            make(Database {
                me,
                placement: Placement::Whole(self.replicas()),
                nearby: self.nearby(me),
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
    let counted = setting
        .read
        .counted(setting.replicas(), setting.nearby(NodeId(0)));
    let holders = (snapshot.disks())
        .filter(|(node, disk)| counted.contains(*node) && has_it(disk))
        .count();
    counted.len() - holders < setting.read.needed(counted.len())
}

/// True if each value, which is written once, has one stamp on all disks and in all messages.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others carry no write of a client"
)]
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

/// A world about hints alone.
fn hinted<M: Twin<Database>>(
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
        .always_told(RETURN_ONCE, |told| !told.ghost.breaches.of(RETURN_ONCE))
        .recovers(HINTED, ROUNDS, move |snapshot| {
            nobody_waits(&snapshot.clients) && have_arrived(snapshot, setting)
        })
        // Their time is not over.
        .rings_late(|timer| *timer == Timer::Expire)
        .sometimes("a hint is all that is left of a call", |snapshot| {
            let is_left = |(_, state): (NodeId, &State<M>)| {
                state.volatile.pending.is_empty() && !state.durable.hints.is_empty()
            };
            snapshot.running().any(is_left)
        })
}

/// A world of a batch over two keys with one replica each, called at a third node.
fn batches<M: Twin<Database>>(name: &str, make: impl Fn(Database) -> M) -> Model<M> {
    let member = |node, key: &str| {
        let tokens = vec![ring::Token::of(key.as_bytes())];
        (
            NodeId(node),
            Member {
                rack: Rack(0),
                tokens,
            },
        )
    };
    let ring = Ring::new(1, [member(0, KEY), member(1, "y")]).expect("each key has its replica");
    let setting = Setting {
        replicas: 2,
        apart: 1,
        ..UNHEALED
    };
    let machines = setting.machines(|whole| {
        make(Database {
            placement: ring.clone().into(),
            ..whole
        })
    });
    let has = |snapshot: &Snapshot<M, Order>, node, key| {
        let node = snapshot.node(NodeId(node)).and_then(|node| node.durable());
        node.is_some_and(|disk| disk.table.cells.contains_key(key))
    };
    World::new(name, machines, Order::default())
        .client(script("a", setting, &mut 0))
        .doors(setting.doors())
        .always_of_nodes(PLACEMENT, move |nodes| {
            let cells = |place: usize| nodes[place].durable().map(|disk| &disk.table.cells);
            let only =
                |place, key| cells(place).is_none_or(|cells| cells.keys().all(|one| one == key));
            only(0, KEY) && only(1, "y") && cells(2).is_none_or(quorate::data::Map::is_empty)
        })
        .recovers(WHOLE, ROUNDS, move |snapshot| {
            nobody_waits(&snapshot.clients) && has(snapshot, 0, KEY) == has(snapshot, 1, "y")
        })
        .sometimes(
            "half of a batch is there, and its call is forgotten",
            move |snapshot| {
                has(snapshot, 0, KEY) != has(snapshot, 1, "y") && nobody_waits(&snapshot.clients)
            },
        )
        .crashes(setting.nodes(), 1)
        // What is sent again is in the network already.
        .never("ring Retry")
        .never("ring Deliver")
}

/// A world of two clients that write without having read.
fn beside<M: Twin<Database>>(
    name: &str,
    setting: Setting,
    make: impl Fn(Database) -> M,
) -> Model<M> {
    let mut tickets = 0;
    let world = World::new(name, setting.machines(make), Order::default())
        .client(script("A", setting, &mut tickets))
        .client(script("B", setting, &mut tickets));
    let shows_both = move |disk: &Durable| {
        let mut values = disk.table.cell(KEY).values();
        values.sort_unstable();
        values == ["A", "B"]
    };
    world
        .recovers(BESIDE_STAY, ROUNDS, move |snapshot| {
            nobody_waits(&snapshot.clients) && snapshot.disks().all(|(_, disk)| shows_both(disk))
        })
        .rings_late(|_| true)
        .sometimes(
            "a replica has one of two writes that returned",
            move |snapshot| {
                let all_returned = snapshot.clients.iter().all(|client| client.next == 1);
                let has_one = |disk: &Durable| disk.table.cell(KEY).values().len() == 1;
                all_returned && snapshot.disks().any(|(_, disk)| has_one(disk))
            },
        )
}

/// A world about tombstones, and when they may go.
fn collecting<M: Twin<Database>>(
    name: &str,
    setting: Setting,
    clients: &[&str],
    make: impl Fn(Database) -> M,
) -> Model<M> {
    world(name, setting, clients, make)
        .except(MONOTONIC)
        .except("a read finds a write")
        .except("a read finds a write that has not returned")
        .always_told(DELETED_STAYS, |told| !told.ghost.breaches.of(DELETED_STAYS))
        .always_of_nodes(SWEPT_STAYS, |nodes| {
            (nodes.iter().filter_map(|node| node.durable())).all(|disk| {
                let stamp = disk.table.cell(KEY).stamp();
                let is_back = |swept| stamp.is_some() && stamp <= swept;
                !disk.fences.values().any(|fence| is_back(fence.swept))
            })
        })
        .sometimes("a tombstone is gone", move |snapshot| {
            snapshot
                .disks()
                .any(|(_, disk)| disk.fences.values().any(|fence| fence.swept.is_some()))
        })
}

/// The database, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "database",
        summary: "Dynamo and Cassandra: quorums, repair, hints, tombstones, transactions, sessions",
        worlds: [worlds::ordered(), worlds::healed(), worlds::agreed()]
            .into_iter()
            .flatten()
            .collect(),
        flaws: [exhibits::flaws(), exhibits::weakened()]
            .into_iter()
            .flatten()
            .collect(),
    }
}

/// A client of transactions: a capital letter sets itself if there is nothing, a small one itself as a capital if
/// there is A; `s` reads so. `P` writes itself plainly, and `r` reads plainly.
pub(crate) fn serial_script(letters: &str, tickets: &mut u64) -> Vec<Call> {
    let call = |letter: char| {
        let (ticket, key, now, level) = (*tickets, KEY.to_owned(), 10, Level::Quorum);
        *tickets += 1;
        let token = Token::default();
        let new = Some(letter.to_ascii_uppercase().to_string());
        let expected = letter.is_ascii_lowercase().then(|| "A".to_owned());
        let change = match letter {
            'r' => {
                return Call::Read {
                    ticket,
                    key,
                    level,
                    token,
                };
            }
            'P' => {
                let writes = vec![(key, new)];
                return Call::Write {
                    ticket,
                    now,
                    writes,
                    level,
                    token,
                };
            }
            's' => None,
            _ => Some(Change { expected, new }),
        };
        Call::Transact {
            ticket,
            now,
            key,
            change,
        }
    };
    letters.chars().map(call).collect()
}

/// A world of transactions.
fn serial<M: Twin<Database>>(
    name: &str,
    setting: Setting,
    clients: &[&str],
    make: impl Fn(Database) -> M,
) -> World<M, Serial> {
    let mut world = World::new(name, setting.machines(make), Serial::default());
    let mut tickets = 0;
    for letters in clients {
        world = world.client(serial_script(letters, &mut tickets));
    }
    world
        .doors(setting.doors())
        .always_told(LINEARIZABLE, |told| told.ghost.is_linearizable)
        .always_told(RETURN_ONCE, |told| told.ghost.is_once)
        .sometimes_told("a change is applied", |told| {
            told.ghost.came(|outcome| *outcome == Outcome::Applied)
        })
}

/// A world of sessions without tokens: they break all four promises.
fn sessions(name: &str, clients: &[&str]) -> World<Database, Sessions> {
    let setting = UNHEALED;
    let mut world = World::new(name, setting.machines(|right| right), Sessions::default());
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(letters, setting, &mut tickets));
    }
    guaranteed(world.doors(setting.doors()))
}

fn guaranteed<M: Machine<Call = Call, Event = Event>>(
    world: World<M, Sessions>,
) -> World<M, Sessions> {
    world
        .always_told(READ_YOUR_WRITES, |told| {
            !told.ghost.breaches.of(READ_YOUR_WRITES)
        })
        .always_told(MONOTONIC_READS, |told| {
            !told.ghost.breaches.of(MONOTONIC_READS)
        })
        .always_told(MONOTONIC_WRITES, |told| {
            !told.ghost.breaches.of(MONOTONIC_WRITES)
        })
        .always_told(WRITES_FOLLOW_READS, |told| {
            !told.ghost.breaches.of(WRITES_FOLLOW_READS)
        })
        .sometimes_told("a client has written and read", |told| {
            told.ghost.is_mixed()
        })
}

/// A world of sessions with tokens, that go from node to node.
fn carrying(name: &str, setting: Setting, clients: &[&str]) -> World<Roaming, Sessions> {
    let mut tickets = 0;
    let scripts: Vec<Vec<Call>> = (clients.iter())
        .map(|letters| script(letters, setting, &mut tickets))
        .collect();
    let sessions: Vec<Vec<u64>> = (scripts.iter())
        .map(|calls| calls.iter().filter_map(order::ticket_of).collect())
        .collect();
    let doors = setting.doors();
    let machines = setting.machines(|database| Roaming {
        database,
        doors,
        sessions: sessions.clone(),
    });
    let world = World::new(name, machines, Sessions::default());
    let world = scripts.into_iter().fold(world, World::client).doors(doors);
    guaranteed(world)
        .purging(roaming::sender_is_done, roaming::receiver_is_done)
        .never("ring Retry")
}

/// What [`World::purging`] owes in small worlds, of the right machine and of the flawed ones that are purged.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let two = |setting: Setting| Setting {
        replicas: 2,
        apart: 1,
        ..setting
    };
    Ok(vec![
        purge::obligations(move || right("purged", two(QUORUM), &["A", "r"]))?,
        purge::obligations(move || right("purged", two(UNREPAIRED), &["A", "r"]))?,
        purge::obligations(move || {
            right("purged", two(UNHEALED), &["A", "r"]).crashes(NodeSet::first(3), 1)
        })?,
        purge::obligations(move || {
            flawed(
                Flaw::RepairAfterTheAnswer,
                "purged",
                two(QUORUM),
                &["A", "r"],
            )
            .purging(sender_is_done, receiver_is_done)
        })?,
    ])
}

/// The same of transactions.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations_of_transactions() -> Result<Discharged, String> {
    let two = Setting {
        replicas: 2,
        ..HASTY
    };
    purge::obligations(move || {
        serial("purged", two, &["A", "s"], |right| right).purging(sender_is_done, receiver_is_done)
    })
}

/// The same of collecting tombstones, with repair and without.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations_of_collection() -> Result<Vec<Discharged>, String> {
    let purged = |setting: Setting, clients: &'static [&'static str]| {
        purge::obligations(move || {
            collecting("purged", setting, clients, |right| right)
                .doors(NodeSet::first(1))
                .purging(sender_is_done, receiver_is_done)
        })
    };
    let unrepaired = Setting {
        anti_entropy: false,
        ..COLLECTING_HERE
    };
    Ok(vec![
        purged(unrepaired, &["A-"])?,
        purged(COLLECTING_HERE, &["-"])?,
    ])
}

/// The same, of a machine for which the rule is wrong: a write that is no news for the right machine is for one
/// that takes whatever arrives last. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    let two = Setting {
        replicas: 2,
        apart: 1,
        ..QUORUM
    };
    purge::obligations(move || {
        flawed(Flaw::StoreUnconditionally, "purged", two, &["A", "B"])
            .purging(sender_is_done, receiver_is_done)
    })
}

/// What the worlds whose replicas are alike owe for that, in smaller ones.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let alike = |setting: Setting, clients: &'static [&'static str]| {
        symmetry::obligations(move || {
            right("mirrored", setting, clients).symmetric(setting.replicas())
        })
    };
    let two = Setting {
        replicas: 2,
        ..QUORUM
    };
    Ok(vec![
        alike(ONE_DOOR, &["A", "r"])?,
        alike(two, &["A", "B", "r"])?,
    ])
}

/// The same of replicas that are called themselves: a stamp names its writer, and breaks ties by it. It must
/// fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn mirrored_wrongly() -> Result<symmetry::Discharged, String> {
    let here = Setting {
        replicas: 2,
        apart: 0,
        ..QUORUM
    };
    symmetry::obligations(move || right("mirrored", here, &["A", "B"]).symmetric(here.replicas()))
}
