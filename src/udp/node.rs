//! The loop with its I/O in one thread: a machine, a socket, and a disk that is waited for.
//!
//! A client runs on it, and has no disk. A member has a disk with a thread of its own: see
//! [`super::serve`].

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::cycle::{Cycle, Ground};
pub use super::cycle::{DATAGRAMS_PER_TURN_MAX, Stop};
use super::flush::Inline;
use super::journal::Disk;
use super::port::{Counters, Port, Udp};
use super::std;
use super::wire::Refusal;
use crate::data::NodeSet;
use crate::machine::{Machine, NodeId, State};
use mio::Waker;
use std::net::SocketAddr;
use std::time::Instant;

/// A machine on a socket and a disk.
#[derive(Debug)]
pub struct Node<M: Machine, D> {
    cycle: Cycle<M, Inline<M, D>, Udp>,
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
        let ground = Ground {
            port,
            flush: Inline::new(disk),
            recorder: None,
        };
        let started = Instant::now();
        let mut cycle = Cycle::boot(machine, me, durable, ground, seed)?;
        let events = cycle.release(Duration::ZERO)?;
        Ok((Self { cycle, started }, events))
    }

    /// One turn: `calls`, what arrived, and the alarms that are due, each a step; then one flush of
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
        let calls: Vec<M::Call> = calls.into_iter().collect();
        let wait = self.until_alarm().map_or(longest, |due| due.min(longest));
        if calls.is_empty() && !wait.is_zero() {
            self.cycle.ground_mut().port.wait(wait)?;
        }
        self.cycle.turn(self.started.elapsed(), calls)
    }

    /// The state in memory.
    pub fn state(&self) -> &State<M> {
        self.cycle.state()
    }

    /// What the node did so far.
    pub fn counters(&self) -> &Counters {
        &self.cycle.ground().port.counters
    }

    /// What ends the wait of a turn, from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.cycle.ground().port.waker()
    }

    /// Loses from now on whatever passes between this node and these, and nothing else.
    pub fn cut(&mut self, others: NodeSet) {
        self.cycle.ground_mut().port.cut(others);
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        self.cycle.machine()
    }

    /// How long it runs.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The first datagram dropped for each reason since this was last asked.
    pub fn first_drops(&mut self) -> Vec<(Refusal, SocketAddr)> {
        self.cycle.ground_mut().port.first_drops()
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        self.cycle.ground().flush.disk()
    }

    fn until_alarm(&self) -> Option<Duration> {
        let due = self.cycle.wakes_at()?;
        Some(due.saturating_sub(self.started.elapsed()))
    }
}
