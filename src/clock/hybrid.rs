//! The hybrid logical clock: a time close to the wall's, that nevertheless grows along every chain of
//! causes.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::Exhausted;

/// The clock of one node: the time of its last event.
///
/// Physical time is an input: whoever owns the clock reads the wall's and says what it shows, in
/// units of its own choice, the same on all nodes. It may stand still and may be set back. The clock
/// goes on all the same; kept on disk, it goes on after a restart.
///
/// ```
/// use quorate::clock::Hybrid;
///
/// const DRIFT_MAX_MS: u64 = 500;
/// let (mut fast, mut slow) = (Hybrid::default(), Hybrid::default());
/// let sent = fast.tick(1_020)?;
/// let received = slow.receive(1_000, sent, DRIFT_MAX_MS).expect("20 ms are no drift");
/// assert!(sent < received);
/// assert!(slow.receive(1_000, fast.tick(9_000)?, DRIFT_MAX_MS).is_err());
/// # Ok::<(), quorate::clock::Exhausted>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hybrid {
    latest: HybridTime,
}

/// A point of hybrid time: the paper's pair of l and c, ordered by l and then by c. Two nodes may have
/// one time; with the node beside it, it names the event.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HybridTime {
    /// The paper's l: the greatest physical time that the event could know of.
    pub physical: u64,
    /// The paper's c: how many events, one the cause of the next, share that physical time at most.
    pub counter: u32,
}

impl fmt::Debug for HybridTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.physical, self.counter)
    }
}

/// Why a message was not received. The clock was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The sender's clock is further ahead of this node's physical time than is allowed. Taken over,
    /// it would drag this clock along, and by this clock all others.
    Drift {
        /// By how much it is ahead.
        ahead: u64,
    },
    /// There is no later time, until physical time passes the latest.
    Exhausted,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drift { ahead } => write!(
                f,
                "the sender's clock is {ahead} ahead of physical time: set one of the two right"
            ),
            Self::Exhausted => fmt::Display::fmt(&Exhausted, f),
        }
    }
}

impl core::error::Error for Refusal {}

/// The clock of a node whose last event was at this time, or was at least not later: what a restart
/// goes on from.
impl From<HybridTime> for Hybrid {
    fn from(latest: HybridTime) -> Self {
        Self { latest }
    }
}

impl Hybrid {
    /// The time of the last event.
    pub fn latest(self) -> HybridTime {
        self.latest
    }

    /// An event happens that is no receipt, while physical time is `now`; a message that it sends
    /// carries the time.
    ///
    /// # Errors
    ///
    /// If the counter is at its end and physical time has not passed the latest. Nothing was changed.
    pub fn tick(&mut self, now: u64) -> Result<HybridTime, Exhausted> {
        // Fig. 5, send or local event.
        self.advance(now, self.latest)
    }

    /// A message arrives that carries the time of its sending, while physical time is `now`. It is
    /// refused if its time is more than `drift_max` ahead of that. How far it is behind does not
    /// matter: old messages are late, not wrong.
    ///
    /// # Errors
    ///
    /// See [`Refusal`]. Nothing was changed.
    pub fn receive(
        &mut self,
        now: u64,
        sent: HybridTime,
        drift_max: u64,
    ) -> Result<HybridTime, Refusal> {
        let ahead = sent.physical.saturating_sub(now);
        if drift_max < ahead {
            return Err(Refusal::Drift { ahead });
        }
        // Fig. 5, receive event: the counter goes on from the later of the two times, if physical time
        // is not later still. The paper's three cases are the three in which `physical` is equal to
        // both, to the own, or to the sender's; the order of pairs knows them.
        let latest = self.latest.max(sent);
        self.advance(now, latest)
            .map_err(|Exhausted| Refusal::Exhausted)
    }

    /// The earliest time after `latest` that is not behind physical time.
    fn advance(&mut self, now: u64, latest: HybridTime) -> Result<HybridTime, Exhausted> {
        self.latest = if latest.physical < now {
            HybridTime {
                physical: now,
                counter: 0,
            }
        } else {
            HybridTime {
                physical: latest.physical,
                counter: latest.counter.checked_add(1).ok_or(Exhausted)?,
            }
        };
        Ok(self.latest)
    }
}
