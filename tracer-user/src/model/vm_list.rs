//! VMs as typed on the command line: one option's value.

use std::str::FromStr;

use crate::{
    identity::{
        Match, Selector,
        select::BadSelector,
        text::{bounded_name, split_at_commas},
    },
    model::Known,
};

/// The value of one option: names, facts and globs with commas between them; see [`Selector`].
///
/// Names may contain commas and brackets. A doubled comma stands for one, as on QEMU's command line. VMs that
/// exist win: if the whole text is a VM's name, only that is meant; if a glob is a VM's name, that glob means
/// nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmList {
    typed: String,
    wanted: Vec<VmPattern>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmPattern {
    selector: Selector,
    /// There is a VM that it fits as it was typed: no other is meant.
    exact: bool,
}

impl VmPattern {
    /// Whether a VM is meant.
    pub fn matches(&self, vm: &Known) -> bool {
        match vm.matches(&self.selector) {
            Match::No => false,
            Match::Pattern => !self.exact,
            Match::Exact => true,
        }
    }

    /// As it was typed.
    pub fn typed(&self) -> &str {
        self.selector.typed()
    }
}

impl VmList {
    /// Whether a VM is meant, given the VMs noticed so far; see [`VmList::notice`].
    pub fn matches(&self, vm: &Known) -> bool {
        self.wanted.iter().any(|wanted| wanted.matches(vm))
    }

    /// What it consists of.
    pub fn patterns(&self) -> &[VmPattern] {
        &self.wanted
    }

    /// Notes that this VM exists.
    ///
    /// ```
    /// # use tracer_user::model::{Known, VmList};
    /// let (one, ten) = (Known::name("win1"), Known::name("win[10]"));
    /// let mut wanted: VmList = "win[10]".parse().unwrap();
    /// assert!(wanted.matches(&one) && wanted.matches(&ten));
    /// wanted.notice(&ten);
    /// assert!(!wanted.matches(&one) && wanted.matches(&ten));
    ///
    /// let (bar, both) = (Known::name("bar=2"), Known::name("foo=1,bar=2"));
    /// let mut wanted: VmList = "foo=1,bar=2".parse().unwrap();
    /// assert!(wanted.matches(&bar));
    /// wanted.notice(&both);
    /// assert!(wanted.matches(&both) && !wanted.matches(&bar));
    ///
    /// let wanted: VmList = "foo=1,,bar=2,web*".parse().unwrap();
    /// assert!(wanted.matches(&both) && wanted.matches(&Known::name("web01")) && !wanted.matches(&bar));
    /// ```
    pub fn notice(&mut self, vm: &Known) {
        if self.wanted.len() > 1 && vm.is_called(&self.typed) {
            self.wanted = vec![VmPattern { selector: Selector::name(&self.typed), exact: true }];
        }
        for wanted in &mut self.wanted {
            wanted.exact |= vm.matches(&wanted.selector) == Match::Exact;
        }
    }
}

impl FromStr for VmList {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        let pattern = |typed: &String| {
            let selector = bounded_name(typed).parse()?;
            Ok(VmPattern { selector, exact: false })
        };
        let wanted = split_at_commas(text).iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self { typed: bounded_name(text).into_owned(), wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Kind, Source};

    #[test]
    fn a_vm_is_found_by_what_its_owner_knows() {
        let mut identity = Identity::default();
        for (kind, source, value) in [
            (Kind::Name, Source::CommandLine, "prod_web"),
            (Kind::Namespace, Source::CommandLine, "prod"),
            (Kind::Pod, Source::CommandLine, "web"),
            (Kind::Uuid, Source::CommandLine, "12c6e5a0-1111-4222-8333-444455556666"),
        ] {
            identity.offer(kind, source, value);
        }
        let vm = Known::from(identity);
        let found = |typed: &str| typed.parse::<VmList>().unwrap().matches(&vm);
        for typed in ["prod/web", "prod/*", "prod_web", "uuid:12c6", "ns:prod", "db,prod/web"] {
            assert!(found(typed), "{typed}");
        }
        for typed in ["web", "test/*", "uuid:12c7", "ns:web"] {
            assert!(!found(typed), "{typed}");
        }
        assert!("uuid:x".parse::<VmList>().is_err());
    }
}
