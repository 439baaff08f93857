//! The bound of the worlds: so many terms.

use quorate::raft::{Durable, Raft, Term, Timer, Volatile};

use crate::bounded::{self, Bound};
use crate::flaw::Twin;

/// A machine whose election alarm is not heard any more once its node is in the last term.
pub type Bounded<M> = bounded::Bounded<M, LastTerm>;

/// The last term. Terms begin with the election alarm, and with a leadership that is handed over, which
/// is as rare as the calls for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastTerm {
    /// It.
    pub(super) term: Term,
    /// Whether this node's alarm is heard in any term.
    pub(super) stands: bool,
}

impl<M: Twin<Raft>> Bound<M> for LastTerm {
    fn is_beyond(&self, durable: &Durable, _: &Volatile, timer: &Timer) -> bool {
        *timer == Timer::Election && (!self.stands || self.term <= durable.term)
    }
}
