//! Files that are made from the definition of exitlat's command line: manual pages and completions.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use tracer_user::cli::Cli;

/// A generated file.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it goes, below a directory for all of them: `man/exitlat.1`.
    pub path: String,
    /// Its whole text.
    pub text: String,
}

/// The manual pages, as roff: one of exitlat, and one of each of its commands.
///
/// An error is one of writing to memory, or text that is not UTF-8; neither happens.
pub fn manual() -> io::Result<Vec<File>> {
    // Propagates names and options to the commands, and leaves out `help`, which is no page of its own.
    let mut exitlat = Cli::command().disable_help_subcommand(true);
    exitlat.build();
    let commands = exitlat.get_subcommands().map(|command| {
        let name = format!("exitlat-{}", command.get_name());
        // The usage line says `exitlat record`, as it is typed.
        let typed = format!("exitlat {}", command.get_name());
        page(command.clone().display_name(name).bin_name(typed))
    });
    let commands: Vec<_> = commands.collect();
    std::iter::once(page(exitlat.clone())).chain(commands).collect()
}

fn page(command: Command) -> io::Result<File> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut roff = Vec::new();
    Man::new(command).source(concat!("exitlat ", env!("CARGO_PKG_VERSION"))).render(&mut roff)?;
    let text = String::from_utf8(roff).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(File { path: format!("man/{name}.1"), text })
}

/// The completions for bash, zsh and fish, by the names under which these shells look for them.
pub fn completions() -> Vec<File> {
    [Shell::Bash, Shell::Zsh, Shell::Fish].into_iter().map(completion).collect()
}

fn completion(shell: Shell) -> File {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "exitlat", &mut script);
    File {
        path: format!("completions/{}", shell.file_name("exitlat")),
        text: String::from_utf8_lossy(&script).into_owned(),
    }
}
