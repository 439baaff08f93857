//! Random walks find what they can, tell it well, and are the same every time.

use std::ops::ControlFlow;

use quorate_models::catalogue::{Exhibit, Simulated, protocol};
use quorate_models::path::replay;
use quorate_models::simulate::{Walks, simulate};
use quorate_models::yardstick::{Stage, two_phase};

fn walks(seed: u64) -> Walks {
    Walks {
        seed,
        walks: 100_000,
        steps: 80,
    }
}

fn run(name: &str, seed: u64) -> Simulated {
    let register = protocol("register").expect("the register");
    let exhibit: &dyn Exhibit = register.exhibit(name).expect("a world or a flaw of it");
    exhibit.simulate(walks(seed), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn every_flaw_of_the_register_is_met_by_chance() {
    let register = protocol("register").expect("the register");
    for flaw in &register.flaws {
        let name = flaw.name();
        let found = run(&name, 1);
        let (promise, story) = found
            .broken
            .unwrap_or_else(|| panic!("{name} in {} walks", found.walks));
        assert!(flaw.promises().contains(&promise));
        assert!(!story.is_empty());
    }
}

#[test]
fn a_seed_is_a_run() {
    let story = |seed| run("no-write-back", seed).broken.map(|(_, story)| story);
    assert_eq!(story(1), story(1));
    let walks = |seed| run("no-write-back", seed).walks;
    assert!((2..9).any(|seed| walks(seed) != walks(1)));
}

#[test]
fn nothing_is_broken_where_every_promise_holds_and_every_example_is_met() {
    let found = run("two-writers-crash", 3);
    assert_eq!(found.broken.map(|(_, story)| story), None);
    assert_eq!(found.walks, 100_000);
    assert!(
        found.shown.iter().all(|(_, shown)| *shown),
        "{:?}",
        found.shown
    );
}

#[test]
fn what_is_not_needed_is_taken_out_of_a_story() {
    let world = two_phase(4).always("not everybody commits", |state| {
        let stages = state.running().map(|(_, node)| &node.volatile);
        !stages.take(4).all(|stage| *stage == Stage::Committed)
    });
    let plan = Walks {
        seed: 7,
        walks: 20_000,
        steps: 100,
    };
    let met = simulate(&world, plan, &mut |_| ControlFlow::Continue(()));
    let (_, path) = met.broken.expect("sooner or later everybody commits");
    // Four prepare, four are heard, the manager decides, four hear of it.
    assert_eq!(path.len(), 13);
    assert_eq!(replay(&world, &path).len(), 14);
}
