//! What promises know of the past of a Raft cluster: the paper's Figure 3 is stated over all of
//! history, not over one moment.

use std::fmt;

use quorate::machine::{Machine, NodeId};
use quorate::raft::{
    Call, Command, Entry, Event, Index, Membership, Operation, Outcome, Position, Reply, Session,
    Store, Term,
};

use crate::ghost::Ghost;
use crate::history::{self, History, OperationId};
use crate::kv::OneStore;
use crate::symmetry::Renaming;

/// One leader and its term.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reign {
    /// The term.
    pub term: Term,
    /// Who led.
    pub leader: NodeId,
    /// The end of its log when it was elected.
    pub last: Position,
    /// The end of its log after what it proposed.
    pub length: Index,
}

/// What happened so far.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one verdict for each promise, each read by its own"
)]
pub struct Past {
    /// Every leader, by term.
    pub reigns: Vec<Reign>,
    /// What was committed, from index 1 on, and in which term at the latest.
    pub committed: Vec<(Entry, Term)>,
    /// A term had two leaders.
    pub split: bool,
    /// Two nodes committed different entries at one index.
    pub forked: bool,
    /// A leader counted for an entry of another's term.
    pub miscounted: bool,
    /// A snapshot was installed.
    pub installed: bool,
    /// A leader that was to hand over leads no more.
    pub handed_over: bool,
}

impl Past {
    fn on_event(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Elected { term, last } => {
                self.split |= self.reigns.iter().any(|reign| reign.term == *term);
                self.reigns.push(Reign {
                    term: *term,
                    leader: node,
                    last: *last,
                    length: last.index,
                });
                self.reigns.sort_unstable();
            }
            Event::Proposed { position } => {
                let same = |reign: &&mut Reign| (reign.term, reign.leader) == (position.term, node);
                if let Some(reign) = self.reigns.iter_mut().find(same) {
                    reign.length = reign.length.next();
                }
            }
            Event::Decided { term, position } => self.miscounted |= position.term != *term,
            Event::Committed { term, index, entry } => self.commit(*term, *index, entry),
            Event::Installed { .. } => self.installed = true,
            Event::Transferred { outcome, .. } => match outcome {
                Outcome::Yielded => self.handed_over = true,
                Outcome::TimedOut => {}
            },
            Event::Leased { .. }
            | Event::LeaseEnded { .. }
            | Event::Replied { .. }
            | Event::Abandoned { .. }
            | Event::Refused { .. } => {}
        }
    }

    /// What the first entries make of a store, as many as that; nothing, if not so many are committed.
    pub fn made(&self, commit: Index) -> Option<Store> {
        let entries = usize::try_from(commit.0).ok()?;
        let mut store = Store::default();
        for (entry, _) in self.committed.get(..entries)? {
            store.apply(&entry.command);
        }
        Some(store)
    }

    /// The memberships that were committed.
    pub fn memberships(&self) -> impl Iterator<Item = Membership> {
        let commands = self.committed.iter().map(|(entry, _)| &entry.command);
        commands.filter_map(|command| match command {
            Command::Members(membership) => Some(*membership),
            Command::NoOp | Command::Apply { .. } => None,
        })
    }

    fn commit(&mut self, term: Term, index: Index, entry: &Entry) {
        let place = usize::try_from(index.0).unwrap_or(usize::MAX) - 1;
        match self.committed.get_mut(place) {
            Some((known, since)) => {
                self.forked |= known != entry;
                *since = term.min(*since);
            }
            None => self.committed.push((entry.clone(), term)),
        }
    }

    /// True if a leader's own entry lost its place to another's, which was committed.
    pub fn overwritten(&self) -> bool {
        self.reigns.iter().any(|reign| {
            (1..)
                .map(Index)
                .zip(&self.committed)
                .any(|(index, (entry, _))| {
                    reign.last.index < index && index <= reign.length && entry.term != reign.term
                })
        })
    }

    /// True if an entry was committed in a later term than its own.
    pub fn committed_indirectly(&self) -> bool {
        self.committed
            .iter()
            .any(|(entry, since)| entry.term < *since)
    }
}

impl Past {
    fn renamed(&self, names: &Renaming) -> Self {
        let mut renamed = self.clone();
        for reign in &mut renamed.reigns {
            reign.leader = names.node(reign.leader);
        }
        renamed.reigns.sort_unstable();
        renamed
    }
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reign in &self.reigns {
            write!(f, "{} led {:?}; ", reign.leader, reign.term)?;
        }
        write!(f, "committed:")?;
        for (entry, _) in &self.committed {
            write!(f, " {entry:?}")?;
        }
        for (wrong, what) in [
            (self.split, "a term had two leaders"),
            (self.forked, "two entries were committed at one index"),
            (self.installed, "a snapshot was installed"),
            (self.handed_over, "a leadership was handed over"),
            (
                self.miscounted,
                "a leader counted for an older term's entry",
            ),
        ] {
            if wrong {
                write!(f, "; {what}")?;
            }
        }
        Ok(())
    }
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Past {
    /// Nobody waits for replies here: a client asks, and goes on.
    fn ticket(_: &Call) -> Option<u64> {
        None
    }

    fn finished(_: &Event) -> Option<u64> {
        None
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        self.on_event(node, event);
    }

    fn renamed(&self, names: &Renaming) -> Self {
        self.renamed(names)
    }
}

/// The same, and what clients know: the history of their calls.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Clients {
    /// What happened.
    pub past: Past,
    history: History<Operation, Reply>,
    /// Whether one store, with each command done once, could have answered so.
    pub linearizable: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            past: Past::default(),
            history: History::default(),
            linearizable: true,
        }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.linearizable { "" } else { "not " };
        write!(
            f,
            "{:?}; clients saw {:?} ({word}linearizable)",
            self.past, self.history
        )
    }
}

/// How many times one command may be sent.
pub(super) const ATTEMPTS_MAX: u64 = 8;

/// The name of a command, whenever it is sent, from the ticket of one time.
fn operation_id(ticket: u64) -> OperationId {
    OperationId(u32::try_from(ticket / ATTEMPTS_MAX).unwrap_or(u32::MAX))
}

/// The ticket of the `attempt`th time that a command is sent.
pub(super) fn ticket(session: Session, attempt: u64) -> u64 {
    (session.client * 16 + session.serial) * ATTEMPTS_MAX + attempt
}

impl<M: Machine<Call = Call, Event = Event>> Ghost<M> for Clients {
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Command { ticket, .. }
        | Call::Read { ticket, .. }
        | Call::Members { ticket, .. }
        | Call::Transfer { ticket, .. }) = call;
        Some(*ticket)
    }

    fn finished(event: &Event) -> Option<u64> {
        match event {
            Event::Replied { ticket, .. }
            | Event::Abandoned { ticket }
            | Event::Transferred { ticket, .. }
            | Event::Refused { ticket, .. } => Some(*ticket),
            Event::Elected { .. }
            | Event::Proposed { .. }
            | Event::Decided { .. }
            | Event::Installed { .. }
            | Event::Leased { .. }
            | Event::LeaseEnded { .. }
            | Event::Committed { .. } => None,
        }
    }

    fn on_call(&mut self, _: usize, _: NodeId, call: &Call) {
        let (ticket, operation) = match call {
            Call::Command {
                ticket, operation, ..
            } => (ticket, operation.clone()),
            Call::Read { ticket, key } => (ticket, Operation::Get { key: key.clone() }),
            // These are about no key, and no part of the history.
            Call::Members { .. } | Call::Transfer { .. } => return,
        };
        // The second time it is called it is the same operation, still under way.
        let _ = self.history.called(operation_id(*ticket), operation);
    }

    fn renamed(&self, names: &Renaming) -> Self {
        Self {
            past: self.past.renamed(names),
            ..self.clone()
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Event) {
        self.past.on_event(node, event);
        if let Event::Replied { ticket, reply } = event {
            let id = operation_id(*ticket);
            if self.history.returned(id, reply.clone()).is_err() {
                let operations = self.history.operations();
                let first = operations.iter().find(|operation| operation.id == id);
                let agrees = first.is_some_and(|first| first.reply == Some(reply));
                self.linearizable &= agrees;
            }
            self.linearizable &= history::linearizable(&OneStore, &self.history).is_ok();
        }
    }
}

/// A ghost that knows the past.
pub trait Chronicle {
    /// It.
    fn past(&self) -> &Past;
}

impl Chronicle for Past {
    fn past(&self) -> &Past {
        self
    }
}

impl Chronicle for Clients {
    fn past(&self) -> &Past {
        &self.past
    }
}
