//! Choosing VMs by what is known about them, as typed on the command line.

use std::str::FromStr;

use glob::Pattern;
use thiserror::Error;

use crate::identity::{fact::Kind, known::Identity};

/// Hexadecimal digits of a UUID that are enough to choose by.
const UUID_DIGITS: usize = 4;

/// What was typed to choose VMs:
///
/// | typed | chooses |
/// |---|---|
/// | `web01`, `web*` | by the displayed name, the owner's name, or libvirt's domain |
/// | `ns/pod`, `prod/*` | KubeVirt's VMIs of a namespace |
/// | `uuid:12c6` | by UUID, or by its beginning of four digits or more |
/// | `id:fc-7`, `vmid:109`, `domain:db`, ... | by a fact, whose prefix is in [`crate::identity::fact::KINDS`] |
///
/// All take globs. A text that is exactly a VM's name means that VM and no other.
///
/// ```
/// # use tracer_user::identity::{Identity, Kind, Match, Selector, Source};
/// let mut vm = Identity::default();
/// vm.offer(Kind::Name, Source::CommandLine, "web01");
/// vm.offer(Kind::Vmid, Source::Cgroup, "109");
/// let matches = |text: &str| vm.matches(&text.parse::<Selector>().unwrap());
/// assert_eq!(matches("web01"), Match::Exact);
/// assert_eq!(matches("vmid:109"), Match::Exact);
/// assert_eq!(matches("web*"), Match::Pattern);
/// assert_eq!(matches("vmid:1"), Match::No);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    typed: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Name(Text),
    Fact(Kind, Text),
    Pod(Text, Text),
    /// The first digits of a UUID, without hyphens.
    Uuid(String),
}

/// A text or a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    typed: String,
    pattern: Option<Pattern>,
}

/// How well a selector fits a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// Not at all.
    No,
    /// As a glob, or as the beginning of a UUID.
    Pattern,
    /// As it was typed.
    Exact,
}

/// A selector that can mean nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadSelector {
    /// The beginning of a UUID is too short.
    #[error("{0}: a UUID needs {UUID_DIGITS} digits or more; for a name that looks so, say name:{0}")]
    ShortUuid(String),
    /// It is no UUID.
    #[error("{0}: a UUID has hexadecimal digits and hyphens; for a name that looks so, say name:{0}")]
    NoUuid(String),
}

impl Text {
    fn new(typed: &str) -> Self {
        let is_glob = typed.contains(['*', '?', '[']);
        Self { typed: typed.to_owned(), pattern: is_glob.then(|| Pattern::new(typed).ok()).flatten() }
    }

    fn matches(&self, value: Option<&str>) -> Match {
        match value {
            Some(value) if value == self.typed => Match::Exact,
            Some(value) if self.pattern.as_ref().is_some_and(|pattern| pattern.matches(value)) => {
                Match::Pattern
            }
            _ => Match::No,
        }
    }
}

impl Selector {
    /// This name, whatever it looks like.
    pub fn name(name: &str) -> Self {
        Self { typed: name.to_owned(), wanted: Wanted::Name(Text { typed: name.to_owned(), pattern: None }) }
    }

    /// As it was typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(typed: &str) -> Result<Self, BadSelector> {
        let fact = typed.split_once(':').and_then(|(prefix, value)| Some((Kind::of_prefix(prefix)?, value)));
        let wanted = match fact {
            Some((Kind::Name, value)) => Wanted::Name(Text::new(value)),
            Some((Kind::Uuid, value)) if !value.contains(['*', '?', '[']) => {
                Wanted::Uuid(digits(typed, value)?)
            }
            Some((Kind::Uuid, value)) => Wanted::Fact(Kind::Uuid, Text::new(&value.to_ascii_lowercase())),
            Some((kind, value)) => Wanted::Fact(kind, Text::new(value)),
            None => match typed.split_once('/') {
                Some((namespace, pod)) => Wanted::Pod(Text::new(namespace), Text::new(pod)),
                None => Wanted::Name(Text::new(typed)),
            },
        };
        Ok(Self { typed: typed.to_owned(), wanted })
    }
}

/// The digits of a UUID, or of its beginning.
fn digits(typed: &str, value: &str) -> Result<String, BadSelector> {
    let digits = value.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) || digits.len() > 32 {
        return Err(BadSelector::NoUuid(typed.to_owned()));
    }
    if digits.len() < UUID_DIGITS {
        return Err(BadSelector::ShortUuid(typed.to_owned()));
    }
    Ok(digits)
}

impl Identity {
    /// Whether this is a name of the VM.
    pub fn is_called(&self, name: &str) -> bool {
        self.matches(&Selector::name(name)) == Match::Exact
    }

    /// How well a selector fits this VM, whatever other VMs there are.
    pub fn matches(&self, selector: &Selector) -> Match {
        let by_name = |text: &Text| {
            let shown = text.matches(Some(&self.name()));
            shown.max(text.matches(self.value(Kind::Name))).max(text.matches(self.value(Kind::Domain)))
        };
        let meant = match &selector.wanted {
            Wanted::Name(text) => by_name(text),
            Wanted::Fact(kind, text) => text.matches(self.value(*kind)),
            Wanted::Pod(namespace, pod) => {
                let namespace = namespace.matches(self.value(Kind::Namespace));
                namespace.min(pod.matches(self.value(Kind::Pod)))
            }
            Wanted::Uuid(digits) => {
                let own: String = self.value(Kind::Uuid).unwrap_or_default().replace('-', "");
                match own.strip_prefix(digits.as_str()) {
                    Some("") => Match::Exact,
                    Some(_) => Match::Pattern,
                    None => Match::No,
                }
            }
        };
        // A tenant may call a VM `id:7` or `a/b`. It does not hide the VM that has this fact.
        let as_typed = by_name(&Text { typed: selector.typed.clone(), pattern: None });
        let by_fact = !matches!(selector.wanted, Wanted::Name(_));
        meant.max(if by_fact { as_typed.min(Match::Pattern) } else { as_typed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Source;

    fn vm(facts: &[(Kind, &str)]) -> Identity {
        let mut vm = Identity::default();
        for (kind, value) in facts {
            let source = kind.info().sources[0];
            vm.offer(*kind, source, value);
        }
        vm
    }

    /// The places of those that fit best.
    fn chosen(typed: &str, vms: &[Identity]) -> Vec<usize> {
        let selector = typed.parse().unwrap();
        let fits: Vec<_> = vms.iter().map(|vm| vm.matches(&selector)).collect();
        let best = fits.iter().copied().max().unwrap_or(Match::No);
        (0..vms.len()).filter(|at| fits[*at] == best && best != Match::No).collect()
    }

    fn fleet() -> Vec<Identity> {
        vec![
            vm(&[(Kind::Name, "web1"), (Kind::Uuid, "12c6e5a0-1111-4222-8333-444455556666")]),
            vm(&[(Kind::Name, "web[1]"), (Kind::Uuid, "12c6e5a0-2222-4222-8333-444455556666")]),
            vm(&[(Kind::Name, "d_w"), (Kind::Domain, "d_w"), (Kind::Namespace, "d"), (Kind::Pod, "w")]),
            vm(&[(Kind::Id, "fc-7")]),
            vm(&[(Kind::Name, "id:fc-7")]),
            vm(&[(Kind::Name, "a/b"), (Kind::Vmid, "109")]),
        ]
    }

    #[test]
    fn an_exact_name_beats_a_pattern() {
        let vms = fleet();
        assert_eq!(chosen("web[1]", &vms), [1]);
        assert_eq!(chosen("web[1]", &vms[..1]), [0]);
        assert_eq!(chosen("web*", &vms), [0, 1]);
        assert!(chosen("nobody", &vms).is_empty());
    }

    #[test]
    fn facts_are_chosen_by_their_prefixes() {
        let vms = fleet();
        assert_eq!(chosen("d/w", &vms), [2]);
        assert_eq!(chosen("d/*", &vms), [2]);
        assert_eq!(chosen("d_w", &vms), [2]);
        assert_eq!(chosen("ns:d", &vms), [2]);
        assert_eq!(chosen("domain:d_*", &vms), [2]);
        assert_eq!(chosen("fc-7", &vms), [3]);
        assert_eq!(chosen("vmid:109", &vms), [5]);
        assert_eq!(chosen("vmid:10?", &vms), [5]);
        // What a tenant calls so fits too, but does not hide the VM with that id.
        assert_eq!(chosen("id:fc-7", &vms), [3]);
        assert_eq!(vms[4].matches(&"id:fc-7".parse().unwrap()), Match::Pattern);
        assert_eq!(chosen("name:id:fc-7", &vms), [4]);
        assert_eq!(chosen("a/b", &vms), [5]);
        assert!(chosen("", &vms).is_empty());
    }

    #[test]
    fn a_uuid_may_be_typed_in_part() {
        let vms = fleet();
        assert_eq!(chosen("uuid:12C6E5A0-1", &vms), [0]);
        assert_eq!(chosen("uuid:12c6e5a0111142228333444455556666", &vms), [0]);
        assert_eq!(chosen("uuid:12c6*", &vms), [0, 1]);
        assert_eq!(chosen("uuid:12c6", &vms), [0, 1]);
        assert_eq!("uuid:12c".parse::<Selector>(), Err(BadSelector::ShortUuid("uuid:12c".into())));
        assert_eq!("uuid:web1".parse::<Selector>(), Err(BadSelector::NoUuid("uuid:web1".into())));
    }

    #[test]
    fn the_name_of_a_process_chooses() {
        let mut vm = Identity::default();
        vm.offer(Kind::Name, Source::Comm, "qemu-system-x86");
        vm.offer(Kind::Machine, Source::Cgroup, "build");
        assert_eq!(vm.matches(&"qemu*".parse().unwrap()), Match::Pattern);
        assert_eq!(vm.matches(&"build".parse().unwrap()), Match::Exact);
    }
}
