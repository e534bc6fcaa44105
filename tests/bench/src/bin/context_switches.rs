//! `context-switches N`: two threads hand a byte to and fro N times. Each round trip on one CPU takes two
//! context switches and two wake-ups, as every thread of a host has them; a tracer that follows the scheduler
//! makes them dearer. Prints a line in the form of the workload's.

use std::{
    io::{self, Read as _, Write as _, pipe},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

fn main() -> Result<()> {
    let rounds: u64 = std::env::args().nth(1).context("give the number of round trips")?.parse()?;
    // Under the default policy a woken thread sometimes preempts its waker before that sleeps, so runs would
    // differ. A batch thread never preempts. The thread started below inherits the policy.
    // SAFETY: all parameters are integers, for which zero is a valid value; the pointer is to a live local.
    let outcome = unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_BATCH, &raw const parameters)
    };
    ensure!(outcome == 0, "cannot become a batch thread: {}", io::Error::from_raw_os_error(outcome));
    let ((mut ping_in, mut ping_out), (mut pong_in, mut pong_out)) = (pipe()?, pipe()?);
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        for _ in 0..rounds {
            ping_in.read_exact(&mut byte)?;
            pong_out.write_all(&byte)?;
        }
        Ok(())
    });
    let (start, mut byte) = (Instant::now(), [0]);
    for _ in 0..rounds {
        ping_out.write_all(&byte)?;
        pong_in.read_exact(&mut byte)?;
    }
    let wall_ns = start.elapsed().as_nanos() as u64;
    echo.join().expect("the other thread does not panic")?;
    let exits = json!({"switch": 2 * rounds});
    println!("{}", json!({"vms": [{"vcpus": [{"wall_ns": wall_ns, "svm": exits, "vmx": exits}]}]}));
    Ok(())
}
