//! The database with one thing wrong.

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::database::{
    Call, Cell, Database, Durable, Event, Message, Task, Timer, Version, Volatile,
};
use quorate::machine::{Machine, NodeId, Outbox, Output, State};

use crate::flaw::{boot, delegate};

/// A database, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Database,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Each replica gives a write a stamp of its own. So does the textbook's.
    EveryReplicaMints,
    /// Each replica passes a write on to all nodes, and they keep it. So do the textbook's.
    SpreadToEveryone,
    /// A replica that has nothing is taken for one that did not answer. So is the textbook's.
    AbsenceIsNoAnswer,
    /// A quorum is one of those that are not suspected. So is the textbook's.
    QuorumOfThePresent,
    /// A read answers first and repairs afterwards.
    RepairAfterTheAnswer,
    /// A repeated answer counts again.
    ReplyCountedTwice,
    /// A replica takes whatever arrives last.
    StoreUnconditionally,
    /// What was lost is not sent again.
    NoRetries,
    /// After a restart the names of operations begin anew.
    IncarnationForgotten,
    /// Of two writes of one time, the one that was there stays.
    NoTieBreak,
    /// A write is kept as a hint only once it has taken a while.
    HintsOnlyOnTimeout,
    /// A hint is forgotten when the first replica has it.
    HintForgottenTooEarly,
    /// To delete is to remove the key.
    NoTombstones,
    /// Tombstones go after a while, whoever has seen them.
    CollectedByTime,
    /// Tombstones go when all replicas are equal, fenced or not.
    CollectedWithoutFence,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::IncarnationForgotten {
            durable.incarnation = 1;
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out)
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out)
        });
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Database, &mut State<Database>, &mut Outbox<Database>),
    ) {
        for output in delegate(state, |state, out| act(&self.right, state, out)) {
            out.push(output);
        }
    }
}
