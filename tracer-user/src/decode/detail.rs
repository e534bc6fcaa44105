//! Names for the causes below an exit reason.

use std::borrow::Cow;

use tracer_ebpf::{
    detail::{self, kind},
    split::KVM_EXIT_ERROR,
};

use crate::decode::{Isa, kvm_exit};

/// The name of a cause; [`None`] if a detail is none.
pub fn label(_isa: Isa, detail: u64) -> Option<Cow<'static, str>> {
    let value = detail::value_of(detail);
    match detail::kind_of(detail) {
        kind::USER_EXIT => Some(user_exit(value as u32)),
        _ => None,
    }
}

fn user_exit(reason: u32) -> Cow<'static, str> {
    if reason > KVM_EXIT_ERROR {
        return Cow::Owned(format!("KVM_RUN failed, error {}", reason - KVM_EXIT_ERROR));
    }
    Cow::Owned(kvm_exit::decode(reason).to_string())
}
