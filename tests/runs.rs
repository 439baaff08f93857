//! Promises about runs: that a goal is reached, however unlucky a run is, as long as it is fair.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{self, Machine, NodeId, Outbox, State};
use quorate_models::action::{Action, Cut};
use quorate_models::diagram;
use quorate_models::engine::{Options, Outcome, Verdict, example, search, unwatched};
use quorate_models::ghost::Ghost;
use quorate_models::path::replay;
use quorate_models::promise::Kind;
use quorate_models::shared::fingerprint;
use quorate_models::snapshot::{Snapshot, nobody_waits};
use quorate_models::story::{self, Source};
use quorate_models::world::World;
use serde::{Deserialize, Serialize};

/// A machine without sense: what it does is a hash of what it is and of what happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whimsical {
    seed: u64,
    me: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Nothing;

impl machine::Durable for Nothing {
    type Change = ();

    fn changes_since(&self, _: &Self) -> Vec<()> {
        Vec::new()
    }

    fn apply(&mut self, (): ()) {}
}

impl Whimsical {
    fn react(&self, mood: &mut u64, input: u64, out: &mut Outbox<Self>) {
        let before = *mood;
        let dice = |what: &str, below: u64| {
            fingerprint(&(self.seed, self.me, what, before, input)) % below
        };
        *mood = dice("mood", 4);
        if dice("talks", 3) == 0 {
            out.send(NodeId(1 - self.me), dice("says", 2));
        }
        match dice("alarm", 3) {
            0 => out.arm(dice("which", 2)),
            1 => out.disarm(dice("which", 2)),
            _ => {}
        }
        if dice("answers", 4) == 0 {
            out.tell(1);
        }
    }
}

impl Machine for Whimsical {
    type Call = u64;
    type Message = u64;
    type Timer = u64;
    type Event = u64;
    type Durable = Nothing;
    type Volatile = u64;

    fn boot(&self, _: &mut Nothing, out: &mut Outbox<Self>) -> u64 {
        let mut mood = 0;
        out.arm(0);
        self.react(&mut mood, 0, out);
        mood
    }

    fn on_call(&self, state: &mut State<Self>, call: u64, out: &mut Outbox<Self>) {
        self.react(&mut state.volatile, call, out);
    }

    fn on_message(&self, state: &mut State<Self>, _: NodeId, word: u64, out: &mut Outbox<Self>) {
        self.react(&mut state.volatile, 100 + word, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: u64, out: &mut Outbox<Self>) {
        self.react(&mut state.volatile, 200 + timer, out);
    }

    fn delay(&self, _: &u64) -> Range<Duration> {
        Duration::from_millis(5)..Duration::from_millis(30)
    }
}

/// Knows nothing of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Calls;

impl Ghost<Whimsical> for Calls {
    fn ticket(call: &u64) -> Option<u64> {
        Some(*call)
    }

    fn finished(event: &u64) -> Option<u64> {
        Some(*event)
    }
}

type Whims = World<Whimsical, Calls>;

fn whims(seed: u64, crashes: u32, cuts: u32) -> Whims {
    let machines = (0..2).map(|me| Whimsical { seed, me });
    World::new("whims", machines.collect(), Calls)
        .client([1])
        .crashes(NodeSet::first(2), crashes)
        .cuts(vec![Cut::Isolate(NodeId(0))], cuts)
        .only(&[])
        .eventually("a mood", |state| {
            let mut up = state.nodes.iter().filter_map(|node| node.up());
            up.any(|state| state.volatile == 3)
        })
        .eventually_for_clients("nobody waits", nobody_waits)
        .eventually("nothing", |_| false)
}

/// What is owed of what may happen: nothing if the action is the adversary's choice.
fn owed(action: &Action<Whimsical>) -> Option<String> {
    match action {
        Action::Call { client, .. } => Some(format!("call of {client}")),
        Action::Deliver(_)
        | Action::Ring { .. }
        | Action::Restart { lost: 0, .. }
        | Action::Heal => Some(format!("{action:?}")),
        Action::Restart { .. } | Action::Crash(_) | Action::Cut(_) | Action::Lie(_) => None,
    }
}

type Moment = Snapshot<Whimsical, Calls>;

/// Where a state leads, and by what that is owed.
type Edges = Vec<(Option<String>, usize)>;

/// All states of a world, by full equality, and where each leads; nothing if they are many.
fn graph(world: &Whims) -> Option<(Vec<Moment>, Vec<Edges>)> {
    let mut states = vec![world.initial()];
    let mut numbers = HashMap::from([(states[0].clone(), 0)]);
    let mut edges = Vec::new();
    while let Some(state) = states.get(edges.len()).cloned() {
        let mut out = Vec::new();
        world.each_action(&state, |action| {
            let Some(next) = world.apply(&state, &action) else {
                return;
            };
            let number = *numbers.entry(next.clone()).or_insert_with(|| {
                states.push(next);
                states.len() - 1
            });
            out.push((owed(&action), number));
        });
        edges.push(out);
        if 3_000 < states.len() {
            return None;
        }
    }
    Some((states, edges))
}

/// The states from which a fair run misses the goal for ever: Emerson and Lei's greatest fixed point.
/// A run may stay where it is; if something is owed there all the time, that is not fair.
fn misses(edges: &[Edges], mut left: BTreeSet<usize>) -> BTreeSet<usize> {
    let deeds: BTreeSet<&String> = edges
        .iter()
        .flatten()
        .filter_map(|(d, _)| d.as_ref())
        .collect();
    loop {
        let before = left.len();
        for deed in &deeds {
            let is = |other: &Option<String>| other.as_ref() == Some(*deed);
            // Where the deed cannot be done, or is done without leaving.
            let served = |state: &usize| {
                let can = edges[*state].iter().any(|(other, _)| is(other));
                let mut done = edges[*state].iter().filter(|(other, _)| is(other));
                !can || done.any(|(_, to)| left.contains(to))
            };
            let mut reach: BTreeSet<usize> = left.iter().copied().filter(served).collect();
            loop {
                let leads = |state: &usize| edges[*state].iter().any(|(_, to)| reach.contains(to));
                let more = left.iter().copied().filter(|state| !reach.contains(state));
                let more: Vec<usize> = more.filter(leads).collect();
                if more.is_empty() {
                    break;
                }
                reach.extend(more);
            }
            left = reach;
        }
        if left.len() == before {
            return left;
        }
    }
}

fn fell(outcome: &Outcome<Whimsical>, name: &str) -> bool {
    let finding = outcome
        .findings
        .iter()
        .find(|finding| finding.promise == name);
    finding.expect("it was asked").steps.is_some()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Two ways to find fair runs that have nothing in common agree on worlds that nobody chose; and what
    /// is told of such a run is one.
    #[test]
    fn a_goal_is_missed_if_a_fair_run_misses_it(seed: u64, crashes in 0..2_u32, cuts in 0..2_u32) {
        let world = whims(seed, crashes, cuts);
        let Some((states, edges)) = graph(&world) else {
            return Ok(());
        };
        let outcome = search(&world, Options::default(), &mut unwatched);
        prop_assert_eq!(outcome.unique, states.len());
        for promise in world.promises() {
            let missing = (0..states.len()).filter(|at| !world.is_met(promise, &states[*at]));
            let misses = misses(&edges, missing.collect());
            prop_assert_eq!(fell(&outcome, promise.name), !misses.is_empty(), "{}", promise.name);
            let Some(path) = example(&world, promise.name) else {
                continue;
            };
            let steps = replay(&world, &path);
            let (end, before) = steps.split_last().expect("there is a first state");
            let start = before.iter().position(|(state, _)| *state == end.0);
            let round = &steps[start.unwrap_or(steps.len() - 1)..];
            let mut put_off: Option<BTreeSet<String>> = None;
            for (state, _) in round {
                prop_assert!(!world.is_met(promise, state), "the goal is missed all the way round");
                let mut here = BTreeSet::new();
                world.each_action(state, |action| {
                    if world.apply(state, &action).is_some() {
                        here.extend(owed(&action));
                    }
                });
                put_off = Some(match put_off {
                    None => here,
                    Some(all) => all.intersection(&here).cloned().collect(),
                });
            }
            let mut put_off = put_off.expect("a last state");
            for (_, action) in round {
                if let Some(done) = action.as_ref().and_then(owed) {
                    put_off.remove(&done);
                }
            }
            prop_assert_eq!(put_off, BTreeSet::new(), "nothing that is owed is put off");
        }
    }
}

/// The worlds of the test above are of all kinds, and many are of each.
#[test]
fn worlds_that_nobody_chose_keep_promises_and_break_them_by_dancing_and_by_stopping() {
    let (mut kept, mut danced, mut stopped) = (0, 0, 0);
    for seed in 0..60 {
        let world = whims(seed, 0, 0);
        if graph(&world).is_none() {
            continue;
        }
        for promise in world.promises().iter().take(2) {
            let Some(path) = example(&world, promise.name) else {
                kept += 1;
                continue;
            };
            let steps = replay(&world, &path);
            let (end, before) = steps.split_last().expect("there is a first state");
            if before.iter().any(|(state, _)| *state == end.0) {
                danced += 1;
            } else {
                stopped += 1;
            }
        }
    }
    assert!(
        10 < kept && 10 < danced && 10 < stopped,
        "{kept}, {danced}, {stopped}"
    );
}

/// Two who meet in a corridor, and step aside for each other: to the same side, or each to their right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Walker {
    me: u64,
    keeps_right: bool,
}

/// On which side of the corridor somebody walks, as seen by the one; or they are past each other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
enum Side {
    #[default]
    Left,
    Right,
    Past,
}

impl Machine for Walker {
    type Call = u64;
    type Message = Side;
    type Timer = ();
    type Event = u64;
    type Durable = Nothing;
    type Volatile = (Side, Side);

    fn boot(&self, _: &mut Nothing, out: &mut Outbox<Self>) -> (Side, Side) {
        out.arm(());
        (Side::Left, Side::Left)
    }

    fn on_call(&self, _: &mut State<Self>, _: u64, _: &mut Outbox<Self>) {}

    /// The other is seen.
    fn on_message(&self, state: &mut State<Self>, _: NodeId, other: Side, _: &mut Outbox<Self>) {
        state.volatile.1 = other;
    }

    /// A step to the side, if the other is in the way.
    fn on_timer(&self, state: &mut State<Self>, (): (), out: &mut Outbox<Self>) {
        let (mine, theirs) = &mut state.volatile;
        let aside = match (self.keeps_right, self.me, *mine) {
            (true, 0, _) | (false, _, Side::Left | Side::Past) => Side::Right,
            (true, ..) | (false, _, Side::Right) => Side::Left,
        };
        *mine = if *mine == *theirs { aside } else { Side::Past };
        if *mine == Side::Past {
            out.tell(self.me);
        } else {
            out.arm(());
        }
        out.send(NodeId(1 - self.me), *mine);
    }

    fn delay(&self, (): &()) -> Range<Duration> {
        Duration::from_millis(5)..Duration::from_millis(30)
    }
}

/// Who is past the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Passed(BTreeSet<u64>);

impl Ghost<Walker> for Passed {
    fn ticket(_: &u64) -> Option<u64> {
        None
    }

    fn finished(_: &u64) -> Option<u64> {
        None
    }

    fn on_event(&mut self, _: NodeId, who: &u64) {
        self.0.insert(*who);
    }
}

fn corridor(keeps_right: bool) -> World<Walker, Passed> {
    let walkers = (0..2).map(|me| Walker { me, keeps_right });
    World::new("corridor", walkers.collect(), Passed::default())
        .says("two meet in a corridor, and step aside for each other")
        .eventually("somebody gets past", |state| !state.ghost.0.is_empty())
}

#[test]
fn those_who_keep_to_the_right_get_past_each_other_on_every_fair_run() {
    let outcome = search(&corridor(true), Options::default(), &mut unwatched);
    assert_eq!(outcome.verdict, Verdict::Exhausted, "{:?}", outcome.story);
}

/// Nothing is stuck in the corridor, in any state: from each, somebody may get past. A promise about
/// states cannot see that they may also dance for ever.
#[test]
fn those_who_are_polite_may_dance_for_ever() {
    let world = corridor(false);
    let outcome = search(&world, Options::default(), &mut unwatched);
    let promise = "somebody gets past";
    assert_eq!(outcome.verdict, Verdict::Refuted { promise });
    let path = outcome.story.expect("what is refuted has a story");
    let page = story::page(&world, promise, Kind::Eventually, &path, Source::Search);
    assert!(page.contains("From here on, again and again:"), "{page}");
    assert!(page.contains("That is where step"), "{page}");
    let picture = diagram::svg(&world, &replay(&world, &path));
    assert!(picture.contains("and from step 7 on again, for ever"));
}
