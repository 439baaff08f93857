//! The engine: every reachable state of a world, level by level, in small numbers.
//!
//! [`World`] says what can happen; this finds all of it. It does what a search over [`World::apply`]
//! does, and a test holds the two together on random worlds, but it goes through numbers instead of
//! states, of which `space.rs` says how; what they stand for is behind `contents.rs`, and only
//! `stock.rs`, which implements that, is compiled for each machine. It
//!
//! - computes each distinct step of a node once, and asks each promise once for each distinct value
//!   of what that promise looks at;
//! - goes strictly level by level, so that what it finds first is as short as anything;
//! - keeps eight bytes and some slack for each state it has met, and a row of small numbers for each
//!   that waits to be expanded;
//! - says EXHAUSTED only when it ran out of states, with nothing cut off.
//!
//! States are told apart by 64-bit fingerprints, as stateright's and TLC's are. With *n* states the
//! chance that two were taken for one is at most *n*² / 2⁶⁵, and every report says it. With
//! [`Options::exact`] whole rows are kept instead, and no state is lost so. Where calms were is known
//! by 64-bit hashes in either case.
//!
//! # The story
//!
//! A search keeps no parents. Once it knows the level at which a promise falls, a second search goes
//! as far as that level and remembers them. Of the states that break the promise there it takes the
//! one with the least fingerprint, and of the parents of each state again the least. So the story is
//! a shortest one, and a function of the world alone: not of the order in which states were met.
//!
//! # Promises of runs
//!
//! [`Kind::Eventually`] is about runs that never end. Once every state is known, `cycles.rs` makes the
//! graph of them all, without reductions, and looks for a way round that is fair and misses the goal.
//! That takes memory for every transition, so it is for worlds of up to some millions.

mod calm;
mod checker;
mod contents;
mod coverage;
mod crew;
mod cycles;
mod expand;
mod hosts;
mod intern;
mod judge;
mod link;
mod mirror;
mod ready;
pub mod rows;
mod space;
pub mod spill;
mod stock;
pub mod table;
mod views;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use quorate::machine::Machine;
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::ghost::Ghost;
use crate::promise::Kind;
use crate::world::World;
pub use checker::Checked;
use contents::Subject;
pub use coverage::{Fired, variant};
pub use crew::{Crew, search_with};
pub use hosts::Hosts;
use judge::Judge;
use mirror::Mirrors;
use rows::Rows;
pub use space::Sizes;
use space::{Printed, Row, Sink, Space};
use spill::Spill;
use table::Table;

/// When to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// When there are no more states.
    #[default]
    Never,
    /// At the end of the level of the first violation: nothing more is needed to refute.
    AtViolation,
}

/// How to search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// When to stop.
    pub stop: Stop,
    /// Keep whole states, so that no two are ever taken for one.
    pub exact: bool,
    /// Stop when there are this many states. A budget is no verdict: if states wait to be expanded
    /// then, the world is BOUNDED.
    pub states_max: Option<usize>,
    /// Beyond so many bytes, states that wait to be expanded wait on disk. What was met stays in
    /// memory. With several workers it is not looked at.
    pub memory: Option<usize>,
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
#[derive(Debug)]
pub struct Outcome<M: Machine> {
    /// Distinct states.
    pub unique: usize,
    /// Transitions that lead to states within the boundary, and the initial state.
    pub generated: usize,
    /// Levels: states on the longest of the shortest paths.
    pub depth: usize,
    /// Transitions that lead outside the boundary, and were not followed.
    pub cut_off: usize,
    /// States that were not expanded.
    pub waiting: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// What the states are made of.
    pub sizes: Sizes,
    /// What happened and changed something, and how often; what could have happened and never did.
    pub coverage: Vec<Fired>,
    /// The bytes that the set of states takes.
    pub bytes: usize,
    /// For each promise, in the world's order, what settled it.
    pub findings: Vec<Finding>,
    /// The verdict.
    pub verdict: Verdict,
    /// If a promise was broken, a shortest path to a state that breaks it.
    pub story: Option<Vec<Action<M>>>,
}

/// The same, with the story as places among the actions that the world offers.
struct Found {
    unique: usize,
    generated: usize,
    depth: usize,
    cut_off: usize,
    waiting: usize,
    elapsed: Duration,
    sizes: Sizes,
    coverage: Vec<Fired>,
    bytes: usize,
    findings: Vec<Finding>,
    verdict: Verdict,
    story: Option<Vec<usize>>,
}

impl Found {
    fn told<M: Machine, G: Ghost<M>>(self, world: &World<M, G>) -> Outcome<M> {
        Outcome {
            unique: self.unique,
            generated: self.generated,
            depth: self.depth,
            cut_off: self.cut_off,
            waiting: self.waiting,
            elapsed: self.elapsed,
            sizes: self.sizes,
            coverage: self.coverage,
            bytes: self.bytes,
            findings: self.findings,
            verdict: self.verdict,
            story: self.story.map(|path| actions(world, &path)),
        }
    }
}

/// What was found about one promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub promise: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// How many steps it takes, at least, to a state that settles it: a counterexample, or for a
    /// `sometimes` an example. Nothing if there is none.
    pub steps: Option<usize>,
}

/// What may be said of a world once it was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every state of the stated world was explored, and every promise kept.
    Exhausted,
    /// Every promise was kept as far as was looked.
    Bounded {
        /// A boundary cut this many transitions off.
        cut_off: usize,
        /// The search was stopped before it expanded this many states.
        waiting: usize,
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

/// How likely it is, at most, that two of so many states have one fingerprint.
pub fn collision(unique: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a bound for people")]
    let unique = unique as f64;
    unique * unique / 2_f64.powi(65)
}

/// How many successors are looked up together.
const BATCH: usize = 512;
/// How many fingerprints of late successors are remembered, to pass over those that come again.
const LATELY: usize = 1 << 15;
/// A piece of a level on disk has about so many bytes: a part of what there may be in memory.
const PIECE_MIN: usize = 1 << 12;
const PIECE_MAX: usize = 1 << 26;
/// How many states are expanded between two reports of progress.
const STRIDE: usize = 1 << 14;

/// States that were met.
enum Met {
    Prints(Table),
    /// Whole rows, and the number of each by its fingerprint.
    Rows(Rows, HashTable<u32>),
}

impl Met {
    fn insert(&mut self, row: &Row, print: u64) -> bool {
        let (rows, numbers) = match self {
            Self::Prints(table) => return table.insert(print),
            Self::Rows(rows, numbers) => (rows, numbers),
        };
        let is = |number: &u32| rows.get(*number as usize) == (row, print);
        if numbers.find(print, is).is_some() {
            return false;
        }
        let number = u32::try_from(rows.len()).expect("fewer than 2^32 states");
        rows.push(row, print);
        numbers.insert_unique(print, number, |number| rows.prints[*number as usize]);
        true
    }

    /// Looks where all of them belong at once, so that the memory answers together.
    fn glance(&self, keys: &[u64]) {
        if let Self::Prints(table) = self {
            std::hint::black_box(keys.iter().fold(0, |sum, key| sum ^ table.glance(*key)));
        }
    }

    fn contains(&self, print: u64) -> bool {
        match self {
            Self::Prints(table) => table.contains(print),
            Self::Rows(..) => false,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Prints(table) => table.len(),
            Self::Rows(rows, _) => rows.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Prints(table) => table.bytes(),
            Self::Rows(rows, numbers) => rows.bytes() + numbers.capacity() * 5,
        }
    }
}

/// False if the successor came a moment ago.
#[inline]
fn wants(lately: &mut [u64], print: u64) -> bool {
    if lately.is_empty() {
        return true;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits will do")]
    let place = &mut lately[print as usize % LATELY];
    let known = *place == print;
    *place = print;
    !known
}

/// Successors that wait to be looked up, less those that came a moment ago.
struct Batch {
    rows: Rows,
    /// Empty if every successor is to be looked up.
    lately: Vec<u64>,
}

impl Sink for Batch {
    #[inline]
    fn wants(&mut self, print: u64) -> bool {
        wants(&mut self.lately, print)
    }

    #[inline]
    fn tray(&mut self, _: u64) -> &mut Rows {
        &mut self.rows
    }
}

/// How many states wait there.
fn spilled(spill: Option<&Spill>) -> usize {
    spill.map_or(0, Spill::len)
}

/// Under which fingerprint a state is known: its own, or that of all its mirror images.
fn key(space: &Space<'_>, mirrors: &mut Option<Mirrors>, row: &Row, print: u64) -> u64 {
    match mirrors {
        None => print,
        Some(mirrors) => mirrors.canonical(space, row, print),
    }
}

/// The same of each of several states.
fn name(space: &Space<'_>, mirrors: &mut Option<Mirrors>, rows: &Rows, keys: &mut Vec<u64>) {
    keys.clear();
    if mirrors.is_none() {
        keys.extend_from_slice(&rows.prints);
    } else {
        let rows = (0..rows.len()).map(|at| rows.get(at));
        keys.extend(rows.map(|(row, print)| key(space, mirrors, row, print)));
    }
}

struct Search<'w> {
    options: Options,
    space: Space<'w>,
    judge: Judge,
    mirrors: Option<Mirrors>,
    met: Met,
    /// Fingerprints of states beyond the boundary.
    beyond: HashSet<u64>,
    batch: Batch,
    /// The fingerprint under which each state of the batch is known: that of all its mirror images.
    keys: Vec<u64>,
    level: Rows,
    next: Rows,
    /// More of the level, and of the next one, on disk.
    level_on_disk: Option<Spill>,
    next_on_disk: Option<Spill>,
    /// States were lost, for the disk could not be read.
    trouble: Option<std::io::Error>,
    generated: usize,
    cut_off: usize,
    waiting: usize,
    depth: usize,
    started: Instant,
}

/// Explores `world`, and calls `watch` now and then, which may stop it.
///
/// # Panics
///
/// If states waited on disk ([`Options::memory`]) and could not be read.
pub fn search<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    options: Options,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Outcome<M> {
    let found = try_search(world, options, watch).expect("what was written to a disk can be read");
    found.told(world)
}

fn try_search(
    subject: &dyn Subject,
    options: Options,
    watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Found, String> {
    let mut search = Search::new(subject, options);
    search.run(watch);
    if let Some(error) = search.trouble {
        return Err(format!(
            "states that waited on disk cannot be read, so there is no verdict: {error}"
        ));
    }
    Ok(search
        .part()
        .found(&mut search.space, search.started, options))
}

/// For those who do not care how far a search is.
pub fn unwatched(_: &Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What one engine found.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    unique: usize,
    generated: usize,
    depth: usize,
    cut_off: usize,
    waiting: usize,
    sizes: Sizes,
    coverage: Vec<Fired>,
    bytes: usize,
    /// At how many steps each promise was settled.
    settled: Vec<Option<usize>>,
}

impl Part {
    /// What two engines found together.
    fn join(mut self, other: Self) -> Self {
        self.unique += other.unique;
        self.generated += other.generated;
        self.depth = self.depth.max(other.depth);
        self.cut_off += other.cut_off;
        self.waiting += other.waiting;
        self.sizes = self.sizes.max(other.sizes);
        self.coverage = coverage::join(self.coverage, other.coverage);
        self.bytes += other.bytes;
        for (one, other) in self.settled.iter_mut().zip(other.settled) {
            *one = [*one, other].into_iter().flatten().min();
        }
        self
    }

    /// What is to be said of all of it. Those promises that are about runs are looked at here, if
    /// every state was.
    fn found(mut self, space: &mut Space<'_>, started: Instant, options: Options) -> Found {
        let mut lassos = vec![None; self.settled.len()];
        let kinds: Vec<Kind> = space
            .rules
            .pledges
            .iter()
            .map(|pledge| pledge.kind)
            .collect();
        for (at, kind) in kinds.iter().enumerate() {
            let is_over = options.stop == Stop::AtViolation && self.is_violated(&kinds);
            if *kind == Kind::Eventually && self.waiting == 0 && !is_over {
                lassos[at] = cycles::lasso(space, at);
                self.settled[at] = lassos[at].as_ref().map(Vec::len);
            }
        }
        let elapsed = started.elapsed();
        let findings: Vec<Finding> = (space.rules.pledges.iter().zip(&self.settled))
            .map(|(pledge, settled)| Finding {
                promise: pledge.name,
                kind: pledge.kind,
                steps: *settled,
            })
            .collect();
        let broken = (0..findings.len())
            .filter(|at| findings[*at].kind != Kind::Sometimes)
            .filter_map(|at| Some((findings[at].steps?, at)))
            .min();
        let hollow = findings
            .iter()
            .find(|finding| finding.kind == Kind::Sometimes && finding.steps.is_none());
        Found {
            unique: self.unique,
            // What lies beyond the boundary is no state of this world.
            generated: self.generated - self.cut_off,
            depth: self.depth,
            cut_off: self.cut_off,
            waiting: self.waiting,
            elapsed,
            sizes: self.sizes,
            coverage: self.coverage,
            bytes: self.bytes,
            verdict: match (broken, hollow, self.cut_off, self.waiting) {
                (Some((_, at)), ..) => Verdict::Refuted {
                    promise: findings[at].promise,
                },
                // What was not found where nobody looked is no refutation.
                (None, Some(hollow), 0, 0) => Verdict::Refuted {
                    promise: hollow.promise,
                },
                (None, None, 0, 0) => Verdict::Exhausted,
                (None, _, cut_off, waiting) => Verdict::Bounded { cut_off, waiting },
            },
            findings,
            story: broken.map(|(steps, at)| match lassos.swap_remove(at) {
                Some(lasso) => lasso,
                None => story(space, at, steps),
            }),
        }
    }

    /// True if a promise was broken.
    fn is_violated(&self, kinds: &[Kind]) -> bool {
        let mut settled = self.settled.iter().zip(kinds);
        settled.any(|(settled, kind)| settled.is_some() && *kind != Kind::Sometimes)
    }
}

impl<'w> Search<'w> {
    fn new(subject: &'w dyn Subject, options: Options) -> Self {
        let space = Space::new(subject);
        let rules = &space.rules;
        let mirrors = Mirrors::new(rules.places, &rules.alike);
        let passes_over = !options.exact && !rules.has_boundary;
        Self {
            options,
            judge: Judge::new(rules, |_| true),
            space,
            mirrors,
            met: if options.exact {
                Met::Rows(Rows::default(), HashTable::new())
            } else {
                Met::Prints(Table::default())
            },
            beyond: HashSet::new(),
            batch: Batch {
                rows: Rows::default(),
                lately: vec![0; if passes_over { LATELY } else { 0 }],
            },
            keys: Vec::new(),
            level: Rows::default(),
            next: Rows::default(),
            level_on_disk: None,
            next_on_disk: None,
            trouble: None,
            generated: 0,
            cut_off: 0,
            waiting: 0,
            depth: 0,
            started: Instant::now(),
        }
    }

    fn run(&mut self, watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>) {
        let (row, print) = self.space.initial();
        self.generated = 1;
        self.batch.rows.push(&row, print);
        self.flush();
        self.turn();
        while self.waits() > 0 && !self.is_over() {
            self.depth += 1;
            while !self.level.is_empty() || self.fetch() {
                if !self.expand_level(watch) {
                    return;
                }
            }
            self.turn();
        }
        self.waiting = self.waits();
    }

    /// Expands what there is of the level. False if it was left before its end.
    fn expand_level(&mut self, watch: &mut dyn FnMut(&Progress) -> ControlFlow<()>) -> bool {
        for at in 0..self.level.len() {
            let halts =
                at.is_multiple_of(STRIDE) && watch(&self.progress(self.waits() - at)).is_break();
            if halts || self.is_spent() {
                self.flush();
                self.waiting =
                    self.waits() - at + self.next.len() + spilled(self.next_on_disk.as_ref());
                return false;
            }
            let (row, print) = self.level.get(at);
            self.generated += self.space.expand(row, print, &mut self.batch);
            if self.batch.rows.len() >= BATCH {
                self.flush();
                self.spill();
            }
        }
        self.flush();
        self.level.clear();
        true
    }

    /// States of the level that were not expanded.
    fn waits(&self) -> usize {
        self.level.len() + spilled(self.level_on_disk.as_ref())
    }

    /// Gets more of the level from disk.
    fn fetch(&mut self) -> bool {
        let Some(spill) = &mut self.level_on_disk else {
            return false;
        };
        match spill.take(&mut self.level) {
            Ok(more) => more,
            Err(error) => {
                self.trouble = Some(error);
                false
            }
        }
    }

    /// Puts what is known of the next level on disk, if there is too much in memory.
    fn spill(&mut self) {
        let Some(memory) = self.options.memory else {
            return;
        };
        if self.next.bytes() < (memory / 16).clamp(PIECE_MIN, PIECE_MAX) {
            return;
        }
        if self.met.bytes() + self.level.bytes() + self.next.bytes() < memory {
            return;
        }
        let put = match &mut self.next_on_disk {
            Some(spill) => spill.put(&mut self.next),
            none => Spill::new().and_then(|spill| none.insert(spill).put(&mut self.next)),
        };
        if put.is_err() {
            // Nothing is lost: it stays in memory, and so does the rest.
            self.options.memory = None;
        }
    }

    fn is_over(&self) -> bool {
        match self.options.stop {
            Stop::Never => false,
            Stop::AtViolation => self.judge.violated,
        }
    }

    fn is_spent(&self) -> bool {
        (self.options.states_max).is_some_and(|most| most <= self.met.len())
    }

    fn progress(&self, waiting: usize) -> Progress {
        Progress {
            unique: self.met.len(),
            generated: self.generated,
            depth: self.depth,
            queue: waiting + self.next.len() + spilled(self.next_on_disk.as_ref()),
            elapsed: self.started.elapsed(),
        }
    }

    /// Looks the successors up. Those that are new join the next level, and the promises look at
    /// them.
    fn flush(&mut self) {
        let mut rows = self.name();
        for at in 0..rows.len() {
            let (row, print) = rows.get(at);
            self.accept(row, print, self.keys[at]);
        }
        rows.clear();
        self.batch.rows = rows;
    }

    /// Takes the batch, and finds out under which fingerprint each of its states is known.
    fn name(&mut self) -> Rows {
        let rows = std::mem::take(&mut self.batch.rows);
        name(&self.space, &mut self.mirrors, &rows, &mut self.keys);
        self.met.glance(&self.keys);
        rows
    }

    /// Takes in a state, if it is new and within the boundary.
    #[inline]
    fn accept(&mut self, row: &Row, print: u64, key: u64) {
        let has_boundary = self.space.rules.has_boundary;
        if has_boundary && !self.met.contains(key) && self.is_beyond(row, key) {
            return;
        }
        if self.insert(row, print, key) {
            self.welcome(row, print);
        }
    }

    /// True if a state is beyond the boundary. A transition leads there, and is cut off.
    fn is_beyond(&mut self, row: &Row, key: u64) -> bool {
        let beyond = self.beyond.contains(&key) || !self.space.is_within_boundary(row);
        if beyond {
            self.beyond.insert(key);
            self.cut_off += 1;
        }
        beyond
    }

    /// True if this state is new.
    #[inline]
    fn insert(&mut self, row: &Row, print: u64, key: u64) -> bool {
        match (&mut self.mirrors, self.options.exact) {
            (Some(mirrors), true) => {
                let (key, image) = mirrors.canonical_row(&mut self.space, row, print);
                self.met.insert(&image, key)
            }
            _ => self.met.insert(row, key),
        }
    }

    /// Takes in a state that is new.
    fn welcome(&mut self, row: &Row, print: u64) {
        self.judge.look(&mut self.space, row, self.depth);
        self.next.push(row, print);
    }

    /// Of these states, known under these fingerprints, keeps those within the boundary.
    fn keep_within(&mut self, rows: &mut Rows, keys: &mut Vec<u64>) {
        let (all, all_keys) = (std::mem::take(rows), std::mem::take(keys));
        for (at, key) in all_keys.into_iter().enumerate() {
            let (row, print) = all.get(at);
            if !self.is_beyond(row, key) {
                rows.push(row, print);
                keys.push(key);
            }
        }
    }

    /// What was found at this level is expanded next.
    fn turn(&mut self) {
        self.level.clear();
        std::mem::swap(&mut self.level, &mut self.next);
        std::mem::swap(&mut self.level_on_disk, &mut self.next_on_disk);
    }

    /// What was found.
    fn part(&self) -> Part {
        Part {
            unique: self.met.len(),
            generated: self.generated,
            depth: self.depth,
            cut_off: self.cut_off,
            waiting: self.waiting,
            sizes: self.space.sizes(),
            coverage: self.space.coverage(),
            bytes: self.met.bytes(),
            settled: self.judge.settled.clone(),
        }
    }
}

/// A shortest path to a state that settles a promise, if there is one: for a `sometimes` an example,
/// for the others a counterexample.
pub fn example<M: Machine, G: Ghost<M>>(
    world: &World<M, G>,
    promise: &str,
) -> Option<Vec<Action<M>>> {
    let at = (world.promises().iter()).position(|other| other.name == promise)?;
    if world.promises()[at].kind == Kind::Eventually {
        let lasso = cycles::lasso(&mut Space::new(world), at)?;
        return Some(actions(world, &lasso));
    }
    let mut search = Search::new(world, Options::default());
    search.judge = Judge::new(&search.space.rules, |other| other == at);
    search.run(&mut unwatched);
    let steps = search.judge.settled[at]?;
    Some(actions(world, &story(&mut search.space, at, steps)))
}

/// The actions at these places among those that the world offers, one after the other.
fn actions<M: Machine, G: Ghost<M>>(world: &World<M, G>, path: &[usize]) -> Vec<Action<M>> {
    let mut state = world.initial();
    let mut actions = Vec::with_capacity(path.len());
    for at in path {
        let mut offered = Vec::new();
        world.each_action(&state, |action| offered.push(action));
        let action = offered.swap_remove(*at);
        let next = world.apply(&state, &action);
        state = next.expect("a path that was walked once can be walked again");
        actions.push(action);
    }
    actions
}

/// The story of a promise that is settled in so many steps and no fewer: the place of each action
/// among those that the world offers.
fn story(space: &mut Space<'_>, promise: usize, steps: usize) -> Vec<usize> {
    let mut mirrors = Mirrors::new(space.places, &space.rules.alike);
    let (row, print) = space.initial();
    let mut batch = Batch {
        rows: Rows::default(),
        lately: Vec::new(),
    };
    let (mut level, mut keys, mut level_keys) = (Rows::default(), Vec::new(), Vec::new());
    level.push(&row, print);
    name(space, &mut mirrors, &level, &mut level_keys);
    let mut met = Table::default();
    met.insert(level_keys[0]);
    let mut parents: HashMap<u64, u64> = HashMap::new();
    for _ in 0..steps {
        let mut next: HashMap<u64, u64> = HashMap::new();
        let mut rows = Rows::default();
        for (at, parent) in level_keys.iter().enumerate() {
            let (row, print) = level.get(at);
            batch.rows.clear();
            space.expand(row, print, &mut batch);
            name(space, &mut mirrors, &batch.rows, &mut keys);
            for (at, key) in keys.iter().enumerate() {
                let (row, print) = batch.rows.get(at);
                if met.contains(*key) || !space.is_within_boundary(row) {
                    continue;
                }
                let known = next.entry(*key).or_insert_with(|| {
                    rows.push(row, print);
                    *parent
                });
                *known = *parent.min(known);
            }
        }
        level = rows;
        name(space, &mut mirrors, &level, &mut level_keys);
        for key in &level_keys {
            met.insert(*key);
        }
        parents.extend(next);
    }
    let mut judge = Judge::new(&space.rules, |other| other == promise);
    let mut ends = Vec::new();
    for (at, key) in level_keys.iter().enumerate() {
        let (row, _) = level.get(at);
        if judge.look(space, row, steps) {
            ends.push(*key);
            judge = Judge::new(&space.rules, |other| other == promise);
        }
    }
    let end = (ends.into_iter().min()).expect("what was found once is found again");
    let mut prints = vec![end];
    while let Some(parent) = prints.last().and_then(|print| parents.get(print)) {
        prints.push(*parent);
    }
    prints.reverse();
    retrace(space, &mut mirrors, &prints[1..])
}

/// The actions that lead through these states: of those that lead to the next one, the first that
/// the world offers.
fn retrace(space: &mut Space<'_>, mirrors: &mut Option<Mirrors>, keys: &[u64]) -> Vec<usize> {
    let mut path = Vec::with_capacity(keys.len());
    for wanted in keys {
        let offers = space.offers(&path);
        let leads_on = offers.iter().position(|(_, next)| {
            let known = |(row, print): &Printed| key(space, mirrors, row, *print);
            next.as_ref().map(known) == Some(*wanted)
        });
        path.push(leads_on.expect("a path that was walked once can be walked again"));
    }
    path
}
