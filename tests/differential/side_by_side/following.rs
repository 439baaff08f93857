//! What a member makes of a candidate's request, and of what a leader sends.

use std::collections::BTreeSet;

use quorate::raft::{Entry, Index, Message, Position, Term};
use quorate_differential::{Sabotage, Seen};

use super::{
    Case, Cases, ME, OTHER, Outcome, Pair, Role, SENDER, TERMS, adopted, append, end, followers,
    logs, position, same, tally,
};

/// Asks both for their votes, in all states. What was told apart is an error.
pub(crate) fn candidates(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    let ends: BTreeSet<Position> = logs(TERMS).iter().map(|log| end(log)).collect();
    for seen in followers(&[None, Some(ME), Some(SENDER), Some(OTHER)]) {
        for role in [
            Role::Follower,
            Role::Following,
            Role::Candidate,
            Role::Leader,
        ] {
            if role == Role::Following && seen.term == Term(0) {
                continue; // Nobody leads term 0.
            }
            for term in (1..=TERMS + 2).map(Term) {
                for last in ends.iter().copied() {
                    let pair = Pair::with_role(role, &seen, wrong);
                    let case = candidate(pair, role, term, last);
                    let asked = |told| format!("{role:?} {seen:?}, {term:?} {last:?}: {told}");
                    tally(&mut cases, case.map_err(asked)?);
                }
            }
        }
    }
    Ok(cases)
}

fn candidate(mut pair: Pair, role: Role, term: Term, last: Position) -> Result<Case, String> {
    let before = pair.seen()?;
    let [ours, theirs] = pair.hear(SENDER, &Message::RequestVote { term, last });
    let refusal = Outcome::of(
        &adopted(before.clone(), term),
        Some(Message::Stale { term }),
    );
    let silence = Outcome::of(&refusal.seen, None);
    let mut voted = Outcome::of(&refusal.seen, Some(Message::Vote { term }));
    voted.seen.vote = Some(SENDER);
    if role == Role::Following && term == before.term && before.vote.is_none() {
        let good_enough = end(&before.log) <= last;
        same(&ours, if good_enough { &voted } else { &silence })?;
        same(&theirs, &refusal)?;
        return Ok(Case::Follows);
    }
    same(&ours.seen, &theirs.seen)?;
    if term < before.term {
        same(&ours, &Outcome::of(&before, None))?;
        same(&theirs, &ours)?;
        Ok(Case::Stale)
    } else if ours == silence {
        same(&theirs, &refusal)?;
        Ok(Case::Refuses)
    } else {
        same(&ours, &voted)?;
        same(&theirs, &ours)?;
        Ok(Case::Votes)
    }
}

/// All that a leader could say, and more.
fn appends() -> BTreeSet<Message> {
    let mut all = BTreeSet::new();
    for log in logs(TERMS) {
        for (from, until) in
            (0..=log.len()).flat_map(|from| (from..=log.len()).map(move |until| (from, until)))
        {
            let said = (end(&log[..from]), log[from..until].to_vec());
            for term in (1..=TERMS + 1).map(Term) {
                for commit in 0..=until as u64 + 1 {
                    all.insert(append(term, said.clone(), commit));
                }
            }
        }
    }
    all
}

/// Sends both all of it, in all states. What was told apart is an error.
pub(crate) fn leaders(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    let appends = appends();
    for seen in followers(&[None, Some(ME)]) {
        for role in [Role::Follower, Role::Candidate, Role::Leader] {
            if role != Role::Follower && seen.vote.is_some() {
                continue; // It votes for itself anyway.
            }
            for message in &appends {
                let again = || Pair::with_role(role, &seen, wrong);
                let case = leader(again(), again, message);
                let sent = |told| format!("{role:?} {seen:?}, {message:?}: {told}");
                tally(&mut cases, case.map_err(sent)?);
            }
        }
    }
    Ok(cases)
}

fn leader(mut pair: Pair, again: impl Fn() -> Pair, message: &Message) -> Result<Case, String> {
    let Message::AppendEntries {
        term,
        previous,
        entries,
        ..
    } = message
    else {
        unreachable!("that is what a leader says");
    };
    let before = pair.seen()?;
    let [ours, theirs] = pair.hear(SENDER, message);
    let silence = Outcome::of(&before, None);
    let last = entries.last().map_or(previous.term, |entry| entry.term);
    if *term < before.term {
        same(&ours, &silence)?;
        same(&theirs, &silence)?;
        return Ok(Case::Stale);
    } else if *term < last {
        same(&ours, &silence)?;
        let rival = before.leads && *term == before.term;
        same(&theirs.answers.is_empty(), &rival)?;
        return Ok(Case::Malformed);
    } else if *term == before.term && before.leads {
        same(&ours, &silence)?;
        same(&theirs, &silence)?;
        return Ok(Case::Leads);
    } else if previous.index.0 < before.commit {
        return early([&ours, &theirs], again, message, &before);
    }
    same(&ours.seen, &theirs.seen)?;
    same(&ours.seen.term, term)?;
    if position(&before.log, previous.index.0) != Some(*previous) {
        let conflict = |hint| {
            let (term, at, round) = (*term, previous.index, 0);
            let conflict = Message::Conflict {
                term,
                at,
                hint,
                round,
            };
            Outcome::of(&adopted(before.clone(), term), Some(conflict))
        };
        same(&ours, &conflict(our_hint(&before.log, previous.index)))?;
        same(&theirs, &conflict(their_hint(&before.log, *previous)))?;
        return Ok(Case::Conflicts);
    }
    same(&ours.answers, &theirs.answers)?;
    same(&ours.answers.len(), &1)?;
    let kept = ours.seen.log.starts_with(&before.log);
    Ok(match (kept, ours.seen.log == before.log) {
        (_, true) => Case::Has,
        (true, false) => Case::Appends,
        (false, false) => Case::Truncates,
    })
}

/// What it says begins before what is committed.
fn early(
    [ours, theirs]: [&Outcome; 2],
    again: impl Fn() -> Pair,
    message: &Message,
    before: &Seen,
) -> Result<Case, String> {
    let Message::AppendEntries {
        term,
        previous,
        entries,
        commit,
        ..
    } = message
    else {
        unreachable!("that is what a leader says");
    };
    let heard = adopted(before.clone(), *term);
    let answer = |matching| Message::Appended {
        term: *term,
        matching: Index(matching),
        round: 0,
    };
    same(theirs, &Outcome::of(&heard, Some(answer(before.commit))))?;
    if position(&before.log, previous.index.0) != Some(*previous) {
        let conflict = Message::Conflict {
            term: *term,
            at: previous.index,
            hint: our_hint(&before.log, previous.index),
            round: 0,
        };
        same(ours, &Outcome::of(&heard, Some(conflict)))?;
        return Ok(Case::Contradicts);
    }
    let until = previous.index.0 + entries.len() as u64;
    let known = before.commit.min(until);
    let first = usize::try_from(previous.index.0).expect("a short log");
    let (old, new) = entries.split_at(usize::try_from(known).expect("a short log") - first);
    let mut pairs = old.iter().zip(&before.log[first..]);
    if pairs.any(|(one, other)| one.term != other.term) {
        same(ours, &Outcome::of(&heard, None))?;
        return Ok(Case::Contradicts);
    }
    if until <= before.commit {
        same(ours, &Outcome::of(&heard, Some(answer(until))))?;
        return Ok(Case::EndsBefore);
    }
    let committed = position(&before.log, known).expect("what is committed is there");
    let beyond = append(*term, (committed, new.to_vec()), commit.0);
    let [_, theirs] = again().hear(SENDER, &beyond);
    same(ours, &theirs)?;
    Ok(Case::BeginsBefore)
}

/// Where ours might match: before all of the conflicting term, as in the paper; or at the end, if the log is
/// too short.
fn our_hint(log: &[Entry], at: Index) -> Position {
    let Some(conflicting) = position(log, at.0) else {
        return end(log);
    };
    let before = log.iter().filter(|entry| entry.term < conflicting.term);
    position(log, before.count() as u64).expect("it is before that")
}

/// Where theirs might match: at the last entry up to there that is of no later term than the one that is
/// asked for.
fn their_hint(log: &[Entry], previous: Position) -> Position {
    let places = (0..=previous.index.0.min(log.len() as u64)).rev();
    let mut positions = places.filter_map(|index| position(log, index));
    let found = positions.find(|position| position.term <= previous.term);
    found.expect("the beginning is of term 0")
}
