//! The mapped arrays. The only `unsafe` of the reading side: everything above works on copies.
#![expect(unsafe_code, reason = "maps kernel memory that programs write meanwhile")]

use std::{
    io,
    mem::offset_of,
    ops::Range,
    os::fd::AsFd,
    os::fd::AsRawFd as _,
    sync::atomic::{Ordering, fence},
};

use memmap2::{MmapMut, MmapOptions};
use tracer_ebpf::{
    abi::{Breakdown, EPOCH_STEP, Extremes, Held, Slot, SlotKey, Tally, Vcpu, parity, table},
    histogram::{BUCKETS, bucket_of},
    part::Part,
};

/// Types whose array may be mapped: plain data, any bytes are valid.
///
/// # Safety
/// `repr(C)`, no padding that matters, every bit pattern valid.
pub unsafe trait Plain: Copy {}
// SAFETY: integers and arrays of integers only, see `tracer_ebpf::abi`.
unsafe impl Plain for Vcpu {}
// SAFETY: as above.
unsafe impl Plain for Slot {}
// SAFETY: as above.
unsafe impl Plain for Tally {}
// SAFETY: as above.
unsafe impl Plain for Held {}

/// Slots and thin records: both begin with a [`Tally`], which tells when a copy is consistent.
///
/// # Safety
/// The type begins with a [`Tally`]; behind its first [`Tallied::HEAD`] words come the buckets, if it has
/// any.
pub unsafe trait Tallied: Plain {
    /// Words of eight bytes before the buckets.
    const HEAD: usize;
    /// Number of buckets.
    const BUCKETS: usize;

    /// The tally at its beginning.
    fn tally(&self) -> &Tally;

    /// The parts of its samples; zeroes where it has none.
    fn parts(&self) -> [u64; Part::COUNT] {
        [0; Part::COUNT]
    }

    /// Its histogram, if it has one.
    fn buckets(&self) -> Option<&[u32; BUCKETS]> {
        None
    }
}

// SAFETY: see its definition.
unsafe impl Tallied for Slot {
    const HEAD: usize = offset_of!(Slot, buckets) / size_of::<u64>();
    const BUCKETS: usize = BUCKETS;

    fn tally(&self) -> &Tally {
        &self.tally
    }

    fn parts(&self) -> [u64; Part::COUNT] {
        self.parts
    }

    fn buckets(&self) -> Option<&[u32; BUCKETS]> {
        Some(&self.buckets)
    }
}

// SAFETY: a tally begins with itself and has no buckets.
unsafe impl Tallied for Tally {
    const HEAD: usize = size_of::<Tally>() / size_of::<u64>();
    const BUCKETS: usize = 0;

    fn tally(&self) -> &Tally {
        self
    }
}

/// A key of the map of subkeys, as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PlainKey(pub SlotKey);

// SAFETY: integers only, no padding.
unsafe impl aya::Pod for PlainKey {}

/// A BPF array in our memory.
#[derive(Debug)]
pub struct Mapped<T> {
    map: MmapMut,
    len: usize,
    stride: usize,
    _of: std::marker::PhantomData<T>,
}

/// Tries at a consistent copy of a slot before the reader does something else first. An update takes some 50
/// ns.
const TRIES: usize = 100;

/// Bytes that a CPU fetches at once.
const LINE: usize = 64;

/// Has the CPU fetch a line of memory, where there is an instruction for it.
fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

impl<T: Plain> Mapped<T> {
    /// Maps an array of `len` elements.
    ///
    /// # Errors
    /// If mmap(2) fails.
    pub fn new(map: impl AsFd, len: u32) -> io::Result<Self> {
        let len = len as usize;
        // The kernel rounds an array's elements up to 8 bytes (`array_map_alloc`, kernel/bpf/arraymap.c).
        let stride = size_of::<T>().next_multiple_of(8);
        // SAFETY: the mapping is private to this object; the kernel's writes to it are dealt with below.
        let map = unsafe { MmapOptions::new().len(len * stride).map_mut(map.as_fd().as_raw_fd()) }?;
        Ok(Self { map, len, stride, _of: std::marker::PhantomData })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    fn at(&self, index: usize) -> *const T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // In bounds by the check and the mapping's length.
        self.map.as_ptr().wrapping_add(index * self.stride).cast()
    }

    /// A copy of an element, as it is at the moment; fields may be of different moments.
    pub fn copy(&self, index: usize) -> T {
        // SAFETY: in bounds, aligned (the mapping to a page, the stride to 8), any bytes are valid. The
        // kernel may write meanwhile: volatile keeps the compiler from reading twice and assuming the
        // same.
        unsafe { std::ptr::read_volatile(self.at(index)) }
    }

    /// Writes zeroes over an element that no program uses.
    pub fn clear(&mut self, index: usize) {
        assert!(index < self.len, "element {index} of {}", self.len);
        let start = index * self.stride;
        self.map[start..start + self.stride].fill(0);
    }
}

impl Mapped<Vcpu> {
    /// State and generation of a vCPU.
    pub fn state(&self, index: usize) -> (u32, u32) {
        let vcpu = self.at(index);
        // SAFETY: as in `copy`.
        unsafe {
            (
                std::ptr::read_volatile(&raw const (*vcpu).state),
                std::ptr::read_volatile(&raw const (*vcpu).generation),
            )
        }
    }

    /// Prepares an unused element for its next owner: all zero but for the generation.
    pub fn recycle(&mut self, index: usize) {
        let (_, generation) = self.state(index);
        self.clear(index);
        let vcpu = self.at(index).cast_mut();
        // SAFETY: in bounds; nobody else uses the element.
        unsafe { (*vcpu).generation = generation };
    }
}

/// What is remembered of a tally between takings.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The extremes of the last epoch as they were when it was taken.
    late: Extremes,
    /// A taking that was begun and could not be ended, or was put back.
    begun: Option<Taken>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { late: Extremes::NONE, begun: None }
    }
}

impl Memory {
    /// Returns a taking whose buckets do not add up: the next one joins its extremes and copies all buckets.
    pub fn put_back(&mut self, taken: Taken) {
        self.begun = Some(taken);
    }
}

/// What a slot has gained since it was last taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Shortest of the new samples.
    pub min_ns: u64,
    /// Longest of the new samples.
    pub max_ns: u64,
    /// The buckets that were copied: those between the extremes of the new samples, or all. Other buckets of
    /// the copy must not be read.
    pub buckets: Range<usize>,
}

impl Taken {
    const NOTHING: Self = Self { min_ns: u64::MAX, max_ns: 0, buckets: 0..0 };
}

impl<T: Tallied> Mapped<T> {
    fn tally(&self, index: usize) -> *const Tally {
        self.at(index).cast()
    }

    /// Has the CPU fetch what a reading of an element in use needs, with these buckets: the table is larger
    /// than the caches, and most of a reading's time is spent waiting for it.
    pub fn expect(&self, index: usize, buckets: Range<usize>) {
        let (head, bucket) = (T::HEAD * size_of::<u64>(), size_of::<u32>());
        let end = if T::BUCKETS == 0 { head } else { head + buckets.end.min(T::BUCKETS) * bucket };
        let (first, behind) = ((head + buckets.start * bucket) / LINE * LINE, end.max(head));
        for offset in (0..head).step_by(LINE).chain((first.max(head)..behind).step_by(LINE)) {
            fetch(self.at(index).cast::<u8>().wrapping_add(offset));
        }
    }

    /// Number of complete samples; [`None`] while it is not handed out.
    pub fn done(&self, index: usize) -> Option<u64> {
        let tally = self.tally(index);
        // SAFETY: as in `copy`.
        let (done, epoch) = unsafe {
            (
                std::ptr::read_volatile(&raw const (*tally).done),
                std::ptr::read_volatile(&raw const (*tally).epoch),
            )
        };
        (epoch != 0).then_some(done)
    }

    /// Number of samples, including one that is being added.
    pub fn begun(&self, index: usize) -> u64 {
        // SAFETY: as in `copy`.
        unsafe { std::ptr::read_volatile(&raw const (*self.tally(index)).begun) }
    }

    /// Index of the vCPU that owns an element in use.
    pub fn owner(&self, index: usize) -> usize {
        // SAFETY: as in `copy`.
        unsafe { std::ptr::read_volatile(&raw const (*self.tally(index)).vcpu) as usize }
    }

    /// Copies a slot or thin record into `copy` and starts its next epoch. `memory` is what the last taking
    /// left of it. [`None`] if the writer was too busy for it: nothing is lost, the next try takes all.
    ///
    /// Only the buckets between the extremes are copied: most of a slot's bytes are buckets that have not
    /// changed. After a taking that did not finish or was put back, all buckets are copied.
    ///
    /// The copy is consistent when no update began between the reading of `done` and that of `begun`. Its
    /// extremes are those of its samples when none came between the copy and the new epoch either; else it
    /// is taken again, and the extremes of all epochs passed are joined. What is left is an update that read
    /// the old epoch before it became visible (a store buffer's delay): it shows as a change of the old
    /// epoch's extremes at the next taking, and is joined there. Those are emptied only then, for the epoch
    /// after: every update that could still write to them is complete by that copy.
    pub fn take(&mut self, index: usize, copy: &mut T, memory: &mut Memory) -> Option<Taken> {
        let Memory { late, begun } = memory;
        let mut whole = begun.is_some();
        let mut taken = begun.take().unwrap_or(Taken::NOTHING);
        let join = |taken: &mut Taken, extremes: Extremes| {
            taken.min_ns = taken.min_ns.min(extremes.min_ns);
            taken.max_ns = taken.max_ns.max(extremes.max_ns);
        };
        for _ in 0..TRIES {
            let Some(buckets) = self.copy_consistent(index, copy, *late, whole) else {
                // The first round may have started a new epoch: only `taken` still has the extremes of the
                // old one.
                *begun = whole.then_some(taken);
                return None;
            };
            taken.buckets = buckets;
            // Once the epoch has been changed the extremes do not tell of all that is new.
            whole = true;
            let &Tally { epoch, extremes, done, .. } = copy.tally();
            let (current, former) = (extremes[parity(epoch)], extremes[parity(epoch) ^ 1]);
            if former.min_ns < late.min_ns {
                join(&mut taken, Extremes { max_ns: former.min_ns, ..former });
            }
            if former.max_ns > late.max_ns {
                join(&mut taken, Extremes { min_ns: former.max_ns, ..former });
            }
            join(&mut taken, current);
            *late = current;
            let tally = self.tally(index).cast_mut();
            // SAFETY: in bounds, aligned; user space is the only writer of the epoch once it is handed out,
            // and of extremes that no epoch uses.
            unsafe {
                (&raw mut (*tally).extremes[parity(epoch) ^ 1]).write_volatile(Extremes::NONE);
            }
            fence(Ordering::SeqCst);
            // SAFETY: as above.
            unsafe { (&raw mut (*tally).epoch).write_volatile(epoch.wrapping_add(EPOCH_STEP)) };
            fence(Ordering::SeqCst);
            // SAFETY: as in `copy`.
            if unsafe { std::ptr::read_volatile(&raw const (*tally).begun) } == done {
                break;
            }
        }
        Some(taken)
    }

    /// Copies the words before the buckets, and some buckets; [`None`] if the writer was updating at every
    /// try.
    fn copy_consistent(
        &self,
        index: usize,
        into: &mut T,
        late: Extremes,
        whole: bool,
    ) -> Option<Range<usize>> {
        let from = self.at(index).cast::<u64>();
        let tally = self.tally(index);
        let to = std::ptr::from_mut(into).cast::<u64>();
        for _ in 0..TRIES {
            // SAFETY: as in `copy`, here and below.
            let done = unsafe { std::ptr::read_volatile(&raw const (*tally).done) };
            fence(Ordering::Acquire);
            for word in 0..T::HEAD {
                // SAFETY: both begin with this many words.
                unsafe { to.add(word).write(std::ptr::read_volatile(from.add(word))) };
            }
            let all = 0..T::BUCKETS;
            let buckets = if whole || T::BUCKETS == 0 { all } else { touched(into.tally(), late) };
            for pair in T::HEAD + buckets.start / 2..T::HEAD + buckets.end.div_ceil(2) {
                // SAFETY: as in `copy`; behind the head both have an even number of buckets.
                unsafe { to.add(pair).write(std::ptr::read_volatile(from.add(pair))) };
            }
            fence(Ordering::Acquire);
            // SAFETY: as in `copy`.
            let begun = unsafe { std::ptr::read_volatile(&raw const (*tally).begun) };
            if begun == done && into.tally().done == done {
                return Some(buckets);
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// The buckets that samples since the last taking can be in: those of the current epoch, and those of the
/// former one, which had `late` then.
fn touched(tally: &Tally, late: Extremes) -> Range<usize> {
    let (mut all, former) = (tally.extremes[parity(tally.epoch)], tally.extremes[parity(tally.epoch) ^ 1]);
    if former != late {
        // A sample reached the former epoch late.
        all = Extremes { min_ns: all.min_ns.min(former.min_ns), max_ns: all.max_ns.max(former.max_ns) };
    }
    // A copy of half an update may have them the wrong way round; it is discarded.
    match all {
        Extremes { min_ns, max_ns } if min_ns <= max_ns => bucket_of(min_ns)..bucket_of(max_ns) + 1,
        _ => 0..BUCKETS,
    }
}

impl Mapped<Vcpu> {
    /// The current activity of an entry's thread; fields may be of different moments.
    pub fn breakdown(&self, index: usize) -> Breakdown {
        // SAFETY: as in `copy`.
        unsafe { std::ptr::read_volatile(&raw const (*self.at(index)).breakdown) }
    }

    /// Links an entry to another one of its process. Writes only on a change: the cache line is the
    /// program's.
    pub fn set_sibling(&mut self, index: usize, to: usize) {
        let sibling = to as u32;
        let vcpu = self.at(index).cast_mut();
        // SAFETY: in bounds, aligned; user space is the only writer of this field.
        unsafe {
            let place = &raw mut (*vcpu).sibling;
            if place.read_volatile() != sibling {
                place.write_volatile(sibling);
            }
        }
    }
}

impl Mapped<Held> {
    /// Counts a place of a table that a process held and has given back.
    pub fn give_back(&mut self, pid: u32, table: u32) {
        const _: () = assert!(table::COUNT == 3);
        for index in [pid as usize & (self.len - 2), self.len - 1] {
            let held = self.at(index).cast_mut();
            // SAFETY: in bounds, aligned; user space is the only writer of this field.
            unsafe {
                let returned = &raw mut (*held).returned[table as usize];
                returned.write_volatile(returned.read_volatile().wrapping_add(1));
            }
        }
    }
}

#[cfg(test)]
mod tests;
