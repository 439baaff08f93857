//! Random walks through worlds that are too large to exhaust.
//!
//! A walk starts at the beginning and takes one random action after another. It finds what lies deep
//! and is common; it proves nothing, and nothing here says that it does: exhaustion is the engine's.
//!
//! Walks that are all alike miss what needs one kind of thing to be rare and another frequent. So
//! each walk has a mood of its own: which kinds of action it favours, which it never takes, and which
//! nodes hear little. This is swarm testing (Groce, Zhang, Eide, Chen and Regehr, ISSTA 2012). A walk
//! is a function of the world, the seed and its number alone.

use std::ops::ControlFlow;

use fastrand::Rng;
use quorate::machine::{Machine, NodeId};

use crate::action::Action;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::shared::fingerprint;
use crate::snapshot::Snapshot;
use crate::world::World;

/// How much to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walks {
    /// Two runs with one seed are the same.
    pub seed: u64,
    /// How many walks at most: the first that breaks a promise is the last.
    pub walks: usize,
    /// How many steps each takes at most.
    pub steps: usize,
}

/// What the walks met.
#[derive(Debug)]
pub struct Met<M: Machine> {
    /// How many walks there were.
    pub walks: usize,
    /// How many steps they took in all.
    pub steps: usize,
    /// Of each `sometimes`, whether a walk met an example.
    pub shown: Vec<(&'static str, bool)>,
    /// The promise that the last walk broke, and a path that breaks it: what is left of the walk when
    /// everything that was not needed is taken out. It need not be a shortest one.
    pub broken: Option<(&'static str, Vec<Action<M>>)>,
}

/// A `recovers` is asked at one state in so many, and at the end of a walk.
const CALM: usize = 16;

/// Walks at random, until a promise is broken. `watch` is told of every walk, and may stop it.
pub fn simulate<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    plan: Walks,
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Met<M> {
    let mut met = Met {
        walks: 0,
        steps: 0,
        shown: (world.promises().iter())
            .filter(|promise| promise.kind == Kind::Sometimes)
            .map(|promise| (promise.name, false))
            .collect(),
        broken: None,
    };
    for number in 0..plan.walks {
        if watch(number).is_break() {
            break;
        }
        met.walks += 1;
        let path = walk(world, plan, number, &mut met);
        if let Some(promise) = met.broken.as_ref().map(|(promise, _)| *promise) {
            met.broken = Some((promise, shrink(world, promise, path)));
            break;
        }
    }
    met
}

/// What a walk favours.
struct Mood {
    /// How often each kind of action is taken, relative to the others.
    kinds: [u64; 8],
    /// How often each node hears, relative to the others.
    nodes: Vec<u64>,
}

impl Mood {
    fn new(rng: &mut Rng, nodes: usize) -> Self {
        let mut weight = |weights: &[u64]| weights[rng.usize(..weights.len())];
        let mut kinds = [0; 8];
        for kind in &mut kinds {
            *kind = weight(&[0, 1, 4, 16, 16]);
        }
        // Without calls and messages little happens.
        kinds[0] = weight(&[1, 4, 16]);
        kinds[1] = weight(&[4, 16, 64]);
        let nodes = (0..nodes).map(|_| weight(&[1, 8, 8, 8]));
        Self {
            nodes: nodes.collect(),
            kinds,
        }
    }

    fn weight<M: Machine>(&self, action: &Action<M>) -> u64 {
        let (kind, node) = match action {
            Action::Call { node, .. } => (0, Some(*node)),
            Action::Deliver(letter) => (1, Some(letter.to)),
            Action::Ring { node, .. } => (2, Some(*node)),
            Action::Crash(node) => (3, Some(*node)),
            Action::Restart { node, .. } => (4, Some(*node)),
            Action::Cut(_) => (5, None),
            Action::Heal => (6, None),
            Action::Lie(letter) => (7, Some(letter.to)),
        };
        let hears = |node: NodeId| {
            let place = usize::try_from(node.0).ok();
            place.and_then(|at| self.nodes.get(at)).copied()
        };
        self.kinds[kind] * node.and_then(hears).unwrap_or(8)
    }
}

/// One walk: its path, up to the state that breaks a promise, if one does.
fn walk<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    plan: Walks,
    number: usize,
    met: &mut Met<M>,
) -> Vec<Action<M>> {
    let mut rng = Rng::with_seed(fingerprint(&(plan.seed, number as u64)));
    let mood = Mood::new(&mut rng, world.len());
    let mut state = world.initial();
    let mut path = Vec::new();
    let mut offered = Vec::new();
    loop {
        let is_last = path.len() == plan.steps;
        if judge(world, &state, is_last || rng.usize(..CALM) == 0, met) || is_last {
            return path;
        }
        offered.clear();
        world.each_action(&state, |action| {
            offered.push((mood.weight(&action), action));
        });
        let next = loop {
            let total: u64 = offered.iter().map(|(weight, _)| *weight).sum();
            if total == 0 {
                break None;
            }
            let mut ticket = rng.u64(..total);
            let drawn = offered.iter().position(|(weight, _)| {
                let wins = ticket < *weight;
                ticket = ticket.saturating_sub(*weight);
                wins
            });
            let (_, action) = offered.swap_remove(drawn.expect("a ticket is less than the total"));
            if let Some(next) = world.apply(&state, &action) {
                break Some((action, next));
            }
        };
        let Some((action, next)) = next else {
            // Nothing more can happen, in this mood.
            judge(world, &state, true, met);
            return path;
        };
        met.steps += 1;
        path.push(action);
        state = next;
    }
}

/// True if the state breaks a promise, which is noted.
fn judge<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    state: &Snapshot<M, G>,
    calms: bool,
    met: &mut Met<M>,
) -> bool {
    for promise in world.promises() {
        match promise.kind {
            Kind::Sometimes => {
                let shown = met.shown.iter_mut().find(|(name, _)| *name == promise.name);
                if let Some((_, shown)) = shown {
                    *shown = *shown || world.is_met(promise, state);
                }
            }
            // A walk is no run that never ends.
            Kind::Eventually => {}
            Kind::Recovers { .. } if !calms => {}
            Kind::Always | Kind::Recovers { .. } => {
                if !world.is_met(promise, state) {
                    met.broken = Some((promise.name, Vec::new()));
                    return true;
                }
            }
        }
    }
    false
}

/// Takes out of a path what is not needed to break the promise: first long pieces, then short ones.
fn shrink<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    promise: &str,
    path: Vec<Action<M>>,
) -> Vec<Action<M>> {
    let mut path = breaks(world, promise, path.iter()).unwrap_or(path);
    let mut piece = path.len().div_ceil(2);
    while 0 < piece {
        let mut start = 0;
        let before = path.len();
        while start < path.len() {
            let end = (start + piece).min(path.len());
            let rest = path[..start].iter().chain(&path[end..]);
            match breaks(world, promise, rest) {
                Some(shorter) => path = shorter,
                None => start = end,
            }
        }
        if piece == 1 && path.len() < before {
            continue;
        }
        piece /= 2;
    }
    path
}

/// The actions of `path` that can happen one after the other and change something, up to where the
/// promise is broken, if it is.
fn breaks<'p, M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    promise: &str,
    path: impl Iterator<Item = &'p Action<M>>,
) -> Option<Vec<Action<M>>> {
    let promise = world.promises().iter().find(|p| p.name == promise)?;
    let mut state = world.initial();
    let mut taken = Vec::new();
    for action in path {
        // A calm is costly, and is asked at the end.
        if promise.kind == Kind::Always && !world.is_met(promise, &state) {
            return Some(taken);
        }
        let mut is_offered = false;
        world.each_action(&state, |offered| is_offered |= offered == *action);
        if is_offered && let Some(next) = world.apply(&state, action) {
            taken.push(action.clone());
            state = next;
        }
    }
    (!world.is_met(promise, &state)).then_some(taken)
}
