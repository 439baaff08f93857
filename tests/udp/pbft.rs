//! PBFT over UDP: keys and signatures, long messages, and a real traitor among real members.

mod cluster;
mod keys;
mod long;

use std::collections::BTreeMap;

use quorate::kv::{Operation, Session};
use quorate::machine::{Input, NodeId, Output, State, Step, step};
use quorate::pbft::{
    Assignment, Digest, Keys as _, Message, Pbft, Reads, Request, Sequence, Signed, Sizes, View,
    Watermarks,
};
use quorate::udp::keys::{KeyRing, PublicKey, SecretKey};

type Machine = Pbft<KeyRing>;

const CLUSTER: u64 = 7;

/// The secrets of as many members, and what everyone knows of them.
fn secrets(count: u64) -> (Vec<SecretKey>, BTreeMap<NodeId, PublicKey>) {
    let secrets: Vec<SecretKey> = (0..count).map(|_| SecretKey::generate().unwrap()).collect();
    let public = (0..).map(NodeId).zip(secrets.iter().map(SecretKey::public));
    let public = public.collect();
    (secrets, public)
}

/// The rings of four members of a cluster.
fn rings(cluster: u64) -> Vec<KeyRing> {
    let (secrets, public) = secrets(4);
    rings_of(cluster, &secrets, &public)
}

fn rings_of(
    cluster: u64,
    secrets: &[SecretKey],
    public: &BTreeMap<NodeId, PublicKey>,
) -> Vec<KeyRing> {
    let secrets = (0..).map(NodeId).zip(secrets);
    secrets
        .map(|(node, secret)| KeyRing::new(cluster, node, secret.clone(), public.clone()))
        .collect()
}

fn machine(ring: &KeyRing, me: u64) -> Machine {
    Pbft {
        me: NodeId(me),
        sizes: Sizes::of(4),
        keys: ring.clone(),
        watermarks: Watermarks {
            interval: 2,
            window: 4,
        },
        batch_requests_max: 4,
        orders_max: 4,
        reads: Reads::Optimistic,
    }
}

fn hears(
    machine: &Machine,
    state: State<Machine>,
    from: u64,
    message: Message,
) -> (State<Machine>, Vec<Output<Machine>>) {
    let from = NodeId(from);
    let Step { state, sealed } = step(machine, state, Input::Message { from, message });
    let outputs = sealed.persist(|_| Ok::<(), ()>(()));
    (state, outputs.expect("the disk is well"))
}

fn put(ring: &KeyRing, by: u64, client: u64, value: &str) -> Signed<Request> {
    let session = Session { client, serial: 1 };
    let operation = Operation::Put {
        key: "x".into(),
        value: value.into(),
    };
    ring.signed(NodeId(by), Request { session, operation })
}

fn assignment(view: u64, sequence: u64, digest: Digest) -> Assignment {
    Assignment {
        view: View(view),
        sequence: Sequence(sequence),
        digest,
    }
}
