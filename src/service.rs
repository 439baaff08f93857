//! # A service and its callers
//!
//! What stands between an application and a server that may be slow, gone, or asked twice. Each part is
//! a value of its own, and [`Service`] is the machine that composes them: a server that does each request
//! once, and callers that try again, stop trying, and keep their tenants apart.
//!
//! | | answers | |
//! |---|---|---|
//! | [`Sessions`] | was this done already? | at the server, with what was done |
//! | [`Budget`] | may it be tried again? | at the caller |
//! | [`Breaker`] | is it worth trying? | at the caller |
//! | [`Bulkhead`] | may this tenant have one more under way? | at the caller |
//!
//! - **Source.** Lee, Park, Kejriwal, Matsushita, Ousterhout, *Implementing Linearizability at Large Scale
//!   and Low Latency* (RIFL), SOSP 2015, for sessions; Nygard, *Release It!*, 2007, for breaker and
//!   bulkhead; Brooker, *Exponential Backoff and Jitter*, 2015, and Finagle's `RetryBudget` for retries.
//! - **Promises.** *done once*: no request is executed twice, however often it is sent, through whomever,
//!   and whoever crashes. *one result*: whoever is answered is answered the result of that execution. *a
//!   name is for one request*: another request of the same name is refused and not done. *open means no
//!   attempt*, *a few probes*: while half open, at most so many attempts of one generation are under way.
//!   *closed by its own generation*: only a probe of the present generation closes the breaker. *shares
//!   are kept*, and *nobody is shed for another*: a tenant is turned away only when its own share is used.
//!   *retries are paid for*. *calls return*, *nothing is left behind*: in the calm every call
//!   ends, every place is given back and the breaker closes.
//! - **Assumes.** The server's disk keeps what it acknowledged. A caller crashes and forgets; its
//!   application then tries again under the same name, through any caller.
//! - **Leaves out.** Several servers; [`Sessions`] in front of a replicated machine is what Raft has in its
//!   own store. Back-off without chance: how long to wait is drawn by whoever runs the machine, from
//!   [`Machine::delay`]; here it is a race of alarms, of which the checker tries every order.
//! - **The textbook says.** Chapter 8 recommends idempotency, batching, circuit breakers and bulkheads, and
//!   writes none of them. Its stores do a command as often as it arrives
//!   (`done_once_falls_without_records`).

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::Map;
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod breaker;
mod bulkhead;
mod retry;
mod session;

pub use breaker::{Breaker, BreakerLimits, Permit, Stage};
pub use bulkhead::{Bulkhead, Tenant};
pub use retry::{Budget, RetryLimits};
pub use session::{RECORDS_MAX, Seen, Session, Sessions};

/// One node: the server, or a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// This node.
    pub me: NodeId,
    /// Who serves.
    pub server: NodeId,
    /// How callers try again.
    pub retry: RetryLimits,
    /// When callers stop trying.
    pub breaker: BreakerLimits,
    /// How many calls of one tenant are under way at one caller at most.
    pub share: u32,
}

/// What the service does: it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Add {
    /// How much.
    pub by: i64,
}

/// What the application asks of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The caller's name for this call.
    pub ticket: u64,
    /// For whom.
    pub tenant: Tenant,
    /// What is to be done.
    pub request: Request,
}

/// Something to be done once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub session: Session,
    /// The client needs no results of requests before this one any more.
    pub acknowledged: u64,
    /// What it is.
    pub operation: Add,
}

/// As in a sentence, for states and stories are read by people.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: add {}", self.session, self.operation.by)?;
        if self.acknowledged > 0 {
            write!(f, ", all before {} are answered", self.acknowledged)?;
        }
        Ok(())
    }
}

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Do this.
    Try {
        /// The caller's name for the call.
        ticket: u64,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// What to do.
        request: Request,
    },
    /// This came of it.
    Tried {
        /// The caller's name for the call.
        ticket: u64,
        /// Which attempt is answered.
        attempt: u32,
        /// What came of it.
        result: Outcome,
    },
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done, once; this was then the sum.
    Done(i64),
    /// Another request has this name. This one was not done.
    Conflict,
    /// It may have been done; its result is no longer kept.
    Collected,
    /// Too many results of this client are kept, or the sum is none of 64 bits. It was not done.
    Declined,
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The attempt of this call has taken too long.
    Attempt(u64),
    /// The breaker has been open for long enough.
    Cool,
}

/// What observers learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A caller sent an attempt.
    Attempted {
        /// Of which call.
        ticket: u64,
        /// Which one, from 1.
        attempt: u32,
        /// In which generation of its breaker it was admitted.
        generation: u64,
    },
    /// The result of an attempt closed the breaker.
    Closed {
        /// The generation in which the attempt was admitted.
        by: u64,
        /// The one that begins.
        generation: u64,
    },
    /// The breaker opened.
    Opened {
        /// The generation that begins.
        generation: u64,
    },
    /// The breaker is half open.
    Cooled {
        /// The generation that begins.
        generation: u64,
    },
    /// The server did it.
    Executed {
        /// What.
        session: Session,
        /// And how much it added.
        operation: Add,
        /// The sum is then this.
        sum: i64,
    },
    /// To the application: this came of it.
    Returned {
        /// The caller's name for the call.
        ticket: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// To the application: nobody knows. It may be done, or have been, or never be.
    Unknown {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// To the application: it was not even tried.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
    },
}

/// Why a call was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// Its tenant has its share under way.
    Shed,
    /// The breaker does not let it through.
    Open,
    /// Servers are not called.
    NoCaller,
}

/// What survives a crash: what was done, and for whom. Of a caller, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The sum of what was added.
    pub sum: i64,
    /// For whom.
    pub sessions: Sessions<Add, i64>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// All of it: the sum and the records together, for no crash may part them.
    Whole(Durable),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let changed = self != older;
        changed
            .then(|| Change::Whole(self.clone()))
            .into_iter()
            .collect()
    }

    fn apply(&mut self, Change::Whole(all): Change) {
        *self = all;
    }
}

/// What a crash takes: all that a caller is doing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// The calls under way, by their tickets.
    pub pending: Map<u64, Pending>,
    /// Whether it is worth trying.
    pub breaker: Breaker,
    /// Who has how many under way.
    pub bulkhead: Bulkhead,
    /// What retries are paid from.
    pub budget: Budget,
}

/// A call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// For whom.
    pub tenant: Tenant,
    /// What is to be done.
    pub request: Request,
    /// Which attempt is under way, from 1.
    pub attempt: u32,
    /// How it was admitted.
    pub permit: Permit,
}

impl Machine for Service {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, _: &mut Durable, _: &mut Outbox<Self>) -> Volatile {
        Volatile {
            pending: Map::default(),
            breaker: Breaker::default(),
            bulkhead: Bulkhead::default(),
            budget: Budget::new(self.retry),
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let Call {
            ticket,
            tenant,
            request,
        } = call;
        let volatile = &mut state.volatile;
        let refuse = |refusal| Event::Refused { ticket, refusal };
        if self.me == self.server {
            return out.tell(refuse(Refusal::NoCaller));
        }
        if volatile.pending.contains_key(&ticket) || !volatile.bulkhead.admit(tenant, self.share) {
            return out.tell(refuse(Refusal::Shed));
        }
        let Some(permit) = volatile.breaker.admit(self.breaker) else {
            volatile.bulkhead.release(tenant);
            return out.tell(refuse(Refusal::Open));
        };
        volatile.budget.earn(self.retry);
        let pending = Pending {
            tenant,
            request,
            attempt: 1,
            permit,
        };
        volatile.pending.insert(ticket, pending);
        self.attempt(ticket, pending, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Try {
                ticket,
                attempt,
                request,
            } => {
                if self.me != self.server {
                    return;
                }
                let result = Self::on_try(&mut state.durable, request, out);
                let tried = Message::Tried {
                    ticket,
                    attempt,
                    result,
                };
                out.send(from, tried);
            }
            Message::Tried {
                ticket,
                attempt,
                result,
            } => {
                if from == self.server {
                    Self::on_tried(&mut state.volatile, (ticket, attempt), result, out);
                }
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        let volatile = &mut state.volatile;
        match timer {
            Timer::Attempt(ticket) => self.on_attempt_over(volatile, ticket, out),
            Timer::Cool => {
                if volatile.breaker.cooled() {
                    let generation = volatile.breaker.generation;
                    out.tell(Event::Cooled { generation });
                }
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match timer {
            // Full jitter: anything up to the whole, so that those who failed together do not try
            // again together.
            Timer::Attempt(_) => Duration::from_millis(50)..Duration::from_millis(400),
            Timer::Cool => Duration::from_millis(500)..Duration::from_secs(1),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile {
            pending,
            breaker,
            bulkhead,
            ..
        } = &state.volatile;
        let shares_are_those_of_calls = pending.values().all(|pending| {
            let of_tenant = |other: &&Pending| other.tenant == pending.tenant;
            let count = state.volatile.pending.values().filter(of_tenant).count();
            usize::try_from(bulkhead.held(pending.tenant)) == Ok(count)
                && bulkhead.held(pending.tenant) <= self.share
        });
        let probes = pending
            .values()
            .filter(|pending| pending.permit.generation == breaker.generation);
        let probes = probes.count();
        let breaker_knows_its_probes = match breaker.stage {
            Stage::Closed { failures } => failures < self.breaker.failures_max,
            Stage::Open => probes == 0,
            Stage::HalfOpen { probes: counted } => {
                usize::try_from(counted) == Ok(probes) && counted <= self.breaker.probes_max
            }
        };
        shares_are_those_of_calls
            && breaker_knows_its_probes
            && usize::try_from(bulkhead.total()) == Ok(pending.len())
            && pending.values().all(|pending| {
                (1..=self.retry.attempts_max).contains(&pending.attempt)
                    && pending.permit.generation <= breaker.generation
            })
    }
}

impl Service {
    /// RIFL §3.2: the effect and the record of it are one change.
    fn on_try(durable: &mut Durable, request: Request, out: &mut Outbox<Self>) -> Outcome {
        let Request {
            session,
            acknowledged,
            operation,
        } = request;
        let seen = durable.sessions.look(session, &operation);
        let outcome = match seen {
            Seen::Done(sum) => Outcome::Done(sum),
            Seen::Conflict => Outcome::Conflict,
            Seen::Collected => Outcome::Collected,
            Seen::Full => Outcome::Declined,
            Seen::Fresh => match durable.sum.checked_add(operation.by) {
                None => Outcome::Declined,
                Some(sum) => {
                    durable.sum = sum;
                    durable.sessions.record(session, operation, sum);
                    out.tell(Event::Executed {
                        session,
                        operation,
                        sum,
                    });
                    Outcome::Done(sum)
                }
            },
        };
        // RIFL §3.3: never its own result, which is not acknowledged before it is known.
        let before = acknowledged.min(session.serial);
        durable.sessions.collect(session.client, before);
        outcome
    }

    fn attempt(&self, ticket: u64, pending: Pending, out: &mut Outbox<Self>) {
        let attempt = pending.attempt;
        let request = pending.request;
        out.tell(Event::Attempted {
            ticket,
            attempt,
            generation: pending.permit.generation,
        });
        let message = Message::Try {
            ticket,
            attempt,
            request,
        };
        out.send(self.server, message);
        out.arm(Timer::Attempt(ticket));
    }

    fn on_tried(
        volatile: &mut Volatile,
        (ticket, attempt): (u64, u32),
        outcome: Outcome,
        out: &mut Outbox<Self>,
    ) {
        let Some(pending) = volatile.pending.remove(&ticket) else {
            return;
        };
        let permit = pending.permit;
        // An answer to an earlier attempt ends the call as well as any, but tells nothing of the server
        // as it is now.
        if attempt != pending.attempt {
            volatile.breaker.abandoned(permit);
        } else if volatile.breaker.succeeded(permit) {
            out.tell(Event::Closed {
                by: permit.generation,
                generation: volatile.breaker.generation,
            });
        }
        volatile.bulkhead.release(pending.tenant);
        out.disarm(Timer::Attempt(ticket));
        out.tell(Event::Returned { ticket, outcome });
    }

    fn on_attempt_over(&self, volatile: &mut Volatile, ticket: u64, out: &mut Outbox<Self>) {
        let Some(pending) = volatile.pending.get(&ticket).copied() else {
            return;
        };
        if volatile.breaker.failed(pending.permit, self.breaker) {
            let generation = volatile.breaker.generation;
            out.tell(Event::Opened { generation });
            out.arm(Timer::Cool);
        }
        // What may be tried again asks the breaker as if it were new.
        let again = pending.attempt < self.retry.attempts_max && volatile.budget.spend();
        let permit = again
            .then(|| volatile.breaker.admit(self.breaker))
            .flatten();
        let Some(permit) = permit else {
            volatile.pending.remove(&ticket);
            volatile.bulkhead.release(pending.tenant);
            return out.tell(Event::Unknown { ticket });
        };
        let pending = Pending {
            attempt: pending.attempt + 1,
            permit,
            ..pending
        };
        volatile.pending.insert(ticket, pending);
        self.attempt(ticket, pending, out);
    }
}
