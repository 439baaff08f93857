//! stateright's side: an `ActorModel`, with the data structures of stateright's example.

use std::borrow::Cow;

use stateright::actor::register::{RegisterActor, RegisterMsg};
use stateright::actor::{
    Actor, ActorModel, ActorModelAction, ActorModelState, Id, Network, Out, majority, model_peers,
};
use stateright::semantics::LinearizabilityTester;
use stateright::semantics::register::Register;
use stateright::util::{HashableHashMap, HashableHashSet};
use stateright::{Model, Property};

use super::{LINEARIZABLE, Size, VALUE_CHOSEN};

type Message = RegisterMsg<u64, char, Internal>;
type History = LinearizabilityTester<Id, Register<char>>;
/// A version: its number, and who made it.
type Version = (u64, Id);

/// What replicas tell each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Internal {
    Query(u64),
    Newest(u64, Version, char),
    Store(u64, Version, char),
    Stored(u64),
}

/// A replica, which is also the coordinator of one call at a time.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    peers: Vec<Id>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReplicaState {
    version: Version,
    value: char,
    phase: Option<Phase>,
    /// The requests that it took up.
    begun: HashableHashSet<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Querying {
        request: u64,
        client: Id,
        put: Option<char>,
        answers: HashableHashMap<Id, (Version, char)>,
    },
    Storing {
        request: u64,
        client: Id,
        got: Option<char>,
        stored: HashableHashSet<Id>,
    },
}

impl ReplicaState {
    fn may_begin(&self, request: u64) -> bool {
        self.phase.is_none() && !self.begun.contains(&request)
    }
}

impl Replica {
    fn begin(
        &self,
        me: Id,
        state: &mut ReplicaState,
        client: Id,
        (request, put): (u64, Option<char>),
        out: &mut Out<Self>,
    ) {
        out.broadcast(&self.peers, &Message::Internal(Internal::Query(request)));
        let mut answers = HashableHashMap::default();
        answers.insert(me, (state.version, state.value));
        state.begun.insert(request);
        state.phase = Some(Phase::Querying {
            request,
            client,
            put,
            answers,
        });
    }

    fn on_newest(
        &self,
        me: Id,
        state: &mut ReplicaState,
        (from, version, value): (Id, Version, char),
        out: &mut Out<Self>,
    ) {
        let Some(Phase::Querying {
            request,
            client,
            put,
            answers,
        }) = &mut state.phase
        else {
            return;
        };
        answers.insert(from, (version, value));
        if answers.len() != majority(self.peers.len() + 1) {
            return;
        }
        // No version has two values, so that which of two equal ones comes first does not matter.
        let newest = answers.values().max_by_key(|(version, _)| *version);
        let Some((version, value)) = newest.copied() else {
            return;
        };
        let (version, value, got) = match *put {
            Some(put) => ((version.0 + 1, me), put, None),
            None => (version, value, Some(value)),
        };
        let store = Internal::Store(*request, version, value);
        out.broadcast(&self.peers, &Message::Internal(store));
        let mut stored = HashableHashSet::default();
        stored.insert(me);
        let phase = Phase::Storing {
            request: *request,
            client: *client,
            got,
            stored,
        };
        state.phase = Some(phase);
        if version > state.version {
            state.version = version;
            state.value = value;
        }
    }

    fn on_stored(&self, state: &mut ReplicaState, from: Id, out: &mut Out<Self>) {
        let Some(Phase::Storing {
            request,
            client,
            got,
            stored,
        }) = &mut state.phase
        else {
            return;
        };
        stored.insert(from);
        if stored.len() == majority(self.peers.len() + 1) {
            let answer = match *got {
                Some(value) => Message::GetOk(*request, value),
                None => Message::PutOk(*request),
            };
            out.send(*client, answer);
            state.phase = None;
        }
    }
}

impl Actor for Replica {
    type Msg = Message;
    type State = ReplicaState;
    type Timer = ();
    type Random = ();
    type Storage = ();

    fn on_start(&self, me: Id, _: &Option<()>, _: &mut Out<Self>) -> ReplicaState {
        ReplicaState {
            version: (0, me),
            value: char::default(),
            phase: None,
            begun: HashableHashSet::default(),
        }
    }

    /// A state that is not taken `to_mut` is one that did not change: that is how stateright knows.
    fn on_msg(
        &self,
        me: Id,
        state: &mut Cow<'_, ReplicaState>,
        from: Id,
        message: Message,
        out: &mut Out<Self>,
    ) {
        match message {
            Message::Put(request, value) if state.may_begin(request) => {
                self.begin(me, state.to_mut(), from, (request, Some(value)), out);
            }
            Message::Get(request) if state.may_begin(request) => {
                self.begin(me, state.to_mut(), from, (request, None), out);
            }
            Message::Internal(Internal::Query(request)) => {
                let newest = Internal::Newest(request, state.version, state.value);
                out.send(from, Message::Internal(newest));
            }
            Message::Internal(Internal::Newest(answered, version, value))
                if matches!(&state.phase, Some(Phase::Querying { request, .. })
                    if *request == answered) =>
            {
                self.on_newest(me, state.to_mut(), (from, version, value), out);
            }
            Message::Internal(Internal::Store(request, version, value)) => {
                out.send(from, Message::Internal(Internal::Stored(request)));
                if version > state.version {
                    let state = state.to_mut();
                    state.version = version;
                    state.value = value;
                }
            }
            Message::Internal(Internal::Stored(answered))
                if matches!(&state.phase, Some(Phase::Storing { request, stored, .. })
                    if *request == answered && !stored.contains(&from)) =>
            {
                self.on_stored(state.to_mut(), from, out);
            }
            Message::Put(..)
            | Message::Get(_)
            | Message::PutOk(_)
            | Message::GetOk(..)
            | Message::Internal(Internal::Newest(..) | Internal::Stored(_)) => {}
        }
    }
}

/// stateright's `ActorModel`, but for one thing. Its duplicating network keeps in the state what
/// was delivered last, which tells apart states in which everything else is equal: six times as
/// many in the smallest system. Here that is forgotten, and the network is the set alone.
#[derive(Clone)]
pub(crate) struct Baseline(ActorModel<RegisterActor<Replica>, (), History>);

type State = ActorModelState<RegisterActor<Replica>, History>;

impl Model for Baseline {
    type State = State;
    type Action = ActorModelAction<Message, (), ()>;

    fn init_states(&self) -> Vec<State> {
        self.0.init_states()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Self::Action>) {
        self.0.actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Self::Action) -> Option<State> {
        let mut next = self.0.next_state(last, action)?;
        if let Network::UnorderedDuplicating(_, last_delivered) = &mut next.network {
            *last_delivered = None;
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LINEARIZABLE, |_, state: &State| {
                state.history.serialized_history().is_some()
            }),
            Property::sometimes(VALUE_CHOSEN, |_, state: &State| {
                state.network.iter_deliverable().any(|envelope| {
                    matches!(envelope.msg, Message::GetOk(_, value) if *value != char::default())
                })
            }),
        ]
    }
}

/// The system of this size, as stateright's users write it.
pub(crate) fn baseline(size: Size) -> Baseline {
    let Size { servers, puts, .. } = size;
    let history = LinearizabilityTester::new(Register(char::default()));
    let model = ActorModel::new((), history)
        .actors((0..servers).map(|server| {
            RegisterActor::Server(Replica {
                peers: model_peers(server, servers),
            })
        }))
        .actors(puts.iter().map(|puts| RegisterActor::Client {
            put_count: *puts,
            server_count: servers,
        }))
        .init_network(Network::new_unordered_duplicating([]))
        .record_msg_in(RegisterMsg::record_returns)
        .record_msg_out(RegisterMsg::record_invocations);
    Baseline(model)
}
