//! What a member knows of the others, and how it comes to know it.

use super::{Event, MEMBERS_MAX, Message, Standing, Standings, Status, Swim, Timer, Volatile};
use crate::data::NodeSet;
use crate::machine::{NodeId, Outbox, State};

impl Swim {
    /// The others that take part, as far as is known.
    pub fn live(&self, volatile: &Volatile) -> NodeSet {
        let view = volatile.view.iter();
        let live = view.filter(|(node, standing)| **node != self.me && standing.is_live());
        live.map(|(node, _)| *node).collect()
    }

    /// True if this one is greeted now and then: it is held dead, or is a seed and was never heard of.
    pub(super) fn is_greeted(&self, volatile: &Volatile, peer: NodeId) -> bool {
        match volatile.view.get(&peer) {
            Some(standing) => standing.status == Status::Dead,
            None => self.seeds.contains(peer),
        }
    }

    /// Greets one that may not know, and does so again later.
    pub(super) fn greet(&self, volatile: &Volatile, peer: NodeId, out: &mut Outbox<Self>) {
        let held = volatile.view.get(&peer).copied();
        let standings = self.about(volatile, peer);
        out.send(peer, Message::Greeting { held, standings });
        out.arm(Timer::Greet { peer });
    }

    /// Somebody tells what it knows.
    pub(super) fn hear(
        &self,
        state: &mut State<Self>,
        standings: &Standings,
        out: &mut Outbox<Self>,
    ) {
        if self.has_left(&state.volatile) {
            return; // It is of no interest any more.
        }
        for (node, standing) in standings {
            if *node == self.me {
                self.defend(state, *standing, out);
            } else if node.0 < MEMBERS_MAX {
                self.learn(state, *node, *standing, out);
            }
        }
    }

    /// Somebody says something of this member that it did not say itself.
    fn defend(&self, state: &mut State<Self>, accusation: Standing, out: &mut Outbox<Self>) {
        let mine = state.volatile.view.get(&self.me);
        if mine.is_some_and(|mine| accusation <= *mine) {
            return; // It said so itself, or has refuted it already.
        }
        // §4.2: one more than what was said, which is more than its own even if its disk forgot.
        let Some(incarnation) = accusation.incarnation.checked_add(1) else {
            return; // Nothing is greater.
        };
        state.durable.next = incarnation.saturating_add(1);
        (state.volatile.view).insert(self.me, Standing::alive(incarnation));
        // Lifeguard §III.A: whoever is suspected may be slow.
        self.worsen(&mut state.volatile);
        out.tell(Event::Refuted {
            accusation,
            incarnation,
        });
    }

    /// Believes it if it is greater than what was known, and passes it on.
    pub(super) fn learn(
        &self,
        state: &mut State<Self>,
        node: NodeId,
        standing: Standing,
        out: &mut Outbox<Self>,
    ) {
        let known = state.volatile.view.get(&node).copied();
        if known.is_some_and(|known| standing <= known) {
            return; // §4.2: older, or no news.
        }
        state.volatile.view.insert(node, standing);
        if self.news_pings > 0 {
            state.volatile.news.insert(node, self.news_pings);
        }
        out.tell(Event::Changed { node, standing });
        self.watch(state, node, known, standing, out);
    }

    /// Arms what this standing calls for.
    fn watch(
        &self,
        state: &mut State<Self>,
        peer: NodeId,
        known: Option<Standing>,
        standing: Standing,
        out: &mut Outbox<Self>,
    ) {
        if standing.status == Status::Suspect {
            out.arm(Timer::Suspicion { peer });
        } else {
            out.disarm(Timer::Suspicion { peer });
        }
        if standing.status == Status::Dead {
            out.arm(Timer::Greet { peer });
        } else {
            out.disarm(Timer::Greet { peer });
        }
        let was_live = known.is_some_and(Standing::is_live);
        match (was_live, standing.is_live()) {
            (false, true) => {
                if state.volatile.probe.is_none() {
                    let health = state.volatile.health;
                    out.arm(Timer::Probe { peer, health });
                }
            }
            (true, false) => self.drop_out(state, peer, out),
            (true, true) | (false, false) => {}
        }
    }

    /// A suspicion stood for long enough.
    pub(super) fn on_suspicion(
        &self,
        state: &mut State<Self>,
        peer: NodeId,
        out: &mut Outbox<Self>,
    ) {
        let Some(standing) = state.volatile.view.get(&peer).copied() else {
            return; // Nobody is suspected who is not known.
        };
        if standing.status == Status::Suspect {
            let status = Status::Dead;
            self.learn(state, peer, Standing { status, ..standing }, out);
        }
    }

    /// What every message about `node` says: how its sender is, and how that one is, so that it hears
    /// what it has to refute.
    pub(super) fn about(&self, volatile: &Volatile, node: NodeId) -> Standings {
        let both = [self.me, node].into_iter();
        both.filter_map(|node| Some((node, *volatile.view.get(&node)?)))
            .collect()
    }

    /// That, and news: what is to go out on the most pings first. §4.1: what is newest goes first.
    pub(super) fn with_news(&self, volatile: &Volatile, to: NodeId, node: NodeId) -> Standings {
        let mut standings = self.about(volatile, node);
        standings.merge_left(&self.about(volatile, to));
        for piece in self.pieces(volatile, to) {
            if let Some(standing) = volatile.view.get(&piece) {
                standings.insert(piece, *standing);
            }
        }
        standings
    }

    /// The pieces of news that the next message to this one carries.
    fn pieces(&self, volatile: &Volatile, to: NodeId) -> NodeSet {
        let mut news: alloc::vec::Vec<(u32, NodeId)> = (volatile.news.iter())
            .filter(|(node, _)| **node != to)
            .map(|(node, left)| (u32::MAX - left, *node))
            .collect();
        news.sort_unstable();
        let first = news.into_iter().take(self.news_max as usize);
        first.map(|(_, node)| node).collect()
    }

    /// A ping with news goes out: each piece goes out once less.
    pub(super) fn spend(&self, volatile: &mut Volatile, to: NodeId) {
        for node in self.pieces(volatile, to) {
            match volatile.news.get(&node).copied() {
                Some(left) if left > 1 => {
                    volatile.news.insert(node, left - 1);
                }
                Some(_) | None => {
                    volatile.news.remove(&node);
                }
            }
        }
    }
}
