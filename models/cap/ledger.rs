//! What was told of the CAP store, folded for its promises.

use std::fmt;

use quorate::cap::{Call, Effect, Epoch, Event, Refusal, Tag};
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId};

use super::sessions::is_sequential;
use super::{EFFECTS_LATER, EPOCH_ONCE, NOT_BACK, READS_NOT_BACK, REFUSED, RETURN_ONCE, RYW};
use crate::ghost::{Breaches, Ghost};
use crate::history::{self, History, OperationId, Register, RegisterCall, RegisterReply};

/// What clients asked of the one key of a world, and what they were told.
pub type Calls = History<RegisterCall<Option<String>>, RegisterReply<Option<String>>>;

/// What a world's promises need to know. History is state: nothing else is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Watch {
    /// What clients were told, and when; and the latest tag of all.
    History,
    /// The latest tag that each node told, and each client was told.
    Order,
    /// What clients were told, and when; and the latest tag that each wrote.
    Sessions,
}

/// What was told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ledger {
    watch: Watch,
    pub(super) calls: Calls,
    /// Who made which call.
    pub(super) client_of: Map<OperationIndex, u64>,
    /// The latest tag that each node told; of [`Watch::History`], the latest of all under n0.
    pub(super) told: Map<NodeId, Tag>,
    /// The latest tag that each client wrote, and the latest that it met.
    wrote: Map<u64, Tag>,
    met: Map<u64, Tag>,
    /// The epochs that somebody was elected in.
    pub(super) epochs: Vec<Epoch>,
    /// Values of puts that were refused for good.
    denied: Vec<String>,
    /// Who refused because it could not reach enough.
    pub(super) unavailable: NodeSet,
    pub(super) linearizable: bool,
    pub(super) sequential: bool,
    breaches: Breaches,
}

/// A ticket, as histories number operations.
type OperationIndex = u32;

impl Ledger {
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            watch,
            calls: History::default(),
            client_of: Map::new(),
            told: Map::new(),
            wrote: Map::new(),
            met: Map::new(),
            epochs: Vec::new(),
            denied: Vec::new(),
            unavailable: NodeSet::EMPTY,
            linearizable: true,
            sequential: true,
            breaches: Breaches::default(),
        }
    }

    /// True if the promise was broken, as far as what was told shows.
    pub(super) fn breaks(&self, promise: &'static str) -> bool {
        self.breaches.of(promise)
    }

    /// The latest tag that anyone was told.
    pub(super) fn latest(&self) -> Tag {
        self.told.values().max().copied().unwrap_or_default()
    }

    /// True if each call could have taken effect at one moment between call and return.
    pub(crate) fn is_linearizable(&self) -> bool {
        self.linearizable
    }

    /// True if the same can be said when only the order of each client's own calls counts.
    pub(crate) fn is_sequential(&self) -> bool {
        self.sequential
    }

    /// True if every client read what it wrote, or something later.
    pub(crate) fn reads_its_writes(&self) -> bool {
        !self.breaks(RYW)
    }

    /// True if a get showed a value that somebody put.
    pub(super) fn saw_a_put(&self) -> bool {
        let operations = self.calls.operations();
        (operations.iter()).any(|one| matches!(one.reply, Some(RegisterReply::Value(Some(_)))))
    }

    /// True if a put was refused with the word that it has no effect.
    pub(super) fn denied_a_put(&self) -> bool {
        !self.denied.is_empty()
    }

    fn answers(&mut self, node: NodeId, ticket: u64, tag: Tag, reply: Told<'_>) {
        let index = operation(ticket).0;
        let client = self.client_of.get(&index).copied().unwrap_or_default();
        let at = match self.watch {
            Watch::History => NodeId(0),
            Watch::Order | Watch::Sessions => node,
        };
        let before = self.told.get(&node).copied().unwrap_or_default();
        let wrote = self.wrote.get(&client).copied().unwrap_or_default();
        let met = self.met.get(&client).copied().unwrap_or_default();
        let is_write = matches!(reply, Told::Done);
        if self.watch == Watch::Order {
            self.breaches.note(is_write && tag <= before, EFFECTS_LATER);
            // To show nothing is to show the latest, if that is a tombstone.
            let shows = matches!(reply, Told::Got(Some(_)));
            self.breaches.note(shows && tag < before, NOT_BACK);
            self.breaches.note(!is_write && tag < met, READS_NOT_BACK);
        }
        if self.watch != Watch::History {
            self.breaches.note(!is_write && tag < wrote, RYW);
        }
        if self.watch != Watch::Sessions {
            let latest = self.told.get(&at).copied().unwrap_or_default().max(tag);
            self.told.insert(at, latest);
        }
        if is_write && self.watch != Watch::History {
            self.wrote.insert(client, wrote.max(tag));
        }
        if self.watch == Watch::Order {
            self.met.insert(client, met.max(tag));
        }
        let reply = match reply {
            Told::Done => RegisterReply::Done,
            Told::Got(value) => {
                let is_denied = value.as_ref().is_some_and(|v| self.denied.contains(v));
                self.breaches.note(is_denied, REFUSED);
                RegisterReply::Value(value.clone())
            }
        };
        if self.watch == Watch::Order {
            return;
        }
        let once = self.calls.returned(operation(ticket), reply).is_ok();
        self.breaches.note(!once, RETURN_ONCE);
        self.linearizable = history::linearizable(&Register(None), &self.calls).is_ok();
        if self.watch == Watch::Sessions {
            self.sequential = self.linearizable || is_sequential(&self.calls, &self.client_of);
        }
    }

    /// The call was refused, and will have no effect.
    fn forget(&mut self, ticket: u64) {
        let id = operation(ticket);
        let mut rest = Calls::default();
        for event in self.calls.events() {
            if event.id() != id {
                let kept = rest.record(event.clone());
                debug_assert!(kept.is_ok(), "a part of a history is one");
            } else if let history::Event::Called(_, RegisterCall::Put(Some(value))) = event {
                self.denied.push(value.clone());
                self.denied.sort_unstable();
            }
        }
        self.calls = rest;
    }
}

/// What a call returned.
enum Told<'a> {
    Done,
    Got(&'a Option<String>),
}

pub(super) fn operation(ticket: u64) -> OperationId {
    OperationId(u32::try_from(ticket).unwrap_or(u32::MAX))
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.watch {
            Watch::History | Watch::Sessions => {
                let word = if self.linearizable { "" } else { "not " };
                write!(f, "{} ({word}linearizable", self.calls)?;
                if !self.sequential {
                    write!(f, ", not sequential")?;
                }
                write!(f, ")")?;
                for tag in self.told.values() {
                    write!(f, "; the latest told is {tag:?}")?;
                }
            }
            Watch::Order if self.told.is_empty() => write!(f, "nothing was told")?,
            Watch::Order => {
                for (place, (node, tag)) in self.told.iter().enumerate() {
                    let separator = if place == 0 { "" } else { "; " };
                    write!(f, "{separator}{node} has told {tag:?}")?;
                }
            }
        }
        for (client, tag) in &self.wrote {
            write!(f, "; client {client} wrote {tag:?}")?;
        }
        for (client, tag) in &self.met {
            write!(f, "; client {client} met {tag:?}")?;
        }
        for epoch in &self.epochs {
            write!(f, "; elected in epoch {epoch:?}")?;
        }
        for value in &self.denied {
            write!(f, "; {value:?} was refused for good")?;
        }
        if !self.unavailable.is_empty() {
            write!(f, "; unavailable at {}", self.unavailable)?;
        }
        write!(f, "{}", self.breaches)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Ledger {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Put { ticket, .. } | Call::Delete { ticket, .. } | Call::Get { ticket, .. }) =
            call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Done { ticket, .. }
            | Event::Got { ticket, .. }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Elected { .. } => None,
        }
    }

    fn on_call(&mut self, client: usize, _: NodeId, call: &Call) {
        let (ticket, asked) = match call {
            Call::Put { ticket, value, .. } => (ticket, RegisterCall::Put(Some(value.clone()))),
            Call::Delete { ticket, .. } => (ticket, RegisterCall::Put(None)),
            Call::Get { ticket, .. } => (ticket, RegisterCall::Get),
        };
        if self.watch != Watch::History {
            self.client_of.insert(operation(*ticket).0, client as u64);
        }
        if self.watch != Watch::Order {
            let once = self.calls.called(operation(*ticket), asked).is_ok();
            self.breaches.note(!once, RETURN_ONCE);
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Elected { epoch } => {
                self.breaches.note(self.epochs.contains(epoch), EPOCH_ONCE);
                if !self.epochs.contains(epoch) {
                    self.epochs.push(*epoch);
                    self.epochs.sort_unstable();
                }
            }
            Event::Done { ticket, tag } => self.answers(node, *ticket, *tag, Told::Done),
            Event::Got { ticket, tag, value } => {
                self.answers(node, *ticket, *tag, Told::Got(value));
            }
            Event::Refused {
                ticket,
                refusal,
                effect,
            } => {
                if *refusal == Refusal::Unavailable {
                    self.unavailable.insert(node);
                }
                // One of unknown outcome stays, and never returns.
                if *effect == Effect::None {
                    self.forget(*ticket);
                }
            }
        }
    }
}
