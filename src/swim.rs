//! # SWIM
//!
//! Who is there, as each member knows it for itself. Once a period a member *pings* one other, each in
//! its turn. If no answer comes it asks a few others to ping in its stead, for what is broken may be the
//! way and not the member. If none comes even so it *suspects* the member, and says so; and whoever is
//! suspected may refute that. A suspicion that stands long enough is taken for a death.
//!
//! What is known of a member is a *standing*: an incarnation, and alive, suspect, dead or left. Standings are
//! ordered, by incarnation first, and of two the greater is believed, in whatever order they come. Only
//! the member itself begins an incarnation: at each start, and to refute. News rides on pings and
//! answers, a few pieces on each. The dead are greeted now and then, lest two sides of a cut that healed
//! keep each other for dead.
//!
//! - **Source.** Das, Gupta, Motivala, *SWIM: Scalable Weakly-consistent Infection-style Process Group
//!   Membership Protocol*, DSN 2002: §3.1 pings, §4.1 news on pings, §4.2 suspicion, §4.3 turns; Dadgar,
//!   Phillips, Currey, *Lifeguard: Local Health Awareness for More Accurate Failure Detection*, 2017: §III
//!   local health, and who is suspected is told so by whoever pings it. Chandra, Toueg, *Unreliable
//!   Failure Detectors for Reliable Distributed Systems*, JACM 43(2), 1996: completeness.
//! - **Promises.** *standings never go back*: what a member holds of another only grows. *only its owner
//!   raises an incarnation*: nobody holds one that the member itself has not begun. *no two runs share an
//!   incarnation*: a start and a refutation each begin a new one, a restart between the two notwithstanding. *a refutation
//!   beats its accusation*, even if the disk forgot. *no zombie by a stale alive*: who is held dead is held
//!   alive again only in a later incarnation. *others are asked first*: nobody accuses before it has
//!   asked somebody else to ping, if it knows anyone else. *answers are what was told*: a call is answered
//!   with the standings that the member has told of, at once. *strong completeness*: in the calm, who
//!   crashed for good is held dead by everyone. *views converge*: in the calm, everyone who runs is held
//!   alive, in its present incarnation, by everyone, whoever was held dead before.
//! - **Assumes.** Members are numbered from 0 to 63, and do not lie. A disk keeps what it acknowledged. Of
//!   the network and of time, nothing for what is always so; that the living are not held dead for ever
//!   takes answers that come before the alarms ring.
//! - **Leaves out.** Accuracy: any member may be suspected, and declared dead, by mistake. Of the paper, that
//!   a death is final (§4.2, where `Confirm` overrides every incarnation): here a later incarnation refutes
//!   it, as in memberlist. Of Lifeguard, the
//!   suspicion that shortens as others confirm it, and the helper that answers that it had no
//!   answer. Addresses, more than 64 members, and forgetting the dead.
//! - **The textbook says.** Nothing of SWIM; its `HeartbeatMonitor` is in `detector`. There a member that is
//!   held dead is removed, and nobody hears of it again (`views_converge_falls_when_the_dead_are_not_greeted`).
//!
//! # What others offer
//!
//! Going by their own pages, of what the paper and its users ask for:
//!
//! | | here | foca | memberlist |
//! |---|---|---|---|
//! | no clock and no socket inside | yes | yes | no |
//! | pings by others, suspicion, incarnations | yes | yes | yes |
//! | who is pinged next | turns, by a race of alarms | turns | turns |
//! | whole views | to join and to rejoin | left to the caller | now and then, over TCP |
//! | news apart from pings | no | if configured | yes |
//! | the dead are contacted again | yes | if configured | by whole views |
//! | local health of Lifeguard | of probes | not named | yes |
//! | data of the application on board | no | yes | yes |
//! | addresses of members | no: they are numbered | identities of any kind | yes |
//! | checked exhaustively | three members, with a crash or a cut | not named | not named |

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod probe;
mod view;

pub use probe::{Probe, Relay};

/// How many members there may be: a whole view then fits one datagram.
pub const MEMBERS_MAX: u64 = 64;

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Swim {
    /// This member.
    pub me: NodeId,
    /// Who is taken to be alive from the start. May be empty.
    pub members: NodeSet,
    /// Whom to greet in order to join, until it answers.
    pub seeds: NodeSet,
    /// How many others are asked to ping in one's stead.
    pub helpers: u32,
    /// How many pieces of news a ping or an answer carries, besides what it is about.
    pub news_max: u32,
    /// On how many pings a piece of news goes out; answers meanwhile carry it too.
    pub news_pings: u32,
    /// How far local health may fall. At the worst a member waits `health_max + 1` times as long.
    pub health_max: u8,
    /// How long a period is, in milliseconds.
    pub period_ms: u32,
    /// After how many periods a suspicion is taken for a death.
    pub suspicion_periods: u32,
    /// How many periods pass between two greetings of one that is held dead.
    pub greeting_periods: u32,
}

/// How a member is, as far as is known. The later in this order overrides the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It is there.
    Alive,
    /// It did not answer. It may still refute that.
    Suspect,
    /// It was suspected for too long.
    Dead,
    /// It said good-bye.
    Left,
}

/// What is known of a member. Of two standings the greater is believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// Which of the member's incarnations it is about: only the member itself begins one.
    pub incarnation: u64,
    /// How it was in that one.
    pub status: Status,
}

impl Standing {
    /// What a member says of itself when it begins an incarnation.
    pub const fn alive(incarnation: u64) -> Self {
        let status = Status::Alive;
        Self {
            incarnation,
            status,
        }
    }

    /// True if the member takes part: it is not held dead, and has not left.
    pub fn is_live(self) -> bool {
        match self.status {
            Status::Alive | Status::Suspect => true,
            Status::Dead | Status::Left => false,
        }
    }
}

/// As one word.
impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.status, self.incarnation)
    }
}

/// Standings of some members.
pub type Standings = Map<NodeId, Standing>;

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Who is there?
    Members {
        /// The caller's name for this call.
        ticket: u64,
    },
    /// Say good-bye. To come back, restart.
    Leave {
        /// The caller's name for this call.
        ticket: u64,
    },
}

/// What travels. Each message carries standings: that of its sender, that of its receiver if that one
/// ought to refute it, and news.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Are you there?
    Ping {
        /// Who wants to know: the sender, or whoever asked it.
        origin: NodeId,
        /// Its name for the probe.
        number: u64,
        /// What the sender knows.
        standings: Standings,
    },
    /// Ping that one for me.
    PingRequest {
        /// Whom.
        target: NodeId,
        /// The sender's name for the probe.
        number: u64,
        /// What the sender knows.
        standings: Standings,
    },
    /// It is there.
    Ack {
        /// Who is there.
        target: NodeId,
        /// Who wants to know.
        origin: NodeId,
        /// Its name for the probe.
        number: u64,
        /// What the sender knows.
        standings: Standings,
    },
    /// Here I am: to one that may not know, and to one that is held dead.
    Greeting {
        /// What the sender holds of the receiver.
        held: Option<Standing>,
        /// What the sender knows.
        standings: Standings,
    },
    /// All that I know: the answer to a greeting.
    View {
        /// What the receiver held of the sender when it asked.
        held: Option<Standing>,
        /// What the sender knows.
        standings: Standings,
    },
    /// I am leaving.
    Goodbye {
        /// What the sender knows.
        standings: Standings,
    },
}

/// A member's alarms. Whose turn it is to be pinged is a race.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Ping this one.
    Probe {
        /// Whom.
        peer: NodeId,
        /// Local health: 0 is best.
        health: u8,
    },
    /// The answer to a ping is late: ask others.
    Direct {
        /// Local health when the ping was sent.
        health: u8,
    },
    /// No answer came by others either.
    Indirect {
        /// Local health when they were asked.
        health: u8,
    },
    /// This one was suspected for long enough.
    Suspicion {
        /// Whom.
        peer: NodeId,
    },
    /// Greet this one.
    Greet {
        /// Whom.
        peer: NodeId,
    },
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The member started.
    Began {
        /// In this incarnation.
        incarnation: u64,
    },
    /// The member heard what is said of it, and begins another incarnation.
    Refuted {
        /// What was said.
        accusation: Standing,
        /// The incarnation that it begins.
        incarnation: u64,
    },
    /// The member had no answer from another one.
    Accused {
        /// From whom.
        node: NodeId,
        /// Whom it had asked to ping it.
        asked: NodeSet,
    },
    /// What the member holds of another one changed.
    Changed {
        /// Of whom.
        node: NodeId,
        /// To this.
        standing: Standing,
    },
    /// The answer of [`Call::Members`].
    Members {
        /// The caller's name for the call.
        ticket: u64,
        /// The member's own view, itself and the dead included.
        standings: Standings,
    },
    /// The member has said good-bye to those it knew.
    Left {
        /// The caller's name for the call.
        ticket: u64,
    },
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The least incarnation that the member has not begun.
    pub next: u64,
}

impl machine::Durable for Durable {
    type Change = u64;

    fn changes_since(&self, older: &Self) -> Vec<u64> {
        let changed = self.next != older.next;
        changed.then_some(self.next).into_iter().collect()
    }

    fn apply(&mut self, next: u64) {
        self.next = next;
    }
}

/// What a crash takes: all that others will tell again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// What is known of everyone, this member included.
    pub view: Standings,
    /// News, and on how many more pings each goes out.
    pub news: Map<NodeId, u32>,
    /// The probe under way.
    pub probe: Option<Probe>,
    /// Who has had its turn.
    pub round: NodeSet,
    /// The name of the last probe. A restart counts on from where no probe before it came.
    pub number: u64,
    /// Local health: 0 is best.
    pub health: u8,
    /// The last that each asked this member to ping in its stead.
    pub relays: Map<NodeId, Relay>,
}

impl Machine for Swim {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        let incarnation = durable.next;
        durable.next = incarnation.saturating_add(1);
        let mut volatile = Volatile {
            number: incarnation << 32,
            ..Volatile::default()
        };
        let others = self.others(self.members);
        let view = &mut volatile.view;
        view.extend(others.iter().map(|node| (node, Standing::alive(0))));
        view.insert(self.me, Standing::alive(incarnation));
        out.tell(Event::Began { incarnation });
        self.arm_turns(&volatile, out);
        for peer in self.others(self.seeds.difference(self.members)) {
            self.greet(&volatile, peer, out);
        }
        volatile
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Members { ticket } => {
                let standings = state.volatile.view.clone();
                out.tell(Event::Members { ticket, standings });
            }
            Call::Leave { ticket } => self.on_leave(state, ticket, out),
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if from == self.me || from.0 >= MEMBERS_MAX {
            return; // No other member sends this.
        }
        match message {
            Message::Ping {
                origin,
                number,
                standings,
            } => self.on_ping(state, from, origin, number, &standings, out),
            Message::PingRequest {
                target,
                number,
                standings,
            } => self.on_ping_request(state, from, target, number, &standings, out),
            Message::Ack {
                target,
                origin,
                number,
                standings,
            } => self.on_ack(state, from, target, origin, number, &standings, out),
            Message::Greeting { held, standings } => {
                self.hear(state, &standings, out);
                let standings = state.volatile.view.clone();
                out.send(from, Message::View { held, standings });
            }
            Message::View { held, standings } => {
                // Whoever has heard of it meanwhile does not wait for this.
                if held == state.volatile.view.get(&from).copied() {
                    self.hear(state, &standings, out);
                }
            }
            Message::Goodbye { standings } => self.hear(state, &standings, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Probe { peer, .. } => self.on_turn(state, peer, out),
            Timer::Direct { .. } => self.on_late(state, out),
            Timer::Indirect { .. } => self.on_no_answer(state, out),
            Timer::Suspicion { peer } => self.on_suspicion(state, peer, out),
            Timer::Greet { peer } => {
                if self.is_greeted(&state.volatile, peer) {
                    self.greet(&state.volatile, peer, out);
                }
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let period = Duration::from_millis(u64::from(self.period_ms.max(5)));
        // Lifeguard §III.A: who is slow itself waits longer before it finds fault with others.
        let stretched = |health: &u8| period * (u32::from(*health) + 1);
        let (start, width) = match timer {
            Timer::Probe { health, .. } => (stretched(health), stretched(health) / 5),
            Timer::Direct { health } => (stretched(health) / 5, period / 5),
            Timer::Indirect { health } => (stretched(health) * 2 / 5, period / 5),
            Timer::Suspicion { .. } => (period * self.suspicion_periods.clamp(1, 1_000), period),
            Timer::Greet { .. } => (period * self.greeting_periods.clamp(1, 1_000), period),
        };
        start..start + width
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile {
            view,
            news,
            probe,
            round,
            health,
            ..
        } = &state.volatile;
        let live = self.live(&state.volatile);
        let mine = view.get(&self.me);
        let targets = probe.iter().map(|probe| probe.target);
        mine.is_some_and(|mine| {
            mine.incarnation < state.durable.next || mine.incarnation == u64::MAX
        }) && *health <= self.health_max
            && (targets.chain(*round)).all(|node| live.contains(node))
            && news.iter().all(|(node, left)| {
                *node != self.me && view.contains_key(node) && (1..=self.news_pings).contains(left)
            })
    }
}

impl Swim {
    /// Within how many milliseconds a member that crashed is held dead by each of `others` others that run,
    /// if their alarms ring when they may: each finds out for itself, whether or not it hears of it.
    ///
    /// A round has a turn for each, and the one that crashed may have had its turn first in one and have it
    /// last in the next. A turn lasts longest when local health is worst and no answer comes: see
    /// [`Machine::delay`]. Then the suspicion has to stand.
    pub fn detection_ms_max(&self, others: u64) -> u64 {
        let period = u64::from(self.period_ms.max(5));
        let stretched = period.saturating_mul(u64::from(self.health_max) + 1);
        // To wait for the turn, then for the answer, then for an answer by others.
        let waits = stretched.saturating_mul(6 + 1 + 2) / 5;
        let turn = waits.saturating_add(period.saturating_mul(2) / 5);
        let turns = others.saturating_mul(2).saturating_sub(1);
        let suspicion = u64::from(self.suspicion_periods.clamp(1, 1_000)) + 1;
        (turn.saturating_mul(turns)).saturating_add(period.saturating_mul(suspicion))
    }

    /// Those of `nodes` that are others.
    fn others(&self, mut nodes: NodeSet) -> NodeSet {
        nodes.remove(self.me);
        nodes
    }

    /// Says good-bye.
    fn on_leave(&self, state: &mut State<Self>, ticket: u64, out: &mut Outbox<Self>) {
        let live = self.live(&state.volatile);
        let known: Vec<NodeId> = state.volatile.view.keys().copied().collect();
        for peer in known {
            out.disarm(Timer::Suspicion { peer });
            out.disarm(Timer::Greet { peer });
        }
        for peer in self.seeds {
            out.disarm(Timer::Greet { peer });
        }
        self.disarm_probe(live, out);
        let volatile = &mut state.volatile;
        volatile.probe = None;
        volatile.round = NodeSet::EMPTY;
        volatile.news = Map::new();
        if let Some(mine) = volatile.view.get_mut(&self.me) {
            mine.status = Status::Left;
        }
        let standings = self.about(&state.volatile, self.me);
        out.broadcast(live, &Message::Goodbye { standings });
        out.tell(Event::Left { ticket });
    }

    /// True once this member has said good-bye: it still answers, and asks nothing.
    fn has_left(&self, volatile: &Volatile) -> bool {
        let mine = volatile.view.get(&self.me);
        mine.is_some_and(|mine| mine.status == Status::Left)
    }
}
