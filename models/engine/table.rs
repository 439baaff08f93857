//! The set of fingerprints that a search has met: eight bytes a slot, nothing else.

/// How many parts there are. They grow one by one, so that growing never needs the memory of the
/// whole set twice.
const PARTS: usize = 256;
const FIRST_SLOTS: usize = 16;

/// A set of 64-bit fingerprints, by open addressing with linear probing.
///
/// The place of a fingerprint rises with the fingerprint, and runs of neighbours are kept in order.
/// So all of a part is one sorted array with gaps: a search for what is not there ends at the first
/// larger fingerprint, and growing is one sequential pass. Parts are filled to three quarters and
/// then grow by two fifths: 10.7 to 15 bytes for each fingerprint.
pub struct Table {
    parts: Vec<Part>,
    len: usize,
}

struct Part {
    /// Zero is an empty slot. The slots past `home_slots` catch what runs over the end.
    slots: Vec<u64>,
    home_slots: usize,
    len: usize,
}

/// Zero marks an empty slot, so the fingerprint zero is taken for one: two in 2⁶⁴ share it.
fn nonzero(print: u64) -> u64 {
    print.max(1)
}

impl Default for Table {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::new(FIRST_SLOTS)).collect(),
            len: 0,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the product of two numbers, less its lower half, is less than either"
)]
fn scale(print: u64, slots: usize) -> usize {
    ((u128::from(print) * slots as u128) >> 64) as usize
}

impl Table {
    /// How many fingerprints there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of its slots.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.slots.len() * 8).sum()
    }

    /// What lies where the search for a fingerprint begins. Asking for many before searching for any
    /// lets the processor wait for all of them at once.
    pub fn glance(&self, print: u64) -> u64 {
        let part = &self.parts[scale(print, PARTS)];
        part.slots[part.home(print)]
    }

    /// True if it is there.
    pub fn contains(&self, print: u64) -> bool {
        let print = nonzero(print);
        let part = &self.parts[scale(print, PARTS)];
        part.slots[part.find(print)] == print
    }

    /// Adds it. False if it was there.
    pub fn insert(&mut self, print: u64) -> bool {
        let print = nonzero(print);
        let part = &mut self.parts[scale(print, PARTS)];
        let place = part.find(print);
        if part.slots[place] == print {
            return false;
        }
        part.put(place, print);
        if part.home_slots * 3 < part.len * 4 {
            *part = part.grown();
        }
        self.len += 1;
        true
    }
}

impl Part {
    fn new(home_slots: usize) -> Self {
        Self {
            slots: vec![0; home_slots + 8],
            home_slots,
            len: 0,
        }
    }

    fn home(&self, print: u64) -> usize {
        // The first bits chose the part.
        scale(print.wrapping_mul(PARTS as u64), self.home_slots)
    }

    /// Where it is, or where it belongs: the first slot of its run that is empty or larger.
    fn find(&self, print: u64) -> usize {
        let mut place = self.home(print);
        while self.slots[place] != 0 && self.slots[place] < print {
            place += 1;
        }
        place
    }

    /// Puts it at its place, and moves the rest of the run along.
    fn put(&mut self, place: usize, print: u64) {
        let mut moved = print;
        let mut at = place;
        while moved != 0 {
            std::mem::swap(&mut self.slots[at], &mut moved);
            at += 1;
            if at == self.slots.len() {
                self.slots.push(0);
            }
        }
        self.len += 1;
    }

    fn grown(&self) -> Self {
        let mut grown = Self::new(self.home_slots * 7 / 5 + 1);
        let mut free = 0;
        for print in self.slots.iter().copied().filter(|print| *print != 0) {
            let place = grown.home(print).max(free);
            while grown.slots.len() < place + 2 {
                grown.slots.push(0);
            }
            grown.slots[place] = print;
            free = place + 1;
        }
        grown.len = self.len;
        grown
    }
}
