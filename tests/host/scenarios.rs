//! Every scenario through the replay, which calls what the BPF programs call.

use anyhow::Result;
use exitlat_tests::scenario::{self, Outcome};
use tracer_user::replay::Replay;

#[test]
fn scenarios() -> Result<()> {
    for scenario in scenario::all()? {
        let mut replay = Replay::new(scenario.limits.vcpus as usize, scenario.limits.slots as usize);
        for line in &scenario.events {
            let (thread, event) = scenario::event(line)?;
            replay.event(thread, event);
        }
        let (interval, threads) = replay.finish();
        assert_eq!(
            Outcome::of(&interval, &threads),
            scenario.expect,
            "{}: {}",
            scenario.name,
            scenario.about
        );
    }
    Ok(())
}

#[test]
fn nonsense_is_refused() {
    for line in [
        "",
        "exit tid=1 t=1",
        "entry t=1",
        "leave tid=1 t=1",
        "exit tid=1 t=1 svm:x",
        "entry tid=1 t=1 vmx:1",
    ] {
        assert!(scenario::event(line).is_err(), "{line}");
    }
}
