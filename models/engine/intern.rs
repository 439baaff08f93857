//! Numbers for content.

use hashbrown::HashTable;

/// Distinct values, numbered in the order in which they were met, each with its content hash.
///
/// Values are told apart by full equality: the hash only finds them, so that no two are ever taken
/// for one.
pub(crate) struct Interned<T> {
    values: Vec<T>,
    prints: Vec<u64>,
    numbers: HashTable<u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            prints: Vec::new(),
            numbers: HashTable::new(),
        }
    }
}

impl<T> Interned<T> {
    /// The number of the value that `is` says yes to, if it has the content hash `print` and is
    /// known.
    pub(crate) fn find(&self, print: u64, is: impl Fn(&T) -> bool) -> Option<u32> {
        let same = |number: &u32| {
            let place = *number as usize;
            self.prints[place] == print && is(&self.values[place])
        };
        self.numbers.find(print, same).copied()
    }

    /// Numbers a value that is not known yet.
    pub(crate) fn add(&mut self, print: u64, value: T) -> u32 {
        let number = u32::try_from(self.values.len()).expect("fewer than 2^32 distinct values");
        self.values.push(value);
        self.prints.push(print);
        let prints = &self.prints;
        self.numbers
            .insert_unique(print, number, |other| prints[*other as usize]);
        number
    }

    /// The value of a number.
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    /// The value of a number, to change what is no part of its content.
    pub(crate) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.values[number as usize]
    }

    /// The content hash of the value of a number.
    pub(crate) fn print(&self, number: u32) -> u64 {
        self.prints[number as usize]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

impl<T: Eq> Interned<T> {
    /// The number of `value`, whose content hash is `print`.
    pub(crate) fn put(&mut self, print: u64, value: T) -> u32 {
        match self.find(print, |other| *other == value) {
            Some(number) => number,
            None => self.add(print, value),
        }
    }
}
