//! Who is known to have what: what is sent again, and what is kept no longer.

use super::update::is_counted;
use super::{Causal, Durable, Message, PUSHED_MAX, Timer};
use crate::clock::{Dot, Vector};
use crate::machine::{NodeId, Outbox, State};

impl Causal {
    /// A member has delivered so much.
    pub(super) fn on_acknowledge(&self, state: &mut State<Self>, from: NodeId, clock: &Vector) {
        if is_counted(clock, self.members) {
            self.learn(&mut state.durable, from, clock);
        }
    }

    /// A member is known to have delivered so much.
    pub(super) fn learn(&self, durable: &mut Durable, member: NodeId, clock: &Vector) {
        if durable.learn(member, clock) {
            self.settle(durable);
        }
    }

    /// §5.3: what has become stable need not be kept.
    pub(super) fn settle(&self, durable: &mut Durable) {
        let stable = self.stable(durable);
        if stable != durable.stable {
            durable.forget(stable);
        }
    }

    /// What all members are known to have delivered.
    pub(super) fn stable(&self, durable: &Durable) -> Vector {
        let count = |origin| {
            let known = |member| (durable.known.get(&member)).map_or(0, |clock| clock.get(origin));
            let counts = self.others().iter().map(known);
            counts.fold(durable.clock.get(origin), u64::min)
        };
        let counts = self.members.iter().map(|origin| (origin, count(origin)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Sends each member the first updates that it is not known to have, as it can deliver them: causes
    /// first, so that none need be held back however few are sent.
    pub(super) fn push(&self, durable: &Durable, out: &mut Outbox<Self>) {
        for member in self.others() {
            let mut clock = durable.known.get(&member).cloned().unwrap_or_default();
            for _ in 0..PUSHED_MAX {
                let next = |origin| {
                    let counter = clock.get(origin).checked_add(1)?;
                    let dot = Dot {
                        node: origin,
                        counter,
                    };
                    let update = durable.log.get(&dot)?;
                    update.version.is_next(&clock).then(|| update.clone())
                };
                let Some(update) = self.members.iter().find_map(next) else {
                    break; // It has them all.
                };
                clock.merge(&update.version.stamp);
                out.send(member, Message::Update(update));
            }
        }
    }

    /// What this node has of the others. They learn of its own updates from those.
    pub(super) fn acknowledgement(&self, clock: &Vector) -> Message {
        let others = clock.iter().filter(|(node, _)| *node != self.me);
        Message::Acknowledge(others.collect())
    }
}

/// The alarm is armed while some member may not have what is in the log.
pub(super) fn alarm(was_idle: bool, durable: &Durable, out: &mut Outbox<Causal>) {
    match (was_idle, durable.log.is_empty()) {
        (true, false) => out.arm(Timer::Push),
        (false, true) => out.disarm(Timer::Push),
        (true, true) | (false, false) => {}
    }
}
