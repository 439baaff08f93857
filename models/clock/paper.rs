//! Hybrid clocks in the abstraction in which they were specified for TLC, so that the states can be
//! compared.
//!
//! The specification that goes with the paper by Kulkarni and others has processes with physical
//! clocks that are kept within ε of each other, and for each process one place where the last message
//! to it lies, to be overwritten by the next. A step ticks the physical clock and then sends to
//! somebody, or reads that place again. All of it is one state, so here all of it is one machine.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::clock::{Hybrid, HybridTime};
use quorate::machine::{Machine, NodeId, Outbox, State};
use serde::{Deserialize, Serialize};

use crate::ghost::Ghost;

/// The two rules of the clock.
pub trait Steps: Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static {
    /// A process whose last event was at `last` sends, while its physical clock shows `now`.
    fn send(&self, last: HybridTime, now: u64) -> HybridTime;

    /// It receives, or does something locally.
    fn receive(&self, last: HybridTime, now: u64, sent: HybridTime) -> HybridTime;
}

/// The paper's, as [`Hybrid`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RightSteps;

impl Steps for RightSteps {
    fn send(&self, last: HybridTime, now: u64) -> HybridTime {
        let sent = Hybrid::from(last).tick(now);
        sent.expect("so few events exhaust no counter")
    }

    fn receive(&self, last: HybridTime, now: u64, sent: HybridTime) -> HybridTime {
        let received = Hybrid::from(last).receive(now, sent, u64::MAX);
        received.expect("so few events exhaust no counter, and no drift is too large")
    }
}

/// All processes, their clocks and their mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Abstraction<S> {
    /// N.
    pub processes: u64,
    /// STOP: where physical clocks end.
    pub stop: u64,
    /// EPS: how far physical clocks may be apart.
    pub skew: u64,
    /// The rules.
    pub steps: S,
}

/// One process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its physical clock.
    pub now: u64,
    /// The time of its last event.
    pub time: HybridTime,
    /// The last that was sent to it.
    pub mail: HybridTime,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, time, mail } = self;
        write!(f, "{time:?} at {now}, mail {mail:?}")
    }
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Whim {
    /// A process reads its mail, new or not.
    Read(NodeId),
    /// A process sends to another.
    Send(NodeId, NodeId),
}

/// What happened to a process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Went {
    /// Which.
    pub process: NodeId,
    /// The time of its event before.
    pub from: HybridTime,
    /// The time of what it received, if it did.
    pub received: Option<HybridTime>,
    /// The time of its event.
    pub to: HybridTime,
}

impl fmt::Debug for Went {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            process,
            from,
            received,
            to,
        } = self;
        write!(f, "process {process} goes from {from:?} to {to:?}")?;
        match received {
            Some(received) => write!(f, ", its mail being {received:?}"),
            None => Ok(()),
        }
    }
}

impl<S: Steps> Machine for Abstraction<S> {
    type Call = ();
    type Message = ();
    type Timer = Whim;
    type Event = Went;
    type Durable = ();
    type Volatile = Vec<Process>;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> Vec<Process> {
        let zero = HybridTime::default();
        let process = Process {
            now: 0,
            time: zero,
            mail: zero,
        };
        let processes = vec![process; usize::try_from(self.processes).unwrap_or_default()];
        self.arm(&processes, out);
        processes
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(&self, _: &mut State<Self>, _: NodeId, (): (), _: &mut Outbox<Self>) {}

    fn on_timer(&self, state: &mut State<Self>, whim: Whim, out: &mut Outbox<Self>) {
        let processes = &mut state.volatile;
        let (Whim::Read(id) | Whim::Send(id, _)) = whim;
        let Some(process) = at(processes, id) else {
            return;
        };
        process.now += 1;
        let from = process.time;
        let received = match whim {
            Whim::Read(_) => {
                let mail = process.mail;
                process.time = self.steps.receive(from, process.now, mail);
                Some(mail)
            }
            Whim::Send(..) => {
                process.time = self.steps.send(from, process.now);
                None
            }
        };
        let to = process.time;
        if let Whim::Send(_, other) = whim
            && let Some(other) = at(processes, other)
        {
            other.mail = to;
        }
        out.tell(Went {
            process: id,
            from,
            received,
            to,
        });
        self.arm(processes, out);
    }

    fn delay(&self, _: &Whim) -> Range<Duration> {
        Duration::from_millis(1)..Duration::from_millis(2)
    }
}

fn at(processes: &mut [Process], id: NodeId) -> Option<&mut Process> {
    usize::try_from(id.0)
        .ok()
        .and_then(|place| processes.get_mut(place))
}

impl<S: Steps> Abstraction<S> {
    /// A process may go on while its physical clock is not at the end, nor further ahead of another
    /// than ε.
    fn arm(&self, processes: &[Process], out: &mut Outbox<Self>) {
        let slowest = processes.iter().map(|process| process.now).min();
        let slowest = slowest.unwrap_or_default();
        for (id, process) in (0..).map(NodeId).zip(processes) {
            let may = process.now < self.stop && process.now < slowest + self.skew;
            let others = (0..self.processes).map(NodeId).filter(|other| *other != id);
            let sends = others.map(|other| Whim::Send(id, other));
            for whim in sends.chain([Whim::Read(id)]) {
                if may {
                    out.arm(whim);
                } else {
                    out.disarm(whim);
                }
            }
        }
    }
}

/// Whether the clock condition held at every step so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Monotone(pub bool);

impl fmt::Debug for Monotone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 {
            "every event was later than its causes"
        } else {
            "an event was not later than its causes"
        })
    }
}

impl<S: Steps> Ghost<Abstraction<S>> for Monotone {
    fn ticket((): &()) -> Option<u64> {
        None
    }

    fn finished(_: &Went) -> Option<u64> {
        None
    }

    fn on_event(&mut self, _: NodeId, went: &Went) {
        let causes = [Some(went.from), went.received];
        self.0 &= causes.into_iter().flatten().all(|cause| cause < went.to);
    }
}
