//! One UDP socket, who is behind it, and what went through it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Identity;
use super::parts::{Joiner, Sender};
use super::wire::{Content, DATAGRAM_BYTES_MAX, Refusal, Unsendable, Wire, decode};
use super::{random, std};
use crate::data::NodeSet;
use crate::machine::NodeId;
use alloc::sync::Arc;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

const DATAGRAM: Token = Token(0);
const WOKEN: Token = Token(1);

/// How many clients' addresses a node remembers. The one that was silent the longest is forgotten
/// first; when it speaks again it is known again.
pub const CLIENTS_MAX: usize = 1024;

/// The numbers of members are smaller than this, those of clients are not.
pub const MEMBERS_MAX: u64 = 64;

/// What a node did since it started. A plain struct: whoever exports it reads its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that arrived, whatever they were.
    pub datagrams_in: u64,
    /// Of them those that were messages, and were handed to the machine.
    pub messages_in: u64,
    /// Messages handed to the kernel.
    pub messages_out: u64,
    /// Messages that the kernel did not take, which is as if they were lost.
    pub messages_lost: u64,
    /// Messages to those whose address is not known, or no longer.
    pub messages_unaddressed: u64,
    /// Messages too long to send, in parts too: a mistake of the machine.
    pub messages_unsendable: u64,
    /// Datagrams in with a part of a message.
    pub parts_in: u64,
    /// Datagrams out with a part of a message.
    pub parts_out: u64,
    /// Messages in and out that were lost because someone asked for it.
    pub messages_cut: u64,
    /// Turns in which something happened.
    pub turns: u64,
    /// Turns for which the disk was flushed.
    pub commits: u64,
    dropped: [u64; Refusal::ALL.len()],
}

impl Counters {
    /// How many datagrams were dropped for this reason.
    pub fn dropped(&self, refusal: Refusal) -> u64 {
        self.dropped[refusal as usize]
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages in, {} out, {} turns, {} commits, {} datagrams dropped",
            self.messages_in,
            self.messages_out,
            self.turns,
            self.commits,
            self.dropped.iter().sum::<u64>(),
        )?;
        let dropped = Refusal::ALL.map(|refusal| (self.dropped(refusal), refusal));
        for (number, (count, refusal)) in dropped.iter().filter(|(n, _)| *n > 0).enumerate() {
            let separator = if number == 0 { ": " } else { ", " };
            write!(f, "{separator}{count} {refusal}")?;
        }
        for (count, what) in [
            (self.messages_lost, "not taken by the kernel"),
            (self.messages_unaddressed, "for unknown addresses"),
            (self.messages_unsendable, "too long to send"),
            (self.messages_cut, "cut off on purpose"),
        ] {
            if count > 0 {
                write!(f, ", {count} messages {what}")?;
            }
        }
        Ok(())
    }
}

/// What one look at the socket brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// No datagram waits.
    Nothing,
    /// One that was dropped, and counted.
    Dropped,
    /// A part of a message whose other parts are not there yet.
    Part,
    /// A message.
    Message {
        /// Who sent it, as far as one can tell without authentication.
        from: NodeId,
        /// What it says.
        message: T,
    },
}

/// A socket that never blocks, but where it is told to wait.
#[derive(Debug)]
pub struct Port {
    socket: mio::net::UdpSocket,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// No datagram waits: only then does the operating system tell of the next.
    drained: bool,
    cut: NodeSet,
    wire: Wire,
    joiner: Joiner,
    /// The number of the next message that goes in parts.
    next: u64,
    me: NodeId,
    members: BTreeMap<NodeId, SocketAddr>,
    clients: Clients,
    /// What went through.
    pub counters: Counters,
    first_drops: Vec<(Refusal, SocketAddr)>,
}

impl Port {
    /// A port for the node that `identity` names. The members are where they are said to be and
    /// nowhere else. Of others, `clients_max` are listened to, and answered where they last were.
    ///
    /// # Errors
    ///
    /// If the operating system does not let us wait for the socket.
    pub fn new(
        socket: UdpSocket,
        identity: &Identity,
        members: BTreeMap<NodeId, SocketAddr>,
        clients_max: usize,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::UdpSocket::from_std(socket);
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut socket, DATAGRAM, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WOKEN)?);
        Ok(Self {
            socket,
            poll,
            events: Events::with_capacity(2),
            waker,
            drained: false,
            cut: NodeSet::default(),
            wire: Wire::new(identity),
            joiner: Joiner::default(),
            // So that what an earlier process sent is of no message of this one.
            next: random()?,
            me: identity.node,
            members,
            clients: Clients::new(clients_max),
            counters: Counters::default(),
            first_drops: Vec::new(),
        })
    }

    /// Waits until a datagram is there, someone wakes it, a signal arrives, or the time is over.
    ///
    /// # Errors
    ///
    /// If the operating system fails to.
    pub fn wait(&mut self, longest: Duration) -> io::Result<()> {
        if !self.drained {
            return Ok(());
        }
        match self.poll.poll(&mut self.events, Some(longest)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What ends a wait, from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Loses from now on whatever passes between this node and these, and nothing else.
    pub fn cut(&mut self, others: NodeSet) {
        self.cut = others;
    }

    /// Takes the next datagram that waits, if any.
    ///
    /// # Errors
    ///
    /// If the socket fails.
    pub fn receive<T: Serialize + DeserializeOwned>(&mut self) -> io::Result<Received<T>> {
        // One more than the longest, so that a longer one is told from the longest.
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        let (length, address) = match self.socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_nothing(&error) => {
                self.drained = error.kind() == ErrorKind::WouldBlock;
                return Ok(Received::Nothing);
            }
            Err(error) => return Err(error),
        };
        self.drained = false;
        self.counters.datagrams_in += 1;
        match self.open(&buffer[..length], address) {
            Ok(Some((from, _))) if self.cut.contains(from) => {
                self.counters.messages_cut += 1;
                Ok(Received::Dropped)
            }
            Ok(Some((from, message))) => {
                self.counters.messages_in += 1;
                Ok(Received::Message { from, message })
            }
            Ok(None) => Ok(Received::Part),
            Err(refusal) => {
                if self.counters.dropped(refusal) == 0 {
                    self.first_drops.push((refusal, address));
                }
                self.counters.dropped[refusal as usize] += 1;
                Ok(Received::Dropped)
            }
        }
    }

    /// The message that a datagram carries, or completes.
    fn open<T: Serialize + DeserializeOwned>(
        &mut self,
        datagram: &[u8],
        address: SocketAddr,
    ) -> Result<Option<(NodeId, T)>, Refusal> {
        let (from, part) = match self.wire.unframe(datagram)? {
            (from, Content::Whole(payload)) => {
                let message = decode(&payload)?;
                self.admit(from, address)?;
                return Ok(Some((from, message)));
            }
            (from, Content::Part(part)) => (from, part),
        };
        // Who may not speak takes up no room.
        self.admit(from, address)?;
        self.counters.parts_in += 1;
        let sender = if self.members.contains_key(&from) {
            Sender::Member(from)
        } else {
            Sender::Client(from)
        };
        match self.joiner.join(sender, part)? {
            Some(payload) => Ok(Some((from, decode(&payload)?))),
            None => Ok(None),
        }
    }

    /// The first datagram dropped for each reason since this was last asked: to be told once, so
    /// that a mistaken configuration is seen and a flood does not fill the log.
    pub fn first_drops(&mut self) -> Vec<(Refusal, SocketAddr)> {
        core::mem::take(&mut self.first_drops)
    }

    /// Sends a message, or loses it.
    pub fn send<T: Serialize>(&mut self, to: NodeId, message: &T) {
        if self.cut.contains(to) {
            self.counters.messages_cut += 1;
            return;
        }
        let address = self.members.get(&to).copied();
        let Some(address) = address.or_else(|| self.clients.address(to)) else {
            self.counters.messages_unaddressed += 1;
            return;
        };
        let sealed = match self.wire.seal(to, message) {
            Err(Unsendable::TooLong) => {
                self.next = self.next.wrapping_add(1);
                self.wire.seal_parts(to, self.next, message)
            }
            sealed => sealed.map(|datagram| alloc::vec![datagram]),
        };
        let Ok(datagrams) = sealed else {
            self.counters.messages_unsendable += 1;
            return;
        };
        if 1 < datagrams.len() {
            self.counters.parts_out += datagrams.len() as u64;
        }
        let mut taken = datagrams
            .iter()
            .map(|datagram| self.socket.send_to(datagram, address));
        if taken.all(|taken| taken.is_ok()) {
            self.counters.messages_out += 1;
        } else {
            // No route, no room, a firewall: all are loss, which every machine here survives.
            self.counters.messages_lost += 1;
        }
    }

    /// Whether one who claims to be `from` may speak from `address`.
    fn admit(&mut self, from: NodeId, address: SocketAddr) -> Result<(), Refusal> {
        match self.members.get(&from) {
            // What we send to ourselves does not leave, so this is none of it.
            Some(_) if from == self.me => Err(Refusal::Impostor),
            Some(member) if (member.ip(), member.port()) != (address.ip(), address.port()) => {
                Err(Refusal::Impostor)
            }
            Some(_) => Ok(()),
            None if from == self.me || from.0 < MEMBERS_MAX => Err(Refusal::Stranger),
            None => self.clients.hear(from, address),
        }
    }
}

/// True of errors that say only that there is nothing to receive. An answer of the network to what
/// was sent earlier, such as that nobody listens there, is one: the message is lost, that is all.
fn is_nothing(error: &io::Error) -> bool {
    let kind = error.kind();
    [
        ErrorKind::WouldBlock,
        ErrorKind::TimedOut,
        ErrorKind::Interrupted,
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
    ]
    .contains(&kind)
}

/// Where clients last spoke from, for a bounded number of them.
#[derive(Debug)]
struct Clients {
    capacity: usize,
    moment: u64,
    heard: BTreeMap<NodeId, (u64, SocketAddr)>,
    order: BTreeMap<u64, NodeId>,
}

impl Clients {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            moment: 0,
            heard: BTreeMap::new(),
            order: BTreeMap::new(),
        }
    }

    fn address(&self, client: NodeId) -> Option<SocketAddr> {
        self.heard.get(&client).map(|(_, address)| *address)
    }

    fn hear(&mut self, client: NodeId, address: SocketAddr) -> Result<(), Refusal> {
        if self.capacity == 0 {
            return Err(Refusal::Stranger);
        }
        self.moment += 1;
        if let Some((before, _)) = self.heard.insert(client, (self.moment, address)) {
            self.order.remove(&before);
        }
        self.order.insert(self.moment, client);
        if self.heard.len() > self.capacity
            && let Some((_, silent)) = self.order.pop_first()
        {
            self.heard.remove(&silent);
        }
        Ok(())
    }
}
