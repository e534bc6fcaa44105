//! Several virtual machines, each a process of its own: starts them together and collects what they say.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::{process, sys};

/// The variable in the environment of a virtual machine's process that tells its name.
pub const NAME_VARIABLE: &str = "WORKLOAD_VM";
/// The file with the last process number that the kernel has given.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
/// How often a process is started until it has the number asked for: others start processes, too.
const PID_ATTEMPTS: u32 = 200;
/// How often files are looked for.
const POLL: Duration = Duration::from_millis(5);

/// What is done, and when.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How many virtual machines there are.
    pub vms: u32,
    /// How many vCPUs each of them has.
    pub vcpus: u32,
    /// What their names begin with.
    pub name: String,
    /// The command line of their processes; empty: as QEMU's.
    pub argv: Vec<String>,
    /// The process number of the first.
    pub pid: Option<u32>,
    /// Where to say that all are ready; `-` is standard output.
    pub ready: Option<PathBuf>,
    /// The files that must exist before any guest runs.
    pub go: Vec<PathBuf>,
    /// The file that ends the guests early.
    pub stop: Option<PathBuf>,
    /// How long the processes stay after their results are printed.
    pub linger: Duration,
    /// The file that must exist, after that, before they end.
    pub hold: Option<PathBuf>,
}

/// A virtual machine's process.
struct Vm {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
}

/// All of them; killed if something goes wrong.
struct Fleet {
    vms: Vec<Vm>,
    lines: Receiver<(usize, Option<String>)>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for vm in &mut self.vms {
            // If it has ended by itself there is nothing to kill; `wait` reaps it either way.
            let _ = vm.child.kill();
            let _ = vm.child.wait();
        }
    }
}

/// Runs virtual machines as processes of this same executable and prints their results as one JSON line. Each
/// process gets `arguments` as a JSON line on its standard input, before the lines of [`process`].
///
/// # Errors
/// If a process cannot be started or fails.
pub fn run(schedule: &Schedule, arguments: &[String]) -> Result<()> {
    let mut fleet = Fleet::start(schedule, arguments)?;
    let ready = fleet.collect(None)?;
    if let Some(path) = &schedule.ready {
        announce(path, &json!({"ready": true, "vms": ready}))?;
    }
    for path in &schedule.go {
        sys::wait_for_file(path);
    }
    fleet.tell(process::GO)?;
    let done = fleet.collect(schedule.stop.as_deref())?;
    let times = |key: &str| {
        let vcpus = done.iter().filter_map(|vm| vm["vcpus"].as_array()).flatten();
        vcpus.filter_map(|vcpu| vcpu[key].as_u64()).collect::<Vec<_>>()
    };
    let (started, finished) = (times("started").into_iter().min(), times("finished").into_iter().max());
    announce(Path::new("-"), &json!({"started": started, "finished": finished, "vms": done}))?;

    thread::sleep(schedule.linger);
    if let Some(path) = &schedule.hold {
        sys::wait_for_file(path);
    }
    fleet.end()
}

impl Fleet {
    fn start(schedule: &Schedule, arguments: &[String]) -> Result<Self> {
        let (sender, lines) = mpsc::channel();
        let mut fleet = Self { vms: Vec::new(), lines };
        let executable = env::current_exe().context("cannot find this executable")?;
        for index in 0..schedule.vms {
            let name = format!("{}-{index}", schedule.name);
            let mut command = Command::new(&executable);
            if let Some((program, arguments)) = schedule.argv.split_first() {
                command.arg0(program).args(arguments);
            } else {
                command.arg0(env::args().next().unwrap_or_else(|| "workload".to_owned()));
                command.args(["-name", &format!("guest={name},debug-threads=on"), "-accel", "kvm"]);
                command.args(["-smp", &schedule.vcpus.to_string()]);
            }
            command.env(NAME_VARIABLE, &name).stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = match schedule.pid.filter(|_| index == 0) {
                Some(pid) => spawn_as(&mut command, pid),
                None => command.spawn().map_err(Into::into),
            };
            let mut child = child.with_context(|| format!("cannot start the process of VM {name}"))?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            fleet.vms.push(Vm { name, child, input });
            let sender = sender.clone();
            let output = BufReader::new(output.context("no pipe from the process")?);
            thread::spawn(move || {
                let lines = output.lines().map_while(Result::ok).map(Some);
                for line in lines.chain([None]) {
                    if sender.send((index as usize, line)).is_err() {
                        return;
                    }
                }
            });
        }
        let numbered: Vec<_> = (0..schedule.vms).map(|index| json!([index, arguments]).to_string()).collect();
        for (vm, line) in fleet.vms.iter_mut().zip(numbered) {
            vm.tell(&line)?;
        }
        Ok(fleet)
    }

    /// One line of JSON from each, in their order. While waiting, stops the guests as soon as `stop` exists.
    fn collect(&mut self, stop: Option<&Path>) -> Result<Vec<Value>> {
        let mut values = vec![Value::Null; self.vms.len()];
        let mut stop = stop;
        while values.iter().any(Value::is_null) {
            match self.lines.recv_timeout(POLL) {
                Ok((index, Some(line))) => {
                    values[index] =
                        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
                }
                Ok((index, None)) => {
                    let vm = &mut self.vms[index];
                    let status = vm.child.wait()?;
                    bail!("VM {} failed: {status}", vm.name);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("all VMs are gone"),
            }
            if stop.is_some_and(Path::exists) {
                self.tell(process::STOP)?;
                stop = None;
            }
        }
        Ok(values)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        self.vms.iter_mut().try_for_each(|vm| vm.tell(line))
    }

    /// Lets all processes end, by ending their input, and waits for them.
    fn end(mut self) -> Result<()> {
        for vm in &mut self.vms {
            drop(vm.input.take());
        }
        for vm in &mut self.vms {
            let status = vm.child.wait()?;
            if !status.success() {
                bail!("VM {} failed at its end: {status}", vm.name);
            }
        }
        Ok(())
    }
}

impl Vm {
    fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or_else(|| anyhow!("VM {} is ending", self.name))?;
        writeln!(input, "{line}").with_context(|| format!("VM {} does not listen", self.name))
    }
}

/// Starts a process that gets this number.
fn spawn_as(command: &mut Command, pid: u32) -> Result<Child> {
    for _ in 0..PID_ATTEMPTS {
        fs::write(LAST_PID, (pid - 1).to_string()).context(LAST_PID)?;
        let mut child = command.spawn()?;
        if child.id() == pid {
            return Ok(child);
        }
        child.kill()?;
        child.wait()?;
        thread::sleep(POLL);
    }
    bail!("another process has the number {pid}")
}

/// Writes a line to a file, which appears complete, or to standard output.
fn announce(path: &Path, value: &Value) -> Result<()> {
    if path == Path::new("-") {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{value}")?;
        return Ok(out.flush()?);
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, format!("{value}\n"))
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What a virtual machine's process gets on its first line: its number and the arguments.
///
/// # Errors
/// If the line is not that.
pub fn parse_first_line(line: &str) -> Result<(u32, Vec<String>)> {
    let value: Value = serde_json::from_str(line).context("not JSON")?;
    let index = value[0].as_u64().and_then(|index| u32::try_from(index).ok()).context("no number")?;
    let arguments = value[1].as_array().context("no arguments")?;
    let arguments = arguments.iter().map(|argument| argument.as_str().map(str::to_owned));
    Ok((index, arguments.collect::<Option<_>>().context("an argument is no string")?))
}

/// What every virtual machine's process does first.
///
/// # Errors
/// If the kernel refuses.
pub fn join() -> Result<()> {
    sys::die_with_parent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_parsed() {
        assert_eq!(parse_first_line(r#"[3,["a","b"]]"#).unwrap(), (3, vec!["a".to_owned(), "b".to_owned()]));
        for bad in ["", "[]", "[1]", "[1,[2]]", r#"[-1,["a"]]"#] {
            assert!(parse_first_line(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn announcements_replace_the_file() {
        let path = env::temp_dir().join(format!("exitlat-announce-{}", std::process::id()));
        announce(&path, &json!(1)).unwrap();
        announce(&path, &json!({"a": 2})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":2}\n");
        fs::remove_file(path).unwrap();
    }
}
