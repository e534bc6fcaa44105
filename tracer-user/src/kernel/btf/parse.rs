//! Parses a BTF file: header, one pass over the types, strings. Only the start of each type is recorded.
//!
//! `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst` of the kernel describe the format. Newer
//! kernels widened `info` (7 bits of kind, 24 of length, in bits that used to be zero) and added a layout
//! section that gives the length of kinds a reader does not know; both are read here.

use std::ops::Range;
use std::sync::Arc;

use super::BtfError;

/// The number of a type. 0 is `void`; a module's types continue the numbers of `vmlinux`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

/// The kinds of type this reader tells apart (`BTF_KIND_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the kernel's own")]
pub enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    Datasec = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

/// Bytes after the 12 common ones, and bytes for each of `vlen` elements.
type Body = (u8, u8);

/// The bodies of kinds 1 to 19.
const BODIES: [Body; 19] = [
    (4, 0), // int
    (0, 0),
    (12, 0), // array
    (0, 12), // struct
    (0, 12), // union
    (0, 8),  // enum
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),  // function prototype
    (4, 0),  // variable
    (0, 12), // data section
    (0, 0),
    (4, 0), // declaration tag
    (0, 0),
    (0, 12), // 64-bit enum
];

/// Bytes common to all types: name, info, size or type.
pub(super) const HEAD: usize = 12;
/// Limit on a file's size in bytes; no kernel's BTF comes near it.
const MAX_BYTES: usize = 1 << 28;

/// One BTF file and, for a module, the one it continues.
#[derive(Debug)]
pub struct Btf {
    base: Option<Arc<Btf>>,
    bytes: Vec<u8>,
    big_endian: bool,
    strings: Range<usize>,
    first_id: u32,
    first_string: u32,
    /// Where each type starts in `bytes`, by id from `first_id`.
    starts: Vec<u32>,
}

impl Btf {
    /// Reads the header and finds the start of every type. `base` is the BTF of `vmlinux` when `bytes` are a
    /// module's: ids and string offsets of a module start where those of its base end.
    ///
    /// # Errors
    /// If the bytes are not BTF, are truncated, or hold kinds of unknown length.
    pub fn parse(base: Option<Arc<Btf>>, bytes: Vec<u8>) -> Result<Btf, BtfError> {
        if bytes.len() > MAX_BYTES {
            return Err(BtfError::Format("too large"));
        }
        let big_endian = match bytes.get(..3) {
            Some([0x9f, 0xeb, 1]) => false,
            Some([0xeb, 0x9f, 1]) => true,
            Some([0x9f, 0xeb, _] | [0xeb, 0x9f, _]) => return Err(BtfError::Format("unknown version")),
            _ => return Err(BtfError::Format("wrong magic")),
        };
        if base.as_ref().is_some_and(|base| base.big_endian != big_endian) {
            return Err(BtfError::Format("byte order differs from its base"));
        }
        let field = |at| read(&bytes, big_endian, at).ok_or(BtfError::Damaged("short header"));
        let header = field(4)?;
        if header < 24 {
            return Err(BtfError::Damaged("short header"));
        }
        let section = |at| section(header, field(at)?, field(at + 4)?, bytes.len());
        let types = section(8)?;
        let strings = section(16)?;
        if bytes[strings.clone()].last().is_some_and(|&last| last != 0) {
            return Err(BtfError::Damaged("the last string does not end"));
        }
        let layout = if header >= 32 { section(24)? } else { 0..0 };
        let index = if big_endian { index::<true> } else { index::<false> };
        let starts = index(&bytes, types, &bodies(&bytes[layout]))?;
        let (first_id, first_string) = match &base {
            None => (1, 0),
            Some(base) => base.end().ok_or(BtfError::Format("too large"))?,
        };
        Ok(Self { base, bytes, big_endian, strings, first_id, first_string, starts })
    }

    /// The number of types in this file, without those of its base.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether this file adds no type.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The first id and the first string offset of a BTF that continues this one.
    fn end(&self) -> Option<(u32, u32)> {
        let types = u32::try_from(self.starts.len()).ok()?;
        let strings = u32::try_from(self.strings.len()).ok()?;
        Some((self.first_id.checked_add(types)?, self.first_string.checked_add(strings)?))
    }

    /// The BTF this one continues.
    pub(super) fn base(&self) -> Option<&Btf> {
        self.base.as_deref()
    }

    /// A type by id. `None` for `void` and for ids beyond the end.
    pub(super) fn get(&self, id: TypeId) -> Option<Type<'_>> {
        let mut btf = self;
        while id.0 < btf.first_id {
            btf = btf.base()?;
        }
        btf.starts.get((id.0 - btf.first_id) as usize).map(|&at| Type::at(btf, at as usize))
    }

    /// The types of this file alone, in order.
    pub(super) fn own(&self) -> impl Iterator<Item = (TypeId, Type<'_>)> {
        (self.first_id..).map(TypeId).zip(self.starts.iter().map(|&at| Type::at(self, at as usize)))
    }

    /// The string at an offset without its end; empty where there is none.
    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.string_and_rest(offset);
        &rest[..rest.iter().position(|&byte| byte == 0).unwrap_or(0)]
    }

    fn string_and_rest(&self, offset: u32) -> &[u8] {
        let mut btf = self;
        while offset < btf.first_string {
            match btf.base() {
                Some(base) => btf = base,
                None => return &[],
            }
        }
        btf.bytes[btf.strings.clone()].get((offset - btf.first_string) as usize..).unwrap_or(&[])
    }
}

/// A type where it lies in its file.
#[derive(Clone, Copy)]
pub(super) struct Type<'a> {
    /// The file that has it, by which its name and the ids in it are to be read.
    btf: &'a Btf,
    at: usize,
    info: u32,
}

impl<'a> Type<'a> {
    fn at(btf: &'a Btf, at: usize) -> Self {
        let mut it = Self { btf, at, info: 0 };
        it.info = it.word(4);
        it
    }

    /// A word of this type; `index` has already seen that all of it is there.
    fn word(&self, offset: usize) -> u32 {
        read(&self.btf.bytes, self.btf.big_endian, self.at + offset).unwrap_or(0)
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        kind_of(self.info) == kind as u8
    }

    pub(super) fn is_any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|&kind| self.is(kind))
    }

    /// The number of its members, parameters or values.
    pub(super) fn vlen(&self) -> usize {
        vlen_of(self.info)
    }

    /// Its name, empty if it has none.
    pub(super) fn name(&self) -> &'a [u8] {
        self.btf.string(self.word(0))
    }

    /// Whether this is its name; cheaper than to find where its name ends.
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        starts_with(self.btf.string_and_rest(self.word(0)), name)
    }

    /// The size in bytes of integers, floats, enums, structures and unions.
    pub(super) fn size(&self) -> u32 {
        self.word(8)
    }

    /// What pointers, typedefs, qualifiers and functions refer to.
    pub(super) fn target(&self) -> TypeId {
        TypeId(self.word(8))
    }

    /// An array's element type and number of elements.
    pub(super) fn array(&self) -> (TypeId, u32) {
        (TypeId(self.word(HEAD)), self.word(HEAD + 8))
    }

    /// The members of a structure or union.
    pub(super) fn fields(self) -> impl Iterator<Item = Field<'a>> {
        let packed = self.info >> 31 == 1;
        (0..self.vlen()).map(move |i| {
            let at = HEAD + 12 * i;
            let place = self.word(at + 8);
            let (bits, width) = if packed { (place & 0xff_ffff, place >> 24) } else { (place, 0) };
            let name = self.btf.string_and_rest(self.word(at));
            Field { name, id: TypeId(self.word(at + 4)), bits, width }
        })
    }

    /// The parameters of a function prototype: name and type.
    pub(super) fn params(self) -> impl Iterator<Item = (&'a [u8], TypeId)> {
        (0..self.vlen()).map(move |i| {
            let at = HEAD + 8 * i;
            (self.btf.string(self.word(at)), TypeId(self.word(at + 4)))
        })
    }
}

/// One member of a structure or union.
pub(super) struct Field<'a> {
    /// The strings from its name on: the name ends at the first zero byte.
    name: &'a [u8],
    pub(super) id: TypeId,
    /// Bits from the start of the structure.
    pub(super) bits: u32,
    /// The width of a bit field, else 0.
    pub(super) width: u32,
}

impl Field<'_> {
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        starts_with(self.name, name)
    }

    /// Whether it is an anonymous structure or union, whose members count as its owner's.
    pub(super) fn is_anonymous(&self) -> bool {
        self.name.first().is_none_or(|&byte| byte == 0)
    }
}

/// Whether a string whose end is not known yet equals `name`.
fn starts_with(rest: &[u8], name: &[u8]) -> bool {
    rest.get(name.len()) == Some(&0) && rest.starts_with(name)
}

fn kind_of(info: u32) -> u8 {
    (info >> 24) as u8 & 0x7f
}

fn vlen_of(info: u32) -> usize {
    (info & 0xff_ffff) as usize
}

fn read(bytes: &[u8], big_endian: bool, at: usize) -> Option<u32> {
    let word = *bytes.get(at..)?.first_chunk()?;
    Some(if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) })
}

/// A section's place in the file; its offset counts from the end of the header.
fn section(header: u32, offset: u32, len: u32, total: usize) -> Result<Range<usize>, BtfError> {
    let start = u64::from(header) + u64::from(offset);
    let end = start + u64::from(len);
    if end > total as u64 {
        return Err(BtfError::Damaged("a section lies beyond the end"));
    }
    Ok(start as usize..end as usize)
}

/// By kind: the known ones and, beyond them, those the file itself describes (`struct btf_layout`).
fn bodies(layout: &[u8]) -> [Option<Body>; 128] {
    let mut bodies = [None; 128];
    let told = layout.as_chunks::<4>().0.iter().map(|kind| Some((kind[0], kind[1])));
    bodies.iter_mut().zip(told).for_each(|(body, told)| *body = told);
    bodies[0] = None;
    bodies[1..=BODIES.len()].copy_from_slice(&BODIES.map(Some));
    bodies
}

/// Steps from type to type and notes where each starts.
fn index<const BIG_ENDIAN: bool>(
    bytes: &[u8],
    types: Range<usize>,
    bodies: &[Option<Body>; 128],
) -> Result<Vec<u32>, BtfError> {
    let cut = || BtfError::Damaged("a type is cut off");
    // A kernel's types take 23 to 26 bytes on average.
    let mut starts = Vec::with_capacity(types.len() / 22);
    let bytes = &bytes[..types.end];
    let mut at = types.start;
    while at < types.end {
        let info = read(bytes, BIG_ENDIAN, at + 4).ok_or_else(cut)?;
        let kind = kind_of(info);
        let Some((fixed, each)) = bodies[usize::from(kind)] else { return Err(BtfError::UnknownKind(kind)) };
        starts.push(at as u32);
        // No overflow: 255 times 24 bits, and `at` is below MAX_BYTES.
        at += HEAD + usize::from(fixed) + usize::from(each) * vlen_of(info);
    }
    if at == types.end { Ok(starts) } else { Err(cut()) }
}
