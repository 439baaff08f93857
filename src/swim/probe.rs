//! Probes: a ping, others who ping in one's stead, and what becomes of it.

use serde::{Deserialize, Serialize};

use super::{Event, Message, Standing, Standings, Status, Swim, Timer, Volatile};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// A probe under way. A member has one at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Probe {
    /// Who is pinged.
    pub target: NodeId,
    /// The name of the probe, which its answer repeats.
    pub number: u64,
    /// Who was asked to ping as well.
    pub asked: NodeSet,
}

/// A ping in somebody's stead.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Relay {
    /// The name of the probe, which that one chose.
    pub number: u64,
    /// Who is pinged, until it answers.
    pub target: Option<NodeId>,
}

impl Relay {
    fn open(number: u64, target: NodeId) -> Self {
        let target = Some(target);
        Self { number, target }
    }
}

impl Swim {
    /// Those whose turn it may be next: §4.3, everyone once before anyone twice.
    fn turns(&self, volatile: &Volatile) -> NodeSet {
        self.live(volatile).difference(volatile.round)
    }

    /// Arms the race of those whose turn it may be.
    pub(super) fn arm_turns(&self, volatile: &Volatile, out: &mut Outbox<Self>) {
        let health = volatile.health;
        for peer in self.turns(volatile) {
            out.arm(Timer::Probe { peer, health });
        }
    }

    /// Disarms whatever the probe under way, or the race for the next one, has armed.
    pub(super) fn disarm_probe(&self, peers: NodeSet, out: &mut Outbox<Self>) {
        for health in 0..=self.health_max {
            for peer in peers {
                out.disarm(Timer::Probe { peer, health });
            }
            out.disarm(Timer::Direct { health });
            out.disarm(Timer::Indirect { health });
        }
    }

    /// The probe is over; the next period begins.
    fn rest(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        self.disarm_probe(NodeSet::EMPTY, out);
        state.volatile.probe = None;
        if self.turns(&state.volatile).is_empty() {
            state.volatile.round = NodeSet::EMPTY;
        }
        self.arm_turns(&state.volatile, out);
    }

    /// This one takes part no more.
    pub(super) fn drop_out(&self, state: &mut State<Self>, peer: NodeId, out: &mut Outbox<Self>) {
        state.volatile.round.remove(peer);
        let probe = &state.volatile.probe;
        if probe.as_ref().is_some_and(|probe| probe.target == peer) {
            return self.rest(state, out);
        }
        for health in 0..=self.health_max {
            out.disarm(Timer::Probe { peer, health });
        }
        if probe.is_none() && self.turns(&state.volatile).is_empty() {
            self.rest(state, out);
        }
    }

    /// It is this one's turn.
    pub(super) fn on_turn(&self, state: &mut State<Self>, target: NodeId, out: &mut Outbox<Self>) {
        let turns = self.turns(&state.volatile);
        if state.volatile.probe.is_some() || !turns.contains(target) {
            return; // One at a time, and each in its turn.
        }
        self.disarm_probe(turns, out);
        let volatile = &mut state.volatile;
        volatile.number = volatile.number.wrapping_add(1);
        volatile.round.insert(target);
        let (number, asked) = (volatile.number, NodeSet::EMPTY);
        volatile.probe = Some(Probe {
            target,
            number,
            asked,
        });
        let standings = self.with_news(volatile, target, target);
        self.spend(volatile, target);
        let health = volatile.health;
        let origin = self.me;
        out.send(
            target,
            Message::Ping {
                origin,
                number,
                standings,
            },
        );
        out.arm(Timer::Direct { health });
    }

    /// Somebody wants to know whether this member is there.
    pub(super) fn on_ping(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        origin: NodeId,
        number: u64,
        standings: &Standings,
        out: &mut Outbox<Self>,
    ) {
        self.hear(state, standings, out);
        let (target, standings) = (self.me, self.with_news(&state.volatile, from, self.me));
        out.send(
            from,
            Message::Ack {
                target,
                origin,
                number,
                standings,
            },
        );
    }

    /// The answer is late: others are asked to ping.
    pub(super) fn on_late(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Some(Probe { target, number, .. }) = state.volatile.probe else {
            return; // It has come.
        };
        let helpers = self.pick_helpers(&state.volatile, target, number);
        if helpers.is_empty() {
            return self.on_no_answer(state, out); // There is nobody to ask.
        }
        let standings = self.about(&state.volatile, target);
        let request = Message::PingRequest {
            target,
            number,
            standings,
        };
        out.broadcast(helpers, &request);
        if let Some(probe) = &mut state.volatile.probe {
            probe.asked = helpers;
        }
        let health = state.volatile.health;
        out.arm(Timer::Indirect { health });
    }

    /// Who is asked to ping: from probe to probe others, if there are more than enough.
    fn pick_helpers(&self, volatile: &Volatile, target: NodeId, number: u64) -> NodeSet {
        let mut candidates = self.live(volatile);
        candidates.remove(target);
        let count = candidates.len() as u64;
        let first = number.checked_rem(count).unwrap_or(0);
        let skipped = usize::try_from(first).unwrap_or(0);
        let in_turn = candidates.iter().cycle().skip(skipped);
        let wanted = candidates.len().min(self.helpers as usize);
        in_turn.take(wanted).collect()
    }

    /// Somebody asks this member to ping another one.
    pub(super) fn on_ping_request(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        target: NodeId,
        number: u64,
        standings: &Standings,
        out: &mut Outbox<Self>,
    ) {
        if target == self.me {
            return self.on_ping(state, from, from, number, standings, out);
        }
        self.hear(state, standings, out);
        let relays = &mut state.volatile.relays;
        if relays.get(&from).is_some_and(|last| number <= last.number) {
            return; // A copy, or of a probe that is over, for a member has one at a time.
        }
        relays.insert(from, Relay::open(number, target));
        let (origin, standings) = (from, self.about(&state.volatile, target));
        out.send(
            target,
            Message::Ping {
                origin,
                number,
                standings,
            },
        );
    }

    /// Somebody is there.
    #[expect(clippy::too_many_arguments, reason = "they are the message's fields")]
    pub(super) fn on_ack(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        target: NodeId,
        origin: NodeId,
        number: u64,
        standings: &Standings,
        out: &mut Outbox<Self>,
    ) {
        if origin != self.me {
            let open = Relay::open(number, from);
            let relay = state.volatile.relays.get_mut(&origin);
            let relay = relay.filter(|relay| from == target && **relay == open);
            if let Some(relay) = relay {
                relay.target = None;
                self.hear(state, standings, out);
                let standings = self.about(&state.volatile, from);
                out.send(
                    origin,
                    Message::Ack {
                        target: from,
                        origin,
                        number,
                        standings,
                    },
                );
            }
            return;
        }
        let probe = &state.volatile.probe;
        let is_awaited =
            (probe.as_ref()).is_some_and(|probe| (probe.target, probe.number) == (target, number));
        if !is_awaited {
            // Late, or a copy. What it carries was true of a time that is past, and is told again on
            // the next ping; without it, no answer matters longer than its probe.
            return;
        }
        self.hear(state, standings, out);
        state.volatile.health = state.volatile.health.saturating_sub(1);
        self.rest(state, out);
    }

    /// Nobody had an answer.
    pub(super) fn on_no_answer(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let Some(Probe { target, asked, .. }) = state.volatile.probe else {
            return; // It has come.
        };
        self.worsen(&mut state.volatile);
        let standing = state.volatile.view.get(&target).copied();
        self.rest(state, out);
        // Who is suspected already is not accused again.
        if let Some(standing) = standing.filter(|standing| standing.status == Status::Alive) {
            let node = target;
            out.tell(Event::Accused { node, asked });
            let status = Status::Suspect;
            self.learn(state, target, Standing { status, ..standing }, out);
        }
    }

    /// Something went wrong that may be this member's own fault.
    pub(super) fn worsen(&self, volatile: &mut Volatile) {
        volatile.health = volatile.health.saturating_add(1).min(self.health_max);
    }
}
