//! The guest's root file system: a cpio archive in the `newc` format, which the kernel unpacks by itself.
//!
//! Not written by cpio(1), so that device nodes need no root and owners are always root.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc;

#[derive(Debug)]
enum Entry {
    Dir,
    Bytes(Vec<u8>),
    Copy(PathBuf),
    Link(String),
    Device { major: u32, minor: u32 },
}

/// The archive's entries, by path without a leading slash. They are sorted: directories precede their
/// contents.
#[derive(Debug, Default)]
pub struct Initramfs(BTreeMap<String, (u32, Entry)>);

impl Initramfs {
    /// A directory.
    pub fn dir(&mut self, path: &str) {
        self.insert(path, 0o040_755, Entry::Dir);
    }

    /// A file of our own making.
    pub fn file(&mut self, path: &str, permissions: u32, contents: impl Into<Vec<u8>>) {
        self.insert(path, 0o100_000 | permissions, Entry::Bytes(contents.into()));
    }

    /// A file of the host (links are followed), with its permissions.
    pub fn copy(&mut self, from: &Path, path: &str) -> Result<()> {
        let meta = fs::metadata(from)
            .with_context(|| format!("cannot put {} into the initramfs", from.display()))?;
        let mode = 0o100_000 | (meta.permissions().mode() & 0o777);
        self.insert(path, mode, Entry::Copy(from.to_owned()));
        Ok(())
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, to: &str) {
        self.insert(path, 0o120_777, Entry::Link(to.to_owned()));
    }

    /// A character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.insert(path, 0o020_600, Entry::Device { major, minor });
    }

    fn insert(&mut self, path: &str, mode: u32, entry: Entry) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            self.0.entry(path[..end].to_owned()).or_insert((0o040_755, Entry::Dir));
        }
        self.0.insert(path.to_owned(), (mode, entry));
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// If a file cannot be read, has 4 GiB or more, or `out` cannot be written.
    pub fn write(&self, mut out: impl Write) -> Result<()> {
        for (inode, (path, (mode, entry))) in (1..).zip(&self.0) {
            let mut header = newc::Builder::new(path).ino(inode).mode(*mode);
            let copied;
            let contents: &[u8] = match entry {
                Entry::Dir => &[],
                Entry::Bytes(bytes) => bytes,
                Entry::Link(to) => to.as_bytes(),
                Entry::Device { major, minor } => {
                    header = header.rdev_major(*major).rdev_minor(*minor);
                    &[]
                }
                Entry::Copy(from) => {
                    copied = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
                    &copied
                }
            };
            let size = u32::try_from(contents.len()).with_context(|| format!("{path} has 4 GiB or more"))?;
            let mut writer = header.write(&mut out, size);
            let written = writer.write_all(contents).and_then(|()| writer.finish().map(drop));
            written.context("cannot write the initramfs")?;
        }
        newc::trailer(&mut out).and_then(Write::flush).context("cannot write the initramfs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_the_kernel_expects_them() {
        let mut fs = Initramfs::default();
        fs.file("/bin/hi", 0o755, "hello");
        fs.device("dev/console", 5, 1);
        let mut out = Vec::new();
        fs.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.len() % 4, 0);
        let hi = text.find("bin/hi").unwrap();
        let header = &text[hi - 110..hi];
        assert_eq!(&header[..6], "070701");
        assert_eq!(&header[14..22], format!("{:08x}", 0o100_755));
        assert_eq!(&header[54..62], "00000005");
        assert_eq!(&header[94..102], "00000007");
        assert_eq!(&text[hi..hi + 18], "bin/hi\0\0\0\0hello\0\0\0");
        let order =
            ["bin\0", "bin/hi\0", "dev\0", "dev/console\0", "TRAILER!!!\0"].map(|name| text.find(name));
        assert!(order.is_sorted() && order[0].is_some(), "{order:?}");
    }
}
