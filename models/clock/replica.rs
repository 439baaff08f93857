//! Replicas of one key that keep siblings, and clients that read at one and write at another.
//!
//! The network is both. What a replica has is sent to the others, to be merged. And what a client has
//! read is sent to everyone as the write that it will make: until it arrives the client thinks, if it
//! never arrives the client went away, and if it arrives twice two clients had read the same. So every
//! way in which clients can read and write is among the runs.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use quorate::clock::{Dot, Siblings, Vector};
use quorate::data::NodeSet;
use quorate::machine::{self, Machine, Never, NodeId, Outbox, State, Value};
use serde::{Deserialize, Serialize};

/// How a replica keeps the versions of its key.
pub trait Keep: Clone + fmt::Debug + Eq + std::hash::Hash + Send + Sync + 'static {
    /// What it keeps.
    type Versions: Value + Default;

    /// A client that had read `context` writes.
    fn write(&self, kept: &mut Self::Versions, me: NodeId, context: &Vector, write: Write);

    /// What another replica had arrives.
    fn merge(&self, kept: &mut Self::Versions, other: &Self::Versions);

    /// What a client that reads this has read.
    fn context(&self, kept: &Self::Versions) -> Vector;

    /// The values that it reads.
    fn values(kept: &Self::Versions) -> Vec<Write>;
}

/// As it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RightKeep;

impl Keep for RightKeep {
    type Versions = Siblings<Write>;

    fn write(&self, kept: &mut Siblings<Write>, me: NodeId, context: &Vector, write: Write) {
        // A count at its end refuses the write; none gets there.
        let _: Result<Dot, _> = kept.write(me, context, write);
    }

    fn merge(&self, kept: &mut Siblings<Write>, other: &Siblings<Write>) {
        kept.merge(other);
    }

    fn context(&self, kept: &Siblings<Write>) -> Vector {
        kept.context()
    }

    fn values(kept: &Siblings<Write>) -> Vec<Write> {
        kept.values().copied().collect()
    }
}

/// A write, as the truth knows it: the `number`-th that `node` accepted, from 1. Nothing that is
/// checked reads it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Write {
    /// Where it was accepted.
    pub node: NodeId,
    /// Which.
    pub number: u64,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.number)
    }
}

/// The writes that somebody knows of, each with all that it overwrites: what the clocks have to tell
/// without it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Truth(Vec<(Write, Vec<Write>)>);

impl fmt::Debug for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.current().collect::<Vec<_>>(), f)
    }
}

impl Truth {
    fn learn(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
        self.0.sort_unstable();
        self.0.dedup();
    }

    fn add(&mut self, write: Write, read: &Self) {
        self.learn(read);
        let overwritten = read.0.iter().map(|(write, _)| *write).collect();
        self.0.push((write, overwritten));
        self.0.sort_unstable();
    }

    /// True if some client had read two writes beside each other, and overwrote both.
    pub fn some_write_read_two(&self) -> bool {
        let past = |write: &Write| self.0.iter().find(|(other, _)| other == write);
        self.0.iter().any(|(_, read)| {
            let current = read.iter().filter(|write| {
                !(read.iter().filter_map(past)).any(|(_, past)| past.contains(write))
            });
            current.count() > 1
        })
    }

    /// The writes that no other had read.
    fn current(&self) -> impl Iterator<Item = Write> {
        let overwritten = |write: &Write| self.0.iter().any(|(_, past)| past.contains(write));
        (self.0.iter())
            .map(|(write, _)| *write)
            .filter(move |write| !overwritten(write))
    }
}

/// A replica. How many writes it accepts is bounded, so that all its runs can be tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<K> {
    /// This node.
    pub me: NodeId,
    /// All replicas.
    pub nodes: NodeSet,
    /// How many writes it accepts.
    pub writes_max: u64,
    /// The rules.
    pub keep: K,
}

/// What travels, between replicas and with clients.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message<V> {
    /// A replica has this.
    State {
        /// What it has.
        siblings: V,
        /// What it knows of.
        truth: Truth,
    },
    /// A client writes, which at some replica has read this.
    Put {
        /// The context that it got.
        context: Vector,
        /// What the replica knew of.
        truth: Truth,
    },
}

impl<V: fmt::Debug> fmt::Debug for Message<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { siblings, .. } => write!(f, "State({siblings:?})"),
            Self::Put { context, truth } => {
                write!(
                    f,
                    "Put(by a client that was to read {truth:?}, context {context:?})"
                )
            }
        }
    }
}

/// What a replica keeps on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kept<V> {
    /// The versions.
    pub siblings: V,
    /// What it knows of.
    pub truth: Truth,
}

impl<V: Value + Default> machine::Durable for Kept<V> {
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

impl<K: Keep> Machine for Replica<K> {
    type Call = ();
    type Message = Message<K::Versions>;
    type Timer = Never;
    type Event = ();
    type Durable = Kept<K::Versions>;
    /// How many writes it has accepted: for the bound and for their names alone.
    type Volatile = u64;

    fn boot(&self, kept: &mut Kept<K::Versions>, out: &mut Outbox<Self>) -> u64 {
        self.show(kept, out);
        let mine = kept
            .truth
            .0
            .iter()
            .filter(|(write, _)| write.node == self.me);
        mine.count() as u64
    }

    fn on_call(&self, _: &mut State<Self>, (): (), _: &mut Outbox<Self>) {}

    fn on_message(
        &self,
        state: &mut State<Self>,
        _: NodeId,
        message: Message<K::Versions>,
        out: &mut Outbox<Self>,
    ) {
        let kept = &mut state.durable;
        match message {
            Message::State { siblings, truth } => {
                self.keep.merge(&mut kept.siblings, &siblings);
                kept.truth.learn(&truth);
            }
            Message::Put { context, truth } => {
                if state.volatile == self.writes_max {
                    return; // It accepts no more.
                }
                state.volatile += 1;
                let write = Write {
                    node: self.me,
                    number: state.volatile,
                };
                (self.keep).write(&mut kept.siblings, self.me, &context, write);
                kept.truth.add(write, &truth);
            }
        }
        self.show(kept, out);
    }

    fn on_timer(&self, _: &mut State<Self>, never: Never, _: &mut Outbox<Self>) {
        match never {}
    }

    fn delay(&self, never: &Never) -> Range<Duration> {
        match *never {}
    }
}

impl<K: Keep> Replica<K> {
    /// What there is goes to the other replicas, and to clients, which write anywhere.
    fn show(&self, kept: &Kept<K::Versions>, out: &mut Outbox<Self>) {
        let context = self.keep.context(&kept.siblings);
        let Kept { siblings, truth } = kept.clone();
        let read = Message::Put {
            context,
            truth: truth.clone(),
        };
        out.broadcast(self.nodes, &read);
        let others = self.nodes.iter().filter(|node| *node != self.me);
        out.broadcast(others, &Message::State { siblings, truth });
    }
}

/// True if every write that the replica knows of, and that no other had read, is among its siblings.
pub fn nothing_is_lost<K: Keep>(kept: &Kept<K::Versions>) -> bool {
    let values = K::values(&kept.siblings);
    kept.truth.current().all(|write| values.contains(&write))
}

/// True if its siblings are such writes.
pub fn nothing_is_kept<K: Keep>(kept: &Kept<K::Versions>) -> bool {
    let values = K::values(&kept.siblings);
    let current: Vec<Write> = kept.truth.current().collect();
    values.iter().all(|write| current.contains(write))
}
