//! Who is who in the worlds, and what is asked of them.

use quorate::commit::{Call, Writes};
use quorate::data::NodeSet;
use quorate::machine::NodeId;
use quorate::paxos_commit::PaxosCommit;
use quorate::quorum::Quorums;

/// Who is who, and how far it goes. Participants are the first nodes, then the coordinator comes if it
/// is apart, then the acceptors if they are.
#[derive(Clone, Copy)]
pub(super) struct Cluster {
    pub(super) participants: usize,
    pub(super) coordinator: Coordinator,
    pub(super) acceptors: Acceptors,
    /// The last round.
    pub(super) rounds: u64,
    pub(super) crashes: u32,
    /// How many acceptors are asked for a promise, and how many choose, if not a majority.
    pub(super) quorums: Option<(usize, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Coordinator {
    /// A node that does nothing else.
    Apart,
    /// Any of the first so many participants.
    Among(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceptors {
    /// So many nodes that do nothing else.
    Apart(usize),
    /// The first so many nodes, whatever else they are.
    First(usize),
}

/// Two participants, one of which coordinates, and a third node; the three are the acceptors.
pub(super) const PAIR: Cluster = Cluster {
    participants: 2,
    coordinator: Coordinator::Among(1),
    acceptors: Acceptors::First(3),
    rounds: 1,
    crashes: 0,
    quorums: None,
};

/// Three participants, one of which coordinates; the three are the acceptors.
pub(super) const ALL: Cluster = Cluster {
    participants: 3,
    ..PAIR
};

/// Two participants and a coordinator; the three are the acceptors.
pub(super) const THREE: Cluster = Cluster {
    coordinator: Coordinator::Apart,
    ..PAIR
};

/// Two participants, one of which coordinates, and three acceptors that do nothing else.
pub(super) const FIVE: Cluster = Cluster {
    acceptors: Acceptors::Apart(3),
    ..PAIR
};

/// A participant, a coordinator, and three acceptors that do nothing else.
pub(super) const LONE: Cluster = Cluster {
    participants: 1,
    coordinator: Coordinator::Apart,
    ..FIVE
};

/// Two participants, one of which coordinates, and one acceptor.
pub(super) const DUO: Cluster = Cluster {
    acceptors: Acceptors::Apart(1),
    ..FIVE
};

/// A participant, a coordinator, and one acceptor.
pub(super) const TRIO: Cluster = Cluster {
    acceptors: Acceptors::Apart(1),
    ..LONE
};

/// A participant, a coordinator, and two acceptors, of which one is enough to promise, and both to
/// choose.
pub(super) const FLEXIBLE: Cluster = Cluster {
    acceptors: Acceptors::Apart(2),
    ..LONE
}
.with_quorums(1, 2);

impl Cluster {
    pub(super) const fn with_crashes(self, crashes: u32) -> Self {
        Self { crashes, ..self }
    }

    pub(super) const fn with_rounds(self, rounds: u64) -> Self {
        Self { rounds, ..self }
    }

    /// Any participant may begin a transaction.
    pub(super) const fn open(self) -> Self {
        Self {
            coordinator: Coordinator::Among(self.participants),
            ..self
        }
    }

    /// So many acceptors are asked for a promise, and so many choose.
    pub(super) const fn with_quorums(self, promise: usize, choose: usize) -> Self {
        Self {
            quorums: Some((promise, choose)),
            ..self
        }
    }

    /// Those who may lead.
    fn leaders(self) -> usize {
        match self.coordinator {
            Coordinator::Apart => self.participants + 1,
            Coordinator::Among(_) => self.participants,
        }
    }

    pub(super) fn all(self) -> NodeSet {
        match self.acceptors {
            Acceptors::Apart(count) => NodeSet::first(self.leaders() + count),
            Acceptors::First(count) => NodeSet::first(self.leaders().max(count)),
        }
    }

    pub(super) fn acceptors(self) -> NodeSet {
        match self.acceptors {
            Acceptors::Apart(_) => self.all().difference(NodeSet::first(self.leaders())),
            Acceptors::First(count) => NodeSet::first(count),
        }
    }

    pub(super) fn doors(self) -> NodeSet {
        let participants = NodeSet::first(self.participants);
        match self.coordinator {
            Coordinator::Apart => NodeSet::first(self.leaders()).difference(participants),
            Coordinator::Among(count) => NodeSet::first(count),
        }
    }

    pub(super) fn machine(self, me: NodeId) -> PaxosCommit {
        let acceptors = self.acceptors();
        let majority = acceptors.majority();
        let (promise, choose) = self.quorums.unwrap_or((majority, majority));
        PaxosCommit {
            me,
            members: self.all(),
            // Unchecked, for the worlds that ask too few.
            acceptors: Quorums::unchecked(acceptors, promise, choose),
        }
    }

    /// The transactions that one client begins, one after the other. A letter writes itself under the
    /// key *x* at every participant, so that any two transactions meet everywhere.
    pub(super) fn script(self, letters: &str, tickets: &mut u64) -> Vec<Call> {
        let begin = |letter: char| {
            let writes = Writes::from_iter([("x".to_owned(), letter.to_string())]);
            let participants = NodeSet::first(self.participants);
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
}
