//! What clients asked and were told, and the verdict on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use quorate::kv::{Operation, Reply};
use quorate::udp::served::{Answer, Command};

use crate::history::{History, OperationId, linearizable};
use crate::kv::OneStore;

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Entry {
    /// At which node.
    pub node: usize,
    /// What.
    pub operation: Operation,
    /// Its place among all calls and replies.
    pub called: usize,
    /// The place of its reply, and the reply, if there was one.
    pub returned: Option<(usize, Reply)>,
    /// It was told that nothing came of it.
    pub is_void: bool,
}

/// What an answer says of the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was done, and this came of it.
    Of(Reply),
    /// Nothing came of it, nor ever will.
    OfNothing,
    /// Nobody knows.
    Unknown,
}

/// What the answer to a command says.
pub fn came(command: &Command, answer: Answer) -> Came {
    match answer {
        Answer::Done | Answer::Swapped(true) => Came::Of(Reply::Done),
        Answer::Value(value) => Came::Of(Reply::Value(value)),
        Answer::Number(number) => Came::Of(Reply::Value(Some(number.to_string()))),
        Answer::Swapped(false) => Came::Of(Reply::Mismatched),
        Answer::NotLeader(_) | Answer::Busy | Answer::Refused(_) | Answer::Unanswered => {
            Came::OfNothing
        }
        Answer::Siblings(_) | Answer::Unknown if command.is_read() => Came::OfNothing,
        Answer::Siblings(_) | Answer::Unknown => Came::Unknown,
    }
}

/// The command as what a store does; nothing if it is for operators.
pub fn operation(command: &Command) -> Option<Operation> {
    match command.clone() {
        Command::Get { key } => Some(Operation::Get { key }),
        Command::Set { key, value } => Some(Operation::Put { key, value }),
        Command::CompareAndSwap { key, expected, new } => {
            Some(Operation::CompareAndSwap { key, expected, new })
        }
        Command::Delete { key } => Some(Operation::Delete { key }),
        Command::Add { key, by } => Some(Operation::Increment { key, by }),
        Command::Members(_) | Command::HandOver(_) => None,
    }
}

/// All operations, in the order of their calls.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    places: usize,
}

impl Book {
    /// A client asks. Gives the number of the entry.
    pub fn call(&mut self, node: usize, operation: Operation) -> usize {
        let called = self.place();
        self.entries.push(Entry {
            node,
            operation,
            called,
            returned: None,
            is_void: false,
        });
        self.entries.len() - 1
    }

    /// It is told. What is not known is not written down.
    pub fn tell(&mut self, number: usize, came: Came) {
        let place = self.place();
        let entry = &mut self.entries[number];
        match came {
            Came::Of(reply) => entry.returned = Some((place, reply)),
            Came::OfNothing => entry.is_void = true,
            Came::Unknown => {}
        }
    }

    /// All of them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn place(&mut self) -> usize {
        self.places += 1;
        self.places
    }

    /// Could a store that does one thing at a time have answered so?
    ///
    /// # Errors
    ///
    /// Why not, and what was asked of the key.
    pub fn linearizable(&self) -> Result<(), String> {
        let mut events: Vec<(usize, usize)> = Vec::new();
        for (number, entry) in self.entries.iter().enumerate() {
            if !entry.is_void {
                events.push((entry.called, number));
                events.extend(entry.returned.iter().map(|(place, _)| (*place, number)));
            }
        }
        events.sort_unstable();
        let mut history: History<Operation, Reply> = History::default();
        for (place, number) in events {
            let entry = &self.entries[number];
            let id = OperationId(u32::try_from(number).unwrap_or(u32::MAX));
            let recorded = match &entry.returned {
                Some((returned, reply)) if *returned == place => {
                    history.returned(id, reply.clone())
                }
                Some(_) | None => history.called(id, entry.operation.clone()),
            };
            recorded.map_err(|misuse| misuse.to_string())?;
        }
        match linearizable(&OneStore, &history) {
            Ok(_) => Ok(()),
            Err(refutation) => {
                let number = refutation.unexplained.0 as usize;
                Err(self.story(number, &refutation.to_string()))
            }
        }
    }

    /// What was asked of the key of this operation, up to its reply.
    fn story(&self, number: usize, why: &str) -> String {
        let told = &self.entries[number];
        let key = told.operation.key().clone();
        let end = told
            .returned
            .as_ref()
            .map_or(usize::MAX, |(place, _)| *place);
        let mut text = format!("{why}\nof key {key}:\n");
        for (number, entry) in self.entries.iter().enumerate() {
            let operation = &entry.operation;
            if *operation.key() != key || entry.is_void || entry.called > end {
                continue;
            }
            let name = OperationId(u32::try_from(number).unwrap_or(u32::MAX));
            let came = match &entry.returned {
                Some((place, reply)) => format!("{reply:?} at {place}"),
                None => "unknown".to_owned(),
            };
            let _ = writeln!(
                text,
                "  {name} at {}, n{}: {operation:?} -> {came}",
                entry.called, entry.node
            );
        }
        text
    }

    /// Is what all nodes answer in the end, `last`, the same, and not older than what was answered
    /// before? For a store in which each node answers alone.
    ///
    /// # Errors
    ///
    /// Which key of which node is wrong, and how.
    pub fn converged(
        &self,
        last: &BTreeMap<(usize, String), Option<String>>,
    ) -> Result<(), String> {
        let mut of_key: BTreeMap<&String, BTreeSet<&Option<String>>> = BTreeMap::new();
        for ((_, key), value) in last {
            of_key.entry(key).or_default().insert(value);
        }
        for (key, values) in of_key {
            if values.len() > 1 {
                return Err(format!(
                    "{key} has {values:?} at different nodes, in the calm"
                ));
            }
            let value = values.into_iter().next().and_then(Option::as_ref);
            self.is_latest(key, value)?;
        }
        Ok(())
    }

    /// A write is later than whatever its node had answered: so what everyone has in the end is no
    /// value that a node had answered with when it acknowledged a write of another.
    fn is_latest(&self, key: &str, last: Option<&String>) -> Result<(), String> {
        for later in &self.entries {
            let (Some((_, Reply::Done)), Operation::Put { key: of, value }) =
                (&later.returned, &later.operation)
            else {
                continue;
            };
            if of != key || Some(value) == last {
                continue;
            }
            let shown = |earlier: &Entry| {
                let (Some((place, reply)), true) = (&earlier.returned, earlier.node == later.node)
                else {
                    return false;
                };
                let shown = match (&earlier.operation, reply) {
                    (Operation::Put { value, .. }, Reply::Done) => Some(value),
                    (Operation::Get { .. }, Reply::Value(value)) => value.as_ref(),
                    (_, _) => return false,
                };
                let is_of_key = earlier.operation.key() == key;
                *place < later.called && is_of_key && shown == last
            };
            if last.is_none() {
                return Err(format!(
                    "{key} has no value, and {value:?} was acknowledged"
                ));
            }
            if self.entries.iter().any(shown) {
                return Err(format!(
                    "{key} has {last:?} in the end, and n{} had shown that before it acknowledged \
                     {value:?}",
                    later.node
                ));
            }
        }
        Ok(())
    }
}
