//! The ghost of the causal store: which update came before which, who delivered what, and what the
//! clients saw.

use std::collections::BTreeSet;
use std::fmt;

use quorate::causal::{Call, Event, Update};
use quorate::clock::{Dot, Relation};
use quorate::data::Map;
use quorate::machine::{Machine, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    CAUSAL_DELIVERY, CLOCK_ORDER, CONVERGENT, FIFO, MONOTONIC_READS, MONOTONIC_WRITES, NO_CREATION,
    NO_DUPLICATION, READ_YOUR_WRITES, WRITES_FOLLOW_READS,
};
use crate::causality::{Operation, convergent};
use crate::ghost::{Breaches, Ghost};
use crate::symmetry::Renaming;

type Dots = BTreeSet<Dot>;

/// An update that a node made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Sent {
    update: Update,
    /// The updates that happened before it: those that its node had delivered, and what happened before
    /// those.
    past: Dots,
    /// What the session that asked for it had put before.
    puts: Dots,
    /// What it had got.
    gets: Dots,
}

/// What one client asked and was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Session {
    under_way: Option<(NodeId, Call)>,
    operations: Vec<Operation<String, String>>,
    puts: Dots,
    gets: Dots,
}

impl Session {
    /// What it did, with what it has asked and not been told.
    fn history(&self) -> Vec<Operation<String, String>> {
        let mut operations = self.operations.clone();
        operations.extend(self.pending());
        operations
    }

    /// The put under way, as one whose outcome is unknown.
    fn pending(&self) -> Option<Operation<String, String>> {
        match &self.under_way {
            Some((_, Call::Put { key, value, .. })) => Some(Operation::Put {
                key: key.clone(),
                value: value.clone(),
                returned: false,
            }),
            Some((_, Call::Get { .. })) | None => None,
        }
    }
}

/// What was told.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Witness {
    sent: Map<Dot, Sent>,
    delivered: Map<NodeId, Dots>,
    sessions: Map<u64, Session>,
    /// The promises that were broken.
    broken: Breaches,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sent.is_empty() {
            write!(f, "nothing was put")?;
        }
        for (place, (dot, sent)) in self.sent.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{dot:?} after {:?}", sent.past)?;
        }
        for (node, dots) in &self.delivered {
            write!(f, "; {node} has {dots:?}")?;
        }
        for (client, session) in &self.sessions {
            let words = session.history();
            if words
                .iter()
                .any(|word| matches!(word, Operation::Get { .. }))
            {
                write!(f, "; client {client}:")?;
                words
                    .iter()
                    .try_for_each(|word| write!(f, " {}", spelled(word)))?;
            }
        }
        write!(f, "{}", self.broken)
    }
}

fn spelled(operation: &Operation<String, String>) -> String {
    match operation {
        Operation::Put {
            key,
            value,
            returned: true,
        } => format!("{key}={value}"),
        Operation::Put { key, value, .. } => format!("{key}={value}?"),
        Operation::Get {
            key,
            value: Some(value),
        } => format!("{key}:{value}"),
        Operation::Get { key, value: None } => format!("{key}:-"),
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Witness {
    fn ticket(call: &Call) -> Option<u64> {
        Some(call.ticket())
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket, .. }
            | Event::Got { ticket, .. }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Sent(_) | Event::Delivered(_) => None,
        }
    }

    fn on_call(&mut self, client: usize, node: NodeId, call: &Call) {
        let session = (self.sessions).entry_or_insert_with(client as u64, Session::default);
        session.under_way = Some((node, call.clone()));
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Sent(update) => self.on_sent(node, update),
            Event::Delivered(update) => self.on_delivered(node, update),
            Event::Done { ticket, .. } => self.on_answer(node, *ticket, None),
            Event::Got { ticket, value, .. } => self.on_answer(node, *ticket, value.as_ref()),
            Event::Refused { ticket, .. } => {
                if let Some(client) = self.client_of(*ticket)
                    && let Some(session) = self.sessions.get_mut(&client)
                {
                    session.under_way = None;
                }
            }
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        let clients: Vec<u64> = self.sessions.keys().copied().collect();
        for client in clients {
            if let Some(session) = self.sessions.get_mut(&client)
                && matches!(session.under_way, Some((at, _)) if at == node)
            {
                session.operations.extend(session.pending());
                session.under_way = None;
            }
        }
    }

    fn renamed(&self, names: &Renaming) -> Self {
        Self {
            sent: names.value(&self.sent),
            delivered: names.value(&self.delivered),
            sessions: names.value(&self.sessions),
            broken: self.broken.clone(),
        }
    }
}

impl Witness {
    /// True if the promise was not broken.
    pub(super) fn keeps(&self, promise: &'static str) -> bool {
        !self.broken.of(promise)
    }

    fn demand(&mut self, promise: &'static str, kept: bool) {
        self.broken.note(!kept, promise);
    }

    fn has(&self, node: NodeId) -> Dots {
        self.delivered.get(&node).cloned().unwrap_or_default()
    }

    fn client_of(&self, ticket: u64) -> Option<u64> {
        let asks = |session: &Session| {
            (session.under_way.as_ref()).is_some_and(|(_, call)| call.ticket() == ticket)
        };
        let mut sessions = self.sessions.iter();
        sessions.find_map(|(client, session)| asks(session).then_some(*client))
    }

    /// The session that waits for this put, if one does.
    fn asker(&self, update: &Update) -> Session {
        let asks = |session: &&Session| {
            matches!(&session.under_way, Some((_, Call::Put { key, value, .. }))
                if *key == update.key && *value == update.version.value)
        };
        self.sessions
            .values()
            .find(asks)
            .cloned()
            .unwrap_or_default()
    }

    fn on_sent(&mut self, node: NodeId, update: &Update) {
        let (dot, has) = (update.version.dot(), self.has(node));
        self.demand(NO_CREATION, !self.sent.contains_key(&dot));
        let known = has.iter().filter_map(|dot| self.sent.get(dot));
        let mut past: Dots = known.flat_map(|sent| sent.past.iter().copied()).collect();
        past.extend(&has);
        let ordered = self.sent.iter().all(|(other, sent)| {
            let happened = if past.contains(other) {
                Relation::Before
            } else {
                Relation::Concurrent
            };
            sent.update.version.stamp.compare(&update.version.stamp) == happened
        });
        self.demand(CLOCK_ORDER, ordered);
        let Session { puts, gets, .. } = self.asker(update);
        let sent = Sent {
            update: update.clone(),
            past,
            puts,
            gets,
        };
        self.follows(&sent, &has);
        self.sent.insert(dot, sent);
        (self.delivered.entry_or_insert_with(node, Dots::new)).insert(dot);
    }

    /// Terry et al.: wherever a write is, there is what its session wrote and read before, and before it.
    fn follows(&mut self, sent: &Sent, has: &Dots) {
        let earlier = |dot: &Dot| {
            let earlier = self.sent.get(dot);
            earlier.is_some_and(|other| other.update.version.rank() < sent.update.version.rank())
        };
        let kept = |dots: &Dots| dots.is_subset(has) && dots.iter().all(earlier);
        let (puts, gets) = (kept(&sent.puts), kept(&sent.gets));
        self.demand(MONOTONIC_WRITES, puts);
        self.demand(WRITES_FOLLOW_READS, gets);
    }

    fn on_delivered(&mut self, node: NodeId, update: &Update) {
        let (dot, has) = (update.version.dot(), self.has(node));
        self.demand(NO_DUPLICATION, !has.contains(&dot));
        let sent = self.sent.get(&dot).cloned();
        let created = sent.as_ref().is_none_or(|sent| sent.update != *update);
        self.demand(NO_CREATION, !created);
        if let Some(sent) = sent {
            self.demand(CAUSAL_DELIVERY, sent.past.is_subset(&has));
            let mut own = sent.past.iter().filter(|other| other.node == dot.node);
            self.demand(FIFO, own.all(|other| has.contains(other)));
            self.follows(&sent, &has);
        }
        (self.delivered.entry_or_insert_with(node, Dots::new)).insert(dot);
    }

    fn on_answer(&mut self, node: NodeId, ticket: u64, value: Option<&String>) {
        let Some(client) = self.client_of(ticket) else {
            return;
        };
        let has = self.has(node);
        let dots: Vec<(Dot, String, String)> = (self.sent.iter())
            .map(|(dot, sent)| {
                let Update { key, version } = &sent.update;
                (*dot, key.clone(), version.value.clone())
            })
            .collect();
        let named = |key: &str, value: &str| {
            let found = dots.iter().find(|(_, k, v)| k == key && v == value);
            found.map(|(dot, ..)| *dot)
        };
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let Some((_, call)) = session.under_way.take() else {
            return;
        };
        match call {
            Call::Put { key, value, .. } => {
                session.puts.extend(named(&key, &value));
                session.operations.push(Operation::Put {
                    key,
                    value,
                    returned: true,
                });
            }
            Call::Get { key, .. } => {
                let own = session.puts.is_subset(&has);
                let monotonic = session.gets.is_subset(&has);
                session
                    .gets
                    .extend(value.and_then(|value| named(&key, value)));
                let value = value.cloned();
                session.operations.push(Operation::Get { key, value });
                self.demand(READ_YOUR_WRITES, own);
                self.demand(MONOTONIC_READS, monotonic);
            }
        }
        let histories: Vec<_> = self.sessions.values().map(Session::history).collect();
        self.demand(CONVERGENT, convergent(&histories).is_ok());
    }

    /// True if the node has all that happened before this update, and has it not.
    pub(super) fn lacks_nothing_but(&self, node: NodeId, dot: Dot) -> bool {
        let has = self.has(node);
        let sent = self.sent.get(&dot);
        !has.contains(&dot) && sent.is_some_and(|sent| sent.past.is_subset(&has))
    }

    // What shows that a world is not hollow.

    /// True if a node delivered an update of another one, and has one that happened before it and was
    /// made at a third.
    pub(super) fn some_answer_is_delivered(&self) -> bool {
        self.delivered.iter().any(|(node, dots)| {
            dots.iter().any(|dot| {
                let past = self.sent.get(dot).map(|sent| &sent.past);
                let mut past = past.into_iter().flatten();
                dot.node != *node && past.any(|cause| cause.node != *node && cause.node != dot.node)
            })
        })
    }

    /// True if a node delivered two updates of another one.
    pub(super) fn some_origin_is_followed(&self) -> bool {
        self.delivered.iter().any(|(node, dots)| {
            let others = dots.iter().filter(|dot| dot.node != *node);
            let others: Vec<NodeId> = others.map(|dot| dot.node).collect();
            others.windows(2).any(|pair| pair[0] == pair[1])
        })
    }

    /// True if two updates of one key did not know of each other, and somebody has both.
    pub(super) fn some_are_concurrent(&self) -> bool {
        self.delivered.values().any(|dots| {
            let sent = || dots.iter().filter_map(|dot| self.sent.get(dot));
            sent().any(|one| {
                sent().any(|other| {
                    let (a, b) = (&one.update.version.stamp, &other.update.version.stamp);
                    one.update.key == other.update.key && a.compare(b) == Relation::Concurrent
                })
            })
        })
    }

    /// True if this is so of what some session did.
    pub(super) fn some_session(&self, is: impl Fn(&[Operation<String, String>]) -> bool) -> bool {
        self.sessions
            .values()
            .any(|session| is(&session.operations))
    }

    /// True if everything that was sent was delivered at this node.
    pub(super) fn is_all_at(&self, node: NodeId) -> bool {
        self.sent.keys().all(|dot| self.has(node).contains(dot))
    }
}
