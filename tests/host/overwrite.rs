//! `export`, `report --save` and `merge` do not overwrite existing files.

use std::{fs, os::unix::fs::PermissionsExt as _};

use exitlat_tests::noise::{DISTRIBUTIONS, Effect, Load};

use crate::files::{Files, header, run};

const LOAD: Load = Load { intervals: 3, exits: 200.0, rate: 0.2, duration: 0.0, memory: 0.0 };

fn dump(files: &Files, name: &str) -> String {
    files.dump(name, header("one"), "web", (&DISTRIBUTIONS[..2], LOAD, Effect::default(), 1))
}

/// A recording with damage in its middle: an export begins before it meets the damage.
fn damaged(files: &Files) -> String {
    let mut bytes = fs::read(dump(files, "damaged")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(b'x');
    files.file("damaged", &bytes)
}

#[test]
fn an_export_may_replace_its_input() {
    let files = Files::new();
    let (path, other) = (dump(&files, "dump"), dump(&files, "other"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let expected = run(&["export", &other, "--format", "csv"]).1;
    let (status, _, err) = run(&["export", &path, "--format", "csv", "-o", &path, "--force"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let files = Files::new();
    let (bad, old) = (damaged(&files), files.file("old", b"old"));
    for format in ["csv", "html", "hgrm"] {
        let (status, _, err) = run(&["export", &bad, "--format", format, "-o", &old, "--force"]);
        assert!(status == 1 && err.contains("damaged") && !err.contains("cannot write"), "{err}");
        assert_eq!(fs::read(&old).unwrap(), b"old", "{format}");
    }
    let (status, _, err) = run(&["report", &bad, "--save", &old, "--force"]);
    assert!(status == 1 && !err.contains("cannot write"), "{err}");
    assert_eq!(fs::read(&old).unwrap(), b"old");
    let new = files.path("new").to_str().unwrap().to_owned();
    assert_eq!(run(&["export", &bad, "--format", "csv", "-o", &new]).0, 1);
    assert_eq!(run(&["report", &bad, "--save", &new]).0, 1);
    assert_eq!(fs::read_dir(files.path("")).unwrap().count(), 2, "nothing is left behind");
    let (status, _, err) = run(&["export", &dump(&files, "dump"), "--format", "csv", "-o", "/dev/full"]);
    assert!(status == 1 && err.contains("cannot write /dev/full"), "{err}");
}

/// All commands refuse with the same text.
#[test]
fn what_exists_is_named_with_the_way_out() {
    let files = Files::new();
    let (dump, old) = (dump(&files, "dump"), files.file("old", b"old"));
    for command in [
        &["export", &dump, "--format", "csv", "-o", &old][..],
        &["report", &dump, "--save", &old],
        &["merge", &dump, "-o", &old],
    ] {
        let (status, out, err) = run(command);
        assert_eq!((status, out.as_str()), (2, ""), "{command:?}");
        assert_eq!(err, format!("exitlat: {old} exists; use --force to overwrite it\n"));
    }
    assert_eq!(fs::read(&old).unwrap(), b"old");
    let (status, _, err) = run(&["report", &dump, "--save", &dump, "--force"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(fs::read_to_string(&dump).unwrap().ends_with("\"why\":\"converted\"}}\n"));
    let (status, out, err) = run(&["report", &dump, "--save", "-"]);
    assert!(status == 2 && out.is_empty() && err.contains("standard output"), "{err}");
    assert_eq!(run(&["report", &dump, "--force"]).0, 2);
}
