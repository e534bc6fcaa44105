//! The files that GitHub reads: workflows, issue forms and dependabot's settings, held to their schemas.
//!
//! check-jsonschema brings the schemas along, so no network is needed. A schema knows form and words. It does
//! not know whether a workflow does what it should.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{directory, prepared};

/// Directories and files below `.github` with the schema of each.
const FILES: [(&str, &str); 4] = [
    ("workflows", "vendor.github-workflows"),
    ("ISSUE_TEMPLATE", "vendor.github-issue-forms"),
    ("ISSUE_TEMPLATE/config.yml", "vendor.github-issue-config"),
    ("dependabot.yml", "vendor.dependabot"),
];

fn github() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github")
}

/// The files of an entry of [`FILES`].
fn files(place: &str) -> Vec<PathBuf> {
    let path = github().join(place);
    if path.is_file() {
        return vec![path];
    }
    let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let own_schema = |path: &PathBuf| path.ends_with("config.yml");
    let files: Vec<_> = entries.filter(|path| !own_schema(path)).collect();
    assert!(!files.is_empty(), "{}", path.display());
    files
}

fn validate(schema: &str, files: &[PathBuf]) -> Output {
    let mut check = Command::new(prepared("EXITLAT_FOREIGN_PYTHON"));
    check.args(["-m", "check_jsonschema", "--builtin-schema", schema]).args(files);
    check.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_files_keep_to_their_schemas() {
    for (place, schema) in FILES {
        let output = validate(schema, &files(place));
        assert!(output.status.success(), "{place}: {output:?}");
    }
}

#[test]
fn a_misspelt_key_is_refused() {
    let dir = directory("repository");
    let misspelt = [
        ("runs-on:", "run-on:"),
        ("attributes:", "attribute:"),
        ("blank_issues_enabled:", "blank_issues:"),
        ("schedule:", "schedules:"),
    ];
    for ((place, schema), (key, misspelt)) in FILES.into_iter().zip(misspelt) {
        let text = fs::read_to_string(&files(place)[0]).unwrap();
        assert!(text.contains(key), "{place}");
        let file = dir.join(format!("{schema}.yml"));
        fs::write(&file, text.replace(key, misspelt)).unwrap();
        let output = validate(schema, &[file]);
        assert_eq!(output.status.code(), Some(1), "{place}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("chema validation"), "{place}: {output:?}");
    }
}
