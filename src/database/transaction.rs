//! Transactions: compare-and-set on one key, by Paxos among its replicas.
//!
//! A ballot is a stamp, and what is proposed by it bears it. So the order in which values are chosen is the
//! order in which the last writer wins, and a chosen value is told to the replicas as any write.
//!
//! A coordinator first has a majority promise its ballot, and learns what they have and what was proposed to
//! them last. If that is newer than all they have, it may have been chosen: it is proposed again, and what was
//! asked begins anew. Otherwise what they have is the value, and the condition is decided on it. What is
//! proposed is chosen when a majority has accepted it. Reads go the same way, so that they finish what others
//! began, and propose nothing themselves.

use serde::{Deserialize, Serialize};

use super::{
    Cell, Change, Conflicts, Database, Event, Failure, KEY_BYTES_MAX, Key, Level, Message,
    Operation, Refusal, Stamp, Task, VALUE_BYTES_MAX, Value, Version,
};
use crate::clock::HybridTime;
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

/// What a replica promised and accepted, for one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// It takes part in no older ballot.
    pub promised: Stamp,
    /// What it accepted last and by which ballot, unless it has something as new by now.
    pub accepted: Option<(Stamp, Version)>,
}

/// A transaction under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transaction {
    /// The key.
    pub key: Key,
    /// What was asked; none: to read.
    pub change: Option<Change>,
    /// The present ballot.
    pub ballot: Stamp,
    /// The stamp by which the change was proposed, if it was.
    pub proposed: Option<Stamp>,
    /// True once somebody has promised a later ballot: this one leads nowhere.
    pub is_outbid: bool,
    /// How far the ballot is.
    pub phase: Phase,
}

/// The three phases of a ballot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for a majority to promise.
    Prepare {
        /// Who has.
        promised: NodeSet,
        /// What was accepted by the latest ballot of those that they have accepted something by.
        accepted: Option<(Stamp, Version)>,
        /// The newest of what they have.
        version: Option<Version>,
    },
    /// Waiting for a majority to accept.
    Propose {
        /// What.
        version: Version,
        /// Who has.
        accepted: NodeSet,
    },
    /// Waiting for a majority to have it.
    Commit {
        /// What.
        version: Version,
        /// Who has.
        stored: NodeSet,
    },
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The key had what was expected, and has the new value.
    Applied,
    /// It had this instead, and keeps it.
    Unexpected(Value),
    /// It was to be read, and has this.
    Found(Value),
}

impl Database {
    /// A transaction begins with its first ballot.
    pub(super) fn begin_transaction(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        now: u64,
        key: Key,
        change: Option<Change>,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        let value = change.as_ref().and_then(|change| change.new.clone());
        if is_too_long(&key, &value) {
            return Err(Refusal::Malformed);
        }
        match self.conflicts {
            Conflicts::LastWriterWins => {}
            Conflicts::Siblings => return Err(Refusal::NotHere),
        }
        self.admit(&state.volatile, [&key].into_iter(), Level::Quorum)?;
        let ballot = self.mint(state, now, HybridTime::default())?;
        let number = state.volatile.next;
        let transaction = Transaction {
            key,
            change,
            ballot,
            proposed: None,
            is_outbid: false,
            phase: prepare(),
        };
        Self::begin_task(state, ticket, Task::Transact(transaction), out);
        self.turn(state, number, out);
        Ok(())
    }

    /// A phase begins: the question to the others, and this node's own answer if it is a replica.
    fn turn(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        self.ask(state, number, out);
        let Some(transaction) = transaction(state, number) else {
            return;
        };
        let (ballot, key) = (transaction.ballot, transaction.key.clone());
        let phase = transaction.phase.clone();
        if !self.is_replica(&key) {
            return;
        }
        match phase {
            Phase::Prepare { .. } => match self.promise(state, &key, ballot) {
                Ok((accepted, version)) => {
                    let promised = (ballot, accepted, version);
                    self.on_promised(state, self.me, number, promised, out);
                }
                Err(promised) => Self::on_outbid(state, number, ballot, promised),
            },
            Phase::Propose { version, .. } => match self.accept(state, &key, ballot, version) {
                Ok(()) => self.on_accepted(state, self.me, number, ballot, out),
                Err(promised) => Self::on_outbid(state, number, ballot, promised),
            },
            Phase::Commit { version, .. } => {
                Self::keep(state, &key, &Cell::Last(version));
                self.on_committed(state, self.me, number, ballot, out);
            }
        }
    }

    /// Puts the question of the phase to those who have not answered it.
    pub(super) fn ask_transaction(
        &self,
        operation: Operation,
        transaction: &Transaction,
        out: &mut Outbox<Self>,
    ) {
        let (key, ballot) = (transaction.key.clone(), transaction.ballot);
        let replicas = self.placement.replicas(&key);
        let (done, question) = match &transaction.phase {
            Phase::Prepare { promised, .. } => (
                *promised,
                Message::Prepare {
                    operation,
                    key,
                    ballot,
                },
            ),
            Phase::Propose { version, accepted } => (
                *accepted,
                Message::Propose {
                    operation,
                    key,
                    ballot,
                    version: version.clone(),
                },
            ),
            Phase::Commit { version, stored } => (
                *stored,
                Message::Commit {
                    operation,
                    key,
                    ballot,
                    version: version.clone(),
                },
            ),
        };
        let others = replicas.difference(done);
        out.broadcast(others.iter().filter(|node| *node != self.me), &question);
    }
    /// A replica promises to take part in no older ballot, and says what it has and what it accepted.
    fn promise(
        &self,
        state: &mut State<Self>,
        key: &str,
        ballot: Stamp,
    ) -> Result<Promised, Stamp> {
        let promise = self.own_promise(state, key, ballot)?;
        let accepted = promise.accepted.clone();
        Ok((accepted, state.durable.table.cell(key).version().cloned()))
    }

    /// A replica accepts what is proposed, if it has promised no later ballot.
    fn accept(
        &self,
        state: &mut State<Self>,
        key: &str,
        ballot: Stamp,
        version: Version,
    ) -> Result<(), Stamp> {
        let is_settled =
            (state.durable.table.cell(key).stamp()).is_some_and(|s| version.stamp <= s);
        let promise = self.own_promise(state, key, ballot)?;
        // What it has already, or something newer, was chosen before: nothing is left to be finished.
        if !is_settled {
            promise.accepted = Some((ballot, version));
        }
        Ok(())
    }

    /// What this replica has promised, now that it promises this ballot; or the later one.
    fn own_promise<'a>(
        &self,
        state: &'a mut State<Self>,
        key: &str,
        ballot: Stamp,
    ) -> Result<&'a mut Promise, Stamp> {
        let fence = state.durable.fences.get(&self.placement.replicas(key));
        if let Some(fence) = fence.filter(|fence| ballot <= fence.upto) {
            return Err(fence.upto);
        }
        let first = Promise {
            promised: ballot,
            accepted: None,
        };
        let promise = state
            .durable
            .promises
            .entry_or_insert_with(key.into(), || first);
        if ballot < promise.promised {
            return Err(promise.promised);
        }
        promise.promised = ballot;
        Ok(promise)
    }

    /// A replica-to-be takes over what another one promised and accepted.
    pub(super) fn take_over(state: &mut State<Self>, key: &str, theirs: &Promise) {
        let stamp = state.durable.table.cell(key).stamp();
        let mine = (state.durable.promises).entry_or_insert_with(key.into(), || theirs.clone());
        mine.promised = mine.promised.max(theirs.promised);
        let ballot = |promise: &Promise| promise.accepted.as_ref().map(|(ballot, _)| *ballot);
        if ballot(mine) < ballot(theirs) {
            mine.accepted.clone_from(&theirs.accepted);
        }
        // What it has already is settled.
        if let Some(stamp) = stamp {
            Self::settle(state, key, stamp);
        }
    }

    /// The replica has this, or something newer, of the key: a proposal that is no newer is settled.
    pub(super) fn settle(state: &mut State<Self>, key: &str, stamp: Stamp) {
        let Some(promise) = state.durable.promises.get(key) else {
            return;
        };
        if (promise.accepted.iter()).any(|(_, version)| version.stamp <= stamp) {
            let settled = Promise {
                accepted: None,
                ..promise.clone()
            };
            state.durable.promises.insert(key.into(), settled);
        }
    }

    /// A replica is asked to promise.
    pub(super) fn on_prepare(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        ballot: Stamp,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_replica(key) || key.len() > KEY_BYTES_MAX {
            return; // Not a replica: its promise would count for nothing.
        }
        let answer = match self.promise(state, key, ballot) {
            Ok((accepted, version)) => Message::Promised {
                operation,
                ballot,
                accepted,
                version,
            },
            Err(promised) => Message::Outbid {
                operation,
                ballot,
                promised,
            },
        };
        out.send(from, answer);
    }

    /// A replica is asked to accept.
    #[expect(clippy::too_many_arguments, reason = "a proposal has as many parts")]
    pub(super) fn on_propose(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        ballot: Stamp,
        version: Version,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_replica(key) || is_too_long(key, &version.value) {
            return; // Not a replica, or nothing that a coordinator of ours says.
        }
        let answer = match self.accept(state, key, ballot, version) {
            Ok(()) => Message::Accepted { operation, ballot },
            Err(promised) => Message::Outbid {
                operation,
                ballot,
                promised,
            },
        };
        out.send(from, answer);
    }

    /// A replica is told what was chosen.
    #[expect(
        clippy::too_many_arguments,
        reason = "what was chosen has as many parts"
    )]
    pub(super) fn on_commit(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        key: &str,
        ballot: Stamp,
        version: Version,
        out: &mut Outbox<Self>,
    ) {
        if !self.is_replica(key) || is_too_long(key, &version.value) {
            return; // Not a replica, or nothing that a coordinator of ours says.
        }
        let cell = Cell::Last(version);
        // A fence does not keep it out: no replica is swept while a majority has it accepted. Whoever is has
        // had it.
        if !self.is_swept(state, key, &cell) {
            Self::keep(state, key, &cell);
        }
        out.send(from, Message::Committed { operation, ballot });
    }

    /// A coordinator hears that a replica has promised.
    pub(super) fn on_promised(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        (ballot, their_accepted, their_version): (Stamp, Option<(Stamp, Version)>, Option<Version>),
        out: &mut Outbox<Self>,
    ) {
        let Some(transaction) = transaction(state, number).filter(|it| it.ballot == ballot) else {
            return; // An earlier ballot, or all is over.
        };
        let replicas = self.placement.replicas(&transaction.key);
        let Phase::Prepare {
            promised,
            accepted,
            version,
        } = &mut transaction.phase
        else {
            return; // The ballot is further already.
        };
        if !replicas.contains(from) || !promised.insert(from) {
            return; // Only replicas count, and each once.
        }
        // A later ballot knew of all that an earlier one may have had chosen.
        let ballot_of = |accepted: &Option<(Stamp, Version)>| accepted.as_ref().map(|it| it.0);
        if ballot_of(accepted) < ballot_of(&their_accepted) {
            *accepted = their_accepted;
        }
        if stamp_of(version.as_ref()) < stamp_of(their_version.as_ref()) {
            *version = their_version;
        }
        if self.placement.is_agreed(&transaction.key, *promised) {
            let (accepted, version) = (accepted.take(), version.take());
            self.end_prepare(state, number, accepted, version, out);
        }
    }

    /// A majority has promised: what may have been chosen is proposed again, or the change is decided.
    fn end_prepare(
        &self,
        state: &mut State<Self>,
        number: u64,
        accepted: Option<(Stamp, Version)>,
        version: Option<Version>,
        out: &mut Outbox<Self>,
    ) {
        let Some(transaction) = transaction(state, number) else {
            return;
        };
        let newest = stamp_of(version.as_ref());
        let unfinished = accepted
            .map(|(_, version)| version)
            .filter(|it| newest < Some(it.stamp));
        if let Some(version) = unfinished {
            transaction.phase = propose(version);
            return self.turn(state, number, out);
        }
        if transaction.proposed.is_some() && transaction.proposed == newest {
            // Somebody else has finished what this one began.
            return Self::decide(state, number, Outcome::Applied, out);
        }
        if transaction.proposed.is_some() && transaction.proposed < newest {
            // It may have been chosen, and overwritten: nobody can tell any more.
            return Self::fail(state, number, Failure::TimedOut, out);
        }
        let found = version.and_then(|version| version.value);
        match &transaction.change {
            None => Self::decide(state, number, Outcome::Found(found), out),
            Some(change) if change.expected != found => {
                Self::decide(state, number, Outcome::Unexpected(found), out);
            }
            Some(change) => {
                let version = Version {
                    stamp: transaction.ballot,
                    value: change.new.clone(),
                };
                transaction.proposed = Some(transaction.ballot);
                transaction.phase = propose(version);
                self.turn(state, number, out);
            }
        }
    }

    /// A coordinator hears that a replica has accepted.
    pub(super) fn on_accepted(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        ballot: Stamp,
        out: &mut Outbox<Self>,
    ) {
        let Some(transaction) = transaction(state, number).filter(|it| it.ballot == ballot) else {
            return; // An earlier ballot, or all is over.
        };
        let replicas = self.placement.replicas(&transaction.key);
        let Phase::Propose { version, accepted } = &mut transaction.phase else {
            return; // The ballot is further already.
        };
        if !replicas.contains(from) || !accepted.insert(from) {
            return; // Only replicas count, and each once.
        }
        if self.placement.is_agreed(&transaction.key, *accepted) {
            transaction.phase = Phase::Commit {
                version: version.clone(),
                stored: NodeSet::EMPTY,
            };
            self.turn(state, number, out);
        }
    }

    /// A coordinator hears that a replica has what was chosen.
    pub(super) fn on_committed(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        ballot: Stamp,
        out: &mut Outbox<Self>,
    ) {
        let Some(transaction) = transaction(state, number).filter(|it| it.ballot == ballot) else {
            return; // An earlier ballot, or all is over.
        };
        let replicas = self.placement.replicas(&transaction.key);
        let Phase::Commit { version, stored } = &mut transaction.phase else {
            return; // Nothing was chosen yet: no honest replica says this.
        };
        if !replicas.contains(from) || !stored.insert(from) {
            return; // Only replicas count, and each once.
        }
        if !self.placement.is_agreed(&transaction.key, *stored) {
            return;
        }
        if transaction.proposed == Some(version.stamp) {
            Self::decide(state, number, Outcome::Applied, out);
        } else {
            // That was another's. Now for what was asked.
            self.bid(state, number, out);
        }
    }

    /// A replica has promised a later ballot.
    pub(super) fn on_outbid(state: &mut State<Self>, number: u64, ballot: Stamp, promised: Stamp) {
        let Some(transaction) = transaction(state, number).filter(|it| it.ballot == ballot) else {
            return; // An earlier ballot, or all is over.
        };
        match transaction.phase {
            Phase::Prepare { .. } | Phase::Propose { .. } => transaction.is_outbid = true,
            Phase::Commit { .. } => return, // It was chosen all the same.
        }
        // So that the next one is not too early.
        state.durable.time = state.durable.time.max(promised.time);
    }

    /// The alarm rings: what was outbid bids again, what was lost is asked again.
    pub(super) fn bid_again(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        match transaction(state, number) {
            Some(transaction) if transaction.is_outbid => self.bid(state, number, out),
            Some(_) | None => self.ask(state, number, out),
        }
    }

    /// A new ballot.
    pub(super) fn bid(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Ok(ballot) = self.mint(state, 0, HybridTime::default()) else {
            return Self::fail(state, number, Failure::TimedOut, out);
        };
        if let Some(transaction) = transaction(state, number) {
            transaction.ballot = ballot;
            transaction.is_outbid = false;
            transaction.phase = prepare();
            self.turn(state, number, out);
        }
    }

    fn decide(state: &mut State<Self>, number: u64, outcome: Outcome, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let ticket = pending.ticket;
        Self::end(state, number, out);
        out.tell(Event::Transacted { ticket, outcome });
    }
}

fn transaction(state: &mut State<Database>, number: u64) -> Option<&mut Transaction> {
    match &mut state.volatile.pending.get_mut(&number)?.task {
        Task::Transact(transaction) => Some(transaction),
        Task::Write { .. } | Task::Read { .. } | Task::Repair { .. } => None,
    }
}

/// What a replica accepted, and what it has.
type Promised = (Option<(Stamp, Version)>, Option<Version>);

fn stamp_of(version: Option<&Version>) -> Option<Stamp> {
    version.map(|version| version.stamp)
}

fn prepare() -> Phase {
    Phase::Prepare {
        promised: NodeSet::EMPTY,
        accepted: None,
        version: None,
    }
}

fn propose(version: Version) -> Phase {
    Phase::Propose {
        version,
        accepted: NodeSet::EMPTY,
    }
}

fn is_too_long(key: &str, value: &Value) -> bool {
    let value_bytes = value.as_ref().map_or(0, alloc::string::String::len);
    key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX
}
