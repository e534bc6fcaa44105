//! What can be known about a VM, and where it can come from: two tables that screens, JSON, selection,
//! `check` and the manual read.

/// A fact's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The name that its owner uses.
    Name,
    /// UUID of the VM.
    Uuid,
    /// The program that runs it.
    Vmm,
    /// libvirt's domain.
    Domain,
    /// libvirt's number of the domain.
    DomainId,
    /// Kubernetes' namespace.
    Namespace,
    /// KubeVirt's VMI.
    Pod,
    /// UID of the pod that the VM runs in.
    PodUid,
    /// Proxmox' number.
    Vmid,
    /// LXD's or Incus' project.
    Project,
    /// Firecracker's id, or Kata's of its sandbox.
    Id,
    /// The machine as systemd knows it.
    Machine,
    /// Control group.
    Cgroup,
}

/// Where a fact was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Control groups of the process, and of a thread.
    Cgroup,
    /// Arguments of the process.
    CommandLine,
    /// libvirt's file about a running domain.
    StatusXml,
    /// KVM's directory in debugfs.
    Debugfs,
    /// Links of the open files.
    Descriptors,
    /// The directory that is the root of the process.
    Root,
    /// Names of the threads.
    ThreadName,
    /// Name of the process.
    Comm,
}

/// What a kind of fact is called, and who is believed.
#[derive(Debug)]
pub struct KindInfo {
    /// The kind.
    pub kind: Kind,
    /// Its key in JSON.
    pub key: &'static str,
    /// What selects by it, before a colon.
    pub prefix: &'static str,
    /// For people, in headings.
    pub label: &'static str,
    /// For the manual.
    pub meaning: &'static str,
    /// The sources that may tell it, the one believed first in front.
    pub sources: &'static [Source],
    /// Characters that are kept.
    pub max_chars: usize,
}

/// What a source is, and what is lost without it.
#[derive(Debug)]
pub struct SourceInfo {
    /// The source.
    pub source: Source,
    /// Its name in JSON and messages.
    pub id: &'static str,
    /// Where it is.
    pub place: &'static str,
    /// What reading it takes.
    pub right: &'static str,
    /// What nobody knows without it.
    pub lost: &'static str,
}

macro_rules! kinds {
    ($($kind:ident $key:literal $prefix:literal $label:literal [$($source:ident)*] $max:literal $meaning:literal;)*) => {
        [$(KindInfo {
            kind: Kind::$kind, key: $key, prefix: $prefix, label: $label, meaning: $meaning,
            sources: &[$(Source::$source),*], max_chars: $max,
        }),*]
    };
}

/// All kinds, in the order of [`Kind`].
///
/// A source that only root can write is believed before one that the owner of the process can. Two kinds
/// differ. The name comes from nova's part of the XML if there is one, as the domain is called otherwise
/// there. And the domain in a cgroup has lost characters: libvirt leaves out all but letters, digits, hyphens
/// and dots, and cuts (`virDomainMachineNameAppendValid`).
pub static KINDS: [KindInfo; 13] = kinds! {
    Name "name" "name" "name" [StatusXml CommandLine Comm] 256
        "what its owner calls it; else the name of the process";
    Uuid "uuid" "uuid" "UUID" [CommandLine StatusXml] 36
        "UUID that the guest sees";
    Vmm "vmm" "vmm" "VMM" [CommandLine Comm ThreadName] 32
        "program that runs it: `qemu`, `firecracker`, `cloud-hypervisor`, `crosvm`, `kvmtool`";
    Domain "domain" "domain" "domain" [StatusXml CommandLine Cgroup] 256
        "libvirt's name of it";
    DomainId "domain_id" "domain_id" "domain id" [Cgroup StatusXml] 10
        "libvirt's number of it, until it stops";
    Namespace "namespace" "ns" "namespace" [CommandLine] 256
        "Kubernetes' namespace, of KubeVirt";
    Pod "pod" "pod" "VMI" [CommandLine] 256
        "KubeVirt's VirtualMachineInstance, whose launcher is the pod";
    PodUid "pod_uid" "pod_uid" "pod UID" [Cgroup] 36
        "UID of the pod";
    Vmid "vmid" "vmid" "VMID" [Cgroup CommandLine] 10
        "Proxmox' number of it";
    Project "project" "project" "project" [CommandLine] 256
        "project of LXD or Incus";
    Id "id" "id" "id" [Cgroup Root CommandLine] 64
        "id of a Firecracker VM, or of Kata's sandbox";
    Machine "machine" "machine" "machine" [Cgroup] 256
        "name in systemd's list of machines";
    Cgroup "cgroup" "cgroup" "cgroup" [Cgroup] 1024
        "control group of the VM";
};

/// All sources, in the order of [`Source`].
pub static SOURCES: [SourceInfo; 8] = [
    SourceInfo {
        source: Source::Cgroup,
        id: "cgroup",
        place: "/proc/PID/cgroup, /proc/PID/task/TID/cgroup",
        right: "none",
        lost: "domain id, pod UID, VMID of Proxmox, machine of systemd",
    },
    SourceInfo {
        source: Source::CommandLine,
        id: "command-line",
        place: "/proc/PID/cmdline",
        right: "none",
        lost: "name, UUID, VMM, namespace and VMI of KubeVirt, project, id",
    },
    SourceInfo {
        source: Source::StatusXml,
        id: "libvirt",
        place: "/run/libvirt/qemu/NAME.xml, /run/user/UID/libvirt/qemu/run/NAME.xml",
        right: "root, or CAP_DAC_READ_SEARCH",
        lost: "name of an OpenStack server, vCPU numbers of libvirt's domains",
    },
    SourceInfo {
        source: Source::Debugfs,
        id: "debugfs",
        place: "/sys/kernel/debug/kvm/PID-FD/vcpuN/pid",
        right: "root, or CAP_DAC_READ_SEARCH; no lockdown",
        lost: "which thread runs which vCPU, if threads have no names; descriptor of the VM",
    },
    SourceInfo {
        source: Source::Descriptors,
        id: "descriptors",
        place: "/proc/PID/fd",
        right: "CAP_SYS_PTRACE, or the same user",
        lost: "how many vCPUs are open",
    },
    SourceInfo {
        source: Source::Root,
        id: "root",
        place: "/proc/PID/mountinfo",
        right: "none",
        lost: "id of a jailed Firecracker whose command line is gone",
    },
    SourceInfo {
        source: Source::ThreadName,
        id: "thread-name",
        place: "/proc/PID/task/TID/comm",
        right: "none",
        lost: "vCPU numbers and roles of threads",
    },
    SourceInfo {
        source: Source::Comm,
        id: "comm",
        place: "/proc/PID/comm",
        right: "none",
        lost: "any name, if nothing else is known",
    },
];

impl Kind {
    /// Its line of the table.
    pub fn info(self) -> &'static KindInfo {
        &KINDS[self as usize]
    }

    /// The kind whose prefix this is.
    pub fn of_prefix(prefix: &str) -> Option<Self> {
        KINDS.iter().find(|info| info.prefix == prefix).map(|info| info.kind)
    }

    /// The kind of this key.
    pub fn of_key(key: &str) -> Option<Self> {
        KINDS.iter().find(|info| info.key == key).map(|info| info.kind)
    }

    /// How far a source is behind the best one; [`None`] if it cannot tell this kind.
    pub fn rank(self, source: Source) -> Option<usize> {
        self.info().sources.iter().position(|known| *known == source)
    }
}

impl Source {
    /// The source of this name.
    pub fn of_id(id: &str) -> Option<Self> {
        SOURCES.iter().find(|info| info.id == id).map(|info| info.source)
    }

    /// Its line of the table.
    pub fn info(self) -> &'static SourceInfo {
        &SOURCES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_enums() {
        assert!(KINDS.iter().all(|info| info.kind.info().key == info.key));
        assert!(SOURCES.iter().all(|info| info.source.info().id == info.id));
        let unique = |texts: Vec<&str>| texts.iter().collect::<BTreeSet<_>>().len() == texts.len();
        assert!(unique(KINDS.iter().map(|info| info.key).collect()));
        assert!(unique(KINDS.iter().map(|info| info.prefix).collect()));
        assert!(unique(SOURCES.iter().map(|info| info.id).collect()));
        assert!(KINDS.iter().all(|info| Kind::of_prefix(info.prefix) == Some(info.kind)));
    }
}
