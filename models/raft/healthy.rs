//! A leader that a majority hears, and a member that it does not reach.
//!
//! Each world begins once node 0 leads and node 1 has heard it. From then on the alarms of these two do not
//! ring: that is what it means that they hear each other in time. Node 2 is cut off for as long as the network
//! likes, crashes, comes back, or is a member no more, and its alarm rings whenever it likes.

use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::raft::{Changes, Elections, MemberChange, Raft, Role};

use super::extended::changing;
use super::flaws::{Flaw, Flawed};
use super::past::Past;
use super::{
    Bounded, Candidates, Cluster, INDIRECTLY, NO_OPS, NOT_DEPOSED, OVERWRITTEN, TWO_LEADERS,
    forgetting,
};
use crate::catalogue::{Claimed, Exhibit};
use crate::flaw::Twin;
use crate::snapshot::Node;
use crate::world::World;

const STANDS: &str = "the one that hears nothing asks for votes";

const HEALTHY: Cluster = Cluster {
    terms: 3,
    crashes: 1,
    elections: Elections::PreVote,
    changes: Changes::OneByOne,
    candidates: Candidates::FirstAndLast,
    ..NO_OPS
};

/// How node 0 comes to lead, and node 1 to know, where they ask before they stand.
const LED: [&str; 6] = [
    "n0's alarm rings: Election",
    "n1 hears from n0: RequestPreVote",
    "n0 hears from n1: PreVote",
    "n1 hears from n0: RequestVote",
    "n0 hears from n1: Vote",
    "n1 hears from n0: AppendEntries",
];

/// The same where they do not ask.
const LED_DIRECTLY: [&str; 4] = [LED[0], LED[3], LED[4], LED[5]];

fn healthy<M: Twin<Raft>>(
    name: &str,
    cluster: Cluster,
    changes: &[MemberChange],
    make: impl Fn(Raft) -> M,
) -> World<Bounded<M>, Past> {
    let begins = match cluster.elections {
        Elections::PreVote => &LED[..],
        Elections::Direct => &LED_DIRECTLY,
    };
    changing(name, cluster, &[changes], make)
        .doors(NodeSet::first(1))
        .crashes([NodeId(2)].into_iter().collect(), cluster.crashes)
        .begins_after(begins)
        .always_of_nodes(NOT_DEPOSED, leads_on)
        .sometimes(STANDS, |snapshot| {
            snapshot
                .running()
                .any(|(_, state)| match state.volatile.role {
                    Role::PreCandidate { .. } | Role::Candidate { .. } => true,
                    Role::Follower { .. } | Role::Leader(_) => false,
                })
        })
        .except(TWO_LEADERS)
        .except(OVERWRITTEN)
        .except(INDIRECTLY)
}

/// Node 0 leads, and node 1 is of its term.
fn leads_on<M: Twin<Raft>>(nodes: &[&Node<M>]) -> bool {
    let [Some(leader), Some(follower)] = [0, 1].map(|place| nodes.get(place)?.up()) else {
        return false;
    };
    matches!(leader.volatile.role, Role::Leader(_)) && leader.durable.term == follower.durable.term
}

pub(super) fn worlds() -> Vec<Box<dyn Exhibit>> {
    vec![
        Claimed::holds(12_088, 55_481, || {
            forgetting(healthy("healthy-leader", HEALTHY, &[], |right| right), HEALTHY)
                .says("three members; one leads and one hears it; the third hears nothing for as long as it likes, and crashes once")
                .except(super::extended::CHANGED)
                // The election is over.
                .never("deliver PreVote")
                .never("deliver Vote")
        }),
        Claimed::holds(78_158, 365_115, || {
            let removed = [MemberChange::Remove(NodeId(2))];
            forgetting(
                healthy("removed-member", HEALTHY, &removed, |right| right),
                HEALTHY,
            )
            .says("the same, and the third is removed, and may never hear of that")
            // The election is over.
            .never("deliver PreVote")
            .never("deliver Vote")
        }),
    ]
}

pub(super) fn flaws() -> Vec<Box<dyn Exhibit>> {
    let direct = Cluster {
        elections: Elections::Direct,
        ..HEALTHY
    };
    vec![
        Claimed::falls(NOT_DEPOSED, 3, move || {
            healthy("no-pre-vote", direct, &[], |right| right)
                .says("who hears no leader stands at once, as in the paper without its thesis")
        }),
        Claimed::falls(NOT_DEPOSED, 5, || {
            healthy("pre-votes-for-anyone", HEALTHY, &[], |right| Flawed {
                right,
                flaw: Flaw::PreVotesForAnyone,
            })
            .says("who hears a leader would vote for another all the same")
        }),
    ]
}
