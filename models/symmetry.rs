//! Nodes that are alike: states that differ only in which of them is which are one.
//!
//! If a world treats some nodes alike, then each of its states has mirror images, one for each way of
//! renaming those nodes, and what can happen in one can happen in all. It is enough to look at one of
//! each kind. A world says which nodes are alike ([`World::symmetric`]); that is true if renaming
//! commutes with everything that happens, which [`obligations`] checks exhaustively, in the same world
//! with no state left out.
//!
//! # How a value is renamed
//!
//! What travels and what is remembered are [`Value`]s, so they have an encoding, and an encoding says
//! where a [`NodeId`] or a [`NodeSet`] is. A value is renamed in that form: every node id in it, every
//! member of every set, and the keys of maps, which are sorted again. So no protocol has code for it.
//! What a protocol must not do is hide an id in a bare number, or keep a sorted list where it means a
//! set; the obligations find that out.
//!
//! The idea is Ip and Dill's, *Better Verification Through Symmetry* (CHDL 1993), whose scalar sets
//! are node ids here.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, State, Value};
use serde_content::{Data, Deserializer, Number, Serializer};
use stateright::Model as _;

use crate::action::{Action, Cut};
use crate::audit::visit;
use crate::engine::{Options, search, unwatched};
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::shared::{Shared, fingerprint};
use crate::snapshot::{Broken, Client, Letter, Node, Snapshot};
use crate::world::World;

type Content = serde_content::Value<'static>;

/// New names for the nodes of a world: each gets one, and no two the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Renaming(Vec<NodeId>);

impl Renaming {
    /// Node *i* is called `names[i]` from now on. Strangers keep their names.
    ///
    /// # Panics
    ///
    /// If two nodes get one name, or a node the name of a stranger.
    pub fn new(names: Vec<NodeId>) -> Self {
        let distinct: NodeSet = names.iter().copied().collect();
        assert_eq!(
            distinct,
            NodeSet::first(names.len()),
            "every node gets a name of its own"
        );
        Self(names)
    }

    /// Two of `count` nodes change names.
    pub fn swap(count: usize, one: NodeId, other: NodeId) -> Self {
        let swapped = |id| match id {
            id if id == one => other,
            id if id == other => one,
            id => id,
        };
        Self::new(NodeSet::first(count).iter().map(swapped).collect())
    }

    /// The new name of a node.
    pub fn node(&self, id: NodeId) -> NodeId {
        let place = usize::try_from(id.0).unwrap_or(usize::MAX);
        self.0.get(place).copied().unwrap_or(id)
    }

    /// The new names of a set of nodes.
    pub fn set(&self, nodes: NodeSet) -> NodeSet {
        nodes.iter().map(|id| self.node(id)).collect()
    }

    /// A value in which every node has its new name.
    ///
    /// # Panics
    ///
    /// If the value does not survive its own encoding.
    pub fn value<T: Value>(&self, value: &T) -> T {
        let mut content = content(value);
        if self.rename(&mut content) {
            let renamed = Deserializer::new(content).deserialize();
            renamed.expect("a value has an encoding that gives it back")
        } else {
            value.clone()
        }
    }

    /// Renames every node in `content`. False if there is none that gets another name.
    fn rename(&self, content: &mut Content) -> bool {
        if let Some(id) = node_id(content) {
            return match self.node(id) {
                same if same == id => false,
                new => set_number(content, new.0),
            };
        }
        if let Some(set) = node_set(content) {
            return match self.set(set) {
                same if same == set => false,
                new => set_number(content, bits(new)),
            };
        }
        let mut changed = false;
        match content {
            Content::Seq(values) | Content::Tuple(values) => {
                for value in values {
                    changed |= self.rename(value);
                }
            }
            Content::Map(entries) => {
                let mut moved = false;
                for (key, value) in &mut *entries {
                    moved |= self.rename(key);
                    changed |= self.rename(value);
                }
                if moved {
                    let by_key = |a: &(Content, Content), b: &(Content, Content)| {
                        a.0.partial_cmp(&b.0).expect("keys have an order")
                    };
                    entries.sort_by(by_key);
                }
                changed |= moved;
            }
            Content::Option(Some(value)) => changed = self.rename(value),
            Content::Struct(value) => changed = self.rename_data(&mut value.data),
            Content::Enum(value) => changed = self.rename_data(&mut value.data),
            Content::Option(None)
            | Content::Unit
            | Content::Bool(_)
            | Content::Number(_)
            | Content::Char(_)
            | Content::String(_)
            | Content::Bytes(_) => {}
        }
        changed
    }

    fn rename_data(&self, data: &mut Data<'static>) -> bool {
        let mut changed = false;
        match data {
            Data::Unit => {}
            Data::NewType { value } => changed = self.rename(value),
            Data::Tuple { values } => {
                for value in values {
                    changed |= self.rename(value);
                }
            }
            Data::Struct { fields } => {
                for (_, value) in fields {
                    changed |= self.rename(value);
                }
            }
        }
        changed
    }

    // What a world is made of.

    /// A node, by whatever name it goes itself.
    pub fn content<M: Machine>(&self, node: &Node<M>) -> Node<M> {
        let disks = |disks: &[M::Durable]| disks.iter().map(|disk| self.value(disk)).collect();
        match node {
            Node::Up {
                state,
                armed,
                unflushed,
            } => {
                let mut armed: Vec<M::Timer> = armed.iter().map(|t| self.value(t)).collect();
                armed.sort_unstable();
                Node::Up {
                    state: State {
                        durable: self.value(&state.durable),
                        volatile: self.value(&state.volatile),
                    },
                    armed,
                    unflushed: disks(unflushed),
                }
            }
            Node::Down { durable, unflushed } => Node::Down {
                durable: self.value(durable),
                unflushed: disks(unflushed),
            },
            Node::Traitor => Node::Traitor,
        }
    }

    /// A message.
    pub fn letter<T: Value>(&self, letter: &Letter<T>) -> Letter<T> {
        Letter {
            to: self.node(letter.to),
            from: self.node(letter.from),
            message: self.value(&letter.message),
        }
    }

    /// A whole state: the nodes change places.
    pub fn snapshot<M: Machine, G: Ghost<M>>(
        &self,
        world: &World<M, G>,
        state: &Snapshot<M, G>,
    ) -> Snapshot<M, G> {
        let mut nodes = state.nodes.clone();
        for (id, node) in (0..).map(NodeId).zip(&state.nodes) {
            let place = usize::try_from(self.node(id).0).expect("a node of this world");
            nodes[place] = Shared::new(self.content(node));
        }
        let letters = state.network.iter();
        let mut letters: Vec<_> = letters
            .map(|letter| Shared::new(self.letter(letter)))
            .collect();
        letters.sort_unstable();
        let mut adversary = state.adversary;
        adversary.cut = adversary.cut.map(|cut| self.cut(world, cut));
        let clients = state.clients.iter().map(|client| Client {
            waiting: client.waiting.map(|node| self.node(node)),
            ..*client
        });
        Snapshot {
            nodes,
            network: Shared::new(letters),
            clients: clients.collect(),
            ghost: Shared::new(state.ghost.renamed(self)),
            adversary,
            broken: state.broken.as_ref().map(|broken| {
                Shared::new(Broken {
                    node: self.node(broken.node),
                    // The words of a panic may name nodes, and nothing says where.
                    fault: broken.fault.clone(),
                })
            }),
        }
    }

    /// The cut that is to the renamed nodes what `cut` is to them.
    ///
    /// # Panics
    ///
    /// If the world does not list it.
    fn cut<M: Machine, G: Ghost<M>>(&self, world: &World<M, G>, cut: usize) -> usize {
        let cuts = &world.faults.cuts;
        let all = || NodeSet::first(world.len()).iter();
        let blocks = |cut: &Cut, from, to| cut.blocks(from, to);
        let is = |other: &Cut| {
            all().all(|from| {
                all().all(|to| {
                    blocks(&cuts[cut], from, to) == other.blocks(self.node(from), self.node(to))
                })
            })
        };
        (cuts.iter().position(is)).expect("the list of cuts has every mirror image of each")
    }

    fn action<M: Machine, G: Ghost<M>>(
        &self,
        world: &World<M, G>,
        action: &Action<M>,
    ) -> Action<M> {
        let letter =
            |letter: &Shared<Letter<M::Message>>| Shared::new(self.letter::<M::Message>(letter));
        match action {
            Action::Call { client, node } => Action::Call {
                client: *client,
                node: self.node(*node),
            },
            Action::Deliver(sent) => Action::Deliver(letter(sent)),
            Action::Ring { node, timer } => Action::Ring {
                node: self.node(*node),
                timer: self.value(timer),
            },
            Action::Crash(node) => Action::Crash(self.node(*node)),
            Action::Restart { node, lost } => Action::Restart {
                node: self.node(*node),
                lost: *lost,
            },
            Action::Cut(cut) => Action::Cut(self.cut(world, *cut)),
            Action::Heal => Action::Heal,
            Action::Lie(said) => Action::Lie(letter(said)),
        }
    }
}

/// The encoding of a value, as a tree.
fn content<T: Value>(value: &T) -> Content {
    let content = Serializer::new().serialize(value);
    content.expect("a value has an encoding").into_owned()
}

/// The number inside a struct of this name that is nothing else.
fn number(content: &Content, name: &str) -> Option<u64> {
    let Content::Struct(value) = content else {
        return None;
    };
    match &value.data {
        Data::NewType {
            value: Content::Number(Number::U64(number)),
        } if value.name == name => Some(*number),
        Data::NewType { .. } | Data::Unit | Data::Tuple { .. } | Data::Struct { .. } => None,
    }
}

fn node_id(content: &Content) -> Option<NodeId> {
    number(content, "NodeId").map(NodeId)
}

fn node_set(content: &Content) -> Option<NodeSet> {
    let bits = number(content, "NodeSet")?;
    let members = (0..64).filter(|bit| bits >> bit & 1 == 1).map(NodeId);
    Some(members.collect())
}

fn bits(set: NodeSet) -> u64 {
    set.iter().fold(0, |bits, id| bits | 1 << id.0)
}

/// Puts a number in place of the one inside. Always true.
fn set_number(content: &mut Content, number: u64) -> bool {
    if let Content::Struct(value) = content {
        value.data = Data::NewType {
            value: Content::Number(Number::U64(number)),
        };
    }
    true
}

/// What a value looks like to one of the nodes that are alike: a hash in which that node is *me*,
/// each of the others *one of my kind*, and the rest themselves. Renaming nodes of a kind moves looks
/// along with them, and changes none.
pub(crate) struct Look<'a> {
    /// The nodes that are alike, kind by kind.
    pub(crate) kinds: &'a [NodeSet],
    /// To whom.
    pub(crate) me: NodeId,
}

impl Look<'_> {
    /// Of a node in its place.
    pub(crate) fn of_node<M: Machine>(&self, place: NodeId, node: &Node<M>) -> u64 {
        let (kind, state, armed, unflushed) = match node {
            Node::Up {
                state,
                armed,
                unflushed,
            } => (0, Some(state), &**armed, &**unflushed),
            Node::Down { durable, unflushed } => {
                let looks = (1, self.of_id(place), self.of(durable));
                return fingerprint(&(looks, self.of_all(unflushed)));
            }
            Node::Traitor => (2, None, &[][..], &[][..]),
        };
        let state = state.map(|state| (self.of(&state.durable), self.of(&state.volatile)));
        // The order of the alarms is that of their names.
        let armed = (armed.iter()).fold(0, |sum: u64, timer| sum.wrapping_add(self.of(timer)));
        fingerprint(&(
            kind,
            self.of_id(place),
            state,
            armed,
            self.of_all(unflushed),
        ))
    }

    /// Of a message.
    pub(crate) fn of_letter<T: Value>(&self, letter: &Letter<T>) -> u64 {
        let (from, to) = (self.of_id(letter.from), self.of_id(letter.to));
        fingerprint(&(3, from, to, self.of(&letter.message)))
    }

    /// Of clients and of a mistake, if there was one. What else was told looks alike to all.
    pub(crate) fn of_clients(&self, clients: &[Client], broken: Option<&Broken>) -> u64 {
        let waiting = clients
            .iter()
            .map(|client| client.waiting.map(|node| self.of_id(node)));
        let broken = broken.map(|broken| self.of_id(broken.node));
        fingerprint(&(4, waiting.collect::<Vec<_>>(), broken))
    }

    fn of_all<T: Value>(&self, values: &[T]) -> Vec<u64> {
        values.iter().map(|value| self.of(value)).collect()
    }

    fn of<T: Value>(&self, value: &T) -> u64 {
        self.of_content(&content(value))
    }

    fn of_id(&self, id: NodeId) -> u64 {
        if id == self.me {
            return u64::MAX;
        }
        match self.kinds.iter().position(|kind| kind.contains(id)) {
            Some(kind) => u64::MAX - 1 - kind as u64,
            None => id.0,
        }
    }

    fn of_set(&self, set: NodeSet) -> u64 {
        let alike = self.kinds.iter().map(|kind| {
            let here: NodeSet = kind.iter().filter(|id| set.contains(*id)).collect();
            here.len()
        });
        let others = (self.kinds.iter()).fold(set, |rest, kind| rest.difference(*kind));
        let alike: Vec<usize> = alike.collect();
        fingerprint(&(set.contains(self.me), alike, bits(others)))
    }

    fn of_content(&self, content: &Content) -> u64 {
        let mut hasher = crate::shared::hasher();
        self.put(content, &mut hasher);
        hasher.finish()
    }

    fn put(&self, content: &Content, into: &mut impl Hasher) {
        if let Some(id) = node_id(content) {
            return self.of_id(id).hash(into);
        }
        if let Some(set) = node_set(content) {
            return self.of_set(set).hash(into);
        }
        std::mem::discriminant(content).hash(into);
        match content {
            Content::Unit | Content::Option(None) => {}
            Content::Bool(value) => value.hash(into),
            Content::Number(number) => put_number(*number, into),
            Content::Char(value) => value.hash(into),
            Content::String(value) => value.hash(into),
            Content::Bytes(value) => value.hash(into),
            Content::Seq(values) | Content::Tuple(values) => self.put_all(values, into),
            Content::Map(entries) => {
                // Their order is that of the names.
                let entry = |(key, value): &(Content, Content)| {
                    fingerprint(&(self.of_content(key), self.of_content(value)))
                };
                let sum = entries.iter().map(entry).fold(0, u64::wrapping_add);
                (entries.len(), sum).hash(into);
            }
            Content::Option(Some(value)) => self.put(value, into),
            Content::Struct(value) => self.put_data(&value.data, into),
            Content::Enum(value) => {
                value.variant_index.hash(into);
                self.put_data(&value.data, into);
            }
        }
    }

    fn put_all(&self, values: &[Content], into: &mut impl Hasher) {
        values.len().hash(into);
        for value in values {
            self.put(value, into);
        }
    }

    fn put_data(&self, data: &Data<'static>, into: &mut impl Hasher) {
        match data {
            Data::Unit => {}
            Data::NewType { value } => self.put(value, into),
            Data::Tuple { values } => self.put_all(values, into),
            Data::Struct { fields } => {
                for (_, value) in fields {
                    self.put(value, into);
                }
            }
        }
    }
}

fn put_number(number: Number, into: &mut impl Hasher) {
    if let Number::U64(number) = number {
        number.hash(into);
    } else if let Number::U32(number) = number {
        number.hash(into);
    } else {
        format!("{number:?}").hash(into);
    }
}

/// How often each obligation was discharged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discharged {
    /// States of the world with none left out.
    pub states: usize,
    /// Something happened in a state, and its mirror image in the mirror image.
    pub mirrored: usize,
    /// A promise said the same of a state and of its mirror image.
    pub promised: usize,
    /// States that are no mirror images of each other: as many as the reduced world has.
    pub reduced: usize,
}

/// Checks what [`World::symmetric`] owes, in every state that the world has when no mirror image is
/// left out: swapping two nodes that are alike commutes with everything that can happen, and changes
/// nothing of what the promises say. Swaps of neighbours are enough, for all renamings are made of
/// them.
///
/// Of `recovers` it is not asked: the calm of a mirror image is the mirror image of the calm.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations<M: Machine, G: Ghost<M>>(
    make: impl Fn() -> World<M, G>,
) -> Result<Discharged, String> {
    let reduced = make();
    let world = make().asymmetric();
    let swaps = swaps(world.len(), &reduced.alike);
    let mut done = Discharged::default();
    for swap in &swaps {
        let initial = world.initial();
        if swap.snapshot(&world, &initial) != initial {
            return Err("the initial state is not its own mirror image".to_owned());
        }
    }
    let seen = visit(&world, |state, successors| {
        for swap in &swaps {
            mirrors(&world, swap, state, successors, &mut done)?;
        }
        Ok(())
    })?;
    done.states = seen.len();
    let mut counted = HashSet::new();
    for state in &seen {
        if !counted.contains(state) {
            done.reduced += 1;
            counted.extend(images(&world, &swaps, state));
        }
    }
    let found = search(&reduced, Options::default(), &mut unwatched).unique;
    if found == done.reduced {
        Ok(done)
    } else {
        Err(format!(
            "{} states are no mirror images of each other, but the reduced world has {found}",
            done.reduced
        ))
    }
}

/// Swaps of neighbours among nodes that are alike.
pub(crate) fn swaps(count: usize, kinds: &[NodeSet]) -> Vec<Renaming> {
    let mut swaps = Vec::new();
    for kind in kinds {
        let members: Vec<NodeId> = kind.iter().collect();
        let pairs = members.windows(2);
        swaps.extend(pairs.map(|pair| Renaming::swap(count, pair[0], pair[1])));
    }
    swaps
}

/// Every mirror image of a state, and the state.
pub(crate) fn images<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    swaps: &[Renaming],
    state: &Snapshot<M, G>,
) -> HashSet<Snapshot<M, G>> {
    let mut images = HashSet::from([state.clone()]);
    let mut waiting = vec![state.clone()];
    while let Some(last) = waiting.pop() {
        for swap in swaps {
            let image = swap.snapshot(world, &last);
            if images.insert(image.clone()) {
                waiting.push(image);
            }
        }
    }
    images
}

fn mirrors<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    swap: &Renaming,
    state: &Snapshot<M, G>,
    successors: &[(Action<M>, Snapshot<M, G>)],
    done: &mut Discharged,
) -> Result<(), String> {
    let image = swap.snapshot(world, state);
    let mut found = Vec::new();
    world.each_action(&image, |action| {
        if let Some(next) = world.apply(&image, &action) {
            found.push((action, next));
        }
    });
    if found.len() != successors.len() {
        return Err(format!(
            "{} things can happen in {state:?}, and {} in its mirror image",
            successors.len(),
            found.len()
        ));
    }
    for (action, next) in successors {
        let expected = (swap.action(world, action), swap.snapshot(world, next));
        if !found.contains(&expected) {
            return Err(format!(
                "{action:?} in {state:?} has no mirror image that ends in that of {next:?}"
            ));
        }
        done.mirrored += 1;
    }
    for promise in world.promises() {
        if matches!(promise.kind, Kind::Recovers { .. }) {
            continue;
        }
        if world.is_met(promise, state) != world.is_met(promise, &image) {
            return Err(format!(
                "{:?} says one thing of {state:?} and another of its mirror image",
                promise.name
            ));
        }
        done.promised += 1;
    }
    if world.within_boundary(state) != world.within_boundary(&image) {
        return Err(format!(
            "{state:?} is on one side of the boundary, and its mirror image on the other"
        ));
    }
    Ok(())
}
