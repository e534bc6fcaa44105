//! The guest's serial port: messages of the boot, then the command's output between two marks.
//!
//! A pure state machine over bytes, so that it can be tested without a guest. The marks start with a record
//! separator, which no text has, so the end mark is seen even after a line without a line end.

use std::io::{self, Write};

use anyhow::{Context, Result};

const MARK: u8 = 0x1e;
const BEGIN: &str = "LAB-BEGIN";
const END: &str = "LAB-END ";
/// How much is kept to explain a failure.
const KEPT: usize = 64 * 1024;

/// Kernel messages with one of these mean that the guest is lost.
const FATAL: [&str; 8] = [
    "Kernel panic",
    "Oops:",
    "BUG:",
    "kernel BUG at",
    "general protection fault",
    "illegal operation",
    "detected stall",
    "soft lockup",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Boot,
    Command,
    Done(u8),
}

/// The reader's state.
#[derive(Debug)]
pub struct Serial {
    phase: Phase,
    line: Vec<u8>,
    /// How much of `line` has been passed on.
    shown: usize,
    kept: Vec<u8>,
    fatal: Option<String>,
}

impl Default for Serial {
    fn default() -> Self {
        Self { phase: Phase::Boot, line: Vec::new(), shown: 0, kept: Vec::new(), fatal: None }
    }
}

impl Serial {
    /// Takes bytes from the port; passes the command's output on to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<()> {
        self.keep(bytes);
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(out),
                _ => {
                    self.line.push(byte);
                    Ok(())
                }
            }
            .context("cannot pass on the guest's output")?;
        }
        self.show(out).and_then(|()| out.flush()).context("cannot pass on the guest's output")
    }

    /// The command's exit status, once it has ended.
    pub fn status(&self) -> Option<u8> {
        match self.phase {
            Phase::Done(status) => Some(status),
            Phase::Boot | Phase::Command => None,
        }
    }

    /// The kernel message that says the guest is lost.
    pub fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// Whether the guest has not even come to the command.
    pub fn booting(&self) -> bool {
        self.phase == Phase::Boot
    }

    /// Where the guest got to, for error messages.
    pub fn stage(&self) -> &'static str {
        match self.phase {
            Phase::Boot => "while it was booting",
            Phase::Command => "while the command was running",
            Phase::Done(_) => "after the command had ended",
        }
    }

    /// The last lines the guest printed.
    pub fn tail(&self, lines: usize) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let all = text.lines().map(|line| line.trim_end_matches('\r')).collect::<Vec<_>>();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        if self.kept.len() > 2 * KEPT {
            self.kept.drain(..self.kept.len() - KEPT);
        }
    }

    fn end_line(&mut self, out: &mut dyn Write) -> io::Result<()> {
        // The terminal line discipline and the console driver each add a carriage return.
        while self.line.len() > self.shown && self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        let text = String::from_utf8_lossy(&self.line);
        if self.fatal.is_none() && is_fatal(&text) {
            self.fatal = Some(text.trim().to_owned());
        }
        let mark = text.split_once(MARK as char).map(|(_, mark)| mark.to_owned());
        match (self.phase, mark.as_deref()) {
            (Phase::Boot, Some(BEGIN)) => self.phase = Phase::Command,
            (Phase::Command, Some(mark)) if mark.starts_with(END) => {
                self.show(out)?;
                // A status that is cut short counts as a failure.
                self.phase = Phase::Done(mark[END.len()..].trim().parse().unwrap_or(255));
            }
            (Phase::Command, _) => {
                out.write_all(&self.line[self.shown..])?;
                out.write_all(b"\n")?;
            }
            (Phase::Boot | Phase::Done(_), _) => {}
        }
        self.line.clear();
        self.shown = 0;
        Ok(())
    }

    /// Shows an unfinished line (a prompt, a progress bar), without an end that may become a mark or a line
    /// end.
    fn show(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.phase != Phase::Command {
            return Ok(());
        }
        let mut end = self.line.iter().position(|&byte| byte == MARK).unwrap_or(self.line.len());
        while end > self.shown && self.line[end - 1] == b'\r' {
            end -= 1;
        }
        if end > self.shown {
            out.write_all(&self.line[self.shown..end])?;
            self.shown = end;
        }
        Ok(())
    }
}

/// Only kernel messages count, `[    1.234567] ...`: a command may print anything.
fn is_fatal(line: &str) -> bool {
    let Some((stamp, message)) =
        line.trim_start_matches('\r').strip_prefix('[').and_then(|rest| rest.split_once(']'))
    else {
        return false;
    };
    // With CONFIG_PRINTK_CALLER the stamp is followed by a task or CPU in brackets.
    let stamped = stamp.contains('.') && stamp.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ' ');
    stamped && FATAL.iter().any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(chunks: &[&str]) -> (Serial, String) {
        let (mut serial, mut out) = (Serial::default(), Vec::new());
        for chunk in chunks {
            serial.feed(chunk.as_bytes(), &mut out).unwrap();
        }
        (serial, String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_the_commands_output_is_passed_on() {
        let (serial, out) = hear(&[
            "SeaBIOS\r\n[    0.1] hi\r\n\x1eLAB-BEGIN\r\na\r\n",
            "b\r\r\n",
            "\x1eLAB-END 3\r\nbye\r\n",
        ]);
        assert_eq!((out.as_str(), serial.status()), ("a\nb\n", Some(3)));
    }

    #[test]
    fn chunks_may_end_anywhere() {
        let text = "x\r\n\x1eLAB-BEGIN\r\none\r\n50%\r100%\r\nno line end\x1eLAB-END 0\r\n";
        for cut in 1..text.len() {
            let (serial, out) = hear(&[&text[..cut], &text[cut..]]);
            assert_eq!(out, "one\n50%\r100%\nno line end", "cut at {cut}");
            assert_eq!(serial.status(), Some(0));
        }
    }

    #[test]
    fn a_prompt_is_shown_at_once() {
        let (serial, out) = hear(&["\x1eLAB-BEGIN\r\n", "password: "]);
        assert_eq!((out.as_str(), serial.status()), ("password: ", None));
    }

    #[test]
    fn a_lost_guest_is_noticed_and_quoted() {
        let (serial, _) = hear(&["[    1.2] ok\r\n[    4.242424] Kernel panic - not syncing: x\r\n"]);
        assert_eq!(serial.fatal(), Some("[    4.242424] Kernel panic - not syncing: x"));
        assert_eq!(serial.stage(), "while it was booting");
        let (serial, _) = hear(&["\x1eLAB-BEGIN\r\nKernel panic, says the command\r\n[debug] BUG: mine\r\n"]);
        assert_eq!(serial.fatal(), None);
    }

    #[test]
    fn the_tail_has_the_last_lines() {
        let (serial, _) = hear(&["a\r\nb\r\nc\r\n"]);
        assert_eq!(serial.tail(2), "b\nc");
    }
}
