//! What a guest does, and how many exits of which kind that makes.

use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

/// Nested page faults of a starting vCPU: PML4, PDPT, page directory and code page, each alone on its page.
pub const STARTUP_FAULTS: u64 = 4;

/// The kinds of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CPUID, handled in the kernel.
    Cpuid,
    /// RDMSR, handled in the kernel.
    Msr,
    /// WRMSR, handled in the kernel.
    Wrmsr,
    /// OUT to a port, handled by the VMM.
    Io,
    /// A load from an address without memory, handled by the VMM.
    Mmio,
    /// HLT without an in-kernel interrupt controller: an exit to the VMM.
    Hlt,
    /// HLT with an in-kernel interrupt controller: the vCPU sleeps in the kernel until its timer fires.
    Khlt,
    /// A nested guest, entered and left once, by SVM.
    Vmrun,
    /// MOV from CR4, then MOV to CR4 that changes a bit of the host's.
    Cr,
    /// Computing, without exits of its own.
    Spin,
}

/// The names of the kinds on the command line.
const NAMES: [(&str, Kind); 10] = [
    ("cpuid", Kind::Cpuid),
    ("msr", Kind::Msr),
    ("wrmsr", Kind::Wrmsr),
    ("io", Kind::Io),
    ("mmio", Kind::Mmio),
    ("hlt", Kind::Hlt),
    ("khlt", Kind::Khlt),
    ("vmrun", Kind::Vmrun),
    ("cr", Kind::Cr),
    ("spin", Kind::Spin),
];

/// One step: a kind and how often it is done (for [`Kind::Spin`]: for how many microseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The kind of the step.
    pub kind: Kind,
    /// How often, or for how many microseconds.
    pub amount: u64,
}

impl FromStr for Step {
    type Err = anyhow::Error;

    /// Parses `KIND=N`, for instance `cpuid=1000`.
    fn from_str(text: &str) -> Result<Self> {
        let names = || NAMES.map(|(name, _)| name).join(", ");
        let Some((name, amount)) = text.split_once('=') else {
            bail!("a step is written KIND=N, with KIND one of {}", names());
        };
        let Some(&(_, kind)) = NAMES.iter().find(|(known, _)| *known == name) else {
            bail!("no step is called {name:?}; there are {}", names());
        };
        let amount = amount.parse().with_context(|| format!("{amount:?} is not a number"))?;
        Ok(Self { kind, amount })
    }
}

/// The steps of every vCPU and how often the list is run through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    rounds: u64,
    triple_fault: bool,
}

impl Plan {
    /// A plan that runs `steps` in order, `rounds` times.
    ///
    /// # Errors
    /// If there is nothing to do, or if the steps contradict each other.
    pub fn new(steps: Vec<Step>, rounds: u64) -> Result<Self> {
        ensure!(!steps.is_empty(), "no steps given");
        ensure!(rounds > 0, "at least one round is needed");
        let plan = Self { steps, rounds, triple_fault: false };
        ensure!(
            !(plan.uses(Kind::Hlt) && plan.uses(Kind::Khlt)),
            "hlt and khlt exclude each other: one needs a VM without, the other with in-kernel interrupt controller"
        );
        Ok(plan)
    }

    /// Whether the guest ends in a triple fault in place of the "done" write.
    #[must_use]
    pub fn with_triple_fault(self, triple_fault: bool) -> Self {
        Self { triple_fault, ..self }
    }

    /// Whether the guest ends in a triple fault.
    pub fn triple_fault(&self) -> bool {
        self.triple_fault
    }

    /// The steps of one round.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How often the steps are run through.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Whether any step is of this kind and does something.
    pub fn uses(&self, kind: Kind) -> bool {
        self.steps.iter().any(|step| step.kind == kind && step.amount > 0)
    }

    /// The exits one vCPU makes in `rounds` rounds and at their end. `handlers_writes` counts the MSR writes
    /// of its timer's handler.
    pub fn exits(&self, rounds: u64, handlers_writes: u64) -> Exits {
        let mut exits = Exits::default();
        for step in &self.steps {
            let n = step.amount.saturating_mul(rounds);
            match step.kind {
                Kind::Cpuid => exits.cpuid += n,
                Kind::Msr => exits.msr += n,
                Kind::Wrmsr => exits.wrmsr += n,
                Kind::Io => exits.io += n,
                Kind::Mmio => exits.mmio += n,
                Kind::Hlt => exits.hlt += n,
                Kind::Khlt => {
                    exits.khlt += n;
                    exits.wrmsr += n;
                }
                Kind::Vmrun => {
                    exits.vmrun += n;
                    exits.cpuid += n;
                    exits.wrmsr += if n == 0 { 0 } else { rounds };
                }
                Kind::Cr => exits.cr += n,
                Kind::Spin => {}
            }
        }
        exits.io += u64::from(!self.triple_fault);
        exits.wrmsr += handlers_writes;
        exits
    }
}

/// Exits by what the guest did; start-up page faults and host interrupts are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// CPUID instructions, those of a nested guest included.
    pub cpuid: u64,
    /// MSRs read.
    pub msr: u64,
    /// MSRs written, the timer and EOI writes of `khlt` and the one of `vmrun` included.
    pub wrmsr: u64,
    /// Port writes, the "done" write included.
    pub io: u64,
    /// Loads from the address without memory.
    pub mmio: u64,
    /// Halts that go to the VMM.
    pub hlt: u64,
    /// Halts that sleep in the kernel.
    pub khlt: u64,
    /// Nested guests entered, each of which ends in a VMMCALL.
    pub vmrun: u64,
    /// Writes of CR4, each with a read before it.
    pub cr: u64,
}

impl Exits {
    /// How many of these exits go to the VMM.
    pub fn to_vmm(&self) -> u64 {
        self.io + self.mmio + self.hlt
    }

    /// The number of exits by SVM exit code, with the kernel's names for the codes.
    pub fn svm(&self) -> [(u32, &'static str, u64); 9] {
        [
            (0x72, "cpuid", self.cpuid),
            (0x78, "hlt", self.hlt + self.khlt),
            (0x7b, "io", self.io),
            (0x7c, "msr", self.msr + self.wrmsr),
            (0x80, "vmrun", self.vmrun),
            (0x81, "hypercall", self.vmrun),
            (0x400, "npf", self.mmio + STARTUP_FAULTS),
            (0x04, "read_cr4", self.cr),
            (0x14, "write_cr4", self.cr),
        ]
    }

    /// The number of exits by VMX exit reason (EPT in use), with the kernel's names for the reasons.
    pub fn vmx(&self) -> [(u32, &'static str, u64); 8] {
        let first_touch = u64::from(self.mmio > 0);
        [
            (10, "CPUID", self.cpuid),
            (12, "HLT", self.hlt + self.khlt),
            (30, "IO_INSTRUCTION", self.io),
            (31, "MSR_READ", self.msr),
            (32, "MSR_WRITE", self.wrmsr),
            (48, "EPT_VIOLATION", STARTUP_FAULTS + first_touch),
            (49, "EPT_MISCONFIG", self.mmio - first_touch),
            // Reads give the guest its own view of CR4 without an exit.
            (28, "CR_ACCESS", self.cr),
        ]
    }

    /// The counts by step as JSON.
    pub fn json(&self) -> Value {
        json!({
            "cpuid": self.cpuid, "msr": self.msr, "wrmsr": self.wrmsr, "io": self.io, "mmio": self.mmio,
            "hlt": self.hlt, "khlt": self.khlt, "vmrun": self.vmrun, "cr": self.cr,
        })
    }
}

/// Counts by exit code, as [`Exits::svm`] and [`Exits::vmx`] give them, as a JSON object from name to count;
/// codes that do not occur are left out.
pub fn by_code_json(counts: &[(u32, &'static str, u64)]) -> Value {
    let used = counts.iter().filter(|(_, _, count)| *count > 0);
    Value::Object(used.map(|(_, name, count)| ((*name).to_owned(), json!(count))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: &[&str]) -> Result<Plan> {
        Plan::new(steps.iter().map(|step| step.parse()).collect::<Result<_>>()?, 1)
    }

    #[test]
    fn steps_are_parsed() {
        assert_eq!("cpuid=12".parse::<Step>().unwrap(), Step { kind: Kind::Cpuid, amount: 12 });
        assert_eq!("spin=0".parse::<Step>().unwrap(), Step { kind: Kind::Spin, amount: 0 });
    }

    #[test]
    fn bad_steps_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Step>().unwrap_err().to_string();
        assert!(error("cpuid").contains("KIND=N"));
        assert!(error("vmcall=1").contains("\"vmcall\"") && error("vmcall=1").contains("khlt"));
        assert!(error("io=many").contains("\"many\" is not a number"));
        assert!(error("io=-1").contains("not a number"));
    }

    #[test]
    fn contradicting_and_empty_plans_are_refused() {
        assert!(plan(&[]).is_err());
        assert!(plan(&["hlt=1", "khlt=1"]).is_err());
        assert!(plan(&["hlt=0", "khlt=1"]).is_ok());
        assert!(Plan::new(vec![Step { kind: Kind::Io, amount: 1 }], 0).is_err());
    }

    #[test]
    fn equal_steps_add_up_and_rounds_multiply_all_but_the_end() {
        let plan = plan(&["cpuid=5", "io=3", "cpuid=2", "spin=9"]).unwrap();
        let once = plan.exits(1, 0);
        assert_eq!((once.cpuid, once.io, once.to_vmm()), (7, 4, 4));
        let thrice = plan.exits(3, 0);
        assert_eq!((thrice.cpuid, thrice.io), (21, 10));
    }

    #[test]
    fn a_guest_in_the_guest_makes_exits_of_both() {
        let exits = plan(&["vmrun=5", "cpuid=1"]).unwrap().exits(2, 0);
        assert_eq!((exits.vmrun, exits.cpuid, exits.wrmsr, exits.to_vmm()), (10, 12, 2, 1));
        assert_eq!(plan(&["vmrun=0", "cpuid=1"]).unwrap().exits(2, 0).wrmsr, 0);
    }

    #[test]
    fn control_registers_are_read_and_written() {
        let exits = plan(&["cr=6"]).unwrap().exits(2, 0);
        assert!(
            exits.svm().contains(&(0x04, "read_cr4", 12)) && exits.svm().contains(&(0x14, "write_cr4", 12))
        );
        assert!(exits.vmx().contains(&(28, "CR_ACCESS", 12)), "a read does not exit");
        assert_eq!(exits.to_vmm(), 1);
    }

    #[test]
    fn exit_codes_of_both_vendors() {
        let exits = plan(&["msr=2", "wrmsr=3", "mmio=10", "khlt=4"]).unwrap().exits(1, 4);
        assert_eq!(exits.svm().map(|(_, _, n)| n), [0, 4, 1, 13, 0, 0, 14, 0, 0]);
        assert_eq!(exits.vmx().map(|(_, _, n)| n), [0, 4, 1, 2, 11, 5, 9, 0]);
        assert_eq!(exits.to_vmm(), 11);
        let without_mmio = plan(&["cpuid=1"]).unwrap().exits(1, 0);
        assert_eq!(
            by_code_json(&without_mmio.vmx()).to_string(),
            r#"{"CPUID":1,"EPT_VIOLATION":4,"IO_INSTRUCTION":1}"#
        );
    }
}
