//! Takings while a writer is at work, and takings that were put back.

use std::sync::atomic::AtomicBool;

use tracer_ebpf::{abi::FIRST_EPOCH, slot};

use super::*;

const HANDED_OUT: Tally = Tally { epoch: FIRST_EPOCH, extremes: [Extremes::NONE; 2], ..Tally::UNUSED };

fn one_slot() -> Mapped<Slot> {
    let map = MmapMut::map_anon(size_of::<Slot>()).unwrap();
    Mapped { map, len: 1, stride: size_of::<Slot>(), _of: std::marker::PhantomData }
}

/// A writer at full speed on one thread, a reader at full speed on another: every sample is in exactly
/// one taking, and the extremes are those of the takings' own samples.
#[test]
fn takings_add_up_under_a_running_writer() {
    const SAMPLES: u64 = 300_000;
    let mut slots = one_slot();
    let address = slots.at(0).cast_mut() as usize;
    // SAFETY: nobody else uses it yet.
    unsafe { (*(address as *mut Slot)).tally = HANDED_OUT };
    let finished = AtomicBool::new(false);
    let (mut count, mut sum) = (0, 0);
    let mut copy = slots.copy(0);
    let mut memory = Memory::default();
    let mut known = [0; BUCKETS];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=SAMPLES {
                // SAFETY: as the BPF programs do it: the reader copes with the race.
                slot::record(unsafe { &mut *(address as *mut Slot) }, n);
            }
            finished.store(true, Ordering::SeqCst);
        });
        loop {
            let last = finished.load(Ordering::SeqCst);
            let before = count;
            copy.buckets.fill(0xdead_beef);
            if slots.done(0) != Some(count)
                && let Some(taken) = slots.take(0, &mut copy, &mut memory)
            {
                assert!(copy.tally.done > count);
                let gained = |known: &[u32], copied: &[u32]| -> u64 {
                    copied.iter().zip(known).map(|(new, old)| u64::from(new.wrapping_sub(*old))).sum()
                };
                let some = taken.buckets.clone();
                if gained(&known[some.clone()], &copy.buckets[some.clone()]) != copy.tally.done - count {
                    // An update that had the epoch before the last: all buckets add up.
                    assert_ne!(some, 0..BUCKETS);
                    memory.put_back(taken);
                    continue;
                }
                known[some.clone()].copy_from_slice(&copy.buckets[some]);
                // Samples rise by one, so the extremes say exactly which samples were taken.
                assert_eq!((taken.min_ns, taken.max_ns), (count + 1, copy.tally.done));
                assert!(copy.tally.sum_ns > sum);
                (count, sum) = (copy.tally.done, copy.tally.sum_ns);
            }
            if last && before == count {
                break;
            }
        }
    });
    assert_eq!(count, SAMPLES);
    assert_eq!(sum, SAMPLES * (SAMPLES + 1) / 2);
    assert_eq!(known.iter().map(|n| u64::from(*n)).sum::<u64>(), SAMPLES);
    assert_eq!(known, slots.copy(0).buckets);
}

/// The next taking includes one that was put back, and has all buckets; the one after it is a usual one.
#[test]
fn a_taking_that_was_put_back_comes_again_whole() {
    let mut slots = one_slot();
    let slot = slots.at(0).cast_mut();
    let (mut copy, mut memory) = (slots.copy(0), Memory::default());
    // SAFETY: nobody else uses it, here and below.
    unsafe { (*slot).tally = HANDED_OUT };
    // SAFETY: as above.
    let record = |ns| unsafe { slot::record(&mut *slot, ns) };
    let mut take = |memory: &mut Memory| {
        let taken = slots.take(0, &mut copy, memory).expect("nobody writes");
        (taken.min_ns, taken.max_ns, taken)
    };
    record(1_000);
    let (.., taken) = take(&mut memory);
    assert_eq!(taken.buckets, bucket_of(1_000)..bucket_of(1_000) + 1);
    memory.put_back(taken);
    record(5_000);
    let (min_ns, max_ns, taken) = take(&mut memory);
    assert_eq!((min_ns, max_ns, taken.buckets), (1_000, 5_000, 0..BUCKETS));
    record(7_000);
    let (min_ns, max_ns, taken) = take(&mut memory);
    assert_eq!((min_ns, max_ns), (7_000, 7_000));
    assert_eq!(taken.buckets, bucket_of(7_000)..bucket_of(7_000) + 1);
}
