//! Runs that never end and never reach a goal, although nothing that could happen for ever is put off
//! for ever.
//!
//! A promise of the kind [`Kind::Eventually`](crate::promise::Kind::Eventually) falls if there is a
//! *weakly fair* run on which the goal is not reached again and again. In a finite world such a run
//! ends up in one strongly connected component of the states that miss the goal, and it is fair if for
//! each [`Deed`] that is owed, the component has a state in which it cannot be done or a transition
//! that does it. If the whole of a component is not fair, no part of it is: the deed that is not done
//! there can be done in all of it. So it is enough to look at the maximal ones, each once.
//!
//! What there is to see is a *lasso*: a shortest way into the component, and a way round in it that is
//! fair. If nothing is owed, the run may end there, and the way round is empty.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Rows;
use super::contents::On;
use super::space::{Deed, Memo, Row, Sink, Space};

/// Every state, and what leads from each to which.
#[derive(Default)]
struct Graph {
    rows: Rows,
    /// How many steps lead to each state, at least.
    levels: Vec<usize>,
    /// The edge that led to each state first: from where, and by what.
    parents: Vec<Option<(u32, Deed)>>,
    /// The edges of each state are those up to here.
    ends: Vec<usize>,
    edges: Vec<(Deed, u32)>,
    misses: Vec<bool>,
}

/// Beyond the boundary.
const OUTSIDE: u32 = u32::MAX;
const UNSEEN: u32 = u32::MAX;

/// Successors, each with what leads to it.
#[derive(Default)]
struct Tray {
    rows: Rows,
    deeds: Vec<Deed>,
    now: Option<Deed>,
}

impl Sink for Tray {
    const DEEDS: bool = true;

    fn does(&mut self, deed: Deed) {
        self.now = Some(deed);
    }

    fn wants(&mut self, _: u64) -> bool {
        true
    }

    fn tray(&mut self, _: u64) -> &mut Rows {
        self.deeds.extend(self.now);
        &mut self.rows
    }
}

/// The story of a promise that is not kept on some fair run: the places of actions among those that
/// are offered, the way in and then once round. Nothing if there is no such run.
pub(super) fn lasso(space: &mut Space<'_>, promise: usize) -> Option<Vec<usize>> {
    let graph = Graph::new(space, promise);
    let entry = |component: &Vec<u32>| {
        let named = |state: &u32| (graph.levels[*state as usize], graph.print(*state), *state);
        component.iter().map(named).min()
    };
    let components = graph.components().into_iter();
    let fair = components.filter(|component| graph.is_fair(component));
    let (component, (_, _, entry)) = fair
        .filter_map(|component| Some((entry(&component)?, component)))
        .min_by_key(|(entry, _)| *entry)
        .map(|(entry, component)| (component, entry))?;
    let mut steps = graph.way_in(entry);
    steps.extend(graph.way_round(entry, &component));
    Some(retrace(space, &graph, &steps))
}

impl Graph {
    fn new(space: &mut Space<'_>, promise: usize) -> Self {
        let mut graph = Self::default();
        let mut numbers: Memo<u32> = Memo::default();
        let (row, print) = space.initial();
        graph.add(&row, print, 0, None, misses(space, promise, &row));
        numbers.insert(print, 0);
        let mut tray = Tray::default();
        let mut at = 0;
        while at < graph.rows.len() {
            let number = short(at);
            let (row, print) = graph.rows.get(at);
            space.expand(row, print, &mut tray);
            for (place, deed) in tray.deeds.drain(..).enumerate() {
                let (row, print) = tray.rows.get(place);
                let known = numbers.get(&print).copied();
                let next = known.unwrap_or_else(|| {
                    if !space.is_within_boundary(row) {
                        numbers.insert(print, OUTSIDE);
                        return OUTSIDE;
                    }
                    let next = short(graph.rows.len());
                    let level = graph.levels[at] + 1;
                    let misses = misses(space, promise, row);
                    graph.add(row, print, level, Some((number, deed)), misses);
                    numbers.insert(print, next);
                    next
                });
                graph.edges.push((deed, next));
            }
            tray.rows.clear();
            graph.ends.push(graph.edges.len());
            at += 1;
        }
        graph
    }

    fn add(
        &mut self,
        row: &Row,
        print: u64,
        level: usize,
        parent: Option<(u32, Deed)>,
        misses: bool,
    ) {
        self.rows.push(row, print);
        self.levels.push(level);
        self.parents.push(parent);
        self.misses.push(misses);
    }

    fn print(&self, state: u32) -> u64 {
        self.rows.get(state as usize).1
    }

    fn edges(&self, state: u32) -> &[(Deed, u32)] {
        let at = state as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.edges[start..self.ends[at]]
    }

    /// What is owed in a state.
    fn owed(&self, state: u32) -> BTreeSet<Deed> {
        let deeds = self.edges(state).iter().map(|(deed, _)| *deed);
        deeds.filter(Deed::is_owed).collect()
    }

    /// The strongly connected components of the states that miss the goal (Tarjan, without
    /// recursion).
    fn components(&self) -> Vec<Vec<u32>> {
        let count = self.misses.len();
        let (mut order, mut low) = (vec![UNSEEN; count], vec![0; count]);
        let mut is_open = vec![false; count];
        let (mut open, mut found) = (Vec::new(), Vec::new());
        let mut next = 0;
        for root in (0..count).filter(|at| self.misses[*at]) {
            if order[root] != UNSEEN {
                continue;
            }
            // A state, and how many of its edges were followed.
            let mut path = vec![(short(root), 0)];
            while let Some((state, followed)) = path.last_mut() {
                let (at, state_now) = (*state as usize, *state);
                if *followed == 0 {
                    (order[at], low[at]) = (next, next);
                    next += 1;
                    open.push(state_now);
                    is_open[at] = true;
                }
                let edge = self.edges(state_now).get(*followed);
                *followed += 1;
                let Some((_, to)) = edge else {
                    path.pop();
                    if let Some((before, _)) = path.last() {
                        let before = *before as usize;
                        low[before] = low[before].min(low[at]);
                    }
                    if low[at] == order[at] {
                        let start = open.iter().rposition(|other| *other == state_now);
                        let component = open.split_off(start.expect("it is open"));
                        for state in &component {
                            is_open[*state as usize] = false;
                        }
                        found.push(component);
                    }
                    continue;
                };
                if *to == OUTSIDE || !self.misses[*to as usize] {
                    continue;
                }
                let there = *to as usize;
                if order[there] == UNSEEN {
                    path.push((*to, 0));
                } else if is_open[there] {
                    low[at] = low[at].min(order[there]);
                }
            }
        }
        found
    }

    /// True if a fair run may stay there for ever.
    fn is_fair(&self, component: &[u32]) -> bool {
        let Some(first) = component.first() else {
            return false;
        };
        let members: BTreeSet<u32> = component.iter().copied().collect();
        let mut put_off = self.owed(*first);
        for state in component {
            if put_off.is_empty() {
                return true;
            }
            let here = self.owed(*state);
            put_off.retain(|deed| here.contains(deed));
            for (deed, to) in self.edges(*state) {
                if members.contains(to) {
                    put_off.remove(deed);
                }
            }
        }
        put_off.is_empty()
    }

    /// A shortest way from the initial state.
    fn way_in(&self, to: u32) -> Vec<(Deed, u32)> {
        let mut steps = Vec::new();
        let mut at = to;
        while let Some((from, deed)) = self.parents[at as usize] {
            steps.push((deed, at));
            at = from;
        }
        steps.reverse();
        steps
    }

    /// A way from a state back to it, within a component that is fair, on which nothing that is owed
    /// all the time is put off all the time.
    fn way_round(&self, entry: u32, component: &[u32]) -> Vec<(Deed, u32)> {
        let members: BTreeSet<u32> = component.iter().copied().collect();
        let mut put_off = self.owed(entry);
        let mut steps = Vec::new();
        let mut at = entry;
        while let Some(deed) = put_off.first().copied() {
            let leg = self.leg(at, &members, |state, last| {
                last == Some(deed) || !self.owed(state).contains(&deed)
            });
            for (deed, state) in &leg {
                put_off.remove(deed);
                let here = self.owed(*state);
                put_off.retain(|deed| here.contains(deed));
                at = *state;
            }
            steps.extend(leg);
        }
        steps.extend(self.leg(at, &members, |state, _| state == entry));
        steps
    }

    /// A shortest way, within these states, to where `arrives` says: of a state, and of what led to it.
    fn leg(
        &self,
        from: u32,
        members: &BTreeSet<u32>,
        arrives: impl Fn(u32, Option<Deed>) -> bool,
    ) -> Vec<(Deed, u32)> {
        if arrives(from, None) {
            return Vec::new();
        }
        let mut parents: BTreeMap<u32, (u32, Deed)> = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(state) = queue.pop_front() {
            for (deed, to) in self.edges(state) {
                if !members.contains(to) {
                    continue;
                }
                if arrives(*to, Some(*deed)) {
                    let mut steps = vec![(*deed, *to)];
                    let mut at = state;
                    while at != from {
                        let (before, deed) = parents[&at];
                        steps.push((deed, at));
                        at = before;
                    }
                    steps.reverse();
                    return steps;
                }
                if *to != from && !parents.contains_key(to) {
                    parents.insert(*to, (state, *deed));
                    queue.push_back(*to);
                }
            }
        }
        unreachable!("a component that is fair and strongly connected has such a way")
    }
}

/// True if the goal of a promise is missed in a state.
fn misses(space: &Space<'_>, promise: usize, row: &Row) -> bool {
    let (_, outer, _) = space.parts(row);
    match &space.rules.pledges[promise].on {
        On::Clients(goal) => !goal(space.clients(space.clients_of(outer))),
        On::Told | On::Nodes | On::Still | On::Whole => !space.is_met(promise, row),
    }
}

/// The places of these steps among the actions that the world offers.
fn retrace(space: &mut Space<'_>, graph: &Graph, steps: &[(Deed, u32)]) -> Vec<usize> {
    let mut path = Vec::with_capacity(steps.len());
    for (deed, to) in steps {
        let wanted = graph.print(*to);
        let offers = space.offers(&path);
        let taken = offers.iter().position(|(offered, next)| {
            offered == deed && next.as_ref().is_some_and(|(_, print)| *print == wanted)
        });
        path.push(taken.expect("what was done once can be done again"));
    }
    path
}

fn short(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 states")
}
