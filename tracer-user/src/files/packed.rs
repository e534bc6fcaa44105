//! Packed files: gzip and zstd, unpacked as they are read. Nothing is held but the decoder's window, however
//! much comes out.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

/// How gzip's files begin.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// How a frame of zstd begins.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The largest window that is unpacked: that of `zstd --ultra -22`.
const MAX_WINDOW: u64 = 1 << 27;

/// An input after the look at its beginning.
pub(super) enum Unpacked {
    /// It is not packed: the input as it is.
    Plain(Box<dyn BufRead>),
    /// The unpacked content.
    From(Box<dyn BufRead>),
}

/// Unpacks an input, if it begins as packed ones do.
///
/// # Errors
/// If the input cannot be read.
pub(super) fn unpacked(mut input: Box<dyn BufRead>) -> io::Result<Unpacked> {
    let beginning = input.fill_buf()?;
    Ok(if beginning.starts_with(GZIP) {
        Unpacked::From(Box::new(BufReader::new(MultiGzDecoder::new(input))))
    } else if beginning.starts_with(ZSTD) {
        Unpacked::From(Box::new(BufReader::new(Zstd::new(input))))
    } else {
        Unpacked::Plain(input)
    })
}

/// The content of frames that follow one another.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { source, decoder, within: false }
    }

    /// Goes on to the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                // A skippable frame has none of the content.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => drop(io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?),
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                self.within = self.next_frame()?;
                if !self.within {
                    return Ok(0);
                }
            }
            let count = self.decoder.read(buffer)?;
            if count != 0 || buffer.is_empty() {
                return Ok(count);
            }
            if self.decoder.is_finished() {
                self.within = false;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(damaged)?;
            }
        }
    }
}

fn damaged(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the packed file is cut or damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one block that is not compressed.
    fn frame(content: &[u8]) -> Vec<u8> {
        let block = (content.len() as u32) << 3 | 1;
        [ZSTD, &[0, 0], &block.to_le_bytes()[..3], content].concat()
    }

    fn read(data: Vec<u8>) -> io::Result<String> {
        let (Unpacked::Plain(mut input) | Unpacked::From(mut input)) =
            unpacked(Box::new(io::Cursor::new(data)))?;
        let mut text = String::new();
        input.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn frames_follow_one_another() {
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        let whole = [frame(b"one "), skipped, frame(b""), frame(b"two")].concat();
        assert_eq!(read(whole.clone()).unwrap(), "one two");
        assert_eq!(read(b"plain".to_vec()).unwrap(), "plain");
        let cut = read(whole[..whole.len() - 1].to_vec()).unwrap_err().to_string();
        assert!(cut.contains("cut or damaged"), "{cut}");
    }
}
