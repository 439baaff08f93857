//! How surprising a silence is: phi, in whole numbers.
//!
//! Where the intervals between heartbeats are normally distributed, *phi* of a silence is the negative
//! decimal logarithm of how likely a heartbeat is to come after a longer one: of 1 a suspicion is wrong in
//! one case of ten, of 2 in one of a hundred. The observer chooses its threshold by the harm that a
//! mistake does.
//!
//! The tail of the normal distribution is taken as *1 / (1 + e^x)*, with *x = y (1.5976 + 0.070566 y²)*
//! and *y* the silence in standard deviations above the mean; so phi is *log10(1 + e^x)*, of which a
//! table has what is not linear.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// How many intervals are remembered.
pub const SAMPLES_MAX: usize = 64;

/// The last intervals between the heartbeats of one node, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Arrivals {
    intervals_ms: Vec<u32>,
}

impl Arrivals {
    /// Begins with two intervals that are guessed, so that the first silence is judged too: their mean is
    /// `guess_ms`, and their standard deviation a quarter of it.
    pub fn guess(guess_ms: u32) -> Self {
        let quarter = guess_ms / 4;
        let intervals_ms = [guess_ms - quarter, guess_ms.saturating_add(quarter)];
        Self {
            intervals_ms: intervals_ms.into(),
        }
    }

    /// A heartbeat came, so long after the one before. What is oldest is forgotten.
    pub fn record(&mut self, interval_ms: u32) {
        if self.intervals_ms.len() >= SAMPLES_MAX {
            self.intervals_ms.remove(0);
        }
        self.intervals_ms.push(interval_ms);
    }

    /// The mean interval, in milliseconds; 0 if there was none.
    pub fn mean_ms(&self) -> u64 {
        let sum: u64 = self.intervals_ms.iter().map(|ms| u64::from(*ms)).sum();
        let count = self.intervals_ms.len() as u64;
        sum.checked_div(count).unwrap_or(0)
    }

    /// The standard deviation of the intervals, in milliseconds, rounded down.
    pub fn deviation_ms(&self) -> u64 {
        let mean = self.mean_ms();
        let squares = self.intervals_ms.iter().map(|ms| {
            let distance = u128::from(u64::from(*ms).abs_diff(mean));
            distance * distance
        });
        let count = self.intervals_ms.len() as u128;
        let variance = squares.sum::<u128>().checked_div(count).unwrap_or(0);
        u64::try_from(variance.isqrt()).unwrap_or(u64::MAX)
    }

    /// Phi of a silence, in thousandths. The deviation is taken to be `deviation_ms_min` at least, for the
    /// most regular of nodes may be late by a little.
    pub fn phi(&self, silence_ms: u64, deviation_ms_min: u64) -> u64 {
        let deviation = self.deviation_ms().max(deviation_ms_min);
        phi(silence_ms, self.mean_ms(), deviation)
    }
}

/// Phi of a silence where intervals have this mean and this standard deviation, in thousandths. It never
/// falls as the silence grows. A deviation of 0 is taken for 1.
pub fn phi(silence_ms: u64, mean_ms: u64, deviation_ms: u64) -> u64 {
    // In thousandths of a deviation; beyond a thousand of them nothing is any surprise more.
    const Y_MAX: i128 = 1_000_000;
    let late = i128::from(silence_ms) - i128::from(mean_ms);
    let y = (late * 1_000 / i128::from(deviation_ms.max(1))).clamp(-Y_MAX, Y_MAX);
    let x = y * (1_597_600 + 70_566 * y * y / 1_000_000) / 1_000_000;
    let rest = i128::from(softened(u64::try_from(x.abs()).unwrap_or(u64::MAX)));
    let natural = x.max(0) + rest;
    // By the natural logarithm of 10.
    u64::try_from(natural * 1_000_000 / 2_302_585).unwrap_or(u64::MAX)
}

/// Thousandths between two entries of the table.
const STEP: u64 = 250;

/// *ln(1 + e^-x)*, in thousandths, for *x* from 0 in steps of a quarter.
const SOFTENED: [u32; 34] = [
    693, 576, 474, 387, 313, 252, 201, 160, 127, 100, 79, 62, 49, 38, 30, 23, 18, 14, 11, 9, 7, 5,
    4, 3, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0,
];

/// *ln(1 + e^-x)*, between two entries in a straight line; x and the result in thousandths.
fn softened(x: u64) -> u64 {
    let place = usize::try_from(x / STEP).unwrap_or(usize::MAX);
    let entry = |place: usize| SOFTENED.get(place).copied().map_or(0, u64::from);
    let (this, next) = (entry(place), entry(place.saturating_add(1)));
    this - (this - next) * (x % STEP) / STEP
}
