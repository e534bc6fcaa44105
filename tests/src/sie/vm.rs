//! The virtual machine: memory, vCPUs, the loop around KVM_RUN. s390x's side of KVM has no crate, so its few
//! requests and structures are here (`include/uapi/linux/kvm.h`, `arch/s390/include/uapi/asm/kvm.h`).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::PathBuf;
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::script::{self, END, PSW_PLAIN, Record, TOD_PER_US};
use super::step::{ARM_TIMER, Step};
use crate::stats::Stats;

const CREATE_VM: u32 = 0xae01;
const GET_VCPU_MMAP_SIZE: u32 = 0xae04;
const CREATE_VCPU: u32 = 0xae41;
const SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
const RUN: u32 = 0xae80;
const SET_MP_STATE: u32 = 0x4004_ae99;
const INITIAL_RESET: u32 = 0xae97;
const MP_STATE_OPERATING: u32 = 7;
const EXIT_S390_SIEIC: u32 = 13;
const SYNC_GPRS: u64 = 1 << 1;
const SYNC_CRS: u64 = 1 << 3;
const SYNC_ARCH0: u64 = 1 << 4;

/// A segment: KVM takes memory in these on s390x.
const SEGMENT: usize = 1 << 20;
/// New PSWs in the guest's low core, where delivered interrupts continue: external to restart.
const NEW_PSWS: [usize; 6] = [0x1a0, 0x1b0, 0x1c0, 0x1d0, 0x1e0, 0x1f0];
/// Control register 0: extended save area bits, then emergency signal, external call and clock comparator are
/// let through.
const CR0: u64 = 0xe0 | 0x4000 | 0x2000 | 0x800;
const CR14: u64 = 0xc200_0000;

/// The head of `struct kvm_run`, and its registers.
#[repr(C)]
struct Run {
    request: [u8; 8],
    exit_reason: u32,
    flags: [u8; 4],
    cr8_and_apic_base: [u64; 2],
    psw_mask: u64,
    psw_addr: u64,
    sieic: Sieic,
    exit: [u8; 248],
    valid_regs: u64,
    dirty_regs: u64,
    regs: Regs,
}

#[repr(C)]
struct Sieic {
    icptcode: u8,
    ipa: u16,
    ipb: u32,
}

#[repr(C)]
struct Regs {
    prefix: u64,
    gprs: [u64; 16],
    acrs: [u32; 16],
    crs: [u64; 16],
    todpr: u64,
    cputm: u64,
    ckc: u64,
    pp: u64,
    gbea: u64,
}

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(Run, exit_reason) == 8 && offset_of!(Run, psw_mask) == 32);
    assert!(offset_of!(Run, sieic) == 48 && offset_of!(Sieic, ipa) == 2);
    assert!(offset_of!(Run, dirty_regs) == 312 && offset_of!(Run, regs) == 320);
    assert!(offset_of!(Regs, crs) == 200 && offset_of!(Regs, pp) == 352);
};

/// Behaviour of the VMM and the guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behaviour {
    /// Time in the guest before each exit.
    pub guest: Duration,
    /// Time the VMM spins at each exit it gets.
    pub spin: Duration,
    /// How long a timed wait lasts.
    pub wait: Duration,
}

/// A virtual machine whose vCPUs exist.
#[derive(Debug)]
pub struct Vm {
    fd: File,
    vcpus: Vec<Vcpu>,
    _memory: Mapping,
}

/// One vCPU and its script.
#[derive(Debug)]
pub struct Vcpu {
    stats: Stats,
    fd: File,
    run: Mapping,
    /// The records, which the scripted SIE reads by their address.
    script: Vec<u8>,
    behaviour: Behaviour,
}

/// Result of a vCPU's run.
#[derive(Debug)]
pub struct Outcome {
    /// The thread.
    pub tid: u32,
    /// From the first entry to the last exit.
    pub wall: Duration,
    /// Returns from KVM_RUN, the last included.
    pub returns: u64,
    /// Time spun in the VMM.
    pub spun: Duration,
    /// Time for which it was asked to wait.
    pub waited: Duration,
    /// KVM's own counters.
    pub stats: Value,
}

impl Vm {
    /// Creates a virtual machine with a vCPU for each script.
    ///
    /// # Errors
    /// If KVM refuses.
    pub fn new(scripts: &[Vec<Step>], behaviour: Behaviour) -> Result<Self> {
        let kvm = File::options().read(true).write(true).open("/dev/kvm").context("cannot open /dev/kvm")?;
        let fd = owned(request(&kvm, CREATE_VM, 0).context("KVM_CREATE_VM")?);
        let memory = Mapping::new(2 * SEGMENT, None)?;
        let start = (memory.address() + SEGMENT - 1) & !(SEGMENT - 1);
        for psw in NEW_PSWS {
            // SAFETY: within the mapping, of which nobody else has a reference.
            unsafe { ptr::write_volatile((start + psw) as *mut [u64; 2], [PSW_PLAIN, 0x2000]) };
        }
        // Slot 0 without flags, at guest address 0.
        let region = [0, 0, SEGMENT as u64, start as u64];
        request(&fd, SET_USER_MEMORY_REGION, region.as_ptr() as usize)
            .context("KVM_SET_USER_MEMORY_REGION")?;
        let size = request(&kvm, GET_VCPU_MMAP_SIZE, 0).context("KVM_GET_VCPU_MMAP_SIZE")? as usize;
        ensure!(size >= size_of::<Run>(), "a kvm_run of {size} bytes");
        let mut vcpus = Vec::new();
        for (id, steps) in scripts.iter().enumerate() {
            let target = (id + 1) % scripts.len();
            let vcpu = owned(request(&fd, CREATE_VCPU, id).context("KVM_CREATE_VCPU")?);
            let run = Mapping::new(size, Some(vcpu.as_raw_fd()))?;
            let script = write_script(steps, target as u64, behaviour.guest);
            let mut vcpu = Vcpu { stats: Stats::open(&vcpu), fd: vcpu, run, script, behaviour };
            vcpu.reset()?;
            vcpus.push(vcpu);
        }
        Ok(Self { fd, vcpus, _memory: memory })
    }

    /// Its vCPUs. Run each in a thread of its own.
    pub fn vcpus(&mut self) -> &mut [Vcpu] {
        &mut self.vcpus
    }

    /// One of KVM's counters in debugfs: the sum over the vCPUs. The directory is `PID-FD`
    /// (kvm_create_vm_debugfs).
    ///
    /// # Errors
    /// If the kernel has no such counter.
    pub fn debugfs(&self, counter: &str) -> Result<u64> {
        let dir = format!("/sys/kernel/debug/kvm/{}-{}", std::process::id(), self.fd.as_raw_fd());
        let path = PathBuf::from(dir).join(counter);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{} says {text:?}", path.display()))
    }
}

/// The script as the SIE reads it. It ends with an exit to the VMM at [`END`].
fn write_script(steps: &[Step], target: u64, guest: Duration) -> Vec<u8> {
    let ticks = u32::try_from(guest.as_micros()).unwrap_or(u32::MAX).saturating_mul(TOD_PER_US);
    let mut bytes = Vec::new();
    for Step { kind, count } in steps {
        for number in 0..*count {
            let mut record = kind.nth(number);
            if record.ipa >> 8 == 0xae {
                record.registers[2] = target;
            }
            bytes.extend(record.encode(ticks, 0x1_0000 + 4 * (number % 0x1000)));
        }
    }
    let last =
        Record { icptcode: 4, ipa: 0x8300, ipb: 0x0500_0000, registers: [99, 0, 0], ..Record::default() };
    bytes.extend(last.encode(ticks, END));
    debug_assert_eq!(bytes.len() % script::LEN, 0);
    bytes
}

impl Vcpu {
    fn reset(&mut self) -> Result<()> {
        request(&self.fd, INITIAL_RESET, 0).context("KVM_S390_INITIAL_RESET")?;
        let state = MP_STATE_OPERATING;
        request(&self.fd, SET_MP_STATE, (&raw const state) as usize).context("KVM_SET_MP_STATE")?;
        let script = self.script.as_ptr() as u64;
        let run = self.shared();
        run.psw_mask = PSW_PLAIN;
        run.psw_addr = 0x1000;
        run.regs.todpr = 0;
        run.regs.cputm = i64::MAX as u64;
        run.regs.ckc = u64::MAX;
        run.regs.pp = script;
        run.regs.gbea = 1;
        run.regs.crs = [0; 16];
        run.regs.crs[0] = CR0;
        run.regs.crs[14] = CR14;
        run.dirty_regs |= SYNC_ARCH0 | SYNC_CRS | SYNC_GPRS;
        Ok(())
    }

    fn shared(&mut self) -> &mut Run {
        // SAFETY: the mapping is at least so long (checked), aligned to a page, and any bytes are valid; KVM
        // writes to it during KVM_RUN only, when no such reference lives.
        unsafe { &mut *(self.run.address() as *mut Run) }
    }

    /// Runs the script to its end, in this thread.
    ///
    /// # Errors
    /// If KVM_RUN fails in a way that the script does not provoke.
    pub fn run(&mut self) -> Result<Outcome> {
        let begun = Instant::now();
        let (mut returns, mut spun, mut waited) = (0, Duration::ZERO, Duration::ZERO);
        loop {
            match request(&self.fd, RUN, 0) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                // KVM ends a validity intercept with EINVAL.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    returns += 1;
                    continue;
                }
                Err(error) => return Err(error).context("KVM_RUN"),
            }
            returns += 1;
            let behaviour = self.behaviour;
            let run = self.shared();
            if run.exit_reason != EXIT_S390_SIEIC {
                bail!("KVM returned for reason {} and not for an interception", run.exit_reason);
            }
            if run.psw_addr == END {
                break;
            }
            let since = Instant::now();
            while since.elapsed() < behaviour.spin {}
            spun += since.elapsed();
            run.regs.ckc = u64::MAX;
            if run.sieic.icptcode == 4 && run.sieic.ipa == ARM_TIMER {
                let ticks = behaviour.wait.as_micros() as u64 * u64::from(TOD_PER_US);
                run.regs.ckc = tod().saturating_add(ticks);
                waited += behaviour.wait;
            }
            run.dirty_regs |= SYNC_ARCH0;
        }
        let wall = begun.elapsed();
        // SAFETY: the call has no requirements.
        let tid = unsafe { libc::gettid() } as u32;
        Ok(Outcome { tid, wall, returns, spun, waited, stats: self.stats.read()? })
    }
}

/// The TOD clock, which the guest has unchanged.
fn tod() -> u64 {
    #[cfg(target_arch = "s390x")]
    {
        let mut tod = 0u64;
        // SAFETY: stores eight bytes at that address.
        unsafe { std::arch::asm!("stckf 0({})", in(reg_addr) &raw mut tod, options(nostack)) };
        tod
    }
    #[cfg(not(target_arch = "s390x"))]
    0
}

/// Memory of our own or of a file, unmapped at the end.
#[derive(Debug)]
struct Mapping(*mut libc::c_void, usize);

// SAFETY: plain memory, which any thread may use.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(len: usize, fd: Option<RawFd>) -> Result<Self> {
        let flags = if fd.is_some() { libc::MAP_SHARED } else { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, fd.unwrap_or(-1), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("cannot map memory");
        }
        Ok(Self(address, len))
    }

    fn address(&self) -> usize {
        self.0 as usize
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no reference is left.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

fn request(file: &File, number: u32, argument: usize) -> io::Result<i32> {
    // SAFETY: the callers give requests their arguments: a number, or a pointer to what the request reads.
    match unsafe { libc::ioctl(file.as_raw_fd(), number as _, argument) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

fn owned(fd: i32) -> File {
    // SAFETY: a new descriptor of KVM's, nobody else's.
    unsafe { File::from_raw_fd(fd) }
}
