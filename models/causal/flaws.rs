//! The causal store with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::causal::{Call, Causal, Durable, Event, Message, Timer, Update, Version, Volatile};
use quorate::clock::{Stamp, Vector};
use quorate::data::Map;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Causal,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with the causal store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// What arrives is merged into the clock, and then asked to be the next. So does the textbook's.
    MergedFirst,
    /// A delivery counts as an event of the node, in the clock that numbers its updates. So it does in
    /// the textbook's.
    ReceiptTicks,
    /// Everything held back is judged by the clock as it is, and then delivered: what is there twice, as
    /// in the textbook's list, twice.
    BatchByOneClock,
    /// What was delivered and comes again is held back, where nothing ever takes it from. So is it by the
    /// textbook's.
    RepeatsHeld,
    /// There is always room to hold one more back.
    HeldWithoutBound,
    /// A clock that is equal is not yet far enough. The textbook's knows *before* and *concurrent*.
    EqualIsConcurrent,
    /// The counts of n2, which joined later, are in no stamp but its own. So are they in the textbook's.
    StrangersDropped,
    /// The last to arrive is what the key holds. So it is in the textbook's.
    ArrivalWins,
    /// Updates are sent once. So are the textbook's.
    SentOnce,
    /// The message says which of its node's updates it is, and no more: the textbook's encoding forgets
    /// the clock.
    StampNotSent,
    /// The next of its node is delivered, whatever its causes.
    FifoForCausal,
    /// What is after the last of its node is delivered, next or not.
    OwnAtLeast,
    /// More must have been delivered of every cause's node than the stamp counts.
    StrictOthers,
    /// The stamp is made before the update is counted.
    SentBeforeCounted,
    /// A node sends itself what it sends to all, and delivers that too: Raynal, Schiper and Toueg, 1991,
    /// as first written.
    SelfDelivery,
    /// What is held back counts: the clock is the frontier of what came, with its gaps.
    GapsCounted,
    /// Two have it, and the log forgets it.
    ForgottenAtTwo,
    /// What is held back is acknowledged, and with it what is missing before it.
    HeldIsAcknowledged,
    /// Nobody sends again but what he made himself.
    OwnAlone,
    /// After a restart the clock begins anew.
    ClockForgotten,
    /// Of two versions the one that is a later write of its own node's stays. The textbook's versions are
    /// numbered so.
    RankByOwnCount,
    /// Nobody looks at the token.
    TokenIgnored,
    /// A get gives the token back as it came.
    GetNotInToken,
    /// A put gives the token back as it came.
    PutNotInToken,
    /// A call waits for as long as it takes.
    WaitsForEver,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.flaw == Flaw::ClockForgotten {
            durable.clock = Vector::new();
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, mut call: Call, out: &mut Outbox<Self>) {
        let clock = state.durable.clock.clone();
        let token = call.token().clone();
        match self.flaw {
            Flaw::TokenIgnored => {
                let (Call::Put { token, .. } | Call::Get { token, .. }) = &mut call;
                *token = Vector::new();
            }
            Flaw::EqualIsConcurrent if !token.is_empty() && token == clock => {
                state.volatile.waiting.push(call);
                return;
            }
            Flaw::StrangersDropped => {
                let known = clock
                    .iter()
                    .filter(|(node, _)| *node != STRANGER || self.right.me == STRANGER);
                state.durable.clock = known.collect();
            }
            _ => {}
        }
        let mut store = state.durable.store.clone();
        let outputs = delegate(state, |state, out| self.right.on_call(state, call, out));
        state.durable.clock.merge(&clock);
        if self.flaw == Flaw::RankByOwnCount {
            prefer(&mut store, &outputs);
            state.durable.store = store;
        }
        self.pass_on(state, outputs, Some(&token), out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        if let Message::Update(update) = &mut message
            && self.is_mistaken(state, from, update, out)
        {
            return;
        }
        let mut store = state.durable.store.clone();
        let outputs = delegate(state, |state, out| {
            self.right.on_message(state, from, message, out);
        });
        if self.flaw == Flaw::RankByOwnCount {
            prefer(&mut store, &outputs);
            state.durable.store = store;
        }
        self.pass_on(state, outputs, None, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        if self.flaw == Flaw::SentOnce && timer == Timer::Push {
            return;
        }
        let outputs = delegate(state, |state, out| self.right.on_timer(state, timer, out));
        self.pass_on(state, outputs, None, out);
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

/// Who joined later.
const STRANGER: NodeId = NodeId(2);

impl Flawed {
    /// Handles an update wrongly. False if the right machine is to handle it, after all.
    fn is_mistaken(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        update: &mut Update,
        out: &mut Outbox<Self>,
    ) -> bool {
        let Version { origin, stamp, .. } = update.version.clone();
        let (dot, rank) = (update.version.dot(), update.version.rank());
        let clock = state.durable.clock.clone();
        let is_new = !clock.covers(dot);
        let is_next = update.version.is_next(&clock);
        match self.flaw {
            Flaw::MergedFirst if is_new => {
                state.durable.clock.merge(&stamp);
                state.volatile.held.insert(rank, update.clone());
                true
            }
            Flaw::BatchByOneClock if is_new && !is_next => {
                let held = &mut state.volatile.held;
                let copy = Stamp {
                    node: NodeId(rank.node.0 + COPIES),
                    ..rank
                };
                let place = if held.contains_key(&rank) { copy } else { rank };
                held.insert(place, update.clone());
                true
            }
            Flaw::BatchByOneClock if is_new => {
                self.deliver_anyway(state, update, out);
                let clock = state.durable.clock.clone();
                let mut batch: Vec<Update> = state.volatile.held.values().cloned().collect();
                batch.retain(|held| held.version.is_next(&clock));
                state
                    .volatile
                    .held
                    .retain(|_, held| !held.version.is_next(&clock));
                for held in batch {
                    self.deliver_anyway(state, &held, out);
                }
                true
            }
            Flaw::RepeatsHeld if !is_new => {
                state.volatile.held.insert(rank, update.clone());
                true
            }
            Flaw::HeldWithoutBound if is_new && !is_next => {
                state.volatile.held.insert(rank, update.clone());
                true
            }
            Flaw::StampNotSent => {
                update.version.stamp = [(origin, dot.counter)].into_iter().collect();
                false
            }
            Flaw::FifoForCausal if clock.get(origin) + 1 == dot.counter => {
                self.deliver_anyway(state, update, out);
                true
            }
            Flaw::OwnAtLeast if is_new => {
                self.deliver_anyway(state, update, out);
                true
            }
            Flaw::StrictOthers if is_next => {
                let mut others = stamp.iter().filter(|(node, _)| *node != origin);
                let is_late = others.any(|(node, count)| clock.get(node) == count);
                if is_late {
                    state.volatile.held.insert(rank, update.clone());
                }
                is_late
            }
            Flaw::SelfDelivery if from == self.right.me => {
                out.tell(Event::Delivered(update.clone()));
                true
            }
            Flaw::GapsCounted if is_new && !is_next => {
                state.volatile.held.insert(rank, update.clone());
                state.durable.clock.merge(&stamp);
                true
            }
            Flaw::HeldIsAcknowledged if is_new && !is_next => {
                out.send(from, Message::Acknowledge(stamp));
                false
            }
            _ => false,
        }
    }

    /// Passes on what the right machine said, but for what is wrong.
    fn pass_on(
        &self,
        state: &mut State<Self>,
        outputs: Vec<Output<Self>>,
        token: Option<&Vector>,
        out: &mut Outbox<Self>,
    ) {
        for output in outputs {
            match (self.flaw, output) {
                (
                    Flaw::OwnAlone,
                    Output::Send {
                        message: Message::Update(update),
                        ..
                    },
                ) if update.version.origin != self.right.me => {}
                (Flaw::WaitsForEver, Output::Arm(Timer::GiveUp(_))) => {}
                (
                    Flaw::SentBeforeCounted,
                    Output::Send {
                        to,
                        message: Message::Update(update),
                    },
                ) => {
                    let message = Message::Update(uncounted(update));
                    out.send(to, message);
                }
                (Flaw::SentBeforeCounted, Output::Event(Event::Sent(update))) => {
                    out.tell(Event::Sent(uncounted(update)));
                }
                (Flaw::GetNotInToken, Output::Event(Event::Got { ticket, value, .. })) => {
                    let token = token.cloned().unwrap_or_default();
                    out.tell(Event::Got {
                        ticket,
                        value,
                        token,
                    });
                }
                (Flaw::PutNotInToken, Output::Event(Event::Done { ticket, .. })) => {
                    let token = token.cloned().unwrap_or_default();
                    out.tell(Event::Done { ticket, token });
                }
                (_, Output::Event(Event::Delivered(update))) => {
                    self.on_delivery(state, &update);
                    out.tell(Event::Delivered(update));
                }
                (_, Output::Event(Event::Sent(update))) => {
                    if self.flaw == Flaw::SelfDelivery {
                        out.send(self.right.me, Message::Update(update.clone()));
                    }
                    out.tell(Event::Sent(update));
                }
                (_, output) => out.push(output),
            }
        }
        if self.flaw == Flaw::ForgottenAtTwo {
            let Durable { log, known, .. } = &mut state.durable;
            log.retain(|dot, _| !known.values().any(|clock| clock.covers(*dot)));
        }
    }

    fn on_delivery(&self, state: &mut State<Self>, update: &Update) {
        match self.flaw {
            Flaw::ReceiptTicks => {
                let ticked = state.durable.clock.tick(self.right.me);
                debug_assert!(ticked.is_ok(), "a world ends before that");
            }
            Flaw::ArrivalWins => {
                let Update { key, version } = update.clone();
                state.durable.store.insert(key, version);
            }
            _ => {}
        }
    }

    /// Delivers an update, whatever is missing.
    fn deliver_anyway(&self, state: &mut State<Self>, update: &Update, out: &mut Outbox<Self>) {
        let (me, members) = (self.right.me, self.right.members);
        let Update { key, version } = update.clone();
        let (dot, rank) = (version.dot(), version.rank());
        out.tell(Event::Delivered(update.clone()));
        out.arm(Timer::Push);
        let Durable {
            clock, log, store, ..
        } = &mut state.durable;
        clock.merge(&[(dot.node, dot.counter)].into_iter().collect());
        if store.get(&key).is_none_or(|old| old.rank() < rank) {
            store.insert(key, version);
        }
        log.insert(dot, update.clone());
        let others = members.iter().filter(|node| *node != me);
        out.broadcast(others, &Message::Acknowledge(clock.clone()));
    }
}

/// What the store was, with what was told since: of two versions the one with the larger count of
/// its own node stays.
fn prefer(store: &mut Map<String, Version>, outputs: &[Output<Flawed>]) {
    let by_count = |version: &Version| (version.dot().counter, version.origin);
    for output in outputs {
        if let Output::Event(Event::Sent(update) | Event::Delivered(update)) = output {
            let Update { key, version } = update.clone();
            if (store.get(&key)).is_none_or(|old| by_count(old) < by_count(&version)) {
                store.insert(key, version);
            }
        }
    }
}

/// Second copies of what is held back are kept under their rank at a node that does not exist.
const COPIES: u64 = 64;

/// The update as it is if its stamp is made before it is counted.
fn uncounted(mut update: Update) -> Update {
    let Version { origin, stamp, .. } = &mut update.version;
    let counts = stamp
        .iter()
        .map(|(node, count)| (node, count - u64::from(node == *origin)));
    *stamp = counts.filter(|(_, count)| *count > 0).collect();
    update
}
