//! The traitor: everything that it can sign, to everyone.
//!
//! A traitor has no state. Whatever it could sign counts as signed, and it says any of it to anyone at
//! any time, again and differently. The one thing that depends on the past is what *others* signed: of
//! that it knows what was sent to it, and makes certificates and new views of it, in every way that
//! would be believed. Several traitors share their keys.
//!
//! # The universe
//!
//! Within the bounds of a world (views, places, requests) a traitor says:
//!
//! | what | in which forms |
//! |---|---|
//! | request | a client's: those listed, which may be two by one name |
//! | pre-prepare | where it is the primary: each batch, at each place, in each view |
//! | prepare, commit | of each of those |
//! | view change | for each view; at each place no certificate, or any that there is |
//! | new view | where it is the primary: any quorum of view changes, others' and its own in every form; with the orders that they oblige it to, any others being refused |
//! | checkpoint | of every state that an honest replica signed, and one that nobody has |
//! | answer, reading | each reply listed, to each request |
//!
//! What it leaves out is refused by every honest replica at the first look, and so changes nothing:
//! signatures of others that they did not make, certificates and quorums that are none, a new view whose
//! orders do not follow. Worlds whose replicas do not look have those, too: [`Forgery::Everything`].

use std::collections::{BTreeMap, BTreeSet};

use quorate::data::{Map, NodeSet};
use quorate::machine::NodeId;
use quorate::pbft::{
    Answer, Assignment, Batch, Certificate, Checkpoint, Commit, Digest, Keys, Message, NewView,
    Page, Pbft, PrePrepare, Prepare, Proof, Reading, Reply, Request, Sequence, Signature, Signed,
    Stable, Statement, View, ViewChange,
};

use super::symbolic::{Symbolic, enough, forged};
use crate::flaw::Twin;
use crate::snapshot::Letter;
use crate::world::Traitor;

/// Whether a traitor tries what nobody should believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// It does not: it would be for nothing.
    Nothing,
    /// It signs for others, and shows certificates that are none.
    Everything,
}

/// What traitors are made of.
#[derive(Clone, Debug)]
pub struct Liar {
    /// An honest machine: for the sizes, the watermarks and the keys.
    pub(super) honest: Pbft<Symbolic>,
    /// Which nodes lie, replicas and clients.
    pub(super) traitors: NodeSet,
    /// The last view.
    pub(super) last: View,
    /// The last place.
    pub(super) places: u64,
    /// What clients that lie ask.
    pub(super) requests: Vec<Signed<Request>>,
    /// What a primary that lies orders.
    pub(super) batches: Vec<Batch>,
    /// What replicas that lie answer, and whom.
    pub(super) replies: Vec<Reply>,
    /// The clients that do not lie, and what they have ordered.
    pub(super) asked: Vec<(NodeId, Request)>,
    /// What they read without having it ordered.
    pub(super) read: Vec<(NodeId, Request)>,
    /// What replicas that lie read for them.
    pub(super) readings: Vec<Reply>,
    /// Whether it tries what nobody should believe.
    pub(super) forgery: Forgery,
    /// Whether it has anything to say of views and checkpoints, and does not only order and vote.
    pub(super) leaves: bool,
}

/// What others signed, as far as the traitors were told.
#[derive(Default)]
struct Heard {
    orders: BTreeSet<Assignment>,
    prepares: BTreeMap<Assignment, NodeSet>,
    changes: BTreeSet<Signed<ViewChange>>,
    checkpoints: BTreeMap<Checkpoint, NodeSet>,
}

impl Heard {
    fn of(seen: &mut dyn Iterator<Item = &Letter<Message>>) -> Self {
        let mut heard = Self::default();
        for letter in seen {
            match &letter.message {
                Message::PrePrepare { order, .. } => {
                    heard.orders.insert(order.value.0);
                }
                Message::Prepare(prepare) => {
                    let by = heard.prepares.entry(prepare.value.0).or_default();
                    by.insert(prepare.by);
                }
                Message::ViewChange(change) => {
                    heard.changes.insert(change.clone());
                }
                Message::Checkpoint(checkpoint) => {
                    let by = heard.checkpoints.entry(checkpoint.value).or_default();
                    by.insert(checkpoint.by);
                }
                Message::Request(_)
                | Message::Read(_)
                | Message::Commit(_)
                | Message::Answer(_)
                | Message::Reading(_)
                | Message::NewView(_)
                | Message::Status { .. }
                | Message::State { .. }
                | Message::Fetch { .. }
                | Message::Page { .. } => {}
            }
        }
        heard
    }
}

impl<M: Twin<Pbft<Symbolic>>> Traitor<M> for Liar {
    fn lies(
        &self,
        me: NodeId,
        seen: &mut dyn Iterator<Item = &Letter<Message>>,
    ) -> Vec<(NodeId, Message)> {
        let replicas = self.honest.sizes.replicas;
        let mut said = Vec::new();
        if !replicas.contains(me) {
            let mine = self.requests.iter().filter(|request| request.by == me);
            said.extend(mine.cloned().map(Message::Request));
            return self.to_everyone(said);
        }
        let heard = Heard::of(seen);
        self.vote(me, &mut said);
        if self.forgery == Forgery::Everything {
            for other in replicas.difference(self.traitors) {
                self.vote(other, &mut said);
            }
        }
        if self.leaves {
            self.change_views(me, &heard, &mut said);
            self.vouch(me, &heard, &mut said);
        }
        let mut lies = self.to_everyone(said);
        for (client, request) in &self.asked {
            for reply in &self.replies {
                let answer = answer(*client, request, reply);
                lies.push((*client, Message::Answer(self.signed(me, answer))));
            }
        }
        for (client, request) in &self.read {
            for reply in &self.readings {
                let reading = Reading(answer(*client, request, reply));
                lies.push((*client, Message::Reading(self.signed(me, reading))));
            }
        }
        lies
    }
}

/// What a traitor would have a client believe.
fn answer(client: NodeId, request: &Request, reply: &Reply) -> Answer {
    Answer {
        view: View::default(),
        client,
        session: request.session,
        reply: reply.clone(),
    }
}

impl Liar {
    fn to_everyone(&self, said: Vec<Message>) -> Vec<(NodeId, Message)> {
        let honest = self.honest.sizes.replicas.difference(self.traitors);
        said.into_iter()
            .flat_map(|message| honest.iter().map(move |to| (to, message.clone())))
            .collect()
    }

    /// Signed by a traitor, or as if by another.
    fn signed<T: Statement>(&self, by: NodeId, value: T) -> Signed<T> {
        let signature = if self.traitors.contains(by) {
            Signature::default()
        } else {
            forged()
        };
        Signed {
            by,
            value,
            signature,
        }
    }

    fn views(&self) -> impl Iterator<Item = View> + use<> {
        (0..=self.last.0).map(View)
    }

    fn assignments(&self) -> impl Iterator<Item = (Assignment, &Batch)> {
        let keys = self.honest.keys;
        self.views().flat_map(move |view| {
            (1..=self.places).map(Sequence).flat_map(move |sequence| {
                self.batches.iter().map(move |batch| {
                    let digest = keys.digest(batch);
                    let assignment = Assignment {
                        view,
                        sequence,
                        digest,
                    };
                    (assignment, batch)
                })
            })
        })
    }

    /// Orders, where it is the primary; prepares and commits.
    fn vote(&self, by: NodeId, said: &mut Vec<Message>) {
        for (assignment, batch) in self.assignments() {
            if self.honest.sizes.primary(assignment.view) == by {
                let order = self.signed(by, PrePrepare(assignment));
                let batch = batch.clone();
                said.push(Message::PrePrepare { order, batch });
            }
            said.push(Message::Prepare(self.signed(by, Prepare(assignment))));
            said.push(Message::Commit(self.signed(by, Commit(assignment))));
        }
        // What a hole is filled with.
        let digest = self.honest.keys.digest(&Batch::default());
        for view in self.views().skip(1) {
            for sequence in (1..self.places).map(Sequence) {
                let assignment = Assignment {
                    view,
                    sequence,
                    digest,
                };
                said.push(Message::Prepare(self.signed(by, Prepare(assignment))));
                said.push(Message::Commit(self.signed(by, Commit(assignment))));
            }
        }
    }

    /// The certificates of views before `view` that the traitors can show, by place.
    fn certificates(&self, heard: &Heard, view: View) -> BTreeMap<Sequence, Vec<Certificate>> {
        let sizes = &self.honest.sizes;
        let mut certificates: BTreeMap<Sequence, Vec<Certificate>> = BTreeMap::new();
        for (assignment, _) in self.assignments().filter(|(one, _)| one.view < view) {
            let primary = sizes.primary(assignment.view);
            let ordered = self.traitors.contains(primary) || heard.orders.contains(&assignment);
            let prepares = heard.prepares.get(&assignment).copied().unwrap_or_default();
            let mut backups = prepares.union(self.traitors).intersection(sizes.replicas);
            backups.remove(primary);
            let proven = ordered && sizes.prepares <= backups.len();
            let proof = match (proven, self.forgery) {
                (true, _) => enough(),
                (false, Forgery::Everything) => Proof::default(),
                (false, Forgery::Nothing) => continue,
            };
            let here = certificates.entry(assignment.sequence).or_default();
            let pre_prepare = if ordered {
                Signature::default()
            } else {
                forged()
            };
            here.push(Certificate {
                assignment,
                pre_prepare,
                prepares: proof,
            });
        }
        certificates
    }

    /// The checkpoints that a quorum vouched for, the traitors among it.
    fn stables(&self, heard: &Heard) -> Vec<Option<Stable>> {
        let sizes = &self.honest.sizes;
        let enough_of = |by: &NodeSet| {
            let by = by.union(self.traitors).intersection(sizes.replicas);
            sizes.checkpoints <= by.len()
        };
        let proven = heard.checkpoints.iter().filter(|(_, by)| enough_of(by));
        let proven = proven.map(|(checkpoint, _)| {
            Some(Stable {
                checkpoint: *checkpoint,
                proof: enough(),
            })
        });
        std::iter::once(None).chain(proven).collect()
    }

    /// Every view change that a traitor can make and others will believe.
    fn changes(&self, by: NodeId, heard: &Heard, view: View) -> Vec<Signed<ViewChange>> {
        let mut choices: Vec<Vec<Certificate>> = vec![Vec::new()];
        for certificates in self.certificates(heard, view).into_values() {
            let longer = choices.iter().flat_map(|choice| {
                certificates.iter().map(move |one| {
                    let mut choice = choice.clone();
                    choice.push(one.clone());
                    choice
                })
            });
            let longer: Vec<_> = longer.collect();
            choices.extend(longer);
        }
        let mut changes = Vec::new();
        for stable in self.stables(heard) {
            let low = stable.as_ref().map(|one| one.checkpoint.sequence);
            for prepared in &choices {
                let low = low.unwrap_or_default();
                if prepared.iter().all(|one| low < one.assignment.sequence) {
                    let change = ViewChange {
                        view,
                        stable: stable.clone(),
                        prepared: prepared.clone(),
                    };
                    changes.push(self.signed(by, change));
                }
            }
        }
        changes
    }

    fn change_views(&self, me: NodeId, heard: &Heard, said: &mut Vec<Message>) {
        for view in self.views().skip(1) {
            let mine = self.changes(me, heard, view);
            said.extend(mine.into_iter().map(Message::ViewChange));
            if self.honest.sizes.primary(view) == me {
                let new_views = self.new_views(me, heard, view);
                said.extend(new_views.into_iter().map(Message::NewView));
            }
        }
    }

    /// Every new view that a quorum of view changes would justify. Of those that oblige to the same, one
    /// is enough: what a replica makes of a new view depends on nothing else.
    fn new_views(&self, me: NodeId, heard: &Heard, view: View) -> Vec<Signed<NewView>> {
        let mut of: BTreeMap<NodeId, Vec<Signed<ViewChange>>> = BTreeMap::new();
        for change in heard.changes.iter().filter(|one| one.value.view == view) {
            of.entry(change.by).or_default().push(change.clone());
        }
        let traitors = self.traitors.intersection(self.honest.sizes.replicas);
        for traitor in traitors {
            of.insert(traitor, self.changes(traitor, heard, view));
        }
        let mut quorums: Vec<Map<NodeId, Signed<ViewChange>>> = vec![Map::default()];
        for changes in of.into_values() {
            let longer: Vec<_> = quorums
                .iter()
                .filter(|quorum| quorum.len() < self.honest.sizes.view_changes)
                .flat_map(|quorum| {
                    changes.iter().map(move |one| {
                        let mut quorum = quorum.clone();
                        quorum.insert(one.by, one.clone());
                        quorum
                    })
                })
                .collect();
            quorums.extend(longer);
        }
        quorums.retain(|quorum| quorum.len() == self.honest.sizes.view_changes);
        let mut new_views = BTreeMap::new();
        for changes in quorums {
            let obliged = self.honest.obligations(&changes);
            let orders: Vec<Vec<(Sequence, Digest)>> = match self.forgery {
                Forgery::Nothing => vec![obliged.1.clone()],
                Forgery::Everything => self.any_orders(),
            };
            for orders in orders {
                let pre_prepares = orders.iter().map(|(sequence, digest)| {
                    let assignment = Assignment {
                        view,
                        sequence: *sequence,
                        digest: *digest,
                    };
                    (assignment, Signature::default())
                });
                let new_view = NewView {
                    view,
                    changes: changes.clone(),
                    pre_prepares: pre_prepares.collect(),
                };
                let key = (obliged.clone(), orders);
                let first = new_views.entry(key);
                first.or_insert_with(|| self.signed(me, new_view));
            }
        }
        new_views.into_values().collect()
    }

    /// No order, or any at the first place.
    fn any_orders(&self) -> Vec<Vec<(Sequence, Digest)>> {
        let digests = self
            .batches
            .iter()
            .map(|batch| self.honest.keys.digest(batch));
        let some = digests.map(|digest| vec![(Sequence(1), digest)]);
        std::iter::once(Vec::new()).chain(some).collect()
    }

    /// Checkpoints, true and false.
    fn vouch(&self, me: NodeId, heard: &Heard, said: &mut Vec<Message>) {
        let nobody = Digest([0xFF; 32]);
        for checkpoint in heard.checkpoints.keys() {
            let false_one = Checkpoint {
                digest: nobody,
                ..*checkpoint
            };
            for value in [*checkpoint, false_one] {
                said.push(Message::Checkpoint(self.signed(me, value)));
            }
        }
        if self.forgery == Forgery::Everything && self.honest.watermarks.interval <= self.places {
            let checkpoint = Checkpoint {
                sequence: Sequence(self.honest.watermarks.interval),
                digest: nobody,
            };
            let stable = Stable {
                checkpoint,
                proof: Proof::default(),
            };
            let page = Page {
                executed: checkpoint.sequence,
                entries: Vec::new(),
                rest: None,
            };
            said.push(Message::State { stable, page });
        }
    }
}
