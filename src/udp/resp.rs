//! RESP, the protocol of Redis, so that its clients are ours: what they ask, and what they are told.
//!
//! A request is an array of bulk strings, or a line of words. Replies are of RESP 2, or of RESP 3 to
//! who began with `HELLO 3`. Source: the *Redis serialization protocol specification*.
//!
//! Written here rather than taken from a library, because it is short and faces strangers: libraries
//! read nested arrays by recursion, and 64 KiB of `*1` would end the process. A request nests nothing.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// How many words a request may have.
pub const WORDS_MAX: usize = 128;
/// How long a word may be, in bytes.
pub const WORD_BYTES_MAX: usize = 4096;
/// How long a request may be, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// How deep a reply may nest, read as a client.
const NESTED_MAX: usize = 4;

/// Which of its versions a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// What everyone speaks.
    Two,
    /// What a client asks for by `HELLO 3`.
    Three,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word that says that all went well.
    Simple(String),
    /// A word in capitals that says what went wrong, and an explanation.
    Error(String),
    /// A number.
    Number(i64),
    /// A string.
    Bulk(String),
    /// Nothing.
    Nil,
    /// Several.
    Array(Vec<Value>),
    /// Keys and values; to who speaks RESP 2, one after the other.
    Map(Vec<(Value, Value)>),
}

/// What arrived is no RESP. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A length is no number, or larger than is allowed.
    Length,
    /// A word does not begin with `$`, or a reply with a sign that there is.
    Sign,
    /// A line does not end as lines do.
    End,
    /// More bytes than a request may have, and no end.
    TooLong,
    /// It is not in UTF-8, as all our keys and values are.
    NotText,
    /// A reply nests too deep.
    Nested,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "a length is no number, or too large",
            Self::Sign => "a word does not begin as it should",
            Self::End => "a line does not end in CRLF",
            Self::TooLong => "the request is too long",
            Self::NotText => "keys and values are UTF-8 here",
            Self::Nested => "a reply nests too deep",
        })
    }
}

impl core::error::Error for Malformed {}

/// What was read, and of how many bytes. None: not all of it is there yet.
pub type Read<T> = Result<Option<(T, usize)>, Malformed>;

/// Reads a request from the start of `bytes`. An empty one is none, and clients send such.
///
/// # Errors
///
/// If no more bytes would make it a request.
pub fn request(bytes: &[u8]) -> Read<Vec<String>> {
    let read = if bytes.first() == Some(&b'*') {
        words(bytes)?
    } else {
        inline(bytes)?
    };
    if read.is_none() && bytes.len() >= REQUEST_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    Ok(read)
}

fn words(bytes: &[u8]) -> Read<Vec<String>> {
    let Some((count, mut at)) = number(bytes)? else {
        return Ok(None);
    };
    let count = length(count, WORDS_MAX)?.unwrap_or(0);
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let rest = bytes.get(at..).unwrap_or_default();
        match rest.first() {
            None => return Ok(None),
            Some(b'$') => {}
            Some(_) => return Err(Malformed::Sign),
        }
        let Some((word, taken)) = bulk(rest, WORD_BYTES_MAX)? else {
            return Ok(None);
        };
        words.push(word.ok_or(Malformed::Length)?);
        at += taken;
    }
    Ok(Some((words, at)))
}

/// As someone types it, such as `PING`.
fn inline(bytes: &[u8]) -> Read<Vec<String>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    if end > WORD_BYTES_MAX {
        return Err(Malformed::Length);
    }
    let line = core::str::from_utf8(&bytes[..end]).map_err(|_| Malformed::NotText)?;
    let words: Vec<String> = line.split_whitespace().map(ToOwned::to_owned).collect();
    if words.len() > WORDS_MAX {
        return Err(Malformed::Length);
    }
    Ok(Some((words, end + 1)))
}

/// The text after the sign, up to the end of the line.
fn line(bytes: &[u8]) -> Read<&str> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    match bytes.get(1..end) {
        Some([text @ .., b'\r']) => {
            let text = core::str::from_utf8(text).map_err(|_| Malformed::NotText)?;
            Ok(Some((text, end + 1)))
        }
        Some(_) | None => Err(Malformed::End),
    }
}

fn number(bytes: &[u8]) -> Read<i64> {
    // A number of 64 bits has at most 20 characters; nobody needs to send a line that never ends.
    if bytes.iter().take(24).all(|byte| *byte != b'\n') && bytes.len() > 24 {
        return Err(Malformed::Length);
    }
    let Some((text, taken)) = line(bytes)? else {
        return Ok(None);
    };
    let number = text.parse().map_err(|_| Malformed::Length)?;
    Ok(Some((number, taken)))
}

/// None for the length of what is nothing.
fn length(number: i64, most: usize) -> Result<Option<usize>, Malformed> {
    if number == -1 {
        return Ok(None);
    }
    match usize::try_from(number) {
        Ok(length) if length <= most => Ok(Some(length)),
        Ok(_) | Err(_) => Err(Malformed::Length),
    }
}

fn bulk(bytes: &[u8], most: usize) -> Read<Option<String>> {
    let Some((number, begin)) = number(bytes)? else {
        return Ok(None);
    };
    let Some(length) = length(number, most)? else {
        return Ok(Some((None, begin)));
    };
    let end = begin + length;
    let Some(after) = bytes.get(end..end + 2) else {
        return Ok(None);
    };
    if after != b"\r\n" {
        return Err(Malformed::End);
    }
    let text = core::str::from_utf8(&bytes[begin..end]).map_err(|_| Malformed::NotText)?;
    Ok(Some((Some(text.to_owned()), end + 2)))
}

/// Reads a reply from the start of `bytes`, as a client does.
///
/// # Errors
///
/// If no more bytes would make it a reply.
pub fn reply(bytes: &[u8]) -> Read<Value> {
    nested(bytes, NESTED_MAX)
}

fn nested(bytes: &[u8], depth: usize) -> Read<Value> {
    let several = |count: i64, mut at: usize, each: usize| -> Read<Option<Vec<Value>>> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Nested)?;
        let Some(count) = length(count, REQUEST_BYTES_MAX)? else {
            return Ok(Some((None, at)));
        };
        let mut values = Vec::new();
        for _ in 0..count * each {
            let Some((value, taken)) = nested(bytes.get(at..).unwrap_or_default(), depth)? else {
                return Ok(None);
            };
            values.push(value);
            at += taken;
        }
        Ok(Some((Some(values), at)))
    };
    let read = match bytes.first() {
        None => None,
        Some(b'+') => line(bytes)?.map(|(text, taken)| (Value::Simple(text.into()), taken)),
        Some(b'-') => line(bytes)?.map(|(text, taken)| (Value::Error(text.into()), taken)),
        Some(b':') => number(bytes)?.map(|(number, taken)| (Value::Number(number), taken)),
        Some(b'_') => line(bytes)?.map(|(_, taken)| (Value::Nil, taken)),
        Some(b'$') => bulk(bytes, REQUEST_BYTES_MAX)?
            .map(|(text, taken)| (text.map_or(Value::Nil, Value::Bulk), taken)),
        Some(b'*') => match number(bytes)? {
            None => None,
            Some((count, at)) => several(count, at, 1)?
                .map(|(values, at)| (values.map_or(Value::Nil, Value::Array), at)),
        },
        Some(b'%') => match number(bytes)? {
            None => None,
            Some((count, at)) => several(count, at, 2)?.map(|(values, at)| {
                let mut values = values.unwrap_or_default().into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    pairs.push((key, value));
                }
                (Value::Map(pairs), at)
            }),
        },
        Some(_) => return Err(Malformed::Sign),
    };
    Ok(read)
}

/// A request as a client writes it.
pub fn write_request(words: &[&str], bytes: &mut Vec<u8>) {
    head(b'*', words.len(), bytes);
    for word in words {
        write_bulk(word, bytes);
    }
}

impl Value {
    /// Writes it as the version has it.
    pub fn write(&self, version: Version, bytes: &mut Vec<u8>) {
        match self {
            Self::Simple(text) => write_line(b'+', text, bytes),
            Self::Error(text) => write_line(b'-', text, bytes),
            Self::Number(number) => write_line(b':', &number.to_string(), bytes),
            Self::Bulk(text) => write_bulk(text, bytes),
            Self::Nil => bytes.extend(match version {
                Version::Two => b"$-1\r\n".as_slice(),
                Version::Three => b"_\r\n",
            }),
            Self::Array(values) => {
                head(b'*', values.len(), bytes);
                for value in values {
                    value.write(version, bytes);
                }
            }
            Self::Map(pairs) => {
                match version {
                    Version::Two => head(b'*', pairs.len() * 2, bytes),
                    Version::Three => head(b'%', pairs.len(), bytes),
                }
                for (key, value) in pairs {
                    key.write(version, bytes);
                    value.write(version, bytes);
                }
            }
        }
    }
}

fn head(sign: u8, count: usize, bytes: &mut Vec<u8>) {
    write_line(sign, &count.to_string(), bytes);
}

/// A line is one line, whatever is in the text.
fn write_line(sign: u8, text: &str, bytes: &mut Vec<u8>) {
    bytes.push(sign);
    bytes.extend(text.bytes().map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        other => other,
    }));
    bytes.extend(b"\r\n");
}

fn write_bulk(text: &str, bytes: &mut Vec<u8>) {
    head(b'$', text.len(), bytes);
    bytes.extend(text.as_bytes());
    bytes.extend(b"\r\n");
}
