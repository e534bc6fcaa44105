//! Links of open files, as `/proc/PID/fd` shows them.

/// What a descriptor of KVM stands for (`create_vcpu_fd`, `kvm_vcpu_ioctl_get_stats_fd` and others in
/// virt/kvm/kvm_main.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// A VM.
    Vm,
    /// A vCPU, by its number.
    Vcpu(u32),
    /// Counters of a vCPU, by its number.
    VcpuStats(u32),
    /// Counters of a VM.
    VmStats,
    /// Something else of a VM.
    Other,
}

impl Descriptor {
    /// What a link stands for; [`None`] if it is nothing of a VM.
    ///
    /// ```
    /// # use tracer_user::identity::descriptor::Descriptor;
    /// assert_eq!(Descriptor::of(b"anon_inode:kvm-vcpu:3"), Some(Descriptor::Vcpu(3)));
    /// assert_eq!(Descriptor::of(b"anon_inode:kvm-vcpu-stats:3"), Some(Descriptor::VcpuStats(3)));
    /// assert_eq!(Descriptor::of(b"anon_inode:kvm-vm"), Some(Descriptor::Vm));
    /// assert_eq!(Descriptor::of(b"anon_inode:kvm-vcpu:x"), Some(Descriptor::Other));
    /// assert_eq!(Descriptor::of(b"/dev/kvm"), None);
    /// ```
    pub fn of(link: &[u8]) -> Option<Self> {
        let name = link.strip_prefix(b"anon_inode:").filter(|name| name.starts_with(b"kvm-v"))?;
        let number = |prefix: &[u8]| {
            name.strip_prefix(prefix).and_then(|number| str::from_utf8(number).ok()?.parse().ok())
        };
        Some(match name {
            b"kvm-vm" => Self::Vm,
            b"kvm-vm-stats" => Self::VmStats,
            _ => number(b"kvm-vcpu:")
                .map(Self::Vcpu)
                .or_else(|| number(b"kvm-vcpu-stats:").map(Self::VcpuStats))
                .unwrap_or(Self::Other),
        })
    }
}
