//! The running kernel: which features it has, and the facts that the plan asks for. Only this module compares
//! versions of kernels. Features that show in types, files or records are looked for there, as distributions
//! port them back.

use std::{
    fs,
    io::{BufRead as _, BufReader},
};

use crate::{
    decode::Isa,
    kernel::{
        Unsupported,
        arch::Arch,
        btf::{Cast, DIR, Types},
        cpuinfo,
        hook::{Hook, How},
        host::{self, Version},
        object::{self, Jit},
        tracefs,
    },
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
    /// An exit event of kvm_amd before the host's interrupts.
    ExitsBeforeInterrupts,
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
    /// The feature described.
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
    /// By the version: nothing shows it. Kernels to which the commit was ported back are mistaken.
    Version,
    /// By files of the kernel.
    Files(fn() -> bool),
    /// In the kernel's types (BTF).
    Types(fn(&Types) -> bool),
    /// In the kernel's types; by the version where there are none.
    TypesElseVersion(fn(&Types) -> bool),
    /// By the version, and on older kernels by a later function of KVM: KVM is ported back as a whole.
    VersionElseSymbol(&'static str),
    /// By the version, and on older kernels by later types of KVM.
    VersionElseTypes(fn(&Types) -> bool),
}

/// The evidence by which a feature was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectedBy {
    /// The kernel's version, which does not show commits that were ported back.
    Version,
    /// The kernel's files.
    Files,
    /// The kernel's types.
    Types,
    /// The kernel's symbols.
    Symbols,
}

impl DetectedBy {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Files => "files",
            Self::Types => "types",
            Self::Symbols => "symbols",
        }
    }
}

/// What is known of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether the kernel has it; [`None`] if that cannot be told.
    pub has: Option<bool>,
    /// The evidence for it.
    pub by: DetectedBy,
}

/// Where a feature is looked for.
struct Evidence<'a> {
    version: Version,
    types: Option<&'a Types>,
}

impl FeatureInfo {
    fn presence(&self, evidence: &Evidence<'_>) -> Presence {
        let by_version = || Presence { has: Some(evidence.version >= self.since), by: DetectedBy::Version };
        let by_types = |types: &Types, has: fn(&Types) -> bool| Presence {
            has: Some(has(types)),
            by: DetectedBy::Types,
        };
        match (self.detect, evidence.types) {
            (Detect::Files(has), _) => Presence { has: Some(has()), by: DetectedBy::Files },
            (Detect::Types(_), None) => Presence { has: None, by: DetectedBy::Types },
            (Detect::Types(has) | Detect::TypesElseVersion(has), Some(types)) => by_types(types, has),
            (Detect::VersionElseTypes(has), Some(types)) if evidence.version < self.since && has(types) => {
                by_types(types, has)
            }
            (Detect::Version | Detect::VersionElseTypes(_) | Detect::VersionElseSymbol(_), _)
            | (Detect::TypesElseVersion(_), None) => by_version(),
        }
    }

    /// Refines `known` by kernel symbols. There are many: they are read only when this feature is asked for.
    fn by_symbols(&self, known: Presence, has_symbol: impl Fn(&str) -> bool) -> Presence {
        match self.detect {
            Detect::VersionElseSymbol(symbol) if known.has == Some(false) && has_symbol(symbol) => {
                Presence { has: Some(true), by: DetectedBy::Symbols }
            }
            _ => known,
        }
    }
}

/// Whether the kernel or one of its modules has a function or variable of this name. Anybody may read the
/// names; addresses are not asked for.
fn has_symbol(name: &str) -> bool {
    let Ok(file) = fs::File::open("/proc/kallsyms") else { return false };
    let named = |line: String| line.split_whitespace().nth(2) == Some(name);
    BufReader::new(file).lines().map_while(Result::ok).any(named)
}

/// All of them.
pub static FEATURES: [FeatureInfo; 11] = [
    FeatureInfo {
        feature: Feature::ModuleBtf,
        name: "BTF of modules",
        since: Version(5, 11),
        commit: "36e68442d1af",
        brings: "the types of KVM's modules, by which raw tracepoints find the exit reason",
        without: "tracepoints instead of raw ones, unless KVM is built in",
        // Files beside vmlinux are those of modules.
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
        // `kvm_stats_read` came with 5.14.
        detect: Detect::VersionElseSymbol("kvm_stats_read"),
    },
    FeatureInfo {
        feature: Feature::ExitsBeforeInterrupts,
        name: "exits before interrupts",
        since: Version(6, 5),
        commit: "791a089861fc",
        brings: "kvm_amd fires kvm_exit before it lets the host's interrupts in",
        without: "on AMD the time of the host's interrupts counts as the guest's, unless --exit-stamp irqoff is used",
        // `governed_features` came with 6.6 and is `cpu_caps` since 6.14. The commit itself moves one call.
        detect: Detect::VersionElseTypes(|types| {
            ["governed_features", "cpu_caps"].iter().any(|member| types.has_member("kvm_vcpu_arch", member))
        }),
    },
    FeatureInfo {
        feature: Feature::PreemptibleRaw,
        name: "preemptible raw programs",
        since: Version(7, 0),
        commit: "a46023d5616e",
        brings: "threads can lose their CPU in a raw program, which others then skip: tracepoints tell the breakdown",
        without: "raw tracepoints tell the breakdown",
        // The member was `srcu` when SRCU guarded other tracepoints than these, up to 6.12.
        detect: Detect::TypesElseVersion(|types| types.has_member("tp_transition_snapshot", "srcu_gp")),
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
        // Older kernels keep each map's share of the limit in `bpf_map.memory`.
        detect: Detect::TypesElseVersion(|types| !types.has_member("bpf_map", "memory")),
    },
];

/// A source of `format` files: `group:name` to text.
type Formats = Box<dyn Fn(&str) -> Result<String, Unsupported>>;

/// A source of the numbers of tracepoints' types.
type TypeIds = Box<dyn Fn(&str) -> Option<u32>>;

/// The running kernel, as far as the plan asks.
pub struct Kernel {
    /// The `format` file of an event.
    pub(super) format: Formats,
    /// Constants for the events of KVM, or why the kernel's types do not give them.
    pub(super) kvm_types: Result<Vec<(i32, u32)>, String>,
    /// Constants for the events of the scheduler, or why the kernel's types do not give them.
    pub(super) sched_types: Result<Vec<(i32, u32)>, String>,
    /// The number of the type of a tracepoint, `group:name`.
    pub(super) type_id: TypeIds,
    /// Numbers for typed loads, where they can be used. Without a JIT the kernel refuses them.
    pub(super) cast: Option<Cast>,
    /// The processor's flags.
    pub(super) cpu_flags: Vec<String>,
    /// Which features it has, in the order of [`FEATURES`].
    pub(super) present: [Presence; FEATURES.len()],
    pub(super) version: Version,
    /// The isa of its exits, by the processor's vendor.
    pub(super) isa: Option<Isa>,
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
        let evidence = Evidence { version, types: types.as_ref().ok().copied() };
        let offsets = |types: &Types| arch.offsets.map_or(Ok(Vec::new()), |of| of(types, &host::backends()));
        let typed = |hook: &&Hook| hook.ways.iter().any(|way| way.how == How::Typed);
        let type_ids: Vec<_> = types.as_ref().map_or(Vec::new(), |types| {
            let hooks = arch.events().into_iter().filter(typed);
            hooks.filter_map(|hook| Some((hook.event, types.tracepoint_id(hook.event)?))).collect()
        });
        let sched = |types: &Types| types.sched().map(|it| it.constants()).map_err(|error| error.to_string());
        Self {
            format: Box::new(tracefs::format_text),
            kvm_types: types.clone().and_then(offsets),
            sched_types: types.clone().and_then(sched),
            type_id: Box::new(move |event| type_ids.iter().find(|(it, _)| *it == event).map(|(_, id)| *id)),
            cast: types.clone().ok().and_then(Types::cast).filter(|_| object::jit() != Jit::Off),
            cpu_flags: cpuinfo::flags(),
            present: std::array::from_fn(|index| FEATURES[index].presence(&evidence)),
            version,
            isa: host::default_isa(),
        }
    }

    /// All features, with whether this kernel has each.
    pub fn features(&self) -> impl Iterator<Item = (&'static FeatureInfo, Presence)> {
        let found =
            |(info, known): (&'static FeatureInfo, Presence)| (info, info.by_symbols(known, has_symbol));
        FEATURES.iter().zip(self.present).map(found)
    }

    /// Whether it has a feature for certain.
    pub fn has(&self, feature: Feature) -> bool {
        let mut known = FEATURES.iter().zip(self.present).filter(|(info, _)| info.feature == feature);
        known.any(|(info, known)| info.by_symbols(known, has_symbol).has == Some(true))
    }

    /// Whether the host's interrupts run before the exit event; [`None`] if that is not known.
    pub fn has_late_exits(&self) -> Option<bool> {
        match self.isa? {
            Isa::SVM => Some(!self.has(Feature::ExitsBeforeInterrupts)),
            Isa::VMX => Some(false),
            _ => None,
        }
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

    /// What is known of a feature on a made-up kernel.
    fn presence(
        feature: Feature,
        version: Version,
        structures: Option<&[(&str, &str)]>,
        symbols: &[&str],
    ) -> Presence {
        let types = structures.map(Types::of_structures);
        let has_symbol = |name: &str| symbols.contains(&name);
        let info = FEATURES.iter().find(|info| info.feature == feature).unwrap();
        info.by_symbols(info.presence(&Evidence { version, types: types.as_ref() }), has_symbol)
    }

    #[test]
    fn what_was_ported_back_is_found_and_what_was_taken_out_is_not() {
        fn raw(version: Version, structures: Option<&[(&str, &str)]>) -> Presence {
            presence(Feature::PreemptibleRaw, version, structures, &[])
        }
        fn memory(structures: Option<&[(&str, &str)]>) -> Presence {
            presence(Feature::CgroupMemory, Version(4, 18), structures, &[])
        }
        fn entries(version: Version, symbols: &[&str]) -> Presence {
            presence(Feature::FastPathEntries, version, None, symbols)
        }
        let by_types = |has| Presence { has: Some(has), by: DetectedBy::Types };
        let (old, new) = (("tp_transition_snapshot", "srcu"), ("tp_transition_snapshot", "srcu_gp"));
        assert_eq!(raw(Version(6, 12), Some(&[new])), by_types(true), "a real-time kernel");
        assert_eq!(raw(Version(6, 12), Some(&[old])), by_types(false));
        assert_eq!(raw(Version(7, 0), Some(&[])), by_types(false));
        let by_version = |has| Presence { has: Some(has), by: DetectedBy::Version };
        assert_eq!(
            [Version(6, 12), Version(7, 0)].map(|version| raw(version, None)),
            [by_version(false), by_version(true)]
        );

        fn exits(version: Version, structures: Option<&[(&str, &str)]>) -> Presence {
            presence(Feature::ExitsBeforeInterrupts, version, structures, &[])
        }
        let later = ("kvm_vcpu_arch", "governed_features");
        assert_eq!(exits(Version(5, 14), Some(&[later])), by_types(true), "KVM of another kernel");
        assert_eq!(exits(Version(6, 4), Some(&[("kvm_vcpu_arch", "apic")])), by_version(false));
        assert_eq!(exits(Version(6, 5), Some(&[("kvm_vcpu_arch", "apic")])), by_version(true));
        assert_eq!(exits(Version(6, 1), None), by_version(false));

        assert_eq!(memory(Some(&[("bpf_map", "memory")])), by_types(false));
        assert_eq!(memory(Some(&[("bpf_map", "objcg")])), by_types(true));
        assert_eq!(memory(None), by_version(false));

        let by_symbols = Presence { has: Some(true), by: DetectedBy::Symbols };
        assert_eq!(entries(Version(4, 18), &["kvm_stats_read"]), by_symbols);
        assert_eq!(entries(Version(5, 10), &["kvm_init"]), by_version(false));
        assert_eq!(entries(Version(5, 11), &[]), by_version(true));
    }

    #[test]
    fn every_feature_stands_once_and_has_its_commit() {
        for (index, info) in FEATURES.iter().enumerate() {
            assert!(FEATURES[..index].iter().all(|other| other.feature != info.feature));
            assert!(info.commit.len() == 12 && info.commit.chars().all(|digit| digit.is_ascii_hexdigit()));
        }
    }
}
