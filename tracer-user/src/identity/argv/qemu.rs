//! QEMU's command line, and what libvirt, KubeVirt, Kata, Proxmox, LXD and Incus put on it.

use crate::identity::{
    argv::kata_sandbox,
    fact::Kind,
    known::Facts,
    text::{is_container_id, is_id, number, split_at_commas, uuid},
};

/// Options whose value is looked at, or may look like an option. QEMU takes the argument behind an option as
/// its value, whatever it looks like.
const WITH_VALUE: [&str; 17] = [
    "name",
    "uuid",
    "id",
    "smbios",
    "object",
    "chardev",
    "mon",
    "qmp",
    "pidfile",
    "readconfig",
    "D",
    "append",
    "kernel",
    "initrd",
    "device",
    "drive",
    "netdev",
];

/// What QEMU's arguments say, without the program.
pub(super) fn facts(arguments: &[&str]) -> Facts {
    let options = options(arguments);
    let values = |wanted: &'static str| {
        options.iter().filter(move |(option, _)| *option == wanted).map(|(_, value)| *value)
    };
    let mut facts = Facts::new();
    // Both set the same variable: the last one counts. Proxmox uses the second.
    let mut uuids = options.iter().filter_map(|(option, value)| match *option {
        "uuid" => uuid(value),
        "smbios" => smbios_uuid(value),
        _ => None,
    });
    facts.extend(uuids.next_back().map(|uuid| (Kind::Uuid, uuid)));
    // An option of Proxmox' QEMU.
    if let Some(vmid) = values("id").next_back().filter(|id| number(id).is_some()) {
        facts.push((Kind::Vmid, vmid.to_owned()));
    }
    let Some(name) = name(values("name")) else { return facts };
    let any = |holds: fn(&str) -> bool| options.iter().any(|(_, value)| holds(value));
    // libvirt's monitor, and the key that it encrypts secrets with.
    if any(|value| value.contains("id=charmonitor") || value.contains("masterKey0")) {
        facts.push((Kind::Domain, name.clone()));
    }
    if any(|value| value.contains("manufacturer=KubeVirt") || value.contains("/kubevirt-private/")) {
        // A namespace has no underscore.
        if let Some((namespace, vmi)) = name.split_once('_') {
            facts.extend([(Kind::Namespace, namespace.to_owned()), (Kind::Pod, vmi.to_owned())]);
        }
    }
    if let Some(sandbox) = name.strip_prefix("sandbox-").filter(|id| is_id(id)) {
        let is_kata = options.iter().any(|(_, value)| kata_sandbox(value) == Some(sandbox));
        if is_kata || is_container_id(sandbox) {
            facts.push((Kind::Id, sandbox.to_owned()));
        }
    }
    let mut paths = ["D", "pidfile", "readconfig"].into_iter().flat_map(values);
    facts.extend(paths.find_map(|path| project(path, &name)).map(|name| (Kind::Project, name)));
    facts.push((Kind::Name, name));
    facts
}

/// The UUID in `-smbios type=1,uuid=UUID`.
fn smbios_uuid(value: &str) -> Option<String> {
    let parts = split_at_commas(value);
    let is_system = parts.iter().any(|part| part == "type=1");
    let mut uuids = parts.iter().filter_map(|part| part.strip_prefix("uuid="));
    uuids.next_back().filter(|_| is_system).and_then(uuid)
}

/// The project in a path of LXD or Incus: files of an instance are in a directory called `PROJECT_NAME`, or
/// `NAME` in the default project (`project.Instance`).
fn project(path: &str, name: &str) -> Option<String> {
    let mut parts = path.rsplit('/').skip(1);
    let directory = parts.next()?;
    if !parts.any(|part| matches!(part, "lxd" | "incus")) {
        return None;
    }
    match directory.strip_suffix(name)? {
        "" => Some("default".to_owned()),
        project => project.strip_suffix('_').filter(|project| !project.is_empty()).map(str::to_owned),
    }
}

/// The guest's name on a QEMU command line: `-name NAME` or `-name guest=NAME,...`. A doubled comma is part
/// of the name. Several `-name` are read as one, the last name wins (`qemu_name_opts` in system/vl.c).
///
/// ```
/// # use tracer_user::identity::argv::qemu::guest_name;
/// let line = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
/// assert_eq!(guest_name(&line("qemu -name guest=web01,debug-threads=on -m 1G")), Some("web01".into()));
/// assert_eq!(guest_name(&line("qemu -name a,,b")), Some("a,b".into()));
/// assert_eq!(guest_name(&line("qemu -name guest=foo=1,,bar=2,debug-threads=on")).unwrap(), "foo=1,bar=2");
/// assert_eq!(guest_name(&line("qemu -name a -name debug-threads=on")), Some("a".into()));
/// assert_eq!(guest_name(&line("qemu -m 1G")), None);
/// ```
pub fn guest_name(arguments: &[String]) -> Option<String> {
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    name(options(&arguments).iter().filter(|(option, _)| *option == "name").map(|(_, value)| *value))
}

/// The name that values of `-name` give.
fn name<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut name = None;
    for value in values {
        for (at, part) in split_at_commas(value).into_iter().enumerate() {
            // Only the first part may go without its key.
            let bare = (at == 0 && !part.contains('=')).then(|| part.clone());
            name = part.strip_prefix("guest=").map(str::to_owned).or(bare).or(name);
        }
    }
    name.filter(|name| !name.is_empty())
}

/// The options of [`WITH_VALUE`] with their values, in order. QEMU takes one hyphen or two, and no `=`.
fn options<'a>(arguments: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let mut options = Vec::new();
    let mut arguments = arguments.iter().copied();
    while let Some(argument) = arguments.next() {
        let option = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(option) = option.filter(|option| WITH_VALUE.contains(option)) else { continue };
        options.extend(arguments.next().map(|value| (option, value)));
    }
    options
}
