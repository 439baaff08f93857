//! What a cluster is, and which node of it this is: from a TOML file, flags, or both.
//!
//! ```toml
//! cluster = 20260101         # any number that no other cluster of yours has
//! protocol = "register"
//! id = 0                     # this node, one of the members
//! data = "/var/lib/quorate"  # its own directory
//! listen = "0.0.0.0:7000"    # if not the address that the others know it by
//! admin = "127.0.0.1:9100"   # metrics and health, on HTTP, if wanted
//! read_quorum = 2            # if not a majority
//! write_quorum = 2
//! reads = "atomic"           # or "regular": faster, and weaker
//! key = "/etc/quorate/n0"    # pbft: the file of this node's secret, made by `quorate keygen`
//! # pbft: what that printed, for each member:
//! # public_keys = [{ id = 0, key = "8f40..." }, { id = 1, key = "..." }]
//! snapshot_entries = 10000   # after how many entries raft compacts its log
//! # lease_drift_ms = 30      # raft: read by a lease, see [`Settings::lease_drift_ms`]
//! spares = []                # of raft or database, who is no member at first: see `quorate client members`
//! members = [
//!     { id = 0, address = "10.0.0.1:7000", clients = "10.0.0.1:6379" },
//!     { id = 1, address = "10.0.0.2:7000", clients = "10.0.0.2:6379" },
//!     { id = 2, address = "10.0.0.3:7000", clients = "10.0.0.3:6379" },
//! ]
//! ```
//!
//! A member with an address for `clients` listens there on TCP, and speaks RESP: see [`super::front`].

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::keys::{KeyError, KeyRing, PublicKey};
use super::port::MEMBERS_MAX;
use super::served::{Served, pbft};
use super::std;
use crate::causal::Causal;
use crate::data::NodeSet;
use crate::gossip::{self, Gossip};
use crate::machine::NodeId;
use crate::membership::Membership;
use crate::pbft::Pbft;
use crate::quorum::{QuorumError, Quorums};
use crate::raft::{ELECTION_MIN_MS, Raft};
use crate::rebalance::Rebalance;
use crate::register::{Reads, Register};
use crate::store::Store;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The protocols there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The quorum register.
    Register,
    /// Raft.
    Raft,
    /// Practical Byzantine fault tolerance.
    Pbft,
    /// The strong store.
    Store,
    /// The CAP store, consistent.
    CapCp,
    /// The CAP store, available.
    CapAp,
    /// Gossip.
    Gossip,
    /// The causal store.
    Causal,
    /// Membership, and a service that one of the members runs.
    Membership,
    /// The database, on a ring that changes.
    Database,
}

impl Protocol {
    /// All of them, that of who does not say first.
    pub const ALL: [Self; 10] = [
        Self::Register,
        Self::Raft,
        Self::Pbft,
        Self::Store,
        Self::CapCp,
        Self::CapAp,
        Self::Gossip,
        Self::Causal,
        Self::Membership,
        Self::Database,
    ];

    /// The protocol of this name.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn named(name: &str) -> Result<Self, ConfigurationError> {
        let found = Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name);
        found.ok_or_else(|| ConfigurationError::UnknownProtocol(name.into()))
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => Register::NAME,
            Self::Raft => Raft::NAME,
            Self::Pbft => <Pbft<KeyRing>>::NAME,
            Self::Store => Store::NAME,
            Self::CapCp => "cap-cp",
            Self::CapAp => "cap-ap",
            Self::Gossip => Gossip::NAME,
            Self::Causal => Causal::NAME,
            Self::Membership => Membership::NAME,
            Self::Database => Rebalance::NAME,
        }
    }

    /// How many members it can have.
    pub fn members(self) -> RangeInclusive<usize> {
        match self {
            Self::Register
            | Self::Raft
            | Self::Store
            | Self::CapCp
            | Self::CapAp
            | Self::Causal
            | Self::Database => 1..=64,
            Self::Gossip => 1..=gossip::MEMBERS_MAX,
            Self::Pbft => pbft::MEMBERS_MIN..=pbft::MEMBERS_MAX,
            // One that may run the service, the authority, and the resource.
            Self::Membership => 3..=64,
        }
    }
}

/// After how many entries raft compacts its log, if nobody says.
const SNAPSHOT_ENTRIES: u32 = 10_000;

/// What a file or the flags say, each of which may leave out anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The number of the cluster.
    pub cluster: Option<u64>,
    /// The protocol, by the name of one of [`Protocol::ALL`].
    pub protocol: Option<String>,
    /// This node.
    pub id: Option<u64>,
    /// The address to listen on.
    pub listen: Option<String>,
    /// Where operators ask for metrics and health, on HTTP.
    pub admin: Option<String>,
    /// The directory of the journal.
    pub data: Option<PathBuf>,
    /// Everyone.
    pub members: Option<Vec<Member>>,
    /// Those of them who are none at first, and may become one.
    pub spares: Option<Vec<u64>>,
    /// How many answers a read needs.
    pub read_quorum: Option<usize>,
    /// How many acknowledgements a write needs.
    pub write_quorum: Option<usize>,
    /// What a get promises: `atomic` or `regular`.
    pub reads: Option<String>,
    /// The file of this node's secret key.
    pub key: Option<PathBuf>,
    /// Everyone's public keys.
    pub public_keys: Option<Vec<PublicKeyOf>>,
    /// After how many entries raft compacts its log.
    pub snapshot_entries: Option<u32>,
    /// Let the leader of raft answer gets by a lease, without asking anyone, if no clock loses more than
    /// so many milliseconds in [`ELECTION_MIN_MS`], and no process is paused past its alarms. If one does,
    /// a get may return an older value. Left out, a majority is asked, and clocks do not matter.
    pub lease_drift_ms: Option<u32>,
}

/// A member's public key, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyOf {
    /// The member's number.
    pub id: u64,
    /// 64 hexadecimal digits.
    pub key: String,
}

/// One member, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its number, from 0 to 63.
    pub id: u64,
    /// Where it is: an IP address and a port.
    pub address: String,
    /// Where it listens to clients on TCP, if it does.
    #[serde(default)]
    pub clients: Option<String>,
}

/// What everyone in a cluster knows, its clients too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its number.
    pub id: u64,
    /// What they run.
    pub protocol: Protocol,
    /// Where the members are.
    pub members: BTreeMap<NodeId, SocketAddr>,
    /// Where they listen to clients, those that do.
    pub clients: BTreeMap<NodeId, SocketAddr>,
    /// How many of them are enough; of those who are members at first.
    pub quorums: Quorums,
    /// Those who are none at first, and may become one.
    pub spares: NodeSet,
    /// What a get promises.
    pub reads: Reads,
    /// The members' public keys, as far as they are given.
    pub public_keys: BTreeMap<NodeId, PublicKey>,
    /// After how many entries raft compacts its log; not 0.
    pub snapshot_entries: u32,
    /// How much a clock may lose where raft reads by a lease; less than [`ELECTION_MIN_MS`].
    pub lease_drift_ms: Option<u32>,
}

/// What one member knows beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which one it is.
    pub node: NodeId,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it answers operators, if it does.
    pub admin: Option<SocketAddr>,
    /// Where its journal is.
    pub data: PathBuf,
    /// Where its secret key is, if it has one.
    pub key: Option<PathBuf>,
}

/// What is wrong with the settings. Nothing was started.
#[derive(Debug)]
pub enum ConfigurationError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file is not what it should be.
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// A setting is needed that nobody gave.
    Missing {
        /// Its name in the file.
        setting: &'static str,
        /// What to give.
        give: &'static str,
    },
    /// There is no such protocol.
    UnknownProtocol(String),
    /// Gets are neither atomic nor regular.
    UnknownReads(String),
    /// What should be an address is none that one can send to.
    BadAddress {
        /// Whose it is.
        whose: String,
        /// What it says.
        address: String,
    },
    /// A member's number is too large.
    IdTooLarge(u64),
    /// Two members have one number.
    DuplicateId(u64),
    /// Two members have one address.
    DuplicateAddress(NodeId, NodeId, SocketAddr),
    /// This node is none of the members.
    NotAMember(u64),
    /// Too few members are none of the spares.
    TooManySpares {
        /// Which protocol.
        protocol: Protocol,
        /// How many are none.
        count: usize,
    },
    /// A spare has no address.
    UnknownSpare(u64),
    /// The members of this protocol never change.
    NoSpares(&'static str),
    /// No lease is left if clocks may lose so much.
    LeaseDrift(u32),
    /// This protocol has no leases to read by.
    NoLease(&'static str),
    /// Some addresses are IPv4 and others IPv6, which one socket does not reach.
    MixedFamilies,
    /// The protocol cannot have so many members, or so few.
    MemberCount {
        /// Which protocol.
        protocol: Protocol,
        /// How many there are.
        count: usize,
    },
    /// The sizes make no quorum system.
    Quorum(QuorumError),
    /// A key is of no use.
    Key(KeyError),
    /// A member has no public key, and the protocol needs one of each.
    MissingPublicKey(NodeId),
    /// Two members have one public key.
    DuplicatePublicKey(NodeId, NodeId),
    /// This node's secret is not the one whose public key the others know.
    WrongKey {
        /// This node.
        node: NodeId,
        /// The file.
        path: PathBuf,
        /// The public key of what is in it.
        public: Box<PublicKey>,
    },
    /// The protocol needs members with numbers from 0 on, and nobody has this one.
    NotConsecutive(NodeId),
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(
                    f,
                    "cannot read the configuration {}: {error}",
                    path.display()
                )
            }
            Self::Malformed { path, line, why } => {
                write!(f, "{}, line {line}: {why}", path.display())
            }
            Self::Missing { setting, give } => {
                let flag = setting.replace('_', "-");
                let flag = flag.strip_suffix('s').unwrap_or(&flag);
                write!(
                    f,
                    "`{setting}` is not set: give {give}, in the configuration or by --{flag}"
                )
            }
            Self::UnknownProtocol(protocol) => write!(
                f,
                "there is no protocol `{protocol}`: choose one of {}",
                Protocol::ALL.map(Protocol::name).join(", ")
            ),
            Self::UnknownReads(reads) => write!(
                f,
                "`reads` is `{reads}`: choose `atomic`, or `regular` for gets that may return an \
                 older value after a newer one"
            ),
            Self::BadAddress { whose, address } => write!(
                f,
                "{whose} has the address `{address}`: give an IP address and a port, such as \
                 10.0.0.1:7000"
            ),
            Self::IdTooLarge(id) => write!(
                f,
                "a member has the id {id}: number the members from 0 to {}",
                MEMBERS_MAX - 1
            ),
            Self::DuplicateId(id) => {
                write!(f, "two members have the id {id}: give each its own")
            }
            Self::DuplicateAddress(one, other, address) => write!(
                f,
                "{one} and {other} both have the address {address}: give each its own"
            ),
            Self::NotAMember(id) => write!(
                f,
                "the id {id} is not among the members: list it, or set `id` to one of them"
            ),
            Self::UnknownSpare(id) => write!(
                f,
                "{id} is a spare and not among the members: list it there, with its address"
            ),
            Self::NoSpares(protocol) => write!(
                f,
                "the members of {protocol} never change: leave out `spares`, which raft and database \
                 have"
            ),
            Self::TooManySpares { protocol, count } => write!(
                f,
                "{count} of the members are no spares, and {} takes {} at least: leave some out of \
                 `spares`",
                protocol.name(),
                protocol.members().start()
            ),
            Self::LeaseDrift(drift) => write!(
                f,
                "`lease_drift_ms` is {drift}: give less than {ELECTION_MIN_MS}, the shortest election \
                 timeout, or leave it out to read without clocks"
            ),
            Self::NoLease(protocol) => write!(
                f,
                "{protocol} reads by no lease: leave out `lease_drift_ms`, which raft has"
            ),
            Self::MixedFamilies => write!(
                f,
                "some addresses are IPv4 and some IPv6: let all be of one kind"
            ),
            Self::MemberCount { protocol, count } => write!(
                f,
                "there are {count} members, and {} takes {} to {}: set `members` to so many",
                protocol.name(),
                protocol.members().start(),
                protocol.members().end()
            ),
            Self::Quorum(error) => write!(
                f,
                "{error} (set `members`, `read_quorum` and `write_quorum`)"
            ),
            Self::Key(error) => error.fmt(f),
            Self::MissingPublicKey(node) => write!(
                f,
                "{node} has no public key: give what `quorate keygen` printed for it in \
                 `public_keys`, or by --public-key {}=...",
                node.0
            ),
            Self::DuplicatePublicKey(one, other) => write!(
                f,
                "{one} and {other} have one public key: give each its own, or either can speak as \
                 both"
            ),
            Self::WrongKey { node, path, public } => write!(
                f,
                "the secret in {} is not that of {node}: its public key is {public}",
                path.display()
            ),
            Self::NotConsecutive(node) => write!(
                f,
                "no member has the id {}: number them from 0 without a gap, for so they take turns",
                node.0
            ),
        }
    }
}

impl core::error::Error for ConfigurationError {}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is no TOML, or has a setting that there is not.
    pub fn read(path: &Path) -> Result<Self, ConfigurationError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ConfigurationError::Unreadable(path.into(), error))?;
        toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            ConfigurationError::Malformed {
                path: path.into(),
                line: 1 + before.unwrap_or_default().matches('\n').count(),
                why: error.message().replace('\n', ", "),
            }
        })
    }

    /// These settings, and those of `others` where these say nothing.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            cluster: self.cluster.or(others.cluster),
            protocol: self.protocol.or(others.protocol),
            id: self.id.or(others.id),
            listen: self.listen.or(others.listen),
            admin: self.admin.or(others.admin),
            data: self.data.or(others.data),
            members: self.members.or(others.members),
            spares: self.spares.or(others.spares),
            read_quorum: self.read_quorum.or(others.read_quorum),
            write_quorum: self.write_quorum.or(others.write_quorum),
            reads: self.reads.or(others.reads),
            key: self.key.or(others.key),
            public_keys: self.public_keys.or(others.public_keys),
            snapshot_entries: self.snapshot_entries.or(others.snapshot_entries),
            lease_drift_ms: self.lease_drift_ms.or(others.lease_drift_ms),
        }
    }

    /// What they say about the cluster.
    ///
    /// # Errors
    ///
    /// The first thing that is missing or wrong.
    pub fn cluster(&self) -> Result<Cluster, ConfigurationError> {
        let id = self.cluster.ok_or(ConfigurationError::Missing {
            setting: "cluster",
            give: "a number that no other cluster of yours has",
        })?;
        let protocol = match self.protocol.as_deref() {
            None => Protocol::ALL[0],
            Some(name) => Protocol::named(name)?,
        };
        let members = self.members()?;
        let count = members.len();
        if !protocol.members().contains(&count) {
            return Err(ConfigurationError::MemberCount { protocol, count });
        }
        let clients = self.clients()?;
        let spares = self.spares(protocol, &members)?;
        let names: NodeSet = members.keys().copied().collect();
        let names = names.difference(spares);
        if !protocol.members().contains(&names.len()) {
            let count = names.len();
            return Err(ConfigurationError::TooManySpares { protocol, count });
        }
        let read = self.read_quorum.unwrap_or(names.majority());
        let write = self.write_quorum.unwrap_or(names.majority());
        let quorums = Quorums::new(names, read, write).map_err(ConfigurationError::Quorum)?;
        let reads = match self.reads.as_deref() {
            None | Some("atomic") => Reads::Atomic,
            Some("regular") => Reads::Regular,
            Some(other) => return Err(ConfigurationError::UnknownReads(other.into())),
        };
        let public_keys = self.public_keys(&members)?;
        Ok(Cluster {
            id,
            protocol,
            members,
            clients,
            quorums,
            spares,
            reads,
            public_keys,
            snapshot_entries: self.snapshot_entries.unwrap_or(SNAPSHOT_ENTRIES).max(1),
            lease_drift_ms: self.lease_drift_ms(protocol)?,
        })
    }

    fn lease_drift_ms(&self, protocol: Protocol) -> Result<Option<u32>, ConfigurationError> {
        match self.lease_drift_ms {
            Some(_) if protocol != Protocol::Raft => {
                Err(ConfigurationError::NoLease(protocol.name()))
            }
            Some(drift) if ELECTION_MIN_MS <= drift => Err(ConfigurationError::LeaseDrift(drift)),
            drift => Ok(drift),
        }
    }

    fn spares(
        &self,
        protocol: Protocol,
        members: &BTreeMap<NodeId, SocketAddr>,
    ) -> Result<NodeSet, ConfigurationError> {
        let spares = self.spares.as_deref().unwrap_or_default();
        if let Some(unknown) = spares
            .iter()
            .find(|id| !members.contains_key(&NodeId(**id)))
        {
            return Err(ConfigurationError::UnknownSpare(*unknown));
        }
        match protocol {
            Protocol::Raft | Protocol::Database => {}
            Protocol::Register
            | Protocol::Pbft
            | Protocol::Store
            | Protocol::CapCp
            | Protocol::CapAp
            | Protocol::Gossip
            | Protocol::Causal
            | Protocol::Membership => {
                if !spares.is_empty() {
                    return Err(ConfigurationError::NoSpares(protocol.name()));
                }
            }
        }
        Ok(spares.iter().copied().map(NodeId).collect())
    }

    /// What they say about this node, a member of `cluster`.
    ///
    /// # Errors
    ///
    /// The first thing that is missing or wrong.
    pub fn place(&self, cluster: &Cluster) -> Result<Place, ConfigurationError> {
        let id = self.id.ok_or(ConfigurationError::Missing {
            setting: "id",
            give: "which of the members this node is",
        })?;
        let node = NodeId(id);
        let own = *cluster
            .members
            .get(&node)
            .ok_or(ConfigurationError::NotAMember(id))?;
        let listen = match &self.listen {
            None => own,
            Some(listen) => address("`listen`", listen)?,
        };
        if listen.is_ipv4() != own.is_ipv4() {
            return Err(ConfigurationError::MixedFamilies);
        }
        let data = self.data.clone().ok_or(ConfigurationError::Missing {
            setting: "data",
            give: "a directory for this node's journal",
        })?;
        let admin = match &self.admin {
            None => None,
            Some(admin) => Some(address("`admin`", admin)?),
        };
        let key = self.key.clone();
        Ok(Place {
            node,
            listen,
            admin,
            data,
            key,
        })
    }

    fn public_keys(
        &self,
        members: &BTreeMap<NodeId, SocketAddr>,
    ) -> Result<BTreeMap<NodeId, PublicKey>, ConfigurationError> {
        let mut keys: BTreeMap<NodeId, PublicKey> = BTreeMap::new();
        for PublicKeyOf { id, key } in self.public_keys.as_deref().unwrap_or_default() {
            let node = NodeId(*id);
            if !members.contains_key(&node) {
                return Err(ConfigurationError::NotAMember(*id));
            }
            let key: PublicKey = key.parse().map_err(ConfigurationError::Key)?;
            if let Some((other, _)) = keys.iter().find(|(_, known)| **known == key) {
                return Err(ConfigurationError::DuplicatePublicKey(*other, node));
            }
            if keys.insert(node, key).is_some() {
                return Err(ConfigurationError::DuplicateId(*id));
            }
        }
        Ok(keys)
    }

    /// Once the members are known to be well.
    fn clients(&self) -> Result<BTreeMap<NodeId, SocketAddr>, ConfigurationError> {
        let mut addresses: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
        for member in self.members.as_deref().unwrap_or_default() {
            let Some(clients) = &member.clients else {
                continue;
            };
            let node = NodeId(member.id);
            let at = address(&alloc::format!("{node}, for clients,"), clients)?;
            distinct(&addresses, node, at)?;
            addresses.insert(node, at);
        }
        Ok(addresses)
    }

    fn members(&self) -> Result<BTreeMap<NodeId, SocketAddr>, ConfigurationError> {
        let members = self.members.as_deref().unwrap_or_default();
        if members.is_empty() {
            return Err(ConfigurationError::Missing {
                setting: "members",
                give: "each member's id and address",
            });
        }
        let mut addresses: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
        for member in members {
            if member.id >= MEMBERS_MAX {
                return Err(ConfigurationError::IdTooLarge(member.id));
            }
            let node = NodeId(member.id);
            let whose = node.to_string();
            let address = address(&whose, &member.address)?;
            if address.ip().is_unspecified() {
                return Err(ConfigurationError::BadAddress {
                    whose,
                    address: member.address.clone(),
                });
            }
            distinct(&addresses, node, address)?;
            if addresses.insert(node, address).is_some() {
                return Err(ConfigurationError::DuplicateId(member.id));
            }
        }
        let of_ipv4 = addresses.values().filter(|address| address.is_ipv4());
        match of_ipv4.count() {
            count if count == 0 || count == addresses.len() => Ok(addresses),
            _ => Err(ConfigurationError::MixedFamilies),
        }
    }
}

/// Nobody else has the address.
fn distinct(
    addresses: &BTreeMap<NodeId, SocketAddr>,
    node: NodeId,
    address: SocketAddr,
) -> Result<(), ConfigurationError> {
    let mut others = addresses.iter().filter(|(other, _)| **other != node);
    match others.find(|(_, at)| **at == address) {
        Some((other, _)) => Err(ConfigurationError::DuplicateAddress(*other, node, address)),
        None => Ok(()),
    }
}

fn address(whose: &str, address: &str) -> Result<SocketAddr, ConfigurationError> {
    match address.parse::<SocketAddr>() {
        Ok(parsed) if parsed.port() != 0 => Ok(parsed),
        Ok(_) | Err(_) => Err(ConfigurationError::BadAddress {
            whose: whose.into(),
            address: address.into(),
        }),
    }
}
