//! One datagram.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use quorate::machine::NodeId;
use quorate::register::{KEY_BYTES_MAX, Message, Operation, Tag, VALUE_BYTES_MAX, Version};
use quorate::udp::wire::{DATAGRAM_BYTES_MAX, FRAME_BYTES, Refusal, Unsendable, Wire};

use crate::{Random, identity, store, version};

const RECEIVER: NodeId = NodeId(1);

/// The codecs of a client and of the member that it speaks to.
fn wires() -> (Wire, Wire) {
    (Wire::new(&identity(70_000)), Wire::new(&identity(1)))
}

fn sealed(message: &Message) -> Vec<u8> {
    wires().0.seal(RECEIVER, message).unwrap()
}

/// Changes a datagram behind the checksum's back.
fn resealed(datagram: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut changed = datagram[..datagram.len().saturating_sub(4)].to_vec();
    change(&mut changed);
    changed.extend(crc32fast::hash(&changed).to_le_bytes());
    changed
}

fn one_of_each() -> [Message; 4] {
    let operation = Operation {
        incarnation: 1,
        number: 300,
    };
    [
        Message::Query {
            operation,
            key: "colour".into(),
        },
        Message::Answer {
            operation,
            version: version(5, 70_000, "green"),
        },
        Message::Store {
            operation,
            key: "colour".into(),
            version: version(6, 70_000, "blue"),
        },
        Message::Stored { operation },
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    any::<(u64, u64)>().prop_map(|(incarnation, number)| Operation {
        incarnation,
        number,
    })
}

fn versions() -> impl Strategy<Value = Version> {
    let tag = any::<(u64, Option<u64>)>().prop_map(|(number, writer)| Tag {
        number,
        writer: writer.map(NodeId),
    });
    (tag, proptest::option::of(".{0,100}")).prop_map(|(tag, value)| Version { tag, value })
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![
        (operations(), ".{0,30}").prop_map(|(operation, key)| Message::Query { operation, key }),
        (operations(), versions())
            .prop_map(|(operation, version)| Message::Answer { operation, version }),
        (operations(), ".{0,30}", versions()).prop_map(|(operation, key, version)| {
            Message::Store {
                operation,
                key,
                version,
            }
        }),
        operations().prop_map(|operation| Message::Stored { operation }),
    ]
}

proptest! {
    #[test]
    fn what_is_sealed_opens_to_the_same(message in messages()) {
        let opened = wires().1.open::<Message>(&sealed(&message));
        prop_assert_eq!(opened, Ok((NodeId(70_000), message)));
    }
}

/// Whoever changes these bytes makes old and new nodes deaf to each other: raise the version too.
#[test]
fn the_bytes_of_a_datagram_are_these() {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let frame = "7172746d 0100 0700000000000000 01020304 7011010000000000 0100000000000000";
    let frame = frame.replace(' ', "");
    let expected = [
        "0001ac0206636f6c6f7572",
        "0101ac020501f0a204010567726565 6e",
        "0201ac0206636f6c6f75720601f0a2040104626c7565",
        "0301ac02",
    ];
    for (message, expected) in one_of_each().iter().zip(expected) {
        let datagram = sealed(message);
        let (framed, checksum) = datagram.split_at(datagram.len() - 4);
        assert_eq!(hex(framed), format!("{frame}{}", expected.replace(' ', "")));
        assert_eq!(checksum, crc32fast::hash(framed).to_le_bytes());
    }
    // One in full, so that the checksum is pinned as well.
    assert_eq!(
        hex(&sealed(&one_of_each()[3])),
        format!("{frame}0301ac02eb1d89da")
    );
}

#[test]
fn the_longest_message_of_the_register_fits_a_datagram() {
    let longest = Message::Store {
        operation: Operation {
            incarnation: u64::MAX,
            number: u64::MAX,
        },
        key: "k".repeat(KEY_BYTES_MAX),
        version: version(u64::MAX, u64::MAX, &"v".repeat(VALUE_BYTES_MAX)),
    };
    // With room for a tag of 16 bytes and a counter of 8, when there is encryption.
    assert!(sealed(&longest).len() + 24 <= DATAGRAM_BYTES_MAX);
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let (client, member) = wires();
    // Two bytes are its length. It does not shrink.
    let mut random = Random(1);
    let letters = (0..DATAGRAM_BYTES_MAX - FRAME_BYTES - 2).map(|_| 33 + random.byte() % 94);
    let fits: String = letters.map(char::from).collect();
    let datagram = client.seal(RECEIVER, &fits).unwrap();
    assert_eq!(datagram.len(), DATAGRAM_BYTES_MAX);
    assert_eq!(
        member.open::<String>(&datagram),
        Ok((NodeId(70_000), fits.clone()))
    );
    let longer = fits + "x";
    assert_eq!(client.seal(RECEIVER, &longer), Err(Unsendable::TooLong));
}

#[test]
fn each_wrong_datagram_is_refused_by_its_name() {
    let (_, member) = wires();
    let right = sealed(&store(1, "key", "value"));
    let set = |at: usize, byte: u8| resealed(&right, |bytes| bytes[at] = byte);
    let mut flipped = right.clone();
    flipped[40] ^= 1;
    let table = [
        (Refusal::TooShort, vec![]),
        (Refusal::TooShort, right[..FRAME_BYTES - 1].to_vec()),
        (Refusal::TooLong, vec![0; DATAGRAM_BYTES_MAX + 1]),
        (Refusal::WrongMagic, vec![0; 100]),
        (Refusal::WrongVersion, set(4, 3)),
        // It says that it is compressed, and is not.
        (Refusal::Undecodable, set(4, 2)),
        (Refusal::Damaged, flipped),
        (Refusal::Damaged, right[..right.len() - 1].to_vec()),
        (Refusal::Damaged, [&right[..], &[0]].concat()),
        (Refusal::WrongCluster, set(6, 8)),
        (Refusal::WrongTerms, set(14, 9)),
        (Refusal::NotForUs, set(26, 2)),
        (Refusal::Undecodable, set(34, 99)),
        // A key that claims to be longer than the datagram.
        (Refusal::Undecodable, set(37, 0xff)),
        (Refusal::Trailing, resealed(&right, |bytes| bytes.push(0))),
        // The incarnation, 1, as two bytes: postcard alone would take it.
        (
            Refusal::NotCanonical,
            resealed(&right, |bytes| drop(bytes.splice(35..36, [0x81, 0]))),
        ),
    ];
    for (refusal, datagram) in table {
        assert_eq!(
            member.open::<Message>(&datagram),
            Err(refusal),
            "{datagram:?}"
        );
    }
}

/// 200,000 of them: random, mutated, cut, extended, and with a checksum that is right all the same.
#[test]
fn hostile_datagrams_never_panic_and_each_is_refused_for_a_reason() {
    let (_, member) = wires();
    let mut random = Random(1);
    let mut outcomes: BTreeMap<Result<(), Refusal>, u32> = BTreeMap::new();
    for number in 0..200_000 {
        let message = &one_of_each()[random.below(4)];
        let mut datagram = sealed(message);
        match number % 5 {
            0 => datagram = (0..random.below(1300)).map(|_| random.byte()).collect(),
            1 => datagram.truncate(random.below(datagram.len())),
            2 => datagram.extend((0..random.below(1300)).map(|_| random.byte())),
            _ => {}
        }
        let mut mutate = |bytes: &mut Vec<u8>| {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.byte();
                }
            }
        };
        match number % 5 {
            3 => mutate(&mut datagram),
            4 => datagram = resealed(&datagram, &mut mutate),
            _ => {}
        }
        let opened = member.open::<Message>(&datagram);
        if let Ok((sender, message)) = &opened {
            // What is taken is what its sender would have sent, to the byte.
            let again = Wire::new(&identity(sender.0)).seal(RECEIVER, message);
            assert_eq!(again.as_ref(), Ok(&datagram));
        }
        *outcomes.entry(opened.map(drop)).or_default() += 1;
    }
    // Every reason that the codec itself can give was given, and some mutants were messages.
    let at_the_port = [Refusal::Stranger, Refusal::Impostor];
    for refusal in Refusal::ALL.iter().filter(|it| !at_the_port.contains(it)) {
        assert!(
            outcomes.contains_key(&Err(*refusal)),
            "{refusal}: {outcomes:?}"
        );
    }
    assert!(outcomes.contains_key(&Ok(())), "{outcomes:?}");
}
