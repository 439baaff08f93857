//! The coordinator: whoever is asked. It gives a write its one stamp, asks the replicas, and counts.

use alloc::string::String;
use alloc::vec::Vec;

use super::{
    Cell, Conflicts, Counting, Database, Event, Failure, KEY_BYTES_MAX, Key, Level, Message,
    Operation, PENDING_MAX, Pending, ReadRepair, Refusal, Seen, Stamp, Task, Timer, Token,
    VALUE_BYTES_MAX, Value, Version, Volatile, WRITE_BYTES_MAX, WRITE_KEYS_MAX,
};
use crate::clock::{Hybrid, HybridTime};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

impl Database {
    /// A write is given its stamp, and sent to the replicas of its keys.
    #[expect(clippy::too_many_arguments, reason = "a call has as many parts")]
    pub(super) fn begin_write(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        now: u64,
        writes: &[(Key, Value)],
        level: Level,
        token: &Token,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        if is_malformed(writes) {
            return Err(Refusal::Malformed);
        }
        self.admit(&state.volatile, writes.iter().map(|(key, _)| key), level)?;
        let replicas = self.all_replicas(writes.iter().map(|(key, _)| key));
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number: state.volatile.next,
        };
        if !self.may_remember(state, replicas, writes.len()) {
            return Err(Refusal::Busy);
        }
        let cells = match self.conflicts {
            Conflicts::LastWriterWins => {
                let stamp = self.mint(state, now, token.time)?;
                let cell = |value: &Value| {
                    let value = value.clone();
                    Cell::Last(Version { stamp, value })
                };
                writes
                    .iter()
                    .map(|(key, value)| (key.clone(), cell(value)))
                    .collect()
            }
            Conflicts::Siblings => self.write_beside(state, writes, token)?,
        };
        let stored = self.write_first(state, &cells);
        self.remember(state, operation, &cells, replicas, out);
        let task = Task::Write {
            writes: cells,
            stored,
        };
        Self::begin(state, ticket, level, task, out);
        // All replicas are sent it, also if this one is enough.
        self.ask(state, operation.number, out);
        self.end_write(state, operation.number, out);
        Ok(())
    }

    /// A read asks the replicas of its key.
    pub(super) fn begin_read(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: Key,
        level: Level,
        token: &Token,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        self.admit(&state.volatile, [&key].into_iter(), level)?;
        let (number, seen) = (state.volatile.next, token.of(&key));
        let task = unanswered(key, seen, Cell::Nothing);
        Self::begin(state, ticket, level, task, out);
        self.ask_first(state, number, out);
        Ok(())
    }

    /// Whether a call on these keys can be begun.
    pub(super) fn admit<'a>(
        &self,
        volatile: &Volatile,
        mut keys: impl Iterator<Item = &'a Key>,
        level: Level,
    ) -> Result<(), Refusal> {
        if volatile.pending.len() >= PENDING_MAX {
            return Err(Refusal::Busy);
        }
        // Suspicion refuses what could not be done now. It never makes do with less.
        let can_answer = |key: &Key| {
            let there = self.placement.replicas(key).difference(volatile.suspects);
            (self.placement).is_written(key, level, there, self.nearby)
        };
        if keys.all(can_answer) {
            Ok(())
        } else {
            Err(Refusal::Unavailable)
        }
    }

    /// The next stamp: later than all that this node gave or saw, and than the session saw.
    pub(super) fn mint(
        &self,
        state: &mut State<Self>,
        now: u64,
        after: HybridTime,
    ) -> Result<Stamp, Refusal> {
        let mut clock = Hybrid::from(state.durable.time.max(after));
        let time = clock.tick(now).map_err(|_| Refusal::Exhausted)?;
        state.durable.time = time;
        Ok(Stamp {
            time,
            writer: self.me,
        })
    }

    /// Where siblings stand, a replica of the key adds the write to what it has, and all of that is sent:
    /// a part would not say what it overwrites.
    fn write_beside(
        &self,
        state: &State<Self>,
        writes: &[(Key, Value)],
        token: &Token,
    ) -> Result<Vec<(Key, Cell)>, Refusal> {
        let [(key, value)] = writes else {
            return Err(Refusal::NotHere);
        };
        if !self.is_replica(key) {
            return Err(Refusal::NotHere);
        }
        let mut siblings = match state.durable.table.cell(key) {
            Cell::Beside(siblings) => siblings,
            Cell::Nothing | Cell::Last(_) => crate::clock::Siblings::default(),
        };
        let context = token.of(key).context;
        (siblings.write(self.me, &context, value.clone())).map_err(|_| Refusal::Exhausted)?;
        let cell = Cell::Beside(siblings);
        if cell.bytes() > WRITE_BYTES_MAX {
            return Err(Refusal::Busy); // Somebody has to read, and write over what it read.
        }
        Ok(alloc::vec![(key.clone(), cell)])
    }

    fn begin(
        state: &mut State<Self>,
        ticket: u64,
        level: Level,
        task: Task,
        out: &mut Outbox<Self>,
    ) {
        let number = state.volatile.next;
        state.volatile.next += 1;
        let pending = Pending {
            ticket,
            level,
            repeated: 0,
            task,
        };
        state.volatile.pending.insert(number, pending);
        out.arm(Timer::Retry(number));
    }

    /// The same, for a transaction.
    pub(super) fn begin_task(
        state: &mut State<Self>,
        ticket: u64,
        task: Task,
        out: &mut Outbox<Self>,
    ) {
        Self::begin(state, ticket, Level::Quorum, task, out);
    }

    /// A coordinator hears from a replica that its disk has the write.
    pub(super) fn on_written(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        out: &mut Outbox<Self>,
    ) {
        Self::forget_for(state, operation, from, out);
        if operation.incarnation != state.durable.incarnation {
            return; // An operation from before a restart: it will not return.
        }
        let number = operation.number;
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation returned long ago.
        };
        match &mut pending.task {
            Task::Write { stored, .. } => {
                stored.insert(from);
                self.end_write(state, number, out);
            }
            Task::Repair { holders, .. } => {
                holders.insert(from);
                self.end_repair(state, number, out);
            }
            // Nothing was asked to be stored so: no honest replica says this.
            Task::Read { .. } | Task::Transact(_) => {}
        }
    }

    /// A replica's fence is later than what it was to have.
    pub(super) fn on_too_old(
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        fence: Stamp,
        out: &mut Outbox<Self>,
    ) {
        // So that the next write is not.
        state.durable.time = state.durable.time.max(fence.time);
        Self::forget_for(state, operation, from, out);
        if operation.incarnation != state.durable.incarnation {
            return;
        }
        let pending = state.volatile.pending.get(&operation.number);
        match pending.map(|pending| &pending.task) {
            Some(Task::Write { .. }) => {
                Self::fail(state, operation.number, Failure::TooOld, out);
            }
            // Anti-entropy will bring it what it lacks.
            Some(Task::Repair { .. } | Task::Transact(_) | Task::Read { .. }) | None => {}
        }
    }

    /// With enough replicas, the write returns. True if it did.
    pub(super) fn end_write(
        &self,
        state: &mut State<Self>,
        number: u64,
        out: &mut Outbox<Self>,
    ) -> bool {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return false;
        };
        let Task::Write { writes, stored } = &pending.task else {
            return false;
        };
        if !writes
            .iter()
            .all(|(key, _)| self.is_stored(key, pending.level, *stored))
        {
            return false;
        }
        let mut token = Token::default();
        for (key, cell) in writes {
            token.saw(key, cell);
        }
        let ticket = pending.ticket;
        Self::end(state, number, out);
        out.tell(Event::Wrote { ticket, token });
        true
    }

    fn is_stored(&self, key: &str, level: Level, stored: NodeSet) -> bool {
        match self.counting {
            Counting::Strict => (self.placement).is_written(key, level, stored, self.nearby),
            Counting::Sloppy => {
                let replicas = self.placement.replicas(key);
                let stands_in = stored.contains(self.me) && !replicas.contains(self.me);
                let counted = level.counted(replicas, self.nearby);
                let have = stored.intersection(counted).len() + usize::from(stands_in);
                have >= level.needed(counted.len())
            }
        }
    }

    /// A coordinator hears from a replica what it has.
    pub(super) fn on_data(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        theirs: &Cell,
        theirs_swept: Option<Stamp>,
        out: &mut Outbox<Self>,
    ) {
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation returned long ago.
        };
        let Task::Read {
            key,
            seen,
            answered,
            holders,
            cell,
            swept,
        } = &mut pending.task
        else {
            return; // The read had its answers; this one is late.
        };
        if !self.placement.readers(key).contains(from) {
            return; // Only replicas count.
        }
        if !answered.insert(from) && seen.is_in(cell) {
            return; // Counted already. Only a session that has seen more asks again.
        }
        if !cell.covers(theirs) {
            // Those who had all so far lack this.
            *holders = NodeSet::EMPTY;
            cell.merge(theirs);
        }
        if theirs.covers(cell) {
            holders.insert(from);
        }
        *swept = (*swept).max(theirs_swept);
        self.end_read(state, number, out);
    }

    /// With enough answers, none of them older than the session has seen, the read repairs and returns.
    fn end_read(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return;
        };
        let Task::Read {
            key,
            seen,
            answered,
            holders,
            cell,
            swept,
        } = &pending.task
        else {
            return;
        };
        if !(self.placement).is_read(key, pending.level, *answered, self.nearby) {
            return;
        }
        // What was seen and is not there any more was a tombstone, and went.
        if !seen.is_in(cell) && (seen.stamp.is_none() || *swept < seen.stamp) {
            return;
        }
        // What nobody wrote, everybody has.
        let holders = match (self.read_repair, &cell) {
            (ReadRepair::Off, _) | (ReadRepair::Blocking, Cell::Nothing) => {
                self.placement.replicas(key)
            }
            (ReadRepair::Blocking, Cell::Last(_) | Cell::Beside(_)) => *holders,
        };
        pending.task = Task::Repair {
            key: key.clone(),
            holders,
            cell: cell.clone(),
        };
        if !self.end_repair(state, number, out) {
            self.ask(state, number, out);
        }
    }

    /// With enough replicas that have what the read found, it returns. True if it did.
    fn end_repair(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) -> bool {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return false;
        };
        let Task::Repair { key, holders, cell } = &pending.task else {
            return false;
        };
        if !(self.placement).is_written(key, pending.level, *holders, self.nearby) {
            return false;
        }
        let mut token = Token::default();
        token.saw(key, cell);
        let (ticket, values) = (pending.ticket, cell.values());
        // What is written here from now on comes after what was read here.
        state.durable.time = state.durable.time.max(token.time);
        Self::end(state, number, out);
        out.tell(Event::Read {
            ticket,
            values,
            token,
        });
        true
    }

    /// The operation is over.
    pub(super) fn end(state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        out.disarm(Timer::Retry(number));
        state.volatile.pending.remove(&number);
    }

    /// The operation is given up.
    pub(super) fn fail(
        state: &mut State<Self>,
        number: u64,
        failure: Failure,
        out: &mut Outbox<Self>,
    ) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let ticket = pending.ticket;
        Self::end(state, number, out);
        out.tell(Event::Failed { ticket, failure });
    }

    /// The operation has not returned: its question, or the answers, may be lost.
    pub(super) fn retry(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let is_hinted = state.durable.hints.contains_key(&operation);
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return;
        };
        if let Some(patience) = self.patience {
            if pending.repeated >= patience {
                return Self::fail(state, number, Failure::TimedOut, out);
            }
            pending.repeated += 1;
        }
        out.arm(Timer::Retry(number));
        match &mut pending.task {
            Task::Write { stored, .. } => {
                // Dynamo, §4.6: somebody else keeps it meanwhile, and that will do.
                if self.counting == Counting::Sloppy && is_hinted {
                    stored.insert(self.me);
                    if self.end_write(state, number, out) {
                        return;
                    }
                }
                self.ask(state, number, out);
            }
            Task::Read { .. } | Task::Repair { .. } => self.ask(state, number, out),
            Task::Transact(_) => self.bid_again(state, number, out),
        }
    }

    /// The placement has changed: what was counted by the one before does not count. Whatever is under way
    /// begins anew, a write with its stamp, and is given up if that was repeated too often.
    pub(super) fn begin_anew(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let numbers: Vec<u64> = state.volatile.pending.keys().copied().collect();
        for number in numbers {
            let Some(pending) = state.volatile.pending.get_mut(&number) else {
                continue;
            };
            if let Some(patience) = self.patience {
                if pending.repeated >= patience {
                    Self::fail(state, number, Failure::TimedOut, out);
                    continue;
                }
                pending.repeated += 1;
            }
            match pending.task.clone() {
                Task::Write { writes, .. } => {
                    let stored = self.write_first(state, &writes);
                    if let Some(pending) = state.volatile.pending.get_mut(&number) {
                        pending.task = Task::Write { writes, stored };
                    }
                    self.ask(state, number, out);
                    self.end_write(state, number, out);
                }
                Task::Read {
                    key, seen, cell, ..
                } => {
                    pending.task = unanswered(key, seen, cell);
                    self.ask_first(state, number, out);
                }
                // What was found stays found.
                Task::Repair { key, cell, .. } => {
                    pending.task = unanswered(key, Seen::default(), cell);
                    self.ask_first(state, number, out);
                }
                Task::Transact(_) => self.bid(state, number, out),
            }
        }
    }

    /// A read whose question nobody has been asked: this node answers first, if it is a replica.
    fn ask_first(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let task = |state: &State<Self>| Some(state.volatile.pending.get(&number)?.task.clone());
        let Some(Task::Read { key, .. }) = task(state) else {
            return;
        };
        if self.placement.readers(&key).contains(self.me) {
            // A replica's own copy needs no message.
            let (cell, swept) = self.own_answer(state, &key);
            self.on_data(state, self.me, number, &cell, swept, out);
        }
        if let Some(Task::Read { .. }) = task(state) {
            self.ask(state, number, out);
        }
    }

    /// A write that nobody has been sent: this node keeps what it is a replica of.
    fn write_first(&self, state: &mut State<Self>, writes: &[(Key, Cell)]) -> NodeSet {
        self.keep_own(state, writes);
        let replicas = self.all_replicas(writes.iter().map(|(key, _)| key));
        let me = [self.me].into_iter();
        me.filter(|me| replicas.contains(*me)).collect()
    }

    /// Puts the question to every replica that has not answered it, the first time and again.
    pub(super) fn ask(&self, state: &State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        match &pending.task {
            Task::Write { writes, stored } => {
                self.send_writes(operation, writes, *stored, out);
            }
            Task::Repair { key, holders, cell } => {
                let writes = alloc::vec![(key.clone(), cell.clone())];
                self.send_writes(operation, &writes, *holders, out);
            }
            Task::Read {
                key,
                seen,
                answered,
                cell,
                ..
            } => {
                // Those who answered with something too old are asked again.
                let answered = if seen.is_in(cell) {
                    *answered
                } else {
                    NodeSet::EMPTY
                };
                let others = self.placement.readers(key).difference(answered);
                let key = key.clone();
                let others = others.iter().filter(|node| *node != self.me);
                out.broadcast(others, &Message::Read { operation, key });
            }
            Task::Transact(transaction) => {
                self.ask_transaction(operation, transaction, out);
            }
        }
    }

    /// Sends each replica what it is to have, but for those who have it.
    pub(super) fn send_writes(
        &self,
        operation: Operation,
        writes: &[(Key, Cell)],
        stored: NodeSet,
        out: &mut Outbox<Self>,
    ) {
        let replicas = self.all_replicas(writes.iter().map(|(key, _)| key));
        for node in replicas
            .difference(stored)
            .iter()
            .filter(|node| *node != self.me)
        {
            let writes = (writes.iter())
                .filter(|(key, _)| self.placement.replicas(key).contains(node))
                .cloned()
                .collect();
            out.send(node, Message::Write { operation, writes });
        }
    }

    /// The replicas of any of these keys.
    pub(super) fn all_replicas<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> NodeSet {
        keys.fold(NodeSet::EMPTY, |all, key| {
            all.union(self.placement.replicas(key))
        })
    }

    /// True if this node is a replica of the key.
    pub(super) fn is_replica(&self, key: &str) -> bool {
        self.placement.replicas(key).contains(self.me)
    }
}

/// A read before anybody has answered it, that knows of this cell.
fn unanswered(key: Key, seen: Seen, cell: Cell) -> Task {
    Task::Read {
        key,
        seen,
        answered: NodeSet::EMPTY,
        holders: NodeSet::EMPTY,
        cell,
        swept: None,
    }
}

fn is_malformed(writes: &[(Key, Value)]) -> bool {
    let value_bytes = |value: &Value| value.as_ref().map_or(0, String::len);
    let bytes: usize = (writes.iter())
        .map(|(key, value)| key.len() + value_bytes(value))
        .sum();
    let is_twice = |(place, (key, _)): (usize, &(Key, Value))| {
        writes[..place].iter().any(|(other, _)| other == key)
    };
    let is_too_long = |(key, value): &(Key, Value)| {
        key.len() > KEY_BYTES_MAX || value_bytes(value) > VALUE_BYTES_MAX
    };
    writes.is_empty()
        || writes.len() > WRITE_KEYS_MAX
        || bytes > WRITE_BYTES_MAX
        || writes.iter().any(is_too_long)
        || writes.iter().enumerate().any(is_twice)
}
