//! Packed records (`perf record -z`): one zstd stream over the payloads of all of them.
//!
//! A payload may end within a block, and a decoder holds back the last window of its output. So data come out
//! later than they went in, by less than a block and a window.

use std::fmt;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Error, bytes::Bytes};

/// The largest window that perf's highest level uses.
const MAX_WINDOW: u64 = 1 << 27;
/// perf flushes its stream but never ends it: an empty last block does that.
const LAST_BLOCK: [u8; 3] = [1, 0, 0];
/// A checksum follows the last block where the frame's header says so.
const CHECKSUM: usize = 4;

/// A frame: an own stream within the stream.
struct Frame {
    decoder: FrameDecoder,
    /// Bytes that the decoder may hold back.
    window: u64,
    checksum: bool,
}

/// Unpacks a stream that comes in pieces.
#[derive(Default)]
pub(super) struct Unpacker {
    frame: Option<Frame>,
    packed: Vec<u8>,
    given_out: u64,
}

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").field("given_out", &self.given_out).finish_non_exhaustive()
    }
}

impl Unpacker {
    /// Adds packed bytes.
    pub fn feed(&mut self, packed: &[u8]) {
        self.packed.extend_from_slice(packed);
    }

    /// The next unpacked bytes; [`None`] if more has to be fed first.
    ///
    /// # Errors
    /// If the stream is damaged.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let Some(frame) = &mut self.frame else {
                let Some((header, frame)) = frame(&self.packed)? else { return Ok(None) };
                self.packed.drain(..header);
                self.frame = Some(frame);
                continue;
            };
            let Some(block) = block(&self.packed, frame.checksum).filter(|size| *size <= self.packed.len())
            else {
                return Ok(None);
            };
            let piece = frame.decode(&self.packed[..block])?;
            self.packed.drain(..block);
            if frame.decoder.is_finished() {
                self.frame = None;
            }
            if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                self.given_out += piece.len() as u64;
                return Ok(Some(piece));
            }
        }
    }

    /// Ends the stream: the rest of the unpacked bytes.
    ///
    /// # Errors
    /// If the stream is cut or damaged.
    pub fn finish(&mut self) -> Result<Vec<u8>, Error> {
        if !self.packed.is_empty() {
            return Err(Error::Truncated("a packed record"));
        }
        let Some(mut frame) = self.frame.take() else { return Ok(Vec::new()) };
        // Any checksum will do: it is read too late to matter.
        Ok(frame.decode(&[&LAST_BLOCK[..], &[0; CHECKSUM]].concat())?.unwrap_or_default())
    }

    /// Number of bytes that have been given out.
    pub fn given_out(&self) -> u64 {
        self.given_out
    }

    /// Number of bytes given out after which all packed bytes fed so far are among them.
    pub fn settled_at(&self) -> u64 {
        // A block that has not ended yet counts as fed by the next piece.
        self.given_out + self.frame.as_ref().map_or(0, |frame| frame.window)
    }
}

impl Frame {
    /// Unpacks a block.
    fn decode(&mut self, mut block: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.decoder.decode_blocks(&mut block, BlockDecodingStrategy::UptoBlocks(1)).map_err(damaged)?;
        Ok(self.decoder.collect())
    }
}

/// The length of the frame header that `packed` begins with, and the frame; [`None`] if it is not whole.
fn frame(packed: &[u8]) -> Result<Option<(usize, Frame)>, Error> {
    // Magic, descriptor, window unless the frame is a single segment, dictionary, size of the content.
    let mut bytes = Bytes::new(packed, false);
    let Some(descriptor) = bytes.u32().and_then(|_| bytes.u8()) else { return Ok(None) };
    let single = descriptor >> 5 & 1 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = [u32::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
    let window = if single { Some(0) } else { bytes.u8() };
    let header = window.zip(bytes.number(dictionary)).zip(bytes.number(content));
    let Some(((window, _), content)) = header else { return Ok(None) };
    let window = if single {
        // A size of two bytes begins at 256: smaller ones have one byte (RFC 8878, 3.1.1.1.4).
        content + if descriptor >> 6 == 1 { 256 } else { 0 }
    } else {
        let base = 1u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    };
    let length = packed.len() - bytes.rest().len();
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    decoder.init(&packed[..length]).map_err(damaged)?;
    Ok(Some((length, Frame { decoder, window, checksum: descriptor >> 2 & 1 != 0 })))
}

/// Length of the block that `packed` begins with, including its header and a checksum after it; [`None`] if
/// the header is incomplete.
fn block(packed: &[u8], checksum: bool) -> Option<usize> {
    /// A block that is one byte, repeated.
    const REPEATED: u64 = 1;
    let header = Bytes::new(packed, false).number(3)?;
    let (last, kind, size) = (header & 1 != 0, header >> 1 & 3, (header >> 3) as usize);
    let content = if kind == REPEATED { 1 } else { size };
    Some(3 + content + if last && checksum { CHECKSUM } else { 0 })
}

fn damaged(error: impl fmt::Display) -> Error {
    Error::Damaged(format!("packed records: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a window of 1 KiB and blocks that are not compressed.
    fn frame_of(blocks: &[&[u8]], checksum: bool) -> Vec<u8> {
        let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, u8::from(checksum) << 2, 0];
        for (at, block) in blocks.iter().enumerate() {
            let last = checksum && at + 1 == blocks.len();
            out.extend(&((block.len() as u32) << 3 | u32::from(last)).to_le_bytes()[..3]);
            out.extend_from_slice(block);
        }
        out.extend(vec![0; if checksum { CHECKSUM } else { 0 }]);
        out
    }

    fn unpacked(unpacker: &mut Unpacker) -> Vec<u8> {
        std::iter::from_fn(|| unpacker.next().unwrap()).flatten().collect()
    }

    #[test]
    fn a_stream_comes_out_however_it_is_cut() {
        let (first, second) = (vec![1; 1_000], vec![2; 700]);
        let whole = [frame_of(&[&first, &second], true), frame_of(&[&second, &first], false)].concat();
        let content = [&*first, &*second, &*second, &*first].concat();
        for size in [1, 2, 7, 1_003, 5_000] {
            let (mut unpacker, mut out) = (Unpacker::default(), Vec::new());
            for piece in whole.chunks(size) {
                unpacker.feed(piece);
                out.extend(unpacked(&mut unpacker));
                assert!(unpacker.settled_at() <= out.len() as u64 + 1_024);
            }
            // A frame with an end holds nothing back.
            assert!(out.len() >= 1_700);
            out.extend(unpacker.finish().unwrap());
            assert!(out == content, "{size}");
        }
    }

    #[test]
    fn a_frame_of_one_segment_has_its_content_as_the_window() {
        let window = |descriptor: u8, size: &[u8]| {
            let header = [&[0x28, 0xb5, 0x2f, 0xfd, descriptor], size].concat();
            frame(&header).unwrap().map(|(length, frame)| (length, frame.window))
        };
        assert_eq!(window(0x20, &[255]), Some((6, 255)));
        assert_eq!(window(0x60, &[0, 0]), Some((7, 256)));
        assert_eq!(window(0x60, &[0xff, 0xff]), Some((7, 65_791)));
        assert_eq!(window(0xa0, &[0, 1, 1, 0]), Some((9, 65_792)));
        assert_eq!(window(0x60, &[0]), None);
    }

    #[test]
    fn a_cut_block_is_an_error() {
        let whole = frame_of(&[&[1; 100]], false);
        let mut unpacker = Unpacker::default();
        unpacker.feed(&whole[..whole.len() - 1]);
        assert_eq!(unpacked(&mut unpacker), Vec::<u8>::new());
        assert!(matches!(unpacker.finish(), Err(Error::Truncated(_))));
        let mut other = Unpacker::default();
        other.feed(b"no zstd at all");
        assert!(matches!(other.next(), Err(Error::Damaged(_))));
    }
}
