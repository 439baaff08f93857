//! The hash of the partitioner: Murmur3 for 64-bit machines, 128 bits, of which the first half is used.
//!
//! It is not quite Appleby's `MurmurHash3_x64_128`. Cassandra's is in Java, where a byte has a sign, and
//! in the tail, the last bytes that fill no block, a byte above 127 is extended by ones, not by zeros.
//! Tokens are stored, so it stays as it is, and every driver has to do the same.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// Both halves of Cassandra's Murmur3, with seed 0. Whoever chooses the bytes can make two hash alike: it is
/// for placement and for comparison among friends.
pub fn murmur3(bytes: &[u8]) -> (u64, u64) {
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let block = u128::from_le_bytes(*block);
        h1 ^= mix(low(block), C1, 31, C2);
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix(low(block >> 64), C2, 33, C1);
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (first, second) = tail.split_at(tail.len().min(8));
    h2 ^= mix(extended(second), C2, 33, C1);
    h1 ^= mix(extended(first), C1, 31, C2);

    let length = bytes.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    (h1, h2.wrapping_add(h1))
}

/// The lower half.
fn low(block: u128) -> u64 {
    let [b0, b1, b2, b3, b4, b5, b6, b7, ..] = block.to_le_bytes();
    u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])
}

/// One word of input, before it meets the state. That of an empty tail is 0.
fn mix(word: u64, first: u64, turn: u32, second: u64) -> u64 {
    let word = word.wrapping_mul(first).rotate_left(turn);
    word.wrapping_mul(second)
}

/// At most eight bytes, the least significant first, each extended by its sign.
fn extended(bytes: &[u8]) -> u64 {
    let places = bytes.iter().zip((0_u32..).step_by(8));
    let signed = places.map(|(byte, place)| i64::from(byte.cast_signed()) << place);
    signed.fold(0, |word, part| word ^ part.cast_unsigned())
}

fn finish(mut half: u64) -> u64 {
    half ^= half >> 33;
    half = half.wrapping_mul(0xff51_afd7_ed55_8ccd);
    half ^= half >> 33;
    half = half.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    half ^ (half >> 33)
}
