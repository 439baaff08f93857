//! Whether to try again: how often, and out of which budget.

use serde::{Deserialize, Serialize};

/// How often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RetryLimits {
    /// So many attempts of one call, the first among them; not 0.
    pub attempts_max: u32,
    /// What a call adds to the budget, in hundredths of a retry.
    pub earned_percent: u32,
    /// What the budget holds at most, in hundredths of a retry, and holds at first.
    pub saved_percent_max: u32,
    /// How long the first attempt is waited for at least, in milliseconds. It is up to twice as long, as
    /// chance has it; and each further attempt is waited for twice as long as the one before.
    pub wait_ms: u64,
    /// At which that ends: no attempt is waited for longer than twice this, in milliseconds.
    pub wait_ms_max: u64,
}

/// The cost of a retry.
const RETRY_PERCENT: u32 = 100;

/// A retry budget: retries are paid for by calls, so that when everything fails the load grows by a
/// stated share and no more, however many attempts each call may take. With layers above each other
/// attempts multiply, and shares hardly do: three layers of three attempts make 27 of one call, three
/// budgets of a tenth make 1.33.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Budget {
    percent: u32,
}

impl Budget {
    /// A full one.
    pub fn new(limits: RetryLimits) -> Self {
        Self {
            percent: limits.saved_percent_max,
        }
    }

    /// A call was begun.
    pub fn earn(&mut self, limits: RetryLimits) {
        let earned = self.percent.saturating_add(limits.earned_percent);
        self.percent = earned.min(limits.saved_percent_max);
    }

    /// Pays for a retry, if it can.
    pub fn spend(&mut self) -> bool {
        match self.percent.checked_sub(RETRY_PERCENT) {
            Some(left) => {
                self.percent = left;
                true
            }
            None => false,
        }
    }
}
