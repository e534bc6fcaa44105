//! What the raw-tracepoint programs must know of this kernel's KVM.
//!
//! The exit reason left the raw arguments of `kvm_exit` when the tracepoint began to ask the vendor module
//! for it (`arch/x86/kvm/trace.h`: `TP_PROTO(struct kvm_vcpu *vcpu, u32 isa)`). It is then read from where
//! the vendor module keeps it:
//! - VMX: `vmx_get_exit_info` gives `exit_reason.full`, in `struct vcpu_vmx` (`arch/x86/kvm/vmx/vmx.h`) or,
//!   on kernels with TDX, in the `struct vcpu_vt` it shares with `struct vcpu_tdx`
//!   (`arch/x86/kvm/vmx/common.h`).
//! - SVM: `svm_get_exit_info` gives `svm->vmcb->control.exit_code` (`arch/x86/kvm/svm/svm.c`,
//!   `arch/x86/include/asm/svm.h`).

use super::parse::{Kind, TypeId};
use super::query::{Arg, Shape};
use super::{Btf, BtfError};

/// Offsets and argument numbers for the raw-tracepoint programs. All offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// The arguments of raw tracepoint `kvm_exit`.
    pub exit: ExitArgs,
    /// The arguments of raw tracepoint `kvm_entry`.
    pub entry: EntryArgs,
    /// `vcpu_id` in `struct kvm_vcpu`, an `int`.
    pub vcpu_id: u32,
    /// `kvm` in `struct kvm_vcpu`, the pointer to the VM; without it the VMs of a process are one.
    pub kvm: Option<u32>,
    /// Where the exit reason is on Intel; none without the types of `kvm_intel`.
    pub vmx: Option<VmxPath>,
    /// Where the exit reason is on AMD; none without the types of `kvm_amd`.
    pub svm: Option<SvmPath>,
}

/// Argument numbers of raw tracepoint `kvm_exit`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitArgs {
    /// The `struct kvm_vcpu *`.
    pub vcpu: u8,
    /// `KVM_ISA_VMX` or `KVM_ISA_SVM`.
    pub isa: Option<u8>,
    /// The exit reason, on kernels before it moved.
    pub reason: Option<u8>,
}

/// Argument numbers of raw tracepoint `kvm_entry`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryArgs {
    /// The `struct kvm_vcpu *`.
    pub vcpu: Option<u8>,
    /// The vCPU's number, on kernels that give it in place of the structure.
    pub vcpu_id: Option<u8>,
    /// Whether the entry is forced to leave again at once.
    pub immediate_exit: Option<u8>,
}

/// The exit reason on Intel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmxPath {
    /// From the `struct kvm_vcpu *` to the 32-bit exit reason with its flags.
    pub exit_reason: u32,
}

/// The exit code on AMD: one pointer, then the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SvmPath {
    /// From the `struct kvm_vcpu *` to the pointer to the current VMCB.
    pub vmcb: u32,
    /// From the start of the VMCB to the exit code.
    pub exit_code: u32,
    /// The exit code's size: 4, or 8 on kernels that joined it with its upper half.
    pub exit_code_size: u32,
    /// Whether `vmcb01.ptr`, the guest's own VMCB, lies right behind that pointer.
    pub own_follows: bool,
}

/// Derives the offsets from the BTF of `vmlinux` and of whichever of the modules have one (each parsed with
/// `vmlinux` as its base). What is built in is found in `vmlinux`.
///
/// # Errors
/// If a type is missing or has a form this reader does not know; tracepoints must serve then.
pub fn offsets(
    vmlinux: &Btf,
    kvm: Option<&Btf>,
    kvm_intel: Option<&Btf>,
    kvm_amd: Option<&Btf>,
) -> Result<Offsets, BtfError> {
    let kvm = kvm.unwrap_or(vmlinux);
    let exit = kvm.raw_tracepoint_args("kvm_exit").and_then(|args| exit_args(kvm, &args));
    let given = matches!(exit, Ok((ExitArgs { reason: Some(_), .. }, _)));
    let (vmx, svm) = (vmx(kvm_intel.unwrap_or(vmlinux)), svm(kvm_amd.unwrap_or(vmlinux)));
    // The structures are not needed where the reason is an argument.
    let (vmx, svm) = if given { (vmx.unwrap_or(None), svm.unwrap_or(None)) } else { (vmx?, svm?) };
    let (exit, vcpu) = match exit {
        // Neither vendor's types: that, not the missing prototype, says that modules have no BTF here.
        Ok(_) | Err(BtfError::NoType(_)) if !given && vmx.is_none() && svm.is_none() => {
            return Err(BtfError::NoType("struct vcpu_svm or struct vcpu_vmx".to_owned()));
        }
        exit => exit?,
    };
    let entry = entry_args(kvm, &kvm.raw_tracepoint_args("kvm_entry")?)?;
    let vcpu_id = sized(kvm, vcpu, &["vcpu_id"], &[4])?.0;
    let vm = kvm.member_of(vcpu, &["kvm"]).ok();
    let vm = vm.filter(|vm| kvm.resolve(vm.id).is_some_and(|it| it.is(Kind::Ptr)));
    Ok(Offsets { exit, entry, vcpu_id, kvm: vm.map(|vm| vm.offset), vmx, svm })
}

/// Which argument is a `struct kvm_vcpu *`, and that structure.
fn vcpu_arg(kvm: &Btf, args: &[Arg]) -> Option<(usize, TypeId)> {
    args.iter().enumerate().find_map(|(i, arg)| {
        let Shape::Pointer(to) = arg.shape else { return None };
        Some((i, complete(kvm, to, "kvm_vcpu")?))
    })
}

/// The structure behind an id, if it has this name; a forward declaration is resolved to its definition.
fn complete(btf: &Btf, id: TypeId, name: &str) -> Option<TypeId> {
    let it = btf.get(id).filter(|it| it.is_named(name.as_bytes()))?;
    match () {
        () if it.is(Kind::Struct) => Some(id),
        () if it.is(Kind::Fwd) => btf.find(name, Kind::Struct),
        () => None,
    }
}

/// `(reason, vcpu[, isa])` of old, `(vcpu, isa)` of new kernels; by the place of the integers relative to the
/// vCPU, and where the names are known they must agree.
pub(super) fn exit_args(kvm: &Btf, args: &[Arg]) -> Result<(ExitArgs, TypeId), BtfError> {
    let fail = |why| BtfError::Prototype { event: "kvm_exit".to_owned(), why };
    let (vcpu, strukt) = vcpu_arg(kvm, args).ok_or_else(|| fail("has no struct kvm_vcpu *"))?;
    let pick = |names: &[&str], from: usize, to: usize| match &args[from..to] {
        [] => Ok(None),
        [arg] if !arg.name.is_empty() && !names.contains(&arg.name.as_str()) => {
            Err(fail("an unknown argument"))
        }
        [Arg { shape: Shape::Integer(4), .. }] => Ok(Some(from as u8)),
        [_] => Err(fail("an argument of unknown type")),
        _ => Err(fail("more arguments than known")),
    };
    let reason = pick(&["exit_reason", "reason"], 0, vcpu)?;
    let isa = pick(&["isa"], vcpu + 1, args.len())?;
    Ok((ExitArgs { vcpu: vcpu as u8, isa, reason }, strukt))
}

/// `(vcpu_id)`, `(vcpu)`, `(vcpu, force_immediate_exit)`.
fn entry_args(kvm: &Btf, args: &[Arg]) -> Result<EntryArgs, BtfError> {
    let vcpu = vcpu_arg(kvm, args).map(|(i, _)| i as u8);
    let of = |size| args.iter().position(|arg| arg.shape == Shape::Integer(size)).map(|i| i as u8);
    let vcpu_id = if vcpu.is_none() { of(4) } else { None };
    if vcpu.is_none() && vcpu_id.is_none() {
        return Err(BtfError::Prototype { event: "kvm_entry".to_owned(), why: "names no vCPU" });
    }
    Ok(EntryArgs { vcpu, vcpu_id, immediate_exit: of(1) })
}

/// The named structure, and how far into it its `struct kvm_vcpu` is (0 on all kernels seen, but it costs
/// little to ask).
fn vendor(btf: &Btf, name: &str) -> Result<Option<(TypeId, u32)>, BtfError> {
    let Some(id) = btf.find(name, Kind::Struct) else { return Ok(None) };
    let vcpu = btf.member_of(id, &["vcpu"])?;
    complete(btf, vcpu.id, "kvm_vcpu").ok_or_else(|| unlike(name, "vcpu", "is no struct kvm_vcpu"))?;
    Ok(Some((id, vcpu.offset)))
}

fn vmx(btf: &Btf) -> Result<Option<VmxPath>, BtfError> {
    let reason = |name: &str| -> Result<Option<u32>, BtfError> {
        let Some((id, vcpu)) = vendor(btf, name)? else { return Ok(None) };
        let reason = btf.nested(id, "exit_reason", 4, "kvm_vcpu")?;
        let offset = reason.offset.checked_sub(vcpu);
        offset.map(Some).ok_or_else(|| unlike(name, "exit_reason", "lies before the vCPU"))
    };
    let Some(exit_reason) = reason("vcpu_vmx")? else { return Ok(None) };
    // One program serves both: vmx/main.c asserts that they share the place.
    match reason("vcpu_tdx")? {
        Some(tdx) if tdx != exit_reason => {
            Err(unlike("vcpu_tdx", "exit_reason", "is elsewhere than in vcpu_vmx"))
        }
        _ => Ok(Some(VmxPath { exit_reason })),
    }
}

fn svm(btf: &Btf) -> Result<Option<SvmPath>, BtfError> {
    let Some((id, vcpu)) = vendor(btf, "vcpu_svm")? else { return Ok(None) };
    let pointer = btf.member_of(id, &["vmcb"])?;
    let target = btf.resolve(pointer.id).filter(|it| it.is(Kind::Ptr)).map(|it| it.target());
    let vmcb = target
        .and_then(|id| complete(btf, id, "vmcb"))
        .ok_or_else(|| unlike("vcpu_svm", "vmcb", "is no pointer to struct vmcb"))?;
    let (exit_code, exit_code_size) = sized(btf, vmcb, &["control", "exit_code"], &[4, 8])?;
    let offset = pointer.offset.checked_sub(vcpu);
    let vmcb = offset.ok_or_else(|| unlike("vcpu_svm", "vmcb", "lies before the vCPU"))?;
    let own = btf.member_of(id, &["vmcb01", "ptr"]).ok();
    let own_follows = own.is_some_and(|own| own.offset == pointer.offset + 8);
    Ok(Some(SvmPath { vmcb, exit_code, exit_code_size, own_follows }))
}

/// A member's offset and size, if the size is one of those a program can read.
fn sized(btf: &Btf, id: TypeId, path: &[&str], sizes: &[u32]) -> Result<(u32, u32), BtfError> {
    let member = btf.member_of(id, path)?;
    if !sizes.contains(&member.size) {
        return Err(unlike(&btf.type_name(id), &path.join("."), "has an unknown size"));
    }
    Ok((member.offset, member.size))
}

fn unlike(owner: &str, member: &str, why: &'static str) -> BtfError {
    BtfError::Member { owner: owner.to_owned(), member: member.to_owned(), why }
}
