//! # Back-off, and why it takes chance
//!
//! A *server* does one thing at a time, and finds out at the end of a *slot* whether it was one: of what
//! overlapped nothing is done, as with optimistic transactions, with frames on a shared wire, and with
//! candidates who split a vote. A *client* whose attempt came to nothing waits, and tries again. How long
//! it waits doubles each time, up to a bound, so that many clients thin out.
//!
//! Doubling alone is not enough. Two clients who tried together, and wait equally long, try together
//! again, for ever: they move in *lockstep*, and nobody is ever served though nobody crashed and nothing was
//! lost. So each draws how long it waits, from nothing up to the bound: *full jitter*. No random number is in
//! any state: which of the two alarms rings first is a race, of which the checker tries every outcome, and
//! whoever runs the machine draws from [`Machine::delay`].
//!
//! - **Source.** Metcalfe and Boggs, *Ethernet: Distributed Packet Switching for Local Computer Networks*,
//!   CACM 19(7), 1976 (binary exponential back-off, drawn at random); Brooker, *Exponential Backoff and
//!   Jitter*, AWS Architecture Blog, 2015 (full jitter).
//! - **Promises.** *done alone*: what is done was the only thing in its slot. *done once*: nothing is done
//!   twice. *waits are bounded*: no client waits longer than the largest back-off. *everyone is served*: in
//!   the calm every client is.
//! - **Assumes.** Clients' waits, where they differ, differ by more than a slot before long: in the calm of
//!   the checker each node draws another place in its range. The server's disk keeps what it acknowledged.
//! - **Leaves out.** Giving up, deadlines and budgets, which [`crate::service`] has; more than one server.
//! - **The textbook says.** Chapter 8 recommends to retry with exponential back-off, and does not say that it
//!   takes chance (`everyone_is_served_falls_in_lockstep`).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine, NodeId, Outbox, State};

/// One node: the server, or a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// This node.
    pub me: NodeId,
    /// Who serves.
    pub server: NodeId,
    /// How long the server is at one thing, in milliseconds; not 0.
    pub slot_ms: u64,
    /// How often the first bound, of two slots, is doubled at most; at most 32.
    pub doublings_max: u32,
}

/// What the application asks of a client: get this done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The caller's name for this call.
    pub ticket: u64,
}

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Do this.
    Try {
        /// The client's name for it.
        ticket: u64,
    },
    /// It is done.
    Done {
        /// The client's name for it.
        ticket: u64,
    },
    /// It overlapped with something, and neither is done.
    Overlapped {
        /// The client's name for it.
        ticket: u64,
    },
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// At the server: the slot is over.
    Slot,
    /// At a client: this call is tried again, after so many doublings.
    Again(u64, u32),
    /// At a client: what was sent for this call, or its answer, may be lost.
    Lost(u64),
}

/// What observers learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A slot is over in which this was tried.
    Tried {
        /// By whom.
        from: NodeId,
        /// The client's name for it.
        ticket: u64,
        /// How many things were tried in that slot.
        together: u32,
        /// Whether it is done.
        done: bool,
    },
    /// A client waits before it tries again.
    Waits {
        /// Its name for the call.
        ticket: u64,
        /// How often the bound of its wait was doubled.
        doublings: u32,
    },
    /// To the application: it is done.
    Returned {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// To the application: the server is not asked, or a call is under way: a client does one thing at a time.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
    },
}

/// What survives a crash of the server: what it did. Of a client, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// What was done, and for whom.
    pub done: BTreeSet<(NodeId, u64)>,
}

/// One change of the disk: this was done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Change(NodeId, u64);

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let new = self.done.difference(&older.done);
        new.map(|(node, ticket)| Change(*node, *ticket)).collect()
    }

    fn apply(&mut self, Change(node, ticket): Change) {
        self.done.insert((node, ticket));
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// At the server: what is tried in this slot.
    pub slot: BTreeSet<(NodeId, u64)>,
    /// At a client: the call under way, by its ticket, and how far it is.
    pub call: Option<(u64, Stage)>,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It is tried, after so many doublings.
    Tries(u32),
    /// It waits, and tries again then.
    Waits(u32),
}

impl Machine for Backoff {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, _: &mut Durable, _: &mut Outbox<Self>) -> Volatile {
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, Call { ticket }: Call, out: &mut Outbox<Self>) {
        if self.me == self.server || state.volatile.call.is_some() {
            return out.tell(Event::Refused { ticket });
        }
        Self::attempt(self.server, &mut state.volatile, (ticket, 0), out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let is_server = self.me == self.server;
        match message {
            Message::Try { ticket } if is_server => Self::on_try(state, from, ticket, out),
            Message::Done { ticket } if !is_server && from == self.server => {
                Self::on_done(&mut state.volatile, ticket, out);
            }
            Message::Overlapped { ticket } if !is_server && from == self.server => {
                Self::back_off(&mut state.volatile, ticket, out);
            }
            // Not for us, or not from who may say it.
            Message::Try { .. } | Message::Done { .. } | Message::Overlapped { .. } => {}
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Slot => Self::on_slot(state, out),
            Timer::Again(ticket, doublings) => {
                if state.volatile.call == Some((ticket, Stage::Waits(doublings))) {
                    let doublings = self.doublings_max.min(doublings + 1);
                    Self::attempt(self.server, &mut state.volatile, (ticket, doublings), out);
                }
            }
            Timer::Lost(ticket) => Self::back_off(&mut state.volatile, ticket, out),
        }
    }

    /// Full jitter: anything from nothing up to the bound.
    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let slot = Duration::from_millis(self.slot_ms);
        match timer {
            Timer::Slot => slot..slot + Duration::from_nanos(1),
            Timer::Again(_, doublings) => Duration::ZERO..slot * (2 << doublings.min(&29)),
            Timer::Lost(_) => slot * 8..slot * 16,
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state.volatile.call.is_none_or(|(_, stage)| {
            let (Stage::Tries(doublings) | Stage::Waits(doublings)) = stage;
            doublings <= self.doublings_max
        })
    }
}

impl Backoff {
    fn attempt(
        server: NodeId,
        volatile: &mut Volatile,
        (ticket, doublings): (u64, u32),
        out: &mut Outbox<Self>,
    ) {
        volatile.call = Some((ticket, Stage::Tries(doublings)));
        out.send(server, Message::Try { ticket });
        out.arm(Timer::Lost(ticket));
    }

    fn on_try(state: &mut State<Self>, from: NodeId, ticket: u64, out: &mut Outbox<Self>) {
        if state.durable.done.contains(&(from, ticket)) {
            return out.send(from, Message::Done { ticket });
        }
        if state.volatile.slot.is_empty() {
            out.arm(Timer::Slot);
        }
        state.volatile.slot.insert((from, ticket));
    }

    fn on_slot(state: &mut State<Self>, out: &mut Outbox<Self>) {
        let tried = core::mem::take(&mut state.volatile.slot);
        let together = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        let done = together == 1;
        for (from, ticket) in tried {
            out.tell(Event::Tried {
                from,
                ticket,
                together,
                done,
            });
            if done {
                state.durable.done.insert((from, ticket));
                out.send(from, Message::Done { ticket });
            } else {
                out.send(from, Message::Overlapped { ticket });
            }
        }
    }

    fn on_done(volatile: &mut Volatile, ticket: u64, out: &mut Outbox<Self>) {
        let Some((_, stage)) = volatile.call.take_if(|(under_way, _)| *under_way == ticket) else {
            return;
        };
        match stage {
            Stage::Tries(_) => out.disarm(Timer::Lost(ticket)),
            Stage::Waits(doublings) => out.disarm(Timer::Again(ticket, doublings)),
        }
        out.tell(Event::Returned { ticket });
    }

    /// It came to nothing, or that is what it looks like. Only one that is under way can.
    fn back_off(volatile: &mut Volatile, ticket: u64, out: &mut Outbox<Self>) {
        let Some((under_way, Stage::Tries(doublings))) = volatile.call else {
            return;
        };
        if under_way != ticket {
            return;
        }
        volatile.call = Some((ticket, Stage::Waits(doublings)));
        out.disarm(Timer::Lost(ticket));
        out.tell(Event::Waits { ticket, doublings });
        out.arm(Timer::Again(ticket, doublings));
    }
}
