//! The facts known about one VM, each with its source.

use std::{borrow::Cow, collections::BTreeMap};

use crate::identity::{
    fact::{Kind, Source},
    text::{bounded, bounded_name},
};

/// What a parser found.
pub type Facts = Vec<(Kind, String)>;

/// A fact, and who told it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fact {
    /// The value, bounded, not escaped.
    pub value: String,
    /// Where it was found.
    pub source: Source,
}

/// What is known about one VM.
///
/// ```
/// # use tracer_user::identity::{Identity, Kind, Source};
/// let mut web = Identity::default();
/// web.offer(Kind::Name, Source::Comm, "qemu-system-x86");
/// web.offer(Kind::Name, Source::CommandLine, "instance-0000001a");
/// web.offer(Kind::Name, Source::StatusXml, "web01");
/// assert_eq!(web.name(), "web01");
/// assert_eq!(web.get(Kind::Name).unwrap().source, Source::StatusXml);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    facts: BTreeMap<Kind, Fact>,
}

impl Identity {
    /// Takes a fact, unless a better source told it already. An empty one is none, nor is one that the source
    /// cannot know.
    pub fn offer(&mut self, kind: Kind, source: Source, value: &str) {
        let Some(rank) = kind.rank(source).filter(|_| !value.is_empty()) else { return };
        let held = self.facts.get(&kind).and_then(|fact| kind.rank(fact.source));
        if held.is_none_or(|held| rank < held) {
            let value = bounded(value, kind.info().max_chars).into_owned();
            self.facts.insert(kind, Fact { value, source });
        }
    }

    /// Takes what a parser found.
    pub fn take(&mut self, source: Source, facts: &Facts) {
        facts.iter().for_each(|(kind, value)| self.offer(*kind, source, value));
    }

    /// A fact.
    pub fn get(&self, kind: Kind) -> Option<&Fact> {
        self.facts.get(&kind)
    }

    /// The value of a fact.
    pub fn value(&self, kind: Kind) -> Option<&str> {
        self.get(kind).map(|fact| fact.value.as_str())
    }

    /// All facts, in the order of [`crate::identity::fact::KINDS`].
    pub fn facts(&self) -> impl Iterator<Item = (Kind, &Fact)> {
        self.facts.iter().map(|(kind, fact)| (*kind, fact))
    }

    /// The name to display, one rule for all: `NAMESPACE/VMI` of KubeVirt, since a VMI's name is unique in
    /// its namespace only; else the owner's name; else the domain, the id, the machine, the VMID; else the
    /// name of the process. Empty if nothing is known.
    pub fn name(&self) -> Cow<'_, str> {
        if let (Some(namespace), Some(pod)) = (self.value(Kind::Namespace), self.value(Kind::Pod)) {
            return Cow::Owned(bounded_name(&format!("{namespace}/{pod}")).into_owned());
        }
        let name = self.get(Kind::Name);
        let given = name.filter(|name| name.source != Source::Comm).map(|name| name.value.as_str());
        let others = [Kind::Domain, Kind::Id, Kind::Machine, Kind::Vmid];
        let known = given.or_else(|| others.into_iter().find_map(|kind| self.value(kind)));
        Cow::Borrowed(known.or_else(|| name.map(|name| name.value.as_str())).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(facts: &[(Kind, Source, &str)]) -> Identity {
        let mut identity = Identity::default();
        facts.iter().for_each(|(kind, source, value)| identity.offer(*kind, *source, value));
        identity
    }

    #[test]
    fn the_better_source_wins_in_any_order() {
        let facts = [
            (Kind::Domain, Source::Cgroup, "db0"),
            (Kind::Domain, Source::StatusXml, "db,0"),
            (Kind::Domain, Source::CommandLine, "db,0"),
        ];
        for turn in 0..3 {
            let mut facts = facts;
            facts.rotate_left(turn);
            let domain = of(&facts).get(Kind::Domain).unwrap().clone();
            assert_eq!((domain.value.as_str(), domain.source), ("db,0", Source::StatusXml));
        }
    }

    #[test]
    fn a_source_tells_only_what_it_can_know() {
        let identity = of(&[(Kind::PodUid, Source::CommandLine, "x"), (Kind::Name, Source::CommandLine, "")]);
        assert_eq!(identity, Identity::default());
        assert_eq!(identity.name(), "");
    }

    #[test]
    fn names_to_display() {
        let comm = (Kind::Name, Source::Comm, "firecracker");
        let id = (Kind::Id, Source::CommandLine, "fc-7");
        let name = (Kind::Name, Source::CommandLine, "default_web");
        let ns = (Kind::Namespace, Source::CommandLine, "default");
        let pod = (Kind::Pod, Source::CommandLine, "web");
        assert_eq!(of(&[comm]).name(), "firecracker");
        assert_eq!(of(&[comm, id]).name(), "fc-7");
        assert_eq!(of(&[comm, id, name]).name(), "default_web");
        assert_eq!(of(&[comm, id, name, ns, pod]).name(), "default/web");
        assert_eq!(of(&[comm, id, name, ns]).name(), "default_web");
    }

    #[test]
    fn values_are_bounded() {
        let long = "n".repeat(5000);
        let identity = of(&[
            (Kind::Namespace, Source::CommandLine, &long),
            (Kind::Pod, Source::CommandLine, &long),
            (Kind::Cgroup, Source::Cgroup, &long),
        ]);
        assert_eq!(identity.name().chars().count(), 256);
        assert_eq!(identity.value(Kind::Cgroup).unwrap().chars().count(), 1024);
    }
}
