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
pub fn is_sequential(calls: &Calls, client_of: &Map<u32, u64>) -> bool {
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
