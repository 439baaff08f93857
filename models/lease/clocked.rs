//! Machines with clocks: alarms of which the order matters ring by a clock of their node.
//!
//! In a world any armed alarm may ring at any time, which is what a protocol must bear that rests on no
//! clock. A lease rests on one. So here each node has a clock, which ticks when the adversary lets it: a
//! *timed* alarm rings when the clock has ticked as often since it was armed as [`Machine::delay`] says,
//! no sooner and no later, a tick for a millisecond. The clock does not tick past an alarm that is to
//! ring; and it ticks only while a timed alarm is armed, since nobody looks at it else. Each clock runs
//! at any pace: how far two may differ is a premise of the promise, which the ghost knows.
//!
//! What is kept is not what the clock shows but what it has to tick until each alarm, so that time goes
//! on for ever in finitely many states.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::data::Map;
use quorate::machine::{Machine, NodeId, Outbox, Output, State, Value};
use serde::{Deserialize, Serialize};

/// A machine some of whose alarms are timed.
pub trait Timely: Machine {
    /// True if safety rests on when this one rings. The others ring at any time.
    fn is_timed(timer: &Self::Timer) -> bool;
}

/// A machine whose timed alarms ring by its clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clocked<M>(pub M);

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
pub enum Told<E> {
    /// The clock ticked.
    Ticked,
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
impl<E: fmt::Debug> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticked => write!(f, "Ticked"),
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
    /// After how many more ticks each may ring, and after how many it has to.
    pub left: Map<T, (u64, u64)>,
}

impl<M: Timely> Clocked<M> {
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
        act(&self.0, &mut inner, &mut said);
        state.durable = inner.durable;
        state.volatile.volatile = inner.volatile;
        self.pass_on(&mut state.volatile.left, &mut said, out);
    }

    fn pass_on(
        &self,
        left: &mut Map<M::Timer, (u64, u64)>,
        said: &mut Outbox<M>,
        out: &mut Outbox<Self>,
    ) {
        for output in said.drain() {
            match output {
                Output::Send { to, message } => out.send(to, message),
                Output::Event(event) => out.tell(Told::Event(event)),
                Output::Arm(timer) if M::is_timed(&timer) => {
                    let Range { start, end } = self.0.delay(&timer);
                    let ticks = (start.as_millis(), end.as_millis() - 1);
                    let ticks = (u64::try_from(ticks.0), u64::try_from(ticks.1));
                    let (Ok(least), Ok(most)) = ticks else {
                        panic!("a delay is some milliseconds");
                    };
                    left.insert(timer, (least, most));
                }
                Output::Arm(timer) => out.arm(Beat::Alarm(timer)),
                Output::Disarm(timer) => {
                    left.remove(&timer);
                    out.disarm(Beat::Alarm(timer));
                }
            }
        }
        Self::arm(left, out);
    }

    /// Arms what the clock allows, and nothing else.
    fn arm(left: &Map<M::Timer, (u64, u64)>, out: &mut Outbox<Self>) {
        for (timer, (least, _)) in left {
            if *least == 0 {
                out.arm(Beat::Alarm(timer.clone()));
            } else {
                out.disarm(Beat::Alarm(timer.clone()));
            }
        }
        if !left.is_empty() && left.values().all(|(_, most)| *most > 0) {
            out.arm(Beat::Tick);
        } else {
            out.disarm(Beat::Tick);
        }
    }
}

impl<M: Timely> Machine for Clocked<M> {
    type Call = M::Call;
    type Message = M::Message;
    type Timer = Beat<M::Timer>;
    type Event = Told<M::Event>;
    type Durable = M::Durable;
    type Volatile = Timed<M::Volatile, M::Timer>;

    fn boot(&self, durable: &mut M::Durable, out: &mut Outbox<Self>) -> Self::Volatile {
        let mut said = Outbox::default();
        let volatile = self.0.boot(durable, &mut said);
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
                    .map(|(timer, (least, most))| {
                        let less = (least.saturating_sub(1), most.saturating_sub(1));
                        (timer.clone(), less)
                    })
                    .collect();
                out.tell(Told::Ticked);
                Self::arm(left, out);
            }
            Beat::Alarm(timer) => {
                state.volatile.left.remove(&timer);
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
            Beat::Alarm(timer) if M::is_timed(timer) => Duration::ZERO..Duration::from_micros(1),
            Beat::Alarm(timer) => self.0.delay(timer),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.0.holds(&State {
            durable: state.durable.clone(),
            volatile: state.volatile.volatile.clone(),
        })
    }
}
