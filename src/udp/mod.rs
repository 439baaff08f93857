//! The adapter: any [`Machine`] as a process that speaks UDP and keeps a journal.
//!
//! It adds nothing to a protocol. It decodes, steps, persists, sends and rings; what a node says
//! and when is the machine's business, and the machine is the very one that was checked. This is
//! the only part of the library that names `std`.
//!
//! # Reading order
//!
//! 1. [`turn`]: a machine, its state and its alarms in memory, moved on turn by turn.
//! 2. [`cycle`]: the loop, on whatever socket and disk. It names no clock, no socket and no file, so
//!    that three can drive it: [`serve`] on real ones, the models' simulator on those it makes up from
//!    a seed, and [`recording`], which replays what a node heard.
//! 3. [`wire`], [`parts`] and [`port`]: one datagram, messages of several, and one socket with those who
//!    are behind it; [`compress`]: what is long.
//! 4. [`journal`]: what makes a change durable, and what refuses to forget; [`flush`]: its thread.
//! 5. [`served`]: what each protocol tells the adapter; [`front`], [`resp`] and [`desk`]: clients on
//!    TCP; [`member`]: the loop and the desk.
//! 6. [`metrics`] and [`admin`]: what is counted, and who is told.
//! 7. [`keys`]: who said what, where members may lie.
//! 8. [`configuration`], [`serve`], [`client`], [`node`], [`caller`],
//!    [`remote`], [`demo`]: the commands.
//! 9. [`maelstrom`]: the same machines where Jepsen's Maelstrom is the network.
//!
//! # What it holds to
//!
//! - **Nothing leaves before the disk has what it rests on.** [`cycle::Cycle::turn`] says what the disk
//!   has, and [`crate::machine::Sealed`] lets no other order compile.
//! - **A node that forgot is not a fresh node.** A missing, damaged or foreign journal is refused.
//!   Only `--bootstrap` begins a new one, and only where there is none.
//! - **After a failed write, stop.** What the disk then holds is unknown until it is read again.
//! - **Any datagram is legal.** What cannot be used is dropped and counted, by [`wire::Refusal`].
//! - **Memory is bounded whatever arrives.** A turn takes a stated number of datagrams, a stated number
//!   of turns waits for the disk, the addresses of a stated number of clients are remembered, and so
//!   are connections, requests and calls. A datagram that is too much is dropped; a client is told
//!   `-BUSY`.
//! - **An unknown outcome is said to be one.** A client is never told that what may have happened did not.
//!
//! # What it leaves out, for now
//!
//! Authentication and encryption: anyone who can send a datagram to a node, and who knows the
//! cluster's id and terms, can speak as a client, and, from its address, as a member. So: a trusted
//! network only. [`wire::Wire::seal`] and [`wire::Wire::open`] are where it will go. (PBFT needs none of
//! it to be safe: it believes what is signed, whoever sends it.)

extern crate std;

pub mod admin;
pub mod caller;
pub mod client;
pub mod compress;
pub mod configuration;
pub mod cycle;
pub mod demo;
pub mod desk;
pub mod flush;
pub mod front;
pub mod journal;
pub mod keys;
pub mod maelstrom;
pub mod member;
pub mod metrics;
pub mod node;
pub mod parts;
pub mod port;
pub mod recording;
pub mod remote;
pub mod resp;
pub mod serve;
pub mod served;
pub mod turn;
pub mod wire;

use alloc::format;
use alloc::string::String;

use serde::Serialize;

#[cfg(doc)]
use crate::machine::Machine;
use crate::machine::NodeId;

/// Who a process is: what its datagrams and its journal are labelled with, so that nobody takes
/// them for those of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, by the number that its operator gave it.
    pub cluster: u64,
    /// The protocol and the version of its encoding, such as `register/1`.
    pub protocol: String,
    /// A digest of the protocol and of all else that everyone in the cluster has to agree on.
    pub terms: u32,
    /// The node.
    pub node: NodeId,
}

impl Identity {
    /// The identity of `node` in a cluster. `terms` is what everyone in it has to agree on beside
    /// the protocol: who the members are, how large the quorums. A node that believes otherwise
    /// would count answers that mean something else, so it is not listened to, and it is not
    /// started on a journal written under other terms.
    pub fn new(cluster: u64, protocol: &str, terms: &impl Serialize, node: NodeId) -> Self {
        let agreed = postcard::to_stdvec(&(protocol, terms))
            .expect("plain data in memory always has an encoding");
        Self {
            cluster,
            protocol: protocol.into(),
            terms: crc32fast::hash(&agreed),
            node,
        }
    }
}

/// A number that nobody can foresee.
fn random() -> std::io::Result<u64> {
    getrandom::u64().map_err(|error| std::io::Error::other(format!("no random numbers: {error}")))
}
