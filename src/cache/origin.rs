//! The store behind caches.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::{Cache, Event, Message, Reach, Request, Timer, Version};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// A put that waits until caches have let go of what is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Round {
    /// Who put it.
    pub from: NodeId,
    /// By what request.
    pub request: Request,
    /// Who has not let go yet, as far as is known.
    pub missing: NodeSet,
}

impl Cache {
    pub(super) fn on_fetch(
        state: &State<Self>,
        from: NodeId,
        request: Request,
        key: String,
        out: &mut Outbox<Self>,
    ) {
        let stored = state.durable.values.get(&key).cloned();
        let (version, value) = match stored {
            Some((version, value)) => (version, Some(value)),
            None => (Version::default(), None),
        };
        let fetched = Message::Fetched {
            request,
            key,
            version,
            value,
        };
        out.send(from, fetched);
    }

    pub(super) fn on_write(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        request: Request,
        (key, value): (String, String),
        out: &mut Outbox<Self>,
    ) {
        let durable = &mut state.durable;
        let latest = durable.latest.get(&from).copied().unwrap_or_default();
        if request <= latest {
            return; // It was done, or is older than one that was.
        }
        let version = durable.values.get(&key).map_or(0, |(version, _)| version.0);
        let version = Version(version.saturating_add(1));
        durable.latest.insert(from, request);
        durable.values.insert(key.clone(), (version, value.clone()));
        out.tell(Event::Stored {
            from,
            request,
            key: key.clone(),
            version,
            value,
        });
        // First the value, then the letting go: else a cache might ask in between, and keep the old one.
        let void = Message::Void {
            key: key.clone(),
            version,
        };
        out.broadcast(self.caches, &void);
        out.arm(Timer::Settle(key.clone(), version));
        let round = Round {
            from,
            request,
            missing: self.caches,
        };
        state.volatile.rounds.insert((key, version), round);
    }

    pub(super) fn on_voided(
        state: &mut State<Self>,
        from: NodeId,
        name: (String, Version),
        out: &mut Outbox<Self>,
    ) {
        let rounds = &mut state.volatile.rounds;
        let Some(round) = rounds.get_mut(&name) else {
            return; // It is over.
        };
        round.missing.remove(from);
        if round.missing.is_empty() {
            out.disarm(Timer::Settle(name.0.clone(), name.1));
            Self::finish(state, name, Reach::Everywhere, out);
        }
    }

    /// It has waited long enough. Whoever has not answered may have what it had until it is too old.
    pub(super) fn on_settle(
        state: &mut State<Self>,
        name: (String, Version),
        out: &mut Outbox<Self>,
    ) {
        Self::finish(state, name, Reach::Store, out);
    }

    fn finish(
        state: &mut State<Self>,
        name: (String, Version),
        reach: Reach,
        out: &mut Outbox<Self>,
    ) {
        if let Some(Round { from, request, .. }) = state.volatile.rounds.remove(&name) {
            out.send(from, Message::Written { request, reach });
        }
    }
}
