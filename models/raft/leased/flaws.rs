//! Leases with one thing wrong.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::ops::Range;
use std::time::Duration;

use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::raft::{Call, Durable, Event, Leader, Message, Raft, Role, Timer, Volatile};

use crate::flaw::{boot, delegate};

/// A member, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Raft,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// Members promise nothing: a candidate gets votes of those who hear a leader.
    VotesAllTheSame,
    /// The time of a lease begins with the answer that brings it.
    CountsFromAnswer,
    /// An answer to an earlier round counts for the last.
    AnyAnswer,
    /// What was promised before a restart is forgotten by it.
    PromiseForgotten,
    /// A leader keeps its lease though its heir was told to stand.
    KeepsLease,
    /// A leader whose heir did not stand in time has leases again.
    LeasesAgain,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let mut volatile = boot(&self.right, durable, out);
        volatile.promised &= self.flaw != Flaw::PromiseForgotten;
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        match (&mut message, self.flaw) {
            (
                Message::RequestVote { .. } | Message::RequestPreVote { .. },
                Flaw::VotesAllTheSame,
            ) => {
                state.volatile.promised = false;
                if let Role::Follower { leader } = &mut state.volatile.role {
                    *leader = None;
                }
            }
            (
                Message::Appended { round, .. } | Message::Conflict { round, .. },
                Flaw::AnyAnswer,
            ) => {
                if let Some(leader) = leader(state) {
                    *round = leader.round;
                }
            }
            _ => {}
        }
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        if self.flaw == Flaw::LeasesAgain
            && timer == Timer::Transfer
            && let Some(leader) = leader(state)
        {
            leader.lease.forgone = false;
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

fn leader<M: Machine<Volatile = Volatile>>(state: &mut State<M>) -> Option<&mut Leader> {
    match &mut state.volatile.role {
        Role::Leader(leader) => Some(leader),
        _ => None,
    }
}

impl Flawed {
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Raft, &mut State<Raft>, &mut Outbox<Raft>),
    ) {
        let before = leader(state).map(|leader| leader.lease.clone());
        let mut outputs = delegate(state, |state, out| act(&self.right, state, out));
        match self.flaw {
            Flaw::CountsFromAnswer => {
                let leased = outputs.iter().filter_map(|output| match output {
                    Output::Event(Event::Leased { round }) => Some(Timer::Lease(*round)),
                    _ => None,
                });
                let again: Vec<_> = leased.map(Output::Arm).collect();
                outputs.extend(again);
            }
            Flaw::KeepsLease => {
                let tells = |output: &Output<Self>| match output {
                    Output::Send { message, .. } => matches!(message, Message::TimeoutNow { .. }),
                    _ => false,
                };
                if outputs.iter().any(tells)
                    && let (Some(before), Some(leader)) = (before, leader(state))
                {
                    leader.lease = before;
                    outputs.retain(|output| {
                        !matches!(
                            output,
                            Output::Disarm(Timer::Lease(_))
                                | Output::Event(Event::LeaseEnded { .. })
                        )
                    });
                }
            }
            _ => {}
        }
        for output in outputs {
            out.push(output);
        }
    }
}
