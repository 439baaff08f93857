//! Compression on the wire: what shrinks, what does not, and what a hostile frame may expand to.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate::batch::Message;
use quorate::udp::compress::{MESSAGE_BYTES_MAX, PLAIN_BYTES_MAX, expand, shrink};
use quorate::udp::wire::{DATAGRAM_BYTES_MAX, FRAME_BYTES, Refusal, Unsendable, Wire};

use crate::identity;

/// A batch of so many items.
fn batch(values: impl IntoIterator<Item = String>) -> Message {
    Message::Items {
        incarnation: 1,
        first: 1,
        values: values.into_iter().collect(),
    }
}

fn alike(count: usize) -> Message {
    batch((0..count).map(|number| format!("user:{number:04} visited /index.html")))
}

fn wires() -> (Wire, Wire) {
    (Wire::new(&identity(0)), Wire::new(&identity(1)))
}

/// The version of a frame says whether it is compressed.
fn is_compressed(datagram: &[u8]) -> bool {
    datagram[4..6] == [2, 0]
}

#[test]
fn a_long_batch_of_alike_items_travels_in_a_fraction_of_its_bytes() {
    let (from, to) = wires();
    let message = alike(100);
    let plain = postcard::to_stdvec(&message).unwrap().len();
    assert!(plain > DATAGRAM_BYTES_MAX, "it would fit no datagram");
    let datagram = from.seal(quorate::machine::NodeId(1), &message).unwrap();
    assert!(is_compressed(&datagram));
    assert!(datagram.len() * 3 < plain, "{} of {plain}", datagram.len());
    let (_, opened) = to.open::<Message>(&datagram).unwrap();
    assert_eq!(opened, message);
}

#[test]
fn a_short_message_is_left_alone() {
    let (from, to) = wires();
    let message = alike(3);
    let datagram = from.seal(quorate::machine::NodeId(1), &message).unwrap();
    assert!(!is_compressed(&datagram));
    assert_eq!(to.open::<Message>(&datagram).unwrap().1, message);
}

#[test]
fn what_does_not_shrink_is_left_alone() {
    let (from, to) = wires();
    let mut random = crate::Random(7);
    let letter = |_| char::from(33 + random.byte() % 94);
    let message = batch([(0..900).map(letter).collect::<String>()]);
    let datagram = from.seal(quorate::machine::NodeId(1), &message).unwrap();
    assert!(!is_compressed(&datagram));
    assert_eq!(to.open::<Message>(&datagram).unwrap().1, message);
}

#[test]
fn what_is_too_long_is_not_sent_however_well_it_shrinks() {
    let (from, _) = wires();
    let message = batch(["a".repeat(MESSAGE_BYTES_MAX)]);
    let sealed = from.seal(quorate::machine::NodeId(1), &message);
    assert_eq!(sealed, Err(Unsendable::TooLong));
}

/// A block of 290 bytes that would be 64 kB, in a frame that is sound otherwise.
#[test]
fn a_frame_that_would_expand_without_bound_is_refused() {
    let bomb = lz4_flex::block::compress(&vec![0; 65_536]);
    assert!(bomb.len() < 300);
    let mut room = [0; MESSAGE_BYTES_MAX];
    assert_eq!(expand(&bomb, &mut room), Err(Refusal::TooLong));
    let (_, to) = wires();
    let mut datagram = wires()
        .0
        .seal(quorate::machine::NodeId(1), &alike(3))
        .unwrap();
    datagram.truncate(FRAME_BYTES - 4);
    datagram[4..6].copy_from_slice(&[2, 0]);
    datagram.extend(bomb);
    let checksum = crc32fast::hash(&datagram);
    datagram.extend(checksum.to_le_bytes());
    assert_eq!(to.open::<Message>(&datagram), Err(Refusal::TooLong));
}

#[test]
fn what_would_not_have_been_compressed_is_refused() {
    let short = lz4_flex::block::compress(&[7; PLAIN_BYTES_MAX]);
    let mut room = [0; MESSAGE_BYTES_MAX];
    assert_eq!(expand(&short, &mut room), Err(Refusal::NotCanonical));
}

proptest! {
    /// Whatever comes, it is refused or it is no longer than a message.
    #[test]
    fn nothing_expands_beyond_a_message(block in vec(any::<u8>(), 0..DATAGRAM_BYTES_MAX)) {
        let mut room = [0; MESSAGE_BYTES_MAX];
        if let Ok(length) = expand(&block, &mut room) {
            prop_assert!((PLAIN_BYTES_MAX + 1..=MESSAGE_BYTES_MAX).contains(&length));
        }
    }

    #[test]
    fn what_shrinks_expands_to_what_it_was(
        bytes in vec(0_u8..4, 0..MESSAGE_BYTES_MAX),
    ) {
        let mut room = [0; DATAGRAM_BYTES_MAX];
        if let Some(length) = shrink(&bytes, &mut room) {
            let mut back = [0; MESSAGE_BYTES_MAX];
            let expanded = expand(&room[..length], &mut back).unwrap();
            prop_assert_eq!(&back[..expanded], &bytes[..]);
        }
    }
}
