//! The directory of a journal: its file, and its lock.

use alloc::vec::Vec;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::std;
use super::{Problem, Storage};

pub(super) fn exists(path: &Path) -> Result<bool, Problem> {
    path.try_exists().map_err(Problem::Unusable)
}

/// A directory with a journal's file, and a lock.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    path: PathBuf,
    file: Option<File>,
    _lock: Lock,
}

impl Directory {
    pub(super) fn lock(directory: &Path) -> Result<Self, Problem> {
        Ok(Self {
            root: directory.into(),
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
        let beside = self.root.join("journal.new");
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        write_zeros(&mut file, length.saturating_sub(content.len() as u64))?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(&self.root)?.sync_all()?;
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

pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match directory.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}
