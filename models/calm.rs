//! The calm: what happens once the adversary retires.
//!
//! `recovers` asks of *every* reachable state: if from now on nothing more goes wrong, is the goal
//! reached, and how soon? Calm means:
//!
//! 1. The cut heals, and every node that is down restarts from its disk. Traitors fall silent.
//! 2. What is still under way is all lost, or all arrives once more: both are tried, and both must
//!    get there. From then on everything that is sent arrives, once, in the order of sending, before
//!    any alarm rings.
//! 3. Alarms ring in the order in which they are due, by [`Machine::delay`]: node *i* of *n* draws
//!    its delay *(i + 1) / (n + 1)* of the way through the range, so that ties are broken as chance
//!    would break them.
//! 4. Clients go on with their scripts, at nodes taken in turn.
//!
//! A *round* is one alarm. This is one fair schedule, not all of them: a promise that holds here can
//! be reached from everywhere, and one that falls is stuck even in the best of weather. stateright's
//! `eventually` would quantify over all schedules, but by its own documentation misses cycles and
//! joins, so nothing rests on it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use quorate::machine::{Machine, NodeId};

use crate::action::Action;
use crate::ghost::Ghost;
use crate::memory::Occurrence;
use crate::promise::Condition;
use crate::shared::Shared;
use crate::snapshot::{Client, Letter, Node, Snapshot};
use crate::world::World;

/// A calm that needs more deliveries than this between two alarms never settles.
pub(crate) const DELIVERIES_MAX: u32 = 10_000;

/// What becomes of the mail that is under way when the calm begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mail {
    Lost,
    Arrives,
}

/// How many alarms ring before `goal` is reached from `start`, if at most `limit` do: the larger
/// number, of the two fates of the mail under way.
pub fn rounds<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    start: &Snapshot<M, G>,
    limit: u32,
    goal: &Condition<M, G>,
) -> Option<u32> {
    let lost = rounds_if(world, start, Mail::Lost, limit, goal)?;
    let arrives = rounds_if(world, start, Mail::Arrives, limit, goal)?;
    Some(lost.max(arrives))
}

fn rounds_if<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    start: &Snapshot<M, G>,
    mail: Mail,
    limit: u32,
    goal: &Condition<M, G>,
) -> Option<u32> {
    let mut calm = Calm::new(world, start, mail);
    for round in 0..=limit {
        if !calm.settle() {
            return None;
        }
        // Nothing is under way any more.
        calm.snapshot.network = Shared::new(Vec::new());
        if goal.of(&calm.snapshot) {
            return Some(round);
        }
        if !calm.ring() {
            return None;
        }
    }
    None
}

/// A goal of nodes and clients.
type Goal<M> = Box<dyn Fn(&[&Node<M>], &[Client]) -> bool + Send + Sync>;

/// The calms of one world, which need not be the one that is searched, towards one goal of its nodes and
/// clients. Where they lead depends neither on the ghost nor on what the adversary might have done, and
/// most calms soon come to where another one was: so each place is remembered. [`rounds`] is the oracle
/// that this is tested against.
pub struct Calms<M: Machine, G: Ghost<M>> {
    world: World<M, G>,
    limit: u32,
    goal: Goal<M>,
    known: RwLock<Known>,
}

/// What is known of calms.
#[derive(Default)]
struct Known {
    /// Where calms began that reach the goal.
    good: HashSet<u64>,
    /// From a place in a calm: how many alarms ring until the goal.
    rest: HashMap<u64, u32>,
}

impl<M: Machine, G: Ghost<M>> Calms<M, G> {
    /// Calms in which at most `limit` alarms ring.
    pub fn new(
        world: World<M, G>,
        limit: u32,
        goal: impl Fn(&[&Node<M>], &[Client]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let goal = Box::new(goal);
        let known = RwLock::default();
        Self {
            world,
            limit,
            goal,
            known,
        }
    }

    /// True if the calm gets from here to the goal, whether the mail under way is lost or arrives.
    pub fn reach(&self, start: &Snapshot<M, G>) -> bool {
        let mut hasher = crate::shared::hasher();
        (&start.nodes, &start.network, &start.clients).hash(&mut hasher);
        let print = hasher.finish();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.good.contains(&print);
        drop(known);
        if is_known {
            return true;
        }
        let mut fates = [Mail::Lost, Mail::Arrives].into_iter();
        if !fates.all(|mail| self.reach_if(start, mail)) {
            return false;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.good.insert(print)
    }

    fn reach_if(&self, start: &Snapshot<M, G>, mail: Mail) -> bool {
        let mut calm = Calm::new(&self.world, start, mail);
        calm.snapshot.ghost = Shared::new(self.world.ghost.clone());
        let arriving = calm.mail.len();
        calm.deliver(arriving);
        let mut trail = Vec::new();
        let mut found = None;
        for round in 0..=self.limit {
            let print = calm.print();
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(rest) = known.rest.get(&print) {
                found = Some(round.saturating_add(*rest));
                break;
            }
            drop(known);
            trail.push(print);
            if !calm.settle() {
                break;
            }
            if self.is_reached(&calm.snapshot) {
                found = Some(round);
                break;
            }
            if !calm.ring() {
                break;
            }
        }
        let Some(total) = found else {
            return false;
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let rest = (0..)
            .zip(trail)
            .map(|(round, print)| (print, total - round));
        known.rest.extend(rest);
        total <= self.limit
    }

    fn is_reached(&self, snapshot: &Snapshot<M, G>) -> bool {
        let nodes: Vec<&Node<M>> = snapshot.nodes.iter().map(|node| &**node).collect();
        (self.goal)(&nodes, &snapshot.clients)
    }
}

/// How long after it was armed an alarm rings in the calm.
pub(crate) fn delay<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    id: NodeId,
    timer: &M::Timer,
) -> Duration {
    let range = (world.machine(id)).map_or(Duration::ZERO..Duration::ZERO, |m| m.delay(timer));
    let width = range.end.saturating_sub(range.start);
    let nodes = u32::try_from(world.len()).unwrap_or(u32::MAX);
    let place = u32::try_from(id.0).unwrap_or(u32::MAX).saturating_add(1);
    range.start + width * place / nodes.saturating_add(1)
}

struct Calm<'a, M: Machine, G: Ghost<M>> {
    world: &'a World<M, G>,
    snapshot: Snapshot<M, G>,
    now: Duration,
    due: Vec<(Duration, NodeId, M::Timer)>,
    mail: VecDeque<Shared<Letter<M::Message>>>,
}

impl<'a, M: Machine, G: Ghost<M>> Calm<'a, M, G> {
    fn new(world: &'a World<M, G>, start: &Snapshot<M, G>, mail: Mail) -> Self {
        let mut calm = Self {
            world,
            snapshot: start.clone(),
            now: Duration::ZERO,
            due: Vec::new(),
            mail: match mail {
                Mail::Lost => VecDeque::new(),
                Mail::Arrives => start.network.iter().cloned().collect(),
            },
        };
        calm.snapshot.adversary.retire();
        calm.snapshot.network = Shared::new(Vec::new());
        for (id, node) in (0..).map(NodeId).zip(&start.nodes) {
            match &**node {
                Node::Up { armed, .. } => calm.arm(id, armed),
                Node::Down { .. } => calm.happen(id, &Occurrence::Boot { lost: 0 }),
                Node::Traitor => {}
            }
        }
        calm
    }

    fn arm(&mut self, id: NodeId, timers: &[M::Timer]) {
        for timer in timers {
            self.due
                .retain(|(_, node, other)| *node != id || other != timer);
            let delay = delay(self.world, id, timer);
            self.due.push((self.now + delay, id, timer.clone()));
        }
    }

    /// Something happens at a node; what it sends is on its way even if it was sent before.
    fn happen(&mut self, id: NodeId, occurrence: &Occurrence<'_, M>) {
        let Some(node) = self.snapshot.node(id) else {
            return;
        };
        let Some(machine) = self.world.machine(id) else {
            return;
        };
        let disk = self.world.faults.disk;
        let memory = &self.world.memory;
        let Some(effect) = memory.effect(machine, disk, id, node, occurrence) else {
            return;
        };
        self.mail.extend(effect.sent.iter().cloned());
        self.arm(id, &effect.armed);
        if let Some(next) = self.world.happen(&self.snapshot, id, occurrence) {
            self.snapshot = next;
        }
    }

    /// The hash of everything that matters to what happens next.
    fn print(&self) -> u64 {
        let mut hasher = crate::shared::hasher();
        let Snapshot {
            nodes,
            clients,
            broken,
            ..
        } = &self.snapshot;
        (nodes, clients, broken.is_some()).hash(&mut hasher);
        self.mail.hash(&mut hasher);
        for (when, node, timer) in &self.due {
            (when.saturating_sub(self.now), node, timer).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The first so many letters arrive.
    fn deliver(&mut self, count: usize) {
        for letter in self.mail.drain(..count).collect::<Vec<_>>() {
            if self.snapshot.broken.is_none() {
                self.happen(letter.to, &Occurrence::Letter(&letter));
            }
        }
    }

    /// Everything that is on its way arrives, and clients make their calls, until nothing is left.
    fn settle(&mut self) -> bool {
        for _ in 0..DELIVERIES_MAX {
            if self.snapshot.broken.is_some() {
                return false;
            }
            if let Some(letter) = self.mail.pop_front() {
                self.happen(letter.to, &Occurrence::Letter(&letter));
            } else if !self.call() {
                return true;
            }
        }
        false
    }

    /// The first idle client makes its next call.
    fn call(&mut self) -> bool {
        let mut clients = self.snapshot.clients.iter().enumerate();
        let ready = clients.find(|(index, client)| {
            client.waiting.is_none() && self.world.call(*index, **client).is_some()
        });
        let Some((index, at)) = ready else {
            return false;
        };
        let own = self.world.doors_of(index);
        let doors: Vec<NodeId> = (self.snapshot.running())
            .map(|(id, _)| id)
            .filter(|id| own.contains(*id))
            .collect();
        if doors.is_empty() {
            return false;
        }
        let node = doors[(index + at.next as usize) % doors.len()];
        let call = self.world.call(index, *at).cloned();
        let action = Action::Call {
            client: index,
            node,
        };
        let before = self.snapshot.clone();
        if let Some(next) = self.world.follow(&before, &action) {
            self.snapshot = next;
        }
        // What the call sent and armed: the step again, from memory.
        let (Some(call), Some(content), Some(machine)) =
            (call, before.node(node), self.world.machine(node))
        else {
            return false;
        };
        let (memory, disk) = (&self.world.memory, self.world.faults.disk);
        let occurrence = Occurrence::Call(&call);
        if let Some(effect) = memory.effect(machine, disk, node, content, &occurrence) {
            self.mail.extend(effect.sent.iter().cloned());
            self.arm(node, &effect.armed);
        }
        true
    }

    /// The alarm that is due first rings.
    fn ring(&mut self) -> bool {
        let snapshot = &self.snapshot;
        // Alarms that were disarmed meanwhile are due no more.
        self.due.retain(|(_, id, timer)| {
            snapshot
                .node(*id)
                .is_some_and(|node| node.armed().binary_search(timer).is_ok())
        });
        let first = (0..self.due.len()).min_by(|a, b| self.due[*a].cmp(&self.due[*b]));
        let Some(first) = first else {
            return false;
        };
        let (when, id, timer) = self.due.remove(first);
        self.now = when;
        self.happen(id, &Occurrence::Timer(&timer));
        true
    }
}
