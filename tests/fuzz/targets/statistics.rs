//! Any bytes as KVM's binary statistics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_user::decode::counters::{binary::parse, number, range};

fuzz_target!(|data: &[u8]| {
    let _ = number(data);
    let Ok(statistics) = parse(data) else { return };
    let values: usize = statistics.iter().map(|it| it.values.len()).sum();
    assert!(values <= data.len() / 8);
    for it in statistics {
        let ranges = (0..it.values.len()).map(|at| range(it.kind, at, it.values.len(), it.bucket_size));
        assert!(ranges.clone().zip(ranges.skip(1)).all(|((_, end), (start, _))| end == Some(start)));
    }
});
