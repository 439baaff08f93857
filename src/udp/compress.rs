//! Compression on the wire: a message that is long, and becomes shorter, travels as an LZ4 block.
//!
//! Batches of alike items shrink to a fraction. Short messages are left alone, and so is what does not
//! shrink. A frame says by its version which it is ([`super::wire`]).
//!
//! What a stranger's frame expands to is bounded before anything is expanded: into a buffer of
//! [`MESSAGE_BYTES_MAX`] bytes, and no further. LZ4 expands by 255 at most, so that a datagram could
//! otherwise become 300 kB.

use super::wire::Refusal;

/// How long a message is at most, in bytes, before it is compressed.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// A message that is no longer than this, in bytes, is not compressed.
pub const PLAIN_BYTES_MAX: usize = 256;

/// Compresses a message into `room`, if it is long enough, and gets shorter and fits: then how long it is.
pub fn shrink(message: &[u8], room: &mut [u8]) -> Option<usize> {
    if message.len() <= PLAIN_BYTES_MAX {
        return None;
    }
    let mut block = [0; lz4_flex::block::get_maximum_output_size(MESSAGE_BYTES_MAX)];
    let length = lz4_flex::block::compress_into(message, &mut block).ok()?;
    if length >= message.len() {
        return None;
    }
    room.get_mut(..length)?.copy_from_slice(&block[..length]);
    Some(length)
}

/// Expands what was compressed, whatever it is, and says how long it is.
///
/// # Errors
///
/// [`Refusal::TooLong`] if it is longer than any message, [`Refusal::Undecodable`] if it is no LZ4 block,
/// and [`Refusal::NotCanonical`] if it is so short that it would not have been compressed.
pub fn expand(block: &[u8], message: &mut [u8; MESSAGE_BYTES_MAX]) -> Result<usize, Refusal> {
    match lz4_flex::block::decompress_into(block, message) {
        Ok(length) if length <= PLAIN_BYTES_MAX => Err(Refusal::NotCanonical),
        Ok(length) => Ok(length),
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) => Err(Refusal::TooLong),
        Err(_) => Err(Refusal::Undecodable),
    }
}
