//! What the numbers stand for, of one machine and one ghost.
//!
//! This is all of the engine that is compiled for each machine: it gives content a number when it is
//! first met, and has [`World`] say what happens to it.

use std::cmp::Ordering;
use std::fmt::Debug;
use std::time::Duration;

use quorate::machine::{Machine, NodeId};

use super::contents::{
    Alarm, Barrier, Borrowed, Contents, Effects, LetterFacts, Life, NodeFacts, On, OuterFacts,
    Parts, Pledge, RECEIVER, Rules, SENDER, Subject,
};
use super::coverage::variant;
use super::intern::Interned;
use super::space::{Deed, LETTER, NODE, NONE, What};
use crate::action::Action;
use crate::ghost::Ghost;
use crate::memory::{Effect, Occurrence};
use crate::promise::{Condition, Kind, Still};
use crate::shared::{Shared, fingerprint};
use crate::snapshot::{Broken, Client, Letter, Node, Snapshot};
use crate::symmetry::{Look, Renaming};
use crate::world::{Disk, World};

/// The fingerprint of content in its place: every bit depends on every bit.
fn placed(print: u64, place: u64) -> u64 {
    let mut hash = print ^ (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ hash >> 32
}

const LETTERS: u64 = 1 << 8;
const OUTERS: u64 = 1 << 9;

/// One node, in its place.
struct Placed<M: Machine> {
    place: usize,
    content: Shared<Node<M>>,
}

/// One message, between nodes of this world.
struct Sent<T> {
    content: Shared<Letter<T>>,
    from: usize,
    to: usize,
    /// How many messages that were met come before it in the order of content.
    rank: u32,
}

/// What one step told, and a mistake of ours that it showed.
struct Telling<M: Machine> {
    node: NodeId,
    events: Vec<M::Event>,
    broken: Option<Shared<Broken>>,
}

/// What is known of one world.
struct Stock<'w, M: Machine, G: Ghost<M>> {
    world: &'w World<M, G>,
    nodes: Interned<Placed<M>>,
    letters: Interned<Sent<M::Message>>,
    /// The messages in the order of their content.
    ranked: Vec<u32>,
    /// States without nodes and messages, so that the world's own functions apply.
    outers: Interned<Snapshot<M, G>>,
    tellings: Interned<Telling<M>>,
    timers: Interned<M::Timer>,
    nothing: Shared<Vec<Shared<Letter<M::Message>>>>,
    /// Where a story is: the actions that were taken, and the state after them.
    story: (Vec<usize>, Snapshot<M, G>),
}

impl<M: Machine, G: Ghost<M>> Subject for World<M, G> {
    fn contents(&self) -> Box<dyn Contents + '_> {
        Box::new(Stock {
            world: self,
            nodes: Interned::default(),
            letters: Interned::default(),
            ranked: Vec::new(),
            outers: Interned::default(),
            tellings: Interned::default(),
            timers: Interned::default(),
            nothing: Shared::new(Vec::new()),
            story: (Vec::new(), self.initial()),
        })
    }
}

fn place_of(id: NodeId) -> usize {
    usize::try_from(id.0).expect("a node of this world")
}

impl<M: Machine, G: Ghost<M>> Stock<'_, M, G> {
    // Numbers for content.

    fn parts(&mut self, state: &Snapshot<M, G>) -> Parts {
        let nodes = state.nodes.iter().enumerate();
        let nodes = nodes
            .map(|(place, node)| self.number_node(place, node))
            .collect();
        let stub = Snapshot {
            nodes: Box::new([]),
            network: self.nothing.clone(),
            ..state.clone()
        };
        let outer = self.number_outer(stub);
        let letters = state.network.iter();
        let letters = letters.filter_map(|letter| self.number_letter(letter.clone()));
        Parts {
            nodes,
            outer,
            letters: letters.collect(),
        }
    }

    fn number_node(&mut self, place: usize, content: &Shared<Node<M>>) -> u32 {
        let print = placed(content.fingerprint(), place as u64);
        let is = |other: &Placed<M>| other.place == place && other.content == *content;
        if let Some(found) = self.nodes.find(print, is) {
            return found;
        }
        let content = content.clone();
        self.nodes.add(print, Placed { place, content })
    }

    /// The number of a message, if it is to a node of this world.
    fn number_letter(&mut self, content: Shared<Letter<M::Message>>) -> Option<u32> {
        let print = placed(content.fingerprint(), LETTERS);
        let is = |other: &Sent<M::Message>| other.content == content;
        if let Some(found) = self.letters.find(print, is) {
            return Some(found);
        }
        let places = self.world.len();
        let place = |id: NodeId| usize::try_from(id.0).ok().filter(|at| *at < places);
        let (from, to) = (place(content.from)?, place(content.to)?);
        let before = |other: &u32| self.letters.get(*other).content < content;
        let at = self.ranked.partition_point(before);
        let sent = Sent {
            content,
            from,
            to,
            rank: 0,
        };
        let letter = self.letters.add(print, sent);
        self.ranked.insert(at, letter);
        for (rank, letter) in (0..).zip(&self.ranked).skip(at) {
            self.letters.get_mut(*letter).rank = rank;
        }
        Some(letter)
    }

    fn number_outer(&mut self, stub: Snapshot<M, G>) -> u32 {
        self.outers.put(placed(fingerprint(&stub), OUTERS), stub)
    }

    fn number_timer(&mut self, timer: M::Timer) -> u32 {
        self.timers.put(fingerprint(&timer), timer)
    }

    fn number_telling(
        &mut self,
        node: NodeId,
        events: Vec<M::Event>,
        broken: Option<Shared<Broken>>,
    ) -> u32 {
        if events.is_empty() && broken.is_none() {
            return NONE;
        }
        let print = fingerprint(&(node, &events, &broken));
        let is = |other: &Telling<M>| {
            other.node == node && other.events == events && other.broken == broken
        };
        if let Some(found) = self.tellings.find(print, is) {
            return found;
        }
        let telling = Telling {
            node,
            events,
            broken,
        };
        self.tellings.add(print, telling)
    }

    // Content for numbers.

    fn content(&self, node: u32) -> &Node<M> {
        &self.nodes.get(node).content
    }

    fn stub(&self, outer: u32) -> &Snapshot<M, G> {
        self.outers.get(outer)
    }

    fn snapshot(&self, state: Borrowed<'_>) -> Snapshot<M, G> {
        let mut letters = state.letters.to_vec();
        self.sort(&mut letters);
        let letters = letters.iter();
        let letters = letters.map(|letter| self.letters.get(*letter).content.clone());
        let nodes = state.nodes.iter();
        let nodes = nodes.map(|node| self.nodes.get(*node).content.clone());
        Snapshot {
            nodes: nodes.collect(),
            network: Shared::new(letters.collect()),
            ..self.stub(state.outer).clone()
        }
    }

    /// The call of this number: of all scripts, one after the other.
    fn call(&self, call: u32) -> &M::Call {
        let mut calls = self.world.scripts.iter().flatten();
        calls.nth(call as usize).expect("a call of this world")
    }

    fn compute(&self, node: u32, what: What) -> Option<Effect<M>> {
        let Placed { place, content } = self.nodes.get(node);
        let timer;
        let occurrence = match what {
            What::Letter(letter) => Occurrence::Letter(&self.letters.get(letter).content),
            What::Call(call) => Occurrence::Call(self.call(call)),
            What::Timer(at) => {
                timer = content.armed().get(at as usize)?.clone();
                Occurrence::Timer(&timer)
            }
            What::Boot(lost) => Occurrence::Boot {
                lost: lost as usize,
            },
        };
        let machine = &self.world.machines[*place];
        let disk = self.world.faults.disk;
        crate::memory::compute(machine, disk, NodeId(*place as u64), content, &occurrence)
    }

    /// The promises that look at what was told alone, and that this settles: a bit for the place of
    /// each.
    fn settles(&self, stub: &Snapshot<M, G>) -> u64 {
        let mut settled = 0;
        for (place, promise) in self.world.promises.iter().enumerate() {
            let Condition::Told(condition) = &promise.condition else {
                continue;
            };
            let met = condition(&stub.told());
            let settles = match promise.kind {
                Kind::Always => !met,
                Kind::Sometimes => met,
                Kind::Recovers { .. } | Kind::Eventually => continue,
            };
            settled |= u64::from(settles) << place;
        }
        settled
    }

    /// What an action does.
    fn deed(&mut self, action: Action<M>) -> Deed {
        let short = |number| u32::try_from(number).expect("few of anything");
        let place = |node: NodeId| short(place_of(node));
        match action {
            Action::Call { client, .. } => Deed::Call(short(client)),
            Action::Deliver(letter) => {
                let letter = self.number_letter(letter);
                Deed::Deliver(letter.expect("a message to a node of this world"))
            }
            Action::Ring { node, timer } => Deed::Ring(place(node), self.number_timer(timer)),
            Action::Restart { node, lost } => Deed::Boot(place(node), short(lost)),
            Action::Heal => Deed::Heal,
            Action::Crash(_) | Action::Cut(_) | Action::Lie(_) => Deed::Mischief,
        }
    }

    /// What the promises are about.
    fn pledges(&self) -> Vec<Pledge> {
        let promises = self.world.promises.iter();
        let pledges = promises.map(|promise| Pledge {
            name: promise.name,
            kind: promise.kind,
            on: match &promise.condition {
                Condition::Told(_) => On::Told,
                Condition::Nodes(_) => On::Nodes,
                Condition::Clients(condition) => On::Clients(condition.clone()),
                Condition::Still(_) => On::Still,
                Condition::Whole(_) => On::Whole,
            },
        });
        pledges.collect()
    }
}

impl<M: Machine, G: Ghost<M>> Contents for Stock<'_, M, G> {
    fn rules(&self) -> Rules {
        let World { faults, .. } = self.world;
        let places = self.world.len();
        let scripts = self.world.scripts.iter();
        let length = |script: &Vec<M::Call>| u32::try_from(script.len()).expect("a short script");
        Rules {
            places,
            doors: (0..self.world.scripts.len())
                .map(|client| self.world.doors_of(client))
                .collect(),
            scripts: scripts.map(length).collect(),
            mortal: faults.mortal,
            crashes: faults.crashes,
            disk_lies: faults.disk == Disk::Lying,
            cuts: (faults.cuts.iter())
                .map(|cut| Barrier::new(cut, places))
                .collect(),
            cut_budget: faults.cut_budget,
            traitors: faults.traitors,
            alike: self.world.alike.clone(),
            pledges: self.pledges(),
            purges: self.world.dead.is_some(),
            has_boundary: self.world.boundary.is_some(),
        }
    }

    fn initial(&mut self) -> Parts {
        self.parts(&self.world.initial())
    }

    fn count(&self, kind: usize) -> usize {
        match kind {
            NODE => self.nodes.len(),
            LETTER => self.letters.len(),
            _ => self.outers.len(),
        }
    }

    fn node(&mut self, node: u32) -> NodeFacts {
        let content = self.nodes.get(node).content.clone();
        let life = match &*content {
            Node::Up { armed, .. } => {
                let alarm = |timer: &M::Timer| Alarm {
                    rings: self.world.may_ring(timer),
                    timer: self.number_timer(timer.clone()),
                };
                Life::Up(armed.iter().map(alarm).collect())
            }
            Node::Down { unflushed, .. } => {
                Life::Down(u32::try_from(unflushed.len()).expect("few writes since a boot"))
            }
            Node::Traitor => Life::Traitor,
        };
        NodeFacts {
            print: self.nodes.print(node),
            life,
        }
    }

    fn letter(&self, letter: u32) -> LetterFacts {
        let Sent { from, to, .. } = self.letters.get(letter);
        LetterFacts {
            print: self.letters.print(letter),
            from: *from,
            to: *to,
        }
    }

    fn outer(&self, outer: u32) -> OuterFacts {
        let stub = self.stub(outer);
        OuterFacts {
            print: self.outers.print(outer),
            clients: stub.clients.clone(),
            adversary: stub.adversary,
            is_over: stub.broken.is_some(),
            is_excluded: !self.world.is_assumed(&stub.ghost),
            settles: self.settles(stub),
        }
    }

    fn sort(&self, letters: &mut [u32]) {
        letters.sort_unstable_by_key(|letter| self.letters.get(*letter).rank);
    }

    fn step(&mut self, node: u32, what: What) -> Option<Effects> {
        let effect = self.compute(node, what)?;
        let place = self.nodes.get(node).place;
        let after = self.number_node(place, &effect.after);
        let sent = effect.sent.into_iter();
        let sent = sent
            .filter_map(|letter| self.number_letter(letter))
            .collect();
        let armed = effect.armed.into_iter();
        let armed = armed.map(|timer| self.number_timer(timer)).collect();
        let me = NodeId(place as u64);
        let tells = self.number_telling(me, effect.events, effect.broken);
        Some(Effects {
            after,
            sent,
            armed,
            tells,
        })
    }

    fn crashed(&mut self, node: u32) -> Option<u32> {
        let Placed { place, content } = self.nodes.get(node);
        let (place, down) = (*place, Shared::new(content.crashed()?));
        Some(self.number_node(place, &down))
    }

    fn is_broken(&self, tells: u32) -> bool {
        self.tellings.get(tells).broken.is_some()
    }

    fn tell(&mut self, outer: u32, tells: u32) -> u32 {
        let mut stub = self.stub(outer).clone();
        let telling = self.tellings.get(tells);
        let broken = telling.broken.as_ref();
        (self.world).tell(&mut stub, telling.node, &telling.events, broken);
        self.number_outer(stub)
    }

    fn ask(&mut self, outer: u32, client: usize, place: usize) -> u32 {
        let mut stub = self.stub(outer).clone();
        (self.world).ask(&mut stub, client, NodeId(place as u64));
        self.number_outer(stub)
    }

    fn bury(&mut self, outer: u32, place: usize) -> Option<u32> {
        let mut stub = self.stub(outer).clone();
        self.world.bury(&mut stub, NodeId(place as u64))?;
        Some(self.number_outer(stub))
    }

    fn cuts(&mut self, outer: u32) -> Box<[u32]> {
        let stub = self.stub(outer).clone();
        let mut next = Vec::new();
        match stub.adversary.cut {
            Some(_) => {
                let mut healed = stub;
                healed.adversary.cut = None;
                next.push(self.number_outer(healed));
            }
            None if stub.adversary.cuts > 0 => {
                for cut in 0..self.world.faults.cuts.len() {
                    let mut severed = stub.clone();
                    severed.adversary.cuts -= 1;
                    severed.adversary.cut = Some(cut);
                    next.push(self.number_outer(severed));
                }
            }
            None => {}
        }
        next.into_boxed_slice()
    }

    fn retired(&mut self, outer: u32) -> u32 {
        let mut stub = self.stub(outer).clone();
        stub.adversary.retire();
        self.number_outer(stub)
    }

    fn lies(&mut self, traitor: usize, heard: &[u32]) -> Vec<u32> {
        let Some(lies) = &self.world.faults.lies else {
            return Vec::new();
        };
        let mut heard = heard.to_vec();
        self.sort(&mut heard);
        let heard = heard.iter();
        let mut seen = heard.map(|letter| &*self.letters.get(*letter).content);
        let from = NodeId(traitor as u64);
        let told = lies.lies(from, &mut seen).into_iter();
        let letters = told.map(|(to, message)| Shared::new(Letter { to, from, message }));
        let letters: Vec<_> = letters.collect();
        let letters = letters.into_iter();
        letters
            .filter_map(|letter| self.number_letter(letter))
            .collect()
    }

    fn is_done(&self, node: u32, letter: u32) -> u8 {
        let Some(dead) = &self.world.dead else {
            return 0;
        };
        let Placed { place, content } = self.nodes.get(node);
        let sent = self.letters.get(letter);
        let mut done = 0;
        if sent.from == *place && (dead.sender)(&sent.content, content) {
            done |= SENDER;
        }
        if sent.to == *place && (dead.receiver)(&sent.content, content) {
            done |= RECEIVER;
        }
        done
    }

    fn wait(&self, clients: &mut [Client], client: usize, place: usize) {
        self.world.wait(clients, client, NodeId(place as u64));
    }

    fn finish(&self, clients: &mut [Client], tells: u32) {
        let telling = self.tellings.get(tells);
        for event in &telling.events {
            self.world.finish(clients, telling.node, event);
        }
    }

    fn delay(&self, place: usize, timer: u32) -> Duration {
        crate::calm::delay(self.world, NodeId(place as u64), self.timers.get(timer))
    }

    fn order(&self, timer: u32, other: u32) -> Ordering {
        self.timers.get(timer).cmp(self.timers.get(other))
    }

    fn is_met_by_nodes(&self, promise: usize, nodes: &[u32]) -> bool {
        let Condition::Nodes(condition) = &self.world.promises[promise].condition else {
            unreachable!("asked of a promise that looks at nodes")
        };
        let nodes: Vec<&Node<M>> = nodes.iter().map(|node| self.content(*node)).collect();
        condition(&nodes)
    }

    fn is_met_still(&self, promise: usize, nodes: &[u32], outer: u32) -> bool {
        let Condition::Still(condition) = &self.world.promises[promise].condition else {
            unreachable!("asked of a promise that looks at all but the messages")
        };
        let nodes = nodes.iter().map(|node| self.content(*node)).collect();
        let told = self.stub(outer).told();
        condition(&Still { nodes, told })
    }

    fn is_reached(&self, promise: usize, nodes: &[u32], outer: u32) -> bool {
        let letters = &[];
        let state = self.snapshot(Borrowed {
            nodes,
            outer,
            letters,
        });
        self.world.promises[promise].condition.of(&state)
    }

    fn is_met(&self, promise: usize, state: Borrowed<'_>) -> bool {
        let promise = &self.world.promises[promise];
        self.world.is_met(promise, &self.snapshot(state))
    }

    fn is_within_boundary(&self, state: Borrowed<'_>) -> bool {
        let within = self.world.boundary.as_ref();
        within.is_none_or(|within| within(&self.snapshot(state)))
    }

    fn look(&self, kind: usize, part: u32, look: &Look<'_>) -> u64 {
        match kind {
            NODE => {
                let Placed { place, content } = self.nodes.get(part);
                look.of_node(NodeId(*place as u64), content)
            }
            LETTER => look.of_letter(&self.letters.get(part).content),
            _ => {
                let stub = self.stub(part);
                look.of_clients(&stub.clients, stub.broken.as_deref())
            }
        }
    }

    fn image_print(&self, kind: usize, part: u32, renaming: &Renaming) -> u64 {
        match kind {
            NODE => {
                let Placed { place, content } = self.nodes.get(part);
                let to = renaming.node(NodeId(*place as u64));
                placed(fingerprint(&renaming.content(content)), to.0)
            }
            LETTER => {
                let letter = renaming.letter(&self.letters.get(part).content);
                placed(fingerprint(&letter), LETTERS)
            }
            _ => {
                let image = renaming.snapshot(self.world, self.stub(part));
                placed(fingerprint(&image), OUTERS)
            }
        }
    }

    fn image(&mut self, kind: usize, part: u32, renaming: &Renaming) -> u32 {
        match kind {
            NODE => {
                let Placed { place, content } = self.nodes.get(part);
                let to = renaming.node(NodeId(*place as u64));
                let content = Shared::new(renaming.content(content));
                self.number_node(place_of(to), &content)
            }
            LETTER => {
                let letter = renaming.letter(&self.letters.get(part).content);
                let letter = self.number_letter(Shared::new(letter));
                letter.expect("a message to a node of this world")
            }
            _ => {
                let image = renaming.snapshot(self.world, self.stub(part));
                self.number_outer(image)
            }
        }
    }

    fn offers(&mut self, path: &[usize]) -> Vec<(Deed, Option<Parts>)> {
        let (taken, _) = &self.story;
        if !path.starts_with(taken) {
            self.story = (Vec::new(), self.world.initial());
        }
        while self.story.0.len() < path.len() {
            let at = path[self.story.0.len()];
            let action = actions(self.world, &self.story.1).swap_remove(at);
            let next = self.world.apply(&self.story.1, &action);
            self.story.1 = next.expect("what was walked once can be walked again");
            self.story.0.push(at);
        }
        let mut offers = Vec::new();
        for action in actions(self.world, &self.story.1) {
            let next = self.world.apply(&self.story.1, &action);
            let next = next.map(|next| self.parts(&next));
            offers.push((self.deed(action), next));
        }
        offers
    }

    fn name(&self, node: u32, what: What) -> String {
        let named = |kind: &str, value: &dyn Debug| format!("{kind} {}", variant(value));
        match what {
            What::Letter(letter) => named("deliver", &self.letters.get(letter).content.message),
            What::Call(call) => named("call", self.call(call)),
            What::Timer(at) => match self.content(node).armed().get(at as usize) {
                Some(timer) => named("ring", timer),
                None => "ring".to_owned(),
            },
            What::Boot(0) => "restart".to_owned(),
            What::Boot(_) => "restart, writes lost".to_owned(),
        }
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.world.scripts.iter().flatten();
        calls
            .map(|call| format!("call {}", variant(call)))
            .collect()
    }
}

/// What may happen next, in the order of the world.
fn actions<M: Machine, G: Ghost<M>>(world: &World<M, G>, state: &Snapshot<M, G>) -> Vec<Action<M>> {
    let mut actions = Vec::new();
    world.each_action(state, |action| actions.push(action));
    actions
}
