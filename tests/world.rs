//! The world itself: it has the states that others count, and it hides none.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate_models::action::{Action, Cut};
use quorate_models::audit::audit;
use quorate_models::engine::{Options, Outcome, Stop, Verdict, search, unwatched};
use quorate_models::ghost::{Ghost, NoGhost};
use quorate_models::promise::Kind;
use quorate_models::snapshot::{Fault, Letter};
use quorate_models::story::Source;
use quorate_models::world::{Disk, NO_PANIC, Traitor, World};
use quorate_models::yardstick::{Stage, TwoPhase, Whim, two_phase};
use serde::{Deserialize, Serialize};
use stateright::{Checker as _, Model as _};

/// Searches until something falls.
fn refute<M: Machine, G: Ghost<M>>(world: &World<M, G>) -> Outcome<M> {
    let stop = Stop::AtViolation;
    let options = Options {
        stop,
        ..Options::default()
    };
    search(world, options, &mut unwatched)
}

fn states(world: &World<TwoPhase, NoGhost>) -> (usize, usize) {
    let outcome = search(world, Options::default(), &mut unwatched);
    assert_eq!(outcome.verdict, Verdict::Exhausted);
    (outcome.unique, outcome.generated)
}

#[test]
fn two_phase_commit_has_the_states_that_tlc_counts() {
    // TLC generates 1,146; those of them that change nothing are not transitions here.
    assert_eq!(states(&two_phase(3)), (288, 762));
    assert_eq!(states(&two_phase(4)).0, 1_568);
    assert_eq!(states(&two_phase(5)).0, 8_832);
    assert_eq!(states(&two_phase(6)).0, 50_816);
}

#[test]
fn counts_are_those_of_full_equality_and_of_stateright_with_one_thread_and_with_two() {
    for resources in [3, 4, 5] {
        let (unique, generated) = states(&two_phase(resources));
        let audited = audit(two_phase(resources));
        assert_eq!((audited.unique, audited.generated), (unique, generated));
        for threads in [1, 2] {
            let checker = two_phase(resources)
                .checker()
                .threads(threads)
                .spawn_bfs()
                .join();
            assert_eq!(checker.unique_state_count(), unique);
            assert_eq!(checker.state_count(), generated);
            let checker = two_phase(resources)
                .checker()
                .threads(threads)
                .spawn_dfs()
                .join();
            assert_eq!(checker.unique_state_count(), unique);
        }
    }
}

#[test]
fn fingerprints_are_the_same_in_every_run_and_build() {
    use quorate_models::shared::fingerprint;
    let first = fingerprint(&two_phase(3).initial());
    assert_eq!(first, fingerprint(&two_phase(3).initial()));
    // Whatever changes this number changes every fingerprint that was ever written down.
    assert_eq!(first, FIRST);
}

const FIRST: u64 = 489_867_365_178_503_886;

/// What can be seen of the nodes: the cut, and what was said, left out.
fn node_states(world: &World<TwoPhase, NoGhost>) -> HashSet<Vec<Stage>> {
    let mut seen = HashSet::from([world.initial()]);
    let mut waiting = vec![world.initial()];
    while let Some(last) = waiting.pop() {
        world.each_action(&last, |action| {
            if let Some(next) = world.apply(&last, &action)
                && seen.insert(next.clone())
            {
                waiting.push(next);
            }
        });
    }
    let stages = |s: &quorate_models::snapshot::Snapshot<TwoPhase, NoGhost>| {
        s.running()
            .map(|(_, state)| state.volatile.clone())
            .collect()
    };
    seen.iter().map(stages).collect()
}

#[test]
fn cuts_add_no_node_state_that_loss_alone_does_not_reach() {
    let uncut = node_states(&two_phase(3));
    let cut = node_states(&two_phase(3).cuts(Cut::all(4), 2));
    assert_eq!(uncut, cut);
}

#[test]
fn cuts_of_each_kind_block_what_they_say() {
    let (a, b, c) = (NodeId(0), NodeId(1), NodeId(2));
    let side = NodeSet::from_iter([a]);
    let split = Cut::Split(side);
    assert!(split.blocks(a, b) && split.blocks(b, a) && !split.blocks(b, c));
    let mute = Cut::Mute(side);
    assert!(mute.blocks(a, b) && !mute.blocks(b, a));
    let isolate = Cut::Isolate(c);
    assert!(isolate.blocks(a, c) && isolate.blocks(c, a) && !isolate.blocks(a, b));
    let bridge = Cut::Bridge { side, bridge: b };
    assert!(bridge.blocks(a, c) && bridge.blocks(c, a));
    assert!(!bridge.blocks(a, b) && !bridge.blocks(b, c));
}

#[test]
fn nothing_arrives_across_a_cut_until_it_heals() {
    let world = two_phase(2).cuts(vec![Cut::Isolate(NodeId(2))], 1);
    let ring = Action::Ring {
        node: NodeId(0),
        timer: Whim::Prepare,
    };
    let prepared = world
        .apply(&world.initial(), &ring)
        .expect("an armed alarm rings");
    let cut = world
        .apply(&prepared, &Action::Cut(0))
        .expect("the network can be cut");
    let offers = |state| {
        let mut offered = false;
        world.each_action(state, |action| {
            offered |= matches!(action, Action::Deliver(_));
        });
        offered
    };
    assert!(offers(&prepared) && !offers(&cut));
    let healed = world
        .apply(&cut, &Action::Heal)
        .expect("the cut can be healed");
    assert!(offers(&healed));
}

/// Counts what it is told, and tells everyone; each count is on disk before it is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counter {
    panics_at: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Count(u8);

impl quorate::machine::Durable for Count {
    type Change = u8;

    fn changes_since(&self, older: &Self) -> Vec<u8> {
        (self != older).then_some(self.0).into_iter().collect()
    }

    fn apply(&mut self, change: u8) {
        self.0 = change;
    }
}

impl Machine for Counter {
    type Call = ();
    type Message = u8;
    type Timer = ();
    type Event = u8;
    type Durable = Count;
    type Volatile = ();

    fn boot(&self, _: &mut Count, out: &mut Outbox<Self>) {
        out.arm(());
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(&self, state: &mut State<Self>, _: NodeId, count: u8, _: &mut Outbox<Self>) {
        assert_ne!(count, self.panics_at, "the count that must not be");
        state.durable.0 = state.durable.0.max(count);
    }

    fn on_timer(&self, state: &mut State<Self>, (): (), out: &mut Outbox<Self>) {
        if state.durable.0 < 3 {
            state.durable.0 += 1;
            out.send(NodeId(1), state.durable.0);
            out.arm(());
        }
    }

    fn delay(&self, (): &()) -> Range<Duration> {
        Duration::from_secs(1)..Duration::from_secs(2)
    }
}

fn counters(panics_at: u8) -> World<Counter, NoGhost> {
    World::new("counters", vec![Counter { panics_at }; 2], NoGhost)
}

#[test]
fn a_panic_is_a_refutation_with_its_story() {
    let world = counters(2);
    let outcome = refute(&world);
    assert_eq!(outcome.verdict, Verdict::Refuted { promise: NO_PANIC });
    let path = outcome.story.as_ref().expect("it fell");
    assert_eq!(path.len(), 3, "two alarms, and the message of the second");
    let page = quorate_models::story::page(&world, NO_PANIC, Kind::Always, path, Source::Search);
    assert!(page.contains("n1 panics: assertion"), "{page}");
    let (end, _) = quorate_models::path::replay(&world, path)
        .pop()
        .expect("it has an end");
    let fault = &end.broken.as_ref().expect("it broke").fault;
    assert!(matches!(fault, Fault::Panic(words) if words.contains("must not be")));
}

/// The disk of node 0 never goes back, or does.
fn forgets(disk: Disk) -> bool {
    let world = counters(9).crashes(NodeSet::first(1), 1).disk(disk).always(
        "what was told is on disk",
        |snapshot| {
            let own = snapshot
                .network
                .iter()
                .filter(|letter| letter.from == NodeId(0));
            let told = own.map(|letter| letter.message);
            let kept = snapshot.disks().next().map_or(0, |(_, count)| count.0);
            told.max().unwrap_or(0) <= kept
        },
    );
    let outcome = refute(&world);
    match outcome.verdict {
        Verdict::Exhausted => false,
        Verdict::Refuted { promise } => promise == "what was told is on disk",
        Verdict::Bounded { .. } => panic!("nothing bounds this world"),
    }
}

#[test]
fn an_honest_disk_keeps_what_it_acknowledged_and_a_lying_one_does_not() {
    assert!(!forgets(Disk::Honest));
    assert!(forgets(Disk::Lying));
}

#[test]
fn a_boundary_is_said_and_counted() {
    let world = counters(9).within(|snapshot| snapshot.network.len() < 3);
    let outcome = search(&world, Options::default(), &mut unwatched);
    assert!(matches!(outcome.verdict, Verdict::Bounded { cut_off, waiting: 0 } if 0 < cut_off));
}

#[test]
fn a_sometimes_that_never_comes_true_refutes() {
    let world = counters(9).sometimes("a count of four", |s| s.disks().any(|(_, c)| c.0 == 4));
    let outcome = search(&world, Options::default(), &mut unwatched);
    let promise = "a count of four";
    assert_eq!(outcome.verdict, Verdict::Refuted { promise });
}

#[test]
fn recovers_holds_from_every_state_or_falls() {
    let both = |goal: u8| {
        let world = counters(9).crashes(NodeSet::first(2), 1).recovers(
            "both count to the goal",
            6,
            move |s| s.disks().all(|(_, count)| count.0 == goal),
        );
        refute(&world).verdict
    };
    assert_eq!(both(3), Verdict::Exhausted);
    let promise = "both count to the goal";
    assert_eq!(both(4), Verdict::Refuted { promise });
}

/// Says any count it has heard, and one more.
struct Exaggerator;

impl Traitor<Counter> for Exaggerator {
    fn lies(&self, _: NodeId, seen: &mut dyn Iterator<Item = &Letter<u8>>) -> Vec<(NodeId, u8)> {
        let heard = seen.map(|letter| letter.message).max();
        heard
            .map(|count| (NodeId(0), count + 1))
            .into_iter()
            .collect()
    }
}

#[test]
fn a_traitor_says_what_it_can_and_no_more() {
    let world = |goal: u8| {
        counters(9)
            .traitors([NodeId(1)].into_iter().collect(), Exaggerator)
            .always("counts stay small", move |s| {
                s.disks().all(|(_, c)| c.0 < goal)
            })
    };
    let verdict = |goal| refute(&world(goal)).verdict;
    let promise = "counts stay small";
    assert_eq!(
        verdict(4),
        Verdict::Refuted { promise },
        "it heard 3, and says 4"
    );
    assert_eq!(
        verdict(5),
        Verdict::Exhausted,
        "it never hears its own lies"
    );
}

#[test]
fn a_story_is_the_same_in_every_run_and_none_is_shorter() {
    let story = || {
        let world = two_phase(3).always("nobody commits", |snapshot| {
            snapshot
                .running()
                .all(|(id, state)| id.0 == 3 || state.volatile != Stage::Committed)
        });
        let outcome = search(&world, Options::default(), &mut unwatched);
        let path = outcome.story.expect("somebody commits");
        // Three prepare, three are heard, the manager decides, one hears of it.
        assert_eq!(path.len(), 8);
        quorate_models::story::page(
            &world,
            "nobody commits",
            Kind::Always,
            &path,
            Source::Search,
        )
    };
    assert_eq!(story(), story());
}

#[test]
fn a_world_that_begins_later_has_the_states_from_there_on() {
    fn later(sentences: &[&'static str]) -> World<TwoPhase, NoGhost> {
        two_phase(2).begins_after(sentences)
    }
    let all = states(&two_phase(2)).0;
    assert_eq!(later(&[]).initial(), two_phase(2).initial());
    // Once one has aborted, nobody commits: what is left is that the others learn it, or prepare first.
    let aborted = later(&["n1's alarm rings: Abort"]);
    assert_ne!(aborted.initial(), two_phase(2).initial());
    let (some, _) = states(&aborted);
    assert!(1 < some && some < all, "{some} of {all}");
    let theirs = aborted.checker().spawn_bfs().join();
    assert_eq!(theirs.unique_state_count(), some);
    // What cannot happen, and what is not one action, is refused.
    for (sentence, complaint) in [("n9 does", "0 actions"), ("n1's alarm rings", "2 actions")] {
        let panicked = std::panic::catch_unwind(|| later(&[sentence]).initial()).unwrap_err();
        let told = panicked.downcast_ref::<String>().unwrap();
        assert!(told.contains(complaint), "{told}");
    }
}
