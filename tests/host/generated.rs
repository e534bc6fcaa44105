//! Manual pages and completions, which are made from the definition of the command line.
//!
//! `INSTA_UPDATE=always cargo test -p exitlat-tests --test host generated` writes the pages' snapshots.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use exitlat_tests::generated::{File, completions, manual};

/// The pages as they should be.
const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/host/generated");

#[test]
fn manual_pages_are_those_of_the_snapshots() {
    let mut names = BTreeSet::new();
    for File { path, text } in manual().unwrap() {
        let name = path.trim_start_matches("man/").trim_end_matches(".1").to_owned();
        // A release must not change the pages.
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(PAGES);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.as_str(), text));
        names.insert(format!("{name}.snap"));
    }
    // A snapshot without a command checks nothing, so there must be none.
    let files = fs::read_dir(Path::new(PAGES)).unwrap();
    let files: BTreeSet<_> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(files, names);
}

#[test]
fn every_command_has_a_page_and_is_completed() {
    let pages = manual().unwrap();
    let help = crate::cli::exitlat("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"record") && commands.contains(&"diff"), "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let page = format!("man/exitlat-{command}.1");
        assert!(pages.iter().any(|file| file.path == page), "{page}");
        for File { path, text } in completions() {
            assert!(text.contains(command), "{path}: {command}");
        }
    }
}

#[test]
fn bash_takes_the_completions_and_completes() {
    let scripts = completions();
    let bash = scripts.iter().find(|file| file.path == "completions/exitlat.bash").unwrap();
    let mut shell = Command::new("bash")
        .args(["--noprofile", "--norc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = "COMP_WORDS=(exitlat rec); COMP_CWORD=1; _exitlat exitlat rec exitlat";
    let script = format!("{}\n{typed}\necho \"<${{COMPREPLY[*]}}>\"\n", bash.text);
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "<record>\n");
}
