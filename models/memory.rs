//! What a world remembers: each distinct step of a node and each distinct fold of a ghost, once.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once, PoisonError, RwLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use quorate::machine::{self, Input, Machine, NodeId, Output, State, Step};

use crate::ghost::Ghost;
use crate::shared::{Shared, fingerprint};
use crate::snapshot::{Broken, Fault, Letter, Node};
use crate::world::Disk;

/// Something that happens at one node.
pub(crate) enum Occurrence<'a, M: Machine> {
    /// It starts from its disk, less this many of the last writes.
    Boot { lost: usize },
    /// The application asks.
    Call(&'a M::Call),
    /// A message arrives.
    Letter(&'a Shared<Letter<M::Message>>),
    /// An alarm rings.
    Timer(&'a M::Timer),
}

impl<M: Machine> Occurrence<'_, M> {
    fn fingerprint(&self) -> u64 {
        match self {
            Self::Boot { lost } => fingerprint(&(0_u8, *lost as u64)),
            Self::Call(call) => fingerprint(&(1_u8, call)),
            Self::Letter(letter) => letter.fingerprint(),
            Self::Timer(timer) => fingerprint(&(2_u8, timer)),
        }
    }
}

/// What one occurrence makes of one node.
pub(crate) struct Effect<M: Machine> {
    /// The node after it.
    pub(crate) after: Shared<Node<M>>,
    /// What it sent, in order.
    pub(crate) sent: Vec<Shared<Letter<M::Message>>>,
    /// What it armed, again or for the first time.
    pub(crate) armed: Vec<M::Timer>,
    /// What it told, in order.
    pub(crate) events: Vec<M::Event>,
    /// A mistake of ours that showed.
    pub(crate) broken: Option<Shared<Broken>>,
}

/// What is remembered of an occurrence at a node.
enum Known<M: Machine> {
    /// It cannot happen there.
    Impossible,
    /// It changes nothing: not the node, and nothing is sent or told. At most, alarms are armed
    /// again.
    Idle(Arc<Effect<M>>),
    /// It does.
    Busy(Arc<Effect<M>>),
}

impl<M: Machine> Known<M> {
    fn new(before: &Shared<Node<M>>, effect: Option<Effect<M>>) -> Self {
        let Some(effect) = effect else {
            return Self::Impossible;
        };
        let says = !effect.sent.is_empty() || !effect.events.is_empty() || effect.broken.is_some();
        if says || effect.after != *before {
            Self::Busy(Arc::new(effect))
        } else {
            Self::Idle(Arc::new(effect))
        }
    }
}

type Remembered<V> = RwLock<HashMap<(u64, u64), V, FixedState>>;

/// The steps and folds that were computed, by content.
pub(crate) struct Memory<M: Machine, G> {
    enabled: bool,
    effects: Remembered<Known<M>>,
    ghosts: Remembered<Shared<G>>,
}

impl<M: Machine, G> Default for Memory<M, G> {
    fn default() -> Self {
        Self {
            enabled: true,
            effects: RwLock::default(),
            ghosts: RwLock::default(),
        }
    }
}

impl<M: Machine, G: Ghost<M>> Memory<M, G> {
    pub(crate) fn disabled() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// What the occurrence makes of the node, or nothing if it cannot happen there.
    pub(crate) fn effect(
        &self,
        machine: &M,
        disk: Disk,
        me: NodeId,
        before: &Shared<Node<M>>,
        occurrence: &Occurrence<'_, M>,
    ) -> Option<Arc<Effect<M>>> {
        let known = |known: &Known<M>| match known {
            Known::Impossible => None,
            Known::Idle(effect) | Known::Busy(effect) => Some(Arc::clone(effect)),
        };
        self.look_up(machine, disk, me, before, occurrence, known)
    }

    /// The same, or nothing if it changes nothing: which is seen without a look at the effect.
    pub(crate) fn busy_effect(
        &self,
        machine: &M,
        disk: Disk,
        me: NodeId,
        before: &Shared<Node<M>>,
        occurrence: &Occurrence<'_, M>,
    ) -> Option<Arc<Effect<M>>> {
        let known = |known: &Known<M>| match known {
            Known::Impossible | Known::Idle(_) => None,
            Known::Busy(effect) => Some(Arc::clone(effect)),
        };
        self.look_up(machine, disk, me, before, occurrence, known)
    }

    fn look_up<T>(
        &self,
        machine: &M,
        disk: Disk,
        me: NodeId,
        before: &Shared<Node<M>>,
        occurrence: &Occurrence<'_, M>,
        take: impl FnOnce(&Known<M>) -> T,
    ) -> T {
        let compute = || Known::new(before, compute(machine, disk, me, before, occurrence));
        if !self.enabled {
            return take(&compute());
        }
        // Nodes differ by configuration too, so that the same content at two nodes is two things.
        let place = me.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = (before.fingerprint() ^ place, occurrence.fingerprint());
        recall(&self.effects, key, compute, take)
    }

    pub(crate) fn on_call(
        &self,
        ghost: &Shared<G>,
        client: usize,
        node: NodeId,
        call: &M::Call,
    ) -> Shared<G> {
        let what = || fingerprint(&(0_u8, client as u64, node, call));
        self.fold(ghost, what, |ghost| ghost.on_call(client, node, call))
    }

    pub(crate) fn on_event(&self, ghost: &Shared<G>, node: NodeId, event: &M::Event) -> Shared<G> {
        let what = || fingerprint(&(1_u8, node, event));
        self.fold(ghost, what, |ghost| ghost.on_event(node, event))
    }

    pub(crate) fn on_crash(&self, ghost: &Shared<G>, node: NodeId) -> Shared<G> {
        let what = || fingerprint(&(2_u8, node));
        self.fold(ghost, what, |ghost| ghost.on_crash(node))
    }

    fn fold(
        &self,
        ghost: &Shared<G>,
        what: impl FnOnce() -> u64,
        change: impl FnOnce(&mut G),
    ) -> Shared<G> {
        let compute = || {
            let mut next = G::clone(ghost);
            change(&mut next);
            Shared::new(next)
        };
        if !self.enabled {
            return compute();
        }
        let key = (ghost.fingerprint(), what());
        recall(&self.ghosts, key, compute, Shared::clone)
    }
}

fn recall<V, T>(
    known: &Remembered<V>,
    key: (u64, u64),
    compute: impl FnOnce() -> V,
    take: impl FnOnce(&V) -> T,
) -> T {
    if let Some(value) = known
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
    {
        return take(value);
    }
    let value = compute();
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have been first. Equal content, so either will do.
    take(known.entry(key).or_insert(value))
}

/// What the occurrence makes of the node, or nothing if it cannot happen there.
pub(crate) fn compute<M: Machine>(
    machine: &M,
    disk: Disk,
    me: NodeId,
    before: &Node<M>,
    occurrence: &Occurrence<'_, M>,
) -> Option<Effect<M>> {
    // What the disk holds before, what it may fall back to, and which alarms are armed.
    let (durable, mut unflushed, mut armed, begin) = match (before, occurrence) {
        (Node::Down { durable, unflushed }, Occurrence::Boot { lost }) => {
            let durable = match lost.checked_sub(1) {
                None => durable,
                Some(_) => unflushed.get(unflushed.len().checked_sub(*lost)?)?,
            };
            (durable, Vec::new(), Vec::new(), Begin::Boot)
        }
        (
            Node::Up {
                state,
                armed,
                unflushed,
            },
            occurrence,
        ) => {
            let mut armed = armed.clone();
            let input = match occurrence {
                Occurrence::Boot { .. } => return None,
                Occurrence::Call(call) => Input::Call(M::Call::clone(call)),
                Occurrence::Letter(letter) => Input::Message {
                    from: letter.from,
                    message: letter.message.clone(),
                },
                Occurrence::Timer(timer) => {
                    armed.remove(armed.binary_search(timer).ok()?);
                    Input::Timer(M::Timer::clone(timer))
                }
            };
            let begin = Begin::Step(state, input);
            (&state.durable, unflushed.clone(), armed, begin)
        }
        (Node::Down { .. } | Node::Traitor, _) => return None,
    };
    let (state, outputs) = match attempt(machine, durable, begin) {
        Ok(done) => done,
        Err(words) => return Some(stopped(me, before, Fault::Panic(words))),
    };
    if disk == Disk::Lying && state.durable != *durable {
        unflushed.push(durable.clone());
    }
    let (mut sent, mut rung, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for output in outputs {
        match output {
            Output::Send { to, message } => {
                let from = me;
                sent.push(Shared::new(Letter { to, from, message }));
            }
            Output::Arm(timer) => {
                if let Err(place) = armed.binary_search(&timer) {
                    armed.insert(place, timer.clone());
                }
                rung.push(timer);
            }
            Output::Disarm(timer) => {
                if let Ok(place) = armed.binary_search(&timer) {
                    armed.remove(place);
                }
                rung.retain(|other| *other != timer);
            }
            Output::Event(event) => events.push(event),
        }
    }
    let sound = quietly(|| machine.holds(&state)).unwrap_or(false);
    let node = Node::Up {
        state,
        armed,
        unflushed,
    };
    let broken = (!sound).then(|| broken(me, Fault::Invariant));
    Some(Effect {
        after: Shared::new(node),
        sent,
        armed: rung,
        events,
        broken,
    })
}

enum Begin<'a, M: Machine> {
    Boot,
    Step(&'a State<M>, Input<M>),
}

/// Runs the machine itself. The disk of the model never fails, so what is sealed comes out at once.
fn attempt<M: Machine>(
    machine: &M,
    durable: &M::Durable,
    begin: Begin<'_, M>,
) -> Result<(State<M>, Vec<Output<M>>), String> {
    quietly(|| {
        let Step { state, sealed } = match begin {
            Begin::Boot => machine::boot(machine, durable.clone()),
            Begin::Step(state, input) => machine::step(machine, state.clone(), input),
        };
        let Ok(outputs) = sealed.persist(|_| Ok::<(), std::convert::Infallible>(()));
        (state, outputs)
    })
}

fn stopped<M: Machine>(me: NodeId, before: &Node<M>, fault: Fault) -> Effect<M> {
    Effect {
        after: Shared::new(before.clone()),
        sent: Vec::new(),
        armed: Vec::new(),
        events: Vec::new(),
        broken: Some(broken(me, fault)),
    }
}

fn broken(node: NodeId, fault: Fault) -> Shared<Broken> {
    Shared::new(Broken { node, fault })
}

/// Runs `attempt`; a panic becomes its words, and prints nothing: the story will tell of it.
fn quietly<T>(attempt: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(attempt));
    QUIET.set(before);
    result.map_err(|payload| {
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| payload.downcast_ref::<&str>().copied());
        words.unwrap_or("a panic without words").to_owned()
    })
}
