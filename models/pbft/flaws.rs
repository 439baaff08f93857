//! PBFT with one thing wrong, and worlds that take away what it needs.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each flaw spoils one thing and leaves the rest alone"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use quorate::data::Map;
use quorate::machine::{Machine, NodeId, Outbox, Output, State};
use quorate::pbft::{
    Assignment, Call, Certificate, Durable, Event, Keys, Message, NewView, Pbft, Sequence,
    Signature, Signed, Sizes, Stage, Stance, Timer, View, ViewChange, Volatile, Watermarks,
};

use super::clients::{Treason, clients, readers};
use super::symbolic::{Symbolic, enough, forged};
use super::{
    AGREEMENT, BOUNDED, Bounded, EXECUTED, Forgery, IN_ORDER, LINEARIZABLE, ONE_STATE, Record,
    STABLE, Setting, UNIQUE, VALIDITY, add, add_reply, get, only, put, reduced, safety,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::flaw::{boot, delegate};
use crate::world::World;

/// A node, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flawed {
    /// The right machine, which does all the rest.
    pub(super) right: Pbft<Symbolic>,
    /// What is wrong.
    pub(super) flaw: Flaw,
}

/// What can be wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Flaw {
    /// The primary's prepare counts as a backup's: its order and its vote are counted both. So does
    /// the textbook's, whose primary prepares, too.
    PrimaryPrepares,
    /// A vote that arrives twice counts twice. So does the textbook's, which keeps a list.
    VotesCountTwice,
    /// A vote is for a place, whatever it is about. So is the textbook's, which carries no digest.
    VotesUnbound,
    /// A second order for a place replaces the first. So does the textbook's.
    SecondOrderReplaces,
    /// An order of an earlier view is taken for one of this view's primary.
    StaleOrders,
    /// A backup accepts orders if it is the primary itself: the textbook looks at the wrong node.
    ReceiverIsPrimary,
    /// It goes on in its view after it has said that it left.
    StaysAfterLeaving,
    /// It believes a certificate whatever it shows.
    CertificatesUnchecked,
    /// It accepts what a new primary orders without comparing it with what was prepared.
    OrdersTrusted,
    /// It says that it prepared nothing.
    NothingCarried,
    /// It tells of what it knows to be committed alone.
    OnlyCommittedCarried,
    /// What it executed it tells nothing of: that is done.
    ExecutedNotCarried,
    /// It tells of what it prepared in the view that it leaves, and of nothing earlier.
    OneViewCarried,
    /// Of two batches that were prepared at one place, the one of the earlier view obliges.
    OldestObliges,
    /// It never suspects anyone. Neither does the textbook's.
    NoViewChange,
    /// It executes what is committed, whatever comes before it. So does the textbook's.
    AnyOrder,
    /// It remembers which places it executed, not which requests. So does the textbook's.
    RequestsForgotten,
    /// A restart forgets which orders it accepted.
    OrdersForgotten,
    /// It takes over a state without comparing it with what was vouched for.
    StateUnchecked,
    /// It never asks anyone to send anything again.
    NoRepair,
    /// If it waits for nothing, it takes no notice of those who wait in a later view.
    Content,
    /// It answers a read from what it has executed, whatever it has prepared.
    ReadsAtOnce,
}

impl Machine for Flawed {
    type Call = Call;
    type Message = Message;
    type Timer = Timer;
    type Event = Event;
    type Durable = Durable;
    type Volatile = Volatile;

    fn boot(&self, durable: &mut Durable, out: &mut Outbox<Self>) -> Volatile {
        if self.flaw == Flaw::OrdersForgotten {
            durable.slots = Durable::default().slots;
        }
        boot(&self.right, durable, out)
    }

    fn on_call(&self, state: &mut State<Self>, call: Call, out: &mut Outbox<Self>) {
        self.act(state, out, |right, state, out| {
            right.on_call(state, call, out);
        });
    }

    fn on_message(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        mut message: Message,
        out: &mut Outbox<Self>,
    ) {
        if self.mistakes(state, &mut message) {
            return;
        }
        let hidden = match (self.flaw, &mut message) {
            (Flaw::ReadsAtOnce, Message::Read(_)) => {
                Some(std::mem::take(&mut state.durable.certificates))
            }
            (Flaw::OldestObliges, Message::ViewChange(change)) => {
                self.prefers_oldest(state, &mut change.value)
            }
            _ => None,
        };
        self.act(state, out, |right, state, out| {
            right.on_message(state, from, message, out);
        });
        if let Some(hidden) = hidden {
            state.durable.certificates = hidden;
        }
    }

    fn on_timer(&self, state: &mut State<Self>, timer: Timer, out: &mut Outbox<Self>) {
        match (self.flaw, &timer) {
            (Flaw::NoViewChange, Timer::Suspect { .. }) | (Flaw::NoRepair, Timer::Resend) => {
                return out.arm(timer);
            }
            _ => {}
        }
        let before = state.clone();
        self.act(state, out, |right, state, out| {
            right.on_timer(state, timer, out);
        });
        let leads = self.right.sizes.primary(state.durable.view) == self.right.me;
        let left = before.durable.view < state.durable.view;
        if self.flaw == Flaw::StaysAfterLeaving && left && !leads {
            *state = before;
        }
    }

    fn delay(&self, timer: &Timer) -> Range<Duration> {
        self.right.delay(timer)
    }
}

impl Flawed {
    /// Lets the right machine act, and spoils what it says.
    fn act(
        &self,
        state: &mut State<Self>,
        out: &mut Outbox<Self>,
        act: impl FnOnce(&Pbft<Symbolic>, &mut State<Pbft<Symbolic>>, &mut Outbox<Pbft<Symbolic>>),
    ) {
        if self.flaw == Flaw::RequestsForgotten {
            state.durable.service.sessions = Durable::default().service.sessions;
        }
        let known = state.durable.clone();
        let outputs = delegate(state, |state, out| act(&self.right, state, out));
        for mut output in outputs {
            if let Output::Send {
                message: Message::ViewChange(change),
                ..
            } = &mut output
            {
                self.carries_less(&known, &mut change.value);
            }
            out.push(output);
        }
        let mine = state.volatile.view_changes.get_mut(&self.right.me);
        if let Some(mine) = mine {
            self.carries_less(&known, &mut mine.value);
        }
    }

    /// Spoils what it tells of what it prepared.
    fn carries_less(&self, known: &Durable, change: &mut ViewChange) {
        let executed = known.service.executed;
        let next = change.view;
        change.prepared.retain(|one| {
            let Assignment {
                view,
                sequence,
                digest,
            } = one.assignment;
            let slot = known.slots.get(&sequence);
            match self.flaw {
                Flaw::NothingCarried => false,
                Flaw::ExecutedNotCarried => executed < sequence,
                Flaw::OneViewCarried => view.0 + 1 == next.0,
                Flaw::OnlyCommittedCarried => {
                    slot.is_some_and(|slot| slot.digest == digest && slot.stage == Stage::Committed)
                }
                _ => true,
            }
        });
    }

    /// Spoils what it hears. True if it does nothing about it.
    fn mistakes(&self, state: &mut State<Self>, message: &mut Message) -> bool {
        let durable = &mut state.durable;
        let sizes = &self.right.sizes;
        match (self.flaw, message) {
            (Flaw::ReceiverIsPrimary, Message::PrePrepare { .. }) => {
                return sizes.primary(durable.view) != self.right.me;
            }
            (Flaw::SecondOrderReplaces, Message::PrePrepare { order, .. }) => {
                let Assignment {
                    sequence, digest, ..
                } = order.value.0;
                let other = durable.slots.get(&sequence).map(|slot| slot.digest);
                if other.is_some_and(|other| other != digest) {
                    durable.slots.remove(&sequence);
                    durable.certificates.remove(&sequence);
                    state.volatile.votes.remove(&sequence);
                }
            }
            (Flaw::Content, Message::Status { view, .. }) => return durable.view < *view,
            (Flaw::StaleOrders, Message::PrePrepare { order, .. }) => {
                order.by = sizes.primary(durable.view);
                order.value.0.view = durable.view;
            }
            (Flaw::VotesUnbound, Message::Prepare(prepare)) => {
                bind(durable, &mut prepare.value.0);
            }
            (Flaw::VotesUnbound, Message::Commit(commit)) => {
                bind(durable, &mut commit.value.0);
            }
            (Flaw::PrimaryPrepares, Message::Prepare(prepare)) => {
                let vote = prepare.value.0;
                if prepare.by == sizes.primary(vote.view) {
                    prepare.by = self.nobody_yet(&state.volatile, vote, prepare.by);
                }
            }
            (Flaw::VotesCountTwice, Message::Prepare(prepare)) => {
                let vote = prepare.value.0;
                let votes = state.volatile.votes.get(&vote.sequence);
                if votes.is_some_and(|votes| votes.prepares.contains_key(&prepare.by)) {
                    prepare.by = self.nobody_yet(&state.volatile, vote, prepare.by);
                }
            }
            (Flaw::AnyOrder, Message::Commit(commit)) => {
                let before = commit.value.0.sequence.0.saturating_sub(1);
                durable.service.executed = durable.service.executed.max(Sequence(before));
            }
            (Flaw::CertificatesUnchecked, Message::ViewChange(change)) => believe(change),
            (Flaw::CertificatesUnchecked, Message::NewView(new_view)) => {
                each_change(&mut new_view.value, believe);
            }
            (Flaw::OrdersTrusted, Message::NewView(new_view)) => oblige(&mut new_view.value),
            (Flaw::OldestObliges, Message::NewView(new_view)) => {
                let changes = new_view.value.changes.values();
                let oldest = oldest(changes.flat_map(|change| &change.value.prepared));
                each_change(&mut new_view.value, |change| {
                    change
                        .value
                        .prepared
                        .retain(|one| oldest.contains(&one.assignment));
                });
            }
            (Flaw::StateUnchecked, Message::State { stable, page }) => {
                stable.checkpoint.digest = self.right.keys.digest(page);
                stable.proof = enough();
            }
            _ => {}
        }
        false
    }

    /// Before the primary of a new view hears who left for it: leaves out of all that it knows what an
    /// earlier certificate speaks against. Gives what it has prepared itself, to be put back.
    fn prefers_oldest(
        &self,
        state: &mut State<Self>,
        heard: &mut ViewChange,
    ) -> Option<Map<Sequence, Certificate>> {
        let durable = &mut state.durable;
        let begins = durable.view == heard.view
            && durable.stance == Stance::Changing
            && self.right.sizes.primary(heard.view) == self.right.me;
        if !begins {
            return None;
        }
        let left = &mut state.volatile.view_changes;
        let told = left.values().flat_map(|change| &change.value.prepared);
        let own = durable.certificates.values();
        let oldest = oldest(told.chain(own).chain(&heard.prepared));
        let keeps = |one: &Certificate| oldest.contains(&one.assignment);
        heard.prepared.retain(keeps);
        let spoiled = left.iter().map(|(node, change)| {
            let mut change = change.clone();
            change.value.prepared.retain(keeps);
            (*node, change)
        });
        *left = spoiled.collect();
        let kept = durable.certificates.clone();
        durable.certificates.retain(|_, one| keeps(one));
        Some(kept)
    }

    /// A backup that has not voted: in its name a vote counts that should not.
    fn nobody_yet(&self, volatile: &Volatile, vote: Assignment, by: NodeId) -> NodeId {
        let votes = volatile.votes.get(&vote.sequence);
        let free = self.right.sizes.replicas.iter().find(|node| {
            *node != self.right.me
                && *node != self.right.sizes.primary(vote.view)
                && !votes.is_some_and(|votes| votes.prepares.contains_key(node))
        });
        free.unwrap_or(by)
    }
}

/// For each place, what was prepared there first.
fn oldest<'a>(prepared: impl Iterator<Item = &'a Certificate>) -> Vec<Assignment> {
    let mut oldest: BTreeMap<Sequence, Assignment> = BTreeMap::new();
    for Certificate { assignment, .. } in prepared {
        let first = oldest.entry(assignment.sequence).or_insert(*assignment);
        if assignment.view < first.view {
            *first = *assignment;
        }
    }
    oldest.into_values().collect()
}

/// Makes a vote one for whatever was ordered.
fn bind(durable: &Durable, vote: &mut Assignment) {
    if let Some(slot) = durable.slots.get(&vote.sequence) {
        vote.digest = slot.digest;
    }
}

/// Makes certificates convincing.
fn believe(change: &mut Signed<ViewChange>) {
    for certificate in &mut change.value.prepared {
        certificate.pre_prepare = Signature::default();
        certificate.prepares = enough();
    }
}

/// Makes view changes oblige to what was ordered.
fn oblige(new_view: &mut NewView) {
    let certificate = |(assignment, _): &(Assignment, Signature)| Certificate {
        assignment: Assignment {
            view: View(assignment.view.0.saturating_sub(1)),
            ..*assignment
        },
        pre_prepare: Signature::default(),
        prepares: enough(),
    };
    let prepared: Vec<_> = new_view.pre_prepares.iter().map(certificate).collect();
    each_change(new_view, |change| {
        change.value.stable = None;
        change.value.prepared.clone_from(&prepared);
    });
}

/// Spoils each view change that a new view rests on.
fn each_change(new_view: &mut NewView, spoil: impl Fn(&mut Signed<ViewChange>)) {
    let spoiled = new_view.changes.iter().map(|(node, change)| {
        let mut change = change.clone();
        spoil(&mut change);
        (*node, change)
    });
    new_view.changes = spoiled.collect();
}

type Safe<M> = World<Bounded<M>, Record>;

/// A flawed machine, unreduced: rules about the right one need not be true of it.
fn flawed(flaw: Flaw, name: &str, setting: &Setting) -> Safe<Flawed> {
    safety(name, setting, |right| Flawed { right, flaw })
}

/// The same, where the flaw leaves alone what the rules rest on.
fn flawed_reduced(flaw: Flaw, name: &str, setting: &Setting) -> Safe<Flawed> {
    reduced(flawed(flaw, name, setting), setting)
}

/// The right machine in a world that takes something away.
fn weakened(name: &str, setting: &Setting) -> Safe<Pbft<Symbolic>> {
    reduced(safety(name, setting, |right| right), setting)
}

fn traitors(nodes: &[u64]) -> quorate::data::NodeSet {
    nodes.iter().copied().map(NodeId).collect()
}

pub(super) fn exhibits() -> Vec<Box<dyn Exhibit>> {
    let mut all = numbers();
    all.extend(signatures());
    all.extend(votes());
    all.extend(view_changes());
    all.extend(three_views());
    all.extend(order());
    all.extend(progress());
    all
}

/// Numbers that do not suffice.
fn numbers() -> Vec<Box<dyn Exhibit>> {
    let against = |count, quorum, lying: &[u64], views| {
        Setting::new(Sizes::with_quorum(count, 1, quorum), traitors(lying), views)
    };
    let four = |change: fn(&mut Sizes), lying, views| {
        let mut setting = Setting::four(lying, views);
        change(&mut setting.sizes);
        setting
    };
    vec![
        Claimed::falls(AGREEMENT, 8, move || {
            weakened("two-traitors", &against(4, 3, &[0, 1], 1))
                .says("two of four replicas lie, the primary among them")
        }),
        Claimed::falls(AGREEMENT, 13, move || {
            weakened("two-lying-backups", &against(4, 3, &[2, 3], 2))
                .says("two of four replicas lie, neither of which is ever primary")
        }),
        Claimed::falls(AGREEMENT, 4, move || {
            weakened("three-replicas", &against(3, 2, &[0], 1))
                .says("three replicas with quorums of n - f = 2")
        }),
        Claimed::falls(AGREEMENT, 2, move || {
            let sizes = Sizes::with_quorum(3, 0, 1);
            weakened(
                "three-replicas-no-faults",
                &Setting::new(sizes, traitors(&[0]), 1),
            )
            .says("three replicas that count as the textbook's do: f = 0, so 2f = 0 and 2f + 1 = 1")
        }),
        Claimed::falls(AGREEMENT, 12, move || {
            weakened("five-replicas", &against(5, 3, &[0], 1))
                .says("five replicas with quorums of 2f + 1 = 3; it takes 4")
        }),
        Claimed::falls(AGREEMENT, 12, move || {
            weakened("six-replicas", &against(6, 3, &[0], 1))
                .says("six replicas with quorums of 2f + 1 = 3; it takes 4")
        }),
        Claimed::falls(UNIQUE, 2, move || {
            weakened("few-prepares", &four(|sizes| sizes.prepares = 1, 0, 1))
                .says("one prepare, the backup's own, makes a batch prepared")
        }),
        Claimed::falls(AGREEMENT, 13, move || {
            weakened("few-commits", &four(|sizes| sizes.commits = 2, 0, 2))
                .says("2f commits make a batch committed")
        }),
        Claimed::falls(AGREEMENT, 16, move || {
            weakened(
                "few-view-changes",
                &four(|sizes| sizes.view_changes = 2, 0, 2),
            )
            .says("f + 1 view changes begin a view")
        }),
        Claimed::falls(STABLE, 8, move || {
            let mut setting = four(|sizes| sizes.checkpoints = 2, 3, 1);
            (setting.places, setting.interval) = (1, 1);
            safety("few-checkpoints", &setting, |right| right)
                .says("f + 1 checkpoints make one stable")
        }),
        Claimed::falls(LINEARIZABLE, 2, move || {
            let setting = four(|sizes| sizes.honest = 1, 3, 1);
            clients(
                "one-answer",
                &setting,
                &[&[add()]],
                Treason::Lying(&[add_reply(5)]),
                |right| right,
            )
            .says("a client believes the first answer")
        }),
        Claimed::falls(LINEARIZABLE, 16, move || {
            let setting = four(|sizes| sizes.readings = 2, 3, 1);
            let lies = Treason::Lying(&[]);
            readers("few-readings", &setting, &[add(), get()], lies, |right| {
                right
            })
            .says("f + 1 equal answers are believed of a read that was not ordered")
        }),
        Claimed::falls(LINEARIZABLE, 18, || {
            let setting = Setting::four(3, 1);
            let lies = Treason::Answering(&[add_reply(1)]);
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::ReadsAtOnce,
            };
            readers("reads-at-once", &setting, &[add(), get()], lies, flawed)
                .says("a read is answered though something is prepared and not executed")
        }),
    ]
}

/// Signatures that are not looked at.
fn signatures() -> Vec<Box<dyn Exhibit>> {
    let ignored = || {
        let mut setting = Setting::four(0, 1);
        setting.keys = Symbolic::Ignored;
        setting.forgery = Forgery::Everything;
        setting
    };
    vec![
        Claimed::falls(UNIQUE, 4, move || {
            safety("signatures-ignored", &ignored(), |right| right)
                .says("nobody looks at signatures; the textbook's can be computed by anyone")
        }),
        Claimed::falls(VALIDITY, 4, move || {
            let mut setting = ignored();
            let mut request = put(4, 1, "C");
            request.signature = forged();
            setting.requests.push(request);
            safety("clients-impersonated", &setting, |right| right)
                .says("the same, and the primary makes up a request")
        }),
    ]
}

/// Votes that are counted wrongly.
fn votes() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(UNIQUE, 4, || {
            flawed(
                Flaw::PrimaryPrepares,
                "primary-prepares",
                &Setting::four(0, 1),
            )
            .says("the primary's own prepare counts, beside its order")
        }),
        Claimed::falls(UNIQUE, 8, || {
            // With five replicas, a quorum is four: three prepares, of which a traitor gives two.
            let setting = Setting::new(Sizes::of(5), traitors(&[0]), 1);
            flawed(Flaw::VotesCountTwice, "votes-count-twice", &setting)
                .says("a vote that arrives twice counts twice")
        }),
        Claimed::falls(UNIQUE, 4, || {
            flawed(Flaw::VotesUnbound, "votes-unbound", &Setting::four(0, 1))
                .says("votes are for a place, whatever was ordered there")
        }),
        Claimed::falls(UNIQUE, 6, || {
            flawed(
                Flaw::SecondOrderReplaces,
                "second-order-replaces",
                &Setting::four(0, 1),
            )
            .says("a second order for a place replaces the first")
        }),
        Claimed::falls(UNIQUE, 10, || {
            flawed(Flaw::StaleOrders, "stale-orders", &Setting::four(0, 2))
                .says("an order of an earlier view is taken for one of this view")
        }),
        Claimed::falls(UNIQUE, 8, || {
            let mut setting = Setting::four(0, 1);
            setting.crashes = 1;
            flawed(Flaw::OrdersForgotten, "orders-forgotten", &setting)
                .says("a restart forgets which orders were accepted")
        }),
    ]
}

/// View changes that lose what was prepared.
fn view_changes() -> Vec<Box<dyn Exhibit>> {
    let two = || Setting::four(0, 2);
    let forging = |traitor| {
        let mut setting = Setting::four(traitor, 2);
        setting.forgery = Forgery::Everything;
        setting
    };
    vec![
        Claimed::falls(AGREEMENT, 18, move || {
            flawed_reduced(Flaw::NothingCarried, "nothing-carried", &two())
                .says("view changes do not say what was prepared")
        }),
        Claimed::falls(AGREEMENT, 18, move || {
            flawed_reduced(Flaw::OnlyCommittedCarried, "only-committed-carried", &two())
                .says("view changes say only what was committed")
        }),
        Claimed::falls(AGREEMENT, 18, move || {
            flawed_reduced(Flaw::ExecutedNotCarried, "executed-not-carried", &two())
                .says("view changes do not say what was executed already")
        }),
        Claimed::falls(AGREEMENT, 18, move || {
            flawed_reduced(Flaw::StaysAfterLeaving, "stays-after-leaving", &two())
                .says("who has said that it leaves its view goes on in it")
        }),
        Claimed::falls(AGREEMENT, 17, move || {
            flawed_reduced(
                Flaw::CertificatesUnchecked,
                "certificates-unchecked",
                &forging(1),
            )
            .says("certificates are believed whatever they show")
        }),
        Claimed::falls(AGREEMENT, 17, move || {
            flawed_reduced(Flaw::OrdersTrusted, "orders-trusted", &forging(1))
                .says("what a new primary orders is not compared with what was prepared")
        }),
    ]
}

/// What two views do not refute.
fn three_views() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(AGREEMENT, 19, || {
            flawed_reduced(
                Flaw::OneViewCarried,
                "one-view-carried",
                &Setting::four(2, 3),
            )
            .says("view changes say what was prepared in the view before, and nothing earlier")
        }),
        Claimed::falls_deep(AGREEMENT, 24, || {
            flawed_reduced(Flaw::OldestObliges, "oldest-obliges", &Setting::four(0, 3))
                .says("of two batches that were prepared at one place, the earlier view's obliges")
        }),
    ]
}

/// The same two in two views, with the traitor at every position that matters. They do nothing wrong
/// there: the states are those of the right machine.
pub fn survivors() -> Vec<Box<dyn Exhibit>> {
    let counts = [
        (229_076, 1_256_360),
        (203_285, 1_108_231),
        (261_944, 1_577_423),
    ];
    let mut survivors = Vec::new();
    for flaw in [Flaw::OneViewCarried, Flaw::OldestObliges] {
        for (traitor, (unique, generated)) in (0..).zip(counts) {
            survivors.push(Claimed::holds(unique, generated, move || {
                flawed_reduced(flaw, "survivor", &Setting::four(traitor, 2))
            }));
        }
    }
    survivors
}

/// What is executed wrongly.
fn order() -> Vec<Box<dyn Exhibit>> {
    let two_places = || {
        let mut setting = Setting::four(0, 1);
        (setting.places, setting.window) = (2, 2);
        setting
    };
    vec![
        Claimed::falls(IN_ORDER, 6, move || {
            flawed(Flaw::AnyOrder, "any-order", &two_places())
                .says("what is committed is executed, whatever comes before it")
        }),
        Claimed::falls(IN_ORDER, 12, move || {
            let mut setting = two_places();
            setting.requests.truncate(1);
            flawed(Flaw::RequestsForgotten, "requests-forgotten", &setting)
                .says("a request that is ordered at two places is executed at both")
        }),
        Claimed::falls(BOUNDED, 1, || {
            let mut setting = Setting::four(0, 1);
            (setting.places, setting.interval) = (2, 1);
            safety("no-watermarks", &setting, |right| Pbft {
                watermarks: Watermarks {
                    window: u64::MAX,
                    ..right.watermarks
                },
                ..right
            })
            .says("orders are accepted at any place, as the textbook's are: a traitor uses them up")
        }),
        Claimed::falls(ONE_STATE, 8, move || {
            let mut setting = Setting::four(3, 1);
            (setting.places, setting.interval) = (1, 1);
            setting.forgery = Forgery::Everything;
            flawed(Flaw::StateUnchecked, "state-unchecked", &setting)
                .says("a state is taken over that nobody vouched for")
        }),
    ]
}

/// What stops it.
fn progress() -> Vec<Box<dyn Exhibit>> {
    let alive = |flaw, name: &str, traitor| {
        let setting = Setting::new(Sizes::of(4), traitor, 2);
        clients(name, &setting, &[&[add()]], Treason::Silent, |right| {
            Flawed { right, flaw }
        })
    };
    vec![
        Claimed::falls(EXECUTED, 0, move || {
            alive(
                Flaw::ReceiverIsPrimary,
                "receiver-is-primary",
                traitors(&[]),
            )
            .says("a backup accepts an order if it is the primary itself")
        }),
        Claimed::falls(EXECUTED, 0, move || {
            alive(Flaw::NoViewChange, "no-view-change", only(0)).says("nobody suspects the primary")
        }),
        Claimed::falls(EXECUTED, 5, move || {
            alive(Flaw::NoRepair, "no-repair", traitors(&[]))
                .says("nobody asks for what was lost to be sent again")
        }),
        Claimed::falls(EXECUTED, 9, move || {
            let setting = Setting::four(0, 2);
            let flawed = |right| Flawed {
                right,
                flaw: Flaw::Content,
            };
            clients(
                "content",
                &setting,
                &[&[add()]],
                Treason::Lying(&[]),
                flawed,
            )
            .says("who waits for nothing takes no notice of those who wait in a later view")
        }),
        Claimed::falls(EXECUTED, 0, move || {
            let setting = Setting::new(Sizes::with_quorum(3, 1, 3), only(0), 2);
            clients(
                "three-need-three",
                &setting,
                &[&[add()]],
                Treason::Silent,
                |right| right,
            )
            .says(
                "three replicas with quorums of three, of which one says nothing: safe, and stuck",
            )
        }),
    ]
}
