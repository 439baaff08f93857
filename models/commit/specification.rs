//! Transaction commit as a problem: Gray and Lamport's `TCommit`, which every protocol here solves.
//!
//! It says what the participants may do, whoever tells them: *Consensus on Transaction Commit*, ACM
//! TODS 31(1), 2006, §2. TLC finds 34 states and 94 transitions for three participants.

use stateright::{Model, Property};

/// How far a participant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It has not voted.
    Working,
    /// It has voted yes.
    Prepared,
    /// It has committed.
    Committed,
    /// It has aborted.
    Aborted,
}

/// The problem, for so many participants.
#[derive(Clone, Copy, Debug)]
pub struct TransactionCommit(
    /// How many.
    pub usize,
);

/// What a participant may do next: this one goes on to that stage.
pub type Step = (usize, Stage);

/// Everything that may happen next.
pub fn steps(stages: &[Stage]) -> Vec<Step> {
    let may_commit =
        (stages.iter()).all(|stage| matches!(stage, Stage::Prepared | Stage::Committed));
    let nobody_committed = !stages.contains(&Stage::Committed);
    let mut steps = Vec::new();
    for (participant, stage) in stages.iter().enumerate() {
        if *stage == Stage::Working {
            steps.push((participant, Stage::Prepared));
        }
        if *stage == Stage::Prepared && may_commit {
            steps.push((participant, Stage::Committed));
        }
        if matches!(stage, Stage::Working | Stage::Prepared) && nobody_committed {
            steps.push((participant, Stage::Aborted));
        }
    }
    steps
}

/// True if the problem leads from the one to the other, in any number of steps.
pub fn leads(from: &[Stage], to: &[Stage]) -> bool {
    from == to
        || steps(from).into_iter().any(|(participant, stage)| {
            let mut next = from.to_vec();
            next[participant] = stage;
            stage == to[participant] && leads(&next, to)
        })
}

impl Model for TransactionCommit {
    type State = Vec<Stage>;
    type Action = Step;

    fn init_states(&self) -> Vec<Vec<Stage>> {
        vec![vec![Stage::Working; self.0]]
    }

    fn actions(&self, state: &Vec<Stage>, actions: &mut Vec<Step>) {
        actions.extend(steps(state));
    }

    fn next_state(&self, last: &Vec<Stage>, (participant, stage): Step) -> Option<Vec<Stage>> {
        let mut next = last.clone();
        next[participant] = stage;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("consistent", |_, stages: &Vec<Stage>| {
            !(stages.contains(&Stage::Committed) && stages.contains(&Stage::Aborted))
        })]
    }
}
