//! Reads without log entries, step by step.

use std::convert::Infallible;
use std::time::Duration;

use quorate::data::NodeSet;
use quorate::machine::{self, Input, Machine, NodeId, Output, Sealed, State};
use quorate::raft::{
    Call, Changes, Durable, ELECTION_MIN_MS, Elections, Event, FirstEntry, Flow, Index, Leadership,
    Message, Position, Raft, Reads, Role, Snapshots, Term, Timer,
};

const NONE: [u64; 0] = [];
const LEASE: Reads = Reads::Lease { drift_ms: 30 };

/// A node, and what it does.
struct Node {
    machine: Raft,
    state: State<Raft>,
}

/// What it said in a step.
struct Said(Vec<Output<Raft>>);

impl Said {
    fn of(sealed: Sealed<Raft>) -> Self {
        let Ok(outputs) = sealed.persist(|_| Ok::<(), Infallible>(()));
        Self(outputs)
    }

    /// The reads that it answered.
    fn answered(&self) -> Vec<u64> {
        let answered = |output: &Output<Raft>| match output {
            Output::Event(Event::Replied { ticket, .. }) => Some(*ticket),
            Output::Event(_) | Output::Send { .. } | Output::Arm(_) | Output::Disarm(_) => None,
        };
        self.0.iter().filter_map(answered).collect()
    }

    /// The rounds that it began or repeated.
    fn rounds(&self) -> Vec<u64> {
        let round = |output: &Output<Raft>| match output {
            Output::Send {
                to: NodeId(1),
                message: Message::AppendEntries { round, .. },
            } => Some(*round),
            Output::Send { .. } | Output::Event(_) | Output::Arm(_) | Output::Disarm(_) => None,
        };
        self.0.iter().filter_map(round).collect()
    }

    fn has(&self, output: &Output<Raft>) -> bool {
        self.0.contains(output)
    }
}

impl Node {
    fn new(reads: Reads) -> Self {
        let machine = Raft {
            me: NodeId(0),
            members: NodeSet::first(3),
            spares: NodeSet::EMPTY,
            elections: Elections::Direct,
            first_entry: FirstEntry::NoOp,
            leadership: Leadership::UntilDeposed,
            reads,
            batch_entries_max: 8,
            batch_bytes_max: 1000,
            flow: Flow::StopAndWait,
            snapshots: Snapshots::Never,
            changes: Changes::Never,
        };
        let state = machine::boot(&machine, Durable::default()).state;
        Self { machine, state }
    }

    /// A leader of three in the first term, whose first entry is committed.
    fn leader(reads: Reads) -> Self {
        let mut node = Self::new(reads);
        node.rings(Timer::Election);
        node.hears(Message::Vote { term: Term(1) });
        node.answered(0);
        node
    }

    fn step(&mut self, input: Input<Raft>) -> Said {
        let step = machine::step(&self.machine, self.state.clone(), input);
        self.state = step.state;
        assert!(self.machine.holds(&self.state));
        Said::of(step.sealed)
    }

    fn rings(&mut self, timer: Timer) -> Said {
        self.step(Input::Timer(timer))
    }

    fn hears(&mut self, message: Message) -> Said {
        let from = NodeId(1);
        self.step(Input::Message { from, message })
    }

    /// Node 1 answers this round.
    fn answered(&mut self, round: u64) -> Said {
        self.hears(Message::Appended {
            term: Term(1),
            matching: Index(1),
            round,
        })
    }

    fn reads(&mut self, ticket: u64) -> Said {
        let key = "x".into();
        self.step(Input::Call(Call::Read { ticket, key }))
    }

    fn has_lease(&self) -> bool {
        match &self.state.volatile.role {
            Role::Leader(leader) => leader.lease.held.is_some(),
            Role::Follower { .. } | Role::PreCandidate { .. } | Role::Candidate { .. } => false,
        }
    }

    fn votes_for(&mut self, message: Message) -> bool {
        let said = self.hears(message);
        said.0.iter().any(|output| {
            matches!(
                output,
                Output::Send {
                    message: Message::Vote { .. },
                    ..
                }
            )
        })
    }
}

/// If each read began a round of its own, an answer would always be one to a round that is over.
#[test]
fn reads_that_come_meanwhile_do_not_put_off_those_that_wait() {
    let mut node = Node::leader(Reads::ReadIndex);
    assert_eq!(node.reads(7).rounds(), [1]);
    assert_eq!(node.reads(8).rounds(), NONE);
    assert_eq!(node.reads(9).rounds(), NONE);
    let said = node.answered(1);
    assert_eq!(said.answered(), [7]);
    assert_eq!(
        said.rounds(),
        [2],
        "the next round is for all that came since"
    );
    assert_eq!(node.reads(10).rounds(), NONE);
    assert_eq!(node.answered(1).answered(), NONE, "that round is over");
    assert_eq!(node.answered(2).answered(), [8, 9]);
    assert_eq!(node.answered(3).answered(), [10]);
    assert_eq!(node.reads(11).rounds(), [4]);
}

#[test]
fn a_leader_with_a_lease_asks_nobody() {
    let mut node = Node::leader(LEASE);
    let said = node.reads(7);
    assert_eq!((said.answered(), said.rounds()), (vec![], vec![1]));
    assert_eq!(node.answered(1).answered(), [7]);
    assert!(node.has_lease());
    let said = node.reads(8);
    assert_eq!((said.answered(), said.rounds()), (vec![8], vec![]));
    node.rings(Timer::Lease(1));
    assert!(!node.has_lease());
    let said = node.reads(9);
    assert_eq!((said.answered(), said.rounds()), (vec![], vec![2]));
}

#[test]
fn a_heartbeat_renews_the_lease_before_it_is_over() {
    let mut node = Node::leader(LEASE);
    let said = node.rings(Timer::Heartbeat);
    assert!(said.has(&Output::Arm(Timer::Lease(1))));
    assert!(!node.has_lease());
    node.answered(1);
    assert!(node.has_lease());
    assert_eq!(node.rings(Timer::Heartbeat).rounds(), [2]);
    let said = node.rings(Timer::Heartbeat);
    assert_eq!(
        said.rounds(),
        [2],
        "one that is under way counts from its start"
    );
    assert!(!said.has(&Output::Arm(Timer::Lease(2))));
    let said = node.answered(2);
    assert!(said.has(&Output::Disarm(Timer::Lease(1))));
    node.rings(Timer::Lease(1));
    assert!(node.has_lease());
    node.rings(Timer::Lease(2));
    assert!(!node.has_lease());
    assert_eq!(node.answered(2).answered(), NONE);
    assert!(!node.has_lease(), "what came too late brings nothing");
}

#[test]
fn who_hands_over_has_no_lease_any_more() {
    let mut node = Node::leader(LEASE);
    node.rings(Timer::Heartbeat);
    node.answered(1);
    let to = NodeId(1);
    let said = node.step(Input::Call(Call::Transfer { ticket: 1, to }));
    let told = Message::TimeoutNow { term: Term(1) };
    assert!(said.has(&Output::Send { to, message: told }));
    assert!(!node.has_lease());
    node.rings(Timer::Transfer);
    node.rings(Timer::Heartbeat);
    node.answered(1);
    assert!(!node.has_lease());
    assert_eq!(node.reads(8).answered(), NONE);
    assert_eq!(node.answered(2).answered(), [8], "it asks, and is answered");
    assert!(!node.has_lease());
}

#[test]
fn a_follower_votes_for_nobody_until_its_alarm_rings_but_for_an_heir() {
    let (term, last) = (Term(2), Position::default());
    let request = || Message::RequestVote { term, last };
    let mut node = Node::new(LEASE);
    assert!(!node.votes_for(request()), "it may have promised that");
    node.rings(Timer::Election);
    assert!(node.votes_for(request()));
    let mut node = Node::new(LEASE);
    assert!(node.votes_for(Message::RequestVoteAsHeir { term, last }));
    let mut node = Node::new(Reads::ReadIndex);
    assert!(node.votes_for(request()));
}

#[test]
fn a_lease_is_shorter_than_the_shortest_timeout_by_the_drift() {
    let node = Node::new(LEASE);
    let election = node.machine.delay(&Timer::Election);
    let lease = node.machine.delay(&Timer::Lease(1));
    let shortest = Duration::from_millis(ELECTION_MIN_MS.into());
    assert_eq!(election.start, shortest);
    assert_eq!(lease.end + Duration::from_millis(30), shortest);
}
