//! # The CAP store
//!
//! A store of keys and values that every node has whole, and that its configuration makes consistent or
//! available. When the network is cut no setting is both: that is the theorem, and the checker shows it.
//!
//! **CP**: [`Setting::Leader`]. Whoever is asked leads, or first claims an *epoch* of its own, later
//! than any it has heard of. A member that joins an epoch helps no leader of an earlier one, and writes
//! that down before it says so. A leader that a majority has joined writes by letting a majority store;
//! what it wrote in its epoch it reads by letting a majority store the same again, so that it learns
//! whether it still leads; and what an earlier leader left it first asks a majority for, and writes anew.
//! A node that does not reach a majority refuses after a while, and says whether what it was asked for
//! may happen all the same.
//!
//! **AP**: [`Setting::AP`]. Every node answers at once, from what it has, without a message. Later it
//! tells the others, part by part and again and again, and of two versions of a key the one with the
//! later tag stays: by Lamport's clock, and between equal times by node.
//!
//! **Between them**: [`Setting::Leaderless`] says of how many nodes a get and a put must hear: its own,
//! a majority, or all. Local gets and local puts are AP. The CAP matrix of the models checks all nine.
//!
//! - **Source.** Gilbert and Lynch, *Brewer's Conjecture and the Feasibility of Consistent, Available,
//!   Partition-Tolerant Web Services*, SIGACT News 33(2), 2002. The epochs are the ballots of Lamport,
//!   *The Part-Time Parliament*, TOCS 16(2), 1998, one sequence of them for all keys; the levels those
//!   of Attiya, Bar-Noy, Dolev, *Sharing Memory Robustly in Message-Passing Systems*, JACM 42(1), 1995,
//!   with other numbers; the order of AP is that of Lamport, *Time, Clocks, and the Ordering of Events
//!   in a Distributed System*, CACM 21(7), 1978.
//! - **Promises.** Of CP: *linearizable*: each operation takes effect at one moment between call and
//!   return. *a minority never acknowledges*: what was answered is on the disks of a majority, or
//!   something later is. *what is refused for good has no effect*. *an epoch begins once*: no two
//!   elections are of one epoch. *a majority serves*: who hears a live majority and is heard by it
//!   answers, though a cut or a crash stands; of calls that come one at a time. *calls return*: in the
//!   calm, every call at a live node is answered or refused. Of AP: *answers alone*: every call at a live
//!   node is answered by that node, in the step in which it is asked. *acknowledged writes stay*: what
//!   was answered at a node is on its disk, or something later is. *answers do not go back*: what a node
//!   shows is never earlier in the declared order than what it answered before. *effects are later*: a
//!   write is later than whatever its node had answered. *convergence*: once every node is up and the
//!   network calm, all have the same. Of both: *a tag names one value*; *calls return at most once*.
//! - **Assumes.** The members are fixed, and every node is one. A disk keeps what it acknowledged;
//!   members crash and restart, and do not lie. Of the network and of time, nothing.
//! - **Leaves out.** CP is not *available*: a node that a cut leaves with a minority does not answer
//!   (`available_falls_for_cp_in_a_minority`). AP is not linearizable
//!   (`linearizable_falls_for_ap`), nor does it promise *read your writes* or that *reads of a client do
//!   not go back* to a client that moves (`read_your_writes_falls_for_ap_when_the_client_moves`). Neither
//!   is *linearizable and available* during a cut. Also left out: a leader that stays while others are
//!   asked, so that clients do well to ask one node; leases; forgetting tombstones, and digests instead
//!   of whole versions, for both of which see [`crate::gossip`].
//! - **The textbook says.** `DistributedNode`, `CPSystem` and `APSystem` (chapter 8, the CAP theorem).
//!   A majority of whoever is reachable (`a_minority_acknowledges_when_only_the_reachable_count`), or all
//!   of them (`read_your_writes_falls_when_all_means_all_that_are_reachable`);
//!   a write that is refused and stays (`refused_writes_take_effect_when_effects_are_denied`); a quorum
//!   read that counts nothing (`linearizable_falls_when_a_get_counts_nothing`) and writes nothing back
//!   (`linearizable_falls_without_write_back`); an absent key taken for a dead node
//!   (`a_majority_serves_falls_when_absence_is_no_answer`); an acknowledgement of what was discarded
//!   (`a_minority_acknowledges_when_what_is_discarded_counts`); a leader that is fixed
//!   (`a_majority_serves_falls_when_the_leader_is_fixed`); versions by a counter that no message
//!   advances (`effects_are_later_falls_with_local_counters`), or by the clock on the wall
//!   (`effects_are_later_falls_with_wall_clocks`), stored whatever is there
//!   (`acknowledged_writes_stay_falls_when_puts_do_not_compare`); ties that nothing breaks
//!   (`convergence_falls_without_a_tie_break`); one attempt to tell the others
//!   (`convergence_falls_when_others_are_told_once`); a list of reachable nodes that healing empties
//!   (`convergence_falls_when_healing_empties_the_group`); no tombstones
//!   (`answers_go_back_without_tombstones`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{Machine, NodeId, Outbox, State};

mod operation;
mod store;

pub use operation::Reign;
pub use store::{Change, Durable, Epoch, Tag, Version};

/// The longest key, in bytes: with the longest value it fits one datagram.
pub const KEY_BYTES_MAX: usize = 128;
/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 768;
/// How many bytes of versions one message of anti-entropy carries, unless the first has more.
pub const SPREAD_BYTES_MAX: usize = 900;
/// How many operations one node has under way at once before it refuses more.
pub const PENDING_MAX: usize = 1024;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cap {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub members: NodeSet,
    /// Which of its promises the cluster keeps when it cannot keep all.
    pub setting: Setting,
}

/// Which promises a cluster keeps when it cannot keep all. It is the same at every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Setting {
    /// One node leads at a time, and a majority must take part.
    Leader {
        /// How often one call may claim an epoch, at least once, before it is refused because others
        /// claim as well.
        claims_max: u32,
    },
    /// Nobody leads.
    Leaderless {
        /// Of how many nodes a get must hear.
        reads: Level,
        /// Of how many a put must hear. If it is one, nodes tell each other what they have.
        writes: Level,
    },
}

/// Of how many nodes each phase of an operation must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Of itself.
    Local,
    /// Of a majority of the members, itself among them.
    Quorum,
    /// Of every member.
    All,
}

impl Setting {
    /// Consistent: linearizable, and refused in a minority.
    pub const CP: Self = Self::Leader { claims_max: 8 };
    /// Available: answered by any node alone, and convergent.
    pub const AP: Self = Self::Leaderless {
        reads: Level::Local,
        writes: Level::Local,
    };
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let the key have this value.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
        /// The value, at most [`VALUE_BYTES_MAX`] long.
        value: String,
    },
    /// Let the key have no value.
    Delete {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
    },
    /// Which value has the key?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: String,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// What have you? And, where somebody leads: join my epoch.
    Ask {
        /// The sender's name for the operation.
        operation: Operation,
        /// The sender's epoch, or nobody's.
        epoch: Epoch,
        /// The key.
        key: String,
    },
    /// I have joined, and have this.
    Answer {
        /// The operation that asked.
        operation: Operation,
        /// What.
        version: Version,
    },
    /// Have this, unless you have something later.
    Store {
        /// The sender's name for the operation.
        operation: Operation,
        /// The key.
        key: String,
        /// The version to have; its tag has the sender's epoch, or nobody's.
        version: Version,
    },
    /// My disk has it, or something later.
    Stored {
        /// The operation that asked.
        operation: Operation,
    },
    /// I have joined a later epoch, and help you no more.
    Behind {
        /// The operation that asked.
        operation: Operation,
        /// Which.
        epoch: Epoch,
    },
    /// This is a part of what I have.
    Spread {
        /// By key.
        versions: Vec<(String, Version)>,
    },
}

/// A node's name for one operation, never used twice: answers to another operation, from before a
/// restart too, are told apart by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Operation {
    /// How often the node had booted.
    pub incarnation: u64,
    /// A count within the incarnation.
    pub number: u64,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.incarnation, self.number)
    }
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The operation of this number is not over: its question, or the answers, may be lost.
    Retry(u64),
    /// It has not been over for a long time.
    GiveUp(u64),
    /// Tell this node what is here.
    Spread(NodeId),
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A majority has joined this node's epoch.
    Elected {
        /// Which.
        epoch: Epoch,
    },
    /// The put or the delete took effect.
    Done {
        /// The caller's name for the call.
        ticket: u64,
        /// Its place in the declared order.
        tag: Tag,
    },
    /// The get returned.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// The place of what it found.
        tag: Tag,
        /// The value, or nothing if nobody wrote or the last one deleted.
        value: Option<String>,
    },
    /// The call was not done.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
        /// Whether it may happen all the same.
        effect: Effect,
    },
}

/// Why a call was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// [`PENDING_MAX`] operations are under way at this node.
    Busy,
    /// The key or the value is longer than a datagram can carry.
    TooLong,
    /// As many nodes as it takes were not heard of in time.
    Unavailable,
    /// Other nodes claimed later epochs, again and again. To try again may help.
    Deposed,
}

/// What may come of a call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Nothing, ever.
    None,
    /// It may have been done, or may be yet, or never: some node may have stored it.
    Unknown,
}

/// What a crash takes. The callers of the operations under way will not hear of them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// Whether this node leads.
    pub reign: Reign,
    /// The number of the next operation.
    pub next: u64,
    /// The operations under way, by number.
    pub pending: Map<u64, Pending>,
    /// Of each node that was told a part of what is here, the last key of that part.
    pub spread: Map<NodeId, String>,
}

/// One operation under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pending {
    /// The caller's name for it.
    pub ticket: u64,
    /// The key.
    pub key: String,
    /// What was asked.
    pub goal: Goal,
    /// How often it may claim another epoch.
    pub claims_left: u32,
    /// The epoch it asks in.
    pub epoch: Epoch,
    /// How far it is.
    pub phase: Phase,
    /// While it asks: the latest answer so far. While it stores: what is being stored.
    pub version: Version,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Goal {
    /// To write this; nothing is a tombstone.
    Put(Option<String>),
    /// To read.
    Get,
}

/// The two phases of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Others are asked what they have.
    Ask {
        /// Who answered.
        answered: NodeSet,
        /// Whose answer was the latest version.
        holders: NodeSet,
    },
    /// Others are told what to have.
    Store {
        /// Who is known to have the version, or a later one, on disk.
        stored: NodeSet,
    },
}

impl Machine for Cap {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        durable.incarnation = durable.incarnation.saturating_add(1);
        if self.spreads() {
            for peer in self.peers() {
                out.arm(Timer::Spread(peer));
            }
        }
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (ticket, key, goal) = match call {
            Call::Put { ticket, key, value } => (ticket, key, Goal::Put(Some(value))),
            Call::Delete { ticket, key } => (ticket, key, Goal::Put(None)),
            Call::Get { ticket, key } => (ticket, key, Goal::Get),
        };
        if let Some(refusal) = refusal(&state.volatile, &key, &goal) {
            let effect = Effect::None;
            out.tell(Event::Refused {
                ticket,
                refusal,
                effect,
            });
            return;
        }
        let claims_left = self.claims_max().saturating_sub(1);
        self.begin(state, Pending::new(ticket, key, goal, claims_left), out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        if !self.peers().contains(from) {
            return; // Members tell members alone.
        }
        match message {
            Message::Ask {
                operation,
                epoch,
                key,
            } => self.on_ask(state, from, operation, epoch, &key, out),
            Message::Store {
                operation,
                key,
                version,
            } => self.on_store(state, from, operation, &key, &version, out),
            Message::Answer { operation, version } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_answer(state, from, operation.number, version, out);
                }
            }
            Message::Stored { operation } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_stored(state, from, operation.number, out);
                }
            }
            Message::Behind { operation, epoch } => {
                if operation.incarnation == state.durable.incarnation {
                    self.on_behind(state, operation.number, epoch, out);
                }
            }
            Message::Spread { versions } => self.on_spread(state, &versions),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Retry(number) => {
                if self.retry(state, number, out) {
                    out.arm(Timer::Retry(number));
                    self.send(state, number, out);
                }
            }
            Timer::GiveUp(number) => Self::give_up(state, number, out),
            Timer::Spread(peer) => Self::spread(state, peer, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let (from, to) = match timer {
            Timer::Retry(_) => (100, 200),
            Timer::Spread(_) => (500, 2_000),
            Timer::GiveUp(_) => (1_000, 1_200),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Volatile {
            reign,
            next,
            pending,
            spread,
        } = &state.volatile;
        let epoch = state.durable.epoch;
        let led = match self.setting {
            Setting::Leader { .. } => *reign == Reign::Follows || epoch.leader == Some(self.me),
            Setting::Leaderless { .. } => *reign == Reign::Follows && epoch == Epoch::default(),
        };
        led && state.durable.is_sound()
            && pending.len() <= PENDING_MAX
            && (spread.keys()).all(|peer| self.spreads() && self.peers().contains(*peer))
            && (pending.iter())
                .all(|(number, pending)| number < next && self.is_sound(pending, epoch))
    }
}

impl Cap {
    /// The other members.
    pub fn peers(&self) -> NodeSet {
        let mut peers = self.members;
        peers.remove(self.me);
        peers
    }

    /// True if nodes tell each other what they have.
    pub fn spreads(&self) -> bool {
        match self.setting {
            Setting::Leader { .. } => false,
            Setting::Leaderless { writes, .. } => writes == Level::Local,
        }
    }

    /// How often a call may claim an epoch: never, where nobody leads.
    fn claims_max(&self) -> u32 {
        match self.setting {
            Setting::Leader { claims_max } => claims_max.max(1),
            Setting::Leaderless { .. } => 0,
        }
    }
}

fn refusal(volatile: &Volatile, key: &str, goal: &Goal) -> Option<Refusal> {
    let value = match goal {
        Goal::Put(value) => value.as_deref().unwrap_or_default(),
        Goal::Get => "",
    };
    if store::too_long(key, value) {
        return Some(Refusal::TooLong);
    }
    (volatile.pending.len() >= PENDING_MAX).then_some(Refusal::Busy)
}
