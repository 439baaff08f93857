//! Histories of sessions, and whether they are causally consistent.
//!
//! A session is what one client asked and was told, in its order. Sessions have no common clock: who
//! returned before whose call is not asked, unlike in [`crate::history`]. What is asked is whether
//! effects were seen before their causes. Two answers to that:
//!
//! * [`causal`]: weak causal consistency (`CC`), the common core. Operations have a causal order, which
//!   extends that of the sessions; and each get, alone, can be explained by putting what is before it
//!   in some order that respects it.
//! * [`convergent`]: causal convergence (`CCv`). The same, and there is one order for all gets. It is what
//!   causal+ stores promise: Lloyd et al., SOSP 2011.
//!
//! The definitions are those of Bouajjani, Enea, Guerraoui and Hamza, *On Verifying Causal Consistency*,
//! POPL 2017, which also shows that both are NP-complete in general, and polynomial if no two puts write
//! the same value to one key: then a history is consistent if and only if it has none of a few *bad
//! patterns*. All histories here are of that kind, and what is not is refused.
//!
//! # The time it takes
//!
//! The causal order is the transitive closure of session order and reads-from; it is kept as a vector
//! clock per operation, as every session is a chain. A get of a key looks at the last put of each session
//! that is before it, for an earlier one is before that one. So *n* operations of *k* sessions take
//! *n·k* steps and a logarithm; the bad patterns as they are written take *n*³. That it can be so is
//! Biswas and Enea's observation, *On the Complexity of Checking Transactional Consistency*, OOPSLA 2019,
//! for a number of sessions that is fixed.
//!
//! # Unknown outcomes
//!
//! A put that never returned may have taken effect, then or later, or not. It is after what its session
//! had seen; it is before nothing that the session did next, for that was not told of it. So it is a chain
//! of its own, and counts among the *k*. A get that never returned says nothing, and has no place in a
//! history.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// What a client asked, and what it was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation<K, V> {
    /// It put a value.
    Put {
        /// The key.
        key: K,
        /// The value, which no other put writes to this key.
        value: V,
        /// Whether it was told that this is done.
        returned: bool,
    },
    /// It got a value, or nothing.
    Get {
        /// The key.
        key: K,
        /// What it was told.
        value: Option<V>,
    },
}

/// Where an operation is in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Which session.
    pub session: usize,
    /// Which of its operations.
    pub operation: usize,
}

/// The fifth operation of the third session is `2.4`.
impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.session, self.operation)
    }
}

/// Why a history is refused: a bad pattern, by its name in the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// Two puts write one value to one key, so that nobody can tell which of them a get saw. The
    /// history may be consistent or not.
    Ambiguous(Place, Place),
    /// *`ThinAirRead`*: a get saw what nobody put.
    ThinAir(Place),
    /// *`CyclicCO`*: an operation is among its own causes.
    CyclicCauses(Place),
    /// *`WriteCOInitRead`*: a get saw nothing, though the put is among its causes.
    PutBeforeNothing {
        /// The put.
        put: Place,
        /// The get.
        get: Place,
    },
    /// *`WriteCORead`*: a get saw a put, though another one that overwrites it is among its causes.
    Overwritten {
        /// What it saw.
        seen: Place,
        /// What overwrites that.
        newer: Place,
        /// The get.
        get: Place,
    },
    /// *`CyclicCF`*: no one order of concurrent puts explains what the gets saw; the operation would have
    /// to be before itself.
    CyclicConflicts(Place),
}

impl Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous(one, other) => write!(f, "{one} and {other} put one value to one key"),
            Self::ThinAir(get) => write!(f, "{get} saw what nobody put"),
            Self::CyclicCauses(place) => write!(f, "{place} is among its own causes"),
            Self::PutBeforeNothing { put, get } => {
                write!(f, "{get} saw nothing, though {put} is among its causes")
            }
            Self::Overwritten { seen, newer, get } => {
                write!(
                    f,
                    "{get} saw {seen}, which {newer}, among its causes, overwrites"
                )
            }
            Self::CyclicConflicts(place) => {
                write!(
                    f,
                    "no order of concurrent puts has {place} after all it must follow"
                )
            }
        }
    }
}

impl Error for Pattern {}

/// Whether no effect was seen before its cause: weak causal consistency.
///
/// # Errors
///
/// A bad pattern that it has.
pub fn causal<K: Ord, V: Ord>(sessions: &[Vec<Operation<K, V>>]) -> Result<(), Pattern> {
    Causes::of(sessions)?.check(&mut |_, _| {})
}

/// Whether no effect was seen before its cause, and one order of concurrent puts explains all that was
/// seen: causal convergence.
///
/// # Errors
///
/// A bad pattern that it has.
pub fn convergent<K: Ord, V: Ord>(sessions: &[Vec<Operation<K, V>>]) -> Result<(), Pattern> {
    let causes = Causes::of(sessions)?;
    let mut after = causes.after.clone();
    causes.check(&mut |overwritten, seen| after[overwritten].push(seen))?;
    match order(&after) {
        Ok(_) => Ok(()),
        Err(stuck) => Err(Pattern::CyclicConflicts(causes.places[stuck])),
    }
}

/// Operations in chains: those of a session that returned, or a put that did not, alone.
struct Causes<'a, K, V> {
    sessions: &'a [Vec<Operation<K, V>>],
    /// Of each operation, where it is.
    places: Vec<Place>,
    /// Its chain, and its place there.
    links: Vec<(usize, usize)>,
    /// Which come directly after it, in its session or because they read from it.
    after: Vec<Vec<usize>>,
    /// How many of each chain are before it, or it.
    clocks: Vec<Vec<usize>>,
    /// What each get saw.
    seen: BTreeMap<usize, usize>,
    /// The puts of each key, chain by chain, in order.
    puts: BTreeMap<&'a K, BTreeMap<usize, Vec<usize>>>,
}

impl<'a, K: Ord, V: Ord> Causes<'a, K, V> {
    fn of(sessions: &'a [Vec<Operation<K, V>>]) -> Result<Self, Pattern> {
        let mut causes = Self {
            sessions,
            places: Vec::new(),
            links: Vec::new(),
            after: Vec::new(),
            clocks: Vec::new(),
            seen: BTreeMap::new(),
            puts: BTreeMap::new(),
        };
        let writers = causes.link()?;
        causes.read(&writers)?;
        let order =
            order(&causes.after).map_err(|stuck| Pattern::CyclicCauses(causes.places[stuck]))?;
        causes.count(&order);
        Ok(causes)
    }

    fn operation(&self, at: usize) -> &'a Operation<K, V> {
        let Place { session, operation } = self.places[at];
        &self.sessions[session][operation]
    }

    /// Lays out the chains. Gives who put which value to which key.
    fn link(&mut self) -> Result<BTreeMap<(&'a K, &'a V), usize>, Pattern> {
        let mut writers = BTreeMap::new();
        let mut lone = self.sessions.len();
        for (session, operations) in self.sessions.iter().enumerate() {
            let mut last: Option<usize> = None;
            let mut length = 0;
            for (index, operation) in operations.iter().enumerate() {
                let at = self.places.len();
                let place = Place {
                    session,
                    operation: index,
                };
                self.places.push(place);
                self.after.push(Vec::new());
                if let Some(last) = last {
                    self.after[last].push(at);
                }
                let pending = matches!(operation, Operation::Put { returned, .. } if !returned);
                let link = if pending {
                    (lone, 0)
                } else {
                    (session, length)
                };
                self.links.push(link);
                if pending {
                    lone += 1;
                } else {
                    last = Some(at);
                    length += 1;
                }
                if let Operation::Put { key, value, .. } = operation {
                    if let Some(other) = writers.insert((key, value), at) {
                        return Err(Pattern::Ambiguous(self.places[other], place));
                    }
                    let chains = self.puts.entry(key).or_default();
                    chains.entry(link.0).or_default().push(at);
                }
            }
        }
        Ok(writers)
    }

    /// Finds what each get saw.
    fn read(&mut self, writers: &BTreeMap<(&'a K, &'a V), usize>) -> Result<(), Pattern> {
        for at in 0..self.places.len() {
            let Operation::Get {
                key,
                value: Some(value),
            } = self.operation(at)
            else {
                continue;
            };
            let Some(put) = writers.get(&(key, value)) else {
                return Err(Pattern::ThinAir(self.places[at]));
            };
            self.seen.insert(at, *put);
            self.after[*put].push(at);
        }
        Ok(())
    }

    /// Counts what is before each operation, in an order in which that comes first.
    fn count(&mut self, order: &[usize]) {
        let chains = self.links.iter().map(|(chain, _)| chain + 1).max();
        self.clocks = vec![vec![0; chains.unwrap_or(0)]; self.places.len()];
        for at in order {
            let (chain, place) = self.links[*at];
            let mut clock = std::mem::take(&mut self.clocks[*at]);
            clock[chain] = place + 1;
            for next in &self.after[*at] {
                for (count, more) in self.clocks[*next].iter_mut().zip(&clock) {
                    *count = (*count).max(*more);
                }
            }
            self.clocks[*at] = clock;
        }
    }

    /// True if the one is among the causes of the other, or is the other.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (chain, place) = self.links[one];
        place < self.clocks[other][chain]
    }

    /// Looks for a get that saw nothing or something that was overwritten. Calls `conflict` with each put
    /// that a get could have seen, and the one that it saw: the last ones of their chains, after which
    /// all others come.
    fn check(&self, conflict: &mut impl FnMut(usize, usize)) -> Result<(), Pattern> {
        for at in 0..self.places.len() {
            let Operation::Get { key, .. } = self.operation(at) else {
                continue;
            };
            let seen = self.seen.get(&at).copied();
            for puts in self.puts.get(key).into_iter().flat_map(BTreeMap::values) {
                let before = puts.partition_point(|put| self.is_before(*put, at));
                let Some(last) = before.checked_sub(1).map(|last| puts[last]) else {
                    continue;
                };
                let (put, get) = (self.places[last], self.places[at]);
                match seen {
                    None => return Err(Pattern::PutBeforeNothing { put, get }),
                    Some(seen) if seen == last => {}
                    Some(seen) if self.is_before(seen, last) => {
                        return Err(Pattern::Overwritten {
                            seen: self.places[seen],
                            newer: put,
                            get,
                        });
                    }
                    Some(seen) => conflict(last, seen),
                }
            }
        }
        Ok(())
    }
}

/// All nodes of a graph, each before those that come after it (Kahn 1962); or one that cannot be, for it
/// is on a cycle or comes after one.
fn order(after: &[Vec<usize>]) -> Result<Vec<usize>, usize> {
    let mut before = vec![0_usize; after.len()];
    for next in after.iter().flatten() {
        before[*next] += 1;
    }
    let mut order: Vec<usize> = (0..after.len()).filter(|at| before[*at] == 0).collect();
    let mut done = 0;
    while let Some(at) = order.get(done).copied() {
        done += 1;
        for next in &after[at] {
            before[*next] -= 1;
            if before[*next] == 0 {
                order.push(*next);
            }
        }
    }
    let stuck = before.iter().position(|count| *count > 0);
    stuck.map_or(Ok(order), Err)
}
