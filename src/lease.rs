//! # Leases and fencing
//!
//! An *authority* grants a lease for a term: until it is over, nobody else gets one. A *holder* counts
//! the term from before it asked, on its own clock, and stops a little earlier than the authority ends
//! it, by as much as the two clocks may differ. So as long as they differ by no more, no two nodes
//! hold at once.
//!
//! That is not enough for what holders do, for a write may be under way while its sender stops, and a
//! clock may be worse than was assumed. So each lease has a *token*, an epoch that rises with every
//! lease, each write carries it, and the *resource* refuses a write whose token is smaller than one it
//! has accepted. That rests on no clock.
//!
//! - **Source.** Gray and Cheriton, *Leases: An Efficient Fault-Tolerant Mechanism for Distributed File
//!   Cache Consistency*, SOSP 1989, §2 and §5; Lampson, *How to Build a Highly Available System Using
//!   Consensus*, WDAG 1996, §8; Burrows, *The Chubby Lock Service for Loosely-Coupled Distributed
//!   Systems*, OSDI 2006, §2.4 (sequencers); Kleppmann, *How to do distributed locking*, 2016 (fencing).
//! - **Promises.** *one holder at a time*: no two nodes hold the lease at once, while no holder's clock
//!   loses more than is allowed on the authority's in a term. *each lease has a larger token* than all
//!   before it. *accepted tokens never fall*: the resource never accepts a smaller token than one that
//!   it has accepted. *holders do not interleave*: once a later holder has written, an earlier one no
//!   longer does. *only the deposed are refused*: the resource refuses a write only for a larger token
//!   that it has accepted. *a lease passes on*: whoever held it, and crashed or not, in the calm a
//!   node that alone asks gets it. *calls return*: in the calm, every call at a live node returns.
//! - **Assumes.** Disks keep what they acknowledged; nodes crash and restart, and do not lie. Of clocks,
//!   for *one holder at a time* alone: while the authority's counts a term `T`, a holder's counts at
//!   least `T` less the drift that was allowed, and an alarm rings no later than it may. A process that
//!   is paused past its alarm has a clock that is worse than that.
//! - **Leaves out.** Giving a lease back before it is over; reads of the resource; an authority of
//!   several nodes, which is a replicated log that this machine would be the commands of.
//! - **The textbook says.** `SplitBrainPrevention` and `LeaderFollowerReplication` (chapter 8) have
//!   neither leases nor tokens: a node that was put aside goes on writing, and what it had under way is
//!   applied after its successor's (`no_interleaving_falls_without_the_fence`).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod authority;
mod holder;
mod resource;

pub use authority::{Authority, Grant};
pub use holder::{Acquiring, Holder, Holding, Renewing, Writing};
pub use resource::Resource;

/// The longest value, in bytes: a write fits one datagram.
pub const VALUE_BYTES_MAX: usize = 768;

/// A fencing token: the number of a lease. No two have one; later leases have larger ones.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// A node's name for one of its requests. Later ones are larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// How often the node had booted.
    pub incarnation: u64,
    /// How many requests it had made since.
    pub number: u64,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.incarnation, self.number)
    }
}

/// One node: the authority, the resource, or one that may hold the lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// This node.
    pub me: NodeId,
    /// Who grants.
    pub authority: NodeId,
    /// What is fenced.
    pub resource: NodeId,
    /// Who may hold. Neither the authority nor the resource is among them.
    pub holders: NodeSet,
    /// The term `T` of a lease on the authority's clock, in milliseconds.
    pub term_ms: u64,
    /// By how much less a holder's clock may count in that time: `ρT`, in milliseconds. Less than the
    /// term.
    pub drift_ms: u64,
    /// How often one call to acquire asks, before it is given up.
    pub attempts: u32,
}

/// What a node is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It grants.
    Authority,
    /// It is written to.
    Resource,
    /// It may hold.
    Holder,
    /// None of these: it ignores everything.
    Stranger,
}

/// What the application asks of a holder. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Get the lease.
    Acquire {
        /// The caller's name for this call.
        ticket: u64,
    },
    /// Hold it for another term.
    Renew {
        /// The caller's name for this call.
        ticket: u64,
    },
    /// Write to the resource, as the holder.
    Write {
        /// The caller's name for this call.
        ticket: u64,
        /// What, at most [`VALUE_BYTES_MAX`] long.
        value: String,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// To the authority: a lease, from now on.
    Ask {
        /// The sender's name for this.
        request: Request,
        /// The lease that it holds and wants for longer; nothing, if it holds none.
        renews: Option<Epoch>,
    },
    /// From the authority: granted. The term began between the asking and now.
    Granted {
        /// What was asked.
        request: Request,
        /// The token.
        epoch: Epoch,
    },
    /// From the authority: another node has it.
    Denied {
        /// What was asked.
        request: Request,
    },
    /// To the resource: have this.
    Write {
        /// The token of the lease by which it is written.
        epoch: Epoch,
        /// Which write by that lease, from 1.
        number: u64,
        /// What.
        value: String,
    },
    /// From the resource: it has it.
    Written {
        /// The token.
        epoch: Epoch,
        /// Which write.
        number: u64,
    },
    /// From the resource: refused, for it has accepted a larger token.
    Fenced {
        /// The token that was too small.
        epoch: Epoch,
    },
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// At the authority: the term is over.
    Expire,
    /// At a holder: what this request may have brought is over, by the number of the request. It is
    /// armed when the request is first sent.
    Stop(u64),
    /// At a holder: a message or its answer may be lost.
    Retry,
    /// At a holder: it was denied, and asks again.
    Again,
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A holder begins to count a term, and asks for it.
    Asked {
        /// Its name for this.
        request: Request,
    },
    /// A holder holds.
    Held {
        /// By what it asked.
        request: Request,
        /// The token.
        epoch: Epoch,
    },
    /// A holder has counted enough: by this request it does not hold, or no longer.
    Stopped {
        /// Which.
        request: Request,
    },
    /// The authority began a lease.
    Leased {
        /// To whom.
        to: NodeId,
        /// What was asked.
        request: Request,
        /// The token.
        epoch: Epoch,
    },
    /// The authority gave a lease another term.
    Extended {
        /// To whom.
        to: NodeId,
        /// What was asked.
        request: Request,
    },
    /// At the authority the term is over.
    Expired {
        /// The token.
        epoch: Epoch,
    },
    /// The resource accepted a write.
    Accepted {
        /// Whose.
        from: NodeId,
        /// By which token.
        epoch: Epoch,
    },
    /// The resource refused a write.
    Refused {
        /// By which token.
        epoch: Epoch,
    },
    /// To the caller: what became of the call.
    Done {
        /// The caller's name for the call.
        ticket: u64,
        /// What.
        ending: Ending,
    },
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ending {
    /// The node holds, by this token.
    Acquired(Epoch),
    /// It holds for longer.
    Renewed,
    /// It does not, and will not by this call.
    GaveUp,
    /// The resource has it.
    Written,
    /// The resource refused it, for another node holds: this one no longer does. An earlier sending of
    /// the same write may have been accepted.
    Fenced,
    /// The lease was over before the resource answered: the write may have been made or not.
    Unknown,
    /// Nothing was done: the node does not hold the lease.
    NotHolding,
    /// Nothing was done: such a call is under way here, or the node holds already.
    Busy,
    /// Nothing was done: the value is longer than [`VALUE_BYTES_MAX`].
    TooLong,
    /// Nothing was done: this node may not hold.
    NoHolder,
}

/// What survives a crash. Each part of the protocol has its own; of the others it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often a holder booted, so that no request's name is used twice.
    pub incarnation: u64,
    /// What the authority keeps.
    pub authority: Authority,
    /// What the resource keeps.
    pub resource: Resource,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A holder booted for this time.
    Booted(u64),
    /// A lease began, was extended, or ended.
    Lease(Epoch, Option<Grant>),
    /// The last request of this node that was granted.
    Latest(NodeId, Request),
    /// The resource accepted a write.
    Write(Resource),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        let (ours, theirs) = (&self.authority, &older.authority);
        if (ours.epoch, &ours.grant) != (theirs.epoch, &theirs.grant) {
            changes.push(Change::Lease(ours.epoch, ours.grant.clone()));
        }
        let latest = ours.latest.changed_since(&theirs.latest);
        changes.extend(latest.map(|(node, request)| Change::Latest(*node, *request)));
        if self.resource != older.resource {
            changes.push(Change::Write(self.resource.clone()));
        }
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Lease(epoch, grant) => {
                self.authority.epoch = epoch;
                self.authority.grant = grant;
            }
            Change::Latest(node, request) => {
                self.authority.latest.insert(node, request);
            }
            Change::Write(resource) => self.resource = resource,
        }
    }
}

/// What a crash takes: all that a holder knows. The other parts keep nothing in memory alone.
pub type Volatile = Holder;

impl Machine for Lease {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        match self.part() {
            // A lease that it had granted runs for a whole term from now: it cannot know how much of it
            // had passed.
            Part::Authority if durable.authority.grant.is_some() => out.arm(Timer::Expire),
            Part::Holder => durable.incarnation = durable.incarnation.saturating_add(1),
            Part::Authority | Part::Resource | Part::Stranger => {}
        }
        Holder::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let (Call::Acquire { ticket } | Call::Renew { ticket } | Call::Write { ticket, .. }) = call;
        if self.part() != Part::Holder {
            out.tell(done(ticket, Ending::NoHolder));
            return;
        }
        let refusal = match call {
            Call::Acquire { .. } => self.acquire(state, ticket, out),
            Call::Renew { .. } => self.renew(state, ticket, out),
            Call::Write { value, .. } => self.write(state, ticket, value, out),
        };
        if let Err(refusal) = refusal {
            out.tell(done(ticket, refusal));
        }
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        let is_from_holder = self.holders.contains(from);
        match (self.part(), message) {
            (Part::Authority, Message::Ask { request, renews }) if is_from_holder => {
                Self::on_ask(state, from, request, renews, out);
            }
            (
                Part::Resource,
                Message::Write {
                    epoch,
                    number,
                    value,
                },
            ) if is_from_holder => Self::on_write(state, from, epoch, number, value, out),
            (Part::Holder, Message::Granted { request, epoch }) if from == self.authority => {
                Self::on_granted(state, request, epoch, out);
            }
            (Part::Holder, Message::Denied { request }) if from == self.authority => {
                Self::on_denied(state, request, out);
            }
            (Part::Holder, Message::Written { epoch, number }) if from == self.resource => {
                Self::on_written(state, epoch, number, out);
            }
            (Part::Holder, Message::Fenced { epoch }) if from == self.resource => {
                Self::on_fenced(state, epoch, out);
            }
            // Not for us, or not from who may say it.
            (
                Part::Authority | Part::Resource | Part::Holder | Part::Stranger,
                Message::Ask { .. }
                | Message::Granted { .. }
                | Message::Denied { .. }
                | Message::Write { .. }
                | Message::Written { .. }
                | Message::Fenced { .. },
            ) => {}
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Expire => Self::on_expire(state, out),
            Timer::Stop(number) => Self::on_stop(state, number, out),
            Timer::Retry => self.on_retry(state, out),
            Timer::Again => self.on_again(state, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let term = self.term_ms.max(1);
        let moment = (term / 10).max(1);
        let (from, to) = match timer {
            // No sooner than after the term, and no later than after T(1 - ρ). An adapter that rings
            // late breaks the second: the margin before it is for that.
            Timer::Expire => (term, term.saturating_add(moment)),
            Timer::Stop(_) => {
                let end = term.saturating_sub(self.drift_ms).max(1);
                (end.saturating_sub(moment), end)
            }
            Timer::Retry => (moment, moment.saturating_mul(2)),
            Timer::Again => (term, term.saturating_mul(2)),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let State { durable, volatile } = state;
        let is_part = |part| self.part() == part;
        durable.authority.holds()
            && volatile.holds()
            && (is_part(Part::Authority) || durable.authority == Authority::default())
            && (is_part(Part::Resource) || durable.resource == Resource::default())
            && (is_part(Part::Holder) || (durable.incarnation, volatile) == (0, &Holder::default()))
    }
}

impl Lease {
    /// What this node is.
    pub fn part(&self) -> Part {
        if self.me == self.authority {
            Part::Authority
        } else if self.me == self.resource {
            Part::Resource
        } else if self.holders.contains(self.me) {
            Part::Holder
        } else {
            Part::Stranger
        }
    }
}

fn done(ticket: u64, ending: Ending) -> Event {
    Event::Done { ticket, ending }
}
