//! Messages longer than a datagram: cut into parts, and joined again.
//!
//! A part travels in a datagram of its own, and any of them may be lost, repeated or overtaken. A
//! message is there once all its parts are; until then, and if one is lost for ever, it is as if the
//! message were lost, which every machine here survives. So to a machine the network stays the one that
//! was checked. Nothing is sent again here: whoever needs the message asks for it.
//!
//! | part, bytes | what |
//! |---|---|
//! | 8 | number of the message: its sender uses it for no other |
//! | 4 | CRC-32 of the whole message |
//! | 2 | which part, from 0 |
//! | 2 | how many there are, from 2 |
//! | any | the part: as long as fits, but for the last |
//!
//! # What it holds
//!
//! Of each member at most [`MEMBER_MESSAGES_MAX`] messages that are not whole, of all others together
//! at most [`CLIENT_MESSAGES_MAX`], each of at most [`MESSAGE_BYTES_MAX`]. The one that was begun first
//! is let go for one more. What is held is what arrived: a part that claims to be one of many takes no
//! more than itself.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::wire::{DATAGRAM_BYTES_MAX, FRAME_BYTES, Refusal};
use crate::machine::NodeId;

/// The longest message, in bytes, in however many parts.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// What a part begins with.
pub const PART_HEADER_BYTES: usize = 16;
/// The longest part of a message.
pub const PART_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - FRAME_BYTES - PART_HEADER_BYTES;
/// How many messages of one member may lack parts.
pub const MEMBER_MESSAGES_MAX: usize = 8;
/// How many messages of all who are no members may lack parts.
pub const CLIENT_MESSAGES_MAX: usize = 16;

/// Cuts a message into what the datagrams of its parts carry.
pub fn cut(number: u64, message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let checksum = crc32fast::hash(message);
    let parts = message.chunks(PART_BYTES_MAX);
    let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
    (0..count).zip(parts).map(move |(index, part)| {
        let mut payload = Vec::with_capacity(PART_HEADER_BYTES + part.len());
        payload.extend(number.to_le_bytes());
        payload.extend(checksum.to_le_bytes());
        payload.extend(index.to_le_bytes());
        payload.extend(count.to_le_bytes());
        payload.extend_from_slice(part);
        payload
    })
}

/// One part.
struct Part<'a> {
    number: u64,
    checksum: u32,
    index: u16,
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Part<'a> {
    /// Reads it, whatever it is: only what [`cut`] could have made.
    fn read(payload: &'a [u8]) -> Result<Self, Refusal> {
        let (header, bytes) =
            (payload.split_first_chunk::<PART_HEADER_BYTES>()).ok_or(Refusal::WrongPart)?;
        let [
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            n6,
            n7,
            s0,
            s1,
            s2,
            s3,
            i0,
            i1,
            c0,
            c1,
        ] = *header;
        let part = Self {
            number: u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            checksum: u32::from_le_bytes([s0, s1, s2, s3]),
            index: u16::from_le_bytes([i0, i1]),
            count: u16::from_le_bytes([c0, c1]),
            bytes,
        };
        let is_last = part.index.checked_add(1) == Some(part.count);
        let is_full = bytes.len() == PART_BYTES_MAX;
        let length = usize::from(part.count).saturating_sub(1) * PART_BYTES_MAX;
        let possible = 2 <= part.count
            && part.index < part.count
            && length < MESSAGE_BYTES_MAX
            && !bytes.is_empty()
            && (is_full || is_last)
            && (!is_last || length + bytes.len() <= MESSAGE_BYTES_MAX);
        possible.then_some(part).ok_or(Refusal::WrongPart)
    }
}

/// A message of which some parts are there.
#[derive(Debug)]
struct Incomplete {
    begun: u64,
    checksum: u32,
    count: u16,
    parts: BTreeMap<u16, Vec<u8>>,
}

/// Who shares a share of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A member, and nobody else.
    Member(NodeId),
    /// One of the others.
    Client(NodeId),
}

impl Sender {
    fn node(self) -> NodeId {
        match self {
            Self::Member(node) | Self::Client(node) => node,
        }
    }
}

/// Joins parts.
#[derive(Debug, Default)]
pub struct Joiner {
    moment: u64,
    members: BTreeMap<(NodeId, u64), Incomplete>,
    clients: BTreeMap<(NodeId, u64), Incomplete>,
}

impl Joiner {
    /// Takes what the datagram of a part carried: gives the message, if this was the last to come.
    ///
    /// # Errors
    ///
    /// If it is no part, or contradicts another of the same message.
    pub fn join(&mut self, from: Sender, payload: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let part = Part::read(payload)?;
        let key = (from.node(), part.number);
        self.make_room(from, key);
        self.moment += 1;
        let begun = self.moment;
        let held = match from {
            Sender::Member(_) => &mut self.members,
            Sender::Client(_) => &mut self.clients,
        };
        let message = held.entry(key).or_insert_with(|| Incomplete {
            begun,
            checksum: part.checksum,
            count: part.count,
            parts: BTreeMap::new(),
        });
        if (message.checksum, message.count) != (part.checksum, part.count) {
            return Err(Refusal::WrongPart);
        }
        let bytes = part.bytes;
        (message.parts.entry(part.index)).or_insert_with(|| bytes.to_vec());
        if message.parts.len() < usize::from(message.count) {
            return Ok(None);
        }
        let Some(whole) = held.remove(&key) else {
            return Ok(None);
        };
        let bytes: Vec<u8> = whole.parts.into_values().flatten().collect();
        if crc32fast::hash(&bytes) != whole.checksum {
            return Err(Refusal::WrongPart);
        }
        Ok(Some(bytes))
    }

    /// How many messages lack parts.
    pub fn waiting(&self) -> usize {
        self.members.len() + self.clients.len()
    }

    /// Lets go of the message that was begun first, if another would be one too many.
    fn make_room(&mut self, from: Sender, key: (NodeId, u64)) {
        let (held, range, limit) = match from {
            Sender::Member(node) => {
                let range = (node, 0)..=(node, u64::MAX);
                (&mut self.members, range, MEMBER_MESSAGES_MAX)
            }
            Sender::Client(_) => {
                let range = (NodeId(0), 0)..=(NodeId(u64::MAX), u64::MAX);
                (&mut self.clients, range, CLIENT_MESSAGES_MAX)
            }
        };
        if held.contains_key(&key) || held.range(range.clone()).count() < limit {
            return;
        }
        let oldest = held.range(range).min_by_key(|(_, message)| message.begun);
        if let Some(oldest) = oldest.map(|(key, _)| *key) {
            held.remove(&oldest);
        }
    }
}
