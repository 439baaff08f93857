//! # Two-phase commit
//!
//! A transaction writes keys at several nodes, at all of them or at none. Its *coordinator* asks every
//! *participant* to prepare. A participant that can commit writes that down, with its locks, and votes
//! yes; from then on it is bound, and may not end the transaction by itself. If all vote yes the
//! coordinator writes down that it commits, which is the moment of the decision, and says so; in every
//! other case it aborts.
//!
//! Whoever is not told presumes: a coordinator that has no record of a commit answers that the
//! transaction aborted. So an abort is never written by the coordinator nor acknowledged, and only the
//! commit record is forced; it is kept until everyone has acknowledged it. A participant that waits too
//! long asks the coordinator and the other participants: one who knows the outcome says it; one who has
//! not voted aborts, and remembers that it did; one who is in doubt itself cannot help.
//!
//! - **Source.** Gray, *Notes on Data Base Operating Systems*, 1978; Mohan, Lindsay, Obermarck,
//!   *Transaction Management in the R\* Distributed Database Management System*, TODS 11(4), 1986
//!   (presumed abort); Bernstein, Hadzilacos, Goodman, *Concurrency Control and Recovery in Database
//!   Systems*, 1987, §7.4 (cooperative termination).
//! - **Promises.** By their names in Babaoğlu and Toueg, *Non-Blocking Atomic Commitment*, 1993.
//!   *AC1 agreement*: no two nodes decide differently. *AC2 unanimity*: a commit is decided only if
//!   every participant voted yes. *AC3 no abort without a cause*: an abort is decided only if somebody
//!   voted no, timed out or crashed. *AC4 decisions are stable*: who has decided does not decide
//!   otherwise, nor votes again. *one lock per key*: no two transactions in doubt write one key of a
//!   node. *one order*: two transactions that meet at two nodes take effect in the same order at both.
//!   *recovery*: once every node is up and the network calm, every participant decides, and nothing
//!   stays locked. *termination*: the same on every fair run, one on which nothing that could happen all
//!   the time is put off for ever. *calls return*: in the calm, every call at a live node returns.
//! - **Assumes.** A disk keeps what it acknowledged; nodes crash and restart, and do not lie. Of the
//!   network and of time, nothing.
//! - **Leaves out.** *AC5 non-blocking*: every participant that stays up decides. Two-phase commit does
//!   not promise it, and no protocol in which one node decides can: when all participants have voted
//!   yes and the coordinator is dead, nobody knows whether it had decided, and their locks stay
//!   (`ac5_falls_when_the_coordinator_stays_dead`). Paxos Commit (Gray and Lamport, TODS 31(1), 2006)
//!   does promise it. Also left out:
//!   reads; waiting for locks; forgetting outcomes, of which a participant keeps one word for each
//!   transaction, for a delayed question could come at any time.
//! - **The textbook says.** `StrongConsistencyStore` (chapter 8, strong consistency): asks only those
//!   who seem healthy, so that it may commit alone (`ac2_falls_when_only_the_healthy_are_asked`); a
//!   prepare that keeps no vote (`ac4_falls_when_prepare_keeps_no_vote`) and no lock
//!   (`one_order_falls_when_prepare_locks_nothing`); a commit that ignores the replies, and is never
//!   said again (`recovery_falls_when_the_decision_is_said_once`); no record of the decision
//!   (`ac1_falls_when_the_commit_record_is_not_forced`); an abort by key, which hits whichever
//!   transaction holds it (`ac3_falls_when_an_abort_names_a_key`).

use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Map, NodeSet};
use crate::machine::{self, Machine, NodeId, Outbox, State};

mod branches;

pub(crate) use branches::fits;
pub use branches::{
    BRANCH_BYTES_MAX, BRANCH_KEYS_MAX, Branch, BranchChange, Branches, Outcome, Transaction, Vote,
    Writes,
};

/// How many transactions one node decides upon at once before it refuses more.
pub const VOTING_MAX: usize = 1024;

/// One node: the coordinator of what is asked of it, and a participant in what others ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    /// This node.
    pub me: NodeId,
    /// All nodes.
    pub members: NodeSet,
}

/// What the application asks. The ticket is the caller's; the answering event repeats it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// Let all of this happen, or nothing.
    Begin {
        /// The caller's name for this call.
        ticket: u64,
        /// What is to be written at which node.
        branches: Map<NodeId, Writes>,
    },
}

/// What travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Message {
    /// From the coordinator: can you commit this?
    Prepare {
        /// The transaction.
        transaction: Transaction,
        /// Who takes part.
        participants: NodeSet,
        /// What the receiver is to write.
        writes: Writes,
    },
    /// From a participant: yes or no.
    Vote {
        /// The transaction.
        transaction: Transaction,
        /// Which.
        vote: Vote,
    },
    /// From who knows how it ended.
    Decision {
        /// The transaction.
        transaction: Transaction,
        /// How.
        outcome: Outcome,
    },
    /// From a participant: my disk has the commit.
    Acknowledge {
        /// The transaction.
        transaction: Transaction,
    },
    /// From a participant in doubt: how did it end?
    Inquire {
        /// The transaction.
        transaction: Transaction,
    },
}

/// A node's alarms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// A coordinator's question or its decision, or what answers it, may be lost.
    Retry(Transaction),
    /// A coordinator has waited long enough for votes.
    TimeOut(Transaction),
    /// A participant has waited long enough for the decision.
    Inquire(Transaction),
}

/// What an observer learns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The call has become a transaction.
    Begun {
        /// The caller's name for the call.
        ticket: u64,
        /// The transaction.
        transaction: Transaction,
    },
    /// A participant voted.
    Voted {
        /// The transaction.
        transaction: Transaction,
        /// How.
        vote: Vote,
    },
    /// A participant decided. A commit has taken effect there.
    Decided {
        /// The transaction.
        transaction: Transaction,
        /// What.
        outcome: Outcome,
    },
    /// The node would not wait any longer.
    TimedOut {
        /// The transaction.
        transaction: Transaction,
    },
    /// To the caller: the coordinator decided, or learned what was decided.
    Done {
        /// The caller's name for the call.
        ticket: u64,
        /// The transaction.
        transaction: Transaction,
        /// What.
        outcome: Outcome,
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
    /// [`VOTING_MAX`] transactions are under way at this node.
    Busy,
    /// It has no branches.
    Empty,
    /// A branch is of a node that is no member.
    Stranger,
    /// A branch has more than [`BRANCH_KEYS_MAX`] keys or [`BRANCH_BYTES_MAX`] bytes.
    TooLong,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// How often this node booted, so that no transaction's name is used twice.
    pub incarnation: u64,
    /// As a coordinator: the commit records, with the participants elsewhere. Each is here from the
    /// decision until all of them have acknowledged it.
    pub commits: Map<Transaction, NodeSet>,
    /// As a participant.
    pub branches: Branches,
}

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// The node booted for this time.
    Booted(u64),
    /// The commit record.
    Commit(Transaction, NodeSet),
    /// Everyone has acknowledged the commit.
    End(Transaction),
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
        let commits = self.commits.changed_since(&older.commits);
        changes.extend(commits.map(|(name, others)| Change::Commit(*name, *others)));
        let ended = (older.commits.keys()).filter(|name| !self.commits.contains_key(*name));
        changes.extend(ended.map(|name| Change::End(*name)));
        let branches = self.branches.changes_since(&older.branches);
        changes.extend(branches.map(Change::Branch));
        changes
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Booted(incarnation) => self.incarnation = incarnation,
            Change::Commit(transaction, others) => {
                self.commits.insert(transaction, others);
            }
            Change::End(transaction) => {
                self.commits.remove(&transaction);
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
    /// The transactions that this node coordinates and has not decided. A crash aborts them.
    pub voting: Map<Transaction, Voting>,
    /// Of each commit record, who has not acknowledged it.
    pub unacknowledged: Map<Transaction, NodeSet>,
}

/// A transaction that its coordinator has not decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Voting {
    /// The caller's name for it.
    pub ticket: u64,
    /// What is to be written where.
    pub branches: Map<NodeId, Writes>,
    /// Who voted yes. The first no ends the vote.
    pub yes: NodeSet,
}

impl Voting {
    /// Who takes part.
    pub fn participants(&self) -> NodeSet {
        self.branches.keys().copied().collect()
    }
}

impl Machine for Commit {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        durable.incarnation = durable.incarnation.saturating_add(1);
        // What had no commit record is presumed to have aborted: here too, if the coordinator takes
        // part itself. It wrote its own commit in the step in which it wrote the record.
        let in_doubt: Vec<Transaction> = durable.branches.in_doubt().collect();
        for transaction in in_doubt {
            if transaction.coordinator == self.me {
                decide(durable, transaction, Outcome::Abort, out);
            } else {
                out.arm(Timer::Inquire(transaction));
            }
        }
        for (transaction, others) in &durable.commits {
            out.arm(Timer::Retry(*transaction));
            say(out, *others, *transaction, Outcome::Commit);
        }
        Volatile {
            unacknowledged: durable.commits.clone(),
            ..Volatile::default()
        }
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        let Call::Begin { ticket, branches } = call;
        if let Some(refusal) = refusal(self.members, state.volatile.voting.len(), &branches) {
            out.tell(Event::Refused { ticket, refusal });
            return;
        }
        let transaction = Transaction {
            coordinator: self.me,
            incarnation: state.durable.incarnation,
            number: state.volatile.next,
        };
        state.volatile.next += 1;
        let own = branches.get(&self.me).cloned();
        let yes = NodeSet::EMPTY;
        let voting = Voting {
            ticket,
            branches,
            yes,
        };
        let participants = voting.participants();
        state.volatile.voting.insert(transaction, voting);
        out.tell(Event::Begun {
            ticket,
            transaction,
        });
        out.arm(Timer::Retry(transaction));
        out.arm(Timer::TimeOut(transaction));
        // Its own vote is the first; no message is needed for it.
        if let Some(writes) = own {
            let vote = vote(&mut state.durable, transaction, participants, &writes, out);
            self.on_vote(state, self.me, transaction, vote, out);
        }
        Self::ask(state, transaction, out);
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
            Message::Vote { transaction, vote } => {
                self.on_vote(state, from, transaction, vote, out);
            }
            Message::Decision {
                transaction,
                outcome,
            } => self.on_decision(state, from, transaction, outcome, out),
            Message::Acknowledge { transaction } => {
                Self::on_acknowledge(state, from, transaction, out);
            }
            Message::Inquire { transaction } => self.on_inquire(state, from, transaction, out),
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match timer {
            Timer::Retry(transaction) => {
                if let Some(others) = state.volatile.unacknowledged.get(&transaction) {
                    out.arm(Timer::Retry(transaction));
                    say(out, *others, transaction, Outcome::Commit);
                } else if state.volatile.voting.contains_key(&transaction) {
                    out.arm(Timer::Retry(transaction));
                    Self::ask(state, transaction, out);
                }
            }
            Timer::TimeOut(transaction) => {
                if state.volatile.voting.contains_key(&transaction) {
                    out.tell(Event::TimedOut { transaction });
                    self.end_voting(state, transaction, Outcome::Abort, out);
                }
            }
            Timer::Inquire(transaction) => {
                if let Some(participants) = state.durable.branches.prepared(transaction) {
                    out.arm(Timer::Inquire(transaction));
                    let mut asked = participants;
                    asked.insert(transaction.coordinator);
                    asked.remove(self.me);
                    out.broadcast(asked, &Message::Inquire { transaction });
                }
            }
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        let (from, to) = match timer {
            Timer::Retry(_) => (100, 200),
            Timer::Inquire(_) => (400, 600),
            Timer::TimeOut(_) => (1_000, 1_200),
        };
        Duration::from_millis(from)..Duration::from_millis(to)
    }

    fn holds(&self, state: &State<Self>) -> bool {
        let Durable {
            incarnation,
            commits,
            branches,
        } = &state.durable;
        let Volatile {
            next,
            voting,
            unacknowledged,
        } = &state.volatile;
        voting.len() <= VOTING_MAX
            && branches.locks_are_exclusive()
            && voting.iter().all(|(name, voting)| {
                name.coordinator == self.me
                    && name.incarnation == *incarnation
                    && name.number < *next
                    // A vote that all have said yes in is over.
                    && voting.yes != voting.participants()
                    && voting.yes.is_subset(voting.participants())
                    && branches.outcome(*name).is_none()
            })
            // Of each commit record somebody has not acknowledged it.
            && commits.len() == unacknowledged.len()
            && unacknowledged.iter().all(|(name, missing)| {
                let others = commits.get(name).copied().unwrap_or_default();
                !missing.is_empty() && missing.is_subset(others)
            })
    }
}

impl Commit {
    /// Phase 1, at a participant: it votes, the first time or again.
    fn on_prepare(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        participants: NodeSet,
        writes: &Writes,
        out: &mut Outbox<Self>,
    ) {
        if from != transaction.coordinator || from == self.me {
            return; // Only its coordinator asks.
        }
        if !participants.contains(self.me) || !participants.is_subset(self.members) {
            return; // Not for us, or not about us alone.
        }
        if !fits(writes) {
            return; // No coordinator of ours asks this.
        }
        let vote = vote(&mut state.durable, transaction, participants, writes, out);
        if state.durable.branches.prepared(transaction).is_some() {
            out.arm(Timer::Inquire(transaction));
        }
        // This leaves the node when the disk has the vote, and no sooner: see `Sealed`.
        out.send(from, Message::Vote { transaction, vote });
    }

    /// Phase 1, at the coordinator: it hears a vote.
    fn on_vote(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        vote: Vote,
        out: &mut Outbox<Self>,
    ) {
        let Some(voting) = state.volatile.voting.get_mut(&transaction) else {
            return; // Decided already, or presumed to be: the voter will ask.
        };
        let participants = voting.participants();
        if !participants.contains(from) {
            return; // It has no vote.
        }
        match vote {
            Vote::No => self.end_voting(state, transaction, Outcome::Abort, out),
            Vote::Yes => {
                voting.yes.insert(from);
                if voting.yes == participants {
                    self.end_voting(state, transaction, Outcome::Commit, out);
                }
            }
        }
    }

    /// The coordinator decides.
    fn end_voting(
        &self,
        state: &mut State<Self>,
        transaction: Transaction,
        outcome: Outcome,
        out: &mut Outbox<Self>,
    ) {
        let Some(voting) = state.volatile.voting.remove(&transaction) else {
            return;
        };
        let mut others = voting.participants();
        let takes_part = others.remove(self.me);
        out.disarm(Timer::TimeOut(transaction));
        if outcome == Outcome::Commit && !others.is_empty() {
            // The commit record. Nobody hears of the decision before the disk has it.
            state.durable.commits.insert(transaction, others);
            (state.volatile.unacknowledged).insert(transaction, others);
        } else {
            // An abort is presumed: it is neither recorded nor repeated.
            out.disarm(Timer::Retry(transaction));
        }
        if takes_part {
            decide(&mut state.durable, transaction, outcome, out);
        }
        say(out, others, transaction, outcome);
        out.tell(Event::Done {
            ticket: voting.ticket,
            transaction,
            outcome,
        });
    }

    /// Phase 2, at a participant: it hears how the transaction ended, from its coordinator or from
    /// another participant.
    fn on_decision(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        outcome: Outcome,
        out: &mut Outbox<Self>,
    ) {
        if transaction.coordinator == self.me || !self.members.contains(from) {
            return; // The coordinator decides, and is not told.
        }
        decide(&mut state.durable, transaction, outcome, out);
        let committed = state.durable.branches.outcome(transaction) == Some(Outcome::Commit);
        // Again, if it is told again: the last acknowledgement may be lost. An abort needs none.
        if outcome == Outcome::Commit && committed && from == transaction.coordinator {
            out.send(from, Message::Acknowledge { transaction });
        }
    }

    /// The coordinator hears that a participant's disk has the commit.
    fn on_acknowledge(
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        out: &mut Outbox<Self>,
    ) {
        let Some(missing) = state.volatile.unacknowledged.get_mut(&transaction) else {
            return; // All have, long ago.
        };
        missing.remove(from);
        if missing.is_empty() {
            // Nobody will ever ask in earnest again, so the record has done its work.
            state.volatile.unacknowledged.remove(&transaction);
            state.durable.commits.remove(&transaction);
            out.disarm(Timer::Retry(transaction));
        }
    }

    /// A participant in doubt asks how it ended.
    fn on_inquire(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        transaction: Transaction,
        out: &mut Outbox<Self>,
    ) {
        if !self.members.contains(from) {
            return; // It takes part in nothing.
        }
        let is_coordinator = transaction.coordinator == self.me;
        let outcome = if let Some(outcome) = state.durable.branches.outcome(transaction) {
            outcome
        } else if state.volatile.voting.contains_key(&transaction) {
            return; // Not decided.
        } else if state.durable.commits.contains_key(&transaction) {
            Outcome::Commit
        } else if is_coordinator {
            Outcome::Abort // No commit record: presumed.
        } else if state.durable.branches.prepared(transaction).is_some() {
            return; // In doubt, too.
        } else {
            // Not asked to vote yet, so free to vote no. It is on the disk before it is said: else a
            // question to vote that is still under way would find a participant that says yes.
            let vote = Vote::No;
            out.tell(Event::Voted { transaction, vote });
            decide(&mut state.durable, transaction, Outcome::Abort, out);
            Outcome::Abort
        };
        out.send(
            from,
            Message::Decision {
                transaction,
                outcome,
            },
        );
    }

    /// Asks everyone who has not voted, the first time and again.
    fn ask(state: &State<Self>, transaction: Transaction, out: &mut Outbox<Self>) {
        let Some(voting) = state.volatile.voting.get(&transaction) else {
            return;
        };
        let participants = voting.participants();
        for (to, writes) in &voting.branches {
            if !voting.yes.contains(*to) {
                let prepare = Message::Prepare {
                    transaction,
                    participants,
                    writes: writes.clone(),
                };
                out.send(*to, prepare);
            }
        }
    }
}

/// A participant votes, and tells it the first time.
fn vote(
    durable: &mut Durable,
    transaction: Transaction,
    participants: NodeSet,
    writes: &Writes,
    out: &mut Outbox<Commit>,
) -> Vote {
    let (vote, is_new) = durable.branches.vote(transaction, participants, writes);
    if is_new {
        out.tell(Event::Voted { transaction, vote });
        if vote == Vote::No {
            // By voting no it has decided.
            let outcome = Outcome::Abort;
            out.tell(Event::Decided {
                transaction,
                outcome,
            });
        }
    }
    vote
}

/// A participant learns the outcome, and tells it if it is news.
fn decide(
    durable: &mut Durable,
    transaction: Transaction,
    outcome: Outcome,
    out: &mut Outbox<Commit>,
) {
    if durable.branches.decide(transaction, outcome) {
        out.disarm(Timer::Inquire(transaction));
        out.tell(Event::Decided {
            transaction,
            outcome,
        });
    }
}

fn say(out: &mut Outbox<Commit>, to: NodeSet, transaction: Transaction, outcome: Outcome) {
    let decision = Message::Decision {
        transaction,
        outcome,
    };
    out.broadcast(to, &decision);
}

/// Why a call is not begun at a node that has so many under way.
pub(crate) fn refusal(
    members: NodeSet,
    under_way: usize,
    branches: &Map<NodeId, Writes>,
) -> Option<Refusal> {
    if branches.is_empty() {
        return Some(Refusal::Empty);
    }
    if !branches.keys().all(|node| members.contains(*node)) {
        return Some(Refusal::Stranger);
    }
    if !branches.values().all(fits) {
        return Some(Refusal::TooLong);
    }
    (under_way >= VOTING_MAX).then_some(Refusal::Busy)
}
