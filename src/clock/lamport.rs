//! Lamport's clock: a number that grows along every chain of causes.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::Exhausted;
use crate::machine::NodeId;

/// The clock of one node: the time of its last event, 0 before the first.
///
/// ```
/// use quorate::clock::Lamport;
/// use quorate::machine::NodeId;
///
/// let (mut here, mut there) = (Lamport::default(), Lamport::default());
/// let sent = here.tick(NodeId(0))?;
/// let received = there.receive(NodeId(1), sent)?;
/// assert!(sent < received);
/// # Ok::<(), quorate::clock::Exhausted>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Lamport(u64);

/// The time of an event and the node where it happened. Stamps are totally ordered, by time and then
/// by node, and the order extends happens-before: Lamport's ⇒.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// When.
    pub time: u64,
    /// Where. Of two events of one time, the one at the smaller node is first.
    pub node: NodeId,
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.time, self.node)
    }
}

impl Lamport {
    /// The time of the last event.
    pub fn time(self) -> u64 {
        self.0
    }

    /// An event happens at `me` that is no receipt; a message that it sends carries the stamp.
    ///
    /// # Errors
    ///
    /// If there is no later time.
    pub fn tick(&mut self, me: NodeId) -> Result<Stamp, Exhausted> {
        // IR1: the clock is incremented between any two successive events.
        self.0 = self.0.checked_add(1).ok_or(Exhausted)?;
        Ok(Stamp {
            time: self.0,
            node: me,
        })
    }

    /// A message arrives at `me` that carries the stamp of its sending.
    ///
    /// # Errors
    ///
    /// If there is no time later than both.
    pub fn receive(&mut self, me: NodeId, sent: Stamp) -> Result<Stamp, Exhausted> {
        // IR2(b): not less than its present value, and greater than the message's. The receipt is an
        // event too, so it is greater than both.
        let mut later = Self(self.0.max(sent.time));
        let stamp = later.tick(me)?;
        *self = later;
        Ok(stamp)
    }
}
