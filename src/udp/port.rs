//! One UDP socket, who is behind it, and what went through it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::fmt::{self, Debug};
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Identity;
use super::metrics::{Page, Types};
use super::std;
use super::wire::{DATAGRAM_BYTES_MAX, Refusal, Unsendable, Wire};
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
    /// Messages too long for a datagram: a mistake of the machine.
    pub messages_unsendable: u64,
    /// Messages in and out that were lost because someone asked for it.
    pub messages_cut: u64,
    /// Messages handed to the machine, by their type.
    pub received: Types,
    /// Messages handed to the kernel, by their type.
    pub sent: Types,
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

    /// All of them, as metrics.
    pub fn metrics(&self, page: &mut Page) {
        page.types("quorate_messages_received_total", &self.received);
        page.types("quorate_messages_sent_total", &self.sent);
        for (why, count) in [
            ("not taken by the kernel", self.messages_lost),
            ("unknown address", self.messages_unaddressed),
            ("too long", self.messages_unsendable),
            ("cut off on purpose", self.messages_cut),
        ] {
            let labels = [("why", why)];
            page.value("quorate_messages_lost_total", "counter", &labels, count);
        }
        let name = "quorate_datagrams_received_total";
        page.value(name, "counter", &[], self.datagrams_in);
        for refusal in Refusal::ALL {
            let reason = format!("{refusal}");
            let labels = [("reason", reason.as_str())];
            let count = self.dropped(refusal);
            page.value("quorate_datagrams_dropped_total", "counter", &labels, count);
        }
        page.value("quorate_turns_total", "counter", &[], self.turns);
        page.value("quorate_commits_total", "counter", &[], self.commits);
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
    /// A message.
    Message {
        /// Who sent it, as far as one can tell without authentication.
        from: NodeId,
        /// What it says.
        message: T,
    },
}

/// What carries datagrams, and loses them as it likes. It never blocks.
pub trait Socket {
    /// Takes the next datagram that waits: how long it is, and whence it came. Of one that is longer
    /// than `buffer`, the end is lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] and its like if none waits; any other if the socket fails.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// If it was not taken, which is as if it were lost.
    fn send(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<()>;
}

/// A socket of the operating system, which can be waited for.
#[derive(Debug)]
pub struct Udp {
    socket: mio::net::UdpSocket,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// No datagram waits: only then does the operating system tell of the next.
    drained: bool,
}

impl Udp {
    /// Makes the socket ready to be waited for.
    ///
    /// # Errors
    ///
    /// If the operating system does not let us.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
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
        })
    }
}

impl Socket for Udp {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.socket.recv_from(buffer);
        self.drained = matches!(&received, Err(error) if error.kind() == ErrorKind::WouldBlock);
        received
    }

    fn send(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, to).map(|_| ())
    }
}

/// One socket, and who is behind it.
#[derive(Debug)]
pub struct Port<S = Udp> {
    socket: S,
    cut: NodeSet,
    wire: Wire,
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
        Ok(Self::on(Udp::new(socket)?, identity, members, clients_max))
    }

    /// Waits until a datagram is there, someone wakes it, a signal arrives, or the time is over.
    ///
    /// # Errors
    ///
    /// If the operating system fails to.
    pub fn wait(&mut self, longest: Duration) -> io::Result<()> {
        if self.socket.drained {
            self.wait_until_woken(longest)?;
        }
        Ok(())
    }

    /// The same, but that datagrams which are there already do not end it: for one who would not take
    /// them.
    ///
    /// # Errors
    ///
    /// If the operating system fails to.
    pub fn wait_until_woken(&mut self, longest: Duration) -> io::Result<()> {
        let Udp { poll, events, .. } = &mut self.socket;
        match poll.poll(events, Some(longest)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What ends a wait, from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.socket.waker)
    }
}

impl<S: Socket> Port<S> {
    /// The same as [`Port::new`], on any socket.
    pub fn on(
        socket: S,
        identity: &Identity,
        members: BTreeMap<NodeId, SocketAddr>,
        clients_max: usize,
    ) -> Self {
        Self {
            socket,
            cut: NodeSet::default(),
            wire: Wire::new(identity),
            me: identity.node,
            members,
            clients: Clients::new(clients_max),
            counters: Counters::default(),
            first_drops: Vec::new(),
        }
    }

    /// The socket.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
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
    pub fn receive<T: Debug + Serialize + DeserializeOwned>(&mut self) -> io::Result<Received<T>> {
        // One more than the longest, so that a longer one is told from the longest.
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        let (length, address) = match self.socket.receive(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_nothing(&error) => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        self.counters.datagrams_in += 1;
        let opened = self.wire.open(&buffer[..length]);
        match opened.and_then(|(from, message)| self.admit(from, address).map(|()| (from, message)))
        {
            Ok((from, _)) if self.cut.contains(from) => {
                self.counters.messages_cut += 1;
                Ok(Received::Dropped)
            }
            Ok((from, message)) => {
                self.counters.messages_in += 1;
                self.counters.received.count(&message);
                Ok(Received::Message { from, message })
            }
            Err(refusal) => {
                if self.counters.dropped(refusal) == 0 {
                    self.first_drops.push((refusal, address));
                }
                self.counters.dropped[refusal as usize] += 1;
                Ok(Received::Dropped)
            }
        }
    }

    /// The first datagram dropped for each reason since this was last asked: to be told once, so
    /// that a mistaken configuration is seen and a flood does not fill the log.
    pub fn first_drops(&mut self) -> Vec<(Refusal, SocketAddr)> {
        core::mem::take(&mut self.first_drops)
    }

    /// Sends a message, or loses it.
    pub fn send<T: Debug + Serialize>(&mut self, to: NodeId, message: &T) {
        if self.cut.contains(to) {
            self.counters.messages_cut += 1;
            return;
        }
        let address = self.members.get(&to).copied();
        let Some(address) = address.or_else(|| self.clients.address(to)) else {
            self.counters.messages_unaddressed += 1;
            return;
        };
        let datagram = match self.wire.seal(to, message) {
            Ok(datagram) => datagram,
            Err(Unsendable::TooLong | Unsendable::Unencodable) => {
                self.counters.messages_unsendable += 1;
                return;
            }
        };
        match self.socket.send(&datagram, address) {
            Ok(()) => {
                self.counters.messages_out += 1;
                self.counters.sent.count(message);
            }
            // No route, no room, a firewall: all are loss, which every machine here survives.
            Err(_) => self.counters.messages_lost += 1,
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
