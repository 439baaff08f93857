//! # A read-through cache, and graceful degradation
//!
//! A *cache* stands before a *store*, and answers from memory what it may. What it may is declared: a
//! value that it has was current at some moment in its *lifetime*, counted in ticks of its own alarm from
//! before it asked for it. A put at the store makes the caches let go of what they have (*invalidation*),
//! and says whether all did. What a cache has asked for before it was told to let go, it does not keep when
//! it comes: that is the *lease* of memcache, and without it an old value can be set after a newer one was
//! put, and stay.
//!
//! When the store does not answer, whoever asks may get nothing, or, *only if it said so*, an older value.
//! Every answer carries its *age*: how far it may be behind.
//!
//! - **Source.** Nishtala et al., *Scaling Memcache at Facebook*, NSDI 2013, §3.2.1 (leases: stale sets,
//!   and one fetch for many readers); Gray and Cheriton, *Leases*, SOSP 1989 (the term is counted from
//!   before the asking); Nottingham, *HTTP Cache-Control Extensions for Stale Content*, RFC 5861, 2010
//!   (`stale-if-error`).
//! - **Promises.** *its age is true*: a value that is said to be `a` ticks old was the store's less than
//!   `a + 1` ticks ago. *its bound is kept*: who did not allow it is told no value that is older than the
//!   lifetime, and who did is told none that is older than that. *current means current*: what is said to be the
//!   store's own answer is at least as new as what the store had when the call was made. *everywhere is
//!   everywhere*: once a put is said to be everywhere, no later get returns anything older. *a cache never
//!   goes back*: no get at a cache returns an older value than a get before it. *what was put*: a value is
//!   what was put under its version. *puts are done once*. *calls return*.
//! - **Assumes.** The store's disk keeps what it acknowledged, and a cache's its incarnation. A tick is
//!   counted on one clock, that of the cache, so that clocks need not agree.
//! - **Leaves out.** Eviction: what is forgotten is asked for again, which is always right. Retries of
//!   puts and gets ([`crate::service`] has them). A store of several nodes.
//! - **The textbook says.** Chapter 8 recommends caches and graceful degradation, and writes neither. Its
//!   stores answer an eventual read with whatever is there, and do not say how old it is
//!   (`its_bound_falls_when_nobody_asked_for_it`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod origin;
mod reader;

pub use origin::Round;
pub use reader::{Asked, Entry, Waiting};

/// How many calls wait at a cache at most. One more is refused.
pub const WAITING_MAX: usize = 4096;

/// One node: the store, or a cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cache {
    /// This node.
    pub me: NodeId,
    /// Who stores.
    pub store: NodeId,
    /// Who caches.
    pub caches: NodeSet,
    /// How many ticks old a value may be that nobody allowed to be older.
    pub lifetime_ticks: u32,
    /// How old a value is kept at most, for those who allow it; not less.
    pub kept_ticks: u32,
    /// How long a tick is, in milliseconds.
    pub tick_ms: u64,
}

/// A value's number at the store. Larger ones are later; 0 is that of a key that nobody put.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// A cache's name for one of its requests. Later ones are larger.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// How often the cache had booted.
    pub incarnation: u64,
    /// How many requests it had made since.
    pub number: u64,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.incarnation, self.number)
    }
}

/// What a get asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Need {
    /// The store's own answer.
    Current,
    /// What the cache has, within its lifetime.
    Cached,
}

/// Whether a get may be answered with something older than that, when the store is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fallback {
    /// It may not.
    Never,
    /// It may, if it is at most so many ticks old.
    Within(u32),
}

/// What the application asks of a cache.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Which value has the key?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: String,
        /// What is asked for.
        need: Need,
        /// And what will do if it is not to be had.
        fallback: Fallback,
    },
    /// Let the key have the value.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To the store: which value has the key?
    Fetch {
        /// The cache's name for this.
        request: Request,
        /// The key.
        key: String,
    },
    /// From the store: this one.
    Fetched {
        /// What was asked.
        request: Request,
        /// The key.
        key: String,
        /// The version.
        version: Version,
        /// The value; none if nobody put one.
        value: Option<String>,
    },
    /// To the store: let the key have this value.
    Write {
        /// The cache's name for this.
        request: Request,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// From the store: it has it.
    Written {
        /// What was asked.
        request: Request,
        /// Whether every cache has let go of what it had.
        reach: Reach,
    },
    /// From the store: let go of whatever is older.
    Void {
        /// The key.
        key: String,
        /// Than this.
        version: Version,
    },
    /// To the store: nothing older is left here.
    Voided {
        /// The key.
        key: String,
        /// Than this.
        version: Version,
    },
}

/// How far a put has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reach {
    /// No cache has anything older.
    Everywhere,
    /// The store has it. Caches may answer with older values until these are past their bound.
    Store,
}

/// Alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// At a cache: what it has is older by one tick.
    Tick,
    /// At a cache: this call has waited long enough.
    Patience(u64),
    /// At the store: the put of this version has waited long enough for caches.
    Settle(String, Version),
}

/// What observers learn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A cache counted a tick.
    Ticked,
    /// The store has a new value.
    Stored {
        /// Whose request.
        from: NodeId,
        /// Which.
        request: Request,
        /// The key.
        key: String,
        /// Its version.
        version: Version,
        /// The value.
        value: String,
    },
    /// To the application: the key has this value.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// The version.
        version: Version,
        /// The value; none if nobody put one.
        value: Option<String>,
        /// How old it may be.
        age: Age,
    },
    /// To the application: the store did not answer, and there is nothing that would do.
    Unanswered {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// To the application: it is put.
    Put {
        /// The caller's name for the call.
        ticket: u64,
        /// How far it has come.
        reach: Reach,
    },
    /// To the application: nobody knows whether it is put, or will be.
    Unknown {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// To the application: nothing was done. Too much is under way here, or this node is no cache.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
    },
}

/// How far an answer may be behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Age {
    /// It is the store's answer to what was asked after this call was made.
    Current,
    /// It was asked for so many ticks ago: it was the store's less than one tick more ago.
    Ticks(u32),
}

/// What survives a crash: of the store all, of a cache how often it booted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often a cache booted, so that no answer to an earlier life is taken for one to this.
    pub incarnation: u64,
    /// What the store has.
    pub values: Map<String, (Version, String)>,
    /// The last put of each cache that the store did.
    pub latest: Map<NodeId, Request>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A cache booted for this time.
    Booted(u64),
    /// The store has a value.
    Value(String, Version, String),
    /// A cache's last put.
    Latest(NodeId, Request),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        let values = self.values.changed_since(&older.values);
        changes
            .extend(values.map(|(key, (version, value))| {
                Change::Value(key.clone(), *version, value.clone())
            }));
        let latest = self.latest.changed_since(&older.latest);
        changes.extend(latest.map(|(node, request)| Change::Latest(*node, *request)));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Value(key, version, value) => {
                self.values.insert(key, (version, value));
            }
            Change::Latest(node, request) => {
                self.latest.insert(node, request);
            }
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// At a cache: how many requests it made since it booted.
    pub requests: u64,
    /// At a cache: what it has.
    pub entries: Map<String, Entry>,
    /// At a cache: what it has asked for; one request a key, whoever waits for it.
    pub asked: Map<String, Asked>,
    /// At a cache: the calls under way, by their tickets.
    pub waiting: Map<u64, Waiting>,
    /// At the store: puts that wait for caches to let go.
    pub rounds: Map<(String, Version), Round>,
}

impl Machine for Cache {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, _: &mut Outbox<Self>) -> Volatile {
        if self.caches.contains(self.me) {
            durable.incarnation = durable.incarnation.saturating_add(1);
        }
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (Call::Get { ticket, .. } | Call::Put { ticket, .. }) = call;
        let waiting = &state.volatile.waiting;
        let has_room = waiting.len() < WAITING_MAX && !waiting.contains_key(&ticket);
        if !self.caches.contains(self.me) || !has_room {
            return out.tell(Event::Refused { ticket });
        }
        match call {
            Call::Get {
                ticket,
                key,
                need,
                fallback,
            } => self.get(state, ticket, key, (need, fallback), out),
            Call::Put { ticket, key, value } => self.put(state, ticket, key, value, out),
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let is_store = self.me == self.store && self.caches.contains(from);
        let is_cache = self.caches.contains(self.me) && from == self.store;
        match message {
            Message::Fetch { request, key } if is_store => {
                Self::on_fetch(state, from, request, key, out);
            }
            Message::Write {
                request,
                key,
                value,
            } if is_store => self.on_write(state, from, request, (key, value), out),
            Message::Voided { key, version } if is_store => {
                Self::on_voided(state, from, (key, version), out);
            }
            Message::Fetched {
                request,
                key,
                version,
                value,
            } if is_cache => self.on_fetched(state, request, key, (version, value), out),
            Message::Written { request, reach } if is_cache => {
                Self::on_written(state, request, reach, out);
            }
            Message::Void { key, version } if is_cache => self.on_void(state, key, version, out),
            // Not for us, or not from who may say it.
            Message::Fetch { .. }
            | Message::Fetched { .. }
            | Message::Write { .. }
            | Message::Written { .. }
            | Message::Void { .. }
            | Message::Voided { .. } => {}
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Tick => self.on_tick(state, out),
            Timer::Patience(ticket) => self.on_patience(state, ticket, out),
            Timer::Settle(key, version) => Self::on_settle(state, (key, version), out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let tick = Duration::from_millis(self.tick_ms);
        match timer {
            Timer::Tick => tick..tick + Duration::from_millis(1),
            Timer::Patience(_) => Duration::from_millis(200)..Duration::from_millis(300),
            Timer::Settle(..) => Duration::from_millis(100)..Duration::from_millis(150),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let volatile = &state.volatile;
        let is_asked = |waiting: &Waiting| match waiting {
            Waiting::Get { key, .. } => volatile.asked.contains_key(key),
            Waiting::Put { .. } => true,
        };
        volatile.waiting.values().all(is_asked)
            && volatile.waiting.len() <= WAITING_MAX
            && (volatile.entries.values()).all(|entry| entry.ticks <= self.kept_ticks)
    }
}
