//! `workload`: virtual machines that make an exactly known number of VM exits. See [`exitlat_tests::vmm`].

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    exitlat_tests::vmm::cli::main()
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    eprintln!("workload: its guests are x86-64's; on s390x there is `sie-workload`");
    ExitCode::FAILURE
}
