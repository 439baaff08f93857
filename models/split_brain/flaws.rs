//! Split-brain prevention with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::split_brain::{
    Alone, Answer, Call, Durable, Event, Message, SplitBrain, Stage, Standing, Strategy, Timer,
    Volatile,
};

use crate::flaw::{boot, delegate};

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: SplitBrain,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with split-brain prevention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Two nodes are a quorum, however many there are.
    AnyQuorum,
    /// A majority is counted of those that are heard.
    MajorityOfTheHeard,
    /// Of two halves both stay.
    TieUndecided,
    /// Whom a node hears it takes for one that hears it.
    HearingIsBeingHeard,
    /// Who stays takes over at once.
    NoMargin,
    /// It decides at once, and takes over at once.
    NoSettling,
    /// What was decided is carried out, though the view has changed since.
    OldDecision,
    /// A node serves as it boots.
    ServesAsItBoots,
    /// A node whose view goes on changing goes on serving.
    NoLimit,
    /// A node that is aside serves.
    AsideServes,
    /// A node that has stepped aside is not heard of any more.
    AsideForGood,
    /// Heartbeats go to those that are heard: at first to everybody.
    BeatsToTheHeard,
    /// Whoever misses somebody steps aside.
    NobodyStays,
    /// Whoever is admitted counts at once.
    CountsAtOnce,
    /// Of those who are joining it is taken for granted that nobody counts them.
    JoiningUncounted,
    /// Who the members are is not on the disk.
    MembersForgotten,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.flaw == Flaw::MembersForgotten {
            *durable = Durable::default();
        }
        let mut volatile = boot(&self.right, durable, out);
        if self.flaw == Flaw::ServesAsItBoots {
            volatile.standing = Standing::Unsure;
            out.arm(Timer::Limit);
            out.tell(Event::Stands(Standing::Unsure));
        }
        if self.flaw == Flaw::BeatsToTheHeard {
            let members = self.right.members;
            for other in members.iter().filter(|node| *node != self.right.me) {
                volatile.reports.insert(other, members);
                out.arm(Timer::Missing(other));
            }
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        if let (Flaw::AsideServes, Call::MayServe { ticket }) = (self.flaw, call) {
            let answer = Answer::Serve;
            out.tell(Event::Answered { ticket, answer });
        } else {
            self.act(state, out, |right, state, out| {
                right.on_call(state, call, out);
            });
        }
        if let (Flaw::CountsAtOnce, Call::Admit { node, .. }) = (self.flaw, call)
            && let Some(stage) = state.durable.stages.get_mut(&node)
        {
            *stage = Stage::Up;
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let Message::Beat { mut hears, stages } = message;
        if self.flaw == Flaw::HearingIsBeingHeard {
            hears.insert(self.right.me);
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, Message::Beat { hears, stages }, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        if self.flaw == Flaw::NoLimit && timer == Timer::Limit {
            return;
        }
        let stages = state.durable.stages.clone();
        let decides = matches!(timer, Timer::Settle | Timer::TakeOver);
        if self.flaw == Flaw::JoiningUncounted && decides {
            state
                .durable
                .stages
                .retain(|_, stage| *stage != Stage::Joining);
        }
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        state.durable.stages = stages;
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        match (self.flaw, timer) {
            (Flaw::NoMargin | Flaw::NoSettling, Timer::TakeOver)
            | (Flaw::NoSettling, Timer::Settle) => Duration::ZERO..Duration::from_millis(1),
            _ => self.right.delay(timer),
        }
    }

    fn holds(&self, state: &State<Self>) -> bool {
        self.right.holds(&right(state))
    }
}

impl Flawed {
    /// Lets the right machine act, by a strategy that may be none, and spoils what it says.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&SplitBrain, &mut State<SplitBrain>, &mut Outbox<SplitBrain>),
    ) {
        let heard: Vec<NodeId> = state.volatile.reports.keys().copied().collect();
        let strategy = self.strategy(state);
        let misled = SplitBrain {
            strategy,
            ..self.right.clone()
        };
        for output in delegate(state, |state, out| act(&misled, state, out)) {
            match (self.flaw, &output) {
                (Flaw::BeatsToTheHeard, Output::Send { to, .. }) if !heard.contains(to) => {}
                (Flaw::OldDecision, Output::Disarm(Timer::TakeOver)) => {}
                (Flaw::AsideForGood, Output::Event(Event::Stands(Standing::Aside))) => {
                    out.push(output);
                    out.disarm(Timer::Beat);
                }
                _ => out.push(output),
            }
        }
    }

    /// By which it decides.
    fn strategy(&self, state: &State<Self>) -> Strategy {
        let me = self.right.me;
        let side = self.right.view(&right(state)).side();
        let size = side.map_or(0, NodeSet::len);
        let stays = match self.flaw {
            Flaw::AnyQuorum => size >= 2,
            Flaw::MajorityOfTheHeard => true,
            Flaw::TieUndecided => 2 * size == self.right.members.len(),
            Flaw::NobodyStays => return Strategy::DownAll,
            _ => false,
        };
        if stays {
            // The side with this node is the one to keep.
            Strategy::KeepOldest(vec![me], Alone::Stays)
        } else {
            self.right.strategy.clone()
        }
    }
}

/// The same state, of the right machine.
fn right(state: &State<Flawed>) -> State<SplitBrain> {
    State {
        durable: state.durable.clone(),
        volatile: state.volatile.clone(),
    }
}
