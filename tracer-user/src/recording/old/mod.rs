//! Recordings of schema 1 and 2, which are read and no longer written. The format:
//!
//! Every line is an object with a `type`, and says of its vCPU thread and reason all that there is to say.
//!
//! | `type` | fields |
//! |---|---|
//! | `slot` | `interval`, `host`, `vm`, `pid`, `tid`, `vcpu` (or null), `isa`, `reason` (the code), `name`, `detail` (the subkey, left out if 0), `cause`, `count`, `sum_ns`, `min_ns`, `max_ns`, `parts` (ns by name; left out if all is `kernel`), `hist` |
//! | `vcpu` | `interval`, `host`, `vm`, `pid`, `tid`, `vcpu`, `elapsed_ns`, `guest_ns`, `parts` |
//! | `loss` | `interval`, `cause`, `count` |
//! | `in_flight` | `interval`, `host`, `vm`, `pid`, `tid`, `vcpu`, `isa`, `reason`, `age_ns` |
//! | `last_exit` | `interval`, `host`, `vm`, `pid`, `tid`, `vcpu`, `isa`, `reason`, `name`, `user_exit`, `count` |
//! | `clock` | `interval`, `suspended_ms`, `stepped_ms` |
//! | `interval` | the last line of its interval: `interval`, `start_ns`, `end_ns`, `end_unix_ms`, `host`, `parts` |
//! | `end` | `intervals`, `why` |
//!
//! `host` is in merged recordings only. `hist` is HdrHistogram V2 (uncompressed, lowest value 1, two
//! significant digits) in base64, with each sample at the midpoint of its bucket. Two digits are finer than
//! the buckets, so these come back exactly.
//!
//! Schema 1 had no `detail`, `cause`, `parts` and `vcpu` lines. Exits on idle reasons were whole exits.

mod hist;
mod lines;

pub(super) use hist::ENCODING;

use lines::{ClockLine, InFlight, Line, PartsNs, VcpuLine};

use super::told::{Samples, Step, Told, add_account};
use crate::{
    decode::Isa,
    model::{Account, ClockChange, Interval, LastExit, LastReason, MeasuredParts, OpenExit, Parts, Thread},
};

fn thread(told: &mut Told, host: Option<&str>, pid: u32, tid: u32, vcpu: Option<u32>, vm: &str) -> usize {
    let host = host.map(str::to_owned);
    told.thread(Thread { pid, tid, vcpu, vm: vm.to_owned(), host, ..Thread::default() })
}

/// Takes a line.
pub(super) fn take(text: &[u8], told: &mut Told, interval: &mut Interval) -> Result<Step, String> {
    let line: Line<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match line {
        Line::Slot(slot) => {
            interval.number = slot.interval;
            if let Some(host) = &slot.host {
                interval.host = Some(host.to_string());
            }
            let samples = Samples {
                thread: thread(told, slot.host.as_deref(), slot.pid, slot.tid, slot.vcpu, &slot.vm),
                isa: Isa(slot.isa),
                code: slot.reason,
                subkey: slot.detail,
                count: slot.count,
                sum_ns: slot.sum_ns,
                min_ns: slot.min_ns,
                max_ns: slot.max_ns,
                parts: parts_of(&slot.parts)?,
            };
            let decode = |buckets: &mut Vec<_>| hist::decode(&slot.hist, slot.count, buckets);
            samples.add(interval, slot.hist.is_empty(), decode)
        }
        Line::Vcpu(line) => {
            interval.number = line.interval;
            let VcpuLine { elapsed_ns, guest_ns, .. } = line;
            let parts = parts_of(&line.parts)?;
            // The end of the interval may say that other parts were measured.
            let account = Account { elapsed_ns, guest_ns, parts, measured: interval.known };
            let thread = thread(told, line.host.as_deref(), line.pid, line.tid, line.vcpu, &line.vm);
            add_account(thread, account, interval)
        }
        Line::Loss(loss) => {
            interval.number = loss.interval;
            told.lost(&loss.cause, loss.count, interval);
            Ok(Step::More)
        }
        Line::InFlight(InFlight { interval: number, host, vm, pid, tid, vcpu, isa, reason, age_ns }) => {
            interval.number = number;
            let thread = thread(told, host.as_deref(), pid, tid, vcpu, &vm);
            interval.open.push(OpenExit { thread, isa: Isa(isa), code: reason, age_ns });
            Ok(Step::More)
        }
        Line::LastExit(line) => {
            interval.number = line.interval;
            let thread = thread(told, line.host.as_deref(), line.pid, line.tid, line.vcpu, &line.vm);
            let reason = LastReason::new(Isa(line.isa), line.reason, line.user_exit);
            interval.last_exits.push(LastExit { thread, reason, count: line.count });
            Ok(Step::More)
        }
        Line::Interval(line) => {
            interval.number = line.interval;
            interval.start_ns = line.start_ns;
            interval.end_ns = line.end_ns;
            interval.end_unix_ms = line.end_unix_ms;
            if let Some(parts) = &line.parts {
                interval.known = MeasuredParts::from_ids(parts);
                let accounts = interval.vcpus.iter_mut().map(|vcpu| &mut vcpu.account);
                accounts.for_each(|account| account.measured = interval.known);
            }
            if line.host.is_some() {
                interval.host = line.host;
            }
            Ok(Step::Interval)
        }
        Line::Clock(ClockLine { suspended_ms, stepped_ms }) => {
            interval.clock = Some(ClockChange { suspended_ms, stepped_ms });
            Ok(Step::Other)
        }
        Line::End(end) => {
            told.end = Some(end);
            Ok(Step::Other)
        }
        Line::Header => Err("a second header".into()),
        Line::Unknown => {
            told.skipped += 1;
            Ok(Step::Other)
        }
    }
}

/// Skips parts with unknown names.
fn parts_of(line: &PartsNs<'_>) -> Result<Parts, String> {
    let mut parts = Parts::default();
    let mut total_ns = 0u64;
    for (id, ns) in line {
        total_ns = total_ns.checked_add(*ns).ok_or("parts overflow")?;
        if let Some(part) = Parts::from_id(id) {
            parts.add(part, *ns);
        }
    }
    Ok(parts)
}
