//! States that wait on disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Rows;

/// States that wait, in pieces, in a file that has no name: it is gone when the process is.
pub(super) struct Spill {
    file: File,
    /// Where each piece begins, how many numbers it has, and how many states.
    pieces: VecDeque<(u64, usize, usize)>,
    end: u64,
    states: usize,
}

impl Spill {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile()?,
            pieces: VecDeque::new(),
            end: 0,
            states: 0,
        })
    }

    /// How many states wait here.
    pub(super) fn len(&self) -> usize {
        self.states
    }

    /// Takes all of `rows`, unless that fails: then they are left.
    pub(super) fn put(&mut self, rows: &mut Rows) -> io::Result<()> {
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
    pub(super) fn take(&mut self, rows: &mut Rows) -> io::Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_in_order() {
        let rows = |from: u32| {
            let mut rows = Rows::default();
            for row in from..from + 10 {
                rows.push(&vec![row; row as usize % 4], u64::from(row) << 40);
            }
            rows
        };
        let mut spill = Spill::new().expect("a temporary file");
        for from in [0, 10] {
            spill.put(&mut rows(from)).expect("room on the disk");
        }
        assert_eq!(spill.len(), 20);
        let mut back = Rows::default();
        for from in [0, 10] {
            assert!(spill.take(&mut back).expect("it can be read"));
            assert_eq!(back.len(), 10);
            for at in 0..10 {
                assert_eq!(back.get(at), rows(from).get(at));
            }
        }
        assert!(!spill.take(&mut back).expect("nothing is read"));
        assert_eq!((spill.len(), back.len()), (0, 0));
    }
}
