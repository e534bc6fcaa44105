//! Whether host interrupts count as guest time or as exit time. A vCPU thread's timer interrupt is made to
//! take a known minimum time.

use aya::{Ebpf, maps::Array, programs::RawTracePoint};
use serde_json::Value;
use tracer_ebpf::symbols::burn::{BURNT, MAP, PROGRAMS, TID};

use crate::{
    guest::{
        Background, demand_exact, exitlat, has_module_btf, json_lines, record, record_while, report, succeed,
    },
    parts::{demand_sums, ns, vm},
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/exitlat-burn-bpf"));

/// Computes in the guest, with an exit between.
const WORKLOAD: &str = "--rounds 20 spin=50000 cpuid=1";

/// The programs that make the timer's interrupts of one thread long.
struct Burner(Ebpf);

impl Burner {
    fn start(tid: u64) -> Self {
        let mut ebpf = Ebpf::load(OBJECT).unwrap();
        let mut numbers: Array<_, u64> = ebpf.map_mut(MAP).unwrap().try_into().unwrap();
        numbers.set(TID, tid, 0).unwrap();
        for (name, event) in PROGRAMS {
            let program: &mut RawTracePoint = ebpf.program_mut(name).unwrap().try_into().unwrap();
            program.load().unwrap();
            program.attach(event).unwrap();
        }
        Self(ebpf)
    }

    /// Lower bounds of the time burnt: between entry and exit events, then between exit and entry events.
    fn burnt_ns(&self) -> [u64; 2] {
        let numbers: Array<_, u64> = self.0.map(MAP).unwrap().try_into().unwrap();
        [BURNT, BURNT + 1].map(|index| numbers.get(&index, 0).unwrap())
    }
}

/// A recording of one vCPU with long interrupts.
struct Measured {
    dump: std::path::PathBuf,
    guest_ns: u64,
    handled_ns: u64,
    burnt_ns: [u64; 2],
}

fn measure(options: &str) -> Measured {
    let guests = Background::start(WORKLOAD);
    let burner = Burner::start(guests.ready["vms"][0]["vcpus"][0]["tid"].as_u64().unwrap());
    let dump = record_while(options, &guests);
    guests.finish("svm");
    let burnt_ns = burner.burnt_ns();
    drop(burner);
    let table = report(&dump, "--by reason");
    demand_sums(&table);
    let handled_ns = table.rows().iter().map(|row| ns(row, "sum_ns")).sum();
    Measured { guest_ns: ns(vm(&table), "guest_ns"), handled_ns, burnt_ns, dump }
}

/// What `check` says: whether this kernel has the feature, and what to do about the kernel.
fn checked() -> (bool, String) {
    let output = succeed(exitlat().args(["check", "--no-probe", "--format", "json"]));
    let report = json_lines(&output.stdout).pop().unwrap();
    let find = |list: &str, key: &str, value: &str| -> Value {
        let list = report[list].as_array().unwrap();
        list.iter().find(|it| it[key] == value).unwrap_or_else(|| panic!("{value}: {report}")).clone()
    };
    let present = find("features", "name", "exits before interrupts")["present"].as_bool().unwrap();
    (present, find("findings", "subject", "kernel")["remedy"].as_str().unwrap().to_owned())
}

fn header(dump: &std::path::Path) -> Value {
    json_lines(&std::fs::read(dump).unwrap()).into_iter().find(|line| line["type"] == "header").unwrap()
}

fn paths() -> impl Iterator<Item = &'static str> {
    ["raw", "tp"].into_iter().filter(|path| *path == "tp" || has_module_btf())
}

/// The note appears exactly where interrupts count as guest time. With the option they never do.
#[test]
fn interrupts_are_the_guests_time_where_check_says_so_and_never_with_the_option() {
    let (early, note) = checked();
    assert_eq!(note.contains("--exit-stamp irqoff"), !early, "{note}");
    for path in paths() {
        let event = measure(&format!("--attach {path}"));
        let irqoff = measure(&format!("--attach {path} --exit-stamp irqoff"));
        for it in [&event, &irqoff] {
            let [in_guest, in_exit] = it.burnt_ns;
            assert!(in_guest + in_exit > 0, "{path}: the timer does not fire");
            // The kernel's actual order, whatever its version says.
            assert_eq!(in_guest == 0, early, "{path}: {in_guest} ns between the events");
        }
        let [in_guest, in_exit] = irqoff.burnt_ns;
        assert!(
            irqoff.handled_ns >= in_guest + in_exit,
            "{path}: {} of {in_guest} + {in_exit}",
            irqoff.handled_ns
        );
        assert_eq!(header(&irqoff.dump)["exit_stamp"], "before interrupts");

        let [in_guest, in_exit] = event.burnt_ns;
        if early {
            assert!(event.handled_ns >= in_exit, "{path}: {} of {in_exit}", event.handled_ns);
            assert_eq!(header(&event.dump)["exit_stamp"], "before interrupts");
            continue;
        }
        assert!(event.guest_ns >= in_guest, "{path}: {} of {in_guest}", event.guest_ns);
        assert_eq!(header(&event.dump)["exit_stamp"], "after interrupts");
        let diff = exitlat().arg("diff").args([&event.dump, &irqoff.dump]).output().unwrap();
        let text = String::from_utf8_lossy(&diff.stdout);
        assert!(text.contains("exits stamped: base `after interrupts`, new `before interrupts`"), "{text}");
    }
}

#[test]
fn stamps_keep_every_exit() {
    for path in paths() {
        let (vcpus, dump) = record(
            &format!("--attach {path} --exit-stamp irqoff"),
            "--vcpus 2 --khlt-us 2000 cpuid=500 msr=50 io=50 mmio=20 khlt=10",
            "svm",
        );
        demand_exact(&report(&dump, "--by vcpu,reason"), &vcpus, "svm");
        demand_sums(&report(&dump, "--by reason"));
        assert!(!report(&dump, "--by reason").rows().iter().any(|row| row["reason"] == "unreported"));
    }
    let (vcpus, dump) = record("--exit-stamp irqoff", "vmrun=50 cpuid=50", "svm");
    let table = report(&dump, "--by vcpu,reason");
    assert_eq!(table.samples(vcpus[0].tid)["vmrun"], 50, "{}", table.0);
    for loss in ["unpaired_exits", "unpaired_entries"] {
        assert_eq!(table.loss(loss), 0, "{loss}: {}", table.0);
    }
}
