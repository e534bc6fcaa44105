//! One tenant cannot make another lose samples. Each attack runs to its full effect, then a neighbour starts,
//! which must not lose a sample. The attacker's losses must be reported.
//!
//! The attackers are those of `workload attack`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::guest::{
    Background, Live, Running, Table, Vcpu, demand_exact, exitlat, record, report, scratch, succeed,
    wait_until, workload_path,
};

const BY: &str = "--by vcpu,reason";
/// Most causes that are shown for one vCPU and reason.
const MOST_CAUSES: usize = 65;
/// Most characters of a name.
const LONGEST_NAME: usize = 256;
/// Losses that count refused places in a table.
const REFUSALS: [&str; 4] = ["slot_table_full", "slot_quota", "vcpu_table_full", "vcpu_quota"];

/// A running attacker.
struct Attacker {
    child: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pid: u64,
}

impl Attacker {
    /// Starts it and waits until its vCPUs exist.
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(workload_path());
        command.arg("attack").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running::start(&mut command);
        let (input, output) = (child.0.stdin.take().unwrap(), child.0.stdout.take().unwrap());
        let mut attacker = Self { child, input, output: BufReader::new(output), pid: 0 };
        attacker.pid = attacker.line()["pid"].as_u64().unwrap();
        attacker
    }

    /// Does a round and returns its result. The attacker keeps running.
    fn round(&mut self) -> Value {
        self.input.write_all(b"\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("the attacker said {line:?}: {error}"))
    }

    /// Ends it and waits until it is gone.
    fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(child.0.wait().unwrap().success());
    }
}

/// The neighbour's workload, and the names of its exit reasons on one isa.
struct Neighbour {
    isa: &'static str,
    workload: &'static str,
    /// The reason of its port exits.
    io: &'static str,
}

const SVM: Neighbour = Neighbour {
    isa: "svm",
    workload: "--name neighbour --vcpus 2 cpuid=300 msr=200 io=150 hlt=20",
    io: "io",
};
const VMX: Neighbour = Neighbour {
    isa: "vmx",
    workload: "--name neighbour --vcpus 1 cpuid=50 msr=30 io=20 hlt=5",
    io: "IO_INSTRUCTION",
};

impl Neighbour {
    /// Runs the workload to its end.
    fn run(&self) -> Vec<Vcpu> {
        let guests = Background::start(self.workload);
        guests.go();
        guests.finish(self.isa)
    }

    /// Demands that all its exits are in the table, by reason and by cause, and that it lost none.
    fn demand(&self, table: &Table, vcpus: &[Vcpu]) {
        let own = of_process(table, vcpus[0].pid);
        demand_exact(&own, vcpus, self.isa);
        for vcpu in vcpus {
            let row = own.rows().iter().find(|row| row["tid"] == vcpu.tid && row["reason"] == self.io);
            let io = vcpu.exits[self.io] - vcpu.unpaired;
            assert_eq!(causes(row.unwrap(), "user_exits"), json!({ "KVM_EXIT_IO": io }), "{}", own.0);
        }
    }
}

/// Samples by cause of a row.
fn causes(row: &Value, of: &str) -> Value {
    let causes = row[of].as_array().into_iter().flatten();
    causes.map(|cause| (cause["cause"].as_str().unwrap().to_owned(), cause["samples"].clone())).collect()
}

/// The rows of one process and what its VM lost, as far as losses are told apart by VM.
fn of_process(table: &Table, pid: u64) -> Table {
    let mut own = table.clone();
    own.0["rows"] = table.rows().iter().filter(|row| row["pid"] == pid).cloned().collect();
    own.0["losses"] = losses_of(table, pid);
    own
}

/// One VM's losses to full tables, by name; null if no table lists the VM.
fn losses_of(table: &Table, pid: u64) -> Value {
    let crowded = table.0["crowded"].as_array().into_iter().flatten();
    let hit = crowded.flat_map(|table| table["hit"].as_array().cloned().unwrap_or_default());
    match hit.filter(|hit| hit["pid"] == pid).map(|hit| hit["lost"].as_u64().unwrap()).sum::<u64>() {
        0 => json!({}),
        lost => json!({ "slot_table_full": lost }),
    }
}

/// The attacker fills the table, and is the only one that it hit.
fn demand_blame(table: &Table, pid: u64) {
    for crowded in table.0["crowded"].as_array().into_iter().flatten() {
        assert_eq!(crowded["holder"]["pid"], pid, "{crowded}");
        let hit = crowded["hit"].as_array().unwrap();
        assert!(hit.iter().all(|hit| hit["pid"] == pid), "{crowded}");
    }
    assert_eq!(refused(table) > 0, table.0["crowded"].is_array(), "{:?}", table.0["losses"]);
}

fn samples(table: &Table) -> u64 {
    table.rows().iter().map(|row| row["samples"].as_u64().unwrap()).sum()
}

/// All samples refused by full tables, of any VM.
fn refused(table: &Table) -> u64 {
    REFUSALS.iter().map(|name| table.loss(name)).sum()
}

/// The last table of a tracer.
fn last(live: Live) -> Table {
    let (status, blocks) = live.stop(libc::SIGINT);
    assert_eq!(status, 0);
    Table::last(&blocks)
}

/// Runs the attack, then the neighbour, under one tracer that starts first. Returns its table, the attacker's
/// pid and the attacker's own report.
fn under_attack(options: &str, attack: &[&str], neighbour: &Neighbour) -> (Table, u64, Value) {
    let live = Live::start(&format!("-d 600 {BY} {options}"));
    let mut attacker = Attacker::start(attack);
    let said = attacker.round();
    let vcpus = neighbour.run();
    let table = last(live);
    neighbour.demand(&table, &vcpus);
    let pid = attacker.pid;
    attacker.end();
    (table, pid, said)
}

/// All exits of the attacker's vCPUs by KVM's own count, where the kernel has it.
fn kvm_exits(said: &Value) -> Option<u64> {
    said["vcpus"].as_array().unwrap().iter().map(|vcpu| vcpu["exits"].as_u64()).sum()
}

/// In a process whose vCPU threads are all in their last exit, every earlier exit is a sample or was refused.
fn demand_all_accounted(table: &Table, pid: u64, said: &Value) {
    let Some(exits) = kvm_exits(said) else { return };
    let vcpus = said["vcpus"].as_array().unwrap().len() as u64;
    let (samples, refused) = (samples(&of_process(table, pid)), refused(table));
    assert!(samples + refused + vcpus >= exits, "{samples} samples, {refused} refused, {exits} exits");
}

/// No vCPU has more causes than its quota, and no name of a cause is made up by the attacker.
fn demand_few_causes(table: &Table, pid: u64) {
    for row in of_process(table, pid).rows() {
        for of in ["causes", "user_exits"] {
            let causes = row[of].as_array().into_iter().flatten();
            let shown = causes.filter(|cause| cause["cause"] != "none").count();
            assert!(shown <= MOST_CAUSES, "{shown} {of} of {}", row["reason"]);
        }
    }
}

fn scribbler(runs: u64, neighbour: &Neighbour) {
    let (table, pid, said) = under_attack("", &["scribble", "--runs", &runs.to_string()], neighbour);
    demand_few_causes(&table, pid);
    demand_all_accounted(&table, pid, &said);
    // The reasons are KVM's, and so is their number: the last one is not over yet.
    let returns: u64 = of_process(&table, pid)
        .rows()
        .iter()
        .flat_map(|row| row["user_exits"].as_array().cloned().unwrap_or_default())
        .map(|cause| cause["samples"].as_u64().unwrap())
        .sum();
    assert_eq!(returns, runs - 1, "{:?}", of_process(&table, pid).0);
}

#[test]
fn abuse_reasons_that_kvm_does_not_have_fill_no_table() {
    scribbler(5000, &SVM);
}

#[test]
fn intel_reasons_that_kvm_does_not_have_fill_no_table() {
    scribbler(4500, &VMX);
}

/// All these reasons are KVM's own; one process has too many of them.
#[test]
fn abuse_many_vcpus_with_many_reasons_leave_places_to_others() {
    let attack = ["scribble", "--vcpus", "128", "--runs", "64", "--first", "0", "--mask", "63"];
    let (table, pid, said) = under_attack("", &attack, &SVM);
    demand_few_causes(&table, pid);
    demand_blame(&table, pid);
    demand_all_accounted(&table, pid, &said);
}

/// A guest alone can do this.
#[test]
fn abuse_msrs_that_do_not_exist_fill_no_table() {
    let (table, pid, said) = under_attack("--causes msr", &["msrs", "--count", "5000"], &SVM);
    demand_few_causes(&table, pid);
    demand_all_accounted(&table, pid, &said);
    let msr = of_process(&table, pid).rows().iter().find(|row| row["reason"] == "msr").cloned().unwrap();
    assert_eq!(msr["samples"], 5000, "{msr}");
}

fn thread_bomb(options: &str, count: u32, neighbour: &Neighbour) {
    let (table, pid, said) = under_attack(options, &["threads", "--count", &count.to_string()], neighbour);
    demand_all_accounted(&table, pid, &said);
    demand_blame(&table, pid);
    assert!(refused(&table) > 0, "there is no room for all: {:?}", table.0["losses"]);
}

#[test]
fn abuse_a_process_with_too_many_vcpus_leaves_places_to_others() {
    thread_bomb("", 1100, &SVM);
}

#[test]
fn intel_a_process_with_too_many_vcpus_leaves_places_to_others() {
    thread_bomb("--max-vcpus 64", 80, &VMX);
}

/// The tracer starts first. More processes come than its table was asked to hold, but fewer than it holds
/// with its reserve.
#[test]
fn abuse_too_many_processes_leave_places_to_others() {
    under_attack("", &["processes", "--count", "1100"], &SVM);
}

/// The tracer sizes its tables for the vCPUs that the host has when it starts.
#[test]
fn abuse_many_processes_that_are_there_already_all_have_places() {
    let mut attacker = Attacker::start(&["processes", "--count", "1100", "--rounds", "2"]);
    attacker.round();
    let live = Live::start(&format!("-d 600 {BY}"));
    attacker.round();
    let vcpus = SVM.run();
    let table = last(live);
    SVM.demand(&table, &vcpus);
    attacker.end();
    assert_eq!(refused(&table), 0, "{:?}", table.0["losses"]);
}

/// A VM with as many vCPUs as the table has places: there is no other VM to keep a place for.
#[test]
fn abuse_a_lone_vm_may_fill_the_vcpu_table() {
    let (vcpus, recording) = record("--max-vcpus 16", "--vcpus 16 cpuid=50 msr=30 io=10", "svm");
    assert_eq!(vcpus.len(), 16);
    demand_exact(&report(&recording, BY), &vcpus, "svm");
}

#[test]
fn abuse_names_are_cut_and_harmless() {
    const THREAD: &str = "\u{1b}[2J\nCPU\t\r\u{7}x";
    let long = format!("guest={},debug-threads=on", "x".repeat(100 << 10));
    let attack = ["name", "--thread", THREAD, "--", "-name", long.as_str()];
    let recording = scratch("names");
    let mut recorder = Running::start(exitlat().args(["record", "-d", "100ms", "-o"]).arg(&recording));
    wait_until("a header is written", || fs::metadata(&recording).is_ok_and(|meta| meta.len() > 0));
    let (table, pid, _) = under_attack("", &attack, &SVM);
    let pids = |table: &Table| table.rows().iter().any(|row| row["pid"] == pid);
    wait_until("it is recorded", || pids(&report(&recording, BY)));
    // SAFETY: a signal to our own child.
    assert_eq!(unsafe { libc::kill(recorder.0.id() as i32, libc::SIGINT) }, 0);
    assert!(recorder.0.wait().unwrap().success());
    for table in [table, report(&recording, BY)] {
        let name = of_process(&table, pid).rows()[0]["vm"].as_str().unwrap().to_owned();
        assert!(name.chars().count() <= LONGEST_NAME, "{} characters", name.chars().count());
        assert!(name.starts_with('x'), "{name}");
    }
    let size = fs::metadata(&recording).unwrap().len();
    assert!(size < 100 << 10, "a recording of {size} bytes");
    for by in ["vm", "vcpu,reason"] {
        let text = succeed(exitlat().arg("report").arg(&recording).args(["--by", by])).stdout;
        let bad = |byte: &&u8| byte.is_ascii_control() && **byte != b'\n';
        assert_eq!(text.iter().find(bad), None, "{}", String::from_utf8_lossy(&text));
        let widest = text.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
        assert!(widest < Some(2000), "a line of {widest:?} bytes");
    }
}

/// The memory of a process, in KiB, without the files and the tables that it maps.
fn own_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Threads that come and go for days: each is counted or reported as lost, and none is kept in memory.
#[test]
fn abuse_threads_that_come_and_go_take_no_memory() {
    const THREADS: u64 = 5_000;
    /// Less than the name and numbers of every other thread of a round.
    const GROWTH_KIB: u64 = 512;
    /// In the first two, buffers and tables of numbers grow to what an interval needs.
    const ROUNDS: usize = 4;
    const WARM: usize = 1;
    let recording = scratch("churn");
    let mut recorder = Running::start(exitlat().args(["record", "-d", "50ms", "-o"]).arg(&recording));
    wait_until("a header is written", || fs::metadata(&recording).is_ok_and(|meta| meta.len() > 0));
    let mut attacker = Attacker::start(&["churn", "--count", &THREADS.to_string()]);
    let mut sizes = Vec::new();
    let mut exits = None;
    for _ in 0..ROUNDS {
        exits = attacker.round()["exits"].as_u64();
        sizes.push(own_kib(recorder.0.id()));
    }
    // SAFETY: a signal to our own child.
    assert_eq!(unsafe { libc::kill(recorder.0.id() as i32, libc::SIGINT) }, 0);
    assert!(recorder.0.wait().unwrap().success());
    attacker.end();
    let table = report(&recording, "--by reason");
    let cpuid = table.reason("cpuid")["samples"].as_u64().unwrap();
    // Each thread makes a CPUID exit, and ends in a port exit.
    let threads = ROUNDS as u64 * THREADS;
    assert!(cpuid + refused(&table) >= threads && cpuid <= threads, "{}", table.0);
    if let Some(exits) = exits {
        assert_eq!(samples(&table) + table.loss("died_in_exit") + refused(&table), exits, "{}", table.0);
    }
    assert!(sizes[ROUNDS - 1].saturating_sub(sizes[WARM]) <= GROWTH_KIB, "{sizes:?} KiB");
}
