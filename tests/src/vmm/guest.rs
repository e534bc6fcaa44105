//! The memory and the registers a guest starts with: long mode at once, without firmware.
//!
//! The number of nested page faults must not depend on the kernel or on which vCPU comes first. So every vCPU
//! has page tables and a code page of its own, each alone in its group of eight pages: KVM maps nested pages
//! singly or, in its older page-table code, prefetches within such a group. And what vCPUs do share, the
//! nested page tables, must exist before two of them run at once, as KVM lets a fault that loses the race for
//! one happen again: vCPUs come in groups with one nested page table each, and a vCPU only starts when
//! [`Layout::predecessor`] has (see [`GuestMemory::has_started`]). The page without memory is in the same
//! group's table.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, ensure};
use kvm_bindings::{kvm_dtable, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;

use super::code::{Code, NESTED_CODE, TIMER_VECTOR};

/// Most vCPUs of one virtual machine.
pub const MAX_VCPUS: u32 = 512;
/// Bytes available for code.
pub const CODE_ROOM: usize = GDT_OFFSET;

const PAGE: usize = 0x1000;
const HUGE_PAGE: u64 = 0x20_0000;
/// Distance of a vCPU's pages from each other: eight pages.
const PAGE_DISTANCE: u64 = 0x8000;
/// Distance of the areas of two vCPUs: four such pages.
const VCPU_DISTANCE: u64 = 4 * PAGE_DISTANCE;
/// vCPUs whose memory lies within the same 2 MiB, and so in one nested page table.
const GROUP: u32 = 8;
/// In the 2 MiB of a group: the pages without memory, one for each vCPU.
const MMIO_OFFSET: u64 = 0x1_0000;
/// In the 2 MiB of a group: its memory, up to the end.
const RAM_OFFSET: u64 = HUGE_PAGE - GROUP as u64 * VCPU_DISTANCE;

// The code page: code, descriptor table, two flags, code of the nested guest, interrupt table, stack.
const GDT_OFFSET: usize = 0xa00;
const STOP_OFFSET: usize = 0xb00;
const STARTED_OFFSET: usize = 0xb40;
const NESTED_OFFSET: usize = 0xb80;
const IDT_OFFSET: usize = 0xc00;
const IDT_LEN: usize = 16 * (TIMER_VECTOR as usize + 1);

const CODE_SELECTOR: u16 = 8;
const DATA_SELECTOR: u16 = 16;
/// Null, 64-bit code, data; the accessed bits are set, so the processor need not write.
const GDT: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

// Page table entry bits: present, writable, accessed, dirty, large.
const TABLE: u64 = 0x23;
const LARGE: u64 = 0xe3;

/// Where the pages of one vCPU are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    vcpu: u32,
    pml4: u64,
    pdpt: u64,
    directory: u64,
    code: u64,
    /// The nested guest's VMCB: the second page of the code page's eight.
    pub vmcb: u64,
    /// The page without memory that this vCPU touches.
    pub mmio: u64,
}

impl Layout {
    /// The layout of the vCPU with this number.
    pub fn of(vcpu: u32) -> Self {
        let group = u64::from(vcpu / GROUP) * HUGE_PAGE;
        let member = u64::from(vcpu % GROUP);
        let ram = group + RAM_OFFSET + member * VCPU_DISTANCE;
        let [pml4, pdpt, directory, code] = [0, 1, 2, 3].map(|n| ram + n * PAGE_DISTANCE);
        Self {
            vcpu,
            pml4,
            pdpt,
            directory,
            code,
            vmcb: code + PAGE as u64,
            mmio: group + MMIO_OFFSET + member * PAGE as u64,
        }
    }

    /// The layout of the vCPU that must have started before this one may: the first of the group, and for
    /// that the first of the group before.
    pub fn predecessor(&self) -> Option<Self> {
        match self.vcpu % GROUP {
            0 => self.vcpu.checked_sub(GROUP).map(Self::of),
            member => Some(Self::of(self.vcpu - member)),
        }
    }

    /// Where execution starts.
    pub fn entry(&self) -> u64 {
        self.code
    }

    /// Where the stack ends, and thus starts.
    pub fn stack_top(&self) -> u64 {
        self.code + PAGE as u64
    }

    /// The byte that makes the guest end after its round.
    pub fn stop(&self) -> u64 {
        self.code + STOP_OFFSET as u64
    }

    /// The byte that the guest sets when it has started.
    pub fn started(&self) -> u64 {
        self.code + STARTED_OFFSET as u64
    }

    /// Where the nested guest's code is.
    pub fn nested(&self) -> u64 {
        self.code + NESTED_OFFSET as u64
    }

    /// Changes the registers of a fresh vCPU to 64-bit code with flat segments, identity-mapped.
    pub fn set_sregs(&self, sregs: &mut kvm_sregs) {
        let flat = kvm_segment {
            limit: 0xffff_ffff,
            selector: DATA_SELECTOR,
            type_: 3,
            present: 1,
            db: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        sregs.cs = kvm_segment { selector: CODE_SELECTOR, type_: 11, db: 0, l: 1, ..flat };
        for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
            *segment = flat;
        }
        let table = |offset: usize, len: usize| kvm_dtable {
            base: self.code + offset as u64,
            limit: len as u16 - 1,
            ..Default::default()
        };
        sregs.gdt = table(GDT_OFFSET, size_of_val(&GDT));
        sregs.idt = table(IDT_OFFSET, IDT_LEN);
        sregs.cr0 = 0x8000_0031; // PG, NE, ET, PE
        sregs.cr3 = self.pml4;
        sregs.cr4 = 0x20; // PAE
        sregs.efer = 0x500; // LME, LMA
    }

    /// Writes the vCPU's page tables and code page, which also makes the host allocate them.
    pub fn fill(&self, memory: &GuestMemory, code: &Code) {
        let entry = |address: u64, flags: u64| {
            let mut page = [0; PAGE];
            page[..8].copy_from_slice(&(address | flags).to_le_bytes());
            page
        };
        memory.write(self.pml4, &entry(self.pdpt, TABLE));
        memory.write(self.pdpt, &entry(self.directory, TABLE));
        let directory = (0..512u64).flat_map(|n| ((n * HUGE_PAGE) | LARGE).to_le_bytes());
        memory.write(self.directory, &directory.collect::<Vec<_>>());

        let mut page = [0; PAGE];
        page[..code.bytes.len()].copy_from_slice(&code.bytes);
        for (n, descriptor) in GDT.iter().enumerate() {
            page[GDT_OFFSET + 8 * n..][..8].copy_from_slice(&descriptor.to_le_bytes());
        }
        page[NESTED_OFFSET..][..NESTED_CODE.len()].copy_from_slice(&NESTED_CODE);
        let gate = gate(self.code + code.timer_handler as u64);
        page[IDT_OFFSET + IDT_LEN - gate.len()..][..gate.len()].copy_from_slice(&gate);
        memory.write(self.code, &page);
    }

    /// Writes the VMCB of a nested guest with the same state as the guest, and enables SVM in the guest. The
    /// offsets are those of `struct vmcb_control_area` and `struct vmcb_save_area`
    /// (`arch/x86/include/asm/svm.h`).
    pub fn allow_nested(&self, memory: &GuestMemory, sregs: &mut kvm_sregs) {
        const SVME: u64 = 1 << 12;
        const SAVE: usize = 0x400;
        sregs.efer |= SVME;
        let mut vmcb = [0; PAGE];
        let mut put = |offset: usize, bytes: &[u8]| vmcb[offset..][..bytes.len()].copy_from_slice(bytes);
        put(0x10, &3u32.to_le_bytes()); // what the guest intercepts: VMRUN, which it must, and VMMCALL
        put(0x58, &1u32.to_le_bytes()); // address space identifier
        let segments = [sregs.es, sregs.cs, sregs.ss, sregs.ds, sregs.fs, sregs.gs];
        for (n, segment) in segments.iter().enumerate() {
            let attributes = u16::from(segment.type_)
                | u16::from(segment.s) << 4
                | u16::from(segment.present) << 7
                | u16::from(segment.l) << 9
                | u16::from(segment.db) << 10
                | u16::from(segment.g) << 11;
            put(SAVE + 16 * n, &segment.selector.to_le_bytes());
            put(SAVE + 16 * n + 2, &attributes.to_le_bytes());
            put(SAVE + 16 * n + 4, &segment.limit.to_le_bytes());
        }
        for (offset, table) in [(0x60, sregs.gdt), (0x80, sregs.idt)] {
            put(SAVE + offset + 4, &u32::from(table.limit).to_le_bytes());
            put(SAVE + offset + 8, &table.base.to_le_bytes());
        }
        let registers = [
            (0xd0, sregs.efer),
            (0x148, sregs.cr4),
            (0x150, sregs.cr3),
            (0x158, sregs.cr0),
            (0x160, 0x400),       // DR7
            (0x168, 0xffff_0ff0), // DR6
            (0x170, 2),           // RFLAGS
            (0x178, self.nested()),
            (0x1d8, self.stack_top()),
            (0x268, 0x0007_0406_0007_0406), // PAT
        ];
        for (offset, value) in registers {
            put(SAVE + offset, &value.to_le_bytes());
        }
        memory.write(self.vmcb, &vmcb);
    }
}

/// A 64-bit interrupt gate.
fn gate(handler: u64) -> [u8; 16] {
    let low =
        (handler & 0xffff) | u64::from(CODE_SELECTOR) << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
    let mut gate = [0; 16];
    gate[..8].copy_from_slice(&low.to_le_bytes());
    gate[8..].copy_from_slice(&(handler >> 32).to_le_bytes());
    gate
}

/// The memory of a guest. It is mapped here as far apart as in the guest, holes included.
#[derive(Debug)]
pub struct GuestMemory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: it is memory of the whole process, and it is written by bounds-checked copies before any vCPU runs
// and by atomic stores afterwards.
unsafe impl Send for GuestMemory {}
// SAFETY: as above.
unsafe impl Sync for GuestMemory {}

impl GuestMemory {
    /// Memory for this many vCPUs.
    ///
    /// # Errors
    /// If there are too many vCPUs or the system has no memory.
    pub fn new(vcpus: u32) -> Result<Self> {
        ensure!((1..=MAX_VCPUS).contains(&vcpus), "a VM has 1 to {MAX_VCPUS} vCPUs");
        let len = vcpus.div_ceil(GROUP) as usize * HUGE_PAGE as usize;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice affects no other memory.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        ensure!(mapped != libc::MAP_FAILED, "no guest memory: {}", std::io::Error::last_os_error());
        // Small pages only: with large ones the number of page faults would depend on the host's state. A
        // kernel without large pages does not know the advice, which is as good.
        // SAFETY: the range is the mapping made above, and the advice does not change its contents.
        unsafe { libc::madvise(mapped, len, libc::MADV_NOHUGEPAGE) };
        Ok(Self { base: NonNull::new(mapped.cast()).context("guest memory at address 0")?, len })
    }

    /// Gives the memory to the virtual machine.
    ///
    /// # Errors
    /// If KVM refuses it.
    pub fn register(&self, vm: &VmFd) -> Result<()> {
        for (slot, group) in (0..).zip((0..self.len as u64).step_by(HUGE_PAGE as usize)) {
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: group + RAM_OFFSET,
                memory_size: HUGE_PAGE - RAM_OFFSET,
                userspace_addr: self.base.as_ptr() as u64 + group + RAM_OFFSET,
            };
            // SAFETY: the range is inside a mapping that Rust code only touches through raw pointers, and it
            // outlives the guest: every vCPU holds on to the memory.
            unsafe { vm.set_user_memory_region(region) }.context("KVM does not take the guest's memory")?;
        }
        Ok(())
    }

    /// Copies `bytes` to guest address `address`; must not be used once the guest runs.
    ///
    /// # Panics
    /// If that is outside the memory.
    fn write(&self, address: u64, bytes: &[u8]) {
        let address = address as usize;
        assert!(address.checked_add(bytes.len()).is_some_and(|end| end <= self.len), "outside guest memory");
        // SAFETY: source and, as just checked, destination are valid for this length; they do not overlap
        // because no reference into guest memory is ever made.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(address), bytes.len()) }
    }

    /// Makes the guest of this vCPU end after its current round.
    pub fn stop(&self, layout: &Layout) {
        self.flag(layout.stop()).store(1, Ordering::Release);
    }

    /// Whether the guest of this vCPU has executed its first instructions.
    pub fn has_started(&self, layout: &Layout) -> bool {
        self.flag(layout.started()).load(Ordering::Acquire) != 0
    }

    /// The byte at this guest address, which must not be written otherwise once the guest runs.
    fn flag(&self, address: u64) -> &AtomicU8 {
        let address = address as usize;
        assert!(address < self.len, "outside guest memory");
        // SAFETY: the address is inside the mapping, as just checked, which lives as long as `self`; flags
        // are only accessed atomically once the guest runs.
        unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(address)) }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody can use it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pages_share_a_prefetch_group() {
        let mut groups: Vec<_> = (0..MAX_VCPUS)
            .map(Layout::of)
            .flat_map(|layout| {
                [layout.pml4, layout.pdpt, layout.directory, layout.code].map(|page| page >> 15)
            })
            .collect();
        let len = groups.len();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), len);
    }

    #[test]
    fn the_area_without_memory_is_outside_memory_and_mapped() {
        for layout in (0..MAX_VCPUS).map(Layout::of) {
            let group = layout.mmio / HUGE_PAGE * HUGE_PAGE;
            assert!(layout.mmio + PAGE as u64 <= group + RAM_OFFSET);
            assert!(group + RAM_OFFSET <= layout.pml4 && layout.stack_top() <= group + HUGE_PAGE);
        }
        let memory = GuestMemory::new(MAX_VCPUS).unwrap();
        assert_eq!(Layout::of(MAX_VCPUS - 1).mmio / HUGE_PAGE + 1, memory.len as u64 / HUGE_PAGE);
        assert!(memory.len as u64 <= 512 * HUGE_PAGE);
        assert!(GuestMemory::new(0).is_err() && GuestMemory::new(MAX_VCPUS + 1).is_err());
    }

    #[test]
    fn every_chain_of_predecessors_ends_at_the_first() {
        let predecessor = |vcpu| Layout::of(vcpu).predecessor().map(|layout| layout.vcpu);
        assert_eq!(
            [0, 1, 7, 8, 9, 17].map(predecessor),
            [None, Some(0), Some(0), Some(0), Some(8), Some(16)]
        );
    }

    #[test]
    fn nothing_in_the_code_page_overlaps() {
        assert!(STARTED_OFFSET < NESTED_OFFSET && NESTED_OFFSET + NESTED_CODE.len() <= IDT_OFFSET);
        assert_eq!(Layout::of(3).vmcb % PAGE as u64, 0);
    }

    #[test]
    fn gates_split_the_address() {
        let bytes = gate(0x1122_3344_5566_7788);
        assert_eq!(bytes, [0x88, 0x77, 8, 0, 0, 0x8e, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0]);
    }
}
