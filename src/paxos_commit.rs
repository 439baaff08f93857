//! # Paxos Commit
//!
//! Atomic commit that nobody's death can block. As in two-phase commit, the *coordinator* of a transaction
//! asks every *participant* to prepare, and a participant that can commit writes that down, with its
//! locks, and is bound by it. But the votes do not go to one node that decides. Each is agreed upon by
//! 2F + 1 *acceptors*, in an instance of Paxos of its own: the transaction commits if in every instance
//! *prepared* is chosen, and aborts if in one *aborted* is. Whoever hears what F + 1 acceptors have accepted
//! knows the outcome.
//!
//! *Ballot 0* of an instance is its participant's, which proposes its vote to the acceptors without asking
//! first whether anything was accepted before, for in ballot 0 nobody else proposes. Nothing more is
//! needed if all goes well, and the acceptors' answers are as few as votes would be: one for all
//! instances. A coordinator that waits too long, and a participant in doubt, *leads*: it begins a higher
//! ballot of all instances at once, asks the acceptors to promise that they accept nothing in a lower
//! one, and proposes in each instance what was accepted in the highest ballot; where nothing was, that
//! the participant aborted. Any number of nodes may lead at once, and of those who wait it is chance who
//! begins: they may overtake each other, but they cannot disagree.
//!
//! So there is no commit record, and no question how it ended. The acceptors' disks hold the decision,
//! whoever made it, and who has not heard of it leads, and finds it. With one acceptor, F = 0, this is
//! two-phase commit, in which everything depends on that one.
//!
//! - **Source.** Gray and Lamport, *Consensus on Transaction Commit*, ACM TODS 31(1), 2006, §4. In each
//!   message a leader and an acceptor speak of all instances of a transaction, as §4.2 allows. Quorums
//!   need not be majorities: Howard, Malkhi, Spiegelman, *Flexible Paxos*, OPODIS 2016.
//! - **Promises.** By their names in Babaoğlu and Toueg, *Non-Blocking Atomic Commitment*, 1993.
//!   *AC1 agreement*: no two nodes decide differently. *AC2 unanimity*: a commit is decided only if
//!   every participant voted yes. *AC3 no abort without a cause*: an abort is decided only if somebody
//!   voted no, timed out or crashed. *AC4 decisions are stable*: who has decided does not decide
//!   otherwise, nor votes again. *AC5 non-blocking*: every participant that stays up decides, whoever
//!   else stays down, if only F acceptors do. *one lock per key*: no two transactions in doubt write one
//!   key of a node. *one order*: two transactions that meet at two nodes take effect in the same order at
//!   both. *recovery*: once every node is up and the network calm, every participant decides, and
//!   nothing stays locked. *calls return*: in the calm, every call at a live node returns.
//! - **Assumes.** A disk keeps what it acknowledged; nodes crash and restart, and do not lie. Of the
//!   network and of time nothing, but that for AC5 and in the calm nodes that lead do not overtake each
//!   other for ever: they wait for different times.
//! - **Leaves out.** Forgetting: of each transaction an acceptor keeps two ballots and two sets of nodes,
//!   and a participant one word. Telling the participants first (*Faster Paxos Commit*, §4.3), which
//!   saves one delay for more messages. Reads; waiting for locks.
//! - **The textbook says.** Nothing of it: its store commits in two phases, has one fixed leader, and
//!   no word on that leader's death (`ac5_falls_when_one_node_alone_may_lead`). What else it gets wrong
//!   is in [`crate::commit`]; of that, its locks (`one_order_falls_when_prepare_locks_nothing`) and its
//!   abort by key (`ac3_falls_when_an_abort_names_a_key`) are wrong here as well.

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::commit::{
    BranchChange, Branches, Call, Event, Outcome, Transaction, VOTING_MAX, Vote, Writes, fits,
    refusal,
};
use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};
use crate::quorum::Quorums;

mod acceptor;
mod leader;

pub use acceptor::{Acceptance, Ballot, Values};
pub use leader::{Leading, Phase};

/// One node: the coordinator of what is asked of it, a participant in what others ask, a leader of
/// what takes too long, and perhaps an acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PaxosCommit {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub members: NodeSet,
    /// The acceptors, and how many are enough: to promise, the read quorum; to choose, the write
    /// quorum. They may be participants, too.
    pub acceptors: Quorums,
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// From the coordinator to a participant: can you commit this?
    Prepare {
        /// The transaction.
        transaction: Transaction,
        /// Who takes part.
        participants: NodeSet,
        /// What the receiver is to write.
        writes: Writes,
    },
    /// From a leader to the acceptors: promise to accept nothing in a lower ballot.
    Phase1a {
        /// The transaction.
        transaction: Transaction,
        /// The leader's ballot.
        ballot: Ballot,
    },
    /// From an acceptor: promised.
    Phase1b {
        /// The transaction.
        transaction: Transaction,
        /// The leader's ballot.
        ballot: Ballot,
        /// The highest ballot in which it has accepted anything.
        accepted: Ballot,
        /// What it accepted in it.
        values: Values,
    },
    /// From a leader, or in ballot 0 from a participant, to the acceptors: accept this.
    Phase2a {
        /// The transaction.
        transaction: Transaction,
        /// Who takes part.
        participants: NodeSet,
        /// The sender's ballot.
        ballot: Ballot,
        /// A value for each instance; in ballot 0, for the sender's.
        values: Values,
    },
    /// From an acceptor to the leader, in ballot 0 to the coordinator: accepted.
    Phase2b {
        /// The transaction.
        transaction: Transaction,
        /// The leader's ballot.
        ballot: Ballot,
        /// What it has accepted in it.
        values: Values,
    },
    /// From an acceptor to a leader: too late.
    Overtaken {
        /// The transaction.
        transaction: Transaction,
        /// The leader's ballot.
        ballot: Ballot,
        /// The round of the higher one that was promised.
        round: u64,
    },
    /// From who knows how it ended.
    Decision {
        /// The transaction.
        transaction: Transaction,
        /// Who takes part.
        participants: NodeSet,
        /// How it ended.
        outcome: Outcome,
    },
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// A coordinator's question to vote, or what answers it, may be lost.
    Retry(Transaction),
    /// It takes too long: a coordinator or a participant in doubt leads, or goes on leading.
    Lead(Transaction),
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often this node booted, so that no name of a transaction and no ballot is used twice.
    pub incarnation: u64,
    /// As an acceptor.
    pub acceptances: Map<Transaction, Acceptance>,
    /// As a participant.
    pub branches: Branches,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The node booted for this time.
    Booted(u64),
    /// What the acceptor knows of a transaction.
    Accepted(Transaction, Acceptance),
    /// Of a branch.
    Branch(BranchChange),
}

impl machine::Durable for Durable {
    type Change = Change;

    fn changes_since(&self, older: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.incarnation != older.incarnation {
            changes.push(Change::Booted(self.incarnation));
        }
        let acceptances = self.acceptances.changed_since(&older.acceptances);
        changes.extend(acceptances.map(|(name, acceptance)| Change::Accepted(*name, *acceptance)));
        let branches = self.branches.changes_since(&older.branches);
        changes.extend(branches.map(Change::Branch));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Accepted(transaction, acceptance) => {
                self.acceptances.insert(transaction, acceptance);
            }
            Change::Branch(change) => self.branches.apply(change),
        }
    }
}

/// What a crash takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volatile {
    /// The number of the next transaction.
    pub next: u64,
    /// The transactions that this node coordinates and does not know the outcome of.
    pub asked: Map<Transaction, Asked>,
    /// The ballots that it leads, or in ballot 0 listens to: of those, and of others in which it is a
    /// participant in doubt.
    pub leading: Map<Transaction, Leading>,
}

impl Volatile {
    /// True if the node coordinates the transaction and listens to ballot 0.
    fn listens(&self, transaction: Transaction) -> bool {
        let leading = self.leading.get(&transaction);
        leading.is_some_and(|leading| leading.ballot == Ballot::Zero)
    }
}

/// A transaction that its coordinator was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// The caller's name for it.
    pub ticket: u64,
    /// What is to be written where.
    pub branches: Map<NodeId, Writes>,
}

impl Asked {
    /// Who takes part.
    pub fn participants(&self) -> NodeSet {
        self.branches.keys().copied().collect()
    }
}

impl Machine for PaxosCommit {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        durable.incarnation = durable.incarnation.saturating_add(1);
        // Whoever coordinates a transaction may never return. Whoever is bound by it finds out.
        for transaction in durable.branches.in_doubt() {
            out.arm(Timer::Lead(transaction));
        }
        Volatile::default()
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let Call::Begin { ticket, branches } = call;
        if let Some(refusal) = refusal(self.members, state.volatile.asked.len(), &branches) {
            out.tell(Event::Refused { ticket, refusal });
            return;
        }
        let transaction = Transaction {
            coordinator: self.me,
            incarnation: state.durable.incarnation,
            number: state.volatile.next,
        };
        state.volatile.next += 1;
        let asked = Asked { ticket, branches };
        let listening = Leading::ballot_0(asked.participants());
        state.volatile.leading.insert(transaction, listening);
        state.volatile.asked.insert(transaction, asked);
        out.tell(Event::Begun {
            ticket,
            transaction,
        });
        out.arm(Timer::Retry(transaction));
        out.arm(Timer::Lead(transaction));
        self.ask(state, transaction, out);
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        message: Message,
        out: &mut Outbox<Self>,
    ) {
        match message {
            Message::Prepare {
                transaction,
                participants,
                writes,
            } => self.on_prepare(state, from, transaction, participants, &writes, out),
            Message::Phase1a {
                transaction,
                ballot,
            } => self.on_phase_1a(state, from, transaction, ballot, out),
            Message::Phase1b {
                transaction,
                ballot,
                accepted,
                values,
            } => self.on_phase_1b(state, from, transaction, ballot, (accepted, values), out),
            Message::Phase2a {
                transaction,
                participants,
                ballot,
                values,
            } => self.on_phase_2a(
                state,
                from,
                transaction,
                participants,
                (ballot, values),
                out,
            ),
            Message::Phase2b {
                transaction,
                ballot,
                values,
            } => self.on_phase_2b(state, from, transaction, ballot, values, out),
            Message::Overtaken {
                transaction,
                ballot,
                round,
            } => self.on_overtaken(state, from, transaction, ballot, round),
            Message::Decision {
                transaction,
                participants,
                outcome,
            } => self.on_decision(state, from, transaction, participants, outcome, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Retry(transaction) => {
                // Once it leads, no vote can come to count that has not been counted.
                if state.volatile.listens(transaction) {
                    out.arm(Timer::Retry(transaction));
                    self.ask(state, transaction, out);
                }
            }
            Timer::Lead(transaction) => self.lead(state, transaction, out),
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let (from, to) = match timer {
            Timer::Retry(_) => (100, 200),
            // Wide, so that of several who wait one begins and is done before the next.
            Timer::Lead(_) => (1_000, 2_000),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable {
            incarnation,
            acceptances,
            branches,
        } = &state.durable;
        let Volatile {
            next,
            asked,
            leading,
        } = &state.volatile;
        let is_mine = |ballot: Ballot| match ballot {
            Ballot::Zero => false,
            Ballot::Led {
                leader,
                incarnation: own,
                ..
            } => leader == self.me && own == *incarnation,
        };
        asked.len() <= VOTING_MAX
            && branches.locks_are_exclusive()
            && acceptances
                .values()
                .all(|one| one.accepted <= one.promised && one.values.is_sound())
            && asked.iter().all(|(name, asked)| {
                name.coordinator == self.me
                    && name.incarnation == *incarnation
                    && name.number < *next
                    && (leading.get(name))
                        .is_some_and(|leading| leading.participants == asked.participants())
            })
            // Nobody leads what does not concern it, and nobody goes on when it knows the outcome.
            && leading.iter().all(|(name, leading)| {
                (asked.contains_key(name) || branches.prepared(*name).is_some())
                    && (is_mine(leading.ballot) || asked.contains_key(name))
                    && leading.outcome(&self.acceptors).is_none()
            })
    }
}

impl PaxosCommit {
    /// The coordinator asks every participant to vote, the first time and again.
    fn ask(&self, state: &mut State<Self>, transaction: Transaction, out: &mut Outbox<Self>) {
        let Some(asked) = state.volatile.asked.get(&transaction).cloned() else {
            return;
        };
        let participants = asked.participants();
        for (to, writes) in &asked.branches {
            if !state.volatile.listens(transaction) {
                return; // Its own vote, or its own acceptance, has settled it.
            }
            let prepare = Message::Prepare {
                transaction,
                participants,
                writes: writes.clone(),
            };
            self.send(state, *to, prepare, out);
        }
    }

    /// A participant votes, the first time or again: it proposes its vote in ballot 0 of its instance.
    fn on_prepare(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        participants: NodeSet,
        writes: &Writes,
        out: &mut Outbox<Self>,
    ) {
        if from != transaction.coordinator {
            return; // Only its coordinator asks.
        }
        if !participants.contains(self.me) || !participants.is_subset(self.members) {
            return; // Not for us, or not about us alone.
        }
        if !fits(writes) {
            return; // No coordinator of ours asks this.
        }
        if let Some(outcome) = state.durable.branches.outcome(transaction) {
            // It knows how it ended, which is more than a vote.
            let decision = Message::Decision {
                transaction,
                participants,
                outcome,
            };
            return self.send(state, from, decision, out);
        }
        let branches = &mut state.durable.branches;
        let (vote, is_new) = branches.vote(transaction, participants, writes);
        if is_new {
            out.tell(Event::Voted { transaction, vote });
            match vote {
                // Once: were its delay to begin anew each time it is asked again, a coordinator that
                // gets nowhere would keep everybody from leading, and itself.
                Vote::Yes => out.arm(Timer::Lead(transaction)),
                // By voting no it has decided: nobody else can propose that it is prepared.
                Vote::No => out.tell(Event::Decided {
                    transaction,
                    outcome: Outcome::Abort,
                }),
            }
        }
        // §4.2: the participant sends the phase 2a messages of ballot 0. They leave when the disk has
        // the vote, and no sooner.
        let proposal = Message::Phase2a {
            transaction,
            participants,
            ballot: Ballot::Zero,
            values: Values::vote(self.me, vote),
        };
        self.broadcast(state, self.acceptors.members(), &proposal, out);
    }

    /// Whoever waits for the outcome hears it.
    fn on_decision(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        participants: NodeSet,
        outcome: Outcome,
        out: &mut Outbox<Self>,
    ) {
        if !self.members.contains(from) {
            return; // It takes part in nothing.
        }
        self.learn(state, transaction, participants, outcome, out);
    }

    /// The outcome is known. The node no longer waits for it.
    fn learn(
        &self,
        state: &mut State<Self>,
        transaction: Transaction,
        participants: NodeSet,
        outcome: Outcome,
        out: &mut Outbox<Self>,
    ) {
        let branches = &mut state.durable.branches;
        let takes_part = participants.contains(self.me) || branches.prepared(transaction).is_some();
        if takes_part && branches.decide(transaction, outcome) {
            out.tell(Event::Decided {
                transaction,
                outcome,
            });
        }
        if let Some(asked) = state.volatile.asked.remove(&transaction) {
            out.tell(Event::Done {
                ticket: asked.ticket,
                transaction,
                outcome,
            });
        }
        state.volatile.leading.remove(&transaction);
        out.disarm(Timer::Retry(transaction));
        out.disarm(Timer::Lead(transaction));
    }

    /// Sends a message. What a node has to say to itself, it hears at once.
    fn send(&self, state: &mut State<Self>, to: NodeId, message: Message, out: &mut Outbox<Self>) {
        if to == self.me {
            self.on_message(state, to, message, out);
        } else {
            out.send(to, message);
        }
    }

    /// Sends it to each of `nodes`, to itself last.
    fn broadcast(
        &self,
        state: &mut State<Self>,
        mut nodes: NodeSet,
        message: &Message,
        out: &mut Outbox<Self>,
    ) {
        let hears_itself = nodes.remove(self.me);
        out.broadcast(nodes, message);
        if hears_itself {
            self.send(state, self.me, message.clone(), out);
        }
    }
}
