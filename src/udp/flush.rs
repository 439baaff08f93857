//! Between the loop and the disk: turns go in sealed, and come out once they are durable, in order.
//!
//! [`Inline`] waits for the disk at once. [`Writer`] has a thread of its own, so that the loop goes on
//! while the disk is busy; whatever was sealed in the meantime is then written and flushed together,
//! which is *group commit*.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::journal::{Disk, Journal, JournalError, Problem, Storage};
use super::metrics::{Histogram, Page};
use super::std;
use crate::machine::{Machine, Output, Sealed};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// How many turns may wait for the disk. When so many do, the loop takes nothing new: datagrams then
/// wait at the operating system, which drops what is too much, and clients are told `-BUSY`.
pub const TURNS_IN_FLIGHT_MAX: usize = 64;

/// What makes turns durable.
pub trait Flush<M: Machine> {
    /// Takes a turn. `durable` is what all that was submitted, this too, adds up to.
    ///
    /// # Errors
    ///
    /// If the node must stop: what the disk holds is not known.
    fn submit(&mut self, sealed: Sealed<M>, durable: &M::Durable) -> Result<(), JournalError>;

    /// The outputs of what has become durable since this was last asked, in the order of the turns.
    ///
    /// # Errors
    ///
    /// If the node must stop. What was not given by then never is.
    fn finished(&mut self) -> Result<Vec<Output<M>>, JournalError>;

    /// How many turns are submitted and not given back yet.
    fn in_flight(&self) -> usize;

    /// What an operator wants to see of the disk.
    fn status(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// What is measured of the disk.
    fn metrics(&self, page: &mut Page) {
        let _ = page;
    }
}

/// A disk that is waited for in every turn.
#[derive(Debug)]
pub struct Inline<M: Machine, D> {
    disk: D,
    outputs: Vec<Output<M>>,
}

impl<M: Machine, D> Inline<M, D> {
    /// On this disk.
    pub fn new(disk: D) -> Self {
        Self {
            disk,
            outputs: Vec::new(),
        }
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        &self.disk
    }
}

impl<M: Machine, D: Disk<M::Durable>> Flush<M> for Inline<M, D> {
    fn submit(&mut self, sealed: Sealed<M>, durable: &M::Durable) -> Result<(), JournalError> {
        self.outputs
            .extend(sealed.persist(|changes| self.disk.commit(changes))?);
        self.disk.tidy(durable)
    }

    fn finished(&mut self) -> Result<Vec<Output<M>>, JournalError> {
        Ok(core::mem::take(&mut self.outputs))
    }

    fn in_flight(&self) -> usize {
        0
    }
}

/// What is told of a journal that another thread writes.
#[derive(Debug, Default)]
pub struct Written {
    commits: AtomicU64,
    bytes: AtomicU64,
    is_long: AtomicBool,
    measured: Mutex<Measured>,
}

/// How long groups of turns took to write and flush, and how large they were.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    times: Histogram,
    turns: Histogram,
}

impl Written {
    /// How many commits the node made in its life.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// How long the journal is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        // Whoever panicked with it was counting.
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure(&self, took: Duration, count: usize) {
        let mut measured = self.measured();
        measured.times.time(took);
        measured.turns.count(count as u64);
    }

    fn update(&self, journal: &Journal) {
        self.commits.store(journal.commits(), Ordering::Relaxed);
        self.bytes.store(journal.bytes(), Ordering::Relaxed);
        self.is_long.store(journal.is_long(), Ordering::Relaxed);
    }
}

/// A turn that waits for the disk.
#[derive(Debug)]
pub struct Ticket<M: Machine> {
    sealed: Sealed<M>,
    /// What the journal is to be compacted to after it, if it is: all up to this turn adds up to it.
    snapshot: Option<M::Durable>,
}

/// Those that wait, seen from the loop.
#[derive(Debug)]
pub struct Gate<M: Machine> {
    in_flight: usize,
    outputs: Vec<Output<M>>,
    is_compacting: bool,
}

impl<M: Machine> Default for Gate<M> {
    fn default() -> Self {
        Self {
            in_flight: 0,
            outputs: Vec::new(),
            is_compacting: false,
        }
    }
}

impl<M: Machine> Gate<M> {
    /// A turn, after which all adds up to `durable`. The ticket is to be written, in order; without
    /// one, nothing is to be written for it and nothing before it is outstanding. `is_long` says
    /// whether the journal is.
    ///
    /// # Errors
    ///
    /// Never, but that is not for the compiler to see.
    pub fn admit(
        &mut self,
        sealed: Sealed<M>,
        durable: &M::Durable,
        is_long: bool,
    ) -> Result<Option<Ticket<M>>, JournalError> {
        if self.in_flight == 0 && sealed.is_clean() {
            self.outputs
                .extend(sealed.persist(|_| Ok::<(), JournalError>(()))?);
            return Ok(None);
        }
        let begins = is_long && !self.is_compacting;
        self.is_compacting = is_long;
        self.in_flight += 1;
        Ok(Some(Ticket {
            sealed,
            snapshot: begins.then(|| durable.clone()),
        }))
    }

    /// The next `count` turns are durable, and say this.
    pub fn pass(&mut self, count: usize, outputs: Vec<Output<M>>) {
        self.in_flight -= count;
        self.outputs.extend(outputs);
    }

    /// What may leave.
    pub fn take(&mut self) -> Vec<Output<M>> {
        core::mem::take(&mut self.outputs)
    }

    /// How many wait.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// Writes `first` and all that wait behind it, and flushes once: how many those were, and what they
/// say.
///
/// # Errors
///
/// If the disk fails. The node must stop.
pub fn write<M: Machine, S: Storage>(
    journal: &mut Journal<S>,
    first: Ticket<M>,
    mut next: impl FnMut() -> Option<Ticket<M>>,
) -> Result<(usize, Vec<Output<M>>), JournalError> {
    let Ticket {
        mut sealed,
        mut snapshot,
    } = first;
    let mut count = 1;
    while snapshot.is_none()
        && let Some(later) = next()
    {
        sealed.join(later.sealed);
        snapshot = later.snapshot;
        count += 1;
    }
    let outputs = sealed.persist(|changes| Disk::<M::Durable>::commit(journal, changes))?;
    if let Some(snapshot) = snapshot {
        journal.compact(&snapshot)?;
    }
    Ok((count, outputs))
}

type Finished<M> = Result<(usize, Vec<Output<M>>), JournalError>;

/// A journal with a thread of its own.
pub struct Writer<M: Machine> {
    path: PathBuf,
    written: Arc<Written>,
    /// None once it is closed.
    tickets: Option<SyncSender<Ticket<M>>>,
    finished: Receiver<Finished<M>>,
    thread: Option<JoinHandle<()>>,
    gate: Gate<M>,
}

impl<M: Machine> fmt::Debug for Writer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.path)
            .field("in_flight", &self.gate.in_flight)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> Writer<M> {
    /// Starts the thread. It calls `wake` whenever something has become durable.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn start(journal: Journal, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let written = Arc::new(Written::default());
        written.update(&journal);
        let path: PathBuf = journal.path().into();
        let (tickets, received) = sync_channel(TURNS_IN_FLIGHT_MAX);
        let (done, finished) = sync_channel(TURNS_IN_FLIGHT_MAX);
        let told = Arc::clone(&written);
        let write = move || write_all::<M>(journal, &received, &done, &told, &wake);
        let thread = thread::Builder::new().name("journal".into()).spawn(write)?;
        Ok(Self {
            path,
            written,
            tickets: Some(tickets),
            finished,
            thread: Some(thread),
            gate: Gate::default(),
        })
    }

    /// The journal's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is told of the journal.
    pub fn written(&self) -> &Arc<Written> {
        &self.written
    }

    fn failed(&self, why: &str) -> JournalError {
        JournalError {
            path: self.path.clone(),
            problem: Problem::Unwritable(io::Error::other(format!("its thread {why}"))),
        }
    }
}

impl<M: Machine> Flush<M> for Writer<M> {
    fn submit(&mut self, sealed: Sealed<M>, durable: &M::Durable) -> Result<(), JournalError> {
        let is_long = self.written.is_long.load(Ordering::Relaxed);
        let Some(ticket) = self.gate.admit(sealed, durable, is_long)? else {
            return Ok(());
        };
        if let Some(Ok(())) = self.tickets.as_ref().map(|tickets| tickets.send(ticket)) {
            return Ok(());
        }
        // It told why before it ended.
        self.finished()?;
        Err(self.failed("has ended"))
    }

    fn finished(&mut self) -> Result<Vec<Output<M>>, JournalError> {
        while let Ok(finished) = self.finished.try_recv() {
            let (count, outputs) = finished?;
            self.gate.pass(count, outputs);
        }
        Ok(self.gate.take())
    }

    fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    fn status(&self) -> Vec<(&'static str, u64)> {
        alloc::vec![
            ("journal_commits", self.written.commits()),
            ("journal_bytes", self.written.bytes()),
            ("turns_in_flight", self.in_flight() as u64),
        ]
    }

    fn metrics(&self, page: &mut Page) {
        let measured = *self.written.measured();
        page.times("quorate_flush_seconds", &measured.times);
        page.numbers("quorate_flushed_turns", &measured.turns);
        for (what, value) in self.status() {
            page.value(&format!("quorate_{what}"), "gauge", &[], value);
        }
    }
}

impl<M: Machine> Drop for Writer<M> {
    fn drop(&mut self) {
        self.tickets = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked it said so.
            let _ = thread.join();
        }
    }
}

/// Writes group after group, until nobody sends any more or the disk fails.
fn write_all<M: Machine>(
    mut journal: Journal,
    tickets: &Receiver<Ticket<M>>,
    done: &SyncSender<Finished<M>>,
    written: &Written,
    wake: &(impl Fn() + Send),
) {
    while let Ok(first) = tickets.recv() {
        let began = Instant::now();
        let finished = write(&mut journal, first, || tickets.try_recv().ok());
        if let Ok((count, _)) = &finished {
            written.measure(began.elapsed(), *count);
        }
        written.update(&journal);
        let failed = finished.is_err();
        let gone = done.send(finished).is_err();
        wake();
        if failed || gone {
            return;
        }
    }
}
