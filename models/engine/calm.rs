//! The calm, in small numbers.
//!
//! What [`crate::calm`] says of a calm holds here too: it is the oracle that this file is tested
//! against. But a calm is deterministic, so where it leads need be found out once, and most calms
//! soon come to where another one was. Two states have the same calm if they differ only in messages
//! that nobody reacts to, in what is known of the past, or in what the adversary might have done. So
//! a calm is looked up where it begins, and after each alarm.
//!
//! Goals of the clients alone are decided here; the others are left to [`crate::calm`].

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use quorate::machine::{Machine, NodeId};

use super::ready::Ready;
use super::space::{NONE, Row, Space, What};
use crate::calm::DELIVERIES_MAX;
use crate::ghost::Ghost;
use crate::shared::fingerprint;
use crate::snapshot::{Client, Node};

/// A condition on the clients.
type Goal = Arc<dyn Fn(&[Client]) -> bool + Send + Sync>;

/// A goal of the clients, and what is known of the calms that lead there.
pub(crate) struct Calms {
    limit: u32,
    goal: Goal,
    /// Where calms began that reach the goal.
    good: HashSet<u64, BuildHasherDefault<Ready>>,
    /// From a place in a calm: how many alarms ring until the goal.
    known: HashMap<u64, u32, BuildHasherDefault<Ready>>,
    /// The steps that the mail under way brings about, if it arrives: where, and which.
    flood: Vec<(usize, u32)>,
    /// The nodes as they are while it arrives.
    nodes: Vec<u32>,
}

/// One place in a calm.
struct Calm<M: Machine> {
    nodes: Vec<u32>,
    clients: u32,
    /// In the order of arrival.
    mail: VecDeque<u32>,
    due: Vec<(Duration, NodeId, M::Timer)>,
    now: Duration,
    broken: bool,
}

impl Calms {
    pub(crate) fn new(limit: u32, goal: Goal) -> Self {
        Self {
            limit,
            goal,
            good: HashSet::default(),
            known: HashMap::default(),
            flood: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// True if the calm gets from this state to the goal, whether the mail is lost or arrives.
    pub(crate) fn reach<M: Machine, G: Ghost<M>>(
        &mut self,
        space: &mut Space<'_, M, G>,
        row: &Row,
    ) -> bool {
        let (nodes, outer, letters) = space.parts(row);
        if space.is_over(outer) {
            return false;
        }
        let clients = space.clients_of(outer);
        self.flood.clear();
        if !self.reach_from(space, nodes, clients) {
            return false;
        }
        self.arrive(space, nodes, letters);
        self.flood.is_empty() || self.reach_from(space, nodes, clients)
    }

    /// Which steps the mail that is under way brings about. Those that change nothing, and do not
    /// send, tell or arm anything, are left out.
    fn arrive<M: Machine, G: Ghost<M>>(
        &mut self,
        space: &mut Space<'_, M, G>,
        nodes: &[u32],
        letters: &[u32],
    ) {
        self.nodes.clear();
        for node in nodes {
            let booted = boots(space, *node).map(|step| space.stepped(step).after);
            self.nodes.push(booted.unwrap_or(*node));
        }
        for letter in space.by_content(letters) {
            let to = space.receiver(letter);
            let Some(step) = space.step(self.nodes[to], What::Letter(letter)) else {
                continue;
            };
            let after = space.stepped(step).after;
            if after != self.nodes[to] || space.says_something(step) {
                self.flood.push((to, step));
                self.nodes[to] = after;
            }
        }
    }

    fn reach_from<M: Machine, G: Ghost<M>>(
        &mut self,
        space: &mut Space<'_, M, G>,
        nodes: &[u32],
        clients: u32,
    ) -> bool {
        let print = fingerprint(&(nodes, clients, &self.flood));
        self.good.contains(&print) || self.follow(space, nodes, clients) && self.good.insert(print)
    }

    fn follow<M: Machine, G: Ghost<M>>(
        &mut self,
        space: &mut Space<'_, M, G>,
        nodes: &[u32],
        clients: u32,
    ) -> bool {
        let mut calm = self.begin(space, nodes, clients);
        let mut trail = Vec::new();
        let mut found = None;
        for round in 0..=self.limit {
            let print = calm.print();
            if let Some(rest) = self.known.get(&print) {
                found = Some(round.saturating_add(*rest));
                break;
            }
            trail.push(print);
            if !calm.settle(space) {
                break;
            }
            if (self.goal)(space.clients(calm.clients)) {
                found = Some(round);
                break;
            }
            if !calm.ring(space) {
                break;
            }
        }
        let Some(total) = found else {
            return false;
        };
        for (round, print) in (0..).zip(trail) {
            self.known.insert(print, total - round);
        }
        total <= self.limit
    }

    fn begin<M: Machine, G: Ghost<M>>(
        &self,
        space: &mut Space<'_, M, G>,
        nodes: &[u32],
        clients: u32,
    ) -> Calm<M> {
        let mut calm = Calm {
            nodes: nodes.to_vec(),
            clients,
            mail: VecDeque::new(),
            due: Vec::new(),
            now: Duration::ZERO,
            broken: false,
        };
        for (place, node) in nodes.iter().enumerate() {
            if let Some(step) = boots(space, *node) {
                calm.take(space, place, step);
            } else {
                let armed = space.content(*node).armed().to_vec();
                calm.arm(space, place, &armed);
            }
        }
        for (place, step) in &self.flood {
            calm.take(space, *place, *step);
        }
        calm
    }
}

/// The step in which a node that is down boots.
fn boots<M: Machine, G: Ghost<M>>(space: &mut Space<'_, M, G>, node: u32) -> Option<u32> {
    match space.content(node) {
        Node::Down { .. } => space.step(node, What::Boot(0)),
        Node::Up { .. } | Node::Traitor => None,
    }
}

impl<M: Machine> Calm<M> {
    /// The hash of everything that matters to what happens next.
    fn print(&self) -> u64 {
        let mut hasher = crate::shared::hasher();
        (&self.nodes, self.clients, self.broken).hash(&mut hasher);
        self.mail.hash(&mut hasher);
        for (when, node, timer) in &self.due {
            (when.saturating_sub(self.now), node, timer).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn arm<G: Ghost<M>>(&mut self, space: &Space<'_, M, G>, place: usize, timers: &[M::Timer]) {
        let id = NodeId(place as u64);
        for timer in timers {
            self.due
                .retain(|(_, node, other)| *node != id || other != timer);
            let delay = crate::calm::delay(space.world, id, timer);
            self.due.push((self.now + delay, id, timer.clone()));
        }
    }

    /// A step happens: what it sends is on its way, even if it was sent before.
    fn take<G: Ghost<M>>(&mut self, space: &mut Space<'_, M, G>, place: usize, step: u32) {
        let stepped = space.stepped(step);
        self.nodes[place] = stepped.after;
        let tells = stepped.tells;
        if tells != NONE {
            self.broken |= space.is_broken(tells);
            self.clients = space.tell_clients(self.clients, tells);
        }
        self.mail.extend(space.sent(step));
        let armed = space.armed(step);
        self.arm(space, place, &armed);
    }

    /// Everything that is on its way arrives, and clients make their calls, until nothing is left.
    fn settle<G: Ghost<M>>(&mut self, space: &mut Space<'_, M, G>) -> bool {
        for _ in 0..DELIVERIES_MAX {
            if self.broken {
                return false;
            }
            if let Some(letter) = self.mail.pop_front() {
                let place = space.receiver(letter);
                if let Some(step) = space.step(self.nodes[place], What::Letter(letter)) {
                    self.take(space, place, step);
                }
            } else if !self.call(space) {
                return true;
            }
        }
        false
    }

    /// The first idle client makes its next call.
    fn call<G: Ghost<M>>(&mut self, space: &mut Space<'_, M, G>) -> bool {
        let doors: Vec<usize> = (self.nodes.iter().enumerate())
            .filter(|(_, node)| space.content(**node).up().is_some())
            .map(|(place, _)| place)
            .filter(|place| space.world.doors.contains(NodeId(*place as u64)))
            .collect();
        let mut clients = space.clients(self.clients).iter().enumerate();
        let ready = clients.find(|(index, client)| {
            client.waiting.is_none() && space.world.call(*index, **client).is_some()
        });
        let (Some((index, at)), false) = (ready.map(|(index, at)| (index, *at)), doors.is_empty())
        else {
            return false;
        };
        let place = doors[(index + at.next as usize) % doors.len()];
        let call = space.call_number(index, at);
        self.clients = space.ask_clients(self.clients, index, place);
        if let Some(step) = space.step(self.nodes[place], What::Call(call)) {
            self.take(space, place, step);
        }
        true
    }

    /// The alarm that is due first rings.
    fn ring<G: Ghost<M>>(&mut self, space: &mut Space<'_, M, G>) -> bool {
        let armed_at = |id: &NodeId, timer: &M::Timer| {
            let node = self.nodes[usize::try_from(id.0).ok()?];
            space.content(node).armed().binary_search(timer).ok()
        };
        // Alarms that were disarmed meanwhile are due no more.
        self.due
            .retain(|(_, id, timer)| armed_at(id, timer).is_some());
        let first = (0..self.due.len()).min_by(|a, b| self.due[*a].cmp(&self.due[*b]));
        let Some(first) = first else {
            return false;
        };
        let (when, id, timer) = self.due.remove(first);
        self.now = when;
        let (Ok(place), Some(at)) = (usize::try_from(id.0), armed_at(&id, &timer)) else {
            return false;
        };
        let at = u32::try_from(at).expect("few alarms");
        if let Some(step) = space.step(self.nodes[place], What::Timer(at)) {
            self.take(space, place, step);
        }
        true
    }
}
