//! Input that lies: never a panic, never without end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Btf, BtfError, Kind, TypeId, offsets};
use super::builder::Builder;

/// Asks everything there is to ask.
fn interrogate(btf: &Btf) {
    let _ = offsets(btf, None, None, None);
    let _ = btf.raw_tracepoint_args("kvm_exit");
    let _ = btf.member("kvm_vcpu", &["vcpu_id"]);
    for id in (0..=btf.len() as u32 + 1).map(TypeId) {
        let _ = btf.member_of(id, &["x"]);
        let _ = btf.nested(id, "exit_reason", 4, "kvm_vcpu");
        let _ = btf.type_name(id);
    }
}

fn file(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/kernel/btf/testdata/7.2", name].iter().collect();
    fs::read(path).expect("a real file")
}

#[test]
fn types_that_refer_to_themselves_end() {
    let mut it = Builder::new();
    it.simple(Kind::Typedef, "btf_trace_kvm_exit", 1);
    it.simple(Kind::Const, "", 3);
    it.simple(Kind::Volatile, "", 2);
    it.ptr(4);
    it.array(5, 1);
    let eater = it.strukt("eater", 8, &[("", 6, 0), ("", 6, 0), ("s", 6, 4)]);
    assert_eq!(eater, 6);
    it.strukt("kvm_vcpu", 4, &[("vcpu_id", 2, 0)]);
    let btf = it.btf();
    interrogate(&btf);
    assert!(matches!(btf.member_of(TypeId(eater), &["x"]), Err(BtfError::Endless)));
    assert!(btf.member("kvm_vcpu", &["vcpu_id"]).is_err());
    assert_eq!(btf.type_name(TypeId(4)), format!("? {}", "*".repeat(32)));
}

#[test]
fn lengths_beyond_the_end_are_damage() {
    for kind in [Kind::Struct, Kind::Enum, Kind::FuncProto, Kind::Datasec, Kind::Enum64] {
        let mut it = Builder::new();
        it.raw("huge", (kind as u32) << 24 | 0xff_ffff, 0, &[0; 6]);
        let error = Btf::parse(None, it.bytes()).expect_err("cut off").to_string();
        assert_eq!(error, "damaged BTF: a type is cut off");
    }
}

#[test]
fn offsets_and_sizes_do_not_wrap() {
    let mut it = Builder::new();
    let huge = it.int("huge", u32::MAX);
    let array = it.array(huge, u32::MAX);
    let (name, far) = (it.text("vcpu_id"), it.text("far"));
    it.raw("kvm_vcpu", (Kind::Struct as u32) << 24 | 2, 0, &[name, array, u32::MAX, far, huge, u32::MAX - 7]);
    let btf = it.btf();
    interrogate(&btf);
    assert!(btf.member("kvm_vcpu", &["vcpu_id"]).is_err());
    assert_eq!(btf.member("kvm_vcpu", &["far"]).expect("a member").offset, u32::MAX / 8);
}

#[test]
fn every_truncation_of_a_real_file_is_refused() {
    let whole = file("kvm_amd");
    let base = Arc::new(Btf::parse(None, file("vmlinux")).expect("a real file"));
    assert!(Btf::parse(Some(base.clone()), whole.clone()).is_ok());
    for len in 0..whole.len() {
        assert!(Btf::parse(Some(base.clone()), whole[..len].to_vec()).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn noise(mut bytes in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
        if magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
        }
        if let Ok(btf) = Btf::parse(None, bytes) {
            interrogate(&btf);
        }
    }

    #[test]
    fn sound_types_that_mean_nothing(
        types in prop::collection::vec((0usize..8, 1u32..20, 0u32..4, 0u32..30), 0..30),
        body in prop::collection::vec(0u32..30, 12),
    ) {
        let names =
            ["", "kvm_vcpu", "vcpu_vmx", "vcpu_svm", "vcpu", "exit_reason", "btf_trace_kvm_exit", "x"];
        let mut it = Builder::new();
        for (name, kind, vlen, word) in types {
            let len = match kind {
                1 | 14 | 17 => 1,
                3 => 3,
                4 | 5 | 15 | 19 => 3 * vlen,
                6 | 13 => 2 * vlen,
                _ => 0,
            };
            it.raw(names[name], kind << 24 | vlen, word, &body[..len as usize]);
        }
        interrogate(&it.btf());
    }

    #[test]
    fn a_real_file_with_one_word_changed(at in 0usize..1200, value: u32, small in 0u32..64, wide: bool) {
        let base = Arc::new(Btf::parse(None, file("vmlinux")).expect("a real file"));
        let mut bytes = file("kvm_amd");
        let at = (at * 4).min(bytes.len() - 4);
        bytes[at..at + 4].copy_from_slice(&if wide { value } else { small }.to_le_bytes());
        if let Ok(btf) = Btf::parse(Some(base.clone()), bytes) {
            interrogate(&btf);
            let _ = offsets(&base, None, None, Some(&btf));
        }
    }
}
