//! The authority: it grants, and waits until what it granted is over.

use super::{
    Deserialize, Epoch, Event, Lease, Map, Message, NodeId, Outbox, Request, Serialize, State,
    Timer,
};

/// What the authority keeps on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Authority {
    /// The token of the last lease.
    pub epoch: Epoch,
    /// That lease, until its term is over.
    pub grant: Option<Grant>,
    /// The last request of each node that was granted: none of a node is granted twice, nor after a
    /// later one.
    pub latest: Map<NodeId, Request>,
}

/// A lease whose term is not over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Whose.
    pub to: NodeId,
    /// What it asked: at first, or to renew.
    pub request: Request,
}

impl Authority {
    /// True if it could have come about.
    pub(super) fn holds(&self) -> bool {
        self.grant
            .as_ref()
            .is_none_or(|grant| self.latest.get(&grant.to) == Some(&grant.request))
    }
}

impl Lease {
    /// A node asks for a lease, or for more of the one that it has.
    pub(super) fn on_ask(
        state: &mut State<Self>,
        from: NodeId,
        request: Request,
        renews: Option<Epoch>,
        out: &mut Outbox<Self>,
    ) {
        let authority = &mut state.durable.authority;
        let owner = authority.grant.as_ref().map(|grant| grant.to);
        let latest = authority.latest.get(&from);
        if owner == Some(from) && latest == Some(&request) {
            // Asked again, for the answer may be lost. The term is what it was.
            let epoch = authority.epoch;
            out.send(from, Message::Granted { request, epoch });
            return;
        }
        if latest.is_some_and(|latest| *latest >= request) {
            return; // An old letter: nobody counts it any more.
        }
        let is_renewal = renews == Some(authority.epoch) && owner == Some(from);
        let may = match (renews, owner) {
            // Who asks anew has stopped, or crashed: what it held is over, by its own word.
            (None, Some(owner)) => owner == from,
            (None, None) => true,
            // What it wants more of may be over.
            (Some(_), _) => is_renewal,
        };
        if !may {
            out.send(from, Message::Denied { request });
            return;
        }
        if is_renewal {
            out.tell(Event::Extended { to: from, request });
        } else {
            // A lease of its own, with a token of its own, whoever had the one before.
            let Some(next) = authority.epoch.0.checked_add(1) else {
                return; // Out of tokens.
            };
            authority.epoch = Epoch(next);
            out.tell(Event::Leased {
                to: from,
                request,
                epoch: authority.epoch,
            });
        }
        authority.grant = Some(Grant { to: from, request });
        authority.latest.insert(from, request);
        // This and the token are on the disk before the answer leaves: see `Sealed`.
        out.arm(Timer::Expire);
        let epoch = authority.epoch;
        out.send(from, Message::Granted { request, epoch });
    }

    /// The term is over on the authority's clock: on its holder's, too, as long as they differ by no
    /// more than is allowed.
    pub(super) fn on_expire(state: &mut State<Self>, out: &mut Outbox<Self>) {
        let authority = &mut state.durable.authority;
        if authority.grant.take().is_some() {
            let epoch = authority.epoch;
            out.tell(Event::Expired { epoch });
        }
    }
}
