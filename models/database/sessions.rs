//! What each client wrote and read, and whether its session kept order.

use std::fmt;

use quorate::data::Map;
use quorate::database::{Call, Event, Stamp};
use quorate::machine::{Machine, NodeId};

use super::order::{answered, ticket_of};
use super::{KEY, MONOTONIC_READS, MONOTONIC_WRITES, READ_YOUR_WRITES, WRITES_FOLLOW_READS};
use crate::ghost::{Breaches, Ghost};

/// What is known of each client.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Sessions {
    /// Whose call this is, of those under way.
    client_of: Map<u64, u64>,
    /// The newest write of a client.
    wrote: Map<u64, Stamp>,
    /// The newest write that a client has read.
    read: Map<u64, Stamp>,
    /// What was broken.
    pub(super) breaches: Breaches,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (what, stamps) in [("wrote", &self.wrote), ("read", &self.read)] {
            for (client, stamp) in stamps {
                write!(f, "{separator}client {client} {what} {stamp:?}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() {
            write!(f, "nothing has returned")?;
        }
        write!(f, "{}", self.breaches)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Sessions {
    fn ticket(call: &Call) -> Option<u64> {
        ticket_of(call)
    }

    fn finished(event: &Event) -> Option<u64> {
        Some(answered(event))
    }

    fn on_call(&mut self, client: usize, _: NodeId, call: &Call) {
        if let Some(ticket) = ticket_of(call) {
            self.client_of.insert(ticket, client as u64);
        }
    }

    fn on_event(&mut self, _: NodeId, event: &Event) {
        let ticket = answered(event);
        let Some(client) = self.client_of.remove(&ticket) else {
            return;
        };
        let (wrote, read) = (
            self.wrote.get(&client).copied(),
            self.read.get(&client).copied(),
        );
        match event {
            Event::Wrote { token, .. } => {
                let stamp = token.of(KEY).stamp;
                self.breaches.note(stamp < wrote, MONOTONIC_WRITES);
                self.breaches.note(stamp < read, WRITES_FOLLOW_READS);
                if let Some(stamp) = stamp.max(wrote) {
                    self.wrote.insert(client, stamp);
                }
            }
            Event::Read { token, .. } => {
                let stamp = token.of(KEY).stamp;
                self.breaches.note(stamp < wrote, READ_YOUR_WRITES);
                self.breaches.note(stamp < read, MONOTONIC_READS);
                if let Some(stamp) = stamp.max(read) {
                    self.read.insert(client, stamp);
                }
            }
            Event::Transacted { .. } | Event::Refused { .. } | Event::Failed { .. } => {}
        }
    }
}

impl Sessions {
    /// True if some client has both written and read.
    pub(super) fn is_mixed(&self) -> bool {
        self.wrote
            .keys()
            .any(|client| self.read.contains_key(client))
    }
}
