//! What a candidate and a leader make of the answers.

use std::collections::BTreeSet;

use quorate::machine::NodeId;
use quorate::raft::{Flow, Index, Message, Position, Term};
use quorate_differential::{Sabotage, Seen, Settings};

use super::{
    Case, Cases, ENTRIES, Outcome, Pair, Role, SENDER, TERMS, THREE, adopted, end, followers, logs,
    position, same, tally,
};

/// Both stand, and have the votes of all.
fn elected(settings: Settings, seen: &Seen, wrong: Option<Sabotage>) -> Pair {
    let mut pair = Pair::at(settings, seen, wrong);
    pair.stand();
    let term = Term(seen.term.0 + 1);
    for from in (1..settings.members as u64).map(NodeId) {
        pair.hear(from, &Message::Vote { term });
    }
    pair
}

/// A leader hears how much its followers have, in all ways: what is committed is the same after each.
pub(crate) fn acknowledgements(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    let five = Settings {
        members: 5,
        ..THREE
    };
    for seen in followers(&[None]).iter().filter(|seen| seen.commit == 0) {
        let term = Term(seen.term.0 + 1);
        let last = seen.log.len() as u64 + 2;
        let all = last + 1;
        for number in 0..all * all * all {
            let mut pair = elected(five, seen, wrong);
            pair.propose(1000);
            let followers = [1, 2, 3].map(NodeId);
            let matching = [number % all, number / all % all, number / all / all];
            for (from, matching) in followers.into_iter().zip(matching.map(Index)) {
                let round = 0;
                pair.hear(
                    from,
                    &Message::Appended {
                        term,
                        matching,
                        round,
                    },
                );
                let told = |told| format!("{seen:?}, {from} has {matching:?}: {told}");
                let leader = pair.seen().map_err(told)?;
                let commits = seen.commit < leader.commit;
                tally(&mut cases, if commits { Case::Commits } else { Case::Same });
            }
        }
    }
    Ok(cases)
}

/// A leader hears of a conflict: it goes back to the same place.
pub(crate) fn conflicts(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    let hints: BTreeSet<Position> = logs(TERMS).iter().map(|log| end(log)).collect();
    for seen in followers(&[None]).iter().filter(|seen| seen.commit == 0) {
        let (term, round) = (Term(seen.term.0 + 1), 0);
        // What it sent at first; and what comes before everything conflicts with nobody.
        for at in (1..=seen.log.len() as u64).map(Index) {
            for hint in hints.iter().copied() {
                let mut pair = elected(THREE, seen, wrong);
                let message = Message::Conflict {
                    term,
                    at,
                    hint,
                    round,
                };
                let outcomes = pair.hear(SENDER, &message);
                let told = |told| format!("{seen:?}, {message:?}: {told}");
                same(&outcomes[0].seen, &outcomes[1].seen).map_err(told)?;
                let [ours, theirs] = outcomes.map(|outcome| previous(&outcome.answers));
                same(&ours, &theirs).map_err(told)?;
                let again = ours.is_empty();
                tally(&mut cases, if again { Case::Same } else { Case::GoesBack });
            }
        }
    }
    Ok(cases)
}

/// A leader that has sent entries ahead, after the first, hears that one of them has come before those
/// before it: the log of its follower ends where the hint is.
pub(crate) fn gaps(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    let (messages_max, round) = (3, 0);
    let settings = Settings {
        flow: Flow::Pipelined { messages_max },
        batch: 1,
        ..THREE
    };
    let whole = |seen: &Seen| seen.commit == 0 && seen.log.len() as u64 == ENTRIES;
    for seen in followers(&[None]).into_iter().filter(whole) {
        let term = Term(seen.term.0 + 1);
        let there = |index| position(&seen.log, index).expect("the log is whole");
        let conflict = |at: u64, hint: u64| Message::Conflict {
            term,
            at: Index(at),
            hint: there(hint),
            round,
        };
        for (at, hint) in [(2, 1), (3, 1), (3, 2)] {
            let mut pair = elected(settings, &seen, wrong);
            pair.hear(SENDER, &conflict(ENTRIES, 0));
            let matching = Index(1);
            pair.hear(
                SENDER,
                &Message::Appended {
                    term,
                    matching,
                    round,
                },
            );
            let outcomes = pair.hear(SENDER, &conflict(at, hint));
            let told = |told| format!("{seen:?}, {at} {hint}: {told}");
            same(&outcomes[0].seen, &outcomes[1].seen).map_err(told)?;
            let [ours, theirs] = outcomes.map(|outcome| previous(&outcome.answers));
            same(&ours, &vec![(SENDER, there(hint))]).map_err(told)?;
            same(&theirs, &vec![(SENDER, there(1))]).map_err(told)?;
            let further = 1 < hint;
            tally(&mut cases, if further { Case::Gap } else { Case::GoesBack });
        }
    }
    Ok(cases)
}

/// What comes before the entries that are sent. How many are sent is each kind's own.
fn previous(sent: &[(NodeId, Message)]) -> Vec<(NodeId, Position)> {
    let appends = sent.iter().filter_map(|(to, message)| {
        if let Message::AppendEntries { previous, .. } = message {
            Some((*to, *previous))
        } else {
            None
        }
    });
    appends.collect()
}

/// Candidates of clusters of each size have votes, again and again, and some of an election before.
pub(crate) fn votes(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    let seen = &followers(&[None])[1];
    for members in 1..=5 {
        let others = members as u64 - 1;
        for number in 0..(2 * others).pow(3) {
            let mut pair = Pair::at(Settings { members, ..THREE }, seen, wrong);
            pair.stand();
            let mut rest = number;
            for _ in 0..3 {
                let (from, term) = (NodeId(1 + rest / 2 % others), Term(seen.term.0 + rest % 2));
                rest /= 2 * others;
                pair.hear(from, &Message::Vote { term });
                let told = |told| format!("{members} members, {number}: {told}");
                let leads = pair.seen().map_err(told)?.leads;
                tally(&mut cases, if leads { Case::Elected } else { Case::Same });
            }
        }
    }
    Ok(cases)
}

/// Whoever it is hears answers of the term before its own, of its own, and of the one after.
pub(crate) fn answers(wrong: Option<Sabotage>) -> Result<Cases, String> {
    let mut cases = Cases::new();
    for seen in followers(&[None]) {
        for role in [Role::Follower, Role::Candidate, Role::Leader] {
            let own = Pair::with_role(role, &seen, wrong).seen()?.term.0;
            for term in (own.saturating_sub(1).max(1)..=own + 1).map(Term) {
                for message in answers_of(term) {
                    let pair = Pair::with_role(role, &seen, wrong);
                    let told = |told| format!("{role:?} {seen:?}, {message:?}: {told}");
                    tally(&mut cases, answer(pair, term, &message).map_err(told)?);
                }
            }
        }
    }
    Ok(cases)
}

fn answers_of(term: Term) -> [Message; 4] {
    let (at, hint, round) = (Index(1), Position::default(), 0);
    let matching = Index(0);
    [
        Message::Vote { term },
        Message::Stale { term },
        Message::Appended {
            term,
            matching,
            round,
        },
        Message::Conflict {
            term,
            at,
            hint,
            round,
        },
    ]
}

fn answer(mut pair: Pair, term: Term, message: &Message) -> Result<Case, String> {
    let before = pair.seen()?;
    let [ours, theirs] = pair.hear(SENDER, message);
    if before.term < term && !matches!(message, Message::Stale { .. }) {
        same(&ours, &Outcome::of(&before, None))?;
        same(&theirs, &Outcome::of(&adopted(before, term), None))?;
        return Ok(Case::FromTheFuture);
    }
    same(&ours.seen, &theirs.seen)?;
    Ok(Case::Same)
}
