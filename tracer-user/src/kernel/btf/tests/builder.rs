//! Makes BTF files by hand.

use super::super::{Btf, Kind};

/// A file in the making.
pub struct Builder {
    pub big_endian: bool,
    pub types: Vec<u32>,
    /// After the header's six words.
    pub layout: Vec<[u8; 4]>,
    pub strings: Vec<u8>,
    pub first_string: u32,
    pub next: u32,
}

impl Builder {
    /// A file that stands alone.
    pub fn new() -> Self {
        Self {
            big_endian: false,
            types: Vec::new(),
            layout: Vec::new(),
            strings: vec![0],
            first_string: 0,
            next: 1,
        }
    }

    /// A module's file that continues this one.
    pub fn split(&self) -> Self {
        let strings = vec![0];
        Self { strings, first_string: self.strings.len() as u32, next: self.next, ..Self::new() }
    }

    pub fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.first_string + self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    /// Any type: name, `info` whole, size or type, and the words that follow.
    pub fn raw(&mut self, name: &str, info: u32, word: u32, body: &[u32]) -> u32 {
        let name = self.text(name);
        self.types.extend([name, info, word]);
        self.types.extend(body);
        self.next += 1;
        self.next - 1
    }

    pub fn simple(&mut self, kind: Kind, name: &str, word: u32) -> u32 {
        self.raw(name, (kind as u32) << 24, word, &[])
    }

    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.raw(name, (Kind::Int as u32) << 24, size, &[size << 3])
    }

    pub fn ptr(&mut self, to: u32) -> u32 {
        self.simple(Kind::Ptr, "", to)
    }

    pub fn array(&mut self, of: u32, count: u32) -> u32 {
        self.raw("", (Kind::Array as u32) << 24, 0, &[of, of, count])
    }

    /// Members are name, type, byte offset.
    pub fn compound(&mut self, kind: Kind, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let body: Vec<u32> =
            members.iter().flat_map(|&(name, id, at)| [self.text(name), id, at * 8]).collect();
        self.raw(name, (kind as u32) << 24 | members.len() as u32, size, &body)
    }

    pub fn strukt(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.compound(Kind::Struct, name, size, members)
    }

    pub fn proto(&mut self, params: &[(&str, u32)]) -> u32 {
        let body: Vec<u32> = params.iter().flat_map(|&(name, id)| [self.text(name), id]).collect();
        self.raw("", (Kind::FuncProto as u32) << 24 | params.len() as u32, 0, &body)
    }

    /// `typedef void (*btf_trace_EVENT)(void *, ...)` and, where there are names, `__traceiter_EVENT`.
    pub fn tracepoint(&mut self, event: &str, params: &[(&str, u32)]) {
        let data = self.ptr(0);
        let bare: Vec<_> = [("", data)].into_iter().chain(params.iter().map(|&(_, id)| ("", id))).collect();
        let proto = self.proto(&bare);
        let pointer = self.ptr(proto);
        self.simple(Kind::Typedef, &format!("btf_trace_{event}"), pointer);
        if params.iter().any(|(name, _)| !name.is_empty()) {
            let named: Vec<_> = [("__data", data)].into_iter().chain(params.iter().copied()).collect();
            let proto = self.proto(&named);
            self.simple(Kind::Func, &format!("__traceiter_{event}"), proto);
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32 * 4, self.strings.len() as u32);
        let layout = self.layout.len() as u32 * 4;
        let mut header = vec![24, layout, types, layout + types, strings];
        if layout > 0 {
            header[0] = 32;
            header.extend([0, layout]);
        }
        let word = |word: &u32| if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() };
        let magic = if self.big_endian { [0xeb, 0x9f, 1, 0] } else { [0x9f, 0xeb, 1, 0] };
        let mut bytes = magic.to_vec();
        bytes.extend(header.iter().flat_map(word));
        bytes.extend(self.layout.iter().flatten());
        bytes.extend(self.types.iter().flat_map(word));
        bytes.extend(&self.strings);
        bytes
    }

    pub fn btf(&self) -> Btf {
        Btf::parse(None, self.bytes()).expect("a file made by hand")
    }
}
