//! Running other programs: one place that turns a failed command into an error which names it.
//!
//! The standard output of xtask belongs to the answer (a path, the output of a guest, the line of totals),
//! so whatever a child prints on the way goes to standard error or to a log.

use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// Where the output of a child goes.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// To our standard error.
    Terminal,
    /// To a file, both streams.
    Log(&'a File),
}

impl Output<'_> {
    /// One more handle to the same place.
    pub fn stdio(self) -> Result<Stdio> {
        Ok(match self {
            Output::Terminal => io::stderr().into(),
            Output::Log(file) => file.try_clone().context("cannot duplicate the handle of the log")?.into(),
        })
    }
}

/// The command as a person would type it.
pub fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    shell_words::join(words.map(|word| word.to_string_lossy()))
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command, output: Output<'_>) -> Result<()> {
    let status = status(command, output)?;
    if !status.success() {
        bail!("`{}` failed: {status}", display(command));
    }
    Ok(())
}

/// Runs a command that must succeed and says nothing; its complaints become part of the error.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let done = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    if !done.status.success() {
        let complaints = String::from_utf8_lossy(&done.stderr);
        let complaints =
            complaints.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>();
        bail!("`{}` failed: {}", command.get_program().to_string_lossy(), complaints.join("; "));
    }
    Ok(())
}

/// Runs a command that may fail.
pub fn status(command: &mut Command, output: Output<'_>) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(output.stdio()?).stderr(output.stdio()?);
    command.status().with_context(|| cannot_start(command))
}

/// The standard output of a command that must succeed; its complaints go to `output`.
pub fn capture(command: &mut Command, output: Output<'_>) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output.stdio()?);
    let child = command.spawn().with_context(|| cannot_start(command))?;
    let done = child.wait_with_output().with_context(|| format!("lost `{}`", display(command)))?;
    if !done.status.success() {
        bail!("`{}` failed: {}", display(command), done.status);
    }
    String::from_utf8(done.stdout)
        .with_context(|| format!("the output of `{}` is not UTF-8", display(command)))
}

/// The standard output of a probe: nothing if the program is missing or unhappy.
pub fn probe(program: &str, args: &[&str]) -> Option<String> {
    let done = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The error text for a program that does not start.
pub fn cannot_start(command: &Command) -> String {
    format!(
        "cannot start `{}` (is it installed? `cargo xtask setup` installs missing programs)",
        display(command)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        let words = ["uname", "--kernel=6.1", "", "a b", "it's $HOME"];
        let mut printf = Command::new("printf");
        let line = display(printf.arg(r"%s\n").args(words));
        let printed = capture(Command::new("sh").args(["-c", &line]), Output::Terminal).unwrap();
        assert_eq!(printed.lines().collect::<Vec<_>>(), words, "{line}");
    }

    #[test]
    fn a_failed_command_is_named() {
        let error = run(Command::new("false").arg("a b"), Output::Terminal).unwrap_err().to_string();
        assert!(error.starts_with("`false 'a b'` failed"), "{error}");
    }
}
