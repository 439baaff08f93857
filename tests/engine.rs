//! The engine does what the world says, on worlds that nobody chose.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use quorate::data::NodeSet;
use quorate::machine::{self, Machine, NodeId, Outbox, State};
use quorate_models::action::Cut;
use quorate_models::audit::{Audit, audit};
use quorate_models::catalogue::{Count, How};
use quorate_models::engine::{
    Checked, Crew, Hosts, Options, Outcome, Progress, Stop, example, search, search_with, unwatched,
};
use quorate_models::ghost::Ghost;
use quorate_models::path::replay;
use quorate_models::promise::Kind;
use quorate_models::shared::fingerprint;
use quorate_models::snapshot::Letter;
use quorate_models::world::{Disk, Traitor, World};
use quorate_models::yardstick::{Stage, two_phase};
use serde::{Deserialize, Serialize};
use stateright::{Checker, Model as _};

/// A machine without sense: what it does is a hash of what it is and of what happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whimsical {
    seed: u64,
    me: u64,
    nodes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Kept(u64);

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Mood {
    mood: u64,
    pending: Vec<u64>,
}

impl machine::Durable for Kept {
    type Change = u64;

    fn changes_since(&self, older: &Self) -> Vec<u64> {
        (self != older).then_some(self.0).into_iter().collect()
    }

    fn apply(&mut self, change: u64) {
        self.0 = change;
    }
}

impl Whimsical {
    /// A number below `below`, which follows from everything.
    fn dice(&self, what: &str, state: &State<Self>, input: u64, below: u64) -> u64 {
        fingerprint(&(self.seed, self.me, what, state, input)) % below
    }

    fn react(&self, state: &mut State<Self>, input: u64, out: &mut Outbox<Self>) {
        let before = state.clone();
        let dice = |what: &str, below: u64| self.dice(what, &before, input, below);
        assert_ne!(dice("panics", 150), 0, "a whim");
        if dice("keeps", 3) == 0 {
            state.durable.0 = dice("kept", 2);
        }
        if dice("changes", 2) == 0 {
            state.volatile.mood = dice("mood", 3);
        }
        for one in 0..dice("talks", 4).saturating_sub(1) {
            // Some of it to nobody that there is.
            let to = NodeId(dice(&format!("to {one}"), self.nodes + 1));
            out.send(to, dice(&format!("says {one}"), 2));
        }
        match dice("alarm", 5) {
            0 => out.arm(dice("which", 2)),
            1 => out.disarm(dice("which", 2)),
            _ => {}
        }
        if dice("answers", 2) == 0
            && let Some(ticket) = state.volatile.pending.pop()
        {
            out.tell(ticket);
        }
    }
}

impl Machine for Whimsical {
    type Call = u64;
    type Message = u64;
    type Timer = u64;
    type Event = u64;
    type Durable = Kept;
    type Volatile = Mood;

    fn boot(&self, durable: &mut Kept, out: &mut Outbox<Self>) -> Mood {
        let mut state = State {
            durable: durable.clone(),
            volatile: Mood::default(),
        };
        if self.dice("wakes", &state, 0, 2) == 0 {
            out.arm(0);
        }
        state.durable.0 = self.dice("boots", &state, 0, 2);
        *durable = state.durable;
        state.volatile
    }

    fn on_call(&self, state: &mut State<Self>, ticket: u64, out: &mut Outbox<Self>) {
        state.volatile.pending.push(ticket);
        self.react(state, ticket, out);
    }

    fn on_message(&self, state: &mut State<Self>, from: NodeId, word: u64, out: &mut Outbox<Self>) {
        self.react(state, 100 + 10 * from.0 + word, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: u64, out: &mut Outbox<Self>) {
        self.react(state, 200 + timer, out);
    }

    fn delay(&self, timer: &u64) -> Range<Duration> {
        Duration::from_millis(5 + timer * 20)..Duration::from_millis(30)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.dice("holds", state, 0, 200) != 0
    }
}

/// Folds what it is told into a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Gist(u64);

impl Ghost<Whimsical> for Gist {
    fn ticket(call: &u64) -> Option<u64> {
        // Some calls have no reply.
        (!call.is_multiple_of(3)).then_some(*call)
    }

    fn finished(event: &u64) -> Option<u64> {
        Some(*event)
    }

    fn on_call(&mut self, client: usize, node: NodeId, call: &u64) {
        self.0 = fingerprint(&(self.0, client as u64, node, call)) % 3;
    }

    fn on_event(&mut self, node: NodeId, event: &u64) {
        self.0 = fingerprint(&(self.0, node, event)) % 3;
    }

    fn on_crash(&mut self, node: NodeId) {
        self.0 = fingerprint(&(self.0, node)) % 3;
    }
}

/// Says some of what it heard.
struct Gossip {
    seed: u64,
    nodes: u64,
}

impl Traitor<Whimsical> for Gossip {
    fn lies(&self, me: NodeId, seen: &mut dyn Iterator<Item = &Letter<u64>>) -> Vec<(NodeId, u64)> {
        let heard: Vec<_> = seen.cloned().collect();
        let hash = fingerprint(&(self.seed, me, heard));
        vec![
            (NodeId(hash % (self.nodes + 1)), hash / 7 % 3),
            (NodeId(hash / 3 % self.nodes), hash / 11 % 3),
        ]
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Plan {
    seed: u64,
    nodes: u64,
    clients: Vec<Vec<u64>>,
    crashes: u32,
    lying: bool,
    cuts: u32,
    traitor: bool,
    purges: bool,
    /// What the past may not be.
    assumes: bool,
    messages_max: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let clients = prop_oneof![
        Just(vec![]),
        Just(vec![vec![1, 2]]),
        Just(vec![vec![1], vec![3, 4]]),
    ];
    let reductions = (any::<bool>(), any::<bool>());
    let faults = (0..2_u32, any::<bool>(), 0..2_u32, any::<bool>());
    let rest = (reductions, 2..6_usize);
    (any::<u64>(), 1..4_u64, clients, faults, rest).prop_map(
        |(
            seed,
            nodes,
            clients,
            (crashes, lying, cuts, traitor),
            ((purges, assumes), messages_max),
        )| Plan {
            seed,
            nodes,
            clients,
            crashes,
            lying,
            cuts,
            traitor: traitor && 1 < nodes,
            purges,
            assumes,
            messages_max,
        },
    )
}

impl Plan {
    fn world(&self) -> World<Whimsical, Gist> {
        let Plan { seed, nodes, .. } = *self;
        let machines = (0..nodes).map(|me| Whimsical { seed, me, nodes });
        let mut world = World::new("whimsical", machines.collect(), Gist::default())
            .crashes(NodeSet::first(2), self.crashes)
            .cuts(Cut::all(nodes), if 1 < nodes { self.cuts } else { 0 })
            .disk(if self.lying {
                Disk::Lying
            } else {
                Disk::Honest
            });
        for (client, script) in self.clients.iter().enumerate() {
            world = if client == 0 {
                world.client(script.iter().copied())
            } else {
                let door = NodeSet::from_iter([NodeId(seed % nodes)]);
                world.client_at(door, script.iter().copied())
            };
        }
        if self.traitor {
            let traitor = NodeSet::from_iter([NodeId(nodes - 1)]);
            world = world.traitors(traitor, Gossip { seed, nodes });
        }
        if self.purges {
            // Not a sound reduction, but the engine must do as the world does.
            world = world.purging(
                move |letter, node| !fingerprint(&(seed, letter, node)).is_multiple_of(3),
                move |letter, node| !fingerprint(&(letter, seed, node)).is_multiple_of(3),
            );
        }
        if self.assumes {
            let first = world.initial().ghost.0;
            world = world.assuming("the gist is another", move |gist| gist.0 != (first + 1) % 3);
        }
        let most = self.messages_max;
        let idle = |waiting: &[quorate_models::snapshot::Client]| {
            waiting.iter().all(|client| client.waiting.is_none())
        };
        let world = world
            .within(move |state| state.network.len() <= most)
            .always_told("a gist", |told| told.ghost.0 != 2)
            .sometimes_told("another gist", |told| told.ghost.0 == 1)
            .always_of_nodes("a mood", |nodes| {
                let moody = nodes
                    .iter()
                    .filter(|node| (node.up()).is_some_and(|state| state.volatile.mood == 2));
                moody.count() < nodes.len()
            })
            .always("few words", move |state| state.network.len() < most);
        if self.lying {
            // In a calm that never settles, what a lying disk may fall back to grows for ever.
            return world;
        }
        world
            .recovers_for_clients("calls return", 2, idle)
            .recovers("calls return, slowly", 2, move |state| idle(&state.clients))
    }

    /// The audit, unless there are too many states for one.
    fn audit(&self) -> Option<Audit> {
        let few = Options {
            states_max: Some(4_000),
            ..Options::default()
        };
        let outcome = search(&self.world(), few, &mut unwatched);
        (outcome.unique < 4_000).then(|| audit(self.world()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_finds_what_the_world_defines(plan in plan()) {
        let Some(audit) = plan.audit() else {
            return Ok(());
        };
        let world = plan.world();
        for exact in [false, true] {
            let options = Options { exact, ..Options::default() };
            let outcome = search(&world, options, &mut unwatched);
            prop_assert_eq!(&Audit::from(&outcome), &audit);
            // Both ways of following a calm are one.
            let steps = |name| outcome.findings.iter().find(|f| f.promise == name).map(|f| f.steps);
            prop_assert_eq!(steps("calls return"), steps("calls return, slowly"));
        }
    }

    #[test]
    fn a_story_is_a_shortest_one_and_ends_where_the_promise_falls(plan in plan()) {
        if plan.audit().is_none() {
            return Ok(());
        }
        let world = plan.world();
        let outcome = search(&world, Options::default(), &mut unwatched);
        for finding in outcome.findings {
            let path = example(&world, finding.promise);
            prop_assert_eq!(path.as_ref().map(Vec::len), finding.steps);
            let Some(path) = path else {
                continue;
            };
            let promise = world.promises().iter().find(|p| p.name == finding.promise);
            let promise = promise.expect("it is promised");
            let settles = promise.kind == Kind::Sometimes;
            let steps = replay(&world, &path);
            for (at, (state, _)) in steps.iter().enumerate() {
                let is_last = at + 1 == steps.len();
                prop_assert_eq!(world.is_met(promise, state) == settles, is_last);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn several_workers_find_what_one_finds(plan in plan(), workers in 2..5_usize) {
        if plan.audit().is_none() {
            return Ok(());
        }
        let world = Arc::new(plan.world());
        for (exact, stop) in [(false, Stop::Never), (true, Stop::Never), (false, Stop::AtViolation)] {
            let options = Options { exact, stop, ..Options::default() };
            let crew = Crew { workers, ..Crew::default() };
            let alone = search(&world, options, &mut unwatched);
            let together = search_with(&world, options, &crew, &mut unwatched).expect("workers");
            prop_assert_eq!(facts(&together), facts(&alone));
        }
    }
}

/// What must not depend on who searched.
fn facts<M: Machine>(outcome: &Outcome<M>) -> String {
    let Outcome {
        unique,
        generated,
        depth,
        cut_off,
        waiting,
        elapsed: _,
        sizes: _,
        coverage,
        bytes: _,
        findings,
        verdict,
        story,
    } = outcome;
    // What never fired may have been met on the way to a verdict, or not.
    let fired = coverage.iter().filter(|fired| 0 < fired.times);
    let coverage: Vec<_> = fired.collect();
    format!(
        "{:?}",
        (
            unique, generated, depth, cut_off, waiting, coverage, findings, verdict, story
        )
    )
}

/// Set in the second process of the test below.
const SECOND: &str = "QUORATE_TEST_SECOND_PROCESS";

fn bad_world() -> Arc<World<quorate_models::yardstick::TwoPhase, quorate_models::ghost::NoGhost>> {
    Arc::new(two_phase(6).always("few messages", |state| state.network.len() < 9))
}

fn as_process(list: &str, process: usize) -> String {
    let hosts = Hosts::new(list, process).expect("a list of hosts");
    let crew = Crew {
        workers: 2,
        hosts: Some(hosts),
    };
    let outcome = search_with(&bad_world(), Options::default(), &crew, &mut unwatched);
    facts(&outcome.expect("the other process comes"))
}

#[test]
fn two_processes_find_what_one_finds() {
    if let Ok(list) = std::env::var(SECOND) {
        println!("found: {}", as_process(&list, 1));
        return;
    }
    // Ports that are free now.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let (one, other) = (free().expect("a port"), free().expect("a port"));
    let list = format!("{one} # this process\n\n{other}\n");
    let this = std::env::current_exe().expect("a test has a file");
    let second = std::process::Command::new(this)
        .args([
            "--exact",
            "two_processes_find_what_one_finds",
            "--nocapture",
        ])
        .env(SECOND, &list)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a test can be run again");
    let first = as_process(&list, 0);
    let second = second.wait_with_output().expect("the second process ends");
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(said.contains(&format!("found: {first}")), "{said}");
    let alone = search(&bad_world(), Options::default(), &mut unwatched);
    assert_eq!(first, facts(&alone));
    assert_eq!(alone.unique, 50_816);
    assert!(alone.story.is_some());
}

/// Set in the processes of the test below: the list, and which of them it is.
const LOSES: &str = "QUORATE_TEST_LOSES_PROCESS";

#[test]
fn when_a_process_is_lost_the_other_ends_without_a_verdict() {
    if let Ok(given) = std::env::var(LOSES) {
        let (process, list) = given.split_once(' ').expect("which, and the list");
        let process: usize = process.parse().expect("a number");
        let crew = Crew {
            workers: 1,
            hosts: Some(Hosts::new(list, process).expect("a list of hosts")),
        };
        // The second dies in the middle of the search, as by SIGKILL: it says no goodbye.
        let mut watch = |progress: &Progress| {
            if process == 1 && progress.depth > 8 {
                std::process::abort();
            }
            ControlFlow::Continue(())
        };
        let world = Arc::new(two_phase(9));
        let outcome = search_with(&world, Options::default(), &crew, &mut watch);
        println!("verdict: {:?}", outcome.map(|outcome| outcome.verdict));
        return;
    }
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
    let (one, other) = (free().expect("a port"), free().expect("a port"));
    let start = |process: usize| {
        std::process::Command::new(std::env::current_exe().expect("a test has a file"))
            .args([
                "--exact",
                "when_a_process_is_lost_the_other_ends_without_a_verdict",
            ])
            .arg("--nocapture")
            .env(LOSES, format!("{process} {one}\n{other}\n"))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("a test can be run again")
    };
    let (first, second) = (start(0), start(1));
    let lost = second.wait_with_output().expect("the second process ends");
    assert!(!lost.status.success(), "it was lost");
    let left = first.wait_with_output().expect("the first process ends");
    let said = String::from_utf8_lossy(&left.stdout);
    let complaint = String::from_utf8_lossy(&left.stderr);
    assert_eq!(left.status.code(), Some(2), "{said}{complaint}");
    assert!(!said.contains("verdict"), "{said}");
    assert!(complaint.contains("another process is lost"), "{complaint}");
}

#[test]
fn stateright_selected_as_the_engine_finds_the_same() {
    let protocol = quorate_models::catalogue::protocol("register").expect("it is there");
    for name in [
        "two-replicas",
        "clients-apart",
        "disjoint-quorums",
        "no-retries",
    ] {
        let exhibit = protocol.exhibit(name).expect("it is there");
        let theirs = exhibit.check_by_stateright();
        let ours = (exhibit.check(&How::default(), &mut unwatched)).expect("nobody else is needed");
        assert_eq!(theirs.surprise, None, "{name}");
        assert_eq!(theirs.verdict, ours.verdict, "{name}");
        assert_eq!(theirs.refuted, ours.refuted, "{name}");
    }
}

#[test]
fn what_reductions_gain_is_counted_up_to_a_budget() {
    let protocol = quorate_models::catalogue::protocol("register").expect("it is there");
    let world = protocol.exhibit("clients-apart").expect("it is there");
    let factors = world.factors(130_000);
    assert_eq!(factors.reduced, Count::Exactly(24_870));
    assert_eq!(factors.asymmetric, Some(Count::Exactly(122_202)));
    let Some(Count::MoreThan(unpurged)) = factors.unpurged else {
        panic!("{factors:?}");
    };
    assert!(unpurged >= 130_000, "{unpurged}");
}

#[test]
fn a_list_of_hosts_says_what_is_wrong_with_it() {
    let complaint = |list, process| Hosts::new(list, process).expect_err("a bad list");
    assert!(complaint("127.0.0.1:1", 0).contains("at least two"));
    assert!(complaint("127.0.0.1:1\nhere\n", 0).contains("\"here\" is no host:port"));
    assert!(complaint("a:1\nb:2", 2).contains("there is no process 2"));
}

#[test]
fn a_budget_is_no_verdict() {
    let options = Options {
        states_max: Some(100),
        ..Options::default()
    };
    let outcome = search(&two_phase(4), options, &mut unwatched);
    assert_eq!(outcome.verdict.to_string(), "BOUNDED");
    assert!(outcome.unique < 1_568 && 0 < outcome.waiting);
    let stop = Stop::AtViolation;
    let options = Options {
        stop,
        ..Options::default()
    };
    let outcome = search(&two_phase(4), options, &mut unwatched);
    assert_eq!(outcome.verdict.to_string(), "EXHAUSTED");
    assert_eq!((outcome.unique, outcome.waiting), (1_568, 0));
}

#[test]
fn states_that_wait_on_disk_are_expanded_all_the_same() {
    let on_disk = Options {
        memory: Some(0),
        ..Options::default()
    };
    let world = two_phase(6);
    let outcome = search(&world, on_disk, &mut unwatched);
    let in_memory = search(&world, Options::default(), &mut unwatched);
    assert_eq!(facts(&outcome), facts(&in_memory));
    let few = Options {
        states_max: Some(20_000),
        ..on_disk
    };
    let outcome = search(&world, few, &mut unwatched);
    assert_eq!(outcome.verdict.to_string(), "BOUNDED");
    assert!(20_000 <= outcome.unique && 0 < outcome.waiting && outcome.waiting < outcome.unique);
}

#[test]
fn the_engine_is_one_of_staterights_checkers_and_its_discoveries_are_shortest() {
    let world = || {
        two_phase(3).sometimes("all commit", |state| {
            let stages = state.running().map(|(_, node)| &node.volatile);
            stages.take(3).all(|stage| *stage == Stage::Committed)
        })
    };
    let theirs = world().checker().spawn_bfs().join();
    let ours = Checked::new(world(), Options::default()).join();
    assert!(ours.is_done());
    ours.assert_properties();
    assert_eq!(ours.unique_state_count(), theirs.unique_state_count());
    assert_eq!(ours.state_count(), theirs.state_count());
    assert_eq!(ours.max_depth(), theirs.max_depth());
    let path = ours.discovery("all commit").expect("all may commit");
    // Three prepare, three are heard, the manager decides, three hear of it.
    assert_eq!(path.clone().into_actions().len(), 10);
    let their_path = theirs.discovery("all commit").expect("all may commit");
    assert!(path.into_actions().len() <= their_path.into_actions().len());

    let states_max = Some(100);
    let few = Options {
        states_max,
        ..Options::default()
    };
    let stopped = Checked::new(world(), few);
    assert!(!stopped.is_done(), "what was stopped is not done");
}
