//! Places of members and arguments of tracepoints.

use super::super::{Btf, BtfError, Kind, Member, Shape, TypeId};
use super::builder::Builder;

fn place(btf: &Btf, path: &[&str]) -> (u32, u32) {
    let Member { offset, size, .. } = btf.member("outer", path).expect("a member");
    (offset, size)
}

/// `struct outer` with everything a path may meet.
fn sample() -> Builder {
    let mut it = Builder::new();
    let int = it.int("int", 4);
    let constant = it.simple(Kind::Const, "", int);
    let alias = it.simple(Kind::Typedef, "alias_t", constant);
    let array = it.array(alias, 3);
    let matrix = it.array(array, 2);
    let pointer = it.ptr(int);
    let inner = it.strukt("inner", 12, &[("x", alias, 4), ("matrix", matrix, 8)]);
    let inner_t = it.simple(Kind::Typedef, "inner_t", inner);
    let deepest = it.strukt("", 8, &[("hidden", int, 4)]);
    let anonymous = it.compound(Kind::Union, "", 8, &[("p", pointer, 0), ("", deepest, 0)]);
    let forward = it.simple(Kind::Fwd, "unknown", 0);
    let members =
        [("a", int, 0), ("in", inner_t, 16), ("", anonymous, 40), ("to", pointer, 48), ("f", forward, 56)];
    it.strukt("outer", 64, &members);
    it
}

#[test]
fn paths_step_into_what_is_embedded() {
    let btf = sample().btf();
    assert_eq!(place(&btf, &["a"]), (0, 4));
    assert_eq!(place(&btf, &["in"]), (16, 12));
    assert_eq!(place(&btf, &["in", "x"]), (20, 4));
    assert_eq!(place(&btf, &["in", "matrix"]), (24, 24));
    assert_eq!(place(&btf, &["p"]), (40, 8), "in an anonymous union");
    assert_eq!(place(&btf, &["hidden"]), (44, 4), "in an anonymous structure in it");
    assert_eq!(place(&btf, &[]), (0, 64), "the structure itself");
}

#[test]
fn what_cannot_be_had_is_said() {
    let btf = sample().btf();
    let error = |path: &[&str]| btf.member("outer", path).expect_err("no member").to_string();
    assert_eq!(error(&["nothing"]), "struct outer.nothing: no such member");
    assert_eq!(error(&["in", "y"]), "struct outer.in.y: no such member");
    assert_eq!(error(&["to", "x"]), "struct outer.to.x: no such member", "pointers are not followed");
    assert_eq!(error(&["f"]), "struct outer.f: has no size");
    assert_eq!(btf.member("absent", &["x"]).expect_err("none").to_string(), "BTF has no type struct absent");
}

#[test]
fn bit_fields_have_no_offset() {
    let mut it = Builder::new();
    let int = it.int("int", 4);
    let names = [it.text("whole"), it.text("bits"), it.text("odd")];
    let body = [names[0], int, 32, names[1], int, 3 << 24 | 64, names[2], int, 65];
    it.raw("flags", 1 << 31 | (Kind::Struct as u32) << 24 | 3, 12, &body);
    let btf = it.btf();
    assert_eq!(btf.member("flags", &["whole"]).expect("a member").offset, 4);
    for name in ["bits", "odd"] {
        let error = btf.member("flags", &[name]).expect_err("bits").to_string();
        assert_eq!(error, format!("struct flags.{name}: is a bit field"));
    }
}

#[test]
fn the_shallowest_member_is_found_wherever_it_moved() {
    let mut it = Builder::new();
    let (int, long) = (it.int("int", 4), it.int("long", 8));
    let (skip, deep) = (it.strukt("skip", 4, &[("r", int, 0)]), it.strukt("deep", 8, &[("r", int, 4)]));
    let mid = it.strukt("mid", 16, &[("d", deep, 8)]);
    let find = |it: &Builder, id| it.btf().nested(TypeId(id), "r", 4, "skip").map(|member| member.offset);
    let one = it.strukt("one", 64, &[("s", skip, 0), ("r", long, 8), ("m", mid, 16)]);
    assert_eq!(find(&it, one).expect("in m.d"), 28);
    let two = it.strukt("two", 64, &[("m", mid, 16), ("d", deep, 32)]);
    assert_eq!(find(&it, two).expect("in d, not in m.d"), 36);
    let both = it.strukt("both", 64, &[("d", deep, 0), ("e", deep, 32)]);
    assert_eq!(find(&it, both).expect_err("two").to_string(), "struct both.r: is there more than once");
    let none = it.strukt("none", 64, &[("s", skip, 0)]);
    assert_eq!(find(&it, none).expect_err("none").to_string(), "struct none.r: no such member of that size");
}

#[test]
fn arguments_have_names_types_and_shapes() {
    let mut it = Builder::new();
    let int = it.int("unsigned int", 4);
    let u32_ = it.simple(Kind::Typedef, "u32", int);
    let vcpu = it.simple(Kind::Fwd, "kvm_vcpu", 0);
    let constant = it.simple(Kind::Const, "", vcpu);
    let pointer = it.ptr(constant);
    let twice = it.ptr(pointer);
    let odd = it.strukt("odd", 0, &[]);
    it.tracepoint("named", &[("vcpu", pointer), ("isa", u32_)]);
    it.tracepoint("bare", &[("", twice), ("", odd)]);
    it.tracepoint("alone", &[]);
    let btf = it.btf();
    let show = |event| -> Vec<String> {
        let args = btf.raw_tracepoint_args(event).expect("arguments");
        args.iter().map(|arg| format!("{} {:?} {:?}", arg.type_name, arg.name, arg.shape)).collect()
    };
    let pointer_to = Shape::Pointer(TypeId(vcpu));
    assert_eq!(
        show("named"),
        [format!("const struct kvm_vcpu * \"vcpu\" {pointer_to:?}"), "u32 \"isa\" Integer(4)".into()]
    );
    let pointer_to = Shape::Pointer(TypeId(twice - 1));
    assert_eq!(
        show("bare"),
        [format!("const struct kvm_vcpu ** \"\" {pointer_to:?}"), "struct odd \"\" Other".into()]
    );
    assert!(show("alone").is_empty());
}

#[test]
fn what_is_no_tracepoint_is_said() {
    let mut it = Builder::new();
    let int = it.int("int", 4);
    it.simple(Kind::Typedef, "btf_trace_int", int);
    let pointer = it.ptr(int);
    it.simple(Kind::Typedef, "btf_trace_pointer", pointer);
    for (event, params) in [("empty", &[][..]), ("first", &[("", int)]), ("many", &[("", pointer); 14])] {
        let proto = it.proto(params);
        let pointer = it.ptr(proto);
        it.simple(Kind::Typedef, &format!("btf_trace_{event}"), pointer);
    }
    let btf = it.btf();
    let error = |event| btf.raw_tracepoint_args(event).expect_err("no arguments").to_string();
    assert_eq!(error("int"), "raw tracepoint int: its type is no pointer to a function");
    assert_eq!(error("pointer"), "raw tracepoint pointer: its type is no pointer to a function");
    assert_eq!(error("empty"), "raw tracepoint empty: has no arguments");
    assert_eq!(error("first"), "raw tracepoint first: its first argument is not void *");
    assert_eq!(error("many"), "raw tracepoint many: too many arguments");
    assert!(matches!(btf.raw_tracepoint_args("absent"), Err(BtfError::NoType(_))));
}
