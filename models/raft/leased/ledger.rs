//! The ghost of leases: who has one, who is elected meanwhile, and whether the clocks were as good as is
//! assumed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate::machine::{Machine, NodeId};
use quorate::raft::{Call, Event, Timer};

use super::{LEADER, TIMEOUT};
use crate::clocked::{Clocked, Timing, Told};
use crate::ghost::Ghost;
use crate::raft::Clients;

/// How often two clocks ticked since a follower's alarm was armed, while the leader counted as well.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Window {
    follower: u64,
    leader: u64,
}

/// What was told.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one verdict for each promise, each read by its own"
)]
pub(super) struct Ledger {
    /// What was told of all else.
    pub(super) clients: Clients,
    /// How many ticks the leader's clock may lose in a timeout.
    drift: u64,
    /// Which alarms of leases the first leader counts.
    counting: BTreeSet<Timer>,
    windows: BTreeMap<NodeId, Window>,
    /// Who has a lease.
    holders: BTreeSet<NodeId>,
    /// The first leader had one.
    leased: bool,
    /// Its clock has lost more than the bound.
    pub(super) drifted: bool,
    /// Another was elected while someone had a lease.
    pub(super) against: bool,
    /// A read was answered by one that had a lease.
    pub(super) read: bool,
    /// Another was elected after a lease was over.
    pub(super) followed: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.clients)?;
        for holder in &self.holders {
            write!(f, "; {holder} has a lease")?;
        }
        for (node, Window { follower, leader }) in &self.windows {
            write!(
                f,
                "; since {node} set its alarm its clock ticked {follower} times, that of {LEADER} {leader}"
            )?;
        }
        for (is, words) in [
            (self.drifted, "a clock was worse than the bound"),
            (self.read, "a read was answered by a lease"),
            (self.followed, "another was elected after a lease"),
            (self.against, "another was elected against a lease"),
        ] {
            if is {
                write!(f, "; {words}")?;
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// Nothing was told yet.
    pub(super) fn new(drift: u64) -> Self {
        Self {
            clients: Clients::default(),
            drift,
            counting: BTreeSet::new(),
            windows: BTreeMap::new(),
            holders: BTreeSet::new(),
            leased: false,
            drifted: false,
            against: false,
            read: false,
            followed: false,
        }
    }

    /// A clock ticks. The premise is checked when a follower has counted a timeout: has the leader, that
    /// counts still, counted that much less the drift?
    fn ticks(&mut self, node: NodeId) {
        let enough = TIMEOUT - self.drift;
        if node == LEADER {
            for window in self.windows.values_mut() {
                window.leader += 1;
            }
            self.windows.retain(|_, window| window.leader < enough);
        } else if let Some(window) = self.windows.get_mut(&node) {
            window.follower += 1;
            if window.follower == TIMEOUT {
                self.drifted = true;
            }
        }
    }

    /// An alarm begins to be counted.
    fn counts(&mut self, node: NodeId, timer: Timer) {
        match timer {
            Timer::Lease(_) if node == LEADER => {
                self.counting.insert(timer);
            }
            Timer::Election if !self.counting.is_empty() => {
                self.windows.insert(node, Window::default());
            }
            Timer::Lease(_)
            | Timer::Election
            | Timer::Heartbeat
            | Timer::Quorum
            | Timer::Transfer => {}
        }
    }

    /// It is nobody's business how a clock ticks if nobody else counts.
    fn counted(&mut self, node: NodeId, timer: Timer) {
        if node == LEADER && self.counting.remove(&timer) && self.counting.is_empty() {
            self.windows.clear();
        }
        if timer == Timer::Election {
            self.windows.remove(&node);
        }
    }

    fn happens(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Leased { .. } => {
                self.leased |= node == LEADER;
                self.holders.insert(node);
            }
            Event::LeaseEnded { .. } => {
                self.holders.remove(&node);
            }
            Event::Elected { .. } => {
                let against = self.holders.iter().any(|holder| *holder != node);
                self.against |= against;
                self.followed |= self.leased && !against;
            }
            Event::Replied { .. } => self.read |= self.holders.contains(&node),
            Event::Proposed { .. }
            | Event::Decided { .. }
            | Event::Committed { .. }
            | Event::Installed { .. }
            | Event::Transferred { .. }
            | Event::Abandoned { .. }
            | Event::Refused { .. } => {}
        }
    }
}

impl<M, C> Ghost<Clocked<M, C>> for Ledger
where
    M: Machine<Call = Call, Event = Event, Timer = Timer>,
    C: Timing<M>,
{
    fn ticket(call: &Call) -> Option<u64> {
        <Clients as Ghost<M>>::ticket(call)
    }

    fn finished(event: &Told<Event, Timer>) -> Option<u64> {
        match event {
            Told::Event(event) => <Clients as Ghost<M>>::finished(event),
            Told::Ticked | Told::Counts(_) | Told::Counted(_) => None,
        }
    }

    fn on_call(&mut self, client: usize, node: NodeId, call: &Call) {
        <Clients as Ghost<M>>::on_call(&mut self.clients, client, node, call);
    }

    fn on_event(&mut self, node: NodeId, event: &Told<Event, Timer>) {
        match event {
            Told::Ticked => self.ticks(node),
            Told::Counts(timer) => self.counts(node, *timer),
            Told::Counted(timer) => self.counted(node, *timer),
            Told::Event(event) => {
                self.happens(node, event);
                <Clients as Ghost<M>>::on_event(&mut self.clients, node, event);
            }
        }
    }

    /// It counts no more, and has no lease.
    fn on_crash(&mut self, node: NodeId) {
        self.holders.remove(&node);
        self.windows.remove(&node);
    }
}
