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
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::symmetry::{self, Renaming};
use crate::world::{Disk, World};

mod bounded;
mod flaws;

use bounded::{Bounded, Crash, Suspicion, has_restarted, is_gone};
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

const HELD_DEAD: &str = "somebody is held dead";
const RISEN: &str = "who was held dead is held alive again";
const RUNS_AND_HELD_DEAD: &str = "somebody who runs is held dead";

/// What was told: by each member of itself, and of each other.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says that something happened"
)]
pub struct Views {
    /// The latest incarnation that each has begun.
    own: Map<NodeId, u64>,
    /// What each that runs told last of the others.
    held: Map<NodeId, Standings>,
    /// Somebody has heard that it was suspected or held dead.
    refuted: bool,
    /// Somebody was asked, and answered.
    answered: bool,
    /// Somebody was held dead, and then alive.
    risen: bool,
    /// Somebody heard of a suspicion that was not its own.
    hearsay: bool,
    /// Who accuses whom, until it has told of it.
    accusing: Option<(NodeId, NodeId)>,
    /// Those that join: they take nobody to be alive, and nobody takes them to be, before it is told.
    late: NodeSet,
    breaches: Breaches,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "incarnations {:?}; told of others {:?}",
            self.own, self.held
        )?;
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
                self.accusing = Some((node, *target));
                let knows = |other: NodeId| {
                    let told = self.held.get(&node).and_then(|held| held.get(&other));
                    let assumed = !self.late.contains(node) && !self.late.contains(other);
                    told.map_or(assumed, |standing| standing.is_live())
                };
                let mut others = self
                    .own
                    .keys()
                    .filter(|other| ![node, *target].contains(other));
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
                let told = held
                    .iter()
                    .all(|(other, standing)| standings.get(other) == Some(standing));
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
            late: names.set(self.late),
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
        let accused = self.accusing.take() == Some((node, other));
        self.hearsay |= standing.status == Status::Suspect && !accused;
        let held = self.held.entry_or_insert_with(node, Standings::new);
        let Some(before) = held.insert(other, standing) else {
            return;
        };
        self.breaches.note(standing <= before, NEVER_BACK);
        let rises = before.status == Status::Dead && standing.status == Status::Alive;
        self.risen |= rises;
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
    suspicion: Suspicion,
}

const THREE: Setting = Setting {
    members: 3,
    probes: [1, 1, 1],
    crash: Crash::Restart,
    mortal: NodeSet::EMPTY,
    joins: false,
    news_max: 2,
    health_max: 0,
    suspicion: Suspicion::Ripens,
};
const TWO: Setting = Setting {
    members: 2,
    ..THREE
};

impl Setting {
    fn all(self) -> NodeSet {
        NodeSet::first(self.members)
    }

    /// True if the node never forgets what it will need: it does not crash, or it did already, and there
    /// is one crash in all, or it does so for good.
    fn remembers<M: Twin<Swim>>(self, id: NodeId, node: &Node<Bounded<M>>) -> bool {
        let has_restarted = node
            .up()
            .is_some_and(|state| has_restarted(&state.volatile));
        self.crash == Crash::Stop || !self.mortal.contains(id) || has_restarted
    }

    fn late(self) -> NodeSet {
        let last = NodeId(self.members as u64 - 1);
        [last].into_iter().filter(|_| self.joins).collect()
    }

    fn machines<M>(self, probes: [u64; 3], make: impl Fn(Swim) -> M) -> Vec<Bounded<M>> {
        let old = self.all().difference(self.late());
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
                suspicion: self.suspicion,
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
    let ghost = Views {
        late: setting.late(),
        ..Views::default()
    };
    let world = World::new(name, machines, ghost)
        .crashes(setting.mortal, u32::from(!setting.mortal.is_empty()))
        .always_told(NEVER_BACK, |told| !told.ghost.breaches.of(NEVER_BACK))
        .always_told(OWNER, |told| !told.ghost.breaches.of(OWNER))
        .always_told(FRESH, |told| !told.ghost.breaches.of(FRESH))
        .always_told(REFUTES, |told| !told.ghost.breaches.of(REFUTES))
        .always_told(NO_ZOMBIE, |told| !told.ghost.breaches.of(NO_ZOMBIE))
        .always_told(ASKED, |told| !told.ghost.breaches.of(ASKED))
        .always_told(ANSWERS, |told| {
            nobody_waits(told.clients) && !told.ghost.breaches.of(ANSWERS)
        })
        .sometimes_told("somebody refutes", |told| told.ghost.refuted)
        .sometimes_told(HELD_DEAD, |told| {
            told.ghost
                .some(|_, standing| standing.status == Status::Dead)
        })
        .sometimes_told(RISEN, |told| told.ghost.risen);
    match setting.crash {
        Crash::Stop => in_calm(world, COMPLETENESS, setting, &make, the_gone_are_held_dead)
            .sometimes("who crashed is held dead by all others", |snapshot| {
                let gone = |node: &Shared<Node<Bounded<M>>>| node.up().is_none();
                snapshot.nodes.iter().any(gone) && the_gone_are_held_dead(snapshot)
            }),
        Crash::Restart => in_calm(world, CONVERGE, setting, &make, all_know_all).sometimes(
            RUNS_AND_HELD_DEAD,
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
    let ripens = Setting {
        suspicion: Suspicion::Ripens,
        ..setting
    };
    let unbounded = ripens.machines([u64::MAX; 3], make);
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
    let mut gone = gone.filter(|(_, node)| node.up().is_none_or(|state| is_gone(&state.volatile)));
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
        let Volatile {
            probe,
            number: last,
            ..
        } = &state.volatile;
        let is_under_way = probe.as_ref().is_some_and(|probe| probe.number == number);
        is_gone(&state.volatile) || (!is_under_way && number <= *last)
    })
}

/// True if the answer to a ping in somebody's stead is not awaited, now and ever after.
fn is_relayed<M: Twin<Swim>>(node: &Node<Bounded<M>>, origin: NodeId, number: u64) -> bool {
    let relay = node
        .up()
        .and_then(|state| state.volatile.relays.get(&origin));
    relay.is_some_and(|relay| {
        number < relay.number || (number == relay.number && relay.target.is_none())
    })
}

/// True if this was asked for already, or something later.
fn was_asked<M: Twin<Swim>>(node: &Node<Bounded<M>>, origin: NodeId, number: u64) -> bool {
    let relay = node
        .up()
        .and_then(|state| state.volatile.relays.get(&origin));
    relay.is_some_and(|relay| number <= relay.number)
}

/// True if the node crashed for good: it does nothing ever after.
fn is_lost<M: Twin<Swim>>(node: &Node<Bounded<M>>, crash: Crash) -> bool {
    crash == Crash::Stop && node.up().is_none_or(|state| is_gone(&state.volatile))
}

/// True if the node holds something later of `other` than what it held when it greeted it.
fn has_moved_on<M: Twin<Swim>>(
    node: &Node<Bounded<M>>,
    other: NodeId,
    held: Option<Standing>,
) -> bool {
    let known = node
        .up()
        .and_then(|state| state.volatile.view.get(&other).copied());
    held < known
}

/// True if it does not matter to the sender whether the message arrives. What a mortal one knows it would
/// forget in a crash; but no run uses the number of a probe of another.
fn sender_is_done<M: Twin<Swim>>(
    letter: &Letter<Message>,
    from: &Node<Bounded<M>>,
    setting: Setting,
) -> bool {
    if is_lost(from, setting.crash) {
        return true;
    }
    let lasts = setting.remembers(letter.from, from);
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
    setting: Setting,
) -> bool {
    if is_lost(to, setting.crash) {
        return true;
    }
    let lasts = setting.remembers(letter.to, to);
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
    world.purging(
        move |letter, from| sender_is_done(letter, from, setting),
        move |letter, to| receiver_is_done(letter, to, setting),
    )
}

/// A world of the right machine.
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

/// Two of three begin a probe.
const BOTH: Setting = Setting {
    probes: [1, 1, 0],
    ..THREE
};

fn two_alike<M: Twin<Swim>>(world: Model<M>) -> Model<M> {
    world.symmetric(NodeSet::first(2))
}

fn passing_on<M: Twin<Swim>>(world: Model<M>) -> Model<M> {
    world.sometimes_told("a suspicion is passed on", |told| told.ghost.hearsay)
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    let third: NodeSet = [NodeId(2)].into_iter().collect();
    vec![
        Claimed::holds(185_449, 1_082_496, || {
            passing_on(two_alike(right("three", BOTH)))
                .says("three members, of which two begin a probe each")
        }),
        Claimed::holds(116_665, 663_173, || {
            let all = Setting {
                suspicion: Suspicion::Stands,
                ..THREE
            };
            passing_on(right("all-three", all))
                .says(
                    "three members, each of which begins a probe, and suspicions that stand and are no \
                     deaths",
                )
                .symmetric(THREE.all())
                .except(HELD_DEAD)
                .except(RISEN)
                .except(RUNS_AND_HELD_DEAD)
                .never("ring Suspicion")
        }),
        Claimed::holds(402_442, 2_712_549, || {
            let twice = Setting {
                probes: [2, 0, 0],
                ..THREE
            };
            right("twice", twice).says("three members, of which one begins two probes")
        }),
        Claimed::holds(556_347, 2_924_473, || {
            passing_on(two_alike(right("cut", BOTH)))
                .says("three members, of which two begin a probe each; the third is cut off once")
                .cuts(vec![Cut::Isolate(NodeId(2))], 1)
        }),
        Claimed::holds(208_021, 1_353_329, move || {
            let stop = Setting {
                crash: Crash::Stop,
                mortal: third,
                ..BOTH
            };
            passing_on(two_alike(right("crash-stop", stop))).says(
                "three members, of which two begin a probe each; the third may crash for good",
            )
        }),
        Claimed::holds(46_161, 148_345, || {
            let mortal = THREE.all();
            right("crash", Setting { mortal, ..PROBED }).says(
                "three members, of which one begins a probe; one of them may crash and restart",
            )
        }),
        Claimed::holds_deep(1_711_002, 11_595_314, move || {
            let restart = Setting {
                mortal: third,
                news_max: 0,
                ..BOTH
            };
            two_alike(right("restart", restart)).says(
                "three members without news, of which two begin a probe each; the third may crash \
                 and restart",
            )
        }),
        Claimed::holds(21_396, 81_997, || {
            right("two-crash", TWO_CRASH)
                .says(
                    "two members that begin a probe each, and one more if they restart; one crash",
                )
                .symmetric(TWO.all())
        }),
        Claimed::holds(66_734, 381_495, || {
            let more = Setting {
                probes: [3, 3, 0],
                ..TWO
            };
            right("two", more)
                .says("two members that begin three probes each")
                .symmetric(TWO.all())
        }),
        Claimed::holds(1_076_122, 6_634_875, || {
            let join = Setting {
                probes: [1, 0, 1],
                joins: true,
                ..THREE
            };
            right("join", join).says(
                "two members, and a third that joins by the first; these two begin a probe each",
            )
        }),
        Claimed::holds(1_708, 5_689, || {
            asking(right("leave", PROBED)).says(
                "three members, of which one begins a probe; a client asks who is there, and one \
                 leaves",
            )
        }),
        Claimed::holds(5_658, 23_607, || {
            let healthy = Setting {
                probes: [2, 2, 0],
                health_max: 2,
                ..TWO
            };
            right("health", healthy)
                .says("two members that begin two probes each, and mind their own health")
                .symmetric(TWO.all())
        }),
    ]
}

/// The first of three begins a probe.
const PROBED: Setting = Setting {
    probes: [1, 0, 0],
    ..THREE
};
const TWO_CRASH: Setting = Setting {
    mortal: NodeSet::first(2),
    ..TWO
};
const STOP: Setting = Setting {
    crash: Crash::Stop,
    ..TWO_CRASH
};

fn asking<M: Twin<Swim>>(world: Model<M>) -> Model<M> {
    world
        .client([Call::Members { ticket: 0 }, Call::Leave { ticket: 1 }])
        .sometimes_told("a call is answered", |told| told.ghost.answered)
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(NEVER_BACK, 4, || {
            flawed(Flaw::EqualAccepted, "equal-accepted", TWO)
                .says("alive is believed of a suspect, in the incarnation that is suspected")
        }),
        Claimed::falls(NO_ZOMBIE, 5, || {
            flawed(Flaw::DeadRises, "dead-rises", TWO)
                .says("alive is believed of one that is held dead, in whatever incarnation")
        }),
        Claimed::falls(NO_ZOMBIE, 5, || {
            flawed(Flaw::DeadForgotten, "dead-forgotten", TWO).says(
                "who is held dead is taken out of the view, and whatever is said of it is news",
            )
        }),
        Claimed::falls(OWNER, 9, || {
            flawed(Flaw::AnyoneRaises, "anyone-raises", BOTH)
                .says("whoever has an answer from a suspect begins an incarnation in its stead")
        }),
        Claimed::falls(REFUTES, 11, || {
            flawed(Flaw::OwnPlusOne, "own-plus-one", TWO_CRASH)
                .says("a disk forgets, and a refutation is one more than the member's own incarnation")
                .disk(Disk::Lying)
        }),
        Claimed::falls(FRESH, 2, || {
            flawed(Flaw::NothingKept, "nothing-kept", TWO_CRASH)
                .says("the incarnation is not on the disk")
        }),
        Claimed::falls(ASKED, 2, || {
            flawed(Flaw::NobodyAsked, "nobody-asked", PROBED)
                .says("a member is suspected when it does not answer at once")
        }),
        Claimed::falls(COMPLETENESS, 1, || {
            flawed(Flaw::NeverConfirmed, "never-confirmed", STOP)
                .says("a suspicion never becomes a death: from here even calm does not get there")
        }),
        Claimed::falls(CONVERGE, 6, || {
            flawed(Flaw::DeadNotGreeted, "dead-not-greeted", TWO)
                .says("who is held dead is left alone, as in the textbook: from here even calm does not get there")
        }),
        Claimed::falls(CONVERGE, 2, || {
            flawed(Flaw::NoRefutation, "no-refutation", TWO)
                .says("who is suspected does not refute: from here even calm does not get there")
        }),
        Claimed::falls(ANSWERS, 3, || {
            asking(flawed(Flaw::SuspectsHidden, "suspects-hidden", TWO))
                .says("whoever asks who is there is not told of the suspects")
        }),
        Claimed::falls(FRESH, 2, || {
            world("lying-disk", TWO_CRASH, |right| right)
                .says("a disk forgets what it acknowledged")
                .disk(Disk::Lying)
        }),
    ]
}

/// What [`World::purging`] owes in small worlds without crashes.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    let pair = Setting {
        probes: [1, 0, 0],
        ..TWO
    };
    Ok(vec![
        purge::obligations(|| right("purged", pair))?,
        purge::obligations(|| right("purged", PROBED))?,
    ])
}

/// The same with a crash, after which the member restarts or does not.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations_with_a_crash() -> Result<Vec<Discharged>, String> {
    let second: NodeSet = [NodeId(1)].into_iter().collect();
    let of = |crash| {
        let setting = Setting {
            probes: [1, 0, 0],
            mortal: second,
            crash,
            ..TWO
        };
        purge::obligations(move || right("purged", setting))
    };
    Ok(vec![of(Crash::Stop)?, of(Crash::Restart)?])
}

/// The same, of a machine for which the rule is wrong: to one that believes what is old, nothing is ever
/// known. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| forgetting(flawed(Flaw::EqualAccepted, "purged", TWO), TWO))
}

/// What [`World::symmetric`] owes in a small world.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn mirror_obligations() -> Result<symmetry::Discharged, String> {
    let setting = Setting {
        news_max: 0,
        ..PROBED
    };
    let all_probe = move || {
        let alike: NodeSet = [NodeId(1), NodeId(2)].into_iter().collect();
        right("mirrored", setting).symmetric(alike)
    };
    symmetry::obligations(all_probe)
}
