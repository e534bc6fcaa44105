//! Command lines as people and attackers write them.

use proptest::prelude::*;

use super::{facts, qemu::guest_name};
use crate::identity::{Identity, Kind, Source};

fn line(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(ToString::to_string).collect()
}

fn of(arguments: &[&str]) -> Identity {
    let mut identity = Identity::default();
    identity.take(Source::CommandLine, &facts(&line(arguments)));
    identity
}

fn value(arguments: &[&str], kind: Kind) -> Option<String> {
    of(arguments).value(kind).map(str::to_owned)
}

/// QEMU 7.2 was asked by `query-name` what it takes each of these for; those that are [`None`] it refuses.
#[test]
fn names_as_qemu_takes_them() {
    for (options, name) in [
        ("-name foo -name debug-threads=on", Some("foo")),
        ("-name guest=a -name b", Some("b")),
        ("-name foo,guest=bar", Some("bar")),
        ("-name guest=db,,0", Some("db,0")),
        ("--name web", Some("web")),
        ("--name=web", None),
        ("-name", None),
        ("-name -name -m", Some("-name")),
        ("-append -name -m 1G", None),
    ] {
        let line: Vec<_> = ["qemu"].into_iter().chain(options.split(' ')).map(str::to_owned).collect();
        assert_eq!(guest_name(&line).as_deref(), name, "{options}");
    }
}

/// QEMU 7.2 was asked by `query-uuid`.
#[test]
fn uuids_as_qemu_takes_them() {
    let [one, two] = ["1", "2"].map(|digit| format!("{digit}2c6e5a0-1111-4222-8333-444455556666"));
    let smbios = format!("type=1,uuid={one}");
    let uuid = |options: &[&str]| value(&[&["kvm"], options].concat(), Kind::Uuid);
    assert_eq!(uuid(&["-smbios", &smbios]), Some(one.clone()));
    assert_eq!(uuid(&["-uuid", &two, "-smbios", &smbios]), Some(one.clone()));
    assert_eq!(uuid(&["-smbios", &smbios, "-uuid", &two]), Some(two));
    assert_eq!(uuid(&["-smbios", &format!("uuid={one},type=1")]), Some(one.clone()));
    assert_eq!(uuid(&["-smbios", &format!("type=3,uuid={one}")]), None);
}

#[test]
fn marks_of_managers_are_needed() {
    let kubevirt = ["qemu-kvm", "-name", "guest=default_a_b", "-smbios", "type=1,manufacturer=KubeVirt"];
    assert_eq!(of(&kubevirt).name(), "default/a_b");
    assert_eq!(value(&kubevirt[..3], Kind::Namespace), None);
    let sandbox = ["qemu-kvm", "-name", "sandbox-7", "-qmp", "unix:/run/vc/vm/7/qmp.sock,server=on"];
    assert_eq!(value(&sandbox, Kind::Id).as_deref(), Some("7"));
    assert_eq!(value(&sandbox[..3], Kind::Id), None);
    let instance = ["qemu-system-x86_64", "-name", "c1", "-D", "/var/log/incus/web_c1/qemu.log"];
    assert_eq!(value(&instance, Kind::Project).as_deref(), Some("web"));
    let default = ["qemu-system-x86_64", "-name", "c1", "-D", "/var/log/lxd/c1/qemu.log"];
    assert_eq!(value(&default, Kind::Project).as_deref(), Some("default"));
    for path in
        ["/var/log/web_c1/qemu.log", "/var/log/lxd/xc1/qemu.log", "/var/log/lxd/_c1/x", "qemu.log", ""]
    {
        assert_eq!(value(&["qemu", "-name", "c1", "-D", path], Kind::Project), None, "{path}");
    }
}

#[test]
fn what_is_no_identity_is_refused() {
    assert_eq!(value(&["kvm", "-id", "-5"], Kind::Vmid), None);
    assert_eq!(value(&["kvm", "-uuid", "x"], Kind::Uuid), None);
    for id in ["", "a/b", "../x", &"a".repeat(65)] {
        assert_eq!(value(&["firecracker", "--id", id], Kind::Id), None, "{id}");
    }
    assert_eq!(value(&["firecracker", "--", "--id", "x"], Kind::Id), None);
    assert_eq!(value(&["firecracker", "--idle", "x", "--id"], Kind::Id), None);
}

#[test]
fn cloud_hypervisor_is_named_by_its_socket() {
    let name = |socket| value(&["cloud-hypervisor", "--api-socket", socket], Kind::Name);
    assert_eq!(name("/run/ch/web01.sock").as_deref(), Some("web01"));
    assert_eq!(name("path=/run/ch/web01.sock").as_deref(), Some("web01"));
    assert_eq!(name("/run/ch/api.sock"), None);
    assert_eq!(name("fd=3"), None);
    let uuid = "12c6e5a0-1111-4222-8333-444455556666";
    let platform = format!("num_pci_segments=2,oem_strings=[a,uuid=x],uuid={uuid}");
    assert_eq!(
        value(&["cloud-hypervisor-static", "--platform", &platform], Kind::Uuid).as_deref(),
        Some(uuid)
    );
    assert_eq!(value(&["cloud-hypervisor", "--platform", "oem_strings=[a,uuid=x]"], Kind::Uuid), None);
}

#[test]
fn a_subcommand_has_the_name() {
    assert_eq!(value(&["lkvm", "run", "--name", "a", "-n", "mode=none"], Kind::Name).as_deref(), Some("a"));
    assert_eq!(
        value(&["crosvm", "--log-level", "debug", "run", "--name=a"], Kind::Name).as_deref(),
        Some("a")
    );
    assert_eq!(value(&["lkvm", "stop", "--name", "a"], Kind::Name), None);
    assert_eq!(value(&["lkvm"], Kind::Name), None);
}

/// Arguments that are likely to be read, and others.
fn argument() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "-name",
        "--name",
        "--name=x",
        "guest=",
        "-uuid",
        "-id",
        "--id",
        "--id=",
        "--api-socket",
        "--platform",
        "run",
        "--",
        "-smbios",
        "manufacturer=KubeVirt",
        "-D",
        "/lxd/a_b/c",
        "/vc/vm/",
        ",",
        ",,",
        "=",
        "[",
        "\"",
    ]);
    prop_oneof![known.prop_map(str::to_owned), ".*"]
}

proptest! {
    /// Whatever a tenant gives QEMU as the name, escaped as QEMU wants it, is the name that is found, and the
    /// last one is.
    #[test]
    fn a_name_is_found_as_it_was_meant(name in ".+", other in ".*", before in prop::collection::vec("[a-z]*", 0..4)) {
        let escaped = format!("guest={},debug-threads=on", name.replace(',', ",,"));
        let mut arguments = vec!["qemu-system-x86_64".to_owned()];
        arguments.extend(before);
        arguments.extend(["-name".into(), format!("guest={}", other.replace(',', ",,")), "-name".into(), escaped]);
        prop_assert_eq!(guest_name(&arguments), Some(name));
    }

    /// Any arguments give bounded facts, and the same ones again.
    #[test]
    fn any_arguments(program in prop::sample::select(vec!["qemu", "firecracker", "cloud-hypervisor", "crosvm", "lkvm", "x"]),
                     arguments in prop::collection::vec(argument(), 0..12)) {
        let mut line = vec![program.to_owned()];
        line.extend(arguments);
        let found = facts(&line);
        prop_assert_eq!(&found, &facts(&line));
        let mut identity = Identity::default();
        identity.take(Source::CommandLine, &found);
        for (kind, fact) in identity.facts() {
            prop_assert!((1..=kind.info().max_chars).contains(&fact.value.chars().count()));
        }
        // What is told once is told by a kind that the command line can know.
        prop_assert!(found.iter().all(|(kind, _)| kind.rank(Source::CommandLine).is_some()));
    }
}
