//! Running exitlat and the workload, and reading what they print.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take before the test gives up. Never reached by a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long a test may read intervals.
const LONGEST: Duration = Duration::from_secs(480);

/// exitlat, as a command.
pub fn exitlat() -> Command {
    Command::new(env::var_os("EXITLAT").unwrap_or_else(|| "/bin/exitlat".into()))
}

/// Path of the workload.
pub fn workload_path() -> String {
    env::var("WORKLOAD").unwrap_or_else(|_| "/bin/workload".into())
}

/// Kernels with BTF of their KVM modules; the others have to fall back by themselves.
pub fn has_module_btf() -> bool {
    ["kvm_amd", "kvm_intel"].iter().any(|module| Path::new("/sys/kernel/btf").join(module).exists())
}

/// A file name nobody else has.
pub fn scratch(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("{}-{number}-{name}", std::process::id()))
}

/// The state of the process or thread with this directory, as in proc(5); none if there is none.
pub fn task_state(directory: &str) -> Option<char> {
    fs::read_to_string(format!("{directory}/stat")).ok()?.rsplit(") ").next()?.chars().next()
}

/// Waits until `so` is true.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command that has to succeed.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The JSON objects in an output, one a line; other lines are left out.
pub fn json_lines(text: &[u8]) -> Vec<Value> {
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// What the workload says a correct tracer has counted on one vCPU.
#[derive(Clone, Debug)]
pub struct Vcpu {
    pub vm: String,
    pub pid: u64,
    pub id: u64,
    pub tid: u64,
    /// Exits by the kernel's name of their reason, without the host's interrupts.
    pub exits: BTreeMap<String, u64>,
    /// Exits without an entry after them: the last one, if it has none.
    pub unpaired: u64,
    /// All exits by KVM's own count, where the kernel has it.
    pub kvm_exits: Option<u64>,
    pub raw: Value,
}

/// Reads the workload's result. `isa` is `svm`, `vmx` or `s390`.
pub fn oracle(output: &[u8], isa: &str) -> Vec<Vcpu> {
    let results = json_lines(output);
    let result =
        results.iter().find(|value| value["vms"].is_array()).expect("the workload prints its result");
    let mut vcpus = Vec::new();
    for vm in result["vms"].as_array().unwrap() {
        for vcpu in vm["vcpus"].as_array().unwrap() {
            let exits = vcpu[isa].as_object().unwrap().iter();
            vcpus.push(Vcpu {
                vm: vm["name"].as_str().unwrap().to_owned(),
                pid: vm["pid"].as_u64().unwrap(),
                id: vcpu["id"].as_u64().unwrap(),
                tid: vcpu["tid"].as_u64().unwrap(),
                exits: exits.map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect(),
                unpaired: vcpu["unpaired_exits"].as_u64().unwrap(),
                kvm_exits: vcpu["kvm_stats"]["exits"].as_u64(),
                raw: vcpu.clone(),
            });
        }
    }
    vcpus
}

/// A table in JSON.
#[derive(Clone, Debug)]
pub struct Table(pub Value);

impl Table {
    /// The last object of an output: the total, where there is one.
    pub fn last(output: &[u8]) -> Self {
        Self(json_lines(output).pop().expect("exitlat prints a JSON object"))
    }

    pub fn rows(&self) -> &[Value] {
        self.0["rows"].as_array().expect("a table has rows")
    }

    /// Samples by reason of one vCPU thread; the table must be by vcpu,reason.
    pub fn samples(&self, tid: u64) -> BTreeMap<String, u64> {
        let rows = self.rows().iter().filter(|row| row["tid"] == tid);
        rows.map(|row| (row["reason"].as_str().unwrap().to_owned(), row["samples"].as_u64().unwrap()))
            .collect()
    }

    /// The labels of its rows, in order, with their sample counts.
    pub fn keys(&self) -> Vec<[String; 5]> {
        let key = |row: &Value| ["tid", "vcpu", "isa", "code", "samples"].map(|name| row[name].to_string());
        let mut keys: Vec<_> = self.rows().iter().map(key).collect();
        keys.sort();
        keys
    }

    /// The row of a reason; the table must be by reason alone.
    pub fn reason(&self, name: &str) -> &Value {
        let row = self.rows().iter().find(|row| row["reason"] == name);
        row.unwrap_or_else(|| panic!("no row {name} in {}", self.0))
    }

    pub fn loss(&self, name: &str) -> u64 {
        self.0["losses"][name].as_u64().unwrap_or(0)
    }
}

/// The differences between isas.
struct Isa {
    name: &'static str,
    /// The reason of the workload's last exit, if that is counted among the others. It has no entry after
    /// it.
    last_reason: Option<&'static str>,
    /// The host's own interrupts, whose number is not predicted.
    interrupts: &'static [&'static str],
}

static ISAS: [Isa; 3] = [
    Isa { name: "svm", last_reason: Some("io"), interrupts: &["interrupt", "nmi", "vintr"] },
    Isa {
        name: "vmx",
        last_reason: Some("IO_INSTRUCTION"),
        interrupts: &["EXTERNAL_INTERRUPT", "EXCEPTION_NMI"],
    },
    Isa { name: "s390", last_reason: None, interrupts: &["Host interruption"] },
];

/// Demands that a table by vcpu,reason has exactly the exits of the workload: every reason, every vCPU, and
/// in sum KVM's own count.
pub fn demand_exact(table: &Table, vcpus: &[Vcpu], isa: &str) {
    let isa = ISAS.iter().find(|known| known.name == isa).expect("a known isa");
    for vcpu in vcpus {
        let mut samples = table.samples(vcpu.tid);
        let total: u64 = samples.values().sum();
        samples.retain(|reason, _| !isa.interrupts.contains(&reason.as_str()));
        let mut expected = vcpu.exits.clone();
        if let Some(last) = isa.last_reason {
            *expected.entry(last.to_owned()).or_default() -= vcpu.unpaired;
        }
        expected.retain(|reason, count| *count != 0 && !isa.interrupts.contains(&reason.as_str()));
        assert_eq!(samples, expected, "{} vCPU {}: {}", vcpu.vm, vcpu.id, table.0);
        if let Some(kvm) = vcpu.kvm_exits {
            assert_eq!(total + vcpu.unpaired, kvm, "{} vCPU {}: KVM's own count", vcpu.vm, vcpu.id);
        }
        let row = table.rows().iter().find(|row| row["tid"] == vcpu.tid).expect("found above");
        assert_eq!((&row["pid"], &row["vcpu"]), (&Value::from(vcpu.pid), &Value::from(vcpu.id)));
    }
    let threads: Vec<u64> = vcpus.iter().map(|vcpu| vcpu.tid).collect();
    for row in table.rows() {
        assert!(threads.contains(&row["tid"].as_u64().unwrap()), "a row of nobody: {row}");
    }
    for cause in [
        "unpaired_exits",
        "unpaired_entries",
        "clock_back",
        "slot_table_full",
        "vcpu_table_full",
        "missed_runs",
    ] {
        assert_eq!(table.loss(cause), 0, "{cause}: {}", table.0);
    }
}

/// Demands that the VMs in a table by vcpu,reason have their names. Only VMs that are alive at the last
/// snapshot are certain to have one.
pub fn demand_names(table: &Table, vcpus: &[Vcpu]) {
    for row in table.rows() {
        let vcpu = vcpus.iter().find(|vcpu| row["tid"] == vcpu.tid).expect("a vCPU of the workload");
        assert_eq!(row["vm"], vcpu.vm, "{row}");
    }
}

/// Records until the workload has ended; returns its oracle and the recording.
pub fn record(options: &str, workload: &str, isa: &str) -> (Vec<Vcpu>, PathBuf) {
    let dump = scratch("dump");
    let mut command = exitlat();
    command.args(["record", "-o"]).arg(&dump).args(options.split_whitespace());
    command.arg("--").arg(workload_path()).args(workload.split_whitespace());
    let output = succeed(&mut command);
    (oracle(&output.stdout, isa), dump)
}

/// Records while the workload runs and keeps its VMs alive; returns its oracle and the recording.
pub fn record_alive(options: &str, workload: &str, isa: &str) -> (Vec<Vcpu>, PathBuf) {
    let hold = scratch("hold");
    let guests = Background::start(&format!("--hold {} {workload}", hold.display()));
    let dump = record_while(options, &guests);
    fs::write(&hold, "").unwrap();
    (guests.finish(isa), dump)
}

/// Lets a workload go and records until it prints its result; returns the recording.
pub fn record_while(options: &str, guests: &Background) -> PathBuf {
    record_and_listen(options, guests).0
}

/// As [`record_while`]; returns also what exitlat said on standard error.
pub fn record_and_listen(options: &str, guests: &Background) -> (PathBuf, String) {
    record_by(&mut exitlat(), options, guests)
}

/// As [`record_and_listen`], by a command that already sets its capabilities or namespaces.
pub fn record_by(command: &mut Command, options: &str, guests: &Background) -> (PathBuf, String) {
    let dump = scratch("dump");
    command.args(["record", "-o"]).arg(&dump).args(options.split_whitespace());
    let wait = "touch $0; for i in $(seq 12000); do test -s $1 && exit; sleep 0.01; done; exit 1";
    command.args(["--", "/bin/sh", "-c", wait]);
    let output = succeed(command.args([&guests.go, &guests.result]));
    (dump, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The total of a dump.
pub fn report(dump: &Path, options: &str) -> Table {
    let mut command = exitlat();
    command.arg("report").arg(dump).args(["--format", "json"]).args(options.split_whitespace());
    Table::last(&succeed(&mut command).stdout)
}

/// A child that does not outlive its test: one left behind would keep the lab from ending, and disturb other
/// tests.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to do if it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until an `exitlat -v` is attached: the rest of its messages. They have to be kept open, as it may
/// have more to say.
pub fn attached(child: &mut Running) -> BufReader<ChildStderr> {
    let mut messages = BufReader::new(child.0.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("exitlat: attached by") {
        let read = messages.read_line(&mut seen).unwrap();
        assert_ne!(read, 0, "exitlat ended before it was attached: {seen}");
    }
    messages
}

/// A running `exitlat live -v --format json`, attached.
pub struct Live {
    child: Running,
    messages: BufReader<ChildStderr>,
}

impl Live {
    pub fn start(options: &str) -> Self {
        Self::of(&mut exitlat(), options)
    }

    /// Starts `live` by a command that already sets its capabilities or namespaces.
    pub fn of(command: &mut Command, options: &str) -> Self {
        command.args(["live", "-v", "--format", "json"]).args(options.split_whitespace());
        let mut child = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let messages = attached(&mut child);
        Self { child, messages }
    }

    pub fn pid(&self) -> i32 {
        self.child.0.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// The JSON objects it prints, until its end. After `LONGEST` it is killed, so that a test does not hang.
    pub fn blocks(&mut self) -> impl Iterator<Item = Value> + use<> {
        let stdout = BufReader::new(self.child.0.stdout.take().expect("taken once"));
        let (reading, read) = mpsc::channel::<()>();
        let pid = self.pid();
        thread::spawn(move || {
            if read.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: a signal to our own child, which is not waited for while it is read.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        stdout.lines().map_while(Result::ok).map(move |line| {
            let _ = &reading;
            serde_json::from_str(&line).expect("a JSON object")
        })
    }

    /// Sends a signal and waits for the end: exit status (-signal if killed) and standard output.
    pub fn stop(mut self, signal: i32) -> (i32, Vec<u8>) {
        self.signal(signal);
        // Standard error is drained too: exitlat blocks on a full pipe.
        let drain = thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = self.messages.read_to_end(&mut rest);
        });
        let mut output = Vec::new();
        if let Some(mut stdout) = self.child.0.stdout.take() {
            stdout.read_to_end(&mut output).unwrap();
        }
        let status = self.child.0.wait().unwrap();
        drain.join().unwrap();
        (status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)), output)
    }
}

/// A running `exitlat record`, attached.
pub struct Recording {
    child: Running,
    /// Kept open, so that exitlat can go on writing messages.
    _messages: BufReader<ChildStderr>,
    pub path: PathBuf,
}

impl Recording {
    pub fn start(options: &str) -> Self {
        let path = scratch("recording");
        let mut command = exitlat();
        command.args(["record", "-v", "-o"]).arg(&path).args(options.split_whitespace());
        let mut child = Running::start(command.stderr(Stdio::piped()));
        let messages = attached(&mut child);
        Self { child, _messages: messages, path }
    }

    /// Ends it; returns where the recording is.
    pub fn stop(mut self) -> PathBuf {
        // SAFETY: a signal to our own child.
        assert_eq!(unsafe { libc::kill(self.child.0.id() as i32, libc::SIGINT) }, 0);
        assert!(self.child.0.wait().unwrap().success());
        self.path.clone()
    }
}

/// A workload in the background, waiting to be told to go.
pub struct Background {
    child: Running,
    go: PathBuf,
    /// The file with its output.
    result: PathBuf,
    pub ready: Value,
}

impl Background {
    /// Starts it and waits until its VMs exist.
    pub fn start(arguments: &str) -> Self {
        Self::of(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Background::start`], of arguments that may have spaces.
    pub fn of(arguments: &[&str]) -> Self {
        let [ready, go, result] = ["ready", "go", "result"].map(scratch);
        let mut command = Command::new(workload_path());
        command.arg("--ready").arg(&ready).arg("--go").arg(&go).args(arguments);
        let output = fs::File::create(&result).unwrap();
        let child = Running::start(command.stdout(output));
        let mut line = None;
        wait_until("the workload is ready", || {
            line = fs::read(&ready).ok().and_then(|text| json_lines(&text).pop());
            line.is_some()
        });
        Self { child, go, result, ready: line.unwrap() }
    }

    pub fn go(&self) {
        fs::write(&self.go, "").unwrap();
    }

    /// Waits for its end and reads its result.
    pub fn finish(mut self, isa: &str) -> Vec<Vcpu> {
        let status = self.child.0.wait().unwrap();
        assert!(status.success(), "the workload: {status}");
        oracle(&fs::read(&self.result).unwrap(), isa)
    }

    /// Ends it now, and waits until its VMs are gone.
    pub fn kill(self) {
        let processes = self.ready["vms"].as_array().into_iter().flatten();
        let pids: Vec<u64> = processes.filter_map(|vm| vm["pid"].as_u64()).collect();
        drop(self);
        let lives = |pid: &u64| task_state(&format!("/proc/{pid}")).is_some_and(|state| state != 'Z');
        wait_until("its VMs are gone", || !pids.iter().any(lives));
    }
}
