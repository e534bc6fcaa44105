//! A histogram as the bpf tools print it: a line for each power of two, with a bar.

use std::io::{self, Write};

use tracer_ebpf::histogram::{BUCKETS, bounds_of};

use crate::model::Stats;

const BAR: usize = 40;
const OCTAVES: usize = 64;

/// Prints the samples by power of two, from the first to the last that is not empty.
pub fn print(out: &mut dyn Write, stats: &Stats) -> io::Result<()> {
    let mut octaves = [0u64; OCTAVES];
    for bucket in 0..BUCKETS {
        octaves[bounds_of(bucket).0.max(1).ilog2() as usize] += stats.buckets[bucket];
    }
    let Some(first) = octaves.iter().position(|count| *count != 0) else {
        return writeln!(
            out,
            "     ({})",
            if stats.count == 0 { "no samples" } else { "no histogram is kept" }
        );
    };
    let open = bounds_of(BUCKETS - 1).0.ilog2() as usize;
    let last = octaves.iter().rposition(|count| *count != 0).expect("one is not empty");
    let most = *octaves.iter().max().expect("never empty");
    writeln!(out, "{:>22} {:<16} : {:<9} distribution", "", "nsecs", "count")?;
    for (octave, &count) in octaves.iter().enumerate().take(last + 1).skip(first) {
        let low = if octave == 0 { 0 } else { 1u64 << octave };
        // The last bucket has no end.
        let high = if octave == open { "longer".to_owned() } else { ((2u64 << octave) - 1).to_string() };
        let bar = "*".repeat((count as u128 * BAR as u128 / u128::from(most)) as usize);
        writeln!(out, "{low:>17} -> {high:<17} : {count:<9} |{bar:<BAR$}|")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;

    #[test]
    fn one_line_for_each_power_of_two() {
        let mut stats = Stats::default();
        for (ns, count) in [(600u64, 10), (1_000, 30), (5_000, 20)] {
            stats.add(count, ns * count, ns, ns, &[(bucket_of(ns) as u16, count as u32)]);
        }
        let mut out = Vec::new();
        print(&mut out, &stats).unwrap();
        let text = String::from_utf8(out).unwrap();
        let counts: Vec<u64> = text
            .lines()
            .skip(1)
            .map(|line| line.split(':').nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(counts, [40, 0, 0, 20]);
        assert!(text.lines().nth(1).unwrap().contains("512 -> 1023"));
        assert!(text.lines().nth(1).unwrap().ends_with(&format!("|{}|", "*".repeat(40))));
    }
}
