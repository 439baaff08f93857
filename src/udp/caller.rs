//! How clients call a cluster on TCP: by the machine of [`crate::service`], the very one that was checked,
//! with real alarms. It has the sessions, the retries and their budget, the breaker and the bulkhead; this
//! file has the threads.
//!
//! To the machine the cluster is one server. Which member an attempt goes to, and that one sends it on to
//! another, is [`errand`]'s matter. A [`Caller`] is shared: all its clients have one breaker and one budget,
//! for they call one cluster, and each tenant a share of its places.
//!
//! What the machine tells becomes log lines and numbers in [`counters`]; it does not know.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::configuration::{Cluster, Protocol};
use super::resp::{Value, reply};
use super::turn::{Core, Effect};
use super::{random, std};
use crate::machine::{Input, NodeId};
use crate::service::{
    BreakerLimits, Call, Durable, Event, Message, Outcome, Refusal, Request, RetryLimits, Service,
    Session, Tenant, Work,
};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{io, thread};

pub mod counters;
mod errand;

use counters::{Counters, Log};
use errand::{Ending, Errands};

/// The cluster, as the machine knows it.
const SERVER: NodeId = NodeId(0);
/// This caller.
const ME: NodeId = NodeId(1);
/// How many inputs one turn takes at most.
const INPUTS_PER_TURN_MAX: usize = 256;
/// How long a client waits that asks again.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the loop waits at most when nothing is armed.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What is asked of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// What the client carries, as `SESSION` printed it, so that the cluster knows the command when it comes
    /// again; none, if it is of no consequence.
    pub carried: Option<String>,
    /// The command.
    pub words: Vec<String>,
}

/// What a member told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Told {
    /// The reply, in RESP.
    pub reply: Vec<u8>,
    /// What the client carries from now on, if it carries anything.
    pub carried: Option<String>,
}

/// What a cluster does is not for its clients to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elsewhere;

impl Work for Elsewhere {
    type Operation = Ask;
    type Result = Told;
    type State = ();

    fn execute(&self, (): &mut (), _: &Ask) -> Option<Told> {
        None
    }
}

type Asking = Service<Elsewhere>;
type Happening = Event<Ask, Told>;

/// How to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How commands that may be sent again are tried again.
    pub retry: RetryLimits,
    /// When to stop trying.
    pub breaker: BreakerLimits,
    /// How many calls of one tenant are under way at most.
    pub share: u32,
    /// Whether the cluster knows a command when it comes again.
    pub memory: Memory,
}

/// Whether a cluster does a command once that is sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It knows the client's sessions.
    Sessions,
    /// It does not: only what changes nothing is sent again.
    None,
}

impl Policy {
    /// For clusters of this protocol, and calls that last no longer than that.
    pub fn of(protocol: Protocol, timeout: Duration) -> Self {
        let memory = match protocol {
            Protocol::Raft => Memory::Sessions,
            Protocol::Register
            | Protocol::Pbft
            | Protocol::Store
            | Protocol::CapCp
            | Protocol::CapAp
            | Protocol::Gossip
            | Protocol::Causal
            | Protocol::Membership
            | Protocol::Database => Memory::None,
        };
        let half_ms = u64::try_from(timeout.as_millis() / 2).unwrap_or(u64::MAX);
        // What must not be sent twice has one attempt, and all the time there is.
        let (attempts_max, wait_ms) = match memory {
            Memory::Sessions => (4, half_ms.min(150)),
            Memory::None => (1, half_ms),
        };
        Self {
            retry: RetryLimits {
                attempts_max,
                earned_percent: 20,
                saved_percent_max: 1_000,
                wait_ms,
                wait_ms_max: wait_ms.saturating_mul(4),
            },
            breaker: BreakerLimits {
                failures_max: 5,
                probes_max: 1,
                cool_ms: 200,
            },
            share: 64,
            memory,
        }
    }
}

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nobody knows whether it was done, or will be.
    Unknown,
    /// It was not tried: its tenant has its share under way.
    Shed,
    /// It was not tried: the breaker is open.
    Open,
    /// It was not done: no member could do it in time. The last one said this.
    NotDone(String),
    /// The caller has stopped. What was under way may have been done.
    Stopped,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(
                f,
                "unknown outcome: no reply in time; it may or may not take effect, now or later"
            ),
            Self::Shed => write!(f, "not tried: too many calls of this tenant are under way"),
            Self::Open => write!(
                f,
                "not tried: the last calls failed, and the breaker is open; try again in a moment"
            ),
            Self::NotDone(last) => write!(f, "nobody did it in time; the last said: {last}"),
            Self::Stopped => write!(f, "the caller has stopped"),
        }
    }
}

impl core::error::Error for CallError {}

/// What the loop is told.
enum Inbox {
    /// A client calls.
    Call {
        tenant: Tenant,
        request: Request<Ask>,
        answer: SyncSender<Result<Told, CallError>>,
    },
    /// An attempt is over.
    Over {
        ticket: u64,
        attempt: u32,
        ending: Ending,
    },
    /// It is enough.
    Stop,
}

/// Calls one cluster, for any number of clients. It ends with this value.
#[derive(Debug)]
pub struct Caller {
    inbox: Sender<Inbox>,
    policy: Policy,
    counters: Arc<Mutex<Counters>>,
}

impl Caller {
    /// A caller of this cluster. Nothing is sent yet. What happens is told to `log`.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread, or no randomness.
    pub fn start(cluster: &Cluster, policy: Policy, log: Log) -> io::Result<Self> {
        let machine = Service {
            work: Elsewhere,
            me: ME,
            server: SERVER,
            retry: policy.retry,
            breaker: policy.breaker,
            share: policy.share,
        };
        let (core, _) = Core::boot(machine, ME, Durable::default(), random()?)
            .map_err(|broken| io::Error::other(broken.to_string()))?;
        let (sender, receiver) = channel();
        let counters = Arc::new(Mutex::new(Counters::default()));
        let errands = Arc::new(Errands::new(cluster, policy.retry));
        let calls = Calls {
            core,
            started: Instant::now(),
            next_ticket: 0,
            waiting: BTreeMap::new(),
            inbox: sender.clone(),
            counters: Arc::clone(&counters),
            errands: Arc::clone(&errands),
            log,
        };
        thread::Builder::new()
            .name("caller".into())
            .spawn(move || calls.run(&receiver))?;
        Ok(Self {
            inbox: sender,
            policy,
            counters,
        })
    }

    /// A new client of this tenant.
    ///
    /// # Errors
    ///
    /// If the operating system gives no randomness.
    pub fn client(&self, tenant: Tenant) -> io::Result<Client<'_>> {
        Ok(Client {
            caller: self,
            tenant,
            name: random()?,
            serial: 0,
            carried: None,
        })
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        locked(&self.counters).clone()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // If it has stopped already, the better.
        let _ = self.inbox.send(Inbox::Stop);
    }
}

/// One client: it does one thing at a time.
#[derive(Debug)]
pub struct Client<'a> {
    caller: &'a Caller,
    tenant: Tenant,
    /// What the machine knows it by.
    name: u64,
    serial: u64,
    /// What the cluster knows it by.
    carried: Option<String>,
}

impl Client<'_> {
    /// Gives the command to the cluster, and what comes of it back. If it may have been done and nobody
    /// knows, it is tried again under the same name until `timeout` is over, if the cluster knows names, or
    /// if it is of no consequence whether it is done twice.
    ///
    /// # Errors
    ///
    /// If there is no reply.
    pub fn call(&mut self, words: &[&str], timeout: Duration) -> Result<Value, CallError> {
        // None, if that is beyond all time.
        let until = Instant::now().checked_add(timeout);
        let is_read = words.first().is_some_and(|word| is_read(word));
        // Sessions know what changes values, not what changes members.
        let is_of_members = words.first().is_some_and(|word| is_of_members(word));
        let has_memory = self.caller.policy.memory == Memory::Sessions;
        let is_known = has_memory && !is_read && !is_of_members;
        if is_known && self.carried.is_none() {
            // A name, before anything is done under it.
            let told = self.insist(Ask::new(None, &["SESSION"]), until, Again::Safe)?;
            self.carried = told.carried;
        }
        let carried = self.carried.clone().filter(|_| is_known);
        let again = if is_known || is_read {
            Again::Safe
        } else {
            Again::Unsafe
        };
        let told = self.insist(Ask::new(carried, words), until, again);
        if is_known {
            // After a call of which nobody knows, a later one must not be taken for it.
            self.carried = told.as_ref().ok().and_then(|told| told.carried.clone());
        }
        let told = told?;
        match reply(&told.reply) {
            Ok(Some((value, _))) => Ok(value),
            Ok(None) | Err(_) => Err(CallError::Unknown),
        }
    }

    fn insist(
        &mut self,
        ask: Ask,
        until: Option<Instant>,
        again: Again,
    ) -> Result<Told, CallError> {
        self.serial += 1;
        let mut may_be_done = false;
        loop {
            let error = match self.once(ask.clone()) {
                Ok(told) => return Ok(told),
                Err(error @ CallError::Stopped) => return Err(error),
                Err(CallError::Unknown) if again == Again::Unsafe => {
                    return Err(CallError::Unknown);
                }
                Err(error) => error,
            };
            may_be_done |= error == CallError::Unknown;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(if may_be_done {
                    CallError::Unknown
                } else {
                    error
                });
            }
            // A moment, so that one who is refused at once does not ask without a pause.
            thread::sleep(PAUSE);
        }
    }

    fn once(&self, ask: Ask) -> Result<Told, CallError> {
        let (answer, told) = sync_channel(1);
        let call = Inbox::Call {
            tenant: self.tenant,
            request: Request {
                session: Session {
                    client: self.name,
                    serial: self.serial,
                },
                acknowledged: self.serial,
                operation: ask,
            },
            answer,
        };
        (self.caller.inbox.send(call)).map_err(|_| CallError::Stopped)?;
        told.recv().unwrap_or(Err(CallError::Stopped))
    }
}

/// Whether a call that may have been done may be tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Safe,
    Unsafe,
}

impl Ask {
    fn new(carried: Option<String>, words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).into()).collect();
        Self { carried, words }
    }
}

/// True if a command changes who the members are, or which of them leads.
fn is_of_members(word: &str) -> bool {
    ["MEMBERS", "TRANSFER"]
        .iter()
        .any(|other| other.eq_ignore_ascii_case(word))
}

/// True of commands that change nothing.
fn is_read(command: &str) -> bool {
    ["GET", "MGET", "INFO", "SESSION", "PING"]
        .iter()
        .any(|read| command.eq_ignore_ascii_case(read))
}

/// Who waits for a call.
struct Waiting {
    answer: SyncSender<Result<Told, CallError>>,
    /// How many attempts there were that may have done it.
    open: u32,
}

/// The loop: the machine, and who waits for what.
struct Calls {
    core: Core<Asking>,
    started: Instant,
    next_ticket: u64,
    waiting: BTreeMap<u64, Waiting>,
    inbox: Sender<Inbox>,
    counters: Arc<Mutex<Counters>>,
    errands: Arc<Errands>,
    log: Log,
}

impl Calls {
    fn run(mut self, inbox: &Receiver<Inbox>) {
        loop {
            let due = self.core.wakes_at();
            let wait = due.map_or(WAIT_MAX, |due| due.saturating_sub(self.started.elapsed()));
            let mut inputs = Vec::new();
            match inbox.recv_timeout(wait) {
                Ok(Inbox::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(one) => inputs.push(self.input(one)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            for one in inbox.try_iter().take(INPUTS_PER_TURN_MAX) {
                if matches!(one, Inbox::Stop) {
                    return;
                }
                inputs.push(self.input(one));
            }
            let now = self.started.elapsed();
            // A broken invariant is a mistake of ours: all who wait are told that it has stopped.
            let Ok(turn) = self.core.turn(now, inputs.into_iter().flatten()) else {
                return;
            };
            let Some(sealed) = turn else {
                continue;
            };
            // A caller keeps nothing on a disk.
            let Ok(outputs) = sealed.persist(|_| Ok::<(), ()>(())) else {
                return;
            };
            for effect in self.core.release(outputs) {
                match effect {
                    Effect::Send { message, .. } => self.send(message),
                    Effect::Event(event) => self.happened(event),
                }
            }
        }
    }

    fn input(&mut self, one: Inbox) -> Option<Input<Asking>> {
        match one {
            Inbox::Call {
                tenant,
                request,
                answer,
            } => {
                self.next_ticket += 1;
                let ticket = self.next_ticket;
                self.waiting.insert(ticket, Waiting { answer, open: 0 });
                Some(Input::Call(Call {
                    ticket,
                    tenant,
                    request,
                }))
            }
            Inbox::Over {
                ticket,
                attempt,
                ending,
            } => {
                let waiting = self.waiting.get_mut(&ticket);
                let result = match ending {
                    Ending::Told(told) => Outcome::Done(told),
                    // It says nothing to the machine: the alarm rings.
                    Ending::Lost => return None,
                    Ending::NotDone => {
                        if let Some(waiting) = waiting {
                            waiting.open -= 1;
                        }
                        return None;
                    }
                };
                let message = Message::Tried {
                    ticket,
                    attempt,
                    result,
                };
                Some(Input::Message {
                    from: SERVER,
                    message,
                })
            }
            Inbox::Stop => None,
        }
    }

    /// An attempt, on a thread of its own.
    fn send(&mut self, message: Message<Ask, Told>) {
        let Message::Try {
            ticket,
            attempt,
            request,
        } = message
        else {
            return; // A caller answers nobody.
        };
        let errands = Arc::clone(&self.errands);
        let inbox = self.inbox.clone();
        let run = move || {
            let ending = errands.run(&request.operation);
            let over = Inbox::Over {
                ticket,
                attempt,
                ending,
            };
            let _ = inbox.send(over); // It has stopped, and nobody waits.
        };
        // Without a thread nothing is done.
        let spawned = thread::Builder::new().name("attempt".into()).spawn(run);
        if let (Ok(_), Some(waiting)) = (spawned, self.waiting.get_mut(&ticket)) {
            waiting.open += 1;
        }
    }

    fn happened(&mut self, event: Happening) {
        self.log.tell(self.started.elapsed(), &event);
        locked(&self.counters).count(&event);
        let (ticket, result) = match event {
            Event::Returned { ticket, outcome } => {
                let result = match outcome {
                    Outcome::Done(told) => Ok(told),
                    Outcome::Conflict | Outcome::Collected | Outcome::Declined => {
                        Err(CallError::Unknown)
                    }
                };
                (ticket, result)
            }
            Event::Unknown { ticket } => {
                let open = self.waiting.get(&ticket).map_or(0, |waiting| waiting.open);
                let error = if open == 0 {
                    CallError::NotDone(self.errands.last_refusal())
                } else {
                    CallError::Unknown
                };
                (ticket, Err(error))
            }
            Event::Refused { ticket, refusal } => {
                let error = match refusal {
                    Refusal::Shed => CallError::Shed,
                    Refusal::Open => CallError::Open,
                    Refusal::NoCaller => CallError::Stopped,
                };
                (ticket, Err(error))
            }
            Event::Attempted { .. }
            | Event::Closed { .. }
            | Event::Opened { .. }
            | Event::Cooled { .. }
            | Event::Executed { .. } => return,
        };
        if let Some(waiting) = self.waiting.remove(&ticket) {
            let _ = waiting.answer.try_send(result); // That nobody listens any more is no harm.
        }
    }
}

/// What a thread that panicked left is as good as ever: each number stands for itself.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
