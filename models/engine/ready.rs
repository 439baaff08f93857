//! Hashing one word.

use std::hash::Hasher;

/// For keys that are one word: a fingerprint, or a pair of numbers. One multiplication.
#[derive(Default)]
pub(crate) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the other half is folded in"
        )]
        let low = product as u64;
        let high = (product >> 64) as u64;
        self.0 = low ^ high;
    }
}
