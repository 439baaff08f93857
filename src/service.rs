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
//! - **Leaves out.** Several servers: a cluster that is one service to its clients is one server here, and
//!   which member answers is a matter of the `udp` module. [`Sessions`] in front of a replicated machine is
//!   what Raft has in its own store. Chance: how long to wait is drawn by whoever runs the machine, from
//!   [`Machine::delay`]; here it is a race of alarms, of which the checker tries every order
//!   ([`crate::backoff`] shows why it must be drawn).
//! - **The textbook says.** Chapter 8 recommends idempotency, batching, circuit breakers and bulkheads, and
//!   writes none of them. Its stores do a command as often as it arrives
//!   (`done_once_falls_without_records`).
//!
//! # Beside what people use
//!
//! | | here | tower 0.5 | failsafe 1.3 | resilience4j 2 |
//! |---|---|---|---|---|
//! | sessions | records with the effect, on the same disk; first result again; a name for one request; after collection *unknown* | none | none | none |
//! | retry: when | an attempt that is not answered in time, or said not to be done | what its `Policy` says of a response | none: it is a breaker | by exception or result; 3 attempts if not said otherwise |
//! | retry: wait | doubles up to a bound, drawn from `wait..2 wait` at the bound too | `ExponentialBackoff`: drawn from `base..base + jitter base`, cut off at its maximum, so that none is drawn there | of the open breaker alone: constant, exponential, equal or full jitter | constant, or any `IntervalFunction` |
//! | retry: budget | each call earns a share of a retry, savings are bounded; shared by all calls of a caller | `TpsBudget`: a share of the calls of a time, and so many a second at least | none | none among its settings |
//! | breaker: opens | after so many failures in a row | none | so many in a row, or a rate over a time | a rate of failures or of slow calls, by count or by time |
//! | breaker: half open | so many probes *under way* at most; one success closes | | every call passes; the first success closes | so many probes in all; closes by their rate |
//! | breaker: a probe that never ends | frees its place when its alarm rings (`lost-probe` is what else happens) | | cannot hold it, for every call passes | holds it for ever, unless `maxWaitDurationInHalfOpenState` is set; reported as issue 903 |
//! | breaker: a result of before | carries the generation of its admission, and changes nothing | | counts as one of now: a late success closes (`old-results`) | counts in the state of now |
//! | bulkhead | a share for each tenant; who is shed is told so at once | `ConcurrencyLimit`: one limit, who comes too late waits; with `LoadShed` it is told at once | none | one limit for each instance, wait bounded (0 if not said otherwise) |
//!
//! Sources: of tower the documentation of `tower::retry`, `tower::limit` and `tower::load_shed`, and
//! `tower/src/retry/backoff.rs` at fb33e23; of failsafe its documentation, and `src/state_machine.rs` at
//! 005fce7; of resilience4j its documentation of *Retry*, *Bulkhead* and *CircuitBreaker*, issue 903, and
//! `CircuitBreakerStateMachine.java` at 1a4a716. An empty field has nothing to speak of.

use alloc::vec::Vec;
use core::fmt::{self, Debug};
use core::hash::Hash;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::Map;
use crate::machine::{self, Machine, NodeId, Outbox, State, Value};

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
pub struct Service<W = Counting> {
    /// What the server does.
    pub work: W,
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

/// What a service does.
pub trait Work: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// What can be asked of it.
    type Operation: Value;
    /// What comes of that.
    type Result: Value;
    /// What it has.
    type State: Value + Default;

    /// Does it. None if it cannot be done: then nothing is changed.
    fn execute(&self, state: &mut Self::State, operation: &Self::Operation)
    -> Option<Self::Result>;
}

/// The service that is checked: it counts, so that what is done twice is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counting;

impl Work for Counting {
    type Operation = Add;
    type Result = i64;
    type State = i64;

    fn execute(&self, sum: &mut i64, Add { by }: &Add) -> Option<i64> {
        *sum = sum.checked_add(*by)?;
        Some(*sum)
    }
}

/// An operation of [`Counting`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Add {
    /// How much.
    pub by: i64,
}

/// As in a sentence, for states and stories are read by people.
impl Debug for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add {}", self.by)
    }
}

/// What the application asks of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call<O = Add> {
    /// The caller's name for this call.
    pub ticket: u64,
    /// For whom.
    pub tenant: Tenant,
    /// What is to be done.
    pub request: Request<O>,
}

/// Something to be done once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request<O = Add> {
    /// Its name.
    pub session: Session,
    /// The client needs no results of requests before this one any more.
    pub acknowledged: u64,
    /// What it is.
    pub operation: O,
}

/// As in a sentence, for states and stories are read by people.
impl<O: Debug> Debug for Request<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.session, self.operation)?;
        if self.acknowledged > 0 {
            write!(f, ", all before {} are answered", self.acknowledged)?;
        }
        Ok(())
    }
}

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message<O = Add, R = i64> {
    /// Do this.
    Try {
        /// The caller's name for the call.
        ticket: u64,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// What to do.
        request: Request<O>,
    },
    /// This came of it.
    Tried {
        /// The caller's name for the call.
        ticket: u64,
        /// Which attempt is answered.
        attempt: u32,
        /// What came of it.
        result: Outcome<R>,
    },
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome<R = i64> {
    /// It was done, once; this came of it.
    Done(R),
    /// Another request has this name. This one was not done.
    Conflict,
    /// It may have been done; its result is no longer kept.
    Collected,
    /// Too many results of this client are kept, or it cannot be done. It was not done.
    Declined,
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// This attempt, of the call of this ticket, has taken too long.
    Attempt(u64, u32),
    /// The breaker has been open for long enough.
    Cool,
}

/// What observers learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event<O = Add, R = i64> {
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
        /// And how.
        operation: O,
        /// This came of it.
        result: R,
    },
    /// To the application: this came of it.
    Returned {
        /// The caller's name for the call.
        ticket: u64,
        /// What came of it.
        outcome: Outcome<R>,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable<S = i64, O: Clone + Ord = Add, R: Clone + Ord = i64> {
    /// What the service has.
    pub state: S,
    /// What it did, and for whom.
    pub sessions: Sessions<O, R>,
}

impl<S: Default, O: Clone + Ord, R: Clone + Ord> Default for Durable<S, O, R> {
    fn default() -> Self {
        Self {
            state: S::default(),
            sessions: Sessions::default(),
        }
    }
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change<D = Durable> {
    /// All of it: the state and the records together, for no crash may part them.
    Whole(D),
}

impl<S: Value + Default, O: Value, R: Value> machine::Durable for Durable<S, O, R> {
    type Change = Change<Self>;

    fn changes_since(&self, older: &Self) -> Vec<Change<Self>> {
        let changed = self != older;
        changed
            .then(|| Change::Whole(self.clone()))
            .into_iter()
            .collect()
    }

    fn apply(&mut self, Change::Whole(all): Change<Self>) {
        *self = all;
    }
}

/// What a crash takes: all that a caller is doing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile<O: Clone + Ord = Add> {
    /// The calls under way, by their tickets.
    pub pending: Map<u64, Pending<O>>,
    /// Whether it is worth trying.
    pub breaker: Breaker,
    /// Who has how many under way.
    pub bulkhead: Bulkhead,
    /// What retries are paid from.
    pub budget: Budget,
}

/// A call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending<O = Add> {
    /// For whom.
    pub tenant: Tenant,
    /// What is to be done.
    pub request: Request<O>,
    /// Which attempt is under way, from 1.
    pub attempt: u32,
    /// How it was admitted.
    pub permit: Permit,
}

/// The types of a service.
type CallOf<W> = Call<<W as Work>::Operation>;
type RequestOf<W> = Request<<W as Work>::Operation>;
type PendingOf<W> = Pending<<W as Work>::Operation>;
type OutcomeOf<W> = Outcome<<W as Work>::Result>;
type MessageOf<W> = Message<<W as Work>::Operation, <W as Work>::Result>;
type DurableOf<W> = Durable<<W as Work>::State, <W as Work>::Operation, <W as Work>::Result>;
type VolatileOf<W> = Volatile<<W as Work>::Operation>;

impl<W: Work> Machine for Service<W> {
    type Call = CallOf<W>;
    type Message = MessageOf<W>;
    type Timer = Timer;
    type Event = Event<W::Operation, W::Result>;
    type Durable = DurableOf<W>;
    type Volatile = VolatileOf<W>;

    fn boot(&self, _: &mut DurableOf<W>, _: &mut Outbox<Self>) -> VolatileOf<W> {
        Volatile {
            pending: Map::default(),
            breaker: Breaker::default(),
            bulkhead: Bulkhead::default(),
            budget: Budget::new(self.retry),
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: CallOf<W>, out: &mut Outbox<Self>) {
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
        volatile.pending.insert(ticket, pending.clone());
        self.attempt(ticket, pending, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: MessageOf<W>,
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
                let result = self.on_try(&mut state.durable, request, out);
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
            Timer::Attempt(ticket, attempt) => {
                self.on_attempt_over(volatile, (ticket, attempt), out);
            }
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
            // Twice as long with each attempt, that an overloaded server has time; and up to twice as
            // long again, by chance, so that those who failed together do not try again together.
            Timer::Attempt(_, attempt) => {
                let doublings = attempt.saturating_sub(1).min(31);
                let wait_ms = self.retry.wait_ms.saturating_mul(1 << doublings);
                jittered(wait_ms.min(self.retry.wait_ms_max))
            }
            Timer::Cool => jittered(self.breaker.cool_ms),
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
            let of_tenant = |other: &&PendingOf<W>| other.tenant == pending.tenant;
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

/// At least so long, and less than twice.
fn jittered(wait_ms: u64) -> Range<Duration> {
    let wait = Duration::from_millis(wait_ms.max(1));
    wait..wait.saturating_mul(2)
}

impl<W: Work> Service<W> {
    /// RIFL §3.2: the effect and the record of it are one change.
    fn on_try(
        &self,
        durable: &mut DurableOf<W>,
        request: RequestOf<W>,
        out: &mut Outbox<Self>,
    ) -> OutcomeOf<W> {
        let Request {
            session,
            acknowledged,
            operation,
        } = request;
        let seen = durable.sessions.look(session, &operation);
        let outcome = match seen {
            Seen::Done(result) => Outcome::Done(result),
            Seen::Conflict => Outcome::Conflict,
            Seen::Collected => Outcome::Collected,
            Seen::Full => Outcome::Declined,
            Seen::Fresh => match self.work.execute(&mut durable.state, &operation) {
                None => Outcome::Declined,
                Some(result) => {
                    let (done, came) = (operation.clone(), result.clone());
                    durable.sessions.record(session, done, came);
                    out.tell(Event::Executed {
                        session,
                        operation,
                        result: result.clone(),
                    });
                    Outcome::Done(result)
                }
            },
        };
        // RIFL §3.3: never its own result, which is not acknowledged before it is known.
        let before = acknowledged.min(session.serial);
        durable.sessions.collect(session.client, before);
        outcome
    }

    fn attempt(&self, ticket: u64, pending: PendingOf<W>, out: &mut Outbox<Self>) {
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
        out.arm(Timer::Attempt(ticket, attempt));
    }

    fn on_tried(
        volatile: &mut VolatileOf<W>,
        (ticket, attempt): (u64, u32),
        outcome: OutcomeOf<W>,
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
        out.disarm(Timer::Attempt(ticket, pending.attempt));
        out.tell(Event::Returned { ticket, outcome });
    }

    fn on_attempt_over(
        &self,
        volatile: &mut VolatileOf<W>,
        (ticket, attempt): (u64, u32),
        out: &mut Outbox<Self>,
    ) {
        let pending = volatile.pending.get(&ticket).cloned();
        let Some(pending) = pending.filter(|pending| pending.attempt == attempt) else {
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
        volatile.pending.insert(ticket, pending.clone());
        self.attempt(ticket, pending, out);
    }
}
