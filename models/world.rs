//! The world: any machine, several nodes of it, and an adversary with a stated budget.
//!
//! A [`World`] is a [`stateright::Model`]. Its states are [`Snapshot`]s; its actions are what the
//! adversary may do next, which is everything that a real network, real disks and real clients do:
//!
//! | row | what the adversary may do |
//! |---|---|
//! | interleaving | lose, repeat, delay and reorder messages; ring any armed alarm at any time; choose the node of every call. Always on |
//! | crash | stop mortal nodes and restart them from their disks; a budget over all nodes and time |
//! | amnesia | the disks lied: a restart loses any number of the last acknowledged writes |
//! | partition | cut links and heal them: [`Cut`] |
//! | Byzantine | some nodes are its own: they say whatever their [`Traitor`] can, to whomever |
//!
//! # Why not stateright's `ActorModel`
//!
//! It has no partitions, no disks and no traitors, keeps the memory of a dead actor where promises
//! see it, bounds only how many are down at once, and hashes its alarms so that distinct states
//! collide. The world uses stateright's `Model`, its checkers and its Explorer.
//!
//! # Each step is computed once
//!
//! A step is a pure function of one node's state and one input, and a world of a million states may
//! hold a few thousand distinct steps. The world remembers each by content, and likewise each fold
//! of a ghost; a consistency check inside a ghost is thus made once per distinct history.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId};
use stateright::{Model, Path, Property};

use crate::action::{Action, Cut};
use crate::ghost::Ghost;
use crate::memory::{Effect, Memory, Occurrence};
use crate::promise::{Condition, Kind, Promise, Promising, Still, Told, properties};
use crate::shared::Shared;
use crate::snapshot::{Adversary, Broken, Client, Fault, Letter, Letters, Node, Snapshot};
use crate::{calm, diagram, story};

/// Whether disks keep what they acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disk {
    /// They do.
    Honest,
    /// A crash may take any number of the writes since the last boot, the last ones first.
    Lying,
}

/// What a traitor can say. This is knowledge of the protocol: its messages, and its signatures.
///
/// The world enforces what any authenticated network does: a traitor sends in its own name only. What
/// others signed it may repeat and assemble anew, never alter; that is for the implementation.
pub trait Traitor<M: Machine>: Send + Sync {
    /// Everything that `me` could say next, to anyone, having seen `seen`: all that was ever sent to
    /// it. Must be finite, and must depend on nothing else. What changes nothing is not offered.
    fn lies(
        &self,
        me: NodeId,
        seen: &mut dyn Iterator<Item = &Letter<M::Message>>,
    ) -> Vec<(NodeId, M::Message)>;
}

/// What the adversary may do in a world.
pub(crate) struct Faults<M: Machine> {
    pub(crate) mortal: NodeSet,
    pub(crate) crashes: u32,
    pub(crate) disk: Disk,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) cut_budget: u32,
    pub(crate) traitors: NodeSet,
    pub(crate) lies: Option<Arc<dyn Traitor<M>>>,
}

/// Any state that a world goes on from; what lies beyond is cut off, and counted.
pub(crate) type Boundary<M, G> = Arc<dyn Fn(&Snapshot<M, G>) -> bool + Send + Sync>;

/// Whether a node is done with a message.
type Done<M> = Arc<dyn Fn(&Letter<<M as Machine>::Message>, &Node<M>) -> bool + Send + Sync>;

/// Whether an alarm rings in the calm alone: see [`World::rings_late`].
type Late<M> = Arc<dyn Fn(&<M as Machine>::Timer) -> bool + Send + Sync>;

/// What is taken for granted, in words, and of the past: see [`World::assuming`].
pub(crate) struct Assumption<G> {
    pub(crate) words: &'static str,
    pub(crate) holds: Arc<dyn Fn(&G) -> bool + Send + Sync>,
}

/// Which messages are dead: see [`World::purging`].
pub(crate) struct Dead<M: Machine> {
    pub(crate) sender: Done<M>,
    pub(crate) receiver: Done<M>,
}

/// Nodes, clients, an adversary, a ghost, and what is promised of them.
pub struct World<M: Machine, G: Ghost<M>> {
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) machines: Vec<M>,
    /// Where clients make their calls, but for those that have doors of their own.
    doors: NodeSet,
    own_doors: Vec<Option<NodeSet>>,
    pub(crate) scripts: Vec<Vec<M::Call>>,
    pub(crate) faults: Faults<M>,
    pub(crate) ghost: G,
    pub(crate) promises: Vec<Promise<M, G>>,
    pub(crate) boundary: Option<Boundary<M, G>>,
    pub(crate) dead: Option<Dead<M>>,
    /// Alarms that ring in the calm alone.
    pub(crate) late: Option<Late<M>>,
    /// Nodes that are alike, kind by kind: see [`World::symmetric`].
    pub(crate) alike: Vec<NodeSet>,
    pub(crate) never: Vec<&'static str>,
    /// What happened before it begins: see [`World::begins_after`].
    pub(crate) before: Vec<&'static str>,
    pub(crate) assumption: Option<Assumption<G>>,
    pub(crate) memory: Memory<M, G>,
}

/// The promise that holds in every world: no handler panics, whatever it is given.
pub const NO_PANIC: &str = "no machine panics";
/// The promise that holds in every world: [`Machine::holds`], of every state of every node.
pub const INVARIANTS: &str = "local invariants hold";

impl<M: Machine, G: Ghost<M>> World<M, G> {
    /// A world without clients and without faults but those of the network. Node *i* is `NodeId(i)`.
    ///
    /// # Panics
    ///
    /// If there are more than 64 machines.
    pub fn new(name: &str, machines: Vec<M>, ghost: G) -> Self {
        assert!(machines.len() <= 64, "a world has at most 64 nodes");
        let world = Self {
            name: name.into(),
            summary: String::new(),
            doors: NodeSet::first(machines.len()),
            own_doors: Vec::new(),
            machines,
            scripts: Vec::new(),
            faults: Faults {
                mortal: NodeSet::EMPTY,
                crashes: 0,
                disk: Disk::Honest,
                cuts: Vec::new(),
                cut_budget: 0,
                traitors: NodeSet::EMPTY,
                lies: None,
            },
            ghost,
            promises: Vec::new(),
            boundary: None,
            dead: None,
            late: None,
            alike: Vec::new(),
            never: Vec::new(),
            before: Vec::new(),
            assumption: None,
            memory: Memory::default(),
        };
        world
            .always_told(NO_PANIC, |told| {
                !matches!(told.broken, Some(broken) if matches!(broken.fault, Fault::Panic(_)))
            })
            .always_told(INVARIANTS, |told| {
                !matches!(told.broken, Some(broken) if broken.fault == Fault::Invariant)
            })
    }

    /// Says that something which could happen here never does, by its name in the
    /// [coverage](crate::engine::Fired): it is out of this world's bounds. Whatever else never fires
    /// is a surprise.
    #[must_use]
    pub fn never(mut self, what: &'static str) -> Self {
        self.never.push(what);
        self
    }

    /// Begins after these actions, each named by the start of its [sentence](crate::story::sentence): for
    /// promises of what is so once something is. Nothing is then known of what else could have happened
    /// meanwhile, and stories say what they begin after.
    #[must_use]
    pub fn begins_after(mut self, sentences: &[&'static str]) -> Self {
        self.before = sentences.to_vec();
        self
    }

    /// Takes for granted what promises rest on and no machine can bring about, such as how far clocks
    /// differ: what would make it false of the past does not happen here, but in a calm. What remains is
    /// exhausted, so the assumption is a part of what is claimed: stories say it, and without it something
    /// must fall.
    #[must_use]
    pub fn assuming(
        mut self,
        words: &'static str,
        holds: impl Fn(&G) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.assumption = Some(Assumption {
            words,
            holds: Arc::new(holds),
        });
        self
    }

    /// True if the past is as is assumed.
    pub(crate) fn is_assumed(&self, ghost: &G) -> bool {
        let assumption = self.assumption.as_ref();
        assumption.is_none_or(|assumption| (assumption.holds)(ghost))
    }

    /// Says in a sentence what this world is.
    #[must_use]
    pub fn says(mut self, summary: &str) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds a client that makes these calls, each after the one before has returned or was lost in a
    /// crash. The adversary chooses the node of each.
    ///
    /// # Panics
    ///
    /// If a ticket is used twice.
    #[must_use]
    pub fn client(mut self, calls: impl IntoIterator<Item = M::Call>) -> Self {
        self.scripts.push(calls.into_iter().collect());
        self.own_doors.push(None);
        let calls = self.scripts.iter().flatten();
        let tickets: Vec<u64> = calls.filter_map(|call| G::ticket(call)).collect();
        let distinct: BTreeSet<u64> = tickets.iter().copied().collect();
        assert_eq!(tickets.len(), distinct.len(), "two calls share a ticket");
        self
    }

    /// Adds a client that makes its calls at these nodes alone, whatever the doors of the world are.
    ///
    /// # Panics
    ///
    /// As [`World::client`].
    #[must_use]
    pub fn client_at(self, doors: NodeSet, calls: impl IntoIterator<Item = M::Call>) -> Self {
        let mut world = self.client(calls);
        if let Some(own) = world.own_doors.last_mut() {
            *own = Some(doors);
        }
        world
    }

    /// Where this client makes its calls: at no traitor.
    pub(crate) fn doors_of(&self, client: usize) -> NodeSet {
        let own = self.own_doors.get(client).copied().flatten();
        own.unwrap_or(self.doors).difference(self.faults.traitors)
    }

    /// Calls may be made at these nodes alone. Default: at all.
    #[must_use]
    pub fn doors(mut self, doors: NodeSet) -> Self {
        self.doors = doors;
        self
    }

    /// These nodes may crash, `crashes` times in all, and restart.
    #[must_use]
    pub fn crashes(mut self, mortal: NodeSet, crashes: u32) -> Self {
        self.faults.mortal = mortal;
        self.faults.crashes = crashes;
        self
    }

    /// What the disks are worth. Default: [`Disk::Honest`].
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.faults.disk = disk;
        self
    }

    /// The network may be cut in these ways, `budget` times in all, one at a time, and healed.
    #[must_use]
    pub fn cuts(mut self, cuts: Vec<Cut>, budget: u32) -> Self {
        self.faults.cuts = cuts;
        self.faults.cut_budget = budget;
        self
    }

    /// These nodes are the adversary's.
    #[must_use]
    pub fn traitors(mut self, traitors: NodeSet, lies: impl Traitor<M> + 'static) -> Self {
        self.faults.traitors = traitors;
        self.faults.lies = Some(Arc::new(lies));
        self
    }

    /// States of which this is false are not entered. How many were cut off is counted, and the
    /// verdict is then BOUNDED.
    #[must_use]
    pub fn within(
        mut self,
        boundary: impl Fn(&Snapshot<M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.boundary = Some(Arc::new(boundary));
        self
    }

    /// Forgets messages that are dead: those whose delivery changes nothing, now and for ever, but
    /// for sending others that are dead. A message is dead when both ends are done with it:
    /// `sender` is asked of the message and the node that sent it, `receiver` of the message and the
    /// node it is for.
    ///
    /// This is a reduction, and it is only as good as the two. [`crate::purge::obligations`] checks,
    /// in every state of the same world without it, that what is called dead is dead and stays so.
    #[must_use]
    pub fn purging(
        mut self,
        sender: impl Fn(&Letter<M::Message>, &Node<M>) -> bool + Send + Sync + 'static,
        receiver: impl Fn(&Letter<M::Message>, &Node<M>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.dead = Some(Dead {
            sender: Arc::new(sender),
            receiver: Arc::new(receiver),
        });
        self
    }

    /// These alarms ring in the calm alone, and never before.
    ///
    /// This takes schedules away from the adversary. It is for alarms at which a node only sends again
    /// what may arrive again anyhow, or asks for that: without them no state of the nodes is lost.
    #[must_use]
    pub fn rings_late(mut self, late: impl Fn(&M::Timer) -> bool + Send + Sync + 'static) -> Self {
        self.late = Some(Arc::new(late));
        self
    }

    /// True if the alarm may ring before the calm.
    pub(crate) fn may_ring(&self, timer: &M::Timer) -> bool {
        self.late.as_ref().is_none_or(|late| !late(timer))
    }

    /// Says that these nodes are alike: the engine then looks at one of each state's mirror images,
    /// which differ only in which of these nodes is which. May be said of several sets of nodes.
    ///
    /// This is a reduction, and it is only as good as what it says.
    /// [`crate::symmetry::obligations`] checks it, in every state of the same world without it.
    /// stateright's checkers take no notice of it.
    ///
    /// # Panics
    ///
    /// If one of the nodes is in such a set already, or there is no such node.
    #[must_use]
    pub fn symmetric(mut self, nodes: NodeSet) -> Self {
        let known = self.alike.iter().flat_map(|kind| kind.iter());
        let mut known: NodeSet = known.collect();
        assert!(
            nodes.iter().all(|node| known.insert(node)),
            "a node is of one kind"
        );
        let all = NodeSet::first(self.machines.len());
        assert!(
            nodes.is_subset(all),
            "{nodes} are not all nodes of this world"
        );
        self.alike.push(nodes);
        self
    }

    /// The same world with every mirror image of every state.
    #[must_use]
    pub fn asymmetric(mut self) -> Self {
        self.alike.clear();
        self
    }

    /// True if some nodes are said to be alike.
    pub fn is_symmetric(&self) -> bool {
        !self.alike.is_empty()
    }

    /// True if messages are forgotten once they are dead.
    pub fn is_purged(&self) -> bool {
        self.dead.is_some()
    }

    /// The same world with nothing forgotten.
    #[must_use]
    pub fn unpurged(mut self) -> Self {
        self.dead = None;
        self
    }

    /// Safety: true of every reachable state.
    #[must_use]
    pub fn always(
        self,
        name: &'static str,
        condition: impl Fn(&Snapshot<M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Always, Condition::Whole(Arc::new(condition)))
    }

    /// Safety of what was told: cheaper to check than [`World::always`], for it is asked once for
    /// each distinct ghost, not once for each state.
    #[must_use]
    pub fn always_told(
        self,
        name: &'static str,
        condition: impl Fn(&Told<'_, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Always, Condition::Told(Arc::new(condition)))
    }

    /// Safety of the nodes, whatever the messages: cheaper to check than [`World::always`].
    #[must_use]
    pub fn always_of_nodes(
        self,
        name: &'static str,
        condition: impl Fn(&[&Node<M>]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Always, Condition::Nodes(Arc::new(condition)))
    }

    /// Safety of all but the messages: cheaper to check than [`World::always`], for it is asked once
    /// for each distinct rest of a state.
    #[must_use]
    pub fn always_still(
        self,
        name: &'static str,
        condition: impl Fn(&Still<'_, M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Always, Condition::Still(Arc::new(condition)))
    }

    /// The world is not hollow: true of some reachable state.
    #[must_use]
    pub fn sometimes(
        self,
        name: &'static str,
        condition: impl Fn(&Snapshot<M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Sometimes, Condition::Whole(Arc::new(condition)))
    }

    /// The world is not hollow: true of what some reachable state was told.
    #[must_use]
    pub fn sometimes_told(
        self,
        name: &'static str,
        condition: impl Fn(&Told<'_, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Sometimes, Condition::Told(Arc::new(condition)))
    }

    /// The world is not hollow: true of all but the messages of some reachable state.
    #[must_use]
    pub fn sometimes_still(
        self,
        name: &'static str,
        condition: impl Fn(&Still<'_, M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.promise(name, Kind::Sometimes, Condition::Still(Arc::new(condition)))
    }

    /// From every reachable state, once the adversary retires, a calm schedule reaches `goal` before
    /// more than `rounds` alarms have rung. See [`crate::calm`] for what calm is.
    #[must_use]
    pub fn recovers(
        self,
        name: &'static str,
        rounds: u32,
        goal: impl Fn(&Snapshot<M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let goal = Condition::Whole(Arc::new(goal));
        self.promise(name, Kind::Recovers { rounds }, goal)
    }

    /// As [`World::recovers`], for a goal of the clients: much cheaper, for a calm that gets there
    /// depends neither on the ghost nor on what the adversary might have done.
    #[must_use]
    pub fn recovers_for_clients(
        self,
        name: &'static str,
        rounds: u32,
        goal: impl Fn(&[Client]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let goal = Condition::Clients(Arc::new(goal));
        self.promise(name, Kind::Recovers { rounds }, goal)
    }

    /// On every weakly fair run `goal` is reached, again and again: [`Kind::Eventually`]. Alarms that
    /// ring [late](World::rings_late) never ring in such a run.
    #[must_use]
    pub fn eventually(
        self,
        name: &'static str,
        goal: impl Fn(&Snapshot<M, G>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let goal = Condition::Whole(Arc::new(goal));
        self.promise(name, Kind::Eventually, goal)
    }

    /// As [`World::eventually`], for a goal of the clients: cheaper.
    #[must_use]
    pub fn eventually_for_clients(
        self,
        name: &'static str,
        goal: impl Fn(&[Client]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let goal = Condition::Clients(Arc::new(goal));
        self.promise(name, Kind::Eventually, goal)
    }

    fn promise(mut self, name: &'static str, kind: Kind, condition: Condition<M, G>) -> Self {
        assert!(
            self.promises.iter().all(|promise| promise.name != name),
            "two promises are called {name:?}"
        );
        self.promises.push(Promise {
            name,
            kind,
            condition,
        });
        self
    }

    /// Keeps these promises alone. A story is told of one promise, and nothing else stops it early.
    ///
    /// # Panics
    ///
    /// If a name is none of a promise.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        for name in names {
            assert!(
                self.promises.iter().any(|promise| promise.name == *name),
                "no promise of this world is called {name:?}"
            );
        }
        self.promises
            .retain(|promise| names.contains(&promise.name));
        self
    }

    /// Drops a promise that is not made here.
    #[must_use]
    pub fn except(mut self, name: &str) -> Self {
        self.promises.retain(|promise| promise.name != name);
        self
    }

    /// Computes everything anew at every state, so that nothing rests on content hashes. Slow: for
    /// audits.
    #[must_use]
    pub fn without_memory(mut self) -> Self {
        self.memory = Memory::disabled();
        self
    }

    /// Its name, unique within its protocol.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in a sentence.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// True if there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// The machine of a node.
    pub fn machine(&self, node: NodeId) -> Option<&M> {
        usize::try_from(node.0)
            .ok()
            .and_then(|i| self.machines.get(i))
    }

    /// What is promised.
    pub fn promises(&self) -> &[Promise<M, G>] {
        &self.promises
    }

    /// The call that a client is at, if its script is not at its end.
    pub fn call(&self, client: usize, at: Client) -> Option<&M::Call> {
        self.scripts.get(client)?.get(at.next as usize)
    }

    /// True if every call of every script was made, and has returned or was lost in a crash.
    pub fn is_finished(&self, snapshot: &Snapshot<M, G>) -> bool {
        let mut clients = snapshot.clients.iter().zip(&self.scripts);
        clients.all(|(client, script)| {
            client.waiting.is_none() && client.next as usize == script.len()
        })
    }

    /// What the promise says of this state: for `recovers`, whether the calm schedule gets there; for
    /// `eventually`, whether this is the goal.
    pub fn is_met(&self, promise: &Promise<M, G>, snapshot: &Snapshot<M, G>) -> bool {
        match promise.kind {
            Kind::Always | Kind::Sometimes | Kind::Eventually => promise.condition.of(snapshot),
            Kind::Recovers { rounds } => {
                calm::rounds(self, snapshot, rounds, &promise.condition).is_some()
            }
        }
    }

    /// The one state in which everything begins.
    ///
    /// # Panics
    ///
    /// If what it is to begin after cannot happen, or is not one action, or if the assumption is false from
    /// the start.
    pub fn initial(&self) -> Snapshot<M, G> {
        let mut snapshot = self.booted();
        let possible = self.is_assumed(&snapshot.ghost);
        assert!(possible, "what is assumed is false from the start");
        for begins in &self.before {
            let mut found = Vec::new();
            self.each_action(&snapshot, |action| {
                if story::sentence(self, &action).starts_with(begins) {
                    found.push(action);
                }
            });
            let [action] = found.as_slice() else {
                panic!("{} actions begin with {begins:?}", found.len());
            };
            let next = self.apply(&snapshot, action);
            snapshot = next.unwrap_or_else(|| panic!("{begins:?} changes nothing"));
        }
        snapshot
    }

    /// All nodes have booted, and nothing else happened.
    fn booted(&self) -> Snapshot<M, G> {
        let ids = (0..self.machines.len() as u64).map(NodeId);
        let traitors = self.faults.traitors;
        let asleep = |id| {
            if traitors.contains(id) {
                Node::Traitor
            } else {
                Node::Down {
                    durable: M::Durable::default(),
                    unflushed: Vec::new(),
                }
            }
        };
        let idle = Client {
            next: 0,
            waiting: None,
        };
        let mut snapshot = Snapshot {
            nodes: ids.clone().map(|id| Shared::new(asleep(id))).collect(),
            network: Shared::new(Letters::<M>::new()),
            clients: self.scripts.iter().map(|_| idle).collect(),
            ghost: Shared::new(self.ghost.clone()),
            adversary: Adversary {
                crashes: self.faults.crashes,
                cuts: self.faults.cut_budget,
                cut: None,
            },
            broken: None,
        };
        for id in ids.filter(|id| !traitors.contains(*id)) {
            let occurrence = Occurrence::Boot { lost: 0 };
            if let Some(next) = self.happen(&snapshot, id, &occurrence) {
                snapshot = next;
            }
        }
        snapshot
    }

    /// The state after `action`, or nothing if the action changes nothing or cannot happen.
    pub fn apply(&self, last: &Snapshot<M, G>, action: &Action<M>) -> Option<Snapshot<M, G>> {
        self.follow(last, action)
            .filter(|next| self.is_assumed(&next.ghost))
    }

    /// The same, whatever is assumed.
    pub(crate) fn follow(
        &self,
        last: &Snapshot<M, G>,
        action: &Action<M>,
    ) -> Option<Snapshot<M, G>> {
        if last.broken.is_some() {
            return None;
        }
        match action {
            Action::Call { client, node } => self.make_call(last, *client, *node),
            Action::Deliver(letter) | Action::Lie(letter) => {
                self.happen(last, letter.to, &Occurrence::Letter(letter))
            }
            Action::Ring { node, timer } => self.happen(last, *node, &Occurrence::Timer(timer)),
            Action::Crash(node) => self.crash(last, *node),
            Action::Restart { node, lost } => {
                self.happen(last, *node, &Occurrence::Boot { lost: *lost })
            }
            Action::Cut(cut) => {
                let mut next = last.clone();
                next.adversary.cuts = next.adversary.cuts.checked_sub(1)?;
                next.adversary.cut = Some(*cut);
                Some(next)
            }
            Action::Heal => {
                let mut next = last.clone();
                next.adversary.cut = None;
                Some(next)
            }
        }
    }

    fn make_call(
        &self,
        last: &Snapshot<M, G>,
        client: usize,
        node: NodeId,
    ) -> Option<Snapshot<M, G>> {
        let call = self.call(client, *last.clients.get(client)?)?;
        let mut next = last.clone();
        self.ask(&mut next, client, node);
        match self.happen(&next, node, &Occurrence::Call(call)) {
            Some(after) => Some(after),
            None => Some(next),
        }
    }

    /// A client asks: what becomes of it, and of the ghost. Nodes and messages are not looked at.
    pub(crate) fn ask(&self, next: &mut Snapshot<M, G>, client: usize, node: NodeId) {
        if let Some(call) = self.call(client, next.clients[client]) {
            self.wait(&mut next.clients, client, node);
            next.ghost = self.memory.on_call(&next.ghost, client, node, call);
        }
    }

    /// What becomes of a client that asks: it waits, if its call is one that returns.
    pub(crate) fn wait(&self, clients: &mut [Client], client: usize, node: NodeId) {
        let at = clients[client];
        let returns = self
            .call(client, at)
            .is_some_and(|call| G::ticket(call).is_some());
        if returns {
            clients[client].waiting = Some(node);
        } else {
            // No reply will name it: the client goes on at once.
            clients[client].next += 1;
        }
    }

    fn crash(&self, last: &Snapshot<M, G>, node: NodeId) -> Option<Snapshot<M, G>> {
        let index = usize::try_from(node.0).ok()?;
        let crashed = last.nodes.get(index)?.crashed()?;
        let mut next = last.clone();
        next.nodes[index] = Shared::new(crashed);
        self.bury(&mut next, node)?;
        self.purge(&mut next, node);
        Some(next)
    }

    /// A node crashed: what becomes of the clients, of the ghost and of the budget, if there is one.
    pub(crate) fn bury(&self, next: &mut Snapshot<M, G>, node: NodeId) -> Option<()> {
        next.adversary.crashes = next.adversary.crashes.checked_sub(1)?;
        for client in &mut next.clients {
            if client.waiting == Some(node) {
                // It will not hear of this call: it gives up waiting, and the outcome is unknown.
                client.waiting = None;
                client.next += 1;
            }
        }
        next.ghost = self.memory.on_crash(&next.ghost, node);
        Some(())
    }

    /// Forgets what is dead, now that `changed` is what it is.
    fn purge(&self, next: &mut Snapshot<M, G>, changed: NodeId) {
        if self.dead.is_none() {
            return;
        }
        let is_dead = |letter: &&Shared<Letter<M::Message>>| {
            (letter.from == changed || letter.to == changed) && self.is_dead(next, letter)
        };
        if next.network.iter().any(|letter| is_dead(&letter)) {
            let alive = next.network.iter().filter(|letter| !is_dead(letter));
            next.network = Shared::new(alive.cloned().collect());
        }
    }

    /// True if the world forgets this message in this state.
    pub(crate) fn is_dead(&self, snapshot: &Snapshot<M, G>, letter: &Letter<M::Message>) -> bool {
        let (Some(dead), Some(from), Some(to)) = (
            &self.dead,
            snapshot.node(letter.from),
            snapshot.node(letter.to),
        ) else {
            return false;
        };
        (dead.receiver)(letter, to) && (dead.sender)(letter, from)
    }

    /// Something happens at one node, and its consequences spread.
    pub(crate) fn happen(
        &self,
        last: &Snapshot<M, G>,
        node: NodeId,
        occurrence: &Occurrence<'_, M>,
    ) -> Option<Snapshot<M, G>> {
        let index = usize::try_from(node.0).ok()?;
        let before = last.nodes.get(index)?;
        let machine = &self.machines[index];
        let disk = self.faults.disk;
        let effect = self
            .memory
            .busy_effect(machine, disk, node, before, occurrence)?;
        let Effect {
            after,
            sent,
            events,
            broken,
            ..
        } = &*effect;
        let unsent = |letter: &&Shared<Letter<M::Message>>| {
            letter.to.0 < self.machines.len() as u64 && last.network.binary_search(letter).is_err()
        };
        let new: Vec<_> = sent.iter().filter(unsent).cloned().collect();
        let idle = events.is_empty() && broken.is_none() && after == before;
        if new.is_empty() && idle {
            return None;
        }
        let mut next = last.clone();
        next.nodes[index] = after.clone();
        if !new.is_empty() {
            next.network = Shared::new(merge(&last.network, new));
        }
        self.purge(&mut next, node);
        if idle && next.network == last.network {
            return None; // What it sent was dead on arrival.
        }
        self.tell(&mut next, node, events, broken.as_ref());
        Some(next)
    }

    /// A node told something: what becomes of the clients and of the ghost.
    pub(crate) fn tell(
        &self,
        next: &mut Snapshot<M, G>,
        node: NodeId,
        events: &[M::Event],
        broken: Option<&Shared<Broken>>,
    ) {
        next.broken = broken.cloned();
        for event in events {
            next.ghost = self.memory.on_event(&next.ghost, node, event);
            self.finish(&mut next.clients, node, event);
        }
    }

    /// The client whose call this event finishes goes on to its next one.
    pub(crate) fn finish(&self, clients: &mut [Client], node: NodeId, event: &M::Event) {
        let Some(ticket) = G::finished(event) else {
            return;
        };
        for (index, client) in clients.iter_mut().enumerate() {
            let call = self.scripts[index].get(client.next as usize);
            if client.waiting == Some(node) && call.and_then(|call| G::ticket(call)) == Some(ticket)
            {
                client.waiting = None;
                client.next += 1;
            }
        }
    }

    /// What nodes tell when `action` happens in `last`.
    pub fn events(&self, last: &Snapshot<M, G>, action: &Action<M>) -> Vec<(NodeId, M::Event)> {
        let call;
        let (node, occurrence) = match action {
            Action::Call { client, node } => {
                let at = last.clients.get(*client);
                let Some(asked) = at.and_then(|at| self.call(*client, *at)) else {
                    return Vec::new();
                };
                call = asked.clone();
                (*node, Occurrence::Call(&call))
            }
            Action::Deliver(letter) | Action::Lie(letter) => {
                (letter.to, Occurrence::Letter(letter))
            }
            Action::Ring { node, timer } => (*node, Occurrence::Timer(timer)),
            Action::Restart { node, lost } => (*node, Occurrence::Boot { lost: *lost }),
            Action::Crash(_) | Action::Cut(_) | Action::Heal => return Vec::new(),
        };
        let (Some(machine), Some(before)) = (self.machine(node), last.node(node)) else {
            return Vec::new();
        };
        let disk = self.faults.disk;
        let effect = self.memory.effect(machine, disk, node, before, &occurrence);
        let events = effect.map(|effect| effect.events.clone());
        events
            .into_iter()
            .flatten()
            .map(|event| (node, event))
            .collect()
    }

    /// Calls `visit` with everything that may happen next, in a fixed order. Some of it may change
    /// nothing: then [`World::apply`] says so.
    pub fn each_action(&self, last: &Snapshot<M, G>, mut visit: impl FnMut(Action<M>)) {
        self.offer(last, &mut visit);
    }

    fn offer(&self, last: &Snapshot<M, G>, visit: &mut dyn FnMut(Action<M>)) {
        if last.broken.is_some() {
            return;
        }
        for (client, at) in last.clients.iter().enumerate() {
            if at.waiting.is_some() || self.call(client, *at).is_none() {
                continue;
            }
            let doors = self.doors_of(client);
            for (node, _) in last.running().filter(|(node, _)| doors.contains(*node)) {
                visit(Action::Call { client, node });
            }
        }
        let cut = last.adversary.cut.and_then(|cut| self.faults.cuts.get(cut));
        for letter in last.network.iter() {
            let arrives = cut.is_none_or(|cut| !cut.blocks(letter.from, letter.to));
            if arrives && last.node(letter.to).is_some_and(|node| node.up().is_some()) {
                visit(Action::Deliver(letter.clone()));
            }
        }
        for (node, content) in (0..).map(NodeId).zip(&last.nodes) {
            for timer in content.armed().iter().filter(|timer| self.may_ring(timer)) {
                let timer = timer.clone();
                visit(Action::Ring { node, timer });
            }
        }
        self.each_fault(last, visit);
    }

    fn each_fault(&self, last: &Snapshot<M, G>, visit: &mut dyn FnMut(Action<M>)) {
        for (node, content) in (0..).map(NodeId).zip(&last.nodes) {
            match &**content {
                Node::Up { .. } => {
                    if last.adversary.crashes > 0 && self.faults.mortal.contains(node) {
                        visit(Action::Crash(node));
                    }
                }
                Node::Down { unflushed, .. } => {
                    for lost in 0..=unflushed.len() {
                        visit(Action::Restart { node, lost });
                    }
                }
                Node::Traitor => {}
            }
        }
        match last.adversary.cut {
            Some(_) => visit(Action::Heal),
            None if last.adversary.cuts > 0 => {
                for cut in 0..self.faults.cuts.len() {
                    visit(Action::Cut(cut));
                }
            }
            None => {}
        }
        let Some(traitor) = &self.faults.lies else {
            return;
        };
        let cut = last.adversary.cut.and_then(|cut| self.faults.cuts.get(cut));
        for from in self.faults.traitors {
            let letters = last.network.iter().map(|letter| &**letter);
            let mut seen = letters.filter(|letter| letter.to == from);
            for (to, message) in traitor.lies(from, &mut seen) {
                if cut.is_none_or(|cut| !cut.blocks(from, to)) {
                    visit(Action::Lie(Shared::new(Letter { to, from, message })));
                }
            }
        }
    }
}

/// Puts `new`, of which one may be there twice, among the sorted `old`.
fn merge<T: Ord + Clone>(old: &[T], mut new: Vec<T>) -> Vec<T> {
    new.sort_unstable();
    new.dedup();
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let mut rest = old;
    for item in new {
        let place = rest.partition_point(|other| *other < item);
        merged.extend_from_slice(&rest[..place]);
        merged.push(item);
        rest = &rest[place..];
    }
    merged.extend_from_slice(rest);
    merged
}

/// The name and the kind of each promise.
pub(crate) fn kinds<M: Machine, G: Ghost<M>>(
    promises: &[Promise<M, G>],
) -> Vec<(&'static str, Kind)> {
    let promises = promises.iter();
    promises
        .map(|promise| (promise.name, promise.kind))
        .collect()
}

impl<M: Machine, G: Ghost<M>> Promising for World<M, G> {
    fn keeps(&self, place: usize, snapshot: &Snapshot<M, G>) -> bool {
        self.is_met(&self.promises[place], snapshot)
    }
}

impl<M: Machine, G: Ghost<M>> Model for World<M, G> {
    type State = Snapshot<M, G>;
    type Action = Action<M>;

    fn init_states(&self) -> Vec<Self::State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        self.each_action(state, |action| actions.push(action));
    }

    fn next_state(&self, last: &Self::State, action: Self::Action) -> Option<Self::State> {
        self.apply(last, &action)
    }

    fn format_action(&self, action: &Self::Action) -> String {
        story::sentence(self, action)
    }

    fn format_step(&self, last: &Self::State, action: Self::Action) -> Option<String> {
        let next = self.apply(last, &action)?;
        Some(story::difference(self, last, &next))
    }

    fn as_svg(&self, path: Path<Self::State, Self::Action>) -> Option<String> {
        Some(diagram::svg(self, &path.into_vec()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties(&kinds(&self.promises))
    }

    fn within_boundary(&self, state: &Self::State) -> bool {
        self.boundary.as_ref().is_none_or(|within| within(state))
    }
}
