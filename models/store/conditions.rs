//! What promises are made of, where what was told is not enough: conditions on the members, on their
//! disks, and on what would come of them in the calm.

use quorate::data::NodeSet;
use quorate::machine::{NodeId, State};
use quorate::store::{Phase, Purpose, Role, Standing, Store, Term};

use super::{ONE_LEADER, Past, probe};
use crate::flaw::Twin;
use crate::snapshot::{Snapshot, nobody_waits};

pub(super) fn leaders<M: Twin<Store>>(
    snapshot: &Snapshot<M, Past>,
) -> impl Iterator<Item = (NodeId, &State<M>)> {
    let leads = |state: &State<M>| match state.volatile.role {
        Role::Leader(_) => true,
        Role::Follower { .. } | Role::Candidate { .. } => false,
    };
    snapshot.running().filter(move |(_, state)| leads(state))
}

/// True if no term was ever won twice, and nobody leads the term of another.
pub(super) fn one_leader_per_term<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    let led = |(_, state): (NodeId, &State<M>)| state.durable.term;
    let mut terms: Vec<Term> = leaders(snapshot).map(led).collect();
    let count = terms.len();
    terms.sort_unstable();
    terms.dedup();
    snapshot.ghost.keeps(ONE_LEADER) && terms.len() == count
}

/// True if of all that was decided, a majority of the disks has the record, or one that builds on it.
pub(super) fn survives<M: Twin<Store>>(snapshot: &Snapshot<M, Past>, members: NodeSet) -> bool {
    let mut decided = snapshot.ghost.decided.iter();
    decided.all(|((key, version), (term, value))| {
        let has = |disk: &M::Durable| {
            let record = disk.records.get(key);
            record.is_some_and(|record| {
                let stands = record.version == *version && record.value == *value;
                *term <= record.term && (stands || *version < record.version)
            })
        };
        let holders = snapshot.disks().filter(|(_, disk)| has(disk)).count();
        members.majority() <= holders
    })
}

/// True if every committed record on a disk was decided.
pub(super) fn only_the_decided_is_committed<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    snapshot.disks().all(|(_, disk)| {
        disk.records.iter().all(|(key, record)| {
            let decided = &snapshot.ghost.decided;
            let known = decided.get(&(key.clone(), record.version));
            match record.standing {
                Standing::Prepared => true,
                Standing::Committed => known.is_some_and(|(_, value)| *value == record.value),
            }
        })
    })
}

/// Goal of *serves again*: nobody waits, and a fresh write is acknowledged.
pub(super) fn serves<M: Twin<Store>>(snapshot: &Snapshot<M, Past>, machines: &[M]) -> bool {
    nobody_waits(&snapshot.clients) && probe::acknowledges(machines, snapshot)
}

/// True if a leader prepares again what another left prepared.
pub(super) fn finishes<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    snapshot
        .running()
        .any(|(_, state)| match &state.volatile.role {
            Role::Leader(leader) => leader.work.values().any(|work| match work.phase {
                Phase::Preparing { purpose, .. } => purpose == Purpose::Finish,
                Phase::Inquiring { .. } => false,
            }),
            Role::Follower { .. } | Role::Candidate { .. } => false,
        })
}

/// True if a disk has as prepared what is decided to be something else.
pub(super) fn aborted<M: Twin<Store>>(snapshot: &Snapshot<M, Past>) -> bool {
    snapshot.disks().any(|(_, disk)| {
        disk.records.iter().any(|(key, record)| {
            let decided = &snapshot.ghost.decided;
            let known = decided.get(&(key.clone(), record.version));
            known.is_some_and(|(_, value)| *value != record.value)
        })
    })
}
