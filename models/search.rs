//! The search: every reachable state of a world, level by level, and what becomes of its promises.
//!
//! stateright's checkers explore the same [`World`], and small worlds are checked by both (see
//! `tests/world.rs`). This search exists because of what those of stateright 0.31 report: with two
//! properties their breadth-first search keeps the *last* violation it meets, not the first, and a
//! search that was stopped early calls itself done. This one
//!
//! - goes strictly level by level in a fixed order, so that what it finds first is as short as
//!   anything, and the same in every run;
//! - says EXHAUSTED only when it ran out of states, with nothing cut off.
//!
//! It keeps 64-bit fingerprints, as stateright and TLC do. With `n` states the chance that two were
//! taken for one is at most about n² / 2⁶⁵: a hundred-millionth at a million states. [`audit`] takes no such chance.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use quorate::machine::Machine;
use stateright::Model;

use crate::action::Action;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::shared::fingerprint;
use crate::snapshot::Snapshot;
use crate::world::World;

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// When there are no more states.
    Never,
    /// At the first violation: nothing more is needed to refute.
    AtViolation,
}

/// How far a search is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Distinct states so far.
    pub unique: usize,
    /// Transitions so far, and the initial state.
    pub generated: usize,
    /// The level whose states are being expanded; the initial state is level 1.
    pub depth: usize,
    /// States that wait to be expanded.
    pub queue: usize,
    /// Since the start.
    pub elapsed: Duration,
}

/// What a search found out.
pub struct Outcome<M: Machine> {
    /// Distinct states.
    pub unique: usize,
    /// Transitions that lead to states within the boundary, and the initial state.
    pub generated: usize,
    /// Levels: states on the longest of the shortest paths.
    pub depth: usize,
    /// Transitions that lead outside the boundary, and were not followed.
    pub cut_off: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Distinct steps of nodes, and distinct folds of the ghost, that were computed.
    pub computed: (usize, usize),
    /// For each promise, in the world's order, the first path that settles it: a counterexample, or
    /// for a `sometimes` an example.
    pub findings: Vec<Finding<M>>,
    /// The verdict.
    pub verdict: Verdict,
}

/// What was found about one promise.
pub struct Finding<M: Machine> {
    /// Its name.
    pub promise: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// A shortest path to a state that settles it, if there is one.
    pub path: Option<Vec<Action<M>>>,
}

/// What may be said of a world once it was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every state of the stated world was explored, and every promise kept.
    Exhausted,
    /// Every promise was kept, but a boundary cut this many transitions off.
    Bounded {
        /// How many.
        cut_off: usize,
    },
    /// A promise fell, or a `sometimes` never came true.
    Refuted {
        /// Which.
        promise: &'static str,
    },
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.pad("EXHAUSTED"),
            Self::Bounded { .. } => f.pad("BOUNDED"),
            Self::Refuted { .. } => f.pad("REFUTED"),
        }
    }
}

/// Fingerprints are hashed already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

/// Each state that was seen, with the state it was first reached from.
type Parents = HashMap<u64, u64, BuildHasherDefault<Ready>>;

/// How many states are expanded between two reports of progress.
const STRIDE: usize = 1 << 12;

struct Search<'a, M: Machine, G: Ghost<M>> {
    world: &'a World<M, G>,
    parents: Parents,
    settled: Vec<Option<u64>>,
    violated: bool,
    generated: usize,
    cut_off: usize,
    depth: usize,
    started: Instant,
}

/// Explores `world`, and calls `watch` now and then.
pub fn search<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    stop: Stop,
    watch: &mut dyn FnMut(&Progress),
) -> Outcome<M> {
    let mut search = Search {
        world,
        parents: Parents::default(),
        settled: vec![None; world.promises().len()],
        violated: false,
        generated: 0,
        cut_off: 0,
        depth: 0,
        started: Instant::now(),
    };
    search.run(stop, watch);
    search.outcome()
}

impl<M: Machine, G: Ghost<M>> Search<'_, M, G> {
    fn run(&mut self, stop: Stop, watch: &mut dyn FnMut(&Progress)) {
        let mut level = Vec::new();
        self.reach(self.world.initial(), 0, &mut level);
        let mut actions = Vec::new();
        while !level.is_empty() && !self.is_over(stop) {
            self.depth += 1;
            let mut next_level = Vec::new();
            let mut waiting = level.len();
            for last in level.drain(..) {
                if waiting.is_multiple_of(STRIDE) {
                    watch(&self.progress(waiting + next_level.len()));
                }
                waiting -= 1;
                let parent = fingerprint(&last);
                actions.clear();
                self.world.each_action(&last, |action| actions.push(action));
                for action in &actions {
                    if let Some(next) = self.world.apply(&last, action) {
                        self.reach(next, parent, &mut next_level);
                    }
                }
                if self.is_over(stop) {
                    return;
                }
            }
            level = next_level;
        }
    }

    fn is_over(&self, stop: Stop) -> bool {
        match stop {
            Stop::Never => false,
            Stop::AtViolation => self.violated,
        }
    }

    fn progress(&self, queue: usize) -> Progress {
        Progress {
            unique: self.parents.len(),
            generated: self.generated,
            depth: self.depth,
            queue,
            elapsed: self.started.elapsed(),
        }
    }

    /// A transition leads to `state`. If it is new it joins the level, and the promises look at it.
    fn reach(&mut self, state: Snapshot<M, G>, parent: u64, level: &mut Vec<Snapshot<M, G>>) {
        if !self.world.within_boundary(&state) {
            self.cut_off += 1;
            return;
        }
        self.generated += 1;
        let print = fingerprint(&state);
        let Entry::Vacant(place) = self.parents.entry(print) else {
            return;
        };
        place.insert(parent);
        for (promise, settled) in self.world.promises().iter().zip(&mut self.settled) {
            if settled.is_some() {
                continue;
            }
            let bad = promise.kind != Kind::Sometimes;
            if self.world.is_met(promise, &state) != bad {
                *settled = Some(print);
                self.violated |= bad;
            }
        }
        level.push(state);
    }

    fn outcome(self) -> Outcome<M> {
        let findings: Vec<Finding<M>> = (self.world.promises().iter().zip(&self.settled))
            .map(|(promise, settled)| Finding {
                promise: promise.name,
                kind: promise.kind,
                path: settled.map(|print| self.path(print)),
            })
            .collect();
        let is_bad = |finding: &&Finding<M>| match finding.kind {
            Kind::Always | Kind::Recovers { .. } => finding.path.is_some(),
            Kind::Sometimes => finding.path.is_none() && !self.violated,
        };
        let bad = findings.iter().find(is_bad).map(|finding| finding.promise);
        let cut_off = self.cut_off;
        Outcome {
            unique: self.parents.len(),
            generated: self.generated,
            depth: self.depth,
            cut_off,
            elapsed: self.started.elapsed(),
            computed: self.world.memory.sizes(),
            verdict: match bad {
                Some(promise) => Verdict::Refuted { promise },
                None if cut_off > 0 => Verdict::Bounded { cut_off },
                None => Verdict::Exhausted,
            },
            findings,
        }
    }

    /// The path on which a state was first reached, by walking back and then forth again.
    fn path(&self, end: u64) -> Vec<Action<M>> {
        let first = self.world.initial();
        let start = fingerprint(&first);
        let mut prints = vec![end];
        while let Some(last) = prints.last()
            && *last != start
        {
            prints.push(self.parents[last]);
        }
        prints.pop();
        let mut state = first;
        let mut path = Vec::with_capacity(prints.len());
        for print in prints.into_iter().rev() {
            let mut found = None;
            self.world.each_action(&state, |action| {
                if found.is_none()
                    && let Some(next) = self.world.apply(&state, &action)
                    && fingerprint(&next) == print
                {
                    found = Some((action, next));
                }
            });
            let (action, next) = found.expect("a path that was walked once can be walked again");
            path.push(action);
            state = next;
        }
        path
    }
}

/// Each state of a path with the action that leaves it.
type Path<M, G> = Vec<(Snapshot<M, G>, Option<Action<M>>)>;

/// The states along `path`, with the action that leaves each: the form stateright's paths have.
pub fn replay<M: Machine, G: Ghost<M>>(world: &World<M, G>, path: &[Action<M>]) -> Path<M, G> {
    let mut state = world.initial();
    let mut steps = Vec::with_capacity(path.len() + 1);
    for action in path {
        let next = world.apply(&state, action);
        steps.push((state.clone(), Some(action.clone())));
        state = next.unwrap_or(state);
    }
    steps.push((state, None));
    steps
}

/// The path as stateright's Explorer names it: the place of each action among those offered.
pub fn link<M: Machine, G: Ghost<M>>(world: &World<M, G>, path: &[Action<M>]) -> String {
    let mut link = "0".to_owned();
    for (state, action) in replay(world, path) {
        let mut place = 0;
        let mut found = None;
        world.each_action(&state, |offered| {
            if Some(&offered) == action.as_ref() {
                found = found.or(Some(place));
            }
            place += 1;
        });
        if let Some(place) = found {
            let _ = write!(link, "/{place}");
        }
    }
    link
}

/// The number of distinct states, told apart by full equality: no fingerprint decides, and nothing is
/// remembered by content hash. A search of the same world must find as many, or some `Hash` is not
/// prefix-free, and states were lost in silence.
pub fn audit<M: Machine, G: Ghost<M>>(world: World<M, G>) -> usize {
    let world = world.without_memory();
    let first = world.initial();
    let mut seen = HashSet::from([first.clone()]);
    let mut waiting = vec![first];
    while let Some(last) = waiting.pop() {
        world.each_action(&last, |action| {
            if let Some(next) = world.apply(&last, &action)
                && world.within_boundary(&next)
                && seen.insert(next.clone())
            {
                waiting.push(next);
            }
        });
    }
    seen.len()
}
