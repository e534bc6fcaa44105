//! VMs by the names that their owners use. The workload has the command lines, names of threads and control
//! groups of other VMMs, and the VMs are real.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use serde_json::{Value, json};

use crate::guest::{
    Background, Recording, Table, demand_exact, exitlat, has_module_btf, record_and_listen, record_by,
    record_while, report, scratch, succeed, wait_until,
};
use crate::qemu::LinuxGuest;

const BY: &str = "--by vcpu,reason";
const UUID: &str = "12c6e5a0-1111-4222-8333-444455556666";

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
fn list(options: &[&str]) -> BTreeMap<String, Value> {
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

/// Control groups, version 2, that are removed once their processes are gone.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// Makes a control group, with those around it.
    fn new(path: &str) -> Self {
        let (mut groups, mut whole) = (Self(Vec::new()), PathBuf::from("/sys/fs/cgroup"));
        for part in path.split('/') {
            whole.push(part);
            groups.make(whole.clone());
        }
        groups
    }

    fn make(&mut self, path: PathBuf) {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.0.push(path);
    }

    fn last(&self) -> PathBuf {
        self.0.last().unwrap().clone()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for path in self.0.iter().rev().filter(|_| !thread::panicking()) {
            wait_until("the group is empty", || fs::remove_dir(path).is_ok());
        }
    }
}

/// A VM as one stack shows it.
struct Scenario {
    looks: Looks,
    group: &'static str,
    /// Whether libvirt has groups for its threads, and a file about it.
    libvirt: bool,
    /// What it is called.
    name: &'static str,
    facts: &'static [(&'static str, &'static str)],
    /// What its admin types.
    typed: &'static [&'static str],
}

impl Scenario {
    /// Puts the process where the stack has it.
    fn place(&self, guests: &Background) -> Groups {
        let vm = &guests.ready["vms"][0];
        let mut groups = Groups::new(self.group);
        let around = groups.last();
        fs::write(around.join("cgroup.procs"), vm["pid"].to_string()).unwrap();
        if !self.libvirt {
            return groups;
        }
        let mut of_thread = |name: &str, tids: &[u64]| {
            let path = around.join(name);
            groups.make(path.clone());
            fs::write(path.join("cgroup.type"), "threaded").unwrap();
            tids.iter().for_each(|tid| fs::write(path.join("cgroup.threads"), tid.to_string()).unwrap());
        };
        let pid = vm["pid"].as_u64().unwrap();
        let vcpus: Vec<(u64, u64)> = vm["vcpus"].as_array().unwrap().iter().map(id_and_tid).collect();
        of_thread("emulator", &[pid]);
        let mut vcpus_xml = String::new();
        for (id, tid) in vcpus {
            of_thread(&format!("vcpu{id}"), &[tid]);
            vcpus_xml.push_str(&format!("<vcpu id='{id}' pid='{tid}'/>"));
        }
        let status = format!(
            "<domstatus state='running' reason='booted' pid='{pid}'><vcpus>{vcpus_xml}</vcpus>\
             <domain type='kvm' id='1'><name>web01</name><uuid>{UUID}</uuid></domain></domstatus>"
        );
        fs::create_dir_all("/run/libvirt/qemu").unwrap();
        fs::write("/run/libvirt/qemu/web01.xml", status).unwrap();
        groups
    }

    /// Demands that an admin finds this VM, and only it, by each thing that he may type.
    fn demand(&self) {
        let other = Background::start("--name other --forever cpuid=100 io=1");
        other.go();
        for typed in self.typed {
            let hold = scratch("hold");
            let guests =
                self.looks.start(&format!("--hold {} --vcpus 2 cpuid=300 msr=200 io=20", hold.display()));
            let groups = self.place(&guests);
            let running = list(&["-d", "0.1", "-g", typed]);
            assert_eq!(running.keys().collect::<Vec<_>>(), [self.name], "{typed}: {running:?}");
            self.demand_facts(&running[self.name]);
            assert_eq!(running[self.name]["vcpus_open"], json!([0, 1]), "{running:?}");
            assert_eq!(running[self.name]["vcpus_seen"], json!([0, 1]), "{running:?}");

            let recording = record_while(&format!("-g {typed}"), &guests);
            fs::write(&hold, "").unwrap();
            let pid = pid(&guests);
            let vcpus = guests.finish("svm");
            drop(groups);
            for options in [BY.to_owned(), format!("{BY} -g {typed}")] {
                let table = report(&recording, &options);
                demand_exact(&table, &vcpus, "svm");
                assert!(table.rows().iter().all(|row| row["vm"] == self.name), "{}", table.0);
            }
            let file = recording.to_str().unwrap();
            for options in [&[file][..], &[file, "-g", typed]] {
                let recorded = list(options);
                assert_eq!(recorded.keys().collect::<Vec<_>>(), [self.name], "{typed}: {recorded:?}");
                self.demand_facts(&recorded[self.name]);
                assert_eq!(recorded[self.name]["pid"], pid, "{recorded:?}");
            }
            let nobody = exitlat().args(["list", file, "-g", "other-0"]).output().unwrap();
            assert!(!String::from_utf8_lossy(&nobody.stdout).contains(self.name), "{nobody:?}");
        }
        other.kill();
        if self.libvirt {
            fs::remove_dir_all("/run/libvirt").unwrap();
        }
    }

    fn demand_facts(&self, vm: &Value) {
        for (fact, value) in self.facts {
            assert_eq!(vm[fact], *value, "{fact}: {vm}");
        }
    }
}

fn id_and_tid(vcpu: &Value) -> (u64, u64) {
    (vcpu["id"].as_u64().unwrap(), vcpu["tid"].as_u64().unwrap())
}

#[test]
fn a_domain_of_libvirt_is_found() {
    Scenario {
        looks: Looks {
            argv: &[
                "/usr/bin/qemu-system-x86_64",
                "-name",
                "guest=web01,debug-threads=on",
                "-S",
                "-uuid",
                UUID,
                "-no-user-config",
            ],
            threads: "CPU {}/KVM",
        },
        group: r"machine.slice/machine-qemu\x2d1\x2dweb01.scope/libvirt",
        libvirt: true,
        name: "web01",
        facts: &[
            ("domain", "web01"),
            ("domain_id", "1"),
            ("uuid", UUID),
            ("vmm", "qemu"),
            ("machine", "qemu-1-web01"),
            ("cgroup", r"/machine.slice/machine-qemu\x2d1\x2dweb01.scope"),
        ],
        typed: &["web01", "domain:web01", "uuid:12c6"],
    }
    .demand();
}

#[test]
fn a_vm_of_proxmox_is_found() {
    Scenario {
        looks: Looks {
            argv: &["/usr/bin/kvm", "-id", "109", "-name", "web01,debug-threads=on", "-no-shutdown"],
            threads: "CPU {}/KVM",
        },
        group: "qemu.slice/109.scope",
        libvirt: false,
        name: "web01",
        facts: &[("vmid", "109"), ("vmm", "qemu"), ("cgroup", "/qemu.slice/109.scope")],
        typed: &["vmid:109", "web01"],
    }
    .demand();
}

#[test]
fn a_vmi_of_kubevirt_is_found() {
    Scenario {
        looks: Looks {
            argv: &[
                "/usr/libexec/qemu-kvm",
                "-name",
                "guest=default_web,debug-threads=on",
                "-smbios",
                "type=1,manufacturer=KubeVirt,product=None,uuid=b56f06f0-07e9-4fe5-8913-18a14e83a4d1",
            ],
            threads: "CPU {}/KVM",
        },
        group: "kubepods.slice/kubepods-burstable.slice/\
                kubepods-burstable-pod1c178021_5860_4495_a1ab_f9ac17877672.slice/\
                cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
        libvirt: false,
        name: "default/web",
        facts: &[
            ("namespace", "default"),
            ("pod", "web"),
            ("pod_uid", "1c178021-5860-4495-a1ab-f9ac17877672"),
            ("uuid", "b56f06f0-07e9-4fe5-8913-18a14e83a4d1"),
            ("vmm", "qemu"),
        ],
        typed: &["default/web", "ns:default"],
    }
    .demand();
}

#[test]
fn a_vm_of_firecracker_is_found() {
    Scenario {
        looks: Looks {
            argv: &["firecracker", "--api-sock", "/tmp/fc.sock", "--id", "fc-7"],
            threads: "fc_vcpu {}",
        },
        group: "system.slice/fc-7.service",
        libvirt: false,
        name: "fc-7",
        facts: &[("id", "fc-7"), ("vmm", "firecracker")],
        typed: &["id:fc-7", "fc-7"],
    }
    .demand();
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

/// A VM that starts again under its name, and by chance as the process of the same number, is another one.
#[test]
fn a_vm_that_restarts_under_its_pid_is_another_one() {
    let recording = Recording::start("");
    let first = Background::start("--name web --vcpus 2 cpuid=300 io=10");
    let number = pid(&first);
    first.go();
    let first = first.finish("svm");
    let second = Background::start(&format!("--name web --vcpus 2 --pid {number} cpuid=500 msr=7 io=10"));
    assert_eq!(pid(&second), number);
    second.go();
    let second = second.finish("svm");
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
    let listed = succeed(exitlat().args(["list", "--format", "json"]).arg(&recording));
    let listed = Table::last(&listed.stdout);
    let listed: BTreeSet<_> =
        listed.0["vms"].as_array().unwrap().iter().map(|vm| vm["vm_id"].as_str().unwrap()).collect();
    assert_eq!(listed, starts);
}

/// Something else than debugfs at its place, until this is dropped.
struct NoDebugfs {
    foreign: bool,
}

const DEBUGFS: &str = "/sys/kernel/debug";

impl NoDebugfs {
    fn new(foreign: bool) -> Self {
        // tracefs may be mounted below it.
        succeed(Command::new("umount").args(["-l", DEBUGFS]));
        if foreign {
            succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", DEBUGFS]));
        }
        Self { foreign }
    }
}

impl Drop for NoDebugfs {
    fn drop(&mut self) {
        if self.foreign {
            let _ = Command::new("umount").args(["-l", DEBUGFS]).status();
        }
        let mounted = Command::new("mount").args(["-t", "debugfs", "debugfs", DEBUGFS]).status();
        assert!(thread::panicking() || mounted.unwrap().success());
    }
}

/// Lists and records a VM by its name where debugfs does not tell, `lie` being a chance to put something in
/// its place.
fn demand_without_debugfs(lie: impl Fn(u64, &[(u64, u64)])) {
    let hold = scratch("hold");
    let arguments = format!("--name web --vcpus 2 --hold {} cpuid=300 io=10", hold.display());
    let guests = Background::start(&arguments);
    let vcpus: Vec<_> = guests.ready["vms"][0]["vcpus"].as_array().unwrap().iter().map(id_and_tid).collect();
    lie(pid(&guests), &vcpus);
    let listed = list(&["-d", "0.1", "-g", "web-0"]);
    let vm = &listed["web-0"];
    assert_eq!((&vm["vmm"], &vm["pid"]), (&json!("qemu"), &json!(pid(&guests))), "{vm}");
    assert_eq!((&vm["vcpus_open"], &vm["vcpus_seen"]), (&json!([0, 1]), &json!([0, 1])), "{vm}");
    // Only debugfs knows these.
    assert_eq!((&vm["vm_fds"], &vm["exits"], &vm["exits_total"]), (&json!([]), &json!(null), &json!(null)));
    let threads = [0, 1].map(|n| (format!("CPU {n}/KVM"), (n, "thread-name".to_owned())));
    assert_eq!(vcpu_threads(vm), threads.into(), "{vm}");
    let text = succeed(exitlat().args(["list", "-d", "0.1"]));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let rate = text.lines().find(|line| line.starts_with("web-0")).unwrap();
    assert!(rate.split_whitespace().any(|cell| cell == "-"), "a rate of exits that nobody knows: {text}");

    let (recording, said) = record_and_listen("-g web-0 --counters", &guests);
    fs::write(&hold, "").unwrap();
    demand_exact(&report(&recording, BY), &guests.finish("svm"), "svm");
    assert!(said.contains("debugfs is not mounted"), "{said}");
}

#[test]
fn without_debugfs_vms_have_their_names() {
    let _without = NoDebugfs::new(false);
    demand_without_debugfs(|_, _| ());
}

#[test]
fn what_is_no_debugfs_is_not_believed() {
    let _foreign = NoDebugfs::new(true);
    demand_without_debugfs(|pid, vcpus| {
        for (id, tid) in vcpus {
            let vcpu = Path::new(DEBUGFS).join(format!("kvm/{pid}-9/vcpu{}", id + 7));
            fs::create_dir_all(&vcpu).unwrap();
            fs::write(vcpu.join("pid"), format!("{tid}\n")).unwrap();
        }
        fs::write(format!("{DEBUGFS}/kvm/{pid}-9/exits"), "5\n").unwrap();
    });
}

#[test]
fn in_a_pid_namespace_only_the_host_is_not_listed() {
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["-p", "-f", "--mount-proc"]).arg(exitlat().get_program());
        command
    };
    let guests = Background::start("--vcpus 2 cpuid=300 io=10");
    let pid = pid(&guests);
    let refused = unshared().arg("list").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("list does not work here") && said.contains("pid namespace"), "{said}");

    let (recording, said) = record_by(&mut unshared(), "", &guests);
    assert_eq!(said.matches("pid namespace").count(), 1, "{said}");
    demand_exact(&report(&recording, BY), &guests.finish("svm"), "svm");
    let listed = succeed(unshared().args(["list", "--format", "json"]).arg(&recording));
    let listed = Table::last(&listed.stdout);
    let listed = listed.0["vms"].as_array().unwrap();
    assert_eq!(listed.iter().map(|vm| vm["pid"].as_u64().unwrap()).collect::<Vec<_>>(), [pid], "{listed:?}");
    // Nothing of another process' number is taken for it.
    assert!(listed[0]["vmm"].is_null() && listed[0]["start_unix_ms"].is_null(), "{listed:?}");
}

/// QEMU itself, with a guest that boots Linux.
#[test]
fn qemu_is_found_by_its_uuid() {
    let mut guest = LinuxGuest::shared();
    let other = Background::start("--name other --forever cpuid=100 io=1");
    other.go();
    let listed = list(&["-d", "0.1"]);
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["other-0", guest.name], "{listed:?}");
    let vm = &listed[guest.name];
    assert_eq!((&vm["uuid"], &vm["vmm"]), (&json!(LinuxGuest::UUID), &json!("qemu")), "{vm}");
    assert_eq!((&vm["pid"], &vm["vcpus_open"]), (&json!(guest.pid()), &json!([0, 1])), "{vm}");
    let vcpus: BTreeSet<(u64, u64)> = vm["threads"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|thread| Some((thread["vcpu"].as_u64()?, thread["tid"].as_u64().unwrap())))
        .collect();
    assert_eq!(vcpus, guest.vcpus(), "{vm}");

    let typed = format!("uuid:{}", &LinuxGuest::UUID[..6]);
    let recording = Recording::start(&format!("-g {typed}"));
    let executed = guest.execute_cpuid();
    let recording = recording.stop();
    other.kill();
    let table = report(&recording, &format!("--by vm,reason -g {typed}"));
    assert!(table.rows().iter().all(|row| row["vm"] == guest.name), "{}", table.0);
    assert_eq!(table.reason("cpuid")["samples"], executed, "{}", table.0);
    let recorded = list(&[recording.to_str().unwrap()]);
    assert_eq!(recorded.keys().collect::<Vec<_>>(), [guest.name], "{recorded:?}");
    assert_eq!(recorded[guest.name]["uuid"], LinuxGuest::UUID, "{recorded:?}");
}
