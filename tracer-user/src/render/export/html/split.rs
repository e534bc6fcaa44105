//! Where the time of vCPUs went: a bar for each VM, guest first.

use maud::{Markup, html};

use super::{
    Data,
    words::{percent, time},
};
use crate::{
    model::{Parts, parts::PARTS},
    render::escape,
};

/// A piece of a bar.
struct Piece {
    class: &'static str,
    title: &'static str,
    meaning: &'static str,
    ns: u64,
}

/// What a VM's time went to, in the order in which it is drawn.
fn pieces(data: &Data, (elapsed_ns, guest_ns, parts): &(u64, u64, Parts)) -> Vec<Piece> {
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
    let before = |key: &(String, u32)| {
        let base = base?;
        let same = base.vms.get(key).or_else(|| base.vms.iter().find(|((vm, _), _)| *vm == key.0).map(|(_, vm)| vm))?;
        Some((base, same))
    };
    let unknown: Vec<&str> = PARTS
        .iter()
        .filter(|info| !data.known.unwrap_or_default().has(info.part))
        .map(|info| info.title)
        .collect();
    let legend = data.vms.values().next().map(|vm| pieces(data, vm)).unwrap_or_default();
    html! {
        p.lead {
            "All vCPUs of a VM together, as shares of the time that passed. "
            @if !unknown.is_empty() { "Not measured apart: " (unknown.join(", ")) "." }
        }
        div.legend {
            @for piece in &legend {
                span.item title=(piece.meaning) { span class=(format!("swatch p-{}", piece.class)) aria-hidden="true" {} (piece.title) }
            }
        }
        figure.split {
            @for (key, vm) in &data.vms {
                @let name = format!("{}[{}]", escape::terminal(&key.0), key.1);
                div.vm {
                    div.name { (name) }
                    div.bars {
                        @if let Some((base, same)) = before(key) { (bar(base, same, &format!("{name}, before"), true)) }
                        (bar(data, vm, &name, false))
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
                        @for (key, vm) in &data.vms {
                            @let name = format!("{}[{}]", escape::terminal(&key.0), key.1);
                            @if let Some((base, same)) = before(key) { (numbers(base, same, &name, ", before")) }
                            (numbers(data, vm, &name, ""))
                        }
                    }
                }
            }
        }
    }
}

fn share(ns: u64, vm: &(u64, u64, Parts)) -> f64 {
    ns as f64 / vm.0.max(1) as f64
}

fn bar(data: &Data, vm: &(u64, u64, Parts), name: &str, before: bool) -> Markup {
    let pieces = pieces(data, vm);
    let words = pieces.iter().filter(|piece| piece.ns != 0);
    let words: Vec<_> = words.map(|piece| format!("{} {}", piece.title, percent(share(piece.ns, vm)))).collect();
    html! {
        div.bar.before[before] role="img" aria-label=(format!("{name}: {}", words.join(", "))) {
            @for piece in pieces.iter().filter(|piece| piece.ns != 0) {
                @let width = 100.0 * share(piece.ns, vm);
                span class=(format!("p-{}", piece.class)) style=(format!("width:{width:.3}%"))
                    title=(format!("{}: {} ({}), {}", piece.title, time(piece.ns), percent(share(piece.ns, vm)), piece.meaning)) {
                    @if width >= 9.0 { (percent(share(piece.ns, vm))) }
                }
            }
        }
    }
}

fn numbers(data: &Data, vm: &(u64, u64, Parts), name: &str, when: &str) -> Markup {
    html! {
        tr {
            th scope="row" { span.name { (name) } (when) }
            td.n { (time(vm.0)) }
            @for piece in pieces(data, vm) { td.n { (percent(share(piece.ns, vm))) } }
        }
    }
}
