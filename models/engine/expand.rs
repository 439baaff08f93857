//! What comes after a state.

use std::ops::Range;

use quorate::machine::NodeId;

use super::contents::{Life, RECEIVER, SENDER};
use super::space::{Deed, NONE, Row, Sent, Sink, Space, Stepped, What};

/// What every state has on the way to its successors.
#[derive(Clone, Copy)]
struct Origin<'r> {
    row: &'r Row,
    print: u64,
    /// The cut that is in force, by its place in the world's list.
    cut: Option<usize>,
}

impl Space<'_> {
    /// Gives every successor of a state to `sink`, and says how many there are.
    pub(super) fn expand<S: Sink>(&mut self, row: &Row, print: u64, sink: &mut S) -> usize {
        let (nodes, outer, letters) = self.parts(row);
        if self.is_over(outer) {
            return 0;
        }
        let cut = self.outers.get(outer).adversary.cut;
        let origin = Origin { row, print, cut };
        let mut count = 0;
        for letter in letters {
            let Sent { from, to } = *self.letters.get(*letter);
            if let Some(step) = self.busy_delivery(nodes[to], *letter)
                && !self.blocks(cut, from, to)
            {
                sink.does(Deed::Deliver(*letter));
                count += self.take(origin, to, step, outer, sink);
            }
        }
        for (place, node) in nodes.iter().enumerate() {
            for at in self.moves(*node) {
                let step = self.moves[at as usize];
                if S::DEEDS {
                    sink.does(self.move_of(*node, place, step));
                }
                count += self.take(origin, place, step, outer, sink);
            }
        }
        count + self.expand_outer(origin, sink)
    }

    /// The steps that a node may take of its own accord: alarms ring, or it restarts.
    fn moves(&mut self, node: u32) -> Range<u32> {
        if let Some(known) = &self.nodes.get(node).moves {
            return known.clone();
        }
        let whats: Vec<What> = match &self.nodes.get(node).life {
            Life::Up(alarms) => {
                let rings = (0..).zip(alarms).filter(|(_, alarm)| alarm.rings);
                rings.map(|(at, _)| What::Timer(at)).collect()
            }
            Life::Down(unflushed) => (0..=*unflushed).map(What::Boot).collect(),
            Life::Traitor => Vec::new(),
        };
        let mut moves: Vec<u32> = (whats.into_iter())
            .filter_map(|what| self.busy_step(node, what))
            .collect();
        let place = |length| u32::try_from(length).expect("fewer than 2^32 moves");
        let start = place(self.moves.len());
        self.moves.append(&mut moves);
        let range = start..place(self.moves.len());
        self.nodes.get_mut(node).moves = Some(range.clone());
        range
    }

    /// What a node does of its own accord in a step.
    fn move_of(&self, node: u32, place: usize, step: u32) -> Deed {
        let place = u32::try_from(place).expect("a world has at most 64 nodes");
        match (self.details[step as usize].what, &self.nodes.get(node).life) {
            (What::Timer(at), Life::Up(alarms)) => Deed::Ring(place, alarms[at as usize].timer),
            (What::Boot(lost), Life::Down(_)) => Deed::Boot(place, lost),
            (What::Timer(_) | What::Boot(_) | What::Letter(_) | What::Call(_), _) => {
                unreachable!("alarms ring where they are armed, and who is down restarts")
            }
        }
    }

    /// The node at `place` takes a step, from a state whose outer may be another one by now. Says how
    /// many successors that is: none if nothing changed after all.
    #[inline]
    fn take(
        &mut self,
        origin: Origin<'_>,
        place: usize,
        step: u32,
        outer: u32,
        sink: &mut impl Sink,
    ) -> usize {
        let Stepped {
            after,
            sends,
            tells,
        } = self.stepped[step as usize];
        let Origin { row, print, .. } = origin;
        if sends == NONE && tells == NONE && outer == row[self.places] && !self.rules.purges {
            let print = print
                .wrapping_sub(self.nodes.print(row[place]))
                .wrapping_add(self.nodes.print(after));
            if sink.wants(print) {
                sink.tray(print).push_changed(row, place, after, print);
            }
            self.fired[step as usize] += 1;
            return 1;
        }
        self.take_with_consequences(origin, place, step, outer, sink)
    }

    /// The same, of a step that sends or tells something, or that may be the death of messages.
    #[inline(never)]
    fn take_with_consequences(
        &mut self,
        origin: Origin<'_>,
        place: usize,
        step: u32,
        outer: u32,
        sink: &mut impl Sink,
    ) -> usize {
        let Stepped {
            after,
            sends,
            tells,
        } = self.stepped[step as usize];
        let Origin { row, print, .. } = origin;
        let before = row[place];
        let mut print = print
            .wrapping_sub(self.nodes.print(before))
            .wrapping_add(self.nodes.print(after));
        self.child.clear();
        self.child.extend_from_slice(row);
        self.child[place] = after;
        if after != before {
            self.purge(place, &mut print);
        }
        let news = self.send(place, sends, &mut print);
        let outer_after = self.tell(outer, tells);
        self.child[self.places] = outer_after;
        if after == before && !news && tells == NONE && outer_after == row[self.places] {
            return 0; // All it sent had been sent before, or was dead on arrival.
        }
        if outer_after != row[self.places] && self.is_excluded(outer_after) {
            return 0;
        }
        self.fired[step as usize] += 1;
        let old = self.outers.print(row[self.places]);
        let print = print
            .wrapping_sub(old)
            .wrapping_add(self.outers.print(outer_after));
        if sink.wants(print) {
            sink.tray(print).push(&self.child, print);
        }
        1
    }

    /// In `self.child`, the node at `place` is another one: messages that died of it are forgotten.
    fn purge(&mut self, place: usize, print: &mut u64) {
        if !self.rules.purges {
            return;
        }
        let mut kept = self.places + 1;
        let before = kept..self.child.len();
        for at in before {
            let letter = self.child[at];
            let sent = self.letters.get(letter);
            let touches = sent.from == place || sent.to == place;
            if touches && self.is_dead(letter, place) {
                *print = print.wrapping_sub(self.letters.print(letter));
            } else {
                self.child[kept] = letter;
                kept += 1;
            }
        }
        self.child.truncate(kept);
    }

    /// To `self.child`, what the node at `place` sends is added, but for those that are there and those that are dead on
    /// arrival. True if any was.
    fn send(&mut self, place: usize, sends: u32, print: &mut u64) -> bool {
        if sends == NONE {
            return false;
        }
        let start = self.places + 1;
        let mut news = false;
        for at in 0..self.sends.get(sends).len() {
            let letter = self.sends.get(sends)[at];
            if let Err(at) = self.child[start..].binary_search(&letter)
                && !self.is_dead(letter, place)
            {
                self.child.insert(start + at, letter);
                *print = print.wrapping_add(self.letters.print(letter));
                news = true;
            }
        }
        news
    }

    /// True if, among the nodes of `self.child`, the message will never matter again. The end that
    /// `changed` is asked first: if it is not done, the other one does not matter.
    #[inline]
    fn is_dead(&mut self, letter: u32, changed: usize) -> bool {
        if !self.rules.purges {
            return false;
        }
        let sent = self.letters.get(letter);
        let (sender, receiver) = ((sent.from, SENDER), (sent.to, RECEIVER));
        let (first, second) = if sent.from == changed {
            (sender, receiver)
        } else {
            (receiver, sender)
        };
        self.is_done(self.child[first.0], letter, first.1)
            && self.is_done(self.child[second.0], letter, second.1)
    }

    /// Calls, crashes, cuts and lies.
    fn expand_outer(&mut self, origin: Origin<'_>, sink: &mut impl Sink) -> usize {
        let outer = origin.row[self.places];
        let mut count = 0;
        for at in 0..self.outers.get(outer).calls.len() {
            let (client, call) = self.outers.get(outer).calls[at];
            sink.does(Deed::Call(client));
            for place in 0..self.places {
                count += self.expand_call(origin, client, call, place, sink);
            }
        }
        let adversary = self.outers.get(outer).adversary;
        sink.does(Deed::Mischief);
        if adversary.crashes > 0 {
            for node in self.rules.mortal {
                count += self.expand_crash(origin, node, sink);
            }
        }
        if adversary.cuts > 0 || adversary.cut.is_some() {
            if adversary.cut.is_some() {
                sink.does(Deed::Heal);
            }
            for next in self.cuts(outer) {
                self.faults[1 + usize::from(adversary.cut.is_some())] += 1;
                count += 1;
                let print = (origin.print)
                    .wrapping_sub(self.outers.print(outer))
                    .wrapping_add(self.outers.print(next));
                if sink.wants(print) {
                    sink.tray(print)
                        .push_changed(origin.row, self.places, next, print);
                }
            }
        }
        sink.does(Deed::Mischief);
        for traitor in self.rules.traitors {
            count += self.expand_lies(origin, traitor, sink);
        }
        count
    }

    fn expand_call(
        &mut self,
        origin: Origin<'_>,
        client: u32,
        call: u32,
        place: usize,
        sink: &mut impl Sink,
    ) -> usize {
        let (nodes, outer, _) = self.parts(origin.row);
        let is_door = self.rules.doors[client as usize].contains(NodeId(place as u64));
        if !is_door || !self.is_up(nodes[place]) {
            return 0;
        }
        let asked = self.ask(outer, client, place);
        match self.step(nodes[place], What::Call(call)) {
            Some(step) => self.take(origin, place, step, asked, sink),
            None => 0,
        }
    }

    fn expand_crash(&mut self, origin: Origin<'_>, node: NodeId, sink: &mut impl Sink) -> usize {
        let (nodes, outer, _) = self.parts(origin.row);
        let place = usize::try_from(node.0).unwrap_or(usize::MAX);
        let Some(before) = nodes.get(place).copied() else {
            return 0;
        };
        let (Some(crashed), Some(buried)) = (self.crashed(before), self.bury(outer, place)) else {
            return 0;
        };
        if self.is_excluded(buried) {
            return 0;
        }
        self.child.clear();
        self.child.extend_from_slice(origin.row);
        self.child[place] = crashed;
        self.child[self.places] = buried;
        let mut print = (origin.print)
            .wrapping_sub(self.nodes.print(before))
            .wrapping_add(self.nodes.print(crashed))
            .wrapping_sub(self.outers.print(outer))
            .wrapping_add(self.outers.print(buried));
        self.purge(place, &mut print);
        self.faults[0] += 1;
        if sink.wants(print) {
            sink.tray(print).push(&self.child, print);
        }
        1
    }

    fn expand_lies(&mut self, origin: Origin<'_>, traitor: NodeId, sink: &mut impl Sink) -> usize {
        let (nodes, outer, letters) = self.parts(origin.row);
        let me = usize::try_from(traitor.0).unwrap_or(usize::MAX);
        let heard = letters.iter().copied();
        let heard: Vec<u32> = heard
            .filter(|letter| self.receiver(*letter) == me)
            .collect();
        let lies = self.lies(me, heard);
        let mut count = 0;
        for at in 0..self.lies.get(lies).said.len() {
            let (to, letter) = self.lies.get(lies).said[at];
            if self.blocks(origin.cut, me, to) {
                continue;
            }
            if let Some(step) = self.busy_delivery(nodes[to], letter) {
                let told = self.take(origin, to, step, outer, sink);
                self.faults[3] += told as u64;
                count += told;
            }
        }
        count
    }

    /// True if nothing gets from there to here while the cut is in force.
    #[inline]
    fn blocks(&self, cut: Option<usize>, from: usize, to: usize) -> bool {
        cut.is_some_and(|cut| self.rules.cuts[cut].blocks(from, to))
    }
}
