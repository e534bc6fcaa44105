//! `null-programs raw|clock|tp`: attaches programs that do nothing, or nothing but read the clock, to KVM's
//! exit and entry, until Ctrl-C. The cost that remains is that of the events themselves.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    programs::{RawTracePoint, TracePoint},
};
use tracer_ebpf::symbols::null;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/exitlat-null-bpf"));

const EVENTS: [&str; 2] = ["kvm_entry", "kvm_exit"];

fn main() -> Result<()> {
    let mut ebpf = Ebpf::load(OBJECT).context("the kernel refused the null programs")?;
    match std::env::args().nth(1).as_deref() {
        Some("raw") => attach_raw(&mut ebpf, null::RAW)?,
        Some("clock") => attach_raw(&mut ebpf, null::CLOCK)?,
        Some("tp") => attach_tp(&mut ebpf)?,
        _ => bail!("say raw, clock or tp"),
    }
    loop {
        std::thread::park();
    }
}

fn attach_raw(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program: &mut RawTracePoint = ebpf.program_mut(name).context("no such program")?.try_into()?;
    program.load()?;
    for event in EVENTS {
        program.attach(event).with_context(|| format!("cannot attach to {event}"))?;
    }
    Ok(())
}

fn attach_tp(ebpf: &mut Ebpf) -> Result<()> {
    let program: &mut TracePoint = ebpf.program_mut(null::TP).context("no such program")?.try_into()?;
    program.load()?;
    for event in EVENTS {
        program.attach("kvm", event).with_context(|| format!("cannot attach to kvm:{event}"))?;
    }
    Ok(())
}
