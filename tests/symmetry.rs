//! Mirror images: what is one state, what is not, and a world that is not as symmetric as it says.

use std::ops::Range;
use std::time::Duration;

use proptest::prelude::*;
use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId, Outbox, State};
use quorate_models::action::Cut;
use quorate_models::audit::{Audit, audit};
use quorate_models::engine::{Options, example, search, unwatched};
use quorate_models::ghost::Ghost;
use quorate_models::path::replay;
use quorate_models::promise::Kind;
use quorate_models::shared::fingerprint;
use quorate_models::symmetry::{Renaming, obligations};
use quorate_models::world::World;
use quorate_models::yardstick::two_phase;
use serde::{Deserialize, Serialize};

/// A machine without sense, but one that treats nodes alike: what it does is a hash of how many
/// there are of each kind, never of who they are. Unless it is biased.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fair {
    seed: u64,
    nodes: usize,
    is_biased: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Mind {
    heard: NodeSet,
    said: Map<NodeId, u64>,
    friend: Option<NodeId>,
    pending: Vec<u64>,
}

impl Fair {
    fn react(
        &self,
        state: &mut State<Self>,
        from: Option<NodeId>,
        what: u64,
        out: &mut Outbox<Self>,
    ) {
        let mind = &mut state.volatile;
        let known = from.map(|from| mind.heard.contains(from));
        let friendly = from.map(|from| mind.friend == Some(from));
        let mut said: Vec<u64> = mind.said.values().copied().collect();
        said.sort_unstable();
        let gist = (mind.heard.len(), said, known, friendly, what);
        let dice = |about: &str, below: u64| fingerprint(&(self.seed, about, &gist)) % below;
        if let Some(from) = from {
            if dice("hears", 2) == 0 {
                mind.heard.insert(from);
            }
            if dice("notes", 3) == 0 {
                mind.said.insert(from, what);
            }
            if dice("befriends", 3) == 0 {
                mind.friend = Some(from);
            }
            if self.is_biased {
                // The lowest of those that were heard is special.
                mind.friend = mind.heard.iter().next();
            }
            if dice("answers", 3) == 0 {
                out.send(from, dice("answer", 2));
            }
        }
        match dice("talks", 4) {
            0 => out.broadcast(NodeSet::first(self.nodes).iter(), &dice("word", 2)),
            1 => out.broadcast(mind.heard.iter(), &dice("word", 2)),
            2 => out.broadcast(mind.friend, &dice("word", 2)),
            _ => {}
        }
        match dice("alarm", 4) {
            0 => out.arm(mind.friend),
            1 => out.disarm(mind.friend),
            _ => {}
        }
        if dice("finishes", 2) == 0
            && let Some(ticket) = mind.pending.pop()
        {
            out.tell((ticket, mind.friend));
        }
    }
}

impl Machine for Fair {
    type Call = u64;
    type Message = u64;
    type Timer = Option<NodeId>;
    type Event = (u64, Option<NodeId>);
    type Durable = ();
    type Volatile = Mind;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Mind {
        out.arm(None);
        Mind::default()
    }

    fn on_call(&self, state: &mut State<Self>, ticket: u64, out: &mut Outbox<Self>) {
        state.volatile.pending.push(ticket);
        self.react(state, None, 10 + ticket, out);
    }

    fn on_message(&self, state: &mut State<Self>, from: NodeId, word: u64, out: &mut Outbox<Self>) {
        self.react(state, Some(from), word, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Option<NodeId>, out: &mut Outbox<Self>) {
        self.react(state, timer, 20, out);
    }

    fn delay(&self, _: &Option<NodeId>) -> Range<Duration> {
        Duration::from_millis(5)..Duration::from_millis(30)
    }
}

/// Who told something last, and of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Last {
    teller: Option<NodeId>,
    friend: Option<NodeId>,
}

impl Ghost<Fair> for Last {
    fn ticket(call: &u64) -> Option<u64> {
        Some(*call)
    }

    fn finished((ticket, _): &(u64, Option<NodeId>)) -> Option<u64> {
        Some(*ticket)
    }

    fn on_event(&mut self, node: NodeId, (_, friend): &(u64, Option<NodeId>)) {
        (self.teller, self.friend) = (Some(node), *friend);
    }

    fn renamed(&self, names: &Renaming) -> Self {
        Self {
            teller: self.teller.map(|id| names.node(id)),
            friend: self.friend.map(|id| names.node(id)),
        }
    }
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    nodes: usize,
    alike: Vec<NodeSet>,
    is_biased: bool,
    crashes: u32,
    cuts: u32,
    messages_max: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let alike = prop_oneof![
        Just((3, vec![NodeSet::first(3)])),
        Just((3, vec![NodeSet::first(2)])),
        Just((4, vec![NodeSet::first(4)])),
        Just((
            4,
            vec![
                NodeSet::first(2),
                NodeSet::first(4).difference(NodeSet::first(2))
            ]
        )),
    ];
    (any::<u64>(), alike, 0..2_u32, 0..2_u32, 2..5_usize).prop_map(
        |(seed, (nodes, alike), crashes, cuts, messages_max)| Plan {
            seed,
            nodes,
            alike,
            is_biased: false,
            crashes,
            cuts,
            messages_max,
        },
    )
}

impl Plan {
    fn world(&self) -> World<Fair, Last> {
        let machine = Fair {
            seed: self.seed,
            nodes: self.nodes,
            is_biased: self.is_biased,
        };
        let most = self.messages_max;
        let mut world = World::new("fair", vec![machine; self.nodes], Last::default())
            .client([0, 1])
            .crashes(NodeSet::first(self.nodes), self.crashes)
            .cuts(Cut::all(self.nodes as u64), self.cuts)
            .within(move |state| state.network.len() <= most)
            .always_told("nobody tells of itself", |told| {
                told.ghost.teller.is_none() || told.ghost.teller != told.ghost.friend
            })
            .sometimes_told("somebody tells of another", |told| {
                told.ghost.friend.is_some()
            })
            .always_of_nodes("not everybody has a friend", |nodes| {
                let friendly = |node: &&&_| friend(node).is_some();
                nodes.iter().filter(friendly).count() < nodes.len()
            })
            .always("few words", move |state| state.network.len() < most);
        for kind in &self.alike {
            world = world.symmetric(*kind);
        }
        world
    }

    /// The audit of orbits, unless there are too many states for one.
    fn audit(&self) -> Option<Audit> {
        let few = Options {
            states_max: Some(1_500),
            ..Options::default()
        };
        let outcome = search(&self.world().asymmetric(), few, &mut unwatched);
        (outcome.unique < 1_500).then(|| audit(self.world()))
    }
}

fn friend(node: &quorate_models::snapshot::Node<Fair>) -> Option<NodeId> {
    node.up().and_then(|state| state.volatile.friend)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_counts_what_is_no_mirror_image_of_another(plan in plan()) {
        let Some(audit) = plan.audit() else {
            return Ok(());
        };
        let world = plan.world();
        for exact in [false, true] {
            let options = Options { exact, ..Options::default() };
            let outcome = search(&world, options, &mut unwatched);
            prop_assert_eq!(&Audit::from(&outcome), &audit);
        }
        // With every mirror image there are more states, and the promises say the same.
        let whole = search(&plan.world().asymmetric(), Options::default(), &mut unwatched);
        prop_assert!(audit.unique <= whole.unique);
        prop_assert_eq!(&Audit::from(&whole).settled, &audit.settled);
        let discharged = obligations(|| plan.world());
        prop_assert_eq!(discharged.map(|done| done.states), Ok(whole.unique));
    }

    #[test]
    fn a_story_among_mirror_images_is_a_path_of_the_world(plan in plan()) {
        if plan.audit().is_none() {
            return Ok(());
        }
        let world = plan.world();
        for promise in world.promises() {
            let Some(path) = example(&world, promise.name) else {
                continue;
            };
            let settles = promise.kind == Kind::Sometimes;
            let steps = replay(&world, &path);
            for (at, (state, _)) in steps.iter().enumerate() {
                let is_last = at + 1 == steps.len();
                prop_assert_eq!(world.is_met(promise, state) == settles, is_last);
            }
        }
    }
}

#[test]
fn a_machine_that_favours_a_node_is_found_out() {
    let biased = |seed| Plan {
        seed,
        nodes: 3,
        alike: vec![NodeSet::first(3)],
        is_biased: true,
        crashes: 0,
        cuts: 0,
        messages_max: 4,
    };
    let complaints = (0..40).filter_map(|seed| obligations(|| biased(seed).world()).err());
    let complaints: Vec<String> = complaints.collect();
    assert!(!complaints.is_empty());
    let told = |complaint: &String| complaint.contains("mirror image");
    assert!(complaints.iter().all(told), "{complaints:?}");
}

#[test]
fn a_ghost_that_keeps_names_and_does_not_rename_them_is_found_out() {
    #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
    struct Forgetful(Option<NodeId>);

    impl Ghost<Fair> for Forgetful {
        fn ticket(call: &u64) -> Option<u64> {
            Some(*call)
        }

        fn finished((ticket, _): &(u64, Option<NodeId>)) -> Option<u64> {
            Some(*ticket)
        }

        fn on_event(&mut self, node: NodeId, _: &(u64, Option<NodeId>)) {
            self.0 = Some(node);
        }
    }

    let world = |seed| {
        let machine = Fair {
            seed,
            nodes: 3,
            is_biased: false,
        };
        World::new("forgetful", vec![machine; 3], Forgetful::default())
            .client([0])
            .within(|state| state.network.len() <= 2)
            .symmetric(NodeSet::first(3))
    };
    let told = (0..20)
        .filter(|seed| {
            search(&world(*seed), Options::default(), &mut unwatched)
                .sizes
                .outers
                > 2
        })
        .map(|seed| obligations(|| world(seed)));
    let complaints: Vec<String> = told.filter_map(Result::err).collect();
    assert!(!complaints.is_empty());
}

#[test]
fn two_phase_commit_has_as_many_states_as_resource_managers_can_be_told_apart() {
    // 6,656 is what a sort of whole tuples counts, which is possible where nobody names another.
    for (resources, reduced) in [(3, 80), (5, 314), (12, 6_656)] {
        let world = two_phase(resources).symmetric(NodeSet::first(resources));
        let outcome = search(&world, Options::default(), &mut unwatched);
        assert_eq!(outcome.unique, reduced, "{resources} resource managers");
        assert_eq!(outcome.verdict.to_string(), "EXHAUSTED");
    }
    let discharged = obligations(|| two_phase(4).symmetric(NodeSet::first(4)));
    let discharged = discharged.expect("resource managers are alike");
    assert_eq!((discharged.states, discharged.reduced), (1_568, 166));
    let manager = obligations(|| two_phase(3).symmetric(NodeSet::first(4)));
    assert!(manager.is_err(), "the manager is not like the others");
}
