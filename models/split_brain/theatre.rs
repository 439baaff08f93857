//! A theatre: several nodes under one clock, for promises that rest on time.
//!
//! The world lets any alarm ring at any time and any message take for ever, and no node could then say
//! that another must have stepped aside by now. So here several nodes are one machine of the world, with
//! one clock for all. A message arrives at once, or never if its link is cut; an alarm rings when the
//! clock has ticked as often as [`Machine::delay`] allows, and if it allows several times, at any of
//! them. What the adversary does is on the theatre's own list of alarms: the clock ticks, an alarm rings
//! early, links are cut in any of the given ways, and healed.
//!
//! In stories the nodes on the stage are called A, B, C, to tell them from the world's only node.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::data::{Map, NodeSet};
use quorate::machine::{self, Input, Machine, NodeId, Outbox, Output, State, Step};
use quorate::split_brain::{
    Answer, Call, Durable, Event, Message, Roster, SplitBrain, Stage, Standing, Timer, View,
    Volatile,
};
use serde::{Deserialize, Serialize};

use crate::action::Cut;
use crate::flaw::Twin;

/// The nodes on the stage, and what may happen to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Theatre<M> {
    /// The nodes; node *i* is `NodeId(i)`.
    pub actors: Vec<M>,
    /// How links may be cut.
    pub cuts: Vec<Cut>,
    /// How often they may be.
    pub cuts_max: u32,
    /// How often a node may crash.
    pub crashes_max: u32,
    /// What may be asked to change of the members, and of whom.
    pub changes: Vec<Asked>,
}

/// A change of the members that a node may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Who is asked.
    pub of: NodeId,
    /// Who is to come or to go.
    pub node: NodeId,
    /// To come, or to go.
    pub stage: Stage,
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Act {
    /// The clock ticks, and what must ring by then rings.
    Tick,
    /// An alarm that may ring rings, though it need not yet.
    Alarm(NodeId, Timer),
    /// Links are cut.
    Cut(Severed),
    /// They are healed.
    Heal,
    /// A node crashes, and starts again at once. (One that stays down is cut off, and does less.)
    Reboot(NodeId),
    /// A client asks a node whether it may serve.
    Ask(NodeId),
    /// A client asks a node that somebody comes or goes.
    Change(Asked),
}

/// A cut, as it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Severed {
    /// Its place in the list.
    pub place: u64,
    /// Whom each node no longer hears, node by node.
    pub unheard: [NodeSet; ACTORS_MAX],
}

/// The most nodes that a stage has room for.
pub const ACTORS_MAX: usize = 5;

/// What a node on the stage told.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Line {
    /// Which node.
    pub node: NodeId,
    /// What.
    pub event: Event,
}

/// One node on the stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// What its disk has.
    pub durable: Durable,
    /// What it knows.
    pub volatile: Volatile,
    /// After how many more ticks each armed alarm may ring, and after how many it has to.
    pub left: Map<Timer, (u64, u64)>,
}

/// Everything on the stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scene {
    /// The nodes.
    pub actors: Vec<Actor>,
    /// The cut that is in force, by its place in the list.
    pub cut: Option<u64>,
    /// How many cuts are left.
    pub cuts: u32,
    /// How many crashes are left.
    pub crashes: u32,
}

/// The letters of the nodes on the stage.
fn lettered(text: &str) -> String {
    let letters = [
        ("n0", "A"),
        ("n1", "B"),
        ("n2", "C"),
        ("n3", "D"),
        ("n4", "E"),
    ];
    let text = text.to_owned();
    letters
        .iter()
        .fold(text, |text, (id, letter)| text.replace(id, letter))
}

impl fmt::Debug for Severed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (node, unheard) in (0..).map(NodeId).zip(self.unheard) {
            if !unheard.is_empty() {
                write!(f, "{comma}{node} does not hear {unheard:?}")?;
                comma = ", ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Tick => "Tick".to_owned(),
            Self::Alarm(node, Timer::Missing(other)) => format!("Missing({other}) of {node}"),
            Self::Alarm(node, timer) => format!("{timer:?} of {node}"),
            Self::Cut(severed) => format!("Cut, {severed:?}"),
            Self::Heal => "Heal".to_owned(),
            Self::Reboot(node) => format!("Reboot of {node}"),
            Self::Ask(node) => format!("Question to {node}"),
            Self::Change(Asked { of, node, stage }) => match stage {
                Stage::Joining | Stage::Up => format!("{of} is asked that {node} joins"),
                Stage::Leaving | Stage::Removed => format!("{of} is asked that {node} leaves"),
            },
        };
        write!(f, "{}", lettered(&text))
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        let text = match self.event {
            Event::Stands(Standing::Whole) => format!("{node} serves, for all hear all"),
            Event::Stands(Standing::Unsure) => format!("{node} serves, and is unsure"),
            Event::Stands(Standing::Stays) => format!("{node} serves, and is to stay"),
            Event::Stands(Standing::TookOver(side)) => {
                format!("{node} serves, and has taken over with {side:?}")
            }
            Event::Stands(Standing::Aside) => format!("{node} is aside"),
            Event::Answered {
                answer: Answer::Begun,
                ..
            } => format!("{node} begins with it, and tells the others"),
            Event::Answered {
                answer: Answer::NotNow,
                ..
            } => format!("{node} does not, for not all know the same"),
            Event::Answered { answer, .. } => format!("{node} answers: {answer:?}"),
        };
        write!(f, "{}", lettered(&text))
    }
}

impl<M: Twin<SplitBrain>> Theatre<M> {
    /// Whatever may happen next.
    fn offers(&self, scene: &Scene) -> Vec<Act> {
        let mut offers = vec![Act::Tick];
        for (node, actor) in (0..).map(NodeId).zip(&scene.actors) {
            offers.push(Act::Ask(node));
            if scene.crashes > 0 {
                offers.push(Act::Reboot(node));
            }
            let early = (actor.left.iter()).filter(|(_, (least, most))| *least == 0 && *most > 0);
            offers.extend(early.map(|(timer, _)| Act::Alarm(node, *timer)));
        }
        for asked in &self.changes {
            let actor = scene.actors.get(place(asked.of.0));
            let stage = actor.and_then(|actor| actor.durable.stages.get(&asked.node));
            if stage < Some(&asked.stage) {
                offers.push(Act::Change(*asked));
            }
        }
        match scene.cut {
            Some(_) => offers.push(Act::Heal),
            None if scene.cuts > 0 => {
                offers.extend((0..).zip(&self.cuts).map(|(place, cut)| {
                    let unheard = self.unheard(cut);
                    Act::Cut(Severed { place, unheard })
                }));
            }
            None => {}
        }
        offers
    }

    /// Whom each node does not hear when links are cut so.
    fn unheard(&self, cut: &Cut) -> [NodeSet; ACTORS_MAX] {
        let mut unheard = [NodeSet::EMPTY; ACTORS_MAX];
        let all = NodeSet::first(self.actors.len());
        for (to, unheard) in all.iter().zip(&mut unheard) {
            *unheard = all.iter().filter(|from| cut.blocks(*from, to)).collect();
        }
        unheard
    }

    /// True if what `from` says does not reach `to`.
    fn blocks(&self, scene: &Scene, from: NodeId, to: NodeId) -> bool {
        let cut = scene.cut.and_then(|cut| self.cuts.get(place(cut)));
        cut.is_some_and(|cut| cut.blocks(from, to))
    }

    /// What a node would see if every node had seen long since how links are.
    pub fn settled_view(&self, scene: &Scene, me: NodeId) -> View {
        let all = NodeSet::first(self.actors.len());
        let hears = |to: NodeId| -> NodeSet {
            let heard = |from: &NodeId| !self.blocks(scene, *from, to);
            all.iter().filter(heard).collect()
        };
        let up = all;
        let roster = Roster {
            up,
            ..Roster::default()
        };
        let reports = hears(me).iter().map(|node| (node, hears(node)));
        View {
            me,
            roster,
            reports: reports.collect(),
        }
    }

    /// A node does something, and all that follows from it at once.
    fn play(&self, scene: &mut Scene, node: NodeId, input: Input<M>, out: &mut Outbox<Self>) {
        let mut waiting = VecDeque::from([(node, input)]);
        while let Some((node, input)) = waiting.pop_front() {
            let (Some(machine), Some(actor)) = (
                self.actors.get(place(node.0)),
                scene.actors.get_mut(place(node.0)),
            ) else {
                continue;
            };
            let state = State {
                durable: actor.durable.clone(),
                volatile: actor.volatile.clone(),
            };
            let step = machine::step(machine, state, input);
            let sent = perform(machine, node, actor, step, out);
            for (to, message) in sent {
                if !self.blocks(scene, node, to) {
                    let from = node;
                    waiting.push_back((to, Input::Message { from, message }));
                }
            }
        }
    }

    /// The clock ticks: then all that must ring by now rings, heartbeats first.
    fn tick(&self, scene: &mut Scene, out: &mut Outbox<Self>) {
        for actor in &mut scene.actors {
            actor.left = (actor.left.iter())
                .map(|(timer, (least, most))| {
                    (*timer, (least.saturating_sub(1), most.saturating_sub(1)))
                })
                .collect();
        }
        loop {
            let due = (0..)
                .map(NodeId)
                .zip(&scene.actors)
                .flat_map(|(node, actor)| {
                    let due = (actor.left.iter()).filter(|(_, (_, most))| *most == 0);
                    due.map(move |(timer, _)| (*timer, node))
                });
            let Some((timer, node)) = due.min() else {
                return;
            };
            self.ring(scene, node, timer, out);
        }
    }

    fn ring(&self, scene: &mut Scene, node: NodeId, timer: Timer, out: &mut Outbox<Self>) {
        if let Some(actor) = scene.actors.get_mut(place(node.0)) {
            actor.left.remove(&timer);
        }
        self.play(scene, node, Input::Timer(timer), out);
    }
}

/// A node as it boots. It says nothing yet to the others: heartbeats are alarms.
fn booted<M: Twin<SplitBrain>>(
    machine: &M,
    node: NodeId,
    disk: Durable,
    out: &mut Outbox<Theatre<M>>,
) -> Actor {
    let step = machine::boot(machine, disk);
    let mut actor = Actor {
        durable: step.state.durable.clone(),
        volatile: step.state.volatile.clone(),
        left: Map::new(),
    };
    perform(machine, node, &mut actor, step, out);
    actor
}

/// What a node's step makes of it; gives what it sent.
fn perform<M: Twin<SplitBrain>>(
    machine: &M,
    node: NodeId,
    actor: &mut Actor,
    step: Step<M>,
    out: &mut Outbox<Theatre<M>>,
) -> Vec<(NodeId, Message)> {
    let Step { state, sealed } = step;
    actor.durable = state.durable;
    actor.volatile = state.volatile;
    let outputs = sealed.persist(|_| Ok::<(), ()>(())).unwrap_or_default();
    let mut sent = Vec::new();
    for output in outputs {
        match output {
            Output::Send { to, message } => sent.push((to, message)),
            Output::Event(event) => out.tell(Line { node, event }),
            Output::Arm(timer) => {
                let Range { start, end } = machine.delay(&timer);
                let ticks = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                actor
                    .left
                    .insert(timer, (ticks(start), ticks(end).saturating_sub(1)));
            }
            Output::Disarm(timer) => {
                actor.left.remove(&timer);
            }
        }
    }
    sent
}

fn place(id: u64) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

impl<M: Twin<SplitBrain>> Machine for Theatre<M> {
    type Call = Call;
    type Message = Message;
    type Timer = Act;
    type Event = Line;
    type Durable = ();
    type Volatile = Scene;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Scene {
        let mut scene = Scene {
            actors: Vec::new(),
            cut: None,
            cuts: self.cuts_max,
            crashes: self.crashes_max,
        };
        for (node, machine) in (0..).map(NodeId).zip(&self.actors) {
            let actor = booted(machine, node, Durable::default(), out);
            scene.actors.push(actor);
        }
        for act in self.offers(&scene) {
            out.arm(act);
        }
        scene
    }

    fn on_call(&self, _: &mut State<Self>, _: Call, _: &mut Outbox<Self>) {}

    fn on_message(&self, _: &mut State<Self>, _: NodeId, _: Message, _: &mut Outbox<Self>) {}

    fn on_timer(&self, state: &mut State<Self>, act: Act, out: &mut Outbox<Self>) {
        let scene = &mut state.volatile;
        let mut before = self.offers(scene);
        before.retain(|offer| *offer != act);
        match act {
            Act::Tick => self.tick(scene, out),
            Act::Alarm(node, timer) => self.ring(scene, node, timer, out),
            Act::Cut(severed) => {
                scene.cut = Some(severed.place);
                scene.cuts = scene.cuts.saturating_sub(1);
            }
            Act::Heal => scene.cut = None,
            Act::Reboot(node) => {
                let place = place(node.0);
                if let Some(machine) = self.actors.get(place) {
                    // Whatever it was, it is aside as it boots.
                    let event = Event::Stands(Standing::Aside);
                    out.tell(Line { node, event });
                    let disk = scene.actors[place].durable.clone();
                    scene.actors[place] = booted(machine, node, disk, out);
                }
                scene.crashes = scene.crashes.saturating_sub(1);
            }
            Act::Ask(node) => {
                let ticket = 0;
                self.play(scene, node, Input::Call(Call::MayServe { ticket }), out);
            }
            Act::Change(Asked { of, node, stage }) => {
                let ticket = 0;
                let call = match stage {
                    Stage::Joining | Stage::Up => Call::Admit { ticket, node },
                    Stage::Leaving | Stage::Removed => Call::Retire { ticket, node },
                };
                self.play(scene, of, Input::Call(call), out);
            }
        }
        let after = self.offers(scene);
        for offer in before.iter().filter(|offer| !after.contains(offer)) {
            out.disarm(*offer);
        }
        for offer in after.iter().filter(|offer| !before.contains(offer)) {
            out.arm(*offer);
        }
    }

    fn delay(&self, act: &Act) -> Range<Duration> {
        // In the calm the clock ticks, and after a while what is cut is healed.
        let (from, to) = match act {
            Act::Alarm(..) => (300, 400),
            Act::Tick => (1_000, 1_001),
            Act::Heal => (1_000 * HEALS_AFTER, 1_000 * HEALS_AFTER + 1),
            Act::Cut(_) | Act::Reboot(_) | Act::Ask(_) | Act::Change(_) => {
                (3_600_000_000, 3_600_000_001)
            }
        };
        Duration::from_micros(from)..Duration::from_micros(to)
    }
}

/// After how many ticks of a calm the links are healed.
pub const HEALS_AFTER: u64 = 40;
