//! What is claimed of [`quorate::cap`]: its worlds, its promises, and the flaws that refute them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::cap::{Call, Cap, Durable, Goal, Level, Message, Operation, Pending, Phase, Setting};
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use crate::action::Cut;
use crate::calm;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::promise::Condition;
use crate::purge::{self, Discharged};
use crate::snapshot::{Client, Letter, Node, Snapshot, nobody_waits};
use crate::world::{Disk, World};

mod flaws;
mod ledger;
mod sessions;
mod weather;

use flaws::{Flaw, Flawed};
pub use ledger::Ledger;
use ledger::Watch;
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

/// The operation, if it is under way at this node.
fn under_way<M: Twin<Cap>>(node: &Node<M>, operation: Operation) -> Option<(&Durable, &Pending)> {
    let state = node.up()?;
    let pending = state.volatile.pending.get(&operation.number)?;
    (state.durable.incarnation == operation.incarnation).then_some((&state.durable, pending))
}

/// True if an answer of this member counts: it was not counted, and nobody else leads by now.
fn awaits_answer<M: Twin<Cap>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    under_way(node, operation).is_some_and(|(disk, pending)| {
        disk.epoch == pending.epoch
            && matches!(pending.phase, Phase::Ask { answered, .. } if !answered.contains(member))
    })
}

/// True if it does not matter to the sender whether the message arrives. An answer of the member that
/// was asked may still teach it a later epoch, until the operation is over.
fn sender_is_done<M: Twin<Cap>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Ask { operation, .. } | Message::Store { operation, .. } => {
            under_way(from, *operation).is_none()
        }
        Message::Answer { .. }
        | Message::Stored { .. }
        | Message::Behind { .. }
        | Message::Spread { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
fn receiver_is_done<M: Twin<Cap>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    let Some(disk) = to.durable() else {
        return false;
    };
    match &letter.message {
        Message::Ask { epoch, .. } => *epoch <= disk.epoch,
        Message::Store { key, version, .. } => {
            version.tag.epoch < disk.epoch
                || (version.tag.epoch == disk.epoch && version.tag <= disk.version(key).tag)
        }
        Message::Spread { versions } => {
            let has = |(key, version): &(String, _)| {
                let version: &quorate::cap::Version = version;
                version.tag <= disk.version(key).tag
            };
            versions.iter().all(has)
        }
        Message::Answer { operation, .. } => !awaits_answer(to, *operation, letter.from),
        Message::Stored { operation } => !under_way(to, *operation).is_some_and(|(_, pending)| {
            matches!(pending.phase, Phase::Store { stored } if !stored.contains(letter.from))
        }),
        Message::Behind { operation, epoch } => {
            under_way(to, *operation).is_none_or(|(disk, pending)| {
                let is_put_under_way =
                    pending.goal != Goal::Get && matches!(pending.phase, Phase::Store { .. });
                *epoch <= disk.epoch && (is_put_under_way || pending.epoch == disk.epoch)
            })
        }
    }
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
    consistent(name, 3, CP, clients, move |right| Flawed { right, flaw }).purging(
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

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(25_717, 129_772, || {
            cp("cp", CP, &["A", "?"], NONE).says("CP: three nodes; one client puts, another gets")
        }),
        Claimed::holds(234_707, 1_284_989, || {
            cp("cp-two-gets", CP_ONCE, &["A", "??"], NONE)
                .says("CP: three nodes; one client puts, another gets twice")
        }),
        Claimed::holds(963_956, 5_061_367, || {
            cp("cp-crash-and-cut", CP_ONCE, &["A", "?"], BOTH_FAULTS)
                .says("CP: the same with one get, one crash of any, and one cut of any shape")
        }),
        Claimed::holds(559_431, 3_185_895, || {
            cp("cp-two-writers", CP_ONCE, &["A", "B?"], NONE)
                .says("CP: three nodes; two clients put, one of them gets")
        }),
        Claimed::holds(474_298, 1_645_019, || {
            cp("cp-in-a-row", CP_ONCE, &["A-?"], CRASH)
                .says("CP: three nodes, one crash of any; one client puts, deletes and gets")
        }),
        Claimed::holds(1, 1, || {
            served(MAJORITY_SERVES, Whom::Majorities, || {
                let world = bare("cp-majority", 3, CP, &["A?"], Watch::History, |right| right);
                faulty(world, BOTH_FAULTS)
            })
            .purging(sender_is_done, receiver_is_done)
            .says(
                "CP: three nodes, one crash of any, one cut of any shape; one client puts and gets",
            )
        }),
        Claimed::holds(1, 1, || {
            majorities("majorities", &["A", "??"]).says(
                "nobody leads, and each call hears a majority; one client puts, another gets twice",
            )
        }),
        Claimed::holds(1_351, 4_009, || {
            ap("ap", 3, &["A", "B"], NONE).says("AP: three nodes; two clients put")
        }),
        Claimed::holds(22_988, 96_919, || {
            ap("ap-crash-and-cut", 3, &["A?"], BOTH_FAULTS).says(
                "AP: three nodes, one crash of any and one cut of any shape; a client puts and gets",
            )
        }),
        Claimed::holds(237_546, 790_759, || {
            ap("ap-two-nodes", 2, &["A-?", "B?"], BOTH_FAULTS).says(
                "AP: two nodes, one crash of any and one cut of any shape; two clients put and get, \
                 one deletes",
            )
        }),
    ]
}

fn flaws_of_cp() -> Vec<Box<dyn Exhibit>> {
    let falls = |steps,
                 promise,
                 flaw,
                 name: &'static str,
                 clients: &'static [&'static str],
                 faults,
                 says| {
        Claimed::falls(promise, steps, move || {
            flawed_cp(flaw, name, clients, faults).says(says)
        })
    };
    let unserved = |steps, flaw, name: &'static str, faults, says| {
        Claimed::falls(MAJORITY_SERVES, steps, move || {
            let make = move |right| Flawed { right, flaw };
            served(MAJORITY_SERVES, Whom::Majorities, || {
                faulty(bare(name, 3, CP, &["?"], Watch::History, make), faults)
            })
            .says(says)
        })
    };
    vec![
        falls(
            4,
            MINORITY,
            Flaw::OnlyTheReachable,
            "majority-of-the-reachable",
            &["A"],
            NONE,
            "who does not answer in time is taken for dead, as in the textbook",
        ),
        falls(
            6,
            LINEARIZABLE,
            Flaw::GetCountsNothing,
            "get-counts-nothing",
            &["A?"],
            NONE,
            "a get is answered from what is here; the textbook's asks, and counts nobody",
        ),
        falls(
            7,
            LINEARIZABLE,
            Flaw::NoWriteBack,
            "no-write-back",
            &["A", "??"],
            NONE,
            "a get is answered before what it shows is stored again, as in the textbook",
        ),
        falls(
            8,
            LINEARIZABLE,
            Flaw::LeadsWithoutAsking,
            "leads-without-asking",
            &["A?"],
            NONE,
            "a leader takes its own copy for what its predecessor left",
        ),
        falls(
            6,
            MINORITY,
            Flaw::DiscardedIsAcknowledged,
            "discarded-is-acknowledged",
            &["A", "B"],
            NONE,
            "a member discards what a deposed leader wrote and acknowledges it, as in the textbook",
        ),
        falls(
            7,
            REFUSED,
            Flaw::EffectDenied,
            "effect-denied",
            &["A", "?"],
            NONE,
            "a put that was sent is refused as if it had no effect, as in the textbook",
        ),
        unserved(
            2,
            Flaw::FixedLeader,
            "fixed-leader",
            CRASH,
            "without n0 nobody leads, as in the textbook, which elects no other",
        ),
        unserved(
            1,
            Flaw::AbsenceIsNoAnswer,
            "absence-is-no-answer",
            NONE,
            "a node without a value is taken for one that did not answer, as in the textbook",
        ),
        falls(
            8,
            EPOCH_ONCE,
            Flaw::EpochForgotten,
            "epoch-forgotten",
            &["AB"],
            CRASH,
            "a restart forgets which epoch the node has joined",
        ),
        falls(
            7,
            MINORITY,
            Flaw::NothingKept,
            "nothing-kept",
            &["A"],
            CRASH,
            "what was acknowledged is not on the disk",
        ),
        Claimed::falls(LINEARIZABLE, 11, || {
            flawed_cp(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                &["?", "A?"],
                NONE,
            )
            .doors(NodeSet::first(2))
            .crashes(NodeSet::first(1), 1)
            .says("after a restart of n0 the names of its operations begin anew")
        }),
        Claimed::falls(LINEARIZABLE, 10, || {
            sent_again_later("sent-again-later", &["A", "?B?"])
                .doors(NodeSet::first(2))
                .says("a put that was under way is sent again under a later epoch")
        }),
        falls(
            6,
            RETURN_ONCE,
            Flaw::AnsweredTwice,
            "answered-twice",
            &["A"],
            NONE,
            "a call is answered again by every late acknowledgement",
        ),
        falls(
            1,
            CALLS_RETURN,
            Flaw::NoAlarms,
            "no-alarms",
            &["A"],
            NONE,
            "what was lost is not sent again, and nobody gives up",
        ),
    ]
}

fn flaws_of_ap() -> Vec<Box<dyn Exhibit>> {
    let falls = |steps,
                 promise,
                 flaw,
                 name: &'static str,
                 clients: &'static [&'static str],
                 faults,
                 says| {
        Claimed::falls(promise, steps, move || {
            flawed_ap(flaw, name, clients, faults).says(says)
        })
    };
    vec![
        falls(
            5,
            EFFECTS_LATER,
            Flaw::LocalCounter,
            "local-counter",
            &["AB", "?C"],
            NONE,
            "a node counts its own writes and nobody else's, as in the textbook",
        ),
        falls(
            5,
            STAYS,
            Flaw::PutsDoNotCompare,
            "puts-do-not-compare",
            &["AB", "?C"],
            NONE,
            "the same, and a put is stored whatever is there, as in the textbook",
        ),
        falls(
            5,
            EFFECTS_LATER,
            Flaw::WallClock,
            "wall-clock",
            &["A", "?B"],
            NONE,
            "writes are stamped by clocks on the wall, as in the textbook, and that of n1 is ahead",
        ),
        falls(
            2,
            CONVERGENCE,
            Flaw::NoTieBreak,
            "no-tie-break",
            &["A", "B"],
            NONE,
            "of two writes of one time the one that is there stays, as in the textbook",
        ),
        falls(
            2,
            CONVERGENCE,
            Flaw::ToldOnce,
            "told-once",
            &["A"],
            NONE,
            "others are told once, as in the textbook",
        ),
        falls(
            2,
            CONVERGENCE,
            Flaw::HealingEmptiesTheGroup,
            "shared-group",
            &["AB"],
            NONE,
            "who hears from another node empties its list of those it can reach, as in the textbook: whoever is told first tells nobody",
        ),
        falls(
            5,
            NOT_BACK,
            Flaw::NoTombstones,
            "no-tombstones",
            &["A-?"],
            NONE,
            "a delete takes the key out and leaves nothing, as in the textbook",
        ),
        falls(
            3,
            STAYS,
            Flaw::NothingKept,
            "nothing-kept-in-ap",
            &["A"],
            CRASH,
            "nothing is on the disk",
        ),
    ]
}

/// The right machine where something that it assumes is taken away, or asked for what it does not
/// promise.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    let same = |right: Cap| right;
    vec![
        Claimed::falls(AVAILABLE, 2, move || {
            during_a_cut("cp-in-a-minority", AVAILABLE, CP, &["A"])
                .says("CP: a node that a cut leaves alone does not answer")
        }),
        Claimed::falls(BOTH, 2, move || {
            during_a_cut("cp-is-not-both", BOTH, CP, &["A", "?"])
                .says("CP is linearizable during a cut, and not available")
        }),
        Claimed::falls(BOTH, 3, move || {
            during_a_cut("ap-is-not-both", BOTH, Setting::AP, &["A", "?"])
                .says("AP is available during a cut, and not linearizable")
        }),
        Claimed::falls(LINEARIZABLE, 2, move || {
            bare(
                "ap-is-not-linearizable",
                2,
                Setting::AP,
                &["A", "?"],
                Watch::History,
                same,
            )
            .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
            .says("AP: a put has returned, and another node does not know of it yet")
        }),
        Claimed::falls(RYW, 2, move || {
            bare(
                "ap-moving-writer",
                2,
                Setting::AP,
                &["A?"],
                Watch::Order,
                same,
            )
            .always_told(RYW, |told| !told.ghost.breaks(RYW))
            .says("AP: a client that moves reads at whichever node answers, as in the textbook")
        }),
        Claimed::falls(READS_NOT_BACK, 3, move || {
            bare(
                "ap-moving-reader",
                2,
                Setting::AP,
                &["A", "??"],
                Watch::Order,
                same,
            )
            .always_told(READS_NOT_BACK, |told| !told.ghost.breaks(READS_NOT_BACK))
            .says("AP: the same client reads something older than before")
        }),
        Claimed::falls(ALONE, 1, || {
            majorities("asks-a-majority", &["A"])
                .unpurged()
                .always_told(ALONE, |told| nobody_waits(told.clients))
                .says("nobody leads, and a majority must answer")
        }),
        Claimed::falls(RYW, 4, || {
            let all = Setting::Leaderless {
                reads: Level::Local,
                writes: Level::All,
            };
            let flaw = Flaw::OnlyTheReachable;
            let make = move |right| Flawed { right, flaw };
            bare("all-of-the-reachable", 3, all, &["A?"], Watch::Order, make)
                .always_told(RYW, |told| !told.ghost.breaks(RYW))
                .says("a put hears all who answer in time, as in the textbook, and a get its own node")
        }),
        Claimed::falls(LINEARIZABLE, 9, move || {
            let world = consistent("lying-disk", 3, CP_ONCE, &["A", "?"], same);
            faulty(world, CRASH)
                .disk(Disk::Lying)
                .says("CP: a disk forgets what it acknowledged")
        }),
        Claimed::falls(ONE_VALUE, 5, move || {
            let world = available("lying-disk-in-ap", 2, &["AB"], same);
            faulty(world, CRASH)
                .disk(Disk::Lying)
                .says("AP: a disk forgets what it acknowledged, so that a tag is made twice")
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
