//! # Split-brain prevention
//!
//! A network is cut, and each side takes the other for dead. If both go on there are two of what there
//! must be one of. Here every node decides by itself, from what it hears and from what those say that it
//! hears, whether its side goes on; a *resolver* is that decision, a pure function of one node's view:
//! [`resolve`].
//!
//! The machine is what makes a view and gives it time. Its nodes send heartbeats that say whom they
//! hear. A node whose view is not whole goes on for a while, for it does not know yet; when its view has
//! not changed for the *settling time* it decides: it steps aside, or it stays. Who cannot decide within
//! the *limit*, because its view goes on changing, steps aside too. Who stays *takes over* what the
//! others had, but not before a *margin* has passed in which they have all stepped aside. When
//! everybody hears everybody again, those who had stepped aside serve again.
//!
//! Members come and go while all that are known hear each other, one step at a time (see [`Stage`]), and
//! heartbeats say how far each has come. Who is coming or going may count already, or no longer, as
//! others see it, so that a side decides for itself only what holds either way.
//!
//! - **Source.** Akka's and Pekko's split brain resolver (*Split Brain Resolver*, Pekko documentation,
//!   and `DowningStrategy.scala`): its strategies, its stability window, its down-all-when-unstable, its
//!   removal margin; Davčev and Burkhard, *Consistency and Recovery Control for Replicated Files*, SOSP
//!   1985, for a majority with a tie-break; Akka's membership lifecycle, for steps that are taken when all
//!   have seen the one before; corosync's `votequorum(5)` for the same in practice.
//! - **Promises.** Of the resolvers, for all views of up to five members: of sides that cannot hear each
//!   other at most one goes on; none goes on only where [`Strategy`] says so. Of the machine: *one side*:
//!   when a node has taken over, nobody outside its side serves. *aside is aside*: who has stepped aside
//!   does not serve. *a side goes on*: when a cut stays, the side that is to take over does. *rejoin*:
//!   when everybody hears everybody, every member serves, and nobody is coming or going any more.
//! - **Assumes.** Time. A heartbeat arrives within a beat or not at all; clocks agree; alarms ring when
//!   they may. [`Timing::is_sound`] says what follows for the margin. Where time cannot be trusted
//!   what is taken over needs a lease with a token: [`crate::lease`]. Nodes crash and restart, and do not lie;
//!   a disk keeps who the members are.
//! - **Leaves out.** Removing those who are gone for good: a member leaves while it is there. Contending
//!   for a lease: by [`Strategy::LeaseMajority`] this machine steps aside, and
//!   [`crate::singleton`] is the one that asks.
//! - **The textbook says.** `SplitBrainPrevention` (chapter 8): sees all nodes and decides for all of
//!   them; its quorum may be any number (`one_side_falls_when_any_quorum_will_do`); a node that it has
//!   put aside goes on serving (`aside_is_aside_falls_when_it_is_a_status_and_nothing_more`) and is never
//!   brought back (`rejoin_falls_when_aside_is_for_good`); whom one node hears it takes for connected
//!   both ways (`one_side_falls_when_hearing_is_being_heard`); it decides at once
//!   (`one_side_falls_without_the_settling_time_and_the_margin`). Its lowest node is the first in the order of strings.

use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{Machine, NodeId, Outbox, State};

mod roster;
mod view;

pub use roster::{Change, Durable, MEMBERS_MAX, Stage, Stages};
pub use view::{Alone, CHANGES_MAX, Roster, Strategy, Turn, Verdict, View, resolve};

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SplitBrain {
    /// This node.
    pub me: NodeId,
    /// The members at first. Who is to join them is not among them.
    pub members: NodeSet,
    /// How it is decided which side goes on.
    pub strategy: Strategy,
    /// How long everything takes.
    pub timing: Timing,
}

/// How long everything takes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// From one heartbeat to the next.
    pub beat_ms: u64,
    /// Without a heartbeat for so long, a node is not heard any more.
    pub missing_ms: u64,
    /// A view that has not changed for so long is settled.
    pub settle_ms: u64,
    /// A view that was not whole for so long, and not settled, is given up.
    pub limit_ms: u64,
    /// From the decision to stay, so long until the others' things are taken over.
    pub margin_ms: u64,
}

impl Timing {
    /// True if whoever is not heard has stepped aside before it is taken over from.
    ///
    /// A node takes over when it has not heard another one for the settling time and the margin. The
    /// other may have heard the last heartbeat a beat later; it misses the next, or hears that it is
    /// not heard, within `missing` and a beat, for an alarm may ring a beat late; and within the limit
    /// and a beat from then it has decided. Had it decided to stay, then for the sake of somebody whom
    /// both hear, who would have told.
    pub fn is_sound(&self) -> bool {
        let beats = self.beat_ms.saturating_mul(3);
        let until_aside = (self.missing_ms.saturating_add(self.limit_ms)).saturating_add(beats);
        self.beat_ms < self.missing_ms
            && self.settle_ms < self.limit_ms
            && until_aside < self.settle_ms.saturating_add(self.margin_ms)
    }
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// May this node serve now?
    MayServe {
        /// The caller's name for this call.
        ticket: u64,
    },
    /// Let this one join.
    Admit {
        /// The caller's name for this call.
        ticket: u64,
        /// Who: a number that no member ever had.
        node: NodeId,
    },
    /// Let this one leave.
    Retire {
        /// The caller's name for this call.
        ticket: u64,
        /// Who.
        node: NodeId,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// I am here.
    Beat {
        /// And these I hear, myself included.
        hears: NodeSet,
        /// So far has each member come, as far as I know.
        stages: Stages,
    },
}

/// A node's alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The next heartbeat is due.
    Beat,
    /// This node was not heard for too long.
    Missing(NodeId),
    /// The view has not changed for the settling time.
    Settle,
    /// The view was not whole, and not settled, for too long.
    Limit,
    /// The margin is over.
    TakeOver,
}

/// What an observer learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// How the node stands from now on.
    Stands(Standing),
    /// To the caller: whether it may serve, or whether what it wants of the members is begun.
    Answered {
        /// The caller's name for the call.
        ticket: u64,
        /// The answer.
        answer: Answer,
    },
}

/// An answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// The node may serve.
    Serve,
    /// It may not.
    Refuse,
    /// The member is coming, or going.
    Begun,
    /// Nothing was done: not all hear each other and know the same of each other, or the member is past
    /// that step.
    NotNow,
}

/// How a node stands. In all but the last it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Everybody hears everybody, and this node is a member.
    Whole,
    /// Not so; it has not decided yet.
    Unsure,
    /// It has decided that its side goes on, and waits for the margin.
    Stays,
    /// It has taken over from all but these.
    TookOver(NodeSet),
    /// It has stepped aside. So it boots.
    Aside,
}

/// What a crash takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// How it stands.
    pub standing: Standing,
    /// Whom each says to hear that this node hears, by its last word. Of itself it need not be told.
    pub reports: Map<NodeId, NodeSet>,
    /// Those whose last word was that each member has come exactly as far as this node knows.
    pub agreeing: NodeSet,
}

impl Machine for SplitBrain {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if durable.stages.is_empty() && self.members.contains(self.me) {
            let members = self.members.iter();
            durable.stages = members.map(|node| (node, Stage::Up)).collect();
        }
        out.arm(Timer::Beat);
        out.arm(Timer::Settle);
        Volatile {
            standing: Standing::Aside,
            reports: Map::new(),
            agreeing: NodeSet::EMPTY,
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (ticket, answer) = match call {
            Call::MayServe { ticket } => (
                ticket,
                match state.volatile.standing {
                    Standing::Aside => Answer::Refuse,
                    Standing::Whole
                    | Standing::Unsure
                    | Standing::Stays
                    | Standing::TookOver(_) => Answer::Serve,
                },
            ),
            Call::Admit { ticket, node } => {
                let answer = self.on_change_of_members(state, node, Stage::Joining, out);
                (ticket, answer)
            }
            Call::Retire { ticket, node } => {
                let answer = self.on_change_of_members(state, node, Stage::Leaving, out);
                (ticket, answer)
            }
        };
        out.tell(Event::Answered { ticket, answer });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let Message::Beat { hears, stages } = message;
        let is_known = state.durable.roster().known().contains(from);
        // Whoever is to join hears of it from those who know.
        let is_invited = state.durable.stages.is_empty() && stages.contains_key(&self.me);
        if from == self.me || from.0 >= MEMBERS_MAX || !(is_known || is_invited) {
            return; // Nobody's business.
        }
        self.hear_stages(state, &stages, out);
        if !state.durable.roster().known().contains(from) {
            return; // It knows that it has been removed, and so does this node now.
        }
        out.arm(Timer::Missing(from));
        if state.volatile.reports.insert(from, hears) != Some(hears) {
            Self::on_change(state, out);
        }
        if stages == state.durable.stages {
            state.volatile.agreeing.insert(from);
        } else {
            state.volatile.agreeing.remove(from);
        }
        self.advance(state, out);
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Beat => {
                out.arm(Timer::Beat);
                let hears = self.hears(state);
                let stages = state.durable.stages.clone();
                let known = state.durable.roster().known();
                let others = known.iter().filter(|node| *node != self.me);
                out.broadcast(others, &Message::Beat { hears, stages });
            }
            Timer::Missing(node) => {
                if state.volatile.reports.remove(&node).is_some() {
                    state.volatile.agreeing.remove(node);
                    Self::on_change(state, out);
                }
            }
            Timer::Settle => self.on_settle(state, out),
            Timer::Limit => {
                if state.volatile.standing == Standing::Unsure {
                    stand(state, Standing::Aside, out);
                }
            }
            Timer::TakeOver => self.on_take_over(state, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let Timing {
            beat_ms,
            missing_ms,
            settle_ms,
            limit_ms,
            margin_ms,
        } = self.timing;
        let beat_ms = beat_ms.max(1);
        // All but the heartbeat may be a beat late.
        let a_beat_late = beat_ms.saturating_add(1);
        let (from, width) = match timer {
            Timer::Beat => (beat_ms, 1),
            Timer::Missing(_) => (missing_ms, a_beat_late),
            Timer::Settle => (settle_ms, a_beat_late),
            Timer::Limit => (limit_ms, a_beat_late),
            Timer::TakeOver => (margin_ms, a_beat_late),
        };
        Duration::from_millis(from)..Duration::from_millis(from.saturating_add(width))
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile {
            standing,
            reports,
            agreeing,
        } = &state.volatile;
        let known = state.durable.roster().known();
        let is_member = |node: &NodeId| *node != self.me && known.contains(*node);
        reports.keys().all(is_member)
            && agreeing.iter().all(|node| reports.contains_key(&node))
            && (*standing == Standing::Aside || state.durable.counts(self.me))
            && match standing {
                Standing::TookOver(side) => {
                    side.contains(self.me) && side.is_subset(self.hears(state))
                }
                Standing::Whole | Standing::Unsure | Standing::Stays | Standing::Aside => true,
            }
    }
}

impl SplitBrain {
    /// Whom this node hears, itself included.
    fn hears(&self, state: &State<Self>) -> NodeSet {
        let mut hears: NodeSet = state.volatile.reports.keys().copied().collect();
        hears.insert(self.me);
        hears
    }

    /// What this node sees.
    pub fn view(&self, state: &State<Self>) -> View {
        let roster = state.durable.roster();
        let known = roster.known();
        let reports = state.volatile.reports.iter();
        // Of those that are no members here it does not matter who hears them.
        let of_members = |(node, hears): (&NodeId, &NodeSet)| (*node, hears.intersection(known));
        let mut reports: Map<NodeId, NodeSet> = reports.map(of_members).collect();
        reports.insert(self.me, self.hears(state));
        View {
            me: self.me,
            roster,
            reports,
        }
    }

    /// The view has changed: whatever it was about to do, or did, it did by another one.
    fn on_change(state: &mut State<Self>, out: &mut Outbox<Self>) {
        out.arm(Timer::Settle);
        out.disarm(Timer::TakeOver);
        match state.volatile.standing {
            // The limit is what it was: a view that changes for ever must not be waited for.
            Standing::Unsure | Standing::Aside => {}
            Standing::Whole | Standing::Stays | Standing::TookOver(_) => {
                out.arm(Timer::Limit);
                stand(state, Standing::Unsure, out);
            }
        }
    }

    /// The view has settled: the node decides.
    fn on_settle(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let view = self.view(state);
        out.disarm(Timer::Limit);
        if !state.durable.counts(self.me) {
            // It has not joined yet, or is no member any more.
            stand(state, Standing::Aside, out);
            return;
        }
        if view.is_whole() {
            stand(state, Standing::Whole, out);
            return;
        }
        match resolve(&self.strategy, &view) {
            Verdict::Stay => {
                out.arm(Timer::TakeOver);
                // One that had stepped aside waits as well, and serves when it takes over.
                if state.volatile.standing != Standing::Aside {
                    stand(state, Standing::Stays, out);
                }
            }
            Verdict::Leave | Verdict::Contend(_) => stand(state, Standing::Aside, out),
        }
    }

    /// The margin is over, and the view is what it was.
    fn on_take_over(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let view = self.view(state);
        let counts = state.durable.counts(self.me);
        let stays = counts && resolve(&self.strategy, &view) == Verdict::Stay;
        if let Some(side) = view.side().filter(|_| stays && !view.is_whole()) {
            stand(state, Standing::TookOver(side), out);
        }
    }
}

/// It stands so from now on, and says it if that is new.
fn stand(state: &mut State<SplitBrain>, standing: Standing, out: &mut Outbox<SplitBrain>) {
    if state.volatile.standing != standing {
        state.volatile.standing = standing;
        out.tell(Event::Stands(standing));
    }
}
