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

use crate::machine::{self, Input, Machine, NodeId, Output, Sealed, State, Step};

/// How many messages of a node to itself may wait. One more is lost, as any message may be.
pub const OWN_MESSAGES_MAX: usize = 1024;

/// A node in memory.
#[derive(Debug)]
pub struct Core<M: Machine> {
    machine: M,
    me: NodeId,
    state: State<M>,
    alarms: Alarms<M::Timer>,
    own: VecDeque<M::Message>,
    random: Random,
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
    /// and what comes out of it handed to [`Core::release`], before the next.
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
        let core = Self {
            machine,
            me,
            state,
            alarms: Alarms::default(),
            own: VecDeque::new(),
            random: Random(seed),
        };
        core.check(&core.state)?;
        Ok((core, sealed))
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

    /// One turn: at most one alarm that is due, what the node sent itself, and then `inputs`, each a
    /// step, sealed together so that one write makes them durable. None if there was nothing to do.
    ///
    /// Only one alarm, and it first: at that moment all earlier outputs are released, so it is armed
    /// for certain. A second might have been disarmed by what came before it in the turn, which is
    /// known only when that is unsealed; and a disarmed alarm does not ring.
    ///
    /// # Errors
    ///
    /// If the machine broke its own invariant. The state is then what it was before the turn.
    pub fn turn(
        &mut self,
        now: Duration,
        inputs: impl IntoIterator<Item = Input<M>>,
    ) -> Result<Option<Sealed<M>>, Broken> {
        let alarm = self.alarms.ring(now).map(Input::Timer);
        let from = self.me;
        let own = core::mem::take(&mut self.own).into_iter();
        let own = own.map(|message| Input::Message { from, message });
        let mut state = self.state.clone();
        let mut turn: Option<Sealed<M>> = None;
        for input in alarm.into_iter().chain(own).chain(inputs) {
            let Step {
                state: next,
                sealed,
            } = machine::step(&self.machine, state, input);
            state = next;
            if cfg!(debug_assertions) {
                self.check(&state)?;
            }
            match &mut turn {
                Some(turn) => turn.join(sealed),
                None => turn = Some(sealed),
            }
        }
        self.check(&state)?;
        self.state = state;
        Ok(turn)
    }

    /// Takes the outputs of a turn, now that they may leave: sets the alarms, keeps what the node
    /// sent itself, and gives the rest, in order.
    pub fn release(&mut self, now: Duration, outputs: Vec<Output<M>>) -> Vec<Effect<M>> {
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
                Output::Arm(timer) => {
                    let delay = self.random.within(self.machine.delay(&timer));
                    self.alarms.arm(timer, now.saturating_add(delay));
                }
                Output::Disarm(timer) => self.alarms.disarm(&timer),
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

    /// The alarm that is due the longest, which is then no longer armed.
    fn ring(&mut self, now: Duration) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.moments.remove(&timer);
        Some(timer)
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
