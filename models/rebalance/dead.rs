//! Messages that nobody needs any more: see [`World::purging`](crate::world::World::purging).

use quorate::database::{self, Database};
use quorate::machine::State;
use quorate::rebalance::{Message, Rebalance, Stage, Step, Stream, Timer};

use super::known;
use crate::database::dead;
use crate::flaw::Twin;
use crate::snapshot::{Letter, Node};

/// Which messages are not forgotten, for they may matter again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// All may be forgotten.
    Nothing,
    /// Those of the stream, and that a node is ready: a crash takes what they brought about.
    Stream,
    /// Those, and the steps: they may be forgotten by the nodes, too.
    Steps,
}

impl Kept {
    /// Where so many crashes are.
    pub(super) fn with(crashes: u32) -> Self {
        match crashes {
            0 => Self::Nothing,
            _ => Self::Stream,
        }
    }

    /// True if a message of this kind may be forgotten once it is dead.
    pub(super) fn may_go(self, message: &Message) -> bool {
        match message {
            Message::Database { .. } => true,
            Message::Learn { .. } | Message::Propose { .. } => self != Self::Steps,
            Message::Pull { .. }
            | Message::Chunk { .. }
            | Message::Ready { .. }
            | Message::Ask { .. } => self == Self::Nothing,
        }
    }
}

/// What a node knows.
fn stage_of<M: Twin<Rebalance>>(node: &Node<M>) -> Option<Stage> {
    node.durable().map(known)
}

/// True if a pending replica wants nothing more in this stage. One that crashes wants all again.
fn is_past_pulling<M: Twin<Rebalance>>(node: &Node<M>, stage: Stage) -> bool {
    stage_of(node) > Some(stage)
        || (node.up()).is_some_and(|state| state.volatile.stream == Stream::Done)
}

/// What one database says to another, and the node as a database.
fn unpacked<M: Twin<Rebalance>>(
    letter: &Letter<Message>,
    message: &database::Message,
    node: &Node<M>,
) -> (Letter<database::Message>, Node<Database>) {
    let letter = Letter {
        to: letter.to,
        from: letter.from,
        message: message.clone(),
    };
    let timers = |armed: &[Timer]| {
        let timers = armed.iter().filter_map(|timer| match timer {
            Timer::Database(timer) => Some(timer.clone()),
            Timer::Poll => None,
        });
        timers.collect()
    };
    let node = match node {
        Node::Up { state, armed, .. } => Node::Up {
            state: State {
                durable: state.durable.database.clone(),
                volatile: state.volatile.database.clone(),
            },
            armed: timers(armed),
            unflushed: Vec::new(),
        },
        Node::Down { durable, .. } => Node::Down {
            durable: durable.database.clone(),
            unflushed: Vec::new(),
        },
        Node::Traitor => Node::Traitor,
    };
    (letter, node)
}

/// True if it does not matter to the sender whether the message arrives.
pub(super) fn sender_is_done<M: Twin<Rebalance>>(letter: &Letter<Message>, from: &Node<M>) -> bool {
    match &letter.message {
        // It has begun anew, and would not hear the answer.
        Message::Database { stage, .. } if stage_of(from) > Some(*stage) => true,
        Message::Database { message, .. } => {
            let (letter, from) = unpacked(letter, message, from);
            dead::sender_is_done(&letter, &from)
        }
        Message::Pull { stage, .. } => is_past_pulling(from, *stage),
        Message::Propose { .. }
        | Message::Learn { .. }
        | Message::Ask { .. }
        | Message::Ready { .. }
        | Message::Chunk { .. } => true,
    }
}

/// True if the receiver ignores the message for ever, or only answers it. Where it is not *fenced*, it may hear
/// who knows less than it does.
pub(super) fn receiver_is_done<M: Twin<Rebalance>>(
    letter: &Letter<Message>,
    to: &Node<M>,
    is_fenced: bool,
) -> bool {
    let knows = stage_of(to);
    match &letter.message {
        Message::Database { stage, message } => {
            // An answer is to what has begun anew, in any case.
            let is_old = knows > Some(*stage) && (is_fenced || is_answer(message));
            let (letter, to) = unpacked(letter, message, to);
            is_old || dead::receiver_is_done(&letter, &to)
        }
        Message::Pull { .. } | Message::Ask { .. } => true,
        Message::Learn { stage, .. } => knows >= Some(*stage),
        Message::Ready { stage } => knows > Some(*stage),
        Message::Chunk { stage, .. } => is_past_pulling(to, *stage),
        Message::Propose { at, .. } => {
            let announced = Stage {
                epoch: *at,
                step: Step::Announced,
            };
            knows >= Some(announced)
        }
    }
}

/// True of what a coordinator is answered.
fn is_answer(message: &database::Message) -> bool {
    match message {
        database::Message::Written { .. }
        | database::Message::TooOld { .. }
        | database::Message::Data { .. }
        | database::Message::Promised { .. }
        | database::Message::Accepted { .. }
        | database::Message::Outbid { .. }
        | database::Message::Committed { .. } => true,
        database::Message::Write { .. }
        | database::Message::Read { .. }
        | database::Message::Prepare { .. }
        | database::Message::Propose { .. }
        | database::Message::Commit { .. }
        | database::Message::Compare { .. }
        | database::Message::Children { .. }
        | database::Message::Entries { .. }
        | database::Message::Fence { .. }
        | database::Message::Fenced { .. }
        | database::Message::Swept { .. } => false,
    }
}
