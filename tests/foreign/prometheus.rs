//! The readers of metrics: the parsers of Prometheus' Python client, promtool, and node_exporter.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use exitlat_tests::program::text;

use crate::{PLAIN, SPLIT, directory, dump, export, python, unpacked};

/// Both parsers of Prometheus' Python client accept the text format meant for them, with the sums of the
/// JSON.
#[test]
fn the_client_parses_both_forms() {
    let dir = directory("metrics");
    for (name, what) in [("plain", PLAIN), ("split", SPLIT)] {
        let dump = dump(&dir, name, what);
        let json = dir.join(name).with_extension("json");
        export(&dump, &json, &[]);
        for ending in ["prom", "om"] {
            let metrics = json.with_extension(ending);
            export(&dump, &metrics, &["--by", "vcpu,reason"]);
            let with_parts = fs::read_to_string(&metrics).unwrap().contains("exitlat_vcpu_seconds_total");
            assert_eq!(with_parts, name == "split");
            assert!(python("openmetrics.py", &[&metrics, &json]).starts_with("samples: "));
        }
    }
}

/// promtool accepts the text format without complaint. It rejects OpenMetrics, so it does check.
#[test]
fn promtool_checks_the_metrics() {
    let dir = directory("promtool");
    let dump = dump(&dir, "dump", SPLIT);
    for by in ["vcpu,reason", "vm", "reason", "host"] {
        let metrics = dir.join(by).with_extension("prom");
        export(&dump, &metrics, &["--by", by]);
        assert_eq!(promtool(&metrics), (Some(0), String::new(), String::new()), "{by}");
    }
    let open_metrics = dir.join("metrics.om");
    export(&dump, &open_metrics, &[]);
    let (status, _, err) = promtool(&open_metrics);
    assert!(status != Some(0) && err.contains("unknown metric type"), "{status:?} {err}");
}

fn promtool(metrics: &Path) -> (Option<i32>, String, String) {
    let mut check = Command::new(unpacked("promtool"));
    text(check.args(["check", "metrics"]).stdin(fs::File::open(metrics).unwrap()).output().unwrap())
}

/// node_exporter's textfile collector serves the very samples of the file.
#[test]
fn node_exporter_serves_the_file() {
    let dir = directory("node-exporter");
    let dump = dump(&dir, "dump", SPLIT);
    let metrics = dir.join("textfiles/exitlat.prom");
    fs::create_dir(dir.join("textfiles")).unwrap();
    export(&dump, &metrics, &["--by", "vcpu,reason"]);
    let mut node_exporter = Command::new(unpacked("prometheus-node-exporter"));
    node_exporter.args(["--collector.disable-defaults", "--collector.textfile"]);
    node_exporter.arg("--collector.textfile.directory").arg(dir.join("textfiles"));
    node_exporter.arg("--web.listen-address=127.0.0.1:0");
    let mut server = Server(node_exporter.stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    // It logs the port that it got.
    let listening = log.find(|line| line.contains("Listening on")).unwrap();
    let (_, address) = listening.rsplit_once("address=").unwrap();
    let served = get(address.trim_matches('"'), "/metrics");
    assert!(served.contains("\nnode_textfile_scrape_error 0\n"), "{served:.2000}");
    // It sorts labels and prints numbers in its own way.
    let samples = |text: &str, name: &str| -> Vec<(Vec<String>, f64)> {
        let mut samples: Vec<_> = text.lines().filter(|line| line.starts_with(name)).map(sample).collect();
        samples.sort_by(|a, b| a.0.cmp(&b.0));
        samples
    };
    let written = fs::read_to_string(&metrics).unwrap();
    let names = [
        "exits_total{",
        "exit_part_seconds_total{",
        "vcpu_seconds_total{",
        "losses_total{",
        "recording_info{",
    ];
    for name in names.map(|name| format!("exitlat_{name}")) {
        let expected = samples(&written, &name);
        assert!(!expected.is_empty(), "{name}");
        assert_eq!(samples(&served, &name), expected, "{name}");
    }
    for (name, kind) in
        [("exits_total", "counter"), ("exit_duration_seconds", "histogram"), ("recording_info", "gauge")]
    {
        assert!(served.contains(&format!("\n# TYPE exitlat_{name} {kind}\n")), "{name}");
    }
}

/// The labels of a line, sorted, and its number. A label without a value is no label.
fn sample(line: &str) -> (Vec<String>, f64) {
    let (labels, number) = line.rsplit_once("} ").unwrap();
    let (_, labels) = labels.split_once('{').unwrap();
    // No value of a label has these three characters in a row: a quotation mark in one is escaped.
    let mut labels: Vec<_> =
        labels.split("\",").map(|label| label.trim_end_matches('"').to_owned()).collect();
    labels.retain(|label| !label.ends_with('='));
    labels.sort();
    (labels, number.parse().unwrap())
}

/// The answer of an HTTP server that closes the connection after it.
fn get(address: &str, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// A program that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
