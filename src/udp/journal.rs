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

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::Identity;
use super::std;
use crate::machine::{Durable, NodeId};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

mod directory;
mod format;

pub use directory::Directory;
use directory::{exists, make_directory};
use format::{VERSION, check_header, encode_header, encode_record, replay, written};

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
