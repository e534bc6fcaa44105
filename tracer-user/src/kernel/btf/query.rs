//! Questions to a [`Btf`]: a type by name, a member's place, a raw tracepoint's arguments.
//!
//! Types may refer to each other in circles, and a damaged file to itself: every walk here has a bound.

use super::parse::{Kind, Type, TypeId};
use super::{Btf, BtfError};

/// Qualifiers, typedefs and array dimensions in a row.
const MAX_CHAIN: usize = 32;
/// Members looked at for one question; struct kvm_vcpu with all it embeds has a few thousand.
const MAX_MEMBERS: usize = 1 << 16;
/// How deep [`Btf::nested`] looks.
const MAX_DEPTH: usize = 4;
/// Arguments of a raw tracepoint: what BPF can take (`bpf_trace_run12`).
const MAX_ARGS: usize = 12;
/// KVM hosts are 64-bit, and BTF does not say how long its pointers are.
const POINTER: u32 = 8;

/// A member's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the structure asked.
    pub offset: u32,
    /// Its size in bytes.
    pub size: u32,
    /// Its type.
    pub id: TypeId,
}

/// What a raw tracepoint argument is, as far as a program needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A pointer, and the type it points to without qualifiers.
    Pointer(TypeId),
    /// An integer or enum, by its size in bytes.
    Integer(u32),
    /// Anything else.
    Other,
}

/// An argument of a raw tracepoint: element of `bpf_raw_tracepoint_args.args` of the same index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name in `TP_PROTO`; empty where the kernel keeps none.
    pub name: String,
    /// Its type as C writes it.
    pub type_name: String,
    /// Pointer, integer or other.
    pub shape: Shape,
}

impl Btf {
    /// The first type of that name and kind, in this file before its base.
    pub fn find(&self, name: &str, kind: Kind) -> Option<TypeId> {
        let mut btf = Some(self);
        while let Some(here) = btf {
            let hit = here.own().find(|(_, it)| it.is(kind) && it.is_named(name.as_bytes()));
            if let Some((id, _)) = hit {
                return Some(id);
            }
            btf = here.base();
        }
        None
    }

    /// Where a member of a named structure is. Each step of the path names a member; anonymous structures and
    /// unions are looked through, embedded ones stepped into, pointers never followed.
    ///
    /// # Errors
    /// If there is no such structure or member, or the member is a bit field.
    pub fn member(&self, strukt: &str, path: &[&str]) -> Result<Member, BtfError> {
        let id =
            self.find(strukt, Kind::Struct).ok_or_else(|| BtfError::NoType(format!("struct {strukt}")))?;
        self.member_of(id, path)
    }

    /// As [`Btf::member`], of a structure or union that is known by id.
    ///
    /// # Errors
    /// As [`Btf::member`].
    pub fn member_of(&self, id: TypeId, path: &[&str]) -> Result<Member, BtfError> {
        let fail = |why| BtfError::Member { owner: self.type_name(id), member: path.join("."), why };
        let (mut at, mut owner, mut width) = (0, id, 0);
        for step in path {
            (at, owner, width) =
                self.step(owner, at, step.as_bytes())?.ok_or_else(|| fail("no such member"))?;
        }
        if at % 8 != 0 || width != 0 {
            return Err(fail("is a bit field"));
        }
        let offset = u32::try_from(at / 8).map_err(|_| fail("lies too far"))?;
        let size = self.size_of(owner).ok_or_else(|| fail("has no size"))?;
        Ok(Member { offset, size, id: owner })
    }

    /// Bit offset, type and bit width of one member, anonymous members looked through.
    fn step(&self, owner: TypeId, at: u64, name: &[u8]) -> Result<Option<(u64, TypeId, u32)>, BtfError> {
        let mut todo = vec![(owner, at)];
        let mut budget = MAX_MEMBERS;
        while let Some((id, at)) = todo.pop() {
            for field in self.compound(id).into_iter().flat_map(Type::fields) {
                budget = budget.checked_sub(1).ok_or(BtfError::Endless)?;
                let at = at + u64::from(field.bits);
                if field.is_named(name) {
                    return Ok(Some((at, field.id, field.width)));
                }
                if field.is_anonymous() {
                    todo.push((field.id, at));
                }
            }
        }
        Ok(None)
    }

    /// The member of that name and size that is nested least deep in a structure, looking into all embedded
    /// structures but those named `except`. For members that kernels move from one structure to another.
    ///
    /// # Errors
    /// If there is none, or there are several at the same depth.
    pub fn nested(&self, id: TypeId, name: &str, size: u32, except: &str) -> Result<Member, BtfError> {
        let fail = |why| BtfError::Member { owner: self.type_name(id), member: name.to_owned(), why };
        let mut level = vec![(id, 0u64)];
        let mut budget = MAX_MEMBERS;
        for _ in 0..MAX_DEPTH {
            let (mut hits, mut below) = (Vec::new(), Vec::new());
            for (id, at) in level {
                for field in self.compound(id).into_iter().flat_map(Type::fields) {
                    budget = budget.checked_sub(1).ok_or(BtfError::Endless)?;
                    let at = at + u64::from(field.bits);
                    if field.is_named(name.as_bytes()) && self.size_of(field.id) == Some(size) {
                        hits.push((at, field));
                    } else if self.compound(field.id).is_some_and(|it| !it.is_named(except.as_bytes())) {
                        below.push((field.id, at));
                    }
                }
            }
            match &hits[..] {
                [] => level = below,
                [(at, field)] if at % 8 == 0 && field.width == 0 => {
                    let offset = u32::try_from(at / 8).map_err(|_| fail("lies too far"))?;
                    return Ok(Member { offset, size, id: field.id });
                }
                [_] => return Err(fail("is a bit field")),
                _ => return Err(fail("is there more than once")),
            }
        }
        Err(fail("no such member of that size"))
    }

    /// The arguments of a raw tracepoint, without the hidden first one (`void *__data`).
    ///
    /// The types are those of `typedef void (*btf_trace_EVENT)(...)`, which the kernel keeps for BPF
    /// (`include/trace/bpf_probe.h`). Names are not kept there; they come from `__traceiter_EVENT`
    /// (`include/linux/tracepoint.h`) where that has the same parameters.
    ///
    /// # Errors
    /// If there is no such typedef, or it is not a tracepoint's.
    pub fn raw_tracepoint_args(&self, event: &str) -> Result<Vec<Arg>, BtfError> {
        let name = format!("btf_trace_{event}");
        let fail = |why| BtfError::Prototype { event: event.to_owned(), why };
        let typedef =
            self.find(&name, Kind::Typedef).ok_or_else(|| BtfError::NoType(format!("typedef {name}")))?;
        let pointer = self.resolve(typedef).filter(|it| it.is(Kind::Ptr));
        let proto = pointer.and_then(|it| self.get(it.target())).filter(|it| it.is(Kind::FuncProto));
        let proto = proto.ok_or_else(|| fail("its type is no pointer to a function"))?;
        if proto.vlen() > MAX_ARGS + 1 {
            return Err(fail("too many arguments"));
        }
        let mut params = proto.params();
        let (_, first) = params.next().ok_or_else(|| fail("has no arguments"))?;
        if self.shape(first) != Shape::Pointer(TypeId(0)) {
            return Err(fail("its first argument is not void *"));
        }
        let names = self.parameter_names(event, proto);
        let name = |i: usize, own: &[u8]| match names.get(i) {
            Some(name) if own.is_empty() => text(name),
            _ => text(own),
        };
        let arg =
            |(i, (own, id))| Arg { name: name(i, own), type_name: self.type_name(id), shape: self.shape(id) };
        Ok(params.enumerate().map(arg).collect())
    }

    fn parameter_names(&self, event: &str, proto: Type<'_>) -> Vec<&[u8]> {
        let named = self
            .find(&format!("__traceiter_{event}"), Kind::Func)
            .and_then(|id| self.get(self.get(id)?.target()))
            .filter(|it| it.is(Kind::FuncProto) && it.params().map(|p| p.1).eq(proto.params().map(|p| p.1)));
        named.into_iter().flat_map(Type::params).skip(1).map(|(name, _)| name).collect()
    }

    fn shape(&self, id: TypeId) -> Shape {
        match self.resolve(id) {
            Some(it) if it.is(Kind::Ptr) => self.strip(it.target()).map_or(Shape::Other, Shape::Pointer),
            Some(it) if it.is_any(&[Kind::Int, Kind::Enum, Kind::Enum64]) => Shape::Integer(it.size()),
            _ => Shape::Other,
        }
    }

    /// The type behind typedefs and qualifiers. `void` counts as a type; [`None`] for an unknown id.
    fn strip(&self, mut id: TypeId) -> Option<TypeId> {
        const THROUGH: [Kind; 5] =
            [Kind::Typedef, Kind::Const, Kind::Volatile, Kind::Restrict, Kind::TypeTag];
        for _ in 0..MAX_CHAIN {
            if id.0 == 0 {
                return Some(id);
            }
            let it = self.get(id)?;
            if !it.is_any(&THROUGH) {
                return Some(id);
            }
            id = it.target();
        }
        None
    }

    /// As [`Self::strip`], and the type itself; none for `void`.
    pub(super) fn resolve(&self, id: TypeId) -> Option<Type<'_>> {
        self.get(self.strip(id)?)
    }

    fn compound(&self, id: TypeId) -> Option<Type<'_>> {
        self.resolve(id).filter(|it| it.is_any(&[Kind::Struct, Kind::Union]))
    }

    fn size_of(&self, mut id: TypeId) -> Option<u32> {
        const SIZED: [Kind; 6] =
            [Kind::Int, Kind::Enum, Kind::Enum64, Kind::Struct, Kind::Union, Kind::Float];
        let mut times = 1u32;
        for _ in 0..MAX_CHAIN {
            let it = self.resolve(id)?;
            if it.is(Kind::Array) {
                let (element, count) = it.array();
                times = times.checked_mul(count)?;
                id = element;
            } else if it.is(Kind::Ptr) {
                return times.checked_mul(POINTER);
            } else {
                return times.checked_mul(it.is_any(&SIZED).then(|| it.size())?);
            }
        }
        None
    }

    /// A type as C writes it, without what is behind a pointer's own qualifiers; `?` where it cannot be told.
    pub(super) fn type_name(&self, mut id: TypeId) -> String {
        let (mut stars, mut constant) = (String::new(), "");
        let mut name = "?".to_owned();
        for _ in 0..MAX_CHAIN {
            if id.0 == 0 {
                name = "void".to_owned();
                break;
            }
            let Some(it) = self.get(id) else { break };
            if it.is(Kind::Ptr) {
                stars.push('*');
                constant = "";
            } else if it.is(Kind::Const) {
                constant = "const ";
            } else if !it.is_any(&[Kind::Volatile, Kind::Restrict, Kind::TypeTag]) {
                let tag = match () {
                    () if it.is_any(&[Kind::Struct, Kind::Fwd]) => "struct ",
                    () if it.is(Kind::Union) => "union ",
                    () if it.is_any(&[Kind::Enum, Kind::Enum64]) => "enum ",
                    () => "",
                };
                if !it.name().is_empty() {
                    name = format!("{tag}{}", text(it.name()));
                }
                break;
            }
            id = it.target();
        }
        let space = if stars.is_empty() { "" } else { " " };
        format!("{constant}{name}{space}{stars}")
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
