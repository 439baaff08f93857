//! States that wait on disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::rows::Rows;

/// States that wait, in pieces, in a file that has no name: it is gone when the process is.
pub struct Spill {
    file: File,
    /// Where each piece begins, how many numbers it has, and how many states.
    pieces: VecDeque<(u64, usize, usize)>,
    end: u64,
    states: usize,
}

impl Spill {
    /// None yet.
    ///
    /// # Errors
    ///
    /// If there can be no temporary file.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            pieces: VecDeque::new(),
            end: 0,
            states: 0,
        })
    }

    /// How many states wait here.
    pub fn len(&self) -> usize {
        self.states
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all of `rows`, unless that fails: then they are left.
    ///
    /// # Errors
    ///
    /// If the disk is full, or fails.
    pub fn put(&mut self, rows: &mut Rows) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(rows.bytes());
        for number in &rows.numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for end in &rows.ends {
            bytes.extend_from_slice(&(*end as u64).to_le_bytes());
        }
        for print in &rows.prints {
            bytes.extend_from_slice(&print.to_le_bytes());
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&bytes)?;
        self.pieces
            .push_back((self.end, rows.numbers.len(), rows.len()));
        self.states += rows.len();
        self.end += bytes.len() as u64;
        rows.clear();
        Ok(())
    }

    /// Gives back the piece that has waited longest, in place of `rows`. False if there is none.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn take(&mut self, rows: &mut Rows) -> io::Result<bool> {
        rows.clear();
        let Some((start, numbers, states)) = self.pieces.pop_front() else {
            return Ok(false);
        };
        let mut bytes = vec![0; numbers * 4 + states * 16];
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut bytes)?;
        let (first, rest) = bytes.split_at(numbers * 4);
        let (second, third) = rest.split_at(states * 8);
        let numbers = first.as_chunks::<4>().0.iter();
        rows.numbers
            .extend(numbers.map(|word| u32::from_le_bytes(*word)));
        let ends = second.as_chunks::<8>().0.iter();
        rows.ends.extend(ends.map(|word| {
            usize::try_from(u64::from_le_bytes(*word)).expect("what was a usize is one")
        }));
        let prints = third.as_chunks::<8>().0.iter();
        rows.prints
            .extend(prints.map(|word| u64::from_le_bytes(*word)));
        self.states -= states;
        if self.pieces.is_empty() {
            self.end = 0;
        }
        Ok(true)
    }
}
