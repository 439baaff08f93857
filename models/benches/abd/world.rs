//! Our side: the same actors as machines, the same linearizability tester as a ghost.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, Never, NodeId, Outbox, State};
use quorate_models::ghost::Ghost;
use quorate_models::world::World;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester};

use super::{LINEARIZABLE, Size, VALUE_CHOSEN};

/// A version: its number, and who made it.
type Version = (u64, NodeId);

/// What a node is. Servers are numbered first, then clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Abd {
    /// A replica, which is also the coordinator of one call at a time.
    Server { me: NodeId, peers: NodeSet },
    /// Puts so many times, and then gets once.
    Client { me: NodeId, servers: u64, puts: u64 },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Message {
    Query(u64),
    Newest(u64, Version, char),
    Store(u64, Version, char),
    Stored(u64),
    Put(u64, char),
    Get(u64),
    PutOk(u64),
    GetOk(u64, char),
}

/// What a client tells of its calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Event {
    Invoked(Call),
    Returned(Answer),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Call {
    Put(char),
    Get,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Answer {
    Put,
    Get(char),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Role {
    Server(Replica),
    Client {
        awaiting: Option<u64>,
        /// How many calls it has made.
        calls: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Replica {
    version: Version,
    value: char,
    phase: Option<Phase>,
    /// The requests that it took up, in order.
    begun: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Phase {
    Querying {
        request: u64,
        client: NodeId,
        put: Option<char>,
        /// Who answered what, in order of who.
        answers: Vec<(NodeId, Version, char)>,
    },
    Storing {
        request: u64,
        client: NodeId,
        got: Option<char>,
        stored: NodeSet,
    },
}

/// The name that a client gives its `calls`th call, counted from 1, and who is to answer it.
fn address(me: NodeId, servers: u64, calls: u64) -> (u64, NodeId) {
    (calls * me.0, NodeId((me.0 + calls - 1) % servers))
}

/// The letter that is so far from `first` as this client is from the first one.
fn letter(first: u8, step: i8, me: NodeId, servers: u64) -> char {
    let place = i8::try_from(me.0.saturating_sub(servers)).unwrap_or(i8::MAX);
    char::from(first.saturating_add_signed(place.saturating_mul(step)))
}

fn put(to: NodeId, request: u64, value: char, out: &mut Outbox<Abd>) {
    out.tell(Event::Invoked(Call::Put(value)));
    out.send(to, Message::Put(request, value));
}

/// A client is answered, and makes its next call if there is one.
fn on_answer(
    (me, servers, puts): (NodeId, u64, u64),
    awaiting: &mut Option<u64>,
    calls: &mut u64,
    message: &Message,
    out: &mut Outbox<Abd>,
) {
    match *message {
        Message::PutOk(request) if *awaiting == Some(request) => {
            out.tell(Event::Returned(Answer::Put));
            *calls += 1;
            let (request, to) = address(me, servers, *calls);
            *awaiting = Some(request);
            if *calls <= puts {
                // What is put later is of the other end of the alphabet, as in stateright's client.
                put(to, request, letter(b'Z', -1, me, servers), out);
            } else {
                out.tell(Event::Invoked(Call::Get));
                out.send(to, Message::Get(request));
            }
        }
        Message::GetOk(request, value) if *awaiting == Some(request) => {
            out.tell(Event::Returned(Answer::Get(value)));
            *calls += 1;
            *awaiting = None;
        }
        Message::Query(_)
        | Message::Newest(..)
        | Message::Store(..)
        | Message::Stored(_)
        | Message::Put(..)
        | Message::Get(_)
        | Message::PutOk(_)
        | Message::GetOk(..) => {}
    }
}

/// A replica in its place.
struct Server<'a> {
    me: NodeId,
    peers: NodeSet,
    replica: &'a mut Replica,
}

impl Server<'_> {
    fn is_majority(&self, count: usize) -> bool {
        let servers = self.peers.len() + 1;
        count == servers / 2 + 1
    }

    fn on_message(&mut self, from: NodeId, message: Message, out: &mut Outbox<Abd>) {
        match message {
            Message::Put(request, value) => self.begin(from, request, Some(value), out),
            Message::Get(request) => self.begin(from, request, None, out),
            Message::Query(request) => {
                let Replica { version, value, .. } = *self.replica;
                out.send(from, Message::Newest(request, version, value));
            }
            Message::Newest(request, version, value) => {
                self.on_newest(request, (from, version, value), out);
            }
            Message::Store(request, version, value) => {
                out.send(from, Message::Stored(request));
                self.store(version, value);
            }
            Message::Stored(request) => self.on_stored(request, from, out),
            Message::PutOk(_) | Message::GetOk(..) => {}
        }
    }

    fn begin(&mut self, client: NodeId, request: u64, put: Option<char>, out: &mut Outbox<Abd>) {
        let begun = &mut self.replica.begun;
        let (None, Err(place)) = (&self.replica.phase, begun.binary_search(&request)) else {
            return;
        };
        begun.insert(place, request);
        out.broadcast(self.peers, &Message::Query(request));
        let answers = vec![(self.me, self.replica.version, self.replica.value)];
        self.replica.phase = Some(Phase::Querying {
            request,
            client,
            put,
            answers,
        });
    }

    fn on_newest(&mut self, answered: u64, answer: (NodeId, Version, char), out: &mut Outbox<Abd>) {
        let Some(Phase::Querying {
            request,
            client,
            put,
            answers,
        }) = &mut self.replica.phase
        else {
            return;
        };
        let (request, client) = (*request, *client);
        if request != answered {
            return;
        }
        match answers.binary_search_by_key(&answer.0, |(who, _, _)| *who) {
            Ok(place) => answers[place] = answer,
            Err(place) => answers.insert(place, answer),
        }
        let newest = answers.iter().max_by_key(|(_, version, _)| *version);
        let (Some(&(_, version, value)), count, put) = (newest, answers.len(), *put) else {
            return;
        };
        if !self.is_majority(count) {
            return;
        }
        let (version, value, got) = match put {
            Some(put) => ((version.0 + 1, self.me), put, None),
            None => (version, value, Some(value)),
        };
        out.broadcast(self.peers, &Message::Store(request, version, value));
        self.store(version, value);
        self.replica.phase = Some(Phase::Storing {
            request,
            client,
            got,
            stored: NodeSet::from_iter([self.me]),
        });
    }

    fn store(&mut self, version: Version, value: char) {
        if version > self.replica.version {
            self.replica.version = version;
            self.replica.value = value;
        }
    }

    fn on_stored(&mut self, answered: u64, from: NodeId, out: &mut Outbox<Abd>) {
        let Some(Phase::Storing {
            request,
            client,
            got,
            stored,
        }) = &mut self.replica.phase
        else {
            return;
        };
        if *request != answered || !stored.insert(from) {
            return;
        }
        let (count, client, answer) = match *got {
            Some(value) => (stored.len(), *client, Message::GetOk(answered, value)),
            None => (stored.len(), *client, Message::PutOk(answered)),
        };
        if self.is_majority(count) {
            out.send(client, answer);
            self.replica.phase = None;
        }
    }
}

impl Machine for Abd {
    type Call = Never;
    type Message = Message;
    type Timer = Never;
    type Event = Event;
    type Durable = ();
    type Volatile = Role;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Role {
        match *self {
            Self::Server { me, .. } => Role::Server(Replica {
                version: (0, me),
                value: char::default(),
                phase: None,
                begun: Vec::new(),
            }),
            Self::Client { puts: 0, .. } => Role::Client {
                awaiting: None,
                calls: 0,
            },
            Self::Client { me, servers, .. } => {
                let (request, to) = address(me, servers, 1);
                put(to, request, letter(b'A', 1, me, servers), out);
                Role::Client {
                    awaiting: Some(request),
                    calls: 1,
                }
            }
        }
    }

    fn on_call(&self, _: &mut State<Self>, call: Never, _: &mut Outbox<Self>) {
        match call {}
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match (self, &mut state.volatile) {
            (&Self::Server { me, peers }, Role::Server(replica)) => {
                let mut server = Server { me, peers, replica };
                server.on_message(from, message, out);
            }
            (&Self::Client { me, servers, puts }, Role::Client { awaiting, calls }) => {
                on_answer((me, servers, puts), awaiting, calls, &message, out);
            }
            (Self::Server { .. }, Role::Client { .. }) | (Self::Client { .. }, Role::Server(_)) => {
            }
        }
    }

    fn on_timer(&self, _: &mut State<Self>, timer: Never, _: &mut Outbox<Self>) {
        match timer {}
    }

    fn delay(&self, timer: &Never) -> Range<Duration> {
        match *timer {}
    }
}

/// stateright's tester, with its verdict: that is a function of the history, so that it tells no
/// states apart, and is found once for each history and not once for each state.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct History {
    tester: LinearizabilityTester<Id, Register<char>>,
    linearizable: bool,
}

/// The tester is not `Eq`, for `Register` is not; but all of it is characters and numbers.
impl Eq for History {}

impl Ghost<Abd> for History {
    fn ticket(call: &Never) -> Option<u64> {
        match *call {}
    }

    fn finished(_: &Event) -> Option<u64> {
        None
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        let client = Id::from(usize::try_from(node.0).unwrap_or(usize::MAX));
        // The tester remembers that it was told nonsense: no such history is linearizable.
        let _ = match *event {
            Event::Invoked(Call::Put(value)) => {
                self.tester.on_invoke(client, RegisterOp::Write(value))
            }
            Event::Invoked(Call::Get) => self.tester.on_invoke(client, RegisterOp::Read),
            Event::Returned(Answer::Put) => self.tester.on_return(client, RegisterRet::WriteOk),
            Event::Returned(Answer::Get(value)) => {
                self.tester.on_return(client, RegisterRet::ReadOk(value))
            }
        };
        self.linearizable = self.tester.is_consistent();
    }
}

/// The system of this size, in our world.
pub(crate) fn world(size: Size) -> World<Abd, History> {
    let servers = NodeSet::first(size.servers);
    let mut machines: Vec<Abd> = servers
        .iter()
        .map(|me| {
            let mut peers = servers;
            peers.remove(me);
            Abd::Server { me, peers }
        })
        .collect();
    let names = (size.servers as u64..).map(NodeId);
    machines.extend(names.zip(size.puts).map(|(me, puts)| Abd::Client {
        me,
        servers: size.servers as u64,
        puts: *puts as u64,
    }));
    let history = History {
        tester: LinearizabilityTester::new(Register(char::default())),
        linearizable: true,
    };
    World::new("abd", machines, history)
        .always(LINEARIZABLE, |snapshot| snapshot.ghost.linearizable)
        .sometimes(VALUE_CHOSEN, |snapshot| {
            snapshot.network.iter().any(|letter| {
                matches!(letter.message, Message::GetOk(_, value) if value != char::default())
            })
        })
}
