//! A virtual machine: memory, vCPUs with their code, and an interrupt controller if the plan needs one.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use kvm_bindings::{
    CpuId, KVM_CAP_SPLIT_IRQCHIP, KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE, kvm_enable_cap, kvm_mp_state,
    kvm_regs,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::code::{Addresses, Code, TIMER_VECTOR};
use super::guest::{CODE_ROOM, GuestMemory, Layout};
use super::plan::{Kind, Plan};
use crate::stats::Stats;

/// The local APIC's registers `khlt` needs, with their values; setting them costs the guest no exit.
const APIC_REGISTERS: [(usize, u32); 4] = [
    (0x80, 0),                    // task priority: all interrupts
    (0xf0, 0x1ff),                // spurious vector 255; enabled
    (0x320, TIMER_VECTOR as u32), // timer: one-shot, not masked
    (0x3e0, 0xb),                 // timer: one tick per nanosecond
];
/// In the APIC base register: enabled, in x2APIC mode.
const APIC_ENABLED_X2: u64 = 0xc00;

/// A vCPU ready to run. It keeps the guest's memory alive.
#[derive(Debug)]
pub struct Vcpu {
    /// The number of its virtual machine among those of the process.
    pub machine: u32,
    /// The number of the vCPU.
    pub id: u32,
    /// Its counters.
    pub stats: Stats,
    /// KVM's vCPU.
    pub fd: VcpuFd,
    layout: Layout,
    /// Must outlive `fd`, which is dropped first.
    memory: Arc<GuestMemory>,
}

impl Vcpu {
    /// The guest address without memory this vCPU touches.
    pub fn mmio_address(&self) -> u64 {
        self.layout.mmio
    }

    /// Whether this vCPU may enter its guest now: whether the one before it has.
    pub fn may_start(&self) -> bool {
        self.layout.predecessor().is_none_or(|predecessor| self.memory.has_started(&predecessor))
    }

    fn start(
        vm: &VmFd,
        memory: &Arc<GuestMemory>,
        id: u32,
        plan: &Plan,
        cpuid: &CpuId,
        khlt_ns: u32,
    ) -> Result<Self> {
        let fd = vm.create_vcpu(id.into()).with_context(|| format!("cannot create vCPU {id}"))?;
        let layout = Layout::of(id);
        let tsc_per_us = if plan.uses(Kind::Spin) {
            fd.get_tsc_khz()
                .context("spin needs to know the rate of the time stamp counter")?
                .div_ceil(1000)
                .into()
        } else {
            0
        };
        let addresses = Addresses {
            mmio: layout.mmio,
            started: layout.started(),
            stop: layout.stop(),
            tsc_per_us,
            khlt_ns,
            vmcb: layout.vmcb,
            nested: layout.nested(),
        };
        layout.fill(memory, &Code::new(plan, addresses, CODE_ROOM)?);

        fd.set_cpuid2(cpuid).context("cannot set CPUID")?;
        let mut sregs = fd.get_sregs().context("cannot read registers")?;
        layout.set_sregs(&mut sregs);
        if plan.uses(Kind::Khlt) {
            sregs.apic_base |= APIC_ENABLED_X2;
        }
        if plan.uses(Kind::Vmrun) {
            ensure!(has_svm(cpuid), "vmrun needs an AMD processor, and kvm_amd loaded with nested=1");
            layout.allow_nested(memory, &mut sregs);
        }
        fd.set_sregs(&sregs).context("cannot set system registers")?;
        let regs = kvm_regs { rip: layout.entry(), rsp: layout.stack_top(), rflags: 2, ..Default::default() };
        fd.set_regs(&regs).context("cannot set registers")?;
        if plan.uses(Kind::Khlt) {
            let mut apic = fd.get_lapic().context("cannot read the local APIC")?;
            for (offset, value) in APIC_REGISTERS {
                for (register, byte) in apic.regs[offset..].iter_mut().zip(value.to_le_bytes()) {
                    *register = byte as _;
                }
            }
            fd.set_lapic(&apic).context("cannot set the local APIC")?;
            // All but the first would wait for a start-up message.
            fd.set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE })
                .context("cannot start the vCPU")?;
        }
        let stats = Stats::open(&fd);
        Ok(Self { machine: 0, id, stats, fd, layout, memory: Arc::clone(memory) })
    }
}

/// Whether guests can run nested guests by SVM.
fn has_svm(cpuid: &CpuId) -> bool {
    const SVM: u32 = 1 << 2;
    cpuid.as_slice().iter().any(|entry| entry.function == 0x8000_0001 && entry.ecx & SVM != 0)
}

/// Makes all vCPUs of a virtual machine end after their current round.
#[derive(Clone, Debug)]
pub struct StopHandle(Vec<(Arc<GuestMemory>, Layout)>);

impl StopHandle {
    /// Stops the vCPUs of another virtual machine, too.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Asks the guest to end.
    pub fn stop(&self) {
        for (memory, layout) in &self.0 {
            memory.stop(layout);
        }
    }
}

/// A virtual machine with this many vCPUs, each about to execute its plan. The descriptor of the machine
/// itself has to be kept as long as the vCPUs are in use.
///
/// # Errors
/// If there is no KVM or it refuses something.
pub fn create(plan: &Plan, vcpus: u32, khlt_ns: u32) -> Result<(VmFd, Vec<Vcpu>, StopHandle)> {
    let kvm = Kvm::new().map_err(|error| {
        let hint = match error.errno() {
            libc::ENOENT | libc::ENODEV | libc::ENXIO => "load the kernel module kvm_amd or kvm_intel",
            libc::EACCES | libc::EPERM => "be root or a member of the group that owns it",
            _ => "is KVM usable on this machine?",
        };
        anyhow!("cannot open /dev/kvm: {error}: {hint}")
    })?;
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).context("cannot ask KVM for its CPUID")?;
    let memory = Arc::new(GuestMemory::new(vcpus)?);
    let vm = kvm.create_vm().context("cannot create a virtual machine")?;
    memory.register(&vm)?;
    if plan.uses(Kind::Khlt) {
        ensure!(khlt_ns > 0, "a khlt must sleep for some time");
        let cap = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, args: [24, 0, 0, 0], ..Default::default() };
        vm.enable_cap(&cap).context("khlt needs an in-kernel local APIC")?;
    }
    let vcpus = (0..vcpus)
        .map(|id| Vcpu::start(&vm, &memory, id, plan, &cpuid, khlt_ns))
        .collect::<Result<Vec<_>>>()?;
    let stop = StopHandle(vcpus.iter().map(|vcpu| (Arc::clone(&memory), vcpu.layout)).collect());
    Ok((vm, vcpus, stop))
}
