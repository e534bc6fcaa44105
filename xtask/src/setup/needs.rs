//! Tables of packages and toolchain parts: who needs each, how to find it, where it comes from.

use clap::ValueEnum;

use crate::toolchain::{MUSL, S390X};
use lab::target::Arch;

/// A purpose of set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// Compiling exitlat.
    Build,
    /// Linting and testing on this host.
    Check,
    /// Checking the dependencies.
    Deny,
    /// Fuzzing.
    Fuzz,
    /// Booting the lab.
    Lab,
    /// Running the lab tests.
    LabTest,
    /// Testing exports with other programs.
    Foreign,
    /// Compiling for s390x, and booting its lab.
    S390x,
    /// Running all tests.
    Test,
    /// Measuring, and comparing with other tools.
    Bench,
}

impl Purpose {
    /// Whether this purpose needs everything that `part` needs.
    pub fn includes(self, part: Purpose) -> bool {
        use Purpose::{Bench, Build, Check, Deny, Foreign, Fuzz, Lab, LabTest, S390x, Test};
        let parts: &[Purpose] = match self {
            Build => &[Build],
            Check => &[Build, Check],
            Deny => &[Build, Deny],
            Fuzz => &[Build, Fuzz],
            Lab => &[Build, Lab],
            LabTest => &[Build, Check, Lab, LabTest],
            Foreign => &[Build, Check, Foreign],
            S390x => &[Build, S390x],
            Test => &[Build, Check, Deny, Fuzz, Lab, LabTest, Foreign, Test],
            Bench => &[Build, Lab, Bench],
        };
        parts.contains(&part)
    }

    /// The lab of an architecture.
    pub fn of_lab(arch: Arch) -> Purpose {
        match arch {
            Arch::X86_64 => Purpose::Lab,
            Arch::S390x => Purpose::S390x,
        }
    }
}

/// How to see that something is there, whatever the distribution calls its package.
#[derive(Debug, Clone, Copy)]
pub enum Probe {
    /// A program in PATH.
    Program(&'static str),
    /// A file at one of these places.
    File(&'static [&'static str]),
    /// A program at one of these places that needs no library.
    Static(&'static [&'static str]),
    /// A command that succeeds.
    Runs(&'static str, &'static [&'static str]),
}

/// A package of the distribution.
#[derive(Debug)]
pub struct Package {
    /// Its name in Debian, and in Ubuntu where it differs.
    pub names: &'static [&'static str],
    /// How to find the package.
    pub probe: Probe,
    /// The purposes that need it.
    pub purposes: &'static [Purpose],
    /// Arguments of `apt-get install`, for when the package alone cannot be installed.
    pub fallback: Option<&'static [&'static str]>,
}

const fn package(names: &'static [&'static str], probe: Probe, purposes: &'static [Purpose]) -> Package {
    Package { names, probe, purposes, fallback: None }
}

/// HdrHistogram in Java, as its inventors wrote it.
pub const HDRHISTOGRAM: &str = "/usr/share/java/hdrhistogram.jar";

/// All packages. `qemu-utils` from backports breaks bookworm's `qemu-system-common`; it has to give way then.
pub const PACKAGES: &[Package] = {
    use Probe::{File, Program, Runs, Static};
    use Purpose::{Bench, Build, Foreign, Fuzz, Lab, LabTest, S390x};
    &[
        package(&["gcc"], Program("cc"), &[Build]),
        package(&["g++"], Program("c++"), &[Fuzz]),
        package(&["libc6-dev"], File(&["/usr/include/stdlib.h"]), &[Build]),
        Package {
            fallback: Some(&["qemu-system-x86", "qemu-system-misc", "qemu-utils-"]),
            ..package(&["qemu-system-x86"], Program("qemu-system-x86_64"), &[Lab])
        },
        package(&["busybox-static"], Static(&lab::BUSYBOX), &[Lab]),
        Package {
            fallback: Some(&["qemu-system-misc", "qemu-utils-"]),
            ..package(&["qemu-system-misc"], Program("qemu-system-s390x"), &[S390x])
        },
        package(&["gcc-s390x-linux-gnu"], Program("s390x-linux-gnu-gcc"), &[S390x]),
        package(&["libc6-dev-s390x-cross"], File(&["/usr/s390x-linux-gnu/include/stdlib.h"]), &[S390x]),
        package(&["xz-utils"], Program("xz"), &[Lab, S390x]),
        package(&["binutils"], Program("strip"), &[Lab]),
        package(
            &["debian-archive-keyring"],
            File(&["/usr/share/keyrings/debian-archive-keyring.gpg"]),
            &[Foreign, Lab, S390x],
        ),
        package(&["bochs"], Program("bochs-bin"), &[Lab]),
        package(
            &["bochs-term"],
            File(&["/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so"]),
            &[Lab],
        ),
        package(&["bochsbios"], File(&["/usr/share/bochs/BIOS-bochs-latest"]), &[Lab]),
        package(
            &["vgabios"],
            File(&["/usr/share/bochs/VGABIOS-lgpl-latest", "/usr/share/vgabios/vgabios.bin"]),
            &[Lab],
        ),
        package(&["isolinux"], File(&["/usr/lib/ISOLINUX/isolinux.bin"]), &[Lab]),
        package(&["syslinux-common"], File(&["/usr/lib/syslinux/modules/bios/ldlinux.c32"]), &[Lab]),
        package(&["xorriso"], Program("xorriso"), &[Lab]),
        package(&["bsdutils"], Program("script"), &[Lab]),
        package(&["linux-perf", "linux-tools-generic"], Program("perf"), &[LabTest, Bench]),
        package(&["chromium", "chromium-browser"], Program("chromium"), &[Foreign]),
        package(&["default-jre-headless"], Program("java"), &[Foreign]),
        package(&["libhdrhistogram-java"], File(&[HDRHISTOGRAM]), &[Foreign]),
        package(&["python3"], Program("python3"), &[Foreign]),
        package(&["python3-venv"], Runs("python3", &["-c", "import ensurepip, venv"]), &[Foreign]),
        package(&["bpftrace"], Program("bpftrace"), &[Bench]),
        package(&["bpftool", "linux-tools-common"], Program("bpftool"), &[Bench]),
    ]
};

/// Rust's targets beside the host's own.
pub const TARGETS: &[(&str, Purpose)] = &[(MUSL, Purpose::Build), (S390X, Purpose::S390x)];

/// A part of a Rust toolchain.
#[derive(Debug)]
pub struct Component {
    /// Its name as `rustup component add` takes it.
    pub name: &'static str,
    /// Whether it is part of the nightly for BPF, and not of the pinned toolchain.
    pub bpf: bool,
    /// The purpose that needs it.
    pub purpose: Purpose,
}

/// All components beyond the minimal profile.
pub const COMPONENTS: &[Component] = &[
    Component { name: "rustfmt", bpf: false, purpose: Purpose::Check },
    Component { name: "clippy", bpf: false, purpose: Purpose::Check },
    Component { name: "rust-src", bpf: true, purpose: Purpose::Build },
    Component { name: "clippy", bpf: true, purpose: Purpose::Check },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_need_the_lab_and_the_lab_needs_a_build() {
        assert!(Purpose::Test.includes(Purpose::Lab) && Purpose::Lab.includes(Purpose::Build));
        assert!(!Purpose::Build.includes(Purpose::Lab) && !Purpose::Test.includes(Purpose::Bench));
        assert!(Purpose::Test.includes(Purpose::Foreign) && !Purpose::LabTest.includes(Purpose::Foreign));
        assert!(Purpose::of_lab(Arch::S390x).includes(Purpose::Build));
    }
}
