//! What the bytes of a journal mean: its header, its records, and what is wrong with them.

use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::Range;

use std::io;

use super::super::{Identity, std};
use super::Problem;
use crate::machine::{Durable, NodeId};

const MAGIC: [u8; 8] = *b"quorate\n";
pub(super) const VERSION: u32 = 2;
const RECORD_HEADER_BYTES: usize = 20;
/// Records begin where this divides the place.
const WORD_BYTES: usize = 8;
const SECTOR_BYTES: usize = 512;

pub(super) fn encode_header(identity: &Identity) -> Vec<u8> {
    let name = &identity.protocol.as_bytes()[..identity.protocol.len().min(255)];
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(identity.cluster.to_le_bytes());
    header.extend(identity.node.0.to_le_bytes());
    header.extend(identity.terms.to_le_bytes());
    header.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    header.extend_from_slice(name);
    let padded = (header.len() + 4).next_multiple_of(WORD_BYTES) - 4;
    header.resize(padded, 0);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header
}

/// How long the header is, if it is ours.
pub(super) fn check_header(bytes: &[u8], identity: &Identity) -> Result<usize, Problem> {
    let mut rest = bytes;
    let damaged = |how| Problem::Damaged { offset: 0, how };
    let short = || damaged("it ends in its header");
    if take(&mut rest).ok_or_else(short)? != MAGIC {
        return Err(Problem::NotAJournal);
    }
    let version = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    if version > VERSION {
        return Err(Problem::FromTheFuture(version));
    }
    let cluster = u64::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let node = NodeId(u64::from_le_bytes(take(&mut rest).ok_or_else(short)?));
    let terms = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let [length] = take(&mut rest).ok_or_else(short)?;
    let name = rest.split_off(..usize::from(length)).ok_or_else(short)?;
    let named = bytes.len() - rest.len();
    let covered = (named + 4).next_multiple_of(WORD_BYTES) - 4;
    rest.split_off(..covered - named).ok_or_else(short)?;
    let checksum = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    if version != VERSION || checksum != crc32fast::hash(&bytes[..covered]) {
        return Err(damaged("the checksum of its header is wrong"));
    }
    let protocol = String::from_utf8_lossy(name);
    if cluster != identity.cluster {
        return Err(Problem::OtherCluster(cluster));
    }
    if node != identity.node {
        return Err(Problem::OtherNode(node));
    }
    if protocol != identity.protocol {
        return Err(Problem::OtherProtocol(protocol.to_string()));
    }
    if terms != identity.terms {
        return Err(Problem::OtherTerms);
    }
    Ok(bytes.len() - rest.len())
}

/// What the records of a journal add up to.
pub(super) struct Replayed<D> {
    pub(super) durable: D,
    pub(super) commits: u64,
    pub(super) snapshot_bytes: usize,
    /// Where the last whole record ends.
    pub(super) end: usize,
}

pub(super) fn replay<D: Durable>(
    bytes: &[u8],
    header_bytes: usize,
) -> Result<Replayed<D>, Problem> {
    let mut replayed = Replayed {
        durable: D::default(),
        commits: 0,
        snapshot_bytes: 0,
        end: header_bytes,
    };
    let end = written(bytes).next_multiple_of(WORD_BYTES).min(bytes.len());
    loop {
        let offset = replayed.end;
        let is_first = offset == header_bytes;
        if offset >= end && !is_first {
            return Ok(replayed);
        }
        let record = match read_record(bytes, offset) {
            Ok(record) => record,
            // The first was renamed into place whole.
            Err(_) if is_first => return Err(damaged(offset, "its first record is not whole")),
            Err(fault) if fault.is_torn(bytes, offset, end) => return Ok(replayed),
            Err(Fault { how, .. }) => return Err(damaged(offset, how)),
        };
        if is_first {
            replayed.snapshot_bytes = record.bytes;
        } else if record.commit != replayed.commits.wrapping_add(1) {
            return Err(damaged(offset, "a commit is missing, or there twice"));
        }
        let Ok((changes, [])) = postcard::take_from_bytes::<Vec<D::Change>>(&record.changes) else {
            return Err(damaged(offset, "its checksum is right but not its content"));
        };
        for change in changes {
            replayed.durable.apply(change);
        }
        replayed.commits = record.commit;
        replayed.end += record.bytes;
    }
}

fn damaged(offset: usize, how: &'static str) -> Problem {
    Problem::Damaged { offset, how }
}

struct Record {
    commit: u64,
    changes: Vec<u8>,
    bytes: usize,
}

/// Why there is no whole record at a place.
struct Fault {
    how: &'static str,
    /// The part of the file that is wrong, as far as one can tell: it may reach beyond its end.
    wrong: Range<usize>,
}

impl Fault {
    /// True if a write that was cut off at the record at `offset` explains it. Behind `end` the file
    /// is all zeros.
    fn is_torn(&self, bytes: &[u8], offset: usize, end: usize) -> bool {
        let is_missing = |sector: usize| {
            let part = offset.max(sector)..(sector + SECTOR_BYTES).min(bytes.len());
            bytes[part].iter().all(|byte| *byte == 0)
        };
        let first = self.wrong.start / SECTOR_BYTES * SECTOR_BYTES;
        let mut sectors = (first..self.wrong.end.min(bytes.len())).step_by(SECTOR_BYTES);
        if self.wrong.end <= bytes.len() && !sectors.any(is_missing) {
            return false;
        }
        let mut later = (offset + WORD_BYTES..end).step_by(WORD_BYTES);
        !later.any(|place| read_record(bytes, place).is_ok())
    }
}

/// The record at `offset`.
fn read_record(bytes: &[u8], offset: usize) -> Result<Record, Fault> {
    let body = offset + RECORD_HEADER_BYTES;
    let fault = |how, wrong| Err(Fault { how, wrong });
    let mut header = [0; RECORD_HEADER_BYTES + 4];
    let Some(raw) = bytes.get(offset..offset + header.len()) else {
        return fault("it ends in the header of a record", offset..bytes.len() + 1);
    };
    header.copy_from_slice(raw);
    whiten(&mut header, offset);
    let mut fields = header.as_slice();
    let (length, commit) = (u32_of(&mut fields), u64_of(&mut fields));
    let (checksum, header_checksum) = (u32_of(&mut fields), u32_of(&mut fields));
    if header_checksum != crc32fast::hash(&header[..RECORD_HEADER_BYTES - 4]) {
        return fault("the checksum of a record's header is wrong", offset..body);
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let end = record_bytes(length).saturating_add(offset);
    let Some(raw) = bytes.get(offset..end) else {
        return fault("it ends in a record", body..end);
    };
    let mut record = raw.to_vec();
    whiten(&mut record, offset);
    let mut changes = record.split_off(RECORD_HEADER_BYTES);
    if checksum != crc32fast::hash(&changes) {
        return fault("the checksum of a record is wrong", body..end);
    }
    changes.truncate(length);
    Ok(Record {
        commit,
        changes,
        bytes: end - offset,
    })
}

/// How long a record of so many bytes of changes is.
fn record_bytes(length: usize) -> usize {
    length.saturating_add(RECORD_HEADER_BYTES + WORD_BYTES - 1) / WORD_BYTES * WORD_BYTES
}

/// How many of the bytes there are up to the last that is not zero.
pub(super) fn written(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// Mixes the bytes, which begin at `offset` of the file, with what their places give; or takes that out
/// again. Splitmix64 (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA
/// 2014) of the number of the word.
fn whiten(bytes: &mut [u8], offset: usize) {
    debug_assert!(offset.is_multiple_of(WORD_BYTES));
    for (number, word) in (offset / WORD_BYTES..).zip(bytes.chunks_mut(WORD_BYTES)) {
        let mut mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        for (byte, white) in word.iter_mut().zip(mixed.to_le_bytes()) {
            *byte ^= white;
        }
    }
}

/// A record for the place `offset`, in the memory of `buffer`.
pub(super) fn encode_record<C: serde::Serialize>(
    commit: u64,
    changes: &[C],
    offset: usize,
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let unencodable = |why| io::Error::other(format!("the changes cannot be encoded: {why}"));
    buffer.clear();
    buffer.resize(RECORD_HEADER_BYTES, 0);
    let mut record =
        postcard::to_extend(changes, buffer).map_err(|error| unencodable(error.to_string()))?;
    let length = record.len() - RECORD_HEADER_BYTES;
    record.resize(record_bytes(length), 0);
    let (header, body) = record.split_at_mut(RECORD_HEADER_BYTES);
    let length = u32::try_from(length).map_err(|_| unencodable("too long".into()))?;
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..12].copy_from_slice(&commit.to_le_bytes());
    header[12..16].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let checksum = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&checksum.to_le_bytes());
    whiten(&mut record, offset);
    Ok(record)
}

fn u32_of(bytes: &mut &[u8]) -> u32 {
    take(bytes).map_or(0, u32::from_le_bytes)
}

fn u64_of(bytes: &mut &[u8]) -> u64 {
    take(bytes).map_or(0, u64::from_le_bytes)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*chunk)
}
