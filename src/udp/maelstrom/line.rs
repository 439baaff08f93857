//! Lines of a bounded length, by a thread of their own.

use alloc::vec::Vec;

use crate::udp::std;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::sync::mpsc::SyncSender;

/// The longest line that is read, in bytes. A datagram makes one of less than 3,000.
pub const LINE_BYTES_MAX: usize = 1 << 16;

/// What the input brings.
#[derive(Debug)]
pub(super) enum Heard {
    /// A line, without its end.
    Line(Vec<u8>),
    /// One that was too long, and was skipped.
    TooLong,
    /// It failed, and brings nothing more.
    Failed(io::Error),
}

/// Reads until the input ends or nobody listens. Lines without content are skipped.
pub(super) fn read(input: impl Read, heard: &SyncSender<Heard>) {
    let mut input = BufReader::new(input);
    loop {
        let (what, more) = match next(&mut input) {
            Ok(Some(Heard::Line(line))) if line.is_empty() => continue,
            Ok(Some(what)) => (what, true),
            Ok(None) => return,
            Err(error) => (Heard::Failed(error), false),
        };
        if heard.send(what).is_err() || !more {
            return;
        }
    }
}

/// The next line; none at the end. What is too long takes up no room.
fn next(input: &mut impl BufRead) -> io::Result<Option<Heard>> {
    let (mut line, mut length) = (Vec::new(), 0);
    loop {
        let there = match input.fill_buf() {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = there.iter().position(|byte| *byte == b'\n');
        let part = &there[..end.unwrap_or(there.len())];
        length += part.len();
        if length <= LINE_BYTES_MAX {
            line.extend_from_slice(part);
        }
        let is_over = end.is_some() || there.is_empty();
        let taken = part.len() + usize::from(end.is_some());
        input.consume(taken);
        if is_over {
            return Ok(match (end, length) {
                (None, 0) => None,
                (_, length) if LINE_BYTES_MAX < length => Some(Heard::TooLong),
                (_, _) => Some(Heard::Line(line)),
            });
        }
    }
}
