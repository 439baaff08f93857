//! `quorate client`, of the register: a participant that comes, asks and goes.
//!
//! It runs the very machine that the members run, as one that is no member: it queries and stores
//! at quorums itself, over a network that loses its messages like any others. It has no disk. A
//! member needs one to remember what it promised; a client promises nothing, and what it would
//! have to remember, so as not to use a tag twice, dies with its number, which is drawn anew from
//! 64 bits each time.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::configuration::Cluster;
use super::journal::NoDisk;
use super::node::{Node, Stop};
use super::port::{Counters, Port};
use super::served::Served as _;
use super::{random, std};
use crate::machine::NodeId;
use crate::register::{Call, Durable, Event, Refusal, Register};
use std::net::UdpSocket;
use std::time::Instant;

/// The numbers of clients are not smaller than this, so that nobody takes them for members.
pub const CLIENT_ID_MIN: u64 = 1 << 16;

/// One client of a cluster. It does one thing at a time; for more at once, use more clients.
#[derive(Debug)]
pub struct Client {
    cluster: Cluster,
    node: Node<Register, NoDisk>,
    next_ticket: u64,
}

/// Why a call did not return.
#[derive(Debug)]
pub enum ClientError {
    /// A put was not acknowledged in time. It may have taken effect, or do so later, or never.
    Unknown,
    /// A get was not answered in time. It has no effect that anyone could see.
    Unanswered,
    /// The call was not begun, and has no effect.
    Refused(Refusal),
    /// The client itself failed. A put may have taken effect, or do so later, or never.
    Stopped(Stop),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(
                f,
                "unknown outcome: no quorum acknowledged the put in time; it may or may not take \
                 effect, now or later"
            ),
            Self::Unanswered => write!(
                f,
                "no answer: no quorum answered the get in time; see whether enough members are up \
                 and whether cluster, members and quorum sizes are theirs"
            ),
            Self::Refused(Refusal::Busy) => write!(f, "too many calls are under way"),
            Self::Refused(Refusal::TooLong) => write!(
                f,
                "the key or the value is too long: at most {} and {} bytes fit a datagram",
                crate::register::KEY_BYTES_MAX,
                crate::register::VALUE_BYTES_MAX
            ),
            Self::Stopped(stop) => stop.fmt(f),
        }
    }
}

impl core::error::Error for ClientError {}

impl From<Stop> for ClientError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl Client {
    /// A client of `cluster`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If the operating system gives no socket, or no randomness.
    pub fn connect(cluster: &Cluster) -> Result<Self, ClientError> {
        Ok(Self {
            cluster: cluster.clone(),
            node: boot(cluster)?,
            next_ticket: 0,
        })
    }

    /// The value of `key`; none if nobody wrote it.
    ///
    /// # Errors
    ///
    /// If a quorum does not answer in time, or the key is too long.
    pub fn get(&mut self, key: &str, timeout: Duration) -> Result<Option<String>, ClientError> {
        let ticket = self.ticket();
        let key = key.to_string();
        match self.call(ticket, Call::Get { ticket, key }, timeout)? {
            Some(Event::Got { value, .. }) => Ok(value),
            Some(Event::Refused { refusal, .. }) => Err(ClientError::Refused(refusal)),
            Some(Event::Done { .. }) | None => Err(ClientError::Unanswered),
        }
    }

    /// Lets `key` have `value`.
    ///
    /// # Errors
    ///
    /// If a quorum does not acknowledge it in time, or one of the two is too long.
    pub fn put(&mut self, key: &str, value: &str, timeout: Duration) -> Result<(), ClientError> {
        let ticket = self.ticket();
        let call = Call::Put {
            ticket,
            key: key.to_string(),
            value: value.to_string(),
        };
        match self.call(ticket, call, timeout)? {
            Some(Event::Done { .. }) => Ok(()),
            Some(Event::Refused { refusal, .. }) => Err(ClientError::Refused(refusal)),
            Some(Event::Got { .. }) | None => Err(ClientError::Unknown),
        }
    }

    /// What it sent and received, since it last gave up on a call.
    pub fn counters(&self) -> &Counters {
        self.node.counters()
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Makes the call and awaits its event; none if it does not come in time. The client is then
    /// booted anew under another number: it lets go of the call, so that no retry of it disturbs
    /// what is asked next.
    fn call(
        &mut self,
        ticket: u64,
        call: Call,
        timeout: Duration,
    ) -> Result<Option<Event>, ClientError> {
        let started = Instant::now();
        let mut calls = Some(call);
        loop {
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                self.node = boot(&self.cluster)?;
                return Ok(None);
            }
            let events: Vec<Event> = self.node.turn(calls.take(), left)?;
            let ours = |event: &Event| match event {
                Event::Done { ticket: of }
                | Event::Got { ticket: of, .. }
                | Event::Refused { ticket: of, .. } => *of == ticket,
            };
            if let Some(event) = events.into_iter().find(ours) {
                return Ok(Some(event));
            }
        }
    }
}

fn boot(cluster: &Cluster) -> Result<Node<Register, NoDisk>, Stop> {
    let me = NodeId(random()?.max(CLIENT_ID_MIN));
    let mut members = cluster.members.values();
    let local: IpAddr = match (
        members.all(|member| member.ip().is_loopback()),
        cluster.members.values().all(core::net::SocketAddr::is_ipv4),
    ) {
        (true, true) => Ipv4Addr::LOCALHOST.into(),
        (true, false) => Ipv6Addr::LOCALHOST.into(),
        (false, true) => Ipv4Addr::UNSPECIFIED.into(),
        (false, false) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0))?;
    let port = Port::new(
        socket,
        &Register::identity(cluster, me),
        cluster.members.clone(),
        0,
    )?;
    let machine = Register::machine(cluster, me);
    let (node, _) = Node::boot(machine, me, Durable::default(), NoDisk, port, random()?)?;
    Ok(node)
}
