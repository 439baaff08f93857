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
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Rows;
use super::contents::{Borrowed, Contents, Effects, Life, OuterFacts, Parts, Rules, Subject};
use super::intern::Interned;
use super::ready::Ready;
use super::views::Views;
use crate::shared::fingerprint;
use crate::snapshot::{Adversary, Client};
use crate::symmetry::Renaming;

/// A state: the number of each node, of the outer, and of each message that was sent, increasing.
pub(super) type Row = [u32];

/// One, and its fingerprint.
pub(super) type Printed = (Vec<u32>, u64);

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

pub(super) type Memo<V> = HashMap<u64, V, BuildHasherDefault<Ready>>;

pub(super) fn pair(a: u32, b: u32) -> u64 {
    u64::from(a) << 32 | u64::from(b)
}

fn short(place: usize) -> u32 {
    u32::try_from(place).expect("a world has at most 64 nodes")
}

/// One node, in its place.
pub(super) struct Placed {
    pub(super) life: Life,
    /// The same node once it has crashed, if that was asked for.
    pub(super) crashed: u32,
    /// Where the steps are that it may take of its own accord, if that was asked for.
    pub(super) moves: Option<Range<u32>>,
    /// What it makes of the messages that it sent or that were sent to it.
    pub(super) views: Views,
}

/// One message.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) from: usize,
    pub(super) to: usize,
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
    /// From this outer, when the adversary retired.
    Retired(u32),
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
pub(super) struct Detail {
    pub(super) before: u32,
    pub(super) what: What,
    /// What it sends, in order.
    sent: Box<[u32]>,
    /// The alarms that it arms.
    armed: Box<[u32]>,
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

/// All of a state but its nodes and its messages.
pub(super) struct Outer {
    /// The number of the clients alone.
    clients: u32,
    pub(super) adversary: Adversary,
    is_over: bool,
    is_excluded: bool,
    /// The calls that may be made next: the client, and the number of the call.
    pub(super) calls: Box<[(u32, u32)]>,
    /// The promises that it breaks, and those that it shows, of those that look at nothing else.
    settles: u64,
    /// The outers that a cut, or healing it, leads to.
    pub(super) cuts: Option<Box<[u32]>>,
}

/// What is known of parts of one kind, by number.
pub(super) struct Known<T> {
    facts: Vec<T>,
    prints: Vec<u64>,
    born: Vec<Born>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            facts: Vec::new(),
            prints: Vec::new(),
            born: Vec::new(),
        }
    }
}

impl<T> Known<T> {
    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    fn push(&mut self, print: u64, facts: T, born: Born) {
        self.facts.push(facts);
        self.prints.push(print);
        self.born.push(born);
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        &self.facts[number as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.facts[number as usize]
    }

    /// The fingerprint of the content of a number.
    #[inline]
    pub(super) fn print(&self, number: u32) -> u64 {
        self.prints[number as usize]
    }
}

/// A world, as far as it was met.
pub(super) struct Space<'w> {
    contents: Box<dyn Contents + 'w>,
    pub(super) rules: Rules,
    /// How many nodes there are. In a row the outer comes after them, and then the messages.
    pub(super) places: usize,
    pub(super) nodes: Known<Placed>,
    pub(super) letters: Known<Sent>,
    pub(super) outers: Known<Outer>,
    clients: Interned<Box<[Client]>>,
    /// What a step sends: messages, by increasing number.
    pub(super) sends: Interned<Box<[u32]>>,
    /// The step that first told something.
    tellings: Vec<u32>,
    /// The number of the first call of each script, if all calls are numbered in order.
    script_starts: Vec<u32>,
    /// The number of the step that a node takes when something happens, perhaps marked [`IDLE`], or
    /// [`NONE`] if it cannot happen.
    steps: Memo<u32>,
    pub(super) stepped: Vec<Stepped>,
    pub(super) details: Vec<Detail>,
    /// How often each step happened and changed something.
    pub(super) fired: Vec<u64>,
    /// The steps that nodes may take of their own accord, node by node.
    pub(super) moves: Vec<u32>,
    asked: Memo<u32>,
    told: Memo<u32>,
    clients_told: Memo<u32>,
    buried: Memo<u32>,
    retired: Memo<u32>,
    /// What a traitor says that was told this: to whom, and the message.
    pub(super) lies: Interned<Lies>,
    /// How often there were crashes, cuts, healings and lies that changed something.
    pub(super) faults: [u64; 4],
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

/// Something that a run may do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// This message arrives.
    Deliver(u32),
    /// At the node of this place this alarm rings.
    Ring(u32, u32),
    /// This client makes its next call, wherever.
    Call(u32),
    /// The node of this place restarts with so many of the last writes lost.
    Boot(u32, u32),
    /// The cut is healed.
    Heal,
    /// There is another crash, cut or lie.
    Mischief,
}

impl Deed {
    /// True if a fair run may not put it off for ever.
    pub(super) fn is_owed(&self) -> bool {
        match self {
            Self::Deliver(_) | Self::Ring(..) | Self::Call(_) | Self::Boot(_, 0) | Self::Heal => {
                true
            }
            Self::Boot(..) | Self::Mischief => false,
        }
    }
}

/// Where successors go.
pub(super) trait Sink {
    /// True if it wants to know what leads to each.
    const DEEDS: bool = false;

    /// What leads to the next ones.
    fn does(&mut self, _: Deed) {}
    /// True if this successor is wanted.
    fn wants(&mut self, print: u64) -> bool;
    /// Where a successor with this fingerprint goes.
    fn tray(&mut self, print: u64) -> &mut Rows;
}

impl<'w> Space<'w> {
    pub(super) fn new(subject: &'w dyn Subject) -> Self {
        let contents = subject.contents();
        let rules = contents.rules();
        let mut script_starts = Vec::new();
        let mut calls = 0;
        for length in &rules.scripts {
            script_starts.push(calls);
            calls += length;
        }
        Self {
            contents,
            places: rules.places,
            rules,
            nodes: Known::default(),
            letters: Known::default(),
            outers: Known::default(),
            clients: Interned::default(),
            sends: Interned::default(),
            tellings: Vec::new(),
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
            retired: Memo::default(),
            lies: Interned::default(),
            faults: [0; 4],
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

    /// Takes note of the parts that are new, and of how they came about.
    fn note(&mut self, born: Born) {
        for node in numbers(self.nodes.len(), self.contents.count(NODE)) {
            let facts = self.contents.node(node);
            let placed = Placed {
                life: facts.life,
                crashed: NONE,
                moves: None,
                views: Views::default(),
            };
            self.nodes.push(facts.print, placed, born);
        }
        for letter in numbers(self.letters.len(), self.contents.count(LETTER)) {
            let facts = self.contents.letter(letter);
            let (from, to) = (facts.from, facts.to);
            self.letters.push(facts.print, Sent { from, to }, born);
        }
        for outer in numbers(self.outers.len(), self.contents.count(OUTER)) {
            let facts = self.contents.outer(outer);
            let print = facts.print;
            let outer = self.outer(facts);
            self.outers.push(print, outer, born);
        }
    }

    fn outer(&mut self, facts: OuterFacts) -> Outer {
        let clients = &facts.clients;
        let idle = (clients.iter().enumerate())
            .filter(|(client, at)| at.waiting.is_none() && at.next < self.rules.scripts[*client]);
        let numbered = idle.filter_map(|(client, at)| {
            let call = self.call_number(client, *at);
            Some((u32::try_from(client).ok()?, call))
        });
        Outer {
            calls: if facts.is_over {
                Box::default()
            } else {
                numbered.collect()
            },
            clients: self.clients.put(fingerprint(&facts.clients), facts.clients),
            adversary: facts.adversary,
            is_over: facts.is_over,
            is_excluded: facts.is_excluded,
            settles: facts.settles,
            cuts: None,
        }
    }

    /// The row of the initial state, and its fingerprint.
    pub(super) fn initial(&mut self) -> (Vec<u32>, u64) {
        let parts = self.contents.initial();
        self.note(Born::Initial);
        self.row(parts)
    }

    fn row(&self, parts: Parts) -> (Vec<u32>, u64) {
        let Parts {
            nodes: mut row,
            outer,
            letters,
        } = parts;
        row.push(outer);
        row.extend(letters);
        row[self.places + 1..].sort_unstable();
        let print = self.print(&row);
        (row, print)
    }

    /// Each action that the world offers after these, which are places among those offered, and where
    /// it leads.
    pub(super) fn offers(&mut self, path: &[usize]) -> Vec<(Deed, Option<Printed>)> {
        let offers = self.contents.offers(path).into_iter();
        self.note(Born::Initial);
        offers
            .map(|(deed, parts)| (deed, parts.map(|parts| self.row(parts))))
            .collect()
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

    fn borrowed<'r>(&self, row: &'r Row) -> Borrowed<'r> {
        let (nodes, outer, letters) = self.parts(row);
        Borrowed {
            nodes,
            outer,
            letters,
        }
    }

    /// Messages in the order of their content: by receiver, by sender, by what they say.
    pub(super) fn by_content(&self, letters: &[u32]) -> SmallVec<[u32; 32]> {
        let mut sorted = SmallVec::from_slice(letters);
        self.contents.sort(&mut sorted);
        sorted
    }

    /// How a part came about.
    pub(super) fn born(&self, kind: usize, part: u32) -> Born {
        let part = part as usize;
        match kind {
            NODE => self.nodes.born[part],
            LETTER => self.letters.born[part],
            _ => self.outers.born[part],
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

    /// The same content, for those who look at what a part looks like.
    pub(super) fn contents(&self) -> &dyn Contents {
        &*self.contents
    }

    /// The number of the image of a part.
    pub(super) fn image(&mut self, kind: usize, part: u32, renaming: &Renaming) -> u32 {
        let image = self.contents.image(kind, part, renaming);
        self.note(Born::Initial);
        image
    }

    // What the promises look at.

    /// True if the world goes on from this state.
    pub(super) fn is_within_boundary(&self, row: &Row) -> bool {
        !self.rules.has_boundary || self.contents.is_within_boundary(self.borrowed(row))
    }

    /// What a promise that looks at all of a state says of it.
    pub(super) fn is_met(&self, promise: usize, row: &Row) -> bool {
        self.contents.is_met(promise, self.borrowed(row))
    }

    /// To whom a message is.
    pub(super) fn receiver(&self, letter: u32) -> usize {
        self.letters.get(letter).to
    }

    /// True if it is assumed that nothing leads to it.
    pub(super) fn is_excluded(&self, outer: u32) -> bool {
        self.outers.get(outer).is_excluded
    }

    /// True if a mistake of ours showed: nothing happens after it.
    pub(super) fn is_over(&self, outer: u32) -> bool {
        self.outers.get(outer).is_over
    }

    /// The promises that an outer settles on its own: a bit for the place of each.
    pub(super) fn settles(&self, outer: u32) -> u64 {
        self.outers.get(outer).settles
    }

    /// True if a node runs.
    pub(super) fn is_up(&self, node: u32) -> bool {
        matches!(self.nodes.get(node).life, Life::Up(_))
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
        let number = match self.contents.step(node, what) {
            None => NONE,
            Some(effects) => {
                let step = self.keep(node, what, effects);
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

    fn keep(&mut self, before: u32, what: What, effects: Effects) -> u32 {
        let step = u32::try_from(self.stepped.len()).expect("fewer than 2^31 steps");
        self.note(Born::Step(step));
        let Effects {
            after,
            sent,
            armed,
            tells,
        } = effects;
        let mut bundle = sent.clone();
        bundle.sort_unstable();
        bundle.dedup();
        let sends = if bundle.is_empty() {
            NONE
        } else {
            (self.sends).put(fingerprint(&bundle), bundle.into_boxed_slice())
        };
        if tells as usize == self.tellings.len() {
            self.tellings.push(step);
        }
        self.stepped.push(Stepped {
            after,
            sends,
            tells,
        });
        self.details.push(Detail {
            before,
            what,
            sent: sent.into_boxed_slice(),
            armed,
        });
        self.fired.push(0);
        step
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
    pub(super) fn armed(&self, step: u32) -> &[u32] {
        &self.details[step as usize].armed
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
        self.contents.wait(&mut next, client, place);
        self.clients.put(fingerprint(&next), next)
    }

    /// The clients after a step told something.
    pub(super) fn tell_clients(&mut self, clients: u32, tells: u32) -> u32 {
        if let Some(known) = self.clients_told.get(&pair(clients, tells)) {
            return *known;
        }
        let mut next = self.clients.get(clients).clone();
        self.contents.finish(&mut next, tells);
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
        let after = self.contents.tell(outer, tells);
        self.note(Born::Tell(outer, self.tellings[tells as usize]));
        self.told.insert(pair(outer, tells), after);
        after
    }

    /// The outer after a client asked at a node.
    pub(super) fn ask(&mut self, outer: u32, client: u32, place: usize) -> u32 {
        let key = pair(outer, client << 8 | short(place));
        if let Some(known) = self.asked.get(&key) {
            return *known;
        }
        let after = self.contents.ask(outer, client as usize, place);
        self.note(Born::Ask(outer, client, short(place)));
        self.asked.insert(key, after);
        after
    }

    /// The outer after a node crashed, if there is budget for it.
    pub(super) fn bury(&mut self, outer: u32, place: usize) -> Option<u32> {
        let key = pair(outer, short(place));
        if let Some(known) = self.buried.get(&key) {
            return (*known != NONE).then_some(*known);
        }
        let after = self.contents.bury(outer, place);
        self.note(Born::Bury(outer, short(place)));
        self.buried.insert(key, after.unwrap_or(NONE));
        after
    }

    /// The outer once the adversary has retired, for calms.
    pub(super) fn retired(&mut self, outer: u32) -> u32 {
        if let Some(known) = self.retired.get(&u64::from(outer)) {
            return *known;
        }
        let after = self.contents.retired(outer);
        self.note(Born::Retired(outer));
        self.retired.insert(u64::from(outer), after);
        after
    }

    /// The outers after each cut that may come, or after healing.
    pub(super) fn cuts(&mut self, outer: u32) -> Box<[u32]> {
        if let Some(known) = &self.outers.get(outer).cuts {
            return known.clone();
        }
        let next = self.contents.cuts(outer);
        self.note(Born::Cut(outer));
        self.outers.get_mut(outer).cuts = Some(next.clone());
        next
    }

    // Nodes that crash, and lies.

    pub(super) fn crashed(&mut self, node: u32) -> Option<u32> {
        let known = self.nodes.get(node).crashed;
        if known != NONE {
            return Some(known);
        }
        let down = self.contents.crashed(node)?;
        self.note(Born::Crash(node));
        self.nodes.get_mut(node).crashed = down;
        Some(down)
    }

    /// What a traitor says that heard this.
    pub(super) fn lies(&mut self, traitor: usize, heard: Vec<u32>) -> u32 {
        let print = fingerprint(&(traitor as u64, &heard));
        let is = |other: &Lies| other.traitor == traitor && *other.heard == *heard;
        if let Some(found) = self.lies.find(print, is) {
            return found;
        }
        let said = self.contents.lies(traitor, &heard);
        let number = u32::try_from(self.lies.len()).expect("fewer than 2^32 lies");
        self.note(Born::Lie(number));
        let said = said.into_iter();
        let said = said.map(|letter| (self.receiver(letter), letter)).collect();
        let heard = heard.into_boxed_slice();
        let lies = Lies {
            traitor,
            heard,
            said,
        };
        self.lies.add(print, lies)
    }

    /// As whom a node is done with a message.
    #[inline]
    pub(super) fn is_done(&mut self, node: u32, letter: u32, role: u8) -> bool {
        if let Some(done) = self.nodes.get_mut(node).views.view(letter).is_done {
            return done & role != 0;
        }
        let done = self.contents.is_done(node, letter);
        self.nodes.get_mut(node).views.view(letter).is_done = Some(done);
        done & role != 0
    }
}

/// The numbers from the one to before the other.
fn numbers(from: usize, to: usize) -> impl Iterator<Item = u32> {
    let number = |at| u32::try_from(at).expect("fewer than 2^32 of anything");
    (from..to).map(number)
}
