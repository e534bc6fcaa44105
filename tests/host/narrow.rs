//! Tables on terminals that are too narrow for them, and tables with very many causes.

use exitlat_tests::causes;
use tracer_user::{
    model::{Across, GroupBy, Interval, Rows, Thread, Threads},
    recording::Reader,
    render::{Printer as _, Span, View, table::Table},
};

use exitlat_tests::synthetic::{Synthetic, threads};

/// Kata names a VM after its sandbox: `sandbox-` and 64 hexadecimal digits.
const SANDBOX: &str = "sandbox-0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0";

fn table(interval: &Interval, threads: &Threads, by: &str, width: Option<usize>) -> String {
    printed(interval, threads, by, width, None)
}

fn printed(
    interval: &Interval,
    threads: &Threads,
    by: &str,
    width: Option<usize>,
    across: Option<Across>,
) -> String {
    let by: GroupBy = by.parse().unwrap();
    let mut rows = Rows::new(by);
    rows.of_interval(interval.with(threads));
    let view = View { width, across, ..View::default() };
    let mut out = Vec::new();
    Table::new(view).print(&mut out, &rows, Span::Interval).unwrap();
    String::from_utf8(out).unwrap()
}

/// The table of exits and that of the vCPUs' wall time of VMs with such names.
fn tables(width: usize) -> String {
    let sandbox = |thread: &Thread| Thread { vm: SANDBOX.to_owned(), ..thread.clone() };
    let threads: Threads = threads().list.iter().map(sandbox).collect();
    let interval = &Synthetic { split: true, incident: false }.intervals()[0];
    table(interval, &threads, "vm,reason", Some(width))
}

/// Names are shortened; pids and latencies stay whole.
#[test]
fn names_are_shortened_before_latencies_vanish() {
    assert_eq!(SANDBOX.len(), 72);
    for (width, latencies) in [(80, 2), (100, 3), (120, 3)] {
        let text = tables(width);
        let (exits, rest) = text.split_once("\n\n").unwrap();
        let heading = exits.lines().next().unwrap();
        let shown =
            ["Max Time", "Avg time", "p50", "p99", "p99.9"].iter().filter(|title| heading.contains(**title));
        assert!(shown.count() >= latencies, "{width}: {heading}");
        let (accounts, _) = rest.rsplit_once("\n\nTotal Samples").unwrap();
        for line in exits.lines().chain(accounts.lines()) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        for pid in ["[4101]", "[4102]", "[4103]"] {
            let whole = |line: &&str| line.starts_with("sand") && line.contains('…') && line.contains(pid);
            assert!(
                exits.lines().any(|line| whole(&line)) && accounts.lines().any(|line| whole(&line)),
                "{text}"
            );
        }
    }
    // Without a limit, nothing is shortened.
    let threads = threads();
    let interval = &Synthetic { split: true, incident: false }.intervals()[0];
    assert!(!table(interval, &threads, "vm,reason", None).contains('…'));
}

#[test]
fn at_80_columns() {
    insta::assert_snapshot!(tables(80), @r"
    VM                VM-EXIT              Samples    Time%    Max Time    Avg time
    sandbox-…f0[4102] hlt                       85   20.20%   3326.83us    151.12us
    sandbox-…f0[4101] hlt                      152   20.06%    289.64us     83.90us
    sandbox-…f0[4102] io                       259   14.72%    571.47us     36.14us
                        > KVM_EXIT_IO          259    8.83%    342.88us     21.68us
    sandbox-…f0[4103] io                       257   13.45%    743.61us     33.27us
                        > KVM_EXIT_IO          257    8.07%    446.16us     19.96us
    sandbox-…f0[4101] io                       244    7.39%     44.78us     19.26us
                        > KVM_EXIT_IO          244    4.43%     26.87us     11.56us
    sandbox-…f0[4101] npf                      345    4.64%    100.94us      8.56us
                        > KVM_EXIT_MMIO        345    2.79%     60.57us      5.14us
    sandbox-…f0[4103] npf                      177    3.75%    110.79us     13.49us
                        > KVM_EXIT_MMIO        177    2.25%     66.48us      8.09us
    sandbox-…f0[4101] msr                      848    3.11%     37.15us      2.33us
    sandbox-…f0[4102] npf                      168    3.11%     60.76us     11.77us
                        > KVM_EXIT_MMIO        168    1.87%     36.45us      7.06us
    sandbox-…f0[4102] msr                      426    1.99%     40.54us      2.97us
    sandbox-…f0[4101] cpuid                    615    1.60%     25.59us      1.65us
    sandbox-…f0[4103] cpuid                    305    1.20%     24.36us      2.50us
    sandbox-…f0[4103] interrupt                 93    0.95%     27.21us      6.48us
    sandbox-…f0[4102] interrupt                101    0.85%     24.28us      5.36us
    sandbox-…f0[4101] hypercall                137    0.72%     35.19us      3.36us
    sandbox-…f0[4101] interrupt                102    0.63%     60.45us      3.92us
    sandbox-…f0[4103] hypercall                 61    0.58%     68.79us      6.05us
    sandbox-…f0[4102] hypercall                 61    0.42%      9.92us      4.34us
    sandbox-…f0[4103] vintr                     39    0.32%     46.30us      5.16us
    sandbox-…f0[4102] vintr                     31    0.17%      4.88us      3.39us
    sandbox-…f0[4101] vintr                     31    0.14%      4.60us      2.78us

    Guest time
    VM                      Samples    Max Time    Avg time         p50         p99
    sandbox-0f…ff0[4101]          4 455199.71us 452613.87us 450028.02us 455199.71us
    sandbox-0f…ff0[4102]          2 403478.08us 403478.08us 403478.08us 403478.08us
    sandbox-0f…ff0[4103]          2 493713.86us 493713.86us 493713.86us 493713.86us

    Of the vCPUs' wall time          Guest  Kernel    Poll    Idle Runqueue     VMM
    sandbox-0f1e2d…cddeeff0[4102]    80.7%    0.8%    0.9%   16.7%     0.2%    0.7%
    sandbox-0f1e2d…cddeeff0[4101]    90.5%    0.4%    0.4%    8.3%     0.1%    0.2%
    sandbox-0f1e2d…cddeeff0[4103]    98.7%    0.5%       -       -     0.1%    0.6%
    no room for vCPUs, Blocked, VMM asleep, Accounted

    Total Samples: 4537 (4535.6/s), handled 63.6 ms, idle 332.8 ms; 3 VMs 4 vCPU threads seen
    Losses: none; early entries 4; in flight: 1 exit, the oldest for 5.3 ms in hlt
    ");
}

#[test]
fn at_100_columns() {
    insta::assert_snapshot!(tables(100), @r"
    VM                        VM-EXIT              Samples    Time%    Max Time    Avg time         p99
    sandbox-0f1e…deeff0[4102] hlt                       85   20.20%   3326.83us    151.12us   3326.83us
    sandbox-0f1e…deeff0[4101] hlt                      152   20.06%    289.64us     83.90us    286.72us
    sandbox-0f1e…deeff0[4102] io                       259   14.72%    571.47us     36.14us    516.10us
                                > KVM_EXIT_IO          259    8.83%    342.88us     21.68us    303.10us
    sandbox-0f1e…deeff0[4103] io                       257   13.45%    743.61us     33.27us     88.06us
                                > KVM_EXIT_IO          257    8.07%    446.16us     19.96us     54.27us
    sandbox-0f1e…deeff0[4101] io                       244    7.39%     44.78us     19.26us     41.98us
                                > KVM_EXIT_IO          244    4.43%     26.87us     11.56us     25.09us
    sandbox-0f1e…deeff0[4101] npf                      345    4.64%    100.94us      8.56us     28.16us
                                > KVM_EXIT_MMIO        345    2.79%     60.57us      5.14us     16.89us
    sandbox-0f1e…deeff0[4103] npf                      177    3.75%    110.79us     13.49us     79.87us
                                > KVM_EXIT_MMIO        177    2.25%     66.48us      8.09us     48.13us
    sandbox-0f1e…deeff0[4101] msr                      848    3.11%     37.15us      2.33us      7.55us
    sandbox-0f1e…deeff0[4102] npf                      168    3.11%     60.76us     11.77us     58.37us
                                > KVM_EXIT_MMIO        168    1.87%     36.45us      7.06us     35.84us
    sandbox-0f1e…deeff0[4102] msr                      426    1.99%     40.54us      2.97us      4.99us
    sandbox-0f1e…deeff0[4101] cpuid                    615    1.60%     25.59us      1.65us      2.50us
    sandbox-0f1e…deeff0[4103] cpuid                    305    1.20%     24.36us      2.50us      3.65us
    sandbox-0f1e…deeff0[4103] interrupt                 93    0.95%     27.21us      6.48us     27.21us
    sandbox-0f1e…deeff0[4102] interrupt                101    0.85%     24.28us      5.36us     18.94us
    sandbox-0f1e…deeff0[4101] hypercall                137    0.72%     35.19us      3.36us      7.55us
    sandbox-0f1e…deeff0[4101] interrupt                102    0.63%     60.45us      3.92us      9.98us
    sandbox-0f1e…deeff0[4103] hypercall                 61    0.58%     68.79us      6.05us     68.79us
    sandbox-0f1e…deeff0[4102] hypercall                 61    0.42%      9.92us      4.34us      9.92us
    sandbox-0f1e…deeff0[4103] vintr                     39    0.32%     46.30us      5.16us     46.30us
    sandbox-0f1e…deeff0[4102] vintr                     31    0.17%      4.88us      3.39us      4.88us
    sandbox-0f1e…deeff0[4101] vintr                     31    0.14%      4.60us      2.78us      4.60us

    Guest time
    VM                  Samples    Min Time    Max Time    Avg time         p50         p99       p99.9
    sandbox-…0[4101]          4 450028.02us 455199.71us 452613.87us 450028.02us 455199.71us 455199.71us
    sandbox-…0[4102]          2 403478.08us 403478.08us 403478.08us 403478.08us 403478.08us 403478.08us
    sandbox-…0[4103]          2 493713.86us 493713.86us 493713.86us 493713.86us 493713.86us 493713.86us

    Of the vCPUs' wall time  vCPUs    Guest  Kernel    Poll    Idle Blocked Runqueue     VMM VMM asleep
    sandbox-0f1e…eeff0[4102]     1    80.7%    0.8%    0.9%   16.7%    0.0%     0.2%    0.7%       0.1%
    sandbox-0f1e…eeff0[4101]     2    90.5%    0.4%    0.4%    8.3%    0.0%     0.1%    0.2%       0.0%
    sandbox-0f1e…eeff0[4103]     1    98.7%    0.5%       -       -    0.0%     0.1%    0.6%       0.1%
    no room for Accounted

    Total Samples: 4537 (4535.6/s), handled 63.6 ms, idle 332.8 ms; 3 VMs 4 vCPU threads seen
    Losses: none; early entries 4; in flight: 1 exit, the oldest for 5.3 ms in hlt
    ");
}

#[test]
fn at_120_columns() {
    insta::assert_snapshot!(tables(120), @r"
    VM                   VM-EXIT              Samples  Samples%    Time%    Max Time    Avg time         p99           Idle
    sandbox-0f…ff0[4102] hlt                       85     1.87%   20.20%   3326.83us    151.12us   3326.83us    166985.59us
    sandbox-0f…ff0[4101] hlt                      152     3.35%   20.06%    289.64us     83.90us    286.72us    165796.71us
    sandbox-0f…ff0[4102] io                       259     5.71%   14.72%    571.47us     36.14us    516.10us              -
                           > KVM_EXIT_IO          259     5.71%    8.83%    342.88us     21.68us    303.10us
    sandbox-0f…ff0[4103] io                       257     5.66%   13.45%    743.61us     33.27us     88.06us              -
                           > KVM_EXIT_IO          257     5.66%    8.07%    446.16us     19.96us     54.27us
    sandbox-0f…ff0[4101] io                       244     5.38%    7.39%     44.78us     19.26us     41.98us              -
                           > KVM_EXIT_IO          244     5.38%    4.43%     26.87us     11.56us     25.09us
    sandbox-0f…ff0[4101] npf                      345     7.60%    4.64%    100.94us      8.56us     28.16us              -
                           > KVM_EXIT_MMIO        345     7.60%    2.79%     60.57us      5.14us     16.89us
    sandbox-0f…ff0[4103] npf                      177     3.90%    3.75%    110.79us     13.49us     79.87us              -
                           > KVM_EXIT_MMIO        177     3.90%    2.25%     66.48us      8.09us     48.13us
    sandbox-0f…ff0[4101] msr                      848    18.69%    3.11%     37.15us      2.33us      7.55us              -
    sandbox-0f…ff0[4102] npf                      168     3.70%    3.11%     60.76us     11.77us     58.37us              -
                           > KVM_EXIT_MMIO        168     3.70%    1.87%     36.45us      7.06us     35.84us
    sandbox-0f…ff0[4102] msr                      426     9.39%    1.99%     40.54us      2.97us      4.99us              -
    sandbox-0f…ff0[4101] cpuid                    615    13.56%    1.60%     25.59us      1.65us      2.50us              -
    sandbox-0f…ff0[4103] cpuid                    305     6.72%    1.20%     24.36us      2.50us      3.65us              -
    sandbox-0f…ff0[4103] interrupt                 93     2.05%    0.95%     27.21us      6.48us     27.21us              -
    sandbox-0f…ff0[4102] interrupt                101     2.23%    0.85%     24.28us      5.36us     18.94us              -
    sandbox-0f…ff0[4101] hypercall                137     3.02%    0.72%     35.19us      3.36us      7.55us              -
    sandbox-0f…ff0[4101] interrupt                102     2.25%    0.63%     60.45us      3.92us      9.98us              -
    sandbox-0f…ff0[4103] hypercall                 61     1.34%    0.58%     68.79us      6.05us     68.79us              -
    sandbox-0f…ff0[4102] hypercall                 61     1.34%    0.42%      9.92us      4.34us      9.92us              -
    sandbox-0f…ff0[4103] vintr                     39     0.86%    0.32%     46.30us      5.16us     46.30us              -
    sandbox-0f…ff0[4102] vintr                     31     0.68%    0.17%      4.88us      3.39us      4.88us              -
    sandbox-0f…ff0[4101] vintr                     31     0.68%    0.14%      4.60us      2.78us      4.60us              -

    Guest time
    VM                        Samples    Min Time    Max Time    Avg time                       p50         p99       p99.9
    sandbox-0f1…eff0[4101]          4 450028.02us 455199.71us 452613.87us ( +-  1.07% ) 450028.02us 455199.71us 455199.71us
    sandbox-0f1…eff0[4102]          2 403478.08us 403478.08us 403478.08us ( +-  0.00% ) 403478.08us 403478.08us 403478.08us
    sandbox-0f1…eff0[4103]          2 493713.86us 493713.86us 493713.86us ( +-  0.00% ) 493713.86us 493713.86us 493713.86us

    Of the vCPUs' wall time           vCPUs    Guest  Kernel    Poll    Idle Blocked Runqueue     VMM VMM asleep  Accounted
    sandbox-0f1e2d3c…bccddeeff0[4102]     1    80.7%    0.8%    0.9%   16.7%    0.0%     0.2%    0.7%       0.1%     100.0%
    sandbox-0f1e2d3c…bccddeeff0[4101]     2    90.5%    0.4%    0.4%    8.3%    0.0%     0.1%    0.2%       0.0%     100.0%
    sandbox-0f1e2d3c…bccddeeff0[4103]     1    98.7%    0.5%       -       -    0.0%     0.1%    0.6%       0.1%     100.0%

    Total Samples: 4537 (4535.6/s), handled 63.6 ms, idle 332.8 ms; 3 VMs 4 vCPU threads seen
    Losses: none; early entries 4; in flight: 1 exit, the oldest for 5.3 ms in hlt
    ");
}

/// Below a reason with thousands of causes, the table shows ten, and the sum of the others.
#[test]
fn thousands_of_causes_are_a_few_lines() {
    let recording = causes::recording(4100, 1);
    let mut reader = Reader::new(recording.as_slice()).unwrap();
    let mut interval = Interval::default();
    assert!(reader.next_interval(&mut interval).unwrap());
    let text = table(&interval, reader.threads(), "reason", None);
    let shown: Vec<_> = text.lines().filter(|line| line.starts_with("  > ")).collect();
    assert_eq!(shown.len(), 11, "{text}");
    let words: Vec<_> = shown[10].split_whitespace().take(5).collect();
    assert_eq!(words, [">", "4090", "more", "causes", "4090"], "a sample of each: {text}");
    // One more than ten is told by its name.
    let recording = causes::recording(11, 1);
    let mut reader = Reader::new(recording.as_slice()).unwrap();
    assert!(reader.next_interval(&mut interval).unwrap());
    assert!(!table(&interval, reader.threads(), "reason", None).contains("more causes"));
}

/// CPU time of this thread in `run`, in ns, so that other processes add nothing.
fn cpu_ns(run: impl FnOnce()) -> u64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    };
    let before = now();
    run();
    now() - before
}

/// Reading, summing up and printing ten times the causes takes about ten times the time, not a hundred. The
/// bound of forty leaves room for any machine.
#[test]
fn the_time_of_causes_is_in_proportion() {
    let report = |count: usize| {
        let recording = causes::recording(count, 3);
        let run = || {
            let mut reader = Reader::new(recording.as_slice()).unwrap();
            let (mut interval, mut store) = (Interval::default(), tracer_user::model::Store::default());
            let by: GroupBy = "reason".parse().unwrap();
            let (mut rows, mut total) = (Rows::new(by), Rows::new(by));
            let view = View { width: Some(80), ..View::default() };
            let mut printer = Table::new(view);
            while reader.next_interval(&mut interval).unwrap() {
                store.add(interval.with(reader.threads()));
                rows.of_interval(interval.with(reader.threads()));
                printer.print(&mut std::io::sink(), &rows, Span::Interval).unwrap();
            }
            total.of_store(&store);
            printer.print(&mut std::io::sink(), &total, Span::Total).unwrap();
        };
        // The first run also allocates memory; the minimum leaves it out.
        (0..3).map(|_| cpu_ns(run)).min().unwrap()
    };
    let (few, many) = (report(1000), report(10_000));
    assert!(many < 40 * few, "{few} ns of 1,000 causes, {many} ns of 10,000");
}

/// A table of rates keeps the pids and the sums; what has no room is in `other`, and named.
#[test]
fn rates_fit_and_name_what_they_sum_up() {
    let sandbox = |thread: &Thread| Thread { vm: SANDBOX.to_owned(), ..thread.clone() };
    let threads: Threads = threads().list.iter().map(sandbox).collect();
    let interval = &Synthetic { split: true, incident: false }.intervals()[0];
    let rates = |width| {
        let text = printed(interval, &threads, "vcpu,reason", width, Some(Across::Reason));
        text.split_once("\n\n").unwrap().0.to_owned()
    };
    let whole = rates(None);
    let reasons = whole.lines().nth(1).unwrap().split_whitespace().skip(3).count();
    assert!(reasons > 5 && !whole.contains("other") && !whole.contains('…'), "{whole}");
    let first = |text: &str| -> Vec<_> {
        let lines = text.lines().skip(2).filter(|line| !line.starts_with("other"));
        lines.map(|line| line.split_whitespace().find(|word| word.contains('.')).map(str::to_owned)).collect()
    };
    for width in [120, 100, 80, 60, 50] {
        let text = rates(Some(width));
        let heading: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let named = text.lines().find_map(|line| line.strip_prefix("other: "));
        let folded = named.map_or(0, |names| names.split(", ").count());
        let shown = heading.len() - 3 - usize::from(named.is_some());
        assert_eq!(shown + folded, reasons, "{width}: {text}");
        assert_eq!(heading.last() == Some(&"other"), folded > 0, "{text}");
        assert_eq!(first(&text), first(&whole), "{text}");
        for line in text.lines().filter(|line| !line.starts_with("other: ")) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        assert!(["[4101]", "[4102]", "[4103]"].iter().all(|pid| text.contains(pid)), "{text}");
    }
    insta::assert_snapshot!(rates(Some(80)), @r"
    Exits per second
    VM                     vCPU       Exits     msr   cpuid      io     npf   other
    sandbox-0f1…eff0[4102] 0         1130.7   425.9       -   258.9   167.9   277.9
    sandbox-0f1…eff0[4101] 1         1325.6   423.9   304.9   243.9   175.9   176.9
    sandbox-0f1…eff0[4103] tid 4131   931.7       -   304.9   256.9   176.9   192.9
    sandbox-0f1…eff0[4101] 0         1147.7   423.9   309.9       -   168.9   244.9
    total                            4535.6  1273.6   919.7   759.8   689.8   892.7
    other: interrupt, hypercall, hlt, vintr
    ");
}
