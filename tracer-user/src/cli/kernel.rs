//! The words of the command line for what the kernel side is asked.

use clap::{ValueEnum, builder::PossibleValue};

use crate::kernel::{
    arch,
    plan::{Attach, Causes},
};

impl ValueEnum for Attach {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Raw, Self::Tp]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Auto => ("auto", "Raw where this kernel's types allow, else tp"),
            Self::Raw => ("raw", "Raw tracepoints: half the cost, need the kernel's BTF"),
            Self::Tp => ("tp", "Tracepoints: every kernel has them"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// The kinds of causes that the events of this architecture tell.
pub(super) fn causes(list: &str) -> Result<Causes, String> {
    Causes::parse(list, arch::host())
}
