//! Clients that go from node to node and carry their token.

use std::ops::Range;
use std::time::Duration;

use quorate::data::{Map, NodeSet};
use quorate::database::{Call, Database, Durable, Event, Message, Timer, Token, Volatile};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use serde::{Deserialize, Serialize};

use super::dead;
use super::order::ticket_of;
use crate::snapshot::{Letter, Node};

/// A node of a world whose clients carry tokens.
///
/// The calls of a world are written beforehand, so they cannot carry what an answer has given. Here the token
/// goes its own way: the node that answers sends it to every node that may be called, itself too, and the next
/// call of the session, wherever it is made, begins when the token is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Roaming {
    /// The database.
    pub(super) database: Database,
    /// The nodes that may be called.
    pub(super) doors: NodeSet,
    /// The tickets of each session, in order.
    pub(super) sessions: Vec<Vec<u64>>,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Luggage {
    /// Between nodes.
    Database(Message),
    /// With a client: its token after the call of this ticket.
    Token(u64, Token),
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Of the database.
    pub(super) database: Volatile,
    /// The calls whose token is not there yet.
    pub(super) early: Vec<Call>,
    /// The tokens that the calls under way came with.
    pub(super) carried: Map<u64, Token>,
}

impl Machine for Roaming {
    type Call = Call;
    type Message = Luggage;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Memory;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Memory {
        let mut said = Outbox::default();
        let mut memory = Memory {
            database: self.database.boot(durable, &mut said),
            ..Memory::default()
        };
        self.pass_on(&mut memory.carried, said, out);
        memory
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        if ticket_of(&call)
            .and_then(|ticket| self.before(ticket))
            .is_some()
        {
            state.volatile.early.push(call);
        } else {
            self.act(state, out, |right, state, out| {
                right.on_call(state, call, out);
            });
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
            Luggage::Database(message) => self.act(state, out, |right, state, out| {
                right.on_message(state, from, message, out);
            }),
            Luggage::Token(ticket, given) => {
                let early = &mut state.volatile.early;
                let next = |call: &Call| {
                    ticket_of(call).and_then(|ticket| self.before(ticket)) == Some(ticket)
                };
                let Some(place) = early.iter().position(next) else {
                    return;
                };
                let mut call = early.remove(place);
                if let Some(ticket) = ticket_of(&call) {
                    state.volatile.carried.insert(ticket, given.clone());
                }
                if let Call::Write { token, .. } | Call::Read { token, .. } = &mut call {
                    *token = given;
                }
                self.act(state, out, |right, state, out| {
                    right.on_call(state, call, out);
                });
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.database.delay(timer)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.database.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.database.clone(),
        })
    }
}

impl Roaming {
    /// The ticket of the call that the session made before this one.
    fn before(&self, ticket: u64) -> Option<u64> {
        let mut sessions = self.sessions.iter();
        sessions.find_map(|tickets| {
            let place = tickets.iter().position(|other| *other == ticket)?;
            tickets.get(place.checked_sub(1)?).copied()
        })
    }

    /// Lets the database act.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Database, &mut State<Database>, &mut Outbox<Database>),
    ) {
        let mut inner = State {
            durable: state.durable.clone(),
            volatile: state.volatile.database.clone(),
        };
        let mut said = Outbox::default();
        act(&self.database, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile.database = inner.volatile;
        self.pass_on(&mut state.volatile.carried, said, out);
    }

    fn pass_on(
        &self,
        carried: &mut Map<u64, Token>,
        mut said: Outbox<Database>,
        out: &mut Outbox<Self>,
    ) {
        for output in said.drain() {
            match output {
                Output::Send { to, message } => out.send(to, Luggage::Database(message)),
                Output::Arm(timer) => out.arm(timer),
                Output::Disarm(timer) => out.disarm(timer),
                Output::Event(event) => {
                    if let Event::Wrote { ticket, token } | Event::Read { ticket, token, .. } =
                        &event
                    {
                        let mut given = carried.remove(ticket).unwrap_or_default();
                        given.merge(token);
                        self.give(*ticket, given, out);
                    }
                    out.tell(event);
                }
            }
        }
    }

    /// The client leaves with its token, if it has another call to make.
    fn give(&self, ticket: u64, token: Token, out: &mut Outbox<Self>) {
        let mut sessions = self.sessions.iter();
        if sessions.any(|tickets| tickets.contains(&ticket) && tickets.last() != Some(&ticket)) {
            out.broadcast(self.doors, &Luggage::Token(ticket, token));
        }
    }
}

/// A letter between the databases, and the node as a database.
fn unpacked(
    letter: &Letter<Luggage>,
    node: &Node<Roaming>,
) -> Option<(Letter<Message>, Node<Database>)> {
    let Luggage::Database(message) = &letter.message else {
        return None;
    };
    let letter = Letter {
        to: letter.to,
        from: letter.from,
        message: message.clone(),
    };
    let node = match node {
        Node::Up {
            state,
            armed,
            unflushed,
        } => Node::Up {
            state: State {
                durable: state.durable.clone(),
                volatile: state.volatile.database.clone(),
            },
            armed: armed.clone(),
            unflushed: unflushed.clone(),
        },
        Node::Down { durable, unflushed } => Node::Down {
            durable: durable.clone(),
            unflushed: unflushed.clone(),
        },
        Node::Traitor => Node::Traitor,
    };
    Some((letter, node))
}

/// As of the database. With a token its sender is done.
pub(super) fn sender_is_done(letter: &Letter<Luggage>, from: &Node<Roaming>) -> bool {
    unpacked(letter, from).is_none_or(|(letter, from)| dead::sender_is_done(&letter, &from))
}

/// As of the database. A token waits for its client for ever.
pub(super) fn receiver_is_done(letter: &Letter<Luggage>, to: &Node<Roaming>) -> bool {
    unpacked(letter, to).is_some_and(|(letter, to)| dead::receiver_is_done(&letter, &to))
}
