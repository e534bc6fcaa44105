//! Any bytes as what a VM's process, control groups, threads and managers say of it, and as what a user types
//! to choose it. The first byte says which; NULs part arguments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::{
    identity::{
        Identity, Match, Selector, Source, argv, cgroup, debugfs,
        descriptor::Descriptor,
        process,
        status_xml::{MAX_BYTES, Status},
        thread,
    },
    model::{Known, VmList},
};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(data);
    let mut identity = Identity::default();
    match kind {
        b'a' => {
            let words: Vec<String> = text.split('\0').map(str::to_owned).collect();
            identity.take(Source::CommandLine, &argv::facts(&words));
        }
        b'c' => {
            identity.take(Source::Cgroup, &cgroup::facts(&text));
            let _ = cgroup::part(&text);
        }
        b'x' => {
            if let Ok(status) = Status::parse(data) {
                assert!(!status.name.is_empty() && status.vcpus.len() <= MAX_BYTES / 8);
                identity.take(Source::StatusXml, &status.facts());
            }
        }
        b'm' => {
            let facts = process::root(&text).map(|root| process::facts_of_root(&root));
            identity.take(Source::Root, &facts.unwrap_or_default());
        }
        b's' => choose_by(&text),
        _ => {
            let _ = (process::stat(&text), process::schedstat(&text), process::user(&text));
            let _ = (process::boot_unix_s(&text), Descriptor::of(data), argv::vmm_of_comm(&text));
            let _ = (debugfs::vm(&text), debugfs::vcpu(&text), debugfs::thread(&text));
            let _ = (thread::named(&text), thread::vhost_owner(&text));
        }
    }
    for (kind, fact) in identity.facts() {
        assert!((1..=kind.info().max_chars).contains(&fact.value.chars().count()));
        assert!(kind.rank(fact.source).is_some());
    }
    // Whatever a VM is called, its name chooses it; but for a UUID that is none.
    if let Ok(selector) = identity.name().parse::<Selector>() {
        assert!(identity.name().is_empty() || identity.matches(&selector) != Match::No);
    }
});

/// The first line chooses among VMs that are called as the others say.
fn choose_by(text: &str) {
    let mut lines = text.lines();
    let Some(Ok(mut wanted)) = lines.next().map(str::parse::<VmList>) else { return };
    let vms: Vec<Known> = lines
        .take(8)
        .map(|line| {
            let mut vm = Identity::default();
            vm.take(Source::CommandLine, &argv::facts(&["qemu".into(), "-name".into(), line.into()]));
            vm.into()
        })
        .collect();
    let before: Vec<bool> = vms.iter().map(|vm| wanted.matches(vm)).collect();
    vms.iter().for_each(|vm| wanted.notice(vm));
    // What exists only narrows what is meant, but for a name that is the whole text.
    let typed = text.lines().next().unwrap_or_default();
    for (vm, before) in vms.iter().zip(before) {
        assert!(
            before || !wanted.matches(vm) || vm.is_called(&tracer_user::identity::text::bounded_name(typed))
        );
    }
}
