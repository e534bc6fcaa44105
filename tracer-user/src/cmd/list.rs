//! `exitlat list`: the VMs of this host or of a recording.

use std::{collections::BTreeMap, io};

use anyhow::Result;

use crate::{
    cli::{ListArgs, ListFormat, Location, SelectArgs, Usage},
    cmd::{DONE, select, select::Recorded},
    files::Input,
    kernel::{inventory::Look, namespaces},
    model::{GroupBy, Interval, ListedVm, Rows, Selection, Store, VmId, VmList},
    render::{escape, inventory},
    run::guests::NO_VM,
};

/// Runs the command.
///
/// # Errors
/// See the exit statuses of [`crate::cmd`].
pub async fn run(args: &ListArgs) -> Result<u8> {
    let mut selection = Selection::from(&args.select);
    let vms = match &args.file {
        Some(file) => recorded(file, &mut selection)?,
        None => running(args, &mut selection).await?,
    };
    let mut out = io::stdout().lock();
    match args.format {
        ListFormat::Table if vms.is_empty() => {
            say!("exitlat: {NO_VM}");
        }
        ListFormat::Table => inventory::table(&mut out, &vms, args.threads)?,
        ListFormat::Json => inventory::object(&mut out, &vms)?,
    }
    Ok(DONE)
}

async fn running(args: &ListArgs, selection: &mut Selection) -> Result<Vec<ListedVm>> {
    if namespaces::is_pid_namespace() {
        let (what, remedy) = (namespaces::PIDS_DO_NOT_FIT, namespaces::HOST_PIDS);
        return Err(Usage::new(format!("list does not work here: {what}; {remedy}")).into());
    }
    let SelectArgs { host, exits, .. } = &args.select;
    if !host.is_empty() || !exits.vcpu.is_empty() || exits.fields.is_some() {
        return Err(Usage::new("--host, --vcpu and -f choose in a recording: name its file").into());
    }
    let before = Look::now();
    tokio::time::sleep(args.display).await;
    let mut vms = Look::now().since(&before);
    vms.iter().for_each(|vm| selection.notice_vm(&vm.vm));
    let mut wanted = selection.guests.iter().flat_map(VmList::patterns);
    if let Some(missing) = wanted.find(|wanted| !vms.iter().any(|vm| wanted.matches(&vm.vm.known))) {
        let names: Vec<_> = vms.iter().map(|vm| escape::terminal(&vm.vm.name)).collect();
        let running =
            if names.is_empty() { NO_VM.to_owned() } else { format!("running VMs: {}", names.join(", ")) };
        return Err(Usage(format!("no running VM is called `{}`; {running}", missing.typed())).into());
    }
    if let Some(pid) = selection.pids.iter().find(|pid| !vms.iter().any(|vm| vm.vm.pid == Some(**pid))) {
        return Err(Usage(format!("process {pid} has no VM (or this user may not see it)")).into());
    }
    vms.retain(|vm| selection.wants_vm(&vm.vm));
    Ok(vms)
}

fn recorded(file: &Location, selection: &mut Selection) -> Result<Vec<ListedVm>> {
    select::settle(selection, &[file])?;
    let mut input = Input::open(file)?.with_hosts();
    let (mut interval, mut total) = (Interval::default(), Store::keeping(usize::MAX));
    while input.next_interval(&mut interval)? {
        total.add(interval.with(input.threads()));
    }
    select::found(selection, &[Recorded { header: input.header(), threads: input.threads() }])?;
    let by = GroupBy { host: true, vm: true, reason: false, ..GroupBy::REASON };
    let mut rows = Rows::new(by).with_selection(selection.clone()).of_exits_only();
    rows.of_store(&total);
    let mut vcpus = BTreeMap::<VmId, (Vec<u32>, usize)>::new();
    for thread in &input.threads().list {
        let (seen, unnumbered) = vcpus.entry(thread.vm_id()).or_default();
        seen.extend(thread.vcpu);
        *unnumbered += usize::from(thread.vcpu.is_none());
    }
    let mut exits = BTreeMap::<VmId, (u64, u64)>::new();
    for row in rows.exits() {
        if let Some(vm) = row.vm() {
            let (count, elapsed_ns) = exits.entry(vm.clone()).or_default();
            *count += row.stats.count;
            *elapsed_ns = rows.elapsed_of(row);
        }
    }
    let vms = vcpus.into_iter().filter(|(vm, _)| selection.wants_vm(vm));
    let listed = vms.map(|(vm, (mut seen, unnumbered))| {
        seen.sort_unstable();
        seen.dedup();
        let (count, elapsed_ns) = exits.get(&vm).copied().unwrap_or_default();
        ListedVm {
            vm,
            vm_fds: Vec::new(),
            open: None,
            seen,
            unnumbered,
            threads: Vec::new(),
            elapsed_ns,
            exits: Some(count),
            exits_total: None,
        }
    });
    let listed = listed.collect();
    input.print_notes();
    Ok(listed)
}
