//! Worlds about clients that do not lie.

use quorate::data::NodeSet;
use quorate::kv::{Operation, Reply, Session};
use quorate::machine::NodeId;
use quorate::pbft::{Batch, Call, Message, Pbft, Reads, Request, Signature, Signed, Timer};

use super::bounded::{Bounded, Scope};
use super::liar::Liar;
use super::record::Clients;
use super::symbolic::Symbolic;
use super::{EXECUTED, LINEARIZABLE, Patience, Setting, put};
use crate::flaw::Twin;
use crate::snapshot::{Letter, nobody_waits};
use crate::world::{Traitor, World};

/// How many alarms may ring in a calm.
const ROUNDS: u32 = 60;

/// A traitor that says nothing, as if it had crashed for good.
struct Mute;

impl<M: Twin<Pbft<Symbolic>>> Traitor<M> for Mute {
    fn lies(
        &self,
        _: NodeId,
        _: &mut dyn Iterator<Item = &Letter<Message>>,
    ) -> Vec<(NodeId, Message)> {
        Vec::new()
    }
}

/// What a traitor does in a world about clients.
pub(super) enum Treason<'a> {
    /// It says nothing.
    Silent,
    /// It gives these answers, and says nothing else.
    Answering(&'a [Reply]),
    /// It orders and votes as it likes, and says nothing else.
    Voting,
    /// It says everything, and gives these answers.
    Lying(&'a [Reply]),
}

/// A world about clients that do not lie, and wait for their answers.
pub(super) fn clients<M: Twin<Pbft<Symbolic>>>(
    name: &str,
    setting: &Setting,
    scripts: &[&[Operation]],
    treason: Treason<'_>,
    make: impl Fn(Pbft<Symbolic>) -> M,
) -> World<Bounded<M>, Clients> {
    let world = asking(name, setting, scripts, treason, make);
    world.recovers_for_clients(EXECUTED, ROUNDS, nobody_waits)
}

/// The same with a client that reads what need not be ordered, and a traitor that reads nothing there.
/// There are as many places as it has other requests, so that its reads cannot be ordered, however often
/// it asks for that. So this one is of safety alone: that such a read is ordered in the end is the other
/// world.
pub(super) fn readers<M: Twin<Pbft<Symbolic>>>(
    name: &str,
    setting: &Setting,
    script: &[Operation],
    treason: Treason<'_>,
    make: impl Fn(Pbft<Symbolic>) -> M,
) -> World<Bounded<M>, Clients> {
    let mut setting = setting.clone();
    setting.reads = Reads::Optimistic;
    setting.readings = vec![Reply::Value(None)];
    setting.patience = Patience::Endless;
    asking(name, &setting, &[script], treason, make)
        .sometimes_told("a read returns that was not ordered", |told| {
            told.ghost.has_read()
        })
}

/// What is common to both: the clients, what they ask, and what the traitors say to them.
fn asking<M: Twin<Pbft<Symbolic>>>(
    name: &str,
    setting: &Setting,
    scripts: &[&[Operation]],
    treason: Treason<'_>,
    make: impl Fn(Pbft<Symbolic>) -> M,
) -> World<Bounded<M>, Clients> {
    let count = setting.sizes.replicas.len() as u64;
    let mut setting = setting.clone();
    setting.requests = (0..scripts.len() as u64)
        .map(|at| put(count + at, 1, ""))
        .collect();
    let asked = scripts.iter().flat_map(|script| script.iter());
    let places = asked.filter(|one| setting.orders(one)).count() as u64;
    (setting.places, setting.window) = (places, places);
    let mut liar = setting.liar();
    liar.requests = Vec::new();
    liar.batches = Vec::new();
    let machines = setting.machines(Scope::Whole, make);
    let mut world = World::new(name, machines, Clients::default());
    let mut doors = NodeSet::EMPTY;
    for (at, script) in (0..).zip(scripts) {
        doors.insert(NodeId(count + at));
        world = world.client(calls(&setting, at, script, &mut liar));
    }
    world = world.doors(doors);
    if !setting.traitors.is_empty() {
        world = match treason {
            Treason::Silent => world.traitors(setting.traitors, Mute).never("lie"),
            Treason::Answering(replies) => {
                liar.batches = Vec::new();
                liar.replies = replies.to_vec();
                world.traitors(setting.traitors, liar)
            }
            Treason::Voting => {
                liar.leaves = false;
                world.traitors(setting.traitors, liar)
            }
            Treason::Lying(replies) => {
                liar.replies = replies.to_vec();
                world.traitors(setting.traitors, liar)
            }
        };
    }
    if 1 < setting.alike().len() {
        world = world.symmetric(setting.alike());
    }
    let rules = setting.rules(Scope::Whole);
    world = world
        .purging(|_, _| true, move |letter, to| rules.is_dead(letter, to))
        .rings_late(|timer| *timer == Timer::Resend)
        .never("deliver Status");
    if setting.last == 0 {
        world = world.never("ring Suspect");
    }
    world.always_told(LINEARIZABLE, |told| told.ghost.linearizable)
}

/// The calls of a client; and what traitors can make of them.
fn calls(setting: &Setting, at: u64, script: &[Operation], liar: &mut Liar) -> Vec<Call> {
    let client = NodeId(setting.sizes.replicas.len() as u64 + at);
    let mut calls = Vec::new();
    for (serial, operation) in (1..).zip(script) {
        let session = Session { client: at, serial };
        let request = Request {
            session,
            operation: operation.clone(),
        };
        if matches!(operation, Operation::Get { .. }) {
            liar.read.push((client, request.clone()));
        }
        if setting.orders(operation) {
            liar.batches.push(Batch(vec![Signed {
                by: client,
                value: request.clone(),
                signature: Signature::default(),
            }]));
            liar.asked.push((client, request));
        }
        calls.push(Call {
            ticket: at * 8 + serial,
            session,
            operation: operation.clone(),
        });
    }
    calls
}
