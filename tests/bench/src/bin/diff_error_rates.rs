//! `diff-error-rates N`: how often `exitlat diff` reports a change where there is none, and how often it
//! finds one that is there, in N pairs of made-up recordings, the same at every run. Prints Markdown. With a
//! directory in place of N it writes two recordings there as an example, `base.exitlat` and `new.exitlat`.

use std::{fs, io, path::Path};

use exitlat_tests::noise::{self, DISTRIBUTIONS, Distribution, Effect, Load, header, record};
use fastrand::Rng;
use tracer_user::model::compare::{Comparison, METRICS, Metric, Settings, Verdict, compare};

const STEADY: Load = Load { intervals: 30, exits: 200.0, rate: 0.0, duration: 0.0, memory: 0.0 };

/// Loads by name.
const LOADS: [(&str, Load); 9] = [
    ("steady", STEADY),
    ("fluctuating", Load { rate: 0.3, duration: 0.1, ..STEADY }),
    ("fluctuating slowly", Load { rate: 0.3, duration: 0.1, memory: 0.7, ..STEADY }),
    ("fluctuating wildly", Load { rate: 0.8, duration: 0.3, ..STEADY }),
    ("200 intervals, slowly", Load { intervals: 200, rate: 0.3, duration: 0.1, memory: 0.7, ..STEADY }),
    ("8 intervals", Load { intervals: 8, exits: 750.0, rate: 0.3, duration: 0.1, ..STEADY }),
    ("8 intervals, slowly", Load { intervals: 8, exits: 750.0, rate: 0.3, duration: 0.1, memory: 0.7 }),
    ("4 intervals", Load { intervals: 4, exits: 1500.0, rate: 0.3, duration: 0.1, ..STEADY }),
    ("1 interval", Load { intervals: 1, exits: 6000.0, ..STEADY }),
];

const NOTHING: Effect = Effect { tenth_ns: 0.0, longer: 0.0, more: 0.0, hollow: false };

/// Effects by name.
const EFFECTS: [(&str, Effect); 5] = [
    ("50 us on every tenth", Effect { tenth_ns: 50_000.0, ..NOTHING }),
    ("10 % longer", Effect { longer: 0.1, ..NOTHING }),
    ("30 % longer", Effect { longer: 0.3, ..NOTHING }),
    ("50 % more exits", Effect { more: 0.5, ..NOTHING }),
    ("18 to 60 us: 18 or 60", Effect { hollow: true, ..NOTHING }),
];

fn main() -> io::Result<()> {
    let word = std::env::args().nth(1).unwrap_or_else(|| "1000".to_owned());
    match word.parse() {
        Ok(tries) => {
            tables(tries);
            Ok(())
        }
        Err(_) => write_example(Path::new(&word)),
    }
}

/// Writes the recordings of a guest with two reasons, and of the same guest with 50 us more on every tenth
/// exit.
fn write_example(directory: &Path) -> io::Result<()> {
    for (name, effect, seed) in [("base", NOTHING, 1), ("new", EFFECTS[0].1, 2)] {
        let recording = noise::dump(header("lab"), "web", &DISTRIBUTIONS[..2], LOADS[1].1, effect, seed)?;
        fs::write(directory.join(format!("{name}.exitlat")), recording)?;
    }
    Ok(())
}

fn tables(tries: u64) {
    println!("## The same workload twice\n");
    println!("Of {tries} pairs: failed / any change said, at the default settings.\n");
    println!("| load | {} | all in one dump |", DISTRIBUTIONS.map(|d| d.name).join(" | "));
    println!("|---|{}", "---:|".repeat(DISTRIBUTIONS.len() + 1));
    for (name, load) in LOADS {
        let each = DISTRIBUTIONS.iter().map(std::slice::from_ref).chain([&DISTRIBUTIONS[..]]);
        let cells = each.map(|distributions| {
            let found = pairs(distributions, load, NOTHING, tries);
            let failed = count(&found, |comparison| comparison.failed());
            let said = count(&found, |comparison| comparison.verdict > Verdict::Same);
            format!("{failed} / {said}")
        });
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let tries = tries.div_ceil(10);
    println!("\n## Changes that are there\n");
    println!("Of {tries} pairs: any change said, and by which metrics, in percent.\n");
    println!("| load | samples | change | {} |", DISTRIBUTIONS.map(|d| d.name).join(" | "));
    println!("|---|---:|---|{}", "---|".repeat(DISTRIBUTIONS.len()));
    for (load_name, load) in [
        LOADS[0],
        ("steady, 10 intervals", few(STEADY)),
        ("fluctuating, 10 intervals", few(LOADS[1].1)),
        LOADS[1],
        LOADS[8],
    ] {
        for (name, effect) in EFFECTS {
            let cells = DISTRIBUTIONS
                .map(|distribution| described(&pairs(&[distribution], load, effect, tries), tries));
            let samples = load.intervals as f64 * load.exits;
            println!("| {load_name} | {samples} | {name} | {} |", cells.join(" | "));
        }
    }
}

/// The same load in 10 intervals with 2000 samples altogether.
fn few(load: Load) -> Load {
    Load { intervals: 10, exits: 200.0, ..load }
}

fn pairs(distributions: &[Distribution], load: Load, effect: Effect, tries: u64) -> Vec<Comparison> {
    let pair = |seed| {
        let mut rng = Rng::with_seed(seed);
        let base = record(distributions, load, NOTHING, &mut rng);
        let new = record(distributions, load, effect, &mut rng);
        compare(&base, &new, Settings::default(), &[])
    };
    (0..tries).map(pair).collect()
}

fn count(found: &[Comparison], which: impl Fn(&Comparison) -> bool) -> usize {
    found.iter().filter(|comparison| which(comparison)).count()
}

fn described(found: &[Comparison], tries: u64) -> String {
    let percent = |number: usize| format!("{:.0}", 100.0 * number as f64 / tries as f64);
    let said = percent(count(found, |comparison| comparison.verdict > Verdict::Same));
    let of = |metric: Metric| {
        count(found, |comparison| {
            comparison.rows.iter().any(|row| row.finding(metric).verdict > Verdict::Same)
        })
    };
    let judged = METRICS.iter().filter(|info| info.judged && of(info.metric) > 0);
    let by: Vec<String> = judged.map(|info| format!("{} {}", info.id, percent(of(info.metric)))).collect();
    if by.is_empty() { said } else { format!("{said} ({})", by.join(", ")) }
}
