//! A dump written on a big-endian machine, read on this one, whatever its byte order.

use serde_json::Value;

use crate::cli::exitlat;

/// Recorded in the s390x lab, of two vCPUs with the same script each.
const DUMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/lab-6.12-s390x.exitlat");

fn report(options: &str) -> Value {
    let output = exitlat(&format!("report {DUMP} --format json {options}")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn samples(value: &Value) -> u64 {
    value["samples"].as_u64().unwrap()
}

#[test]
fn a_dump_of_s390x_has_its_reasons_counts_and_times() {
    let table = report("--by vcpu,reason");
    let script = [
        ("Host interruption", 3, false),
        ("Instruction", 70, false),
        ("Program interruption", 3, false),
        ("Wait state", 2, true),
        ("ICPT_PV_INSTR", 1, false),
    ];
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * script.len(), "{table}");
    for vcpu in [0, 1] {
        for (reason, count, idle) in script {
            let row = rows.iter().find(|row| row["vcpu"] == vcpu && row["reason"] == reason).unwrap();
            assert_eq!((samples(row), row["idle"].as_bool()), (count, Some(idle)), "{row}");
            assert_eq!(row["isa"], "S390");
            let ns = |name: &str| row[name].as_u64().unwrap();
            // A nanosecond was an instruction there: no exit takes less than a thousand, none takes a second.
            assert!(1_000 < ns("min_ns") && ns("max_ns") < 1_000_000_000, "{row}");
            assert!((ns("min_ns")..=ns("max_ns")).contains(&ns("p50_ns")), "{row}");
        }
    }
    assert_eq!((samples(&table), &table["losses"]["died_in_exit"]), (2 * 79, &2.into()));
    assert_eq!(table["losses"].get("unknown_codes"), None);
}

#[test]
fn a_dump_of_s390x_has_its_causes() {
    let table = report("--by reason");
    let below = |reason: &str, cause: &str| -> u64 {
        let rows = table["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["reason"] == reason).unwrap();
        samples(row["causes"].as_array().unwrap().iter().find(|row| row["cause"] == cause).unwrap())
    };
    assert_eq!(below("Instruction", "DIAG (0x44) time slice end"), 80);
    assert_eq!(below("Instruction", "DIAG (0x9c) time slice end directed"), 6);
    assert_eq!(below("Instruction", "SIGP emergency signal"), 10);
    assert_eq!(below("Instruction", "0xB2 STIDP"), 40);
    assert_eq!(below("Instruction", "SSM"), 4);
    assert_eq!(below("Program interruption", "Prog Specification"), 6);
    assert_eq!(below("ICPT_PV_INSTR", "0xB2 STIDP"), 2);
    assert_eq!(below("Host interruption", "Fault of the host inside SIE"), 2);
}

#[test]
fn the_histograms_of_a_dump_of_s390x_come_back() {
    let table = report("--by reason --hist .");
    for row in table["rows"].as_array().unwrap() {
        let buckets: u64 =
            row["buckets"].as_array().unwrap().iter().map(|bucket| bucket[2].as_u64().unwrap()).sum();
        assert_eq!(buckets, samples(row), "{row}");
    }
    // More than half of these took the same time, to a few nanoseconds: 40 DIAG 0x44 of each vCPU.
    let rows = table["rows"].as_array().unwrap();
    let instruction = rows.iter().find(|row| row["reason"] == "Instruction").unwrap();
    let p50 = instruction["p50_ns"].as_u64().unwrap();
    assert!((3_150..3_350).contains(&p50), "{instruction}");
}
