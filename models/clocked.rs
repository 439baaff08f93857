//! Machines with clocks: alarms of which the order matters ring by a clock of their node.
//!
//! In a world any armed alarm may ring at any time, which is what a protocol must bear that rests on no
//! clock. A lease rests on one. So here each node has a clock, which ticks when the adversary lets it: a
//! *timed* alarm rings when the clock has ticked as often since it was armed as its [`Timing`] says, no
//! sooner and no later. The clock does not tick past an alarm that is to ring; and it ticks only while
//! there is something to count, since nobody looks at it else. Each clock runs at any pace: how far two
//! may differ is a premise of the promise, which the ghost knows.
//!
//! What is kept is not what the clock shows but what it has to tick until each alarm, so that time goes
//! on for ever in finitely many states.

use std::fmt;
use std::hash::Hash;
use std::ops::Range;
use std::time::Duration;

use quorate::data::Map;
use quorate::machine::{Machine, NodeId, Outbox, Output, State, Value};
use serde::{Deserialize, Serialize};

/// Which alarms of a machine are timed, and how.
pub trait Timing<M: Machine>: Clone + fmt::Debug + Eq + Hash + Send + Sync + 'static {
    /// After how many ticks this one rings, if safety rests on when it does. The others ring at any time.
    fn count(&self, machine: &M, timer: &M::Timer) -> Option<Count>;

    /// True if the ghost is to know when this timed alarm begins to be counted, and when that is over.
    fn is_told(&self, timer: &M::Timer) -> bool {
        let _ = timer;
        false
    }
}

/// How many ticks an alarm has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Count {
    /// After so many it may ring.
    pub least: u64,
    /// After so many it has to; if nothing, it rings at any time after that.
    pub most: Option<u64>,
}

impl Count {
    /// One tick later.
    fn less(self) -> Self {
        Self {
            least: self.least.saturating_sub(1),
            most: self.most.map(|most| most.saturating_sub(1)),
        }
    }
}

/// A machine whose timed alarms ring by its clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clocked<M, C> {
    /// The machine.
    pub machine: M,
    /// Which alarms are timed.
    pub timing: C,
}

/// An alarm of the machine, or a tick of its clock.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Beat<T> {
    /// The clock ticks.
    Tick,
    /// The alarm rings.
    Alarm(T),
}

/// What the machine told, or that its clock ticked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Told<E, T> {
    /// The clock ticked.
    Ticked,
    /// This alarm begins to be counted, or begins again.
    Counts(T),
    /// It is counted no more: it rang, or was given up.
    Counted(T),
    /// The machine told this.
    Event(E),
}

/// As the machine's own alarms are, for stories are read by people.
impl<T: fmt::Debug> fmt::Debug for Beat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tick => write!(f, "Tick"),
            Self::Alarm(timer) => timer.fmt(f),
        }
    }
}

/// As what the machine itself tells.
impl<E: fmt::Debug, T: fmt::Debug> fmt::Debug for Told<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticked => write!(f, "Ticked"),
            Self::Counts(timer) => write!(f, "Counts {timer:?}"),
            Self::Counted(timer) => write!(f, "Counted {timer:?}"),
            Self::Event(event) => event.fmt(f),
        }
    }
}

/// The memory of the machine, and how its clock stands to the timed alarms that are armed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound(deserialize = "V: Value, T: Value"))]
pub struct Timed<V, T: Ord> {
    /// The memory of the machine.
    pub volatile: V,
    /// How many more ticks each has to wait.
    pub left: Map<T, Count>,
}

impl<M: Machine, C: Timing<M>> Clocked<M, C> {
    /// Lets the machine act, and keeps account of its timed alarms.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&M, &mut State<M>, &mut Outbox<M>),
    ) {
        let mut inner = State {
            durable: state.durable.clone(),
            volatile: state.volatile.volatile.clone(),
        };
        let mut said = Outbox::default();
        act(&self.machine, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile.volatile = inner.volatile;
        self.pass_on(&mut state.volatile.left, &mut said, out);
    }

    fn pass_on(
        &self,
        left: &mut Map<M::Timer, Count>,
        said: &mut Outbox<M>,
        out: &mut Outbox<Self>,
    ) {
        for output in said.drain() {
            match output {
                Output::Send { to, message } => out.send(to, message),
                Output::Event(event) => out.tell(Told::Event(event)),
                Output::Arm(timer) => match self.timing.count(&self.machine, &timer) {
                    Some(count) => {
                        left.insert(timer.clone(), count);
                        if self.timing.is_told(&timer) {
                            out.tell(Told::Counts(timer));
                        }
                    }
                    None => out.arm(Beat::Alarm(timer)),
                },
                Output::Disarm(timer) => {
                    self.forget(left, &timer, out);
                    out.disarm(Beat::Alarm(timer));
                }
            }
        }
        Self::arm(left, out);
    }

    /// The alarm is counted no more.
    fn forget(&self, left: &mut Map<M::Timer, Count>, timer: &M::Timer, out: &mut Outbox<Self>) {
        if left.remove(timer).is_some() && self.timing.is_told(timer) {
            out.tell(Told::Counted(timer.clone()));
        }
    }

    /// Arms what the clock allows, and nothing else.
    fn arm(left: &Map<M::Timer, Count>, out: &mut Outbox<Self>) {
        for (timer, count) in left {
            if count.least == 0 {
                out.arm(Beat::Alarm(timer.clone()));
            } else {
                out.disarm(Beat::Alarm(timer.clone()));
            }
        }
        let counts = |count: &Count| count.least > 0 || count.most.is_some();
        if left.values().any(counts) && left.values().all(|count| count.most != Some(0)) {
            out.arm(Beat::Tick);
        } else {
            out.disarm(Beat::Tick);
        }
    }
}

impl<M: Machine, C: Timing<M>> Machine for Clocked<M, C> {
    type Call = M::Call;
    type Message = M::Message;
    type Timer = Beat<M::Timer>;
    type Event = Told<M::Event, M::Timer>;
    type Durable = M::Durable;
    type Volatile = Timed<M::Volatile, M::Timer>;

    fn boot(&self, durable: &mut M::Durable, out: &mut Outbox<Self>) -> Self::Volatile {
        let mut said = Outbox::default();
        let volatile = self.machine.boot(durable, &mut said);
        let mut left = Map::new();
        self.pass_on(&mut left, &mut said, out);
        Timed { volatile, left }
    }

    fn on_call(&self, state: &mut State<Self>, call: M::Call, out: &mut Outbox<Self>) {
        self.act(state, out, |inner, state, out| {
            inner.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: M::Message,
        out: &mut Outbox<Self>,
    ) {
        self.act(state, out, |inner, state, out| {
            inner.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, beat: Self::Timer, out: &mut Outbox<Self>) {
        match beat {
            Beat::Tick => {
                let left = &mut state.volatile.left;
                *left = (left.iter())
                    .map(|(timer, count)| (timer.clone(), count.less()))
                    .collect();
                out.tell(Told::Ticked);
                Self::arm(left, out);
            }
            Beat::Alarm(timer) => {
                self.forget(&mut state.volatile.left, &timer, out);
                self.act(state, out, |inner, state, out| {
                    inner.on_timer(state, timer, out);
                });
            }
        }
    }

    fn delay(&self, beat: &Self::Timer) -> Range<Duration> {
        match beat {
            // In the calm all clocks keep good time, and what is to ring rings.
            Beat::Tick => Duration::from_millis(1)..Duration::from_micros(1_001),
            Beat::Alarm(timer) if self.timing.count(&self.machine, timer).is_some() => {
                Duration::ZERO..Duration::from_micros(1)
            }
            Beat::Alarm(timer) => self.machine.delay(timer),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.machine.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.volatile.clone(),
        })
    }
}
