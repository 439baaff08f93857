//! A hash function for the checker: it spells out what it hashes, so that nothing is told apart by luck,
//! and digests in stories can be read.

use quorate::merkle::Hasher;
use quorate::merkle::keyed::Places;

/// Spells out. With [`Spelling::Parts`], different things are spelled differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spelled(pub Spelling);

/// How a leaf is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spelling {
    /// Each part by itself: texts in quotation marks, numbers without.
    Parts,
    /// Key, value and time, joined by colons, as the textbook's.
    Joined,
    /// Without the writer.
    NoWriter,
}

/// The parts of a leaf, each of which has its length before it.
fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at(length.min(rest.len()));
        parts.push(part);
        bytes = rest;
    }
    parts
}

/// A text. It is in quotation marks, and what it has of those is escaped.
fn text(part: &[u8]) -> String {
    format!("\"{}\"", part.escape_ascii())
}

fn number(part: &[u8]) -> String {
    let number = part.try_into().map(u64::from_le_bytes);
    number.map_or_else(|_| text(part), |number| number.to_string())
}

impl Hasher for Spelled {
    type Digest = String;

    fn empty(&self) -> String {
        "-".into()
    }

    fn leaf(&self, bytes: &[u8]) -> String {
        let plain = |part: &[u8]| part.escape_ascii().to_string();
        match (self.0, parts(bytes).as_slice()) {
            (Spelling::Joined, [key, time, _, value]) => {
                format!("{}:{}:{}", plain(key), plain(value), number(time))
            }
            (Spelling::NoWriter, [key, time, _, rest @ ..]) => {
                let rest: String = rest.iter().map(|part| text(part)).collect();
                format!("{}{}{rest}", text(key), number(time))
            }
            (_, [key, time, node, rest @ ..]) => {
                let rest: String = rest.iter().map(|part| text(part)).collect();
                format!("{}{}.{}{rest}", text(key), number(time), number(node))
            }
            (_, other) => other.iter().map(|part| text(part)).collect(),
        }
    }

    fn node(&self, left: &String, right: &String) -> String {
        format!("({left} {right})")
    }
}

/// *a* is left of the middle, *c* and *d* right of it, and *b* between *a* and the middle; so that trees of them have
/// different shapes.
impl Places for Spelled {
    fn position(&self, key: &str) -> u64 {
        match key.as_bytes().first() {
            Some(b'a') => 0,
            Some(b'b') => 1 << 62,
            Some(b'c') => 2 << 62,
            Some(_) | None => 3 << 62,
        }
    }
}
