//! Where the time of vCPUs went: a bar for each VM, guest first.

use maud::{Markup, html};

use super::{
    Data,
    format::{percent, time},
    matching::same_host,
};
use crate::{
    model::{Account, MeasuredParts, VmAccount, VmId, parts::PARTS},
    render::escape,
};

/// VMs at most: those with the most time.
const MOST: usize = 60;

/// The label of a VM.
fn name_of(VmAccount { vm, ended, .. }: &VmAccount) -> String {
    let host = vm.host.name().map(|host| format!("{host} \u{b7} ")).unwrap_or_default();
    let count = if vm.pid.is_none() { format!(" ({ended})") } else { String::new() };
    escape::terminal(&format!("{host}{vm}{count}")).into_owned()
}

/// The parts that were measured, by all VMs.
fn measured(data: &Data) -> MeasuredParts {
    let all = data.rows.vms().map(|vm| vm.account.measured);
    all.reduce(MeasuredParts::and).unwrap_or_default()
}

/// Which time a bar divides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All time of the vCPUs.
    All,
    /// Handled time only: without guest, idle and stopped time. In a bar of all time it is often too thin to
    /// read.
    Handled,
}

impl Part {
    const ALL: [(Self, &'static str); 2] = [(Self::All, "all time"), (Self::Handled, "handled")];

    fn has(self, piece: &Piece) -> bool {
        self == Self::All || !matches!(piece.class, "guest" | "halt" | "stopped" | "rest")
    }
}

/// One coloured segment of a bar.
struct Piece {
    class: &'static str,
    title: &'static str,
    meaning: &'static str,
    ns: u64,
}

/// Segments of a VM's bar, in drawing order.
fn pieces(data: &Data, account: &Account) -> Vec<Piece> {
    let known = measured(data);
    let guest =
        Piece { class: "guest", title: "Guest", meaning: "running in the guest", ns: account.guest_ns };
    let parts_of = PARTS.iter().filter(|info| known.has(info.part)).map(|info| Piece {
        class: info.id,
        title: info.title,
        meaning: info.meaning,
        ns: account.parts.get(info.part),
    });
    let ns = account.unaccounted_ns();
    let rest = Piece { class: "rest", title: "Unaccounted", meaning: "lost with unpaired events", ns };
    [guest].into_iter().chain(parts_of).chain([rest]).collect()
}

/// The section of the page.
pub(super) fn section(data: &Data, base: Option<&Data>) -> Markup {
    html! {
        section id="split" {
            h2 { "Where the time of vCPUs went" }
            @if data.rows.vms().next().is_none() {
                p { "This recording has no time split: it was made without, or by a version that did not know it." }
            } @else {
                (bars(data, base))
            }
        }
    }
}

fn bars(data: &Data, base: Option<&Data>) -> Markup {
    let before = |vm: &VmId| {
        let base = base?;
        let namesake = |other: &&VmAccount| same_host(&other.vm.host, &vm.host) && other.vm.name == vm.name;
        let same = base.rows.vms().find(|other| other.vm == *vm);
        Some((base, &same.or_else(|| base.rows.vms().find(namesake))?.account))
    };
    let mut vms: Vec<&VmAccount> = data.rows.vms().collect();
    vms.sort_by_key(|vm| {
        let VmId { host, pid, origin, name, .. } = &vm.vm;
        (std::cmp::Reverse(vm.account.elapsed_ns), host, name, pid, origin)
    });
    let left_out = vms.len().saturating_sub(MOST);
    vms.truncate(MOST);
    let unknown: Vec<&str> =
        PARTS.iter().filter(|info| !measured(data).has(info.part)).map(|info| info.title).collect();
    let legend = data.rows.vms().next().map(|vm| pieces(data, &vm.account)).unwrap_or_default();
    html! {
        p.lead {
            "All vCPUs of a VM together. The upper bar is all time that passed; the lower one shows, larger, what was neither guest nor idle. "
            @if left_out != 0 { (left_out) " VMs with less time are left out. " }
            @if !unknown.is_empty() { "Not measured apart: " (unknown.join(", ")) "." }
        }
        div.legend {
            @for piece in &legend {
                span.item title=(piece.meaning) { span class=(format!("swatch p-{}", piece.class)) aria-hidden="true" {} (piece.title) }
            }
        }
        figure.split {
            @for vm in &vms {
                @let name = name_of(vm);
                div.vm {
                    div.name { (name) }
                    @for (part, what) in Part::ALL {
                        div.what { (what) }
                        div.bars {
                            @if let Some((base, same)) = before(&vm.vm) {
                                (bar(base, same, &format!("{name}, {what}, before"), part, true))
                            }
                            (bar(data, &vm.account, &format!("{name}, {what}"), part, false))
                        }
                    }
                }
            }
        }
        details {
            summary { "The numbers" }
            div.scroll tabindex="0" role="region" aria-label="Where the time of vCPUs went" {
                table {
                    thead { tr {
                        th scope="col" { "VM" } th.n scope="col" { "vCPU time" }
                        @for piece in &legend { th.n scope="col" { (piece.title) } }
                    } }
                    tbody {
                        @for vm in &vms {
                            @let name = name_of(vm);
                            @if let Some((base, same)) = before(&vm.vm) { (numbers(base, same, &name, ", before")) }
                            (numbers(data, &vm.account, &name, ""))
                        }
                    }
                }
            }
        }
    }
}

fn share(ns: u64, whole_ns: u64) -> f64 {
    ns as f64 / whole_ns.max(1) as f64
}

fn bar(data: &Data, account: &Account, name: &str, part: Part, before: bool) -> Markup {
    let pieces: Vec<Piece> =
        pieces(data, account).into_iter().filter(|piece| piece.ns != 0 && part.has(piece)).collect();
    let whole_ns =
        if part == Part::All { account.elapsed_ns } else { pieces.iter().map(|piece| piece.ns).sum() };
    let words = pieces.iter().map(|piece| format!("{} {}", piece.title, percent(share(piece.ns, whole_ns))));
    html! {
        div.bar.before[before] role="img" aria-label=(format!("{name}: {}", words.collect::<Vec<_>>().join(", "))) {
            @for piece in &pieces {
                @let (width, of_all) = (100.0 * share(piece.ns, whole_ns), percent(share(piece.ns, account.elapsed_ns)));
                span class=(format!("p-{}{}", piece.class, if width < 22.0 { " few" } else { "" })) style=(format!("width:{width:.3}%"))
                    title=(format!("{}: {} ({of_all} of all time), {}", piece.title, time(piece.ns), piece.meaning)) {
                    @if width >= 9.0 { (percent(width / 100.0)) }
                }
            }
        }
    }
}

fn numbers(data: &Data, account: &Account, name: &str, when: &str) -> Markup {
    html! {
        tr {
            th scope="row" { span.name { (name) } (when) }
            td.n { (time(account.elapsed_ns)) }
            @for piece in pieces(data, account) { td.n { (percent(share(piece.ns, account.elapsed_ns))) } }
        }
    }
}
