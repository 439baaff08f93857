//! Whether a fresh write would be acknowledged, here and now.
//!
//! The calls of a world are counted, and when they are all made there is nothing left to show that the
//! store still serves. So the goal of *serves again* makes one more call, at the leader, and runs the
//! machines on from there by themselves: every message arrives once, no alarm rings, and no node that is
//! down says anything.

use std::collections::VecDeque;
use std::convert::Infallible;

use quorate::machine::{Input, NodeId, Output, State, step};
use quorate::store::{Call, Event, Role, Store};

use crate::flaw::Twin;
use crate::ghost::Ghost;
use crate::snapshot::Snapshot;

/// The ticket of the fresh write. No script has so many calls.
const TICKET: u64 = u64::MAX;

/// True if the leader of the last term that has one acknowledges a fresh write.
pub(super) fn acknowledges<M: Twin<Store>, G: Ghost<M>>(
    machines: &[M],
    snapshot: &Snapshot<M, G>,
) -> bool {
    let mut states: Vec<Option<State<M>>> = (snapshot.nodes.iter())
        .map(|node| node.up().cloned())
        .collect();
    let leads = |state: &State<M>| matches!(state.volatile.role, Role::Leader(_));
    let leaders = snapshot.running().filter(|(_, state)| leads(state));
    let last = leaders.max_by_key(|(_, state)| state.durable.term);
    let Some((leader, _)) = last else {
        return false;
    };
    let call = Call::Put {
        ticket: TICKET,
        key: "x".into(),
        value: "fresh".into(),
    };
    let mut mail = VecDeque::from([(leader, Input::Call(call))]);
    while let Some((node, input)) = mail.pop_front() {
        let place = usize::try_from(node.0).unwrap_or(usize::MAX);
        let (Some(machine), Some(slot)) = (machines.get(place), states.get_mut(place)) else {
            continue;
        };
        let Some(state) = slot.take() else {
            continue;
        };
        let taken = step(machine, state, input);
        *slot = Some(taken.state);
        let Ok(outputs) = taken.sealed.persist(|_| Ok::<(), Infallible>(()));
        for output in outputs {
            match output {
                Output::Event(Event::Done { ticket: TICKET }) => return true,
                Output::Send { to, message } => {
                    let from = NodeId(node.0);
                    mail.push_back((to, Input::Message { from, message }));
                }
                Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => {}
            }
        }
    }
    false
}
