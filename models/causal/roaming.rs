//! Clients that go from node to node and carry their token; and nodes that stay dead.

use std::ops::Range;
use std::time::Duration;

use quorate::causal::{Call, Causal, Durable, Event, Message, Timer, Volatile};
use quorate::clock::Vector;
use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use serde::{Deserialize, Serialize};

use super::flaws::Flawed;
use crate::flaw::Twin;

/// A machine that is a causal store, with what else belongs to its world.
pub(super) trait Store: Machine<Call = Call, Event = Event, Durable = Durable> {
    /// The store's volatile state, if it is not dead for good.
    fn memory(volatile: &Self::Volatile) -> Option<&Volatile>;
}

impl Store for Causal {
    fn memory(volatile: &Volatile) -> Option<&Volatile> {
        Some(volatile)
    }
}

impl Store for Flawed {
    fn memory(volatile: &Volatile) -> Option<&Volatile> {
        Some(volatile)
    }
}

/// A node of a world whose clients carry tokens.
///
/// The calls of a world are written beforehand, so they cannot carry what an answer has given. Here the
/// token goes its own way: the node that answers sends it to every node, itself too, and the next call of
/// the session, wherever it is made, begins when the token is there. So the client is at the node when
/// both have arrived. A session whose token is lost, by a crash or for good, ends there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Roaming<M> {
    /// The store.
    pub(super) store: M,
    /// All nodes.
    pub(super) nodes: NodeSet,
    /// The tickets of each session, in order.
    pub(super) sessions: Vec<Vec<u64>>,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Luggage {
    /// Between nodes.
    Store(Message),
    /// With a client: the token that the call of this ticket has given.
    Token(u64, Vector),
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Of the store.
    pub(super) store: Volatile,
    /// The calls whose token is not there yet.
    pub(super) early: Vec<Call>,
}

impl<M: Twin<Causal>> Store for Roaming<M> {
    fn memory(volatile: &Memory) -> Option<&Volatile> {
        Some(&volatile.store)
    }
}

impl<M: Twin<Causal>> Machine for Roaming<M> {
    type Call = Call;
    type Message = Luggage;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Memory;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Memory {
        let mut inner = Outbox::default();
        let store = self.store.boot(durable, &mut inner);
        self.pass_on(inner, out);
        let early = Vec::new();
        Memory { store, early }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match self.before(call.ticket()) {
            Some(_) => state.volatile.early.push(call),
            None => self.act(state, out, |store, state, out| {
                store.on_call(state, call, out);
            }),
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Luggage,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Luggage::Store(message) => self.act(state, out, |store, state, out| {
                store.on_message(state, from, message, out);
            }),
            Luggage::Token(ticket, given) => {
                let early = &mut state.volatile.early;
                let next = |call: &Call| self.before(call.ticket()) == Some(ticket);
                let Some(place) = early.iter().position(next) else {
                    return;
                };
                let mut call = early.remove(place);
                let (Call::Put { token, .. } | Call::Get { token, .. }) = &mut call;
                *token = given;
                self.act(state, out, |store, state, out| {
                    store.on_call(state, call, out);
                });
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        // Who is refused goes on with the token that it came with.
        if let Timer::GiveUp(ticket) = timer {
            let mut waiting = state.volatile.store.waiting.iter();
            if let Some(call) = waiting.find(|call| call.ticket() == ticket) {
                self.give(ticket, call.token(), out);
            }
        }
        self.act(state, out, |store, state, out| {
            store.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.store.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.store.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.store.clone(),
        })
    }
}

impl<M: Twin<Causal>> Roaming<M> {
    /// The ticket of the call that the session made before this one.
    fn before(&self, ticket: u64) -> Option<u64> {
        let mut sessions = self.sessions.iter();
        sessions.find_map(|tickets| {
            let place = tickets.iter().position(|other| *other == ticket)?;
            tickets.get(place.checked_sub(1)?).copied()
        })
    }

    /// The client leaves with its token, if it has another call to make.
    fn give(&self, ticket: u64, token: &Vector, out: &mut Outbox<Self>) {
        let mut sessions = self.sessions.iter();
        if sessions.any(|tickets| tickets.contains(&ticket) && tickets.last() != Some(&ticket)) {
            out.broadcast(self.nodes, &Luggage::Token(ticket, token.clone()));
        }
    }

    /// Lets the store act.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&M, &mut State<M>, &mut Outbox<M>),
    ) {
        let mut inner = State {
            durable: state.durable.clone(),
            volatile: state.volatile.store.clone(),
        };
        let mut said = Outbox::default();
        act(&self.store, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile.store = inner.volatile;
        self.pass_on(said, out);
    }

    fn pass_on(&self, mut said: Outbox<M>, out: &mut Outbox<Self>) {
        for output in said.drain() {
            match output {
                Output::Send { to, message } => out.send(to, Luggage::Store(message)),
                Output::Arm(timer) => out.arm(timer),
                Output::Disarm(timer) => out.disarm(timer),
                Output::Event(event) => {
                    match &event {
                        Event::Done { ticket, token } | Event::Got { ticket, token, .. } => {
                            self.give(*ticket, token, out);
                        }
                        Event::Sent(_) | Event::Delivered(_) | Event::Refused { .. } => {}
                    }
                    out.tell(event);
                }
            }
        }
    }
}

/// A store where what crashes stays dead, once its disk holds anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mortal<M> {
    /// The store, until it crashes.
    pub(super) store: M,
}

impl<M: Twin<Causal>> Store for Mortal<M> {
    fn memory(volatile: &Option<Volatile>) -> Option<&Volatile> {
        volatile.as_ref()
    }
}

impl<M: Twin<Causal>> Machine for Mortal<M> {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Option<Volatile>;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Option<Volatile> {
        if *durable != Durable::default() {
            return None;
        }
        let mut inner = Outbox::default();
        let volatile = self.store.boot(durable, &mut inner);
        pass_on(inner, out);
        Some(volatile)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |store, state, out| {
            store.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        self.act(state, out, |store, state, out| {
            store.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |store, state, out| {
            store.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.store.delay(timer)
    }
}

impl<M: Twin<Causal>> Mortal<M> {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&M, &mut State<M>, &mut Outbox<M>),
    ) {
        let Some(volatile) = state.volatile.take() else {
            return;
        };
        let mut inner = State {
            durable: state.durable.clone(),
            volatile,
        };
        let mut said = Outbox::default();
        act(&self.store, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile = Some(inner.volatile);
        pass_on(said, out);
    }
}

fn pass_on<M: Twin<Causal>>(mut said: Outbox<M>, out: &mut Outbox<Mortal<M>>) {
    for output in said.drain() {
        out.push(match output {
            Output::Send { to, message } => Output::Send { to, message },
            Output::Arm(timer) => Output::Arm(timer),
            Output::Disarm(timer) => Output::Disarm(timer),
            Output::Event(event) => Output::Event(event),
        });
    }
}
