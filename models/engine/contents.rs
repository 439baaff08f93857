//! What the numbers stand for, as the rest of the engine sees it.
//!
//! The engine goes through numbers, whatever the machine. What a number stands for is asked for here,
//! through a trait object, and seldom: each distinct step, fold and fact once. So the engine is
//! compiled once and not for each machine, and all that there is for each is `stock.rs`.

use std::cmp::Ordering;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::NodeId;

use super::calm::Goal;
use super::space::{Deed, What};
use crate::action::Cut;
use crate::promise::Kind;
use crate::snapshot::{Adversary, Client};
use crate::symmetry::{Look, Renaming};

/// A world that can be searched.
pub(super) trait Subject: Send + Sync {
    /// What the numbers of one search stand for.
    fn contents(&self) -> Box<dyn Contents + '_>;
}

/// The content of nodes, messages, outers and alarms, and what happens to them. Each kind has numbers
/// of its own, from zero, in the order in which they were met.
pub(super) trait Contents {
    /// What is fixed.
    fn rules(&self) -> Rules;

    /// The initial state.
    fn initial(&mut self) -> Parts;

    // What is known of a part.

    /// How many parts of a kind were met.
    fn count(&self, kind: usize) -> usize;
    /// A node.
    fn node(&mut self, node: u32) -> NodeFacts;
    /// A message.
    fn letter(&self, letter: u32) -> LetterFacts;
    /// Clients, ghost and adversary.
    fn outer(&self, outer: u32) -> OuterFacts;
    /// Sorts messages by content: by receiver, by sender, by what they say.
    fn sort(&self, letters: &mut [u32]);

    // What happens.

    /// What becomes of a node if something happens to it, unless it cannot.
    fn step(&mut self, node: u32, what: What) -> Option<Effects>;
    /// The node once it has crashed, unless it cannot.
    fn crashed(&mut self, node: u32) -> Option<u32>;
    /// True if what a step told shows a mistake of ours.
    fn is_broken(&self, tells: u32) -> bool;
    /// The outer after a step told something.
    fn tell(&mut self, outer: u32, tells: u32) -> u32;
    /// The outer after a client asked at a node.
    fn ask(&mut self, outer: u32, client: usize, place: usize) -> u32;
    /// The outer after a node crashed, if there is budget for it.
    fn bury(&mut self, outer: u32, place: usize) -> Option<u32>;
    /// The outers after each cut that may come, or after healing.
    fn cuts(&mut self, outer: u32) -> Box<[u32]>;
    /// The outer once the adversary has retired.
    fn retired(&mut self, outer: u32) -> u32;
    /// What a traitor says that was told this.
    fn lies(&mut self, traitor: usize, heard: &[u32]) -> Vec<u32>;
    /// As whom a node is done with a message: [`SENDER`], [`RECEIVER`], both.
    fn is_done(&self, node: u32, letter: u32) -> u8;

    // Of clients and alarms alone, for calms.

    /// A client asked at a node.
    fn wait(&self, clients: &mut [Client], client: usize, place: usize);
    /// A step told something.
    fn finish(&self, clients: &mut [Client], tells: u32);
    /// How long after it was armed at a node an alarm rings in a calm.
    fn delay(&self, place: usize, timer: u32) -> Duration;
    /// Which alarm comes first by name.
    fn order(&self, timer: u32, other: u32) -> Ordering;

    // What promises say.

    /// Of nodes.
    fn is_met_by_nodes(&self, promise: usize, nodes: &[u32]) -> bool;
    /// Of all but the messages.
    fn is_met_still(&self, promise: usize, nodes: &[u32], outer: u32) -> bool;
    /// Of a state in which nothing is under way, where the promise is to get somewhere: whether it is
    /// there.
    fn is_reached(&self, promise: usize, nodes: &[u32], outer: u32) -> bool;
    /// Of a state.
    fn is_met(&self, promise: usize, state: Borrowed<'_>) -> bool;
    /// True if the world goes on from a state.
    fn is_within_boundary(&self, state: Borrowed<'_>) -> bool;

    // Mirror images.

    /// What a part looks like.
    fn look(&self, kind: usize, part: u32, look: &Look<'_>) -> u64;
    /// The fingerprint of the image of a part.
    fn image_print(&self, kind: usize, part: u32, renaming: &Renaming) -> u64;
    /// The image of a part.
    fn image(&mut self, kind: usize, part: u32, renaming: &Renaming) -> u32;

    // Stories.

    /// What may happen next after these actions, each a place among those offered at its time: the
    /// state that each leads to, unless it changes nothing.
    fn offers(&mut self, path: &[usize]) -> Vec<(Deed, Option<Parts>)>;
    /// The name of something that happens to a node, for the coverage.
    fn name(&self, node: u32, what: What) -> String;
    /// The names of all calls, for the coverage.
    fn calls(&self) -> Vec<String>;
}

/// As the one who sent a message.
pub(super) const SENDER: u8 = 1;
/// As the one for whom it is.
pub(super) const RECEIVER: u8 = 2;

/// A state: its nodes in order, its outer, and its messages in the order of their content.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) nodes: Vec<u32>,
    pub(super) outer: u32,
    pub(super) letters: Vec<u32>,
}

/// A state: its nodes in order, its outer, and its messages in any order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrowed<'a> {
    pub(super) nodes: &'a [u32],
    pub(super) outer: u32,
    pub(super) letters: &'a [u32],
}

/// One node, in its place.
pub(super) struct NodeFacts {
    pub(super) print: u64,
    pub(super) life: Life,
}

/// What a node is doing.
pub(super) enum Life {
    /// It runs, with these alarms, in the order of their names.
    Up(Box<[Alarm]>),
    /// It does not, and its disk may have lost this many of the last writes, or fewer.
    Down(u32),
    /// It is the adversary's.
    Traitor,
}

/// An alarm that is armed.
#[derive(Clone, Copy)]
pub(super) struct Alarm {
    pub(super) timer: u32,
    /// It may ring before the calm.
    pub(super) rings: bool,
}

/// One message.
pub(super) struct LetterFacts {
    pub(super) print: u64,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// All of a state but its nodes and its messages.
pub(super) struct OuterFacts {
    pub(super) print: u64,
    pub(super) clients: Box<[Client]>,
    pub(super) adversary: Adversary,
    /// A mistake of ours showed: nothing happens after it.
    pub(super) is_over: bool,
    /// It is assumed that nothing leads here.
    pub(super) is_excluded: bool,
    /// The promises that it settles, of those that look at nothing else: a bit for the place of each.
    pub(super) settles: u64,
}

/// What a step comes to.
pub(super) struct Effects {
    pub(super) after: u32,
    /// What it sends, in order.
    pub(super) sent: Vec<u32>,
    /// What it arms.
    pub(super) armed: Box<[u32]>,
    /// What it tells, or [`super::space::NONE`].
    pub(super) tells: u32,
}

/// What a promise looks at.
#[derive(Clone)]
pub(super) enum On {
    Told,
    Nodes,
    Clients(Goal),
    Still,
    Whole,
}

/// One promise.
pub(super) struct Pledge {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) on: On,
}

/// What is fixed in a world.
pub(super) struct Rules {
    /// How many nodes there are. In a row the outer comes after them, and then the messages.
    pub(super) places: usize,
    /// Where each client makes its calls.
    pub(super) doors: Vec<NodeSet>,
    /// The number of calls of each client.
    pub(super) scripts: Vec<u32>,
    pub(super) mortal: NodeSet,
    pub(super) crashes: u32,
    pub(super) disk_lies: bool,
    pub(super) cuts: Vec<Barrier>,
    pub(super) cut_budget: u32,
    pub(super) traitors: NodeSet,
    pub(super) alike: Vec<NodeSet>,
    pub(super) pledges: Vec<Pledge>,
    /// Messages are forgotten once they are dead.
    pub(super) purges: bool,
    pub(super) has_boundary: bool,
}

/// A cut: for each node, those whom it does not reach.
pub(super) struct Barrier(Box<[NodeSet]>);

impl Barrier {
    pub(super) fn new(cut: &Cut, places: usize) -> Self {
        let all = NodeSet::first(places);
        let unheard = |from| all.iter().filter(move |to| cut.blocks(from, *to)).collect();
        Self(all.iter().map(unheard).collect())
    }

    /// True if nothing gets from there to here.
    #[inline]
    pub(super) fn blocks(&self, from: usize, to: usize) -> bool {
        self.0[from].contains(NodeId(to as u64))
    }
}
