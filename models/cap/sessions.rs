//! Sequential consistency: could an object that does one thing at a time have made this, if each
//! client's calls happen in its own order, whatever the clock on the wall said?
//!
//! Lamport, *How to Make a Multiprocessor Computer That Correctly Executes Multiprocess Programs*, IEEE
//! Transactions on Computers C-28(9), 1979.

use std::collections::HashSet;

use quorate::data::Map;

use super::ledger::Calls;
use crate::history::{Operation, RegisterCall, RegisterReply};

type OneCall<'a> = Operation<'a, RegisterCall<Option<String>>, RegisterReply<Option<String>>>;

/// True if there is an order of all calls that returned, and of any others, in which every get finds
/// what was put last, and the calls of one client that returned come in its order. A put of unknown
/// outcome may happen at any time, or never.
pub(super) fn is_sequential(calls: &Calls, client_of: &Map<u32, u64>) -> bool {
    let operations = calls.operations();
    let mut sessions: Vec<(u64, Vec<OneCall<'_>>)> = Vec::new();
    let mut loose = Vec::new();
    for operation in operations {
        let client = client_of.get(&operation.id.0).copied().unwrap_or_default();
        match (
            operation.reply,
            sessions.iter_mut().find(|(of, _)| *of == client),
        ) {
            (None, _) => loose.push(operation),
            (Some(_), Some((_, session))) => session.push(operation),
            (Some(_), None) => sessions.push((client, vec![operation])),
        }
    }
    let sessions: Vec<Vec<OneCall<'_>>> = (sessions.into_iter().map(|(_, calls)| calls))
        .chain(loose.into_iter().map(|one| vec![one]))
        .collect();
    let mut seen = HashSet::new();
    let mut waiting = vec![(vec![0_usize; sessions.len()], None::<String>)];
    while let Some((at, value)) = waiting.pop() {
        let returned = |(session, at): (&Vec<OneCall<'_>>, &usize)| {
            session[*at..].iter().all(|one| one.reply.is_none())
        };
        if sessions.iter().zip(&at).all(returned) {
            return true;
        }
        for (place, session) in sessions.iter().enumerate() {
            let Some(next) = session.get(at[place]) else {
                continue;
            };
            let after = match (next.call, next.reply) {
                (RegisterCall::Get, Some(RegisterReply::Value(found))) if *found != value => {
                    continue;
                }
                (RegisterCall::Get, _) => value.clone(),
                (RegisterCall::Put(put), _) => put.clone(),
            };
            let mut now = at.clone();
            now[place] += 1;
            if seen.insert((now.clone(), after.clone())) {
                waiting.push((now, after));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{OperationId, RegisterReply::Value};

    fn put(value: &str) -> RegisterCall<Option<String>> {
        RegisterCall::Put(Some(value.to_owned()))
    }

    fn found(value: &str) -> RegisterReply<Option<String>> {
        Value(Some(value.to_owned()))
    }

    /// Who, what, and the reply.
    type Step = (
        u64,
        RegisterCall<Option<String>>,
        Option<RegisterReply<Option<String>>>,
    );

    /// One after the other.
    fn in_a_row(steps: &[Step]) -> bool {
        let mut calls = Calls::default();
        let mut client_of = Map::new();
        for (ticket, (client, call, reply)) in (0..).zip(steps) {
            client_of.insert(ticket, *client);
            calls.called(OperationId(ticket), call.clone()).unwrap();
            if let Some(reply) = reply {
                calls.returned(OperationId(ticket), reply.clone()).unwrap();
            }
        }
        is_sequential(&calls, &client_of)
    }

    #[test]
    fn a_stale_read_of_another_client_is_sequential() {
        let done = Some(RegisterReply::Done);
        assert!(in_a_row(&[
            (0, put("A"), done),
            (1, RegisterCall::Get, Some(Value(None))),
        ]));
    }

    #[test]
    fn a_stale_read_of_the_writer_is_not() {
        let done = Some(RegisterReply::Done);
        assert!(!in_a_row(&[
            (0, put("A"), done),
            (0, RegisterCall::Get, Some(Value(None))),
        ]));
    }

    #[test]
    fn two_clients_that_see_two_puts_in_two_orders_are_not() {
        let done = || Some(RegisterReply::Done);
        let get = |client, value| (client, RegisterCall::Get, Some(found(value)));
        let puts = [(0, put("A"), done()), (1, put("B"), done())];
        let [one, other] = puts;
        let agree = [
            one.clone(),
            other.clone(),
            get(2, "B"),
            get(2, "A"),
            get(3, "B"),
            get(3, "A"),
        ];
        assert!(in_a_row(&agree));
        let disagree = [
            one,
            other,
            get(2, "B"),
            get(2, "A"),
            get(3, "A"),
            get(3, "B"),
        ];
        assert!(!in_a_row(&disagree));
    }

    #[test]
    fn a_put_of_unknown_outcome_may_happen_late_or_never() {
        let lost = (0, put("A"), None);
        assert!(in_a_row(&[
            lost.clone(),
            (0, RegisterCall::Get, Some(Value(None)))
        ]));
        assert!(in_a_row(&[
            lost,
            (0, RegisterCall::Get, Some(Value(None))),
            (0, RegisterCall::Get, Some(found("A"))),
        ]));
    }
}
