//! What is claimed of [`quorate::commit`]: its worlds, its promises, and the flaws that refute them.

use std::sync::Arc;

use quorate::commit::{Branch, Call, Commit, Message, Outcome, Transaction, Vote, Writes};
use quorate::data::NodeSet;
use quorate::machine::NodeId;

use crate::action::Cut;
use crate::calm;
use crate::catalogue::{Claimed, Exhibit, Protocol};
use crate::flaw::Twin;
use crate::promise::Condition;
use crate::purge::{self, Discharged};
use crate::shared::Shared;
use crate::snapshot::{Letter, Node, Snapshot, nobody_waits};
use crate::world::{Disk, World};

mod flaws;
mod ledger;
pub mod specification;

use flaws::{CrashStop, Flaw, Flawed};
pub use ledger::Ledger;
use ledger::aborts_have_causes;

/// No two nodes decide differently.
pub const AC1: &str = "AC1 agreement";
/// A commit is decided only if every participant voted yes.
pub const AC2: &str = "AC2 unanimity";
/// An abort is decided only if somebody voted no, timed out or crashed.
pub const AC3: &str = "AC3 no abort without a cause";
/// Who has decided does not decide otherwise, nor votes again.
pub const AC4: &str = "AC4 decisions are stable";
/// Every participant that stays up decides, whoever stays down.
pub const AC5: &str = "AC5 non-blocking";
/// No two transactions in doubt write one key of a node.
pub const ONE_LOCK: &str = "one lock per key";
/// Two transactions that meet at two nodes take effect in the same order at both.
pub const ONE_ORDER: &str = "one order";
/// In the calm, with every node up, every participant decides, and nothing stays locked.
pub const RECOVERY: &str = "recovery";
/// On every fair run every participant decides, and nothing stays locked.
pub const TERMINATION: &str = "termination";
/// In the calm, every call at a live node returns.
pub const CALLS_RETURN: &str = "calls return";

/// Promises and worlds are stated for the right machine and for its flawed twins alike.
type Model<M> = World<M, Ledger>;

/// A world's participants are its first nodes. If its coordinator is apart, it is the last node.
#[derive(Clone, Copy)]
struct Cluster {
    participants: usize,
    apart: usize,
}

const THREE: Cluster = Cluster {
    participants: 3,
    apart: 1,
};
const THREE_OF_THREE: Cluster = Cluster { apart: 0, ..THREE };
const TWO: Cluster = Cluster {
    participants: 2,
    apart: 1,
};
const TWO_OF_TWO: Cluster = Cluster { apart: 0, ..TWO };

impl Cluster {
    fn all(self) -> NodeSet {
        NodeSet::first(self.participants + self.apart)
    }

    fn doors(self) -> NodeSet {
        let participants = NodeSet::first(self.participants);
        match self.apart {
            0 => participants,
            _ => self.all().difference(participants),
        }
    }
}

/// The transactions that one client begins, one after the other. A letter writes itself under the key
/// *x* at every participant, so that any two transactions meet everywhere.
fn script(cluster: Cluster, letters: &str, tickets: &mut u64) -> Vec<Call> {
    let begin = |letter: char| {
        let writes = Writes::from_iter([("x".to_owned(), letter.to_string())]);
        let participants = NodeSet::first(cluster.participants);
        let ticket = *tickets;
        *tickets += 1;
        Call::Begin {
            ticket,
            branches: participants
                .iter()
                .map(|node| (node, writes.clone()))
                .collect(),
        }
    };
    letters.chars().map(begin).collect()
}

/// A world in which everything is promised that two-phase commit promises.
fn world<M: Twin<Commit>>(
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    crashes: u32,
    make: impl Fn(Commit) -> M,
) -> Model<M> {
    let members = cluster.all();
    let machines = members.iter().map(|me| make(Commit { me, members }));
    let mut world = World::new(name, machines.collect(), Ledger::default())
        .doors(cluster.doors())
        .crashes(members, crashes);
    let mut tickets = 0;
    for letters in clients {
        world = world.client(script(cluster, letters, &mut tickets));
    }
    let world = world
        .always_told(AC1, |told| told.ghost.agrees())
        .always_told(AC2, |told| told.ghost.is_unanimous())
        .always_told(AC3, move |told| aborts_have_causes(told, crashes))
        .always_told(AC4, |told| told.ghost.is_stable())
        .always_of_nodes(ONE_LOCK, one_lock_per_key)
        .always_told(ONE_ORDER, |told| told.ghost.has_one_order())
        .recovers(RECOVERY, ROUNDS, everything_is_settled)
        .recovers_for_clients(CALLS_RETURN, ROUNDS, nobody_waits)
        .sometimes_told("everybody commits", |told| told.ghost.everybody_commits())
        .sometimes_told("everybody votes yes, and yet it aborts", |told| {
            told.ghost.aborts_in_vain()
        })
        .sometimes_told("a participant that was asked by another votes no", |told| {
            told.ghost.somebody_refuses()
        });
    if clients.concat().len() < 2 {
        return world.except(ONE_ORDER);
    }
    world.sometimes_told("two transactions that meet take effect", |told| {
        told.ghost.two_take_effect()
    })
}

/// How many alarms may ring in a calm. Each node in doubt asks, each decision is said again, and a
/// vote that got nowhere times out, meanwhile rung over by its own retries.
const ROUNDS: u32 = 24;

fn one_lock_per_key<M: Twin<Commit>>(nodes: &[&Node<M>]) -> bool {
    let mut disks = nodes.iter().filter_map(|node| node.durable());
    disks.all(|disk| disk.branches.locks_are_exclusive())
}

/// Goal of *recovery*: no vote, no doubt and no commit record is left anywhere.
fn everything_is_settled<M: Twin<Commit>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    snapshot.nodes.iter().all(|node| {
        node.up().is_some_and(|state| {
            state.volatile.voting.is_empty()
                && state.durable.commits.is_empty()
                && state.durable.branches.in_doubt().next().is_none()
        })
    })
}

/// Goal of *AC5*, where what crashed stays dead: nobody else is in doubt.
fn no_survivor_is_in_doubt<M: Twin<Commit>>(snapshot: &Snapshot<M, Ledger>) -> bool {
    snapshot.nodes.iter().all(|node| {
        let state = node.up().filter(|state| state.durable.incarnation == 1);
        state.is_none_or(|state| {
            state.volatile.voting.is_empty() && state.durable.branches.in_doubt().next().is_none()
        })
    })
}

/// True if the coordinator has not decided.
fn is_voting<M: Twin<Commit>>(node: &Node<M>, transaction: Transaction) -> bool {
    (node.up()).is_some_and(|state| state.volatile.voting.contains_key(&transaction))
}

/// True if the coordinator would make something of this vote: of a no even if its sender said yes
/// before, for it may have learned since that another one did not.
fn awaits<M: Twin<Commit>>(
    node: &Node<M>,
    transaction: Transaction,
    voter: NodeId,
    vote: Vote,
) -> bool {
    let voting = (node.up()).and_then(|state| state.volatile.voting.get(&transaction));
    voting.is_some_and(|voting| vote == Vote::No || !voting.yes.contains(voter))
}

/// True if somebody has not acknowledged the commit. Who has, the coordinator forgets in a crash; so
/// no acknowledgement is dead before the last one has come.
fn has_record<M: Twin<Commit>>(node: &Node<M>, transaction: Transaction) -> bool {
    (node.durable()).is_some_and(|disk| disk.commits.contains_key(&transaction))
}

fn branch<M: Twin<Commit>>(node: &Node<M>, transaction: Transaction) -> Option<&Branch> {
    node.durable()?.branches.known.get(&transaction)
}

fn is_in_doubt<M: Twin<Commit>>(node: &Node<M>, transaction: Transaction) -> bool {
    matches!(branch(node, transaction), Some(Branch::Prepared { .. }))
}

/// True if it does not matter to the sender whether the message arrives.
fn sender_is_done<M: Twin<Commit>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        Message::Prepare { transaction, .. } => !is_voting(from, *transaction),
        Message::Decision {
            transaction,
            outcome: Outcome::Commit,
        } if letter.from == transaction.coordinator => !has_record(from, *transaction),
        Message::Inquire { transaction } => !is_in_doubt(from, *transaction),
        Message::Decision { .. } | Message::Vote { .. } | Message::Acknowledge { .. } => true,
    }
}

/// True if the receiver ignores the message, or only answers it.
fn receiver_is_done<M: Twin<Commit>>(letter: &Letter<Message>, to: &Node<M>) -> bool {
    match &letter.message {
        Message::Prepare { transaction, .. } => branch(to, *transaction).is_some(),
        Message::Decision { transaction, .. } => {
            branch(to, *transaction).is_some() && !is_in_doubt(to, *transaction)
        }
        // The coordinator answers from what it has. Others must have voted, or they would now.
        Message::Inquire { transaction } => {
            letter.to == transaction.coordinator || branch(to, *transaction).is_some()
        }
        Message::Vote { transaction, vote } => !awaits(to, *transaction, letter.from, *vote),
        Message::Acknowledge { transaction } => !has_record(to, *transaction),
    }
}

/// A world of the right machine.
fn right(name: &str, cluster: Cluster, clients: &[&str], crashes: u32) -> Model<Commit> {
    world(name, cluster, clients, crashes, |right| right)
        .purging(sender_is_done, receiver_is_done)
        // What is sent again is in the network already: it matters to promises of the calm alone.
        .never("ring Retry")
}

/// A world of a flawed one. Nothing is forgotten in it.
fn flawed(
    flaw: Flaw,
    name: &str,
    cluster: Cluster,
    clients: &[&str],
    crashes: u32,
) -> Model<Flawed> {
    world(name, cluster, clients, crashes, move |right| Flawed {
        right,
        flaw,
    })
}

/// Two-phase commit, its worlds and its flaws.
pub fn protocol() -> Protocol {
    Protocol {
        name: "commit",
        summary: "two-phase commit: all of it or nothing, unless the coordinator stays dead",
        worlds: worlds(),
        flaws: [flaws(), weakened()].into_iter().flatten().collect(),
    }
}

fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(1_573, 7_361, || {
            right("calm", THREE, &["A"], 0)
                .eventually(TERMINATION, everything_is_settled)
                .says("three participants and a coordinator apart; one transaction")
        }),
        Claimed::holds(14_123, 71_240, || {
            right("crash", THREE, &["A"], 1)
                .eventually(TERMINATION, everything_is_settled)
                .says("the same, and one crash of any")
        }),
        Claimed::holds(55_055, 290_247, || {
            right("cut", THREE, &["A"], 0)
                .eventually(TERMINATION, everything_is_settled)
                .says("the same, and one cut of any shape")
                .cuts(Cut::all(4), 1)
        }),
        Claimed::holds(494_305, 2_847_216, || {
            right("crash-and-cut", THREE, &["A"], 1)
                .says("the same, and both")
                .cuts(Cut::all(4), 1)
        }),
        Claimed::holds(82_231, 348_769, || {
            crash_stop("crash-stop")
                .except(AC5)
                .says("three participants and a coordinator apart; one crash of any, for good")
        }),
        Claimed::holds(34_034, 141_325, || {
            right("coordinator-takes-part", THREE_OF_THREE, &["A"], 1)
                .says("three participants, one of which coordinates; one crash of any and one cut of any shape")
                .cuts(Cut::all(3), 1)
        }),
        Claimed::holds(999, 1_989, || {
            right("two-transactions", TWO_OF_TWO, &["A", "B"], 0).says(
                "two participants; two clients begin transactions that meet at both, at any node",
            )
            // The one to ask is the coordinator, and what it would say is on its way.
            .never("deliver Inquire")
        }),
        Claimed::holds(7_299, 15_953, || {
            right("two-transactions-crash", TWO_OF_TWO, &["A", "B"], 1)
                .says("the same, and one crash of any")
        }),
        Claimed::holds(103_405, 444_397, || {
            right("two-of-three", THREE_OF_THREE, &["A", "B"], 0).says(
                "three participants; two clients begin transactions that meet at all, at any node",
            )
        }),
        Claimed::holds_deep(886_243, 3_943_381, || {
            right("two-of-three-crash", THREE_OF_THREE, &["A", "B"], 1)
                .says("the same, and one crash of any")
        }),
        Claimed::holds(53_976, 234_032, || {
            right("two-in-a-row", TWO, &["AB"], 1)
                .says("two participants and a coordinator apart; one client begins two transactions, one crash of any")
        }),
    ]
}

fn flaws() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(AC2, 3, || {
            flawed(Flaw::FirstVoteDecides, "first-vote-decides", TWO, &["A"], 0)
                .says("the coordinator commits on the first yes")
        }),
        Claimed::falls(AC2, 2, || {
            flawed(Flaw::OnlyTheHealthy, "only-the-healthy", TWO, &["A"], 0)
                .says("who does not vote in time is left out, as the textbook leaves out who seems unhealthy")
        }),
        Claimed::falls(AC4, 4, || {
            flawed(Flaw::NoVoteKept, "no-vote-kept", TWO, &["A"], 0)
                .says("a participant says yes and writes nothing down, as in the textbook")
        }),
        Claimed::falls(AC1, 9, || {
            flawed(Flaw::VoteForgotten, "vote-forgotten", TWO, &["A"], 1)
                .says("a restart forgets the votes")
        }),
        Claimed::falls(AC1, 6, || {
            flawed(Flaw::AbortInDoubt, "abort-in-doubt", TWO, &["A"], 0)
                .says("a participant that waited long enough aborts, though it has voted yes")
        }),
        Claimed::falls(AC2, 3, || {
            flawed(Flaw::CommitInDoubt, "commit-in-doubt", TWO, &["A"], 0)
                .says("a participant that waited long enough commits, as it has voted yes")
        }),
        Claimed::falls(AC1, 8, || {
            flawed(Flaw::PresumesTooSoon, "presumes-too-soon", TWO, &["A"], 0)
                .says("recovery races the votes: who asks how it ended, before it did, is told that there is no commit record")
        }),
        Claimed::falls(AC1, 9, || {
            flawed(Flaw::DoubtersDecide, "doubters-decide", THREE, &["A"], 0).says(
                "two participants in doubt agree to abort, without the third, which knows better",
            )
        }),
        Claimed::falls(AC1, 8, || {
            flawed(Flaw::RefusalNotKept, "refusal-not-kept", TWO, &["A"], 0).says(
                "who is asked for the outcome before it is asked to vote says abort and forgets it",
            )
        }),
        Claimed::falls(AC1, 10, || {
            flawed(Flaw::RecordNotForced, "record-not-forced", TWO, &["A"], 1)
                .says("the commit record is not on the disk when the decision is said; the textbook's never is")
        }),
        Claimed::falls(AC1, 10, || {
            flawed(
                Flaw::EndAtFirstAcknowledgement,
                "end-too-early",
                TWO,
                &["A"],
                0,
            )
            .says("the coordinator forgets a commit when the first participant has acknowledged it")
        }),
        Claimed::falls(AC2, 8, || {
            flawed(
                Flaw::IncarnationForgotten,
                "incarnation-forgotten",
                TWO,
                &["AB"],
                1,
            )
            .says("after a restart the names of transactions begin anew")
        }),
        Claimed::falls(AC3, 4, || {
            flawed(Flaw::AbortByKey, "abort-by-key", TWO_OF_TWO, &["A", "B"], 0)
                .says("an abort ends whichever transaction holds its keys, as the textbook's does")
        }),
        Claimed::falls(AC4, 4, || {
            flawed(Flaw::PreparesAgain, "prepares-again", TWO, &["A"], 0)
                .says("a question to vote that comes again, after the abort, locks again")
        }),
        Claimed::falls(ONE_LOCK, 3, || {
            flawed(
                Flaw::LocksNothing,
                "locks-nothing",
                TWO_OF_TWO,
                &["A", "B"],
                0,
            )
            .says("a participant says yes whoever holds the keys")
        }),
        Claimed::falls(ONE_ORDER, 8, || {
            flawed(
                Flaw::LocksNothing,
                "last-writer-wins",
                TWO_OF_TWO,
                &["A", "B"],
                0,
            )
            .says("prepare locks nothing, and commits overwrite as they arrive, as in the textbook")
        }),
        Claimed::falls(RECOVERY, 3, || {
            flawed(Flaw::SaidOnce, "said-once", TWO, &["A"], 0)
                .says("the decision is said once, and nobody asks for it; the textbook ignores whether it arrived")
        }),
        Claimed::falls(RECOVERY, 3, || {
            flawed(Flaw::NoInquiry, "no-inquiry", TWO, &["A"], 0)
                .says("a participant in doubt does not ask")
        }),
        Claimed::falls(TERMINATION, 9, || {
            flawed(Flaw::NoInquiry, "in-doubt-for-ever", TWO, &["A"], 1)
                .eventually(TERMINATION, everything_is_settled)
                .says(
                    "the same, and the coordinator forgets in a crash that there was a transaction",
                )
        }),
        Claimed::falls(CALLS_RETURN, 1, || {
            flawed(Flaw::NoRetries, "no-retries", TWO, &["A"], 0)
                .says("the question to vote is sent once, and waited for without end")
        }),
    ]
}

/// The right machine where something that it assumes is taken away.
fn weakened() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::falls(AC5, 5, || {
            crash_stop("coordinator-stays-dead")
                .says("every participant has voted yes, and the coordinator crashes for good")
        }),
        Claimed::falls(TERMINATION, 9, || {
            crash_stop("blocked-for-ever")
                .eventually(TERMINATION, no_survivor_is_in_doubt)
                .says("the coordinator crashes for good when all have voted yes: whatever survivors do, they stay in doubt")
        }),
        Claimed::falls(AC1, 9, || {
            world("lying-disk", TWO, &["A"], 1, |right| right)
                .says("a disk forgets what it acknowledged, so that a vote precedes the write")
                .disk(Disk::Lying)
        }),
    ]
}

/// Babaoğlu and Toueg's own world, in which what crashes stays dead. There two-phase commit keeps all
/// but *AC5*; that one cannot be stated as `recovers` is elsewhere, for in that calm everyone
/// restarts.
///
/// The promise is made as weak as it can be, so that its fall says as much as it can: from now on
/// nothing goes wrong, what survives is heard by all who survive, and what was under way is lost, so
/// that a participant that has not been asked to vote is free to end the transaction for all.
fn crash_stop(name: &str) -> Model<CrashStop> {
    let make = || world("survivors", THREE, &["A"], 1, |right| CrashStop { right });
    let survivors = make();
    let goal = Condition::Whole(Arc::new(no_survivor_is_in_doubt));
    let mut world = make();
    world.name = name.into();
    world
        .except(RECOVERY)
        // A call may be made at a node that is dead.
        .except(CALLS_RETURN)
        .never("ring Retry")
        .always(AC5, move |snapshot| {
            let mut alone = snapshot.clone();
            alone.network = Shared::new(Vec::new());
            calm::rounds(&survivors, &alone, ROUNDS, &goal).is_some()
        })
}

/// A transaction of three participants, with a crash, and nothing forgotten: what refines
/// [`specification::Step`].
pub fn refining() -> World<Commit, Ledger> {
    world("refining", THREE_OF_THREE, &["A"], 0, |right| right)
}

/// How far each participant is in the one transaction of [`refining`].
pub fn stages(snapshot: &Snapshot<Commit, Ledger>) -> Vec<specification::Stage> {
    let stage = |node: &Node<Commit>| {
        let known = node.durable().map(|disk| disk.branches.known.values());
        match known.into_iter().flatten().next() {
            None => specification::Stage::Working,
            Some(Branch::Prepared { .. }) => specification::Stage::Prepared,
            Some(Branch::Committed) => specification::Stage::Committed,
            Some(Branch::Aborted) => specification::Stage::Aborted,
        }
    };
    snapshot.nodes.iter().map(|node| stage(node)).collect()
}

/// What [`World::purging`] owes in small worlds.
///
/// # Errors
///
/// Says which obligation fails, and where.
pub fn obligations() -> Result<Vec<Discharged>, String> {
    Ok(vec![
        purge::obligations(|| right("purged", TWO, &["A"], 1))?,
        purge::obligations(|| right("purged", THREE_OF_THREE, &["A"], 0))?,
        purge::obligations(|| right("purged", TWO_OF_TWO, &["A", "B"], 0))?,
    ])
}

/// The same, of a machine for which the rule is wrong: to one that prepares again, a question to vote
/// is never dead. It must fail, or the obligations prove nothing.
///
/// # Errors
///
/// Always, if all is well.
pub fn wrong_obligations() -> Result<Discharged, String> {
    purge::obligations(|| {
        flawed(Flaw::PreparesAgain, "purged", TWO, &["A"], 0)
            .purging(sender_is_done, receiver_is_done)
    })
}
