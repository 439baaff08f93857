//! The coordinator: whoever is asked. It counts by what it knows of the ring, and begins anew when it
//! learns more.

use super::{
    Cell, Event, Goal, Hybrid, KEY_BYTES_MAX, Key, Message, NodeId, NodeSet, Operation, Outbox,
    PENDING_MAX, Pending, Phase, Proposal, Rebalance, Refusal, Stamp, State, Timer,
    VALUE_BYTES_MAX, Value, Version, View, Volatile,
};

impl Rebalance {
    /// A write gets its stamp, once, and goes to the replicas.
    pub(super) fn write(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        now: u64,
        key: Key,
        value: Value,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        if value.as_ref().is_some_and(|it| it.len() > VALUE_BYTES_MAX) {
            return Err(Refusal::TooLong);
        }
        admit(&state.volatile, &key)?;
        let mut clock = Hybrid::from(state.durable.time);
        let time = clock.tick(now).map_err(|_| Refusal::Exhausted)?;
        state.durable.time = time;
        let writer = self.me;
        let stamp = Stamp { time, writer };
        let cell = Cell::Last(Version { stamp, value });
        self.begin(state, ticket, key, Goal::Write(stamp), cell, out);
        Ok(())
    }

    /// A read asks the replicas.
    pub(super) fn read(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: Key,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        admit(&state.volatile, &key)?;
        self.begin(state, ticket, key, Goal::Read, Cell::Nothing, out);
        Ok(())
    }

    /// A change is proposed to the log, if as far as this node knows it can be made.
    pub(super) fn propose(
        &self,
        state: &State<Self>,
        ticket: u64,
        proposal: Proposal,
        out: &mut Outbox<Self>,
    ) -> Result<(), Refusal> {
        let View::Settled(ring) = self.view(&state.durable) else {
            return Err(Refusal::Busy);
        };
        if !self.nodes.contains(proposal.node()) || proposal.after(&ring).is_err() {
            return Err(Refusal::NoSuchRing);
        }
        let at = ring.epoch();
        out.send(self.log, Message::Propose { at, proposal });
        out.tell(Event::Proposed { ticket });
        Ok(())
    }

    fn begin(
        &self,
        state: &mut State<Self>,
        ticket: u64,
        key: Key,
        goal: Goal,
        cell: Cell,
        out: &mut Outbox<Self>,
    ) {
        let number = state.volatile.next;
        state.volatile.next += 1;
        let pending = Pending {
            ticket,
            key,
            goal,
            cell,
            phase: first_phase(goal),
            restarts: 0,
        };
        state.volatile.pending.insert(number, pending);
        out.arm(Timer::Retry(number));
        self.start(state, number, out);
    }

    /// The node learned a step: what was counted by the one before does not count. Whoever has begun anew
    /// as often as is allowed is given up.
    pub(super) fn begin_anew(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let numbers: alloc::vec::Vec<u64> = state.volatile.pending.keys().copied().collect();
        for number in numbers {
            let Some(pending) = state.volatile.pending.get_mut(&number) else {
                continue;
            };
            if pending.restarts == self.restarts_max {
                let ticket = pending.ticket;
                state.volatile.pending.remove(&number);
                out.disarm(Timer::Retry(number));
                out.tell(Event::GaveUp { ticket });
                continue;
            }
            pending.restarts += 1;
            pending.phase = first_phase(pending.goal);
            self.start(state, number, out);
        }
    }

    /// An operation that nobody has been asked for: this node answers first, if it is a replica.
    fn start(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        match pending.goal {
            Goal::Write(_) => self.store_here(state, number, out),
            Goal::Read => {
                let view = self.view(&state.durable);
                if view.readers(&pending.key).contains(self.me) {
                    let own = state.durable.table.cell(&pending.key);
                    self.on_data(state, self.me, operation, &own, out);
                }
            }
        }
        if let Some(pending) = state.volatile.pending.get(&number)
            && pending.phase.is_first(pending.goal)
        {
            self.ask(state, number, out);
        }
    }

    /// Sends what the operation waits for to those who have not answered.
    pub(super) fn ask(&self, state: &State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let operation = Operation {
            incarnation: state.durable.incarnation,
            number,
        };
        let view = self.view(&state.durable);
        let (stage, key) = (view.stage(), pending.key.clone());
        let (to, message) = match pending.phase {
            Phase::Query { answered, .. } => (
                view.readers(&key).difference(answered),
                Message::Read {
                    operation,
                    stage,
                    key,
                },
            ),
            Phase::Store { stored } => (
                view.writers(&key).all().difference(stored),
                Message::Write {
                    operation,
                    stage,
                    key,
                    cell: pending.cell.clone(),
                },
            ),
        };
        out.broadcast(to.iter().filter(|node| *node != self.me), &message);
    }

    /// This node keeps what its operation stores, if it is a replica.
    fn store_here(&self, state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.get(&number) else {
            return;
        };
        let (key, cell) = (pending.key.clone(), pending.cell.clone());
        let writers = self.view(&state.durable).writers(&key);
        if writers.all().contains(self.me) {
            Self::keep(state, &key, &cell);
            self.on_stored(state, self.me, number, out);
        }
    }

    /// A coordinator hears from a replica that its disk has it.
    pub(super) fn on_written(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        out: &mut Outbox<Self>,
    ) {
        if operation.incarnation == state.durable.incarnation {
            self.on_stored(state, from, operation.number, out);
        }
    }

    fn on_stored(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        number: u64,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation returned long ago.
        };
        let Phase::Store { stored } = &mut pending.phase else {
            return; // From before it began anew: it will be asked again.
        };
        let writers = view.writers(&pending.key);
        if !writers.all().contains(from) {
            return; // Only replicas count.
        }
        stored.insert(from);
        if writers.is_enough(self.counting, *stored) {
            Self::end(state, number, out);
        }
    }

    /// A coordinator hears from a replica what it has.
    pub(super) fn on_data(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        operation: Operation,
        theirs: &Cell,
        out: &mut Outbox<Self>,
    ) {
        if operation.incarnation != state.durable.incarnation {
            return; // From before a restart.
        }
        let view = self.view(&state.durable);
        let number = operation.number;
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return; // The operation returned long ago.
        };
        let Phase::Query { answered, holders } = &mut pending.phase else {
            return; // It had its answers: this one is late.
        };
        if !view.readers(&pending.key).contains(from) || !answered.insert(from) {
            return; // Only replicas count, and once.
        }
        if !pending.cell.covers(theirs) {
            pending.cell.merge(theirs);
            *holders = NodeSet::EMPTY; // All so far lack this.
        }
        if theirs.covers(&pending.cell) {
            holders.insert(from);
        }
        let (answered, stored) = (*answered, *holders);
        if view.can_read(&pending.key, answered) {
            self.repair(state, number, stored, out);
        }
    }

    /// A read has its answer. It returns once that is stored as a write would be: during a change the
    /// old replicas alone are not enough, for the next read may ask the new ones.
    fn repair(
        &self,
        state: &mut State<Self>,
        number: u64,
        stored: NodeSet,
        out: &mut Outbox<Self>,
    ) {
        let view = self.view(&state.durable);
        let Some(pending) = state.volatile.pending.get_mut(&number) else {
            return;
        };
        let writers = view.writers(&pending.key);
        if pending.cell == Cell::Nothing || writers.is_enough(self.counting, stored) {
            Self::end(state, number, out);
            return;
        }
        pending.phase = Phase::Store { stored };
        if !stored.contains(self.me) {
            self.store_here(state, number, out);
        }
        self.ask(state, number, out);
    }

    /// The operation returns.
    fn end(state: &mut State<Self>, number: u64, out: &mut Outbox<Self>) {
        let Some(pending) = state.volatile.pending.remove(&number) else {
            return;
        };
        out.disarm(Timer::Retry(number));
        let ticket = pending.ticket;
        out.tell(match pending.goal {
            Goal::Write(stamp) => Event::Wrote { ticket, stamp },
            Goal::Read => {
                let cell = pending.cell;
                Event::Got { ticket, cell }
            }
        });
    }
}

impl Phase {
    /// True if an operation with this goal begins so.
    fn is_first(self, goal: Goal) -> bool {
        matches!(
            (self, goal),
            (Self::Query { .. }, Goal::Read) | (Self::Store { .. }, Goal::Write(_))
        )
    }
}

fn first_phase(goal: Goal) -> Phase {
    match goal {
        Goal::Write(_) => Phase::Store {
            stored: NodeSet::EMPTY,
        },
        Goal::Read => Phase::Query {
            answered: NodeSet::EMPTY,
            holders: NodeSet::EMPTY,
        },
    }
}

/// Whether an operation on this key can be begun.
fn admit(volatile: &Volatile, key: &str) -> Result<(), Refusal> {
    if volatile.pending.len() >= PENDING_MAX {
        return Err(Refusal::Busy);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    Ok(())
}
