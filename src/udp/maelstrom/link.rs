//! Who the nodes are, and the socket between them: datagrams that travel in messages.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

use super::message::{Code, Failure, Message};
use crate::machine::NodeId;
use crate::udp::configuration::{Cluster, Member, Settings};
use crate::udp::port::{MEMBERS_MAX, Socket};
use crate::udp::std;
use std::io::{self, ErrorKind};

/// The number of every cluster: there is one on such a network.
const CLUSTER: u64 = 1;

/// The names of all nodes, sorted, and which of them this one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    names: Vec<String>,
    me: usize,
}

impl Names {
    /// As an `init` says them.
    ///
    /// # Errors
    ///
    /// If it does not, or nobody could tell the nodes apart.
    pub(super) fn read(init: &Message) -> Result<Self, Failure> {
        let me = init.text("node_id")?;
        let wrong = || Failure::malformed("`node_ids` is no list of names");
        let names = init.field("node_ids")?.as_array().ok_or_else(wrong)?;
        let names = names.iter().map(|name| name.as_str().map(Into::into));
        let mut names: Vec<String> = names.collect::<Option<_>>().ok_or_else(wrong)?;
        names.sort_unstable();
        if !names.is_sorted_by(|one, next| one < next) {
            return Err(Failure::malformed("`node_ids` has a name twice"));
        }
        if names.len() as u64 > MEMBERS_MAX {
            let text = alloc::format!("there are more than {MEMBERS_MAX} nodes");
            return Err(Failure::new(Code::NotSupported, &text));
        }
        match names.binary_search_by(|name| name.as_str().cmp(me)) {
            Ok(me) => Ok(Self { names, me }),
            Err(_) => Err(Failure::malformed("`node_id` is not among `node_ids`")),
        }
    }

    /// This node.
    pub(super) fn me(&self) -> NodeId {
        NodeId(self.me as u64)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.names[self.me]
    }

    /// The node of this name.
    pub(super) fn node(&self, name: &str) -> Option<NodeId> {
        let place = self
            .names
            .binary_search_by(|other| other.as_str().cmp(name));
        place.ok().map(|place| NodeId(place as u64))
    }

    /// The name of this node.
    pub(super) fn name_of(&self, node: NodeId) -> Option<&str> {
        let place = usize::try_from(node.0).ok()?;
        self.names.get(place).map(String::as_str)
    }

    /// The cluster that they are, which runs this protocol.
    ///
    /// # Errors
    ///
    /// If it cannot have so many members.
    pub(super) fn cluster(&self, protocol: &str) -> Result<Cluster, Failure> {
        let member = |id| Member {
            id,
            address: address(NodeId(id)).to_string(),
            clients: None,
        };
        let settings = Settings {
            cluster: Some(CLUSTER),
            protocol: Some(protocol.into()),
            members: Some((0..self.names.len() as u64).map(member).collect()),
            ..Settings::default()
        };
        let cluster = settings.cluster();
        cluster.map_err(|error| Failure::new(Code::NotSupported, &error.to_string()))
    }
}

/// Where a node is to the port, which knows whom it hears by that. Nobody listens there.
fn address(node: NodeId) -> SocketAddr {
    let port = u16::try_from(node.0 + 1).unwrap_or(u16::MAX);
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A socket: what arrived, and what is to leave.
#[derive(Debug)]
pub(super) struct Link {
    nodes: BTreeMap<SocketAddr, NodeId>,
    arrived: VecDeque<(SocketAddr, Vec<u8>)>,
    leaving: Vec<(NodeId, Vec<u8>)>,
}

impl Link {
    /// One that reaches all of the cluster.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let nodes = cluster.members.iter();
        Self {
            nodes: nodes.map(|(node, address)| (*address, *node)).collect(),
            arrived: VecDeque::new(),
            leaving: Vec::new(),
        }
    }

    /// A datagram arrives, by whoever carries them. A turn follows, so that few are here at a time.
    pub(super) fn hears(&mut self, from: NodeId, datagram: Vec<u8>) {
        self.arrived.push_back((address(from), datagram));
    }

    /// What is to be carried, and to whom.
    pub(super) fn says(&mut self) -> Vec<(NodeId, Vec<u8>)> {
        core::mem::take(&mut self.leaving)
    }
}

impl Socket for Link {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let arrived = self.arrived.pop_front();
        let (address, datagram) = arrived.ok_or(ErrorKind::WouldBlock)?;
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok((length, address))
    }

    fn send(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let node = self.nodes.get(&to).ok_or(ErrorKind::HostUnreachable)?;
        self.leaving.push((*node, datagram.to_vec()));
        Ok(())
    }
}
