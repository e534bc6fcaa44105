//! The running kernel: which features it has, and what the plan asks of it. The one place that compares
//! versions of kernels; whatever shows in types, files or records is looked for there, as distributions port
//! features back.

use std::fs;

use crate::kernel::{
    Unsupported,
    arch::Arch,
    btf::{Cast, DIR, Types},
    cpuinfo,
    host::{self, Version},
    object, tracefs,
};

/// The oldest kernel that is tested.
const OLDEST: Version = Version(5, 10);

/// A feature that came with some kernel, and on which exitlat's work depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// BTF of modules.
    ModuleBtf,
    /// The raw tracepoint `kvm_exit(vcpu, isa)`.
    ExitArguments,
    /// `bpf_rdonly_cast`.
    RdonlyCast,
    /// The state of a task as argument of the raw `sched_switch`.
    SwitchState,
    /// The right state in `sched_switch` of a task that a signal keeps runnable.
    SignalState,
    /// Counts of runs that the kernel skipped.
    RecursionMisses,
    /// An entry event for every exit that kvm_intel handles in its fast path.
    FastPathEntries,
    /// Programs on raw tracepoints that can be preempted.
    PreemptibleRaw,
    /// `kvm_vcpu_wakeup` at the end of halts only.
    HaltsOnly,
    /// Memory of maps charged to the cgroup, not to RLIMIT_MEMLOCK.
    CgroupMemory,
}

/// One line of the list.
#[derive(Debug)]
pub struct FeatureInfo {
    /// Which.
    pub feature: Feature,
    /// Its name.
    pub name: &'static str,
    /// The first release of the mainline kernel that has it.
    pub since: Version,
    /// The commit that brought it.
    pub commit: &'static str,
    /// What it brings.
    pub brings: &'static str,
    /// What exitlat does without it.
    pub without: &'static str,
    /// How it is detected.
    detect: Detect,
}

/// How a feature is detected.
#[derive(Clone, Copy, Debug)]
enum Detect {
    /// By the version. Kernels to which the commit was ported back are mistaken.
    Version,
    /// By files of the kernel.
    Files(fn() -> bool),
    /// In the kernel's types (BTF).
    Types(fn(&Types) -> bool),
}

impl FeatureInfo {
    /// How it is detected, in one word.
    pub fn detected_by(&self) -> &'static str {
        match self.detect {
            Detect::Version => "version",
            Detect::Files(_) => "files",
            Detect::Types(_) => "types",
        }
    }
}

/// All of them.
pub static FEATURES: [FeatureInfo; 10] = [
    FeatureInfo {
        feature: Feature::ModuleBtf,
        name: "BTF of modules",
        since: Version(5, 11),
        commit: "36e68442d1af",
        brings: "the types of KVM's modules, by which raw tracepoints find the exit reason",
        without: "tracepoints instead of raw ones, unless KVM is built in",
        // Beside vmlinux.
        detect: Detect::Files(|| fs::read_dir(DIR).is_ok_and(|files| files.count() > 1)),
    },
    FeatureInfo {
        feature: Feature::ExitArguments,
        name: "raw kvm_exit(vcpu, isa)",
        since: Version(5, 16),
        commit: "0a62a0319abb",
        brings: "the vCPU as first argument, as raw tracepoints need it",
        without: "tracepoints instead of raw ones",
        detect: Detect::Types(Types::exit_has_no_reason),
    },
    FeatureInfo {
        feature: Feature::RdonlyCast,
        name: "bpf_rdonly_cast",
        since: Version(6, 2),
        commit: "a35b9af4ec2c",
        brings: "kernel memory read by a load",
        without: "a helper, some eighty instructions for each read",
        detect: Detect::Types(|types| types.cast().is_some()),
    },
    FeatureInfo {
        feature: Feature::SwitchState,
        name: "state in raw sched_switch",
        since: Version(5, 18),
        commit: "9c2136be0878",
        brings: "the state of the task that loses its CPU as an argument",
        without: "it is read from the task",
        detect: Detect::Types(|types| types.sched().is_ok_and(|offsets| offsets.state.is_none())),
    },
    FeatureInfo {
        feature: Feature::SignalState,
        name: "state of signalled tasks",
        since: Version(6, 16),
        commit: "8feb053d5319",
        brings: "sched_switch tells that a task with a pending signal stays runnable",
        without: "its wait for a CPU may count as a sleep",
        detect: Detect::Version,
    },
    FeatureInfo {
        feature: Feature::RecursionMisses,
        name: "recursion_misses",
        since: Version(5, 12),
        commit: "9ed9e9ba2337",
        brings: "the number of program runs that the kernel skipped",
        without: "such losses are not known",
        detect: Detect::Types(|types| types.has_member("bpf_prog_stats", "misses")),
    },
    FeatureInfo {
        feature: Feature::FastPathEntries,
        name: "entries of fast-path exits",
        since: Version(5, 11),
        commit: "d95df9510679",
        brings: "kvm_entry also after exits that kvm_intel handles in its fast path",
        without: "on Intel such exits are unpaired, and the guest's time after them is not its own",
        detect: Detect::Version,
    },
    FeatureInfo {
        feature: Feature::PreemptibleRaw,
        name: "preemptible raw programs",
        since: Version(7, 0),
        commit: "a46023d5616e",
        brings: "threads can lose their CPU in a raw program, which others then skip: tracepoints tell the breakdown",
        without: "raw tracepoints tell the breakdown",
        detect: Detect::Version,
    },
    FeatureInfo {
        feature: Feature::HaltsOnly,
        name: "kvm_vcpu_wakeup of halts only",
        since: Version(5, 17),
        commit: "fac426889439",
        brings: "the event that ends a halt comes at no other wait of a vCPU",
        without: "it is believed where the exit's reason is a halt; another wait then is no idle time",
        // Came one commit before (c3858335c711).
        detect: Detect::Types(|types| types.has_member("kvm_vcpu_stat_generic", "blocking")),
    },
    FeatureInfo {
        feature: Feature::CgroupMemory,
        name: "map memory in cgroups",
        since: Version(5, 11),
        commit: "80ee81e0403c",
        brings: "maps do not count against RLIMIT_MEMLOCK",
        without: "the limit is raised",
        detect: Detect::Version,
    },
];

/// A source of `format` files: `group:name` to text.
type Formats = Box<dyn Fn(&str) -> Result<String, Unsupported>>;

/// The running kernel, as far as the plan asks.
pub struct Kernel {
    /// The `format` file of an event.
    pub(super) format: Formats,
    /// Constants for the events of KVM, or why the kernel's types do not give them.
    pub(super) kvm_types: Result<Vec<(i32, u32)>, String>,
    /// Constants for the events of the scheduler, or why the kernel's types do not give them.
    pub(super) sched_types: Result<Vec<(i32, u32)>, String>,
    /// Numbers for typed loads, where they can be used.
    pub(super) cast: Option<Cast>,
    /// The processor's flags.
    pub(super) cpu_flags: Vec<String>,
    /// Which features it has, in the order of [`FEATURES`]; [`None`] if that cannot be told.
    pub(super) present: [Option<bool>; FEATURES.len()],
    /// Its version.
    pub(super) version: Version,
}

impl Kernel {
    /// Looks at the kernel that runs now.
    pub fn read(arch: &Arch) -> Self {
        let types = arch.offsets.map(|_| Types::read_host());
        let types = match &types {
            Some(Ok(types)) => Ok(types),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("types are not asked".to_owned()),
        };
        let version = host::kernel_version();
        let detect = |info: &FeatureInfo| match info.detect {
            Detect::Version => Some(version >= info.since),
            Detect::Files(has) => Some(has()),
            Detect::Types(has) => types.as_ref().ok().map(|types| has(types)),
        };
        let offsets = |types: &Types| arch.offsets.map_or(Ok(Vec::new()), |of| of(types, &host::backends()));
        let sched = |types: &Types| types.sched().map(|it| it.constants()).map_err(|error| error.to_string());
        Self {
            format: Box::new(tracefs::format_text),
            kvm_types: types.clone().and_then(offsets),
            sched_types: types.clone().and_then(sched),
            cast: types.clone().ok().and_then(Types::cast).filter(|_| object::jit_enabled()),
            cpu_flags: cpuinfo::flags(),
            present: std::array::from_fn(|index| detect(&FEATURES[index])),
            version,
        }
    }

    /// The list, and which of it this kernel has; [`None`] if that cannot be told.
    pub fn features(&self) -> impl Iterator<Item = (&'static FeatureInfo, Option<bool>)> {
        FEATURES.iter().zip(self.present)
    }

    /// Whether it has a feature for certain.
    pub fn has(&self, feature: Feature) -> bool {
        self.features().any(|(info, present)| info.feature == feature && present == Some(true))
    }

    /// Whether it is older than all kernels that are tested.
    pub fn is_too_old(&self) -> bool {
        self.version < OLDEST
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Types of real kernels, cut down.
    fn types(kernel: &str) -> Types {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel/btf/testdata").join(kernel);
        Types::read_dir(&dir).unwrap()
    }

    #[test]
    fn real_kernels_have_the_features_of_their_time() {
        let info = FEATURES.iter().find(|info| info.feature == Feature::ExitArguments).unwrap();
        let Detect::Types(has) = info.detect else { panic!("not by types") };
        assert_eq!(
            ["5.10", "6.1", "6.12", "7.2"].map(|kernel| has(&types(kernel))),
            [false, true, true, true]
        );
    }

    #[test]
    fn every_feature_stands_once_and_has_its_commit() {
        for (index, info) in FEATURES.iter().enumerate() {
            assert!(FEATURES[..index].iter().all(|other| other.feature != info.feature));
            assert!(info.commit.len() == 12 && info.commit.chars().all(|digit| digit.is_ascii_hexdigit()));
        }
    }
}
