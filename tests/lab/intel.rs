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

/// N writes of a control register are N samples of one cause below their reason, and no other exit has a
/// cause.
#[test]
fn intel_causes_of_control_registers() {
    for path in ["tp", "raw"] {
        let (vcpus, recording) =
            record(&format!("--attach {path} --causes cr"), "cr=300 cpuid=100 io=20", "vmx");
        let table = report(&recording, "--by vcpu,reason");
        demand_exact(&table, &vcpus, "vmx");
        for row in table.rows() {
            let causes = row["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
            if row["reason"] != "CR_ACCESS" {
                assert!(causes.is_empty(), "{row}");
                continue;
            }
            let [cause] = causes else { panic!("{row}") };
            assert_eq!((&cause["cause"], &cause["samples"]), (&"CR4 write".into(), &300.into()), "{row}");
            assert_eq!(cause["sum_ns"], row["sum_ns"], "the cause has all of the reason's time: {row}");
        }
        assert_eq!(table.reason("CR_ACCESS")["samples"], 300, "{}", table.0);
    }
    // Causes of control registers are off by default.
    let (_, recording) = record("", "cr=50", "vmx");
    let table = report(&recording, "--by reason");
    assert!(table.reason("CR_ACCESS")["causes"].is_null(), "{}", table.0);
}
