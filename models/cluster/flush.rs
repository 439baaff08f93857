//! The disk's thread, made up: it takes time, and the loop goes on meanwhile.

use std::collections::VecDeque;

use quorate::machine::{Machine, Output, Sealed};
use quorate::udp::flush::{Flush, Gate, Ticket, write};
use quorate::udp::journal::{Journal, JournalError};

use super::platter::Platter;
use super::sabotage::Sabotage;

/// A journal on a made-up disk, and who waits for it.
#[derive(Debug)]
pub(super) struct SlowDisk<M: Machine> {
    journal: Journal<Platter>,
    platter: Platter,
    gate: Gate<M>,
    queue: VecDeque<Ticket<M>>,
    /// What is being flushed: how many turns, and what they say.
    flushing: Option<(usize, Vec<Output<M>>)>,
    failed: Option<JournalError>,
    submitted: usize,
    earlier: Option<M::Durable>,
    sabotage: Option<Sabotage>,
}

impl<M: Machine> SlowDisk<M> {
    /// On this disk.
    pub(super) fn new(
        journal: Journal<Platter>,
        platter: Platter,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self {
            journal,
            platter,
            gate: Gate::default(),
            queue: VecDeque::new(),
            flushing: None,
            failed: None,
            submitted: 0,
            earlier: None,
            sabotage,
        }
    }

    /// Begins to flush all that waits, unless it is at it already or nothing does. True if it begins.
    pub(super) fn begin(&mut self) -> bool {
        if self.flushing.is_some() || self.failed.is_some() {
            return false;
        }
        let Some(first) = self.queue.pop_front() else {
            return false;
        };
        match write(&mut self.journal, first, || self.queue.pop_front()) {
            Ok((count, outputs)) => {
                let early = self.takes_early(&outputs);
                self.gate.pass(0, early);
                self.flushing = Some((count, outputs));
                true
            }
            Err(error) => {
                self.failed = Some(error);
                false
            }
        }
    }

    /// Whether something was said already of what is only being flushed.
    pub(super) fn is_hasty(&self) -> bool {
        matches!(
            self.sabotage,
            Some(Sabotage::SendBeforeFlush | Sabotage::ReplyBeforeFlush)
        )
    }

    /// The flush is done.
    pub(super) fn complete(&mut self) {
        self.platter.complete();
        if let Some((count, mut outputs)) = self.flushing.take() {
            match self.sabotage {
                Some(Sabotage::SendBeforeFlush) => outputs.clear(),
                Some(Sabotage::ReplyBeforeFlush) => outputs.retain(|output| !is_event(output)),
                Some(_) | None => {}
            }
            self.gate.pass(count, outputs);
        }
    }

    fn takes_early(&self, outputs: &[Output<M>]) -> Vec<Output<M>> {
        match self.sabotage {
            Some(Sabotage::SendBeforeFlush) => outputs.to_vec(),
            Some(Sabotage::ReplyBeforeFlush) => {
                outputs.iter().filter(|it| is_event(it)).cloned().collect()
            }
            Some(_) | None => Vec::new(),
        }
    }
}

fn is_event<M: Machine>(output: &Output<M>) -> bool {
    match output {
        Output::Event(_) => true,
        Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => false,
    }
}

impl<M: Machine> Flush<M> for SlowDisk<M> {
    fn submit(&mut self, sealed: Sealed<M>, durable: &M::Durable) -> Result<(), JournalError> {
        self.submitted += 1;
        let unwritten = match self.sabotage {
            Some(Sabotage::BootForgotten) => self.submitted == 1,
            Some(Sabotage::FailureIgnored) => self.failed.is_some(),
            Some(_) | None => false,
        };
        if unwritten {
            let outputs = sealed.persist(|_| Ok::<(), JournalError>(()))?;
            self.gate.pass(0, outputs);
            return Ok(());
        }
        let earlier = self.earlier.replace(durable.clone());
        let snapshot = match (self.sabotage, &earlier) {
            (Some(Sabotage::StaleSnapshot), Some(earlier)) => earlier,
            (Some(_) | None, _) => durable,
        };
        let ticket = self.gate.admit(sealed, snapshot, self.journal.is_long())?;
        self.queue.extend(ticket);
        Ok(())
    }

    fn finished(&mut self) -> Result<Vec<Output<M>>, JournalError> {
        if self.sabotage != Some(Sabotage::FailureIgnored)
            && let Some(error) = self.failed.take()
        {
            return Err(error);
        }
        Ok(self.gate.take())
    }

    fn in_flight(&self) -> usize {
        if self.failed.is_some() {
            return 0;
        }
        self.gate.in_flight()
    }
}
