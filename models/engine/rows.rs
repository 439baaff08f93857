//! The states of a search, each a short row of numbers, one after the other.

use super::Row;

/// Rows, with their fingerprints.
#[derive(Default)]
pub struct Rows {
    pub(super) numbers: Vec<u32>,
    /// Where each row ends.
    pub(super) ends: Vec<usize>,
    pub(super) prints: Vec<u64>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.prints.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        self.numbers.capacity() * 4 + (self.ends.capacity() + self.prints.capacity()) * 8
    }

    /// Forgets all rows, and keeps the memory.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.ends.clear();
        self.prints.clear();
    }

    /// Adds one.
    pub fn push(&mut self, row: &Row, print: u64) {
        self.numbers.extend_from_slice(row);
        self.ends.push(self.numbers.len());
        self.prints.push(print);
    }

    /// The same of a row of which one number is another.
    pub(super) fn push_changed(&mut self, row: &Row, place: usize, number: u32, print: u64) {
        let start = self.numbers.len();
        self.push(row, print);
        self.numbers[start + place] = number;
    }

    /// Forgets the rows from this one on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.numbers.truncate(match len {
            0 => 0,
            len => self.ends[len - 1],
        });
        self.ends.truncate(len);
        self.prints.truncate(len);
    }

    /// A row, and its fingerprint.
    pub fn get(&self, at: usize) -> (&Row, u64) {
        let start = match at {
            0 => 0,
            at => self.ends[at - 1],
        };
        (&self.numbers[start..self.ends[at]], self.prints[at])
    }
}
