//! What is claimed of [`quorate::register`]: its worlds, its promises, and the flaws that refute
//! them.

use std::fmt;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};
use quorate::quorum::Quorums;
use quorate::register::{Call, Event, Message, Operation, Phase, Reads, Register, Version};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::history::{self, History, OperationId, RegisterCall, RegisterReply};
use crate::purge::{self, Discharged};
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::symmetry;
use crate::world::{Disk, World};

mod flaws;

use flaws::{Flaw, Flawed};

/// Puts and gets take effect each at one moment between call and return.
pub const LINEARIZABLE: &str = "linearizable";
/// A get returns the newest put that finished before it began, or one that overlaps it.
pub const REGULAR: &str = "regular";
/// No two writes have one tag: what is under a tag is one value, on every disk and in every message.
pub const ONE_VALUE: &str = "a tag names one value";
/// A call that returns, returns once.
pub const RETURN_ONCE: &str = "calls return at most once";
/// In the calm, every call returns.
pub const CALLS_RETURN: &str = "calls return";

/// What the clients know: the history of their calls, and what it says of the promises.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Clients {
    history: History<RegisterCall<Option<String>>, RegisterReply<Option<String>>>,
    // Both follow from the history: they are checked when it changes, not at every state.
    linearizable: bool,
    regular: bool,
    once: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            history: History::default(),
            linearizable: true,
            regular: true,
            once: true,
        }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.linearizable, self.regular) {
            (true, _) => "linearizable",
            (false, true) => "regular, not linearizable",
            (false, false) => "neither linearizable nor regular",
        };
        write!(f, "{} ({word}", self.history)?;
        if !self.once {
            write!(f, "; a call returned twice")?;
        }
        write!(f, ")")
    }
}

fn operation_id(ticket: u64) -> OperationId {
    OperationId(u32::try_from(ticket).unwrap_or(u32::MAX))
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Clients {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Put { ticket, .. } | Call::Get { ticket, .. }) = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        let (Event::Done { ticket } | Event::Got { ticket, .. } | Event::Refused { ticket, .. }) =
            event;
        Some(*ticket)
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        let (ticket, asked) = match call {
            Call::Put { ticket, value, .. } => (ticket, RegisterCall::Put(Some(value.clone()))),
            Call::Get { ticket, .. } => (ticket, RegisterCall::Get),
        };
        self.once &= self.history.called(operation_id(*ticket), asked).is_ok();
    }

    fn on_event(&mut self, _: NodeId, event: &Event) {
        let (ticket, reply) = match event {
            Event::Done { ticket } => (ticket, RegisterReply::Done),
            Event::Got { ticket, value } => (ticket, RegisterReply::Value(value.clone())),
            // It never began.
            Event::Refused { .. } => return,
        };
        self.once &= self.history.returned(operation_id(*ticket), reply).is_ok();
        let nothing = history::Register(None);
        self.linearizable = history::linearizable(&nothing, &self.history).is_ok();
        self.regular = self.linearizable || history::regular(&nothing, &self.history).is_ok();
    }
}

impl Clients {
    /// True if an operation began before another one returned.
    fn overlapped(&self) -> bool {
        let operations = self.history.operations();
        operations.iter().enumerate().any(|(place, one)| {
            operations[..place].iter().any(|other| {
                one.reply.is_some()
                    && other.reply.is_some()
                    && !one.precedes(other)
                    && !other.precedes(one)
            })
        })
    }

    /// True if a get returned a value that somebody put.
    fn saw_a_put(&self) -> bool {
        let operations = self.history.operations();
        (operations.iter()).any(|one| matches!(one.reply, Some(RegisterReply::Value(Some(_)))))
    }

    /// True if a get returned before a put that it overlapped did, and saw it.
    fn saw_an_unfinished_put(&self) -> bool {
        let operations = self.history.operations();
        operations.iter().any(|get| {
            let Some(RegisterReply::Value(Some(value))) = get.reply else {
                return false;
            };
            operations.iter().any(|put| {
                matches!(put.call, RegisterCall::Put(Some(written)) if written == value)
                    && put.returned_at.is_none()
            })
        })
    }
}

/// Promises and worlds are stated for the register and for its flawed twins alike.
type Model<M> = World<M, Clients>;

/// A cluster: how many replicas, how many of them a read and a write need, and what a get promises.
#[derive(Clone, Copy)]
struct Cluster {
    replicas: usize,
    /// Nodes that are no replicas, as the processes of `quorate client` are. If there are any, the
    /// calls are made at them.
    apart: usize,
    read: usize,
    write: usize,
    reads: Reads,
}

const THREE: Cluster = Cluster {
    replicas: 3,
    apart: 0,
    read: 2,
    write: 2,
    reads: Reads::Atomic,
};

const TWO: Cluster = Cluster {
    replicas: 2,
    ..THREE
};

/// Replicas that are alike, for nobody writes at them: a tag names its writer, and breaks ties by it.
const FIVE: Cluster = Cluster {
    replicas: 5,
    apart: 2,
    read: 3,
    write: 3,
    reads: Reads::Atomic,
};

impl Cluster {
    fn machines<M>(self, make: impl Fn(Register) -> M) -> Vec<M> {
        let members = NodeSet::first(self.replicas);
        let quorums = Quorums::unchecked(members, self.read, self.write);
        let reads = self.reads;
        (NodeSet::first(self.replicas + self.apart).iter())
            .map(|me| make(Register { me, quorums, reads }))
            .collect()
    }

    fn doors(self) -> NodeSet {
        let replicas = NodeSet::first(self.replicas);
        match self.apart {
            0 => replicas,
            apart => NodeSet::first(self.replicas + apart).difference(replicas),
        }
    }
}

const REGULAR_READS: Cluster = Cluster {
    reads: Reads::Regular,
    ..THREE
};

/// Scripts, one per client: a capital letter puts itself, `r` gets. Tickets count the calls.
fn scripts<M: Machine<Call = Call, Event = Event>>(
    mut world: Model<M>,
    scripts: &[&str],
) -> Model<M> {
    let mut tickets = 0..;
    for script in scripts {
        let calls = script
            .chars()
            .zip(tickets.by_ref())
            .map(|(letter, ticket)| {
                let key = "x".to_owned();
                match letter {
                    'r' => Call::Get { ticket, key },
                    value => Call::Put {
                        ticket,
                        key,
                        value: value.to_string(),
                    },
                }
            });
        world = world.client(calls.collect::<Vec<_>>());
    }
    world
}

/// A world in which everything is promised, and nothing may go wrong but in the network.
fn world<M: Twin<Register>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Register) -> M,
) -> Model<M> {
    let world = World::new(name, cluster.machines(make), Clients::default());
    scripts(world.doors(cluster.doors()), clients)
        .always_told(LINEARIZABLE, |told| told.ghost.linearizable)
        .always_told(REGULAR, |told| told.ghost.regular)
        .always(ONE_VALUE, a_tag_names_one_value)
        .always_told(RETURN_ONCE, |told| told.ghost.once)
        // Each call under way needs its own alarm, once.
        .recovers_for_clients(
            CALLS_RETURN,
            clients.len().try_into().unwrap_or(u32::MAX),
            nobody_waits,
        )
        .sometimes_told("operations overlap", |told| told.ghost.overlapped())
        .sometimes_told("a get sees a put", |told| told.ghost.saw_a_put())
        .sometimes_told("a get sees a put that has not returned", |told| {
            told.ghost.saw_an_unfinished_put()
        })
}

fn a_tag_names_one_value<M: Twin<Register>>(snapshot: &Snapshot<M, Clients>) -> bool {
    let on_disks = snapshot
        .disks()
        .flat_map(|(_, disk)| disk.versions.values());
    let in_messages = snapshot
        .network
        .iter()
        .filter_map(|letter| match &letter.message {
            Message::Answer { version, .. } | Message::Store { version, .. } => Some(version),
            Message::Query { .. } | Message::Stored { .. } => None,
        });
    let mut known: Vec<&Version> = Vec::new();
    on_disks.chain(in_messages).all(|version| {
        let other = known.iter().find(|other| other.tag == version.tag);
        let agrees = other.is_none_or(|other| other.value == version.value);
        if other.is_none() {
            known.push(version);
        }
        agrees
    })
}

/// True if the coordinator still waits for this member to answer its query.
fn awaits_answer<M: Twin<Register>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    matches!(phase(node, operation), Some(Phase::Query { answered, .. }) if !answered.contains(member))
}

/// True if the coordinator still waits for this member to store.
fn awaits_store<M: Twin<Register>>(node: &Node<M>, operation: Operation, member: NodeId) -> bool {
    matches!(phase(node, operation), Some(Phase::Store { stored }) if !stored.contains(member))
}

fn phase<M: Twin<Register>>(node: &Node<M>, operation: Operation) -> Option<Phase> {
    let state = node.up()?;
    let present = state.durable.incarnation == operation.incarnation;
    let pending = state.volatile.pending.get(&operation.number)?;
    present.then_some(pending.phase)
}

/// True if it does not matter to the sender whether the message arrives: nobody waits for what it
/// would bring about. It rests on names of operations that are never used twice, and so on disks
/// that do not lie.
fn sender_is_done<M: Twin<Register>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Query { operation, .. } => !awaits_answer(from, *operation, letter.to),
        Message::Store { operation, .. } => !awaits_store(from, *operation, letter.to),
        Message::Answer { .. } | Message::Stored { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
fn receiver_is_done<M: Twin<Register>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    match &letter.message {
        Message::Query { .. } => true,
        Message::Answer { operation, .. } => !awaits_answer(to, *operation, letter.from),
        Message::Stored { operation } => !awaits_store(to, *operation, letter.from),
        Message::Store { key, version, .. } => {
            (to.durable()).is_none_or(|disk| version.tag <= disk.version(key).tag)
        }
    }
}

/// The same of a replica that stores whatever arrives: with a store it is never done.
fn receiver_is_done_but_with_stores<M: Twin<Register>>(
    letter: &Letter<Message>,
    to: &Node<M>,
) -> bool {
    !matches!(letter.message, Message::Store { .. }) && receiver_is_done(letter, to)
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Register> {
    let world = world(name, cluster, clients, |right| right);
    // What is sent again is in the network already: it matters to *calls return* alone.
    let world = (world.purging(sender_is_done, receiver_is_done)).never("ring Retry");
    match cluster.reads {
        Reads::Atomic => world,
        Reads::Regular => world.except(LINEARIZABLE),
    }
}

/// A world of a flawed one. Nothing is forgotten in it unless that is said: a reduction made for the
/// right machine could hide the flaw.
fn flawed(flaw: Flaw, name: &str, cluster: Cluster, clients: &[&str]) -> Model<Flawed> {
    world(name, cluster, clients, move |right| Flawed { right, flaw })
}

fn everyone(cluster: Cluster) -> NodeSet {
    NodeSet::first(cluster.replicas)
}

/// The register, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "register",
        summary: "the quorum register: reads and writes that a minority cannot stop",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(20_554, 73_429, || {
            right("two-gets", THREE, &["A", "rr"])
                .says("three replicas; one client puts, another gets twice")
        }),
        Claimed::holds(866_690, 4_916_560, || {
            right("two-writers", THREE, &["A", "B", "r"])
                .says("three replicas; two clients put, a third gets")
        }),
        Claimed::holds(6_637, 12_273, || {
            right("two-replicas", TWO, &["Ar", "Br"])
                .says("two replicas, both needed; two clients put and get")
        }),
        Claimed::holds(168_340, 640_339, || {
            right("crash", THREE, &["A", "rr"])
                .says("three replicas, one crash of any; one client puts, another gets twice")
                .crashes(everyone(THREE), 1)
        }),
        Claimed::holds(57_079, 231_670, || {
            right("two-crashes", THREE, &["A", "r"])
                .says("three replicas, two crashes; one client puts, another gets")
                .crashes(everyone(THREE), 2)
        }),
        Claimed::holds(32_144, 127_459, || {
            right("cut", THREE, &["A", "r"])
                .says("three replicas, one cut of any shape; one client puts, another gets")
                .cuts(Cut::all(3), 1)
        }),
        Claimed::holds(24_870, 121_831, || {
            right("clients-apart", Cluster { apart: 2, ..THREE }, &["A", "rr"])
                .says("three replicas; the calls are made at two nodes that are none")
                .symmetric(everyone(THREE))
        }),
        Claimed::holds(420_982, 3_578_855, || {
            right("five", FIVE, &["A", "rr"])
                .says("five replicas; the calls are made at two nodes that are none")
                .symmetric(everyone(FIVE))
        }),
        Claimed::holds(6_517, 15_805, || {
            right(
                "read-one",
                Cluster {
                    read: 1,
                    write: 3,
                    ..THREE
                },
                &["A", "rr"],
            )
            .says("three replicas; any one answers a query, all must store")
        }),
        Claimed::holds(8_239, 21_391, || {
            right(
                "write-one",
                Cluster {
                    read: 3,
                    write: 1,
                    ..THREE
                },
                &["A", "rr"],
            )
            .says("three replicas; all must answer a query, any one may store")
            // With W = 1 a put returns in the step in which it begins to store.
            .except("a get sees a put that has not returned")
        }),
        Claimed::holds(17_227, 61_825, || {
            right("regular", REGULAR_READS, &["A", "rr"])
                .says("three replicas, gets without write-back: no more than regular")
        }),
        Claimed::holds(1_932_981, 10_306_815, || {
            right("two-writers-two-readers", THREE, &["Ar", "Br"])
                .says("three replicas; two clients put and then get")
        }),
        Claimed::holds(708_824, 3_290_971, || {
            right("two-writers-crash", THREE, &["A", "Br"])
                .says("three replicas, one crash of any; two clients put, one of them gets")
                .crashes(everyone(THREE), 1)
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(LINEARIZABLE, 9, || {
            flawed(
                Flaw::RepairAfterTheAnswer,
                "repair-after-the-answer",
                THREE,
                &["A", "rr"],
            )
            .says("a get answers first, and repairs the replicas afterwards")
            .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(LINEARIZABLE, 14, || {
            flawed(
                Flaw::StoreUnconditionally,
                "unconditional-store",
                THREE,
                &["ABr"],
            )
            .says("a replica stores whatever arrives last, as the textbook's does")
            .purging(sender_is_done, receiver_is_done_but_with_stores)
        }),
        Claimed::falls(LINEARIZABLE, 9, || {
            flawed(Flaw::NoQueryPhase, "no-query-phase", THREE, &["ABr"])
                .says(
                    "a put counts for itself instead of asking, as the textbook's does by a clock",
                )
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(LINEARIZABLE, 13, || {
            flawed(
                Flaw::VersionNotIncremented,
                "version-not-incremented",
                THREE,
                &["ABr"],
            )
            .says("a put takes the newest tag it saw, not a larger one")
            .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(LINEARIZABLE, 16, || {
            flawed(Flaw::NoTieBreak, "no-tie-break", TWO, &["Ar", "Br"])
                .says("two tags of one number are one tag, whoever wrote")
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(ONE_VALUE, 6, || {
            flawed(Flaw::MintAndForget, "mint-and-forget", THREE, &["A", "B"])
                .says("a coordinator does not keep the version it mints")
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(LINEARIZABLE, 11, || {
            flawed(Flaw::LateReplyCounted, "late-reply", THREE, &["ABr"])
                .says("an answer to an earlier operation counts for the present one")
        }),
        Claimed::falls(RETURN_ONCE, 4, || {
            flawed(Flaw::AnswerTwice, "answered-twice", TWO, &["r"])
                .says("a call is answered again by every late reply")
        }),
        Claimed::falls(LINEARIZABLE, 11, || {
            flawed(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                THREE,
                &["Ar", "r"],
            )
            .says("after a restart the names of operations begin anew")
            .crashes(everyone(THREE), 1)
        }),
        Claimed::falls(LINEARIZABLE, 11, || {
            let apart = Cluster { apart: 1, ..THREE };
            flawed(
                Flaw::ReplyCountedTwice,
                "reply-counted-twice",
                apart,
                &["Ar"],
            )
            .says("a repeated answer counts again")
        }),
        Claimed::falls(LINEARIZABLE, 6, || {
            flawed(
                Flaw::MajorityOfTheReachable,
                "majority-of-the-reachable",
                THREE,
                &["Ar"],
            )
            .says("who does not answer in time is taken for dead, as in the textbook's store")
        }),
        Claimed::falls(CALLS_RETURN, 0, || {
            flawed(Flaw::AbsenceIsNoAnswer, "absence-is-no-answer", THREE, &["r"])
                .says("a replica without a value is taken for one that did not answer, as in the textbook")
        }),
        Claimed::falls(CALLS_RETURN, 1, || {
            flawed(Flaw::NoRetries, "no-retries", THREE, &["A"])
                .says("what was lost is not sent again")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(LINEARIZABLE, 9, || {
            world("no-write-back", REGULAR_READS, &["A", "rr"], |right| right)
                .says("gets do not write back what they return; nor do the textbook's")
                .purging(sender_is_done, receiver_is_done)
        }),
        Claimed::falls(REGULAR, 4, || {
            world(
                "disjoint-quorums",
                Cluster { read: 1, ..THREE },
                &["Ar"],
                |right| right,
            )
            .says("two of three store, but any one answers a query: R + W = N")
        }),
        Claimed::falls(LINEARIZABLE, 9, || {
            world("lying-disk", THREE, &["A", "r"], |right| right)
                .says("a disk forgets what it acknowledged, so that a reply precedes the write")
                .crashes(everyone(THREE), 1)
                .disk(Disk::Lying)
        }),
    ]
}

/// A put and a get among three replicas, with or without cuts: to compare what they reach.
pub fn with_cuts(cuts: u32) -> World<Register, Clients> {
    right("cuts", THREE, &["A", "r"]).cuts(Cut::all(3), cuts)
}

/// What [`World::purging`] owes in a small world of the register, and what the flawed machines that
/// are purged owe in theirs.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let with = |flaw, clients: &'static [&'static str]| {
        purge::obligations(move || {
            flawed(flaw, "purged", TWO, clients).purging(sender_is_done, receiver_is_done)
        })
    };
    Ok(vec![
        purge::obligations(|| right("purged", THREE, &["A"]))?,
        purge::obligations(|| right("purged", TWO, &["A", "r"]).crashes(everyone(TWO), 1))?,
        purge::obligations(|| right("purged", REGULAR_READS, &["r"]))?,
        with(Flaw::RepairAfterTheAnswer, &["A", "r"])?,
        with(Flaw::NoQueryPhase, &["A", "r"])?,
        with(Flaw::VersionNotIncremented, &["A", "r"])?,
        with(Flaw::NoTieBreak, &["A", "B"])?,
        with(Flaw::MintAndForget, &["A", "B"])?,
        purge::obligations(|| {
            flawed(Flaw::StoreUnconditionally, "purged", TWO, &["A", "B"])
                .purging(sender_is_done, receiver_is_done_but_with_stores)
        })?,
    ])
}

/// What the worlds whose replicas are alike owe for that, in smaller ones.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirrored() -> Result<Vec<symmetry::Discharged>, String> {
    let apart = |cluster: Cluster, clients: &'static [&'static str]| {
        symmetry::obligations(move || {
            right(
                "mirrored",
                Cluster {
                    apart: 1,
                    ..cluster
                },
                clients,
            )
            .symmetric(everyone(cluster))
        })
    };
    Ok(vec![
        apart(THREE, &["A", "r"])?,
        apart(TWO, &["A", "B", "r"])?,
    ])
}

/// The same of replicas at which clients write: a tag names its writer, and of two tags of one number
/// the later writer's is the larger. So writers are not alike. It must fail, or the obligations prove
/// nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn mirrored_wrongly() -> Result<symmetry::Discharged, String> {
    symmetry::obligations(|| right("mirrored", TWO, &["A", "B"]).symmetric(everyone(TWO)))
}

/// The same, of a machine for which the rule is wrong: a store that is stale for the right machine is
/// not for one that stores unconditionally. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| {
        flawed(Flaw::StoreUnconditionally, "purged", TWO, &["A", "B"])
            .purging(sender_is_done, receiver_is_done)
    })
}
