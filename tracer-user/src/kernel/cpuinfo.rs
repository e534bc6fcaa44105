//! /proc/cpuinfo: its text, and fields of it.

use std::{fs, sync::OnceLock};

/// The text, read once: for each reader the kernel generates it and asks every CPU for its clock rate. Empty
/// if it cannot be read.
pub fn read() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

/// The first value of a field.
pub fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

/// The processors' features, under the name that x86 gives the list.
pub fn flags() -> Vec<String> {
    field(read(), "flags").unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
