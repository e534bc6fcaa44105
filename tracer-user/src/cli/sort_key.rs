//! Sort keys on the command line.

use clap::{ValueEnum, builder::PossibleValue};

use crate::model::columns::{SORT_KEYS, SortKey};

static ALL: std::sync::LazyLock<Vec<SortKey>> =
    std::sync::LazyLock::new(|| SORT_KEYS.iter().map(|info| info.key).collect());

impl ValueEnum for SortKey {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let info = SORT_KEYS.iter().find(|info| info.key == *self)?;
        Some(PossibleValue::new(info.name).aliases(info.aliases.iter().copied()).help(info.meaning))
    }
}
