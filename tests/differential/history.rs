//! What is promised of a cluster, asked of all that ever happened in it.

use std::collections::BTreeMap;
use std::fmt;

use quorate::machine::NodeId;
use quorate::raft::{Entry, Term};

/// What is promised: by Figure 3 of the paper, and beneath it. All but the last two speak of all time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Of each term, at most one leader, ever.
    ElectionSafety,
    /// Two entries of one index and term, in whichever logs, whenever, are the same, and so is all before
    /// them.
    LogMatching,
    /// What is committed is in the log of each leader of a later term, from when it is elected.
    LeaderCompleteness,
    /// What anyone committed at an index is what all others commit there.
    StateMachineSafety,
    /// What is committed is, from then on, in the logs of a majority.
    CommittedEntriesSurvive,
    /// In the calm a leader is elected, and commits something new, everywhere.
    ALeaderCommits,
    /// No member panics, whatever it hears.
    NobodyPanics,
}

/// What fell, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fall {
    /// What.
    pub promise: Promise,
    /// How.
    pub how: String,
}

impl Fall {
    /// This promise fell like that.
    pub fn new(promise: Promise, how: String) -> Self {
        Self { promise, how }
    }
}

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.how)
    }
}

/// An entry that is committed.
#[derive(Clone, Debug)]
struct Committed {
    entry: Entry,
    /// The term in which it was found to be: that of the leader that found it.
    by: Term,
}

/// Who led a term.
#[derive(Clone, Debug)]
struct Reign {
    leader: NodeId,
    /// Its log when it was elected.
    log: Vec<Entry>,
}

/// All that ever happened, as far as something is promised of it.
#[derive(Clone, Debug)]
pub struct History {
    /// The log of each member, as it is.
    logs: Vec<Vec<Entry>>,
    /// Each entry that any log ever had, by its index and term, and the term of the one before it.
    entries: BTreeMap<(u64, Term), (Entry, Term)>,
    /// What is committed, from index 1 on.
    committed: Vec<Committed>,
    reigns: BTreeMap<Term, Reign>,
}

impl History {
    /// Of so many members nothing happened yet.
    pub fn new(members: usize) -> Self {
        Self {
            logs: vec![Vec::new(); members],
            entries: BTreeMap::new(),
            committed: Vec::new(),
            reigns: BTreeMap::new(),
        }
    }

    /// The log of a member, as it was last seen.
    pub fn log(&self, member: usize) -> &[Entry] {
        &self.logs[member]
    }

    /// What is committed, from index 1 on.
    pub fn committed(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.committed.iter().map(|committed| &committed.entry)
    }

    /// A member's log is this now.
    ///
    /// # Errors
    ///
    /// What fell by that.
    pub fn has_log(&mut self, member: usize, log: Vec<Entry>) -> Result<(), Fall> {
        let before = std::mem::replace(&mut self.logs[member], log);
        let log = &self.logs[member];
        // What it had before was asked about before.
        let same = before
            .iter()
            .zip(log)
            .take_while(|(one, other)| one == other);
        let kept = same.count();
        for (at, entry) in log.iter().enumerate().skip(kept) {
            let after = at.checked_sub(1).map_or(Term(0), |at| log[at].term);
            let index = at as u64 + 1;
            let known = self.entries.entry((index, entry.term));
            let (known, known_after) = known.or_insert_with(|| (entry.clone(), after));
            if (&*known, *known_after) != (entry, after) {
                let how = format!(
                    "n{member} has {entry:?} at {index} after one of {after:?}, which was {known:?} after \
                     one of {known_after:?}"
                );
                return Err(Fall::new(Promise::LogMatching, how));
            }
        }
        let lost = kept..before.len().min(self.committed.len());
        lost.map(|at| at as u64 + 1)
            .try_for_each(|index| self.survives(index))
    }

    fn survives(&self, index: u64) -> Result<(), Fall> {
        let at = place(index);
        let entry = &self.committed[at].entry;
        let logs = self.logs.iter();
        let have = logs.filter(|log| log.get(at) == Some(entry)).count();
        if self.logs.len() / 2 < have {
            return Ok(());
        }
        let how = format!("{have} have {entry:?}, which is committed at {index}");
        Err(Fall::new(Promise::CommittedEntriesSurvive, how))
    }

    /// A member whose term is this has found an entry to be committed. True if nobody had before.
    ///
    /// # Errors
    ///
    /// What fell by that.
    pub fn commits(
        &mut self,
        me: NodeId,
        by: Term,
        index: u64,
        entry: &Entry,
    ) -> Result<bool, Fall> {
        let how = match self.committed.get(place(index)) {
            Some(known) if known.entry == *entry => return Ok(false),
            Some(known) => format!("where {:?} is committed", known.entry),
            None if place(index) == self.committed.len() => {
                let entry = entry.clone();
                self.committed.push(Committed { entry, by });
                self.survives(index)?;
                let later = self.reigns.range(by..).filter(|(term, _)| by < **term);
                for (term, _) in later {
                    self.is_complete(*term)?;
                }
                return Ok(true);
            }
            None => "where nothing is committed before it".to_string(),
        };
        let how = format!("{me} commits {entry:?} at {index}, {how}");
        Err(Fall::new(Promise::StateMachineSafety, how))
    }

    /// A member leads, with this log.
    ///
    /// # Errors
    ///
    /// What fell by that.
    pub fn leads(&mut self, leader: NodeId, term: Term, log: Vec<Entry>) -> Result<(), Fall> {
        if let Some(other) = self.reigns.insert(term, Reign { leader, log }) {
            let how = format!("{leader} and {} led {term:?}", other.leader);
            return Err(Fall::new(Promise::ElectionSafety, how));
        }
        self.is_complete(term)
    }

    /// The leader of this term has what was committed in those before; in those after it, others may have
    /// committed what it lacks, even before it was elected.
    fn is_complete(&self, term: Term) -> Result<(), Fall> {
        let reign = &self.reigns[&term];
        for (at, Committed { entry, by }) in self.committed.iter().enumerate() {
            if *by < term && reign.log.get(at) != Some(entry) {
                let index = at + 1;
                let how = format!(
                    "{} leads {term:?} without {entry:?}, committed at {index} in {by:?}",
                    reign.leader
                );
                return Err(Fall::new(Promise::LeaderCompleteness, how));
            }
        }
        Ok(())
    }
}

/// Where what has this index is: the first is 1.
fn place(index: u64) -> usize {
    usize::try_from(index - 1).expect("a short log")
}
