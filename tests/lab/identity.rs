//! VMs by the names that their owners use. The workload has the command lines, names of threads and control
//! groups of other VMMs, and the VMs are real.

mod sources;
mod stacks;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::guest::{
    Background, Recording, Table, demand_exact, exitlat, has_module_btf, json_lines, record_while, report,
    scratch, succeed, wait_until,
};

const BY: &str = "--by vcpu,reason";

/// What a VM looks like.
struct Looks {
    argv: &'static [&'static str],
    /// Name of its vCPU threads; `{}` is the vCPU's number.
    threads: &'static str,
}

impl Looks {
    /// Starts a workload that looks so, and waits until its VMs exist.
    fn start(&self, arguments: &str) -> Background {
        let mut words: Vec<&str> = arguments.split_whitespace().collect();
        words.extend(["--thread-name", self.threads]);
        words.extend(self.argv.iter().flat_map(|word| ["--argv", *word]));
        Background::of(&words)
    }
}

/// Number of the process of a workload's first VM.
fn pid(guests: &Background) -> u64 {
    guests.ready["vms"][0]["pid"].as_u64().unwrap()
}

/// `exitlat list`, by name of the VM.
pub fn list(options: &[&str]) -> BTreeMap<String, Value> {
    let output = succeed(exitlat().args(["list", "--format", "json"]).args(options));
    let mut list = Table::last(&output.stdout).0;
    let vms = list["vms"].as_array_mut().unwrap().drain(..);
    vms.map(|vm| (vm["vm"].as_str().unwrap().to_owned(), vm)).collect()
}

/// Numbers of the vCPUs that have a thread, with who told them, by the names of the threads.
fn vcpu_threads(vm: &Value) -> BTreeMap<String, (u64, String)> {
    let threads = vm["threads"].as_array().unwrap().iter().filter(|thread| thread["role"] == "vcpu");
    let of = |thread: &Value| {
        let source = thread["vcpu_source"].as_str().unwrap().to_owned();
        (thread["comm"].as_str().unwrap().to_owned(), (thread["vcpu"].as_u64().unwrap(), source))
    };
    threads.map(of).collect()
}

fn id_and_tid(vcpu: &Value) -> (u64, u64) {
    (vcpu["id"].as_u64().unwrap(), vcpu["tid"].as_u64().unwrap())
}

/// VMMs side by side: name and VMM of each, and what its vCPU threads are called.
#[test]
fn six_vmms_are_told_apart() {
    const VMMS: [(&str, &str, Looks); 6] = [
        ("db", "qemu", Looks { argv: &["qemu-system-x86_64", "-name", "db"], threads: "CPU {}/KVM" }),
        (
            "web02",
            "qemu",
            Looks { argv: &["/usr/bin/kvm", "-id", "110", "-name", "web02"], threads: "CPU {}/KVM" },
        ),
        (
            "web03",
            "cloud-hypervisor",
            Looks {
                argv: &["cloud-hypervisor", "--api-socket", "path=/run/ch/web03.sock"],
                threads: "vcpu{}",
            },
        ),
        (
            "arc1",
            "crosvm",
            Looks { argv: &["crosvm", "run", "--name", "arc1", "vmlinux"], threads: "crosvm_vcpu{}" },
        ),
        ("foo", "kvmtool", Looks { argv: &["lkvm", "run", "--name", "foo"], threads: "kvm-vcpu-{}" }),
        ("fc-8", "firecracker", Looks { argv: &["firecracker", "--id", "fc-8"], threads: "fc_vcpu {}" }),
    ];
    let running: Vec<Background> =
        VMMS.iter().map(|(_, _, looks)| looks.start("--vcpus 2 --forever cpuid=100 io=1")).collect();
    let demand = |source: &str| {
        let listed = list(&["-d", "0.1"]);
        assert_eq!(listed.len(), VMMS.len(), "{listed:?}");
        for ((name, vmm, looks), guests) in VMMS.iter().zip(&running) {
            let vm = listed.get(*name).unwrap_or_else(|| panic!("{name}: {listed:?}"));
            assert_eq!((&vm["vmm"], &vm["pid"]), (&json!(vmm), &json!(pid(guests))), "{vm}");
            assert_eq!((&vm["vcpus_open"], &vm["vcpus_seen"]), (&json!([0, 1]), &json!([0, 1])), "{vm}");
            let threads =
                [0, 1].map(|n| (looks.threads.replace("{}", &n.to_string()), (n, source.to_owned())));
            assert_eq!(vcpu_threads(vm), threads.into(), "{vm}");
        }
    };
    // KVM knows no thread of a vCPU before it has run.
    demand("thread-name");
    running.iter().for_each(Background::go);
    let vcpu = |guests: &Background| {
        let vms = fs::read_dir("/sys/kernel/debug/kvm").unwrap().map(|entry| entry.unwrap().path());
        let of = format!("{}-", pid(guests));
        let mut vms = vms.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&of));
        vms.next().unwrap()
    };
    let file = |guests: &Background, n: u32| vcpu(guests).join(format!("vcpu{n}/pid"));
    // Linux before 5.18 has no such file.
    let tells = file(&running[0], 0).exists();
    if tells {
        let runs = |path: PathBuf| fs::read_to_string(path).unwrap().trim() != "0";
        wait_until("all vCPUs run", || running.iter().all(|vm| [0, 1].iter().all(|n| runs(file(vm, *n)))));
    }
    demand(if tells { "debugfs" } else { "thread-name" });
    running.into_iter().for_each(Background::kill);
}

/// Threads of each VM in a table by vCPU, by the VM.
fn threads_by_vm(table: &Table) -> BTreeMap<String, BTreeSet<u64>> {
    let mut vms = BTreeMap::<String, BTreeSet<u64>>::new();
    for row in table.rows() {
        let vm = vms.entry(row["vm_id"].as_str().unwrap().to_owned()).or_default();
        vm.insert(row["tid"].as_u64().unwrap());
    }
    vms
}

/// Raw tracepoints tell the VMs of a process apart, by the kernel's addresses of them. Tracepoints have no
/// address: there they are one VM.
#[test]
fn two_vms_in_a_process_are_two_where_the_kernel_tells() {
    let hold = scratch("hold");
    let guests = Background::start(&format!(
        "--name twin --machines 2 --vcpus 2 --hold {} cpuid=300 msr=100 io=10",
        hold.display()
    ));
    let pid = pid(&guests);
    let here = list(&["-d", "0.1"]);
    // A process has one row in the list of this host.
    assert_eq!(here.keys().collect::<Vec<_>>(), ["twin-0"], "{here:?}");
    assert_eq!(here["twin-0"]["vm_fds"].as_array().unwrap().len(), 2, "{here:?}");
    let recording = record_while("", &guests);
    fs::write(&hold, "").unwrap();
    let vcpus = guests.finish("svm");
    let table = report(&recording, BY);
    demand_exact(&table, &vcpus, "svm");

    let of = |machine: u64| -> BTreeSet<u64> {
        let its = vcpus.iter().filter(|vcpu| vcpu.raw["machine"] == machine);
        its.map(|vcpu| vcpu.tid).collect()
    };
    let vms = threads_by_vm(&table);
    let keys: Vec<&String> = vms.keys().collect();
    let threads: BTreeSet<BTreeSet<u64>> = vms.values().cloned().collect();
    let by_vm = report(&recording, "--by vm");
    if has_module_btf() {
        assert_eq!(threads, [of(0), of(1)].into(), "{vms:?}");
        assert!(keys[0].starts_with(&format!("{pid}-")) && !keys[0].contains('.'), "{keys:?}");
        assert_eq!(keys[1], &format!("{}.1", keys[0]));
        assert_eq!(by_vm.rows().len(), 2, "{}", by_vm.0);
    } else {
        assert_eq!(threads, [&of(0) | &of(1)].into(), "{vms:?}");
        assert_eq!(by_vm.rows().len(), 1, "{}", by_vm.0);
    }
    // A row of a VM has all exits of its threads.
    for row in by_vm.rows() {
        let threads = &vms[row["vm_id"].as_str().unwrap()];
        let sum: u64 = threads.iter().map(|tid| table.samples(*tid).values().sum::<u64>()).sum();
        assert_eq!(row["samples"], sum, "{row}");
        assert_eq!((&row["vm"], &row["pid"]), (&json!("twin-0"), &json!(pid)), "{row}");
    }
    let listed = succeed(exitlat().args(["list", "--format", "json"]).arg(&recording));
    let listed = Table::last(&listed.stdout);
    let listed: Vec<_> = listed.0["vms"].as_array().unwrap().iter().collect();
    assert_eq!(listed.iter().map(|vm| vm["vm_id"].as_str().unwrap()).collect::<Vec<_>>(), keys);
    assert!(listed.iter().all(|vm| vm["vcpus_seen"] == json!([0, 1])), "{listed:?}");
}

/// The VMs in a recording, which may just be written.
fn vm_ids(recording: &Path) -> BTreeSet<String> {
    let output = exitlat().args(["list", "--format", "json"]).arg(recording).output().unwrap();
    let listed = json_lines(&output.stdout).pop().unwrap_or_default();
    let vms = listed["vms"].as_array().into_iter().flatten();
    vms.map(|vm| vm["vm_id"].as_str().unwrap().to_owned()).collect()
}

/// A VM that starts again under its name, and by chance as the process of the same number, is another one.
#[test]
fn a_vm_that_restarts_under_its_pid_is_another_one() {
    let recording = Recording::start("-d 0.2");
    // The start of a process is known if it lives when exitlat looks for the first time after its first exit.
    let run = |arguments: &str, known: usize| {
        let hold = scratch("hold");
        let guests =
            Background::start(&format!("--name web --vcpus 2 --hold {} {arguments}", hold.display()));
        guests.go();
        wait_until("the recording has it", || vm_ids(&recording.path).len() == known);
        fs::write(&hold, "").unwrap();
        (pid(&guests), guests.finish("svm"))
    };
    let (number, first) = run("cpuid=300 io=10", 1);
    let (again, second) = run(&format!("--pid {number} cpuid=500 msr=7 io=10"), 2);
    assert_eq!(again, number);
    let recording = recording.stop();

    let table = report(&recording, "--by vm,reason");
    let starts: BTreeSet<&str> = table.rows().iter().map(|row| row["vm_id"].as_str().unwrap()).collect();
    assert_eq!(starts.len(), 2, "{}", table.0);
    // The first has the smaller start, which is of the same length.
    for (vm, vcpus) in starts.iter().zip([&first, &second]) {
        assert!(vm.starts_with(&format!("{number}-")), "{vm}");
        let rows: Vec<_> = table.rows().iter().filter(|row| row["vm_id"] == *vm).collect();
        let samples = |reason: &str| {
            let row = rows.iter().find(|row| row["reason"] == reason);
            row.map_or(0, |row| row["samples"].as_u64().unwrap())
        };
        for reason in ["cpuid", "msr"] {
            let made: u64 = vcpus.iter().filter_map(|vcpu| vcpu.exits.get(reason)).sum();
            assert_eq!(samples(reason), made, "{vm} {reason}: {}", table.0);
        }
        assert!(rows.iter().all(|row| row["vm"] == "web-0"), "{}", table.0);
    }
    assert_eq!(vm_ids(&recording), starts.iter().map(|vm| (*vm).to_owned()).collect());
}
