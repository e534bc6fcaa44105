//! The architectures that exitlat supports, and the machines that emulators make of them.

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;

/// An architecture with a lab.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[default]
    #[value(name = "x86_64")]
    X86_64,
    /// IBM Z.
    S390x,
}

impl Arch {
    /// Its name in Debian.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::S390x => "s390x",
        }
    }

    /// The machines of this architecture.
    pub fn machines(self) -> impl Iterator<Item = &'static Machine> {
        MACHINES.into_iter().filter(move |machine| machine.arch == self)
    }
}

/// Who makes the CPU that a machine emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Vendor {
    /// x86 with SVM.
    Amd,
    /// x86 with VMX.
    Intel,
    /// IBM Z, whose SIE is scripted.
    #[value(skip)]
    Ibm,
}

/// The program that emulates a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU without KVM.
    Qemu,
    /// Bochs.
    Bochs,
}

/// A machine that the lab can boot. There is one for each architecture and vendor.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name: `machine` in `tests/kernels.toml`, `LAB_CPU` in the guest.
    pub name: &'static str,
    /// The architecture.
    pub arch: Arch,
    /// The maker of the CPU.
    pub vendor: Vendor,
    /// The emulator.
    pub emulator: Emulator,
    /// KVM's module for the CPU.
    pub module: &'static str,
    /// The usual number of CPUs.
    pub cpus: u32,
    /// The usual memory in MiB.
    pub memory_mib: u32,
    /// Memory in MiB with programs of the host and their libraries in the guest.
    pub memory_with_programs_mib: u32,
}

/// SVM, under QEMU.
pub const AMD: &Machine = &Machine {
    name: "amd",
    arch: Arch::X86_64,
    vendor: Vendor::Amd,
    emulator: Emulator::Qemu,
    module: "kvm_amd",
    cpus: 2,
    memory_mib: 1024,
    memory_with_programs_mib: 3072,
};
/// VMX, under Bochs.
pub const INTEL: &Machine = &Machine {
    name: "intel",
    arch: Arch::X86_64,
    vendor: Vendor::Intel,
    emulator: Emulator::Bochs,
    module: "kvm_intel",
    cpus: 1,
    memory_mib: 512,
    memory_with_programs_mib: 1024,
};
/// IBM Z, under QEMU.
pub const S390X: &Machine = &Machine {
    name: "s390x",
    arch: Arch::S390x,
    vendor: Vendor::Ibm,
    emulator: Emulator::Qemu,
    module: "kvm",
    cpus: 2,
    memory_mib: 1024,
    memory_with_programs_mib: 3072,
};
/// All machines.
pub const MACHINES: [&Machine; 3] = [AMD, INTEL, S390X];

impl Machine {
    /// The machine of an architecture and vendor. An architecture with one machine needs no vendor.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(arch: Arch, vendor: Option<Vendor>) -> Result<&'static Self> {
        arch.machines()
            .find(|machine| vendor.is_none_or(|vendor| machine.vendor == vendor))
            .with_context(|| format!("the lab has no {} machine with that CPU", arch.debian()))
    }

    /// The machine with that name.
    ///
    /// # Errors
    /// If there is none; the error names all machines.
    pub fn named(name: &str) -> Result<&'static Self> {
        MACHINES.into_iter().find(|machine| machine.name == name).with_context(|| {
            let names = MACHINES.map(|machine| machine.name).join(", ");
            format!("there is no machine \"{name}\"; there are {names}")
        })
    }
}

impl<'de> Deserialize<'de> for &'static Machine {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Machine::named(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_is_found_by_its_name_and_by_what_it_is() {
        for machine in MACHINES {
            assert_eq!(Machine::named(machine.name).unwrap(), machine);
            assert_eq!(Machine::of(machine.arch, Some(machine.vendor)).unwrap(), machine);
        }
        assert_eq!(Machine::of(Arch::X86_64, None).unwrap(), AMD);
        assert!(Machine::of(Arch::S390x, Some(Vendor::Amd)).is_err());
        let error = Machine::named("riscv").unwrap_err().to_string();
        assert_eq!(error, "there is no machine \"riscv\"; there are amd, intel, s390x");
    }
}
