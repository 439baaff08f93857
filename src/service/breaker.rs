//! A circuit breaker: whether it is worth trying.

use serde::{Deserialize, Serialize};

/// When a breaker opens, and how it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BreakerLimits {
    /// After so many failures in a row it opens; not 0.
    pub failures_max: u32,
    /// When it is half open, so many attempts are under way at most; not 0.
    pub probes_max: u32,
    /// For how long it is open at least, in milliseconds. It is up to twice as long, as chance has it.
    pub cool_ms: u64,
}

/// A circuit breaker (Nygard, *Release It!*, 2007).
///
/// Each change begins a new *generation*. An attempt carries the generation in which it was admitted,
/// and its result counts in that one alone: what an attempt finds that began before the breaker opened
/// says nothing about the time since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Breaker {
    /// How many changes there were.
    pub generation: u64,
    /// What it is.
    pub stage: Stage,
}

/// What a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// All attempts are admitted.
    Closed {
        /// How many failed since one succeeded.
        failures: u32,
    },
    /// None is.
    Open,
    /// A few are, to see whether it is worth it.
    HalfOpen {
        /// How many are under way.
        probes: u32,
    },
}

/// That an attempt was admitted. Whoever has it gives its result back, once: [`Breaker::succeeded`],
/// [`Breaker::failed`], or [`Breaker::abandoned`] if nobody will know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Permit {
    /// The generation in which it was admitted.
    pub generation: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            generation: 0,
            stage: Stage::Closed { failures: 0 },
        }
    }
}

impl Breaker {
    /// Admits an attempt, or does not.
    pub fn admit(&mut self, limits: BreakerLimits) -> Option<Permit> {
        match &mut self.stage {
            Stage::Closed { .. } => {}
            Stage::HalfOpen { probes } if *probes < limits.probes_max => *probes += 1,
            Stage::Open | Stage::HalfOpen { .. } => return None,
        }
        Some(Permit {
            generation: self.generation,
        })
    }

    /// The attempt succeeded. True if the breaker changed: it is closed now.
    pub fn succeeded(&mut self, permit: Permit) -> bool {
        if permit.generation != self.generation {
            return false;
        }
        match &mut self.stage {
            Stage::Closed { failures } => {
                *failures = 0;
                false
            }
            Stage::HalfOpen { .. } => {
                self.change(Stage::Closed { failures: 0 });
                true
            }
            // Nothing is admitted while it is open.
            Stage::Open => false,
        }
    }

    /// The attempt failed. True if the breaker changed: it is open now.
    pub fn failed(&mut self, permit: Permit, limits: BreakerLimits) -> bool {
        if permit.generation != self.generation {
            return false;
        }
        match &mut self.stage {
            Stage::Closed { failures } => {
                *failures += 1;
                if *failures < limits.failures_max {
                    return false;
                }
                self.change(Stage::Open);
                true
            }
            Stage::HalfOpen { .. } => {
                self.change(Stage::Open);
                true
            }
            Stage::Open => false,
        }
    }

    /// Nobody will know what came of the attempt. If it was a probe, another may take its place: a probe
    /// that is lost must not hold the breaker half open for ever.
    pub fn abandoned(&mut self, permit: Permit) {
        if permit.generation != self.generation {
            return;
        }
        match &mut self.stage {
            Stage::HalfOpen { probes } => *probes = probes.saturating_sub(1),
            Stage::Closed { .. } | Stage::Open => {}
        }
    }

    /// It has been open for long enough. True if the breaker changed: it is half open now.
    pub fn cooled(&mut self) -> bool {
        match self.stage {
            Stage::Open => {
                self.change(Stage::HalfOpen { probes: 0 });
                true
            }
            Stage::Closed { .. } | Stage::HalfOpen { .. } => false,
        }
    }

    fn change(&mut self, stage: Stage) {
        self.generation += 1;
        self.stage = stage;
    }
}
