//! Times: a VMM that is slow by a known amount is found, within bounds that no machine's speed can break.

use crate::guest::{record, report};

#[test]
fn a_slow_vmm_is_found() {
    // Every 10th of 100 port exits sleeps 50 ms; the workload measures what it slept.
    let (vcpus, dump) = record("", "--io-sleep-us 50000 --io-slow-every 10 cpuid=100 io=100", "svm");
    let table = report(&dump, "--by reason");
    let vcpu = &vcpus[0].raw;
    let slept = vcpu["io_sleep_ns_total"].as_u64().unwrap();
    let wall = vcpu["wall_ns"].as_u64().unwrap();
    let io = table.reason("io");
    assert!(slept >= 500_000_000, "{vcpu}");
    let sum = io["sum_ns"].as_u64().unwrap();
    assert!(slept <= sum && sum <= wall, "slept {slept}, io {sum}, wall {wall}");
    assert!(io["max_ns"].as_u64().unwrap() >= 50_000_000);
    // 90 of 100 are not slow: the median is not, the 99 % quantile is.
    assert!(io["p50_ns"].as_u64().unwrap() < 50_000_000, "{io}");
    assert!(io["p99_ns"].as_u64().unwrap() as f64 >= 50_000_000.0 * (1.0 - 1.0 / 32.0), "{io}");
    assert!(table.reason("cpuid")["sum_ns"].as_u64().unwrap() + sum <= wall);
}
