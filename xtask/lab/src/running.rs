//! An emulator that runs: reads its serial port, notices the end, a lost guest, or silence.

use std::fmt;
use std::io::{Read, Write};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};

use super::serial::Serial;

/// How long a guest may take to power off after its command, or to finish the report of its own death.
const GRACE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// How many lines of the guest's output an error shows.
const TAIL: usize = 30;

/// A started emulator and the output of its serial port.
#[derive(Debug)]
pub struct Running {
    child: Child,
    serial: Receiver<Vec<u8>>,
    gone: Arc<AtomicBool>,
}

impl Running {
    /// Reads the serial port from a pipe, or from a file that grows (whose end is not the end until the
    /// emulator is gone).
    pub fn new(child: Child, mut port: impl Read + Send + 'static) -> Self {
        let (send, serial) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&gone);
        thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let last = ended.load(Ordering::Acquire);
                match port.read(&mut buffer) {
                    Ok(0) | Err(_) if last => break,
                    Ok(0) | Err(_) => thread::sleep(POLL),
                    Ok(read) if send.send(buffer[..read].to_vec()).is_err() => break,
                    Ok(_) => {}
                }
            }
        });
        Self { child, serial, gone }
    }

    /// Runs to the end; the status is that of the guest's command.
    pub fn watch(mut self, silence: Duration, out: &mut dyn Write) -> Result<u8> {
        let mut serial = Serial::default();
        let mut heard = Instant::now();
        let mut leave: Option<Instant> = None;
        loop {
            match self.serial.recv_timeout(POLL) {
                Ok(bytes) => {
                    serial.feed(&bytes, out)?;
                    heard = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.child.try_wait().context("lost the emulator")?.is_some() {
                self.gone.store(true, Ordering::Release);
            }
            if leave.is_none() && (serial.status().is_some() || serial.fatal().is_some()) {
                leave = Some(Instant::now() + GRACE);
            }
            if leave.is_some_and(|when| Instant::now() > when) {
                break;
            }
            if heard.elapsed() > silence {
                return Err(lost(
                    &serial,
                    &format!("it printed nothing for {} s and was stopped", silence.as_secs()),
                ));
            }
        }
        match (serial.fatal(), serial.status()) {
            (Some(message), _) => Err(lost(&serial, message)),
            (None, Some(status)) => Ok(status),
            (None, None) => Err(lost(&serial, "the emulator ended")),
        }
    }
}

/// A guest that came to grief before our command ran, so not by our doing.
#[derive(Debug)]
pub struct LostInBoot;

impl fmt::Display for LostInBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(none of our programs had run yet)")
    }
}

impl std::error::Error for LostInBoot {}

fn lost(serial: &Serial, why: &str) -> Error {
    let text = format!("lost the guest {}: {why}. Its last lines:\n{}", serial.stage(), serial.tail(TAIL));
    if serial.booting() { Error::new(LostInBoot).context(text) } else { Error::msg(text) }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Best effort: it may end by itself in between.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.gone.store(true, Ordering::Release);
    }
}
