//! Exports of a merged recording: every format tells the hosts apart.

use exitlat_tests::noise::{DISTRIBUTIONS, Effect, Load};

use tracer_user::model::provenance::Header;

use crate::files::{Files, header, run};

const LOAD: Load = Load { intervals: 3, exits: 200.0, rate: 0.2, duration: 0.0, memory: 0.0 };

/// A dump of a VM with pid 7 on a host.
fn guest(files: &Files, host: &str, vm: &str) -> String {
    let seed = host.len() as u64;
    files.dump(host, header(host), vm, (&DISTRIBUTIONS[..2], LOAD, Effect::default(), seed))
}

/// Two VMs on two hosts, with the same pid; their dumps and the merged one.
fn merged(files: &Files, vms: [&str; 2]) -> [String; 3] {
    let (one, two) = (guest(files, "one", vms[0]), guest(files, "three", vms[1]));
    let all = files.merged("all", &[&one, &two]);
    [one, two, all]
}

fn export(dump: &str, options: &str) -> String {
    let options: Vec<_> = options.split(' ').collect();
    let (status, out, err) = run(&[&["export", dump][..], &options].concat());
    assert_eq!(status, 0, "{options:?}: {err}");
    out
}

/// The number of exits in a CSV export: the sum of its `count` column.
fn exits(csv: &str) -> u64 {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    let column = |name| heading.iter().position(|id| *id == name).unwrap();
    let (kind, count) = (column("kind"), column("count"));
    lines.filter(|line| line[kind] == "exit").map(|line| line[count].parse::<u64>().unwrap()).sum()
}

#[test]
fn the_same_pid_on_two_hosts_is_two_vms() {
    let files = Files::new();
    let [one, two, all] = merged(&files, ["web", "web"]);
    let csv = export(&all, "--format csv");
    assert!(csv.contains(",one,web,7,") && csv.contains(",three,web,7,"), "{csv}");
    assert_eq!(exits(&csv), exits(&export(&one, "--format csv")) + exits(&export(&two, "--format csv")));
    let json = export(&all, "--format json --by vm,reason");
    assert!(json.contains("\"host\":\"one\"") && json.contains("\"host\":\"three\""), "{json}");
    let metrics = export(&all, "--format openmetrics");
    for host in ["one", "three"] {
        let total = format!("exitlat_exits_total{{host=\"{host}\",vm=\"web\",pid=\"7\"");
        assert_eq!(metrics.matches(&total).count(), 2, "{metrics}");
    }
    assert!(export(&all, "--format hlog --by vm").contains("Tag=one/web[7],"));
    let page = export(&all, "--format html --by vm,reason");
    assert!(page.contains("one \u{b7} web[7]") && page.contains("three \u{b7} web[7]"));
    // With one host there is no host label.
    assert!(!export(&one, "--format openmetrics").contains("{host="));
    // Without names, hosts are still two.
    let metrics = export(&all, "--format openmetrics --names none");
    assert!(
        metrics.contains("host=\"host-1\",vm=\"vm-1\"") && metrics.contains("host=\"host-2\",vm=\"vm-2\"")
    );
    assert!(!metrics.contains("\"one\"") && !metrics.contains("\"three\""), "{metrics}");
    assert!(!export(&all, "--format csv --names none").contains(",one,"));
}

#[test]
fn hosts_can_be_chosen() {
    let files = Files::new();
    let [one, _, all] = merged(&files, ["web", "web"]);
    let chosen = export(&all, "--format csv --host o*");
    assert_eq!(exits(&chosen), exits(&export(&one, "--format csv")));
    assert!(!chosen.contains(",three,"), "{chosen}");
    assert_eq!(run(&["export", &all, "--format", "csv", "--host", "four"]).0, 2);
    // A dump that was not merged has a host too, if it is asked for.
    assert!(export(&one, "--format openmetrics --by host").contains("host=\"one\",idle="));
}

/// A guest is chosen by name, not by pid: another VM may have that pid, on another host or later.
#[test]
fn a_guest_is_not_another_with_its_pid() {
    let files = Files::new();
    let [one, _, all] = merged(&files, ["web", "db"]);
    for names in ["keep", "hash", "none"] {
        let chosen = export(&all, &format!("--format csv --names {names} -g web"));
        assert_eq!(exits(&chosen), exits(&export(&one, "--format csv")), "{names}");
    }
    let header = Header { start_unix_ms: 1, ..header("one") };
    let later = files.dump("later", header, "db", (&DISTRIBUTIONS[..2], LOAD, Effect::default(), 9));
    let both = files.merged("both", &[&one, &later]);
    assert_eq!(exits(&export(&both, "--format csv -g web")), exits(&export(&one, "--format csv")));
}

/// Hosts were booted at different times, but their simultaneous intervals have the same time.
#[test]
fn the_clocks_of_hosts_are_told_apart() {
    let files = Files::new();
    let one = guest(&files, "one", "web");
    let two = files.rewritten("two", &guest(&files, "three", "web"), |interval| {
        // A thousand days up, and a tenth of a second later.
        interval.start_ns += 86_400_000_000_000_000;
        interval.end_ns += 86_400_000_000_000_000;
        interval.end_unix_ms += 100;
    });
    let all = files.merged("all", &[&one, &two]);
    let log = export(&all, "--format hlog");
    let starts = log.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let starts: Vec<f64> = starts.map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(starts, [0.0, 0.1, 1.0, 1.1, 2.0, 2.1], "{log}");
    let page = export(&all, "--format html");
    assert!(page.contains("handled exits in 3 columns from 22:13:20 to 22:13:23 UTC"), "{page}");
}
