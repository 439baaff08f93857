//! One member of each kind, in the same state, is told the same, and both come to the same: term, vote, log,
//! commit, whether it leads, and what it answers.
//!
//! Exhaustive, over all small states and all that a candidate, a leader or a follower could say. Where the
//! two differ on purpose, what each does is said exactly, and checked, in its own [`Case`].

use std::collections::BTreeMap;

use quorate::machine::NodeId;
use quorate::raft::{Entry, Flow, Index, Message, Position, Term};
use quorate_differential::border::Said;
use quorate_differential::member::command;
use quorate_differential::{Kind, Member, Sabotage, Seen, Settings};

#[path = "side_by_side/following.rs"]
mod following;
#[path = "side_by_side/leading.rs"]
mod leading;

use following::{candidates, leaders};
use leading::{acknowledgements, answers, conflicts, gaps, votes};

const TERMS: u64 = 3;
const ENTRIES: u64 = 3;
const ME: NodeId = NodeId(0);
const SENDER: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

const THREE: Settings = Settings {
    members: 3,
    flow: Flow::StopAndWait,
    batch: 2,
};

/// How the two compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    /// The message is of a term that is over: both take no notice.
    Stale,
    /// Both vote.
    Votes,
    /// Neither votes. Theirs refuses; ours does not answer, as nobody acts on a refusal.
    Refuses,
    /// It follows the leader of this term, and has not voted in it. Theirs refuses, as there is a leader
    /// already; ours votes for a log that is good enough, which can elect nobody, for the same reason.
    Follows,
    /// It leads this very term, and another says that it does. Both take no notice.
    Leads,
    /// What comes before is not in the log. Both say so, and where it might match: see
    /// `our_hint` and `their_hint`.
    Conflicts,
    /// Both have all of it.
    Has,
    /// Both append.
    Appends,
    /// Both drop what conflicts, and append.
    Truncates,
    /// It begins before what is committed. Theirs looks no further, and says how much is committed. Ours
    /// does as if it began there, and is no further behind.
    BeginsBefore,
    /// The same, and it ends there, too. Theirs says how much is committed; ours, that it has that.
    EndsBefore,
    /// The same, and what it says is not what is committed: no leader sends that. Theirs says how much is
    /// committed. Ours does not answer, or says that there is a conflict.
    Contradicts,
    /// An entry of it is of a later term than it is: no leader sends that. Ours takes no notice; theirs does
    /// not look at it.
    Malformed,
    /// It answers for a term that is still to come: nobody sends that. Ours takes no notice; theirs adopts
    /// the term.
    FromTheFuture,
    /// Both commit.
    Commits,
    /// Both go back, to the same place.
    GoesBack,
    /// Of what was sent ahead, some is missing. Ours goes back to the hint; theirs, to what it knows to match,
    /// which is before it.
    Gap,
    /// Both lead.
    Elected,
    /// Both come to the same, and nothing of that.
    Same,
}

type Cases = BTreeMap<Case, u32>;

/// What a member is, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    seen: Seen,
    answers: Vec<(NodeId, Message)>,
}

impl Outcome {
    /// What it is, and this answer.
    fn of(seen: &Seen, answer: Option<Message>) -> Self {
        let seen = seen.clone();
        let answers = answer.into_iter().map(|answer| (SENDER, answer)).collect();
        Self { seen, answers }
    }
}

/// What it is before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Follower,
    /// One that has heard the leader of its term.
    Following,
    Candidate,
    Leader,
}

/// One of each kind.
struct Pair {
    members: [Member; 2],
}

impl Pair {
    fn at(settings: Settings, seen: &Seen, wrong: Option<Sabotage>) -> Self {
        let members = [Kind::Ours, Kind::Theirs];
        let members = members.map(|kind| Member::at(kind, ME, settings, wrong, seen));
        Self { members }
    }

    fn with_role(role: Role, seen: &Seen, wrong: Option<Sabotage>) -> Self {
        let mut pair = Self::at(THREE, seen, wrong);
        match role {
            Role::Follower => {}
            Role::Following => {
                let nothing = (Position::default(), Vec::new());
                pair.hear(OTHER, &append(seen.term, nothing, 0));
            }
            Role::Candidate => pair.stand(),
            Role::Leader => {
                pair.stand();
                let term = Term(seen.term.0 + 1);
                pair.hear(OTHER, &Message::Vote { term });
            }
        }
        pair
    }

    fn stand(&mut self) {
        for member in &mut self.members {
            member.stand();
        }
    }

    fn propose(&mut self, serial: u64) {
        for member in &mut self.members {
            member.propose(&command(serial));
        }
    }

    /// Both hear this.
    fn hear(&mut self, from: NodeId, message: &Message) -> [Outcome; 2] {
        self.members.each_mut().map(|member| {
            let did = member.hear(from, Said::Ours(message.clone()));
            let answers = did.sent.into_iter();
            Outcome {
                answers: answers.map(|(to, said)| (to, said.in_ours())).collect(),
                seen: member.seen(),
            }
        })
    }

    /// What both are.
    fn seen(&self) -> Result<Seen, String> {
        let [ours, theirs] = self.members.each_ref().map(Member::seen);
        same(&ours, &theirs)?;
        Ok(ours)
    }
}

/// Both are equal, or they are told apart.
fn same<T: PartialEq + std::fmt::Debug>(one: &T, other: &T) -> Result<(), String> {
    if one == other {
        return Ok(());
    }
    Err(format!("{one:?}, and not {other:?}"))
}

fn append(term: Term, (previous, entries): (Position, Vec<Entry>), commit: u64) -> Message {
    Message::AppendEntries {
        term,
        previous,
        entries,
        commit: Index(commit),
        round: 0,
    }
}

/// All logs, up to so many entries, of terms that do not fall, up to this one. What an entry is follows from
/// its name.
fn logs(term: u64) -> Vec<Vec<Entry>> {
    let mut all = vec![Vec::new()];
    let mut last: Vec<Vec<Entry>> = all.clone();
    for index in 1..=ENTRIES {
        let longer = last.iter().flat_map(|log| {
            let least = log.last().map_or(1, |entry| entry.term.0);
            (least..=term).map(move |term| {
                let command = command(10 * index + term);
                let term = Term(term);
                [log.clone(), vec![Entry { term, command }]].concat()
            })
        });
        last = longer.collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// All states of a follower that voted for one of these.
fn followers(votes: &[Option<NodeId>]) -> Vec<Seen> {
    let mut all = Vec::new();
    for term in 0..=TERMS {
        for log in logs(term) {
            for vote in votes.iter().filter(|vote| 0 < term || vote.is_none()) {
                let states = (0..=log.len() as u64).map(|commit| Seen {
                    term: Term(term),
                    vote: *vote,
                    log: log.clone(),
                    commit,
                    leads: false,
                });
                all.extend(states);
            }
        }
    }
    all
}

/// What has the index, in a log.
fn position(log: &[Entry], index: u64) -> Option<Position> {
    let term = match index.checked_sub(1) {
        None => Term(0),
        Some(at) => log.get(usize::try_from(at).ok()?)?.term,
    };
    let index = Index(index);
    Some(Position { term, index })
}

fn end(log: &[Entry]) -> Position {
    position(log, log.len() as u64).expect("a log has an end")
}

/// What it is once it has heard of this term.
fn adopted(mut before: Seen, term: Term) -> Seen {
    if before.term < term {
        (before.term, before.vote, before.leads) = (term, None, false);
    }
    before
}

fn tally(cases: &mut Cases, case: Case) {
    *cases.entry(case).or_default() += 1;
}

/// What was counted; or else a panic, about what was told apart.
fn found(cases: Result<Cases, String>) -> Cases {
    cases.unwrap_or_else(|told| panic!("{told}"))
}

#[test]
fn both_answer_a_candidate_alike() {
    let cases = [
        (Case::Stale, 34_000),
        (Case::Votes, 15_490),
        (Case::Refuses, 33_610),
        (Case::Follows, 1_050),
    ];
    assert_eq!(found(candidates(None)), Cases::from(cases));
}

#[test]
fn both_answer_a_leader_alike() {
    let cases = [
        (Case::Stale, 191_250),
        (Case::Leads, 22_525),
        (Case::Conflicts, 45_327),
        (Case::Has, 11_788),
        (Case::Appends, 9_800),
        (Case::Truncates, 22_114),
        (Case::BeginsBefore, 10_301),
        (Case::EndsBefore, 7_244),
        (Case::Contradicts, 44_354),
        (Case::Malformed, 15_997),
    ];
    assert_eq!(found(leaders(None)), Cases::from(cases));
}

#[test]
fn both_commit_what_a_majority_has() {
    let cases = [(Case::Commits, 2_256), (Case::Same, 12_690)];
    assert_eq!(found(acknowledgements(None)), Cases::from(cases));
}

#[test]
fn both_go_back_to_the_same_place() {
    let cases = [(Case::GoesBack, 310), (Case::Same, 400)];
    assert_eq!(found(conflicts(None)), Cases::from(cases));
}

#[test]
fn both_go_back_where_something_is_missing() {
    let cases = [(Case::GoesBack, 30), (Case::Gap, 15)];
    assert_eq!(found(gaps(None)), Cases::from(cases));
}

#[test]
fn both_lead_by_the_same_votes() {
    let cases = [(Case::Elected, 567), (Case::Same, 1_833)];
    assert_eq!(found(votes(None)), Cases::from(cases));
}

#[test]
fn both_know_which_answers_are_theirs() {
    let cases = [(Case::FromTheFuture, 954), (Case::Same, 2_806)];
    assert_eq!(found(answers(None)), Cases::from(cases));
}

#[test]
fn who_is_wrong_is_told_apart() {
    type Compare = fn(Option<Sabotage>) -> Result<Cases, String>;
    let wrong: [(Sabotage, Compare); 11] = [
        (Sabotage::VotesTwice, candidates),
        (Sabotage::VotesForAnyLog, candidates),
        (Sabotage::AppendsBlindly, leaders),
        (Sabotage::AcknowledgesUnread, leaders),
        (Sabotage::CommitsItsTail, leaders),
        (Sabotage::AnswersNoLeader, leaders),
        (Sabotage::BelievesMore, acknowledgements),
        (Sabotage::GoesBackTooFar, conflicts),
        (Sabotage::GoesBackTooFar, gaps),
        (Sabotage::CountsLateVotes, votes),
        (Sabotage::IsDeaf, answers),
    ];
    for (wrong, compare) in wrong {
        assert!(compare(Some(wrong)).is_err(), "{wrong:?}");
    }
}
