//! # Batching
//!
//! A message, a round trip and a flush of a disk cost about as much for one item as for a hundred. So a
//! *batcher* gathers what its application asks, and sends it to a *server* in batches. It lingers for a
//! moment, that a batch may fill; it sends at once when one is full; and while one is under way the next
//! one gathers.
//!
//! A batch is not a transaction. The server takes its items one after the other, and may have no room for
//! the last ones; then it says how far it came, and the batcher sends the rest again. An item that the
//! server refuses for good is a result like any other, and stops nothing.
//!
//! - **Source.** The idempotent producer of Apache Kafka (KIP-98, *Exactly Once Delivery and Transactional
//!   Messaging*): producer, epoch and sequence number, here node, incarnation and serial; its settings
//!   `linger.ms`, `batch.size` and `max.in.flight.requests.per.connection=1`. Nagle, *Congestion Control
//!   in IP/TCP Internetworks*, RFC 896, 1984: what gathers while something is under way goes together.
//! - **Promises.** *done once*: no item is appended twice, whatever is sent again and whoever crashes.
//!   *order is kept*: the items of one batcher are appended in the order in which they were asked.
//!   *answered once*: no call returns twice. *its own outcome*: who is told a place finds its own item
//!   there, and only what is too long is said to be. *bounds are kept*: no batch has more items or bytes
//!   than it may. *calls return*: in the calm every call at a live batcher does.
//! - **Assumes.** The server's disk keeps what it acknowledged, and a batcher's disk its incarnation. A
//!   batcher that crashes forgets what it was asked: of that the outcome is unknown, and whoever asks
//!   again gives it a name of its own ([`crate::service::Sessions`]).
//! - **Leaves out.** Several batches under way at once, which needs the server to refuse what comes out
//!   of order; giving up, after which a batcher would need a new incarnation; forgetting batchers that
//!   are gone. Compression is the wire's, not the protocol's: see the `udp` module.
//! - **The textbook says.** Chapter 8 recommends batching in a sentence, and has no code. A batch that is
//!   sent again whole, under new names, does again what it had done
//!   (`done_once_falls_when_a_batch_is_named_anew`).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, Seq};
use crate::machine::{self, Machine, NodeId, Outbox, State};

/// How many items wait at a batcher at most. One more is refused, and was not done.
pub const QUEUE_MAX: usize = 4096;

/// One node: the server, or a batcher.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// This node.
    pub me: NodeId,
    /// Who appends.
    pub server: NodeId,
    /// How many items a batch has at most; not 0.
    pub items_max: u32,
    /// How many bytes the items of a batch have at most, together.
    pub bytes_max: u32,
    /// How long an item is at most that the server appends, in bytes.
    pub item_bytes_max: u32,
    /// How many items the server appends at most until it has drained; not 0.
    pub room: u32,
    /// How long a batch that is not full waits for more, in milliseconds.
    pub linger_ms: u64,
}

/// What the application asks of a batcher: append this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Call {
    /// The caller's name for this call.
    pub ticket: u64,
    /// What.
    pub value: String,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Append these.
    Items {
        /// How often the batcher had booted.
        incarnation: u64,
        /// The serial of the first one; the others follow. All before it are answered.
        first: u64,
        /// What.
        values: Vec<String>,
    },
    /// This came of them, as far as they were taken.
    Taken {
        /// The batcher's incarnation.
        incarnation: u64,
        /// The serial of the first one.
        first: u64,
        /// One for each that was taken. The rest was not done.
        outcomes: Vec<Outcome>,
    },
}

/// What came of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was appended, here.
    Appended(u64),
    /// It is too long, and was not appended. Nor will it be.
    TooLong,
}

/// Alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// At a batcher: it has waited long enough for more.
    Linger,
    /// At a batcher: a batch or its answer may be lost.
    Retry,
    /// At the server: it has room again.
    Drain,
}

/// What observers learn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A batcher has the item. It comes after all that it has.
    Queued {
        /// The caller's name for the call.
        ticket: u64,
    },
    /// A batcher sent a batch.
    Sent {
        /// The serial of the first item.
        first: u64,
        /// How many there are.
        items: u32,
        /// How many bytes they have.
        bytes: u32,
    },
    /// The server appended an item.
    Appended {
        /// Whose.
        from: NodeId,
        /// What.
        value: String,
        /// Where.
        place: u64,
    },
    /// To the application: this came of the call.
    Returned {
        /// The caller's name for the call.
        ticket: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// To the application: it was not done.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// No batch may have so many bytes.
    TooLong,
    /// [`QUEUE_MAX`] items wait.
    Full,
    /// The server is not asked.
    NoBatcher,
}

/// What survives a crash: of the server all, of a batcher how often it booted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often a batcher booted.
    pub incarnation: u64,
    /// What the server appended.
    pub log: Seq<String>,
    /// What it knows of each batcher. It belongs to the log: no crash parts the two.
    pub batchers: Map<NodeId, Batcher>,
}

/// What the server knows of a batcher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Batcher {
    /// Its latest incarnation.
    pub incarnation: u64,
    /// It has the answers to all before this one.
    pub first: u64,
    /// The serial of the next item that it will take.
    pub next: u64,
    /// What came of those from `first` on.
    pub outcomes: Map<u64, Outcome>,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A batcher booted for this time.
    Booted(u64),
    /// The server appended this.
    Appended(String),
    /// What the server knows of a batcher.
    Batcher(NodeId, Batcher),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        let appended = self.log.suffix(older.log.len());
        changes.extend(appended.cloned().map(Change::Appended));
        let batchers = self.batchers.changed_since(&older.batchers);
        changes.extend(batchers.map(|(node, batcher)| Change::Batcher(*node, batcher.clone())));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Appended(value) => self.log.push(value),
            Change::Batcher(node, batcher) => {
                self.batchers.insert(node, batcher);
            }
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// At a batcher: the serial of the item that waits the longest.
    pub first: u64,
    /// At a batcher: what is not answered yet, each with its ticket.
    pub queue: Seq<(u64, String)>,
    /// At a batcher: how many of them are under way: the first ones.
    pub under_way: u32,
    /// At the server: how much of its room is taken.
    pub taken: u32,
}

impl Machine for Batch {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, _: &mut Outbox<Self>) -> Volatile {
        if self.me != self.server {
            durable.incarnation = durable.incarnation.saturating_add(1);
        }
        Volatile {
            first: 1,
            ..Volatile::default()
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let Call { ticket, value } = call;
        let queue = &mut state.volatile.queue;
        let refusal = if self.me == self.server {
            Some(Refusal::NoBatcher)
        } else if bytes(&value) > u64::from(self.bytes_max) {
            Some(Refusal::TooLong)
        } else if queue.len() >= QUEUE_MAX {
            Some(Refusal::Full)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return out.tell(Event::Refused { ticket, refusal });
        }
        queue.push((ticket, value));
        out.tell(Event::Queued { ticket });
        if state.volatile.under_way > 0 {
            return;
        }
        if self.is_full(&state.volatile) {
            self.send(state, out);
        } else if state.volatile.queue.len() == 1 {
            // Once, for the first: who arms it again for each may linger for ever.
            out.arm(Timer::Linger);
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Items {
                incarnation,
                first,
                values,
            } => {
                if self.me == self.server {
                    self.on_items(state, from, (incarnation, first), values, out);
                }
            }
            Message::Taken {
                incarnation,
                first,
                outcomes,
            } => {
                if from == self.server && self.me != self.server {
                    self.on_taken(state, (incarnation, first), &outcomes, out);
                }
            }
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Linger | Timer::Retry => self.send(state, out),
            Timer::Drain => state.volatile.taken = 0,
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let linger = Duration::from_millis(self.linger_ms);
        match timer {
            Timer::Linger => linger..linger + Duration::from_millis(1),
            Timer::Retry => Duration::from_millis(100)..Duration::from_millis(200),
            Timer::Drain => Duration::from_millis(5)..Duration::from_millis(10),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile {
            queue, under_way, ..
        } = &state.volatile;
        let batch = queue.iter().take(count(*under_way));
        let batch_bytes: u64 = batch.map(|(_, value)| bytes(value)).sum();
        count(*under_way) <= queue.len()
            && queue.len() <= QUEUE_MAX
            && *under_way <= self.items_max
            && batch_bytes <= u64::from(self.bytes_max)
            && state.volatile.taken <= self.room
    }
}

fn bytes(value: &str) -> u64 {
    u64::try_from(value.len()).unwrap_or(u64::MAX)
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Batch {
    /// How many of those that wait make the next batch, from the front, and how many bytes they have.
    fn measure(&self, volatile: &Volatile) -> (u32, u64) {
        let (mut items, mut total) = (0, 0);
        for (_, value) in volatile.queue.iter().take(count(self.items_max)) {
            let with = total + bytes(value);
            if with > u64::from(self.bytes_max) {
                break;
            }
            items += 1;
            total = with;
        }
        (items, total)
    }

    /// True if there is no use in waiting for more.
    fn is_full(&self, volatile: &Volatile) -> bool {
        let (items, total) = self.measure(volatile);
        items >= self.items_max
            || total >= u64::from(self.bytes_max)
            || count(items) < volatile.queue.len()
    }

    /// Sends the batch that is under way again, or else the next one.
    fn send(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let volatile = &mut state.volatile;
        if volatile.queue.is_empty() {
            return;
        }
        // What was under way stays as it was: its items have their serials.
        if volatile.under_way == 0 {
            volatile.under_way = self.measure(volatile).0;
        }
        let batch = volatile.queue.iter().take(count(volatile.under_way));
        let values: Vec<String> = batch.map(|(_, value)| value.clone()).collect();
        let total = values.iter().map(|value| bytes(value)).sum::<u64>();
        let first = volatile.first;
        out.tell(Event::Sent {
            first,
            items: volatile.under_way,
            bytes: u32::try_from(total).unwrap_or(u32::MAX),
        });
        let incarnation = state.durable.incarnation;
        let items = Message::Items {
            incarnation,
            first,
            values,
        };
        out.send(self.server, items);
        out.disarm(Timer::Linger);
        out.arm(Timer::Retry);
    }

    /// KIP-98: what has a serial that was taken is answered, and not done again.
    fn on_items(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        (incarnation, first): (u64, u64),
        values: Vec<String>,
        out: &mut Outbox<Self>,
    ) {
        let State { durable, volatile } = state;
        if values.is_empty() || values.len() > count(self.items_max) {
            return; // No batcher of ours sends it.
        }
        let known = durable.batchers.get(&from).cloned();
        let mut batcher = known.unwrap_or_default();
        if incarnation > batcher.incarnation {
            batcher = Batcher {
                incarnation,
                ..Batcher::default()
            };
        }
        let is_old = incarnation < batcher.incarnation || first < batcher.first;
        if is_old || first > batcher.next {
            return; // Its answers were had long ago; or what it follows never came.
        }
        batcher.first = first;
        batcher.outcomes.retain(|serial, _| *serial >= first);
        let mut outcomes = Vec::new();
        for (serial, value) in (first..).zip(values) {
            let outcome = match batcher.outcomes.get(&serial) {
                Some(outcome) => *outcome,
                None if bytes(&value) > u64::from(self.item_bytes_max) => Outcome::TooLong,
                // Nor is anything taken that comes after it: order is kept.
                None if volatile.taken >= self.room => break,
                None => {
                    let place = u64::try_from(durable.log.len()).unwrap_or(u64::MAX);
                    durable.log.push(value.clone());
                    volatile.taken += 1;
                    out.tell(Event::Appended { from, value, place });
                    out.arm(Timer::Drain);
                    Outcome::Appended(place)
                }
            };
            batcher.outcomes.insert(serial, outcome);
            batcher.next = batcher.next.max(serial.saturating_add(1));
            outcomes.push(outcome);
        }
        durable.batchers.insert(from, batcher);
        let taken = Message::Taken {
            incarnation,
            first,
            outcomes,
        };
        out.send(from, taken);
    }

    fn on_taken(
        &self,
        state: &mut State<Self>,
        (incarnation, first): (u64, u64),
        outcomes: &[Outcome],
        out: &mut Outbox<Self>,
    ) {
        let volatile = &mut state.volatile;
        let is_present = (incarnation, first) == (state.durable.incarnation, volatile.first);
        if !is_present || volatile.under_way == 0 || outcomes.is_empty() {
            return; // It tells of an earlier batch, or that there was no room: then the alarm rings.
        }
        let sent = count(volatile.under_way);
        for outcome in outcomes.iter().take(sent) {
            if let Some((ticket, _)) = volatile.queue.pop_front() {
                volatile.first += 1;
                let outcome = *outcome;
                out.tell(Event::Returned { ticket, outcome });
            }
        }
        volatile.under_way = 0;
        out.disarm(Timer::Retry);
        // What gathered meanwhile goes at once. What found no room waits a little.
        if outcomes.len() >= sent {
            self.send(state, out);
        } else {
            out.arm(Timer::Linger);
        }
    }
}

impl Default for Batcher {
    fn default() -> Self {
        Self {
            incarnation: 0,
            first: 1,
            next: 1,
            outcomes: Map::default(),
        }
    }
}
