//! KVM's own counters as a block below the exits: what they count since the VM began, and how fast they grow.

use std::{
    cmp::Ordering,
    io::{self, Write},
};

use tracer_ebpf::part::Part;
use unicode_width::UnicodeWidthStr;

use crate::{
    model::{Counter, HostId, Rows, VmAccount, VmId},
    render::{escape, units},
};

/// More VMs than this are left to the other formats.
const VMS: usize = 10;
/// More counters of a VM than this are left to the other formats.
const ROWS: usize = 60;

/// Prints the counters of each VM that are not zero, the one that grows fastest first.
pub(super) fn print(out: &mut dyn Write, rows: &Rows, color: bool) -> io::Result<()> {
    let mut vms = rows.counters.by_vm();
    for counters in vms.by_ref().take(VMS) {
        block(out, rows, counters, color)?;
    }
    match vms.count() {
        0 => Ok(()),
        more => {
            writeln!(out, "and the counters of {} more; --format json has all", units::plural(more, "VM"))
        }
    }
}

fn block(out: &mut dyn Write, rows: &Rows, counters: &[(HostId, Counter)], color: bool) -> io::Result<()> {
    let (bold, plain) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let (host, first) = &counters[0];
    let (pid, name) = (Some(first.id.pid), first.id.vm.as_str().into());
    let vm = VmId { pid, name, ..VmId::ended(host.clone()) };
    let place = host.name().map(|host| format!(" on {host}")).unwrap_or_default();
    let title = format!("KVM's counters of {vm}{place}");
    let (mut shown, mut zero): (Vec<_>, _) = (Vec::new(), 0);
    for (_, counter) in counters {
        match counter.value {
            Some(0) => zero += 1,
            Some(value) => shown.push((label(counter), value, counter)),
            None => {}
        }
    }
    shown.sort_by(|a, b| faster(a.2, b.2).then(b.1.cmp(&a.1)).then_with(|| a.2.id.cmp(&b.2.id)));
    let title = escape::terminal(&title);
    let width = shown.iter().take(ROWS).map(|(label, ..)| label.width()).max().unwrap_or(0).max(24);
    writeln!(out, "\n{bold}{title}{plain}")?;
    writeln!(out, "{bold}{:width$} {:>20} {:>14} Unit{plain}", "Counter", "Total", "per s")?;
    for (label, value, counter) in shown.iter().take(ROWS) {
        let rate = counter.per_second().map_or_else(String::new, |rate| format!("{rate:.1}"));
        let line = format!("{label:width$} {value:>20} {rate:>14} {}", counter.id.unit.id());
        writeln!(out, "{}", line.trim_end())?;
    }
    if let Some(more) = shown.len().checked_sub(ROWS + 1) {
        writeln!(out, "and {} more; --format json has all", units::plural(more + 1, "counter"))?;
    }
    if zero != 0 {
        writeln!(out, "{} zero", if zero == 1 { "1 more is".into() } else { format!("{zero} more are") })?;
    }
    let unread = |(_, it): &&(HostId, Counter)| it.id.kind.is_hist() && it.buckets.is_empty();
    if counters.iter().any(|counter| unread(&counter)) {
        writeln!(out, "Histograms are left out: debugfs has the first bucket of each only")?;
    }
    halts(out, rows, counters, &vm)
}

fn label(counter: &Counter) -> String {
    let name = escape::terminal(&counter.id.name);
    match counter.id.vcpu {
        Some(vcpu) => format!("{name}, vCPU {vcpu}"),
        None => name.into_owned(),
    }
}

/// What has no rate comes last.
fn faster(a: &Counter, b: &Counter) -> Ordering {
    let rate = |counter: &Counter| counter.per_second().unwrap_or(-1.0);
    rate(b).total_cmp(&rate(a))
}

/// KVM's times of halts beside ours, where both are known.
fn halts(out: &mut dyn Write, rows: &Rows, counters: &[(HostId, Counter)], vm: &VmId) -> io::Result<()> {
    let delta = |name: &str| {
        let of_vm = counters.iter().find(|(_, it)| it.id.vcpu.is_none() && it.id.name == name);
        of_vm.and_then(|(_, counter)| counter.delta)
    };
    let names = ["halt_poll_success_ns", "halt_poll_fail_ns", "halt_wait_ns"];
    let [Some(success_ns), Some(fail_ns), Some(wait_ns)] = names.map(delta) else { return Ok(()) };
    write!(
        out,
        "Halts by KVM: polled {} with and {} without success, waited {}",
        units::duration(success_ns),
        units::duration(fail_ns),
        units::duration(wait_ns),
    )?;
    // A counter has the VM's pid and name only: if several VMs have them, none is meant.
    let is_its = |it: &&VmAccount| (&it.vm.host, it.vm.pid, &it.vm.name) == (&vm.host, vm.pid, &vm.name);
    let mut accounts = rows.vms().filter(is_its).map(|it| &it.account);
    let account = accounts.next().filter(|_| accounts.next().is_none());
    let parts = account.and_then(|it| Some((it.part_ns(Part::Poll)?, it.part_ns(Part::Halt)?)));
    match parts {
        Some((poll_ns, halt_ns)) => {
            writeln!(
                out,
                "; by exitlat: poll {}, idle {}",
                units::duration(poll_ns),
                units::duration(halt_ns)
            )
        }
        None => writeln!(out),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        decode::counters::meaning,
        model::{CounterId, GroupBy, Interval, Threads},
    };

    fn shown(counters: Vec<Counter>) -> String {
        let interval = Interval { counters, ..Interval::default() };
        let mut rows = Rows::new(GroupBy::REASON);
        rows.of_interval(interval.with(&Threads::default()));
        let mut out = Vec::new();
        print(&mut out, &rows, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn counter(pid: u32, name: &str, value: Option<i128>, delta: Option<u64>) -> Counter {
        let (kind, unit) = meaning(name);
        let (vm, name) = ("web".into(), name.into());
        let id = CounterId { vm, pid, vm_fd: Some(11), name, kind, unit, ..CounterId::default() };
        Counter { id: Arc::new(id), value, delta, over_ns: 2_000_000_000, buckets: Vec::new() }
    }

    #[test]
    fn the_fastest_comes_first_and_zeros_are_counted() {
        let text = shown(vec![
            counter(7, "pages_4k", Some(99), None),
            counter(7, "io_exits", Some(5), Some(0)),
            counter(7, "mmio_exits", Some(0), Some(0)),
            counter(7, "exits", Some(1000), Some(500)),
            counter(7, "halt_poll_success_ns", Some(9_000), Some(2_000)),
            counter(7, "halt_poll_fail_ns", Some(0), Some(0)),
            counter(7, "halt_wait_ns", Some(5_000_000), Some(1_500_000)),
            counter(7, "halt_wait_hist", None, None),
        ]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: Vec<Vec<&str>> = [
            "",
            "KVM's counters of web[7]",
            "Counter Total per s Unit",
            "halt_wait_ns 5000000 750000.0 ns",
            "halt_poll_success_ns 9000 1000.0 ns",
            "exits 1000 250.0",
            "io_exits 5 0.0",
            "pages_4k 99",
            "2 more are zero",
            "Histograms are left out: debugfs has the first bucket of each only",
            "Halts by KVM: polled 2.0 us with and 0 ns without success, waited 1.5 ms",
        ]
        .map(|line| line.split_whitespace().collect())
        .to_vec();
        assert_eq!(words, expected);
    }

    #[test]
    fn the_block_is_bounded_and_names_do_not_act() {
        let many = (0..20).map(|pid| counter(pid, "exits\x1b[2J", Some(1), None)).collect();
        let text = shown(many);
        assert_eq!(text.matches("KVM's counters").count(), 10);
        assert!(text.ends_with("and the counters of 10 VMs more; --format json has all\n"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
        let many = (0..100).map(|number| counter(1, &format!("n{number}"), Some(1), None)).collect();
        assert!(shown(many).contains("and 40 counters more; --format json has all\n"));
    }
}
