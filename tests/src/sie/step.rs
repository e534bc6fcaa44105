//! Which exits a script can have: the one table, with what a correct tracer shows for each and what KVM
//! counts.
//!
//! The names of reasons and causes are written out here and not taken from exitlat's tables: they are what
//! the kernel's own tables say (`arch/s390/include/uapi/asm/sie.h`).

use std::collections::BTreeMap;
use std::str::FromStr;

use super::script::{PSW_WAIT_DISABLED, PSW_WAIT_ENABLED, Record};

/// A kind of exit.
#[derive(Debug, PartialEq)]
pub struct Kind {
    /// Name on the command line.
    pub name: &'static str,
    /// The record.
    pub record: Record,
    /// The reason shown.
    pub reason: &'static str,
    /// The cause shown below it.
    pub cause: Option<&'static str>,
    /// The counters of KVM that it raises by one, in `struct kvm_vcpu_stat` of arch/s390.
    pub counted: &'static [&'static str],
    /// How each exit of a step differs from the one before.
    pub sweep: Sweep,
}

/// What is added to a field for each further exit of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// To the four bytes after the first two of the instruction.
    pub ipb: u32,
    /// To the program interruption code.
    pub iprcc: u16,
}

impl Kind {
    /// The record of this exit of a step, counted from 0.
    pub fn nth(&self, number: u64) -> Record {
        let mut record = self.record;
        record.ipb = record.ipb.wrapping_add(self.sweep.ipb.wrapping_mul(number as u32));
        record.iprcc = record.iprcc.wrapping_add(self.sweep.iprcc.wrapping_mul(number as u16));
        record
    }
}

/// An instruction with this as the first four bytes that matter.
const fn instruction(ipa: u16, ipb: u32) -> Record {
    Record { icptcode: 4, ipa, ipb, ..NOTHING }
}

/// DIAGNOSE with registers 1 and 3.
const fn diag(code: u32, registers: [u64; 3]) -> Record {
    Record { registers, ..instruction(0x8313, code << 16) }
}

/// SIGP of the vCPU whose address is put in register 3 when the script is written.
const fn sigp(order: u32) -> Record {
    instruction(0xae13, order << 16)
}

/// An instruction with its operand at 0x800.
const fn b2(opcode: u16) -> Record {
    instruction(0xb200 | opcode, 0x0800_0000)
}

const fn other(icptcode: u8) -> Record {
    Record { icptcode, ..NOTHING }
}

const NOTHING: Record =
    Record { icptcode: 0, fault: false, ipa: 0, ipb: 0, iprcc: 0, eic: 0, wait: 0, registers: [0; 3] };

/// SSM, which KVM leaves to the VMM; this one asks the VMM to arm the clock comparator.
pub const ARM_TIMER: u16 = 0x8001;
const TIMED_WAIT: Record = Record { wait: PSW_WAIT_ENABLED, ..other(0x1c) };

macro_rules! kinds {
    ($($name:literal: $record:expr $(, sweep $sweep:expr)? => $reason:literal $(/ $cause:literal)?,
        [$($counted:literal),*];)+) => {
        &[$(Kind {
            name: $name,
            record: $record,
            reason: $reason,
            cause: kinds!(@cause $($cause)?),
            counted: &[$($counted),*],
            sweep: kinds!(@sweep $($sweep)?),
        }),+]
    };
    (@sweep $sweep:expr) => { $sweep };
    (@sweep) => { Sweep { ipb: 0, iprcc: 0 } };
    (@cause $cause:literal) => { Some($cause) };
    (@cause) => { None };
}

/// In the instructions of [`diag`] and [`sigp`]: the next code.
const NEXT_CODE: Sweep = Sweep { ipb: 1 << 16, iprcc: 0 };
const NEXT_PROGRAM: Sweep = Sweep { ipb: 0, iprcc: 1 };

/// All kinds. The sweeps begin above all codes that KVM knows, each of their exits with another code. So they
/// have too many causes to be named here.
pub static KINDS: &[Kind] = kinds! {
    "host": other(0) => "Host interruption", ["exit_null"];
    "fault": Record { fault: true, ..NOTHING } => "Host interruption" / "Fault of the host inside SIE", [];
    "diag10": diag(0x10, [0x4000, 0, 0x5000]) => "Instruction" / "DIAG (0x10) release pages",
        ["exit_instruction", "instruction_diagnose_10"];
    "diag44": diag(0x44, [0; 3]) => "Instruction" / "DIAG (0x44) time slice end", ["exit_instruction", "instruction_diagnose_44"];
    "diag9c": diag(0x9c, [0; 3]) => "Instruction" / "DIAG (0x9c) time slice end directed",
        ["exit_instruction", "instruction_diagnose_9c"];
    "diag258": diag(0x258, [0; 3]) => "Instruction" / "DIAG (0x258) page-reference services",
        ["exit_instruction", "instruction_diagnose_258"];
    "diag308": diag(0x308, [0; 3]) => "Instruction" / "DIAG (0x308) ipl functions",
        ["exit_instruction", "instruction_diagnose_308", "exit_userspace"];
    "diag500": diag(0x500, [99, 0, 0]) => "Instruction" / "DIAG (0x500) KVM virtio functions",
        ["exit_instruction", "instruction_diagnose_500", "exit_userspace"];
    "sigp1": sigp(0x01) => "Instruction" / "SIGP sense", ["exit_instruction", "instruction_sigp_sense"];
    "sigp2": sigp(0x02) => "Instruction" / "SIGP external call",
        ["exit_instruction", "instruction_sigp_external_call"];
    "sigp3": sigp(0x03) => "Instruction" / "SIGP emergency signal",
        ["exit_instruction", "instruction_sigp_emergency"];
    "sigp15": sigp(0x15) => "Instruction" / "SIGP sense running",
        ["exit_instruction", "instruction_sigp_sense_running"];
    "pei": Record { icptcode: 0x38, ..sigp(0x02) } => "Partial-execution" / "SIGP external call", ["exit_pei"];
    "stidp": b2(0x02) => "Instruction" / "0xB2 STIDP", ["exit_instruction", "instruction_stidp"];
    "stsi": b2(0x7d) => "Instruction" / "0xB2 STSI", ["exit_instruction", "instruction_stsi"];
    "ssch": b2(0x33) => "Instruction" / "0xB2 SSCH", ["exit_instruction"];
    "ssm": instruction(0x8000, 0) => "Instruction" / "SSM", ["exit_instruction", "exit_userspace"];
    "timer": instruction(ARM_TIMER, 0) => "Instruction" / "SSM", ["exit_instruction", "exit_userspace"];
    "wait": TIMED_WAIT => "Wait state", ["exit_wait_state"];
    "stuck": Record { wait: PSW_WAIT_DISABLED, ..TIMED_WAIT } => "Wait state", ["exit_wait_state", "exit_userspace"];
    "prog5": Record { iprcc: 5, ..other(0x08) } => "Program interruption" / "Prog Addressing",
        ["exit_program_interruption"];
    "prog6": Record { iprcc: 6, ..other(0x08) } => "Program interruption" / "Prog Specification",
        ["exit_program_interruption"];
    "prog11": Record { iprcc: 0x11, ..other(0x08) } => "Program interruption" / "Prog Page translation",
        ["exit_program_interruption"];
    "both": Record { iprcc: 6, ..other(0x0c) } => "Instruction and program interruption",
        ["exit_userspace"];
    "extreq": other(0x10) => "External request", ["exit_external_request"];
    "extint": Record { eic: 0x1004, ..other(0x14) } => "External interruption", ["exit_external_interrupt"];
    "ioreq": other(0x18) => "I/O request", ["exit_io_request"];
    "validity": Record { ipb: 0x0044_0000, ..other(0x20) } => "Validity" / "Validity 0x0044", ["exit_validity", "exit_userspace"];
    "stop": other(0x28) => "Stop request", ["exit_stop_request"];
    "operexc": other(0x2c) => "Operation exception" / "Operation exception on 0x00", ["exit_operation_exception"];
    "ioinst": other(0x40) => "I/O instruction", ["exit_userspace"];
    "mchkreq": other(0x60) => "ICPT_MCHKREQ", [];
    "intenable": other(0x64) => "ICPT_INT_ENABLE", [];
    "pvinstr": Record { icptcode: 0x68, ..b2(0x02) } => "ICPT_PV_INSTR" / "0xB2 STIDP",
        ["exit_instruction", "instruction_stidp"];
    "diagsweep": diag(0x1000, [0; 3]), sweep NEXT_CODE => "Instruction",
        ["exit_instruction", "exit_userspace"];
    "sigpsweep": sigp(0x20), sweep NEXT_CODE => "Instruction", ["exit_instruction", "exit_userspace"];
    "progsweep": Record { iprcc: 0x1000, ..other(0x08) }, sweep NEXT_PROGRAM =>
        "Program interruption", ["exit_program_interruption"];
};

/// Exits of one kind, on the command line as `diag44=1000`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The kind of exit.
    pub kind: &'static Kind,
    /// Number of exits.
    pub count: u64,
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once('=').ok_or("a step looks like diag44=1000")?;
        let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names = KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
            format!("there is no step {name}; there are {names}")
        })?;
        let count = count.parse().map_err(|_| format!("{count} is no number"))?;
        Ok(Self { kind, count })
    }
}

/// Numbers by name.
pub type Counts = BTreeMap<&'static str, u64>;

/// The expected sums of these steps: samples by reason, samples by cause, and KVM's counters.
pub fn expected(steps: &[Step]) -> (Counts, BTreeMap<&'static str, Counts>, Counts) {
    let (mut reasons, mut causes, mut counted) = (Counts::new(), BTreeMap::new(), Counts::new());
    for Step { kind, count } in steps.iter().filter(|step| step.count != 0) {
        *reasons.entry(kind.reason).or_default() += count;
        if let Some(cause) = kind.cause {
            *causes.entry(kind.reason).or_insert_with(Counts::new).entry(cause).or_default() += count;
        }
        for counter in kind.counted {
            *counted.entry(counter).or_default() += count;
        }
    }
    (reasons, causes, counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_and_added_up() {
        let steps = ["diag44=3", "stidp=2", "diag44=4", "wait=1", "host=0"].map(|text| text.parse().unwrap());
        let (reasons, causes, counted) = expected(&steps);
        assert_eq!(reasons, Counts::from([("Instruction", 9), ("Wait state", 1)]));
        let below = Counts::from([("0xB2 STIDP", 2), ("DIAG (0x44) time slice end", 7)]);
        assert_eq!(causes, BTreeMap::from([("Instruction", below)]));
        assert_eq!(counted["exit_instruction"], 9);
        assert_eq!((counted["instruction_diagnose_44"], counted["exit_wait_state"]), (7, 1));
        assert!("diag45=1".parse::<Step>().unwrap_err().contains("diag44"));
        assert!("diag44".parse::<Step>().is_err() && "diag44=x".parse::<Step>().is_err());
    }

    #[test]
    fn sweeps_count_on() {
        let step = |text: &str| text.parse::<Step>().unwrap().kind;
        assert_eq!(step("diagsweep=1").nth(0x2f), diag(0x102f, [0; 3]));
        assert_eq!(step("sigpsweep=1").nth(3), sigp(0x23));
        assert_eq!(step("progsweep=1").nth(0x300).iprcc, 0x1300);
        assert_eq!(step("diag44=1").nth(7), diag(0x44, [0; 3]));
    }

    #[test]
    fn names_are_told_apart() {
        let names: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }
}
