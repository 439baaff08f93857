//! What a replicated store looks like to its clients, if it is one.

use quorate::kv::{Operation, Reply};

use crate::history::Specification;

/// The store of one machine that nothing befalls.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneStore;

impl Specification for OneStore {
    type Call = Operation;
    type Reply = Reply;
    type Key = String;
    type Part = Option<String>;

    fn key_of(call: &Operation) -> &String {
        call.key()
    }

    fn part(&self, _: &String) -> Option<String> {
        None
    }

    fn apply(part: &Option<String>, call: &Operation) -> (Option<String>, Reply) {
        call.apply(part.as_ref())
    }

    fn only_reads(call: &Operation) -> bool {
        match call {
            Operation::Get { .. } => true,
            Operation::Put { .. }
            | Operation::Delete { .. }
            | Operation::CompareAndSwap { .. }
            | Operation::Increment { .. } => false,
        }
    }
}
