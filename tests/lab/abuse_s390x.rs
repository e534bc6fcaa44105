//! On s390x a guest alone chooses the codes of its DIAG, SIGP and program interruptions. It may not take
//! places from another guest, which starts when the sweep is over.

use std::{fs, process::Command};

use serde_json::Value;

use crate::guest::{Background, Live, Running, Table, demand_exact, scratch, wait_until, workload_path};

/// Most causes that are shown for one vCPU and reason.
const MOST_CAUSES: usize = 65;

/// A guest that has done its steps, and whose vCPUs' threads still exist.
struct Held {
    process: Running,
    hold: std::path::PathBuf,
}

impl Held {
    fn start(steps: &str) -> Self {
        let hold = scratch("hold");
        let mut command = Command::new(workload_path());
        command.arg("--hold").arg(&hold).args(steps.split_whitespace());
        let process = Running::start(command.stdout(std::process::Stdio::null()));
        let done = hold.with_added_extension("done");
        wait_until("the sweep is over", || done.exists());
        Self { process, hold }
    }

    fn end(mut self) {
        fs::write(&self.hold, "").unwrap();
        assert!(self.process.0.wait().unwrap().success());
    }
}

fn samples(cause: &Value) -> u64 {
    cause["samples"].as_u64().unwrap()
}

fn sweep(steps: &str, reason: &str, exits: u64) {
    let live = Live::start("-d 600 --by vcpu,reason");
    let attacker = Held::start(steps);
    let pid = u64::from(attacker.process.0.id());
    let neighbour =
        Background::start("--vcpus 2 diag44=40 diag500=6 sigp3=14 stidp=100 ssm=17 prog5=18 prog6=19");
    neighbour.go();
    let vcpus = neighbour.finish("s390");
    let (status, blocks) = live.stop(libc::SIGINT);
    assert_eq!(status, 0);
    attacker.end();

    let table = Table::last(&blocks);
    let of = |pid: u64| {
        let mut own = table.clone();
        own.0["rows"] = table.rows().iter().filter(|row| row["pid"] == pid).cloned().collect();
        own.0["losses"] = Value::Null;
        own
    };
    let own = of(vcpus[0].pid);
    demand_exact(&own, &vcpus, "s390");
    for vcpu in &vcpus {
        for (reason, expected) in vcpu.raw["causes"].as_object().unwrap() {
            let row =
                own.rows().iter().find(|row| row["tid"] == vcpu.tid && row["reason"] == reason.as_str());
            let causes = row.unwrap()["causes"].as_array().into_iter().flatten();
            let found: Value = causes
                .map(|cause| (cause["cause"].as_str().unwrap().to_owned(), cause["samples"].clone()))
                .collect();
            assert_eq!(&found, expected, "vCPU {}: {reason}", vcpu.id);
        }
    }

    let attacked = of(pid);
    let row = attacked.rows().iter().find(|row| row["reason"] == reason).expect("the reason is KVM's own");
    assert_eq!(samples(row), exits, "each exit has its reason");
    let causes = row["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(causes.len() <= MOST_CAUSES, "{} causes", causes.len());
    assert_eq!(causes.iter().map(samples).sum::<u64>(), exits);
    assert!(causes.iter().all(|cause| cause["cause"] != "none"), "each exit has a cause, be it `other`");
}

#[test]
fn s390x_abuse_a_sweep_of_diag_codes_fills_no_table() {
    sweep("diagsweep=5000", "Instruction", 5000);
}

/// As many SIGP orders as there are: too few to fill the table, but too many for one vCPU.
#[test]
fn s390x_abuse_a_sweep_of_sigp_orders_fills_no_table() {
    sweep("sigpsweep=200", "Instruction", 200);
}

#[test]
fn s390x_abuse_a_sweep_of_program_interruptions_fills_no_table() {
    sweep("progsweep=5000", "Program interruption", 5000);
}
