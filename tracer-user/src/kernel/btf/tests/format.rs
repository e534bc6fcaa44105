//! The file itself: header, ids, strings, byte order.

use std::sync::Arc;

use super::super::{Btf, BtfError, Kind, TypeId};
use super::builder::Builder;

fn error(bytes: &[u8]) -> String {
    Btf::parse(None, bytes.to_vec()).expect_err("not a file").to_string()
}

#[test]
fn what_is_no_btf_is_refused() {
    assert_eq!(error(b""), "not BTF: wrong magic");
    assert_eq!(error(b"\x7fELF"), "not BTF: wrong magic");
    assert_eq!(error(&[0x9f, 0xeb, 2, 0]), "not BTF: unknown version");
    assert_eq!(error(&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0]), "damaged BTF: short header");
    assert_eq!(error(&[0x9f, 0xeb, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0]), "damaged BTF: short header");
}

#[test]
fn sections_must_lie_inside() {
    let good = Builder::new().bytes();
    for (at, value) in [(8, 1), (8, u32::MAX), (12, u32::MAX), (16, 9), (20, u32::MAX), (4, u32::MAX)] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        // An empty section may start at the very end, so one value is fine.
        if (at, value) != (8, 1) {
            assert_eq!(error(&bad), "damaged BTF: a section lies beyond the end", "{at}");
        } else {
            assert!(Btf::parse(None, bad).is_ok_and(|btf| btf.is_empty()));
        }
    }
    let mut endless = good.clone();
    *endless.last_mut().expect("a string") = b'x';
    assert_eq!(error(&endless), "damaged BTF: the last string does not end");
}

#[test]
fn types_are_found_by_name_and_kind() {
    let mut it = Builder::new();
    it.strukt("twin", 0, &[]);
    let typedef = it.simple(Kind::Typedef, "twin", 0);
    it.int("twins", 4);
    let btf = it.btf();
    assert_eq!(btf.len(), 3);
    assert_eq!(btf.find("twin", Kind::Typedef), Some(TypeId(typedef)));
    assert_eq!(btf.find("twin", Kind::Int), None);
    assert_eq!(btf.find("twi", Kind::Struct), None);
    assert_eq!(btf.find("twins", Kind::Int), Some(TypeId(3)));
    assert_eq!(btf.find("", Kind::Struct), None);
}

#[test]
fn a_module_continues_its_base() {
    let mut base = Builder::new();
    let int = base.int("int", 4);
    base.strukt("shared", 4, &[("old", int, 0)]);
    let mut module = base.split();
    module.strukt("own", 12, &[("far", int, 8)]);
    module.strukt("shared", 8, &[("new", int, 4)]);
    let vmlinux = Arc::new(base.btf());
    let btf = Btf::parse(Some(vmlinux.clone()), module.bytes()).expect("a module");
    assert_eq!(btf.find("int", Kind::Int), Some(TypeId(1)), "from the base");
    assert_eq!(btf.find("own", Kind::Struct), Some(TypeId(3)));
    assert_eq!(btf.member("own", &["far"]).expect("a member").size, 4, "a base type's size");
    assert_eq!(btf.member("shared", &["new"]).expect("its own first").offset, 4);
    assert!(vmlinux.member("own", &["far"]).is_err(), "the base does not know the module");
    assert!(
        matches!(Btf::parse(None, module.bytes()), Ok(alone) if alone.find("own", Kind::Struct).is_none())
    );
}

#[test]
fn either_byte_order_is_read_but_not_mixed() {
    let mut it = Builder { big_endian: true, ..Builder::new() };
    let int = it.int("long", 8);
    it.strukt("s", 16, &[("second", int, 8)]);
    assert_eq!(it.btf().member("s", &["second"]).expect("a member").offset, 8);
    let base = Arc::new(Builder::new().btf());
    let mixed = Btf::parse(Some(base), it.bytes()).expect_err("mixed").to_string();
    assert_eq!(mixed, "not BTF: byte order differs from its base");
}

#[test]
fn unknown_kinds_are_stepped_over_only_where_the_file_says_how() {
    let mut it = Builder::new();
    it.raw("novelty", 20 << 24 | 2, 0, &[1, 2, 3, 4, 5]);
    let int = it.int("int", 4);
    assert!(matches!(Btf::parse(None, it.bytes()), Err(BtfError::UnknownKind(20))));
    // 20 kinds it does not need to tell, then: 4 bytes and 8 for each element.
    it.layout = vec![[9, 9, 0, 0]; 20];
    assert!(matches!(Btf::parse(None, it.bytes()), Err(BtfError::UnknownKind(20))));
    it.layout.push([4, 8, 0, 0]);
    assert_eq!(it.btf().find("int", Kind::Int), Some(TypeId(int)));
}

#[test]
fn lengths_and_kinds_may_be_wide() {
    let mut it = Builder::new();
    let members = vec![0; 3 * 0x1_0001];
    it.raw("wide", (Kind::Struct as u32) << 24 | 0x1_0001, 0, &members);
    it.raw("kind", 0x60 << 24, 0, &[]);
    it.layout = vec![[0; 4]; 0x61];
    assert_eq!(it.btf().len(), 2);
    it.raw("none", 0, 0, &[]);
    assert!(matches!(Btf::parse(None, it.bytes()), Err(BtfError::UnknownKind(0))));
}
