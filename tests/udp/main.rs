//! The adapter: the wire, the journal, the loop, and real processes on loopback.
#![cfg(feature = "udp")]

mod caller;
mod chaos;
mod commands;
mod compress;
mod converge;
mod front;
mod journal;
mod maelstrom;
mod operations;
mod pbft;
mod processes;
mod quorums;
mod resp;
mod turn;
mod wire;

use quorate::machine::NodeId;
use quorate::register::{Message, Operation, Tag, Version};
use quorate::udp::Identity;

/// Node `node` of cluster 7.
fn identity(node: u64) -> Identity {
    Identity {
        cluster: 7,
        protocol: "register/1".into(),
        terms: 0x0403_0201,
        node: NodeId(node),
    }
}

fn version(number: u64, writer: u64, value: &str) -> Version {
    Version {
        tag: Tag {
            number,
            writer: Some(NodeId(writer)),
        },
        value: Some(value.into()),
    }
}

fn store(number: u64, key: &str, value: &str) -> Message {
    Message::Store {
        operation: Operation {
            incarnation: 1,
            number,
        },
        key: key.into(),
        version: version(number + 1, 70_000, value),
    }
}

/// Splitmix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}
