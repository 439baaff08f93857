//! The loop with its I/O: one thread, one socket, one disk.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::journal::{Disk, JournalError};
use super::port::{CLIENTS_MAX, Counters, Port, Received};
use super::std;
use super::turn::{Broken, Core, Effect};
use super::wire::Refusal;
use crate::data::NodeSet;
use crate::machine::{Input, Machine, NodeId, Sealed, State};
use mio::Waker;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// How many datagrams one turn takes at most: as many as are worth one flush of the disk, and few
/// enough that alarms are not kept waiting.
pub const DATAGRAMS_PER_TURN_MAX: usize = 256;

// Who is answered in a turn was heard in that turn, so nobody is forgotten in between.
const _: () = assert!(DATAGRAMS_PER_TURN_MAX < CLIENTS_MAX);

/// Why a node stopped by itself. What it said before is as good as ever; what it was about to say
/// it did not say. Started again, it goes on from its disk.
#[derive(Debug)]
pub enum Stop {
    /// The disk did not take what had to be durable.
    Disk(JournalError),
    /// The machine broke its own invariant. Nothing of that turn was persisted.
    Broken(Broken),
    /// The socket failed.
    Socket(io::Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Broken(broken) => broken.fmt(f),
            Self::Socket(error) => write!(f, "the socket failed: {error}"),
        }
    }
}

impl core::error::Error for Stop {}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Disk(error)
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

/// A machine on a socket and a disk.
#[derive(Debug)]
pub struct Node<M: Machine, D> {
    core: Core<M>,
    port: Port,
    disk: D,
    started: Instant,
}

impl<M: Machine, D: Disk<M::Durable>> Node<M, D> {
    /// Boots `machine` as `me` from `durable`, which is what `disk` holds.
    ///
    /// # Errors
    ///
    /// If what booting changed cannot be made durable, or the machine broke its own invariant.
    pub fn boot(
        machine: M,
        me: NodeId,
        durable: M::Durable,
        disk: D,
        port: Port,
        seed: u64,
    ) -> Result<(Self, Vec<M::Event>), Stop> {
        let (core, sealed) = Core::boot(machine, me, durable, seed)?;
        let mut node = Self {
            core,
            port,
            disk,
            started: Instant::now(),
        };
        let events = node.finish(sealed)?;
        Ok((node, events))
    }

    /// One turn: `calls`, what arrived, and an alarm if one is due, each a step; then one flush of
    /// the disk if anything durable changed; then what they said. With nothing to do it first waits
    /// for a datagram or an alarm, but not longer than `longest`, nor beyond a signal.
    ///
    /// # Errors
    ///
    /// If the node must stop. It is not to be asked for another turn.
    pub fn turn(
        &mut self,
        calls: impl IntoIterator<Item = M::Call>,
        longest: Duration,
    ) -> Result<Vec<M::Event>, Stop> {
        let mut inputs = calls.into_iter().map(Input::Call).collect();
        self.drain(&mut inputs)?;
        let wait = self.until_alarm().map_or(longest, |due| due.min(longest));
        if inputs.is_empty() && !wait.is_zero() {
            self.port.wait(wait)?;
            self.drain(&mut inputs)?;
        }
        match self.core.turn(self.started.elapsed(), inputs)? {
            Some(sealed) => self.finish(sealed),
            None => Ok(Vec::new()),
        }
    }

    /// The state in memory.
    pub fn state(&self) -> &State<M> {
        self.core.state()
    }

    /// What the node did so far.
    pub fn counters(&self) -> &Counters {
        &self.port.counters
    }

    /// What ends the wait of a turn, from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.port.waker()
    }

    /// Loses from now on whatever passes between this node and these, and nothing else.
    pub fn cut(&mut self, others: NodeSet) {
        self.port.cut(others);
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        self.core.machine()
    }

    /// How long it runs.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The first datagram dropped for each reason since this was last asked.
    pub fn first_drops(&mut self) -> Vec<(Refusal, SocketAddr)> {
        self.port.first_drops()
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    fn until_alarm(&self) -> Option<Duration> {
        let due = self.core.wakes_at()?;
        Some(due.saturating_sub(self.started.elapsed()))
    }

    fn drain(&mut self, inputs: &mut Vec<Input<M>>) -> Result<(), Stop> {
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            match self.port.receive()? {
                Received::Nothing => break,
                Received::Dropped | Received::Part => {}
                Received::Message { from, message } => {
                    inputs.push(Input::Message { from, message });
                }
            }
        }
        Ok(())
    }

    /// First the disk, then the world. A failed write ends here, and with it all that was to be said.
    fn finish(&mut self, sealed: Sealed<M>) -> Result<Vec<M::Event>, Stop> {
        let counters = &mut self.port.counters;
        counters.turns += 1;
        counters.commits += u64::from(!sealed.is_clean());
        let outputs = sealed.persist(|changes| self.disk.commit(changes))?;
        let mut events = Vec::new();
        for effect in self.core.release(self.started.elapsed(), outputs) {
            match effect {
                Effect::Send { to, message } => self.port.send(to, &message),
                Effect::Event(event) => events.push(event),
            }
        }
        self.disk.tidy(&self.core.state().durable)?;
        Ok(events)
    }
}
