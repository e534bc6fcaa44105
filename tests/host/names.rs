//! Names with commas and brackets, as `-g` takes them in every command that reads recordings.

use std::{fs, path::Path, process::Stdio};

use exitlat_tests::{
    program::{exitlat, text},
    synthetic::{GUESTS, Synthetic},
};

/// Writes a recording of three VMs with these names.
fn recording(dir: &Path, names: [&str; 3]) {
    let json = |name: &str| format!("\"vm\":{}", serde_json::to_string(name).unwrap());
    let made = String::from_utf8(Synthetic { split: false, incident: false }.dump()).unwrap();
    let text =
        GUESTS.iter().zip(names).fold(made, |text, ((_, old), new)| text.replace(&json(old), &json(new)));
    fs::write(dir.join("recording"), text).unwrap();
}

/// The VMs that a command shows.
fn shown(dir: &Path, command: &str, guest: &str) -> Vec<String> {
    let mut run = exitlat();
    run.args(command.split(' ')).args(["-g", guest]).current_dir(dir);
    run.stdin(fs::File::open(dir.join("recording")).unwrap()).stdout(Stdio::piped());
    let (status, out, err) = text(run.output().unwrap());
    assert_eq!(status, Some(0), "{command} -g {guest}: {err}");
    let is_there = |name: &&str| out.contains(*name);
    ["win[10]", "win1", "foo=1,bar=2"].into_iter().filter(is_there).map(str::to_owned).collect()
}

const COMMANDS: [&str; 3] = [
    "report recording --by vm --format json",
    "export recording --by vm --format json",
    "diff recording recording --by vm --format json",
];

#[test]
fn a_name_that_exists_is_meant_alone() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), ["win[10]", "win1", "foo=1,bar=2"]);
    for command in COMMANDS {
        assert_eq!(shown(dir.path(), command, "win[10]"), ["win[10]"], "{command}");
        assert_eq!(shown(dir.path(), command, "foo=1,bar=2"), ["foo=1,bar=2"], "{command}");
        assert_eq!(shown(dir.path(), command, "foo=1,,bar=2,win1"), ["win1", "foo=1,bar=2"], "{command}");
        assert_eq!(shown(dir.path(), command, "win*"), ["win[10]", "win1"], "{command}");
    }
    // No VM has this literal name, so the text is a glob.
    recording(dir.path(), ["win0", "win1", "foo=1,bar=2"]);
    assert_eq!(shown(dir.path(), COMMANDS[0], "win[10]"), ["win1"]);
}

/// A stream is read once, with its names unknown, so the text is both a name and a glob.
#[test]
fn of_a_stream_the_name_and_the_glob_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    recording(dir.path(), ["win[10]", "win1", "foo=1,bar=2"]);
    assert_eq!(shown(dir.path(), "report - --by vm --format json", "win[10]"), ["win[10]", "win1"]);
}
