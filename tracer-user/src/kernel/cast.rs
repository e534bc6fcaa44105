//! Typed loads of kernel memory: puts the numbers of `bpf_rdonly_cast` and of a type into the object.
//!
//! The kernel function exists since 6.2 (commit a35b9af4ec2c), for all program types, where the JIT is on
//! (`add_kfunc_call`, kernel/bpf/verifier.c). Its number is that of its type in the running kernel's BTF, so it can
//! only be put in before loading; aya has no means for it. Object and programs are the same without: then the
//! branch that has the call is never taken, and the verifier removes it.

use tracer_ebpf::names::{CAST_CALL, CAST_TYPE};

use crate::kernel::btf::Cast;

/// `call imm32` of a helper, and of a kernel function (`BPF_PSEUDO_KFUNC_CALL` as source register).
const CALL: [u8; 2] = [0x85, 0x00];
const KFUNC: [u8; 2] = [0x85, 0x20];
/// `r2 = imm32`, 64 and 32 bits wide.
const MOVES: [[u8; 2]; 2] = [[0xb7, 0x02], [0xb4, 0x02]];

/// Whether this machine's programs are compiled, which calls of kernel functions need.
pub fn jit_enabled() -> bool {
    std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").is_ok_and(|text| text.trim() != "0")
}

/// Replaces the numbers in a little-endian object. Returns how many calls there were.
pub fn patch(object: &mut [u8], cast: Cast) -> usize {
    let mut calls = 0;
    // Sections begin at multiples of eight.
    for at in (0..object.len().saturating_sub(7)).step_by(8) {
        let instruction = &mut object[at..at + 8];
        let code = [instruction[0], instruction[1]];
        let offset = [instruction[2], instruction[3]];
        let number = i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]]);
        if offset != [0, 0] {
            continue;
        }
        if code == CALL && number == CAST_CALL {
            instruction[..2].copy_from_slice(&KFUNC);
            instruction[4..].copy_from_slice(&cast.function.to_le_bytes());
            calls += 1;
        } else if MOVES.contains(&code) && number == CAST_TYPE {
            instruction[4..].copy_from_slice(&cast.structure.to_le_bytes());
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_replaced_and_nothing_else() {
        let mut object = Vec::new();
        for (code, number) in
            [([0xb7, 0x02], CAST_TYPE), (CALL, CAST_CALL), (CALL, 14), ([0xb7, 0x01], CAST_TYPE)]
        {
            object.extend([code[0], code[1], 0, 0]);
            object.extend(number.to_le_bytes());
        }
        let before = object.clone();
        assert_eq!(patch(&mut object, Cast { function: 70_000, structure: 77 }), 1);
        assert_eq!(object[..8], [0xb7, 0x02, 0, 0, 77, 0, 0, 0]);
        assert_eq!(object[8..16], [0x85, 0x20, 0, 0, 0x70, 0x11, 0x01, 0]);
        assert_eq!(object[16..], before[16..]);
        assert_eq!(patch(&mut object, Cast { function: 1, structure: 1 }), 0);
    }
}
