//! What is claimed of [`quorate::register`]: its worlds, its promises, and the flaws that refute
//! them.

use std::fmt;

mod flaws;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};
use quorate::quorum::Quorums;
use quorate::register::{Call, Event, Message, Reads, Register, Version};

use crate::action::Cut;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::history::{self, History, OperationId, RegisterCall, RegisterReply};
use crate::snapshot::Snapshot;
use crate::world::{Disk, World};

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
                one.reply.is_some() && other.reply.is_some() && !one.precedes(other) && !other.precedes(one)
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
    read: usize,
    write: usize,
    reads: Reads,
}

const THREE: Cluster = Cluster {
    replicas: 3,
    read: 2,
    write: 2,
    reads: Reads::Atomic,
};

const TWO: Cluster = Cluster {
    replicas: 2,
    ..THREE
};

impl Cluster {
    fn machines<M>(self, make: impl Fn(Register) -> M) -> Vec<M> {
        let members = NodeSet::first(self.replicas);
        let quorums = Quorums::unchecked(members, self.read, self.write);
        let reads = self.reads;
        (members.iter())
            .map(|me| make(Register { me, quorums, reads }))
            .collect()
    }
}

/// Scripts, one per client: a capital letter puts itself, `r` gets. Tickets count the calls.
fn scripts<M: Machine<Call = Call, Event = Event>>(
    mut world: Model<M>,
    scripts: &[&str],
) -> Model<M> {
    let mut tickets = 0..;
    for script in scripts {
        let calls = script.chars().zip(tickets.by_ref()).map(|(letter, ticket)| {
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

fn world<M: Twin<Register>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    make: impl Fn(Register) -> M,
) -> Model<M> {
    let world = World::new(name, cluster.machines(make), Clients::default());
    let promise = match cluster.reads {
        Reads::Atomic => LINEARIZABLE,
        Reads::Regular => REGULAR,
    };
    let world = scripts(world, clients)
        .always(promise, move |snapshot| match cluster.reads {
            Reads::Atomic => snapshot.ghost.linearizable,
            Reads::Regular => snapshot.ghost.regular,
        })
        .always(ONE_VALUE, a_tag_names_one_value)
        .always(RETURN_ONCE, |snapshot| snapshot.ghost.once);
    if clients.iter().any(|script| script.contains('r')) {
        world
            .sometimes("operations overlap", |s| s.ghost.overlapped())
            .sometimes("a get sees a put", |s| s.ghost.saw_a_put())
            .sometimes("a get sees a put that has not returned", |s| {
                s.ghost.saw_an_unfinished_put()
            })
    } else {
        world
    }
}

/// Goal of *calls return*: nobody waits.
fn nobody_waits<M: Machine, G: Ghost<M>>(snapshot: &Snapshot<M, G>) -> bool {
    snapshot.clients.iter().all(|client| client.waiting.is_none())
}

fn a_tag_names_one_value<M: Twin<Register>>(snapshot: &Snapshot<M, Clients>) -> bool {
    let on_disks = snapshot.disks().flat_map(|(_, disk)| disk.versions.values());
    let in_messages = snapshot.network.iter().filter_map(|letter| match &letter.message {
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

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str]) -> Model<Register> {
    world(name, cluster, clients, |right| right)
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
        flaws: flaws(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(0, 0, || right("one-writer-two-gets", THREE, &["A", "rr"])),
        Claimed::holds(0, 0, || right("write-then-get", THREE, &["Ar", "B"])),
        Claimed::holds(0, 0, || right("two-writers-a-reader", THREE, &["A", "B", "r"])),
        Claimed::holds(0, 0, || right("Ar Br", THREE, &["Ar", "Br"])),
        Claimed::holds(0, 0, || right("ABr", THREE, &["ABr"])),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![]
}
