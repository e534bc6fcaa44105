//! `floor raw|clock|classic`: attaches programs that do nothing, or nothing but read the clock, to KVM's exit and entry, until Ctrl-C. What is left of
//! a tracer's cost when the tracer is taken away.

use anyhow::{Result, bail};
use tracer_ebpf::symbols;
use tracer_user::kernel::session::{Options, Session};

fn main() -> Result<()> {
    let mut session = Session::load(&Options::default(), None)?;
    match std::env::args().nth(1).as_deref() {
        Some("raw") => session.attach_floor_raw(symbols::FLOOR_RAW)?,
        Some("clock") => session.attach_floor_raw(symbols::FLOOR_CLOCK)?,
        Some("tp") => session.attach_floor_classic()?,
        _ => bail!("say raw, clock or classic"),
    }
    loop {
        std::thread::park();
    }
}
