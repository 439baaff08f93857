//! # Gossip
//!
//! A store of keys and values that every node has whole. A node answers each call at once, from what
//! it has, and tells the others later: now and then it compares notes with one of them, and whoever
//! lacks a write is given it (*anti-entropy*). What is new may also be passed on at once, from one who
//! heard it to the next, until it is news to nobody (*rumours*); rumours may miss somebody, and
//! anti-entropy then finds out.
//!
//! A write has a time, later than all that its node had heard of. So writes of one node are counted by
//! their times, one vector says which of all writes a node has seen, and that vector is the digest that
//! two nodes compare. Of two writes of a key either the later wins, by time and then by node; or both
//! stay, unless the one had been read by the client that wrote the other.
//!
//! A delete is a write too, of a *tombstone*, lest an older value come back from somebody who slept
//! through it. A tombstone goes once every member is known to have seen all writes up to its time: then
//! no write that it deletes is news to anyone, and a late copy is told by its time.
//!
//! - **Source.** Demers et al., *Epidemic Algorithms for Replicated Database Maintenance*, PODC 1987:
//!   §1.3 anti-entropy, §1.4 rumours, §2 death certificates; Golding, *Weak-Consistency Group
//!   Communication and Membership*, 1992, §5: summary vectors of times, and what everyone has
//!   acknowledged; Shapiro, Preguiça, Baquero, Zawirski, *Conflict-free Replicated Data Types*, SSS 2011:
//!   strong eventual consistency.
//! - **Promises.** *same writes, same state*: what a node shows is a function of the writes that it has
//!   been told of, in whatever order. *nothing is lost*: of those, each is shown unless superseded, and
//!   an answered write is told to its node first. *no resurrection*: nothing superseded or deleted is
//!   shown again. *effects win*: a write supersedes whatever its client had read or written at its node.
//!   *answers do not go back*: what a node answers is never older than what it answered before, a
//!   restart between the two notwithstanding. *answers at once*: no call waits. *recovery*: once every
//!   node is up and the network calm, all have seen the same and show the same, and no tombstone is left.
//! - **Assumes.** The members are known, at most [`MEMBERS_MAX`]. A disk keeps what it acknowledged;
//!   members crash and restart, and do not lie. A context that a client returns is one that it was
//!   given. Of the network and of time, nothing: but a member that stays away stays all tombstones.
//! - **Leaves out.** *reads of a client do not go back*: a client that moves from node to node may read
//!   an older value than before (`reads_of_a_client_go_back_when_it_moves`); see `causal` for what
//!   that takes. Also left out: changing the members; acknowledgements passed on by others; hashes of
//!   subtrees, for stores that are too large to be looked through.
//! - **The textbook says.** `EventualConsistencyStore` (chapter 8, eventual consistency): orders
//!   writes by a count that each node keeps for itself, so that a busy node's old write beats a newer one
//!   (`effects_win_falls_when_busy_writers_win`), and by the time of arrival or not at all between equal
//!   counts (`same_state_falls_without_a_tie_break`); deletes without a tombstone
//!   (`no_resurrection_falls_without_tombstones`); keeps nothing on disk
//!   (`answers_do_not_go_back_falls_when_nothing_is_kept`); reads at whichever node answers
//!   (`reads_of_a_client_go_back_when_it_moves`).

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Dot, Vector, Version};
use crate::data::{Map, NodeSet};
use crate::machine::{Machine, NodeId, Outbox, State};

mod exchange;
mod rumours;
mod store;

pub use exchange::{BATCH_BYTES_MAX, Cursor, Exchange};
pub use rumours::HOT_MAX;
pub use store::{
    Cell, Change, Durable, KEY_BYTES_MAX, MEMBERS_MAX, SIBLINGS_MAX, VALUE_BYTES_MAX, stamp,
};

/// What values are kept under.
pub type Key = String;
/// What is written: a value, or a tombstone.
pub type Value = Option<String>;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gossip {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub members: NodeSet,
    /// What becomes of two writes of one key.
    pub conflicts: Conflicts,
    /// How two nodes compare notes. If they do not, rumours may miss somebody.
    pub exchange: Option<Exchange>,
    /// How many versions one message carries at most; their bytes are bounded too.
    pub batch_max: u32,
    /// To how many members a write must turn out to be no news before it is no rumour any more. 0:
    /// none are spread.
    pub interest: u32,
}

/// What becomes of two writes of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Conflicts {
    /// The one with the larger [`stamp`] stays.
    LastWriterWins,
    /// Both stay, unless the client of one had read the other.
    Siblings,
}

impl Conflicts {
    /// True if `new` supersedes `old`, a version of the same key.
    pub fn is_superseded(self, old: &Version<Value>, new: &Version<Value>) -> bool {
        match self {
            Self::LastWriterWins => stamp(old.dot) < stamp(new.dot),
            Self::Siblings => new.overwrites(old),
        }
    }
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let the key have this value.
    Put {
        /// The caller's name for this call.
        ticket: u64,
        /// The key, at most [`KEY_BYTES_MAX`] long.
        key: Key,
        /// The value, at most [`VALUE_BYTES_MAX`] long.
        value: String,
        /// What it overwrites.
        over: Over,
    },
    /// Let the key have no value.
    Delete {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: Key,
        /// What it deletes.
        over: Over,
    },
    /// Which values has the key?
    Get {
        /// The caller's name for this call.
        ticket: u64,
        /// The key.
        key: Key,
    },
}

/// What a write overwrites. Where the last writer wins it overwrites all, and this says only what it
/// is to be later than.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Over {
    /// What the node has of the key.
    Here,
    /// What a client has read, by the context that it got; the empty one is of a client that has read
    /// nothing.
    Read(Vector),
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// So far have I seen.
    Digest {
        /// What the sender asks for by that.
        exchange: Exchange,
        /// How far.
        seen: Vector,
        /// How far it has got in what it was given in answer before.
        resume: Option<Cursor>,
    },
    /// This is what you lack.
    Delta {
        /// What the receiver had seen when it asked.
        question: Vector,
        /// What it will have seen with this and what follows.
        upto: Vector,
        /// The versions, by key and dot.
        versions: Vec<(Key, Version<Value>)>,
        /// The last of them, if more follow.
        more: Option<(Key, Dot)>,
    },
    /// Have you heard?
    Rumour {
        /// Of which key.
        key: Key,
        /// What it is about.
        context: Vector,
    },
    /// I had.
    Known {
        /// Of which key.
        key: Key,
        /// What.
        context: Vector,
    },
    /// No: tell me.
    Ask {
        /// Of which key.
        key: Key,
    },
    /// It is this.
    Tell {
        /// Of which key.
        key: Key,
        /// All that is known of it.
        cell: Cell,
    },
}

/// A node's alarms. Whose rings first is whom the node talks to: the choice of a peer is a race.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Compare notes with this one.
    Gossip(NodeId),
    /// Tell this one what is new.
    Rumour(NodeId),
}

/// What an observer learns: the replies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The put or the delete took effect at this node, and its disk has it.
    Done {
        /// The caller's name for the call.
        ticket: u64,
        /// The write's name, and its time.
        dot: Dot,
        /// What it overwrites; where the last writer wins, that is not said.
        past: Vector,
    },
    /// The get returned.
    Got {
        /// The caller's name for the call.
        ticket: u64,
        /// The values, in the order of their dots; none if nobody wrote, or the last one deleted.
        values: Vec<String>,
        /// What the caller has read, to go with its next write of this key.
        context: Vector,
    },
    /// The call was not begun, and will have no effect.
    Refused {
        /// The caller's name for the call.
        ticket: u64,
        /// Why not.
        refusal: Refusal,
    },
}

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The key or the value is longer than a datagram can carry.
    TooLong,
    /// The context names a node that is no member: nobody was given it.
    Stranger,
    /// The key has [`SIBLINGS_MAX`] values that the caller has not read. Read them, and write again.
    Crowded,
    /// There is no later time.
    Exhausted,
}

/// What a crash takes: what a node will hear again.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// Of each other member, up to what time it is known to have seen everyone's writes.
    pub heard: Map<NodeId, u64>,
    /// Up to what time everyone is, as far as this node knows. Older tombstones are gone.
    pub stable: u64,
    /// How far it has got in what each is giving it, where that takes several messages.
    pub resume: Map<NodeId, Cursor>,
    /// The keys of which there is a rumour, and to whom it was no news.
    pub hot: Map<Key, NodeSet>,
}

impl Machine for Gossip {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.exchange.is_some() {
            for peer in self.peers() {
                out.arm(Timer::Gossip(peer));
            }
        }
        Volatile {
            stable: self.stable(durable, &Map::new()),
            ..Volatile::default()
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        match call {
            Call::Put {
                ticket,
                key,
                value,
                over,
            } => self.on_write(state, ticket, key, Some(value), over, out),
            Call::Delete { ticket, key, over } => {
                self.on_write(state, ticket, key, None, over, out);
            }
            Call::Get { ticket, key } => {
                let values = state.durable.values(&key);
                let context = state.durable.cell(&key).context();
                out.tell(Event::Got {
                    ticket,
                    values,
                    context,
                });
            }
        }
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
            Message::Digest {
                exchange,
                seen,
                resume,
            } => self.on_digest(state, from, exchange, &seen, resume, out),
            Message::Delta {
                question,
                upto,
                versions,
                more,
            } => self.on_delta(state, from, &question, upto, versions, more, out),
            Message::Rumour { key, context } => Self::on_rumour(state, from, key, context, out),
            Message::Known { key, context } => self.on_known(state, from, &key, &context, out),
            Message::Ask { key } => Self::on_ask(state, from, key, out),
            Message::Tell { key, cell } => self.on_tell(state, from, key, &cell, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Gossip(peer) => {
                if let Some(exchange) = self.exchange {
                    out.arm(Timer::Gossip(peer));
                    Self::ask(state, peer, exchange, out);
                }
            }
            Timer::Rumour(peer) => Self::spread(state, peer, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let (from, to) = match timer {
            Timer::Rumour(_) => (50, 200),
            Timer::Gossip(_) => (500, 2_000),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable { seen, cells } = &state.durable;
        let Volatile {
            heard,
            stable,
            resume,
            hot,
        } = &state.volatile;
        let clock = seen.get(self.me);
        *stable == self.stable(&state.durable, heard)
            && clock == store::latest(seen)
            && hot.len() <= HOT_MAX
            && hot.keys().all(|key| cells.contains_key(key))
            && (heard.keys().chain(resume.keys())).all(|peer| self.peers().contains(*peer))
            && cells.values().all(|cell| {
                let versions = cell.versions();
                let alone = versions.len() == 1 || self.conflicts == Conflicts::Siblings;
                alone
                    && !versions.is_empty()
                    && versions.iter().all(|version| {
                        let time = version.dot.counter;
                        time <= clock && (version.value.is_some() || *stable < time)
                    })
            })
    }
}

impl Gossip {
    /// The other members.
    pub fn peers(&self) -> NodeSet {
        let mut peers = self.members;
        peers.remove(self.me);
        peers
    }

    /// A client writes. Nobody else is asked.
    fn on_write(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: Key,
        value: Value,
        over: Over,
        out: &mut Outbox<Self>,
    ) {
        if let Some(refusal) = self.refusal(&state.durable, &key, &value, &over) {
            out.tell(Event::Refused { ticket, refusal });
            return;
        }
        let written = (state.durable).write(self.me, self.conflicts, key.clone(), value, over);
        let Ok((dot, past)) = written else {
            let refusal = Refusal::Exhausted;
            out.tell(Event::Refused { ticket, refusal });
            return;
        };
        // This leaves the node when the disk has the write, and no sooner: see `Sealed`.
        out.tell(Event::Done { ticket, dot, past });
        self.kindle(state, key, out);
        self.collect(state);
    }

    fn refusal(&self, durable: &Durable, key: &str, value: &Value, over: &Over) -> Option<Refusal> {
        if store::too_long(key, value.as_deref().unwrap_or_default()) {
            return Some(Refusal::TooLong);
        }
        let Over::Read(context) = over else {
            return None; // It overwrites all that is here.
        };
        if !store::is_of(context, self.members) {
            return Some(Refusal::Stranger);
        }
        let cell = durable.cell(key);
        let unread = (cell.versions().iter()).filter(|version| !context.covers(version.dot));
        let is_crowded = self.conflicts == Conflicts::Siblings && SIBLINGS_MAX <= unread.count();
        is_crowded.then_some(Refusal::Crowded)
    }

    /// Up to what time whoever has seen so much has seen everyone's writes.
    pub fn horizon(&self, seen: &Vector) -> u64 {
        let times = self.members.iter().map(|member| seen.get(member));
        times.min().unwrap_or(0)
    }

    /// Up to what time everyone is known to have seen everyone's writes.
    fn stable(&self, durable: &Durable, heard: &Map<NodeId, u64>) -> u64 {
        let others = (self.peers().iter()).map(|peer| heard.get(&peer).copied().unwrap_or(0));
        others.fold(self.horizon(&durable.seen), u64::min)
    }

    /// Another member is known to have seen so much.
    fn hear(&self, state: &mut State<Self>, from: NodeId, seen: &Vector) {
        let horizon = self.horizon(seen);
        if state.volatile.heard.get(&from).copied().unwrap_or(0) < horizon {
            state.volatile.heard.insert(from, horizon);
        }
    }

    /// Forgets what everyone has seen deleted. §2: a death certificate may go once every node has it;
    /// and here, everything that it deletes.
    fn collect(&self, state: &mut State<Self>) {
        let stable = self.stable(&state.durable, &state.volatile.heard);
        if stable <= state.volatile.stable {
            return;
        }
        state.volatile.stable = stable;
        state.durable.collect(stable);
        let State { durable, volatile } = state;
        volatile
            .hot
            .retain(|key, _| durable.cells.contains_key(key));
    }
}
