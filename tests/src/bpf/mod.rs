//! A small interpreter of BPF, to see which memory an event touches: no kernel tells.

mod machine;
mod program;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use tracer_ebpf::{
    abi::{EPOCH_STEP, Extremes, FIRST_EPOCH, Isa, Slot, Tally, Vcpu, state},
    config, symbols,
};

use machine::Machine;
use program::Program;

/// Bytes that a CPU fetches at once.
const LINE: u64 = 64;
/// A line of memory: the name of its region, and its number there.
pub type Line = (&'static str, u64);

/// Where things are in the machine, far apart and at the beginning of a page each. A region holds less than
/// 16 MiB.
const CONTEXT: u64 = 0x1_0000_0000;
const KVM_VCPU: u64 = 0x2_0000_0000;
/// The table's entry and slot that belong to the vCPU.
const INDEX: usize = 3;
const SLOT: usize = 5;
/// CPUID on AMD, and how long KVM takes for it.
const CODE: u32 = 0x72;
const EXIT_NS: u64 = 1_500;

/// A machine in the middle of a run: vCPU, slot and guess are there.
fn warm(program: &Program) -> Machine {
    let mut machine = Machine::new(program);
    let mut vcpu =
        Vcpu { kvm_vcpu: KVM_VCPU, vmcb: 0x7000, isa: Isa::SVM, open_isa: Isa::SVM, ..Vcpu::UNUSED };
    (vcpu.state, vcpu.index, vcpu.first_ns, vcpu.entered_ns) = (state::LIVE, INDEX as u32, 100, 200);
    vcpu.direct[CODE as usize].0 = SLOT as u32;
    machine.put(symbols::VCPUS, INDEX, &vcpu);
    let epoch = FIRST_EPOCH + EPOCH_STEP;
    let tally = Tally { epoch, extremes: [Extremes::NONE; 2], ..Tally::UNUSED };
    machine.put(symbols::SLOTS, SLOT, &Slot { tally, ..Slot::UNUSED });
    machine.guess(KVM_VCPU, INDEX as u32);
    machine
}

/// The lines that an exit with its entry touches by raw tracepoints on an AMD host, where KVM handles the
/// exit: in the maps, in the object's data, and of the context.
///
/// # Errors
/// If the programs leave the usual path, or use what the interpreter does not know.
pub fn lines_of_a_pair(object: &[u8]) -> Result<BTreeSet<Line>> {
    let program = Program::parse(object)?;
    let given = [(config::RAW_SVM, 1), (config::KEEP_VMCB, 1), (config::OFF_SVM_CODE, 0x70)];
    let mut machine = warm(&program);
    machine.give(&given);
    for (name, now_ns) in [(symbols::RAW_EXIT, 1_000), (symbols::RAW_ENTRY, 1_000 + EXIT_NS)] {
        machine.now_ns = now_ns;
        machine.run(&program, name, CONTEXT, &[KVM_VCPU, u64::from(Isa::SVM.0)]).context(name)?;
    }
    let slot: Tally = machine.get(symbols::SLOTS, SLOT);
    anyhow::ensure!((slot.done, slot.sum_ns) == (1, EXIT_NS), "the pair was not recorded: {slot:?}");
    Ok(machine.touched)
}
