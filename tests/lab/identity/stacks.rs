//! An admin finds his guest by the name that he uses: as libvirt, Proxmox, KubeVirt and Firecracker have it.

use std::{fs, path::PathBuf, thread};

use serde_json::{Value, json};

use super::{BY, Looks, id_and_tid, list, pid};
use crate::guest::{Background, demand_exact, exitlat, record_while, report, scratch, wait_until};

const UUID: &str = "12c6e5a0-1111-4222-8333-444455556666";

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
