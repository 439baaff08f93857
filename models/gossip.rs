//! What is claimed of [`quorate::gossip`]: its worlds, its promises, and the flaws that refute them.

use std::fmt;

use quorate::clock::{Dot, Vector, Version};
use quorate::data::{Map, NodeSet};
use quorate::gossip::{
    Call, Cell, Conflicts, Durable, Event, Exchange, Gossip, Message, Over, Timer, Value,
};
use quorate::machine::{Machine, NodeId};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::promise::Still;
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::world::{Disk, World};

mod flaws;

use flaws::{Flaw, Flawed};

/// What a node shows is a function of the writes that it has been told of.
pub const SAME_STATE: &str = "same writes, same state";
/// Every write that a node has seen is shown there, unless it is superseded.
pub const NOTHING_LOST: &str = "nothing is lost";
/// Nothing that is superseded or deleted is shown by a node that has seen by what.
pub const NO_RESURRECTION: &str = "no resurrection";
/// A write supersedes whatever its client had read or written at its node.
pub const EFFECTS_WIN: &str = "effects win";
/// What a node answers is never older than what it answered before.
pub const NOT_BACK: &str = "answers do not go back";
/// No call waits.
pub const AT_ONCE: &str = "answers at once";
/// In the calm all nodes come to have seen the same and to show the same, without tombstones.
pub const RECOVERY: &str = "recovery";
/// What a client is answered is never older than before, whichever nodes it asks. Not promised.
pub const CLIENT_NOT_BACK: &str = "reads of a client do not go back";

/// The one key of these worlds.
const KEY: &str = "x";

/// What was told: every write that was answered, and what each node and each client was shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    conflicts: Conflicts,
    /// What was asked for and is not answered, by ticket: who asks, and what it writes.
    asked: Map<u64, (u64, Option<Value>, bool)>,
    writes: Vec<Version<Value>>,
    /// The latest that was shown or written at each node.
    at_node: Map<NodeId, Vec<Dot>>,
    /// The latest that was shown to each client or written by it.
    to_client: Map<u64, Vec<Dot>>,
    effects_win: bool,
    not_back: bool,
    client_not_back: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.writes.is_empty() {
            write!(f, "nothing was written")?;
        }
        for (place, version) in self.writes.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            match &version.value {
                Some(value) => write!(f, "{separator}{value} is {:?}", version.dot)?,
                None => write!(f, "{separator}{:?} deletes", version.dot)?,
            }
            if !version.past.is_empty() {
                write!(f, " over {:?}", version.past)?;
            }
        }
        let mistakes = [
            (self.effects_win, "a write lost to what its client knew"),
            (self.not_back, "a node answered something older"),
            (self.client_not_back, "a client read something older"),
        ];
        for (_, words) in mistakes.iter().filter(|(right, _)| !right) {
            write!(f, "; {words}")?;
        }
        Ok(())
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Ledger {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Put { ticket, .. } | Call::Delete { ticket, .. } | Call::Get { ticket, .. }) =
            call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        let (Event::Done { ticket, .. }
        | Event::Got { ticket, .. }
        | Event::Refused { ticket, .. }) = event;
        Some(*ticket)
    }

    fn on_call(&mut self, client: usize, _: NodeId, call: &Call) {
        let client = client as u64;
        let (ticket, write, knows) = match call {
            Call::Put {
                ticket,
                value,
                over,
                ..
            } => (ticket, Some(Some(value.clone())), *over == Over::Here),
            Call::Delete { ticket, over, .. } => (ticket, Some(None), *over == Over::Here),
            Call::Get { ticket, .. } => (ticket, None, true),
        };
        self.asked.insert(*ticket, (client, write, knows));
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Done { ticket, dot, past } => {
                let Some((client, Some(value), knows)) = self.asked.remove(ticket) else {
                    return;
                };
                let version = Version {
                    dot: *dot,
                    past: past.clone(),
                    value,
                };
                self.writes.push(version);
                self.writes.sort_unstable_by_key(|write| write.dot);
                let shown = self.at_node.get(&node).cloned().unwrap_or_default();
                // A blind write knows of nothing but where the last one wins.
                if knows || self.conflicts == Conflicts::LastWriterWins {
                    self.effects_win &= shown.iter().all(|old| self.supersedes(*old, *dot));
                }
                let mut now = shown;
                now.push(*dot);
                self.at_node.insert(node, self.latest(now));
                let mut read = self.to_client.get(&client).cloned().unwrap_or_default();
                read.push(*dot);
                self.to_client.insert(client, self.latest(read));
            }
            Event::Got { ticket, values, .. } => {
                let Some((client, ..)) = self.asked.remove(ticket) else {
                    return;
                };
                let shown: Vec<Dot> = (self.writes.iter())
                    .filter(|write| write.value.as_ref().is_some_and(|v| values.contains(v)))
                    .map(|write| write.dot)
                    .collect();
                let before = self.at_node.get(&node).cloned().unwrap_or_default();
                self.not_back &= self.is_not_older(&before, &shown);
                let all = before.into_iter().chain(shown.iter().copied()).collect();
                self.at_node.insert(node, self.latest(all));
                let before = self.to_client.get(&client).cloned().unwrap_or_default();
                self.client_not_back &= self.is_not_older(&before, &shown);
                let all = before.into_iter().chain(shown).collect();
                self.to_client.insert(client, self.latest(all));
            }
            Event::Refused { ticket, .. } => {
                self.asked.remove(ticket);
            }
        }
    }
}

impl Ledger {
    fn new(conflicts: Conflicts) -> Self {
        Self {
            conflicts,
            asked: Map::new(),
            writes: Vec::new(),
            at_node: Map::new(),
            to_client: Map::new(),
            effects_win: true,
            not_back: true,
            client_not_back: true,
        }
    }

    fn write(&self, dot: Dot) -> Option<&Version<Value>> {
        self.writes.iter().find(|write| write.dot == dot)
    }

    /// True if `new` comes after `old` in the declared order.
    fn supersedes(&self, old: Dot, new: Dot) -> bool {
        match (self.write(old), self.write(new)) {
            (Some(old), Some(new)) => self.conflicts.is_superseded(old, new),
            (None, _) | (_, None) => false,
        }
    }

    /// Those that none of the others supersedes.
    fn latest(&self, dots: Vec<Dot>) -> Vec<Dot> {
        let all = dots.clone();
        let is_last = |dot: &Dot| !all.iter().any(|other| self.supersedes(*dot, *other));
        let mut latest: Vec<Dot> = dots.into_iter().filter(is_last).collect();
        latest.sort_unstable();
        latest.dedup();
        latest
    }

    /// True if whoever was shown `before` may be shown `now`: nothing that was superseded, and of what
    /// is not shown any more, each is a tombstone or there is something that supersedes it.
    fn is_not_older(&self, before: &[Dot], now: &[Dot]) -> bool {
        let older = |dot: &Dot| before.iter().any(|new| self.supersedes(*dot, *new));
        let gone = |dot: &&Dot| !now.contains(dot);
        let excused = |dot: &Dot| {
            let is_tombstone = self.write(*dot).is_some_and(|write| write.value.is_none());
            is_tombstone || (self.writes.iter()).any(|new| self.supersedes(*dot, new.dot))
        };
        !now.iter().any(older) && before.iter().filter(gone).all(excused)
    }

    /// The writes that a node has been told of: those it has seen, those it has, and those that are
    /// superseded by what it has.
    fn told_of(&self, disk: &Durable) -> Vec<Dot> {
        let cell = disk.cell(KEY);
        let known = |write: &&Version<Value>| {
            disk.seen.covers(write.dot)
                || cell.versions().iter().any(|version| {
                    version.dot == write.dot || self.supersedes(write.dot, version.dot)
                })
        };
        self.writes
            .iter()
            .filter(known)
            .map(|write| write.dot)
            .collect()
    }

    /// What the node ought to show.
    fn ought(&self, disk: &Durable) -> Vec<String> {
        let latest = self.latest(self.told_of(disk));
        let mut values: Vec<String> = (latest.into_iter())
            .filter_map(|dot| self.write(dot)?.value.clone())
            .collect();
        values.sort_unstable();
        values
    }
}

fn shown(disk: &Durable) -> Vec<String> {
    let mut values = disk.values(KEY);
    values.sort_unstable();
    values
}

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<M, Ledger>;

/// The configuration of a world.
#[derive(Clone, Copy)]
struct Setting {
    nodes: usize,
    conflicts: Conflicts,
    exchange: Option<Exchange>,
    batch_max: u32,
    interest: u32,
}

const fn last_writer(nodes: usize, exchange: Exchange) -> Setting {
    Setting {
        nodes,
        conflicts: Conflicts::LastWriterWins,
        exchange: Some(exchange),
        batch_max: 8,
        interest: 0,
    }
}

const fn siblings(nodes: usize, exchange: Exchange) -> Setting {
    Setting {
        conflicts: Conflicts::Siblings,
        ..last_writer(nodes, exchange)
    }
}

const TWO: Setting = last_writer(2, Exchange::Pull);
const THREE: Setting = last_writer(3, Exchange::Pull);

/// The calls of one client. A capital puts itself over what the node has, a small letter itself over
/// nothing, `-` deletes what the node has, `?` reads.
fn script(letters: &str, tickets: &mut u64) -> Vec<Call> {
    let call = |letter: char| {
        let ticket = *tickets;
        *tickets += 1;
        let key = KEY.to_owned();
        let over = match letter {
            'a'..='z' => Over::Read(Vector::new()),
            _ => Over::Here,
        };
        match letter {
            '?' => Call::Get { ticket, key },
            '-' => Call::Delete { ticket, key, over },
            value => Call::Put {
                ticket,
                key,
                value: value.to_string(),
                over,
            },
        }
    };
    letters.chars().map(call).collect()
}

/// How many alarms may ring in a calm: a few for each pair.
const ROUNDS: u32 = 30;

/// A world in which everything is promised that gossip promises.
fn world<M: Twin<Gossip>>(
    name: &str,
    setting: Setting,
    clients: &[&str],
    make: impl Fn(Gossip) -> M,
) -> Model<M> {
    let members = NodeSet::first(setting.nodes);
    let machine = |me| {
        make(Gossip {
            me,
            members,
            conflicts: setting.conflicts,
            exchange: setting.exchange,
            batch_max: setting.batch_max,
            interest: setting.interest,
        })
    };
    let machines = members.iter().map(machine).collect();
    let mut world = World::new(name, machines, Ledger::new(setting.conflicts));
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(letters, &mut tickets));
    }
    let all = clients.concat();
    let world = world
        .always_still(SAME_STATE, |still| {
            of_pairs(still, |ledger, one, other| {
                ledger.told_of(one) != ledger.told_of(other) || shown(one) == shown(other)
            })
        })
        .always_still(NOTHING_LOST, |still| {
            of_disks(still, |ledger, disk| {
                let shown = shown(disk);
                ledger.ought(disk).iter().all(|value| shown.contains(value))
            })
        })
        .always_told(EFFECTS_WIN, |told| told.ghost.effects_win)
        .always_told(AT_ONCE, |told| nobody_waits(told.clients))
        .recovers(RECOVERY, ROUNDS, move |snapshot| {
            // Who hears rumours alone never knows that it has heard all of them.
            setting
                .exchange
                .map_or_else(|| shows_all(snapshot), |_| everyone_agrees(snapshot))
        })
        .always_still(NO_RESURRECTION, |still| {
            of_disks(still, |ledger, disk| {
                let ought = ledger.ought(disk);
                shown(disk).iter().all(|value| ought.contains(value))
            })
        })
        .sometimes_still("a write reaches another node", |still| {
            let writes = &still.ghost().writes;
            writes.iter().any(|write| {
                let mut others = still.disks().filter(|(id, _)| *id != write.dot.node);
                others.any(|(_, disk)| disk.cell(KEY).versions().contains(write))
            })
        });
    let world = if all.contains('?') {
        world
            .always_told(NOT_BACK, |told| told.ghost.not_back)
            .always_told(CLIENT_NOT_BACK, |told| told.ghost.client_not_back)
    } else {
        world
    };
    let world = if all.contains('-') {
        world.sometimes_still("a tombstone is collected", |still| {
            let deletes = still.ghost().writes.iter().filter(|w| w.value.is_none());
            deletes.clone().count() > 0
                && still.disks().any(|(_, disk)| {
                    disk.cells.is_empty() && deletes.clone().all(|w| disk.seen.covers(w.dot))
                })
        })
    } else {
        world
    };
    if setting.conflicts == Conflicts::Siblings {
        return world.sometimes_still("siblings stand beside each other", |still| {
            still.disks().any(|(_, disk)| shown(disk).len() > 1)
        });
    }
    world
}

fn of_disks<M: Twin<Gossip>>(
    still: &Still<'_, M, Ledger>,
    is: impl Fn(&Ledger, &Durable) -> bool,
) -> bool {
    still.disks().all(|(_, disk)| is(still.ghost(), disk))
}

fn of_pairs<M: Twin<Gossip>>(
    still: &Still<'_, M, Ledger>,
    is: impl Fn(&Ledger, &Durable, &Durable) -> bool,
) -> bool {
    of_disks(still, |ledger, one| {
        still.disks().all(|(_, other)| is(ledger, one, other))
    })
}

/// True if every node runs, and shows the latest of all writes.
fn shows_all<M: Twin<Gossip>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    let ledger = &snapshot.ghost;
    let latest = ledger.latest(ledger.writes.iter().map(|write| write.dot).collect());
    let values = latest
        .into_iter()
        .filter_map(|dot| ledger.write(dot)?.value.clone());
    let mut values: Vec<String> = values.collect();
    values.sort_unstable();
    let mut all = snapshot.nodes.iter();
    all.all(|node| {
        node.up()
            .is_some_and(|state| shown(&state.durable) == values)
    })
}

/// Goal of *recovery*: that, and all have seen the same, and no tombstone is left.
fn everyone_agrees<M: Twin<Gossip>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    let disks: Vec<&Durable> = snapshot
        .running()
        .map(|(_, state)| &state.durable)
        .collect();
    let has_tombstone = |disk: &&Durable| {
        let mut versions = disk.cells.values().flat_map(Cell::versions);
        versions.any(|version| version.value.is_none())
    };
    shows_all(snapshot)
        && disks.windows(2).all(|pair| pair[0] == pair[1])
        && !disks.iter().any(has_tombstone)
}

/// True if the sender of a digest has seen more of others since, so that no answer is taken.
fn sender_is_done<M: Twin<Gossip>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Digest { seen, .. } => is_closed(seen, letter.from, from),
        Message::Delta { .. } => true,
        Message::Rumour { .. }
        | Message::Known { .. }
        | Message::Ask { .. }
        | Message::Tell { .. } => false,
    }
}

/// True if the receiver learns nothing by it. What a digest tells it would forget in a crash; so in
/// worlds with crashes a digest that told something never is dead.
fn receiver_is_done<M: Twin<Gossip>>(
    letter: &Letter<Message>,
    to: &Node<M>,
    nodes: usize,
    crashes: u32,
) -> bool {
    match &letter.message {
        Message::Digest { exchange, seen, .. } => {
            let times = NodeSet::first(nodes).iter().map(|node| seen.get(node));
            let horizon = times.min().unwrap_or(0);
            let heard = to
                .up()
                .and_then(|state| state.volatile.heard.get(&letter.from));
            let knows =
                horizon == 0 || (crashes == 0 && heard.is_some_and(|heard| horizon <= *heard));
            let has = to.durable().is_some_and(|disk| disk.seen.dominates(seen));
            knows && (*exchange == Exchange::Pull || has)
        }
        Message::Delta { question, .. } => is_closed(question, letter.to, to),
        Message::Rumour { .. }
        | Message::Known { .. }
        | Message::Ask { .. }
        | Message::Tell { .. } => false,
    }
}

/// True if the node has seen more of others than when it asked this.
fn is_closed<M: Twin<Gossip>>(question: &Vector, me: NodeId, node: &Node<M>) -> bool {
    let Some(disk) = node.durable() else {
        return false;
    };
    (disk.seen.iter()).any(|(other, time)| other != me && question.get(other) != time)
}

/// A world of the right machine.
fn right(name: &str, setting: Setting, clients: &[&str], crashes: u32) -> Model<Gossip> {
    let nodes = setting.nodes;
    let mut world = world(name, setting, clients, |right| right)
        .crashes(NodeSet::first(nodes), crashes)
        .purging(sender_is_done, move |letter, to| {
            receiver_is_done(letter, to, nodes, crashes)
        });
    if clients.concat().contains('?') {
        world = world.except(CLIENT_NOT_BACK);
    }
    world
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(
    flaw: Flaw,
    name: &str,
    setting: Setting,
    clients: &[&str],
    crashes: u32,
) -> Model<Flawed> {
    world(name, setting, clients, move |right| Flawed { right, flaw })
        .crashes(NodeSet::first(setting.nodes), crashes)
}

/// Gossip, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "gossip",
        summary: "gossip: everyone answers at once, and all come to agree",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

/// Three nodes, of which clients ask the first alone.
fn one_door<M: Twin<Gossip>>(world: Model<M>) -> Model<M> {
    world.doors([NodeId(0)].into_iter().collect())
}

/// Two clients ask the first two nodes, of which alone others pull before the calm.
fn two_are_asked<M: Twin<Gossip>>(world: Model<M>) -> Model<M> {
    world
        .doors(NodeSet::first(2))
        .rings_late(|timer| *timer == Timer::Gossip(NodeId(2)))
}

const STAR: Setting = last_writer(3, Exchange::PushPull);

/// Before the calm all compare notes with the first node alone.
fn star<M: Twin<Gossip>>(world: Model<M>) -> Model<M> {
    world.rings_late(|timer| *timer != Timer::Gossip(NodeId(0)))
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let small = Setting {
        batch_max: 1,
        ..siblings(2, Exchange::Pull)
    };
    let rumours = Setting { interest: 1, ..TWO };
    vec![
        Claimed::holds(151_798, 1_123_235, || {
            one_door(right("three", THREE, &["A"], 0))
                .says("three nodes that pull; one client puts at the first")
        }),
        Claimed::holds(151_798, 1_123_235, || {
            one_door(right("three-delete", THREE, &["-"], 0))
                .says("three nodes that pull; one client deletes at the first")
        }),
        Claimed::holds(483_166, 3_600_461, || {
            one_door(right("three-crash", THREE, &["A"], 1))
                .crashes(NodeSet::first(2), 1)
                .says(
                    "three nodes that pull, and one crash, of the first or of one of the other two, \
                     which are alike; one client puts at the first",
                )
        }),
        Claimed::holds(455_394, 2_991_603, || {
            one_door(right("three-cut", THREE, &["A"], 0))
                .says(
                    "three nodes that pull, of which the first is cut off once, before its client \
                     puts or after",
                )
                .cuts(vec![Cut::Isolate(NodeId(0))], 1)
        }),
        Claimed::holds(222_108, 1_264_301, || {
            two_are_asked(right("three-writers", THREE, &["A", "B"], 0))
                .says("three nodes that pull from the first two alone; two clients put at these")
        }),
        Claimed::holds(130_158, 672_097, || {
            star(right("star", STAR, &["A", "B"], 0)).says(
                "three nodes, of which two push to the first and pull from it; two clients put anywhere",
            )
        }),
        Claimed::holds(130_158, 672_097, || {
            star(right("star-delete", STAR, &["A", "-"], 0))
                .says("the same, and one of the clients deletes instead")
        }),
        Claimed::holds(961_548, 5_218_595, || {
            star(right("star-crash", STAR, &["A", "B"], 1))
                .says("the same with one crash of any, and nobody deletes")
        }),
        Claimed::holds(277_722, 1_804_635, || {
            right("two", TWO, &["A-", "B"], 0)
                .says("two nodes that pull; the last writer wins; two clients put, one deletes")
        }),
        Claimed::holds(1_332, 4_205, || {
            right("reads", TWO, &["A?", "?"], 0)
                .says("two nodes that pull; one client puts and gets, another gets")
        }),
        Claimed::holds(36_353, 152_987, || {
            right("crash", TWO, &["A-?"], 1).says(
                "two nodes that pull, and one crash of any; one client puts, deletes and gets",
            )
        }),
        Claimed::holds(14_184, 48_889, || {
            right("cut", TWO, &["A-"], 0)
                .says("two nodes that pull, and one cut of any shape; one client puts and deletes")
                .cuts(Cut::all(2), 1)
        }),
        Claimed::holds(254_702, 1_313_755, || {
            right("push", last_writer(2, Exchange::Push), &["A-", "B"], 0)
                .says("two nodes that push; two clients put, one deletes")
        }),
        Claimed::holds(7_688, 37_303, || {
            right("push-pull", last_writer(2, Exchange::PushPull), &["A-"], 0)
                .says("two nodes that push and pull; one client puts and deletes")
        }),
        Claimed::holds(6_664, 31_479, move || {
            right("rumours", rumours, &["A"], 0)
                .says("two nodes that pull and spread rumours; one client puts")
        }),
        Claimed::holds(278_166, 1_805_851, || {
            right("siblings", siblings(2, Exchange::Pull), &["a-", "b"], 0)
                .says("two nodes that keep siblings; two clients put blindly, one of them deletes")
        }),
        Claimed::holds(11_285, 58_527, move || {
            right("small-batches", small, &["ab"], 0)
                .says("two nodes that keep siblings and tell one version at a time; two blind puts")
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(SAME_STATE, 5, || {
            flawed(Flaw::NoTieBreak, "no-tie-break", TWO, &["A", "B"], 0)
                .says("of two writes of one time the one that is there stays, as in the textbook: n0 goes on showing A, and n1 B")
        }),
        Claimed::falls(SAME_STATE, 8, || {
            flawed(
                Flaw::RemoteWinsTies,
                "remote-wins-ties",
                TWO,
                &["A", "B"],
                0,
            )
            .says("of two writes of one time the one that comes wins: n0 and n1 exchange values, and agree on none")
        }),
        Claimed::falls(NOTHING_LOST, 5, || {
            flawed(Flaw::ArrivalWins, "arrival-wins", TWO, &["A", "B"], 0).says(
                "what comes last wins, whatever its time: B, which is later, is nowhere any more",
            )
        }),
        Claimed::falls(NOTHING_LOST, 5, || {
            flawed(
                Flaw::ArrivalWins,
                "arrival-wins-siblings",
                siblings(2, Exchange::Pull),
                &["a", "b"],
                0,
            )
            .says("siblings: what comes last replaces what is there, read or not: a is nowhere any more")
        }),
        Claimed::falls(EFFECTS_WIN, 6, || {
            flawed(
                Flaw::BusyWritersWin,
                "busy-writers-win",
                TWO,
                &["AB", "?C"],
                0,
            )
            .says("each node counts its own writes and nobody else's, as in the textbook")
        }),
        Claimed::falls(NO_RESURRECTION, 5, || {
            flawed(Flaw::NoTombstones, "no-tombstones", TWO, &["A-"], 0)
                .says("a delete takes the key out and leaves nothing, as in the textbook: n0 is given all that n1 has, and goes on showing A")
        }),
        Claimed::falls(NO_RESURRECTION, 8, || {
            flawed(Flaw::CollectsAlone, "collects-alone", TWO, &["A-"], 0)
                .says("a tombstone goes when its own node has seen all writes before it: n0 never hears of the delete, and goes on showing A")
        }),
        Claimed::falls(NO_RESURRECTION, 13, || {
            one_door(flawed(
                Flaw::CollectsWithOne,
                "collects-with-one",
                THREE,
                &["A-"],
                0,
            ))
            .says("a tombstone goes when one other node turns out to have it, and not every other: n2 never hears of the delete, and goes on showing A")
        }),
        Claimed::falls(NO_RESURRECTION, 10, || {
            flawed(Flaw::TakesLateCopies, "takes-late-copies", TWO, &["A-"], 0).says(
                "when the tombstone is gone, a late copy of what it deleted is taken for news",
            )
        }),
        Claimed::falls(NO_RESURRECTION, 7, || {
            flawed(
                Flaw::TombstonesNotKept,
                "tombstones-not-kept",
                TWO,
                &["A-"],
                1,
            )
            .says("values are on the disk, tombstones are not: n1 forgets the delete, and n0 goes on showing A")
        }),
        Claimed::falls(NOT_BACK, 4, || {
            flawed(Flaw::NothingKept, "nothing-kept", TWO, &["A?"], 1)
                .says("nothing is on the disk, as in the textbook")
        }),
        Claimed::falls(NOTHING_LOST, 5, || {
            let small = Setting {
                batch_max: 1,
                ..siblings(2, Exchange::Pull)
            };
            flawed(Flaw::PartForAll, "part-for-all", small, &["ab"], 0).says(
                "siblings: the first part of an answer is taken for all of it: n0 is never given b",
            )
        }),
        Claimed::falls(AT_ONCE, 1, || {
            flawed(
                Flaw::AnswersWithAMajority,
                "answers-with-a-majority",
                THREE,
                &["A"],
                0,
            )
            .says("a node answers once it has heard from a majority: until then its client waits")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    let right =
        |name: &str, setting, clients: &[&str]| world(name, setting, clients, |right| right);
    vec![
        Claimed::falls(RECOVERY, 2, move || {
            let rumours = Setting {
                exchange: None,
                interest: 1,
                ..THREE
            };
            right("rumours-alone", rumours, &["A"])
                .says("rumours and no anti-entropy: who crashes has no rumour to spread any more")
                .crashes(NodeSet::first(3), 1)
        }),
        Claimed::falls(CLIENT_NOT_BACK, 2, move || {
            right("moving-client", TWO, &["A?"])
                .says("a client that reads at whichever node answers, as the textbook's does")
        }),
        Claimed::falls(NOT_BACK, 4, move || {
            right("lying-disk", TWO, &["A?"])
                .says("a disk forgets what it acknowledged")
                .crashes(NodeSet::first(2), 1)
                .disk(Disk::Lying)
        }),
    ]
}

/// What [`World::purging`] owes in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    Ok(vec![
        purge::obligations(|| right("purged", TWO, &["A-"], 0))?,
        purge::obligations(|| right("purged", TWO, &["A"], 1))?,
        purge::obligations(|| right("purged", last_writer(2, Exchange::PushPull), &["A"], 0))?,
    ])
}

/// The same, of a machine for which the rule is wrong: to one that takes late copies, no answer is dead.
/// It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| {
        flawed(Flaw::TakesLateCopies, "purged", TWO, &["A-"], 0)
            .purging(sender_is_done, |letter, to| {
                receiver_is_done(letter, to, 2, 0)
            })
    })
}
