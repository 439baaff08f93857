//! One datagram: a frame around one message.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `qrtm`, so that stray traffic is told at once |
//! | 2 | version of the frame: 1, or 2 if the message is compressed |
//! | 8 | cluster |
//! | 4 | terms: a digest of protocol, members and quorum sizes |
//! | 8 | sender |
//! | 8 | receiver |
//! | any | the message, in postcard; if that is long, compressed: see [`super::compress`] |
//! | 4 | CRC-32 of all before it |
//!
//! Numbers are little-endian. A frame is at most 1,200 bytes, which every path carries whole (RFC
//! 9000, §14): IP fragments multiply loss. The checksum finds accidents, not malice.

use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Identity;
use super::compress::{self, MESSAGE_BYTES_MAX};
use crate::machine::NodeId;

/// The longest datagram, in bytes.
pub const DATAGRAM_BYTES_MAX: usize = 1200;
/// What a frame takes of it.
pub const FRAME_BYTES: usize = HEADER_BYTES + CHECKSUM_BYTES;

const MAGIC: [u8; 4] = *b"qrtm";
const VERSION: u16 = 1;
const COMPRESSED: u16 = 2;
const HEADER_BYTES: usize = 34;
const CHECKSUM_BYTES: usize = 4;

/// Why a datagram was dropped. Nothing was changed by it, but that it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It is shorter than an empty frame.
    TooShort,
    /// It is longer than any frame, or would expand to more than any message.
    TooLong,
    /// It is no frame of ours at all.
    WrongMagic,
    /// It is of a version of the frame that this program does not speak.
    WrongVersion,
    /// Its checksum is wrong.
    Damaged,
    /// It is meant for another cluster.
    WrongCluster,
    /// Its sender has another protocol, other members or other quorum sizes in mind.
    WrongTerms,
    /// It is meant for another node.
    NotForUs,
    /// What it carries is no message of the protocol.
    Undecodable,
    /// After the message there is more.
    Trailing,
    /// The message is not encoded as we would have done it.
    NotCanonical,
    /// Its sender's number is that of no member, and clients are not served here.
    Stranger,
    /// It claims to be from a member, but came from another address than that member's.
    Impostor,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::TooShort,
        Self::TooLong,
        Self::WrongMagic,
        Self::WrongVersion,
        Self::Damaged,
        Self::WrongCluster,
        Self::WrongTerms,
        Self::NotForUs,
        Self::Undecodable,
        Self::Trailing,
        Self::NotCanonical,
        Self::Stranger,
        Self::Impostor,
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "too short",
            Self::TooLong => "too long",
            Self::WrongMagic => "no frame of ours",
            Self::WrongVersion => "another version",
            Self::Damaged => "damaged",
            Self::WrongCluster => "another cluster",
            Self::WrongTerms => "another protocol, other members or other quorum sizes",
            Self::NotForUs => "for another node",
            Self::Undecodable => "undecodable",
            Self::Trailing => "trailing bytes",
            Self::NotCanonical => "not canonical",
            Self::Stranger => "a stranger",
            Self::Impostor => "a member's number from another address",
        })
    }
}

/// Why a message was not sent. A machine that bounds its messages never sees either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// It does not fit [`DATAGRAM_BYTES_MAX`].
    TooLong,
    /// Its `Serialize` gave up.
    Unencodable,
}

/// The codec of one node.
#[derive(Clone, Debug)]
pub struct Wire {
    cluster: u64,
    terms: u32,
    me: NodeId,
}

impl Wire {
    /// The codec of the node that `identity` names.
    pub fn new(identity: &Identity) -> Self {
        Self {
            cluster: identity.cluster,
            terms: identity.terms,
            me: identity.node,
        }
    }

    /// Makes a datagram for `to`. Authentication and encryption will go here: the header as what is
    /// authenticated, the message as what is encrypted too, and a tag in the place of the checksum.
    ///
    /// # Errors
    ///
    /// If the message does not fit a datagram.
    pub fn seal<T: Serialize>(&self, to: NodeId, message: &T) -> Result<Vec<u8>, Unsendable> {
        let mut encoded = [0; MESSAGE_BYTES_MAX];
        let encoded: &[u8] = postcard::to_slice(message, &mut encoded).map_err(unsendable)?;
        let mut room = [0; DATAGRAM_BYTES_MAX - FRAME_BYTES];
        let (version, payload) = match compress::shrink(encoded, &mut room) {
            Some(length) => (COMPRESSED, &room[..length]),
            None if encoded.len() <= room.len() => (VERSION, encoded),
            None => return Err(Unsendable::TooLong),
        };
        let mut datagram = Vec::with_capacity(FRAME_BYTES + payload.len());
        datagram.extend(MAGIC);
        datagram.extend(version.to_le_bytes());
        datagram.extend(self.cluster.to_le_bytes());
        datagram.extend(self.terms.to_le_bytes());
        datagram.extend(self.me.0.to_le_bytes());
        datagram.extend(to.0.to_le_bytes());
        datagram.extend_from_slice(payload);
        datagram.extend(crc32fast::hash(&datagram).to_le_bytes());
        Ok(datagram)
    }

    /// Opens a datagram, whatever it is: says who claims to have sent it, and what. It never panics
    /// and holds memory in proportion to the datagram, given that messages are not recursive and
    /// their elements take up bytes, which is so for all of ours.
    ///
    /// # Errors
    ///
    /// The first reason to drop it, in the order of the frame: what is said of a datagram of another
    /// cluster is that, and not that it is for another node.
    pub fn open<T: Serialize + DeserializeOwned>(
        &self,
        datagram: &[u8],
    ) -> Result<(NodeId, T), Refusal> {
        if datagram.len() < FRAME_BYTES {
            return Err(Refusal::TooShort);
        }
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let (framed, checksum) = datagram
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Refusal::TooShort)?;
        let mut rest = framed;
        if take(&mut rest)? != MAGIC {
            return Err(Refusal::WrongMagic);
        }
        // Before the checksum: another version may have it elsewhere, or none.
        let version = u16::from_le_bytes(take(&mut rest)?);
        if ![VERSION, COMPRESSED].contains(&version) {
            return Err(Refusal::WrongVersion);
        }
        if u32::from_le_bytes(*checksum) != crc32fast::hash(framed) {
            return Err(Refusal::Damaged);
        }
        if u64::from_le_bytes(take(&mut rest)?) != self.cluster {
            return Err(Refusal::WrongCluster);
        }
        if u32::from_le_bytes(take(&mut rest)?) != self.terms {
            return Err(Refusal::WrongTerms);
        }
        let sender = NodeId(u64::from_le_bytes(take(&mut rest)?));
        if u64::from_le_bytes(take(&mut rest)?) != self.me.0 {
            return Err(Refusal::NotForUs);
        }
        if version == VERSION {
            return Ok((sender, decode(rest)?));
        }
        let mut message = [0; MESSAGE_BYTES_MAX];
        let length = compress::expand(rest, &mut message)?;
        Ok((sender, decode(&message[..length])?))
    }
}

/// One encoding for each message, so that what two nodes agree on they agree on byte for byte, and
/// a recording of messages is a recording of datagrams. postcard alone is laxer: it ignores what
/// follows, and reads numbers that are longer than they need be.
fn decode<T: Serialize + DeserializeOwned>(payload: &[u8]) -> Result<T, Refusal> {
    let (message, remainder) =
        postcard::take_from_bytes::<T>(payload).map_err(|_| Refusal::Undecodable)?;
    if !remainder.is_empty() {
        return Err(Refusal::Trailing);
    }
    let mut again = [0; MESSAGE_BYTES_MAX];
    match postcard::to_slice(&message, &mut again) {
        Ok(encoded) if *encoded == *payload => Ok(message),
        Ok(_) | Err(_) => Err(Refusal::NotCanonical),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Refusal> {
    let (chunk, rest) = bytes.split_first_chunk().ok_or(Refusal::TooShort)?;
    *bytes = rest;
    Ok(*chunk)
}

fn unsendable(error: postcard::Error) -> Unsendable {
    if error == postcard::Error::SerializeBufferFull {
        Unsendable::TooLong
    } else {
        Unsendable::Unencodable
    }
}
