//! Any text as a tracepoint's `format` file, and any bytes as perf's collection of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::{decode::kernel_table, perfdata::tracing::formats, tracepoint::fields::field};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    for name in ["exit_reason", "isa", "vcpu_id", ""] {
        let _ = field(&text, name);
    }
    let _ = kernel_table::parse_format_symbols(&text);
    let _ = kernel_table::disagreements(&text);
    for format in formats(data).into_iter().flatten() {
        let _ = field(&format.text, "exit_reason");
    }
});
