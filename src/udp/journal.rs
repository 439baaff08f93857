//! The journal: one file that holds every change a node ever made durable, in order.
//!
//! A header says whose it is. Records follow, each with the changes of one commit. The first is a
//! snapshot, empty when the node was new. Recovery applies them all to the empty disk. When the
//! file has grown well beyond its snapshot, it is replaced by one that begins with a fresh one.
//!
//! | header, bytes | what |
//! |---|---|
//! | 8 | `quorate` and a line feed |
//! | 4 | version of the format |
//! | 8, 8, 4 | cluster, node, terms |
//! | 1, any | length of the protocol's name, and the name |
//! | 4 | CRC-32 of all before it |
//!
//! | record, bytes | what |
//! |---|---|
//! | 4 | length of the changes |
//! | 8 | number of the commit: of the snapshot any, then one more each |
//! | 4 | CRC-32 of the changes |
//! | 4 | CRC-32 of the 16 bytes before it |
//! | any | the changes, in postcard |
//! | 1 | an end mark, which is not zero |
//!
//! # Torn or damaged
//!
//! A crash in the middle of a write leaves the last record torn: the file ends inside it, or has
//! grown but turns, from a sector on, into nothing but zeros. That write was never acknowledged, so
//! the record is cut. Anything else that is wrong, in the last record too, is damage to what may
//! have been acknowledged, and is refused: the node would come back with less than others know it
//! to have. That is why the length has a checksum of its own, and why a record ends in a mark.
//!
//! A file that is created or replaced is written beside, flushed, and renamed, so it is never torn.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::Identity;
use super::std;
use crate::machine::{Durable, NodeId};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"quorate\n";
const VERSION: u32 = 1;
const RECORD_HEADER_BYTES: usize = 20;
const END_MARK: u8 = 0xe7;
const SECTOR_BYTES: usize = 512;
/// A journal is compacted when it is longer than this and four times its snapshot together.
const GROWTH_BYTES_MIN: u64 = 1 << 20;

/// What makes changes durable.
pub trait Disk<D: Durable> {
    /// Makes `changes` durable, as one: after a crash either all of them are there or none, and all
    /// of them once this returned.
    ///
    /// # Errors
    ///
    /// If that is not certain. What the disk holds is then unknown, and the node must stop.
    fn commit(&mut self, changes: &[D::Change]) -> Result<(), JournalError>;

    /// Housekeeping, between turns: `durable` is what all commits add up to.
    ///
    /// # Errors
    ///
    /// As with `commit`.
    fn tidy(&mut self, durable: &D) -> Result<(), JournalError>;
}

/// The disk of one who never comes back: a client, whose number is drawn anew each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDisk;

impl<D: Durable> Disk<D> for NoDisk {
    fn commit(&mut self, _: &[D::Change]) -> Result<(), JournalError> {
        Ok(())
    }

    fn tidy(&mut self, _: &D) -> Result<(), JournalError> {
        Ok(())
    }
}

/// A journal, open and locked.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    path: PathBuf,
    header: Vec<u8>,
    file: File,
    _lock: Lock,
    commits: u64,
    bytes: u64,
    snapshot_bytes: u64,
    failed: bool,
    record: Vec<u8>,
}

/// What was found on the disk.
#[derive(Debug)]
pub struct Recovered<D> {
    /// The journal, to go on with.
    pub journal: Journal,
    /// What its records add up to.
    pub durable: D,
    /// How many bytes of a torn record were cut off its end.
    pub torn_bytes: usize,
}

/// Why a journal cannot be used, or no longer.
#[derive(Debug)]
pub struct JournalError {
    /// Its file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a journal. Of those that can be met on opening one, none changed anything.
#[derive(Debug)]
pub enum Problem {
    /// There is none, and nobody said that there never was.
    Missing,
    /// There is one, where a new one was to be.
    Exists,
    /// Another process has it open.
    Locked,
    /// The file is something else.
    NotAJournal,
    /// It is of a later version of the format.
    FromTheFuture(u32),
    /// It is of another cluster.
    OtherCluster(u64),
    /// It is of another node.
    OtherNode(NodeId),
    /// It is of another protocol, or of another version of its encoding.
    OtherProtocol(String),
    /// It was written when the members or the quorum sizes were others.
    OtherTerms,
    /// It is damaged.
    Damaged {
        /// Where what is damaged begins.
        offset: usize,
        /// How one can tell.
        how: &'static str,
    },
    /// It cannot be read, created or locked.
    Unusable(io::Error),
    /// A write or a flush failed. The journal holds all that was committed before, and perhaps what
    /// was to be written.
    Unwritable(io::Error),
    /// An earlier write failed. Nothing was tried.
    Failed,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Missing => write!(
                f,
                "there is no journal {path}: if this node never ran, start it once with \
                 --bootstrap; if it did, find the journal, for a node that forgot breaks the \
                 promises it made"
            ),
            Problem::Exists => write!(
                f,
                "there is a journal {path} already: start without --bootstrap to go on from it"
            ),
            Problem::Locked => write!(
                f,
                "the journal {path} is in use by another process: stop that one first"
            ),
            Problem::NotAJournal => write!(
                f,
                "{path} is no journal of quorate: set `data` to this node's own directory"
            ),
            Problem::FromTheFuture(version) => write!(
                f,
                "the journal {path} has format {version} and this program knows {VERSION}: run the \
                 newer quorate that wrote it"
            ),
            Problem::OtherCluster(cluster) => self.is_of(f, "cluster", cluster),
            Problem::OtherNode(node) => self.is_of(f, "id", &node.0),
            Problem::OtherProtocol(protocol) => self.is_of(f, "protocol", protocol),
            Problem::OtherTerms => write!(
                f,
                "the journal {path} was written when the members or the quorum sizes were others: \
                 set `members`, `read_quorum` and `write_quorum` back, for what was acknowledged \
                 under those may be missed under these"
            ),
            Problem::Damaged { offset, how } => write!(
                f,
                "the journal {path} is damaged at byte {offset} ({how}) and was left as it is: keep \
                 this node down, which the others survive while they make quorums, and repair the \
                 file; from less than it acknowledged it would break the promises it made"
            ),
            Problem::Unusable(error) => write!(f, "the journal {path} cannot be used: {error}"),
            Problem::Unwritable(error) => self.is_unwritable(f, error),
            Problem::Failed => write!(f, "an earlier write to the journal {path} failed"),
        }
    }
}

impl JournalError {
    fn is_of(
        &self,
        f: &mut fmt::Formatter<'_>,
        setting: &str,
        theirs: &dyn fmt::Display,
    ) -> fmt::Result {
        write!(
            f,
            "the journal {} is of another node, whose `{setting}` is {theirs}: set that, or set \
             `data` to this node's own directory",
            self.path.display()
        )
    }

    fn is_unwritable(&self, f: &mut fmt::Formatter<'_>, error: &io::Error) -> fmt::Result {
        let path = self.path.display();
        if is_full(error) {
            write!(
                f,
                "the disk of the journal {path} is full ({error}): make room and start again; \
                 nothing that was acknowledged is lost"
            )
        } else {
            write!(
                f,
                "the journal {path} could not be written ({error}): see to the disk and start \
                 again; nothing was said that rests on the failed write"
            )
        }
    }
}

impl core::error::Error for JournalError {}

impl Journal {
    /// Begins the journal of a node that never ran, in a directory that is made if need be.
    ///
    /// # Errors
    ///
    /// If there is one already, or if it cannot be written. An existing journal is never touched.
    pub fn create<D: Durable>(directory: &Path, identity: &Identity) -> Result<Self, JournalError> {
        let path = directory.join("journal");
        let fails = |problem| JournalError {
            path: path.clone(),
            problem,
        };
        make_directory(directory).map_err(|error| fails(Problem::Unusable(error)))?;
        let lock = lock(directory).map_err(fails)?;
        if exists(&path).map_err(fails)? {
            return Err(fails(Problem::Exists));
        }
        let header = encode_header(identity);
        let snapshot = encode_record::<D::Change>(0, &[], Vec::new())
            .map_err(|error| fails(Problem::Unwritable(error)))?;
        let file = replace(directory, &path, &header, &snapshot)
            .map_err(|error| fails(Problem::Unwritable(error)))?;
        Ok(Self {
            directory: directory.into(),
            path,
            bytes: (header.len() + snapshot.len()) as u64,
            snapshot_bytes: snapshot.len() as u64,
            header,
            file,
            _lock: lock,
            commits: 0,
            failed: false,
            record: snapshot,
        })
    }

    /// Opens the journal of a node that ran before, and recovers what it holds. It is read whole:
    /// what it adds up to has to fit in memory anyway.
    ///
    /// # Errors
    ///
    /// If there is none, if it is another's, or if it is damaged. It is then left as it is.
    pub fn open<D: Durable>(
        directory: &Path,
        identity: &Identity,
    ) -> Result<Recovered<D>, JournalError> {
        let path = directory.join("journal");
        let fails = |problem| JournalError {
            path: path.clone(),
            problem,
        };
        let unusable = |error| fails(Problem::Unusable(error));
        // Before the lock, which makes a file: a wrong directory is left as it was found.
        if !exists(&path).map_err(fails)? {
            return Err(fails(Problem::Missing));
        }
        let lock = lock(directory).map_err(fails)?;
        let bytes = fs::read(&path).map_err(unusable)?;
        let header_bytes = check_header(&bytes, identity).map_err(fails)?;
        let found = replay::<D>(&bytes, header_bytes).map_err(fails)?;
        let mut open = OpenOptions::new();
        let file = open.append(true).open(&path).map_err(unusable)?;
        let torn_bytes = bytes.len() - found.end;
        if torn_bytes > 0 {
            file.set_len(found.end as u64)
                .and_then(|()| file.sync_all())
                .map_err(|error| fails(Problem::Unwritable(error)))?;
        }
        let journal = Self {
            directory: directory.into(),
            path,
            header: bytes[..header_bytes].to_vec(),
            file,
            _lock: lock,
            commits: found.commits,
            bytes: found.end as u64,
            snapshot_bytes: found.snapshot_bytes as u64,
            failed: false,
            record: Vec::new(),
        };
        Ok(Recovered {
            journal,
            durable: found.durable,
            torn_bytes,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many commits the node made in its life.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// How long the file is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Replaces the file by one whose snapshot is `durable`, which is what all commits add up to.
    ///
    /// # Errors
    ///
    /// If it cannot be written. Which of the two files is there is then unknown; both hold the same.
    pub fn compact<D: Durable>(&mut self, durable: &D) -> Result<(), JournalError> {
        let changes = durable.changes_since(&D::default());
        self.guarded(|journal| {
            let snapshot = encode_record(journal.commits, &changes, Vec::new())?;
            journal.file = replace(
                &journal.directory,
                &journal.path,
                &journal.header,
                &snapshot,
            )?;
            journal.bytes = (journal.header.len() + snapshot.len()) as u64;
            journal.snapshot_bytes = snapshot.len() as u64;
            Ok(())
        })
    }

    /// Writes, and never again once that failed: after a failed flush the pages may be marked clean,
    /// so that the next flush succeeds without them (Rebello et al., *Can Applications Recover from
    /// fsync Failures?*, USENIX ATC 2020).
    fn guarded(
        &mut self,
        write: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), JournalError> {
        let problem = if self.failed {
            Problem::Failed
        } else {
            match write(self) {
                Ok(()) => return Ok(()),
                Err(error) => Problem::Unwritable(error),
            }
        };
        self.failed = true;
        Err(JournalError {
            path: self.path.clone(),
            problem,
        })
    }
}

impl<D: Durable> Disk<D> for Journal {
    fn commit(&mut self, changes: &[D::Change]) -> Result<(), JournalError> {
        self.guarded(|journal| {
            let buffer = core::mem::take(&mut journal.record);
            journal.record = encode_record(journal.commits + 1, changes, buffer)?;
            journal.file.write_all(&journal.record)?;
            journal.file.sync_data()?;
            journal.commits += 1;
            journal.bytes += journal.record.len() as u64;
            Ok(())
        })
    }

    fn tidy(&mut self, durable: &D) -> Result<(), JournalError> {
        if self.bytes > GROWTH_BYTES_MIN + 4 * self.snapshot_bytes {
            self.compact(durable)?;
        }
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    let kind = error.kind();
    [
        ErrorKind::StorageFull,
        ErrorKind::QuotaExceeded,
        ErrorKind::FileTooLarge,
    ]
    .contains(&kind)
}

fn exists(path: &Path) -> Result<bool, Problem> {
    path.try_exists().map_err(Problem::Unusable)
}

/// Held for as long as the journal is open. It is on a file of its own, as the journal is replaced.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child process that is just being started, until that
        // has closed what it inherited. If unlocking fails, closing is what is left.
        let _ = self.0.unlock();
    }
}

fn lock(directory: &Path) -> Result<Lock, Problem> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options
        .open(directory.join("lock"))
        .map_err(Problem::Unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Problem::Locked),
        Err(TryLockError::Error(error)) => Err(Problem::Unusable(error)),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match directory.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

/// Puts a new journal in the place of the old one, if any, such that a crash leaves one of the two.
fn replace(directory: &Path, path: &Path, header: &[u8], snapshot: &[u8]) -> io::Result<File> {
    let beside = directory.join("journal.new");
    let mut file = File::create(&beside)?;
    file.write_all(header)?;
    file.write_all(snapshot)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()?;
    Ok(file)
}

fn encode_header(identity: &Identity) -> Vec<u8> {
    let name = &identity.protocol.as_bytes()[..identity.protocol.len().min(255)];
    let mut header = Vec::new();
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(identity.cluster.to_le_bytes());
    header.extend(identity.node.0.to_le_bytes());
    header.extend(identity.terms.to_le_bytes());
    header.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    header.extend_from_slice(name);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header
}

/// How long the header is, if it is ours.
fn check_header(bytes: &[u8], identity: &Identity) -> Result<usize, Problem> {
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
    let covered = bytes.len() - rest.len();
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
struct Replayed<D> {
    durable: D,
    commits: u64,
    snapshot_bytes: usize,
    /// Where the last whole record ends.
    end: usize,
}

fn replay<D: Durable>(bytes: &[u8], header_bytes: usize) -> Result<Replayed<D>, Problem> {
    let mut replayed = Replayed {
        durable: D::default(),
        commits: 0,
        snapshot_bytes: 0,
        end: header_bytes,
    };
    loop {
        let offset = replayed.end;
        let is_first = offset == header_bytes;
        if offset == bytes.len() && !is_first {
            return Ok(replayed);
        }
        let record = match read_record(&bytes[offset..], offset) {
            Ok(record) => record,
            // The first was renamed into place whole.
            Err(Fault::Torn) if !is_first => return Ok(replayed),
            Err(Fault::Torn) => return Err(damaged(offset, "its first record is cut short")),
            Err(Fault::Damaged(how)) => return Err(damaged(offset, how)),
        };
        if is_first {
            replayed.snapshot_bytes = record.bytes;
        } else if record.commit != replayed.commits.wrapping_add(1) {
            return Err(damaged(offset, "a commit is missing, or there twice"));
        }
        let Ok((changes, [])) = postcard::take_from_bytes::<Vec<D::Change>>(record.changes) else {
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

struct Record<'a> {
    commit: u64,
    changes: &'a [u8],
    bytes: usize,
}

enum Fault {
    Torn,
    Damaged(&'static str),
}

/// The record at the start of `rest`, which is the journal from `offset` on.
fn read_record(rest: &[u8], offset: usize) -> Result<Record<'_>, Fault> {
    let Some((header, body)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
        return Err(Fault::Torn);
    };
    let wrong = |within: usize, how| {
        if turns_to_zeros(rest, offset, within) {
            Fault::Torn
        } else {
            Fault::Damaged(how)
        }
    };
    let mut fields = header.as_slice();
    let (length, commit, changes_checksum, checksum) = (|| {
        let length = u32::from_le_bytes(take(&mut fields)?);
        let commit = u64::from_le_bytes(take(&mut fields)?);
        let changes_checksum = u32::from_le_bytes(take(&mut fields)?);
        let checksum = u32::from_le_bytes(take(&mut fields)?);
        Some((length, commit, changes_checksum, checksum))
    })()
    .ok_or(Fault::Torn)?;
    if checksum != crc32fast::hash(&header[..RECORD_HEADER_BYTES - 4]) {
        let how = "the checksum of a record's header is wrong";
        return Err(wrong(RECORD_HEADER_BYTES, how));
    }
    let length = usize::try_from(length).map_err(|_| Fault::Torn)?;
    let Some((changes, [end_mark, ..])) = body.split_at_checked(length) else {
        return Err(Fault::Torn);
    };
    let bytes = RECORD_HEADER_BYTES + length + 1;
    if changes_checksum != crc32fast::hash(changes) || *end_mark != END_MARK {
        return Err(wrong(bytes, "the checksum of a record is wrong"));
    }
    Ok(Record {
        commit,
        changes,
        bytes,
    })
}

/// True if the file is nothing but zeros from a place within the first `within` bytes of `rest` on,
/// which is its beginning or that of a sector.
fn turns_to_zeros(rest: &[u8], offset: usize, within: usize) -> bool {
    let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
    let start = rest.len() - zeros;
    let sector = (offset + start).next_multiple_of(SECTOR_BYTES) - offset;
    start == 0 || sector < within.min(rest.len())
}

/// A record, in the memory of `buffer`.
fn encode_record<C: serde::Serialize>(
    commit: u64,
    changes: &[C],
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let unencodable = |why| io::Error::other(format!("the changes cannot be encoded: {why}"));
    buffer.clear();
    buffer.resize(RECORD_HEADER_BYTES, 0);
    let mut record =
        postcard::to_extend(changes, buffer).map_err(|error| unencodable(error.to_string()))?;
    let (header, changes) = record.split_at_mut(RECORD_HEADER_BYTES);
    let length = u32::try_from(changes.len()).map_err(|_| unencodable("too long".into()))?;
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..12].copy_from_slice(&commit.to_le_bytes());
    header[12..16].copy_from_slice(&crc32fast::hash(changes).to_le_bytes());
    let checksum = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&checksum.to_le_bytes());
    record.push(END_MARK);
    Ok(record)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*chunk)
}
