//! The machine code of a guest: a table from step to bytes, and what strings the steps together.
//!
//! Registers: r8 counts the iterations of a step, r9 is the deadline of `spin`, r12 the timers armed again,
//! r13 the timer interrupts and r14 the finished rounds (read by the VMM at the end), r15 the rounds left.
//! CPUID and the MSR instructions clobber none of them.

use anyhow::{Result, ensure};

use super::plan::{Kind, Plan};

/// The port of `io` steps.
pub const IO_PORT: u16 = 0x80;
/// The port written last.
pub const DONE_PORT: u16 = 0xf4;
/// The vector of the timer interrupt of `khlt`.
pub const TIMER_VECTOR: u8 = 0x20;
/// Code of the nested guest (L2). The guest itself (L1) intercepts VMMCALL and leaves CPUID to KVM.
pub const NESTED_CODE: [u8; 6] = [
    0x0f, 0xa2, // cpuid
    0x0f, 0x01, 0xd9, // vmmcall
    0xf4, // hlt: not reached
];
/// Room kept free behind the steps, for the end of the round and the handler.
const CODE_RESERVE: usize = 128;

/// Addresses and times that the code of one vCPU depends on.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Guest address of a page without memory behind it.
    pub mmio: u64,
    /// Guest address of a byte that the guest sets first of all.
    pub started: u64,
    /// Guest address of a byte; the guest ends after the round in which it becomes non-zero.
    pub stop: u64,
    /// Ticks of the guest's time stamp counter per microsecond.
    pub tsc_per_us: u64,
    /// How long a `khlt` sleeps, in nanoseconds.
    pub khlt_ns: u32,
    /// Guest address of the nested guest's VMCB.
    pub vmcb: u64,
    /// Guest address of the nested guest's code, [`NESTED_CODE`].
    pub nested: u64,
}

/// A guest program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The bytes; execution starts with the first. Position-independent but for the [`Addresses`].
    pub bytes: Vec<u8>,
    /// Offset of the handler of [`TIMER_VECTOR`].
    pub timer_handler: usize,
}

/// A part of a step's code.
enum Part {
    /// These bytes.
    Bytes(&'static [u8]),
    /// The address without memory, 8 bytes.
    MmioAddress,
    /// The ticks to spin, 8 bytes.
    SpinTicks,
    /// The nanoseconds to sleep, 4 bytes.
    SleepNs,
    /// The address of the nested guest's VMCB, 8 bytes.
    VmcbAddress,
    /// The address of the nested guest's code, 8 bytes.
    NestedAddress,
}

/// The code of a step.
struct Template {
    kind: Kind,
    /// Done once.
    setup: &'static [Part],
    /// Done for each iteration; never changes r8 and up.
    body: &'static [Part],
}

use Part::{Bytes, MmioAddress, NestedAddress, SleepNs, SpinTicks, VmcbAddress};

/// The steps that are loops. [`SPIN`] is not.
const LOOPS: [Template; 9] = [
    Template {
        kind: Kind::Cpuid,
        setup: &[],
        body: &[
            Bytes(&[0x31, 0xc0]), // xor eax, eax
            Bytes(&[0x0f, 0xa2]), // cpuid
        ],
    },
    Template {
        kind: Kind::Msr,
        setup: &[Bytes(&[0xb9, 0x7a, 0x01, 0x00, 0x00])], // mov ecx, IA32_MCG_STATUS
        body: &[Bytes(&[0x0f, 0x32])],                    // rdmsr
    },
    Template {
        kind: Kind::Wrmsr,
        setup: &[
            Bytes(&[0xb9, 0x7a, 0x01, 0x00, 0x00]), // mov ecx, IA32_MCG_STATUS
            Bytes(&[0x31, 0xc0]),                   // xor eax, eax
            Bytes(&[0x31, 0xd2]),                   // xor edx, edx
        ],
        body: &[Bytes(&[0x0f, 0x30])], // wrmsr
    },
    Template {
        kind: Kind::Io,
        setup: &[],
        body: &[Bytes(&[0xe6, IO_PORT as u8])], // out IO_PORT, al
    },
    Template {
        kind: Kind::Mmio,
        setup: &[Bytes(&[0x48, 0xbb]), MmioAddress], // mov rbx, address
        body: &[Bytes(&[0x8b, 0x03])],               // mov eax, [rbx]
    },
    Template {
        kind: Kind::Hlt,
        setup: &[],
        body: &[Bytes(&[0xf4])], // hlt
    },
    Template {
        kind: Kind::Cr,
        setup: &[],
        // CR4.VME does nothing in long mode, and KVM never lets a guest own it
        // (`KVM_POSSIBLE_CR4_GUEST_BITS`, arch/x86/kvm/kvm_cache_regs.h): on VMX each change exits.
        body: &[
            Bytes(&[0x0f, 0x20, 0xe0]), // mov rax, cr4
            Bytes(&[0x34, 0x01]),       // xor al, VME
            Bytes(&[0x0f, 0x22, 0xe0]), // mov cr4, rax
        ],
    },
    Template {
        kind: Kind::Khlt,
        setup: &[],
        body: &[
            Bytes(&[0xb9, 0x38, 0x08, 0x00, 0x00]), // mov ecx, x2APIC initial count
            Bytes(&[0xb8]),                         // mov eax, ns
            SleepNs,
            Bytes(&[0x31, 0xd2]),       // xor edx, edx
            Bytes(&[0x0f, 0x30]),       // wrmsr
            Bytes(&[0xfb, 0xf4, 0xfa]), // sti; hlt; cli
        ],
    },
    Template {
        kind: Kind::Vmrun,
        setup: &[
            Bytes(&[0xb9, 0x17, 0x01, 0x01, 0xc0]), // mov ecx, VM_HSAVE_PA
            Bytes(&[0x48, 0xb8]),                   // mov rax, any page of its own: KVM never writes there
            VmcbAddress,
            Bytes(&[0x31, 0xd2]), // xor edx, edx
            Bytes(&[0x0f, 0x30]), // wrmsr
        ],
        body: &[
            Bytes(&[0x48, 0xbb]), // mov rbx, VMCB: all but rax and rsp are the nested guest's, too
            VmcbAddress,
            Bytes(&[0x48, 0xb8]), // mov rax, its code
            NestedAddress,
            Bytes(&[0x48, 0x89, 0x83, 0x78, 0x05, 0x00, 0x00]), // mov [rbx + save.rip], rax
            Bytes(&[0x48, 0x89, 0xd8]),                         // mov rax, rbx
            Bytes(&[0x0f, 0x01, 0xd8]),                         // vmrun
        ],
    },
];

/// `spin`: with interrupts on, so that emulated processors too let the host's interrupts through.
const SPIN: [Part; 5] = [
    Bytes(&[0xfb]),                                                 // sti
    Bytes(&[0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0]), // rdtsc; shl rdx, 32; or rax, rdx
    Bytes(&[0x49, 0xb9]),                                           // mov r9, ticks
    SpinTicks,
    Bytes(&[
        0x49, 0x01, 0xc1, // add r9, rax
        0x0f, 0x31, // again: rdtsc
        0x48, 0xc1, 0xe2, 0x20, // shl rdx, 32
        0x48, 0x09, 0xd0, // or rax, rdx
        0x4c, 0x39, 0xc8, // cmp rax, r9
        0x72, 0xf2, // jb again
        0xfa, // cli
    ]),
];

/// A breakpoint with an empty interrupt table. Neither it nor the faults that follow have a handler, so the
/// processor shuts down.
const TRIPLE_FAULT: [u8; 18] = [
    0x0f, 0x01, 0x1d, 1, 0, 0, 0,    // lidt [rip + 1]
    0xcc, // int3
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // a table of no length
];

/// The timer interrupt: counts itself in r13, tells the local APIC that it is handled, and returns.
///
/// It counts because a timer can fire once more than it was armed for under emulation; each time is one more
/// EOI.
///
/// Where it comes in front of the HLT that was to wait for it, it arms the timer again and counts that in
/// r12. No processor lets it in between STI and HLT, but QEMU's SVM does when KVM asks for an interrupt
/// window there: VMRUN (helper_vmrun) does not take the interrupt shadow from the VMCB. The HLT would wait
/// for ever.
const TIMER_HANDLER: [Part; 3] = [
    Bytes(&[
        0x49, 0xff, 0xc5, // inc r13
        0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]: where it returns to
        0x80, 0x38, 0xf4, // cmp byte [rax], hlt
        0x75, 0x11, // jne over the next five
        0x49, 0xff, 0xc4, // inc r12
        0xb9, 0x38, 0x08, 0x00, 0x00, // mov ecx, x2APIC initial count
        0xb8, // mov eax, ns
    ]),
    SleepNs,
    Bytes(&[
        0x31, 0xd2, // xor edx, edx
        0x0f, 0x30, // wrmsr
        0xb9, 0x0b, 0x08, 0x00, 0x00, // mov ecx, x2APIC EOI
        0x31, 0xc0, // xor eax, eax
        0x31, 0xd2, // xor edx, edx
        0x0f, 0x30, // wrmsr
        0x48, 0xcf, // iretq
    ]),
];

impl Code {
    /// The program of `plan`, at most `room` bytes long.
    ///
    /// # Errors
    /// If it does not fit, or if the time of a `spin` does not.
    pub fn new(plan: &Plan, addresses: Addresses, room: usize) -> Result<Self> {
        let mut out = Vec::with_capacity(room);
        out.extend([0x48, 0xbb]); // mov rbx, started
        out.extend(addresses.started.to_le_bytes());
        out.extend([0xc6, 0x03, 0x01]); // mov byte [rbx], 1
        out.extend([0x49, 0xbf]); // mov r15, rounds
        out.extend(plan.rounds().to_le_bytes());
        let round = out.len();
        for step in plan.steps().iter().filter(|step| step.amount > 0) {
            match LOOPS.iter().find(|template| template.kind == step.kind) {
                Some(template) => {
                    put(&mut out, template.setup, addresses, 0);
                    out.extend([0x49, 0xb8]); // mov r8, amount
                    out.extend(step.amount.to_le_bytes());
                    let again = out.len();
                    put(&mut out, template.body, addresses, 0);
                    out.extend([0x49, 0xff, 0xc8, 0x75]); // dec r8; jnz again
                    let distance = i8::try_from(again as i64 - (out.len() as i64 + 1))?;
                    out.extend(distance.to_le_bytes());
                }
                None => {
                    let ticks = step.amount.checked_mul(addresses.tsc_per_us);
                    ensure!(ticks.is_some(), "spin={} is too long", step.amount);
                    put(&mut out, &SPIN, addresses, ticks.unwrap_or_default());
                }
            }
            ensure!(
                out.len() + CODE_RESERVE <= room,
                "too many steps: their code does not fit into {room} bytes"
            );
        }
        out.extend([0x49, 0xff, 0xc6]); // inc r14
        out.extend([0x48, 0xbb]); // mov rbx, stop
        out.extend(addresses.stop.to_le_bytes());
        out.extend([0x80, 0x3b, 0x00]); // cmp byte [rbx], 0
        out.extend([0x75, 0x09]); // jne over the next two
        out.extend([0x49, 0xff, 0xcf]); // dec r15
        out.extend([0x0f, 0x85]); // jnz round
        let distance = i32::try_from(round as i64 - (out.len() as i64 + 4))?;
        out.extend(distance.to_le_bytes());
        if plan.triple_fault() {
            out.extend(TRIPLE_FAULT);
        }
        out.extend([0xe6, DONE_PORT as u8]); // out DONE_PORT, al
        out.extend([0xf4, 0xeb, 0xfd]); // hlt for ever: not reached
        let timer_handler = out.len();
        put(&mut out, &TIMER_HANDLER, addresses, 0);
        Ok(Self { bytes: out, timer_handler })
    }
}

fn put(out: &mut Vec<u8>, parts: &[Part], addresses: Addresses, spin_ticks: u64) {
    for part in parts {
        match part {
            Bytes(bytes) => out.extend(*bytes),
            MmioAddress => out.extend(addresses.mmio.to_le_bytes()),
            SpinTicks => out.extend(spin_ticks.to_le_bytes()),
            SleepNs => out.extend(addresses.khlt_ns.to_le_bytes()),
            VmcbAddress => out.extend(addresses.vmcb.to_le_bytes()),
            NestedAddress => out.extend(addresses.nested.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: Addresses = Addresses {
        mmio: 0x1122_3344_5566_7788,
        started: 0x77,
        stop: 0x99,
        tsc_per_us: 1000,
        khlt_ns: 0x0a0b_0c0d,
        vmcb: 0x5000,
        nested: 0x6b80,
    };

    fn code(steps: &[&str], rounds: u64, room: usize) -> Result<Code> {
        let steps = steps.iter().map(|step| step.parse()).collect::<Result<_>>()?;
        Code::new(&Plan::new(steps, rounds)?, ADDRESSES, room)
    }

    fn contains(code: &Code, bytes: &[u8]) -> bool {
        code.bytes.windows(bytes.len()).any(|window| window == bytes)
    }

    #[test]
    fn a_whole_program() {
        let code = code(&["cpuid=3"], 2, 256).unwrap();
        #[rustfmt::skip]
        let expected = [
            0x48, 0xbb, 0x77, 0, 0, 0, 0, 0, 0, 0, 0xc6, 0x03, 1, // started
            0x49, 0xbf, 2, 0, 0, 0, 0, 0, 0, 0, // mov r15, 2
            0x49, 0xb8, 3, 0, 0, 0, 0, 0, 0, 0, // mov r8, 3
            0x31, 0xc0, 0x0f, 0xa2, 0x49, 0xff, 0xc8, 0x75, 0xf7, // xor, cpuid, dec, jnz -9
            0x49, 0xff, 0xc6, // inc r14
            0x48, 0xbb, 0x99, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3b, 0, 0x75, 0x09, // stop?
            0x49, 0xff, 0xcf, 0x0f, 0x85, 0xd2, 0xff, 0xff, 0xff, // dec r15; jnz -46
            0xe6, 0xf4, 0xf4, 0xeb, 0xfd,
        ];
        assert_eq!(code.timer_handler, expected.len());
        assert_eq!(code.bytes[..expected.len()], expected);
        let mut handler = Vec::new();
        put(&mut handler, &TIMER_HANDLER, ADDRESSES, 0);
        assert_eq!(code.bytes[expected.len()..], handler);
        // Its jump leads to the end of the first WRMSR.
        let jump = handler.iter().position(|byte| *byte == 0x75).unwrap();
        let target = jump + 2 + usize::from(handler[jump + 1]);
        assert_eq!(handler[target - 2..target], [0x0f, 0x30]);
    }

    /// The address of the table is that of the bytes behind the breakpoint.
    #[test]
    fn a_triple_fault_comes_before_the_last_write() {
        let steps = vec!["cpuid=3".parse().unwrap()];
        let plan = Plan::new(steps, 2).unwrap().with_triple_fault(true);
        let code = Code::new(&plan, ADDRESSES, 256).unwrap();
        let at = code.bytes.windows(2).position(|two| two == [0x0f, 0x01]).unwrap();
        let (instruction, distance) = (&code.bytes[at..at + 7], i32::from(code.bytes[at + 3]));
        assert_eq!((instruction[2], code.bytes[at + 7], distance), (0x1d, 0xcc, 1));
        assert_eq!(code.bytes[at + 8..at + 20], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe6, 0xf4]);
        assert_eq!((plan.exits(2, 0).io, plan.exits(2, 0).cpuid), (0, 6));
    }

    #[test]
    fn every_loop_jumps_back_to_its_body() {
        for template in &LOOPS {
            let mut body = Vec::new();
            put(&mut body, template.body, ADDRESSES, 0);
            let distance = -(body.len() as i64 + 5);
            body.extend([0x49, 0xff, 0xc8, 0x75, distance as i8 as u8]);
            let step = crate::vmm::plan::Step { kind: template.kind, amount: 7 };
            let code = Code::new(&Plan::new(vec![step], 1).unwrap(), ADDRESSES, 256).unwrap();
            assert!(contains(&code, &body), "{:?}: {:02x?}", template.kind, code.bytes);
        }
    }

    #[test]
    fn operands_are_filled_in() {
        let code = code(&["mmio=1", "khlt=1", "spin=3"], 1, 256).unwrap();
        assert!(contains(&code, &[0x48, 0xbb, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]));
        assert!(contains(&code, &[0xb8, 0x0d, 0x0c, 0x0b, 0x0a]));
        assert!(contains(&code, &[0x49, 0xb9, 0xb8, 0x0b, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn steps_of_zero_make_no_code() {
        assert_eq!(code(&["io=0", "cpuid=1"], 1, 256).unwrap(), code(&["cpuid=1"], 1, 256).unwrap());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(code(&["io=1"; 100], 1, 512).unwrap_err().to_string().contains("does not fit"));
        assert!(code(&["spin=18446744073709551615"], 1, 512).unwrap_err().to_string().contains("too long"));
        let longest = code(&["io=1"; 20], 1, 20 * 17 + 23 + CODE_RESERVE).unwrap();
        assert!(longest.bytes.len() <= 20 * 17 + 23 + CODE_RESERVE);
    }
}
