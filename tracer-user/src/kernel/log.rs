//! The programs' own messages (`-v`), and ours, to standard error.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // aya's own debug messages do not help the user of the tool.
        metadata.level() <= Level::Warn || !metadata.target().starts_with("aya")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mark = if std::io::stderr().is_terminal() { "\r" } else { "" };
            say!("{mark}exitlat: {}: {}", record.level().as_str().to_lowercase(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Sends log messages to standard error: warnings, with `-v` everything.
pub fn init(verbose: u8) {
    static LOGGER: Stderr = Stderr;
    let level = if verbose == 0 { LevelFilter::Warn } else { LevelFilter::Debug };
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(level);
    }
}

/// The messages of loaded programs.
pub struct ProgramLog(EbpfLogger<&'static dyn Log>);

impl ProgramLog {
    /// Opens the log, once for each object.
    ///
    /// # Errors
    /// If the programs were loaded without one.
    pub fn open(ebpf: &mut Ebpf) -> Result<Self> {
        EbpfLogger::init(ebpf).map(Self).context("cannot open the programs' log")
    }

    /// Passes on the messages since the last call. To be called now and then: messages are rare, and waiting
    /// on the descriptor would need its lifetime promised by hand.
    pub fn print(&mut self) {
        self.0.flush();
    }
}

/// The value of `AYA_LOG_LEVEL` for the programs: 0 switches every statement off before the verifier.
pub fn program_level(verbose: u8) -> u8 {
    if verbose == 0 { 0 } else { aya_log::Level::Debug as u8 }
}
