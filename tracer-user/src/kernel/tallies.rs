//! A table of slots or of thin records: what each has gained since it was last read, and which are free.

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, Stack};
use tracer_ebpf::{
    abi::{NOBODY, Tally},
    histogram::{BUCKETS, bounds_of},
    part::Part,
};

use crate::{
    kernel::{
        baseline::Counts,
        mapped::{Mapped, Memory, Taken, Tallied},
    },
    model::{Cell, Interval, Loss},
    snapshot,
};

/// What is remembered between readings.
#[derive(Debug, Default)]
struct Known {
    done: u64,
    sum_ns: u64,
    parts: [u64; Part::COUNT],
    memory: Memory,
    counts: Counts,
}

/// One of the two tables.
pub struct Tallies<T> {
    map: Mapped<T>,
    free: Stack<MapData, u32>,
    known: Vec<Known>,
    copy: Box<T>,
    /// For the gains of one place.
    room: Box<[u32; BUCKETS]>,
    /// Places that were being written to at every try of this reading.
    busy: Vec<usize>,
}

impl<T: Tallied> Tallies<T> {
    /// An unused table, whose places are handed out from the lowest on.
    ///
    /// # Errors
    /// If the stack of free places cannot be filled.
    pub fn new(map: Mapped<T>, mut free: Stack<MapData, u32>) -> Result<Self> {
        fill(&mut free, map.len())?;
        let copy = Box::new(map.copy(0));
        Ok(Self { map, free, known: Vec::new(), copy, room: Box::new([0; BUCKETS]), busy: Vec::new() })
    }

    /// Number of places that can be handed out.
    pub fn places(&self) -> usize {
        self.map.len() - 1
    }

    /// The numbers of the places.
    pub fn numbers(&self) -> Range<usize> {
        NOBODY as usize + 1..self.map.len()
    }

    /// The number behind the last place that was ever used.
    pub fn used(&self) -> usize {
        self.known.len()
    }

    /// The vCPU entry that a place belongs to; [`None`] if the place is not handed out.
    pub fn owner(&self, index: usize) -> Option<usize> {
        self.map.done(index).map(|_| self.map.owner(index))
    }

    /// A place will be read soon.
    pub fn expect(&self, index: usize) {
        if let Some(known) = self.known.get(index) {
            self.map.expect(index, known.counts.kept());
        }
    }

    /// Takes the list of places that were being written to.
    pub fn take_busy(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.busy)
    }

    /// Samples that were begun and not read.
    pub fn unread(&self, index: usize) -> u64 {
        self.map.begun(index).saturating_sub(self.known[index].done)
    }

    /// Adds the samples that a place has gained to an interval. False if its writer stopped in the middle of
    /// an update at every try: the place is then busy. `last` says that no reading will follow.
    ///
    /// # Errors
    /// A counter that went back, which is a bug.
    pub fn read(&mut self, index: usize, thread: usize, last: bool, interval: &mut Interval) -> Result<bool> {
        if index >= self.known.len() {
            self.known.resize_with(index + 1, Known::default);
        }
        let Some(done) = self.map.done(index) else { return Ok(true) };
        let known = &mut self.known[index];
        // At the end also for a first sample that is being added.
        if done == known.done && !(last && self.map.begun(index) != done) {
            return Ok(true);
        }
        let (taken, count, place) = loop {
            let Some(taken) = self.map.take(index, &mut self.copy, &mut known.memory) else {
                self.busy.push(index);
                return Ok(false);
            };
            let done = self.copy.tally().done;
            let count = done.checked_sub(known.done).context("bug: a count went back")?;
            let Some(buckets) = self.copy.buckets() else { break (taken, count, 0..0) };
            let (place, gained) =
                known.counts.gains(buckets, &taken.buckets, &mut self.room, &mut interval.buckets);
            if gained == count {
                break (taken, count, place);
            }
            ensure!(
                taken.buckets != (0..BUCKETS),
                "bug: slot {index} gained {count} samples, its buckets {gained}"
            );
            interval.buckets.take_back(&place);
            known.memory.put_back(taken);
        };
        let Tally { isa, code, subkey, done, sum_ns: total_ns, .. } = *self.copy.tally();
        let sum_ns = total_ns.checked_sub(known.sum_ns).context("bug: a sum went back")?;
        if let Some(buckets) = self.copy.buckets() {
            known.counts.keep(buckets, &taken.buckets);
        }
        let mut parts = [0; Part::COUNT];
        for (gained, (new, old)) in parts.iter_mut().zip(self.copy.parts().iter().zip(known.parts)) {
            *gained = new.checked_sub(old).context("bug: a part went back")?;
        }
        (known.done, known.sum_ns, known.parts) = (done, total_ns, self.copy.parts());
        let (min_ns, max_ns) = extremes(&taken, interval.buckets.of(&place).ends(), count, sum_ns);
        interval.cells.push(Cell {
            thread,
            isa,
            code,
            subkey,
            count,
            sum_ns,
            min_ns,
            max_ns,
            parts: snapshot::parts(subkey, parts, sum_ns),
            buckets: place,
        });
        Ok(true)
    }

    /// Takes back the place of an ended thread. Returns its tally.
    ///
    /// # Errors
    /// If it cannot be handed out again.
    pub fn free(&mut self, index: usize) -> Result<Tally> {
        self.known[index] = Known::default();
        let tally = *self.map.copy(index).tally();
        self.map.clear(index);
        self.free.push(index as u32, 0).context("cannot hand back a slot")?;
        Ok(tally)
    }

    /// Counts what could not be read as lost.
    pub fn give_up_busy(&mut self, interval: &mut Interval) {
        for index in std::mem::take(&mut self.busy) {
            interval.losses.add(Loss::Unread, self.unread(index));
        }
    }
}

/// The extremes of new samples. A sample that went to an epoch already taken (see [`Mapped::take`]) may be
/// missing from `taken`; its bucket is not, and neither is it missing from the sum. So the extremes are
/// widened to the bounds of the outermost buckets, and to the mean.
fn extremes(taken: &Taken, outermost: Option<(usize, usize)>, count: u64, sum_ns: u64) -> (u64, u64) {
    if count == 1 {
        return (sum_ns, sum_ns);
    }
    let (mut min_ns, mut max_ns) = (taken.min_ns, taken.max_ns);
    if let Some(mean_ns) = sum_ns.checked_div(count) {
        (min_ns, max_ns) = (min_ns.min(mean_ns), max_ns.max(sum_ns.div_ceil(count)));
    }
    let Some((low, high)) = outermost else { return (min_ns, max_ns) };
    (min_ns.min(bounds_of(low).1 - 1), max_ns.max(bounds_of(high).0))
}

/// Pushes all numbers below `len` but [`NOBODY`], so that the lowest is handed out first.
///
/// # Errors
/// If bpf(2) fails.
pub fn fill(stack: &mut Stack<MapData, u32>, len: usize) -> Result<()> {
    for index in (NOBODY + 1..len as u32).rev() {
        stack.push(index, 0).context("cannot fill the list of free entries")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::histogram::bucket_of;

    use super::*;

    /// Sample 100 went to the epoch before: what is recorded must still be possible.
    #[test]
    fn extremes_go_with_the_sum() {
        let taken = Taken { min_ns: 103, max_ns: 103, buckets: 0..0 };
        assert_eq!(bucket_of(100), bucket_of(103));
        assert_eq!(extremes(&taken, Some((bucket_of(100), bucket_of(100))), 2, 203), (101, 103));
        assert_eq!(extremes(&taken, None, 2, 203), (101, 103));
        assert_eq!(extremes(&taken, None, 1, 99), (99, 99));
    }
}
