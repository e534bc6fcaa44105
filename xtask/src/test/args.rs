//! What can be typed after `cargo xtask test`.

use clap::Args;

use super::Tier;

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Tiers to run [default: all].
    #[arg(value_enum)]
    pub tiers: Vec<Tier>,
    /// Boot only that kernel, without the special runs.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Only the special lab run of that name (see tests/kernels.toml).
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    pub run: Option<String>,
    /// Only tests whose names contain one of these.
    #[arg(last = true)]
    pub filter: Vec<String>,
}
