//! The ghost of leases: who holds, which tokens there were, and whether the clocks were as good as is
//! assumed.

use std::collections::BTreeSet;
use std::fmt;

use quorate::lease::{Call, Ending, Epoch, Event, Request};
use quorate::machine::{Machine, NodeId};

use crate::clocked::{Clocked, Timing, Told};
use crate::ghost::Ghost;

/// What is known of clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clocks {
    /// Whose clock counts terms.
    pub authority: NodeId,
    /// How many ticks a term has.
    pub term: u64,
    /// How many fewer the holder's clock may tick in that time.
    pub drift: u64,
}

/// The term that the authority counts, while its holder counts it too: how often both clocks ticked.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Window {
    to: NodeId,
    request: Request,
    authority: u64,
    holder: u64,
}

/// A writer: the node, and its token.
type Writer = (NodeId, Epoch);

/// What was told.
#[derive(Clone, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one verdict for each promise, each read by its own"
)]
pub struct Ledger {
    clocks: Clocks,
    /// The call of which is to be known whether it acquired.
    heir: Option<u64>,
    /// Which requests are counted, and by whom.
    counting: BTreeSet<(NodeId, Request)>,
    /// Who holds, and by which request.
    holders: BTreeSet<(NodeId, Request)>,
    window: Option<Window>,
    leased: Epoch,
    accepted: Epoch,
    writer: Option<Writer>,
    /// Those who wrote before the last writer.
    past: BTreeSet<Writer>,
    /// A holder's clock has lost more than the bound in a term that both counted.
    pub drifted: bool,
    /// Two held at once, and no clock had drifted past the bound before.
    pub overlapped: bool,
    /// Two held at once, and one had.
    pub overlapped_by_drift: bool,
    /// A lease began by a token that was not larger than all before.
    pub reused: bool,
    /// A smaller token was accepted than one before.
    pub fell: bool,
    /// A writer wrote after another node that had come after it.
    pub interleaved: bool,
    /// A write was refused.
    pub refused: bool,
    /// A write was refused though its token was no smaller than any accepted.
    pub refused_wrongly: bool,
    /// The heir has acquired.
    pub inherited: bool,
    /// A lease was extended.
    pub extended: bool,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders: Vec<NodeId> = self.holders.iter().map(|(node, _)| *node).collect();
        match holders.as_slice() {
            [] => write!(f, "nobody holds")?,
            [one] => write!(f, "{one} holds")?,
            several => write!(f, "{several:?} hold")?,
        }
        write!(f, "; last lease {}", self.leased.0)?;
        if let Some((node, epoch)) = self.writer {
            write!(f, "; written last by {node} with token {}", epoch.0)?;
        }
        if let Some(Window {
            to,
            authority,
            holder,
            ..
        }) = &self.window
        {
            write!(
                f,
                "; in this term the authority's clock ticked {authority} times, that of {to} {holder}"
            )?;
        }
        for (is, words) in [
            (self.drifted, "a clock was worse than the bound"),
            (self.extended, "a lease was extended"),
            (self.overlapped, "two held at once"),
            (self.overlapped_by_drift, "two held at once, by a bad clock"),
            (self.reused, "a token was used again"),
            (self.fell, "a smaller token was accepted"),
            (self.interleaved, "holders interleaved"),
            (self.refused, "a write was refused"),
            (self.refused_wrongly, "and it should not have been"),
            (self.inherited, "the heir has acquired"),
        ] {
            if is {
                write!(f, "; {words}")?;
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// Nothing was told yet.
    pub fn new(clocks: Clocks, heir: Option<u64>) -> Self {
        Self {
            clocks,
            heir,
            counting: BTreeSet::new(),
            holders: BTreeSet::new(),
            window: None,
            leased: Epoch(0),
            accepted: Epoch(0),
            writer: None,
            past: BTreeSet::new(),
            drifted: false,
            overlapped: false,
            overlapped_by_drift: false,
            reused: false,
            fell: false,
            interleaved: false,
            refused: false,
            refused_wrongly: false,
            inherited: false,
            extended: false,
        }
    }

    /// True if some lease has written after another.
    pub fn has_passed_on(&self) -> bool {
        !self.past.is_empty()
    }

    /// True if a lease after the first was granted.
    pub fn is_second(&self) -> bool {
        self.leased > Epoch(1)
    }

    /// A clock ticks. The premise is checked when the authority has counted a term: has the holder, that
    /// counts it still, counted that much less the drift?
    fn ticks(&mut self, node: NodeId) {
        let Some(window) = &mut self.window else {
            return;
        };
        if node == window.to {
            window.holder = (window.holder + 1).min(self.clocks.term);
        } else if node == self.clocks.authority {
            window.authority += 1;
            if window.authority == self.clocks.term {
                self.drifted |= window.holder + self.clocks.drift < self.clocks.term;
                self.window = None;
            }
        }
        if self.drifted {
            // Nothing is promised of time any more.
            self.counting.clear();
        }
    }

    /// The authority begins to count a term. It is nobody's business if nobody else counts it.
    fn begins(&mut self, to: NodeId, request: Request) {
        let is_counted = self.counting.contains(&(to, request));
        self.window = is_counted.then_some(Window {
            to,
            request,
            authority: 0,
            holder: 0,
        });
    }

    fn holds(&mut self, node: NodeId, request: Request) {
        let mut others = self.holders.iter().filter(|(other, _)| *other != node);
        if others.next().is_some() {
            self.overlapped |= !self.drifted;
            self.overlapped_by_drift |= self.drifted;
        }
        self.holders.insert((node, request));
    }

    fn accepts(&mut self, writer: Writer) {
        let (_, epoch) = writer;
        self.fell |= epoch < self.accepted;
        self.accepted = self.accepted.max(epoch);
        let is_anothers = self.writer.is_some_and(|(last, _)| last != writer.0);
        self.interleaved |= is_anothers && self.past.contains(&writer);
        if let Some(before) = self.writer.replace(writer)
            && before != writer
        {
            self.past.insert(before);
        }
    }

    fn happens(&mut self, node: NodeId, event: &Event) {
        match event {
            Event::Asked { request } => {
                if !self.drifted {
                    self.counting.insert((node, *request));
                }
            }
            Event::Held { request, .. } => self.holds(node, *request),
            Event::Stopped { request } => {
                self.counting.remove(&(node, *request));
                self.holders.remove(&(node, *request));
                let of = |window: &mut Window| (window.to, window.request) == (node, *request);
                self.window.take_if(of);
            }
            Event::Leased { to, request, epoch } => {
                self.reused |= *epoch <= self.leased;
                self.leased = self.leased.max(*epoch);
                self.begins(*to, *request);
            }
            Event::Extended { to, request } => {
                self.extended = true;
                self.begins(*to, *request);
            }
            Event::Expired { .. } => self.window = None,
            Event::Accepted { from, epoch } => self.accepts((*from, *epoch)),
            Event::Refused { epoch } => {
                self.refused = true;
                self.refused_wrongly |= *epoch >= self.accepted;
            }
            Event::Done { ticket, ending } => {
                let is_heir = self.heir == Some(*ticket);
                self.inherited |= is_heir && matches!(ending, Ending::Acquired(_));
            }
        }
    }
}

impl<M, C> Ghost<Clocked<M, C>> for Ledger
where
    M: Machine<Call = Call, Event = Event>,
    C: Timing<M>,
{
    fn ticket(call: &Call) -> Option<u64> {
        let (Call::Acquire { ticket } | Call::Renew { ticket } | Call::Write { ticket, .. }) = call;
        Some(*ticket)
    }

    fn finished(event: &Told<Event, M::Timer>) -> Option<u64> {
        match event {
            Told::Event(Event::Done { ticket, .. }) => Some(*ticket),
            Told::Ticked | Told::Counts(_) | Told::Counted(_) | Told::Event(_) => None,
        }
    }

    fn on_event(&mut self, node: NodeId, event: &Told<Event, M::Timer>) {
        match event {
            Told::Ticked => self.ticks(node),
            Told::Counts(_) | Told::Counted(_) => {}
            Told::Event(event) => self.happens(node, event),
        }
    }

    /// It holds and counts no more. An authority counts a whole term again, from its restart.
    fn on_crash(&mut self, node: NodeId) {
        self.counting.retain(|(other, _)| *other != node);
        self.holders.retain(|(other, _)| *other != node);
        self.window.take_if(|window| window.to == node);
        if let Some(window) = &mut self.window
            && node == self.clocks.authority
        {
            window.authority = 0;
            window.holder = 0;
        }
    }
}
