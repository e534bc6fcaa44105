//! The offsets of real kernels, and of layouts that no kernel at hand has.

use std::path::PathBuf;

use super::super::{BtfError, EntryArgs, ExitArgs, Kind, Offsets, SvmPath, Types, VmxPath, offsets};
use super::builder::Builder;

fn read_dir(dir: &std::path::Path) -> Result<Offsets, BtfError> {
    Types::read_dir(dir)?.kvm()
}

fn real(kernel: &str) -> Result<Offsets, BtfError> {
    let dir: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/kernel/btf/testdata", kernel].iter().collect();
    read_dir(&dir)
}

/// What all kernels from 5.16 to 7.2 share.
const EXIT: ExitArgs = ExitArgs { vcpu: 0, isa: Some(1), reason: None };
const ENTRY: EntryArgs = EntryArgs { vcpu: Some(0), vcpu_id: None, immediate_exit: Some(1) };

#[test]
fn real_kernels() {
    for (kernel, exit_reason, vmcb, exit_code_size) in
        [("6.1", 7808, 6552, 4), ("6.12", 7744, 6480, 4), ("7.2", 6800, 6720, 8)]
    {
        let want = Offsets {
            exit: EXIT,
            entry: ENTRY,
            vcpu_id: 36,
            // Pruned from the files.
            kvm: None,
            vmx: Some(VmxPath { exit_reason }),
            svm: Some(SvmPath { vmcb, exit_code: 112, exit_code_size, own_follows: true }),
        };
        assert_eq!(real(kernel).expect(kernel), want, "{kernel}");
    }
}

#[test]
fn a_kernel_without_module_btf_says_what_is_missing() {
    let error = real("5.10").expect_err("5.10 has types of vmlinux only").to_string();
    assert_eq!(error, "BTF has no type struct vcpu_svm or struct vcpu_vmx");
}

#[test]
fn a_kernel_without_btf_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = read_dir(dir.path()).expect_err("empty").to_string();
    assert_eq!(error, format!("cannot read {}", dir.path().join("vmlinux").display()));
    std::fs::write(dir.path().join("vmlinux"), Builder::new().bytes()).expect("written");
    std::fs::write(dir.path().join("kvm"), "damaged").expect("written");
    assert_eq!(read_dir(dir.path()).expect_err("damaged").to_string(), "not BTF: wrong magic");
}

/// A kernel made by hand: the types tracepoints and vendors share.
struct Kernel {
    it: Builder,
    int: u32,
    flag: u32,
    vcpu: u32,
    vcpu_ptr: u32,
}

impl Kernel {
    fn new() -> Self {
        let mut it = Builder::new();
        let int = it.int("int", 4);
        let flag = it.int("bool", 1);
        let vm = it.ptr(int);
        let vcpu = it.strukt("kvm_vcpu", 64, &[("kvm", vm, 0), ("vcpu_id", int, 20)]);
        let vcpu_ptr = it.ptr(vcpu);
        Self { it, int, flag, vcpu, vcpu_ptr }
    }

    fn modern() -> Self {
        let mut kernel = Self::new();
        kernel.it.tracepoint("kvm_exit", &[("vcpu", kernel.vcpu_ptr), ("isa", kernel.int)]);
        kernel
            .it
            .tracepoint("kvm_entry", &[("vcpu", kernel.vcpu_ptr), ("force_immediate_exit", kernel.flag)]);
        kernel
    }

    fn vmx(&mut self, name: &str, vcpu: u32, reason: u32) {
        let members = [("vcpu", self.vcpu, vcpu), ("exit_reason", self.int, reason)];
        self.it.strukt(name, 128, &members);
    }

    fn offsets(&self) -> Result<Offsets, BtfError> {
        offsets(&self.it.btf(), None, None, None)
    }

    fn error(&self) -> String {
        self.offsets().expect_err("refused").to_string()
    }
}

#[test]
fn built_in_kvm_is_found_in_vmlinux() {
    let mut kernel = Kernel::modern();
    kernel.vmx("vcpu_vmx", 0, 100);
    let vmx = Some(VmxPath { exit_reason: 100 });
    let want = Offsets { exit: EXIT, entry: ENTRY, vcpu_id: 20, kvm: Some(0), vmx, svm: None };
    assert_eq!(kernel.offsets().expect("offsets"), want);
}

#[test]
fn prototypes_of_all_ages() {
    let args = |names: bool, exit: &[&str], entry: &[&str]| {
        let mut kernel = Kernel::new();
        for (event, params) in [("kvm_exit", exit), ("kvm_entry", entry)] {
            let params: Vec<_> = params
                .iter()
                .map(|&name| match name {
                    "vcpu" => (name, kernel.vcpu_ptr),
                    "force" => (name, kernel.flag),
                    _ => (name, kernel.int),
                })
                .map(|(name, id)| (if names { name } else { "" }, id))
                .collect();
            kernel.it.tracepoint(event, &params);
        }
        kernel.offsets().map(|offsets| (offsets.exit, offsets.entry))
    };
    for names in [true, false] {
        let old = args(names, &["exit_reason", "vcpu", "isa"], &["vcpu_id"]).expect("to 5.15");
        assert_eq!(old.0, ExitArgs { vcpu: 1, isa: Some(2), reason: Some(0) });
        assert_eq!(old.1, EntryArgs { vcpu: None, vcpu_id: Some(0), immediate_exit: None });
        let older = args(names, &["exit_reason", "vcpu"], &["vcpu"]).expect("one vendor");
        assert_eq!(older.0, ExitArgs { vcpu: 1, isa: None, reason: Some(0) });
        assert_eq!(older.1, EntryArgs { vcpu: Some(0), vcpu_id: None, immediate_exit: None });
        assert!(args(names, &["reason", "vcpu", "isa"], &["vcpu", "force"]).is_ok());
        assert!(args(names, &["reason", "vcpu", "isa", "more"], &["vcpu"]).is_err());
        assert!(args(names, &["reason", "pc"], &["vcpu"]).is_err(), "as on arm64");
        assert!(args(names, &["reason", "vcpu", "isa"], &["force"]).is_err(), "entry of no vCPU");
    }
    let renamed = args(true, &["reason", "vcpu", "flags"], &["vcpu"]).expect_err("a new argument");
    assert_eq!(renamed.to_string(), "raw tracepoint kvm_exit: an unknown argument");
    assert!(args(true, &["reason", "vcpu", "force"], &["vcpu"]).is_err(), "of another type");
}

#[test]
fn offsets_count_from_the_vcpu() {
    let mut kernel = Kernel::modern();
    kernel.vmx("vcpu_vmx", 8, 100);
    assert_eq!(kernel.offsets().expect("offsets").vmx, Some(VmxPath { exit_reason: 92 }));
    let mut kernel = Kernel::modern();
    kernel.vmx("vcpu_vmx", 8, 4);
    assert_eq!(kernel.error(), "vcpu_vmx.exit_reason: lies before the vCPU");
    let mut kernel = Kernel::modern();
    kernel.it.strukt("vcpu_vmx", 8, &[("vcpu", kernel.vcpu_ptr, 0), ("exit_reason", kernel.int, 4)]);
    assert_eq!(kernel.error(), "vcpu_vmx.vcpu: is no struct kvm_vcpu");
}

#[test]
fn tdx_must_agree_with_vmx() {
    for (tdx, agrees) in [(100, true), (104, false)] {
        let mut kernel = Kernel::modern();
        kernel.vmx("vcpu_vmx", 0, 100);
        kernel.vmx("vcpu_tdx", 0, tdx);
        assert_eq!(kernel.offsets().is_ok(), agrees);
    }
}

#[test]
fn the_vmcb_may_only_be_declared() {
    let mut kernel = Kernel::modern();
    let forward = kernel.it.simple(Kind::Fwd, "vmcb", 0);
    let pointer = kernel.it.ptr(forward);
    kernel.it.strukt("vcpu_svm", 128, &[("vcpu", kernel.vcpu, 0), ("vmcb", pointer, 72)]);
    assert_eq!(kernel.error(), "vcpu_svm.vmcb: is no pointer to struct vmcb");
    let control = kernel.it.strukt("vmcb_control_area", 64, &[("exit_code", kernel.int, 48)]);
    kernel.it.strukt("vmcb", 64, &[("control", control, 0)]);
    let svm = SvmPath { vmcb: 72, exit_code: 48, exit_code_size: 4, own_follows: false };
    assert_eq!(kernel.offsets().expect("offsets").svm, Some(svm));
}

#[test]
fn sizes_that_no_program_reads_are_refused() {
    let mut kernel = Kernel::modern();
    let control = kernel.it.strukt("vmcb_control_area", 64, &[("exit_code", kernel.flag, 48)]);
    let vmcb = kernel.it.strukt("vmcb", 64, &[("control", control, 0)]);
    let pointer = kernel.it.ptr(vmcb);
    kernel.it.strukt("vcpu_svm", 128, &[("vcpu", kernel.vcpu, 0), ("vmcb", pointer, 72)]);
    assert_eq!(kernel.error(), "struct vmcb.control.exit_code: has an unknown size");
}
