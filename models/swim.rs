//! What is claimed of [`quorate::swim`]: its worlds, its promises, and the flaws that refute them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use quorate::data::{Map, NodeSet};
use quorate::machine::{Machine, NodeId};
use quorate::swim::{Call, Event, Message, Standing, Standings, Status, Swim, Volatile};

use crate::action::Cut;
use crate::calm;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::ghost::{Breaches, Ghost};
use crate::promise::Condition;
use crate::purge::{self, Discharged};
use crate::shared::Shared;
use crate::snapshot::{Letter, Node, Snapshot};
use crate::symmetry::Renaming;
use crate::world::{Disk, World};

mod bounded;
mod flaws;

use bounded::{Bounded, Crash, is_gone};
use flaws::{Flaw, Flawed};

/// What a member holds of another only grows.
pub const NEVER_BACK: &str = "standings never go back";
/// Nobody holds an incarnation that the member itself has not begun.
pub const OWNER: &str = "only its owner raises an incarnation";
/// A start and a refutation each begin an incarnation that never was.
pub const FRESH: &str = "no two runs share an incarnation";
/// What a refutation says is greater than what it refutes.
pub const REFUTES: &str = "a refutation beats its accusation";
/// Who is held dead is held alive again only in a later incarnation.
pub const NO_ZOMBIE: &str = "no zombie by a stale alive";
/// Nobody accuses before it has asked somebody else to ping, if it knows anyone.
pub const ASKED: &str = "others are asked first";
/// A call is answered with what was told of.
pub const ANSWERS: &str = "answers are what was told";
/// In the calm, who crashed for good is held dead by everyone.
pub const COMPLETENESS: &str = "strong completeness";
/// In the calm, everyone who runs is held alive, in its present incarnation, by everyone.
pub const CONVERGE: &str = "views converge";

/// What was told: by each member of itself, and of each other.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Views {
    /// The latest incarnation that each has begun.
    own: Map<NodeId, u64>,
    /// What each that runs told last of the others.
    held: Map<NodeId, Standings>,
    /// Somebody has heard that it was suspected or held dead.
    refuted: bool,
    /// Somebody was asked, and answered.
    answered: bool,
    breaches: Breaches,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "incarnations {:?}; told of others {:?}", self.own, self.held)?;
        write!(f, "{}", self.breaches)
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Views {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Members { ticket } | Call::Leave { ticket }) = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Members { ticket, .. } | Event::Left { ticket } => Some(*ticket),
            Event::Began { .. }
            | Event::Refuted { .. }
            | Event::Accused { .. }
            | Event::Changed { .. } => None,
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Began { incarnation } => self.begins(node, *incarnation),
            Event::Refuted {
                accusation,
                incarnation,
            } => {
                self.refuted = true;
                let loses = Standing::alive(*incarnation) <= *accusation;
                self.breaches.note(loses, REFUTES);
                self.begins(node, *incarnation);
            }
            Event::Accused {
                node: target,
                asked,
            } => {
                let knows = |other: NodeId| {
                    let told = self.held.get(&node).and_then(|held| held.get(&other));
                    told.is_none_or(|standing| standing.is_live())
                };
                let mut others = self.own.keys().filter(|other| ![node, *target].contains(other));
                let could_ask = others.any(|other| knows(*other));
                self.breaches.note(could_ask && asked.is_empty(), ASKED);
            }
            Event::Changed {
                node: other,
                standing,
            } => self.holds(node, *other, *standing),
            Event::Members { standings, .. } => {
                self.answered = true;
                let held = self.held.get(&node).cloned().unwrap_or_default();
                let told = held.iter().all(|(other, standing)| standings.get(other) == Some(standing));
                let mut others = standings.iter().filter(|(other, _)| **other != node);
                let more = others.any(|(other, standing)| {
                    *standing != Standing::alive(0) && !held.contains_key(other)
                });
                self.breaches.note(!told || more, ANSWERS);
            }
            Event::Left { .. } => {}
        }
    }

    fn on_crash(&mut self, node: NodeId) {
        self.held.remove(&node);
    }

    fn renamed(&self, names: &Renaming) -> Self {
        Self {
            own: names.value(&self.own),
            held: names.value(&self.held),
            ..self.clone()
        }
    }
}

impl Views {
    fn begins(&mut self, node: NodeId, incarnation: u64) {
        let before = self.own.insert(node, incarnation);
        let again = before.is_some_and(|before| incarnation <= before);
        self.breaches.note(again, FRESH);
    }

    fn holds(&mut self, node: NodeId, other: NodeId, standing: Standing) {
        let own = self.own.get(&other).copied().unwrap_or(0);
        self.breaches.note(own < standing.incarnation, OWNER);
        let held = self.held.entry_or_insert_with(node, Standings::new);
        let Some(before) = held.insert(other, standing) else {
            return;
        };
        self.breaches.note(standing <= before, NEVER_BACK);
        let rises = before.status == Status::Dead && standing.status == Status::Alive;
        let stale = rises && standing.incarnation <= before.incarnation;
        self.breaches.note(stale, NO_ZOMBIE);
    }

    /// True if some member told this last of some other.
    fn some(&self, is: impl Fn(NodeId, Standing) -> bool) -> bool {
        let mut told = self.held.values().flat_map(|held| held.iter());
        told.any(|(other, standing)| is(*other, *standing))
    }
}

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<Bounded<M>, Views>;

/// The members of a world, and what bounds it.
#[derive(Clone, Copy)]
struct Setting {
    members: usize,
    /// How many probes each begins.
    probes: [u64; 3],
    crash: Crash,
    /// Which may crash, one of them once.
    mortal: NodeSet,
    /// The last member joins by the first.
    joins: bool,
    news_max: u32,
    health_max: u8,
}

const THREE: Setting = Setting {
    members: 3,
    probes: [1, 1, 1],
    crash: Crash::Restart,
    mortal: NodeSet::EMPTY,
    joins: false,
    news_max: 2,
    health_max: 0,
};
const TWO: Setting = Setting {
    members: 2,
    ..THREE
};

impl Setting {
    fn all(self) -> NodeSet {
        NodeSet::first(self.members)
    }

    fn machines<M>(self, probes: [u64; 3], make: impl Fn(Swim) -> M) -> Vec<Bounded<M>> {
        let last = NodeId(self.members as u64 - 1);
        let mut old = self.all();
        if self.joins {
            old.remove(last);
        }
        let machine = |(me, probes): (NodeId, u64)| {
            let knows = old.contains(me);
            let nobody = NodeSet::EMPTY;
            Bounded {
                inner: make(Swim {
                    me,
                    members: if knows { old } else { nobody },
                    seeds: if knows { nobody } else { NodeSet::first(1) },
                    helpers: 1,
                    news_max: self.news_max,
                    news_pings: 1,
                    health_max: self.health_max,
                    period_ms: 1_000,
                    suspicion_periods: 2,
                    greeting_periods: 3,
                }),
                probes,
                crash: self.crash,
            }
        };
        self.all().iter().zip(probes).map(machine).collect()
    }
}

/// How many alarms may ring in a calm.
const ROUNDS: u32 = 120;

/// A world in which all is promised that SWIM promises of its members at any time.
fn world<M: Twin<Swim>>(name: &str, setting: Setting, make: impl Fn(Swim) -> M) -> Model<M> {
    let machines = setting.machines(setting.probes, &make);
    let world = World::new(name, machines, Views::default())
        .crashes(setting.mortal, u32::from(!setting.mortal.is_empty()))
        .always_told(NEVER_BACK, |told| !told.ghost.breaches.of(NEVER_BACK))
        .always_told(OWNER, |told| !told.ghost.breaches.of(OWNER))
        .always_told(FRESH, |told| !told.ghost.breaches.of(FRESH))
        .always_told(REFUTES, |told| !told.ghost.breaches.of(REFUTES))
        .always_told(NO_ZOMBIE, |told| !told.ghost.breaches.of(NO_ZOMBIE))
        .always_told(ASKED, |told| !told.ghost.breaches.of(ASKED))
        .always_told(ANSWERS, |told| !told.ghost.breaches.of(ANSWERS))
        .sometimes_told("somebody refutes", |told| told.ghost.refuted)
        .sometimes_told("somebody is held dead", |told| {
            told.ghost.some(|_, standing| standing.status == Status::Dead)
        })
        .sometimes_told("a refutation is believed", |told| {
            (told.ghost).some(|_, standing| standing.is_live() && 0 < standing.incarnation)
        });
    match setting.crash {
        Crash::Stop => in_calm(world, COMPLETENESS, setting, &make, the_gone_are_held_dead)
            .sometimes("who crashed is held dead by all others", |snapshot| {
                let gone = |node: &Shared<Node<Bounded<M>>>| node.up().is_none();
                snapshot.nodes.iter().any(gone) && the_gone_are_held_dead(snapshot)
            }),
        Crash::Restart => in_calm(world, CONVERGE, setting, &make, all_know_all).sometimes(
            "somebody who runs is held dead",
            |snapshot| {
                let running: Vec<NodeId> = snapshot.running().map(|(id, _)| id).collect();
                (snapshot.ghost).some(|other, standing| {
                    standing.status == Status::Dead && running.contains(&other)
                })
            },
        ),
    }
}

/// Promises that from every state a calm gets to `goal`, in which members probe without bound. What was
/// under way is lost.
///
/// Such a calm depends on the members alone, so it is looked at once for each of their states.
fn in_calm<M: Twin<Swim>>(
    world: Model<M>,
    name: &'static str,
    setting: Setting,
    make: &impl Fn(Swim) -> M,
    goal: fn(&Snapshot<Bounded<M>, Views>) -> bool,
) -> Model<M> {
    type Nodes<M> = Box<[Shared<Node<Bounded<M>>>]>;
    let unbounded = setting.machines([u64::MAX; 3], make);
    let unbounded = World::new("calm", unbounded, Views::default());
    let goal = Condition::Whole(Arc::new(goal));
    let known: Mutex<HashMap<Nodes<M>, bool>> = Mutex::default();
    world.always(name, move |snapshot| {
        let found = |known: &HashMap<Nodes<M>, bool>| known.get(&snapshot.nodes).copied();
        if let Some(reached) = found(&known.lock().expect("nobody panics")) {
            return reached;
        }
        let mut alone = snapshot.clone();
        alone.network = Shared::new(Vec::new());
        alone.clients = Box::default();
        let reached = calm::rounds(&unbounded, &alone, ROUNDS, &goal).is_some();
        let mut known = known.lock().expect("nobody panics");
        known.insert(snapshot.nodes.clone(), reached);
        reached
    })
}

/// Goal of *strong completeness*.
fn the_gone_are_held_dead<M: Twin<Swim>>(snapshot: &Snapshot<Bounded<M>, Views>) -> bool {
    let runs = |node: &&Volatile| !is_gone(node);
    let here = snapshot.running().map(|(_, state)| &state.volatile);
    let here: Vec<&Volatile> = here.filter(runs).collect();
    let gone = (0..).map(NodeId).zip(&snapshot.nodes);
    let mut gone = gone.filter(|(_, node)| !node.up().is_some_and(|state| !is_gone(&state.volatile)));
    gone.all(|(id, _)| {
        let dead = |view: &&Volatile| view.view.get(&id).is_some_and(|s| s.status == Status::Dead);
        here.iter().all(dead)
    })
}

/// Goal of *views converge*. Who has left is held to have left, or dead by those who have not heard.
fn all_know_all<M: Twin<Swim>>(snapshot: &Snapshot<Bounded<M>, Views>) -> bool {
    let views: Vec<_> = (snapshot.running())
        .map(|(id, state)| (id, &state.volatile.view))
        .collect();
    let left = |id: &NodeId, view: &Standings| {
        view.get(id).is_some_and(|mine| mine.status == Status::Left)
    };
    let mut here = views.iter().filter(|(id, view)| !left(id, view));
    views.len() == snapshot.nodes.len()
        && here.all(|(_, view)| {
            views.iter().all(|(other, theirs)| match view.get(other) {
                Some(held) => Some(held) == theirs.get(other),
                None => false,
            })
        })
}

/// True if nothing of this is news to the node, now and as long as it runs.
fn knows<M: Twin<Swim>>(node: &Node<Bounded<M>>, standings: &Standings) -> bool {
    let Some(state) = node.up() else {
        return false;
    };
    standings.iter().all(|(other, standing)| {
        let known = state.volatile.view.get(other);
        known.is_some_and(|known| standing <= known)
    })
}

/// True if the probe of this name is not under way at its origin, now and ever after.
fn is_over<M: Twin<Swim>>(node: &Node<Bounded<M>>, number: u64) -> bool {
    node.up().is_none_or(|state| {
        let Volatile { probe, number: last, .. } = &state.volatile;
        let is_under_way = probe.as_ref().is_some_and(|probe| probe.number == number);
        is_gone(&state.volatile) || (!is_under_way && number <= *last)
    })
}

/// True if the answer to a ping in somebody's stead is not awaited, now and ever after.
fn is_relayed<M: Twin<Swim>>(node: &Node<Bounded<M>>, origin: NodeId, number: u64) -> bool {
    let relay = node.up().and_then(|state| state.volatile.relays.get(&origin));
    relay.is_some_and(|relay| {
        number < relay.number || (number == relay.number && relay.target.is_none())
    })
}

/// True if this was asked for already, or something later.
fn was_asked<M: Twin<Swim>>(node: &Node<Bounded<M>>, origin: NodeId, number: u64) -> bool {
    let relay = node.up().and_then(|state| state.volatile.relays.get(&origin));
    relay.is_some_and(|relay| number <= relay.number)
}

/// True if the node holds something later of `other` than what it held when it greeted it.
fn has_moved_on<M: Twin<Swim>>(
    node: &Node<Bounded<M>>,
    other: NodeId,
    held: Option<Standing>,
) -> bool {
    let known = node.up().and_then(|state| state.volatile.view.get(&other).copied());
    held < known
}

/// True if it does not matter to the sender whether the message arrives. What a mortal one knows it would
/// forget in a crash; but no run uses the number of a probe of another.
fn sender_is_done<M: Twin<Swim>>(
    letter: &Letter<Message>,
    from: &Node<Bounded<M>>,
    mortal: NodeSet,
) -> bool {
    let lasts = !mortal.contains(letter.from);
    match &letter.message {
        Message::Ping { origin, number, .. } if *origin == letter.from => is_over(from, *number),
        Message::Ping { origin, number, .. } => lasts && is_relayed(from, *origin, *number),
        Message::Greeting { held, .. } => lasts && has_moved_on(from, letter.to, *held),
        Message::Ack { .. }
        | Message::View { .. }
        | Message::PingRequest { .. }
        | Message::Goodbye { .. } => true,
    }
}

/// True if the receiver makes nothing of it.
fn receiver_is_done<M: Twin<Swim>>(
    letter: &Letter<Message>,
    to: &Node<Bounded<M>>,
    mortal: NodeSet,
) -> bool {
    let lasts = !mortal.contains(letter.to);
    match &letter.message {
        Message::Ack { origin, number, .. } if *origin == letter.to => is_over(to, *number),
        Message::Ack { origin, number, .. } => lasts && is_relayed(to, *origin, *number),
        Message::PingRequest {
            number, standings, ..
        } => lasts && was_asked(to, letter.from, *number) && knows(to, standings),
        Message::View { held, standings } => {
            lasts && (has_moved_on(to, letter.from, *held) || knows(to, standings))
        }
        Message::Ping { standings, .. }
        | Message::Greeting { standings, .. }
        | Message::Goodbye { standings } => lasts && knows(to, standings),
    }
}

fn forgetting<M: Twin<Swim>>(world: Model<M>, setting: Setting) -> Model<M> {
    let mortal = setting.mortal;
    world.purging(
        move |letter, from| sender_is_done(letter, from, mortal),
        move |letter, to| receiver_is_done(letter, to, mortal),
    )
}

/// A world of the right machine, whose members are alike.
fn right(name: &str, setting: Setting) -> Model<Swim> {
    let world = world(name, setting, |right| right);
    forgetting(world, setting)
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(flaw: Flaw, name: &str, setting: Setting) -> Model<Flawed> {
    world(name, setting, move |right| Flawed { right, flaw })
}

/// SWIM, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "swim",
        summary: "SWIM: who is there, as each member knows it for itself",
        worlds: worlds(),
        flaws: flaws(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let v: Vec<u64> = std::env::var("X").unwrap_or("1,1,1,0,3,0,2,0,0,0".into()).split(',').map(|x| x.parse().unwrap()).collect();
    vec![
        Claimed::holds(0, 0, move || {
            let setting = Setting {
                probes: [v[0], v[1], v[2]],
                mortal: (0..64).map(NodeId).filter(|n| v[3] >> n.0 & 1 == 1).collect(),
                members: v[4] as usize,
                crash: if v[5] == 1 { Crash::Stop } else { Crash::Restart },
                news_max: v[6] as u32,
                health_max: v[7] as u8,
                joins: v[8] == 1,
                ..THREE
            };
            let mut w = right("exp", setting);
            if v[9] & 1 == 1 { w = w.cuts(vec![Cut::Isolate(NodeId(2))], 1); }
            if v[9] & 2 == 2 { w = w.symmetric(setting.all()); }
            if v[9] & 4 == 4 { w = w.symmetric(NodeSet::first(2)); }
            if v[9] & 8 == 8 { w = w.unpurged(); }
            if v[9] & 16 == 16 { w = w.except(CONVERGE); }
            if v[9] & 32 == 32 { w = w.client(vec![Call::Members { ticket: 0 }, Call::Leave { ticket: 1 }]); }
            w
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![]
}
