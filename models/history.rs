//! Concurrent histories, and whether an object that does one thing at a time could have made them.
//!
//! A promise such as *reads are fresh* says nothing about the nodes: it speaks of what clients
//! asked, what they were told, and when. That is a [`History`]. The ghost of a world folds events
//! into one, and two questions can be put to it:
//!
//! * [`linearizable`]: could every operation have happened at one instant between its call and its
//!   return? Herlihy & Wing, *Linearizability: a correctness condition for concurrent objects*,
//!   TOPLAS 12(3), 1990.
//! * [`regular`]: could every read, taken alone? Shao, Welch, Pierce & Lee, *Multiwriter
//!   consistency conditions for shared memory registers*, SIAM J. Comput. 40(1), 2011.
//!
//! An operation whose outcome nobody learnt never returns. It stays pending for ever, and may have
//! taken effect at any time since its call, or not at all.
//!
//! # The search
//!
//! Wing & Gong, *Testing and verifying concurrent objects*, JPDC 17, 1993: take any operation that
//! no other, not yet taken, returned before; see whether the object would have replied so; go on
//! from there, and come back if that leads nowhere. Lowe, *Testing for linearizability*,
//! Concurrency and Computation 29(4), 2017: remember the pairs (operations taken, state of the
//! object) that led nowhere, as orders that meet in one pair have the same future. The memory holds
//! whole pairs, as in Porcupine, not fingerprints: no collision can turn a verdict. Horn &
//! Kroening, *Faster linearizability checking via P-compositionality*, FORTE 2015: where the object
//! is made of independent parts, such as the keys of a store, search each alone.
//!
//! We add that an operation of unknown outcome is taken only just before one that would notice, as
//! otherwise it might as well be taken later or never; and that of several with equal calls the
//! earliest goes first. Without that, each write that timed out doubles the search.
//!
//! Deciding linearizability is NP-complete (Gibbons & Korach, *Testing shared memories*, SIAM J.
//! Comput. 26(4), 1997). The time here is exponential in how many operations overlap, not in how
//! many there are.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::mem;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// An operation's name, chosen by whoever records the history. In a checked state it must not
/// depend on the interleaving: the number of the client and of its call will do, a counter that all
/// clients share would tell apart what is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperationId(pub u32);

/// A to Z, then A1 to Z1, and so on.
impl Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[self.0 as usize % 26]);
        match self.0 / 26 {
            0 => write!(f, "{letter}"),
            round => write!(f, "{letter}{round}"),
        }
    }
}

/// What an observer of the clients sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event<C, R> {
    /// An operation begins.
    Called(OperationId, C),
    /// It ends, with this reply.
    Returned(OperationId, R),
}

impl<C, R> Event<C, R> {
    /// The operation that begins or ends.
    pub fn id(&self) -> OperationId {
        match self {
            Event::Called(id, _) | Event::Returned(id, _) => *id,
        }
    }

    /// Two calls in a row may change places, and so may two returns: it alters nothing in who
    /// returned before whose call.
    fn commutes_with(&self, other: &Self) -> bool {
        mem::discriminant(self) == mem::discriminant(other)
    }
}

/// An event that cannot happen to the history it was recorded in. The history is as it was before.
/// A world that meets one has found a participant that answers twice, or unasked: a refutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Misuse {
    /// The name is taken.
    CalledTwice(OperationId),
    /// No call has this name.
    NeverCalled(OperationId),
    /// The operation has its reply.
    ReturnedTwice(OperationId),
}

impl Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::CalledTwice(id) => write!(f, "{id} was called twice"),
            Misuse::NeverCalled(id) => write!(f, "{id} returned but was never called"),
            Misuse::ReturnedTwice(id) => write!(f, "{id} returned twice"),
        }
    }
}

impl Error for Misuse {}

/// A concurrent history in its canonical form: two executions in which the same operations, with
/// the same replies, precede each other in the same way have *equal* histories, so that a checker
/// does not tell their states apart.
///
/// It keeps the events in their order, but for this: calls that follow each other directly are
/// sorted by name, and so are returns. The form is canonical because the runs themselves can be
/// read off the precedence. A call's run is the rank, by size, of the set of operations that
/// returned before it; these sets grow from run to run, as a run of returns stands between. A
/// return's run is the rank of the set of operations called after it, likewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct History<C, R> {
    events: Vec<Event<C, R>>,
}

impl<C, R> Default for History<C, R> {
    fn default() -> Self {
        let events = Vec::new();
        Self { events }
    }
}

impl<C, R> History<C, R> {
    /// Records that an operation begins.
    ///
    /// # Errors
    ///
    /// [`Misuse::CalledTwice`], and nothing is changed.
    pub fn called(&mut self, id: OperationId, call: C) -> Result<(), Misuse> {
        self.record(Event::Called(id, call))
    }

    /// Records that an operation ends.
    ///
    /// # Errors
    ///
    /// [`Misuse::NeverCalled`] or [`Misuse::ReturnedTwice`], and nothing is changed.
    pub fn returned(&mut self, id: OperationId, reply: R) -> Result<(), Misuse> {
        self.record(Event::Returned(id, reply))
    }

    /// Records an event. Takes time linear in the history to find that a name is free, and little
    /// to find the call that a reply belongs to.
    ///
    /// # Errors
    ///
    /// See [`Misuse`]. Nothing is changed.
    pub fn record(&mut self, event: Event<C, R>) -> Result<(), Misuse> {
        let id = event.id();
        let last_of_it = self.events.iter().rev().find(|earlier| earlier.id() == id);
        match (&event, last_of_it) {
            (Event::Called(..), None) | (Event::Returned(..), Some(Event::Called(..))) => {}
            (Event::Called(..), Some(_)) => return Err(Misuse::CalledTwice(id)),
            (Event::Returned(..), None) => return Err(Misuse::NeverCalled(id)),
            (Event::Returned(..), Some(Event::Returned(..))) => {
                return Err(Misuse::ReturnedTwice(id));
            }
        }
        let stays = |earlier: &Event<C, R>| !earlier.commutes_with(&event) || earlier.id() < id;
        let place = self.events.iter().rposition(stays).map_or(0, |at| at + 1);
        self.events.insert(place, event);
        Ok(())
    }

    /// The events, in canonical order.
    pub fn events(&self) -> &[Event<C, R>] {
        &self.events
    }

    /// The operations, in the order of their calls.
    pub fn operations(&self) -> Vec<Operation<'_, C, R>> {
        let mut operations: Vec<Operation<'_, C, R>> = Vec::with_capacity(self.events.len());
        for (at, event) in self.events.iter().enumerate() {
            match event {
                Event::Called(id, call) => operations.push(Operation {
                    id: *id,
                    call,
                    reply: None,
                    called_at: at,
                    returned_at: None,
                }),
                Event::Returned(id, reply) => {
                    // From the back: what returns was mostly called not long ago.
                    let called = operations.iter_mut().rfind(|called| called.id == *id);
                    debug_assert!(called.is_some(), "record lets only the called return");
                    if let Some(operation) = called {
                        operation.reply = Some(reply);
                        operation.returned_at = Some(at);
                    }
                }
            }
        }
        operations
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        let is_call = |event: &&Event<C, R>| matches!(event, Event::Called(..));
        self.events.iter().filter(is_call).count()
    }

    /// True if nothing was called yet.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// One line: `A: put 1 ..; B: get -> 0; .. A -> done`. Two dots at the end of a call say that
    /// others began or ended before it did; two dots lead to where it ended.
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        write_call: impl Fn(&C, &mut fmt::Formatter<'_>) -> fmt::Result,
        write_reply: impl Fn(&R, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        for (at, event) in self.events.iter().enumerate() {
            let previous = at.checked_sub(1).map(|previous| &self.events[previous]);
            match event {
                Event::Called(id, call) => {
                    write!(f, "{}{id}: ", if at == 0 { "" } else { "; " })?;
                    write_call(call, f)?;
                    let next = self.events.get(at + 1);
                    if next.is_none_or(|next| next.id() != *id) {
                        f.write_str(" ..")?;
                    }
                }
                Event::Returned(id, reply) => {
                    if previous.is_none_or(|previous| previous.id() != *id) {
                        write!(f, "; .. {id}")?;
                    }
                    f.write_str(" -> ")?;
                    write_reply(reply, f)?;
                }
            }
        }
        Ok(())
    }
}

impl<C: Debug, R: Debug> Debug for History<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, C::fmt, R::fmt)
    }
}

impl<C: Display, R: Display> Display for History<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, C::fmt, R::fmt)
    }
}

/// Records the events anew: what was stored may be neither canonical nor possible.
impl<'de, C: Deserialize<'de>, R: Deserialize<'de>> Deserialize<'de> for History<C, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut history = Self::default();
        for event in Vec::deserialize(deserializer)? {
            history.record(event).map_err(D::Error::custom)?;
        }
        Ok(history)
    }
}

/// One operation of a history.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation<'a, C, R> {
    /// Its name.
    pub id: OperationId,
    /// What was asked.
    pub call: &'a C,
    /// What was answered, if anything was.
    pub reply: Option<&'a R>,
    /// The position of the call among the events.
    pub called_at: usize,
    /// The position of the return, if it returned.
    pub returned_at: Option<usize>,
}

// Derived, these would ask the same of C and R, which are only borrowed.
impl<C, R> Copy for Operation<'_, C, R> {}
impl<C, R> Clone for Operation<'_, C, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C, R> Operation<'_, C, R> {
    /// True if this one returned before the other was called. Neither precedes the other if they
    /// overlap.
    pub fn precedes(&self, other: &Self) -> bool {
        self.returned_at.is_some_and(|at| at < other.called_at)
    }

    /// The order that the search wants: those that returned, then those that did not, each in the
    /// order of their calls.
    fn rank(&self) -> (bool, usize) {
        (self.returned_at.is_none(), self.called_at)
    }
}

/// What an object does when it does one thing at a time: an initial state, and a function.
///
/// It may be made of independent parts, each with a state of its own, such as the keys of a store.
/// Then a history is linearizable just if what was asked of each part is (Herlihy & Wing, theorem
/// 1), so no state of the whole is ever needed.
pub trait Specification {
    /// What clients ask.
    type Call: Eq;
    /// What they are told.
    type Reply: Eq;
    /// The name of a part; `()` if the object is one.
    type Key: Ord;
    /// The state of one part.
    type Part: Clone + Eq + Hash;

    /// The part that a call is about.
    fn key_of(call: &Self::Call) -> &Self::Key;

    /// The initial state of one part.
    fn part(&self, key: &Self::Key) -> Self::Part;

    /// The next state, and the reply.
    fn apply(part: &Self::Part, call: &Self::Call) -> (Self::Part, Self::Reply);

    /// True if a call never changes the state, whatever that is.
    fn only_reads(call: &Self::Call) -> bool;

    /// The next state, if this may be the reply. An unknown one may be any.
    fn allows(
        part: &Self::Part,
        call: &Self::Call,
        reply: Option<&Self::Reply>,
    ) -> Option<Self::Part> {
        let (next, given) = Self::apply(part, call);
        reply.is_none_or(|reply| *reply == given).then_some(next)
    }
}

/// A register, with its initial value.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Register<V>(pub V);

/// What can be asked of a [`Register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RegisterCall<V> {
    /// Reads the value.
    Get,
    /// Writes it.
    Put(V),
}

/// What a [`Register`] replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RegisterReply<V> {
    /// The put is done.
    Done,
    /// The value that the get found.
    Value(V),
}

impl<V: Clone + Eq + Hash> Specification for Register<V> {
    type Call = RegisterCall<V>;
    type Reply = RegisterReply<V>;
    type Key = ();
    type Part = V;

    fn key_of(_: &RegisterCall<V>) -> &() {
        &()
    }

    fn part(&self, (): &()) -> V {
        self.0.clone()
    }

    fn apply(value: &V, call: &RegisterCall<V>) -> (V, RegisterReply<V>) {
        match call {
            RegisterCall::Get => (value.clone(), RegisterReply::Value(value.clone())),
            RegisterCall::Put(new) => (new.clone(), RegisterReply::Done),
        }
    }

    fn only_reads(call: &RegisterCall<V>) -> bool {
        match call {
            RegisterCall::Get => true,
            RegisterCall::Put(_) => false,
        }
    }
}

/// A register that can also compare and swap, with its initial value.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CasRegister<V>(pub V);

/// What can be asked of a [`CasRegister`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CasCall<V> {
    /// Reads the value.
    Get,
    /// Writes it.
    Put(V),
    /// Writes it if it is as expected.
    CompareAndSwap {
        /// The value that must be there.
        expected: V,
        /// The value to write then.
        new: V,
    },
}

/// What a [`CasRegister`] replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CasReply<V> {
    /// The put is done.
    Done,
    /// The value that the get found.
    Value(V),
    /// The value was as expected, and is the new one now.
    Swapped,
    /// The value was another, and still is.
    Mismatched,
}

impl<V: Clone + Eq + Hash> Specification for CasRegister<V> {
    type Call = CasCall<V>;
    type Reply = CasReply<V>;
    type Key = ();
    type Part = V;

    fn key_of(_: &CasCall<V>) -> &() {
        &()
    }

    fn part(&self, (): &()) -> V {
        self.0.clone()
    }

    fn apply(value: &V, call: &CasCall<V>) -> (V, CasReply<V>) {
        match call {
            CasCall::Get => (value.clone(), CasReply::Value(value.clone())),
            CasCall::Put(new) => (new.clone(), CasReply::Done),
            CasCall::CompareAndSwap { expected, new } if value == expected => {
                (new.clone(), CasReply::Swapped)
            }
            CasCall::CompareAndSwap { .. } => (value.clone(), CasReply::Mismatched),
        }
    }

    fn only_reads(call: &CasCall<V>) -> bool {
        match call {
            CasCall::Get => true,
            CasCall::Put(_) | CasCall::CompareAndSwap { .. } => false,
        }
    }
}

/// A store of values by key, with its initial content. Each key is a [`CasRegister`] of its own,
/// which holds `None` while the key is absent: to put `None` is to delete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyValue<K: Ord, V>(pub BTreeMap<K, V>);

impl<K: Ord, V> Default for KeyValue<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// What can be asked of a [`KeyValue`]; it replies what the key's register would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyValueCall<K, V> {
    /// Of which key.
    pub key: K,
    /// What.
    pub call: CasCall<Option<V>>,
}

impl<K: Ord, V: Clone + Eq + Hash> Specification for KeyValue<K, V> {
    type Call = KeyValueCall<K, V>;
    type Reply = CasReply<Option<V>>;
    type Key = K;
    type Part = Option<V>;

    fn key_of(call: &KeyValueCall<K, V>) -> &K {
        &call.key
    }

    fn part(&self, key: &K) -> Option<V> {
        self.0.get(key).cloned()
    }

    fn apply(value: &Option<V>, call: &KeyValueCall<K, V>) -> (Option<V>, CasReply<Option<V>>) {
        CasRegister::apply(value, &call.call)
    }

    fn only_reads(call: &KeyValueCall<K, V>) -> bool {
        CasRegister::only_reads(&call.call)
    }
}

// Values are shown as their Debug: an absent one has nothing else, and text wants its quotes.

impl<V: Debug> Display for RegisterCall<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterCall::Get => f.write_str("get"),
            RegisterCall::Put(value) => write!(f, "put {value:?}"),
        }
    }
}

impl<V: Debug> Display for RegisterReply<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterReply::Done => f.write_str("done"),
            RegisterReply::Value(value) => write!(f, "{value:?}"),
        }
    }
}

impl<V: Debug> Display for CasCall<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CasCall::Get => f.write_str("get"),
            CasCall::Put(value) => write!(f, "put {value:?}"),
            CasCall::CompareAndSwap { expected, new } => write!(f, "swap {expected:?} for {new:?}"),
        }
    }
}

impl<V: Debug> Display for CasReply<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CasReply::Done => f.write_str("done"),
            CasReply::Value(value) => write!(f, "{value:?}"),
            CasReply::Swapped => f.write_str("swapped"),
            CasReply::Mismatched => f.write_str("mismatched"),
        }
    }
}

impl<K: Debug, V: Debug> Display for KeyValueCall<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.key, self.call)
    }
}

/// Why a history is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Refutation {
    /// The operation that no order explains: all that returned before it did can be put into an
    /// order, but none that it fits into.
    pub unexplained: OperationId,
    /// Such an order, among the calls of the same part.
    pub explained: Vec<OperationId>,
}

impl Display for Refutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no order explains {}", self.unexplained)?;
        for (at, id) in self.explained.iter().enumerate() {
            write!(f, "{}{id}", if at == 0 { "; without it: " } else { ", " })?;
        }
        Ok(())
    }
}

impl Error for Refutation {}

/// Whether each operation could have happened at one instant between its call and its return, and
/// those of unknown outcome at one instant after their call or never. Gives such an order, of all
/// that returned and of those others that it needs.
///
/// # Errors
///
/// The first operation, by return, that no order explains; of the first key that has one.
pub fn linearizable<S: Specification>(
    initial: &S,
    history: &History<S::Call, S::Reply>,
) -> Result<Vec<OperationId>, Refutation> {
    let operations = by_part::<S>(history);
    let mut instants = Vec::with_capacity(operations.len());
    for part in operations.chunk_by(|a, b| S::key_of(a.call) == S::key_of(b.call)) {
        // Theorem 1, made: let each happen at its call, or at once after the one before it, if that
        // comes later. It has not returned yet: that one was called before this one returned.
        let mut instant = 0;
        for index in order_of(initial, part)? {
            instant = part[index].called_at.max(instant);
            instants.push((instant, part[index].id));
        }
    }
    // Stable, and an instant is a call's position: what happens at once is in one part, in order.
    instants.sort_by_key(|&(instant, _)| instant);
    Ok(instants.into_iter().map(|(_, id)| id).collect())
}

/// Whether each read that returned, together with all the writes but no other read, is
/// linearizable: MWR-Weak, the weakest of the regularities of Shao et al. With one writer it is
/// Lamport's. Two reads may disagree about the order of concurrent writes, and a later read may
/// find the older value: new-old inversion. Anything that is not [`Specification::only_reads`]
/// counts as a write, with its reply.
///
/// It is not enough that a read's value was being written or that nothing else was: with several
/// writers, which of the writes before a read was the *last* is a matter of some order of all of
/// them, not of which returned last.
///
/// # Errors
///
/// The read that no order of the writes explains, or a write, if the writes alone have none.
pub fn regular<S: Specification>(
    initial: &S,
    history: &History<S::Call, S::Reply>,
) -> Result<(), Refutation> {
    let operations = by_part::<S>(history);
    for part in operations.chunk_by(|a, b| S::key_of(a.call) == S::key_of(b.call)) {
        let (reads, mut writes): (Vec<_>, Vec<_>) = part
            .iter()
            .partition(|operation| S::only_reads(operation.call));
        order_of(initial, &writes)?;
        for read in reads.iter().filter(|read| read.reply.is_some()) {
            let place = writes.partition_point(|write| write.rank() < read.rank());
            writes.insert(place, *read);
            order_of(initial, &writes)?;
            writes.remove(place);
        }
    }
    Ok(())
}

type OperationOf<'a, S> = Operation<'a, <S as Specification>::Call, <S as Specification>::Reply>;

/// The operations sorted by part, and each part as the search wants it.
fn by_part<S: Specification>(history: &History<S::Call, S::Reply>) -> Vec<OperationOf<'_, S>> {
    let mut operations = history.operations();
    operations.sort_by(|a, b| {
        let by_key = S::key_of(a.call).cmp(S::key_of(b.call));
        by_key.then_with(|| a.rank().cmp(&b.rank()))
    });
    operations
}

/// Finds an order of the operations of one part, which are sorted by rank.
fn order_of<S: Specification>(
    initial: &S,
    operations: &[OperationOf<'_, S>],
) -> Result<Vec<usize>, Refutation> {
    let Some(any) = operations.first() else {
        return Ok(Vec::new());
    };
    let state = initial.part(S::key_of(any.call));
    if operations.len() <= 128 {
        Search::<S, u128>::new(state, operations).run()
    } else {
        Search::<S, WideSet>::new(state, operations).run()
    }
}

/// The set of the operations that were taken, by index.
trait TakenSet {
    /// What tells it from other sets of the same operations.
    type Key: Eq + Hash;

    fn none_of(count: usize) -> Self;
    fn contains(&self, index: usize) -> bool;
    fn toggle(&mut self, index: usize);
    fn key(&self) -> Self::Key;
}

/// Up to 128 operations, without an allocation: all there are inside a model.
impl TakenSet for u128 {
    type Key = u128;

    fn none_of(_: usize) -> u128 {
        0
    }

    fn contains(&self, index: usize) -> bool {
        self >> index & 1 == 1
    }

    fn toggle(&mut self, index: usize) {
        *self ^= 1 << index;
    }

    fn key(&self) -> u128 {
        *self
    }
}

/// Any number of operations.
struct WideSet(Vec<u64>);

impl TakenSet for WideSet {
    /// The index of the first word that is not full, with that word; then those of the others that
    /// are not empty. What was taken is all of the past and little of the present, so this is short.
    type Key = Box<[(usize, u64)]>;

    fn none_of(count: usize) -> WideSet {
        WideSet(vec![0; count.div_ceil(64)])
    }

    fn contains(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn toggle(&mut self, index: usize) {
        self.0[index / 64] ^= 1 << (index % 64);
    }

    fn key(&self) -> Self::Key {
        let full = self.0.iter().take_while(|&&word| word == u64::MAX).count();
        let words = (full..).zip(self.0[full..].iter().copied());
        words
            .filter(|&(at, word)| at == full || word != 0)
            .collect()
    }
}

/// A circular doubly linked list of indices, with the number of them as sentinel. What is unlinked
/// keeps its own links, so that it can be put back, last out first in (Knuth's dancing links).
struct Links(Vec<Link>);

#[derive(Clone)]
struct Link {
    previous: usize,
    next: usize,
}

impl Links {
    fn new(count: usize, order: impl Iterator<Item = usize>) -> Links {
        let (previous, next) = (count, count);
        let mut links = Links(vec![Link { previous, next }; count + 1]);
        let mut last = count;
        for index in order {
            links.0[last].next = index;
            links.0[index].previous = last;
            last = index;
        }
        links.0[last].next = count;
        links.0[count].previous = last;
        links
    }

    fn after(&self, index: usize) -> usize {
        self.0[index].next
    }

    fn unlink(&mut self, index: usize) {
        let Link { previous, next } = self.0[index];
        self.0[previous].next = next;
        self.0[next].previous = previous;
    }

    fn relink(&mut self, index: usize) {
        let Link { previous, next } = self.0[index];
        self.0[previous].next = index;
        self.0[next].previous = index;
    }
}

/// The search of Wing, Gong and Lowe, with its own stack: recursion would use the thread's, once
/// per operation.
struct Search<'a, S: Specification, T: TakenSet> {
    /// Those that returned, then those that did not, each in the order of their calls.
    operations: &'a [OperationOf<'a, S>],
    /// How many returned. Also the sentinel of both lists.
    returning: usize,
    /// For each that did not return: the one before it with an equal call, if any.
    twins: Vec<Option<usize>>,
    /// Those that returned and are not taken, in the order of their calls.
    calls: Links,
    /// The same, in the order of their returns.
    returns: Links,
    taken: T,
    state: S::Part,
    /// What was taken, in order, with the state before.
    path: Vec<(usize, S::Part)>,
    visited: HashSet<(T::Key, S::Part), FixedState>,
}

impl<'a, S: Specification, T: TakenSet> Search<'a, S, T> {
    fn new(state: S::Part, operations: &'a [OperationOf<'a, S>]) -> Self {
        debug_assert!(operations.is_sorted_by_key(Operation::rank));
        let returning = operations.partition_point(|operation| operation.returned_at.is_some());
        let twin_of = |index: usize| {
            let call = operations[index].call;
            (returning..index).rfind(|&earlier| operations[earlier].call == call)
        };
        let mut by_return: Vec<usize> = (0..returning).collect();
        by_return.sort_unstable_by_key(|&index| operations[index].returned_at);
        Self {
            operations,
            returning,
            twins: (returning..operations.len()).map(twin_of).collect(),
            calls: Links::new(returning, 0..returning),
            returns: Links::new(returning, by_return.into_iter()),
            taken: T::none_of(operations.len()),
            state,
            path: Vec::with_capacity(operations.len()),
            visited: HashSet::with_hasher(FixedState::default()),
        }
    }

    fn run(mut self) -> Result<Vec<usize>, Refutation> {
        let mut furthest: Option<(usize, Refutation)> = None;
        let mut tried = None;
        while let Some(deadline) = self.deadline() {
            match self.candidate_after(tried, deadline) {
                Some(index) if self.take(index) => tried = None,
                Some(index) => tried = Some(index),
                None => {
                    let reached = furthest
                        .filter(|(reached, _)| *reached >= deadline)
                        .unwrap_or_else(|| (deadline, self.refutation()));
                    tried = self.untake();
                    if tried.is_none() {
                        return Err(reached.1);
                    }
                    furthest = Some(reached);
                }
            }
        }
        Ok(self.path.into_iter().map(|(index, _)| index).collect())
    }

    /// When the first of those that are not taken returned; none if all that returned are. What was
    /// called later has to be taken later.
    fn deadline(&self) -> Option<usize> {
        let first = self.returns.after(self.returning);
        // What the sentinel finds here, if anything, never returned.
        self.operations.get(first)?.returned_at
    }

    /// The operation to try after `tried`: those that returned come first, as they must be taken.
    fn candidate_after(&self, tried: Option<usize>, deadline: usize) -> Option<usize> {
        let in_time = |index: &usize| self.operations[*index].called_at < deadline;
        let pending = match tried {
            Some(pending) if pending >= self.returning => pending + 1,
            Some(_) | None => {
                let next = self.calls.after(tried.unwrap_or(self.returning));
                if next < self.returning && in_time(&next) {
                    return Some(next);
                }
                self.returning
            }
        };
        (pending..self.operations.len())
            .take_while(in_time)
            .find(|&index| !self.taken.contains(index))
    }

    /// Takes an operation next, unless it cannot be, or need not be tried.
    fn take(&mut self, index: usize) -> bool {
        let Operation { call, reply, .. } = self.operations[index];
        let Some(next) = S::allows(&self.state, call, reply) else {
            return false;
        };
        if self.is_needless(index, &next) {
            return false;
        }
        self.taken.toggle(index);
        if !self.visited.insert((self.taken.key(), next.clone())) {
            self.taken.toggle(index);
            return false;
        }
        if index < self.returning {
            self.calls.unlink(index);
            self.returns.unlink(index);
        }
        self.path.push((index, mem::replace(&mut self.state, next)));
        true
    }

    /// Puts the last operation taken back, and tells which it was.
    fn untake(&mut self) -> Option<usize> {
        let (index, before) = self.path.pop()?;
        if index < self.returning {
            self.returns.relink(index);
            self.calls.relink(index);
        }
        self.taken.toggle(index);
        self.state = before;
        Some(index)
    }

    /// True if to take this operation now is to take one of unknown outcome in vain.
    ///
    /// No verdict is lost. Of the orders that explain a history, look at those with the fewest
    /// operations of unknown outcome, and of these at the one that takes those with equal calls
    /// earliest first: no step of it is needless.
    fn is_needless(&self, index: usize, next: &S::Part) -> bool {
        if let Some(pending) = index.checked_sub(self.returning) {
            let twin_waits = |twin: usize| !self.taken.contains(twin);
            if *next == self.state || self.twins[pending].is_some_and(twin_waits) {
                return true;
            }
        }
        // If the one before it is of unknown outcome and it does not notice, that one can be put
        // back: it stays free to be taken later.
        self.path.last().is_some_and(|(last, before)| {
            let Operation { call, reply, .. } = self.operations[index];
            *last >= self.returning && S::allows(before, call, reply).as_ref() == Some(next)
        })
    }

    fn refutation(&self) -> Refutation {
        let id_of = |index: usize| self.operations[index].id;
        Refutation {
            unexplained: id_of(self.returns.after(self.returning)),
            explained: self.path.iter().map(|&(index, _)| id_of(index)).collect(),
        }
    }
}
