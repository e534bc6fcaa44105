//! Whether raw tracepoints can be used on this kernel, and where the exit reason is for them.

use crate::kernel::{
    btf::{BtfError, Cast, Offsets, Types},
    host, object, tracefs,
};

/// What KVM's SVM code fires whenever it is about to run a guest in the guest (`enter_svm_guest_mode`,
/// `arch/x86/kvm/svm/nested.c`): the one place, within KVM_RUN, from which `vmcb` is no longer `vmcb01.ptr`.
const NESTED: [&str; 2] = ["kvm_nested_vmrun", "kvm_nested_vmenter"];

/// Where raw tracepoint programs find the exit reason; what the running vendor module lacks is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLayout {
    /// Of the 32-bit reason in a VMX vCPU.
    pub vmx_reason: Option<u32>,
    /// Of the control block's pointer in an SVM vCPU, and of the code in the control block.
    pub svm: Option<(u32, u32)>,
    /// Of a vCPU's number.
    pub vcpu_id: u32,
    /// Numbers for typed loads, where this kernel has them.
    pub cast: Option<Cast>,
    /// On AMD, the event that tells when a vCPU's control block changes, if there is one.
    pub nested: Option<&'static str>,
}

/// Where the exit reason is, by the kernel's types. The error says, for people, why classic tracepoints have to be
/// used.
///
/// # Errors
/// If the types are not there or not as the programs know them.
pub fn layout(types: &Result<Types, BtfError>) -> Result<RawLayout, String> {
    let types = types.as_ref().map_err(ToString::to_string)?;
    let offsets = types.kvm().map_err(|error| error.to_string())?;
    let mut layout = from_offsets(&offsets, &host::backends())?;
    layout.cast = types.cast().filter(|_| object::jit_enabled());
    if offsets.svm.is_some_and(|svm| svm.own_follows) {
        layout.nested = NESTED.into_iter().find(|event| tracefs::has(event));
    }
    Ok(layout)
}

/// The programs read `kvm_exit(vcpu, isa)`, and need the structure of every vendor module that is loaded: one that
/// is loaded later gives unreadable records, which are counted.
fn from_offsets(offsets: &Offsets, backends: &[&str]) -> Result<RawLayout, String> {
    let exit = &offsets.exit;
    if (exit.vcpu, exit.isa, exit.reason) != (0, Some(1), None) {
        return Err("the arguments of this kernel's raw kvm_exit are others".to_owned());
    }
    if offsets.entry.vcpu != Some(0) {
        return Err("the arguments of this kernel's raw kvm_entry are others".to_owned());
    }
    let known = |backend: &&str| match *backend {
        "kvm_intel" => offsets.vmx.is_some(),
        "kvm_amd" => offsets.svm.is_some(),
        _ => false,
    };
    match backends.iter().find(|backend| !known(backend)) {
        Some(unknown) => Err(format!("the types of {unknown} are not known")),
        None if backends.is_empty() => Err("neither kvm_intel nor kvm_amd is loaded".to_owned()),
        None => Ok(RawLayout {
            vmx_reason: offsets.vmx.as_ref().map(|vmx| vmx.exit_reason),
            // Codes of 64 bits have their lower half first; the record keeps no more either.
            svm: offsets.svm.as_ref().map(|svm| (svm.vmcb, svm.exit_code)),
            vcpu_id: offsets.vcpu_id,
            cast: None,
            nested: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::btf::{EntryArgs, ExitArgs, SvmPath};

    use super::*;

    fn amd() -> Offsets {
        Offsets {
            exit: ExitArgs { vcpu: 0, isa: Some(1), reason: None },
            entry: EntryArgs { vcpu: Some(0), vcpu_id: None, immediate_exit: None },
            vcpu_id: 36,
            vmx: None,
            svm: Some(SvmPath { vmcb: 6552, exit_code: 112, exit_code_size: 4, own_follows: true }),
        }
    }

    #[test]
    fn every_loaded_vendor_has_to_be_known() {
        let layout =
            RawLayout { vmx_reason: None, svm: Some((6552, 112)), vcpu_id: 36, cast: None, nested: None };
        assert_eq!(from_offsets(&amd(), &["kvm_amd"]), Ok(layout));
        for backends in [&["kvm_intel"][..], &["kvm_pvm"], &["kvm_amd", "kvm_pvm"], &[]] {
            assert!(from_offsets(&amd(), backends).is_err(), "{backends:?}");
        }
    }

    #[test]
    fn older_arguments_are_refused() {
        let mut offsets = amd();
        offsets.exit = ExitArgs { vcpu: 1, isa: Some(2), reason: Some(0) };
        assert!(from_offsets(&offsets, &["kvm_amd"]).unwrap_err().contains("arguments"));
    }
}
