//! The socket of a node, made up.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use quorate::udp::port::Socket;

/// How many datagrams wait for a node at most; an operating system drops more.
const WAITING_MAX: usize = 512;
/// Where a frame says for whom it is.
const RECEIVER: std::ops::Range<usize> = 26..34;
/// Where the message begins.
const HEADER_BYTES: usize = 34;

/// What came, and what is to go.
#[derive(Debug, Default)]
pub struct Mailbox {
    inbox: VecDeque<(Vec<u8>, SocketAddr)>,
    outbox: Vec<(Vec<u8>, SocketAddr)>,
}

impl Mailbox {
    /// A datagram arrives. False if there is no room.
    pub fn arrives(&mut self, datagram: Vec<u8>, whence: SocketAddr) -> bool {
        let fits = self.inbox.len() < WAITING_MAX;
        if fits {
            self.inbox.push_back((datagram, whence));
        }
        fits
    }

    /// What is to go.
    pub fn take(&mut self) -> Vec<(Vec<u8>, SocketAddr)> {
        std::mem::take(&mut self.outbox)
    }
}

impl Socket for Mailbox {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (datagram, whence) = (self.inbox.pop_front()).ok_or(ErrorKind::WouldBlock)?;
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok((length, whence))
    }

    fn send(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.outbox.push((datagram.to_vec(), to));
        Ok(())
    }
}

/// Flips a bit of the message, by the number drawn.
pub fn flip(datagram: &mut [u8], drawn: usize) {
    let message = datagram.len().saturating_sub(HEADER_BYTES + 4);
    if message > 0 {
        datagram[HEADER_BYTES + drawn / 8 % message] ^= 1 << (drawn % 8);
    }
}

/// Makes the checksum right, so that it is as if nobody looked at it.
pub fn seal_anew(datagram: &mut [u8]) {
    if let Some((content, checksum)) = datagram.split_last_chunk_mut::<4>() {
        *checksum = crc32fast::hash(content).to_le_bytes();
    }
}

/// Writes on it for whom it is.
pub fn readdress(datagram: &mut [u8], to: u64) {
    if let Some(place) = datagram.get_mut(RECEIVER) {
        place.copy_from_slice(&to.to_le_bytes());
    }
    seal_anew(datagram);
}
