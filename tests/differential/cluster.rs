//! Members of both kinds, and a network as bad as a seed makes it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use quorate::machine::NodeId;
use quorate::raft::{Flow, Message};

use crate::border::{HEARTBEAT, Said, comes_back};
use crate::history::{Fall, History, Promise};
use crate::member::{Did, Kind, Member, Settings, command};
use crate::ours::Sabotage;

/// How many things happen before the calm.
const STEPS: usize = 300;
/// How many messages are under way at most: more are lost.
const LETTERS_MAX: usize = 40;
/// How many messages the calm may take; one that never ends is none.
const CALM_LETTERS_MAX: usize = 10_000;

/// What a seed begins with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Whose the members are.
    pub kinds: Vec<Kind>,
    /// What all of them share.
    pub settings: Settings,
    /// How often, of a hundred times that something happens, a member stands.
    stands: u32,
    /// How often it crashes.
    crashes: u32,
    /// How often, of a hundred messages that arrive, it is the oldest; else it is any.
    in_order: u32,
    /// What is wrong, and with whom.
    pub wrong: Option<(Sabotage, usize)>,
}

impl Plan {
    /// Three or five members, each of either kind. If something is to be wrong, it is with the first of
    /// ours; if there is none, with nobody.
    pub fn of(seed: u64, wrong: Option<Sabotage>) -> Self {
        let mut chance = Rng::with_seed(seed);
        let members = if chance.bool() { 3 } else { 5 };
        let flow = match chance.u32(..3) {
            0 => Flow::StopAndWait,
            more => Flow::Pipelined {
                messages_max: more + 1,
            },
        };
        let kinds: Vec<Kind> = (0..members)
            .map(|_| {
                if chance.bool() {
                    Kind::Ours
                } else {
                    Kind::Theirs
                }
            })
            .collect();
        let first = kinds.iter().position(|kind| *kind == Kind::Ours);
        Self {
            seed,
            settings: Settings {
                members,
                flow,
                batch: chance.u32(1..=3),
            },
            stands: chance.u32(2..=8),
            crashes: chance.u32(1..=4),
            in_order: chance.u32(..90),
            wrong: wrong.zip(first),
            kinds,
        }
    }
}

/// What happened, to show that it was not nothing. Where there are two, the first is of ours; where there
/// are two by two, the first index is of who hears, the second of who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clusters of one kind alone.
    pub alone: [u64; 2],
    /// Things that happened.
    pub steps: u64,
    /// Messages that arrived.
    pub heard: [[u64; 2]; 2],
    /// Elections won.
    pub elections: [u64; 2],
    /// Logs that grew by what was heard.
    pub replicated: [[u64; 2]; 2],
    /// Logs that lost entries by what was heard.
    pub truncated: [[u64; 2]; 2],
    /// Conflicts that arrived.
    pub conflicts: [[u64; 2]; 2],
    /// Heartbeats of theirs that arrived, and answers to them.
    pub heartbeats: [[u64; 2]; 2],
    /// Crashes.
    pub restarts: [u64; 2],
    /// Entries committed, by whose leader.
    pub committed: [u64; 2],
    /// Those of them that are of an earlier term than the leader's.
    pub indirect: [u64; 2],
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        for (sum, other) in [
            (&mut self.alone, other.alone),
            (&mut self.elections, other.elections),
            (&mut self.restarts, other.restarts),
            (&mut self.committed, other.committed),
            (&mut self.indirect, other.indirect),
        ] {
            add(sum, other);
        }
        for (sum, other) in [
            (&mut self.heard, other.heard),
            (&mut self.replicated, other.replicated),
            (&mut self.truncated, other.truncated),
            (&mut self.conflicts, other.conflicts),
            (&mut self.heartbeats, other.heartbeats),
        ] {
            sum.iter_mut()
                .zip(other)
                .for_each(|(sum, other)| add(sum, other));
        }
    }
}

impl Counts {
    fn hear(&mut self, kinds: [usize; 2], message: Message) {
        count(&mut self.heard, kinds, true);
        let is_conflict = matches!(message, Message::Conflict { .. });
        count(&mut self.conflicts, kinds, is_conflict);
        if let Message::AppendEntries { round, .. } | Message::Appended { round, .. } = message {
            count(&mut self.heartbeats, kinds, round == HEARTBEAT);
        }
    }
}

fn add(sum: &mut [u64; 2], other: [u64; 2]) {
    sum.iter_mut()
        .zip(other)
        .for_each(|(sum, other)| *sum += other);
}

#[derive(Clone, Debug)]
struct Letter {
    from: NodeId,
    to: NodeId,
    said: Said,
}

struct Cluster {
    members: Vec<Member>,
    letters: Vec<Letter>,
    history: History,
    counts: Counts,
    serial: u64,
    /// True until the calm.
    lossy: bool,
}

/// Runs a plan, and gives what happened in it.
///
/// # Errors
///
/// The first promise that fell.
pub fn run(plan: &Plan) -> Result<Counts, Fall> {
    let ran = catch_unwind(AssertUnwindSafe(|| Cluster::new(plan).run(plan)));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Fall::new(Promise::NobodyPanics, text.unwrap_or_default()))
    })
}

impl Cluster {
    fn new(plan: &Plan) -> Self {
        let member = |(place, kind): (usize, &Kind)| {
            let wrong = plan.wrong.filter(|(_, who)| *who == place);
            let wrong = wrong.map(|(sabotage, _)| sabotage);
            Member::new(*kind, name(place), plan.settings, wrong)
        };
        Self {
            members: plan.kinds.iter().enumerate().map(member).collect(),
            letters: Vec::new(),
            history: History::new(plan.kinds.len()),
            counts: Counts::default(),
            serial: 0,
            lossy: true,
        }
    }

    fn run(mut self, plan: &Plan) -> Result<Counts, Fall> {
        let mut chance = Rng::with_seed(plan.seed ^ 0x5eed);
        for kind in [Kind::Ours, Kind::Theirs] {
            let alone = plan.kinds.iter().all(|other| *other == kind);
            self.counts.alone[kind as usize] += u64::from(alone);
        }
        for _ in 0..STEPS {
            self.counts.steps += 1;
            self.happen(plan, &mut chance)?;
        }
        self.calm()?;
        Ok(self.counts)
    }

    /// One thing happens.
    fn happen(&mut self, plan: &Plan, chance: &mut Rng) -> Result<(), Fall> {
        let place = chance.usize(..self.members.len());
        let what = chance.u32(..100);
        let (crashes, stands) = (plan.crashes, plan.crashes + plan.stands);
        if what < crashes {
            self.restart(place)
        } else if what < stands {
            self.stand(place)
        } else if what < 20 {
            self.beat(place)
        } else if what < 30 {
            self.propose(place)
        } else {
            self.deliver(plan, chance)
        }
    }

    fn restart(&mut self, place: usize) -> Result<(), Fall> {
        let kind = self.members[place].kind();
        self.counts.restarts[kind as usize] += 1;
        let did = self.members[place].restart();
        self.take(place, did)
    }

    fn stand(&mut self, place: usize) -> Result<(), Fall> {
        let did = self.members[place].stand();
        self.take(place, did)
    }

    fn beat(&mut self, place: usize) -> Result<(), Fall> {
        let did = self.members[place].beat();
        self.take(place, did)
    }

    fn propose(&mut self, place: usize) -> Result<(), Fall> {
        self.serial += 1;
        let did = self.members[place].propose(&command(self.serial));
        self.take(place, did)
    }

    /// Some message arrives, and may arrive again; or it is lost.
    fn deliver(&mut self, plan: &Plan, chance: &mut Rng) -> Result<(), Fall> {
        if self.letters.is_empty() {
            return Ok(());
        }
        let at = if chance.u32(..100) < plan.in_order {
            0
        } else {
            chance.usize(..self.letters.len())
        };
        match chance.u32(..10) {
            0 => {
                self.letters.remove(at);
                Ok(())
            }
            1 => self.hear(self.letters[at].clone()),
            _ => {
                let letter = self.letters.remove(at);
                self.hear(letter)
            }
        }
    }

    fn hear(&mut self, letter: Letter) -> Result<(), Fall> {
        let Letter { from, to, said } = letter;
        let [hears, speaks] = [to, from].map(place);
        let kinds = [hears, speaks].map(|place| self.members[place].kind() as usize);
        if kinds[0] != kinds[1] {
            assert!(comes_back(from, to, &said), "{said:?}");
        }
        self.counts.hear(kinds, said.clone().in_ours());
        let before = self.history.log(hears).to_vec();
        let did = self.members[hears].hear(from, said);
        let leads = did.elected.is_some();
        self.take(hears, did)?;
        let after = self.history.log(hears);
        let kept = after.starts_with(&before);
        // A leader's first entry is its own.
        let grew = before.len() < after.len() && !leads;
        count(&mut self.counts.replicated, kinds, grew);
        count(&mut self.counts.truncated, kinds, !kept);
        Ok(())
    }

    /// Takes note of what a member did, and asks what is promised.
    fn take(&mut self, me: usize, did: Did) -> Result<(), Fall> {
        let from = name(me);
        let sent = did.sent.into_iter();
        let letters = sent.map(|(to, said)| Letter { from, to, said });
        self.letters.extend(letters);
        if self.lossy {
            let lost = self.letters.len().saturating_sub(LETTERS_MAX);
            self.letters.drain(..lost);
        }
        let seen = self.members[me].seen();
        let kind = self.members[me].kind() as usize;
        if let Some(term) = did.elected {
            self.counts.elections[kind] += 1;
            self.history.leads(from, term, seen.log.clone())?;
        }
        self.history.has_log(me, seen.log)?;
        for (index, entry) in did.committed {
            let is_new = self.history.commits(from, seen.term, index, &entry)?;
            let is_older = is_new && entry.term < seen.term;
            self.counts.committed[kind] += u64::from(is_new);
            self.counts.indirect[kind] += u64::from(is_older);
        }
        Ok(())
    }

    /// Nothing is lost any more, and all arrives in order. One after the other stands, until one leads and
    /// all have committed all that was committed, and something new.
    ///
    /// That takes two rounds at most: in the first, whoever has the highest term stands, and all adopt the
    /// term after it. In the second, one with the best log does.
    fn calm(&mut self) -> Result<(), Fall> {
        self.lossy = false;
        self.arrive()?;
        for turn in 0..2 * self.members.len() {
            let place = turn % self.members.len();
            self.stand(place)?;
            self.arrive()?;
            self.propose(place)?;
            for _ in 0..3 {
                self.arrive()?;
                self.beat(place)?;
            }
            self.arrive()?;
            if self.all_have_committed_the_last() {
                return Ok(());
            }
        }
        let how = "nobody leads, or what it commits does not reach everyone";
        Err(Fall::new(Promise::ALeaderCommits, how.to_string()))
    }

    /// True if what was proposed last is committed, and all have committed it, and all that is.
    fn all_have_committed_the_last(&self) -> bool {
        let last = command(self.serial);
        let committed: Vec<_> = self.history.committed().cloned().collect();
        let all =
            self.members.iter().map(Member::seen).all(|seen| {
                seen.commit == committed.len() as u64 && seen.log.starts_with(&committed)
            });
        all && committed.iter().any(|entry| entry.command == last)
    }

    /// All that is under way arrives, in order, and all that is said of it.
    fn arrive(&mut self) -> Result<(), Fall> {
        for _ in 0..CALM_LETTERS_MAX {
            if self.letters.is_empty() {
                return Ok(());
            }
            let letter = self.letters.remove(0);
            self.hear(letter)?;
        }
        let how = format!("still they speak: {:?}", self.letters);
        Err(Fall::new(Promise::ALeaderCommits, how))
    }
}

fn count(counts: &mut [[u64; 2]; 2], [hears, speaks]: [usize; 2], happened: bool) {
    counts[hears][speaks] += u64::from(happened);
}

fn name(place: usize) -> NodeId {
    NodeId(place as u64)
}

fn place(node: NodeId) -> usize {
    usize::try_from(node.0).expect("a small cluster")
}
