//! Transactions, and plain calls among them, as one object that does one thing at a time.

use std::fmt;

use quorate::database::{Call, Change, Event, Outcome, Value};
use quorate::machine::{Machine, NodeId};

use super::order::{answered, ticket_of};
use crate::ghost::Ghost;
use crate::history::{self, History, OperationId, Specification};

/// The history of the calls, and whether it is linearizable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Serial {
    history: History<Asked, Answer>,
    pub(crate) is_linearizable: bool,
    pub(super) is_once: bool,
}

impl Default for Serial {
    fn default() -> Self {
        Self {
            history: History::default(),
            is_linearizable: true,
            is_once: true,
        }
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_linearizable {
            "linearizable"
        } else {
            "not linearizable"
        };
        write!(f, "{} ({word})", self.history)
    }
}

/// What was asked of the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    /// A transaction.
    Transact(Option<Change>),
    /// A plain write.
    Put(Value),
    /// A plain read.
    Get,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Value| value.clone().unwrap_or_else(|| "nothing".into());
        match self {
            Self::Transact(None) => write!(f, "serial read"),
            Self::Transact(Some(Change { expected, new })) => {
                write!(f, "{} if {}", word(new), word(expected))
            }
            Self::Put(value) => write!(f, "put {}", word(value)),
            Self::Get => write!(f, "get"),
        }
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    /// To a transaction.
    Came(Outcome),
    /// To a plain write.
    Done,
    /// To a plain read.
    Value(Value),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Value| value.clone().unwrap_or_else(|| "nothing".into());
        match self {
            Self::Came(Outcome::Applied) => f.write_str("applied"),
            Self::Came(Outcome::Unexpected(found)) => {
                write!(f, "not applied, it has {}", word(found))
            }
            Self::Came(Outcome::Found(found)) | Self::Value(found) => write!(f, "{}", word(found)),
            Self::Done => f.write_str("done"),
        }
    }
}

/// One key: what it has.
struct OneKey;

impl Specification for OneKey {
    type Call = Asked;
    type Reply = Answer;
    type Key = ();
    type Part = Value;

    fn key_of(_: &Asked) -> &() {
        &()
    }

    fn part(&self, (): &()) -> Value {
        None
    }

    fn apply(value: &Value, call: &Asked) -> (Value, Answer) {
        let kept = || value.clone();
        match call {
            Asked::Get => (kept(), Answer::Value(kept())),
            Asked::Put(new) => (new.clone(), Answer::Done),
            Asked::Transact(None) => (kept(), Answer::Came(Outcome::Found(kept()))),
            Asked::Transact(Some(Change { expected, new })) if expected == value => {
                (new.clone(), Answer::Came(Outcome::Applied))
            }
            Asked::Transact(Some(_)) => (kept(), Answer::Came(Outcome::Unexpected(kept()))),
        }
    }

    fn only_reads(call: &Asked) -> bool {
        match call {
            Asked::Get | Asked::Transact(None) => true,
            Asked::Put(_) | Asked::Transact(Some(_)) => false,
        }
    }
}

fn operation_id(ticket: u64) -> OperationId {
    OperationId(u32::try_from(ticket).unwrap_or(u32::MAX))
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Serial {
    fn ticket(call: &Call) -> Option<u64> {
        ticket_of(call)
    }

    fn finished(event: &Event) -> Option<u64> {
        Some(answered(event))
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        let (ticket, asked) = match call {
            Call::Write { ticket, writes, .. } => {
                let value = writes.first().and_then(|(_, value)| value.clone());
                (ticket, Asked::Put(value))
            }
            Call::Read { ticket, .. } => (ticket, Asked::Get),
            Call::Transact { ticket, change, .. } => (ticket, Asked::Transact(change.clone())),
            Call::Suspect { .. } => return,
        };
        self.is_once &= self.history.called(operation_id(*ticket), asked).is_ok();
    }

    fn on_event(&mut self, _: NodeId, event: &Event) {
        let (ticket, answer) = match event {
            Event::Wrote { ticket, .. } => (ticket, Answer::Done),
            Event::Read { ticket, values, .. } => (ticket, Answer::Value(values.first().cloned())),
            Event::Transacted { ticket, outcome } => (ticket, Answer::Came(outcome.clone())),
            // It never began; or nobody knows whether it took effect.
            Event::Refused { .. } | Event::Failed { .. } => return,
        };
        self.is_once &= self.history.returned(operation_id(*ticket), answer).is_ok();
        self.is_linearizable = history::linearizable(&OneKey, &self.history).is_ok();
    }
}

impl Serial {
    /// True if this came of some transaction.
    pub(super) fn came(&self, outcome: impl Fn(&Outcome) -> bool) -> bool {
        let operations = self.history.operations();
        operations
            .iter()
            .any(|one| matches!(one.reply, Some(Answer::Came(it)) if outcome(it)))
    }

    /// True if something that never returned was seen by another.
    pub(super) fn finished_for_another(&self) -> bool {
        let operations = self.history.operations();
        operations.iter().any(|one| {
            let Asked::Transact(Some(Change { new, .. })) = one.call else {
                return false;
            };
            let sees = |other: &history::Operation<'_, Asked, Answer>| {
                matches!(other.reply, Some(Answer::Came(Outcome::Found(found) | Outcome::Unexpected(found))) if found == new)
            };
            one.reply.is_none() && operations.iter().any(sees)
        })
    }
}
