//! Reads numbers and strings from bytes whose order is known at run time only. No method reads past the end.

/// Reads numbers and strings from the front of a slice of bytes. All methods give [`None`] if the bytes do
/// not suffice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
    big_endian: bool,
}

impl<'a> Bytes<'a> {
    /// All of `rest`.
    pub fn new(rest: &'a [u8], big_endian: bool) -> Self {
        Self { rest, big_endian }
    }

    /// The bytes that have not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(count).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    /// Skips `count` words of eight bytes.
    pub fn skip_words(&mut self, count: u64) -> Option<()> {
        self.take(count.checked_mul(8)?).map(|_| ())
    }

    /// A number of `size` bytes, at most eight.
    pub fn number(&mut self, size: u32) -> Option<u64> {
        let bytes = if size <= 8 { self.take(u64::from(size))? } else { return None };
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    /// A number of one byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number of four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.number(4).map(|number| number as u32)
    }

    /// A number of eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.number(8)
    }

    /// A field of 64 bits as C lays it out, first one lowest: on a big-endian machine the first one is the
    /// highest.
    pub fn bit_field(&mut self) -> Option<u64> {
        self.u64().map(|word| if self.big_endian { word.reverse_bits() } else { word })
    }

    /// A string that a NUL ends.
    pub fn string(&mut self) -> Option<String> {
        let length = self.rest.iter().position(|byte| *byte == 0)?;
        let text = self.take(length as u64 + 1)?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    /// `struct perf_header_string`: a length of four bytes, then that many bytes, padded with NULs.
    pub fn header_string(&mut self) -> Option<String> {
        let length = self.u32()?;
        let text = self.take(u64::from(length))?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8, b'a', 0, 9];
        let mut little = Bytes::new(&data, false);
        assert_eq!((little.number(2), little.u32()), (Some(0x0201), Some(0x0605_0403)));
        let mut big = Bytes::new(&data, true);
        assert_eq!((big.u64(), big.string()), (Some(0x0102_0304_0506_0708), Some("a".into())));
        assert_eq!((big.number(2), big.u8(), big.u8()), (None, Some(9), None));
        assert_eq!(Bytes::new(&data, true).number(9), None);
        assert_eq!(Bytes::new(&data, true).skip_words(u64::MAX), None);
    }

    #[test]
    fn strings_end_where_they_say() {
        let mut bytes = Bytes::new(b"\x04\0\0\0ab\0\0\xff\xff\xff\xffab", false);
        assert_eq!(bytes.header_string().as_deref(), Some("ab"));
        assert_eq!(bytes.header_string(), None);
        assert_eq!(Bytes::new(b"abc", false).string(), None);
    }
}
