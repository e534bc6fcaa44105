//! VMs of each stack, as fixtures, through the reading of /proc, /run and debugfs.

use std::collections::BTreeSet;

use anyhow::Result;
use exitlat_tests::identity::{self, Fixture};
use tracer_user::{
    identity::{Match, Selector, fact::SOURCES},
    kernel::identify::{Host, Roots, VmProcess},
};

fn identified(fixture: &Fixture) -> Result<VmProcess> {
    let root = tempfile::tempdir()?;
    fixture.put(root.path())?;
    Ok(Host::look(Roots::below(root.path())).identify(fixture.process.pid).expect("the process is there"))
}

#[test]
fn every_stack_is_known_by_its_facts() -> Result<()> {
    for fixture in identity::all()? {
        let vm = identified(&fixture)?;
        let (found, threads) = Fixture::found(&vm);
        assert_eq!(found, fixture.expect, "{}: {}", fixture.file, fixture.about);
        let wanted: Vec<_> = fixture.thread.iter().map(|thread| (thread.tid, thread.is.clone())).collect();
        assert_eq!(threads, wanted, "{}", fixture.file);
    }
    Ok(())
}

#[test]
fn times_of_a_vm_are_read() -> Result<()> {
    let fixture = identity::all()?.into_iter().find(|fixture| fixture.file == "libvirt.toml").unwrap();
    let vm = identified(&fixture)?;
    assert_eq!(vm.start_ticks, Fixture::START_TICKS);
    // USER_HZ is 100 on all architectures that exitlat knows.
    assert_eq!(vm.start_unix_ms, Some(Fixture::BOOT_UNIX_S * 1000 + Fixture::START_TICKS * 10));
    let vcpu = vm.threads.iter().find(|thread| thread.tid == 4720).unwrap().time.unwrap();
    assert_eq!((vcpu.cpu_ns, vcpu.wait_ns), (8_000_000_000, 1_500_000_000));
    assert!(vm.threads.iter().any(|thread| thread.time.is_none()), "one has no schedstat");
    Ok(())
}

/// Each VM is chosen by each of its facts, typed behind the prefix, and by its name.
#[test]
fn every_vm_is_chosen_by_what_is_known_of_it() -> Result<()> {
    for fixture in identity::all()? {
        let vm = identified(&fixture)?.identity;
        let matches = |typed: &str| vm.matches(&typed.parse::<Selector>().unwrap());
        assert_eq!(matches(&vm.name()), Match::Exact, "{}", fixture.file);
        for (kind, fact) in vm.facts() {
            let typed = format!("{}:{}", kind.info().prefix, fact.value);
            assert_eq!(matches(&typed), Match::Exact, "{}: {typed}", fixture.file);
        }
        assert_eq!(matches("another"), Match::No);
    }
    Ok(())
}

/// A source that no fixture has could be dropped without a test failing.
#[test]
fn every_source_tells_something_in_a_fixture() -> Result<()> {
    let fixtures = identity::all()?;
    let told: BTreeSet<_> = fixtures
        .iter()
        .flat_map(|fixture| &fixture.expect.asked)
        .filter(|(_, came)| *came == "told")
        .map(|(source, _)| source.as_str())
        .collect();
    assert_eq!(told, SOURCES.iter().map(|source| source.id).collect());
    Ok(())
}
