//! What a caller's machine tells, as numbers and as log lines. The machine does not know of either.
//!
//! | event | number | log, as `key=value` |
//! |---|---|---|
//! | `Attempted` | `attempts`, and from the second on `retries` | `event=attempted ticket attempt generation` |
//! | `Returned` | `returned` | `event=returned ticket outcome` |
//! | `Unknown` | `unknown` | `event=unknown ticket` |
//! | `Refused` | `shed`, or `refused_open` | `event=refused ticket why` |
//! | `Opened` | `opened`, and `stage` | `event=breaker stage=open generation` |
//! | `Cooled` | `half_opened`, and `stage` | `event=breaker stage=half_open generation` |
//! | `Closed` | `closed`, and `stage` | `event=breaker stage=closed generation` |

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Debug};
use core::time::Duration;

use super::super::std;
use crate::service::{Event, Outcome, Refusal};
use std::io::{self, Write as _};

/// Numbers since the caller was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Attempts, the first ones among them.
    pub attempts: u64,
    /// Attempts but the first of each call.
    pub retries: u64,
    /// Calls that were answered.
    pub returned: u64,
    /// Calls of which nobody knows.
    pub unknown: u64,
    /// Calls that were not tried, for their tenant had its share under way.
    pub shed: u64,
    /// Calls that were not tried, for the breaker was open.
    pub refused_open: u64,
    /// How often the breaker opened.
    pub opened: u64,
    /// How often it was half open.
    pub half_opened: u64,
    /// How often it closed again.
    pub closed: u64,
    /// What the breaker is.
    pub stage: Breaker,
}

/// What a breaker is, to who looks on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaker {
    /// Calls pass.
    #[default]
    Closed,
    /// None do.
    Open,
    /// A few do, to see.
    HalfOpen,
}

impl Breaker {
    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl Counters {
    /// Counts an event.
    pub fn count<O, R>(&mut self, event: &Event<O, R>) {
        match event {
            Event::Attempted { attempt, .. } => {
                self.attempts += 1;
                self.retries += u64::from(*attempt > 1);
            }
            Event::Closed { .. } => {
                self.closed += 1;
                self.stage = Breaker::Closed;
            }
            Event::Opened { .. } => {
                self.opened += 1;
                self.stage = Breaker::Open;
            }
            Event::Cooled { .. } => {
                self.half_opened += 1;
                self.stage = Breaker::HalfOpen;
            }
            Event::Returned { .. } => self.returned += 1,
            Event::Unknown { .. } => self.unknown += 1,
            Event::Refused { refusal, .. } => match refusal {
                Refusal::Shed => self.shed += 1,
                Refusal::Open => self.refused_open += 1,
                Refusal::NoCaller => {}
            },
            Event::Executed { .. } => {}
        }
    }

    /// In the text format of Prometheus, version 0.0.4.
    pub fn metrics(&self) -> String {
        let counts = [
            (
                "attempts",
                "Attempts, the first of each call among them",
                self.attempts,
            ),
            (
                "retries",
                "Attempts but the first of each call",
                self.retries,
            ),
            ("returned", "Calls that were answered", self.returned),
            (
                "unknown",
                "Calls of which nobody knows the outcome",
                self.unknown,
            ),
            (
                "shed",
                "Calls not tried: their tenant had its share under way",
                self.shed,
            ),
            (
                "refused_open",
                "Calls not tried: the breaker was open",
                self.refused_open,
            ),
        ];
        let counts = counts.map(|(name, help, count)| {
            let name = format!("quorate_client_{name}_total");
            format!("# HELP {name} {help}.\n# TYPE {name} counter\n{name} {count}\n")
        });
        let transitions = [
            (Breaker::Open, self.opened),
            (Breaker::HalfOpen, self.half_opened),
            (Breaker::Closed, self.closed),
        ];
        let name = "quorate_client_breaker_transitions_total";
        let transitions = transitions
            .map(|(to, count)| format!("{name}{{to=\"{}\"}} {count}\n", to.name()))
            .concat();
        let stages = [Breaker::Closed, Breaker::Open, Breaker::HalfOpen].map(|stage| {
            let is = u8::from(stage == self.stage);
            format!(
                "quorate_client_breaker{{stage=\"{}\"}} {is}\n",
                stage.name()
            )
        });
        format!(
            "{}# HELP {name} How often the breaker changed.\n# TYPE {name} counter\n{transitions}\
             # HELP quorate_client_breaker What the breaker is: 1 for that, 0 for the others.\n\
             # TYPE quorate_client_breaker gauge\n{}",
            counts.concat(),
            stages.concat()
        )
    }
}

/// In a sentence.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} attempts, {} of them again; {} calls answered, {} unknown, {} shed, {} refused by the \
             breaker, which opened {} times, tried {} times and closed {} times",
            self.attempts,
            self.retries,
            self.returned,
            self.unknown,
            self.shed,
            self.refused_open,
            self.opened,
            self.half_opened,
            self.closed
        )
    }
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// Nowhere.
    Off,
    /// Those of the breaker go to standard error.
    Breaker,
    /// All go to standard error.
    All,
}

impl Log {
    /// Writes what happened, if it is to be written, so long after the start.
    pub fn tell<O, R: Debug>(self, after: Duration, event: &Event<O, R>) {
        let of_breaker = matches!(
            event,
            Event::Closed { .. } | Event::Opened { .. } | Event::Cooled { .. }
        );
        match self {
            Self::Off => return,
            Self::Breaker if !of_breaker => return,
            Self::Breaker | Self::All => {}
        }
        let (millis, line) = (after.as_millis(), line(event));
        // In one write, so that the lines of several threads do not mix.
        let text = format!("quorate: after_ms={millis} {line}\n");
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// An event as `key=value`.
fn line<O, R>(event: &Event<O, R>) -> String {
    match event {
        Event::Attempted {
            ticket,
            attempt,
            generation,
        } => format!("event=attempted ticket={ticket} attempt={attempt} generation={generation}"),
        Event::Closed { by, generation } => {
            format!("event=breaker stage=closed generation={generation} by={by}")
        }
        Event::Opened { generation } => format!("event=breaker stage=open generation={generation}"),
        Event::Cooled { generation } => {
            format!("event=breaker stage=half_open generation={generation}")
        }
        Event::Executed { session, .. } => format!(
            "event=executed client={} serial={}",
            session.client, session.serial
        ),
        Event::Returned { ticket, outcome } => {
            let outcome = match outcome {
                Outcome::Done(_) => "done",
                Outcome::Conflict => "conflict",
                Outcome::Collected => "collected",
                Outcome::Declined => "declined",
            };
            format!("event=returned ticket={ticket} outcome={outcome}")
        }
        Event::Unknown { ticket } => format!("event=unknown ticket={ticket}"),
        Event::Refused { ticket, refusal } => {
            let why = match refusal {
                Refusal::Shed => "shed",
                Refusal::Open => "open",
                Refusal::NoCaller => "no_caller",
            };
            format!("event=refused ticket={ticket} why={why}")
        }
    }
}
