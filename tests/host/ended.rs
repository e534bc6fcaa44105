//! VMs that ended: `live` keeps rows for the newest, and says how many others there were.

use exitlat_tests::synthetic::Synthetic;
use serde_json::Value as Json;
use tracer_user::{
    model::{GroupBy, Interval, Rows, Store, Thread, Threads},
    render::{Printer, Span, View, csv::Csv, json::JsonLines, table::Table},
};

/// A store of `vms` VMs that ran for one interval each; it keeps three of them apart.
fn store(vms: u32) -> Store {
    let (mut store, mut threads, mut ended) = (Store::keeping(3), Threads::default(), None);
    let of_one: Vec<Interval> = Synthetic { split: true, incident: false }.intervals();
    for (number, mut interval) in (1..=vms).zip(of_one) {
        ended.into_iter().for_each(|thread| threads.retire(thread));
        let vm = format!("vm {number}");
        let thread = threads.add(Thread { pid: number, tid: number, vcpu: Some(0), vm, ..Thread::default() });
        interval.cells.retain(|cell| cell.thread == 0);
        interval.vcpus.retain(|vcpu| vcpu.thread == 0);
        interval.cells.iter_mut().for_each(|cell| cell.thread = thread);
        interval.vcpus.iter_mut().for_each(|vcpu| vcpu.thread = thread);
        interval.open.clear();
        interval.ended = vec![thread];
        store.add(interval.with(&threads));
        ended = Some(thread);
    }
    store
}

fn shown(by: &str, vms: u32, printer: impl Fn(View) -> Box<dyn Printer>) -> String {
    let mut rows = Rows::new(by.parse::<GroupBy>().unwrap());
    rows.of_store(&store(vms));
    let view = View::default();
    let mut out = Vec::new();
    printer(view).print(&mut out, &rows, Span::Total).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(by: &str, vms: u32) -> Json {
    serde_json::from_str(&shown(by, vms, |view| Box::new(JsonLines::new(view)))).unwrap()
}

#[test]
fn older_ones_are_one_row_that_says_how_many() {
    let table = shown("vm", 10, |view| Box::new(Table::new(view)));
    assert_eq!(table.matches("VMs that ended (7)").count(), 3, "rows, guest time, wall time: {table}");
    assert!(
        table.contains("vm 10[10]") && table.contains("vm 8[8]") && !table.contains("vm 7[7]"),
        "{table}"
    );
    assert!(table.contains("10 VMs 10 vCPU threads seen"), "{table}");
    let vms = &json("vm", 10)["vms"];
    let ended = vms.as_array().unwrap().iter().find(|vm| vm["pid"].is_null()).unwrap();
    assert_eq!(
        (&ended["vm"], &ended["ended"], &ended["vcpus"]),
        (&"VMs that ended".into(), &7.into(), &7.into())
    );
    assert!(
        vms.as_array().unwrap().iter().all(|vm| vm["pid"].is_null() || vm.get("ended").is_none()),
        "{vms}"
    );
    let block = json("vcpu", 10);
    let row = block["rows"].as_array().unwrap().iter().find(|row| row["pid"].is_null()).unwrap();
    assert_eq!((&row["ended"], &row["vcpu"], &row["tid"]), (&7.into(), &0.into(), &Json::Null));
    let csv = shown("vm", 10, |view| Box::new(Csv::new(view)));
    assert!(csv.lines().any(|line| line.contains(",VMs that ended,,,,")), "{csv}");
}

/// Rows that are not by VM do not depend on how many VMs are kept apart.
#[test]
fn nothing_is_missing_in_the_sums() {
    let count = |block: &Json| block["samples"].as_u64().unwrap();
    let (few, many) = (json("vm", 3), json("vm", 10));
    assert_eq!(few["vms"].as_array().unwrap().len(), 3);
    assert!(count(&many) > count(&few));
    let of_rows = |block: &Json| -> u64 {
        block["rows"].as_array().unwrap().iter().map(|row| row["samples"].as_u64().unwrap()).sum()
    };
    assert_eq!(of_rows(&many), count(&many));
    assert_eq!(count(&json("reason", 10)), count(&many));
}
