//! What differs between architectures: their events, KVM modules and kernel structures. One file each;
//! nothing outside of this folder asks which architecture it runs on.

pub(super) mod s390x;
pub(super) mod x86;

use tracer_ebpf::symbols;

use crate::{
    decode::Isa,
    kernel::{
        Unsupported,
        btf::Types,
        hook::{COMMON, Hook, Role},
    },
};

/// One architecture.
#[derive(Debug)]
pub struct Arch {
    /// Its name, as [`std::env::consts::ARCH`] has it.
    pub name: &'static str,
    /// Its events, beside [`COMMON`].
    pub hooks: &'static [Hook],
    /// KVM's modules below kvm.ko, as /sys/module names them.
    pub backends: &'static [&'static str],
    /// How KVM is loaded.
    pub load_hint: &'static str,
    /// KVM events that move where guests run, for hosts on which no exit is reported. The first also fires
    /// without a guest.
    pub activity: [&'static str; symbols::ACTIVITY_PROGRAMS.len()],
    /// Finds the constants of [`crate::kernel::hook::Source::Types`] for the events of KVM; the error says
    /// why raw tracepoints cannot be used. [`None`] where the kernel's types are not asked at all.
    pub offsets: Option<Offsets>,
    /// The isa of exits whose record has none, by the processor's vendor; [`None`] if it is unknown.
    pub isa: fn(vendor: &str) -> Option<Isa>,
    /// Clock sources that are read within some nanoseconds, by the kernel's names.
    pub clock_sources: &'static [&'static str],
    /// Whether KVM runs without one of the backends.
    pub backend_optional: bool,
    /// What is missing on a host without KVM.
    pub no_kvm: fn() -> Unsupported,
}

/// Constants, by the kernel's types and the backends that are loaded.
pub type Offsets = fn(&Types, &[&str]) -> Result<Vec<(i32, u32)>, String>;

/// All supported architectures.
static ALL: [&Arch; 2] = [&x86::ARCH, &s390x::ARCH];

/// The architecture that this program was built for.
///
/// # Panics
/// If the table lacks it; on such a build the table's tests fail too.
pub fn host() -> &'static Arch {
    let mut known = ALL.iter().filter(|arch| arch.name == std::env::consts::ARCH);
    known.next().expect("this architecture has a file in kernel/arch")
}

impl Arch {
    /// All events, in the order in which programs are attached. Of hooks with the same role the
    /// architecture's own come first.
    pub fn events(&self) -> Vec<&'static Hook> {
        let mut hooks: Vec<_> = self.hooks.iter().chain(&COMMON).collect();
        hooks.sort_by_key(|hook| hook.role);
        hooks
    }

    /// The name of the event of a role, without its group.
    pub fn event(&self, role: Role) -> &'static str {
        let event = self.hooks.iter().find(|hook| hook.role == role).map_or("", |hook| hook.event);
        event.rsplit(':').next().unwrap_or_default()
    }

    /// The kinds of causes that its events tell, each once.
    pub fn causes(&self) -> impl Iterator<Item = u8> {
        let mut kinds: Vec<u8> = self
            .hooks
            .iter()
            .filter_map(|hook| match hook.role {
                Role::Cause { kind, .. } => Some(kind),
                _ => None,
            })
            .collect();
        kinds.dedup();
        kinds.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tracer_ebpf::config;

    use super::*;
    use crate::kernel::hook::{How, Source};

    #[test]
    fn every_line_of_the_table_makes_sense() {
        for arch in ALL {
            let events = arch.events();
            for hook in &events {
                assert!(!hook.ways.is_empty() && !hook.tells.is_empty(), "{hook:?}");
                for way in hook.ways {
                    assert!(symbols::PROGRAMS.contains(&way.program), "{}", way.program);
                    assert_eq!(hook.event.contains(':'), way.how != How::Kprobe, "{}", hook.event);
                    for field in way.fields {
                        let reads_record = !matches!(field.source, Source::Types | Source::Flag);
                        assert!(!reads_record || way.how == How::Tp, "{}: {}", hook.event, field.name);
                        let known = config::ALL.iter().any(|(mark, _)| *mark == field.constant);
                        assert!(known || matches!(field.source, Source::At(..)), "{}", field.name);
                    }
                }
            }
            for role in [Role::Entry, Role::Exit, Role::ThreadEnd, Role::KvmRunReturn] {
                assert!(events.iter().any(|hook| hook.role == role), "{}: {role:?}", arch.name);
            }
            assert_eq!(events.last().unwrap().role, Role::Exit, "exits are attached last");
            let (exit, entry) = (arch.event(Role::Exit), arch.event(Role::Entry));
            assert!(!exit.is_empty() && !entry.is_empty() && !arch.activity.contains(&exit));
        }
    }

    #[test]
    fn no_program_serves_two_different_events() {
        for arch in ALL {
            let mut seen = HashSet::new();
            for hook in arch.events().into_iter().filter(|hook| hook.role != Role::NestedEntry) {
                assert!(hook.ways.iter().all(|way| seen.insert(way.program)), "{}", hook.event);
            }
        }
    }
}
