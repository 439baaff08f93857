//! The calm, in small numbers.
//!
//! What [`crate::calm`] says of a calm holds here too: it is the oracle that this file is tested
//! against. But a calm is deterministic, so where it leads need be found out once, and most calms
//! soon come to where another one was. Two states have the same calm if they differ only in messages
//! that nobody reacts to, in what is known of the past, or in what the adversary might have done. So
//! a calm is looked up where it begins, and after each alarm.
//!
//! The less a goal looks at, the fewer calms there are: what happened before matters to those alone
//! whose goal looks at it. A goal is asked when nothing is under way.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use super::contents::Life;
use super::ready::Ready;
use super::space::{NONE, Row, Space, What};
use crate::calm::DELIVERIES_MAX;
use crate::shared::fingerprint;
use crate::snapshot::Client;

/// A condition on the clients.
pub(super) type Goal = Arc<dyn Fn(&[Client]) -> bool + Send + Sync>;

/// What a calm is to lead to.
pub(super) enum Target {
    /// A goal of the clients.
    Clients(Goal),
    /// That of the promise at this place, which looks at the nodes alone.
    Nodes(usize),
    /// That of the promise at this place, whatever it looks at.
    Still(usize),
}

/// A goal, and what is known of the calms that lead there.
pub(super) struct Calms {
    limit: u32,
    target: Target,
    /// Where calms began that reach the goal.
    good: HashSet<u64, BuildHasherDefault<Ready>>,
    /// From a place in a calm: how many alarms ring until the goal.
    known: HashMap<u64, u32, BuildHasherDefault<Ready>>,
    /// The steps that the mail under way brings about, if it arrives: where, and which.
    flood: Vec<(usize, u32)>,
    /// The nodes as they are while it arrives.
    nodes: Vec<u32>,
}

/// As much of what was told as the goal looks at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Past {
    /// The clients, by number: what happens next looks at them.
    Clients(u32),
    /// All of it: an outer whose adversary has retired.
    Outer(u32),
}

impl Past {
    fn clients(self, space: &Space<'_>) -> u32 {
        match self {
            Self::Clients(clients) => clients,
            Self::Outer(outer) => space.clients_of(outer),
        }
    }
}

/// One place in a calm.
struct Calm {
    nodes: Vec<u32>,
    past: Past,
    /// In the order of arrival.
    mail: VecDeque<u32>,
    due: Vec<(Duration, usize, u32)>,
    now: Duration,
    broken: bool,
}

impl Calms {
    pub(super) fn new(limit: u32, target: Target) -> Self {
        Self {
            limit,
            target,
            good: HashSet::default(),
            known: HashMap::default(),
            flood: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// True if the calm gets from this state to the goal, whether the mail is lost or arrives.
    pub(super) fn reach(&mut self, space: &mut Space<'_>, row: &Row) -> bool {
        let (nodes, outer, letters) = space.parts(row);
        if space.is_over(outer) {
            return false;
        }
        let past = match self.target {
            Target::Clients(_) | Target::Nodes(_) => Past::Clients(space.clients_of(outer)),
            Target::Still(_) => Past::Outer(space.retired(outer)),
        };
        self.flood.clear();
        if !self.reach_from(space, nodes, past) {
            return false;
        }
        self.arrive(space, nodes, letters);
        self.flood.is_empty() || self.reach_from(space, nodes, past)
    }

    /// Which steps the mail that is under way brings about. Those that change nothing, and do not
    /// send, tell or arm anything, are left out.
    fn arrive(&mut self, space: &mut Space<'_>, nodes: &[u32], letters: &[u32]) {
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

    fn reach_from(&mut self, space: &mut Space<'_>, nodes: &[u32], past: Past) -> bool {
        let print = fingerprint(&(nodes, past, &self.flood));
        self.good.contains(&print) || self.follow(space, nodes, past) && self.good.insert(print)
    }

    fn follow(&mut self, space: &mut Space<'_>, nodes: &[u32], past: Past) -> bool {
        let mut calm = self.begin(space, nodes, past);
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
            if self.is_there(space, &calm) {
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

    fn is_there(&self, space: &Space<'_>, calm: &Calm) -> bool {
        let Calm { nodes, past, .. } = calm;
        match (&self.target, past) {
            (Target::Clients(goal), past) => goal(space.clients(past.clients(space))),
            (Target::Still(promise), Past::Outer(outer)) => {
                space.contents().is_reached(*promise, nodes, *outer)
            }
            (Target::Nodes(promise) | Target::Still(promise), _) => {
                space.contents().is_met_by_nodes(*promise, nodes)
            }
        }
    }

    fn begin(&self, space: &mut Space<'_>, nodes: &[u32], past: Past) -> Calm {
        let mut calm = Calm {
            nodes: nodes.to_vec(),
            past,
            mail: VecDeque::new(),
            due: Vec::new(),
            now: Duration::ZERO,
            broken: false,
        };
        for (place, node) in nodes.iter().enumerate() {
            if let Some(step) = boots(space, *node) {
                calm.take(space, place, step);
            } else if let Life::Up(alarms) = &space.nodes.get(*node).life {
                for alarm in alarms {
                    calm.arm(space, place, alarm.timer);
                }
            }
        }
        for (place, step) in &self.flood {
            calm.take(space, *place, *step);
        }
        calm
    }
}

/// The step in which a node that is down boots.
fn boots(space: &mut Space<'_>, node: u32) -> Option<u32> {
    match space.nodes.get(node).life {
        Life::Down(_) => space.step(node, What::Boot(0)),
        Life::Up(_) | Life::Traitor => None,
    }
}

impl Calm {
    /// The hash of everything that matters to what happens next.
    fn print(&self) -> u64 {
        let mut hasher = crate::shared::hasher();
        (&self.nodes, self.past, self.broken).hash(&mut hasher);
        self.mail.hash(&mut hasher);
        for (when, node, timer) in &self.due {
            (when.saturating_sub(self.now), node, timer).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn arm(&mut self, space: &Space<'_>, place: usize, timer: u32) {
        self.due
            .retain(|(_, node, other)| (*node, *other) != (place, timer));
        let delay = space.contents().delay(place, timer);
        self.due.push((self.now + delay, place, timer));
    }

    /// A step happens: what it sends is on its way, even if it was sent before.
    fn take(&mut self, space: &mut Space<'_>, place: usize, step: u32) {
        let stepped = space.stepped(step);
        self.nodes[place] = stepped.after;
        let tells = stepped.tells;
        if tells != NONE {
            self.broken |= space.contents().is_broken(tells);
            self.past = match self.past {
                Past::Clients(clients) => Past::Clients(space.tell_clients(clients, tells)),
                Past::Outer(outer) => Past::Outer(space.tell(outer, tells)),
            };
        }
        self.mail.extend(space.sent(step));
        for timer in space.armed(step) {
            self.arm(space, place, *timer);
        }
    }

    /// Everything that is on its way arrives, and clients make their calls, until nothing is left.
    fn settle(&mut self, space: &mut Space<'_>) -> bool {
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
    fn call(&mut self, space: &mut Space<'_>) -> bool {
        let clients = self.past.clients(space);
        let mut clients = space.clients(clients).iter().enumerate();
        let ready = clients.find(|(index, client)| {
            client.waiting.is_none() && client.next < space.rules.scripts[*index]
        });
        let Some((index, at)) = ready.map(|(index, at)| (index, *at)) else {
            return false;
        };
        let own = space.rules.doors[index];
        let doors: Vec<usize> = (self.nodes.iter().enumerate())
            .filter(|(place, node)| {
                space.is_up(**node) && own.contains(quorate::machine::NodeId(*place as u64))
            })
            .map(|(place, _)| place)
            .collect();
        if doors.is_empty() {
            return false;
        }
        let place = doors[(index + at.next as usize) % doors.len()];
        let call = space.call_number(index, at);
        self.past = match self.past {
            Past::Clients(clients) => Past::Clients(space.ask_clients(clients, index, place)),
            Past::Outer(outer) => {
                let client = u32::try_from(index).expect("few clients");
                Past::Outer(space.ask(outer, client, place))
            }
        };
        if let Some(step) = space.step(self.nodes[place], What::Call(call)) {
            self.take(space, place, step);
        }
        true
    }

    /// The alarm that is due first rings.
    fn ring(&mut self, space: &mut Space<'_>) -> bool {
        let armed_at = |place: usize, timer: u32| match &space.nodes.get(self.nodes[place]).life {
            Life::Up(alarms) => alarms.iter().position(|alarm| alarm.timer == timer),
            Life::Down(_) | Life::Traitor => None,
        };
        // Alarms that were disarmed meanwhile are due no more.
        self.due
            .retain(|(_, place, timer)| armed_at(*place, *timer).is_some());
        let first = (0..self.due.len()).min_by(|one, other| {
            let (one, other) = (self.due[*one], self.due[*other]);
            let by_name = || space.contents().order(one.2, other.2);
            (one.0, one.1).cmp(&(other.0, other.1)).then_with(by_name)
        });
        let Some(first) = first else {
            return false;
        };
        let (when, place, timer) = self.due.remove(first);
        self.now = when;
        let Some(at) = armed_at(place, timer) else {
            return false;
        };
        let at = u32::try_from(at).expect("few alarms");
        if let Some(step) = space.step(self.nodes[place], What::Timer(at)) {
            self.take(space, place, step);
        }
        true
    }
}
