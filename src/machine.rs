//! The machine: what every protocol here is, and the only framework there is.
//!
//! A protocol is a [`Machine`]: for one node, a pure function from a state and an input to a state
//! and outputs. It has no clock, no socket, no thread, no file and no source of randomness; the
//! crate is `no_std`, so that none can be named. Two things run it: the world of `quorate-models`,
//! which tries every order of every input, and the UDP adapter, which meets one.
//!
//! # By value outside, `&mut` inside
//!
//! [`step`] takes the state and gives the next one. Handlers take `&mut` and may return early.
//! It is the same function: `Hash` on every state keeps cells and atomics out, so an exclusive
//! reference can do nothing that a move could not.
//!
//! # Why a step may be treated as atomic
//!
//! A crash can fall anywhere: before the disk was written, half way through, after it but before
//! the messages left, or between two messages. The checker only ever crashes a node *between*
//! steps. It misses nothing by that, because of the order that [`Sealed`] forces:
//!
//! 1. Outputs leave only after the changes they rest on are durable, in the order of the steps.
//! 2. So when a node dies, its disk holds a prefix of its steps, and whatever anyone else ever saw
//!    of it was said by a step of that prefix.
//! 3. The steps past the prefix are as if their inputs had never arrived: lost, like any datagram.
//! 4. Of the last steps of the prefix some outputs may be missing: lost too, like any datagram.
//!
//! The network of the world loses anything at any time, so each such death is already among the
//! executions in which the node crashes between two steps. That is what lets the adapter go on in
//! memory while the disk is still writing, and group many steps into one flush. It rests on a disk
//! that keeps what it acknowledged: a world with a lying disk takes that away, and refutes what
//! needed it.
//!
//! # Time and chance
//!
//! Both have one door: *which armed alarm rings next*. An alarm is a name, armed or not; no state
//! holds an instant, a tick or a random number. A random choice is a race of alarms. The checker
//! tries every order, the adapter draws delays from [`Machine::delay`].

use alloc::vec::Vec;
use core::fmt::{self, Debug, Display};
use core::hash::Hash;
use core::ops::Range;
use core::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A participant's name. Members of a cluster are numbered from 0 to 63, so that sets of them are
/// [one word](crate::data::NodeSet); larger numbers are strangers, such as clients that come and go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// As in a sentence, for states and stories are read by people.
impl Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// What may be part of a state or travel: plain data with an order, a hash and an encoding.
pub trait Value:
    Clone + Debug + Ord + Hash + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<T> Value for T where
    T: Clone + Debug + Ord + Hash + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// State that survives a crash. Its default is the empty disk, which the first boot finds.
///
/// The law, which a property test holds every machine to: for any two values `old` and `new` that
/// one execution reaches in this order, applying `new.changes_since(&old)` to `old`, in order,
/// gives `new`.
pub trait Durable: Value + Default {
    /// One change, as the journal keeps it.
    type Change: Value;

    /// What was changed since `older`, an earlier value of the same node. Empty if nothing was.
    fn changes_since(&self, older: &Self) -> Vec<Self::Change>;

    /// Makes one change. Must not panic, whatever the change: it may come from a damaged disk.
    fn apply(&mut self, change: Self::Change);
}

/// The change of something that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Never {}

/// For machines that keep nothing.
impl Durable for () {
    type Change = Never;

    fn changes_since(&self, (): &Self) -> Vec<Never> {
        Vec::new()
    }

    fn apply(&mut self, change: Never) {
        match change {}
    }
}

/// One participant of a protocol; `self` is its fixed configuration, outside the state.
///
/// No input is illegal. Whatever a handler is given, by whomever, it does not panic: it ignores
/// what it cannot use, in a spelled-out arm. A panic is a mistake of ours, and the checker reports
/// it as a refutation.
pub trait Machine: Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// What the local application asks of this node.
    type Call: Value;
    /// What travels between nodes.
    type Message: Value;
    /// Names of alarms. A name is armed or it is not; arming it again changes nothing but its delay.
    type Timer: Value;
    /// What an observer learns: replies, decisions, elections.
    type Event: Value;
    /// What survives a crash. A field that lives here is written before anything that followed it
    /// is said; there is no `save` to forget.
    type Durable: Durable;
    /// What a crash destroys.
    type Volatile: Value;

    /// Starts the node from its disk. The first boot is recovery from an empty one, so that there
    /// is one way to start. What it changes of the durable state (an incarnation, say) is persisted
    /// before anything it sends leaves, as with any step. No alarm is armed when it is called.
    fn boot(&self, durable: &mut Self::Durable, out: &mut Outbox<Self>) -> Self::Volatile;

    /// The local application asks.
    fn on_call(&self, state: &mut State<Self>, call: Self::Call, out: &mut Outbox<Self>);

    /// A message arrives that `from` sent, perhaps long ago, perhaps not for the first time.
    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Self::Message,
        out: &mut Outbox<Self>,
    );

    /// An alarm rings. It is no longer armed.
    fn on_timer(&self, state: &mut State<Self>, timer: Self::Timer, out: &mut Outbox<Self>);

    /// How long after it was armed an alarm may ring: at least `start`, less than `end`. The
    /// adapter draws from it, and the calm schedule of `recovers` goes by it; safety never reads it.
    fn delay(&self, timer: &Self::Timer) -> Range<Duration>;

    /// What is true of every state this machine reaches. The checker treats it as a promise, the
    /// adapter asserts it before it persists.
    fn holds(&self, state: &State<Self>) -> bool {
        let _ = state;
        true
    }
}

/// The whole state of one node, but for which alarms are armed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<M: Machine> {
    /// What a crash leaves.
    pub durable: M::Durable,
    /// What a crash takes.
    pub volatile: M::Volatile,
}

/// What can happen to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Input<M: Machine> {
    /// The local application asks something.
    Call(M::Call),
    /// A message arrives.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What it says.
        message: M::Message,
    },
    /// An armed alarm rings, and is armed no more.
    Timer(M::Timer),
}

/// What a node does to the rest of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Output<M: Machine> {
    /// A message to another node; it may arrive never, once or often.
    Send {
        /// To whom.
        to: NodeId,
        /// What it says.
        message: M::Message,
    },
    /// The alarm is to ring, once, after a new delay.
    Arm(M::Timer),
    /// The alarm is not to ring.
    Disarm(M::Timer),
    /// Observers are to know.
    Event(M::Event),
}

/// Where handlers put their outputs, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox<M: Machine> {
    outputs: Vec<Output<M>>,
}

impl<M: Machine> Default for Outbox<M> {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
        }
    }
}

impl<M: Machine> Outbox<M> {
    /// Sends `message` to one node.
    pub fn send(&mut self, to: NodeId, message: M::Message) {
        self.outputs.push(Output::Send { to, message });
    }

    /// Sends `message` to each of `nodes`.
    pub fn broadcast(&mut self, nodes: impl IntoIterator<Item = NodeId>, message: &M::Message) {
        for to in nodes {
            self.send(to, message.clone());
        }
    }

    /// Arms an alarm. If it is armed already its delay begins anew.
    pub fn arm(&mut self, timer: M::Timer) {
        self.outputs.push(Output::Arm(timer));
    }

    /// Disarms an alarm, armed or not.
    pub fn disarm(&mut self, timer: M::Timer) {
        self.outputs.push(Output::Disarm(timer));
    }

    /// Tells observers.
    pub fn tell(&mut self, event: M::Event) {
        self.outputs.push(Output::Event(event));
    }

    /// Adds an output made elsewhere, as a machine that is composed of others does.
    pub fn push(&mut self, output: Output<M>) {
        self.outputs.push(output);
    }

    /// Takes the outputs out, as a machine that is composed of others does with those of its parts.
    pub fn drain(&mut self) -> impl Iterator<Item = Output<M>> + use<M> {
        core::mem::take(&mut self.outputs).into_iter()
    }
}

/// What became of one input: the next state, and a sealed half that the disk has to see first.
#[must_use = "a step that is dropped never happened"]
#[derive(Debug, PartialEq, Eq)]
pub struct Step<M: Machine> {
    /// The next state. The node may go on from it at once, in memory.
    pub state: State<M>,
    /// What the rest of the world may learn, once the disk has what it rests on.
    pub sealed: Sealed<M>,
}

/// Changes of the durable state, and the outputs that rest on them. The outputs come out only
/// through [`Sealed::persist`], so that nothing is said that a crash could unsay.
///
/// It cannot be cloned, or a copy could be persisted nowhere and read.
#[must_use = "outputs leave by `persist` alone; dropping them loses messages, which is safe, and replies"]
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed<M: Machine> {
    changes: Vec<<M::Durable as Durable>::Change>,
    outputs: Vec<Output<M>>,
}

impl<M: Machine> Sealed<M> {
    /// True if there is nothing for the disk to do.
    pub fn is_clean(&self) -> bool {
        self.changes.is_empty()
    }

    /// What is done to the node's own alarms, in order: [`Output::Arm`] and [`Output::Disarm`]. It may
    /// be done at once. Nobody else sees an alarm, and a crash takes it with the rest of the memory, so
    /// it rests on no disk; what a step says that an early alarm brought about is sealed after this.
    pub fn alarms(&self) -> impl Iterator<Item = &Output<M>> {
        self.outputs.iter().filter(|output| match output {
            Output::Arm(_) | Output::Disarm(_) => true,
            Output::Send { .. } | Output::Event(_) => false,
        })
    }

    /// Joins the sealed half of a *later* step of the same node to this one, so that both are
    /// persisted by one write.
    pub fn join(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.outputs.extend(later.outputs);
    }

    /// Hands the changes to `write`, in order, and gives the outputs if it succeeds. When `write`
    /// returns, the changes are durable. It is not called if there are none. Sealed halves are to
    /// be persisted in the order of their steps.
    ///
    /// # Errors
    ///
    /// Those of `write`. The outputs are then gone and the disk's content is unknown: the node must
    /// stop, and start again from its disk. It must not go on from the state in memory.
    pub fn persist<E>(
        self,
        write: impl FnOnce(&[<M::Durable as Durable>::Change]) -> Result<(), E>,
    ) -> Result<Vec<Output<M>>, E> {
        if !self.changes.is_empty() {
            write(&self.changes)?;
        }
        Ok(self.outputs)
    }
}

/// Starts a node from what its disk holds: [`Default`] if it holds nothing yet.
pub fn boot<M: Machine>(machine: &M, durable: M::Durable) -> Step<M> {
    let mut out = Outbox::default();
    let mut booted = durable.clone();
    let volatile = machine.boot(&mut booted, &mut out);
    let changes = booted.changes_since(&durable);
    let state = State {
        durable: booted,
        volatile,
    };
    seal(state, changes, out)
}

/// The pure function that a protocol is: `(state, input) -> (state, outputs)`. Equal arguments give
/// equal results, in the checker, in the simulator and on a cluster.
pub fn step<M: Machine>(machine: &M, mut state: State<M>, input: Input<M>) -> Step<M> {
    let mut out = Outbox::default();
    let before = state.durable.clone();
    match input {
        Input::Call(call) => machine.on_call(&mut state, call, &mut out),
        Input::Message { from, message } => {
            machine.on_message(&mut state, from, message, &mut out);
        }
        Input::Timer(timer) => machine.on_timer(&mut state, timer, &mut out),
    }
    let changes = state.durable.changes_since(&before);
    seal(state, changes, out)
}

fn seal<M: Machine>(
    state: State<M>,
    changes: Vec<<M::Durable as Durable>::Change>,
    out: Outbox<M>,
) -> Step<M> {
    let outputs = out.outputs;
    Step {
        state,
        sealed: Sealed { changes, outputs },
    }
}
