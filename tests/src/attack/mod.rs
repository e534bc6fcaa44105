//! What a local user with `/dev/kvm`, or a guest, can do to a tracer of the whole host: the attackers of the
//! lab tests. They use nothing but KVM's plain requests.
//!
//! [`machine`] is the least of virtual machines; [`cli`] is the command line, `workload attack KIND`. Nobody
//! but the attacker itself is meant to lose a sample by any of them.
//!
//! # The scribbler
//! KVM traces the reason of a return from KVM_RUN as it stands in `kvm_run` (`kvm_vcpu_ioctl`,
//! `virt/kvm/kvm_main.c`), in a page that its owner may write to. A second thread can change it between KVM's
//! write and the tracepoint, now and then. Here the guest does it, each time: the page of `kvm_run` is a page
//! of its memory, and its PUSHAD begins in a page without memory. KVM emulates the instruction. Its first
//! push sets the reason to KVM_EXIT_MMIO, its second one overwrites that by ECX.

pub mod cli;
pub mod machine;
