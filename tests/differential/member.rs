//! A member of either kind.

use quorate::machine::NodeId;
use quorate::raft::{Command, Entry, Flow, Operation, Session, Term};

use crate::border::Said;
use crate::ours::{Ours, Sabotage};
use crate::theirs::Theirs;

/// Whose a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One of this project's.
    Ours,
    /// One of the other crate's.
    Theirs,
}

/// What all members of a cluster share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many they are.
    pub members: usize,
    /// How entries flow; of theirs, one message is under way at most, or so many.
    pub flow: Flow,
    /// How many entries one message carries at most; of theirs, about so many.
    pub batch: u32,
}

/// What is seen of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its term.
    pub term: Term,
    /// Whom it voted for in it.
    pub vote: Option<NodeId>,
    /// Its log.
    pub log: Vec<Entry>,
    /// How much of that it knows to be committed.
    pub commit: u64,
    /// True if it leads.
    pub leads: bool,
}

/// What a member did in a step.
#[derive(Debug, Default)]
pub struct Did {
    /// What it sent, and to whom.
    pub sent: Vec<(NodeId, Said)>,
    /// What it found to be committed, from this index on.
    pub committed: Vec<(u64, Entry)>,
    /// The term that it began to lead.
    pub elected: Option<Term>,
}

/// A member, whosever it is.
#[derive(Debug)]
pub enum Member {
    /// Ours.
    Ours(Box<Ours>),
    /// Theirs.
    Theirs(Box<Theirs>),
}

impl Member {
    /// A new member; what is wrong with it, if it is one of ours.
    pub fn new(kind: Kind, me: NodeId, settings: Settings, wrong: Option<Sabotage>) -> Self {
        let seen = Seen {
            term: Term(0),
            vote: None,
            log: Vec::new(),
            commit: 0,
            leads: false,
        };
        Self::at(kind, me, settings, wrong, &seen)
    }

    /// A follower in this state, as it is after a restart.
    pub fn at(
        kind: Kind,
        me: NodeId,
        settings: Settings,
        wrong: Option<Sabotage>,
        seen: &Seen,
    ) -> Self {
        match kind {
            Kind::Ours => Self::Ours(Box::new(Ours::at(me, settings, wrong, seen))),
            Kind::Theirs => Self::Theirs(Box::new(Theirs::at(me, settings, seen))),
        }
    }

    /// Whose it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ours(_) => Kind::Ours,
            Self::Theirs(_) => Kind::Theirs,
        }
    }

    /// It hears this.
    pub fn hear(&mut self, from: NodeId, said: Said) -> Did {
        match self {
            Self::Ours(ours) => ours.hear(from, said.in_ours()),
            Self::Theirs(theirs) => theirs.hear(from, said),
        }
    }

    /// Its election alarm rings, if it is armed.
    pub fn stand(&mut self) -> Did {
        match self {
            Self::Ours(ours) => ours.stand(),
            Self::Theirs(theirs) => theirs.stand(),
        }
    }

    /// If it leads, it is to be heard.
    pub fn beat(&mut self) -> Did {
        match self {
            Self::Ours(ours) => ours.beat(),
            Self::Theirs(theirs) => theirs.beat(),
        }
    }

    /// A client asks it for something.
    pub fn propose(&mut self, command: &Command) -> Did {
        match self {
            Self::Ours(ours) => ours.propose(command),
            Self::Theirs(theirs) => theirs.propose(command),
        }
    }

    /// It crashes, and starts again from its disk.
    pub fn restart(&mut self) -> Did {
        match self {
            Self::Ours(ours) => ours.restart(),
            Self::Theirs(theirs) => theirs.restart(),
        }
    }

    /// What is seen of it.
    pub fn seen(&self) -> Seen {
        match self {
            Self::Ours(ours) => ours.seen(),
            Self::Theirs(theirs) => theirs.seen(),
        }
    }
}

/// The command of this number.
pub fn command(serial: u64) -> Command {
    Command::Apply {
        session: Session { client: 1, serial },
        operation: Operation::Put {
            key: "x".into(),
            value: serial.to_string(),
        },
    }
}
