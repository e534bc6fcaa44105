//! Where the time of vCPUs went: a bar for each VM, guest first.

use maud::{Markup, html};

use super::{
    Data,
    format::{percent, time},
    matching::same_host,
};
use crate::{
    model::{Parts, parts::PARTS},
    render::escape,
};

/// VMs at most: those with the most time.
const MOST: usize = 60;

/// Time that passed, guest time and parts, of a VM.
type Vm = (u64, u64, Parts);

/// What tells VMs apart: the host, where several are told apart, the name and the pid.
pub(super) type Key = (Option<String>, String, u32);

/// The words of a VM.
fn name_of((host, vm, pid): &Key) -> String {
    let host = host.as_deref().map(|host| format!("{host} \u{b7} ")).unwrap_or_default();
    escape::terminal(&format!("{host}{vm}[{pid}]")).into_owned()
}

/// What a bar is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All time.
    All,
    /// Handled time, which is neither guest nor idle nor stopped: too thin a slice of the other to be read there.
    Handled,
}

impl Part {
    const ALL: [(Self, &'static str); 2] = [(Self::All, "all time"), (Self::Handled, "handled")];

    fn has(self, piece: &Piece) -> bool {
        self == Self::All || !matches!(piece.class, "guest" | "halt" | "stopped" | "rest")
    }
}

/// A piece of a bar.
struct Piece {
    class: &'static str,
    title: &'static str,
    meaning: &'static str,
    ns: u64,
}

/// What a VM's time went to, in the order in which it is drawn.
fn pieces(data: &Data, (elapsed_ns, guest_ns, parts): &Vm) -> Vec<Piece> {
    let known = data.known.unwrap_or_default();
    let guest = Piece { class: "guest", title: "Guest", meaning: "running in the guest", ns: *guest_ns };
    let parts_of = PARTS.iter().filter(|info| known.has(info.part)).map(|info| Piece {
        class: info.id,
        title: info.title,
        meaning: info.meaning,
        ns: parts.get(info.part),
    });
    let ns = elapsed_ns.saturating_sub(*guest_ns).saturating_sub(parts.total_ns());
    let rest = Piece { class: "rest", title: "Unaccounted", meaning: "lost with unpaired events", ns };
    [guest].into_iter().chain(parts_of).chain([rest]).collect()
}

/// The section of the page.
pub(super) fn section(data: &Data, base: Option<&Data>) -> Markup {
    html! {
        section id="split" {
            h2 { "Where the time of vCPUs went" }
            @if data.vms.is_empty() {
                p { "This recording has no time split: it was made without, or by a version that did not know it." }
            } @else {
                (bars(data, base))
            }
        }
    }
}

fn bars(data: &Data, base: Option<&Data>) -> Markup {
    let before = |key: &Key| {
        let base = base?;
        let same = base.vms.get(key).or_else(|| {
            base.vms
                .iter()
                .find(|((host, vm, _), _)| same_host(host, &key.0) && *vm == key.1)
                .map(|(_, vm)| vm)
        })?;
        Some((base, same))
    };
    let mut vms: Vec<(&Key, &Vm)> = data.vms.iter().collect();
    vms.sort_by_key(|(_, vm)| std::cmp::Reverse(vm.0));
    let left_out = vms.len().saturating_sub(MOST);
    vms.truncate(MOST);
    let unknown: Vec<&str> = PARTS
        .iter()
        .filter(|info| !data.known.unwrap_or_default().has(info.part))
        .map(|info| info.title)
        .collect();
    let legend = data.vms.values().next().map(|vm| pieces(data, vm)).unwrap_or_default();
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
            @for (key, vm) in &vms {
                @let name = name_of(key);
                div.vm {
                    div.name { (name) }
                    @for (part, what) in Part::ALL {
                        div.what { (what) }
                        div.bars {
                            @if let Some((base, same)) = before(key) {
                                (bar(base, same, &format!("{name}, {what}, before"), part, true))
                            }
                            (bar(data, vm, &format!("{name}, {what}"), part, false))
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
                        @for (key, vm) in &vms {
                            @let name = name_of(key);
                            @if let Some((base, same)) = before(key) { (numbers(base, same, &name, ", before")) }
                            (numbers(data, vm, &name, ""))
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

fn bar(data: &Data, vm: &Vm, name: &str, part: Part, before: bool) -> Markup {
    let pieces: Vec<Piece> =
        pieces(data, vm).into_iter().filter(|piece| piece.ns != 0 && part.has(piece)).collect();
    let whole_ns = if part == Part::All { vm.0 } else { pieces.iter().map(|piece| piece.ns).sum() };
    let words = pieces.iter().map(|piece| format!("{} {}", piece.title, percent(share(piece.ns, whole_ns))));
    html! {
        div.bar.before[before] role="img" aria-label=(format!("{name}: {}", words.collect::<Vec<_>>().join(", "))) {
            @for piece in &pieces {
                @let (width, of_all) = (100.0 * share(piece.ns, whole_ns), percent(share(piece.ns, vm.0)));
                span class=(format!("p-{}{}", piece.class, if width < 22.0 { " few" } else { "" })) style=(format!("width:{width:.3}%"))
                    title=(format!("{}: {} ({of_all} of all time), {}", piece.title, time(piece.ns), piece.meaning)) {
                    @if width >= 9.0 { (percent(width / 100.0)) }
                }
            }
        }
    }
}

fn numbers(data: &Data, vm: &Vm, name: &str, when: &str) -> Markup {
    html! {
        tr {
            th scope="row" { span.name { (name) } (when) }
            td.n { (time(vm.0)) }
            @for piece in pieces(data, vm) { td.n { (percent(share(piece.ns, vm.0))) } }
        }
    }
}
