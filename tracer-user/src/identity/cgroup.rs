//! Control groups: the text of `/proc/PID/cgroup`, versions 1 and 2.
//!
//! A stack is known by the form of its paths. Only root makes groups outside those that were delegated to
//! users, so they are believed before the command line. Below `user.slice` only the machines of systemd are
//! looked for: a user's libvirt and vmspawn have them there.

use crate::identity::{
    fact::Kind,
    known::Facts,
    text::{is_container_id, is_id, number, uuid},
};

/// What the control groups of a process say.
///
/// ```
/// # use tracer_user::identity::{Kind, cgroup::facts};
/// let found = facts("0::/qemu.slice/109.scope\n");
/// assert_eq!(found, [(Kind::Cgroup, "/qemu.slice/109.scope".into()), (Kind::Vmid, "109".into())]);
/// ```
pub fn facts(text: &str) -> Facts {
    let mut facts = Facts::new();
    if let Some(own) = paths(text).find(|path| *path != "/") {
        facts.push((Kind::Cgroup, of_the_vm(own).to_owned()));
    }
    for path in paths(text) {
        let parts: Vec<&str> = parts(path).collect();
        let forms: &[Form] = if parts.first() == Some(&"user.slice") { &USERS } else { &FORMS };
        for at in 0..parts.len() {
            let found = forms.iter().find_map(|form| form(&parts[..at], parts[at]));
            for (kind, value) in found.unwrap_or_default() {
                if !facts.iter().any(|(known, _)| *known == kind) {
                    facts.push((kind, value));
                }
            }
        }
    }
    facts
}

/// What a thread's control group says about it: libvirt gives each vCPU one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// That of a vCPU.
    Vcpu(u32),
    /// The threads that are none of the others.
    Emulator,
    /// That of an I/O thread.
    Io,
}

/// The part of a libvirt domain that a thread is in.
///
/// ```
/// # use tracer_user::identity::cgroup::{Part, part};
/// let vcpu = "0::/machine.slice/machine-qemu\\x2d1\\x2dweb.scope/libvirt/vcpu3\n";
/// assert_eq!(part(vcpu), Some(Part::Vcpu(3)));
/// assert_eq!(part("2:cpu:/machine/qemu-1-web.libvirt-qemu/emulator\n"), Some(Part::Emulator));
/// assert_eq!(part("0::/user.slice/vcpu3\n"), None);
/// ```
pub fn part(text: &str) -> Option<Part> {
    paths(text).find_map(|path| {
        let (domain, last) = path.rsplit_once('/')?;
        parts(domain).any(is_of_libvirt).then(|| part_of(last))?
    })
}

fn part_of(name: &str) -> Option<Part> {
    match name {
        "emulator" => Some(Part::Emulator),
        _ if name.strip_prefix("iothread").and_then(number).is_some() => Some(Part::Io),
        _ => name.strip_prefix("vcpu").and_then(number).map(Part::Vcpu),
    }
}

/// The paths of all hierarchies: version 2 first, then systemd's own, then the others in the kernel's order.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let of = |wanted: fn(&str) -> bool| {
        text.lines().filter_map(move |line| {
            // Hierarchy, controllers, path. The path may have colons.
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            wanted(controllers).then_some(path)
        })
    };
    of(str::is_empty)
        .chain(of(|controllers| controllers == "name=systemd"))
        .chain(of(|controllers| !controllers.is_empty() && controllers != "name=systemd"))
}

/// The names in a path. From within a control group namespace it may begin with `..`.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | ".."))
}

/// The group of the whole VM: libvirt puts the threads of a domain into groups below it.
fn of_the_vm(path: &str) -> &str {
    let Some((domain, last)) = path.rsplit_once('/') else { return path };
    if part_of(last).is_none() || !parts(domain).any(is_of_libvirt) {
        return path;
    }
    domain.strip_suffix("/libvirt").unwrap_or(domain)
}

/// Whether a group is that of a libvirt domain.
fn is_of_libvirt(name: &str) -> bool {
    name.ends_with(".libvirt-qemu") || scope(name).is_some_and(|scope| domain(&scope).is_some())
}

/// Facts by a group's name and those above it.
type Form = fn(&[&str], &str) -> Option<Facts>;

/// Those that a user may have.
static USERS: [Form; 2] = [machine, vmspawn];

static FORMS: [Form; 7] = [machine, libvirt_alone, proxmox, pod, firecracker, kata, vmspawn];

/// systemd's machine: `machine-NAME.scope`, escaped. libvirt's are `qemu-ID-NAME`
/// (`virDomainDriverGenerateMachineName`).
fn machine(_: &[&str], name: &str) -> Option<Facts> {
    let machine = scope(name)?;
    let mut facts = domain(&machine).map(of_domain).unwrap_or_default();
    facts.push((Kind::Machine, machine));
    Some(facts)
}

/// libvirt without systemd: `/machine/qemu-ID-NAME.libvirt-qemu`, or `NAME.libvirt-qemu` of old releases.
fn libvirt_alone(_: &[&str], name: &str) -> Option<Facts> {
    let name = name.strip_suffix(".libvirt-qemu")?;
    Some(domain(name).map_or_else(|| vec![(Kind::Domain, name.to_owned())], of_domain))
}

/// Proxmox: `/qemu.slice/VMID.scope`, as its own qmeventd.c reads it.
fn proxmox(above: &[&str], name: &str) -> Option<Facts> {
    let vmid = name.strip_suffix(".scope").filter(|vmid| number(vmid).is_some())?;
    (above.last() == Some(&"qemu.slice")).then(|| vec![(Kind::Vmid, vmid.to_owned())])
}

/// A pod of Kubernetes. By systemd it is `kubepods-burstable-podUID.slice` with `_` for `-`, by cgroupfs
/// `kubepods/burstable/podUID` (`CgroupName.ToSystemd`, pkg/kubelet/cm/cgroup_manager_linux.go). A static
/// pod's UID is 32 hexadecimal digits.
fn pod(above: &[&str], name: &str) -> Option<Facts> {
    let is_below = || above.iter().any(|name| name.contains("kubepods"));
    let uid = match name.strip_suffix(".slice") {
        Some(slice) if slice.contains("kubepods") => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None if is_below() => name.strip_prefix("pod")?.to_owned(),
        _ => return None,
    };
    let is_hash = uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uid = if is_hash { uid } else { uuid(&uid)? };
    Some(vec![(Kind::PodUid, uid)])
}

/// Firecracker's jailer: `PARENT/ID`, the parent being the program's file if nobody chose another.
fn firecracker(above: &[&str], id: &str) -> Option<Facts> {
    let is_jailed = above.last().is_some_and(|name| name.starts_with("firecracker")) && is_id(id);
    is_jailed.then(|| vec![(Kind::Id, id.to_owned())])
}

/// Kata: `kata_overhead/ID`, or `kata_ID` below the pod (its docs/design/host-cgroups.md).
fn kata(above: &[&str], name: &str) -> Option<Facts> {
    let overhead = (above.last() == Some(&"kata_overhead")).then_some(name);
    let id = overhead.or_else(|| name.strip_prefix("kata_")).filter(|id| is_container_id(id))?;
    Some(vec![(Kind::Id, id.to_owned())])
}

/// systemd-vmspawn: the service `systemd-vmspawn@NAME.service`, or the scope `sd-vmspawn-NUMBER-NAME.scope`
/// (vmspawn-scope.c).
fn vmspawn(_: &[&str], name: &str) -> Option<Facts> {
    let service = name.strip_prefix("systemd-vmspawn@").and_then(|name| name.strip_suffix(".service"));
    let scope = || {
        let (random, name) = name.strip_prefix("sd-vmspawn-")?.strip_suffix(".scope")?.split_once('-')?;
        number(random).map(|_| name)
    };
    let name = service.or_else(scope).filter(|name| !name.is_empty())?;
    Some(vec![(Kind::Machine, unescaped(name))])
}

/// The machine in the name of its scope.
fn scope(name: &str) -> Option<String> {
    let machine = name.strip_prefix("machine-")?.strip_suffix(".scope")?;
    Some(unescaped(machine)).filter(|machine| !machine.is_empty())
}

/// Number and name of the domain in the name of libvirt's machine. Before the number, a user's domain has the
/// user's name, and one of an embedded driver has `embed` and a hash.
fn domain(machine: &str) -> Option<(&str, &str)> {
    let mut rest = machine.strip_prefix("qemu-")?;
    if let Some(embedded) = rest.strip_prefix("embed-") {
        rest = embedded.split_once('-')?.1;
    }
    loop {
        let (id, name) = rest.split_once('-')?;
        if number(id).is_some() && !name.is_empty() {
            return Some((id, name));
        }
        rest = name;
    }
}

fn of_domain((id, name): (&str, &str)) -> Facts {
    vec![(Kind::DomainId, id.to_owned()), (Kind::Domain, name.to_owned())]
}

/// Undoes systemd's `\x2d` and the like.
///
/// ```
/// # use tracer_user::identity::cgroup::unescaped;
/// assert_eq!(unescaped("qemu\\x2d1\\x2dweb\\x2d01"), "qemu-1-web-01");
/// assert_eq!(unescaped("a\\x2"), "a\\x2");
/// ```
pub fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.strip_prefix(b"x").and_then(|hex| hex.get(..2));
        let code = code.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let byte = code.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match byte.filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &behind[3..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str, kind: Kind) -> Option<String> {
        facts(text).into_iter().find(|(known, _)| *known == kind).map(|(_, value)| value)
    }

    #[test]
    fn version_2_is_asked_first_and_all_are_looked_at() {
        let text = "4:memory:/kubepods/burstable/pod12345678-1234-1234-1234-123456789abc/0123\n\
            1:name=systemd:/a\n0::/\n";
        assert_eq!(value(text, Kind::Cgroup).as_deref(), Some("/a"));
        assert_eq!(value(text, Kind::PodUid).as_deref(), Some("12345678-1234-1234-1234-123456789abc"));
        assert_eq!(facts("1:cpu:/\n0::/\n"), []);
        assert_eq!(value("0::/a:b\n", Kind::Cgroup).as_deref(), Some("/a:b"));
    }

    #[test]
    fn a_domain_is_the_group_above_its_parts() {
        let scope = "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope";
        for below in ["/libvirt/emulator", "/libvirt/vcpu0", "/emulator", ""] {
            assert_eq!(value(&format!("0::{scope}{below}\n"), Kind::Cgroup).as_deref(), Some(scope));
        }
        let alone = "0::/../../machine/qemu-3-a.b.libvirt-qemu/emulator\n";
        assert_eq!(value(alone, Kind::Domain).as_deref(), Some("a.b"));
        assert_eq!(value(alone, Kind::DomainId).as_deref(), Some("3"));
        assert_eq!(value("1:cpu:/machine/web.libvirt-qemu/vcpu1\n", Kind::Domain).as_deref(), Some("web"));
    }

    #[test]
    fn domains_of_users_and_embedded_drivers() {
        let of = |machine| domain(machine);
        assert_eq!(of("qemu-7-web-2"), Some(("7", "web-2")));
        assert_eq!(of("qemu-anna-maria-7-web"), Some(("7", "web")));
        assert_eq!(of("qemu-embed-12345678-7-web"), Some(("7", "web")));
        for machine in ["qemu-rhel7", "qemu-7-", "qemu--", "qemu-", "web-7-x"] {
            assert_eq!(of(machine), None, "{machine}");
        }
    }

    #[test]
    fn look_alikes_are_nothing() {
        for text in [
            "0::/qemu.slice/x.scope\n",
            "0::/user.slice/109.scope\n",
            "0::/podx\n",
            "0::/kubepods.slice/kubepods-podx.slice\n",
            "0::/firecracker/a_b\n",
            "0::/kata_overhead/x\n",
            "0::/sd-vmspawn-x-web.scope\n",
            "0::/machine-.scope\n",
        ] {
            let only = facts(text);
            assert!(only.iter().all(|(kind, _)| *kind == Kind::Cgroup), "{text}: {only:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text(text in "(.|\n|/|:|machine-|kubepods|\\\\x|.scope|pod){0,60}") {
            let found = facts(&text);
            let kinds: std::collections::BTreeSet<_> = found.iter().map(|(kind, _)| kind).collect();
            prop_assert_eq!(kinds.len(), found.len());
            prop_assert!(found.iter().all(|(kind, _)| kind.rank(crate::identity::Source::Cgroup).is_some()));
            let _ = part(&text);
        }

        #[test]
        fn what_systemd_escapes_is_found(name in "[a-z0-9-]{1,20}") {
            let escaped: String =
                name.chars().map(|c| if c == '-' { "\\x2d".to_owned() } else { c.to_string() }).collect();
            prop_assert_eq!(unescaped(&escaped), name);
        }
    }
}
