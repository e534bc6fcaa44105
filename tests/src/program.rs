//! exitlat as a program, run by tests.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

/// The program. The test harness builds it beside itself.
///
/// # Panics
/// If the program does not exist.
pub fn exitlat() -> Command {
    let mut path: PathBuf = std::env::current_exe().expect("a running program has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("exitlat");
    assert!(path.exists(), "{} is missing: cargo build -p tracer-user", path.display());
    let mut command = Command::new(path);
    command.env_remove("NO_COLOR");
    command
}

/// Status, standard output and standard error.
///
/// # Panics
/// If the output is not UTF-8.
pub fn text(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("exitlat prints text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}
