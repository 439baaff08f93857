//! What promises know of the past of a store: who led, who promised what, what was decided, and what
//! clients asked and were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};
use quorate::store::{Action, Call, Event, Term};

use super::{FENCED, LINEARIZABLE, ONE_LEADER, ONE_VALUE};
use crate::ghost::{Breaches, Ghost};
use crate::history::{self, History, OperationId, Specification};
use crate::symmetry::Renaming;

/// What happened so far.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Past {
    /// Every leader, by term.
    reigns: Vec<(Term, NodeId)>,
    /// The last term that each member promised.
    promised: Vec<Term>,
    /// What was decided, by key and version: the value, and the first term in which it was.
    pub(super) decided: BTreeMap<(String, u64), (Term, String)>,
    /// The calls under way that were made at a member when a majority had promised a later term than
    /// it had.
    fenced: BTreeSet<u64>,
    history: History<Asked, Reply>,
    /// What was broken. It follows from what was told, and is judged when something is: not at every
    /// state.
    breaches: Breaches,
}

impl Past {
    /// The past of `members` that have done nothing yet.
    pub(super) fn new(members: usize) -> Self {
        Self {
            reigns: Vec::new(),
            promised: vec![Term(0); members],
            decided: BTreeMap::new(),
            fenced: BTreeSet::new(),
            history: History::default(),
            breaches: Breaches::default(),
        }
    }

    fn promised_by(&self, node: NodeId) -> Option<&Term> {
        self.promised.get(usize::try_from(node.0).ok()?)
    }

    /// True if a majority has promised a later term than this member has.
    fn is_fenced(&self, node: NodeId) -> bool {
        let Some(own) = self.promised_by(node) else {
            return false;
        };
        let later = self.promised.iter().filter(|term| own < *term).count();
        NodeSet::first(self.promised.len()).majority() <= later
    }

    /// True if a member that once led is asked after it was fenced off.
    pub(super) fn fenced_leader_is_asked(&self) -> bool {
        !self.fenced.is_empty()
    }

    /// True if a get saw a value that somebody wrote.
    pub(super) fn saw_a_write(&self) -> bool {
        let operations = self.history.operations();
        (operations.iter()).any(|one| matches!(one.reply, Some(Reply::Value(Some(_)))))
    }

    /// True if a swap found another value than it expected.
    pub(super) fn mismatched(&self) -> bool {
        let operations = self.history.operations();
        (operations.iter()).any(|one| one.reply == Some(&Reply::Mismatched))
    }

    /// True if nothing was told that breaks the promise.
    pub(super) fn keeps(&self, promise: &'static str) -> bool {
        !self.breaches.of(promise)
    }

    /// A call took effect and returned.
    fn returned(&mut self, ticket: u64, reply: Reply) {
        self.breaches.note(self.fenced.remove(&ticket), FENCED);
        let returned = self.history.returned(operation_id(ticket), reply);
        self.breaches.note(returned.is_err(), LINEARIZABLE);
        self.judge();
    }

    /// A call is said to have had no effect: the history goes on as if it had never been made.
    fn refused(&mut self, ticket: u64) {
        self.fenced.remove(&ticket);
        let id = operation_id(ticket);
        let mut others = History::default();
        for event in self.history.events() {
            if event.id() != id {
                // What was possible with it is possible without.
                let recorded = others.record(event.clone());
                self.breaches.note(recorded.is_err(), LINEARIZABLE);
            }
        }
        self.history = others;
        self.judge();
    }

    fn judge(&mut self) {
        let order = history::linearizable(&OneCopy, &self.history);
        self.breaches.note(order.is_err(), LINEARIZABLE);
    }
}

fn operation_id(ticket: u64) -> OperationId {
    OperationId(u32::try_from(ticket).unwrap_or(u32::MAX))
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Past {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Get { ticket, .. }
        | Call::Put { ticket, .. }
        | Call::CompareAndSwap { ticket, .. }) = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket }
            | Event::Got { ticket, .. }
            | Event::Mismatched { ticket }
            | Event::Refused { ticket, .. }
            | Event::Unknown { ticket } => Some(*ticket),
            Event::Promised { .. } | Event::Elected { .. } | Event::Decided { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, node: NodeId, call: &Call) {
        let (ticket, asked) = asked(call);
        if self.reigns.iter().any(|(_, leader)| *leader == node) && self.is_fenced(node) {
            self.fenced.insert(ticket);
        }
        let called = self.history.called(operation_id(ticket), asked);
        self.breaches.note(called.is_err(), LINEARIZABLE);
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Promised { term } => {
                let place = usize::try_from(node.0).unwrap_or(usize::MAX);
                if let Some(promised) = self.promised.get_mut(place) {
                    *promised = (*promised).max(*term);
                }
            }
            Event::Elected { term } => {
                let split = self.reigns.iter().any(|(other, _)| other == term);
                self.breaches.note(split, ONE_LEADER);
                self.reigns.push((*term, node));
                self.reigns.sort_unstable();
            }
            Event::Decided {
                term,
                key,
                version,
                value,
            } => {
                let first = || (*term, value.clone());
                let known = self.decided.entry((key.clone(), *version));
                let forked = known.or_insert_with(first).1 != *value;
                self.breaches.note(forked, ONE_VALUE);
            }
            Event::Done { ticket } => self.returned(*ticket, Reply::Done),
            Event::Got { ticket, value } => self.returned(*ticket, Reply::Value(value.clone())),
            Event::Mismatched { ticket } => self.returned(*ticket, Reply::Mismatched),
            Event::Refused { ticket, .. } => self.refused(*ticket),
            // It stays under way for ever: it may take effect, or not.
            Event::Unknown { ticket } => {
                self.fenced.remove(ticket);
            }
        }
    }

    fn renamed(&self, names: &Renaming) -> Self {
        let mut renamed = self.clone();
        for (_, leader) in &mut renamed.reigns {
            *leader = names.node(*leader);
        }
        renamed.reigns.sort_unstable();
        for (node, term) in (0..).map(NodeId).zip(&self.promised) {
            let place = usize::try_from(names.node(node).0).expect("a member of this world");
            renamed.promised[place] = *term;
        }
        renamed
    }
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (term, leader) in &self.reigns {
            write!(f, "{leader} led {term:?}; ")?;
        }
        write!(f, "promised:")?;
        for term in &self.promised {
            write!(f, " {term:?}")?;
        }
        write!(f, "; decided:")?;
        for ((key, version), (term, value)) in &self.decided {
            write!(f, " {key} v{version} = {value:?} in {term:?}")?;
        }
        write!(f, "; clients saw {:?}{}", self.history, self.breaches)
    }
}

/// What was asked of which key.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Asked {
    key: String,
    action: Action,
}

fn asked(call: &Call) -> (u64, Asked) {
    let (ticket, key, action) = match call.clone() {
        Call::Get { ticket, key } => (ticket, key, Action::Get),
        Call::Put { ticket, key, value } => (ticket, key, Action::Put(value)),
        Call::CompareAndSwap {
            ticket,
            key,
            expected,
            new,
        } => (ticket, key, Action::CompareAndSwap { expected, new }),
    };
    (ticket, Asked { key, action })
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.action {
            Action::Get => write!(f, "get {key}"),
            Action::Put(value) => write!(f, "put {key} {value:?}"),
            Action::CompareAndSwap { expected, new } => match expected {
                Some(old) => write!(f, "swap {key} {old:?} for {new:?}"),
                None => write!(f, "swap {key} nothing for {new:?}"),
            },
        }
    }
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Done,
    Value(Option<String>),
    Mismatched,
}

/// One copy of every key.
struct OneCopy;

impl Specification for OneCopy {
    type Call = Asked;
    type Reply = Reply;
    type Key = String;
    type Part = Option<String>;

    fn key_of(call: &Asked) -> &String {
        &call.key
    }

    fn part(&self, _: &String) -> Option<String> {
        None
    }

    fn apply(part: &Option<String>, call: &Asked) -> (Option<String>, Reply) {
        match (&call.action, call.action.writes(part.as_deref())) {
            (_, Some(value)) => (Some(value.to_owned()), Reply::Done),
            (Action::Get, None) => (part.clone(), Reply::Value(part.clone())),
            (Action::Put(_) | Action::CompareAndSwap { .. }, None) => {
                (part.clone(), Reply::Mismatched)
            }
        }
    }

    fn only_reads(call: &Asked) -> bool {
        match call.action {
            Action::Get => true,
            Action::Put(_) | Action::CompareAndSwap { .. } => false,
        }
    }
}
