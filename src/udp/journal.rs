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
//! | up to 7 | zeros, so that the header's length is a multiple of 8 |
//! | 4 | CRC-32 of all before it |
//!
//! | record, bytes | what |
//! |---|---|
//! | 4 | length of the changes |
//! | 8 | number of the commit: of the snapshot any, then one more each |
//! | 4 | CRC-32 of the changes and of the zeros after them |
//! | 4 | CRC-32 of the 16 bytes before it |
//! | any | the changes, in postcard |
//! | up to 7 | zeros, so that the record's length is a multiple of 8 |
//!
//! Numbers are little-endian. Behind the last record the file goes on with zeros, which are written
//! ahead: to overwrite what is there flushes several times as fast as to let a file grow.
//!
//! # Torn or damaged
//!
//! A crash in the middle of a write leaves some sectors of the last record written and others not, in
//! any order. That write was never acknowledged, so the record is cut. Anything else that is wrong,
//! in the last record too, is damage to what may have been acknowledged, and is refused: the node
//! would come back with less than others know it to have.
//!
//! To tell the two apart, records are *whitened*: each word of eight bytes is mixed with a number that
//! its place gives. So a word that was written is not zero, but for one in 2^64, and zeros are what
//! was never written. A record that is wrong is torn if the file ends within it, or if one of its
//! sectors is missing, that is all zeros, where it is wrong; and if no whole record follows, for the
//! next one is written only after this one is acknowledged. A disk writes a sector of 512 bytes whole
//! or not at all; which every disk promises.
//!
//! A file that is created or replaced is written beside, flushed, and renamed, so it is never torn.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::Identity;
use super::std;
use crate::machine::{Durable, NodeId};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"quorate\n";
const VERSION: u32 = 2;
const RECORD_HEADER_BYTES: usize = 20;
/// Records begin where this divides the place.
const WORD_BYTES: usize = 8;
const SECTOR_BYTES: usize = 512;
/// A journal is compacted when it is longer than this and four times its snapshot together, in bytes.
pub const GROWTH_BYTES_MIN: u64 = 1 << 20;
/// How many zeros are written ahead, at least and at most.
const AHEAD_BYTES_MIN: u64 = 1 << 16;
const AHEAD_BYTES_MAX: u64 = 1 << 24;

/// Where the file of a journal is: a directory, or what a simulator has in its place.
pub trait Storage {
    /// True if there is a file.
    ///
    /// # Errors
    ///
    /// If that cannot be told.
    fn exists(&self) -> io::Result<bool>;

    /// All of the file.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn read(&self) -> io::Result<Vec<u8>>;

    /// Writes within the file. It is durable after the next `sync`, and perhaps, or in part, before.
    ///
    /// # Errors
    ///
    /// If it was not written, or not wholly.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    ///
    /// If that is not certain.
    fn sync(&mut self) -> io::Result<()>;

    /// Lets the file, which is `from` bytes long, go on with zeros to the length `to`, durably.
    ///
    /// # Errors
    ///
    /// If there is no room, or it is not certain.
    fn grow(&mut self, from: u64, to: u64) -> io::Result<()>;

    /// Puts a new file in the place of the old one, if any, durably: `content`, and zeros up to
    /// `length`. A crash leaves one of the two, whole.
    ///
    /// # Errors
    ///
    /// If that is not certain.
    fn replace(&mut self, content: &[u8], length: u64) -> io::Result<()>;
}

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

/// A journal, open, and locked where it is in a directory.
#[derive(Debug)]
pub struct Journal<S = Directory> {
    storage: S,
    path: PathBuf,
    header: Vec<u8>,
    commits: u64,
    bytes: u64,
    length: u64,
    snapshot_bytes: u64,
    growth_bytes: u64,
    failed: bool,
    record: Vec<u8>,
}

/// What was found on the disk.
#[derive(Debug)]
pub struct Recovered<D, S = Directory> {
    /// The journal, to go on with.
    pub journal: Journal<S>,
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
        let storage = Directory::lock(directory).map_err(fails)?;
        Self::create_on::<D>(storage, path.clone(), identity)
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
        // Before the lock, which makes a file: a wrong directory is left as it was found.
        if !exists(&path).map_err(fails)? {
            return Err(fails(Problem::Missing));
        }
        let storage = Directory::lock(directory).map_err(fails)?;
        Self::open_on(storage, path.clone(), identity)
    }
}

impl<S: Storage> Journal<S> {
    /// Begins a journal, which messages call `path`.
    ///
    /// # Errors
    ///
    /// If there is one already, or if it cannot be written. An existing journal is never touched.
    pub fn create_on<D: Durable>(
        mut storage: S,
        path: PathBuf,
        identity: &Identity,
    ) -> Result<Self, JournalError> {
        let mut begin = || {
            if storage.exists().map_err(Problem::Unusable)? {
                return Err(Problem::Exists);
            }
            let header = encode_header(identity);
            let mut content = header.clone();
            let snapshot = encode_record::<D::Change>(0, &[], header.len(), Vec::new())
                .map_err(Problem::Unwritable)?;
            content.extend_from_slice(&snapshot);
            let length = ahead(content.len() as u64, 0);
            (storage.replace(&content, length)).map_err(Problem::Unwritable)?;
            Ok((header, snapshot, length))
        };
        match begin() {
            Ok((header, snapshot, length)) => Ok(Self {
                storage,
                path,
                bytes: (header.len() + snapshot.len()) as u64,
                snapshot_bytes: snapshot.len() as u64,
                growth_bytes: GROWTH_BYTES_MIN,
                length,
                header,
                commits: 0,
                failed: false,
                record: snapshot,
            }),
            Err(problem) => Err(JournalError { path, problem }),
        }
    }

    /// Opens a journal, which messages call `path`, and recovers what it holds.
    ///
    /// # Errors
    ///
    /// If there is none, if it is another's, or if it is damaged. It is then left as it is.
    pub fn open_on<D: Durable>(
        mut storage: S,
        path: PathBuf,
        identity: &Identity,
    ) -> Result<Recovered<D, S>, JournalError> {
        let mut recover = || {
            if !storage.exists().map_err(Problem::Unusable)? {
                return Err(Problem::Missing);
            }
            let bytes = storage.read().map_err(Problem::Unusable)?;
            let header_bytes = check_header(&bytes, identity)?;
            let found = replay::<D>(&bytes, header_bytes)?;
            let torn = &bytes[found.end..];
            let torn_bytes = written(torn);
            if torn_bytes > 0 {
                (storage.write(found.end as u64, &alloc::vec![0; torn_bytes]))
                    .and_then(|()| storage.sync())
                    .map_err(Problem::Unwritable)?;
            }
            let header = bytes[..header_bytes].to_vec();
            Ok((header, found, torn_bytes, bytes.len() as u64))
        };
        match recover() {
            Ok((header, found, torn_bytes, length)) => Ok(Recovered {
                journal: Self {
                    storage,
                    path,
                    header,
                    commits: found.commits,
                    bytes: found.end as u64,
                    length,
                    snapshot_bytes: found.snapshot_bytes as u64,
                    growth_bytes: GROWTH_BYTES_MIN,
                    failed: false,
                    record: Vec::new(),
                },
                durable: found.durable,
                torn_bytes,
            }),
            Err(problem) => Err(JournalError { path, problem }),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many commits the node made in its life.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// How long its header and records are, in bytes; the zeros behind them do not count.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if it has grown so far beyond its snapshot that it should be compacted.
    pub fn is_long(&self) -> bool {
        self.bytes > self.growth_bytes + 4 * self.snapshot_bytes
    }

    /// Lets it be long sooner or later than beyond [`GROWTH_BYTES_MIN`].
    pub fn set_growth(&mut self, bytes: u64) {
        self.growth_bytes = bytes;
    }

    /// Replaces the file by one whose snapshot is `durable`, which is what all commits add up to.
    ///
    /// # Errors
    ///
    /// If it cannot be written. Which of the two files is there is then unknown; both hold the same.
    pub fn compact<D: Durable>(&mut self, durable: &D) -> Result<(), JournalError> {
        let changes = durable.changes_since(&D::default());
        self.guarded(|journal| {
            let header = &journal.header;
            let snapshot = encode_record(journal.commits, &changes, header.len(), Vec::new())?;
            let mut content = header.clone();
            content.extend_from_slice(&snapshot);
            let bytes = content.len() as u64;
            let snapshot_bytes = snapshot.len() as u64;
            let length = ahead(bytes, journal.growth_bytes + 4 * snapshot_bytes);
            journal.storage.replace(&content, length)?;
            journal.bytes = bytes;
            journal.length = length;
            journal.snapshot_bytes = snapshot_bytes;
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

impl<D: Durable, S: Storage> Disk<D> for Journal<S> {
    fn commit(&mut self, changes: &[D::Change]) -> Result<(), JournalError> {
        self.guarded(|journal| {
            let buffer = core::mem::take(&mut journal.record);
            let offset = usize::try_from(journal.bytes).map_err(io::Error::other)?;
            journal.record = encode_record(journal.commits + 1, changes, offset, buffer)?;
            let end = journal.bytes + journal.record.len() as u64;
            if end > journal.length {
                let length = ahead(end, end);
                journal.storage.grow(journal.length, length)?;
                journal.length = length;
            }
            journal.storage.write(journal.bytes, &journal.record)?;
            journal.storage.sync()?;
            journal.commits += 1;
            journal.bytes = end;
            Ok(())
        })
    }

    fn tidy(&mut self, durable: &D) -> Result<(), JournalError> {
        if self.is_long() {
            self.compact(durable)?;
        }
        Ok(())
    }
}

/// How long the file is to be that holds `bytes` and will hold `more`.
fn ahead(bytes: u64, more: u64) -> u64 {
    bytes + more.clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX)
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

/// A directory with a journal's file, and a lock.
#[derive(Debug)]
pub struct Directory {
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
    _lock: Lock,
}

impl Directory {
    fn lock(directory: &Path) -> Result<Self, Problem> {
        Ok(Self {
            directory: directory.into(),
            path: directory.join("journal"),
            file: None,
            _lock: lock(directory)?,
        })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().write(true).open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Storage for Directory {
    fn exists(&self) -> io::Result<bool> {
        self.path.try_exists()
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn grow(&mut self, from: u64, to: u64) -> io::Result<()> {
        let file = self.file()?;
        file.seek(SeekFrom::Start(from))?;
        write_zeros(file, to.saturating_sub(from))?;
        file.sync_all()
    }

    fn replace(&mut self, content: &[u8], length: u64) -> io::Result<()> {
        let beside = self.directory.join("journal.new");
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        write_zeros(&mut file, length.saturating_sub(content.len() as u64))?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(&self.directory)?.sync_all()?;
        self.file = Some(file);
        Ok(())
    }
}

fn write_zeros(file: &mut File, mut count: u64) -> io::Result<()> {
    let zeros = [0; 4096];
    while count > 0 {
        let some = usize::try_from(count).map_or(zeros.len(), |count| count.min(zeros.len()));
        file.write_all(&zeros[..some])?;
        count -= some as u64;
    }
    Ok(())
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
    let padded = (header.len() + 4).next_multiple_of(WORD_BYTES) - 4;
    header.resize(padded, 0);
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
fn written(bytes: &[u8]) -> usize {
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
fn encode_record<C: serde::Serialize>(
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
