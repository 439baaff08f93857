//! Messages and states that fit no datagram: each is bounded, and travels in parts and pages.

use quorate::kv::{Operation, Reply, Session};
use quorate::machine::{NodeId, Output, boot};
use quorate::pbft::{
    Assignment, BATCH_BYTES_MAX, Batch, Certificate, Checkpoint, Digest, Durable, Entry, Keys as _,
    Message, NewView, OPERATION_BYTES_MAX, PAGE_BYTES_MAX, Page, PrePrepare, Proof, Request,
    Sequence, Service, Signature, Signed, Sizes, Snapshot, Stable, View, ViewChange, Watermarks,
};
use quorate::udp::Identity;
use quorate::udp::parts::{
    CLIENT_MESSAGES_MAX, Joiner, MEMBER_MESSAGES_MAX, MESSAGE_BYTES_MAX, PART_BYTES_MAX,
    PART_HEADER_BYTES, Sender as Share, cut,
};
use quorate::udp::served::pbft::{MEMBERS_MAX, MEMBERS_MIN, new_view_bytes_max, watermarks};
use quorate::udp::wire::{Content, DATAGRAM_BYTES_MAX, FRAME_BYTES, Refusal, Wire};

use super::{CLUSTER, assignment, hears, machine, rings};
use crate::Random;

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
