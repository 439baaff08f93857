//! Fair weather while a fault stands: whether those who are asked can answer, though the cut is not
//! healed and what crashed stays down.
//!
//! The calm of `recovers` heals everything first, so it cannot say what becomes of a call *during* a
//! cut. Here everything that is sent on a link that is open arrives, and alarms that send again ring,
//! but nothing heals and nobody gives up. What was under way is all lost, or all arrives: both are
//! tried. If a call is not answered even so, then it is the fault that keeps it from being.

use quorate::cap::{Cap, Event, Timer};
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use super::{Ledger, Model};
use crate::action::{Action, Cut};
use crate::flaw::Twin;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

/// How often every alarm that sends again rings.
const ROUNDS: usize = 4;

/// Of whom it is asked that they answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// Every node that is up.
    Everyone,
    /// Every node that is up, hears a majority that is up, itself in it, and is heard by it.
    Majorities,
}

/// True if every call under way at such a node is answered, and not refused.
pub(super) fn answers<M: Twin<Cap>>(
    world: &Model<M>,
    state: &Snapshot<M, Ledger>,
    whom: Whom,
) -> bool {
    let cut = (state.adversary.cut).and_then(|cut| world.faults.cuts.get(cut));
    let up: NodeSet = state.running().map(|(id, _)| id).collect();
    let counts = |node: NodeId| match whom {
        Whom::Everyone => up.contains(node),
        Whom::Majorities => {
            let open = |one, other| cut.is_none_or(|cut: &Cut| !cut.blocks(one, other));
            let reached = up
                .iter()
                .filter(|other| open(node, *other) && open(*other, node));
            up.contains(node) && NodeSet::first(world.len()).majority() <= reached.count()
        }
    };
    let waiting = |state: &Snapshot<M, Ledger>| {
        let mut clients = state.clients.iter();
        clients.any(|client| client.waiting.is_some_and(counts))
    };
    if !waiting(state) {
        return true;
    }
    [Vec::new(), state.network.to_vec()]
        .into_iter()
        .all(|mail| {
            let mut state = state.clone();
            state.network = Shared::new(mail);
            for _ in 0..ROUNDS {
                if !settle(world, &mut state) {
                    return false;
                }
                if !waiting(&state) {
                    return true;
                }
                ring(world, &mut state);
            }
            settle(world, &mut state) && !waiting(&state)
        })
}

/// Everything that can arrive does. False if a call is refused over it.
fn settle<M: Twin<Cap>>(world: &Model<M>, state: &mut Snapshot<M, Ledger>) -> bool {
    loop {
        let mut moved = false;
        let mut mail = Vec::new();
        world.each_action(state, |action| {
            if let Action::Deliver(_) = action {
                mail.push(action);
            }
        });
        for action in mail {
            if let Some(next) = world.apply(state, &action) {
                let events = world.events(state, &action);
                if (events.iter()).any(|(_, event)| matches!(event, Event::Refused { .. })) {
                    return false;
                }
                *state = next;
                moved = true;
            }
        }
        if !moved {
            return true;
        }
    }
}

fn ring<M: Twin<Cap>>(world: &Model<M>, state: &mut Snapshot<M, Ledger>) {
    let mut alarms = Vec::new();
    world.each_action(state, |action| {
        if let Action::Ring {
            timer: Timer::Retry(_) | Timer::Spread(_),
            ..
        } = action
        {
            alarms.push(action);
        }
    });
    for alarm in alarms {
        if let Some(next) = world.apply(state, &alarm) {
            *state = next;
        }
    }
}
