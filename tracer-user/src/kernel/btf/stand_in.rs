//! Types that stand in for a kernel's where a library asks for all of them and needs one number.

/// Bytes of the header, and of a type without members (`include/uapi/linux/btf.h`).
const HEADER: u32 = 24;
const TYPE: u32 = 12;
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const FORWARD: u32 = 7 << 24;
const TYPEDEF: u32 = 8 << 24;

/// A BTF file, in this machine's byte order, in which type `id` is a typedef of this name, and all types
/// before it are forward declarations without one. 0 is the number of no type.
pub fn typedef(id: u32, name: &str) -> Vec<u8> {
    let types_len = id * TYPE;
    let strings_len = name.len() as u32 + 2;
    let mut file = Vec::with_capacity((HEADER + types_len + strings_len) as usize);
    file.extend(MAGIC.to_ne_bytes());
    file.extend([VERSION, 0]);
    for number in [HEADER, 0, types_len, types_len, strings_len] {
        file.extend(number.to_ne_bytes());
    }
    let ty = |name: u32, info: u32| [name, info, 0].into_iter().flat_map(u32::to_ne_bytes);
    for _ in 1..id {
        file.extend(ty(0, FORWARD));
    }
    file.extend(ty(1, TYPEDEF));
    file.push(0);
    file.extend(name.as_bytes());
    file.push(0);
    file
}

#[cfg(test)]
mod tests {
    use aya::{Btf, Endianness};

    use super::*;
    use crate::kernel::btf::{self, Kind};

    #[test]
    fn it_has_the_number_and_nothing_else() {
        for id in [1, 2, 70_000] {
            let file = typedef(id, "btf_trace_sched_switch");
            let ours = btf::Btf::parse(None, file.clone()).unwrap();
            let found = ours.find("btf_trace_sched_switch", Kind::Typedef).map(|id| id.0);
            assert_eq!(found, Some(id));
            assert!(Btf::parse(&file, Endianness::default()).is_ok());
        }
    }
}
