//! Several machines, a common clock, and a network that delivers in time: one world's node, n0. The
//! machines are n1 and so on.
//!
//! In a world any alarm may ring at any time and any message be lost, which is what a protocol must bear
//! that rests on neither. A bound on mistakes rests on both. So here an alarm rings when the clock has
//! ticked as often since it was armed as [`Machine::delay`] says at least, a tick for a millisecond; a
//! message arrives once, a tick after it was sent at the soonest, and in time; and the clock does not tick
//! past either. This is Chandra and Toueg's partial synchrony, with bounds known to the world and not to
//! the machines.
//!
//! What happens at a machine within a tick happens in any order. Between machines there is none to choose,
//! for nothing that one does is seen by another in the same tick; so they take turns, and rest.
//!
//! What is kept is not what the clock shows but what it has to tick until something has to happen, so that
//! time goes on for ever in finitely many states.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::data::Map;
use quorate::machine::{self, Machine, NodeId, Outbox, Output, State, Step, Value};
use serde::{Deserialize, Serialize};

/// Machines that share a clock and a network. What crashes stays dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Together<M> {
    pub(super) machines: Vec<M>,
    /// After how many ticks a message has arrived: 1 at least.
    pub(super) delay_max: u64,
    /// How many may crash.
    pub(super) crashes: u32,
}

/// Something that may happen next.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Whim<T, N> {
    /// A machine does nothing more within this tick. When all have, the clock ticks.
    Rest(NodeId),
    /// An alarm rings.
    Ring(NodeId, T),
    /// A message arrives.
    Arrive(Letter<N>),
    /// A machine stops for good.
    Crash(NodeId),
}

impl<T: fmt::Debug, N: fmt::Debug> fmt::Debug for Whim<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest(node) => write!(f, "Rest({node})"),
            Self::Ring(node, timer) => write!(f, "Ring({node}, {timer:?})"),
            Self::Arrive(letter) => write!(
                f,
                "Arrive({} > {}, {:?})",
                letter.from, letter.to, letter.message
            ),
            Self::Crash(node) => write!(f, "Crash({node})"),
        }
    }
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Letter<N> {
    to: NodeId,
    from: NodeId,
    message: N,
    /// After how many more ticks it has arrived.
    left: u64,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Told<E> {
    /// The clock ticked.
    Ticked,
    /// This one crashed.
    Crashed(NodeId),
    /// This one told something.
    Event(NodeId, E),
}

impl<E: fmt::Debug> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticked => write!(f, "the clock ticks"),
            Self::Crashed(node) => write!(f, "{node} crashed"),
            Self::Event(node, event) => write!(f, "{node}: {event:?}"),
        }
    }
}

/// The states of the machines that run, their alarms, and the messages under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Scene<D: Value, V: Value, T: Value, N: Value> {
    pub(super) seats: Map<NodeId, (D, V)>,
    /// After how many more ticks each rings.
    armed: Map<(NodeId, T), u64>,
    /// In order.
    mail: Vec<Letter<N>>,
    crashes: u32,
    /// Whose turn it is.
    turn: NodeId,
}

type SceneOf<M> = Scene<
    <M as Machine>::Durable,
    <M as Machine>::Volatile,
    <M as Machine>::Timer,
    <M as Machine>::Message,
>;
type WhimOf<M> = Whim<<M as Machine>::Timer, <M as Machine>::Message>;

impl<M: Machine<Volatile: Default>> Together<M> {
    fn whims(&self, scene: &SceneOf<M>) -> BTreeSet<WhimOf<M>> {
        let turn = scene.turn;
        if !scene.seats.contains_key(&turn) {
            return BTreeSet::new(); // All have crashed.
        }
        let due = scene
            .armed
            .iter()
            .filter(|((node, _), left)| *node == turn && **left == 0);
        let due = due.map(|((node, timer), _)| Whim::Ring(*node, timer.clone()));
        let here = scene.mail.iter().filter(|letter| letter.to == turn);
        let may_arrive = here.clone().filter(|letter| letter.left < self.delay_max);
        let mut whims: BTreeSet<WhimOf<M>> = due.collect();
        if whims.is_empty() && here.clone().all(|letter| letter.left > 0) {
            whims.insert(Whim::Rest(turn));
        }
        whims.extend(may_arrive.cloned().map(Whim::Arrive));
        if scene.crashes > 0 {
            whims.insert(Whim::Crash(turn));
        }
        whims
    }

    /// It is the next one's turn; if there is none, the clock ticks.
    fn pass(scene: &mut SceneOf<M>, out: &mut Outbox<Self>) {
        let next = scene.seats.keys().find(|node| scene.turn < **node).copied();
        if let Some(next) = next {
            scene.turn = next;
            return;
        }
        scene.turn = scene.seats.keys().next().copied().unwrap_or(scene.turn);
        let less = |left: &u64| left.saturating_sub(1);
        scene.armed = (scene.armed.iter())
            .map(|(timer, left)| (timer.clone(), less(left)))
            .collect();
        for letter in &mut scene.mail {
            letter.left = less(&letter.left);
        }
        scene.mail.sort_unstable();
        out.tell(Told::Ticked);
    }

    /// Arms what may happen next, and nothing else.
    fn arm(&self, before: &BTreeSet<WhimOf<M>>, scene: &SceneOf<M>, out: &mut Outbox<Self>) {
        let after = self.whims(scene);
        for whim in before.difference(&after) {
            out.disarm(whim.clone());
        }
        for whim in after {
            out.arm(whim);
        }
    }

    /// A machine makes a step.
    fn steps(&self, scene: &mut SceneOf<M>, node: NodeId, step: Step<M>, out: &mut Outbox<Self>) {
        let Step { state, sealed } = step;
        scene.seats.insert(node, (state.durable, state.volatile));
        let outputs = sealed.persist(|_| Ok::<(), ()>(())).expect("a disk");
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    if scene.seats.contains_key(&to) {
                        scene.mail.push(Letter {
                            to,
                            from: node,
                            message,
                            left: self.delay_max,
                        });
                    }
                }
                Output::Arm(timer) => {
                    let ticks = self.machine(node).delay(&timer).start.as_millis();
                    let ticks = u64::try_from(ticks).expect("a delay is some milliseconds");
                    scene.armed.insert((node, timer), ticks);
                }
                Output::Disarm(timer) => {
                    scene.armed.remove(&(node, timer));
                }
                Output::Event(event) => out.tell(Told::Event(node, event)),
            }
        }
        scene.mail.sort_unstable();
    }

    fn machine(&self, node: NodeId) -> &M {
        let place = usize::try_from(node.0).expect("a place");
        &self.machines[place - 1]
    }

    fn takes(
        &self,
        scene: &mut SceneOf<M>,
        node: NodeId,
        input: machine::Input<M>,
        out: &mut Outbox<Self>,
    ) {
        if let Some((durable, volatile)) = scene.seats.get(&node).cloned() {
            let state = State { durable, volatile };
            let step = machine::step(self.machine(node), state, input);
            self.steps(scene, node, step, out);
        }
    }
}

impl<M: Machine<Volatile: Default>> Machine for Together<M> {
    type Call = ();
    type Message = ();
    type Timer = WhimOf<M>;
    type Event = Told<M::Event>;
    type Durable = ();
    type Volatile = SceneOf<M>;

    fn boot(&self, (): &mut (), out: &mut Outbox<Self>) -> SceneOf<M> {
        let mut scene = Scene {
            seats: Map::new(),
            armed: Map::new(),
            mail: Vec::new(),
            crashes: self.crashes,
            turn: NodeId(1),
        };
        let nodes = (1..=self.machines.len() as u64).map(NodeId);
        for node in nodes.clone() {
            // Messages that are sent at a start find everyone there.
            let nobody = (M::Durable::default(), M::Volatile::default());
            scene.seats.insert(node, nobody);
        }
        for node in nodes {
            let step = machine::boot(self.machine(node), M::Durable::default());
            self.steps(&mut scene, node, step, out);
        }
        self.arm(&BTreeSet::new(), &scene, out);
        scene
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(&self, _: &mut State<Self>, _: NodeId, (): (), _: &mut Outbox<Self>) {}

    fn on_timer(&self, state: &mut State<Self>, whim: WhimOf<M>, out: &mut Outbox<Self>) {
        let scene = &mut state.volatile;
        let before = self.whims(scene);
        match whim {
            Whim::Rest(_) => Self::pass(scene, out),
            Whim::Ring(node, timer) => {
                scene.armed.remove(&(node, timer.clone()));
                self.takes(scene, node, machine::Input::Timer(timer), out);
            }
            Whim::Arrive(letter) => {
                if let Some(place) = scene.mail.iter().position(|other| *other == letter) {
                    scene.mail.remove(place);
                }
                let Letter {
                    to, from, message, ..
                } = letter;
                self.takes(scene, to, machine::Input::Message { from, message }, out);
            }
            Whim::Crash(node) => {
                scene.crashes -= 1;
                scene.seats.remove(&node);
                let theirs = |(other, _): &(NodeId, M::Timer)| *other == node;
                scene.armed.retain(|timer, _| !theirs(timer));
                scene.mail.retain(|letter| letter.to != node);
                out.tell(Told::Crashed(node));
                Self::pass(scene, out);
            }
        }
        self.arm(&before, scene, out);
    }

    fn delay(&self, whim: &WhimOf<M>) -> Range<Duration> {
        // In the calm all that is due happens before the clock ticks, and nobody crashes.
        let (from, to) = match whim {
            Whim::Arrive(_) => (0, 1),
            Whim::Ring(..) => (1, 2),
            Whim::Rest(_) => (1_000, 1_001),
            Whim::Crash(_) => (1_000_000_000, 1_000_000_001),
        };
        Duration::from_micros(from)..Duration::from_micros(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        state
            .volatile
            .seats
            .iter()
            .all(|(node, (durable, volatile))| {
                self.machine(*node).holds(&State {
                    durable: durable.clone(),
                    volatile: volatile.clone(),
                })
            })
    }
}
