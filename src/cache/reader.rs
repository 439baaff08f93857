//! A cache: what it has, what it has asked for, and who waits.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Age, Cache, Event, Fallback, Message, Need, Reach, Request, Timer, Version};
use crate::machine::{Outbox, State};

/// A value that a cache has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Its version.
    pub version: Version,
    /// The value; none if nobody put one.
    pub value: Option<String>,
    /// How many ticks there were since it was asked for.
    pub ticks: u32,
}

/// What a cache has asked the store, and not been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// The number of the request.
    pub number: u64,
    /// How many ticks there were since.
    pub ticks: u32,
    /// It was asked for after all older than this were let go of.
    pub floor: Version,
}

/// A call under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Waiting {
    /// For a value.
    Get {
        /// Of this key.
        key: String,
        /// For the answer to this request, or to a later one.
        since: u64,
        /// Whether that was made after the call, so that its answer is the store's own.
        need: Need,
        /// What else will do.
        fallback: Fallback,
    },
    /// For the store, to have put something.
    Put {
        /// The number of the request.
        number: u64,
    },
}

impl Cache {
    pub(super) fn get(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: String,
        (need, fallback): (Need, Fallback),
        out: &mut Outbox<Self>,
    ) {
        let volatile = &mut state.volatile;
        let entry = volatile.entries.get(&key);
        if let (Need::Cached, Some(entry)) = (need, entry)
            && entry.ticks <= self.lifetime_ticks
        {
            return out.tell(got(ticket, entry, Age::Ticks(entry.ticks)));
        }
        let asked = volatile.asked.get(&key).copied();
        let (since, need) = match (need, asked) {
            // One request for all who ask for the same.
            (Need::Cached, Some(asked)) => (asked.number, Need::Cached),
            // What was asked for before this call may have been answered before it.
            (Need::Current, Some(_)) => (volatile.requests + 1, Need::Current),
            (Need::Cached | Need::Current, None) => {
                let number = self.ask(state, &key, Version::default(), out);
                (number, Need::Current)
            }
        };
        let waiting = Waiting::Get {
            key,
            since,
            need,
            fallback,
        };
        state.volatile.waiting.insert(ticket, waiting);
        out.arm(Timer::Patience(ticket));
    }

    pub(super) fn put(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: String,
        value: String,
        out: &mut Outbox<Self>,
    ) {
        let request = Self::name(state);
        let number = request.number;
        let write = Message::Write {
            request,
            key,
            value,
        };
        out.send(self.store, write);
        out.arm(Timer::Patience(ticket));
        state
            .volatile
            .waiting
            .insert(ticket, Waiting::Put { number });
    }

    /// A new request of this cache.
    fn name(state: &mut State<Self>) -> Request {
        state.volatile.requests += 1;
        Request {
            incarnation: state.durable.incarnation,
            number: state.volatile.requests,
        }
    }

    /// Asks the store. An answer to what was asked before is not waited for any more.
    fn ask(
        &self,
        state: &mut State<Self>,
        key: &str,
        floor: Version,
        out: &mut Outbox<Self>,
    ) -> u64 {
        let request = Self::name(state);
        let number = request.number;
        // The age counts from here: the store may answer at once, and the answer come late.
        let asked = Asked {
            number,
            ticks: 0,
            floor,
        };
        state.volatile.asked.insert(key.into(), asked);
        let key = key.into();
        out.send(self.store, Message::Fetch { request, key });
        out.arm(Timer::Tick);
        number
    }

    pub(super) fn on_fetched(
        &self,
        state: &mut State<Self>,
        request: Request,
        key: String,
        (version, value): (Version, Option<String>),
        out: &mut Outbox<Self>,
    ) {
        let volatile = &mut state.volatile;
        let Some(asked) = volatile.asked.get(&key).copied() else {
            return;
        };
        let present = (state.durable.incarnation, asked.number);
        if (request.incarnation, request.number) != present {
            return; // Between that request and now it was told to let go, or asked anew.
        }
        volatile.asked.remove(&key);
        let entry = Entry {
            version,
            value,
            ticks: asked.ticks,
        };
        let served: Vec<(u64, Need)> = (volatile.waiting.iter())
            .filter_map(|(ticket, waiting)| match waiting {
                Waiting::Get {
                    key: of,
                    since,
                    need,
                    ..
                } => (*of == key && *since <= asked.number).then_some((*ticket, *need)),
                Waiting::Put { .. } => None,
            })
            .collect();
        for (ticket, need) in served {
            let age = match need {
                Need::Current => Age::Current,
                Need::Cached if entry.ticks <= self.lifetime_ticks => Age::Ticks(entry.ticks),
                // The answer was so long on its way that it is too old: ask anew.
                Need::Cached => continue,
            };
            volatile.waiting.remove(&ticket);
            out.disarm(Timer::Patience(ticket));
            out.tell(got(ticket, &entry, age));
        }
        if entry.ticks <= self.kept_ticks {
            volatile.entries.insert(key.clone(), entry);
        }
        self.ask_for_the_rest(state, &key, asked.floor, out);
    }

    /// Asks anew, if anyone waits for this key.
    fn ask_for_the_rest(
        &self,
        state: &mut State<Self>,
        key: &str,
        floor: Version,
        out: &mut Outbox<Self>,
    ) {
        state.volatile.asked.remove(&String::from(key));
        if !state.volatile.waiting.values().any(|one| one.is_for(key)) {
            return;
        }
        let number = self.ask(state, key, floor, out);
        let mut waiting = state.volatile.waiting.clone();
        let tickets: Vec<u64> = (waiting.iter())
            .filter(|(_, one)| one.is_for(key))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in tickets {
            if let Some(Waiting::Get { since, need, .. }) = waiting.get_mut(&ticket) {
                (*since, *need) = (number, Need::Current);
            }
        }
        state.volatile.waiting = waiting;
    }

    /// Lets go. What was asked for before may be older too: it is asked for again.
    pub(super) fn on_void(
        &self,
        state: &mut State<Self>,
        key: String,
        version: Version,
        out: &mut Outbox<Self>,
    ) {
        let entries = &mut state.volatile.entries;
        let is_old = (entries.get(&key)).is_some_and(|entry| entry.version < version);
        let is_new = (entries.get(&key)).is_some_and(|entry| entry.version >= version);
        if is_old {
            entries.remove(&key);
        }
        let asked = state.volatile.asked.get(&key);
        let is_late = asked.is_some_and(|asked| asked.floor < version);
        // If what it has is new enough, what it has asked for since is too.
        if is_late && !is_new {
            self.ask_for_the_rest(state, &key, version, out);
        }
        out.send(self.store, Message::Voided { key, version });
    }

    pub(super) fn on_written(
        state: &mut State<Self>,
        request: Request,
        reach: Reach,
        out: &mut Outbox<Self>,
    ) {
        if request.incarnation != state.durable.incarnation {
            return;
        }
        let waiting = &mut state.volatile.waiting;
        let number = request.number;
        let of = |(_, one): &(&u64, &Waiting)| **one == Waiting::Put { number };
        let Some(ticket) = waiting.iter().find(of).map(|(ticket, _)| *ticket) else {
            return;
        };
        waiting.remove(&ticket);
        out.disarm(Timer::Patience(ticket));
        out.tell(Event::Put { ticket, reach });
    }

    /// All that it has is older by one tick. What is older than anyone may be told is forgotten.
    pub(super) fn on_tick(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let volatile = &mut state.volatile;
        let kept = self.kept_ticks;
        let older = |ticks: u32| ticks.saturating_add(1).min(kept.saturating_add(1));
        let entries = volatile.entries.iter().map(|(key, entry)| {
            let entry = Entry {
                ticks: older(entry.ticks),
                ..entry.clone()
            };
            (key.clone(), entry)
        });
        let entries = entries.filter(|(_, entry)| entry.ticks <= kept);
        volatile.entries = entries.collect();
        let asked = volatile.asked.iter().map(|(key, asked)| {
            let asked = Asked {
                ticks: older(asked.ticks),
                ..*asked
            };
            (key.clone(), asked)
        });
        volatile.asked = asked.collect();
        out.tell(Event::Ticked);
        if !volatile.entries.is_empty() || !volatile.asked.is_empty() {
            out.arm(Timer::Tick);
        }
    }

    /// The store is silent. What there is will do for who said so.
    pub(super) fn on_patience(&self, state: &mut State<Self>, ticket: u64, out: &mut Outbox<Self>) {
        let volatile = &mut state.volatile;
        let Some(waiting) = volatile.waiting.remove(&ticket) else {
            return;
        };
        let (key, fallback) = match waiting {
            Waiting::Put { .. } => return out.tell(Event::Unknown { ticket }),
            Waiting::Get { key, fallback, .. } => (key, fallback),
        };
        let allowed = match fallback {
            Fallback::Never => None,
            Fallback::Within(ticks) => Some(ticks),
        };
        let entry = volatile.entries.get(&key);
        let entry = entry.filter(|entry| allowed.is_some_and(|ticks| entry.ticks <= ticks));
        match entry {
            Some(entry) => out.tell(got(ticket, entry, Age::Ticks(entry.ticks))),
            None => out.tell(Event::Unanswered { ticket }),
        }
        // For the others, in case that it was lost; and if there are none it is not waited for.
        let asked = volatile.asked.get(&key);
        let floor = asked.map_or_else(Version::default, |asked| asked.floor);
        self.ask_for_the_rest(state, &key, floor, out);
    }
}

impl Waiting {
    fn is_for(&self, key: &str) -> bool {
        match self {
            Self::Get { key: of, .. } => of == key,
            Self::Put { .. } => false,
        }
    }
}

fn got(ticket: u64, entry: &Entry, age: Age) -> Event {
    Event::Got {
        ticket,
        version: entry.version,
        value: entry.value.clone(),
        age,
    }
}
