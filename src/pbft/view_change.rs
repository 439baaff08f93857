//! View changes (§4.4): how a primary is replaced, and what survives it.

use alloc::vec::Vec;

use super::keys::{Digest, Keys, Signature, Signed};
use super::log::Durable;
use super::statements::{
    Assignment, Certificate, Message, NewView, PrePrepare, Prepare, Sequence, Stable, Stance, View,
    ViewChange,
};
use super::{Event, Pbft};
use crate::data::Map;
use crate::machine::{NodeId, Outbox, State};

impl<K: Keys> Pbft<K> {
    /// ⟨VIEW-CHANGE, v, n, C, P, i⟩ as this replica's log has it.
    pub(super) fn view_change(&self, durable: &Durable) -> Signed<ViewChange> {
        let change = ViewChange {
            view: durable.view,
            stable: durable.stable.clone(),
            prepared: durable.certificates.values().cloned().collect(),
        };
        self.keys.signed(self.me, change)
    }

    /// §4.4: the replica "stops accepting messages (other than checkpoint, view-change, and new-view
    /// messages) and multicasts a view-change".
    pub(super) fn leave_for(&self, state: &mut State<Self>, view: View, out: &mut Outbox<Self>) {
        debug_assert!(state.durable.view < view, "views only grow");
        state.durable.view = view;
        state.durable.stance = Stance::Changing;
        state.durable.new_view = None;
        state.volatile.in_vain = state.volatile.in_vain.saturating_add(1);
        Self::forget_view(state);
        state
            .volatile
            .view_changes
            .retain(|_, change| view <= change.value.view);
        let change = self.view_change(&state.durable);
        out.broadcast(self.others(), &Message::ViewChange(change.clone()));
        state.volatile.view_changes.insert(self.me, change);
        self.begin(state, out);
    }

    /// Another replica has left its view.
    pub(super) fn on_view_change(
        &self,
        state: &mut State<Self>,
        change: Signed<ViewChange>,
        out: &mut Outbox<Self>,
    ) {
        let durable = &state.durable;
        let view = change.value.view;
        let is_old =
            view < durable.view || view == durable.view && durable.stance == Stance::Active;
        let known = state.volatile.view_changes.get(&change.by);
        let is_known = known.is_some_and(|known| view <= known.value.view);
        if is_old || is_known || change.by == self.me || !self.is_valid(&change) {
            return;
        }
        state.volatile.view_changes.insert(change.by, change);
        // §4.5.2: f + 1 that left for later views have an honest one among them: it follows, for the
        // smallest of those views, "even if its timer has not expired".
        let changes = state.volatile.view_changes.values();
        let later = changes
            .map(|change| change.value.view)
            .filter(|view| state.durable.view < *view);
        let later: Vec<View> = later.collect();
        match later.iter().min() {
            Some(next) if self.sizes.honest <= later.len() => self.leave_for(state, *next, out),
            Some(_) | None => self.begin(state, out),
        }
    }

    /// True if the view change says nothing but what others signed.
    fn is_valid(&self, change: &Signed<ViewChange>) -> bool {
        let ViewChange {
            view,
            stable,
            prepared,
        } = &change.value;
        let low = stable
            .as_ref()
            .map_or(Sequence::default(), |stable| stable.checkpoint.sequence);
        let places = prepared.iter().map(|proof| proof.assignment.sequence);
        let ordered = places
            .clone()
            .zip(places.skip(1))
            .all(|(one, next)| one < next);
        self.is_replica(change.by)
            && ordered
            && stable.as_ref().is_none_or(|stable| self.is_stable(stable))
            && prepared.iter().all(|certificate| {
                let Assignment {
                    view: then,
                    sequence,
                    ..
                } = certificate.assignment;
                then < *view && self.is_within(low, sequence) && self.is_prepared(certificate)
            })
            && self.keys.is_genuine(change)
    }

    /// True if the certificate shows that its batch was prepared.
    fn is_prepared(&self, certificate: &Certificate) -> bool {
        let Certificate {
            assignment,
            pre_prepare,
            prepares,
        } = certificate;
        let primary = self.sizes.primary(assignment.view);
        let mut backups = self.sizes.replicas;
        backups.remove(primary);
        let enough = self.sizes.prepares;
        self.keys
            .verify(primary, &PrePrepare(*assignment), pre_prepare)
            && self
                .keys
                .proves(prepares, &Prepare(*assignment), backups, enough)
    }

    /// §4.4: the primary of the view begins it once a quorum left for it.
    fn begin(&self, state: &mut State<Self>, out: &mut Outbox<Self>) {
        let view = state.durable.view;
        if state.durable.stance == Stance::Active || !self.is_primary(&state.durable) {
            return;
        }
        let left = state.volatile.view_changes.iter();
        let others = left.filter(|(node, change)| **node != self.me && change.value.view == view);
        let others = others.take(self.sizes.view_changes.saturating_sub(1));
        let mut changes: Map<NodeId, Signed<ViewChange>> = others
            .map(|(node, change)| (*node, change.clone()))
            .collect();
        changes.insert(self.me, self.view_change(&state.durable));
        if changes.len() < self.sizes.view_changes {
            return;
        }
        let (_, obligations) = self.obligations(&changes);
        let pre_prepares: Vec<(Assignment, Signature)> = obligations
            .into_iter()
            .map(|(sequence, digest)| {
                let assignment = Assignment {
                    view,
                    sequence,
                    digest,
                };
                (assignment, self.keys.sign(&PrePrepare(assignment)))
            })
            .collect();
        let new_view = NewView {
            view,
            changes,
            pre_prepares,
        };
        let new_view = self.keys.signed(self.me, new_view);
        out.broadcast(self.others(), &Message::NewView(new_view.clone()));
        self.enter(state, new_view, out);
        self.order(state, out);
    }

    /// What a quorum of view changes obliges the new primary to: the latest stable checkpoint, and
    /// for every place after it, up to the last that anyone prepared, what to order there.
    ///
    /// §4.4: the digest "of the request … in the pre-prepare message … with the highest view number";
    /// where nothing was prepared, the null request.
    pub fn obligations(
        &self,
        changes: &Map<NodeId, Signed<ViewChange>>,
    ) -> (Option<Stable>, Vec<(Sequence, Digest)>) {
        let stable = changes
            .values()
            .filter_map(|change| change.value.stable.clone());
        let stable = stable.max_by_key(|stable| stable.checkpoint.sequence);
        let min = stable
            .as_ref()
            .map_or(Sequence::default(), |stable| stable.checkpoint.sequence);
        let prepared = changes.values().flat_map(|change| &change.value.prepared);
        let prepared: Vec<Assignment> = prepared.map(|proof| proof.assignment).collect();
        let max = prepared.iter().map(|assignment| assignment.sequence).max();
        let max = max.unwrap_or_default();
        let mut obligations = Vec::new();
        for place in (min.next().0..=max.0).map(Sequence) {
            let here = prepared.iter().filter(|one| one.sequence == place);
            let latest = here.max_by_key(|one| one.view);
            let digest = latest.map_or_else(|| self.null(), |one| one.digest);
            obligations.push((place, digest));
        }
        (stable, obligations)
    }

    /// §4.4: "a backup accepts a new-view message … if it is signed properly, if the view-change
    /// messages it contains are valid for view v+1, and if the set O is correct".
    pub(super) fn on_new_view(
        &self,
        state: &mut State<Self>,
        new_view: Signed<NewView>,
        out: &mut Outbox<Self>,
    ) {
        let NewView { view, changes, .. } = &new_view.value;
        let durable = &state.durable;
        let is_old =
            *view < durable.view || *view == durable.view && durable.stance == Stance::Active;
        if is_old || *view == View::default() || new_view.by != self.sizes.primary(*view) {
            return;
        }
        let is_quorum = changes.len() == self.sizes.view_changes;
        if !is_quorum || new_view.by == self.me || !self.keys.is_genuine(&new_view) {
            return;
        }
        let valid = |(node, change): (&NodeId, &Signed<ViewChange>)| {
            change.by == *node && change.value.view == *view && self.is_valid(change)
        };
        if !changes.iter().all(valid) || !self.is_obliged(&new_view.value) {
            return;
        }
        self.enter(state, new_view, out);
    }

    /// True if the orders of a new view are those that it is obliged to, and signed.
    fn is_obliged(&self, new_view: &NewView) -> bool {
        let (_, obligations) = self.obligations(&new_view.changes);
        let primary = self.sizes.primary(new_view.view);
        obligations.len() == new_view.pre_prepares.len()
            && new_view.pre_prepares.iter().zip(&obligations).all(
                |((assignment, signature), (sequence, digest))| {
                    let obliged = Assignment {
                        view: new_view.view,
                        sequence: *sequence,
                        digest: *digest,
                    };
                    *assignment == obliged
                        && self.keys.verify(primary, &PrePrepare(obliged), signature)
                },
            )
    }

    /// The view begins here.
    fn enter(&self, state: &mut State<Self>, new_view: Signed<NewView>, out: &mut Outbox<Self>) {
        let NewView {
            view,
            changes,
            pre_prepares,
        } = new_view.value.clone();
        state.durable.view = view;
        state.durable.stance = Stance::Active;
        state.durable.new_view = Some(new_view);
        Self::forget_view(state);
        (state.volatile.view_changes).retain(|_, change| view < change.value.view);
        out.tell(Event::Entered { view });
        // §4.4: a checkpoint that is stable elsewhere is stable here, too. A replica that has not
        // reached it asks for its state, and executes nothing until it has that.
        let (stable, _) = self.obligations(&changes);
        if let Some(stable) = stable
            && state.durable.low() < stable.checkpoint.sequence
        {
            self.stabilise(state, stable, out);
        }
        let primary = self.is_primary(&state.durable);
        for (assignment, signature) in pre_prepares {
            if !self.is_within(state.durable.low(), assignment.sequence) {
                continue; // It is past that.
            }
            self.accept(state, assignment, signature, None, out);
            // Whoever lacks the batch gets it with the order.
            if let Some((_, order, Some(batch))) =
                self.order_at(&state.durable, assignment.sequence)
                && primary
                && !batch.0.is_empty()
            {
                let message = Message::PrePrepare { order, batch };
                out.broadcast(self.others(), &message);
            }
        }
    }
}
