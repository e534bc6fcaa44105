//! KVM's own counters of a vCPU, by its binary statistics interface (since Linux 5.14).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

/// The ioctl KVM_GET_STATS_FD, which kvm-ioctls does not have.
const KVM_GET_STATS_FD: u32 = 0xaece;
const HEADER_LEN: usize = 24;
const DESCRIPTOR_LEN: usize = 16;

/// KVM's statistics of a vCPU, held open as QEMU does.
#[derive(Debug)]
pub struct Stats(Option<File>);

impl Stats {
    /// Asks KVM for them. Kernels that do not have the interface give none.
    pub fn open(vcpu: &impl AsRawFd) -> Self {
        // SAFETY: the request takes no argument and returns a new file descriptor or -1.
        let fd = unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_GET_STATS_FD as _) };
        // SAFETY: the descriptor is new and nobody else's.
        Self((fd >= 0).then(|| unsafe { File::from_raw_fd(fd) }))
    }

    /// The counters, as [`read`] gives them.
    ///
    /// # Errors
    /// If the kernel has the interface but its data are damaged.
    pub fn read(&self) -> Result<Value> {
        let Some(file) = &self.0 else { return Ok(Value::Null) };
        parse(|buffer, offset| file.read_exact_at(buffer, offset))
    }
}

/// The counters of a vCPU that hold a single number, as an object from name to number; `Null` on kernels that
/// do not have the interface.
///
/// # Errors
/// If the kernel has the interface but its data are damaged.
pub fn read(vcpu: &impl AsRawFd) -> Result<Value> {
    Stats::open(vcpu).read()
}

/// Reads header, descriptors and data by `read_at`.
fn parse(read_at: impl Fn(&mut [u8], u64) -> io::Result<()>) -> Result<Value> {
    let mut header = [0; HEADER_LEN];
    read_at(&mut header, 0)?;
    // After the flags: the length of names, the number of descriptors, and the offsets of identifier,
    // descriptors and data.
    let [_, name_len, count, _, descriptors_at, data_at] = [0, 1, 2, 3, 4, 5].map(|n| u32_at(&header, 4 * n));
    ensure!(name_len < 4096 && count < 4096, "{count} KVM statistics with names of {name_len} bytes");

    let stride = DESCRIPTOR_LEN + name_len as usize;
    let mut descriptors = vec![0; stride * count as usize];
    read_at(&mut descriptors, descriptors_at.into())?;

    let mut counters = Map::new();
    for descriptor in descriptors.chunks_exact(stride) {
        // Flags, exponent, number of values, offset in the data, bucket size; then the name.
        let values = u16::from_ne_bytes([descriptor[6], descriptor[7]]);
        if values == 1 {
            let name = &descriptor[DESCRIPTOR_LEN..];
            let name = &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())];
            let mut value = [0; 8];
            read_at(&mut value, u64::from(data_at) + u64::from(u32_at(descriptor, 8)))?;
            counters.insert(String::from_utf8_lossy(name).into_owned(), json!(u64::from_ne_bytes(value)));
        }
    }
    Ok(Value::Object(counters))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two descriptors with names of 8 bytes: a number and a histogram of 2.
    fn image() -> Vec<u8> {
        let mut image: Vec<u8> =
            [0u32, 8, 2, 24, 32, 80].iter().flat_map(|word| word.to_ne_bytes()).collect();
        image.extend(*b"kvm-1\0\0\0");
        for (size, offset, name) in [(1u16, 16u32, b"exits\0\0\0"), (2, 0, b"hist\0\0\0\0")] {
            image.extend([0; 6]);
            image.extend(size.to_ne_bytes());
            image.extend(offset.to_ne_bytes());
            image.extend([0; 4]);
            image.extend(name);
        }
        image.extend([7u64, 8, 1234].iter().flat_map(|value| value.to_ne_bytes()));
        image
    }

    fn parse_image(image: &[u8]) -> Result<Value> {
        parse(|buffer, offset| {
            let source = image.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
            buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    #[test]
    fn single_numbers_are_read_and_histograms_left_out() {
        assert_eq!(parse_image(&image()).unwrap(), json!({"exits": 1234}));
    }

    #[test]
    fn cut_off_and_absurd_statistics_are_errors() {
        for len in [0, 23, 40, 79, 100] {
            assert!(parse_image(&image()[..len]).is_err(), "{len}");
        }
        let mut absurd = image();
        absurd[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(parse_image(&absurd).is_err());
    }

    #[test]
    fn a_file_that_is_no_vcpu_has_no_statistics() {
        assert_eq!(read(&File::open("/dev/null").unwrap()).unwrap(), Value::Null);
    }
}
