//! The VMX lab: the same exact counts with Intel's reasons. One boot of a slow emulator, so few tests.

use tracer_user::decode::kernel_table::disagreements;

use crate::guest::{demand_exact, record, report};

#[test]
fn intel_exact() {
    for path in ["tp", "raw"] {
        let workload = "cpuid=500 msr=200 wrmsr=100 io=100 mmio=100 hlt=20";
        let (vcpus, dump) = record(&format!("--attach {path}"), workload, "vmx");
        let table = report(&dump, "--by vcpu,reason");
        demand_exact(&table, &vcpus, "vmx");
        assert!(table.rows().iter().all(|row| row["isa"] == "VMX"), "{}", table.0);
    }
    let text = std::fs::read_to_string("/sys/kernel/tracing/events/kvm/kvm_exit/format").unwrap();
    assert_eq!(disagreements(&text).unwrap(), Vec::<String>::new());
}
