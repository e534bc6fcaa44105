//! Linux as a guest of QEMU: a VMM with threads, locks and a monitor of its own, as production hosts have it.
//!
//! `linux-guest` of the lab starts it (`xtask/lab/guest`). The guest says on its serial port when it is up,
//! and does there what it is asked for.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::guest::{Running, scratch, wait_until};

/// How long the guest may take to say something. Never reached by a test that passes.
const PATIENCE: Duration = Duration::from_secs(400);
/// Prefix of the guest's own lines.
const SAID: &str = "linux-guest: ";

/// A Linux guest with two vCPUs.
pub struct LinuxGuest {
    /// The name of the VM.
    pub name: &'static str,
    qemu: Running,
    requests: ChildStdin,
    /// Lines from the guest's serial port.
    lines: Receiver<String>,
    monitor: Monitor,
}

impl LinuxGuest {
    /// The UUID that it has by its command line.
    pub const UUID: &str = "12c6e5a0-9999-4222-8333-444455556666";

    /// Starts QEMU, and waits until Linux is up.
    pub fn boot(name: &'static str) -> Self {
        let socket = scratch("qmp");
        let complaints = fs::File::create(scratch("qemu.txt")).unwrap();
        let mut command = Command::new("/bin/linux-guest");
        command
            .args([name, "-uuid", Self::UUID])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints);
        let mut qemu = Running::start(&mut command);
        let (requests, port) = (qemu.0.stdin.take().unwrap(), qemu.0.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(port).split(b'\n').map_while(Result::ok);
            for line in lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        wait_until("QEMU has its monitor", || socket.exists());
        let mut guest = Self { name, qemu, requests, lines, monitor: Monitor::connect(&socket) };
        assert_eq!(guest.hear(), "ready");
        guest
    }

    /// The running guest, shared by the tests that do not look at its boot.
    pub fn shared() -> MutexGuard<'static, Self> {
        static GUEST: OnceLock<Mutex<LinuxGuest>> = OnceLock::new();
        let guest = GUEST.get_or_init(|| Mutex::new(Self::boot("shared")));
        // A test that fails may leave it stopped.
        let mut guest = guest.lock().unwrap_or_else(PoisonError::into_inner);
        guest.cont();
        guest
    }

    /// The process of the VM.
    pub fn pid(&self) -> u64 {
        u64::from(self.qemu.0.id())
    }

    /// The next line that the guest says to us; what its kernel says is left out.
    fn hear(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("the Linux guest is silent ({error}): {all:#?}"));
            if let Some((_, said)) = line.split_once(SAID) {
                return said.to_owned();
            }
            all.push(line);
        }
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").unwrap();
        self.hear()
    }

    /// Lets the guest execute CPUID, with no other CPUID meanwhile; returns how often.
    pub fn execute_cpuid(&mut self) -> u64 {
        let answer = self.ask("cpuid");
        let count = answer.strip_suffix(" CPUID").and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("an answer without a count: {answer}"))
    }

    /// Lets both vCPUs work, so that each of them has entered its guest again.
    pub fn use_both_vcpus(&mut self) {
        assert_eq!(self.ask("both"), "both");
    }

    /// Numbers and threads of the vCPUs, as QEMU has them.
    pub fn vcpus(&mut self) -> BTreeSet<(u64, u64)> {
        let cpus = self.monitor.execute("query-cpus-fast", json!({}));
        let number =
            |cpu: &Value, name: &str| cpu[name].as_u64().unwrap_or_else(|| panic!("no {name}: {cpu}"));
        let cpus = cpus.as_array().expect("a list of vCPUs").iter();
        cpus.map(|cpu| (number(cpu, "cpu-index"), number(cpu, "thread-id"))).collect()
    }

    /// Pauses the VM. When this returns, no vCPU runs.
    pub fn stop(&mut self) {
        self.monitor.execute("stop", json!({}));
    }

    /// Resumes the VM.
    pub fn cont(&mut self) {
        self.monitor.execute("cont", json!({}));
    }

    /// The registers of all vCPUs, which QEMU has to ask KVM for.
    pub fn registers(&mut self) -> String {
        let line = json!({"command-line": "info registers -a"});
        let registers = self.monitor.execute("human-monitor-command", line);
        registers.as_str().expect("a text").to_owned()
    }

    /// How many exits all vCPUs have made, by KVM's own count.
    pub fn kvm_exits(&self) -> u64 {
        let prefix = format!("{}-", self.pid());
        let vms = fs::read_dir("/sys/kernel/debug/kvm").unwrap().map(|entry| entry.unwrap());
        let mut vms = vms.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let vm = vms.next().expect("KVM has a directory for the VM").path();
        fs::read_to_string(vm.join("exits")).unwrap().trim().parse().unwrap()
    }
}

/// QEMU's monitor, by its machine protocol: one JSON object a line.
struct Monitor(BufReader<UnixStream>);

impl Monitor {
    fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Self(BufReader::new(stream));
        let greeting = monitor.read();
        assert!(greeting["QMP"].is_object(), "{greeting}");
        monitor.execute("qmp_capabilities", json!({}));
        monitor
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "QEMU has ended");
        serde_json::from_str(&line).expect("a JSON object")
    }

    /// Executes a command and returns its result. Events are skipped.
    fn execute(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.0.get_mut(), "{request}").unwrap();
        loop {
            let answer = self.read();
            assert!(answer["error"].is_null(), "{command}: {answer}");
            if !answer["return"].is_null() {
                return answer["return"].clone();
            }
        }
    }
}
