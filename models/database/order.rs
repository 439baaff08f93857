//! What clients know of the order of stamps: what was acknowledged, what was read, and what that broke.

use std::fmt;

use quorate::data::Map;
use quorate::database::{Call, Event, Stamp, Value};
use quorate::machine::{Machine, NodeId};

use super::{DELETED_STAYS, KEY, MONOTONIC, NEWER_WINS, REGULAR, RETURN_ONCE};
use crate::ghost::{Breaches, Ghost};

/// What is known of the key `x`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says of something that it happened"
)]
pub(crate) struct Order {
    /// The newest write that has returned.
    pub(super) acknowledged: Option<Stamp>,
    /// The newest delete that has.
    deleted: Option<Stamp>,
    /// The newest write that a read has returned.
    found: Option<Stamp>,
    /// By the value: the stamps of those writes that have returned.
    stamps: Map<String, Stamp>,
    /// Calls under way, by ticket.
    open: Map<u64, Open>,
    /// What was broken.
    pub(crate) breaches: Breaches,
    /// A read has found what somebody wrote.
    pub(super) is_found: bool,
    /// A read has found a write that had not returned.
    pub(crate) is_found_early: bool,
    /// A call was refused.
    pub(super) is_refused: bool,
    /// A call was given up.
    pub(super) is_failed: bool,
    /// A delete was given up: it may have taken effect, and gone.
    may_be_gone: bool,
}

/// What was so when the call began.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Open {
    /// The newest write that had returned.
    acknowledged: Option<Stamp>,
    /// The newest delete that had.
    deleted: Option<Stamp>,
    /// The newest write that a read had returned.
    found: Option<Stamp>,
    /// What the call writes to the key, if it writes.
    write: Option<Value>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.acknowledged {
            Some(stamp) => write!(f, "the newest write that returned is {stamp:?}")?,
            None => write!(f, "no write has returned")?,
        }
        if let Some(stamp) = self.deleted {
            write!(f, "; the newest delete is {stamp:?}")?;
        }
        if let Some(stamp) = self.found {
            write!(f, "; the newest that was read is {stamp:?}")?;
        }
        write!(f, "{}", self.breaches)
    }
}

pub(super) fn ticket_of(call: &Call) -> Option<u64> {
    match call {
        Call::Write { ticket, .. } | Call::Read { ticket, .. } | Call::Transact { ticket, .. } => {
            Some(*ticket)
        }
        Call::Suspect { .. } => None,
    }
}

pub(super) fn answered(event: &Event) -> u64 {
    let (Event::Wrote { ticket, .. }
    | Event::Read { ticket, .. }
    | Event::Transacted { ticket, .. }
    | Event::Refused { ticket, .. }
    | Event::Failed { ticket, .. }) = event;
    *ticket
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Order {
    fn ticket(call: &Call) -> Option<u64> {
        ticket_of(call)
    }

    fn finished(event: &Event) -> Option<u64> {
        Some(answered(event))
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        let Some(ticket) = ticket_of(call) else {
            return;
        };
        let write = match call {
            Call::Write { writes, .. } => {
                let ours = writes.iter().find(|(key, _)| key == KEY);
                ours.map(|(_, value)| value.clone())
            }
            Call::Read { .. } | Call::Transact { .. } | Call::Suspect { .. } => None,
        };
        let open = Open {
            acknowledged: self.acknowledged,
            deleted: self.deleted,
            found: self.found,
            write,
        };
        self.open.insert(ticket, open);
    }

    fn on_event(&mut self, _: NodeId, event: &Event) {
        let ticket = answered(event);
        let Some(open) = self.open.remove(&ticket) else {
            self.breaches.note(true, RETURN_ONCE);
            return;
        };
        match event {
            Event::Wrote { token, .. } => {
                let stamp = token.of(KEY).stamp;
                self.breaches.note(stamp < open.acknowledged, NEWER_WINS);
                self.acknowledged = self.acknowledged.max(stamp);
                match (open.write, stamp) {
                    (Some(Some(value)), Some(stamp)) => {
                        self.stamps.insert(value, stamp);
                    }
                    (Some(None), _) => self.deleted = self.deleted.max(stamp),
                    (Some(Some(_)), None) | (None, _) => {}
                }
            }
            Event::Read { values, token, .. } => {
                // Of a write that has returned, what its coordinator said; of another, what the reader says.
                let known = values
                    .first()
                    .and_then(|value| self.stamps.get(value))
                    .copied();
                let stamp = known.or(token.of(KEY).stamp);
                self.is_found |= !values.is_empty();
                self.is_found_early |= self.acknowledged < stamp;
                // A tombstone that went leaves nothing, which is what it says.
                let says_nothing = |newest: Option<Stamp>| {
                    stamp.is_none()
                        && newest.is_some()
                        && (self.may_be_gone || newest <= open.deleted)
                };
                let is_older = |newest: Option<Stamp>| stamp < newest && !says_nothing(newest);
                self.breaches.note(is_older(open.acknowledged), REGULAR);
                self.breaches.note(is_older(open.found), MONOTONIC);
                let is_back = !values.is_empty() && stamp < open.deleted;
                self.breaches.note(is_back, DELETED_STAYS);
                self.found = self.found.max(stamp);
            }
            Event::Transacted { .. } => {}
            Event::Refused { .. } => self.is_refused = true,
            Event::Failed { .. } => {
                self.is_failed = true;
                self.may_be_gone |= open.write == Some(None);
            }
        }
    }
}
