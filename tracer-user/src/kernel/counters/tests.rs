//! Looks at a made-up debugfs.

use std::{collections::BTreeSet, fs};

use super::*;
use crate::model::self_check::Look;

/// A thread's number that no thread has: numbers end at 4194304 (PID_MAX_LIMIT).
const TID: u32 = 5_000_000;
const SECOND: u64 = 1_000_000_000;

fn vm(kvm: &Path, number: u32, files: &[(&str, &str)]) {
    let directory = kvm.join(format!("{}-11", TID + number));
    fs::create_dir_all(directory.join("vcpu0")).unwrap();
    files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
}

/// Processes that are their threads; the counters of the ninth are not wanted.
struct Made;

impl Host for Made {
    fn process(&self, tid: u32, _: u32) -> Option<u32> {
        Some(tid)
    }

    fn name(&self, pid: u32) -> Option<String> {
        (pid != TID + 9).then(|| format!("vm{}", pid - TID))
    }

    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

fn look(counters: &mut Counters, kvm: &Path, now_ns: u64) -> Vec<Counter> {
    let mut out = Vec::new();
    counters.earn(now_ns);
    counters.look_at_debugfs(kvm, now_ns, &Made, &mut out);
    out
}

#[test]
fn growth_is_that_of_counters_and_of_nothing_else() {
    let kvm = tempfile::tempdir().unwrap();
    let mut counters = Counters::new(Detail::Vm);
    let mut said = |exits: &str, now_ns| {
        vm(
            kvm.path(),
            1,
            &[("exits", exits), ("pages_4k", exits), ("halt_wait_hist", "7\n"), ("new", exits)],
        );
        let all = look(&mut counters, kvm.path(), now_ns);
        all.iter().map(|it| (it.id.name.clone(), it.value, it.delta, it.over_ns)).collect::<Vec<_>>()
    };
    let all = |value, delta, over_ns| {
        let of = |name: &str, value, delta: Option<u64>| {
            (name.to_owned(), value, delta, delta.map_or(0, |_| over_ns))
        };
        let value = Some(value);
        let mut all = vec![of("exits", value, delta), of("halt_wait_hist", None, None)];
        all.extend([of("new", value, None), of("pages_4k", value, None)]);
        all
    };
    assert_eq!(said("5\n", SECOND), all(5, None, 0));
    assert_eq!(said("9\n", 3 * SECOND), all(9, Some(4), 2 * SECOND));
    // Somebody wrote 0 to the file.
    assert_eq!(said("2\n", 4 * SECOND), all(2, None, 0));
    assert_eq!(said("2\n", 5 * SECOND), all(2, Some(0), SECOND));
}

#[test]
fn vcpus_are_read_if_they_are_asked_for() {
    let kvm = tempfile::tempdir().unwrap();
    vm(kvm.path(), 1, &[("exits", "5\n"), ("vcpu0/guest_mode", "1\n"), ("vcpu0/tsc-offset", "-8\n")]);
    // The counters of this one are not wanted.
    vm(kvm.path(), 9, &[("exits", "5\n")]);
    let read = |detail| {
        let all = look(&mut Counters::new(detail), kvm.path(), SECOND);
        let of = |it: &Counter| (it.id.vm.clone(), it.id.vm_fd, it.id.vcpu, it.id.name.clone(), it.value);
        all.iter().map(of).collect::<Vec<_>>()
    };
    let of = |vcpu, name: &str, value| ("vm1".to_owned(), Some(11), vcpu, name.to_owned(), Some(value));
    assert_eq!(read(Detail::Vm), [of(None, "exits", 5)]);
    let vcpu = [of(None, "exits", 5), of(Some(0), "guest_mode", 1), of(Some(0), "tsc-offset", -8)];
    assert_eq!(read(Detail::Vcpu), vcpu);
}

/// Each VM gets its turn, whatever there is to read, and no look reads more than was earned and one VM.
#[test]
fn files_are_bounded_and_vms_are_read_in_turns() {
    const FILES: usize = 100;
    let kvm = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..FILES).map(|number| format!("n{number}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1\n")).collect();
    let vms = 60;
    (10..10 + vms).for_each(|number| vm(kvm.path(), number, &files));
    let mut counters = Counters::new(Detail::Vm);
    let (mut seen, mut readings, looks) = (BTreeSet::new(), 0, 10);
    for at in 0..looks {
        // After the first, a tenth of a second each.
        let read = look(&mut counters, kvm.path(), SECOND + at * SECOND / 10);
        let most = if at == 0 { PER_SECOND } else { PER_SECOND / 10 } as usize + FILES;
        assert!(read.len() <= most, "{at}: {}", read.len());
        readings += read.len();
        seen.extend(read.iter().map(|it| it.id.pid));
    }
    assert_eq!(seen.len(), vms as usize);
    let earned = PER_SECOND as usize * (10 + looks as usize - 1) / 10;
    assert!((earned..earned + FILES + 1).contains(&readings), "{readings}");
}

#[test]
fn what_is_no_number_is_opened_once() {
    let kvm = tempfile::tempdir().unwrap();
    vm(kvm.path(), 1, &[("a_table", "1 2 3\n"), ("exits", "5\n")]);
    let mut counters = Counters::new(Detail::Vm);
    let mut opened = || {
        let before = counters.credit;
        let read = look(&mut counters, kvm.path(), SECOND);
        let values: Vec<_> = read.iter().map(|it| it.value).collect();
        assert_eq!(values, [None, Some(5)]);
        before - counters.credit
    };
    // The first look earns what is there from the start.
    assert_eq!([opened(), opened(), opened()], [2, 1, 1]);
}

#[test]
fn a_complaint_is_made_once() {
    let mut counters = Counters::new(Detail::Vm);
    let kvm = tempfile::tempdir().unwrap();
    let gone = kvm.path().join("gone");
    assert_eq!(look(&mut counters, &gone, SECOND), []);
    assert!(counters.complaint().unwrap().contains("gone cannot be read"));
    assert_eq!(look(&mut counters, &gone, SECOND), []);
    assert_eq!(counters.complaint(), None);
}

/// A VM that ends takes what was kept of it along.
#[test]
fn vms_come_and_go() {
    let kvm = tempfile::tempdir().unwrap();
    let mut counters = Counters::new(Detail::Vm);
    for number in 20..40 {
        vm(kvm.path(), number, &[("exits", "5\n")]);
        let read = look(&mut counters, kvm.path(), SECOND);
        assert_eq!(read.iter().map(|it| it.id.pid).collect::<Vec<_>>(), [TID + number]);
        fs::remove_dir_all(kvm.path().join(format!("{}-11", TID + number))).unwrap();
    }
    look(&mut counters, kvm.path(), SECOND);
    assert!(counters.vms.is_empty());
}

/// KVM's count of a process is that of all its VMs, read twice, and each process gets its turn.
#[test]
fn exits_of_a_process_are_read_before_and_after() {
    let kvm = tempfile::tempdir().unwrap();
    let mut counters = Counters::new(Detail::Vm);
    (1..=700).for_each(|number| vm(kvm.path(), number, &[("exits", "5\n")]));
    look(&mut counters, kvm.path(), SECOND);
    let pids = |looks: Vec<Look>| looks.iter().map(|look| look.pid - TID).collect::<BTreeSet<_>>();
    let before = counters.before_at(kvm.path().into());
    // The counters of the ninth are not wanted.
    assert_eq!(before.living.len(), 699);
    vm(kvm.path(), 1, &[("exits", "8\n")]);
    fs::remove_dir_all(kvm.path().join(format!("{}-11", TID + 2))).unwrap();
    let after = before.after();
    let expected = Look { pid: TID + 1, vm: "vm1".into(), sources: vec![(TID + 1, 11)], before: 5, after: 8 };
    assert_eq!((&after[0], after.len()), (&expected, 511));
    let first = pids(after);
    let second = pids(counters.before_at(kvm.path().into()).after());
    assert_eq!((first.first(), first.last()), (Some(&1), Some(&513)));
    assert!(second.contains(&514) && second.contains(&700) && second.contains(&1), "{second:?}");
}
