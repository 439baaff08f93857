//! The loop without its I/O: a machine, its state and its armed alarms, moved on turn by turn.
//!
//! Nothing here names a clock, a socket or a file. Time is handed in, as a duration since whenever
//! the driver began, and delays are drawn from a seed. So the same seed, inputs and times give the
//! same outputs, whether a socket, a simulator or a recording brings the inputs.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use super::metrics::Histogram;
use crate::machine::{self, Input, Machine, NodeId, Output, Sealed, State, Step};

/// How many messages of a node to itself may wait. One more is lost, as any message may be.
pub const OWN_MESSAGES_MAX: usize = 1024;
/// How many alarms ring in one turn at most, so that alarms without delay do not keep all else waiting.
pub const ALARMS_PER_TURN_MAX: usize = 64;

/// A node in memory.
#[derive(Debug)]
pub struct Core<M: Machine> {
    machine: M,
    me: NodeId,
    state: State<M>,
    alarms: Alarms<M::Timer>,
    own: VecDeque<M::Message>,
    random: Random,
    heard: Option<Vec<Input<M>>>,
    lateness: Histogram,
}

/// What a node does to the outside, once it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<M: Machine> {
    /// A message to another node.
    Send {
        /// To whom.
        to: NodeId,
        /// What it says.
        message: M::Message,
    },
    /// Observers are to know.
    Event(M::Event),
}

/// The machine reached a state of which [`Machine::holds`] is false: a mistake of ours. Nothing of
/// the turn was persisted or said, and the node must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The machine and the state that it is in.
    pub state: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a local invariant is violated, which is a mistake in the protocol: please report it \
             with this state: {}",
            self.state
        )
    }
}

impl core::error::Error for Broken {}

impl<M: Machine> Core<M> {
    /// Boots the node from what its disk holds. As with any turn, what is sealed is to be persisted,
    /// and what comes out of it handed to [`Core::release`].
    ///
    /// # Errors
    ///
    /// If the state is broken from the start.
    pub fn boot(
        machine: M,
        me: NodeId,
        durable: M::Durable,
        seed: u64,
    ) -> Result<(Self, Sealed<M>), Broken> {
        let Step { state, sealed } = machine::boot(&machine, durable);
        let mut core = Self {
            machine,
            me,
            state,
            alarms: Alarms::default(),
            own: VecDeque::new(),
            random: Random(seed),
            heard: None,
            lateness: Histogram::default(),
        };
        core.check(&core.state)?;
        core.set_alarms(Duration::ZERO, &sealed);
        Ok((core, sealed))
    }

    /// Which node it is.
    pub fn node(&self) -> NodeId {
        self.me
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The state in memory. The disk may not have all of it yet.
    pub fn state(&self) -> &State<M> {
        &self.state
    }

    /// When there is something to do though nothing arrives, if ever.
    pub fn wakes_at(&self) -> Option<Duration> {
        if self.own.is_empty() {
            self.alarms.next()
        } else {
            Some(Duration::ZERO)
        }
    }

    /// How long after their moments alarms rang.
    pub fn lateness(&self) -> &Histogram {
        &self.lateness
    }

    /// Keeps from now on what each turn hears, for [`Core::take_heard`].
    pub fn keep_heard(&mut self) {
        self.heard = Some(Vec::new());
    }

    /// What was heard since this was last asked, in the order of the steps: nothing, unless it is kept.
    pub fn take_heard(&mut self) -> Vec<Input<M>> {
        self.heard.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// One turn: the alarms that are due, what the node sent itself, and then `inputs`, each a step,
    /// sealed together so that one write makes them durable. None if there was nothing to do.
    ///
    /// It need not wait for the disk to have the turns before it: the alarms that those set are set
    /// already ([`Sealed::alarms`]), and what this one says is sealed until they are durable too.
    ///
    /// # Errors
    ///
    /// If the machine broke its own invariant. The state is then what it was before the turn, and the
    /// node must stop.
    pub fn turn(
        &mut self,
        now: Duration,
        inputs: impl IntoIterator<Item = Input<M>>,
    ) -> Result<Option<Sealed<M>>, Broken> {
        let mut state = self.state.clone();
        let mut turn = None;
        for _ in 0..ALARMS_PER_TURN_MAX {
            let Some((due, timer)) = self.alarms.ring(now) else {
                break;
            };
            self.lateness.time(now.saturating_sub(due));
            state = self.step(now, state, Input::Timer(timer), &mut turn)?;
        }
        let from = self.me;
        for message in core::mem::take(&mut self.own) {
            state = self.step(now, state, Input::Message { from, message }, &mut turn)?;
        }
        for input in inputs {
            state = self.step(now, state, input, &mut turn)?;
        }
        self.check(&state)?;
        self.state = state;
        Ok(turn)
    }

    fn step(
        &mut self,
        now: Duration,
        state: State<M>,
        input: Input<M>,
        turn: &mut Option<Sealed<M>>,
    ) -> Result<State<M>, Broken> {
        if let Some(heard) = &mut self.heard {
            heard.push(input.clone());
        }
        let Step { state, sealed } = machine::step(&self.machine, state, input);
        if cfg!(debug_assertions) {
            self.check(&state)?;
        }
        self.set_alarms(now, &sealed);
        match turn {
            Some(turn) => turn.join(sealed),
            None => *turn = Some(sealed),
        }
        Ok(state)
    }

    fn set_alarms(&mut self, now: Duration, sealed: &Sealed<M>) {
        for output in sealed.alarms() {
            match output {
                Output::Arm(timer) => {
                    let delay = self.random.within(self.machine.delay(timer));
                    self.alarms.arm(timer.clone(), now.saturating_add(delay));
                }
                Output::Disarm(timer) => self.alarms.disarm(timer),
                // They wait for the disk.
                Output::Send { .. } | Output::Event(_) => {}
            }
        }
    }

    /// Takes the outputs of turns, now that they may leave: keeps what the node sent itself, and gives
    /// the rest, in order.
    pub fn release(&mut self, outputs: Vec<Output<M>>) -> Vec<Effect<M>> {
        let mut effects = Vec::with_capacity(outputs.len());
        for output in outputs {
            match output {
                Output::Send { to, message } if to == self.me => {
                    if self.own.len() < OWN_MESSAGES_MAX {
                        self.own.push_back(message);
                    }
                }
                Output::Send { to, message } => effects.push(Effect::Send { to, message }),
                Output::Event(event) => effects.push(Effect::Event(event)),
                // They were set when they were sealed.
                Output::Arm(_) | Output::Disarm(_) => {}
            }
        }
        effects
    }

    fn check(&self, state: &State<M>) -> Result<(), Broken> {
        if self.machine.holds(state) {
            return Ok(());
        }
        let state = format!("{:?} {state:?}", self.machine);
        Err(Broken { state })
    }
}

/// The armed alarms, each with the moment when it rings.
#[derive(Clone, Debug)]
struct Alarms<T> {
    moments: BTreeMap<T, Duration>,
    order: BTreeSet<(Duration, T)>,
}

impl<T> Default for Alarms<T> {
    fn default() -> Self {
        Self {
            moments: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<T: Clone + Ord> Alarms<T> {
    fn next(&self) -> Option<Duration> {
        self.order.first().map(|(moment, _)| *moment)
    }

    /// Arms an alarm; one that is armed begins anew.
    fn arm(&mut self, timer: T, moment: Duration) {
        self.disarm(&timer);
        self.moments.insert(timer.clone(), moment);
        self.order.insert((moment, timer));
    }

    fn disarm(&mut self, timer: &T) {
        if let Some((timer, moment)) = self.moments.remove_entry(timer) {
            self.order.remove(&(moment, timer));
        }
    }

    /// The alarm that is due the longest, which is then no longer armed, and its moment.
    fn ring(&mut self, now: Duration) -> Option<(Duration, T)> {
        if self.next()? > now {
            return None;
        }
        let (due, timer) = self.order.pop_first()?;
        self.moments.remove(&timer);
        Some((due, timer))
    }
}

/// Splitmix64 (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014):
/// for delays, where nothing depends on how random they are.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in the range, or its start if it is empty.
    fn within(&mut self, range: Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_nanos();
        let width = u64::try_from(width).unwrap_or(u64::MAX);
        let drawn = (u128::from(self.next()) * u128::from(width)) >> 64;
        let drawn = u64::try_from(drawn).unwrap_or(u64::MAX);
        range.start.saturating_add(Duration::from_nanos(drawn))
    }
}
