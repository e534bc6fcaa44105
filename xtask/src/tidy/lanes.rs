//! The lab's lanes in CI are the kernels and special runs of `tests/kernels.toml`.

use std::collections::BTreeSet;

use crate::matrix::Matrix;
use lab::target::Arch;

/// The workflow.
pub const CI: &str = ".github/workflows/ci.yml";

/// Complains of kernels and runs without a lane, and of lanes without a kernel or run.
pub fn check(workflow: &str, matrix: &Matrix) -> Vec<String> {
    let lanes: BTreeSet<String> = workflow
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .filter(|lane| lane.starts_with("--kernel ") || lane.starts_with("--run "))
        .map(str::to_owned)
        .collect();
    let kernels = matrix.usual(Arch::X86_64).map(|kernel| format!("--kernel {}", kernel.name));
    let runs = matrix.runs.iter().map(|run| format!("--run {}", run.name));
    let wanted: BTreeSet<String> = kernels.chain(runs).collect();
    let missing = wanted.difference(&lanes).map(|lane| format!("{CI} has no lane `{lane}`"));
    let stray = lanes.difference(&wanted).map(|lane| format!("{CI}: tests/kernels.toml knows no `{lane}`"));
    missing.chain(stray).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_are_missing_or_stray_are_named() {
        let matrix = Matrix::load().unwrap();
        let workflow = std::fs::read_to_string(crate::paths::root().join(CI)).unwrap();
        assert_eq!(check(&workflow, &matrix), Vec::<String>::new());
        let told = check(&workflow.replace("- --kernel 5.10", "- --kernel 2.6"), &matrix).join("\n");
        assert!(
            told.contains("no lane `--kernel 5.10`") && told.contains("knows no `--kernel 2.6`"),
            "{told}"
        );
        let told = check(&workflow.replace("- --run intel\n", "\n"), &matrix);
        assert_eq!(told, [format!("{CI} has no lane `--run intel`")]);
    }
}
