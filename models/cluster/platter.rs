//! A disk that is made up: what is on it, what is being written, and what a power cut makes of that.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use fastrand::Rng;
use quorate::udp::journal::Storage;

use super::sabotage::Sabotage;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Content {
    /// What a power cut leaves for certain.
    durable: Option<Vec<u8>>,
    /// What was written since, in order.
    pending: Vec<(usize, Vec<u8>)>,
    /// The file that takes the place of the first, once that is done.
    replacement: Option<Vec<u8>>,
    /// The next flush fails.
    fails: bool,
    /// Bytes that a power cut kept from being written.
    torn: u64,
    sabotage: Option<Sabotage>,
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Platter(Rc<RefCell<Content>>);

impl Platter {
    /// An empty one.
    pub fn new(sabotage: Option<Sabotage>) -> Self {
        let platter = Self::default();
        platter.0.borrow_mut().sabotage = sabotage;
        platter
    }

    /// The flush that was under way is done.
    pub fn complete(&self) {
        let mut content = self.0.borrow_mut();
        if content.sabotage == Some(Sabotage::NoFlush) {
            return;
        }
        let Content {
            durable,
            pending,
            replacement,
            sabotage,
            ..
        } = &mut *content;
        if let Some(file) = durable {
            for (offset, bytes) in pending.drain(..) {
                put(file, offset, &bytes);
            }
        }
        if let Some(file) = replacement.take() {
            if *sabotage == Some(Sabotage::RenameBeforeFlush) {
                // The name is durable, the content is not yet.
                *durable = Some(vec![0; file.len()]);
                pending.push((0, file));
            } else {
                *durable = Some(file);
            }
        }
    }

    /// The process is gone, and the operating system writes what it holds.
    pub fn write_back(&self) {
        let mut content = self.0.borrow_mut();
        let Content {
            durable,
            pending,
            replacement,
            fails,
            ..
        } = &mut *content;
        if let Some(file) = durable {
            for (offset, bytes) in pending.drain(..) {
                put(file, offset, &bytes);
            }
        }
        if let Some(file) = replacement.take() {
            *durable = Some(file);
        }
        *fails = false;
    }

    /// The power fails: of what was not flushed, each sector is there or is not.
    pub fn lose_power(&self, rng: &mut Rng) {
        let mut content = self.0.borrow_mut();
        let Content {
            durable,
            pending,
            replacement,
            torn,
            fails,
            ..
        } = &mut *content;
        let keeps = rng.u32(..4);
        if let Some(file) = durable {
            for (offset, bytes) in pending.drain(..) {
                let mut at = offset;
                while at < offset + bytes.len() {
                    let end = ((at / SECTOR + 1) * SECTOR).min(offset + bytes.len());
                    // Nothing, all, or each by chance.
                    let kept = match keeps {
                        0 => false,
                        1 => true,
                        _ => rng.bool(),
                    };
                    if kept {
                        put(file, at, &bytes[at - offset..end - offset]);
                    } else {
                        *torn += (end - at) as u64;
                    }
                    at = end;
                }
            }
        }
        if let Some(file) = replacement.take()
            && rng.bool()
        {
            *durable = Some(file);
        }
        *fails = false;
    }

    /// Lets the next write fail.
    pub fn break_next(&self) {
        self.0.borrow_mut().fails = true;
    }

    /// Flips a bit of what was written, before the last records. False if there is not enough yet.
    pub fn rot(&self, rng: &mut Rng) -> bool {
        let mut content = self.0.borrow_mut();
        let Some(file) = &mut content.durable else {
            return false;
        };
        let written = file.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        // The first records, behind the header.
        let (from, to) = (128, written / 2);
        if to < from + 2 * SECTOR {
            return false;
        }
        file[rng.usize(from..to)] ^= 1 << rng.u32(..8);
        true
    }

    /// Takes everything from `offset` on away, as one who thinks that it is of no worth.
    pub fn cut(&self, offset: usize) {
        if let Some(file) = &mut self.0.borrow_mut().durable {
            let from = offset.min(file.len());
            file[from..].fill(0);
        }
    }

    /// Takes everything away.
    pub fn wipe(&self) {
        let mut content = self.0.borrow_mut();
        content.durable = None;
        content.pending.clear();
        content.replacement = None;
    }

    /// How many bytes power cuts kept from being written.
    pub fn torn(&self) -> u64 {
        self.0.borrow().torn
    }
}

fn put(file: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl Storage for Platter {
    fn exists(&self) -> io::Result<bool> {
        Ok(self.0.borrow().durable.is_some())
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let content = self.0.borrow();
        content
            .durable
            .clone()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.borrow_mut();
        content.pending.push((place(offset)?, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut content = self.0.borrow_mut();
        if std::mem::take(&mut content.fails) {
            return Err(io::Error::other("the simulated disk failed"));
        }
        Ok(())
    }

    fn grow(&mut self, from: u64, to: u64) -> io::Result<()> {
        let mut content = self.0.borrow_mut();
        let (from, to) = (place(from)?, place(to)?);
        if let Some(file) = &mut content.durable {
            file.truncate(from);
            file.resize(to, 0);
        }
        Ok(())
    }

    fn replace(&mut self, content: &[u8], length: u64) -> io::Result<()> {
        let mut file = content.to_vec();
        file.resize(place(length)?.max(file.len()), 0);
        let mut held = self.0.borrow_mut();
        if held.durable.is_some() {
            held.replacement = Some(file);
        } else {
            // The first of its life: nothing was ever said that could rest on it.
            held.durable = Some(file);
        }
        Ok(())
    }
}
