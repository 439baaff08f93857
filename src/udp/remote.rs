//! `quorate client` and `quorate status`, of any protocol: over TCP, as other people's clients do.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use super::resp::{Malformed, REQUEST_BYTES_MAX, Value, reply, write_request};
use super::std;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A connection to one member.
#[derive(Debug)]
pub struct Remote {
    stream: TcpStream,
    heard: Vec<u8>,
}

/// Why there was no reply. What was asked may have happened, unless there was no connection.
#[derive(Debug)]
pub enum RemoteError {
    /// Nobody listens there. Nothing was asked.
    Unreachable(SocketAddr, io::Error),
    /// The connection ended, or the reply took too long.
    Lost(io::Error),
    /// What came is no reply.
    Malformed(Malformed),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(address, error) => write!(f, "cannot reach {address}: {error}"),
            Self::Lost(error) => write!(
                f,
                "unknown outcome: the connection was lost before the reply ({error})"
            ),
            Self::Malformed(malformed) => write!(f, "unknown outcome: {malformed}"),
        }
    }
}

impl core::error::Error for RemoteError {}

impl Remote {
    /// Connects to the member whose clients go to `address`.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, RemoteError> {
        let timeout = timeout.max(Duration::from_millis(1));
        let connected = TcpStream::connect_timeout(&address, timeout).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        });
        let stream = connected.map_err(|error| RemoteError::Unreachable(address, error))?;
        Ok(Self {
            stream,
            heard: Vec::new(),
        })
    }

    /// Asks, and awaits the reply.
    ///
    /// # Errors
    ///
    /// If there is none in time. The connection is then of no more use.
    pub fn ask(&mut self, words: &[&str]) -> Result<Value, RemoteError> {
        let mut request = Vec::new();
        write_request(words, &mut request);
        self.stream.write_all(&request).map_err(RemoteError::Lost)?;
        let mut buffer = [0; 4096];
        loop {
            if let Some((value, taken)) = reply(&self.heard).map_err(RemoteError::Malformed)? {
                self.heard.drain(..taken);
                return Ok(value);
            }
            if self.heard.len() > REQUEST_BYTES_MAX {
                return Err(RemoteError::Malformed(Malformed::TooLong));
            }
            match self.stream.read(&mut buffer).map_err(RemoteError::Lost)? {
                0 => return Err(RemoteError::Lost(io::ErrorKind::UnexpectedEof.into())),
                count => self.heard.extend(&buffer[..count]),
            }
        }
    }
}

/// A reply as a person reads it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Simple(text) | Value::Error(text) | Value::Bulk(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Nil => "(nothing)".into(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(shown).collect();
            values.join("\n")
        }
        Value::Map(pairs) => {
            let line = |(key, value): &(Value, Value)| shown(key) + " " + &shown(value);
            let lines: Vec<String> = pairs.iter().map(line).collect();
            lines.join("\n")
        }
    }
}
