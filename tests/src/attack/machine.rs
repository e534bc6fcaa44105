//! A virtual machine with a few pages and a few instructions in real mode.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use anyhow::{Context, Result, ensure};
use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use serde_json::Value;

use crate::stats;

const KVM_RUN: u32 = 0xae80;
const PAGE: usize = 0x1000;
/// Where the guest's code is.
const CODE: u64 = 0x1000;
/// Where its handler of general protection faults is.
const HANDLER: u64 = 0x1100;
const GENERAL_PROTECTION: usize = 13;
/// Memory from address 0 on: interrupt table, code, stack.
const LOW_LEN: usize = 0x1_0000;
/// Where the stack ends.
const STACK_TOP: u64 = 0x8000;
/// The scribbler's stack segment begins here, in a page without memory. Its second push, beyond the end of
/// the segment, is at [`RUN_PAGE`] + 8.
const SCRIBBLE_STACK: u64 = 0x2_000c;
/// What remains of the eight pushes goes here.
const BELOW_RUN_PAGE: u64 = RUN_PAGE - PAGE as u64;
/// Where the guest finds `kvm_run`, the reason at offset 8.
const RUN_PAGE: u64 = 0x3_0000;

/// What a guest does, until it is no longer run.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// CPUID, and a port exit to the VMM.
    Ports,
    /// A return to the VMM whose reason is a counter under this mask.
    Scribble {
        /// Bits of the counter that count.
        mask: u32,
        /// Where the counter begins.
        first: u32,
    },
    /// Reads so many MSRs, each with another number, then halts. None of them exists.
    Msrs {
        /// The number before the first one's.
        before: u32,
        /// Number of MSRs to read.
        count: u32,
    },
}

impl Program {
    /// 16-bit code.
    fn code(self) -> Vec<u8> {
        match self {
            // CPUID; OUT 0x80, AL; JMP back.
            Self::Ports => vec![0x0f, 0xa2, 0xe6, 0x80, 0xeb, 0xfa],
            // INC EDI; MOV ECX, EDI; AND ECX, mask; MOV SP, 4; PUSHAD; JMP back.
            Self::Scribble { mask, .. } => {
                let mut code = vec![0x66, 0x47, 0x66, 0x89, 0xf9, 0x66, 0x81, 0xe1];
                code.extend(mask.to_le_bytes());
                code.extend([0xbc, 0x04, 0x00, 0x66, 0x60, 0xeb]);
                let back = -(code.len() as i8 + 1);
                code.push(back as u8);
                code
            }
            // INC ECX; RDMSR; DEC ESI; JNZ back; HLT.
            Self::Msrs { .. } => vec![0x66, 0x41, 0x0f, 0x32, 0x66, 0x4e, 0x75, 0xf8, 0xf4],
        }
    }
}

/// POP AX; ADD AX, 2; PUSH AX; IRET: goes on behind the two bytes of the instruction that failed.
const SKIP: [u8; 6] = [0x58, 0x83, 0xc0, 0x02, 0x50, 0xcf];

/// A virtual machine whose vCPUs all have the same program.
#[derive(Debug)]
pub struct Machine {
    vcpus: Vec<VcpuFd>,
    _vm: VmFd,
    /// Guest memory; dropped last, because the vCPUs and the VM use it.
    _memory: Memory,
}

impl Machine {
    /// Makes the virtual machine. A scribbler has one vCPU.
    ///
    /// # Errors
    /// If KVM refuses.
    pub fn new(program: Program, vcpus: u32) -> Result<Self> {
        let kvm = Kvm::new().context("cannot open /dev/kvm")?;
        let vm = kvm.create_vm().context("cannot create a virtual machine")?;
        let memory = Memory::new(LOW_LEN + PAGE)?;
        memory.write(4 * GENERAL_PROTECTION, &(HANDLER as u32).to_le_bytes());
        memory.write(CODE as usize, &program.code());
        memory.write(HANDLER as usize, &SKIP);
        add_memory(&vm, 0, 0, memory.address(), LOW_LEN)?;
        let scribbles = matches!(program, Program::Scribble { .. });
        ensure!(!scribbles || vcpus == 1, "a scribbler has one vCPU");
        let vcpus = (0..vcpus).map(|id| start(&vm, id, program));
        let mut vcpus = vcpus.collect::<Result<Vec<_>>>()?;
        if scribbles {
            add_memory(&vm, 1, BELOW_RUN_PAGE, memory.address() + LOW_LEN, PAGE)?;
            add_memory(&vm, 2, RUN_PAGE, ptr::from_mut(vcpus[0].get_kvm_run()) as usize, PAGE)?;
        }
        Ok(Self { vcpus, _vm: vm, _memory: memory })
    }

    /// Its vCPUs.
    pub fn vcpus(&mut self) -> &mut [VcpuFd] {
        &mut self.vcpus
    }
}

fn start(vm: &VmFd, id: u32, program: Program) -> Result<VcpuFd> {
    let vcpu = vm.create_vcpu(id.into()).with_context(|| format!("cannot create vCPU {id}"))?;
    let mut sregs = vcpu.get_sregs().context("cannot read registers")?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    let mut regs = kvm_regs { rip: CODE, rsp: STACK_TOP, rflags: 2, ..Default::default() };
    match program {
        Program::Ports => {}
        Program::Scribble { first, .. } => {
            sregs.ss.base = SCRIBBLE_STACK;
            regs.rdi = first.wrapping_sub(1).into();
        }
        Program::Msrs { before, count } => (regs.rcx, regs.rsi) = (before.into(), count.into()),
    }
    vcpu.set_sregs(&sregs).context("cannot set system registers")?;
    vcpu.set_regs(&regs).context("cannot set registers")?;
    Ok(vcpu)
}

/// Calls KVM_RUN until it returns to the VMM for another reason than a signal. Nothing is read from
/// `kvm_run`, in which anything may stand.
///
/// # Errors
/// If KVM_RUN fails.
pub fn run(vcpu: &VcpuFd) -> Result<()> {
    loop {
        // SAFETY: the request takes no argument; what the guest and KVM write to is mapped while it lasts.
        if unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_RUN as _, 0) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        ensure!(error.kind() == io::ErrorKind::Interrupted, "KVM_RUN: {error}");
    }
}

/// All exits of a vCPU by KVM's own count, where the kernel has it.
///
/// # Errors
/// If it cannot be read.
pub fn exits(vcpu: &VcpuFd) -> Result<Option<u64>> {
    Ok(stats::read(vcpu)?.get("exits").and_then(Value::as_u64))
}

fn add_memory(vm: &VmFd, slot: u32, guest: u64, host: usize, len: usize) -> Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        guest_phys_addr: guest,
        memory_size: len as u64,
        userspace_addr: host as u64,
        flags: 0,
    };
    // SAFETY: the mappings live as long as the machine; the guest may do with them as it likes.
    unsafe { vm.set_user_memory_region(region) }.context("cannot give the guest its memory")
}

/// Anonymous memory.
#[derive(Debug)]
struct Memory(*mut u8, usize);

// SAFETY: plain memory, written to by this process before the guest runs only.
unsafe impl Send for Memory {}

impl Memory {
    fn new(len: usize) -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        ensure!(address != libc::MAP_FAILED, "cannot map memory: {}", io::Error::last_os_error());
        Ok(Self(address.cast(), len))
    }

    fn address(&self) -> usize {
        self.0 as usize
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.1);
        // SAFETY: in bounds, as just checked; no guest runs yet and nobody has a reference.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.add(at), bytes.len()) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: our own mapping; the machine that used it is gone.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scribblers_second_push_hits_the_reason() {
        // Four bytes each: the first at offset 0 of the segment, the second below it, at its end.
        assert_eq!(SCRIBBLE_STACK + 0xfffc, RUN_PAGE + 8);
        assert_ne!(SCRIBBLE_STACK & !0xfff, BELOW_RUN_PAGE);
    }

    #[test]
    fn jumps_go_back_to_the_beginning() {
        let programs = [
            Program::Ports,
            Program::Scribble { mask: u32::MAX, first: 0 },
            Program::Msrs { before: 0, count: 1 },
        ];
        for program in programs {
            let mut code = program.code();
            if code.last() == Some(&0xf4) {
                code.pop();
            }
            assert_eq!(*code.last().unwrap() as i8, -(code.len() as i8), "{program:?}");
        }
    }
}
