//! Which messages of PBFT can never matter again.
//!
//! Each rule rests on what only grows in a replica: its view; in a view, the orders it accepted and how
//! far each has come; its last stable checkpoint; and, where nothing crashes, the votes it has counted.

use quorate::data::NodeSet;
use quorate::pbft::{Assignment, Durable, Message, Pbft, Sizes, Slot, Stage, Stance, View};

use super::symbolic::Symbolic;
use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// What the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) sizes: Sizes,
    pub(super) traitors: NodeSet,
    pub(super) last: View,
    pub(super) checkpoints: bool,
    /// Replicas follow others into a view, so that view changes concern all of them.
    pub(super) joining: bool,
    /// No honest replica crashes, so what it has counted stays counted.
    pub(super) immortal: bool,
}

/// What became of an order at a replica.
enum Order<'a> {
    /// It may still be accepted.
    Open,
    /// It never will be.
    Refused,
    /// It was.
    Accepted(&'a Slot),
}

fn order<'a>(durable: &'a Durable, assignment: &Assignment) -> Order<'a> {
    let over = assignment.view < durable.view || assignment.sequence <= durable.low();
    if over {
        return Order::Refused;
    }
    if durable.view < assignment.view || durable.stance == Stance::Changing {
        return Order::Open;
    }
    match durable.slots.get(&assignment.sequence) {
        None => Order::Open,
        Some(slot) if slot.digest == assignment.digest => Order::Accepted(slot),
        Some(_) => Order::Refused,
    }
}

impl Rules {
    /// True if it does not matter to the receiver whether the message arrives, now or ever.
    pub(super) fn is_dead<M: Twin<Pbft<Symbolic>>>(
        &self,
        letter: &Letter<Message>,
        to: &Node<M>,
    ) -> bool {
        let (durable, volatile) = match to {
            Node::Traitor => return self.is_useless_to_a_traitor(letter),
            Node::Down { durable, .. } => (durable, None),
            Node::Up { state, .. } => (&state.durable, Some(&state.volatile)),
        };
        // What it has counted, unless a crash may forget it.
        let counted = volatile.filter(|_| self.immortal);
        let votes = |place| counted.and_then(|counted| counted.votes.get(place));
        match &letter.message {
            Message::PrePrepare { order: one, .. } => match order(durable, &one.value.0) {
                Order::Open => false,
                Order::Refused => true,
                Order::Accepted(slot) => durable.batches.contains_key(&slot.digest),
            },
            Message::Prepare(prepare) => match order(durable, &prepare.value.0) {
                Order::Open => false,
                Order::Refused => true,
                Order::Accepted(slot) => {
                    let votes = votes(&prepare.value.0.sequence);
                    slot.stage != Stage::PrePrepared
                        || votes.is_some_and(|votes| votes.prepares.contains_key(&prepare.by))
                }
            },
            Message::Commit(commit) => match order(durable, &commit.value.0) {
                Order::Open => false,
                Order::Refused => true,
                Order::Accepted(slot) => {
                    let votes = votes(&commit.value.0.sequence);
                    slot.stage == Stage::Committed
                        || votes.is_some_and(|votes| votes.commits.contains(commit.by))
                }
            },
            Message::ViewChange(change) => {
                let view = change.value.view;
                let began =
                    view < durable.view || view == durable.view && durable.stance == Stance::Active;
                let known = counted.and_then(|counted| counted.view_changes.get(&change.by));
                began
                    || !self.joining && self.sizes.primary(view) != letter.to
                    || known.is_some_and(|known| view <= known.value.view)
            }
            Message::NewView(new_view) => {
                let view = new_view.value.view;
                view < durable.view || view == durable.view && durable.stance == Stance::Active
            }
            Message::Checkpoint(checkpoint) => {
                let place = checkpoint.value.sequence;
                let known = counted.and_then(|counted| counted.checkpoints.get(&place));
                place <= durable.low()
                    || known.is_some_and(|votes| votes.contains_key(&checkpoint.by))
            }
            Message::State { stable, .. } => stable.checkpoint.sequence <= durable.service.executed,
            Message::Answer(answer) => {
                let session = answer.value.session;
                let Some(counted) = counted else {
                    return false;
                };
                let waiting = counted.waiting.get(&session.client);
                waiting.is_none_or(|waiting| {
                    waiting.request.value.session != session
                        || waiting.answers.get(&answer.by) == Some(&answer.value.reply)
                })
            }
            Message::Reading(reading) => {
                let session = reading.value.0.session;
                let Some(counted) = counted else {
                    return false;
                };
                let waiting = counted.waiting.get(&session.client);
                waiting.is_none_or(|waiting| {
                    waiting.request.value.session != session
                        || waiting.readings.get(&reading.by) == Some(&reading.value.0.reply)
                })
            }
            Message::Request(_)
            | Message::Read(_)
            | Message::Status { .. }
            | Message::Fetch { .. }
            | Message::Page { .. } => false,
        }
    }

    /// A traitor makes certificates and new views of what it hears, and nothing of the rest.
    fn is_useless_to_a_traitor(&self, letter: &Letter<Message>) -> bool {
        match &letter.message {
            // In the last view nobody asks what was prepared in it.
            Message::PrePrepare { order, .. } => self.last <= order.value.0.view,
            Message::Prepare(prepare) => self.last <= prepare.value.0.view,
            Message::ViewChange(change) => !self
                .traitors
                .contains(self.sizes.primary(change.value.view)),
            Message::Checkpoint(_) => !self.checkpoints,
            Message::Request(_)
            | Message::Read(_)
            | Message::Commit(_)
            | Message::Answer(_)
            | Message::Reading(_)
            | Message::NewView(_)
            | Message::Status { .. }
            | Message::State { .. }
            | Message::Fetch { .. }
            | Message::Page { .. } => true,
        }
    }
}
