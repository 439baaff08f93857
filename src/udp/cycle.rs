//! The loop, on whatever socket and disk it is given, and whatever time it is told.
//!
//! The adapter runs it on a real socket and a real disk ([`super::node`]), the models' simulator on
//! those that it makes up. It is the same loop, to the last line.

use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::flush::{Flush, TURNS_IN_FLIGHT_MAX};
use super::journal::JournalError;
use super::metrics::Histogram;
use super::port::{CLIENTS_MAX, Port, Received, Socket};
use super::recording::Recorder;
use super::std;
use super::turn::{Broken, Core, Effect};
use crate::machine::{Input, Machine, NodeId, Sealed, State};
use std::io;

/// How many datagrams one turn takes at most: as many as are worth one flush of the disk, and few
/// enough that alarms are not kept waiting.
pub const DATAGRAMS_PER_TURN_MAX: usize = 256;

// Who is answered was heard not long ago, so nobody is forgotten in between.
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
    /// The recording that was asked for could not be written.
    Recording(io::Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Broken(broken) => broken.fmt(f),
            Self::Socket(error) => write!(f, "the socket failed: {error}"),
            Self::Recording(error) => write!(
                f,
                "the recording could not be written ({error}): make room, or start without --record"
            ),
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

/// What a node stands on.
#[derive(Debug)]
pub struct Ground<F, S> {
    /// Its socket, and who is behind it.
    pub port: Port<S>,
    /// Its disk.
    pub flush: F,
    /// What writes down all that it hears and says, if anything does.
    pub recorder: Option<Recorder>,
}

/// A machine on a socket and a disk.
#[derive(Debug)]
pub struct Cycle<M: Machine, F, S> {
    core: Core<M>,
    ground: Ground<F, S>,
}

impl<M: Machine, F: Flush<M>, S: Socket> Cycle<M, F, S> {
    /// Boots `machine` as `me` from `durable`, which is what its disk holds, at time zero.
    ///
    /// # Errors
    ///
    /// If what booting changed cannot be made durable, or the machine broke its own invariant.
    pub fn boot(
        machine: M,
        me: NodeId,
        durable: M::Durable,
        mut ground: Ground<F, S>,
        seed: u64,
    ) -> Result<Self, Stop> {
        if let Some(recorder) = &mut ground.recorder {
            recorder.boots::<M>(&durable).map_err(Stop::Recording)?;
        }
        let (mut core, sealed) = Core::boot(machine, me, durable, seed)?;
        if ground.recorder.is_some() {
            core.keep_heard();
        }
        let mut cycle = Self { core, ground };
        cycle.submit(sealed)?;
        Ok(cycle)
    }

    /// One turn, which waits for nothing: says what has become durable, then takes `calls`, what
    /// arrived, and the alarms that are due, each a step, and hands them to the disk together. Gives
    /// what the machine told, once it is durable: mostly of earlier turns.
    ///
    /// # Errors
    ///
    /// If the node must stop. It is not to be asked for another turn.
    pub fn turn(
        &mut self,
        now: Duration,
        calls: impl IntoIterator<Item = M::Call>,
    ) -> Result<Vec<M::Event>, Stop> {
        let mut events = self.release(now)?;
        let mut inputs: Vec<Input<M>> = calls.into_iter().map(Input::Call).collect();
        if self.has_room() {
            self.drain(&mut inputs)?;
        } else if inputs.is_empty() {
            return Ok(events);
        }
        let turned = self.core.turn(now, inputs);
        if let Some(recorder) = &mut self.ground.recorder {
            let heard = self.core.take_heard();
            recorder.hears(now, heard).map_err(Stop::Recording)?;
        }
        if let Some(sealed) = turned? {
            self.submit(sealed)?;
            events.extend(self.release(now)?);
        }
        Ok(events)
    }

    /// False if so many turns wait for the disk that nothing new should be asked.
    pub fn has_room(&self) -> bool {
        self.ground.flush.in_flight() < TURNS_IN_FLIGHT_MAX
    }

    /// When there is something to do though nothing arrives and nothing becomes durable, if ever.
    pub fn wakes_at(&self) -> Option<Duration> {
        self.core.wakes_at()
    }

    /// The state in memory. The disk may not have all of it yet.
    pub fn state(&self) -> &State<M> {
        self.core.state()
    }

    /// Which node it is.
    pub fn node(&self) -> NodeId {
        self.core.node()
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        self.core.machine()
    }

    /// How long after their moments alarms rang.
    pub fn lateness(&self) -> &Histogram {
        self.core.lateness()
    }

    /// What it stands on.
    pub fn ground(&self) -> &Ground<F, S> {
        &self.ground
    }

    /// What it stands on, to be changed.
    pub fn ground_mut(&mut self) -> &mut Ground<F, S> {
        &mut self.ground
    }

    fn drain(&mut self, inputs: &mut Vec<Input<M>>) -> Result<(), Stop> {
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            match self.ground.port.receive()? {
                Received::Nothing => break,
                Received::Dropped => {}
                Received::Message { from, message } => {
                    inputs.push(Input::Message { from, message });
                }
            }
        }
        Ok(())
    }

    fn submit(&mut self, sealed: Sealed<M>) -> Result<(), Stop> {
        let counters = &mut self.ground.port.counters;
        counters.turns += 1;
        counters.commits += u64::from(!sealed.is_clean());
        let durable = &self.core.state().durable;
        self.ground.flush.submit(sealed, durable)?;
        Ok(())
    }

    /// Says what the disk has by now, and nothing else. A failed write ends here, and with it all that
    /// was to be said.
    pub(super) fn release(&mut self, now: Duration) -> Result<Vec<M::Event>, Stop> {
        let outputs = self.ground.flush.finished()?;
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(recorder) = &mut self.ground.recorder {
            recorder.says(now, &outputs).map_err(Stop::Recording)?;
        }
        let mut events = Vec::new();
        for effect in self.core.release(outputs) {
            match effect {
                Effect::Send { to, message } => self.ground.port.send(to, &message),
                Effect::Event(event) => events.push(event),
            }
        }
        Ok(events)
    }
}
