//! Loads and attaches one program, and says in words why the kernel refuses.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Btf, Ebpf, Endianness,
    programs::{BtfTracePoint, KProbe, Program, ProgramError, RawTracePoint, TracePoint},
};

use crate::kernel::{
    Unsupported, arch,
    btf::stand_in,
    features::{Feature, Kernel},
    hook::{Hook, How, Way},
    rights::Rights,
};

/// Loads a program of the table, not yet attached. `type_id` is that of the event, for typed arguments.
///
/// # Errors
/// If the object lacks it, or the kernel refuses it.
pub fn load(ebpf: &mut Ebpf, hook: &Hook, way: &Way, type_id: Option<u32>) -> Result<()> {
    match way.how {
        How::Raw => raw(ebpf, way.program).map(drop),
        How::Typed => {
            let event = hook.event.rsplit(':').next().unwrap_or_default();
            // aya looks the number up by name in all of the kernel's types, which takes longer than all else
            // at the start. The number is known: it gets types of which only this one has a name.
            let id = type_id.with_context(|| format!("the type of {event} is not known"))?;
            let types =
                Btf::parse(&stand_in::typedef(id, &format!("btf_trace_{event}")), Endianness::default())
                    .context("bug: made-up types")?;
            loaded(way.program, typed(ebpf, way.program)?.load(event, &types))
        }
        How::Tp => tp(ebpf, way.program).map(drop),
        How::Kprobe => kprobe(ebpf, way.program).map(drop),
    }
}

/// Attaches a program of the table to its event.
///
/// # Errors
/// If it cannot be loaded, or the kernel refuses the event.
pub fn attach(ebpf: &mut Ebpf, hook: &Hook, way: &Way) -> Result<()> {
    match way.how {
        How::Raw => {
            let name = hook.event.rsplit(':').next().unwrap_or_default();
            raw(ebpf, way.program)?.attach(name).map(drop).map_err(anyhow::Error::from)
        }
        How::Typed => typed(ebpf, way.program)?.attach().map(drop).map_err(Into::into),
        How::Tp => return attach_tp(ebpf, way.program, hook.event),
        How::Kprobe => kprobe(ebpf, way.program)?.attach(hook.event, 0).map(drop).map_err(Into::into),
    }
    .with_context(|| format!("cannot attach {} to {}", way.program, hook.event))
}

/// Loads a tracepoint program and attaches it to an event, `group:name`.
///
/// # Errors
/// As [`attach`].
pub fn attach_tp(ebpf: &mut Ebpf, name: &str, event: &str) -> Result<()> {
    let (group, event) = event.split_once(':').with_context(|| format!("{event} has no group"))?;
    tp(ebpf, name)?
        .attach(group, event)
        .with_context(|| format!("cannot attach {name} to {group}:{event}"))?;
    Ok(())
}

/// Takes a tracepoint program off its event and out of the kernel, if it is there.
///
/// # Errors
/// If the kernel refuses.
pub fn unload_tp(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program: &mut TracePoint = program(ebpf, name)?.try_into()?;
    match program.unload() {
        Ok(()) | Err(ProgramError::NotLoaded) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot unload {name}")),
    }
}

/// A raw tracepoint program, loaded.
///
/// # Errors
/// As [`load`].
pub fn raw<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut RawTracePoint> {
    let program: &mut RawTracePoint = program(ebpf, name)?.try_into()?;
    loaded(name, program.load())?;
    Ok(program)
}

fn typed<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint> {
    Ok(program(ebpf, name)?.try_into()?)
}

fn tp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut TracePoint> {
    let program: &mut TracePoint = program(ebpf, name)?.try_into()?;
    loaded(name, program.load())?;
    Ok(program)
}

fn kprobe<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut KProbe> {
    let program: &mut KProbe = program(ebpf, name)?.try_into()?;
    loaded(name, program.load())?;
    Ok(program)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    ebpf.program_mut(name).with_context(|| format!("the BPF object has no program {name}"))
}

fn loaded(name: &str, outcome: Result<(), ProgramError>) -> Result<()> {
    match outcome {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(refused(error.into()).context(format!("cannot load {name}"))),
    }
}

/// A refusal to load is a property of the host, everything else is a failure of ours.
pub fn refused(error: anyhow::Error) -> anyhow::Error {
    let maps_count = || !Kernel::read(arch::host()).has(Feature::CgroupMemory);
    match Rights::read().cannot_load(&error, maps_count) {
        Some(unsupported) => anyhow!(unsupported),
        None => error.context("the kernel refused the BPF programs"),
    }
}

/// Whether the kernel refuses an attachment to this process, or on this host: why, and what to do.
pub fn refusal(error: &anyhow::Error) -> Option<Unsupported> {
    Rights::read().cannot_attach(error)
}
