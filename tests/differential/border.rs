//! The messages of the one in the words of the other.

use quorate::machine::NodeId;
use quorate::raft::{Command, Entry, Index, Message, Position, Term};
use raft::eraftpb::{self, EntryType, MessageType};

/// The round of a heartbeat of theirs. All of ours have round 0, as no reads rest on them.
pub const HEARTBEAT: u64 = u64::MAX;

/// What travels, in the words of who said it.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// One of ours.
    Ours(Message),
    /// One of theirs.
    Theirs(Box<eraftpb::Message>),
}

impl Said {
    /// The same in our words.
    pub fn in_ours(self) -> Message {
        match self {
            Self::Ours(message) => message,
            Self::Theirs(message) => from_theirs(&message),
        }
    }

    /// The same in their words.
    pub fn in_theirs(self, from: NodeId, to: NodeId) -> eraftpb::Message {
        match self {
            Self::Ours(message) => to_theirs(from, to, &message),
            Self::Theirs(message) => *message,
        }
    }
}

/// True if a message, translated there and back, is what it was, but for what is known to be lost: what
/// the sender of a request for a vote, or of an answer to one or to an append, knows to be committed.
pub fn comes_back(from: NodeId, to: NodeId, said: &Said) -> bool {
    match said {
        Said::Ours(message) => from_theirs(&to_theirs(from, to, message)) == *message,
        Said::Theirs(message) => {
            let mut kept = message.clone();
            let lossy = [
                MessageType::MsgRequestVote,
                MessageType::MsgRequestVoteResponse,
                MessageType::MsgAppendResponse,
            ];
            if lossy.contains(&kept.get_msg_type()) {
                kept.set_commit(0);
                kept.set_commit_term(0);
            }
            to_theirs(from, to, &from_theirs(message)) == *kept
        }
    }
}

/// Their name for a node: 0 is nobody there.
pub fn name(node: NodeId) -> u64 {
    node.0 + 1
}

/// Our name for a node of theirs; nobody has none.
pub fn node(name: u64) -> Option<NodeId> {
    name.checked_sub(1).map(NodeId)
}

/// An entry of ours, in their words, at its place.
pub fn their_entry(index: u64, entry: &Entry) -> eraftpb::Entry {
    let mut theirs = eraftpb::Entry::default();
    theirs.set_index(index);
    theirs.set_term(entry.term.0);
    theirs.set_data(encoded(&entry.command).into());
    theirs
}

/// A command as bytes. What a leader of theirs appends at first has none: a no-op.
pub fn encoded(command: &Command) -> Vec<u8> {
    match command {
        Command::NoOp => Vec::new(),
        Command::Apply { .. } | Command::Members(_) => {
            postcard::to_stdvec(command).expect("a command is encoded")
        }
    }
}

/// An entry of theirs, in our words.
pub fn our_entry(theirs: &eraftpb::Entry) -> Entry {
    assert_eq!(theirs.get_entry_type(), EntryType::EntryNormal);
    let command = if theirs.get_data().is_empty() {
        Command::NoOp
    } else {
        postcard::from_bytes(theirs.get_data()).expect("a command is decoded")
    };
    Entry {
        term: Term(theirs.get_term()),
        command,
    }
}

/// Notes beside a heartbeat of theirs the term at the index that it says is committed.
pub fn note(heartbeat: &mut eraftpb::Message, term_at: impl FnOnce(u64) -> u64) {
    if heartbeat.get_msg_type() == MessageType::MsgHeartbeat {
        heartbeat.set_commit_term(term_at(heartbeat.get_commit()));
    }
}

fn position(term: u64, index: u64) -> Position {
    Position {
        term: Term(term),
        index: Index(index),
    }
}

/// What one of theirs says, in our words.
pub fn from_theirs(theirs: &eraftpb::Message) -> Message {
    let term = Term(theirs.get_term());
    let (index, commit) = (Index(theirs.get_index()), Index(theirs.get_commit()));
    let there = position(theirs.get_log_term(), theirs.get_index());
    let kind = theirs.get_msg_type();
    match (kind, theirs.get_reject()) {
        (MessageType::MsgRequestVote, false) => Message::RequestVote { term, last: there },
        (MessageType::MsgRequestVoteResponse, false) => Message::Vote { term },
        (MessageType::MsgRequestVoteResponse, true) => Message::Stale { term },
        (MessageType::MsgAppend, false) => Message::AppendEntries {
            term,
            previous: there,
            entries: theirs.get_entries().iter().map(our_entry).collect(),
            commit,
            round: 0,
        },
        (MessageType::MsgAppendResponse, false) => Message::Appended {
            term,
            matching: index,
            round: 0,
        },
        (MessageType::MsgAppendResponse, true) => Message::Conflict {
            term,
            at: index,
            hint: position(theirs.get_log_term(), theirs.get_reject_hint()),
            round: 0,
        },
        (MessageType::MsgHeartbeat, false) => Message::AppendEntries {
            term,
            previous: position(theirs.get_commit_term(), commit.0),
            entries: Vec::new(),
            commit,
            round: HEARTBEAT,
        },
        // What it has committed is as its leader has it.
        (MessageType::MsgHeartbeatResponse, false) => Message::Appended {
            term,
            matching: commit,
            round: HEARTBEAT,
        },
        _ => unreachable!("{kind:?} is for what is turned off"),
    }
}

/// What one of ours says, in their words.
pub fn to_theirs(from: NodeId, to: NodeId, ours: &Message) -> eraftpb::Message {
    let mut theirs = eraftpb::Message::default();
    let (kind, term) = match ours {
        Message::RequestVote { term, last } => {
            theirs.set_index(last.index.0);
            theirs.set_log_term(last.term.0);
            (MessageType::MsgRequestVote, term)
        }
        Message::Vote { term } => (MessageType::MsgRequestVoteResponse, term),
        Message::Stale { term } => {
            theirs.set_reject(true);
            (MessageType::MsgRequestVoteResponse, term)
        }
        Message::AppendEntries { .. } => return append(from, to, ours),
        // It answers a heartbeat, and so has committed all up to there.
        Message::Appended {
            term,
            matching,
            round: HEARTBEAT,
        } => {
            theirs.set_commit(matching.0);
            (MessageType::MsgHeartbeatResponse, term)
        }
        Message::Appended { term, matching, .. } => {
            theirs.set_index(matching.0);
            (MessageType::MsgAppendResponse, term)
        }
        // Theirs have no word for it: one that lacks what a heartbeat says is committed panics.
        Message::Conflict {
            round: HEARTBEAT, ..
        } => panic!("{from} lacks what its leader knows it to have: {ours:?}"),
        Message::Conflict { term, at, hint, .. } => {
            theirs.set_reject(true);
            theirs.set_index(at.0);
            theirs.set_reject_hint(hint.index.0);
            theirs.set_log_term(hint.term.0);
            (MessageType::MsgAppendResponse, term)
        }
        Message::RequestPreVote { .. }
        | Message::PreVote { .. }
        | Message::RequestVoteAsHeir { .. }
        | Message::InstallSnapshot { .. }
        | Message::Received { .. }
        | Message::TimeoutNow { .. } => unreachable!("{ours:?} is for what is turned off"),
    };
    addressed(theirs, from, to, (kind, *term))
}

fn append(from: NodeId, to: NodeId, ours: &Message) -> eraftpb::Message {
    let Message::AppendEntries {
        term,
        previous,
        entries,
        commit,
        round,
    } = ours
    else {
        unreachable!("that is what is said here");
    };
    let mut theirs = eraftpb::Message::default();
    theirs.set_commit(commit.0);
    if *round == HEARTBEAT {
        theirs.set_commit_term(previous.term.0);
        return addressed(theirs, from, to, (MessageType::MsgHeartbeat, *term));
    }
    assert_eq!(*round, 0, "no reads rest on it");
    theirs.set_index(previous.index.0);
    theirs.set_log_term(previous.term.0);
    let entries = (previous.index.0 + 1..).zip(entries);
    let entries = entries.map(|(index, entry)| their_entry(index, entry));
    theirs.set_entries(entries.collect::<Vec<_>>().into());
    addressed(theirs, from, to, (MessageType::MsgAppend, *term))
}

fn addressed(
    mut message: eraftpb::Message,
    from: NodeId,
    to: NodeId,
    (kind, term): (MessageType, Term),
) -> eraftpb::Message {
    message.set_from(name(from));
    message.set_to(name(to));
    message.set_msg_type(kind);
    message.set_term(term.0);
    message
}
