//! Puts numbers into the object's instructions before it is loaded: the constants of [`tracer_ebpf::config`],
//! and what typed loads of kernel memory need, the numbers of `bpf_rdonly_cast` and of a type.
//!
//! The kernel function exists since 6.2 (commit a35b9af4ec2c), for all program types, where the JIT is on
//! (`add_kfunc_call`, kernel/bpf/verifier.c). Its number is that of its type in the running kernel's BTF, so
//! it can only be put in before loading; aya has no call for it. On other kernels the object is the same, but
//! the branch with the call is never taken, and the verifier removes it.

use anyhow::{Result, ensure};
use tracer_ebpf::{
    abi::ABSENT,
    config::{self, CAST_CALL, CAST_TYPE},
};

use crate::kernel::btf::Cast;

/// Operation codes (`Documentation/bpf/standardization/instruction-set.rst`): a call, the move of an
/// immediate number to the whole of a register, and jumps if an unsigned register equals an immediate number,
/// does not equal it, is not below it, or is below it.
const CALL: u8 = 0x85;
const MOVE: u8 = 0xb7;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_UNLESS_BELOW: u8 = 0x35;
const JUMP_IF_BELOW: u8 = 0xa5;
/// As source register of a call: the number is that of a kernel function (`BPF_PSEUDO_KFUNC_CALL`).
const KERNEL_FUNCTION: u8 = 2;

/// Whether programs are compiled, which calls of kernel functions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jit {
    /// Programs are compiled.
    On,
    /// Programs are interpreted.
    Off,
    /// The setting is not there: this kernel has no JIT, or this is not the first network namespace, the only
    /// one with the file (`net_core_table`, net/core/sysctl_net_core.c).
    NotShown,
}

/// Reads the JIT setting.
pub fn jit() -> Jit {
    match std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Ok("0") => Jit::Off,
        Ok(_) => Jit::On,
        Err(_) => Jit::NotShown,
    }
}

/// One instruction of eight bytes, in this machine's byte order.
struct Instruction<'a>(&'a mut [u8; 8]);

impl Instruction<'_> {
    fn code(&self) -> u8 {
        self.0[0]
    }

    /// Destination and source register.
    fn registers(&self) -> (u8, u8) {
        let (low, high) = (self.0[1] & 15, self.0[1] >> 4);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }

    fn set_source(&mut self, source: u8) {
        let (destination, _) = self.registers();
        self.0[1] = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
    }

    fn number(&self) -> i32 {
        let [.., a, b, c, d] = *self.0;
        i32::from_ne_bytes([a, b, c, d])
    }

    /// Whether it leads nowhere, as calls and moves.
    fn has_no_offset(&self) -> bool {
        self.0[2..4] == [0, 0]
    }

    /// A comparison with a mark becomes one with 0, which jumps always or never. A jump without a condition
    /// would leave instructions that nothing leads to, which the verifier refuses.
    fn decide(&mut self, jumps: bool) {
        self.0[0] = if jumps { JUMP_UNLESS_BELOW } else { JUMP_IF_BELOW };
        self.set_number(0);
    }

    fn set_number(&mut self, number: u32) {
        self.0[4..].copy_from_slice(&number.to_ne_bytes());
    }
}

/// Every place of the object that can be an instruction: sections begin at multiples of eight.
fn instructions(object: &mut [u8]) -> impl Iterator<Item = Instruction<'_>> {
    object.as_chunks_mut().0.iter_mut().map(Instruction)
}

/// Writes the constants into the object; those that are not given become [`ABSENT`].
///
/// # Errors
/// If the object lacks one that is given.
pub fn constants(object: &mut [u8], given: &[(i32, u32)]) -> Result<()> {
    let mut used = vec![false; given.len()];
    for mut instruction in instructions(object) {
        let mark = instruction.number();
        if !config::ALL.iter().any(|(known, _)| *known == mark) {
            continue;
        }
        let place = given.iter().position(|(known, _)| *known == mark);
        let number = place.map_or(ABSENT, |place| given[place].1);
        match (instruction.code(), instruction.registers()) {
            (MOVE, (_, 0)) if instruction.has_no_offset() => instruction.set_number(number),
            (JUMP_IF_EQUAL, (_, 0)) => instruction.decide(number == 1),
            (JUMP_UNLESS_EQUAL, (_, 0)) => instruction.decide(number != 1),
            _ => continue,
        }
        if let Some(place) = place {
            used[place] = true;
        }
    }
    let unused = given.iter().zip(&used).find(|(_, used)| !**used).map(|((mark, _), _)| mark);
    let name = config::ALL.iter().find(|(mark, _)| Some(mark) == unused).map(|(_, name)| name);
    ensure!(unused.is_none(), "bug: the BPF object does not use the constant {name:?}");
    Ok(())
}

/// Puts in the numbers for typed loads. Returns how many there are.
pub fn casts(object: &mut [u8], cast: Cast) -> usize {
    let mut calls = 0;
    for mut instruction in instructions(object) {
        match (instruction.code(), instruction.registers(), instruction.number()) {
            (CALL, (0, 0), CAST_CALL) => {
                instruction.set_source(KERNEL_FUNCTION);
                instruction.set_number(cast.function);
                calls += 1;
            }
            (MOVE, (2, 0), CAST_TYPE) => instruction.set_number(cast.structure),
            _ => {}
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions without offset, of one register, which is the destination.
    fn object(instructions: &[(u8, u8, i32)]) -> Vec<u8> {
        let mut object = Vec::new();
        for (code, register, number) in instructions {
            let registers = if cfg!(target_endian = "little") { *register } else { register << 4 };
            object.extend([*code, registers, 0, 0]);
            object.extend(number.to_ne_bytes());
        }
        object
    }

    #[test]
    fn casts_are_replaced_and_nothing_else() {
        let mut it =
            object(&[(MOVE, 2, CAST_TYPE), (CALL, 0, CAST_CALL), (CALL, 0, 14), (MOVE, 1, CAST_TYPE)]);
        let before = it.clone();
        assert_eq!(casts(&mut it, Cast { function: 70_000, structure: 77 }), 1);
        assert_eq!(it[..8], object(&[(MOVE, 2, 77)]));
        let call = if cfg!(target_endian = "little") { 0x20 } else { 0x02 };
        assert_eq!(it[8..12], [CALL, call, 0, 0]);
        assert_eq!(it[12..16], 70_000_i32.to_ne_bytes());
        assert_eq!(it[16..], before[16..]);
        assert_eq!(casts(&mut it, Cast { function: 1, structure: 1 }), 0);
    }

    #[test]
    fn constants_are_replaced_wherever_they_stand() {
        let (one, two) = (config::CAST, config::GUEST);
        let mut it = object(&[(MOVE, 9, one), (MOVE, 0, two), (0x07, 3, one), (MOVE, 1, one)]);
        constants(&mut it, &[(one, u32::MAX), (two, 5)]).unwrap();
        assert_eq!(it, object(&[(MOVE, 9, -1), (MOVE, 0, 5), (0x07, 3, one), (MOVE, 1, -1)]));
    }

    #[test]
    fn questions_are_decided() {
        let question = |code: u8, offset: i16, number: i32| {
            let registers = if cfg!(target_endian = "little") { 3 } else { 3 << 4 };
            let [low, high] = offset.to_ne_bytes();
            let [a, b, c, d] = number.to_ne_bytes();
            [code, registers, low, high, a, b, c, d]
        };
        let (yes, no, absent) = (config::CAST, config::GUEST, config::CAUSES);
        let ask = |offset, number| question(JUMP_IF_EQUAL, offset, number);
        let expect = |offset, number| question(JUMP_UNLESS_EQUAL, offset, number);
        let asked = [ask(7, yes), ask(8, no), ask(-3, absent), ask(9, 1), expect(4, yes), expect(5, no)];
        let mut it = asked.concat();
        constants(&mut it, &[(yes, 1), (no, 0)]).unwrap();
        let decided = [
            question(JUMP_UNLESS_BELOW, 7, 0),
            question(JUMP_IF_BELOW, 8, 0),
            question(JUMP_IF_BELOW, -3, 0),
            question(JUMP_IF_EQUAL, 9, 1),
            question(JUMP_IF_BELOW, 4, 0),
            question(JUMP_UNLESS_BELOW, 5, 0),
        ];
        assert_eq!(it, decided.concat());
    }

    #[test]
    fn what_is_not_given_is_absent_and_what_is_not_there_is_a_bug() {
        let mut it = object(&[(MOVE, 9, config::OFF_DIAG)]);
        assert!(constants(&mut it.clone(), &[(config::OFF_DIAG, 1), (config::GUEST, 5)]).is_err());
        constants(&mut it, &[]).unwrap();
        assert_eq!(it, object(&[(MOVE, 9, -1)]));
    }
}
