//! /proc/cpuinfo: its text, and fields of it.

use std::fs;

/// The text; empty if it cannot be read.
pub fn read() -> String {
    fs::read_to_string("/proc/cpuinfo").unwrap_or_default()
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
    let cpuinfo = read();
    field(&cpuinfo, "flags").unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}
