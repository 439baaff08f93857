//! Causal consistency of histories: known ones are accepted and refused, and the verdict on small random
//! ones is that of the definition.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_models::causality::{Operation, Pattern, Place, causal, convergent};

type One = Operation<&'static str, u32>;

fn put(key: &'static str, value: u32) -> One {
    Operation::Put {
        key,
        value,
        returned: true,
    }
}

fn lost(key: &'static str, value: u32) -> One {
    Operation::Put {
        key,
        value,
        returned: false,
    }
}

fn got(key: &'static str, value: u32) -> One {
    let value = Some(value);
    Operation::Get { key, value }
}

fn nothing(key: &'static str) -> One {
    Operation::Get { key, value: None }
}

fn at(session: usize, operation: usize) -> Place {
    Place { session, operation }
}

#[test]
fn an_answer_without_its_question_is_refused() {
    let history = [
        vec![put("question", 1)],
        vec![got("question", 1), put("answer", 2)],
        vec![got("answer", 2), nothing("question")],
    ];
    let why = Pattern::PutBeforeNothing {
        put: at(0, 0),
        get: at(2, 1),
    };
    assert_eq!(causal(&history), Err(why));
    let patient = [
        vec![put("question", 1)],
        vec![got("question", 1), put("answer", 2)],
        vec![nothing("question"), got("answer", 2), got("question", 1)],
    ];
    assert_eq!(convergent(&patient), Ok(()));
}

#[test]
fn what_was_overwritten_is_not_seen_again() {
    let history = [
        vec![put("x", 1), put("x", 2)],
        vec![got("x", 2), got("x", 1)],
    ];
    let why = Pattern::Overwritten {
        seen: at(0, 0),
        newer: at(0, 1),
        get: at(1, 1),
    };
    assert_eq!(causal(&history), Err(why));
}

#[test]
fn what_nobody_put_is_not_seen() {
    let history = [vec![put("x", 1)], vec![got("y", 1)]];
    assert_eq!(causal(&history), Err(Pattern::ThinAir(at(1, 0))));
}

#[test]
fn what_will_be_put_is_not_seen() {
    let history = [
        vec![got("x", 1), put("y", 2)],
        vec![got("y", 2), put("x", 1)],
    ];
    assert!(matches!(causal(&history), Err(Pattern::CyclicCauses(_))));
}

#[test]
fn two_puts_of_one_value_are_ambiguous() {
    let history = [vec![put("x", 1), put("y", 1)], vec![put("x", 1)]];
    assert_eq!(
        causal(&history),
        Err(Pattern::Ambiguous(at(0, 0), at(1, 0)))
    );
}

/// Bouajjani et al., figure 3a: each sees the other's put last.
#[test]
fn concurrent_puts_may_be_seen_in_two_orders_but_not_converge() {
    let history = [
        vec![put("x", 1), got("x", 2)],
        vec![put("x", 2), got("x", 1)],
    ];
    assert_eq!(causal(&history), Ok(()));
    assert!(matches!(
        convergent(&history),
        Err(Pattern::CyclicConflicts(_))
    ));
}

/// The order of concurrent puts is one for all keys.
#[test]
fn orders_of_concurrent_puts_do_not_go_round() {
    let history = [
        vec![put("x", 1), put("y", 1)],
        vec![put("y", 2), put("x", 2)],
        vec![got("x", 2), got("x", 1)],
        vec![got("y", 1), got("y", 2)],
    ];
    // To see x = 1 after x = 2 is to have that before it, and y = 2 before that.
    assert_eq!(causal(&history), Ok(()));
    assert!(matches!(
        convergent(&history),
        Err(Pattern::CyclicConflicts(_))
    ));
}

#[test]
fn a_put_of_unknown_outcome_may_be_seen_late_or_never() {
    let never = [vec![put("x", 1), lost("x", 2), got("x", 1)]];
    assert_eq!(convergent(&never), Ok(()));
    let late = [vec![put("x", 1), lost("x", 2), got("x", 1), got("x", 2)]];
    assert_eq!(convergent(&late), Ok(()));
    let back = [vec![put("x", 1), lost("x", 2), got("x", 2), got("x", 1)]];
    assert!(causal(&back).is_err());
    let without_cause = [
        vec![put("x", 1), lost("y", 2)],
        vec![got("y", 2), nothing("x")],
    ];
    assert!(causal(&without_cause).is_err());
}

/// The definition, in all its words (Bouajjani et al., table 1): of each subset of the puts of unknown
/// outcome, of each strict partial order that extends the order of the sessions, inside of each total one.
struct Definition {
    operations: Vec<One>,
    /// Which must be before which.
    sessions: Vec<(usize, usize)>,
}

impl Definition {
    fn of(history: &[Vec<One>]) -> Self {
        let (mut operations, mut sessions) = (Vec::new(), Vec::new());
        for session in history {
            let mut told: Vec<usize> = Vec::new();
            for one in session {
                let place = operations.len();
                sessions.extend(told.iter().map(|earlier| (*earlier, place)));
                if !is_lost(one) {
                    told.push(place);
                }
                operations.push(one.clone());
            }
        }
        Self {
            operations,
            sessions,
        }
    }

    fn holds(&self, converges: bool) -> bool {
        let count = self.operations.len();
        let lost: Vec<usize> = (0..count)
            .filter(|one| is_lost(&self.operations[*one]))
            .collect();
        (0..1_usize << lost.len()).any(|subset| {
            let absent = |one: usize| {
                let place = lost.iter().position(|other| *other == one);
                place.is_some_and(|place| subset >> place & 1 == 1)
            };
            let present: Vec<usize> = (0..count).filter(|one| !absent(*one)).collect();
            orders(&present, &self.sessions).any(|order| self.some_causes(&order, converges))
        })
    }

    /// True if some causal order inside this total one explains every get.
    fn some_causes(&self, order: &[usize], converges: bool) -> bool {
        let pairs: Vec<(usize, usize)> = (0..order.len())
            .flat_map(|later| (0..later).map(move |earlier| (earlier, later)))
            .collect();
        (0..1_u32 << pairs.len()).any(|bits| {
            let chosen = |earlier: usize, later: usize| {
                let place = pairs.iter().position(|pair| *pair == (earlier, later));
                place.is_some_and(|place| bits >> place & 1 == 1)
            };
            let is_closed = pairs.iter().all(|(a, b)| {
                !chosen(*a, *b) || (*b..order.len()).all(|c| !chosen(*b, c) || chosen(*a, c))
            });
            let place = |one| order.iter().position(|other| *other == one);
            let extends = self.sessions.iter().all(|(earlier, later)| {
                match (place(*earlier), place(*later)) {
                    (Some(earlier), Some(later)) => chosen(earlier, later),
                    _ => true,
                }
            });
            is_closed
                && extends
                && (0..order.len()).all(|get| {
                    let past: Vec<usize> = (0..get).filter(|one| chosen(*one, get)).collect();
                    let Operation::Get { key, value } = &self.operations[order[get]] else {
                        return true;
                    };
                    let explains = |past: &[usize]| {
                        let mut store = BTreeMap::new();
                        for one in past {
                            if let Operation::Put { key, value, .. } = &self.operations[order[*one]]
                            {
                                store.insert(*key, *value);
                            }
                        }
                        store.get(key).copied() == *value
                    };
                    let before: Vec<(usize, usize)> = pairs
                        .iter()
                        .copied()
                        .filter(|(a, b)| chosen(*a, *b))
                        .collect();
                    if converges {
                        explains(&past)
                    } else {
                        orders(&past, &before).any(|order| explains(&order))
                    }
                })
        })
    }
}

fn is_lost(one: &One) -> bool {
    matches!(one, Operation::Put { returned, .. } if !returned)
}

/// Every order of `items` in which the first of each pair is before the second.
fn orders(items: &[usize], before: &[(usize, usize)]) -> std::vec::IntoIter<Vec<usize>> {
    fn go(
        left: &[usize],
        before: &[(usize, usize)],
        taken: &mut Vec<usize>,
        all: &mut Vec<Vec<usize>>,
    ) {
        if left.is_empty() {
            all.push(taken.clone());
        }
        for one in left {
            if before
                .iter()
                .any(|(first, then)| then == one && left.contains(first))
            {
                continue;
            }
            let rest: Vec<usize> = left.iter().copied().filter(|other| other != one).collect();
            taken.push(*one);
            go(&rest, before, taken, all);
            taken.pop();
        }
    }
    let mut all = Vec::new();
    go(items, before, &mut Vec::new(), &mut all);
    all.into_iter()
}

/// At most three sessions with at most five operations in all; puts have values of their own.
fn history() -> impl Strategy<Value = Vec<Vec<One>>> {
    let one = (0..3_usize, 0..2_usize, 0..6_u32, 0..5_u32);
    vec(one, 1..6).prop_map(|ones| {
        let mut history = vec![Vec::new(); 3];
        let puts = ones.iter().filter(|(_, _, kind, _)| *kind < 3).count();
        let puts = u32::try_from(puts).expect("a few");
        let mut next = 0;
        for (session, key, kind, seen) in ones {
            let key = ["x", "y"][key];
            history[session].push(match kind {
                0..3 => {
                    next += 1;
                    if kind == 0 && seen == 0 {
                        lost(key, next)
                    } else {
                        put(key, next)
                    }
                }
                // What some put wrote, or nothing; to another key, now and then.
                _ => match seen % (puts + 1) {
                    0 => nothing(key),
                    value => got(key, value),
                },
            });
        }
        history
    })
}

/// What a store tells that does one thing at a time.
fn sequential() -> impl Strategy<Value = Vec<Vec<One>>> {
    vec((0..4_usize, 0..3_usize, any::<bool>()), 0..200).prop_map(|ones| {
        let mut history = vec![Vec::new(); 4];
        let mut store = BTreeMap::new();
        for (value, (session, key, puts)) in (0..).zip(ones) {
            let key = ["x", "y", "z"][key];
            history[session].push(if puts {
                store.insert(key, value);
                put(key, value)
            } else {
                let value = store.get(key).copied();
                Operation::Get { key, value }
            });
        }
        history
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_verdicts_are_those_of_the_definition(history in history()) {
        let definition = Definition::of(&history);
        let (weak, converges) = (causal(&history), convergent(&history));
        prop_assert_eq!(weak.is_ok(), definition.holds(false), "{:?}", weak);
        prop_assert_eq!(converges.is_ok(), definition.holds(true), "{:?}", converges);
    }

    #[test]
    fn what_converges_is_causal(history in history()) {
        prop_assert!(convergent(&history).is_err() || causal(&history).is_ok());
    }

    #[test]
    fn a_store_that_does_one_thing_at_a_time_converges(history in sequential()) {
        prop_assert_eq!(convergent(&history), Ok(()));
    }
}

/// A hundred thousand operations of eight sessions: what a recording may hold.
#[test]
fn long_histories_are_checked() {
    let mut history = vec![Vec::new(); 8];
    let mut store = [None; 3];
    for value in 0..100_000_u32 {
        // Any fixed mix will do.
        let mixed = value.wrapping_mul(2_654_435_761) >> 16;
        let (session, key) = ((mixed % 8) as usize, (mixed / 8 % 3) as usize);
        let name = ["x", "y", "z"][key];
        history[session].push(if mixed / 24 % 4 == 0 {
            store[key] = Some(value);
            put(name, value)
        } else {
            let value = store[key];
            Operation::Get { key: name, value }
        });
    }
    assert_eq!(convergent(&history), Ok(()));
    // One get, long after, sees what was overwritten long before.
    let first = first_put(&history, "x");
    history[0].push(got("x", first));
    assert!(matches!(causal(&history), Err(Pattern::Overwritten { .. })));
}

fn first_put(history: &[Vec<One>], wanted: &str) -> u32 {
    let puts = history[0].iter().find_map(|one| match one {
        Operation::Put { key, value, .. } if *key == wanted => Some(*value),
        Operation::Put { .. } | Operation::Get { .. } => None,
    });
    puts.expect("somebody put")
}

#[test]
fn a_history_survives_its_encoding() {
    let history = vec![vec![
        Operation::Put {
            key: "x".to_owned(),
            value: 1_u32,
            returned: true,
        },
        Operation::Get {
            key: "x".to_owned(),
            value: None,
        },
    ]];
    let text = serde_json::to_string(&history).expect("plain data can be encoded");
    let back: Vec<Vec<Operation<String, u32>>> =
        serde_json::from_str(&text).expect("it can be decoded");
    assert_eq!(back, history);
}
