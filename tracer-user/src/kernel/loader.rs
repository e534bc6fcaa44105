//! aya's loader, without the kernel's types.

use aya::EbpfLoader;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A loader that has not read the kernel's types. Only while no other thread opens a file.
///
/// aya's only constructor reads and parses all types of the kernel, 5 MB, to relocate what refers to kernel
/// structures. The object has nothing of that kind: `crate::kernel::btf` looks up the few offsets. aya goes
/// on without types where it cannot read them, so for the length of that call no file can be opened.
pub fn without_types<'a>() -> EbpfLoader<'a> {
    let limit = getrlimit(Resource::Nofile);
    // If the limit cannot be changed, this takes its time and all else is the same.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: limit.maximum });
    let loader = EbpfLoader::new();
    let _ = setrlimit(Resource::Nofile, limit);
    loader
}
