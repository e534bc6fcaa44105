//! Any bytes as the kernel's type information, alone and as that of a module.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tracer_user::kernel::btf::{Btf, Kind, offsets};

// The first two bytes say where the module's file begins.
fuzz_target!(|data: &[u8]| {
    let Some((place, files)) = data.split_first_chunk() else { return };
    let (base, module) = files.split_at(usize::from(u16::from_le_bytes(*place)).min(files.len()));
    let Ok(base) = Btf::parse(None, base.to_vec()).map(Arc::new) else { return };
    ask(&base);
    let Ok(module) = Btf::parse(Some(base.clone()), module.to_vec()) else { return };
    ask(&module);
    let _ = offsets(&base, Some(&module), Some(&module), Some(&module));
});

fn ask(btf: &Btf) {
    let _ = offsets(btf, None, None, None);
    let _ = btf.raw_tracepoint_args("kvm_exit");
    let _ = btf.member("kvm_vcpu", &["vcpu_id"]);
    if let Some(id) = btf.find("vcpu_svm", Kind::Struct) {
        let _ = btf.member_of(id, &["vmcb"]);
        let _ = btf.nested(id, "exit_reason", 4, "kvm_vcpu");
    }
}
