//! PBFT over UDP: keys, signatures, long messages, and a real traitor among real members.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate::data::Map;
use quorate::kv::{Operation, Reply, Session};
use quorate::machine::{Input, NodeId, Output, State, Step, boot, step};
use quorate::pbft::{
    Answer, Assignment, BATCH_BYTES_MAX, Batch, Call, Certificate, Checkpoint, Commit, Digest,
    Durable, Entry, Event, Keys, Message, NewView, OPERATION_BYTES_MAX, PAGE_BYTES_MAX, Page, Pbft,
    PrePrepare, Prepare, Proof, Reading, Reads, Request, Sequence, Service, Signature, Signed,
    Sizes, Snapshot, Stable, Statement, View, ViewChange, Watermarks,
};
use quorate::udp::Identity;
use quorate::udp::configuration::{Cluster, Member, Protocol, PublicKeyOf, Settings};
use quorate::udp::demo::traitor::Traitor;
use quorate::udp::journal::Journal;
use quorate::udp::keys::{KeyError, KeyRing, PublicKey, SecretKey};
use quorate::udp::node::Node;
use quorate::udp::parts::{
    CLIENT_MESSAGES_MAX, Joiner, MEMBER_MESSAGES_MAX, MESSAGE_BYTES_MAX, PART_BYTES_MAX,
    PART_HEADER_BYTES, Sender as Share, cut,
};
use quorate::udp::port::{CLIENTS_MAX, Port};
use quorate::udp::served::Served as _;
use quorate::udp::served::pbft::{MEMBERS_MAX, MEMBERS_MIN, new_view_bytes_max, watermarks};
use quorate::udp::wire::{Content, DATAGRAM_BYTES_MAX, FRAME_BYTES, Refusal, Wire};
use tempfile::TempDir;

use crate::Random;
use crate::processes::{free_addresses, quorate};

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

#[test]
fn a_key_is_kept_in_a_file_that_nobody_else_may_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("n0.key");
    let secret = SecretKey::generate().unwrap();
    secret.write(&path).unwrap();
    assert_eq!(SecretKey::read(&path).unwrap().public(), secret.public());
    assert!(matches!(secret.write(&path), Err(KeyError::Exists(_))));
    assert!(!format!("{secret:?}").contains(&fs::read_to_string(&path).unwrap()[10..74]));

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SecretKey::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Exposed(_, 0o640)), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    for wrong in [
        "",
        "secret = \"00\"",
        "secret = 7",
        "public = \"x\"",
        "\u{0}",
    ] {
        fs::write(&path, wrong).unwrap();
        let error = SecretKey::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Malformed(_)), "{wrong}: {error}");
    }
    let nowhere = SecretKey::read(&directory.path().join("none")).unwrap_err();
    assert!(nowhere.to_string().contains("quorate keygen"), "{nowhere}");
}

#[test]
fn a_public_key_is_64_digits_and_none_that_fits_anything() {
    let key = SecretKey::generate().unwrap().public();
    assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    // The neutral element: a signature of it verifies under any statement.
    let weak = format!("01{}", "0".repeat(62));
    for wrong in ["", "00", &weak, &"zz".repeat(32), &"0".repeat(66)] {
        assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
    }
}

/// Every kind of statement, signed by `ring` and shown to `judge`: whether it believes it, by kind.
fn believed(signer: &KeyRing, judge: &KeyRing, by: u64) -> Vec<bool> {
    fn judged<T: Statement>(signer: &KeyRing, judge: &KeyRing, by: u64, value: T) -> bool {
        judge.is_genuine(&signer.signed(NodeId(by), value))
    }
    let request = put(signer, by, 1, "A").value;
    let answer = Answer {
        view: View(0),
        client: NodeId(0),
        session: request.session,
        reply: Reply::Done,
    };
    let one = assignment(0, 1, Digest([7; 32]));
    let checkpoint = Checkpoint {
        sequence: Sequence(2),
        digest: Digest([7; 32]),
    };
    let change = ViewChange {
        view: View(1),
        stable: None,
        prepared: Vec::new(),
    };
    let new_view = NewView {
        view: View(1),
        changes: Map::default(),
        pre_prepares: Vec::new(),
    };
    vec![
        judged(signer, judge, by, request),
        judged(signer, judge, by, answer.clone()),
        judged(signer, judge, by, Reading(answer)),
        judged(signer, judge, by, PrePrepare(one)),
        judged(signer, judge, by, Prepare(one)),
        judged(signer, judge, by, Commit(one)),
        judged(signer, judge, by, checkpoint),
        judged(signer, judge, by, change),
        judged(signer, judge, by, new_view),
    ]
}

#[test]
fn a_signature_is_of_one_node_in_one_cluster() {
    let (secrets, public) = secrets(4);
    let ours = rings_of(CLUSTER, &secrets, &public);
    let theirs = rings_of(CLUSTER + 1, &secrets, &public);
    assert_eq!(believed(&ours[1], &ours[0], 1), [true; 9]);
    assert_eq!(
        believed(&theirs[1], &ours[0], 1),
        [false; 9],
        "of another cluster"
    );
    assert_eq!(
        believed(&ours[1], &ours[0], 2),
        [false; 9],
        "of another node"
    );
    assert_eq!(believed(&ours[1], &ours[0], 9), [false; 9], "of nobody");
    let mute = KeyRing::without_secret(CLUSTER, NodeId(1), public);
    assert_eq!(believed(&mute, &ours[0], 1), [false; 9], "without a secret");
    assert_eq!(ours[0].tallied().refused, 36);
    assert_eq!(ours[0].tallied().verified, 9);
}

#[test]
fn a_signature_is_of_one_kind_of_statement() {
    let rings = rings(CLUSTER);
    let one = assignment(0, 1, Digest([7; 32]));
    let signatures = [
        rings[1].sign(&PrePrepare(one)),
        rings[1].sign(&Prepare(one)),
        rings[1].sign(&Commit(one)),
    ];
    for (made, signature) in signatures.iter().enumerate() {
        let by = NodeId(1);
        let believed = [
            rings[0].verify(by, &PrePrepare(one), signature),
            rings[0].verify(by, &Prepare(one), signature),
            rings[0].verify(by, &Commit(one), signature),
        ];
        let expected: Vec<bool> = (0..3).map(|kind| kind == made).collect();
        assert_eq!(believed.as_slice(), expected);
    }
    // All of these have one encoding: only the kind tells them apart.
    assert_eq!(signatures.iter().collect::<BTreeSet<_>>().len(), 3);
}

/// A backup in a state where it would act on each of these messages, if it were as it says.
fn signed_messages(rings: &[KeyRing]) -> (Machine, State<Machine>, Vec<(u64, Message)>) {
    let machine = machine(&rings[1], 1);
    let batch = Batch(vec![put(&rings[2], 2, 5, "A")]);
    let digest = rings[0].digest(&batch);
    let one = assignment(0, 1, digest);
    let order = Message::PrePrepare {
        order: rings[0].signed(NodeId(0), PrePrepare(one)),
        batch,
    };
    let state = boot(&machine, Durable::default()).state;
    let (state, _) = hears(&machine, state, 0, order);
    let second = Batch(vec![put(&rings[3], 3, 6, "B")]);
    let next = assignment(0, 2, rings[0].digest(&second));
    let change = |by: usize, view| {
        let change = ViewChange {
            view: View(view),
            stable: None,
            prepared: Vec::new(),
        };
        rings[by].signed(NodeId(by as u64), change)
    };
    let changes = [0, 2, 3].map(|by| (NodeId(by), change(usize::try_from(by).unwrap(), 2)));
    let new_view = NewView {
        view: View(2),
        changes: changes.into_iter().collect(),
        pre_prepares: Vec::new(),
    };
    let checkpoint = Checkpoint {
        sequence: Sequence(2),
        digest: Digest([7; 32]),
    };
    let messages = vec![
        (2, Message::Request(put(&rings[2], 2, 9, "C"))),
        (
            0,
            Message::PrePrepare {
                order: rings[0].signed(NodeId(0), PrePrepare(next)),
                batch: second,
            },
        ),
        (
            2,
            Message::Prepare(rings[2].signed(NodeId(2), Prepare(one))),
        ),
        (3, Message::Commit(rings[3].signed(NodeId(3), Commit(one)))),
        (
            3,
            Message::Checkpoint(rings[3].signed(NodeId(3), checkpoint)),
        ),
        (3, Message::ViewChange(change(3, 1))),
        (2, Message::NewView(rings[2].signed(NodeId(2), new_view))),
    ];
    (machine, state, messages)
}

#[test]
fn a_flipped_bit_anywhere_in_a_signed_message_changes_nothing() {
    let rings = rings(CLUSTER);
    let (machine, state, messages) = signed_messages(&rings);
    for (from, message) in messages {
        let (after, outputs) = hears(&machine, state.clone(), from, message.clone());
        assert!(
            after != state || !outputs.is_empty(),
            "it matters: {message:?}"
        );
        let bytes = postcard::to_stdvec(&message).unwrap();
        let (mut refused, mut unreadable) = (0, 0);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok((read, [])) = postcard::take_from_bytes::<Message>(&flipped) else {
                unreadable += 1;
                continue;
            };
            if postcard::to_stdvec(&read).unwrap() != flipped {
                unreadable += 1; // The wire drops what is not canonical.
                continue;
            }
            let before = rings[1].tallied().refused;
            let (after, outputs) = hears(&machine, state.clone(), from, read.clone());
            assert!(after == state, "bit {bit} of {message:?} gives {read:?}");
            assert!(
                outputs.is_empty(),
                "bit {bit} of {message:?} says {outputs:?}"
            );
            let counted = rings[1].tallied().refused - before;
            assert!(
                counted <= 1,
                "the first signature that is wrong is the last that is looked at"
            );
            refused += usize::from(counted == 1);
        }
        // The signature alone has 512 bits; what was not counted is of another time or place.
        assert!(
            512 <= refused,
            "{refused} refused, {unreadable} unreadable: {message:?}"
        );
    }
}

#[test]
fn what_was_heard_once_changes_nothing_again() {
    let rings = rings(CLUSTER);
    let (machine, state, messages) = signed_messages(&rings);
    for (from, message) in messages {
        let (once, _) = hears(&machine, state.clone(), from, message.clone());
        let (twice, said) = hears(&machine, once.clone(), from, message.clone());
        assert!(twice == once, "{message:?}");
        let own = said.iter().filter(|output| match output {
            // A request that waits is passed on to the primary each time that a client asks.
            Output::Send { message, .. } => !matches!(message, Message::Request(_)),
            Output::Arm(_) | Output::Disarm(_) | Output::Event(_) => true,
        });
        assert_eq!(own.count(), 0, "{message:?}: {said:?}");
    }
}

#[test]
fn what_is_of_an_earlier_view_is_dropped_without_looking_at_its_signature() {
    let rings = rings(CLUSTER);
    let (machine, state, messages) = signed_messages(&rings);
    let (new_view, old): (Vec<_>, Vec<_>) =
        (messages.into_iter()).partition(|(_, message)| matches!(message, Message::NewView(_)));
    let (state, _) = hears(&machine, state, 2, new_view[0].1.clone());
    assert_eq!(state.durable.view, View(2));
    for (from, message) in old {
        let is_timeless = matches!(message, Message::Request(_) | Message::Checkpoint(_));
        if is_timeless {
            continue;
        }
        let before = rings[1].tallied();
        let (after, said) = hears(&machine, state.clone(), from, message.clone());
        assert!(after == state && said.is_empty(), "{message:?}");
        let after = rings[1].tallied();
        assert_eq!(
            (after.verified, after.refused),
            (before.verified, before.refused)
        );
    }
}

#[test]
fn a_watermark_never_falls() {
    let rings = rings(CLUSTER);
    let machine = machine(&rings[1], 1);
    let stable = |sequence: u64| {
        let service = Service {
            executed: Sequence(sequence),
            ..Service::default()
        };
        let snapshot = Snapshot::of(&rings[0], service);
        let checkpoint = snapshot.checkpoint();
        let signatures = [0, 2, 3].map(|by| {
            let ring = &rings[usize::try_from(by).unwrap()];
            (NodeId(by), ring.sign(&checkpoint))
        });
        let stable = Stable {
            checkpoint,
            proof: rings[0].join(signatures.to_vec()),
        };
        (stable, snapshot.page(0).unwrap())
    };
    let (later, _) = stable(4);
    let mut state = boot(&machine, Durable::default()).state;
    // A new view told it that 4 is stable elsewhere; it has none of that yet.
    state.durable.stable = Some(later.clone());
    let (earlier, page) = stable(2);
    let message = Message::State {
        stable: earlier,
        page,
    };
    let (after, said) = hears(&machine, state.clone(), 0, message);
    assert!(
        after == state && said.is_empty(),
        "it would forget that 3 and 4 are past"
    );
}

/// A state of so many values, each of about so many bytes.
fn large(values: u64, bytes: usize) -> Service {
    let mut service = Service {
        executed: Sequence(2),
        ..Service::default()
    };
    for number in 0..values {
        let value = format!("{number:0bytes$}");
        service.values.insert(format!("key {number}"), value);
        let reply = Reply::Value(Some("r".repeat(bytes)));
        service
            .sessions
            .insert((NodeId(number % 4), number), (number, reply));
    }
    service
}

#[test]
fn a_large_state_is_sent_page_by_page_and_taken_over_whole() {
    let rings = rings(CLUSTER);
    let sender = machine(&rings[0], 0);
    let receiver = machine(&rings[1], 1);
    let snapshot = Snapshot::of(&rings[0], large(200, 1_000));
    let checkpoint = snapshot.checkpoint();
    assert!(12 < snapshot.pages.len(), "{} pages", snapshot.pages.len());
    let signatures = [0, 2, 3].map(|by: usize| (NodeId(by as u64), rings[by].sign(&checkpoint)));
    let stable = Stable {
        checkpoint,
        proof: rings[0].join(signatures.to_vec()),
    };
    let mut durable = Durable {
        service: snapshot.service.clone(),
        stable: Some(stable),
        ..Durable::default()
    };
    durable.snapshots.insert(Sequence(2), snapshot.clone());
    let mut sender_state = boot(&sender, durable).state;
    let mut state = boot(&receiver, Durable::default()).state;
    let status = Message::Status {
        view: View(0),
        stance: quorate::pbft::Stance::Active,
        executed: Sequence(0),
    };
    let (mut asked, mut pages, mut lost) = (Some(status), 0, 0);
    while let Some(message) = asked.take() {
        let (after, said) = hears(&sender, sender_state, 1, message.clone());
        sender_state = after;
        for output in said {
            let Output::Send {
                to: NodeId(1),
                message,
            } = output
            else {
                continue;
            };
            let bytes = postcard::to_stdvec(&message).unwrap();
            assert!(bytes.len() <= MESSAGE_BYTES_MAX, "{} bytes", bytes.len());
            pages += 1;
            // A page that is not the next, or is altered, changes nothing.
            if let Message::Page {
                checkpoint,
                index: right,
                page: whole,
            } = &message
            {
                for (index, page) in [
                    (right + 1, whole.clone()),
                    (
                        *right,
                        Page {
                            rest: None,
                            ..whole.clone()
                        },
                    ),
                    (
                        *right,
                        Page {
                            entries: Vec::new(),
                            ..whole.clone()
                        },
                    ),
                ] {
                    let checkpoint = *checkpoint;
                    if (index, &page) == (*right, whole) {
                        continue;
                    }
                    let wrong = Message::Page {
                        checkpoint,
                        index,
                        page,
                    };
                    let (same, said) = hears(&receiver, state.clone(), 0, wrong);
                    assert!(same == state && said.is_empty());
                    lost += 1;
                }
            }
            let (after, said) = hears(&receiver, state, 0, message);
            state = after;
            for output in said {
                if let Output::Send {
                    to: NodeId(0),
                    message: fetch @ Message::Fetch { .. },
                } = output
                {
                    asked = Some(fetch);
                }
            }
        }
    }
    assert_eq!(pages, snapshot.pages.len());
    assert!(0 < lost);
    assert_eq!(state.durable.service, snapshot.service);
    assert_eq!(state.durable.low(), Sequence(2));
    assert_eq!(state.volatile.fetching, None);
}

#[test]
fn pages_are_a_function_of_the_state_and_none_is_too_long() {
    let rings = rings(CLUSTER);
    let mut random = Random(1);
    for values in [0, 1, 7, 40] {
        let service = large(values, 1 + random.below(OPERATION_BYTES_MAX - 10));
        let snapshot = Snapshot::of(&rings[0], service.clone());
        let mut rest = Some(snapshot.checkpoint().digest);
        let mut joined = Vec::new();
        for index in 0.. {
            let Some(page) = snapshot.page(index) else {
                break;
            };
            assert_eq!(
                Some(rings[0].digest(&page)),
                rest,
                "each has the digest of the next"
            );
            assert!(postcard::to_stdvec(&page).unwrap().len() < PAGE_BYTES_MAX + 100);
            rest = page.rest;
            joined.extend(page.entries);
        }
        assert_eq!(rest, None, "the last has none");
        let count = service.values.len() + service.sessions.len();
        assert_eq!(joined.len(), count);
        assert!(joined.is_sorted_by(|one, next| match (one, next) {
            (Entry::Value(one, _), Entry::Value(next, _)) => one < next,
            (Entry::Session(one, ..), Entry::Session(next, ..)) => one < next,
            (Entry::Value(..), Entry::Session(..)) => true,
            (Entry::Session(..), Entry::Value(..)) => false,
        }));
    }
}

/// A signature as long as any, under numbers as long as any.
fn widest() -> Signature {
    Signature(vec![0xFF; 64])
}

fn widest_assignment() -> Assignment {
    assignment(u64::MAX, u64::MAX, Digest([0xFF; 32]))
}

fn widest_proof(count: usize) -> Proof {
    let nodes = (0..count as u64).map(NodeId);
    Proof(nodes.map(|node| (node, widest())).collect())
}

fn widest_new_view(sizes: &Sizes, window: u64) -> Message {
    let certificate = Certificate {
        assignment: widest_assignment(),
        pre_prepare: widest(),
        prepares: widest_proof(sizes.prepares),
    };
    let change = |node: u64| Signed {
        by: NodeId(node),
        value: ViewChange {
            view: View(u64::MAX),
            stable: Some(Stable {
                checkpoint: Checkpoint {
                    sequence: Sequence(u64::MAX),
                    digest: Digest([0xFF; 32]),
                },
                proof: widest_proof(sizes.checkpoints),
            }),
            prepared: (0..window).map(|_| certificate.clone()).collect(),
        },
        signature: widest(),
    };
    let changes = (0..sizes.view_changes as u64).map(|node| (NodeId(node), change(node)));
    Message::NewView(Signed {
        by: NodeId(0),
        value: NewView {
            view: View(u64::MAX),
            changes: changes.collect(),
            pre_prepares: (0..window)
                .map(|_| (widest_assignment(), widest()))
                .collect(),
        },
        signature: widest(),
    })
}

#[test]
fn the_longest_messages_that_there_can_be_are_sent() {
    let length = |message: &Message| postcard::to_stdvec(message).unwrap().len();
    for count in MEMBERS_MIN..=MEMBERS_MAX {
        let sizes = Sizes::of(count);
        let Watermarks { interval, window } = watermarks(&sizes);
        assert_eq!((window, window % interval), (2 * interval, 0));
        let message = widest_new_view(&sizes, window);
        let length = length(&message);
        let bound = new_view_bytes_max(&sizes, window);
        assert!(
            length <= bound && bound <= MESSAGE_BYTES_MAX,
            "{count}: {length} of {bound}"
        );
        assert!(
            bound < length + length / 10,
            "the bound is near: {length} of {bound}"
        );
    }
    let four = Sizes::of(4);
    assert_eq!(
        watermarks(&four).interval,
        32,
        "four members have room enough"
    );
    let too_many = Sizes::of(MEMBERS_MAX + 1);
    assert!(MESSAGE_BYTES_MAX < new_view_bytes_max(&too_many, 2));
    // A batch as large as may be: operations that fill it, each in a request of its own.
    let request = |client: u64, bytes: usize| Signed {
        by: NodeId(u64::MAX),
        value: Request {
            session: Session {
                client,
                serial: u64::MAX,
            },
            operation: Operation::Put {
                key: "k".repeat(bytes / 2),
                value: "v".repeat(bytes - bytes / 2),
            },
        },
        signature: widest(),
    };
    let each = BATCH_BYTES_MAX / 32;
    let batch = Batch(
        (0..32)
            .map(|client| request(u64::MAX - client, each))
            .collect(),
    );
    let order = Message::PrePrepare {
        order: Signed {
            by: NodeId(0),
            value: PrePrepare(widest_assignment()),
            signature: widest(),
        },
        batch,
    };
    assert!(BATCH_BYTES_MAX < length(&order) && length(&order) <= MESSAGE_BYTES_MAX);
    // A page as large as may be, of a state with as large a proof as may be.
    let page = Page {
        executed: Sequence(u64::MAX),
        entries: vec![Entry::Value(String::new(), "v".repeat(PAGE_BYTES_MAX))],
        rest: Some(Digest([0xFF; 32])),
    };
    let stable = Stable {
        checkpoint: Checkpoint {
            sequence: Sequence(u64::MAX),
            digest: Digest([0xFF; 32]),
        },
        proof: widest_proof(Sizes::of(MEMBERS_MAX).checkpoints),
    };
    assert!(length(&Message::State { stable, page }) <= MESSAGE_BYTES_MAX);
}

#[test]
fn a_message_in_parts_is_there_once_all_are_in_whatever_order() {
    let mut random = Random(5);
    let from = Share::Member(NodeId(1));
    for length in [
        PART_BYTES_MAX + 1,
        3 * PART_BYTES_MAX,
        10_000,
        MESSAGE_BYTES_MAX,
    ] {
        let message: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        let parts: Vec<_> = cut(9, &message).collect();
        assert_eq!(parts.len(), length.div_ceil(PART_BYTES_MAX));
        let mut joiner = Joiner::default();
        let mut order: Vec<usize> = (0..parts.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at + 1));
        }
        for (count, at) in order.iter().enumerate() {
            // Each comes twice, but for the last.
            let is_last = count + 1 == order.len();
            if !is_last {
                assert_eq!(joiner.join(from, &parts[*at]), Ok(None));
            }
            let joined = joiner.join(from, &parts[*at]).unwrap();
            assert_eq!(joined.is_some(), is_last);
            if let Some(joined) = joined {
                assert!(joined == message);
            }
        }
        assert_eq!(joiner.waiting(), 0);
    }
}

#[test]
fn parts_that_are_none_or_contradict_others_are_refused_and_the_room_for_them_is_bounded() {
    let mut joiner = Joiner::default();
    let from = Share::Member(NodeId(1));
    let parts: Vec<_> = cut(9, &[7; 3_000]).collect();
    let header = |index: u16, count: u16, bytes: usize| {
        let mut part = parts[0][..12].to_vec();
        part.extend(index.to_le_bytes());
        part.extend(count.to_le_bytes());
        part.extend(vec![7; bytes]);
        part
    };
    for wrong in [
        Vec::new(),
        parts[0][..PART_HEADER_BYTES].to_vec(),
        header(0, 0, 5),
        header(0, 1, 5),
        header(2, 2, 5),
        header(u16::MAX, u16::MAX, 5),
        header(0, 2, 5),
        header(0, 2, PART_BYTES_MAX + 1),
        header(0, 60, PART_BYTES_MAX),
    ] {
        assert_eq!(
            joiner.join(from, &wrong),
            Err(Refusal::WrongPart),
            "{wrong:?}"
        );
    }
    assert_eq!(joiner.waiting(), 0, "no room was taken");
    assert_eq!(joiner.join(from, &parts[0]), Ok(None));
    assert_eq!(
        joiner.join(from, &header(1, 4, PART_BYTES_MAX)),
        Err(Refusal::WrongPart)
    );
    // One number, two messages: the checksum of the whole tells.
    let other: Vec<_> = cut(9, &[8; 3_000]).collect();
    assert_eq!(joiner.join(from, &other[1]), Err(Refusal::WrongPart));
    for number in 0..1_000 {
        let first = |number| cut(number, &[7; 3_000]).next().unwrap();
        joiner.join(from, &first(number)).unwrap();
        joiner
            .join(Share::Member(NodeId(2)), &first(number))
            .unwrap();
        joiner
            .join(Share::Client(NodeId(number)), &first(number))
            .unwrap();
    }
    assert_eq!(
        joiner.waiting(),
        2 * MEMBER_MESSAGES_MAX + CLIENT_MESSAGES_MAX
    );
    // The last that were begun are kept.
    let rest: Vec<_> = cut(999, &[7; 3_000]).skip(1).collect();
    assert_eq!(joiner.join(from, &rest[0]), Ok(None));
    assert!(joiner.join(from, &rest[1]).unwrap().is_some());
}

#[test]
fn a_frame_of_a_part_is_no_message_and_every_flipped_bit_of_it_is_found() {
    let identity = |node| Identity {
        node: NodeId(node),
        ..crate::identity(0)
    };
    let (sender, receiver) = (Wire::new(&identity(0)), Wire::new(&identity(1)));
    let message = vec![7_u8; 5_000];
    let frames = sender.seal_parts(NodeId(1), 9, &message).unwrap();
    assert!(frames.iter().all(|frame| frame.len() <= DATAGRAM_BYTES_MAX));
    for frame in &frames {
        assert_eq!(receiver.open::<Vec<u8>>(frame), Err(Refusal::WrongPart));
        let (from, content) = receiver.unframe(frame).unwrap();
        assert_eq!(from, NodeId(0));
        assert!(matches!(content, Content::Part(part) if part.len() + FRAME_BYTES == frame.len()));
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.unframe(&flipped).is_err(), "bit {bit}");
        }
    }
}

/// A cluster of four on this machine, and their secrets.
fn four() -> (Cluster, Vec<SecretKey>) {
    let (secrets, public) = secrets(4);
    let members = (0..).zip(free_addresses(4)).map(|(id, address)| Member {
        id,
        address: address.to_string(),
        clients: None,
    });
    let public_keys = public.iter().map(|(node, key)| PublicKeyOf {
        id: node.0,
        key: key.to_string(),
    });
    let settings = Settings {
        cluster: Some(CLUSTER),
        protocol: Some(Protocol::Pbft.name().into()),
        members: Some(members.collect()),
        public_keys: Some(public_keys.collect()),
        ..Settings::default()
    };
    (settings.cluster().unwrap(), secrets)
}

/// What an honest member did.
struct Told {
    /// What it executed, in order: place, and what had an effect there.
    executed: Vec<(Sequence, Batch)>,
    effects: Vec<(NodeId, u64, u64)>,
    views: Vec<View>,
    service: Service,
    refused: u64,
    unsendable: u64,
}

/// Runs an honest member, with its journal, until it is told to stop: makes the calls that come, and
/// gives each answer to who asked.
fn member(
    cluster: &Cluster,
    node: NodeId,
    secret: SecretKey,
    directory: &Path,
    calls: &Receiver<(Call, Sender<Reply>)>,
    stop: &AtomicBool,
) -> Told {
    let socket = UdpSocket::bind(cluster.members[&node]).unwrap();
    let identity = Machine::identity(cluster, node);
    let port = Port::new(socket, &identity, cluster.members.clone(), CLIENTS_MAX).unwrap();
    let keys = KeyRing::new(cluster.id, node, secret, cluster.public_keys.clone());
    let machine = Pbft {
        keys: keys.clone(),
        ..Machine::machine(cluster, node)
    };
    let journal = Journal::create::<Durable>(&directory.join(node.to_string()), &identity).unwrap();
    let (mut node, _) =
        Node::boot(machine, node, Durable::default(), journal, port, node.0).unwrap();
    let mut waiting: BTreeMap<u64, Sender<Reply>> = BTreeMap::new();
    let mut told = Told {
        executed: Vec::new(),
        effects: Vec::new(),
        views: Vec::new(),
        service: Service::default(),
        refused: 0,
        unsendable: 0,
    };
    while !stop.load(Ordering::Relaxed) {
        let mut begun = Vec::new();
        for (call, answer) in calls.try_iter() {
            waiting.insert(call.ticket, answer);
            begun.push(call);
        }
        for event in node.turn(begun, Duration::from_millis(1)).unwrap() {
            match event {
                Event::Executed {
                    sequence,
                    batch,
                    effective,
                } => {
                    let effects = effective
                        .iter()
                        .map(|((by, client), serial)| (*by, *client, *serial));
                    told.effects.extend(effects);
                    told.executed.push((sequence, batch));
                }
                Event::Replied { ticket, reply } => {
                    let _ = waiting.remove(&ticket).unwrap().send(reply);
                }
                Event::Entered { view } => told.views.push(view),
                Event::Refused { refusal, .. } => panic!("{refusal:?}"),
                Event::Prepared { .. } | Event::Stabilised { .. } | Event::Transferred { .. } => {}
            }
        }
    }
    told.service = node.state().durable.service.clone();
    told.refused = keys.tallied().refused;
    told.unsendable = node.counters().messages_unsendable;
    told
}

/// A client: asks at one member after the other, and gives what it was answered.
fn client(number: u64, requests: u64, members: &[Sender<(Call, Sender<Reply>)>]) -> Vec<Reply> {
    let (sender, replies) = channel();
    let asked = (1..=requests).zip(members.iter().cycle());
    asked
        .map(|(serial, member)| {
            let call = Call {
                ticket: number * 1_000_000 + serial,
                session: Session {
                    client: number,
                    serial,
                },
                operation: Operation::Increment {
                    key: "n".into(),
                    by: 1,
                },
            };
            member.send((call, sender.clone())).unwrap();
            replies
                .recv_timeout(Duration::from_secs(60))
                .expect("every request is executed")
        })
        .collect()
}

const CLIENTS: u64 = 4;
const REQUESTS: u64 = 500;

#[test]
fn two_thousand_requests_are_executed_in_one_order_though_the_first_primary_is_a_traitor() {
    let (cluster, secrets) = four();
    let directory = TempDir::new().unwrap();
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let traitor = Traitor::start(&cluster, NodeId(0), secrets[0].clone()).unwrap();
    let (told, replies) = thread::scope(|scope| {
        let mut members = Vec::new();
        let mut doors = Vec::new();
        for (id, secret) in (1..).zip(&secrets[1..]) {
            let (sender, calls) = channel();
            doors.push(sender);
            let (cluster, directory, stop) = (&cluster, directory.path(), &stop);
            members.push(scope.spawn(move || {
                member(cluster, NodeId(id), secret.clone(), directory, &calls, stop)
            }));
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (doors, done) = (doors.clone(), &done);
                scope.spawn(move || {
                    let replies = client(number, REQUESTS, &doors);
                    done.fetch_add(1, Ordering::Relaxed);
                    replies
                })
            })
            .collect();
        // Members stop once all clients are done, however that ends.
        let replies: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        // Those that are behind are sent what they lack.
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let told: Vec<Told> = members
            .into_iter()
            .map(|member| member.join().unwrap())
            .collect();
        (
            told,
            replies.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        )
    });
    let lies = traitor.lies().told();
    judge(&told, &replies, &lies);
    assert!(0 < traitor.lies().orders.load(Ordering::Relaxed), "{lies}");
}

/// Nothing was lost, nothing done twice, and all in one order.
fn judge(told: &[Told], replies: &[Vec<Reply>], lies: &str) {
    // Each increment has a number of its own, and they are all there: one order, each once.
    let numbers: BTreeSet<u64> = (replies.iter().flatten())
        .map(|reply| match reply {
            Reply::Value(Some(number)) => number.parse().unwrap(),
            Reply::Value(None)
            | Reply::Done
            | Reply::Mismatched
            | Reply::NotANumber
            | Reply::Forgotten => panic!("{reply:?}"),
        })
        .collect();
    let total = CLIENTS * REQUESTS;
    assert_eq!(numbers, (1..=total).collect::<BTreeSet<_>>());
    // A client's numbers grow: what it asks later is done later.
    let mut order: BTreeMap<Sequence, &Batch> = BTreeMap::new();
    for one in told {
        assert!(
            one.executed.is_sorted_by(|one, next| one.0 < next.0),
            "in order"
        );
        for (place, batch) in &one.executed {
            let first = order.entry(*place).or_insert(batch);
            assert_eq!(*first, batch, "one batch at {place:?}");
        }
        let distinct: BTreeSet<_> = one.effects.iter().collect();
        assert_eq!(distinct.len(), one.effects.len(), "each once");
        assert!(
            one.views.iter().any(|view| View(0) < *view),
            "the traitor was replaced"
        );
        assert!(0 < one.refused, "what it forged was refused: {lies}");
        assert_eq!(one.unsendable, 0, "every message fits");
    }
    let last = told.iter().map(|one| one.service.executed).max().unwrap();
    let ahead: Vec<_> = told
        .iter()
        .filter(|one| one.service.executed == last)
        .collect();
    assert!(2 <= ahead.len(), "what was answered, two have");
    assert!(
        ahead.iter().all(|one| one.service == ahead[0].service),
        "one state"
    );
    assert_eq!(ahead[0].service.values.get("n"), Some(&total.to_string()));
}

/// Members as processes, with keys.
fn arguments(addresses: &[SocketAddr], public: &BTreeMap<NodeId, PublicKey>) -> Vec<String> {
    let members = addresses.iter().enumerate();
    let members = members.map(|(id, address)| format!("--member={id}={address}"));
    let keys = public
        .iter()
        .map(|(node, key)| format!("--public-key={}={key}", node.0));
    let mut all: Vec<String> = members.chain(keys).collect();
    all.extend(["serve", "--cluster=7", "--protocol=pbft"].map(Into::into));
    all.rotate_right(3);
    all
}

#[test]
fn keygen_makes_a_key_that_serve_takes_and_wrong_keys_are_refused_in_a_line() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name);
    let keygen = |name: &str| {
        let output = quorate().arg("keygen").arg(file(name)).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let mut public = BTreeMap::new();
    for id in 0..4 {
        let (status, key) = keygen(&format!("{id}.key"));
        assert_eq!(status, Some(0));
        public.insert(NodeId(id), key.trim().parse::<PublicKey>().unwrap());
    }
    assert_eq!(keygen("0.key").0, Some(2), "no key is replaced");
    let addresses = free_addresses(4);
    let all = arguments(&addresses, &public);
    let refused = |arguments: &[String], more: &[&str], words: &str| {
        let mut command = quorate();
        command
            .args(arguments)
            .args(["--id=0", "--bootstrap", "--data"])
            .arg(file("data"));
        let output = command.args(more).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains(words), "{words}: {complaint}");
        assert!(!file("data").exists(), "nothing was begun");
    };
    let key = |name: &str| format!("--key={}", file(name).display());
    refused(
        &all,
        &[],
        "`key` is not set: give the file of this node's secret",
    );
    refused(&all, &[&key("9.key")], "`quorate keygen` makes one");
    refused(
        &all,
        &[&key("1.key")],
        "is not that of n0: its public key is ",
    );
    let without = |what: &str| -> Vec<String> {
        all.iter()
            .filter(|argument| !argument.starts_with(what))
            .cloned()
            .collect()
    };
    let key0 = key("0.key");
    refused(&without("--public-key=2"), &[&key0], "n2 has no public key");
    let mut three = without("--member=3");
    three.retain(|argument| !argument.starts_with("--public-key=3"));
    refused(
        &three,
        &[&key0],
        "pbft takes 4 to 25 members, and there are 3",
    );
    let twice = format!("--public-key=3={}", public[&NodeId(2)]);
    let mut same = without("--public-key=3");
    same.push(twice);
    refused(&same, &[&key0], "n2 and n3 have one public key");
    refused(&all, &[&key0, "--public-key=3=12"], "`12` is no public key");
    refused(
        &all,
        &[&key0, "--public-key=9=12"],
        "the id 9 is not among the members",
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file("0.key"), fs::Permissions::from_mode(0o644)).unwrap();
        refused(&all, &[&key0], "chmod 600");
    }
}

#[test]
fn a_state_of_many_pages_reaches_a_member_that_was_away() {
    let (cluster, secrets) = four();
    let directory = TempDir::new().unwrap();
    let started = Instant::now();
    let stops: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
    thread::scope(|scope| {
        let mut doors = Vec::new();
        let mut members = Vec::new();
        let (cluster, stops) = (&cluster, &stops);
        let start = |id: usize, calls| {
            let (secret, directory) = (secrets[id].clone(), directory.path());
            scope.spawn(move || {
                member(
                    cluster,
                    NodeId(id as u64),
                    secret,
                    directory,
                    &calls,
                    &stops[id],
                )
            })
        };
        for id in 0..3 {
            let (sender, calls) = channel();
            doors.push(sender);
            members.push(start(id, calls));
        }
        // Three are enough. Each value fills a datagram several times over.
        let (sender, replies) = channel();
        let value = "v".repeat(3_900);
        let interval = watermarks(&Sizes::of(4)).interval;
        let count = 2 * interval + 5;
        for serial in 1..=count {
            let call = Call {
                ticket: serial,
                session: Session { client: 1, serial },
                operation: Operation::Put {
                    key: format!("key {serial}"),
                    value: value.clone(),
                },
            };
            doors[1].send((call, sender.clone())).unwrap();
            let reply = replies.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(reply, Reply::Done);
        }
        let (_, calls) = channel();
        let late = start(3, calls);
        // It hears of the others when they vouch for the next checkpoint.
        for serial in count + 1..=count + interval + 1 {
            let call = Call {
                ticket: serial,
                session: Session { client: 1, serial },
                operation: Operation::Increment {
                    key: "n".into(),
                    by: 1,
                },
            };
            doors[1].send((call, sender.clone())).unwrap();
            replies.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        thread::sleep(Duration::from_secs(2));
        stops
            .iter()
            .for_each(|stop| stop.store(true, Ordering::Relaxed));
        let late = late.join().unwrap();
        for one in members {
            assert_eq!(one.join().unwrap().unsendable, 0);
        }
        let values = late.service.values.len() as u64;
        assert!(
            count <= values,
            "{values} values after {:?}",
            started.elapsed()
        );
        let skipped = late
            .executed
            .first()
            .is_none_or(|(place, _)| Sequence(1) < *place);
        assert!(skipped, "it did not execute what led there");
    });
}
