//! Nodes that do nothing but stamp their events, send the stamps, and stamp the receipts; and the
//! ghost that knows which event happened before which.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::clock::{Hybrid, HybridTime, Lamport, Relation, Stamp, Vector};
use quorate::data::NodeSet;
use quorate::machine::{self, Machine, NodeId, Outbox, State, Value};
use serde::{Deserialize, Serialize};

use crate::ghost::Ghost;

/// How a scribe uses its clock.
pub trait Rule: Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static {
    /// What it keeps.
    type Clock: Value + Default;
    /// What an event is stamped with, and what messages carry.
    type Stamp: Value;

    /// An event at `me` that is no receipt, while its physical clock shows `now`.
    fn tick(&self, clock: &mut Self::Clock, me: NodeId, now: u64) -> Option<Self::Stamp>;

    /// A receipt at `me`. If nothing is given, the message is refused.
    fn receive(
        &self,
        clock: &mut Self::Clock,
        me: NodeId,
        now: u64,
        sent: &Self::Stamp,
    ) -> Option<Self::Stamp>;

    /// What a restart makes of the clock that was kept.
    fn restart(&self, clock: &mut Self::Clock) {
        let _ = clock;
    }

    /// What the stamps say of their events.
    fn compare(&self, one: &Self::Stamp, other: &Self::Stamp) -> Relation;

    /// True if the stamp says no more of its causes than they were.
    fn is_earned(stamp: &Self::Stamp, causes: &mut dyn Iterator<Item = &Self::Stamp>) -> bool {
        let _ = (stamp, causes);
        true
    }
}

/// Stamps of a total order never say that two events are concurrent.
pub(super) fn in_order<T: Ord>(one: &T, other: &T) -> Relation {
    match one.cmp(other) {
        std::cmp::Ordering::Less => Relation::Before,
        std::cmp::Ordering::Equal => Relation::Equal,
        std::cmp::Ordering::Greater => Relation::After,
    }
}

/// Lamport's clock as it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LamportRule;

impl Rule for LamportRule {
    type Clock = Lamport;
    type Stamp = Stamp;

    fn tick(&self, clock: &mut Lamport, me: NodeId, _: u64) -> Option<Stamp> {
        clock.tick(me).ok()
    }

    fn receive(&self, clock: &mut Lamport, me: NodeId, _: u64, sent: &Stamp) -> Option<Stamp> {
        clock.receive(me, *sent).ok()
    }

    fn compare(&self, one: &Stamp, other: &Stamp) -> Relation {
        in_order(one, other)
    }
}

/// The vector clock as it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VectorRule;

impl Rule for VectorRule {
    type Clock = Vector;
    type Stamp = Vector;

    fn tick(&self, clock: &mut Vector, me: NodeId, _: u64) -> Option<Vector> {
        clock.tick(me).ok()?;
        Some(clock.clone())
    }

    fn receive(&self, clock: &mut Vector, me: NodeId, _: u64, sent: &Vector) -> Option<Vector> {
        clock.receive(me, sent).ok()?;
        Some(clock.clone())
    }

    fn compare(&self, one: &Vector, other: &Vector) -> Relation {
        one.compare(other)
    }
}

/// The hybrid clock as it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HybridRule {
    /// How far a sender's clock may be ahead of the physical one.
    pub drift_max: u64,
}

impl Rule for HybridRule {
    type Clock = Hybrid;
    type Stamp = HybridTime;

    fn tick(&self, clock: &mut Hybrid, _: NodeId, now: u64) -> Option<HybridTime> {
        clock.tick(now).ok()
    }

    fn receive(
        &self,
        clock: &mut Hybrid,
        _: NodeId,
        now: u64,
        sent: &HybridTime,
    ) -> Option<HybridTime> {
        clock.receive(now, *sent, self.drift_max).ok()
    }

    fn compare(&self, one: &HybridTime, other: &HybridTime) -> Relation {
        in_order(one, other)
    }

    fn is_earned(stamp: &HybridTime, causes: &mut dyn Iterator<Item = &HybridTime>) -> bool {
        // Corollary 3: if c = k, then k events of the same l led here, one after the other. Of those
        // at 0 one is the beginning of all clocks, 0.0, which nobody tells.
        let beginning = usize::from(stamp.physical == 0);
        let sharing = causes.filter(|cause| cause.physical == stamp.physical);
        stamp.counter as usize <= beginning + sharing.count()
    }
}

/// A node that stamps its events. How many there are is bounded, so that all its runs can be tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scribe<R> {
    /// This node.
    pub me: NodeId,
    /// To whom it sends: everyone.
    pub nodes: NodeSet,
    /// In how many events it takes part.
    pub events_max: u64,
    /// How far its physical clock goes, from 0.
    pub now_max: u64,
    /// Whether its physical clock may be set back.
    pub setting: Setting,
    /// The clock.
    pub rule: R,
}

/// What may happen to a physical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// It goes forward, at any pace.
    Forward,
    /// It is also set back to 0, whenever it shows the latest that it ever has.
    Back,
}

/// The name of an event: the `number`-th at `node`, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// Where it happened.
    pub node: NodeId,
    /// Which.
    pub number: u64,
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.node, self.number)
    }
}

/// A message: the stamp, and for the ghost the event that it is of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Word<S> {
    /// Its sending.
    pub sent: EventId,
    /// The stamp of that.
    pub stamp: S,
}

impl<S: fmt::Debug> fmt::Debug for Word<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, stamp } = self;
        write!(f, "Word({sent:?}, stamped {stamp:?})")
    }
}

/// What a scribe may do of its own accord.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Whim {
    /// An event happens, and is told to everyone. It may never arrive, so this is also the event of
    /// which nobody is told.
    Act,
    /// The physical clock moves on by one.
    TimePasses,
    /// The physical clock is set back to 0.
    SetBack,
}

/// What a scribe tells.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fact<S> {
    /// An event happened.
    Stamped {
        /// Which.
        event: EventId,
        /// The sending of what it received, if it is a receipt.
        cause: Option<EventId>,
        /// Its stamp.
        stamp: S,
    },
    /// A message was refused: no event.
    Refused(EventId),
}

impl<S: fmt::Debug> fmt::Debug for Fact<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stamped {
                event,
                cause: None,
                stamp,
            } => write!(f, "{event:?} is stamped {stamp:?}"),
            Self::Stamped {
                event,
                cause: Some(cause),
                stamp,
            } => write!(
                f,
                "{event:?}, which received {cause:?}, is stamped {stamp:?}"
            ),
            Self::Refused(sent) => write!(f, "{sent:?} is refused"),
        }
    }
}

/// What a scribe keeps on disk. Its physical clock is here too, for a crash does not stop it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Book<C> {
    /// In how many events it took part.
    pub events: u64,
    /// The clock.
    pub clock: C,
    /// What the physical clock shows.
    pub now: u64,
    /// The latest that it ever showed.
    pub latest: u64,
}

impl<C: Value + Default> machine::Durable for Book<C> {
    type Change = Self;

    fn changes_since(&self, older: &Self) -> Vec<Self> {
        if self == older {
            Vec::new()
        } else {
            vec![self.clone()]
        }
    }

    fn apply(&mut self, change: Self) {
        *self = change;
    }
}

impl<R: Rule> Machine for Scribe<R> {
    type Call = ();
    type Message = Word<R::Stamp>;
    type Timer = Whim;
    type Event = Fact<R::Stamp>;
    type Durable = Book<R::Clock>;
    type Volatile = ();

    fn boot(&self, book: &mut Book<R::Clock>, out: &mut Outbox<Self>) {
        self.rule.restart(&mut book.clock);
        self.arm(book, out);
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(
        &self,
        state: &mut State<Self>,
        _: NodeId,
        word: Word<R::Stamp>,
        out: &mut Outbox<Self>,
    ) {
        let book = &mut state.durable;
        if book.events >= self.events_max {
            return; // It takes part in nothing more.
        }
        let Word { sent, stamp } = word;
        match (self.rule).receive(&mut book.clock, self.me, book.now, &stamp) {
            Some(stamp) => {
                self.stamped(book, Some(sent), stamp, out);
            }
            None => out.tell(Fact::Refused(sent)),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, whim: Whim, out: &mut Outbox<Self>) {
        let book = &mut state.durable;
        match whim {
            Whim::Act => {
                if let Some(stamp) = self.rule.tick(&mut book.clock, self.me, book.now) {
                    let sent = self.stamped(book, None, stamp.clone(), out);
                    let others = self.nodes.iter().filter(|node| *node != self.me);
                    out.broadcast(others, &Word { sent, stamp });
                }
            }
            Whim::TimePasses => {
                book.now += 1;
                book.latest = book.latest.max(book.now);
                self.arm(book, out);
            }
            Whim::SetBack => {
                book.now = 0;
                self.arm(book, out);
            }
        }
    }

    fn delay(&self, _: &Whim) -> Range<Duration> {
        Duration::from_millis(1)..Duration::from_millis(2)
    }
}

impl<R: Rule> Scribe<R> {
    fn stamped(
        &self,
        book: &mut Book<R::Clock>,
        cause: Option<EventId>,
        stamp: R::Stamp,
        out: &mut Outbox<Self>,
    ) -> EventId {
        book.events += 1;
        let event = EventId {
            node: self.me,
            number: book.events,
        };
        out.tell(Fact::Stamped {
            event,
            cause,
            stamp,
        });
        self.arm(book, out);
        event
    }

    /// Arms what may happen next, and nothing else.
    fn arm(&self, book: &Book<R::Clock>, out: &mut Outbox<Self>) {
        let at_latest = 0 < book.now && book.now == book.latest;
        for (whim, may) in [
            (Whim::Act, book.events < self.events_max),
            (Whim::TimePasses, book.now < self.now_max),
            (Whim::SetBack, self.setting == Setting::Back && at_latest),
        ] {
            if may {
                out.arm(whim);
            } else {
                out.disarm(whim);
            }
        }
    }
}

/// The events that happened, each with the set of those that happened before it, told by what caused
/// what and by no clock; and what that says of their stamps.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one verdict for each promise, each read by its own"
)]
pub struct Causality<R: Rule> {
    rule: R,
    events: Vec<Happened<R::Stamp>>,
    /// A message was refused.
    pub refused: bool,
    // These follow from the events: they are checked when one is added, not at every state.
    /// The clock condition.
    pub clock_condition: bool,
    /// The strong clock condition.
    pub strong_clock_condition: bool,
    /// No two events share a stamp.
    pub unique: bool,
    /// Every stamp is earned.
    pub earned: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Happened<S> {
    event: EventId,
    /// All that happened before it, sorted.
    before: Vec<EventId>,
    stamp: S,
}

impl<R: Rule> fmt::Debug for Causality<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, one) in self.events.iter().enumerate() {
            let comma = if place == 0 { "" } else { "; " };
            write!(f, "{comma}{:?} ({:?})", one.event, one.stamp)?;
            if !one.before.is_empty() {
                write!(f, " after {:?}", one.before)?;
            }
        }
        Ok(())
    }
}

impl<R: Rule> Causality<R> {
    /// Nothing happened yet.
    pub fn new(rule: R) -> Self {
        Self {
            rule,
            events: Vec::new(),
            refused: false,
            clock_condition: true,
            strong_clock_condition: true,
            unique: true,
            earned: true,
        }
    }

    fn happened(&self, event: EventId) -> Option<&Happened<R::Stamp>> {
        self.events.iter().find(|one| one.event == event)
    }

    /// True if some two events are concurrent.
    pub fn some_are_concurrent(&self) -> bool {
        self.events.iter().any(|one| {
            (self.events.iter()).any(|other| {
                one.event != other.event
                    && !one.before.contains(&other.event)
                    && !other.before.contains(&one.event)
            })
        })
    }

    /// True if a chain of causes runs through three nodes.
    pub fn some_are_far_apart(&self) -> bool {
        self.events.iter().any(|one| {
            let along = one.before.iter().chain([&one.event]);
            let nodes: NodeSet = along.map(|event| event.node).collect();
            nodes.len() >= 3
        })
    }

    /// True if some event has a cause at another node.
    pub fn some_cause_is_elsewhere(&self) -> bool {
        (self.events.iter()).any(|one| one.before.iter().any(|cause| cause.node != one.event.node))
    }

    /// The stamps, in the order of the names of their events.
    pub fn stamps(&self) -> impl Iterator<Item = &R::Stamp> {
        self.events.iter().map(|one| &one.stamp)
    }

    fn add(&mut self, event: EventId, cause: Option<EventId>, stamp: &R::Stamp) {
        let previous = (event.number > 1).then(|| EventId {
            number: event.number - 1,
            ..event
        });
        let mut before = Vec::new();
        for direct in previous.into_iter().chain(cause) {
            before.push(direct);
            if let Some(direct) = self.happened(direct) {
                before.extend(&direct.before);
            }
        }
        before.sort_unstable();
        before.dedup();
        for other in &self.events {
            let is_cause = before.contains(&other.event);
            let said = self.rule.compare(&other.stamp, stamp);
            let (expected, back) = if is_cause {
                (Relation::Before, Relation::After)
            } else {
                (Relation::Concurrent, Relation::Concurrent)
            };
            self.clock_condition &= !is_cause || said == Relation::Before;
            self.strong_clock_condition &=
                said == expected && self.rule.compare(stamp, &other.stamp) == back;
            self.unique &= other.stamp != *stamp;
        }
        self.strong_clock_condition &= self.rule.compare(stamp, stamp) == Relation::Equal;
        let causes = before.iter().filter_map(|cause| self.happened(*cause));
        self.earned &= R::is_earned(stamp, &mut causes.map(|cause| &cause.stamp));
        let happened = Happened {
            event,
            before,
            stamp: stamp.clone(),
        };
        // Sorted, so that what happened is one value however it was interleaved.
        let place = self.events.partition_point(|other| *other < happened);
        self.events.insert(place, happened);
    }
}

impl<R: Rule> Ghost<Scribe<R>> for Causality<R> {
    fn ticket((): &()) -> Option<u64> {
        None
    }

    fn finished(_: &Fact<R::Stamp>) -> Option<u64> {
        None
    }

    fn on_event(&mut self, _: NodeId, fact: &Fact<R::Stamp>) {
        match fact {
            Fact::Stamped {
                event,
                cause,
                stamp,
            } => self.add(*event, *cause, stamp),
            Fact::Refused(_) => self.refused = true,
        }
    }
}
