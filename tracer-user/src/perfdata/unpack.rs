//! Packed records (`perf record -z`): one zstd stream over the payloads of all of them.

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Error;

/// The largest window that perf's highest level uses.
const MAX_WINDOW: u64 = 1 << 27;
/// perf flushes its stream but never ends it: an empty last block does that.
const LAST_BLOCK: [u8; 3] = [1, 0, 0];

/// Unpacks all of `packed` and hands it to `take` piece by piece.
pub(super) fn unpack(packed: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let damaged = |error: &dyn std::fmt::Display| Error::Damaged(format!("packed records: {error}"));
    let mut rest = packed;
    while !rest.is_empty() {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        decoder.init(&mut rest).map_err(|error| damaged(&error))?;
        let mut finished = false;
        while !finished {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            finished = if rest.is_empty() {
                // A frame with a checksum wants four bytes more; whatever they are, they come too late to
                // matter.
                let end = [&LAST_BLOCK[..], &[0; 4]].concat();
                decoder.decode_blocks(&mut end.as_slice(), one)
            } else {
                decoder.decode_blocks(&mut rest, one)
            }
            .map_err(|error| damaged(&error))?;
            if let Some(piece) = decoder.collect() {
                take(&piece)?;
            }
        }
    }
    Ok(())
}
