//! Updates: what is broadcast, and what a key holds.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::{Dot, Stamp, Vector};
use crate::data::NodeSet;
use crate::machine::NodeId;

/// The longest key, in bytes: with the longest value and stamp it fits one datagram.
pub const KEY_BYTES_MAX: usize = 128;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 512;
/// How many updates one node makes before it refuses more. A count is then at most six bytes on the
/// wire, so that the stamp of 64 members fits too, and the sum of 64 counts is far from any limit.
pub const COUNT_MAX: u64 = (1 << 42) - 1;

/// A value that was written to a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Where it was written.
    pub origin: NodeId,
    /// How many updates of each node the origin had delivered then: this one, its own, is counted.
    /// So the entry of the origin is the number of the update, and the others are its causes.
    pub stamp: Vector,
    /// What was written.
    pub value: String,
}

/// A version and its key: what is broadcast.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Update {
    /// The key.
    pub key: String,
    /// The version.
    pub version: Version,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?} {:?}", self.value, self.dot(), self.stamp)
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}", self.key, self.version)
    }
}

impl Version {
    /// Its name: no two updates share one.
    pub fn dot(&self) -> Dot {
        Dot {
            node: self.origin,
            counter: self.stamp.get(self.origin),
        }
    }

    /// Its place in the total order of all updates, which no effect has before its cause: an effect
    /// counts all that its cause counts, and itself, so the sum of its counts is larger. It is a
    /// Lamport stamp that nobody had to keep. Of concurrent versions of a key the last one stays.
    pub fn rank(&self) -> Stamp {
        let counts = self.stamp.iter().map(|(_, count)| count);
        Stamp {
            time: counts.fold(0, u64::saturating_add),
            node: self.origin,
        }
    }

    /// True if a node that has delivered what `clock` counts is to deliver this next: it has all the
    /// causes, and of the origin's updates this is the first that it has not.
    pub fn is_next(&self, clock: &Vector) -> bool {
        // Birman et al., §5.1, the delay of a message m from p_i at p_j: until VT(m)[k] = VT(p_j)[k] + 1
        // for k = i, and VT(m)[k] <= VT(p_j)[k] for all others.
        let dot = self.dot();
        clock.get(dot.node).checked_add(1) == Some(dot.counter)
            && (self.stamp.iter()).all(|(node, count)| node == dot.node || count <= clock.get(node))
    }
}

impl Update {
    /// True if a node among `members` could have made it, and a datagram carries it.
    pub fn is_sound(&self, members: NodeSet) -> bool {
        let Version { origin, stamp, .. } = &self.version;
        self.fits() && stamp.get(*origin) > 0 && is_counted(stamp, members)
    }

    /// True if it is short enough.
    pub fn fits(&self) -> bool {
        self.key.len() <= KEY_BYTES_MAX && self.version.value.len() <= VALUE_BYTES_MAX
    }
}

/// True if the vector counts updates of members alone, and not too many.
pub(super) fn is_counted(vector: &Vector, members: NodeSet) -> bool {
    (vector.iter()).all(|(node, count)| members.contains(node) && count <= COUNT_MAX)
}
