//! Log compaction and `InstallSnapshot` (§7; thesis chapter 5): what is applied need not be kept as
//! entries, and whoever needs entries that are gone is sent what they made, in parts.
//!
//! A snapshot is sent in *pieces*, a value or a session each, in the order of their keys, so that a
//! part of it is as plain a message as any.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{
    Current, Event, Index, Leader, Message, Pace, Position, Raft, Reply, Rest, Role, Snapshots,
    Store, Term, Volatile,
};
use crate::machine::{NodeId, Outbox, State};

/// What all entries up to a position made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry that it stands for.
    pub position: Position,
    /// The membership as of it, if it ever changed.
    pub members: Option<Current>,
    /// The store, with its sessions.
    pub store: Store,
}

/// A piece of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Piece {
    /// A key has a value.
    Value(String, String),
    /// A client's last command has this serial number, and this came of it.
    Session(u64, u64, Reply),
}

impl Piece {
    /// Where the next one is.
    fn end(&self) -> Place {
        match self {
            Self::Value(key, _) => Place::AfterValue(key.clone()),
            Self::Session(client, _, _) => Place::AfterSession(*client),
        }
    }

    /// How many bytes it has in a message, and a few more.
    fn bytes(&self) -> usize {
        match self {
            Self::Value(key, value) => key.len() + value.len() + 6,
            Self::Session(_, _, Reply::Value(Some(value))) => value.len() + 26,
            Self::Session(
                _,
                _,
                Reply::Done
                | Reply::Value(None)
                | Reply::Mismatched
                | Reply::NotANumber
                | Reply::Forgotten,
            ) => 26,
        }
    }
}

/// Where in a store the next piece is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// At its first value.
    #[default]
    Start,
    /// After the value of this key.
    AfterValue(String),
    /// After the session of this client.
    AfterSession(u64),
}

/// A snapshot that a leader is sending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sending {
    /// It. The leader's own may be a later one by now; whoever began with one goes on with it.
    pub snapshot: Snapshot,
    /// How many pieces the follower has.
    pub offset: u64,
    /// Where the next one is.
    pub place: Place,
}

/// A snapshot of which a follower has a part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Receiving {
    /// How many pieces it has.
    pub offset: u64,
    /// What they make.
    pub snapshot: Snapshot,
}

/// A part of a snapshot, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// The last entry that the snapshot stands for.
    pub position: Position,
    /// The membership as of that entry, if it ever changed.
    pub members: Option<Current>,
    /// How many pieces of this snapshot come before these.
    pub offset: u64,
    /// The pieces.
    pub pieces: Vec<Piece>,
    /// Whether there are more.
    pub rest: Rest,
    /// As with entries.
    pub round: u64,
}

impl Store {
    /// The pieces after a place, at most so many.
    fn pieces(&self, place: &Place, pieces_max: u32) -> impl Iterator<Item = Piece> {
        let values = match place {
            Place::Start => Some((Bound::Unbounded, Bound::Unbounded)),
            Place::AfterValue(key) => Some((Bound::Excluded(key.clone()), Bound::Unbounded)),
            Place::AfterSession(_) => None,
        };
        let sessions = match place {
            Place::Start | Place::AfterValue(_) => Bound::Unbounded,
            Place::AfterSession(client) => Bound::Excluded(*client),
        };
        let values = values
            .into_iter()
            .flat_map(|range| self.values.range(range));
        let values = values.map(|(key, value)| Piece::Value(key.clone(), value.clone()));
        let sessions = self.sessions.range((sessions, Bound::Unbounded));
        let sessions = sessions
            .map(|(client, (serial, reply))| Piece::Session(*client, *serial, reply.clone()));
        values.chain(sessions).take(pieces_max as usize)
    }

    /// Puts a piece in its place.
    fn put(&mut self, piece: Piece) {
        match piece {
            Piece::Value(key, value) => {
                self.values.insert(key, value);
            }
            Piece::Session(client, serial, reply) => {
                self.sessions.insert(client, (serial, reply));
            }
        }
    }
}

impl Sending {
    /// The next part: its pieces, and where the one after it begins.
    fn part(&self, pieces_max: u32, bytes_max: u32) -> (Vec<Piece>, Self) {
        let (mut bytes, mut pieces) = (0, Vec::new());
        let mut after = self.clone();
        for piece in self.snapshot.store.pieces(&self.place, pieces_max) {
            bytes += piece.bytes();
            if bytes_max as usize <= bytes && !pieces.is_empty() {
                break;
            }
            after.offset += 1;
            after.place = piece.end();
            pieces.push(piece);
        }
        (pieces, after)
    }

    /// Goes on after so many pieces. False if there are not that many.
    fn seek(&mut self, offset: u64, pieces_max: u32, bytes_max: u32) -> bool {
        let (_, after) = self.part(pieces_max, bytes_max);
        if offset == after.offset {
            *self = after;
            return true;
        }
        let place = match offset.checked_sub(1).map(usize::try_from) {
            None => Some(Place::Start),
            Some(Err(_)) => None,
            Some(Ok(last)) => {
                let mut pieces = self.snapshot.store.pieces(&Place::Start, u32::MAX);
                pieces.nth(last).map(|piece| piece.end())
            }
        };
        let Some(place) = place else {
            return false;
        };
        (self.offset, self.place) = (offset, place);
        true
    }

    /// True if there is nothing after it.
    fn is_done(&self) -> bool {
        self.snapshot.store.pieces(&self.place, 1).next().is_none()
    }
}

impl Raft {
    /// §7: each node takes its snapshots for itself, of what it has applied.
    pub(super) fn compact(&self, state: &mut State<Self>) {
        let (entries, kept) = match self.snapshots {
            Snapshots::Never => return,
            Snapshots::Every { entries, kept, .. } => (u64::from(entries), u64::from(kept)),
        };
        let commit = state.volatile.commit;
        if commit.0 - state.durable.snapshot.position.index.0 < entries {
            return;
        }
        let log = &mut state.durable.log;
        let Some(position) = log.position(commit) else {
            return;
        };
        let changed = log.members_at(commit);
        state.durable.snapshot = Snapshot {
            position,
            members: changed.or(state.durable.snapshot.members),
            store: state.volatile.store.clone(),
        };
        let base = Index(commit.0.saturating_sub(kept));
        if log.base().index < base
            && let Some(base) = log.position(base)
        {
            log.compact(base);
        }
    }

    /// §7: the leader sends its snapshot when the entry that is to be sent next is compacted. The part
    /// is sent again with every heartbeat, as one.
    pub(super) fn send_snapshot(
        &self,
        state: &mut State<Self>,
        to: NodeId,
        out: &mut Outbox<Self>,
    ) {
        let pieces_max = match self.snapshots {
            Snapshots::Never => return,
            Snapshots::Every { pieces_max, .. } => pieces_max,
        };
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let Some(progress) = leader.progress.get_mut(&to) else {
            return;
        };
        let snapshot = &state.durable.snapshot;
        let sending = progress.sending.get_or_insert_with(|| Sending {
            snapshot: snapshot.clone(),
            offset: 0,
            place: Place::Start,
        });
        let (pieces, after) = sending.part(pieces_max, self.batch_bytes_max);
        let rest = if after.is_done() {
            Rest::Nothing
        } else {
            Rest::More
        };
        let part = Part {
            position: sending.snapshot.position,
            members: sending.snapshot.members,
            offset: sending.offset,
            pieces,
            rest,
            round: leader.round,
        };
        let term = state.durable.term;
        out.send(to, Message::InstallSnapshot { term, part });
    }

    /// §7, `InstallSnapshot`, receiver implementation.
    pub(super) fn on_install_snapshot(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        part: Part,
        out: &mut Outbox<Self>,
    ) {
        if self.is_stale(state, from, term, out) || term < part.position.term {
            return;
        }
        self.observe(state, term, out);
        if let Role::Leader(_) = state.volatile.role {
            return; // Two leaders of one term: Election Safety says that this is forged.
        }
        self.follow(state, from, out);
        let (position, round) = (part.position, part.round);
        // What is committed here is the same there: a snapshot of it brings nothing.
        let known = position.index <= state.volatile.commit;
        // §7, step 6: nor does one of what is in the log. Its entries are then committed.
        if !known && state.durable.log.contains(position) {
            self.commit(state, position.index, out);
        }
        if position.index <= state.volatile.commit {
            return out.send(
                from,
                Message::Appended {
                    term,
                    matching: position.index,
                    round,
                },
            );
        }
        let answer = match Self::receive(&mut state.volatile, part) {
            Ok(snapshot) => {
                self.install(state, snapshot, out);
                Message::Appended {
                    term,
                    matching: position.index,
                    round,
                }
            }
            Err(offset) => Message::Received {
                term,
                position,
                offset,
                round,
            },
        };
        out.send(from, answer);
    }

    /// Adds a part to those of the same snapshot, if it is the next one: gives all of it, or how much
    /// of it is there.
    fn receive(volatile: &mut Volatile, part: Part) -> Result<Snapshot, u64> {
        let other = |receiving: &Receiving| receiving.snapshot.position != part.position;
        // A part of the same one that comes again, be it the first, takes nothing away: what a snapshot
        // of one position is made of, and in which order, is the same whoever sends it.
        if volatile.receiving.as_ref().is_none_or(other) {
            volatile.receiving = Some(Receiving {
                offset: 0,
                snapshot: Snapshot {
                    position: part.position,
                    members: part.members,
                    store: Store::default(),
                },
            });
        }
        let Some(receiving) = &mut volatile.receiving else {
            return Err(0);
        };
        if receiving.offset != part.offset {
            return Err(receiving.offset);
        }
        for piece in part.pieces {
            receiving.offset = receiving.offset.saturating_add(1);
            receiving.snapshot.store.put(piece);
        }
        match (part.rest, volatile.receiving.take()) {
            (Rest::Nothing, Some(whole)) => Ok(whole.snapshot),
            (Rest::More, Some(some)) => {
                let offset = some.offset;
                volatile.receiving = Some(some);
                Err(offset)
            }
            (Rest::Nothing | Rest::More, None) => Err(0),
        }
    }

    /// §7, steps 7 and 8: the log goes, and the store is what the snapshot says. That it stands for
    /// committed entries, and for more than this node has, is for the caller to know.
    pub fn install(&self, state: &mut State<Self>, snapshot: Snapshot, out: &mut Outbox<Self>) {
        let position = snapshot.position;
        state.durable.log.compact(position);
        state.volatile.commit = position.index;
        state.volatile.store = snapshot.store.clone();
        state.durable.snapshot = snapshot;
        self.recall_members(state);
        out.tell(Event::Installed { position });
    }

    /// A follower has a part: it is sent the next.
    pub(super) fn on_received(
        &self,
        state: &mut State<Self>,
        from: NodeId,
        term: Term,
        (position, offset): (Position, u64),
        round: u64,
        out: &mut Outbox<Self>,
    ) {
        let pieces_max = match self.snapshots {
            Snapshots::Never => return,
            Snapshots::Every { pieces_max, .. } => pieces_max,
        };
        if term != state.durable.term {
            return;
        }
        let bytes_max = self.batch_bytes_max;
        let Role::Leader(leader) = &mut state.volatile.role else {
            return;
        };
        let progress = leader.progress.get_mut(&from);
        let Some(sending) = progress.and_then(|progress| progress.sending.as_mut()) else {
            return;
        };
        let this = sending.snapshot.position == position;
        // It says how much it has: one that was started again has less than it had, and one that had a
        // part of another leader's has more. That is where to go on.
        let moves = this && offset != sending.offset && sending.seek(offset, pieces_max, bytes_max);
        self.hear(state, from, round);
        self.answer_reads(state, out);
        if moves {
            self.send_snapshot(state, from, out);
        }
    }
}

impl Leader {
    /// The follower has all up to here: if that is what the snapshot was sent for, entries go on.
    pub(super) fn has_snapshot(&mut self, follower: NodeId, matching: Index) {
        let Some(progress) = self.progress.get_mut(&follower) else {
            return;
        };
        let done = |sending: &Sending| sending.snapshot.position.index <= matching;
        if progress.sending.as_ref().is_some_and(done) {
            progress.sending = None;
            progress.pace = Pace::Probing;
        }
    }
}
