//! Which lines of memory an exit touches. After a guest has run, few of the caches are the host's, so lines
//! cost more than instructions.

use exitlat_tests::bpf::lines_of_a_pair;
use tracer_user::kernel::session::OBJECT;

/// The context, the guess, two lines of the entry, two of the slot, and the table of buckets.
#[test]
#[cfg(target_endian = "little")]
fn an_exit_and_its_entry_touch_seven_lines() {
    let lines = lines_of_a_pair(OBJECT).unwrap();
    let count = |name: &str| lines.iter().filter(|(region, _)| *region == name).count();
    assert_eq!(["context", ".bss", "VCPUS", "SLOTS", ".rodata"].map(count), [1, 1, 2, 2, 1], "{lines:?}");
    assert_eq!(lines.len(), 7, "{lines:?}");
}
