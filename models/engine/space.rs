//! A world in small numbers.
//!
//! What a node is (its state, its alarms, what its disk may fall back to) is content, and so is a
//! message, and so is all that was told. There are few of each, however many states there are, and
//! each is numbered when it is first met. A state is a [`Row`] of such numbers: one for each node,
//! one for the *outer* (clients, ghost, adversary), and one for each message.
//!
//! What happens at a node depends on the node and on what happens, and on nothing else. So it is
//! computed once for each such pair, and from then on looked up; that most messages mean nothing to
//! most nodes is looked up too. The fingerprint of a state is the sum of those of its parts, so that
//! of a successor is had by some additions, before there is a successor.
//!
//! The numbers differ from run to run, if what is met first does. Fingerprints are of content alone,
//! and are the same in every run, thread and process.

use std::cmp::Ordering;
use std::hash::BuildHasherDefault;
use std::ops::Range;

use hashbrown::HashMap;
use quorate::machine::{Machine, NodeId};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Rows;
use super::intern::Interned;
use super::ready::Ready;
use super::views::Views;
use crate::ghost::Ghost;
use crate::memory::{Effect, Occurrence};
use crate::promise::{Condition, Kind};
use crate::shared::{Shared, fingerprint};
use crate::snapshot::{Broken, Client, Letter, Node, Snapshot};
use crate::symmetry::{Look, Renaming};
use crate::world::World;

/// A state: the number of each node, of the outer, and of each message that was sent, increasing.
pub(super) type Row = [u32];

/// The kinds of parts.
pub(super) const NODE: usize = 0;
pub(super) const LETTER: usize = 1;
pub(super) const OUTER: usize = 2;
pub(super) const KINDS: usize = 3;

/// The parts of a row, each with its kind, in a world of so many nodes.
pub(super) fn each_part(places: usize, row: &Row) -> impl Iterator<Item = (usize, u32)> {
    row.iter().enumerate().map(move |(at, part)| {
        let kind = match at.cmp(&places) {
            Ordering::Less => NODE,
            Ordering::Equal => OUTER,
            Ordering::Greater => LETTER,
        };
        (kind, *part)
    })
}

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// Marks the number of a step that changes nothing: not the node, and nothing is sent or told.
const IDLE: u32 = 1 << 31;

type Memo<V> = HashMap<u64, V, BuildHasherDefault<Ready>>;

pub(super) fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

fn short(place: usize) -> u32 {
    u32::try_from(place).expect("a world has at most 64 nodes")
}

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
pub(super) struct Placed<M: Machine> {
    pub(super) place: usize,
    pub(super) content: Shared<Node<M>>,
    /// The same node once it has crashed, if that was asked for.
    pub(super) crashed: u32,
    /// Where the steps are that it may take of its own accord, if that was asked for.
    pub(super) moves: Option<Range<u32>>,
    /// What it makes of the messages that it sent or that were sent to it.
    pub(super) views: Views,
}

/// One message.
pub(super) struct Sent<T> {
    pub(super) content: Shared<Letter<T>>,
    pub(super) from: usize,
    pub(super) to: usize,
    /// How many messages that were met come before it in the order of content.
    rank: u32,
}

/// How a part came about: what another engine needs to make it for itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Born {
    /// It is part of the initial state, or it was never met.
    Initial,
    /// In this step.
    Step(u32),
    /// By the crash of this node.
    Crash(u32),
    /// It is among these lies.
    Lie(u32),
    /// From this outer, by what this step told.
    Tell(u32, u32),
    /// From this outer, when this client asked at this place.
    Ask(u32, u32, u32),
    /// From this outer, when the node at this place crashed.
    Bury(u32, u32),
    /// From this outer, by a cut or its healing.
    Cut(u32),
}

/// A step of a node: it is computed once.
#[derive(Clone, Copy)]
pub(super) struct Stepped {
    /// The node after it.
    pub(super) after: u32,
    /// What it sends, or [`NONE`].
    pub(super) sends: u32,
    /// What it tells, or [`NONE`].
    pub(super) tells: u32,
}

/// What else there is to say of a step.
pub(super) struct Detail<M: Machine> {
    pub(super) before: u32,
    pub(super) what: What,
    /// What it sends, in order.
    sent: Box<[u32]>,
    /// The alarms that it arms.
    armed: Box<[M::Timer]>,
}

/// What happens at a node, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum What {
    /// This message arrives.
    Letter(u32),
    /// This call is made.
    Call(u32),
    /// The alarm at this place of those that are armed rings.
    Timer(u32),
    /// It boots, and this many of the last writes are lost.
    Boot(u32),
}

impl What {
    fn key(self) -> u32 {
        match self {
            Self::Letter(letter) => letter,
            Self::Call(call) => 1 << 30 | call,
            Self::Timer(timer) => 2 << 30 | timer,
            Self::Boot(lost) => 3 << 30 | lost,
        }
    }
}

/// What one step told, and a mistake of ours that it showed.
struct Telling<M: Machine> {
    node: NodeId,
    events: Vec<M::Event>,
    broken: Option<Shared<Broken>>,
    /// The step that told it first.
    step: u32,
}

/// All of a state but its nodes and its messages.
pub(super) struct Outer<M: Machine, G: Ghost<M>> {
    /// A state without nodes and messages, so that the world's own functions apply.
    pub(super) stub: Snapshot<M, G>,
    /// The number of the clients alone.
    clients: u32,
    /// The calls that may be made next: the client, and the number of the call.
    pub(super) calls: Box<[(u32, u32)]>,
    /// The promises that it breaks, and those that it shows, of those that look at nothing else.
    settles: u64,
    /// The outers that a cut, or healing it, leads to.
    pub(super) cuts: Option<Box<[u32]>>,
}

/// A world, as far as it was met.
pub(super) struct Space<'w, M: Machine, G: Ghost<M>> {
    /// The world.
    pub(super) world: &'w World<M, G>,
    /// How many nodes there are. In a row the outer comes after them, and then the messages.
    pub(super) places: usize,
    pub(super) nodes: Interned<Placed<M>>,
    pub(super) letters: Interned<Sent<M::Message>>,
    /// The messages in the order of their content.
    ranked: Vec<u32>,
    pub(super) outers: Interned<Outer<M, G>>,
    clients: Interned<Box<[Client]>>,
    /// What a step sends: messages, by increasing number.
    pub(super) sends: Interned<Box<[u32]>>,
    tellings: Interned<Telling<M>>,
    /// The number of the first call of each script, if all calls are numbered in order.
    script_starts: Vec<u32>,
    /// The number of the step that a node takes when something happens, perhaps marked [`IDLE`], or
    /// [`NONE`] if it cannot happen.
    steps: Memo<u32>,
    pub(super) stepped: Vec<Stepped>,
    pub(super) details: Vec<Detail<M>>,
    /// How often each step happened and changed something.
    pub(super) fired: Vec<u64>,
    /// The steps that nodes may take of their own accord, node by node.
    pub(super) moves: Vec<u32>,
    asked: Memo<u32>,
    told: Memo<u32>,
    clients_told: Memo<u32>,
    buried: Memo<u32>,
    /// What a traitor says that was told this: to whom, and the message.
    pub(super) lies: Interned<Lies>,
    /// How often there were crashes, cuts, healings and lies that changed something.
    pub(super) faults: [u64; 4],
    /// How each node, each message and each outer came about.
    born: [Vec<Born>; KINDS],
    nothing: Shared<Vec<Shared<Letter<M::Message>>>>,
    pub(super) child: Vec<u32>,
}

pub(super) struct Lies {
    pub(super) traitor: usize,
    pub(super) heard: Box<[u32]>,
    pub(super) said: Box<[(usize, u32)]>,
}

/// How many distinct parts the states of a world are made of, and how many distinct steps were
/// computed to find them.
///
/// Of several workers: how many the one has that has most, for each computes what it needs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Nodes: states, alarms and all.
    pub nodes: usize,
    /// Messages.
    pub messages: usize,
    /// All the rest: clients, ghost and adversary.
    pub outers: usize,
    /// Steps of nodes.
    pub steps: usize,
}

impl Sizes {
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.max(other.nodes),
            messages: self.messages.max(other.messages),
            outers: self.outers.max(other.outers),
            steps: self.steps.max(other.steps),
        }
    }
}

/// Where successors go.
pub(super) trait Sink {
    /// True if this successor is wanted.
    fn wants(&mut self, print: u64) -> bool;
    /// Where a successor with this fingerprint goes.
    fn tray(&mut self, print: u64) -> &mut Rows;
}

impl<'w, M: Machine, G: Ghost<M>> Space<'w, M, G> {
    pub(super) fn new(world: &'w World<M, G>) -> Self {
        let mut script_starts = Vec::new();
        let mut calls = 0;
        for script in &world.scripts {
            script_starts.push(calls);
            calls += u32::try_from(script.len()).expect("a script is short");
        }
        Self {
            world,
            places: world.len(),
            nodes: Interned::default(),
            letters: Interned::default(),
            ranked: Vec::new(),
            outers: Interned::default(),
            clients: Interned::default(),
            sends: Interned::default(),
            tellings: Interned::default(),
            script_starts,
            steps: Memo::default(),
            stepped: Vec::new(),
            details: Vec::new(),
            fired: Vec::new(),
            moves: Vec::new(),
            asked: Memo::default(),
            told: Memo::default(),
            clients_told: Memo::default(),
            buried: Memo::default(),
            lies: Interned::default(),
            faults: [0; 4],
            born: Default::default(),
            nothing: Shared::new(Vec::new()),
            child: Vec::new(),
        }
    }

    /// How many distinct parts the states are made of, and how many distinct steps lead to them.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            nodes: self.nodes.len(),
            messages: self.letters.len(),
            outers: self.outers.len(),
            steps: self.stepped.len(),
        }
    }

    // Numbers for content.

    /// The row of a state, and its fingerprint.
    pub(super) fn row(&mut self, state: &Snapshot<M, G>) -> (Vec<u32>, u64) {
        let nodes = state.nodes.iter().enumerate();
        let mut row: Vec<u32> = nodes.map(|(place, node)| self.node(place, node)).collect();
        let stub = Snapshot {
            nodes: Box::new([]),
            network: self.nothing.clone(),
            ..state.clone()
        };
        row.push(self.outer(stub));
        for letter in state.network.iter() {
            if let Some(letter) = self.letter(letter.clone()) {
                row.push(letter);
            }
        }
        row[self.places + 1..].sort_unstable();
        let print = self.print(&row);
        (row, print)
    }

    /// The fingerprint of a row.
    pub(super) fn print(&self, row: &Row) -> u64 {
        let (nodes, outer, letters) = self.parts(row);
        let nodes = nodes.iter().map(|node| self.nodes.print(*node));
        let letters = letters.iter().map(|letter| self.letters.print(*letter));
        (nodes.chain(letters)).fold(self.outers.print(outer), u64::wrapping_add)
    }

    /// The nodes, the outer and the messages of a row.
    pub(super) fn parts<'r>(&self, row: &'r Row) -> (&'r [u32], u32, &'r [u32]) {
        let (nodes, rest) = row.split_at(self.places);
        (nodes, rest[0], &rest[1..])
    }

    /// The state that a row stands for.
    pub(super) fn snapshot(&self, row: &Row) -> Snapshot<M, G> {
        let (nodes, outer, letters) = self.parts(row);
        let letters = self.by_content(letters);
        let letters = letters
            .iter()
            .map(|letter| &self.letters.get(*letter).content);
        Snapshot {
            nodes: (nodes
                .iter()
                .map(|node| self.nodes.get(*node).content.clone()))
            .collect(),
            network: Shared::new(letters.cloned().collect()),
            ..self.outers.get(outer).stub.clone()
        }
    }

    /// Messages in the order of their content: by receiver, by sender, by what they say.
    pub(super) fn by_content(&self, letters: &[u32]) -> SmallVec<[u32; 32]> {
        let mut sorted = SmallVec::from_slice(letters);
        sorted.sort_unstable_by_key(|letter| self.letters.get(*letter).rank);
        sorted
    }

    pub(super) fn node(&mut self, place: usize, content: &Shared<Node<M>>) -> u32 {
        let print = placed(content.fingerprint(), place as u64);
        let is = |other: &Placed<M>| other.place == place && other.content == *content;
        if let Some(found) = self.nodes.find(print, is) {
            return found;
        }
        let placed = Placed {
            place,
            content: content.clone(),
            crashed: NONE,
            moves: None,
            views: Views::default(),
        };
        self.born[NODE].push(Born::Initial);
        self.nodes.add(print, placed)
    }

    /// The number of a message, if it is to a node of this world.
    pub(super) fn letter(&mut self, content: Shared<Letter<M::Message>>) -> Option<u32> {
        let print = placed(content.fingerprint(), LETTERS);
        let is = |other: &Sent<M::Message>| other.content == content;
        if let Some(found) = self.letters.find(print, is) {
            return Some(found);
        }
        let place = |id: NodeId| usize::try_from(id.0).ok().filter(|at| *at < self.places);
        let (from, to) = (place(content.from)?, place(content.to)?);
        let before = |other: &u32| self.letters.get(*other).content < content;
        let at = self.ranked.partition_point(before);
        let sent = Sent {
            content,
            from,
            to,
            rank: 0,
        };
        self.born[LETTER].push(Born::Initial);
        let letter = self.letters.add(print, sent);
        self.ranked.insert(at, letter);
        for (rank, letter) in (0..).zip(&self.ranked).skip(at) {
            self.letters.get_mut(*letter).rank = rank;
        }
        Some(letter)
    }

    fn outer(&mut self, stub: Snapshot<M, G>) -> u32 {
        let print = placed(fingerprint(&stub), OUTERS);
        if let Some(found) = self.outers.find(print, |other| other.stub == stub) {
            return found;
        }
        let calls = match stub.broken {
            Some(_) => Box::default(),
            None => self.calls(&stub),
        };
        let clients = self
            .clients
            .put(fingerprint(&stub.clients), stub.clients.clone());
        let settles = settles(self.world, &stub);
        self.born[OUTER].push(Born::Initial);
        self.outers.add(
            print,
            Outer {
                stub,
                clients,
                calls,
                settles,
                cuts: None,
            },
        )
    }

    fn calls(&self, stub: &Snapshot<M, G>) -> Box<[(u32, u32)]> {
        let idle = (stub.clients.iter().enumerate()).filter(|(client, at)| {
            at.waiting.is_none() && self.world.call(*client, **at).is_some()
        });
        let numbered = idle.filter_map(|(client, at)| {
            let call = self.script_starts[client] + at.next;
            Some((u32::try_from(client).ok()?, call))
        });
        numbered.collect()
    }

    /// How a part came about.
    pub(super) fn born(&self, kind: usize, part: u32) -> Born {
        self.born[kind][part as usize]
    }

    /// What was not there before there were `count` parts of this kind was born just now.
    pub(super) fn bear(&mut self, kind: usize, count: usize, born: Born) {
        for part in &mut self.born[kind][count..] {
            *part = born;
        }
    }

    // Mirror images.

    /// How many parts of a kind there are.
    pub(super) fn count(&self, kind: usize) -> usize {
        match kind {
            NODE => self.nodes.len(),
            LETTER => self.letters.len(),
            _ => self.outers.len(),
        }
    }

    /// What a part looks like.
    pub(super) fn look(&self, kind: usize, part: u32, look: &Look<'_>) -> u64 {
        match kind {
            NODE => {
                let Placed { place, content, .. } = self.nodes.get(part);
                look.of_node(NodeId(*place as u64), content)
            }
            LETTER => look.of_letter(&self.letters.get(part).content),
            _ => {
                let stub = &self.outers.get(part).stub;
                look.of_clients(&stub.clients, stub.broken.as_deref())
            }
        }
    }

    /// The fingerprint of the image of a part.
    pub(super) fn image_print(&self, kind: usize, part: u32, renaming: &Renaming) -> u64 {
        match kind {
            NODE => {
                let Placed { place, content, .. } = self.nodes.get(part);
                let to = renaming.node(NodeId(*place as u64));
                placed(fingerprint(&renaming.content(content)), to.0)
            }
            LETTER => {
                let letter = renaming.letter(&self.letters.get(part).content);
                placed(fingerprint(&letter), LETTERS)
            }
            _ => {
                let stub = &self.outers.get(part).stub;
                placed(fingerprint(&renaming.snapshot(self.world, stub)), OUTERS)
            }
        }
    }

    /// The number of the image of a part.
    pub(super) fn image(&mut self, kind: usize, part: u32, renaming: &Renaming) -> u32 {
        match kind {
            NODE => {
                let Placed { place, content, .. } = self.nodes.get(part);
                let to = renaming.node(NodeId(*place as u64));
                let content = Shared::new(renaming.content(content));
                self.node(
                    usize::try_from(to.0).expect("a node of this world"),
                    &content,
                )
            }
            LETTER => {
                let letter = renaming.letter(&self.letters.get(part).content);
                let letter = self.letter(Shared::new(letter));
                letter.expect("a message to a node of this world")
            }
            _ => {
                let stub = renaming.snapshot(self.world, &self.outers.get(part).stub);
                self.outer(stub)
            }
        }
    }

    // What the promises look at.

    /// True if the world goes on from this state.
    pub(super) fn is_within_boundary(&self, row: &Row) -> bool {
        let within = self.world.boundary.as_ref();
        within.is_none_or(|within| within(&self.snapshot(row)))
    }

    /// The content of a node.
    pub(super) fn content(&self, node: u32) -> &Node<M> {
        &self.nodes.get(node).content
    }

    /// To whom a message is.
    pub(super) fn receiver(&self, letter: u32) -> usize {
        self.letters.get(letter).to
    }

    /// True if a mistake of ours showed: nothing happens after it.
    pub(super) fn is_over(&self, outer: u32) -> bool {
        self.outers.get(outer).stub.broken.is_some()
    }

    /// The promises that an outer settles on its own: a bit for the place of each.
    pub(super) fn settles(&self, outer: u32) -> u64 {
        self.outers.get(outer).settles
    }

    // Steps.

    /// What becomes of a node if something happens to it: the number of the step, unless it cannot.
    pub(super) fn step(&mut self, node: u32, what: What) -> Option<u32> {
        match self.marked_step(node, what) {
            NONE => None,
            step => Some(step & !IDLE),
        }
    }

    /// The same, if the step changes anything.
    pub(super) fn busy_step(&mut self, node: u32, what: What) -> Option<u32> {
        let step = self.marked_step(node, what);
        (step & IDLE == 0).then_some(step)
    }

    /// The same, of a message.
    #[inline]
    pub(super) fn busy_delivery(&mut self, node: u32, letter: u32) -> Option<u32> {
        let view = self.nodes.get_mut(node).views.view(letter);
        let step = if view.is_asked {
            view.step
        } else {
            let step = self.marked_step(node, What::Letter(letter));
            let view = self.nodes.get_mut(node).views.view(letter);
            (view.is_asked, view.step) = (true, step);
            step
        };
        (step & IDLE == 0).then_some(step)
    }

    fn marked_step(&mut self, node: u32, what: What) -> u32 {
        let key = pair(node, what.key());
        if let Some(known) = self.steps.get(&key) {
            return *known;
        }
        let number = match self.compute(node, what) {
            None => NONE,
            Some(effect) => {
                let step = self.keep(node, what, effect);
                let Stepped {
                    after,
                    sends,
                    tells,
                } = self.stepped(step);
                let idle = after == node && sends == NONE && tells == NONE;
                if idle { step | IDLE } else { step }
            }
        };
        self.steps.insert(key, number);
        number
    }

    fn compute(&self, node: u32, what: What) -> Option<Effect<M>> {
        let Placed { place, content, .. } = self.nodes.get(node);
        let me = NodeId(*place as u64);
        let world = self.world;
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
        let machine = &world.machines[*place];
        crate::memory::compute(machine, world.faults.disk, me, content, &occurrence)
    }

    /// The call of this number.
    pub(super) fn call(&self, call: u32) -> &M::Call {
        let script = self.script_starts.partition_point(|start| *start <= call) - 1;
        &self.world.scripts[script][(call - self.script_starts[script]) as usize]
    }

    fn keep(&mut self, before: u32, what: What, effect: Effect<M>) -> u32 {
        let place = self.nodes.get(before).place;
        let step = u32::try_from(self.stepped.len()).expect("fewer than 2^32 steps");
        let known = (self.nodes.len(), self.letters.len());
        let after = self.node(place, &effect.after);
        let sent: Vec<u32> = (effect.sent.into_iter())
            .filter_map(|letter| self.letter(letter))
            .collect();
        let mut bundle = sent.clone();
        bundle.sort_unstable();
        bundle.dedup();
        let sends = if bundle.is_empty() {
            NONE
        } else {
            (self.sends).put(fingerprint(&bundle), bundle.into_boxed_slice())
        };
        self.bear(NODE, known.0, Born::Step(step));
        self.bear(LETTER, known.1, Born::Step(step));
        let tells = self.telling(place, step, effect.events, effect.broken);
        self.stepped.push(Stepped {
            after,
            sends,
            tells,
        });
        self.details.push(Detail {
            before,
            what,
            sent: sent.into_boxed_slice(),
            armed: effect.armed.into_boxed_slice(),
        });
        self.fired.push(0);
        step
    }

    fn telling(
        &mut self,
        place: usize,
        step: u32,
        events: Vec<M::Event>,
        broken: Option<Shared<Broken>>,
    ) -> u32 {
        if events.is_empty() && broken.is_none() {
            return NONE;
        }
        let node = NodeId(place as u64);
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
            step,
        };
        self.tellings.add(print, telling)
    }

    /// What a step comes to.
    pub(super) fn stepped(&self, step: u32) -> Stepped {
        self.stepped[step as usize]
    }

    /// True if a step sends, tells or arms anything.
    pub(super) fn says_something(&self, step: u32) -> bool {
        let Stepped { sends, tells, .. } = self.stepped(step);
        let arms = !self.details[step as usize].armed.is_empty();
        sends != NONE || tells != NONE || arms
    }

    /// What a step sends, in order.
    pub(super) fn sent(&self, step: u32) -> impl Iterator<Item = u32> {
        self.details[step as usize].sent.iter().copied()
    }

    /// What a step arms.
    pub(super) fn armed(&self, step: u32) -> Box<[M::Timer]> {
        self.details[step as usize].armed.clone()
    }

    /// True if this is a mistake of ours that shows.
    pub(super) fn is_broken(&self, tells: u32) -> bool {
        self.tellings.get(tells).broken.is_some()
    }

    // Clients alone, for calms.

    /// The clients of an outer.
    pub(super) fn clients_of(&self, outer: u32) -> u32 {
        self.outers.get(outer).clients
    }

    /// The clients of this number.
    pub(super) fn clients(&self, clients: u32) -> &[Client] {
        self.clients.get(clients)
    }

    /// The number of the call that a client is at.
    pub(super) fn call_number(&self, client: usize, at: Client) -> u32 {
        self.script_starts[client] + at.next
    }

    /// The clients after one of them asked at a node.
    pub(super) fn ask_clients(&mut self, clients: u32, client: usize, place: usize) -> u32 {
        let mut next = self.clients.get(clients).clone();
        (self.world).wait(&mut next, client, NodeId(place as u64));
        self.clients.put(fingerprint(&next), next)
    }

    /// The clients after a step told something.
    pub(super) fn tell_clients(&mut self, clients: u32, tells: u32) -> u32 {
        if let Some(known) = self.clients_told.get(&pair(clients, tells)) {
            return *known;
        }
        let mut next = self.clients.get(clients).clone();
        let telling = self.tellings.get(tells);
        for event in &telling.events {
            self.world.finish(&mut next, telling.node, event);
        }
        let after = self.clients.put(fingerprint(&next), next);
        self.clients_told.insert(pair(clients, tells), after);
        after
    }

    // Outers.

    /// The outer after a step told something.
    pub(super) fn tell(&mut self, outer: u32, tells: u32) -> u32 {
        if tells == NONE {
            return outer;
        }
        if let Some(known) = self.told.get(&pair(outer, tells)) {
            return *known;
        }
        let mut stub = self.outers.get(outer).stub.clone();
        let telling = self.tellings.get(tells);
        let broken = telling.broken.as_ref();
        (self.world).tell(&mut stub, telling.node, &telling.events, broken);
        let (known, step) = (self.outers.len(), telling.step);
        let after = self.outer(stub);
        self.bear(OUTER, known, Born::Tell(outer, step));
        self.told.insert(pair(outer, tells), after);
        after
    }

    /// The outer after a client asked at a node.
    pub(super) fn ask(&mut self, outer: u32, client: u32, place: usize) -> u32 {
        let key = pair(outer, client << 8 | short(place));
        if let Some(known) = self.asked.get(&key) {
            return *known;
        }
        let mut stub = self.outers.get(outer).stub.clone();
        (self.world).ask(&mut stub, client as usize, NodeId(place as u64));
        let known = self.outers.len();
        let after = self.outer(stub);
        self.bear(OUTER, known, Born::Ask(outer, client, short(place)));
        self.asked.insert(key, after);
        after
    }

    /// The outer after a node crashed, if there is budget for it.
    pub(super) fn bury(&mut self, outer: u32, place: usize) -> Option<u32> {
        let key = pair(outer, short(place));
        if let Some(known) = self.buried.get(&key) {
            return (*known != NONE).then_some(*known);
        }
        let mut stub = self.outers.get(outer).stub.clone();
        let budget = self.world.bury(&mut stub, NodeId(place as u64));
        let known = self.outers.len();
        let after = budget.map_or(NONE, |()| self.outer(stub));
        self.bear(OUTER, known, Born::Bury(outer, short(place)));
        self.buried.insert(key, after);
        (after != NONE).then_some(after)
    }

    pub(super) fn cuts(&mut self, outer: u32) -> Box<[u32]> {
        if let Some(known) = &self.outers.get(outer).cuts {
            return known.clone();
        }
        let stub = self.outers.get(outer).stub.clone();
        let known = self.outers.len();
        let mut next = Vec::new();
        match stub.adversary.cut {
            Some(_) => {
                let mut healed = stub;
                healed.adversary.cut = None;
                next.push(self.outer(healed));
            }
            None if stub.adversary.cuts > 0 => {
                for cut in 0..self.world.faults.cuts.len() {
                    let mut severed = stub.clone();
                    severed.adversary.cuts -= 1;
                    severed.adversary.cut = Some(cut);
                    next.push(self.outer(severed));
                }
            }
            None => {}
        }
        self.bear(OUTER, known, Born::Cut(outer));
        let next = next.into_boxed_slice();
        self.outers.get_mut(outer).cuts = Some(next.clone());
        next
    }
}

/// The promises that look at what was told alone, and that this settles: a bit for the place of
/// each.
fn settles<M: Machine, G: Ghost<M>>(world: &World<M, G>, stub: &Snapshot<M, G>) -> u64 {
    let mut settled = 0;
    for (place, promise) in world.promises.iter().enumerate() {
        let Condition::Told(condition) = &promise.condition else {
            continue;
        };
        let met = condition(&stub.told());
        let settles = match promise.kind {
            Kind::Always => !met,
            Kind::Sometimes => met,
            Kind::Recovers { .. } => continue,
        };
        settled |= u64::from(settles) << place;
    }
    settled
}
