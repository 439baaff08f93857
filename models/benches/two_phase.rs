//! Two-phase commit as one writes it for stateright by hand, in the manner of its own example.
//!
//! This is what our engines are measured against, so it must be what a user of stateright would
//! write: the vectors, the set of messages and the actions are those of its `2pc.rs`. It has the
//! one promise that [`quorate_models::yardstick`] makes of the same protocol.

use std::collections::BTreeSet;
use std::ops::Range;

use quorate_models::yardstick::CONSISTENT;
use stateright::{Model, Property};

/// How many states there are, for three resource managers and more. The first four are TLC's.
const STATES: [usize; 7] = [288, 1_568, 8_832, 50_816, 296_448, 1_745_408, 10_340_352];

/// How many states there are with this many resource managers: three to nine.
pub(crate) fn states(resources: usize) -> usize {
    STATES[resources - 3]
}

/// The model, with this many resource managers.
#[derive(Clone, Debug)]
pub(crate) struct TwoPhase {
    pub(crate) resources: usize,
}

/// A state of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    resources: Vec<Resource>,
    manager: Manager,
    /// Whom the manager knows to be prepared.
    prepared: Vec<bool>,
    /// Everything that was ever sent.
    sent: BTreeSet<Message>,
}

/// How far a resource manager is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Resource {
    Working,
    Prepared,
    Committed,
    Aborted,
}

/// How far the transaction manager is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Manager {
    Deciding,
    Committed,
    Aborted,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Prepared { resource: usize },
    Commit,
    Abort,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// The manager learns that a resource manager is prepared.
    Learn(usize),
    /// The manager, to whom everybody is prepared, commits.
    Commit,
    /// The manager aborts.
    Abort,
    /// A resource manager prepares.
    Prepare(usize),
    /// A resource manager aborts of its own accord.
    GiveUp(usize),
    /// A resource manager hears that it is to commit.
    HearCommit(usize),
    /// A resource manager hears that it is to abort.
    HearAbort(usize),
}

impl TwoPhase {
    fn each(&self) -> Range<usize> {
        0..self.resources
    }
}

impl Model for TwoPhase {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            resources: vec![Resource::Working; self.resources],
            manager: Manager::Deciding,
            prepared: vec![false; self.resources],
            sent: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let is_deciding = state.manager == Manager::Deciding;
        if is_deciding && state.prepared.iter().all(|known| *known) {
            actions.push(Action::Commit);
        }
        if is_deciding {
            actions.push(Action::Abort);
        }
        let commit = state.sent.contains(&Message::Commit);
        let abort = state.sent.contains(&Message::Abort);
        for resource in self.each() {
            if is_deciding && state.sent.contains(&Message::Prepared { resource }) {
                actions.push(Action::Learn(resource));
            }
            if state.resources[resource] == Resource::Working {
                actions.push(Action::Prepare(resource));
                actions.push(Action::GiveUp(resource));
            }
            if commit {
                actions.push(Action::HearCommit(resource));
            }
            if abort {
                actions.push(Action::HearAbort(resource));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Learn(resource) => next.prepared[resource] = true,
            Action::Commit => {
                next.manager = Manager::Committed;
                next.sent.insert(Message::Commit);
            }
            Action::Abort => {
                next.manager = Manager::Aborted;
                next.sent.insert(Message::Abort);
            }
            Action::Prepare(resource) => {
                next.resources[resource] = Resource::Prepared;
                next.sent.insert(Message::Prepared { resource });
            }
            Action::HearCommit(resource) => next.resources[resource] = Resource::Committed,
            Action::GiveUp(resource) | Action::HearAbort(resource) => {
                next.resources[resource] = Resource::Aborted;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(CONSISTENT, |_, state: &State| {
            !(state.resources.contains(&Resource::Aborted)
                && state.resources.contains(&Resource::Committed))
        })]
    }
}
